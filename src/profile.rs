//! What a device model does (`models/profiles`): sentinels, resolution, cadence, the set it sends.
//!
//! A *reviewed* profile was looked at by a person: its fields may accuse at once. Of any other device the habits are learned
//! from its own messages (each check keeps what it learned), and may accuse only after [`Profile::LEARN_S`].

use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::Deserialize;
use std::collections::BTreeMap;

const GENERIC: &str = include_str!("../models/profiles/generic.toml");
const DEMO: &str = include_str!("../models/profiles/vitalguard-demo.toml");

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("profile: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("profile {name}: {reason}")]
    Field { name: String, reason: String },
}

/// What a number of zero is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// A measurement: the profile says so.
    Measured,
    /// No measurement: the profile says so.
    Sentinel,
    /// Taken for no measurement, because nobody has said what it is.
    Assumed,
}

/// One device model's habits.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub name: String,
    /// A person has reviewed it: its fields may accuse.
    pub reviewed: bool,
    /// What is learned here may accuse without a review (`profiles = "learned"`).
    pub learns: bool,
    /// MSH-3 of the senders it speaks for.
    pub applications: Vec<String>,
    /// Native update period Δ, seconds.
    pub period_s: Option<f64>,
    /// MSH-12 that it sends.
    pub hl7_version: Option<String>,
    /// MSH-11 that it sends.
    pub processing: String,
    /// What it can send; empty: not known.
    pub parameters: ParamSet,
    zero_is_measured: ParamSet,
    sentinels: BTreeMap<Parameter, Vec<f64>>,
    quantum: BTreeMap<Parameter, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[serde(rename = "version")]
    _version: String,
    name: String,
    reviewed: bool,
    reviewed_by_role: Option<String>,
    reviewed_on: Option<String>,
    #[serde(default)]
    applications: Vec<String>,
    period_s: Option<f64>,
    hl7_version: Option<String>,
    processing: Option<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default)]
    zero_is_measured: Vec<Parameter>,
    #[serde(default)]
    sentinels: BTreeMap<Parameter, Vec<f64>>,
    #[serde(default)]
    quantum: BTreeMap<Parameter, f64>,
}

impl Default for Profile {
    /// The generic profile.
    fn default() -> Self {
        Profile::from_toml(GENERIC).expect("the shipped profile is read by a test")
    }
}

impl Profile {
    /// How long a habit must have held before it may accuse, seconds.
    pub const LEARN_S: f64 = 1800.0;

    /// Reads and validates a profile.
    pub fn from_toml(text: &str) -> Result<Profile, ProfileError> {
        let file: File = toml::from_str(text)?;
        let refuse = |reason: &str| ProfileError::Field { name: file.name.clone(), reason: reason.into() };
        if file.schema != "profile/1" {
            return Err(refuse("schema is not profile/1"));
        }
        if file.reviewed && (file.reviewed_by_role.is_none() || file.reviewed_on.is_none()) {
            return Err(refuse("reviewed needs reviewed_by_role and reviewed_on"));
        }
        if file.period_s.is_some_and(|p| !(p > 0.0 && p.is_finite()))
            || file.quantum.values().any(|q| !(*q > 0.0 && q.is_finite()))
        {
            return Err(refuse("period_s and quantum are positive"));
        }
        Ok(Profile {
            learns: true,
            reviewed: file.reviewed,
            applications: file.applications,
            period_s: file.period_s,
            hl7_version: file.hl7_version,
            processing: file.processing.unwrap_or_else(|| "P".into()),
            parameters: file.parameters.into_iter().collect(),
            zero_is_measured: file.zero_is_measured.into_iter().collect(),
            sentinels: file.sentinels,
            quantum: file.quantum,
            name: file.name,
        })
    }

    /// Whether this number means "no measurement" on this device.
    pub fn is_sentinel(&self, parameter: Parameter, value: f64) -> bool {
        (value == 0.0 && !self.zero_is_measured.contains(parameter))
            || (!self.sentinels.is_empty() && self.sentinels.get(&parameter).is_some_and(|s| s.contains(&value)))
    }

    /// What a zero of this parameter is on this device, as far as the profile says so.
    pub fn zero(&self, parameter: Parameter) -> Zero {
        if self.sentinels.get(&parameter).is_some_and(|s| s.contains(&0.0)) {
            Zero::Sentinel
        } else if self.zero_is_measured.contains(parameter) {
            Zero::Measured
        } else {
            Zero::Assumed
        }
    }

    /// Resolution of a parameter, canonical unit, where it is known.
    pub fn quantum(&self, parameter: Parameter) -> Option<f64> {
        self.quantum.get(&parameter).copied()
    }

    /// Whether habits of this device may accuse: reviewed, or learned long enough within this epoch.
    pub fn usable(&self, epoch_at: Timestamp, now: Timestamp) -> bool {
        self.reviewed || (self.learns && now.since_s(epoch_at) >= Profile::LEARN_S)
    }
}

/// The profiles that are part of the program.
#[derive(Debug, Clone)]
pub struct Shelf {
    generic: Profile,
    models: Vec<Profile>,
}

impl Default for Shelf {
    fn default() -> Self {
        let demo = Profile::from_toml(DEMO).expect("the shipped profile is read by a test");
        Shelf { generic: Profile::default(), models: vec![demo] }
    }
}

impl Shelf {
    /// The profile of a sender by the name in its MSH-3 (the first component); the generic one where none is known.
    pub fn of_application(&self, application: &str) -> &Profile {
        let application = application.split('^').next().unwrap_or_default().trim();
        self.models.iter().find(|m| m.applications.iter().any(|a| a.eq_ignore_ascii_case(application))).unwrap_or(&self.generic)
    }

    /// The generic profile.
    pub fn generic(&self) -> &Profile {
        &self.generic
    }

    /// From now on only what a person has reviewed may accuse (`profiles = "reviewed"`); the rest stays in learning.
    pub fn require_review(&mut self) {
        self.generic.learns = false;
        for profile in &mut self.models {
            profile.learns = false;
        }
    }

    /// Adds a site's profile; it wins over the shipped ones.
    pub fn add(&mut self, profile: Profile) {
        self.models.insert(0, profile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profiles_are_valid() {
        let shelf = Shelf::default();
        assert!(shelf.of_application("VITALGUARD-DEMO").reviewed);
        assert!(shelf.of_application("VITALGUARD-DEMO^02D3A0FFFE000001^EUI-64").reviewed, "MSH-3 as it is sent");
        assert_eq!(shelf.of_application("vitalguard-demo").quantum(Parameter::Temp), Some(0.1));
        assert_eq!(shelf.of_application("OTHER").name, "generic");
    }

    #[test]
    fn zero_is_a_sentinel_unless_it_is_a_measurement() {
        let p = Profile::default();
        assert!(p.is_sentinel(Parameter::Pr, 0.0));
        assert!(p.is_sentinel(Parameter::AbpSys, 0.0));
        assert!(!p.is_sentinel(Parameter::Awrr, 0.0));
        assert!(!p.is_sentinel(Parameter::Pr, 1.0));
        assert_eq!((p.zero(Parameter::Pr), p.zero(Parameter::Awrr)), (Zero::Assumed, Zero::Measured));
        let text = "schema = \"profile/1\"\nversion = \"1\"\nname = \"x\"\nreviewed = false\n[sentinels]\npr = [0.0]\n";
        assert_eq!(Profile::from_toml(text).unwrap().zero(Parameter::Pr), Zero::Sentinel);
    }

    #[test]
    fn a_review_without_a_reviewer_is_refused() {
        let text = "schema = \"profile/1\"\nversion = \"1\"\nname = \"x\"\nreviewed = true\n";
        assert!(Profile::from_toml(text).is_err());
    }
}
