//! The decision for a stream of block scores: p-value, e-value, Shiryaev–Roberts.
//!
//! One p-value for each block becomes one e-value; two sums R = (R + 1)·e grow, one for scores of either sign, and the
//! condition begins when their mean reaches 1/α: on average not before 1/α blocks while nothing is wrong, whatever the
//! distribution. It ends below √(1/α). The sums are part of the snapshot.

use crate::stats::evalue::{ShiryaevRoberts, log_mean, log_of_p};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// 1/α, blocks: 0.03 tamper alerts a bed-day over 20 stochastic checks are one in 667 bed-days, at one block a minute.
pub const ARL_BLOCKS: f64 = 9.6e5;
/// Blocks that a baseline has learned, and the age of the epoch, seconds, before its check is active.
const WARM_BLOCKS: u32 = 60;
pub const WARM_S: f64 = 1800.0;
/// R is kept at this many times 1/α, so that an end is seen within half an hour, natural logarithm of 100.
const LOG_ABOVE: f64 = 4.605_170_185_988_092;
/// From an e-value of this block or a sum R of so much on, nothing is learned: natural logarithms of 10 and 100.
const LOG_E_SUSPECT: f64 = std::f64::consts::LN_10;
const LOG_R_SUSPECT: f64 = 4.605_170_185_988_092;
/// R counts as an e-value after division by the blocks of a week: its mean is the number of blocks.
const LOG10_WEEK: f64 = 4.0;

/// Evidence that adds up over blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    up: ShiryaevRoberts,
    down: ShiryaevRoberts,
    /// The last block's ln e.
    last: f32,
    holds: bool,
    /// The first block since which the evidence has been growing.
    since: Timestamp,
    /// Blocks for which it has held.
    held: u16,
}

/// Whether a baseline of so many blocks may judge: after 60 blocks and half an hour.
pub fn is_warm(blocks: u32, epoch_at: Timestamp, now: Timestamp) -> bool {
    blocks >= WARM_BLOCKS && now.since_s(epoch_at) >= WARM_S
}

impl Default for Detector {
    fn default() -> Self {
        let (up, down) = (ShiryaevRoberts::default(), ShiryaevRoberts::default());
        Detector { up, down, last: 0.0, holds: false, since: Timestamp::MIN, held: 0 }
    }
}

impl Detector {
    /// Takes a block whose p-value counts against one sign: a score has a size of this p-value, and its sign.
    pub fn push_signed(&mut self, p: f64, positive: bool, at: Timestamp, arl_blocks: f64) {
        let same = log_of_p((p / 2.0).max(f64::MIN_POSITIVE));
        // Less than the calibrator allows, so still an e-value: noise that goes both ways does not add up.
        let other = log_of_p(1.0 - p / 2.0) + 0.5 * p.max(f64::MIN_POSITIVE).ln();
        let (up, down) = if positive { (same, other) } else { (other, same) };
        self.push(up, down, at, arl_blocks);
    }

    /// Takes a block whose score has no sign.
    pub fn push_p(&mut self, p: f64, at: Timestamp, arl_blocks: f64) {
        let e = log_of_p(p);
        self.push(e, e, at, arl_blocks);
    }

    fn push(&mut self, up: f64, down: f64, at: Timestamp, arl_blocks: f64) {
        let log_arl = arl_blocks.max(4.0).ln();
        // Below 10 it has not grown for a while.
        if self.log_r() < LOG_E_SUSPECT {
            self.since = at;
        }
        self.up.push(up, log_arl + LOG_ABOVE);
        self.down.push(down, log_arl + LOG_ABOVE);
        self.last = up.max(down) as f32;
        let r = self.log_r();
        self.holds = if self.holds { r >= log_arl / 2.0 } else { r >= log_arl };
        self.held = if self.holds { self.held.saturating_add(1) } else { 0 };
    }

    /// ln of the mean of both sums.
    pub fn log_r(&self) -> f64 {
        log_mean(&[self.up.log(), self.down.log()])
    }

    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Blocks for which it has held.
    pub fn held(&self) -> u32 {
        u32::from(self.held)
    }

    /// Whether the level went up rather than down.
    pub fn is_up(&self) -> bool {
        self.up.log() >= self.down.log()
    }

    /// Since when the evidence has been growing.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether a baseline must not learn now.
    pub fn is_suspicious(&self) -> bool {
        self.holds || f64::from(self.last) >= LOG_E_SUSPECT || self.log_r() >= LOG_R_SUSPECT
    }

    /// Evidence for the fusion, decimal logarithm: 2 to 4 while it holds.
    pub fn log10_e(&self) -> f64 {
        (self.log_r() / std::f64::consts::LN_10 - LOG10_WEEK).clamp(2.0, 4.0)
    }

    /// Begins anew: the new level is taken for granted.
    pub fn reset(&mut self) {
        *self = Detector::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u32) -> Timestamp {
        Timestamp(1_800_000_000_000).plus_s(60.0 * f64::from(block))
    }

    #[test]
    fn three_blocks_of_one_in_three_thousand_are_not_enough_and_four_are() {
        let mut d = Detector::default();
        for block in 0..30 {
            d.push_signed(0.5, block % 2 == 0, at(block), ARL_BLOCKS);
        }
        assert!(!d.holds() && !d.is_suspicious());
        let mut needed = 0;
        while !d.holds() {
            d.push_signed(1.0 / 3000.0, true, at(30 + needed), ARL_BLOCKS);
            needed += 1;
        }
        assert_eq!((needed, d.is_up(), d.since()), (4, true, at(30)));
        assert!(d.log10_e() >= 2.0 && d.is_suspicious());
    }

    #[test]
    fn it_ends_below_the_root_and_not_above() {
        let mut d = Detector::default();
        for block in 0..20 {
            d.push_p(1e-4, at(block), 1e4);
        }
        assert!(d.holds() && d.log_r() <= 1e6f64.ln() + 1e-6, "bounded");
        let mut quiet = 0;
        while d.holds() {
            d.push_p(0.6, at(20 + quiet), 1e4);
            quiet += 1;
        }
        assert!(d.log_r() < 100f64.ln() && (10..=30).contains(&quiet), "{quiet}");
        assert_eq!(d.held(), 0);
    }

    #[test]
    fn signs_that_change_do_not_add_up() {
        let mut d = Detector::default();
        for block in 0..500 {
            d.push_signed(0.02, block % 2 == 0, at(block), ARL_BLOCKS);
        }
        assert!(!d.holds(), "{}", d.log_r());
        let mut d = Detector::default();
        for block in 0..12 {
            d.push_signed(0.02, false, at(block), ARL_BLOCKS);
        }
        assert!(d.holds() && !d.is_up());
    }
}
