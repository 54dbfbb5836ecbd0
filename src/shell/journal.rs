//! The journal: every input, durable before it is acknowledged, hash-chained, in the order in which it is judged.
//!
//! **One contract: what [`JournalHandle::submit`] answered with a number is on the disk.** One thread writes; whoever has
//! something to store sends it through a bounded queue and waits. The thread takes what is waiting (group commit), gives every
//! record its number and time, writes once, calls `fdatasync` once, answers all, and hands the batch to the judging thread
//! through a bounded channel, in order. A slow consumer makes the intake wait; nothing is dropped or overtaken.
//!
//! **Time.** `at` is assigned here and nowhere else and never runs backwards, also not over a restart. When the wall clock is
//! set back, `at` goes on at half the speed of the monotonic clock until the wall clock has caught up: it neither stands still
//! nor stays wrong for ever. Such steps are counted.
//!
//! **Trouble.** A write or an fsync that failed is never tried again into a lie: the whole group is answered
//! [`NotStored`], the segment is closed at its last durable byte, and a new one is begun at the next attempt (a quarter of a
//! second later at the earliest).
//!
//! **Files** (`segment.rs` has the format): `{first sequence}.vgj` is written, `{first sequence}.vgj.zst` is sealed,
//! `snapshot-{sequence}.bin` holds the core's state, `past/` older ones (`past.rs`), `hold-{name}` keeps segments from being
//! deleted, `journal.lock` keeps a second process out, `torn-*` is what was cut from the end after a crash, `checkpoints` and
//! `key-{id}.pem` are the vault's ([`crate::shell::vault`]).
//!
//! Limits: records wait for the disk up to [`QUEUE_BYTES_MAX`]; a group holds up to [`GROUP_RECORDS_MAX`] records or
//! [`GROUP_BYTES_MAX`] bytes (one record may be larger); the consumer's channel holds [`FEED_GROUPS_MAX`] groups.

mod cipher;
mod clock;
mod hold;
mod past;
mod pick;
pub(super) mod proof;
mod queue;
mod reader;
mod recover;
mod seal;
mod segment;
mod snapshot;
mod walk;
mod writer;

pub use cipher::{EncryptionKey, EncryptionKeyError, unlock};
pub use clock::{Clock, Now, system_clock};
pub use hold::{Hold, hold, holds, release};
pub use past::{Past, before, keep, past};
pub use pick::{number_of, read_named, read_one, segment_before, unbroken};
pub use reader::{Entry, Fault, Reader, Report, Torn, verify};
pub use recover::is_held;
pub(super) use recover::{end_of, lock_folder};
pub(super) use snapshot::check_snapshot;
pub use snapshot::{latest_snapshots, read_snapshot, write_atomic, write_private, write_snapshot};

use crate::case::Act;
use crate::command::Command;
use crate::observation::Source;
use crate::shell::vault::{CHECKPOINT_EVERY, Checkpoint, NoCheckpoint, Signer};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Receiver;

/// Records of one group commit at most.
pub const GROUP_RECORDS_MAX: usize = 4096;
/// Bytes of one group commit at most (a single record may be larger).
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Bytes waiting for the journal at most; who comes then waits before its record enters.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Groups waiting for the judging thread at most; then the journal waits.
pub const FEED_GROUPS_MAX: usize = 16;
/// An idle journal says what time it is so often, milliseconds.
pub const TICK_MS: u64 = 100;
/// After a disk error the next attempt comes so much later, milliseconds.
pub const PROBE_MS: u64 = 250;

/// One input of the monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The service began: what was applied before, by the store.
    Start { boot: String, applied_until: Timestamp },
    /// A connection was opened.
    Open { source: Source, evidence: Evidence },
    /// A connection was closed.
    Close { connection: u64 },
    /// A frame's payload, byte for byte.
    Frame { source: Source, payload: Vec<u8> },
    /// What was received and is not a frame to be judged (truncated, junk, too large): evidence only.
    Fragment { source: Source, what: String, payload: Vec<u8> },
    /// A person's command.
    Command(Command),
    /// A person looked at, or took away, what is not for everyone: changes nothing, and stands in the chain.
    Audit(Looked),
    /// A step of a case: the judge ignores it, the store keeps it.
    Case(Box<Act>),
}

/// Who looked at what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Slug that tells one look from another.
    pub id: String,
    pub user: String,
    /// `names`, `message`, `export`, `report`, `explain`, `replay`, `audit`; `login`, `logout`, `session_end`; a command's verb that
    /// was refused at the door; `configuration`, `models`, `certificates`.
    pub action: String,
    /// What was looked at: a bed, a journal key, an alert, a query; where from; the hashes before and after. Never who lies there.
    pub object: String,
    /// `web`, `mqtt`; `auto`: the service itself.
    #[serde(default = "web")]
    pub via: String,
    /// `ok`, or why not.
    #[serde(default = "ok")]
    pub result: String,
}

/// What records from before there was anything else mean.
fn web() -> String {
    "web".to_owned()
}
fn ok() -> String {
    "ok".to_owned()
}

impl Record {
    /// Bytes it weighs in queues: what it carries and a flat rate for the rest.
    pub fn weight_bytes(&self) -> usize {
        256 + match self {
            Record::Frame { payload, .. } | Record::Fragment { payload, .. } => payload.len(),
            Record::Command(command) => command.verb.words().map_or(0, String::len),
            Record::Audit(looked) => looked.object.len(),
            Record::Case(act) => act.weight_bytes(),
            _ => 0,
        }
    }
}

/// What the transport knows of a peer beyond its address: written on the disk with every record of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The peer's port.
    pub port: u16,
    /// Whom its certificate names (`CN=… sha256:…`), where it has shown one.
    pub tls: Option<String>,
}

/// A record with its number and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped {
    pub sequence: u64,
    pub at: Timestamp,
    pub record: Record,
}

/// What the judging thread takes, in order: durable records, and the time when there are none.
#[derive(Debug)]
pub enum Feed {
    Batch(Vec<Stamped>),
    /// No record older than this is on its way.
    Tick(Timestamp),
    /// The journal began to fail, or works again.
    Failing(bool, Timestamp),
}

/// Why a record is not on the disk. Whoever sent it must be told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    #[error("the disk fails or is full")]
    Disk,
    #[error("the journal is closed")]
    Closed,
}

/// What stops the journal from opening or being read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: another process has this journal open")]
    Locked { path: PathBuf },
    #[error("{0}")]
    Damaged(Fault),
    #[error("{file} is encrypted with key {needed}, which is not known here (known: {})", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    NoKey { file: String, needed: String, known: Vec<String> },
    #[error("no randomness for the journal's encryption")]
    Random,
    #[error("{path}: {what}")]
    Snapshot { path: PathBuf, what: &'static str },
    #[error("a hold's name must be 1 to 64 letters, digits, `-` or `_`")]
    HoldName,
}

impl JournalError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> JournalError + '_ {
        move |source| JournalError::Io { path: path.to_owned(), source }
    }
}

/// How a journal is run.
#[derive(Clone)]
pub struct Options {
    /// Size of a segment, bytes.
    pub segment_bytes: u64,
    /// Sealed segments are kept so long, days.
    pub retain_days: f64,
    /// Sealed segments are kept so much, bytes.
    pub retain_bytes: u64,
    /// Id of this run of the process, stands in every segment.
    pub boot: String,
    /// The site's key: signs the footer of every sealed segment (HMAC-SHA-256). `None`: unsigned.
    pub key: Option<Arc<[u8]>>,
    /// Signs the chain's head ([`Checkpoint`]); `None`: nobody does.
    pub signer: Option<Arc<Signer>>,
    /// Whose journal it is, first line of every checkpoint: `vitalguard/{site}`.
    pub origin: String,
    /// The head is signed so often while records come.
    pub checkpoint_every: std::time::Duration,
    /// Encrypts what is written; `None`: it stands there as it came.
    pub encryption: Option<Arc<EncryptionKey>>,
    /// Wall and monotonic clock.
    pub clock: Clock,
    /// Exercises: makes the disk fail as if it did ([`DiskFault`]).
    pub fault: DiskFault,
}

impl Options {
    /// As configured, with the system's clocks.
    pub fn new(config: &crate::config::Journal, boot: &str) -> Options {
        Options {
            segment_bytes: config.segment_bytes,
            retain_days: config.retain_days,
            retain_bytes: config.retain_bytes,
            boot: boot.to_owned(),
            key: None,
            signer: None,
            origin: "vitalguard".into(),
            checkpoint_every: CHECKPOINT_EVERY,
            encryption: None,
            clock: system_clock(),
            fault: DiskFault::default(),
        }
    }
}

/// A disk that fails on command, for exercises and tests: a full disk is hard to come by when one is wanted.
#[derive(Debug, Clone, Default)]
pub struct DiskFault(Arc<AtomicU8>);

impl DiskFault {
    /// The disk works.
    pub const NONE: u8 = 0;
    /// Writes fail half-way through.
    pub const WRITE: u8 = 1;
    /// Writes pass, `fdatasync` fails.
    pub const SYNC: u8 = 2;

    /// From now on.
    pub fn set(&self, what: u8) {
        self.0.store(what, Ordering::SeqCst);
    }
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Number of the next record.
    pub next_sequence: u64,
    /// Time of the last record ([`Timestamp::MIN`]: none).
    pub last_at: Timestamp,
    /// What was cut from the end: the rest of a write that a crash interrupted, never acknowledged.
    pub torn: Option<Torn>,
}

/// Numbers of a running journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Number of the last durable record.
    pub records: u64,
    /// Head of the hash chain.
    pub head: [u8; 32],
    /// Bytes written in this run.
    pub bytes: u64,
    /// Group commits in this run.
    pub groups: u64,
    /// Duration of the last `fdatasync`, and of all in this run (by `groups`: the mean), microseconds.
    pub sync_us: u64,
    pub sync_total_us: u64,
    /// Whether the disk refuses.
    pub failing: bool,
    /// Records answered [`NotStored`] in this run.
    pub refused: u64,
    /// Times that the wall clock was set back in this run.
    pub clock_steps: u64,
    /// Time of the last record or tick.
    pub at: Timestamp,
    /// The consumer of [`Feed`] is gone: nothing is accepted any more.
    pub consumer_gone: bool,
    /// Oldest sequence still on the disk, and the bytes of all files.
    pub oldest: u64,
    pub disk_bytes: u64,
}

/// The open journal. Dropping it closes it: what is waiting is still written.
pub struct Journal {
    handle: JournalHandle,
    recovered: Recovered,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Journal {
    /// Opens or makes the journal in `folder`: takes the lock, finds the end, cuts a torn tail, continues the chain in a new
    /// segment, starts the thread.
    ///
    /// A damaged record in the middle is an error that names the file and the offset: an operator decides, not we.
    pub fn open(folder: &Path, options: Options) -> Result<(Journal, Receiver<Feed>), JournalError> {
        let (writer, shared, recovered, feed) = writer::Writer::open(folder, options)?;
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(JournalError::io(folder))?;
        let handle = JournalHandle { shared };
        Ok((Journal { handle, recovered, thread: Some(thread) }, feed))
    }
    /// For those who have something to store.
    pub fn handle(&self) -> JournalHandle {
        self.handle.clone()
    }
    /// What opening found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }
    /// Takes nothing new, writes what is waiting, closes the segment with its footer. The consumer must still take what comes,
    /// until its channel ends.
    pub fn close(mut self) {
        self.stop();
    }
    fn stop(&mut self) {
        self.handle.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A way into the journal; cheap to clone.
#[derive(Clone)]
pub struct JournalHandle {
    shared: Arc<writer::Shared>,
}

impl JournalHandle {
    /// Stores a record; returns when it is durable, with its number.
    pub async fn submit(&self, record: Record) -> Result<u64, NotStored> {
        self.submit_many(vec![record]).await
    }
    /// Stores records in this order, nothing in between; returns when all are durable, with the first one's number (the others
    /// follow without a gap). All or none. Nothing to store: the number of the last durable record.
    pub async fn submit_many(&self, records: Vec<Record>) -> Result<u64, NotStored> {
        self.submit_stamped(records).await.map(|(first, _)| first)
    }
    /// As [`submit_many`](Self::submit_many), with the records' time (one for the group).
    pub async fn submit_stamped(&self, records: Vec<Record>) -> Result<(u64, Timestamp), NotStored> {
        if records.is_empty() {
            let stats = self.stats();
            return Ok((stats.records, stats.at));
        }
        self.shared.queue.push(records).await?.await.unwrap_or(Err(NotStored::Closed))
    }
    /// As [`submit`](Self::submit), for threads without a runtime; must not be called from async code.
    pub fn submit_blocking(&self, record: Record) -> Result<u64, NotStored> {
        let answer = self.shared.queue.push_blocking(vec![record])?;
        answer.blocking_recv().unwrap_or(Err(NotStored::Closed)).map(|(first, _)| first)
    }
    /// Signs the head as it is now; waits for the thread that signs, not for the intake. The last checkpoint, where it covers
    /// the last record already.
    pub fn checkpoint(&self) -> Result<Checkpoint, NoCheckpoint> {
        let asks = self.shared.notary.get().ok_or(NoCheckpoint::NoKey)?;
        let (answer, answered) = std::sync::mpsc::channel();
        asks.send(crate::shell::vault::Ask::Now("demand", answer)).map_err(|_| NoCheckpoint::Closed)?;
        answered.recv().map_err(|_| NoCheckpoint::Closed)?
    }
    /// What encrypts the files.
    pub fn encryption(&self) -> Option<&Arc<EncryptionKey>> {
        self.shared.encryption.as_ref()
    }
    /// Numbers of the running journal.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }
}
