//! What a feed counts: for the feed's document, for `/metrics`, for whoever asks why nothing arrives.
//!
//! Labels are the feed's slug and closed lists of words: no peer, no patient.

use super::histogram::Histogram;
use crate::config::{Mllp, Placement};
use crate::mllp::{Foreign, FrameFaults};
use crate::shell::metrics as names;
use crate::shell::tap::PathStats;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Everything that can be wrong on the wire, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum WireFault {
    MissingCr,
    MissingVt,
    Unframed,
    ByteOrderMark,
    NulPadding,
    FsInside,
    VtInside,
    Junk,
    Truncated,
    TooLarge,
    Empty,
    Commit,
    NotHl7,
    Query,
    AckReceived,
    BatchFault,
    ForeignTls,
    ForeignHttp,
    ForeignSsh,
    PlaintextOnTls,
    TlsHandshake,
    ConnectAndClose,
    MessageTimeout,
    IdleTimeout,
    UnfinishedBudget,
    WriteTimeout,
    Reset,
    Refused,
    AcceptError,
    TaskPanic,
}

impl WireFault {
    /// All, in the order of their numbers.
    pub const ALL: [WireFault; 30] = [
        WireFault::MissingCr,
        WireFault::MissingVt,
        WireFault::Unframed,
        WireFault::ByteOrderMark,
        WireFault::NulPadding,
        WireFault::FsInside,
        WireFault::VtInside,
        WireFault::Junk,
        WireFault::Truncated,
        WireFault::TooLarge,
        WireFault::Empty,
        WireFault::Commit,
        WireFault::NotHl7,
        WireFault::Query,
        WireFault::AckReceived,
        WireFault::BatchFault,
        WireFault::ForeignTls,
        WireFault::ForeignHttp,
        WireFault::ForeignSsh,
        WireFault::PlaintextOnTls,
        WireFault::TlsHandshake,
        WireFault::ConnectAndClose,
        WireFault::MessageTimeout,
        WireFault::IdleTimeout,
        WireFault::UnfinishedBudget,
        WireFault::WriteTimeout,
        WireFault::Reset,
        WireFault::Refused,
        WireFault::AcceptError,
        WireFault::TaskPanic,
    ];

    /// The word for metrics, logs and the journal.
    pub const fn name(self) -> &'static str {
        match self {
            WireFault::MissingCr => "missing_cr",
            WireFault::MissingVt => "missing_vt",
            WireFault::Unframed => "unframed",
            WireFault::ByteOrderMark => "byte_order_mark",
            WireFault::NulPadding => "nul_padding",
            WireFault::FsInside => "fs_inside",
            WireFault::VtInside => "vt_inside",
            WireFault::Junk => "junk",
            WireFault::Truncated => "truncated",
            WireFault::TooLarge => "too_large",
            WireFault::Empty => "empty",
            WireFault::Commit => "commit",
            WireFault::NotHl7 => "not_hl7",
            WireFault::Query => "query",
            WireFault::AckReceived => "ack_received",
            WireFault::BatchFault => "batch_fault",
            WireFault::ForeignTls => "foreign_tls",
            WireFault::ForeignHttp => "foreign_http",
            WireFault::ForeignSsh => "foreign_ssh",
            WireFault::PlaintextOnTls => "plaintext_on_tls",
            WireFault::TlsHandshake => "tls_handshake",
            WireFault::ConnectAndClose => "connect_and_close",
            WireFault::MessageTimeout => "message_timeout",
            WireFault::IdleTimeout => "idle_timeout",
            WireFault::UnfinishedBudget => "unfinished_budget",
            WireFault::WriteTimeout => "write_timeout",
            WireFault::Reset => "reset",
            WireFault::Refused => "refused",
            WireFault::AcceptError => "accept_error",
            WireFault::TaskPanic => "task_panic",
        }
    }
}

impl From<Foreign> for WireFault {
    fn from(foreign: Foreign) -> WireFault {
        match foreign {
            Foreign::Tls => WireFault::ForeignTls,
            Foreign::Http => WireFault::ForeignHttp,
            Foreign::Ssh => WireFault::ForeignSsh,
        }
    }
}

/// Counters of one feed since the service began.
#[derive(Debug)]
pub struct FeedStats {
    /// The feed's slug.
    pub feed: String,
    /// Messages received (frames, or messages of a batch).
    pub received: AtomicU64,
    /// Answers sent by MSA-1: AA and CA, AE and CE, AR and CR.
    pub aa: AtomicU64,
    pub ae: AtomicU64,
    pub ar: AtomicU64,
    /// Messages for which no answer was due.
    pub unanswered: AtomicU64,
    /// Bytes, both ways.
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// Connections now, and since the beginning.
    pub connections: AtomicU64,
    pub connections_total: AtomicU64,
    /// Bytes of unfinished frames in memory now.
    pub unfinished_bytes: AtomicU64,
    /// Time of the last message, ms since 1970; 0: none.
    pub last_message_ms: AtomicI64,
    /// From a message read to its answer written, microseconds.
    pub ack_latency: Histogram,
    /// A tap or a tee: what it knows of the clinical path.
    pub path: Option<Arc<PathStats>>,
    faults: [AtomicU64; WireFault::ALL.len()],
    last_peer: parking_lot::Mutex<Option<String>>,
    pub(in crate::shell) meters: Meters,
}

/// The same numbers for `/metrics`.
#[derive(Debug)]
pub(in crate::shell) struct Meters {
    pub received: metrics::Counter,
    pub aa: metrics::Counter,
    pub ae: metrics::Counter,
    pub ar: metrics::Counter,
    pub bytes_in: metrics::Counter,
    pub connections: metrics::Gauge,
    pub ack_s: metrics::Histogram,
    faults: Vec<metrics::Counter>,
}

impl Meters {
    fn new(feed: &str) -> Meters {
        let feed = feed.to_owned();
        let answer = |code| metrics::counter!(names::ANSWERS, "feed" => feed.clone(), "code" => code);
        let fault = |f: &WireFault| metrics::counter!(names::WIRE_FAULTS, "feed" => feed.clone(), "fault" => f.name());
        Meters {
            received: metrics::counter!(names::RECEIVED, "feed" => feed.clone()),
            aa: answer("AA"),
            ae: answer("AE"),
            ar: answer("AR"),
            bytes_in: metrics::counter!(names::RECEIVED_BYTES, "feed" => feed.clone()),
            connections: metrics::gauge!(names::CONNECTIONS, "feed" => feed.clone()),
            ack_s: metrics::histogram!(names::ACK_SECONDS, "feed" => feed.clone()),
            faults: WireFault::ALL.iter().map(fault).collect(),
        }
    }
}

impl FeedStats {
    /// All zero. The recorder of `metrics` must be installed before.
    pub fn new(feed: &str) -> FeedStats {
        FeedStats {
            feed: feed.to_owned(),
            received: AtomicU64::new(0),
            aa: AtomicU64::new(0),
            ae: AtomicU64::new(0),
            ar: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            unfinished_bytes: AtomicU64::new(0),
            last_message_ms: AtomicI64::new(0),
            ack_latency: Histogram::default(),
            path: None,
            faults: std::array::from_fn(|_| AtomicU64::new(0)),
            last_peer: parking_lot::Mutex::new(None),
            meters: Meters::new(feed),
        }
    }
    /// All zero, with the counters of the clinical path where the feed stands beside or in it.
    pub fn placed(config: &Mllp) -> FeedStats {
        let path = (config.placement != Placement::Listener).then(|| Arc::new(PathStats::new(config)));
        FeedStats { path, ..FeedStats::new(&config.feed) }
    }
    /// Things that should not happen, in sum: what makes a feed degraded while it grows.
    pub fn troubles(&self) -> u64 {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        of(&self.ae) + of(&self.ar) + self.path.as_ref().map_or(0, |path| path.troubles())
    }
    /// How often this has happened.
    pub fn fault(&self, fault: WireFault) -> u64 {
        self.faults[fault as usize].load(Ordering::Relaxed)
    }
    /// Every fault that has happened, by name.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        WireFault::ALL.iter().map(|f| (f.name(), self.fault(*f))).filter(|(_, n)| *n > 0).collect()
    }
    /// Address (without port) of the peer that sent last: to be hashed before it leaves.
    pub fn last_peer(&self) -> Option<String> {
        self.last_peer.lock().clone()
    }
    /// Connections of a tap or tee, counter and gauge.
    pub(in crate::shell) fn set_connections(&self, connections: u64) {
        self.connections.store(connections, Ordering::Relaxed);
        self.meters.connections.set(connections as f64);
    }
    pub(in crate::shell) fn set_last_peer(&self, peer: &str) {
        let mut last = self.last_peer.lock();
        if last.as_deref() != Some(peer) {
            *last = Some(peer.to_owned());
        }
    }
    pub(in crate::shell) fn count(&self, fault: WireFault) {
        self.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
        self.meters.faults[fault as usize].increment(1);
    }
    pub(in crate::shell) fn count_frame(&self, faults: FrameFaults) {
        const BITS: [(u8, WireFault); 7] = [
            (FrameFaults::MISSING_CR, WireFault::MissingCr),
            (FrameFaults::MISSING_VT, WireFault::MissingVt),
            (FrameFaults::UNFRAMED, WireFault::Unframed),
            (FrameFaults::BOM, WireFault::ByteOrderMark),
            (FrameFaults::NUL_PADDING, WireFault::NulPadding),
            (FrameFaults::FS_INSIDE, WireFault::FsInside),
            (FrameFaults::VT_INSIDE, WireFault::VtInside),
        ];
        if faults.0 != 0 {
            BITS.iter().filter(|(bit, _)| faults.0 & bit != 0).for_each(|(_, fault)| self.count(*fault));
        }
    }
    pub(in crate::shell) fn count_answer(&self, code: &str) {
        let (number, meter) = match code {
            "AA" | "CA" => (&self.aa, &self.meters.aa),
            "AE" | "CE" => (&self.ae, &self.meters.ae),
            "AR" | "CR" => (&self.ar, &self.meters.ar),
            _ => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        number.fetch_add(1, Ordering::Relaxed);
        meter.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_at_its_number_and_has_a_name_of_its_own() {
        assert!(WireFault::ALL.iter().enumerate().all(|(i, f)| *f as usize == i));
        let mut names: Vec<_> = WireFault::ALL.iter().map(|f| f.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WireFault::ALL.len());
    }
}
