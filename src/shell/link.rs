//! What the publisher shares with the rest of the house: is the broker there, what waits, what was dropped, who asked.
//!
//! One contract: nothing here ever blocks. Every map and queue has a bound; what does not fit is counted.

use crate::document::{Dropped, Removed, response_topic};
use crate::shell::metrics;
use crate::shell::store::OutboxGauge;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// Topics that wait with a number that is only true now (vitals, flat).
const TRANSIENT_TOPICS_MAX: usize = 4_096;
/// Requests whose answer has a way of its own. A request is answered within milliseconds.
const REPLIES_MAX: usize = 1_024;
/// Answers that could not be stored and wait for the broker; more than that is an attack, and silence means "not accepted".
const REFUSALS_MAX: usize = 256;
/// Topics removed that are remembered; seven days of changes in a large house are some dozens.
const REMOVED_MAX: usize = 256;

/// Documents that are old at once: sent when there is room, never queued, dropped first under pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transient {
    /// Sent before vitals, dropped after them.
    Flat,
    Vitals,
}

/// How an answer finds the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Topic relative to `{root}/v1/{site}/`.
    pub topic: String,
    pub correlation: Option<Vec<u8>>,
}

/// The shared state.
#[derive(Debug, Default)]
pub struct Link {
    pub(crate) connected: AtomicBool,
    pub(crate) resynced: AtomicBool,
    pub(crate) conflict: AtomicBool,
    pub(crate) connections: AtomicU64,
    pub(crate) protocol: AtomicU64,
    pub(crate) dropped_vitals: AtomicU64,
    pub(crate) dropped_flat: AtomicU64,
    pub(crate) dropped_ward: AtomicU64,
    /// Events that no broker will ever take (too large for it).
    pub(crate) dropped_event: AtomicU64,
    pub(crate) gauge: Option<Arc<OutboxGauge>>,
    pub(crate) transients: Mutex<BTreeMap<(Transient, String), Bytes>>,
    pub(crate) replies: Mutex<VecDeque<(String, String, Reply)>>,
    /// Answers to what could not be stored: they are not in the outbox.
    pub(crate) refusals: Mutex<VecDeque<(Reply, Bytes)>>,
    /// The newest state document of the self-test's bed that the broker has acknowledged, and when.
    pub(crate) tested: Mutex<Option<(u64, Instant)>>,
    pub(crate) removed: Mutex<VecDeque<Removed>>,
    pub(crate) trouble: Mutex<Option<String>>,
    /// For those who look on over HTTP.
    pub(crate) live: crate::shell::live::Live,
    /// Of the heartbeat, whichever way it goes.
    pub(crate) heartbeat_rev: AtomicU64,
    pub(crate) wake: Notify,
    pub(crate) stopping: AtomicBool,
    /// Until when the last documents are handed over.
    pub(crate) patience_until: Mutex<Option<Instant>>,
}

impl Link {
    /// Nothing known yet. `gauge`: the outbox that waits for the broker, if there is one.
    pub fn new(gauge: Option<Arc<OutboxGauge>>) -> Link {
        Link { gauge, ..Link::default() }
    }

    /// What happens, as it happens.
    pub fn live(&self) -> &crate::shell::live::Live {
        &self.live
    }
    /// The next heartbeat's `rev`.
    pub(crate) fn heartbeat_rev(&self) -> u64 {
        self.heartbeat_rev.fetch_add(1, Ordering::Relaxed) + 1
    }
    /// Whether the broker has accepted our connection.
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
    /// Whether, in this connection, every retained document was handed over.
    pub fn resynced(&self) -> bool {
        self.resynced.load(Ordering::Relaxed)
    }
    /// Whether another publisher speaks under our site.
    pub fn conflict(&self) -> bool {
        self.conflict.load(Ordering::Relaxed)
    }
    /// Connections that the broker accepted since start.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
    /// MQTT protocol of the connection: 5, or 4 for 3.1.1; 0 before the first.
    pub fn protocol(&self) -> u64 {
        self.protocol.load(Ordering::Relaxed)
    }
    /// Why the last connection ended, while there is none.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
    /// Events and answers that wait.
    pub fn outbox_depth(&self) -> u64 {
        self.gauge.as_ref().map_or(0, |gauge| gauge.depth())
    }
    /// Their bound.
    pub fn outbox_max(&self) -> u64 {
        self.gauge.as_ref().map_or(0, |gauge| gauge.max())
    }
    /// Ready in the sense of `/ready`: the broker is reachable, or the outbox is below half.
    pub fn ready(&self) -> bool {
        self.connected() || self.outbox_depth().saturating_mul(2) < self.outbox_max().max(1)
    }
    /// Documents not published since boot.
    pub fn dropped(&self) -> Dropped {
        Dropped {
            vitals: self.dropped_vitals.load(Ordering::Relaxed),
            flat: self.dropped_flat.load(Ordering::Relaxed),
            ward: self.dropped_ward.load(Ordering::Relaxed),
            event: self.dropped_event.load(Ordering::Relaxed) + self.gauge.as_ref().map_or(0, |gauge| gauge.dropped()),
        }
    }
    /// Topics that were tombstoned as orphans, complete topics.
    pub fn removed(&self) -> Vec<Removed> {
        self.removed.lock().iter().cloned().collect()
    }
    pub(crate) fn note_removed(&self, removed: Removed) {
        let mut list = self.removed.lock();
        if list.len() >= REMOVED_MAX {
            list.pop_front();
        }
        list.push_back(removed);
    }

    /// There is something new in the outbox.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Newest `vitals` or `flat` of a bed; an older one that was not sent is dropped.
    pub fn transient(&self, kind: Transient, topic: &str, payload: Bytes) {
        let mut waiting = self.transients.lock();
        let key = (kind, topic.to_owned());
        let replaced = if waiting.contains_key(&key) {
            true
        } else if waiting.len() >= TRANSIENT_TOPICS_MAX {
            drop(waiting);
            self.count_transient(kind, 1);
            return;
        } else {
            false
        };
        waiting.insert(key, payload);
        drop(waiting);
        if replaced {
            self.count_transient(kind, 1);
        }
        self.wake.notify_one();
    }
    pub(crate) fn count_transient(&self, kind: Transient, count: u64) {
        let (counter, label) = match kind {
            Transient::Vitals => (&self.dropped_vitals, "vitals"),
            Transient::Flat => (&self.dropped_flat, "flat"),
        };
        counter.fetch_add(count, Ordering::Relaxed);
        metrics::dropped(label, count);
    }

    /// An answer that cannot go the way of the outbox.
    pub(crate) fn refuse(&self, reply: Reply, payload: Bytes) {
        let mut refusals = self.refusals.lock();
        if refusals.len() < REFUSALS_MAX {
            refusals.push_back((reply, payload));
        }
        drop(refusals);
        self.wake.notify_one();
    }

    pub(crate) fn remember_reply(&self, user: &str, request_id: &str, reply: Reply) {
        let mut replies = self.replies.lock();
        if replies.len() >= REPLIES_MAX {
            replies.pop_front();
        }
        replies.push_back((user.to_owned(), request_id.to_owned(), reply));
    }
    /// Where the answer to a request goes: the way it asked for, else `rsp/{user}/{request_id}`.
    pub fn reply(&self, user: &str, request_id: &str) -> Reply {
        let mut replies = self.replies.lock();
        match replies.iter().position(|(u, r, _)| u == user && r == request_id) {
            Some(place) => {
                let found = replies.remove(place).map(|(_, _, reply)| reply);
                found.unwrap_or_else(|| Reply { topic: response_topic(user, request_id), correlation: None })
            }
            None => Reply { topic: response_topic(user, request_id), correlation: None },
        }
    }
}
