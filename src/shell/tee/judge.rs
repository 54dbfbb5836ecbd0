//! The judge's half of a tee: keeps a relay running, takes its copies, hands them to the journal.
//!
//! One contract: a copy is confirmed to the relay when its records are durable; an unfinished message is confirmed with its end.
//! So a service that is killed and starts again hears what it has missed, as far as the relay could keep it; what it had stored
//! and not confirmed comes twice, and a message that comes twice is judged once.

use super::child::{self, TeeError};
use super::wire::{Event, Hello, LINE_BYTES_MAX, Reply, Request, Way, What};
use crate::config::{Config, Mllp, Placement};
use crate::shell::journal::{JournalHandle, is_held};
use crate::shell::listener::{FeedStats, ListenError, Step};
use crate::shell::tap::{Heard, Pairing, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A relay that cannot be had is tried again after, seconds: at first, and at most.
const AGAIN_S: u64 = 1;
const AGAIN_S_MAX: u64 = 15;
/// Bytes of one read from the relay.
const READ_BYTES: usize = 256 << 10;
/// Silence within conversations is noticed so often, milliseconds.
const TICK_MS: u64 = 100;

/// Why a tee does not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Relay(#[from] TeeError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("feed {feed}: the thread that starts the relay ended")]
    Thread { feed: String },
}

/// A tee whose relay runs (or, where it is external, will).
pub struct Tee {
    /// Where its relay listens.
    pub address: SocketAddr,
    pub stats: Arc<FeedStats>,
    watch: Arc<Watch>,
    data: PathBuf,
    children: Vec<Child>,
}

/// Makes sure that the relay of each tee runs, and says which relays run that no tee names.
pub async fn start_all(config: &Config) -> Result<Vec<Tee>, StartError> {
    let placed = |mllp: &&Mllp| mllp.placement == Placement::Tee;
    let feeds: Vec<String> = config.mllp.iter().filter(placed).map(|mllp| mllp.feed.clone()).collect();
    let data = config.data.clone();
    let strays = tokio::task::spawn_blocking(move || child::strays(&data, &feeds)).await.unwrap_or_default();
    for (hello, control) in strays {
        let (feed, pid, address, control) = (hello.feed, hello.pid, hello.address, control.display());
        tracing::warn!(
            feed,
            pid,
            %address,
            "a relay runs that no tee of the configuration names, and passes bytes on unheard; to end it: vitalguard tee --drain \
             --control {control}"
        );
    }
    let mut tees = Vec::new();
    for mllp in config.mllp.iter().filter(placed) {
        tees.push(start(mllp, &config.data).await?);
    }
    Ok(tees)
}

async fn start(config: &Mllp, data: &Path) -> Result<Tee, StartError> {
    let stats = Arc::new(FeedStats::placed(config));
    let watch = Arc::new(Watch::new(Arc::new(config.clone()), Arc::clone(&stats))?);
    let mut tee = Tee { address: config.listen, stats, watch, data: data.to_owned(), children: Vec::new() };
    if is_held(&data.join("journal")) {
        // Another service runs on this data: its relay is none of our business, and we will not come far.
        return Ok(tee);
    }
    match tee.ensure().await {
        Ok(hello) => tee.address = hello.address,
        Err(StartError::Relay(error @ TeeError::External { .. })) => tracing::warn!("{error}: waiting for it"),
        Err(error) => return Err(error),
    }
    Ok(tee)
}

impl Tee {
    async fn ensure(&mut self) -> Result<Hello, StartError> {
        // A child that has ended is let go.
        self.children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let (config, data) = (Arc::clone(&self.watch.config), self.data.clone());
        let made = tokio::task::spawn_blocking(move || child::ensure(&config, &data)).await;
        let (hello, child) = made.map_err(|_| StartError::Thread { feed: self.watch.config.feed.clone() })??;
        if let Some(child) = child {
            tracing::info!(feed = self.watch.config.feed, pid = hello.pid, "a relay was started");
            self.children.push(child);
        }
        Ok(hello)
    }

    /// Takes copies until `stop`. The relay goes on.
    pub async fn serve(mut self, journal: JournalHandle, stop: CancellationToken) {
        let feed = self.watch.config.feed.clone();
        let path = Arc::clone(&self.watch.path);
        let mut follows = JoinSet::new();
        let mut old: BTreeSet<PathBuf> = BTreeSet::new();
        let mut again_s = AGAIN_S;
        let mut last_pid = 0;
        while !stop.is_cancelled() {
            for control in child::draining(&self.data, &feed) {
                if old.insert(control.clone()) {
                    if let Ok((stream, hello)) = attach(&control).await {
                        let follow = Follow::new(&self.watch, hello, true, None);
                        follows.spawn(follow.run(stream, journal.clone(), stop.clone()));
                    } else {
                        // Its relay ended without taking its socket along.
                        let _ = std::fs::remove_file(&control);
                    }
                }
            }
            let attached = match self.ensure().await {
                Ok(_) => attach(&child::control(&self.data, &feed)).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let (stream, hello) = match attached {
                Ok(attached) => attached,
                Err(error) => {
                    path.relay_up(false);
                    tracing::error!(feed, error, "the clinical path has no relay");
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(Duration::from_secs(again_s)) => {}
                    }
                    again_s = (again_s * 2).min(AGAIN_S_MAX);
                    continue;
                }
            };
            again_s = AGAIN_S;
            let (pid, open) = (hello.pid, hello.stats.connections);
            tracing::info!(feed, pid, open, "following the relay");
            path.relay_up(true);
            let (tell, told) = oneshot::channel();
            let mut follow = Follow::new(&self.watch, hello, false, Some(tell));
            follow.fresh = pid != last_pid;
            last_pid = pid;
            follows.spawn(follow.run(stream, journal.clone(), stop.clone()));
            // Its end, or its word that it drains: either way another one is needed.
            let drains = told.await.is_ok();
            if !stop.is_cancelled() {
                path.relay_up(false);
                if drains {
                    tracing::warn!(feed, pid, "the relay drains: another one takes its place");
                } else {
                    tracing::error!(feed, pid, "the relay ended: its connections are gone, another one is started");
                }
            }
            while follows.try_join_next().is_some() {}
        }
        while follows.join_next().await.is_some() {}
    }
}

async fn attach(control: &Path) -> std::io::Result<(UnixStream, Hello)> {
    let greet = async {
        let mut stream = UnixStream::connect(control).await?;
        let mut line = serde_json::to_vec(&Request::Attach)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        // Byte by byte: what follows the line is not ours to take here.
        let mut answer = Vec::new();
        loop {
            match stream.read_u8().await? {
                b'\n' => break,
                byte if answer.len() < LINE_BYTES_MAX => answer.push(byte),
                _ => return Err(std::io::Error::other("the relay's greeting is too long")),
            }
        }
        let hello = serde_json::from_slice(&answer).map_err(std::io::Error::other)?;
        Ok((stream, hello))
    };
    tokio::time::timeout(Duration::from_secs(5), greet).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// One relay that is followed.
struct Follow {
    watch: Arc<Watch>,
    conversations: BTreeMap<u64, Conversation>,
    /// It has drained from the beginning: its counters are not those of the feed.
    drains: bool,
    tell: Option<oneshot::Sender<()>>,
    fresh: bool,
    counted: u64,
    /// The relay's clock, and when it was read.
    clock: (i64, Instant),
    sequence: u64,
    confirmed: u64,
    step: Step,
    replies: Vec<u8>,
}

impl Follow {
    fn new(watch: &Arc<Watch>, hello: Hello, drains: bool, tell: Option<oneshot::Sender<()>>) -> Follow {
        drop(hello);
        Follow {
            watch: Arc::clone(watch),
            conversations: BTreeMap::new(),
            drains,
            tell,
            fresh: false,
            counted: 0,
            clock: (0, Instant::now()),
            sequence: 0,
            confirmed: 0,
            step: Step::default(),
            replies: Vec::new(),
        }
    }

    async fn run(mut self, mut stream: UnixStream, journal: JournalHandle, stop: CancellationToken) {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        let stopped = loop {
            tokio::select! {
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => break false,
                    Ok(_) => {}
                },
                _ = tick.tick() => self.idle(),
                () = stop.cancelled() => break true,
            }
            let mut at = 0;
            loop {
                match Event::read(&buffer[at..]) {
                    Ok(Some((event, length))) => {
                        at += length;
                        self.take(event);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(feed = self.watch.config.feed, %error, "the relay's copies cannot be read");
                        return self.end(&journal, false).await;
                    }
                }
                self.store_full(&journal).await;
            }
            buffer.drain(..at);
            self.store_full(&journal).await;
            self.watch.store(&journal, std::mem::take(&mut self.step)).await;
            self.confirm();
            if !self.replies.is_empty() && stream.write_all(&std::mem::take(&mut self.replies)).await.is_err() {
                break false;
            }
        };
        self.end(&journal, stopped).await;
    }

    /// Stores as long as there is a full step, and goes on with the batches that did not fit into it.
    async fn store_full(&mut self, journal: &JournalHandle) {
        while self.step.is_full() {
            self.watch.store(journal, std::mem::take(&mut self.step)).await;
            let step = &mut self.step;
            self.conversations.retain(|_, conversation| {
                conversation.rest(step);
                !conversation.over || conversation.has_rest()
            });
        }
    }

    /// Nothing more is heard: we stop (and who comes after us goes on), or the relay is gone (and so are its connections).
    async fn end(mut self, journal: &JournalHandle, stopped: bool) {
        for conversation in std::mem::take(&mut self.conversations).values_mut() {
            conversation.end(stopped, &mut self.step);
        }
        self.watch.path.draining(self.counted, 0);
        let step = std::mem::take(&mut self.step);
        self.watch.store(journal, step).await;
    }

    fn take(&mut self, event: Event) {
        let watch = Arc::clone(&self.watch);
        if event.at_us > self.clock.0 {
            self.clock = (event.at_us, Instant::now());
        }
        self.sequence = self.sequence.max(event.sequence);
        match event.what {
            What::Bytes { way, offset, hole, bytes } => {
                let heard = Piece { at_us: event.at_us, sequence: event.sequence, peer: event.peer, way, offset, hole };
                let conversation = self.conversations.entry(event.connection).or_default();
                if conversation.take(&heard, &bytes, &watch, &mut self.step) {
                    self.replies.extend_from_slice(&Reply::Mute(event.connection).bytes());
                }
            }
            What::End { to_receiver, to_sender, reset } => {
                if let Some(conversation) = self.conversations.get_mut(&event.connection) {
                    conversation.finish([to_receiver, to_sender], reset, &watch, &mut self.step);
                    if !conversation.has_rest() {
                        self.conversations.remove(&event.connection);
                    }
                }
            }
            What::Live(list) => {
                let list: BTreeSet<u64> = list.into_iter().collect();
                let step = &mut self.step;
                self.conversations.retain(|number, conversation| {
                    let lives = list.contains(number);
                    if !lives {
                        conversation.end(false, step);
                    }
                    lives
                });
            }
            What::Stats(stats) => {
                for conversation in self.conversations.values_mut() {
                    watch.path.missing(conversation.pairing.expire(event.at_us));
                }
                if stats.draining {
                    self.drains = true;
                    self.tell.take().map(|tell| tell.send(()));
                }
                if self.drains {
                    watch.path.draining(std::mem::replace(&mut self.counted, stats.connections), stats.connections);
                    return;
                }
                watch.stats.set_connections(stats.connections);
                watch.stats.connections_total.store(stats.connections_total, Ordering::Relaxed);
                watch.path.relay(*stats, std::mem::take(&mut self.fresh));
            }
        }
    }

    fn idle(&mut self) {
        let now_us = self.clock.0 + self.clock.1.elapsed().as_micros() as i64;
        for conversation in self.conversations.values_mut() {
            for side in conversation.sides.iter_mut().flatten() {
                side.idle(now_us, &mut self.step, &mut conversation.pairing);
            }
            conversation.forget_finished();
        }
    }

    /// Confirms what is stored: everything before the oldest unfinished message.
    fn confirm(&mut self) {
        let unfinished = self.conversations.values().flat_map(|c| c.since).flatten().min();
        let sequence = unfinished.map_or(self.sequence, |first| first - 1).min(self.sequence);
        if sequence > self.confirmed {
            self.confirmed = sequence;
            self.replies.extend_from_slice(&Reply::Stored(sequence).bytes());
        }
    }
}

/// A piece of one way of a conversation.
struct Piece {
    at_us: i64,
    sequence: u64,
    peer: SocketAddr,
    way: Way,
    offset: u64,
    hole: bool,
}

/// Both ways of one connection, as far as they were heard.
#[derive(Default)]
struct Conversation {
    sides: [Option<Heard>; 2],
    /// Where each way stands.
    expected: [Option<u64>; 2],
    /// The event with which the unfinished message of each way began.
    since: [Option<u64>; 2],
    pairing: Pairing,
    opaque: bool,
    holes: bool,
    /// Both ways have ended.
    over: bool,
}

impl Conversation {
    /// Whether it has shown just now that it cannot be understood.
    fn take(&mut self, piece: &Piece, bytes: &[u8], watch: &Arc<Watch>, step: &mut Step) -> bool {
        let at = piece.way as usize;
        let expected = self.expected[at].replace(piece.offset + bytes.len() as u64);
        if self.opaque {
            return false;
        }
        let side = self.sides[at].get_or_insert_with(|| Heard::new(watch, piece.peer, piece.offset == 0));
        let missed = expected.map_or(0, |expected| piece.offset.saturating_sub(expected));
        if piece.hole || missed > 0 {
            side.gap(missed, step);
            self.pairing.forget();
            self.holes = true;
        }
        let before = side.pending();
        let finished = side.take(bytes, piece.at_us, step, &mut self.pairing);
        self.since[at] = match self.since[at] {
            _ if side.pending() == 0 => None,
            Some(first) if before > 0 && !finished => Some(first),
            _ => Some(piece.sequence),
        };
        self.opaque = side.is_opaque();
        if self.opaque {
            self.since = [None; 2];
        }
        self.opaque
    }

    fn forget_finished(&mut self) {
        for (side, since) in self.sides.iter().zip(&mut self.since) {
            if side.as_ref().is_none_or(|side| side.pending() == 0) {
                *since = None;
            }
        }
    }

    fn rest(&mut self, step: &mut Step) {
        self.sides.iter_mut().flatten().for_each(|side| side.rest(step, &mut self.pairing));
    }
    fn has_rest(&self) -> bool {
        self.sides.iter().flatten().any(Heard::has_rest)
    }

    /// Both ways are over.
    fn finish(&mut self, ends: [u64; 2], reset: bool, watch: &Watch, step: &mut Step) {
        self.over = true;
        for ((side, expected), end) in self.sides.iter_mut().zip(self.expected).zip(ends) {
            let Some(side) = side else { continue };
            if let Some(missed) = end.checked_sub(expected.unwrap_or(0)).filter(|missed| *missed > 0) {
                side.gap(missed, step);
                self.holes = true;
            }
            side.finish(reset, step, &mut self.pairing);
        }
        if !self.holes && !self.opaque {
            watch.path.missing(self.pairing.end());
        }
    }

    /// We do not hear it any more: we stop, or it is over and its end was not seen.
    fn end(&mut self, stopped: bool, step: &mut Step) {
        for side in self.sides.iter_mut().flatten() {
            if stopped {
                side.leave(step);
            } else {
                side.finish(true, step, &mut self.pairing);
            }
        }
    }
}
