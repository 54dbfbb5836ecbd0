//! R. E. Kalman (1960), A new approach to linear filtering and prediction problems, Journal of Basic Engineering 82(1), 35–45;
//! A. C. Harvey (1989), Forecasting, structural time series models and the Kalman filter, chapter 2 (the local linear trend).
//!
//! A level that wanders and a slope that wanders slowly, seen through noise, at uneven times. A gap only predicts: what is
//! known becomes less certain. [`Trend::innovation`] says how far a value lies from what was expected, and how far it may.

use serde::{Deserialize, Serialize};

/// How fast a quantity wanders and how noisy it is read, canonical unit and seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Variance that the level gains, unit² a second. Larger: a shift is followed at once.
    pub level: f64,
    /// Variance that the slope gains, (unit/s)² a second.
    pub slope: f64,
    /// Variance of one reading, unit².
    pub reading: f64,
}

/// What was not expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Innovation {
    /// Value less what was expected.
    pub difference: f64,
    /// Standard deviation that the filter allows.
    pub sd: f64,
}

impl Innovation {
    /// The difference in standard deviations.
    pub fn normalised(self) -> f64 {
        self.difference / self.sd
    }
}

/// Level, slope and their uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    level: f64,
    slope: f64,
    /// Covariance: level, level with slope, slope.
    p: [f64; 3],
    known: bool,
}

impl Trend {
    /// Begins (again) at this value, as uncertain as one reading of it.
    pub fn anchor(&mut self, value: f64, noise: Noise) {
        *self = Trend { level: value, slope: 0.0, p: [noise.reading, 0.0, noise.slope * 60.0], known: true };
    }

    /// The level; `None` before the first value.
    pub fn level(&self) -> Option<f64> {
        self.known.then_some(self.level)
    }

    /// Units a second.
    pub fn slope(&self) -> f64 {
        self.slope
    }

    /// Lets time pass without a value.
    pub fn predict(&mut self, dt_s: f64, noise: Noise) {
        let dt = dt_s.max(0.0);
        let [p, c, s] = self.p;
        self.level += self.slope * dt;
        self.p = [
            p + 2.0 * dt * c + dt * dt * s + noise.level * dt + noise.slope * dt * dt * dt / 3.0,
            c + dt * s + noise.slope * dt * dt / 2.0,
            s + noise.slope * dt,
        ];
    }

    /// How a value fits what is expected now (after [`Trend::predict`]); `None` before the first one.
    pub fn innovation(&self, value: f64, noise: Noise) -> Option<Innovation> {
        let variance = self.p[0] + noise.reading;
        (self.known && variance > 0.0 && value.is_finite())
            .then(|| Innovation { difference: value - self.level, sd: variance.sqrt() })
    }

    /// Learns a value (after [`Trend::predict`]); the first one is taken as it is.
    pub fn update(&mut self, value: f64, noise: Noise) {
        let Some(innovation) = self.innovation(value, noise) else {
            if value.is_finite() {
                self.anchor(value, noise);
            }
            return;
        };
        let variance = innovation.sd * innovation.sd;
        let (gain, gain_slope) = (self.p[0] / variance, self.p[1] / variance);
        let [p, c, s] = self.p;
        self.level += gain * innovation.difference;
        self.slope += gain_slope * innovation.difference;
        self.p = [p * (1.0 - gain), c * (1.0 - gain), s - gain_slope * c];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_level_of_the_nile_has_its_known_steady_variance() {
        // J. Durbin, S. J. Koopman, Time series analysis by state space methods, 2.2.5: variances 15 099 and 1 469.1 give a
        // filtered variance that settles at 4 032.
        let noise = Noise { level: 1469.1, slope: 0.0, reading: 15_099.0 };
        let mut t = Trend::default();
        for value in [1120.0, 1160.0, 963.0, 1210.0, 1160.0, 1160.0, 813.0, 1230.0, 1370.0, 1140.0].into_iter().cycle().take(60) {
            t.predict(1.0, noise);
            t.update(value, noise);
        }
        assert!((t.p[0] - 4032.0).abs() < 1.0, "{:?}", t.p);
        assert_eq!(t.slope(), 0.0);
    }

    #[test]
    fn equal_noise_of_level_and_reading_gives_the_golden_section_as_gain() {
        let noise = Noise { level: 1.0, slope: 0.0, reading: 1.0 };
        let mut t = Trend::default();
        t.anchor(0.0, noise);
        for _ in 0..50 {
            t.predict(1.0, noise);
            t.update(0.0, noise);
        }
        t.predict(1.0, noise);
        t.update(1.0, noise);
        assert!((t.level().unwrap() - 0.618_034).abs() < 1e-6);
    }

    #[test]
    fn a_ramp_is_followed_across_a_gap_and_a_gap_makes_uncertain() {
        let noise = Noise { level: 1e-6, slope: 1e-6, reading: 0.01 };
        let mut t = Trend::default();
        for i in 0..600 {
            t.predict(1.0, noise);
            t.update(70.0 + 0.1 * f64::from(i), noise);
        }
        let sure = t.innovation(0.0, noise).unwrap().sd;
        t.predict(31.0, noise);
        let expected = 70.0 + 0.1 * 630.0;
        let innovation = t.innovation(expected, noise).unwrap();
        assert!(innovation.difference.abs() < 0.5, "{innovation:?}");
        assert!(innovation.sd > sure);
    }

    #[test]
    fn five_short_steps_are_as_uncertain_as_one_long_one() {
        let noise = Noise { level: 0.3, slope: 0.02, reading: 1.0 };
        let (mut a, mut b) = (Trend::default(), Trend::default());
        a.anchor(5.0, noise);
        b.anchor(5.0, noise);
        for _ in 0..5 {
            a.predict(2.0, noise);
        }
        b.predict(10.0, noise);
        assert!(a.p.iter().zip(b.p).all(|(x, y)| (x - y).abs() < 1e-9), "{a:?} {b:?}");
    }
}
