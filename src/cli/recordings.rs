//! Recordings from files and folders, plain or packed: the one reader of all commands that take them.

use crate::eval::recording::{Index, Recording};
use crate::shell::replay::input::{Input, Progress};
use anyhow::Context as _;
use indicatif::ProgressBar;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Reads a table from a file or standard input (`-`). The set is the folder's name; the list of records, where it stands beside
/// the folder, names the patient.
pub fn read(path: &Path) -> anyhow::Result<Recording> {
    let shown = path.display();
    let text = text(path)?;
    let name = path.file_name().map_or_else(|| "record".into(), |name| name.to_string_lossy().into_owned());
    let name = name.trim_end_matches(".gz").trim_end_matches(".csv");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let set =
        folder.and_then(|folder| folder.file_name()).map_or_else(|| "table".into(), |set| set.to_string_lossy().into_owned());
    let index = folder.and_then(Path::parent).map(|root| root.join("INDEX.tsv")).filter(|index| index.is_file());
    let index = index.and_then(|index| Index::from_tsv(&std::fs::read_to_string(index).ok()?).ok()).unwrap_or_default();
    Recording::from_csv(&set, name, &index.patient(&set, name), &text).with_context(|| format!("{shown} is no recording"))
}

/// Every recording of a folder (SET/RECORD.csv or .csv.gz, and INDEX.tsv that says which are of one patient), by set and name.
/// What is no recording is left out, with a word.
pub fn folder(folder: &Path, sets: &[String], bar: &ProgressBar) -> anyhow::Result<Vec<Recording>> {
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
    bar.set_message("reading");
    bar.set_length(files.len() as u64);
    let mut list = Vec::with_capacity(files.len());
    for (set, record, path) in files {
        match Recording::from_csv(&set, &record, &index.patient(&set, &record), &text(&path)?) {
            Ok(recording) => list.push(recording),
            // A table of something else beside the recordings.
            Err(error) => bar.suspend(|| eprintln!("vitalguard: {} is left out: {error}", path.display())),
        }
        bar.inc(1);
    }
    Ok(list)
}

fn text(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let input = if path == Path::new("-") {
        Input::stdin(&mut std::io::stdin().lock()).with_context(reading)?
    } else {
        Input::file(path)
    };
    let mut bytes = Vec::new();
    let (mut reader, _) = input.open(Progress::default()).with_context(reading)?;
    reader.read_to_end(&mut bytes).with_context(reading)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
