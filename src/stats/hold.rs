//! Western Electric Company (1956), Statistical Quality Control Handbook: it is the run of readings that counts, not the one.
//!
//! Readings in a row that share a fault, and when the first of them came.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A run of readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    run: u32,
    since: Timestamp,
}

impl Hold {
    /// Takes a reading; one without the fault ends the run. Readings in the run now.
    pub fn see(&mut self, fault: bool, at: Timestamp) -> u32 {
        if !fault {
            self.run = 0;
            return 0;
        }
        if self.run == 0 {
            self.since = at;
        }
        self.run = self.run.saturating_add(1);
        self.run
    }

    /// Whether the run has so many readings and is that old.
    pub fn reached(&self, readings: f64, hold_s: f64, now: Timestamp) -> bool {
        self.run > 0 && f64::from(self.run) >= readings && now.since_s(self.since) >= hold_s
    }

    /// Readings in the run.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// When the first reading of the run came.
    pub fn since(&self) -> Timestamp {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_needs_its_readings_and_its_time_and_one_good_reading_ends_it() {
        let at = |s: i64| Timestamp(s * 1000);
        let mut hold = Hold::default();
        assert!(!hold.reached(0.0, 0.0, at(0)), "no reading is no run");
        for s in 0..3 {
            assert_eq!(hold.see(true, at(s)), s as u32 + 1);
        }
        assert!(hold.reached(3.0, 2.0, at(2)) && !hold.reached(3.0, 2.1, at(2)) && !hold.reached(4.0, 2.0, at(2)));
        assert_eq!(hold.since(), at(0));
        hold.see(false, at(3));
        assert_eq!((hold.run(), hold.reached(1.0, 0.0, at(3))), (0, false));
    }
}
