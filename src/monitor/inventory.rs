//! Every device that was heard: what it declared, where, how often, and which advisories its words name.
//!
//! One contract: a message of a known device that says nothing new costs a look-up and some counters; patterns are matched only
//! when a declared text is new. What is kept is cleaned and bounded: a hostile sender can fill the inventory, not the memory.
//!
//! Bounds: [`DEVICES_MAX`] devices. At the bound the [`FORGET`] ones are forgotten that matter least (without an advisory, not
//! of the site's own list, heard least, longest silent), and counted; one that comes back is new again. Of one device 8 texts, 4
//! versions, 4 peers, 16 beds and 24 advisories are kept; more are counted or flagged.

mod entry;
mod view;

pub use view::{AdvisoryInfo, DeclaredText, DeviceInfo, Identified};

use crate::advisory::Advisories;
use crate::config::Devices;
use crate::time::Timestamp;
pub(super) use entry::{Entry, print as entry_print};
use rustc_hash::{FxHashMap, FxHasher};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::Hasher;
pub(super) use view::info as view_info;

/// Devices remembered at most.
pub const DEVICES_MAX: usize = 65_536;
/// Forgotten together when it is full: one sort for so many new ones.
const FORGET: usize = DEVICES_MAX / 16;
/// Devices with an advisory that one alert looks at, at most; further ones stand in the inventory only.
const HUNG_MAX: usize = 64;
/// Events of devices at once, and one more each second: a flood of invented devices must not push alerts out of the outbox.
const EVENTS_BURST: f64 = 4096.0;

/// The advisory data and the site's own list, as one text: where it is another than before, every device is looked up again.
pub(super) fn data_key(devices: &Devices, data: &Advisories) -> String {
    let mut hasher = FxHasher::default();
    hasher.write(format!("{:?}", devices.device).as_bytes());
    format!("{} {:016x}", data.hash(), hasher.finish())
}

/// Everything heard, by its published hash.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub entries: Vec<Entry>,
    /// Devices that were forgotten at the bound.
    pub forgotten: u64,
    /// Events that were not said, because there were too many.
    pub events_held: u64,
    budget: f64,
    budget_at: Timestamp,
    /// Tells apart what the matches were made with ([`data_key`]).
    pub data: String,
    // What follows is made anew from the above.
    #[serde(skip)]
    by_id: FxHashMap<String, u32>,
    /// Bed of an advisory alert to the devices that it is about.
    #[serde(skip)]
    hung: BTreeMap<u32, Vec<u32>>,
}

impl Inventory {
    pub fn new(devices: &Devices, data: &Advisories) -> Inventory {
        let data = data_key(devices, data);
        Inventory { budget: EVENTS_BURST, budget_at: Timestamp::MIN, data, ..Inventory::default() }
    }

    /// What is made from the entries. `site` is the bed of the installation, where it is open.
    pub fn rebuild(&mut self, devices: &Devices, data: &Advisories, site: Option<u32>) {
        self.by_id.clear();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            self.by_id.insert(entry.id.clone(), at as u32);
            entry.place_in(devices);
        }
        self.hang_all(data, site);
    }

    pub fn hang_all(&mut self, data: &Advisories, site: Option<u32>) {
        self.hung.clear();
        for at in 0..self.entries.len() {
            self.hang(at, data, site);
        }
    }

    /// What is known of the devices of one bed, without their own names. `data`: what it is to be looked up with ([`data_key`]).
    pub fn apart(&self, bed: u32, data: String) -> Inventory {
        let mut entries: Vec<Entry> = self.entries.iter().filter(|entry| entry.bed == Some(bed)).cloned().collect();
        entries.iter_mut().for_each(Entry::hide_names);
        Inventory {
            entries,
            forgotten: 0,
            events_held: 0,
            budget: self.budget,
            budget_at: self.budget_at,
            data,
            by_id: FxHashMap::default(),
            hung: BTreeMap::new(),
        }
    }

    pub fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|at| *at as usize)
    }

    /// A device that was not known. At the bound others are forgotten first; the beds of their alerts are given back.
    pub fn add(&mut self, entry: Entry, data: &Advisories, site: Option<u32>) -> (usize, Vec<u32>) {
        let mut lost = Vec::new();
        if self.entries.len() >= DEVICES_MAX {
            lost = self.forget(data, site);
        }
        let at = self.entries.len();
        self.by_id.insert(entry.id.clone(), at as u32);
        self.entries.push(entry);
        (at, lost)
    }

    fn forget(&mut self, data: &Advisories, site: Option<u32>) -> Vec<u32> {
        let before: Vec<u32> = self.hung.keys().copied().collect();
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_unstable_by(|a, b| self.entries[*a].worth().cmp(&self.entries[*b].worth()));
        let mut gone = vec![false; self.entries.len()];
        for at in &order[..FORGET.min(order.len())] {
            gone[*at] = true;
        }
        let mut gone = gone.into_iter();
        self.entries.retain(|_| !gone.next().unwrap_or(false));
        self.forgotten += FORGET as u64;
        self.by_id.clear();
        for (at, entry) in self.entries.iter().enumerate() {
            self.by_id.insert(entry.id.clone(), at as u32);
        }
        self.hang_all(data, site);
        before
    }

    /// Where the advisories of a device raise an alert.
    pub fn hang(&mut self, at: usize, data: &Advisories, site: Option<u32>) {
        for place in self.entries[at].places(data, site) {
            // In the order of the entries, so that a restored inventory has the same lists.
            let list = self.hung.entry(place).or_default();
            if let Err(position) = list.binary_search(&(at as u32)) {
                list.insert(position, at as u32);
            }
        }
    }

    /// Takes it from where it was; the places are given back.
    pub fn unhang(&mut self, at: usize, data: &Advisories, site: Option<u32>) -> Vec<u32> {
        let places = self.entries[at].places(data, site);
        for place in &places {
            if let Some(list) = self.hung.get_mut(place)
                && let Ok(position) = list.binary_search(&(at as u32))
            {
                list.remove(position);
            }
        }
        places
    }

    /// The devices that the advisory alert of a bed is about, the first [`HUNG_MAX`].
    pub fn at_place(&self, place: u32) -> &[u32] {
        self.hung.get(&place).map_or(&[], |list| &list[..list.len().min(HUNG_MAX)])
    }

    /// Whether one more event may be said now.
    pub fn may_say(&mut self, at: Timestamp) -> bool {
        if self.budget_at > Timestamp::MIN {
            self.budget = (self.budget + at.since_s(self.budget_at).max(0.0)).min(EVENTS_BURST);
        }
        self.budget_at = at;
        if self.budget < 1.0 {
            self.events_held += 1;
            return false;
        }
        self.budget -= 1.0;
        true
    }
}
