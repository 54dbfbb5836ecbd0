//! Folders that a running service writes into, as they are at one moment.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    list.sort();
    list
}

pub fn ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|p| p.to_string_lossy().ends_with(ending)).collect()
}

/// Every file with what changes where it is written; `None` where one has gone meanwhile.
fn looks(folder: &Path) -> Option<Vec<(PathBuf, u64, SystemTime)>> {
    let look = |path: PathBuf| std::fs::metadata(&path).and_then(|file| Ok((path, file.len(), file.modified()?))).ok();
    files(folder).into_iter().map(look).collect()
}

/// A copy as a crash would leave it, without a goodbye. A running service may be packing a segment: then it is looked at again.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for _ in 0..100 {
        let before = looks(from);
        let copies: Vec<PathBuf> = before.iter().flatten().map(|(path, _, _)| to.join(path.file_name().unwrap())).collect();
        let all = before.iter().flatten().zip(&copies).all(|((path, _, _), copy)| std::fs::copy(path, copy).is_ok());
        if all && before.is_some() && looks(from) == before {
            return;
        }
        for copy in copies {
            let _ = std::fs::remove_file(copy);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} never stands still", from.display());
}
