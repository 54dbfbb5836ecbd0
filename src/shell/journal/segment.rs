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
//! **Footer**: a record of kind [`FOOTER`] outside the chain with count, first and last hash, and their HMAC where there is a key.

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
/// Length, CRC and the fixed header.
const FIXED_BYTES: usize = 52;
const HASH_BYTES: usize = 32;
/// Kept free at the end of a segment for its footer.
pub(super) const FOOTER_BYTES_MAX: usize = 512;
/// Largest record believed when reading, bytes.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// Flag: first record of a write.
pub(super) const GROUP: u8 = 1;

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
    pub created_ms: i64,
    pub previous: Hash,
    pub boot: String,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.created_ms.to_le_bytes());
        out[24..56].copy_from_slice(&self.previous);
        let mut end = self.boot.len().min(64);
        while !self.boot.is_char_boundary(end) {
            end -= 1;
        }
        out[56] = end as u8;
        out[57..57 + end].copy_from_slice(&self.boot.as_bytes()[..end]);
        let crc = crc32fast::hash(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return None;
        }
        let boot = bytes.get(57..57 + usize::from(bytes[56]))?;
        Some(Header {
            first_sequence: u64_at(bytes, 8),
            created_ms: u64_at(bytes, 16).cast_signed(),
            previous: bytes[24..56].try_into().ok()?,
            boot: std::str::from_utf8(boot).ok()?.to_owned(),
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
    end(start, payload, Some(previous), out)
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

fn end(start: usize, payload: &[u8], previous: Option<&Hash>, out: &mut Vec<u8>) -> Hash {
    let meta_bytes = (out.len() - start - FIXED_BYTES) as u32;
    out[start + 44..start + 48].copy_from_slice(&meta_bytes.to_le_bytes());
    out[start + 48..start + 52].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let hash = previous.map_or([0; 32], |previous| link(previous, &out[start + 8..], payload));
    out.extend_from_slice(payload);
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
fn link(previous: &Hash, header: &[u8], payload: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(header);
    hasher.update(Sha256::digest(payload));
    hasher.finalize().into()
}

/// A record as it stands in the file, its CRC checked and its chain not yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub sequence: u64,
    pub stamp: Stamp,
    pub kind: u8,
    pub flags: u8,
    header: &'a [u8],
    meta: &'a [u8],
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

impl Raw<'_> {
    /// Whether its hash follows from the one before.
    pub fn follows(&self, previous: &Hash) -> bool {
        link(previous, self.header, self.payload) == self.hash
    }
    /// The record and the evidence stored with it.
    pub fn record(&self) -> Option<(Record, Evidence)> {
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
            FRAME => Record::Frame { source: meta()?.source(), payload: self.payload.to_vec() },
            FRAGMENT => {
                let meta = meta()?;
                let what = meta.what.unwrap_or_default().to_owned();
                Record::Fragment { source: meta.source(), what, payload: self.payload.to_vec() }
            }
            COMMAND => Record::Command(serde_json::from_slice(self.payload).ok()?),
            AUDIT => Record::Audit(serde_json::from_slice(self.payload).ok()?),
            CASE => Record::Case(serde_json::from_slice(self.payload).ok()?),
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
        end(start, &payload, None, &mut out);
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
