//! What is answered, and what is not.

use super::*;

/// 2026-11-22T18:24:07.412Z
const AT: Timestamp = Timestamp::from_ms(1_795_371_847_412);

fn answers(payload: impl AsRef<[u8]>, outcome: Outcome, mode: AckMode) -> Vec<String> {
    let answer = answer(payload.as_ref(), outcome, mode, 32_767, AT);
    answer.messages.iter().map(|message| String::from_utf8_lossy(message).replace('\r', "/")).collect()
}
/// A message that asks for acknowledgements as given.
fn asking(accept: &str, application: &str) -> String {
    format!("MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|17|P|2.6|||{accept}|{application}\rPID|1||SECRET\r")
}
/// MSA-1 of each answer.
fn codes(accept: &str, application: &str, outcome: Outcome, mode: AckMode) -> String {
    let messages = answers(asking(accept, application), outcome, mode);
    messages.iter().filter_map(|message| message.split("/MSA|").nth(1)?.get(..2)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_stored_message_is_acknowledged() {
    let found = answers(asking("", ""), Outcome::Stored, AckMode::Auto);
    assert_eq!(found, [r"MSH|^~\&|PLAUS|H|MON|ICU|20261122182407.412+0000||ACK^R01^ACK|VGZZZ|P|2.6/MSA|AA|17/"]);
}

#[test]
fn both_halves_of_enhanced_mode_are_kept() {
    use Outcome::{NotStored, Stored};
    for (accept, application, stored, failed) in [
        ("", "", "AA", "AE"),
        ("AL", "NE", "CA", "CE"),
        ("NE", "AL", "AA", "AE"),
        ("AL", "AL", "CA AA", "CE"),
        ("NE", "NE", "", ""),
        ("ER", "NE", "", "CE"),
        ("SU", "NE", "CA", ""),
        ("NE", "ER", "", "AE"),
        ("NE", "SU", "AA", ""),
        ("ER", "ER", "", "CE"),
        ("SU", "SU", "CA AA", ""),
        ("ER", "AL", "AA", "CE"),
        ("AL", "", "CA", "CE"),
        ("", "AL", "AA", "AE"),
        ("NE", "", "", ""),
        ("\"\"", "\"\"", "AA", "AE"),
        ("YES", "", "CA", "CE"),
    ] {
        assert_eq!(codes(accept, application, Stored, AckMode::Auto), stored, "{accept}/{application} stored");
        assert_eq!(codes(accept, application, NotStored, AckMode::Auto), failed, "{accept}/{application} not stored");
        assert_eq!(codes(accept, application, Stored, AckMode::Never), "");
    }
}

#[test]
fn the_two_answers_have_ids_of_their_own() {
    let found = answers(asking("AL", "AL"), Outcome::Stored, AckMode::Auto);
    assert!(found[0].contains("|VGZZZ|") && found[1].contains("|VGZZZ-2|"), "{found:?}");
    let code = answer(asking("AL", "AL").as_bytes(), Outcome::Stored, AckMode::Auto, 1, AT).code;
    assert_eq!(code, "AA");
}

#[test]
fn a_site_may_ask_for_original_mode() {
    for (accept, application, expected) in
        [("AL", "NE", "AA"), ("AL", "AL", "AA"), ("NE", "AL", "AA"), ("NE", "NE", ""), ("ER", "NE", ""), ("", "", "AA")]
    {
        assert_eq!(codes(accept, application, Outcome::Stored, AckMode::Original), expected, "{accept}/{application}");
    }
}

#[test]
fn errors_stand_in_err_since_2_5_and_in_msa_3_before() {
    let of = |version: &str, outcome| {
        let payload = format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|9|T|{version}\r");
        let found = answers(payload, outcome, AckMode::Auto).remove(0);
        found[found.find("/MSA").unwrap()..].to_owned()
    };
    let err = "/ERR|||207^Application internal error^HL70357|E||||could not be stored, please send again/";
    assert_eq!(of("2.5", Outcome::NotStored), format!("/MSA|AE|9{err}"));
    assert_eq!(of("2.9.9", Outcome::NotStored), format!("/MSA|AE|9{err}"));
    for version in ["2.4", "2.3.1", "", "two"] {
        assert_eq!(of(version, Outcome::NotStored), "/MSA|AE|9|could not be stored, please send again/", "{version}");
    }
    assert!(of("2.6", Outcome::TooLarge).starts_with("/MSA|AR|9/ERR|||207^"));
    assert!(of("2.6", Outcome::Unsupported).starts_with("/MSA|AR|9/ERR|||201^Unsupported event code^HL70357|E|"));
}

#[test]
fn the_structure_is_named_where_the_version_has_it() {
    let of = |kind: &str, version: &str| {
        let found = answers(format!("MSH|^~\\&|||||2026||{kind}|9|P|{version}\r"), Outcome::Stored, AckMode::Auto).remove(0);
        found.split('|').nth(8).unwrap().to_owned()
    };
    assert_eq!(of("ORU^R01", "2.6"), "ACK^R01^ACK");
    assert_eq!(of("ORU^R01", "2.3.1"), "ACK^R01^ACK");
    assert_eq!(of("ORU^R01", "2.3"), "ACK^R01");
    assert_eq!(of("ORU^R01^ORU_R01", "2.2"), "ACK^R01^ACK");
    assert_eq!(of("ORU", "2.6"), "ACK^^ACK");
    assert_eq!(of("ORU", "2.3"), "ACK");
    assert_eq!(of("", "2.6"), "ACK^^ACK");
    assert_eq!(of("ORU^<script>", "2.6"), "ACK^^ACK");
    assert_eq!(of("ORU^R01", "two"), "ACK^R01");
}

#[test]
fn what_every_release_demands_is_filled_in() {
    let of =
        |rest: &str| answers(format!("MSH|^~\\&|PSN||||2026||ORU^R40|9{rest}\r"), Outcome::NotStored, AckMode::Auto).remove(0);
    for rest in ["", "|", "||", "|\"\"|\"\"|"] {
        assert!(of(rest).ends_with("|ACK^R40^ACK|VGZZZ|P|2.4/MSA|AE|9|could not be stored, please send again/"), "{}", of(rest));
    }
    assert!(of("|T|2.6").contains("|ACK^R40^ACK|VGZZZ|T|2.6/MSA|AE|9/ERR|||207^"));
    assert!(of("|D").contains("|VGZZZ|D|2.4/"));
}

#[test]
fn queries_are_refused() {
    let query = "MSH|^~\\&|MON^1^EUI-64||||2026||QBP^ZV1^QBP_Q11|5|P|2.6|||AL|AL\rQPD|Z\r";
    let found = answers(query, Outcome::Stored, AckMode::Auto);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("/MSA|CR|5/ERR|||200^Unsupported message type^HL70357|E||||queries are not answered here/"));
    let old = answers("MSH|^~\\&|A||||2026||QRY^R02|5|P|2.3\r", Outcome::Stored, AckMode::Auto);
    assert!(old[0].ends_with("/MSA|AR|5|queries are not answered here/"), "{old:?}");
}

#[test]
fn an_acknowledgement_is_never_acknowledged() {
    for kind in ["ACK", "ACK^R01^ACK", "RSP^ZV2^RSP_ZV2", "ORA^R41^ORA_R41"] {
        for outcome in [Outcome::Stored, Outcome::NotStored, Outcome::Unsupported] {
            let payload = format!("MSH|^~\\&|A||||2026||{kind}|5|P|2.6|||AL|AL\rMSA|AA|1\r");
            assert!(answers(payload, outcome, AckMode::Auto).is_empty(), "{kind}");
        }
    }
    assert_eq!(answers("MSH|^~\\&|A||||2026||ORF^R04|5|P|2.4\rMSA|AA|1\r", Outcome::Stored, AckMode::Auto).len(), 1);
}

#[test]
fn received_delimiters_are_used_throughout() {
    let found = answers("MSH#@~\\&#M@1#B###2026##ORU@R01#a@b\\F\\#P#2.6######8859/1\rPID#1\r", Outcome::NotStored, AckMode::Auto);
    assert_eq!(
        found,
        ["MSH#@~\\&###M@1#B#20261122182407.412+0000##ACK@R01@ACK#VGZZZ#P#2.6######8859/1/MSA#AE#a@b\\F\\\
         /ERR###207@Application internal error@HL70357#E####could not be stored, please send again/"]
    );
    let five = answers("MSH|^~\\&#|A|||||||7|P|2.7\r", Outcome::Stored, AckMode::Auto);
    assert!(five[0].starts_with("MSH|^~\\&#|") && five[0].ends_with("/MSA|AA|7/"), "{five:?}");
    let short = answers("MSH|^~|A|||||||7|P|2.4\r", Outcome::Stored, AckMode::Auto);
    assert!(short[0].starts_with("MSH|^~\\&||") && short[0].ends_with("/MSA|AA|7/"), "{short:?}");
}

#[test]
fn without_a_header_the_answer_is_a_refusal() {
    for payload in [&b"this is not hl7"[..], b"", b"PID|1\r", b"\xFF\xFE", b"begin 644 x\r"] {
        let found = answers(payload, Outcome::Stored, AckMode::Auto);
        assert_eq!(
            found,
            ["MSH|^~\\&|VITALGUARD||||20261122182407.412+0000||ACK^^ACK|VGZZZ|P|2.5/MSA|AR|\
              /ERR|||100^Segment sequence error^HL70357|E||||no readable MSH segment/"]
        );
    }
}

#[test]
fn a_shifted_header_is_answered_as_it_was_meant() {
    let found = answers("MSH|^~\\&||MON|ICU|||2026||ORU^R01^ORU_R01|17|P|2.6|||AL|NE\rPID|1\r", Outcome::Stored, AckMode::Auto);
    assert_eq!(found, [r"MSH|^~\&|||MON|ICU|20261122182407.412+0000||ACK^R01^ACK|VGZZZ|P|2.6/MSA|CA|17/"]);
    let found = answers("MSH|^~\\&|SEND|REC|202401011200||ORU^R01|1|P|2.3\rPID|1\r", Outcome::Stored, AckMode::Auto);
    assert!(found[0].ends_with("|ACK^R01|VGZZZ|P|2.3/MSA|AA|1/"), "{found:?}");
}

#[test]
fn the_id_comes_back_byte_for_byte() {
    let latin = b"MSH|^~\\&|M\xFCller||||2026||ORU^R01|a&b~c\\X41\\ \xE9 |P|2.4||||||8859/1\rPID|1\r";
    let answer = answer(latin, Outcome::Stored, AckMode::Auto, 1, AT);
    let text = &answer.messages[0];
    assert!(memchr::memmem::find(text, b"|M\xFCller|").is_some());
    assert!(text.ends_with(b"\rMSA|AA|a&b~c\\X41\\ \xE9 \r"));
    assert_eq!(
        answers("MSH|^~\\&|A||||2026||ORU^R01||P|2.4\r", Outcome::Stored, AckMode::Auto)[0].split('/').nth(1),
        Some("MSA|AA|")
    );
}

#[test]
fn nothing_echoed_can_end_the_frame() {
    let payload = b"MSH|^~\\&|A\x1C\x0B|\x00B||\x1C|2026||ORU^R01|17\x1C";
    for outcome in [Outcome::Stored, Outcome::NotStored] {
        for message in answer(payload, outcome, AckMode::Auto, 1, AT).messages {
            assert!(!message.iter().any(|byte| matches!(byte, 0 | 0x0B | 0x1C)));
        }
    }
    let long = format!("MSH|^~\\&|{}|||||||{}|P|2.6\r", "x".repeat(1 << 20), "y".repeat(1 << 20));
    assert!(answer(long.as_bytes(), Outcome::Stored, AckMode::Auto, 1, AT).messages[0].len() < 6000);
}

#[test]
fn nothing_of_the_patient_is_repeated() {
    for outcome in [Outcome::Stored, Outcome::NotStored, Outcome::Unsupported, Outcome::Unreadable, Outcome::TooLarge] {
        for message in answers(asking("AL", "AL"), outcome, AckMode::Auto) {
            assert!(!message.contains("SECRET"));
        }
    }
}

#[test]
fn utf_16_is_answered_in_utf_16() {
    let text = "MSH|^~\\&|MON|ICU|||2026||ORU^R01|17|P|2.6||||||UNICODE UTF-16\rPID|1||Müller\r";
    let bytes: Vec<u8> = [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let message = answer(&bytes, Outcome::Stored, AckMode::Auto, 1, AT).messages.remove(0);
    let units: Vec<u16> = message.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let back = String::from_utf16(&units).unwrap();
    assert!(back.starts_with("\u{FEFF}MSH|^~\\&|||MON|ICU|") && back.ends_with("|UNICODE UTF-16\rMSA|AA|17\r"), "{back}");
}

#[test]
fn a_batch_is_answered_message_by_message() {
    let batch =
        "FHS|^~\\&|X\rBHS|^~\\&|X\rMSH|^~\\&|A||||2026||ORU^R01|1|P|2.6\rPID|1\rMSH|^~\\&|A||||2026||ORU^R01|2|P|2.6\rBTS|2\r";
    let found = answers(batch, Outcome::Stored, AckMode::Auto);
    assert_eq!(found.len(), 2);
    assert!(found[0].ends_with("|VGZZZ|P|2.6/MSA|AA|1/") && found[1].ends_with("|VGZZZ-2|P|2.6/MSA|AA|2/"), "{found:?}");
    assert!(answers("BHS|^~\\&|X\rEVN|A04\r", Outcome::Stored, AckMode::Auto)[0].contains("/MSA|AR|/"));
}

#[test]
fn our_own_id_spells_no_segment_and_repeats_nothing() {
    // A client that splits at `MSH|` wherever it stands would cut the acknowledgement behind an id that ends so.
    let ids: std::collections::HashSet<_> = (0..40_000).map(|unique| OwnId { unique, count: 0 }.next()).collect();
    assert_eq!(ids.len(), 40_000);
    assert!(ids.iter().all(|id| !id.contains(['E', 'I', 'O', 'S'])));
    assert_eq!(OwnId { unique: u64::MAX, count: 63_999 }.next(), "VGGZZZZZZZZZZZZ-fa00");
}
