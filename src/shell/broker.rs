//! The embedded broker (work in progress: the public face).

use crate::config::Config;
use std::net::SocketAddr;

/// What stops the broker from starting.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("mqtt.listen {0}: plain text beyond loopback is refused; give mqtt.tls, or plaintext = \"allowed\"")]
    Plaintext(SocketAddr),
    #[error("mqtt.listen {0}: an address beyond loopback needs mqtt.users")]
    NoUsers(SocketAddr),
    #[error("mqtt.listen {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error("mqtt: {0}")]
    Other(String),
}

/// A running broker; it ends when dropped.
pub struct Broker {
    address: SocketAddr,
    internal: SocketAddr,
    password: String,
}

impl Broker {
    /// Starts it on its own threads. `seed`: random bytes for the internal password of this start.
    pub fn start(_config: &Config) -> Result<Broker, BrokerError> {
        todo!()
    }
    /// Where clients connect (the real port).
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Where our own publisher connects, and its password: `Options::from_config(config, origin, Some(broker.internal()))`.
    pub fn internal(&self) -> (SocketAddr, String) {
        (self.internal, self.password.clone())
    }
    /// Closes every connection and listener.
    pub fn stop(self) {}
}
