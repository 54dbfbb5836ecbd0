//! The forms and their fields as data (`models/dossier/forms.toml`).

use crate::alert::Text;
use crate::check::Assessment;
use crate::dossier::{Form, Kind, Language};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub(super) const FORMS: &str = include_str!("../../models/dossier/forms.toml");

/// How far a statement is backed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The official text was read.
    Official,
    /// Press, a law firm, a mirror of an official page.
    Secondary,
    /// General knowledge without a source.
    Unverified,
    /// A decision of this program.
    Own,
}

impl Mark {
    pub const fn words(self, language: Language) -> &'static str {
        match (self, language) {
            (Mark::Official, Language::En) => "official text",
            (Mark::Official, Language::It) => "testo ufficiale",
            (Mark::Secondary, Language::En) => "secondary source",
            (Mark::Secondary, Language::It) => "fonte secondaria",
            (Mark::Unverified, Language::En) => "not verified",
            (Mark::Unverified, Language::It) => "non verificato",
            (Mark::Own, Language::En) => "chosen by this program",
            (Mark::Own, Language::It) => "scelta di questo programma",
        }
    }
}

/// A legal text, cited by number and date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Legal {
    pub text: Text,
    pub mark: Mark,
}

/// Whose word counts for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    Operator,
    /// An advisory that names the product exactly.
    Exact,
    Feed,
    Journal,
    Alert,
    Program,
}

/// How a value is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// One line.
    Text,
    /// Several lines.
    Lines,
    /// `YYYY-MM-DD`.
    Date,
    /// RFC 3339 with offset.
    Time,
    /// A whole number, not negative.
    Count,
    /// `yes` or `no`.
    YesNo,
    /// One of [`Field::choices`].
    Choice,
}

/// One answer of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub id: String,
    pub en: String,
    pub it: String,
}

/// A field of the forms; one key means the same on all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub key: String,
    pub label: Text,
    pub entry: Entry,
    /// Characters of a value, at most.
    pub chars_max: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Whose word counts.
    pub from: Vec<Speaker>,
    /// What to know before writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Text>,
}

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    #[error("no field {0:?}")]
    Unknown(String),
    #[error("{0}: this field is filled by the program")]
    NotYours(&'static str),
    #[error("{key}: more than {max} characters")]
    Long { key: &'static str, max: usize },
    #[error("{key}: {meant} is meant")]
    Form { key: &'static str, meant: &'static str },
    #[error("{0}: control characters")]
    Control(&'static str),
}

impl Field {
    /// Whether an operator may set it.
    pub fn is_settable(&self) -> bool {
        self.from.contains(&Speaker::Operator)
    }

    /// Whether an operator's value fits. An empty one is none: it takes the value away.
    pub fn check(&'static self, value: &str) -> Result<(), BadValue> {
        let key = self.key.as_str();
        if !self.is_settable() {
            return Err(BadValue::NotYours(key));
        }
        if value.chars().count() > self.chars_max {
            return Err(BadValue::Long { key, max: self.chars_max });
        }
        if value.chars().any(|c| c.is_control() && !(self.entry == Entry::Lines && matches!(c, '\n' | '\t'))) {
            return Err(BadValue::Control(key));
        }
        if value.is_empty() {
            return Ok(());
        }
        let (fits, meant) = match self.entry {
            Entry::Text | Entry::Lines => (!value.trim().is_empty(), "a text"),
            Entry::Date => (value.len() == 10 && value.parse::<jiff::civil::Date>().is_ok(), "a date YYYY-MM-DD"),
            Entry::Time => (value.parse::<jiff::Timestamp>().is_ok(), "a time with its offset (RFC 3339)"),
            Entry::Count => (value.bytes().all(|b| b.is_ascii_digit()) && value.len() <= 9, "a whole number"),
            Entry::YesNo => (matches!(value, "yes" | "no"), "yes or no"),
            Entry::Choice => (self.choices.iter().any(|c| c.id == value), "one of the answers of the field"),
        };
        if fits { Ok(()) } else { Err(BadValue::Form { key, meant }) }
    }
}

/// A part of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub title: Text,
    /// Keys of fields.
    pub fields: Vec<String>,
}

/// A form as the data have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormDef {
    pub id: Form,
    pub title: Text,
    /// To whom, as words.
    pub addressee: Text,
    /// "If this is a … then".
    pub condition: Text,
    /// How far the list of fields is backed, and what to compare it with.
    pub fields_mark: Mark,
    pub fields_note: Text,
    pub legal: Vec<Legal>,
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
}

/// When the alerts of a case suggest a kind of incident.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalDef {
    pub kind: Kind,
    pub name: Text,
    pub reason: Text,
    pub mark: Mark,
    #[serde(default)]
    pub assessments: Vec<Assessment>,
    /// Ids of checks.
    #[serde(default)]
    pub checks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[expect(dead_code, reason = "read with the table of models")]
    version: String,
    #[serde(rename = "field")]
    fields: Vec<Field>,
    #[serde(rename = "form")]
    forms: Vec<FormDef>,
    #[serde(rename = "proposal")]
    proposals: Vec<ProposalDef>,
}

struct Catalogue {
    fields: Vec<Field>,
    by_key: BTreeMap<String, usize>,
    forms: Vec<FormDef>,
    proposals: Vec<ProposalDef>,
}

static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| read(FORMS).expect("the shipped forms are read by a test"));

/// Reads and validates the file.
fn read(text: &str) -> Result<Catalogue, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    if file.schema != "forms/1" {
        return Err(format!("schema {:?} is not forms/1", file.schema));
    }
    let mut by_key = BTreeMap::new();
    for (at, field) in file.fields.iter().enumerate() {
        if by_key.insert(field.key.clone(), at).is_some() {
            return Err(format!("field {} stands there twice", field.key));
        }
        if (field.entry == Entry::Choice) == field.choices.is_empty() {
            return Err(format!("field {}: choices go with entry \"choice\"", field.key));
        }
    }
    for form in Form::ALL {
        if file.forms.iter().filter(|def| def.id == form).count() != 1 {
            return Err(format!("form {} does not stand there once", form.as_str()));
        }
    }
    let used: BTreeSet<&String> = file.forms.iter().flat_map(|f| &f.sections).flat_map(|s| &s.fields).collect();
    if let Some(key) = used.iter().find(|key| !by_key.contains_key(**key)) {
        return Err(format!("field {key} is used and not described"));
    }
    if let Some(field) = file.fields.iter().find(|field| !used.contains(&field.key)) {
        return Err(format!("field {} is on no form", field.key));
    }
    Ok(Catalogue { fields: file.fields, by_key, forms: file.forms, proposals: file.proposals })
}

/// Every field, in the order of the forms; [`Field::is_settable`] says which an operator may set.
pub fn fields() -> &'static [Field] {
    &SHIPPED.fields
}

/// One field by its key.
pub fn field(key: &str) -> Option<&'static Field> {
    SHIPPED.by_key.get(key).map(|at| &SHIPPED.fields[*at])
}

/// A form's description.
pub fn form(form: Form) -> &'static FormDef {
    SHIPPED.forms.iter().find(|def| def.id == form).expect("`read` has found each form once")
}

pub(super) fn proposals() -> &'static [ProposalDef] {
    &SHIPPED.proposals
}

/// Whether an operator's value for a field fits.
pub fn check_value(key: &str, value: &str) -> Result<(), BadValue> {
    field(key).ok_or_else(|| BadValue::Unknown(key.chars().take(64).collect()))?.check(value)
}
