//! A conversation with an MLLP server, as the probe needs it: bytes are sent as they are, answers come back as words.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A peer must not send more than was asked for: how long the probe listens after the last answer that is due.
const LINGER: Duration = Duration::from_millis(60);

/// The server that is probed.
pub struct Target {
    pub address: SocketAddr,
    /// How long an answer may take.
    pub patience: Duration,
    /// A frame of more than so many bytes is over its cap.
    pub frame_bytes_max: usize,
    /// After how long it gives up a sender that dribbles; `None`: not known, the check is left out.
    pub message_timeout: Option<Duration>,
    /// Every byte that came from it.
    heard: AtomicU64,
    /// Connections that are kept open to the end, to hear what comes late.
    kept: Option<Mutex<Vec<TcpStream>>>,
}

impl Target {
    pub fn new(address: SocketAddr, patience: Duration) -> Target {
        Target { address, patience, frame_bytes_max: 8 << 20, message_timeout: None, heard: AtomicU64::new(0), kept: None }
    }

    /// Keeps every connection open until [`Target::heard_in_all`].
    pub fn keeping(self) -> Target {
        Target { kept: Some(Mutex::default()), ..self }
    }

    pub fn connect(&self) -> Talk<'_> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10)).expect("the probed server listens");
        stream.set_nodelay(true).unwrap();
        Talk { target: self, stream, bytes: Vec::new(), closed: false }
    }

    /// Sends on a connection of its own; what `count` answers say.
    pub fn ask(&self, bytes: &[u8], count: usize) -> String {
        let mut talk = self.connect();
        talk.send(bytes);
        talk.said(count)
    }

    /// Every byte that the server has ever sent, after a last look at each connection that was kept.
    pub fn heard_in_all(&self) -> u64 {
        for mut stream in self.kept.as_ref().map(|kept| std::mem::take(&mut *kept.lock().unwrap())).into_iter().flatten() {
            let _ = stream.set_nonblocking(true);
            let mut buffer = [0; 65536];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                self.heard.fetch_add(len as u64, Ordering::Relaxed);
            }
        }
        self.heard.load(Ordering::Relaxed)
    }
}

/// One connection.
pub struct Talk<'a> {
    target: &'a Target,
    pub stream: TcpStream,
    bytes: Vec<u8>,
    pub closed: bool,
}

impl Talk<'_> {
    /// Sends; a server that has closed is seen when its answers are read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until `count` answers are there, the server closes or the patience ends; then a moment for one too many.
    pub fn answers(&mut self, count: usize) -> Vec<Ack> {
        self.answers_within(count, self.target.patience)
    }

    pub fn answers_within(&mut self, count: usize, patience: Duration) -> Vec<Ack> {
        let until = Instant::now() + patience;
        while !self.closed && ends(&self.bytes) < count && Instant::now() < until {
            self.read(Duration::from_millis(20));
        }
        let until = Instant::now() + LINGER;
        while !self.closed && count > 0 && Instant::now() < until {
            self.read(LINGER);
        }
        parse(&std::mem::take(&mut self.bytes))
    }

    /// The answers in words: `AA B1, AA B2`; `no answer`; `closed` where the server has closed the connection.
    pub fn said(&mut self, count: usize) -> String {
        self.said_within(count, self.target.patience)
    }

    pub fn said_within(&mut self, count: usize, patience: Duration) -> String {
        let list = self.answers_within(count, patience);
        let mut words = if list.is_empty() { "no answer".to_owned() } else { words(&list) };
        if self.closed {
            words.push_str(", closed");
        }
        words
    }

    fn read(&mut self, within: Duration) {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(len) => {
                self.target.heard.fetch_add(len as u64, Ordering::Relaxed);
                self.bytes.extend_from_slice(&buffer[..len]);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        if let (Some(kept), Ok(stream)) = (&self.target.kept, self.stream.try_clone()) {
            kept.lock().unwrap().push(stream);
        }
    }
}

fn ends(bytes: &[u8]) -> usize {
    bytes.windows(2).filter(|w| w == b"\x1c\r").count()
}

/// An answer: MSA-1, MSA-2, the whole text, and whether it came in UTF-16.
#[derive(Debug, Clone)]
pub struct Ack {
    pub code: String,
    pub id: String,
    pub text: String,
    pub wide: bool,
}

fn parse(bytes: &[u8]) -> Vec<Ack> {
    let mut list = Vec::new();
    for part in bytes.split(|b| *b == 0x0b).skip(1) {
        let part = part.strip_suffix(b"\x1c\r").unwrap_or(part);
        // The framing bytes of an answer in UTF-16 stay single; its header is ASCII with a second byte.
        let wide = part.contains(&0);
        let narrow: Vec<u8> = part.iter().copied().filter(|b| !wide || !matches!(b, 0 | 0xfe | 0xff)).collect();
        let text = String::from_utf8_lossy(&narrow).into_owned();
        let separator = text.chars().nth(3).unwrap_or('|');
        let msa = text.split('\r').find(|s| s.starts_with("MSA")).unwrap_or_default();
        let field = |n: usize| msa.split(separator).nth(n).unwrap_or_default().to_owned();
        list.push(Ack { code: field(1), id: field(2), wide, text });
    }
    list
}

pub fn words(list: &[Ack]) -> String {
    list.iter().map(|a| format!("{} {}", a.code, a.id).trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

/// One vital sign in a message of release 2.6; MSH-15, 16 and 18 as given; `more` follows.
pub fn message(id: &str, accept: &str, application: &str, charset: &str, more: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|MON|ICU|PLAUS|H|20260101120000||ORU^R01^ORU_R01|{id}|P|2.6|||{accept}|{application}||{charset}\r\
         PID|||P1^^^H^MR||DOE^JOHN\rPV1||I|ICU^^BED1\rOBR|1||1|VITALS|||20260101120000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||20260101120000\r"
    )
    .into_bytes();
    text.extend_from_slice(more);
    text
}

pub fn plain(id: &str) -> Vec<u8> {
    message(id, "", "", "", b"")
}

/// A message with a note of these bytes.
pub fn noted(id: &str, charset: &str, note: &[u8]) -> Vec<u8> {
    message(id, "", "", charset, &[b"NTE|1||", note, b"\r"].concat())
}

/// A message with its text changed.
pub fn changed(id: &str, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(plain(id)).expect("it is ASCII");
    assert!(text.contains(from), "{from:?} is in the message");
    text.replace(from, to).into_bytes()
}

pub fn framed(payload: &[u8]) -> Vec<u8> {
    [b"\x0b", payload, b"\x1c\r"].concat()
}

pub fn frame(id: &str) -> Vec<u8> {
    framed(&plain(id))
}
