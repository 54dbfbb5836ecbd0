//! Patients who really get worse: is anything lost by fusing, and is anything withheld while values are masked?
//!
//! *Lost by fusion*: the recording runs once with every check and once with the checks of levels and trends alone. What the
//! second calls physiology, the first must call so, too, at most a second later. *Masked*: one sensor is frozen at its last
//! value where the segment begins. What other sensors show must still be told, and every value that is sent must be shown.

use super::attack::{Attack, Kind, Severity, Target, Tier, inject};
use super::measure::{AFTER_S, Case};
use super::render::{Bed, Wire, render};
use super::runner::{Episode, Mark, Ward};
use super::safety::{Segment, What, shown_by};
use super::synth::random::Random;
use crate::check::{Assessment, CATALOGUE};
use crate::time::Timestamp;
use crate::vital::ParamSet;

/// Checks of levels and trends: what fusion may call physiology.
const LEVELS: [&str; 7] = ["A02", "T01", "T02", "T12", "T13", "T15", "T18"];
/// What is told so much later is another alert, seconds.
const OTHER_S: f64 = 300.0;

/// What became of one kind of segment in one recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guarded {
    pub what: What,
    /// Physiology that the checks of levels tell, and what of it is missing when all checks are fused.
    pub told: u64,
    pub lost: u64,
    pub late_s: f64,
    pub masked: u64,
    pub masked_found: u64,
    pub withheld: u64,
}

/// One bit for each check that is no check of a level or a trend.
pub fn all_but_levels() -> u128 {
    CATALOGUE.iter().enumerate().filter(|(_, m)| !LEVELS.contains(&m.id)).fold(0, |bits, (at, _)| bits | 1 << at)
}

fn run(ward: &mut Ward, empty: &Mark, wires: &[Wire]) -> Vec<Episode> {
    ward.go_on(empty);
    for wire in wires {
        ward.push(wire);
    }
    if let Some(last) = wires.last() {
        ward.wait(last.received_at.plus_s(1.0));
    }
    ward.episodes().to_vec()
}

/// Physiology of one run that another lacks, and how much later the other tells it at most.
fn missing(told: &[Episode], other: &[Episode], counts: impl Fn(&Episode) -> bool) -> (u64, u64, f64) {
    let physiology = |e: &&Episode| e.assessment == Assessment::Physiology;
    let (mut all, mut lost, mut late_s) = (0, 0, 0.0f64);
    for e in told.iter().filter(physiology).filter(|e| counts(e)) {
        all += 1;
        // It may have been open for some other reason before.
        let same = |o: &&Episode| o.check() == e.check() && o.cleared_at.is_none_or(|at| at >= e.raised_at);
        match other.iter().filter(physiology).filter(same).map(|o| o.raised_at.since_s(e.raised_at)).reduce(f64::min) {
            Some(s) if s <= OTHER_S => late_s = late_s.max(s),
            _ => lost += 1,
        }
    }
    (all, lost, late_s)
}

/// Runs a recording that has segments.
pub fn guard(
    (full, empty): (&mut Ward, &Mark),
    (levels, levels_empty): (&mut Ward, &Mark),
    case: &Case<'_>,
    bed: &Bed,
    segments: &[Segment],
) -> Vec<Guarded> {
    let wires = render(case.recording, bed);
    let alone = run(levels, levels_empty, &wires);
    let fused = run(full, empty, &wires);
    let mut list = Vec::new();
    for what in What::ALL {
        let own: Vec<&Segment> = segments.iter().filter(|s| s.what == what).collect();
        if own.is_empty() {
            continue;
        }
        let within = |e: &Episode| own.iter().any(|s| span(bed, s).contains(&e.raised_at));
        let (told, lost, late_s) = missing(&alone, &fused, within);
        let mut one = Guarded { what, told, lost, late_s, masked: 0, masked_found: 0, withheld: 0 };
        // The first segments stand for all: a record with thirty of them is one patient.
        for segment in own.iter().take(3) {
            mask((&mut *full, empty), case, bed, segment, &wires, &fused, &mut one);
        }
        list.push(one);
    }
    list
}

fn span(bed: &Bed, s: &Segment) -> std::ops::RangeInclusive<Timestamp> {
    bed.start.plus_s(s.start_s - 30.0)..=bed.start.plus_s(s.end_s + AFTER_S)
}

fn mask(
    (ward, empty): (&mut Ward, &Mark),
    case: &Case<'_>,
    bed: &Bed,
    segment: &Segment,
    clean: &[Wire],
    fused: &[Episode],
    out: &mut Guarded,
) {
    let Some(column) = case.recording.columns.iter().find(|c| c.channel == 0 && shown_by(segment.what, c.parameter)) else {
        return;
    };
    let duration_s = (segment.end_s - segment.start_s).clamp(30.0, 1800.0) as u32;
    let attack = Attack {
        kind: Kind::MaskConstant,
        severity: Severity::Plain,
        duration_s,
        params: Target::Only(column.parameter),
        tier: Tier::K0,
    };
    let start_s = (segment.start_s - 5.0).max(60.0);
    let Ok(attacked) = inject(&attack, case.recording, None, bed, start_s, &mut Random::new(bed.seed)) else { return };
    let truth = &attacked.truth;
    ward.go_on(empty);
    for wire in clean.iter().take_while(|w| w.received_at < truth.start) {
        ward.push(wire);
    }
    let masked = truth.params;
    let mut blank = ParamSet::EMPTY;
    let late = truth.end.plus_s(AFTER_S);
    let from = attacked.wires.partition_point(|w| w.received_at < truth.start);
    for (number, wire) in attacked.wires[from..].iter().take_while(|w| w.received_at <= late).enumerate() {
        ward.push(wire);
        if number % 10 == 0 {
            blank = blank.union(ward.blank(&bed.sender.point_of_care, &bed.sender.bed, wire.received_at));
        }
    }
    ward.wait(late);
    out.masked += 1;
    let doubted = |e: &Episode| e.raised_at >= truth.start && matches!(e.assessment, Assessment::Tamper | Assessment::Unverified);
    out.masked_found += u64::from(ward.episodes().iter().any(doubted));
    // A value that is fresh is shown, whatever is thought of it.
    out.withheld += u64::from(!blank.is_empty());
    let elsewhere = |e: &Episode| (truth.start..=late).contains(&e.raised_at) && !e.params.intersects(masked);
    let (_, lost, late_s) = missing(fused, ward.episodes(), elsewhere);
    out.lost += lost;
    out.late_s = out.late_s.max(late_s);
}
