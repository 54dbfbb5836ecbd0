//! What must hold for any bytes whatsoever: one function for each door through which bytes come in.
//!
//! The fuzz targets and `tests/fuzz.rs` run these same functions. Whoever finds bytes for which one of them fails keeps them in
//! `tests/regression.rs`.

use std::sync::Arc;
use vitalguard::command::Via;
use vitalguard::document::parse_command;
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
    thread_local! {
        static TABLES: Arc<Tables> = Arc::new(Tables::embedded());
    }
    let tables = TABLES.with(Arc::clone);
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
    let messages: Vec<(&[u8], Timestamp)> = {
        let mut at = start();
        let times = (0..rounds * parts.len()).map(|n| {
            let salt = data[n * 7 % data.len()] ^ (n / parts.len()) as u8;
            // Mostly one rhythm, sometimes another one.
            let step = if salt < 32 { usize::from(salt) } else { usize::from(data[0]) };
            at = at.plus_ms(STEPS_MS[step % STEPS_MS.len()]);
            (parts[n % parts.len()], at)
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
    for (user, verb) in [(user.as_str(), verb.as_str()), ("icu-wall", "ack"), ("icu-wall", "comment")] {
        for retained in [false, true] {
            match parse_command(user, verb, payload, retained, Via::Mqtt) {
                Ok(command) => {
                    assert!(!retained && !command.request_id.is_empty() && command.user == user);
                }
                Err(refused) => assert!(refused.request_id.is_none_or(|id| id.len() <= 128)),
            }
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
