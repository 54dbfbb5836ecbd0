//! Replays that engineers start from the page: a recording through a monitor of its own, into the sandbox.
//!
//! One contract: nothing of a replay reaches the live monitor, store, journal or topics; it is published under
//! `{P}/replay/{run}/` alone, QoS 0, nothing retained. At most `replay.runs_max` at a time, each a thread; one that has played to
//! its end gives way to a new one.

mod output;
mod run;
mod scan;

pub use run::Run;
pub use scan::Tick;

use crate::config::Config;
use crate::shell::journal::{Entry, Record, read_named, segment_before};
use crate::shell::publisher::Options as Broker;
use crate::shell::replay::Range;
use crate::shell::replay::deck::SPEEDS;
use crate::time::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest stretch of the journal, seconds: a day.
const STRETCH_S_MAX: f64 = 86_400.0;
/// Before a stretch begins so much is played silently, so that baselines are not new at its first second, seconds.
const LEAD_S: f64 = 1_800.0;
/// Files of the folder that are listed at most.
const FILES_MAX: usize = 1_000;

/// What is to be played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Wanted {
    /// One message of the journal.
    Raw { raw: String },
    /// A stretch of the journal, ms since 1970.
    Stretch { from: i64, to: i64 },
    /// A file of the replay folder.
    File { file: String },
}

/// How a replay begins.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    pub source: Wanted,
    #[serde(default = "one")]
    pub speed: f64,
    #[serde(default, rename = "loop")]
    pub looping: bool,
}

fn one() -> f64 {
    1.0
}

/// Why a replay does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("speed: 0.5 to 60")]
    Speed,
    #[error("source: from before to, at most a day")]
    Stretch,
    #[error("no such recording")]
    NoSuch,
    #[error("{0} replays run already: end one")]
    Full(usize),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] crate::shell::journal::JournalError),
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where the messages of a replay are.
#[derive(Debug, Clone)]
enum Place {
    Journal(PathBuf, Range),
    File(PathBuf),
}

/// All replays of the service.
pub struct Replays {
    config: Arc<Config>,
    site_key: Vec<u8>,
    journal: PathBuf,
    broker: Option<Broker>,
    runs: Mutex<Vec<Arc<Run>>>,
}

impl Replays {
    /// None runs. `broker`: the account of the service's own publisher; `None`: only over HTTP.
    pub fn new(config: Arc<Config>, site_key: Vec<u8>, journal: &Path, broker: Option<Broker>) -> Replays {
        Replays { config, site_key, journal: journal.to_owned(), broker, runs: Mutex::default() }
    }

    /// Names of the recordings that may be played, in order.
    pub fn files(&self) -> Vec<String> {
        let Some(folder) = &self.config.replay.folder else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let plain = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        let names = entries.flatten().filter(plain).filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(FILES_MAX).collect();
        names.sort();
        names
    }

    /// Every replay, oldest first.
    pub fn list(&self) -> Vec<Arc<Run>> {
        self.runs.lock().clone()
    }
    /// One by its name.
    pub fn get(&self, run: &str) -> Option<Arc<Run>> {
        self.runs.lock().iter().find(|known| known.name == run).cloned()
    }

    /// Begins one. Looks at the disk.
    pub fn start(&self, wish: &Wish) -> Result<Arc<Run>, StartError> {
        if !SPEEDS.contains(&wish.speed) {
            return Err(StartError::Speed);
        }
        let (place, base) = self.place(&wish.source)?;
        let mut runs = self.runs.lock();
        if runs.len() >= self.config.replay.runs_max {
            let over = runs.iter().position(|run| run.is_over()).ok_or(StartError::Full(runs.len()))?;
            runs.remove(over).stop();
        }
        let run = Run::start(self, wish, place, base)?;
        runs.push(Arc::clone(&run));
        Ok(run)
    }

    /// Ends one; whether there was one.
    pub fn remove(&self, run: &str) -> bool {
        let mut runs = self.runs.lock();
        let Some(place) = runs.iter().position(|known| known.name == run) else { return false };
        let gone = runs.remove(place);
        drop(runs);
        gone.stop();
        true
    }

    /// Ends all.
    pub fn stop(&self) {
        for run in self.runs.lock().drain(..) {
            run.stop();
        }
    }

    fn place(&self, wanted: &Wanted) -> Result<(Place, Option<Timestamp>), StartError> {
        match wanted {
            Wanted::Raw { raw } => {
                let Entry { stamped, .. } = read_named(&self.journal, raw)?.ok_or(StartError::NoSuch)?;
                if !matches!(stamped.record, Record::Frame { .. }) {
                    return Err(StartError::NoSuch);
                }
                let sequence = stamped.sequence;
                let range = Range { first: sequence, last: sequence, ..Range::default() };
                Ok((Place::Journal(self.journal.clone(), range), None))
            }
            Wanted::Stretch { from, to } => {
                let (from, to) = (Timestamp::from_ms(*from), Timestamp::from_ms(*to));
                if to <= from || to.since_s(from) > STRETCH_S_MAX {
                    return Err(StartError::Stretch);
                }
                let lead = from.plus_s(-LEAD_S);
                let first = segment_before(&self.journal, lead)?;
                let range = Range { first, from: lead, to, ..Range::default() };
                Ok((Place::Journal(self.journal.clone(), range), Some(from)))
            }
            Wanted::File { file } => {
                // Only what is listed: no path, no link, no other folder.
                let folder = self.config.replay.folder.as_ref().ok_or(StartError::NoSuch)?;
                if !self.files().contains(file) {
                    return Err(StartError::NoSuch);
                }
                Ok((Place::File(folder.join(file)), None))
            }
        }
    }
}
