//! Cases as the journal's steps have made them: the newest state of each, its steps, and the alerts that must stay for it.

use super::{AlertReader, LIST_MAX, StoreError};
use crate::case::{Act, Case};
use crate::time::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

/// A step that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// Number of its record in the journal.
    pub sequence: u64,
    /// Version of the case after it.
    pub version: u32,
    pub at: Timestamp,
    pub act: Act,
}

/// What a step has made of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseChange {
    pub case: Case,
    pub step: StepRow,
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes changes, oldest first; what is there already stays.
pub(super) fn write(transaction: &Transaction<'_>, changes: &[CaseChange]) -> Result<(), StoreError> {
    for change in changes {
        let (case, step) = (&change.case, &change.step);
        let json = serde_json::to_vec(case).unwrap_or_default();
        transaction
            .prepare_cached(
                "INSERT INTO cases (id, sequence, open, opened_ms, updated_ms, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, open = excluded.open,
                     updated_ms = excluded.updated_ms, json = excluded.json
                 WHERE excluded.sequence > cases.sequence",
            )?
            .execute(params![
                case.id,
                integer(case.sequence),
                case.closed.is_none(),
                case.opened.at.ms(),
                case.updated.ms(),
                json
            ])?;
        let act = serde_json::to_vec(&step.act).unwrap_or_default();
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO case_steps (sequence, case_id, version, at_ms, act) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![integer(step.sequence), case.id, step.version, step.at.ms(), act])?;
        for alert in case.alerts() {
            transaction
                .prepare_cached("INSERT OR IGNORE INTO case_alerts (case_id, alert) VALUES (?1, ?2)")?
                .execute(params![case.id, alert])?;
        }
    }
    Ok(())
}

impl super::Store {
    /// A case that somebody else than the service has changed, on a folder at rest: as a commit would write it.
    pub fn write_cases(&mut self, changes: &[CaseChange]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        write(&transaction, changes)?;
        Ok(transaction.commit()?)
    }
    /// The alerts of a case need not stay any longer.
    pub fn let_go(&self, case: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM case_alerts WHERE case_id = ?1", [case])?;
        Ok(())
    }
    /// Record of the newest step that was taken; 0: there is none.
    pub fn last_case_step(&self) -> Result<u64, StoreError> {
        let last: Option<i64> =
            self.connection.query_row("SELECT max(sequence) FROM case_steps", [], |row| row.get(0)).optional()?.flatten();
        Ok(last.map_or(0, |last| last.max(0) as u64))
    }
    /// Whether the step of a record was taken.
    pub fn has_case_step(&self, sequence: u64) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM case_steps WHERE sequence = ?1";
        Ok(self.connection.query_row(sql, [integer(sequence)], |_| Ok(())).optional()?.is_some())
    }
    /// One case.
    pub fn case(&self, id: &str) -> Result<Option<Case>, StoreError> {
        one(&self.connection, id)
    }
    /// The cases that are open, and those closed since then.
    pub fn cases_since(&self, closed_since: Timestamp) -> Result<Vec<Case>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT json FROM cases WHERE open = 1 OR updated_ms >= ?1 ORDER BY id")?;
        let rows = select.query_map([closed_since.ms()], |row| row.get::<_, Vec<u8>>(0))?;
        let rows: Vec<Vec<u8>> = rows.collect::<Result<_, _>>()?;
        Ok(rows.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect())
    }
}

fn one(connection: &rusqlite::Connection, id: &str) -> Result<Option<Case>, StoreError> {
    let sql = "SELECT json FROM cases WHERE id = ?1";
    let json: Option<Vec<u8>> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

impl AlertReader {
    /// One case.
    pub fn case(&self, id: &str) -> Result<Option<Case>, StoreError> {
        one(&self.connection, id)
    }
    /// Cases, newest first; open ones only, or all.
    pub fn cases(&self, open: bool, limit: usize) -> Result<Vec<Case>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT json FROM cases WHERE open = 1 OR ?1 = 0 ORDER BY opened_ms DESC, id DESC LIMIT ?2")?;
        let rows = select.query_map(params![open, limit.min(LIST_MAX) as i64], |row| row.get::<_, Vec<u8>>(0))?;
        let rows: Vec<Vec<u8>> = rows.collect::<Result<_, _>>()?;
        Ok(rows.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect())
    }
    /// The steps of a case, oldest first.
    pub fn case_steps(&self, id: &str) -> Result<Vec<StepRow>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT sequence, version, at_ms, act FROM case_steps WHERE case_id = ?1 ORDER BY sequence")?;
        let rows = select.query_map([id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        let mut steps = Vec::new();
        for row in rows {
            let (sequence, version, at_ms, act) = row?;
            if let Ok(act) = serde_json::from_slice(&act) {
                steps.push(StepRow { sequence: sequence.max(0) as u64, version, at: Timestamp::from_ms(at_ms), act });
            }
        }
        Ok(steps)
    }
}
