//! HTTP (work in progress: the public face).

use crate::config::Http;
use crate::document::Origin;
use crate::shell::link::Link;
use crate::shell::retained::Retained;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What HTTP shows.
#[derive(Clone)]
pub struct StationState {
    pub origin: Origin,
    pub version: String,
    pub retained: Arc<Retained>,
    /// File of the store; read over connections of its own.
    pub store: PathBuf,
    /// `None` where nothing is published.
    pub link: Option<Arc<Link>>,
    pub metrics: Option<PrometheusHandle>,
    /// Set by the engine: the journal can be written.
    pub journal_writable: Arc<AtomicBool>,
    /// Set by the engine: every configured listener is bound.
    pub listeners_bound: Arc<AtomicBool>,
    /// Whether users are configured (`mqtt.users`): without them only loopback reads.
    pub users: bool,
}

/// What stops HTTP from starting.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    #[error("http.listen {0}: plain text beyond loopback is refused; give http.tls, or plaintext = \"allowed\"")]
    Plaintext(SocketAddr),
    #[error("http.listen {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error("http.tls: {0}")]
    Tls(String),
}

/// A running server.
pub struct Station {
    address: SocketAddr,
}

impl Station {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(_config: &Http, _state: StationState) -> Result<Station, StationError> {
        todo!()
    }
    /// The real address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Takes no new connection, lets the running ones end (5 s at most).
    pub async fn stop(self) {}
}
