//! What patients are like, from usable values: levels, spread within and between, how often a value changes, the noise of a
//! trend, and which parameters move together and at which lag.

use super::{Options, decimals};
use crate::calibration::Pace;
use crate::envelope::{Origin, records_sha256};
use crate::observation::Observation;
use crate::population::Population;
use crate::population::prior::{N0, Pair, Prior, Priors};
use crate::stats::quantile::Quantile;
use crate::vital::Parameter;
use std::collections::{BTreeMap, BTreeSet};

/// A parameter needs so many patients, and so many values of each.
pub const PATIENTS: usize = 10;
pub const VALUES: u32 = 60;
/// A pair needs so many patients, and blocks of each.
const PAIR_BLOCKS: usize = 30;
/// Values between the two differences that noise and wander are told apart by.
const LAG: usize = 8;
/// Blocks that innovations are taken over: seconds at one a second, one value at one a minute.
const BLOCK_S: f64 = 10.0;
/// Longest lag that is looked for, blocks.
const LAGS: i64 = 3;

/// One parameter of one patient.
#[derive(Debug, Clone)]
struct Column {
    parameter: Parameter,
    channel: u32,
    middle: Quantile,
    count: u32,
    mean: f64,
    squares: f64,
    changes: u32,
    steps: u32,
    /// The last values and their times, newest last, without a hole.
    recent: Vec<(f64, i64)>,
    one: (f64, u32),
    far: (f64, u32),
    step_s: f64,
    /// Means of blocks.
    blocks: BTreeMap<i64, (f64, u32)>,
}

/// One record.
#[derive(Debug, Clone)]
pub struct Patient {
    pace: Pace,
    columns: Vec<Column>,
}

impl Patient {
    pub fn new(pace: Pace) -> Patient {
        Patient { pace, columns: Vec::new() }
    }

    /// Takes a usable value. What no device can report is an artefact and no patient's.
    pub fn push(&mut self, o: &Observation, population: &Population) {
        if population.hard(o.parameter, crate::observation::AgeBand::Adult).is_some_and(|limits| !limits.holds(o.value)) {
            return;
        }
        let block_s = if self.pace == Pace::Second { BLOCK_S } else { 60.0 };
        let place = match self.columns.iter().position(|c| c.parameter == o.parameter) {
            Some(place) => place,
            None => {
                self.columns.push(Column {
                    parameter: o.parameter,
                    channel: o.channel,
                    middle: Quantile::new(0.5),
                    count: 0,
                    mean: 0.0,
                    squares: 0.0,
                    changes: 0,
                    steps: 0,
                    recent: Vec::with_capacity(LAG + 1),
                    one: (0.0, 0),
                    far: (0.0, 0),
                    step_s: 0.0,
                    blocks: BTreeMap::new(),
                });
                self.columns.len() - 1
            }
        };
        let c = &mut self.columns[place];
        if c.channel != o.channel {
            return;
        }
        let (value, ms) = (o.value, o.effective_at.ms());
        let hole_ms = if self.pace == Pace::Second { 2500 } else { 150_000 };
        match c.recent.last() {
            Some((_, last)) if ms <= *last => return,
            Some((_, last)) if ms - last > hole_ms => c.recent.clear(),
            _ => {}
        }
        c.count += 1;
        let off = value - c.mean;
        c.mean += off / f64::from(c.count);
        c.squares += off * (value - c.mean);
        c.middle.push(value);
        if let Some((last, at)) = c.recent.last() {
            c.steps += 1;
            c.changes += u32::from(*last != value);
            c.one = (c.one.0 + (value - last).powi(2), c.one.1 + 1);
            c.step_s += (ms - at) as f64 / 1000.0;
        }
        if c.recent.len() == LAG {
            let (first, _) = c.recent.remove(0);
            c.far = (c.far.0 + (value - first).powi(2), c.far.1 + 1);
        }
        c.recent.push((value, ms));
        let block = c.blocks.entry((o.effective_at.ms() as f64 / 1000.0 / block_s).floor() as i64).or_default();
        *block = (block.0 + value, block.1 + 1);
    }
}

/// What one parameter of one patient came to.
#[derive(Debug, Clone, Copy)]
struct Level {
    middle: f64,
    sd: f64,
    changes: f64,
    level_q: f64,
    reading_r: f64,
}

/// Patients of one cadence.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    levels: BTreeMap<Parameter, Vec<Level>>,
    /// By pair and lag: Fisher's z and its weight, of each patient.
    pairs: BTreeMap<(Parameter, Parameter, i64), Vec<(f64, f64)>>,
    sets: BTreeSet<String>,
    records: Vec<String>,
    patients: BTreeSet<String>,
    live_s: f64,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Pool {
    /// A record is whole.
    pub fn add(&mut self, patient: Patient) {
        let mut moves: Vec<(Parameter, BTreeMap<i64, f64>)> = Vec::new();
        for c in &patient.columns {
            if c.count < VALUES || c.steps == 0 || c.far.1 == 0 {
                continue;
            }
            let dt = c.step_s / f64::from(c.steps);
            let near = c.one.0 / f64::from(c.one.1);
            let far = c.far.0 / f64::from(c.far.1);
            // Var(x_t − x_{t−k}) = q·k·dt + 2r.
            let level_q = ((far - near) / ((LAG - 1) as f64 * dt)).max(0.0);
            let reading_r = ((near - level_q * dt) / 2.0).max(0.0);
            self.levels.entry(c.parameter).or_default().push(Level {
                middle: c.middle.value().unwrap_or(c.mean),
                sd: (c.squares / f64::from(c.count)).sqrt(),
                changes: f64::from(c.changes) / f64::from(c.steps),
                level_q,
                reading_r,
            });
            let mean = |(sum, n): &(f64, u32)| sum / f64::from(*n);
            let steps = c.blocks.iter().filter_map(|(at, block)| {
                let before = c.blocks.get(&(at - 1))?;
                Some((*at, mean(block) - mean(before)))
            });
            moves.push((c.parameter, steps.collect()));
        }
        moves.sort_by_key(|(p, _)| *p);
        for (i, (a, first)) in moves.iter().enumerate() {
            for (b, second) in &moves[i + 1..] {
                for lag in -LAGS..=LAGS {
                    let both: Vec<(f64, f64)> =
                        first.iter().filter_map(|(at, x)| second.get(&(at + lag)).map(|y| (*x, *y))).collect();
                    let (xx, yy, xy) =
                        both.iter().fold((0.0, 0.0, 0.0), |(xx, yy, xy), (x, y)| (xx + x * x, yy + y * y, xy + x * y));
                    if both.len() >= PAIR_BLOCKS && xx > 0.0 && yy > 0.0 {
                        let r = (xy / (xx * yy).sqrt()).clamp(-0.99, 0.99);
                        self.pairs.entry((*a, *b, lag)).or_default().push((r.atanh(), (both.len() - 3) as f64));
                    }
                }
            }
        }
    }

    /// Whom the patients of a set are.
    pub fn note(&mut self, set: &str, records: &[String], patients: impl Iterator<Item = String>, live_s: f64) {
        self.sets.insert(set.into());
        self.records.extend_from_slice(records);
        self.patients.extend(patients);
        self.live_s += live_s;
    }

    /// The priors, and what was refused; `Err`: nothing can be told.
    pub fn priors(&self, pace: Pace, options: &Options) -> Result<(Priors, Vec<String>), String> {
        let mut refused = Vec::new();
        let mut list = Vec::new();
        for (parameter, levels) in &self.levels {
            if levels.len() < PATIENTS {
                refused.push(format!("{}: {} of {PATIENTS} records with {VALUES} values", parameter.key(), levels.len()));
                continue;
            }
            let of = |f: fn(&Level) -> f64| levels.iter().map(f).collect::<Vec<f64>>();
            let location = median(&mut of(|l| l.middle));
            let between = 1.4826 * median(&mut levels.iter().map(|l| (l.middle - location).abs()).collect::<Vec<f64>>());
            let within = median(&mut of(|l| l.sd));
            let shares = of(|l| l.changes);
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
            // Moments; a prior that weighs less than two updates or more than its patients' minutes is none.
            let weight = (mean * (1.0 - mean) / variance.max(1e-9) - 1.0).clamp(2.0, 500.0);
            list.push(Prior {
                parameter: *parameter,
                records: levels.len() as u32,
                location: decimals(location, 3),
                between_sd: decimals(between.max(0.01), 3),
                within_sd: decimals(within.max(0.01), 3),
                change_a: decimals((mean * weight).max(0.01), 3),
                change_b: decimals(((1.0 - mean) * weight).max(0.01), 3),
                level_q: decimals(median(&mut of(|l| l.level_q)), 6),
                reading_r: decimals(median(&mut of(|l| l.reading_r)).max(1e-4), 6),
            });
        }
        let bed_days = self.live_s / 86_400.0;
        if list.is_empty() || self.records.is_empty() {
            refused.push(format!("{bed_days:.2} bed-days of {} records", self.records.len()));
            return Err(refused.join("; "));
        }
        let origin = Origin {
            sets: self.sets.iter().cloned().collect(),
            records: self.records.len() as u32,
            patients: self.patients.len() as u32,
            records_sha256: records_sha256(&mut self.records.clone()),
            exposure_bed_days: decimals(bed_days, 3),
            group: options.group(),
            date: options.date.clone(),
            command: options.command(),
            none_seen_bound_per_bed_day: None,
        };
        Ok((Priors::new(&options.version, pace, origin, list, self.told_pairs(pace)), refused))
    }

    /// Of each pair the lag at which it goes together best, shrunk toward nothing by what patients differ (James and Stein).
    fn told_pairs(&self, pace: Pace) -> Vec<Pair> {
        let block_s = if pace == Pace::Second { BLOCK_S } else { 60.0 };
        let mut told: BTreeMap<(Parameter, Parameter), Pair> = BTreeMap::new();
        for ((a, b, lag), list) in &self.pairs {
            if list.len() < PATIENTS {
                continue;
            }
            let weight: f64 = list.iter().map(|(_, w)| w).sum();
            let z = list.iter().map(|(z, w)| z * w).sum::<f64>() / weight;
            let n = list.len() as f64;
            let spread = list.iter().map(|(x, w)| w / weight * (x - z).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
            let kept = (1.0 - spread / (z * z).max(1e-12)).clamp(0.0, 1.0);
            let correlation = (z * kept).tanh();
            let pair = Pair {
                a: *a,
                b: *b,
                lag_s: *lag as f64 * block_s,
                correlation: decimals(correlation, 3),
                records: list.len() as u32,
            };
            let best = told.entry((*a, *b)).or_insert(pair);
            // Of equal ones the shorter lag.
            let order = |p: &Pair| (p.correlation.abs(), -p.lag_s.abs());
            if order(&pair).partial_cmp(&order(best)) == Some(std::cmp::Ordering::Greater) {
                *best = pair;
            }
        }
        told.into_values().collect()
    }
}

const _: () = assert!(N0 == 30.0);
