//! The relay: a process of its own that stands in the clinical path.
//!
//! One contract: **bytes go on to the other side as they came, first and unread; everything else is second to that.** No disk,
//! no journal, no judge is waited for. What it holds of the path is one read a direction that the other side has not taken yet.
//! Half-closed connections stay half-closed, a reset is passed on as a reset, and a receiver that cannot be reached resets the
//! sender. No timeout of ours ends a connection; keepalive finds dead peers (the kernel's answer would, without us).
//!
//! Memory: [`PASS_BYTES`] a direction where the other side does not read, nothing where it does; copies up to
//! [`COPY_BYTES_MAX`]. One thread, no locks.

use super::control::{self, Control};
use super::copies::{COPY_BYTES_MAX, Copies};
use super::wire::{Hello, PROTOCOL, Stats, Way, What};
use crate::shell::listener::{Histogram, keep_alive};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Bytes of one read, and so of what waits for the other side.
pub const PASS_BYTES: usize = 32 << 10;
/// Connecting to the receiver takes at most, seconds: afterwards the sender is told (by a reset), which tries again.
const CONNECT_S: u64 = 10;
/// Finding the receiver's address takes at most, seconds; after that its last one is used.
const RESOLVE_S: u64 = 3;
/// Connections that the system may hold before we accept them.
const BACKLOG: u32 = 1024;
/// Pause after an accept that failed, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 20;
/// A relay that drains and has no connection left gives the judge so long to take the last copies, seconds.
const LAST_COPIES_S: u64 = 2;

/// What a relay is told.
#[derive(Debug, Clone)]
pub struct Options {
    pub feed: String,
    pub listen: SocketAddr,
    /// The real receiver, `host:port`.
    pub forward_to: String,
    pub connections_max: usize,
    /// The socket of the judge; without one there are no copies.
    pub control: Option<PathBuf>,
    pub copy_bytes_max: usize,
}

impl Options {
    pub fn new(feed: &str, listen: SocketAddr, forward_to: &str) -> Options {
        Options {
            feed: feed.to_owned(),
            listen,
            forward_to: forward_to.to_owned(),
            connections_max: 1024,
            control: None,
            copy_bytes_max: COPY_BYTES_MAX,
        }
    }
}

/// Why a relay does not begin.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("relay of {feed}: cannot listen on {address}: {source}")]
    Bind { feed: String, address: SocketAddr, source: std::io::Error },
    #[error("relay of {feed}: another one runs (process {pid})")]
    Running { feed: String, pid: u32 },
    #[error("relay of {feed}: another one is starting or running: {path} is locked")]
    Locked { feed: String, path: PathBuf },
    #[error("relay: {0}")]
    Runtime(std::io::Error),
}

thread_local! {
    /// Every read goes through here: a connection that is not waiting for the other side has no buffer of its own.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PASS_BYTES]);
}

/// What the tasks of a relay share.
pub(super) struct Shared {
    pub options: Options,
    pub address: SocketAddr,
    pub copies: RefCell<Copies>,
    /// There is something for the judge.
    pub news: Notify,
    /// Accept nothing more.
    pub drain: Notify,
    pub draining: Cell<bool>,
    open: RefCell<BTreeSet<u64>>,
    counters: RefCell<Stats>,
    times: Histogram,
    receiver: Cell<Option<SocketAddr>>,
    began: Instant,
    began_us: i64,
}

impl Shared {
    /// Microseconds since 1970, never backwards.
    pub fn now_us(&self) -> i64 {
        self.began_us + self.began.elapsed().as_micros() as i64
    }
    pub fn open(&self) -> Vec<u64> {
        self.open.borrow().iter().copied().collect()
    }
    pub fn stats(&self) -> Stats {
        let (held, dropped, dropped_bytes) = self.copies.borrow().counts();
        Stats {
            connections: self.open.borrow().len() as u64,
            copies_held_bytes: held as u64,
            copies_dropped: dropped,
            copies_dropped_bytes: dropped_bytes,
            relay_p50_us: self.times.quantile_us(0.5).unwrap_or(0),
            relay_p99_us: self.times.quantile_us(0.99).unwrap_or(0),
            draining: self.draining.get(),
            ..*self.counters.borrow()
        }
    }
    pub fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            program: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            feed: self.options.feed.clone(),
            listen: self.options.listen,
            address: self.address,
            forward_to: self.options.forward_to.clone(),
            connections_max: self.options.connections_max,
            draining: self.draining.get(),
            stats: self.stats(),
        }
    }
    pub fn start_draining(&self) {
        self.draining.set(true);
        self.drain.notify_one();
    }
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.counters.borrow_mut());
    }
}

/// Runs a relay in this thread until it is drained. `ready` is called once with its address.
pub fn run(options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), RelayError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RelayError::Runtime)?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async move {
        let control = Control::open(&options)?;
        let bound = bind(options.listen);
        let (socket, address) =
            bound.map_err(|source| RelayError::Bind { feed: options.feed.clone(), address: options.listen, source })?;
        let copies = RefCell::new(Copies::new(options.copy_bytes_max));
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let shared = Rc::new(Shared {
            options,
            address,
            copies,
            news: Notify::new(),
            drain: Notify::new(),
            draining: Cell::new(false),
            open: RefCell::default(),
            counters: RefCell::default(),
            times: Histogram::default(),
            receiver: Cell::new(None),
            began: Instant::now(),
            began_us: wall.as_micros() as i64,
        });
        ready(address);
        tokio::task::spawn_local(control::serve(control, Rc::clone(&shared)));
        tokio::task::spawn_local(signals(Rc::clone(&shared)));
        accept(socket, &shared).await;
        // The listening socket is closed; what is open goes on.
        while !shared.open.borrow().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let last = Instant::now();
        while !shared.copies.borrow().all_sent() && last.elapsed() < Duration::from_secs(LAST_COPIES_S) {
            shared.news.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // A moment for what stands in the judge's socket.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    })
}

/// SIGTERM or SIGINT: drain; the second one: end.
async fn signals(shared: Rc<Shared>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shared.draining.get() {
            std::process::exit(0);
        }
        tracing::info!(open = shared.open.borrow().len(), "draining: nothing more is accepted, what is open goes on");
        shared.start_draining();
    }
}

fn bind(listen: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let socket = socket.listen(BACKLOG)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// Accepts until the relay is to drain.
async fn accept(socket: TcpListener, shared: &Rc<Shared>) {
    let mut number = 0;
    while !shared.draining.get() {
        let accepted = tokio::select! {
            () = shared.drain.notified() => continue,
            accepted = socket.accept() => accepted,
        };
        let Ok((sender, peer)) = accepted else {
            shared.count(|c| c.accept_errors += 1);
            tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            continue;
        };
        if shared.open.borrow().len() >= shared.options.connections_max {
            shared.count(|c| c.refused += 1);
            reset(sender);
            continue;
        }
        number += 1;
        shared.open.borrow_mut().insert(number);
        let shared = Rc::clone(shared);
        tokio::task::spawn_local(async move {
            let _open = Open(Rc::clone(&shared), number);
            connection(&shared, number, sender, peer).await;
        });
    }
}

/// An open connection in the list, also when its task fails.
struct Open(Rc<Shared>, u64);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(&self.1);
    }
}

/// Closes with a reset: what the other side did, or what a refused connection is.
fn reset(stream: TcpStream) {
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

async fn connection(shared: &Rc<Shared>, number: u64, sender: TcpStream, peer: SocketAddr) {
    shared.count(|c| c.connections_total += 1);
    keep_alive(&sender);
    let Some(receiver) = connect(shared).await else {
        shared.count(|c| c.unreachable += 1);
        reset(sender);
        return;
    };
    keep_alive(&receiver);
    let receiver_at = receiver.peer_addr().unwrap_or(shared.address);
    let passed = [Cell::new(0), Cell::new(0)];
    let (over, turn) = (&Cell::new(false), &Notify::new());
    let up = Pass { shared, number, way: Way::ToReceiver, peer, passed: &passed[0], over, turn };
    let down = Pass { shared, number, way: Way::ToSender, peer: receiver_at, passed: &passed[1], over, turn };
    let broken = tokio::try_join!(up.pass(&sender, &receiver), down.pass(&receiver, &sender)).is_err();
    if broken {
        shared.count(|c| c.resets += 1);
        reset(sender);
        reset(receiver);
    }
    let what = What::End { to_receiver: passed[0].get(), to_sender: passed[1].get(), reset: broken };
    if passed.iter().any(|n| n.get() > 0) {
        shared.copies.borrow_mut().ended(number, shared.now_us(), peer, what);
        shared.news.notify_one();
    }
}

/// The receiver, at the address that its name has now or had last.
async fn connect(shared: &Shared) -> Option<TcpStream> {
    let name = shared.options.forward_to.as_str();
    let found: Vec<SocketAddr> = match name.parse() {
        Ok(address) => vec![address],
        Err(_) => match timeout(Duration::from_secs(RESOLVE_S), tokio::net::lookup_host(name)).await {
            Ok(Ok(all)) => all.collect(),
            _ => shared.receiver.get().into_iter().collect(),
        },
    };
    let connect = async {
        for address in found {
            if let Ok(stream) = TcpStream::connect(address).await {
                return Some((stream, address));
            }
        }
        None
    };
    let (stream, address) = timeout(Duration::from_secs(CONNECT_S), connect).await.ok().flatten()?;
    shared.receiver.set(Some(address));
    Some(stream)
}

/// One direction of one connection.
struct Pass<'a> {
    shared: &'a Shared,
    number: u64,
    way: Way,
    /// Who sends these bytes.
    peer: SocketAddr,
    passed: &'a Cell<u64>,
    /// One direction is over; the other one says when it is, too.
    over: &'a Cell<bool>,
    turn: &'a Notify,
}

/// What one look at a socket gave.
enum Look {
    /// Everything that was read is with the other side already.
    Passed,
    /// The other side did not take all of it: what was read, and how much of it is gone.
    Waits(Vec<u8>, usize),
    Nothing,
    End,
}

impl Pass<'_> {
    /// Passes bytes on until the end of this direction; an error is a reset of either side.
    async fn pass(&self, from: &TcpStream, to: &TcpStream) -> std::io::Result<()> {
        loop {
            from.readable().await?;
            match self.look(from, to)? {
                Look::Passed | Look::Nothing => {}
                Look::Waits(bytes, mut gone) => {
                    while gone < bytes.len() {
                        to.writable().await?;
                        match to.try_write(&bytes[gone..]) {
                            Ok(n) => gone += n,
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(error) => return Err(error),
                        }
                    }
                    self.copy(self.shared.now_us(), &bytes);
                }
                Look::End => break,
            }
        }
        // The other direction may go on for as long as it likes.
        let _ = socket2::SockRef::from(to).shutdown(Shutdown::Write);
        self.watch(from).await
    }

    /// Reads once and writes at once, with nothing in between.
    fn look(&self, from: &TcpStream, to: &TcpStream) -> std::io::Result<Look> {
        SCRATCH.with_borrow_mut(|scratch| {
            let read = match from.try_read(scratch) {
                Ok(0) => return Ok(Look::End),
                Ok(n) => &scratch[..n],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Look::Nothing),
                Err(error) => return Err(error),
            };
            let at = Instant::now();
            let gone = match to.try_write(read) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if gone < read.len() {
                return Ok(Look::Waits(read.to_vec(), gone));
            }
            self.shared.times.record(at.elapsed().as_micros() as u64);
            self.copy(self.shared.now_us(), read);
            Ok(Look::Passed)
        })
    }

    /// The bytes are on their way: now the copy.
    fn copy(&self, at_us: i64, bytes: &[u8]) {
        let offset = self.passed.get();
        self.passed.set(offset + bytes.len() as u64);
        self.shared.count(|c| match self.way {
            Way::ToReceiver => c.bytes_to_receiver += bytes.len() as u64,
            Way::ToSender => c.bytes_to_sender += bytes.len() as u64,
        });
        if self.shared.options.control.is_some() {
            self.shared.copies.borrow_mut().passed(self.number, at_us, self.peer, self.way, offset, bytes);
            self.shared.news.notify_one();
        }
    }

    /// This side has closed its half. A reset that it sends later must still reach the other side, as long as that one goes on.
    async fn watch(&self, from: &TcpStream) -> std::io::Result<()> {
        if self.over.replace(true) {
            self.turn.notify_one();
            return Ok(());
        }
        let error = async {
            let _ = from.ready(Interest::ERROR).await;
            match from.take_error() {
                Ok(Some(error)) | Err(error) => error,
                // Closed both ways is no error: nothing more can come of it.
                Ok(None) => std::future::pending().await,
            }
        };
        tokio::select! {
            error = error => Err(error),
            () = self.turn.notified() => Ok(()),
        }
    }
}
