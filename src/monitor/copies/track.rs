//! The values of one bed on their two ways: what belongs together, what differs, what is on one side alone.
//!
//! Bounded: [`PENDING_MAX`] measurements a bed and pair of feeds, each for as long as a copy may take. One look-up a value.
//! What cannot be known is not accused: a value older than what is remembered of the other side, one from a time in which
//! the other side was silent, one that the other side has not reached yet.

use crate::time::Timestamp;
use crate::vital::Parameter;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Measurements remembered of one bed and pair; the oldest makes room and is not judged.
pub const PENDING_MAX: usize = 512;
/// Gaps remembered of each side.
const GAPS: usize = 4;
/// Ids of messages remembered of each side.
const IDS: usize = 64;
/// A step of the own time beyond so many usual ones is a gap of a side. One lost message is two.
const GAP_STEPS: f64 = 1.8;
/// Weight of the newest step in the usual one.
const STEP_WEIGHT: f64 = 0.125;

/// Which way a value came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Up,
    Down,
}

impl Side {
    const fn other(self) -> Side {
        match self {
            Side::Up => Side::Down,
            Side::Down => Side::Up,
        }
    }
}

/// What makes two values one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    pub parameter: Parameter,
    /// Which row of this parameter in its message, from 0.
    pub nth: u8,
    /// Own time in steps, or the hash of MSH-10.
    pub at: i64,
}

/// A value as one side has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Canonical unit; NaN: the row says that there is none.
    pub value: f64,
    /// Resolution in which it was written, canonical unit.
    pub step: f32,
    /// Hash of MSH-10; 0: none that is an id.
    pub id: u32,
    /// Number of the frame.
    pub sequence: u64,
}

/// A value that comes.
#[derive(Debug, Clone, Copy)]
pub struct Coming {
    pub key: Key,
    /// Its own time.
    pub own: Timestamp,
    /// The time was taken from the message or its arrival: it may be another one on the other side.
    pub loose: bool,
    pub seen: Seen,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measurement {
    key: Key,
    own: Timestamp,
    /// First and last heard, our clock.
    since: Timestamp,
    last: Timestamp,
    up: Option<Seen>,
    down: Option<Seen>,
    /// Where only one side has it: nothing follows from that.
    weak: bool,
    /// Its difference was told.
    told: bool,
}

/// Two values of one measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub key: Key,
    pub own: Timestamp,
    pub up: Seen,
    pub down: Seen,
}

/// A value that one side alone has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alone {
    pub side: Side,
    pub parameter: Parameter,
    pub own: Timestamp,
    pub seen: Seen,
    /// The other side had a message of the same id.
    pub same_id: bool,
}

/// How one side comes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Way {
    heard_at: Timestamp,
    /// Newest own time, and the newest that is remembered no more.
    frontier: Timestamp,
    horizon: Timestamp,
    /// Usual step of the own time, seconds; 0: not known.
    step_s: f64,
    /// Own times between which nothing came.
    gaps: [(Timestamp, Timestamp); GAPS],
    next_gap: u8,
    ids: Vec<u32>,
    next_id: u8,
}

impl Way {
    /// A message whose newest value is of `own`.
    fn note(&mut self, own: Timestamp, id: u32, now: Timestamp) {
        if self.heard_at == Timestamp::default() {
            (self.frontier, self.horizon) = (Timestamp::MIN, Timestamp::MIN);
        }
        self.heard_at = now;
        if own > self.frontier {
            let step_s = own.since_s(self.frontier);
            let begins = self.frontier == Timestamp::MIN || self.step_s == 0.0 && step_s > 600.0;
            if begins || (self.step_s > 0.0 && step_s > GAP_STEPS * self.step_s) {
                self.gaps[usize::from(self.next_gap) % GAPS] = (self.frontier, own);
                self.next_gap = (self.next_gap + 1) % GAPS as u8;
            }
            if !begins {
                let news_s = step_s.min(2.0 * self.step_s);
                self.step_s = if self.step_s == 0.0 { step_s } else { self.step_s + STEP_WEIGHT * (news_s - self.step_s) };
            }
            self.frontier = own;
        }
        if id != 0 {
            if self.ids.len() < IDS {
                self.ids.push(id);
            } else {
                self.ids[usize::from(self.next_id) % IDS] = id;
                self.next_id = (self.next_id + 1) % IDS as u8;
            }
        }
    }

    fn is_gap(&self, own: Timestamp) -> bool {
        self.gaps.iter().any(|(from, to)| *from < own && own < *to)
    }
}

/// One bed and one pair of feeds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Track {
    up: Way,
    down: Way,
    /// When a value met its other last, and since when both sides are heard without a pause.
    met_at: Timestamp,
    both_at: Option<Timestamp>,
    pending: VecDeque<Measurement>,
    /// Number of the first of `pending`.
    first: u64,
    /// Made anew after a restart.
    #[serde(skip)]
    places: FxHashMap<Key, u64>,
}

impl Track {
    fn way(&mut self, side: Side) -> &mut Way {
        match side {
            Side::Up => &mut self.up,
            Side::Down => &mut self.down,
        }
    }

    /// A message of one side came; its values follow. `own`: the newest of their times.
    pub fn message(&mut self, side: Side, own: Timestamp, id: u32, delay_s: f64, now: Timestamp) {
        self.way(side).note(own.min(now), id, now);
        let both = [&self.up, &self.down].iter().all(|way| now.since_s(way.heard_at) <= delay_s);
        self.both_at = if both { self.both_at.or(Some(now)) } else { None };
        if self.places.is_empty() && !self.pending.is_empty() {
            self.places = (self.first..).zip(&self.pending).map(|(number, m)| (m.key, number)).collect();
        }
    }

    /// A value. The pair that it completes, told once for each measurement.
    pub fn value(&mut self, side: Side, coming: &Coming, now: Timestamp) -> Option<Pair> {
        let own = coming.own.min(now);
        if let Some(number) = self.places.get(&coming.key).copied()
            && let Some(m) = self.pending.get_mut((number - self.first) as usize)
        {
            m.last = now;
            let mine = if side == Side::Up { &mut m.up } else { &mut m.down };
            let news = mine.is_none_or(|before| before.value.to_bits() != coming.seen.value.to_bits());
            *mine = Some(coming.seen);
            let (Some(up), Some(down)) = (m.up, m.down) else { return None };
            self.met_at = now;
            // A measurement that is told again says nothing new; one that was corrected upstream is corrected behind it soon.
            if !news || (side == Side::Up && m.told) {
                return None;
            }
            m.told = true;
            return Some(Pair { key: m.key, own: m.own, up, down });
        }
        let forgotten = match side.other() {
            Side::Up => self.up.horizon,
            Side::Down => self.down.horizon,
        };
        let (up, down) = match side {
            Side::Up => (Some(coming.seen), None),
            Side::Down => (None, Some(coming.seen)),
        };
        let weak = coming.loose || own <= forgotten || !coming.seen.value.is_finite();
        let m = Measurement { key: coming.key, own, since: now, last: now, up, down, weak, told: false };
        if self.pending.len() >= PENDING_MAX {
            self.pop();
        }
        self.places.insert(m.key, self.first + self.pending.len() as u64);
        self.pending.push_back(m);
        None
    }

    /// Since when both sides go on and no value meets its other, if that is longer than so many seconds.
    pub fn apart(&self, seconds: f64, now: Timestamp) -> Option<Timestamp> {
        let since = self.both_at?.max(self.met_at);
        (now.since_s(since) > seconds).then_some(since)
    }

    /// Takes the oldest out.
    fn pop(&mut self) -> Option<Measurement> {
        let m = self.pending.pop_front()?;
        if self.places.get(&m.key) == Some(&self.first) {
            self.places.remove(&m.key);
        }
        self.first += 1;
        for (way, seen) in [(&mut self.up, m.up), (&mut self.down, m.down)] {
            if seen.is_some() {
                way.horizon = way.horizon.max(m.own);
            }
        }
        Some(m)
    }

    /// The next measurement whose time is over and that one side alone had, though the other one was there.
    pub fn alone(&mut self, delay_s: f64, now: Timestamp) -> Option<Alone> {
        while self.pending.front().is_some_and(|m| now.since_s(m.since) > delay_s) {
            let mut m = self.pop()?;
            if now.since_s(m.last) <= delay_s {
                // It is told again and again: it stays.
                m.since = m.last;
                self.places.insert(m.key, self.first + self.pending.len() as u64);
                self.pending.push_back(m);
                continue;
            }
            let (side, seen) = match (m.up, m.down) {
                (Some(seen), None) => (Side::Up, seen),
                (None, Some(seen)) => (Side::Down, seen),
                _ => continue,
            };
            let there = if side == Side::Up { &self.down } else { &self.up };
            let passed = there.heard_at >= m.since && there.frontier >= m.own && !there.is_gap(m.own);
            let same_id = seen.id != 0 && there.ids.contains(&seen.id);
            // Where nothing meets its other, the configuration does not fit: nobody is accused of that.
            if !m.weak && self.met_at >= m.since && (passed || same_id) {
                return Some(Alone { side, parameter: m.key.parameter, own: m.own, seen, same_id });
            }
        }
        None
    }

    /// Measurements remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY_S: f64 = 30.0;

    struct Both {
        track: Track,
        now: Timestamp,
    }

    impl Both {
        fn new() -> Both {
            Both { track: Track::default(), now: Timestamp(1_800_000_000_000) }
        }
        /// One message with one value of a parameter at an own time, seconds from the beginning.
        fn tell(&mut self, side: Side, own_s: i64, parameter: Parameter, value: f64) -> Option<Pair> {
            let own = Timestamp(1_800_000_000_000 + own_s * 1000);
            self.track.message(side, own, 0, DELAY_S, self.now);
            let key = Key { parameter, nth: 0, at: own_s };
            let seen = Seen { value, step: 1.0, id: 0, sequence: own_s as u64 };
            self.track.value(side, &Coming { key, own, loose: false, seen }, self.now)
        }
        fn alone(&mut self) -> Vec<(Side, i64)> {
            let mut all = Vec::new();
            while let Some(alone) = self.track.alone(DELAY_S, self.now) {
                all.push((alone.side, alone.own.since_ms(Timestamp(1_800_000_000_000)) / 1000));
            }
            all
        }
    }

    #[test]
    fn whichever_comes_first_a_value_finds_its_other_once() {
        let mut b = Both::new();
        assert_eq!(b.tell(Side::Up, 0, Parameter::Hr, 70.0), None);
        let pair = b.tell(Side::Down, 0, Parameter::Hr, 71.0).unwrap();
        assert_eq!((pair.up.value, pair.down.value), (70.0, 71.0));
        assert_eq!(b.tell(Side::Down, 0, Parameter::Hr, 71.0), None, "told again");
        assert!(b.tell(Side::Down, 0, Parameter::Hr, 72.0).is_some(), "and anew");
        assert_eq!(b.tell(Side::Down, 1, Parameter::Hr, 70.0), None);
        assert!(b.tell(Side::Up, 1, Parameter::Hr, 70.0).is_some());
        assert!(b.tell(Side::Up, 0, Parameter::Spo2, 70.0).is_none(), "another parameter");
    }

    /// Both sides for so many seconds, but for what `keep` says no to.
    fn run(b: &mut Both, seconds: i64, keep: impl Fn(Side, i64) -> bool) -> Vec<(Side, i64)> {
        let mut alone = Vec::new();
        for s in 0..seconds {
            for side in [Side::Up, Side::Down] {
                if keep(side, s) {
                    b.tell(side, s, Parameter::Hr, 70.0);
                    b.tell(side, s, Parameter::Spo2, 97.0);
                }
            }
            b.now = b.now.plus_s(1.0);
            alone.extend(b.alone());
        }
        alone
    }

    #[test]
    fn one_side_that_is_silent_is_no_difference() {
        for silent in [Side::Up, Side::Down] {
            let mut b = Both::new();
            assert_eq!(run(&mut b, 300, |side, s| side != silent || !(100..200).contains(&s)), [], "{silent:?}");
            let mut b = Both::new();
            assert_eq!(run(&mut b, 300, |side, s| side != silent || s % 60 != 7), [], "a lost message of {silent:?}");
            let mut b = Both::new();
            assert_eq!(run(&mut b, 300, |side, s| side != silent || s >= 200), [], "{silent:?} begins later");
        }
    }

    #[test]
    fn a_value_that_one_side_alone_has_is_told_after_the_delay() {
        for (here, other) in [(Side::Up, Side::Down), (Side::Down, Side::Up)] {
            let mut b = Both::new();
            run(&mut b, 60, |_, _| true);
            b.tell(here, 59, Parameter::Rr, 12.0);
            let mut found = Vec::new();
            for s in 60..120 {
                for side in [here, other] {
                    b.tell(side, s, Parameter::Hr, 70.0);
                }
                found.extend(b.alone().into_iter().map(|a| (a, s)));
                b.now = b.now.plus_s(1.0);
            }
            assert_eq!(found, [((here, 59), 91)], "{here:?}");
        }
    }

    #[test]
    fn a_backlog_of_the_engine_is_neither_dropped_nor_added() {
        let mut b = Both::new();
        let mut alone = run(&mut b, 60, |_, _| true);
        // For two minutes the engine holds everything, then sends it at once.
        for s in 60..180 {
            b.tell(Side::Up, s, Parameter::Hr, 70.0);
            b.now = b.now.plus_s(1.0);
            alone.extend(b.alone());
        }
        for s in 60..180 {
            b.tell(Side::Down, s, Parameter::Hr, 70.0);
        }
        for s in 180..300 {
            b.tell(Side::Up, s, Parameter::Hr, 70.0);
            b.tell(Side::Down, s, Parameter::Hr, 70.0);
            b.now = b.now.plus_s(1.0);
            alone.extend(b.alone());
        }
        assert_eq!(alone, []);
    }

    #[test]
    fn what_is_told_every_second_with_one_own_time_is_one_measurement() {
        let mut b = Both::new();
        b.tell(Side::Up, 0, Parameter::NibpSys, 120.0);
        assert!(b.tell(Side::Down, 0, Parameter::NibpSys, 120.0).is_some());
        for s in 1..200 {
            for side in [Side::Up, Side::Down] {
                b.tell(side, s, Parameter::Hr, 70.0);
                assert_eq!(b.tell(side, 0, Parameter::NibpSys, 120.0), None);
            }
            b.now = b.now.plus_s(1.0);
            assert_eq!(b.alone(), []);
        }
        assert!(b.track.len() <= 2 * 31 + 1);
    }

    #[test]
    fn a_future_time_blinds_neither_side() {
        let mut b = Both::new();
        run(&mut b, 60, |_, _| true);
        b.tell(Side::Down, 100_000_000, Parameter::Rr, 12.0);
        let mut all = Vec::new();
        for s in 60..200 {
            b.tell(Side::Up, s, Parameter::Hr, 70.0);
            if s != 120 {
                b.tell(Side::Down, s, Parameter::Hr, 70.0);
            } else {
                b.tell(Side::Down, s, Parameter::Spo2, 70.0);
            }
            b.now = b.now.plus_s(1.0);
            all.extend(b.alone());
        }
        assert_eq!(all.len(), 3, "the one of the future, the one that is missing, the one that was added: {all:?}");
    }

    #[test]
    fn the_memory_is_bounded_and_survives_a_restart() {
        let mut b = Both::new();
        for s in 0..5000 {
            b.tell(Side::Up, s, Parameter::Hr, 70.0);
        }
        assert_eq!((b.track.len(), b.track.places.len()), (PENDING_MAX, PENDING_MAX));
        assert!(postcard::to_stdvec(&b.track).unwrap().len() < 40_000);
        b.track = postcard::from_bytes(&postcard::to_stdvec(&b.track).unwrap()).unwrap();
        assert!(b.tell(Side::Down, 4990, Parameter::Hr, 70.0).is_some());
        assert!(b.tell(Side::Down, 10, Parameter::Hr, 99.0).is_none(), "forgotten");
        for _ in 0..40 {
            b.now = b.now.plus_s(1.0);
            assert_eq!(b.alone().iter().filter(|(side, _)| *side == Side::Down).count(), 0, "and not accused");
        }
    }
}
