//! Opening: the lock, the end of what is there, the torn tail.

use super::segment::{HEADER_BYTES, Hash, Header, raw};
use super::walk::{Found, SegmentFile, Walk, list, load};
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
    Ok(Head {
        records: end.next_sequence.saturating_sub(1),
        hash: end.head,
        oldest: oldest(folder),
        at: end.last_at.max(Timestamp::from_ms(0)),
    })
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
        if let Some(stub) = files.last().filter(|file| file.gone) {
            // The empty segment behind it was lost: numbers and chain go on where the stub says that it ended.
            return End::behind(stub);
        }
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

    fn behind(stub: &SegmentFile) -> Result<End, JournalError> {
        let (bytes, _) = load(stub).map_err(JournalError::io(&stub.path))?;
        let footer = Header::decode(&bytes).and_then(|_| raw(&bytes[HEADER_BYTES..])).and_then(|record| record.footer());
        let footer = footer.filter(|footer| footer.first_sequence == stub.first_sequence).ok_or_else(|| {
            let what = "the stub at the end of the journal is damaged";
            JournalError::Damaged(Fault { segment: stub.name(), offset: 0, sequence: stub.first_sequence, what })
        })?;
        Ok(End {
            next_sequence: footer.first_sequence.saturating_add(footer.count),
            head: footer.last_hash,
            last_at: Timestamp::from_ms(footer.last_at_ms),
            torn: None,
        })
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

#[cfg(test)]
mod tests {
    use super::super::{Journal, Options, Record, hold, verify};
    use super::*;

    #[test]
    fn numbers_go_on_behind_a_stub_whose_empty_successor_was_lost() {
        let folder = tempfile::tempdir().unwrap();
        let run = |records: u32, keep: u64| {
            let config = crate::config::Journal::default();
            let options = Options { segment_bytes: 4 << 10, retain_bytes: keep, ..Options::new(&config, "boot") };
            let (journal, feed) = Journal::open(folder.path(), options).unwrap();
            let feeds = std::thread::spawn(move || feed.iter().count());
            let mut last = 0;
            for n in 0..records {
                let (source, payload) = (Default::default(), vec![b'x'; 300]);
                last = journal.handle().submit_blocking(Record::Fragment { source, what: format!("{n}"), payload }).unwrap();
            }
            // The other thread gets to work while there is an open segment.
            std::thread::sleep(std::time::Duration::from_millis(if records == 0 { 200 } else { 0 }));
            journal.close();
            feeds.join().unwrap();
            last
        };
        let last = run(60, u64::MAX);
        let before = End::find(folder.path()).unwrap();
        hold(folder.path(), "case-1", 1, 3).unwrap();
        // Starts without a record: what was open is closed, packed and deleted by retention, which leaves stubs; the empty segment
        // behind them goes with the run.
        let ends_gone = || list(folder.path()).unwrap().last().is_some_and(|file| file.gone);
        for _ in 0..20 {
            if ends_gone() {
                break;
            }
            run(0, 0);
        }
        assert!(ends_gone() && !list(folder.path()).unwrap()[0].gone, "{:?}", list(folder.path()));
        let after = End::find(folder.path()).unwrap();
        assert_eq!((after.next_sequence, after.head, after.last_at), (last + 1, before.head, before.last_at));
        assert_eq!(run(1, u64::MAX), last + 1);
        assert_eq!(verify(folder.path(), None).unwrap().fault, None);
        // A stub that cannot be read is no reason to begin anew.
        let stub = list(folder.path()).unwrap().into_iter().rfind(|file| file.gone).unwrap();
        for file in list(folder.path()).unwrap().into_iter().filter(|file| file.first_sequence > stub.first_sequence) {
            std::fs::remove_file(&file.path).unwrap();
        }
        std::fs::write(&stub.path, &std::fs::read(&stub.path).unwrap()[..200]).unwrap();
        assert!(matches!(End::find(folder.path()), Err(JournalError::Damaged(_))));
    }
}
