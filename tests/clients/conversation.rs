//! One conversation with our listener in which every kind of acknowledgement is given in every release, recorded byte by byte
//! by a relay in the middle.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use vitalguard::config::Mllp;
use vitalguard::shell::journal::{DiskFault, Feed, Journal, Options};
use vitalguard::shell::listener::bind;

/// The releases of HL7 in which answers are asked for: those that the strict judge knows.
pub const VERSIONS: [&str; 11] = ["2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"];

/// Bytes of one direction, as one read brought them.
#[derive(Clone)]
pub struct Chunk {
    pub ours: bool,
    pub bytes: Vec<u8>,
}

pub struct Recorded {
    pub chunks: Vec<Chunk>,
    /// The answers that were due, in order: MSA-1 and the release.
    pub due: Vec<String>,
}

impl Recorded {
    /// All that we have sent.
    pub fn answers(&self) -> Vec<u8> {
        self.chunks.iter().filter(|c| c.ours).flat_map(|c| c.bytes.iter().copied()).collect()
    }
}

/// (MSH-3 has components since 2.3.)
fn frame(kind: &str, accept: &str, application: &str, version: &str, id: &str) -> Vec<u8> {
    let application_name = if version == "2.2" { "MON" } else { "MON^00A0370000000001^EUI-64" };
    format!(
        "\x0bMSH|^~\\&|{application_name}|ICU|PLAUS|H|20260101120000+0000||{kind}|{id}|P|{version}|||{accept}|{application}\r\
         PID|||P1^^^H^MR||Invented^One\rPV1||I|ICU^^BED1\rOBR|1||1|VITALS|||20260101120000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||20260101120000\r\x1c\r"
    )
    .into_bytes()
}

/// One side of the relay.
fn relay(mut from: TcpStream, mut to: TcpStream, ours: bool, chunks: Arc<Mutex<Vec<Chunk>>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            // Recorded before it goes on: an answer never stands before its message.
            chunks.lock().unwrap().push(Chunk { ours, bytes: buffer[..len].to_vec() });
            if to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}

/// Waits for `count` answers.
fn wait(stream: &mut TcpStream, count: usize) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    while bytes.windows(2).filter(|w| w == b"\x1c\r").count() < count {
        let len = stream.read(&mut buffer).expect("an answer in time");
        assert!(len > 0, "the listener has closed");
        bytes.extend_from_slice(&buffer[..len]);
    }
}

pub fn conversation() -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let journal_config = vitalguard::config::Journal { segment_bytes: 8 << 20, ..Default::default() };
    let options = Options::new(&journal_config, "test-run");
    let fault = options.fault.clone();
    let (journal, feed) = Journal::open(folder.path(), options).unwrap();
    let feeds = std::thread::spawn(move || feed.iter().filter(|f| !matches!(f, Feed::Tick(_))).count());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let config = Mllp { listen: "127.0.0.1:0".parse().unwrap(), frame_bytes_max: 10_000, ..Mllp::default() };
    let bound = runtime.block_on(async { bind(&config).unwrap() });
    let address = bound.local_addr;
    let serving = runtime.spawn(bound.serve(journal.handle(), stop.clone()));

    let middle = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(middle.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (inner, _) = middle.accept().unwrap();
    let outer = TcpStream::connect(address).unwrap();
    let chunks = Arc::new(Mutex::new(Vec::new()));
    let sides = [
        relay(inner.try_clone().unwrap(), outer.try_clone().unwrap(), false, chunks.clone()),
        relay(outer, inner, true, chunks.clone()),
    ];

    let mut due = Vec::new();
    let mut say = |client: &mut TcpStream, frame: &[u8], codes: &[&str], version: &str| {
        client.write_all(frame).unwrap();
        wait(client, codes.len());
        due.extend(codes.iter().map(|code| format!("{code} {version}")));
    };
    for version in VERSIONS {
        // The message structure came with 2.3.1.
        let old = matches!(version, "2.2" | "2.3");
        let kind = if old { "ORU^R01" } else { "ORU^R01^ORU_R01" };
        let query = if old { "QRY^R02" } else { "QRY^R02^QRY_R02" };
        let mut ask = |kind: &str, accept: &str, application: &str, codes: &[&str]| {
            say(&mut client, &frame(kind, accept, application, version, "m1"), codes, version);
        };
        ask(kind, "", "", &["AA"]);
        ask(kind, "NE", "AL", &["AA"]);
        ask(kind, "AL", "NE", &["CA"]);
        ask(kind, "AL", "AL", &["CA", "AA"]);
        ask(query, "", "", &["AR"]);
        ask(query, "AL", "NE", &["CR"]);
        // A sender that leaves out the structure, and one with an alarm.
        ask("ORU^R40", "", "", &["AA"]);
        // Over the cap.
        let mut huge = frame(kind, "", "", version, "m2");
        huge.splice(huge.len() - 3..huge.len() - 3, std::iter::repeat_n(b'x', 20_000));
        say(&mut client, &huge, &["AR"], version);
        // Three at once.
        let three = [frame(kind, "", "", version, "m3"), frame(kind, "", "", version, "m4"), frame(kind, "", "", version, "m5")];
        say(&mut client, &three.concat(), &["AA", "AA", "AA"], version);
    }
    // Neither version nor processing id, other delimiters, no header at all.
    say(&mut client, b"\x0bMSH|^~\\&|PSN|PSN|||20260101120000||ORU^R40|m6\rOBR|1\r\x1c\r", &["AA"], "2.4");
    say(&mut client, b"\x0bMSH|^~\\&|A|B|||20260101120000||ORU|m7|P|2.4\rOBR|1\r\x1c\r", &["AA"], "2.4");
    let other = String::from_utf8(frame("ORU^R01^ORU_R01", "", "", "2.6", "m8")).unwrap().replace('|', "#").replace('^', "@");
    say(&mut client, other.as_bytes(), &["AA"], "2.6");
    fault.set(DiskFault::WRITE);
    for version in VERSIONS {
        let kind = if matches!(version, "2.2" | "2.3") { "ORU^R01" } else { "ORU^R01^ORU_R01" };
        say(&mut client, &frame(kind, "", "", version, "m9"), &["AE"], version);
        say(&mut client, &frame(kind, "AL", "NE", version, "m9"), &["CE"], version);
    }
    fault.set(DiskFault::NONE);

    drop(client);
    for side in sides {
        side.join().unwrap();
    }
    stop.cancel();
    runtime.block_on(serving).unwrap();
    journal.close();
    assert!(feeds.join().unwrap() > 0);
    let chunks = std::mem::take(&mut *chunks.lock().unwrap());
    Recorded { chunks, due }
}
