//! Histories of the beds, and the recordings that the page may replay.

use super::Found;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Histories for the charts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trends {
    /// Kept so long, days. Seven: a week's nights and weekends beside each other; the journal holds what is older.
    pub retain_days: f64,
    /// Kept so much, bytes. About 3 bytes a bucket: 200 beds of eight parameters write some 90 MB a day.
    pub retain_bytes: u64,
}

impl Default for Trends {
    fn default() -> Self {
        Trends { retain_days: 7.0, retain_bytes: 1 << 30 }
    }
}

/// Replays that are started from the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// Folder of the recordings that may be chosen; its files only, not those of folders in it. None: only the journal.
    pub folder: Option<PathBuf>,
    /// Replays at a time. Each has a monitor of its own.
    pub runs_max: usize,
}

impl Default for Replay {
    fn default() -> Self {
        Replay { folder: None, runs_max: 2 }
    }
}

impl Trends {
    pub(super) fn problems(&self, found: &mut Found) {
        found.positive("trends.retain_days", self.retain_days);
        if self.retain_days > 3_650.0 {
            found.add("trends.retain_days", "at most 3650 (ten years)");
        }
        if self.retain_bytes < 16 << 20 {
            found.add("trends.retain_bytes", "must be at least 16777216 bytes (16 MiB)");
        }
    }
}

impl Replay {
    pub(super) fn problems(&self, found: &mut Found) {
        if !(1..=8).contains(&self.runs_max) {
            found.add("replay.runs_max", "from 1 to 8: each replay drives a monitor of its own");
        }
    }
}
