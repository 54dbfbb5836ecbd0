//! C. R. Weinberg, B. C. Gladen (1986), The beta-geometric distribution applied to comparative fecundability studies,
//! Biometrics 42(3), 547–560.
//!
//! How often does a value change from one update to the next? A Beta-learned chance q with forgetting; a run of c updates
//! without change has the probability (1 − q)^c, so its surprise is −c·log10(1 − q).

use serde::{Deserialize, Serialize};

/// Chance of a change per update, and the run of no change that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangeRate {
    changes: f32,
    updates: f32,
    run: u32,
    seen: u32,
}

impl Default for ChangeRate {
    fn default() -> Self {
        ChangeRate { changes: Self::PRIOR * Self::PRIOR_UPDATES, updates: Self::PRIOR_UPDATES, run: 0, seen: 0 }
    }
}

impl ChangeRate {
    /// Chance assumed before anything was seen, and what it weighs in updates.
    const PRIOR: f32 = 0.05;
    const PRIOR_UPDATES: f32 = 20.0;

    /// Takes one update; `half_life` in updates.
    pub fn push(&mut self, changed: bool, half_life: f64) {
        self.push_faded(changed, ChangeRate::fade(half_life));
    }

    /// What the past still weighs after one update.
    pub fn fade(half_life: f64) -> f32 {
        (-std::f64::consts::LN_2 / half_life.max(1.0)).exp() as f32
    }

    /// The same for whoever knows the [`ChangeRate::fade`] already.
    pub fn push_faded(&mut self, changed: bool, keep: f32) {
        self.changes = self.changes * keep + f32::from(u8::from(changed));
        self.updates = self.updates * keep + 1.0;
        self.count_run(changed);
    }

    /// Counts the run only: learning is paused.
    pub fn count_run(&mut self, changed: bool) {
        self.seen = self.seen.saturating_add(1);
        self.run = if changed { 0 } else { self.run.saturating_add(1) };
    }

    /// Learned chance of a change per update, at most `cap`.
    pub fn chance(&self, cap: f64) -> f64 {
        f64::from(self.changes / self.updates).min(cap)
    }

    /// Surprise of one more update without change, decimal logarithm.
    pub fn surprise(&self, cap: f64) -> f64 {
        -(1.0 - self.chance(cap)).log10()
    }

    /// Updates without change up to now.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Updates seen.
    pub fn seen(&self) -> u32 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fourth_change_gives_a_chance_of_a_quarter() {
        let mut rate = ChangeRate::default();
        for i in 0..40_000 {
            rate.push(i % 4 == 0, 1800.0);
        }
        assert!((rate.chance(0.5) - 0.25).abs() < 0.001, "{rate:?}");
        assert_eq!(rate.run(), 3);
        assert!((rate.surprise(0.5) * 64.0 - 8.0).abs() < 0.05, "0.75^64 is 1e-8");
    }

    #[test]
    fn half_of_the_past_is_gone_after_one_half_life() {
        let mut rate = ChangeRate::default();
        for _ in 0..100_000 {
            rate.push(true, 1000.0);
        }
        for _ in 0..1000 {
            rate.push(false, 1000.0);
        }
        assert!((rate.chance(1.0) - 0.5).abs() < 0.001);
    }
}
