//! The store: alerts and their events, the outbox, comments, audit, and how far the journal was applied. One SQLite file.
//!
//! One contract: [`Store::commit`] is one transaction, durable when it returns (WAL, `synchronous = FULL`). An event that is
//! already there is ignored together with its outbox rows, so that recovery from the journal doubles nothing. The outbox is
//! bounded: at the bound the oldest rows go, counted. An error (disk full) leaves everything as it was before the call; the
//! caller keeps the commit and tries again.
//!
//! There is one writer of alerts (the engine) and one of delivery marks (the publisher, [`OutboxReader`]); readers open their
//! own connections ([`AlertReader`]). Topics are relative to `{root}/v1/{site}/`.

use crate::alert::{AlertEvent, AlertState, Envelope};
use crate::document::Removed;
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

mod alerts;
mod cases;
mod looks;
mod outbox;
mod trends;

pub use alerts::{AlertFilter, AlertReader, AlertRow};
pub use cases::{CaseChange, StepRow};
pub use looks::{AuditRow, BedLoad, Load};
pub use outbox::{OutboxReader, OutboxRow};
pub use trends::{BUCKET_MS, BUCKETS, Bucket, CHUNK_MS, Chunk, TrendStore};

/// Expiry of an event in the broker's queues, seconds.
pub const EVENT_EXPIRY_S: u32 = 3600;
/// Expiry of an answer, seconds.
pub const RESPONSE_EXPIRY_S: u32 = 60;
/// How long one writer waits for the other, milliseconds: a commit is one fdatasync, some 5 ms on a slow disk.
const BUSY_MS: u64 = 5_000;
/// How long a delivery mark waits; it is tried again, and the connection to the broker must go on meanwhile.
const MARK_BUSY_MS: u64 = 250;
/// Most alerts that one query gives.
pub const LIST_MAX: usize = 1_000;

/// What stops the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk (or the quota) is full: try again when there is room.
    #[error("store: the disk is full")]
    Full,
    /// The file was written by a newer version of the program.
    #[error("store: schema version {found}, this program knows {known}")]
    Newer { found: i64, known: i64 },
    #[error("store: {0}")]
    Sqlite(rusqlite::Error),
    #[error("store: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Sqlite(error),
        }
    }
}

/// One lifecycle event with the alert as it is after it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Alert id.
    pub alert: String,
    /// From 1, gapless per alert.
    pub seq: u64,
    /// Word of the event (`raised`).
    pub event: String,
    pub at: Timestamp,
    /// The complete `alert-event/1` document.
    pub json: Vec<u8>,
    /// The alert object alone, as it is after this event.
    pub alert_json: Vec<u8>,
    /// `1D15-DB51`.
    pub reference: String,
    pub ward: String,
    pub bed: String,
    /// `T03 flat_line`.
    pub condition: String,
    pub assessment: String,
    pub priority: String,
    /// Priority before this event, where it was another.
    pub previous_priority: Option<String>,
    pub state: String,
    pub onset: Timestamp,
    pub raised: Timestamp,
    /// Not `cleared`.
    pub open: bool,
}

impl EventRow {
    /// The row of an event as the monitor gives it.
    pub fn of(event: &AlertEvent, envelope: &Envelope) -> EventRow {
        let alert = &event.alert;
        EventRow {
            alert: alert.id.clone(),
            seq: event.seq,
            event: event.event.as_str().to_owned(),
            at: event.ts,
            json: event.to_json(envelope).into_bytes(),
            alert_json: alert.to_json(envelope).into_bytes(),
            reference: alert.reference.clone(),
            ward: alert.ward.clone(),
            bed: alert.bed.clone(),
            condition: alert.condition.clone(),
            assessment: alert.assessment.as_str().to_owned(),
            priority: alert.priority.as_str().to_owned(),
            previous_priority: event.topics().1.map(|priority| priority.as_str().to_owned()),
            state: alert.state.as_str().to_owned(),
            onset: alert.onset,
            raised: alert.raised,
            open: alert.state != AlertState::Cleared,
        }
    }
    /// As published: under its priority, and under the one before where that was another, so that a filter sees it leave.
    pub(crate) fn published(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let previous = self.previous_priority.as_deref().filter(|p| *p != self.priority);
        previous.into_iter().chain([self.priority.as_str()]).map(|priority| (self.topic(priority), self.json.clone()))
    }
    /// Topic under a priority.
    fn topic(&self, priority: &str) -> String {
        format!("ward/{}/bed/{}/event/{priority}", self.ward, self.bed)
    }
}

/// Any other document for the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Relative topic.
    pub topic: String,
    pub payload: Vec<u8>,
    pub kind: OutboxKind,
    pub expiry_s: u32,
    /// MQTT 5 correlation data of the request.
    pub correlation: Option<Vec<u8>>,
}

/// What an outbox row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxKind {
    Event,
    Response,
    Device,
}

impl OutboxKind {
    /// The `schema` user property.
    pub const fn schema(self) -> &'static str {
        match self {
            OutboxKind::Event => "alert-event/1",
            OutboxKind::Response => "response/1",
            OutboxKind::Device => "device-event/1",
        }
    }
    const fn number(self) -> i64 {
        match self {
            OutboxKind::Event => 0,
            OutboxKind::Response => 1,
            OutboxKind::Device => 2,
        }
    }
    const fn from_number(number: i64) -> OutboxKind {
        match number {
            1 => OutboxKind::Response,
            2 => OutboxKind::Device,
            _ => OutboxKind::Event,
        }
    }
}

/// A line of the audit trail: who did what when, over which way, with what result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub at: Timestamp,
    pub user: String,
    pub via: String,
    pub verb: String,
    pub alert: Option<String>,
    pub request_id: String,
    /// `ok` or the refusal's code.
    pub result: String,
}

/// What a person wrote about an alert. Never published unless enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub alert: String,
    pub at: Timestamp,
    pub user: String,
    pub text: String,
}

/// Whether an alert was of use to somebody; the last word of each user counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    pub alert: String,
    pub at: Timestamp,
    pub user: String,
    pub useful: bool,
}

/// All effects of one step of the engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    pub events: Vec<EventRow>,
    pub outgoing: Vec<Outgoing>,
    pub comments: Vec<Comment>,
    pub audit: Vec<Audit>,
    pub ratings: Vec<Rating>,
    /// Steps of cases, oldest first.
    pub cases: Vec<CaseChange>,
    /// The monitor's time: deadlines up to here have fired.
    pub applied_until: Timestamp,
    /// Number of the last journal record that is contained.
    pub sequence: u64,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Events that were not there before.
    pub events_new: u64,
    /// Events that were there (recovery): ignored.
    pub events_known: u64,
    /// Rows written to the outbox.
    pub queued: u64,
    /// Oldest outbox rows that went at the bound.
    pub dropped: u64,
}

/// How far the journal was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub until: Timestamp,
    pub sequence: u64,
    /// Boot of the run that wrote it; empty in a new store.
    pub boot: String,
}

/// Depth of the outbox and what was dropped, shared between the store, the publisher and whoever shows it.
#[derive(Debug, Default)]
pub struct OutboxGauge {
    depth: AtomicI64,
    dropped: AtomicU64,
    max: AtomicI64,
}

impl OutboxGauge {
    /// Rows that wait.
    pub fn depth(&self) -> u64 {
        self.depth.load(Ordering::Relaxed).max(0) as u64
    }
    /// Rows dropped at the bound since boot.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
    /// The bound.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed).max(0) as u64
    }
}

/// `user_version` of the newest schema, and the statements that lead to each version.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    reference TEXT NOT NULL,
    ward TEXT NOT NULL,
    bed TEXT NOT NULL,
    condition TEXT NOT NULL,
    assessment TEXT NOT NULL,
    priority TEXT NOT NULL,
    state TEXT NOT NULL,
    onset_ms INTEGER NOT NULL,
    raised_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    open INTEGER NOT NULL,
    json BLOB NOT NULL
) STRICT;
CREATE INDEX alerts_open ON alerts(open) WHERE open = 1;
CREATE INDEX alerts_raised ON alerts(raised_ms, number);
CREATE INDEX alerts_reference ON alerts(reference);
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    alert TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    json BLOB NOT NULL,
    UNIQUE (alert, seq)
) STRICT;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    expiry_s INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    event_id TEXT,
    event_type TEXT,
    correlation BLOB
) STRICT;
CREATE TABLE comments (
    number INTEGER PRIMARY KEY,
    alert TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (alert, at_ms, user, text)
) STRICT;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    user TEXT NOT NULL,
    via TEXT NOT NULL,
    verb TEXT NOT NULL,
    alert TEXT,
    request_id TEXT NOT NULL,
    result TEXT NOT NULL,
    UNIQUE (at_ms, user, via, verb, request_id)
) STRICT;
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
",
    "
CREATE TABLE ratings (
    alert TEXT NOT NULL,
    user TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    useful INTEGER NOT NULL,
    PRIMARY KEY (alert, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX ratings_at ON ratings(at_ms);
CREATE TABLE removed (
    topic TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
",
    "
CREATE INDEX audit_at ON audit(at_ms, number);
CREATE INDEX alerts_bed ON alerts(ward, bed, onset_ms);
INSERT OR IGNORE INTO meta (key, number, text)
    SELECT 'since', COALESCE((SELECT min(raised_ms) FROM alerts), CAST(strftime('%s', 'now') AS INTEGER) * 1000), '';
",
    "
CREATE TABLE cases (
    id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    open INTEGER NOT NULL,
    opened_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    json BLOB NOT NULL
) STRICT;
CREATE INDEX cases_open ON cases(open) WHERE open = 1;
CREATE TABLE case_steps (
    sequence INTEGER PRIMARY KEY,
    case_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    act BLOB NOT NULL
) STRICT;
CREATE INDEX case_steps_case ON case_steps(case_id, sequence);
CREATE TABLE case_alerts (
    case_id TEXT NOT NULL,
    alert TEXT NOT NULL,
    PRIMARY KEY (case_id, alert)
) STRICT, WITHOUT ROWID;
CREATE INDEX case_alerts_alert ON case_alerts(alert);
",
];

/// The writer.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    gauge: Arc<OutboxGauge>,
    outbox_max: usize,
}

impl Store {
    /// Opens or makes the store. `outbox_max`: rows at most.
    pub fn open(path: &Path, outbox_max: usize) -> Result<Store, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // A busy day is some megabytes; truncating after a burst gives the disk back.
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        migrate(&mut connection)?;
        let depth: i64 = connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?;
        let gauge = Arc::new(OutboxGauge::default());
        gauge.depth.store(depth, Ordering::Relaxed);
        gauge.max.store(i64::try_from(outbox_max).unwrap_or(i64::MAX), Ordering::Relaxed);
        Ok(Store { connection, path: path.to_owned(), gauge, outbox_max })
    }

    /// How long a commit waits for another writer of the file; some seconds at first.
    pub fn set_patience(&self, patience: Duration) -> Result<(), StoreError> {
        Ok(self.connection.busy_timeout(patience)?)
    }

    /// Depth and losses of the outbox.
    pub fn gauge(&self) -> Arc<OutboxGauge> {
        Arc::clone(&self.gauge)
    }

    /// A connection of its own for the publisher.
    pub fn outbox_reader(&self) -> Result<OutboxReader, StoreError> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_millis(MARK_BUSY_MS))?;
        // A delivery mark that a power cut takes back is one repeat more, and repeats are harmless: no fdatasync for it.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(OutboxReader { connection, gauge: Arc::clone(&self.gauge) })
    }

    /// A connection of its own for lists and pages.
    pub fn alert_reader(&self) -> Result<AlertReader, StoreError> {
        AlertReader::open(&self.path)
    }

    /// How far the journal was applied; `None` in a new store.
    pub fn applied(&self) -> Result<Option<Applied>, StoreError> {
        let number = |key: &str| -> Result<Option<(i64, String)>, rusqlite::Error> {
            let sql = "SELECT number, text FROM meta WHERE key = ?1";
            self.connection.query_row(sql, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        };
        let Some((until, _)) = number("applied_until")? else { return Ok(None) };
        let sequence = number("sequence")?.map_or(0, |(n, _)| n);
        let boot = number("boot")?.map_or_else(String::new, |(_, text)| text);
        Ok(Some(Applied { until: Timestamp::from_ms(until), sequence: sequence.max(0) as u64, boot }))
    }

    /// Remembers which run writes.
    pub fn set_boot(&mut self, boot: &str) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO meta (key, number, text) VALUES ('boot', 0, ?1) ON CONFLICT (key) DO UPDATE SET text = excluded.text",
            [boot],
        )?;
        Ok(())
    }

    /// Whether a station has ever announced itself under this site.
    pub fn station_known(&self) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM meta WHERE key = 'station'";
        Ok(self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0)
    }

    /// A station has announced itself.
    pub fn note_station(&mut self) -> Result<(), StoreError> {
        self.connection.execute("INSERT OR IGNORE INTO meta (key, number, text) VALUES ('station', 1, '')", [])?;
        Ok(())
    }

    /// Topics that were cleared since then, oldest first; older ones are forgotten.
    pub fn removed(&mut self, since: Timestamp) -> Result<Vec<Removed>, StoreError> {
        self.connection.execute("DELETE FROM removed WHERE at_ms < ?1", [since.ms()])?;
        let mut select = self.connection.prepare_cached("SELECT topic, at_ms FROM removed ORDER BY at_ms, topic")?;
        let rows = select.query_map([], |row| Ok(Removed { topic: row.get(0)?, ts: Timestamp::from_ms(row.get(1)?) }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A topic was cleared.
    pub fn note_removed(&mut self, removed: &Removed) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO removed (topic, at_ms) VALUES (?1, ?2) ON CONFLICT (topic) DO UPDATE SET at_ms = excluded.at_ms",
            params![removed.topic, removed.ts.ms()],
        )?;
        Ok(())
    }

    /// Writes alerts, events, outbox, comments, audit and the applied position, all or nothing.
    pub fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut done = Committed::default();
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut queue = transaction.prepare_cached(
                "INSERT INTO outbox (kind, topic, payload, expiry_s, at_ms, event_id, event_type, correlation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            let mut event_insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO events (alert, seq, at_ms, json) VALUES (?1, ?2, ?3, ?4)")?;
            let mut alert_upsert = transaction.prepare_cached(
                "INSERT INTO alerts (id, reference, ward, bed, condition, assessment, priority, state, onset_ms, raised_ms,
                                     updated_ms, seq, open, json)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
                 ON CONFLICT (id) DO UPDATE SET condition = excluded.condition, assessment = excluded.assessment,
                     priority = excluded.priority, state = excluded.state, updated_ms = excluded.updated_ms,
                     seq = excluded.seq, open = excluded.open, json = excluded.json
                 WHERE excluded.seq > alerts.seq",
            )?;
            for event in &commit.events {
                let seq = integer(event.seq);
                if event_insert.execute(params![event.alert, seq, event.at.ms(), event.json])? == 0 {
                    done.events_known += 1;
                    continue;
                }
                done.events_new += 1;
                alert_upsert.execute(params![
                    event.alert,
                    event.reference,
                    event.ward,
                    event.bed,
                    event.condition,
                    event.assessment,
                    event.priority,
                    event.state,
                    event.onset.ms(),
                    event.raised.ms(),
                    event.at.ms(),
                    seq,
                    event.open,
                    event.alert_json
                ])?;
                let event_id = format!("{}.{}", event.alert, event.seq);
                let event_type = format!("vitalguard.alert.{}", event.event);
                let previous = event.previous_priority.as_deref().filter(|p| *p != event.priority);
                for priority in previous.into_iter().chain([event.priority.as_str()]) {
                    queue.execute(params![
                        OutboxKind::Event.number(),
                        event.topic(priority),
                        event.json,
                        EVENT_EXPIRY_S,
                        event.at.ms(),
                        event_id,
                        event_type,
                        None::<Vec<u8>>
                    ])?;
                    done.queued += 1;
                }
            }
            for outgoing in &commit.outgoing {
                queue.execute(params![
                    outgoing.kind.number(),
                    outgoing.topic,
                    outgoing.payload,
                    outgoing.expiry_s,
                    commit.applied_until.ms(),
                    None::<String>,
                    None::<String>,
                    outgoing.correlation
                ])?;
                done.queued += 1;
            }
            let mut comment_insert = transaction
                .prepare_cached("INSERT OR IGNORE INTO comments (alert, at_ms, user, text) VALUES (?1, ?2, ?3, ?4)")?;
            for comment in &commit.comments {
                comment_insert.execute(params![comment.alert, comment.at.ms(), comment.user, comment.text])?;
            }
            let mut audit_insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO audit (at_ms, user, via, verb, alert, request_id, result)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for line in &commit.audit {
                audit_insert.execute(params![
                    line.at.ms(),
                    line.user,
                    line.via,
                    line.verb,
                    line.alert,
                    line.request_id,
                    line.result
                ])?;
            }
            let mut rating_upsert = transaction.prepare_cached(
                "INSERT INTO ratings (alert, user, at_ms, useful) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (alert, user) DO UPDATE SET at_ms = excluded.at_ms, useful = excluded.useful
                 WHERE excluded.at_ms > ratings.at_ms",
            )?;
            for rating in &commit.ratings {
                rating_upsert.execute(params![rating.alert, rating.user, rating.at.ms(), rating.useful])?;
            }
            cases::write(&transaction, &commit.cases)?;
            let mut meta = transaction.prepare_cached(
                "INSERT INTO meta (key, number, text) VALUES (?1, ?2, '')
                 ON CONFLICT (key) DO UPDATE SET number = excluded.number",
            )?;
            meta.execute(params!["applied_until", commit.applied_until.ms()])?;
            meta.execute(params!["sequence", integer(commit.sequence)])?;
            if done.queued > 0 {
                // The publisher deletes at the same time, so that the gauge may be a few rows behind: the bound is soft by so much.
                let excess = self.gauge.depth.load(Ordering::Relaxed) + integer(done.queued)
                    - i64::try_from(self.outbox_max).unwrap_or(i64::MAX);
                if excess > 0 {
                    let dropped = transaction
                        .execute("DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?1)", [excess])?;
                    done.dropped = dropped as u64;
                }
            }
        }
        transaction.commit()?;
        self.gauge.depth.fetch_add(integer(done.queued) - integer(done.dropped), Ordering::Relaxed);
        self.gauge.dropped.fetch_add(done.dropped, Ordering::Relaxed);
        Ok(done)
    }

    /// Forgets closed alerts with their events and comments, and audit lines, older than `before`; never an alert that a case
    /// needs. At most `limit` alerts. The alert of the newest event stays, too: numbers of events are never used again.
    pub fn prune(&mut self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let ids: Vec<String> = {
            let mut select = transaction.prepare_cached(
                "SELECT id FROM alerts WHERE open = 0 AND updated_ms < ?1 AND id NOT IN (SELECT alert FROM case_alerts)
                 AND id IS NOT (SELECT alert FROM events ORDER BY number DESC LIMIT 1) ORDER BY number LIMIT ?2",
            )?;
            let rows = select.query_map(params![before.ms(), limit as i64], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for id in &ids {
            transaction.execute("DELETE FROM events WHERE alert = ?1", [id])?;
            transaction.execute("DELETE FROM comments WHERE alert = ?1", [id])?;
            transaction.execute("DELETE FROM ratings WHERE alert = ?1", [id])?;
            transaction.execute("DELETE FROM alerts WHERE id = ?1", [id])?;
        }
        transaction.execute("DELETE FROM audit WHERE at_ms < ?1", [before.ms()])?;
        transaction.execute("DELETE FROM ratings WHERE at_ms < ?1", [before.ms()])?;
        transaction.commit()?;
        Ok(ids.len() as u64)
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known || found < 0 {
        return Err(StoreError::Newer { found, known });
    }
    for (version, statements) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
