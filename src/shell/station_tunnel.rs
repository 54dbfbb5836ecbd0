//! `/mqtt`: a WebSocket (subprotocol `mqtt`) whose bytes are those of a connection to the broker, and the account for it.
//!
//! One contract: bytes pass unread, in both directions, as fast as the slower side takes them; a tunnel lives as long as its session.
//! At the embedded broker a page has an account of its own for five minutes with the rights of its user; at an external one it has
//! the account that the configuration gives to stations. The account and the certificate of our own publisher, which may write
//! everything, are never lent.

use crate::config::{Config, MqttTarget, parse_mqtt_url};
use crate::shell::access::{PASS_FOR, Passes};
use crate::shell::publisher::{PublisherError, first_line};
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem};
use crate::shell::station_session::Session;
use crate::shell::{key, tls};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// The subprotocol of MQTT 5, section 6.
const PROTOCOL: &str = "mqtt";
/// Longest wait for the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest message of a page, bytes: a packet of the broker's clients.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// Bytes read from the broker at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// The other side is asked for a sign of life so often, and is gone after so long without one.
const PING_EVERY: Duration = Duration::from_secs(20);
const GONE_AFTER: Duration = Duration::from_secs(65);

/// Where tunnels lead.
#[derive(Clone)]
pub enum Tunnel {
    /// The embedded broker's own door, and the passes for it.
    Embedded { address: SocketAddr, passes: Arc<Passes> },
    External {
        target: MqttTarget,
        tls: Option<Arc<rustls::ClientConfig>>,
        /// Name and password; `None`: the broker asks for none.
        account: Option<(String, Option<String>)>,
    },
}

impl Tunnel {
    /// To the external broker of the configuration; `None` where it wants an account and stations have none.
    pub fn external(config: &Config) -> Result<Option<Tunnel>, PublisherError> {
        let mqtt = &config.mqtt;
        let Some(url) = &mqtt.url else { return Ok(None) };
        if mqtt.station.is_none() && (mqtt.username.is_some() || mqtt.client.is_some()) {
            return Ok(None);
        }
        let target = parse_mqtt_url(url).map_err(PublisherError::Url)?;
        let station = mqtt.station.as_ref();
        let identity = station.and_then(|station| station.client.as_ref());
        let tls = if target.tls { Some(Arc::new(tls::client_config(mqtt.ca.as_deref(), identity)?)) } else { None };
        let account = match station {
            None => None,
            Some(station) => {
                let password = station.password_file.as_deref().map(first_line).transpose().map_err(PublisherError::Password)?;
                Some((station.username.clone(), password))
            }
        };
        Ok(Some(Tunnel::External { target, tls, account }))
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

async fn connect(tunnel: &Tunnel) -> std::io::Result<Box<dyn Wire>> {
    match tunnel {
        Tunnel::Embedded { address, .. } => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Tunnel::External { target, tls, .. } => {
            let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
            stream.set_nodelay(true)?;
            let Some(config) = tls else { return Ok(Box::new(stream)) };
            let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
            let stream = tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
            Ok(Box::new(stream))
        }
    }
}

fn no_tunnel() -> Response {
    problem(StatusCode::NOT_FOUND, "no tunnel: the external broker wants an account, and mqtt.station gives none")
}

pub(crate) async fn open(
    State(shared): State<Shared>,
    session: Session,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return problem(StatusCode::BAD_REQUEST, "a WebSocket with the subprotocol mqtt is meant");
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * CHUNK_BYTES);
    if upgrade.selected_protocol().is_none() {
        return problem(StatusCode::BAD_REQUEST, "the subprotocol mqtt is meant");
    }
    let Some(tunnel) = shared.state.tunnel.clone() else {
        return no_tunnel();
    };
    let (Some(own), Ok(seat)) = (session.stream(), Arc::clone(&shared.tunnels).try_acquire_owned()) else {
        return problem(StatusCode::TOO_MANY_REQUESTS, "too many tunnels are open");
    };
    let wire = match tokio::time::timeout(CONNECT_TIMEOUT, connect(&tunnel)).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => {
            tracing::debug!(%error, "http: no tunnel");
            return problem(StatusCode::BAD_GATEWAY, "the broker cannot be reached");
        }
        Err(_) => return problem(StatusCode::GATEWAY_TIMEOUT, "the broker does not answer"),
    };
    let mut stopped = shared.stopped.clone();
    upgrade.on_upgrade(async move |socket| {
        let _seats = [own, seat];
        let (mut sink, pages) = socket.split();
        let (from_broker, to_broker) = tokio::io::split(wire);
        let heard = parking_lot::Mutex::new(Instant::now());
        let why = tokio::select! {
            why = up(pages, to_broker, &heard) => why,
            why = down(&mut sink, from_broker, &heard, &session) => why,
            () = session.ended().cancelled() => "the session has ended",
            _ = stopped.wait_for(|stop| *stop) => "the service stops",
        };
        let close = Message::Close(Some(CloseFrame { code: 1000, reason: why.into() }));
        let _ = tokio::time::timeout(Duration::from_secs(1), sink.send(close)).await;
    })
}

async fn up(
    mut pages: futures_util::stream::SplitStream<WebSocket>,
    mut broker: impl AsyncWrite + Unpin,
    heard: &parking_lot::Mutex<Instant>,
) -> &'static str {
    while let Some(Ok(message)) = pages.next().await {
        *heard.lock() = Instant::now();
        match message {
            Message::Binary(bytes) => {
                if broker.write_all(&bytes).await.is_err() {
                    return "the broker has closed";
                }
            }
            Message::Text(_) => return "MQTT is binary",
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
    "closed"
}

async fn down(
    sink: &mut futures_util::stream::SplitSink<WebSocket, Message>,
    mut broker: impl AsyncRead + Unpin,
    heard: &parking_lot::Mutex<Instant>,
    session: &Session,
) -> &'static str {
    let mut chunk = vec![0u8; CHUNK_BYTES];
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            read = broker.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return "the broker has closed",
                Ok(bytes) => Message::Binary(bytes::Bytes::copy_from_slice(&chunk[..bytes])),
            },
            _ = pings.tick() => {
                if heard.lock().elapsed() > GONE_AFTER {
                    return "no sign of life";
                }
                session.touch();
                Message::Ping(bytes::Bytes::new())
            }
        };
        if sink.send(message).await.is_err() {
            return "closed";
        }
    }
}

/// An account for the tunnel.
pub(crate) async fn credentials(State(shared): State<Shared>, session: Session) -> Response {
    let no_random = || problem(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random bytes");
    let (username, password, client_id) = match &shared.state.tunnel {
        None => return no_tunnel(),
        Some(Tunnel::Embedded { passes, .. }) => {
            let Some(issued) = passes.issue(Arc::clone(session.account()), session.ended().clone()) else { return no_random() };
            (Some(issued.username), Some(issued.password), issued.client_id)
        }
        Some(Tunnel::External { account, .. }) => {
            let Some(random) = key::random::<8>() else { return no_random() };
            let (username, password) = account.clone().map_or((None, None), |(name, password)| (Some(name), password));
            (username, password, format!("page-{}", crate::alert::hex(&random)))
        }
    };
    let until = jiff::Timestamp::now() + jiff::SignedDuration::try_from(PASS_FOR).unwrap_or_default();
    let body = serde_json::json!({
        "username": username,
        "password": password,
        "client_id": client_id,
        "expires": format!("{until:.3}"),
        "root": shared.state.config.mqtt.root,
        "site": shared.state.origin.site,
    });
    json(StatusCode::OK, body.to_string())
}
