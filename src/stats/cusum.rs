//! E. S. Page (1954), Continuous inspection schemes, Biometrika 41(1/2), 100–115.
//!
//! Two-sided cumulative sum: small deviations of one sign add up, each less an allowance; a sum that runs out begins anew.

use serde::{Deserialize, Serialize};

/// The two sums, and how long each has been above zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    up: f32,
    down: f32,
    up_run: u16,
    down_run: u16,
}

impl Cusum {
    /// Takes a normalised deviation; `allowance` is half the shift that matters, in standard deviations.
    pub fn push(&mut self, z: f64, allowance: f64) {
        if !z.is_finite() {
            return;
        }
        let step = |sum: &mut f32, run: &mut u16, z: f64| {
            let next = f64::from(*sum) + z - allowance;
            // Bounded, so that one wild value is forgotten.
            *sum = next.clamp(0.0, 1e3) as f32;
            *run = if next > 0.0 { run.saturating_add(1) } else { 0 };
        };
        step(&mut self.up, &mut self.up_run, z);
        step(&mut self.down, &mut self.down_run, -z);
    }

    /// The larger sum.
    pub fn value(&self) -> f64 {
        f64::from(self.up.max(self.down))
    }

    /// Values since the larger sum left zero: since when the level has moved.
    pub fn run(&self) -> u32 {
        u32::from(if self.up >= self.down { self.up_run } else { self.down_run })
    }

    /// Whether the level went up.
    pub fn is_up(&self) -> bool {
        self.up >= self.down
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        *self = Cusum::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_known_numbers() {
        // Allowance 0.5: up 0.5, 2.0, 1.0, 0; down 0, 0, 0, 0.5.
        let mut c = Cusum::default();
        let mut seen = Vec::new();
        for z in [1.0, 2.0, -0.5, -1.0] {
            c.push(z, 0.5);
            seen.push((c.up, c.down));
        }
        assert_eq!(seen, [(0.5, 0.0), (2.0, 0.0), (1.0, 0.0), (0.0, 0.5)]);
        c.push(f64::NAN, 0.5);
        assert_eq!((c.value(), c.run(), c.is_up()), (0.5, 1, false));
    }

    /// Mean of values until the sum passes 5 at an allowance of 0.5.
    fn run_length(shift: f64, runs: u32) -> f64 {
        let mut state = 20_261_130u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let mut total = 0u32;
        for _ in 0..runs {
            let mut c = Cusum::default();
            while c.value() <= 5.0 {
                let z = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                c.push(z + shift, 0.5);
                total += 1;
            }
        }
        f64::from(total) / f64::from(runs)
    }

    #[test]
    fn the_run_lengths_are_those_of_the_tables() {
        // D. C. Montgomery, Introduction to statistical quality control, table 9.3: 465 without a shift, 10.4 at one standard
        // deviation.
        let (quiet, shifted) = (run_length(0.0, 400), run_length(1.0, 2000));
        assert!((quiet - 465.0).abs() < 75.0, "{quiet}");
        assert!((shifted - 10.4).abs() < 0.5, "{shifted}");
    }
}
