//! What the scores of the stochastic checks look like while nothing is wrong (`models/calibration/<check>_<cadence>.json`,
//! schema `calibration/1`), typed and validated, the decision that is made from them ([`Detector`]), and which checks may accuse
//! by them ([`lock`]).
//!
//! A file belongs to one check and one class of cadence and says what it was made of. Where there is none, or where the frozen
//! thresholds do not allow it, a check reports to engineers and accuses nobody.
//!
//! Made by `vitalguard fit` with the very code that runs here: recordings go through the monitor, and the scores that its checks
//! rank are gathered on the way.

use crate::envelope::{ModelError, Origin, is_version};
use crate::stats::blocks::SLOTS;
use crate::stats::sketch::Sketch;
use crate::vital::Parameter;
use lock::Thresholds;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt::Write as _;
use std::sync::LazyLock;

pub mod detector;
pub mod lock;
pub mod prior;

pub use detector::Detector;

/// The shipped files, by their path under `models/`. A new one is one line here.
pub const SOURCES: &[(&str, &str)] = &[
    ("calibration/coupling_loss_60.json", include_str!("../models/calibration/coupling_loss_60.json")),
    ("calibration/drift_alone_60.json", include_str!("../models/calibration/drift_alone_60.json")),
    ("calibration/level_shift_1.json", include_str!("../models/calibration/level_shift_1.json")),
    ("calibration/level_shift_60.json", include_str!("../models/calibration/level_shift_60.json")),
    ("calibration/scale_shift_1.json", include_str!("../models/calibration/scale_shift_1.json")),
    ("calibration/scale_shift_60.json", include_str!("../models/calibration/scale_shift_60.json")),
    ("calibration/thresholds.lock.toml", include_str!("../models/calibration/thresholds.lock.toml")),
];

/// A sketch of fewer patients says how these are, not how patients are.
pub const PATIENTS_MIN: u32 = 10;
/// A tail above 99.9 % needs as many blocks.
pub const BLOCKS_MIN: u64 = 1000;
/// The calibrator of p-values that [`crate::stats::evalue::log_of_p`] is.
const CALIBRATOR: &str = "mixture";

/// Classes of cadence, by the usual interval Δ of a bed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pace {
    /// Δ ≤ 2 s.
    #[serde(rename = "1")]
    Second,
    /// 2 s < Δ ≤ 30 s.
    #[serde(rename = "5")]
    Seconds,
    /// Longer: one sample a block.
    #[serde(rename = "60")]
    Minute,
}

impl Pace {
    pub const ALL: [Pace; 3] = [Pace::Second, Pace::Seconds, Pace::Minute];

    pub fn of(delta_s: f64) -> Pace {
        match delta_s {
            d if d <= 2.0 => Pace::Second,
            d if d <= 30.0 => Pace::Seconds,
            _ => Pace::Minute,
        }
    }

    /// `1`, `5`, `60`: as in the names of files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pace::Second => "1",
            Pace::Seconds => "5",
            Pace::Minute => "60",
        }
    }
}

/// Scores of some parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Whom it speaks for; empty: every parameter that no other table names.
    pub parameters: Vec<Parameter>,
    /// Patients whose scores these are, and the time that was judged, days.
    pub patients: u32,
    pub bed_days: f64,
    pub sketch: Sketch,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// `calibration/1`.
    pub schema: String,
    /// Semantic version.
    pub version: String,
    /// Name of the check (`level_shift`).
    pub check: String,
    pub cadence: Pace,
    /// Time between two scores of one parameter, seconds.
    pub block_s: f64,
    /// How a p-value becomes an e-value: `mixture`, ∫ κ p^(κ−1) dκ over 0 to 1.
    pub calibrator: String,
    pub origin: Origin,
    #[serde(rename = "table")]
    pub tables: Vec<Table>,
}

impl Calibration {
    pub fn new(version: &str, check: &str, cadence: Pace, block_s: f64, origin: Origin, tables: Vec<Table>) -> Calibration {
        let (schema, calibrator) = ("calibration/1".into(), CALIBRATOR.into());
        Calibration { schema, version: version.into(), check: check.into(), cadence, block_s, calibrator, origin, tables }
    }

    /// Where it stands under `models/`.
    pub fn path(&self) -> String {
        format!("calibration/{}_{}.json", self.check, self.cadence.as_str())
    }

    /// Reads and validates a file; `name` is its path, and must be what it holds.
    pub fn from_json(name: &str, text: &str) -> Result<Calibration, ModelError> {
        let file: Calibration = serde_json::from_str(text).map_err(|e| ModelError::new(name, "json", e.to_string()))?;
        if file.path() != name {
            return Err(ModelError::new(name, "check", format!("is of {}", file.path())));
        }
        match file.fault() {
            None => Ok(file),
            Some((field, reason)) => Err(ModelError::new(name, &field, reason)),
        }
    }

    fn fault(&self) -> Option<(String, &'static str)> {
        let named = |p: &Parameter| self.tables.iter().filter(|t| t.parameters.contains(p)).count();
        let wrong = |field: &str, reason| Some((field.to_owned(), reason));
        if let Some((field, reason)) = self.origin.fault() {
            return Some((format!("origin.{field}"), reason));
        }
        match () {
            () if self.schema != "calibration/1" => wrong("schema", "calibration/1 is meant"),
            () if !is_version(&self.version) => wrong("version", "three numbers with dots are meant (1.0.0)"),
            () if !(self.block_s >= 60.0 && self.block_s <= 3600.0) => wrong("block_s", "60 to 3600 is meant"),
            () if self.calibrator != CALIBRATOR => wrong("calibrator", "mixture is meant"),
            () if self.tables.is_empty() => wrong("table", "there is none"),
            () if self.tables.iter().filter(|t| t.parameters.is_empty()).count() > 1 => wrong("table", "two speak for all"),
            () if Parameter::ALL.iter().any(|p| named(p) > 1) => wrong("table", "two name one parameter"),
            // Scores of one patient are ranks within one patient.
            () if self.tables.iter().any(|t| t.patients < PATIENTS_MIN) => wrong("table.patients", "ten are needed"),
            () if self.tables.iter().any(|t| t.patients > self.origin.patients) => wrong("table.patients", "more than in origin"),
            () if !self.tables.iter().all(|t| t.bed_days > 0.0 && t.bed_days.is_finite()) => {
                wrong("table.bed_days", "is not positive")
            }
            () => self.tables.iter().find_map(|t| Some(("table.sketch".to_owned(), t.sketch.fault()?))),
        }
    }

    /// As a file: numbers with six digits, sixteen quantiles a line.
    pub fn to_json(&self) -> String {
        // Plain words and numbers: there is nothing that JSON could not say.
        fn json(value: &impl Serialize) -> String {
            serde_json::to_string(value).unwrap_or_default()
        }
        let mut text = String::from("{\n");
        for (key, value) in [("schema", &self.schema), ("version", &self.version), ("check", &self.check)] {
            let _ = writeln!(text, "  {key:?}: {},", json(value));
        }
        let _ = writeln!(text, "  \"cadence\": {},\n  \"block_s\": {:?},", json(&self.cadence), self.block_s);
        let _ = writeln!(
            text,
            "  \"calibrator\": {},\n  \"origin\": {},\n  \"table\": [",
            json(&self.calibrator),
            json(&self.origin)
        );
        for (at, table) in self.tables.iter().enumerate() {
            let Sketch { blocks, quantiles, tail } = &table.sketch;
            let _ = write!(
                text,
                "    {{\n      \"parameters\": {},\n      \"patients\": {},\n      \"bed_days\": {:.3},\n      \"sketch\": {{\n        \
                 \"blocks\": {blocks},\n        \"quantiles\": [",
                json(&table.parameters),
                table.patients,
                table.bed_days
            );
            for (i, q) in quantiles.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                text.push_str(if i % 16 == 0 { "\n          " } else { " " });
                let _ = write!(text, "{q:.6}");
            }
            let _ = write!(
                text,
                "\n        ],\n        \"tail\": {{ \"threshold\": {:.6}, \"scale\": {:.6}, \"shape\": {:.6} }}\n      }}\n    }}{}\n",
                tail.threshold,
                tail.scale,
                tail.shape,
                if at + 1 < self.tables.len() { "," } else { "" }
            );
        }
        text.push_str("  ]\n}\n");
        text
    }

    /// The table that speaks for a parameter.
    pub fn table(&self, parameter: Parameter) -> Option<&Table> {
        let named = self.tables.iter().find(|t| t.parameters.contains(&parameter));
        named.or_else(|| self.tables.iter().find(|t| t.parameters.is_empty()))
    }
}

/// What a check says of one parameter in one block: larger (in size, where it has a sign) is stranger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    pub parameter: Parameter,
    /// Its place in the bed's blocks.
    pub slot: u8,
    /// A sketch is made of the sizes.
    pub value: f64,
}

/// What of a score goes into a sketch and is ranked: its size where it has a sign.
pub fn magnitude(check: &str, value: f64) -> f64 {
    match check {
        "level_shift" | "drift_alone" | "scale_shift" => value.abs(),
        _ => value,
    }
}

/// The scores of one block; nothing while no block ended.
pub type Scores = SmallVec<[Score; SLOTS]>;

/// A p-value, and what may be made of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank {
    pub p: f64,
    /// False: the built-in guess.
    pub calibrated: bool,
    /// The frozen thresholds let the check accuse; else it reports.
    pub votes: bool,
    /// The check's own average run length is taken so many times.
    pub arl_factor: f64,
}

/// All calibrations, and the thresholds that were frozen with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibrations {
    list: Vec<Calibration>,
    lock: Option<Thresholds>,
}

impl Calibrations {
    /// Adds a calibration; it stands in the place of the one of the same check and cadence.
    pub fn add(&mut self, calibration: Calibration) {
        self.list.retain(|c| (c.cadence, &c.check) != (calibration.cadence, &calibration.check));
        self.list.push(calibration);
    }

    /// Freezes which of them may accuse, and at what.
    pub fn freeze(&mut self, lock: Thresholds) {
        self.lock = Some(lock);
    }

    pub fn list(&self) -> &[Calibration] {
        &self.list
    }

    pub fn lock(&self) -> Option<&Thresholds> {
        self.lock.as_ref()
    }

    /// Takes the file of a path under `models/`.
    pub fn take(&mut self, name: &str, text: &str) -> Result<(), ModelError> {
        if name == lock::PATH {
            self.freeze(Thresholds::from_toml(name, text)?);
        } else {
            self.add(Calibration::from_json(name, text)?);
        }
        Ok(())
    }

    pub fn get(&self, check: &str, pace: Pace) -> Option<&Calibration> {
        self.list.iter().find(|c| c.cadence == pace && c.check == check)
    }

    pub fn rank(&self, check: &str, pace: Pace, parameter: Parameter, score: f64) -> Rank {
        let score = magnitude(check, score);
        match self.get(check, pace).and_then(|c| c.table(parameter)) {
            Some(table) => {
                let rule = self.lock.as_ref().and_then(|lock| lock.rule(check, pace));
                let (votes, arl_factor) = rule.map_or((false, 1.0), |rule| (rule.votes, rule.arl_factor));
                Rank { p: table.sketch.p(score), calibrated: true, votes, arl_factor }
            }
            None => Rank { p: guess(score), calibrated: false, votes: false, arl_factor: 1.0 },
        }
    }
}

/// Without a calibration a score counts as the size of a Student-t with two degrees of freedom, which has heavy tails; never
/// below one in a thousand.
fn guess(score: f64) -> f64 {
    if score.is_nan() || score <= 0.0 {
        return 1.0;
    }
    let score = score.min(1e6);
    (1.0 - score / (2.0 + score * score).sqrt()).max(1e-3)
}

/// The calibrations that are part of the program.
pub fn shipped() -> &'static Calibrations {
    static SHIPPED: LazyLock<Calibrations> = LazyLock::new(|| {
        let mut all = Calibrations::default();
        for (name, text) in SOURCES {
            all.take(name, text).unwrap_or_else(|e| panic!("{e}; a test reads the shipped files"));
        }
        all
    });
    &SHIPPED
}

#[cfg(test)]
pub mod tests;
