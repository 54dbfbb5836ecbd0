//! Alerts as history: lists, single alerts, their events and comments, over a connection that only reads.

use super::{BUSY_MS, Comment, LIST_MAX, StoreError};
use crate::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};
use std::path::Path;
use std::time::Duration;

/// An alert as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub number: i64,
    pub id: String,
    pub reference: String,
    pub ward: String,
    pub bed: String,
    pub condition: String,
    pub assessment: String,
    pub priority: String,
    pub state: String,
    pub onset: Timestamp,
    pub raised: Timestamp,
    pub updated: Timestamp,
    pub seq: u64,
    /// The alert object.
    pub json: Vec<u8>,
}

/// What to look for; `None` = any. Newest raise first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub ward: Option<String>,
    pub bed: Option<String>,
    pub priority: Option<String>,
    pub assessment: Option<String>,
    /// The id of the condition (`T03`), or id and name.
    pub condition: Option<String>,
    pub state: Option<String>,
    /// Only those that are not cleared.
    pub open: bool,
    pub reference: Option<String>,
    /// Of these wards and `_site`; empty: of all.
    pub wards: Vec<String>,
    /// Only alerts before this place (`raised_ms`, `number` of the last row seen).
    pub before: Option<(i64, i64)>,
}

/// Reads alerts over a connection of its own.
pub struct AlertReader {
    pub(super) connection: Connection,
}

pub(super) const ALERT_COLUMNS: &str = "number, id, reference, ward, bed, condition, assessment, priority, state, onset_ms, raised_ms, \
                             updated_ms, seq, json";

impl AlertReader {
    /// Opens a store that exists, for reading.
    pub fn open(path: &Path) -> Result<AlertReader, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        Ok(AlertReader { connection })
    }

    /// The share of alerts rated since then that were of use, 0 to 1; `None`: nobody has rated any.
    pub fn useful_share(&self, since: Timestamp) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT avg(useful) FROM ratings WHERE at_ms >= ?1";
        Ok(self.connection.query_row(sql, [since.ms()], |row| row.get(0))?)
    }

    /// Every open alert, oldest onset first.
    pub fn open_alerts(&self) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!("SELECT {ALERT_COLUMNS} FROM alerts WHERE open = 1 ORDER BY onset_ms, number");
        let mut select = self.connection.prepare_cached(&sql)?;
        let rows = select.query_map([], alert_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One alert.
    pub fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError> {
        let sql = format!("SELECT {ALERT_COLUMNS} FROM alerts WHERE id = ?1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([id], alert_row).optional()?)
    }

    /// One alert by its id or its short reference; the newest where two have the same.
    pub fn find(&self, wanted: &str) -> Result<Option<AlertRow>, StoreError> {
        if crate::command::is_alert_id(wanted) {
            return self.alert(wanted);
        }
        let filter = AlertFilter { reference: Some(wanted.to_ascii_uppercase()), ..AlertFilter::default() };
        Ok(self.list(&filter, 1)?.into_iter().next())
    }

    /// The events of an alert in order, each a complete `alert-event/1` document.
    pub fn events(&self, id: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.numbered_events(id)?.into_iter().map(|(_, json)| json).collect())
    }

    /// The same, each with its place among the events of all alerts.
    pub fn numbered_events(&self, id: &str) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT number, json FROM events WHERE alert = ?1 ORDER BY seq")?;
        let rows = select.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Number of the newest event of all alerts; 0 where there is none. It never goes back.
    pub fn last_event(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(max(number), 0) FROM events";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Events of all alerts after a number, in the order in which they were written, each a complete `alert-event/1` document.
    pub fn events_after(&self, number: i64, limit: usize) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let sql = "SELECT number, json FROM events WHERE number > ?1 ORDER BY number LIMIT ?2";
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map([number, limit.min(LIST_MAX) as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Alerts that match, newest raise first, at most `limit` (and at most [`LIST_MAX`]).
    pub fn list(&self, filter: &AlertFilter, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
        use rusqlite::types::Value;
        let mut sql = format!("SELECT {ALERT_COLUMNS} FROM alerts WHERE 1");
        let mut values: Vec<Value> = Vec::new();
        let texts = [
            ("ward", &filter.ward),
            ("bed", &filter.bed),
            ("priority", &filter.priority),
            ("assessment", &filter.assessment),
            ("state", &filter.state),
            ("reference", &filter.reference),
        ];
        for (column, wanted) in texts {
            if let Some(text) = wanted {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(Value::Text(text.clone()));
            }
        }
        if let Some(condition) = &filter.condition {
            sql.push_str(" AND (condition = ? OR substr(condition, 1, length(?) + 1) = ? || ' ')");
            values.extend(std::iter::repeat_n(Value::Text(condition.clone()), 3));
        }
        if filter.open {
            sql.push_str(" AND open = 1");
        }
        if !filter.wards.is_empty() {
            let places = vec!["?"; filter.wards.len() + 1].join(",");
            sql.push_str(&format!(" AND ward IN ({places})"));
            values.push(Value::Text("_site".into()));
            values.extend(filter.wards.iter().cloned().map(Value::Text));
        }
        if let Some(from) = filter.from {
            sql.push_str(" AND raised_ms >= ?");
            values.push(Value::Integer(from.ms()));
        }
        if let Some(to) = filter.to {
            sql.push_str(" AND raised_ms <= ?");
            values.push(Value::Integer(to.ms()));
        }
        if let Some((raised_ms, number)) = filter.before {
            sql.push_str(" AND (raised_ms, number) < (?, ?)");
            values.push(Value::Integer(raised_ms));
            values.push(Value::Integer(number));
        }
        sql.push_str(" ORDER BY raised_ms DESC, number DESC LIMIT ?");
        values.push(Value::Integer(limit.min(LIST_MAX) as i64));
        let mut select = self.connection.prepare_cached(&sql)?;
        let rows = select.query_map(params_from_iter(values), alert_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What people wrote about an alert, oldest first.
    pub fn comments(&self, id: &str) -> Result<Vec<Comment>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT alert, at_ms, user, text FROM comments WHERE alert = ?1 ORDER BY number")?;
        let rows = select.query_map([id], |row| {
            Ok(Comment { alert: row.get(0)?, at: Timestamp::from_ms(row.get(1)?), user: row.get(2)?, text: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

pub(super) fn alert_row(row: &rusqlite::Row<'_>) -> Result<AlertRow, rusqlite::Error> {
    Ok(AlertRow {
        number: row.get(0)?,
        id: row.get(1)?,
        reference: row.get(2)?,
        ward: row.get(3)?,
        bed: row.get(4)?,
        condition: row.get(5)?,
        assessment: row.get(6)?,
        priority: row.get(7)?,
        state: row.get(8)?,
        onset: Timestamp::from_ms(row.get(9)?),
        raised: Timestamp::from_ms(row.get(10)?),
        updated: Timestamp::from_ms(row.get(11)?),
        seq: row.get::<_, i64>(12)?.max(0) as u64,
        json: row.get(13)?,
    })
}
