//! The documents of the installation itself (status, info, heartbeat, feeds, answers), and their signature.
//!
//! One contract: what is written here is compact JSON with the members in the order of the outgoing contract, version 1.
//! Documents of beds, wards and alerts are written by [`crate::alert`], commands are read by [`crate::command::parse`]. Pure:
//! time is an argument.

use crate::alert::{Number, rfc3339};
pub use crate::alert::{PriorityCounts, TrustCounts};
pub use crate::command::{COMMAND_BYTES_MAX, is_alert_id, is_comment, is_slug};
use crate::command::{Compared, Hop, Refusal, Response};
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

pub mod acm;
mod case;
pub mod fhir;
mod seal;

pub use case::{ClockLine, case_status};
pub use seal::{Key, Proof, Seal, sign};

/// A retained document that lives on `valid_until` is believed so long, milliseconds (bed and feed: 150 s).
pub const FEED_VALID_MS: i64 = 150_000;

/// What every document of one run shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// UUID v7 of this run; `replay-{run}` in a replay.
    pub boot: String,
    pub site: String,
}

fn compact<T: Serialize>(document: &T) -> Vec<u8> {
    // Only maps with non-string keys and failing Serialize implementations make this fail; there is neither here.
    serde_json::to_vec(document).unwrap_or_default()
}

/// `online` (birth) or `offline` (will): `sys-status/1`.
pub fn sys_status(origin: &Origin, at: Timestamp, online: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct SysStatus<'a> {
        schema: &'static str,
        #[serde(with = "rfc3339")]
        ts: Timestamp,
        ts_ms: i64,
        boot: &'a str,
        site: &'a str,
        state: &'static str,
    }
    compact(&SysStatus {
        schema: "sys-status/1",
        ts: at,
        ts_ms: at.ms(),
        boot: &origin.boot,
        site: &origin.site,
        state: if online { "online" } else { "offline" },
    })
}

/// What `sys-info/1` says beside its envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SysInfo {
    pub version: String,
    pub build: String,
    /// `sha256:` + 16 hex digits.
    pub config: String,
    /// `sha256:` + 64 hex digits.
    pub model: String,
    /// `sha256:` + 16 hex digits.
    pub checks: String,
    pub languages: Vec<String>,
    /// Path of the JSON Schemas.
    pub schemas: String,
    /// Path of the AsyncAPI document.
    pub asyncapi: String,
    pub retained: RetainedBudget,
    pub journal: JournalHead,
    pub wards: Vec<WardInfo>,
    pub removed: Vec<Removed>,
}

/// Retained documents: hard limit and how many there should be now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetainedBudget {
    pub limit: u32,
    pub expected: u32,
}

/// Records of the journal, the head of its hash chain, and whose key signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalHead {
    pub records: u64,
    pub head: String,
    pub signer: HeadSigner,
}

/// Who signs the heads of the journal's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadSigner {
    /// First line of each checkpoint.
    pub name: String,
    /// First 16 hex digits of the SHA-256 of the public key's 32 bytes.
    pub key: String,
}

/// One ward of `sys-info/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WardInfo {
    pub ward: String,
    pub beds: u32,
    /// Documents over which its state is spread.
    pub parts: u32,
}

/// A topic that was tombstoned in the last 7 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub topic: String,
    #[serde(with = "rfc3339")]
    pub ts: Timestamp,
}

/// `sys-info/1`.
pub fn sys_info(origin: &Origin, at: Timestamp, rev: u64, info: &SysInfo) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        site: &'a str,
        #[serde(flatten)]
        info: &'a SysInfo,
    }
    compact(&Document { head: Head::new("sys-info/1", origin, at, rev), site: &origin.site, info })
}

/// Message received to published, milliseconds, over the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LagMs {
    pub p50: f64,
    pub p99: f64,
}

/// Documents that were not published, since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub vitals: u64,
    pub flat: u64,
    pub ward: u64,
    pub event: u64,
}

/// What the judging side knows about its own life.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pulse {
    pub beds: TrustCounts,
    pub alerts: PriorityCounts,
    /// `None`: no message in the last minute.
    pub lag_ms: Option<LagMs>,
}

/// `heartbeat/1`. `outbox`: events that wait for the broker.
pub fn heartbeat(origin: &Origin, at: Timestamp, rev: u64, pulse: &Pulse, outbox: u64, dropped: &Dropped) -> Vec<u8> {
    #[derive(Serialize)]
    struct Heartbeat<'a> {
        #[serde(flatten)]
        head: Head<'a>,
        site: &'a str,
        beds: &'a TrustCounts,
        alerts: &'a PriorityCounts,
        #[serde(skip_serializing_if = "Option::is_none")]
        lag_ms: Option<Lag>,
        outbox: u64,
        dropped: &'a Dropped,
    }
    /// Whole numbers are written without a point.
    #[derive(Serialize)]
    struct Lag {
        p50: serde_json::Number,
        p99: serde_json::Number,
    }
    let lag_ms = pulse.lag_ms.map(|lag| Lag { p50: number(lag.p50), p99: number(lag.p99) });
    compact(&Heartbeat {
        head: Head::new("heartbeat/1", origin, at, rev),
        site: &origin.site,
        beds: &pulse.beds,
        alerts: &pulse.alerts,
        lag_ms,
        outbox,
        dropped,
    })
}

/// A number to one decimal, whole ones without a point; what no JSON number can say reads as 0.
fn number(value: f64) -> serde_json::Number {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.fract() == 0.0 && rounded.abs() < 9e15 {
        return serde_json::Number::from(rounded as i64);
    }
    serde_json::Number::from_f64(rounded).unwrap_or_else(|| serde_json::Number::from(0))
}

/// How a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    Up,
    /// Errors, clock skew, a part of the senders missing.
    Degraded,
    Down,
}

/// Messages of a feed since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FeedCounts {
    pub received: u64,
    pub aa: u64,
    pub ae: u64,
    pub ar: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
}

/// What `feed-status/1` says beside its envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeedStatus {
    pub feed: String,
    pub state: FeedState,
    /// Keyed hash `p-…` of the peer's address; `None`: no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Messages a second over the last minute.
    pub rate_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub last_message_ts: Option<Timestamp>,
    /// Median of sender minus us, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
    pub counts: FeedCounts,
    pub wards: Vec<String>,
    /// A tap or a tee: the clinical path as it was overheard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<FeedPath>,
}

/// The clinical path beside which a tap, or in which a tee, stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeedPath {
    /// `tap` or `tee`.
    pub placement: &'static str,
    pub answers: PathAnswers,
    /// From a message whole to its first answer whole, milliseconds, since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms_p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms_p99: Option<f64>,
    /// Holes in what was seen, and their bytes as far as known.
    pub gaps: u64,
    pub gap_bytes: u64,
    /// Directions of connections that are not understood (TLS).
    pub opaque: u64,
    /// Records that the journal did not take.
    pub not_stored: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<PathPackets>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<PathRelay>,
}

/// The stream of packets of a tap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PathPackets {
    pub up: bool,
    pub read: u64,
    pub unreadable: u64,
}

/// Answers of the receiver by MSA-1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PathAnswers {
    pub aa: u64,
    pub ae: u64,
    pub ar: u64,
    pub ca: u64,
    pub ce: u64,
    pub cr: u64,
    pub other: u64,
    /// Messages that were due an answer and got none.
    pub missing: u64,
    /// Answers to messages that were not seen.
    pub unasked: u64,
}

/// The relay of a tee.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PathRelay {
    pub up: bool,
    /// How often it was found or started since boot.
    pub starts: u64,
    pub connections: u64,
    /// Connections in relays of an earlier configuration.
    pub draining: u64,
    pub bytes_to_receiver: u64,
    pub bytes_to_sender: u64,
    pub unreachable: u64,
    pub refused: u64,
    pub resets: u64,
    pub copies_dropped: u64,
    pub copies_dropped_bytes: u64,
}

/// How a document begins that has revisions.
#[derive(Serialize)]
struct Head<'a> {
    schema: &'static str,
    #[serde(with = "rfc3339")]
    ts: Timestamp,
    ts_ms: i64,
    boot: &'a str,
    rev: u64,
}

impl<'a> Head<'a> {
    fn new(schema: &'static str, origin: &'a Origin, at: Timestamp, rev: u64) -> Head<'a> {
        Head { schema, ts: at, ts_ms: at.ms(), boot: &origin.boot, rev }
    }
}

/// How a retained document begins that is believed for [`FEED_VALID_MS`].
#[derive(Serialize)]
struct Standing<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(with = "rfc3339")]
    valid_until: Timestamp,
    site: &'a str,
}

impl<'a> Standing<'a> {
    fn new(schema: &'static str, origin: &'a Origin, at: Timestamp, rev: u64) -> Standing<'a> {
        let valid_until = at.plus_ms(FEED_VALID_MS);
        Standing { head: Head::new(schema, origin, at, rev), valid_until, site: &origin.site }
    }
}

/// `feed-status/1`.
pub fn feed_status(origin: &Origin, at: Timestamp, rev: u64, status: &FeedStatus) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        head: Standing<'a>,
        #[serde(flatten)]
        status: &'a FeedStatus,
    }
    compact(&Document { head: Standing::new("feed-status/1", origin, at, rev), status })
}

/// `response/1`. An empty `request_id` (a command that named none) is left out; `record` stands on a command that was done.
pub fn response(origin: &Origin, answer: &Response) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        #[serde(with = "rfc3339")]
        ts: Timestamp,
        ts_ms: i64,
        boot: &'a str,
        site: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        request_id: &'a str,
        verb: &'a str,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        alert: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        alert_state: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rev: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        record: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        compared: Vec<Row>,
        #[serde(skip_serializing_if = "<[Hop]>::is_empty")]
        hops: &'a [Hop],
    }
    #[derive(Serialize)]
    struct Row {
        param: Parameter,
        bedside: Number,
        feed: Option<Number>,
        age_ms: Option<i64>,
        tolerance: Option<Number>,
        agrees: Option<bool>,
    }
    let row = |c: &Compared| Row {
        param: c.param,
        bedside: Number(c.bedside),
        feed: c.feed.map(Number),
        age_ms: c.age_ms,
        tolerance: c.tolerance.map(Number),
        agrees: c.agrees,
    };
    let status = match answer.refusal {
        None => "ok",
        Some(Refusal::Unavailable) => "error",
        Some(_) => "rejected",
    };
    compact(&Document {
        schema: "response/1",
        ts: answer.at,
        ts_ms: answer.at.ms(),
        boot: &origin.boot,
        site: &origin.site,
        request_id: &answer.request_id,
        verb: &answer.verb,
        status,
        code: answer.refusal.map(Refusal::code),
        alert: answer.alert.as_deref(),
        alert_state: answer.alert_state.as_deref(),
        rev: answer.rev,
        record: answer.record.filter(|_| answer.refusal.is_none()),
        compared: answer.compared.iter().map(row).collect(),
        hops: &answer.hops,
    })
}

/// Topic of an answer, relative to `{root}/v1/{site}/`, where the command named none.
pub fn response_topic(user: &str, request_id: &str) -> String {
    format!("rsp/{user}/{request_id}")
}

/// What can be read of any of our documents without knowing its kind: `schema` and `boot`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mark {
    pub schema: String,
    #[serde(default)]
    pub boot: Option<String>,
    #[serde(default)]
    pub ts_ms: Option<i64>,
    #[serde(default)]
    pub state: Option<serde_json::Value>,
}

impl Mark {
    /// `None`: not one of ours.
    pub fn of(payload: &[u8]) -> Option<Mark> {
        serde_json::from_slice(payload).ok()
    }
    /// Whether it is one of the state documents that this program keeps retained.
    pub fn is_retained_kind(&self) -> bool {
        matches!(self.schema.as_str(), "bed-state/1" | "ward-state/1" | "feed-status/1" | "sys-info/1" | "sys-status/1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { boot: "01a20385-57bb-7c31-9f0a-2b7d5e81c604".into(), site: "hsp1".into() }
    }
    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }
    const ALERT: &str = "A-53ee76904a86-20261122T182326412Z";

    #[test]
    fn documents_have_the_members_of_the_contract_in_its_order() {
        let at = Timestamp::from_ms(1_795_355_400_123);
        assert_eq!(
            text(sys_status(&origin(), at, true)),
            r#"{"schema":"sys-status/1","ts":"2026-11-22T13:50:00.123Z","ts_ms":1795355400123,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","site":"hsp1","state":"online"}"#
        );
        let pulse = Pulse {
            beds: TrustCounts { plausible: 1, untrusted: 1, off: 1, ..TrustCounts::default() },
            alerts: PriorityCounts { high: 1, ..PriorityCounts::default() },
            lag_ms: Some(LagMs { p50: 18.0, p99: 74.0 }),
        };
        assert_eq!(
            text(heartbeat(&origin(), Timestamp::from_ms(1_795_371_850_000), 3297, &pulse, 0, &Dropped::default())),
            r#"{"schema":"heartbeat/1","ts":"2026-11-22T18:24:10.000Z","ts_ms":1795371850000,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","rev":3297,"site":"hsp1","beds":{"plausible":1,"learning":0,"questioned":0,"untrusted":1,"stale":0,"nofeed":0,"off":1},"alerts":{"high":1,"medium":0,"low":0,"info":0},"lag_ms":{"p50":18,"p99":74},"outbox":0,"dropped":{"vitals":0,"flat":0,"ward":0,"event":0}}"#
        );
        let status = FeedStatus {
            feed: "icu-gw1".into(),
            state: FeedState::Up,
            peer: Some("p-7be1".into()),
            rate_per_s: 2.0,
            last_message_ts: Some(Timestamp::from_ms(1_795_371_846_990)),
            skew_ms: Some(-1400),
            counts: FeedCounts { received: 395_211, aa: 395_204, ae: 4, ar: 3, duplicates: 12, out_of_order: 0 },
            wards: vec!["icu".into()],
            path: None,
        };
        assert_eq!(
            text(feed_status(&origin(), Timestamp::from_ms(1_795_371_847_000), 77, &status)),
            r#"{"schema":"feed-status/1","ts":"2026-11-22T18:24:07.000Z","ts_ms":1795371847000,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","rev":77,"valid_until":"2026-11-22T18:26:37.000Z","site":"hsp1","feed":"icu-gw1","state":"up","peer":"p-7be1","rate_per_s":2.0,"last_message_ts":"2026-11-22T18:24:06.990Z","skew_ms":-1400,"counts":{"received":395211,"aa":395204,"ae":4,"ar":3,"duplicates":12,"out_of_order":0},"wards":["icu"]}"#
        );
        let answer = Response {
            request_id: "r-20261122-0417".into(),
            user: "nurse7".into(),
            verb: "ack".into(),
            refusal: None,
            alert: Some(ALERT.into()),
            alert_state: Some("acknowledged".into()),
            rev: Some(8813),
            at: Timestamp::from_ms(1_795_371_902_120),
            compared: Vec::new(),
            hops: Vec::new(),
            record: Some(184_220),
        };
        assert_eq!(
            text(response(&origin(), &answer)),
            r#"{"schema":"response/1","ts":"2026-11-22T18:25:02.120Z","ts_ms":1795371902120,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","site":"hsp1","request_id":"r-20261122-0417","verb":"ack","status":"ok","alert":"A-53ee76904a86-20261122T182326412Z","alert_state":"acknowledged","rev":8813,"record":184220}"#
        );
    }

    #[test]
    fn sys_info_keeps_the_order_through_its_flattened_part() {
        let info = SysInfo {
            version: "1.0.0".into(),
            build: "3f9c1d2".into(),
            config: "sha256:b7d0c1a2e4f59680".into(),
            model: "sha256:9f".into(),
            checks: "sha256:51".into(),
            languages: vec!["en".into(), "it".into()],
            schemas: "/api/v1/schemas".into(),
            asyncapi: "/api/v1/asyncapi.json".into(),
            retained: RetainedBudget { limit: 1000, expected: 10 },
            journal: JournalHead {
                records: 184_213,
                head: "sha256:77".into(),
                signer: HeadSigner { name: "vitalguard/hsp1".into(), key: "0f1e2d3c4b5a6978".into() },
            },
            wards: vec![WardInfo { ward: "icu".into(), beds: 3, parts: 1 }],
            removed: vec![Removed {
                topic: "vitalguard/v1/hsp1/ward/icu/bed/A21/state".into(),
                ts: Timestamp::from_ms(1_795_355_400_130),
            }],
        };
        assert_eq!(
            text(sys_info(&origin(), Timestamp::from_ms(1_795_355_400_130), 1, &info)),
            r#"{"schema":"sys-info/1","ts":"2026-11-22T13:50:00.130Z","ts_ms":1795355400130,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","rev":1,"site":"hsp1","version":"1.0.0","build":"3f9c1d2","config":"sha256:b7d0c1a2e4f59680","model":"sha256:9f","checks":"sha256:51","languages":["en","it"],"schemas":"/api/v1/schemas","asyncapi":"/api/v1/asyncapi.json","retained":{"limit":1000,"expected":10},"journal":{"records":184213,"head":"sha256:77","signer":{"name":"vitalguard/hsp1","key":"0f1e2d3c4b5a6978"}},"wards":[{"ward":"icu","beds":3,"parts":1}],"removed":[{"topic":"vitalguard/v1/hsp1/ward/icu/bed/A21/state","ts":"2026-11-22T13:50:00.130Z"}]}"#
        );
    }
}
