//! What a device model does (`models/profiles`): sentinels, resolution, cadence, the set it sends.
//!
//! A *reviewed* profile was looked at by a person: its fields may accuse at once. Of any other device the habits are learned
//! from its own messages (each check keeps what it learned), and may accuse only after [`Profile::LEARN_S`].

use crate::envelope::Origin;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod formula;
mod habit;
pub mod learn;

pub use formula::Formula;
pub use habit::Learned;

/// The profiles that are part of the program, by their path under `models/`; those of single devices win over the generic one.
pub const SHIPPED: &[(&str, &str)] = &[
    ("profiles/generic.toml", include_str!("../models/profiles/generic.toml")),
    ("profiles/vitalguard-demo.toml", include_str!("../models/profiles/vitalguard-demo.toml")),
    ("profiles/capnostream-class.toml", include_str!("../models/profiles/capnostream-class.toml")),
    ("profiles/transcutaneous-4s.toml", include_str!("../models/profiles/transcutaneous-4s.toml")),
    ("profiles/icu-minute-means.toml", include_str!("../models/profiles/icu-minute-means.toml")),
    ("profiles/icu-minute-map.toml", include_str!("../models/profiles/icu-minute-map.toml")),
];

const SCHEMA: &str = "profile/1";

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("profile: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("profile {name}: {field}: {reason}")]
    Field { name: String, field: String, reason: String },
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Period of a value that changes at every so many seconds only, and always on the same beat.
    pub lattice_s: BTreeMap<Parameter, f64>,
    /// Median time that a value stands, seconds.
    pub hold_s: BTreeMap<Parameter, f64>,
    /// Drop-outs in an hour of values.
    pub dropouts_per_hour: BTreeMap<Parameter, f64>,
    /// Smallest and largest value that was seen: says what was seen, not what is possible.
    pub range: BTreeMap<Parameter, [f64; 2]>,
    /// How its mean pressures come about.
    pub pressure: Vec<Pressure>,
    /// How its QTc comes about.
    pub qtc: Option<Formula>,
    /// Order of the rows; empty: not known.
    pub order: Vec<Parameter>,
    /// From the measurement to us.
    pub latency: Option<Latency>,
    /// What it was fitted on.
    pub origin: Option<Origin>,
    /// Where the habits are known from, in words.
    pub source: Option<String>,
    reviewed_by_role: Option<String>,
    reviewed_on: Option<String>,
}

/// The form factor k = (M − D)/(S − D) of one line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pressure {
    /// The systolic parameter of the line.
    pub of: Parameter,
    /// Median, and median absolute deviation.
    pub k: f64,
    pub mad: f64,
    /// The mean is D + (S − D)/3, rounded: it says nothing of its own.
    pub computed: bool,
    pub triples: u32,
}

/// From the measurement's own time to ours, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    pub least_s: f64,
    pub median_s: f64,
    pub mad_s: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    version: String,
    name: String,
    reviewed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewed_by_role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewed_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default)]
    applications: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hl7_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qtc: Option<Formula>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    order: Vec<Parameter>,
    #[serde(default)]
    zero_is_measured: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sentinels: BTreeMap<Parameter, Vec<f64>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    quantum: BTreeMap<Parameter, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lattice_s: BTreeMap<Parameter, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hold_s: BTreeMap<Parameter, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dropouts_per_hour: BTreeMap<Parameter, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    range: BTreeMap<Parameter, [f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pressure: Vec<Pressure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

impl Default for Profile {
    /// The generic profile.
    fn default() -> Self {
        Profile::from_toml(SHIPPED[0].1).expect("the shipped profile is read by a test")
    }
}

impl Profile {
    /// How long a habit must have held before it may accuse, seconds.
    pub const LEARN_S: f64 = 1800.0;

    /// Reads and validates a profile.
    pub fn from_toml(text: &str) -> Result<Profile, ProfileError> {
        let file: File = toml::from_str(text)?;
        let refuse = |field: &str, reason: &str| ProfileError::Field {
            name: file.name.clone(),
            field: field.into(),
            reason: reason.into(),
        };
        if file.schema != SCHEMA {
            return Err(refuse("schema", "profile/1 is meant"));
        }
        if !crate::envelope::is_version(&file.version) {
            return Err(refuse("version", "three numbers with dots are meant (1.0.0)"));
        }
        if file.name.is_empty() {
            return Err(refuse("name", "is empty"));
        }
        if file.reviewed && (file.reviewed_by_role.is_none() || file.reviewed_on.is_none()) {
            return Err(refuse("reviewed", "needs reviewed_by_role and reviewed_on"));
        }
        if file.reviewed_on.as_deref().is_some_and(|day| !crate::envelope::is_date(day)) {
            return Err(refuse("reviewed_on", "a date is meant (2026-11-24)"));
        }
        let positive = |v: f64| v > 0.0 && v.is_finite();
        if file.period_s.is_some_and(|p| !positive(p)) {
            return Err(refuse("period_s", "is not positive"));
        }
        for (field, table) in [("quantum", &file.quantum), ("lattice_s", &file.lattice_s), ("hold_s", &file.hold_s)] {
            if let Some((p, _)) = table.iter().find(|(_, v)| !positive(**v)) {
                return Err(refuse(&format!("{field}.{}", p.key()), "is not positive"));
            }
        }
        if let Some((p, _)) = file.dropouts_per_hour.iter().find(|(_, v)| !(**v >= 0.0 && v.is_finite())) {
            return Err(refuse(&format!("dropouts_per_hour.{}", p.key()), "is not a rate"));
        }
        if let Some((p, _)) = file.range.iter().find(|(_, r)| !(r[0] <= r[1] && r.iter().all(|v| v.is_finite()))) {
            return Err(refuse(&format!("range.{}", p.key()), "is not an interval"));
        }
        if let Some((p, _)) = file.sentinels.iter().find(|(_, list)| list.len() > 8 || list.iter().any(|v| !v.is_finite())) {
            return Err(refuse(&format!("sentinels.{}", p.key()), "at most eight numbers are meant"));
        }
        if file.pressure.iter().any(|p| !((0.0..=1.0).contains(&p.k) && (0.0..=1.0).contains(&p.mad))) {
            return Err(refuse("pressure.k", "does not lie between 0 and 1"));
        }
        if (1..file.order.len()).any(|at| file.order[..at].contains(&file.order[at])) {
            return Err(refuse("order", "names a parameter twice"));
        }
        if file.latency.is_some_and(|l| !(l.least_s.is_finite() && l.median_s.is_finite() && l.mad_s >= 0.0)) {
            return Err(refuse("latency", "is not finite"));
        }
        if let Some((field, reason)) = file.origin.as_ref().and_then(Origin::fault) {
            return Err(refuse(&format!("origin.{field}"), reason));
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
            lattice_s: file.lattice_s,
            hold_s: file.hold_s,
            dropouts_per_hour: file.dropouts_per_hour,
            range: file.range,
            pressure: file.pressure,
            qtc: file.qtc,
            order: file.order,
            latency: file.latency,
            origin: file.origin,
            source: file.source,
            reviewed_by_role: file.reviewed_by_role,
            reviewed_on: file.reviewed_on,
            name: file.name,
        })
    }

    /// As a file that [`Profile::from_toml`] reads; `version` is the file's.
    pub fn to_toml(&self, version: &str) -> String {
        let file = File {
            schema: SCHEMA.into(),
            version: version.into(),
            name: self.name.clone(),
            reviewed: self.reviewed,
            reviewed_by_role: self.reviewed_by_role.clone(),
            reviewed_on: self.reviewed_on.clone(),
            source: self.source.clone(),
            applications: self.applications.clone(),
            period_s: self.period_s,
            hl7_version: self.hl7_version.clone(),
            processing: Some(self.processing.clone()),
            parameters: self.parameters.iter().collect(),
            zero_is_measured: self.zero_is_measured.iter().collect(),
            sentinels: self.sentinels.clone(),
            quantum: self.quantum.clone(),
            lattice_s: self.lattice_s.clone(),
            hold_s: self.hold_s.clone(),
            dropouts_per_hour: self.dropouts_per_hour.clone(),
            range: self.range.clone(),
            latency: self.latency,
            pressure: self.pressure.clone(),
            qtc: self.qtc,
            order: self.order.clone(),
            origin: self.origin.clone(),
        };
        // Plain words and numbers: there is nothing that TOML could not say.
        toml::to_string(&file).unwrap_or_default()
    }

    /// The same as if a person had reviewed it on a day (`2026-11-24`).
    #[must_use]
    pub fn reviewed_by(mut self, role: &str, day: &str) -> Profile {
        self.reviewed = true;
        self.reviewed_by_role = Some(role.into());
        self.reviewed_on = Some(day.into());
        self
    }

    /// Numbers that mean "no measurement", beside a zero that is none.
    pub fn sentinels(&self, parameter: Parameter) -> &[f64] {
        self.sentinels.get(&parameter).map_or(&[], Vec::as_slice)
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
        let read = |(_, text): &(&str, &str)| Profile::from_toml(text).expect("the shipped profile is read by a test");
        Shelf { generic: Profile::default(), models: SHIPPED[1..].iter().map(read).collect() }
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

    /// Every profile, those that win first.
    pub fn all(&self) -> impl Iterator<Item = &Profile> {
        self.models.iter().chain(std::iter::once(&self.generic))
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
        let text = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = false\n[sentinels]\npr = [0.0]\n";
        assert_eq!(Profile::from_toml(text).unwrap().zero(Parameter::Pr), Zero::Sentinel);
    }

    #[test]
    fn every_profile_goes_through_a_snapshot() {
        let shelf = Shelf::default();
        for profile in shelf.models.iter().chain([&shelf.generic]) {
            let bytes = postcard::to_stdvec(profile).unwrap();
            assert_eq!(&postcard::from_bytes::<Profile>(&bytes).unwrap(), profile, "{}", profile.name);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_name_of_the_field() {
        let head = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\n";
        let refused = |rest: &str| match Profile::from_toml(&format!("{head}{rest}")) {
            Err(ProfileError::Field { field, .. }) => field,
            other => format!("{other:?}"),
        };
        assert!(Profile::from_toml(&format!("{head}reviewed = false\n")).is_ok());
        assert_eq!(refused("reviewed = true\n"), "reviewed");
        assert_eq!(refused("reviewed = true\nreviewed_by_role = \"r\"\nreviewed_on = \"soon\"\n"), "reviewed_on");
        assert_eq!(refused("reviewed = false\nperiod_s = 0.0\n"), "period_s");
        assert_eq!(refused("reviewed = false\n[quantum]\nhr = -1.0\n"), "quantum.hr");
        assert_eq!(refused("reviewed = false\n[lattice_s]\nhr = nan\n"), "lattice_s.hr");
        assert_eq!(refused("reviewed = false\n[range]\nhr = [2.0, 1.0]\n"), "range.hr");
        assert_eq!(refused("reviewed = false\n[sentinels]\nhr = [inf]\n"), "sentinels.hr");
        let wrong = |from: &str, to: &str| Profile::from_toml(&format!("{head}reviewed = false\n").replace(from, to)).is_err();
        assert!(wrong("profile/1", "profile/2") && wrong("1.0.0", "1") && wrong("name", "nam"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (_, text) in SHIPPED {
            let profile = Profile::from_toml(text).unwrap();
            assert_eq!(Profile::from_toml(&profile.to_toml("1.0.0")).unwrap(), profile);
        }
    }
}
