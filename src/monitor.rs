//! The monitor: bytes in, alerts out. It ties the core together and owns a set of beds and nothing else.
//!
//! **One input, then drain.** [`Monitor::handle_frame`], [`handle_timeout`](Monitor::handle_timeout),
//! [`handle_command`](Monitor::handle_command) and the other `handle_*`; then [`poll_output`](Monitor::poll_output) until
//! `None`; then sleep until [`poll_timeout`](Monitor::poll_timeout). Time is an argument and never runs backwards through
//! this door; a late observation time is data, not an error. Before an input at `t` is looked at, every deadline up to and
//! including `t` fires in order, each at its own time: whoever calls late or early gets the same answers.
//!
//! **Same inputs in the same order give the same outputs, byte for byte**: live, in replay, and after a crash.
//!
//! *Judge before you learn*: a check sees the baseline as it was before the observation; only what passed feeds the
//! baseline; learning stops while a bed is under suspicion.

use crate::command::{Command, Response};
use crate::observation::Source;
use crate::time::Timestamp;

/// Number of a bed within one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct BedId(pub u32);

/// A condition of the installation that the shell has seen (S01 …): journal failed, outbox behind.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SiteCondition {
    /// Id of the catalogue (`S01`).
    pub check: String,
    /// Whether it holds now.
    pub holds: bool,
}

/// What the monitor has to say.
#[derive(Debug, Clone)]
pub enum Output {
    /// A lifecycle event of an alert, complete but for the envelope (boot, replay).
    Alert(Box<crate::alert::AlertEvent>),
    /// The bed's state document is to be written anew.
    BedChanged(BedId),
    /// The answer to a command.
    Response(Response),
}

/// The core's state.
#[derive(Debug, Default)]
pub struct Monitor {}

impl Monitor {
    /// A connection was opened.
    pub fn handle_open(&mut self, _source: &Source, _at: Timestamp) {}
    /// A connection was closed; what lived in it is forgotten.
    pub fn handle_close(&mut self, _connection: u64, _at: Timestamp) {}
    /// One frame. `sequence` is its number in the journal (or in the recorded log).
    pub fn handle_frame(&mut self, _source: &Source, _sequence: u64, _frame: &[u8], _at: Timestamp) {}
    /// A person's command.
    pub fn handle_command(&mut self, _command: &Command, _at: Timestamp) {}
    /// The shell's own trouble.
    pub fn handle_condition(&mut self, _condition: &SiteCondition, _at: Timestamp) {}
    /// We were not running between `applied_until` and `at`: deadlines up to the first still fire, those between are moved, so
    /// that our own absence is not taken for a monitor's silence.
    pub fn handle_start(&mut self, _applied_until: Timestamp, _at: Timestamp) {}
    /// It is `now`.
    pub fn handle_timeout(&mut self, _now: Timestamp) {}
    /// The next thing to say.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// When [`handle_timeout`](Monitor::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
