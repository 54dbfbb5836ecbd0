//! What the scores of the stochastic checks look like while nothing is wrong (`models/calibration/<check>_<cadence>.toml`,
//! schema `calibration/1`), typed and validated, and the decision that is made from them ([`Detector`]).
//!
//! A file belongs to one check and one class of cadence and says what it was made of. Where there is none the check is
//! *uncalibrated*: it reports to engineers and accuses nobody. No file ships yet ([`SOURCES`] is empty), so every check is.
//!
//! Made with the very code that runs here: every stochastic check has a function `score` (`block_scores` of the checks asks them
//! all), and a file holds the distribution of what it gave on recordings ([`Sketch`]). No command writes one yet.

use crate::stats::blocks::SLOTS;
use crate::stats::sketch::Sketch;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt::Write as _;
use std::sync::LazyLock;

pub mod detector;
pub mod prior;

pub use detector::Detector;

/// The shipped files, by their path under `models/`. A new one is one line here.
pub const SOURCES: &[(&str, &str)] = &[];

/// A sketch of fewer patients says how these are, not how patients are.
const PATIENTS_MIN: u32 = 10;

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

/// Why a calibration was refused.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    #[error("calibration: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("calibration {check}_{cadence}: {reason}")]
    Field { check: String, cadence: &'static str, reason: String },
}

/// Scores of some parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Whom it speaks for; empty: every parameter that no other table names.
    pub parameters: Vec<Parameter>,
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
    /// Length of a block, seconds.
    pub block_s: f64,
    /// Day of the fit (`2026-11-30`).
    pub fitted_on: String,
    /// Sets of recordings that it was made of.
    pub sets: Vec<String>,
    pub records: u32,
    pub patients: u32,
    /// Monitored time of them.
    pub bed_days: f64,
    /// SHA-256 over the sorted hashes of the recordings, 64 hex digits.
    pub inputs_sha256: String,
    /// What they were chosen by (`fold 0 and 1 of 4 by patient`).
    pub selection: String,
    #[serde(rename = "table")]
    pub tables: Vec<Table>,
}

impl Calibration {
    /// Reads and validates a file.
    pub fn from_toml(text: &str) -> Result<Calibration, CalibrationError> {
        let file: Calibration = toml::from_str(text)?;
        match file.fault() {
            None => Ok(file),
            Some(reason) => {
                Err(CalibrationError::Field { check: file.check.clone(), cadence: file.cadence.as_str(), reason: reason.into() })
            }
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let version_parts = self.version.split('.').filter(|p| p.parse::<u32>().is_ok()).count();
        let named = |p: &Parameter| self.tables.iter().filter(|t| t.parameters.contains(p)).count();
        match () {
            () if self.schema != "calibration/1" => Some("schema is not calibration/1"),
            () if version_parts != 3 || self.version.split('.').count() != 3 => Some("version is not semantic"),
            () if !(self.block_s >= 60.0 && self.block_s <= 3600.0) => Some("block_s is not 60 to 3600"),
            () if self.sets.is_empty() || self.records == 0 || self.patients == 0 || self.patients > self.records => {
                Some("sets, records or patients do not say what it was made of")
            }
            // Scores of one patient are ranks within one patient.
            () if self.patients < PATIENTS_MIN => Some("fewer than ten patients"),
            () if !(self.bed_days > 0.0 && self.bed_days.is_finite()) => Some("bed_days is not positive"),
            () if self.inputs_sha256.len() != 64 || !self.inputs_sha256.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Some("inputs_sha256 is not 64 hex digits")
            }
            () if self.tables.is_empty() => Some("there is no table"),
            () if self.tables.iter().filter(|t| t.parameters.is_empty()).count() > 1 => Some("two tables speak for all"),
            () if Parameter::ALL.iter().any(|p| named(p) > 1) => Some("two tables name one parameter"),
            () => self.tables.iter().find_map(|t| t.sketch.fault()),
        }
    }

    /// As a file: numbers with six digits, sixteen quantiles a line.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# Made from recordings; do not edit.\n\n");
        let list = |words: &[&str]| words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).collect();
        let _ = write!(
            text,
            "schema = {:?}\nversion = {:?}\ncheck = {:?}\ncadence = {:?}\nblock_s = {:?}\nfitted_on = {:?}\nsets = [{}]\n\
             records = {}\npatients = {}\nbed_days = {:.3}\ninputs_sha256 = {:?}\nselection = {:?}\n",
            self.schema,
            self.version,
            self.check,
            self.cadence.as_str(),
            self.block_s,
            self.fitted_on,
            list(&sets),
            self.records,
            self.patients,
            self.bed_days,
            self.inputs_sha256,
            self.selection
        );
        for table in &self.tables {
            let keys: Vec<&str> = table.parameters.iter().map(|p| p.key()).collect();
            let Sketch { blocks, quantiles, tail } = &table.sketch;
            let _ =
                write!(text, "\n[[table]]\nparameters = [{}]\n\n[table.sketch]\nblocks = {blocks}\nquantiles = [", list(&keys));
            for (i, q) in quantiles.iter().enumerate() {
                text.push_str(if i % 16 == 0 { "\n  " } else { " " });
                let _ = write!(text, "{q:.6},");
            }
            let _ = write!(
                text,
                "\n]\ntail = {{ threshold = {:.6}, scale = {:.6}, shape = {:.6} }}\n",
                tail.threshold, tail.scale, tail.shape
            );
        }
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

/// A p-value, and whether it comes from a calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank {
    pub p: f64,
    /// False: the built-in guess; the check may report and not accuse.
    pub calibrated: bool,
}

/// All calibrations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibrations {
    list: Vec<Calibration>,
}

impl Calibrations {
    /// Adds a calibration; it stands before those of the same check and cadence that were there.
    pub fn add(&mut self, calibration: Calibration) {
        self.list.insert(0, calibration);
    }

    pub fn get(&self, check: &str, pace: Pace) -> Option<&Calibration> {
        self.list.iter().find(|c| c.cadence == pace && c.check == check)
    }

    pub fn rank(&self, check: &str, pace: Pace, parameter: Parameter, score: f64) -> Rank {
        let score = magnitude(check, score);
        match self.get(check, pace).and_then(|c| c.table(parameter)) {
            Some(table) => Rank { p: table.sketch.p(score), calibrated: true },
            None => Rank { p: guess(score), calibrated: false },
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
        let read = |(name, text): &(&str, &str)| {
            Calibration::from_toml(text).unwrap_or_else(|e| panic!("{name}: {e}; a test reads the shipped files"))
        };
        Calibrations { list: SOURCES.iter().map(read).collect() }
    });
    &SHIPPED
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A calibration of made-up scores, for one check and every cadence.
    pub fn made(check: &str, pace: Pace, scores: &mut [f64]) -> Calibration {
        Calibration {
            schema: "calibration/1".into(),
            version: "1.0.0".into(),
            check: check.into(),
            cadence: pace,
            block_s: 60.0,
            fitted_on: "2026-11-30".into(),
            sets: vec!["made_up".into()],
            records: 13,
            patients: 10,
            bed_days: 1.5,
            inputs_sha256: "0".repeat(64),
            selection: "all".into(),
            tables: vec![Table { parameters: vec![], sketch: Sketch::fit(scores).expect("enough scores") }],
        }
    }

    #[test]
    fn the_shipped_files_are_valid_and_named_after_what_they_hold() {
        for (name, text) in SOURCES {
            let c = Calibration::from_toml(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(*name, format!("calibration/{}_{}.toml", c.check, c.cadence.as_str()));
        }
        assert_eq!(shipped().list.len(), SOURCES.len());
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let mut scores: Vec<f64> = (0..5000).map(|i| f64::from(i * 37 % 5000) / 500.0).collect();
        let c = made("level_shift", Pace::Minute, &mut scores);
        let again = Calibration::from_toml(&c.to_toml()).unwrap();
        assert_eq!(again.to_toml(), c.to_toml());
        assert_eq!((again.cadence, again.records, again.bed_days), (Pace::Minute, 13, 1.5));
        for score in [-1.0, 0.5, 5.0, 9.99, 12.0] {
            let (a, b) = (again.tables[0].sketch.p(score), c.tables[0].sketch.p(score));
            assert!((a - b).abs() < 1e-4, "{score}: {a} {b}");
        }
    }

    #[test]
    fn what_does_not_say_what_it_was_made_of_is_refused() {
        let c = made("level_shift", Pace::Second, &mut vec![1.0; 200]);
        let refused = |change: &dyn Fn(&mut Calibration)| {
            let mut c = c.clone();
            change(&mut c);
            Calibration::from_toml(&c.to_toml()).is_err()
        };
        assert!(!refused(&|_| {}));
        assert!(refused(&|c| c.schema = "calibration/2".into()));
        assert!(refused(&|c| c.version = "1".into()));
        assert!(refused(&|c| c.sets.clear()));
        assert!(refused(&|c| c.patients = 9));
        assert!(refused(&|c| c.patients = 14));
        assert!(refused(&|c| c.inputs_sha256 = "abc".into()));
        assert!(refused(&|c| c.block_s = 5.0));
        assert!(refused(&|c| c.tables.clear()));
        assert!(refused(&|c| c.tables.push(c.tables[0].clone())));
        assert!(refused(&|c| c.tables[0].sketch.quantiles.truncate(1000)));
        assert!(refused(&|c| c.tables[0].sketch.quantiles[1000] = 0.5));
    }

    #[test]
    fn the_table_of_a_parameter_stands_before_the_one_for_all() {
        let mut c = made("level_shift", Pace::Second, &mut (0..1000).map(f64::from).collect::<Vec<_>>());
        let mut own = c.tables[0].clone();
        own.parameters = vec![Parameter::Spo2];
        own.sketch = Sketch::fit(&mut (0..1000).map(|i| f64::from(i) / 100.0).collect::<Vec<_>>()).unwrap();
        c.tables.push(own);
        let mut all = Calibrations::default();
        assert!(!all.rank("level_shift", Pace::Second, Parameter::Hr, 500.0).calibrated);
        all.add(c);
        let rank = |parameter| all.rank("level_shift", Pace::Second, parameter, 9.0);
        assert!(rank(Parameter::Hr).p > 0.98 && rank(Parameter::Spo2).p < 0.12 && rank(Parameter::Hr).calibrated);
        assert!(!all.rank("level_shift", Pace::Minute, Parameter::Hr, 9.0).calibrated);
    }

    #[test]
    fn the_guess_of_an_uncalibrated_check_is_cautious() {
        // Student's t with two degrees of freedom: two-sided 5 % at 4.303.
        assert!((guess(4.302_65) - 0.05).abs() < 1e-5);
        assert_eq!((guess(1e12), guess(f64::NAN), guess(-1.0), guess(f64::INFINITY)), (1e-3, 1.0, 1.0, 1e-3));
    }
}
