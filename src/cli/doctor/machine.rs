//! The machine itself: its clock and the disk under the data folder.

use super::{Findings, Level};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes that are timed.
const WRITES: usize = 20;
/// Size of each, bytes: a block of the journal.
const WRITE_BYTES: usize = 4096;
/// A write that lasts longer than this limits a lock-step sender to fewer than 20 messages a second, milliseconds.
const WRITE_WARN_MS: f64 = 50.0;
/// Less free space than this is a warning, bytes; a tenth of it a failure.
const FREE_WARN_BYTES: u64 = 10 << 30;

/// Year, monotonic clock, and what the machine says about its synchronisation.
pub fn clock<W: Write>(found: &mut Findings<W>) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now();
    let year = jiff::tz::Offset::UTC.to_datetime(now).year();
    if (2025..2100).contains(&year) {
        found.say(Level::Ok, "clock", format_args!("{now:.0} (UTC)"))?;
    } else {
        found.say(Level::Fail, "clock", format_args!("the year is {year}: set the clock"))?;
    }
    // Wall and monotonic clock must pass at the same rate.
    let (wall, monotonic) = (std::time::SystemTime::now(), Instant::now());
    std::thread::sleep(Duration::from_millis(200));
    let passed = monotonic.elapsed().as_secs_f64();
    match wall.elapsed() {
        Ok(elapsed) if (elapsed.as_secs_f64() - passed).abs() < 0.05 => {
            found.say(Level::Ok, "clock", "wall clock and monotonic clock agree")?;
        }
        Ok(elapsed) => {
            let off = elapsed.as_secs_f64() - passed;
            found.say(Level::Warn, "clock", format_args!("the wall clock moved by {off:+.3} s within 0.2 s"))?;
        }
        Err(_) => found.say(Level::Fail, "clock", "the wall clock ran backwards")?,
    }
    // Written by systemd-timesyncd at every answer of a time server; chrony and ntpd leave their own marks.
    let marks = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid", "/run/chronyd.pid"];
    match marks.iter().find(|mark| Path::new(mark).exists()) {
        Some(mark) => found.say(Level::Ok, "time server", format_args!("synchronisation runs ({mark})"))?,
        None => found.say(
            Level::Warn,
            "time server",
            "no sign of timesyncd, chrony or ntpd: in a container look at the host; otherwise times may drift",
        )?,
    }
    Ok(())
}

/// Free space, and how long a durable write takes.
pub fn disk<W: Write>(data: &Path, found: &mut Findings<W>) -> anyhow::Result<()> {
    let folder = nearest(data);
    if folder != data {
        found.say(Level::Ok, "data", format_args!("{} will be made by the first start", data.display()))?;
    }
    match free_bytes(&folder) {
        Some(free) => {
            let level = match free {
                f if f < FREE_WARN_BYTES / 10 => Level::Fail,
                f if f < FREE_WARN_BYTES => Level::Warn,
                _ => Level::Ok,
            };
            found.say(level, "disk", format_args!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), folder.display()))?;
        }
        None => found.say(Level::Warn, "disk", format_args!("free space at {} is not told by this system", folder.display()))?,
    }
    match timed_writes(&folder) {
        Ok((median_ms, worst_ms)) => {
            let level = if median_ms > WRITE_WARN_MS { Level::Warn } else { Level::Ok };
            found.say(
                level,
                "disk",
                format_args!(
                    "a durable write of {WRITE_BYTES} bytes takes {median_ms:.2} ms (worst of {WRITES}: {worst_ms:.2} ms)"
                ),
            )?;
        }
        Err(error) => found.say(Level::Fail, "disk", format_args!("cannot write at {}: {error}", folder.display()))?,
    }
    Ok(())
}

/// The folder, or the nearest one above it that exists.
fn nearest(path: &Path) -> PathBuf {
    let mut at = path.to_owned();
    while !at.is_dir() {
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent.to_owned(),
            _ => return PathBuf::from("."),
        }
    }
    at
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Median and worst time of an fdatasync after a write, milliseconds.
fn timed_writes(folder: &Path) -> std::io::Result<(f64, f64)> {
    let mut file = tempfile::tempfile_in(folder)?;
    let block = [0x5Au8; WRITE_BYTES];
    let mut times: Vec<f64> = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[WRITES / 2], times[WRITES - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_data_folder_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Findings::new(Vec::new());
        disk(&folder.path().join("a/b"), &mut found).unwrap();
        let text = String::from_utf8(found.out).unwrap();
        assert!(text.contains("will be made") && text.contains("durable write") && text.contains("GiB free"), "{text}");
    }
}
