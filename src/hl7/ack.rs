//! Acknowledgement by MSH-15/16: original and enhanced mode, AA AE AR and CA CE CR, MSA and ERR.
//!
//! What a positive answer means: *these bytes are durable in the journal*. It never says that the content is good.

use crate::time::Timestamp;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable in the journal.
    Stored,
    /// Could not be stored (disk full or failing): AE, ERR 207.
    NotStored,
    /// A query, a message in the wrong direction of work: AR, ERR 200 or 201.
    Unsupported,
    /// Not HL7, or no usable header: AR, ERR 100.
    Unreadable,
    /// Over the frame cap: AR.
    TooLarge,
}

/// Which mode a listener answers in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckMode {
    /// As MSH-15/16 ask.
    #[default]
    Auto,
    /// AA, AE, AR even where a commit acknowledgement was asked for.
    Original,
    /// Never (tap).
    Never,
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Zero, one or two acknowledgement messages (payloads without framing), in order.
    pub messages: Vec<Vec<u8>>,
    /// MSA-1 of the last one, for counting (`AA`, `CE`, …); empty if none.
    pub code: &'static str,
}

/// Answers a frame's payload (of which only the header is read).
///
/// `unique` makes our own MSH-10 unique; `at` is our time.
pub fn answer(_payload: &[u8], _outcome: Outcome, _mode: AckMode, _unique: u64, _at: Timestamp) -> Answer {
    Answer::default()
}
