//! Normal-looking values: autoregressive series with the patient's own level, spread and memory, alone or together.
//!
//! References: Yule 1927 (autoregression); Sims 1980 (vector autoregression), fitted by least squares with a ridge.

use super::stream::{Context, beat_before, median, quantum, spread};
use super::{Kind, Unfit};
use crate::eval::synth::random::Random;

/// History that is fitted, ms.
const HISTORY_MS: i64 = 1_800_000;
/// Instants that a model needs: so many, and so many more for every column.
const INSTANTS_MIN: usize = 60;
const INSTANTS_PER_COLUMN: usize = 10;
/// Largest growth of a fitted model a step.
const GROWTH_MAX: f64 = 0.995;

/// Invented values of one column.
#[derive(Debug, Clone)]
pub struct Mask {
    pub column: u16,
    /// From the attack's start, one every `step_ms`, renewed at `phase_ms`.
    values: Vec<f64>,
    start_ms: i64,
    step_ms: i64,
    phase_ms: i64,
}

impl Mask {
    /// The value at a time: it stands from beat to beat.
    pub fn at(&self, at_ms: i64) -> f64 {
        let beats = |at: i64| (at - self.phase_ms).div_euclid(self.step_ms);
        let index = (beats(at_ms) - beats(self.start_ms)).max(0) as usize;
        self.values.get(index).or(self.values.last()).copied().unwrap_or(0.0)
    }
}

/// The masks of all columns under attack.
pub fn masks(c: &Context<'_>, random: &mut Random) -> Result<Vec<Mask>, Unfit> {
    let interval_ms = ((c.recording.interval_s * 1000.0).round() as i64).max(1);
    let beat = |column: u16| if c.attack.kind == Kind::MaskAr { (interval_ms, 0) } else { beat_before(c, column) };
    if c.attack.kind == Kind::MaskVar {
        return together(c, random);
    }
    let mut list = Vec::new();
    for column in &c.columns {
        let (step_ms, phase_ms) = beat(*column);
        let before = c.before(*column);
        let level = median(&before).ok_or(Unfit::NoModel)?;
        let (_, sd) = spread(&before);
        let memory = memory(c, *column, step_ms);
        // A number that hardly moves still has to move, or it is a freeze.
        let sd = sd.max(0.6 * quantum(&before).unwrap_or(0.1));
        let steps = (c.end_ms - c.start_ms) / step_ms + 2;
        let mut deviation = 0.0;
        let values = (0..steps)
            .map(|_| {
                deviation = memory * deviation + sd * (1.0 - memory * memory).sqrt() * random.normal();
                level + deviation
            })
            .collect();
        list.push(Mask { column: *column, values, start_ms: c.start_ms, step_ms, phase_ms });
    }
    Ok(list)
}

/// Correlation of a value with the one a step later.
fn memory(c: &Context<'_>, column: u16, step_ms: i64) -> f64 {
    let before = c.before(column);
    let (mean, sd) = spread(&before);
    let rows: Vec<(i64, f64)> = c
        .rows(column, c.start_ms - super::stream::BEFORE_MS, c.start_ms)
        .filter_map(|row| Some((row.at_ms, super::stream::measured(c.parameter(column), row.cell)?)))
        .collect();
    let (mut sum, mut n) = (0.0, 0u32);
    let mut later = 0;
    for (at, value) in &rows {
        while later < rows.len() && rows[later].0 < at + step_ms {
            later += 1;
        }
        if let Some((_, next)) = rows.get(later).filter(|(then, _)| *then == at + step_ms) {
            sum += (value - mean) * (next - mean);
            n += 1;
        }
    }
    let variance = sd * sd;
    if n < 10 || variance < 1e-9 { 0.9 } else { (sum / f64::from(n) / variance).clamp(0.0, 0.98) }
}

/// One model of all columns, fitted to the half hour before: what one does, the others follow.
fn together(c: &Context<'_>, random: &mut Random) -> Result<Vec<Mask>, Unfit> {
    let beats: Vec<(i64, i64)> = c.columns.iter().map(|column| beat_before(c, *column)).collect();
    let step_ms = beats.iter().map(|beat| beat.0).max().ok_or(Unfit::NoModel)?;
    let width = c.columns.len();
    let instants = instants(c, step_ms);
    if instants.len() < INSTANTS_MIN + INSTANTS_PER_COLUMN * width {
        return Err(Unfit::NoModel);
    }
    let mean: Vec<f64> = (0..width).map(|at| instants.iter().map(|x| x[at]).sum::<f64>() / instants.len() as f64).collect();
    let model = Model::fit(&instants, &mean).ok_or(Unfit::NoModel)?;
    let steps = ((c.end_ms - c.start_ms) / step_ms + 2) as usize;
    let mut now: Vec<f64> = instants.last().map(|x| x.iter().zip(&mean).map(|(x, m)| x - m).collect()).unwrap_or_default();
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(steps); width];
    for _ in 0..steps {
        now = model.step(&now, random);
        for at in 0..width {
            values[at].push(mean[at] + now[at]);
        }
    }
    let masks = c.columns.iter().zip(values).zip(beats);
    Ok(masks
        .map(|((column, values), (_, phase_ms))| Mask { column: *column, values, start_ms: c.start_ms, step_ms, phase_ms })
        .collect())
}

/// Vectors of all columns, one every step; a column that shows nothing new keeps its value, one that shows nothing at all its
/// first.
fn instants(c: &Context<'_>, step_ms: i64) -> Vec<Vec<f64>> {
    let from = c.start_ms - HISTORY_MS;
    let series: Vec<Vec<(i64, f64)>> = c
        .columns
        .iter()
        .map(|column| {
            let rows = c.rows(*column, from, c.start_ms);
            rows.filter_map(|row| Some((row.at_ms, super::stream::measured(c.parameter(*column), row.cell)?))).collect()
        })
        .collect();
    if series.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let begin = series.iter().map(|list| list[0].0).max().unwrap_or(from);
    let mut next = vec![0usize; series.len()];
    let mut list = Vec::new();
    let mut at = begin;
    while at < c.start_ms {
        let mut vector = Vec::with_capacity(series.len());
        for (values, next) in series.iter().zip(&mut next) {
            while *next + 1 < values.len() && values[*next + 1].0 <= at {
                *next += 1;
            }
            vector.push(values[*next].1);
        }
        list.push(vector);
        at += step_ms;
    }
    list
}

/// x' = A x + L e.
struct Model {
    matrix: Vec<Vec<f64>>,
    noise: Vec<Vec<f64>>,
}

impl Model {
    fn fit(instants: &[Vec<f64>], mean: &[f64]) -> Option<Model> {
        let width = mean.len();
        let mut moment = vec![vec![0.0; width]; width];
        let mut lagged = vec![vec![0.0; width]; width];
        let centred: Vec<Vec<f64>> = instants.iter().map(|x| x.iter().zip(mean).map(|(x, m)| x - m).collect()).collect();
        for pair in centred.windows(2) {
            for i in 0..width {
                for j in 0..width {
                    moment[i][j] += pair[0][i] * pair[0][j];
                    lagged[i][j] += pair[1][i] * pair[0][j];
                }
            }
        }
        let n = (centred.len() - 1) as f64;
        // A ridge of a hundredth of a squared unit a step keeps a column that stands still harmless.
        for (i, row) in moment.iter_mut().enumerate() {
            row[i] += 0.01 * n;
        }
        // A = lagged * moment^-1: every row of A solves moment * a = row of lagged (the moment is symmetric).
        let mut matrix = Vec::with_capacity(width);
        for row in &lagged {
            matrix.push(solve(&moment, row)?);
        }
        let growth = growth(&matrix);
        if growth > GROWTH_MAX {
            matrix.iter_mut().flatten().for_each(|a| *a *= GROWTH_MAX / growth);
        }
        let mut covariance = vec![vec![0.0; width]; width];
        for pair in centred.windows(2) {
            let told = times(&matrix, &pair[0]);
            let rest: Vec<f64> = pair[1].iter().zip(&told).map(|(x, t)| x - t).collect();
            for i in 0..width {
                for j in 0..width {
                    covariance[i][j] += rest[i] * rest[j] / n;
                }
            }
        }
        Some(Model { matrix, noise: root(&covariance) })
    }
    fn step(&self, now: &[f64], random: &mut Random) -> Vec<f64> {
        let kicks: Vec<f64> = now.iter().map(|_| random.normal()).collect();
        let (told, noise) = (times(&self.matrix, now), times(&self.noise, &kicks));
        told.iter().zip(&noise).map(|(t, n)| t + n).collect()
    }
}

fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(vector).map(|(a, x)| a * x).sum()).collect()
}

/// Gauss with the largest pivot; `None` for a singular matrix.
fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Option<Vec<f64>> {
    let width = right.len();
    let mut rows: Vec<Vec<f64>> = matrix.iter().zip(right).map(|(row, r)| [row.as_slice(), &[*r]].concat()).collect();
    for at in 0..width {
        let pivot = (at..width).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        let lead = rows[at].clone();
        if lead[at].abs() < 1e-12 {
            return None;
        }
        for row in rows.iter_mut().skip(at + 1) {
            let factor = row[at] / lead[at];
            for (cell, l) in row.iter_mut().zip(&lead) {
                *cell -= factor * l;
            }
        }
    }
    let mut solution = vec![0.0; width];
    for at in (0..width).rev() {
        let known: f64 = (at + 1..width).map(|j| rows[at][j] * solution[j]).sum();
        solution[at] = (rows[at][width] - known) / rows[at][at];
    }
    Some(solution)
}

/// How much the matrix lengthens a vector in the long run: the root of many steps.
fn growth(matrix: &[Vec<f64>]) -> f64 {
    const STEPS: i32 = 60;
    let mut vector: Vec<f64> = (0..matrix.len()).map(|i| 1.0 + 0.1 * i as f64).collect();
    let mut logarithm = 0.0;
    for _ in 0..STEPS {
        vector = times(matrix, &vector);
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length < 1e-12 {
            return 0.0;
        }
        logarithm += length.ln();
        vector.iter_mut().for_each(|x| *x /= length);
    }
    (logarithm / f64::from(STEPS)).exp()
}

/// Cholesky's root of a covariance; a direction without variance stays without.
fn root(covariance: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let width = covariance.len();
    let mut lower = vec![vec![0.0; width]; width];
    for i in 0..width {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            lower[i][j] = if i == j {
                (covariance[i][i] - sum).max(0.0).sqrt()
            } else if lower[j][j] > 1e-9 {
                (covariance[i][j] - sum) / lower[j][j]
            } else {
                0.0
            };
        }
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_model_is_found_again() {
        let truth = Model { matrix: vec![vec![0.9, 0.0], vec![0.3, 0.5]], noise: root(&[vec![1.0, 0.5], vec![0.5, 2.0]]) };
        let mut random = Random::new(3);
        let mut now = vec![0.0, 0.0];
        let series: Vec<Vec<f64>> = (0..20_000)
            .map(|_| {
                now = truth.step(&now, &mut random);
                now.clone()
            })
            .collect();
        let found = Model::fit(&series, &[0.0, 0.0]).unwrap();
        for (a, b) in found.matrix.iter().flatten().zip(truth.matrix.iter().flatten()) {
            assert!((a - b).abs() < 0.03, "{:?}", found.matrix);
        }
        for (a, b) in found.noise.iter().flatten().zip(truth.noise.iter().flatten()) {
            assert!((a - b).abs() < 0.05, "{:?}", found.noise);
        }
    }

    #[test]
    fn a_system_of_equations_is_solved_and_a_singular_one_is_not() {
        let solution = solve(&[vec![0.0, 2.0], vec![1.0, 1.0]], &[4.0, 5.0]).unwrap();
        assert!((solution[0] - 3.0).abs() < 1e-12 && (solution[1] - 2.0).abs() < 1e-12);
        assert!(solve(&[vec![1.0, 2.0], vec![2.0, 4.0]], &[1.0, 2.0]).is_none());
    }
}
