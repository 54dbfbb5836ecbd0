//! R. Jain, I. Chlamtac (1985), The P² algorithm for dynamic calculation of quantiles and histograms without storing
//! observations, Communications of the ACM 28(10), 1076–1085.
//!
//! Five markers follow one quantile. [`Quantile::halve`] makes it forget: the marker positions shrink to half, so that what
//! was seen before weighs half against what comes; called once every half-life.

use serde::{Deserialize, Serialize};

/// One quantile of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    p: f32,
    heights: [f32; 5],
    /// Marker positions, counted from 1.
    positions: [u32; 5],
    count: u32,
}

impl Quantile {
    /// The `p` quantile, 0 < p < 1.
    pub const fn new(p: f32) -> Quantile {
        Quantile { p, heights: [0.0; 5], positions: [1, 2, 3, 4, 5], count: 0 }
    }

    /// Takes a value.
    pub fn push(&mut self, value: f64) {
        let x = value as f32;
        if self.count < 5 {
            let at = self.count as usize;
            self.heights[at] = x;
            self.count += 1;
            self.heights[..=at].sort_by(f32::total_cmp);
            return;
        }
        let cell = if x < self.heights[0] {
            self.heights[0] = x;
            0
        } else if x >= self.heights[4] {
            self.heights[4] = x;
            3
        } else {
            // The heights are in order, so one of the first four cells holds x.
            (0..4).find(|i| x < self.heights[i + 1]).unwrap_or(3)
        };
        for position in &mut self.positions[cell + 1..] {
            *position += 1;
        }
        self.count = self.count.saturating_add(1);
        if self.count == u32::MAX {
            self.halve();
        }
        let last = f64::from(self.count - 1);
        let p = f64::from(self.p);
        for (i, share) in [(1, p / 2.0), (2, p), (3, (1.0 + p) / 2.0)] {
            let ahead = 1.0 + last * share - f64::from(self.positions[i]);
            let up = self.positions[i + 1] - self.positions[i];
            let down = self.positions[i] - self.positions[i - 1];
            if ahead >= 1.0 && up > 1 {
                self.adjust(i, 1);
            } else if ahead <= -1.0 && down > 1 {
                self.adjust(i, -1);
            }
        }
    }

    /// Moves marker `i` by one position; parabola where it stays in order, else a line.
    fn adjust(&mut self, i: usize, step: i64) {
        let n = |k: usize| f64::from(self.positions[k]);
        let q = |k: usize| f64::from(self.heights[k]);
        let d = step as f64;
        let parabola = q(i)
            + d / (n(i + 1) - n(i - 1))
                * ((n(i) - n(i - 1) + d) * (q(i + 1) - q(i)) / (n(i + 1) - n(i))
                    + (n(i + 1) - n(i) - d) * (q(i) - q(i - 1)) / (n(i) - n(i - 1)));
        let moved = if q(i - 1) < parabola && parabola < q(i + 1) {
            parabola
        } else {
            let to = if step > 0 { i + 1 } else { i - 1 };
            q(i) + d * (q(to) - q(i)) / (n(to) - n(i))
        };
        self.heights[i] = moved as f32;
        self.positions[i] = (i64::from(self.positions[i]) + step) as u32;
    }

    /// Lets the past weigh half. The extremes move half way to their neighbours, or they would be remembered for ever.
    pub fn halve(&mut self) {
        if self.count < 20 {
            return;
        }
        self.count /= 2;
        let mut floor = 0;
        for (i, position) in self.positions.iter_mut().enumerate() {
            *position = (*position / 2).max(floor + 1).min(self.count - 4 + i as u32);
            floor = *position;
        }
        self.positions[0] = 1;
        self.positions[4] = self.count;
        self.heights[0] += (self.heights[1] - self.heights[0]) / 2.0;
        self.heights[4] += (self.heights[3] - self.heights[4]) / 2.0;
    }

    /// The quantile; `None` before five values.
    pub fn value(&self) -> Option<f64> {
        (self.count >= 5).then(|| f64::from(self.heights[2]))
    }

    /// Values taken since the start, less what was forgotten.
    pub fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_paper_comes_out() {
        // Table I of the paper: the median of these twenty values; it prints 4.44 after the last one.
        let mut q = Quantile::new(0.5);
        for x in [
            0.02, 0.15, 0.74, 3.39, 0.83, 22.37, 10.15, 15.43, 38.62, 15.92, 34.60, 10.28, 1.47, 0.40, 0.05, 11.39, 0.27, 0.42,
            0.09, 11.37,
        ] {
            q.push(x);
        }
        assert!((q.value().unwrap() - 4.44).abs() < 0.01, "{:?}", q.value());
    }

    #[test]
    fn after_a_level_shift_the_new_level_wins_within_two_half_lives() {
        let mut q = Quantile::new(0.5);
        for i in 0..4000 {
            q.push(70.0 + f64::from(i % 5));
        }
        for i in 0..8000 {
            if i % 4000 == 0 {
                q.halve();
            }
            q.push(90.0 + f64::from(i % 5));
        }
        assert!((q.value().unwrap() - 92.0).abs() < 3.0, "{:?}", q.value());
    }

    #[test]
    fn halving_keeps_the_markers_in_order() {
        let mut q = Quantile::new(0.05);
        for i in 0..100u32 {
            q.push(f64::from(i * 7919 % 101));
            q.halve();
            assert!(q.positions.windows(2).all(|w| w[0] < w[1]), "{q:?}");
        }
    }
}
