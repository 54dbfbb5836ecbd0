//! Records that made the judge panic: they stay in the journal as evidence and are never judged again, live or replayed.
//!
//! One contract: [`Quarantine::add`] is durable when it returns, so that a record which cannot be judged stops the service at most
//! once. One small file beside the journal, a sequence a line. At [`QUARANTINE_MAX`] records nothing more is taken: a judge that
//! fails so often is not to be trusted, and the service ends with an error instead.

use crate::shell::journal::{JournalError, write_atomic};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Records at most.
pub const QUARANTINE_MAX: usize = 1_000;

/// The records of one journal that are not judged.
#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    path: PathBuf,
    sequences: BTreeSet<u64>,
}

impl Quarantine {
    /// Reads it; no file is an empty one.
    pub fn read(journal: &Path) -> Result<Quarantine, JournalError> {
        let path = journal.join("quarantine");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(JournalError::Io { path, source }),
        };
        let sequences = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        Ok(Quarantine { path, sequences })
    }

    /// Whether this record is not judged.
    pub fn holds(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Takes one more; `false` where it may not.
    pub fn add(&mut self, sequence: u64) -> Result<bool, JournalError> {
        if self.sequences.len() >= QUARANTINE_MAX || !self.sequences.insert(sequence) {
            return Ok(false);
        }
        let text: String = self.sequences.iter().map(|sequence| format!("{sequence}\n")).collect();
        write_atomic(&self.path, text.as_bytes())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_there_after_a_restart_and_there_is_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut quarantine = Quarantine::read(folder.path()).unwrap();
        assert!(quarantine.is_empty());
        assert!(quarantine.add(7).unwrap() && quarantine.add(3).unwrap());
        assert!(!quarantine.add(7).unwrap(), "skipped and still panicking: not the record's fault");
        let again = Quarantine::read(folder.path()).unwrap();
        assert!(again.holds(3) && again.holds(7) && !again.holds(5));
        quarantine.sequences.extend(1_000..1_000 + QUARANTINE_MAX as u64);
        assert!(!quarantine.add(1).unwrap());
    }
}
