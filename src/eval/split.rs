//! Which patients fit, which calibrate, which are reported on: by a hash of the patient, never by record.
//!
//! The hash is SHA-256 over a fixed label and the patient, so that the answer is the same everywhere and for ever, whatever the
//! order of files. All records of one patient fall together, also those that two sets hold under one name.

use sha2::{Digest as _, Sha256};

/// What a patient's recordings are used for. No threshold is chosen on the group that it is reported on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Half of the patients.
    Fit,
    /// A quarter.
    Calibrate,
    /// A quarter.
    Report,
}

impl Group {
    pub const ALL: [Group; 3] = [Group::Fit, Group::Calibrate, Group::Report];

    pub const fn as_str(self) -> &'static str {
        match self {
            Group::Fit => "fit",
            Group::Calibrate => "calibrate",
            Group::Report => "report",
        }
    }
}

/// A number that belongs to a patient.
fn number(label: &str, patient: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in [label, patient] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().unwrap_or_default())
}

/// The fold of a patient, `0..folds`; with no folds everybody is in fold 0.
pub fn fold(patient: &str, folds: u32) -> u32 {
    (number("fold", patient) % u64::from(folds.max(1))) as u32
}

/// The group of a patient in a single split: 50, 25 and 25 %.
pub fn group(patient: &str) -> Group {
    match number("group", patient) % 4 {
        0 | 1 => Group::Fit,
        2 => Group::Calibrate,
        _ => Group::Report,
    }
}

/// The group of a patient when fold `fold` of `folds` is the one that is reported on: the next one calibrates, the others fit.
/// With fewer than three folds it is the single split.
pub fn rotated(patient: &str, folds: u32, reported: u32) -> Group {
    if folds < 3 {
        return group(patient);
    }
    let own = fold(patient, folds);
    if own == reported % folds {
        Group::Report
    } else if own == (reported % folds + 1) % folds {
        Group::Calibrate
    } else {
        Group::Fit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_as_said_and_the_answer_never_changes() {
        let of = |wanted| (0..4000).filter(|p| group(&p.to_string()) == wanted).count();
        assert!((1900..2100).contains(&of(Group::Fit)), "{}", of(Group::Fit));
        assert!((900..1100).contains(&of(Group::Calibrate)), "{}", of(Group::Calibrate));
        assert_eq!(fold("p", 5), fold("p", 5));
        assert_eq!(fold("p", 0), 0);
        assert_ne!(number("folda", "b"), number("fold", "ab"), "parts do not run into each other");
    }

    #[test]
    fn every_patient_is_reported_on_once_and_is_then_in_no_other_group() {
        for patient in 0..200 {
            let patient = patient.to_string();
            let groups: Vec<Group> = (0..5).map(|reported| rotated(&patient, 5, reported)).collect();
            assert_eq!(groups.iter().filter(|g| **g == Group::Report).count(), 1);
            assert_eq!(groups.iter().filter(|g| **g == Group::Calibrate).count(), 1);
        }
        assert_eq!(rotated("p", 2, 1), group("p"), "too few folds to rotate");
        assert_eq!(rotated("p", 5, 7), rotated("p", 5, 2));
    }
}
