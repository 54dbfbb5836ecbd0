//! One direction of a conversation that is overheard: bytes in, records for the journal out. Nobody is ever answered.
//!
//! One contract: it never has a wish to the wire. Bytes that were not seen are said with [`Heard::gap`]; what was begun before
//! one is kept as evidence, and reading goes on with the next frame.
//!
//! A batch of many messages is handed out in steps: whenever a step is full, the caller stores it and calls [`Heard::rest`] until
//! one is not. (A frame of the smallest messages would otherwise be held thirty times over.)
//!
//! Limits: one unfinished frame of `frame_bytes_max`, all together `unfinished_bytes_max`; a frame that is not finished within
//! `message_timeout_s` is given up.

use super::Watch;
use super::pairing::{Paired, Pairing, answer, question};
use crate::mllp::{Decoder, Event, FrameFaults};
use crate::observation::Source;
use crate::shell::journal::{Evidence, Record};
use crate::shell::listener::{Class, GRACE_MS, Step, WireFault, batch, class, fragment, next_connection};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Pieces of junk of one direction that go to the journal; further ones are only counted.
const JUNK_PIECES_MAX: u32 = 100;
/// What a hole in the copy is called in the journal.
const GAP: &str = "copy_gap";

/// One direction.
pub(in crate::shell) struct Heard {
    watch: Arc<Watch>,
    decoder: Decoder,
    source: Source,
    evidence: Evidence,
    /// The journal knows of it, unless it has failed since so often.
    opened: Option<u64>,
    /// It was not seen from where it stands now: until the next frame nothing is a fault.
    resync: bool,
    heard: bool,
    opaque: bool,
    /// When bytes came last, and when the unfinished frame began, by the time of whoever saw them.
    last_us: i64,
    begun_us: Option<i64>,
    /// The decoder was told of the silence since.
    told: bool,
    junk_pieces: u32,
    unfinished: u64,
    /// The batch whose messages did not all fit into the step, and what came behind it.
    batch: Option<Messages>,
    behind: VecDeque<Event>,
    /// It is over as soon as they are handed out.
    over: bool,
}

/// Messages of a batch that are still to be handed out.
struct Messages {
    payload: Vec<u8>,
    left: std::vec::IntoIter<Range<usize>>,
}

impl Heard {
    /// From the first byte on, or (`whole`: false) from somewhere in the middle.
    pub fn new(watch: &Arc<Watch>, peer: SocketAddr, whole: bool) -> Heard {
        let config = &watch.config;
        let source = Source {
            feed: config.feed.clone(),
            peer: peer.ip().to_canonical().to_string(),
            connection: next_connection(),
            ward: config.ward.clone(),
            dialect: config.dialect.clone(),
            zone: config.zone.clone(),
            ..Source::default()
        };
        Heard {
            watch: Arc::clone(watch),
            decoder: Decoder::new(config.frame_bytes_max),
            source,
            evidence: Evidence { port: peer.port(), tls: None },
            opened: None,
            resync: !whole,
            heard: false,
            opaque: false,
            last_us: 0,
            begun_us: None,
            told: true,
            junk_pieces: 0,
            unfinished: 0,
            batch: None,
            behind: VecDeque::new(),
            over: false,
        }
    }

    /// Whether it speaks a language that is passed on and not understood.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }
    /// Bytes of a frame that is not finished.
    pub fn pending(&self) -> usize {
        self.decoder.pending()
    }

    /// Takes bytes as they went over the wire at `at_us`. Whether a frame or a fault ended in them.
    pub fn take(&mut self, bytes: &[u8], at_us: i64, step: &mut Step, pairing: &mut Pairing) -> bool {
        if self.opaque || bytes.is_empty() {
            return false;
        }
        let stats = Arc::clone(&self.watch.stats);
        stats.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        stats.meters.bytes_in.increment(bytes.len() as u64);
        stats.set_last_peer(&self.source.peer);
        if self.resync && !self.heard && matches!(bytes, [0x14..=0x17, 3, ..]) {
            // The middle of TLS.
            self.heard = true;
            self.make_opaque(WireFault::ForeignTls, step);
            return true;
        }
        (self.heard, self.told, self.last_us) = (true, false, at_us);
        self.decoder.push(bytes);
        let finished = self.poll(None, step, pairing);
        let pending = self.decoder.pending();
        self.begun_us = match self.begun_us {
            _ if pending == 0 => None,
            Some(at) if !finished => Some(at),
            _ => Some(at_us),
        };
        if !self.within_budget(pending as u64) {
            self.give_up(WireFault::UnfinishedBudget, step);
        }
        finished
    }

    /// Takes a whole payload that was put together elsewhere.
    pub fn whole(&mut self, payload: Vec<u8>, faults: FrameFaults, at_us: i64, step: &mut Step, pairing: &mut Pairing) {
        let stats = Arc::clone(&self.watch.stats);
        let bytes = payload.len() as u64 + 3;
        stats.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        stats.meters.bytes_in.increment(bytes);
        stats.set_last_peer(&self.source.peer);
        stats.count_frame(faults);
        (self.heard, self.last_us) = (true, at_us);
        self.frame(payload, step, pairing);
    }

    /// Puts a piece of evidence into the journal.
    pub fn note(&mut self, what: &str, payload: Vec<u8>, step: &mut Step) {
        self.push(Record::Fragment { source: self.source.clone(), what: what.into(), payload }, step);
    }

    /// So late it is, by the same clock: a frame that lacks only its CR is complete, one that has taken too long is given up.
    pub fn idle(&mut self, now_us: i64, step: &mut Step, pairing: &mut Pairing) {
        if self.told && self.begun_us.is_none() {
            return;
        }
        if !self.told && now_us - self.last_us >= GRACE_MS as i64 * 1000 {
            self.told = true;
            let event = self.decoder.idle();
            self.poll(event, step, pairing);
            if self.decoder.pending() == 0 {
                self.begun_us = None;
            }
            self.within_budget(self.decoder.pending() as u64);
        }
        let limit_us = self.watch.config.message_timeout_s * 1e6;
        if self.begun_us.is_some_and(|at| (now_us - at) as f64 >= limit_us) {
            self.give_up(WireFault::MessageTimeout, step);
        }
    }

    /// So many bytes were not seen (0: it is not known how many).
    pub fn gap(&mut self, bytes: u64, step: &mut Step) {
        if self.opaque {
            return;
        }
        self.watch.path.gap(bytes);
        let begun = self.cut();
        self.note(GAP, begun, step);
    }

    /// It is over, in order or by a reset.
    pub fn finish(&mut self, reset: bool, step: &mut Step, pairing: &mut Pairing) {
        // A decoder has at most a handful of things to say at its end; the bound is for a faulty one.
        for _ in 0..64 {
            if self.opaque {
                break;
            }
            let Some(event) = self.decoder.finish() else { break };
            let event = match event {
                Event::Frame { payload, .. } if reset || self.resync => Event::Truncated { payload },
                other => other,
            };
            self.event(event, step, pairing);
        }
        self.over = true;
        if self.batch.is_none() {
            self.leave(step);
        }
    }

    /// Goes on with what did not fit into the step before. Something is left only behind a full step.
    pub fn rest(&mut self, step: &mut Step, pairing: &mut Pairing) {
        let Some(messages) = self.batch.take() else { return };
        self.hand_out(messages, step, pairing);
        while self.batch.is_none()
            && let Some(event) = self.behind.pop_front()
        {
            self.event(event, step, pairing);
        }
        if self.over && self.batch.is_none() {
            self.leave(step);
        }
    }
    /// Whether something is left.
    pub fn has_rest(&self) -> bool {
        self.batch.is_some()
    }

    /// We stop listening; the conversation goes on without us, and what is unfinished is heard again by who comes after us.
    pub fn leave(&mut self, step: &mut Step) {
        self.within_budget(0);
        if self.opened.take().is_some() {
            step.push(Record::Close { connection: self.source.connection }, None);
        }
    }

    /// Gives up what is unfinished.
    fn give_up(&mut self, fault: WireFault, step: &mut Step) {
        self.watch.stats.count(fault);
        let begun = self.cut();
        self.push(fragment(&self.source, fault, begun), step);
    }

    /// Begins to read anew; what was begun.
    fn cut(&mut self) -> Vec<u8> {
        let mut begun = Vec::new();
        for _ in 0..64 {
            match self.decoder.finish() {
                Some(Event::Truncated { payload } | Event::Frame { payload, .. }) => begun.extend_from_slice(&payload),
                Some(_) => {}
                None => break,
            }
        }
        self.decoder = Decoder::new(self.watch.config.frame_bytes_max);
        (self.resync, self.begun_us, self.told) = (true, None, true);
        self.within_budget(0);
        begun
    }

    /// Books the bytes of the unfinished frame; `false`: all connections together hold too many.
    fn within_budget(&mut self, pending: u64) -> bool {
        let before = std::mem::replace(&mut self.unfinished, pending);
        let total = &self.watch.stats.unfinished_bytes;
        if pending <= before {
            total.fetch_sub(before - pending, Ordering::Relaxed);
            return true;
        }
        total.fetch_add(pending - before, Ordering::Relaxed) + (pending - before) <= self.watch.config.unfinished_bytes_max as u64
    }

    fn poll(&mut self, first: Option<Event>, step: &mut Step, pairing: &mut Pairing) -> bool {
        let (mut next, mut any) = (first, false);
        while let Some(event) = next.take().or_else(|| self.decoder.poll()) {
            any = true;
            self.event(event, step, pairing);
        }
        any
    }

    fn event(&mut self, event: Event, step: &mut Step, pairing: &mut Pairing) {
        if self.batch.is_some() {
            return self.behind.push_back(event);
        }
        let fault = match event {
            Event::Frame { payload, faults } => {
                self.resync = false;
                self.watch.stats.count_frame(faults);
                return self.frame(payload, step, pairing);
            }
            Event::Foreign(foreign) => return self.make_opaque(foreign.into(), step),
            // The rest of what was not seen from its beginning.
            Event::Junk { .. } if self.resync => return,
            Event::Empty => WireFault::Empty,
            Event::Commit(_) => WireFault::Commit,
            Event::Junk { head, .. } => {
                let habit = head.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0));
                if !habit && self.junk_pieces < JUNK_PIECES_MAX {
                    self.junk_pieces += 1;
                    self.push(fragment(&self.source, WireFault::Junk, head), step);
                }
                WireFault::Junk
            }
            Event::Truncated { payload } => {
                self.push(fragment(&self.source, WireFault::Truncated, payload), step);
                WireFault::Truncated
            }
            Event::TooLarge { head } => {
                self.push(fragment(&self.source, WireFault::TooLarge, head), step);
                WireFault::TooLarge
            }
        };
        self.watch.stats.count(fault);
    }

    fn make_opaque(&mut self, fault: WireFault, step: &mut Step) {
        self.opaque = true;
        self.watch.stats.count(fault);
        self.watch.path.opaque();
        self.push(fragment(&self.source, fault, Vec::new()), step);
        self.decoder = Decoder::new(self.watch.config.frame_bytes_max);
        self.begun_us = None;
        self.told = true;
        self.within_budget(0);
    }

    fn frame(&mut self, payload: Vec<u8>, step: &mut Step, pairing: &mut Pairing) {
        if let Some(batch) = batch(&payload) {
            if batch.faulty {
                self.watch.stats.count(WireFault::BatchFault);
            }
            if !batch.messages.is_empty() {
                let record = Record::Fragment { source: self.source.clone(), what: "batch".into(), payload: batch.envelope };
                self.push(record, step);
                let start = payload.as_ptr() as usize;
                let span = |message: &[u8]| {
                    let at = message.as_ptr() as usize - start;
                    at..at + message.len()
                };
                let left: Vec<Range<usize>> = batch.messages.into_iter().map(span).collect();
                return self.hand_out(Messages { payload, left: left.into_iter() }, step, pairing);
            }
        }
        self.message(payload, step, pairing);
    }

    fn hand_out(&mut self, mut messages: Messages, step: &mut Step, pairing: &mut Pairing) {
        while !step.is_full() {
            let Some(span) = messages.left.next() else { return };
            self.message(messages.payload[span].to_vec(), step, pairing);
        }
        if messages.left.len() > 0 {
            self.batch = Some(messages);
        }
    }

    fn message(&mut self, payload: Vec<u8>, step: &mut Step, pairing: &mut Pairing) {
        let kind = class(&payload);
        let said = answer(&payload);
        if let Some((code, id)) = said {
            let path = &self.watch.path;
            path.answer(code);
            match pairing.answered(id, self.last_us) {
                Paired::First(us) => path.took(us),
                Paired::Again => {}
                Paired::Unasked => path.unasked(),
            }
        } else if matches!(kind, Class::Message | Class::Query)
            && let Some(question) = question(&payload)
        {
            pairing.asked(question, self.last_us);
        }
        if !matches!(kind, Class::Ack) {
            self.watch.stats.received.fetch_add(1, Ordering::Relaxed);
            self.watch.stats.meters.received.increment(1);
        }
        let source = self.source.clone();
        let evidence = |what: &str, payload| Record::Fragment { source: source.clone(), what: what.into(), payload };
        let record = match kind {
            Class::Message => Record::Frame { source, payload },
            // Answered or not, by whoever is asked: to us both are evidence.
            Class::Query => evidence("query", payload),
            Class::Ack => evidence("answer", payload),
            Class::Unreadable => {
                self.watch.stats.count(WireFault::NotHl7);
                evidence(WireFault::NotHl7.name(), payload)
            }
        };
        self.push(record, step);
    }

    /// Puts a record into the step, behind the one that opens the connection.
    fn push(&mut self, record: Record, step: &mut Step) {
        let failures = self.watch.failures();
        if self.opened != Some(failures) {
            self.opened = Some(failures);
            step.push(Record::Open { source: self.source.clone(), evidence: self.evidence.clone() }, None);
        }
        step.push(record, None);
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.within_budget(0);
    }
}
