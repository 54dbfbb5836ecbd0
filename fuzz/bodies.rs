//! What must hold for any bytes whatsoever: one function for each door through which bytes come in.
//!
//! The fuzz targets and `tests/fuzz.rs` run these same functions. Whoever finds bytes for which one of them fails keeps them in
//! `tests/regression.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use vitalguard::advisory::{Advisories, Field, Input, normalised};
use vitalguard::capture::{self, Linktype, Reader, Tap};
use vitalguard::command::{VERBS, Via, parse};
use vitalguard::hl7::ack::{AckMode, Outcome, answer};
use vitalguard::hl7::decode::Decoder as Hl7Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::{Message, Scratch, is_batch, split_batch, tree};
use vitalguard::mllp::{Decoder, Event};
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::{Report, Source};
use vitalguard::shell::replay::text::{Found, Text};
use vitalguard::time::Timestamp;

/// Largest frame in these runs, bytes: small, so that the way past it is walked, too.
const FRAME_BYTES_MAX: usize = 4096;

fn source(connection: u64) -> Source {
    Source { feed: "fuzz".into(), peer: "192.0.2.1".into(), connection, ward: "main".into(), ..Source::default() }
}

fn start() -> Timestamp {
    Timestamp::from_civil(2026, 3, 2, 9, 0, 0, 0).expect("a date")
}

fn events(chunks: &[&[u8]]) -> Vec<Event> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        events.extend(std::iter::from_fn(|| decoder.poll()));
        assert!(decoder.pending() <= FRAME_BYTES_MAX + 8, "{} bytes kept", decoder.pending());
    }
    events.extend(std::iter::from_fn(|| decoder.finish()));
    events
}

/// **Framing.** The first byte says how the rest is cut; the events do not depend on it, and no frame is above the cap.
pub fn framing(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let whole = events(&[bytes]);
    let cut: Vec<&[u8]> = bytes.chunks(usize::from(*step).max(1)).collect();
    assert_eq!(events(&cut), whole, "the same bytes in other pieces");
    for event in &whole {
        if let Event::Frame { payload, .. } | Event::Truncated { payload } = event {
            assert!(payload.len() <= FRAME_BYTES_MAX);
        }
    }
}

/// **Message.** Whatever is read can be shown as a tree and answered, and our answer is itself a message that ends no frame.
pub fn message(data: &[u8]) {
    let mut scratch = Scratch::default();
    if let Ok(message) = Message::read(data, &mut scratch) {
        assert!(std::str::from_utf8(message.text()).is_ok());
        for segment in message.segments() {
            for n in 0..segment.field_count().min(64) + 2 {
                for repetition in segment.field(n).repetitions() {
                    let _ = (repetition.component(2).subcomponent(1).text(), repetition.text(), repetition.integer());
                }
            }
        }
        match tree::tree(&message) {
            Ok(found) => assert_eq!(found, tree::Tree::by_cursor(&message)),
            Err(loss) => assert!(loss != tree::ParserLoss::Panicked),
        }
    }
    for mode in [AckMode::Auto, AckMode::Original, AckMode::Never] {
        for outcome in [Outcome::Stored, Outcome::NotStored, Outcome::Unreadable, Outcome::TooLarge] {
            for own in answer(data, outcome, mode, 7, start()).messages {
                let mut scratch = Scratch::default();
                let read = Message::read(&own, &mut scratch).expect("our answer is a message");
                assert!(read.first(b"MSA").is_some(), "an answer without MSA");
                let wide = vitalguard::charset::utf16(&own).is_some();
                assert!(wide || !own.iter().any(|byte| matches!(byte, 0x0B | 0x1C)), "an answer that ends its frame");
            }
        }
    }
}

/// **Decode.** Every OBX is an observation or a reject, never both and never neither; what may be used is a number and belongs to
/// a device of the message; the same bytes are understood alike twice.
pub fn decode(data: &[u8]) {
    let tables = Tables::embedded();
    let run = || {
        let mut decoder = Hl7Decoder::new("Europe/Rome", Arc::clone(&tables)).expect("an IANA name");
        let mut all = String::new();
        for (n, part) in split(data).into_iter().take(16).enumerate() {
            let mut scratch = Scratch::default();
            let Ok(message) = Message::read(part, &mut scratch) else { continue };
            let mut report = Report::default();
            decoder.decode(&message, &source(n as u64 % 3), start().plus_s(n as f64), &mut report);
            let rows = message.segments().filter(|s| s.is(b"OBX")).count();
            assert_eq!(report.observations.len() + report.rejects.len(), rows.min(65_536), "a row is lost or doubled");
            assert!(!report.devices.is_empty());
            for o in &report.observations {
                assert!(usize::from(o.device) < report.devices.len());
                assert!(!o.validity.usable() || o.value.is_finite(), "a usable value that is no number");
            }
            all.push_str(&format!("{report:?}"));
        }
        all
    };
    assert_eq!(run(), run());
}

fn split(data: &[u8]) -> Vec<&[u8]> {
    if is_batch(data) {
        return split_batch(data).messages;
    }
    // A zero byte, which no dialect has inside a message, stands between messages here.
    data.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect()
}

fn said(monitor: &mut Monitor) -> String {
    let mut all = String::new();
    while let Some(output) = monitor.poll_output() {
        match output {
            // The documents of beds are asked for at the end.
            Output::BedChanged(bed) => all.push_str(&format!("{bed:?}\n")),
            other => all.push_str(&format!("{other:?}\n")),
        }
    }
    all
}

/// Times between two messages, ms: a burst of one moment, living feeds, silences.
const STEPS_MS: [i64; 8] = [0, 0, 40, 1000, 1000, 5010, 61_000, 1_900_000];

/// **The whole core.** Messages of any content in any rhythm, again and again: never a panic, the same answers twice, and the same
/// answers from a snapshot taken in the middle.
pub fn monitor(data: &[u8]) {
    let parts: Vec<&[u8]> = split(data).into_iter().take(32).collect();
    if parts.is_empty() {
        return;
    }
    // What is learned from many messages needs many of them.
    let rounds = 1 + usize::from(data[data.len() / 2]) % 6 * 16 / parts.len();
    let messages: Vec<(Vec<u8>, Timestamp)> = {
        let mut at = start();
        let times = (0..rounds * parts.len()).map(|n| {
            let salt = data[n * 7 % data.len()] ^ (n / parts.len()) as u8;
            // Mostly one rhythm, sometimes another one.
            let step = if salt < 32 { usize::from(salt) } else { data.len() };
            at = at.plus_ms(STEPS_MS[step % STEPS_MS.len()]);
            // Each copy has something of its own: what is sent again is not judged.
            ([parts[n % parts.len()], format!("\rZRD|{n}\r").as_bytes()].concat(), at)
        });
        times.collect()
    };
    let feed = |monitor: &mut Monitor, from: usize, to: usize| {
        let mut all = String::new();
        for (n, (part, at)) in messages.iter().enumerate().take(to).skip(from) {
            monitor.handle_frame(&source(n as u64 % parts.len() as u64 % 3), n as u64 + 1, part, *at);
            all.push_str(&said(monitor));
        }
        all
    };
    let over = messages[messages.len() - 1].1.plus_s(7200.0);
    let end = |monitor: &mut Monitor| {
        monitor.handle_timeout(over);
        let mut all = said(monitor);
        let beds: Vec<_> = monitor.beds().map(|place| place.id).collect();
        for bed in beds {
            let state = monitor.bed_state(bed, over);
            all.push_str(&format!("{state:?}"));
        }
        all
    };
    let half = messages.len() / 2;
    let mut one = Monitor::new(Settings::default());
    let mut first = feed(&mut one, 0, half);
    let snapshot = one.snapshot();
    let mut two = Monitor::restore(Settings::default(), &snapshot).expect("our own snapshot");
    let (a, b) = (feed(&mut one, half, messages.len()) + &end(&mut one), feed(&mut two, half, messages.len()) + &end(&mut two));
    assert_eq!(a, b, "the snapshot knows something else");
    first.push_str(&a);
    let mut again = Monitor::new(Settings::default());
    let second = feed(&mut again, 0, messages.len()) + &end(&mut again);
    assert_eq!(first, second, "the same input, another answer");
}

/// **Commands.** First line user, second line verb, then the document: refused with a reason or understood, and then what it says
/// is within its bounds.
pub fn command(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(200)]).into_owned();
    let mut lines = text.lines();
    let (user, verb) = (lines.next().unwrap_or_default().to_owned(), lines.next().unwrap_or_default().to_owned());
    let payload = data.splitn(3, |b| *b == b'\n').nth(2).unwrap_or(data);
    let known = VERBS.iter().map(|known| ("icu-wall", *known));
    for (user, verb) in std::iter::once((user.as_str(), verb.as_str())).chain(known) {
        match parse(verb, user, Via::Mqtt, payload) {
            Ok(command) => {
                assert!(!command.request_id.is_empty() && command.user == user && command.verb.name() == verb);
                assert!(command.verb.words().is_none_or(|words| words.chars().count() <= 500));
            }
            Err(refused) => assert!(refused.request_id.is_none_or(|id| id.len() <= 64)),
        }
    }
}

/// **Recordings.** Any text read as a log: bounded pieces, places that move forward, an end.
pub fn recording(data: &[u8]) {
    let mut text = Text::new(data, FRAME_BYTES_MAX);
    let mut last = 0;
    let mut found = 0;
    while let Some(next) = text.next_found().expect("memory has no read errors") {
        let offset = match &next {
            Found::Message(piece) => {
                assert!(piece.payload.len() <= FRAME_BYTES_MAX);
                piece.offset
            }
            Found::Cut { offset, .. } | Found::TooLarge { offset, .. } => *offset,
        };
        assert!(offset >= last && offset <= data.len() as u64, "{offset} after {last}");
        last = offset;
        found += 1;
        assert!(found <= data.len(), "more messages than bytes");
    }
}

const CAPTURE: capture::Options = capture::Options { frame_bytes_max: FRAME_BYTES_MAX, data: true };

/// Everything that a capture shows, and where reading stopped, as text.
fn shown(chunks: &[&[u8]]) -> String {
    let mut reader = Reader::new(CAPTURE);
    let mut all = String::new();
    let mut drain = |reader: &mut Reader| {
        while let Some(event) = reader.poll() {
            if let capture::Event::Frame { payload, .. } = &event {
                assert!(payload.len() <= FRAME_BYTES_MAX);
            }
            all.push_str(&format!("{event:?}\n"));
        }
    };
    for chunk in chunks {
        reader.push(chunk);
        drain(&mut reader);
        let (flows, held) = reader.tap().held();
        assert!(flows <= capture::FLOWS_MAX && held <= capture::HELD_BYTES_MAX + (1 << 20), "{flows} flows, {held} bytes");
    }
    reader.finish();
    drain(&mut reader);
    assert_eq!(reader.tap().held().0, 0, "a connection is left over");
    format!("{all}{:?} {:?} {:?} {}", reader.counts(), reader.fault(), reader.records_unreadable(), reader.kind())
}

/// **Captures.** The first byte says how the rest is cut; what is read does not depend on it. The same bytes taken for packets
/// instead (a length, a link layer, a step of time) are pushed one by one, and then as a file: the two say the same.
pub fn capture(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let cut: Vec<&[u8]> = bytes.chunks(usize::from(*step).max(1)).collect();
    assert_eq!(shown(&cut), shown(&[bytes]), "the same bytes in other pieces");

    const LINKS: [u16; 8] = [1, 101, 113, 276, 0, 12, 108, 147];
    let link = LINKS[usize::from(step % 8)];
    let mut tap = Tap::new(CAPTURE);
    let mut pushed = String::new();
    let mut file = [&b"\xD4\xC3\xB2\xA1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0"[..], &u32::from(link).to_le_bytes()].concat();
    let (mut rest, mut seconds) = (bytes, 1_767_268_800u32);
    while let [len, later, after @ ..] = rest {
        let (packet, behind) = after.split_at(usize::from(*len).min(after.len()));
        rest = behind;
        seconds += u32::from(*later) / 8;
        tap.packet(Linktype(i32::from(link)), packet, Timestamp::from_ms(i64::from(seconds) * 1000));
        pushed.extend(std::iter::from_fn(|| tap.poll()).map(|event| format!("{event:?}\n")));
        for word in [seconds, 0, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    tap.finish();
    pushed.extend(std::iter::from_fn(|| tap.poll()).map(|event| format!("{event:?}\n")));
    let read = shown(&[&file]);
    assert!(read.starts_with(&format!("{pushed}{:?}", tap.counts())), "{pushed}{:?}\n---\n{read}", tap.counts());
}

/// What one side of a conversation says: messages of different lengths, each with its own id.
fn speech(who: u8, messages: &mut BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..24u32 {
        let note = "a b c d e f g h ".repeat(n as usize % 7);
        let message = format!("MSH|^~\\&|S{who}||||||ORU^R01|{who}-{n}|P|2.6\rNTE|1||{note}{n}\r").into_bytes();
        bytes.push(0x0B);
        bytes.extend(&message);
        bytes.extend([0x1C, b'\r']);
        messages.insert(message);
    }
    bytes
}

/// **Segments.** Conversations cut into any segments, lost, repeated, out of order, cut short: no message is put together of what
/// does not belong together, none is told twice, and no copy differs.
pub fn segments(data: &[u8]) {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let Some((isn, ops)) = data.split_first_chunk::<4>() else { return };
    let isn = u32::from_le_bytes(*isn);
    let mut messages = BTreeSet::new();
    let said: Vec<Vec<u8>> = (0..4).map(|who| speech(who, &mut messages)).collect();
    let mut tap = Tap::new(CAPTURE);
    let (mut at, mut ended, mut begun) = (Timestamp::from_ms(1_767_268_800_000), false, [false; 4]);
    let mut heard = BTreeSet::new();
    let mut check = |tap: &mut Tap, ended: bool| {
        while let Some(event) = tap.poll() {
            if let capture::Event::Frame { payload, .. } = event {
                assert!(messages.contains(&payload), "never said: {}", payload.escape_ascii());
                assert!(heard.insert(payload) || ended, "told twice");
            }
        }
    };
    for op in ops.chunks_exact(6).take(2048) {
        let [what, place_low, place_high, len, later, kept] = *op else { return };
        let who = usize::from(what % 4);
        let bytes = &said[who];
        let place = usize::from(u16::from_le_bytes([place_low, place_high])) % (bytes.len() + 1);
        let piece = &bytes[place..(place + usize::from(len) * 4).min(bytes.len())];
        let sequence = isn.wrapping_add(1 + place as u32);
        let (sequence, flags, piece) = match what >> 4 {
            // Only what comes first may be the beginning.
            0 | 1 if !begun[who] => (isn, SYN, &piece[..0]),
            2 if place + piece.len() == bytes.len() => (sequence, ACK | FIN, piece),
            3 => (sequence, RST, &piece[..0]),
            _ => (sequence, ACK, piece),
        };
        begun[who] = true;
        ended |= flags & (FIN | RST) != 0;
        at = at.plus_ms(i64::from(later) * 40);
        let packet = segment_packet(who as u8, sequence, isn.wrapping_add(1 + u32::from(kept) * 16), flags, piece);
        // Every second kind is cut short in capturing.
        let cut = if what & 8 != 0 { usize::from(kept).min(piece.len()) } else { 0 };
        tap.packet(Linktype(101), &packet[..packet.len() - cut], at);
        check(&mut tap, ended);
    }
    tap.finish();
    check(&mut tap, ended);
    assert_eq!((tap.counts().conflicts, tap.counts().unreadable), (0, 0), "a copy differs");
}

/// IPv4 and TCP around a piece; `who`: connection (bit 1) and side (bit 0).
fn segment_packet(who: u8, sequence: u32, acknowledged: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0];
    out.extend((data.len() as u16 + 40).to_be_bytes());
    out.extend([0, 7, 0, 0, 64, 6, 0, 0]);
    let ends = [[192, 0, 2, 7], [192, 0, 2, 1]];
    let ports = [40_000 + u16::from(who / 2), 2575];
    let (from, to) = (usize::from(who % 2), usize::from(1 - who % 2));
    out.extend(ends[from]);
    out.extend(ends[to]);
    out.extend(ports[from].to_be_bytes());
    out.extend(ports[to].to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(if flags & 16 != 0 { acknowledged } else { 0 }.to_be_bytes());
    out.extend([0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
    out.extend(data);
    out
}

/// **Advisory data of a site.** Refused with the file's name and a reason, or understood: then patterns are bounded, the same
/// text is the same data, and anything may be held against it.
pub fn advisories(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = match Advisories::read(&text, "site.toml") {
        Ok(read) => read,
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("site.toml: ") && said.len() > 12, "{said}");
            return;
        }
    };
    assert_eq!(read.hash(), Advisories::read(&text, "site.toml").expect("it was read just now").hash());
    let words = ["CMS8000", "Contec Medical Systems", "MON^02AA00FFFE001234^EUI-64", "\u{202e}x\0", &text];
    for word in words {
        let word = normalised(&vitalguard::advisory::clean(word));
        let inputs =
            [Input { field: Field::Device, text: &word, own: true }, Input { field: Field::Msh3, text: &word, own: false }];
        for found in read.matches(&inputs) {
            assert!(!found.words.is_empty() && read.of(&found).is_some());
            let _ = read.version_state(&found, &["1.0".to_owned(), word.clone()]);
        }
    }
    let _ = (read.age_days(start()), read.old_at(read.warn_after_days()), read.none_known());
}

/// **Configuration.** Refused line by line, every line with its place, or sound: then it can be judged with, and every sender can
/// be held against its rules.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let loaded = match vitalguard::cli::load::read(&text, "v.toml") {
        Ok(loaded) => loaded,
        Err(refused) => {
            assert!(!refused.0.is_empty() && refused.0.iter().all(|line| !line.is_empty()));
            return;
        }
    };
    let settings = Settings::new(&loaded.config, &[7; 32]);
    for peer in ["192.0.2.1", "::ffff:10.0.0.1", "", "no address"] {
        let source = Source { peer: peer.into(), ..source(1) };
        for application in ["", "MON", "MON^02AA00FFFE001234^EUI-64", &text] {
            if let Some(at) = settings.senders.position(&source, application, "ICU") {
                assert!(at < settings.senders.sender.len(), "a rule that is not in the list");
            }
        }
    }
    let mut monitor = Monitor::new(settings);
    let message = b"MSH|^~\\&|MON|ICU|||20260302090000||ORU^R01|1|P|2.6\rPV1||I|ICU^^B1\rOBX|1|NM|8867-4^HR^LN||70|/min|||||F\r";
    monitor.handle_frame(&source(1), 1, message, start());
    monitor.handle_timeout(start().plus_s(600.0));
    let _ = said(&mut monitor);
}
