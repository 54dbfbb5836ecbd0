//! Segments as files, and the way through one of them.

use super::JournalError;
use super::segment::{FOOTER, Footer, GROUP, HEADER_BYTES, Hash, Header, Raw, raw};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest segment read, bytes (a sealed one may claim to unpack to anything).
const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub first_sequence: u64,
    pub path: PathBuf,
    pub sealed: bool,
    /// Deleted by retention between segments that were kept: header and footer only.
    pub gone: bool,
}

impl SegmentFile {
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Name of an unsealed segment.
pub(super) fn segment_path(folder: &Path, first_sequence: u64) -> PathBuf {
    folder.join(format!("{first_sequence:020}.vgj"))
}

/// All segments, oldest first. Where a crash left one twice, sealed goes before unsealed and both before the stub.
pub(super) fn list(folder: &Path) -> Result<Vec<SegmentFile>, JournalError> {
    let mut files: Vec<SegmentFile> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(JournalError::io(folder))? {
        let entry = entry.map_err(JournalError::io(folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some((stem, kind)) = name.split_once('.') else { continue };
        let Ok(first_sequence) = stem.parse() else { continue };
        if matches!(kind, "vgj" | "vgj.zst" | "vgj.gone") {
            let (sealed, gone) = (kind == "vgj.zst", kind == "vgj.gone");
            files.push(SegmentFile { first_sequence, path: entry.path(), sealed, gone });
        }
    }
    files.sort_by_key(|f| (f.first_sequence, !f.sealed, f.gone));
    files.dedup_by_key(|f| f.first_sequence);
    Ok(files)
}

/// The unpacked bytes, and whether unpacking went through to the end.
pub(super) fn load(file: &SegmentFile) -> std::io::Result<(Vec<u8>, bool)> {
    let (mut packed, mut bytes) = (Vec::new(), Vec::new());
    let whole = load_into(file, &mut packed, &mut bytes)?;
    Ok((bytes, whole))
}

/// The same into buffers that are there already.
pub(super) fn load_into(file: &SegmentFile, packed: &mut Vec<u8>, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let opened = std::fs::File::open(&file.path)?;
    packed.clear();
    bytes.clear();
    let target = if file.sealed { &mut *packed } else { &mut *bytes };
    target.reserve(usize::try_from(opened.metadata()?.len().min(SEGMENT_BYTES_MAX)).unwrap_or(0));
    opened.take(SEGMENT_BYTES_MAX).read_to_end(target)?;
    if !file.sealed {
        return Ok(true);
    }
    let same = super::seal::check_packed(packed);
    let mut unpacking = zstd::stream::read::Decoder::new(packed.as_slice())?.take(SEGMENT_BYTES_MAX);
    Ok(unpacking.read_to_end(bytes).is_ok() && same)
}

/// What stands next in a segment.
pub(super) enum Found<'a> {
    Record(Raw<'a>),
    Footer(Footer),
    End,
    /// Not whole: torn or damaged.
    Broken(&'static str),
    /// Whole, and wrong.
    Wrong(&'static str),
}

/// Goes through one segment's bytes.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub offset: usize,
    pub next_sequence: u64,
    pub hash: Hash,
    /// SHA-256 of the payload of the record found last.
    pub digest: Hash,
    /// First sequence of the segment that follows: what stands here from it on was refused and is not part of the journal.
    pub limit: Option<u64>,
    first_sequence: u64,
    first_hash: Hash,
    ended: bool,
}

impl Walk {
    pub fn new(header: &Header, limit: Option<u64>) -> Walk {
        Walk {
            offset: HEADER_BYTES,
            next_sequence: header.first_sequence,
            hash: header.previous,
            digest: [0; 32],
            limit,
            first_sequence: header.first_sequence,
            first_hash: [0; 32],
            ended: false,
        }
    }
    pub fn count(&self) -> u64 {
        self.next_sequence.saturating_sub(self.first_sequence)
    }
    pub fn first_hash(&self) -> Hash {
        self.first_hash
    }
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Found<'a> {
        if self.ended {
            return Found::End;
        }
        let rest = bytes.get(self.offset..).unwrap_or_default();
        let found = raw(rest);
        if let Some(record) = found.filter(|r| r.kind == FOOTER) {
            self.ended = true;
            let fits = record.footer().filter(|f| {
                f.first_sequence == self.first_sequence
                    && f.count == self.count()
                    && f.last_hash == self.hash
                    && f.first_hash == self.first_hash
                    && f.encode() == rest[..record.length]
            });
            return match fits {
                Some(_) if rest[record.length..].iter().any(|b| *b != 0) => Found::Wrong("bytes behind the footer"),
                Some(footer) => Found::Footer(footer),
                None => Found::Wrong("the footer does not fit the records"),
            };
        }
        if self.limit == Some(self.next_sequence) {
            self.ended = true;
            return Found::End;
        }
        match found {
            Some(record) if record.sequence != self.next_sequence => Found::Wrong("out of sequence"),
            Some(record) => {
                let Some(digest) = record.digest().filter(|digest| record.follows(&self.hash, digest)) else {
                    return Found::Wrong("the hash chain is broken");
                };
                self.digest = digest;
                self.offset += record.length;
                self.next_sequence = self.next_sequence.saturating_add(1);
                self.hash = record.hash;
                if self.count() == 1 {
                    self.first_hash = record.hash;
                }
                Found::Record(record)
            }
            None if rest.iter().any(|b| *b != 0) => Found::Broken("the checksum does not fit"),
            None if self.limit.is_some() => Found::Wrong("ends before the next segment begins"),
            None => {
                self.ended = true;
                Found::End
            }
        }
    }
    /// Whether what is broken here is only the end of an interrupted write: no later write follows.
    pub fn torn(&self, bytes: &[u8]) -> Option<u64> {
        let rest = bytes.get(self.offset..).unwrap_or_default();
        let used = rest.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        for at in 1..used {
            let sequence = rest.get(at + 8..at + 16).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
            if !(self.next_sequence..self.next_sequence.saturating_add(1 << 32)).contains(&sequence) {
                continue;
            }
            if raw(&rest[at..]).is_some_and(|r| r.flags & GROUP != 0 && (r.sequence > self.next_sequence || r.kind == FOOTER)) {
                return None;
            }
        }
        Some(used as u64)
    }
}
