//! What the tests of the outgoing side share: events as the engine makes them, a publisher on a store, and a broker that writes
//! down what it was given and breaks connections on purpose.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use vitalguard::document::{Origin, Pulse};
use vitalguard::shell::link::Link;
use vitalguard::shell::publisher::{Inbound, Options, Protocol, Publisher};
use vitalguard::shell::retained::Retained;
use vitalguard::shell::store::{Commit, EventRow, Store};
use vitalguard::time::Timestamp;

pub const SITE: &str = "hsp1";
pub const BASE: &str = "vitalguard/v1/hsp1";

/// The `seq`-th event of alert `number`.
pub fn event(number: usize, seq: u64) -> EventRow {
    let at = Timestamp::from_ms(1_795_371_847_412 + seq as i64 * 1000);
    let id = format!("A-{number:012x}-20261122T182326412Z");
    let priority = if number.is_multiple_of(2) { "high" } else { "medium" };
    let (ward, bed) = ("icu", format!("A{:02}", number % 40));
    let alert_json = format!(r#"{{"id":"{id}","priority":"{priority}","state":"active","text":{{"en":"HR not changing"}}}}"#);
    let json = format!(
        r#"{{"schema":"alert-event/1","event":"updated","seq":{seq},"ts":"{at}","ward":"{ward}","bed":"{bed}","alert":{alert_json}}}"#
    );
    EventRow {
        alert: id,
        seq,
        event: if seq == 1 { "raised" } else { "updated" }.into(),
        at,
        json: json.into_bytes(),
        alert_json: alert_json.into_bytes(),
        reference: format!("{number:08X}"),
        ward: ward.into(),
        bed,
        condition: "T03 flat_line".into(),
        assessment: "tamper".into(),
        priority: priority.into(),
        previous_priority: None,
        state: "active".into(),
        onset: at,
        raised: at,
        open: true,
    }
}

/// Commits `count` events over `alerts` alerts, in batches, as fast as the store takes them.
pub fn commit_events(store: &mut Store, alerts: usize, count: usize, batch: usize, mut each: impl FnMut(usize)) {
    let mut written = 0;
    while written < count {
        let events: Vec<EventRow> =
            (written..(written + batch).min(count)).map(|n| event(n % alerts, (n / alerts) as u64 + 1)).collect();
        written += events.len();
        let commit =
            Commit { events, applied_until: Timestamp::from_ms(written as i64), sequence: written as u64, ..Commit::default() };
        store.commit(&commit).expect("the store takes a batch");
        each(written);
    }
}

pub fn origin(boot: &str) -> Origin {
    Origin { boot: boot.into(), site: SITE.into() }
}

pub fn options(address: SocketAddr, boot: &str) -> Options {
    Options {
        host: address.ip().to_string(),
        port: address.port(),
        tls: None,
        username: None,
        password: None,
        protocol: Protocol::Auto,
        root: "vitalguard".into(),
        origin: origin(boot),
        seal: None,
        vitals: true,
        flat: false,
        scout: false,
        scout_for: Duration::from_millis(500),
    }
}

pub struct Outgoing {
    pub publisher: Publisher,
    pub retained: Arc<Retained>,
    pub inbound: mpsc::Receiver<Inbound>,
}

impl Outgoing {
    /// Whether a command has come through; what was refused is heard of by the audit alone.
    pub fn ran(&mut self) -> bool {
        std::iter::from_fn(|| self.inbound.try_recv().ok()).any(|inbound| matches!(inbound, Inbound::Command(_)))
    }
}

pub fn publish(options: Options, store: Option<&Store>) -> Outgoing {
    let retained = Arc::new(Retained::default());
    publish_with(options, store, retained)
}

pub fn publish_with(options: Options, store: Option<&Store>, retained: Arc<Retained>) -> Outgoing {
    let (sender, inbound) = mpsc::channel(1024);
    let outbox = store.map(|store| store.outbox_reader().expect("a reader of the outbox"));
    let pulse = Box::new(Pulse::default);
    let link = Arc::new(Link::new(store.map(Store::gauge)));
    let publisher = Publisher::start(options, Arc::clone(&retained), link, outbox, pulse, sender).expect("the publisher starts");
    Outgoing { publisher, retained, inbound }
}

pub fn store(folder: &Path) -> Store {
    Store::open(&folder.join("store.db"), 100_000).expect("a new store")
}

/// Waits until it holds; says `what` where it does not within `patience_s`.
pub fn wait(what: &str, patience_s: u64, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(patience_s);
    while !holds() {
        assert!(Instant::now() < until, "not within {patience_s} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `(alert, seq)` of an event document.
pub fn identity(payload: &[u8]) -> Option<(String, u64)> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    Some((value["alert"]["id"].as_str()?.to_owned(), value["seq"].as_u64()?))
}

/// Checks what a receiver got: everything of `alerts` × `count`, first sightings of each alert in the order of `seq`. Gives repeats.
pub fn assert_complete(payloads: impl Iterator<Item = Vec<u8>>, alerts: usize, count: usize) -> usize {
    let mut highest: BTreeMap<String, u64> = BTreeMap::new();
    let mut repeats = 0;
    for payload in payloads {
        let Some((alert, seq)) = identity(&payload) else { continue };
        let last = highest.entry(alert.clone()).or_insert(0);
        if seq <= *last {
            repeats += 1;
        } else {
            assert_eq!(seq, *last + 1, "{alert}: a gap, or out of order");
            *last = seq;
        }
    }
    let got: u64 = highest.values().sum();
    assert_eq!(highest.len(), alerts, "alerts seen");
    assert_eq!(got, count as u64, "events seen");
    repeats
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub qos: u8,
    pub connection: u64,
}

/// Whom the recording broker lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    All,
    /// Answers version 5 as a 3.1.1 broker should.
    RefusesV5,
    /// Closes at version 5 without a word.
    ClosesOnV5,
    /// Closes the first connections without a word, whatever they speak.
    ClosesFirst(u64),
}

/// A broker of a hundred lines that never forgets and cannot be trusted: it closes connections in the middle, with
/// acknowledgements outstanding.
pub struct Recorder {
    pub address: SocketAddr,
    pub records: Arc<Mutex<Vec<Record>>>,
    pub connections: Arc<AtomicU64>,
    pub refused_v5: Arc<AtomicU64>,
    pub levels: Arc<Mutex<Vec<u8>>>,
    pub breaking: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// `door`: whom it lets in. `cut_after`: publishes of a connection before it breaks (0 = never).
    pub fn start(door: Door, cut_after: u64) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let recorder = Recorder {
            address,
            records: Arc::default(),
            connections: Arc::default(),
            refused_v5: Arc::default(),
            levels: Arc::default(),
            breaking: Arc::new(AtomicBool::new(true)),
            stop: Arc::default(),
        };
        let (records, connections, refused, levels, breaking, stop) = (
            Arc::clone(&recorder.records),
            Arc::clone(&recorder.connections),
            Arc::clone(&recorder.refused_v5),
            Arc::clone(&recorder.levels),
            Arc::clone(&recorder.breaking),
            Arc::clone(&recorder.stop),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (records, refused, levels, breaking) =
                    (Arc::clone(&records), Arc::clone(&refused), Arc::clone(&levels), Arc::clone(&breaking));
                std::thread::spawn(move || {
                    let _ = serve(stream, number, door, cut_after, &records, &refused, &levels, &breaking);
                });
            }
        });
        recorder
    }
    pub fn events(&self) -> Vec<Record> {
        self.records.lock().expect("no test panicked").iter().filter(|r| r.topic.contains("/event/")).cloned().collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0_u8; 1];
    stream.read_exact(&mut byte)?;
    let head = byte[0];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] & 128 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

#[allow(clippy::too_many_arguments)]
fn serve(
    mut stream: TcpStream,
    number: u64,
    door: Door,
    cut_after: u64,
    records: &Mutex<Vec<Record>>,
    refused: &AtomicU64,
    levels: &Mutex<Vec<u8>>,
    breaking: &AtomicBool,
) -> std::io::Result<()> {
    let mut v5 = false;
    let mut published = 0_u64;
    // A different place in every connection, and a different number of acknowledgements kept back: no randomness, many cases.
    let cut_at = cut_after + number * 37 % (cut_after + 1);
    let keep_back = number * 7 % 23;
    loop {
        let (head, body) = packet(&mut stream)?;
        match head >> 4 {
            1 => {
                let level = body[6];
                levels.lock().expect("no test panicked").push(level);
                v5 = level == 5;
                if v5 && matches!(door, Door::RefusesV5 | Door::ClosesOnV5) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    if door == Door::RefusesV5 {
                        stream.write_all(&[0x20, 2, 0, 1])?;
                    }
                    return Ok(());
                }
                if matches!(door, Door::ClosesFirst(count) if number < count) {
                    return Ok(());
                }
                stream.write_all(if v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] })?;
            }
            3 => {
                let qos = head >> 1 & 3;
                let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + topic_len]).into_owned();
                let mut at = 2 + topic_len;
                let mut id = [0, 0];
                if qos > 0 {
                    id = [body[at], body[at + 1]];
                    at += 2;
                }
                if v5 {
                    let (mut length, mut shift) = (0_usize, 0);
                    loop {
                        length |= usize::from(body[at] & 127) << shift;
                        shift += 7;
                        at += 1;
                        if body[at - 1] & 128 == 0 {
                            break;
                        }
                    }
                    at += length;
                }
                let record = Record { topic, payload: body[at..].to_vec(), retain: head & 1 == 1, qos, connection: number };
                records.lock().expect("no test panicked").push(record);
                published += 1;
                let cutting = cut_after > 0 && breaking.load(Ordering::SeqCst);
                if cutting && published >= cut_at {
                    return stream.shutdown(std::net::Shutdown::Both);
                }
                if qos > 0 && !(cutting && published + keep_back >= cut_at) {
                    stream.write_all(&[0x40, 2, id[0], id[1]])?;
                }
            }
            8 => {
                // Three filters at most are asked for.
                let reply: &[u8] =
                    if v5 { &[0x90, 6, body[0], body[1], 0, 1, 1, 0] } else { &[0x90, 5, body[0], body[1], 1, 1, 0] };
                stream.write_all(reply)?;
            }
            12 => stream.write_all(&[0xd0, 0])?,
            14 => return Ok(()),
            _ => {}
        }
    }
}
