//! The tap: a copy of the wire is heard, and not one byte is ever sent.
//!
//! Two ways in. A socket: whatever copies the stream (a switch, a load balancer, a small program beside the gateway) connects
//! and sends one direction of an MLLP conversation, or both in turn. Or packets: `capture` names a FIFO or a growing pcap or
//! pcapng file, and the conversations are put together from it.
//!
//! One contract: **nothing is written, not even on a fault**: no answer, no banner, no TLS. Answers of the real receiver are
//! recognised by their header and paired with the messages; what they say about the clinical path is counted.
//!
//! Limits: what is encrypted is not understood and counted as opaque. When the journal cannot be written the tap goes on
//! without evidence, and says so.

mod capture;
mod heard;
mod pairing;
mod path;

pub(in crate::shell) use capture::{Packets, sighting};
pub(in crate::shell) use heard::Heard;
pub(in crate::shell) use pairing::Pairing;
pub use path::PathStats;

use super::journal::JournalHandle;
use super::listener::{Bound, FeedStats, ListenError, Step, keep_alive};
use crate::config::Mllp;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Silence is noticed so often, milliseconds.
const TICK_MS: u64 = 100;

/// What everything that overhears one feed shares.
pub(in crate::shell) struct Watch {
    pub config: Arc<Mllp>,
    pub stats: Arc<FeedStats>,
    pub path: Arc<PathStats>,
    failures: AtomicU64,
}

impl Watch {
    pub fn new(config: Arc<Mllp>, stats: Arc<FeedStats>) -> Result<Watch, ListenError> {
        super::listener::check_zone(&config)?;
        let path = stats.path.clone().unwrap_or_else(|| Arc::new(PathStats::new(&config)));
        Ok(Watch { config, stats, path, failures: AtomicU64::new(0) })
    }

    /// How often the journal did not take something: what it knew of connections may be lost with it.
    fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Hands a step to the journal and waits for the disk. A journal that fails takes away evidence, nothing else.
    pub async fn store(&self, journal: &JournalHandle, step: Step) {
        let count = step.records.len() as u64;
        if count == 0 {
            return;
        }
        match journal.submit_stamped(step.records).await {
            Ok((_, at)) => self.stats.last_message_ms.store(at.ms(), Ordering::Relaxed),
            Err(_) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.path.not_stored(count);
            }
        }
    }
}

/// Accepts copies until `stop`. Messages and answers may come on different connections: they are paired over all of them.
pub(in crate::shell) async fn serve(bound: Bound, journal: JournalHandle, stop: CancellationToken) {
    let (socket, config, stats) = bound.into_parts();
    let Ok(watch) = Watch::new(config, stats) else { return };
    let watch = Arc::new(watch);
    let pairing = Arc::new(Mutex::new(Pairing::default()));
    let began = Instant::now();
    let taking = |stream: TcpStream, peer: SocketAddr| {
        let (watch, pairing, journal, stop) = (Arc::clone(&watch), Arc::clone(&pairing), journal.clone(), stop.clone());
        async move { hear(stream, peer, watch, pairing, journal, stop, began).await }
    };
    let answers = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let missing = pairing.lock().expire(began.elapsed().as_micros() as i64);
            watch.path.missing(missing);
        }
    };
    tokio::select! {
        () = super::listener::accept(socket, &watch.config, &watch.stats, &stop, taking) => {}
        () = answers => {}
    }
}

/// One copied stream. The socket is read and closed, nothing else.
async fn hear(
    mut stream: TcpStream,
    peer: SocketAddr,
    watch: Arc<Watch>,
    pairing: Arc<Mutex<Pairing>>,
    journal: JournalHandle,
    stop: CancellationToken,
    began: Instant,
) {
    keep_alive(&stream);
    let mut heard = Heard::new(&watch, peer, true);
    let mut buffer = vec![0; READ_BYTES];
    let idle_timeout = Duration::try_from_secs_f64(watch.config.idle_timeout_s).ok().filter(|after| !after.is_zero());
    let mut last = Instant::now();
    let reset = loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => Some(read),
            () = tokio::time::sleep(Duration::from_millis(TICK_MS)) => None,
            () = stop.cancelled() => break false,
        };
        let now_us = began.elapsed().as_micros() as i64;
        let mut step = Step::default();
        match read {
            None if idle_timeout.is_some_and(|after| last.elapsed() >= after) => {
                watch.stats.count(super::listener::WireFault::IdleTimeout);
                break false;
            }
            None => heard.idle(now_us, &mut step, &mut pairing.lock()),
            Some(Ok(0)) => break false,
            Some(Ok(size)) => {
                last = Instant::now();
                heard.take(&buffer[..size], now_us, &mut step, &mut pairing.lock());
            }
            Some(Err(_)) => {
                watch.stats.count(super::listener::WireFault::Reset);
                break true;
            }
        }
        while step.is_full() {
            watch.store(&journal, std::mem::take(&mut step)).await;
            heard.rest(&mut step, &mut pairing.lock());
        }
        watch.store(&journal, step).await;
    };
    let mut step = Step::default();
    heard.finish(reset, &mut step, &mut pairing.lock());
    while step.is_full() {
        watch.store(&journal, std::mem::take(&mut step)).await;
        heard.rest(&mut step, &mut pairing.lock());
    }
    watch.store(&journal, step).await;
}
