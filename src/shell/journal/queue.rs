//! The way to the journal's thread: bounded by bytes, first come first served.
//!
//! At the bound a submitter waits (its connection is not read on), it is never refused.

use super::{NotStored, QUEUE_BYTES_MAX, Record};
use crate::time::Timestamp;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Weight of one permit, bytes.
const PERMIT_BYTES: usize = 1024;

/// What the submitter waits for: the first record's number, and the group's time.
pub(super) type Answer = Result<(u64, Timestamp), NotStored>;

/// Records of one submitter: stored all or none, nothing in between.
pub(super) struct Submission {
    pub records: Vec<Record>,
    pub answer: oneshot::Sender<Answer>,
    pub weight_bytes: usize,
    _permit: OwnedSemaphorePermit,
}

pub(super) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Submission>,
    closed: bool,
}

/// What [`Queue::take`] brought.
pub(super) enum Taken {
    Some(Vec<Submission>),
    Idle,
    Closed,
}

impl Queue {
    pub fn new() -> Queue {
        Queue { state: Mutex::default(), came: Condvar::new(), room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX / PERMIT_BYTES)) }
    }

    fn weigh(records: &[Record]) -> (usize, u32) {
        let bytes: usize = records.iter().map(Record::weight_bytes).sum();
        // A submission heavier than the whole queue waits until it is alone.
        let permits = bytes.div_ceil(PERMIT_BYTES).min(QUEUE_BYTES_MAX / PERMIT_BYTES);
        (bytes, u32::try_from(permits).unwrap_or(u32::MAX))
    }

    pub async fn push(&self, records: Vec<Record>) -> Result<oneshot::Receiver<Answer>, NotStored> {
        let (bytes, permits) = Queue::weigh(&records);
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| NotStored::Closed)?;
        self.enter(records, bytes, permit)
    }

    pub fn push_blocking(&self, records: Vec<Record>) -> Result<oneshot::Receiver<Answer>, NotStored> {
        let (bytes, permits) = Queue::weigh(&records);
        loop {
            match self.room.clone().try_acquire_many_owned(permits) {
                Ok(permit) => return self.enter(records, bytes, permit),
                Err(tokio::sync::TryAcquireError::Closed) => return Err(NotStored::Closed),
                Err(tokio::sync::TryAcquireError::NoPermits) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn enter(
        &self,
        records: Vec<Record>,
        weight_bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answer>, NotStored> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(NotStored::Closed);
        }
        state.waiting.push(Submission { records, answer, weight_bytes, _permit: permit });
        drop(state);
        self.came.notify_one();
        Ok(receiver)
    }

    /// Everything that waits, or what became of the waiting after `timeout`.
    pub fn take(&self, timeout: Duration) -> Taken {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && !state.closed {
            self.came.wait_for(&mut state, timeout);
        }
        if !state.waiting.is_empty() {
            return Taken::Some(std::mem::take(&mut state.waiting));
        }
        if state.closed { Taken::Closed } else { Taken::Idle }
    }

    /// Nothing will be taken any more: what waits is answered with [`NotStored::Closed`].
    pub fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        drop(waiting);
    }

    /// Nothing new from now on; what waits may still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.came.notify_one();
    }
}
