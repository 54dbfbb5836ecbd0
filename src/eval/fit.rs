//! Off line: recordings in, model files out, with the very code that runs at a bed.
//!
//! Recordings are rendered as messages, decoded, and put before the learner of device profiles
//! ([`crate::profile::learn::Habits`]); what is usable goes to the priors ([`collect`]). Copies are dropped first ([`copies`]).
//! Patients fall into groups by a hash ([`super::split`]), and only the fit group is fitted on. The stochastic checks are calibrated
//! by the whole monitor ([`calibrate`]), their thresholds on the second group, and the third is looked at once. The same recordings give the same
//! bytes, whatever the order in which they come.
//!
//! Too little data is refused, and the refusal says what is missing: nothing is guessed.

use super::recording::Recording;
use super::render::{Bed, Encoding, Rate, render};
use super::split::{self, Group};
use crate::calibration::{Calibrations, Pace};
use crate::envelope::{Origin, records_sha256};
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch};
use crate::observation::{Report, Source};
use crate::population::Population;
use crate::population::prior::Priors;
use crate::profile::Profile;
use crate::profile::learn::{Habits, Lesson};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet};
use std::collections::{BTreeMap, BTreeSet};

pub mod calibrate;
pub mod collect;
pub mod copies;

/// A profile needs so many records and bed-days, and so many values of a parameter.
pub const PROFILE_RECORDS: u32 = 5;
pub const PROFILE_BED_DAYS: f64 = 0.5;
pub const PROFILE_VALUES: u64 = 1000;
/// Records of one set that [`profiles`] looks at: habits of a device are soon seen.
const QUICK_RECORDS: usize = 24;

/// Where invented clocks begin.
const START: Timestamp = Timestamp(1_767_600_000_000);
/// Time between two records on one invented clock, seconds.
const BETWEEN_S: f64 = 7200.0;

/// What is fitted, and how it is named.
#[derive(Debug, Clone)]
pub struct Options {
    /// With three or more: rotate, and this fold is the one that is reported on. Fewer: a single split.
    pub folds: u32,
    pub fold: u32,
    /// Day of the fit, and version of the files.
    pub date: String,
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Options { folds: 0, fold: 0, date: "2026-01-01".into(), version: "1.0.0".into() }
    }
}

impl Options {
    fn group(&self) -> String {
        if self.folds < 3 { "fit".into() } else { format!("fit, fold {} of {} reported", self.fold % self.folds, self.folds) }
    }
    fn command(&self) -> String {
        if self.folds < 3 {
            "vitalguard fit RECORDINGS".into()
        } else {
            format!("vitalguard fit RECORDINGS --folds {} --fold {}", self.folds, self.fold % self.folds)
        }
    }
}

/// What a fit gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fitted {
    /// Path under `models/`, and text.
    pub files: Vec<(String, String)>,
    /// What could not be fitted, and what is missing.
    pub refused: Vec<String>,
    /// Records that are copies of another one and were dropped.
    pub copies: Vec<String>,
    /// Records of each group.
    pub groups: BTreeMap<Group, u32>,
    /// What the stochastic checks found on the groups that nothing was fitted on.
    pub told: Vec<String>,
}

/// What a set of recordings is known as. A set that stands not here is named after itself.
const KNOWN: &[(&str, &str, &str)] = &[
    ("ipi_capno", "capnostream-class", "a bedside capnograph with oximeter, one row a second, adults under procedural sedation"),
    ("hfno_tcco2", "transcutaneous-4s", "a transcutaneous monitor with oximeter whose values are refreshed every fourth second"),
    ("mimic3_pap", "icu-minute-means", "an intensive-care monitor's means of a minute, tenths, with a pulmonary line"),
    ("p2009_map", "icu-minute-map", "an intensive-care monitor's mean arterial pressure, one value a minute"),
];

/// Name of the profile of a set.
pub fn profile_name(set: &str) -> String {
    KNOWN.iter().find(|(known, ..)| *known == set).map_or_else(|| set.replace('_', "-"), |(_, name, _)| (*name).to_owned())
}

/// What was seen of one set.
struct Seen {
    habits: Habits,
    records: Vec<String>,
    patients: BTreeSet<String>,
    live_s: f64,
}

impl Seen {
    fn bed_days(&self) -> f64 {
        self.live_s / 86_400.0
    }
    fn origin(&self, set: &str, options: &Options) -> Origin {
        let mut records = self.records.clone();
        Origin {
            sets: vec![set.into()],
            records: self.records.len() as u32,
            patients: self.patients.len() as u32,
            records_sha256: records_sha256(&mut records),
            exposure_bed_days: decimals(self.bed_days(), 3),
            group: options.group(),
            date: options.date.clone(),
            command: options.command(),
            // No check has run here: nothing was looked for that could not be seen.
            none_seen_bound_per_bed_day: None,
        }
    }
    fn profile(&self, set: &str, options: &Options) -> Profile {
        let mut profile = self.habits.profile(&Profile::default(), &profile_name(set));
        let known = KNOWN.iter().find(|(known, ..)| *known == set);
        profile.source = Some(known.map_or_else(|| "statistics of recordings".into(), |(.., words)| (*words).to_owned()));
        // The wire was invented: what it says of itself is no habit of the device.
        (profile.hl7_version, profile.latency) = (None, None);
        profile.order.clear();
        profile.origin = Some(self.origin(set, options));
        profile
    }
}

/// Rounds to so many decimals.
pub(crate) fn decimals(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// One recording as messages of a bed, decoded; `tell` gets each report with its time of arrival. The clock of the record begins
/// at `start`; what comes back is when it ends.
fn decoded(recording: &Recording, number: u32, start: Timestamp, tell: &mut dyn FnMut(&Report, Timestamp)) -> Timestamp {
    let mut decoder = Decoder::new("UTC", Tables::embedded()).expect("UTC is a zone of every database");
    let source = Source { feed: "fit".into(), peer: "fit".into(), ward: "icu".into(), ..Source::default() };
    // The device's own signs of a missing value are what is to be learned.
    let bed = Bed { encoding: Encoding::Sentinel, rate: Rate::Native, ..Bed::of(&recording.set, number, start) };
    let (mut scratch, mut report, mut last) = (Scratch::default(), Report::default(), start);
    for wire in render(recording, &bed) {
        let Ok(message) = Message::read(&wire.bytes, &mut scratch) else { continue };
        decoder.decode(&message, &source, wire.received_at, &mut report);
        last = last.max(wire.received_at);
        tell(&report, wire.received_at);
    }
    last
}

/// Records in an order that does not depend on how they came.
fn ordered<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Vec<&'a Recording> {
    let mut list: Vec<&Recording> = recordings.into_iter().collect();
    list.sort_by(|a, b| (&a.set, &a.name, a.rows.len()).cmp(&(&b.set, &b.name, b.rows.len())));
    list.dedup_by(|a, b| a.set == b.set && a.name == b.name);
    list
}

/// What a set's device does, and what `also` wants to see of it.
fn look(list: &[&Recording], population: &Population, also: &mut dyn FnMut(&Recording, &Report)) -> Seen {
    let mut seen = Seen { habits: Habits::default(), records: Vec::new(), patients: BTreeSet::new(), live_s: 0.0 };
    let base = Profile::default();
    let mut start = START;
    for (number, recording) in list.iter().enumerate() {
        let habits = &mut seen.habits;
        let end = decoded(recording, number as u32, start, &mut |report, at| {
            let doubted = ParamSet::EMPTY;
            habits.learn(&Lesson { report, population, base: &base, at, doubted, frozen: false, blind: false });
            also(recording, report);
        });
        seen.records.push(format!("{}/{}", recording.set, recording.name));
        seen.patients.insert(recording.patient.clone());
        seen.live_s += recording.live_s();
        start = Timestamp(end.plus_s(BETWEEN_S).ms() / 1000 * 1000);
    }
    seen
}

/// By set, in order.
fn by_set<'a>(list: &[&'a Recording]) -> BTreeMap<&'a str, Vec<&'a Recording>> {
    let mut sets: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
    for recording in list {
        sets.entry(recording.set.as_str()).or_default().push(recording);
    }
    sets
}

/// Whether a set is a monitor's and no chart: one value a minute, or more.
fn is_monitored(list: &[&Recording]) -> bool {
    let mut intervals: Vec<f64> = list.iter().map(|r| r.interval_s).collect();
    intervals.sort_by(f64::total_cmp);
    intervals.get(intervals.len() / 2).is_some_and(|middle| *middle <= 61.0)
}

/// The habits of each set's device as a reviewed profile that speaks for the sender by which [`Bed::of`] plays the set, made
/// of at most 24 of its records. For measuring: fit on some patients, judge others.
pub fn profiles<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Vec<Profile> {
    let list = ordered(recordings);
    let (options, population) = (Options::default(), Population::default());
    let mut made = Vec::new();
    for (set, list) in by_set(&list) {
        if !is_monitored(&list) {
            continue;
        }
        let every = list.len().div_ceil(QUICK_RECORDS).max(1);
        let some: Vec<&Recording> = list.iter().copied().step_by(every).collect();
        let seen = look(&some, &population, &mut |_, _| ());
        let mut profile = seen.profile(set, &options).reviewed_by("measurement", "2026-01-01");
        profile.applications = vec![Bed::of(set, 0, START).sender.application];
        made.push(profile);
    }
    made
}

/// The whole fit.
pub fn fit(recordings: &[Recording], options: &Options) -> Fitted {
    let mut fitted = Fitted::default();
    let all = ordered(recordings);
    let dropped = copies::find(&all);
    fitted.copies = dropped.iter().map(|(copy, of)| format!("{copy} repeats {of}")).collect();
    let is_copy = |r: &Recording| dropped.iter().any(|(copy, _)| *copy == format!("{}/{}", r.set, r.name));
    let mut chosen: Vec<&Recording> = Vec::new();
    for recording in all.iter().filter(|r| !is_copy(r)) {
        let group = split::rotated(&recording.patient, options.folds, options.fold);
        *fitted.groups.entry(group).or_default() += 1;
        if group == Group::Fit {
            chosen.push(recording);
        }
    }
    let population = Population::default();
    let mut pools: BTreeMap<Pace, collect::Pool> = BTreeMap::new();
    for (set, list) in by_set(&chosen) {
        if !is_monitored(&list) {
            fitted.refused.push(format!("{set}: charted values, no monitor's: no profile and no prior is fitted on them"));
            continue;
        }
        // What was computed from another set's records would count them twice.
        let derived = list.iter().all(|r| chosen.iter().any(|o| o.set != r.set && o.patient == r.patient));
        let pace = Pace::of(list[0].interval_s);
        let pool = pools.entry(pace).or_default();
        let mut current: Option<(String, collect::Patient)> = None;
        let base = Profile::default();
        let seen = look(&list, &population, &mut |recording, report| {
            if current.as_ref().is_none_or(|(name, _)| *name != recording.name)
                && let Some((_, done)) = current.replace((recording.name.clone(), collect::Patient::new(pace)))
            {
                pool.add(done);
            }
            if let Some((_, patient)) = &mut current {
                for o in &report.observations {
                    let continuous = o.parameter.nature() == Nature::Continuous;
                    if continuous && o.validity.usable() && o.value.is_finite() && !base.is_sentinel(o.parameter, o.value) {
                        patient.push(o, &population);
                    }
                }
            }
        });
        if let Some((_, done)) = current {
            pool.add(done);
        }
        if !derived {
            pool.note(set, &seen.records, seen.patients.iter().cloned(), seen.live_s);
        }
        let (records, bed_days) = (seen.records.len() as u32, seen.bed_days());
        if records < PROFILE_RECORDS || bed_days < PROFILE_BED_DAYS {
            fitted.refused.push(format!(
                "{set}: no profile: {records} of {PROFILE_RECORDS} records, {bed_days:.2} of {PROFILE_BED_DAYS} bed-days"
            ));
            continue;
        }
        for told in seen.habits.told().iter().filter(|t| t.values < PROFILE_VALUES) {
            let key = told.parameter.key();
            fitted.refused.push(format!("{set}: {key}: no step and no lattice: {} of {PROFILE_VALUES} values", told.values));
        }
        let profile = seen.profile(set, options);
        fitted.files.push((format!("profiles/{}.toml", profile.name), profile.to_toml(&options.version)));
    }
    for (pace, pool) in &pools {
        let file = format!("population/adult_{}s.toml", pace.as_str());
        match pool.priors(*pace, options) {
            Ok((priors, refused)) => {
                fitted.refused.extend(refused.into_iter().map(|what| format!("{file}: {what}")));
                fitted.files.push((file, priors.to_toml()));
            }
            Err(what) => fitted.refused.push(format!("{file}: {what}")),
        }
    }
    let kept: Vec<&Recording> = all.iter().copied().filter(|r| !is_copy(r)).collect();
    calibrated(&kept, options, &mut fitted);
    fitted.files.sort();
    fitted
}

/// The calibrations of all of these, by group.
fn calibrated(list: &[&Recording], options: &Options, fitted: &mut Fitted) {
    let list = calibrate::usable(list);
    let raw = calibrate::raw(&list);
    let done = calibrate::calibrate(&calibrate::cases(&list, &raw, options), options, true);
    fitted.refused.extend(done.refused);
    fitted.told = done.told;
    fitted.files.extend(done.calibrations.list().iter().map(|c| (c.path(), c.to_json())));
    fitted.files.extend(done.calibrations.lock().map(|lock| (crate::calibration::lock::PATH.to_owned(), lock.to_toml())));
}

/// The calibrations for each fold of patients, made of the others: two fold groups are fitted on and the next one sets the
/// thresholds. For measuring.
pub fn calibrations(list: &[&Recording], folds: u32) -> Vec<Calibrations> {
    let raw = calibrate::raw(list);
    let of_fold = |fold: u32| {
        let options = Options { folds, fold, ..Options::default() };
        calibrate::calibrate(&calibrate::cases(list, &raw, &options), &options, false).calibrations
    };
    (0..folds).map(of_fold).collect()
}

/// A prior of every file is read back: what is written is what is loaded.
pub fn read_back(fitted: &Fitted) -> Result<(), String> {
    for (path, text) in &fitted.files {
        let read = if path.starts_with("profiles/") {
            Profile::from_toml(text).map(|_| ()).map_err(|e| e.to_string())
        } else if path.starts_with("calibration/") {
            Calibrations::default().take(path, text).map_err(|e| e.to_string())
        } else {
            Priors::from_toml(path, text).map(|_| ()).map_err(|e| e.to_string())
        };
        read.map_err(|reason| format!("{path}: {reason}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
