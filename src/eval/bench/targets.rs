//! The table of targets: what the project has set itself, what was measured, and whether that is met.
//!
//! A target that fails is printed as failed. Nothing is left out to meet one: what cannot be won has its row and its sentence.

use super::{Done, Input, Setup, Source};
use crate::eval::attack::{Attack, Kind, Tier};
use crate::eval::measure::Event;
use crate::eval::report::{CleanLine, Outcome, POOLED, Rate, Report, TargetLine};
use crate::eval::score::delays;
use std::collections::BTreeMap;

/// Tamper alerts a bed-day on clean recordings at most.
const FALSE_PER_BED_DAY: f64 = 0.1;
/// Share of records with one at most.
const RECORDS_WITH: f64 = 0.01;
/// Cost of a message of twelve values, and state of a bed.
const COST_US: f64 = 12.0;
const BED_BYTES: u64 = 128 * 1024;

/// Rows of attacks in the order of the table.
const GROUPS: &[(&str, &[Kind])] = &[
    ("replay, clone (tamper or identity)", &[Kind::ReplayExact, Kind::MaskOwnNormal, Kind::OtherExact, Kind::CloneExact]),
    ("naive masking: constant, AR(1), smoothing (tamper)", &[Kind::MaskConstant, Kind::MaskAr, Kind::Smooth, Kind::Interpolate]),
    ("smoothing, rounded again (tamper)", &[Kind::SmoothRounded, Kind::InterpolateRounded]),
    ("joint freeze (tamper)", &[Kind::Freeze]),
    ("HR or PR forged beside a second source (nurse alert with both numbers)", &[Kind::HrForged, Kind::PrForged]),
    ("unit switch (unit)", &[Kind::UnitKiloPascal, Kind::UnitFahrenheit, Kind::UnitFraction]),
    ("order of a line's pressures broken (any nurse alert)", &[Kind::PressureOrder]),
    ("sender change (tamper or identity)", &[Kind::SenderChange, Kind::SecondSender]),
    ("impossible value (artefact or unit)", &[Kind::Impossible]),
    ("backdating (engineer level counts)", &[Kind::Backdate, Kind::TimeShift]),
    ("segment injection (tamper)", &[Kind::SegmentInjection]),
    ("control id again with other content (tamper)", &[Kind::ControlIdReuse]),
    ("two taps that differ (tamper)", &[Kind::TapDiffers]),
    ("level moved by a fifth, read twice at the bedside (any nurse alert)", &[Kind::BedsideDiffers]),
    ("suppression of a parameter (silence, artefact)", &[Kind::Suppress]),
    ("silence of a monitor (silence, artefact)", &[Kind::Silence]),
    ("mass silence (silence, artefact)", &[Kind::MassSilence]),
];

/// The delay that the target of an event names, seconds.
pub fn within(event: &Event) -> Option<f64> {
    event.truth.counts.goal.map(|goal| f64::from(goal.within_s))
}

/// Seconds for a reader.
fn span(s: f64) -> String {
    if s < 120.0 { format!("{s:.0} s") } else { format!("{:.0} min", s / 60.0) }
}

pub(super) fn targets(
    input: &Input,
    setups: &[Setup],
    attacks: &[Attack],
    done: &[Done<'_>],
    report: &Report,
) -> Vec<TargetLine> {
    let mut lines = Vec::new();
    clean(setups, report, &mut lines);
    let main: Vec<(bool, &Event)> = done
        .iter()
        .filter(|(job, _)| job.setup == setups[0])
        .flat_map(|(job, m)| {
            let invented = input.entries[job.entry].source == Source::Synthetic;
            m.events.iter().map(move |e| (invented, e))
        })
        .collect();
    side_by_side(setups[0], done, &mut lines);
    for (what, kinds) in GROUPS {
        group(what, kinds, attacks, &main, &mut lines);
    }
    deterioration(input, report, &mut lines);
    cannot(attacks, &main, &mut lines);
    cost(report, &mut lines);
    lines
}

fn clean(setups: &[Setup], report: &Report, lines: &mut Vec<TargetLine>) {
    for setup in setups {
        let Some(line) = report.clean.iter().find(|l| l.set == POOLED && l.setup == setup.as_str()) else {
            // Invented patients alone bound no rate.
            lines.push(line_of("tamper alerts on clean recordings", "at most 1 in 10 bed-days", "not tried", Outcome::NotTried));
            return;
        };
        let mut row = line_of(
            &format!("tamper alerts on clean recordings, {}", setup.as_str()),
            "at most 1 in 10 bed-days, aim 0.3",
            &line.tamper.text(),
            met(line.tamper.rate() <= FALSE_PER_BED_DAY),
        );
        if row.outcome == Outcome::Met && line.tamper.upper > FALSE_PER_BED_DAY {
            row.remark = "the upper bound is above the target: too few bed-days to show it".into();
        }
        lines.push(row);
        lines.push(line_of(
            &format!("records with a tamper alert, {}", setup.as_str()),
            "at most 1 %",
            &format!(
                "{:.2} % ({} of {}), Clopper–Pearson {:.2}–{:.2} %",
                100.0 * line.records_with as f64 / line.records.max(1) as f64,
                line.records_with,
                line.records,
                100.0 * line.records_interval.low,
                100.0 * line.records_interval.high
            ),
            met(line.records_with as f64 <= RECORDS_WITH * line.records as f64),
        ));
    }
    let minute: Vec<&CleanLine> = report.clean.iter().filter(|l| l.set == POOLED && l.rate == "one a minute").collect();
    for line in minute {
        lines.push(line_of(
            &format!("the same recordings at one message a minute, {}", line.setup),
            "at most 1 in 10 bed-days",
            &line.tamper.text(),
            met(line.tamper.rate() <= FALSE_PER_BED_DAY),
        ));
    }
}

/// Clones and exchanges are only looked for where beds stand side by side.
fn side_by_side(setup: Setup, done: &[Done<'_>], lines: &mut Vec<TargetLine>) {
    let main: Vec<&Done<'_>> = done.iter().filter(|(job, _)| job.setup == setup).collect();
    let beds = main.iter().filter_map(|(_, m)| m.crowd.as_ref()).map(|c| c.beds).max();
    let Some(beds) = beds else { return };
    let tamper = super::trial::in_wards(&main, &super::tamper);
    lines.push(line_of(
        &format!("the same recordings side by side, up to {beds} beds of one set a ward, {}", setup.as_str()),
        "at most 1 in 10 bed-days",
        &tamper.text(),
        met(tamper.rate() <= FALSE_PER_BED_DAY),
    ));
}

fn met(holds: bool) -> Outcome {
    if holds { Outcome::Met } else { Outcome::Missed }
}

fn line_of(what: &str, target: &str, measured: &str, outcome: Outcome) -> TargetLine {
    TargetLine {
        what: what.into(),
        target: target.into(),
        measured: measured.into(),
        outcome,
        delays: None,
        remark: String::new(),
    }
}

/// Events that a goal judges, and those of which too few altered readings came.
type Row<'a> = (Vec<&'a Event>, Vec<&'a Event>);

/// One row for each condition under which the kinds have a goal, recordings and invented patients apart.
fn group(what: &str, kinds: &[Kind], attacks: &[Attack], events: &[(bool, &Event)], lines: &mut Vec<TargetLine>) {
    let mut by: BTreeMap<(&str, u64, bool), Row<'_>> = BTreeMap::new();
    for (invented, event) in events {
        let Some(goal) = event.truth.counts.goal else { continue };
        if kinds.contains(&attacks[event.attack].kind) {
            let row = by.entry((event.truth.counts.condition, (goal.rate * 1000.0) as u64, *invented)).or_default();
            if event.unjudged { row.1.push(event) } else { row.0.push(event) }
        }
    }
    if by.is_empty() {
        lines.push(line_of(what, "", "not tried", Outcome::NotTried));
    }
    for ((condition, permille, invented), (list, unjudged)) in by {
        let rate = permille as f64 / 1000.0;
        let goals = list.iter().chain(unjudged.iter().filter(|_| list.is_empty())).filter_map(|e| e.truth.counts.goal);
        let (low, high) =
            goals.map(|g| f64::from(g.within_s)).fold((f64::MAX, 0.0f64), |(low, high), s| (low.min(s), high.max(s)));
        let within = if low == high { span(low) } else { format!("{} to {}", span(low), span(high)) };
        let timely = Rate::new(list.iter().filter(|e| e.in_time()).count() as u64, list.len() as u64);
        let ever = list.iter().filter(|e| e.delay().is_some()).count() as u64;
        let mut row = line_of(
            &format!("{what}: {condition}{}", if invented { " [invented patients]" } else { "" }),
            &format!("≥ {rate} within {within}"),
            &timely.text(),
            timely.share().map_or(Outcome::NotTried, |s| met(s >= rate)),
        );
        if !unjudged.is_empty() {
            row.remark = format!(
                "{} more had fewer altered readings in their time than the goal names and are not judged by it; found all the same: {}",
                unjudged.len(),
                unjudged.iter().filter(|e| e.delay().is_some()).count()
            );
        }
        if ever > timely.found {
            row.measured.push_str(&format!("; {:.2} later included", ever as f64 / list.len() as f64));
        }
        row.delays = delays(&mut list.iter().filter_map(|e| e.delay()).collect::<Vec<_>>());
        lines.push(row);
    }
}

fn deterioration(input: &Input, report: &Report, lines: &mut Vec<TargetLine>) {
    let real = input.entries.iter().any(|e| e.source != Source::Synthetic);
    let segments: u64 = report.safety.iter().map(|s| s.segments).sum();
    let hits: u64 = report.safety.iter().map(|s| s.tamper_clean).sum();
    let mut row = line_of(
        "tamper alerts on patients who really get worse",
        "0",
        &format!("{hits} in {segments} segments, every setup, encoding and cadence"),
        if segments == 0 { Outcome::NotTried } else { met(hits == 0) },
    );
    row.remark = report
        .safety
        .iter()
        .map(|s| format!("{}: {} in {} records", s.what, s.segments, s.records))
        .collect::<Vec<_>>()
        .join("; ");
    lines.push(row);
    let lost: u64 = report.safety.iter().map(|s| s.physiology_lost).sum();
    let late = report.safety.iter().map(|s| s.delay_s_max).fold(0.0, f64::max);
    let told: u64 = report.safety.iter().map(|s| s.physiology).sum();
    lines.push(line_of(
        "physiology lost or delayed by fusion",
        "0; added delay at most 1 s",
        &format!("{lost} lost of {told}, at most {late:.1} s later"),
        if told == 0 { Outcome::NotTried } else { met(lost == 0 && late <= 1.0) },
    ));
    let withheld: u64 = report.safety.iter().map(|s| s.withheld).sum();
    let masked: u64 = report.safety.iter().map(|s| s.masked).sum();
    lines.push(line_of(
        "clinical values withheld while a segment is masked",
        "0",
        &format!("{withheld} in {masked} masked segments"),
        if masked == 0 { Outcome::NotTried } else { met(withheld == 0) },
    ));
    for (what, synthetic) in [("tamper on controls of the recordings", false), ("tamper on synthetic controls", true)] {
        let list: Vec<_> = report.controls.iter().filter(|c| (c.record == "synthetic") == synthetic).collect();
        let tamper: u64 = list.iter().map(|c| c.tamper).sum();
        let absent = list.iter().filter(|c| c.runs == 0).count();
        let mut row = line_of(
            what,
            "0",
            &format!("{tamper} in {} controls ({} runs)", list.len() - absent, list.iter().map(|c| c.runs).sum::<u64>()),
            if list.iter().all(|c| c.runs == 0) || (!synthetic && !real) { Outcome::NotTried } else { met(tamper == 0) },
        );
        if absent > 0 {
            row.remark = format!("{absent} of {} controls are not among the recordings given", list.len());
        }
        lines.push(row);
    }
}

/// What cannot be won: one row for each reason, and one for each of the two upper tiers.
fn cannot(attacks: &[Attack], events: &[(bool, &Event)], lines: &mut Vec<TargetLine>) {
    let mut by: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for (_, event) in events {
        if let Some(why) = event.truth.undetectable {
            by.entry(why).or_default().push(event);
        }
    }
    let stated = |what: String, target: &str, list: &[&Event], remark: &str| {
        let found = |f: &dyn Fn(&Event) -> bool| Rate::new(list.iter().filter(|e| f(e)).count() as u64, list.len() as u64);
        let (nurse, engineer) = (found(&|e| e.nurse.is_some()), found(&|e| e.engineer.is_some()));
        TargetLine {
            what,
            target: target.into(),
            measured: format!("nurse level {}; engineers {}", nurse.text(), engineer.text()),
            outcome: Outcome::Stated,
            delays: delays(&mut list.iter().filter_map(|e| e.nurse).collect::<Vec<_>>()),
            remark: remark.into(),
        }
    };
    for (why, list) in by {
        let mut kinds: Vec<&str> = list.iter().map(|e| attacks[e.attack].kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        lines.push(stated(format!("cannot be told: {}", kinds.join(", ")), "stated as undetectable", &list, why));
    }
    for (tier, what) in [(Tier::K2, "K2, who controls all parameters"), (Tier::K3, "K3, who sits on the gateway")] {
        let list: Vec<&Event> = events.iter().filter(|(_, e)| attacks[e.attack].tier == tier).map(|(_, e)| *e).collect();
        if !list.is_empty() {
            lines.push(stated(what.into(), "as measured, ≤ 0.1 expected without a second source", &list, ""));
        }
    }
}

fn cost(report: &Report, lines: &mut Vec<TargetLine>) {
    let c = &report.cost;
    let Some(us) = c.us_per_message else { return };
    lines.push(line_of(
        "cost of a message, one core",
        "at most 12 µs for 12 values",
        &format!("{us:.1} µs for {} values", c.values_per_message),
        met(us * 12.0 / f64::from(c.values_per_message.max(1)) <= COST_US),
    ));
    lines.push(line_of(
        "state of a bed",
        "at most 128 KB",
        &format!("{:.0} KB", c.bed_bytes_max as f64 / 1024.0),
        met(c.bed_bytes_max <= BED_BYTES),
    ));
}
