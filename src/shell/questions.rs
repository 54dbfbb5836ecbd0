//! Questions to the judging thread: HTTP asks, the thread answers between two inputs from what the monitor knows.
//!
//! One contract: the thread is never waited for by more than [`QUESTIONS_MAX`] and never waits itself; a question that panics is
//! thrown away.

use crate::monitor::Monitor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Questions that wait at most; further ones get no answer.
pub const QUESTIONS_MAX: usize = 32;
/// Questions answered between two inputs at most.
const AT_ONCE: usize = 4;
/// So long is waited for the judging thread.
const PATIENCE: Duration = Duration::from_secs(5);

type Question = Box<dyn FnOnce(&Monitor) + Send>;

/// The asking side.
#[derive(Clone)]
pub struct Questions(SyncSender<Question>);

/// The answering side.
pub struct Asked(Receiver<Question>);

/// Both sides.
pub fn questions() -> (Questions, Asked) {
    let (ask, asked) = sync_channel(QUESTIONS_MAX);
    (Questions(ask), Asked(asked))
}

impl Questions {
    /// What the monitor says; `None` where the judging thread does not answer.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce(&Monitor) -> T + Send + 'static) -> Option<T> {
        let (say, answer) = tokio::sync::oneshot::channel();
        let question = move |monitor: &Monitor| {
            // Who asked may be gone.
            let _ = say.send(question(monitor));
        };
        self.0.try_send(Box::new(question)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

impl Asked {
    /// Answers what waits.
    pub fn answer(&self, monitor: &Monitor) {
        for question in self.0.try_iter().take(AT_ONCE) {
            if catch_unwind(AssertUnwindSafe(|| question(monitor))).is_err() {
                tracing::error!("a question to the judging thread failed");
            }
        }
    }
}
