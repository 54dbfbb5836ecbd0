//! J. W. Tukey (1977), Exploratory Data Analysis, chapter 7 (running medians).
//!
//! The usual interval between two arrivals: the median of the last fifteen. One gap, or a burst after an outage, does not move it.

use serde::{Deserialize, Serialize};

const KEPT: usize = 15;

/// Running median of intervals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cadence {
    intervals_ms: [u32; KEPT],
    count: u32,
    median_ms: u32,
}

impl Cadence {
    /// Takes an interval; zero and negative ones (a burst in one millisecond, a clock that went back) are left out.
    pub fn push(&mut self, interval_ms: i64) {
        let Ok(interval) = u32::try_from(interval_ms) else { return };
        if interval == 0 {
            return;
        }
        let at = self.count as usize % KEPT;
        self.intervals_ms[at] = interval;
        self.count = self.count.checked_add(1).unwrap_or(KEPT as u32);
        // In the steady state the interval is what the median says already, and sorting can wait for the ring to wrap.
        if self.count as usize <= KEPT || at == 0 {
            let kept = (self.count as usize).min(KEPT);
            let mut sorted = self.intervals_ms;
            sorted[..kept].sort_unstable();
            self.median_ms = sorted[kept / 2];
        }
    }

    /// The usual interval, seconds, once `needed` intervals are known.
    pub fn seconds(&self, needed: u32) -> Option<f64> {
        (self.count >= needed.max(1)).then(|| f64::from(self.median_ms) / 1000.0)
    }

    /// Intervals seen.
    pub fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_a_gap_and_follows_a_change() {
        let mut c = Cadence::default();
        for i in 0..30 {
            c.push(if i == 7 { 500_000 } else { 1000 + i % 3 });
        }
        assert_eq!(c.seconds(10), Some(1.001));
        for _ in 0..30 {
            c.push(60_000);
        }
        assert_eq!(c.seconds(10), Some(60.0));
    }

    #[test]
    fn nothing_is_known_before_enough_intervals() {
        let mut c = Cadence::default();
        for _ in 0..9 {
            c.push(1000);
            c.push(-5);
            c.push(0);
        }
        assert_eq!(c.seconds(10), None);
        assert_eq!(c.seconds(5), Some(1.0));
    }
}
