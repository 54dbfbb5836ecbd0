//! What one parameter of a device does: its step, its beat, how long it stands, how often it is gone, what means "nothing".
//!
//! Everything is bounded and O(1) a value. Windows of values *vote* ([`Settled`]): one window that differs changes nothing.

use super::Profile;
use crate::stats::quantile::Quantile;
use crate::stats::whole::nearest;
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// Values of a window from which the step of the scale is read.
const STEP_VALUES: u16 = 1000;
/// The smallest step must have been taken so often in it: otherwise the scale may be finer than what was seen.
const STEP_SEEN: u16 = 10;
/// Changes of a window from which the lattice is read.
const BEAT_CHANGES: u16 = 100;
/// Share of the changes that must fall on one phase.
const BEAT_SHARE: f64 = 0.85;
/// Longest lattice looked for, in updates.
const BEAT_MAX: usize = 8;
/// Windows that must agree before what they say counts, and that must disagree in the same way before it is given up.
const AGREE: u16 = 2;
const DISSENT: u16 = 3;
/// Numbers that may mean "nothing", at most.
const CANDIDATES: usize = 3;
/// Such a number must have come in so many stretches, so often, over so long a time.
const SENTINEL_STRETCHES: u16 = 3;
const SENTINEL_SEEN: u16 = 10;
/// Runs, and drop-outs, before their median is told.
const RUNS_NEEDED: u32 = 30;
/// A drop-out longer than this is a pause.
const OUT_MAX_MS: i64 = 3_600_000;

/// What windows voted for; 0 is "none".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settled {
    value: u32,
    agreed: u16,
    against: u16,
    other: u32,
    since: Timestamp,
}

impl Settled {
    fn vote(&mut self, value: u32, at: Timestamp) {
        if self.agreed > 0 && value == self.value {
            self.agreed = self.agreed.saturating_add(1);
            self.against = 0;
            return;
        }
        self.against = if self.against > 0 && value == self.other { self.against + 1 } else { 1 };
        self.other = value;
        if self.agreed == 0 || self.against >= DISSENT {
            *self = Settled { value, agreed: 1, against: 0, other: 0, since: at };
        }
    }

    /// What has held for long enough; `None`: nothing yet, `Some(0)`: none was found.
    pub(super) fn held(&self, at: Timestamp) -> Option<u32> {
        (self.agreed >= AGREE && at.since_s(self.since) >= Profile::LEARN_S).then_some(self.value)
    }
}

/// The resolution: the greatest common step, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    common: u32,
    smallest: u32,
    taken: u16,
    values: u16,
    /// A value lay beside the grid of thousandths.
    off_grid: bool,
    settled: Settled,
}

fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

impl Step {
    fn push(&mut self, value: f64, before: Option<f64>, at: Timestamp) {
        let thousandths = value.abs() * 1000.0;
        // Units that were converted leave a rest.
        let whole = nearest(thousandths);
        self.off_grid |= (thousandths - whole).abs() > 0.02;
        self.common = common(self.common, whole.min(4e9) as u32);
        if let Some(before) = before.filter(|b| *b != value) {
            let step = nearest((value - before).abs() * 1000.0).min(4e9) as u32;
            if step > 0 && (self.smallest == 0 || step < self.smallest) {
                (self.smallest, self.taken) = (step, 0);
            }
            self.taken = self.taken.saturating_add(u16::from(step == self.smallest));
        }
        self.values += 1;
        if self.values >= STEP_VALUES {
            // A window of a value that hardly moved says nothing of its scale.
            if self.taken >= STEP_SEEN {
                let found = !self.off_grid && self.common == self.smallest && self.common > 1;
                self.settled.vote(if found { self.common } else { 0 }, at);
            }
            *self = Step { settled: self.settled, ..Step::default() };
        }
    }
}

/// The lattice: a value that changes at every k-th update only, and always on the same one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Beat {
    /// Changes by phase of every period of 2 to [`BEAT_MAX`] updates.
    phases: [[u8; BEAT_MAX]; BEAT_MAX - 1],
    changes: u16,
    tick: u32,
    settled: Settled,
}

impl Beat {
    fn restart(&mut self) {
        *self = Beat { settled: self.settled, ..Beat::default() };
    }

    fn change(&mut self, at: Timestamp) {
        for (row, period) in self.phases.iter_mut().zip(2u32..) {
            let phase = &mut row[(self.tick % period) as usize];
            *phase = phase.saturating_add(1);
        }
        self.changes += 1;
        if self.changes >= BEAT_CHANGES {
            let share = |row: &[u8; BEAT_MAX]| f64::from(row.iter().copied().max().unwrap_or(0)) / f64::from(BEAT_CHANGES);
            let found = (2u32..).zip(&self.phases).filter(|(_, row)| share(row) >= BEAT_SHARE).map(|(period, _)| period).last();
            self.settled.vote(found.unwrap_or(0), at);
            let tick = self.tick;
            self.restart();
            self.tick = tick;
        }
    }
}

/// A number that may mean "nothing".
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Candidate {
    value: f64,
    seen: u16,
    stretches: u16,
    /// The last one came in the stretch that is going on.
    going_on: bool,
    first: Timestamp,
    last: Timestamp,
}

/// What a parameter is like, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    pub parameter: Parameter,
    /// Values it was learned from.
    pub values: u64,
    pub range: (f64, f64),
    /// Resolution; `None`: not known. Zero: there is no grid of thousandths.
    pub quantum: Option<f64>,
    /// Updates from change to change; `None`: not known. Zero: the value may change at any update.
    pub lattice: Option<u32>,
    /// Median time that a value stands, seconds.
    pub hold_s: Option<f64>,
    /// Drop-outs in an hour of values, and their median length, seconds.
    pub dropouts_per_hour: Option<f64>,
    pub dropout_s: Option<f64>,
    /// Numbers that mean "nothing".
    pub sentinels: Vec<f64>,
}

/// One parameter's habits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Habit {
    pub parameter: Parameter,
    pub channel: u32,
    values: u64,
    /// The newest value and its own time, while values follow each other.
    last: f64,
    last_ms: Option<i64>,
    /// When the run began, where its beginning was seen.
    run_ms: Option<i64>,
    range: (f32, f32),
    step: Step,
    beat: Beat,
    hold: Quantile,
    valid_ms: u64,
    outs: u32,
    /// Of the first drop-out and the first doubtful number on: most parameters have neither.
    out: Option<Box<Quantile>>,
    candidates: Vec<Candidate>,
}

impl Habit {
    pub fn new(parameter: Parameter, channel: u32) -> Habit {
        Habit {
            parameter,
            channel,
            values: 0,
            last: 0.0,
            last_ms: None,
            run_ms: None,
            range: (f32::MAX, f32::MIN),
            step: Step::default(),
            beat: Beat::default(),
            hold: Quantile::new(0.5),
            valid_ms: 0,
            outs: 0,
            out: None,
            candidates: Vec::new(),
        }
    }

    /// The next value follows nothing.
    pub fn restart(&mut self) {
        (self.last_ms, self.run_ms) = (None, None);
        self.beat.restart();
    }

    /// One word of each line of memory that a value changes.
    pub fn touch(&self) -> u64 {
        let times = self.last_ms.unwrap_or(0) ^ self.run_ms.unwrap_or(0) ^ self.step.settled.since.0 ^ self.beat.settled.since.0;
        let counts = self.hold.count() ^ self.beat.tick ^ self.step.common ^ u32::from(self.beat.phases[0][0]);
        times as u64 ^ self.values ^ u64::from(counts)
    }

    /// A value that passed. `own_ms` is its own time, `delta_ms` the interval of the device's messages.
    pub fn push(&mut self, value: f64, own_ms: i64, delta_ms: i64, at: Timestamp) {
        let mut before = None;
        if let Some(last_ms) = self.last_ms {
            let dt_ms = own_ms.saturating_sub(last_ms);
            if dt_ms <= 0 {
                // The same measurement again, or one of the past.
                if dt_ms < delta_ms.saturating_mul(-10) {
                    self.restart();
                }
                return;
            }
            self.beat.tick =
                self.beat.tick.wrapping_add((dt_ms.saturating_add(delta_ms / 2) / delta_ms).clamp(1, 1 << 20) as u32);
            if dt_ms > delta_ms.saturating_mul(3).max(5000) {
                if dt_ms <= OUT_MAX_MS {
                    self.outs = self.outs.saturating_add(1);
                    let out = self.out.get_or_insert_with(|| Box::new(Quantile::new(0.5)));
                    out.push((dt_ms - delta_ms) as f64 / 1000.0);
                }
                self.run_ms = None;
            } else {
                self.valid_ms = self.valid_ms.saturating_add(dt_ms as u64);
                before = Some(self.last);
                if value != self.last {
                    self.beat.change(at);
                    if let Some(run_ms) = self.run_ms {
                        self.hold.push((own_ms - run_ms) as f64 / 1000.0);
                    }
                    self.run_ms = Some(own_ms);
                }
            }
        }
        self.step.push(value, before, at);
        self.range = (self.range.0.min(value as f32), self.range.1.max(value as f32));
        (self.last, self.last_ms) = (value, Some(own_ms));
        self.values += 1;
        for candidate in &mut self.candidates {
            candidate.going_on = false;
        }
    }

    /// A number that no measurement can be.
    pub fn doubt(&mut self, value: f64, at: Timestamp) {
        let place = self.candidates.iter().position(|c| c.value == value).unwrap_or_else(|| {
            let new = Candidate { value, first: at, ..Candidate::default() };
            if self.candidates.len() < CANDIDATES {
                self.candidates.push(new);
                return self.candidates.len() - 1;
            }
            // The one that was seen least makes room.
            let least = (0..CANDIDATES).min_by_key(|i| self.candidates[*i].seen).unwrap_or(0);
            self.candidates[least] = new;
            least
        });
        let candidate = &mut self.candidates[place];
        candidate.seen = candidate.seen.saturating_add(1);
        candidate.stretches = candidate.stretches.saturating_add(u16::from(!candidate.going_on));
        candidate.going_on = true;
        candidate.last = at;
    }

    /// Numbers that came again and again in place of a value.
    pub fn sentinels(&self) -> impl Iterator<Item = f64> + '_ {
        let known = |c: &&Candidate| {
            c.seen >= SENTINEL_SEEN && c.stretches >= SENTINEL_STRETCHES && c.last.since_s(c.first) >= Profile::LEARN_S
        };
        self.candidates.iter().filter(known).map(|c| c.value)
    }

    /// What has held for long enough to be told: the step in thousandths and the lattice in updates.
    pub fn held(&self, at: Timestamp) -> (Option<u32>, Option<u32>) {
        (self.step.settled.held(at), self.beat.settled.held(at))
    }

    pub fn values(&self) -> u64 {
        self.values
    }

    /// Everything that is known at a time.
    pub fn told(&self, at: Timestamp) -> Learned {
        let (step, lattice) = self.held(at);
        let hours = self.valid_ms as f64 / 3_600_000.0;
        let median = |q: &Quantile, needed: u32| q.value().filter(|_| q.count() >= needed);
        let mut sentinels: Vec<f64> = self.sentinels().collect();
        sentinels.sort_by(f64::total_cmp);
        Learned {
            parameter: self.parameter,
            values: self.values,
            range: (f64::from(self.range.0), f64::from(self.range.1)),
            quantum: step.map(|thousandths| f64::from(thousandths) / 1000.0),
            lattice,
            hold_s: median(&self.hold, RUNS_NEEDED),
            dropouts_per_hour: (hours >= 0.5).then(|| f64::from(self.outs) / hours),
            dropout_s: self.out.as_deref().and_then(|out| median(out, 5)),
            sentinels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    fn fed(seconds: i64, value: impl Fn(i64) -> Option<f64>) -> Learned {
        let mut habit = Habit::new(Parameter::Pr, 0);
        for s in 0..seconds {
            if let Some(v) = value(s) {
                habit.push(v, T0.ms() + s * 1000, 1000, T0.plus_s(s as f64));
            }
        }
        habit.told(T0.plus_s(seconds as f64))
    }

    /// A walk that moves by one or two steps at times that have no period.
    fn walk(s: i64) -> f64 {
        let noise = |i: i64| (i.wrapping_mul(6_364_136_223_846_793_005) >> 33).rem_euclid(7);
        70.0 + (noise(s / 3 + noise(s / 5)) + noise(s)) as f64
    }

    #[test]
    fn the_step_of_the_scale_is_found_and_a_still_value_says_nothing() {
        assert_eq!(fed(4000, |s| Some(walk(s))).quantum, Some(1.0));
        assert_eq!(fed(4000, |s| Some(walk(s) / 10.0)).quantum, Some(0.1));
        assert_eq!(fed(4000, |s| Some(walk(s) * 2.0)).quantum, Some(2.0));
        assert_eq!(fed(4000, |s| Some(walk(s) / 7.0)).quantum, Some(0.0), "no grid");
        assert_eq!(fed(4000, |_| Some(100.0)).quantum, None);
        assert_eq!(fed(1999, |s| Some(walk(s))).quantum, None, "one window is none");
    }

    #[test]
    fn one_value_beside_the_grid_does_not_make_another_scale() {
        assert_eq!(fed(6000, |s| Some(if s == 4500 { 70.5 } else { walk(s) })).quantum, Some(1.0));
        assert_eq!(fed(12_000, |s| Some(if s > 4000 { walk(s) / 10.0 } else { walk(s) })).quantum, Some(0.1), "a new firmware");
    }

    #[test]
    fn a_value_that_is_refreshed_every_fourth_second_has_a_lattice() {
        assert_eq!(fed(6000, |s| Some(walk(s / 4 * 17))).lattice, Some(4));
        assert_eq!(fed(6000, |s| Some(walk(s))).lattice, Some(0));
        let gone = |s: i64| (s % 600 > 25).then(|| walk(s / 4 * 17));
        assert_eq!(fed(8000, gone).lattice, Some(4), "drop-outs do not move the phase");
    }

    #[test]
    fn drop_outs_are_counted_and_measured() {
        let told = fed(7200, |s| (s % 600 >= 15).then(|| walk(s)));
        assert!((told.dropouts_per_hour.unwrap() - 5.64).abs() < 0.1, "{told:?}");
        assert_eq!(told.dropout_s, Some(15.0));
    }

    #[test]
    fn a_number_becomes_a_sentinel_after_three_stretches_and_half_an_hour() {
        let tried = |stretches: i64, apart_s: i64, each: i64| {
            let mut habit = Habit::new(Parameter::Spo2, 0);
            for stretch in 0..stretches {
                for i in 0..each {
                    habit.doubt(127.0, T0.plus_s((stretch * apart_s + i) as f64));
                }
                let ms = T0.ms() + (stretch * apart_s + each) * 1000;
                habit.push(97.0, ms, 1000, Timestamp(ms));
            }
            habit.sentinels().collect::<Vec<_>>()
        };
        assert_eq!(tried(3, 900, 4), [127.0]);
        assert!(tried(2, 1800, 6).is_empty(), "two stretches");
        assert!(tried(3, 890, 4).is_empty(), "29 minutes and 43 s");
        assert!(tried(3, 900, 3).is_empty(), "nine times");
    }
}
