//! The whole benchmark as a list of jobs, each of them pure: which recordings, which setups, which attacks; and what the results
//! amount to. Threads and files belong to the command line.

use super::attack::{Attack, Kind, Level, Truth, Unfit};
use super::control::{Control, play};
use super::fit::{calibrations, profiles};
use super::guard::{all_but_levels, guard};
use super::measure::{self, Case, Clean, Draw, Event, Measured};
use super::recording::{Recording, Sets};
use super::render::{Encoding, Rate, feed, render};
use super::report::{AttackLine, CleanLine, ControlLine, Cost, POOLED, PerDay, Rate as Found, Report, SafetyLine, SetLine};
use super::runner::{Episode, Mark, Ward, count, family};
use super::safety::{CONTROLS, What, segments};
use super::score::{Share, bootstrap_rate, clopper_pearson, delays};
use super::split::fold;
use super::synth::{Kind as Patients, Patient};
use crate::calibration::Calibrations;
use crate::check::Assessment;
use crate::config::Compare;
use crate::models::Models;
use crate::monitor::Settings;
use crate::profile::Profile;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod examples;
mod targets;
mod trial;

pub use examples::examples;

/// Folds of the split by patient.
pub const FOLDS: u32 = 4;
/// Invented patients on which each control is played, for so many messages, from this second on.
const CONTROL_BEDS: usize = 3;
const CONTROL_MESSAGES: usize = 3600;
const CONTROL_AT_S: f64 = 2000.0;
/// Draws of the bootstrap.
const DRAWS: usize = 2000;
/// Faster than this is "one a second" in the tables, seconds.
const FAST_S: f64 = 10.0;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    pub quick: bool,
    /// As little as shows that it runs: one form of each recording, short ones, one bed of controls.
    pub glance: bool,
    /// A part of the attacks is wanted: the first setup, each recording in the one form in which it is attacked.
    pub part: bool,
    /// Events of each attack that are aimed at.
    pub events: u32,
}

/// What a record's set is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Of a monitor, a minute or faster: counted and pooled.
    Monitor,
    /// The same recording stands in another set: shown, not pooled.
    Repeat,
    /// Values charted by hand, hours apart: no live data, controls only.
    Charted,
    /// Its clock is too coarse for any rate; a control.
    CoarseClock,
    /// Invented patients: a mechanism, no evidence.
    Synthetic,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Monitor => "monitor",
            Source::Repeat => "repeat",
            Source::Charted => "charted",
            Source::CoarseClock => "coarse clock",
            Source::Synthetic => "synthetic",
        }
    }
}

/// A recording in its place.
#[derive(Debug)]
pub struct Entry {
    pub recording: Recording,
    pub source: Source,
    pub fold: u32,
    /// Another patient of the same set.
    pub donor: Option<usize>,
    /// Every how many seconds its values change, where they keep a beat slower than their rows.
    pub beat_s: u32,
}

impl Entry {
    /// Live data, bed-days; gaps do not count.
    pub fn bed_days(&self) -> f64 {
        if matches!(self.source, Source::Charted | Source::CoarseClock) { 0.0 } else { self.recording.live_s() / 86_400.0 }
    }
    pub fn fast(&self) -> bool {
        self.recording.interval_s < FAST_S
    }
}

/// Every recording of the benchmark.
#[derive(Debug)]
pub struct Input {
    pub entries: Vec<Entry>,
}

impl Input {
    /// Recordings, and a ward of invented patients.
    pub fn new(mut recordings: Vec<Recording>, options: &Options) -> Input {
        if options.quick {
            recordings = sampled(recordings, options.seed);
        }
        let sets = Sets::new(&recordings);
        let source = |r: &Recording| match () {
            () if r.set == "synthetic" => Source::Synthetic,
            () if r.has_coarse_clock() => Source::CoarseClock,
            () if r.interval_s > 90.0 => Source::Charted,
            () if sets.elsewhere(r) => Source::Repeat,
            () => Source::Monitor,
        };
        let sources: Vec<Source> = recordings.iter().map(source).collect();
        let given = recordings.into_iter().zip(sources);
        let invented = ward(options).into_iter().map(|recording| (recording, Source::Synthetic));
        let entry = |(recording, source): (Recording, Source)| Entry {
            source,
            fold: fold(&recording.patient, FOLDS),
            donor: None,
            beat_s: beat_s(&recording),
            recording,
        };
        let mut entries: Vec<Entry> = given.chain(invented).map(entry).collect();
        let donors: Vec<Option<usize>> = (0..entries.len()).map(|at| donor(&entries, at)).collect();
        for (entry, donor) in entries.iter_mut().zip(donors) {
            entry.donor = donor;
        }
        Input { entries }
    }
}

/// Two records of each set, drawn.
fn sampled(recordings: Vec<Recording>, seed: u64) -> Vec<Recording> {
    let mut by_set: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
    for r in recordings {
        by_set.entry(r.set.clone()).or_default().push(r);
    }
    let mut list = Vec::new();
    for (_, mut records) in by_set {
        records.sort_by_key(|r| measure::hashed(&r.name) ^ seed);
        records.truncate(2);
        list.append(&mut records);
    }
    list
}

/// Invented patients of every kind.
fn ward(options: &Options) -> Vec<Recording> {
    let (beds, seconds) = match (options.glance, options.quick) {
        (true, _) => (2, 2400),
        (_, true) => (2, 4500),
        _ => (15, 10_800),
    };
    let start = Timestamp::from_ms(1_767_261_600_000);
    (0..beds)
        .map(|bed| {
            let kind = Patients::ALL[bed % Patients::ALL.len()];
            let patient = Patient::new(kind, options.seed.wrapping_mul(1000).wrapping_add(bed as u64), start, 1.0);
            Recording::synthetic(&format!("s{bed:02}-{kind:?}").to_lowercase(), patient, start, seconds)
        })
        .collect()
}

/// The next record of the same set that is of another patient and about as long.
fn donor(entries: &[Entry], at: usize) -> Option<usize> {
    let own = &entries[at].recording;
    let mut best: Option<(f64, usize)> = None;
    for step in 1..entries.len().min(40) {
        let other = (at + step) % entries.len();
        let r = &entries[other].recording;
        if r.set != own.set || r.patient == own.patient || entries[other].source == Source::CoarseClock {
            continue;
        }
        let off = (r.span_s() - own.span_s()).abs();
        if best.is_none_or(|(known, _)| off < known) {
            best = Some((off, other));
        }
    }
    best.map(|(_, other)| other)
}

/// Every how many seconds values change: 1 unless nine tenths of all changes fall on one beat.
fn beat_s(recording: &Recording) -> u32 {
    if recording.interval_s > 1.5 {
        return recording.interval_s.round() as u32;
    }
    let mut last: Vec<Option<f64>> = vec![None; recording.columns.len()];
    let mut changes: Vec<i64> = Vec::new();
    for row in &recording.rows {
        let (Some(value), column) = (row.cell.number(), usize::from(row.column)) else { continue };
        if last[column].is_some_and(|before| before != value) {
            changes.push(row.at_ms / 1000);
        }
        last[column] = Some(value);
    }
    for beat in (2..=10).rev() {
        let mut phases = vec![0usize; beat as usize];
        for second in &changes {
            phases[second.rem_euclid(beat) as usize] += 1;
        }
        if changes.len() >= 50 && phases.iter().max().is_some_and(|most| *most as f64 >= 0.9 * changes.len() as f64) {
            return beat as u32;
        }
    }
    1
}

/// How the program is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setup {
    /// Profiles fitted on other patients are loaded, reviewed.
    Reviewed,
    /// Nothing but what it learns from the feed.
    Learned,
    /// As the first that is run, without the families P and C: what values alone give.
    Values,
    /// The checks of levels and trends alone: what fusion is held against.
    Levels,
}

impl Setup {
    pub const fn as_str(self) -> &'static str {
        match self {
            Setup::Reviewed => "reviewed profiles",
            Setup::Learned => "learned only",
            Setup::Values => "values only (no families P and C)",
            Setup::Levels => "levels and trends only",
        }
    }
}

/// Profiles and calibrations by fold, fitted on the other folds.
#[derive(Debug, Default)]
pub struct Shelves {
    /// Empty: none could be fitted.
    pub by_fold: Vec<Vec<Profile>>,
    /// Those of the program are of no use here: they may be of the very recordings that are judged.
    pub calibrations: Vec<Calibrations>,
}

impl Shelves {
    /// A recording is judged with what the patients of the other folds taught.
    pub fn new(input: &Input) -> Shelves {
        let taught = |fold: u32| {
            let others = input.entries.iter().filter(move |e| {
                e.fold != fold && matches!(e.source, Source::Monitor | Source::Synthetic) && e.recording.interval_s < 90.0
            });
            profiles(others.map(|e| &e.recording))
        };
        let monitored = input.entries.iter().filter(|e| e.source == Source::Monitor);
        let mut list: Vec<&Recording> = monitored.map(|e| &e.recording).collect();
        list.sort_by(|a, b| (&a.set, &a.name).cmp(&(&b.set, &b.name)));
        Shelves { by_fold: (0..FOLDS).map(taught).collect(), calibrations: calibrations(&list, FOLDS) }
    }
    fn models(&self, fold: u32) -> Arc<Models> {
        let own = self.calibrations.get(fold as usize).cloned().unwrap_or_default();
        Arc::new(Models::shipped().with_calibrations(own))
    }
    /// Checks and cadences that may accuse in so many of the folds.
    fn votes(&self) -> BTreeMap<String, usize> {
        let mut votes = BTreeMap::new();
        for rule in self.calibrations.iter().filter_map(Calibrations::lock).flat_map(|lock| &lock.rules).filter(|r| r.votes) {
            *votes.entry(format!("{} at {} s", rule.check, rule.cadence.as_str())).or_default() += 1;
        }
        votes
    }
    /// The setups that are run; the first is the one that is spoken of.
    pub fn setups(&self) -> Vec<Setup> {
        if self.by_fold.is_empty() {
            vec![Setup::Learned, Setup::Values]
        } else {
            vec![Setup::Reviewed, Setup::Learned, Setup::Values]
        }
    }
    pub fn settings(&self, setup: Setup, fold: u32) -> Settings {
        let fitted = || self.by_fold.get(fold as usize).cloned().unwrap_or_default();
        // A second tap of the beds' own feed stands behind it; no message comes by it but in the attack on it.
        let compare = [Compare::of(&feed::name(feed::OWN), &feed::name(feed::TAP))].into();
        let base = Settings { models: self.models(fold), compare, ..Settings::default() };
        match setup {
            Setup::Reviewed => Settings { shelf: fitted(), ..base },
            Setup::Learned => base,
            Setup::Values => Settings { shelf: fitted(), muted: family(&['P', 'C']), ..base },
            Setup::Levels => Settings { shelf: fitted(), muted: all_but_levels(), ..base },
        }
    }
}

/// One recording under one setup.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub entry: usize,
    pub setup: Setup,
    /// How long it takes, about.
    pub weight: usize,
}

/// Every job.
pub fn jobs(input: &Input, shelves: &Shelves, options: &Options) -> Vec<Job> {
    let mut list = Vec::new();
    for setup in shelves.setups().into_iter().take(if options.part { 1 } else { usize::MAX }) {
        for (at, entry) in input.entries.iter().enumerate() {
            if setup == Setup::Values && !matches!(entry.source, Source::Monitor | Source::Synthetic) {
                continue;
            }
            list.push(Job { entry: at, setup, weight: entry.recording.rows.len() });
        }
    }
    list
}

/// Monitors of one thread, used again and again.
#[derive(Default)]
pub struct Wards {
    known: BTreeMap<(Setup, u32), (Ward, Mark)>,
}

impl Wards {
    fn of(&mut self, shelves: &Shelves, setup: Setup, fold: u32) -> &mut (Ward, Mark) {
        self.known.entry((setup, fold)).or_insert_with(|| {
            let ward = Ward::new(shelves.settings(setup, fold));
            let empty = ward.mark();
            (ward, empty)
        })
    }
    fn take(&mut self, shelves: &Shelves, setup: Setup, fold: u32) -> (Ward, Mark) {
        self.of(shelves, setup, fold);
        self.known.remove(&(setup, fold)).expect("it was just made")
    }
    fn put(&mut self, setup: Setup, fold: u32, ward: (Ward, Mark)) {
        self.known.insert((setup, fold), ward);
    }
}

/// The forms in which a recording is sent.
fn forms(entry: &Entry, setup: Setup, options: &Options) -> Vec<(Encoding, Rate)> {
    let mut list: Vec<(Encoding, Rate)> = Vec::new();
    let turn = measure::turn(&entry.recording, options.seed);
    for encoding in Encoding::ALL {
        if (setup == Setup::Values || options.glance || options.part) && encoding != turn {
            continue;
        }
        list.push((encoding, Rate::Native));
        if entry.fast() {
            list.push((encoding, Rate::MinuteLast));
            if setup != Setup::Values && !options.part {
                list.push((encoding, Rate::MinuteMean));
            }
        }
    }
    list
}

/// How likely a recording takes an attack.
fn draw(input: &Input, entry: &Entry, options: &Options, setup: Setup) -> Draw {
    let alike = |e: &&Entry| e.fast() == entry.fast() && e.source == entry.source;
    let number = input.entries.iter().filter(alike).count().max(1) as f64;
    let aim = f64::from(options.events) / number;
    let (native, minute) = match entry.source {
        Source::CoarseClock | Source::Charted => (0.0, 0.0),
        // The few with two readings of one rate, and the invented ones, take everything.
        Source::Synthetic => (0.7, 0.4),
        _ if entry.recording.parameters().sensors() >= 3 => (1.0, 1.0),
        Source::Repeat => (aim, 0.5 * aim),
        Source::Monitor => (aim, 0.5 * aim),
    };
    let (native, minute) = if options.quick { (0.15, 0.05) } else { (native, minute) };
    let less = if setup == Setup::Values { 0.5 } else { 1.0 };
    Draw { seed: options.seed, native: native * less, minute: minute * less }
}

/// Runs a job.
pub fn run_job(
    wards: &mut Wards,
    input: &Input,
    shelves: &Shelves,
    attacks: &[Attack],
    options: &Options,
    job: &Job,
) -> Measured {
    let entry = &input.entries[job.entry];
    let case = case(input, job.entry);
    let (ward, empty) = wards.of(shelves, job.setup, entry.fold);
    let forms = forms(entry, job.setup, options);
    let mut measured = measure::measure(ward, empty, &case, &forms, attacks, &draw(input, entry, options, job.setup));
    let segments = if entry.source == Source::Synthetic { Vec::new() } else { segments(&entry.recording) };
    if job.setup == shelves.setups()[0] && !segments.is_empty() {
        let bed = measure::bed(&entry.recording, case.number, measure::turn(&entry.recording, options.seed), Rate::Native);
        // Both monitors at once: one is taken out for as long as the other is used.
        let mut levels = wards.take(shelves, Setup::Levels, entry.fold);
        let (full, empty) = wards.of(shelves, job.setup, entry.fold);
        measured.guarded = guard((full, empty), (&mut levels.0, &levels.1), &case, &bed, &segments);
        wards.put(Setup::Levels, entry.fold, levels);
    }
    if job.setup == shelves.setups()[0] && !options.glance && attacks.iter().any(|a| a.kind == Kind::Swap) {
        measured.crowd = trial::crowd(wards, input, shelves, options, job.entry);
    }
    measured
}

/// A recording with its donor.
pub fn case(input: &Input, at: usize) -> Case<'_> {
    let entry = &input.entries[at];
    Case { recording: &entry.recording, number: at as u32, donor: entry.donor.map(|d| &input.entries[d].recording) }
}

/// Messages that are judged with a clock in hand: made before, then pushed. How many they were.
pub fn cost<'a>(input: &'a Input, shelves: &Shelves) -> impl FnMut() -> (u64, u32) + 'a {
    let widest = input.entries.iter().enumerate().filter(|(_, e)| e.fast()).max_by_key(|(_, e)| e.recording.columns.len());
    let wires = widest.map_or(Vec::new(), |(at, e)| {
        let bed = measure::bed(&e.recording, at as u32, Encoding::Status, Rate::Native);
        let mut wires = render(&e.recording, &bed);
        wires.truncate(20_000);
        wires
    });
    let values = widest.map_or(0, |(_, e)| e.recording.columns.len() as u32);
    let mut ward = Ward::new(shelves.settings(shelves.setups()[0], 0));
    move || {
        for wire in &wires {
            ward.push(wire);
        }
        (wires.len() as u64, values)
    }
}

/// A job and what came of it.
pub type Done<'a> = (&'a Job, &'a Measured);

/// What everything amounts to.
#[allow(clippy::too_many_arguments)]
pub fn report(
    input: &Input,
    shelves: &Shelves,
    attacks: &[Attack],
    options: &Options,
    jobs: &[Job],
    results: &[Measured],
    mut synthetic: Vec<ControlLine>,
    cost: Cost,
) -> Report {
    let done: Vec<Done<'_>> = jobs.iter().zip(results).collect();
    let mut report = Report {
        schema: "benchmark/1".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        model: Ward::new(shelves.settings(shelves.setups()[0], 0)).monitor().model_hash().to_owned(),
        seed: options.seed,
        quick: options.quick,
        sets: sets(input),
        targets: Vec::new(),
        clean: Vec::new(),
        attacks: Vec::new(),
        trials: trial::lines(input, shelves.setups()[0], attacks, &done, options),
        safety: safety(input, &done),
        controls: controls(input, &done),
        cost,
        examples: Vec::new(),
        peers: Vec::new(),
        skipped: skipped(attacks, &done),
        notes: notes(input, shelves, options),
    };
    report.controls.append(&mut synthetic);
    for setup in shelves.setups() {
        clean_of(input, &done, setup, options, &mut report.clean);
    }
    report.attacks = attack_lines(input, shelves, attacks, &done);
    report.targets = targets::targets(input, &shelves.setups(), attacks, &done, &report);
    report
}

fn notes(input: &Input, shelves: &Shelves, options: &Options) -> Vec<String> {
    let mut list = Vec::new();
    if options.quick {
        list.push("A quick sample: it shows that the benchmark runs, and nothing about the program.".into());
    }
    if input.entries.iter().all(|e| e.source == Source::Synthetic) {
        list.push("Invented patients only: they test mechanisms and are no evidence about patients.".into());
    }
    if shelves.by_fold.is_empty() {
        list.push("No profiles were fitted: every device is learned from its own messages.".into());
    } else {
        list.push(format!(
            "Profiles are fitted by patient in {FOLDS} folds: a recording is judged with what other patients taught."
        ));
    }
    let votes: Vec<String> = shelves.votes().into_iter().map(|(what, n)| format!("{what} ({n} of {FOLDS} folds)")).collect();
    list.push(format!(
        "T12 to T16 are calibrated by patient in the same folds: of a recording's three other folds two are fitted on and one sets \
         the thresholds. By these may accuse: {}.",
        if votes.is_empty() { "none".to_owned() } else { votes.join(", ") }
    ));
    list.push(
        "Rules whose thresholds were set on the same recordings are measured in-sample; a claim needs fresh recordings.".into(),
    );
    list
}

fn sets(input: &Input) -> Vec<SetLine> {
    let mut by: BTreeMap<(&str, Source), Vec<&Entry>> = BTreeMap::new();
    for e in &input.entries {
        by.entry((&e.recording.set, e.source)).or_default().push(e);
    }
    by.into_iter()
        .map(|((set, source), list)| {
            let mut odd: BTreeMap<&str, u64> = BTreeMap::new();
            for note in list.iter().flat_map(|e| &e.recording.notes.list) {
                *odd.entry(note.oddity.as_str()).or_default() += note.count;
            }
            let mut intervals: Vec<f64> = list.iter().map(|e| e.recording.interval_s).collect();
            intervals.sort_by(f64::total_cmp);
            SetLine {
                set: set.to_owned(),
                records: list.len() as u64,
                patients: list.iter().map(|e| e.recording.patient.as_str()).collect::<BTreeSet<_>>().len() as u64,
                bed_days: list.iter().map(|e| e.bed_days()).sum(),
                interval_s: intervals[intervals.len() / 2],
                kind: source.as_str().into(),
                oddities: odd.into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
            }
        })
        .collect()
}

/// A tamper alert that calls a nurse.
fn tamper(e: &Episode) -> Option<Timestamp> {
    e.nurse_at.filter(|_| e.assessment == Assessment::Tamper)
}

/// One record's part of a line of clean runs.
struct Part<'a> {
    entry: &'a Entry,
    tamper: u64,
    nurse: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, (u64, u64)>,
}

fn part<'a>(entry: &'a Entry, runs: &[&Clean]) -> Part<'a> {
    let mut part = Part { entry, tamper: 0, nurse: BTreeMap::new(), checks: BTreeMap::new() };
    for run in runs {
        // Of several encodings of one recording the worst counts: it is one stretch of time.
        part.tamper = part.tamper.max(count(&run.episodes, tamper));
        let kinds: BTreeSet<Assessment> = run.episodes.iter().filter(|e| e.nurse_at.is_some()).map(|e| e.assessment).collect();
        for kind in kinds {
            let n = count(&run.episodes, |e| e.nurse_at.filter(|_| e.assessment == kind));
            let known = part.nurse.entry(kind.as_str()).or_default();
            *known = n.max(*known);
        }
        let mut checks: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for e in &run.episodes {
            let row = checks.entry(e.check()).or_default();
            row.0 += u64::from(e.nurse_at.is_some());
            row.1 += 1;
        }
        for (id, (nurse, all)) in checks {
            let row = part.checks.entry(id).or_default();
            *row = (row.0.max(nurse), row.1.max(all));
        }
    }
    part
}

fn clean_line(setup: Setup, set: &str, encoding: &str, rate: &str, parts: &[Part<'_>], seed: u64) -> CleanLine {
    let bed_days: f64 = parts.iter().map(|p| p.entry.bed_days()).sum();
    let mut patients: BTreeMap<&str, Share> = BTreeMap::new();
    let mut nurse: BTreeMap<&str, u64> = BTreeMap::new();
    let mut checks: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for p in parts {
        let share = patients.entry(&p.entry.recording.patient).or_insert(Share { events: 0, exposure: 0.0 });
        share.events += p.tamper;
        share.exposure += p.entry.bed_days();
        for (kind, n) in &p.nurse {
            *nurse.entry(kind).or_default() += n;
        }
        for (id, (a, b)) in &p.checks {
            let row = checks.entry(id).or_default();
            *row = (row.0 + a, row.1 + b);
        }
    }
    let with = parts.iter().filter(|p| p.tamper > 0).count() as u64;
    let shares: Vec<Share> = patients.into_values().collect();
    let mut checks: Vec<(String, u64, u64)> = checks.into_iter().map(|(id, (a, b))| (id.to_owned(), a, b)).collect();
    checks.sort_by(|a, b| (b.1, b.2, &a.0).cmp(&(a.1, a.2, &b.0)));
    CleanLine {
        setup: setup.as_str().into(),
        set: set.into(),
        encoding: encoding.into(),
        rate: rate.into(),
        records: parts.len() as u64,
        records_with: with,
        records_interval: clopper_pearson(with, parts.len() as u64),
        tamper: PerDay::new(parts.iter().map(|p| p.tamper).sum(), bed_days, bootstrap_rate(&shares, DRAWS, seed)),
        nurse: nurse.into_iter().filter(|_| bed_days > 0.0).map(|(kind, n)| (kind.to_owned(), n as f64 / bed_days)).collect(),
        checks,
    }
}

/// Lines of one setup: pooled, by set (all encodings at their own cadence), then by encoding and cadence.
fn clean_of(input: &Input, done: &[Done<'_>], setup: Setup, options: &Options, out: &mut Vec<CleanLine>) {
    let of_setup: Vec<&Done<'_>> = done.iter().filter(|(job, _)| job.setup == setup).collect();
    let parts = |wanted: &dyn Fn(&Entry) -> bool, runs: &dyn Fn(&Clean) -> bool| -> Vec<Part<'_>> {
        of_setup
            .iter()
            .filter(|(job, _)| wanted(&input.entries[job.entry]))
            .filter_map(|(job, m)| {
                let runs: Vec<&Clean> = m.clean.iter().filter(|c| runs(c)).collect();
                (!runs.is_empty()).then(|| part(&input.entries[job.entry], &runs))
            })
            .collect()
    };
    let native = |c: &Clean| c.rate == Rate::Native;
    let mut push = |set: &str, encoding: &str, rate: &str, parts: Vec<Part<'_>>| {
        if !parts.is_empty() {
            out.push(clean_line(setup, set, encoding, rate, &parts, options.seed));
        }
    };
    let pooled = |e: &Entry| e.source == Source::Monitor;
    push(POOLED, "all", "own cadence", parts(&pooled, &native));
    push(POOLED, "all", "one a minute", parts(&|e| pooled(e) && e.fast(), &|c| c.rate != Rate::Native));
    let sets: BTreeSet<(&str, Source)> = input.entries.iter().map(|e| (e.recording.set.as_str(), e.source)).collect();
    for (set, source) in &sets {
        let wanted = |e: &Entry| e.recording.set == *set && e.source == *source;
        let name = match source {
            Source::Monitor => (*set).to_owned(),
            other => format!("{set} ({})", other.as_str()),
        };
        push(&name, "all", "own cadence", parts(&wanted, &native));
        for rate in Rate::ALL {
            for encoding in Encoding::ALL {
                let runs = |c: &Clean| c.rate == rate && c.encoding == encoding;
                push(&name, encoding.as_str(), rate.as_str(), parts(&wanted, &runs));
            }
        }
    }
}

/// What the tables call a record's cadence.
pub fn cadence(entry: &Entry, rate: Rate) -> &'static str {
    if entry.fast() && rate == Rate::Native { "one a second" } else { "one a minute" }
}

fn origin(entry: &Entry) -> &'static str {
    if entry.source == Source::Synthetic { "invented patients" } else { "recordings" }
}

/// Where an event stands in the tables.
fn attack_places(entry: &Entry, event: &Event) -> (&'static str, &'static str) {
    (origin(entry), cadence(entry, event.rate))
}

fn attack_lines(input: &Input, shelves: &Shelves, attacks: &[Attack], done: &[Done<'_>]) -> Vec<AttackLine> {
    let mut by: BTreeMap<(Setup, &str, &str, usize), Vec<&Event>> = BTreeMap::new();
    for (job, m) in done {
        let entry = &input.entries[job.entry];
        for event in &m.events {
            let (origin, cadence) = attack_places(entry, event);
            by.entry((job.setup, origin, cadence, event.attack)).or_default().push(event);
        }
    }
    let mut lines = Vec::new();
    for setup in shelves.setups() {
        for source in ["recordings", "invented patients"] {
            for rate in ["one a second", "one a minute"] {
                for (number, attack) in attacks.iter().enumerate() {
                    if let Some(events) = by.get(&(setup, source, rate, number)) {
                        lines.push(attack_line(setup, source, rate, attack, events));
                    }
                }
            }
        }
    }
    lines
}

fn attack_line(setup: Setup, source: &str, rate: &str, attack: &Attack, events: &[&Event]) -> AttackLine {
    let tried = events.len() as u64;
    let number = |f: &dyn Fn(&Event) -> bool| events.iter().filter(|e| f(e)).count() as u64;
    let level = events[0].truth.counts.level;
    let delay = |e: &Event| if level == Level::Engineer { e.engineer } else { e.nurse };
    let mut list: Vec<f64> = events.iter().filter_map(|e| delay(e)).collect();
    let truth = &events[0].truth;
    AttackLine {
        setup: setup.as_str().into(),
        source: source.into(),
        taxonomy: attack.taxonomy().into(),
        kind: attack.kind.as_str().into(),
        severity: attack.severity.to_string(),
        duration_s: attack.duration_s,
        params: attack.params.to_string(),
        tier: attack.tier.as_str().into(),
        rate: rate.into(),
        counts_as: counts_as(truth),
        nurse: Found::new(number(&|e| e.nurse.is_some()), tried),
        engineer: Found::new(number(&|e| e.engineer.is_some()), tried),
        in_time: Found::new(
            number(&|e| !e.unjudged && delay(e).is_some_and(|d| targets::within(e).is_none_or(|s| d <= s))),
            number(&|e| !e.unjudged),
        ),
        unjudged: number(&|e| e.unjudged),
        delays: delays(&mut list),
        random: Found::new(number(&|e| e.random), tried),
        always: Found::new(number(&|e| e.always), tried),
        undetectable: truth.undetectable.map(str::to_owned),
    }
}

fn skipped(attacks: &[Attack], done: &[Done<'_>]) -> Vec<(String, u64)> {
    let mut by: BTreeMap<(&str, Unfit), u64> = BTreeMap::new();
    for (number, why) in done.iter().filter(|(job, _)| job.setup != Setup::Values).flat_map(|(_, m)| &m.skipped) {
        *by.entry((attacks[*number].kind.as_str(), *why)).or_default() += 1;
    }
    by.into_iter().map(|((kind, why), n)| (format!("{kind}: {why}"), n)).collect()
}

/// Tamper alerts while patients really get worse.
fn safety(input: &Input, done: &[Done<'_>]) -> Vec<SafetyLine> {
    let mut lines = Vec::new();
    for what in What::ALL {
        let mut line = SafetyLine { what: what.as_str().into(), ..SafetyLine::default() };
        for (job, m) in done.iter().filter(|(job, _)| job.setup != Setup::Values) {
            let entry = &input.entries[job.entry];
            let list: Vec<_> = segments(&entry.recording).into_iter().filter(|s| s.what == what).collect();
            if list.is_empty() || entry.source == Source::Synthetic {
                continue;
            }
            if job.setup == done[0].0.setup {
                line.records += 1;
                line.segments += list.len() as u64;
            }
            for run in &m.clean {
                for s in &list {
                    let (from, to) = (run.start.plus_s(s.start_s), run.start.plus_s(s.end_s + measure::AFTER_S));
                    let hit = run.episodes.iter().any(|e| tamper(e).is_some_and(|at| e.overlaps(at, from, to)));
                    line.tamper_clean += u64::from(hit);
                }
            }
        }
        for g in done.iter().flat_map(|(_, m)| &m.guarded).filter(|g| g.what == what) {
            line.physiology += g.told;
            line.physiology_lost += g.lost;
            line.delay_s_max = line.delay_s_max.max(g.late_s);
            line.masked += g.masked;
            line.masked_found += g.masked_found;
            line.withheld += g.withheld;
        }
        lines.push(line);
    }
    lines
}

/// What happens to messages without anybody's ill will, on invented patients: none of it may be called tampering.
pub fn synthetic_controls(input: &Input, shelves: &Shelves, options: &Options) -> Vec<ControlLine> {
    let mut wards = Wards::default();
    let (most, messages, begin_s) = if options.glance { (1, 900, 600.0) } else { (CONTROL_BEDS, CONTROL_MESSAGES, CONTROL_AT_S) };
    let beds: Vec<usize> =
        (0..input.entries.len()).filter(|at| input.entries[*at].source == Source::Synthetic).take(most).collect();
    Control::ALL
        .into_iter()
        .map(|control| {
            let mut line = ControlLine { control: control.as_str().into(), record: "synthetic".into(), ..ControlLine::default() };
            let mut said: BTreeMap<String, u64> = BTreeMap::new();
            for at in &beds {
                let entry = &input.entries[*at];
                let bed = measure::bed(&entry.recording, *at as u32, Encoding::Status, Rate::Native);
                let mut clean = render(&entry.recording, &bed);
                clean.truncate(messages);
                let begin = bed.start.plus_s(begin_s);
                let (ward, empty) = wards.of(shelves, shelves.setups()[0], entry.fold);
                ward.go_on(empty);
                for wire in &play(control, &clean, &bed, begin) {
                    ward.push(wire);
                }
                line.runs += 1;
                line.tamper += count(ward.episodes(), |e| (e.assessment == Assessment::Tamper).then_some(e.raised_at));
                for e in ward.episodes().iter().filter(|e| e.raised_at >= begin) {
                    *said.entry(format!("{} {}", e.check(), e.assessment.as_str())).or_default() += 1;
                }
            }
            line.said = said.into_iter().map(|(what, n)| format!("{what} ×{n}")).collect();
            line
        })
        .collect()
}

/// The controls of the recordings: what was said at each of them.
fn controls(input: &Input, done: &[Done<'_>]) -> Vec<ControlLine> {
    if input.entries.iter().all(|e| e.source == Source::Synthetic) {
        return Vec::new();
    }
    CONTROLS
        .iter()
        .map(|control| {
            let mut line = ControlLine {
                control: control.what.into(),
                record: control.record.into(),
                second: control.second,
                ..ControlLine::default()
            };
            let mut said: BTreeMap<String, u64> = BTreeMap::new();
            let records = done.iter().filter(|(job, _)| {
                let e = &input.entries[job.entry];
                e.recording.name == control.record && e.source != Source::Repeat && job.setup != Setup::Values
            });
            for run in records.flat_map(|(_, m)| &m.clean) {
                line.runs += 1;
                // Anywhere in the record: a control that is called tampering later is called so all the same.
                line.tamper += count(&run.episodes, |e| (e.assessment == Assessment::Tamper).then_some(e.raised_at));
                let from = control.second.map_or(Timestamp::MIN, |s| run.start.plus_s(s - 5.0));
                let to = control.second.map_or(Timestamp::MAX, |s| run.start.plus_s(s + 300.0));
                for e in run.episodes.iter().filter(|e| (from..=to).contains(&e.raised_at)) {
                    *said.entry(format!("{} {}", e.check(), e.assessment.as_str())).or_default() += 1;
                }
            }
            line.said = said.into_iter().map(|(what, n)| format!("{what} ×{n}")).collect();
            line
        })
        .collect()
}

/// What counts as found, in words.
fn counts_as(truth: &Truth) -> String {
    let counts = &truth.counts;
    let mut text = match counts.assessments {
        [] => "any alert".to_owned(),
        list => list.iter().map(|a| a.as_str()).collect::<Vec<_>>().join(", "),
    };
    if !counts.checks.is_empty() {
        text = format!("{text} by {}", counts.checks.join(", "));
    }
    if counts.level == Level::Engineer {
        text.push_str(" (engineers)");
    }
    text
}
