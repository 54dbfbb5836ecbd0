//! Counters of the feeds: what came, what was refused, and which codes nobody knows. Bounded; nothing here decides anything.

use crate::hl7::{Message, mask};
use crate::observation::{Reject, RejectReason, Report};
use crate::stats::median::Median;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

/// Feeds counted apart at most; more share the last one, `_more`.
pub const FEEDS_MAX: usize = 64;
/// Unknown codes kept of one feed at most; more are only counted.
pub const UNKNOWN_MAX: usize = 256;
/// Bytes kept of a code or unit.
const LABEL_BYTES_MAX: usize = 64;

/// A code that no table knows, as one sender writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownCode {
    /// `dev-…` of the sender.
    pub sender: String,
    /// OBX-3 as sent: a code, not an identity.
    pub label: String,
    /// OBX-6 as sent.
    pub unit: String,
    pub count: u64,
}

/// Refused rows and messages kept of one feed.
pub const REFUSED_MAX: usize = 50;

/// Something that was refused: the newest of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub at: Timestamp,
    /// Word of the reason.
    pub reason: Cow<'static, str>,
    /// Where the segment begins in the decoded text, bytes; `None`: the whole message.
    pub position: Option<u32>,
    /// The segment, masked; empty for a whole message.
    pub segment: String,
    /// Number of the frame.
    pub sequence: u64,
    /// How often the same was refused.
    pub count: u64,
    /// Tells kinds apart: reason and code.
    kind: u64,
}

/// What one feed has brought since the core began to count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedCounts {
    pub feed: String,
    /// `p-…` of the last peer.
    pub peer: String,
    pub received: u64,
    /// Resent messages: counted, not judged again.
    pub duplicates: u64,
    /// Messages whose own time lies before that of their sender's last one.
    pub out_of_order: u64,
    /// Frames that are no HL7.
    pub unreadable: u64,
    /// Test and demonstration messages, kept apart.
    pub test: u64,
    pub vitals: u64,
    pub waveforms: u64,
    pub alarms: u64,
    pub adt: u64,
    pub keep_alive: u64,
    pub other: u64,
    pub observations: u64,
    /// Refused rows by reason, in the order of the reason's declaration.
    pub rejects: BTreeMap<String, u64>,
    /// Marks on messages, by name.
    pub marks: BTreeMap<String, u64>,
    pub unknown: Vec<UnknownCode>,
    /// Unknown codes beyond the bound.
    pub unknown_more: u64,
    /// Messages of beds beyond the bound (`beds_max`).
    pub beds_refused: u64,
    pub last_message_at: Option<Timestamp>,
    /// Wards that it feeds.
    pub wards: Vec<String>,
    /// Sender minus us, of the last messages with an MSH-7.
    skews: Median,
    /// What was refused since this process began, oldest first: of each reason and code the newest.
    #[serde(skip)]
    refused: VecDeque<Refused>,
}

impl FeedCounts {
    pub(super) fn of(feed: &str) -> FeedCounts {
        FeedCounts { feed: feed.to_owned(), ..FeedCounts::default() }
    }

    /// Sender minus us, median of the last messages of all its senders, ms. Of one sender: [`Monitor::skew_ms`](super::Monitor::skew_ms).
    pub fn skew_ms(&self) -> Option<i64> {
        self.skews.median()
    }

    pub(super) fn skew(&mut self, sent_minus_received_ms: i64) {
        self.skews.push(sent_minus_received_ms);
    }

    /// Counts a mark that is seen only beside other messages (`late`, `store_and_forward`, `clock_step`).
    pub(super) fn mark(&mut self, name: &str) {
        add(&mut self.marks, name);
    }

    pub(super) fn ward(&mut self, ward: &str) {
        if !self.wards.iter().any(|w| w == ward) && self.wards.len() < 64 {
            self.wards.push(ward.to_owned());
        }
    }

    pub(super) fn report(&mut self, report: &Report) {
        self.observations += report.observations.len() as u64;
        for name in report.flags.names() {
            add(&mut self.marks, name);
        }
        for reject in &report.rejects {
            add(&mut self.rejects, reject.reason.as_str());
        }
    }

    /// What was refused since this process began, newest first, at most `REFUSED_MAX`. Rows that hold no value by their nature
    /// (structure, waveforms, texts, settings) are not in it.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.iter().rev()
    }

    /// Remembers a message that is no HL7.
    pub(super) fn refuse_message(&mut self, reason: Cow<'static, str>, sequence: u64, at: Timestamp) {
        let kind = hash(&reason, &[]);
        self.keep(kind, at, sequence, || Refused {
            at,
            reason,
            position: None,
            segment: String::new(),
            sequence,
            count: 1,
            kind,
        });
    }

    /// Remembers a row that should have been a value.
    pub(super) fn refuse(&mut self, reject: &Reject, message: &Message<'_>, sequence: u64, at: Timestamp) {
        use RejectReason::*;
        if matches!(reject.reason, Structure | Waveform | NotNumeric | AlarmRow | Setting | Demographic | NotObserved | Unused) {
            return;
        }
        let (reason, text) = (reject.reason.as_str(), message.text());
        let kind = hash(reason, reject.code.of(text));
        self.keep(kind, at, sequence, || {
            let segment = message.segments().find(|s| s.span().start == reject.segment.start);
            let segment = segment.map_or_else(String::new, |s| mask::segment(&s, mask::Eyes::Masked { id: false }).text);
            Refused { at, reason: reason.into(), position: Some(reject.segment.start), segment, sequence, count: 1, kind }
        });
    }

    fn keep(&mut self, kind: u64, at: Timestamp, sequence: u64, new: impl FnOnce() -> Refused) {
        let count = match self.refused.iter().rposition(|r| r.kind == kind) {
            // Once a second is enough for an example.
            Some(place) if at.since_ms(self.refused[place].at) < 1_000 => {
                self.refused[place].count += 1;
                return;
            }
            Some(place) => self.refused.remove(place).map_or(0, |old| old.count),
            None => 0,
        };
        if self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(Refused { count: count + 1, sequence, ..new() });
    }

    /// Keeps an example of a code that nobody knows.
    pub(super) fn unknown(&mut self, sender: &str, reject: &Reject, text: &[u8]) {
        if !matches!(reject.reason, RejectReason::UnknownCode | RejectReason::UnknownSystem) {
            return;
        }
        let label = label(reject.code.of(text));
        if let Some(known) = self.unknown.iter_mut().find(|u| u.label == label && u.sender == sender) {
            known.count += 1;
        } else if self.unknown.len() < UNKNOWN_MAX {
            let unit = label_of_field(reject.segment.of(text), 6);
            self.unknown.push(UnknownCode { sender: sender.to_owned(), label, unit, count: 1 });
        } else {
            self.unknown_more += 1;
        }
    }
}

fn hash(reason: &str, code: &[u8]) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(reason.as_bytes());
    hasher.write(code);
    hasher.finish()
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// Printable text of bounded length.
fn label(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(LABEL_BYTES_MAX)];
    String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Field `n` of a segment with the usual separator.
fn label_of_field(segment: &[u8], n: usize) -> String {
    label(segment.split(|b| *b == b'|').nth(n).unwrap_or_default())
}
