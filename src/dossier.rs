//! Drafts for people who report: forms filled from facts, clocks of legal terms, and the home-care checklist.
//!
//! One contract: *nothing is invented*. A field is a value with its source or the literal "to be completed"; a term is shown
//! with its legal source, the mark of that source and the sentence "if this is a … then"; whether a duty exists is for a
//! person to say, and so is the filing, which happens outside of the program. Pure: time and zone are arguments.
//!
//! Limits: the forms, terms and sentences are data (`models/dossier`) with a mark each; what is not verified says so on the
//! page. Values are bounded ([`Field::chars_max`], [`FACTS_PER_FIELD_MAX`]), and everything that others wrote is escaped.

mod catalogue;
mod checklist;
mod clock;
mod draft;
mod page;
mod proposal;
mod words;

#[cfg(test)]
mod tests;

pub use crate::text::Language;
pub use catalogue::{BadValue, Choice, Entry, Field, FormDef, Legal, Mark, Section, Speaker, check_value, field, fields, form};
pub use checklist::checklist;
pub use clock::{Clock, ClockState, clocks};
pub use draft::{Draft, Row, SCHEMA, fill};
pub use proposal::{Proposal, proposals};

use crate::advisory::Level;
use crate::alert::rfc3339;
use crate::check::Assessment;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The files of the drafts, for the table of models.
pub(crate) const SOURCES: [(&str, &str); 3] = [
    ("dossier/checklist.toml", checklist::SHEET),
    ("dossier/forms.toml", catalogue::FORMS),
    ("dossier/terms.toml", clock::TERMS),
];

/// Facts of one field that a draft shows; more are counted.
pub const FACTS_PER_FIELD_MAX: usize = 8;
/// Characters of one value that a draft shows, whoever wrote it.
pub const VALUE_CHARS_MAX: usize = 4_000;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    /// A message of the feed, by its raw key.
    Feed {
        raw: String,
    },
    /// A record of the journal or of the store.
    Journal {
        reference: String,
    },
    /// A person of the site said so.
    Operator {
        user: String,
        #[serde(with = "rfc3339")]
        at: Timestamp,
    },
    /// An advisory names the product; `matched` are the device's own words that did.
    Advisory {
        id: String,
        level: Level,
        matched: String,
    },
    Alert {
        id: String,
    },
    /// This program, of itself.
    Program,
}

/// A value and who says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    pub value: String,
    pub source: FactSource,
}

/// What is known, by the key of the field ([`fields`]). Several facts of one field are all shown, none is preferred; of an
/// operator's values the caller hands in the one that counts.
pub type Facts = BTreeMap<String, Vec<Fact>>;

/// A form that can be drafted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Report of a healthcare operator to the Ministry of Health (medical devices).
    MinistryIt,
    Nis2PreNotification,
    Nis2Notification,
    Nis2Final,
    Law90,
    Gdpr33,
    Cfr803,
}

impl Form {
    pub const ALL: [Form; 7] = [
        Form::MinistryIt,
        Form::Nis2PreNotification,
        Form::Nis2Notification,
        Form::Nis2Final,
        Form::Law90,
        Form::Gdpr33,
        Form::Cfr803,
    ];
    /// The word in paths, files and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::MinistryIt => "ministry-it",
            Form::Nis2PreNotification => "nis2-pre-notification",
            Form::Nis2Notification => "nis2-notification",
            Form::Nis2Final => "nis2-final",
            Form::Law90 => "law90",
            Form::Gdpr33 => "gdpr33",
            Form::Cfr803 => "cfr803",
        }
    }
    pub fn parse(word: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.as_str() == word)
    }
}

/// What a person has confirmed. New kinds go to the end: the journal has them by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A serious incident with a device, even only suspected.
    SeriousIncident,
    NonSeriousIncident,
    /// A significant incident of NIS2: confidentiality (IS-1), integrity (IS-2), availability (IS-3), abuse of access (IS-4).
    NisIs1,
    NisIs2,
    NisIs3,
    NisIs4,
    /// An incident that Law 90/2024 is about.
    Law90,
    PersonalData,
    /// Death or serious injury, 21 CFR 803.
    UsUserFacility,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::SeriousIncident,
        Kind::NonSeriousIncident,
        Kind::NisIs1,
        Kind::NisIs2,
        Kind::NisIs3,
        Kind::NisIs4,
        Kind::Law90,
        Kind::PersonalData,
        Kind::UsUserFacility,
    ];
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::SeriousIncident => "serious_incident",
            Kind::NonSeriousIncident => "non_serious_incident",
            Kind::NisIs1 => "nis_is1",
            Kind::NisIs2 => "nis_is2",
            Kind::NisIs3 => "nis_is3",
            Kind::NisIs4 => "nis_is4",
            Kind::Law90 => "law90",
            Kind::PersonalData => "personal_data",
            Kind::UsUserFacility => "us_user_facility",
        }
    }
    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A person took a confirmation back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// A person said: this is so, and we know it since then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    pub kind: Kind,
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The knowledge time that the person states: legal clocks start here. Not after `at`.
    #[serde(with = "rfc3339")]
    pub known_since: Timestamp,
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Withdrawn>,
}

/// A person said that a form was filed, outside of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filing {
    pub form: Form,
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    pub by: String,
    /// As the authority's portal gave it; may be empty.
    pub reference: String,
}

/// An alert of the case, as far as the proposals look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub alert: String,
    /// `T03 flat_line`.
    pub condition: String,
    pub assessment: Assessment,
}

/// What stands above every draft of a case.
#[derive(Debug, Clone)]
pub struct Head {
    pub case: String,
    pub site: String,
    pub zone: jiff::tz::TimeZone,
    pub made_at: Timestamp,
    pub made_by: String,
    /// `vitalguard 0.1.0`.
    pub software: String,
    /// `data_date` of the advisories in force.
    pub advisories_date: String,
    pub confirmations: Vec<Confirmation>,
    pub filings: Vec<Filing>,
    /// The alerts of the case.
    pub seen: Vec<Seen>,
}
