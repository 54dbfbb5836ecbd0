//! Which answer belongs to which message: the receiver's MSA-2 against the sender's MSH-10.
//!
//! One contract: time is that of whoever saw the bytes, given as an argument; a late judge changes no figure. Bounded:
//! [`WAITING_MAX`] messages wait at a time, and the oldest beyond that are forgotten (neither answered nor missing).

use crate::hl7::header::{Header, front};
use std::collections::{BTreeMap, VecDeque};

/// A message without answer for so long is counted as missing one, microseconds. Own choice: well beyond the response timeouts
/// that interface engines are delivered with (5 to 30 s), so that a late answer is seen as such and not as a lost one.
pub const ANSWER_MAX_US: i64 = 60_000_000;
/// Messages that wait for their answer at most.
pub const WAITING_MAX: usize = 4_096;
/// Longer control ids are not paired, bytes (HL7 allows 199).
const ID_BYTES_MAX: usize = 256;
/// MSA is looked for so far into a message, bytes: it is its second segment.
const MSA_WITHIN_BYTES: usize = 16 << 10;

/// The messages of one conversation (or of one tap) that wait for their answers.
#[derive(Debug, Default)]
pub struct Pairing {
    waiting: BTreeMap<Box<[u8]>, Asked>,
    /// Oldest first; what was asked again since stands in it twice.
    order: VecDeque<(u64, Box<[u8]>)>,
    count: u64,
}

#[derive(Debug)]
struct Asked {
    number: u64,
    at_us: i64,
    /// An answer is due by MSH-15/16, and none has come.
    due: bool,
    answered: bool,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paired {
    /// The first one to a message that was seen so long before, microseconds.
    First(i64),
    /// A further one: commit and application, or repeated.
    Again,
    /// To nothing that was seen.
    Unasked,
}

impl Pairing {
    /// A message was seen whole.
    pub fn asked(&mut self, message: Question<'_>, at_us: i64) {
        if message.id.is_empty() || message.id.len() > ID_BYTES_MAX {
            return;
        }
        self.count += 1;
        let asked = Asked { number: self.count, at_us, due: message.due, answered: false };
        self.order.push_back((self.count, message.id.into()));
        self.waiting.insert(message.id.into(), asked);
        while self.waiting.len() > WAITING_MAX || self.order.len() > 2 * WAITING_MAX {
            self.take_oldest();
        }
    }

    fn take_oldest(&mut self) -> Option<Asked> {
        let (number, id) = self.order.pop_front()?;
        if self.waiting.get(&id).is_some_and(|asked| asked.number == number) { self.waiting.remove(&id) } else { None }
    }

    /// An answer was seen whole.
    pub fn answered(&mut self, id: &[u8], at_us: i64) -> Paired {
        match self.waiting.get_mut(id) {
            None => Paired::Unasked,
            Some(asked) if asked.answered => Paired::Again,
            Some(asked) => {
                asked.answered = true;
                asked.due = false;
                Paired::First((at_us - asked.at_us).max(0))
            }
        }
    }

    /// It is so late: how many answers are missing that were not before.
    pub fn expire(&mut self, now_us: i64) -> u64 {
        let mut missing = 0;
        while let Some((number, id)) = self.order.front() {
            let asked = self.waiting.get(id).filter(|asked| asked.number == *number);
            if asked.is_some_and(|asked| now_us - asked.at_us < ANSWER_MAX_US) {
                break;
            }
            missing += u64::from(self.take_oldest().is_some_and(|asked| asked.due));
        }
        missing
    }

    /// The conversation is over, in order: what is still due will not come.
    pub fn end(&mut self) -> u64 {
        let missing = self.waiting.values().filter(|asked| asked.due).count() as u64;
        self.forget();
        missing
    }

    /// Part of the conversation was not seen: nothing can be said of what waits.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.order.clear();
    }
}

/// What of a message matters for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// MSH-10.
    pub id: &'a [u8],
    /// Whether MSH-15/16 ask for an answer in every case.
    pub due: bool,
}

/// MSH-10 of a payload, and whether an answer is due: always in original mode, in enhanced mode where one of the two says AL.
pub fn question(payload: &[u8]) -> Option<Question<'_>> {
    let header = Header::read(front(payload))?;
    let (commit, application) = (header.component(15, 1), header.component(16, 1));
    let due = (commit.is_empty() && application.is_empty()) || commit == b"AL" || application == b"AL";
    Some(Question { id: header.field(10).trim_ascii(), due })
}

/// MSA-1 and MSA-2 of a payload.
pub fn answer(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let front = front(payload);
    let field = Header::read(front)?.delimiters().field;
    let within = &front[..front.len().min(MSA_WITHIN_BYTES)];
    let line = within.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| line.starts_with(&[b'M', b'S', b'A', field]))?;
    let mut fields = line.split(|byte| *byte == field).skip(1);
    let code = fields.next()?.trim_ascii();
    Some((code, fields.next().unwrap_or_default().trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(id: &[u8]) -> Question<'_> {
        Question { id, due: true }
    }

    #[test]
    fn an_answer_is_paired_by_its_id_and_not_by_its_order() {
        let mut pairing = Pairing::default();
        pairing.asked(due(b"1"), 100);
        pairing.asked(due(b"2"), 200);
        assert_eq!(pairing.answered(b"2", 250), Paired::First(50));
        assert_eq!(pairing.answered(b"2", 260), Paired::Again);
        assert_eq!(pairing.answered(b"1", 300), Paired::First(200));
        assert_eq!(pairing.answered(b"3", 300), Paired::Unasked);
        assert_eq!(pairing.expire(i64::MAX / 2), 0);
    }

    #[test]
    fn what_is_not_answered_is_missing_once_and_only_where_an_answer_is_due() {
        let mut pairing = Pairing::default();
        pairing.asked(due(b"1"), 0);
        pairing.asked(Question { id: b"2", due: false }, 0);
        pairing.asked(due(b"3"), 1);
        assert_eq!(pairing.expire(ANSWER_MAX_US - 1), 0);
        assert_eq!(pairing.expire(ANSWER_MAX_US), 1);
        assert_eq!(pairing.expire(ANSWER_MAX_US + 1), 1);
        assert_eq!(pairing.expire(i64::MAX / 2), 0);
        pairing.asked(due(b"4"), 0);
        pairing.asked(due(b"4"), 50);
        assert_eq!(pairing.answered(b"4", 60), Paired::First(10), "resent: the last one is answered");
        pairing.asked(due(b"5"), 0);
        assert_eq!(pairing.end(), 1);
    }

    #[test]
    fn hostile_ids_do_not_grow_it() {
        let mut pairing = Pairing::default();
        for n in 0..50_000u32 {
            pairing.asked(due(&n.to_le_bytes()), i64::from(n));
            pairing.asked(due(b"same"), i64::from(n));
        }
        assert!(pairing.waiting.len() <= WAITING_MAX && pairing.order.len() <= 2 * WAITING_MAX);
        pairing.asked(due(&[b'x'; 300]), 0);
        assert_eq!(pairing.answered(&[b'x'; 300], 1), Paired::Unasked);
    }

    #[test]
    fn question_and_answer_are_read_with_their_own_delimiters() {
        let asked = question(b"MSH|^~\\&|A|B|||2026||ORU^R01| 17 |P|2.6|||AL|NE\rPID|1").unwrap();
        assert_eq!(asked, Question { id: b"17", due: true });
        assert!(!question(b"MSH|^~\\&|A|B|||2026||ORU^R01|17|P|2.6|||NE|NE\r").unwrap().due);
        assert!(question(b"MSH|^~\\&|A|B|||2026||ORU^R01|17|P|2.3\r").unwrap().due);
        assert_eq!(answer(b"MSH#^~\\&#A#B###2026##ACK#9#P#2.6\rMSA#AE#17#why\r"), Some((&b"AE"[..], &b"17"[..])));
        assert_eq!(answer(b"MSH|^~\\&|A|B|||2026||ACK|9|P|2.6\nMSA|AA\n"), Some((&b"AA"[..], &b""[..])));
        assert_eq!(answer(b"MSH|^~\\&|A|B|||2026||ORU^R01|9|P|2.6\rMSAX|AA|1"), None);
    }
}
