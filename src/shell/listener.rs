//! MLLP listeners: any number of them, one task a connection.
//!
//! **One contract: a positive answer leaves after its message is durable in the journal, and answers leave in the order of
//! their messages.** All complete frames of one read are stored together and answered in one write (`connection.rs`).
//!
//! A fault in one connection never touches another: each has its own task and decoder; what they share is bounded (connections,
//! bytes of unfinished frames, the journal's queue). A connection over the cap is closed at once and counted.
//!
//! Logs name the feed and the fault; addresses stand in debug lines only.

mod budget;
mod connection;
mod histogram;
mod stats;
mod step;

pub use connection::{DRAIN_S, GRACE_MS, WRITE_TIMEOUT_S};
pub use histogram::Histogram;
pub use stats::{FeedStats, WireFault};
pub(in crate::shell) use step::{Class, Step, batch, class, fragment};

use super::journal::JournalHandle;
use super::tls::{PlaintextRefused, ServerTls, TlsError, check_plaintext};
use crate::config::{Mllp, Placement};
use crate::hl7::time::Zone;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that the system may hold before we accept them.
const BACKLOG: u32 = 1024;
/// Longest pause after a failed accept (no file descriptors), milliseconds.
const ACCEPT_PAUSE_MS_MAX: u64 = 1000;

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("feed {feed}: cannot listen on {address}: {source}")]
    Bind { feed: String, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Plaintext(#[from] PlaintextRefused),
    #[error("feed {feed}: {source}")]
    Tls { feed: String, source: TlsError },
    #[error("feed {feed}: no such time zone: {zone}")]
    Zone { feed: String, zone: String },
}

/// A listener that has its socket and does not accept yet.
pub struct Bound {
    /// Where it listens; the port that the system gave where 0 was configured.
    pub local_addr: SocketAddr,
    /// Its counters.
    pub stats: Arc<FeedStats>,
    /// Its certificates, for a [`Reloader`](super::tls::Reloader).
    pub tls: Option<Arc<ServerTls>>,
    shared: Shared,
    socket: TcpListener,
}

/// What the connections of one listener share.
#[derive(Clone)]
struct Shared {
    config: Arc<Mllp>,
    stats: Arc<FeedStats>,
    budget: Arc<budget::Budget>,
}

/// Numbers of connections: unique within one run of the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// The next one.
pub(in crate::shell) fn next_connection() -> u64 {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Whether the feed's own time zone, where it has one, is one.
pub(in crate::shell) fn check_zone(config: &Mllp) -> Result<(), ListenError> {
    match &config.zone {
        Some(name) if Zone::named(name).is_none() => Err(ListenError::Zone { feed: config.feed.clone(), zone: name.clone() }),
        _ => Ok(()),
    }
}

/// Opens a listener's socket. Must run inside a tokio runtime.
pub fn bind(config: &Mllp) -> Result<Bound, ListenError> {
    let feed = config.feed.clone();
    check_plaintext(&format!("feed {feed}"), config.listen, config.tls.as_ref(), config.plaintext)?;
    check_zone(config)?;
    let tls = match &config.tls {
        None => None,
        Some(files) => Some(ServerTls::load(files).map_err(|source| ListenError::Tls { feed: feed.clone(), source })?),
    };
    let open = || {
        let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(config.listen)?;
        let socket = socket.listen(BACKLOG)?;
        Ok((socket.local_addr()?, socket))
    };
    let (local_addr, socket) =
        open().map_err(|source| ListenError::Bind { feed: feed.clone(), address: config.listen, source })?;
    let stats = Arc::new(FeedStats::placed(config));
    let budget = Arc::new(budget::Budget::new(config));
    let shared = Shared { config: Arc::new(config.clone()), stats: stats.clone(), budget };
    Ok(Bound { local_addr, stats, tls, shared, socket })
}

impl Bound {
    /// Accepts until `stop`; then lets the connections finish what they have begun (at most [`DRAIN_S`]) and returns.
    pub async fn serve(self, journal: JournalHandle, stop: CancellationToken) {
        if self.shared.config.placement == Placement::Tap {
            return super::tap::serve(self, journal, stop).await;
        }
        let Bound { shared, socket, tls, .. } = self;
        let converse = |stream: TcpStream, peer| {
            keep_alive(&stream);
            let acceptor = tls.as_ref().map(|tls| tls.acceptor());
            let number = next_connection();
            connection::Connection::new(shared.clone(), journal.clone(), stop.clone(), number, peer).run(stream, acceptor)
        };
        accept(socket, &shared.config, &shared.stats, &stop, converse).await;
    }

    /// Socket, configuration and counters.
    pub(in crate::shell) fn into_parts(self) -> (TcpListener, Arc<Mllp>, Arc<FeedStats>) {
        (self.socket, self.shared.config, self.shared.stats)
    }
}

/// Accepts connections until `stop`, a task each, `connections_max` at a time; then waits for those that are open.
pub(in crate::shell) async fn accept<T>(
    socket: TcpListener,
    config: &Mllp,
    stats: &Arc<FeedStats>,
    stop: &CancellationToken,
    task: impl Fn(TcpStream, SocketAddr) -> T,
) where
    T: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut pause_ms = 0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                note_end(config, stats, &ended);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or of memory: it passes when others close.
                stats.count(WireFault::AcceptError);
                pause_ms = (pause_ms * 2).clamp(10, ACCEPT_PAUSE_MS_MAX);
                tracing::warn!(feed = config.feed, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                continue;
            }
        };
        pause_ms = 0;
        if tasks.len() >= config.connections_max {
            stats.count(WireFault::Refused);
            tracing::warn!(feed = config.feed, cap = config.connections_max, "connection refused: too many");
            drop(stream);
            continue;
        }
        let counted = Counted::new(stats.clone());
        let task = task(stream, peer);
        tasks.spawn(async move {
            let _counted = counted;
            task.await;
        });
    }
    drop(socket);
    let drained = async {
        while let Some(ended) = tasks.join_next().await {
            note_end(config, stats, &ended);
        }
    };
    // Each connection keeps the deadline by itself; a second more is for one that hangs.
    let _ = tokio::time::timeout(Duration::from_secs(DRAIN_S + 1), drained).await;
    tasks.shutdown().await;
}

fn note_end(config: &Mllp, stats: &FeedStats, ended: &Result<(), tokio::task::JoinError>) {
    if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
        stats.count(WireFault::TaskPanic);
        tracing::error!(feed = config.feed, "a connection's task failed; the other connections go on");
    }
}

/// One open connection in the counters, also when its task fails.
struct Counted(Arc<FeedStats>);

impl Counted {
    fn new(stats: Arc<FeedStats>) -> Counted {
        stats.connections.fetch_add(1, Ordering::Relaxed);
        stats.connections_total.fetch_add(1, Ordering::Relaxed);
        stats.meters.connections.increment(1.0);
        Counted(stats)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.meters.connections.decrement(1.0);
    }
}

/// Finds out within minutes that a peer is gone without having said so (a cut cable, a dropped tunnel); answers leave at once.
pub(super) fn keep_alive(stream: &TcpStream) {
    let alive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&alive);
    let _ = stream.set_nodelay(true);
}
