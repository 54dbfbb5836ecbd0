//! The MLLP listener over real sockets: the 25 checks that we put to other servers, the wire faults, TLS, trouble with the disk.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use vitalguard::config::{Mllp, Tls};
use vitalguard::shell::journal::{DiskFault, Feed, Journal, Options, PROBE_MS, Reader, Record, verify};
use vitalguard::shell::listener::{FeedStats, WireFault, bind};

const T: Duration = Duration::from_secs(2);

/// A listener on a free port with a journal in a folder of its own.
struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    stats: std::sync::Arc<FeedStats>,
    tls: Option<std::sync::Arc<vitalguard::shell::tls::ServerTls>>,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    journal: Option<Journal>,
    feeds: Option<std::thread::JoinHandle<Vec<Feed>>>,
    fault: DiskFault,
    folder: tempfile::TempDir,
}

fn start(config: Mllp) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let journal_config = vitalguard::config::Journal { segment_bytes: 8 << 20, ..Default::default() };
    let options = Options::new(&journal_config, "test-run");
    let fault = options.fault.clone();
    let (journal, feed) = Journal::open(folder.path(), options).unwrap();
    let feeds = std::thread::spawn(move || feed.iter().filter(|f| !matches!(f, Feed::Tick(_))).collect());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let config = Mllp { listen: "127.0.0.1:0".parse().unwrap(), ..config };
    let bound = runtime.block_on(async { bind(&config).unwrap() });
    let (address, stats, tls) = (bound.local_addr, bound.stats.clone(), bound.tls.clone());
    let serving = Some(runtime.spawn(bound.serve(journal.handle(), stop.clone())));
    let (runtime, journal, feeds) = (Some(runtime), Some(journal), Some(feeds));
    Server { runtime, address, stats, tls, stop, serving, journal, feeds, fault, folder }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
    /// Stops it and reads back what the journal holds, as words: `open`, `close`, `frame`, and the fault's name of a fragment.
    fn finish(mut self) -> Vec<(String, Vec<u8>)> {
        self.stop.cancel();
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.serving.take().unwrap()).unwrap();
        self.journal.take().unwrap().close();
        self.feeds.take().unwrap().join().unwrap();
        assert_eq!(verify(self.folder.path(), None).unwrap().fault, None);
        assert_eq!(self.stats.fault(WireFault::TaskPanic), 0);
        let entries = Reader::open(self.folder.path(), 0).unwrap().map(|e| e.unwrap().stamped.record);
        entries
            .map(|record| match record {
                Record::Open { .. } => ("open".into(), vec![]),
                Record::Close { .. } => ("close".into(), vec![]),
                Record::Frame { payload, .. } => ("frame".into(), payload),
                Record::Fragment { what, payload, .. } => (what, payload),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

/// One message with the header's ends as given, segments ended by CR.
fn message(id: &str, accept: &str, application: &str, charset: &str, more: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|{id}|P|2.6|||{accept}|{application}||{charset}\r\
         PID|||P1^^^H^MR||DOE^JOHN\rPV1||I|ICU^^BED1\rOBR|1||1|VITALS|||20260101120000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||20260101120000\r"
    )
    .into_bytes();
    text.extend_from_slice(more);
    text
}

fn plain(id: &str) -> Vec<u8> {
    message(id, "", "", "", b"")
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [b"\x0b", payload, b"\x1c\r"].concat()
}

fn frame(id: &str) -> Vec<u8> {
    framed(&plain(id))
}

/// An answer: MSA-1, MSA-2, and all of it.
#[derive(Debug, Clone, PartialEq)]
struct Ack {
    code: String,
    id: String,
    text: String,
}

fn parse(bytes: &[u8]) -> Vec<Ack> {
    let mut list = Vec::new();
    for part in bytes.split(|b| *b == 0x0b).skip(1) {
        // An answer in UTF-16 (framing bytes stay single) is read without its second bytes and its byte order mark.
        let part: Vec<u8> = part.strip_suffix(b"\x1c\r").expect("a whole answer").to_vec();
        let narrow = part.into_iter().filter(|b| !matches!(b, 0 | 0xfe | 0xff)).collect();
        let text = String::from_utf8(narrow).expect("answers hold no foreign text");
        let separator = text.chars().nth(3).unwrap();
        let msa = text.split('\r').find(|s| s.starts_with("MSA")).expect("MSA").to_owned();
        let fields: Vec<&str> = msa.split(separator).collect();
        list.push(Ack { code: fields[1].into(), id: fields.get(2).copied().unwrap_or("").into(), text });
    }
    list
}

/// Reads until `count` answers are there, the peer closes, or time is over. Whether the peer has closed is the second value.
fn read(stream: &mut impl Read, count: usize, within: Duration) -> (Vec<Ack>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
    let until = Instant::now() + within;
    let mut closed = false;
    while Instant::now() < until {
        if bytes.windows(2).filter(|w| w == b"\x1c\r").count() >= count {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) => {
                closed = true;
                break;
            }
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => {
                closed = true;
                break;
            }
        }
    }
    (parse(&bytes), closed)
}

fn answers(stream: &mut TcpStream, count: usize, within: Duration) -> Vec<Ack> {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    read(stream, count, within).0
}

/// Sends on a connection of its own and reads `count` answers, as `AA id`.
fn ask(server: &Server, bytes: &[u8], count: usize) -> Vec<String> {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    words(&answers(&mut stream, count, T))
}

fn words(list: &[Ack]) -> Vec<String> {
    list.iter().map(|a| format!("{} {}", a.code, a.id)).collect()
}

#[test]
fn all_25_checks_that_we_put_to_other_servers() {
    let server = start(Mllp::default());
    // 1-2
    let mut stream = server.connect();
    stream.write_all(&frame("B1")).unwrap();
    assert_eq!(words(&answers(&mut stream, 2, Duration::from_millis(400))), ["AA B1"], "exactly one");
    let mut stream = server.connect();
    stream.write_all(&frame("Y1")).unwrap();
    let ack = answers(&mut stream, 1, T).remove(0);
    let header: Vec<&str> = ack.text.split('\r').next().unwrap().split('|').collect();
    assert_eq!(header[2..6], ["PLAUS", "H", "MON", "ICU"]);
    assert!(header[8].starts_with("ACK^R01") && header[11] == "2.6", "{header:?}");
    // 3
    let mut stream = server.connect();
    let mut seen = Vec::new();
    for n in 0..5 {
        stream.write_all(&frame(&format!("Q{n}"))).unwrap();
        seen.extend(words(&answers(&mut stream, 1, T)));
    }
    assert_eq!(seen, ["AA Q0", "AA Q1", "AA Q2", "AA Q3", "AA Q4"]);
    // 4-5
    assert_eq!(ask(&server, &[frame("T1"), frame("T2")].concat(), 2), ["AA T1", "AA T2"]);
    let twenty: Vec<u8> = (0..20).flat_map(|n| frame(&format!("N{n}"))).collect();
    assert_eq!(ask(&server, &twenty, 20), (0..20).map(|n| format!("AA N{n}")).collect::<Vec<_>>());
    // 6
    let mut stream = server.connect();
    for byte in frame("S1") {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(words(&answers(&mut stream, 1, T)), ["AA S1"]);
    // 7
    let mut stream = server.connect();
    let bytes = frame("S2");
    stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    stream.write_all(b"\r").unwrap();
    assert_eq!(words(&answers(&mut stream, 2, Duration::from_millis(600))), ["AA S2"]);
    // 8-9
    assert_eq!(ask(&server, &[b"\r\n\0\0".to_vec(), frame("L1")].concat(), 1), ["AA L1"]);
    assert_eq!(ask(&server, &[frame("G1"), b"\0\r\n".to_vec(), frame("G2")].concat(), 2), ["AA G1", "AA G2"]);
    // 10-12
    let note = |text: &[u8]| [b"NTE|1||", text, b"\r"].concat();
    assert_eq!(ask(&server, &framed(&message("E1", "", "", "8859/1", &note(b"M\xfcller \xe9"))), 1), ["AA E1"]);
    let text = "Müller 東京".as_bytes();
    assert_eq!(ask(&server, &framed(&message("E2", "", "", "UNICODE UTF-8", &note(text))), 1), ["AA E2"]);
    assert_eq!(ask(&server, &framed(&message("E3", "", "", "", &note(b"\xff\xfe\xfa"))), 1), ["AA E3"]);
    // 13
    let big: Vec<u8> = (2..30_002).flat_map(|n| format!("OBX|{n}|NM|1^X^L||1||||||F\r").into_bytes()).collect();
    let mut stream = server.connect();
    stream.write_all(&framed(&message("K1", "", "", "", &big))).unwrap();
    assert_eq!(words(&answers(&mut stream, 1, Duration::from_secs(10))), ["AA K1"]);
    // 14
    assert_eq!(ask(&server, &[b"\x0b\x1c\r".to_vec(), frame("Z1")].concat(), 1), ["AA Z1"]);
    // 15
    let mut idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let last = idle.last_mut().unwrap();
    last.write_all(&frame("W1")).unwrap();
    assert_eq!(words(&answers(last, 1, T)), ["AA W1"]);
    drop(idle);
    // 16
    let mut half = server.connect();
    half.write_all(&frame("H1")[..61]).unwrap();
    assert_eq!(ask(&server, &frame("H2"), 1), ["AA H2"]);
    // 17
    let begun = Instant::now();
    assert_eq!(ask(&server, &[b"\x0b".to_vec(), plain("C1"), b"\x1c".to_vec()].concat(), 1), ["AA C1"]);
    assert!(begun.elapsed() >= Duration::from_millis(150) && begun.elapsed() < Duration::from_millis(1500));
    // 18
    let lf: Vec<u8> = plain("F1").into_iter().map(|b| if b == b'\r' { b'\n' } else { b }).collect();
    assert_eq!(ask(&server, &framed(&lf), 1), ["AA F1"]);
    // 19-21
    assert_eq!(ask(&server, &framed(b"this is not hl7"), 1), ["AR "]);
    assert_eq!(ask(&server, &frame(""), 1), ["AA "]);
    let version = String::from_utf8(plain("V1")).unwrap().replacen("|2.6|", "|2.9.9|", 1);
    assert_eq!(ask(&server, &framed(version.as_bytes()), 1), ["AA V1"]);
    // 22
    let other = String::from_utf8(plain("D1")).unwrap().replace('|', "#").replace('^', "@");
    let mut stream = server.connect();
    stream.write_all(&framed(other.as_bytes())).unwrap();
    let ack = answers(&mut stream, 1, T).remove(0);
    assert_eq!((ack.code.as_str(), ack.id.as_str()), ("AA", "D1"));
    assert!(ack.text.starts_with("MSH#@~\\&#PLAUS#") && !ack.text.contains('|') && ack.text.contains("ACK@R01"), "{}", ack.text);
    // 23-24
    assert_eq!(ask(&server, &framed(&message("X1", "AL", "NE", "", b"")), 1), ["CA X1"]);
    let mut stream = server.connect();
    stream.write_all(&framed(&message("X2", "NE", "NE", "", b""))).unwrap();
    assert_eq!(answers(&mut stream, 1, Duration::from_secs(1)), []);
    // 25
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask(&server, &frame("AF"), 1), ["AA AF"]);
    assert!(server.stats.fault(WireFault::MissingCr) >= 1);
    assert_eq!(server.stats.fault(WireFault::NotHl7), 1);
    assert_eq!(server.stats.fault(WireFault::Empty), 1);
    drop(half);
    let records = server.finish();
    for id in ["|B1|", "|N19|", "|K1|", "|X2|", "|C1|"] {
        let found = records.iter().filter(|r| r.0 == "frame" && String::from_utf8_lossy(&r.1).contains(id)).count();
        assert_eq!(found, 1, "{id}");
    }
    assert!(records.iter().any(|r| r.0 == "truncated"), "the half frame is evidence");
    assert!(records.iter().any(|r| r.0 == "not_hl7" && r.1 == b"this is not hl7"));
}

#[test]
fn every_wire_fault_has_its_answer() {
    let server = start(Mllp { frame_bytes_max: 20_000, ..Mllp::default() });
    let no_cr_fs = |id: &str| [b"\x0b".to_vec(), plain(id)].concat();
    // W4: NUL padding in and between frames.
    let padded = [no_cr_fs("P1"), vec![0; 40], b"\x1c\r".to_vec(), vec![0; 90], frame("P2")].concat();
    assert_eq!(ask(&server, &padded, 2), ["AA P1", "AA P2"]);
    // W8: no VT.
    assert_eq!(ask(&server, &[plain("V8"), b"\x1c\r".to_vec()].concat(), 1), ["AA V8"]);
    // W9: no framing at all, ended by closing.
    let mut stream = server.connect();
    stream.write_all(&plain("V9")).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(words(&answers(&mut stream, 1, T)), ["AA V9"]);
    // W10: byte order mark before and after VT.
    assert_eq!(ask(&server, &[b"\xef\xbb\xbf".to_vec(), frame("M1")].concat(), 1), ["AA M1"]);
    assert_eq!(ask(&server, &framed(&[b"\xef\xbb\xbf".to_vec(), plain("M2")].concat()), 1), ["AA M2"]);
    // W11: FS inside data.
    assert_eq!(ask(&server, &framed(&message("I1", "", "", "", b"NTE|1||a\x1cb\r")), 1), ["AA I1"]);
    // W12: VT inside: a truncated frame before a good one; a repeated VT; data.
    let broken = [no_cr_fs("U1")[..80].to_vec(), frame("U2")].concat();
    assert_eq!(ask(&server, &broken, 1), ["AA U2"]);
    assert_eq!(ask(&server, &[b"\x0b\x0b".to_vec(), frame("U3")].concat(), 1), ["AA U3"]);
    assert_eq!(ask(&server, &framed(&message("U4", "", "", "", b"NTE|1||a\x0bb\r")), 1), ["AA U4"]);
    // W13: over the cap: AR once, the connection stays.
    let huge = framed(&message("H1", "", "", "", &vec![b'x'; 60_000]));
    assert_eq!(ask(&server, &[huge, frame("H2")].concat(), 2), ["AR H1", "AA H2"]);
    // W14: a second message inside one frame.
    assert_eq!(ask(&server, &framed(&[plain("J1"), plain("J2")].concat()), 1), ["AA J1"]);
    // W15: a batch: one answer per message, and the trailer's count compared.
    let batch = [b"FHS|^~\\&|X\rBHS|^~\\&|X\r".to_vec(), plain("K1"), plain("K2"), b"BTS|3\rFTS|1\r".to_vec()].concat();
    assert_eq!(ask(&server, &framed(&batch), 2), ["AA K1", "AA K2"]);
    // W19: every character set named, whatever the bytes.
    for (n, set) in ["ASCII", "8859/1", "8859/15", "UNICODE", "UNICODE UTF-8", "UTF-8", "KLINGON"].iter().enumerate() {
        let id = format!("C{n}");
        assert_eq!(ask(&server, &framed(&message(&id, "", "", set, b"NTE|1||\xe9\r")), 1), [format!("AA {id}")]);
    }
    // W20: UTF-16 with its byte order mark.
    let wide: Vec<u8> = [b"\xff\xfe".to_vec(), plain("X16").into_iter().flat_map(|b| [b, 0]).collect()].concat();
    let wide = ask(&server, &framed(&wide), 1);
    assert_eq!(wide.len(), 1);
    assert!(wide[0].starts_with("AA"), "{wide:?}");
    // W24: other protocols are closed without a byte.
    for (bytes, fault) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], WireFault::ForeignHttp),
        (&b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"[..], WireFault::ForeignTls),
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], WireFault::ForeignSsh),
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(T)).unwrap();
        let (acks, closed) = read(&mut stream, 1, T);
        assert!(acks.is_empty() && closed, "{}", fault.name());
        let until = Instant::now() + T;
        while server.stats.fault(fault) == 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(server.stats.fault(fault), 1, "{}", fault.name());
    }
    // W25: connect and close.
    drop(server.connect());
    // W28: closed in the middle.
    let mut stream = server.connect();
    stream.write_all(&no_cr_fs("R28")[..100]).unwrap();
    drop(stream);
    // W31: a resend is acknowledged again.
    assert_eq!(ask(&server, &[frame("D1"), frame("D1")].concat(), 2), ["AA D1", "AA D1"]);
    // W32: commit bytes and acknowledgements are not answered.
    let ack = b"MSH|^~\\&|A|B|C|D|20260101||ACK^R01|77|P|2.6\rMSA|AA|1\r";
    let mixed = [framed(b"\x06"), framed(b"\x15"), framed(ack), frame("O1")].concat();
    assert_eq!(ask(&server, &mixed, 1), ["AA O1"]);
    // A query is refused.
    let query = b"MSH|^~\\&|A|B|C|D|20260101||QBP^ZV1|78|P|2.6\rQPD|1\r";
    assert_eq!(ask(&server, &framed(query), 1), ["AR 78"]);
    let stats = server.stats.clone();
    let records = server.finish();
    for fault in [
        WireFault::NulPadding,
        WireFault::MissingVt,
        WireFault::Unframed,
        WireFault::ByteOrderMark,
        WireFault::FsInside,
        WireFault::VtInside,
        WireFault::TooLarge,
        WireFault::BatchFault,
        WireFault::ConnectAndClose,
        WireFault::AckReceived,
        WireFault::Query,
    ] {
        assert!(stats.fault(fault) >= 1, "{} in {:?}", fault.name(), stats.faults());
    }
    assert_eq!(stats.fault(WireFault::Commit), 2);
    assert!(stats.fault(WireFault::Truncated) >= 2);
    let held = |what: &str| records.iter().filter(|r| r.0 == what).count();
    assert_eq!((held("foreign_http"), held("too_large"), held("query"), held("ack_received"), held("batch")), (1, 1, 1, 1, 1));
    assert!(held("truncated") >= 2);
    let envelope = &records.iter().find(|r| r.0 == "batch").unwrap().1;
    assert_eq!(envelope, b"FHS|^~\\&|X\rBHS|^~\\&|X\rBTS|3\rFTS|1\r");
    assert_eq!(held("open"), held("close"));
}

#[test]
fn a_slow_sender_is_cut_off_and_only_that_one() {
    let server = start(Mllp { message_timeout_s: 0.5, idle_timeout_s: 0.0, ..Mllp::default() });
    let mut slow = server.connect();
    let mut idle = server.connect();
    let begun = Instant::now();
    slow.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    slow.write_all(b"\x0bMSH|^~\\&|").unwrap();
    let mut closed = false;
    while !closed && begun.elapsed() < Duration::from_secs(5) {
        let _ = slow.write_all(b"x");
        std::thread::sleep(Duration::from_millis(60));
        closed = matches!(slow.read(&mut [0; 10]), Ok(0));
    }
    assert!(closed && begun.elapsed() >= Duration::from_millis(450), "closed with FIN after the message timeout");
    idle.write_all(&frame("I1")).unwrap();
    assert_eq!(words(&answers(&mut idle, 1, T)), ["AA I1"], "an idle connection stays");
    assert_eq!(server.stats.fault(WireFault::MessageTimeout), 1);
    let records = server.finish();
    assert!(records.iter().any(|r| r.0 == "truncated" && r.1.starts_with(b"MSH|^~\\&|xx")));
}

#[test]
fn an_idle_timeout_works_where_it_is_configured() {
    let server = start(Mllp { idle_timeout_s: 0.3, ..Mllp::default() });
    let mut stream = server.connect();
    stream.write_all(&frame("A1")).unwrap();
    assert_eq!(words(&answers(&mut stream, 1, T)), ["AA A1"]);
    stream.set_read_timeout(Some(T)).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(server.stats.fault(WireFault::IdleTimeout), 1);
    server.finish();
}

#[test]
fn unfinished_frames_are_bounded_in_all() {
    let server = start(Mllp { unfinished_bytes_max: 100_000, ..Mllp::default() });
    let mut hogs: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    for hog in &mut hogs {
        let _ = hog.write_all(&[b"\x0bMSH|^~\\&|".to_vec(), vec![b'x'; 40_000]].concat());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ask(&server, &frame("G1"), 1), ["AA G1"]);
    assert!(server.stats.fault(WireFault::UnfinishedBudget) >= 1);
    assert!(server.stats.unfinished_bytes.load(std::sync::atomic::Ordering::Relaxed) <= 100_000);
    drop(hogs);
    let stats = server.stats.clone();
    server.finish();
    assert_eq!(stats.unfinished_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, address: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&format!("{address}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    socket.into()
}

#[test]
fn who_holds_unfinished_frames_takes_nothing_from_others() {
    let config = Mllp { unfinished_bytes_max: 1 << 20, frame_bytes_max: 400 << 10, connections_max: 16, ..Mllp::default() };
    let server = start(config);
    let part = |len: usize| [b"\x0bMSH|^~\\&|".to_vec(), vec![b'x'; len]].concat();
    let mut hogs: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    for hog in &mut hogs {
        let _ = hog.write_all(&part(300 << 10));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.stats.fault(WireFault::UnfinishedBudget) >= 1, "one address has half of it");
    // Another address sends a large message in pieces, and the same address a small one.
    let mut other = connect_from(&server, "127.0.0.2");
    let large = framed(&message("L1", "", "", "", &[b"NTE|1||".to_vec(), vec![b'x'; 350 << 10], b"\r".to_vec()].concat()));
    let mut small = server.connect();
    let modest = framed(&message("S1", "", "", "", &[b"NTE|1||".to_vec(), vec![b'x'; 40 << 10], b"\r".to_vec()].concat()));
    other.write_all(&large[..300 << 10]).unwrap();
    small.write_all(&modest[..30 << 10]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    other.write_all(&large[300 << 10..]).unwrap();
    small.write_all(&modest[30 << 10..]).unwrap();
    assert_eq!(words(&answers(&mut other, 1, T)), ["AA L1"]);
    assert_eq!(words(&answers(&mut small, 1, T)), ["AA S1"]);
    drop(hogs);
    let stats = server.stats.clone();
    server.finish();
    assert_eq!(stats.unfinished_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn who_never_reads_answers_is_not_read_on_and_disturbs_nobody() {
    let server = start(Mllp::default());
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let many: Vec<u8> = (0..200).flat_map(|n| frame(&format!("N{n}"))).collect();
    let mut blocked = false;
    for _ in 0..2000 {
        if deaf.write_all(&many).is_err() {
            blocked = true;
            break;
        }
    }
    assert!(blocked, "we stop reading a peer that does not read");
    assert_eq!(ask(&server, &frame("G1"), 1), ["AA G1"]);
    drop(deaf);
    server.finish();
}

#[test]
fn connections_over_the_cap_are_closed_at_once_and_make_room_later() {
    let server = start(Mllp { connections_max: 2, ..Mllp::default() });
    let mut first = server.connect();
    first.write_all(&frame("A1")).unwrap();
    assert_eq!(words(&answers(&mut first, 1, T)), ["AA A1"]);
    let second = server.connect();
    let mut third = server.connect();
    third.set_read_timeout(Some(T)).unwrap();
    assert!(read(&mut third, 1, T).1);
    assert_eq!(server.stats.fault(WireFault::Refused), 1);
    drop((first, second));
    let until = Instant::now() + T;
    while server.stats.connections.load(std::sync::atomic::Ordering::Relaxed) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask(&server, &frame("A2"), 1), ["AA A2"]);
    server.finish();
}

#[test]
fn a_failing_disk_answers_ae_and_recovers_without_a_lie() {
    for kind in [DiskFault::WRITE, DiskFault::SYNC] {
        let server = start(Mllp::default());
        let mut stream = server.connect();
        let mut send = |id: &str| {
            stream.write_all(&frame(id)).unwrap();
            words(&answers(&mut stream, 1, T))
        };
        assert_eq!(send("A1"), ["AA A1"]);
        server.fault.set(kind);
        assert_eq!(send("A2"), ["AE A2"]);
        assert_eq!(send("A3"), ["AE A3"]);
        server.fault.set(DiskFault::NONE);
        std::thread::sleep(Duration::from_millis(PROBE_MS + 50));
        assert_eq!(send("A3"), ["AA A3"]);
        let ae = server.stats.ae.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(ae, 2);
        let records = server.finish();
        let ids: Vec<bool> = ["|A1|", "|A2|", "|A3|"]
            .iter()
            .map(|id| records.iter().any(|r| String::from_utf8_lossy(&r.1).contains(id)))
            .collect();
        assert_eq!(ids, [true, false, true]);
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_that_very_moment() {
    let server = start(Mllp::default());
    let mut stream = server.connect();
    for n in 0..20 {
        let id = format!("|K{n}|");
        stream.write_all(&frame(&format!("K{n}"))).unwrap();
        assert_eq!(answers(&mut stream, 1, T).len(), 1);
        // The files as they are now are what a killed process leaves.
        let crashed = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(server.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, crashed.path().join(path.file_name().unwrap())).unwrap();
        }
        let options = Options::new(&vitalguard::config::Journal { segment_bytes: 1 << 20, ..Default::default() }, "again");
        let (journal, feed) = Journal::open(crashed.path(), options).unwrap();
        drop(feed);
        journal.close();
        let found = Reader::open(crashed.path(), 0).unwrap().any(|e| {
            matches!(e.unwrap().stamped.record, Record::Frame { payload, .. } if String::from_utf8_lossy(&payload).contains(&id))
        });
        assert!(found, "{id}");
    }
    // Who is killed between write and answer: the sender has no answer, the record is there, the resend is a repeat.
    stream.write_all(&frame("GONE")).unwrap();
    drop(stream);
    let records = server.finish();
    assert!(records.iter().any(|r| String::from_utf8_lossy(&r.1).contains("|GONE|")));
}

#[test]
fn a_stop_lets_a_begun_frame_end_and_be_answered() {
    let server = start(Mllp::default());
    let mut stream = server.connect();
    let bytes = frame("S1");
    stream.write_all(&bytes[..70]).unwrap();
    let idle = server.connect();
    std::thread::sleep(Duration::from_millis(100));
    server.stop.cancel();
    std::thread::sleep(Duration::from_millis(300));
    assert!(TcpStream::connect(server.address).is_err(), "nothing new is accepted");
    stream.write_all(&bytes[70..]).unwrap();
    stream.set_read_timeout(Some(T)).unwrap();
    let (acks, _) = read(&mut stream, 1, T);
    assert_eq!(words(&acks), ["AA S1"]);
    assert!(read(&mut stream, 1, T).1, "then FIN");
    drop(idle);
    server.finish();
}

#[test]
fn a_thousand_connections_are_served() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files: usize = limits
        .lines()
        .find(|l| l.starts_with("Max open files"))
        .and_then(|l| l.split_whitespace().nth(3)?.parse().ok())
        .unwrap_or(1 << 20);
    let count = 1000.min(files.saturating_sub(200) / 2);
    if count < 1000 {
        println!("only {count} connections: this process may open {files} files");
    }
    let server = start(Mllp::default());
    let mut streams: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&frame(&format!("M{n}"))).unwrap();
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(words(&answers(stream, 1, Duration::from_secs(20))), [format!("AA M{n}")]);
    }
    assert_eq!(server.stats.aa.load(std::sync::atomic::Ordering::Relaxed) as usize, count);
    drop(streams);
    server.finish();
}

#[test]
fn noise_of_any_sort_leaves_the_others_alone() {
    let server = start(Mllp { frame_bytes_max: 5000, ..Mllp::default() });
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 10] =
        [b"\x0b", b"\x1c\r", b"\x1c", b"\r", b"MSH|^~\\&|", b"\0\0", b"\xef\xbb\xbf", b"BHS|^~\\&\r", b"OBX|1|NM|", b"\xff\xfe"];
    for round in 0..60 {
        let mut stream = server.connect();
        let mut bytes = Vec::new();
        for _ in 0..200 {
            match random() % 3 {
                0 => bytes.push(random() as u8),
                _ => bytes.extend_from_slice(pieces[random() as usize % pieces.len()]),
            }
        }
        let _ = stream.write_all(&bytes);
        let id = format!("G{round}");
        assert_eq!(ask(&server, &frame(&id), 1), [format!("AA {id}")]);
    }
    server.finish();
}

mod tls {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;
    use vitalguard::config::ClientIdentity;
    use vitalguard::shell::tls::client_config;

    struct Authority {
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
        pem: String,
    }

    fn authority(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn issue(authority: &Authority, folder: &Path, file: &str, name: &str) -> ClientIdentity {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let files = ClientIdentity { certificate: folder.join(format!("{file}.pem")), key: folder.join(format!("{file}.key")) };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    type Client = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

    fn dial(server: &Server, ca: &Path, identity: Option<&ClientIdentity>) -> Client {
        let config = Arc::new(client_config(Some(ca), identity).unwrap());
        let connection = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let stream = server.connect();
        stream.set_read_timeout(Some(T)).unwrap();
        rustls::StreamOwned::new(connection, stream)
    }

    #[test]
    fn mutual_tls_names_the_sender_and_refuses_strangers() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, &ours.pem).unwrap();
        let own = issue(&ours, folder.path(), "server", "vitalguard");
        let gateway = issue(&ours, folder.path(), "gateway", "icu-gateway");
        let stranger = issue(&theirs, folder.path(), "stranger", "icu-gateway");
        let tls = Tls { certificate: own.certificate, key: own.key, client_ca: Some(ca.clone()) };
        let server = start(Mllp { tls: Some(tls), ..Mllp::default() });
        let mut client = dial(&server, &ca, Some(&gateway));
        client.write_all(&[frame("A1"), frame("A2")].concat()).unwrap();
        assert_eq!(words(&read(&mut client, 2, T).0), ["AA A1", "AA A2"]);
        for identity in [None, Some(&stranger)] {
            let mut client = dial(&server, &ca, identity);
            let refused = client.write_all(&frame("B1")).is_err() || read(&mut client, 1, T).0.is_empty();
            assert!(refused);
        }
        // Plain text on the TLS port: closed without a byte.
        let mut plain = server.connect();
        plain.write_all(&frame("C1")).unwrap();
        plain.set_read_timeout(Some(T)).unwrap();
        let mut bytes = Vec::new();
        let _ = plain.read_to_end(&mut bytes);
        assert!(bytes.is_empty());
        assert_eq!(server.stats.fault(WireFault::TlsHandshake), 2);
        assert_eq!(server.stats.fault(WireFault::PlaintextOnTls), 1);
        drop(client);
        let path = server.folder.path().to_owned();
        let entry = Reader::open(&path, 0)
            .unwrap()
            .map(|e| e.unwrap())
            .find(|e| matches!(e.stamped.record, Record::Frame { .. }))
            .unwrap();
        let identity = entry.evidence.tls.unwrap();
        assert!(
            identity.starts_with("CN=icu-gateway sha256:") && identity.len() == "CN=icu-gateway sha256:".len() + 64,
            "{identity}"
        );
        assert!(entry.evidence.port > 0);
        server.finish();
    }

    #[test]
    fn a_new_certificate_is_taken_without_dropping_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (authority("old"), authority("new"));
        let (old_ca, new_ca) = (folder.path().join("old-ca.pem"), folder.path().join("new-ca.pem"));
        std::fs::write(&old_ca, &old.pem).unwrap();
        std::fs::write(&new_ca, &new.pem).unwrap();
        let own = issue(&old, folder.path(), "server", "vitalguard");
        let tls = Tls { certificate: own.certificate, key: own.key, client_ca: None };
        let server = start(Mllp { tls: Some(tls), ..Mllp::default() });
        let mut before = dial(&server, &old_ca, None);
        before.write_all(&frame("A1")).unwrap();
        assert_eq!(words(&read(&mut before, 1, T).0), ["AA A1"]);
        std::thread::sleep(Duration::from_millis(20));
        issue(&new, folder.path(), "server", "vitalguard");
        let reloader = {
            let runtime = server.runtime.as_ref().unwrap();
            let _inside = runtime.enter();
            vitalguard::shell::tls::Reloader::start(vec![server.tls.clone().unwrap()])
        };
        reloader.now();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let mut after = dial(&server, &new_ca, None);
            if after.write_all(&frame("A2")).is_ok() && words(&read(&mut after, 1, T).0) == ["AA A2"] {
                break;
            }
            assert!(Instant::now() < until, "the new certificate is not served");
            std::thread::sleep(Duration::from_millis(50));
        }
        before.write_all(&frame("A3")).unwrap();
        assert_eq!(words(&read(&mut before, 1, T).0), ["AA A3"], "the old connection goes on");
        assert!(dial(&server, &old_ca, None).write_all(&frame("A4")).is_err());
        server.finish();
    }
}
