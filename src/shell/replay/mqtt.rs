//! Publishes a replay to a broker: under `{P}/replay/{run}/…`, QoS 0, nothing retained, never the live topics.

use super::{ReplayError, Sink};
use crate::alert::AlertEvent;
use crate::config::{Mqtt, parse_mqtt_url};
use crate::document::Seal;
use crate::shell::publisher::{Options as OwnOptions, first_line, seal};
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Documents on their way at most; when it is full the replay waits.
const QUEUE: usize = 1000;
/// The connection must stand within, seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest document.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Why nothing is published.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("mqtt.url {0}")]
    Url(String),
    #[error("the broker at {address} cannot be reached: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("the connection to the broker was lost: {0}")]
    Lost(String),
    #[error("{0}")]
    Credentials(String),
}

/// The publisher of one replay.
pub struct Publisher {
    client: Option<Client>,
    thread: Option<JoinHandle<Result<(), String>>>,
    root: String,
    seal: Option<Arc<Seal>>,
}

impl Publisher {
    /// Connects to the configured broker: the external one, else the embedded one of the running service.
    pub fn connect(config: &Mqtt, site: &str, run: &str) -> Result<Publisher, MqttError> {
        let seal = seal(config).map_err(|error| MqttError::Credentials(error.to_string()))?;
        let (options, address) = options(config, &format!("vitalguard-replay-{run}"))?;
        Publisher::open(options, address, format!("{}/replay/{run}/v1/{site}", config.root), seal.map(Arc::new))
    }

    /// The same as a part of the service, over the account of its own publisher.
    pub fn beside(own: &OwnOptions, run: &str) -> Result<Publisher, MqttError> {
        let mut options = MqttOptions::new(format!("vitalguard-replay-{run}"), own.host.clone(), own.port);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_clean_session(true);
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        if let Some(user) = &own.username {
            options.set_credentials(user, own.password.as_deref().unwrap_or_default());
        }
        if let Some(tls) = &own.tls {
            let tls = rumqttc::TlsConfiguration::Rustls(Arc::clone(tls));
            options.set_transport(rumqttc::Transport::tls_with_config(tls));
        }
        let root = format!("{}/replay/{run}/v1/{}", own.root, own.origin.site);
        Publisher::open(options, format!("{}:{}", own.host, own.port), root, own.seal.clone())
    }

    fn open(options: MqttOptions, address: String, root: String, seal: Option<Arc<Seal>>) -> Result<Publisher, MqttError> {
        let (client, mut connection) = Client::new(options, QUEUE);
        let (said, first) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        // Only the first is waited for.
                        let _ = said.try_send(Ok(()));
                    }
                    Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => {
                        let _ = said.try_send(Err(error.to_string()));
                        return Err(error.to_string());
                    }
                }
            }
            Ok(())
        });
        match first.recv_timeout(CONNECT_TIMEOUT) {
            Ok(Ok(())) => Ok(Publisher { client: Some(client), thread: Some(thread), root, seal }),
            Ok(Err(cause)) => Err(MqttError::Unreachable { address, cause }),
            Err(_) => Err(MqttError::Unreachable { address, cause: format!("no answer in {} s", CONNECT_TIMEOUT.as_secs()) }),
        }
    }

    fn publish(&mut self, topic: String, document: &str) -> Result<(), ReplayError> {
        let bytes = match &self.seal {
            // What is gone has nothing to be signed.
            Some(seal) if !document.is_empty() => seal.sign(document.as_bytes()),
            _ => document.as_bytes().to_vec(),
        };
        let sent = self.client.as_ref().is_some_and(|client| client.publish(topic, QoS::AtMostOnce, false, bytes).is_ok());
        if sent {
            return Ok(());
        }
        self.client = None;
        let cause = self.thread.take().and_then(|thread| thread.join().ok()).and_then(Result::err);
        Err(MqttError::Lost(cause.unwrap_or_else(|| "the client has stopped".into())).into())
    }
}

impl Sink for Publisher {
    fn event(&mut self, event: &AlertEvent, document: &str) -> Result<(), ReplayError> {
        let (now, before) = event.topics();
        for priority in [Some(now), before].into_iter().flatten() {
            let topic = format!("{}/ward/{}/bed/{}/event/{}", self.root, event.alert.ward, event.alert.bed, priority.as_str());
            self.publish(topic, document)?;
        }
        Ok(())
    }
    fn state(&mut self, topic: &str, document: &str) -> Result<(), ReplayError> {
        self.publish(format!("{}/{topic}", self.root), document)
    }
    fn wants_state(&self) -> bool {
        true
    }
    fn finish(&mut self) -> Result<(), ReplayError> {
        let Some(client) = self.client.take() else { return Ok(()) };
        // The queue is in order: once the farewell is out, everything before it is.
        let farewell = client.disconnect().map_err(|error| error.to_string());
        let ended = match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err("the client has failed".into())),
            None => Ok(()),
        };
        farewell.and(ended).map_err(|cause| MqttError::Lost(cause).into())
    }
}

/// A client's options for the configured broker, and the address for messages to people.
pub fn options(config: &Mqtt, client_id: &str) -> Result<(MqttOptions, String), MqttError> {
    let (host, port, tls) = match &config.url {
        Some(url) => {
            let target = parse_mqtt_url(url).map_err(MqttError::Url)?;
            (target.host, target.port, target.tls)
        }
        None => (config.listen.ip().to_string(), config.listen.port(), config.tls.is_some()),
    };
    let address = format!("{host}:{port}");
    let mut options = MqttOptions::new(client_id, host, port);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_session(true);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some(user) = &config.username {
        let password = match &config.password_file {
            Some(path) => first_line(path).map_err(|error| {
                MqttError::Credentials(format!("mqtt.password_file {} cannot be read: {error}", path.display()))
            })?,
            None => String::new(),
        };
        options.set_credentials(user, password);
    }
    if tls {
        // The embedded broker must show the very certificate that is configured.
        let tls = match (&config.url, &config.tls) {
            (None, Some(own)) => crate::shell::tls::own_client_config(own),
            _ => crate::shell::tls::client_config(config.ca.as_deref(), config.client.as_ref()),
        };
        let tls = tls.map_err(|error| MqttError::Credentials(error.to_string()))?;
        options.set_transport(rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(Arc::new(tls))));
    }
    Ok((options, address))
}
