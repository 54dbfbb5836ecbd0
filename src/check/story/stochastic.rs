//! The stochastic checks over recorded patients: how often they speak while nothing is wrong, and what they find in copies.
//!
//! Patients are divided into four folds; each fold is judged with sketches made of the other three.
//! `cargo test --lib stochastic_checks -- --ignored --nocapture`

use super::observation;
use super::recordings::{Moment, files, folder, read};
use crate::bed::Bed;
use crate::calibration::tests::made;
use crate::calibration::{Calibrations, Pace, magnitude};
use crate::check::{Checks, Judge as _, STOCHASTIC as NAMES, States, Verdicts, View, block_scores};
use crate::observation::{AgeBand, Device, MessageKind, Observation, Report, Source, Validity};
use crate::population::Population;
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::collections::BTreeMap;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const FOLDS: u64 = 4;

struct Record {
    name: String,
    fold: u64,
    moments: Vec<Moment>,
}

/// Every record of a set, or every sixtieth second of it.
fn records(set: &str, minute: bool) -> Vec<Record> {
    let Some(root) = folder() else { return Vec::new() };
    let index = std::fs::read_to_string(root.join("INDEX.tsv")).unwrap_or_default();
    let patient: BTreeMap<(&str, &str), &str> = index
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some(((fields.next()?, fields.next()?), fields.next()?))
        })
        .collect();
    let mut list = Vec::new();
    for path in files(set).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(".csv.gz").to_owned();
        let who = patient.get(&(set, name.as_str())).copied().unwrap_or(&name);
        let hash = who.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut moments = read(&path);
        if minute {
            let mut next = f64::NEG_INFINITY;
            moments.retain_mut(|(t, values)| {
                let keep = *t >= next;
                if keep {
                    next = *t + 60.0;
                    values.iter_mut().for_each(|v| v.1 = v.1.map(f64::round));
                }
                keep
            });
        }
        list.push(Record { name, fold: (hash >> 32) % FOLDS, moments });
    }
    list
}

/// One bed with the stochastic checks alone.
struct Desk<'a> {
    checks: Checks,
    states: States,
    bed: Bed,
    population: Population,
    profile: Profile,
    source: Source,
    verdicts: Verdicts,
    report: Report,
    calibrations: &'a Calibrations,
}

impl<'a> Desk<'a> {
    fn new(calibrations: &'a Calibrations) -> Desk<'a> {
        let mut bed = Bed::new("icu".into(), "A03".into(), T0);
        bed.age = AgeBand::Adult;
        let mut report = Report { kind: MessageKind::Vitals, dialect: "test", ..Report::default() };
        report.devices.push(Device::default());
        Desk {
            checks: Checks::default(),
            states: States::default(),
            bed,
            population: Population::default(),
            profile: super::reviewed(),
            source: Source::default(),
            verdicts: Verdicts::default(),
            report,
            calibrations,
        }
    }

    /// One message. `scores`: they are collected and nothing is judged.
    fn send(&mut self, t: f64, values: &[(Parameter, Option<f64>)], scores: Option<&mut Scores>) {
        let now = T0.plus_s(t);
        self.report.observations.clear();
        for (parameter, value) in values {
            let mut o: Observation = observation(*parameter, value.unwrap_or(f64::NAN), now);
            if value.is_none() {
                o.validity = Validity::Absent;
            }
            self.report.observations.push(o);
        }
        self.verdicts.clear();
        let view = View::message(now, &self.report, &self.source, 1, &self.bed, &self.population, &self.profile);
        let view = View { calibrations: self.calibrations, ..view };
        let (checks, states, out) = (&self.checks, &mut self.states, &mut self.verdicts);
        let pace = view.pace();
        match scores {
            Some(scores) => block_scores(checks, states, &view, &mut |check, score| {
                scores.entry((check, pace)).or_default().push(magnitude(check, score.value));
            }),
            None => {
                checks.level_shift.judge(&mut states.level_shift, &view, out);
                checks.drift_alone.judge(&mut states.drift_alone, &view, out);
                checks.scale_shift.judge(&mut states.scale_shift, &view, out);
                checks.variability_loss.judge(&mut states.variability_loss, &view, out);
                checks.coupling_loss.judge(&mut states.coupling_loss, &view, out);
            }
        }
        let doubted: Vec<Parameter> =
            self.verdicts.list.iter().filter(|v| !v.is_report_only()).flat_map(|v| v.params.iter()).collect();
        for o in &self.report.observations {
            if !o.validity.usable() || self.profile.is_sentinel(o.parameter, o.value) {
                self.bed.note_absent(o.parameter, o.channel, Validity::Absent, now);
            } else if doubted.contains(&o.parameter) {
                self.bed.note_doubted(o, now);
            } else {
                self.bed.learn(&self.population, o, now, !doubted.is_empty());
            }
        }
        self.bed.note_message(now);
    }
}

type Scores = BTreeMap<(&'static str, Pace), Vec<f64>>;

/// The scores of each fold.
fn collect(records: &[Record]) -> Vec<Scores> {
    let none = Calibrations::default();
    let mut folds = vec![Scores::new(); FOLDS as usize];
    for record in records {
        let mut desk = Desk::new(&none);
        for (t, values) in &record.moments {
            desk.send(*t, values, Some(&mut folds[record.fold as usize]));
        }
    }
    folds
}

/// Calibrations of every fold but one.
fn without(folds: &[Scores], left_out: u64) -> Calibrations {
    let mut all = Scores::new();
    for (_, fold) in folds.iter().enumerate().filter(|(i, _)| *i as u64 != left_out) {
        for (key, scores) in fold {
            all.entry(*key).or_default().extend(scores);
        }
    }
    let mut calibrations = Calibrations::default();
    for ((check, pace), mut scores) in all {
        if scores.len() >= 100 {
            calibrations.add(made(check, pace, &mut scores));
        }
    }
    calibrations
}

/// Episodes of each check (pause of 300 s), judged blocks, live days.
#[derive(Default, Debug)]
struct Outcome {
    episodes: BTreeMap<(&'static str, &'static str), u32>,
    records: BTreeMap<&'static str, u32>,
    looked: BTreeMap<&'static str, u32>,
    /// Time after the first hour and warm-up, in which the checks can speak.
    active_days: f64,
    days: f64,
    /// State of all checks and the blocks, largest.
    bytes: usize,
    /// Checks that looked after this time.
    watch_from_s: f64,
    watched: std::collections::BTreeSet<&'static str>,
}

type Began = Vec<(&'static str, f64)>;

fn run(record: &Record, calibrations: &Calibrations, outcome: &mut Outcome) -> Began {
    let mut desk = Desk::new(calibrations);
    let mut last: BTreeMap<(&'static str, &'static str), f64> = BTreeMap::new();
    let (mut before, mut began) = (f64::NAN, Vec::new());
    for (t, values) in &record.moments {
        desk.send(*t, values, None);
        let step = t - before;
        if step <= 60.5 {
            outcome.days += step / 86_400.0;
            outcome.active_days += if *t > 3600.0 { step / 86_400.0 } else { 0.0 };
        }
        before = *t;
        for v in &desk.verdicts.list {
            let name = v.check.meta().name;
            let key = (name, v.params.iter().next().map_or("", Parameter::key));
            let seen = last.insert(key, *t);
            if seen.is_none_or(|seen| t - seen > 300.0) {
                *outcome.episodes.entry(key).or_default() += 1;
                began.push((name, *t));
            }
        }
        for name in NAMES {
            let id = crate::check::CATALOGUE.iter().position(|m| m.name == name).expect("listed");
            let passed = desk.verdicts.passed(crate::check::CheckId(id as u8));
            *outcome.looked.entry(name).or_default() += u32::from(passed);
            if passed && *t > outcome.watch_from_s {
                outcome.watched.insert(name);
            }
        }
    }
    outcome.bytes = outcome.bytes.max(postcard::to_stdvec(&(&desk.states, &desk.bed.blocks)).map_or(0, |b| b.len()));
    for name in NAMES {
        *outcome.records.entry(name).or_default() += u32::from(began.iter().any(|b| b.0 == name));
    }
    began
}

/// What follows `start_s` is changed.
fn changed(record: &Record, start_s: f64, change: impl Fn(f64, usize, Parameter, Option<f64>) -> Option<f64>) -> Record {
    let mut moments = record.moments.clone();
    for (at, (t, values)) in moments.iter_mut().enumerate().filter(|(_, m)| m.0 >= start_s) {
        for (parameter, value) in values {
            *value = change(*t - start_s, at, *parameter, *value);
        }
    }
    Record { name: record.name.clone(), fold: record.fold, moments }
}

/// Found share: an episode of the check begins within the window and none does in the clean copy.
fn found(name: &str, clean: &[(&'static str, f64)], attacked: &[(&'static str, f64)], start_s: f64, end_s: f64) -> Option<f64> {
    let within = |list: &[(&'static str, f64)]| {
        list.iter().find(|b| b.0 == name && (start_s..=end_s).contains(&b.1)).map(|b| b.1 - start_s)
    };
    within(attacked).filter(|_| within(clean).is_none())
}

fn say(what: &str, delays: &mut [f64], of: usize, could: usize) {
    delays.sort_by(f64::total_cmp);
    let median = delays.get(delays.len() / 2).copied().unwrap_or(f64::NAN);
    println!("    {what}: {} of {of} found ({could} judged in that time), median {:.0} min", delays.len(), median / 60.0);
}

#[test]
#[ignore = "minutes: every record, twice"]
fn stochastic_checks_over_recorded_patients() {
    let wanted =
        std::env::var("VG_SETS").unwrap_or_else(|_| "hfno_tcco2+ipi_capno mimic3_pap+p2009_map+mimic3_wdb_sample".into());
    for set in wanted.split_whitespace() {
        let (set, minute) = set.strip_suffix("/60").map_or((set, false), |s| (s, true));
        let records: Vec<Record> = set.split('+').flat_map(|set| records(set, minute)).collect();
        let folds = collect(&records);
        let mut counts: BTreeMap<(&str, Pace), usize> = BTreeMap::new();
        for (key, scores) in folds.iter().flatten() {
            *counts.entry(*key).or_default() += scores.len();
        }
        println!("{set} {}: {} records, scores {counts:?}", if minute { "at one a minute" } else { "" }, records.len());
        // One record is its own calibration: nothing is claimed of it.
        let calibrations: Vec<Calibrations> =
            (0..FOLDS).map(|fold| without(&folds, if records.len() > 1 { fold } else { FOLDS })).collect();
        let mut outcome = Outcome::default();
        let clean: Vec<_> = records.iter().map(|r| run(r, &calibrations[r.fold as usize], &mut outcome)).collect();
        println!(
            "    {:.2} bed-days, {:.2} after the first hour, blocks judged {:?}",
            outcome.days, outcome.active_days, outcome.looked
        );
        for (r, began) in records.iter().zip(&clean) {
            for (name, t) in began.iter().filter(|b| ["drift_alone", "coupling_loss"].contains(&b.0)) {
                println!("    {name} in {} at {t} s", r.name);
            }
        }
        println!("    episodes {:?}, records with any {:?}", outcome.episodes, outcome.records);
        // Copies: one parameter drifts alone, one is scaled, all lose their coupling.
        let start_s = 3900.0;
        let long: Vec<(usize, &Record)> =
            records.iter().enumerate().filter(|(_, r)| r.moments.last().is_some_and(|m| m.0 >= start_s + 1800.0)).collect();
        let first = |r: &Record| {
            let there: Vec<Parameter> = r.moments.iter().take(3000).flat_map(|m| &m.1).map(|v| v.0).collect();
            [Parameter::PapMean, Parameter::Hr, Parameter::Pr, Parameter::AbpMean].into_iter().find(|p| there.contains(p))
        };
        for (what, name, share) in
            [("drift alone, +20 % in 30 min", "drift_alone", 0.2), ("drift alone, +40 % in 30 min", "drift_alone", 0.4)]
        {
            let (mut delays, mut could) = (Vec::new(), 0);
            for (i, r) in &long {
                let target = first(r);
                let copy =
                    changed(
                        r,
                        start_s,
                        |t, _, p, v| if Some(p) == target { v.map(|v| v * (1.0 + share * (t / 1800.0).min(1.0))) } else { v },
                    );
                let mut scratch = Outcome { watch_from_s: start_s, ..Outcome::default() };
                let began = run(&copy, &calibrations[r.fold as usize], &mut scratch);
                could += usize::from(scratch.watched.contains(name) || began.iter().any(|b| b.0 == name));
                delays.extend(found(name, &clean[*i], &began, start_s, start_s + 1860.0));
            }
            say(what, &mut delays, long.len(), could);
        }
        for share in [0.8, 1.25] {
            let (mut scaled, mut shifted) = (Vec::new(), Vec::new());
            for (i, r) in &long {
                let target = first(r);
                let copy = changed(r, start_s, |_, _, p, v| if Some(p) == target { v.map(|v| v * share) } else { v });
                let began = run(&copy, &calibrations[r.fold as usize], &mut Outcome::default());
                scaled.extend(found("scale_shift", &clean[*i], &began, start_s, start_s + 1860.0));
                shifted.extend(found("level_shift", &clean[*i], &began, start_s, start_s + 1860.0));
            }
            say(&format!("scaled by {share}, scale_shift"), &mut scaled, long.len(), long.len());
            say(&format!("scaled by {share}, level_shift"), &mut shifted, long.len(), long.len());
        }
        let (mut delays, mut could) = (Vec::new(), 0);
        for (i, r) in &long {
            // Every parameter repeats its own past, each another one: levels and spreads are true, the coupling is lost.
            let per_minute = r.moments.len() as f64 / r.moments.last().map_or(1.0, |m| m.0 / 60.0);
            let copy = changed(r, start_s, |t, _, p, v| {
                let back = 20.0 + 5.0 * (p as u32 % 8) as f64;
                let past = ((start_s + (t % (back * 60.0))) / 60.0 - back) * per_minute;
                let at = (past.max(0.0) as usize).min(r.moments.len() - 1);
                r.moments[at].1.iter().find(|x| x.0 == p).map_or(v, |x| x.1)
            });
            let mut scratch = Outcome { watch_from_s: start_s, ..Outcome::default() };
            let began = run(&copy, &calibrations[r.fold as usize], &mut scratch);
            could += usize::from(scratch.watched.contains("coupling_loss") || began.iter().any(|b| b.0 == "coupling_loss"));
            delays.extend(found("coupling_loss", &clean[*i], &began, start_s, start_s + 1860.0));
        }
        say("coupling lost", &mut delays, long.len(), could);
    }
}
