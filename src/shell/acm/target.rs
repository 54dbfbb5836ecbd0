//! The alert manager's address and a connection to it.

use super::{AcmError, SLICE};
use crate::config::Acm as Config;
use crate::mllp::Decoder;
use crate::shell::tls::client_config;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

/// A connection is made within.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where to, and how.
pub struct Target {
    address: String,
    tls: Option<(Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>)>,
}

/// Plain or TLS.
pub(super) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An open connection and what has come by it.
pub struct Connection {
    pub(super) stream: Box<dyn Stream>,
    pub(super) decoder: Decoder,
}

impl Target {
    pub fn new(config: &Config, address: String) -> Result<Target, AcmError> {
        let (host, _) = config.host_and_port().ok_or_else(|| AcmError::Address(address.clone()))?;
        let tls = match config.encrypted {
            false => None,
            true => {
                let name =
                    rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|_| AcmError::Address(address.clone()))?;
                Some((Arc::new(client_config(config.ca.as_deref(), config.client.as_ref())?), name))
            }
        };
        Ok(Target { address, tls })
    }

    /// A connection, with TLS where that is configured.
    pub fn connect(&self, patience: Duration) -> std::io::Result<Connection> {
        let first = self.address.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let stream = TcpStream::connect_timeout(&first, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        let Some((config, name)) = &self.tls else {
            stream.set_read_timeout(Some(SLICE))?;
            return Ok(Connection { stream: Box::new(stream), decoder: Decoder::new(ANSWER_BYTES_MAX) });
        };
        stream.set_read_timeout(Some(patience))?;
        let mut connection = rustls::ClientConnection::new(Arc::clone(config), name.clone()).map_err(std::io::Error::other)?;
        let mut stream = stream;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        stream.set_read_timeout(Some(SLICE))?;
        let stream = rustls::StreamOwned::new(connection, stream);
        Ok(Connection { stream: Box::new(stream), decoder: Decoder::new(ANSWER_BYTES_MAX) })
    }
}
