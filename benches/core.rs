//! The cost of the core: `cargo bench --bench core`.
//!
//! Frame to outputs with every check on, 12 OBX a message, against what hl7-parser needs for parsing the same bytes alone, in
//! one run on one core: ratios, not absolutes. Then the cost for 10, 1 000 and 10 000 beds, and the bytes of a bed. Everything is
//! made by a seeded generator; nothing is random.

#[path = "made/beds.rs"]
mod beds;

use beds::{BEGIN, Noise, frame};
use std::hint::black_box;
use std::time::Instant;
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::Source;

/// Memory of this process that is resident, bytes; 0 where the system does not say.
fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}

struct Run {
    us: f64,
    /// Resident memory that came with the beds, and the size of the snapshot.
    resident_a_bed: f64,
    snapshot_a_bed: f64,
    alerts: usize,
}

/// `warm` and `measured` messages of each bed, one every `step_ms`.
fn core(beds: usize, warm: usize, measured: usize, step_ms: i64) -> Run {
    let source = Source {
        feed: "gw".into(),
        peer: "192.0.2.1".into(),
        connection: 1,
        ward: "main".into(),
        dialect: None,
        zone: None,
        ..Source::default()
    };
    let mut noise = Noise(11);
    let before = resident_bytes();
    let mut monitor = Monitor::new(Settings::default());
    let (mut number, mut alerts) = (0u64, 0);
    let mut at = BEGIN;
    let mut seconds = 0.0;
    for second in 0..warm + measured {
        let frames: Vec<Vec<u8>> = (0..beds)
            .map(|bed| {
                number += 1;
                frame(bed, number, at, &mut noise)
            })
            .collect();
        let begin = Instant::now();
        for bytes in &frames {
            monitor.handle_frame(&source, number, bytes, at);
            while let Some(output) = monitor.poll_output() {
                alerts += usize::from(matches!(black_box(output), Output::Alert(_)));
            }
        }
        if second >= warm {
            seconds += begin.elapsed().as_secs_f64();
        }
        drop(frames);
        at = at.plus_ms(step_ms);
    }
    let messages = (beds * measured) as f64;
    Run {
        us: seconds * 1e6 / messages,
        resident_a_bed: (resident_bytes() - before) / beds as f64,
        snapshot_a_bed: monitor.snapshot().len() as f64 / beds as f64,
        alerts,
    }
}

fn parser(rounds: usize) -> f64 {
    let mut noise = Noise(11);
    let frames: Vec<String> = (0..64).map(|n| String::from_utf8(frame(1, n, BEGIN, &mut noise)).expect("ASCII")).collect();
    let begin = Instant::now();
    for round in 0..rounds {
        let message = hl7_parser::parse_message(&frames[round % frames.len()]).expect("a plain message");
        black_box(message.segments().count());
    }
    begin.elapsed().as_secs_f64() * 1e6 / rounds as f64
}

fn main() {
    parser(200);
    let parse_us = parser(4000);
    println!("hl7-parser, parse alone        {parse_us:8.2} us a message");
    for (beds, warm, measured) in [(10, 2000, 2000), (1000, 60, 40), (10_000, 12, 8)] {
        let run = core(beds, warm, measured, 1000);
        println!(
            "core, {beds:6} beds              {:8.2} us a message, {:5.1}x of the parser, {:.0} resident bytes a bed, {:.0} in the snapshot, {} events",
            run.us,
            parse_us / run.us,
            run.resident_a_bed,
            run.snapshot_a_bed,
            run.alerts
        );
    }
    // One message in 30 s picks every window: a day of them makes the replay index as large as it becomes.
    let beds = std::env::var("VG_BENCH_BEDS").ok().and_then(|beds| beds.parse().ok()).unwrap_or(1000);
    let run = core(beds, 2900, 20, 30_000);
    println!(
        "full replay index, {beds} beds      {:8.2} us a message, {:.0} resident bytes a bed, {:.0} in the snapshot, {} events",
        run.us, run.resident_a_bed, run.snapshot_a_bed, run.alerts
    );
}
