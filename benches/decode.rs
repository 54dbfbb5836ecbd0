//! What reading a message costs, as ratios: the cursor against hl7-parser and against a bare scan for its delimiters, and every
//! dialect's decode against that of PCD-01.
//!
//! `cargo bench --bench decode`; with `-- --strict` a missed bar is an error. The three are timed in turns within one run and
//! the best round of each counts, so that a busy machine disturbs all alike. Bars: at least 30 times as fast as hl7-parser,
//! at most 1.3 times the scan. The cursor does more than the other two: character set, line ends, all segments, fields 1 to
//! 18 of every OBX, the code, the value as a number, the unit.
//!
//! A dialect's messages are its samples in `data/messages`. Each is held against a PCD-01 message of as many rows (per message),
//! and its rows alone, what the message costs without them taken off, against PCD-01's rows (per OBX). Bar: at most twice, per
//! message. Waveform and alarm samples count as they come.

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vitalguard::cli::decode::payloads;
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::value::{self, Value};
use vitalguard::hl7::{Message, Scratch};
use vitalguard::observation::{Report, Source};
use vitalguard::time::Timestamp;

const ROUNDS: usize = 300;
const ROUND: Duration = Duration::from_millis(2);
const PARSER_BAR: f64 = 30.0;
const SCAN_BAR: f64 = 1.3;
const DIALECT_BAR: f64 = 2.0;
/// Rounds of each dialect.
const DIALECT_ROUNDS: usize = 60;

/// A device report of `rows` numeric rows, about 130 bytes each; patient and device are invented.
fn message(rows: usize) -> String {
    const ROWS: [(&str, &str, &str); 6] = [
        ("147842^MDC_ECG_HEART_RATE^MDC", "72", "264864^MDC_DIM_BEAT_PER_MIN^MDC"),
        ("150456^MDC_PULS_OXIM_SAT_O2^MDC", "98", "262688^MDC_DIM_PERCENT^MDC"),
        ("151578^MDC_TTHOR_RESP_RATE^MDC", "14", "264928^MDC_DIM_RESP_PER_MIN^MDC"),
        ("150344^MDC_TEMP^MDC", "36.8", "268192^MDC_DIM_DEGC^MDC"),
        ("150037^MDC_PRESS_BLD_ART_ABP_SYS^MDC", "118", "266016^MDC_DIM_MMHG^MDC"),
        ("150038^MDC_PRESS_BLD_ART_ABP_DIA^MDC", "64", "266016^MDC_DIM_MMHG^MDC"),
    ];
    let mut text = String::from(
        "MSH|^~\\&|WARDGATE^0002A5FFFE000007^EUI-64|NORTH|VG|H|20260314101500.000+0100||ORU^R01^ORU_R01|WG0000417|P|2.6|||NE|AL||\
         UNICODE UTF-8|||PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||Z40017^^^NORTH^MR||SAMPLE^ISOLDE||19510407|F\rPV1||I|3N^^07^NORTH\r\
         OBR|1|WG417^WARDGATE|WG417^WARDGATE|182777000^monitoring of patient^SCT|||20260314101500+0100\r",
    );
    for row in 0..rows {
        let (code, number, unit) = ROWS[row % ROWS.len()];
        let (set, metric) = (row + 1, row % ROWS.len());
        let _ =
            write!(text, "OBX|{set}|NM|{code}|1.1.1.{metric}|{number}|{unit}|||||R|||20260314101459+0100||||0002A5FFFE000007\r");
    }
    text
}

/// Everything that a decoder asks of every row.
fn decode(frame: &[u8], scratch: &mut Scratch) -> u64 {
    let Ok(message) = Message::read(frame, scratch) else { return 0 };
    let mut sum = 0;
    for segment in message.segments() {
        if segment.is(b"OBX") {
            let fields = segment.fields::<18>();
            let code = fields[2].component(1).integer().unwrap_or(0);
            let unit = fields[5].component(2).raw();
            if let Value::Number { value, .. } = value::read(fields[1].raw(), fields[4]) {
                sum += value as u64 + u64::from(code) + unit.len() as u64 + fields[17].raw().len() as u64;
            }
        }
    }
    sum
}

/// Nanoseconds a call of one round.
fn time(call: &mut dyn FnMut() -> u64) -> f64 {
    let (start, mut calls) = (Instant::now(), 0u32);
    loop {
        for _ in 0..16 {
            black_box(call());
        }
        calls += 16;
        let passed = start.elapsed();
        if passed >= ROUND {
            return passed.as_nanos() as f64 / f64::from(calls);
        }
    }
}

/// The messages of one dialect, and what is held against them.
struct Samples {
    dialect: &'static str,
    frames: Vec<Vec<u8>>,
    rows: usize,
    /// The same messages without their OBX.
    bare: Vec<Vec<u8>>,
    /// PCD-01 messages with as many rows each, and without them.
    peers: Vec<Vec<u8>>,
    bare_peers: Vec<Vec<u8>>,
}

fn is_row(line: &[u8]) -> bool {
    line.starts_with(b"OBX")
}

fn samples(dialect: &'static str) -> Samples {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/messages").join(dialect);
    let mut paths: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "hl7"));
    paths.sort();
    let mut found = Samples { dialect, frames: vec![], rows: 0, bare: vec![], peers: vec![], bare_peers: vec![] };
    for path in paths {
        let text = std::fs::read_to_string(path).expect("a sample").replace('\n', "\r");
        for frame in payloads(text.as_bytes()) {
            let rows = frame.split(|&byte| byte == b'\r').filter(|line| is_row(line)).count();
            let lines: Vec<&[u8]> = frame.split(|&byte| byte == b'\r').filter(|line| !is_row(line)).collect();
            found.bare.push(lines.join(&b'\r'));
            found.peers.push(message(rows).into_bytes());
            found.bare_peers.push(message(0).into_bytes());
            found.rows += rows;
            found.frames.push(frame);
        }
    }
    found
}

/// Decodes all frames of a list on one connection.
fn decode_all(frames: &[Vec<u8>], decoder: &mut Decoder, scratch: &mut Scratch, report: &mut Report, source: &Source) -> u64 {
    let mut sum = 0;
    for frame in frames {
        if let Ok(message) = Message::read(black_box(frame), scratch) {
            decoder.decode(&message, source, Timestamp::from_ms(1_772_442_030_000), report);
            sum += (report.observations.len() + report.rejects.len()) as u64;
        }
    }
    sum
}

/// Every dialect against PCD-01; whether all are within the bar.
fn dialects() -> bool {
    let tables = Tables::embedded();
    let names: Vec<&'static str> = tables.iter().map(|table| table.name).collect();
    let mut within = true;
    println!("decode of every dialect's samples against PCD-01 (bar {DIALECT_BAR} per message):");
    for name in names {
        let samples = samples(name);
        let lists = [&samples.frames, &samples.peers, &samples.bare, &samples.bare_peers];
        let mut decoders: Vec<Decoder> =
            lists.iter().map(|_| Decoder::new("Europe/Rome", Arc::clone(&tables)).expect("an IANA name")).collect();
        let (mut scratch, mut report) = (Scratch::default(), Report::default());
        let source = Source { feed: "bench".into(), peer: "192.0.2.1".into(), connection: 1, ..Source::default() };
        let mut best = [f64::INFINITY; 4];
        for _ in 0..DIALECT_ROUNDS {
            for ((best, frames), decoder) in best.iter_mut().zip(lists).zip(&mut decoders) {
                let once = time(&mut || decode_all(frames, decoder, &mut scratch, &mut report, &source));
                *best = best.min(once);
            }
        }
        let [own, peer, bare, bare_peer] = best;
        let (messages, rows) = (samples.frames.len() as f64, samples.rows.max(1) as f64);
        let (own_row, peer_row) = ((own - bare) / rows, (peer - bare_peer) / rows);
        // Without its rows a message may be recognised as another dialect, and cost more than its rows do.
        let per_row = if own_row > 0.0 && peer_row > 0.0 {
            format!("{:>5.2}x per OBX ({own_row:>4.0} ns)", own_row / peer_row)
        } else {
            "per OBX: not told apart".to_owned()
        };
        let missed = if own / peer > DIALECT_BAR { "  MISSED" } else { "" };
        println!(
            "  {:<18} {:>5.2}x per message ({:>5.0} ns, {:>4.1} rows), {per_row}{missed}",
            samples.dialect,
            own / peer,
            own / messages,
            rows / messages,
        );
        within &= own / peer <= DIALECT_BAR;
    }
    within
}

fn main() {
    let strict = std::env::args().any(|argument| argument == "--strict");
    let mut missed = false;
    for rows in [12, 80] {
        let text = message(rows);
        let frame = text.as_bytes();
        let mut scratch = Scratch::default();
        assert!(decode(frame, &mut scratch) > 0);
        assert_eq!(hl7_parser::Message::parse(&text).map(|message| message.segments.len()).unwrap_or(0), rows + 4);
        let mut best = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            best[0] = best[0].min(time(&mut || decode(black_box(frame), &mut scratch)));
            best[1] = best[1].min(time(&mut || memchr::memchr2_iter(b'\r', b'|', black_box(frame)).map(|at| at as u64).sum()));
            best[2] = best[2].min(time(&mut || {
                hl7_parser::Message::parse(black_box(&text)).map_or(0, |message| message.segments.len() as u64)
            }));
        }
        let [own, scan, parser] = best;
        println!("{rows} OBX, {} bytes: decode {own:.0} ns, memchr2 {scan:.0} ns, hl7-parser {parser:.0} ns", frame.len());
        println!("  decode/hl7-parser = {:.4}x ({:.0} times as fast; bar {PARSER_BAR})", own / parser, parser / own);
        println!("  decode/memchr2 = {:.2}x (bar {SCAN_BAR})", own / scan);
        missed |= parser / own < PARSER_BAR || own / scan > SCAN_BAR;
    }
    missed |= !dialects();
    if missed {
        println!("a bar was missed");
        std::process::exit(i32::from(strict));
    }
}
