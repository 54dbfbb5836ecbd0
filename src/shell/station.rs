//! HTTP: is it alive, is it ready, what is the state, which alerts were there.
//!
//! One contract: everything here reads, but for the status of an advisory, which is a command and goes through the journal. State comes from `Retained`, history from the store over connections of its own; a slow or
//! hostile client costs one of a bounded number of connections and nothing else. Until roles exist, only clients on this machine are
//! answered: others get 403, `/health` and `/ready` excepted, which say nothing about a patient. A request that a proxy has passed
//! on, or whose `Host` is not this machine (a page that rebinds its name), is not one of this machine.
//!
//! Plain text beyond loopback is refused unless the configuration allows it in as many words.

use crate::config::Http;
use crate::document::Origin;
use crate::shell::link::Link;
use crate::shell::retained::Retained;
use crate::shell::station_api as api;
use crate::shell::station_devices as devices;
use crate::shell::tls::ServerTls;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Connections at a time: a ward's pages, a scraper, a person with a terminal.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a request to the end of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// From a request to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest wait for running requests at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Queries of the store at a time.
const STORE_READERS_MAX: usize = 4;

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
    /// The inventory, from the judging thread.
    pub board: Arc<crate::shell::devices::Board>,
    /// What is decided goes the way of every input; `None`: nothing can be decided here.
    pub journal: Option<crate::shell::journal::JournalHandle>,
    /// Where commands go; `None`: none are taken here.
    pub commands: Option<crate::shell::commands::Commands>,
}

/// What stops HTTP from starting.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    #[error(transparent)]
    Plaintext(#[from] crate::shell::tls::PlaintextRefused),
    #[error("http.listen {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error("http.tls: {0}")]
    Tls(#[from] crate::shell::tls::TlsError),
}

/// A running server.
pub struct Station {
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) state: Arc<StationState>,
    pub(crate) readers: Arc<Semaphore>,
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

impl Station {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(config: &Http, state: StationState) -> Result<Station, StationError> {
        crate::shell::tls::check_plaintext("http.listen", config.listen, config.tls.as_ref(), config.plaintext)?;
        let tls = config.tls.as_ref().map(ServerTls::load).transpose()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|e| StationError::Bind(config.listen, e))?;
        let address = listener.local_addr().map_err(|e| StationError::Bind(config.listen, e))?;
        let shared = Shared { state: Arc::new(state), readers: Arc::new(Semaphore::new(STORE_READERS_MAX)) };
        let router = router(shared);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, tls.clone(), router, stopped));
        tracing::info!(%address, tls = config.tls.is_some(), "http: listens");
        Ok(Station { address, tls, stop, task })
    }
    /// The real address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Its certificate, for the [`Reloader`](crate::shell::tls::Reloader).
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.clone()
    }
    /// Takes no new connection, lets the running requests end (5 s at most).
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if self.task.await.is_err() {
            tracing::error!("http: the server task panicked");
        }
    }
}

async fn serve(listener: TcpListener, tls: Option<Arc<ServerTls>>, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: the others go on meanwhile.
                tracing::warn!(%error, "http: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = router.clone().layer(axum::Extension(Peer(peer)));
        let (tls, stopped) = (tls.clone(), stopped.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, service, stopped).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
                        connection(stream, service, stopped).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    // Every place back: no connection is open.
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, places.acquire_many(CONNECTIONS_MAX as u32)).await;
}

async fn connection<S>(stream: S, service: Router, mut stopped: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/state", get(api::state_all))
        .route("/api/v1/state/{ward}", get(api::state_ward))
        .route("/api/v1/state/{ward}/{bed}", get(api::state_bed))
        .route("/api/v1/feeds", get(api::feeds))
        .route("/api/v1/devices", get(devices::list))
        .route("/api/v1/devices/{device}", get(devices::one))
        .route("/api/v1/devices/{device}/advisories/{advisory}", axum::routing::patch(devices::decide))
        .route("/api/v1/schemas", get(api::schemas))
        .route("/api/v1/schemas/{name}", get(api::schema))
        .route("/api/v1/asyncapi.json", get(api::asyncapi))
        .route("/api/v1/alerts", get(api::alerts))
        .route("/api/v1/alerts/{id}", get(api::alert))
        .route("/api/v1/alerts/{id}/events", get(api::alert_events))
        .fallback(|| async { api::problem(StatusCode::NOT_FOUND, "no such resource") })
        .method_not_allowed_fallback(|| async { api::problem(StatusCode::METHOD_NOT_ALLOWED, "not this method") })
        .layer(axum::middleware::from_fn_with_state(shared.clone(), door))
        .with_state(shared)
}

/// Who is asked in, how long it may take, and what every answer carries.
async fn door(State(_shared): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = matches!(path, "/health" | "/ready");
    let peer = request.extensions().get::<Peer>().copied();
    let local = peer.is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback()) && is_direct(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |m| m.as_str().to_owned());
    let mut response = if !open && !local {
        api::problem(StatusCode::FORBIDDEN, "only clients on this machine are answered until users with roles are configured")
    } else {
        match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => api::problem(StatusCode::SERVICE_UNAVAILABLE, "took too long"),
        }
    };
    let class = match response.status().as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    ::metrics::counter!(super::metrics::HTTP_REQUESTS, "route" => route, "status" => class).increment(1);
    const HEADERS: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a request came straight from a client on this machine.
fn is_direct(headers: &HeaderMap) -> bool {
    if ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name)) {
        return false;
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn front(State(shared): State<Shared>) -> Html<String> {
    let version = escape(&shared.state.version);
    let site = escape(&shared.state.origin.site);
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>vitalguard {site}</title>\
         <style>body{{font:16px/1.5 sans-serif;max-width:44em;margin:3em auto;padding:0 1em}}</style>\
         <h1>vitalguard</h1><p>Version {version}, site {site}. It judges a copy of the vital-signs feed and says which values cannot \
         be trusted. Advisory only: not for primary alarming. Look at the patient and the bedside monitor.</p><ul>\
         <li><a href=\"/api/v1/state\">State of all beds</a></li><li><a href=\"/api/v1/alerts\">Alerts</a> \
         (<a href=\"/api/v1/alerts?format=csv\">CSV</a>)</li><li><a href=\"/api/v1/feeds\">Feeds</a></li>\
         <li><a href=\"/api/v1/devices\">Devices</a></li><li><a href=\"/ready\">Ready?</a></li><li><a href=\"/metrics\">Metrics</a></li></ul></html>\n"
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The process answers: nothing more is said.
async fn health() -> Response {
    api::json(StatusCode::OK, "{\"status\":\"alive\"}".to_owned())
}

/// Ready = journal writable, listeners bound, broker reachable or outbox below half.
async fn ready(State(shared): State<Shared>) -> Response {
    let state = &shared.state;
    let mut reasons: Vec<&str> = Vec::new();
    if !state.journal_writable.load(Ordering::Relaxed) {
        reasons.push("the journal cannot be written");
    }
    if !state.listeners_bound.load(Ordering::Relaxed) {
        reasons.push("a listener is not bound");
    }
    let mut broker = serde_json::Value::Null;
    if let Some(link) = &state.link {
        if !link.ready() {
            reasons.push("the broker is not reachable and the outbox is half full");
        }
        if link.conflict() && !link.connected() {
            reasons.push("another publisher speaks under this site");
        }
        broker = serde_json::json!({
            "connected": link.connected(),
            "protocol": match link.protocol() { 5 => "5", 4 => "3.1.1", _ => "none" },
            "outbox": link.outbox_depth(),
            "outbox_max": link.outbox_max(),
        });
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if reasons.is_empty() { "ready" } else { "not ready" };
    api::json(status, serde_json::json!({ "status": word, "reasons": reasons, "broker": broker }).to_string())
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match &shared.state.metrics {
        None => api::problem(StatusCode::NOT_FOUND, "metrics are off"),
        Some(handle) => {
            handle.run_upkeep();
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_through_a_proxy_or_a_rebound_name_is_not_local() {
        let headers = |list: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in list {
                map.insert(*name, HeaderValue::from_static(value));
            }
            map
        };
        assert!(is_direct(&headers(&[("host", "localhost:8080")])));
        assert!(is_direct(&headers(&[("host", "127.0.0.1:8080")])));
        assert!(is_direct(&headers(&[("host", "[::1]:8080")])));
        assert!(!is_direct(&headers(&[("host", "evil.example:8080")])));
        assert!(!is_direct(&headers(&[("host", "localhost"), ("x-forwarded-for", "10.0.0.9")])));
    }
}
