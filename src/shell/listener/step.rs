//! What one read brought: records on their way to the journal, and what is to be answered to each.

use super::super::journal::Record;
use super::stats::WireFault;
use crate::hl7::ack::Outcome;
use crate::hl7::batch::{is_batch, split_batch};
use crate::hl7::header::{Header, MessageClass};
use crate::observation::Source;

/// Records and bytes stored together at most; more in one read are stored in several steps.
const STEP_RECORDS_MAX: usize = 512;
const STEP_BYTES_MAX: usize = 2 << 20;
/// Header bytes kept for the answer while the message is with the journal.
const HEAD_BYTES_MAX: usize = 4096;

/// What is to be answered to one record.
pub(in crate::shell) struct Reply {
    /// Where its header stands in `heads`.
    pub head: std::ops::Range<usize>,
    pub outcome: Outcome,
}

/// What goes to the journal in one step.
#[derive(Default)]
pub(in crate::shell) struct Step {
    pub records: Vec<Record>,
    pub replies: Vec<Option<Reply>>,
    pub heads: Vec<u8>,
    bytes: usize,
}

/// Evidence that is not to be judged.
pub(in crate::shell) fn fragment(source: &Source, fault: WireFault, payload: Vec<u8>) -> Record {
    Record::Fragment { source: source.clone(), what: fault.name().to_owned(), payload }
}

impl Step {
    pub fn fragment(&mut self, source: &Source, fault: WireFault, payload: Vec<u8>) {
        self.push(fragment(source, fault, payload), None);
    }
    /// Whether it is to be stored before more is taken.
    pub fn is_full(&self) -> bool {
        self.records.len() >= STEP_RECORDS_MAX || self.bytes >= STEP_BYTES_MAX
    }
    pub fn push(&mut self, record: Record, outcome: Option<Outcome>) {
        self.bytes += record.weight_bytes();
        let reply = outcome.map(|outcome| {
            let payload = match &record {
                Record::Frame { payload, .. } | Record::Fragment { payload, .. } => payload.as_slice(),
                _ => &[],
            };
            let front = trimmed(payload);
            // Only the header is needed; of what has none, the beginning.
            let line = match front.starts_with(b"MSH") {
                true => memchr::memchr2(b'\r', b'\n', front).map_or(front.len(), |end| end + 1),
                false => front.len(),
            };
            let start = self.heads.len();
            self.heads.extend_from_slice(&front[..line.min(HEAD_BYTES_MAX)]);
            Reply { head: start..self.heads.len(), outcome }
        });
        self.records.push(record);
        self.replies.push(reply);
    }
}

/// A batch taken apart.
pub(in crate::shell) struct Batch<'a> {
    /// The payload without its messages: with them, every byte that came is in the journal.
    pub envelope: Vec<u8>,
    pub messages: Vec<&'a [u8]>,
    /// Header, trailer or count do not fit.
    pub faulty: bool,
}

/// Takes a batch apart; `None`: the payload is none.
pub(in crate::shell) fn batch(payload: &[u8]) -> Option<Batch<'_>> {
    if !is_batch(payload) {
        return None;
    }
    let batch = split_batch(payload);
    let mut envelope = Vec::new();
    let mut from = 0;
    for message in &batch.messages {
        let start = message.as_ptr() as usize - payload.as_ptr() as usize;
        envelope.extend_from_slice(&payload[from..start]);
        from = start + message.len();
    }
    envelope.extend_from_slice(&payload[from..]);
    Some(Batch { envelope, messages: batch.messages, faulty: batch.faults.any() })
}

/// What kind of message it is, as far as the answer depends on it.
pub(in crate::shell) enum Class {
    Message,
    /// Asks for data: not our work.
    Query,
    /// An answer to something; an answer is never answered.
    Ack,
    Unreadable,
}

pub(in crate::shell) fn class(payload: &[u8]) -> Class {
    let front = trimmed(payload);
    let header = Header::read(front).filter(|_| front.starts_with(b"MSH"));
    // Every type that begins so asks for something, also where no table has it.
    match header.map(|h| (h.class(), h.component(9, 1))) {
        Some((MessageClass::Response, _)) => Class::Ack,
        Some((MessageClass::Query, _) | (_, [b'Q', ..])) => Class::Query,
        Some(_) => Class::Message,
        // Another character set, lines before the header: the thorough reader decides.
        None if crate::hl7::Message::read(payload, &mut crate::hl7::Scratch::default()).is_ok() => Class::Message,
        None => Class::Unreadable,
    }
}

/// Without blanks, line ends, NULs and a byte order mark in front.
pub(in crate::shell) fn trimmed(payload: &[u8]) -> &[u8] {
    let front = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let blanks = front.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)).count();
    &front[blanks..]
}
