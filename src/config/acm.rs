//! Alerts to an alert manager over MLLP (IHE ACM, transaction PCD-04).

use super::{ClientIdentity, Found, LANGUAGES, Plaintext};
use crate::check::Priority;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// `[acm]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acm {
    /// The alert manager, `host:port`; none: nothing is sent.
    pub address: Option<String>,
    /// MSH-5 and MSH-6.
    pub application: String,
    pub facility: String,
    /// Alerts of this priority and above, once they have reached it; `low` leaves out what is for the engineers' list.
    pub least: Priority,
    /// Also when only numbers or evidence have changed (every few seconds while a condition lasts).
    pub updates: bool,
    /// Language of the texts.
    pub language: String,
    /// TLS.
    pub encrypted: bool,
    /// Authority of the receiver's certificate; default: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and key, for a receiver that wants mutual TLS.
    pub client: Option<ClientIdentity>,
    pub plaintext: Option<Plaintext>,
    /// An answer must come within, seconds.
    pub answer_timeout_s: f64,
    /// Between attempts at most, seconds; the first waits one second, each further one twice as long.
    pub retry_max_s: f64,
    /// A message that the receiver answers with an error (AE, CE) is sent so often, then left out and counted.
    pub tries: u32,
    /// An alert that was never told and is over is not told after, seconds (a receiver that was away).
    pub expire_s: f64,
}

impl Default for Acm {
    fn default() -> Self {
        Acm {
            address: None,
            application: "ALERT-MANAGER".into(),
            facility: String::new(),
            least: Priority::Low,
            updates: false,
            language: "en".into(),
            encrypted: false,
            ca: None,
            client: None,
            plaintext: None,
            answer_timeout_s: 10.0,
            retry_max_s: 60.0,
            tries: 8,
            expire_s: 3600.0,
        }
    }
}

impl Acm {
    /// Host and port; `None`: it is no address.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.as_deref()?.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let good =
            !host.is_empty() && host.len() <= 253 && !host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/');
        port.parse().ok().filter(|port| good && *port != 0).map(|port| (host, port))
    }

    pub(super) fn problems(&self, found: &mut Found) {
        if self.address.is_some() {
            match self.host_and_port() {
                None => found.add("acm.address", "must be host:port"),
                Some((host, _)) => {
                    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                    if !loopback && !self.encrypted && self.plaintext.is_none() {
                        found.add(
                            "acm.address",
                            "plain text beyond loopback: set encrypted = true, or write plaintext = \"allowed\"",
                        );
                    }
                }
            }
        }
        if !self.encrypted {
            for (key, set) in [("acm.ca", self.ca.is_some()), ("acm.client", self.client.is_some())] {
                if set {
                    found.add(key, "is for TLS, and acm.encrypted is false");
                }
            }
        }
        for (key, text) in [("acm.application", &self.application), ("acm.facility", &self.facility)] {
            if text.chars().count() > 120 || text.chars().any(char::is_control) {
                found.add(key, "at most 120 characters, no control characters");
            }
        }
        if !LANGUAGES.contains(&self.language.as_str()) {
            found.add("acm.language", format!("{:?}: known are {}", self.language, LANGUAGES.join(", ")));
        }
        for (key, seconds) in [
            ("acm.answer_timeout_s", self.answer_timeout_s),
            ("acm.retry_max_s", self.retry_max_s),
            ("acm.expire_s", self.expire_s),
        ] {
            if !(1.0..=86_400.0).contains(&seconds) {
                found.add(key, "from 1 to 86400 seconds");
            }
        }
        if !(1..=100).contains(&self.tries) {
            found.add("acm.tries", "from 1 to 100");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn said(acm: Acm) -> Vec<String> {
        Config { acm, ..Config::default() }.problems().into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn an_address_is_host_and_port_and_plain_text_leaves_the_machine_only_by_the_word() {
        let at = |address: &str| Acm { address: Some(address.into()), ..Acm::default() };
        assert_eq!(said(Acm::default()), Vec::<String>::new());
        assert_eq!(said(at("127.0.0.1:2576")), Vec::<String>::new());
        assert_eq!(said(at("[::1]:2576")), Vec::<String>::new());
        assert_eq!(said(at("alerts.example:2576")), ["acm.address"]);
        assert_eq!(said(Acm { encrypted: true, ..at("alerts.example:2576") }), Vec::<String>::new());
        assert_eq!(said(Acm { plaintext: Some(Plaintext::Allowed), ..at("10.0.0.9:2576") }), Vec::<String>::new());
        for wrong in ["alerts", ":2576", "a b:1", "h:0", "h:70000", "http://h:1"] {
            assert_eq!(said(at(wrong)), ["acm.address"], "{wrong}");
        }
        assert_eq!(
            said(Acm { ca: Some("x".into()), tries: 0, expire_s: f64::NAN, ..at("[::1]:1") }),
            ["acm.ca", "acm.expire_s", "acm.tries"]
        );
    }
}
