//! Encryption at rest: what was received is unreadable in the files without the site's key.
//!
//! A key file has one key a line, 64 hex digits each (`openssl rand -hex 32`): the first one writes, all of them read. Each run
//! of the writer takes 16 random bytes and derives a key of its own from them (HKDF-SHA-256), with which it seals payloads by
//! AES-256-GCM under a counter that is never used twice; the record's header is authenticated with it. The chain is over the
//! digest of the payload as it was received, which stands beside the sealed bytes: order and chain are proven without the key.
//!
//! Readable without the key: times, sizes, where a record came from (feed, peer, certificate), and that digest. Not readable:
//! messages, fragments, commands, looks, the core's snapshots.

use crate::alert::hex;
use crate::shell::key;
use data_encoding::HEXLOWER_PERMISSIVE;
use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use sha2::{Digest, Sha256};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys of one file, and keys that are known at a time.
const KEYS_MAX: usize = 100;
/// Before the sealed bytes: counter and digest.
pub(super) const HEAD_BYTES: usize = 40;
/// Behind them.
const TAG_BYTES: usize = 16;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionKeyError {
    #[error("the journal's encryption key {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the journal's encryption key {path}, line {line}: a key is 64 hex digits (openssl rand -hex 32)")]
    Form { path: PathBuf, line: usize },
    #[error("the journal's encryption key {path}: no key in it, or more than {KEYS_MAX}")]
    Count { path: PathBuf },
}

/// One key of the site.
pub struct EncryptionKey {
    bytes: [u8; 32],
    id: [u8; 8],
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptionKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl EncryptionKey {
    pub fn new(bytes: [u8; 32]) -> EncryptionKey {
        let mut hasher = Sha256::new();
        hasher.update(b"vitalguard journal key\n");
        hasher.update(bytes);
        let hash = hasher.finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        EncryptionKey { bytes, id }
    }

    /// The keys of a file, the one that writes first.
    pub fn read(path: &Path) -> Result<Vec<Arc<EncryptionKey>>, EncryptionKeyError> {
        let io = |source| EncryptionKeyError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        std::fs::File::open(path).map_err(io)?.take(64 << 10).read_to_string(&mut text).map_err(io)?;
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bytes = HEXLOWER_PERMISSIVE.decode(line.trim().as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
            let bytes = bytes.ok_or(EncryptionKeyError::Form { path: path.to_owned(), line: at + 1 })?;
            keys.push(Arc::new(EncryptionKey::new(bytes)));
        }
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(EncryptionKeyError::Count { path: path.to_owned() });
        }
        Ok(keys)
    }

    /// 16 hex digits that name the key and say nothing of it.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// A sealer under a fresh derived key; `None`: the system gives no random bytes.
    pub(super) fn sealer(&self) -> Option<Sealing> {
        let salt = key::random::<16>()?;
        Some(Sealing { lock: Lock { key_id: self.id, salt }, key: self.derive(&salt)?, counter: 0 })
    }

    fn derive(&self, salt: &[u8; 16]) -> Option<LessSafeKey> {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(&self.bytes);
        let expanded = extracted.expand(&[b"vitalguard journal 1"], &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(expanded)))
    }
}

/// With what something is sealed: stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    pub key_id: [u8; 8],
    pub salt: [u8; 16],
}

impl Lock {
    pub fn key_name(&self) -> String {
        hex(&self.key_id)
    }
    /// What opens it, where one of the known keys does.
    pub fn opener(&self) -> Option<Opener> {
        let keys = KEYS.read();
        let key = keys.iter().find(|key| key.id == self.key_id)?;
        key.derive(&self.salt).map(Opener)
    }
}

/// The keys this process may read with.
static KEYS: RwLock<Vec<Arc<EncryptionKey>>> = RwLock::new(Vec::new());

/// From now on this process reads what these keys have sealed. A key is found by its id, so one for another journal does no harm.
pub fn unlock(keys: &[Arc<EncryptionKey>]) {
    let mut known = KEYS.write();
    for key in keys {
        if known.len() < KEYS_MAX * 10 && !known.iter().any(|k| k.id == key.id) {
            known.push(Arc::clone(key));
        }
    }
}

/// Ids of the keys that are known.
pub(super) fn known() -> Vec<String> {
    KEYS.read().iter().map(|key| key.id()).collect()
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Seals what one run writes.
pub(super) struct Sealing {
    pub lock: Lock,
    key: LessSafeKey,
    counter: u64,
}

impl Sealing {
    /// How long a payload becomes.
    pub fn stored_bytes(plain: usize) -> usize {
        HEAD_BYTES + plain + TAG_BYTES
    }
    /// Appends counter, digest, sealed bytes and tag of a payload to `out`.
    pub fn seal(&mut self, header: &[u8], digest: &[u8; 32], plain: &[u8], out: &mut Vec<u8>) {
        self.counter += 1;
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(digest);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.key.seal_in_place_separate_tag(nonce(self.counter), Aad::from(header), &mut out[start..]);
        let tag = tag.expect("a record is shorter than 64 GiB");
        out.extend_from_slice(tag.as_ref());
    }
}

/// Opens what one run has sealed.
pub(super) struct Opener(LessSafeKey);

impl Opener {
    /// The payload, if it is what was sealed under this header and has the digest that stands beside it.
    pub fn open(&self, header: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
        let (counter, rest) = stored.split_first_chunk::<8>()?;
        let (digest, sealed) = rest.split_first_chunk::<32>()?;
        let mut plain = sealed.to_vec();
        let length = self.0.open_in_place(nonce(u64::from_le_bytes(*counter)), Aad::from(header), &mut plain).ok()?.len();
        plain.truncate(length);
        (Sha256::digest(&plain)[..] == digest[..]).then_some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_with_their_key_and_header_only() {
        let key = EncryptionKey::new([7; 32]);
        let mut sealing = key.sealer().unwrap();
        let (plain, header) = (b"PID|||INVENTED-1", b"header");
        let digest: [u8; 32] = Sha256::digest(plain).into();
        let mut out = Vec::new();
        sealing.seal(header, &digest, plain, &mut out);
        assert_eq!(out.len(), Sealing::stored_bytes(plain.len()));
        assert!(!out.windows(8).any(|w| w == b"INVENTED"));
        let opener = Opener(key.derive(&sealing.lock.salt).unwrap());
        assert_eq!(opener.open(header, &out).unwrap(), plain);
        assert!(opener.open(b"other", &out).is_none());
        let mut again = Vec::new();
        sealing.seal(header, &digest, plain, &mut again);
        assert_ne!(out[HEAD_BYTES..], again[HEAD_BYTES..], "a counter is used once");
        let other = Opener(EncryptionKey::new([8; 32]).derive(&sealing.lock.salt).unwrap());
        assert!(other.open(header, &out).is_none());
    }

    #[test]
    fn a_key_file_is_hex_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(EncryptionKey::read(&path), Err(EncryptionKeyError::Io { .. })));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(EncryptionKey::read(&path), Err(EncryptionKeyError::Count { .. })));
        std::fs::write(&path, format!("{}\nsecret\n", "ab".repeat(32))).unwrap();
        assert!(matches!(EncryptionKey::read(&path), Err(EncryptionKeyError::Form { line: 2, .. })));
        std::fs::write(&path, format!("{}\n{}\n", "ab".repeat(32), "CD".repeat(32))).unwrap();
        let keys = EncryptionKey::read(&path).unwrap();
        assert_eq!(keys.len(), 2);
        assert_ne!(keys[0].id(), keys[1].id());
        assert!(!format!("{keys:?}").contains("abab"));
    }
}
