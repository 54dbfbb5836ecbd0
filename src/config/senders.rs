//! What the site knows of its senders: which ones may speak, and how to read one that needs it said.

use super::Found;
use serde::{Deserialize, Serialize};

/// `[senders]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Senders {
    /// No other sender than those of the list may speak; without it the list only says how to read them.
    pub closed: bool,
    pub sender: Vec<SenderRule>,
}

/// One sender: every criterion that is given must fit; the first rule that fits counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SenderRule {
    /// Slug of the listener.
    pub feed: Option<String>,
    /// Address, or network in CIDR form (`10.20.0.0/16`).
    pub peer: Option<String>,
    /// MSH-3.1 and MSH-4.1, compared case-folded.
    pub application: Option<String>,
    pub facility: Option<String>,
    /// Common name or `sha256:…` of the client's certificate.
    pub certificate: Option<String>,
    /// It must come over TLS.
    pub encrypted: bool,
    /// Dialect of its messages, in place of recognising it.
    pub dialect: Option<String>,
    /// Zone of its times without offset, IANA name.
    pub zone: Option<String>,
    /// Messages with MSH-11 = T or D are a patient's all the same (some gateways are delivered so).
    pub allow_test: bool,
}

impl Senders {
    /// What cannot be.
    pub(super) fn problems(&self, found: &mut Found) {
        if self.closed && self.sender.is_empty() {
            found.add("senders.closed", "the list is closed and empty: no sender could speak");
        }
    }
}
