//! Commands of stations and users, and their answers (the outgoing contract, section 5).
//!
//! [`parse`] is the one door for MQTT and HTTP: what comes out of it is bounded and closed (no unknown member, no member of
//! another verb, no unbounded text). Whoever calls it has proven the user.

use crate::advisory::Status;
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

mod parse;

pub use crate::check::spot_check::Compared;
pub use crate::config::VERBS;
pub use parse::{COMMAND_BYTES_MAX, Refused, is_alert_id, is_comment, is_slug, parse, request_id_of};

/// Longest time on the shelf, minutes.
pub const SHELF_MINUTES_MAX: u8 = 30;

/// How a command came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Mqtt,
    Web,
    Auto,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Verb {
    /// Took note.
    Ack {
        alert: String,
        rev: Option<u64>,
        comment: Option<String>,
    },
    /// Takes the note back.
    Unack {
        alert: String,
    },
    Comment {
        alert: String,
        comment: String,
    },
    /// Puts an alert aside for 1 to 30 minutes; never a high one, never physiology.
    Shelve {
        alert: String,
        rev: Option<u64>,
        minutes: u8,
        reason: String,
    },
    Unshelve {
        alert: String,
    },
    /// Was the alert of use?
    Rate {
        alert: String,
        useful: bool,
    },
    /// What the bedside monitor shows, in canonical units.
    SpotCheck {
        ward: String,
        bed: String,
        values: Vec<(Parameter, f64)>,
    },
    /// Nobody is monitored in a bed (`off`), or somebody is again.
    BedOff {
        ward: String,
        bed: String,
        off: bool,
        reason: Option<String>,
    },
    /// State documents are published anew: of one ward, or all.
    Resync {
        scope: Option<String>,
    },
    /// The way from a listener to the broker is tried out.
    Selftest,
    /// What the site has done about an advisory on one device (`dev-…`).
    Advisory {
        device: String,
        advisory: String,
        status: Status,
        note: Option<String>,
    },
}

impl Verb {
    /// As in the topic.
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Ack { .. } => "ack",
            Verb::Unack { .. } => "unack",
            Verb::Comment { .. } => "comment",
            Verb::Shelve { .. } => "shelve",
            Verb::Unshelve { .. } => "unshelve",
            Verb::Rate { .. } => "rate",
            Verb::SpotCheck { .. } => "spot-check",
            Verb::BedOff { .. } => "bed-off",
            Verb::Resync { .. } => "resync",
            Verb::Selftest => "selftest",
            Verb::Advisory { .. } => "advisory",
        }
    }

    /// The alert that it is about.
    pub fn alert(&self) -> Option<&String> {
        match self {
            Verb::Ack { alert, .. }
            | Verb::Unack { alert }
            | Verb::Comment { alert, .. }
            | Verb::Shelve { alert, .. }
            | Verb::Unshelve { alert }
            | Verb::Rate { alert, .. } => Some(alert),
            _ => None,
        }
    }

    /// What a person wrote into it.
    pub fn words(&self) -> Option<&String> {
        match self {
            Verb::Ack { comment, .. } => comment.as_ref(),
            Verb::Comment { comment, .. } => Some(comment),
            Verb::Shelve { reason, .. } => Some(reason),
            Verb::BedOff { reason, .. } => reason.as_ref(),
            Verb::Advisory { note, .. } => note.as_ref(),
            _ => None,
        }
    }

    /// What it acts on, for the audit: an alert, a bed (`ward/bed`), a device's advisory, a ward.
    pub fn subject(&self) -> Option<String> {
        match self {
            Verb::SpotCheck { ward, bed, .. } | Verb::BedOff { ward, bed, .. } => Some(format!("{ward}/{bed}")),
            Verb::Advisory { device, advisory, .. } => Some(format!("{device}/{advisory}")),
            Verb::Resync { scope } => scope.clone(),
            other => other.alert().cloned(),
        }
    }
}

/// A command that has passed the door: parsed, bounded, its user proven by the topic or the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub request_id: String,
    pub user: String,
    pub via: Via,
    pub expires: Option<Timestamp>,
    /// Wards that the user may see, where they are limited; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wards: Vec<String>,
    #[serde(flatten)]
    pub verb: Verb,
}

impl Command {
    /// Whether its user may see what stands in a ward.
    pub fn sees(&self, ward: &str) -> bool {
        crate::config::sees(&self.wards, ward)
    }
}

/// `ok`, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Refusal {
    NotFound,
    StaleRev,
    Forbidden,
    Expired,
    RetainedRefused,
    UnknownVerb,
    BadRequest,
    /// Not our wish: the disk fails, or too much waits. The only one whose status is `error`.
    Unavailable,
}

impl Refusal {
    /// The code of the contract.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::NotFound => "NOT_FOUND",
            Refusal::StaleRev => "STALE_REV",
            Refusal::Forbidden => "FORBIDDEN",
            Refusal::Expired => "EXPIRED",
            Refusal::RetainedRefused => "RETAINED_REFUSED",
            Refusal::UnknownVerb => "UNKNOWN_VERB",
            Refusal::BadRequest => "BAD_REQUEST",
            Refusal::Unavailable => "UNAVAILABLE",
        }
    }
}

/// One step of a self-test and how long it took, ms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    pub name: String,
    pub ms: f64,
}

/// The answer, before the shell adds `boot` and `site`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    pub request_id: String,
    pub user: String,
    pub verb: String,
    pub refusal: Option<Refusal>,
    pub alert: Option<String>,
    pub alert_state: Option<String>,
    pub rev: Option<u64>,
    pub at: Timestamp,
    /// Of a spot-check.
    pub compared: Vec<Compared>,
    /// Of a self-test; the shell measures them.
    pub hops: Vec<Hop>,
    /// Number of the command in the journal.
    pub record: Option<u64>,
}

impl Response {
    /// `ok`, nothing more to say.
    pub fn new(command: &Command, at: Timestamp) -> Response {
        Response {
            request_id: command.request_id.clone(),
            user: command.user.clone(),
            verb: command.verb.name().to_owned(),
            refusal: None,
            alert: command.verb.alert().cloned(),
            alert_state: None,
            rev: None,
            at,
            compared: Vec::new(),
            hops: Vec::new(),
            record: None,
        }
    }

    /// What never became a command: `verb` and `request_id` as far as they could be read.
    pub fn refused(refused: &Refused, verb: &str, user: &str, at: Timestamp) -> Response {
        Response {
            request_id: refused.request_id.clone().unwrap_or_default(),
            user: user.to_owned(),
            verb: if is_slug(verb, 32) { verb.to_owned() } else { "unknown".into() },
            refusal: Some(refused.refusal),
            alert: None,
            alert_state: None,
            rev: None,
            at,
            compared: Vec::new(),
            hops: Vec::new(),
            record: None,
        }
    }
}
