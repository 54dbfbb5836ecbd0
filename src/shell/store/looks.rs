//! What the pages ask beside lists: the audit, how many alerts a bed has, which alerts fall into a chart.

use super::{AlertReader, AlertRow, LIST_MAX, StoreError};
use crate::time::Timestamp;
use rusqlite::{OptionalExtension, params};

/// A line of the audit as it is read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditRow {
    pub number: i64,
    pub at: String,
    pub user: String,
    pub via: String,
    pub action: String,
    /// What was acted on or looked at; `None`: nothing by name.
    pub object: Option<String>,
    pub result: String,
}

/// Alerts that reached nurses, of one bed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BedLoad {
    pub ward: String,
    pub bed: String,
    pub alerts_per_day: f64,
}

/// How many alerts there are, and how many were of use.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Raised in the window, without `info` and `unverified`.
    pub alerts: u64,
    /// Width of the window, days: less than asked for where the store is younger.
    pub days: f64,
    /// Most loaded first.
    pub beds: Vec<BedLoad>,
    /// Share of the ratings in the window that say "useful"; `None`: nobody has rated.
    pub useful_share: Option<f64>,
}

impl AlertReader {
    /// The audit, newest first, before a line's number.
    pub fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT number, at_ms, user, via, verb, alert, result FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
        )?;
        let rows = select.query_map(params![before.unwrap_or(i64::MAX), limit.min(LIST_MAX) as i64], |row| {
            Ok(AuditRow {
                number: row.get(0)?,
                at: Timestamp::from_ms(row.get(1)?).to_string(),
                user: row.get(2)?,
                via: row.get(3)?,
                action: row.get(4)?,
                object: row.get(5)?,
                result: row.get(6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What the newest line of an action says of its object.
    pub fn last_object(&self, action: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT alert FROM audit WHERE verb = ?1 ORDER BY number DESC LIMIT 1";
        Ok(self.connection.query_row(sql, [action], |row| row.get::<_, Option<String>>(0)).optional()?.flatten())
    }

    /// Alerts of the last `days` days up to `now`.
    pub fn load(&self, now: Timestamp, days: f64) -> Result<Load, StoreError> {
        /// A day is not extrapolated from less, days.
        const DAYS_MIN: f64 = 1.0 / 24.0;
        let sql = "SELECT number FROM meta WHERE key = 'since'";
        let since: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0)).optional()?;
        let begin = now.plus_s(-days * 86_400.0).ms().max(since.unwrap_or(0));
        let days = (now.since_s(Timestamp::from_ms(begin)) / 86_400.0).max(DAYS_MIN);
        let mut select = self.connection.prepare_cached(
            "SELECT ward, bed, count(*) FROM alerts WHERE raised_ms >= ?1 AND priority <> 'info' AND assessment <> 'unverified'
             GROUP BY ward, bed ORDER BY count(*) DESC, ward, bed",
        )?;
        let rows = select.query_map([begin], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)))?;
        let (mut alerts, mut beds) = (0, Vec::new());
        for row in rows {
            let (ward, bed, count): (String, String, i64) = row?;
            alerts += count.max(0) as u64;
            if !bed.starts_with('_') && beds.len() < LIST_MAX {
                beds.push(BedLoad { ward, bed, alerts_per_day: (count as f64 / days * 100.0).round() / 100.0 });
            }
        }
        let useful_share = self.useful_share(Timestamp::from_ms(begin))?;
        Ok(Load { alerts, days, beds, useful_share })
    }

    /// Alerts of a bed that were open at some moment between `from` and `to`, newest onset first.
    pub fn between(
        &self,
        ward: &str,
        bed: &str,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM alerts WHERE ward = ?1 AND bed = ?2 AND onset_ms <= ?4 AND (open = 1 OR updated_ms >= ?3)
             ORDER BY onset_ms DESC, number DESC LIMIT ?5",
            super::alerts::ALERT_COLUMNS
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let wanted = params![ward, bed, from.ms(), to.ms(), limit.min(LIST_MAX) as i64];
        let rows = select.query_map(wanted, super::alerts::alert_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
