//! The thread that signs: about once a minute while records come, at every seal, on demand, and at the end. The journal's own
//! thread never waits for it.

use super::Signer;
use super::checkpoint::{Book, Checkpoint, CheckpointError, Head, publish_key};
use crate::shell::journal::JournalError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// So often the head is signed while records come.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// From this size on the file of checkpoints loses what speaks of records that are gone, bytes.
const PRUNE_BYTES: u64 = 1 << 20;

/// Why the head was not signed.
#[derive(Debug, thiserror::Error)]
pub enum NoCheckpoint {
    #[error("this journal is not signed")]
    NoKey,
    #[error("the journal is closed")]
    Closed,
    #[error(transparent)]
    File(#[from] CheckpointError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the thread is told.
pub(in crate::shell) enum Ask {
    /// Segments went.
    Event(&'static str),
    Now(&'static str, Sender<Result<Checkpoint, NoCheckpoint>>),
    Stop,
}

/// How it signs.
pub(in crate::shell) struct Desk {
    pub folder: PathBuf,
    pub signer: Arc<Signer>,
    pub origin: String,
    pub boot: String,
    pub every: Duration,
    /// The durable end of the journal.
    pub head: Box<dyn Fn() -> Head + Send>,
}

/// The running thread.
pub(in crate::shell) struct Notary {
    asks: Sender<Ask>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Notary {
    pub fn start(desk: Desk) -> std::io::Result<Notary> {
        let (asks, receiver) = channel();
        let thread = std::thread::Builder::new().name("journal-sign".into()).spawn(move || desk.run(&receiver))?;
        Ok(Notary { asks, thread: Some(thread) })
    }
    /// A way to ask.
    pub fn asks(&self) -> Sender<Ask> {
        self.asks.clone()
    }
    /// Signs the end, and ends.
    pub fn stop(&mut self) {
        let _ = self.asks.send(Ask::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Desk {
    fn run(&self, asks: &Receiver<Ask>) {
        if let Err(error) = publish_key(&self.folder, &self.signer) {
            tracing::warn!(%error, "checkpoints: the public key could not be put beside them");
        }
        let mut book = match Book::open(&self.folder) {
            Ok(book) => Some(book),
            Err(error) => {
                tracing::error!(%error, "checkpoints cannot be opened; tried again");
                None
            }
        };
        if let Some(last) = book.as_ref().and_then(|book| book.last.as_ref()) {
            self.compare(last);
        }
        let mut failing = self.sign(&mut book, "start", true, false).is_err();
        let mut due = Instant::now() + self.every;
        loop {
            let (why, answer) = match asks.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Ask::Event(why)) => (why, None),
                Ok(Ask::Now(why, answer)) => (why, Some(answer)),
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.sign(&mut book, "stop", true, failing);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    due = Instant::now() + self.every;
                    ("minute", None)
                }
            };
            let signed = self.sign(&mut book, why, why == "retention", failing);
            failing = signed.is_err();
            if let Some(answer) = answer {
                let _ = answer.send(signed);
            }
        }
    }

    /// What the last run signed and what is there now.
    fn compare(&self, last: &Checkpoint) {
        let head = (self.head)();
        if last.size > head.records {
            tracing::error!(
                signed = last.size,
                found = head.records,
                "the journal ends before its last checkpoint: records that were signed are gone"
            );
        }
        // An empty journal has no oldest record.
        if head.oldest > last.oldest && last.oldest > 0 {
            tracing::warn!(signed = last.oldest, found = head.oldest, "the journal begins later than its last checkpoint says");
        }
    }

    /// Signs the head where it has moved (or is to be said again); the checkpoint that covers it.
    fn sign(&self, book: &mut Option<Book>, why: &str, again: bool, failing: bool) -> Result<Checkpoint, NoCheckpoint> {
        let signed = self.try_sign(book, why, again);
        match &signed {
            Err(error) if !failing => tracing::error!(%error, "the journal's head could not be signed; tried again"),
            Ok(_) if failing => tracing::warn!("the journal's head is signed again"),
            _ => {}
        }
        signed
    }

    fn try_sign(&self, book: &mut Option<Book>, why: &str, again: bool) -> Result<Checkpoint, NoCheckpoint> {
        let book = match book {
            Some(book) => book,
            None => book.insert(Book::open(&self.folder)?),
        };
        let head = (self.head)();
        let last = book.last.as_ref().filter(|last| last.size == head.records && last.head == head.hash);
        if let Some(last) =
            last.filter(|last| !again || (last.oldest == head.oldest && last.boot == self.boot && last.why == why))
        {
            return Ok(last.clone());
        }
        let checkpoint = book.next(&self.origin, &self.boot, &head, why, &self.signer);
        book.append(&checkpoint)?;
        book.prune(head.oldest, PRUNE_BYTES)?;
        Ok(checkpoint)
    }
}
