//! The copies that wait for the judge: bounded in bytes and in age.
//!
//! One contract: whoever puts a copy in never waits. A copy stays until the judge has confirmed it (so that one that died is
//! followed by one that misses nothing), until the queue is full, or until it is too old; the oldest goes first. A copy that
//! goes without having been sent is counted; the judge sees the hole by the offsets of what follows.

use super::wire::{Event, Way, What};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

/// Copies in memory at most, bytes: some seconds of a thousand beds, and little for a machine.
pub const COPY_BYTES_MAX: usize = 16 << 20;
/// A copy is kept so long for a judge that is away, microseconds: longer than a restart, and short enough that what is judged
/// late is not taken for the present.
pub const COPY_AGE_MAX_US: i64 = 30_000_000;
/// What an event weighs beside its bytes.
const EVENT_BYTES: usize = 128;
/// Muted connections at most: as many as there can be.
const MUTED_MAX: usize = 65_536;

/// The queue.
#[derive(Debug)]
pub struct Copies {
    queue: VecDeque<Event>,
    bytes: usize,
    bytes_max: usize,
    /// So many of the front were sent to the judge that is there now.
    sent: usize,
    sequence: u64,
    /// Something was dropped, or the judge is new: it is to be told which connections there are.
    told: bool,
    muted: BTreeSet<u64>,
    /// Ways of which bytes were dropped unsent: what follows says so.
    holes: BTreeSet<(u64, Way)>,
    dropped: u64,
    dropped_bytes: u64,
}

impl Copies {
    pub fn new(bytes_max: usize) -> Copies {
        Copies {
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            sent: 0,
            sequence: 0,
            told: false,
            muted: BTreeSet::new(),
            holes: BTreeSet::new(),
            dropped: 0,
            dropped_bytes: 0,
        }
    }

    /// Puts in a copy of bytes that were passed on.
    pub fn passed(&mut self, connection: u64, at_us: i64, peer: SocketAddr, way: Way, offset: u64, bytes: &[u8]) {
        if !self.muted.contains(&connection) {
            self.push(connection, at_us, peer, What::Bytes { way, offset, hole: false, bytes: bytes.into() });
        }
    }

    /// Puts in the end of a connection.
    pub fn ended(&mut self, connection: u64, at_us: i64, peer: SocketAddr, what: What) {
        self.muted.remove(&connection);
        self.push(connection, at_us, peer, what);
    }

    fn push(&mut self, connection: u64, at_us: i64, peer: SocketAddr, what: What) {
        self.sequence += 1;
        let event = Event { sequence: self.sequence, connection, at_us, peer, what };
        self.bytes += weight(&event);
        self.queue.push_back(event);
        while self.bytes > self.bytes_max {
            self.drop_oldest();
        }
        self.forget_old(at_us);
    }

    /// Drops what is too old.
    pub fn forget_old(&mut self, now_us: i64) {
        while self.queue.front().is_some_and(|event| now_us - event.at_us > COPY_AGE_MAX_US) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(event) = self.queue.pop_front() else { return };
        self.bytes -= weight(&event);
        if self.sent > 0 {
            // It was sent; only its confirmation is missing.
            self.sent -= 1;
            return;
        }
        self.told = false;
        match &event.what {
            What::Bytes { way, bytes, .. } => {
                self.dropped += 1;
                self.dropped_bytes += bytes.len() as u64;
                self.holes.insert((event.connection, *way));
            }
            // Nothing of it follows.
            _ => self.holes.retain(|(connection, _)| *connection != event.connection),
        }
    }

    /// A new judge: everything that is not confirmed is sent again.
    pub fn restart(&mut self) {
        self.sent = 0;
        self.told = false;
        self.muted.clear();
    }

    /// Writes what is to be sent next, about `bytes_max` at most; nothing: all is sent. `open`: the connections there are now.
    pub fn take(&mut self, open: impl FnOnce() -> Vec<u64>, out: &mut Vec<u8>, bytes_max: usize) {
        if !self.told {
            self.told = true;
            let mut live: BTreeSet<u64> = open().into_iter().collect();
            live.extend(self.queue.range(self.sent..).map(|event| event.connection));
            let front = self.queue.get(self.sent);
            let what = What::Live(live.into_iter().collect());
            let sequence = front.map_or(self.sequence, |event| event.sequence - 1);
            let at_us = front.map_or(0, |event| event.at_us);
            Event { sequence, connection: 0, at_us, peer: SocketAddr::from(([0; 4], 0)), what }.write(out);
        }
        while out.len() < bytes_max
            && let Some(event) = self.queue.get_mut(self.sent)
        {
            match &mut event.what {
                What::Bytes { way, hole, .. } => *hole |= self.holes.remove(&(event.connection, *way)),
                _ => self.holes.retain(|(connection, _)| *connection != event.connection),
            }
            event.write(out);
            self.sent += 1;
        }
    }

    /// The judge has everything up to an event.
    pub fn stored(&mut self, sequence: u64) {
        while self.sent > 0 && self.queue.front().is_some_and(|event| event.sequence <= sequence) {
            self.sent -= 1;
            self.bytes -= self.queue.pop_front().as_ref().map_or(0, weight);
        }
        if self.queue.is_empty() && self.queue.capacity() > 4096 {
            self.queue.shrink_to(256);
        }
    }

    /// The judge does not want this connection.
    pub fn mute(&mut self, connection: u64) {
        if self.muted.len() < MUTED_MAX {
            self.muted.insert(connection);
        }
    }

    /// Bytes held now; copies and bytes dropped since the beginning.
    pub fn counts(&self) -> (usize, u64, u64) {
        (self.bytes, self.dropped, self.dropped_bytes)
    }
    /// Whether everything was sent.
    pub fn all_sent(&self) -> bool {
        self.sent == self.queue.len()
    }
}

fn weight(event: &Event) -> usize {
    EVENT_BYTES
        + match &event.what {
            What::Bytes { bytes, .. } => bytes.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "10.1.2.3:4711".parse().unwrap()
    }
    fn taken(copies: &mut Copies) -> Vec<Event> {
        let mut bytes = Vec::new();
        copies.take(|| vec![1, 2], &mut bytes, usize::MAX);
        let (mut at, mut events) = (0, Vec::new());
        while let Some((event, len)) = Event::read(&bytes[at..]).unwrap() {
            at += len;
            events.push(event);
        }
        events
    }

    #[test]
    fn a_judge_that_follows_one_that_died_gets_what_was_not_confirmed() {
        let mut copies = Copies::new(1 << 20);
        for n in 0..4 {
            copies.passed(1, n, peer(), Way::ToReceiver, n as u64 * 2, b"ab");
        }
        assert_eq!(taken(&mut copies).len(), 5, "four copies, and the list of connections before them");
        copies.stored(2);
        assert!(taken(&mut copies).is_empty());
        copies.restart();
        let again = taken(&mut copies);
        assert_eq!(again.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(matches!(again[0].what, What::Live(ref list) if *list == [1, 2]));
        copies.stored(4);
        assert_eq!(copies.counts(), (0, 0, 0));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_counts_it_and_says_which_connections_are_left() {
        let mut copies = Copies::new(10 * (EVENT_BYTES + 10));
        for n in 0..25 {
            copies.passed(n, 0, peer(), Way::ToSender, 0, &[0; 10]);
        }
        assert_eq!(copies.counts(), (10 * (EVENT_BYTES + 10), 15, 150));
        let events = taken(&mut copies);
        assert!(matches!(&events[0].what, What::Live(list) if *list == [1, 2].into_iter().chain(15..25).collect::<Vec<_>>()));
        assert_eq!(events[1].connection, 15);
        // What was sent and is not confirmed may go without being a loss.
        copies.passed(30, 0, peer(), Way::ToSender, 0, &[0; 10]);
        assert_eq!(copies.counts().1, 15);
        assert_eq!(taken(&mut copies).len(), 1);
    }

    #[test]
    fn a_copy_grows_old_and_a_muted_connection_is_not_copied() {
        let mut copies = Copies::new(1 << 20);
        copies.passed(1, 0, peer(), Way::ToSender, 0, b"a");
        copies.mute(2);
        copies.passed(2, 1, peer(), Way::ToSender, 0, b"b");
        assert_eq!(copies.counts().1, 0);
        copies.forget_old(COPY_AGE_MAX_US);
        assert_eq!(copies.counts().1, 0);
        copies.forget_old(COPY_AGE_MAX_US + 1);
        assert_eq!(copies.counts(), (0, 1, 1));
    }
}
