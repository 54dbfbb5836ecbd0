//! What an explanation costs in a journal of a day, against its limit of 5 s: `cargo bench --bench explain`.
//!
//! The real journal is written, on a clock of its own, and judged by the real monitor, which leaves its states as the service
//! does, every 5 min. 200 beds send a message of 12 OBX once in 30 s for 24 hours, which fills the index of replays as much as
//! it becomes, and then each second for 40 min. Explained is the last alert that was raised at least 5 min before the end.
//! `-- whole` sends each second for 24 hours, which takes a quarter of an hour and 40 GB of messages (packed far less).

#[path = "made/beds.rs"]
mod beds;

use beds::{BEGIN, Noise, frame};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use vitalguard::alert::{AlertEvent, Envelope, EventKind};
use vitalguard::config::Config;
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::Source;
use vitalguard::shell::explain::{Ask, From, explain};
use vitalguard::shell::journal::{self, Feed, Journal, Now, Options, Record};
use vitalguard::shell::replay;
use vitalguard::shell::store::{AlertReader, Commit, EventRow, Store};
use vitalguard::shell::vault::Signer;
use vitalguard::time::Timestamp;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The target, s.
const LIMIT_S: f64 = 5.0;
/// A state is left so often, as configured by default, ms.
const STATE_MS: i64 = 300_000;
const KEY: &[u8] = b"explain bench";
/// Judges what the journal hands over: events of alerts, and states of the past.
fn judge(
    feed: &std::sync::mpsc::Receiver<Feed>,
    folder: &std::path::Path,
    past_bytes: u64,
    mut monitor: Monitor,
) -> Vec<AlertEvent> {
    let (mut events, mut last) = (Vec::new(), BEGIN);
    for group in feed {
        let Feed::Batch(records) = group else { continue };
        for stamped in records {
            match &stamped.record {
                Record::Frame { source, payload } => monitor.handle_frame(source, stamped.sequence, payload, stamped.at),
                Record::Open { source, .. } => monitor.handle_open(source, stamped.at),
                _ => monitor.handle_timeout(stamped.at),
            }
            while let Some(output) = monitor.poll_output() {
                events.extend(if let Output::Alert(event) = output { Some(*event) } else { None });
            }
            if stamped.at.since_ms(last) >= STATE_MS {
                last = stamped.at;
                journal::keep(folder, stamped.at, stamped.sequence, &monitor.snapshot(), past_bytes, None)
                    .expect("a state is kept");
            }
        }
    }
    events
}

fn main() {
    let beds = std::env::var("VG_BENCH_BEDS").ok().and_then(|beds| beds.parse().ok()).unwrap_or(200usize);
    let whole = std::env::args().any(|argument| argument == "whole");
    let root = tempfile::tempdir().expect("temporary folder");
    let config = Config { data: root.path().to_owned(), ..Config::default() };
    let folder = root.path().join("journal");
    let signer = Arc::new(Signer::open_or_create(&root.path().join("evidence.pem")).expect("a key"));
    let now = Arc::new(AtomicI64::new(BEGIN.ms()));
    let reading = Arc::clone(&now);
    let clock: journal::Clock = Arc::new(move || {
        let wall_ms = reading.load(Ordering::Relaxed);
        Now { wall_ms, mono_ns: (wall_ms - BEGIN.ms()).unsigned_abs() * 1_000_000 }
    });
    let options = Options { signer: Some(signer), clock, retain_bytes: u64::MAX, ..Options::new(&config.journal, "bench") };
    let (journal, feed) = Journal::open(&folder, options).expect("journal");
    let settings = Settings::new(&config, KEY);
    let (there, past_bytes) = (folder.clone(), config.journal.past_bytes);
    let judging = std::thread::spawn(move || judge(&feed, &there, past_bytes, Monitor::new(settings)));

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let source = Source { feed: "gw".into(), peer: "192.0.2.1".into(), connection: 1, ward: "main".into(), ..Source::default() };
    let (mut noise, mut number, mut bytes) = (Noise(11), 0u64, 0usize);
    let mut send = |at: Timestamp| {
        let records: Vec<Record> = (0..beds)
            .map(|bed| {
                number += 1;
                let payload = frame(bed, number, at, &mut noise);
                bytes += payload.len();
                Record::Frame { source: source.clone(), payload }
            })
            .collect();
        now.store(at.ms(), Ordering::Relaxed);
        runtime.block_on(journal.handle().submit_many(records)).expect("stored");
    };
    let began = Instant::now();
    let mut at = BEGIN;
    let step_ms = if whole { 1_000 } else { 30_000 };
    while at.since_ms(BEGIN) < 86_400_000 {
        send(at);
        at = at.plus_ms(step_ms);
    }
    for _ in 0..2_400 {
        send(at);
        at = at.plus_ms(1_000);
    }
    journal.close();
    let events = judging.join().expect("the judge");
    let lying: u64 = std::fs::read_dir(&folder)
        .expect("the folder")
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum();
    let states = journal::past(&folder).expect("states");
    let state = states.first().and_then(|past| past.read().ok()).map_or(0, |state| state.len());
    println!(
        "{number} messages, {bytes} bytes ({lying} as they lie), judged in {:.0} s; {} states, the newest {state} bytes",
        began.elapsed().as_secs_f64(),
        states.len()
    );
    let (first, last) = (at.plus_s(-2_400.0), at.plus_s(-300.0));
    let is_ours = |event: &&AlertEvent| event.event == EventKind::Raised && (first..last).contains(&event.ts);
    let raised = events.iter().rfind(is_ours).expect("an alert");
    let envelope = Envelope { site: config.site.clone(), boot: "bench".into(), replay: None, href: false };
    let path = root.path().join("store.sqlite");
    let mut store = Store::open(&path, 1_000).expect("a store");
    let rows = events.iter().map(|event| EventRow::of(event, &envelope)).collect();
    store.commit(&Commit { events: rows, ..Commit::default() }).expect("committed");
    let alert = AlertReader::open(&path).and_then(|reader| reader.find(&raised.alert.id)).expect("a store").expect("the alert");
    for curves in [false, true] {
        let began = Instant::now();
        let explained = explain(&Ask {
            config: &config,
            site_key: KEY.to_vec(),
            alert: &alert.id,
            from: From::Part { journal: &replay::Journal::at(&folder), alert: &alert, to_end: false },
            feed: "replay",
            store: &path,
            curves,
            until: None,
        })
        .expect("explained");
        let page = if curves { explained.to_html().len() } else { 0 };
        let seconds = began.elapsed().as_secs_f64();
        assert!(
            explained.found() && !explained.differs(),
            "{} does not come up again as it was: {:#}",
            alert.condition,
            explained.to_json()
        );
        println!(
            "explain{:<12} {} messages judged again in {seconds:.2} s: {:.2} of the limit of {LIMIT_S} s{}",
            if curves { " with page" } else { "" },
            explained.messages,
            seconds / LIMIT_S,
            if curves { format!(" ({page} bytes)") } else { String::new() }
        );
    }
}
