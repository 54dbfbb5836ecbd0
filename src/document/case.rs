//! `case-status/1`: that there is a case, what it is about, and which clocks run. No title, no note, no name.

use super::{Origin, Standing, compact, rfc3339};
use crate::alert::Text;
use crate::case::Case;
use crate::dossier::Mark;
use crate::time::Timestamp;
use serde::Serialize;

/// Alerts that the document names at most; `alerts_more` counts the others.
const ALERTS_MAX: usize = 100;

/// A legal clock that runs because a person has confirmed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockLine {
    pub id: String,
    pub regime: Text,
    /// `10 days`.
    pub term: Text,
    /// "If this is a … then".
    pub condition: Text,
    #[serde(with = "rfc3339")]
    pub starts_at: Timestamp,
    #[serde(with = "rfc3339")]
    pub due_at: Timestamp,
    /// The legal source of the term, and how far it is backed.
    pub source: Text,
    pub mark: Mark,
}

/// `case-status/1`.
pub fn case_status(origin: &Origin, at: Timestamp, rev: u64, case: &Case, clocks: &[ClockLine]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Confirmation<'a> {
        kind: &'a str,
        #[serde(with = "rfc3339")]
        known_since: Timestamp,
        #[serde(with = "rfc3339")]
        confirmed_at: Timestamp,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        head: Standing<'a>,
        r#use: &'static str,
        case: &'a str,
        state: &'static str,
        version: u32,
        #[serde(with = "rfc3339")]
        opened_at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
        closed_at: Option<Timestamp>,
        alerts: Vec<&'a str>,
        alerts_more: usize,
        beds: Vec<String>,
        confirmations: Vec<Confirmation<'a>>,
        clocks: &'a [ClockLine],
    }
    let all: Vec<&str> = case.alerts().collect();
    compact(&Document {
        head: Standing::new("case-status/1", origin, at, rev),
        r#use: "advisory",
        case: &case.id,
        state: case.state.as_str(),
        version: case.version,
        opened_at: case.opened.at,
        closed_at: case.closed.as_ref().map(|closed| closed.by.at),
        alerts: all.iter().copied().take(ALERTS_MAX).collect(),
        alerts_more: all.len().saturating_sub(ALERTS_MAX),
        beds: case.beds().into_iter().map(|(ward, bed)| format!("{ward}/{bed}")).collect(),
        confirmations: case
            .confirmed()
            .map(|c| Confirmation { kind: &c.kind, known_since: c.known_since, confirmed_at: c.by.at })
            .collect(),
        clocks,
    })
}
