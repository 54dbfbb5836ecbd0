//! V. Vovk, R. Wang (2021), E-values: calibration, combination and applications, Annals of Statistics 49(3), 1736–1754; J. Shin,
//! A. Ramdas, A. Rinaldo (2024), E-detectors: a nonparametric framework for sequential change detection, New England Journal of
//! Statistics in Data Science 2(2), 229–260; I. Waudby-Smith, A. Ramdas (2024), Estimating means of bounded random variables by
//! betting, JRSS B 86(1), 1–27 (the bet).
//!
//! Evidence that may be multiplied: an e-value has a mean of at most 1 while nothing is wrong. All in natural logarithms, so
//! that nothing under- or overflows.

use serde::{Deserialize, Serialize};

/// ln e of a p-value by the mixture ∫₀¹ κ p^(κ−1) dκ = (1 − p + p ln p)/(p (ln p)²). A p-value outside (0, 1] counts as 1.
pub fn log_of_p(p: f64) -> f64 {
    if !(p > 0.0 && p < 1.0) {
        return -std::f64::consts::LN_2;
    }
    // With x = −ln p the mixture is (e^x − 1 − x)/x².
    let x = -p.ln();
    if x < 1e-3 {
        return (0.5 + x / 6.0 + x * x / 24.0).ln();
    }
    x + (-(1.0 + x) * (-x).exp()).ln_1p() - 2.0 * x.ln()
}

/// ln of the arithmetic mean of e-values given in logarithms: an e-value under any dependence. Of none: 0.
pub fn log_mean(logs: &[f64]) -> f64 {
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return if logs.is_empty() { 0.0 } else { largest };
    }
    largest + (logs.iter().map(|l| (l - largest).exp()).sum::<f64>() / logs.len() as f64).ln()
}

/// R = (R + 1)·e after every value, in logarithms: reaches 1/α after 1/α values on average at the earliest while nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShiryaevRoberts {
    log_r: f32,
}

impl Default for ShiryaevRoberts {
    fn default() -> Self {
        ShiryaevRoberts { log_r: f32::NEG_INFINITY }
    }
}

impl ShiryaevRoberts {
    /// Takes ln e; R is kept at `log_max` at most, so that an end is seen.
    pub fn push(&mut self, log_e: f64, log_max: f64) {
        if log_e.is_nan() {
            return;
        }
        let r = f64::from(self.log_r);
        // ln(R + 1) without overflow.
        let grown = if r > 0.0 { r + (-r).exp().ln_1p() } else { r.exp().ln_1p() };
        self.log_r = (grown + log_e).min(log_max) as f32;
    }

    /// ln R; minus infinity at the beginning.
    pub fn log(&self) -> f64 {
        f64::from(self.log_r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    #[test]
    fn p_becomes_e_by_the_mixture() {
        let direct = |p: f64| (1.0 - p + p * p.ln()) / (p * p.ln() * p.ln());
        for p in [1e-8, 1e-4, 0.01, 0.05, 0.5, 0.99] {
            assert!((log_of_p(p) - direct(p).ln()).abs() < 1e-6, "{p}");
        }
        assert!((log_of_p(1.0).exp() - 0.5).abs() < 1e-12 && (log_of_p(0.999_999).exp() - 0.5).abs() < 1e-6);
        assert!((log_of_p(0.001).exp() - 20.79).abs() < 0.01, "{}", log_of_p(0.001).exp());
        assert!(log_of_p(1e-300).is_finite() && log_of_p(f64::NAN) < 0.0 && log_of_p(0.0) < 0.0);
    }

    #[test]
    fn the_mixture_has_a_mean_of_one() {
        // ∫ e(p) dp by the midpoint rule in x = −ln p: ∫ e(x) e^(−x) dx = 1. The tail beyond X holds 1/X.
        let step = 0.001;
        let sum: f64 = (0..200_000).map(|i| (f64::from(i) + 0.5) * step).map(|x| (log_of_p((-x).exp()) - x).exp() * step).sum();
        assert!((sum - (1.0 - 1.0 / 200.0)).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn two_and_two_and_two_give_fourteen() {
        let mut r = ShiryaevRoberts::default();
        for expected in [2.0f64, 6.0, 14.0] {
            r.push(2f64.ln(), 50.0);
            assert!((r.log() - expected.ln()).abs() < 1e-6);
        }
        r.push(f64::NAN, 50.0);
        assert!((r.log() - 14f64.ln()).abs() < 1e-6);
        r.push(1e6, 50.0);
        assert_eq!(r.log(), 50.0);
    }

    #[test]
    fn a_threshold_of_a_hundred_is_reached_after_a_hundred_at_the_earliest() {
        let mut state = 4711;
        let mut total = 0u32;
        for _ in 0..200 {
            let mut r = ShiryaevRoberts::default();
            while r.log() < 100f64.ln() && total < 10_000_000 {
                r.push(log_of_p(uniform(&mut state)), 50.0);
                total += 1;
            }
        }
        assert!(total / 200 >= 100, "{}", total / 200);
    }

    #[test]
    fn a_mean_of_known_numbers() {
        assert!((log_mean(&[1f64.ln(), 3f64.ln()]).exp() - 2.0).abs() < 1e-12);
        assert!((log_mean(&[1000.0, 0.0]) - (1000.0 - 2f64.ln())).abs() < 1e-9);
        assert_eq!((log_mean(&[]), log_mean(&[f64::NEG_INFINITY])), (0.0, f64::NEG_INFINITY));
    }
}
