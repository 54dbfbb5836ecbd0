//! S. Schleimer, D. Wilkerson, A. Aiken (2003), Winnowing: local algorithms for document fingerprinting, SIGMOD; the rolling hash
//! is that of R. Karp and M. Rabin (1987).
//!
//! A bed's values become a row of *slots*, one for each usual interval ([`Grid`]); a slot's token says which values stood there
//! ([`Joint`]). [`Chain`] hashes every window of slots in constant time; [`Winnow`] picks some of the windows in a way that
//! depends on their content alone; [`Index`] remembers those of a day. A common run of W + w − 1 slots has a picked window on
//! both sides, whatever stands before and after it. No time, no id and no phase enters a hash.
//!
//! **False matches by chance of the hash.** A place is 64 bits: 47 of its key, one that is always set, 16 of time (two-second
//! steps). A look-up compares 22 places, of which at most three bits are known to agree by the place itself: 22 · 2⁻⁴⁴ =
//! 1.3 · 10⁻¹², in 86 400 look-ups of a day 1.1 · 10⁻⁷ a bed-day. What two different stretches share by chance of their *values* is
//! another matter, and is measured.

use super::places::find;
use super::whole::nearest;
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// Slots of the longest window.
pub const SLOTS_MAX: usize = 75;
/// Windows among which one is picked, at most.
pub const WINNOW_MAX: usize = 32;
/// A value that does not come counts as it was for so many slots, then as missing.
const HOLD: u8 = 5;
/// Parameters of one bed that are followed at most.
const PARAMETERS_MAX: usize = 32;
/// Slots without a message that are filled at most; a longer pause begins a new run.
const FILL_MAX: f64 = 5.0;

/// The finalizer of MurmurHash3 (A. Appleby): every bit of the input moves every bit of the result.
fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    h = (h ^ (h >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    h ^ (h >> 33)
}

/// Where a message stands among the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// In the slot that is open.
    Same,
    /// So many slots on.
    Next(u8),
    /// After a pause, or in the past: nothing before belongs to it.
    Break,
}

/// Which slot a message belongs to. The grid follows the messages: neither its phase, nor jitter below a third of the interval, nor
/// an interval that is known to a tenth only makes a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    at: Option<Timestamp>,
    period_ms: f64,
}

impl Grid {
    /// Takes a message of this own time; `delta_ms` is the usual interval.
    pub fn step(&mut self, own: Timestamp, delta_ms: f64) -> Step {
        let delta_ms = delta_ms.max(1.0);
        let Some(slot) = self.at else {
            *self = Grid { at: Some(own), period_ms: delta_ms };
            return Step::Break;
        };
        let gap_ms = own.since_ms(slot) as f64;
        let slots = nearest(gap_ms / self.period_ms);
        if !(0.0..=FILL_MAX).contains(&slots) {
            *self = Grid { at: Some(own), period_ms: self.period_ms };
            return Step::Break;
        }
        if slots == 0.0 {
            return Step::Same;
        }
        // A loop of second order: a quarter of the deviation is followed, and an eighth of that taken for the interval's.
        let ahead_ms = gap_ms - slots * self.period_ms;
        self.at = Some(slot.plus_ms(nearest(slots * self.period_ms + ahead_ms / 4.0) as i64));
        self.period_ms = (self.period_ms + ahead_ms / slots / 32.0).clamp(0.6 * delta_ms, 1.5 * delta_ms);
        Step::Next(slots as u8)
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Held {
    parameter: Parameter,
    /// Hundredths of the canonical unit.
    value: i32,
    /// At the end of the last slot; `None`: it was missing.
    before: Option<i32>,
    /// Slots since it came.
    age: u8,
}

/// What stood in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub token: u64,
    /// Parameters with a value, by their place in the list of the bed's parameters.
    pub present: u32,
    /// Some value changed since the slot before.
    pub changed: bool,
    /// Which values changed, and by how much: the same where all are moved by an offset.
    pub moves: u64,
}

/// The values of a bed as they stand, slot by slot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Joint {
    held: Vec<Held>,
}

impl Joint {
    /// A new value of each of some parameters.
    pub fn hear_all(&mut self, values: impl Iterator<Item = (Parameter, f64)>) {
        let mut next = 0;
        for (parameter, value) in values {
            // A cast of a number saturates; NaN does not come here, and would be 0.
            let value = nearest(value * 100.0) as i32;
            if let Some(at) = find(&self.held, &mut next, |h| h.parameter == parameter) {
                (self.held[at].value, self.held[at].age) = (value, 0);
            } else if self.held.len() < PARAMETERS_MAX {
                self.held.push(Held { parameter, value, before: None, age: 0 });
            }
        }
    }

    /// A new value of a parameter.
    pub fn hear(&mut self, parameter: Parameter, value: f64) {
        self.hear_all(std::iter::once((parameter, value)));
    }

    /// Ends the slot.
    pub fn close(&mut self) -> Slot {
        let mut slot = Slot { token: 0, present: 0, changed: false, moves: 0 };
        for (place, held) in self.held.iter_mut().enumerate() {
            if held.age > HOLD {
                held.before = None;
                continue;
            }
            let name = (held.parameter as u64 + 1) << 32;
            // A sum: the order in which parameters were first heard is no part of it.
            slot.token = slot.token.wrapping_add(mix(name | u64::from(held.value as u32)));
            slot.present |= 1 << place;
            if let Some(before) = held.before
                && before != held.value
            {
                slot.changed = true;
                slot.moves = slot.moves.wrapping_add(mix(!name ^ u64::from(held.value.wrapping_sub(before) as u32)));
            }
            held.before = Some(held.value);
            held.age += 1;
        }
        slot
    }

    /// The parameters of a mask of places.
    pub fn parameters(&self, places: u32) -> impl Iterator<Item = Parameter> + '_ {
        self.held.iter().enumerate().filter(move |(place, _)| places & (1 << place) != 0).map(|(_, held)| held.parameter)
    }

    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// One word of each entry.
    pub fn touch(&self) -> u64 {
        self.held.iter().fold(0, |sum, held| sum ^ u64::from(held.age))
    }
}

/// What a window must have to be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its length; 0: there is none.
    pub slots: u8,
    /// Parameters with a value at both of its ends.
    pub parameters: u8,
    /// Slots in which a value changed.
    pub changes: u8,
}

/// A window's fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    pub hash: u64,
    pub window: Window,
    /// Changes inside.
    pub changes: u8,
    /// Parameters with a value at both ends, as in [`Slot::present`].
    pub present: u32,
}

impl Print {
    /// What an [`Index`] knows it by. The picked ones have small hashes: their key is spread anew.
    pub fn key(&self) -> u64 {
        mix(self.hash ^ 0x9E37_79B9_7F4A_7C15)
    }
}

const BASE: u64 = 0x5851_F42D_4C95_7F2D;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Rolling {
    window: Window,
    /// BASE to the power of the window's length.
    power: u64,
    sum: u64,
    changes: u8,
}

/// Rolling hashes of the last slots, for up to two windows of which the first that has enough counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Chain {
    /// Token, places with a value, and whether one changed.
    slots: Vec<(u64, u32, bool)>,
    next: u8,
    /// Slots since the run began.
    run: u32,
    rolling: [Rolling; 2],
}

impl Chain {
    /// Sets the windows; a new run begins.
    pub fn configure(&mut self, windows: [Window; 2]) {
        for (rolling, mut window) in self.rolling.iter_mut().zip(windows) {
            window.slots = window.slots.min(SLOTS_MAX as u8);
            *rolling = Rolling { window, power: (0..window.slots).fold(1, |p, _| p.wrapping_mul(BASE)), sum: 0, changes: 0 };
        }
        self.restart();
    }

    /// Nothing before belongs to what comes.
    pub fn restart(&mut self) {
        self.run = 0;
        for rolling in &mut self.rolling {
            (rolling.sum, rolling.changes) = (0, 0);
        }
    }

    /// The longest window, slots.
    pub fn longest(&self) -> u8 {
        self.rolling[0].window.slots.max(self.rolling[1].window.slots)
    }

    /// One word of the places that the next slot changes.
    pub fn touch(&self) -> u64 {
        self.slots.get(usize::from(self.next)).map_or(0, |slot| slot.0)
    }

    fn back(&self, slots: usize) -> (u64, u32, bool) {
        self.slots[(usize::from(self.next) + SLOTS_MAX - slots) % SLOTS_MAX]
    }

    /// Takes a slot; the fingerprint of the window that ends with it, if there is enough in it.
    pub fn push(&mut self, slot: Slot) -> Option<Print> {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0, false); SLOTS_MAX];
        }
        let mut rolling = self.rolling;
        for r in rolling.iter_mut().filter(|r| r.window.slots > 0) {
            let length = usize::from(r.window.slots);
            let leaves = if self.run as usize >= length { self.back(length).0 } else { 0 };
            r.sum = r.sum.wrapping_mul(BASE).wrapping_add(slot.token).wrapping_sub(leaves.wrapping_mul(r.power));
            // How the first slot differs from the one before it is no part of the window.
            let inner = length - 1;
            let forgets = self.run as usize >= inner && inner > 0 && self.back(inner).2;
            r.changes = (r.changes + u8::from(slot.changed && self.run > 0)).saturating_sub(u8::from(forgets));
        }
        self.slots[usize::from(self.next)] = (slot.token, slot.present, slot.changed && self.run > 0);
        self.next = (self.next + 1) % SLOTS_MAX as u8;
        self.run = self.run.saturating_add(1);
        self.rolling = rolling;
        rolling.iter().find_map(|r| {
            let length = usize::from(r.window.slots);
            if length == 0 || (self.run as usize) < length || r.changes < r.window.changes {
                return None;
            }
            let present = self.back(length).1 & slot.present;
            if present.count_ones() < u32::from(r.window.parameters) {
                return None;
            }
            let hash = mix(r.sum ^ (u64::from(r.window.slots) << 56)).min(u64::MAX - 1);
            Some(Print { hash, window: r.window, changes: r.changes, present })
        })
    }
}

/// Picks of every w windows in a row the one with the smallest hash, the last of equals.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Winnow {
    #[serde(with = "super::packed::words")]
    hashes: Vec<u64>,
    width: u8,
    seen: u32,
    /// Number of the window that was picked last.
    picked: u32,
}

impl Winnow {
    pub fn configure(&mut self, width: u8) {
        self.width = width.clamp(1, WINNOW_MAX as u8);
        self.restart();
    }

    pub fn restart(&mut self) {
        (self.seen, self.picked) = (0, 0);
    }

    pub fn width(&self) -> u8 {
        self.width
    }

    /// One word of each line of the ring.
    pub fn touch(&self) -> u64 {
        self.hashes.iter().step_by(8).fold(0, |sum, hash| sum ^ hash)
    }

    /// Takes the next window, `None` if it has too little in it; a hash that is picked now, and how many windows ago it stood.
    pub fn push(&mut self, hash: Option<u64>) -> Option<(u64, u8)> {
        let width = usize::from(self.width.max(1));
        if self.hashes.len() != WINNOW_MAX {
            self.hashes = vec![u64::MAX; WINNOW_MAX];
        }
        if self.seen == u32::MAX {
            self.restart();
        }
        self.hashes[self.seen as usize % WINNOW_MAX] = hash.unwrap_or(u64::MAX);
        self.seen += 1;
        if (self.seen as usize) < width {
            return None;
        }
        let (mut smallest, mut back) = (u64::MAX, 0);
        for age in 0..width {
            let hash = self.hashes[(self.seen as usize - 1 - age) % WINNOW_MAX];
            if hash < smallest {
                (smallest, back) = (hash, age);
            }
        }
        let number = self.seen - back as u32;
        if smallest == u64::MAX || number <= self.picked {
            return None;
        }
        self.picked = number;
        Some((smallest, back as u8))
    }
}

/// Seconds of one step of an [`Index`]'s time.
const STEP_S: i64 = 2;
/// How far an index reaches back, steps: 24 h.
const REACH: u16 = 43_200;
/// After a pause of this length every place is looked at, seconds: sixteen bits of time come round in 36 h.
const PAUSE_S: f64 = 6.0 * 3600.0;
/// Places of a bucket, and buckets at the beginning and at most.
const WAYS: usize = 11;
const BUCKETS_MIN: usize = 64;
const GROWTHS: u32 = 3;
/// The key's part of a place.
const KEY: u64 = !0 << 16;
/// Set in every place that is taken.
const TAKEN: u64 = 1 << 16;

/// What a place holds of a key.
pub fn kept(key: u64) -> u64 {
    key & KEY | TAKEN
}

/// The picked windows of 24 h and when they stood: a hash table of 8-byte places, each in one of two buckets.
///
/// It grows in four steps to 5 632 places, 44 KB: a day at one value a second takes about 5 240. At that bound a new place
/// overwrites the oldest of the 22 that it may stand in, and the index reaches back less than a day.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Index {
    #[serde(with = "super::packed::words")]
    places: Vec<u64>,
    used: u32,
    grown: u8,
    swept: u32,
    heard_at: Timestamp,
}

impl Index {
    /// Places at most.
    pub const PLACES_MAX: usize = (BUCKETS_MIN << GROWTHS) * WAYS;

    fn now(at: Timestamp) -> u16 {
        at.ms().div_euclid(1000 * STEP_S) as u16
    }

    /// The two buckets of a key: by its low 16 bits, which no place holds, and as the table grows by up to three that it does.
    fn buckets(&self, key: u64) -> [usize; 2] {
        let low = (key & 63) as usize;
        let other = low ^ (1 + (key >> 6 & 1023) as usize % 63);
        let high = (key >> 61) as usize & ((1 << self.grown) - 1);
        [low + BUCKETS_MIN * high, other + BUCKETS_MIN * high]
    }

    fn bucket(&self, bucket: usize) -> &[u64] {
        &self.places[bucket * WAYS..(bucket + 1) * WAYS]
    }

    /// How long ago a window of this key stood, seconds; the longest of several.
    pub fn get(&self, key: u64, at: Timestamp) -> Option<f64> {
        if self.places.is_empty() {
            return None;
        }
        let (tag, now) = (kept(key), Self::now(at));
        let ages = self.buckets(key).into_iter().flat_map(|b| self.bucket(b)).filter(|p| **p & KEY == tag);
        let age = ages.map(|p| now.wrapping_sub(*p as u16)).filter(|age| *age <= REACH).max()?;
        Some(f64::from(age) * STEP_S as f64)
    }

    /// Remembers a window that stood `ago_s` ago. Known ones stay as they are.
    pub fn put(&mut self, key: u64, at: Timestamp, ago_s: f64) {
        if self.places.is_empty() {
            self.places = vec![0; BUCKETS_MIN * WAYS];
        }
        if self.get(key, at).is_some() {
            return;
        }
        if self.used as usize * 20 > self.places.len() * 17 && u32::from(self.grown) < GROWTHS {
            self.grow();
        }
        let now = Self::now(at);
        let place = kept(key) | u64::from(now.wrapping_sub((ago_s.clamp(0.0, 3600.0) / STEP_S as f64) as u16));
        let age = |p: u64| if p == 0 { u16::MAX } else { now.wrapping_sub(p as u16) };
        let buckets = self.buckets(key);
        let room = |b: usize| self.bucket(b).iter().filter(|p| age(**p) > REACH).count();
        let [first, second] = if room(buckets[1]) > room(buckets[0]) { [buckets[1], buckets[0]] } else { buckets };
        let ways = |b: usize| b * WAYS..(b + 1) * WAYS;
        let mut chosen = first * WAYS;
        for at in ways(first).chain(ways(second)) {
            if age(self.places[at]) > age(self.places[chosen]) {
                chosen = at;
                if age(self.places[at]) == u16::MAX {
                    break;
                }
            }
        }
        self.used += u32::from(self.places[chosen] == 0);
        self.places[chosen] = place;
    }

    /// Twice as many buckets: one more bit of the key says which half a place goes to.
    fn grow(&mut self) {
        let buckets = self.places.len() / WAYS;
        let mut larger = vec![0; 2 * self.places.len()];
        for bucket in 0..buckets {
            let mut room = [0; 2];
            for place in self.bucket(bucket).iter().filter(|p| **p != 0) {
                let half = (place >> (61 + u32::from(self.grown)) & 1) as usize;
                larger[(bucket + half * buckets) * WAYS + room[half]] = *place;
                room[half] += 1;
            }
        }
        self.places = larger;
        self.grown += 1;
    }

    /// Time passes: call once a slot. Forgets what is older than a day, a bucket at a time.
    pub fn tend(&mut self, at: Timestamp) {
        let pause_s = at.since_s(self.heard_at);
        if pause_s > PAUSE_S && !self.places.is_empty() {
            let left = Self::now(self.heard_at);
            let passed = (pause_s / STEP_S as f64).min(f64::from(u16::MAX)) as u32;
            for place in &mut self.places {
                if *place != 0 && u32::from(left.wrapping_sub(*place as u16)) + passed > u32::from(REACH) {
                    *place = 0;
                    self.used -= 1;
                }
            }
        }
        self.heard_at = self.heard_at.max(at);
        if self.places.is_empty() {
            return;
        }
        let (now, bucket) = (Self::now(at), self.swept as usize % (self.places.len() / WAYS));
        self.swept = self.swept.wrapping_add(1);
        for place in &mut self.places[bucket * WAYS..(bucket + 1) * WAYS] {
            if *place != 0 && now.wrapping_sub(*place as u16) > REACH {
                *place = 0;
                self.used -= 1;
            }
        }
    }

    /// Places taken.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// What is left of every key, [`kept`], and its age in two-second steps, oldest first.
    pub fn keys(&self, at: Timestamp) -> Vec<(u16, u64)> {
        let now = Self::now(at);
        let taken = self.places.iter().filter(|p| **p != 0).map(|p| (now.wrapping_sub(*p as u16), kept(*p)));
        let mut keys: Vec<(u16, u64)> = taken.filter(|(age, _)| *age <= REACH).collect();
        keys.sort_unstable_by_key(|(age, key)| (std::cmp::Reverse(*age), *key));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    struct Noise(u64);

    impl Noise {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    const WINDOW: Window = Window { slots: 20, parameters: 1, changes: 3 };

    fn prints(values: &[i32], window: Window) -> Vec<Option<Print>> {
        let (mut joint, mut chain) = (Joint::default(), Chain::default());
        chain.configure([window, Window::default()]);
        values
            .iter()
            .map(|v| {
                joint.hear(Parameter::Hr, f64::from(*v));
                chain.push(joint.close())
            })
            .collect()
    }

    #[test]
    fn a_window_has_one_hash_wherever_it_stands() {
        let mut noise = Noise(7);
        let run: Vec<i32> = (0..60).map(|_| 60 + noise.below(20) as i32).collect();
        let ahead: Vec<i32> = (0..33).map(|_| 60 + noise.below(20) as i32).chain(run.iter().copied()).collect();
        let (alone, later) = (prints(&run, WINDOW), prints(&ahead, WINDOW));
        for at in 19..60 {
            assert_eq!(alone[at].unwrap(), later[at + 33].unwrap(), "at {at}");
        }
        let different: std::collections::BTreeSet<u64> = alone.iter().flatten().map(|p| p.hash).collect();
        assert_eq!(different.len(), 41);
    }

    #[test]
    fn changes_count_inside_the_window_alone() {
        let window = Window { slots: 4, parameters: 1, changes: 2 };
        let found: Vec<bool> = prints(&[1, 2, 3, 3, 3, 4, 4, 4, 4, 5, 6], window).iter().map(Option::is_some).collect();
        // 2 3 3 3 and 3 3 3 4 have one change each; 4 4 5 6 has two.
        assert_eq!(found, [false, false, false, true, false, false, false, false, false, false, true]);
    }

    #[test]
    fn the_grid_follows_jitter_and_fills_short_pauses() {
        let mut grid = Grid::default();
        assert_eq!(grid.step(T0, 1000.0), Step::Break);
        for s in 1..2000i64 {
            let own = T0.plus_ms(s * 1010 + (s * 7919) % 600 - 300);
            assert!(grid.step(own, 1120.0) == Step::Next(1) || s < 30, "{s}");
        }
        let last = T0.plus_ms(1999 * 1010);
        assert_eq!(grid.step(last.plus_ms(100), 1000.0), Step::Same);
        assert_eq!(grid.step(last.plus_ms(5000), 1000.0), Step::Next(5));
        assert_eq!(grid.step(last.plus_ms(12_000), 1000.0), Step::Break);
        assert_eq!(grid.step(T0, 1000.0), Step::Break);
        assert_eq!(Grid { at: Some(Timestamp::MIN), period_ms: 0.0 }.step(Timestamp::MAX, 0.0), Step::Break);
    }

    #[test]
    fn every_common_run_of_w_and_the_window_has_a_common_place() {
        let mut noise = Noise(11);
        for _ in 0..200 {
            let mut draw = |n: usize| -> Vec<i32> { (0..n).map(|_| 60 + noise.below(9) as i32).collect() };
            let (run, before, after) = (draw(20 + 8 - 1), draw(17), draw(29));
            let pick = |values: Vec<i32>| -> Vec<u64> {
                let mut winnow = Winnow::default();
                winnow.configure(8);
                prints(&values, WINDOW).iter().filter_map(|p| Some(winnow.push(p.map(|p| p.hash))?.0)).collect()
            };
            let one = pick(before.iter().chain(&run).copied().collect());
            let two = pick(after.iter().chain(&run).chain(&before).copied().collect());
            assert!(one.iter().any(|h| two.contains(h)));
        }
    }

    #[test]
    fn the_index_keeps_a_day_and_forgets_what_is_older() {
        let (mut index, mut noise) = (Index::default(), Noise(3));
        let mut keys = Vec::new();
        for second in 0..200_000i64 {
            let at = T0.plus_s(second as f64);
            index.tend(at);
            if second % 17 == 0 {
                let key = mix(noise.below(u64::from(u32::MAX)) << 31 | second as u64);
                assert_eq!(index.get(key, at), None);
                index.put(key, at, 10.0);
                keys.push((second, key));
            }
        }
        let now = T0.plus_s(199_999.0);
        assert!(index.len() <= Index::PLACES_MAX && index.places.len() * 8 <= 45_056);
        let (mut kept, mut of) = (0, 0);
        for (second, key) in &keys {
            let age = 199_999 - second + 10;
            match index.get(*key, now) {
                Some(found) => {
                    assert!((found - age as f64).abs() <= 2.0 && age <= 86_402, "{found} {age}");
                    kept += 1;
                }
                None => assert!(age > 60_000, "{age}"),
            }
            of += usize::from(age <= 86_400);
        }
        assert!(kept as f64 >= 0.99 * of as f64, "{kept} of {of}");
        // After a pause of a day and a half the times come round: nothing young may appear.
        let later = now.plus_s(1.6 * 86_400.0);
        index.tend(later);
        assert!(keys.iter().all(|(_, key)| index.get(*key, later).is_none()));
        assert!(index.is_empty());
    }
}
