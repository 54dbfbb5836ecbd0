//! S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia (2023), Testing for outliers with conformal p-values, Annals of Statistics
//! 51(1), 149–178; J. R. M. Hosking, J. R. Wallis (1987), Parameter and quantile estimation for the generalized Pareto
//! distribution, Technometrics 29(3), 339–349 (the tail).
//!
//! What scores look like while nothing is wrong, frozen: 1 024 quantiles, and a generalised Pareto tail above the 99.9 %
//! quantile. The p-value of a new score is its rank among them, never below 1/(n + 1).

use serde::{Deserialize, Serialize};

/// Quantiles of a sketch: of level k/1023, k = 0 to 1023.
pub const QUANTILES: usize = 1024;
/// Share of scores in the tail.
const TAIL_SHARE: f64 = 0.001;
/// Fewer scores beyond the threshold give an exponential tail.
const TAIL_NEEDED: usize = 20;

/// The tail above the 99.9 % quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Where it begins.
    pub threshold: f64,
    /// σ; 0: nothing is known beyond the threshold but that 1/(n + 1) is the smallest p-value.
    pub scale: f64,
    /// ξ; 0: exponential.
    pub shape: f64,
}

/// A frozen distribution of scores; larger is stranger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sketch {
    /// Scores it was made of.
    pub blocks: u64,
    /// Ascending.
    pub quantiles: Vec<f32>,
    pub tail: Tail,
}

impl Sketch {
    /// Of all these scores (they are sorted); `None` for fewer than 100, or if one is not finite.
    pub fn fit(scores: &mut [f64]) -> Option<Sketch> {
        if scores.len() < 100 || scores.iter().any(|s| !s.is_finite()) {
            return None;
        }
        scores.sort_unstable_by(f64::total_cmp);
        let last = scores.len() - 1;
        let at = |level: f64| {
            let place = level * last as f64;
            let (low, part) = (place.floor() as usize, place.fract());
            scores[low] + (scores[(low + 1).min(last)] - scores[low]) * part
        };
        let quantiles = (0..QUANTILES).map(|k| at(k as f64 / (QUANTILES - 1) as f64) as f32).collect();
        let threshold = at(1.0 - TAIL_SHARE);
        let first = scores.partition_point(|s| *s <= threshold);
        let tail = Tail::fit(threshold, &scores[first..]);
        Some(Sketch { blocks: scores.len() as u64, quantiles, tail })
    }

    /// Why it cannot be one; `None` if it can.
    pub fn fault(&self) -> Option<&'static str> {
        let tail = [self.tail.threshold, self.tail.scale, self.tail.shape];
        match () {
            () if self.quantiles.len() != QUANTILES => Some("a sketch has 1024 quantiles"),
            () if self.quantiles.iter().any(|q| !q.is_finite()) => Some("a quantile is not a number"),
            () if self.quantiles.windows(2).any(|w| w[0] > w[1]) => Some("the quantiles do not ascend"),
            () if self.blocks < 100 => Some("fewer than 100 blocks"),
            () if tail.iter().any(|t| !t.is_finite()) || self.tail.scale < 0.0 => Some("the tail is none"),
            () if self.tail.shape.abs() > 0.9 => Some("the tail's shape is beyond ±0.9"),
            () if self.tail.threshold < f64::from(self.quantiles[QUANTILES - 3]) - 1e-3 => Some("the tail begins too early"),
            () => None,
        }
    }

    /// Share of scores at or beyond this one, with the one that is asked about: at least 1/(n + 1).
    pub fn p(&self, score: f64) -> f64 {
        let n = self.blocks as f64;
        if score.is_nan() {
            return 1.0;
        }
        let beyond = if score > self.tail.threshold { TAIL_SHARE * self.tail.beyond(score) } else { self.above(score) };
        ((1.0 + n * beyond) / (n + 1.0)).clamp(1.0 / (n + 1.0), 1.0)
    }

    /// Share of the quantiles at or beyond a score, between two of them by a line.
    fn above(&self, score: f64) -> f64 {
        let below = self.quantiles.partition_point(|q| f64::from(*q) < score);
        if below == 0 {
            return 1.0;
        }
        if below == QUANTILES {
            return TAIL_SHARE;
        }
        let (low, high) = (f64::from(self.quantiles[below - 1]), f64::from(self.quantiles[below]));
        let part = if high > low { (score - low) / (high - low) } else { 0.0 };
        (1.0 - (below as f64 - 1.0 + part) / (QUANTILES - 1) as f64).max(TAIL_SHARE)
    }
}

impl Tail {
    /// By probability-weighted moments, from the ascending scores beyond the threshold.
    fn fit(threshold: f64, scores: &[f64]) -> Tail {
        let n = scores.len();
        let mean = scores.iter().map(|s| s - threshold).sum::<f64>() / n.max(1) as f64;
        if n < TAIL_NEEDED || mean <= 0.0 {
            return Tail { threshold, scale: mean.max(0.0), shape: 0.0 };
        }
        // a1 estimates E[X (1 − F(X))].
        let a1 = scores.iter().enumerate().map(|(i, s)| (s - threshold) * (n - 1 - i) as f64).sum::<f64>() / (n * (n - 1)) as f64;
        let shape = (2.0 - mean / (mean - 2.0 * a1)).clamp(-0.5, 0.9);
        let scale = mean * (1.0 - shape);
        Tail { threshold, scale, shape }
    }

    /// Share of the tail beyond a score.
    fn beyond(&self, score: f64) -> f64 {
        if self.scale <= 0.0 {
            return 0.0;
        }
        let x = (score - self.threshold) / self.scale;
        if self.shape.abs() < 1e-6 {
            return (-x).exp();
        }
        (1.0 + self.shape * x).max(0.0).powf(-1.0 / self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_ten_thousand_known_scores() {
        let mut scores: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 10_000)).collect();
        let sketch = Sketch::fit(&mut scores).unwrap();
        assert_eq!(sketch.fault(), None);
        assert!((sketch.p(4999.5) - 0.5).abs() < 1e-3);
        assert!((sketch.p(9899.0) - 0.01).abs() < 1e-3, "{}", sketch.p(9899.0));
        assert_eq!(sketch.p(-1.0), 1.0);
        assert!((sketch.p(1e9) - 1.0 / 10_001.0).abs() < 1e-12, "the smallest p is 1/(n + 1)");
        assert_eq!(sketch.p(f64::NAN), 1.0);
        assert_eq!(sketch.p(f64::INFINITY), 1.0 / 10_001.0);
    }

    #[test]
    fn a_pareto_tail_gives_back_its_shape() {
        // Quantiles of a generalised Pareto distribution with σ = 2, ξ = 0.25.
        let n = 20_000;
        let scores: Vec<f64> =
            (0..n).map(|i| 2.0 / 0.25 * ((1.0 - (f64::from(i) + 0.5) / f64::from(n)).powf(-0.25) - 1.0)).collect();
        let tail = Tail::fit(0.0, &scores);
        assert!((tail.shape - 0.25).abs() < 0.01 && (tail.scale - 2.0).abs() < 0.03, "{tail:?}");
        assert!((tail.beyond(8.0) - 0.0625).abs() < 0.002);
    }

    #[test]
    fn p_values_of_fresh_scores_are_uniform_and_fall() {
        let normal = |i: u32, n: u32| {
            use statrs::distribution::{ContinuousCDF, Normal};
            Normal::standard().inverse_cdf((f64::from(i) + 0.5) / f64::from(n))
        };
        let mut scores: Vec<f64> = (0..50_000).map(|i| normal(i, 50_000)).collect();
        let sketch = Sketch::fit(&mut scores).unwrap();
        assert!((sketch.p(3.0) - 0.00135).abs() < 1.5e-4, "{}", sketch.p(3.0));
        assert!((sketch.p(3.5) / 2.33e-4 - 1.0).abs() < 0.4, "{}", sketch.p(3.5));
        let mut last = 1.0;
        for i in -300..700 {
            let p = sketch.p(f64::from(i) / 100.0);
            assert!(p <= last + 1e-12, "{i}: {p} after {last}");
            last = p;
        }
    }

    #[test]
    fn what_is_no_sketch_is_refused() {
        assert!(Sketch::fit(&mut [1.0; 99]).is_none() && Sketch::fit(&mut [f64::NAN; 200]).is_none());
        let mut constant = Sketch::fit(&mut [1.0; 200]).unwrap();
        assert_eq!((constant.fault(), constant.p(1.0), constant.p(0.5)), (None, 1.0, 1.0));
        assert_eq!(constant.p(1.1), 1.0 / 201.0);
        constant.quantiles[3] = 2.0;
        assert_eq!(constant.fault(), Some("the quantiles do not ascend"));
    }
}
