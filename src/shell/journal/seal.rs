//! The journal's second thread: makes the next segment, seals old ones (footer, zstd), deletes what need not be kept.

use super::Options;
use super::hold::{Hold, Reach, holds};
use super::segment::{FOOTER, Footer, Header, create_zeroed, raw};
use super::snapshot::{latest_snapshots, sync_folder};
use super::walk::{Found, SegmentFile, Walk, list, load, segment_path};
use super::write_atomic;
use super::writer::Shared;
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Retention is looked at so often, seconds.
const RETAIN_EVERY_S: u64 = 60;
/// zstd level: 3 is the library's default; higher costs time that the intake's core may need.
const ZSTD_LEVEL: i32 = 3;

/// Head of a skippable zstd frame of four bytes: the CRC-32 of all packed bytes before it. Unpackers pass over it; we check it,
/// for a few bits of a zstd frame can change without changing what is unpacked, and evidence is the file as it is.
const SKIPPABLE: [u8; 8] = [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0];

/// Whether packed bytes are as they were written.
pub(super) fn check_packed(packed: &[u8]) -> bool {
    let Some((rest, crc)) = packed.split_last_chunk::<4>() else { return false };
    rest.strip_suffix(&SKIPPABLE).is_some_and(|frame| crc32fast::hash(frame) == u32::from_le_bytes(*crc))
}

/// Work that can wait.
pub(super) enum Job {
    /// A zeroed file for the next segment, bytes.
    Prepare(u64),
    /// Footer and zstd for the segment of these records (first, and first of the next one).
    Seal(u64, u64),
    /// Footer only: the service stops.
    Close(u64, u64),
}

struct Prepared {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// What the second thread needs; the first one calls [`Keeper::retain`] too.
struct Keeper {
    shared: Arc<Shared>,
    options: Options,
    prepared: Mutex<Option<Prepared>>,
}

pub(super) struct Sealer {
    keeper: Arc<Keeper>,
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    preparing: bool,
}

impl Sealer {
    pub fn start(shared: Arc<Shared>, options: &Options) -> io::Result<Sealer> {
        let keeper = Arc::new(Keeper { shared, options: options.clone(), prepared: Mutex::new(None) });
        let (jobs, receiver) = channel();
        let of_thread = keeper.clone();
        let thread = std::thread::Builder::new().name("journal-seal".into()).spawn(move || of_thread.run(&receiver))?;
        Ok(Sealer { keeper, jobs: Some(jobs), thread: Some(thread), preparing: false })
    }
    pub fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
    /// Asks for the next segment's file, once.
    pub fn prepare(&mut self, bytes: u64) {
        if !self.preparing {
            self.preparing = true;
            self.send(Job::Prepare(bytes));
        }
    }
    pub fn take_prepared(&mut self, needed: u64) -> Option<(File, PathBuf, u64)> {
        self.preparing = false;
        let prepared = self.keeper.prepared.lock().take()?;
        if prepared.bytes < needed {
            let _ = std::fs::remove_file(&prepared.path);
            return None;
        }
        Some((prepared.file, prepared.path, prepared.bytes))
    }
    /// Deletes what may go; how many files went.
    pub fn retain_now(&self) -> usize {
        self.keeper.retain()
    }
    /// Finishes what was asked for.
    pub fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(prepared) = self.keeper.prepared.lock().take() {
            let _ = std::fs::remove_file(&prepared.path);
        }
    }
}

impl Keeper {
    fn run(&self, jobs: &Receiver<Job>) {
        if let Err(error) = clear_twins(&self.shared.folder) {
            tracing::warn!(%error, "journal: what a crash left beside a sealed segment stays");
        }
        self.retain();
        let mut made = 0_u64;
        loop {
            let job = jobs.recv_timeout(Duration::from_secs(RETAIN_EVERY_S));
            let folder = &self.shared.folder;
            match job {
                Ok(Job::Prepare(bytes)) => {
                    if self.prepared.lock().is_some() {
                        continue;
                    }
                    // A name of its own: the writer may be renaming the one made before at this very moment.
                    made += 1;
                    let path = folder.join(format!("next-{made}.tmp"));
                    match create_zeroed(&path, bytes, bytes.min(64 << 10)) {
                        Ok((file, bytes)) => *self.prepared.lock() = Some(Prepared { file, path, bytes }),
                        Err(error) => tracing::warn!(%error, "journal: cannot make the next segment yet"),
                    }
                    continue;
                }
                Ok(Job::Seal(first, next) | Job::Close(first, next)) => {
                    let pack = matches!(job, Ok(Job::Seal(..)));
                    // What has a footer was signed before.
                    self.shared.sign("seal");
                    if let Err(error) = seal(folder, first, next, self.options.key.as_deref(), pack) {
                        tracing::error!(%error, segment = first, "journal: cannot seal a segment; it stays as it is");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.retain();
        }
    }

    fn retain(&self) -> usize {
        let now = Timestamp::from_ms((self.options.clock)().wall_ms);
        let deleted = retain(&self.shared.folder, now, self.options.retain_days, self.options.retain_bytes);
        let kept = deleted.and_then(|n| Ok((n, list(&self.shared.folder).map_err(io::Error::other)?)));
        match kept {
            Ok((n, files)) => {
                if n > 0 {
                    self.shared.ask("retention");
                }
                let mut numbers = self.shared.numbers.lock();
                numbers.oldest = files.iter().find(|f| !f.gone).map_or(0, |f| f.first_sequence);
                numbers.disk_bytes = files.iter().map(size).sum();
                n
            }
            Err(error) => {
                tracing::warn!(%error, "journal: retention could not be looked at");
                0
            }
        }
    }
}

fn size(file: &SegmentFile) -> u64 {
    std::fs::metadata(&file.path).map_or(0, |m| m.len())
}

/// Gives a segment its footer where it has none, and packs it.
///
/// Reads it back through every check first: a segment that is not whole is left alone for `verify` to report.
fn seal(folder: &Path, first_sequence: u64, next_sequence: u64, key: Option<&[u8]>, pack: bool) -> io::Result<()> {
    let files = list(folder).map_err(io::Error::other)?;
    let Some(at) = files.iter().position(|f| f.first_sequence == first_sequence && !f.sealed && !f.gone) else { return Ok(()) };
    let (bytes, _) = load(&files[at])?;
    let header = Header::decode(&bytes).ok_or_else(|| io::Error::other("the header is damaged"))?;
    let mut walk = Walk::new(&header, Some(next_sequence));
    let mut last_at_ms = header.created_ms;
    let footer = loop {
        match walk.step(&bytes) {
            Found::Record(record) => last_at_ms = record.stamp.at.ms(),
            Found::Footer(_) => break None,
            Found::End => {
                let mut footer = Footer {
                    first_sequence,
                    count: walk.count(),
                    first_hash: walk.first_hash(),
                    last_hash: walk.hash,
                    last_at_ms,
                    mac: None,
                };
                footer.sign(key);
                break Some(footer.encode());
            }
            Found::Broken(what) | Found::Wrong(what) => return Err(io::Error::other(format!("offset {}: {what}", walk.offset))),
        }
    };
    let path = &files[at].path;
    let records = walk.offset;
    let packed_bytes = match &footer {
        Some(footer) => {
            let mut file = File::options().write(true).open(path)?;
            file.set_len(records as u64)?;
            file.seek(SeekFrom::Start(records as u64))?;
            file.write_all(footer)?;
            file.sync_all()?;
            &bytes[..records]
        }
        None => &bytes[..],
    };
    if !pack {
        return Ok(());
    }
    let sealed = folder.join(format!("{first_sequence:020}.vgj.zst"));
    let temporary = folder.join(format!("{first_sequence:020}.zst.tmp"));
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.write_all(packed_bytes)?;
    encoder.write_all(footer.as_deref().unwrap_or_default())?;
    let mut packed = encoder.finish()?;
    let crc = crc32fast::hash(&packed);
    packed.extend_from_slice(&SKIPPABLE);
    packed.extend_from_slice(&crc.to_le_bytes());
    let mut file = File::create(&temporary)?;
    file.write_all(&packed)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &sealed)?;
    sync_folder(folder)?;
    std::fs::remove_file(path)
}

/// Deletes unsealed segments whose sealed twin is whole: a crash came between the two.
fn clear_twins(folder: &Path) -> io::Result<()> {
    for sealed in list(folder).map_err(io::Error::other)?.into_iter().filter(|file| file.sealed) {
        let twin = segment_path(folder, sealed.first_sequence);
        if twin.exists() && check_packed(&std::fs::read(&sealed.path)?) {
            std::fs::remove_file(&twin)?;
        }
    }
    Ok(())
}

/// Deletes the oldest segments that are too old or too much, but for held ones, those up to the checkpoint that proves them, and
/// what the kept snapshots still need.
///
/// Where an older segment stays because it is held, a stub takes the deleted one's place: header and footer, which carry the
/// chain across the gap.
fn retain(folder: &Path, now: Timestamp, days: f64, bytes_max: u64) -> io::Result<usize> {
    retain_but(folder, now, days, bytes_max, || holds(folder).map_err(io::Error::other))
}

/// As [`retain`]. What is held is asked anew before each deletion: a hold that was set meanwhile counts.
fn retain_but(
    folder: &Path,
    now: Timestamp,
    days: f64,
    bytes_max: u64,
    mut holds: impl FnMut() -> io::Result<Vec<Hold>>,
) -> io::Result<usize> {
    let files = list(folder).map_err(io::Error::other)?;
    let needed_from = latest_snapshots(folder).map_err(io::Error::other)?.last().map_or(u64::MAX, |s| s.0.saturating_add(1));
    let mut bytes: u64 = files.iter().map(size).sum();
    let (mut deleted, mut kept_older) = (0, false);
    let mut reach = Reach::of(folder, files.iter().filter(|file| file.gone).map(|file| file.first_sequence).collect());
    for pair in files.windows(2) {
        let (file, next) = (&pair[0], &pair[1]);
        if file.gone {
            if !kept_older {
                std::fs::remove_file(&file.path)?;
            }
            continue;
        }
        let too_much = bytes > bytes_max;
        let too_old = || head(next).is_none_or(|h| now.since_s(Timestamp::from_ms(h.created_ms)) > days * 86_400.0);
        if !too_much && !too_old() {
            break;
        }
        let last = next.first_sequence - 1;
        let mut is_held = || {
            holds()
                .map(|list| list.iter().any(|h| h.first <= last && file.first_sequence <= reach.behind(h, file.first_sequence)))
        };
        if !file.sealed || last >= needed_from || is_held()? {
            kept_older = true;
            continue;
        }
        if kept_older {
            write_stub(folder, file)?;
            // That took a while: the segment is read for it.
            if is_held()? {
                std::fs::remove_file(stub_path(folder, file))?;
                continue;
            }
        }
        bytes -= size(file);
        std::fs::remove_file(&file.path)?;
        deleted += 1;
    }
    if deleted > 0 {
        sync_folder(folder)?;
        tracing::info!(deleted, "journal: segments deleted by retention");
    }
    Ok(deleted)
}

/// The header of a segment, without reading all of it.
fn head(file: &SegmentFile) -> Option<Header> {
    let opened = File::open(&file.path).ok()?;
    let mut bytes = [0; super::segment::HEADER_BYTES];
    if file.sealed {
        zstd::stream::read::Decoder::new(opened).ok()?.read_exact(&mut bytes).ok()?;
    } else {
        (&opened).read_exact(&mut bytes).ok()?;
    }
    Header::decode(&bytes)
}

fn write_stub(folder: &Path, file: &SegmentFile) -> io::Result<()> {
    let (bytes, _) = load(file)?;
    let header = Header::decode(&bytes).ok_or_else(|| io::Error::other("the header is damaged"))?;
    let mut stub = header.encode().to_vec();
    let mut offset = stub.len();
    while let Some(record) = raw(bytes.get(offset..).unwrap_or_default()) {
        if record.kind == FOOTER {
            stub.extend_from_slice(&bytes[offset..offset + record.length]);
        }
        offset += record.length;
    }
    write_atomic(&stub_path(folder, file), &stub).map_err(io::Error::other)
}

fn stub_path(folder: &Path, file: &SegmentFile) -> PathBuf {
    segment_path(folder, file.first_sequence).with_extension("vgj.gone")
}

#[cfg(test)]
mod tests {
    use super::super::{Journal, Record, hold};
    use super::*;

    #[test]
    fn a_hold_that_is_set_while_retention_works_counts() {
        let folder = tempfile::tempdir().unwrap();
        let options = || Options { segment_bytes: 4 << 10, ..Options::new(&crate::config::Journal::default(), "boot") };
        let (journal, feed) = Journal::open(folder.path(), options()).unwrap();
        let feeds = std::thread::spawn(move || feed.iter().count());
        for n in 0..60 {
            let payload = vec![b'x'; 300];
            let record = Record::Fragment { source: Default::default(), what: format!("{n}"), payload };
            journal.handle().submit_blocking(record).unwrap();
        }
        journal.close();
        feeds.join().unwrap();
        let before = list(folder.path()).unwrap();
        assert!(before.len() > 5 && before[..5].iter().all(|file| file.sealed), "{before:?}");
        let (third, fourth) = (before[2].first_sequence, before[3].first_sequence);
        let (mut asked, now) = (0, Timestamp::from_ms(0));
        let ask = || {
            // After the first deletion a case takes hold of the third segment; while the fourth one's stub is written, of that one.
            asked += 1;
            match asked {
                2 => hold::hold(folder.path(), "case-1", third, third).unwrap(),
                5 => hold::hold(folder.path(), "case-1", third, fourth).unwrap(),
                _ => {}
            }
            holds(folder.path()).map_err(io::Error::other)
        };
        retain_but(folder.path(), now, f64::MAX, 0, ask).unwrap();
        let after = list(folder.path()).unwrap();
        let kept: Vec<u64> = after.iter().filter(|file| !file.gone).map(|file| file.first_sequence).collect();
        let gone: Vec<u64> = after.iter().filter(|file| file.gone).map(|file| file.first_sequence).collect();
        assert_eq!(kept[..2], [third, fourth], "{after:?}");
        assert_eq!(gone[0], before[4].first_sequence);
        assert_eq!(kept.len() + gone.len() + 2, before.len());
        assert!(!stub_path(folder.path(), &before[3]).exists());
    }
}
