//! The advisories that decide: those of the program, and the site's file (`devices.advisories`).

use crate::advisory::{Advisories, AdvisoryError};
use crate::config::Config;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a site's file at most.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Why the site's file was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Wrong(#[from] AdvisoryError),
}

/// Ours, extended by the site's file where one is configured.
pub fn load(config: &Config) -> Result<Arc<Advisories>, LoadError> {
    let shipped = Advisories::shipped();
    let Some(path) = &config.devices.advisories else { return Ok(shipped) };
    let io = |source| LoadError::Io { path: path.clone(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX + 1), &mut text).map_err(io)?;
    Ok(Arc::new(shipped.extended(&text, &path.display().to_string())?))
}
