//! Which bed a message belongs to: the configured map, else the place as heard, else the sender's own `_unassigned-…`.

use super::*;

impl Monitor {
    /// The configured places, folded: `POC^ROOM^BED` without trailing carets.
    pub(super) fn map_places(&mut self) {
        for entry in &self.house.settings.beds.bed {
            let Some(number) = self.by_slug.get(&place::key(&entry.ward, &entry.bed)).copied() else { continue };
            for from in &entry.from {
                self.places.insert(fold(from), number);
            }
        }
    }

    /// Opens a bed; its ward is opened with it.
    pub(super) fn open_bed(&mut self, ward: &str, bed: &str, reserved: bool, at: Timestamp) -> u32 {
        let key = place::key(ward, bed);
        if let Some(number) = self.by_slug.get(&key) {
            return *number;
        }
        let number = self.cells.len() as u32;
        // A ward is spelt as first heard.
        let folded = ward.to_ascii_lowercase();
        let position = match self.wards.iter().position(|w| w.name.to_ascii_lowercase() == folded) {
            Some(position) => position,
            None => {
                self.wards.push(Ward { name: ward.to_owned(), rev: 0, cells: Vec::new(), adt: (Timestamp::MIN, Timestamp::MIN) });
                self.wards.len() - 1
            }
        };
        self.wards[position].cells.push(number);
        let name = self.wards[position].name.clone();
        let mut cell = Cell::new(&name, bed, reserved, at);
        cell.ward_adt = self.wards[position].adt;
        self.cells.push(cell);
        self.by_slug.insert(key, number);
        number
    }

    /// A reserved bed, opened when it is needed.
    pub(super) fn reserved(&mut self, ward: &str, bed: &str, at: Timestamp) -> u32 {
        self.open_bed(ward, bed, true, at)
    }

    /// The open bed that a place is. What was looked up is remembered, and says the same whether it is or not: a restart forgets
    /// it without harm.
    pub(super) fn placed(&mut self, source: &Source, parts: [&str; 3]) -> Option<u32> {
        self.remembered(source, parts).or_else(|| {
            let number = *self.by_slug.get(&self.slug_key(source, parts)?)?;
            self.remember(number);
            Some(number)
        })
    }

    /// The bed that a place was found to be before. Leaves what it is compared by in `place_key`.
    fn remembered(&mut self, source: &Source, parts: [&str; 3]) -> Option<u32> {
        let key = &mut self.place_key;
        key.clear();
        for (n, part) in parts.iter().enumerate() {
            if n > 0 {
                key.push('^');
            }
            key.extend(part.trim().chars().map(|c| c.to_ascii_lowercase()));
        }
        let bare = key.trim_end_matches('^').len();
        key.truncate(bare);
        if let Some(number) = self.places.get(key.as_str()) {
            return Some(*number);
        }
        // Places without a point of care lie in the listener's ward: they are kept apart by it.
        key.push('\0');
        key.push_str(&source.ward);
        self.places.get(key.as_str()).copied()
    }

    /// The bed of a place as a message names it, opened where it is new; `None`: it names none, or none that may be opened.
    pub(super) fn locate(&mut self, source: &Source, parts: [&str; 3], at: Timestamp) -> Option<u32> {
        if let Some(number) = self.placed(source, parts) {
            return Some(number);
        }
        let (ward, bed) = self.slug(source, parts)?;
        if self.full() {
            return None;
        }
        let number = self.open_bed(&ward, &bed, false, at);
        self.bed_opened(number, &place::key(&ward, &bed));
        self.remember(number);
        Some(number)
    }

    /// Ward and bed of a place that the configured map does not have; `None`: it is none, or only the map decides.
    fn slug(&self, source: &Source, parts: [&str; 3]) -> Option<(String, String)> {
        if self.house.settings.beds.map == MapMode::Strict {
            return None;
        }
        let (ward, bed) = place::slug(parts[0], parts[1], parts[2])?;
        Some((if ward.is_empty() { source.ward.clone() } else { ward }, bed))
    }

    fn slug_key(&self, source: &Source, parts: [&str; 3]) -> Option<String> {
        self.slug(source, parts).map(|(ward, bed)| place::key(&ward, &bed))
    }

    /// The place in `place_key` is this bed.
    fn remember(&mut self, number: u32) {
        if self.places.len() < 4 * self.beds_max() as usize {
            self.places.insert(self.place_key.clone(), number);
        }
    }

    /// The bed that stands for a sender without a place.
    pub(super) fn unassigned(&mut self, device: &str, at: Timestamp) -> Option<u32> {
        let bed = format!("_unassigned-{device}");
        let known = self.by_slug.get(&place::key(SITE, &bed)).copied();
        match known {
            Some(number) => Some(number),
            None if self.full() => None,
            None => Some(self.reserved(SITE, &bed, at)),
        }
    }

    fn beds_max(&self) -> u32 {
        self.house.settings.beds.beds_max.unwrap_or(BEDS_MAX)
    }

    fn full(&self) -> bool {
        self.cells.len() >= self.beds_max() as usize
    }

    /// The counters of a feed.
    pub(super) fn feed(&mut self, feed: &str) -> &mut FeedCounts {
        let name = if self.feeds.contains_key(feed) || self.feeds.len() < feeds::FEEDS_MAX { feed } else { "_more" };
        if !self.feeds.contains_key(name) {
            self.feeds.insert(name.to_owned(), FeedCounts::of(name));
        }
        self.feeds.get_mut(name).expect("inserted just now")
    }
}

fn fold(from: &str) -> String {
    let parts: Vec<String> = from.split('^').map(|part| part.trim().to_ascii_lowercase()).collect();
    parts.join("^").trim_end_matches('^').to_owned()
}
