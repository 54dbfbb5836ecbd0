//! HTTP: the page, is it alive, is it ready, what is the state, which alerts were there, and what people decide.
//!
//! One contract: everything here reads, but for commands and decisions, which go through the journal like every input. State comes
//! from `Retained`, history from the store over connections of its own; a slow or hostile client costs one of a bounded number of
//! connections and nothing else. Who is let in says `station_door`.
//!
//! Plain text beyond loopback is refused unless the configuration allows it in as many words.

use crate::config::Config;
use crate::document::{Origin, Pulse};
use crate::shell::data::Data;
use crate::shell::link::Link;
use crate::shell::retained::Retained;
use crate::shell::station_session::{Place, Sessions};
use crate::shell::station_tunnel::{self as tunnel, Tunnel};
use crate::shell::tls::ServerTls;
use crate::shell::{
    station_about as about, station_alerts as alerts, station_api as api, station_audit as audit,
    station_case_files as case_files, station_cases as cases, station_cmd as cmd, station_devices as devices,
    station_door as door, station_events as events, station_explain as explain, station_feeds as feeds, station_login as login,
    station_messages as messages, station_names as names, station_page as page, station_replay as replay,
    station_report as report, station_trends as trends,
};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

/// Connections at a time: a ward's pages, a scraper, a person with a terminal.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a request to the end of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that takes nothing of its answer for so long is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest wait for running requests at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Queries of the store at a time.
const STORE_READERS_MAX: usize = 4;
/// Streams of events, each of which holds a connection, and tunnels.
const STREAMS_MAX: usize = 128;
const TUNNELS_MAX: usize = 256;
/// Largest body of a request, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What HTTP shows.
#[derive(Clone)]
pub struct StationState {
    pub config: Arc<Config>,
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
    /// Numbers of the heartbeat.
    pub pulse: Arc<Mutex<Pulse>>,
    /// `None`: the page hears events over HTTP alone.
    pub tunnel: Option<Tunnel>,
    /// What the pages' data come from; `None`: there are none.
    pub data: Option<Arc<Data>>,
}

impl StationState {
    /// Of a house in which nothing else runs.
    pub fn new(config: Arc<Config>, origin: Origin, store: PathBuf) -> StationState {
        StationState {
            config,
            origin,
            version: env!("CARGO_PKG_VERSION").into(),
            retained: Arc::default(),
            store,
            link: None,
            metrics: None,
            journal_writable: Arc::new(AtomicBool::new(true)),
            listeners_bound: Arc::new(AtomicBool::new(true)),
            board: Arc::default(),
            journal: None,
            commands: None,
            pulse: Arc::default(),
            tunnel: None,
            data: None,
        }
    }
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
    #[error("http: the system gives no random bytes")]
    Random,
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
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) link: Arc<Link>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) tunnels: Arc<Semaphore>,
    /// The server stops: what goes on ends.
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) began: std::time::Instant,
    /// Cookies are for TLS alone.
    pub(crate) secure: bool,
}

impl Shared {
    /// Writes down who is logged in.
    pub(crate) async fn save_sessions(&self) {
        let sessions = Arc::clone(&self.sessions);
        let _ = tokio::task::spawn_blocking(move || sessions.save()).await;
    }
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Station {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(state: StationState) -> Result<Station, StationError> {
        let config = state.config.http.clone();
        crate::shell::tls::check_plaintext("http.listen", config.listen, config.tls.as_ref(), config.plaintext)?;
        let tls = config.tls.as_ref().map(ServerTls::load).transpose()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|e| StationError::Bind(config.listen, e))?;
        let address = listener.local_addr().map_err(|e| StationError::Bind(config.listen, e))?;
        let (stop, stopped) = watch::channel(false);
        let mut sessions = Sessions::new(&state.config).ok_or(StationError::Random)?;
        sessions.outlive(Place::beside(&state.store, state.data.as_ref().map(|data| data.site_key.clone())));
        let shared = Shared {
            sessions: Arc::new(sessions),
            link: state.link.clone().unwrap_or_default(),
            state: Arc::new(state),
            readers: Arc::new(Semaphore::new(STORE_READERS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            tunnels: Arc::new(Semaphore::new(TUNNELS_MAX)),
            stopped: stopped.clone(),
            began: std::time::Instant::now(),
            secure: tls.is_some(),
        };
        tokio::spawn(events::tell(shared.clone()));
        let served = serve(listener, tls.clone(), router(shared.clone()), stopped);
        let task = tokio::spawn(async move {
            served.await;
            shared.save_sessions().await;
        });
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
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// The routes, and what was registered: the description is held against it by a test.
pub(crate) struct Routes {
    router: Router<Shared>,
    list: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// One method of one path.
    pub(crate) fn on(mut self, method: &'static str, path: &'static str, handler: MethodRouter<Shared>) -> Routes {
        self.list.push((method, path));
        self.router = self.router.route(path, handler);
        self
    }
}

fn routes() -> Routes {
    let routes = Routes { router: Router::new(), list: Vec::new() }
        .on("GET", "/", get(page::index))
        .on("GET", "/{file}", get(page::asset))
        .on("GET", "/health", get(health))
        .on("GET", "/ready", get(ready))
        .on("GET", "/metrics", get(metrics))
        .on("GET", "/mqtt", get(tunnel::open))
        .on("POST", "/api/v1/credentials", post(tunnel::credentials))
        .on("GET", "/api/v1/session", get(login::get))
        .on("POST", "/api/v1/session", post(login::post))
        .on("DELETE", "/api/v1/session", delete(login::delete))
        .on("GET", "/api/v1/events", get(events::events))
        .on("POST", "/api/v1/cmd/{verb}", post(cmd::command))
        .on("GET", "/api/v1/state", get(api::state_all))
        .on("GET", "/api/v1/state/{ward}", get(api::state_ward))
        .on("GET", "/api/v1/state/{ward}/{bed}", get(api::state_bed))
        .on("GET", "/api/v1/devices", get(devices::list))
        .on("GET", "/api/v1/devices/{device}", get(devices::one))
        .on("PATCH", "/api/v1/devices/{device}/advisories/{advisory}", patch(devices::decide))
        .on("GET", "/api/v1/alerts", get(alerts::list))
        .on("GET", "/api/v1/alerts/{id}", get(alerts::one))
        .on("GET", "/api/v1/alerts/{id}/events", get(alerts::events))
        .on("GET", "/api/v1/about", get(about::about))
        .on("GET", "/api/v1/checks", get(about::checks))
        .on("GET", "/api/v1/schemas", get(api::schemas))
        .on("GET", "/api/v1/schemas/{name}", get(api::schema))
        .on("GET", "/api/v1/asyncapi.json", get(api::asyncapi))
        .on("GET", "/api/v1/openapi.json", get(api::openapi));
    data_routes(routes)
}

/// Trends, messages, names, feeds, replay, reports.
fn data_routes(routes: Routes) -> Routes {
    routes
        .on("GET", "/api/v1/trends/{ward}/{bed}", get(trends::get))
        .on("GET", "/api/v1/messages/{raw}", get(messages::get))
        .on("GET", "/api/v1/names/{ward}/{bed}", get(names::get))
        .on("GET", "/api/v1/audit", get(audit::list))
        .on("GET", "/api/v1/cases", get(cases::list))
        .on("POST", "/api/v1/cases", post(cases::open))
        .on("GET", "/api/v1/cases/forms", get(cases::forms))
        .on("GET", "/api/v1/cases/{id}", get(cases::one))
        .on("POST", "/api/v1/cases/{id}/steps", post(cases::step))
        .on("PUT", door::UPLOAD, put(case_files::capture).layer(case_files::capture_limit()))
        .on("GET", "/api/v1/cases/{id}/bundle", get(case_files::bundle))
        .on("GET", "/api/v1/cases/{id}/drafts/{form}", get(case_files::draft))
        .on("GET", "/api/v1/checklist", get(case_files::checklist))
        .on("GET", "/api/v1/feeds", get(feeds::list))
        .on("GET", "/api/v1/feeds/{feed}/rejects", get(feeds::rejects))
        .on("GET", "/api/v1/alerts/{id}/report", get(report::get))
        .on("GET", "/api/v1/alerts/{id}/explain", get(explain::get))
        .on("GET", "/api/v1/replay", get(replay::list))
        .on("POST", "/api/v1/replay", post(replay::start))
        .on("GET", "/api/v1/replay/{run}", get(replay::get))
        .on("PATCH", "/api/v1/replay/{run}", patch(replay::change))
        .on("DELETE", "/api/v1/replay/{run}", delete(replay::remove))
        .on("GET", "/api/v1/replay/{run}/events", get(replay::events))
}

fn router(shared: Shared) -> Router {
    routes()
        .router
        .fallback(|| async { api::problem(StatusCode::NOT_FOUND, "no such resource") })
        .method_not_allowed_fallback(|| async { api::problem(StatusCode::METHOD_NOT_ALLOWED, "not this method") })
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(shared.clone(), door::door))
        .with_state(shared)
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
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: serde_json::Value = serde_json::from_str(api::OPENAPI).unwrap();
        let mut there = BTreeSet::new();
        for (path, item) in described["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| !matches!(key.as_str(), "parameters" | "summary")) {
                there.insert((method.to_uppercase(), path.clone()));
            }
        }
        let registered: BTreeSet<_> =
            routes().list.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(there, registered);
    }

    #[test]
    fn a_document_that_is_linked_is_served_beside_the_description() {
        let linked: BTreeSet<&str> =
            api::OPENAPI.split("\"$ref\": \"schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(linked.contains("draft-1.json"), "{linked:?}");
        assert!(linked.iter().all(|name| crate::shell::schemas::schema(name).is_some()), "{linked:?}");
    }
}
