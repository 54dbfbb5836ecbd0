//! One direction of a TCP connection: segments in as they were captured, bytes out in order.
//!
//! What was captured first of a byte wins; later copies are compared with it, and a copy that differs is told: two senders
//! speak in one connection, or someone tries to show two receivers two texts. A hole is waited for as long as it can still be
//! filled: 0.2 s after the receiver has acknowledged it, thirty seconds else, and never beyond the bounds below. Then it
//! is told as a gap, and the bytes go on behind it.
//!
//! Limits: [`HELD_BYTES_MAX`] and [`HELD_PIECES_MAX`] behind a hole; [`HISTORY_BYTES`] of what was handed out are kept to
//! compare with; sequence numbers are followed over their wrap.

use crate::time::Timestamp;
use std::collections::VecDeque;

/// Bytes held behind a hole at most: more than a receive window without scaling (64 KiB), as much as a scaled one usually is.
pub const HELD_BYTES_MAX: usize = 1 << 20;
/// Pieces held behind a hole at most.
pub const HELD_PIECES_MAX: usize = 1024;
/// Handed-out bytes that later copies are compared with: about the last two segments.
pub const HISTORY_BYTES: usize = 4096;
/// A hole that the receiver has acknowledged is not in the capture, for nobody sends it again; so long it may still be captured
/// late, ms. A choice: many times what the queues of a capturing machine reorder by.
const ACKED_WAIT_MS: i64 = 200;
/// A hole that nobody acknowledges, ms: longer than the first retransmissions of any system (RFC 6298: 1, 2, 4, 8 s …).
const OPEN_WAIT_MS: i64 = 30_000;
/// Sequence numbers further off than this belong to no window, bytes.
const REACH: u32 = 64 << 20;
/// So many of them in a row are a connection of which much was not captured.
const ASTRAY_MAX: u8 = 16;

/// Who is told of bytes in order.
pub(super) trait Out {
    fn data(&mut self, bytes: &[u8]);
    /// Bytes that were never captured.
    fn gap(&mut self, bytes: u64);
}

#[derive(Debug)]
struct Piece {
    sequence: u32,
    data: Vec<u8>,
    /// Bytes behind `data` that the capture did not keep.
    missing: u32,
}

impl Piece {
    fn len(&self) -> u32 {
        self.data.len() as u32 + self.missing
    }
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that were there before.
    pub repeated: u64,
    /// Bytes of them that differ from what came first.
    pub differing: u64,
    /// It came before its turn.
    pub early: bool,
    /// It belongs to no window of this connection.
    pub astray: bool,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number of the next byte; `None` before the first segment.
    next: Option<u32>,
    /// Sorted by place, not overlapping.
    pieces: VecDeque<Piece>,
    held: usize,
    /// The last bytes handed out.
    history: Vec<u8>,
    fin: Option<u32>,
    /// The highest number that the receiver has acknowledged.
    acked: Option<u32>,
    /// Since when nothing moves.
    still_since: Timestamp,
    astray: u8,
    /// Its beginning was captured.
    pub begun: bool,
    pub delivered: u64,
}

impl Stream {
    /// Memory that it holds, bytes.
    pub fn held_bytes(&self) -> usize {
        self.held + self.pieces.len() * size_of::<Piece>() + self.history.capacity()
    }

    /// The number of the next byte.
    pub fn next(&self) -> Option<u32> {
        self.next
    }

    /// A SYN: the next byte is the one behind it.
    pub fn begin(&mut self, sequence: u32) {
        self.next = Some(sequence);
        self.begun = true;
    }

    /// The receiver has acknowledged everything before `sequence`.
    pub fn acknowledge(&mut self, sequence: u32) {
        if self.acked.is_none_or(|acked| sequence.wrapping_sub(acked) < 1 << 31) {
            self.acked = Some(sequence);
        }
    }

    /// The sender has no more than up to `sequence`.
    pub fn end(&mut self, sequence: u32) {
        self.fin.get_or_insert(sequence);
    }

    /// Everything up to the FIN was handed out.
    pub fn is_finished(&self) -> bool {
        self.fin.is_some() && self.fin == self.next
    }

    /// Takes a segment that begins at `sequence`; `missing` bytes behind `data` were not kept by the capture.
    pub fn segment(&mut self, sequence: u32, data: &[u8], missing: u32, at: Timestamp, out: &mut impl Out) -> Taken {
        let mut taken = Taken::default();
        if data.is_empty() && missing == 0 {
            return taken;
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        let behind = next.wrapping_sub(sequence);
        if ahead.min(behind) > REACH {
            taken.astray = true;
            self.astray += 1;
            if self.astray < ASTRAY_MAX {
                return taken;
            }
            // The connection is elsewhere: go there.
            self.flush(out);
            out.gap(u64::from(ahead));
            self.history.clear();
            self.next = Some(sequence);
            self.astray = 0;
            return self.segment(sequence, data, missing, at, out);
        }
        self.astray = 0;
        let (mut data, mut missing, mut place) = (data, missing, ahead);
        if behind > 0 && behind <= REACH {
            let old = (behind as usize).min(data.len());
            taken.repeated += old as u64;
            // One byte before the next one is a sign of life, whatever it holds.
            if !(behind == 1 && data.len() == 1) {
                taken.differing += self.differs(behind as usize, &data[..old]);
            }
            missing = missing.saturating_sub(behind - old as u32);
            data = &data[old..];
            place = 0;
            if data.is_empty() && missing == 0 {
                return taken;
            }
        }
        if place == 0 && self.pieces.is_empty() {
            self.deliver(data, out);
            if missing > 0 {
                self.lose(missing, out);
            }
            self.still_since = at;
            return taken;
        }
        taken.early = place > 0;
        if self.pieces.is_empty() {
            self.still_since = at;
        }
        self.hold(place, data, missing, &mut taken);
        if self.drain(out) {
            self.still_since = at;
        }
        while self.held > HELD_BYTES_MAX || self.pieces.len() > HELD_PIECES_MAX {
            self.pass_hole(out);
            self.still_since = at;
        }
        taken
    }

    /// Gives up a hole for which there is nothing to wait any more.
    pub fn look(&mut self, now: Timestamp, out: &mut impl Out) {
        let Some(next) = self.next.filter(|_| !self.pieces.is_empty()) else { return };
        let still_ms = now.since_ms(self.still_since);
        let acked = self.acked.is_some_and(|acked| (1..REACH).contains(&acked.wrapping_sub(next)));
        if still_ms >= OPEN_WAIT_MS || (acked && still_ms >= ACKED_WAIT_MS) {
            self.pass_hole(out);
            self.still_since = now;
        }
    }

    /// Nothing more comes: what is held is handed out with its gaps.
    pub fn flush(&mut self, out: &mut impl Out) {
        while !self.pieces.is_empty() {
            self.pass_hole(out);
        }
    }

    /// Keeps only where it stands.
    pub fn forget(&mut self) {
        self.pieces = VecDeque::new();
        self.history = Vec::new();
        self.held = 0;
    }

    fn deliver(&mut self, data: &[u8], out: &mut impl Out) {
        if data.is_empty() {
            return;
        }
        out.data(data);
        self.delivered += data.len() as u64;
        self.next = self.next.map(|next| next.wrapping_add(data.len() as u32));
        if data.len() >= HISTORY_BYTES {
            self.history.clear();
            self.history.extend_from_slice(&data[data.len() - HISTORY_BYTES..]);
        } else {
            if self.history.len() + data.len() > 2 * HISTORY_BYTES {
                self.history.drain(..self.history.len() + data.len() - HISTORY_BYTES);
            }
            self.history.extend_from_slice(data);
        }
    }

    fn lose(&mut self, bytes: u32, out: &mut impl Out) {
        out.gap(u64::from(bytes));
        self.history.clear();
        self.next = self.next.map(|next| next.wrapping_add(bytes));
    }

    /// How many bytes of a copy that begins `behind` the next byte differ from what was handed out.
    fn differs(&self, behind: usize, copy: &[u8]) -> u64 {
        let from = self.history.len().checked_sub(behind);
        let (known, copy) = match from {
            Some(from) => (&self.history[from..], copy),
            None => (&self.history[..], copy.get(behind - self.history.len()..).unwrap_or_default()),
        };
        known.iter().zip(copy).filter(|(a, b)| a != b).count() as u64
    }

    /// Stands what is new of a segment between the pieces that are held.
    fn hold(&mut self, place: u32, data: &[u8], missing: u32, taken: &mut Taken) {
        let next = self.next.unwrap_or_default();
        let (mut from, mut data, mut missing) = (place, data, missing);
        let mut at = 0;
        while at < self.pieces.len() && (!data.is_empty() || missing > 0) {
            let piece = &self.pieces[at];
            let start = piece.sequence.wrapping_sub(next);
            let end = start + piece.len();
            if end <= from {
                at += 1;
                continue;
            }
            if start > from {
                let room = start - from;
                let head = data.len().min(room as usize);
                let void = missing.min(room - head as u32);
                self.insert(at, next.wrapping_add(from), &data[..head], if head == room as usize { 0 } else { void });
                at += 1;
                (data, missing) = (&data[head..], if data.len() == head { missing - void } else { missing });
                from += head as u32 + void;
                if from < start {
                    return;
                }
                continue;
            }
            // Both have [from, end): what came first stays.
            let shared = (end - from) as usize;
            let both = data.len().min(shared);
            let known = piece.data.get((from - start) as usize..).unwrap_or_default();
            taken.repeated += both as u64;
            taken.differing += known.iter().zip(&data[..both]).filter(|(a, b)| a != b).count() as u64;
            data = &data[both..];
            missing = missing.saturating_sub((shared - both) as u32);
            from = end;
            at += 1;
        }
        if !data.is_empty() || missing > 0 {
            self.insert(at, next.wrapping_add(from), data, missing);
        }
    }

    fn insert(&mut self, at: usize, sequence: u32, data: &[u8], missing: u32) {
        if data.is_empty() && missing == 0 {
            return;
        }
        self.held += data.len();
        self.pieces.insert(at, Piece { sequence, data: data.to_vec(), missing });
    }

    /// Hands out what stands next; whether anything did.
    fn drain(&mut self, out: &mut impl Out) -> bool {
        let mut moved = false;
        while self.pieces.front().is_some_and(|first| Some(first.sequence) == self.next) {
            let Some(piece) = self.pieces.pop_front() else { break };
            self.held -= piece.data.len();
            self.deliver(&piece.data, out);
            if piece.missing > 0 {
                self.lose(piece.missing, out);
            }
            moved = true;
        }
        moved
    }

    fn pass_hole(&mut self, out: &mut impl Out) {
        let (Some(next), Some(first)) = (self.next, self.pieces.front()) else { return };
        let hole = first.sequence.wrapping_sub(next);
        if hole > 0 {
            self.lose(hole, out);
        }
        self.drain(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        text: String,
    }
    impl Out for Heard {
        fn data(&mut self, bytes: &[u8]) {
            self.text.push_str(&String::from_utf8_lossy(bytes));
        }
        fn gap(&mut self, bytes: u64) {
            self.text.push_str(&format!("<{bytes}>"));
        }
    }

    /// Segments as (sequence, text, missing), a second apart.
    fn heard(begin: u32, segments: &[(u32, &str, u32)]) -> (String, Vec<Taken>) {
        let (mut stream, mut out) = (Stream::default(), Heard::default());
        stream.begin(begin);
        let mut taken = Vec::new();
        for (n, (sequence, text, missing)) in segments.iter().enumerate() {
            let at = Timestamp::from_ms(n as i64 * 1000);
            taken.push(stream.segment(*sequence, text.as_bytes(), *missing, at, &mut out));
        }
        stream.flush(&mut out);
        assert_eq!(stream.held, 0);
        (out.text, taken)
    }

    #[test]
    fn bytes_come_in_order_whatever_the_order_of_segments() {
        assert_eq!(heard(10, &[(10, "abc", 0), (13, "def", 0)]).0, "abcdef");
        assert_eq!(heard(10, &[(13, "def", 0), (10, "abc", 0)]).0, "abcdef");
        assert_eq!(heard(10, &[(16, "g", 0), (13, "def", 0), (10, "abc", 0)]).0, "abcdefg");
        assert_eq!(heard(10, &[(14, "ef", 0), (12, "cdef", 0), (10, "abcdefg", 0)]).0, "abcdefg");
        assert_eq!(heard(10, &[(12, "c", 0), (14, "e", 0), (10, "abcdefg", 0)]).0, "abcdefg");
    }

    #[test]
    fn sequence_numbers_wrap() {
        let begin = u32::MAX - 1;
        assert_eq!(heard(begin, &[(1, "def", 0), (begin, "abc", 0)]).0, "abcdef");
        assert_eq!(heard(begin, &[(begin, "ab", 0), (0, "cd", 0), (begin, "ab", 0)]).0, "abcd");
    }

    #[test]
    fn a_hole_is_told_and_the_bytes_go_on() {
        assert_eq!(heard(10, &[(10, "ab", 0), (15, "f", 0)]).0, "ab<3>f");
        // A packet that was cut short in capturing.
        assert_eq!(heard(10, &[(10, "ab", 3), (15, "f", 0)]).0, "ab<3>f");
        assert_eq!(heard(10, &[(15, "f", 2), (10, "ab", 3), (18, "i", 0)]).0, "ab<3>f<2>i");
    }

    #[test]
    fn a_copy_is_dropped_and_one_that_differs_is_told() {
        let (text, taken) = heard(10, &[(10, "abcd", 0), (10, "abcd", 0), (12, "cXef", 0)]);
        assert_eq!(text, "abcdef");
        assert_eq!((taken[1].repeated, taken[1].differing), (4, 0));
        assert_eq!((taken[2].repeated, taken[2].differing), (2, 1));
        // Before their turn, too.
        let (text, taken) = heard(10, &[(12, "cdef", 0), (11, "bXde", 0), (10, "a", 0)]);
        assert_eq!((text.as_str(), taken[1].differing), ("abcdef", 1));
        // A sign of life is no copy.
        assert_eq!(heard(10, &[(10, "ab", 0), (11, "\0", 0)]).1[1].differing, 0);
    }

    #[test]
    fn a_hole_that_was_acknowledged_is_not_waited_for_long() {
        let (mut stream, mut out) = (Stream::default(), Heard::default());
        stream.begin(1);
        let at = Timestamp::from_ms;
        stream.segment(3, b"cd", 0, at(0), &mut out);
        stream.look(at(150), &mut out);
        assert_eq!(out.text, "");
        stream.acknowledge(5);
        stream.look(at(199), &mut out);
        assert_eq!(out.text, "");
        stream.look(at(200), &mut out);
        assert_eq!(out.text, "<2>cd");
        stream.segment(9, b"x", 0, at(2000), &mut out);
        stream.look(at(31_999), &mut out);
        assert_eq!(out.text, "<2>cd");
        stream.look(at(32_000), &mut out);
        assert_eq!(out.text, "<2>cd<4>x");
    }

    #[test]
    fn what_is_held_behind_a_hole_is_bounded() {
        let (mut stream, mut out) = (Stream::default(), Heard::default());
        stream.begin(0);
        for n in 0..3000u32 {
            stream.segment(10 + n * 1000, &[b'x'; 900], 0, Timestamp::from_ms(0), &mut out);
            assert!(stream.held <= HELD_BYTES_MAX && stream.pieces.len() <= HELD_PIECES_MAX);
        }
        assert!(out.text.starts_with("<10>x"));
    }

    #[test]
    fn one_number_from_elsewhere_moves_nothing_and_sixteen_do() {
        let (mut stream, mut out) = (Stream::default(), Heard::default());
        stream.begin(0);
        let far = 1 << 30;
        assert!(stream.segment(far, b"spoof", 0, Timestamp::from_ms(0), &mut out).astray);
        stream.segment(0, b"ab", 0, Timestamp::from_ms(0), &mut out);
        for n in 0..16u32 {
            stream.segment(far + n, &[b'a' + n as u8], 0, Timestamp::from_ms(0), &mut out);
        }
        stream.segment(far + 16, b"!", 0, Timestamp::from_ms(0), &mut out);
        assert_eq!(out.text, format!("ab<{}>p!", far + 15 - 2));
    }
}
