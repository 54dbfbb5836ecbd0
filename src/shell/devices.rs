//! The inventory as HTTP shows it: made by the judging thread when somebody asks, kept for a second.

use crate::monitor::{DeviceInfo, Monitor};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A list is given again for so long.
const FRESH: Duration = Duration::from_secs(1);
/// So long is waited for the judging thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// The whole inventory at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// Date of the advisory data.
    pub data_date: String,
    pub known: u64,
    pub known_max: u64,
    /// Devices that were forgotten because there were too many.
    pub forgotten: u64,
    /// Events of devices that were not said because there were too many.
    pub events_held: u64,
    pub devices: Vec<DeviceInfo>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Listing {
    /// What the monitor knows now; with the devices' own ids for whoever looks at local files and asks for them.
    pub fn of(monitor: &Monitor, identified: bool) -> Listing {
        let (known, max, forgotten, events_held) = monitor.device_counts();
        Listing {
            data_date: monitor.advisories().data_date().to_owned(),
            known: known as u64,
            known_max: max as u64,
            forgotten,
            events_held,
            devices: monitor.devices(identified),
            cursor: None,
        }
    }
}

/// Between HTTP and the judging thread.
#[derive(Debug, Default)]
pub struct Board {
    asked: AtomicBool,
    kept: Mutex<Option<(Instant, Arc<Listing>)>>,
    put: tokio::sync::Notify,
}

impl Board {
    /// The judging thread: gives what was asked for.
    pub fn answer(&self, monitor: &Monitor) {
        if self.asked.swap(false, Ordering::AcqRel) {
            *self.kept.lock() = Some((Instant::now(), Arc::new(Listing::of(monitor, false))));
            self.put.notify_waiters();
        }
    }

    /// The list, at most a second old, or newer than `after`; `None` where the judging thread does not answer.
    pub async fn get(&self, after: Option<Instant>) -> Option<Arc<Listing>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let put = self.put.notified();
            tokio::pin!(put);
            // Registered before the look, so that no answer is missed.
            put.as_mut().enable();
            let kept = self.kept.lock().clone();
            if let Some((at, list)) = kept
                && at.elapsed() < FRESH
                && after.is_none_or(|after| at > after)
            {
                return Some(list);
            }
            self.asked.store(true, Ordering::Release);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || tokio::time::timeout(left, put).await.is_err() {
                return None;
            }
        }
    }
}
