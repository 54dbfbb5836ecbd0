//! A tap on packets: a FIFO or a growing file is read as it comes, conversations are put together, messages go to the journal.
//!
//! One contract: what is heard while we run is judged once. What stands in a file before we begin is read (connections go on in
//! it) and not judged; a file that is replaced or cut is read anew from its beginning; a FIFO whose writer leaves waits for the
//! next one.
//!
//! Limits: times are those of the packets, in milliseconds. While the disk is waited for, a FIFO fills and its writer loses
//! packets, which are seen as gaps. Packets that were lost before they reached us are counted by whoever captures.

use super::{Heard, Pairing, Watch};
use crate::capture::{Event, Options, Reader, Side, Sighting};
use crate::config::{Devices, Mllp};
use crate::mllp::FrameFaults;
use crate::shell::journal::JournalHandle;
use crate::shell::listener::{FeedStats, ListenError, Step};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Nothing new: looked at again after, milliseconds.
const AGAIN_MS: u64 = 50;
/// A file that is not there, or is damaged, is tried again after, milliseconds.
const ABSENT_MS: u64 = 1_000;
/// What a host that matches an indicator of the network is called in the journal; the payload is its sighting as JSON.
const SIGHTING: &str = "sighting";
/// A segment that was sent twice with other bytes is called so in the journal.
const CONFLICT: &str = "segment_conflict";

/// What a piece of evidence says of a host, if it is a sighting.
pub fn sighting(what: &str, payload: &[u8]) -> Option<Sighting> {
    if what != SIGHTING {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

/// A tap on packets.
pub(in crate::shell) struct Packets {
    pub stats: Arc<FeedStats>,
    watch: Arc<Watch>,
    path: PathBuf,
    /// Hosts that should not be heard.
    watched: Vec<IpAddr>,
}

impl Packets {
    /// The tap of a configuration that names a capture.
    pub fn of(config: &Mllp, devices: &Devices) -> Result<Option<Packets>, ListenError> {
        let Some(path) = &config.capture else { return Ok(None) };
        let stats = Arc::new(FeedStats::placed(config));
        let watch = Arc::new(Watch::new(Arc::new(config.clone()), Arc::clone(&stats))?);
        let watched = devices.quarantined_hosts().collect();
        Ok(Some(Packets { stats, watch, path: path.clone(), watched }))
    }

    /// Reads until `stop`.
    pub async fn read(self, journal: JournalHandle, stop: CancellationToken) {
        let runtime = tokio::runtime::Handle::current();
        // Files have no readiness: a thread looks.
        let ended = tokio::task::spawn_blocking(move || {
            let store = |step| runtime.block_on(self.watch.store(&journal, step));
            let mut first = true;
            while !stop.is_cancelled() {
                match self.open() {
                    Ok(file) => {
                        let mut stream = Stream::new(&self.watch, file, first);
                        stream.reader.watch(self.watched.iter().copied());
                        first = false;
                        stream.run(&self.path, &stop, &store);
                    }
                    Err(error) => tracing::debug!(feed = self.watch.config.feed, %error, "no packets"),
                }
                self.watch.path.packets(false, 0, 0);
                self.watch.stats.set_connections(0);
                pause(&stop, ABSENT_MS);
            }
        })
        .await;
        if ended.is_err() {
            tracing::error!("the thread of a tap ended");
        }
    }

    fn open(&self) -> std::io::Result<File> {
        // A FIFO without a writer must not hold us.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path)
    }
}

fn pause(stop: &CancellationToken, ms: u64) {
    for _ in 0..ms.div_ceil(AGAIN_MS) {
        if stop.is_cancelled() {
            return;
        }
        std::thread::sleep(Duration::from_millis(AGAIN_MS));
    }
}

/// One opened file or FIFO, from its header on.
struct Stream<'a> {
    watch: &'a Arc<Watch>,
    file: File,
    fifo: bool,
    inode: u64,
    reader: Reader,
    flows: BTreeMap<u64, Flow>,
    taken: u64,
    /// So many bytes stood there before we began.
    before: u64,
    counted: (u64, u64),
}

/// One conversation over MLLP.
struct Flow {
    ends: [SocketAddr; 2],
    sides: [Option<Heard>; 2],
    pairing: Pairing,
}

impl<'a> Stream<'a> {
    fn new(watch: &'a Arc<Watch>, file: File, first: bool) -> Stream<'a> {
        let about = file.metadata().ok();
        let fifo = about.as_ref().is_some_and(|about| about.file_type().is_fifo());
        let before = about.as_ref().filter(|_| first && !fifo).map_or(0, MetadataExt::size);
        if before > 0 {
            tracing::info!(feed = watch.config.feed, bytes = before, "what stands in the capture already is not judged");
        }
        let options = Options { frame_bytes_max: watch.config.frame_bytes_max, ..Options::default() };
        let inode = about.as_ref().map_or(0, MetadataExt::ino);
        let reader = Reader::new(options);
        Stream { watch, file, fifo, inode, reader, flows: BTreeMap::new(), taken: 0, before, counted: (0, 0) }
    }

    /// Reads until the file is replaced, the writer leaves, or `stop`.
    fn run(mut self, path: &std::path::Path, stop: &CancellationToken, store: &dyn Fn(Step)) {
        let feed = self.watch.config.feed.clone();
        let mut buffer = vec![0; READ_BYTES];
        while !stop.is_cancelled() {
            let read = match self.file.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    self.watch.path.packets(true, 0, 0);
                    pause(stop, AGAIN_MS);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(feed, %error, "the capture cannot be read on");
                    break;
                }
            };
            if read == 0 {
                if (self.fifo && self.taken > 0) || self.is_replaced(path) {
                    break;
                }
                // A FIFO that nobody has opened yet is not a stream of packets; a file that does not grow is one.
                self.watch.path.packets(!self.fifo, 0, 0);
                pause(stop, AGAIN_MS);
                continue;
            }
            self.take(&buffer[..read], store);
            if let Some(fault) = self.reader.fault() {
                tracing::warn!(feed, %fault, "the capture is damaged: nothing is read from it until it is replaced");
                while !stop.is_cancelled() && !self.fifo && !self.is_replaced(path) {
                    self.watch.path.packets(false, 0, 0);
                    pause(stop, ABSENT_MS);
                }
                break;
            }
        }
        let stopped = stop.is_cancelled();
        let mut step = Step::default();
        if !stopped {
            self.reader.finish();
            self.drain(true, &mut step, store);
        }
        for flow in self.flows.values_mut() {
            for side in flow.sides.iter_mut().flatten() {
                side.leave(&mut step);
            }
        }
        store(step);
    }

    fn is_replaced(&self, path: &std::path::Path) -> bool {
        std::fs::metadata(path).map_or(true, |now| now.ino() != self.inode || (!self.fifo && now.size() < self.taken))
    }

    fn take(&mut self, bytes: &[u8], store: &dyn Fn(Step)) {
        // What was there before and what came since is cut apart, so that each is one or the other.
        let old = (self.before.saturating_sub(self.taken) as usize).min(bytes.len());
        for (piece, judged) in [(&bytes[..old], false), (&bytes[old..], true)] {
            if piece.is_empty() {
                continue;
            }
            self.taken += piece.len() as u64;
            self.reader.push(piece);
            let mut step = Step::default();
            self.drain(judged, &mut step, store);
            store(step);
        }
        let counts = self.reader.counts();
        let now = (counts.packets, counts.unreadable);
        self.watch.path.packets(true, now.0 - self.counted.0, now.1 - self.counted.1);
        self.counted = now;
        self.watch.stats.set_connections(self.flows.len() as u64);
    }

    fn drain(&mut self, judged: bool, step: &mut Step, store: &dyn Fn(Step)) {
        let mut latest_us = 0;
        while let Some(event) = self.reader.poll() {
            match event {
                Event::Opened { flow, client, server, .. } => {
                    let new = Flow { ends: [client, server], sides: [None, None], pairing: Pairing::default() };
                    self.flows.insert(flow, new);
                    self.watch.stats.connections_total.fetch_add(1, Ordering::Relaxed);
                }
                Event::Closed { flow, .. } => {
                    let Some(mut flow) = self.flows.remove(&flow) else { continue };
                    self.watch.path.missing(flow.pairing.end());
                    flow.sides.iter_mut().flatten().for_each(|side| side.leave(step));
                }
                Event::Sighting { sighting, .. } => {
                    if judged && let Ok(json) = serde_json::to_vec(&sighting) {
                        let host = SocketAddr::new(sighting.host, 0);
                        let mut heard = Heard::new(self.watch, host, true);
                        heard.note(SIGHTING, json, step);
                        heard.leave(step);
                    }
                }
                _ if !judged => {}
                Event::Frame { flow, at, from, payload, faults } => {
                    latest_us = at.ms() * 1000;
                    self.heard(flow, from, |side, pairing| side.whole(payload, faults, at.ms() * 1000, step, pairing));
                }
                Event::Answer { flow, at, from, payload, .. } => {
                    latest_us = at.ms() * 1000;
                    let faults = FrameFaults::default();
                    self.heard(flow, from, |side, pairing| side.whole(payload, faults, at.ms() * 1000, step, pairing));
                }
                Event::Gap { flow, from, bytes, .. } => self.heard(flow, from, |side, pairing| {
                    side.gap(bytes, step);
                    pairing.forget();
                }),
                Event::Conflict { flow, from, bytes, .. } => self.heard(flow, from, |side, _| {
                    side.note(CONFLICT, format!("{bytes} bytes differ").into_bytes(), step);
                }),
                Event::Data { .. } => {}
            }
            while step.is_full() {
                store(std::mem::take(step));
                self.rest(step);
            }
        }
        if latest_us > 0 {
            for flow in self.flows.values_mut() {
                self.watch.path.missing(flow.pairing.expire(latest_us));
            }
        }
    }

    /// Goes on with batches that did not fit into one step.
    fn rest(&mut self, step: &mut Step) {
        for flow in self.flows.values_mut() {
            flow.sides.iter_mut().flatten().for_each(|side| side.rest(step, &mut flow.pairing));
        }
    }

    fn heard(&mut self, flow: u64, from: Side, what: impl FnOnce(&mut Heard, &mut Pairing)) {
        let Some(flow) = self.flows.get_mut(&flow) else { return };
        let at = usize::from(from == Side::Server);
        let side = flow.sides[at].get_or_insert_with(|| Heard::new(self.watch, flow.ends[at], true));
        what(side, &mut flow.pairing);
    }
}
