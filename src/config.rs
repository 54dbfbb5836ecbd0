//! The configuration: types, defaults and what makes them valid. Reading files and the environment is the command line's work.
//!
//! Every key has a default, so that an empty file is a working configuration. Unknown keys are refused.

use crate::check::Checks;
use crate::hl7::ack::AckMode;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

mod acm;
mod compare;
mod devices;
mod histories;
mod placement;
mod senders;

pub use acm::Acm;
pub use compare::{Compare, CompareBy, ComparePair, Renamed, Rounded};
pub use devices::{DeviceEntry, DeviceState, Devices};
pub use histories::{Replay, Trends};
pub use placement::{Placement, Relay};
pub use senders::{Network, SenderBook, SenderRule, Senders};

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
    /// Alerts to an alert manager (IHE ACM).
    pub acm: Acm,
    pub beds: Beds,
    /// Who may speak, and how to read whom.
    pub senders: Senders,
    /// Feeds that bring the same values twice.
    pub compare: Vec<Compare>,
    /// The site's devices, and advisories.
    pub devices: Devices,
    pub journal: Journal,
    pub trends: Trends,
    pub replay: Replay,
    pub episodes: Episodes,
    /// Device habits: `learned` or `reviewed` (only reviewed fields accuse).
    pub profiles: Profiles,
    /// Folder of the site's own model files, with its MANIFEST.toml.
    pub models: Option<PathBuf>,
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
            acm: Acm::default(),
            beds: Beds::default(),
            senders: Senders::default(),
            compare: Vec::new(),
            devices: Devices::default(),
            journal: Journal::default(),
            trends: Trends::default(),
            replay: Replay::default(),
            episodes: Episodes::default(),
            profiles: Profiles::default(),
            models: None,
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
    /// How we stand beside the clinical path.
    pub placement: Placement,
    /// Tee: the real receiver, `host:port`; every byte goes on to it unchanged and its answers come back.
    pub forward_to: Option<String>,
    /// Tee: who starts the process that passes the bytes on.
    pub relay: Relay,
    /// Tap: a stream of packets (pcap or pcapng) that is read as it grows, a FIFO for example, in place of a socket.
    pub capture: Option<PathBuf>,
    /// Dialect forced for every sender of this listener. `metavision` also says that all of them are clinical systems: what they
    /// send is shown, and not judged.
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
    /// Bytes of unfinished frames over all connections of this listener. One address has at most half of them; a connection
    /// within its share (this / `connections_max`) is never closed for what others hold.
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
            placement: Placement::Listener,
            forward_to: None,
            relay: Relay::Own,
            capture: None,
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
    /// Account that stations get at an external broker, to read and to announce themselves.
    pub station: Option<StationAccount>,
    /// Users of the page, and of the embedded broker. None: clients on loopback need no name and command as `local`.
    pub users: Vec<User>,
    /// Publish `vitals` (default: only on the embedded broker) and `flat`.
    pub vitals: Option<bool>,
    pub flat: bool,
    /// Documents waiting for a broker at most.
    pub outbox_max: usize,
    /// A station is expected: without one an open high or medium alert is told of (S04), also before any has announced itself.
    pub station_expected: bool,
    /// Sign every document, and prove the commands' signatures.
    pub sign: Option<Sign>,
}

/// Keyed signatures (HMAC-SHA-256) behind a shared broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// Name of the key in `sig`, a slug.
    pub id: String,
    /// File that holds the key; only its first line is read, at least 32 bytes.
    pub key_file: PathBuf,
    /// Commands without a signature: `accepted` or refused (`required`). A wrong one is always refused.
    #[serde(default)]
    pub commands: SignedCommands,
    /// Keys that are good for commands beside it, while keys change.
    #[serde(default)]
    pub also: Vec<SignKey>,
}

/// Whether a command must be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedCommands {
    #[default]
    Accepted,
    Required,
}

/// A further key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignKey {
    pub id: String,
    pub key_file: PathBuf,
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
            station: None,
            users: Vec::new(),
            vitals: None,
            flat: false,
            outbox_max: 100_000,
            station_expected: false,
            sign: None,
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

/// The account of stations at an external broker. Every page that is logged in is told it: it must not be able to write more than
/// a station's own status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationAccount {
    pub username: String,
    /// File that holds the password; only its first line is read.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificate and key that the tunnel of the page shows to a broker that wants mutual TLS; never our own publisher's.
    #[serde(default)]
    pub client: Option<ClientIdentity>,
}

/// What somebody may do, from little to much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    #[default]
    Viewer,
    /// Takes note, comments, puts aside, checks at the bedside, may ask for names.
    Nurse,
    /// Everything.
    Engineer,
}

impl Role {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Nurse => "nurse",
            Role::Engineer => "engineer",
        }
    }
    /// Whether a role has a command verb.
    pub fn has(self, verb: &str) -> bool {
        match self {
            Role::Viewer => false,
            Role::Nurse => NURSE_VERBS.contains(&verb),
            Role::Engineer => VERBS.contains(&verb),
        }
    }
}

/// A user of the page and of the embedded broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// viewer, nurse or engineer; absent: reads, and has the `verbs` that are listed.
    #[serde(default)]
    pub role: Option<Role>,
    /// SHA-256 of the password, 64 hex digits (`vitalguard config password`); absent: only by client certificate (CN = name).
    #[serde(default)]
    pub password_sha256: Option<String>,
    /// Wards it may read; empty: all.
    #[serde(default)]
    pub wards: Vec<String>,
    /// Command verbs it may use, of those that its role has; empty: all of its role, and none without a role.
    #[serde(default)]
    pub verbs: Vec<String>,
}

impl User {
    /// Its role; `viewer` where none is configured.
    pub fn role(&self) -> Role {
        self.role.unwrap_or_default()
    }
    /// Whether it may use a command verb.
    pub fn may(&self, verb: &str) -> bool {
        let listed = self.verbs.iter().any(|allowed| allowed == verb);
        match self.role {
            None => listed,
            Some(role) => role.has(verb) && (listed || self.verbs.is_empty()),
        }
    }
    /// Whether it may see a ward; conditions of the installation (`_site`) are for all.
    pub fn sees(&self, ward: &str) -> bool {
        sees(&self.wards, ward)
    }
}

/// Whether someone with these wards (none: all) may see what stands in a ward; what concerns the whole site everybody may.
pub fn sees(wards: &[String], ward: &str) -> bool {
    wards.is_empty() || ward == "_site" || wards.iter().any(|own| own == ward)
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    pub tls: Option<Tls>,
    pub plaintext: Option<Plaintext>,
    /// A session without a request and without an open page ends after, seconds.
    pub session_idle_s: f64,
    /// And any session after, seconds.
    pub session_s: f64,
    /// Machines that read with `Authorization: Bearer …`.
    pub tokens: Vec<Token>,
    /// Language of the page before anybody has chosen one: `en` or `it`.
    pub language: String,
    /// Telephone of clinical engineering, shown on the page.
    pub phone: Option<String>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            plaintext: None,
            session_idle_s: 1800.0,
            session_s: 43_200.0,
            tokens: Vec::new(),
            language: "en".into(),
            phone: None,
        }
    }
}

/// A machine that reads over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub name: String,
    /// SHA-256 of the token, 64 hex digits (`vitalguard config password --generate` makes both).
    pub token_sha256: String,
    #[serde(default)]
    pub role: Role,
    /// Wards it may read; empty: all.
    #[serde(default)]
    pub wards: Vec<String>,
}

/// Languages that the texts are written in.
pub const LANGUAGES: &[&str] = &["en", "it"];

/// How senders' places become wards and beds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Beds {
    pub map: MapMode,
    /// Configured beds, in the order in which the ward shows them.
    pub bed: Vec<BedEntry>,
    /// Beds at most; a further one is counted and not opened.
    pub beds_max: Option<u32>,
    /// Of a bed whose sender names no patient: after so long a silence the next values are another patient's, seconds. Too
    /// low: a pause begins the learning anew; too high: the next patient is judged by the baseline of the one before.
    pub epoch_silence_s: u32,
}

impl Default for Beds {
    fn default() -> Self {
        Beds { map: MapMode::default(), bed: Vec::new(), beds_max: None, epoch_silence_s: 1800 }
    }
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
    /// The key that signs the chain's head: Ed25519, PEM (`openssl genpkey -algorithm ed25519`). `None`: `evidence.pem` in the
    /// data folder, made at the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<PathBuf>,
    /// The key that encrypts what is written: 64 hex digits a line (`openssl rand -hex 32`), the first line writes, all read.
    /// `None`: nothing is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<PathBuf>,
    /// Older snapshots are kept so much, bytes, so that alerts of the past are explained in seconds; 0: none.
    pub past_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            segment_bytes: 64 << 20,
            retain_days: 30.0,
            retain_bytes: 50 << 30,
            snapshot_s: 300.0,
            past_bytes: 8 << 30,
            signing_key: None,
            encryption_key: None,
        }
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

/// Something in the configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with dots (`mllp.0.listen`).
    pub key: String,
    pub message: String,
}

/// Verbs that a user may be given (the outgoing contract, section 1).
pub const VERBS: &[&str] =
    &["ack", "unack", "comment", "shelve", "unshelve", "rate", "spot-check", "bed-off", "resync", "selftest"];

/// Those of a nurse.
pub const NURSE_VERBS: &[&str] = &["ack", "unack", "comment", "shelve", "unshelve", "rate", "spot-check"];

/// A part of a topic: `[A-Za-z0-9_-]{1,32}`.
pub fn is_slug(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Config {
    /// An example in which every key is set: what is known is what stands here.
    pub fn every_key() -> Config {
        let tls = || Some(Tls { certificate: "server.pem".into(), key: "server.key".into(), client_ca: Some("ca.pem".into()) });
        let mut config = Config::default();
        config.privacy.key_file = Some("site.key".into());
        for mllp in &mut config.mllp {
            mllp.tls = tls();
            mllp.plaintext = Some(Plaintext::Allowed);
            mllp.forward_to = Some("10.20.0.5:2575".into());
            mllp.capture = Some("span.pcap".into());
            mllp.dialect = Some("ihe_pcd01".into());
            mllp.zone = Some("UTC".into());
        }
        config.mqtt.url = Some("mqtts://broker:8883".into());
        config.mqtt.tls = tls();
        config.mqtt.plaintext = Some(Plaintext::Allowed);
        config.mqtt.username = Some("vitalguard".into());
        config.mqtt.password_file = Some("mqtt.password".into());
        config.mqtt.ca = Some("ca.pem".into());
        config.mqtt.client = Some(ClientIdentity { certificate: "client.pem".into(), key: "client.key".into() });
        config.mqtt.station = Some(StationAccount {
            username: "icu-wall".into(),
            password_file: Some("station.password".into()),
            client: Some(ClientIdentity { certificate: "station.pem".into(), key: "station.key".into() }),
        });
        config.mqtt.users = vec![User {
            name: "icu-wall".into(),
            role: Some(Role::Nurse),
            password_sha256: Some("0".repeat(64)),
            wards: vec!["icu".into()],
            verbs: vec!["ack".into()],
        }];
        config.mqtt.vitals = Some(true);
        config.mqtt.sign = Some(Sign {
            id: "k1".into(),
            key_file: "sign.key".into(),
            commands: SignedCommands::Required,
            also: vec![SignKey { id: "k0".into(), key_file: "sign-old.key".into() }],
        });
        config.http.tls = tls();
        config.http.plaintext = Some(Plaintext::Allowed);
        config.http.tokens = vec![Token {
            name: "prometheus".into(),
            token_sha256: "0".repeat(64),
            role: Role::Viewer,
            wards: vec!["icu".into()],
        }];
        config.acm.address = Some("alerts.example:2576".into());
        config.acm.encrypted = true;
        config.acm.ca = Some("ca.pem".into());
        config.acm.client = Some(ClientIdentity { certificate: "client.pem".into(), key: "client.key".into() });
        config.acm.plaintext = Some(Plaintext::Allowed);
        config.http.phone = Some("+39 02 0000 4711".into());
        config.beds.bed = vec![BedEntry { ward: "icu".into(), bed: "A03".into(), from: vec!["ICU^3^A".into()] }];
        config.beds.beds_max = Some(1000);
        let some = |text: &str| Some(text.to_owned());
        config.senders.sender = vec![SenderRule {
            feed: some("mllp"),
            peer: some("10.20.0.0/16"),
            application: some("GATEWAY"),
            facility: some("HOSPITAL"),
            certificate: some("gateway"),
            dialect: some("ihe_pcd01"),
            zone: some("UTC"),
            ..SenderRule::default()
        }];
        config.compare = vec![Compare {
            rounded: vec![Rounded { parameter: crate::vital::Parameter::Temp, step: 0.1 }],
            renamed: vec![Renamed { from: crate::vital::Parameter::Hr, to: crate::vital::Parameter::Pr }],
            dropped: vec![crate::vital::Parameter::Pvc],
            added: vec![crate::vital::Parameter::RrVent],
            ..Compare::default()
        }];
        config.devices.device = vec![DeviceEntry {
            id: "00A037FFFE000001".into(),
            vendor: some("vendor"),
            model: some("model"),
            version: some("1.0"),
            state: DeviceState::Quarantined,
        }];
        config.devices.advisories = Some("advisories.toml".into());
        config.models = Some("models".into());
        config.replay.folder = Some("recordings".into());
        config.journal.signing_key = Some("evidence.pem".into());
        config.journal.encryption_key = Some("journal.key".into());
        config
    }

    /// Everything that cannot be, found without a look at the disk or the network. Empty: valid.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found(Vec::new());
        found.slug("site", &self.site);
        found.zone("zone", Some(&self.zone));
        self.listener_problems(&mut found);
        self.mqtt_problems(&mut found);
        self.acm.problems(&mut found);
        self.bed_problems(&mut found);
        self.senders.problems(&mut found);
        self.devices.problems(&mut found);
        self.number_problems(&mut found);
        self.trends.problems(&mut found);
        self.replay.problems(&mut found);
        found.0
    }

    fn listener_problems(&self, found: &mut Found) {
        if self.mllp.is_empty() {
            found.add("mllp", "no listener is left: nothing could be received");
        }
        let mut feeds = std::collections::BTreeSet::new();
        let mut addresses: Vec<(String, SocketAddr)> = Vec::new();
        for (at, mllp) in self.mllp.iter().enumerate() {
            let key = |name: &str| format!("mllp.{at}.{name}");
            found.slug(key("feed"), &mllp.feed);
            found.slug(key("ward"), &mllp.ward);
            if !feeds.insert(&mllp.feed) {
                found.add(key("feed"), format!("{} is the name of an earlier listener, too", mllp.feed));
            }
            found.zone(&key("zone"), mllp.zone.as_deref());
            found.dialect(&key("dialect"), mllp.dialect.as_deref());
            mllp.placement_problems(&key, found);
            if mllp.capture.is_none() {
                found.plaintext(&key("listen"), mllp.listen, mllp.tls.is_some(), mllp.plaintext);
                addresses.push((key("listen"), mllp.listen));
            }
            if !(1024..=256 << 20).contains(&mllp.frame_bytes_max) {
                found.add(key("frame_bytes_max"), "must be from 1024 (a header) to 268435456 bytes (256 MiB)");
            }
            if mllp.unfinished_bytes_max < mllp.frame_bytes_max {
                found.add(key("unfinished_bytes_max"), "must hold at least one frame (frame_bytes_max)");
            }
            if mllp.connections_max == 0 {
                found.add(key("connections_max"), "must be at least 1");
            }
            found.positive(key("message_timeout_s"), mllp.message_timeout_s);
            found.not_negative(key("idle_timeout_s"), mllp.idle_timeout_s);
        }
        compare::problems(&self.compare, &feeds, found);
        if self.mqtt.url.is_none() {
            found.plaintext("mqtt.listen", self.mqtt.listen, self.mqtt.tls.is_some(), self.mqtt.plaintext);
            addresses.push(("mqtt.listen".into(), self.mqtt.listen));
        }
        found.plaintext("http.listen", self.http.listen, self.http.tls.is_some(), self.http.plaintext);
        addresses.push(("http.listen".into(), self.http.listen));
        for (at, (key, address)) in addresses.iter().enumerate() {
            let clash = addresses[..at].iter().find(|(_, other)| {
                let same_place = address.ip() == other.ip() || address.ip().is_unspecified() || other.ip().is_unspecified();
                address.port() != 0 && address.port() == other.port() && same_place
            });
            if let Some((other, _)) = clash {
                found.add(key.as_str(), format!("{address} is taken by {other}"));
            }
        }
    }

    fn mqtt_problems(&self, found: &mut Found) {
        let mqtt = &self.mqtt;
        if mqtt.root.is_empty() || !mqtt.root.split('/').all(is_slug) {
            found.add("mqtt.root", "must be slugs ([A-Za-z0-9_-], 1 to 32 characters) with / between them");
        }
        if let Some(url) = &mqtt.url {
            match parse_mqtt_url(url) {
                Err(message) => found.add("mqtt.url", message),
                Ok(target) => {
                    let loopback =
                        target.host == "localhost" || target.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
                    if !target.tls && !loopback && mqtt.plaintext.is_none() {
                        found.add("mqtt.url", "plain text beyond loopback: use mqtts://, or write plaintext = \"allowed\"");
                    }
                    if !target.tls && (mqtt.ca.is_some() || mqtt.client.is_some()) {
                        found.add("mqtt.url", "certificates are configured, but mqtt:// uses none: mqtts:// is meant");
                    }
                }
            }
            if mqtt.password_file.is_some() && mqtt.username.is_none() {
                found.add("mqtt.password_file", "a password needs a username");
            }
        } else {
            for (key, set) in [
                ("mqtt.username", mqtt.username.is_some()),
                ("mqtt.password_file", mqtt.password_file.is_some()),
                ("mqtt.ca", mqtt.ca.is_some()),
                ("mqtt.client", mqtt.client.is_some()),
                ("mqtt.station", mqtt.station.is_some()),
            ] {
                if set {
                    found.add(key, "is for an external broker, and mqtt.url names none");
                }
            }
            if mqtt.users.is_empty() && !mqtt.listen.ip().is_loopback() {
                found.add("mqtt.listen", format!("{} is reachable from outside: configure [[mqtt.users]] first", mqtt.listen));
            }
        }
        self.http_problems(found);
        let client_ca = mqtt.url.is_none() && mqtt.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let mut names = std::collections::BTreeSet::new();
        for (at, user) in mqtt.users.iter().enumerate() {
            let key = |name: &str| format!("mqtt.users.{at}.{name}");
            found.slug(key("name"), &user.name);
            if !names.insert(&user.name) {
                found.add(key("name"), format!("{} is the name of an earlier user, too", user.name));
            }
            match &user.password_sha256 {
                Some(hash) if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    found.add(key("password_sha256"), "must be 64 hex digits: `vitalguard config password` makes them");
                }
                None if !client_ca => found.add(
                    key("password_sha256"),
                    format!("{} has no password, and without mqtt.tls.client_ca no certificate either", user.name),
                ),
                _ => {}
            }
            for ward in &user.wards {
                if !is_slug(ward) {
                    found.add(key("wards"), format!("{ward:?} is no slug"));
                }
            }
            for verb in &user.verbs {
                if !VERBS.contains(&verb.as_str()) {
                    found.add(key("verbs"), format!("{verb:?} is no command; known are {}", VERBS.join(", ")));
                }
            }
        }
        if let Some(sign) = &mqtt.sign {
            found.slug("mqtt.sign.id", &sign.id);
            let mut ids = std::collections::BTreeSet::from([&sign.id]);
            for (at, key) in sign.also.iter().enumerate() {
                found.slug(format!("mqtt.sign.also.{at}.id"), &key.id);
                if !ids.insert(&key.id) {
                    found.add(format!("mqtt.sign.also.{at}.id"), format!("{} is the name of an earlier key, too", key.id));
                }
            }
        }
        if mqtt.outbox_max == 0 {
            found.add("mqtt.outbox_max", "must be at least 1");
        }
    }

    fn http_problems(&self, found: &mut Found) {
        let http = &self.http;
        if !http.listen.ip().is_loopback() && self.mqtt.users.is_empty() && http.tokens.is_empty() {
            found.add(
                "http.listen",
                format!("{} is reachable from outside: configure [[mqtt.users]] or [[http.tokens]] first", http.listen),
            );
        }
        found.positive("http.session_idle_s", http.session_idle_s);
        found.positive("http.session_s", http.session_s);
        if !LANGUAGES.contains(&http.language.as_str()) {
            found.add("http.language", format!("{:?}: known are {}", http.language, LANGUAGES.join(", ")));
        }
        if http.phone.as_ref().is_some_and(|phone| phone.chars().count() > 40 || phone.chars().any(char::is_control)) {
            found.add("http.phone", "at most 40 characters, no control characters");
        }
        let mut names = std::collections::BTreeSet::new();
        for (at, token) in http.tokens.iter().enumerate() {
            let key = |name: &str| format!("http.tokens.{at}.{name}");
            found.slug(key("name"), &token.name);
            if !names.insert(&token.name) || self.mqtt.users.iter().any(|user| user.name == token.name) {
                found.add(key("name"), format!("{} is the name of another token or user, too", token.name));
            }
            if token.token_sha256.len() != 64 || !token.token_sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                found.add(key("token_sha256"), "must be 64 hex digits: `vitalguard config password --generate` makes them");
            }
            for ward in token.wards.iter().filter(|ward| !is_slug(ward)) {
                found.add(key("wards"), format!("{ward:?} is no slug"));
            }
        }
    }

    fn bed_problems(&self, found: &mut Found) {
        if self.beds.map == MapMode::Strict && self.beds.bed.is_empty() {
            found.add("beds.map", "strict, and no bed is configured: every sender would be unassigned");
        }
        if self.beds.beds_max == Some(0) {
            found.add("beds.beds_max", "must be at least 1");
        }
        if self.beds.epoch_silence_s < 60 {
            found.add("beds.epoch_silence_s", "must be at least 60: shorter pauses are daily bread");
        }
        let mut beds = std::collections::BTreeSet::new();
        let mut places = std::collections::BTreeMap::new();
        for (at, entry) in self.beds.bed.iter().enumerate() {
            let key = |name: &str| format!("beds.bed.{at}.{name}");
            found.slug(key("ward"), &entry.ward);
            found.slug(key("bed"), &entry.bed);
            if !beds.insert((&entry.ward, &entry.bed)) {
                found.add(key("bed"), format!("{}/{} is configured twice", entry.ward, entry.bed));
            }
            if entry.from.is_empty() {
                found.add(key("from"), "names no place: nothing would ever reach this bed");
            }
            for place in &entry.from {
                let folded = place.trim().trim_end_matches('^').to_lowercase();
                if let Some(other) = places.insert(folded, at).filter(|other| *other != at) {
                    found.add(key("from"), format!("{place:?} is already the place of beds.bed.{other}"));
                }
            }
        }
    }

    fn number_problems(&self, found: &mut Found) {
        if !(1 << 20..=4 << 30).contains(&self.journal.segment_bytes) {
            found.add("journal.segment_bytes", "must be from 1048576 (1 MiB) to 4294967296 bytes (4 GiB)");
        }
        if self.journal.retain_bytes < 2 * self.journal.segment_bytes {
            found.add("journal.retain_bytes", "must hold at least two segments (journal.segment_bytes)");
        }
        found.positive("journal.retain_days", self.journal.retain_days);
        found.positive("journal.snapshot_s", self.journal.snapshot_s);
        let e = &self.episodes;
        for (key, seconds) in [
            ("episodes.clear_s", e.clear_s),
            ("episodes.clear_fast_s", e.clear_fast_s),
            ("episodes.annunciation_medium_s", e.annunciation_medium_s),
            ("episodes.annunciation_low_s", e.annunciation_low_s),
            ("episodes.rearm_s", e.rearm_s),
            ("episodes.agree_s", e.agree_s),
            ("episodes.collapse_s", e.collapse_s),
            ("episodes.artefact_medium_s", e.artefact_medium_s),
            ("episodes.silence_low_s", e.silence_low_s),
            ("episodes.update_s", e.update_s),
        ] {
            found.not_negative(key, seconds);
        }
        if !(0.0..=1.0).contains(&e.collapse_share) {
            found.add("episodes.collapse_share", "is a share: from 0 to 1");
        }
        if e.collapse_beds < 2 {
            found.add("episodes.collapse_beds", "must be at least 2: one bed is no group");
        }
        if e.raises_per_hour == 0 {
            found.add("episodes.raises_per_hour", "must be at least 1");
        }
        self.threshold_problems(found);
    }

    /// Thresholds of checks: finite, and of the same sign as their default.
    fn threshold_problems(&self, found: &mut Found) {
        let (Ok(now), Ok(default)) = (serde_json::to_value(&self.checks), serde_json::to_value(Checks::default())) else {
            return;
        };
        for (check, thresholds) in default.as_object().into_iter().flatten() {
            for (name, usual) in thresholds.as_object().into_iter().flatten() {
                let key = format!("checks.{check}.{name}");
                match (now.get(check).and_then(|c| c.get(name)).and_then(serde_json::Value::as_f64), usual.as_f64()) {
                    (None, Some(_)) => found.add(key, "is not a finite number"),
                    (Some(value), Some(usual)) if usual >= 0.0 && value < 0.0 => {
                        found.add(key, format!("{value} is negative (the default is {usual})"));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Complaints as they are found.
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into() });
    }
    fn slug(&mut self, key: impl Into<String>, text: &str) {
        let key = key.into();
        if !is_slug(text) {
            self.add(key, format!("{text:?} is no slug: letters, digits, _ and -, 1 to 32 of them"));
        } else if text.starts_with('_') {
            self.add(key, format!("{text:?}: names that begin with _ are reserved"));
        }
    }
    fn zone(&mut self, key: &str, name: Option<&str>) {
        if let Some(name) = name.filter(|name| crate::hl7::time::Zone::named(name).is_none()) {
            self.add(key, format!("{name:?} is no time zone: an IANA name is needed (Europe/Berlin, UTC)"));
        }
    }
    fn dialect(&mut self, key: &str, name: Option<&str>) {
        let known = || crate::hl7::dialect::EMBEDDED.iter().map(|(file, _)| file.strip_suffix(".toml").unwrap_or(file));
        if let Some(name) = name.filter(|name| !known().any(|known| known == *name)) {
            let names: Vec<&str> = known().collect();
            self.add(key, format!("there is no dialect {name:?}; known are {}", names.join(", ")));
        }
    }
    fn positive(&mut self, key: impl Into<String>, value: f64) {
        if !(value.is_finite() && value > 0.0) {
            self.add(key, format!("{value} must be greater than 0"));
        }
    }
    fn not_negative(&mut self, key: impl Into<String>, value: f64) {
        if !(value.is_finite() && value >= 0.0) {
            self.add(key, format!("{value} must be 0 or more"));
        }
    }
    fn plaintext(&mut self, key: &str, address: SocketAddr, tls: bool, plaintext: Option<Plaintext>) {
        if !address.ip().is_loopback() && !tls && plaintext.is_none() {
            self.add(
                key,
                format!("{address} is not loopback and would speak plain text: give a certificate and key (tls), or write plaintext = \"allowed\""),
            );
        }
    }
}

/// Host, port and kind of an external broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttTarget {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// Reads `mqtt://host:port` or `mqtts://host:port`; the ports default to 1883 and 8883. Accounts are not taken from a URL: they
/// would end up in logs.
pub fn parse_mqtt_url(url: &str) -> Result<MqttTarget, String> {
    let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("must begin with mqtt:// or mqtts://".into()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("holds an account: use mqtt.username and mqtt.password_file".into());
    }
    if rest.contains(['/', '?', '#']) {
        return Err("has a path; only host and port are meant".into());
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("names no host".into());
    }
    let port = match port {
        None => {
            if tls {
                8883
            } else {
                1883
            }
        }
        Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(|| format!("{port:?} is no port"))?,
    };
    Ok(MqttTarget { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_url_names_host_and_port() {
        let parsed = |url| parse_mqtt_url(url).map(|t| (t.tls, t.host, t.port));
        assert_eq!(parsed("mqtt://broker"), Ok((false, "broker".into(), 1883)));
        assert_eq!(parsed("mqtts://broker.example:8884/"), Ok((true, "broker.example".into(), 8884)));
        assert_eq!(parsed("mqtt://[::1]:1999"), Ok((false, "::1".into(), 1999)));
        assert_eq!(parsed("mqtts://[fe80::1]"), Ok((true, "fe80::1".into(), 8883)));
        for bad in ["broker:1883", "http://x", "mqtt://", "mqtt://u:p@host", "mqtt://host:seven", "mqtt://[::1", "mqtt://host#x"]
        {
            assert!(parse_mqtt_url(bad).is_err(), "{bad}");
        }
    }

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        config.problems().into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn plain_text_beyond_loopback_needs_the_word() {
        let open = |c: &mut Config| c.mllp[0].listen = "0.0.0.0:2575".parse().unwrap();
        assert_eq!(keys(open), ["mllp.0.listen"]);
        assert!(
            keys(|c| {
                open(c);
                c.mllp[0].plaintext = Some(Plaintext::Allowed)
            })
            .is_empty()
        );
        assert_eq!(keys(|c| c.mqtt.url = Some("mqtt://broker.ward".into())), ["mqtt.url"]);
        assert!(keys(|c| c.mqtt.url = Some("mqtts://broker.ward".into())).is_empty());
        assert!(keys(|c| c.mqtt.url = Some("mqtt://127.0.0.1:1884".into())).is_empty());
    }

    #[test]
    fn an_open_broker_or_page_needs_users() {
        let found = keys(|c| {
            c.http.listen = "0.0.0.0:8080".parse().unwrap();
            c.http.plaintext = Some(Plaintext::Allowed);
        });
        assert_eq!(found, ["http.listen"]);
    }

    #[test]
    fn names_and_addresses_are_used_once() {
        let second = Mllp { listen: "127.0.0.1:2576".parse().unwrap(), ..Mllp::default() };
        assert_eq!(keys(|c| c.mllp.push(second)), ["mllp.1.feed"]);
        assert_eq!(keys(|c| c.http.listen = c.mllp[0].listen), ["http.listen"]);
        assert!(
            keys(|c| {
                c.http.listen.set_port(0);
                c.mqtt.listen.set_port(0);
            })
            .is_empty()
        );
    }

    #[test]
    fn numbers_must_make_sense() {
        assert_eq!(keys(|c| c.episodes.clear_s = -1.0), ["episodes.clear_s"]);
        assert_eq!(keys(|c| c.journal.snapshot_s = f64::NAN), ["journal.snapshot_s"]);
        assert_eq!(keys(|c| c.episodes.collapse_share = 1.5), ["episodes.collapse_share"]);
        assert_eq!(keys(|c| c.mllp[0].frame_bytes_max = 10), ["mllp.0.frame_bytes_max"]);
        assert_eq!(keys(|c| c.site = "ward 3".into()), ["site"]);
    }

    #[test]
    fn a_strict_map_needs_beds_and_a_place_has_one_bed() {
        assert_eq!(keys(|c| c.beds.map = MapMode::Strict), ["beds.map"]);
        let entry = |bed: &str, from: &str| BedEntry { ward: "icu".into(), bed: bed.into(), from: vec![from.into()] };
        assert_eq!(keys(|c| c.beds.bed = vec![entry("a", "ICU^1^A"), entry("b", "icu^1^a^^")]), ["beds.bed.1.from"]);
    }

    #[test]
    fn a_broker_url_is_read_or_refused_with_a_reason() {
        assert_eq!(parse_mqtt_url("mqtt://h"), Ok(MqttTarget { host: "h".into(), port: 1883, tls: false }));
        assert_eq!(parse_mqtt_url("mqtts://[::1]:99/"), Ok(MqttTarget { host: "::1".into(), port: 99, tls: true }));
        for wrong in ["http://h", "mqtt://", "mqtt://u:p@h", "mqtt://h:x", "mqtt://h/a"] {
            assert!(parse_mqtt_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_key_is_set_in_the_example_of_all_keys() {
        fn nulls(value: &serde_json::Value) -> usize {
            match value {
                serde_json::Value::Null => 1,
                serde_json::Value::Array(list) => list.iter().map(nulls).sum::<usize>() + usize::from(list.is_empty()),
                serde_json::Value::Object(map) => map.values().map(nulls).sum(),
                _ => 0,
            }
        }
        assert_eq!(nulls(&serde_json::to_value(Config::every_key()).unwrap()), 0);
    }
}
