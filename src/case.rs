//! A case: what belongs to one incident, as the steps of people have made it.
//!
//! **One contract: a case is what its steps say.** Every step is an [`Act`] in the journal's chain; [`Case::apply`] takes them in
//! order and either changes the case or says why not ([`Refused`]), and then the case is as it was. Times are the journal's,
//! which never run backwards. Nothing here decides what is true: a clock starts only with [`Step::Confirm`], which a person makes.
//!
//! Every list and every text has a bound ([`ITEMS_MAX`] …): at the bound a step is refused, nothing old goes.

use crate::alert::rfc3339;
use crate::command::{is_alert_id, is_slug};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

mod apply;
mod bounds;
mod facts;
#[cfg(test)]
mod tests;

pub use bounds::{
    CAPTURE_BYTES_MAX, EXPORTS_MAX, FIELD_CHARS_MAX, FIELDS_MAX, FILINGS_MAX, ITEMS_MAX, KEEP_DAYS, MESSAGES_MAX, NOTES_MAX,
    RANGE_S_MAX, RECORD_BYTES_MAX, TEXT_CHARS_MAX, TITLE_CHARS_MAX, is_case_id, is_sha256,
};
pub use facts::{Action, Found, facts};

/// Something that a person did to a case, as it stands in the journal (kind 8).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Slug that tells one act from another.
    pub id: String,
    /// `C-…`.
    pub case: String,
    /// The version that the person saw; another one now: [`Refused::Stale`]. `None`: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u32>,
    pub user: String,
    pub via: Way,
    pub step: Step,
}

impl Act {
    /// Bytes it weighs in queues, about.
    pub fn weight_bytes(&self) -> usize {
        match &self.step {
            Step::Open { title, .. } => title.len(),
            Step::Add { item: Item::Messages { raw } } => raw.iter().map(|raw| raw.len() + 4).sum(),
            Step::Add { item: Item::Device { .. } } => RECORD_BYTES_MAX,
            Step::Note { text } => text.len(),
            Step::Set { value, .. } => value.len(),
            Step::Withdraw { reason, .. } | Step::Close { reason, .. } | Step::Reopen { reason } | Step::Release { reason } => {
                reason.len()
            }
            _ => 256,
        }
    }
}

/// How an act came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Over HTTP: the page, or the command line through the service.
    Web,
    /// On the data folder itself, by somebody who may read it.
    Cli,
    /// By the service (gathered with the opening).
    Auto,
}

impl Way {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Way::Web => "web",
            Way::Cli => "cli",
            Way::Auto => "auto",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Open {
        title: String,
        /// The alert it began with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alert: Option<String>,
    },
    Add {
        item: Item,
    },
    Note {
        text: String,
    },
    /// A field of the drafts (`device.model`); an empty value takes it back.
    Set {
        field: String,
        value: String,
    },
    /// A person says what this is, and since when the house knows: legal clocks start here and nowhere else.
    Confirm {
        kind: String,
        #[serde(with = "rfc3339")]
        known_since: Timestamp,
    },
    Withdraw {
        kind: String,
        reason: String,
    },
    /// A person has sent a form somewhere, outside of this program.
    Filed {
        form: String,
        reference: String,
    },
    Close {
        reason: String,
        /// The evidence is kept until then; absent: [`KEEP_DAYS`] from the closing.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
        keep_until: Option<Timestamp>,
    },
    Reopen {
        reason: String,
    },
    /// A closed case needs its evidence no longer, whatever was said at closing.
    Release {
        reason: String,
    },
    /// A bundle left the house.
    Export {
        bundle: String,
        identified: bool,
        /// 64 hex digits, of the whole file.
        sha256: String,
    },
}

impl Step {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Step::Open { .. } => "open",
            Step::Add { .. } => "add",
            Step::Note { .. } => "note",
            Step::Set { .. } => "set",
            Step::Confirm { .. } => "confirm",
            Step::Withdraw { .. } => "withdraw",
            Step::Filed { .. } => "filed",
            Step::Close { .. } => "close",
            Step::Reopen { .. } => "reopen",
            Step::Release { .. } => "release",
            Step::Export { .. } => "export",
        }
    }
}

/// Something that a case gathers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    /// An alert with its events.
    Alert { id: String },
    /// Messages by their journal keys (`icu-gw1.184213`).
    Messages { raw: Vec<String> },
    /// Everything that a bed sent within a time, and the records of the journal in which it lies.
    Range {
        ward: String,
        bed: String,
        #[serde(with = "rfc3339")]
        from: Timestamp,
        #[serde(with = "rfc3339")]
        to: Timestamp,
        first: u64,
        last: u64,
    },
    /// A file that was copied into the case's folder.
    Capture { name: String, sha256: String, bytes: u64 },
    /// A spot-check: number of its record.
    SpotCheck { sequence: u64 },
    /// What a person did about an alert: number of its record.
    Action { sequence: u64 },
    /// A device of the inventory, with its advisories, as it stood then.
    Device { id: String, record: Value },
}

impl Item {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Item::Alert { .. } => "alert",
            Item::Messages { .. } => "messages",
            Item::Range { .. } => "range",
            Item::Capture { .. } => "capture",
            Item::SpotCheck { .. } => "spot_check",
            Item::Action { .. } => "action",
            Item::Device { .. } => "device",
        }
    }
    /// Records of the journal that it stands on, first and last.
    pub fn records(&self) -> Option<(u64, u64)> {
        match self {
            Item::Messages { raw } => {
                let mut numbers = raw.iter().filter_map(|raw| raw.rsplit('.').next()?.parse::<u64>().ok());
                let first = numbers.next()?;
                Some(numbers.fold((first, first), |(low, high), n| (low.min(n), high.max(n))))
            }
            Item::Range { first, last, .. } => Some((*first, *last)),
            Item::SpotCheck { sequence } | Item::Action { sequence } => Some((*sequence, *sequence)),
            Item::Alert { .. } | Item::Capture { .. } | Item::Device { .. } => None,
        }
    }
}

/// Open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Closed,
}

impl State {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Closed => "closed",
        }
    }
}

/// Who, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    pub user: String,
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// An item and who put it there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The case's version that it came with: its number for ever.
    pub number: u32,
    pub by: By,
    #[serde(flatten)]
    pub item: Item,
}

/// What a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub by: By,
    pub text: String,
}

/// A field of the drafts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub by: By,
    pub value: String,
}

/// What a person has confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    pub kind: String,
    #[serde(with = "rfc3339")]
    pub known_since: Timestamp,
    pub by: By,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Ended>,
}

/// That something ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub by: By,
    pub reason: String,
}

/// A form that a person has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filing {
    pub by: By,
    pub form: String,
    pub reference: String,
}

/// A bundle that left the house.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    pub by: By,
    pub bundle: String,
    pub identified: bool,
    pub sha256: String,
}

/// How it was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub by: By,
    pub reason: String,
    /// The evidence is kept until then.
    #[serde(with = "rfc3339")]
    pub keep_until: Timestamp,
}

/// A case after its steps so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub id: String,
    /// Steps so far: what [`Act::expect`] names.
    pub version: u32,
    /// Journal number of the first and of the last step; a step that is not newer is already contained.
    pub first_sequence: u64,
    pub sequence: u64,
    pub state: State,
    pub title: String,
    pub opened: By,
    /// Time of the last step.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    pub items: Vec<Held>,
    pub notes: Vec<Note>,
    pub fields: BTreeMap<String, Field>,
    pub confirmations: Vec<Confirmed>,
    pub filings: Vec<Filing>,
    pub exports: Vec<Exported>,
    /// How it was closed, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// A person let the evidence of the closed case go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Ended>,
}

/// Why a step changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no such case")]
    Unknown,
    #[error("there is such a case already")]
    Exists,
    #[error("the case was closed by {} at {}", .0.user, .0.at)]
    Closed(By),
    #[error("the case is open: only a closed case can be reopened or released")]
    Open,
    #[error("the case has changed: version {now}, not {expected}; the last step was at {at}")]
    Stale { expected: u32, now: u32, at: Timestamp },
    #[error("{what}: at most {max}")]
    TooMany { what: &'static str, max: usize },
    #[error("{what}: {why}")]
    Malformed { what: &'static str, why: &'static str },
    #[error("{kind}: confirmed already, by {} at {}", .by.user, .by.at)]
    Confirmed { kind: String, by: By },
    #[error("{0}: nobody has confirmed that, or it was withdrawn")]
    NotConfirmed(String),
    #[error("it stands in the case already, as number {0}")]
    Known(u32),
}

impl Refused {
    /// Its code.
    pub const fn code(&self) -> &'static str {
        match self {
            Refused::Unknown => "NOT_FOUND",
            Refused::Exists => "EXISTS",
            Refused::Closed(_) => "CLOSED",
            Refused::Open => "OPEN",
            Refused::Stale { .. } => "STALE",
            Refused::TooMany { .. } => "TOO_MANY",
            Refused::Malformed { .. } => "BAD_REQUEST",
            Refused::Confirmed { .. } => "CONFIRMED",
            Refused::NotConfirmed(_) => "NOT_CONFIRMED",
            Refused::Known(_) => "KNOWN",
        }
    }
}

impl Case {
    /// The id of a case opened then; `salt` tells apart what is opened in the same millisecond.
    pub fn id_of(at: Timestamp, salt: u16) -> String {
        format!("C-{}-{salt:04x}", at.compact())
    }
    /// Records of the journal that its items stand on, first and last.
    pub fn records(&self) -> Option<(u64, u64)> {
        let all = self.items.iter().filter_map(|held| held.item.records());
        all.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)))
    }
    /// Whether its evidence must stay at this moment.
    pub fn keeps(&self, now: Timestamp) -> bool {
        match &self.closed {
            None => true,
            Some(closed) => self.released.is_none() && now < closed.keep_until,
        }
    }
    /// Alerts it gathers.
    pub fn alerts(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|held| match &held.item {
            Item::Alert { id } => Some(id.as_str()),
            _ => None,
        })
    }
    /// Wards and beds of which it holds something.
    pub fn beds(&self) -> Vec<(String, String)> {
        let mut list: Vec<(String, String)> = Vec::new();
        for held in &self.items {
            if let Item::Range { ward, bed, .. } = &held.item {
                let place = (ward.clone(), bed.clone());
                if !list.contains(&place) {
                    list.push(place);
                }
            }
        }
        list
    }
    /// What was confirmed and not withdrawn.
    pub fn confirmed(&self) -> impl Iterator<Item = &Confirmed> {
        self.confirmations.iter().filter(|confirmed| confirmed.withdrawn.is_none())
    }
}
