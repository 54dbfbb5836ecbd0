//! F. R. Hampel (1974), The influence curve and its role in robust estimation, Journal of the American Statistical
//! Association 69(346), 383–393 (the median absolute deviation).
//!
//! Median and MAD of the last 31 values, and the smallest of the last 256 to 512: up to fifteen wild values of 31 move neither
//! of the first two beyond the others. Values are whole (milliseconds); ±24 days fit.

use serde::{Deserialize, Serialize};

const KEPT: usize = 31;
/// In the steady state the two are computed anew every so many values.
const EVERY: u32 = 8;
/// Values of one window of the minimum.
const WINDOW: u16 = 256;

/// Running median, median absolute deviation and minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Median {
    ring: [i32; KEPT],
    count: u32,
    median: i32,
    mad: i32,
    /// Minimum of the present window and of the one before.
    lows: [i32; 2],
    in_window: u16,
}

impl Default for Median {
    fn default() -> Self {
        Median { ring: [0; KEPT], count: 0, median: 0, mad: 0, lows: [i32::MAX; 2], in_window: 0 }
    }
}

/// As much of a 64-bit number as fits.
fn narrow(value: i64) -> i32 {
    value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

impl Median {
    /// Takes a value.
    pub fn push(&mut self, value: i64) {
        let value = narrow(value);
        self.ring[self.count as usize % KEPT] = value;
        self.count = self.count.checked_add(1).unwrap_or(KEPT as u32 * EVERY);
        self.lows[0] = self.lows[0].min(value);
        self.in_window += 1;
        if self.in_window >= WINDOW {
            self.lows = [i32::MAX, self.lows[0]];
            self.in_window = 0;
        }
        if self.count as usize <= KEPT || self.count.is_multiple_of(EVERY) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let kept = (self.count as usize).min(KEPT);
        let mut sorted = self.ring;
        let middle = |part: &mut [i32]| *part.select_nth_unstable(part.len() / 2).1;
        self.median = middle(&mut sorted[..kept]);
        for value in &mut sorted[..kept] {
            *value = (i64::from(*value) - i64::from(self.median)).unsigned_abs().min(i32::MAX as u64) as i32;
        }
        self.mad = middle(&mut sorted[..kept]);
    }

    /// The level has moved by so much: what is known moves with it.
    pub fn shift(&mut self, by: i64) {
        let moved = |value: i32| narrow(i64::from(value) + by);
        self.ring = self.ring.map(moved);
        self.median = moved(self.median);
        self.lows = self.lows.map(|low| if low == i32::MAX { low } else { moved(low) });
    }

    /// The middle value; `None` before the first.
    pub fn median(&self) -> Option<i64> {
        (self.count > 0).then_some(i64::from(self.median))
    }

    /// Median of the distances to the median.
    pub fn mad(&self) -> i64 {
        i64::from(self.mad)
    }

    /// The smallest of the last 256 to 512 values.
    pub fn low(&self) -> Option<i64> {
        let low = self.lows[0].min(self.lows[1]);
        (low != i32::MAX).then_some(i64::from(low))
    }

    /// Values taken.
    pub fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_mad_of_known_numbers() {
        // 1 1 2 2 4 6 9: the median is 2, the distances are 1 1 0 0 2 4 7, and their median is 1.
        let mut m = Median::default();
        for v in [1, 1, 2, 2, 4, 6, 9] {
            m.push(v);
        }
        assert_eq!((m.median(), m.mad(), m.low()), (Some(2), 1, Some(1)));
        assert_eq!(Median::default().median(), None);
    }

    #[test]
    fn fifteen_wild_values_of_31_move_it_only_among_the_others() {
        let mut m = Median::default();
        for i in 0..16 {
            m.push(100 + i % 3);
        }
        for _ in 0..15 {
            m.push(1_000_000_000_000);
        }
        assert_eq!(m.median(), Some(102));
        assert!(m.mad() <= 2, "{}", m.mad());
    }

    #[test]
    fn it_follows_within_31_values_and_shifts_at_once() {
        let mut m = Median::default();
        for i in 0..1000 {
            m.push(50 + i % 5);
        }
        m.shift(-3_600_000);
        assert_eq!((m.median(), m.mad(), m.low()), (Some(52 - 3_600_000), 1, Some(50 - 3_600_000)));
        for _ in 0..40 {
            m.push(0);
        }
        assert_eq!((m.median(), m.mad()), (Some(0), 0));
        assert_eq!(m.low(), Some(50 - 3_600_000));
        for _ in 0..512 {
            m.push(0);
        }
        assert_eq!(m.low(), Some(0), "an old minimum is forgotten");
    }
}
