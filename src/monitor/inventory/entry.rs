//! One device: counters, what it declared, and what that matches.

use crate::advisory::{Advisories, Field, Input, Level, Match, Status, clean, masked, normalised};
use crate::config::{DeviceEntry, DeviceState, Devices};
use crate::observation::Report;
use crate::time::Timestamp;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::hash::Hasher;

const TEXTS_MAX: usize = 8;
const VERSIONS_MAX: usize = 4;
const PEERS_MAX: usize = 4;
const BEDS_MAX: usize = 16;
const MATCHES_MAX: usize = 24;
/// Bytes of a device's own key.
const KEY_BYTES_MAX: usize = 64;
/// Sets of declared texts whose look is remembered: kinds of messages that a device takes turns with.
const PRINTS: usize = 8;
/// Samples of the clock's skew.
const SKEWS: usize = 9;
/// A rate is counted over so long, seconds.
const WINDOW_S: f64 = 60.0;

/// One text as declared, cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub field: Field,
    pub text: String,
    /// Said of the device itself, not of the gateway that speaks for it.
    pub own: bool,
}

/// A match and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub found: Match,
    /// The entry's id: positions change with the data.
    pub advisory: String,
    pub status: Status,
    /// A person has taken note of the alert.
    pub seen: bool,
    /// The event was said at this level.
    pub told: Option<Level>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// `dev-…`.
    pub id: String,
    /// EUI-64, MAC or address as its messages name it; never published.
    pub key: String,
    pub texts: Vec<Text>,
    pub texts_more: u32,
    declared: String,
    prints: [u64; PRINTS],
    print_next: u8,
    pub versions: Vec<String>,
    /// The bed that it belongs to, and when it was last heard there.
    pub bed: Option<u32>,
    pub home_at: Timestamp,
    pub beds: Vec<u32>,
    pub beds_more: bool,
    pub peers: Vec<String>,
    pub peers_more: bool,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub messages: u64,
    window_at: Timestamp,
    window: u32,
    rate_per_s: f32,
    skews_ms: [i32; SKEWS],
    skews: u32,
    pub matches: Vec<Held>,
    /// What the site says of it.
    #[serde(skip)]
    pub site: Option<SiteWord>,
}

/// The site's own word of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteWord {
    pub state: DeviceState,
    words: Vec<String>,
    version: Option<String>,
}

impl SiteWord {
    fn of(entry: &DeviceEntry) -> SiteWord {
        let words = [&entry.vendor, &entry.model].into_iter().flatten().map(|text| clean(text)).collect();
        SiteWord { state: entry.state, words, version: entry.version.as_deref().map(clean) }
    }
}

/// Whether a device's key may be the name of its product, as some senders have it: three letters in a row that no hexadecimal
/// number has all of. A serial number or a hardware address is not looked at.
fn may_name_a_product(key: &str) -> bool {
    key.split(|c: char| !c.is_ascii_alphabetic()).any(|run| run.len() >= 3 && run.bytes().any(|b| !b.is_ascii_hexdigit()))
}

impl Entry {
    pub fn new(id: &str, key: &str, devices: &Devices, at: Timestamp) -> Entry {
        let mut end = key.len().min(KEY_BYTES_MAX);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        let mut entry = Entry {
            id: id.to_owned(),
            key: key[..end].to_owned(),
            texts: Vec::new(),
            texts_more: 0,
            declared: String::new(),
            prints: [0; PRINTS],
            print_next: 0,
            versions: Vec::new(),
            bed: None,
            home_at: Timestamp::MIN,
            beds: Vec::new(),
            beds_more: false,
            peers: Vec::new(),
            peers_more: false,
            first_seen: at,
            last_seen: at,
            messages: 0,
            window_at: at,
            window: 0,
            rate_per_s: 0.0,
            skews_ms: [0; SKEWS],
            skews: 0,
            matches: Vec::new(),
            site: None,
        };
        entry.place_in(devices);
        entry
    }

    /// Looks the device up in the site's own list.
    pub fn place_in(&mut self, devices: &Devices) {
        self.site = devices.entry(&self.key, &self.id).map(SiteWord::of);
    }

    /// Its words as they may be published, and no name of its own.
    pub fn hide_names(&mut self) {
        for text in &mut self.texts {
            text.text = masked(&text.text.replace('^', " "), &self.key);
        }
        self.declared = masked(&self.declared.replace('^', " "), &self.key);
        self.key.clear();
    }

    /// What is forgotten first has the least of it.
    pub fn worth(&self) -> (bool, bool, bool, Timestamp, &str) {
        let advised = self.matches.iter().any(|m| m.found.level != Level::Vendor);
        (advised, self.site.is_some(), self.messages >= 100, self.last_seen, &self.id)
    }

    /// A message of it was heard.
    pub fn count(&mut self, peer: &str, at: Timestamp) {
        self.messages += 1;
        self.last_seen = at;
        let passed_s = at.since_s(self.window_at);
        if passed_s >= WINDOW_S {
            self.rate_per_s = (f64::from(self.window) / passed_s) as f32;
            self.window_at = at;
            self.window = 0;
        }
        self.window = self.window.saturating_add(1);
        if !self.peers.iter().any(|known| known == peer) {
            if self.peers.len() < PEERS_MAX {
                self.peers.push(peer.to_owned());
            } else {
                self.peers_more = true;
            }
        }
    }

    /// Messages a second, of the last minute that was counted.
    pub fn rate_per_s(&self, now: Timestamp) -> f64 {
        let silent_s = now.since_s(self.last_seen);
        let passed_s = self.last_seen.since_s(self.window_at);
        match () {
            () if silent_s > 2.0 * WINDOW_S => 0.0,
            () if self.rate_per_s > 0.0 => f64::from(self.rate_per_s),
            () if passed_s > 0.0 => f64::from(self.window.saturating_sub(1)) / passed_s,
            () => 0.0,
        }
    }

    /// Its own time minus ours, ms.
    pub fn note_skew(&mut self, ms: i64) {
        let ms = ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        self.skews_ms[self.skews as usize % SKEWS] = ms;
        self.skews = self.skews.checked_add(1).unwrap_or(SKEWS as u32);
    }

    /// Median of the last samples; none of a device that has said too little.
    pub fn skew_ms(&self) -> Option<i64> {
        if (self.skews as usize) < SKEWS {
            return None;
        }
        let mut sorted = self.skews_ms;
        sorted.sort_unstable();
        Some(i64::from(sorted[SKEWS / 2]))
    }
    pub fn note_bed(&mut self, bed: u32) {
        if self.beds.contains(&bed) {
            return;
        }
        if self.beds.len() < BEDS_MAX {
            self.beds.push(bed);
        } else {
            self.beds_more = true;
        }
    }

    /// Whether what a message declares of this device was seen before; it counts as seen from now on.
    pub fn has_seen(&mut self, print: u64) -> bool {
        if self.prints.contains(&print) {
            return true;
        }
        self.prints[self.print_next as usize % PRINTS] = print;
        self.print_next = (self.print_next + 1) % PRINTS as u8;
        false
    }

    /// Keeps what is new of a message's texts; whether anything was.
    pub fn learn(&mut self, report: &Report, index: usize) -> bool {
        let Some(device) = report.devices.get(index) else { return false };
        let own = index == 0;
        let before = (self.texts.len(), self.versions.len());
        self.keep(Field::Msh3, &report.application, own);
        self.keep(Field::Msh4, &report.facility, own);
        for line in device.names.lines() {
            // The parts of the header stand there once more.
            if !(own && (report.application.contains(line) || report.facility.contains(line))) {
                self.keep(Field::Device, line, true);
                self.keep_version(line);
            }
        }
        for line in report.software.lines() {
            self.keep(Field::Sft, line, own);
            if own {
                self.keep_version(line);
            }
        }
        if own {
            self.keep_version(&report.application);
        }
        if self.declared.is_empty() {
            self.declared = clean(&device.declared);
        }
        before != (self.texts.len(), self.versions.len())
    }

    fn keep(&mut self, field: Field, text: &str, own: bool) {
        let is_key = !self.key.is_empty() && text.trim().eq_ignore_ascii_case(&self.key);
        if text.trim().is_empty() || (is_key && !may_name_a_product(&self.key)) {
            return;
        }
        let text = clean(text);
        if text.is_empty() || self.texts.iter().any(|known| known.field == field && known.text == text) {
            return;
        }
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(Text { field, text, own });
        } else {
            self.texts_more = self.texts_more.saturating_add(1);
        }
    }

    /// Words that look like a version: digits and dots, no address and no object identifier.
    fn keep_version(&mut self, text: &str) {
        let words = text.split([' ', '^', '&', ',', ';', '(', ')']);
        for word in words.filter(|w| (3..=24).contains(&w.len())).take(16) {
            let bare = word.strip_prefix(['v', 'V']).unwrap_or(word);
            let dots = bare.bytes().filter(|b| *b == b'.').count();
            let shape = bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) && (1..=4).contains(&dots);
            let begins = bare.starts_with(|c: char| c.is_ascii_digit()) || bare.get(1..2) == Some(".");
            let numbers = bare.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
            let other = (dots == 3 && numbers) || ["1.3.6", "2.16", "1.2.8"].iter().any(|oid| bare.starts_with(oid));
            if shape && begins && !other && !self.versions.iter().any(|known| known == bare) && self.versions.len() < VERSIONS_MAX
            {
                self.versions.push(bare.to_owned());
            }
        }
    }

    /// Looks every text up again; the advisories that are new, or surer than before.
    pub fn rematch(&mut self, data: &Advisories) -> Vec<usize> {
        let mut texts: Vec<(Field, String, bool)> = Vec::new();
        // What stands in one field belongs together, though it came as several components.
        for text in &self.texts {
            match texts.iter_mut().find(|(field, _, own)| *field == text.field && *own == text.own && text.field == Field::Device)
            {
                Some((_, all, _)) => {
                    all.push(' ');
                    all.push_str(&text.text);
                }
                None => texts.push((text.field, text.text.clone(), text.own)),
            }
        }
        if let Some(site) = &self.site {
            texts.extend(site.words.iter().map(|word| (Field::Site, word.clone(), true)));
        }
        for (_, text, _) in &mut texts {
            *text = normalised(text);
        }
        let inputs: Vec<Input<'_>> = texts.iter().map(|(field, text, own)| Input { field: *field, text, own: *own }).collect();
        let before = std::mem::take(&mut self.matches);
        let mut news = Vec::new();
        for found in data.matches(&inputs).into_iter().take(MATCHES_MAX) {
            let Some(advisory) = data.of(&found).map(|a| a.id.clone()) else { continue };
            let known = before.iter().find(|held| held.advisory == advisory);
            let (status, seen, told) = known.map_or((Status::Open, false, None), |held| (held.status, held.seen, held.told));
            if told.is_none_or(|told| found.level < told) && found.level != Level::Vendor {
                news.push(self.matches.len());
            }
            self.matches.push(Held { found, advisory, status, seen, told });
        }
        news
    }

    /// The beds that an advisory alert of it stands at.
    pub fn places(&self, data: &Advisories, site: Option<u32>) -> Vec<u32> {
        let mut list: Vec<u32> = Vec::new();
        for held in self.open() {
            if let Some(place) = self.place_of(held, data, site)
                && !list.contains(&place)
            {
                list.push(place);
            }
        }
        list
    }

    /// What stands at a bed is told there, what speaks for many beds at the installation.
    pub fn place_of(&self, held: &Held, data: &Advisories, site: Option<u32>) -> Option<u32> {
        let bedside = data.of(&held.found).is_some_and(crate::advisory::Advisory::at_the_bedside);
        self.bed.filter(|_| bedside).or(site)
    }

    /// Matches that count: exact or family, and not dealt with.
    pub fn open(&self) -> impl Iterator<Item = &Held> {
        self.matches.iter().filter(|held| held.found.level != Level::Vendor && held.status == Status::Open)
    }

    /// The model as declared, never proof: the words of an exact match, else what it calls itself, without serial numbers.
    pub fn model(&self) -> Option<String> {
        if let Some(exact) = self.matches.iter().find(|held| held.found.level == Level::Exact) {
            return Some(exact.found.words.clone());
        }
        let own = |field: Field| self.texts.iter().find(move |t| t.field == field && t.own).map(|t| t.text.as_str());
        let said = if self.declared.is_empty() { own(Field::Device).or_else(|| own(Field::Msh3))? } else { &self.declared };
        Some(masked(said, &self.key)).filter(|text| !text.trim_matches([' ', '#']).is_empty())
    }

    pub fn state(&self) -> DeviceState {
        self.site.as_ref().map_or(DeviceState::Service, |site| site.state)
    }

    /// Versions heard, then the one that the site has written down.
    pub fn all_versions(&self) -> Vec<String> {
        let site = self.site.as_ref().and_then(|site| site.version.clone());
        self.versions.iter().cloned().chain(site).collect()
    }
}

/// What a message declares of one of its devices, as one number.
pub fn print(report: &Report, index: usize) -> u64 {
    let mut hasher = FxHasher::default();
    let names = report.devices.get(index).map_or("", |d| d.names.as_str());
    let declared = report.devices.get(index).map_or("", |d| d.declared.as_str());
    for text in [report.application.as_str(), &report.facility, &report.software, names, declared] {
        hasher.write(text.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_may_be_a_products_name_and_a_serial_number_is_none() {
        for key in ["CMS8000", "sn-CMS8000-1", "IntelliVue"] {
            assert!(super::may_name_a_product(key), "{key}");
        }
        for key in ["00A037FFFE123456", "SN1234567", "FACE0ADD", "", "12-34", "AB12CD"] {
            assert!(!super::may_name_a_product(key), "{key}");
        }
    }
}
