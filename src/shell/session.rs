//! What the publisher does within one connection: what is sent next, and what the acknowledgements mean.
//!
//! One contract: at most `Session::window` QoS 1 publishes are under way, in the order in which they were queued; an outbox row is
//! marked when the broker has acknowledged it, and never before. A session dies with its connection; nothing that it holds is
//! needed afterwards, because documents live in `Retained` and in the outbox.

use crate::document::{self, Origin, Pulse, Seal};
use crate::monitor::SiteCondition;
use crate::shell::audit::Flood;
use crate::shell::link::{Link, Transient};
use crate::shell::metrics;
use crate::shell::mqtt::{Ack, Message, Sender, Signal, Version, WireError};
use crate::shell::publisher::{End, FOREIGN_GONE, Inbound, RESYNC_PER_S, now};
use crate::shell::retained::{Kind, Retained};
use crate::shell::store::{OutboxKind, OutboxReader, OutboxRow};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

mod inbound;

/// Publishes under way at most. 64 × 2 kB fill a local network; mosquitto and rmqtt take that many.
const WINDOW_MAX: usize = 64;
/// Outbox rows read at a time.
const ROWS: usize = 256;
/// Marks that could not be written before the outbox pauses.
const MARKS_MAX: usize = 4_096;
/// Marks are written at least so often.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// The outbox is looked at so often without being told.
const OUTBOX_EVERY: Duration = Duration::from_millis(500);
/// Without an acknowledgement for so long the connection is given up.
const STALL: Duration = Duration::from_secs(20);
/// Cadence of the heartbeat (contract, section 6).
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const HEARTBEAT_EXPIRY_S: u32 = 10;
const TRANSIENT_EXPIRY_S: u32 = 10;
/// Expiry of retained documents of beds and wards, seconds.
const STATE_EXPIRY_S: u32 = 86_400;

/// What lives longer than a connection.
pub(crate) struct Shared {
    /// `{root}/v1/{site}`.
    pub(crate) base: String,
    pub(crate) origin: Origin,
    /// Signs every document, where a key is configured.
    pub(crate) seal: Option<Arc<Seal>>,
    pub(crate) vitals: bool,
    pub(crate) flat: bool,
    pub(crate) retained: Arc<Retained>,
    pub(crate) outbox: Option<OutboxReader>,
    pub(crate) pulse: Box<dyn Fn() -> Pulse + Send>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    pub(crate) link: Arc<Link>,
    pub(crate) conditions: VecDeque<SiteCondition>,
    /// Relative topics of earlier runs that are to be cleared.
    pub(crate) orphans: Vec<String>,
    /// When another publisher was heard last.
    pub(crate) foreign_at: Option<Instant>,
    /// Refused commands, on their way to the audit.
    pub(crate) refusals: Flood,
}

/// What a publish under way was.
#[derive(Debug, Clone)]
enum Slot {
    Outbox(i64),
    Retained {
        topic: String,
        version: u64,
        tombstone: bool,
    },
    /// Birth, answers, wipes: nothing follows from the acknowledgement.
    Other,
    /// `offline`, the last one.
    Farewell,
}

pub(crate) struct Session {
    sender: Sender,
    seal: Option<Arc<Seal>>,
    v5: bool,
    accepted: bool,
    window: usize,
    packet_bytes_max: usize,
    /// Handed to the client, without a packet identifier so far.
    queued: VecDeque<Slot>,
    /// Under way; `None` = acknowledged, behind one that is not.
    flight: VecDeque<(u16, Option<Slot>)>,
    progress_at: Instant,
    birth_due: bool,
    subscribe_due: bool,
    /// Topics of the first round, in order.
    resync: VecDeque<String>,
    resync_tokens: f64,
    resync_at: Instant,
    live: BTreeSet<(Kind, String)>,
    sent: HashMap<String, u64>,
    retained_version: u64,
    retained_look: bool,
    rows: VecDeque<OutboxRow>,
    cursor: i64,
    outbox_look: bool,
    outbox_at: Instant,
    marks: Vec<i64>,
    flushed_at: Instant,
    answers: VecDeque<Message>,
    heartbeat_at: Option<Instant>,
    /// A document that was not taken, to be sent again as it is.
    failure: Option<String>,
    yielding: bool,
    farewell: bool,
    closing_at: Option<Instant>,
}

impl Session {
    pub(crate) fn new(sender: Sender, v5: bool, seal: Option<Arc<Seal>>) -> Session {
        let at = Instant::now();
        Session {
            sender,
            seal,
            v5,
            accepted: false,
            window: 1,
            packet_bytes_max: usize::MAX,
            queued: VecDeque::new(),
            flight: VecDeque::new(),
            progress_at: at,
            birth_due: false,
            subscribe_due: false,
            resync: VecDeque::new(),
            resync_tokens: 1.0,
            resync_at: at,
            live: BTreeSet::new(),
            sent: HashMap::new(),
            retained_version: 0,
            retained_look: false,
            rows: VecDeque::new(),
            cursor: 0,
            outbox_look: true,
            outbox_at: at,
            marks: Vec::new(),
            flushed_at: at,
            answers: VecDeque::new(),
            heartbeat_at: None,
            failure: None,
            yielding: false,
            farewell: false,
            closing_at: None,
        }
    }

    pub(crate) fn accepted(&self) -> bool {
        self.accepted
    }
    /// Whether our DISCONNECT is on its way: an error now is the end that was wanted.
    pub(crate) fn closing(&self) -> bool {
        self.closing_at.is_some() && !self.yielding
    }
    pub(crate) fn look_at_outbox(&mut self) {
        self.outbox_look = true;
    }
    pub(crate) fn look_at_retained(&mut self) {
        self.retained_look = true;
    }

    fn free(&self) -> bool {
        self.queued.len() + self.flight.len() < self.window
    }

    /// Queues a publish; a QoS 1 one counts in the window.
    fn send(&mut self, message: &Message, slot: Slot) -> bool {
        if !self.publish(message) {
            return false;
        }
        if message.at_least_once {
            if self.queued.is_empty() && self.flight.is_empty() {
                self.progress_at = Instant::now();
            }
            self.queued.push_back(slot);
        }
        true
    }

    /// Hands a document to the client, signed where a key is configured. A tombstone stays empty.
    fn publish(&mut self, message: &Message) -> bool {
        match &self.seal {
            Some(seal) if !message.payload.is_empty() => {
                self.sender.publish(&Message { payload: Bytes::from(seal.sign(&message.payload)), ..message.clone() })
            }
            _ => self.sender.publish(message),
        }
    }

    /// Writes delivery marks that are due.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        self.flushed_at = Instant::now();
        let Some(outbox) = shared.outbox.as_mut() else { return };
        match outbox.mark_sent(&self.marks) {
            Ok(()) => self.marks.clear(),
            // The rows go again after a reconnect: a repeat more.
            Err(error) => tracing::warn!(%error, "outbox: delivery marks wait"),
        }
    }

    /// Something happened on the connection.
    pub(crate) fn handle(&mut self, shared: &mut Shared, signal: Signal) {
        match signal {
            Signal::Connected { window, packet_bytes_max } => {
                self.accepted = true;
                self.window = usize::from(window).saturating_sub(1).clamp(1, WINDOW_MAX);
                self.packet_bytes_max =
                    packet_bytes_max.map_or(crate::shell::mqtt::PACKET_BYTES_MAX as usize, |max| max as usize);
                self.birth_due = true;
                self.subscribe_due = true;
                let (all, version) = shared.retained.for_broker();
                self.resync = all.into_iter().map(|(topic, _)| topic).collect();
                self.retained_version = version;
                self.resync_at = Instant::now();
                self.progress_at = Instant::now();
                let link = &shared.link;
                link.connections.fetch_add(1, Ordering::Relaxed);
                link.protocol.store(if self.v5 { 5 } else { 4 }, Ordering::Relaxed);
                link.connected.store(true, Ordering::Relaxed);
                ::metrics::gauge!(metrics::CONNECTED).set(1.0);
            }
            Signal::Sent(pkid) => {
                let slot = self.queued.pop_front().unwrap_or(Slot::Other);
                self.flight.push_back((pkid, Some(slot)));
            }
            Signal::Acked(pkid, ack) => self.acked(shared, pkid, ack),
            Signal::Message(message) => self.incoming(shared, message),
            Signal::Subscribed { refused } => {
                if refused {
                    tracing::warn!("mqtt: the broker refuses our subscriptions: no commands will be heard");
                }
            }
            Signal::Closed | Signal::Other => {}
        }
    }

    fn acked(&mut self, shared: &mut Shared, pkid: u16, ack: Ack) {
        self.progress_at = Instant::now();
        let found = self.flight.iter_mut().find(|(id, slot)| *id == pkid && slot.is_some());
        let Some(slot) = found.and_then(|(_, slot)| slot.take()) else { return };
        while self.flight.front().is_some_and(|(_, slot)| slot.is_none()) {
            self.flight.pop_front();
        }
        match (slot, ack) {
            (Slot::Outbox(seq), Ack::Taken) => self.marks.push(seq),
            (Slot::Outbox(seq), Ack::Never(reason)) => {
                tracing::error!(seq, %reason, "mqtt: the broker never takes this event; dropped");
                shared.link.dropped_event.fetch_add(1, Ordering::Relaxed);
                metrics::dropped("event", 1);
                self.marks.push(seq);
            }
            // It stays in the outbox, and what comes after it must not overtake it.
            (Slot::Outbox(_), Ack::NotNow(reason)) => self.failure = Some(format!("the broker does not take events: {reason}")),
            (Slot::Retained { topic, version, .. }, Ack::Taken) if topic == crate::shell::selftest::TOPIC => {
                *shared.link.tested.lock() = Some((version, Instant::now()));
            }
            (Slot::Retained { topic, version, tombstone: true }, Ack::Taken) => shared.retained.forget(&topic, version),
            (Slot::Retained { topic, .. }, Ack::Never(reason) | Ack::NotNow(reason)) => {
                tracing::warn!(%topic, %reason, "mqtt: the broker refuses a state document");
            }
            (Slot::Farewell, _) => self.close(),
            (Slot::Retained { .. } | Slot::Other, _) => {}
        }
    }

    fn close(&mut self) {
        self.sender.disconnect();
        self.closing_at.get_or_insert_with(Instant::now);
    }

    /// Sends what is due and fits. `Some` ends the connection.
    pub(crate) fn feed(&mut self, shared: &mut Shared) -> Option<End> {
        shared.send_conditions();
        let stopping = shared.link.stopping.load(Ordering::SeqCst);
        if !self.accepted {
            return stopping.then_some(End::Stop);
        }
        if let Some(at) = self.closing_at {
            let over = at.elapsed() > Duration::from_secs(1);
            return over.then_some(if self.yielding { End::Conflict } else { End::Stop });
        }
        if let Some(reason) = self.failure.take() {
            return Some(End::Lost { error: WireError { reason, version: Version::Unknown }, accepted: false });
        }
        if (!self.flight.is_empty() || !self.queued.is_empty()) && self.progress_at.elapsed() > STALL {
            let reason = format!("no acknowledgement for {} s", STALL.as_secs());
            return Some(End::Lost { error: WireError { reason, version: Version::Unknown }, accepted: true });
        }
        if self.yielding {
            // No will must be left behind that says `offline` over the other's `online`.
            self.close();
            return None;
        }
        self.feed_first(shared);
        if self.birth_due {
            return None;
        }
        self.feed_heartbeat(shared);
        self.feed_answers(shared);
        self.feed_retained(shared);
        let idle = self.resync.is_empty() && self.live.is_empty();
        if self.resync.is_empty() && shared.orphans.is_empty() {
            shared.link.resynced.store(true, Ordering::Relaxed);
            self.feed_outbox(shared);
        }
        self.feed_transients(shared);
        if self.marks.len() >= WINDOW_MAX || (!self.marks.is_empty() && self.flushed_at.elapsed() > FLUSH_EVERY) {
            self.flush(shared);
        }
        if shared.foreign_at.is_some_and(|at| at.elapsed() > FOREIGN_GONE) {
            shared.foreign_at = None;
            shared.set_conflict(false);
        }
        if stopping {
            let patience = shared.link.patience_until.lock().is_some_and(|until| Instant::now() < until);
            let drained = idle && self.rows.is_empty() && self.queued.is_empty() && self.flight.is_empty() && !self.outbox_look;
            if drained || !patience {
                self.feed_farewell(shared);
            }
        }
        None
    }

    /// Birth, then subscriptions.
    fn feed_first(&mut self, shared: &mut Shared) {
        if self.birth_due {
            let message = Message {
                topic: format!("{}/sys/status", shared.base),
                payload: Bytes::from(document::sys_status(&shared.origin, now(), true)),
                at_least_once: true,
                retain: true,
                user: vec![("schema", "sys-status/1".into())],
                ..Message::default()
            };
            self.birth_due = !self.send(&message, Slot::Other);
        }
        if self.subscribe_due && !self.birth_due {
            let base = &shared.base;
            let filters = [
                (format!("{base}/cmd/+/+"), true),
                (format!("{base}/station/+/status"), true),
                (format!("{base}/sys/heartbeat"), false),
            ];
            self.subscribe_due = !self.sender.subscribe(&filters);
        }
    }

    fn feed_farewell(&mut self, shared: &Shared) {
        if self.farewell {
            // The acknowledgement of a dead broker is not waited for.
            if self.progress_at.elapsed() > Duration::from_secs(2) {
                self.close();
            }
            return;
        }
        let message = Message {
            topic: format!("{}/sys/status", shared.base),
            payload: Bytes::from(document::sys_status(&shared.origin, now(), false)),
            at_least_once: true,
            retain: true,
            user: vec![("schema", "sys-status/1".into())],
            ..Message::default()
        };
        self.progress_at = Instant::now();
        self.farewell = self.send(&message, Slot::Farewell);
    }

    fn feed_heartbeat(&mut self, shared: &mut Shared) {
        if self.heartbeat_at.is_some_and(|at| at.elapsed() < HEARTBEAT_EVERY) {
            return;
        }
        self.heartbeat_at = Some(Instant::now());
        let pulse = (shared.pulse)();
        let depth = shared.link.outbox_depth();
        let payload =
            document::heartbeat(&shared.origin, now(), shared.link.heartbeat_rev(), &pulse, depth, &shared.link.dropped());
        let message = Message {
            topic: format!("{}/sys/heartbeat", shared.base),
            payload: Bytes::from(payload),
            expiry_s: Some(HEARTBEAT_EXPIRY_S),
            user: vec![("schema", "heartbeat/1".into())],
            ..Message::default()
        };
        // Never queued: where there is no room now, the next one speaks in 5 s.
        if self.publish(&message) {
            metrics::published("heartbeat");
        }
    }

    fn feed_answers(&mut self, shared: &Shared) {
        while let Some((reply, payload)) = shared.link.refusals.lock().pop_front() {
            self.answers.push_back(Message {
                topic: format!("{}/{}", shared.base, reply.topic),
                payload,
                at_least_once: true,
                expiry_s: Some(crate::shell::store::RESPONSE_EXPIRY_S),
                correlation: reply.correlation,
                user: vec![("schema", "response/1".into())],
                ..Message::default()
            });
        }
        while self.free() {
            let Some(message) = self.answers.pop_front() else { return };
            if !self.send(&message, Slot::Other) {
                self.answers.push_front(message);
                return;
            }
        }
    }

    fn feed_retained(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut self.retained_look) {
            let (newer, version) = shared.retained.newer_than(self.retained_version);
            self.retained_version = version;
            for (topic, document) in newer {
                let ward = document.kind == Kind::Ward;
                if !self.live.insert((document.kind, topic)) && ward {
                    // A version of a ward that nobody will see: the newest counts.
                    shared.link.dropped_ward.fetch_add(1, Ordering::Relaxed);
                    metrics::dropped("ward", 1);
                }
            }
        }
        let passed = self.resync_at.elapsed().as_secs_f64();
        self.resync_at = Instant::now();
        self.resync_tokens = (self.resync_tokens + passed * RESYNC_PER_S).min(RESYNC_PER_S / 10.0);
        while self.resync_tokens >= 1.0 && self.free() {
            if let Some(topic) = shared.orphans.pop() {
                let full = format!("{}/{topic}", shared.base);
                let message = Message { topic: full.clone(), at_least_once: true, retain: true, ..Message::default() };
                if !self.send(&message, Slot::Other) {
                    shared.orphans.push(topic);
                    return;
                }
                tracing::info!(%topic, "mqtt: cleared a retained document of an earlier run");
                shared.removed(full);
            } else if let Some(topic) = self.resync.pop_front() {
                match self.send_retained(shared, &topic) {
                    Sending::Full => {
                        self.resync.push_front(topic);
                        return;
                    }
                    Sending::Nothing => continue,
                    Sending::Queued => {}
                }
            } else {
                break;
            }
            self.resync_tokens -= 1.0;
        }
        while self.resync.is_empty() && self.free() {
            let Some((kind, topic)) = self.live.pop_first() else { break };
            if matches!(self.send_retained(shared, &topic), Sending::Full) {
                self.live.insert((kind, topic));
                break;
            }
        }
    }

    fn send_retained(&mut self, shared: &Shared, topic: &str) -> Sending {
        // Birth and will share this topic; it is ours alone.
        if topic == "sys/status" {
            return Sending::Nothing;
        }
        let Some(document) = shared.retained.get(topic) else { return Sending::Nothing };
        if self.sent.get(topic) == Some(&document.version) {
            return Sending::Nothing;
        }
        let tombstone = document.payload.is_empty();
        let (schema, expiry_s, label) = match document.kind {
            Kind::Sys => ("sys-info/1", None, "sys"),
            Kind::Ward => ("ward-state/1", Some(STATE_EXPIRY_S), "ward"),
            Kind::BedWithAlerts | Kind::Bed => ("bed-state/1", Some(STATE_EXPIRY_S), "bed"),
            Kind::Feed => ("feed-status/1", Some(STATE_EXPIRY_S), "feed"),
            Kind::Case => ("case-status/1", Some(STATE_EXPIRY_S), "case"),
        };
        let message = Message {
            topic: format!("{}/{topic}", shared.base),
            payload: document.payload,
            at_least_once: true,
            retain: true,
            expiry_s,
            user: vec![("schema", schema.into())],
            ..Message::default()
        };
        if message.packet_bytes() > self.packet_bytes_max {
            tracing::error!(%topic, bytes = message.packet_bytes(), "mqtt: a state document is larger than the broker takes");
            self.sent.insert(topic.to_owned(), document.version);
            return Sending::Nothing;
        }
        let slot = Slot::Retained { topic: topic.to_owned(), version: document.version, tombstone };
        if !self.send(&message, slot) {
            return Sending::Full;
        }
        self.sent.insert(topic.to_owned(), document.version);
        metrics::published(label);
        Sending::Queued
    }

    fn feed_outbox(&mut self, shared: &mut Shared) {
        let Some(outbox) = shared.outbox.as_ref() else {
            self.outbox_look = false;
            return;
        };
        if self.marks.len() >= MARKS_MAX {
            return;
        }
        while self.free() {
            if self.rows.is_empty() {
                if !self.outbox_look && self.outbox_at.elapsed() < OUTBOX_EVERY {
                    return;
                }
                self.outbox_at = Instant::now();
                match outbox.after(self.cursor, ROWS) {
                    Ok(rows) => {
                        self.outbox_look = rows.len() == ROWS;
                        self.rows = rows.into();
                    }
                    Err(error) => {
                        tracing::warn!(%error, "outbox: cannot be read");
                        self.outbox_look = false;
                        return;
                    }
                }
                let Some(last) = self.rows.back() else { return };
                self.cursor = last.seq;
            }
            let Some(row) = self.rows.pop_front() else { return };
            let message = event_message(shared, &row);
            if message.packet_bytes() > self.packet_bytes_max {
                tracing::error!(
                    seq = row.seq,
                    bytes = message.packet_bytes(),
                    "mqtt: an event is larger than the broker takes; dropped"
                );
                shared.link.dropped_event.fetch_add(1, Ordering::Relaxed);
                metrics::dropped("event", 1);
                self.marks.push(row.seq);
                continue;
            }
            if !self.send(&message, Slot::Outbox(row.seq)) {
                self.rows.push_front(row);
                return;
            }
            metrics::published(if row.kind == OutboxKind::Response { "response" } else { "event" });
        }
    }

    /// Numbers that are only true now, while there is room.
    fn feed_transients(&mut self, shared: &Shared) {
        loop {
            let Some(((kind, topic), payload)) = shared.link.transients.lock().pop_first() else { return };
            let (wanted, schema) = match kind {
                Transient::Vitals => (shared.vitals, "vitals/1"),
                Transient::Flat => (shared.flat, "flat/1"),
            };
            if !wanted {
                continue;
            }
            let message = Message {
                topic: format!("{}/{topic}", shared.base),
                payload: payload.clone(),
                expiry_s: Some(TRANSIENT_EXPIRY_S),
                user: vec![("schema", schema.into())],
                ..Message::default()
            };
            if !self.publish(&message) {
                // Back where nothing newer has come meanwhile.
                let mut waiting = shared.link.transients.lock();
                let newer = waiting.contains_key(&(kind, topic.clone()));
                if newer {
                    drop(waiting);
                    shared.link.count_transient(kind, 1);
                } else {
                    waiting.insert((kind, topic), payload);
                }
                return;
            }
            metrics::published(if kind == Transient::Vitals { "vitals" } else { "flat" });
        }
    }
}

/// Whether a state document was handed over.
enum Sending {
    Queued,
    /// There is nothing (new) to send under this topic.
    Nothing,
    Full,
}

/// An outbox row as it is published.
fn event_message(shared: &Shared, row: &OutboxRow) -> Message {
    let mut user = vec![("schema", row.kind.schema().to_owned())];
    if let (Some(id), Some(kind)) = (&row.event_id, &row.event_type) {
        let bed = row.topic.split("/event/").next().unwrap_or_default();
        user.extend([
            ("specversion", "1.0".to_owned()),
            ("id", id.clone()),
            ("source", format!("/{}", shared.base)),
            ("type", kind.clone()),
            ("time", row.at.to_string()),
            ("subject", bed.to_owned()),
        ]);
    }
    Message {
        topic: format!("{}/{}", shared.base, row.topic),
        payload: Bytes::from(row.payload.clone()),
        at_least_once: true,
        retain: false,
        expiry_s: Some(row.expiry_s),
        correlation: row.correlation.clone(),
        user,
    }
}
