//! Histories of every bed: what was received, and what was expected, in buckets of five seconds.
//!
//! ```text
//! judging thread: Gatherer ─ finished buckets, bounded, never waited for ─▶ Keeper (its own thread) ─▶ trends.sqlite
//!                                                                              └─ open rows ─▶ Trends::read ◀─ HTTP
//! ```
//! One contract: the judging thread is never held up; a bucket that finds no room is dropped and counted. What is written comes
//! from the journal's records in their order, and adding the same twice changes nothing: after a crash the tail of the journal
//! that is read again fills in what was not written. Only a file that was lost begins anew; `vitalguard replay` shows the past.

mod gather;
mod keeper;
mod series;

pub use gather::Gatherer;
pub use keeper::{Keeper, Trends};
pub use series::{POINTS_MAX, Series};

use crate::shell::store::Bucket;
use crate::vital::Parameter;

/// Finished buckets that wait for the writer at most: 200 beds for a minute and a half.
pub const ROWS_MAX: usize = 4_096;

/// One finished (or, before a snapshot, unfinished) bucket of a bed.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub ward: String,
    pub bed: String,
    /// Begin of the bucket, ms since 1970.
    pub start_ms: i64,
    pub values: Vec<(Parameter, Bucket)>,
}

/// What the judging thread tells the writer.
#[derive(Debug)]
pub enum Told {
    Row(Row),
    /// A snapshot of the core is being written: what came before is wanted on the disk.
    Flush,
}
