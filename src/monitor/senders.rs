//! Who sends: keyed hashes of peers, devices, patients and message ids. Only hashes leave; the texts live in a cache of this run.

use crate::alert::hex;
use hmac::{Hmac, Mac};
use rustc_hash::{FxHashMap, FxHasher};
use sha2::Sha256;
use std::hash::Hasher;
use std::sync::Arc;

/// Senders whose hash is remembered at most; when full, all are forgotten and computed anew.
const CACHE_MAX: usize = 65_536;

/// One sender as its messages show it.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    texts: [String; 4],
    /// Of peer, MSH-3, MSH-4 and device.
    pub hash: u64,
    /// `dev-…`: of the device, or of peer, MSH-3 and MSH-4 where none is named.
    pub device: Arc<str>,
    /// `p-…`.
    pub peer: Arc<str>,
}

/// The site's key at work.
pub(super) struct Keyed {
    mac: Hmac<Sha256>,
    senders: Vec<Sender>,
    by_hash: FxHashMap<u64, Vec<u32>>,
    patients: FxHashMap<String, u64>,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("senders", &self.senders.len()).finish_non_exhaustive()
    }
}

impl Keyed {
    pub fn new(key: &[u8]) -> Keyed {
        let mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Keyed { mac, senders: Vec::new(), by_hash: FxHashMap::default(), patients: FxHashMap::default() }
    }

    /// HMAC-SHA-256 over a kind and its parts, each ended by a NUL, so that no two lists of parts are one text.
    fn digest(&self, kind: &str, parts: &[&str]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        for part in std::iter::once(&kind).chain(parts) {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        mac.finalize().into_bytes().into()
    }

    fn number(&self, kind: &str, parts: &[&str]) -> u64 {
        let d = self.digest(kind, parts);
        u64::from_be_bytes([d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// The seed of the decoder's body hash.
    pub fn body_key(&self) -> u64 {
        self.number("body", &[])
    }

    /// `{prefix}-` and 8 hex digits.
    pub fn short(&self, prefix: &str, parts: &[&str]) -> String {
        format!("{prefix}-{}", hex(&self.digest(prefix, parts)[..4]))
    }

    /// The hash of a patient; 0 where none is named.
    pub fn patient(&mut self, patient: &str) -> u64 {
        if patient.is_empty() {
            return 0;
        }
        if let Some(hash) = self.patients.get(patient) {
            return *hash;
        }
        if self.patients.len() >= CACHE_MAX {
            self.patients.clear();
        }
        let hash = self.number("patient", &[patient]).max(1);
        self.patients.insert(patient.to_owned(), hash);
        hash
    }

    /// The sender of a message. `device` is its key, empty if none is named.
    pub fn sender(&mut self, peer: &str, application: &str, facility: &str, device: &str) -> &Sender {
        let texts = [peer, application, facility, device];
        let mut hasher = FxHasher::default();
        for text in texts {
            hasher.write(text.as_bytes());
            hasher.write_u8(0);
        }
        let quick = hasher.finish();
        let known = self.by_hash.get(&quick).and_then(|list| {
            list.iter().copied().find(|at| self.senders[*at as usize].texts.iter().zip(texts).all(|(known, text)| known == text))
        });
        let at = match known {
            Some(at) => at as usize,
            None => {
                if self.senders.len() >= CACHE_MAX {
                    self.senders.clear();
                    self.by_hash.clear();
                }
                let stand_in = [peer, application, facility];
                let device_name = if device.is_empty() { self.short("dev", &stand_in) } else { self.short("dev", &[device]) };
                let sender = Sender {
                    hash: self.number("sender", &texts).max(1),
                    device: device_name.into(),
                    peer: self.short("p", &[peer]).into(),
                    texts: texts.map(str::to_owned),
                };
                let at = self.senders.len();
                self.senders.push(sender);
                self.by_hash.entry(quick).or_default().push(at as u32);
                at
            }
        };
        &self.senders[at]
    }

    /// MSH-10 as it may be published.
    pub fn message_id(&self, control_id: &str, plain: bool) -> Option<String> {
        if control_id.is_empty() {
            return None;
        }
        let fits =
            control_id.len() <= 64 && control_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        Some(if plain && fits { control_id.to_owned() } else { self.short("m", &[control_id]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_the_key_and_on_where_a_part_ends() {
        let (a, b) = (Keyed::new(b"key one"), Keyed::new(b"key two"));
        assert_ne!(a.short("dev", &["x"]), b.short("dev", &["x"]));
        assert_ne!(a.number("sender", &["ab", "c"]), a.number("sender", &["a", "bc"]));
        assert_ne!(a.number("sender", &["x"]), a.number("patient", &["x"]));
        assert!(crate::hl7::place::is_slug(&a.short("dev", &["x"])));
    }

    #[test]
    fn a_known_sender_is_the_same_sender() {
        let mut keyed = Keyed::new(b"k");
        let first = keyed.sender("192.0.2.1", "GW", "ICU", "").clone();
        let again = keyed.sender("192.0.2.1", "GW", "ICU", "").clone();
        assert_eq!((first.hash, &first.device), (again.hash, &again.device));
        assert_ne!(keyed.sender("192.0.2.2", "GW", "ICU", "").hash, first.hash);
    }

    #[test]
    fn a_control_id_that_may_name_someone_is_hashed() {
        let keyed = Keyed::new(b"k");
        assert_eq!(keyed.message_id("8841", true).as_deref(), Some("8841"));
        assert!(keyed.message_id("SN 123 Rossi", true).unwrap().starts_with("m-"));
        assert!(keyed.message_id("8841", false).unwrap().starts_with("m-"));
        assert_eq!(keyed.message_id("", true), None);
    }
}
