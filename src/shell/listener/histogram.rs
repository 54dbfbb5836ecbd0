//! Quantiles of durations without keeping them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Durations in buckets of one eighth of a power of two: quantiles within 12 %.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<AtomicU64>,
}

const BUCKETS: usize = 8 * 40;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one duration, microseconds.
    pub fn record(&self, us: u64) {
        self.buckets[Histogram::bucket(us)].fetch_add(1, Ordering::Relaxed);
    }
    fn bucket(us: u64) -> usize {
        if us < 8 {
            return us as usize;
        }
        let power = 63 - us.leading_zeros() as usize;
        let eighth = (us >> (power - 3)) as usize & 7;
        ((power - 2) * 8 + eighth).min(BUCKETS - 1)
    }
    /// Lower bound of a bucket, microseconds.
    fn floor(bucket: usize) -> u64 {
        if bucket < 8 {
            return bucket as u64;
        }
        let power = bucket / 8 + 2;
        (8 + bucket as u64 % 8) << (power - 3)
    }
    /// The quantile (0 to 1), microseconds; `None` if nothing was counted.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = (q.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        counts
            .iter()
            .position(|n| {
                seen += n;
                total > 0 && seen >= rank
            })
            .map(Histogram::floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        for us in 1..=10_000 {
            histogram.record(us);
        }
        for (q, exact) in [(0.5, 5000.0), (0.99, 9900.0), (0.001, 10.0)] {
            let found = histogram.quantile_us(q).unwrap() as f64;
            assert!(found <= exact && found >= exact * 0.87, "{q}: {found}");
        }
        histogram.record(u64::MAX);
        assert!((0..BUCKETS).all(|b| Histogram::bucket(Histogram::floor(b)) == b));
    }
}
