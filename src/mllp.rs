//! MLLP frames, sans-IO: push bytes, take frames and faults.
//!
//! A frame is VT (0x0B), payload, FS (0x1C), CR. Framing looks at bytes only; character sets come later. Every wire fault
//! has an answer here and a name; none of them panics, none of them loses a good neighbour.
//!
//! Its one contract: the events depend on the bytes alone, never on how they were cut into reads (only [`Decoder::idle`] lets
//! time in). Where a decision needs the next byte, it waits for it. Every byte is looked at once, so that a sender that
//! dribbles costs no more than one that does not.
//!
//! A block ends at FS CR wherever these two bytes stand. UTF-16 has characters of these two bytes (U+0D1C little-endian, U+1C0D
//! big-endian); they end their block, what follows is reported as junk. MLLP allows neither within a block.
//!
//! Limits: one frame of `frame_bytes_max` in memory, 64 bytes of junk, one kilobyte of a frame that was too large.

mod marks;
mod state;
#[cfg(test)]
mod tests;

pub use state::Decoder;

/// Start of a block.
pub const VT: u8 = 0x0B;
/// End of a block, followed by CR.
pub const FS: u8 = 0x1C;
/// Largest frame accepted by default, bytes.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// How much of a frame that was too large is handed out: enough for its header.
pub const HEAD_BYTES: usize = 1024;
/// How much of skipped bytes is handed out.
pub const JUNK_HEAD_BYTES: usize = 64;
/// A run of junk is reported at this length even if it goes on, bytes.
pub const JUNK_RUN_BYTES_MAX: usize = 64 << 10;

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

    pub const fn has(self, fault: u8) -> bool {
        self.0 & fault != 0
    }
    pub const fn set(&mut self, fault: u8) {
        self.0 |= fault;
    }
    /// The names of the faults, for counters.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 7] = ["missing_cr", "missing_vt", "unframed", "bom", "nul_padding", "fs_inside", "vt_inside"];
        NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

/// Writes one frame.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(payload.len() + 3);
    out.push(VT);
    out.extend_from_slice(payload);
    out.extend_from_slice(&[FS, b'\r']);
}
