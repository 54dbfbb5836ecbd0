//! O. Ledoit, M. Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate
//! Analysis 88(2), 365–411; T. W. Anderson (2003), An introduction to multivariate statistical analysis, 2.5 (conditional
//! distributions).
//!
//! Means, spreads and correlations of up to ten quantities that forget, and what they say of one of them given the others. The
//! correlations are shrunk towards none by as much as the sample is too small for them. Of a missing quantity nothing is
//! needed: conditions use the block of the matrix that was seen.

use super::blocks::SLOTS;
use serde::{Deserialize, Serialize};

/// Values of one moment; `None`: missing.
pub type Row = [Option<f64>; SLOTS];
type Matrix = [[f64; SLOTS]; SLOTS];

/// Nothing larger is learned: no quantity reaches it, and its square would spoil a covariance for days.
const VALUE_MAX: f64 = 1e6;
/// Rows before a spread is known well enough to measure others by it.
const SETTLED: u32 = 30;

/// Streaming means and covariances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Gaussian {
    mean: [f64; SLOTS],
    /// Row i holds the covariances with 0..=i.
    covariance: [[f32; SLOTS]; SLOTS],
    count: [u16; SLOTS],
    /// Mean of ‖z‖⁴, for the shrinkage.
    fourth: f32,
    rows: u16,
    /// Weight of the newest row.
    alpha: f32,
}

/// What the others say of one quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    pub mean: f64,
    pub sd: f64,
    /// Share of its variance that the others explain, 0..1.
    pub explained: f64,
}

/// Correlations of the quantities that are there.
#[derive(Debug, Clone, Copy)]
struct Seen {
    index: [usize; SLOTS],
    len: usize,
    r: Matrix,
}

impl Gaussian {
    /// Rows that a quantity was part of, less what was forgotten at a gap.
    pub fn count(&self, i: usize) -> u32 {
        u32::from(self.count[i])
    }

    pub fn mean(&self, i: usize) -> f64 {
        self.mean[i]
    }

    pub fn sd(&self, i: usize) -> f64 {
        f64::from(self.covariance[i][i].max(0.0)).sqrt()
    }

    /// How far a value lies from its mean, standard deviations; `None` before two values or without spread.
    pub fn z(&self, i: usize, value: f64) -> Option<f64> {
        let sd = self.sd(i);
        (self.count[i] >= 2 && sd > 0.0).then(|| (value - self.mean[i]) / sd)
    }

    /// Takes a row. `half_life` in rows; no mean moves by more than `step_max` (`INFINITY`: as it likes).
    pub fn push(&mut self, row: &Row, half_life: f64, step_max: &[f64; SLOTS]) {
        let alpha = 1.0 - (-std::f64::consts::LN_2 / half_life.max(1.0)).exp();
        self.alpha = alpha as f32;
        let (mut square, mut wide) = (0.0, 0usize);
        for (i, value) in row.iter().enumerate() {
            if let Some(z) = value.filter(|_| u32::from(self.count[i]) >= SETTLED).and_then(|v| self.z(i, v)) {
                square += z.clamp(-6.0, 6.0).powi(2);
                wide += 1;
            }
        }
        if wide >= 2 {
            self.rows = self.rows.saturating_add(1);
            let weight = alpha.max(1.0 / f64::from(self.rows));
            self.fourth += (weight * (square * square - f64::from(self.fourth))) as f32;
        }
        let difference = |g: &Gaussian, i: usize| row[i].filter(|v| v.abs() <= VALUE_MAX).map(|v| v - g.mean[i]);
        for i in 0..SLOTS {
            let Some(di) = difference(self, i) else { continue };
            for j in 0..=i {
                let Some(dj) = difference(self, j) else { continue };
                let known = f64::from(self.count[i].min(self.count[j])) + 1.0;
                let weight = alpha.max(1.0 / known);
                let old = f64::from(self.covariance[i][j]);
                self.covariance[i][j] = ((1.0 - weight) * (old + weight * di * dj)) as f32;
            }
        }
        for (i, most) in step_max.iter().enumerate() {
            let Some(di) = difference(self, i) else { continue };
            self.count[i] = self.count[i].saturating_add(1);
            let weight = alpha.max(1.0 / f64::from(self.count[i]));
            self.mean[i] += (weight * di).clamp(-most, *most);
        }
    }

    /// Trusts what is known only half as much (after a long gap).
    pub fn halve(&mut self) {
        for count in &mut self.count {
            *count = count.div_ceil(2);
        }
        self.rows = self.rows.div_ceil(2);
    }

    /// The correlations of these quantities as they are.
    fn sample(&self, present: impl Fn(usize) -> bool) -> Seen {
        let mut seen = Seen { index: [0; SLOTS], len: 0, r: [[0.0; SLOTS]; SLOTS] };
        for i in (0..SLOTS).filter(|i| present(*i) && self.sd(*i) > 0.0) {
            seen.index[seen.len] = i;
            seen.len += 1;
        }
        for a in 0..seen.len {
            for b in 0..=a {
                let (i, j) = (seen.index[a], seen.index[b]);
                let r = f64::from(self.covariance[i][j]) / (self.sd(i) * self.sd(j));
                let r = if a == b { 1.0 } else { r.clamp(-0.999, 0.999) };
                (seen.r[a][b], seen.r[b][a]) = (r, r);
            }
        }
        seen
    }

    /// Share by which the correlations are shrunk towards none, 0..1.
    pub fn shrinkage(&self) -> f64 {
        let seen = self.sample(|i| self.count[i] >= 2);
        let p = seen.len as f64;
        if seen.len < 2 || self.rows < 3 {
            return 1.0;
        }
        let norm: f64 = seen.r[..seen.len].iter().flat_map(|row| &row[..seen.len]).map(|r| r * r).sum();
        let distance = norm - p;
        // A sum with forgetting is worth 2/α rows.
        let n = (f64::from(self.rows) + f64::from(SETTLED)).min(2.0 / f64::from(self.alpha).max(1e-6));
        let error = ((f64::from(self.fourth) - norm) / n).max(0.0);
        if distance <= 0.0 { 1.0 } else { (error / distance).min(1.0) }
    }

    fn shrunk(&self, present: impl Fn(usize) -> bool) -> Seen {
        let mut seen = self.sample(present);
        // A little always, so that quantities that are equal can be told apart.
        let keep = 1.0 - self.shrinkage().max(0.001);
        for a in 0..seen.len {
            for b in 0..seen.len {
                if a != b {
                    seen.r[a][b] *= keep;
                }
            }
        }
        seen
    }

    /// What the others of this row say of quantity `i`; `None` if nothing is there to say it.
    pub fn expected(&self, i: usize, row: &Row) -> Option<Expected> {
        let known = |j: usize| self.count[j] >= 2 && (j == i || row[j].is_some_and(f64::is_finite));
        let seen = self.shrunk(known);
        let at = seen.index[..seen.len].iter().position(|j| *j == i)?;
        if seen.len < 2 {
            return None;
        }
        // The others' block, and its factor.
        let others: smallvec::SmallVec<[usize; SLOTS]> = (0..seen.len).filter(|a| *a != at).collect();
        let mut block = [[0.0; SLOTS]; SLOTS];
        let (mut z, mut c) = ([0.0; SLOTS], [0.0; SLOTS]);
        for (x, a) in others.iter().enumerate() {
            for (y, b) in others.iter().enumerate() {
                block[x][y] = seen.r[*a][*b];
            }
            z[x] = self.z(seen.index[*a], row[seen.index[*a]]?)?;
            c[x] = seen.r[at][*a];
        }
        let n = others.len();
        let factor = cholesky(&block, n)?;
        let (u, w) = (forward(&factor, &c, n), forward(&factor, &z, n));
        let explained: f64 = u[..n].iter().map(|v| v * v).sum::<f64>().clamp(0.0, 0.999);
        let mean: f64 = u[..n].iter().zip(&w[..n]).map(|(a, b)| a * b).sum();
        let sd = self.sd(i);
        Some(Expected { mean: self.mean[i] + sd * mean, sd: sd * (1.0 - explained).sqrt(), explained })
    }

    /// ln of the likelihood of a row of z values if they were independent, less that under the own correlations, and the total
    /// correlation −½ ln det R (0: there is nothing to lose). `None` with fewer than two quantities.
    pub fn independence(&self, z: &Row, needed: u32) -> Option<(f64, f64)> {
        let seen = self.shrunk(|i| u32::from(self.count[i]) >= needed && z[i].is_some_and(f64::is_finite));
        if seen.len < 2 {
            return None;
        }
        let factor = cholesky(&seen.r, seen.len)?;
        let mut values = [0.0; SLOTS];
        for a in 0..seen.len {
            values[a] = z[seen.index[a]]?;
        }
        let w = forward(&factor, &values, seen.len);
        let squares = |v: &[f64; SLOTS]| v[..seen.len].iter().map(|x| x * x).sum::<f64>();
        let half_log_det: f64 = (0..seen.len).map(|a| factor[a][a].ln()).sum();
        Some((0.5 * squares(&w) + half_log_det - 0.5 * squares(&values), -half_log_det))
    }
}

/// The lower factor of the first n rows and columns; `None` where they are not positive definite.
fn cholesky(m: &Matrix, n: usize) -> Option<Matrix> {
    let mut l = [[0.0; SLOTS]; SLOTS];
    for i in 0..n {
        for j in 0..=i {
            let sum = m[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            if i == j {
                if sum <= 1e-9 {
                    return None;
                }
                l[i][i] = sum.sqrt();
            } else {
                l[i][j] = sum / l[j][j];
            }
        }
    }
    Some(l)
}

/// Solves L x = b.
fn forward(l: &Matrix, b: &[f64; SLOTS], n: usize) -> [f64; SLOTS] {
    let mut x = [0.0; SLOTS];
    for i in 0..n {
        x[i] = (b[i] - (0..i).map(|k| l[i][k] * x[k]).sum::<f64>()) / l[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: [f64; SLOTS] = [f64::INFINITY; SLOTS];

    fn row(values: &[f64]) -> Row {
        std::array::from_fn(|i| values.get(i).copied().filter(|v| !v.is_nan()))
    }

    struct Noise(u64);
    impl Noise {
        fn normal(&mut self) -> f64 {
            let mut uniform = || {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
            };
            (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
        }
    }

    /// x, 0.8·x + 0.6·noise, and something of its own.
    fn learned(rows: usize) -> Gaussian {
        let (mut g, mut noise) = (Gaussian::default(), Noise(20_261_130));
        for _ in 0..rows {
            let (x, y, w) = (noise.normal(), noise.normal(), noise.normal());
            g.push(&row(&[70.0 + 5.0 * x, 100.0 + 10.0 * (0.8 * x + 0.6 * y), 15.0 + w]), 1e9, &FREE);
        }
        g
    }

    #[test]
    fn the_conditional_of_two_normals_is_the_textbooks() {
        let g = learned(20_000);
        let e = g.expected(1, &row(&[75.0, 0.0, f64::NAN])).unwrap();
        assert!((e.mean - 108.0).abs() < 0.3 && (e.sd - 6.0).abs() < 0.15 && (e.explained - 0.64).abs() < 0.015, "{e:?}");
        let alone = g.expected(2, &row(&[75.0, 108.0, 0.0])).unwrap();
        assert!(alone.explained < 0.01 && (alone.mean - 15.0).abs() < 0.05, "{alone:?}");
        assert_eq!(g.expected(1, &row(&[f64::NAN, 100.0, f64::NAN])), None, "nobody is there to say it");
    }

    #[test]
    fn plain_rows_give_the_plain_covariance() {
        let mut g = Gaussian::default();
        for (x, y) in [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0), (6.0, 4.0)] {
            g.push(&row(&[x, y]), 1e12, &FREE);
        }
        // Means 3 and 3; sums of squares 14 and 10, of products 2 + 2 + 0 + 3 = 7; divided by 4.
        assert!((g.mean(0) - 3.0).abs() < 1e-6 && (g.sd(0) - 3.5f64.sqrt()).abs() < 1e-5, "{g:?}");
        assert!((g.sd(1) - 2.5f64.sqrt()).abs() < 1e-5 && (f64::from(g.covariance[1][0]) - 1.75).abs() < 1e-5);
    }

    #[test]
    fn the_shrinkage_is_ledoit_and_wolfs() {
        // Independent quantities are shrunk to none; strong correlations of many rows hardly.
        let mut noise = Noise(7);
        let mut g = Gaussian::default();
        for _ in 0..400 {
            let values: Vec<f64> = (0..6).map(|_| noise.normal()).collect();
            g.push(&row(&values), 1e9, &FREE);
        }
        assert!(g.shrinkage() > 0.8, "{}", g.shrinkage());
        assert!(learned(20_000).shrinkage() < 0.002, "{}", learned(20_000).shrinkage());
        // For two normals with correlation r, E‖z‖⁴ is 8 + 4r² and ‖R‖² is 2 + 2r², so that the share is
        // (6 + 2r²)/(n·2r²): 0.0142 at r = 0.8 and n = 400.
        let mean: f64 = (0..200)
            .map(|seed| {
                let (mut g, mut noise) = (Gaussian::default(), Noise(seed * 7919 + 1));
                for _ in 0..400 {
                    let (x, y) = (noise.normal(), noise.normal());
                    g.push(&row(&[x, 0.8 * x + 0.6 * y]), 1e9, &FREE);
                }
                g.shrinkage() / 200.0
            })
            .sum();
        assert!((mean - 0.0142).abs() < 0.003, "{mean}");
    }

    #[test]
    fn coupled_values_speak_against_independence_and_uncoupled_ones_for_it() {
        let g = learned(5000);
        let (coupled, total) = g.independence(&row(&[2.0, 1.6, 0.0]), 60).unwrap();
        let (broken, _) = g.independence(&row(&[2.0, -1.6, 0.0]), 60).unwrap();
        // ½(z'R⁻¹z − z'z + ln det R) of r = 0.8: −1.79 and 12.43; total correlation −½ ln 0.36 = 0.51.
        assert!(
            (total - 0.51).abs() < 0.04 && (coupled + 1.79).abs() < 0.15 && (broken - 12.43).abs() < 1.0,
            "{coupled} {broken} {total}"
        );
        assert_eq!(g.independence(&row(&[2.0, f64::NAN, f64::NAN]), 60), None);
    }

    #[test]
    fn equal_quantities_constants_and_wild_numbers_are_harmless() {
        let mut g = Gaussian::default();
        for i in 0..200 {
            let x = f64::from(i % 7);
            g.push(&row(&[x, x, 5.0, 1e300 * x, f64::INFINITY]), 50.0, &FREE);
        }
        assert_eq!(g.z(2, 5.0), None);
        let e = g.expected(0, &row(&[3.0, 3.0, 5.0, f64::NAN, 1.0])).unwrap();
        assert!(e.mean.is_finite() && e.sd.is_finite() && e.sd > 0.0);
        assert!(size_of::<Gaussian>() < 540, "{}", size_of::<Gaussian>());
    }

    #[test]
    fn a_capped_mean_cannot_be_dragged() {
        let mut g = Gaussian::default();
        g.push(&row(&[70.0]), 240.0, &FREE);
        for _ in 0..60 {
            g.push(&row(&[170.0]), 240.0, &[0.03; SLOTS]);
        }
        assert!((g.mean(0) - 71.8).abs() < 1e-6, "{}", g.mean(0));
    }
}
