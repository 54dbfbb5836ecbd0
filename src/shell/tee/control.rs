//! The relay's own socket, in the data folder: questions, copies to the judge, the order to drain.
//!
//! One contract: nothing that happens here is waited for by the path. A relay that cannot have its socket (a full disk) passes
//! bytes on without it and tries again.

use super::relay::{Options, RelayError, Shared};
use super::wire::{Event, LINE_BYTES_MAX, REPLY_BYTES, Reply, Request, What};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

/// Whoever connects says what it wants within, seconds.
const REQUEST_S: u64 = 5;
/// Bytes written to the judge at a time, about.
const BATCH_BYTES: usize = 256 << 10;
/// Copies are collected so long before they are written, milliseconds.
const BATCH_MS: u64 = 2;
/// Counters go to the judge so often, milliseconds.
const STATS_MS: u64 = 1_000;
/// A socket that could not be made is tried again after, seconds.
const AGAIN_S: u64 = 5;

/// The socket and the lock that keep a second relay of the feed away.
pub(super) struct Control {
    path: Option<PathBuf>,
    socket: Option<UnixListener>,
    /// Held as long as the relay accepts: given up when it drains.
    lock: Option<std::fs::File>,
}

impl Control {
    /// Takes the lock and the socket. Only another living relay is a reason not to begin.
    pub fn open(options: &Options) -> Result<Control, RelayError> {
        let Some(path) = options.control.clone() else { return Ok(Control { path: None, socket: None, lock: None }) };
        if let Some(folder) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            let _ = builder.recursive(true).create(folder);
        }
        let lock_path = path.with_extension("lock");
        let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        if let Ok(lock) = &opened
            && let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock()
        {
            return Err(match super::child::ask_now(&path, Request::Status) {
                Ok(hello) => RelayError::Running { feed: options.feed.clone(), pid: hello.pid },
                Err(_) => RelayError::Locked { feed: options.feed.clone(), path: lock_path },
            });
        }
        if let Ok(hello) = super::child::ask_now(&path, Request::Status) {
            return Err(RelayError::Running { feed: options.feed.clone(), pid: hello.pid });
        }
        let socket = listen(&path);
        Ok(Control { path: Some(path), socket, lock: opened.ok() })
    }

    /// The name of a socket whose relay drains: its place is free for the next one.
    fn step_aside(&mut self) {
        if let Some(path) = &self.path {
            let aside = path.with_extension(format!("{}.sock", std::process::id()));
            match std::fs::rename(path, &aside) {
                Ok(()) => self.path = Some(aside),
                Err(_) => {
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        self.lock = None;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let (Some(path), Some(_)) = (&self.path, &self.socket) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listen(path: &Path) -> Option<UnixListener> {
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).map_err(|error| tracing::warn!(%error, "the relay has no socket for the judge")).ok()
}

/// Serves whoever connects, until the relay ends.
pub(super) async fn serve(mut control: Control, shared: Rc<Shared>) {
    let mut judge = CancellationToken::new();
    let mut every = interval(Duration::from_millis(STATS_MS));
    loop {
        let Some(socket) = &control.socket else {
            tokio::time::sleep(Duration::from_secs(AGAIN_S)).await;
            control.socket = control.path.as_deref().and_then(listen);
            continue;
        };
        let (stream, request) = tokio::select! {
            accepted = socket.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                match timeout(Duration::from_secs(REQUEST_S), greet(stream)).await {
                    Ok(Some(greeted)) => greeted,
                    _ => continue,
                }
            }
            _ = every.tick() => {
                shared.copies.borrow_mut().forget_old(shared.now_us());
                if shared.draining.get() && control.lock.is_some() {
                    control.step_aside();
                }
                continue;
            }
        };
        if request == Request::Drain && !shared.draining.get() {
            control.step_aside();
            shared.start_draining();
        }
        let (mut reader, mut writer) = stream;
        let mut line = serde_json::to_vec(&shared.hello()).unwrap_or_default();
        line.push(b'\n');
        if timeout(Duration::from_secs(REQUEST_S), writer.write_all(&line)).await.is_err() || request != Request::Attach {
            continue;
        }
        judge.cancel();
        judge = CancellationToken::new();
        shared.copies.borrow_mut().restart();
        let (stop, shared) = (judge.clone(), Rc::clone(&shared));
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = copies(&shared, &mut writer) => {}
                () = replies(&shared, &mut reader) => {}
            }
        });
    }
}

type Halves = (BufReader<OwnedReadHalf>, OwnedWriteHalf);

async fn greet(stream: UnixStream) -> Option<(Halves, Request)> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await.ok()?;
    let request = serde_json::from_slice(&line).ok()?;
    Some(((reader, writer), request))
}

/// Sends copies and counters until the judge is gone.
async fn copies(shared: &Shared, writer: &mut OwnedWriteHalf) {
    let mut every = interval(Duration::from_millis(STATS_MS));
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            // What comes within a moment goes together: the path has the processor first.
            () = shared.news.notified() => tokio::time::sleep(Duration::from_millis(BATCH_MS)).await,
            _ = every.tick() => {
                let (sequence, at_us) = (0, shared.now_us());
                let what = What::Stats(Box::new(shared.stats()));
                Event { sequence, connection: 0, at_us, peer: SocketAddr::from(([0; 4], 0)), what }.write(&mut batch);
            }
        }
        loop {
            shared.copies.borrow_mut().take(|| shared.open(), &mut batch, BATCH_BYTES);
            if batch.is_empty() {
                break;
            }
            if writer.write_all(&batch).await.is_err() {
                return;
            }
            batch.clear();
        }
    }
}

async fn replies(shared: &Shared, reader: &mut BufReader<OwnedReadHalf>) {
    let mut bytes = [0; REPLY_BYTES];
    while reader.read_exact(&mut bytes).await.is_ok() {
        match Reply::read(bytes) {
            Some(Reply::Stored(sequence)) => shared.copies.borrow_mut().stored(sequence),
            Some(Reply::Mute(connection)) => shared.copies.borrow_mut().mute(connection),
            None => return,
        }
    }
}
