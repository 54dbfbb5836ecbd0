//! Snapshots of the core's state: `snapshot-{sequence}.bin`, written whole or not at all, the last two kept.

use super::JournalError;
use super::cipher::{EncryptionKey, Lock, known};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// First bytes of a snapshot file; the SHA-256 of the rest follows.
const MAGIC: &[u8; 8] = b"VGSNAP\x01\n";
/// The same, and then key id, salt, and the sealed state.
const MAGIC_SEALED: &[u8; 8] = b"VGSNAP\x02\n";
/// Largest snapshot that is read, bytes.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;
/// Snapshots kept.
const KEPT: usize = 2;

/// Writes a file so that after a crash there is the old content or the new one: temporary file, fsync, rename, fsync of the folder.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    write_with(path, bytes, &mut File::options())
}

/// The same, readable by us alone.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_with(path, bytes, &mut options)
}

fn write_with(path: &Path, bytes: &[u8], options: &mut std::fs::OpenOptions) -> Result<(), JournalError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut write = || {
        let mut file = options.write(true).create(true).truncate(true).open(&temporary)?;
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

/// A state as a file holds it: with a checksum, and sealed where there is a key.
pub(super) fn pack(state: &[u8], encryption: Option<&EncryptionKey>) -> Result<Vec<u8>, JournalError> {
    let mut rest = Vec::with_capacity(120 + state.len());
    match encryption {
        None => rest.extend_from_slice(state),
        Some(key) => {
            let mut sealing = key.sealer().ok_or(JournalError::Random)?;
            rest.extend_from_slice(&sealing.lock.key_id);
            rest.extend_from_slice(&sealing.lock.salt);
            sealing.seal(MAGIC_SEALED, &Sha256::digest(state).into(), state, &mut rest);
        }
    }
    let mut bytes = Vec::with_capacity(40 + rest.len());
    bytes.extend_from_slice(if encryption.is_some() { MAGIC_SEALED } else { MAGIC });
    bytes.extend_from_slice(&Sha256::digest(&rest));
    bytes.append(&mut rest);
    Ok(bytes)
}

/// Writes the snapshot that holds everything up to and including `sequence`, and deletes all but the newest two.
///
/// With a key it is sealed.
pub fn write_snapshot(
    folder: &Path,
    sequence: u64,
    state: &[u8],
    encryption: Option<&EncryptionKey>,
) -> Result<PathBuf, JournalError> {
    let path = folder.join(format!("snapshot-{sequence:020}.bin"));
    write_atomic(&path, &pack(state, encryption)?)?;
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
    match open_snapshot(path)? {
        Opened::State(state) => Ok(state),
        Opened::Locked(needed) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(JournalError::NoKey { file, needed, known: known() })
        }
    }
}

/// Whether a snapshot file is whole; the id of its key, where that is not known and the inside was not looked at.
pub(in crate::shell) fn check_snapshot(path: &Path) -> Result<Option<String>, JournalError> {
    match open_snapshot(path)? {
        Opened::State(_) => Ok(None),
        Opened::Locked(key) => Ok(Some(key)),
    }
}

enum Opened {
    State(Vec<u8>),
    Locked(String),
}

fn open_snapshot(path: &Path) -> Result<Opened, JournalError> {
    let mut bytes = super::proof::read_small(path, SNAPSHOT_BYTES_MAX).map_err(JournalError::io(path))?;
    let bad = |what| JournalError::Snapshot { path: path.to_owned(), what };
    let sealed = bytes.starts_with(MAGIC_SEALED);
    if bytes.len() < 40 || (!sealed && &bytes[..8] != MAGIC) {
        return Err(bad("not a snapshot"));
    }
    if Sha256::digest(&bytes[40..])[..] != bytes[8..40] {
        return Err(bad("damaged snapshot: its checksum does not fit"));
    }
    if !sealed {
        bytes.drain(..40);
        return Ok(Opened::State(bytes));
    }
    let head = bytes[40..].split_first_chunk::<8>().and_then(|(key_id, rest)| Some((key_id, rest.split_first_chunk::<16>()?)));
    let (key_id, (salt, sealed)) = head.ok_or_else(|| bad("damaged snapshot: too short"))?;
    let lock = Lock { key_id: *key_id, salt: *salt };
    let Some(opener) = lock.opener() else { return Ok(Opened::Locked(lock.key_name())) };
    let state =
        opener.open(MAGIC_SEALED, sealed).ok_or_else(|| bad("the snapshot does not open with its key: it was changed"))?;
    Ok(Opened::State(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_snapshots_are_kept_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for n in [5_u64, 90, 1000] {
            write_snapshot(folder.path(), n, format!("state {n}").as_bytes(), None).unwrap();
        }
        let list = latest_snapshots(folder.path()).unwrap();
        assert_eq!(list.iter().map(|s| s.0).collect::<Vec<_>>(), [1000, 90]);
        assert_eq!(read_snapshot(&list[0].1).unwrap(), b"state 1000");
        let mut bytes = std::fs::read(&list[0].1).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&list[0].1, bytes).unwrap();
        assert!(read_snapshot(&list[0].1).is_err());
        assert_eq!(read_snapshot(&list[1].1).unwrap(), b"state 90");
        let key = std::sync::Arc::new(EncryptionKey::new([3; 32]));
        let sealed = write_snapshot(folder.path(), 2000, b"INVENTED state", Some(&key)).unwrap();
        assert!(!std::fs::read(&sealed).unwrap().windows(8).any(|w| w == b"INVENTED"));
        let Err(JournalError::NoKey { needed, .. }) = read_snapshot(&sealed) else { panic!("read without its key") };
        assert_eq!(needed, key.id());
        super::super::unlock(&[key]);
        assert_eq!(read_snapshot(&sealed).unwrap(), b"INVENTED state");
    }
}
