//! Checkpoints: the chain's head, signed, as a note of C2SP `tlog-checkpoint` over `signed-note`.
//!
//! ```text
//! vitalguard/main                        origin, and the name of the key
//! 4711                                   number of the last record
//! 7c0f…=                                 base64 of the chain's hash after it
//! time 2026-03-01T09:00:00.000Z          the journal's clock
//! boot 0195…                             the run
//! number 12                              counts checkpoints from 1
//! oldest 1                               first record that was still kept then
//! why minute                             minute, start, seal, retention, demand, stop
//! previous 9d3a…=                        base64 of the SHA-256 of the note before; zeros: none
//!
//! — vitalguard/main kQ3x…==              base64 of key hash (4 bytes) and Ed25519 signature (64 bytes)
//! ```
//! The chain is no Merkle tree: `head` stands where a log has its root, which readers of plain checkpoints show and sign alike.
//!
//! The file `checkpoints` is these notes with an empty line between them, appended and synced. The oldest ones go when the
//! records go that they speak of; the counts go on.

use super::signer::key_id;
use super::verifier::{KeyProblem, TrustedKey, Verifier};
use super::{NoCheckpoint, Signer};
use crate::shell::journal::proof::read_small;
use crate::shell::journal::{self, JournalError};
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Name of the file in the journal's folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// Largest file of checkpoints that is read, bytes: about three million of them, one a minute for six years. A longer one is an
/// error: what was not read whole is never cut or written anew.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Longest file that holds a public key, bytes.
const KEY_BYTES_MAX: u64 = 4 << 10;
/// Longest note, bytes.
const NOTE_BYTES_MAX: usize = 4 << 10;
/// The kind of key in a key hash (C2SP signed-note): Ed25519.
const ED25519: u8 = 1;

/// A signed head of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    /// Number of the last record it covers.
    pub size: u64,
    /// The chain's hash after that record.
    pub head: [u8; 32],
    pub at: Timestamp,
    pub boot: String,
    /// Counts from 1.
    pub number: u64,
    /// First record that was kept when it was signed.
    pub oldest: u64,
    /// What it was signed for.
    pub why: String,
    /// SHA-256 of the note before; zeros: there was none.
    pub previous: [u8; 32],
    /// First four bytes of the key's hash under the name `origin`.
    pub key_hash: [u8; 4],
    pub signature: [u8; 64],
}

/// Why checkpoints cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}, offset {offset}: {what}")]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    #[error("{path}: longer than {} bytes; it is neither read nor changed", FILE_BYTES_MAX)]
    TooLong { path: PathBuf },
}

impl CheckpointError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError + '_ {
        move |source| CheckpointError::Io { path: path.to_owned(), source }
    }
}

/// What is signed, before it is.
#[derive(Debug, Clone)]
pub(super) struct Claim<'a> {
    pub origin: &'a str,
    pub size: u64,
    pub head: [u8; 32],
    pub at: Timestamp,
    pub boot: &'a str,
    pub number: u64,
    pub oldest: u64,
    pub why: &'a str,
    pub previous: [u8; 32],
}

impl Checkpoint {
    pub(super) fn sign(claim: &Claim<'_>, signer: &Signer) -> Checkpoint {
        let mut made = Checkpoint {
            origin: claim.origin.to_owned(),
            size: claim.size,
            head: claim.head,
            at: claim.at,
            boot: claim.boot.to_owned(),
            number: claim.number,
            oldest: claim.oldest,
            why: claim.why.to_owned(),
            previous: claim.previous,
            key_hash: key_hash(claim.origin, signer.public()),
            signature: [0; 64],
        };
        made.signature = signer.sign(made.body().as_bytes());
        made
    }

    /// What is signed: every line up to the empty one, with their line ends.
    pub fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\ntime {}\nboot {}\nnumber {}\noldest {}\nwhy {}\nprevious {}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.head),
            self.at,
            self.boot,
            self.number,
            self.oldest,
            self.why,
            STANDARD.encode(self.previous)
        )
    }
    /// The whole note.
    pub fn note(&self) -> String {
        let mut signed = self.key_hash.to_vec();
        signed.extend_from_slice(&self.signature);
        format!("{}\n\u{2014} {} {}\n", self.body(), self.origin, STANDARD.encode(signed))
    }
    /// SHA-256 of the note, which the next one names.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.note().as_bytes()).into()
    }

    /// Reads one note: nothing before it, nothing behind it. Every byte counts: what is read is what [`Checkpoint::note`] writes.
    pub fn parse(note: &str) -> Option<Checkpoint> {
        if note.len() > NOTE_BYTES_MAX {
            return None;
        }
        let (body, signed) = note.split_once("\n\n")?;
        let mut lines = body.split('\n');
        let origin = lines.next()?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let hash = |text: &str| -> Option<[u8; 32]> { STANDARD.decode(text).ok()?.try_into().ok() };
        let head = hash(lines.next()?)?;
        let mut member = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let at = member("time")?.parse::<jiff::Timestamp>().ok()?;
        let (boot, number, oldest) = (member("boot")?.to_owned(), member("number")?, member("oldest")?);
        let (number, oldest) = (number.parse().ok()?, oldest.parse().ok()?);
        let (why, previous) = (member("why")?.to_owned(), hash(member("previous")?)?);
        let signed = signed.strip_prefix("\u{2014} ")?.strip_prefix(origin.as_str())?.strip_prefix(' ')?.strip_suffix('\n')?;
        let signed = STANDARD.decode(signed).ok()?;
        let (key_hash, signature) = signed.split_first_chunk::<4>()?;
        let read = Checkpoint {
            at: Timestamp::from_ms(at.as_millisecond()),
            key_hash: *key_hash,
            signature: signature.try_into().ok()?,
            origin,
            size,
            head,
            boot,
            number,
            oldest,
            why,
            previous,
        };
        (read.note() == note).then_some(read)
    }

    /// Whether a key that is believed has signed it, and which.
    pub fn verify<'a>(&self, keys: &'a Verifier) -> Result<&'a TrustedKey, KeyProblem> {
        let name = format!("{} {}", self.origin, crate::alert::hex(&self.key_hash));
        let named = |key: &TrustedKey| key_hash(&self.origin, &key.public) == self.key_hash;
        keys.check(named, &name, self.body().as_bytes(), &self.signature, self.at)
    }
}

/// The key hash of C2SP signed-note: SHA-256 of name, LF, kind and public key, its first four bytes.
fn key_hash(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update([b'\n', ED25519]);
    hasher.update(public);
    let hash = hasher.finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The checkpoints of a file's bytes, each with its offset, up to the first that cannot be read: its offset, or `None`.
pub(super) fn parse_all(bytes: &[u8]) -> (Vec<(u64, Checkpoint)>, Option<u64>) {
    let (mut list, mut offset) = (Vec::new(), 0);
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let Some((length, checkpoint)) = first(&rest[..rest.len().min(NOTE_BYTES_MAX)]) else {
            return (list, Some(offset as u64));
        };
        list.push((offset as u64, checkpoint));
        offset += length;
        match bytes.get(offset) {
            None => break,
            // Nothing may follow the empty line but a note.
            Some(b'\n') if offset + 1 < bytes.len() => offset += 1,
            Some(_) => return (list, Some(offset as u64)),
        }
    }
    (list, None)
}

/// The note at the start of `bytes`, and its length.
fn first(bytes: &[u8]) -> Option<(usize, Checkpoint)> {
    let body = bytes.windows(2).position(|pair| pair == b"\n\n")? + 2;
    let length = body + bytes[body..].iter().position(|b| *b == b'\n')? + 1;
    let note = std::str::from_utf8(&bytes[..length]).ok()?;
    Some((length, Checkpoint::parse(note)?))
}

/// All bytes of the file; none: empty.
pub(super) fn read(folder: &Path) -> Result<Vec<u8>, CheckpointError> {
    let path = folder.join(CHECKPOINTS);
    // Known to be too long before a gibibyte is read.
    let long = std::fs::metadata(&path).is_ok_and(|known| known.len() > FILE_BYTES_MAX);
    match if long { Err(std::io::ErrorKind::FileTooLarge.into()) } else { read_small(&path, FILE_BYTES_MAX) } {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(CheckpointError::TooLong { path }),
        Err(source) => Err(CheckpointError::Io { path, source }),
    }
}

/// Every checkpoint of a journal, oldest first. Signatures are not looked at ([`Checkpoint::verify`]).
pub fn checkpoints(folder: &Path) -> Result<Vec<Checkpoint>, CheckpointError> {
    let (list, damaged) = parse_all(&read(folder)?);
    match damaged {
        Some(offset) => {
            Err(CheckpointError::Damaged { path: folder.join(CHECKPOINTS), offset, what: "no checkpoint can be read here" })
        }
        None => Ok(list.into_iter().map(|(_, checkpoint)| checkpoint).collect()),
    }
}

/// The first checkpoint that covers a record; `None`: none does yet.
pub fn checkpoint_after(folder: &Path, sequence: u64) -> Result<Option<Checkpoint>, CheckpointError> {
    Ok(checkpoints(folder)?.into_iter().find(|checkpoint| checkpoint.size >= sequence))
}

/// Where checkpoints are written.
#[derive(Debug)]
pub(super) struct Book {
    folder: PathBuf,
    pub last: Option<Checkpoint>,
    /// Length of the file, bytes.
    bytes: u64,
    /// The oldest record when it was looked at last for what may go.
    pruned: Option<u64>,
}

impl Book {
    /// Opens it. The rest of an append that a crash interrupted is cut off; what cannot be read otherwise is put aside, and said.
    pub fn open(folder: &Path) -> Result<Book, CheckpointError> {
        let path = folder.join(CHECKPOINTS);
        let bytes = read(folder)?;
        let (list, damaged) = parse_all(&bytes);
        let mut length = bytes.len() as u64;
        if let Some(offset) = damaged {
            let rest = &bytes[usize::try_from(offset).unwrap_or(0)..];
            let torn = rest.len() < NOTE_BYTES_MAX && first(rest).is_none() && !rest.ends_with(b"=\n");
            // With the empty line before it.
            let keep = list.last().map_or(0, |(offset, last)| offset + last.note().len() as u64);
            if torn {
                let file = std::fs::File::options().write(true).open(&path).map_err(CheckpointError::io(&path))?;
                file.set_len(keep).and_then(|()| file.sync_all()).map_err(CheckpointError::io(&path))?;
                tracing::warn!(offset, "checkpoints: cut the rest of an interrupted write");
                length = keep;
            } else {
                let aside = folder.join(format!("{CHECKPOINTS}.damaged-{}", list.len()));
                std::fs::rename(&path, &aside).map_err(CheckpointError::io(&path))?;
                tracing::error!(offset, aside = %aside.display(), "checkpoints: cannot be read from here on; put aside");
                length = 0;
            }
        }
        let last = list.into_iter().last().map(|(_, checkpoint)| checkpoint);
        Ok(Book { folder: folder.to_owned(), last, bytes: length, pruned: None })
    }

    /// Appends one, durable when it returns.
    pub fn append(&mut self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let path = self.folder.join(CHECKPOINTS);
        let text = format!("{}{}", if self.bytes == 0 { "" } else { "\n" }, checkpoint.note());
        let write = || {
            let mut file = std::fs::File::options().create(true).append(true).open(&path)?;
            // What an append before could not finish.
            file.set_len(self.bytes)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            if self.bytes == 0 { std::fs::File::open(&self.folder)?.sync_all() } else { Ok(()) }
        };
        write().map_err(CheckpointError::io(&path))?;
        self.bytes += text.len() as u64;
        self.last = Some(checkpoint.clone());
        Ok(())
    }

    /// Forgets the checkpoints that speak of records before `oldest` only, but for the newest of them: once they are many, and
    /// `oldest` has moved. A file that cannot be read whole stays as it is.
    pub fn prune(&mut self, oldest: u64, bytes_min: u64) -> Result<(), CheckpointError> {
        if self.bytes < bytes_min || self.pruned == Some(oldest) {
            return Ok(());
        }
        let bytes = match read(&self.folder) {
            Ok(bytes) => bytes,
            Err(error @ CheckpointError::TooLong { .. }) => {
                tracing::warn!(%error, "checkpoints: those of records that are gone stay");
                self.pruned = Some(oldest);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (list, damaged) = parse_all(&bytes);
        self.pruned = Some(oldest);
        if let Some(offset) = damaged {
            tracing::error!(offset, "checkpoints: cannot be read from here on; nothing is taken from them");
            return Ok(());
        }
        let kept = list.iter().rev().find(|(_, checkpoint)| checkpoint.size < oldest).map_or(0, |(offset, _)| *offset);
        if kept == 0 {
            return Ok(());
        }
        let path = self.folder.join(CHECKPOINTS);
        let rest = &bytes[usize::try_from(kept).unwrap_or(0)..];
        journal::write_atomic(&path, rest).map_err(|error| CheckpointError::Io { path, source: std::io::Error::other(error) })?;
        self.bytes = rest.len() as u64;
        Ok(())
    }
}

/// Signs the head of a journal that no service runs; what [`journal::JournalHandle::checkpoint`] does for a running one. The last
/// checkpoint, where it covers the last record already.
pub fn checkpoint_now(folder: &Path, origin: &str, boot: &str, signer: &Signer) -> Result<Checkpoint, NoCheckpoint> {
    let locked = journal::lock_folder(folder)?;
    let end = journal::end_of(folder)?;
    let mut book = Book::open(folder)?;
    if let Some(last) = book.last.clone().filter(|last| last.size == end.records) {
        return Ok(last);
    }
    let checkpoint = book.next(origin, boot, &end, "demand", signer);
    book.append(&checkpoint)?;
    drop(locked);
    Ok(checkpoint)
}

/// The end of a journal, as it is signed.
#[derive(Debug, Clone, Copy)]
pub(in crate::shell) struct Head {
    pub records: u64,
    pub hash: [u8; 32],
    pub oldest: u64,
    pub at: Timestamp,
}

impl Book {
    pub fn next(&self, origin: &str, boot: &str, head: &Head, why: &str, signer: &Signer) -> Checkpoint {
        let claim = Claim {
            origin,
            size: head.records,
            head: head.hash,
            // The last one may carry a tick's time, later than the record that a new start begins with.
            at: self.last.as_ref().map_or(head.at, |last| head.at.max(last.at)),
            boot,
            number: self.last.as_ref().map_or(1, |last| last.number.saturating_add(1)),
            oldest: head.oldest,
            why,
            previous: self.last.as_ref().map_or([0; 32], Checkpoint::hash),
        };
        Checkpoint::sign(&claim, signer)
    }
}

/// Puts the public key beside what it signs, once.
pub(super) fn publish_key(folder: &Path, signer: &Signer) -> Result<(), JournalError> {
    let path = folder.join(format!("key-{}.pem", signer.key_id()));
    if path.exists() {
        return Ok(());
    }
    journal::write_atomic(&path, signer.public_pem().as_bytes())
}

/// The public keys that lie in a journal's folder: whose they are, the folder cannot prove. Files that hold no key, or another
/// one than their name says, by name.
pub(super) fn keys_in(folder: &Path) -> Result<(Verifier, Vec<String>), CheckpointError> {
    let (mut keys, mut bad) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(CheckpointError::io(folder))? {
        let entry = entry.map_err(CheckpointError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_prefix("key-").and_then(|rest| rest.strip_suffix(".pem")) else { continue };
        let pem = read_small(&entry.path(), KEY_BYTES_MAX).ok().and_then(|pem| String::from_utf8(pem).ok());
        match pem.and_then(|pem| Some((Verifier::from_pem(&pem)?, pem))) {
            Some((one, pem)) if one.keys()[0].id == id && super::signer::public_pem(&one.keys()[0].public) == pem => {
                keys.extend_from_slice(one.keys());
            }
            _ => bad.push(name),
        }
    }
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    debug_assert!(keys.iter().all(|key| key.id == key_id(&key.public)));
    Ok((Verifier::new(keys), bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(records: u64) -> Head {
        Head { records, hash: [records as u8; 32], oldest: 1, at: Timestamp::from_ms(1_767_225_600_000) }
    }

    fn signer(folder: &Path) -> Signer {
        Signer::open_or_create(&folder.join("evidence.pem")).unwrap()
    }

    fn two_notes(folder: &Path, origin: &str, boot: &str) -> Signer {
        let signer = signer(folder);
        let mut book = Book::open(folder).unwrap();
        for n in [3, 9] {
            let checkpoint = book.next(origin, boot, &head(n), "minute", &signer);
            book.append(&checkpoint).unwrap();
        }
        signer
    }

    #[test]
    fn a_note_is_what_c2sp_says_and_every_byte_of_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let signer = two_notes(folder.path(), "vitalguard/main", "boot-1");
        let list = checkpoints(folder.path()).unwrap();
        assert_eq!(list.iter().map(|c| (c.size, c.number)).collect::<Vec<_>>(), [(3, 1), (9, 2)]);
        assert_eq!(list[1].previous, list[0].hash());
        let keys = Verifier::from_pem(&signer.public_pem()).unwrap();
        assert!(list.iter().all(|c| c.verify(&keys).is_ok()));
        let note = list[0].note();
        assert!(note.starts_with("vitalguard/main\n3\nAwMD"), "{note}");
        assert!(
            note.contains("time 2026-01-01T00:00:00.000Z\nboot boot-1\nnumber 1\noldest 1\nwhy minute\nprevious AAAA"),
            "{note}"
        );
        assert!(note.contains("\n\n\u{2014} vitalguard/main "), "{note}");
        let bytes = std::fs::read(folder.path().join(CHECKPOINTS)).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let (list, damaged) = parse_all(&bad);
            let chained = list.windows(2).all(|pair| pair[1].1.previous == pair[0].1.hash());
            let signed = list.iter().all(|(_, c)| c.verify(&keys).is_ok());
            assert!(damaged.is_some() || !signed || !chained, "byte {at}");
        }
        assert_eq!(checkpoint_after(folder.path(), 4).unwrap().map(|c| c.size), Some(9));
        assert_eq!(checkpoint_after(folder.path(), 10).unwrap(), None);
    }

    #[test]
    fn a_torn_append_is_cut_and_a_damaged_file_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let signer = two_notes(folder.path(), "o", "b");
        let path = folder.path().join(CHECKPOINTS);
        let bytes = std::fs::read(&path).unwrap();
        let second = parse_all(&bytes).0[1].0 as usize;
        for cut in [second + 1, second + 40, bytes.len() - 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut book = Book::open(folder.path()).unwrap();
            assert_eq!(book.last.as_ref().map(|c| c.number), Some(1), "cut at {cut}");
            let next = book.next("o", "b", &head(10), "minute", &signer);
            book.append(&next).unwrap();
            assert_eq!(checkpoints(folder.path()).unwrap().iter().map(|c| c.size).collect::<Vec<_>>(), [3, 10]);
        }
        let mut bad = bytes.clone();
        bad[5] ^= 0x80;
        std::fs::write(&path, bad).unwrap();
        assert!(Book::open(folder.path()).unwrap().last.is_none());
        assert!(!path.exists() && folder.path().join("checkpoints.damaged-0").exists());
    }

    #[test]
    fn what_was_pruned_leaves_the_one_before_the_oldest_record() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(folder.path());
        let mut book = Book::open(folder.path()).unwrap();
        for n in 1..=6 {
            let checkpoint = book.next("o", "b", &head(10 * n), "minute", &signer);
            book.append(&checkpoint).unwrap();
        }
        book.prune(35, 1 << 20).unwrap();
        assert_eq!(checkpoints(folder.path()).unwrap().len(), 6, "too few to mind");
        book.prune(35, 0).unwrap();
        assert_eq!(checkpoints(folder.path()).unwrap().iter().map(|c| c.number).collect::<Vec<_>>(), [3, 4, 5, 6]);
        let next = book.next("o", "b", &head(70), "minute", &signer);
        book.append(&next).unwrap();
        assert_eq!(checkpoints(folder.path()).unwrap().len(), 5);
        // It is not read again before the oldest record is another one.
        let path = folder.path().join(CHECKPOINTS);
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(book.prune(35, 0).is_ok());
        assert!(book.prune(45, 0).is_err(), "a folder is no file");
        std::fs::remove_dir(&path).unwrap();
        // What is damaged in the middle is not written anew without its rest.
        let mut bytes = std::fs::read(&aside).unwrap();
        let third = parse_all(&bytes).0[3].0 as usize;
        bytes[third + 3] ^= 0x80;
        std::fs::write(&path, &bytes).unwrap();
        book.prune(55, 0).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_file_that_is_too_long_is_neither_read_nor_cut() {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(folder.path());
        let mut book = Book::open(folder.path()).unwrap();
        for n in 1..=6 {
            let checkpoint = book.next("o", "b", &head(10 * n), "minute", &signer);
            book.append(&checkpoint).unwrap();
        }
        let path = folder.path().join(CHECKPOINTS);
        let length = || std::fs::metadata(&path).unwrap().len();
        // Without blocks on the disk behind the notes.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(Book::open(folder.path()), Err(CheckpointError::TooLong { .. })));
        assert!(matches!(checkpoints(folder.path()), Err(CheckpointError::TooLong { .. })));
        book.prune(35, 0).unwrap();
        assert_eq!(length(), FILE_BYTES_MAX + 1);
    }
}
