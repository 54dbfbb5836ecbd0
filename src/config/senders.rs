//! What the site knows of its senders: which ones may speak, and how to read one that needs it said.
//!
//! [`Senders::position`] is the one place where a sender is held against the list. [`SenderBook`] remembers what was found, so that
//! a message of a known sender costs one look-up; without a list it costs nothing.

use super::Found;
use crate::hl7::Message;
use crate::hl7::decode::Advice;
use crate::hl7::dialect::Tables;
use crate::hl7::time::Zone;
use crate::observation::Source;
use rustc_hash::{FxHashMap, FxHasher};
use serde::{Deserialize, Serialize};
use std::hash::Hasher;
use std::net::IpAddr;

/// Rules at most: every new sender is held against all of them.
pub const RULES_MAX: usize = 4096;
/// Senders remembered at most; when full, all are forgotten and looked up anew.
const BOOK_MAX: usize = 16_384;

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
    /// It must have come over TLS.
    pub encrypted: bool,
    /// Dialect of its messages, in place of recognising it. `metavision` also says that it is a clinical system: what it sends is
    /// shown, and not judged.
    pub dialect: Option<String>,
    /// Zone of its times without offset: IANA name, or an offset (`+05:30`).
    pub zone: Option<String>,
    /// Messages with MSH-11 = T or D are a patient's all the same (some gateways are delivered so).
    pub allow_test: bool,
}

impl Senders {
    /// Where the first rule that fits stands in the list. `application` and `facility` are MSH-3 and MSH-4, whole or their first
    /// component.
    pub fn position(&self, source: &Source, application: &str, facility: &str) -> Option<usize> {
        if self.sender.is_empty() {
            return None;
        }
        let peer = source.peer.parse::<IpAddr>().ok();
        self.sender.iter().position(|rule| rule.fits(source, peer, application, facility))
    }

    /// How the decoder is to read the senders of each rule, in the order of the list. A zone or dialect that the configuration
    /// should have refused counts as none.
    pub fn advice(&self, tables: &Tables) -> Vec<Advice> {
        let advice = |rule: &SenderRule| Advice {
            dialect: rule.dialect.as_deref().and_then(|name| tables.position(name)),
            zone: rule.zone.as_deref().and_then(Zone::parse),
            allow_test: rule.allow_test,
        };
        self.sender.iter().map(advice).collect()
    }

    /// What cannot be.
    pub(super) fn problems(&self, found: &mut Found) {
        if self.closed && self.sender.is_empty() {
            found.add("senders.closed", "the list is closed and empty: no sender could speak");
        }
        if self.sender.len() > RULES_MAX {
            found.add("senders.sender", format!("{} rules; {RULES_MAX} at most", self.sender.len()));
        }
        for (at, rule) in self.sender.iter().enumerate() {
            let key = |name: &str| format!("senders.sender.{at}.{name}");
            let any = [&rule.feed, &rule.peer, &rule.application, &rule.facility, &rule.certificate];
            if any.iter().all(|criterion| criterion.is_none()) && !rule.encrypted {
                found.add(key("feed"), "has no criterion: it would fit every sender, and no later rule would count");
            }
            if let Some(feed) = &rule.feed {
                found.slug(key("feed"), feed);
            }
            if let Some(text) = &rule.peer
                && let Err(problem) = Network::parse(text)
            {
                found.add(key("peer"), problem);
            }
            for (name, text) in [("application", &rule.application), ("facility", &rule.facility)] {
                if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                    found.add(key(name), "is empty: leave it out where it does not matter");
                }
            }
            if let Some(certificate) = &rule.certificate {
                let digits = certificate.strip_prefix("sha256:");
                let wrong = |hex: &str| {
                    let hex = hex.replace(':', "");
                    hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit())
                };
                if certificate.trim().is_empty() || digits.is_some_and(wrong) {
                    found.add(key("certificate"), "must be a common name, or sha256: and 64 hex digits");
                }
            }
            if let Some(zone) = rule.zone.as_deref().filter(|zone| Zone::parse(zone).is_none()) {
                found.add(key("zone"), format!("{zone:?} is neither a time zone (Europe/Berlin) nor an offset (+05:30)"));
            }
            found.dialect(&key("dialect"), rule.dialect.as_deref());
        }
    }
}

impl SenderRule {
    /// Whether every criterion that is given fits. `peer` is the source's address, if it is one.
    fn fits(&self, source: &Source, peer: Option<IpAddr>, application: &str, facility: &str) -> bool {
        let is = |wanted: &Option<String>, sent: &str| wanted.as_deref().is_none_or(|wanted| same(wanted, first(sent)));
        self.feed.as_deref().is_none_or(|feed| feed == source.feed)
            && (!self.encrypted || source.encrypted)
            && is(&self.application, application)
            && is(&self.facility, facility)
            && self
                .peer
                .as_deref()
                .is_none_or(|text| peer.is_some_and(|peer| Network::parse(text).is_ok_and(|network| network.contains(peer))))
            && self
                .certificate
                .as_deref()
                .is_none_or(|wanted| source.certificate.as_deref().is_some_and(|shown| names(wanted, shown)))
    }
}

/// The first component of a field that was sent with the usual delimiters.
fn first(field: &str) -> &str {
    field.split('^').next().unwrap_or_default().trim()
}

/// Equal without regard to case and blanks around.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

/// Whether a rule's certificate is the one that was shown (`CN=name sha256:…`). The fingerprint stands last: no name can be
/// taken for it.
fn names(wanted: &str, shown: &str) -> bool {
    let (name, fingerprint) = shown.rsplit_once("sha256:").unwrap_or((shown, ""));
    match wanted.strip_prefix("sha256:") {
        Some(hex) => !fingerprint.is_empty() && hex.replace(':', "").eq_ignore_ascii_case(fingerprint.trim()),
        None => name.trim_end().strip_prefix("CN=").is_some_and(|name| !name.is_empty() && name == wanted),
    }
}

/// An address, or all addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.20.0.5`, `10.20.0.0/16`, `fd00::/8`.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is neither an address nor a network (10.20.0.0/16)");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            // No sign and no leading zeros: `/08` is read differently by different programs.
            Some(bits) => match bits.parse::<u8>() {
                Ok(number) if number <= most && number.to_string() == bits => number,
                _ => return Err(format!("{text:?}: the length after / must be 0 to {most}")),
            },
        };
        let network = Network { address, bits };
        if network.number(address) & !network.mask() != 0 {
            return Err(format!("{text:?} is an address inside a network: the bits after /{bits} must be 0"));
        }
        Ok(network)
    }

    /// Whether an address lies in it; an IPv4 address that is wrapped into an IPv6 one is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = if self.address.is_ipv4() { address.to_canonical() } else { address };
        address.is_ipv4() == self.address.is_ipv4() && self.number(address) & self.mask() == self.number(self.address)
    }

    fn number(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }
}

/// The list, and which of its rules fitted whom before. A pure function of both, so it is no state.
#[derive(Debug, Default)]
pub struct SenderBook {
    senders: Senders,
    known: FxHashMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    /// Feed, peer, certificate, MSH-3, MSH-4.
    texts: [String; 5],
    encrypted: bool,
    position: Option<usize>,
}

impl SenderBook {
    pub fn new(senders: Senders) -> SenderBook {
        SenderBook { senders, known: FxHashMap::default() }
    }

    /// The list itself.
    pub fn senders(&self) -> &Senders {
        &self.senders
    }

    /// The rule of a message: its number.
    pub fn of(&mut self, source: &Source, message: &Message<'_>) -> Option<usize> {
        if self.senders.sender.is_empty() {
            return None;
        }
        let first = |n: usize| message.msh(n).component(1).str();
        self.position(source, first(3), first(4))
    }

    /// As [`Senders::position`].
    pub fn position(&mut self, source: &Source, application: &str, facility: &str) -> Option<usize> {
        if self.senders.sender.is_empty() {
            return None;
        }
        let certificate = source.certificate.as_deref().unwrap_or_default();
        let texts = [&source.feed, &source.peer, certificate, first(application), first(facility)];
        let mut hasher = FxHasher::default();
        for text in texts {
            hasher.write(text.as_bytes());
            hasher.write_u8(0);
        }
        hasher.write_u8(u8::from(source.encrypted));
        let key = hasher.finish();
        if let Some(known) = self.known.get(&key)
            && known.encrypted == source.encrypted
            && known.texts.iter().zip(texts).all(|(known, text)| known == text)
        {
            return known.position;
        }
        let position = self.senders.position(source, application, facility);
        if self.known.len() >= BOOK_MAX {
            self.known.clear();
        }
        self.known.insert(key, Known { texts: texts.map(str::to_owned), encrypted: source.encrypted, position });
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn list(rules: impl IntoIterator<Item = SenderRule>) -> Senders {
        Senders { closed: false, sender: rules.into_iter().collect() }
    }

    fn from(peer: &str) -> Source {
        Source { feed: "icu".into(), peer: peer.into(), ..Source::default() }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        for (network, inside, outside) in [
            ("10.20.0.5", "10.20.0.5", "10.20.0.6"),
            ("10.20.0.0/16", "10.20.255.1", "10.21.0.1"),
            ("10.20.0.0/16", "::ffff:10.20.3.4", "::ffff:10.21.3.4"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::1", "::1", "127.0.0.1"),
            ("::/0", "fe80::1", "10.0.0.1"),
        ] {
            let found = Network::parse(network).unwrap();
            assert!(found.contains(inside.parse().unwrap()), "{inside} is in {network}");
            // `::/0` holds every IPv6 address; an IPv4 one is none.
            assert!(!found.contains(outside.parse().unwrap()), "{outside} is not in {network}");
        }
        for wrong in
            ["", "ward", "10.20.0.0/33", "10.20.0.0/+8", "10.20.0.0/08", "10.20.0.1/16", "10.20/16", "fd00::1/8", "::/129"]
        {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_criterion_must_fit_and_the_first_rule_counts() {
        let narrow = SenderRule {
            peer: some("10.20.0.0/16"),
            application: some("Gateway"),
            facility: some("north"),
            dialect: some("a"),
            ..SenderRule::default()
        };
        let wide = SenderRule { feed: some("icu"), dialect: some("b"), ..SenderRule::default() };
        let senders = list([narrow, wide]);
        let dialect = |peer: &str, application: &str, facility: &str| {
            senders.position(&from(peer), application, facility).and_then(|at| senders.sender[at].dialect.clone())
        };
        assert_eq!(dialect("10.20.1.1", "GATEWAY^0002A5FFFE000001^EUI-64", "North"), some("a"));
        assert_eq!(dialect("10.21.1.1", "GATEWAY", "North"), some("b"), "another network");
        assert_eq!(dialect("10.20.1.1", "GATEWAY2", "North"), some("b"), "another application");
        assert_eq!(dialect("yesterday.hl7", "GATEWAY", "North"), some("b"), "a file has no address");
        assert_eq!(senders.position(&Source { feed: "or".into(), ..from("10.20.1.1") }, "X", ""), None);
    }

    #[test]
    fn a_certificate_is_told_by_its_name_or_fingerprint() {
        let hex = "ab".repeat(32);
        let shown = |text: &str| Source { certificate: some(text), encrypted: true, ..from("192.0.2.1") };
        let fits = |rule: &str, text: &str| {
            let senders = list([SenderRule { certificate: some(rule), encrypted: true, ..SenderRule::default() }]);
            senders.position(&shown(text), "", "").is_some()
        };
        assert!(fits("gateway 1", &format!("CN=gateway 1 sha256:{hex}")));
        assert!(!fits("gateway", &format!("CN=gateway 1 sha256:{hex}")));
        assert!(!fits("", &format!("CN= sha256:{hex}")));
        assert!(fits(&format!("sha256:{}", hex.to_uppercase()), &format!("CN=gateway 1 sha256:{hex}")));
        let colons: Vec<&str> = std::iter::repeat_n("AB", 32).collect();
        assert!(fits(&format!("sha256:{}", colons.join(":")), &format!("CN=x sha256:{hex}")));
        // A name that is written like a fingerprint is a name.
        let other = "cd".repeat(32);
        assert!(!fits(&format!("sha256:{hex}"), &format!("CN=x sha256:{hex} sha256:{other}")));
        let plain = Source { encrypted: false, certificate: None, ..from("192.0.2.1") };
        let senders = list([SenderRule { encrypted: true, ..SenderRule::default() }]);
        assert!(senders.position(&plain, "", "").is_none());
    }

    #[test]
    fn the_book_says_what_the_list_says() {
        let senders = list([
            SenderRule { peer: some("10.20.0.0/16"), ..SenderRule::default() },
            SenderRule { application: some("MON"), ..SenderRule::default() },
        ]);
        let mut book = SenderBook::new(senders.clone());
        for round in 0..2 {
            for peer in ["10.20.0.1", "10.21.0.1"] {
                for application in ["MON", "mon^1", "X"] {
                    let source = from(peer);
                    let expected = senders.position(&source, application, "");
                    assert_eq!(book.position(&source, application, ""), expected, "{round} {peer} {application}");
                }
            }
        }
        for n in 0..(BOOK_MAX as u32 + 10) {
            book.position(&from(&format!("10.20.{}.{}", n >> 8 & 255, n & 255)), "X", &n.to_string());
        }
        assert!(book.known.len() <= BOOK_MAX);
        assert_eq!(SenderBook::default().position(&from("10.20.0.1"), "MON", ""), None);
    }

    #[test]
    fn what_cannot_be_is_said_with_its_key() {
        let rule = SenderRule {
            feed: some("not a slug"),
            peer: some("10.20.0.1/16"),
            application: some(" "),
            certificate: some("sha256:12"),
            zone: some("Middle/Earth"),
            dialect: some("klingon"),
            ..SenderRule::default()
        };
        let mut found = Found(Vec::new());
        list([SenderRule::default(), rule]).problems(&mut found);
        let keys: Vec<&str> = found.0.iter().map(|problem| problem.key.rsplit('.').next().unwrap()).collect();
        assert_eq!(keys, ["feed", "feed", "peer", "application", "certificate", "zone", "dialect"]);
        assert!(found.0[6].message.contains("ihe_pcd01"), "{}", found.0[6].message);
    }

    #[test]
    fn zones_and_dialects_of_site_and_listeners_are_known_ones() {
        let keys = |change: fn(&mut crate::config::Config)| -> Vec<String> {
            let mut config = crate::config::Config::default();
            change(&mut config);
            config.problems().into_iter().map(|problem| problem.key).collect()
        };
        assert_eq!(keys(|c| c.zone = "Middle/Earth".into()), ["zone"]);
        assert_eq!(keys(|c| c.zone = "+05:30".into()), ["zone"], "a site has summer time: a name is needed");
        assert_eq!(keys(|c| c.mllp[0].zone = some("Europe/Roma")), ["mllp.0.zone"]);
        assert_eq!(keys(|c| c.mllp[0].dialect = some("klingon")), ["mllp.0.dialect"]);
        assert!(keys(|c| c.mllp[0].dialect = some("mindray_pds")).is_empty());
        let fixed = |c: &mut crate::config::Config| {
            c.senders = list([SenderRule { peer: some("10.0.0.1"), zone: some("+05:30"), ..SenderRule::default() }]);
        };
        assert!(keys(fixed).is_empty(), "a sender without summer time may be given by its offset");
    }
}
