//! The inventory at work: what a message says of its devices, the events and the advisory alert (N01) that follow.

use super::inventory::{DEVICES_MAX, DeviceInfo, Entry, data_key, entry_print, view_info};
use super::*;
use crate::advisory::{Advisories, Level, Status};
use crate::alert::AdvisoryRef;
use crate::observation::TimeSource;

/// A device has moved when its bed has not heard it for so long, seconds, or for five of the bed's periods.
const HOME_S: f64 = 60.0;
/// Advisories that one sentence names.
const NAMED_MAX: usize = 3;
/// Our own test message: no device of the site.
const OWN: &str = "VITALGUARD-DOCTOR";

impl Monitor {
    /// A message was heard, at a bed or at none: every device that it names is noted.
    pub(super) fn heard(&mut self, number: Option<u32>, report: &Report, sender: &Arc<str>, peer: &Arc<str>, at: Timestamp) {
        if report.application == OWN || report.application.starts_with("VITALGUARD-DOCTOR^") {
            return;
        }
        let skew_ms = report.sent_at.map(|sent| sent.since_ms(at));
        self.heard_one(number, report, 0, sender, peer, skew_ms, at);
        if report.devices.len() < 2 {
            return;
        }
        // The clock of a device behind a gateway shows in the times of its own values.
        let mut newest: smallvec::SmallVec<[Timestamp; 8]> = smallvec::smallvec![Timestamp::MIN; report.devices.len()];
        for o in &report.observations {
            if o.time_source == TimeSource::Obx14
                && let Some(newest) = newest.get_mut(usize::from(o.device))
            {
                *newest = o.effective_at.max(*newest);
            }
        }
        for index in 1..report.devices.len() {
            let id = self.further_device(report, index);
            let skew_ms = (newest[index] > Timestamp::MIN).then(|| newest[index].since_ms(at));
            self.heard_one(number, report, index, &id, peer, skew_ms, at);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn heard_one(
        &mut self,
        number: Option<u32>,
        report: &Report,
        index: usize,
        id: &str,
        peer: &str,
        skew_ms: Option<i64>,
        at: Timestamp,
    ) {
        let (place, new) = match self.inventory.find(id) {
            Some(place) => (place, false),
            None => {
                let key = report.devices.get(index).map_or("", |d| d.key.as_str());
                let entry = Entry::new(id, key, &self.house.settings.devices, at);
                let (data, site) = (Arc::clone(&self.house.settings.advisories), self.site_bed());
                let (place, lost) = self.inventory.add(entry, &data, site);
                for bed in lost {
                    self.advise(bed, at);
                }
                (place, true)
            }
        };
        let entry = &mut self.inventory.entries[place];
        entry.count(peer, at);
        if let Some(ms) = skew_ms {
            entry.note_skew(ms);
        }
        let entry = &mut self.inventory.entries[place];
        let mut moved = None;
        if let Some(number) = number {
            if entry.bed == Some(number) {
                entry.home_at = at;
            } else {
                entry.note_bed(number);
                moved = self.is_moved(place, number, at).then_some(number);
            }
        }
        let entry = &mut self.inventory.entries[place];
        let learned = !entry.has_seen(entry_print(report, index)) && entry.learn(report, index);
        if let Some(number) = moved {
            self.move_to(place, number, new, at);
        }
        if new {
            self.say_device(place, DeviceEventKind::New, None, None, at);
        }
        if learned || (new && self.inventory.entries[place].site.is_some()) {
            self.look_up(place, at);
        }
        // A patient's leaving closes everything at the bed; the device is still there.
        if let Some(number) = number
            && self.inventory.at_place(number).binary_search(&(place as u32)).is_ok()
            && self.advisory.is_some_and(|check| self.cells[number as usize].findings.row(check).is_none())
        {
            self.advise(number, at);
        }
    }

    /// One gateway speaks for many beds: a device moves only when its bed hears it no more.
    fn is_moved(&self, place: usize, number: u32, at: Timestamp) -> bool {
        let entry = &self.inventory.entries[place];
        let Some(home) = entry.bed.filter(|home| *home != number) else { return entry.bed.is_none() };
        let away_s = at.since_s(entry.home_at);
        away_s > HOME_S && away_s > self.cells[home as usize].bed.delta_s().map_or(HOME_S, |delta| 5.0 * delta)
    }

    fn move_to(&mut self, place: usize, number: u32, new: bool, at: Timestamp) {
        let (data, site) = (Arc::clone(&self.house.settings.advisories), self.site_bed());
        let left = self.inventory.unhang(place, &data, site);
        let entry = &mut self.inventory.entries[place];
        let from = entry.bed.replace(number);
        entry.home_at = at;
        self.inventory.hang(place, &data, site);
        if !new {
            let name = |bed: u32| self.cells.get(bed as usize).map(|cell| format!("{}/{}", cell.bed.ward, cell.bed.bed));
            let (from, to) = (from.and_then(name), name(number));
            self.say_device(place, DeviceEventKind::Moved, None, Some((from, to)), at);
        }
        let here = self.inventory.entries[place].places(&data, site);
        for bed in left.into_iter().chain(here) {
            self.advise(bed, at);
        }
    }

    /// A device declares something new: which advisories name it?
    fn look_up(&mut self, place: usize, at: Timestamp) {
        let data = Arc::clone(&self.house.settings.advisories);
        let site = self.site_bed();
        let left = self.inventory.unhang(place, &data, site);
        let news = self.inventory.entries[place].rematch(&data);
        // What speaks for many beds is told at the installation, which then needs its bed.
        let elsewhere = |held: &_| self.inventory.entries[place].place_of(held, &data, None).is_none();
        let site = match site {
            None if self.inventory.entries[place].open().any(elsewhere) => Some(self.reserved(SITE, SITE, at)),
            site => site,
        };
        self.inventory.hang(place, &data, site);
        for held in news {
            self.say_device(place, DeviceEventKind::Advisory, Some(held), None, at);
        }
        let here = self.inventory.entries[place].places(&data, site);
        for bed in left.into_iter().chain(here) {
            self.advise(bed, at);
        }
    }

    fn site_bed(&self) -> Option<u32> {
        self.by_slug.get(&place::key(SITE, SITE)).copied()
    }

    /// Brings the advisory alert of a bed up to date: the surest match of what stands there, low until a person has taken note.
    fn advise(&mut self, number: u32, at: Timestamp) {
        let Some(check) = self.advisory else { return };
        let (data, site) = (Arc::clone(&self.house.settings.advisories), self.site_bed());
        let mut best: Option<(Level, bool, usize)> = None;
        let (mut ids, mut unseen, mut devices) = (Vec::new(), false, 0u32);
        for place in self.inventory.at_place(number) {
            let place = *place as usize;
            let entry = &self.inventory.entries[place];
            let mut level = None;
            for held in entry.open().filter(|held| entry.place_of(held, &data, site) == Some(number)) {
                unseen |= !held.seen;
                level = level.min(Some((held.found.level, held.seen))).or(Some((held.found.level, held.seen)));
            }
            let Some((level, seen)) = level else { continue };
            devices += 1;
            if best.is_none_or(|(known, known_seen, _)| (level, seen) < (known, known_seen)) {
                best = Some((level, seen, place));
            }
        }
        let Some((level, _, place)) = best else {
            if self.cells[number as usize].findings.row(check).is_some_and(crate::fusion::Finding::holds) {
                self.inject_pass(number, check, at);
            }
            return;
        };
        let entry = &self.inventory.entries[place];
        let mut words = String::new();
        for held in entry.open().filter(|held| held.found.level == level && entry.place_of(held, &data, site) == Some(number)) {
            if words.is_empty() {
                words.clone_from(&held.found.words);
            }
            ids.push(held.advisory.as_str());
        }
        let more = ids.len() > NAMED_MAX;
        ids.truncate(NAMED_MAX);
        let named = format!("{}{}", ids.join(", "), if more { ", …" } else { "" });
        let verdict = Verdict {
            assessment: Some(Assessment::Advisory),
            priority: Some(if unseen { Priority::Low } else { Priority::Info }),
            value: Some(f64::from(devices)),
            unit: "{devices}",
            text: level.as_str(),
            args: [
                ("words", Arg::Text(words)),
                ("advisory", Arg::Text(named)),
                ("device", Arg::Text(entry.id.clone())),
                ("date", Arg::Text(data.data_date().to_owned())),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(check, ParamSet::EMPTY, at)
        };
        self.inject(number, verdict, at);
    }

    /// A person has taken note of the advisory alert of a bed: from now on it is information.
    pub(super) fn advisories_seen(&mut self, number: u32) {
        let Some(check) = self.advisory else { return };
        let (data, site) = (Arc::clone(&self.house.settings.advisories), self.site_bed());
        for place in self.inventory.at_place(number).to_vec() {
            let entry = &mut self.inventory.entries[place as usize];
            let here: Vec<bool> = entry.matches.iter().map(|held| entry.place_of(held, &data, site) == Some(number)).collect();
            for (held, here) in entry.matches.iter_mut().zip(here) {
                held.seen |= here;
            }
        }
        if let Some(row) = self.cells[number as usize].findings.rows.iter_mut().find(|row| row.check == check) {
            row.priority = Some(Priority::Info);
        }
    }

    /// What the site has done about an advisory; false: no such device, or no such advisory on it.
    pub(super) fn set_advisory(&mut self, device: &str, advisory: &str, status: Status, at: Timestamp) -> bool {
        let Some(place) = self.inventory.find(device) else { return false };
        let (data, site) = (Arc::clone(&self.house.settings.advisories), self.site_bed());
        let entry = &mut self.inventory.entries[place];
        if !entry.matches.iter().any(|held| held.advisory == advisory) {
            return false;
        }
        let left = self.inventory.unhang(place, &data, site);
        for held in self.inventory.entries[place].matches.iter_mut().filter(|held| held.advisory == advisory) {
            held.status = status;
        }
        self.inventory.hang(place, &data, site);
        let here = self.inventory.entries[place].places(&data, site);
        for bed in left.into_iter().chain(here) {
            self.advise(bed, at);
        }
        true
    }

    /// Other advisory data decide than before: every device is looked up again.
    pub(super) fn renew_advisories(&mut self, at: Timestamp) {
        let days = self.house.settings.checks.advisories_old.age_days.min(self.house.settings.advisories.warn_after_days());
        if self.condition_holds("S06")
            && self.house.settings.advisories.old_at(days) > at
            && let (Some(check), Some(number)) = (CheckId::from_id("S06"), self.site_bed())
        {
            self.inject_pass(number, check, at);
            self.plan_old_data();
        }
        let key = data_key(&self.house.settings.devices, &self.house.settings.advisories);
        if self.inventory.data == key {
            return;
        }
        self.inventory.data = key;
        for place in 0..self.inventory.entries.len() {
            self.look_up(place, at);
        }
    }

    pub(super) fn say_device(
        &mut self,
        place: usize,
        event: DeviceEventKind,
        held: Option<usize>,
        change: Option<(Option<String>, Option<String>)>,
        at: Timestamp,
    ) {
        let said = self.inventory.may_say(at);
        let data = Arc::clone(&self.house.settings.advisories);
        let entry = &mut self.inventory.entries[place];
        let mut named = None;
        if let Some(held) = held.and_then(|held| entry.matches.get_mut(held)) {
            held.told = Some(held.found.level);
            named = data.of(&held.found).map(|advisory| {
                let shown = AdvisoryRef {
                    id: advisory.id.clone(),
                    title: advisory.title.clone(),
                    published: advisory.date.clone(),
                    status: held.status,
                };
                (held.found.level, shown)
            });
        }
        if !said {
            return;
        }
        let assigned = entry.bed.and_then(|bed| self.cells.get(bed as usize)).filter(|cell| !cell.reserved);
        let (from, to) = change.unwrap_or_default();
        let (matched, advisory) = named.unzip();
        self.outputs.push_back(Output::Device(Box::new(DeviceEvent {
            ts: at,
            device: entry.id.clone(),
            event,
            ward: assigned.map(|cell| cell.bed.ward.clone()),
            bed: assigned.map(|cell| cell.bed.bed.clone()),
            model: entry.model(),
            matched,
            first_seen: entry.first_seen,
            last_seen: at,
            advisory,
            from,
            to,
        })));
    }

    /// Every device heard, in the order first heard.
    pub fn devices(&self, identified: bool) -> Vec<DeviceInfo> {
        self.inventory.entries.iter().map(|entry| self.device_info(entry, identified)).collect()
    }

    /// One device by its published hash.
    pub fn device(&self, id: &str, identified: bool) -> Option<DeviceInfo> {
        self.inventory.find(id).map(|place| self.device_info(&self.inventory.entries[place], identified))
    }

    fn device_info(&self, entry: &Entry, identified: bool) -> DeviceInfo {
        let place = |bed: u32| self.cells.get(bed as usize).map(|cell| (cell.bed.ward.as_str(), cell.bed.bed.as_str()));
        view_info(entry, &self.house.settings.advisories, &place, identified, self.now)
    }

    /// Devices known, at most, forgotten at the bound, and events that were not said.
    pub fn device_counts(&self) -> (usize, usize, u64, u64) {
        (self.inventory.entries.len(), DEVICES_MAX, self.inventory.forgotten, self.inventory.events_held)
    }

    /// The advisories that decide.
    pub fn advisories(&self) -> &Advisories {
        &self.house.settings.advisories
    }

    /// The device of a bed's document: open advisories on what stands there, and the model as declared.
    pub(super) fn device_of(&self, number: u32, device: &str) -> Option<crate::alert::DeviceRef> {
        if device.is_empty() {
            return None;
        }
        let own = self.inventory.find(device);
        let mut ids: Vec<&str> = Vec::new();
        let others = self.inventory.at_place(number).iter().map(|place| *place as usize);
        for place in own.into_iter().chain(others) {
            for held in self.inventory.entries[place].open() {
                if !ids.contains(&held.advisory.as_str()) {
                    ids.push(&held.advisory);
                }
            }
        }
        let model = own.and_then(|place| self.inventory.entries[place].model());
        Some(crate::alert::DeviceRef { id: device.to_owned(), advisories: ids.len() as u32, model })
    }

    /// When the advisory data will be old.
    pub(super) fn plan_old_data(&mut self) {
        let data = &self.house.settings.advisories;
        let days = self.house.settings.checks.advisories_old.age_days.min(data.warn_after_days());
        self.data_old_at = if self.condition_holds("S06") { Timestamp::MAX } else { data.old_at(days) };
    }

    /// The advisory data are old, from their own day on or from our first input.
    pub(super) fn say_old_data(&mut self) {
        let at = self.data_old_at.max(self.now);
        self.now = at;
        self.data_old_at = Timestamp::MAX;
        let Some(check) = CheckId::from_id("S06") else { return };
        let number = self.reserved(SITE, SITE, at);
        let data = &self.house.settings.advisories;
        let args = [("date", Arg::Text(data.data_date().to_owned())), ("d", Arg::Number(data.age_days(at), 0))];
        let days = self.house.settings.checks.advisories_old.age_days.min(data.warn_after_days());
        let verdict = Verdict {
            value: Some(data.age_days(at)),
            limit: Some(days),
            unit: "d",
            args: args.into_iter().collect(),
            ..Verdict::new(check, ParamSet::EMPTY, at)
        };
        self.inject(number, verdict, at);
    }

    /// Whether a condition of the installation stands.
    fn condition_holds(&self, check: &str) -> bool {
        let (Some(check), Some(number)) = (CheckId::from_id(check), self.site_bed()) else { return false };
        self.cells[number as usize].findings.row(check).is_some_and(crate::fusion::Finding::holds)
    }
}
