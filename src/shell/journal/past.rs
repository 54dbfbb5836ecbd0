//! States of the past: what an explanation starts from, so that an alert of any hour is derived again in seconds.
//!
//! They lie in `past/` beside the segments, packed (snapshots of the zstd frame), named `{time of the state, ms}-{sequence}.zst`, and nothing else depends on
//! them: whoever loses them waits longer for an explanation. The time in the name only says where to look; the state has its own.
//! All of the last day are kept, before that one an hour, none that is older than the oldest record, and at most so many bytes:
//! then the oldest go first. The state from which what is held goes on stays with the hold, in half of that room.

use super::cipher::EncryptionKey;
use super::hold::holds;
use super::snapshot::{latest_snapshots, pack, read_snapshot, write_atomic};
use super::{JournalError, walk};
use crate::time::Timestamp;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What is judged again begins so long before where there is a state, seconds: a page shows at least that much.
const LEAD_S: f64 = 300.0;
/// All are kept so long, ms.
const ALL_MS: i64 = 86_400_000;
/// Older ones are kept once in so long, ms.
const THEN_EVERY_MS: i64 = 3_600_000;
/// zstd's fastest: it is done beside the intake.
const LEVEL: i32 = 1;
/// A state is not believed to be larger, bytes.
const STATE_BYTES_MAX: u64 = 4 << 30;

/// A state of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub at: Timestamp,
    /// The last record that it holds.
    pub sequence: u64,
    pub path: PathBuf,
}

impl Past {
    /// The state, if it is whole.
    pub fn read(&self) -> Result<Vec<u8>, JournalError> {
        let packed = read_snapshot(&self.path)?;
        let mut state = Vec::new();
        zstd::stream::read::Decoder::new(&packed[..])
            .and_then(|unpacked| unpacked.take(STATE_BYTES_MAX).read_to_end(&mut state))
            .map_err(JournalError::io(&self.path))?;
        Ok(state)
    }
}

/// A state that is there, of the past or one of the newest.
#[derive(Debug, Clone)]
struct Standing {
    /// The last record that it holds.
    sequence: u64,
    /// Its time, where the name has it.
    at: Option<Timestamp>,
    path: PathBuf,
}

impl Standing {
    /// Whether it may be from before that time: the state itself has its own.
    fn may_precede(&self, time: Timestamp) -> bool {
        self.at.is_none_or(|at| at < time)
    }
    /// The state, if it is whole.
    fn read(&self) -> Result<Vec<u8>, JournalError> {
        match self.at {
            Some(at) => Past { at, sequence: self.sequence, path: self.path.clone() }.read(),
            None => read_snapshot(&self.path),
        }
    }
}

/// Every state that is there, newest first.
fn standing(folder: &Path) -> Result<Vec<Standing>, JournalError> {
    let past = past(folder)?.into_iter().map(|p| Standing { sequence: p.sequence, at: Some(p.at), path: p.path });
    let newest = latest_snapshots(folder)?.into_iter().map(|(sequence, path)| Standing { sequence, at: None, path });
    let mut list: Vec<Standing> = past.chain(newest).collect();
    list.sort_by_key(|state| std::cmp::Reverse(state.sequence));
    Ok(list)
}

/// What `take` makes of the newest state that is some minutes older than `time`, or else of one that is older at all, and the
/// first record that this state does not hold. `take` is given a state and the time before which it must be; it breaks with what
/// it made, or with nothing where it gives up, and goes on where the state is none for it.
pub fn before<T>(
    folder: &Path,
    time: Timestamp,
    mut take: impl FnMut(&[u8], Timestamp) -> ControlFlow<Option<T>>,
) -> Result<Option<(T, u64)>, JournalError> {
    let standing = standing(folder)?;
    for before in [time.plus_s(-LEAD_S), time] {
        for state in standing.iter().filter(|state| state.may_precede(before)) {
            let Ok(bytes) = state.read() else { continue };
            if let ControlFlow::Break(taken) = take(&bytes, before) {
                return Ok(taken.map(|taken| (taken, state.sequence + 1)));
            }
        }
    }
    Ok(None)
}

fn below(folder: &Path) -> PathBuf {
    folder.join("past")
}

/// What is kept, newest first.
pub fn past(folder: &Path) -> Result<Vec<Past>, JournalError> {
    let folder = below(folder);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(JournalError::io(&folder))?,
    };
    let mut list = Vec::new();
    for entry in entries {
        let path = entry.map_err(JournalError::io(&folder))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".zst")?.split_once('-'));
        if let Some((at, sequence)) = name.and_then(|(at, sequence)| Some((at.parse().ok()?, sequence.parse().ok()?))) {
            list.push(Past { at: Timestamp::from_ms(at), sequence, path });
        }
    }
    list.sort_by_key(|past| std::cmp::Reverse(past.sequence));
    Ok(list)
}

/// Keeps a state, and deletes what need not be kept any more: at most `bytes_max` stay. None is kept where that is 0.
///
/// With a key it is sealed.
pub fn keep(
    folder: &Path,
    at: Timestamp,
    sequence: u64,
    state: &[u8],
    bytes_max: u64,
    encryption: Option<&EncryptionKey>,
) -> Result<(), JournalError> {
    if bytes_max > 0 {
        let folder = below(folder);
        std::fs::create_dir_all(&folder).map_err(JournalError::io(&folder))?;
        let path = folder.join(format!("{}-{sequence}.zst", at.ms()));
        let packed = zstd::stream::encode_all(state, LEVEL).map_err(JournalError::io(&path))?;
        write_atomic(&path, &pack(&packed, encryption)?)?;
    }
    let oldest = walk::list(folder)?.iter().find(|file| !file.gone).map_or(0, |file| file.first_sequence);
    let held: Vec<u64> = holds(folder)?.into_iter().map(|hold| hold.first).collect();
    let size_of = |past: &Past| std::fs::metadata(&past.path).map_or(0, |meta| meta.len());
    let (mut bytes, mut hour) = (0u64, None);
    let (pinned, others): (Vec<Past>, Vec<Past>) =
        self::past(folder)?.into_iter().partition(|past| past.sequence + 1 >= oldest && held.contains(&(past.sequence + 1)));
    for past in pinned {
        if bytes + size_of(&past) <= bytes_max / 2 {
            bytes += size_of(&past);
        } else {
            std::fs::remove_file(&past.path).map_err(JournalError::io(&past.path))?;
        }
    }
    for past in others {
        let size = size_of(&past);
        let this_hour = past.at.ms().div_euclid(THEN_EVERY_MS);
        let wanted = at.since_ms(past.at) <= ALL_MS || hour.replace(this_hour) != Some(this_hour);
        if wanted && past.sequence + 1 >= oldest && bytes + size <= bytes_max {
            bytes += size;
        } else {
            std::fs::remove_file(&past.path).map_err(JournalError::io(&past.path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn minutes(folder: &Path, now: i64) -> Vec<i64> {
        past(folder).unwrap().iter().map(|past| now - past.at.ms() / MINUTE_MS).collect()
    }

    #[test]
    fn a_day_is_kept_whole_before_it_one_an_hour_and_never_more_than_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let state: Vec<u8> = (0..2_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        // A state every 20 min for 30 h.
        let now = 30 * 60;
        for minute in (0..=now).step_by(20) {
            let at = Timestamp::from_ms(minute * MINUTE_MS);
            keep(folder.path(), at, 1 + minute as u64, &state, 1 << 30, None).unwrap();
        }
        let kept = minutes(folder.path(), now);
        assert_eq!(kept.iter().filter(|ago| **ago <= 24 * 60).count(), 24 * 3 + 1);
        assert_eq!(kept.iter().filter(|ago| **ago > 24 * 60).count(), 6, "{kept:?}");
        assert_eq!(past(folder.path()).unwrap()[3].read().unwrap(), state);
        // Room for ten of them: the newest.
        let size = std::fs::metadata(&past(folder.path()).unwrap()[0].path).unwrap().len();
        let at = Timestamp::from_ms((now + 20) * MINUTE_MS);
        keep(folder.path(), at, 2_000, &state, 10 * size + size / 2, None).unwrap();
        assert_eq!(minutes(folder.path(), now + 20), (0..10).map(|n| n * 20).collect::<Vec<_>>());
        // None are wanted.
        keep(folder.path(), at, 2_001, &state, 0, None).unwrap();
        assert!(past(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn the_state_from_which_what_is_held_goes_on_stays_with_the_hold() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{:020}.vgj", 1)), b"").unwrap();
        let state = vec![7; 1_000];
        let put = |minute: i64| {
            keep(folder.path(), Timestamp::from_ms(minute * MINUTE_MS), 100 + minute as u64, &state, 1 << 20, None).unwrap();
        };
        for minute in 0..4 {
            put(minute);
        }
        super::super::hold(folder.path(), "case-1", 102, 110).unwrap();
        put(40 * 60);
        let kept = minutes(folder.path(), 40 * 60);
        assert_eq!(kept, [0, 2_400 - 3, 2_400 - 1], "the newest of its hour, and the one that ends before record 102");
        super::super::release(folder.path(), "case-1").unwrap();
        put(41 * 60);
        assert_eq!(past(folder.path()).unwrap().len(), 3);
    }

    #[test]
    fn what_reaches_back_behind_the_oldest_record_goes_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{:020}.vgj", 500)), b"").unwrap();
        for sequence in [100, 498, 499, 600] {
            keep(folder.path(), Timestamp::from_ms(sequence as i64), sequence, b"state", 1 << 20, None).unwrap();
        }
        let list = past(folder.path()).unwrap();
        assert_eq!(list.iter().map(|past| past.sequence).collect::<Vec<_>>(), [600, 499]);
        let bytes = std::fs::read(&list[0].path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            std::fs::write(&list[0].path, bad).unwrap();
            assert!(list[0].read().is_err(), "byte {at}");
        }
    }
}
