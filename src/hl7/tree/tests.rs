//! What hl7-parser does by itself, and what the guard makes of it: each of its silent faults, shown and met.

use super::super::Scratch;
use super::*;

const MSH: &str = "MSH|^~\\&|MON|ICU|||20260101120000||ORU^R01^ORU_R01|17|P|2.6";

fn guarded(frame: &str) -> Result<Tree, ParserLoss> {
    let mut scratch = Scratch::default();
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    let found = tree(&message);
    if let Ok(tree) = &found {
        assert_eq!(*tree, Tree::by_cursor(&message), "both readings of {frame:?}");
    }
    found
}
/// Segments that the parser by itself hands out.
fn alone(frame: &str) -> usize {
    hl7_parser::Message::parse(frame).unwrap().segments.len()
}

#[test]
fn a_message_becomes_places_and_texts() {
    let tree = guarded(&format!("{MSH}\rPID|||A^^^N&1.2^MR~B||Roe\\T\\Co\rOBX|1|NM|147842^MDC_ECG_HEART_RATE||72|a&b\rOBX|2\r"))
        .unwrap();
    assert_eq!(tree.get("MSH[1]-2"), Some("^~\\&"));
    assert_eq!(tree.get("MSH[1]-9.2"), Some("R01"));
    assert_eq!(tree.get("PID[1]-3[1].4.2"), Some("1.2"));
    assert_eq!(tree.get("PID[1]-3[2]"), Some("B"));
    assert_eq!(tree.get("PID[1]-5"), Some("Roe&Co"));
    assert_eq!(tree.get("OBX[1]-6.1.2"), Some("b"));
    assert_eq!(tree.get("OBX[2]-1"), Some("2"));
    assert_eq!(tree.get("OBX[1]-4"), None, "what is empty is left out");
    assert!(tree.to_string().contains("OBX[1]-5         72\n"));
}

#[test]
fn it_stops_at_the_first_line_it_cannot_read_and_says_ok() {
    for odd in ["", " ", "PV1", "ZZZ", "OB|1", "PV12|1", " PV1|1"] {
        let frame = format!("{MSH}\r{odd}\rOBX|1|NM|x||72\r");
        assert!(alone(&frame) < 3, "{odd:?}: by itself it loses the OBX");
        assert!(guarded(&frame).unwrap().get("OBX[1]-5").is_some(), "{odd:?}");
    }
}

#[test]
fn it_takes_lf_for_data_and_crlf_for_the_end() {
    for end in ["\n", "\r\n"] {
        let frame = format!("{MSH}{end}PID|1{end}OBX|1|NM|x||72{end}");
        assert_eq!(alone(&frame), 1, "{end:?}");
        assert_eq!(guarded(&frame).unwrap().get("OBX[1]-5"), Some("72"), "{end:?}");
    }
    let inside = format!("{MSH}\rOBX|1|TX|x||one\ntwo\rOBX|2|NM|x||72\r");
    let lenient = hl7_parser::Message::parse_with_lenient_newlines(&inside, true).unwrap();
    assert_eq!(lenient.segments.len(), 2, "an LF inside text ends the message for the lenient parser");
    assert_eq!(guarded(&inside).unwrap().get("OBX[2]-5"), Some("72"));
    assert_eq!(guarded(&inside).unwrap().get("OBX[1]-5"), Some("one\ntwo"));
    let broken = format!("{MSH}\rOBX|1|TX|x||one\rand two\rOBX|2|NM|x||72\r");
    assert_eq!(alone(&broken), 2);
    assert_eq!(guarded(&broken).map(|tree| tree.get("OBX[2]-5").map(str::to_owned)), Ok(Some("72".into())));
}

#[test]
fn it_misreads_every_delimiter_field_but_one() {
    let id = |frame: &str| {
        let message = hl7_parser::Message::parse(frame).unwrap();
        message.segment("MSH").and_then(|msh| msh.field(10)).map(|field| field.raw_value().to_owned()).unwrap_or_default()
    };
    for characters in ["^~\\&#", "^~\\", "^~"] {
        let frame = format!("MSH|{characters}|MON|ICU|||2026||ORU^R01|17|P|2.7\rOBX|1|NM|a^b||7&2\r");
        assert!(id(&frame) != "17" || characters == "^~", "{characters}: by itself it shifts MSH");
        let tree = guarded(&frame).unwrap();
        assert_eq!((tree.get("MSH[1]-3"), tree.get("MSH[1]-10")), (Some("MON"), Some("17")), "{characters}");
        assert_eq!(tree.get("MSH[1]-2"), Some(characters), "as it was sent");
        assert_eq!(tree.get("OBX[1]-5.1.2"), Some("2"));
    }
    let eaten = hl7_parser::Message::parse("MSH|^~|MON|ICU\r").unwrap();
    assert_ne!(eaten.segment("MSH").unwrap().field(3).unwrap().raw_value(), "MON", "the first letter is eaten");
}

#[test]
fn it_takes_two_messages_for_one() {
    let two = format!("{MSH}\rOBX|1|NM|x||72\rMSH|^~\\&|EVIL\rOBX|1|NM|x||999\r");
    assert_eq!(alone(&two), 4);
    assert_eq!(guarded(&two), Err(ParserLoss::SecondHeader));
}

#[test]
fn it_refuses_what_stands_before_a_header() {
    for frame in [format!("\x0B{MSH}\r"), format!("\u{FEFF}{MSH}\r")] {
        assert!(hl7_parser::Message::parse(&frame).is_err());
        assert_eq!(guarded(&frame).unwrap().get("MSH[1]-10"), Some("17"));
    }
    assert!(hl7_parser::Message::parse("FHS|^~\\&|A\r").is_err());
    assert!(hl7_parser::Message::parse("msh|^~\\&|A\r").is_err());
}

#[test]
fn its_escapes_are_wrong_and_can_panic() {
    let separators = hl7_parser::message::Separators::default();
    assert_eq!(separators.decode(r"\X41\").to_string(), "X41");
    assert_eq!(separators.decode(r"\F").to_string(), "");
    let quiet = std::panic::catch_unwind(|| separators.decode("\\é\\").to_string());
    assert!(quiet.is_err(), "a letter that is not ASCII inside an escape is a panic");
    let tree = guarded(&format!("{MSH}||||||UNICODE UTF-8\rNTE|1||\\X41\\|\\F|\\é\\|\\.sp2\\x\r")).unwrap();
    assert_eq!((tree.get("NTE[1]-3"), tree.get("NTE[1]-4"), tree.get("NTE[1]-5")), (Some("A"), Some("\\F"), Some("\\é\\")));
}

#[test]
fn its_display_changes_the_delimiters() {
    let parsed = hl7_parser::Message::parse("MSH|^~\\&|A\rOBX|1|NM|A^B\r").unwrap();
    let shown = parsed.segment("OBX").unwrap().field(3).unwrap().display(&parsed.separators).to_string();
    assert_eq!(shown, "A~B");
    let mut scratch = Scratch::default();
    let message = Message::read(b"MSH|^~\\&|A\rOBX|1|NM|A^B\r", &mut scratch).unwrap();
    assert_eq!(display(&message.first(b"OBX").unwrap().field(3)), "A^B");
}

#[test]
fn its_times_have_a_month_13() {
    for wrong in ["20261301", "20260132", "2026010125"] {
        assert!(hl7_parser::datetime::parse_timestamp(wrong, false).is_ok(), "{wrong}");
        assert!(super::super::time::Dtm::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn its_times_ignore_a_short_zone_and_refuse_a_good_one() {
    let ours = |text: &str| super::super::time::Dtm::parse(text.as_bytes()).ok().map(|dtm| (dtm.offset_min, dtm.ms));
    let theirs = |text: &str| hl7_parser::datetime::parse_timestamp(text, false);
    let lenient = hl7_parser::datetime::parse_timestamp("20260101120000+05", true);
    assert!(lenient.is_ok_and(|time| time.offset.is_none()), "a zone that it drops in silence");
    assert_eq!(ours("20260101120000+05"), Some((Some(300), 0)));
    assert!(theirs("20260101120000.12345").is_err());
    assert_eq!(ours("20260101120000.12345"), Some((None, 123)));
    assert!(theirs("20260101120000Z").is_err());
    assert_eq!(ours("20260101120000Z"), Some((Some(0), 0)));
}

#[test]
fn a_flood_of_delimiters_never_reaches_it() {
    let rows: String = (0..400).map(|row| format!("OBX|{row}|{}\r", "^".repeat(400))).collect();
    assert_eq!(guarded(&format!("{MSH}\r{rows}")), Err(ParserLoss::TooLarge));
    assert_eq!(guarded(&format!("{MSH}\rOBX{}\r", "|".repeat(10 << 20))), Err(ParserLoss::Truncated));
    assert_eq!(guarded(&format!("{MSH}\rOBX|{}\r", "x".repeat(5 << 20))), Err(ParserLoss::TooLarge));
    for flood in ["&", "^", "~"] {
        assert_eq!(guarded(&format!("{MSH}\rOBX|1|TX|x||{}\r", flood.repeat(3 << 20))), Err(ParserLoss::TooLarge), "{flood}");
    }
}

#[test]
fn a_loss_is_seen() {
    let short = format!("{MSH}\rOBX|1\r\rOBX|2\r");
    assert!(matches!(checked_parse(&short, 3), Err(ParserLoss::Stopped { .. })));
    assert_eq!(checked_parse("MSH|^~\\&|A\rOBX|1", 3).err(), Some(ParserLoss::Segments { found: 2, sent: 3 }));
    assert_eq!(checked_parse("PID|1", 1).err(), Some(ParserLoss::Refused));
}

#[test]
fn its_count_of_segments_is_the_cursors() {
    let mut scratch = Scratch::default();
    let frame = format!("{MSH}\rOBX|1\r\r PV1\rOBX|2\rOB|3\robx|4\rOBX\r");
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    assert_eq!((count(&message, "OBX"), count(&message, "PV1"), count(&message, "PID")), (Ok(3), Ok(1), Ok(0)));
    let mut scratch = Scratch::default();
    let two = format!("{MSH}\rOBX|1\r{MSH}\rOBX|1\r");
    assert_eq!(count(&Message::read(two.as_bytes(), &mut scratch).unwrap(), "OBX"), Err(ParserLoss::SecondHeader));
}

#[test]
fn a_misnamed_segment_is_shown_all_the_same() {
    let tree = guarded(&format!("{MSH}\rOB|1|a\robx|2|b\rPV12|x&y\rOBX|1|NM|x||72\rBHS|^~\\&|q\r")).unwrap();
    assert_eq!((tree.get("OB[1]-2"), tree.get("obx[1]-2"), tree.get("PV12[1]-1.1.2")), (Some("a"), Some("b"), Some("y")));
    assert_eq!((tree.get("OBX[1]-5"), tree.get("BHS[1]-3")), (Some("72"), Some("q")));
}
