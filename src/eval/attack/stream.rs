//! What an injection works on: the target's columns, the window, and what can be learned from the record before it.

use super::{Attack, Kind, Target, Unfit};
use crate::eval::recording::{Cell, Recording, Row};
use crate::eval::render::{Bed, zero_is_measured};
use crate::eval::synth::random::Random;
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter};

/// Quanta that devices show.
const QUANTA: [f64; 6] = [1.0, 0.5, 0.1, 0.05, 0.01, 0.001];
/// Longest beat of a device that is looked for, in intervals of the record.
const BEAT_MAX: i64 = 10;
/// What is learned is learned from the quarter of an hour before, ms.
pub const BEFORE_MS: i64 = 900_000;

/// One injection.
pub struct Context<'a> {
    pub attack: &'a Attack,
    pub recording: &'a Recording,
    pub donor: Option<&'a Recording>,
    pub bed: &'a Bed,
    /// First and one past the last ms of the window, in the record's time.
    pub start_ms: i64,
    pub end_ms: i64,
    /// Columns under attack, in order.
    pub columns: Vec<u16>,
    /// Only what arrives from the attack's start on is wanted.
    pub rest: bool,
}

impl<'a> Context<'a> {
    pub fn new(
        attack: &'a Attack,
        recording: &'a Recording,
        donor: Option<&'a Recording>,
        bed: &'a Bed,
        start_s: f64,
        random: &mut Random,
    ) -> Result<Context<'a>, Unfit> {
        let start_ms = (start_s * 1000.0).round() as i64;
        let end_ms = start_ms + i64::from(attack.duration_s) * 1000;
        let last = recording.rows.last().map_or(i64::MIN, |row| row.at_ms);
        if start_ms > last {
            return Err(Unfit::NoRoom);
        }
        let mut context = Context { attack, recording, donor, bed, start_ms, end_ms, columns: Vec::new(), rest: false };
        context.columns = context.targets(random)?;
        Ok(context)
    }

    /// Rows of a column within some time.
    pub fn rows(&self, column: u16, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &'a Row> {
        rows(self.recording, column, from_ms, to_ms)
    }

    /// Measured numbers of a column within some time.
    pub fn numbers(&self, column: u16, from_ms: i64, to_ms: i64) -> Vec<f64> {
        numbers(self.recording, column, from_ms, to_ms)
    }

    /// The same of the quarter of an hour before the attack.
    pub fn before(&self, column: u16) -> Vec<f64> {
        self.numbers(column, self.start_ms - BEFORE_MS, self.start_ms)
    }

    pub fn parameter(&self, column: u16) -> Parameter {
        self.recording.columns[usize::from(column)].parameter
    }

    pub fn params(&self) -> ParamSet {
        self.columns.iter().map(|c| self.parameter(*c)).collect()
    }

    pub fn start(&self) -> Timestamp {
        self.bed.start.plus_ms(self.start_ms)
    }

    /// From when on messages are wanted.
    pub fn from(&self) -> Option<Timestamp> {
        self.rest.then(|| self.start())
    }

    pub fn end(&self) -> Timestamp {
        self.bed.start.plus_ms(self.end_ms)
    }

    /// Whether a column shows values around the attack: half of its rows before and within are numbers.
    fn lives(&self, column: u16) -> bool {
        let share = |from, to| {
            let (mut all, mut good) = (0u32, 0u32);
            for row in self.rows(column, from, to) {
                all += 1;
                good += u32::from(measured(self.parameter(column), row.cell).is_some());
            }
            all > 0 && good * 2 >= all
        };
        share(self.start_ms - BEFORE_MS, self.start_ms) && share(self.start_ms, self.end_ms.max(self.start_ms + 1000))
    }

    fn targets(&self, random: &mut Random) -> Result<Vec<u16>, Unfit> {
        let live: Vec<u16> = (0..self.recording.columns.len() as u16).filter(|c| self.lives(*c)).collect();
        let candidates: Vec<u16> = live.iter().copied().filter(|c| self.may_be(self.parameter(*c))).collect();
        // One column a parameter: the lowest channel.
        let of = |parameter: Parameter| {
            let same = live.iter().copied().filter(|c| self.parameter(*c) == parameter);
            same.min_by_key(|c| self.recording.columns[usize::from(*c)].channel)
        };
        let draw = |random: &mut Random| match candidates.len() {
            0 => Err(Unfit::NoParameter),
            n => Ok(candidates[random.below(n as u64) as usize]),
        };
        let columns = match self.attack.params {
            Target::One => vec![draw(random)?],
            Target::Only(parameter) => vec![of(parameter).ok_or(Unfit::NoParameter)?],
            Target::Pair(a, b) => [of(a), of(b)].into_iter().flatten().collect(),
            Target::Line(mean) => {
                let triple = triple(mean).map(of);
                if triple.iter().any(Option::is_none) {
                    return Err(Unfit::NoParameter);
                }
                triple.into_iter().flatten().collect()
            }
            Target::Group => {
                let parameter = self.parameter(draw(random)?);
                let sensor = parameter.sensor();
                let together = |p: Parameter| p.sensor() == sensor || (is_rate(p) && is_rate(parameter));
                let group: Vec<u16> = live.iter().copied().filter(|c| together(self.parameter(*c))).collect();
                if group.len() < 2 {
                    return Err(Unfit::NoParameter);
                }
                group
            }
            Target::All => {
                let moving = |p: Parameter| !matches!(p.nature(), Nature::Setting);
                live.iter().copied().filter(|c| moving(self.parameter(*c))).collect()
            }
            Target::Message => return Ok(Vec::new()),
        };
        let least = usize::from(matches!(self.attack.params, Target::Pair(..))) + 1;
        if columns.len() < least { Err(Unfit::NoParameter) } else { Ok(columns) }
    }

    /// Whether one parameter alone may be drawn for this attack.
    fn may_be(&self, parameter: Parameter) -> bool {
        let pressure = parameter.unit() == crate::vital::Unit::MmHg;
        match self.attack.kind {
            Kind::UnitKiloPascal | Kind::DigitsZero | Kind::QuantumCoarse => pressure,
            Kind::UnitFahrenheit => parameter.unit() == crate::vital::Unit::Cel,
            Kind::UnitFraction => parameter == Parameter::Spo2,
            _ => parameter.nature() == Nature::Continuous && parameter != Parameter::PerfIndex,
        }
    }
}

fn is_rate(parameter: Parameter) -> bool {
    matches!(parameter, Parameter::Hr | Parameter::Pr | Parameter::PrAbp)
}

/// S, M and D of the line that a mean belongs to.
pub fn triple(mean: Parameter) -> [Parameter; 3] {
    use Parameter as P;
    match mean {
        P::NibpMean => [P::NibpSys, P::NibpMean, P::NibpDia],
        P::PapMean => [P::PapSys, P::PapMean, P::PapDia],
        P::BpMean => [P::BpSys, P::BpMean, P::BpDia],
        _ => [P::AbpSys, P::AbpMean, P::AbpDia],
    }
}

/// A cell's number, if it is a measurement and no sign of a lost sensor.
pub fn measured(parameter: Parameter, cell: Cell) -> Option<f64> {
    cell.number().filter(|value| *value != 0.0 || zero_is_measured(parameter))
}

/// Rows of a column within some time.
pub fn rows(recording: &Recording, column: u16, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Row> {
    let first = recording.rows.partition_point(|row| row.at_ms < from_ms);
    let inside = recording.rows[first..].iter().take_while(move |row| row.at_ms < to_ms);
    inside.filter(move |row| row.column == column)
}

/// Measured numbers of a column within some time.
pub fn numbers(recording: &Recording, column: u16, from_ms: i64, to_ms: i64) -> Vec<f64> {
    let parameter = recording.columns[usize::from(column)].parameter;
    rows(recording, column, from_ms, to_ms).filter_map(|row| measured(parameter, row.cell)).collect()
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Mean and standard deviation.
pub fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// The coarsest quantum of which nearly all values are multiples; `None` for computed numbers.
pub fn quantum(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    QUANTA.into_iter().find(|q| {
        let off = values.iter().filter(|v| (*v / q - (*v / q).round()).abs() > 1e-6).count();
        off * 200 <= values.len()
    })
}

/// Rounds to a quantum without the dust of the division.
pub fn rounded(value: f64, quantum: Option<f64>) -> f64 {
    match quantum {
        Some(q) => {
            let per = (1.0 / q).round();
            (value * per).round() / per
        }
        None => value,
    }
}

/// The beat at which a device renews a column: period and phase, ms. At 1 Hz most devices have none but the second.
pub fn beat(recording: &Recording, column: u16, from_ms: i64, to_ms: i64) -> (i64, i64) {
    let step = ((recording.interval_s * 1000.0).round() as i64).max(1);
    let mut changes: Vec<i64> = Vec::new();
    let mut last: Option<f64> = None;
    for row in rows(recording, column, from_ms, to_ms) {
        let now = row.cell.number();
        if let (Some(before), Some(now)) = (last, now)
            && before != now
        {
            changes.push(row.at_ms.div_euclid(step));
        }
        last = now;
    }
    if changes.len() >= 20 {
        for beats in (2..=BEAT_MAX).rev() {
            let mut phases = vec![0usize; beats as usize];
            for at in &changes {
                phases[at.rem_euclid(beats) as usize] += 1;
            }
            let (phase, most) = phases.iter().enumerate().max_by_key(|(_, n)| **n).map_or((0, 0), |(p, n)| (p, *n));
            if most * 100 >= changes.len() * 95 {
                return (beats * step, phase as i64 * step);
            }
        }
    }
    (step, 0)
}

/// The same with what is known of the whole record before the attack.
pub fn beat_before(context: &Context<'_>, column: u16) -> (i64, i64) {
    beat(context.recording, column, i64::MIN, context.start_ms)
}
