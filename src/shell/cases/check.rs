//! Proves a bundle from its bytes, as `verify.py` does, and says where the first thing stands that does not fit.

use super::bundle::{CHECKPOINT, IN, KEY, LINKS, MANIFEST, Manifest, SCHEMA, SIGNATURE, is_received};
use super::judge::Judged;
use super::sealed::{SEAL_BYTES, options};
use crate::alert::{hex, unhex};
use crate::shell::vault::{Checkpoint, Verifier};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::ops::Range;
use std::path::Path;
use zip::{ZipArchive, ZipWriter};

/// Largest bundle that is read, bytes.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 30;
/// Largest contents, unpacked, bytes: what would be more is no bundle of ours.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// Largest manifest, bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What was proven.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    pub manifest: Manifest,
    pub links: u64,
    /// The key was given, and not only found in the bundle.
    pub key_given: bool,
    /// Every alert of the case, judged again from the bundle: no part of the proof.
    pub judged: Vec<(String, Judged)>,
    pub bytes: u64,
}

/// The first thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}: {what}", .bytes.as_ref().map_or_else(String::new, |b| format!(" (bytes {} to {} of the bundle)", b.start, b.end.saturating_sub(1))))]
pub struct Misfit {
    /// A file of the bundle, or `the zip`.
    pub place: String,
    pub bytes: Option<Range<u64>>,
    pub what: String,
}

/// Why a bundle proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("does not fit: {0}")]
    Misfit(#[from] Misfit),
}

fn misfit(place: &str, what: impl Into<String>) -> Misfit {
    Misfit { place: place.to_owned(), bytes: None, what: what.into() }
}

/// Whether a file begins as a zip does.
pub fn is_zip(path: &Path) -> bool {
    let mut head = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"PK"
}

/// Proves a bundle. `keys`: whose signature is believed; `None`: that of the key in the bundle, whosever it is.
pub fn verify(path: &Path, keys: Option<&Verifier>) -> Result<Verified, CheckError> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > BUNDLE_BYTES_MAX {
        return Err(misfit("the zip", "is larger than 1 GiB: no bundle of ours").into());
    }
    let mut bytes = Vec::new();
    file.take(BUNDLE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(verify_bytes(&bytes, keys)?)
}

/// As [`verify`], of the bytes themselves.
pub fn verify_bytes(bytes: &[u8], keys: Option<&Verifier>) -> Result<Verified, Misfit> {
    let box_ = Unpacked::read(bytes)?;
    let manifest = box_.manifest()?;
    box_.files(&manifest)?;
    let found;
    let keys_used = match keys {
        Some(keys) => keys,
        None => {
            let pem = String::from_utf8_lossy(box_.get(KEY)?);
            found = Verifier::from_pem(&pem).ok_or_else(|| box_.at(KEY, "holds no Ed25519 public key in PEM"))?;
            &found
        }
    };
    let (text, signature) = (box_.get(MANIFEST)?, box_.get(SIGNATURE)?);
    let signed = keys_used.verify(text, signature, &manifest.key_id, manifest.made_at);
    signed.map_err(|problem| box_.at(MANIFEST, format!("the signature does not prove it: {problem}")))?;
    let links = box_.chain(&manifest, keys_used)?;
    box_.container(bytes)?;
    let files = box_.entries.iter().map(|entry| (entry.name.as_str(), entry.content.as_slice())).collect();
    let judged = super::judge::judge_all(&files);
    Ok(Verified { manifest, links, key_given: keys.is_some(), judged, bytes: bytes.len() as u64 })
}

/// One entry of the zip.
struct Entry {
    name: String,
    range: Range<u64>,
    content: Vec<u8>,
}

struct Unpacked {
    entries: Vec<Entry>,
    by_name: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkLine {
    sequence: u64,
    #[expect(dead_code, reason = "for people; the header holds it")]
    at: String,
    header: String,
    payload_sha256: String,
    hash: String,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "for people; the header holds it")]
    leg: Option<String>,
}

impl Unpacked {
    fn read(bytes: &[u8]) -> Result<Unpacked, Misfit> {
        let directory = |why: String| Misfit {
            place: "the zip".into(),
            bytes: None,
            what: format!("its directory cannot be read ({why}): it is cut off, or changed near its end"),
        };
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| directory(error.to_string()))?;
        let count = declared(bytes);
        if archive.len() > 65_000 || count.is_some_and(|count| count != archive.len()) {
            return Err(directory("an entry stands there twice, or there are too many".into()));
        }
        let (mut entries, mut by_name, mut left) = (Vec::new(), BTreeMap::new(), UNPACKED_BYTES_MAX);
        for place in 0..archive.len() {
            let listed = archive.name_for_index(place).and_then(Result::ok).map_or_else(String::new, |name| name.into_owned());
            let mut file =
                archive.by_index(place).map_err(|error| misfit(&listed, format!("its place in the zip was changed: {error}")))?;
            let name = file.name().map_err(|error| directory(format!("entry {place}: {error}")))?.into_owned();
            let start = file.header_start();
            let end = file.data_start().unwrap_or(start).saturating_add(file.compressed_size());
            let max = left.min(if name == MANIFEST { MANIFEST_BYTES_MAX } else { left });
            let mut content = Vec::new();
            let read = file.by_ref().take(max.saturating_add(1)).read_to_end(&mut content);
            let entry = Entry { name: name.clone(), range: start..end, content };
            if let Err(error) = read {
                return Err(entry.misfit(format!("cannot be unpacked: {error}")));
            }
            if entry.content.len() as u64 > max {
                return Err(entry.misfit("is too large for a bundle"));
            }
            left -= entry.content.len() as u64;
            if by_name.insert(name, place).is_some() {
                return Err(entry.misfit("stands there twice"));
            }
            entries.push(entry);
        }
        Ok(Unpacked { entries, by_name })
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|at| &self.entries[*at])
    }
    fn get(&self, name: &str) -> Result<&[u8], Misfit> {
        self.entry(name).map(|entry| entry.content.as_slice()).ok_or_else(|| misfit(name, "is missing"))
    }
    fn at(&self, name: &str, what: impl Into<String>) -> Misfit {
        match self.entry(name) {
            Some(entry) => entry.misfit(what),
            None => misfit(name, what),
        }
    }

    fn manifest(&self) -> Result<Manifest, Misfit> {
        let text = self.get(MANIFEST)?;
        let manifest: Manifest =
            serde_json::from_slice(text).map_err(|error| self.at(MANIFEST, format!("cannot be read: {error}")))?;
        if manifest.schema != SCHEMA {
            return Err(self.at(MANIFEST, format!("schema {:?} is not {SCHEMA}", manifest.schema)));
        }
        Ok(manifest)
    }

    /// Every file is there, as it was, and no other.
    fn files(&self, manifest: &Manifest) -> Result<(), Misfit> {
        let mut known: BTreeSet<&str> = [MANIFEST, SIGNATURE].into();
        for line in &manifest.files {
            let content = self.get(&line.name)?;
            if hex(&Sha256::digest(content)) != line.sha256 || content.len() as u64 != line.bytes {
                return Err(self.at(&line.name, "is not what the manifest says (SHA-256)"));
            }
            if !known.insert(&line.name) {
                return Err(self.at(&line.name, "stands in the manifest twice"));
            }
        }
        match self.entries.iter().find(|entry| !known.contains(entry.name.as_str())) {
            Some(extra) => Err(extra.misfit("is not in the manifest")),
            None => Ok(()),
        }
    }

    /// The links follow from each other up to the signed checkpoint; how many they are.
    fn chain(&self, manifest: &Manifest, keys: &Verifier) -> Result<u64, Misfit> {
        let records: BTreeMap<u64, &str> =
            manifest.files.iter().filter_map(|line| Some((line.record?, line.sha256.as_str()))).collect();
        let mut proven = BTreeSet::new();
        let Some(chain) = &manifest.chain else { return Ok(0) };
        let mut last = unhex::<32>(&chain.previous).ok_or_else(|| self.at(MANIFEST, "chain.previous is no hash"))?;
        let (mut sequence, mut count) = (chain.first.wrapping_sub(1), 0);
        for (number, text) in self.get(LINKS)?.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()).enumerate() {
            let wrong = |what: &str| self.at(LINKS, format!("line {}: {what}", number + 1));
            let line: LinkLine = serde_json::from_slice(text).map_err(|_| wrong("is no link"))?;
            sequence = sequence.wrapping_add(1);
            let (header, payload) = (HEXLOWER.decode(line.header.as_bytes()).ok(), unhex::<32>(&line.payload_sha256));
            let (Some(header), Some(payload)) = (header, payload) else { return Err(wrong("is no link")) };
            let mut hash = Sha256::new();
            hash.update(last);
            hash.update(&header);
            hash.update(payload);
            last = hash.finalize().into();
            let of_header = header.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
            if line.sequence != sequence || of_header != Some(sequence) || line.hash != hex(&last) {
                return Err(wrong(&format!("record {} does not follow from the one before", line.sequence)));
            }
            // Absent in bundles of earlier builds: the header alone says it there.
            if line.direction.is_some() && line.direction.as_deref() != is_received(&header).then_some(IN) {
                return Err(wrong(&format!("record {} has another direction", line.sequence)));
            }
            if let Some(wanted) = records.get(&sequence) {
                if *wanted != line.payload_sha256 {
                    return Err(wrong(&format!("the message of record {sequence} is not the one that was received")));
                }
                proven.insert(sequence);
            }
            count += 1;
        }
        if let Some(record) = records.keys().find(|record| !proven.contains(record)) {
            return Err(self.at(LINKS, format!("record {record} is not in the chain")));
        }
        if sequence != chain.last {
            return Err(self.at(LINKS, format!("ends at record {sequence}, the manifest says {}", chain.last)));
        }
        if chain.complete {
            let note = String::from_utf8_lossy(self.get(CHECKPOINT)?);
            let checkpoint = Checkpoint::parse(&note).ok_or_else(|| self.at(CHECKPOINT, "is no checkpoint"))?;
            if checkpoint.size != sequence || checkpoint.head != last {
                return Err(self.at(CHECKPOINT, "the chain does not end at it"));
            }
            checkpoint
                .verify(keys)
                .map_err(|problem| self.at(CHECKPOINT, format!("the signature does not prove it: {problem}")))?;
        }
        Ok(count)
    }

    /// The bytes around the files: the seal, and where it does not fit, what a bundle of these files would look like.
    fn container(&self, bytes: &[u8]) -> Result<(), Misfit> {
        let zip = |at: u64, what: &str| Misfit { place: "the zip".into(), bytes: Some(at..at + 1), what: what.into() };
        let Some((body, seal)) = bytes.split_at_checked(bytes.len().saturating_sub(SEAL_BYTES)) else {
            return Err(misfit("the zip", "has no seal"));
        };
        if hex(&Sha256::digest(body)).as_bytes() == seal {
            return Ok(());
        }
        let again = self.pack().unwrap_or_default();
        match again.iter().zip(bytes).position(|(one, other)| one != other) {
            Some(at) => Err(zip(at as u64, "the files fit, and the zip around them was changed here")),
            None => Err(zip(again.len().min(bytes.len()) as u64, "the files fit, and the zip is longer or shorter than it was")),
        }
    }

    fn pack(&self) -> Option<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for entry in &self.entries {
            zip.start_file(&entry.name, options()).ok()?;
            zip.write_all(&entry.content).ok()?;
        }
        zip.set_comment("0".repeat(SEAL_BYTES)).ok()?;
        let mut bytes = zip.finish().ok()?.into_inner();
        let body = bytes.len() - SEAL_BYTES;
        let seal = hex(&Sha256::digest(&bytes[..body]));
        bytes[body..].copy_from_slice(seal.as_bytes());
        Some(bytes)
    }
}

impl Entry {
    fn misfit(&self, what: impl Into<String>) -> Misfit {
        Misfit { place: self.name.clone(), bytes: Some(self.range.clone()), what: what.into() }
    }
}

/// Entries that the end of the zip counts: a library that keeps one of two of the same name would not tell.
fn declared(bytes: &[u8]) -> Option<usize> {
    let end = bytes.len().checked_sub(SEAL_BYTES + 22)?;
    let count = bytes.get(end + 10..end + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]])))
}
