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
        write_atomic(&self.path, text_of(&self.sequences).as_bytes())?;
        Ok(true)
    }
}

/// The file: the numbers, and a checksum of them.
fn text_of(sequences: &BTreeSet<u64>) -> String {
    let numbers: String = sequences.iter().map(|sequence| format!("{sequence}\n")).collect();
    format!("{numbers}# {:08x}\n", crc32fast::hash(numbers.as_bytes()))
}

/// Whether a file is as it was written; one from before there were checksums has none.
pub fn is_whole(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let numbers: Result<BTreeSet<u64>, _> = text.lines().filter(|line| !line.starts_with('#')).map(str::parse).collect();
    numbers.is_ok_and(|numbers| {
        let whole = text_of(&numbers);
        text == whole || (!text.contains('#') && whole.starts_with(text))
    })
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
