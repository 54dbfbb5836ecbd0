//! One connection to a broker, MQTT 5 or 3.1.1, behind one face.
//!
//! One contract: a [`Wire`] lives for one connection. On any error it is thrown away and a new one is made, because the client
//! library clears what it holds when a session is new; whoever uses it keeps the documents until they are acknowledged. The
//! future of [`Wire::poll`] is never dropped half way: a publish that was taken from the queue and not yet written would be lost.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as p5;
use std::sync::Arc;
use std::time::Duration;

/// Largest packet that is read or written, bytes: far above a ward document of 64 kB, far below what a hostile broker could ask for.
pub const PACKET_BYTES_MAX: u32 = 1 << 20;
/// Requests between the pump and the connection. Small: what waits here is lost on an error.
pub const REQUESTS_MAX: usize = 128;
/// Packet identifiers in use at most; the pump's own window stays far below.
const INFLIGHT_MAX: u16 = 1_024;
/// Seconds without an answer to the connection request.
const CONNECT_TIMEOUT_S: u64 = 5;
/// Seconds between pings: a dead peer is found within twice that.
const KEEP_ALIVE_S: u64 = 10;
/// Delay of the last will, seconds (MQTT 5): a reconnect within it is no outage.
const WILL_DELAY_S: u32 = 5;

/// What is published.
#[derive(Debug, Clone, Default)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    /// QoS 1 instead of 0.
    pub at_least_once: bool,
    pub retain: bool,
    /// The rest exists in MQTT 5 only. Empty payloads carry none of it.
    pub expiry_s: Option<u32>,
    pub correlation: Option<Vec<u8>>,
    pub user: Vec<(&'static str, String)>,
}

impl Message {
    /// An upper bound of the packet's size, bytes.
    pub fn packet_bytes(&self) -> usize {
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
        self.topic.len() + self.payload.len() + self.correlation.as_ref().map_or(0, Vec::len) + user + 64
    }
}

/// What was received on a subscription.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

/// What the broker says to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    Taken,
    /// It will never take this document.
    Never(String),
    /// It does not take it now.
    NotNow(String),
}

/// What happened on the connection.
#[derive(Debug)]
pub enum Signal {
    Connected {
        /// Publishes that may be under way at a time.
        window: u16,
        packet_bytes_max: Option<u32>,
    },
    /// The oldest queued QoS 1 publish has this packet identifier now.
    Sent(u16),
    Acked(u16, Ack),
    Message(Incoming),
    /// A subscription was answered; whether one of its filters was refused.
    Subscribed {
        refused: bool,
    },
    /// Our own DISCONNECT is written.
    Closed,
    Other,
}

/// Why a connection ended or did not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    pub reason: String,
    pub version: Version,
}

/// What a failed connection tells about the protocol version that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Nothing: nobody there, no answer, a wrong password, a lost connection.
    Unknown,
    /// The peer closed before it had answered, as some brokers do that do not speak it (and others that are just starting).
    Doubtful,
    /// The broker said so.
    Refused,
}

/// Who we are, where to, and what the broker says when we are gone.
#[derive(Clone)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub credentials: Option<(String, String)>,
    pub client_id: String,
    /// Topic and payload of the last will: retained, QoS 1.
    pub will: Option<(String, Vec<u8>)>,
}

/// The sending half: never waits.
#[derive(Clone)]
pub enum Sender {
    V5(rumqttc::v5::AsyncClient),
    V311(rumqttc::AsyncClient),
}

/// The connection itself; whoever polls it drives it.
pub enum Wire {
    V5(Box<rumqttc::v5::EventLoop>),
    V311(Box<rumqttc::EventLoop>),
}

/// A connection that opens at its first poll.
pub fn connect(endpoint: &Endpoint, v5: bool) -> (Sender, Wire) {
    if v5 { connect_v5(endpoint) } else { connect_v311(endpoint) }
}

fn connect_v5(endpoint: &Endpoint) -> (Sender, Wire) {
    let mut options = rumqttc::v5::MqttOptions::new(&endpoint.client_id, &endpoint.host, endpoint.port);
    options.set_clean_start(true).set_keep_alive(Duration::from_secs(KEEP_ALIVE_S)).set_connection_timeout(CONNECT_TIMEOUT_S);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX));
    options.set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
    if let Some(tls) = &endpoint.tls {
        options.set_transport(rumqttc::Transport::Tls(rumqttc::TlsConfiguration::Rustls(Arc::clone(tls))));
    }
    if let Some((user, password)) = &endpoint.credentials {
        options.set_credentials(user, password);
    }
    if let Some((topic, payload)) = &endpoint.will {
        let properties = p5::LastWillProperties {
            delay_interval: Some(WILL_DELAY_S),
            payload_format_indicator: Some(1),
            message_expiry_interval: None,
            content_type: Some("application/json".into()),
            response_topic: None,
            correlation_data: None,
            user_properties: vec![("schema".into(), "sys-status/1".into())],
        };
        let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
        options.set_last_will(p5::LastWill::new(topic, payload.clone(), qos, true, Some(properties)));
    }
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, eventloop) = rumqttc::v5::AsyncClient::new(options, REQUESTS_MAX);
    (Sender::V5(client), Wire::V5(Box::new(eventloop)))
}

fn connect_v311(endpoint: &Endpoint) -> (Sender, Wire) {
    let mut options = rumqttc::MqttOptions::new(&endpoint.client_id, &endpoint.host, endpoint.port);
    options.set_clean_session(true).set_keep_alive(Duration::from_secs(KEEP_ALIVE_S));
    options.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    options.set_inflight(INFLIGHT_MAX);
    if let Some(tls) = &endpoint.tls {
        options.set_transport(rumqttc::Transport::Tls(rumqttc::TlsConfiguration::Rustls(Arc::clone(tls))));
    }
    if let Some((user, password)) = &endpoint.credentials {
        options.set_credentials(user, password);
    }
    if let Some((topic, payload)) = &endpoint.will {
        options.set_last_will(rumqttc::LastWill::new(topic, payload.clone(), rumqttc::QoS::AtLeastOnce, true));
    }
    let (client, mut eventloop) = rumqttc::AsyncClient::new(options, REQUESTS_MAX);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    eventloop.set_network_options(network);
    (Sender::V311(client), Wire::V311(Box::new(eventloop)))
}

impl Sender {
    /// Queues a publish; gives `false` while there is no room.
    pub fn publish(&self, message: &Message) -> bool {
        match self {
            Sender::V5(client) => {
                let qos = if message.at_least_once {
                    rumqttc::v5::mqttbytes::QoS::AtLeastOnce
                } else {
                    rumqttc::v5::mqttbytes::QoS::AtMostOnce
                };
                let (topic, retain, payload) = (message.topic.clone(), message.retain, message.payload.clone());
                if payload.is_empty() {
                    return client.try_publish(topic, qos, retain, payload).is_ok();
                }
                let properties = p5::PublishProperties {
                    payload_format_indicator: Some(1),
                    message_expiry_interval: message.expiry_s,
                    correlation_data: message.correlation.clone().map(Bytes::from),
                    user_properties: message.user.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                    content_type: Some("application/json".into()),
                    ..p5::PublishProperties::default()
                };
                client.try_publish_with_properties(topic, qos, retain, payload, properties).is_ok()
            }
            Sender::V311(client) => {
                let qos = if message.at_least_once { rumqttc::QoS::AtLeastOnce } else { rumqttc::QoS::AtMostOnce };
                client.try_publish(message.topic.clone(), qos, message.retain, message.payload.to_vec()).is_ok()
            }
        }
    }

    /// Subscribes to filters, each with QoS 1 or 0.
    pub fn subscribe(&self, filters: &[(String, bool)]) -> bool {
        match self {
            Sender::V5(client) => {
                use rumqttc::v5::mqttbytes::QoS;
                let filters = filters.iter().map(|(filter, at_least_once)| {
                    let mut filter =
                        p5::Filter::new(filter.clone(), if *at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce });
                    // A command published with the retain flag must be seen as such although we are there when it comes.
                    filter.preserve_retain = *at_least_once;
                    filter
                });
                client.try_subscribe_many(filters).is_ok()
            }
            Sender::V311(client) => {
                use rumqttc::QoS;
                let filters = filters.iter().map(|(filter, at_least_once)| {
                    rumqttc::SubscribeFilter::new(filter.clone(), if *at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce })
                });
                client.try_subscribe_many(filters).is_ok()
            }
        }
    }

    /// Queues a DISCONNECT: the broker does not publish the will.
    pub fn disconnect(&self) -> bool {
        match self {
            Sender::V5(client) => client.try_disconnect().is_ok(),
            Sender::V311(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Wire {
    /// The next thing that happens. Not to be dropped before it is ready.
    pub async fn poll(&mut self) -> Result<Signal, WireError> {
        match self {
            Wire::V5(eventloop) => match eventloop.poll().await {
                Ok(event) => Ok(signal_v5(event)),
                Err(error) => Err(error_v5(&error)),
            },
            Wire::V311(eventloop) => match eventloop.poll().await {
                Ok(event) => Ok(signal_v311(event)),
                Err(error) => Err(error_v311(&error)),
            },
        }
    }
}

fn signal_v5(event: rumqttc::v5::Event) -> Signal {
    use rumqttc::v5::Event;
    match event {
        Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) if pkid != 0 => Signal::Sent(pkid),
        Event::Outgoing(rumqttc::Outgoing::Disconnect) => Signal::Closed,
        Event::Incoming(p5::Packet::ConnAck(connack)) => {
            let properties = connack.properties.as_ref();
            let receive_max = properties.and_then(|p| p.receive_max).unwrap_or(INFLIGHT_MAX);
            Signal::Connected {
                window: receive_max.min(INFLIGHT_MAX),
                packet_bytes_max: properties.and_then(|p| p.max_packet_size),
            }
        }
        Event::Incoming(p5::Packet::PubAck(puback)) => {
            use p5::PubAckReason::{NoMatchingSubscribers, PayloadFormatInvalid, Success, TopicNameInvalid};
            let reason = format!("{:?}", puback.reason);
            let ack = match puback.reason {
                Success | NoMatchingSubscribers => Ack::Taken,
                PayloadFormatInvalid | TopicNameInvalid => Ack::Never(reason),
                _ => Ack::NotNow(reason),
            };
            Signal::Acked(puback.pkid, ack)
        }
        Event::Incoming(p5::Packet::Publish(publish)) => {
            let properties = publish.properties.unwrap_or_default();
            Signal::Message(Incoming {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                retain: publish.retain,
                response_topic: properties.response_topic,
                correlation: properties.correlation_data.map(|data| data.to_vec()),
            })
        }
        Event::Incoming(p5::Packet::SubAck(suback)) => {
            let refused = suback.return_codes.iter().any(|code| !matches!(code, p5::SubscribeReasonCode::Success(_)));
            Signal::Subscribed { refused }
        }
        _ => Signal::Other,
    }
}

fn signal_v311(event: rumqttc::Event) -> Signal {
    use rumqttc::{Event, Packet};
    match event {
        Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) if pkid != 0 => Signal::Sent(pkid),
        Event::Outgoing(rumqttc::Outgoing::Disconnect) => Signal::Closed,
        Event::Incoming(Packet::ConnAck(_)) => Signal::Connected { window: INFLIGHT_MAX, packet_bytes_max: None },
        Event::Incoming(Packet::PubAck(puback)) => Signal::Acked(puback.pkid, Ack::Taken),
        Event::Incoming(Packet::Publish(publish)) => Signal::Message(Incoming {
            topic: publish.topic,
            payload: publish.payload,
            retain: publish.retain,
            response_topic: None,
            correlation: None,
        }),
        Event::Incoming(Packet::SubAck(suback)) => {
            let refused = suback.return_codes.iter().any(|code| !matches!(code, rumqttc::SubscribeReasonCode::Success(_)));
            Signal::Subscribed { refused }
        }
        _ => Signal::Other,
    }
}

fn error_v5(error: &rumqttc::v5::ConnectionError) -> WireError {
    use p5::ConnectReturnCode as Code;
    use rumqttc::v5::ConnectionError as E;
    let version = match error {
        E::ConnectionRefused(code) => match code {
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => Version::Refused,
            Code::ProtocolError | Code::MalformedPacket => Version::Doubtful,
            _ => Version::Unknown,
        },
        E::Io(io) => closed(io),
        // A 3.1.1 broker answers with two bytes that are no CONNACK of version 5.
        E::MqttState(rumqttc::v5::StateError::Deserialization(_)) => Version::Refused,
        E::MqttState(_) | E::NotConnAck(_) => Version::Doubtful,
        _ => Version::Unknown,
    };
    WireError { reason: error.to_string(), version }
}

fn error_v311(error: &rumqttc::ConnectionError) -> WireError {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as E};
    let version = match error {
        E::ConnectionRefused(Code::RefusedProtocolVersion) => Version::Refused,
        E::Io(io) => closed(io),
        E::MqttState(_) | E::NotConnAck(_) => Version::Doubtful,
        _ => Version::Unknown,
    };
    WireError { reason: error.to_string(), version }
}

fn closed(error: &std::io::Error) -> Version {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Version::Doubtful,
        _ => Version::Unknown,
    }
}
