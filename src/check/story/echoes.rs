//! Replay and clone over recorded patients, where the folder is present: false matches, and what is found of copies.
//!
//! `cargo test --lib echoes -- --ignored --nocapture` prints the figures of CHECKS.md.

use super::recordings::{Moment, files, read};
use super::{Story, observation};
use crate::check::Judge;
use crate::check::self_replay::Check;
use crate::check::{delta_replay, self_replay};
use crate::observation::Validity;
use crate::stats::fingerprint::Index;
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::collections::HashMap;

/// A set, how often a value is taken, and which parameters.
struct Plan {
    name: &'static str,
    set: &'static str,
    every_s: f64,
    integers: bool,
    parameters: &'static [Parameter],
}

use Parameter::{AbpMean, Awrr, Etco2, Hr, PapDia, PapMean, PapSys, Pr, Spo2};

const PLANS: [Plan; 12] = [
    Plan { name: "hfno_tcco2 2 parameters 1 s", set: "hfno_tcco2", every_s: 1.0, integers: false, parameters: &[Pr, Spo2] },
    Plan {
        name: "hfno_tcco2 3 parameters 1 s",
        set: "hfno_tcco2",
        every_s: 1.0,
        integers: false,
        parameters: &[Pr, Spo2, Etco2],
    },
    Plan { name: "ipi_capno 2 parameters 1 s", set: "ipi_capno", every_s: 1.0, integers: false, parameters: &[Pr, Spo2] },
    Plan {
        name: "ipi_capno 4 parameters 1 s",
        set: "ipi_capno",
        every_s: 1.0,
        integers: false,
        parameters: &[Pr, Spo2, Awrr, Etco2],
    },
    Plan { name: "uw_hypoxia 1 s", set: "uw_hypoxia", every_s: 1.0, integers: false, parameters: &[Hr, Pr, Spo2, Awrr, Etco2] },
    Plan { name: "hfno_tcco2 2 parameters 60 s", set: "hfno_tcco2", every_s: 60.0, integers: true, parameters: &[Pr, Spo2] },
    Plan { name: "ipi_capno 2 parameters 60 s", set: "ipi_capno", every_s: 60.0, integers: true, parameters: &[Pr, Spo2] },
    Plan { name: "ipi_capno PR 60 s", set: "ipi_capno", every_s: 60.0, integers: true, parameters: &[Pr] },
    Plan {
        name: "mimic3_pap HR+PAP 60 s integers",
        set: "mimic3_pap",
        every_s: 60.0,
        integers: true,
        parameters: &[Hr, PapSys, PapDia, PapMean],
    },
    Plan { name: "mimic3_pap HR 60 s integers", set: "mimic3_pap", every_s: 60.0, integers: true, parameters: &[Hr] },
    Plan { name: "p2009_map MAP 60 s integers", set: "p2009_map", every_s: 60.0, integers: true, parameters: &[AbpMean] },
    Plan {
        name: "mimic3_wdb_sample 60 s integers",
        set: "mimic3_wdb_sample",
        every_s: 60.0,
        integers: true,
        parameters: &[Hr, Pr, Spo2, Parameter::Rr],
    },
];

/// The moments of one record as a plan takes them.
fn taken(plan: &Plan, path: &std::path::Path) -> Vec<Moment> {
    let mut out: Vec<Moment> = Vec::new();
    for (t, values) in read(path) {
        if out.last().is_some_and(|last| t - last.0 < plan.every_s - 1e-6) {
            continue;
        }
        let values: Vec<_> = values
            .into_iter()
            .filter(|(p, _)| plan.parameters.contains(p))
            .map(|(p, v)| (p, v.map(|v| if plan.integers { v.round() } else { v })))
            .collect();
        if !values.is_empty() {
            out.push((t, values));
        }
    }
    out
}

fn records(plan: &Plan) -> Option<Vec<Vec<Moment>>> {
    Some(files(plan.set)?.iter().map(|f| taken(plan, f)).collect())
}

/// A bed without the bed's own cost: both checks on slots of one record.
struct Bed {
    story: Story<Check>,
    deltas: delta_replay::State,
    delta_check: delta_replay::Check,
}

impl Bed {
    fn new() -> Bed {
        Bed { story: Story::of(&[]), deltas: delta_replay::State::default(), delta_check: delta_replay::Check::default() }
    }

    /// One moment at this time: whether T07 and T09 found it.
    fn hear(&mut self, values: &[(Parameter, Option<f64>)], at: Timestamp) -> (bool, bool) {
        let s = &mut self.story;
        s.now = at;
        let rows = values
            .iter()
            .map(|(p, v)| {
                let mut o = observation(*p, v.unwrap_or(f64::NAN), at);
                if v.is_none() {
                    o.validity = Validity::Absent;
                }
                o
            })
            .collect();
        let report = s.report(rows);
        s.verdicts.clear();
        let view =
            super::View::message(s.now, &report, &s.source, s.sender, &s.bed, &s.population, &s.profile).with_bond(&s.bond);
        self.delta_check.judge(&mut self.deltas, &view, &mut s.verdicts);
        let delta = !s.verdicts.list.is_empty();
        (s.send(&report) == 'F', delta)
    }

    fn place(&mut self) -> Option<self_replay::Place> {
        self.story.state.place.take()
    }
}

const T0: Timestamp = Timestamp(1_800_000_000_000);

/// Own matches and matches between records, as episodes (five minutes apart).
fn false_matches(plan: &Plan, records: &[Vec<Moment>]) -> (f64, usize, usize, usize) {
    let (mut days, mut own, mut deltas, mut cross) = (0.0, 0, 0, 0);
    // Every picked window of every record, and the records that have it.
    let mut all: HashMap<u64, u32> = HashMap::new();
    for (number, moments) in (0u32..).zip(records) {
        let mut bed = Bed::new();
        let (mut last, mut last_delta, mut last_cross) = (-1e9, -1e9, -1e9);
        let mut before = moments.first().map_or(0.0, |m| m.0);
        for (t, values) in moments {
            let (found, delta) = bed.hear(values, T0.plus_s(*t));
            if found {
                own += usize::from(t - last > 300.0);
                last = *t;
            }
            if delta {
                deltas += usize::from(t - last_delta > 300.0);
                last_delta = *t;
            }
            if let Some(place) = bed.place()
                && *all.entry(place.key).or_insert(number) != number
            {
                cross += usize::from(t - last_cross > 300.0);
                last_cross = *t;
            }
            days += (t - before).clamp(0.0, plan.every_s.max(60.0)) / 86_400.0;
            before = *t;
        }
        assert!(bed.story.state.index.len() <= Index::PLACES_MAX);
    }
    (days, own, cross, deltas)
}

/// Ten minutes (forty at one a minute) of the past, or of another record, in place of the present. Delays of those found, s, and how many were tried.
fn copies(plan: &Plan, records: &[Vec<Moment>], other: bool) -> (Vec<f64>, usize) {
    let length_s = if plan.every_s > 10.0 { 2400.0 } else { 600.0 };
    let (mut delays, mut tried) = (Vec::new(), 0);
    for (number, moments) in records.iter().enumerate() {
        let Some(end_s) = moments.last().map(|m| m.0) else { continue };
        let begin_s = moments[0].0;
        // The interval is known after ten values: what came before stands in no index.
        let lead_s = (15.0 * plan.every_s).max(30.0);
        let start_s = begin_s + length_s + lead_s + 30.0;
        // The record must be long enough for a past and a present, and show something in both.
        let donor = if other { &records[(number + 1) % records.len()] } else { moments };
        let donor_begin_s = donor.first().map_or(0.0, |m| m.0);
        let lasts_s = donor.last().map_or(0.0, |m| m.0) - donor_begin_s;
        if end_s < start_s + length_s || lasts_s < length_s + lead_s || (other && records.len() < 2) {
            continue;
        }
        let copy: Vec<&Moment> =
            donor.iter().filter(|m| (donor_begin_s + lead_s..donor_begin_s + lead_s + length_s).contains(&m.0)).collect();
        let share = copy.iter().filter(|m| m.1.iter().all(|v| v.1.is_some())).count() as f64 * plan.every_s / length_s;
        if share < 0.5 {
            continue;
        }
        tried += 1;
        let mut bed = Bed::new();
        let mut donors: std::collections::HashSet<u64> = std::collections::HashSet::new();
        if other {
            let mut there = Bed::new();
            for (t, values) in donor {
                there.hear(values, T0.plus_s(*t));
                donors.extend(there.place().map(|p| p.key));
            }
        }
        for (t, values) in moments.iter().filter(|m| m.0 < start_s) {
            bed.hear(values, T0.plus_s(*t));
            bed.place();
        }
        let first_s = copy[0].0;
        for (t, values) in &copy {
            // Another phase of the second, and a message up to a tenth early or late.
            let jitter_ms = (*t as i64 * 7919) % 200 - 100;
            let (found, _) = bed.hear(values, T0.plus_s(start_s + t - first_s).plus_ms(437 + jitter_ms));
            let found = if other { bed.place().is_some_and(|p| donors.contains(&p.key)) } else { found };
            if found {
                delays.push(t - first_s);
                break;
            }
        }
    }
    delays.sort_by(f64::total_cmp);
    (delays, tried)
}

#[test]
#[ignore = "minutes: every record"]
fn recorded_patients_never_repeat_themselves_and_copies_of_them_are_found() {
    for plan in &PLANS {
        let Some(records) = records(plan) else { return };
        let (days, own, cross, deltas) = false_matches(plan, &records);
        println!(
            "{}: {} records, {days:.2} bed-days: false own {own}, between records {cross}, T09 {deltas}",
            plan.name,
            records.len()
        );
        for other in [false, true] {
            let (delays, tried) = copies(plan, &records, other);
            let soon = delays.iter().filter(|d| **d <= 120.0).count();
            let late = delays.iter().filter(|d| **d <= 900.0).count();
            let at = |q: f64| delays.get((delays.len() as f64 * q) as usize).copied().unwrap_or(f64::NAN);
            println!(
                "  {}: {} of {tried} found, {soon} within 120 s, {late} within 900 s, median {} s, 95 % {} s",
                if other { "other record" } else { "own past" },
                delays.len(),
                at(0.5),
                at(0.95)
            );
        }
        assert_eq!((own, cross), (0, 0), "{}", plan.name);
    }
}
