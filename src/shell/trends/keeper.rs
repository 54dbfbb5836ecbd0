//! The writer's thread, and what readers share with it.

use super::series::Series;
use super::{Gatherer, ROWS_MAX, Row, Told};
use crate::config::Trends as Config;
use crate::shell::store::{BUCKET_MS, CHUNK_MS, Chunk, StoreError, TrendStore};
use crate::time::Timestamp;
use crate::vital::Parameter;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Rows are written so often. Too short: the same rows over and over; too long: more is read again after a crash.
const FLUSH_EVERY: Duration = Duration::from_secs(30);
/// Rows that wait to be written at most before that.
const DIRTY_MAX: usize = 2_000;
/// Old rows are looked for so often.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Rows of a bed kept in memory while the disk refuses; then the oldest goes.
const CHUNKS_MAX: usize = 6;

#[derive(Debug, Default)]
struct Held {
    chunk: Chunk,
    dirty: bool,
}

type Beds = HashMap<(String, String), BTreeMap<i64, Held>>;

/// What readers and the writer share.
#[derive(Debug)]
pub struct Trends {
    path: PathBuf,
    open: Mutex<Beds>,
    dropped: Arc<AtomicU64>,
    bytes: AtomicU64,
    lost: AtomicU64,
}

impl Trends {
    /// What was received between `from` and `to` in steps of `step_ms`; of every parameter where none is named. Reads the disk.
    pub fn read(
        &self,
        ward: &str,
        bed: &str,
        wanted: &[Parameter],
        from: Timestamp,
        to: Timestamp,
        step_ms: i64,
    ) -> Result<Series, StoreError> {
        let mut series = Series::new(from, to, step_ms);
        let begin = from.ms().div_euclid(CHUNK_MS) * CHUNK_MS;
        // The disk first: what is written meanwhile is met twice, and nothing is missed.
        let mut chunks: BTreeMap<i64, Chunk> =
            TrendStore::reader(&self.path)?.chunks(ward, bed, begin, to.ms())?.into_iter().collect();
        if let Some(held) = self.open.lock().get(&(ward.to_owned(), bed.to_owned())) {
            for (start, held) in held.range(begin..to.ms()) {
                chunks.insert(*start, held.chunk.clone());
            }
        }
        for (start, chunk) in &chunks {
            for parameter in chunk.parameters().filter(|p| wanted.is_empty() || wanted.contains(p)) {
                for (at, bucket) in chunk.buckets(parameter) {
                    series.add(parameter, start + at as i64 * BUCKET_MS, bucket);
                }
            }
        }
        Ok(series)
    }
    /// Buckets that found no room since the service began, and rows that the disk refused.
    pub fn lost(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The writer. It ends when its [`Gatherer`] is dropped.
#[derive(Debug)]
pub struct Keeper {
    trends: Arc<Trends>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    /// Opens or makes the file and starts the thread.
    pub fn start(path: &Path, config: &Config) -> Result<(Keeper, Gatherer), StoreError> {
        let store = TrendStore::open(path)?;
        let dropped = Arc::new(AtomicU64::new(0));
        let trends = Arc::new(Trends {
            path: path.to_owned(),
            open: Mutex::default(),
            dropped: Arc::clone(&dropped),
            bytes: AtomicU64::new(store.bytes()?),
            lost: AtomicU64::new(0),
        });
        let (out, told) = sync_channel(ROWS_MAX);
        let mut writer =
            Writer { store, trends: Arc::clone(&trends), config: config.clone(), newest_ms: i64::MIN, dirty: 0, said: false };
        let thread = std::thread::Builder::new().name("trends".into()).spawn(move || writer.run(&told))?;
        Ok((Keeper { trends, thread: Some(thread) }, Gatherer::new(out, dropped)))
    }
    /// For readers.
    pub fn trends(&self) -> Arc<Trends> {
        Arc::clone(&self.trends)
    }
    /// Waits until everything is written; the gatherer must be gone.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    store: TrendStore,
    trends: Arc<Trends>,
    config: Config,
    newest_ms: i64,
    dirty: usize,
    said: bool,
}

impl Writer {
    fn run(&mut self, told: &Receiver<Told>) {
        let (mut flushed, mut pruned) = (Instant::now(), Instant::now());
        loop {
            match told.recv_timeout(Duration::from_secs(1)) {
                Ok(Told::Row(row)) => self.take(row),
                Ok(Told::Flush) => self.flush(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.dirty >= DIRTY_MAX || flushed.elapsed() >= FLUSH_EVERY {
                flushed = Instant::now();
                self.flush();
            }
            if pruned.elapsed() >= PRUNE_EVERY {
                pruned = Instant::now();
                self.prune();
            }
        }
        self.flush();
    }

    fn take(&mut self, row: Row) {
        self.newest_ms = self.newest_ms.max(row.start_ms);
        if row.start_ms < self.newest_ms.saturating_sub(self.retain_ms()) {
            return;
        }
        let start = row.start_ms.div_euclid(CHUNK_MS) * CHUNK_MS;
        let at = ((row.start_ms - start) / BUCKET_MS) as usize;
        let key = (row.ward, row.bed);
        let held = self.trends.open.lock().get(&key).is_some_and(|chunks| chunks.contains_key(&start));
        // What was written before a restart goes on; readers are not kept waiting for the disk.
        let before = if held { None } else { self.store.chunk(&key.0, &key.1, start).ok().flatten() };
        let mut open = self.trends.open.lock();
        let chunks = open.entry(key).or_default();
        let held = chunks.entry(start).or_insert_with(|| Held { chunk: before.unwrap_or_default(), dirty: false });
        for (parameter, bucket) in row.values {
            held.chunk.add(parameter, at, bucket);
        }
        if !std::mem::replace(&mut held.dirty, true) {
            self.dirty += 1;
        }
        while chunks.len() > CHUNKS_MAX {
            if chunks.pop_first().is_some_and(|(_, held)| held.dirty) {
                self.dirty = self.dirty.saturating_sub(1);
                self.trends.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn flush(&mut self) {
        if self.dirty == 0 {
            return;
        }
        let rows: Vec<(String, String, i64, Chunk)> = {
            let open = self.trends.open.lock();
            let dirty = |((ward, bed), chunks): (&(String, String), &BTreeMap<i64, Held>)| {
                let rows = chunks.iter().filter(|(_, held)| held.dirty);
                rows.map(|(start, held)| (ward.clone(), bed.clone(), *start, held.chunk.clone())).collect::<Vec<_>>()
            };
            open.iter().flat_map(dirty).collect()
        };
        let written = self.store.write(rows.iter().map(|(ward, bed, start, chunk)| (ward.as_str(), bed.as_str(), *start, chunk)));
        if let Err(error) = written {
            if !std::mem::replace(&mut self.said, true) {
                tracing::warn!(%error, "histories cannot be written: the newest hour is kept in memory");
            }
            // Tried again when the next thirty seconds are over.
            return;
        }
        if std::mem::take(&mut self.said) {
            tracing::info!("histories can be written again");
        }
        self.dirty = 0;
        let mut open = self.trends.open.lock();
        for chunks in open.values_mut() {
            let last = chunks.last_key_value().map(|(start, _)| *start);
            chunks.retain(|start, held| {
                held.dirty = false;
                Some(*start) == last
            });
        }
        let oldest = self.newest_ms.saturating_sub(2 * CHUNK_MS);
        open.retain(|_, chunks| chunks.last_key_value().is_some_and(|(start, _)| *start >= oldest));
        drop(open);
        self.trends.bytes.store(self.store.bytes().unwrap_or(0), Ordering::Relaxed);
    }

    fn retain_ms(&self) -> i64 {
        (self.config.retain_days * 86_400_000.0) as i64
    }

    fn prune(&mut self) {
        if self.newest_ms == i64::MIN {
            return;
        }
        if let Err(error) = self.store.prune(self.newest_ms.saturating_sub(self.retain_ms()), self.config.retain_bytes) {
            tracing::warn!(%error, "old histories were not removed");
        }
    }
}
