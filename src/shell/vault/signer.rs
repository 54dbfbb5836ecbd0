//! The key that signs: Ed25519, PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.

use crate::alert::hex;
use crate::shell::key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Largest key file that is read, bytes.
pub(super) const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// What stands before the 32 bytes of a private key in PKCS#8 version 1 (RFC 8410).
const PRIVATE_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// What stands before the 32 bytes of a public key in a SubjectPublicKeyInfo (RFC 8410).
pub(super) const PUBLIC_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the signing key {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no private key in PEM (BEGIN PRIVATE KEY)")]
    NoKey { path: PathBuf },
    #[error("{path} holds a private key that is not Ed25519")]
    NotEd25519 { path: PathBuf },
    #[error("no randomness for a signing key")]
    Random,
}

/// Signs with one key.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key; where there is no file, makes one that we alone may read.
    pub fn open_or_create(path: &Path) -> Result<Signer, KeyFileError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Signer::create(path),
            _ => Signer::open(path),
        }
    }

    /// Reads the key.
    pub fn open(path: &Path) -> Result<Signer, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut pem = Vec::new();
        std::fs::File::open(path).map_err(io)?.take(KEY_FILE_BYTES_MAX).read_to_end(&mut pem).map_err(io)?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| KeyFileError::NoKey { path: path.to_owned() })?;
        Signer::of(der.secret_pkcs8_der()).ok_or_else(|| KeyFileError::NotEd25519 { path: path.to_owned() })
    }

    fn create(path: &Path) -> Result<Signer, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut der = PRIVATE_HEAD.to_vec();
        der.extend_from_slice(&key::random::<32>().ok_or(KeyFileError::Random)?);
        let signer = Signer::of(&der).ok_or(KeyFileError::Random)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(io)?;
        file.write_all(pem("PRIVATE KEY", &der).as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        Ok(signer)
    }

    fn of(pkcs8: &[u8]) -> Option<Signer> {
        // OpenSSL leaves the public half out, so there is nothing to check it against.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Signer { pair, public })
    }

    /// 64 bytes, RFC 8032 over the message itself (no pre-hash).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
    /// First 16 hex digits of the SHA-256 of the public key's 32 bytes.
    pub fn key_id(&self) -> String {
        key_id(&self.public)
    }
    /// The public key's 32 bytes.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
    /// `-----BEGIN PUBLIC KEY-----` …, as `openssl pkey -pubout` writes it.
    pub fn public_pem(&self) -> String {
        public_pem(&self.public)
    }
}

/// The id of a public key.
pub(super) fn key_id(public: &[u8; 32]) -> String {
    hex(&Sha256::digest(public)[..8])
}

/// A public key in PEM.
pub(super) fn public_pem(public: &[u8; 32]) -> String {
    let mut der = PUBLIC_HEAD.to_vec();
    der.extend_from_slice(public);
    pem("PUBLIC KEY", &der)
}

/// One line of base64 is enough: 48 bytes at most.
fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence.pem");
        let made = Signer::open_or_create(&path).unwrap();
        let read = Signer::open_or_create(&path).unwrap();
        assert_eq!(made.key_id(), read.key_id());
        assert_eq!(made.sign(b"x"), read.sign(b"x"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_ed25519_key_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        assert!(matches!(Signer::open(&path), Err(KeyFileError::Io { .. })));
        std::fs::write(&path, "nothing").unwrap();
        assert!(matches!(Signer::open_or_create(&path), Err(KeyFileError::NoKey { .. })));
        std::fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(Signer::open_or_create(&path), Err(KeyFileError::NotEd25519 { .. })));
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn the_signature_is_that_of_the_rfc() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&seed[2 * i..2 * i + 2], 16).unwrap()).collect();
        let signer = Signer::of(&[&PRIVATE_HEAD[..], &bytes].concat()).unwrap();
        assert!(hex(&signer.sign(&[0x72])).starts_with("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"));
    }
}
