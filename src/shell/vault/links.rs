//! What an extract of the journal needs to prove itself.

use crate::shell::journal::{Entry, JournalError, Reader, Record};
use crate::time::Timestamp;
use std::path::Path;

/// One record as the chain sees it: `hash = SHA-256(hash before ‖ header ‖ payload_sha256)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    pub sequence: u64,
    pub at: Timestamp,
    /// Everything that stands before the payload: number, clocks, kind, lengths, and where it came from. No patient.
    pub header: Vec<u8>,
    /// SHA-256 of the payload as it was received, also where it is encrypted at rest.
    pub payload_sha256: [u8; 32],
    pub hash: [u8; 32],
    /// The payload, of frames and fragments.
    pub payload: Option<Vec<u8>>,
    /// The record itself, with all that the journal knows of it.
    pub entry: Entry,
}

/// Links in order, each checked on the way; ends at the first that cannot be read.
pub struct Links {
    reader: Reader,
    last: u64,
}

/// The links of the records `first..=last`; fewer, where the journal ends before.
pub fn links(folder: &Path, first: u64, last: u64) -> Result<Links, JournalError> {
    Ok(Links { reader: Reader::open(folder, first)?, last })
}

impl Iterator for Links {
    type Item = Result<Link, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.reader.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        (entry.stamped.sequence <= self.last).then(|| Ok(Link::of(entry)))
    }
}

impl Link {
    fn of(entry: Entry) -> Link {
        let payload = match &entry.stamped.record {
            Record::Frame { payload, .. } | Record::Fragment { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        Link {
            sequence: entry.stamped.sequence,
            at: entry.stamped.at,
            header: entry.header.to_vec(),
            payload_sha256: entry.payload_sha256,
            hash: entry.hash,
            payload,
            entry,
        }
    }
}
