//! A look through a recording beforehand: how long it is, and where its alerts are.

use crate::alert::{AlertEvent, EventKind};
use crate::check::{Assessment, Priority};
use crate::shell::replay::{ReplayError, Sink};
use crate::time::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Marks on the bar at most.
pub const TICKS_MAX: usize = 1_000;
/// A recording that takes longer is shown with the marks found so far.
const SCAN_FOR: Duration = Duration::from_secs(600);

/// An alert on the bar.
#[derive(Debug, Clone, Serialize)]
pub struct Tick {
    /// When it was raised, recorded time.
    #[serde(skip)]
    pub at: Timestamp,
    pub at_ms: i64,
    pub priority: &'static str,
    pub condition: String,
    pub ward: String,
    pub bed: String,
    pub text: crate::alert::Text,
    pub id: String,
}

/// What the look has found.
#[derive(Debug, Default)]
pub struct Found {
    pub ticks: Mutex<Vec<Tick>>,
    /// First and last moment, once it is through.
    pub ends: Mutex<Option<(Timestamp, Timestamp)>>,
    pub through: AtomicBool,
    pub stop: AtomicBool,
}

/// Collects the alerts that would reach somebody.
pub struct Look {
    pub found: Arc<Found>,
    pub began: Instant,
}

impl Sink for Look {
    fn message(&mut self, _payload: &[u8]) -> Result<(), ReplayError> {
        if self.found.stop.load(Ordering::Relaxed) || self.began.elapsed() > SCAN_FOR {
            return Err(ReplayError::Enough);
        }
        Ok(())
    }
    fn event(&mut self, event: &AlertEvent, _document: &str) -> Result<(), ReplayError> {
        let alert = &event.alert;
        let raised = matches!(event.event, EventKind::Raised | EventKind::Escalated);
        if !raised || alert.priority == Priority::Info || alert.assessment == Assessment::Unverified {
            return Ok(());
        }
        let mut ticks = self.found.ticks.lock();
        if ticks.len() < TICKS_MAX {
            ticks.push(Tick {
                at: event.ts,
                at_ms: 0,
                priority: alert.priority.as_str(),
                condition: alert.condition.clone(),
                ward: alert.ward.clone(),
                bed: alert.bed.clone(),
                text: alert.text.clone(),
                id: alert.id.clone(),
            });
        }
        Ok(())
    }
}
