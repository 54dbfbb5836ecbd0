//! Character sets, from the bytes in an MLLP frame to the decoded text and its values: what MSH-18 declares, what it does not,
//! and what it gets wrong. Nothing is refused and nothing closes a connection.

use vitalguard::hl7::ack::{AckMode, Outcome, answer};
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::{Message, Scratch};
use vitalguard::mllp;
use vitalguard::observation::{Report, Source};
use vitalguard::time::Timestamp;

/// A message of one value and a note, as bytes of a set that has ASCII in it.
fn message(charset: &str, note: &[u8]) -> Vec<u8> {
    let head = format!(
        "MSH|^~\\&|MON|ICU|VG|H|20260302100000+0100||ORU^R01^ORU_R01|7|P|2.6||||||{charset}\rPID|||V-1^^^K^MR\rOBR|1\r\
         OBX|1|NM|8867-4^Heart rate^LN||72|/min|||||F\rNTE|1||"
    );
    [head.as_bytes(), note, b"\rOBX|2|NM|59408-5^SpO2^LN||97|%|||||F\r"].concat()
}

/// The payload after a way through MLLP, byte by byte.
fn over_the_wire(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    mllp::encode(payload, &mut bytes);
    let mut decoder = mllp::Decoder::new(mllp::FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for byte in bytes {
        decoder.push(&[byte]);
        while let Some(event) = decoder.poll() {
            let mllp::Event::Frame { payload, .. } = event else { panic!("{event:?}") };
            frames.push(payload);
        }
    }
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

/// The note, the marks; asserts that both values around the note are there and that the answer is positive.
fn heard(payload: &[u8]) -> (String, Vec<&'static str>) {
    let payload = over_the_wire(payload);
    let mut scratch = Scratch::default();
    let message = Message::read(&payload, &mut scratch).expect("a message");
    let note = message.first(b"NTE").expect("a note").field(3).text().into_owned();
    let mut decoder = Decoder::new("UTC", Tables::embedded()).expect("a zone");
    let mut report = Report::default();
    decoder.decode(&message, &Source::default(), Timestamp::from_ms(0), &mut report);
    let values: Vec<f64> = report.observations.iter().map(|o| o.value).collect();
    assert_eq!(values, [72.0, 97.0], "{note}");
    assert_eq!(report.subject.patient, "K\0V-1");
    let answer = answer(&payload, Outcome::Stored, AckMode::Auto, 1, Timestamp::from_ms(0));
    assert_eq!(answer.messages.len(), 1);
    let mut scratch = Scratch::default();
    let ack = Message::read(&answer.messages[0], &mut scratch).expect("an answer");
    let msa = ack.first(b"MSA").expect("MSA");
    assert_eq!((&*msa.field(1).text(), &*msa.field(2).text()), ("AA", "7"));
    assert_eq!(ack.msh(18).raw(), message.msh(18).raw(), "the answer declares the set that it was asked in");
    (note, report.flags.names().collect())
}

#[test]
fn every_declared_set_is_read_as_declared() {
    let sets: [(&str, &[u8], &str); 27] = [
        ("ASCII", b"Mueller", "Mueller"),
        ("", b"Mueller", "Mueller"),
        ("UNICODE UTF-8", "Müller 東京".as_bytes(), "Müller 東京"),
        ("UTF-8", "Müller".as_bytes(), "Müller"),
        ("UNICODE", "Müller".as_bytes(), "Müller"),
        ("8859/1", b"M\xFCller", "Müller"),
        ("8859/2", b"\xB1\xE6\xB6", "ąćś"),
        ("8859/3", b"\xA1", "Ħ"),
        ("8859/4", b"\xB5", "ĩ"),
        ("8859/5", b"\xB4\xDE", "До"),
        ("8859/6", b"\xC7", "ا"),
        ("8859/7", b"\xE1\xE2", "αβ"),
        ("8859/8", b"\xE0", "א"),
        ("8859/9", b"\xFD\xDD", "ıİ"),
        ("8859/10", b"\xBF", "ŋ"),
        ("8859/11", b"\xA1", "ก"),
        ("8859/13", b"\xF8", "ų"),
        ("8859/14", b"\xA1", "Ḃ"),
        ("8859/15", b"\xA4 M\xFCller", "€ Müller"),
        ("8859/16", b"\xAA", "Ș"),
        ("windows-1252", b"\x80 \x93quoted\x94", "€ “quoted”"),
        ("windows-1250", b"\x9C", "ś"),
        ("windows-1251", b"\xC4\xEE", "До"),
        ("GB 18030-2000", b"\xB6\xAB\xBE\xA9", "东京"),
        ("BIG-5", b"\xAA\x46\xA8\xCA", "東京"),
        ("KS X 1001", b"\xB5\xBF", "동"),
        ("ISO IR87", b"\x1B$BEl5~\x1B(B", "東京"),
    ];
    for (name, bytes, text) in sets {
        assert_eq!(heard(&message(name, bytes)), (text.to_owned(), vec![]), "{name}");
    }
}

#[test]
fn a_set_is_known_under_all_its_spellings() {
    for name in ["8859/15", "8859-15", "ISO 8859/15", "ISO8859_15", "iso-8859-15", "ISO_8859-15"] {
        assert_eq!(heard(&message(name, b"\xA4")), ("€".to_owned(), vec![]), "{name}");
    }
    for name in ["UNICODE UTF-8", "utf8", "UTF_8", "Unicode utf-8", "8859/1~UNICODE UTF-8"] {
        let bytes: &[u8] = if name.starts_with('8') { b"\xFC" } else { "ü".as_bytes() };
        assert_eq!(heard(&message(name, bytes)).0, "ü", "{name}");
    }
}

#[test]
fn what_is_not_as_declared_is_utf_8_else_windows_1252_and_says_so() {
    let wrong: [(&str, &[u8], &str, &str); 11] = [
        // Declared, and not true.
        ("UNICODE UTF-8", b"M\xFCller", "Müller", "charset_mismatch"),
        ("ASCII", b"M\xFCller", "Müller", "charset_mismatch"),
        ("ASCII", "Müller".as_bytes(), "Müller", "charset_mismatch"),
        ("8859/1", "37 °C".as_bytes(), "37 °C", "charset_mismatch"),
        ("8859/15", "37 °C".as_bytes(), "37 °C", "charset_mismatch"),
        ("8859/7", b"\xD2", "Ò", "charset_mismatch"),
        ("UNICODE UTF-16", "Müller".as_bytes(), "Müller", "charset_mismatch"),
        // Nothing declared, or nothing that is known.
        ("", "Müller".as_bytes(), "Müller", "charset_unknown"),
        ("", b"M\xFCller \x80", "Müller €", "charset_unknown"),
        ("8859/12", b"M\xFCller", "Müller", "charset_unknown"),
        ("CNS 11643-1992", b"\xE9", "é", "charset_unknown"),
    ];
    for (name, bytes, text, mark) in wrong {
        assert_eq!(heard(&message(name, bytes)), (text.to_owned(), vec![mark]), "{name}");
    }
    // Five bytes that are UTF-8 nowhere, and every byte that windows-1252 leaves open.
    let (note, marks) = heard(&message("UNICODE UTF-8", b"\xFF\xFE\xFA\x81\x8D\x8F\x90\x9D"));
    assert_eq!(note.chars().count(), 8, "no byte is lost: {note:?}");
    assert!(!note.contains('\u{FFFD}'));
    assert_eq!(marks, ["charset_mismatch"]);
}

#[test]
fn utf_16_is_read_in_both_byte_orders_with_and_without_a_mark() {
    for declared in ["UNICODE UTF-16", "UNICODE", ""] {
        let text = String::from_utf8(message(declared, "Müller 東京 😀".as_bytes())).expect("text");
        for (mark, little) in [(false, false), (false, true), (true, false), (true, true)] {
            let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
            let bytes: Vec<u8> = units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect();
            let (note, marks) = heard(&bytes);
            assert_eq!(note, "Müller 東京 😀", "{declared} mark {mark} little {little}");
            assert_eq!(marks, if mark { vec!["bom", "utf16"] } else { vec!["utf16"] });
        }
    }
}

#[test]
fn half_a_character_at_the_end_costs_no_row() {
    let text = String::from_utf8(message("UNICODE UTF-16", b"x")).expect("text");
    let mut bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    bytes.extend_from_slice(&0xD83Du16.to_be_bytes());
    let (note, marks) = heard(&bytes);
    assert_eq!((note.as_str(), marks), ("x", vec!["text_continued", "charset_mismatch", "utf16"]));
}

#[test]
fn a_byte_order_mark_of_utf_8_is_dropped() {
    let bytes = [b"\xEF\xBB\xBF", &message("UNICODE UTF-8", "ü".as_bytes())[..]].concat();
    let mut scratch = Scratch::default();
    let message = Message::read(&bytes, &mut scratch).expect("a message");
    assert_eq!(message.flags().names().collect::<Vec<_>>(), ["bom"]);
    assert_eq!(message.first(b"NTE").expect("a note").field(3).text(), "ü");
}
