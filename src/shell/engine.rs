//! Placeholder of the service's wiring: the shape that the command line is written against.

use crate::config::Config;
use std::net::SocketAddr;

/// What a start may be told beyond the configuration.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {}

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("serving is not wired in this build")]
    NotWired,
}

/// Which broker is used.
#[derive(Debug, Clone)]
pub enum Broker {
    Embedded(SocketAddr),
    External(String),
}

/// The running service and where it listens.
#[derive(Debug)]
pub struct Running {
    pub mllp: Vec<(String, SocketAddr)>,
    pub mqtt: Broker,
    pub http: SocketAddr,
}

/// Ends the service from elsewhere.
#[derive(Debug, Clone)]
pub struct StopHandle {}

impl StopHandle {
    pub fn stop(&self) {}
}

impl Running {
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle {}
    }
    pub async fn wait(self) -> Result<(), ServeError> {
        Ok(())
    }
}

/// Starts everything.
pub async fn serve(_config: Config, _options: ServeOptions) -> Result<Running, ServeError> {
    Err(ServeError::NotWired)
}
