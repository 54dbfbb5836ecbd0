//! Snapshots of the core's state: `snapshot-{sequence}.bin`, written whole or not at all, the last two kept.

use super::JournalError;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// First bytes of a snapshot file; the SHA-256 of the rest follows.
const MAGIC: &[u8; 8] = b"VGSNAP\x01\n";
/// Snapshots kept.
const KEPT: usize = 2;

/// Writes a file so that after a crash there is the old content or the new one: temporary file, fsync, rename, fsync of the folder.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        JournalError::Io { path: path.to_owned(), source }
    })
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()
}

/// Writes the snapshot that holds everything up to and including `sequence`, and deletes all but the newest two.
pub fn write_snapshot(folder: &Path, sequence: u64, state: &[u8]) -> Result<PathBuf, JournalError> {
    let path = folder.join(format!("snapshot-{sequence:020}.bin"));
    let mut bytes = Vec::with_capacity(40 + state.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&Sha256::digest(state));
    bytes.extend_from_slice(state);
    write_atomic(&path, &bytes)?;
    for (_, old) in latest_snapshots(folder)?.into_iter().skip(KEPT) {
        std::fs::remove_file(&old).map_err(JournalError::io(&old))?;
    }
    Ok(path)
}

/// Snapshots with their sequences, newest first. If the newest cannot be read, the next one and a longer tail do.
pub fn latest_snapshots(folder: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(JournalError::io(folder))? {
        let entry = entry.map_err(JournalError::io(folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("snapshot-")?.strip_suffix(".bin")?.parse().ok());
        if let Some(sequence) = number {
            list.push((sequence, entry.path()));
        }
    }
    list.sort_by_key(|snapshot: &(u64, PathBuf)| std::cmp::Reverse(snapshot.0));
    Ok(list)
}

/// The state in a snapshot file, if it is whole.
pub fn read_snapshot(path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = std::fs::read(path).map_err(JournalError::io(path))?;
    let bad = |what| JournalError::Snapshot { path: path.to_owned(), what };
    if bytes.len() < 40 || &bytes[..8] != MAGIC {
        return Err(bad("not a snapshot"));
    }
    if Sha256::digest(&bytes[40..])[..] != bytes[8..40] {
        return Err(bad("damaged snapshot: its checksum does not fit"));
    }
    bytes.drain(..40);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_snapshots_are_kept_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for n in [5_u64, 90, 1000] {
            write_snapshot(folder.path(), n, format!("state {n}").as_bytes()).unwrap();
        }
        let list = latest_snapshots(folder.path()).unwrap();
        assert_eq!(list.iter().map(|s| s.0).collect::<Vec<_>>(), [1000, 90]);
        assert_eq!(read_snapshot(&list[0].1).unwrap(), b"state 1000");
        let mut bytes = std::fs::read(&list[0].1).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&list[0].1, bytes).unwrap();
        assert!(read_snapshot(&list[0].1).is_err());
        assert_eq!(read_snapshot(&list[1].1).unwrap(), b"state 90");
    }
}
