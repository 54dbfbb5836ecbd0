//! Reading a journal: in the live folder or in a copy of it, every CRC and every link of the chain checked on the way.

use super::cipher::{Opener, known};
use super::segment::{HEADER_BYTES, Hash, Header, raw};
use super::walk::{Found, SegmentFile, Walk, list, load};
use super::{Evidence, JournalError, Stamped};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A record with all that the journal knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub stamped: Stamped,
    /// The wall clock as it was read, ms since 1970 (`at` may be held, see the module).
    pub wall_ms: i64,
    /// The monotonic clock of that run, ns.
    pub mono_ns: u64,
    /// Id of that run.
    pub boot: String,
    pub evidence: Evidence,
    /// Its link in the chain: SHA-256 of the hash before, the header and the payload's SHA-256.
    pub hash: [u8; 32],
    /// The hash before: of the record before, or for the first of a segment what the segment's header says.
    pub previous: [u8; 32],
    /// What stands before the payload, as the chain takes it.
    pub header: Box<[u8]>,
    /// SHA-256 of the payload as it was received.
    pub payload_sha256: [u8; 32],
    /// File, and the offset in it (unpacked), bytes.
    pub segment: String,
    pub offset: u64,
}

/// Where a journal is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal damaged: {segment}, offset {offset}, record {sequence}: {what}")]
pub struct Fault {
    pub segment: String,
    pub offset: u64,
    /// The record that was expected there.
    pub sequence: u64,
    pub what: &'static str,
}

/// The rest of a write that a crash interrupted: none of it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub segment: String,
    pub offset: u64,
    /// From the offset to the last byte that is not zero.
    pub bytes: u64,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub segments: u64,
    pub records: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// Hash of the last good record.
    pub head: [u8; 32],
    /// Footers signed with the given key, and without signature.
    pub signed: u64,
    pub unsigned: u64,
    pub torn: Option<Torn>,
    /// The first fault; nothing behind it was read.
    pub fault: Option<Fault>,
}

/// Reads everything in the folder and checks it; `key` also checks the signatures.
pub fn verify(folder: &Path, key: Option<&[u8]>) -> Result<Report, JournalError> {
    let mut reader = Reader::open(folder, 0)?;
    reader.key = key.map(<[u8]>::to_vec);
    let mut report = Report::default();
    for entry in reader.by_ref() {
        match entry {
            Ok(entry) => {
                if report.records == 0 {
                    report.first_sequence = entry.stamped.sequence;
                }
                report.records += 1;
                report.last_sequence = entry.stamped.sequence;
                report.head = entry.hash;
            }
            Err(JournalError::Damaged(fault)) => report.fault = Some(fault),
            Err(other) => return Err(other),
        }
    }
    (report.segments, report.signed, report.unsigned) = (reader.segments, reader.signed, reader.unsigned);
    report.torn = reader.torn.take();
    Ok(report)
}

struct Loaded {
    file: SegmentFile,
    header: Header,
    bytes: Vec<u8>,
    whole: bool,
    walk: Walk,
    footer: bool,
    opener: Option<Opener>,
}

/// Iterates records in order; stops at the end, at a torn tail ([`Reader::torn`]), or after the first error.
///
/// Holds one segment in memory, unpacked.
pub struct Reader {
    folder: PathBuf,
    from: u64,
    files: VecDeque<SegmentFile>,
    current: Option<Loaded>,
    previous: Option<(u64, Hash)>,
    /// First sequence of the segment that was loaded last: an open one without records ends where it begins.
    loaded: Option<u64>,
    torn: Option<Torn>,
    done: bool,
    key: Option<Vec<u8>>,
    segments: u64,
    signed: u64,
    unsigned: u64,
}

impl Reader {
    /// A reader from `sequence` on; from the oldest record on if that one is not kept any more.
    pub fn open(folder: &Path, sequence: u64) -> Result<Reader, JournalError> {
        let mut files: VecDeque<SegmentFile> = list(folder)?.into();
        while files.get(1).is_some_and(|second| second.first_sequence <= sequence) {
            files.pop_front();
        }
        Ok(Reader {
            folder: folder.to_owned(),
            from: sequence,
            files,
            current: None,
            previous: None,
            loaded: None,
            torn: None,
            done: false,
            key: None,
            segments: 0,
            signed: 0,
            unsigned: 0,
        })
    }
    /// What a crash left at the end, once the end was reached.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    fn load_next(&mut self) -> Result<bool, JournalError> {
        if self.files.is_empty()
            && let Some((next, _)) = self.previous
        {
            // A live folder may have grown meanwhile.
            let seen = self.loaded;
            self.files =
                list(&self.folder)?.into_iter().filter(|f| f.first_sequence >= next && Some(f.first_sequence) != seen).collect();
        }
        let Some(mut file) = self.files.pop_front() else { return Ok(false) };
        self.loaded = Some(file.first_sequence);
        let loaded = load(&file).or_else(|e| {
            // Sealed meanwhile.
            let mut name = file.path.clone().into_os_string();
            name.push(".zst");
            let sealed = SegmentFile { path: name.into(), sealed: true, ..file.clone() };
            if file.sealed {
                return Err(e);
            }
            load(&sealed).inspect(|_| file = sealed).map_err(|_| e)
        });
        let (bytes, whole) = match loaded {
            Ok(loaded) => loaded,
            // Deleted by retention before we came to it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.previous.is_none() => return self.load_next(),
            Err(e) => return Err(JournalError::Io { path: file.path, source: e }),
        };
        let fault = |sequence, what| JournalError::Damaged(Fault { segment: file.name(), offset: 0, sequence, what });
        let Some(header) = Header::decode(&bytes) else {
            return Err(fault(file.first_sequence, "the header is damaged"));
        };
        if header.first_sequence != file.first_sequence {
            return Err(fault(file.first_sequence, "the header belongs to another file name"));
        }
        if let Some((next, hash)) = self.previous {
            if next != header.first_sequence {
                return Err(fault(next, "a segment before this one is missing"));
            }
            if hash != header.previous {
                return Err(fault(next, "does not continue the chain of the segment before"));
            }
        }
        let limit = self.files.front().map(|f| f.first_sequence);
        if file.gone {
            let footer = raw(&bytes[HEADER_BYTES..]).and_then(|r| r.footer());
            let footer = footer.ok_or_else(|| fault(header.first_sequence, "the stub's footer is damaged"))?;
            self.previous = Some((footer.first_sequence.saturating_add(footer.count), footer.last_hash));
            return Ok(true);
        }
        let opener = match &header.lock {
            None => None,
            Some(lock) => match lock.opener() {
                None => return Err(JournalError::NoKey { file: file.name(), needed: lock.key_name(), known: known() }),
                opener => opener,
            },
        };
        let walk = Walk::new(&header, limit);
        self.segments += 1;
        self.current = Some(Loaded { file, header, bytes, whole, walk, footer: false, opener });
        Ok(true)
    }

    fn step(&mut self) -> Result<Option<Entry>, JournalError> {
        loop {
            let Some(loaded) = &mut self.current else {
                if self.load_next()? {
                    continue;
                }
                return Ok(None);
            };
            let (offset, previous) = (loaded.walk.offset, loaded.walk.hash);
            let fault = |what, walk: &Walk, file: &SegmentFile| {
                Err(JournalError::Damaged(Fault {
                    segment: file.name(),
                    offset: walk.offset as u64,
                    sequence: walk.next_sequence,
                    what,
                }))
            };
            match loaded.walk.step(&loaded.bytes) {
                Found::Record(raw) => {
                    if raw.sequence < self.from {
                        continue;
                    }
                    let (record, evidence) = match raw.record(loaded.opener.as_ref()) {
                        Ok(read) => read,
                        Err(why) => return fault(why.what(), &loaded.walk, &loaded.file),
                    };
                    return Ok(Some(Entry {
                        stamped: Stamped { sequence: raw.sequence, at: raw.stamp.at, record },
                        wall_ms: raw.stamp.wall_ms,
                        mono_ns: raw.stamp.mono_ns,
                        boot: loaded.header.boot.clone(),
                        evidence,
                        hash: raw.hash,
                        previous,
                        header: raw.header.into(),
                        payload_sha256: loaded.walk.digest,
                        segment: loaded.file.name(),
                        offset: offset as u64,
                    }));
                }
                Found::Footer(footer) => {
                    loaded.footer = true;
                    match (&self.key, footer.mac) {
                        (Some(key), Some(_)) if !footer.signed_by(key) => {
                            return fault("the footer's signature is wrong", &loaded.walk, &loaded.file);
                        }
                        (_, Some(_)) => self.signed += 1,
                        (_, None) => self.unsigned += 1,
                    }
                    if loaded.walk.limit.is_some_and(|limit| limit != loaded.walk.next_sequence) {
                        return fault("a segment behind this one is missing", &loaded.walk, &loaded.file);
                    }
                }
                Found::End => {
                    if loaded.file.sealed && !loaded.footer {
                        return fault("sealed and without a footer", &loaded.walk, &loaded.file);
                    }
                    if !loaded.whole {
                        return fault("packed bytes are damaged", &loaded.walk, &loaded.file);
                    }
                    self.previous = Some((loaded.walk.next_sequence, loaded.walk.hash));
                    self.current = None;
                }
                Found::Wrong(what) => return fault(what, &loaded.walk, &loaded.file),
                Found::Broken(what) => {
                    let last = loaded.walk.limit.is_none() && !loaded.file.sealed && loaded.whole;
                    if last && self.grew() {
                        continue;
                    }
                    let Some(loaded) = &self.current else { continue };
                    return match loaded.walk.torn(&loaded.bytes).filter(|_| last) {
                        Some(bytes) => {
                            self.torn = Some(Torn { segment: loaded.file.name(), offset: offset as u64, bytes });
                            Ok(None)
                        }
                        None => fault(what, &loaded.walk, &loaded.file),
                    };
                }
            }
        }
    }

    /// Loads the open segment again, in case it was being written while it was read; `true`: the broken place is whole now.
    fn grew(&mut self) -> bool {
        let Some(loaded) = &mut self.current else { return false };
        let Ok((bytes, _)) = load(&loaded.file) else { return false };
        let whole = raw(bytes.get(loaded.walk.offset..).unwrap_or_default()).is_some();
        if whole {
            loaded.bytes = bytes;
        }
        whole
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let entry = self.step().transpose();
        self.done = !matches!(entry, Some(Ok(_)));
        entry
    }
}
