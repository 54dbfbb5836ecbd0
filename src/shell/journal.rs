//! The journal: every input, durable before it is acknowledged, hash-chained, in the order in which it is judged.

use crate::command::Command;
use crate::observation::Source;
use crate::time::Timestamp;

/// One input of the monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The service began: what was applied before, by the store.
    Start { boot: String, applied_until: Timestamp },
    /// A connection was opened.
    Open { source: Source },
    /// A connection was closed.
    Close { connection: u64 },
    /// A frame's payload, byte for byte.
    Frame { source: Source, payload: Vec<u8> },
    /// What was received and is not a frame to be judged (truncated, junk, too large): evidence only.
    Fragment { source: Source, what: String, payload: Vec<u8> },
    /// A person's command.
    Command(Command),
}

/// A record with its number and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped {
    pub sequence: u64,
    pub at: Timestamp,
    pub record: Record,
}

/// What the judging thread takes, in order: durable records, and the time when there are none.
#[derive(Debug)]
pub enum Feed {
    Batch(Vec<Stamped>),
    /// No record older than this is on its way.
    Tick(Timestamp),
    /// The journal began to fail, or works again.
    Failing(bool, Timestamp),
}
