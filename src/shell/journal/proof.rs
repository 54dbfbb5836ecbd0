//! One segment for [`crate::shell::vault::verify`]: every byte of it looked at, and what was found.

use super::cipher::Opener;
use super::segment::{HEADER_BYTES, Hash, Header, SEALED, Unreadable, raw};
use super::walk::{Found, SegmentFile, Walk, list, load_into};
use super::{Fault, JournalError, Torn};
use crate::time::Timestamp;
use std::path::Path;

/// Largest list of records that are not judged, bytes: a thousand numbers are 21 KB.
const QUARANTINE_BYTES_MAX: u64 = 64 << 10;

/// What is expected of a segment.
pub(in crate::shell) struct Asked<'a> {
    /// First record of the segment that follows.
    pub limit: Option<u64>,
    /// Checks the footer's HMAC.
    pub site_key: Option<&'a [u8]>,
    /// Hashes that somebody has signed, by record, in order: each at least its first bytes.
    pub signed: &'a [(u64, Vec<u8>)],
    /// The last record that is signed.
    pub signed_until: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(in crate::shell) struct Proven {
    pub name: String,
    pub first: u64,
    /// Number of the record that must follow.
    pub next: u64,
    pub previous: Hash,
    pub hash: Hash,
    pub records: u64,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    /// First record behind the last one that is signed.
    pub unsigned: Option<(u64, Timestamp)>,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// It is closed; whether its footer is signed.
    pub footer: Option<bool>,
    /// A stub: its records were deleted by retention, before records that are held.
    pub gone: bool,
    /// The key that its payloads are sealed with, where it is not known.
    pub locked: Option<String>,
    /// Payloads that could not be opened.
    pub unopened: u64,
    pub torn: Option<Torn>,
    pub fault: Option<Fault>,
    /// It vanished while it was looked at.
    pub vanished: bool,
}

/// The segments of a folder, oldest first.
pub(in crate::shell) struct Segments(Vec<SegmentFile>);

impl Segments {
    pub fn of(folder: &Path) -> Result<Segments, JournalError> {
        list(folder).map(Segments)
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// First record of one.
    pub fn first(&self, at: usize) -> Option<u64> {
        self.0.get(at).map(|file| file.first_sequence)
    }
    /// First record of the oldest that is kept whole; 0: none is.
    pub fn oldest(&self) -> u64 {
        self.0.iter().find(|file| !file.gone).map_or(0, |file| file.first_sequence)
    }

    /// Reads one through every check. `buffers` are used again and again.
    pub fn prove(&self, at: usize, asked: &Asked<'_>, buffers: &mut (Vec<u8>, Vec<u8>)) -> std::io::Result<Proven> {
        let mut file = self.0[at].clone();
        let (packed, bytes) = buffers;
        let mut loaded = load_into(&file, packed, bytes);
        if loaded.is_err() && !file.sealed {
            // Sealed meanwhile, or gone by retention.
            for ending in [".zst", ".gone"] {
                let mut name = self.0[at].path.clone().into_os_string();
                name.push(ending);
                let other = SegmentFile { path: name.into(), sealed: ending == ".zst", gone: ending == ".gone", ..file.clone() };
                if let Ok(whole) = load_into(&other, packed, bytes) {
                    (file, loaded) = (other, Ok(whole));
                    break;
                }
            }
        }
        let whole = match loaded {
            Ok(whole) => whole,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Proven { vanished: true, ..Proven::default() });
            }
            Err(error) => return Err(error),
        };
        let mut proven = Proven { name: file.name(), first: file.first_sequence, gone: file.gone, ..Proven::default() };
        let last = asked.limit.is_none() && !file.sealed && whole;
        proven.look(bytes, whole, &file, asked, last);
        Ok(proven)
    }
}

impl Proven {
    fn wrong(&mut self, offset: usize, sequence: u64, what: &'static str) {
        self.fault = Some(Fault { segment: self.name.clone(), offset: offset as u64, sequence, what });
    }

    fn look(&mut self, bytes: &[u8], whole: bool, file: &SegmentFile, asked: &Asked<'_>, last: bool) {
        self.next = self.first;
        let Some(header) = Header::decode(bytes) else { return self.wrong(0, self.first, "the header is damaged") };
        self.previous = header.previous;
        self.hash = header.previous;
        if header.first_sequence != file.first_sequence {
            return self.wrong(0, self.first, "the header belongs to another file name");
        }
        if file.gone {
            return self.look_stub(bytes, asked);
        }
        let opener = header.lock.as_ref().and_then(|lock| {
            let opener = lock.opener();
            self.locked = opener.is_none().then(|| lock.key_name());
            opener
        });
        let mut walk = Walk::new(&header, asked.limit);
        let begin = asked.signed.partition_point(|(sequence, _)| *sequence < self.first);
        let mut signed = asked.signed[begin..].iter().peekable();
        let wrong = loop {
            let offset = walk.offset;
            match walk.step(bytes) {
                Found::Record(record) => {
                    let at = record.stamp.at;
                    self.first_at = self.first_at.or(Some(at));
                    if self.last_at.is_some_and(|before| at < before) {
                        break Some((offset, record.sequence, "its time is before that of the record before"));
                    }
                    self.last_at = Some(at);
                    if record.sequence > asked.signed_until && self.unsigned.is_none() {
                        self.unsigned = Some((record.sequence, at));
                    }
                    if let Err(what) = self.content(&record, opener.as_ref()) {
                        break Some((offset, record.sequence, what));
                    }
                    let mut other = false;
                    while let Some((_, hash)) = signed.next_if(|(sequence, _)| *sequence == record.sequence) {
                        other |= !record.hash.starts_with(hash);
                    }
                    if other {
                        break Some((offset, record.sequence, "is not the record whose hash was signed"));
                    }
                }
                Found::Footer(footer) => {
                    self.footer = Some(footer.mac.is_some());
                    if asked.site_key.is_some_and(|key| footer.mac.is_some() && !footer.signed_by(key)) {
                        break Some((walk.offset, walk.next_sequence, "the footer's signature is wrong"));
                    }
                    if asked.limit.is_some_and(|limit| limit != walk.next_sequence) {
                        break Some((walk.offset, walk.next_sequence, "a segment behind this one is missing"));
                    }
                }
                Found::End if file.sealed && self.footer.is_none() => {
                    break Some((walk.offset, walk.next_sequence, "sealed and without a footer"));
                }
                Found::End if !whole => break Some((walk.offset, walk.next_sequence, "packed bytes are damaged")),
                Found::End => break None,
                Found::Wrong(what) => break Some((walk.offset, walk.next_sequence, what)),
                Found::Broken(what) => match walk.torn(bytes).filter(|_| last) {
                    Some(torn) => {
                        self.torn = Some(Torn { segment: self.name.clone(), offset: walk.offset as u64, bytes: torn });
                        break None;
                    }
                    None => break Some((walk.offset, walk.next_sequence, what)),
                },
            }
        };
        self.records = walk.count();
        (self.next, self.hash, self.bytes) = (walk.next_sequence, walk.hash, walk.offset as u64);
        if let Some((offset, sequence, what)) = wrong {
            self.wrong(offset, sequence, what);
        }
    }

    fn content(&mut self, record: &super::segment::Raw<'_>, opener: Option<&Opener>) -> Result<(), &'static str> {
        if record.flags & SEALED != 0 && opener.is_none() {
            self.unopened += 1;
        }
        record.is_readable(opener).map_err(Unreadable::what)
    }

    fn look_stub(&mut self, bytes: &[u8], asked: &Asked<'_>) {
        let rest = &bytes[HEADER_BYTES..];
        let footer = raw(rest).filter(|record| record.length == rest.len()).and_then(|record| record.footer());
        let Some(footer) = footer.filter(|footer| footer.first_sequence == self.first && footer.encode() == rest) else {
            return self.wrong(HEADER_BYTES, self.first, "the stub's footer is damaged");
        };
        (self.next, self.hash) = (footer.first_sequence.saturating_add(footer.count), footer.last_hash);
        self.footer = Some(footer.mac.is_some());
        if asked.site_key.is_some_and(|key| footer.mac.is_some() && !footer.signed_by(key)) {
            return self.wrong(HEADER_BYTES, self.first, "the footer's signature is wrong");
        }
        if asked.limit.is_some_and(|limit| limit != self.next) {
            self.wrong(HEADER_BYTES, self.next, "a segment behind this one is missing");
        }
    }
}

/// A file beside the segments, whole; an error where it is longer than it may be, or no file.
pub(in crate::shell) fn read_small(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    open_file(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "longer than such a file may be"));
    }
    Ok(bytes)
}

/// Opens what is a file: opening a pipe would wait for whoever writes into it.
fn open_file(path: &Path) -> std::io::Result<std::fs::File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file"));
    }
    std::fs::File::open(path)
}

/// CRC-32 of a file, a little of it in memory at a time.
fn crc_of(path: &Path) -> std::io::Result<u32> {
    let (mut file, mut buffer, mut crc) = (open_file(path)?, vec![0; 64 << 10], crc32fast::Hasher::new());
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(crc.finalize()),
            read => crc.update(&buffer[..read]),
        }
    }
}

/// Names of damaged small files beside the segments: notes of holds, what was cut off, the list of records that are not judged.
pub(in crate::shell) fn damaged_notes(folder: &Path) -> std::io::Result<Vec<(String, &'static str)>> {
    let mut bad = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tmp") {
            continue;
        }
        // One that is too long, or no file, is not whole either.
        let whole = |bytes_max, is_whole: fn(&[u8]) -> bool| match read_small(&entry.path(), bytes_max) {
            Ok(bytes) => Ok(is_whole(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::FileTooLarge | std::io::ErrorKind::InvalidInput) => {
                Ok(false)
            }
            Err(error) => Err(error),
        };
        let what = if name.starts_with("hold-") {
            (!whole(super::hold::NOTE_BYTES_MAX, super::hold::is_whole)?).then_some("this hold is damaged; it keeps everything")
        } else if let Some(rest) = name.strip_prefix("torn-") {
            let crc = rest.strip_suffix(".bin").and_then(|stem| u32::from_str_radix(stem.get(21..)?, 16).ok());
            crc.filter(|_| rest.len() == 33)
                .is_some_and(|crc| crc_of(&entry.path()).is_ok_and(|found| found != crc))
                .then_some("this is not what was cut off")
        } else if name == "quarantine" {
            (!whole(QUARANTINE_BYTES_MAX, crate::shell::quarantine::is_whole)?)
                .then_some("the list of records that are not judged is damaged")
        } else if name == "journal.lock" {
            (entry.metadata()?.len() > 0).then_some("a lock is an empty file")
        } else {
            None
        };
        bad.extend(what.map(|what| (name, what)));
    }
    bad.sort();
    Ok(bad)
}
