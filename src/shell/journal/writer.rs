//! The journal's thread.

use super::queue::Queue;
use super::{Feed, JournalError, Options, Recovered, Stats};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

pub(super) struct Shared {
    pub queue: Queue,
    pub folder: PathBuf,
}

impl Shared {
    pub fn stats(&self) -> Stats {
        todo!()
    }
}

pub(super) struct Writer {}

impl Writer {
    pub fn open(_folder: &Path, _options: Options) -> Result<(Writer, Arc<Shared>, Recovered, Receiver<Feed>), JournalError> {
        todo!()
    }
    pub fn run(self) {}
}
