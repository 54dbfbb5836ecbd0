//! The snapshot: postcard of everything that later answers depend on, with the hash of what decides.

use super::cell::Cell;
use super::feeds::FeedCounts;
use super::identity::Registry;
use super::inventory::Inventory;
use super::skew::ClockNotice;
use super::{Answered, HostSeen, Monitor, RestoreError, Settings, Ward};
use crate::alert::hex;
use crate::check::CATALOGUE;
use crate::check::limit_change::Wider;
use crate::clockwork::Clocks;
use crate::fleet::Fleet;
use crate::hl7::decode::State as DecoderState;
use crate::hl7::dialect::EMBEDDED;
use crate::profile::learn::Aside;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Changes with the layout of the snapshot.
const LAYOUT: u32 = 10;

#[derive(Serialize, Deserialize)]
struct Snapshot<'a> {
    layout: u32,
    key: Cow<'a, str>,
    now: Timestamp,
    started: bool,
    decoder: Cow<'a, DecoderState>,
    cells: Cow<'a, [Cell]>,
    wards: Cow<'a, [Ward]>,
    fleet: Cow<'a, Fleet>,
    aside: Cow<'a, Aside>,
    feeds: Cow<'a, BTreeMap<String, FeedCounts>>,
    inventory: Cow<'a, Inventory>,
    answered: Cow<'a, VecDeque<Answered>>,
    past: Cow<'a, super::commands::Past>,
    hosts: Cow<'a, [HostSeen]>,
    registry: Cow<'a, Registry>,
    clocks: Cow<'a, Clocks>,
    clock_notice: Cow<'a, ClockNotice>,
    wider: Cow<'a, Wider>,
    wider_place: Option<u32>,
}

/// SHA-256 over every table and threshold that decides.
pub(super) fn model_hash(
    monitor_settings: &Settings,
    population: &crate::population::Population,
    shelf: &crate::profile::Shelf,
) -> String {
    let mut hash = Sha256::new();
    let mut part = |name: &str, text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
    };
    part("version", env!("CARGO_PKG_VERSION"));
    for (name, text) in EMBEDDED {
        part(name, text);
    }
    for text in crate::text::SOURCES {
        part("text", text);
    }
    for meta in CATALOGUE {
        let row = (meta.id, meta.name, meta.class, meta.evidence, meta.art, meta.phy, meta.tam, meta.rest);
        part("check", &format!("{row:?}"));
    }
    // Debug output of plain numbers and words: the same on every machine.
    part("thresholds", &format!("{:?}", monitor_settings.checks));
    part("episodes", &format!("{:?}", monitor_settings.episodes));
    part("models", &monitor_settings.models.digest());
    part("population", &format!("{population:?}"));
    part("profiles", &format!("{shelf:?} {:?}", monitor_settings.profiles));
    if monitor_settings.muted != 0 {
        part("muted", &format!("{:x}", monitor_settings.muted));
    }
    hex(&hash.finalize())
}

/// What a snapshot must have been written under.
fn key(model: &str, settings: &Settings) -> String {
    let mut hash = Sha256::new();
    hash.update(model.as_bytes());
    let decides =
        (&settings.site, &settings.zone, &settings.beds, &settings.senders, &settings.devices, settings.publish_comments);
    hash.update(format!("{decides:?}").as_bytes());
    hash.update(format!("{:?}", settings.compare).as_bytes());
    hash.update(&settings.site_key);
    hex(&hash.finalize())
}

impl Monitor {
    /// Everything that later answers depend on. Take it between an input's last output and the next input.
    pub fn snapshot(&self) -> Vec<u8> {
        let snapshot = Snapshot {
            layout: LAYOUT,
            key: key(&self.house.model, &self.house.settings).into(),
            now: self.now,
            started: self.started,
            decoder: Cow::Borrowed(self.decoder.state()),
            cells: Cow::Borrowed(&self.cells),
            wards: Cow::Borrowed(&self.wards),
            fleet: Cow::Borrowed(&self.fleet),
            aside: Cow::Borrowed(&self.aside),
            feeds: Cow::Borrowed(&self.feeds),
            inventory: Cow::Borrowed(&self.inventory),
            answered: Cow::Borrowed(&self.answered),
            past: Cow::Borrowed(&self.past),
            hosts: Cow::Borrowed(&self.hosts),
            registry: Cow::Borrowed(&self.registry),
            clocks: Cow::Borrowed(&self.clocks),
            clock_notice: Cow::Borrowed(&self.clock_notice),
            wider: Cow::Borrowed(&self.wider),
            wider_place: self.wider_place,
        };
        postcard::to_stdvec(&snapshot).expect("plain data in memory is written")
    }

    /// As [`snapshot`](Self::snapshot), of one bed alone, to be restored under `settings`: every other bed is empty, and nothing
    /// is in it of patients, connections, other devices, answers, or of several beds together. Identities are hashes.
    pub fn snapshot_apart(&self, ward: &str, bed: &str, settings: &Settings) -> Vec<u8> {
        let house = Monitor::new(settings.clone()).house;
        let number = self.bed_id(ward, bed).map(|id| id.0);
        let data = super::inventory::data_key(&house.settings.devices, &house.settings.advisories);
        let cells = (0..).zip(&self.cells).map(|(at, cell)| match Some(at) == number {
            true => cell.nameless(),
            false => Cell::new(&cell.bed.ward, &cell.bed.bed, cell.reserved, Timestamp::MIN),
        });
        let snapshot = Snapshot {
            layout: LAYOUT,
            key: key(&house.model, &house.settings).into(),
            now: self.now,
            started: self.started,
            decoder: Cow::default(),
            cells: cells.collect::<Vec<_>>().into(),
            wards: Cow::Borrowed(&self.wards),
            fleet: Cow::default(),
            aside: Cow::default(),
            feeds: Cow::default(),
            inventory: Cow::Owned(self.inventory.apart(number.unwrap_or(u32::MAX), data)),
            answered: Cow::default(),
            past: Cow::default(),
            hosts: Cow::Borrowed(&[]),
            registry: Cow::default(),
            clocks: Cow::Borrowed(&self.clocks),
            clock_notice: Cow::Borrowed(&self.clock_notice),
            wider: Cow::default(),
            wider_place: None,
        };
        postcard::to_stdvec(&snapshot).expect("plain data in memory is written")
    }

    /// A monitor as [`Monitor::snapshot`] saw it. Refused where other checks, tables or settings decide now.
    pub fn restore(settings: Settings, snapshot: &[u8]) -> Result<Monitor, RestoreError> {
        let mut monitor = Monitor::new(settings);
        monitor.rewind(snapshot)?;
        Ok(monitor)
    }

    /// Goes back to (or on to) what a snapshot saw, under the present settings; what was not polled yet is dropped.
    pub fn rewind(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let monitor = self;
        let unreadable = |error: postcard::Error| RestoreError::Unreadable(error.to_string());
        let (layout, rest): (u32, _) = postcard::take_from_bytes(snapshot).map_err(unreadable)?;
        if layout != LAYOUT {
            return Err(RestoreError::Unreadable(format!("layout {layout}, this version writes {LAYOUT}")));
        }
        let (found, _): (Cow<'_, str>, _) = postcard::take_from_bytes(rest).map_err(unreadable)?;
        let expected = key(&monitor.house.model, &monitor.house.settings);
        if found != expected {
            return Err(RestoreError::OtherModel { found: found.into_owned(), expected });
        }
        let s: Snapshot<'_> = postcard::from_bytes(snapshot).map_err(unreadable)?;
        monitor.now = s.now;
        monitor.started = s.started;
        monitor.decoder.restore(s.decoder.into_owned());
        monitor.cells = s.cells.into_owned();
        monitor.wards = s.wards.into_owned();
        monitor.fleet = s.fleet.into_owned();
        monitor.aside = s.aside.into_owned();
        monitor.feeds = s.feeds.into_owned();
        monitor.inventory = s.inventory.into_owned();
        monitor.answered = s.answered.into_owned();
        monitor.past = s.past.into_owned();
        monitor.hosts = s.hosts.into_owned();
        monitor.registry = s.registry.into_owned();
        monitor.clocks = s.clocks.into_owned();
        monitor.clock_notice = s.clock_notice.into_owned();
        monitor.wider = s.wider.into_owned();
        monitor.wider_place = s.wider_place;
        monitor.rebuild();
        monitor.outputs.clear();
        monitor.events.clear();
        Ok(())
    }
}
