//! Sentences for people, English and Italian, from one catalogue (`models/texts`).
//!
//! A sentence is a template with `{names}`. A template whose names are not all given is not said: the assessment's own
//! sentence stands in, so that nobody reads a brace. Numbers have the reader's decimal sign, times are the site's time of day.

use crate::alert::Text;
use crate::check::{Arg, Assessment};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const HOUSE: &str = include_str!("../models/texts/house.toml");
const CHECKS: &str = include_str!("../models/texts/checks.toml");

/// The texts as bytes, for the hash of the model.
pub(crate) const SOURCES: [&str; 2] = [HOUSE, CHECKS];

/// A language that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    En,
    It,
}

impl Language {
    /// By its code, `en` or `it`.
    pub fn parse(code: &str) -> Option<Language> {
        [Language::En, Language::It].into_iter().find(|language| language.as_str() == code)
    }
    pub const fn as_str(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::It => "it",
        }
    }
}

/// Words of the program itself in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    pub en: &'static str,
    pub it: &'static str,
}

impl Words {
    pub const fn of(&self, language: Language) -> &'static str {
        match language {
            Language::En => self.en,
            Language::It => self.it,
        }
    }
}

/// What stands on every page.
pub const NOT_FOR_PRIMARY: Words = Words {
    en: "Findings about data, not about a patient. Not for primary alarming: look at the patient and the bedside monitor.",
    it: "Riscontri sui dati, non sul paziente. Non per l'allarme primario: guardare il paziente e il monitor al letto.",
};

/// A template in every language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub en: String,
    pub it: String,
}

impl Template {
    fn of(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::It => &self.it,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    sentence: Template,
    action: Template,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct House {
    schema: String,
    label: BTreeMap<String, Template>,
    assessment: BTreeMap<Assessment, Pair>,
    coexist: Coexist,
    collapse: Pair,
    unstable: Pair,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coexist {
    action: Template,
}

/// Why a file of texts was refused.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("texts: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("texts: schema {0:?} is not texts/1")]
    Schema(String),
    #[error("texts: {0} has no sentence")]
    Missing(&'static str),
}

/// Every sentence.
#[derive(Debug)]
pub struct Texts {
    house: House,
    checks: BTreeMap<String, CheckTexts>,
}

/// What one check says; the variants are the verdict's `text`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckTexts {
    name: Template,
    /// For the ward; absent where the finding alone never reaches one.
    #[serde(default)]
    nurse: BTreeMap<String, Template>,
    /// For the ward, once a second source supports what was doubted; where there is none, the house's own words stand in.
    #[serde(default)]
    physiology: BTreeMap<String, Template>,
    /// For clinical engineering: what was compared.
    #[serde(default)]
    engineer: BTreeMap<String, Template>,
    action: Option<Template>,
}

/// A variant, or the default one.
fn variant<'t>(texts: &'t BTreeMap<String, Template>, key: &str) -> Option<&'t Template> {
    texts.get(key).or_else(|| texts.get("default"))
}

static SHIPPED: LazyLock<Texts> =
    LazyLock::new(|| Texts::from_toml(HOUSE, CHECKS).expect("the shipped texts are read by a test"));

/// What is filled into a template.
#[derive(Clone, Copy)]
pub struct Slots<'a> {
    pub args: &'a [(String, Arg)],
    pub params: ParamSet,
    pub ward: &'a str,
    pub bed: &'a str,
    /// `1D15-DB51`.
    pub reference: &'a str,
    pub onset: Timestamp,
    pub count: u64,
    pub zone: &'a jiff::tz::TimeZone,
}

impl Texts {
    /// The catalogue that is part of the program.
    pub fn shipped() -> &'static Texts {
        &SHIPPED
    }

    /// Reads and validates the two files.
    pub fn from_toml(house: &str, checks: &str) -> Result<Texts, TextError> {
        #[derive(Deserialize)]
        struct Checks {
            schema: String,
            #[serde(flatten)]
            checks: BTreeMap<String, CheckTexts>,
        }
        let house: House = toml::from_str(house)?;
        let checks: Checks = toml::from_str(checks)?;
        for schema in [&house.schema, &checks.schema] {
            if schema != "texts/1" {
                return Err(TextError::Schema(schema.clone()));
            }
        }
        for assessment in ASSESSMENTS {
            if !house.assessment.contains_key(&assessment) {
                return Err(TextError::Missing("an assessment"));
            }
        }
        if !house.label.contains_key("and") || !house.label.contains_key("all") {
            return Err(TextError::Missing("a label"));
        }
        Ok(Texts { house, checks: checks.checks })
    }

    /// A parameter's short name.
    pub fn label(&self, parameter: Parameter, language: Language) -> &str {
        self.house.label.get(parameter.key()).map_or(parameter.key(), |t| t.of(language))
    }

    /// What people call a check's finding.
    pub fn name(&self, check: &str) -> Option<&Template> {
        self.checks.get(check).map(|t| &t.name)
    }

    /// What a check says: to the ward, or to the engineers where nothing else supports it. The assessment's own sentence
    /// stands in where it has none, or where one of its names is not given.
    pub fn sentence(&self, check: &str, key: &str, assessment: Assessment, slots: &Slots<'_>) -> Text {
        let own = self.checks.get(check).and_then(|texts| {
            let (nurse, engineer) = (variant(&texts.nurse, key), variant(&texts.engineer, key));
            match assessment {
                Assessment::Unverified => engineer.or(nurse),
                // What to do decides here, not on which beat a value came: that stands in the evidence.
                Assessment::Tamper => nurse,
                // Neither a doubt nor a sensor to look at: the values are believed.
                Assessment::Physiology => variant(&texts.physiology, key),
                _ => nurse.or(engineer),
            }
        });
        own.and_then(|template| self.fill(template, slots)).unwrap_or_else(|| self.fallback(assessment, slots))
    }

    /// What a check compared.
    pub fn evidence(&self, check: &str, key: &str, assessment: Assessment, slots: &Slots<'_>) -> Text {
        let own = self.checks.get(check).and_then(|texts| variant(&texts.engineer, key).or_else(|| variant(&texts.nurse, key)));
        own.and_then(|template| self.fill(template, slots)).unwrap_or_else(|| self.sentence(check, key, assessment, slots))
    }

    fn fallback(&self, assessment: Assessment, slots: &Slots<'_>) -> Text {
        self.fill(&self.house.assessment[&assessment].sentence, slots).unwrap_or_default()
    }

    /// What to do; `coexist`: a tamper or identity alert and corroborated physiology on one bed.
    ///
    /// Tampering always has the house's own words: they name the reference for the telephone. So have values that a second source supports: a check
    /// speaks of the sensor that it doubted.
    pub fn action(&self, check: &str, assessment: Assessment, coexist: bool, slots: &Slots<'_>) -> Text {
        let house = if coexist { &self.house.coexist.action } else { &self.house.assessment[&assessment].action };
        let own = self.checks.get(check).and_then(|texts| texts.action.as_ref());
        let own = own.filter(|_| !coexist && !matches!(assessment, Assessment::Tamper | Assessment::Physiology));
        own.and_then(|template| self.fill(template, slots)).or_else(|| self.fill(house, slots)).unwrap_or_default()
    }

    /// What is said of a gateway, and what to do.
    pub fn collapse(&self, slots: &Slots<'_>) -> (Text, Text) {
        let (sentence, action) = (&self.house.collapse.sentence, &self.house.collapse.action);
        (self.fill(sentence, slots).unwrap_or_default(), self.fill(action, slots).unwrap_or_default())
    }

    /// What is said of a bed whose alerts are more than its budget, and what to do.
    pub fn unstable(&self, slots: &Slots<'_>) -> (Text, Text) {
        let (sentence, action) = (&self.house.unstable.sentence, &self.house.unstable.action);
        (self.fill(sentence, slots).unwrap_or_default(), self.fill(action, slots).unwrap_or_default())
    }

    /// The filled template; `None` where a name is not given or a brace does not close.
    pub fn fill(&self, template: &Template, slots: &Slots<'_>) -> Option<Text> {
        Some(Text {
            en: self.fill_one(&template.en, slots, Language::En)?,
            it: self.fill_one(&template.it, slots, Language::It)?,
        })
    }

    fn fill_one(&self, template: &str, slots: &Slots<'_>, language: Language) -> Option<String> {
        let mut out = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let close = rest[open..].find('}')? + open;
            self.slot(&rest[open + 1..close], slots, language, &mut out)?;
            rest = &rest[close + 1..];
        }
        out.push_str(rest);
        // A list of values may begin the sentence.
        if template.starts_with('{')
            && let Some(first) = out.chars().next().filter(|c| c.is_lowercase())
        {
            out.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
        }
        Some(out)
    }

    fn slot(&self, name: &str, slots: &Slots<'_>, language: Language, out: &mut String) -> Option<()> {
        if let Some((_, arg)) = slots.args.iter().find(|(n, _)| n == name) {
            match arg {
                Arg::Number(value, decimals) => out.push_str(&number(*value, *decimals, language)),
                Arg::Parameter(parameter) => out.push_str(self.label(*parameter, language)),
                Arg::Text(text) => out.push_str(text),
                Arg::Time(at) => out.push_str(&time_of_day(*at, slots.zone)),
            }
            return Some(());
        }
        match name {
            "params" => self.list(slots.params, language, out),
            "bed" => out.push_str(slots.bed),
            "ward" => out.push_str(slots.ward),
            "ref" => out.push_str(slots.reference),
            "since" => out.push_str(&time_of_day(slots.onset, slots.zone)),
            "n" => out.push_str(&slots.count.to_string()),
            _ => return None,
        }
        Some(())
    }

    /// `HR and SpO₂`; `HR, SpO₂ and RR`; all values, where none is named.
    fn list(&self, params: ParamSet, language: Language, out: &mut String) {
        let labels: Vec<&str> = params.iter().map(|p| self.label(p, language)).collect();
        let (and, all) = (self.house.label["and"].of(language), self.house.label["all"].of(language));
        match labels.split_last() {
            None => out.push_str(all),
            Some((last, [])) => out.push_str(last),
            Some((last, others)) => {
                out.push_str(&others.join(", "));
                out.push(' ');
                out.push_str(and);
                out.push(' ');
                out.push_str(last);
            }
        }
    }

    /// Every template with the place where it stands, for tests and for the catalogue.
    pub fn templates(&self) -> impl Iterator<Item = (String, &Template)> {
        let house = self
            .house
            .assessment
            .iter()
            .flat_map(|(a, pair)| [(format!("{a:?}.sentence"), &pair.sentence), (format!("{a:?}.action"), &pair.action)]);
        let more = [
            ("coexist.action".to_owned(), &self.house.coexist.action),
            ("collapse.sentence".to_owned(), &self.house.collapse.sentence),
            ("collapse.action".to_owned(), &self.house.collapse.action),
            ("unstable.sentence".to_owned(), &self.house.unstable.sentence),
            ("unstable.action".to_owned(), &self.house.unstable.action),
        ];
        let labels = self.house.label.iter().map(|(key, t)| (format!("label.{key}"), t));
        let checks = self.checks.iter().flat_map(|(id, texts)| {
            let nurse = texts.nurse.iter().map(move |(key, t)| (format!("{id}.nurse.{key}"), t));
            let physiology = texts.physiology.iter().map(move |(key, t)| (format!("{id}.physiology.{key}"), t));
            let engineer = texts.engineer.iter().map(move |(key, t)| (format!("{id}.engineer.{key}"), t));
            let single = std::iter::once((format!("{id}.name"), &texts.name));
            single
                .chain(nurse)
                .chain(physiology)
                .chain(engineer)
                .chain(texts.action.iter().map(move |t| (format!("{id}.action"), t)))
        });
        house.chain(more).chain(labels).chain(checks)
    }
}

const ASSESSMENTS: [Assessment; 8] = [
    Assessment::Tamper,
    Assessment::Identity,
    Assessment::Artefact,
    Assessment::Unit,
    Assessment::Silence,
    Assessment::Physiology,
    Assessment::Advisory,
    Assessment::Unverified,
];

/// A number with the reader's decimal sign.
pub fn number(value: f64, decimals: u8, language: Language) -> String {
    let text = format!("{value:.*}", usize::from(decimals.min(6)));
    // No "-0".
    let text = if text.trim_start_matches('-').bytes().all(|b| b == b'0' || b == b'.') {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    };
    match language {
        Language::En => text,
        Language::It => text.replace('.', ","),
    }
}

/// `18:23` in the site's zone, 24-hour clock.
pub fn time_of_day(at: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let local = zone.to_datetime(instant);
    format!("{:02}:{:02}", local.hour(), local.minute())
}

#[cfg(test)]
pub mod policy;

#[cfg(test)]
mod tests {
    use super::*;

    fn slots<'a>(args: &'a [(String, Arg)], params: &[Parameter], zone: &'a jiff::tz::TimeZone) -> Slots<'a> {
        Slots {
            args,
            params: ParamSet::from_slice(params),
            ward: "icu",
            bed: "A03",
            reference: "1D15-DB51",
            onset: Timestamp::from_civil(2026, 7, 1, 16, 5, 0, 0).unwrap(),
            count: 3,
            zone,
        }
    }

    fn both(en: &str, it: &str) -> Template {
        Template { en: en.into(), it: it.into() }
    }

    #[test]
    fn numbers_have_the_readers_decimal_sign() {
        assert_eq!(number(36.6, 1, Language::En), "36.6");
        assert_eq!(number(36.6, 1, Language::It), "36,6");
        assert_eq!(number(-0.04, 1, Language::En), "0.0");
        assert_eq!(number(72.0, 0, Language::It), "72");
    }

    #[test]
    fn a_sentence_is_filled_in_both_languages() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let args = [("v".to_owned(), Arg::Number(36.64, 1)), ("t".to_owned(), Arg::Time(Timestamp::from_ms(0)))];
        let slots = slots(&args, &[Parameter::Hr, Parameter::Spo2], &zone);
        let text = Texts::shipped().fill(&both("{params}: {v} at {t}, {since}", "{params}: {v} alle {t}, {since}"), &slots);
        let text = text.unwrap();
        assert_eq!(text.en, "HR and SpO₂: 36.6 at 02:00, 18:05");
        assert_eq!(text.it, "FC e SpO₂: 36,6 alle 02:00, 18:05");
    }

    #[test]
    fn nobody_reads_a_brace() {
        let zone = jiff::tz::TimeZone::UTC;
        let slots = slots(&[], &[Parameter::Hr], &zone);
        assert_eq!(Texts::shipped().fill(&both("{gone}", ""), &slots), None);
        assert_eq!(Texts::shipped().fill(&both("open {", ""), &slots), None);
        let text = Texts::shipped().sentence("Z99", "default", Assessment::Tamper, &slots);
        assert_eq!(text.en, "Not to be trusted on bed A03: HR. Verify by hand.");
        for assessment in ASSESSMENTS {
            let action = Texts::shipped().action("Z99", assessment, false, &slots);
            assert!(!action.en.is_empty() && !action.it.is_empty() && !action.en.contains('{'));
        }
    }

    #[test]
    fn the_ward_reads_no_finding_of_engineers_where_a_bed_is_not_to_be_trusted() {
        let zone = jiff::tz::TimeZone::UTC;
        let args = [("n".to_owned(), Arg::Number(3.0, 0)), ("d".to_owned(), Arg::Number(4.0, 0))];
        let slots = slots(&args, &[], &zone);
        let told = |assessment| Texts::shipped().sentence("T06", "learned", assessment, &slots);
        assert_eq!(told(Assessment::Tamper).it, "Non attendibili al letto A03: tutti i valori. Verificare a mano.");
        assert!(told(Assessment::Unverified).en.starts_with("Only 3 of the last 20 changes"));
    }

    #[test]
    fn a_value_that_is_supported_is_told_so_and_not_as_a_fault_of_the_sensor() {
        let zone = jiff::tz::TimeZone::UTC;
        let args = [("p".to_owned(), Arg::Parameter(Parameter::Hr)), ("v".to_owned(), Arg::reading(Parameter::Hr, 238.0))];
        let slots = slots(&args, &[Parameter::Hr], &zone);
        let texts = Texts::shipped();
        let told = |check: &str| texts.sentence(check, "default", Assessment::Physiology, &slots).en;
        assert_eq!(told("A02"), "Unusual value on bed A03: HR 238. A second source points the same way.");
        assert_eq!(told("Z99"), "Unusual values of HR on bed A03; a second source points the same way");
        for check in ["A02", "T01", "T12", "T13", "T15"] {
            let action = texts.action(check, Assessment::Physiology, false, &slots).en;
            assert_eq!(action, "Confirmed by a second source. Assess the patient.", "{check}");
            assert!(!told(check).to_lowercase().contains("sensor"), "{check}: {}", told(check));
        }
    }

    #[test]
    fn a_reading_is_shown_as_monitors_show_it() {
        let shown = |parameter, value| match Arg::reading(parameter, value) {
            Arg::Number(value, decimals) => number(value, decimals, Language::En),
            _ => String::new(),
        };
        assert_eq!(shown(Parameter::Hr, 238.0), "238");
        assert_eq!(shown(Parameter::Spo2, 97.46), "97.5");
        assert_eq!(shown(Parameter::Spo2, 97.98), "98");
        assert_eq!(shown(Parameter::Temp, 36.0), "36.0");
    }

    #[test]
    fn a_list_of_values_begins_a_sentence_with_a_capital() {
        let zone = jiff::tz::TimeZone::UTC;
        let text = Texts::shipped().fill(&both("{params} stand still", "{params} fermi"), &slots(&[], &[], &zone)).unwrap();
        assert_eq!((text.en.as_str(), text.it.as_str()), ("All values stand still", "Tutti i valori fermi"));
    }

    #[test]
    fn every_sentence_keeps_to_the_wording_policy() {
        // The bedside monitor's own alarms may be named, and only by the checks that are about them.
        let about_alarms = ["P11.", "P12.", "P14."];
        for (place, template) in Texts::shipped().templates() {
            let text = format!("{} {}", template.en, template.it);
            let alarms = about_alarms.iter().any(|p| place.starts_with(p));
            policy::hold(&place, &text, alarms);
            assert!(!template.en.trim().is_empty() && !template.it.trim().is_empty(), "{place}: a language is missing");
            for template in [&template.en, &template.it] {
                assert_eq!(template.matches('{').count(), template.matches('}').count(), "{place}: braces");
            }
        }
    }

    #[test]
    fn both_languages_of_a_sentence_use_the_same_numbers() {
        for (place, template) in Texts::shipped().templates() {
            let names = |text: &str| {
                let mut names: Vec<String> =
                    text.split('{').skip(1).filter_map(|part| part.split('}').next()).map(str::to_owned).collect();
                names.sort();
                names.dedup();
                names
            };
            assert_eq!(names(&template.en), names(&template.it), "{place}");
        }
    }
}
