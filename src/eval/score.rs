//! How counts become rates with bounds: exact Poisson, Wilson, Clopper–Pearson, a bootstrap over patients, delays, precision.
//!
//! Every function is pure and deterministic; the bootstrap has a seed. Confidence is 95 % throughout: one-sided where a bound
//! is an upper bound, two-sided where an interval is one.

use super::synth::random::Random;
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::gamma_ur;

/// Two-sided 95 % of a normal distribution, standard deviations.
const Z95: f64 = 1.959_963_984_540_054;
/// One attack in so many bed-days: the prevalence at which precision is stated.
pub const PREVALENCE_BED_DAYS: f64 = 1000.0;

/// A proportion or a rate, and the two ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Finds where a falling function of `x` passes through `target`.
fn falling(mut low: f64, mut high: f64, target: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if f(middle) > target {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// One-sided exact 95 % upper bound of a Poisson mean after `events` (Garwood 1936): 3.00, 4.74, 6.30, 7.75 …
pub fn poisson_upper(events: u64) -> f64 {
    // P(X ≤ k | m) is the upper incomplete gamma function of k + 1 at m.
    let k = events as f64;
    falling(k.max(1e-9), k + 20.0 + 12.0 * (k + 1.0).sqrt(), 0.05, |mean| gamma_ur(k + 1.0, mean))
}

/// Two-sided exact 95 % interval of a Poisson mean after `events` (Garwood 1936).
pub fn poisson_interval(events: u64) -> Interval {
    let k = events as f64;
    let top = k + 20.0 + 12.0 * (k + 1.0).sqrt();
    let high = falling(k.max(1e-9), top, 0.025, |mean| gamma_ur(k + 1.0, mean));
    // P(X < k | m) = 0.975.
    let low = if events == 0 { 0.0 } else { falling(1e-12, k, 0.975, |mean| gamma_ur(k, mean)) };
    Interval { low, high }
}

/// Two-sided 95 % interval of a proportion (Wilson 1927). Nothing tried: all of 0 to 1.
pub fn wilson(found: u64, tried: u64) -> Interval {
    if tried == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p) = (tried as f64, found.min(tried) as f64 / tried as f64);
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the sum is exact only on paper.
    let low = if found == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if found >= tried { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}

/// Two-sided exact 95 % interval of a proportion (Clopper and Pearson 1934).
pub fn clopper_pearson(found: u64, tried: u64) -> Interval {
    let (k, n) = (found.min(tried) as f64, tried as f64);
    if tried == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    // P(X ≥ k | p) = I_p(k, n − k + 1), rising in p.
    let low = if k == 0.0 { 0.0 } else { falling(0.0, 1.0, -0.025, |p| -beta_reg(k, n - k + 1.0, p)) };
    let high = if k == n { 1.0 } else { falling(0.0, 1.0, -0.975, |p| -beta_reg(k + 1.0, n - k, p)) };
    Interval { low, high }
}

/// Events and exposure of one patient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    pub events: u64,
    pub exposure: f64,
}

/// Two-sided 95 % percentile interval of a rate (events over exposure), patients drawn with replacement (Efron 1979).
/// Episodes cluster by patient: this interval knows it, a Poisson interval does not.
pub fn bootstrap_rate(patients: &[Share], draws: usize, seed: u64) -> Option<Interval> {
    if patients.is_empty() || patients.iter().map(|p| p.exposure).sum::<f64>() <= 0.0 {
        return None;
    }
    let mut random = Random::new(seed);
    let mut rates: Vec<f64> = (0..draws.max(1))
        .filter_map(|_| {
            let (mut events, mut exposure) = (0u64, 0.0);
            for _ in 0..patients.len() {
                let one = patients[random.below(patients.len() as u64) as usize];
                events += one.events;
                exposure += one.exposure;
            }
            (exposure > 0.0).then(|| events as f64 / exposure)
        })
        .collect();
    Some(Interval { low: quantile(&mut rates, 0.025)?, high: quantile(&mut rates, 0.975)? })
}

/// The smallest value that is not below the share `q` of all (nearest rank). Sorts.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let rank = (q.clamp(0.0, 1.0) * values.len() as f64).ceil().max(1.0) as usize;
    Some(values[rank - 1])
}

/// Seconds from the attack's start to the alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    pub median_s: f64,
    pub p95_s: f64,
}

/// Median and 95th percentile of delays; none without any.
pub fn delays(values: &mut [f64]) -> Option<Delays> {
    Some(Delays { median_s: quantile(values, 0.5)?, p95_s: quantile(values, 0.95)? })
}

/// The share of alerts that are true where one attack comes in [`PREVALENCE_BED_DAYS`] bed-days.
pub fn precision(sensitivity: f64, false_per_bed_day: f64) -> Option<f64> {
    let true_per_bed_day = sensitivity / PREVALENCE_BED_DAYS;
    let all = true_per_bed_day + false_per_bed_day;
    (all > 0.0).then(|| true_per_bed_day / all)
}

/// Variance over mean of counts by patient: 1 where events come alone, more where they cluster.
pub fn dispersion(counts: &[u64]) -> Option<f64> {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / n;
    if counts.len() < 2 || mean == 0.0 {
        return None;
    }
    let variance = counts.iter().map(|c| (*c as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(variance / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, off: f64) -> bool {
        (a - b).abs() <= off
    }

    #[test]
    fn no_event_in_t_bounds_a_rate_at_three_over_t() {
        for (events, bound) in [(0, 2.9957), (1, 4.7439), (2, 6.2958), (3, 7.7537), (10, 16.9622), (100, 118.079)] {
            assert!(near(poisson_upper(events), bound, 1e-3), "{events}: {}", poisson_upper(events));
        }
    }

    #[test]
    fn the_two_sided_poisson_interval_is_garwoods() {
        for (events, low, high) in [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (5, 1.6235, 11.6683), (20, 12.2165, 30.8884)] {
            let i = poisson_interval(events);
            assert!(near(i.low, low, 1e-3) && near(i.high, high, 1e-3), "{events}: {i:?}");
        }
    }

    #[test]
    fn wilson_of_ten_of_ten_ends_at_one() {
        let i = wilson(10, 10);
        assert!(near(i.low, 0.7225, 1e-4) && i.high == 1.0, "{i:?}");
        let i = wilson(0, 10);
        assert!(i.low == 0.0 && near(i.high, 0.2775, 1e-4), "{i:?}");
        let i = wilson(15, 148);
        assert!(near(i.low, 0.0624, 1e-4) && near(i.high, 0.1605, 1e-4), "{i:?}");
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn clopper_and_pearson_of_none_of_ten_ends_at_0_31() {
        let i = clopper_pearson(0, 10);
        assert!(i.low == 0.0 && near(i.high, 0.3085, 1e-4), "{i:?}");
        let i = clopper_pearson(5, 10);
        assert!(near(i.low, 0.1871, 1e-4) && near(i.high, 0.8129, 1e-4), "{i:?}");
        let i = clopper_pearson(10, 10);
        assert!(near(i.low, 0.6915, 1e-4) && i.high == 1.0, "{i:?}");
    }

    #[test]
    fn a_bootstrap_is_wider_where_one_patient_has_all_events() {
        let spread: Vec<Share> = (0..100).map(|n| Share { events: u64::from(n % 10 == 0), exposure: 1.0 }).collect();
        let one: Vec<Share> = (0..100).map(|n| Share { events: if n == 0 { 10 } else { 0 }, exposure: 1.0 }).collect();
        let (a, b) = (bootstrap_rate(&spread, 2000, 1).unwrap(), bootstrap_rate(&one, 2000, 1).unwrap());
        // Known answer: a mean of 100 draws with p = 0.1 has a standard deviation of 0.03.
        assert!(near(a.low, 0.04, 0.015) && near(a.high, 0.16, 0.015), "{a:?}");
        assert!(b.low == 0.0 && b.high >= 0.3, "{b:?}");
        assert_eq!(bootstrap_rate(&one, 2000, 1), Some(b), "the same seed gives the same interval");
        assert_eq!(bootstrap_rate(&[], 100, 1), None);
    }

    #[test]
    fn delays_are_ranks_not_averages() {
        let mut list: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(delays(&mut list), Some(Delays { median_s: 50.0, p95_s: 95.0 }));
        assert_eq!(delays(&mut [7.0]), Some(Delays { median_s: 7.0, p95_s: 7.0 }));
        assert_eq!(delays(&mut []), None);
    }

    #[test]
    fn precision_at_one_attack_in_a_thousand_bed_days() {
        for (false_alerts, percent) in [(0.1, 0.9), (0.03, 2.9), (0.001, 47.0)] {
            let p = precision(0.9, false_alerts).unwrap() * 100.0;
            assert!(near(p, percent, 0.5), "{false_alerts}: {p}");
        }
        assert_eq!(precision(0.0, 0.0), None);
    }

    #[test]
    fn counts_that_cluster_vary_more_than_their_mean() {
        assert_eq!(dispersion(&[1, 1, 1, 1]), Some(0.0));
        assert!(dispersion(&[4, 0, 0, 0]).unwrap() > 3.9);
        assert_eq!(dispersion(&[0, 0]), None);
    }
}
