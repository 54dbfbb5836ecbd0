//! Commands of stations and users, and their answers (the outgoing contract, section 5).

use crate::advisory::Status;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

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
    Ack {
        alert: String,
        rev: Option<u64>,
        comment: Option<String>,
    },
    Comment {
        alert: String,
        comment: String,
    },
    /// What the site has done about an advisory on one device (`dev-…`).
    Advisory {
        device: String,
        advisory: String,
        status: Status,
        note: Option<String>,
    },
}

/// A command that has passed the door: parsed, bounded, its user proven by the topic or the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub request_id: String,
    pub user: String,
    pub via: Via,
    pub expires: Option<Timestamp>,
    #[serde(flatten)]
    pub verb: Verb,
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
}
