//! What is assumed of a patient before the bed has shown it (`models/population/adult_<cadence>s.toml`, schema `prior/1`).
//!
//! Normal with an unknown mean: a prior weighs as much as [`N0`] independent samples (A. Gelman et al., Bayesian Data Analysis,
//! 3rd ed., 2.5 and 3.3). Adults only: of children there are no recordings, and nothing is assumed.

use crate::calibration::Pace;
use crate::envelope::{ModelError, Origin, is_version};
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// What a prior weighs, in independent samples.
pub const N0: f64 = 30.0;

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    pub parameter: Parameter,
    pub records: u32,
    /// Median of the patients' medians, and their robust spread.
    pub location: f64,
    pub between_sd: f64,
    /// Median of the patients' own standard deviations.
    pub within_sd: f64,
    /// Chance that the value changes from one update to the next: Beta(a, b).
    pub change_a: f64,
    pub change_b: f64,
    /// Variance by which the level wanders in a second, and of a single reading.
    pub level_q: f64,
    pub reading_r: f64,
}

impl Prior {
    /// For a patient of whom nothing is known: three deviations to each side reach over an interval.
    pub fn over(parameter: Parameter, low: f64, high: f64, within_sd: f64) -> Prior {
        let spread = ((high - low) / 6.0).powi(2) - within_sd * within_sd;
        Prior {
            parameter,
            records: 0,
            location: 0.5 * (low + high),
            between_sd: spread.max(0.0).sqrt().max(within_sd),
            within_sd,
            change_a: 1.0,
            change_b: 1.0,
            level_q: 0.0,
            reading_r: within_sd * within_sd,
        }
    }

    /// Mean and standard deviation that are expected after `n` independent samples of a bed with this mean and deviation. With
    /// none it is the population.
    pub fn expected(&self, mean: f64, sd: f64, n: f64) -> (f64, f64) {
        let n = if n.is_finite() && mean.is_finite() && sd.is_finite() { n.max(0.0) } else { 0.0 };
        let share = n / (n + N0);
        let center = if n > 0.0 { self.location + share * (mean - self.location) } else { self.location };
        let own = if n > 0.0 { share * sd * sd } else { 0.0 };
        let prior = (1.0 - share) * (self.within_sd.powi(2) + self.between_sd.powi(2));
        (center, (own + prior).sqrt())
    }
}

/// How two parameters move together: correlation of their innovations, shrunk, with `b` that much later than `a`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub a: Parameter,
    pub b: Parameter,
    pub lag_s: f64,
    pub correlation: f64,
    pub records: u32,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priors {
    schema: String,
    pub version: String,
    age: String,
    pub cadence: Pace,
    /// What a prior weighs.
    pub n0: f64,
    pub origin: Origin,
    #[serde(rename = "prior")]
    pub list: Vec<Prior>,
    #[serde(rename = "pair", default)]
    pub pairs: Vec<Pair>,
}

impl Priors {
    pub fn new(version: &str, cadence: Pace, origin: Origin, list: Vec<Prior>, pairs: Vec<Pair>) -> Priors {
        let (schema, age) = ("prior/1".into(), "adult".into());
        Priors { schema, version: version.into(), age, cadence, n0: N0, origin, list, pairs }
    }

    /// Reads and validates a file; `name` is for the error.
    pub fn from_toml(name: &str, text: &str) -> Result<Priors, ModelError> {
        let wrong = |field: &str, reason: &str| Err(ModelError::new(name, field, reason));
        let file: Priors = toml::from_str(text).map_err(|e| ModelError::new(name, "toml", e.message()))?;
        if file.schema != "prior/1" {
            return wrong("schema", "prior/1 is meant");
        }
        if !is_version(&file.version) {
            return wrong("version", "three numbers with dots are meant (1.0.0)");
        }
        if file.age != "adult" {
            return wrong("age", "only adults have priors");
        }
        if file.n0 != N0 {
            return wrong("n0", "30 is meant");
        }
        if let Some((field, reason)) = file.origin.fault() {
            return wrong(&format!("origin.{field}"), reason);
        }
        let positive = |v: f64| v > 0.0 && v.is_finite();
        for (at, p) in file.list.iter().enumerate() {
            let place = |field: &str| format!("prior.{}.{field}", p.parameter.key());
            if file.list[..at].iter().any(|other| other.parameter == p.parameter) {
                return wrong(&place("parameter"), "stands there twice");
            }
            if !p.location.is_finite() {
                return wrong(&place("location"), "is no number");
            }
            let fields = [
                ("between_sd", p.between_sd),
                ("within_sd", p.within_sd),
                ("change_a", p.change_a),
                ("change_b", p.change_b),
                ("reading_r", p.reading_r),
            ];
            if let Some((field, _)) = fields.iter().find(|(_, v)| !positive(*v)) {
                return wrong(&place(field), "is not positive");
            }
            if !(p.level_q >= 0.0 && p.level_q.is_finite()) {
                return wrong(&place("level_q"), "is negative or no number");
            }
        }
        for p in &file.pairs {
            let place = |field: &str| format!("pair.{}.{}.{field}", p.a.key(), p.b.key());
            let correlates = p.correlation.abs() < 1.0;
            if !correlates {
                return wrong(&place("correlation"), "does not lie between -1 and 1");
            }
            let lags = p.lag_s.abs() <= 600.0;
            if !lags {
                return wrong(&place("lag_s"), "is no lag");
            }
        }
        Ok(file)
    }

    /// As a file that [`Priors::from_toml`] reads.
    pub fn to_toml(&self) -> String {
        // Plain words and numbers: there is nothing that TOML could not say.
        toml::to_string(self).unwrap_or_default()
    }

    pub fn of(&self, parameter: Parameter) -> Option<&Prior> {
        self.list.iter().find(|p| p.parameter == parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_samples_weigh_as_much_as_the_population() {
        let prior = Prior {
            parameter: Parameter::Hr,
            records: 10,
            location: 80.0,
            between_sd: 12.0,
            within_sd: 5.0,
            change_a: 1.0,
            change_b: 1.0,
            level_q: 0.1,
            reading_r: 1.0,
        };
        assert_eq!(prior.expected(f64::NAN, 1.0, 5.0), (80.0, 13.0));
        let (mean, sd) = prior.expected(60.0, 4.0, 30.0);
        assert_eq!(mean, 70.0);
        assert!((sd - (0.5 * 16.0 + 0.5 * 169.0f64).sqrt()).abs() < 1e-12);
        let (mean, sd) = prior.expected(60.0, 4.0, 1e9);
        assert!((mean - 60.0).abs() < 1e-4 && (sd - 4.0).abs() < 1e-4);
    }
}
