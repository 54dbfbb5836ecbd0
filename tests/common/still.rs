//! Folders that a running service writes into, as they are at one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    list.sort();
    list
}

pub fn ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|p| p.to_string_lossy().ends_with(ending)).collect()
}

/// A copy as a crash would leave it, without a goodbye. A running service may be packing a segment: then it is looked at again.
pub fn copy(from: &Path, to: &Path) {
    for _ in 0..100 {
        let there = files(from);
        std::fs::create_dir_all(to).unwrap();
        let all = there.iter().all(|path| std::fs::copy(path, to.join(path.file_name().unwrap())).is_ok());
        if all && files(from) == there {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} never stands still", from.display());
}
