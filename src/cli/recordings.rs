//! Recordings from a folder.

use crate::eval::recording::{Index, Recording};
use anyhow::Context as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Every recording of a folder (SET/RECORD.csv or .csv.gz, and INDEX.tsv that says which are of one patient), by set and name.
/// What is no recording is left out, with a word.
pub fn read(folder: &Path, sets: &[String]) -> anyhow::Result<Vec<Recording>> {
    let path = folder.join("INDEX.tsv");
    let index = match std::fs::read_to_string(&path) {
        Ok(text) => Index::from_tsv(&text).with_context(|| format!("reading {}", path.display()))?,
        Err(_) => Index::default(),
    };
    let mut files: Vec<(String, String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?.flatten() {
        let set = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() || (!sets.is_empty() && !sets.contains(&set)) {
            continue;
        }
        for file in std::fs::read_dir(entry.path())?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some(record) = name.strip_suffix(".csv.gz").or_else(|| name.strip_suffix(".csv")) {
                files.push((set.clone(), record.to_owned(), file.path()));
            }
        }
    }
    files.sort();
    let mut list = Vec::with_capacity(files.len());
    for (set, record, path) in files {
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut text = String::new();
        if path.extension().is_some_and(|e| e == "gz") {
            flate2::read::GzDecoder::new(&bytes[..])
                .read_to_string(&mut text)
                .with_context(|| format!("reading {}", path.display()))?;
        } else {
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        match Recording::from_csv(&set, &record, &index.patient(&set, &record), &text) {
            Ok(recording) => list.push(recording),
            Err(error) => eprintln!("vitalguard: {} is left out: {error}", path.display()),
        }
    }
    Ok(list)
}
