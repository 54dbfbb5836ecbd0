//! The decoder of one connection: outside a frame, inside one, skipping one that was too large.

use super::marks::{Start, foreign, message_start};
use super::{Event, FS, FrameFaults, HEAD_BYTES, JUNK_HEAD_BYTES, JUNK_RUN_BYTES_MAX, VT};

/// Memory kept for the next frames; more is given back when it is no longer needed, bytes.
const BUFFER_KEPT_BYTES: usize = 256 << 10;
const BOM: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of the connection: another protocol shows itself here.
    Begin,
    /// Between frames.
    Outside,
    /// The payload begins at the start of the buffer; `scan` bytes of it are known to hold no end.
    Inside { scan: usize, faults: FrameFaults },
    /// Inside a frame that was too large.
    Skipping,
    /// The peer speaks another protocol.
    Dead,
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
    state: State,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    taken: usize,
    /// Bytes of the connection before `buffer`.
    gone: u64,
    event_offset: u64,
    /// The run of skipped bytes that is not reported yet.
    junk: usize,
    junk_head: Vec<u8>,
    junk_offset: u64,
    /// The last byte that was skipped or taken: a header without VT begins a line.
    before: Option<u8>,
    /// The frame was taken to be complete without its CR: that CR may still come.
    late_cr: bool,
    closed: bool,
}

impl Decoder {
    /// A decoder with a cap on the payload, bytes.
    pub fn new(frame_bytes_max: usize) -> Decoder {
        Decoder {
            frame_bytes_max,
            state: State::Begin,
            buffer: Vec::new(),
            taken: 0,
            gone: 0,
            event_offset: 0,
            junk: 0,
            junk_head: Vec::new(),
            junk_offset: 0,
            before: None,
            late_cr: false,
            closed: false,
        }
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state == State::Dead {
            self.gone += bytes.len() as u64;
            return;
        }
        self.compact();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event, or `None` when more bytes are needed.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            let step = match self.state {
                State::Begin => self.begin(),
                State::Outside => self.outside(),
                State::Inside { scan, faults } => self.inside(scan, faults),
                State::Skipping => self.skipping(),
                State::Dead => return None,
            };
            match step {
                Step::Again => {}
                Step::More => return None,
                Step::Event(event) => return Some(event),
            }
        }
    }

    /// The peer has sent nothing for the grace period (200 ms): a frame whose FS is its last byte is complete. Call until `None`.
    pub fn idle(&mut self) -> Option<Event> {
        if let Some(event) = self.poll() {
            return Some(event);
        }
        match self.state {
            State::Inside { scan, faults } if self.rest().len() == scan + 1 && self.rest().last() == Some(&FS) => {
                self.late_cr = true;
                self.end(scan, scan + 1, faults, FrameFaults::MISSING_CR)
            }
            State::Outside if self.rest().is_empty() => self.report_junk(),
            _ => None,
        }
    }

    /// The peer has closed its side. Call until `None`.
    pub fn finish(&mut self) -> Option<Event> {
        self.closed = true;
        self.poll()
    }

    /// Bytes of an unfinished frame in memory.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// Memory that it holds, bytes; room that is kept for the next frames counts.
    pub fn held_bytes(&self) -> usize {
        size_of::<Decoder>() + self.buffer.capacity() + self.junk_head.capacity()
    }

    /// Whether a frame was begun and is not complete: the message timeout runs.
    pub fn in_frame(&self) -> bool {
        matches!(self.state, State::Inside { .. } | State::Skipping)
    }

    /// Where in the connection's bytes the last event began.
    pub fn event_offset(&self) -> u64 {
        self.event_offset
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Drops `len` bytes.
    fn take(&mut self, len: usize) {
        if len > 0 {
            self.before = Some(self.buffer[self.taken + len - 1]);
            self.taken += len;
        }
    }

    fn compact(&mut self) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer.shrink_to(BUFFER_KEPT_BYTES);
            }
        } else if self.taken * 2 >= self.buffer.len() {
            self.buffer.drain(..self.taken);
        } else {
            return;
        }
        self.gone += self.taken as u64;
        self.taken = 0;
    }

    fn here(&self) -> u64 {
        self.gone + self.taken as u64
    }

    fn begin(&mut self) -> Step {
        if self.rest().is_empty() {
            return Step::More;
        }
        match foreign(self.rest()) {
            Ok(Some(protocol)) => {
                self.state = State::Dead;
                self.event_offset = 0;
                self.gone += self.buffer.len() as u64;
                self.buffer = Vec::new();
                self.taken = 0;
                Step::Event(Event::Foreign(protocol))
            }
            Err(()) if !self.closed => Step::More,
            _ => {
                self.state = State::Outside;
                Step::Again
            }
        }
    }

    /// Looks for VT, or for a header at the start of a line.
    fn outside(&mut self) -> Step {
        if self.late_cr && !self.rest().is_empty() {
            self.late_cr = false;
            if self.rest()[0] == b'\r' {
                self.take(1);
            }
        }
        let rest = &self.buffer[self.taken..];
        let mut before = self.before;
        for (at, &byte) in rest.iter().enumerate() {
            if byte == VT {
                return self.open(at, 1, FrameFaults::default());
            }
            if matches!(byte, b'M' | b'F' | b'B')
                && before.is_none_or(|b| matches!(b, b'\r' | b'\n' | 0 | FS | b' ' | b'\t' | 0xBF | 0xFE | 0xFF))
            {
                match message_start(&rest[at..], self.closed) {
                    Start::Yes => return self.open(at, 0, FrameFaults(FrameFaults::MISSING_VT)),
                    Start::Open => {
                        self.skip(at);
                        return Step::More;
                    }
                    Start::No => {}
                }
            }
            before = Some(byte);
            if self.junk + at + 1 == JUNK_RUN_BYTES_MAX {
                self.skip(at + 1);
                return self.report_junk().map_or(Step::Again, Step::Event);
            }
        }
        let len = rest.len();
        self.skip(len);
        if self.closed {
            return self.report_junk().map_or(Step::More, Step::Event);
        }
        Step::More
    }

    /// Adds `len` bytes to the run of junk.
    fn skip(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        if self.junk == 0 {
            self.junk_offset = self.here();
        }
        let room = JUNK_HEAD_BYTES - self.junk_head.len();
        self.junk_head.extend_from_slice(&self.buffer[self.taken..self.taken + len.min(room)]);
        self.junk += len;
        self.take(len);
    }

    fn report_junk(&mut self) -> Option<Event> {
        if self.junk == 0 {
            return None;
        }
        self.event_offset = self.junk_offset;
        let skipped = std::mem::take(&mut self.junk);
        Some(Event::Junk { skipped, head: std::mem::take(&mut self.junk_head) })
    }

    /// A frame begins after `junk` bytes; `mark` bytes of it are VT.
    fn open(&mut self, junk: usize, mark: usize, mut faults: FrameFaults) -> Step {
        self.skip(junk);
        if self.junk <= JUNK_HEAD_BYTES && self.junk_head.ends_with(BOM) {
            faults.set(FrameFaults::BOM);
            self.junk -= BOM.len();
            self.junk_head.truncate(self.junk);
        }
        // The junk is reported first; the frame's offset is found when it ends.
        let junk = self.report_junk();
        self.junk_head.clear();
        self.take(mark);
        self.state = State::Inside { scan: 0, faults };
        junk.map_or(Step::Again, Step::Event)
    }

    /// Looks for the end of the frame.
    fn inside(&mut self, mut scan: usize, mut faults: FrameFaults) -> Step {
        let rest = &self.buffer[self.taken..];
        // An end is looked for up to the cap and no further, however much has come.
        let window = rest.len().min(self.frame_bytes_max.saturating_add(1));
        while let Some(len) = memchr::memchr2(FS, VT, &rest[scan..window]) {
            let at = scan + len;
            let after = &rest[at + 1..];
            if rest[at] == FS {
                match after.first() {
                    Some(b'\r') => return Step::from(self.end(at, at + 2, faults, 0)),
                    Some(b'\n') => return Step::from(self.end(at, at + 2, faults, FrameFaults::MISSING_CR)),
                    Some(&VT) => return Step::from(self.end(at, at + 1, faults, FrameFaults::MISSING_CR)),
                    None if self.closed => return Step::from(self.end(at, at + 1, faults, FrameFaults::MISSING_CR)),
                    None => {
                        self.state = State::Inside { scan: at, faults };
                        return Step::More;
                    }
                    Some(_) => faults.set(FrameFaults::FS_INSIDE),
                }
            } else if at == 0 {
                // VT VT: once is enough.
                self.take(1);
                self.state = State::Inside { scan: 0, faults };
                return Step::Again;
            } else {
                // Behind a byte order mark, too.
                let mark = BOM.iter().zip(after).take_while(|(a, b)| a == b).count();
                let header = if mark == BOM.len() { &after[mark..] } else { after };
                let open = mark > 0 && mark == after.len();
                match message_start(header, self.closed) {
                    Start::Yes => return self.cut(at, faults),
                    Start::Open => {
                        self.state = State::Inside { scan: at, faults };
                        return Step::More;
                    }
                    Start::No if open && !self.closed => {
                        self.state = State::Inside { scan: at, faults };
                        return Step::More;
                    }
                    Start::No => faults.set(FrameFaults::VT_INSIDE),
                }
            }
            scan = at + 1;
        }
        scan = window;
        if window > self.frame_bytes_max {
            self.event_offset = self.here();
            let head = rest[..window.min(HEAD_BYTES)].to_vec();
            self.take(window);
            self.state = State::Skipping;
            return Step::Event(Event::TooLarge { head });
        }
        self.state = State::Inside { scan, faults };
        if !self.closed {
            return Step::More;
        }
        if faults.has(FrameFaults::MISSING_VT) {
            faults.0 &= !FrameFaults::MISSING_VT;
            let len = rest.len();
            return Step::from(self.end(len, len, faults, FrameFaults::UNFRAMED));
        }
        let len = rest.len();
        self.cut(len, faults)
    }

    /// The frame ends: `len` bytes of payload, `whole` with its end.
    fn end(&mut self, len: usize, whole: usize, mut faults: FrameFaults, fault: u8) -> Option<Event> {
        faults.set(fault);
        self.event_offset = self.here();
        let sent = &self.buffer[self.taken..self.taken + len];
        let mut payload = sent;
        if let Some(rest) = payload.strip_prefix(BOM) {
            faults.set(FrameFaults::BOM);
            payload = rest;
        }
        if crate::charset::utf16(payload).is_none() {
            let kept = payload.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if kept < payload.len() {
                faults.set(FrameFaults::NUL_PADDING);
                payload = &payload[..kept];
            }
        }
        let event = match payload {
            [0x06] => Event::Commit(true),
            [0x15] => Event::Commit(false),
            _ if payload.iter().all(u8::is_ascii_whitespace) => Event::Empty,
            _ => Event::Frame { payload: payload.to_vec(), faults },
        };
        self.take(whole);
        self.state = State::Outside;
        Some(event)
    }

    /// The frame is given up after `len` bytes, where a new one begins or the peer has left.
    fn cut(&mut self, len: usize, _faults: FrameFaults) -> Step {
        self.event_offset = self.here();
        let payload = self.buffer[self.taken..self.taken + len].to_vec();
        self.take(len);
        self.state = State::Outside;
        // A VT alone is a sender that had nothing to say.
        if payload.is_empty() { Step::Again } else { Step::Event(Event::Truncated { payload }) }
    }

    /// Looks for the end of a frame that is not kept.
    fn skipping(&mut self) -> Step {
        let rest = &self.buffer[self.taken..];
        let mut scan = 0;
        while let Some(len) = memchr::memchr2(FS, VT, &rest[scan..]) {
            let at = scan + len;
            let after = &rest[at + 1..];
            let (done, ends) = if rest[at] == FS {
                match after.first() {
                    Some(b'\r' | b'\n') => (at + 2, true),
                    Some(&VT) => (at + 1, true),
                    None => (at + usize::from(self.closed), self.closed),
                    Some(_) => (at + 1, false),
                }
            } else {
                match message_start(after, self.closed) {
                    Start::Yes => (at, true),
                    Start::Open => (at, false),
                    Start::No => (at + 1, false),
                }
            };
            if ends {
                self.take(done);
                self.state = State::Outside;
                return Step::Again;
            }
            if done == at {
                // Not known yet.
                self.take(at);
                return Step::More;
            }
            scan = done;
        }
        let len = rest.len();
        self.take(len);
        if self.closed {
            self.state = State::Outside;
        }
        Step::More
    }
}

enum Step {
    Again,
    More,
    Event(Event),
}

impl From<Option<Event>> for Step {
    fn from(event: Option<Event>) -> Step {
        event.map_or(Step::Again, Step::Event)
    }
}
