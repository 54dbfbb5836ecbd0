//! The site's key: what the published hashes of devices, peers and control ids are keyed with.

use crate::alert::hex;
use crate::config::Config;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Shortest key that is accepted, bytes.
pub const KEY_BYTES_MIN: usize = 32;
/// Longest key that is read, bytes.
const KEY_BYTES_MAX: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the site's key {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the site's key {path} has {found} bytes, at least {KEY_BYTES_MIN} are needed")]
    Short { path: PathBuf, found: usize },
    #[error("no randomness for the site's key")]
    Random,
}

/// Where the key is: as configured, else in the data folder.
pub fn path(config: &Config) -> PathBuf {
    config.privacy.key_file.clone().unwrap_or_else(|| config.data.join("site.key"))
}

/// Reads the key, without making one.
pub fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut key = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(KEY_BYTES_MAX).read_to_end(&mut key).map_err(io)?;
    // A key file that was written with an editor ends in a line end.
    while key.last().is_some_and(u8::is_ascii_whitespace) {
        key.pop();
    }
    if key.len() < KEY_BYTES_MIN {
        return Err(KeyError::Short { path: path.to_owned(), found: key.len() });
    }
    Ok(key)
}

/// Reads the key; at the first start without a configured one it is made: 64 random hex digits, readable by us alone.
pub fn read_or_make(config: &Config) -> Result<Vec<u8>, KeyError> {
    let path = path(config);
    if path.exists() || config.privacy.key_file.is_some() {
        return read(&path);
    }
    let io = |source| KeyError::Io { path: path.clone(), source };
    let text = hex(&random::<32>().ok_or(KeyError::Random)?);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(text.into_bytes())
}

/// Random bytes of the TLS provider's generator.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}
