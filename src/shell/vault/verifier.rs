//! The keys that are believed, each with its time: from one public key in PEM, or from a ring of them in TOML.
//!
//! ```toml
//! [[key]]
//! file = "key-2026.pem"          # beside the ring, or pem = """…"""
//! from = "2026-01-01T00:00:00Z"  # may be left out: always
//! until = "2027-01-01T00:00:00Z" # this moment is not in it any more
//! ```

use super::signer::{KEY_FILE_BYTES_MAX, PUBLIC_HEAD, key_id};
use crate::time::Timestamp;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Keys of one ring at most.
const KEYS_MAX: usize = 1_000;

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    #[error("key {key_id} is not among the keys that are believed ({})", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    Missing { key_id: String, known: Vec<String> },
    #[error("key {key_id} is not valid before {from}, and signed {at}")]
    Early { key_id: String, from: Timestamp, at: Timestamp },
    #[error("key {key_id} was valid until {until}, and signed {at}")]
    Expired { key_id: String, until: Timestamp, at: Timestamp },
    #[error("the signature is not that of key {key_id} over these bytes")]
    Wrong { key_id: String },
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: no Ed25519 public key in PEM (BEGIN PUBLIC KEY)")]
    NoKey { path: PathBuf },
    #[error("{path}: {what}")]
    Ring { path: PathBuf, what: String },
}

/// One key that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    pub public: [u8; 32],
    /// As [`super::Signer::key_id`].
    pub id: String,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl TrustedKey {
    /// Believed at any time.
    pub fn always(public: [u8; 32]) -> TrustedKey {
        TrustedKey { public, id: key_id(&public), from: None, until: None }
    }

    fn from_pem(pem: &[u8]) -> Option<TrustedKey> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let public = der.as_ref().strip_prefix(&PUBLIC_HEAD[..])?;
        Some(TrustedKey::always(public.try_into().ok()?))
    }
}

/// The keys that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verifier {
    keys: Vec<TrustedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    key: Vec<RingKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingKey {
    file: Option<PathBuf>,
    pem: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

impl Verifier {
    pub fn new(keys: Vec<TrustedKey>) -> Verifier {
        Verifier { keys }
    }
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }
    /// One public key in PEM.
    pub fn from_pem(pem: &str) -> Option<Verifier> {
        Some(Verifier { keys: vec![TrustedKey::from_pem(pem.as_bytes())?] })
    }

    /// A file with one public key in PEM, or a ring in TOML.
    pub fn read(path: &Path) -> Result<Verifier, KeyRingError> {
        let bytes = read(path)?;
        let no_key = || KeyRingError::NoKey { path: path.to_owned() };
        if bytes.trim_ascii_start().starts_with(b"-----") {
            return Ok(Verifier { keys: vec![TrustedKey::from_pem(&bytes).ok_or_else(no_key)?] });
        }
        let bad = |what: String| KeyRingError::Ring { path: path.to_owned(), what };
        let text = std::str::from_utf8(&bytes).map_err(|_| no_key())?;
        let ring: Ring = toml::from_str(text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
        if ring.key.len() > KEYS_MAX {
            return Err(bad(format!("more than {KEYS_MAX} keys")));
        }
        let mut keys = Vec::new();
        for (i, entry) in ring.key.into_iter().enumerate() {
            let bad = |what: &str| bad(format!("key {}: {what}", i + 1));
            let mut key = match (entry.file, entry.pem) {
                (Some(file), None) => {
                    let file = path.parent().unwrap_or(Path::new("")).join(file);
                    TrustedKey::from_pem(&read(&file)?).ok_or(KeyRingError::NoKey { path: file })?
                }
                (None, Some(pem)) => TrustedKey::from_pem(pem.as_bytes()).ok_or_else(|| bad("pem is no Ed25519 public key"))?,
                _ => return Err(bad("one of file and pem is needed")),
            };
            let time = |text: Option<String>, what: &str| {
                text.map(|text| text.parse::<jiff::Timestamp>().map(|t| Timestamp::from_ms(t.as_millisecond())))
                    .transpose()
                    .map_err(|_| bad(&format!("{what} is no time with an offset, such as 2026-01-01T00:00:00Z")))
            };
            (key.from, key.until) = (time(entry.from, "from")?, time(entry.until, "until")?);
            if key.from.zip(key.until).is_some_and(|(from, until)| from >= until) {
                return Err(bad("from is not before until"));
            }
            keys.push(key);
        }
        Ok(Verifier { keys })
    }

    /// Whether `signature` is that of the key `key_id` over `message`, and the key was valid `at` that time.
    pub fn verify(&self, message: &[u8], signature: &[u8], key_id: &str, at: Timestamp) -> Result<(), KeyProblem> {
        self.check(|key| key.id == key_id, key_id, message, signature, at).map(|_| ())
    }

    /// The same for whichever keys `wanted` names; the one that fits.
    pub(super) fn check(
        &self,
        wanted: impl Fn(&TrustedKey) -> bool,
        name: &str,
        message: &[u8],
        signature: &[u8],
        at: Timestamp,
    ) -> Result<&TrustedKey, KeyProblem> {
        let mut problem =
            KeyProblem::Missing { key_id: name.to_owned(), known: self.keys.iter().map(|key| key.id.clone()).collect() };
        // A key may stand there more than once, for several times.
        for key in self.keys.iter().filter(|key| wanted(key)) {
            let key_id = key.id.clone();
            if UnparsedPublicKey::new(&ED25519, key.public).verify(message, signature).is_err() {
                problem = KeyProblem::Wrong { key_id };
            } else if let Some(from) = key.from.filter(|from| at < *from) {
                problem = KeyProblem::Early { key_id, from, at };
            } else if let Some(until) = key.until.filter(|until| at >= *until) {
                problem = KeyProblem::Expired { key_id, until, at };
            } else {
                return Ok(key);
            }
        }
        Err(problem)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyRingError> {
    let io = |source| KeyRingError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(KEY_FILE_BYTES_MAX * 16).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Signer;
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn missing_expired_early_and_wrong_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::open_or_create(&folder.path().join("a.pem")).unwrap();
        let other = Signer::open_or_create(&folder.path().join("b.pem")).unwrap();
        std::fs::write(folder.path().join("a.pub.pem"), signer.public_pem()).unwrap();
        let ring = folder.path().join("ring.toml");
        let text = format!(
            "[[key]]\nfile = \"a.pub.pem\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2027-01-01T01:00:00+01:00\"\n\n[[key]]\npem = '''{}'''\n",
            other.public_pem()
        );
        std::fs::write(&ring, text).unwrap();
        let verifier = Verifier::read(&ring).unwrap();
        let (id, signature) = (signer.key_id(), signer.sign(b"head"));
        let year = |text: &str| at(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let inside = year("2026-06-01T00:00:00Z");
        assert_eq!(verifier.verify(b"head", &signature, &id, inside), Ok(()));
        assert!(matches!(verifier.verify(b"haed", &signature, &id, inside), Err(KeyProblem::Wrong { .. })));
        let end = year("2027-01-01T00:00:00Z");
        assert!(matches!(verifier.verify(b"head", &signature, &id, end), Err(KeyProblem::Expired { until, .. }) if until == end));
        assert!(matches!(verifier.verify(b"head", &signature, &id, year("2025-12-31T23:59:59Z")), Err(KeyProblem::Early { .. })));
        assert!(matches!(verifier.verify(b"head", &signature, "0000", inside), Err(KeyProblem::Missing { .. })));
        assert!(matches!(verifier.verify(b"head", &signature, &other.key_id(), inside), Err(KeyProblem::Wrong { .. })));
    }

    #[test]
    fn a_ring_that_says_nothing_sensible_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.toml");
        let signer = Signer::open_or_create(&folder.path().join("a.pem")).unwrap();
        let pem = signer.public_pem();
        for bad in [
            String::new(),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(),
            "[[key]]\nfrom = \"2026-01-01T00:00:00Z\"\n".into(),
            format!("[[key]]\npem = '''{pem}'''\nuntil = \"tomorrow\"\n"),
            format!("[[key]]\npem = '''{pem}'''\nuntill = \"2027-01-01T00:00:00Z\"\n"),
            format!("[[key]]\npem = '''{pem}'''\nfrom = \"2027-01-01T00:00:00Z\"\nuntil = \"2026-01-01T00:00:00Z\"\n"),
            "[[key]]\nfile = \"none.pem\"\n".into(),
        ] {
            std::fs::write(&path, &bad).unwrap();
            assert!(Verifier::read(&path).is_err(), "{bad}");
        }
        std::fs::write(&path, pem).unwrap();
        assert_eq!(Verifier::read(&path).unwrap().keys()[0].id, signer.key_id());
    }
}
