//! The publisher: retained documents, the outbox and the heartbeat to one broker; commands from it.
//!
//! One contract: **at least once, in order, and never in anyone's way.** Events and answers leave the outbox only when the broker
//! has acknowledged them; after every reconnect the whole retained set is published anew and the outbox is sent from its lowest
//! row. One thread owns the connection; on any error it drops it and makes a new one. Nobody waits for a broker: what others
//! share with this thread is [`Link`], and that never blocks.
//!
//! Order after each (re)connect: birth (`sys/status` online), retained documents in the order sys, wards, beds with alerts, other
//! beds, feeds, at most [`RESYNC_PER_S`] a second; then the outbox. Before the first connection the own tree is read: orphans of
//! earlier runs are cleared, and where another publisher speaks under our site we stay silent (S03).
//!
//! Limits: one publisher a site; a packet above the broker's own limit is dropped and counted.

use crate::command::Command;
use crate::config::{Config, MqttTarget, SignedCommands, parse_mqtt_url};
use crate::document::{Key, Mark, Origin, Pulse, Removed, Seal};
use crate::monitor::SiteCondition;
use crate::shell::audit::Flood;
use crate::shell::journal::Looked;
pub use crate::shell::link::{Link, Reply, Transient};
use crate::shell::metrics;
use crate::shell::mqtt::{self, Endpoint, Signal, Version, WireError};
use crate::shell::retained::Retained;
use crate::shell::session::{Session, Shared};
use crate::shell::store::OutboxReader;
use crate::shell::tls::{self, TlsError};
use crate::time::Timestamp;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Retained documents a second after a reconnect: 250 beds are there within a second and a half, and the broker's queues
/// (mosquitto: 1 000 messages a client) never fill.
pub const RESYNC_PER_S: f64 = 200.0;
/// First wait after a lost connection, and the longest; it doubles in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The own tree is read so long before the first document.
const SCOUT_FOR: Duration = Duration::from_secs(2);
/// And so long where a retained `online` of another run stands there: one heartbeat (5 s) must have come by then.
const SCOUT_SUSPECT: Duration = Duration::from_millis(6_500);
/// Another publisher that was not heard for so long is gone: four heartbeats.
pub(crate) const FOREIGN_GONE: Duration = Duration::from_secs(20);
/// Topics read from our own tree at most.
const SCOUT_TOPICS_MAX: usize = 10_000;

/// Which MQTT is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 5, and 3.1.1 where the broker does not understand 5.
    #[default]
    Auto,
    V5,
    V311,
}

/// The broker and how it is spoken to.
#[derive(Clone)]
pub struct Options {
    pub host: String,
    pub port: u16,
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub protocol: Protocol,
    /// `{P}`.
    pub root: String,
    pub origin: Origin,
    /// Signs what is published and proves what comes in.
    pub seal: Option<Arc<Seal>>,
    /// Publish `vitals` and `flat`.
    pub vitals: bool,
    pub flat: bool,
    /// Read our own tree before the first document: clear orphans, find another publisher.
    pub scout: bool,
    /// So long.
    pub scout_for: Duration,
}

/// Why no publisher can be started.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    #[error("mqtt.url: {0}")]
    Url(String),
    #[error("mqtt: {0}")]
    Tls(#[from] TlsError),
    #[error("mqtt.password_file: {0}")]
    Password(std::io::Error),
    #[error("mqtt.sign: {path}: {reason}")]
    Sign { path: std::path::PathBuf, reason: String },
    #[error("mqtt: no thread: {0}")]
    Thread(std::io::Error),
}

impl Options {
    /// For the broker of the configuration. `embedded`: address and internal password of our own broker, where it runs; the own
    /// tree is not read there, because its memory is new and nobody else may write.
    pub fn from_config(
        config: &Config,
        origin: Origin,
        embedded: Option<(SocketAddr, String)>,
    ) -> Result<Options, PublisherError> {
        let mqtt = &config.mqtt;
        let external = embedded.is_none();
        let (host, port, tls, username, password) = match (embedded, &mqtt.url) {
            (Some((address, password)), _) => {
                (address.ip().to_string(), address.port(), None, Some(INTERNAL_USER.to_owned()), Some(password))
            }
            (None, None) => return Err(PublisherError::Url("no external broker is configured".into())),
            (None, Some(url)) => {
                let MqttTarget { host, port, tls: secure } = parse_mqtt_url(url).map_err(PublisherError::Url)?;
                let wire =
                    if secure { Some(Arc::new(tls::client_config(mqtt.ca.as_deref(), mqtt.client.as_ref())?)) } else { None };
                let password = mqtt.password_file.as_deref().map(first_line).transpose().map_err(PublisherError::Password)?;
                (host, port, wire, mqtt.username.clone(), password)
            }
        };
        Ok(Options {
            host,
            port,
            tls,
            username,
            password,
            protocol: Protocol::Auto,
            root: mqtt.root.clone(),
            origin,
            seal: seal(mqtt)?.map(Arc::new),
            vitals: mqtt.vitals.unwrap_or(!external),
            flat: mqtt.flat,
            scout: external,
            scout_for: SCOUT_FOR,
        })
    }

    fn base(&self) -> String {
        format!("{}/v1/{}", self.root, self.origin.site)
    }
}

/// Account of our own publisher at the embedded broker. No configured user can have it: `_` is reserved.
pub const INTERNAL_USER: &str = "_vitalguard";

/// What comes in over MQTT.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// A command that passed the door: to the journal.
    Command(Command),
    /// A command that did not pass it, for the audit: few of them are told.
    Refused(Looked),
    /// A condition of the installation (S03 `publisher_conflict`).
    Condition(SiteCondition),
    /// A station announced itself, or went; `at`: our time, or its own where a broker had kept it.
    Station { user: String, online: bool, at: Timestamp },
}

/// The publishing thread.
pub struct Publisher {
    link: Arc<Link>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publisher {
    /// Starts it. `pulse` gives the numbers of the heartbeat and is called every 5 s; `inbound` is never waited for.
    pub fn start(
        options: Options,
        retained: Arc<Retained>,
        link: Arc<Link>,
        outbox: Option<OutboxReader>,
        pulse: Box<dyn Fn() -> Pulse + Send>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Publisher, PublisherError> {
        let base = options.base();
        let shared = Shared {
            base,
            origin: options.origin.clone(),
            seal: options.seal.clone(),
            vitals: options.vitals,
            flat: options.flat,
            retained,
            outbox,
            pulse,
            inbound,
            link: Arc::clone(&link),
            conditions: std::collections::VecDeque::new(),
            orphans: Vec::new(),
            foreign_at: None,
            refusals: Flood::default(),
        };
        let tongue = match options.protocol {
            Protocol::V311 => Tongue::V311,
            Protocol::Auto | Protocol::V5 => Tongue::V5,
        };
        let pump = Pump { tongue, scouted: !options.scout, backoff: BACKOFF.0, options, shared };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PublisherError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || runtime.block_on(pump.run()))
            .map_err(PublisherError::Thread)?;
        Ok(Publisher { link, thread: Some(thread) })
    }
    /// What it shares.
    pub fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
    /// Whether its thread has ended without being told so.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }
    /// Hands over what the broker takes within `patience`, says `offline`, and ends. What is left stays in the outbox.
    pub fn stop(mut self, patience: Duration) {
        *self.link.patience_until.lock() = Some(Instant::now() + patience);
        self.end();
    }
    fn end(&mut self) {
        self.link.stopping.store(true, Ordering::SeqCst);
        self.link.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the publisher thread panicked");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.end();
    }
}

/// Wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How a connection ended.
pub(crate) enum End {
    Stop,
    /// Read our tree; now publish.
    Scouted,
    /// Another publisher was there before us.
    Conflict,
    /// The broker speaks 3.1.1, and perhaps 5 as well: ask once more.
    AskAgain,
    Lost {
        error: WireError,
        /// The broker had accepted us.
        accepted: bool,
    },
}

/// Which protocol the next connection speaks, and how sure we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tongue {
    V5,
    /// 5 was tried and the peer closed: see whether 3.1.1 is accepted.
    MaybeV311,
    /// 3.1.1 is accepted; was it the version, or was the broker just starting?
    V5Again,
    V311,
}

impl Tongue {
    fn v5(self) -> bool {
        matches!(self, Tongue::V5 | Tongue::V5Again)
    }
    /// After an attempt that was not accepted.
    fn after(self, version: Version) -> Tongue {
        match (self, version) {
            (Tongue::V311, _) => Tongue::V311,
            (_, Version::Refused) if self.v5() => Tongue::V311,
            (Tongue::V5, Version::Doubtful) => Tongue::MaybeV311,
            (Tongue::V5Again, Version::Doubtful) => Tongue::V311,
            (Tongue::V5Again, _) => Tongue::V5Again,
            _ => Tongue::V5,
        }
    }
}

struct Pump {
    options: Options,
    shared: Shared,
    tongue: Tongue,
    scouted: bool,
    backoff: Duration,
}

impl Pump {
    async fn run(mut self) {
        while !self.stopping() {
            let end = if self.scouted { self.publish().await } else { self.scout().await };
            let link = Arc::clone(&self.shared.link);
            link.connected.store(false, Ordering::Relaxed);
            link.resynced.store(false, Ordering::Relaxed);
            ::metrics::gauge!(metrics::CONNECTED).set(0.0);
            self.shared.drop_transients();
            match end {
                End::Stop => break,
                End::Scouted => {
                    self.scouted = true;
                    self.shared.set_conflict(false);
                    self.backoff = BACKOFF.0;
                }
                End::AskAgain => self.tongue = Tongue::V5Again,
                End::Conflict => {
                    self.scouted = false;
                    self.shared.set_conflict(true);
                    *link.trouble.lock() = Some("another publisher speaks under this site".into());
                }
                End::Lost { error, accepted } => {
                    ::metrics::counter!(metrics::RECONNECTS).increment(1);
                    if accepted {
                        self.backoff = BACKOFF.0;
                    }
                    let first = link.trouble.lock().replace(error.reason.clone()).is_none_or(|old| old != error.reason);
                    if first {
                        tracing::warn!(broker = %self.options.host, port = self.options.port, reason = %error.reason, "mqtt: connection lost");
                    }
                    if !accepted && self.options.protocol == Protocol::Auto {
                        self.tongue = self.tongue.after(error.version);
                    }
                    self.pause().await;
                }
            }
            self.shared.send_conditions();
        }
    }

    fn stopping(&self) -> bool {
        self.shared.link.stopping.load(Ordering::SeqCst)
    }

    /// Waits before the next attempt; conditions go out meanwhile, and a stop ends it.
    async fn pause(&mut self) {
        let until = tokio::time::Instant::now() + self.backoff;
        while tokio::time::Instant::now() < until && !self.stopping() {
            self.shared.send_conditions();
            tokio::time::sleep(Duration::from_millis(50).min(self.backoff)).await;
        }
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    fn endpoint(&self, suffix: &str, will: bool) -> Endpoint {
        // The end of a UUID v7 is random; its beginning is the same for all that start within a minute.
        let boot: String = self.options.origin.boot.chars().filter(char::is_ascii_alphanumeric).collect();
        let tail = &boot[boot.len().saturating_sub(12)..];
        let credentials = self.options.username.clone().map(|user| (user, self.options.password.clone().unwrap_or_default()));
        Endpoint {
            host: self.options.host.clone(),
            port: self.options.port,
            tls: self.options.tls.clone(),
            credentials,
            client_id: format!("vg{suffix}-{tail}"),
            will: will.then(|| {
                let payload = crate::document::sys_status(&self.options.origin, now(), false);
                let payload = self.options.seal.as_ref().map_or_else(|| payload.clone(), |seal| seal.sign(&payload));
                (format!("{}/sys/status", self.shared.base), payload)
            }),
        }
    }

    /// Reads our own tree without a will and without a word.
    async fn scout(&mut self) -> End {
        let (sender, mut wire) = mqtt::connect(&self.endpoint("s", false), self.tongue.v5());
        let waiting = self.shared.link.conflict();
        let mut until: Option<tokio::time::Instant> = None;
        let mut accepted = false;
        let mut seen = 0_usize;
        let mut orphans: Vec<String> = Vec::new();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let own = self.options.origin.boot.clone();
        loop {
            let signal = {
                let poll = wire.poll();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        signal = &mut poll => break signal,
                        _ = tick.tick() => {
                            self.shared.send_conditions();
                            if self.stopping() {
                                return End::Stop;
                            }
                            if until.is_some_and(|until| tokio::time::Instant::now() >= until) {
                                self.shared.orphans = orphans;
                                return End::Scouted;
                            }
                        }
                    }
                }
            };
            match signal {
                Err(error) => return End::Lost { error, accepted },
                Ok(Signal::Connected { .. }) => {
                    if self.tongue == Tongue::MaybeV311 {
                        return End::AskAgain;
                    }
                    accepted = true;
                    sender.subscribe(&[(format!("{}/#", self.shared.base), false)]);
                    let listen = if waiting { FOREIGN_GONE } else { self.options.scout_for };
                    until = Some(tokio::time::Instant::now() + listen);
                }
                Ok(Signal::Subscribed { refused: true }) => {
                    tracing::warn!("mqtt: the broker does not let us read our own tree; orphans of earlier runs stay");
                }
                Ok(Signal::Message(message)) => {
                    let Some(rest) = message.topic.strip_prefix(&self.shared.base).and_then(|t| t.strip_prefix('/')) else {
                        continue;
                    };
                    seen += 1;
                    if message.payload.is_empty() || seen > SCOUT_TOPICS_MAX {
                        continue;
                    }
                    let mark = Mark::of(&message.payload);
                    let foreign = mark.as_ref().and_then(|m| m.boot.as_deref()).is_some_and(|boot| boot != own);
                    if rest == "sys/heartbeat" && foreign && !message.retain {
                        tracing::error!(site = %self.options.origin.site, "mqtt: another publisher speaks under this site; nothing is published");
                        return End::Conflict;
                    }
                    if !message.retain {
                        continue;
                    }
                    let Some(mark) = mark else { continue };
                    if rest == "sys/status" {
                        let online = mark.state.as_ref().and_then(|s| s.as_str()) == Some("online");
                        if foreign && online && !waiting {
                            until = until.map(|until| until.max(tokio::time::Instant::now() + SCOUT_SUSPECT));
                        }
                    } else if rest != "sys/info" && mark.is_retained_kind() && self.shared.retained.get(rest).is_none() {
                        orphans.push(rest.to_owned());
                    }
                }
                Ok(_) => {}
            }
        }
    }

    /// One connection that publishes.
    async fn publish(&mut self) -> End {
        // A connection that only asks has no will: its end says nothing.
        let asking = self.tongue == Tongue::MaybeV311;
        let (sender, mut wire) = mqtt::connect(&self.endpoint("", !asking), self.tongue.v5());
        let mut session = Session::new(sender, self.tongue.v5(), self.shared.seal.clone());
        let link = Arc::clone(&self.shared.link);
        let retained = Arc::clone(&self.shared.retained);
        let mut tick = tokio::time::interval(Duration::from_millis(25));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let signal = {
                let poll = wire.poll();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        signal = &mut poll => break signal,
                        () = link.wake.notified() => session.look_at_outbox(),
                        () = retained.changed(), if session.accepted() => session.look_at_retained(),
                        _ = tick.tick() => {}
                    }
                    if let Some(end) = session.feed(&mut self.shared) {
                        return end;
                    }
                }
            };
            match signal {
                Ok(Signal::Connected { .. }) if asking => return End::AskAgain,
                Ok(signal) => session.handle(&mut self.shared, signal),
                Err(error) => {
                    session.flush(&mut self.shared);
                    let accepted = session.accepted();
                    return if session.closing() { End::Stop } else { End::Lost { error, accepted } };
                }
            }
            if session.accepted() && link.trouble.lock().take().is_some() {
                tracing::info!(broker = %self.options.host, port = self.options.port, v5 = self.tongue.v5(), "mqtt: connected");
            }
            if let Some(end) = session.feed(&mut self.shared) {
                session.flush(&mut self.shared);
                return end;
            }
        }
    }
}

/// Shortest key of a signature, bytes: as long as the MAC.
const KEY_BYTES_MIN: usize = 32;

/// The keys of `[mqtt.sign]`: the first line of each file, as it stands.
pub(crate) fn seal(mqtt: &crate::config::Mqtt) -> Result<Option<Seal>, PublisherError> {
    let Some(sign) = &mqtt.sign else { return Ok(None) };
    let read = |id: &str, path: &Path| {
        let fail = |reason: String| PublisherError::Sign { path: path.to_owned(), reason };
        let secret = first_line(path).map_err(|error| fail(error.to_string()))?.into_bytes();
        if secret.len() < KEY_BYTES_MIN {
            return Err(fail(format!("a key of at least {KEY_BYTES_MIN} bytes is needed, this one has {}", secret.len())));
        }
        Ok(Key { id: id.to_owned(), secret })
    };
    let also = sign.also.iter().map(|key| read(&key.id, &key.key_file)).collect::<Result<_, _>>()?;
    let required = sign.commands == SignedCommands::Required;
    Ok(Some(Seal { key: read(&sign.id, &sign.key_file)?, also, required }))
}

/// The first line of a file.
pub(crate) fn first_line(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl Shared {
    /// Tells the engine whether another publisher is there, once a change.
    pub(crate) fn set_conflict(&mut self, holds: bool) {
        if self.link.conflict.swap(holds, Ordering::Relaxed) != holds {
            self.conditions.push_back(SiteCondition { check: "S03".into(), holds });
        }
    }
    /// Conditions that the engine had no room for so far.
    pub(crate) fn send_conditions(&mut self) {
        while let Some(condition) = self.conditions.front() {
            if self.inbound.try_send(Inbound::Condition(condition.clone())).is_err() {
                break;
            }
            self.conditions.pop_front();
        }
    }
    /// What was only true then is not sent now.
    fn drop_transients(&self) {
        let waiting = std::mem::take(&mut *self.link.transients.lock());
        for (kind, _) in waiting.into_keys() {
            self.link.count_transient(kind, 1);
        }
    }
    /// Notes a topic that was cleared.
    pub(crate) fn removed(&self, topic: String) {
        self.link.note_removed(Removed { topic, ts: now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_was_just_starting_is_spoken_to_in_5() {
        // Closed at 5, accepted at 3.1.1, then closed again at 5: it is the version.
        let asked = Tongue::V5.after(Version::Doubtful);
        assert_eq!(asked, Tongue::MaybeV311);
        assert_eq!(Tongue::V5Again.after(Version::Doubtful), Tongue::V311);
        // 3.1.1 is closed too: it was not the version.
        assert_eq!(asked.after(Version::Doubtful), Tongue::V5);
        assert_eq!(Tongue::V5.after(Version::Unknown), Tongue::V5);
        assert_eq!(Tongue::V5.after(Version::Refused), Tongue::V311);
    }

    #[test]
    fn a_key_that_is_too_short_or_not_there_starts_no_publisher() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let mut mqtt = crate::config::Mqtt::default();
        assert_eq!(seal(&mqtt).expect("nothing is configured"), None);
        let sign =
            crate::config::Sign { id: "k1".into(), key_file: path.clone(), commands: SignedCommands::Required, also: Vec::new() };
        mqtt.sign = Some(sign);
        assert!(seal(&mqtt).is_err(), "no file");
        std::fs::write(&path, format!("{}\nmore", "x".repeat(31))).expect("written");
        assert!(seal(&mqtt).is_err(), "31 bytes");
        std::fs::write(&path, format!("{}\nmore", "x".repeat(32))).expect("written");
        let seal = seal(&mqtt).expect("32 bytes").expect("a seal");
        assert!(seal.required && seal.key.secret.len() == 32);
        assert!(!format!("{seal:?}").contains("xxx"), "a key is not shown");
    }
}
