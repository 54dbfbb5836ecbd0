//! How the stochastic checks behave on recordings while nothing is wrong: the scores that the monitor itself ranks, as sketches,
//! and which of the checks may accuse by them.
//!
//! Every recording goes through the whole monitor ([`play`]); nothing is computed beside it. First without any calibration, then
//! once more with what this gave, since what a check suspects it does not learn: the second sketches are frozen. Then the
//! thresholds ([`crate::calibration::lock`]): the patients of the second group are played with the sketches, every check that
//! finds something there gets a tenfold run length and all are played again, until nothing is found or a check has lost its
//! vote. The third group is played once.

use super::{Options, decimals};
use crate::calibration::detector::WARM_S;
use crate::calibration::lock::{
    FACTORS, Group as Judged, Hard, JUDGED_MIN_BED_DAYS, Rule, Seen, TAMPER_BUDGET_PER_BED_DAY, Thresholds,
};
use crate::calibration::{BLOCKS_MIN, Calibration, Calibrations, PATIENTS_MIN, Pace, Table, magnitude};
use crate::check::{Assessment, CheckId, STOCHASTIC, Tapped};
use crate::envelope::{Origin, records_sha256};
use crate::eval::measure;
use crate::eval::recording::{Recording, Sets};
use crate::eval::render::{Rate, render};
use crate::eval::runner::{EPISODE_GAP_S, Mark, Ward, count};
use crate::eval::score::poisson_upper;
use crate::eval::split::{self, Group};
use crate::models::Models;
use crate::monitor::Settings;
use crate::stats::sketch::Sketch;
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Slower than this is a chart and no monitor, seconds.
const CHARTED_S: f64 = 61.0;

/// Rules of one bed that report only because nobody has seen what they look for: what they find on clean recordings is told.
const UNMEASURED: [&str; 5] = ["T04", "T09", "T10", "M05", "M07"];

/// One check at one cadence.
type Key = (&'static str, Pace);

/// What one recording gave under one set of calibrations.
#[derive(Debug, Clone, Default)]
pub struct Played {
    scores: BTreeMap<Key, Vec<(Parameter, f64)>>,
    /// Blocks that were judged, and how often something began to be found.
    blocks: BTreeMap<Key, u32>,
    episodes: BTreeMap<Key, u32>,
    hard: BTreeMap<&'static str, u32>,
    /// How often any other check began to find something, by its id.
    found: BTreeMap<&'static str, u32>,
    /// Tamper alerts that call a nurse.
    tamper: u32,
}

/// A recording in its place.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub recording: &'a Recording,
    pub group: Group,
    /// What it gave without any calibration.
    pub raw: &'a Played,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Calibrated {
    pub calibrations: Calibrations,
    /// What could not be made, and what is missing.
    pub refused: Vec<String>,
    /// What each check found on the second and the third group: without calibrations, and with them.
    pub told: Vec<String>,
}

/// Time between two scores of one parameter, seconds.
fn block_s(check: &str) -> f64 {
    if check == "variability_loss" { 300.0 } else { 60.0 }
}

/// Of a list in order those that calibrations are made of: a monitor's, with a clock finer than its rows, each once.
pub fn usable<'a>(list: &[&'a Recording]) -> Vec<&'a Recording> {
    let sets = Sets::new(list.iter().copied());
    list.iter().copied().filter(|r| r.interval_s <= CHARTED_S && !r.has_coarse_clock() && !sets.elsewhere(r)).collect()
}

/// A monitor of a ward with these calibrations and nothing else that a site could have told it.
pub fn ward(calibrations: &Calibrations) -> (Ward, Mark) {
    let models = Arc::new(Models::shipped().with_calibrations(calibrations.clone()));
    let mut ward = Ward::new(Settings { models, ..Settings::default() });
    ward.tap();
    let empty = ward.mark();
    (ward, empty)
}

/// One recording through the monitor.
pub fn play((ward, empty): &mut (Ward, Mark), recording: &Recording, number: u32) -> Played {
    let bed = measure::bed(recording, number, measure::turn(recording, 0), Rate::Native);
    let mut played = Played::default();
    let mut held: BTreeMap<(CheckId, bool), Timestamp> = BTreeMap::new();
    let mut paces: BTreeMap<CheckId, Pace> = BTreeMap::new();
    ward.go_on(empty);
    for wire in render(recording, &bed) {
        ward.push(&wire);
        let mut judged: BTreeSet<Key> = BTreeSet::new();
        for tapped in ward.tapped() {
            match tapped {
                Tapped::Score { check, pace, score } => {
                    let key = (check.meta().name, pace);
                    let size = magnitude(check.meta().name, score.value);
                    if size.is_finite() {
                        played.scores.entry(key).or_default().push((score.parameter, size));
                    }
                    judged.insert(key);
                    paces.insert(check, pace);
                }
                Tapped::Holds { check, hard } => {
                    let last = held.insert((check, hard), wire.received_at);
                    if last.is_some_and(|last| wire.received_at.since_s(last) <= EPISODE_GAP_S) {
                        // It goes on.
                        continue;
                    }
                    if hard {
                        *played.hard.entry(check.meta().id).or_default() += 1;
                    } else if let Some(pace) = paces.get(&check) {
                        *played.episodes.entry((check.meta().name, *pace)).or_default() += 1;
                    } else {
                        *played.found.entry(check.meta().id).or_default() += 1;
                    }
                }
            }
        }
        for key in judged {
            *played.blocks.entry(key).or_default() += 1;
        }
    }
    played.tamper = count(ward.episodes(), |e| e.nurse_at.filter(|_| e.assessment == Assessment::Tamper)) as u32;
    played
}

/// What every recording of a list gives without any calibration: the same for every split of the patients. Where no check gets
/// warm there is nothing.
pub fn raw(list: &[&Recording]) -> Vec<Played> {
    let mut ward = ward(&Calibrations::default());
    let mut one = |(number, r): (usize, &&Recording)| {
        if r.span_s() < WARM_S { Played::default() } else { play(&mut ward, r, number as u32) }
    };
    list.iter().enumerate().map(&mut one).collect()
}

/// A list and what it gave, split.
pub fn cases<'a>(list: &[&'a Recording], raw: &'a [Played], options: &Options) -> Vec<Case<'a>> {
    let group = |r: &Recording| split::rotated(&r.patient, options.folds, options.fold);
    list.iter().zip(raw).map(|(recording, raw)| Case { recording, group: group(recording), raw }).collect()
}

/// The calibrations of a list that was split, in its order. `report`: the third group is looked at.
pub fn calibrate(cases: &[Case<'_>], options: &Options, report: bool) -> Calibrated {
    let mut out = Calibrated::default();
    let of = |group: Group| cases.iter().enumerate().filter(move |(_, c)| c.group == group);
    let patients: BTreeSet<&str> = of(Group::Fit).map(|(_, c)| c.recording.patient.as_str()).collect();
    if patients.len() < PATIENTS_MIN as usize {
        // A sum of nothing is -0.
        let days = 0.0 + of(Group::Fit).map(|(_, c)| c.recording.live_s() / 86_400.0).sum::<f64>();
        out.refused.push(format!(
            "calibration: {} of {PATIENTS_MIN} patients to fit on, {days:.2} bed-days (1000 blocks of a check are 0.69)",
            patients.len()
        ));
        return out;
    }
    let first: Vec<(&Recording, &Played)> = of(Group::Fit).map(|(_, c)| (c.recording, c.raw)).collect();
    let (rough, refused) = sketches(&first, options);
    if rough.list().is_empty() {
        out.refused = refused;
        return out;
    }
    let mut ward_of_rough = ward(&rough);
    let again: Vec<(&Recording, Played)> =
        of(Group::Fit).map(|(at, c)| (c.recording, play(&mut ward_of_rough, c.recording, at as u32))).collect();
    let (calibrations, refused) = sketches(&again.iter().map(|(r, p)| (*r, p)).collect::<Vec<_>>(), options);
    (out.calibrations, out.refused) = (calibrations, refused);
    freeze(&mut out, cases, options, report);
    out
}

/// Scores of one parameter, and of whom they are.
#[derive(Default)]
struct Pile<'a> {
    scores: Vec<f64>,
    patients: BTreeSet<&'a str>,
}

/// Sketches of what recordings gave, and what was refused.
fn sketches(list: &[(&Recording, &Played)], options: &Options) -> (Calibrations, Vec<String>) {
    let (mut all, mut refused) = (Calibrations::default(), Vec::new());
    for key in STOCHASTIC.iter().flat_map(|check| Pace::ALL.map(|pace| (*check, pace))) {
        let (check, pace) = key;
        // How values go together is a matter of the bed; everything else one of its parameter.
        let pooled = check == "coupling_loss";
        let mut piles: BTreeMap<Option<Parameter>, Pile<'_>> = BTreeMap::new();
        let mut used: Vec<&Recording> = Vec::new();
        for (recording, played) in list {
            let Some(scores) = played.scores.get(&key) else { continue };
            used.push(recording);
            for (parameter, score) in scores {
                let pile = piles.entry((!pooled).then_some(*parameter)).or_default();
                pile.scores.push(*score);
                pile.patients.insert(&recording.patient);
            }
        }
        let file = format!("calibration/{check}_{}.json", pace.as_str());
        let mut tables = Vec::new();
        for (parameter, mut pile) in piles {
            let (patients, blocks) = (pile.patients.len() as u32, pile.scores.len() as u64);
            let name = parameter.map_or("all", Parameter::key);
            let days = blocks as f64 * block_s(check) / 86_400.0;
            let sketch = Sketch::fit(&mut pile.scores).filter(|_| patients >= PATIENTS_MIN && blocks >= BLOCKS_MIN);
            let Some(sketch) = sketch else {
                refused.push(missing(&file, name, patients, blocks, days, check));
                continue;
            };
            tables.push(Table { parameters: parameter.into_iter().collect(), patients, bed_days: decimals(days, 3), sketch });
        }
        if used.is_empty() {
            refused.push(missing(&file, "every parameter", 0, 0, 0.0, check));
        }
        if !tables.is_empty() {
            let origin = origin(&used, options.group(), options);
            all.add(Calibration::new(&options.version, check, pace, block_s(check), origin, tables));
        }
    }
    (all, refused)
}

fn missing(file: &str, name: &str, patients: u32, blocks: u64, days: f64, check: &str) -> String {
    let needed = BLOCKS_MIN as f64 * block_s(check) / 86_400.0;
    format!(
        "{file}: {name}: {patients} of {PATIENTS_MIN} patients, {blocks} of {BLOCKS_MIN} blocks ({days:.2} of {needed:.2} \
         bed-days after the first hour)"
    )
}

fn origin(list: &[&Recording], group: String, options: &Options) -> Origin {
    let sets: BTreeSet<&str> = list.iter().map(|r| r.set.as_str()).collect();
    let patients: BTreeSet<&str> = list.iter().map(|r| r.patient.as_str()).collect();
    Origin {
        sets: sets.into_iter().map(str::to_owned).collect(),
        records: list.len() as u32,
        patients: patients.len() as u32,
        records_sha256: records_sha256(&mut list.iter().map(|r| format!("{}/{}", r.set, r.name)).collect()),
        exposure_bed_days: decimals(list.iter().map(|r| r.live_s()).sum::<f64>() / 86_400.0, 3),
        group,
        date: options.date.clone(),
        command: options.command(),
        none_seen_bound_per_bed_day: None,
    }
}

/// What all recordings of a group gave.
#[derive(Default)]
struct Sum<'a> {
    recordings: Vec<&'a Recording>,
    seen: BTreeMap<Key, Seen>,
    hard: BTreeMap<&'static str, u32>,
    /// By id: how often, and in how many recordings.
    found: BTreeMap<&'static str, (u32, u32)>,
    tamper: u32,
}

impl<'a> Sum<'a> {
    fn add(&mut self, recording: &'a Recording, played: &Played) {
        self.recordings.push(recording);
        self.tamper += played.tamper;
        for (id, n) in &played.hard {
            *self.hard.entry(id).or_default() += n;
        }
        for (id, n) in &played.found {
            let (all, records) = self.found.entry(id).or_default();
            (*all, *records) = (*all + n, *records + 1);
        }
        for (key, blocks) in &played.blocks {
            let episodes = played.episodes.get(key).copied().unwrap_or(0);
            let seen = self.seen.entry(*key).or_default();
            seen.records += 1;
            seen.judged_bed_days += f64::from(*blocks) * block_s(key.0) / 86_400.0;
            seen.episodes += episodes;
            seen.records_with += u32::from(episodes > 0);
        }
    }

    fn of(&self, key: &Key) -> Seen {
        let mut seen = self.seen.get(key).copied().unwrap_or_default();
        if seen.judged_bed_days > 0.0 {
            seen.upper_per_bed_day = decimals(poisson_upper(u64::from(seen.episodes)) / seen.judged_bed_days, 3);
        }
        seen.judged_bed_days = decimals(seen.judged_bed_days, 3);
        seen
    }

    fn days(&self) -> f64 {
        (0.0 + self.recordings.iter().map(|r| r.live_s()).sum::<f64>()) / 86_400.0
    }

    fn within_budget(&self) -> bool {
        f64::from(self.tamper) <= TAMPER_BUDGET_PER_BED_DAY * self.days()
    }

    fn group(&self, group: Group, options: &Options) -> Judged {
        let hard = self.hard.iter().map(|(id, n)| Hard { check: (*id).to_owned(), episodes: *n }).collect();
        Judged {
            tamper_episodes: self.tamper,
            tamper_upper_per_bed_day: decimals(poisson_upper(u64::from(self.tamper)) / self.days().max(1e-9), 3),
            origin: origin(&self.recordings, options.group().replacen("fit", group.as_str(), 1), options),
            hard,
        }
    }
}

/// Chooses on the second group, looks at the third.
fn freeze(out: &mut Calibrated, cases: &[Case<'_>], options: &Options, report: bool) {
    let of = |group: Group| cases.iter().enumerate().filter(move |(_, c)| c.group == group);
    if out.calibrations.list().is_empty() {
        return;
    }
    let wanted: &[Group] = if report { &[Group::Calibrate, Group::Report] } else { &[Group::Calibrate] };
    if let Some(empty) = wanted.iter().find(|group| of(**group).next().is_none()) {
        out.refused.push(format!("{}: no recording in the group {}", crate::calibration::lock::PATH, empty.as_str()));
        return;
    }
    let keys: Vec<Key> = out
        .calibrations
        .list()
        .iter()
        .filter_map(|c| Some((*STOCHASTIC.iter().find(|name| **name == c.check)?, c.cadence)))
        .collect();
    let rule = |(check, cadence): &Key| Rule {
        check: (*check).to_owned(),
        cadence: *cadence,
        arl_factor: FACTORS[0],
        votes: true,
        reason: String::new(),
        calibrate: Seen::default(),
        report: Seen::default(),
    };
    let mut rules: Vec<Rule> = keys.iter().map(rule).collect();
    let sum = |calibrations: &Calibrations, rules: &[Rule], group: Group| {
        let mut frozen = calibrations.clone();
        let nothing = Sum::default().group(group, options);
        frozen.freeze(Thresholds::new(&options.version, nothing.clone(), nothing, rules.to_vec()));
        let mut ward = ward(&frozen);
        let mut sum = Sum::default();
        for (at, case) in of(group) {
            sum.add(case.recording, &play(&mut ward, case.recording, at as u32));
        }
        sum
    };
    // Each round raises or silences at least one check: there is an end.
    let calibrated = loop {
        let judged = sum(&out.calibrations, &rules, Group::Calibrate);
        let mut changed = false;
        let budget = judged.within_budget();
        for (key, rule) in keys.iter().zip(&mut rules).filter(|(_, rule)| rule.votes) {
            let seen = judged.of(key);
            let against = seen.against();
            if against.is_none() && budget {
                continue;
            }
            changed = true;
            let next = FACTORS.iter().find(|factor| **factor > rule.arl_factor);
            // A longer run does not make up for time that nobody has judged.
            match next.filter(|_| seen.judged_bed_days >= JUDGED_MIN_BED_DAYS) {
                Some(factor) => rule.arl_factor = *factor,
                None => {
                    rule.votes = false;
                    rule.reason = against.unwrap_or_else(|| "tamper alerts on clean recordings are over the budget".into());
                    // What it reports, it reports at the run length that it has reached.
                    if rule.arl_factor > FACTORS[0] {
                        rule.reason = format!("{} at {} times the run length", rule.reason, rule.arl_factor);
                    }
                }
            }
        }
        if !changed {
            break judged;
        }
    };
    let reported = report.then(|| sum(&out.calibrations, &rules, Group::Report));
    for (key, rule) in keys.iter().zip(&mut rules) {
        rule.calibrate = calibrated.of(key);
        rule.report = reported.as_ref().map_or(Seen::default(), |r| r.of(key));
    }
    tell(out, cases, &keys, &rules);
    for id in UNMEASURED {
        let of = |sum: Option<&Sum<'_>>| {
            let (all, records) = sum.and_then(|sum| sum.found.get(id)).copied().unwrap_or_default();
            format!("{all} in {:.2} bed-days ({records} records)", sum.map_or(0.0, Sum::days))
        };
        let (first, last) = (of(Some(&calibrated)), of(reported.as_ref()));
        out.told.push(format!("{id}: reports only; calibrate {first}, report {last}"));
    }
    let first = calibrated.group(Group::Calibrate, options);
    // Where nobody looks at the third group, the second stands for both: such thresholds are written nowhere.
    let last = reported.as_ref().map_or_else(|| first.clone(), |r| r.group(Group::Report, options));
    for (name, group) in [("calibrate", &first), ("report", &last)] {
        let hard: Vec<String> = group.hard.iter().map(|h| format!("{} {}", h.check, h.episodes)).collect();
        out.told.push(format!(
            "{name}: {} records, {:.2} bed-days, {} tamper alerts, hard findings: {}",
            group.origin.records,
            group.origin.exposure_bed_days,
            group.tamper_episodes,
            if hard.is_empty() { "none".to_owned() } else { hard.join(", ") }
        ));
    }
    out.calibrations.freeze(Thresholds::new(&options.version, first, last, rules));
}

/// One line a check and cadence: without calibrations, and with what was frozen.
fn tell(out: &mut Calibrated, cases: &[Case<'_>], keys: &[Key], rules: &[Rule]) {
    for (key, rule) in keys.iter().zip(rules) {
        let before = |group: Group| {
            let mut sum = Sum::default();
            cases.iter().filter(|c| c.group == group).for_each(|c| sum.add(c.recording, c.raw));
            sum.of(key)
        };
        let words =
            |seen: Seen| format!("{} in {:.2} bed-days ({} records)", seen.episodes, seen.judged_bed_days, seen.records_with);
        let vote = if rule.votes {
            format!("votes at {} times the run length", rule.arl_factor)
        } else {
            format!("reports only: {}", rule.reason)
        };
        out.told.push(format!(
            "{}_{}: {vote}; calibrate {}, uncalibrated {}; report {}, uncalibrated {}",
            rule.check,
            rule.cadence.as_str(),
            words(rule.calibrate),
            words(before(Group::Calibrate)),
            words(rule.report),
            words(before(Group::Report)),
        ));
    }
}
