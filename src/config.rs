//! The configuration: types, defaults and what makes them valid. Reading files and the environment is the command line's work.
//!
//! Every key has a default, so that an empty file is a working configuration. Unknown keys are refused.

use crate::check::Checks;
use crate::hl7::ack::AckMode;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `vitalguard.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Slug of the installation, second part of every topic.
    pub site: String,
    /// Folder of journal, store and snapshots.
    pub data: PathBuf,
    /// The site's time zone (IANA name), used for times without offset.
    pub zone: String,
    pub privacy: Privacy,
    /// MLLP listeners; any number.
    pub mllp: Vec<Mllp>,
    pub mqtt: Mqtt,
    pub http: Http,
    pub beds: Beds,
    pub journal: Journal,
    pub episodes: Episodes,
    /// Device habits: `learned` or `reviewed` (only reviewed fields accuse).
    pub profiles: Profiles,
    /// Thresholds of single checks, by file name: `[checks.hr_vs_pr] difference_bpm = 25`.
    pub checks: Checks,
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            site: "main".into(),
            data: "vitalguard-data".into(),
            zone: "UTC".into(),
            privacy: Privacy::default(),
            mllp: vec![Mllp::default()],
            mqtt: Mqtt::default(),
            http: Http::default(),
            beds: Beds::default(),
            journal: Journal::default(),
            episodes: Episodes::default(),
            profiles: Profiles::default(),
            checks: Checks::default(),
            log: Log::default(),
        }
    }
}

/// What may leave, and the key of the hashes that do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// File with the site's key (at least 32 bytes); without one a key is made in the data folder at the first start.
    pub key_file: Option<PathBuf>,
    /// Publish what people write into comments.
    pub publish_comments: bool,
}

/// One MLLP listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mllp {
    /// Slug of the feed, in topics and journal keys.
    pub feed: String,
    pub listen: SocketAddr,
    /// Ward of senders that name none.
    pub ward: String,
    pub tls: Option<Tls>,
    /// Needed in as many words for plain text on anything but loopback: `plaintext = "allowed"`.
    pub plaintext: Option<Plaintext>,
    pub ack: AckMode,
    /// Dialect forced for every sender of this listener.
    pub dialect: Option<String>,
    /// Zone of times without offset, IANA name; default: the site's.
    pub zone: Option<String>,
    /// Largest frame, bytes.
    pub frame_bytes_max: usize,
    /// Connections at a time.
    pub connections_max: usize,
    /// From VT to FS, seconds.
    pub message_timeout_s: f64,
    /// Without a byte between messages, seconds; 0 = off (closing idle sockets looks like an outage to senders).
    pub idle_timeout_s: f64,
    /// Bytes of unfinished frames over all connections of this listener.
    pub unfinished_bytes_max: usize,
}

impl Default for Mllp {
    fn default() -> Self {
        Mllp {
            feed: "mllp".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 2575)),
            ward: "main".into(),
            tls: None,
            plaintext: None,
            ack: AckMode::Auto,
            dialect: None,
            zone: None,
            frame_bytes_max: crate::mllp::FRAME_BYTES_MAX,
            connections_max: 1024,
            message_timeout_s: 30.0,
            idle_timeout_s: 0.0,
            unfinished_bytes_max: 256 << 20,
        }
    }
}

/// The word that allows plain text beyond loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plaintext {
    Allowed,
}

/// Certificate and key of a listener, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate of this authority (mutual TLS).
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// MQTT: the embedded broker, or an external one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Root of every topic.
    pub root: String,
    /// `mqtt://host:port` or `mqtts://host:port`: an external broker instead of the embedded one.
    pub url: Option<String>,
    /// Where the embedded broker listens.
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    pub plaintext: Option<Plaintext>,
    /// Account at an external broker.
    pub username: Option<String>,
    /// File that holds the password; only its first line is read.
    pub password_file: Option<PathBuf>,
    /// Authority of an external broker's certificate; default: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and key for an external broker that wants mutual TLS.
    pub client: Option<ClientIdentity>,
    /// Users of the embedded broker. None: clients on loopback need no name and command as `local`.
    pub users: Vec<User>,
    /// Publish `vitals` (default: only on the embedded broker) and `flat`.
    pub vitals: Option<bool>,
    pub flat: bool,
    /// Documents waiting for a broker at most.
    pub outbox_max: usize,
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt {
            root: "vitalguard".into(),
            url: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            tls: None,
            plaintext: None,
            username: None,
            password_file: None,
            ca: None,
            client: None,
            users: Vec::new(),
            vitals: None,
            flat: false,
            outbox_max: 100_000,
        }
    }
}

/// A client certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientIdentity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A user of the embedded broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// SHA-256 of the password, 64 hex digits (`vitalguard config password`); absent: only by client certificate (CN = name).
    #[serde(default)]
    pub password_sha256: Option<String>,
    /// Wards it may read; empty: all.
    #[serde(default)]
    pub wards: Vec<String>,
    /// Command verbs it may use; empty: none.
    #[serde(default)]
    pub verbs: Vec<String>,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    pub plaintext: Option<Plaintext>,
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), tls: None, plaintext: None }
    }
}

/// How senders' places become wards and beds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Beds {
    pub map: MapMode,
    /// Configured beds, in the order in which the ward shows them.
    pub bed: Vec<BedEntry>,
    /// Beds at most; a further one is counted and not opened.
    pub beds_max: Option<u32>,
}

/// `auto`: places as heard; `strict`: the map alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapMode {
    #[default]
    Auto,
    Strict,
}

/// One bed of the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BedEntry {
    pub ward: String,
    pub bed: String,
    /// PV1-3 as the sender writes it: `POC^ROOM^BED` (compared case-folded, trimmed; trailing carets may be left out).
    pub from: Vec<String>,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Kept so long, days.
    pub retain_days: f64,
    /// Kept so much, bytes.
    pub retain_bytes: u64,
    /// A snapshot of the core at least so often, seconds.
    pub snapshot_s: f64,
}

impl Default for Journal {
    fn default() -> Self {
        Journal { segment_bytes: 64 << 20, retain_days: 30.0, retain_bytes: 50 << 30, snapshot_s: 300.0 }
    }
}

/// Timing of episodes (`detection.md` 7.2 and `station.md` 7 give the defaults and their reasons).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Episodes {
    /// Clean so long before a condition is over, seconds.
    pub clear_s: f64,
    /// The same for silence and physiology.
    pub clear_fast_s: f64,
    /// Time between the hold of the check and the raise: medium, low, seconds.
    pub annunciation_medium_s: f64,
    pub annunciation_low_s: f64,
    /// At most one nurse tamper alert a bed in this time, seconds.
    pub rearm_s: f64,
    /// Window for two classes to agree, seconds.
    pub agree_s: f64,
    /// Same condition on so many beds within `collapse_s`: one notice of the gateway.
    pub collapse_beds: u32,
    /// Or on two beds that are more than this share of the gateway.
    pub collapse_share: f64,
    pub collapse_s: f64,
    /// Artefact on a vital parameter goes from low to medium after, seconds.
    pub artefact_medium_s: f64,
    /// Device silence goes to low after, seconds.
    pub silence_low_s: f64,
    /// Raises a bed and hour before they fold into one.
    pub raises_per_hour: u32,
    /// Updates of one alert at most every, seconds.
    pub update_s: f64,
}

impl Default for Episodes {
    fn default() -> Self {
        Episodes {
            clear_s: 300.0,
            clear_fast_s: 10.0,
            annunciation_medium_s: 10.0,
            annunciation_low_s: 20.0,
            rearm_s: 1800.0,
            agree_s: 600.0,
            collapse_beds: 3,
            collapse_share: 0.2,
            collapse_s: 60.0,
            artefact_medium_s: 300.0,
            silence_low_s: 1800.0,
            raises_per_hour: 6,
            update_s: 5.0,
        }
    }
}

/// How device profiles are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profiles {
    #[default]
    Learned,
    Reviewed,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// `tracing` filter (`info`, `vitalguard=debug`).
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, filter: "info".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
