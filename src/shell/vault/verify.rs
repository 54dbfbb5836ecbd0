//! Proves a journal's folder from its bytes: every record, every footer, every checkpoint, and the small files beside them.
//!
//! One contract: `faults` is empty only if every byte of the folder's files is accounted for and what was signed is there. What
//! could not be looked at (payloads whose key is not known, records that retention has deleted) is counted and said.
//!
//! Two segments at a time are in memory, each unpacked and hashed on a thread of its own. The folder is only read; the service
//! that owns it may run: what does not fit then is looked at again before it is said.

use super::checkpoint::{CHECKPOINTS, Checkpoint, CheckpointError, keys_in, parse_all, read};
use super::verifier::{KeyProblem, Verifier};
use crate::alert::hex;
use crate::shell::journal::proof::{Asked, Proven, Segments, damaged_notes};
use crate::shell::journal::{self, JournalError, Torn};
use crate::time::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Faults that are told at most; the first ones are.
const FAULTS_MAX: usize = 100;
/// Records may be so long without a checkpoint, seconds: five times what the service needs.
const UNSIGNED_MAX_S: f64 = 300.0;
/// Segments that are looked at at the same time.
const THREADS_MAX: usize = 2;
/// A running service's folder is looked at so often before a fault is believed.
const LOOKS: usize = 3;

/// A head that somebody has kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Number of a record, and the first bytes of its hash, as `sys/info` says them.
    Head(u64, Vec<u8>),
    /// A copy of a checkpoint.
    Checkpoint(Box<Checkpoint>),
}

/// What is believed, and what is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keys that are believed; `None`: those that lie in the folder, whosever they are.
    pub keys: Option<Verifier>,
    /// Checks the HMAC of footers.
    pub site_key: Option<Vec<u8>>,
    /// Heads that must be in this journal.
    pub kept: Vec<Kept>,
    /// A journal without any checkpoint is not a fault.
    pub unsigned: bool,
}

/// What does not fit, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misfit {
    pub file: String,
    /// Offset of the first byte, in a packed segment that of the unpacked bytes.
    pub offset: u64,
    /// Record that was expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    pub what: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, offset {}", self.file, self.offset)?;
        if let Some(record) = self.record {
            write!(f, ", record {record}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    pub folder: PathBuf,
    /// First and last record; `None`: there is none.
    pub range: Option<(u64, u64)>,
    /// Time of the first and of the last record.
    pub times: Option<(String, String)>,
    pub segments: usize,
    pub records: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// The chain's hash after the last record, hex.
    pub head: String,
    /// Footers with and without the site's HMAC.
    pub footers_signed: usize,
    pub footers_unsigned: usize,
    pub checkpoints: usize,
    /// Checkpoints of records that are not kept any more.
    pub checkpoints_past: usize,
    /// The last record that a checkpoint covers.
    pub signed_until: u64,
    /// Records behind it: their order is proven, not whose they are.
    pub unsigned_records: u64,
    /// Ids of the keys that signed, each with its number of checkpoints.
    pub keys: BTreeMap<String, usize>,
    /// The keys were given, and not taken from the folder.
    pub keys_given: bool,
    /// Records that retention has deleted between records that are held: first and last.
    pub gaps: Vec<(u64, u64)>,
    /// Encryption keys that are not known here, each with the payloads that were not opened.
    pub locked: BTreeMap<String, u64>,
    /// What was cut off by a crash and stands behind the last record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn: Option<u64>,
    /// Files that are not the journal's.
    pub strangers: Vec<String>,
    pub faults: Vec<Misfit>,
}

impl Report {
    /// Whether everything fits.
    pub fn is_proven(&self) -> bool {
        self.faults.is_empty()
    }
    fn wrong(&mut self, file: &str, offset: u64, record: Option<u64>, what: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Misfit { file: file.to_owned(), offset, record, what: what.into() });
        }
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Checkpoints(#[from] CheckpointError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no journal")]
    NoJournal { path: PathBuf },
}

/// The journal of a folder: itself, or of a data folder.
pub fn journal_folder(folder: &Path) -> Option<PathBuf> {
    let inner = folder.join("journal");
    let holds = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    name.contains(".vgj") || name == CHECKPOINTS || name == "journal.lock"
                })
            })
        })
    };
    [folder.to_owned(), inner].into_iter().find(|folder| holds(folder))
}

/// Proves a folder.
pub fn verify(folder: &Path, options: &Options) -> Result<Report, VerifyError> {
    let folder = journal_folder(folder).ok_or_else(|| VerifyError::NoJournal { path: folder.to_owned() })?;
    let mut report = look(&folder, options)?;
    for _ in 1..LOOKS {
        if report.is_proven() || !journal::is_held(&folder) {
            break;
        }
        report = look(&folder, options)?;
    }
    Ok(report)
}

fn look(folder: &Path, options: &Options) -> Result<Report, VerifyError> {
    let mut report = Report { folder: folder.to_owned(), keys_given: options.keys.is_some(), ..Report::default() };
    // First of all: what is signed now is on the disk already.
    let held = journal::is_held(folder);
    let bytes = read(folder)?;
    let (list, damaged) = parse_all(&bytes);
    let (in_folder, bad_keys) = keys_in(folder)?;
    let keys = options.keys.as_ref().unwrap_or(&in_folder);
    let mut signed: Vec<(u64, Vec<u8>)> = list.iter().map(|(_, c)| (c.size, c.head.to_vec())).collect();
    for kept in &options.kept {
        signed.push(match kept {
            Kept::Head(size, head) => (*size, head.clone()),
            Kept::Checkpoint(checkpoint) => (checkpoint.size, checkpoint.head.to_vec()),
        });
    }
    signed.sort();
    report.signed_until = list.iter().map(|(_, c)| c.size).max().unwrap_or(0);
    let segments = Segments::of(folder)?;
    let proven = prove_all(folder, &segments, &signed, report.signed_until, options)?;
    let end = join(&mut report, &proven, &signed);
    report.unsigned_records = report.records;
    if !list.is_empty() {
        covered(&mut report, &proven);
    }
    if let Some(offset) = damaged {
        report.wrong(CHECKPOINTS, offset, None, "no checkpoint can be read here");
    }
    book(&mut report, &list, keys, &segments, end.first);
    for kept in &options.kept {
        outside(&mut report, kept, keys, &end);
    }
    if list.is_empty() && !options.unsigned {
        report.wrong(CHECKPOINTS, 0, None, "there is no checkpoint: nobody has signed this journal, or they were removed");
    }
    for name in bad_keys {
        report.wrong(&name, 0, None, "not the public key that its name says");
    }
    beside(&mut report, folder, held, end.last)?;
    Ok(report)
}

fn prove_all(
    folder: &Path,
    segments: &Segments,
    signed: &[(u64, Vec<u8>)],
    signed_until: u64,
    options: &Options,
) -> Result<Vec<Proven>, VerifyError> {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, std::io::Result<Proven>)>> = Mutex::default();
    let work = || {
        let mut buffers = (Vec::new(), Vec::new());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= segments.len() {
                return;
            }
            let asked = Asked { limit: segments.first(at + 1), site_key: options.site_key.as_deref(), signed, signed_until };
            let proven = segments.prove(at, &asked, &mut buffers);
            found.lock().push((at, proven));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(segments.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner();
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, proven)| proven.map_err(|source| VerifyError::Io { path: folder.to_owned(), source })).collect()
}

/// The ends of a journal.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    first: u64,
    last: u64,
    /// The hash before the first record.
    before: [u8; 32],
}

/// Puts the segments together.
fn join(report: &mut Report, proven: &[Proven], signed: &[(u64, Vec<u8>)]) -> End {
    let mut end = End::default();
    let mut before: Option<&Proven> = None;
    let (mut first_at, mut last_at): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    // Retention takes the oldest ones; nothing goes in between.
    for segment in proven.iter().skip_while(|segment| segment.vanished) {
        if segment.vanished {
            report.wrong("", 0, before.map(|b| b.next), "a segment vanished while it was read");
            continue;
        }
        match before {
            None => {
                (end.first, end.before) = (segment.first, segment.previous);
                end.last = segment.first.saturating_sub(1);
                if segment.first == 1 && segment.previous != [0; 32] && segment.fault.is_none() {
                    report.wrong(&segment.name, 24, Some(1), "the first record follows nothing");
                }
            }
            Some(before) if before.fault.is_none() => {
                if before.next != segment.first {
                    report.wrong(&segment.name, 0, Some(before.next), "a segment before this one is missing");
                } else if before.hash != segment.previous && segment.fault.as_ref().is_none_or(|fault| fault.offset > 0) {
                    report.wrong(&segment.name, 24, Some(before.next), "does not continue the chain of the segment before");
                }
            }
            Some(_) => {}
        }
        if let Some(fault) = &segment.fault {
            report.wrong(&fault.segment, fault.offset, Some(fault.sequence), fault.what);
        }
        if let Some(Torn { segment: name, offset, bytes }) = &segment.torn {
            report.torn = Some(*bytes);
            report.wrong(
                name,
                *offset,
                Some(segment.next),
                format!("{bytes} bytes that belong to no record: a crash leaves such, or a change"),
            );
        }
        if segment.last_at.zip(last_at).is_some_and(|_| segment.first_at < last_at) {
            report.wrong(&segment.name, 0, Some(segment.first), "its time is before that of the segment before");
        }
        first_at = first_at.or(segment.first_at);
        last_at = segment.last_at.or(last_at);
        match segment.footer {
            Some(true) => report.footers_signed += 1,
            Some(false) => report.footers_unsigned += 1,
            None => {}
        }
        if segment.gone {
            report.gaps.push((segment.first, segment.next.saturating_sub(1)));
        } else {
            report.segments += 1;
        }
        if let Some(key) = segment.locked.as_ref().filter(|_| segment.unopened > 0) {
            *report.locked.entry(key.clone()).or_default() += segment.unopened;
        }
        report.records += segment.records;
        report.bytes += segment.bytes;
        report.head = hex(&segment.hash);
        end.last = segment.next.saturating_sub(1);
        before = Some(segment);
    }
    if report.records > 0 {
        report.range = Some((end.first, end.last));
        report.times = first_at.zip(last_at).map(|(first, last)| (first.to_string(), last.to_string()));
    }
    let last_name = before.map_or_else(String::new, |segment| segment.name.clone());
    let end_offset = before.map_or(0, |segment| segment.bytes);
    // What is missing at the end, nothing in the segments tells.
    if let Some((sequence, _)) = signed.last().filter(|(sequence, _)| *sequence > end.last)
        && before.is_none_or(|segment| segment.fault.is_none())
    {
        let what =
            format!("the journal ends here; record {sequence} was signed: what follows was removed, or the folder set back");
        report.wrong(&last_name, end_offset, Some(end.last.saturating_add(1)), what);
    }
    // The hash before the first record that is kept may be signed, too.
    let mismatch =
        signed.iter().any(|(sequence, hash)| sequence.checked_add(1) == Some(end.first) && !end.before.starts_with(hash));
    if mismatch && before.is_some() {
        report.wrong(&proven[0].name, 24, Some(end.first), "does not follow the record whose hash was signed");
    }
    end
}

/// Whether what ought to be signed is.
fn covered(report: &mut Report, proven: &[Proven]) {
    let until = report.signed_until;
    let last = proven.iter().rev().find_map(|segment| segment.last_at);
    let first = proven.iter().find_map(|segment| segment.unsigned);
    report.unsigned_records = report.range.map_or(0, |(first, last)| last.saturating_sub(until.max(first.saturating_sub(1))));
    let closed = proven.iter().rfind(|s| s.footer.is_some() && !s.gone && s.records > 0 && s.next > until.saturating_add(1));
    if let Some(segment) = closed {
        let what = format!(
            "a closed segment is signed before it is closed; the last checkpoint covers record {until}: later ones were removed, or nobody could sign"
        );
        report.wrong(&segment.name, segment.bytes, Some(until.saturating_add(1)), what);
    } else if let (Some((record, at)), Some(last)) = (first, last)
        && last.since_s(at) > UNSIGNED_MAX_S
    {
        let what = format!(
            "records of {:.0} s are behind the last checkpoint (record {until}): later ones were removed, or nobody could sign",
            last.since_s(at)
        );
        report.wrong(CHECKPOINTS, 0, Some(record), what);
    }
}

/// The checkpoints themselves.
fn book(report: &mut Report, list: &[(u64, Checkpoint)], keys: &Verifier, segments: &Segments, first: u64) {
    report.checkpoints = list.len();
    let mut before: Option<&Checkpoint> = None;
    let mut known: Option<KeyProblem> = None;
    for (offset, checkpoint) in list {
        let number = checkpoint.number;
        let mut wrong =
            |what: String| report.wrong(CHECKPOINTS, *offset, Some(checkpoint.size), format!("checkpoint {number}: {what}"));
        match checkpoint.verify(keys) {
            Ok(key) => {
                let id = key.id.clone();
                *report.keys.entry(id).or_default() += 1;
            }
            // One key that is not there is one fault, however much it has signed.
            Err(problem) if known.as_ref() == Some(&problem) => {}
            Err(problem) => {
                wrong(problem.to_string());
                known = Some(problem);
            }
        }
        let mut wrong =
            |what: String| report.wrong(CHECKPOINTS, *offset, Some(checkpoint.size), format!("checkpoint {number}: {what}"));
        match before {
            None if number == 1 && checkpoint.previous != [0; 32] => wrong("the first one follows nothing".into()),
            None if number > 1 && checkpoint.size >= first.max(1) => {
                wrong("those before it were removed, and the records that they cover are here".into());
            }
            Some(before) if before.number.checked_add(1) != Some(number) => {
                wrong(format!("follows checkpoint {}: some were removed or exchanged", before.number));
            }
            Some(before) if before.hash() != checkpoint.previous => wrong("does not continue the one before".into()),
            Some(before) if checkpoint.size < before.size => {
                wrong(format!(
                    "goes back to record {} after record {}: the journal was set back and went on",
                    checkpoint.size, before.size
                ));
            }
            Some(before) if checkpoint.at < before.at => wrong("its time is before that of the one before".into()),
            _ => {}
        }
        report.checkpoints_past += usize::from(checkpoint.size > 0 && checkpoint.size.saturating_add(1) < first);
        before = Some(checkpoint);
    }
    let oldest = segments.oldest();
    if let Some(last) = before.filter(|last| last.oldest > 0 && (oldest > last.oldest || oldest == 0)) {
        let what = format!(
            "segments before record {} are missing: the last checkpoint says that the journal begins with record {}",
            oldest.max(last.oldest.saturating_add(1)),
            last.oldest
        );
        report.wrong(&format!("{:020}.vgj", last.oldest), 0, Some(last.oldest), what);
    }
}

/// A head that was kept elsewhere; its hash was compared on the way.
fn outside(report: &mut Report, kept: &Kept, keys: &Verifier, end: &End) {
    let (size, name) = match kept {
        Kept::Head(size, _) => (*size, "the head that was given"),
        Kept::Checkpoint(checkpoint) => {
            if let Err(problem) = checkpoint.verify(keys) {
                report.wrong("the checkpoint that was given", 0, Some(checkpoint.size), problem.to_string());
            }
            (checkpoint.size, "the checkpoint that was given")
        }
    };
    let in_gap = report.gaps.iter().any(|(first, last)| (*first..=*last).contains(&size));
    if size > 0 && (size.saturating_add(1) < end.first || in_gap) {
        report.wrong(name, 0, Some(size), "its record is not kept any more: nothing can be said of it");
    }
}

/// Everything else in the folder.
fn beside(report: &mut Report, folder: &Path, held: bool, last: u64) -> Result<(), VerifyError> {
    let io = |source| VerifyError::Io { path: folder.to_owned(), source };
    for (name, what) in damaged_notes(folder).map_err(io)? {
        report.wrong(&name, 0, None, what);
    }
    let past = journal::past(folder)?.into_iter().map(|past| (past.sequence, past.path));
    for (sequence, path) in journal::latest_snapshots(folder)?.into_iter().chain(past) {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        match journal::check_snapshot(&path) {
            Ok(None) => {}
            Ok(Some(key)) => *report.locked.entry(key).or_default() += 1,
            // A running service has replaced it.
            Err(JournalError::Io { source, .. }) if held && source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => report.wrong(&name, 0, None, error.to_string()),
        }
        if sequence > last && !held {
            let what = format!("holds the state after record {sequence}; the journal ends at record {last}: it was set back");
            report.wrong(&name, 0, Some(last.saturating_add(1)), what);
        }
    }
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        let ours =
            [".vgj", ".vgj.zst", ".vgj.gone"].iter().any(|e| name.strip_suffix(e).is_some_and(|n| n.parse::<u64>().is_ok()))
                || ["snapshot-", "hold-", "torn-", "key-"].iter().any(|p| name.starts_with(p))
                || [CHECKPOINTS, "quarantine", "journal.lock", "past"].contains(&name.as_str())
                || (held && name.ends_with(".tmp"));
        // What a crash left beside a segment that was sealed: the next start deletes it.
        let twin = !held && name.ends_with(".vgj") && folder.join(format!("{name}.zst")).exists();
        if !ours || twin {
            report.strangers.push(name);
        }
    }
    report.strangers.sort();
    Ok(())
}
