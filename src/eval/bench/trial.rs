//! Rules on trial: checks that call nobody until they are measured, each on the attacks that it was made for and on clean
//! recordings. What T17 compares is several beds, so clean recordings of one set run as wards, too.

use super::{Done, Input, Options, Setup, Shelves, Source, Wards, attack_places, case};
use crate::eval::attack::{Attack, Kind};
use crate::eval::measure::{self, Crowd, TRIALS, Trial};
use crate::eval::render::{Rate, render};
use crate::eval::report::{PerDay, Rate as Found, TrialLine, TrialShare};
use crate::eval::runner::{Episode, count};
use crate::eval::score::{Share, bootstrap_rate, delays};
use std::collections::BTreeMap;

/// Beds of a ward at most: recordings of one set, and of one fold (a ward is judged by what other patients taught), that begin a
/// minute after each other.
const WARD_BEDS: usize = 12;

/// The recordings that share a ward with this one, if it is the first of them.
fn ward_of(input: &Input, at: usize) -> Option<Vec<usize>> {
    let first = &input.entries[at];
    let alike = |i: &usize| {
        let entry = &input.entries[*i];
        entry.source == Source::Monitor && entry.fold == first.fold && entry.recording.set == first.recording.set
    };
    let same: Vec<usize> = (0..input.entries.len()).filter(alike).collect();
    let place = same.iter().position(|i| *i == at)?;
    (place % WARD_BEDS == 0).then(|| same[place..].iter().copied().take(WARD_BEDS).collect())
}

/// The clean recordings of a ward, side by side. `None` where this one is not the first of its ward.
pub(super) fn crowd(wards: &mut Wards, input: &Input, shelves: &Shelves, options: &Options, at: usize) -> Option<Crowd> {
    let beds = ward_of(input, at)?;
    let mut wires = Vec::new();
    for bed in &beds {
        let case = case(input, *bed);
        let form = measure::bed(case.recording, case.number, measure::turn(case.recording, options.seed), Rate::Native);
        wires.append(&mut render(case.recording, &form));
    }
    wires.sort_by_key(|w| w.received_at);
    let (ward, empty) = wards.of(shelves, shelves.setups()[0], input.entries[at].fold);
    ward.go_on(empty);
    for wire in &wires {
        ward.push(wire);
    }
    if let Some(last) = wires.last() {
        ward.wait(last.received_at.plus_s(1.0));
    }
    let bed_days = beds.iter().map(|bed| input.entries[*bed].bed_days()).sum();
    Some(Crowd { beds: beds.len() as u64, bed_days, episodes: ward.episodes().to_vec() })
}

fn stood(e: &Episode, trial: &Trial) -> Option<crate::time::Timestamp> {
    trial.check.iter().filter_map(|id| e.has(id)).min()
}

/// Kind of attack, source and cadence.
type Place = (&'static str, &'static str, &'static str);

/// Events of one place, and how long each took that was found, seconds.
#[derive(Default)]
struct Tally {
    tried: u64,
    delays: Vec<f64>,
}

/// One line for each rule, under the first setup.
pub(super) fn lines(input: &Input, setup: Setup, attacks: &[Attack], done: &[Done<'_>], options: &Options) -> Vec<TrialLine> {
    let main: Vec<&Done<'_>> = done.iter().filter(|(job, _)| job.setup == setup).collect();
    let line = |trial: &Trial| {
        let mut by: BTreeMap<Place, Tally> = BTreeMap::new();
        for (job, m) in &main {
            for event in m.events.iter().filter(|e| trial.kinds.contains(&attacks[e.attack].kind)) {
                let (origin, cadence) = attack_places(&input.entries[job.entry], event);
                let row = by.entry((attacks[event.attack].kind.as_str(), origin, cadence)).or_default();
                row.tried += 1;
                row.delays.extend(event.own);
            }
        }
        let share = |((kind, source, rate), mut tally): (Place, Tally)| TrialShare {
            kind: kind.into(),
            source: source.into(),
            rate: rate.into(),
            found: Found::new(tally.delays.len() as u64, tally.tried),
            delays: delays(&mut tally.delays),
        };
        let wards = trial.kinds.contains(&Kind::Swap);
        TrialLine {
            check: trial.check.join("+"),
            attacks: by.into_iter().map(share).collect(),
            own_cadence: clean(input, &main, trial, options, &|rate| rate == Rate::Native),
            one_a_minute: (!wards).then(|| clean(input, &main, trial, options, &|rate| rate != Rate::Native)),
            wards: wards.then(|| in_wards(&main, &|e| stood(e, trial))),
        }
    };
    TRIALS.iter().map(line).collect()
}

/// How often a rule spoke on clean recordings of monitors: of several encodings of one the worst.
fn clean(input: &Input, main: &[&Done<'_>], trial: &Trial, options: &Options, rate: &dyn Fn(Rate) -> bool) -> PerDay {
    let mut patients: BTreeMap<&str, Share> = BTreeMap::new();
    for (job, m) in main {
        let entry = &input.entries[job.entry];
        if entry.source != Source::Monitor {
            continue;
        }
        let counts = m.clean.iter().filter(|run| rate(run.rate)).map(|run| count(&run.episodes, |e| stood(e, trial)));
        let Some(worst) = counts.max() else { continue };
        let share = patients.entry(&entry.recording.patient).or_insert(Share { events: 0, exposure: 0.0 });
        share.events += worst;
        share.exposure += entry.bed_days();
    }
    let shares: Vec<Share> = patients.into_values().collect();
    let (events, days) = shares.iter().fold((0, 0.0), |(n, d), s| (n + s.events, d + s.exposure));
    PerDay::new(events, days, bootstrap_rate(&shares, super::DRAWS, options.seed))
}

/// The same where the recordings ran side by side.
pub(super) fn in_wards(main: &[&Done<'_>], counts: &dyn Fn(&Episode) -> Option<crate::time::Timestamp>) -> PerDay {
    let crowds = || main.iter().filter_map(|(_, m)| m.crowd.as_ref());
    let events = crowds().map(|c| count(&c.episodes, counts)).sum();
    PerDay::new(events, crowds().map(|c| c.bed_days).sum(), None)
}
