//! A few events to look at: run again, with everything that is needed to draw them.

use super::{Input, Job, Options, Setup, Shelves, Wards, cadence, case, origin};
use crate::eval::attack::{Attack, Kind};
use crate::eval::measure::{self, AFTER_S, Event, Measured};
use crate::eval::recording::Recording;
use crate::eval::render::render;
use crate::eval::report::{Example, Mark, Panel, Point};
use crate::eval::runner::names;
use crate::time::Timestamp;
use crate::vital::Parameter;

/// What is shown, each once where it was found and, of the second list, once where it was not.
const FOUND: &[Kind] = &[
    Kind::ReplayExact,
    Kind::CloneExact,
    Kind::MaskAr,
    Kind::MaskConstant,
    Kind::Freeze,
    Kind::HrForged,
    Kind::PressureOrder,
    Kind::Impossible,
    Kind::Suppress,
];
const NOT_FOUND: &[Kind] = &[Kind::Offset, Kind::MaskVar, Kind::ReplayExact];
/// Shown before the attack, seconds.
const BEFORE_S: f64 = 420.0;
/// Points of a line at most.
const POINTS: f64 = 700.0;
const PANELS: usize = 3;

/// Events of the first setup, drawn in the order of the lists.
pub fn examples(
    input: &Input,
    shelves: &Shelves,
    attacks: &[Attack],
    options: &Options,
    jobs: &[Job],
    results: &[Measured],
) -> Vec<Example> {
    let setup = shelves.setups()[0];
    let mut wards = Wards::default();
    let mut list = Vec::new();
    for (kinds, wanted) in [(FOUND, true), (NOT_FOUND, false)] {
        for kind in kinds {
            let fits = |e: &&Event| {
                attacks[e.attack].kind == *kind
                    && e.nurse.is_some() == wanted
                    && e.truth.end.since_s(e.truth.start) >= 60.0
            };
            // Recordings before invented patients, one a second before one a minute.
            let mut best: Option<((bool, bool), usize, &Event)> = None;
            for (job, m) in jobs.iter().zip(results).filter(|(job, _)| job.setup == setup) {
                let entry = &input.entries[job.entry];
                for event in m.events.iter().filter(fits) {
                    let rank = (origin(entry) != "recordings", cadence(entry, event.rate) != "one a second");
                    if best.as_ref().is_none_or(|(known, ..)| rank < *known) {
                        best = Some((rank, job.entry, event));
                    }
                }
            }
            if let Some((_, entry, event)) = best {
                list.extend(example(&mut wards, input, shelves, setup, attacks, options, entry, event));
            }
        }
    }
    list
}

/// What the patient had at a time: the last value of the recording, not older than half a minute (a cuff's stays).
fn had(recording: &Recording, parameter: Parameter, at_ms: i64) -> Option<f64> {
    let column = recording.column_of(parameter)?;
    let before = recording.rows.partition_point(|r| r.at_ms <= at_ms);
    let old = at_ms - (30_000.0f64).max(1500.0 * recording.interval_s) as i64;
    let row = recording.rows[..before].iter().rev().take_while(|r| r.at_ms >= old).find(|r| r.column == column)?;
    row.cell.number().filter(|v| *v != 0.0 || matches!(parameter, Parameter::Awrr | Parameter::Etco2))
}

#[allow(clippy::too_many_arguments)]
fn example(
    wards: &mut Wards,
    input: &Input,
    shelves: &Shelves,
    setup: Setup,
    attacks: &[Attack],
    _options: &Options,
    entry: usize,
    event: &Event,
) -> Option<Example> {
    let of = &input.entries[entry];
    let attack = &attacks[event.attack];
    let case = case(input, entry);
    let bed = measure::bed(case.recording, case.number, event.encoding, event.rate);
    let attacked = measure::make(&case, attack, &bed, event.start_s, event.seed).ok()?;
    let (ward, empty) = wards.of(shelves, setup, of.fold);
    ward.go_on(empty);
    let truth = &attacked.truth;
    let (from, to) = (truth.start.plus_s(-BEFORE_S), truth.end.plus_s(AFTER_S));
    let step_s = (to.since_s(from) / POINTS).max(1.0);
    let clean = render(case.recording, &bed);
    let mut next = from;
    let mut panels: Vec<(Parameter, Vec<Point>)> = Vec::new();
    let wires = clean.iter().take_while(|w| w.received_at < truth.start).chain(&attacked.wires);
    for wire in wires.take_while(|w| w.received_at <= to) {
        ward.push(wire);
        if wire.received_at < next {
            continue;
        }
        next = wire.received_at.plus_s(step_s);
        let at_ms = wire.received_at.since_ms(bed.start);
        for (parameter, sent, band) in ward.expected(&bed.sender.point_of_care, &bed.sender.bed, wire.received_at) {
            let place = panels.iter().position(|(p, _)| *p == parameter).unwrap_or_else(|| {
                panels.push((parameter, Vec::new()));
                panels.len() - 1
            });
            let truth = had(case.recording, parameter, at_ms);
            panels[place].1.push(Point { t: at_ms as f64 / 1000.0, sent, truth, band });
        }
    }
    ward.wait(to);
    panels.sort_by_key(|(p, _)| (!truth.params.contains(*p), *p));
    panels.truncate(PANELS);
    let seconds = |at: Timestamp| at.since_s(bed.start);
    let alerts = ward
        .episodes()
        .iter()
        .filter(|e| e.overlaps(e.raised_at, from, to))
        .map(|e| Mark {
            from_s: seconds(e.nurse_at.unwrap_or(e.raised_at)),
            to_s: seconds(e.cleared_at.unwrap_or(to).min(to)),
            assessment: e.assessment.as_str().into(),
            nurse: e.nurse_at.is_some(),
            text: format!("{} {}: {}", e.check(), e.assessment.as_str(), e.text).chars().take(120).collect(),
        })
        .collect();
    let verdict = event.nurse.map_or("not found".to_owned(), |s| format!("found after {s:.0} s"));
    Some(Example {
        title: format!("{} {} {}", attack.taxonomy(), attack.kind.as_str().replace('_', " "), attack.severity),
        note: format!(
            "on {} of {} ({}, {}), attacker {}: {verdict}",
            if truth.params.is_empty() { "the messages".into() } else { names(truth.params) },
            origin(of),
            of.recording.set,
            cadence(of, event.rate),
            attack.tier.as_str(),
        ),
        start_s: seconds(truth.start),
        end_s: seconds(truth.end),
        panels: panels
            .into_iter()
            .map(|(p, points)| Panel { name: p.key().into(), unit: p.unit().ucum().into(), points })
            .collect(),
        alerts,
    })
}
