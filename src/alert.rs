//! What leaves the house: alerts, their events, and the state documents of beds and wards (the outgoing contract, version 1).
//!
//! The types hold what the core knows; [`Envelope`] adds what only the publisher knows (boot, replay), and `to_json` writes
//! compact JSON with the members in schema order, the same bytes for the same document. Every document can be read back.
//! A value that is not fresh is `null` with a trust word, never 0 and never the last value.

use crate::advisory::{Level, Status};
use crate::check::{Assessment, Class, Priority};
use crate::command::Via;
use crate::time::Timestamp;
use crate::vital::Parameter;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A bed document is not to be believed after this, seconds after its `ts`.
pub const BED_VALID_S: f64 = 150.0;
/// The same for a ward document.
pub const WARD_VALID_S: f64 = 30.0;
/// Evidence rows of one alert at most.
pub const EVIDENCE_MAX: usize = 8;
/// Size of the bed list of one ward document at most, bytes; more goes to `state/1`, `state/2`, …
pub const WARD_BEDS_BYTES_MAX: usize = 18_000;

/// What only the publisher knows of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub site: String,
    /// UUID v7 of this start of the publisher; `replay-{run}` for a recording.
    pub boot: String,
    /// Present exactly when made from a recording.
    pub replay: Option<ReplayRef>,
    /// Whether alerts carry the path under which HTTP shows them.
    pub href: bool,
}

/// Which recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRef {
    pub run: String,
    pub source: String,
}

/// A JSON number: integers without a fraction, others rounded to four decimals (a converted unit has no more to say).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rounded = (self.0 * 1e4).round() / 1e4;
        if !rounded.is_finite() {
            serializer.serialize_none()
        } else if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
            serializer.serialize_i64(rounded as i64)
        } else {
            serializer.serialize_f64(rounded)
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        f64::deserialize(deserializer).map(Number)
    }
}

/// A JSON object whose members keep their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Members<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for Members<K, V> {
    fn default() -> Self {
        Members(Vec::new())
    }
}

impl<K: Serialize, V: Serialize> Serialize for Members<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Members<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<K, V>(std::marker::PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<K, V> {
            type Value = Members<K, V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// RFC 3339 in UTC, for serde's `with`.
pub(crate) mod rfc3339 {
    use super::*;
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let instant: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Timestamp::from_ms(instant.as_millisecond()))
    }
    pub mod option {
        use super::*;
        #[derive(Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "super")] Timestamp);
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            at.map(Wrapped).serialize(serializer)
        }
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|w| w.0))
        }
    }
}

/// One sentence in every language that we speak.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub en: String,
    pub it: String,
}

/// How far a value can be trusted. The order is that of a bed's worst parameter; `Off` and `Nofeed` stand above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    Plausible,
    Learning,
    Stale,
    Questioned,
    Untrusted,
    Nofeed,
    Off,
}

impl Trust {
    pub const ALL: [Trust; 7] =
        [Trust::Plausible, Trust::Learning, Trust::Questioned, Trust::Untrusted, Trust::Stale, Trust::Nofeed, Trust::Off];
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trust::Plausible => "plausible",
            Trust::Learning => "learning",
            Trust::Stale => "stale",
            Trust::Questioned => "questioned",
            Trust::Untrusted => "untrusted",
            Trust::Nofeed => "nofeed",
            Trust::Off => "off",
        }
    }
    /// The number used in `flat`.
    pub const fn code(self) -> u8 {
        match self {
            Trust::Plausible => 0,
            Trust::Learning => 1,
            Trust::Questioned => 2,
            Trust::Untrusted => 3,
            Trust::Stale => 4,
            Trust::Nofeed => 5,
            Trust::Off => 6,
        }
    }
}

/// Where an alert stands between a person and its end. Only `Cleared` leaves `active[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Active,
    Acknowledged,
    Shelved,
    /// A high whose condition ended before anyone acknowledged it.
    Latched,
    Cleared,
}

impl AlertState {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlertState::Active => "active",
            AlertState::Acknowledged => "acknowledged",
            AlertState::Shelved => "shelved",
            AlertState::Latched => "latched",
            AlertState::Cleared => "cleared",
        }
    }
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Raised,
    Updated,
    Acknowledged,
    Unacknowledged,
    Shelved,
    Unshelved,
    Escalated,
    Lowered,
    Cleared,
    Expired,
}

impl EventKind {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Raised => "raised",
            EventKind::Updated => "updated",
            EventKind::Acknowledged => "acknowledged",
            EventKind::Unacknowledged => "unacknowledged",
            EventKind::Shelved => "shelved",
            EventKind::Unshelved => "unshelved",
            EventKind::Escalated => "escalated",
            EventKind::Lowered => "lowered",
            EventKind::Cleared => "cleared",
            EventKind::Expired => "expired",
        }
    }
}

/// Why an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Rule,
    Operator,
    Collapse,
    Discharge,
    Config,
    Shutdown,
}

/// What one check compared: a reader can redo the comparison from `value`, `limit` and `window_s`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub check: String,
    pub class: Class,
    /// 0 to 1; 1 is a hard rule.
    pub score: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Number>,
    /// UCUM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<Number>,
    /// MSH-10 as received, or its keyed hash (`m-…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obx_id: Option<u32>,
    /// Journal key of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub effective_at: Option<Timestamp>,
    pub text: Text,
}

/// Who took note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acked {
    pub user: String,
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    pub via: Via,
    /// Only where publishing comments is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Who put it aside, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shelved {
    pub user: String,
    #[serde(with = "rfc3339")]
    pub until: Timestamp,
    pub reason: String,
}

/// An alert: the same object in `active[]` and in events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub id: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub site: String,
    pub ward: String,
    pub bed: String,
    /// `T03 flat_line`.
    pub condition: String,
    pub assessment: Assessment,
    pub priority: Priority,
    pub state: AlertState,
    pub params: Vec<Parameter>,
    #[serde(with = "rfc3339")]
    pub onset: Timestamp,
    #[serde(with = "rfc3339")]
    pub raised: Timestamp,
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub ended: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub cleared: Option<Timestamp>,
    /// Occurrences folded into this alert.
    pub count: u64,
    /// 0 to 0.99: strength of the fused evidence, not a probability of attack.
    pub confidence: Number,
    pub text: Text,
    pub action: Text,
    #[serde(default, skip_serializing_if = "no_members")]
    pub args: Members<String, Number>,
    /// Strongest first, at most [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<Acked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shelved: Option<Shelved>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause_of: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `dev-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `sha256:` and 16 hex digits.
    pub model: String,
    /// Filled by `to_json` where the envelope asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub href: Option<String>,
}

fn no_members(members: &Members<String, Number>) -> bool {
    members.0.is_empty()
}

impl Alert {
    fn with_href(&self, envelope: &Envelope) -> Cow<'_, Alert> {
        if !envelope.href {
            return Cow::Borrowed(self);
        }
        let href = Some(format!("/api/v1/alerts/{}", self.id));
        Cow::Owned(Alert { href, ..self.clone() })
    }
    /// The alert alone, as HTTP shows it.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&self.with_href(envelope))
    }
}

/// `A-{fp}-{onset}`: `fp` is the first 12 hex digits of SHA-256 over `site LF ward/bed LF condition id LF params`.
/// `params` are sorted by key.
pub fn alert_id(site: &str, ward: &str, bed: &str, check: &str, params: &[Parameter], onset: Timestamp) -> String {
    let mut keys: Vec<&str> = params.iter().map(|p| p.key()).collect();
    keys.sort_unstable();
    let text = format!("{site}\n{ward}/{bed}\n{check}\n{}", keys.join(","));
    format!("A-{}-{}", hex(&Sha256::digest(text.as_bytes())[..6]), onset.compact())
}

/// The first 8 hex digits of SHA-256 over the id, as `1D15-DB51`: short enough for the telephone.
pub fn reference(id: &str) -> String {
    let digits = hex(&Sha256::digest(id.as_bytes())[..4]).to_uppercase();
    format!("{}-{}", &digits[..4], &digits[4..])
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// So many bytes, from lower-case hexadecimal digits.
pub(crate) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// Compact JSON. Our documents hold nothing that cannot be written (keys are strings, numbers are finite or null).
fn json<T: Serialize>(document: &T) -> String {
    serde_json::to_string(document).expect("documents have string keys and write to memory")
}

/// Priority and state before an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    pub priority: Priority,
    pub state: AlertState,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub user: String,
    pub via: Via,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// One lifecycle event of an alert (`alert-event/1`). Consumers drop repeats by (`alert.id`, `seq`).
#[derive(Debug, Clone, PartialEq)]
pub struct AlertEvent {
    pub event: EventKind,
    /// From 1, gapless for each alert.
    pub seq: u64,
    pub ts: Timestamp,
    pub alert: Alert,
    /// Absent on `raised`.
    pub prev: Option<Previous>,
    /// A person or timer that acted.
    pub by: Option<By>,
    pub cause: Cause,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertEventDocument<'a> {
    schema: Cow<'a, str>,
    event: EventKind,
    seq: u64,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: Cow<'a, str>,
    site: Cow<'a, str>,
    ward: Cow<'a, str>,
    bed: Cow<'a, str>,
    r#use: Cow<'a, str>,
    alert: Cow<'a, Alert>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev: Option<Previous>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, By>>,
    cause: Cause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Cow<'a, ReplayRef>>,
}

impl AlertEvent {
    /// The priority topics on which it is published: the present one, and the old one where it changed.
    pub fn topics(&self) -> (Priority, Option<Priority>) {
        (self.alert.priority, self.prev.map(|p| p.priority).filter(|p| *p != self.alert.priority))
    }
    /// The document, members in schema order.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&AlertEventDocument {
            schema: "alert-event/1".into(),
            event: self.event,
            seq: self.seq,
            ts: self.ts,
            ts_ms: self.ts.ms(),
            boot: (&envelope.boot).into(),
            site: (&envelope.site).into(),
            ward: (&self.alert.ward).into(),
            bed: (&self.alert.bed).into(),
            r#use: "advisory".into(),
            alert: self.alert.with_href(envelope),
            prev: self.prev,
            by: self.by.as_ref().map(Cow::Borrowed),
            cause: self.cause,
            replay: envelope.replay.as_ref().map(Cow::Borrowed),
        })
    }
    /// Reads a document back, with what the envelope said.
    pub fn from_json(text: &str) -> Result<(AlertEvent, Envelope), serde_json::Error> {
        let d: AlertEventDocument<'_> = serde_json::from_str(text)?;
        let mut alert = d.alert.into_owned();
        let href = alert.href.take().is_some();
        let by = d.by.map(Cow::into_owned);
        let envelope =
            Envelope { site: d.site.into_owned(), boot: d.boot.into_owned(), replay: d.replay.map(Cow::into_owned), href };
        Ok((AlertEvent { event: d.event, seq: d.seq, ts: d.ts, alert, prev: d.prev, by, cause: d.cause }, envelope))
    }
}

/// One parameter in the bed document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BedParameter {
    /// As received, in the canonical unit; `None` is stale or nofeed.
    pub value: Option<Number>,
    /// UCUM.
    pub unit: String,
    pub trust: Trust,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub last_ts: Option<Timestamp>,
    /// What the bed's own statistics expect now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<[Number; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ids of the open conditions that touch it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

/// The device of a bed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRef {
    /// `dev-…`.
    pub id: String,
    /// Open advisories on what stands at the bed, exact and family matches.
    pub advisories: u32,
    /// As declared, never proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The truth about one bed (`bed-state/1`, retained).
#[derive(Debug, Clone, PartialEq)]
pub struct BedState {
    pub ts: Timestamp,
    pub rev: u64,
    pub ward: String,
    pub bed: String,
    pub trust: Trust,
    /// Worst open priority.
    pub priority: Option<Priority>,
    /// A baseline of this bed is not ready.
    pub learning: bool,
    pub params: Members<Parameter, BedParameter>,
    /// Every open alert, high first, then by onset.
    pub active: Vec<Alert>,
    pub device: Option<DeviceRef>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BedStateDocument<'a> {
    schema: Cow<'a, str>,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: Cow<'a, str>,
    rev: u64,
    #[serde(with = "rfc3339")]
    valid_until: Timestamp,
    site: Cow<'a, str>,
    ward: Cow<'a, str>,
    bed: Cow<'a, str>,
    r#use: Cow<'a, str>,
    trust: Trust,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    learning: bool,
    params: Cow<'a, Members<Parameter, BedParameter>>,
    active: Vec<Cow<'a, Alert>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Cow<'a, DeviceRef>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Cow<'a, ReplayRef>>,
}

impl BedState {
    /// The document, members in schema order.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&BedStateDocument {
            schema: "bed-state/1".into(),
            ts: self.ts,
            ts_ms: self.ts.ms(),
            boot: (&envelope.boot).into(),
            rev: self.rev,
            valid_until: self.ts.plus_s(BED_VALID_S),
            site: (&envelope.site).into(),
            ward: (&self.ward).into(),
            bed: (&self.bed).into(),
            r#use: "advisory".into(),
            trust: self.trust,
            priority: self.priority,
            learning: self.learning,
            params: Cow::Borrowed(&self.params),
            active: self.active.iter().map(|a| a.with_href(envelope)).collect(),
            device: self.device.as_ref().map(Cow::Borrowed),
            replay: envelope.replay.as_ref().map(Cow::Borrowed),
        })
    }
    /// Reads a document back.
    pub fn from_json(text: &str) -> Result<(BedState, Envelope), serde_json::Error> {
        let d: BedStateDocument<'_> = serde_json::from_str(text)?;
        let mut href = false;
        let active = d
            .active
            .into_iter()
            .map(|alert| {
                let mut alert = alert.into_owned();
                href |= alert.href.take().is_some();
                alert
            })
            .collect();
        let envelope =
            Envelope { site: d.site.into_owned(), boot: d.boot.into_owned(), replay: d.replay.map(Cow::into_owned), href };
        let state = BedState {
            ts: d.ts,
            rev: d.rev,
            ward: d.ward.into_owned(),
            bed: d.bed.into_owned(),
            trust: d.trust,
            priority: d.priority,
            learning: d.learning,
            params: d.params.into_owned(),
            active,
            device: d.device.map(Cow::into_owned),
        };
        Ok((state, envelope))
    }
}

/// Beds by trust.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustCounts {
    pub plausible: u32,
    pub learning: u32,
    pub questioned: u32,
    pub untrusted: u32,
    pub stale: u32,
    pub nofeed: u32,
    pub off: u32,
}

impl TrustCounts {
    pub fn add(&mut self, trust: Trust) {
        match trust {
            Trust::Plausible => self.plausible += 1,
            Trust::Learning => self.learning += 1,
            Trust::Questioned => self.questioned += 1,
            Trust::Untrusted => self.untrusted += 1,
            Trust::Stale => self.stale += 1,
            Trust::Nofeed => self.nofeed += 1,
            Trust::Off => self.off += 1,
        }
    }
}

/// Alerts by priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityCounts {
    pub high: u32,
    pub medium: u32,
    pub low: u32,
    pub info: u32,
}

impl PriorityCounts {
    pub fn add(&mut self, priority: Priority) {
        match priority {
            Priority::High => self.high += 1,
            Priority::Medium => self.medium += 1,
            Priority::Low => self.low += 1,
            Priority::Info => self.info += 1,
        }
    }
}

/// The worst alert of a bed, in the ward document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Top {
    pub id: String,
    pub condition: String,
    pub assessment: Assessment,
    #[serde(with = "rfc3339")]
    pub onset: Timestamp,
}

/// One bed in the ward document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WardBed {
    pub bed: String,
    pub trust: Trust,
    pub rev: u64,
    pub alerts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacked: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<Top>,
}

/// One part of a ward at a glance (`ward-state/1`, retained). The counts are of the whole ward.
#[derive(Debug, Clone, PartialEq)]
pub struct WardState {
    pub ts: Timestamp,
    pub rev: u64,
    pub ward: String,
    pub part: u32,
    pub parts: u32,
    pub trust: TrustCounts,
    pub alerts: PriorityCounts,
    pub unacked: PriorityCounts,
    pub beds: Vec<WardBed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WardStateDocument<'a> {
    schema: Cow<'a, str>,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: Cow<'a, str>,
    rev: u64,
    #[serde(with = "rfc3339")]
    valid_until: Timestamp,
    site: Cow<'a, str>,
    ward: Cow<'a, str>,
    r#use: Cow<'a, str>,
    part: u32,
    parts: u32,
    trust: TrustCounts,
    alerts: PriorityCounts,
    unacked: PriorityCounts,
    beds: Cow<'a, [WardBed]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Cow<'a, ReplayRef>>,
}

impl WardState {
    /// The topic below the site: `ward/{ward}/state`, `ward/{ward}/state/1`, …
    pub fn topic(&self) -> String {
        let ward = &self.ward;
        if self.part == 0 { format!("ward/{ward}/state") } else { format!("ward/{ward}/state/{}", self.part) }
    }
    /// Splits a ward into parts whose bed lists stay below [`WARD_BEDS_BYTES_MAX`].
    pub fn split(whole: WardState) -> Vec<WardState> {
        let mut lists: Vec<Vec<WardBed>> = vec![Vec::new()];
        let mut bytes = 0;
        for bed in whole.beds {
            let size = json(&bed).len() + 1;
            if bytes + size > WARD_BEDS_BYTES_MAX && bytes > 0 {
                lists.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            lists.last_mut().expect("begins with one list").push(bed);
        }
        let parts = lists.len() as u32;
        lists
            .into_iter()
            .zip(0..)
            .map(|(beds, part)| WardState {
                beds,
                part,
                parts,
                ward: whole.ward.clone(),
                ..WardState { beds: Vec::new(), ward: String::new(), ..whole }
            })
            .collect()
    }
    /// The document, members in schema order.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&WardStateDocument {
            schema: "ward-state/1".into(),
            ts: self.ts,
            ts_ms: self.ts.ms(),
            boot: (&envelope.boot).into(),
            rev: self.rev,
            valid_until: self.ts.plus_s(WARD_VALID_S),
            site: (&envelope.site).into(),
            ward: (&self.ward).into(),
            r#use: "advisory".into(),
            part: self.part,
            parts: self.parts,
            trust: self.trust,
            alerts: self.alerts,
            unacked: self.unacked,
            beds: Cow::Borrowed(&self.beds),
            replay: envelope.replay.as_ref().map(Cow::Borrowed),
        })
    }
    /// Reads a document back.
    pub fn from_json(text: &str) -> Result<(WardState, Envelope), serde_json::Error> {
        let d: WardStateDocument<'_> = serde_json::from_str(text)?;
        let envelope =
            Envelope { site: d.site.into_owned(), boot: d.boot.into_owned(), replay: d.replay.map(Cow::into_owned), href: false };
        let state = WardState {
            ts: d.ts,
            rev: d.rev,
            ward: d.ward.into_owned(),
            part: d.part,
            parts: d.parts,
            trust: d.trust,
            alerts: d.alerts,
            unacked: d.unacked,
            beds: d.beds.into_owned(),
        };
        Ok((state, envelope))
    }
}

/// One parameter in `vitals/1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vital {
    pub value: Option<Number>,
    pub trust: Trust,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<i64>,
}

/// Values and trust of one bed, without unit, band and codes (`vitals/1`, not retained).
#[derive(Debug, Clone, PartialEq)]
pub struct Vitals {
    pub ts: Timestamp,
    pub ward: String,
    pub bed: String,
    pub trust: Trust,
    pub params: Members<Parameter, Vital>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VitalsDocument<'a> {
    schema: Cow<'a, str>,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: Cow<'a, str>,
    site: Cow<'a, str>,
    ward: Cow<'a, str>,
    bed: Cow<'a, str>,
    trust: Trust,
    params: Cow<'a, Members<Parameter, Vital>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay: Option<Cow<'a, ReplayRef>>,
}

impl Vitals {
    /// The document, members in schema order.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&VitalsDocument {
            schema: "vitals/1".into(),
            ts: self.ts,
            ts_ms: self.ts.ms(),
            boot: (&envelope.boot).into(),
            site: (&envelope.site).into(),
            ward: (&self.ward).into(),
            bed: (&self.bed).into(),
            trust: self.trust,
            params: Cow::Borrowed(&self.params),
            replay: envelope.replay.as_ref().map(Cow::Borrowed),
        })
    }
    /// Reads a document back.
    pub fn from_json(text: &str) -> Result<(Vitals, Envelope), serde_json::Error> {
        let d: VitalsDocument<'_> = serde_json::from_str(text)?;
        let envelope =
            Envelope { site: d.site.into_owned(), boot: d.boot.into_owned(), replay: d.replay.map(Cow::into_owned), href: false };
        let vitals = Vitals {
            ts: d.ts,
            ward: d.ward.into_owned(),
            bed: d.bed.into_owned(),
            trust: d.trust,
            params: d.params.into_owned(),
        };
        Ok((vitals, envelope))
    }
}

/// Numbers only, one level (`flat`, not retained): a value that is not fresh is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Flat {
    pub ts: Timestamp,
    pub trust: Trust,
    pub alerts: u32,
    /// Value where fresh, and trust.
    pub params: Vec<(Parameter, Option<f64>, Trust)>,
}

impl Flat {
    /// The document: `{"ts_ms":…,"trust":3,"alerts":1,"hr":72,"hr_trust":3,…}`.
    pub fn to_json(&self) -> String {
        let mut members: Vec<(String, Number)> = Vec::with_capacity(3 + 2 * self.params.len());
        members.push(("ts_ms".into(), Number(self.ts.ms() as f64)));
        members.push(("trust".into(), Number(f64::from(self.trust.code()))));
        members.push(("alerts".into(), Number(f64::from(self.alerts))));
        for (parameter, value, trust) in &self.params {
            if let Some(value) = value {
                members.push((parameter.key().into(), Number(*value)));
            }
            members.push((format!("{}_trust", parameter.key()), Number(f64::from(trust.code()))));
        }
        json(&Members(members))
    }
}

/// What happened to a device (`device-event/1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceEventKind {
    New,
    Advisory,
    Moved,
    Skew,
}

/// The advisory of a device event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvisoryRef {
    pub id: String,
    pub title: String,
    /// `YYYY-MM-DD`.
    pub published: String,
    pub status: Status,
}

/// A device was seen first, is named by an advisory, is at another bed, or has another clock (`device-event/1`). `ward` and `bed`
/// are absent while it is unassigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEvent {
    pub ts: Timestamp,
    /// `dev-…`.
    pub device: String,
    pub event: DeviceEventKind,
    pub ward: Option<String>,
    pub bed: Option<String>,
    /// As declared, never proof.
    pub model: Option<String>,
    /// How sure the match with `advisory` is.
    pub matched: Option<Level>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub advisory: Option<AdvisoryRef>,
    /// Old and new place, or old and new skew in ms.
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Serialize)]
struct DeviceEventDocument<'a> {
    schema: &'static str,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: &'a str,
    site: &'a str,
    device: &'a str,
    event: DeviceEventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    ward: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matched: Option<Level>,
    #[serde(with = "rfc3339")]
    first_seen: Timestamp,
    #[serde(with = "rfc3339")]
    last_seen: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    advisory: Option<&'a AdvisoryRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a ReplayRef>,
}

impl DeviceEvent {
    /// The document, members in schema order.
    pub fn to_json(&self, envelope: &Envelope) -> String {
        json(&DeviceEventDocument {
            schema: "device-event/1",
            ts: self.ts,
            ts_ms: self.ts.ms(),
            boot: &envelope.boot,
            site: &envelope.site,
            device: &self.device,
            event: self.event,
            ward: self.ward.as_deref(),
            bed: self.bed.as_deref(),
            model: self.model.as_deref(),
            matched: self.matched,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            advisory: self.advisory.as_ref(),
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            replay: envelope.replay.as_ref(),
        })
    }
}

#[cfg(test)]
mod tests;
