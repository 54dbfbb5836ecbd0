//! Which stochastic checks may accuse, and at which evidence (`models/calibration/thresholds.lock.toml`, schema `thresholds/1`).
//!
//! Frozen by `vitalguard fit`: the sketches are of the patients of one group; the run length of each check is raised tenfold
//! until it finds nothing in a second group, which nothing was fitted on; a third group is judged once with what was frozen. A
//! check that finds something in the second group at every run length reports only, at the longest; so does one that had too little
//! of it to judge, at its own.
//! The file says what was measured, and is refused where its own figures do not allow what it allows.

use super::Pace;
use crate::envelope::{ModelError, Origin, is_version};
use serde::{Deserialize, Serialize};

/// Its path under `models/`.
pub const PATH: &str = "calibration/thresholds.lock.toml";
/// The check's own average run length is taken so many times; the first that suffices is frozen.
pub const FACTORS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// Judged time of the second group below which "none was found" says nothing, bed-days (none in one bed-day: at most 3 a day).
pub const JUDGED_MIN_BED_DAYS: f64 = 1.0;
/// Tamper alerts that the whole program may raise on clean recordings, a bed-day.
pub const TAMPER_BUDGET_PER_BED_DAY: f64 = 0.03;

/// What was measured of a check on one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Recordings in which it could judge.
    pub records: u32,
    /// Time that it judged, bed-days.
    pub judged_bed_days: f64,
    /// How often it began to find something, and in how many recordings.
    pub episodes: u32,
    pub records_with: u32,
    /// One-sided 95 % upper bound (Poisson), a bed-day; 0 where nothing was judged.
    pub upper_per_bed_day: f64,
}

impl Seen {
    /// Why a check that was seen so may not accuse; `None`: it may.
    pub fn against(&self) -> Option<String> {
        if self.judged_bed_days < JUDGED_MIN_BED_DAYS {
            return Some(format!("{:.2} of {JUDGED_MIN_BED_DAYS} bed-days judged", self.judged_bed_days));
        }
        (self.episodes > 0)
            .then(|| format!("found {} in {:.2} bed-days of clean recordings", self.episodes, self.judged_bed_days))
    }
}

/// One check at one cadence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub check: String,
    pub cadence: Pace,
    /// The check's own average run length is taken so many times.
    pub arl_factor: f64,
    pub votes: bool,
    /// Why it may not; empty where it may.
    pub reason: String,
    /// By this it was decided.
    pub calibrate: Seen,
    /// Looked at once, afterwards; it decides nothing.
    pub report: Seen,
}

/// Hard findings of one check on clean recordings: there must be none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hard {
    pub check: String,
    pub episodes: u32,
}

/// The whole program on one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Tamper alerts that call a nurse, and their one-sided 95 % upper bound a bed-day.
    pub tamper_episodes: u32,
    pub tamper_upper_per_bed_day: f64,
    pub origin: Origin,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hard: Vec<Hard>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    schema: String,
    pub version: String,
    pub tamper_budget_per_bed_day: f64,
    /// Whether both groups kept the budget (as a rate; the bound says how well that is known) and hard rules found nothing.
    pub within_budget: bool,
    pub calibrate: Group,
    pub report: Group,
    #[serde(rename = "rule", default)]
    pub rules: Vec<Rule>,
}

impl Thresholds {
    pub fn new(version: &str, calibrate: Group, report: Group, rules: Vec<Rule>) -> Thresholds {
        let kept = |g: &Group| {
            f64::from(g.tamper_episodes) <= TAMPER_BUDGET_PER_BED_DAY * g.origin.exposure_bed_days && g.hard.is_empty()
        };
        let within_budget = kept(&calibrate) && kept(&report);
        let (schema, version) = ("thresholds/1".into(), version.into());
        let tamper_budget_per_bed_day = TAMPER_BUDGET_PER_BED_DAY;
        Thresholds { schema, version, tamper_budget_per_bed_day, within_budget, calibrate, report, rules }
    }

    /// Reads and validates a file; `name` is for the error.
    pub fn from_toml(name: &str, text: &str) -> Result<Thresholds, ModelError> {
        let wrong = |field: &str, reason: &str| Err(ModelError::new(name, field, reason));
        let file: Thresholds = toml::from_str(text).map_err(|e| ModelError::new(name, "toml", e.message()))?;
        if file.schema != "thresholds/1" {
            return wrong("schema", "thresholds/1 is meant");
        }
        if !is_version(&file.version) {
            return wrong("version", "three numbers with dots are meant (1.0.0)");
        }
        for (group, place) in [(&file.calibrate, "calibrate"), (&file.report, "report")] {
            if let Some((field, reason)) = group.origin.fault() {
                return wrong(&format!("{place}.origin.{field}"), reason);
            }
        }
        for (at, rule) in file.rules.iter().enumerate() {
            let place = |field: &str| format!("rule.{}_{}.{field}", rule.check, rule.cadence.as_str());
            if file.rules[..at].iter().any(|other| (&other.check, other.cadence) == (&rule.check, rule.cadence)) {
                return wrong(&place("check"), "stands there twice");
            }
            if !(rule.arl_factor >= 1.0 && rule.arl_factor <= 1e6) {
                return wrong(&place("arl_factor"), "1 to 1000000 is meant");
            }
            if rule.votes
                && let Some(against) = rule.calibrate.against()
            {
                return wrong(&place("votes"), &format!("its own figures do not allow it: {against}"));
            }
            if !rule.votes && rule.reason.trim().is_empty() {
                return wrong(&place("reason"), "is empty");
            }
        }
        Ok(file)
    }

    /// As a file that [`Thresholds::from_toml`] reads.
    pub fn to_toml(&self) -> String {
        // Plain words and numbers: there is nothing that TOML could not say.
        format!("# Made from recordings by `vitalguard fit`; do not edit.\n\n{}", toml::to_string(self).unwrap_or_default())
    }

    pub fn rule(&self, check: &str, pace: Pace) -> Option<&Rule> {
        self.rules.iter().find(|r| r.cadence == pace && r.check == check)
    }
}
