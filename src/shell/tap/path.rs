//! What a tap or a tee knows of the clinical path: its answers, its latency, and how much of it was not seen.

use crate::config::{Mllp, Placement};
use crate::document::{FeedPath, PathAnswers, PathPackets, PathRelay};
use crate::shell::listener::Histogram;
use crate::shell::metrics as names;
use crate::shell::tee::Stats;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Codes of MSA-1 that are counted by name; everything else is `other`.
const CODES: [&str; 7] = ["AA", "AE", "AR", "CA", "CE", "CR", "other"];

/// Counters of one path since the service began.
#[derive(Debug)]
pub struct PathStats {
    placement: Placement,
    captures: bool,
    answers: [AtomicU64; CODES.len()],
    missing: AtomicU64,
    unasked: AtomicU64,
    latency: Histogram,
    gaps: AtomicU64,
    gap_bytes: AtomicU64,
    opaque: AtomicU64,
    not_stored: AtomicU64,
    /// The relay, or the stream of packets, is there.
    up: AtomicBool,
    packets: AtomicU64,
    packets_unreadable: AtomicU64,
    relay_starts: AtomicU64,
    draining: AtomicU64,
    /// As the relay said last, and what was said by relays before it.
    relay: Mutex<(Stats, Stats)>,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    feed: String,
    answers: [metrics::Counter; CODES.len()],
    missing: metrics::Counter,
    unasked: metrics::Counter,
    latency: metrics::Histogram,
    gaps: metrics::Counter,
    gap_bytes: metrics::Counter,
    opaque: metrics::Counter,
    not_stored: metrics::Counter,
}

impl PathStats {
    /// All zero. The recorder of `metrics` must be installed before.
    pub fn new(config: &Mllp) -> PathStats {
        let (feed, placement) = (config.feed.as_str(), config.placement);
        let count = |name: &'static str| metrics::counter!(name, "feed" => feed.to_owned());
        let meters = Meters {
            feed: feed.to_owned(),
            answers: CODES.map(|code| metrics::counter!(names::PATH_ANSWERS, "feed" => feed.to_owned(), "code" => code)),
            missing: count(names::PATH_MISSING),
            unasked: count(names::PATH_UNASKED),
            latency: metrics::histogram!(names::PATH_SECONDS, "feed" => feed.to_owned()),
            gaps: count(names::PATH_GAPS),
            gap_bytes: count(names::PATH_GAP_BYTES),
            opaque: count(names::PATH_OPAQUE),
            not_stored: count(names::PATH_NOT_STORED),
        };
        PathStats {
            placement,
            captures: config.capture.is_some(),
            answers: Default::default(),
            missing: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
            latency: Histogram::default(),
            gaps: AtomicU64::new(0),
            gap_bytes: AtomicU64::new(0),
            opaque: AtomicU64::new(0),
            not_stored: AtomicU64::new(0),
            up: AtomicBool::new(false),
            packets: AtomicU64::new(0),
            packets_unreadable: AtomicU64::new(0),
            relay_starts: AtomicU64::new(0),
            draining: AtomicU64::new(0),
            relay: Mutex::default(),
            meters,
        }
    }

    /// An answer of the receiver, by MSA-1.
    pub fn answer(&self, code: &[u8]) {
        let at = CODES.iter().position(|known| known.as_bytes() == code).unwrap_or(CODES.len() - 1);
        self.answers[at].fetch_add(1, Ordering::Relaxed);
        self.meters.answers[at].increment(1);
    }
    /// From a message whole to its first answer whole, microseconds.
    pub fn took(&self, us: i64) {
        self.latency.record(us.max(0) as u64);
        self.meters.latency.record(us.max(0) as f64 / 1e6);
    }
    /// Messages whose answer did not come.
    pub fn missing(&self, count: u64) {
        self.missing.fetch_add(count, Ordering::Relaxed);
        self.meters.missing.increment(count);
    }
    /// An answer to nothing that was seen.
    pub fn unasked(&self) {
        self.unasked.fetch_add(1, Ordering::Relaxed);
        self.meters.unasked.increment(1);
    }
    /// Bytes of the path that were not seen (0: it is not known how many).
    pub fn gap(&self, bytes: u64) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.gap_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.meters.gaps.increment(1);
        self.meters.gap_bytes.increment(bytes);
    }
    /// A connection that is not understood (TLS, HTTP, SSH).
    pub fn opaque(&self) {
        self.opaque.fetch_add(1, Ordering::Relaxed);
        self.meters.opaque.increment(1);
    }
    /// Records that the journal did not take: the path goes on without evidence.
    pub fn not_stored(&self, count: u64) {
        self.not_stored.fetch_add(count, Ordering::Relaxed);
        self.meters.not_stored.increment(count);
    }

    /// The relay is there, or is not.
    pub fn relay_up(&self, up: bool) {
        if !self.up.swap(up, Ordering::Relaxed) && up {
            self.relay_starts.fetch_add(1, Ordering::Relaxed);
        }
        metrics::gauge!(names::RELAY_UP, "feed" => self.meters.feed.clone()).set(if up { 1.0 } else { 0.0 });
    }
    /// The stream of packets is there, or is not; what was seen in it so far.
    pub fn packets(&self, up: bool, packets: u64, unreadable: u64) {
        self.up.store(up, Ordering::Relaxed);
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.packets_unreadable.fetch_add(unreadable, Ordering::Relaxed);
        let feed = || self.meters.feed.clone();
        metrics::gauge!(names::PACKETS_UP, "feed" => feed()).set(if up { 1.0 } else { 0.0 });
        metrics::counter!(names::PACKETS, "feed" => feed()).increment(packets);
        metrics::counter!(names::PACKETS_UNREADABLE, "feed" => feed()).increment(unreadable);
    }
    /// Connections that still go through a relay that drains: as many before, so many now.
    pub fn draining(&self, before: u64, now: u64) {
        self.draining.fetch_add(now, Ordering::Relaxed);
        self.draining.fetch_sub(before, Ordering::Relaxed);
    }
    /// What the relay has counted. A relay that began anew counts from 0: what the one before had counted is kept.
    pub fn relay(&self, said: Stats, fresh: bool) {
        let mut kept = self.relay.lock();
        if fresh {
            let (last, before) = *kept;
            *kept = (Stats::default(), sum(last, before));
        }
        kept.0 = said;
        let all = sum(kept.0, kept.1);
        drop(kept);
        let feed = || self.meters.feed.clone();
        for (direction, bytes) in [("to_receiver", all.bytes_to_receiver), ("to_sender", all.bytes_to_sender)] {
            metrics::counter!(names::PATH_BYTES, "feed" => feed(), "direction" => direction).absolute(bytes);
        }
        for (name, count) in [
            (names::PATH_CONNECTIONS_TOTAL, all.connections_total),
            (names::PATH_RESETS, all.resets),
            (names::PATH_UNREACHABLE, all.unreachable),
            (names::PATH_REFUSED, all.refused),
            (names::COPIES_DROPPED, all.copies_dropped),
            (names::COPIES_DROPPED_BYTES, all.copies_dropped_bytes),
        ] {
            metrics::counter!(name, "feed" => feed()).absolute(count);
        }
        metrics::gauge!(names::COPIES_HELD_BYTES, "feed" => feed()).set(all.copies_held_bytes as f64);
        for (quantile, us) in [("0.5", said.relay_p50_us), ("0.99", said.relay_p99_us)] {
            metrics::gauge!(names::RELAY_SECONDS, "feed" => feed(), "quantile" => quantile).set(us as f64 / 1e6);
        }
    }

    /// Whether there should be a relay or a stream of packets, and is none.
    pub fn is_cut(&self) -> bool {
        (self.placement == Placement::Tee || self.captures) && !self.up.load(Ordering::Relaxed)
    }

    /// Things that should not happen, in sum: what makes a feed degraded while it grows.
    pub fn troubles(&self) -> u64 {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refusals: u64 = [1, 2, 4, 5].iter().map(|at| of(&self.answers[*at])).sum();
        let (last, before) = *self.relay.lock();
        let relay = sum(last, before);
        refusals
            + of(&self.missing)
            + of(&self.gaps)
            + of(&self.not_stored)
            + relay.unreachable
            + relay.refused
            + relay.accept_errors
            + relay.copies_dropped
    }

    /// What the feed's document says of it.
    pub fn document(&self) -> FeedPath {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answer = |at: usize| of(&self.answers[at]);
        let ms = |q: f64| self.latency.quantile_us(q).map(|us| us as f64 / 1000.0);
        let (last, before) = *self.relay.lock();
        let all = sum(last, before);
        FeedPath {
            placement: match self.placement {
                Placement::Listener => "listener",
                Placement::Tap => "tap",
                Placement::Tee => "tee",
            },
            answers: PathAnswers {
                aa: answer(0),
                ae: answer(1),
                ar: answer(2),
                ca: answer(3),
                ce: answer(4),
                cr: answer(5),
                other: answer(6),
                missing: of(&self.missing),
                unasked: of(&self.unasked),
            },
            latency_ms_p50: ms(0.5),
            latency_ms_p99: ms(0.99),
            gaps: of(&self.gaps),
            gap_bytes: of(&self.gap_bytes),
            opaque: of(&self.opaque),
            not_stored: of(&self.not_stored),
            packets: self.captures.then(|| PathPackets {
                up: self.up.load(Ordering::Relaxed),
                read: of(&self.packets),
                unreadable: of(&self.packets_unreadable),
            }),
            relay: (self.placement == Placement::Tee).then(|| PathRelay {
                up: self.up.load(Ordering::Relaxed),
                starts: of(&self.relay_starts),
                connections: all.connections,
                draining: of(&self.draining),
                bytes_to_receiver: all.bytes_to_receiver,
                bytes_to_sender: all.bytes_to_sender,
                unreachable: all.unreachable,
                refused: all.refused,
                resets: all.resets,
                copies_dropped: all.copies_dropped,
                copies_dropped_bytes: all.copies_dropped_bytes,
            }),
        }
    }
}

/// Counters add up; what holds now is the last one's.
fn sum(last: Stats, before: Stats) -> Stats {
    Stats {
        connections_total: last.connections_total + before.connections_total,
        bytes_to_receiver: last.bytes_to_receiver + before.bytes_to_receiver,
        bytes_to_sender: last.bytes_to_sender + before.bytes_to_sender,
        resets: last.resets + before.resets,
        unreachable: last.unreachable + before.unreachable,
        refused: last.refused + before.refused,
        accept_errors: last.accept_errors + before.accept_errors,
        copies_dropped: last.copies_dropped + before.copies_dropped,
        copies_dropped_bytes: last.copies_dropped_bytes + before.copies_dropped_bytes,
        ..last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_begins_anew_does_not_take_back_what_was_counted() {
        let path = PathStats::new(&Mllp { placement: Placement::Tee, ..Mllp::default() });
        path.relay(Stats { bytes_to_receiver: 10, connections: 3, ..Stats::default() }, true);
        path.relay(Stats { bytes_to_receiver: 25, connections: 4, ..Stats::default() }, false);
        path.relay(Stats { bytes_to_receiver: 1, connections: 1, ..Stats::default() }, true);
        let relay = path.document().relay.unwrap();
        assert_eq!((relay.bytes_to_receiver, relay.connections), (26, 1));
    }

    #[test]
    fn refusals_gaps_and_missing_answers_are_troubles_and_good_answers_are_not() {
        let path = PathStats::new(&Mllp { placement: Placement::Tap, ..Mllp::default() });
        path.answer(b"AA");
        path.answer(b"CA");
        path.took(1500);
        assert_eq!(path.troubles(), 0);
        path.answer(b"AE");
        path.answer(b"CR");
        path.missing(2);
        path.gap(100);
        assert_eq!(path.troubles(), 5);
        let document = path.document();
        assert_eq!((document.answers.aa, document.answers.cr, document.relay), (1, 1, None));
        assert!(document.latency_ms_p50.is_some_and(|ms| (1.3..=1.5).contains(&ms)));
        assert!(!path.is_cut());
    }
}
