//! Randomness with a seed: ChaCha, uniform and normal numbers, and processes that wander and come back.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// A seeded source of numbers.
#[derive(Debug, Clone)]
pub struct Random {
    source: ChaCha8Rng,
    /// The second of the last pair of normal numbers.
    spare: Option<f64>,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { source: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }
    /// From 0 to 1, 1 excluded; 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Mean 0, standard deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.uniform() * n as f64) as u64
    }
}

/// A value that wanders around 0 and comes back (Ornstein and Uhlenbeck 1930), exact at one-second steps.
#[derive(Debug, Clone, Copy)]
pub struct Drift {
    keep: f64,
    kick: f64,
    value: f64,
}

impl Drift {
    /// Returns with time constant `tau_s`, stands off by `sd`.
    pub fn new(tau_s: f64, sd: f64) -> Drift {
        let keep = (-1.0 / tau_s).exp();
        Drift { keep, kick: sd * (1.0 - keep * keep).sqrt(), value: 0.0 }
    }
    pub fn step(&mut self, random: &mut Random) -> f64 {
        self.value = self.keep * self.value + self.kick * random.normal();
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut random = Random::new(7);
        let values: Vec<f64> = (0..40_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / 40_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 40_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn a_drift_has_its_deviation_and_its_memory() {
        let (mut random, mut drift) = (Random::new(9), Drift::new(20.0, 3.0));
        let values: Vec<f64> = (0..200_000).map(|_| drift.step(&mut random)).collect();
        let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        let lagged = values.windows(21).map(|w| w[0] * w[20]).sum::<f64>() / (values.len() - 20) as f64;
        assert!((variance.sqrt() - 3.0).abs() < 0.2, "{variance}");
        assert!((lagged / variance - (-1.0f64).exp()).abs() < 0.08, "{}", lagged / variance);
    }
}
