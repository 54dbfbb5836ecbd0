//! The publisher (work in progress: the public face).

use crate::command::Command;
use crate::config::Config;
use crate::document::{Origin, Pulse};
use crate::monitor::SiteCondition;
pub use crate::shell::link::{Link, Reply, Transient};
use crate::shell::retained::Retained;
use crate::shell::store::OutboxReader;
use crate::time::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

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
    /// `{P}`, or `{P}/replay/{run}`.
    pub root: String,
    pub origin: Origin,
    /// A replay: QoS 0, nothing retained, no will, no commands.
    pub replay: bool,
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
    Tls(String),
    #[error("mqtt.password_file: {0}")]
    Password(std::io::Error),
    #[error("mqtt: no thread: {0}")]
    Thread(std::io::Error),
}

impl Options {
    /// For the broker of the configuration. `embedded`: address and internal password of our own broker, where it runs.
    pub fn from_config(_config: &Config, _origin: Origin, _embedded: Option<(SocketAddr, String)>) -> Result<Options, PublisherError> {
        todo!()
    }
}

/// What comes in over MQTT.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// A command that passed the door: to the journal.
    Command(Command),
    /// A condition of the installation (S03 `publisher_conflict`).
    Condition(SiteCondition),
    /// A station announced itself, or went.
    Station { user: String, online: bool, at: Timestamp },
}

/// The publishing thread.
pub struct Publisher {
    link: Arc<Link>,
}

impl Publisher {
    /// Starts it. `pulse` gives the numbers of the heartbeat and is called every 5 s; `inbound` is never waited for.
    pub fn start(
        _options: Options,
        _retained: Arc<Retained>,
        _outbox: Option<OutboxReader>,
        _pulse: Box<dyn Fn() -> Pulse + Send>,
        _inbound: mpsc::Sender<Inbound>,
    ) -> Result<Publisher, PublisherError> {
        todo!()
    }
    /// What it shares.
    pub fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
    /// Says `offline`, hands over what the broker takes within `patience`, and ends.
    pub fn stop(self, _patience: Duration) {
        todo!()
    }
}
