//! What a device does, learned from its own messages while nothing of it is under suspicion.
//!
//! [`Habits`] is fed one decoded message at a time, after it was judged, and tells what it knows: sentinels, resolution, period
//! and lattice, hold times, the set that is sent, latency, the mean pressure's formula, drop-outs, and what was violated how
//! often. The same code learns on line, in a replay, and off line from recordings. Memory is bounded: [`Habits::PARAMETERS_MAX`]
//! parameters of about 500 bytes; a further one is not followed. Times that go back and repeats teach nothing.
//!
//! **What a number must be to become a sentinel:** outside of what a device of this kind can report at any age, or outside of
//! the soft limits and marked as invalid each time; in three stretches, ten times, over half an hour. A value that a living
//! patient can have is never hidden, whoever repeats it. Zero where it is a measurement (apnoea) never becomes one.

use super::formula::{Corrected, RowOrder};
use super::habit::{Habit, Learned};
use super::{Latency, Pressure, Profile};
use crate::observation::{AgeBand, ObsFlags, Observation, Report, Validity};
use crate::population::Population;
use crate::stats::cadence::Cadence;
use crate::stats::median::Median;
use crate::stats::places::find;
use crate::stats::quantile::Quantile;
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::Hasher as _;

/// A pause of the device's messages this long begins runs and phases anew, intervals, and at least so many seconds.
const PAUSE_INTERVALS: f64 = 5.0;
const PAUSE_S: f64 = 10.0;
/// Values before a parameter counts as one that the device sends.
const SENT_NEEDED: u64 = 10;
/// Messages before what their header says is a habit.
const MESSAGES_NEEDED: u64 = 50;
/// Triples before the formula of the mean is told.
const TRIPLES_NEEDED: u32 = 30;
/// The mean counts as computed where it is the rounded D + (S − D)/3 in this share of the triples.
const COMPUTED_SHARE: f64 = 0.95;
/// How often what is known is looked at, seconds.
const LOOK_S: f64 = 60.0;

/// Systolic, diastolic and mean of the lines whose mean has a formula.
const LINES: [[Parameter; 3]; 4] = [
    [Parameter::AbpSys, Parameter::AbpDia, Parameter::AbpMean],
    [Parameter::NibpSys, Parameter::NibpDia, Parameter::NibpMean],
    [Parameter::PapSys, Parameter::PapDia, Parameter::PapMean],
    [Parameter::BpSys, Parameter::BpDia, Parameter::BpMean],
];

/// What is put before a learner.
#[derive(Debug, Clone, Copy)]
pub struct Lesson<'a> {
    pub report: &'a Report,
    pub population: &'a Population,
    /// What is known of the device without learning.
    pub base: &'a Profile,
    /// Our clock.
    pub at: Timestamp,
    /// What a check has doubted.
    pub doubted: ParamSet,
    /// The bed is under suspicion: no value is learned from.
    pub frozen: bool,
    /// Of something else than an impossible number, which is what a sentinel looks like: then no sentinel is learned either.
    pub blind: bool,
}

/// The form factor of one pressure line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mean {
    k: Quantile,
    spread: Quantile,
    computed: u32,
    /// Own time of the triple that was taken last.
    last: Timestamp,
}

impl Default for Mean {
    fn default() -> Self {
        Mean { k: Quantile::new(0.5), spread: Quantile::new(0.5), computed: 0, last: Timestamp::MIN }
    }
}

impl Mean {
    fn push(&mut self, sys: f64, dia: f64, mean: f64) {
        let pulse = sys - dia;
        if pulse < 5.0 {
            // Of a narrow pulse the quotient is mostly rounding.
            return;
        }
        let k = (mean - dia) / pulse;
        if !(0.0..=1.0).contains(&k) {
            return;
        }
        if let Some(middle) = self.k.value() {
            self.spread.push((k - middle).abs());
        }
        self.k.push(k);
        self.computed += u32::from((mean - (dia + pulse / 3.0)).abs() <= 0.51);
    }

    fn told(&self, sys: Parameter) -> Option<Pressure> {
        let count = self.k.count();
        (count >= TRIPLES_NEEDED).then(|| Pressure {
            of: sys,
            k: self.k.value().unwrap_or(0.33),
            mad: self.spread.value().unwrap_or(0.0),
            computed: f64::from(self.computed) >= COMPUTED_SHARE * f64::from(count),
            triples: count,
        })
    }
}

/// What a device does, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Habits {
    /// First and last message by our clock, and the seconds between them without pauses.
    first_at: Timestamp,
    last_at: Timestamp,
    observed_s: f64,
    messages: u64,
    /// Messages that taught nothing, because the bed was under suspicion.
    frozen: u64,
    /// Interval of the messages by their own times, and the newest of these.
    cadence: Cadence,
    newest: Timestamp,
    /// MSH-12, while it was always the same.
    version: String,
    version_same: bool,
    list: Vec<Habit>,
    means: [Mean; LINES.len()],
    latency: Median,
    corrected: Corrected,
    order: RowOrder,
    /// Findings of pressure_order and time_order.
    pub orders_broken: u32,
    pub times_broken: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Habits {
            first_at: Timestamp::MIN,
            last_at: Timestamp::MIN,
            observed_s: 0.0,
            messages: 0,
            frozen: 0,
            cadence: Cadence::default(),
            newest: Timestamp::MIN,
            version: String::new(),
            version_same: true,
            list: Vec::new(),
            means: [Mean::default(); LINES.len()],
            latency: Median::default(),
            corrected: Corrected::default(),
            order: RowOrder::default(),
            orders_broken: 0,
            times_broken: 0,
        }
    }
}

impl Habits {
    /// Parameters that are followed at most.
    pub const PARAMETERS_MAX: usize = 32;

    /// Takes a message that was judged.
    pub fn learn(&mut self, lesson: &Lesson<'_>) {
        let (report, at) = (lesson.report, lesson.at);
        let pause_s = self.delta_s().map_or(PAUSE_S, |delta| (PAUSE_INTERVALS * delta).max(PAUSE_S));
        let since_s = if self.messages == 0 { 0.0 } else { at.since_s(self.last_at) };
        if self.messages == 0 {
            self.first_at = at;
        }
        self.last_at = self.last_at.max(at);
        self.messages += 1;
        if since_s > pause_s && self.delta_s().is_some() || lesson.frozen {
            self.frozen += u64::from(lesson.frozen);
            self.list.iter_mut().for_each(Habit::restart);
            if lesson.blind {
                return;
            }
        } else {
            self.observed_s += since_s.max(0.0);
        }
        self.header(report);
        let own = |o: &Observation| o.parameter.nature() == Nature::Continuous && o.validity.usable();
        if let Some(newest) = report.observations.iter().filter(|o| own(o)).map(|o| o.effective_at).max() {
            if self.newest > Timestamp::MIN {
                self.cadence.push(newest.since_ms(self.newest));
            }
            self.newest = newest;
            self.latency.push(at.since_ms(newest));
        }
        let delta_ms = (self.delta_s().unwrap_or(1.0) * 1000.0).max(1.0) as i64;
        let mut next = 0;
        for o in &report.observations {
            if !o.flags.has(ObsFlags::SHOWN_ONLY | ObsFlags::WITHDRAWN) {
                self.row(o, lesson, delta_ms, &mut next);
            }
        }
        if !lesson.frozen {
            self.triples(report, lesson);
            self.corrected.push(lesson);
            self.order.push(&report.observations);
        }
    }

    fn header(&mut self, report: &Report) {
        if self.messages == 1 || self.version.is_empty() {
            self.version.clear();
            // A version is a few characters; whatever else stands there is not kept.
            self.version.extend(report.version.chars().take(16));
        } else if !report.version.is_empty() && !report.version.starts_with(self.version.as_str()) {
            self.version_same = false;
        }
    }

    fn row(&mut self, o: &Observation, lesson: &Lesson<'_>, delta_ms: i64, next: &mut usize) {
        let Some(habit) = self.open(o.parameter, o.channel, next) else { return };
        let (parameter, value) = (o.parameter, o.value);
        if !value.is_finite() {
            return;
        }
        let zero = value == 0.0 && !lesson.base.is_sentinel(parameter, 0.0);
        let marked = matches!(o.validity, Validity::Invalid | Validity::Absent | Validity::OffScale | Validity::Sentinel);
        let limits = |known: Option<crate::population::Interval>| known.is_some_and(|limits| !limits.holds(value));
        let impossible = limits(lesson.population.hard(parameter, AgeBand::Unknown));
        if !o.validity.usable() {
            if marked && !zero && (impossible || limits(lesson.population.soft(parameter, AgeBand::Unknown)) || value == 0.0) {
                habit.doubt(value, lesson.at);
            }
        } else if impossible || lesson.base.is_sentinel(parameter, value) {
            if !zero {
                habit.doubt(value, lesson.at);
            }
        } else if lesson.frozen || lesson.doubted.contains(parameter) {
            habit.restart();
        } else {
            habit.push(value, o.effective_at.ms(), delta_ms, lesson.at);
        }
    }

    /// The habits of a parameter; of several channels the first one is followed.
    fn open(&mut self, parameter: Parameter, channel: u32, next: &mut usize) -> Option<&mut Habit> {
        let place = match find(&self.list, next, |h| h.parameter == parameter) {
            Some(place) => place,
            None if self.list.len() < Self::PARAMETERS_MAX => {
                self.list.push(Habit::new(parameter, channel));
                self.list.len() - 1
            }
            None => return None,
        };
        self.list.get_mut(place).filter(|h| h.channel == channel)
    }

    fn triples(&mut self, report: &Report, lesson: &Lesson<'_>) {
        for (line, kept) in LINES.iter().zip(&mut self.means) {
            let value = |p: Parameter| {
                let usable = |o: &&Observation| o.parameter == p && o.validity.usable() && o.value.is_finite();
                report.observations.iter().find(usable).filter(|o| !lesson.base.is_sentinel(p, o.value))
            };
            let Some(s) = value(line[0]) else { continue };
            let (Some(d), Some(m)) = (value(line[1]), value(line[2])) else { continue };
            let together = s.effective_at == d.effective_at && d.effective_at == m.effective_at && s.effective_at > kept.last;
            if together && !line.iter().any(|p| lesson.doubted.contains(*p)) {
                kept.last = s.effective_at;
                kept.push(s.value, d.value, m.value);
            }
        }
    }

    /// Reads one word of each line of memory that a message will need: see [`crate::check::States::touch`].
    pub fn touch(&self) -> u64 {
        self.list.iter().fold(self.messages, |sum, habit| sum ^ habit.touch())
    }

    /// Interval of the messages, seconds; `None` until it is known.
    pub fn delta_s(&self) -> Option<f64> {
        self.cadence.seconds(10)
    }

    /// Messages heard, those of them that taught nothing, and seconds observed.
    pub fn exposure(&self) -> (u64, u64, f64) {
        (self.messages, self.frozen, self.observed_s)
    }

    /// When the device was last heard.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Everything that is known of the parameters, in the order of the list of parameters.
    pub fn told(&self) -> Vec<Learned> {
        let mut told: Vec<Learned> = self.list.iter().filter(|h| h.values() > 0).map(|h| h.told(self.last_at)).collect();
        told.sort_by_key(|t| t.parameter);
        told
    }

    /// What has held long enough, as one number: another number, other facts.
    fn digest(&self) -> u64 {
        let mut hash = rustc_hash::FxHasher::default();
        for habit in &self.list {
            let (step, lattice) = habit.held(self.last_at);
            hash.write_u8(habit.parameter as u8);
            hash.write_u8(u8::from(habit.values() >= SENT_NEEDED));
            hash.write_u32(step.unwrap_or(u32::MAX));
            hash.write_u32(lattice.unwrap_or(u32::MAX));
            habit.sentinels().for_each(|s| hash.write_u64(s.to_bits()));
        }
        for (mean, line) in self.means.iter().zip(LINES) {
            hash.write_u8(mean.told(line[0]).map_or(2, |m| u8::from(m.computed)));
        }
        hash.write_u8(self.corrected.told().map_or(u8::MAX, |f| f as u8));
        self.order.told().iter().for_each(|p| hash.write_u8(*p as u8));
        hash.finish()
    }

    /// What was learned, put into a profile that is not reviewed.
    pub fn profile(&self, base: &Profile, name: &str) -> Profile {
        let told = self.told();
        let delta_s = self.delta_s().filter(|_| self.messages >= MESSAGES_NEEDED);
        let mut profile = Profile { name: name.to_owned(), reviewed: false, ..base.clone() };
        profile.period_s = delta_s.or(base.period_s);
        if self.messages >= MESSAGES_NEEDED && self.version_same && !self.version.is_empty() {
            profile.hl7_version = Some(self.version.clone());
        }
        profile.parameters = told.iter().filter(|t| t.values >= SENT_NEEDED).map(|t| t.parameter).collect();
        for t in &told {
            let p = t.parameter;
            let positive = |value: Option<f64>| value.filter(|v| *v > 0.0 && v.is_finite());
            if let Some(quantum) = positive(t.quantum) {
                profile.quantum.insert(p, quantum);
            }
            if let Some(lattice) = positive(t.lattice.zip(delta_s).map(|(updates, delta)| f64::from(updates) * delta)) {
                profile.lattice_s.insert(p, lattice);
            }
            if let Some(hold) = positive(t.hold_s) {
                profile.hold_s.insert(p, round(hold, 1));
            }
            if let Some(rate) = t.dropouts_per_hour {
                profile.dropouts_per_hour.insert(p, round(rate, 2));
            }
            if t.range.0 <= t.range.1 {
                // `f32` in, decimal out.
                profile.range.insert(p, [round(t.range.0, 3), round(t.range.1, 3)]);
            }
            for sentinel in &t.sentinels {
                let known = profile.sentinels.entry(p).or_default();
                if !known.contains(sentinel) && !profile.zero_is_measured.contains(p) | (*sentinel != 0.0) {
                    known.push(*sentinel);
                }
            }
        }
        profile.sentinels.retain(|_, list| !list.is_empty());
        profile.pressure = self.means.iter().zip(LINES).filter_map(|(mean, line)| mean.told(line[0])).collect();
        for pressure in &mut profile.pressure {
            (pressure.k, pressure.mad) = (round(pressure.k, 3), round(pressure.mad, 3));
        }
        profile.qtc = self.corrected.told().or(base.qtc);
        if !self.order.told().is_empty() {
            profile.order = self.order.told().to_vec();
        }
        if self.latency.count() >= 31 {
            let s = |ms: Option<i64>| ms.unwrap_or(0) as f64 / 1000.0;
            profile.latency = Some(Latency {
                least_s: s(self.latency.low()),
                median_s: s(self.latency.median()),
                mad_s: self.latency.mad() as f64 / 1000.0,
            });
        }
        profile
    }
}

fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// The habits of the device at a bed, and the profile that is made of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Learner {
    /// `dev-…`; empty: nothing was heard.
    pub device: String,
    pub habits: Habits,
    /// MSH-3 whose profile stands below the facts.
    application: String,
    facts: u64,
    looked_at: Timestamp,
    /// pressure_order and time_order spoke of the last message.
    broken: (bool, bool),
    /// The habits as they were when the profile was made.
    told: Option<Box<Profile>>,
}

impl Learner {
    /// What the device at this bed does: what was learned, or what is known without learning.
    pub fn profile<'a>(&'a self, base: &'a Profile) -> &'a Profile {
        if base.reviewed { base } else { self.told.as_deref().unwrap_or(base) }
    }

    /// Whether pressure_order and time_order spoke of the message: each beginning counts once.
    pub fn count(&mut self, order: bool, time: bool) {
        self.habits.orders_broken = self.habits.orders_broken.saturating_add(u32::from(order && !self.broken.0));
        self.habits.times_broken = self.habits.times_broken.saturating_add(u32::from(time && !self.broken.1));
        self.broken = (order, time);
    }

    /// Another device speaks for the bed: its learner comes, this one is given back.
    pub fn turn_to(&mut self, device: &str, known: Option<Learner>) -> Option<Learner> {
        let next = known.unwrap_or_else(|| Learner { device: device.to_owned(), ..Learner::default() });
        let before = std::mem::replace(self, next);
        (!before.device.is_empty()).then_some(before)
    }

    /// Without what stands behind the name in MSH-3.
    pub fn hide_names(&mut self) {
        self.application.truncate(self.application.find('^').unwrap_or(self.application.len()));
    }

    /// Takes a message that was judged. What is known is looked at once a minute, so that a steady feed costs nothing.
    pub fn learn(&mut self, lesson: &Lesson<'_>) {
        self.habits.learn(lesson);
        if lesson.at.since_s(self.looked_at) < LOOK_S && self.application == lesson.report.application {
            return;
        }
        self.looked_at = lesson.at;
        let facts = self.habits.digest();
        if facts != self.facts || self.application != lesson.report.application {
            self.facts = facts;
            lesson.report.application.clone_into(&mut self.application);
            self.told = Some(Box::new(self.habits.profile(lesson.base, &lesson.base.name)));
        }
    }
}

/// The learners of devices that speak for no bed at present, bounded: the one that was heard of longest ago is forgotten first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Aside {
    list: BTreeMap<String, Learner>,
}

impl Aside {
    pub const KEPT: usize = 256;

    /// The bed of `learner` turns to another device.
    pub fn exchange(&mut self, learner: &mut Learner, device: &str) {
        let known = self.list.remove(device);
        if let Some(before) = learner.turn_to(device, known) {
            if self.list.len() >= Self::KEPT {
                let oldest = self.list.iter().min_by_key(|(_, l)| l.habits.last_at()).map(|(device, _)| device.clone());
                if let Some(oldest) = oldest {
                    self.list.remove(&oldest);
                }
            }
            self.list.insert(before.device.clone(), before);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Learner> {
        self.list.values()
    }
}

#[cfg(test)]
mod tests;
