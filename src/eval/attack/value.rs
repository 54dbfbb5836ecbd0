//! Attacks on values: a copy of the rows, changed within the window, rendered.

use super::place::is_abnormal;
use super::stream::{self, Context, beat_before, measured, median, quantum, rounded};
use super::truth::{SpotCheck, Truth, truth};
use super::{Attacked, Kind, Severity, Tier, Unfit, donor_bed, mask};
use crate::eval::recording::{Cell, Recording};
use crate::eval::render::{Literal, Rate, render_part};
use crate::eval::synth::random::Random;
use crate::vital::{Nature, Parameter, Sensor, Unit};

/// What someone naive writes: two decimals.
const NAIVE: Option<f64> = Some(0.01);
/// A change of K3 comes over this time, ms.
const BLEND_MS: f64 = 60_000.0;
/// Tries to find a window of the past.
const TRIES: u32 = 200;

/// One column under attack, and how its numbers are written.
struct Forge {
    column: u16,
    parameter: Parameter,
    /// Median of the quarter of an hour before.
    level: f64,
    /// As the device writes it.
    own_quantum: Option<f64>,
    /// As the attacker writes it.
    quantum: Option<f64>,
    /// Beat of the device, and when it begins.
    beat_ms: i64,
    phase_ms: i64,
}

impl Forge {
    fn new(c: &Context<'_>, column: u16) -> Option<Forge> {
        let before = c.before(column);
        let level = median(&before)?;
        let own_quantum = quantum(&before);
        let (beat_ms, phase_ms) = beat_before(c, column);
        let naive = c.attack.tier == Tier::K0;
        let quantum = if naive { NAIVE } else { own_quantum };
        Some(Forge { column, parameter: c.parameter(column), level, own_quantum, quantum, beat_ms, phase_ms })
    }
    /// The number as it is written; no scale goes beyond its end for someone who knows it.
    fn written(&self, value: f64) -> f64 {
        let value = rounded(value, self.quantum);
        match (self.quantum == NAIVE && self.own_quantum != NAIVE, self.parameter.unit()) {
            (true, _) => value,
            (false, Unit::Percent) => value.clamp(0.0, 100.0),
            (false, _) => value.max(0.0),
        }
    }
    /// The last instant at which the device renews this column.
    fn beat(&self, c: &Context<'_>, at_ms: i64) -> i64 {
        if c.attack.tier == Tier::K0 {
            return at_ms;
        }
        self.phase_ms + (at_ms - self.phase_ms).div_euclid(self.beat_ms) * self.beat_ms
    }
}

/// Changes the measured numbers of a column within the window.
fn change(copy: &mut Recording, c: &Context<'_>, forge: &Forge, mut new: impl FnMut(i64, f64) -> f64) {
    let first = copy.rows.partition_point(|row| row.at_ms < c.start_ms);
    for row in copy.rows[first..].iter_mut().take_while(|row| row.at_ms < c.end_ms) {
        if row.column == forge.column
            && let Some(value) = measured(forge.parameter, row.cell)
        {
            row.cell = Cell::Number(forge.written(new(row.at_ms, value)));
        }
    }
}

pub fn inject(c: &Context<'_>, random: &mut Random) -> Result<Attacked, Unfit> {
    let attack = c.attack;
    let mut copy = c.recording.clone();
    let forges: Vec<Forge> = c.columns.iter().filter_map(|column| Forge::new(c, *column)).collect();
    if forges.is_empty() {
        return Err(Unfit::NoParameter);
    }
    let mut literal = None;
    let mut truth = truth(c);
    match attack.kind {
        Kind::Offset | Kind::BedsideDiffers => by_weight(&mut copy, c, &forges, |_| 1.0),
        Kind::Ramp | Kind::Drift => by_weight(&mut copy, c, &forges, |x| x),
        Kind::RampSmooth => by_weight(&mut copy, c, &forges, |x| x * x * (3.0 - 2.0 * x)),
        Kind::Scale => {
            let Severity::Factor(factor) = attack.severity else { return Err(Unfit::NoModel) };
            for forge in &forges {
                change(&mut copy, c, forge, |at, v| v * (1.0 + (factor - 1.0) * blend(c, at)));
            }
        }
        Kind::Freeze => {
            for forge in &forges {
                let last = c.before(forge.column).last().copied().unwrap_or(forge.level);
                change(&mut copy, c, &exact(forge), |_, _| last);
            }
        }
        Kind::ReplayExact | Kind::ReplayOffset | Kind::ReplayJitter | Kind::ReplayWarp | Kind::MaskOwnNormal => {
            replay(&mut copy, c, &forges, random)?;
        }
        Kind::OtherExact | Kind::OtherMatched | Kind::CloneExact | Kind::CloneMatched | Kind::Swap => {
            return from_donor(copy, c, &forges, truth, random);
        }
        Kind::Spike => spike(&mut copy, c, &forges[0], &mut truth),
        Kind::ZeroStep | Kind::ZeroDecay => {
            zero(&mut copy, c, &forges);
            let columns = c.columns.clone();
            literal = Some(Literal { columns, from_ms: c.start_ms, to_ms: c.end_ms });
        }
        Kind::MaskConstant => {
            for forge in &forges {
                let constant = rounded(forge.level, forge.own_quantum);
                change(&mut copy, c, &exact(forge), |_, _| constant);
            }
        }
        Kind::MaskAr | Kind::MaskArLattice | Kind::MaskVar => {
            let masks = mask::masks(c, random)?;
            for forge in &forges {
                let Some(mask) = masks.iter().find(|mask| mask.column == forge.column) else { continue };
                change(&mut copy, c, &own(forge), |at, v| v + (mask.at(at) - v) * blend(c, at));
            }
        }
        Kind::TripleForged | Kind::PressureOrder => pressures(&mut copy, c, &forges),
        Kind::HrForged | Kind::PrForged => {
            let Severity::Units(by) = attack.severity else { return Err(Unfit::NoModel) };
            let witness = if attack.kind == Kind::HrForged { Parameter::Pr } else { Parameter::Hr };
            let alive = |p| c.recording.column_of(p).is_some_and(|column| !c.before(column).is_empty());
            if !alive(witness) {
                return Err(Unfit::NoParameter);
            }
            for forge in &forges {
                change(&mut copy, c, forge, |_, v| v + by);
            }
        }
        Kind::Suppress | Kind::SuppressAbnormal => {
            let before = copy.rows.len();
            copy.rows.retain(|row| {
                let inside = (c.start_ms..c.end_ms).contains(&row.at_ms) && c.columns.contains(&row.column);
                let parameter = c.parameter(row.column);
                let abnormal = measured(parameter, row.cell).is_some_and(|v| is_abnormal(parameter, v));
                !inside || (attack.kind == Kind::SuppressAbnormal && !abnormal)
            });
            if copy.rows.len() == before {
                return Err(Unfit::NothingToHide);
            }
        }
        Kind::SuppressMarks => fill_marks(&mut copy, c)?,
        Kind::Smooth | Kind::SmoothRounded => {
            let Severity::Window(window_s) = attack.severity else { return Err(Unfit::NoModel) };
            for forge in &forges {
                let window_ms = (window_s * 1000.0) as i64;
                change(&mut copy, c, forge, |at, v| {
                    let list = c.numbers(forge.column, at - window_ms, at + 1);
                    if list.is_empty() { v } else { list.iter().sum::<f64>() / list.len() as f64 }
                });
            }
        }
        Kind::Interpolate | Kind::InterpolateRounded => interpolate(&mut copy, c, &forges)?,
        Kind::UnitKiloPascal | Kind::UnitFahrenheit | Kind::UnitFraction => {
            for forge in &forges {
                let quantum = if attack.kind == Kind::UnitFraction { 0.01 } else { 0.1 };
                let forge = Forge { quantum: Some(quantum), ..exact(forge) };
                change(&mut copy, c, &forge, |_, v| match attack.kind {
                    Kind::UnitKiloPascal => v / 7.500_62,
                    Kind::UnitFahrenheit => v * 1.8 + 32.0,
                    _ => v / 100.0,
                });
            }
        }
        Kind::DigitsZero => digits(&mut copy, c, &forges, random),
        Kind::QuantumCoarse => {
            for forge in &forges {
                let coarse = 5.0 * forge.own_quantum.unwrap_or(1.0);
                change(&mut copy, c, &exact(forge), |_, v| (v / coarse).round() * coarse);
            }
        }
        Kind::Impossible => {
            for forge in &forges {
                change(&mut copy, c, &naive(forge), |_, _| impossible(forge.parameter));
            }
        }
        _ => return Err(Unfit::NoModel),
    }
    if attack.kind == Kind::BedsideDiffers {
        truth.spot_checks = spot_checks(c);
    }
    let wires = render_part(&copy, c.bed, literal.as_ref(), c.from());
    Ok(Attacked { wires, truth, other_bed: None })
}

/// The number as given.
fn exact(forge: &Forge) -> Forge {
    Forge { quantum: None, ..*forge }
}

/// The number as the device would write it, whatever the attacker knows.
fn own(forge: &Forge) -> Forge {
    Forge { quantum: forge.own_quantum, ..*forge }
}

fn naive(forge: &Forge) -> Forge {
    Forge { quantum: NAIVE, own_quantum: None, ..*forge }
}

/// 0 to 1 within the first minute for one who sits on the gateway, else 1.
fn blend(c: &Context<'_>, at_ms: i64) -> f64 {
    if c.attack.tier == Tier::K3 { ((at_ms - c.start_ms) as f64 / BLEND_MS).min(1.0) } else { 1.0 }
}

/// Adds a share of the level, or so many units a minute, weighted by how much of the window has passed.
fn by_weight(copy: &mut Recording, c: &Context<'_>, forges: &[Forge], weight: impl Fn(f64) -> f64) {
    let lasts = (c.end_ms - c.start_ms).max(1) as f64;
    for forge in forges {
        change(copy, c, forge, |at, v| {
            let at = forge.beat(c, at).max(c.start_ms);
            let passed = (at - c.start_ms) as f64;
            let by = match c.attack.severity {
                Severity::Percent(p) => p / 100.0 * forge.level * weight(passed / lasts),
                Severity::UnitsPerMinute(u) => u * passed / 60_000.0,
                Severity::Units(u) => u * weight(passed / lasts),
                _ => 0.0,
            };
            v + by * blend(c, at)
        });
    }
}

/// The cell that a column showed at a time: the last one, but none from before a gap.
fn shown(recording: &Recording, column: u16, at_ms: i64) -> Option<Cell> {
    let parameter = recording.columns[usize::from(column)].parameter;
    let reach_ms = if parameter.nature() == Nature::Episodic { 7_200_000 } else { recording.gap_ms() };
    let last = recording.rows.partition_point(|row| row.at_ms <= at_ms);
    let back = recording.rows[..last].iter().rev().take_while(|row| at_ms - row.at_ms <= reach_ms);
    back.into_iter().find(|row| row.column == column).map(|row| row.cell)
}

/// Writes a window of the past over the present.
fn replay(copy: &mut Recording, c: &Context<'_>, forges: &[Forge], random: &mut Random) -> Result<(), Unfit> {
    let shift = past(c, random)?;
    let rate = match c.attack.severity {
        Severity::Factor(rate) => rate,
        _ => 1.0,
    };
    let jitter = c.attack.kind == Kind::ReplayJitter;
    let own_ms = c.start_ms - shift;
    let first = copy.rows.partition_point(|row| row.at_ms < c.start_ms);
    for row in copy.rows[first..].iter_mut().take_while(|row| row.at_ms < c.end_ms) {
        let Some(forge) = forges.iter().find(|forge| forge.column == row.column) else { continue };
        let source_ms = own_ms + ((row.at_ms - c.start_ms) as f64 * rate).round() as i64;
        let Some(mut cell) = shown(c.recording, row.column, source_ms) else { continue };
        if let Cell::Number(value) = &mut cell
            && measured(forge.parameter, Cell::Number(*value)).is_some()
        {
            let q = forge.own_quantum.unwrap_or(0.1);
            if let Severity::Percent(p) = c.attack.severity {
                let by = (p / 100.0 * forge.level / q).round() * q;
                *value = own(forge).written(*value + if by == 0.0 { q * p.signum() } else { by });
            }
            if jitter && random.uniform() < 0.05 {
                *value = own(forge).written(*value + if random.uniform() < 0.5 { q } else { -q });
            }
        }
        row.cell = cell;
    }
    Ok(())
}

/// Who replays a feed replays its messages: at one a minute only whole minutes repeat what was sent.
fn told_every(c: &Context<'_>, step_ms: i64) -> i64 {
    if c.bed.rate == Rate::Native { step_ms } else { 60_000 }
}

/// How far back a window of the past lies, ms: whole intervals (who knows the beat: whole beats), no gap inside, at least a
/// minute before the attack; a normal one where one is wanted.
fn past(c: &Context<'_>, random: &mut Random) -> Result<i64, Unfit> {
    let first = c.recording.rows.first().map_or(0, |row| row.at_ms);
    let mut step = ((c.recording.interval_s * 1000.0) as i64).max(1);
    if c.attack.tier >= Tier::K1 {
        step = c.columns.iter().map(|column| beat_before(c, *column).0).max().unwrap_or(step);
    }
    step = told_every(c, step);
    let lasts = c.end_ms - c.start_ms;
    let (least, most) = (lasts * 102 / 100 + 60_000, c.start_ms - first);
    let gaps: Vec<(i64, i64)> = c.recording.gaps().collect();
    let steps = (most - least).div_euclid(step);
    if most < least || steps < 0 {
        return Err(Unfit::NoPast);
    }
    for _ in 0..TRIES {
        let shift = (most - random.below(steps as u64 + 1) as i64 * step).div_euclid(step) * step;
        let (from, to) = (c.start_ms - shift, c.end_ms - shift + lasts / 50);
        if shift < least || gaps.iter().any(|gap| gap.0 < to && from < gap.1) {
            continue;
        }
        let lively = c
            .columns
            .iter()
            .all(|column| !c.numbers(*column, from, to).is_empty() || c.parameter(*column).nature() == Nature::Episodic);
        let normal = || {
            c.columns.iter().all(|column| {
                let (parameter, list) = (c.parameter(*column), c.numbers(*column, from, to));
                list.iter().filter(|v| is_abnormal(parameter, **v)).count() * 20 <= list.len()
            })
        };
        if lively && (c.attack.kind != Kind::MaskOwnNormal || normal()) {
            return Ok(shift);
        }
    }
    Err(Unfit::NoPast)
}

/// Another patient's values, live or of the past; for a swap the other bed gets ours.
fn from_donor(
    mut copy: Recording,
    c: &Context<'_>,
    forges: &[Forge],
    mut truth: Truth,
    random: &mut Random,
) -> Result<Attacked, Unfit> {
    let donor = c.donor.ok_or(Unfit::NoDonor)?;
    let same = |column: u16| donor.column_of(c.parameter(column));
    let pairs: Vec<(&Forge, u16)> = forges.iter().filter_map(|forge| Some((forge, same(forge.column)?))).collect();
    let first = donor.rows.first().map_or(i64::MAX, |row| row.at_ms);
    let last = donor.rows.last().map_or(i64::MIN, |row| row.at_ms);
    if pairs.is_empty() || first > c.start_ms - 600_000 || last < c.end_ms {
        return Err(Unfit::NoDonor);
    }
    let old = matches!(c.attack.kind, Kind::OtherExact | Kind::OtherMatched);
    let shift = if old {
        let step = told_every(c, 1000);
        let room = (c.start_ms - 120_000 - first) / step;
        120_000 + random.below(room.max(1) as u64) as i64 * step
    } else {
        0
    };
    if donor.gaps().any(|gap| gap.0 < c.end_ms - shift && c.start_ms - shift < gap.1) {
        return Err(Unfit::NoDonor);
    }
    let matched = matches!(c.attack.kind, Kind::OtherMatched | Kind::CloneMatched);
    let lift: Vec<f64> = pairs
        .iter()
        .map(|(forge, column)| {
            let theirs = median(&stream::numbers(donor, *column, c.start_ms - shift - stream::BEFORE_MS, c.start_ms - shift));
            let by = theirs.map_or(0.0, |theirs| forge.level - theirs);
            let q = forge.own_quantum.unwrap_or(0.1);
            if matched { (by / q).round() * q } else { 0.0 }
        })
        .collect();
    let begin = copy.rows.partition_point(|row| row.at_ms < c.start_ms);
    let mut changed = 0u32;
    for row in copy.rows[begin..].iter_mut().take_while(|row| row.at_ms < c.end_ms) {
        let Some(at) = pairs.iter().position(|(forge, _)| forge.column == row.column) else { continue };
        let Some(mut cell) = shown(donor, pairs[at].1, row.at_ms - shift) else { continue };
        if let (Cell::Number(value), true) = (&mut cell, matched)
            && measured(pairs[at].0.parameter, Cell::Number(*value)).is_some()
        {
            *value = rounded(*value + lift[at], pairs[at].0.own_quantum);
        }
        changed += 1;
        row.cell = cell;
    }
    if changed == 0 {
        return Err(Unfit::NoDonor);
    }
    truth.params = pairs.iter().map(|(forge, _)| forge.parameter).collect();
    let mut other = donor.clone();
    if c.attack.kind == Kind::Swap {
        let begin = other.rows.partition_point(|row| row.at_ms < c.start_ms);
        for row in other.rows[begin..].iter_mut().take_while(|row| row.at_ms < c.end_ms) {
            let Some((forge, _)) = pairs.iter().find(|(_, column)| *column == row.column) else { continue };
            if let Some(cell) = shown(c.recording, forge.column, row.at_ms) {
                row.cell = cell;
            }
        }
    }
    let wires = render_part(&copy, c.bed, None, c.from());
    let other_bed = render_part(&other, &donor_bed(c.bed), None, c.from());
    Ok(Attacked { wires, truth, other_bed: Some(other_bed) })
}

/// A number of updates far off.
fn spike(copy: &mut Recording, c: &Context<'_>, forge: &Forge, truth: &mut Truth) {
    let updates = match c.attack.severity {
        Severity::Updates(n) => n,
        _ => 1,
    };
    let high = match (forge.parameter, forge.parameter.unit()) {
        (Parameter::Spo2, _) => forge.level - 30.0,
        (_, Unit::PerMin) => 200.0_f64.max(forge.level + 80.0),
        (_, Unit::Cel) => forge.level + 4.0,
        _ => forge.level + 80.0,
    };
    let mut left = updates;
    let mut last_ms = c.start_ms;
    change(copy, c, &naive(forge), |at, v| {
        if left == 0 {
            return v;
        }
        left -= 1;
        last_ms = at;
        high
    });
    truth.end = c.bed.start.plus_ms(last_ms + 1000);
}

/// To 0, at once or within five seconds, marks as well.
fn zero(copy: &mut Recording, c: &Context<'_>, forges: &[Forge]) {
    let decay_ms = match c.attack.severity {
        Severity::Seconds(s) => s * 1000.0,
        _ => 0.0,
    };
    let first = copy.rows.partition_point(|row| row.at_ms < c.start_ms);
    for row in copy.rows[first..].iter_mut().take_while(|row| row.at_ms < c.end_ms) {
        let Some(forge) = forges.iter().find(|forge| forge.column == row.column) else { continue };
        let passed = (row.at_ms - c.start_ms) as f64;
        let left = if passed < decay_ms { 1.0 - passed / decay_ms } else { 0.0 };
        row.cell = Cell::Number(rounded(forge.level * left, forge.own_quantum));
    }
}

/// Pressures that do not belong together: systolic and diastolic moved under a kept mean, or a mean above the systolic.
fn pressures(copy: &mut Recording, c: &Context<'_>, forges: &[Forge]) {
    use Parameter as P;
    let by = match c.attack.severity {
        Severity::Units(by) => by,
        _ => 10.0,
    };
    let systolic = forges.iter().find(|f| matches!(f.parameter, P::AbpSys | P::NibpSys | P::PapSys | P::BpSys));
    for forge in forges {
        let (sys, mean) = match forge.parameter {
            P::AbpSys | P::NibpSys | P::PapSys | P::BpSys => (true, false),
            P::AbpMean | P::NibpMean | P::PapMean | P::BpMean => (false, true),
            _ => (false, false),
        };
        if c.attack.kind == Kind::PressureOrder {
            if let (true, Some(systolic)) = (mean, systolic) {
                change(copy, c, forge, |at, v| {
                    let above = shown(c.recording, systolic.column, at).and_then(Cell::number);
                    above.map_or(v, |s| s + by)
                });
            }
        } else if !mean {
            change(copy, c, forge, |_, v| v + if sys { by } else { 0.5 * by });
        }
    }
}

/// Marks of lost sensors become the last value.
fn fill_marks(copy: &mut Recording, c: &Context<'_>) -> Result<(), Unfit> {
    let mut last: Vec<Option<f64>> = vec![None; copy.columns.len()];
    let mut filled = 0u32;
    for row in &mut copy.rows {
        let column = usize::from(row.column);
        let parameter = c.parameter(row.column);
        match measured(parameter, row.cell) {
            Some(value) => last[column] = Some(value),
            None if (c.start_ms..c.end_ms).contains(&row.at_ms) && c.columns.contains(&row.column) => {
                // Between two cuffs an empty cell is no lost sensor.
                if let (Some(value), true) = (last[column], parameter.sensor() != Sensor::Cuff) {
                    row.cell = Cell::Number(value);
                    filled += 1;
                }
            }
            None => {}
        }
    }
    if filled == 0 { Err(Unfit::NothingToHide) } else { Ok(()) }
}

/// A line between the true values of every so many seconds.
fn interpolate(copy: &mut Recording, c: &Context<'_>, forges: &[Forge]) -> Result<(), Unfit> {
    let Severity::Window(window_s) = c.attack.severity else { return Err(Unfit::NoModel) };
    let window_ms = (window_s * 1000.0) as i64;
    for forge in forges {
        let anchor = |at: i64| {
            let list = c.numbers(forge.column, at - window_ms, at + 1);
            list.last().copied()
        };
        change(copy, c, forge, |at, v| {
            let from = c.start_ms + (at - c.start_ms).div_euclid(window_ms) * window_ms;
            match (anchor(from), anchor(from + window_ms)) {
                (Some(a), Some(b)) => a + (b - a) * (at - from) as f64 / window_ms as f64,
                _ => v,
            }
        });
    }
    Ok(())
}

/// Last digits as people write them.
fn digits(copy: &mut Recording, c: &Context<'_>, forges: &[Forge], random: &mut Random) {
    let share = match c.attack.severity {
        Severity::Percent(p) => p / 100.0,
        _ => 0.4,
    };
    for forge in forges {
        let mut before: Option<(f64, f64)> = None;
        change(copy, c, &exact(forge), |_, v| match before {
            // A value that stands is written once.
            Some((true_value, told)) if true_value == v => told,
            _ => {
                // One in ten ends in 0 by itself.
                let told = if random.uniform() < (share - 0.1) / 0.9 { (v / 10.0).round() * 10.0 } else { v.round() };
                before = Some((v, told));
                told
            }
        });
    }
}

/// What no monitor can measure.
fn impossible(parameter: Parameter) -> f64 {
    match parameter.unit() {
        Unit::PerMin => 400.0,
        Unit::Percent => 140.0,
        Unit::Cel => 60.0,
        _ => 500.0,
    }
}

/// What a person reads at the bedside, twice: rates, pressures, saturation.
fn spot_checks(c: &Context<'_>) -> Vec<SpotCheck> {
    use Parameter as P;
    let mut list = Vec::new();
    for share in [3, 6] {
        let at_ms = c.start_ms + (c.end_ms - c.start_ms) * share / 10;
        for column in &c.columns {
            let parameter = c.parameter(*column);
            if !matches!(parameter, P::Hr | P::Pr | P::Spo2 | P::AbpSys | P::NibpSys) {
                continue;
            }
            if let Some(value) = shown(c.recording, *column, at_ms).and_then(|cell| measured(parameter, cell)) {
                list.push(SpotCheck { at: c.bed.start.plus_ms(at_ms), parameter, value });
            }
        }
    }
    list
}
