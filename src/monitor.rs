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

use crate::alert::{Alert, AlertEvent, BedState, DeviceEvent, Flat, PriorityCounts, TrustCounts, Vitals, WardState};
use crate::command::{Command, Response};
use crate::observation::Source;
use crate::time::Timestamp;

mod feeds;
mod settings;

pub use feeds::{FeedCounts, UnknownCode};
pub use settings::{FIXED_KEY, Settings};

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
    Alert(Box<AlertEvent>),
    /// The bed's state document is to be written anew ([`Monitor::bed_state`], [`Monitor::vitals`], [`Monitor::flat`], and
    /// the document of its ward); at least every 60 s for each bed.
    BedChanged(BedId),
    /// The answer to a command.
    Response(Response),
    /// A device was seen first, or at another bed.
    Device(Box<DeviceEvent>),
}

/// Where a bed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub id: BedId,
    pub ward: &'a str,
    pub bed: &'a str,
    /// Reserved beds (`_ward`, `_site`, `_unassigned-…`) stand in documents only while something is open in them.
    pub reserved: bool,
}

/// Why a snapshot is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Nothing that this version has written.
    #[error("the snapshot cannot be read: {0}")]
    Unreadable(String),
    /// Other checks, tables or settings decide now: begin anew and read the journal.
    #[error("the snapshot was written under model {found}, this is {expected}")]
    OtherModel { found: String, expected: String },
}

/// The core's state.
#[derive(Debug, Default)]
pub struct Monitor {}

impl Monitor {
    /// A monitor that has heard nothing.
    pub fn new(_settings: Settings) -> Monitor {
        Monitor {}
    }
    /// A monitor as [`Monitor::snapshot`] saw it. Refused where other checks, tables or settings decide now.
    pub fn restore(_settings: Settings, _snapshot: &[u8]) -> Result<Monitor, RestoreError> {
        Err(RestoreError::Unreadable("not yet".into()))
    }
    /// Everything that later answers depend on. Take it between an input's last output and the next input.
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

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

    /// Every bed, in the order of the map and then as first heard.
    pub fn beds(&self) -> impl Iterator<Item = Place<'_>> {
        std::iter::empty()
    }
    /// A bed by its place.
    pub fn bed_id(&self, _ward: &str, _bed: &str) -> Option<BedId> {
        None
    }
    /// Every ward that has a bed, in the order of its first bed.
    pub fn wards(&self) -> Vec<&str> {
        Vec::new()
    }
    /// `bed-state/1`.
    pub fn bed_state(&self, _bed: BedId, _now: Timestamp) -> Option<BedState> {
        None
    }
    /// `ward-state/1`, all parts. Every call is a new revision.
    pub fn ward_states(&mut self, _ward: &str, _now: Timestamp) -> Vec<WardState> {
        Vec::new()
    }
    /// `vitals/1`.
    pub fn vitals(&self, _bed: BedId, _now: Timestamp) -> Option<Vitals> {
        None
    }
    /// `flat`.
    pub fn flat(&self, _bed: BedId, _now: Timestamp) -> Option<Flat> {
        None
    }
    /// Every open alert, by bed, then high first, then by onset.
    pub fn open_alerts(&self) -> Vec<Alert> {
        Vec::new()
    }
    /// An open alert.
    pub fn alert(&self, _id: &str) -> Option<Alert> {
        None
    }
    /// Beds by trust and open alerts by priority, for the heartbeat.
    pub fn counts(&self, _now: Timestamp) -> (TrustCounts, PriorityCounts) {
        Default::default()
    }
    /// Counters of every feed, by name.
    pub fn feeds(&self) -> impl Iterator<Item = &FeedCounts> {
        std::iter::empty()
    }
    /// SHA-256 over every table and threshold that decides, 64 hex digits.
    pub fn model_hash(&self) -> &str {
        ""
    }
}
