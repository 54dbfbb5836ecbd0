//! Single records, and where in the journal a time begins: for whoever looks at a little of it.

use super::segment::{HEADER_BYTES, Header};
use super::walk::list;
use super::{Entry, JournalError, Reader, Record};
use crate::time::Timestamp;
use std::io::Read as _;
use std::path::Path;

/// One record; `None`: it is not kept any more, or not written yet. Reads its segment up to it (64 MiB at the default).
pub fn read_one(folder: &Path, sequence: u64) -> Result<Option<Entry>, JournalError> {
    match Reader::open(folder, sequence)?.next() {
        Some(Ok(entry)) if entry.stamped.sequence == sequence => Ok(Some(entry)),
        Some(Err(error)) => Err(error),
        _ => Ok(None),
    }
}

/// Feed and number of a record's name (`{feed}.{number}`), as evidence gives it.
pub fn number_of(raw: &str) -> Option<(&str, u64)> {
    let (feed, number) = raw.rsplit_once('.')?;
    Some((feed, number.parse().ok()?))
}

/// What was received under a name; `None`: it is no name, is not kept any more, or is of another feed.
pub fn read_named(folder: &Path, raw: &str) -> Result<Option<Entry>, JournalError> {
    let Some((feed, number)) = number_of(raw) else { return Ok(None) };
    let of_feed = |entry: &Entry| match &entry.stamped.record {
        Record::Frame { source, .. } | Record::Fragment { source, .. } => source.feed == feed,
        _ => false,
    };
    Ok(read_one(folder, number)?.filter(of_feed))
}

/// First and last record of an unbroken part of a journal: the part that holds `sequence`, or else the first one behind it. The
/// last is `u64::MAX` where nothing was deleted behind it; `None`: nothing is kept from there on.
pub fn unbroken(folder: &Path, sequence: u64) -> Result<Option<(u64, u64)>, JournalError> {
    let files = list(folder)?;
    let ends = |at: usize| files.get(at + 1).map_or(u64::MAX, |next| next.first_sequence.saturating_sub(1));
    let Some(begin) = (0..files.len()).find(|at| !files[*at].gone && ends(*at) >= sequence) else { return Ok(None) };
    let gap = files[begin..].iter().find(|file| file.gone);
    let last = gap.map_or(u64::MAX, |gap| gap.first_sequence.saturating_sub(1));
    Ok(Some((files[begin].first_sequence.max(sequence), last)))
}

/// First record of the last segment that was begun before `at`, by the journal's own clock, which never runs backwards: reading
/// from there meets everything from `at` on. The oldest record that is kept, where all segments are younger; 0: the journal is
/// empty.
pub fn segment_before(folder: &Path, at: Timestamp) -> Result<u64, JournalError> {
    let mut found = 0;
    for file in list(folder)?.into_iter().filter(|file| !file.gone) {
        let opened = match std::fs::File::open(&file.path) {
            Ok(opened) => opened,
            // Sealed or deleted meanwhile: the one before serves as well.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(JournalError::Io { path: file.path, source }),
        };
        let mut bytes = [0; HEADER_BYTES];
        let read = if file.sealed {
            zstd::stream::read::Decoder::new(opened).and_then(|mut unpacked| unpacked.read_exact(&mut bytes))
        } else {
            std::io::BufReader::new(opened).read_exact(&mut bytes)
        };
        let created_ms = match read.ok().and_then(|()| Header::decode(&bytes)) {
            Some(header) => header.created_ms,
            None => continue,
        };
        // What was begun in that very millisecond may follow records of it.
        if found == 0 || created_ms < at.ms() {
            found = file.first_sequence;
        }
        if created_ms >= at.ms() {
            break;
        }
    }
    Ok(found)
}
