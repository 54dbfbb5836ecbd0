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

/// Kinds that a folder in front of the program's own may hold.
const KINDS: [&str; 3] = ["profiles/", "population/", "calibration/"];

fn kept_folder(data: &Path, model: &str) -> PathBuf {
    let word: String = model.trim_start_matches("sha256:").chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    data.join("models").join(word)
}

/// Keeps what decides now under the hash that alerts carry, so that what was raised today is explained after the files have changed.
pub fn keep(config: &Config, model: &str) -> Result<(), LoadError> {
    let folder = kept_folder(&config.data, model);
    if folder.is_dir() {
        return Ok(());
    }
    let mut list: Vec<(String, String)> =
        crate::models::shipped_files().into_iter().map(|(path, text)| (path, text.to_owned())).collect();
    if let Some(site) = &config.models {
        let own = files(site)?;
        list.retain(|(path, _)| own.iter().all(|(other, _)| other != path));
        list.extend(own);
    }
    list.retain(|(path, _)| KINDS.iter().any(|kind| path.starts_with(kind)));
    let table = crate::models::manifest(list.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    list.push((crate::models::MANIFEST.into(), table));
    // Whole or not at all: written beside, then renamed.
    let beside = folder.with_extension("tmp");
    let write = || {
        let _ = std::fs::remove_dir_all(&beside);
        for (path, text) in &list {
            let path = beside.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&beside))?;
            std::fs::write(path, text)?;
        }
        std::fs::rename(&beside, &folder)
    };
    write().map_err(|source| LoadError::Io { path: folder.clone(), source })
}

/// The folder of what decided under that hash, where it was kept.
pub fn kept(data: &Path, model: &str) -> Option<PathBuf> {
    let folder = kept_folder(data, model);
    folder.join(crate::models::MANIFEST).is_file().then_some(folder)
}
