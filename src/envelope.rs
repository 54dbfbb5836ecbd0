//! What every model file says of itself: schema, version, and of fitted numbers where they come from.
//!
//! A number that was fitted on recordings names the sets, how many records and patients, a hash over the list of records, the
//! exposure in bed-days and the day. "No event was seen" is said with the bound that the exposure allows.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a model file was refused: which file, which field, what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {field}: {reason}")]
pub struct ModelError {
    pub file: String,
    pub field: String,
    pub reason: String,
}

impl ModelError {
    pub fn new(file: &str, field: &str, reason: impl Into<String>) -> ModelError {
        ModelError { file: file.into(), field: field.into(), reason: reason.into() }
    }
}

/// What fitted numbers were fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Names of the sets of recordings.
    pub sets: Vec<String>,
    pub records: u32,
    pub patients: u32,
    /// [`records_sha256`] of the records.
    pub records_sha256: String,
    /// Monitored time without gaps, days.
    pub exposure_bed_days: f64,
    /// Which patients: `all`, `fit`, `calibrate`, or `fold 1 of 5`.
    pub group: String,
    /// Day of the fit.
    pub date: String,
    /// What was run.
    pub command: String,
    /// What was not seen in this exposure happens at most so often a bed-day (one-sided 95 %, Poisson).
    pub none_seen_bound_per_bed_day: Option<f64>,
}

impl Origin {
    /// The first field that cannot be, and why.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match () {
            () if self.sets.is_empty() || self.sets.iter().any(String::is_empty) => Some(("sets", "is empty")),
            () if self.records == 0 => Some(("records", "is 0")),
            () if self.patients == 0 || self.patients > self.records => Some(("patients", "is 0 or more than records")),
            () if !hex(&self.records_sha256) => Some(("records_sha256", "64 hexadecimal digits are meant")),
            () if !(self.exposure_bed_days > 0.0 && self.exposure_bed_days.is_finite()) => {
                Some(("exposure_bed_days", "is not positive"))
            }
            () if !is_date(&self.date) => Some(("date", "a date is meant (2026-11-24)")),
            () if self.none_seen_bound_per_bed_day.is_some_and(|b| !(b > 0.0 && b.is_finite())) => {
                Some(("none_seen_bound_per_bed_day", "is not positive"))
            }
            () => None,
        }
    }
}

/// SHA-256, 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// SHA-256 over the sorted list of `set/record`, one a line: the same whatever the order in which files were read.
pub fn records_sha256(records: &mut Vec<String>) -> String {
    records.sort_unstable();
    records.dedup();
    let mut text = records.join("\n");
    text.push('\n');
    sha256(text.as_bytes())
}

/// Three numbers with dots.
pub fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|p| (1..=6).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
}

/// A day that the calendar has: `2026-11-24`.
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_the_records_does_not_know_their_order() {
        let hash = |list: &[&str]| records_sha256(&mut list.iter().map(ToString::to_string).collect());
        assert_eq!(hash(&["a/1", "b/2"]), hash(&["b/2", "a/1", "a/1"]));
        assert_ne!(hash(&["a/1", "b/2"]), hash(&["a/1"]));
    }

    #[test]
    fn versions_and_dates() {
        assert!(is_version("1.0.0") && is_version("10.20.30"));
        assert!(!is_version("1.0") && !is_version("1.0.x") && !is_version("1..0") && !is_version(""));
        assert!(is_date("2026-11-30") && !is_date("2026-02-30") && !is_date("2026-11-30T00") && !is_date("today"));
    }
}
