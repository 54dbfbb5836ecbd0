//! Replay: recorded messages through the same [`Monitor`] as live ones, on a recorded clock.
//!
//! The contract: the same input under the same configuration and model gives the same alert lines, byte for byte, on any
//! machine and at any speed. The clock is the recording's ([`when`]), deadlines fire between messages at their own times,
//! pacing only waits. Nothing is closed at the end: what is open stays open. Input of any size is read in bounded memory.

pub mod capture;
pub mod deck;
pub mod input;
pub mod merge;
pub mod mllp;
pub mod mqtt;
pub mod pace;
pub mod reader;
pub mod shift;
pub mod stamp;
pub mod text;
pub mod when;
mod wire;

use crate::alert::{AlertEvent, Envelope, EventKind, ReplayRef};
use crate::check::Priority;
use crate::config::Config;
use crate::fusion::Account;
use crate::monitor::{BedId, FIXED_KEY, HostSeen, Monitor, Output, Settings};
use crate::observation::Source;
use crate::shell::journal::{self, Record, Stamped};
use crate::shell::quarantine::Quarantine;
use crate::time::Timestamp;
use input::{Input, Progress};
use merge::{Due, Merged, Outcome};
use pace::{Pace, Wall};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A pause of the recording that is longer than this counts as "not recorded", seconds: deadlines up to it fire, then the
/// clock jumps. A week: longer than any outage that a silence alert should still speak about, short enough that one message
/// with a wrong year does not run decades of deadlines.
pub const PAUSE_MAX_S: f64 = 7.0 * 86_400.0;
/// Messages before the first one with a time that are held back until there is one.
const UNTIMED_MAX: usize = 1000;
/// Ward documents at most every, ms of recorded time.
const WARD_EVERY_MS: i64 = 1000;

/// What a replay does.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names the run in topics, `boot` and `replay`; see [`input::run_id`].
    pub run: String,
    /// Feed of every message.
    pub feed: String,
    /// A feed for each recording, in their order; empty: all of them are `feed`.
    pub feeds: Vec<String>,
    /// Move all times so that the first message is at this instant.
    pub shift_to: Option<Timestamp>,
    /// Judge the messages; off when they are only sent on.
    pub judge: bool,
    /// The site's key for the hashes of devices and peers; without one a fixed key gives the same bytes on any machine.
    pub site_key: Option<Vec<u8>>,
}

/// Why a replay stopped early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("writing the alerts: {0}")]
    Write(#[from] std::io::Error),
    #[error(transparent)]
    Mqtt(#[from] mqtt::MqttError),
    #[error(transparent)]
    Mllp(#[from] mllp::MllpError),
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
    /// A sink wants nothing more.
    #[error("stopped")]
    Enough,
}

/// A journal to be replayed.
#[derive(Debug, Clone)]
pub struct Journal {
    pub folder: PathBuf,
    /// From the hash of its last record, which stands for all before it.
    pub run: String,
}

impl Journal {
    /// The journal in a folder, or in the data folder that it is; `None` where neither holds one. Reads and proves all of it.
    pub fn find(path: &Path) -> Result<Option<Journal>, journal::JournalError> {
        for folder in [path.to_owned(), path.join("journal")] {
            if !folder.is_dir() {
                continue;
            }
            let report = journal::verify(&folder, None)?;
            if report.segments > 0 {
                let run = crate::alert::hex(&Sha256::digest(report.head)[..6]);
                return Ok(Some(Journal { folder, run }));
            }
        }
        Ok(None)
    }

    /// The journal in a folder without reading it, for a look at a part.
    pub fn at(folder: &Path) -> Journal {
        Journal { folder: folder.to_owned(), run: "explain".into() }
    }
}

/// A stretch of a journal, ends included: by number and by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Default for Range {
    fn default() -> Self {
        Range { first: 0, last: u64::MAX, from: Timestamp::MIN, to: Timestamp::MAX }
    }
}

/// Who is told.
pub trait Sink {
    /// A message is due.
    fn message(&mut self, _payload: &[u8]) -> Result<(), ReplayError> {
        Ok(())
    }
    /// An alert event, and its document.
    fn event(&mut self, _event: &AlertEvent, _document: &str) -> Result<(), ReplayError> {
        Ok(())
    }
    /// The same event with what the findings of its bed amounted to at that moment.
    fn account(&mut self, _event: &AlertEvent, _account: Option<&Account>) -> Result<(), ReplayError> {
        Ok(())
    }
    /// Whether [`Sink::account`] is of use.
    fn wants_account(&self) -> bool {
        false
    }
    /// Something of a bed has changed: a look at what the monitor holds of it.
    fn bed(&mut self, _monitor: &Monitor, _bed: BedId) {}
    /// Whether [`Sink::bed`] is of use.
    fn wants_beds(&self) -> bool {
        false
    }
    /// A state document; the topic is relative to `{P}/replay/{run}/v1/{site}/`.
    fn state(&mut self, _topic: &str, _document: &str) -> Result<(), ReplayError> {
        Ok(())
    }
    /// Whether [`Sink::state`] is of use.
    fn wants_state(&self) -> bool {
        false
    }
    /// Nothing more comes.
    fn finish(&mut self) -> Result<(), ReplayError> {
        Ok(())
    }
}

/// Alert events as JSON Lines.
pub struct Lines<W>(pub W);

impl<W: std::io::Write> Sink for Lines<W> {
    fn event(&mut self, _event: &AlertEvent, document: &str) -> Result<(), ReplayError> {
        self.0.write_all(document.as_bytes())?;
        self.0.write_all(b"\n")?;
        Ok(())
    }
    fn finish(&mut self) -> Result<(), ReplayError> {
        Ok(self.0.flush()?)
    }
}

/// What a replay has seen.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub messages: u64,
    pub observations: u64,
    /// Messages that are no HL7.
    pub unreadable: u64,
    /// Refused rows by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Raised alerts by condition, assessment and (first) priority.
    pub raised: BTreeMap<(String, String, Priority), u64>,
    pub events: u64,
    /// What was learned of the devices.
    pub habits: Vec<crate::monitor::DeviceHabits>,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// Pauses of the recording beyond [`PAUSE_MAX_S`].
    pub pauses: u64,
    pub outcomes: Vec<Outcome>,
    /// Hosts that match an indicator of the network.
    pub hosts: Vec<HostSeen>,
    /// Every device that was heard, with what names it: local use.
    pub devices: Option<crate::shell::devices::Listing>,
}

/// Drives one monitor over recorded input.
pub struct Driver<'a, W> {
    /// Hosts that should not be heard.
    watched: Vec<std::net::IpAddr>,
    settings: Settings,
    monitor: Monitor,
    envelope: Envelope,
    pace: Pace<W>,
    sinks: Vec<Box<dyn Sink + 'a>>,
    options: Options,
    sources: Vec<Source>,
    flows: wire::Flows,
    ward: String,
    sequence: u64,
    now: Option<Timestamp>,
    shift_ms: i64,
    held: Vec<Due>,
    changed_wards: BTreeSet<String>,
    wards_at: Timestamp,
    summary: Summary,
}

impl<'a, W: Wall> Driver<'a, W> {
    pub fn new(config: &Config, options: Options, pace: Pace<W>, sinks: Vec<Box<dyn Sink + 'a>>) -> Driver<'a, W> {
        let envelope = Envelope {
            site: config.site.clone(),
            boot: format!("replay-{}", options.run),
            replay: Some(ReplayRef { run: options.run.clone(), source: format!("sha256:{}", options.run) }),
            href: false,
        };
        let advisories = crate::shell::advisories::load(config).unwrap_or_else(|error| {
            // The command line has read it before: it changed meanwhile.
            tracing::warn!(%error, "the advisories of the program are used");
            crate::advisory::Advisories::shipped()
        });
        let models = crate::shell::models::load(config).unwrap_or_else(|error| {
            tracing::warn!(%error, "the model files of the program are used");
            crate::models::Models::shipped()
        });
        let settings = Settings::new(config, options.site_key.as_deref().unwrap_or(FIXED_KEY))
            .with_advisories(advisories)
            .with_models(models);
        Driver {
            watched: config.devices.quarantined_hosts().collect(),
            monitor: Monitor::new(settings.clone()),
            settings,
            envelope,
            pace,
            sinks,
            options,
            sources: Vec::new(),
            flows: wire::Flows::default(),
            ward: config.mllp.first().map_or_else(|| "main".into(), |mllp| mllp.ward.clone()),
            sequence: 0,
            now: None,
            shift_ms: 0,
            held: Vec::new(),
            changed_wards: BTreeSet::new(),
            wards_at: Timestamp::MIN,
            summary: Summary::default(),
        }
    }

    /// Everything, to the end.
    pub fn run(
        mut self,
        inputs: &[Input],
        zone: jiff::tz::TimeZone,
        bytes_max: usize,
        progress: Progress,
    ) -> Result<Summary, ReplayError> {
        // Recorded logs of one gateway are often several files (rotation): one peer, unless each is said to be a feed.
        self.sources = (0..inputs.len())
            .map(|at| Source {
                feed: self.options.feeds.get(at).unwrap_or(&self.options.feed).clone(),
                peer: if self.options.feeds.is_empty() { "recording".into() } else { format!("recording-{}", at + 1) },
                connection: at as u64 + 1,
                ward: self.ward.clone(),
                dialect: None,
                zone: None,
                ..Source::default()
            })
            .collect();
        let mut merged = Merged::new(inputs, zone, bytes_max, progress, self.watched.clone());
        while let Some(due) = merged.next_due() {
            self.take(due)?;
        }
        // A recording that names no time at all happened at the beginning of time.
        self.release(Timestamp::from_ms(0))?;
        self.count_feeds();
        self.summary.outcomes = merged.outcomes.into_iter().flatten().collect();
        for sink in &mut self.sinks {
            sink.finish()?;
        }
        Ok(self.summary)
    }

    /// A journal: every record in its order, at the time it was given when it was written.
    pub fn run_journal(self, journal: &Journal) -> Result<Summary, ReplayError> {
        self.run_range(&journal.folder, &Range::default())
    }

    /// Goes on from what a snapshot saw, if it was taken before `before` under the same model and settings; whether it was.
    pub fn resume(&mut self, snapshot: &[u8], before: Timestamp) -> bool {
        match Monitor::restore(self.settings.clone(), snapshot) {
            Ok(monitor) if monitor.at() < before => {
                self.now = Some(monitor.at());
                self.monitor = monitor;
                true
            }
            _ => false,
        }
    }

    /// The same input once more: a `boot` of its own, so that nobody takes it for old documents of the first pass.
    pub fn pass(mut self, number: u32) -> Self {
        if number > 0 {
            self.envelope.boot = format!("replay-{}-{number}", self.options.run);
        }
        self
    }

    /// A stretch of a journal, as far as it is there.
    pub fn run_range(mut self, folder: &Path, range: &Range) -> Result<Summary, ReplayError> {
        let mut faults = reader::Faults::default();
        let quarantine = Quarantine::read(folder)?;
        let mut entries = journal::Reader::open(folder, range.first)?;
        for entry in &mut entries {
            let stamped = match entry {
                Ok(entry) => entry.stamped,
                Err(error) => {
                    faults.broken = Some(error.to_string());
                    break;
                }
            };
            if stamped.at > range.to {
                // What time alone brings up to there. Where the service stood still, the record of its start says how far it got.
                let until = match stamped.record {
                    Record::Start { applied_until, .. } => applied_until.min(range.to),
                    _ => range.to,
                };
                self.advance(until)?;
                break;
            }
            if stamped.sequence > range.last {
                break;
            }
            if stamped.at < range.from {
                continue;
            }
            self.take_record(stamped, &quarantine)?;
        }
        if let Some(torn) = entries.torn() {
            faults.cut = 1;
            faults.places.push(format!("{} ends in an unfinished write at byte {}", torn.segment, torn.offset));
        }
        faults.messages = self.summary.messages;
        self.count_feeds();
        self.summary.outcomes = vec![Outcome {
            name: folder.display().to_string(),
            description: "the journal of vitalguard".into(),
            faults,
            seen: None,
        }];
        for sink in &mut self.sinks {
            sink.finish()?;
        }
        Ok(self.summary)
    }

    fn take_record(&mut self, stamped: Stamped, quarantine: &Quarantine) -> Result<(), ReplayError> {
        let at = self.now.map_or(stamped.at, |now| now.max(stamped.at));
        // Where the service stood still, its own record of the start says so; deadlines in between are its to move.
        if !matches!(stamped.record, Record::Start { .. }) {
            self.advance(at)?;
            self.pace.wait(at);
        }
        self.now = Some(at);
        self.summary.first.get_or_insert(at);
        self.summary.last = Some(at);
        match stamped.record {
            // As live: the judge could not take it.
            _ if quarantine.holds(stamped.sequence) => self.monitor.handle_timeout(at),
            Record::Start { applied_until, .. } => self.monitor.handle_start(applied_until, at),
            Record::Open { source, .. } => self.monitor.handle_open(&source, at),
            Record::Close { connection } => self.monitor.handle_close(connection, at),
            Record::Command(command) => self.monitor.handle_command(&command, stamped.sequence, at),
            Record::Audit(_) | Record::Case(_) => self.monitor.handle_timeout(at),
            // Evidence of what was no frame was never judged; what a tap has seen of a host was.
            Record::Fragment { what, payload, .. } => {
                if let Some(sighting) = crate::shell::tap::sighting(&what, &payload) {
                    self.monitor.handle_indicator(&sighting, at);
                }
            }
            Record::Frame { source, payload } => {
                self.summary.messages += 1;
                for sink in &mut self.sinks {
                    sink.message(&payload)?;
                }
                if self.options.judge {
                    self.monitor.handle_frame(&source, stamped.sequence, &payload, at);
                }
            }
        }
        self.drain(at)
    }

    fn count_feeds(&mut self) {
        self.summary.hosts = self.monitor.hosts_seen().to_vec();
        self.summary.habits = self.monitor.habits();
        self.summary.devices = Some(crate::shell::devices::Listing::of(&self.monitor, true));
        for feed in self.monitor.feeds() {
            self.summary.observations += feed.observations;
            self.summary.unreadable += feed.unreadable;
            for (reason, count) in &feed.rejects {
                *self.summary.rejects.entry(reason.clone()).or_default() += count;
            }
        }
    }

    fn take(&mut self, due: Due) -> Result<(), ReplayError> {
        match (due.at, self.now) {
            (None, None) if self.held.len() < UNTIMED_MAX => {
                self.held.push(due);
                Ok(())
            }
            (at, now) => {
                let at = at.unwrap_or(Timestamp::from_ms(0));
                if now.is_none() {
                    self.shift_ms = self.options.shift_to.map_or(0, |to| to.since_ms(at));
                }
                let at = at.plus_ms(self.shift_ms);
                self.release(at)?;
                self.feed(due, at)
            }
        }
    }

    /// Messages that waited for a first time get it.
    fn release(&mut self, at: Timestamp) -> Result<(), ReplayError> {
        for due in std::mem::take(&mut self.held) {
            self.feed(due, at)?;
        }
        Ok(())
    }

    fn feed(&mut self, due: Due, at: Timestamp) -> Result<(), ReplayError> {
        let at = self.now.map_or(at, |now| now.max(at));
        self.advance(at)?;
        self.pace.wait(at);
        self.now = Some(at);
        self.summary.first.get_or_insert(at);
        self.summary.last = Some(at);
        if let Some(wire) = &due.piece.wire
            && due.piece.payload.is_empty()
        {
            return self.happened(due.input, wire, at);
        }
        self.summary.messages += 1;
        self.sequence += 1;
        let payload = if self.shift_ms == 0 { due.piece.payload } else { shift::moved(&due.piece.payload, self.shift_ms) };
        for sink in &mut self.sinks {
            sink.message(&payload)?;
        }
        if self.options.judge {
            let source = match &due.piece.wire {
                Some(wire) => self.flows.source(due.input, &self.sources[due.input], wire),
                None => &self.sources[due.input],
            };
            self.monitor.handle_frame(source, self.sequence, &payload, at);
            self.drain(at)?;
        }
        Ok(())
    }

    /// Lets every deadline up to `to` fire at its own time.
    fn advance(&mut self, to: Timestamp) -> Result<(), ReplayError> {
        let Some(now) = self.now.filter(|_| self.options.judge) else { return Ok(()) };
        let pause = to.since_s(now) > PAUSE_MAX_S;
        let until = if pause { now.plus_s(PAUSE_MAX_S) } else { to };
        let mut at = now;
        while let Some(deadline) = self.monitor.poll_timeout().filter(|deadline| *deadline <= until) {
            // Every step moves on: a deadline that stays where it was would hold us here for ever.
            at = deadline.max(at.plus_ms(i64::from(deadline <= at)));
            if at > until {
                break;
            }
            self.pace.wait(at);
            self.monitor.handle_timeout(at);
            self.drain(at)?;
        }
        if pause {
            self.summary.pauses += 1;
            self.monitor.handle_start(until, to);
            self.drain(to)?;
        }
        Ok(())
    }

    fn drain(&mut self, at: Timestamp) -> Result<(), ReplayError> {
        let wants_state = self.sinks.iter().any(|sink| sink.wants_state());
        while let Some(output) = self.monitor.poll_output() {
            if let Output::BedChanged(id) = output {
                for sink in self.sinks.iter_mut().filter(|sink| sink.wants_beds()) {
                    sink.bed(&self.monitor, id);
                }
            }
            match output {
                Output::Alert(event) => {
                    let document = event.to_json(&self.envelope);
                    self.summary.events += 1;
                    if event.event == EventKind::Raised {
                        let assessment = event.alert.assessment.as_str().to_owned();
                        *self
                            .summary
                            .raised
                            .entry((event.alert.condition.clone(), assessment, event.alert.priority))
                            .or_default() += 1;
                    }
                    for sink in &mut self.sinks {
                        sink.event(&event, &document)?;
                        if sink.wants_account() {
                            sink.account(&event, self.monitor.account(&event.alert.ward, &event.alert.bed).as_ref())?;
                        }
                    }
                }
                Output::BedChanged(id) if wants_state => {
                    if let Some(state) = self.monitor.bed_state(id, at) {
                        let topic = format!("ward/{}/bed/{}/state", state.ward, state.bed);
                        let document = state.to_json(&self.envelope);
                        self.changed_wards.insert(state.ward);
                        for sink in &mut self.sinks {
                            sink.state(&topic, &document)?;
                        }
                    }
                }
                Output::BedChanged(_) | Output::Response(_) | Output::Device(_) => {}
            }
        }
        if !self.changed_wards.is_empty() && at.since_ms(self.wards_at) >= WARD_EVERY_MS {
            self.wards_at = at;
            for ward in std::mem::take(&mut self.changed_wards) {
                for state in self.monitor.ward_states(&ward, at) {
                    let topic = state.topic();
                    let document = state.to_json(&self.envelope);
                    for sink in &mut self.sinks {
                        sink.state(&topic, &document)?;
                    }
                }
            }
        }
        Ok(())
    }
}
