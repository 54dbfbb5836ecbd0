//! The format of a segment: header, records, footer. All numbers little-endian.
//!
//! **Header**, 192 bytes: magic, first sequence, time of creation, hash of the record before it, boot id, CRC-32.
//!
//! **Record**: length and CRC-32 (8 bytes), fixed header (44 bytes: sequence, at, wall clock, monotonic clock, kind, flags,
//! lengths), meta (where it came from), payload, hash (32 bytes). The chain is
//! `h(n) = SHA-256(h(n-1) || header(n) || SHA-256(payload(n)))`, with fixed header and meta as `header(n)`.
//!
//! The first record of every write carries the flag [`GROUP`]: it proves that all before it was durable when it was written.
//! So a bad record is the torn end of a crashed write if no such record follows, and damage if one does.
//!
//! With a key (magic 3) the payload stands there as counter, SHA-256 of the plain payload, sealed bytes and tag (`cipher.rs`);
//! the chain is over that SHA-256 either way.
//!
//! **Footer**: a record of kind [`FOOTER`] outside the chain with count, first and last hash, and their HMAC where there is a key.

use super::cipher::{HEAD_BYTES, Lock, Opener, Sealing};
use super::{Evidence, Record};
use crate::observation::Source;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

pub(super) const HEADER_BYTES: usize = 192;
const MAGIC: &[u8; 8] = b"VGJRNL\x02\n";
/// The same with sealed payloads: key id and salt follow the boot id.
const MAGIC_SEALED: &[u8; 8] = b"VGJRNL\x03\n";
/// Where the lock stands in the header.
const LOCK_AT: usize = 121;
/// Length, CRC and the fixed header.
const FIXED_BYTES: usize = 52;
const HASH_BYTES: usize = 32;
/// Kept free at the end of a segment for its footer.
pub(super) const FOOTER_BYTES_MAX: usize = 512;
/// Largest record believed when reading, bytes.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// Flag: first record of a write.
pub(super) const GROUP: u8 = 1;
/// Flag: the payload is sealed.
pub(super) const SEALED: u8 = 2;

const START: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
const FRAME: u8 = 4;
const FRAGMENT: u8 = 5;
const COMMAND: u8 = 6;
const AUDIT: u8 = 7;
const CASE: u8 = 8;
/// Kind of the footer.
pub(super) const FOOTER: u8 = 255;

pub(super) type Hash = [u8; 32];

/// What stands at the head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub first_sequence: u64,
    /// When it was begun, by the clock that gives records their `at`: not before that of any record before it.
    pub created_ms: i64,
    pub previous: Hash,
    pub boot: String,
    /// With what its payloads are sealed.
    pub lock: Option<Lock>,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(if self.lock.is_some() { MAGIC_SEALED } else { MAGIC });
        out[8..16].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.created_ms.to_le_bytes());
        out[24..56].copy_from_slice(&self.previous);
        let mut end = self.boot.len().min(64);
        while !self.boot.is_char_boundary(end) {
            end -= 1;
        }
        out[56] = end as u8;
        out[57..57 + end].copy_from_slice(&self.boot.as_bytes()[..end]);
        if let Some(lock) = &self.lock {
            out[LOCK_AT..LOCK_AT + 8].copy_from_slice(&lock.key_id);
            out[LOCK_AT + 8..LOCK_AT + 24].copy_from_slice(&lock.salt);
        }
        let crc = crc32fast::hash(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let sealed = &bytes[..8] == MAGIC_SEALED;
        if (!sealed && &bytes[..8] != MAGIC) || crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return None;
        }
        let boot = bytes.get(57..57 + usize::from(bytes[56]))?;
        Some(Header {
            first_sequence: u64_at(bytes, 8),
            created_ms: u64_at(bytes, 16).cast_signed(),
            previous: bytes[24..56].try_into().ok()?,
            boot: std::str::from_utf8(boot).ok()?.to_owned(),
            lock: match (sealed, bytes[LOCK_AT..].split_first_chunk::<8>()) {
                (true, Some((key_id, rest))) => Some(Lock { key_id: *key_id, salt: *rest.first_chunk()? }),
                _ => None,
            },
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Where a record came from, as stored.
#[derive(Serialize, Deserialize)]
struct Meta<'a> {
    connection: u64,
    feed: &'a str,
    peer: &'a str,
    port: u16,
    tls: Option<&'a str>,
    ward: &'a str,
    dialect: Option<&'a str>,
    zone: Option<&'a str>,
    encrypted: bool,
    certificate: Option<&'a str>,
    what: Option<&'a str>,
}

impl<'a> Meta<'a> {
    fn new(source: &'a Source, evidence: Option<&'a Evidence>, what: Option<&'a str>) -> Meta<'a> {
        Meta {
            connection: source.connection,
            feed: &source.feed,
            peer: &source.peer,
            port: evidence.map_or(0, |e| e.port),
            tls: evidence.and_then(|e| e.tls.as_deref()),
            ward: &source.ward,
            dialect: source.dialect.as_deref(),
            zone: source.zone.as_deref(),
            encrypted: source.encrypted,
            certificate: source.certificate.as_deref(),
            what,
        }
    }
    fn source(&self) -> Source {
        Source {
            feed: self.feed.to_owned(),
            peer: self.peer.to_owned(),
            connection: self.connection,
            ward: self.ward.to_owned(),
            dialect: self.dialect.map(str::to_owned),
            zone: self.zone.map(str::to_owned),
            encrypted: self.encrypted,
            certificate: self.certificate.map(str::to_owned),
        }
    }
}

/// The clocks of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub at: Timestamp,
    pub wall_ms: i64,
    pub mono_ns: u64,
}

/// Appends a record to `out` and returns its hash.
pub(super) fn encode(
    record: &Record,
    evidence: Option<&Evidence>,
    sequence: u64,
    stamp: Stamp,
    flags: u8,
    previous: &Hash,
    sealing: Option<&mut Sealing>,
    out: &mut Vec<u8>,
) -> Hash {
    let command;
    let (kind, payload): (u8, &[u8]) = match record {
        Record::Start { .. } => (START, &[]),
        Record::Open { .. } => (OPEN, &[]),
        Record::Close { .. } => (CLOSE, &[]),
        Record::Frame { payload, .. } => (FRAME, payload),
        Record::Fragment { payload, .. } => (FRAGMENT, payload),
        Record::Command(c) => {
            command = serde_json::to_vec(c).expect("a command is strings and numbers with string keys");
            (COMMAND, &command)
        }
        Record::Audit(looked) => {
            command = serde_json::to_vec(looked).expect("plain strings");
            (AUDIT, &command)
        }
        Record::Case(act) => {
            command = serde_json::to_vec(act).expect("an act is strings and numbers with string keys");
            (CASE, &command)
        }
    };
    let start = begin(sequence, stamp, kind, flags, out);
    let meta = std::mem::take(out);
    let written = match record {
        Record::Start { boot, applied_until } => postcard::to_extend(&(boot.as_str(), applied_until.ms()), meta),
        Record::Open { source, evidence } => postcard::to_extend(&Meta::new(source, Some(evidence), None), meta),
        Record::Close { connection } => postcard::to_extend(connection, meta),
        Record::Frame { source, .. } => postcard::to_extend(&Meta::new(source, evidence, None), meta),
        Record::Fragment { source, what, .. } => postcard::to_extend(&Meta::new(source, evidence, Some(what)), meta),
        Record::Command(_) | Record::Audit(_) | Record::Case(_) => Ok(meta),
    };
    *out = written.expect("a vector takes all bytes and every type here is plain");
    end(start, payload, Some(previous), sealing.filter(|_| !payload.is_empty()), out)
}

fn begin(sequence: u64, stamp: Stamp, kind: u8, flags: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&stamp.at.ms().to_le_bytes());
    out.extend_from_slice(&stamp.wall_ms.to_le_bytes());
    out.extend_from_slice(&stamp.mono_ns.to_le_bytes());
    out.extend_from_slice(&[kind, flags, 0, 0]);
    out.extend_from_slice(&[0; 8]);
    start
}

fn end(start: usize, payload: &[u8], previous: Option<&Hash>, sealing: Option<&mut Sealing>, out: &mut Vec<u8>) -> Hash {
    let meta_bytes = (out.len() - start - FIXED_BYTES) as u32;
    out[start + 44..start + 48].copy_from_slice(&meta_bytes.to_le_bytes());
    let stored = if sealing.is_some() { Sealing::stored_bytes(payload.len()) } else { payload.len() };
    out[start + 48..start + 52].copy_from_slice(&(stored as u32).to_le_bytes());
    if sealing.is_some() {
        out[start + 41] |= SEALED;
    }
    let digest: Hash = if previous.is_some() { Sha256::digest(payload).into() } else { [0; 32] };
    let hash = previous.map_or([0; 32], |previous| link(previous, &out[start + 8..], &digest));
    match sealing {
        Some(sealing) => {
            let header = out[start + 8..].to_vec();
            sealing.seal(&header, &digest, payload, out);
        }
        None => out.extend_from_slice(payload),
    }
    out.extend_from_slice(&hash);
    let length = (out.len() - start - 8) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let crc = crc(length, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    hash
}

fn crc(length: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// One link of the chain.
fn link(previous: &Hash, header: &[u8], digest: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(header);
    hasher.update(digest);
    hasher.finalize().into()
}

/// A record as it stands in the file, its CRC checked and its chain not yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub sequence: u64,
    pub stamp: Stamp,
    pub kind: u8,
    pub flags: u8,
    pub header: &'a [u8],
    meta: &'a [u8],
    /// As it stands there, sealed or not.
    payload: &'a [u8],
    pub hash: Hash,
    /// Bytes in the file.
    pub length: usize,
}

/// The record at the start of `bytes`, if there is a whole and undamaged one.
pub(super) fn raw(bytes: &[u8]) -> Option<Raw<'_>> {
    let length = u32_at(bytes, 0) as usize;
    if !(FIXED_BYTES - 8 + HASH_BYTES..=RECORD_BYTES_MAX).contains(&length) {
        return None;
    }
    let rest = bytes.get(8..8 + length)?;
    let (meta_bytes, payload_bytes) = (u32_at(bytes, 44) as usize, u32_at(bytes, 48) as usize);
    let needed = (FIXED_BYTES - 8 + HASH_BYTES).checked_add(meta_bytes)?.checked_add(payload_bytes)?;
    if needed != length || crc(length as u32, rest) != u32_at(bytes, 4) {
        return None;
    }
    let payload_start = FIXED_BYTES - 8 + meta_bytes;
    Some(Raw {
        sequence: u64_at(bytes, 8),
        stamp: Stamp {
            at: Timestamp::from_ms(u64_at(bytes, 16).cast_signed()),
            wall_ms: u64_at(bytes, 24).cast_signed(),
            mono_ns: u64_at(bytes, 32),
        },
        kind: bytes[40],
        flags: bytes[41],
        header: &rest[..payload_start],
        meta: &rest[FIXED_BYTES - 8..payload_start],
        payload: &rest[payload_start..payload_start + payload_bytes],
        hash: rest[length - HASH_BYTES..].try_into().ok()?,
        length: length + 8,
    })
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is sealed, and nothing to open it with was given.
    Locked,
    /// It does not open with its key: it was changed.
    Sealed,
    Content,
}

impl Unreadable {
    pub const fn what(self) -> &'static str {
        match self {
            Unreadable::Locked => "the content is sealed",
            Unreadable::Sealed => "the content does not open with its key",
            Unreadable::Content => "the content cannot be read",
        }
    }
}

impl<'a> Raw<'a> {
    /// SHA-256 of the payload as it was received: summed, or where it is sealed as it stands beside it.
    pub fn digest(&self) -> Option<Hash> {
        match self.flags & SEALED {
            0 => Some(Sha256::digest(self.payload).into()),
            _ => self.payload.get(HEAD_BYTES - 32..HEAD_BYTES)?.try_into().ok(),
        }
    }
    /// Whether its hash follows from the one before, with its digest.
    pub fn follows(&self, previous: &Hash, digest: &Hash) -> bool {
        link(previous, self.header, digest) == self.hash
    }
    /// The payload as it was received.
    pub fn plain(&self, opener: Option<&Opener>) -> Result<std::borrow::Cow<'a, [u8]>, Unreadable> {
        if self.flags & SEALED == 0 {
            return Ok(self.payload.into());
        }
        let opener = opener.ok_or(Unreadable::Locked)?;
        opener.open(self.header, self.payload).map(Into::into).ok_or(Unreadable::Sealed)
    }
    /// The record and the evidence stored with it.
    pub fn record(&self, opener: Option<&Opener>) -> Result<(Record, Evidence), Unreadable> {
        let payload = self.plain(opener)?;
        self.decoded(&payload).ok_or(Unreadable::Content)
    }
    /// Whether it can be read, without taking a frame's payload apart or copying it; a sealed one without its key passes.
    pub fn is_readable(&self, opener: Option<&Opener>) -> Result<(), Unreadable> {
        match (self.plain(opener), self.kind) {
            (Err(Unreadable::Locked), _) => Ok(()),
            (Err(why), _) => Err(why),
            (Ok(_), FRAME) => postcard::from_bytes::<Meta<'_>>(self.meta).map(|_| ()).map_err(|_| Unreadable::Content),
            (Ok(payload), _) => self.decoded(&payload).map(|_| ()).ok_or(Unreadable::Content),
        }
    }
    fn decoded(&self, payload: &[u8]) -> Option<(Record, Evidence)> {
        let mut evidence = Evidence::default();
        let mut meta = || -> Option<Meta<'_>> {
            let meta: Meta<'_> = postcard::from_bytes(self.meta).ok()?;
            evidence = Evidence { port: meta.port, tls: meta.tls.map(str::to_owned) };
            Some(meta)
        };
        let record = match self.kind {
            START => {
                let (boot, applied): (String, i64) = postcard::from_bytes(self.meta).ok()?;
                Record::Start { boot, applied_until: Timestamp::from_ms(applied) }
            }
            OPEN => {
                let source = meta()?.source();
                Record::Open { source, evidence: evidence.clone() }
            }
            CLOSE => Record::Close { connection: postcard::from_bytes(self.meta).ok()? },
            FRAME => Record::Frame { source: meta()?.source(), payload: payload.to_vec() },
            FRAGMENT => {
                let meta = meta()?;
                let what = meta.what.unwrap_or_default().to_owned();
                Record::Fragment { source: meta.source(), what, payload: payload.to_vec() }
            }
            COMMAND => Record::Command(serde_json::from_slice(payload).ok()?),
            AUDIT => Record::Audit(serde_json::from_slice(payload).ok()?),
            CASE => Record::Case(serde_json::from_slice(payload).ok()?),
            _ => return None,
        };
        Some((record, evidence))
    }
    /// The footer, if it is one.
    pub fn footer(&self) -> Option<Footer> {
        (self.kind == FOOTER).then(|| postcard::from_bytes(self.payload).ok())?
    }
}

/// What stands at the end of a closed segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footer {
    pub first_sequence: u64,
    pub count: u64,
    pub first_hash: Hash,
    pub last_hash: Hash,
    pub last_at_ms: i64,
    /// HMAC-SHA-256 of all of the above under the site's key.
    pub mac: Option<Hash>,
}

impl Footer {
    fn sum(&self, key: &[u8]) -> Hash {
        use hmac::Mac;
        let mut mac = hmac::Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        for number in [self.first_sequence, self.count, self.last_at_ms.cast_unsigned()] {
            mac.update(&number.to_le_bytes());
        }
        mac.update(&self.first_hash);
        mac.update(&self.last_hash);
        mac.finalize().into_bytes().into()
    }
    pub fn sign(&mut self, key: Option<&[u8]>) {
        self.mac = key.map(|key| self.sum(key));
    }
    /// Whether it was signed with this key.
    pub fn signed_by(&self, key: &[u8]) -> bool {
        self.mac == Some(self.sum(key))
    }
    /// The footer as a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES_MAX);
        let stamp = Stamp { at: Timestamp::from_ms(self.last_at_ms), wall_ms: self.last_at_ms, mono_ns: 0 };
        let start = begin(self.first_sequence.saturating_add(self.count), stamp, FOOTER, GROUP, &mut out);
        let payload = postcard::to_allocvec(self).expect("plain numbers");
        end(start, &payload, None, None, &mut out);
        out
    }
}

/// Makes a file of zeros, durable: later writes change only data, so that `fdatasync` has no file size to store.
///
/// If the disk has less room, the file is smaller (down to `bytes_min`). Returns its size.
pub(super) fn create_zeroed(path: &Path, bytes: u64, bytes_min: u64) -> io::Result<(File, u64)> {
    const CHUNK: usize = 1 << 20;
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0_u8; CHUNK];
    let mut done: u64 = 0;
    while done < bytes {
        let part = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
        match file.write(&zeros[..part]) {
            Ok(0) => break,
            Ok(n) => done += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if done >= bytes_min => break,
            Err(e) => return Err(e),
        }
    }
    if done < bytes {
        // Nearly full: leave the others half of what is left.
        done = (done / 2).max(bytes_min);
        file.set_len(done)?;
    }
    file.sync_all()?;
    Ok((file, done))
}
