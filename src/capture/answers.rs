//! Requests and their answers on one connection: MSA-2 is paired with MSH-10.
//!
//! Limits: [`OPEN_MAX`] requests wait for an answer; the oldest of more is counted as unanswered.

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
    /// How long the sender waited for it, ms; `None`: it answers nothing that was captured.
    pub waited_ms: Option<i64>,
}

impl Answer {
    /// AA and CA.
    pub fn is_positive(&self) -> bool {
        matches!(&self.code, b"AA" | b"CA")
    }
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    open: VecDeque<(usize, Box<[u8]>, Timestamp)>,
}

/// What a payload is on its connection.
pub(super) enum Word {
    /// Something told or asked; `true`: an older request was given up for it.
    Request(bool),
    Answer(Answer),
}

impl Answers {
    pub fn take(&mut self, from: usize, payload: &[u8], at: Timestamp) -> Word {
        let bytes = front(payload);
        let header = Header::read(bytes);
        let id = |field: &[u8]| Box::<[u8]>::from(&field.trim_ascii()[..field.trim_ascii().len().min(ID_BYTES_MAX)]);
        if class(payload) != Some(MessageClass::Response) {
            let mut given_up = false;
            // An envelope has an id of its own (BHS-11); what is no HL7 has none.
            if let Some(header) = header {
                given_up = self.open.len() >= OPEN_MAX;
                if given_up {
                    self.open.pop_front();
                }
                let field = if bytes.starts_with(b"MSH") { 10 } else { 11 };
                self.open.push_back((from, id(header.field(field)), at));
            }
            return Word::Request(given_up);
        }
        let separator = bytes.get(3).copied().unwrap_or(b'|');
        let msa = bytes.split(|b| matches!(b, b'\r' | b'\n')).find(|line| line.starts_with(b"MSA"));
        let mut fields = msa.unwrap_or_default().split(|b| *b == separator).skip(1);
        let code = fields.next().and_then(|code| code.get(..2)).and_then(|code| code.try_into().ok()).unwrap_or_default();
        let answered = id(fields.next().unwrap_or_default());
        let place = self.open.iter().position(|(asked, known, _)| *asked != from && *known == answered);
        let asked = place.and_then(|place| self.open.remove(place));
        Word::Answer(Answer { code, waited_ms: asked.map(|(_, _, asked_at)| at.since_ms(asked_at)) })
    }

    /// Requests without an answer so far.
    pub fn open(&self) -> u64 {
        self.open.len() as u64
    }
}
