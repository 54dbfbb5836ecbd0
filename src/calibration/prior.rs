//! What is assumed of how a quantity moves before its bed has shown it: cautious built-in numbers in proportion to the usual
//! spread within one patient (`models/population/limits.toml`).

use super::Pace;
use crate::stats::trend::Noise;

/// Rows of a prior: what was assumed weighs as much as so many blocks.
pub const WEIGHT: f64 = 30.0;

/// Noise of a local linear trend over blocks, from the usual spread within one patient. Per block the level may wander by a
/// third of the spread and a reading may be off by a third of it; a slope changes slowly. At one sample a block the reading is
/// half as sure. The size of all of it is learned from the bed; what counts here are the proportions.
pub fn noise(within_sd: f64, pace: Pace) -> Noise {
    let variance = within_sd * within_sd;
    let reading = if pace == Pace::Minute { 0.2 } else { 0.1 };
    Noise { level: 0.1 * variance / 60.0, slope: 1e-9 * variance, reading: reading * variance }
}
