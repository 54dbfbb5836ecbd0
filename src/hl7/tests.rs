//! What a message reads as.

use super::*;

const MSH: &str = "MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|17|P|2.6";

/// Segments as text, joined by newlines, and the names of the flags.
fn read(frame: impl AsRef<[u8]>) -> (Vec<String>, Vec<&'static str>) {
    let mut scratch = Scratch::default();
    let message = Message::read(frame.as_ref(), &mut scratch).unwrap();
    let lines = message.segments().map(|segment| String::from_utf8_lossy(segment.text().0).into_owned()).collect();
    (lines, message.flags().names().collect())
}
fn with(header_rest: &str, body: &str) -> String {
    format!("{MSH}{header_rest}\r{body}")
}

#[test]
fn the_usual_message_is_borrowed() {
    for frame in [with("", "PID|||P1\rOBX|1|NM|x||72\r"), with("||||||UNICODE UTF-8", "PID|||P1||Møller\r")] {
        let mut scratch = Scratch::default();
        let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
        assert!(std::ptr::eq(message.text(), frame.as_bytes()));
        assert_eq!(message.flags(), MessageFlags::default());
    }
}

#[test]
fn fields_are_found() {
    let frame = with("", "OBX|1|NM|a&b^c~d^e|^|7\\S\\2|\"\"|  x y \r");
    let mut scratch = Scratch::default();
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    let obx = message.first(b"OBX").unwrap();
    let fields = obx.fields::<9>();
    for (n, field) in fields.iter().enumerate() {
        assert_eq!(field.raw(), obx.field(n + 1).raw(), "OBX-{}", n + 1);
        assert_eq!(field.span().of(message.text()), field.raw());
    }
    assert_eq!((obx.name(), obx.field_count()), (&b"OBX"[..], 7));
    assert_eq!(fields[0].integer(), Some(1));
    assert_eq!(fields[2].component(1).subcomponent(2).raw(), b"b");
    assert_eq!(fields[2].component(2).raw(), b"c");
    assert_eq!(fields[2].repetitions().nth(1).unwrap().component(2).raw(), b"e");
    assert_eq!(fields[2].component(3).raw(), b"");
    assert_eq!(fields[2].component(0).raw(), b"");
    assert_eq!(fields[4].text(), "7^2");
    assert!(fields[5].is_null() && fields[5].is_empty() && fields[7].is_empty() && !fields[6].is_empty());
    assert_eq!(fields[6].text(), "x y");
    assert_eq!((obx.field(0).raw(), obx.field(usize::MAX).raw()), (&b""[..], &b""[..]));
    let msh = message.header();
    assert_eq!((msh.field(1).raw(), msh.field(2).raw(), msh.field(3).raw()), (&b"|"[..], &b"^~\\&"[..], &b"MON"[..]));
    assert_eq!((msh.field(12).raw(), msh.field_count(), msh.fields::<12>()[11].raw()), (&b"2.6"[..], 12, &b"2.6"[..]));
}

#[test]
fn the_truncation_character_shifts_nothing() {
    let mut scratch = Scratch::default();
    let message = Message::read(b"MSH|^~\\&#|MON|ICU|||2026||ORU^R01|17|P|2.7\rOBX|1|NM|a^b\r", &mut scratch).unwrap();
    assert_eq!(message.msh(10).raw(), b"17");
    assert_eq!(message.flags().names().collect::<Vec<_>>(), ["unusual_delimiters"]);
}

#[test]
fn line_ends_of_every_kind() {
    let lines = ["PID|||P1", "OBX|1|NM|x||72"];
    for (end, flag) in [("\r", vec![]), ("\n", vec!["lf_segments"]), ("\r\n", vec!["crlf_segments"])] {
        for last in ["", end] {
            let (segments, flags) = read(format!("{MSH}{end}{}{end}{}{last}", lines[0], lines[1]));
            assert_eq!(segments, [MSH, lines[0], lines[1]], "{end:?}");
            assert_eq!(flags, flag, "{end:?} {last:?}");
        }
    }
    let (segments, flags) = read(with("", "NTE|1||one\ntwo\rPID|||P1\r"));
    assert_eq!(segments[1..], ["NTE|1||one\ntwo", "PID|||P1"], "LF is data where CR ends the segments");
    assert!(flags.is_empty());
}

#[test]
fn nothing_stops_the_reading() {
    let (segments, flags) = read(with("", "\r  PID|||P1\r \rPV1\robx|1|NM\rOB|1\rPV12|1\rZZZ|custom\rOBX|1|NM|x||72\r"));
    assert_eq!(segments[1..], ["PID|||P1", "PV1", "obx|1|NM", "OB|1", "PV12|1", "ZZZ|custom", "OBX|1|NM|x||72"]);
    assert_eq!(flags, ["blank_line", "misnamed_segment"]);
    let mut scratch = Scratch::default();
    let frame = with("", "PV1\rPV12|a");
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    let names: Vec<_> = message.segments().map(|segment| segment.name()).collect();
    assert_eq!(names, [&b"MSH"[..], b"PV1", b"PV12"]);
    assert_eq!(message.first(b"PV1").unwrap().field(1).raw(), b"");
    assert_eq!(message.first(b"PV1").unwrap().fields::<2>()[0].raw(), b"");
}

#[test]
fn text_broken_over_lines_belongs_to_the_field_before() {
    let (segments, flags) = read(with("", "OBX|1|TX|a||Arrival:\rThe patient said: no.\r\rSeen||||||F\rOBX|2|NM|x||72\r"));
    assert_eq!(segments[1..], ["OBX|1|TX|a||Arrival:\rThe patient said: no.\r\rSeen||||||F", "OBX|2|NM|x||72"]);
    assert_eq!(flags, ["blank_line", "text_continued"]);
    let mut scratch = Scratch::default();
    let frame = with("", "OBX|1|TX|a||Arrival:\rat noon||||||F\r");
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    let obx = message.first(b"OBX").unwrap();
    assert_eq!((obx.field(5).text(), obx.field(11).text()), ("Arrival:\rat noon".into(), "F".into()));
}

#[test]
fn a_second_header_ends_the_message() {
    for second in ["MSH|^~\\&|EVIL\rOBX|1|NM|x||999\r", "  MSH|^~\\&|EVIL", "MSH", "MSH#"] {
        let frame = with("", &format!("OBX|1|NM|x||72\r{second}"));
        let mut scratch = Scratch::default();
        let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
        assert_eq!(message.segment_count(), 2, "{second}");
        assert!(message.flags().has(MessageFlags::SECOND_MSH));
        assert!(message.rest().starts_with(b"MSH"));
    }
    let (segments, flags) = read(with("", "NTE|1||text\nMSH|^~\\&|EVIL\rOBX|1|NM|x||72\r"));
    assert_eq!((segments.len(), flags), (3, vec!["segment_injection"]), "an LF inside data is marked too");
    assert!(read(with("", "ZZZ|1\rMSHX|1\r")).1.contains(&"misnamed_segment"));
}

#[test]
fn nul_bom_and_start_of_block_are_taken_off() {
    assert_eq!(read(format!("\u{FEFF}{MSH}\r")).1, ["bom"]);
    assert_eq!(read(format!("\x0B{MSH}\rPID|1\r\x1C\r")).0, [MSH, "PID|1"]);
    let (segments, flags) = read(format!("\0\0{MSH}\rPID|\0|\0P1\r\0\0\0"));
    assert_eq!((segments[1].as_str(), flags), ("PID||P1", vec!["nul_bytes"]));
    assert_eq!(read(format!("\r\n {MSH}\r")).1, ["blank_line"]);
}

#[test]
fn character_sets_are_decoded_as_declared() {
    let line = |set: &str, text: &[u8]| [MSH.as_bytes(), b"||||||", set.as_bytes(), b"\rNTE|1||", text, b"\r"].concat();
    for (set, bytes, text) in [
        ("8859/1", &b"M\xFCller \xE9"[..], "Müller é"),
        ("8859/15", b"\xA4", "€"),
        ("8859/5", b"\xB4\xDE", "До"),
        ("8859/7", b"\xC1\xE8", "Αθ"),
        ("8859/2", b"\xA3\xF3d\xBC", "Łódź"),
        ("UNICODE UTF-8", "Müller 東京".as_bytes(), "Müller 東京"),
        ("UNICODE", "Müller".as_bytes(), "Müller"),
        ("GB 18030-2000", b"\xD6\xD0\xCE\xC4", "中文"),
        ("BIG-5", b"\xA4\xA4\xA4\xE5", "中文"),
        ("KS X 1001", b"\xC7\xD1", "한"),
        ("ISO IR87", b"\x1B$B4A\x1B(B", "漢"),
        ("8859/1~UNICODE UTF-8", b"\xFC", "ü"),
    ] {
        let (segments, flags) = read(line(set, bytes));
        assert_eq!((segments[1].as_str(), flags), (format!("NTE|1||{text}").as_str(), vec![]), "{set}");
    }
}

#[test]
fn a_wrong_declaration_is_put_up_with() {
    let line = |set: &str, text: &[u8]| [MSH.as_bytes(), b"||||||", set.as_bytes(), b"\rNTE|1||", text, b"\r"].concat();
    for (set, bytes, text, flag) in [
        ("UNICODE UTF-8", &b"M\xFCller"[..], "Müller", "charset_mismatch"),
        ("8859/1", "37 °C".as_bytes(), "37 °C", "charset_mismatch"),
        ("ASCII", b"M\xFCller", "Müller", "charset_mismatch"),
        ("ASCII", "Müller".as_bytes(), "Müller", "charset_mismatch"),
        ("UNICODE UTF-16", "Müller".as_bytes(), "Müller", "charset_mismatch"),
        ("GB 18030-2000", b"\xFF", "ÿ", "charset_mismatch"),
        ("", b"\xFF\xFE\xFA", "ÿþú", "charset_unknown"),
        ("", "Müller".as_bytes(), "Müller", "charset_unknown"),
        ("CNS 11643-1992", b"\xE9", "é", "charset_unknown"),
    ] {
        let (segments, flags) = read(line(set, bytes));
        assert_eq!((segments[1].as_str(), flags), (format!("NTE|1||{text}").as_str(), vec![flag]), "{set} {bytes:?}");
    }
}

#[test]
fn utf_16_is_transcoded_in_both_orders() {
    let text = format!("{MSH}||||||UNICODE UTF-16\rNTE|1||Müller 東京\r");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (bytes, mark) in [(little.clone(), &b"\xFF\xFE"[..]), (big, b"\xFE\xFF"), (little[..little.len() - 1].to_vec(), b"")] {
        let (segments, flags) = read([mark, &bytes].concat());
        assert_eq!(segments[1], "NTE|1||Müller 東京");
        assert_eq!(flags, if mark.is_empty() { vec!["utf16"] } else { vec!["bom", "utf16"] });
        assert_eq!(read(&bytes).1, ["utf16"]);
    }
    let mut broken = little;
    let at = broken.len() - 4;
    broken[at..at + 2].copy_from_slice(&[0x00, 0xD8]);
    assert_eq!(read(&broken).1, ["charset_mismatch", "utf16"]);
}

#[test]
fn a_shifted_header_is_read_where_it_stands() {
    let frame = "MSH|^~\\&||MON|ICU|||20260101120000||ORU^R01^ORU_R01|17|P|2.6||||||8859/1\rNTE|1||\u{e9}\r";
    let latin: Vec<u8> = frame.chars().map(|c| c as u8).collect();
    let mut scratch = Scratch::default();
    let message = Message::read(&latin, &mut scratch).unwrap();
    assert_eq!(message.flags().names().collect::<Vec<_>>(), ["msh_shifted"]);
    assert_eq!(
        (message.msh(3).text(), message.msh(9).component(2).text(), message.msh(10).text()),
        ("MON".into(), "R01".into(), "17".into())
    );
    assert_eq!(message.first(b"NTE").unwrap().field(3).text(), "é");
    assert_eq!(message.header().field(10).raw(), b"ORU^R01^ORU_R01", "the segment itself stays as sent");
}

#[test]
fn bounds_hold_and_are_flagged() {
    let frame = with("", &"|".repeat(1 << 20)).replace("\r||||", "\rOBX|");
    let mut scratch = Scratch::default();
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    assert_eq!(message.flags().names().collect::<Vec<_>>(), ["truncated"]);
    assert_eq!(message.first(b"OBX").unwrap().field_count(), FIELDS_MAX);
    let frame = with("", &"OBX|1\r".repeat(SEGMENTS_MAX + 10));
    let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
    assert_eq!((message.segment_count(), message.rest().len()), (SEGMENTS_MAX, 11 * 6));
    assert_eq!(message.flags().names().collect::<Vec<_>>(), ["truncated"]);
}

#[test]
fn what_is_no_message_is_said() {
    let mut scratch = Scratch::default();
    for (frame, error) in [
        (&b""[..], Unreadable::Empty),
        (b"\r\n\0", Unreadable::Empty),
        (b"this is not hl7", Unreadable::NoHeader),
        (b"PID|1\rMSH|^~\\&|", Unreadable::NoHeader),
        (b"MSH", Unreadable::NoHeader),
        (b"FHS|^~\\&|", Unreadable::NoHeader),
        (b"\xFF\xFE", Unreadable::NoHeader),
    ] {
        assert_eq!(Message::read(frame, &mut scratch).err(), Some(error), "{frame:?}");
    }
    assert!(Message::read(b"MSH|", &mut scratch).is_ok());
}
