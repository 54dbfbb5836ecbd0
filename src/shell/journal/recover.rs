//! Opening: the lock, the end of what is there, the torn tail.

use super::segment::{Hash, Header};
use super::walk::{Found, Walk, list, load};
use super::{Fault, JournalError, Torn, write_atomic};
use crate::shell::vault::Head;
use crate::time::Timestamp;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Whether a running service holds the journal in `folder`.
pub fn is_held(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("journal.lock")) else { return false };
    matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

/// Keeps a second process out for as long as the file is open.
pub(super) fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join("journal.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(JournalError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(JournalError::Io { path, source }),
    }
}

/// Keeps others out, for whoever works on a journal that no service runs.
pub(in crate::shell) fn lock_folder(folder: &Path) -> Result<File, JournalError> {
    lock(folder)
}

/// The end of a journal that is locked.
pub(in crate::shell) fn end_of(folder: &Path) -> Result<Head, JournalError> {
    let end = End::find(folder)?;
    Ok(Head { records: end.next_sequence.saturating_sub(1), hash: end.head, oldest: oldest(folder), at: end.last_at })
}

/// First record that is kept; 0: none is, or it cannot be told.
pub(super) fn oldest(folder: &Path) -> u64 {
    list(folder).ok().and_then(|files| files.into_iter().find(|file| !file.gone)).map_or(0, |file| file.first_sequence)
}

/// Where the journal ends.
pub(super) struct End {
    pub next_sequence: u64,
    pub head: Hash,
    pub last_at: Timestamp,
    pub torn: Option<Torn>,
}

impl End {
    /// Looks at the last segment (and further back while there is no record in it), cuts its torn tail and clears half-made files.
    pub fn find(folder: &Path) -> Result<End, JournalError> {
        for entry in std::fs::read_dir(folder).map_err(JournalError::io(folder))? {
            let path = entry.map_err(JournalError::io(folder))?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                std::fs::remove_file(&path).map_err(JournalError::io(&path))?;
            }
        }
        let mut end = End { next_sequence: 1, head: [0; 32], last_at: Timestamp::MIN, torn: None };
        let files = list(folder)?;
        for (i, file) in files.iter().enumerate().rev().filter(|(_, f)| !f.gone) {
            let last = i + 1 == files.len();
            let (bytes, whole) = load(file).map_err(JournalError::io(&file.path))?;
            let fault = |offset: usize, sequence, what| {
                JournalError::Damaged(Fault { segment: file.name(), offset: offset as u64, sequence, what })
            };
            let header = Header::decode(&bytes).ok_or_else(|| fault(0, file.first_sequence, "the header is damaged"))?;
            let mut walk = Walk::new(&header, files.get(i + 1).map(|f| f.first_sequence));
            loop {
                match walk.step(&bytes) {
                    Found::Record(raw) => end.last_at = raw.stamp.at,
                    Found::Footer(_) | Found::End => break,
                    Found::Wrong(what) => return Err(fault(walk.offset, walk.next_sequence, what)),
                    Found::Broken(what) => {
                        let torn = walk.torn(&bytes).filter(|_| last && !file.sealed && whole);
                        let torn_bytes = torn.ok_or_else(|| fault(walk.offset, walk.next_sequence, what))?;
                        end.torn = Some(cut(folder, &file.path, &bytes, &walk, torn_bytes)?);
                        break;
                    }
                }
            }
            if last {
                (end.next_sequence, end.head) = (walk.next_sequence, walk.hash);
            }
            if walk.count() > 0 {
                break;
            }
        }
        Ok(end)
    }
}

/// Cuts a torn tail; its bytes are kept in a file of their own.
fn cut(folder: &Path, path: &Path, bytes: &[u8], walk: &Walk, torn_bytes: u64) -> Result<Torn, JournalError> {
    let offset = walk.offset;
    let tail = &bytes[offset..offset + usize::try_from(torn_bytes).unwrap_or(0)];
    let name = format!("torn-{:020}-{:08x}.bin", walk.next_sequence, crc32fast::hash(tail));
    write_atomic(&folder.join(name), tail)?;
    let cut = || {
        let file = File::options().write(true).open(path)?;
        file.set_len(offset as u64)?;
        file.sync_all()
    };
    cut().map_err(JournalError::io(path))?;
    let segment = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Torn { segment, offset: offset as u64, bytes: torn_bytes })
}
