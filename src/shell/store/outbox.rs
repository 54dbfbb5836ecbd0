//! The publisher's side of the outbox: rows in order, and marks of what was delivered.
//!
//! One contract: a row is there until [`OutboxReader::mark_sent`] was told of it; numbers grow and are never used again.

use super::{OutboxGauge, OutboxKind, StoreError};
use crate::time::Timestamp;
use rusqlite::{Connection, params};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One row that waits for the broker.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    pub seq: i64,
    pub kind: OutboxKind,
    /// Relative topic.
    pub topic: String,
    pub payload: Vec<u8>,
    pub expiry_s: u32,
    pub at: Timestamp,
    /// `{alert}.{seq}` and `vitalguard.alert.{event}`: CloudEvents `id` and `type`.
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

/// The publisher's side of the outbox.
pub struct OutboxReader {
    pub(super) connection: Connection,
    pub(super) gauge: Arc<OutboxGauge>,
}

impl OutboxReader {
    /// Rows after `seq`, lowest first.
    pub fn after(&self, seq: i64, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT seq, kind, topic, payload, expiry_s, at_ms, event_id, event_type, correlation
             FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let rows = select.query_map(params![seq, limit as i64], |row| {
            Ok(OutboxRow {
                seq: row.get(0)?,
                kind: OutboxKind::from_number(row.get(1)?),
                topic: row.get(2)?,
                payload: row.get(3)?,
                expiry_s: row.get(4)?,
                at: Timestamp::from_ms(row.get(5)?),
                event_id: row.get(6)?,
                event_type: row.get(7)?,
                correlation: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The broker has these: they leave the outbox.
    pub fn mark_sent(&mut self, seqs: &[i64]) -> Result<(), StoreError> {
        if seqs.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut gone = 0;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?;
            for seq in seqs {
                gone += delete.execute([seq])?;
            }
        }
        transaction.commit()?;
        self.gauge.depth.fetch_sub(gone as i64, Ordering::Relaxed);
        Ok(())
    }

    /// Depth and losses.
    pub fn gauge(&self) -> Arc<OutboxGauge> {
        Arc::clone(&self.gauge)
    }
}
