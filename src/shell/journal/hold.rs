//! Holds: ranges of the journal that a case needs, kept from retention. One small file each, so that any process can set one.
//! Retention keeps them up to the checkpoint that covers their last record.

use super::JournalError;
use crate::shell::vault::checkpoints;
use std::path::{Path, PathBuf};

/// A range of sequences that must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub name: String,
    pub first: u64,
    pub last: u64,
}

fn file(folder: &Path, name: &str) -> Result<PathBuf, JournalError> {
    let fine = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fine { Ok(folder.join(format!("hold-{name}"))) } else { Err(JournalError::HoldName) }
}

/// A note is never longer, bytes.
pub(super) const NOTE_BYTES_MAX: u64 = 64;

/// Keeps the segments of `first..=last` from being deleted until [`release`]. What is held already is not written again: nothing
/// waits for the disk then.
pub fn hold(folder: &Path, name: &str, first: u64, last: u64) -> Result<(), JournalError> {
    let numbers = format!("{first} {last}");
    let crc = crc32fast::hash(numbers.as_bytes());
    let (path, note) = (file(folder, name)?, format!("{numbers} c{crc:08x}\n"));
    if read_note(&path).is_ok_and(|known| known == note.as_bytes()) {
        return Ok(());
    }
    super::write_atomic(&path, note.as_bytes())
}

/// A note's bytes; an error where the file is longer than any note.
fn read_note(path: &Path) -> std::io::Result<Vec<u8>> {
    super::proof::read_small(path, NOTE_BYTES_MAX)
}

/// Whether a note is as it was written; one from before there were checksums has none.
pub(super) fn is_whole(note: &[u8]) -> bool {
    let parse = || {
        let text = std::str::from_utf8(note).ok()?.strip_suffix('\n')?;
        let parts: Vec<&str> = text.split(' ').collect();
        let (first, last): (u64, u64) = (parts.first()?.parse().ok()?, parts.get(1)?.parse().ok()?);
        let numbers = format!("{first} {last}");
        match parts.len() {
            2 => Some(numbers == text),
            _ => Some(text == format!("{numbers} c{:08x}", crc32fast::hash(numbers.as_bytes()))),
        }
    };
    parse().unwrap_or(false)
}

/// Ends a hold; one that does not exist is fine.
pub fn release(folder: &Path, name: &str) -> Result<(), JournalError> {
    let path = file(folder, name)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(JournalError::Io { path, source: e }),
        _ => Ok(()),
    }
}

/// Every hold. One that cannot be read holds everything: evidence is not deleted because of a damaged note.
pub fn holds(folder: &Path) -> Result<Vec<Hold>, JournalError> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(JournalError::io(folder))? {
        let entry = entry.map_err(JournalError::io(folder))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|n| n.strip_prefix("hold-")) else { continue };
        if file(folder, name).is_err() {
            continue; // A temporary file of a hold that is being written.
        }
        let text = read_note(&entry.path()).ok().filter(|note| is_whole(note)).and_then(|note| String::from_utf8(note).ok());
        let text = text.unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|n| n.parse::<u64>().ok());
        let (first, last) = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(first), Some(last)) => (first, last),
            _ => (0, u64::MAX),
        };
        list.push(Hold { name: name.to_owned(), first, last });
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

/// How far holds reach behind their last record: up to the checkpoint that covers it, for without it what is held proves nothing.
///
/// Reads the checkpoints at most once, and only when a segment behind a hold is looked at.
pub(super) struct Reach<'a> {
    folder: &'a Path,
    /// First records of what is gone already, in order.
    gaps: Vec<u64>,
    /// What was signed, in order; `None`: not read yet.
    signed: Option<Vec<u64>>,
}

impl Reach<'_> {
    pub fn of(folder: &Path, gaps: Vec<u64>) -> Reach<'_> {
        Reach { folder, gaps, signed: None }
    }

    /// The last record that a hold needs, as far as the segment that begins with `first` is concerned.
    pub fn behind(&mut self, hold: &Hold, first: u64) -> u64 {
        if first <= hold.last {
            return hold.last;
        }
        let signed = self.signed.get_or_insert_with(|| match checkpoints(self.folder) {
            Ok(list) => list.into_iter().map(|checkpoint| checkpoint.size).collect(),
            Err(error) => {
                // Retention must go on, or the disk fills: the bound of the site counts more than a signature behind a hold.
                tracing::error!(%error, "what is held is kept up to its last record, not up to the checkpoint behind it");
                Vec::new()
            }
        });
        let note = match signed.iter().find(|size| **size >= hold.last) {
            Some(size) => *size,
            // A journal that is signed: the note is still to come.
            None if !signed.is_empty() => u64::MAX,
            None => hold.last,
        };
        // Over a gap no chain leads to it.
        if self.gaps.iter().any(|gap| (hold.last.saturating_add(1)..=note).contains(gap)) { hold.last } else { note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_hold_reaches_up_to_its_checkpoint_and_not_over_a_gap() {
        let hold = |last| Hold { name: "case-1".into(), first: 5, last };
        let mut reach = Reach { folder: Path::new("/"), gaps: vec![300], signed: Some(vec![40, 120, 400]) };
        assert_eq!(reach.behind(&hold(90), 60), 90, "within it");
        assert_eq!(reach.behind(&hold(90), 100), 120);
        assert_eq!(reach.behind(&hold(130), 200), 130, "the note is behind the gap");
        assert_eq!(reach.behind(&hold(401), 500), u64::MAX, "not signed yet");
        let mut unsigned = Reach { folder: Path::new("/"), gaps: vec![], signed: Some(vec![]) };
        assert_eq!(unsigned.behind(&hold(90), 100), 90);
    }

    #[test]
    fn a_hold_that_says_the_same_is_not_written_again_and_a_damaged_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold-case-1");
        let written = || std::fs::metadata(&path).unwrap().ino();
        hold(folder.path(), "case-1", 5, 90).unwrap();
        // Each write is another file under the name; the old one stays linked, so that its number is not used again.
        std::fs::hard_link(&path, folder.path().join("one")).unwrap();
        let before = written();
        hold(folder.path(), "case-1", 5, 90).unwrap();
        assert_eq!(written(), before, "nothing new to say");
        hold(folder.path(), "case-1", 5, 91).unwrap();
        assert_ne!(written(), before);
        assert_eq!(holds(folder.path()).unwrap(), [Hold { name: "case-1".into(), first: 5, last: 91 }]);
        for bad in ["5 91\n", "5 91 c00000000\n", ""] {
            std::fs::write(&path, bad).unwrap();
            hold(folder.path(), "case-1", 5, 91).unwrap();
            assert!(is_whole(&std::fs::read(&path).unwrap()) && std::fs::read(&path).unwrap().len() > 6, "{bad:?}");
        }
        std::fs::write(&path, "5 91\n".repeat(1 << 16)).unwrap();
        let holding = holds(folder.path()).unwrap();
        assert_eq!((holding[0].first, holding[0].last), (0, u64::MAX), "too long to be a note: it keeps everything");
    }
}
