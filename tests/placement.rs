//! Tap and fail-open tee over real sockets, with the built program: what the clinical path sees, whatever becomes of the judge.

#[path = "support/capture.rs"]
mod capture;
mod common;

use capture::Talk;
use common::{PATIENCE, Served, signal, wait_for};
use socket2::SockRef;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vitalguard::shell::journal::{Reader, Record};
use vitalguard::shell::tee::{self, Hello, Request};

/// A message of the clinical path waits no longer than this for its answer, whatever happens to the judge. The path itself takes
/// far below a millisecond; the rest is a test machine that is busy.
const PATH_BOUND: Duration = Duration::from_secs(2);

/// The real receiver: one thread a connection, answers AA to every frame at once.
struct Receiver {
    address: SocketAddr,
    frames: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Receiver {
    fn start() -> Receiver {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (frames, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, opened) = (Arc::clone(&frames), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                opened.fetch_add(1, Ordering::Relaxed);
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || acknowledge(stream, &counted));
            }
        });
        Receiver { address, frames, connections }
    }
}

fn acknowledge(mut stream: TcpStream, frames: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 65536]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
        }
        while let Some(end) = buffer.windows(2).position(|w| w == [0x1C, 0x0D]) {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&frame);
            let id = text.split('|').nth(9).unwrap_or_default();
            frames.fetch_add(1, Ordering::Relaxed);
            let answer = format!("\u{b}MSH|^~\\&|RCV|H|MON|ICU|20260101120000||ACK|A{id}|P|2.6\rMSA|AA|{id}\r\u{1c}\r");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// A service with one tee, and its relay, which is ended with the test.
struct House {
    folder: tempfile::TempDir,
    served: Option<Served>,
}

impl House {
    fn new(receiver: SocketAddr, more: &str) -> House {
        let house = House { folder: tempfile::tempdir().unwrap(), served: None };
        house.configure(receiver, more);
        house
    }
    fn configure(&self, receiver: SocketAddr, more: &str) {
        let text = format!("[[mllp]]\nfeed = \"gw\"\nward = \"icu\"\nplacement = \"tee\"\nforward_to = \"{receiver}\"\n{more}");
        std::fs::write(self.folder.path().join("v.toml"), text).unwrap();
    }
    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }
    fn serve(&mut self) -> &mut Served {
        let config = self.folder.path().join("v.toml");
        self.served = Some(Served::start(&self.data(), &["--config", config.to_str().unwrap()]));
        self.served.as_mut().unwrap()
    }
    fn served(&mut self) -> &mut Served {
        self.served.as_mut().unwrap()
    }
    fn control(&self) -> std::path::PathBuf {
        tee::control(&self.data(), "gw")
    }
    fn relay(&self) -> Hello {
        tee::ask_now(&self.control(), Request::Status).expect("the relay answers")
    }
    fn metric(&self, line: &str) -> u64 {
        metric(self.served.as_ref().unwrap(), line)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // The service first: it would start another relay.
        self.served = None;
        for entry in std::fs::read_dir(self.data().join("tee")).into_iter().flatten().flatten() {
            if let Ok(hello) = tee::ask_now(&entry.path(), Request::Status) {
                let _ = Command::new("kill").args(["-9", &hello.pid.to_string()]).status();
            }
        }
    }
}

fn metric(served: &Served, line: &str) -> u64 {
    let body = served.get("/metrics").1;
    let value = body.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse::<f64>().ok());
    value.unwrap_or(0.0) as u64
}

fn message(id: &str, bed: &str, hr: u32) -> Vec<u8> {
    let (hr, at) = (hr.to_string(), common::now_hl7());
    common::pcd01("MON", "icu", bed, id, &at, &[(common::HR, &hr, common::BPM), (common::SPO2, "97", common::PERCENT)])
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    vitalguard::mllp::encode(payload, &mut frame);
    frame
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a message, waits for its answer; how long that took.
fn ask(stream: &mut TcpStream, id: &str, bed: &str) -> Duration {
    let begun = Instant::now();
    stream.write_all(&framed(&message(id, bed, 72))).expect("the path takes it");
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(&[0x1C, 0x0D]) {
        let n = stream.read(&mut chunk).expect("the path answers");
        assert!(n > 0, "the path was closed");
        answer.extend_from_slice(&chunk[..n]);
    }
    assert_eq!(common::msa(&answer), ("AA".into(), id.into()));
    begun.elapsed()
}

/// Control ids of every message in the journal, and how often a piece of evidence of each kind stands in it.
fn journalled(data: &Path) -> (BTreeMap<String, (u64, String)>, BTreeMap<String, u64>) {
    let (mut ids, mut pieces) = (BTreeMap::new(), BTreeMap::new());
    for entry in Reader::open(&data.join("journal"), 0).unwrap() {
        match entry.unwrap().stamped.record {
            Record::Frame { payload, source } => {
                let id = String::from_utf8_lossy(&payload).split('|').nth(9).unwrap_or_default().to_owned();
                ids.entry(id).or_insert((0, source.peer)).0 += 1;
            }
            Record::Fragment { what, .. } => *pieces.entry(what).or_default() += 1,
            _ => {}
        }
    }
    (ids, pieces)
}

/// Bytes that look like nothing, from a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

#[test]
fn a_tee_passes_every_byte_on_unchanged_and_judges_the_copy() {
    let receiver = Receiver::start();
    let mut house = House::new(receiver.address, "");
    let address = house.serve().mllp;
    let mut sender = connect(address);
    for n in 0..20 {
        assert!(ask(&mut sender, &format!("A{n}"), "B01") < PATH_BOUND);
    }
    assert_eq!(receiver.frames.load(Ordering::Relaxed), 20);
    wait_for("the copies to be judged", || {
        (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") == 20).then_some(())
    });
    wait_for("the answers to be paired", || {
        (house.metric("vitalguard_path_answers_total{feed=\"gw\",code=\"AA\"}") == 20).then_some(())
    });
    assert_eq!(house.metric("vitalguard_path_seconds_count{feed=\"gw\"}"), 20);
    assert_eq!(house.metric("vitalguard_answers_total{feed=\"gw\",code=\"AA\"}"), 0, "we have answered nothing");
    let feeds = wait_for("the feed's document", || {
        let feeds: serde_json::Value = serde_json::from_str(&house.served.as_ref()?.get("/api/v1/feeds").1).ok()?;
        let feed = feeds["feeds"].as_array()?.iter().find(|f| f["feed"] == "gw")?.clone();
        (feed["state"] == "up" && feed["path"]["relay"]["connections"] == 1).then_some(feed)
    });
    assert_eq!((&feeds["path"]["placement"], &feeds["path"]["answers"]["aa"]), (&"tee".into(), &20.into()), "{feeds}");
    assert_eq!(feeds["counts"]["aa"], 0);
    drop(sender);
    house.served().terminate();
    let (ids, pieces) = journalled(&house.data());
    assert_eq!(ids.len(), 20);
    assert!(ids.values().all(|(times, peer)| *times == 1 && peer == "127.0.0.1"), "{ids:?}");
    assert_eq!(pieces.get("answer"), Some(&20));
}

#[test]
fn garbage_and_half_frames_go_through_byte_for_byte_in_both_directions() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = House::new(socket.local_addr().unwrap(), "");
    let address = house.serve().mllp;
    for seed in 1..6u64 {
        let mut there = noise(seed, 700_000);
        there.extend_from_slice(&framed(&message("G", "B01", 70)));
        there.extend_from_slice(b"\x0bMSH|^~\\&|half a frame");
        there.extend_from_slice(&noise(seed + 100, 31));
        let mut back = noise(seed + 200, 500_000);
        back.extend_from_slice(b"\x0b\x0b\x1c\x1c\r\x00\xff");
        let mut sender = connect(address);
        let (mut receiver, _) = socket.accept().unwrap();
        let (sent, answered) = (there.clone(), back.clone());
        let mut writing = sender.try_clone().unwrap();
        let writes = std::thread::spawn(move || {
            for piece in sent.chunks(4_099) {
                writing.write_all(piece).unwrap();
            }
            // A sender may close its half and still wait for answers.
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut answering = receiver.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let mut heard = Vec::new();
            receiver.read_to_end(&mut heard).unwrap();
            // Only now, with the sender's half closed, the answers.
            for piece in answered.chunks(1_003) {
                answering.write_all(piece).unwrap();
            }
            answering.shutdown(Shutdown::Write).unwrap();
            heard
        });
        let mut came = Vec::new();
        sender.read_to_end(&mut came).unwrap();
        writes.join().unwrap();
        assert!(answers.join().unwrap() == there, "seed {seed}: the receiver got something else");
        assert!(came == back, "seed {seed}: the sender got something else");
    }
    let relay = house.relay().stats;
    assert_eq!((relay.resets, relay.copies_dropped), (0, 0));
}

#[test]
fn a_reset_of_either_side_reaches_the_other() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = House::new(socket.local_addr().unwrap(), "");
    let address = house.serve().mllp;
    for receiver_resets in [true, false] {
        for half_closed in [false, true] {
            let mut sender = connect(address);
            sender.write_all(b"x").unwrap();
            let (mut receiver, _) = socket.accept().unwrap();
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            receiver.read_exact(&mut [0; 1]).unwrap();
            let (one, mut other) = if receiver_resets { (receiver, sender) } else { (sender, receiver) };
            if half_closed {
                one.shutdown(Shutdown::Write).unwrap();
                assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
                // The half that is open still goes.
                other.write_all(b"y").unwrap();
                let mut one = &one;
                one.read_exact(&mut [0; 1]).unwrap();
            }
            SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
            drop(one);
            wait_for("the reset", || match other.write(b"z").and_then(|_| other.read(&mut [0; 8])) {
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Some(()),
                _ => None,
            });
        }
    }
    wait_for("four resets", || (house.relay().stats.resets == 4).then_some(()));
}

#[test]
fn a_receiver_that_cannot_be_reached_closes_the_sender_and_is_counted() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], common::free_port()));
    let mut house = House::new(nobody, "");
    let address = house.serve().mllp;
    let mut sender = connect(address);
    let error = sender.read(&mut [0; 8]).map_or_else(|error| error.kind(), |_| ErrorKind::UnexpectedEof);
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{error:?}");
    wait_for("the count", || (house.metric("vitalguard_path_unreachable_total{feed=\"gw\"}") == 1).then_some(()));
    wait_for("the feed's state", || {
        let feeds: serde_json::Value = serde_json::from_str(&house.served.as_ref()?.get("/api/v1/feeds").1).ok()?;
        (feeds["feeds"][0]["path"]["relay"]["unreachable"] == 1).then_some(())
    });
}

/// Senders that go on in lock-step, each on its one connection, until told to stop: ids sent, slowest answer.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(u64, Duration)>>,
    sent: Arc<AtomicU64>,
}

impl Load {
    fn start(address: SocketAddr, connections: usize) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..connections)
            .map(|c| {
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                std::thread::spawn(move || {
                    let mut stream = connect(address);
                    let (mut n, mut slowest) = (0, Duration::ZERO);
                    while !stop.load(Ordering::Relaxed) {
                        slowest = slowest.max(ask(&mut stream, &format!("L{c}-{n}"), &format!("B{c:02}")));
                        n += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    (n, slowest)
                })
            })
            .collect();
        Load { stop, threads, sent }
    }
    fn finish(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = (0, Duration::ZERO);
        for thread in self.threads {
            let (n, slowest) = thread.join().expect("no message of the path was lost");
            all = (all.0 + n, all.1.max(slowest));
        }
        all
    }
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[test]
fn a_judge_that_is_killed_under_load_costs_the_path_nothing_and_the_next_one_misses_nothing() {
    let receiver = Receiver::start();
    let mut house = House::new(receiver.address, "");
    let address = house.serve().mllp;
    let relay = house.relay().pid;
    let load = Load::start(address, 8);
    wait_for("load", || (load.sent() > 200).then_some(()));
    for _ in 0..2 {
        house.served().kill();
        let at = load.sent();
        wait_for("the path without a judge", || (load.sent() > at + 300).then_some(()));
        assert_eq!(house.relay().pid, relay);
        let again = house.serve().mllp;
        assert_eq!((again, house.relay().pid), (address, relay), "the relay is found again");
        let at = load.sent();
        wait_for("the path with the next judge", || (load.sent() > at + 200).then_some(()));
    }
    let (sent, slowest) = load.finish();
    println!("{sent} messages over two kills, slowest answer {} ms", slowest.as_millis());
    assert!(slowest < PATH_BOUND, "{slowest:?}");
    assert_eq!(receiver.frames.load(Ordering::Relaxed), sent);
    assert_eq!(receiver.connections.load(Ordering::Relaxed), 8, "no connection was opened again");
    wait_for("everything confirmed", || (house.relay().stats.copies_held_bytes == 0).then_some(()));
    let relay = house.relay().stats;
    assert_eq!((relay.copies_dropped, relay.connections_total), (0, 8));
    house.served().terminate();
    let (ids, pieces) = journalled(&house.data());
    let heard: BTreeSet<&String> = ids.keys().filter(|id| id.starts_with('L')).collect();
    assert_eq!(heard.len() as u64, sent, "every message was journalled, also those sent while no judge was there");
    assert_eq!(pieces.get("copy_gap"), None);
}

/// Resident memory of a process, MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_judge_that_stalls_costs_the_path_nothing_and_the_relay_little_memory() {
    let receiver = Receiver::start();
    let mut house = House::new(receiver.address, "");
    let address = house.serve().mllp;
    let relay = house.relay().pid;
    let load = Load::start(address, 4);
    wait_for("load", || (load.sent() > 100).then_some(()));
    let judge = house.served().child.id();
    let before = resident_mib(relay);
    signal(judge, "STOP");
    // Far more than the relay may hold: large frames, answered each.
    let mut big = connect(address);
    let large = "X".repeat(1 << 20);
    for n in 0..80 {
        let payload = format!("MSH|^~\\&|MON|ICU|||20260101120000||ORU^R01|BIG{n}|P|2.6\rNTE|1||{large}\r");
        big.write_all(&framed(payload.as_bytes())).unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !answer.ends_with(&[0x1C, 0x0D]) {
            let read = big.read(&mut chunk).unwrap();
            assert!(read > 0);
            answer.extend_from_slice(&chunk[..read]);
        }
    }
    let at = load.sent();
    wait_for("the path beside a stalled judge", || (load.sent() > at + 200).then_some(()));
    let stats = house.relay().stats;
    let after = resident_mib(relay);
    println!(
        "relay: {before} MiB before, {after} MiB after 80 MiB with a stalled judge; {} copies dropped",
        stats.copies_dropped
    );
    assert!(stats.copies_dropped > 0 && stats.copies_held_bytes <= tee::COPY_BYTES_MAX as u64, "{stats:?}");
    assert!(after < before + 48, "{before} MiB, then {after} MiB");
    signal(judge, "CONT");
    wait_for("the gap to be seen", || (house.metric("vitalguard_path_gaps_total{feed=\"gw\"}") > 0).then_some(()));
    wait_for("the copies to be taken", || (house.relay().stats.copies_held_bytes < 64 << 10).then_some(()));
    let judged = house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}");
    let at = load.sent();
    wait_for("more load", || (load.sent() > at + 100).then_some(()));
    wait_for("judging behind the gap", || {
        (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") > judged + 50).then_some(())
    });
    let (sent, slowest) = load.finish();
    println!("{sent} messages beside a stalled judge, slowest answer {} ms", slowest.as_millis());
    assert!(slowest < PATH_BOUND, "{slowest:?}");
    assert_eq!(receiver.frames.load(Ordering::Relaxed), sent + 80);
    let feeds: serde_json::Value = serde_json::from_str(&house.served().get("/api/v1/feeds").1).unwrap();
    assert!(feeds["feeds"][0]["path"]["gaps"].as_u64() > Some(0), "{feeds}");
    wait_for("the feed to be degraded", || {
        let feeds: serde_json::Value = serde_json::from_str(&house.served.as_ref()?.get("/api/v1/feeds").1).ok()?;
        (feeds["feeds"][0]["state"] == "degraded").then_some(())
    });
    house.served().terminate();
    let (_, pieces) = journalled(&house.data());
    assert!(pieces.get("copy_gap").is_some_and(|n| *n >= 1), "{pieces:?}");
    // What was read behind the gap begins with a frame: nothing of the large ones was taken for a message.
    assert_eq!(pieces.get("not_hl7"), None, "{pieces:?}");
}

#[test]
fn a_relay_that_is_killed_is_replaced_and_senders_come_back() {
    let receiver = Receiver::start();
    let mut house = House::new(receiver.address, "");
    house.serve();
    let first = house.relay();
    let mut sender = connect(first.address);
    ask(&mut sender, "R1", "B01");
    wait_for("it to be judged", || (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") == 1).then_some(()));
    signal(first.pid, "KILL");
    assert!(matches!(sender.read(&mut [0; 8]), Ok(0) | Err(_)), "the sender sees it at once");
    let second = wait_for("the next relay", || {
        tee::ask_now(&house.control(), Request::Status).ok().filter(|hello| hello.pid != first.pid)
    });
    let mut sender = connect(second.address);
    ask(&mut sender, "R2", "B01");
    wait_for("both judged", || (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") == 2).then_some(()));
}

#[test]
fn a_new_receiver_gets_what_comes_and_what_is_open_stays_with_the_old_one() {
    let (old, new) = (Receiver::start(), Receiver::start());
    let mut house = House::new(old.address, "");
    let address = house.serve().mllp;
    let mut stays = connect(address);
    ask(&mut stays, "H1", "B01");
    let first = house.relay().pid;
    wait_for("the first to be stored", || (house.relay().stats.copies_held_bytes == 0).then_some(()));
    house.served().terminate();
    ask(&mut stays, "H2", "B01");
    house.configure(new.address, "");
    let next = house.serve().mllp;
    assert_ne!(house.relay().pid, first);
    let log = house.served().log.lock().unwrap().clone();
    assert!(log.contains("takes no new connections"), "{log}");
    let mut comes = connect(next);
    ask(&mut comes, "H3", "B02");
    ask(&mut stays, "H4", "B01");
    assert_eq!((old.frames.load(Ordering::Relaxed), new.frames.load(Ordering::Relaxed)), (3, 1));
    wait_for("all heard", || (house.metric("vitalguard_path_answers_total{feed=\"gw\",code=\"AA\"}") == 3).then_some(()));
    drop(stays);
    wait_for("the old relay to end", || (!Path::new(&format!("/proc/{first}")).exists() || is_zombie(first)).then_some(()));
    house.served().terminate();
    let (ids, _) = journalled(&house.data());
    assert_eq!(ids.into_keys().collect::<Vec<_>>(), ["H1", "H2", "H3", "H4"], "also what came while no judge was there");
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn tls_goes_through_a_tee_unread_and_is_counted() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = House::new(socket.local_addr().unwrap(), "");
    let address = house.serve().mllp;
    let mut sender = connect(address);
    let (mut receiver, _) = socket.accept().unwrap();
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend_from_slice(&noise(7, 500));
    sender.write_all(&hello).unwrap();
    let mut got = vec![0; hello.len()];
    receiver.read_exact(&mut got).unwrap();
    assert!(got == hello);
    receiver.write_all(b"\x16\x03\x03 server").unwrap();
    sender.read_exact(&mut [0; 10]).unwrap();
    wait_for("the count", || (house.metric("vitalguard_path_opaque_total{feed=\"gw\"}") == 1).then_some(()));
    assert_eq!(house.metric("vitalguard_path_gaps_total{feed=\"gw\"}"), 0);
}

#[test]
fn an_external_relay_is_waited_for_found_and_told_to_drain() {
    let receiver = Receiver::start();
    let mut house = House::new(receiver.address, "relay = \"external\"\n");
    house.serve();
    assert!(tee::ask_now(&house.control(), Request::Status).is_err(), "none was started");
    // `--mllp 127.0.0.1:0` of the test's service is what its configuration says, too.
    let mut relay = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["tee", "--feed", "gw", "--listen", "127.0.0.1:0", "--forward-to", &receiver.address.to_string(), "--control"])
        .arg(house.control())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let hello = wait_for("the relay", || tee::ask_now(&house.control(), Request::Status).ok());
    let mut sender = connect(hello.address);
    ask(&mut sender, "E1", "B01");
    wait_for("it to be judged", || (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") == 1).then_some(()));
    signal(relay.id(), "TERM");
    // It drains: what is open goes on, and it ends with it.
    ask(&mut sender, "E2", "B01");
    drop(sender);
    assert!(relay.wait().unwrap().success());
    wait_for("the second to be judged", || {
        (house.metric("vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") == 2).then_some(())
    });
}

#[test]
fn a_tap_never_writes_a_byte_whatever_it_hears() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("v.toml");
    std::fs::write(&config, "[[mllp]]\nfeed = \"gw\"\nplacement = \"tap\"\nmessage_timeout_s = 0.5\nframe_bytes_max = 20000\n")
        .unwrap();
    let served = Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let good = framed(&message("T1", "B01", 72));
    let mut two = good.clone();
    two.extend_from_slice(&framed(&message("T2", "B01", 73)));
    let mut huge = b"\x0bMSH|^~\\&|A".to_vec();
    huge.extend_from_slice(&vec![b'x'; 40_000]);
    huge.extend_from_slice(b"\x1c\r");
    let inputs: Vec<(&str, Vec<u8>)> = vec![
        ("good", good.clone()),
        ("two", two),
        ("query", framed(b"MSH|^~\\&|A|B|||2026||QBP^ZV1|Q1|P|2.5\rQPD|x\r")),
        ("not hl7", framed(b"this is not hl7")),
        ("huge", huge),
        ("empty", b"\x0b\x1c\r".to_vec()),
        ("half", good[..60].to_vec()),
        ("no cr", good[..good.len() - 1].to_vec()),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("tls", b"\x16\x03\x01\x00\x05hello".to_vec()),
        ("ssh", b"SSH-2.0-x\r\n".to_vec()),
        ("junk", noise(3, 5_000)),
        ("batch", framed(b"BHS|^~\\&|A\rMSH|^~\\&|A|B|||2026||ORU^R01|X1|P|2.5\rPID|1\rBTS|9\r")),
        ("commit", b"\x0b\x06\x1c\r\x0b\x15\x1c\r".to_vec()),
        ("ack", framed(b"MSH|^~\\&|R|H|||2026||ACK|9|P|2.5\rMSA|AA|T1\r")),
        ("nothing", Vec::new()),
    ];
    let count = inputs.len();
    let open: Vec<(&str, TcpStream)> = inputs
        .into_iter()
        .map(|(what, bytes)| {
            let mut stream = connect(served.mllp);
            stream.write_all(&bytes).unwrap();
            (what, stream)
        })
        .collect();
    assert_eq!(open.len(), count);
    // Longer than the grace period and the message timeout.
    std::thread::sleep(Duration::from_millis(1_500));
    for (what, mut stream) in open {
        let _ = stream.shutdown(Shutdown::Write);
        let mut came = Vec::new();
        // A reset is no byte either.
        let _ = stream.read_to_end(&mut came);
        assert!(came.is_empty(), "{what}: {} bytes came back", came.len());
    }
    let text = served.get("/metrics").1;
    assert!(metric(&served, "vitalguard_messages_total{feed=\"gw\",kind=\"vitals\"}") >= 2, "{text}");
    assert_eq!(metric(&served, "vitalguard_path_opaque_total{feed=\"gw\"}"), 3, "{text}");
}

#[test]
fn a_tap_pairs_answers_with_messages_over_two_connections() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("v.toml");
    std::fs::write(&config, "[[mllp]]\nfeed = \"gw\"\nplacement = \"tap\"\n").unwrap();
    let served = Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let (mut there, mut back) = (connect(served.mllp), connect(served.mllp));
    let codes = ["AA", "AE", "AR", "CA", "CE", "CR", "XX"];
    for (n, code) in codes.iter().enumerate() {
        there.write_all(&framed(&message(&format!("P{n}"), "B01", 72))).unwrap();
        wait_for("the message", || {
            (metric(&served, "vitalguard_messages_received_total{feed=\"gw\"}") == n as u64 + 1).then_some(())
        });
        let answer = format!("MSH|^~\\&|R|H|MON|ICU|2026||ACK|A{n}|P|2.6\rMSA|{code}|P{n}\r");
        back.write_all(&framed(answer.as_bytes())).unwrap();
    }
    back.write_all(&framed(b"MSH|^~\\&|R|H|MON|ICU|2026||ACK|Z|P|2.6\rMSA|AA|nobody\r")).unwrap();
    wait_for("the answers", || (metric(&served, "vitalguard_path_answers_unasked_total{feed=\"gw\"}") == 1).then_some(()));
    for (code, times) in [("AA", 2), ("AE", 1), ("AR", 1), ("CA", 1), ("CE", 1), ("CR", 1), ("other", 1)] {
        let line = format!("vitalguard_path_answers_total{{feed=\"gw\",code=\"{code}\"}}");
        assert_eq!(metric(&served, &line), times, "{code}");
    }
    assert_eq!(metric(&served, "vitalguard_path_seconds_count{feed=\"gw\"}"), 7);
}

/// Peak memory of a process, KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends a small batch, then one of six MiB of the smallest messages with one message behind it; how much memory the second took.
fn batches(served: &Served, address: SocketAddr) -> u64 {
    let received = |count: usize| {
        let line = "vitalguard_messages_received_total{feed=\"gw\"}";
        wait_for("the batch", || (metric(served, line) >= count as u64).then_some(()));
    };
    let small = b"MSH|^~\\&|A||||||A^B\r";
    let batch_of = |count: usize| framed(&[b"BHS|^~\\&|X\r", &small.repeat(count)[..]].concat());
    let (few, many) = (5_000, (6 << 20) / small.len());
    let mut stream = connect(address);
    stream.write_all(&batch_of(few)).unwrap();
    received(few);
    let mut before = 0;
    while peak_kib(served.child.id()) > before {
        before = peak_kib(served.child.id());
        std::thread::sleep(Duration::from_secs(1));
    }
    let behind = framed(b"MSH|^~\\&|A|B|||2026||ORU^R01|BEHIND|P|2.5\rPID|1\r");
    stream.write_all(&[batch_of(many), behind].concat()).unwrap();
    received(few + many + 1);
    peak_kib(served.child.id()).saturating_sub(before)
}

/// The last message that came, and how many came.
fn last_of(data: &Path) -> (String, usize) {
    let frames: Vec<Vec<u8>> = Reader::open(&data.join("journal"), 0)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().stamped.record {
            Record::Frame { payload, .. } => Some(payload),
            _ => None,
        })
        .collect();
    let last = frames.last().map(|payload| String::from_utf8_lossy(payload).into_owned());
    (last.unwrap_or_default().split('|').nth(9).unwrap_or_default().to_owned(), frames.len())
}

#[test]
fn a_tap_stores_a_batch_of_the_smallest_messages_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("v.toml");
    std::fs::write(&config, "[[mllp]]\nfeed = \"gw\"\nplacement = \"tap\"\n").unwrap();
    let mut served = Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap()]);
    let grown = batches(&served, served.mllp);
    println!("{grown} KiB more for a frame of 6 MiB");
    assert!(grown < 60 << 10, "{grown} KiB more for a frame of 6 MiB");
    served.terminate();
    assert_eq!(last_of(&folder.path().join("data")), ("BEHIND".into(), 5_000 + (6 << 20) / 20 + 1));
}

#[test]
fn a_tee_stores_a_batch_of_the_smallest_messages_in_steps() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = House::new(socket.local_addr().unwrap(), "");
    let address = house.serve().mllp;
    // The receiver takes everything and says nothing.
    std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let grown = batches(house.served.as_ref().unwrap(), address);
    println!("{grown} KiB more for a frame of 6 MiB");
    assert!(grown < 60 << 10, "{grown} KiB more for a frame of 6 MiB");
    house.served().terminate();
    assert_eq!(last_of(&house.data()), ("BEHIND".into(), 5_000 + (6 << 20) / 20 + 1));
}

/// A service with a tap on packets.
fn tapped(folder: &Path, capture: &Path) -> Served {
    let config = folder.join("v.toml");
    std::fs::write(&config, format!("[[mllp]]\nfeed = \"span\"\nplacement = \"tap\"\ncapture = {capture:?}\n")).unwrap();
    // The listener of the command line would be a second address of this feed.
    Served::start_quiet(&folder.join("data"), &["--config", config.to_str().unwrap()])
}

const SPAN_VITALS: &str = "vitalguard_messages_total{feed=\"span\",kind=\"vitals\"}";
const SPAN_AA: &str = "vitalguard_path_answers_total{feed=\"span\",code=\"AA\"}";

#[test]
fn a_tap_reads_packets_from_a_fifo_as_they_come_and_waits_for_the_next_writer() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("span.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut served = tapped(folder.path(), &fifo);
    assert_eq!(metric(&served, "vitalguard_packets_up{feed=\"span\"}"), 0);
    let now_us = || jiff::Timestamp::now().as_microsecond() as u64;
    for writer in 1..=2u64 {
        let mut out = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let mut talk = Talk::new("10.1.2.3:40000", "10.1.2.9:6661", now_us());
        talk.open();
        for n in 0..5 {
            talk.exchange(&format!("W{writer}-{n}"), 70);
        }
        // A message that is cut into many segments, and one without answer.
        talk.mss = 50;
        talk.exchange(&format!("W{writer}-cut"), 71);
        let at = talk.at_us;
        talk.say(0, &capture::framed(&capture::message(&format!("W{writer}-alone"), "A1", 72, at)));
        talk.close();
        let bytes = capture::write_pcap(1, &talk.packets, false, false);
        for piece in bytes.chunks(97) {
            out.write_all(piece).unwrap();
        }
        wait_for("the messages", || (metric(&served, SPAN_VITALS) == 7 * writer).then_some(()));
        wait_for("the answers", || (metric(&served, SPAN_AA) == 6 * writer).then_some(()));
        wait_for("the missing one", || {
            (metric(&served, "vitalguard_path_answers_missing_total{feed=\"span\"}") == writer).then_some(())
        });
        assert_eq!(metric(&served, "vitalguard_packets_up{feed=\"span\"}"), 1);
        drop(out);
        wait_for("the writer to be missed", || (metric(&served, "vitalguard_packets_up{feed=\"span\"}") == 0).then_some(()));
    }
    assert_eq!(metric(&served, "vitalguard_path_gaps_total{feed=\"span\"}"), 0);
    assert_eq!(metric(&served, "vitalguard_path_seconds_count{feed=\"span\"}"), 12);
    served.terminate();
    let (ids, pieces) = journalled(&folder.path().join("data"));
    assert_eq!((ids.len(), pieces.get("answer")), (14, Some(&12)));
    assert!(ids.values().all(|(_, peer)| peer == "10.1.2.3"), "{ids:?}");
}

#[test]
fn a_tap_judges_what_is_added_to_a_capture_and_reads_one_that_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("span.pcap");
    let mut talk = Talk::new("10.1.2.3:40000", "10.1.2.9:2575", jiff::Timestamp::now().as_microsecond() as u64);
    talk.open().exchange("OLD", 70);
    let old = talk.packets.len();
    talk.exchange("NEW1", 71);
    // A segment that the capture does not hold, and one to an address of the advisory.
    let mut lost = Talk::new("10.1.2.3:40001", "10.1.2.9:2575", talk.at_us);
    lost.open().exchange("NEW2", 72);
    lost.say(0, &capture::framed(&capture::message("LOST", "A1", 73, lost.at_us)));
    let hole = lost.packets.len() - 2;
    lost.packets.remove(hole);
    // A hole that the receiver has acknowledged is waited for a moment, by the clock of the packets that follow.
    lost.exchange("NEW3", 74);
    lost.wait(300_000).close();
    let mut beacon = Talk::new("10.1.2.77:5000", "202.114.4.119:515", lost.at_us);
    beacon.open();
    let all: Vec<_> = [&talk.packets[..], &lost.packets[..], &beacon.packets[..]].concat();
    let whole = capture::write_pcap(1, &all, false, false);
    let cut = capture::write_pcap(1, &talk.packets[..old], false, false).len();
    std::fs::write(&path, &whole[..cut]).unwrap();
    let mut served = tapped(folder.path(), &path);
    wait_for("the capture", || (metric(&served, "vitalguard_packets_total{feed=\"span\"}") == old as u64).then_some(()));
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[cut..]).unwrap();
    wait_for("what was added", || (metric(&served, SPAN_VITALS) == 3).then_some(()));
    wait_for("the gap", || (metric(&served, "vitalguard_path_gaps_total{feed=\"span\"}") >= 1).then_some(()));
    // Rotated: another file under the same name.
    let mut next = Talk::new("10.1.2.4:40000", "10.1.2.9:2575", beacon.at_us + 1_000);
    next.open().exchange("NEXT", 75).close();
    let fresh = folder.path().join("fresh.pcap");
    std::fs::write(&fresh, capture::write_pcap(1, &next.packets, false, true)).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    wait_for("the next file", || (metric(&served, SPAN_VITALS) == 4).then_some(()));
    served.terminate();
    let (ids, pieces) = journalled(&folder.path().join("data"));
    assert_eq!(ids.into_keys().collect::<Vec<_>>(), ["NEW1", "NEW2", "NEW3", "NEXT"]);
    assert!(pieces.contains_key("sighting") && pieces.contains_key("copy_gap"), "{pieces:?}");
}

#[test]
fn a_sighting_in_a_tap_raises_its_alert_at_once_and_a_recovery_raises_it_no_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("span.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let alerts = |served: &Served| -> Vec<(String, String, String)> {
        let body: serde_json::Value = serde_json::from_str(&served.get("/api/v1/alerts").1).unwrap();
        let list = body["alerts"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<_> = list
            .iter()
            .filter_map(|alert| {
                let (condition, id) = (alert["condition"].as_str()?, alert["id"].as_str()?);
                let check = condition.split(' ').next()?;
                check.starts_with('N').then(|| (check.to_owned(), id.to_owned(), alert.to_string()))
            })
            .collect();
        found.sort();
        found
    };
    let mut served = tapped(folder.path(), &fifo);
    let mut out = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let now_us = jiff::Timestamp::now().as_microsecond() as u64;
    let mut talk = capture::beacon_talk("10.1.2.77:5000", "202.114.4.119:515", now_us);
    let mut vitals = Talk::new("10.1.2.3:40000", "10.1.2.9:2575", talk.at_us);
    vitals.open().exchange("V1", 70);
    talk.packets.append(&mut vitals.packets);
    out.write_all(&capture::write_pcap(1, &talk.packets, false, false)).unwrap();
    let first = wait_for("the alerts, while the writer is still there", || {
        let found = alerts(&served);
        ["N02", "N03"].iter().all(|id| found.iter().any(|(check, ..)| check == id)).then_some(found)
    });
    wait_for("the message", || (metric(&served, SPAN_VITALS) == 1).then_some(()));
    for (_, _, text) in &first {
        assert!(!text.contains("10.1.2.77") && !text.contains("INVENTED") && !text.contains("Sample"), "{text}");
        assert!(!text.to_lowercase().contains("backdoor"), "{text}");
    }
    served.kill();
    drop(out);
    let served = tapped(folder.path(), &fifo);
    let ids = |list: &[(String, String, String)]| list.iter().map(|(c, a, _)| (c.clone(), a.clone())).collect::<Vec<_>>();
    wait_for("the same alerts after a kill", || (ids(&alerts(&served)) == ids(&first)).then_some(()));
}
