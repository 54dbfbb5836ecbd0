//! Security advisories: what is published of products that may stand on the feed, and which of them a device's own words name.
//!
//! One contract: a match says how sure it is ([`Level`]) and which words it rests on; the only negative statement is "no advisory
//! known in the data of a date". What a device declares is never proof: a version that it states of itself never clears an entry
//! (CVE-2026-64934 is about a maker who trusted such versions).
//!
//! Limits: product names of advisories are free text, so patterns are made by hand; nothing is looked up on a network. The data
//! are part of the program (`data/advisories.toml`); a site's file extends them, an entry of the same id replaces ours.

mod declared;
mod matching;
mod read;
mod version;

pub use declared::{TEXT_CHARS_MAX, clean, masked, normalised};
pub use matching::{Field, Input, Match};
pub use read::AdvisoryError;
pub use version::VersionState;

use crate::time::Timestamp;
use regex::{Regex, RegexSet};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};

/// The data that are part of the program.
pub const SHIPPED: &str = include_str!("../data/advisories.toml");

/// How sure a match is; the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The product is named.
    Exact,
    /// The same product family; which model is not known.
    Family,
    /// The same vendor; which product is not known. Inventory only, never an alert.
    Vendor,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Exact => "exact",
            Level::Family => "family",
            Level::Vendor => "vendor",
        }
    }
    /// What it means, for people.
    pub const fn wording(self) -> &'static str {
        match self {
            Level::Exact => "names a product of the advisory",
            Level::Family => "same product family as in the advisory; model not known",
            Level::Vendor => "same vendor as in the advisory; product not known",
        }
    }
}

/// What the site has done about an advisory on one of its devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Open,
    /// Something was done that makes it harmless here (taken off the network, blocked, replaced).
    Mitigated,
    /// Known and lived with.
    Accepted,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Mitigated => "mitigated",
            Status::Accepted => "accepted",
        }
    }
}

/// One advisory, as the data have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advisory {
    pub id: String,
    pub title: String,
    /// First published, `YYYY-MM-DD`.
    pub date: String,
    pub revised: String,
    pub vendor: String,
    /// `bedside monitor`, `gateway`, …
    pub kind: String,
    pub products: Vec<Product>,
    pub cves: Vec<Cve>,
    /// Named by secondary sources only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cves_secondary: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    pub summary: String,
    pub why_it_matters_here: String,
    pub known_exploited: bool,
    #[serde(default)]
    pub aliases: Vec<String>,
    pub patterns: Vec<Pattern>,
    #[serde(default)]
    pub pattern_tests: PatternTests,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_indicators: Vec<Indicator>,
    pub url: String,
    pub source: String,
}

impl Advisory {
    /// Whether it is about what stands at one bed; gateways, engines and centrals speak for many.
    pub fn at_the_bedside(&self) -> bool {
        ["monitor", "wearable", "telemetry", "home device"].iter().any(|word| self.kind.contains(word))
    }
}

/// A product and the versions that the advisory names, as it prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    pub product: String,
    pub versions: Vec<String>,
}

/// One flaw with its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cve {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwe: Option<String>,
    /// CVSS 3.0 or 3.1 base score.
    pub cvss3: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvss3_vector: Option<String>,
    /// CVSS 4.0, and where it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvss4: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvss4_mark: Option<String>,
}

/// Words by which a device shows itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    pub confidence: Level,
    pub regex: String,
    /// Short or ambiguous: counts only beside a vendor or family pattern of the same entry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_vendor: bool,
}

/// What the patterns must and must not match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatternTests {
    /// Each is matched by at least one pattern.
    pub r#match: Vec<String>,
    /// None of them is matched by an exact pattern.
    pub no_exact_match: Vec<String>,
}

/// Something on the network that the advisory, or who has looked at the product, describes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Indicator {
    pub id: String,
    /// Where it is known from.
    pub confidence: String,
    pub meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<String>,
}

/// All that is known, with the patterns ready to match.
#[derive(Debug, Clone)]
pub struct Advisories {
    list: Vec<Advisory>,
    /// `YYYY-MM-DD`: up to when the data were looked through.
    data_date: String,
    warn_after_days: f64,
    coverage: String,
    patterns: Vec<Compiled>,
    set: RegexSet,
    /// SHA-256 over everything, 16 hex digits.
    hash: String,
}

/// A pattern of one entry.
#[derive(Debug, Clone)]
struct Compiled {
    advisory: u16,
    confidence: Level,
    needs_vendor: bool,
    regex: Regex,
}

impl PartialEq for Advisories {
    fn eq(&self, other: &Advisories) -> bool {
        self.hash == other.hash
    }
}

static READY: LazyLock<Arc<Advisories>> =
    LazyLock::new(|| Arc::new(Advisories::read(SHIPPED, "data/advisories.toml").expect("the shipped data are read by a test")));

impl Advisories {
    /// The data that are part of the program.
    pub fn shipped() -> Arc<Advisories> {
        Arc::clone(&READY)
    }

    /// Every entry, in the order of the files.
    pub fn list(&self) -> &[Advisory] {
        &self.list
    }
    /// An entry by its id, as written or in another case.
    pub fn find(&self, id: &str) -> Option<&Advisory> {
        self.list.iter().find(|a| a.id.eq_ignore_ascii_case(id))
    }
    /// The entry of a match.
    pub fn of(&self, found: &Match) -> Option<&Advisory> {
        self.list.get(usize::from(found.advisory))
    }
    /// The date of the data, `YYYY-MM-DD`.
    pub fn data_date(&self) -> &str {
        &self.data_date
    }
    /// What the data cover, in their own words.
    pub fn coverage(&self) -> &str {
        &self.coverage
    }
    /// Whole days from the date of the data to `now`; below zero for a date to come.
    pub fn age_days(&self, now: Timestamp) -> f64 {
        read::date(&self.data_date).map_or(f64::INFINITY, |at| (now.since_s(at) / 86_400.0).floor())
    }
    /// The moment from which the data are older than so many days.
    pub fn old_at(&self, days: f64) -> Timestamp {
        read::date(&self.data_date).map_or(Timestamp::MIN, |at| at.plus_s(days * 86_400.0).plus_ms(1))
    }
    /// The data ask to be renewed after so many days.
    pub fn warn_after_days(&self) -> f64 {
        self.warn_after_days
    }
    /// Tells data apart: 16 hex digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// The one negative statement that is allowed.
    pub fn none_known(&self) -> String {
        format!("No advisory known in the data of {}", self.data_date)
    }
}

#[cfg(test)]
mod tests;
