//! The journal over real files: durable means durable, damage is found and located, nothing refused comes back.

#[path = "common/still.rs"]
mod still;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use still::ending;
use vitalguard::observation::Source;
use vitalguard::shell::journal::*;
use vitalguard::time::Timestamp;

fn source(connection: u64) -> Source {
    Source {
        feed: "icu".into(),
        peer: "10.0.0.7".into(),
        connection,
        ward: "icu".into(),
        dialect: None,
        zone: Some("Europe/Berlin".into()),
        ..Source::default()
    }
}

fn frame(n: usize, bytes: usize) -> Record {
    let mut payload = format!("MSH|^~\\&|MON|{n}|").into_bytes();
    payload.resize(payload.len().max(bytes), b'x');
    Record::Frame { source: source(3), payload }
}

fn options(boot: &str, segment_bytes: u64) -> Options {
    let config = vitalguard::config::Journal { segment_bytes, ..Default::default() };
    Options { key: Some(Arc::from(&b"a key of the site, 32 bytes long."[..])), ..Options::new(&config, boot) }
}

/// Opens a journal and lets a thread take what it feeds.
fn open(folder: &Path, options: Options) -> (Journal, std::thread::JoinHandle<Vec<Feed>>) {
    let (journal, feed) = Journal::open(folder, options).unwrap();
    (journal, drain(feed))
}

fn drain(feed: Receiver<Feed>) -> std::thread::JoinHandle<Vec<Feed>> {
    std::thread::spawn(move || feed.iter().collect())
}

fn fed(feeds: &[Feed]) -> Vec<u64> {
    feeds.iter().flat_map(|f| if let Feed::Batch(b) = f { b.iter().map(|s| s.sequence).collect() } else { vec![] }).collect()
}

fn records(folder: &Path) -> Vec<Stamped> {
    Reader::open(folder, 0).unwrap().map(|e| e.unwrap().stamped).collect()
}

fn crashed(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    still::copy(from, to.path());
    to
}

#[test]
fn what_was_answered_is_read_back_over_restarts_segments_and_sealing() {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = Vec::new();
    for boot in ["run-1", "run-2", "run-3"] {
        let (journal, feeds) = open(folder.path(), options(boot, 8 << 10));
        let handle = journal.handle();
        let mut here = vec![
            Record::Start { boot: boot.into(), applied_until: Timestamp::from_ms(5) },
            Record::Open { source: source(3), evidence: Evidence { port: 4711, tls: Some("CN=gateway".into()) } },
        ];
        here.extend((0..50).map(|n| frame(n, 700)));
        here.push(Record::Fragment { source: source(3), what: "truncated".into(), payload: vec![0, 1, 2, 255] });
        here.push(Record::Command(vitalguard::command::Command {
            request_id: "r1".into(),
            user: "anna".into(),
            via: vitalguard::command::Via::Mqtt,
            expires: None,
            wards: Vec::new(),
            verb: vitalguard::command::Verb::Ack { alert: "a1".into(), rev: Some(2), comment: Some("seen".into()) },
        }));
        here.push(Record::Close { connection: 3 });
        for record in &here {
            assert_eq!(handle.submit_blocking(record.clone()).unwrap(), sent.len() as u64 + 1);
            sent.push(record.clone());
        }
        assert_eq!(handle.stats().records, sent.len() as u64);
        journal.close();
        assert_eq!(fed(&feeds.join().unwrap()).len(), here.len());
    }
    let read = records(folder.path());
    assert_eq!(read.iter().map(|s| s.record.clone()).collect::<Vec<_>>(), sent);
    assert!(read.iter().enumerate().all(|(i, s)| s.sequence == i as u64 + 1));
    assert!(read.windows(2).all(|p| p[0].at <= p[1].at));
    assert!(ending(folder.path(), ".zst").len() > 5, "segments were sealed");
    let key = b"a key of the site, 32 bytes long.";
    let report = verify(folder.path(), Some(key)).unwrap();
    assert_eq!((report.records, report.fault, report.torn, report.unsigned), (sent.len() as u64, None, None, 0));
    assert!(verify(folder.path(), Some(b"another key")).unwrap().fault.is_some());
    let from: Vec<_> = Reader::open(folder.path(), 60).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!((from[0].stamped.sequence, from.len()), (60, sent.len() - 59));
    let with_evidence = from.iter().find(|e| matches!(e.stamped.record, Record::Frame { .. })).unwrap();
    assert_eq!(with_evidence.evidence, Evidence { port: 4711, tls: Some("CN=gateway".into()) });
    assert_eq!(with_evidence.boot, "run-2");
}

#[test]
fn a_write_torn_at_any_byte_is_cut_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _feeds) = open(folder.path(), options("run-1", 16 << 10));
    let handle = journal.handle();
    for n in 0..3 {
        handle.submit_blocking(frame(n, 60)).unwrap();
    }
    let entries: Vec<Entry> = Reader::open(folder.path(), 0).unwrap().map(|e| e.unwrap()).collect();
    let crashed = crashed(folder.path());
    journal.close();
    let segment = ending(crashed.path(), ".vgj").remove(0);
    let bytes = std::fs::read(&segment).unwrap();
    let begin = entries[2].offset as usize;
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    for cut in begin..end {
        let again = tempfile::tempdir().unwrap();
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        std::fs::write(again.path().join(segment.file_name().unwrap()), &torn).unwrap();
        // The last byte may be zero by itself.
        let whole = torn == bytes;
        let report = verify(again.path(), None).unwrap();
        assert_eq!((report.records, report.fault), (if whole { 3 } else { 2 }, None), "cut at {cut}");
        assert_eq!(report.torn.is_some(), !whole && torn[begin..].iter().any(|b| *b != 0), "cut at {cut}");
        // Every tenth position also through recovery, which is slower.
        if cut % 10 == 0 {
            let (journal, feeds) = open(again.path(), options("run-2", 16 << 10));
            assert_eq!(journal.recovered().next_sequence, 3);
            assert_eq!(journal.handle().submit_blocking(frame(9, 60)), Ok(3));
            journal.close();
            feeds.join().unwrap();
            let report = verify(again.path(), None).unwrap();
            assert_eq!((report.records, report.fault, report.torn), (3, None, None), "cut at {cut}");
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_is_found_and_located() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 4 << 10));
    for n in 0..30 {
        journal.handle().submit_blocking(frame(n, 300)).unwrap();
    }
    journal.close();
    feeds.join().unwrap();
    assert_eq!(verify(folder.path(), None).unwrap().fault, None);
    let mut checked = 0;
    for path in [ending(folder.path(), ".zst")[1].clone(), ending(folder.path(), ".vgj").pop().unwrap()] {
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, bad).unwrap();
            let report = verify(folder.path(), None).unwrap();
            // The footer of the last segment has nothing behind it: damaged, it looks like a write that was interrupted.
            let torn = report.torn.as_ref().filter(|_| report.records == 30).map(|t| t.segment.clone());
            let found = report.fault.as_ref().map(|f| f.segment.clone()).or(torn);
            assert_eq!(found.as_deref(), path.file_name().unwrap().to_str(), "byte {at} of {path:?}: {report:?}");
            checked += 1;
        }
        std::fs::write(&path, good).unwrap();
    }
    assert!(checked > 100, "{checked}");
    std::fs::remove_file(&ending(folder.path(), ".zst")[1]).unwrap();
    assert!(verify(folder.path(), None).unwrap().fault.unwrap().what.contains("missing"));
}

#[test]
fn damage_in_the_middle_of_the_open_segment_stops_the_service_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _feeds) = open(folder.path(), options("run-1", 16 << 10));
    for n in 0..4 {
        journal.handle().submit_blocking(frame(n, 60)).unwrap();
    }
    let second = Reader::open(folder.path(), 2).unwrap().next().unwrap().unwrap();
    let crashed = crashed(folder.path());
    let segment = ending(crashed.path(), ".vgj").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[second.offset as usize + 70] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let Err(JournalError::Damaged(fault)) = Journal::open(crashed.path(), options("run-2", 16 << 10)) else {
        panic!("damage was not found")
    };
    assert_eq!((fault.offset, fault.sequence), (second.offset, 2));
    journal.close();
}

#[test]
fn a_failing_disk_is_never_reported_as_stored_and_recovers() {
    for kind in [DiskFault::WRITE, DiskFault::SYNC] {
        let folder = tempfile::tempdir().unwrap();
        let options = options("run-1", 32 << 10);
        let fault = options.fault.clone();
        let (journal, feeds) = open(folder.path(), options);
        let handle = journal.handle();
        assert_eq!(handle.submit_blocking(frame(0, 100)), Ok(1));
        fault.set(kind);
        assert_eq!(handle.submit_blocking(frame(1, 100)), Err(NotStored::Disk));
        let begun = Instant::now();
        assert_eq!(handle.submit_blocking(frame(2, 100)), Err(NotStored::Disk));
        assert!(begun.elapsed() < Duration::from_millis(200), "refused at once between attempts");
        assert!(handle.stats().failing);
        assert_eq!(handle.stats().refused, 2);
        fault.set(DiskFault::NONE);
        std::thread::sleep(Duration::from_millis(PROBE_MS + 20));
        assert_eq!(handle.submit_blocking(frame(3, 100)), Ok(2));
        assert!(!handle.stats().failing);
        journal.close();
        let feeds = feeds.join().unwrap();
        let failing: Vec<bool> = feeds.iter().filter_map(|f| if let Feed::Failing(x, _) = f { Some(*x) } else { None }).collect();
        assert_eq!(failing, [true, false]);
        assert_eq!(fed(&feeds), [1, 2]);
        let stored: Vec<Record> = records(folder.path()).into_iter().map(|s| s.record).collect();
        assert_eq!(stored, [frame(0, 100), frame(3, 100)], "what was refused is not there");
        assert_eq!(verify(folder.path(), None).unwrap().fault, None);
    }
}

#[test]
fn an_idle_journal_notices_that_the_disk_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = options("run-1", 32 << 10);
    let fault = options.fault.clone();
    let (journal, _feeds) = open(folder.path(), options);
    fault.set(DiskFault::WRITE);
    assert!(journal.handle().submit_blocking(frame(1, 100)).is_err());
    fault.set(DiskFault::NONE);
    let begun = Instant::now();
    while journal.handle().stats().failing {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(50));
    }
    journal.close();
}

/// A really full disk: a small tmpfs, where we may mount one.
#[test]
fn a_full_disk_refuses_and_room_helps() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
        .arg(folder.path())
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 200 << 10]).unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 128 << 10));
    let handle = journal.handle();
    let mut stored = Vec::new();
    let mut refused = 0;
    let mut random = vec![0_u8; 20_000];
    for n in 0..60_usize {
        for (i, byte) in random.iter_mut().enumerate() {
            *byte = ((i * 2_654_435_761 + n * 40_503) >> 7) as u8 ^ (i as u8).wrapping_mul(n as u8);
        }
        let record = Record::Frame { source: source(1), payload: random.clone() };
        match handle.submit_blocking(record.clone()) {
            Ok(_) => stored.push(record),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0 && !stored.is_empty(), "{refused} refused, {} stored", stored.len());
    let _ = std::fs::remove_file(&ballast);
    std::thread::sleep(Duration::from_millis(PROBE_MS + 50));
    let last = Record::Frame { source: source(1), payload: b"after".to_vec() };
    assert!(handle.submit_blocking(last.clone()).is_ok());
    stored.push(last);
    journal.close();
    feeds.join().unwrap();
    let read: Vec<Record> = records(folder.path()).into_iter().map(|s| s.record).collect();
    let fault = verify(folder.path(), None).unwrap().fault;
    let _ = std::process::Command::new("umount").arg(folder.path()).status();
    assert_eq!(fault, None);
    assert!(read == stored, "what was answered and nothing else: {} read, {} stored", read.len(), stored.len());
}

#[test]
fn retention_deletes_the_oldest_but_not_what_is_held_or_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 4 << 10));
    for n in 0..60 {
        journal.handle().submit_blocking(frame(n, 500)).unwrap();
    }
    journal.close();
    feeds.join().unwrap();
    let sealed = ending(folder.path(), ".zst").len();
    assert!(sealed > 5);
    hold(folder.path(), "case-1", 10, 12).unwrap();
    assert!(hold(folder.path(), "../x", 1, 2).is_err());
    write_snapshot(folder.path(), 40, b"state", None).unwrap();
    let (journal, feeds) = open(folder.path(), Options { retain_bytes: 0, ..options("run-2", 4 << 10) });
    journal.handle().submit_blocking(frame(100, 10)).unwrap();
    journal.close();
    feeds.join().unwrap();
    let left: Vec<u64> = records(folder.path()).iter().map(|s| s.sequence).collect();
    assert!(left.len() < 61 && (10..=12).all(|n| left.contains(&n)) && (41..=61).all(|n| left.contains(&n)), "{left:?}");
    assert!(!left.contains(&1) && !left.contains(&25), "{left:?}");
    let report = verify(folder.path(), None).unwrap();
    assert_eq!((report.fault, report.last_sequence), (None, 61), "stubs carry the chain across");
    release(folder.path(), "case-1").unwrap();
    let (journal, feeds) = open(folder.path(), Options { retain_bytes: 0, ..options("run-3", 4 << 10) });
    journal.close();
    feeds.join().unwrap();
    assert!(records(folder.path()).iter().all(|s| s.sequence > 12));
    assert_eq!(verify(folder.path(), None).unwrap().fault, None);
}

#[test]
fn age_deletes_too() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 4 << 10));
    for n in 0..30 {
        journal.handle().submit_blocking(frame(n, 500)).unwrap();
    }
    journal.close();
    feeds.join().unwrap();
    let wall = Now { wall_ms: system_clock()().wall_ms + 31 * 86_400_000, mono_ns: 0 };
    let (journal, feeds) = open(folder.path(), Options { clock: Arc::new(move || wall), ..options("run-2", 4 << 10) });
    assert_eq!(journal.handle().submit_blocking(frame(1, 10)), Ok(31));
    journal.close();
    feeds.join().unwrap();
    assert!(ending(folder.path(), ".zst").len() <= 1, "{:?}", ending(folder.path(), ".zst"));
    assert_eq!(verify(folder.path(), None).unwrap().fault, None);
}

#[test]
fn time_never_runs_backwards_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let wall = Arc::new(AtomicI64::new(1_000_000));
    let of_clock = wall.clone();
    let with_clock = |boot: &str| {
        let wall = of_clock.clone();
        Options { clock: Arc::new(move || Now { wall_ms: wall.load(Ordering::SeqCst), mono_ns: 0 }), ..options(boot, 8 << 10) }
    };
    let (journal, feeds) = open(folder.path(), with_clock("run-1"));
    journal.handle().submit_blocking(frame(1, 10)).unwrap();
    wall.store(400_000, Ordering::SeqCst);
    journal.handle().submit_blocking(frame(2, 10)).unwrap();
    assert_eq!(journal.handle().stats().clock_steps, 1);
    journal.close();
    feeds.join().unwrap();
    let (journal, feeds) = open(folder.path(), with_clock("run-2"));
    assert_eq!(journal.recovered().last_at, Timestamp::from_ms(1_000_000));
    journal.handle().submit_blocking(frame(3, 10)).unwrap();
    wall.store(1_000_001, Ordering::SeqCst);
    journal.handle().submit_blocking(frame(4, 10)).unwrap();
    journal.close();
    let feeds = feeds.join().unwrap();
    assert!(feeds.iter().all(|f| !matches!(f, Feed::Tick(t) if t.ms() < 1_000_000)));
    let at: Vec<i64> = records(folder.path()).iter().map(|s| s.at.ms()).collect();
    assert_eq!(at, [1_000_000, 1_000_000, 1_000_000, 1_000_001]);
    let entries: Vec<i64> = Reader::open(folder.path(), 0).unwrap().map(|e| e.unwrap().wall_ms).collect();
    assert_eq!(entries, [1_000_000, 400_000, 400_000, 1_000_001], "what the wall clock said is kept");
}

#[test]
fn where_a_time_begins_is_found_also_behind_a_clock_that_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (wall, mono) = (Arc::new(AtomicI64::new(1_000_000)), Arc::new(AtomicI64::new(0)));
    let (of_wall, of_mono) = (wall.clone(), mono.clone());
    let clock: Clock = Arc::new(move || Now {
        wall_ms: of_wall.load(Ordering::SeqCst),
        mono_ns: of_mono.load(Ordering::SeqCst).unsigned_abs() * 1_000_000,
    });
    let (journal, feeds) = open(folder.path(), Options { clock, ..options("run-1", 4 << 10) });
    for n in 0..120 {
        if n == 50 {
            wall.fetch_sub(30_000, Ordering::SeqCst);
        }
        journal.handle().submit_blocking(frame(n, 300)).unwrap();
        wall.fetch_add(1_000, Ordering::SeqCst);
        mono.fetch_add(1_000, Ordering::SeqCst);
    }
    journal.close();
    feeds.join().unwrap();
    let records = records(folder.path());
    for record in &records {
        let wanted = records.iter().find(|r| r.at >= record.at).unwrap().sequence;
        let found = segment_before(folder.path(), record.at).unwrap();
        assert!(found <= wanted, "from {} on: {found} is behind record {wanted}", record.at);
        // At most a segment too early, but where segments were begun in one and the same moment.
        assert!(wanted - found < 40, "from {} on: {found} is far before record {wanted}", record.at);
    }
}

#[test]
fn an_unbroken_part_ends_at_the_first_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 4 << 10));
    for n in 0..60 {
        journal.handle().submit_blocking(frame(n, 300)).unwrap();
    }
    journal.close();
    feeds.join().unwrap();
    assert_eq!(unbroken(folder.path(), 7).unwrap(), Some((7, u64::MAX)));
    let firsts: Vec<u64> =
        ending(folder.path(), "").iter().filter_map(|p| p.file_name()?.to_str()?.split_once(".vgj")?.0.parse().ok()).collect();
    hold(folder.path(), "case-1", firsts[2], firsts[2]).unwrap();
    let (journal, feeds) = open(folder.path(), Options { retain_bytes: 0, ..options("run-2", 4 << 10) });
    journal.handle().submit_blocking(frame(60, 300)).unwrap();
    journal.close();
    feeds.join().unwrap();
    assert_eq!(unbroken(folder.path(), 1).unwrap(), Some((firsts[2], firsts[3] - 1)));
    assert_eq!(unbroken(folder.path(), firsts[2] + 1).unwrap(), Some((firsts[2] + 1, firsts[3] - 1)));
    assert_eq!(unbroken(folder.path(), firsts[3]).unwrap(), Some((61, u64::MAX)));
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _feeds) = open(folder.path(), options("run-1", 8 << 10));
    assert!(matches!(Journal::open(folder.path(), options("run-2", 8 << 10)), Err(JournalError::Locked { .. })));
    journal.close();
    open(folder.path(), options("run-3", 8 << 10)).0.close();
}

#[test]
fn a_slow_consumer_makes_the_intake_wait_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feed) = Journal::open(folder.path(), options("run-1", 1 << 20)).unwrap();
    let handle = journal.handle();
    let sender = std::thread::spawn(move || {
        for n in 0..100 {
            handle.submit_blocking(frame(n, 10)).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!sender.is_finished(), "the sender waits");
    assert!(journal.handle().stats().records < 100);
    let consumer = drain(feed);
    sender.join().unwrap();
    journal.close();
    assert_eq!(fed(&consumer.join().unwrap()), (1..=100).collect::<Vec<_>>());
}

#[test]
fn an_idle_journal_ticks() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feed) = Journal::open(folder.path(), options("run-1", 1 << 20)).unwrap();
    for _ in 0..3 {
        assert!(matches!(feed.recv_timeout(Duration::from_secs(2)), Ok(Feed::Tick(_))));
    }
    drop(feed);
    let begun = Instant::now();
    while journal.handle().submit_blocking(frame(1, 10)).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "without a judge nothing is accepted");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(journal.handle().stats().consumer_gone);
}

#[tokio::test]
async fn a_submission_of_many_is_stored_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _feeds) = open(folder.path(), options("run-1", 1 << 20));
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let handle = journal.handle();
            tokio::spawn(async move {
                let list = (0..5).map(|n| frame(task * 100 + n, 50)).collect();
                (task, handle.submit_many(list).await.unwrap())
            })
        })
        .collect();
    for task in tasks {
        let (task, first) = task.await.unwrap();
        let read: Vec<_> = Reader::open(folder.path(), first).unwrap().take(5).map(|e| e.unwrap().stamped.record).collect();
        assert_eq!(read, (0..5).map(|n| frame(task * 100 + n, 50)).collect::<Vec<_>>());
    }
    tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
}

#[test]
fn no_file_makes_the_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, feeds) = open(folder.path(), options("run-1", 4 << 10));
    for n in 0..8 {
        journal.handle().submit_blocking(frame(n, 300)).unwrap();
    }
    journal.close();
    feeds.join().unwrap();
    let good = std::fs::read(ending(folder.path(), ".vgj").pop().unwrap()).unwrap();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let other = tempfile::tempdir().unwrap();
        let mut bytes = good.clone();
        for _ in 0..=random() % 8 {
            let at = (random() as usize) % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(bytes.len() - (random() as usize) % (bytes.len() / 2) * usize::from(round % 3 == 0));
        // A header with a fitting checksum and hostile numbers.
        if round % 4 == 0 {
            bytes[8..16].copy_from_slice(&[0xff; 8]);
            let crc = crc32fast::hash(&bytes[..188]);
            bytes[188..192].copy_from_slice(&crc.to_le_bytes());
        }
        let name = ["00000000000000000006.vgj", "18446744073709551615.vgj", "0.vgj", "1.vgj.gone", "7.vgj.zst"][round % 5];
        std::fs::write(other.path().join(name), bytes).unwrap();
        let _ = verify(other.path(), Some(b"key"));
        let _ = Journal::open(other.path(), options("run-2", 4 << 10)).map(|(journal, _feed)| journal.close());
    }
}
