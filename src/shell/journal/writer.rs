//! The journal's thread: group commit, rotation, trouble.

use super::cipher::Sealing;
use super::clock::Forward;
use super::queue::{Queue, Submission, Taken};
use super::recover::{End, lock, oldest};
use super::seal::{Job, Sealer};
use super::segment::{FOOTER_BYTES_MAX, GROUP, HEADER_BYTES, Hash, Header, Stamp, create_zeroed, encode};
use super::snapshot::sync_folder;
use super::walk::{list, segment_path};
use super::{
    Clock, DiskFault, EncryptionKey, Evidence, FEED_GROUPS_MAX, Feed, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, JournalError,
    NotStored, Options, PROBE_MS, Record, Recovered, Stamped, Stats, TICK_MS,
};
use crate::shell::vault::{Ask, Desk, Head, Notary};
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Without anything to store, a failing disk is tried so often, milliseconds.
const IDLE_PROBE_MS: u64 = 1000;
/// Smallest segment begun on a nearly full disk, bytes.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// What handles and the thread share.
pub(super) struct Shared {
    pub queue: Queue,
    pub folder: PathBuf,
    pub numbers: Mutex<Stats>,
    /// The way to whoever signs.
    pub notary: std::sync::OnceLock<std::sync::mpsc::Sender<Ask>>,
    pub encryption: Option<Arc<EncryptionKey>>,
}

impl Shared {
    pub fn stats(&self) -> Stats {
        self.numbers.lock().clone()
    }
    /// The head is worth a signature.
    pub fn ask(&self, why: &'static str) {
        if let Some(notary) = self.notary.get() {
            let _ = notary.send(Ask::Event(why));
        }
    }
    /// Has the head signed, and waits for that.
    pub fn sign(&self, why: &'static str) {
        if let Some(notary) = self.notary.get() {
            let (answer, answered) = std::sync::mpsc::channel();
            if notary.send(Ask::Now(why, answer)).is_ok() {
                let _ = answered.recv();
            }
        }
    }
    fn head(&self, clock: &Clock) -> Head {
        let (records, hash, at) = {
            let numbers = self.numbers.lock();
            (numbers.records, numbers.head, numbers.at)
        };
        // An empty journal has no time yet.
        let at = if at == Timestamp::MIN { Timestamp::from_ms(clock().wall_ms) } else { at };
        Head { records, hash, at, oldest: oldest(&self.folder) }
    }
}

/// The segment that is written.
struct Segment {
    file: File,
    first_sequence: u64,
    capacity: u64,
    end: u64,
}

pub(super) struct Writer {
    options: Options,
    shared: Arc<Shared>,
    feed: SyncSender<Feed>,
    sealer: Sealer,
    notary: Option<Notary>,
    /// Encrypts payloads.
    sealing: Option<Sealing>,
    forward: Forward,
    next_sequence: u64,
    head: Hash,
    segment: Option<Segment>,
    /// Since when the disk refuses, as the last attempt.
    failing: Option<Instant>,
    /// Evidence of open connections, written with each of their records.
    evidence: HashMap<u64, Evidence>,
    buffer: Vec<u8>,
    _lock: File,
}

impl Writer {
    pub fn open(folder: &Path, options: Options) -> Result<(Writer, Arc<Shared>, Recovered, Receiver<Feed>), JournalError> {
        std::fs::create_dir_all(folder).map_err(JournalError::io(folder))?;
        let lock = lock(folder)?;
        let end = End::find(folder)?;
        let recovered = Recovered { next_sequence: end.next_sequence, last_at: end.last_at, torn: end.torn };
        if let Some(torn) = &recovered.torn {
            tracing::warn!(
                segment = torn.segment,
                offset = torn.offset,
                bytes = torn.bytes,
                "journal: cut the rest of an interrupted write"
            );
        }
        let numbers = Stats {
            records: end.next_sequence.saturating_sub(1),
            head: end.head,
            bytes: 0,
            groups: 0,
            sync_us: 0,
            sync_total_us: 0,
            failing: false,
            refused: 0,
            clock_steps: 0,
            at: end.last_at,
            consumer_gone: false,
            oldest: 0,
            disk_bytes: 0,
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            folder: folder.to_owned(),
            numbers: Mutex::new(numbers),
            notary: std::sync::OnceLock::new(),
            encryption: options.encryption.clone(),
        });
        let sealing = match &options.encryption {
            None => None,
            Some(key) => {
                super::unlock(std::slice::from_ref(key));
                Some(key.sealer().ok_or(JournalError::Random)?)
            }
        };
        let notary = match &options.signer {
            None => None,
            Some(signer) => {
                let (of_desk, clock) = (shared.clone(), options.clock.clone());
                let desk = Desk {
                    folder: folder.to_owned(),
                    signer: signer.clone(),
                    origin: options.origin.clone(),
                    boot: options.boot.clone(),
                    every: options.checkpoint_every,
                    head: Box::new(move || of_desk.head(&clock)),
                };
                let notary = Notary::start(desk).map_err(JournalError::io(folder))?;
                let _ = shared.notary.set(notary.asks());
                Some(notary)
            }
        };
        let sealer = Sealer::start(shared.clone(), &options).map_err(JournalError::io(folder))?;
        let (feed, receiver) = sync_channel(FEED_GROUPS_MAX);
        let mut writer = Writer {
            options,
            shared: shared.clone(),
            feed,
            sealer,
            notary,
            sealing,
            forward: Forward::new(end.last_at),
            next_sequence: end.next_sequence,
            head: end.head,
            segment: None,
            failing: None,
            evidence: HashMap::new(),
            buffer: Vec::new(),
            _lock: lock,
        };
        match writer.begin_segment(0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::StorageFull => writer.fail(&e, end.last_at),
            Err(e) => return Err(JournalError::Io { path: folder.to_owned(), source: e }),
        }
        let files = list(folder)?;
        for (i, file) in files.iter().enumerate() {
            let next = files.get(i + 1).map_or(writer.next_sequence, |f| f.first_sequence);
            if !file.sealed && !file.gone && file.first_sequence < next {
                writer.sealer.send(Job::Seal(file.first_sequence, next));
            }
        }
        Ok((writer, shared, recovered, receiver))
    }

    pub fn run(mut self) {
        // Should this thread ever die, whoever waits is told so instead of waiting for ever.
        let _told = Abandon(self.shared.clone());
        let mut groups: Vec<Vec<Submission>> = Vec::new();
        loop {
            match self.shared.queue.take(Duration::from_millis(TICK_MS)) {
                Taken::Some(waiting) => {
                    split(waiting, &mut groups);
                    for group in groups.drain(..) {
                        self.commit(group);
                    }
                }
                Taken::Idle => self.idle(),
                Taken::Closed => break,
            }
        }
        self.finish();
    }

    fn idle(&mut self) {
        if self.failing.is_some_and(|last| last.elapsed() >= Duration::from_millis(IDLE_PROBE_MS)) {
            let at = self.forward.at((self.options.clock)());
            match self.begin_segment(0) {
                Ok(()) => self.works_again(at),
                Err(_) => self.failing = Some(Instant::now()),
            }
        }
        let at = self.forward.at((self.options.clock)());
        {
            let mut numbers = self.shared.numbers.lock();
            numbers.at = at;
            numbers.clock_steps = self.forward.steps;
        }
        // A full channel means that the consumer has newer things to do than to hear what time it was.
        if let Err(TrySendError::Disconnected(_)) = self.feed.try_send(Feed::Tick(at)) {
            self.consumer_gone();
        }
    }

    /// Stores one group, answers it, hands it on.
    fn commit(&mut self, group: Vec<Submission>) {
        if self.failing.is_some_and(|last| last.elapsed() < Duration::from_millis(PROBE_MS)) {
            return self.refuse(group);
        }
        let now = (self.options.clock)();
        let at = self.forward.at(now);
        let stamp = Stamp { at, wall_ms: now.wall_ms, mono_ns: now.mono_ns };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (mut sequence, mut head, mut flags) = (self.next_sequence, self.head, GROUP);
        for record in group.iter().flat_map(|s| &s.records) {
            let evidence = match record {
                Record::Open { source, evidence } => {
                    self.evidence.insert(source.connection, evidence.clone());
                    None
                }
                Record::Close { connection } => {
                    self.evidence.remove(connection);
                    None
                }
                Record::Frame { source, .. } | Record::Fragment { source, .. } => self.evidence.get(&source.connection),
                _ => None,
            };
            head = encode(record, evidence, sequence, stamp, flags, &head, self.sealing.as_mut(), &mut buffer);
            sequence += 1;
            flags = 0;
        }
        let written = self.write(&buffer);
        let bytes = buffer.len() as u64;
        if buffer.capacity() > 2 * GROUP_BYTES_MAX {
            buffer = Vec::new();
        }
        self.buffer = buffer;
        let sync_us = match written {
            Ok(sync_us) => sync_us,
            Err(e) => {
                self.refuse(group);
                return self.fail(&e, at);
            }
        };
        let mut first = self.next_sequence;
        (self.next_sequence, self.head) = (sequence, head);
        {
            let mut numbers = self.shared.numbers.lock();
            numbers.records = sequence - 1;
            numbers.head = head;
            numbers.bytes += bytes;
            numbers.groups += 1;
            numbers.sync_us = sync_us;
            numbers.sync_total_us += sync_us;
            numbers.at = at;
            numbers.clock_steps = self.forward.steps;
        }
        self.works_again(at);
        let mut batch = Vec::with_capacity(usize::try_from(sequence - first).unwrap_or(0));
        for submission in group {
            // Who has gone away meanwhile needs no answer; the record is stored all the same.
            let _ = submission.answer.send(Ok((first, at)));
            for record in submission.records {
                batch.push(Stamped { sequence: first, at, record });
                first += 1;
            }
        }
        if self.feed.send(Feed::Batch(batch)).is_err() {
            self.consumer_gone();
        }
    }

    /// Writes and syncs; microseconds of the sync. After an error nothing of it counts as written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let needed = bytes.len() as u64 + FOOTER_BYTES_MAX as u64;
        if self.segment.as_ref().is_none_or(|s| s.end + needed > s.capacity) {
            self.begin_segment(needed)?;
        }
        let fault = self.options.fault.get();
        let capacity_half = self.segment.as_ref().is_some_and(|s| s.end > s.capacity / 2);
        if capacity_half {
            self.sealer.prepare(self.options.segment_bytes);
        }
        let Some(segment) = &mut self.segment else { return Err(io::Error::other("no segment")) };
        segment.file.seek(SeekFrom::Start(segment.end))?;
        if fault == DiskFault::WRITE {
            segment.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "exercise: no space left"));
        }
        segment.file.write_all(bytes)?;
        let begun = Instant::now();
        if fault == DiskFault::SYNC {
            return Err(io::Error::other("exercise: fdatasync failed"));
        }
        segment.file.sync_data()?;
        segment.end += bytes.len() as u64;
        Ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Begins the next segment, with room for `needed` bytes at least; what was open before goes to be sealed.
    ///
    /// On a full disk what retention allows to go goes first.
    fn begin_segment(&mut self, needed: u64) -> io::Result<()> {
        match self.try_begin_segment(needed) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                if self.sealer.retain_now() == 0 {
                    return Err(e);
                }
                self.try_begin_segment(needed)
            }
            other => other,
        }
    }

    fn try_begin_segment(&mut self, needed: u64) -> io::Result<()> {
        if self.options.fault.get() != DiskFault::NONE {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "exercise: no space left"));
        }
        let folder = &self.shared.folder;
        let needed = HEADER_BYTES as u64 + needed;
        let (mut file, temporary, capacity) = match self.sealer.take_prepared(needed) {
            Some(prepared) => prepared,
            None => {
                let path = folder.join("begin.tmp");
                let wanted = self.options.segment_bytes.max(needed);
                let (file, capacity) = create_zeroed(&path, wanted, needed.max(SEGMENT_BYTES_MIN.min(wanted)))?;
                (file, path, capacity)
            }
        };
        let header = Header {
            first_sequence: self.next_sequence,
            created_ms: self.forward.at((self.options.clock)()).ms(),
            previous: self.head,
            boot: self.options.boot.clone(),
            lock: self.sealing.as_ref().map(|sealing| sealing.lock),
        };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.encode())?;
        file.sync_data()?;
        std::fs::rename(&temporary, segment_path(folder, self.next_sequence))?;
        sync_folder(folder)?;
        let begun = Segment { file, first_sequence: self.next_sequence, capacity, end: HEADER_BYTES as u64 };
        if let Some(old) = self.segment.replace(begun) {
            self.sealer.send(Job::Seal(old.first_sequence, self.next_sequence));
        }
        Ok(())
    }

    /// The disk refused: the segment ends at its last durable byte and is not written any more.
    fn fail(&mut self, error: &io::Error, at: Timestamp) {
        if let Some(segment) = self.segment.take() {
            let _ = segment.file.set_len(segment.end).and_then(|()| segment.file.sync_all());
            if segment.first_sequence < self.next_sequence {
                self.sealer.send(Job::Seal(segment.first_sequence, self.next_sequence));
            }
        }
        if self.failing.replace(Instant::now()).is_none() {
            tracing::error!(%error, "journal: the disk fails or is full; nothing is acknowledged until it works");
            self.shared.numbers.lock().failing = true;
            if self.feed.send(Feed::Failing(true, at)).is_err() {
                self.consumer_gone();
            }
        }
    }

    fn works_again(&mut self, at: Timestamp) {
        if self.failing.take().is_some() {
            tracing::warn!("journal: the disk works again");
            self.shared.numbers.lock().failing = false;
            if self.feed.send(Feed::Failing(false, at)).is_err() {
                self.consumer_gone();
            }
        }
    }

    fn refuse(&self, group: Vec<Submission>) {
        self.shared.numbers.lock().refused += group.iter().map(|s| s.records.len() as u64).sum::<u64>();
        for submission in group {
            let _ = submission.answer.send(Err(NotStored::Disk));
        }
    }

    /// Nobody judges any more: a positive answer would promise what nobody keeps.
    fn consumer_gone(&self) {
        let mut numbers = self.shared.numbers.lock();
        if !numbers.consumer_gone {
            numbers.consumer_gone = true;
            self.shared.queue.close();
        }
    }

    fn finish(mut self) {
        if let Some(segment) = self.segment.take() {
            if segment.first_sequence == self.next_sequence {
                let _ = std::fs::remove_file(segment_path(&self.shared.folder, segment.first_sequence));
            } else {
                drop(segment.file);
                self.sealer.send(Job::Close(segment.first_sequence, self.next_sequence));
            }
        }
        self.sealer.stop();
        // Behind the last footer.
        if let Some(mut notary) = self.notary.take() {
            notary.stop();
        }
    }
}

/// Closes the queue when the thread ends, however it ends.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.queue.abandon();
    }
}

/// Cuts what waits into groups within the bounds; a submission is never cut.
fn split(waiting: Vec<Submission>, groups: &mut Vec<Vec<Submission>>) {
    let (mut records, mut bytes) = (0, 0);
    for submission in waiting {
        let (more_records, more_bytes) = (submission.records.len(), submission.weight_bytes);
        let full = records + more_records > GROUP_RECORDS_MAX || bytes + more_bytes > GROUP_BYTES_MAX;
        match groups.last_mut() {
            Some(group) if !full => group.push(submission),
            _ => {
                groups.push(vec![submission]);
                (records, bytes) = (0, 0);
            }
        }
        records += more_records;
        bytes += more_bytes;
    }
}
