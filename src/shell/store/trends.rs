//! The histories' own SQLite file: ten minutes of one bed a row, packed.
//!
//! It is not the store's file: a writer of histories never holds up the commit of an alert. What stands here follows from the
//! journal; a power cut may take the last seconds (WAL, `synchronous = NORMAL`), never the file.

use super::{BUSY_MS, StoreError};
use crate::vital::Parameter;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Width of a bucket, ms. Monitors send once a second to once a minute: five seconds keep every value of most, and a chart of 24 h
/// has more of them than a screen has pixels. Shorter: more rows for the same picture; longer: a short spike is only a minimum
/// or maximum without a moment.
pub const BUCKET_MS: i64 = 5_000;
/// Width of a row, ms: as much as is lost at once if a row is damaged, and 144 rows for a bed's day.
pub const CHUNK_MS: i64 = 600_000;
/// Buckets of a row.
pub const BUCKETS: usize = (CHUNK_MS / BUCKET_MS) as usize;
/// Rows deleted at a time.
const PRUNE_ROWS: i64 = 2_000;
/// Values are kept in hundredths of the canonical unit; no parameter is sent finer.
const SCALE: f64 = 100.0;

/// What came in one bucket of one parameter, canonical unit. Low and high: what was expected then; NaN: nothing yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub last: f32,
    pub min: f32,
    pub max: f32,
    pub low: f32,
    pub high: f32,
}

impl Bucket {
    /// One value.
    pub fn of(value: f64, band: Option<(f64, f64)>) -> Bucket {
        let (low, high) = band.map_or((f32::NAN, f32::NAN), |(low, high)| (low as f32, high as f32));
        let value = value as f32;
        Bucket { last: value, min: value, max: value, low, high }
    }
    /// A later one. Taking the same twice changes nothing.
    pub fn add(&mut self, later: Bucket) {
        self.last = later.last;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        if !later.low.is_nan() {
            (self.low, self.high) = (later.low, later.high);
        }
    }
}

/// Ten minutes of a bed: its parameters' buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chunk(BTreeMap<u8, Vec<Option<Bucket>>>);

/// The columns of one parameter on the disk: which buckets hold something, and differences of hundredths.
#[derive(Serialize, Deserialize, Default)]
struct Columns {
    parameter: u8,
    there: Vec<u8>,
    banded: Vec<u8>,
    last: Vec<i32>,
    below: Vec<i32>,
    above: Vec<i32>,
    low: Vec<i32>,
    high: Vec<i32>,
}

fn hundredths(value: f32) -> i32 {
    // Out of range is cut off: no parameter reaches 20 million.
    (f64::from(value) * SCALE).round() as i32
}

fn deltas(values: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut before = 0i32;
    values.map(|v| v.wrapping_sub(std::mem::replace(&mut before, v))).collect()
}

fn sums(deltas: &[i32]) -> Vec<f32> {
    let mut sum = 0i32;
    let step = |d: &i32| {
        sum = sum.wrapping_add(*d);
        (f64::from(sum) / SCALE) as f32
    };
    deltas.iter().map(step).collect()
}

fn bits(flags: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut out = vec![0; BUCKETS.div_ceil(8)];
    flags.take(BUCKETS).enumerate().filter(|(_, flag)| *flag).for_each(|(at, _)| out[at / 8] |= 1 << (at % 8));
    out
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

impl Chunk {
    /// Adds what came in bucket `at` (0 to [`BUCKETS`]).
    pub fn add(&mut self, parameter: Parameter, at: usize, bucket: Bucket) {
        let row = self.0.entry(parameter as u8).or_insert_with(|| vec![None; BUCKETS]);
        match row.get_mut(at) {
            Some(Some(there)) => there.add(bucket),
            Some(empty) => *empty = Some(bucket),
            None => {}
        }
    }
    /// The buckets of a parameter that hold something.
    pub fn buckets(&self, parameter: Parameter) -> impl Iterator<Item = (usize, Bucket)> + '_ {
        let row = self.0.get(&(parameter as u8)).map(Vec::as_slice).unwrap_or_default();
        row.iter().enumerate().filter_map(|(at, bucket)| bucket.map(|b| (at, b)))
    }
    /// The parameters that were heard.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        Parameter::ALL.iter().copied().filter(|p| self.0.contains_key(&(*p as u8)))
    }

    /// As it stands on the disk.
    pub fn pack(&self) -> Result<Vec<u8>, StoreError> {
        let columns: Vec<Columns> = self
            .0
            .iter()
            .map(|(parameter, row)| {
                let there = || row.iter().flatten();
                let banded = || there().filter(|b| !b.low.is_nan());
                Columns {
                    parameter: *parameter,
                    there: bits(row.iter().map(Option::is_some)),
                    banded: bits(row.iter().map(|b| b.is_some_and(|b| !b.low.is_nan()))),
                    last: deltas(there().map(|b| hundredths(b.last))),
                    below: there().map(|b| hundredths(b.last).saturating_sub(hundredths(b.min))).collect(),
                    above: there().map(|b| hundredths(b.max).saturating_sub(hundredths(b.last))).collect(),
                    low: deltas(banded().map(|b| hundredths(b.low))),
                    high: deltas(banded().map(|b| hundredths(b.high))),
                }
            })
            .collect();
        let plain = postcard::to_stdvec(&columns).map_err(|e| StoreError::Io(std::io::Error::other(e)))?;
        Ok(zstd::bulk::compress(&plain, 3)?)
    }

    /// What [`Chunk::pack`] wrote; nothing that is damaged is believed.
    pub fn unpack(packed: &[u8]) -> Option<Chunk> {
        /// Larger than any chunk of all parameters.
        const PLAIN_BYTES_MAX: usize = 1 << 20;
        let plain = zstd::bulk::decompress(packed, PLAIN_BYTES_MAX).ok()?;
        let columns: Vec<Columns> = postcard::from_bytes(&plain).ok()?;
        let mut chunk = Chunk::default();
        for c in columns {
            let (last, low, high) = (sums(&c.last), sums(&c.low), sums(&c.high));
            let offset = |list: &[i32], n: usize| list.get(n).map(|h| (f64::from(*h) / SCALE) as f32);
            let (mut n, mut m) = (0, 0);
            let mut row = vec![None; BUCKETS];
            for (at, place) in row.iter_mut().enumerate() {
                if !bit(&c.there, at) {
                    continue;
                }
                let value = *last.get(n)?;
                let (below, above) = (offset(&c.below, n)?, offset(&c.above, n)?);
                let mut bucket = Bucket { last: value, min: value - below, max: value + above, low: f32::NAN, high: f32::NAN };
                n += 1;
                if bit(&c.banded, at) {
                    (bucket.low, bucket.high) = (*low.get(m)?, *high.get(m)?);
                    m += 1;
                }
                *place = Some(bucket);
            }
            chunk.0.insert(c.parameter, row);
        }
        Some(chunk)
    }
}

/// The file, for its one writer or for a reader.
pub struct TrendStore(Connection);

impl TrendStore {
    /// Opens or makes it. What another version wrote is thrown away: it can be done without.
    pub fn open(path: &Path) -> Result<TrendStore, StoreError> {
        const VERSION: i64 = 1;
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found != VERSION {
            connection.execute_batch(
                "DROP TABLE IF EXISTS chunk; DROP TABLE IF EXISTS bed;
                 CREATE TABLE bed (id INTEGER PRIMARY KEY, ward TEXT NOT NULL, bed TEXT NOT NULL, UNIQUE (ward, bed)) STRICT;
                 CREATE TABLE chunk (bed INTEGER NOT NULL, start_ms INTEGER NOT NULL, data BLOB NOT NULL,
                                     PRIMARY KEY (bed, start_ms)) STRICT, WITHOUT ROWID;
                 CREATE INDEX chunk_start ON chunk(start_ms);",
            )?;
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(TrendStore(connection))
    }
    /// For reading.
    pub fn reader(path: &Path) -> Result<TrendStore, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        Ok(TrendStore(connection))
    }

    /// One row.
    pub fn chunk(&self, ward: &str, bed: &str, start_ms: i64) -> Result<Option<Chunk>, StoreError> {
        let mut select = self.0.prepare_cached(
            "SELECT data FROM chunk WHERE bed = (SELECT id FROM bed WHERE ward = ?1 AND bed = ?2) AND start_ms = ?3",
        )?;
        let data: Option<Vec<u8>> = select.query_row(params![ward, bed, start_ms], |row| row.get(0)).optional()?;
        Ok(data.and_then(|data| Chunk::unpack(&data)))
    }

    /// The rows that begin in `from_ms..to_ms`, in order.
    pub fn chunks(&self, ward: &str, bed: &str, from_ms: i64, to_ms: i64) -> Result<Vec<(i64, Chunk)>, StoreError> {
        let mut select = self.0.prepare_cached(
            "SELECT start_ms, data FROM chunk WHERE bed = (SELECT id FROM bed WHERE ward = ?1 AND bed = ?2)
             AND start_ms >= ?3 AND start_ms < ?4 ORDER BY start_ms",
        )?;
        let rows = select.query_map(params![ward, bed, from_ms, to_ms], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut list = Vec::new();
        for row in rows {
            let (start, data) = row?;
            if let Some(chunk) = Chunk::unpack(&data) {
                list.push((start, chunk));
            }
        }
        Ok(list)
    }

    /// Writes rows, all or nothing.
    pub fn write<'a>(&mut self, rows: impl Iterator<Item = (&'a str, &'a str, i64, &'a Chunk)>) -> Result<u64, StoreError> {
        let transaction = self.0.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut written = 0;
        {
            let mut bed_insert = transaction.prepare_cached("INSERT OR IGNORE INTO bed (ward, bed) VALUES (?1, ?2)")?;
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO chunk (bed, start_ms, data)
                 VALUES ((SELECT id FROM bed WHERE ward = ?1 AND bed = ?2), ?3, ?4)",
            )?;
            for (ward, bed, start_ms, chunk) in rows {
                bed_insert.execute([ward, bed])?;
                insert.execute(params![ward, bed, start_ms, chunk.pack()?])?;
                written += 1;
            }
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Forgets what began before `before_ms`, and the oldest while the rows are more than `bytes_max`. The file does not shrink:
    /// its free pages are used again.
    pub fn prune(&mut self, before_ms: i64, bytes_max: u64) -> Result<u64, StoreError> {
        let mut gone = 0;
        const OLDEST: &str = "DELETE FROM chunk WHERE (bed, start_ms) IN (SELECT bed, start_ms FROM chunk WHERE start_ms < ?1 ORDER BY start_ms LIMIT ?2)";
        gone += self.0.execute(OLDEST, params![before_ms, PRUNE_ROWS])? as u64;
        if self.bytes()? > bytes_max {
            gone += self.0.execute(OLDEST, params![i64::MAX, PRUNE_ROWS])? as u64;
        }
        Ok(gone)
    }

    /// Bytes of the pages that are used.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let number = |name: &str| self.0.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        Ok(((number("page_count")? - number("freelist_count")?) * number("page_size")?).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        let mut chunk = Chunk::default();
        for at in 0..BUCKETS {
            if at % 7 != 3 {
                let band = (at > 20).then_some((60.5, 84.25));
                chunk.add(Parameter::Hr, at, Bucket::of(70.0 + (at % 5) as f64, band));
                chunk.add(Parameter::Hr, at, Bucket::of(71.0, band));
            }
        }
        chunk.add(Parameter::Temp, 4, Bucket::of(36.6, None));
        chunk
    }

    #[test]
    fn a_row_comes_back_as_it_was_and_is_small() {
        let chunk = chunk();
        let packed = chunk.pack().unwrap();
        let back = Chunk::unpack(&packed).unwrap();
        for parameter in [Parameter::Hr, Parameter::Temp] {
            let (a, b): (Vec<_>, Vec<_>) = (chunk.buckets(parameter).collect(), back.buckets(parameter).collect());
            assert_eq!(a.len(), b.len());
            for ((at, x), (bt, y)) in a.iter().zip(&b) {
                assert_eq!(at, bt);
                for (x, y) in [(x.last, y.last), (x.min, y.min), (x.max, y.max), (x.low, y.low), (x.high, y.high)] {
                    assert!((x - y).abs() < 0.005 || (x.is_nan() && y.is_nan()), "{x} {y}");
                }
            }
        }
        assert!(packed.len() < 300, "{}", packed.len());
        assert_eq!(Chunk::unpack(&packed[..packed.len() - 3]), None);
        assert_eq!(Chunk::unpack(b"nothing of ours"), None);
    }

    #[test]
    fn the_oldest_goes_by_age_and_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = TrendStore::open(&folder.path().join("t.sqlite")).unwrap();
        let chunk = chunk();
        store.write((0..50).map(|n| ("icu", "A01", n * CHUNK_MS, &chunk))).unwrap();
        assert_eq!(store.prune(10 * CHUNK_MS, u64::MAX).unwrap(), 10);
        assert_eq!(store.chunks("icu", "A01", 0, i64::MAX).unwrap().len(), 40);
        assert_eq!(store.prune(0, 1).unwrap(), 40);
        assert!(store.chunk("icu", "A01", 12 * CHUNK_MS).unwrap().is_none());
    }
}
