//! The keyed signature of documents (the outgoing contract, section 9): HMAC-SHA-256, the last member.
//!
//! One contract: the MAC covers the bytes before `,"sig":"` and a closing brace, so that whoever verifies needs no JSON writer of
//! ours. A document that was written anew by somebody in between no longer verifies.

use crate::alert::{hex, unhex};
use hmac::Mac;
use std::fmt;

/// What begins a signature.
const ALGORITHM: &str = "hmac-sha256:";
/// What stands before it.
const MEMBER: &[u8] = b",\"sig\":\"";
/// `hmac-sha256:`, a key id of up to 32, `:`, 64 digits, `"}`.
const TAIL_BYTES_MAX: usize = ALGORITHM.len() + 32 + 1 + 64 + 2;

/// A key and the name by which documents call it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// A slug.
    pub id: String,
    pub secret: Vec<u8>,
}

/// What it is stays out of logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// The keys of an installation: one signs, and while keys change another may still be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub key: Key,
    /// Good for commands, too.
    pub also: Vec<Key>,
    /// A command without a signature is refused.
    pub required: bool,
}

/// What a document's signature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By a key that we have.
    Good,
    /// There is none.
    Absent,
    /// Another key, or other bytes.
    Bad,
}

impl Seal {
    /// The document with its signature; what is no object (a tombstone) stays as it is.
    pub fn sign(&self, document: &[u8]) -> Vec<u8> {
        sign(document, &self.key.id, &self.key.secret).unwrap_or_else(|| document.to_vec())
    }

    /// Whether a document was signed by one of our keys.
    pub fn verify(&self, document: &[u8]) -> Proof {
        let Some(at) = signature_at(document) else { return Proof::Absent };
        let tail = &document[at + MEMBER.len()..];
        let Some(text) = tail.strip_suffix(b"\"}").and_then(|t| std::str::from_utf8(t).ok()) else { return Proof::Bad };
        let Some((id, digits)) = text.strip_prefix(ALGORITHM).and_then(|rest| rest.split_once(':')) else { return Proof::Bad };
        let key = std::iter::once(&self.key).chain(&self.also).find(|key| key.id == id);
        let (Some(key), Some(digits)) = (key, unhex::<32>(digits)) else { return Proof::Bad };
        let Some(mut mac) = mac(&key.secret) else { return Proof::Bad };
        mac.update(&document[..at]);
        mac.update(b"}");
        // Compares without telling where they differ.
        if mac.verify_slice(&digits).is_ok() { Proof::Good } else { Proof::Bad }
    }
}

/// Where the last member begins, if it is a signature.
fn signature_at(document: &[u8]) -> Option<usize> {
    let from = document.len().saturating_sub(TAIL_BYTES_MAX + MEMBER.len());
    let at = document[from..].windows(MEMBER.len()).rposition(|window| window == MEMBER)?;
    Some(from + at)
}

fn mac(secret: &[u8]) -> Option<hmac::Hmac<sha2::Sha256>> {
    hmac::Hmac::new_from_slice(secret).ok()
}

/// The keyed signature of a document, its last member: `hmac-sha256:{key id}:{64 hex}` over the bytes before it and a closing
/// brace. `document` is compact JSON, an object with members.
pub fn sign(document: &[u8], key_id: &str, key: &[u8]) -> Option<Vec<u8>> {
    let body = document.strip_suffix(b"}")?;
    let mut mac = mac(key)?;
    mac.update(document);
    let mut signed = Vec::with_capacity(document.len() + MEMBER.len() + TAIL_BYTES_MAX);
    signed.extend_from_slice(body);
    signed.extend_from_slice(MEMBER);
    signed.extend_from_slice(format!("{ALGORITHM}{key_id}:{}\"}}", hex(&mac.finalize().into_bytes())).as_bytes());
    Some(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = br#"{"schema":"sys-status/1","ts":"2026-11-22T18:24:07.412Z","ts_ms":1795371847412,"boot":"01a20385-57bb-7c31-9f0a-2b7d5e81c604","site":"hsp1","state":"online"}"#;

    fn key(id: &str, secret: &str) -> Key {
        Key { id: id.into(), secret: secret.into() }
    }
    fn seal() -> Seal {
        Seal {
            key: key("k1", "vitalguard-test-key-0123456789ab"),
            also: vec![key("k0", "the-key-of-last-year-0123456789abc")],
            required: true,
        }
    }

    #[test]
    fn a_signature_is_the_last_member_and_matches_the_published_vector() {
        let signed = String::from_utf8(seal().sign(DOCUMENT)).expect("JSON is UTF-8");
        assert!(
            signed.ends_with(r#","sig":"hmac-sha256:k1:13d7dbfd7104df7448b42572b17a4bada62b8dcf65f491579e7c36db16617556"}"#),
            "{signed}"
        );
        assert_eq!(seal().verify(signed.as_bytes()), Proof::Good);
    }

    #[test]
    fn the_key_before_is_still_good_and_a_strange_one_is_not() {
        let by = |id, secret: &str| sign(DOCUMENT, id, secret.as_bytes()).expect("an object");
        assert_eq!(seal().verify(&by("k0", "the-key-of-last-year-0123456789abc")), Proof::Good);
        assert_eq!(seal().verify(&by("k1", "another-key")), Proof::Bad);
        assert_eq!(seal().verify(&by("k2", "vitalguard-test-key-0123456789ab")), Proof::Bad);
    }

    #[test]
    fn one_changed_byte_and_it_does_not_hold() {
        assert_eq!(seal().verify(DOCUMENT), Proof::Absent);
        assert_eq!(seal().verify(b""), Proof::Absent);
        let signed = seal().sign(DOCUMENT);
        for at in 0..signed.len() {
            let mut forged = signed.clone();
            forged[at] ^= 1;
            assert_ne!(seal().verify(&forged), Proof::Good, "byte {at}");
        }
        for cut in 1..signed.len() {
            assert_ne!(seal().verify(&signed[..cut]), Proof::Good, "the first {cut} bytes");
        }
        assert_eq!(seal().sign(b""), b"", "a tombstone stays empty");
    }
}
