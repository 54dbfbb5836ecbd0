//! The model files that decide: those of the program, and those of the site's folder (`models`).

use crate::config::Config;
use crate::envelope::ModelError;
use crate::models::Models;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one file at most, and files of a folder.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES_MAX: usize = 1000;

/// Why a folder of model files was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}: more than {FILES_MAX} files")]
    TooMany(PathBuf),
    #[error("{folder}: {error}")]
    Wrong { folder: PathBuf, error: ModelError },
}

/// Every TOML file of a folder and of the folders in it, and every JSON file of `calibration/`, by its path below the folder.
pub fn files(folder: &Path) -> Result<Vec<(String, String)>, LoadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Io { path, source }
    };
    let (mut list, mut folders) = (Vec::new(), vec![(folder.to_owned(), String::new())]);
    while let Some((at, below)) = folders.pop() {
        for entry in std::fs::read_dir(&at).map_err(io(&at))? {
            let path = entry.map_err(io(&at))?.path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let key = if below.is_empty() { name } else { format!("{below}/{name}") };
            if path.is_dir() {
                if below.is_empty() {
                    folders.push((path, key));
                }
            } else if key.ends_with(".toml") || (key.starts_with("calibration/") && key.ends_with(".json")) {
                let file = std::fs::File::open(&path).map_err(io(&path))?;
                let mut text = String::new();
                std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text).map_err(io(&path))?;
                list.push((key, text));
                if list.len() > FILES_MAX {
                    return Err(LoadError::TooMany(folder.to_owned()));
                }
            }
        }
    }
    list.sort();
    Ok(list)
}

/// Ours, with the site's in front where a folder is configured.
pub fn load(config: &Config) -> Result<Arc<Models>, LoadError> {
    let Some(folder) = &config.models else { return Ok(Models::shipped()) };
    let found = files(folder)?;
    Models::with_site(&found).map(Arc::new).map_err(|error| LoadError::Wrong { folder: folder.clone(), error })
}
