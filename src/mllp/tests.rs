//! What a stream of bytes is taken for.

use super::*;

const M: &str = "MSH|^~\\&|A\rPID|1\r";

/// A stream as a line of events, given whole, byte by byte, and in every cut into two.
fn story(bytes: impl AsRef<[u8]>) -> String {
    story_of(bytes.as_ref(), FRAME_BYTES_MAX)
}
fn story_of(bytes: &[u8], cap: usize) -> String {
    let whole = events(&[bytes], cap);
    let dribbled: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(events(&dribbled, cap), whole, "byte by byte");
    for cut in 0..bytes.len() {
        assert_eq!(events(&[&bytes[..cut], &bytes[cut..]], cap), whole, "cut at {cut}");
    }
    whole.iter().map(line).collect::<Vec<_>>().join(" ")
}
fn events(chunks: &[&[u8]], cap: usize) -> Vec<Event> {
    let mut decoder = Decoder::new(cap);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        events.extend(std::iter::from_fn(|| decoder.poll()));
    }
    events.extend(std::iter::from_fn(|| decoder.finish()));
    assert_eq!(decoder.pending(), 0, "nothing stays behind");
    events
}
fn line(event: &Event) -> String {
    match event {
        Event::Frame { payload, faults } => {
            let names: Vec<_> = faults.names().collect();
            let content = if payload == M.as_bytes() { "M".into() } else { format!("{:?}", String::from_utf8_lossy(payload)) };
            if names.is_empty() { content } else { format!("{content}+{}", names.join("+")) }
        }
        Event::Empty => "empty".into(),
        Event::Commit(true) => "commit".into(),
        Event::Commit(false) => "refuse".into(),
        Event::Junk { skipped, .. } => format!("junk{skipped}"),
        Event::Truncated { payload } if payload == M.as_bytes() => "cut(M)".into(),
        Event::Truncated { payload } => format!("cut{}", payload.len()),
        Event::TooLarge { head } => format!("large{}", head.len()),
        Event::Foreign(protocol) => format!("{protocol:?}"),
    }
}

#[test]
fn frames_in_one_write_are_all_taken() {
    let one = format!("\x0B{M}\x1C\r");
    assert_eq!(story(&one), "M");
    assert_eq!(story(one.repeat(3)), "M M M");
    assert_eq!(story(""), "");
}

#[test]
fn junk_is_skipped_and_counted() {
    assert_eq!(story(format!("\r\n\0\0\x0B{M}\x1C\r")), "junk4 M");
    assert_eq!(story(format!("\x0B{M}\x1C\r\0\r\n\x0B{M}\x1C\r\n")), "M junk3 M junk1");
    assert_eq!(story(format!("log: Monitor MSH up\x0B{M}\x1C\r")), "junk19 M");
    let mut decoder = Decoder::new(100);
    decoder.push(&[b'x'; JUNK_RUN_BYTES_MAX + 10]);
    assert_eq!(decoder.poll(), Some(Event::Junk { skipped: JUNK_RUN_BYTES_MAX, head: vec![b'x'; JUNK_HEAD_BYTES] }));
    assert_eq!((decoder.poll(), decoder.pending()), (None, 0), "no junk is kept");
}

#[test]
fn nul_padding_is_taken_off() {
    assert_eq!(story(format!("\x0B{M}\0\0\0\x1C\r\0\0\0\x0B{M}\x1C\r")), "M+nul_padding junk3 M");
}

#[test]
fn an_empty_frame_is_a_sign_of_life() {
    assert_eq!(story(format!("\x0B\x1C\r\x0B{M}\x1C\r")), "empty M");
    assert_eq!(story("\x0B\r\n\x1C\r"), "empty");
    assert_eq!(story("\x0B\0\x1C\r"), "empty");
}

#[test]
fn fs_without_cr_ends_a_frame_at_vt_lf_or_the_end() {
    assert_eq!(story(format!("\x0B{M}\x1C\x0B{M}\x1C\r")), "M+missing_cr M");
    assert_eq!(story(format!("\x0B{M}\x1C\n\x0B{M}\x1C\r")), "M+missing_cr M");
    assert_eq!(story(format!("\x0B{M}\x1C")), "M+missing_cr");
}

#[test]
fn fs_as_last_byte_is_an_end_after_the_grace_period() {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(format!("\x0B{M}\x1C").as_bytes());
    assert_eq!(decoder.poll(), None);
    assert!(decoder.in_frame());
    assert_eq!(line(&decoder.idle().unwrap()), "M+missing_cr");
    assert_eq!(decoder.idle(), None);
    decoder.push(format!("\r\x0B{M}\x1C\r").as_bytes());
    assert_eq!(line(&decoder.poll().unwrap()), "M", "its CR came late and is no junk");
    decoder.push(format!("\x0B{M}").as_bytes());
    assert_eq!(decoder.idle(), None, "a frame without FS is never guessed");
}

#[test]
fn the_last_segment_needs_no_cr() {
    assert_eq!(story("\x0BMSH|^~\\&|A\x1C\r"), r#""MSH|^~\\&|A""#);
}

#[test]
fn a_missing_vt_is_put_up_with() {
    assert_eq!(story(format!("{M}\x1C\r\x0B{M}\x1C\r")), "M+missing_vt M");
    assert_eq!(story(format!("\x0B{M}\x1C\r{M}\x1C\r")), "M M+missing_vt");
    assert_eq!(story(format!("\r\n{M}\x1C\r")), "junk2 M+missing_vt");
    assert_eq!(story(format!("{M}\x0B{M}\x1C\r")), "cut(M) M");
}

#[test]
fn a_message_without_framing_ends_with_the_connection() {
    assert_eq!(story(M), "M+unframed");
    assert_eq!(story("FHS|^~\\&|A\rBHS|^~\\&"), r#""FHS|^~\\&|A\rBHS|^~\\&"+unframed"#);
    assert_eq!(story("this is not hl7"), "junk15");
    assert_eq!(story("MSH"), "junk3");
    assert_eq!(story("MSHELL|"), "junk7");
}

#[test]
fn a_byte_order_mark_is_dropped() {
    assert_eq!(story(format!("\u{FEFF}\x0B{M}\x1C\r")), "M+bom");
    assert_eq!(story(format!("\x0B\u{FEFF}{M}\x1C\r")), "M+bom");
    assert_eq!(story(format!("\u{FEFF}{M}\x1C\r")), "M+missing_vt+bom");
    assert_eq!(story(format!("\x0B{M}\x1C\r\n\u{FEFF}\x0B{M}\x1C\r")), "M junk1 M+bom");
}

#[test]
fn fs_inside_is_data() {
    assert_eq!(story("\x0BMSH|a\x1Cb\x1C\r"), r#""MSH|a\u{1c}b"+fs_inside"#);
    assert_eq!(story("\x0BMSH|a\x1C\x1C\r"), r#""MSH|a\u{1c}"+fs_inside"#);
}

#[test]
fn vt_inside_is_data_or_a_new_frame() {
    assert_eq!(story(format!("\x0B\x0B\x0B{M}\x1C\r")), "M");
    assert_eq!(story("\x0BMSH|a\x0Bb\x1C\r"), r#""MSH|a\u{b}b"+vt_inside"#);
    assert_eq!(story("\x0BMSH|a\x0BMSHX\x1C\r"), r#""MSH|a\u{b}MSHX"+vt_inside"#);
    assert_eq!(story(format!("\x0BMSH|half\x0B{M}\x1C\r")), "cut8 M");
    assert_eq!(story(format!("\x0BMSH|half\x0B\u{FEFF}{M}\x1C\r")), "cut8 M+bom");
    assert_eq!(story("\x0BMSH|a\x0B\x1C\r"), r#""MSH|a\u{b}"+vt_inside"#);
}

#[test]
fn a_frame_over_the_cap_is_skipped_and_the_next_one_taken() {
    let big = format!("\x0BMSH|{}\x1C\r", "x".repeat(100));
    let next = "\x0BMSH|ok\x1C\r";
    assert_eq!(story_of(format!("{big}{next}").as_bytes(), 64), r#"large65 "MSH|ok""#);
    assert_eq!(story_of(format!("{next}{big}{big}{next}").as_bytes(), 64), r#""MSH|ok" large65 large65 "MSH|ok""#);
    assert_eq!(story_of(format!("\x0B{}\x0B{M}\x1C\r", "x".repeat(100)).as_bytes(), 64), "large65 M");
    assert_eq!(story_of(format!("\x0B{}\x1C", "x".repeat(100)).as_bytes(), 64), "large65");
    let exact = format!("\x0B{}\x1C\r", "x".repeat(64));
    assert_eq!(story_of(exact.as_bytes(), 64), format!("{:?}", "x".repeat(64)));
    assert_eq!(story_of(format!("\x0B{}\x1C\r", "x".repeat(65)).as_bytes(), 64), "large65");
    let mut decoder = Decoder::new(64);
    decoder.push(format!("\x0B{}", "x".repeat(100_000)).as_bytes());
    assert!(matches!(decoder.poll(), Some(Event::TooLarge { .. })));
    assert_eq!((decoder.poll(), decoder.pending()), (None, 0), "the rest is not kept");
}

#[test]
fn a_peer_that_leaves_in_a_frame_leaves_a_fragment() {
    assert_eq!(story("\x0BMSH|half"), "cut8");
    assert_eq!(story("\x0B"), "");
    assert_eq!(story(format!("\x0B{M}\x1C\r\x0BMSH|ha")), "M cut6");
}

#[test]
fn other_protocols_are_named() {
    assert_eq!(story("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "Http");
    assert_eq!(story("POST /MSH| HTTP/1.0\r\n\r\n"), "Http");
    assert_eq!(story("PRI * HTTP/2.0\r\n\r\n"), "Http");
    assert_eq!(story(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), "Tls");
    assert_eq!(story("SSH-2.0-OpenSSH_9.2\r\n"), "Ssh");
    assert_eq!(story("GE"), "junk2");
    assert_eq!(story(format!("\x0B{M}\x1C\rGET / HTTP/1.1\r\n")), "M junk16", "only the first bytes tell");
}

#[test]
fn commit_bytes_are_no_messages() {
    assert_eq!(story("\x0B\x06\x1C\r\x0B\x15\x1C\r"), "commit refuse");
}

/// A block ends with FS CR, and MLLP allows no such bytes within it: a character whose two bytes are these ends it, and no length
/// or mark could say otherwise. What follows is evidence, and the next message is whole.
#[test]
fn a_utf_16_character_of_the_two_end_bytes_ends_its_block_and_nothing_is_lost() {
    let text: Vec<u8> = "MSH|^~\\&|A\rNTE|\u{D1C}x\r".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = text.windows(2).position(|pair| pair == b"\x1C\r").unwrap();
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(&[b"\x0B", &text[..], b"\x1C\r\x0BMSH|next\x1C\r"].concat());
    let events: Vec<Event> = std::iter::from_fn(|| decoder.poll()).collect();
    let rest = [&text[at + 2..], b"\x1C\r"].concat();
    assert_eq!(
        events,
        [
            Event::Frame { payload: text[..at].to_vec(), faults: FrameFaults::default() },
            Event::Junk { skipped: rest.len(), head: rest },
            Event::Frame { payload: b"MSH|next".to_vec(), faults: FrameFaults::default() },
        ]
    );
}

#[test]
fn utf_16_keeps_its_nuls() {
    let text: Vec<u8> = "MSH|^~\\&|A\r".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let framed = [b"\x0B", &text[..], b"\x1C\r"].concat();
    let found = events(&[&framed], FRAME_BYTES_MAX);
    assert_eq!(found, [Event::Frame { payload: text, faults: FrameFaults::default() }]);
}

#[test]
fn events_know_their_place() {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(format!("xx\x0B{M}\x1C\r").as_bytes());
    assert!(matches!(decoder.poll(), Some(Event::Junk { .. })));
    assert_eq!(decoder.event_offset(), 0);
    assert!(matches!(decoder.poll(), Some(Event::Frame { .. })));
    assert_eq!(decoder.event_offset(), 3);
    decoder.push(b"yy");
    assert_eq!(decoder.poll(), None);
    assert!(matches!(decoder.idle(), Some(Event::Junk { skipped: 2, .. })));
    assert_eq!(decoder.event_offset(), 3 + M.len() as u64 + 2);
}

#[test]
fn a_dribbling_sender_costs_no_more_than_another() {
    // 2 MB in reads of one byte: quadratic work would take hours.
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(b"\x0BMSH|");
    for _ in 0..2_000_000 {
        decoder.push(b"x");
        assert_eq!(decoder.poll(), None);
    }
    decoder.push(b"\x1C\r");
    assert!(matches!(decoder.poll(), Some(Event::Frame { payload, .. }) if payload.len() == 2_000_004));
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut out = Vec::new();
    encode(M.as_bytes(), &mut out);
    assert_eq!(story(&out), "M");
}
