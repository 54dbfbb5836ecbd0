//! S. W. Roberts (1959), Technometrics 1(3) (the average); T. Finch (2009), Incremental calculation of weighted mean and variance;
//! A. Eckner (2012), Algorithms for unevenly spaced time series (the weight of a value after an uneven gap).
//!
//! A mean and a variance that forget: a value that came `dt` after the one before weighs α = 1 − e^(−dt/τ). While few values
//! are known the plain mean is used (α at least 1/n), so that the first value is not a prejudice.

use serde::{Deserialize, Serialize};

/// Exponentially weighted mean and variance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    mean: f64,
    variance: f64,
    count: u32,
}

impl Ewma {
    /// Takes a value that came `dt_s` seconds after the one before; `tau_s` is the time constant.
    pub fn push(&mut self, value: f64, dt_s: f64, tau_s: f64) {
        self.push_limited(value, dt_s, tau_s, f64::INFINITY);
    }

    /// The same, but the mean moves by `step_max` at most (the drift cap of a baseline).
    pub fn push_limited(&mut self, value: f64, dt_s: f64, tau_s: f64, step_max: f64) {
        self.push_faded(value, Ewma::fade(dt_s, tau_s), step_max);
    }

    /// What the past still weighs after `dt_s` seconds.
    pub fn fade(dt_s: f64, tau_s: f64) -> f64 {
        (-dt_s.max(0.0) / tau_s).exp()
    }

    /// The same for whoever knows the [`Ewma::fade`] already.
    pub fn push_faded(&mut self, value: f64, fade: f64, step_max: f64) {
        self.count = self.count.saturating_add(1);
        let alpha = (1.0 - fade).max(1.0 / f64::from(self.count));
        let difference = value - self.mean;
        let step = (alpha * difference).clamp(-step_max, step_max);
        self.mean += step;
        self.variance = (1.0 - alpha) * (self.variance + alpha * difference * difference);
    }

    /// Trusts what is known only half as much (after a long gap).
    pub fn halve(&mut self) {
        self.count = self.count.div_ceil(2);
    }

    /// `None` before the first value.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// Standard deviation about the mean; 0 after one value.
    pub fn sd(&self) -> f64 {
        self.variance.max(0.0).sqrt()
    }

    /// Values taken (saturating; halved by [`Ewma::halve`]).
    pub fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_give_the_plain_mean_and_variance() {
        let mut e = Ewma::default();
        for x in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            e.push(x, 1e-9, 60.0);
        }
        assert!((e.mean().unwrap() - 5.0).abs() < 1e-12);
        assert!((e.sd() - 2.0).abs() < 1e-12, "the textbook example has a population SD of 2");
    }

    #[test]
    fn after_one_time_constant_a_step_is_followed_by_63_per_cent() {
        let mut e = Ewma::default();
        for _ in 0..6000 {
            e.push(0.0, 1.0, 60.0);
        }
        for _ in 0..60 {
            e.push(1.0, 1.0, 60.0);
        }
        assert!((e.mean().unwrap() - (1.0 - (-1.0f64).exp())).abs() < 1e-9);
        let mut uneven = Ewma::default();
        for _ in 0..6000 {
            uneven.push(0.0, 1.0, 60.0);
        }
        for _ in 0..12 {
            uneven.push(1.0, 5.0, 60.0);
        }
        assert!((uneven.mean().unwrap() - e.mean().unwrap()).abs() < 1e-9, "five seconds at once weigh as five single ones");
    }

    #[test]
    fn a_capped_mean_cannot_be_dragged() {
        let mut e = Ewma::default();
        e.push(70.0, 1.0, 3600.0);
        for _ in 0..3600 {
            e.push_limited(170.0, 1.0, 3600.0, 2.5 / 3600.0);
        }
        assert!((e.mean().unwrap() - 72.5).abs() < 1e-6);
    }
}
