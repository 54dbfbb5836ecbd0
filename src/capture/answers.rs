//! Requests and their answers on one connection: MSA-2 is paired with MSH-10.
//!
//! An answer may be seen before its request, where that stood behind a gap. Limits: [`OPEN_MAX`] requests wait for an answer
//! and as many answers for a request; the oldest of more is counted as without.

use crate::hl7::header::{Header, MessageClass, class, front};
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Requests that wait for their answer at most: more than any sender has under way.
const OPEN_MAX: usize = 256;
/// Bytes of an id that are compared.
const ID_BYTES_MAX: usize = 256;

/// An acknowledgement as it went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// MSA-1; empty where there is none.
    pub code: [u8; 2],
    /// How long the sender waited for it, ms; `None`: it answers nothing that was seen before it.
    pub waited_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    open: VecDeque<(usize, Box<[u8]>, Timestamp)>,
    /// Answers to what was not seen yet.
    early: VecDeque<(usize, Box<[u8]>)>,
    /// Memory of both, bytes.
    held: usize,
    /// Requests and answers that were given up.
    unanswered: u64,
    unasked: u64,
}

/// What a payload is on its connection.
pub(super) enum Word {
    /// Something told or asked.
    Request,
    Answer(Answer),
}

/// Memory of one that waits, bytes: its place and its id.
fn weight(id: &[u8]) -> usize {
    size_of::<(usize, Box<[u8]>, Timestamp)>() + id.len()
}

impl Answers {
    /// Memory that it holds, bytes.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    pub fn take(&mut self, from: usize, payload: &[u8], at: Timestamp) -> Word {
        let bytes = front(payload);
        let header = Header::read(bytes);
        let id = |field: &[u8]| Box::<[u8]>::from(&field.trim_ascii()[..field.trim_ascii().len().min(ID_BYTES_MAX)]);
        if class(payload) != Some(MessageClass::Response) {
            // An envelope has an id of its own (BHS-11); what is no HL7 has none.
            let Some(header) = header else { return Word::Request };
            let asked = id(header.field(if bytes.starts_with(b"MSH") { 10 } else { 11 }));
            if let Some(place) = self.early.iter().position(|(side, known)| *side != from && *known == asked) {
                self.early.remove(place);
                self.held -= weight(&asked);
                return Word::Request;
            }
            if self.open.len() >= OPEN_MAX
                && let Some((_, given_up, _)) = self.open.pop_front()
            {
                self.held -= weight(&given_up);
                self.unanswered += 1;
            }
            self.held += weight(&asked);
            self.open.push_back((from, asked, at));
            return Word::Request;
        }
        let separator = bytes.get(3).copied().unwrap_or(b'|');
        let msa = bytes.split(|b| matches!(b, b'\r' | b'\n')).find(|line| line.starts_with(b"MSA"));
        let mut fields = msa.unwrap_or_default().split(|b| *b == separator).skip(1);
        let code = fields.next().and_then(|code| code.get(..2)).and_then(|code| code.try_into().ok()).unwrap_or_default();
        let answered = id(fields.next().unwrap_or_default());
        let place = self.open.iter().position(|(asked, known, _)| *asked != from && *known == answered);
        let asked = place.and_then(|place| self.open.remove(place));
        match &asked {
            Some((_, id, _)) => self.held -= weight(id),
            None => {
                if self.early.len() >= OPEN_MAX
                    && let Some((_, given_up)) = self.early.pop_front()
                {
                    self.held -= weight(&given_up);
                    self.unasked += 1;
                }
                self.held += weight(&answered);
                self.early.push_back((from, answered));
            }
        }
        Word::Answer(Answer { code, waited_ms: asked.map(|(_, _, asked_at)| at.since_ms(asked_at)) })
    }

    /// Nothing more comes: requests without an answer, and answers without a request.
    pub fn over(&self) -> (u64, u64) {
        (self.unanswered + self.open.len() as u64, self.unasked + self.early.len() as u64)
    }
}
