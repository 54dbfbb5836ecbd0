//! J. W. Tukey (1977), Exploratory Data Analysis, chapter 7 (running medians), with the median absolute deviation of Hampel
//! (1974) as its measure of jitter.
//!
//! Whether arrivals keep the period that they had: the period is the median of the intervals, learned over 60 of them and then
//! only from intervals that fit. Two streams of one period in one are told by neighbouring intervals that add up to the period.
//! A pause and the burst that makes up for it are no change of the period.

use super::median::Median;
use serde::{Deserialize, Serialize};

/// Intervals before the period counts as known.
const NEEDED: u32 = 60;
/// A stream without a period has more jitter than this share of its median interval.
const JITTER_MAX: f64 = 0.1;

/// How one arrival fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// No period is known (yet).
    Unknown,
    /// As far from the one before as always.
    On,
    /// Made up for a pause.
    Burst,
    Off,
}

/// The period of a stream of arrivals, and how long they have not kept it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lattice {
    intervals: Median,
    last_ms: u32,
    off: u16,
    paired: u16,
    burst_left: u32,
}

impl Lattice {
    /// The period, milliseconds, where there is one.
    pub fn period_ms(&self) -> Option<f64> {
        // Messages of one millisecond have no period.
        let median = self.intervals.median().filter(|median| *median > 0)? as f64;
        (self.intervals.count() >= NEEDED && self.intervals.mad() as f64 <= JITTER_MAX * median).then_some(median)
    }

    /// Takes the interval since the arrival before.
    pub fn push(&mut self, interval_ms: i64) -> Beat {
        let interval = interval_ms.clamp(0, i64::from(u32::MAX)) as f64;
        let Some(period) = self.period_ms() else {
            self.intervals.push(interval_ms);
            return Beat::Unknown;
        };
        let last = f64::from(self.last_ms);
        self.last_ms = interval as u32;
        let jitter = self.intervals.mad() as f64;
        if interval > 3.0 * period {
            self.burst_left = ((interval / period) as u32).saturating_add(5);
        } else if self.burst_left > 0 && interval < 0.75 * period {
            self.burst_left -= 1;
            return Beat::Burst;
        }
        let half = |ms: f64| (0.05 * period..0.95 * period).contains(&ms);
        let pair = half(last) && half(interval) && (last + interval - period).abs() <= (0.1 * period).max(3.0 * jitter);
        self.paired = if pair { self.paired.saturating_add(1) } else { 0 };
        let slack = (0.25 * period).max(6.0 * jitter).min(0.45 * period);
        if (interval - period).abs() <= slack && !pair {
            self.off = 0;
            self.burst_left = 0;
            self.intervals.push(interval_ms);
            return Beat::On;
        }
        self.off = self.off.saturating_add(1);
        Beat::Off
    }

    /// Arrivals in a row that did not keep the period.
    pub fn off(&self) -> u32 {
        u32::from(self.off)
    }

    /// Neighbouring intervals in a row that add up to the period: two streams in one.
    pub fn paired(&self) -> u32 {
        u32::from(self.paired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(lattice: &mut Lattice, intervals: &[i64], times: usize) -> u32 {
        for _ in 0..times {
            for i in intervals {
                lattice.push(*i);
            }
        }
        lattice.off()
    }

    fn learned(period: i64) -> Lattice {
        let mut lattice = Lattice::default();
        beats(&mut lattice, &[period, period + period / 50, period - period / 50], 20);
        assert_eq!(lattice.period_ms(), Some(period as f64));
        lattice
    }

    #[test]
    fn arrivals_of_one_moment_have_no_period() {
        let mut lattice = Lattice::default();
        assert_eq!(beats(&mut lattice, &[0], 200), 0);
        assert_eq!((lattice.period_ms(), lattice.push(1000), lattice.push(i64::MAX)), (None, Beat::Unknown, Beat::Unknown));
    }

    #[test]
    fn another_period_is_off_with_every_message_and_the_same_never() {
        let mut lattice = learned(5010);
        assert_eq!(beats(&mut lattice, &[5000, 5020, 5100], 100), 0);
        assert_eq!(beats(&mut lattice, &[10_020], 10), 10);
        assert_eq!(beats(&mut lattice, &[5010], 1), 0);
        assert_eq!(beats(&mut lattice, &[3000], 10), 10);
    }

    #[test]
    fn two_phases_add_up_to_the_period() {
        let mut lattice = learned(1000);
        beats(&mut lattice, &[300, 700], 6);
        assert_eq!((lattice.off(), lattice.paired()), (12, 11));
        let mut jitter = learned(1000);
        beats(&mut jitter, &[900, 1100, 1000], 20);
        assert_eq!((jitter.off(), jitter.paired()), (0, 0));
    }

    #[test]
    fn a_pause_and_its_burst_are_no_change() {
        let mut lattice = learned(1000);
        lattice.push(60_000);
        assert_eq!(beats(&mut lattice, &[5], 60), 1, "the pause itself");
        assert_eq!(beats(&mut lattice, &[1000], 1), 0);
        assert_eq!(beats(&mut lattice, &[4000, 10, 12, 11, 900], 30), 0);
    }

    #[test]
    fn what_comes_at_random_has_no_period() {
        let mut lattice = Lattice::default();
        let mut x = 7u64;
        for _ in 0..1000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            assert_eq!(lattice.push((x >> 33) as i64 % 2000), Beat::Unknown);
        }
    }
}
