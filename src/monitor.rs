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

use crate::alert::{AlertEvent, AlertState, Cause, DeviceEvent, DeviceEventKind, EventKind};
use crate::bed::{Bed, Bond};
use crate::check::limit_change::Wider;
use crate::check::{Arg, Assessment, CheckId, Priority, Tapped, Verdict, Verdicts, View};
use crate::clockwork::{Clocks, Reading};
use crate::command::{Command, Refusal, Response, Verb};
use crate::config::{MapMode, SenderBook};
use crate::episode::{Desk, Note};
use crate::fleet::{Fleet, Raise};
use crate::fusion::Origin;
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch, is_batch, place, split_batch};
use crate::observation::{MessageFlags, MessageKind, Report, Source, Validity};
use crate::population::Population;
use crate::profile::Shelf;
use crate::profile::learn::{Aside, Lesson};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use cell::Cell;
use inventory::Inventory;
use rustc_hash::FxHashMap;
use senders::Keyed;
use serde::{Deserialize, Serialize};
use skew::ClockNotice;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

mod account;
mod adt;
mod apart;
mod binding;
mod cell;
mod commands;
mod copies;
mod devices;
mod documents;
mod echo;
mod feeds;
mod flow;
mod gate;
mod habits;
mod identity;
mod indicators;
mod inventory;
mod limits;
mod named;
mod occupancy;
mod places;
mod resent;
mod samples;
mod senders;
mod settings;
mod skew;
mod snapshot;
mod together;

pub use apart::{Heard, published_device};
pub use feeds::{FeedCounts, Refused, UnknownCode};
pub use habits::DeviceHabits;
pub use indicators::HostSeen;
pub use inventory::{AdvisoryInfo, DeclaredText, DeviceInfo, Identified};
pub use named::NamedBy;
pub use samples::Sample;
pub use settings::{FIXED_KEY, Settings};

/// A bed's document is written anew at least so often, milliseconds.
const BEAT_MS: i64 = 60_000;
/// A repeated request gets the same answer for so long, milliseconds.
const ANSWERED_MS: i64 = 300_000;
/// Answers remembered at most.
const ANSWERED_MAX: usize = 4096;
/// Beds at most where the configuration names no bound.
const BEDS_MAX: u32 = 20_000;
/// From this log10(e) on a bed learns nothing: e ≥ 10.
const SUSPICION_LOG10_E: f64 = 1.0;
/// Ward and bed of what concerns the installation, and the bed of what concerns a whole ward.
const SITE: &str = "_site";
const WARD: &str = "_ward";
const SELFTEST: &str = "_selftest";

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
    Response(Box<Response>),
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
#[derive(Debug)]
pub struct Monitor {
    house: House,
    decoder: Decoder,
    /// Which of the site's rules fits whom.
    book: SenderBook,
    keyed: Keyed,
    /// The time of the last input.
    now: Timestamp,
    /// An input was handled.
    started: bool,
    cells: Vec<Cell>,
    wards: Vec<Ward>,
    fleet: Fleet,
    /// What was learned of devices that speak for no bed at present.
    aside: Aside,
    feeds: BTreeMap<String, FeedCounts>,
    inventory: Inventory,
    answered: VecDeque<Answered>,
    past: commands::Past,
    hosts: Vec<HostSeen>,
    registry: identity::Registry,
    clocks: Clocks,
    clock_notice: ClockNotice,
    /// Beds whose alarm limits were widened lately, and where the notice of it stands.
    wider: Wider,
    wider_place: Option<u32>,
    // What follows is made anew from the above.
    /// Place as sent, folded, to the bed; configured places from the beginning.
    places: FxHashMap<String, u32>,
    /// Folded `ward/bed` to the bed.
    by_slug: FxHashMap<String, u32>,
    /// Open alert to its bed.
    alerts: FxHashMap<String, u32>,
    queue: BinaryHeap<Reverse<(Timestamp, u32)>>,
    outputs: VecDeque<Output>,
    events: Vec<AlertEvent>,
    scratch: Scratch,
    report: Report,
    verdicts: Verdicts,
    place_key: String,
    gate: gate::Gate,
    bond: Bond,
    /// Zones whose changes of time are known.
    zones: Vec<jiff::tz::TimeZone>,
    /// Of the message that is being judged: what is known of its time, and `dev-…` of its sender.
    reading: Reading,
    device_name: Arc<str>,
    /// The frame that is being read: its number, and the place of the message in it.
    frame: (u64, u16),
    /// M03, where the catalogue has it.
    silence: Option<CheckId>,
    /// N01, where the catalogue has it.
    advisory: Option<CheckId>,
    /// When the advisory data are old (S06); never, where that was said.
    data_old_at: Timestamp,
    /// Of a message that is told again: what its hidden words amounted to.
    told: Option<Box<apart::Told>>,
    /// Takes down what one bed is told.
    tape: Option<Box<apart::Tape>>,
}

/// What stays the same for as long as the monitor lives.
#[derive(Debug)]
struct House {
    settings: Settings,
    zone: jiff::tz::TimeZone,
    /// 64 hex digits, and `sha256:` with the first 16 of them.
    model: String,
    model_short: String,
    population: Population,
    shelf: Shelf,
    /// S05, where the catalogue has it.
    flood: Option<CheckId>,
}

impl House {
    fn calibrations(&self) -> &crate::calibration::Calibrations {
        &self.settings.models.calibrations
    }
    fn desk<'a>(&'a self, bed: &'a Bed, device: &'a str, application: &str, rev: u64, reserved: bool) -> Desk<'a> {
        Desk {
            site: &self.settings.site,
            ward: &bed.ward,
            bed: &bed.bed,
            rev,
            zone: &self.zone,
            model: &self.model_short,
            device: (!device.is_empty()).then_some(device),
            limits: &self.settings.episodes,
            publish_comments: self.settings.publish_comments,
            reviewed: self.shelf.of_application(application).reviewed,
            flood: self.flood,
            alone: !reserved,
        }
    }
}

/// A ward and its beds, configured ones first.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ward {
    name: String,
    rev: u64,
    cells: Vec<u32>,
    /// First (after seven days without) and last ADT that was heard of it.
    adt: (Timestamp, Timestamp),
}

/// An answer that is given again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answered {
    at: Timestamp,
    response: Response,
}

impl Default for Monitor {
    fn default() -> Self {
        Monitor::new(Settings::default())
    }
}

impl Monitor {
    /// A monitor that has heard nothing. A zone that the configuration should have refused counts as UTC.
    pub fn new(settings: Settings) -> Monitor {
        let tables = Tables::embedded();
        let mut decoder = Decoder::new(&settings.zone, Arc::clone(&tables))
            .or_else(|_| Decoder::new("UTC", Arc::clone(&tables)))
            .expect("UTC is a zone of every database");
        decoder.set_advice(settings.senders.advice(&tables));
        let book = SenderBook::new(settings.senders.clone());
        let (population, mut shelf) = (settings.models.population.clone(), Shelf::default());
        for profile in settings.shelf.iter().chain(&settings.models.profiles).rev() {
            shelf.add(profile.clone());
        }
        if settings.profiles == crate::config::Profiles::Reviewed {
            shelf.require_review();
        }
        let model = snapshot::model_hash(&settings, &population, &shelf);
        let keyed = Keyed::new(&settings.site_key);
        let zones = skew::zones(&settings);
        decoder.set_body_key(keyed.body_key());
        let gate = gate::Gate::new(&settings.senders, &settings.devices);
        let house = House {
            zone: jiff::tz::TimeZoneDatabase::bundled().get(&settings.zone).unwrap_or(jiff::tz::TimeZone::UTC),
            model_short: format!("sha256:{}", &model[..16]),
            model,
            population,
            shelf,
            flood: CheckId::from_id("S05"),
            settings,
        };
        let inventory = Inventory::new(&house.settings.devices, &house.settings.advisories);
        let mut monitor = Monitor {
            house,
            decoder,
            book,
            keyed,
            now: Timestamp::MIN,
            started: false,
            cells: Vec::new(),
            wards: Vec::new(),
            fleet: Fleet::default(),
            aside: Aside::default(),
            feeds: BTreeMap::new(),
            inventory,
            answered: VecDeque::new(),
            past: commands::Past::default(),
            hosts: Vec::new(),
            registry: identity::Registry::default(),
            clocks: Clocks::default(),
            clock_notice: ClockNotice::default(),
            wider: Wider::default(),
            wider_place: None,
            places: FxHashMap::default(),
            by_slug: FxHashMap::default(),
            alerts: FxHashMap::default(),
            queue: BinaryHeap::new(),
            outputs: VecDeque::new(),
            events: Vec::new(),
            scratch: Scratch::default(),
            report: Report::default(),
            verdicts: Verdicts::default(),
            place_key: String::new(),
            gate,
            bond: Bond::default(),
            zones,
            reading: Reading::default(),
            device_name: Arc::from(""),
            frame: (0, 0),
            silence: CheckId::from_id("M03"),
            advisory: CheckId::from_id("N01"),
            data_old_at: Timestamp::MAX,
            told: None,
            tape: None,
        };
        let configured = monitor.house.settings.beds.bed.clone();
        for entry in &configured {
            monitor.open_bed(&entry.ward, &entry.bed, false, Timestamp::MIN);
        }
        monitor.rebuild();
        monitor
    }

    /// Everything that is made from the state.
    fn rebuild(&mut self) {
        self.places.clear();
        self.by_slug.clear();
        self.alerts.clear();
        self.queue.clear();
        for (number, cell) in self.cells.iter_mut().enumerate() {
            let number = number as u32;
            self.by_slug.insert(place::key(&cell.bed.ward, &cell.bed.bed), number);
            for episode in cell.episodes.open() {
                self.alerts.insert(episode.id.clone(), number);
            }
            let due = cell.due_at();
            cell.queued_at = None;
            if due < Timestamp::MAX {
                cell.queued_at = Some(due);
                self.queue.push(Reverse((due, number)));
            }
        }
        self.map_places();
        let site = self.by_slug.get(&place::key(SITE, SITE)).copied();
        self.inventory.rebuild(&self.house.settings.devices, &self.house.settings.advisories, site);
        self.plan_old_data();
    }

    /// A connection was opened.
    pub fn handle_open(&mut self, source: &Source, at: Timestamp) {
        self.advance(at);
        self.feed(&source.feed);
    }

    /// A connection was closed; what lived in it is forgotten.
    pub fn handle_close(&mut self, connection: u64, at: Timestamp) {
        self.advance(at);
        self.decoder.close(connection);
    }

    /// One frame. `sequence` is its number in the journal (or in the recorded log).
    pub fn handle_frame(&mut self, source: &Source, sequence: u64, frame: &[u8], at: Timestamp) {
        let at = self.advance(at);
        self.frame = (sequence, 0);
        if is_batch(frame) {
            for (place, message) in split_batch(frame).messages.into_iter().enumerate() {
                self.frame.1 = u16::try_from(place).unwrap_or(u16::MAX);
                self.message(source, sequence, message, at);
            }
        } else {
            self.message(source, sequence, frame, at);
        }
    }

    /// What was received and is no frame to be judged: only counted among what was refused.
    pub fn handle_fragment(&mut self, source: &Source, what: &str, sequence: u64, at: Timestamp) {
        let at = self.advance(at);
        // An envelope of a batch, and what was never meant for us, are no message that went wrong.
        if !matches!(what, "batch" | "commit" | "empty" | "ack_received") && self.feeds.contains_key(&source.feed) {
            self.feed(&source.feed).refuse_message(what.to_owned().into(), sequence, at);
        }
    }

    /// The shell's own trouble.
    pub fn handle_condition(&mut self, condition: &SiteCondition, at: Timestamp) {
        let at = self.advance(at);
        let Some(check) = CheckId::from_id(&condition.check) else { return };
        let number = self.reserved(SITE, SITE, at);
        if condition.holds {
            self.inject(number, Verdict::new(check, ParamSet::EMPTY, at), at);
        } else {
            self.inject_pass(number, check, at);
        }
    }

    /// We were not running between `applied_until` and `at`: deadlines up to the first still fire, those between are moved, so
    /// that our own absence is not taken for a monitor's silence.
    pub fn handle_start(&mut self, applied_until: Timestamp, at: Timestamp) {
        if self.started {
            self.advance(applied_until);
        }
        let away_ms = at.since_ms(self.now.max(applied_until)).max(0);
        let left = self.now.max(applied_until);
        // Connections do not outlive the process that had them.
        self.decoder.close_all();
        if !self.started {
            return;
        }
        for number in 0..self.cells.len() {
            let cell = &mut self.cells[number];
            // Its connections are counted anew.
            cell.connection = 0;
            cell.started_at = at;
            cell.grace_until = match cell.judge_at {
                Timestamp::MAX => at.plus_s(60.0),
                due => at.plus_ms(due.since_ms(left).max(60_000)),
            };
            cell.episodes.shift(away_ms, left);
            cell.judge_at = cell.judge_at.max(cell.grace_until);
            cell.house_at = if cell.house_at == Timestamp::MAX { Timestamp::MAX } else { cell.house_at.max(at).plus_ms(1) };
            self.enqueue(number as u32);
        }
        self.now = self.now.max(at);
        self.renew_advisories(self.now);
    }

    /// It is `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// The next thing to say.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Monitor::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let bed = self.queue.peek().map(|Reverse((at, _))| *at);
        match self.data_old_at {
            Timestamp::MAX => bed,
            old if self.started => Some(bed.map_or(old, |bed| bed.min(old))),
            _ => bed,
        }
    }

    /// Every bed, in the order of the map and then as first heard.
    pub fn beds(&self) -> impl Iterator<Item = Place<'_>> {
        self.cells.iter().zip(0..).map(|(cell, number)| Place {
            id: BedId(number),
            ward: &cell.bed.ward,
            bed: &cell.bed.bed,
            reserved: cell.reserved,
        })
    }
    /// A bed by its place.
    pub fn bed_id(&self, ward: &str, bed: &str) -> Option<BedId> {
        self.by_slug.get(&place::key(ward, bed)).copied().map(BedId)
    }
    /// Every ward that has a bed, in the order of its first bed.
    pub fn wards(&self) -> Vec<&str> {
        self.wards.iter().map(|w| w.name.as_str()).collect()
    }
    /// Counters of every feed, by name.
    pub fn feeds(&self) -> impl Iterator<Item = &FeedCounts> {
        self.feeds.values()
    }
    /// From now on block scores, and what checks say, are kept for [`Monitor::tapped`].
    pub fn tap(&mut self) {
        self.verdicts.tap();
    }
    /// What was heard since it was last asked for: for measurements.
    pub fn tapped(&mut self) -> Vec<Tapped> {
        self.verdicts.tapped()
    }
    /// SHA-256 over every table and threshold that decides, 64 hex digits.
    pub fn model_hash(&self) -> &str {
        &self.house.model
    }

    fn desk<'a>(&'a self, cell: &'a Cell) -> Desk<'a> {
        self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved)
    }
}

#[cfg(test)]
mod tests;
