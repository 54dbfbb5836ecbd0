//! R. W. Conway (1963), Some tactical problems in digital simulation, Management Science 10(1), 47–61 (non-overlapping batch
//! means); B. P. Welford (1962), Note on a method for calculating corrected sums of squares and products, Technometrics 4(3),
//! 419–420.
//!
//! Neighbouring values say nearly the same. A block is what up to ten quantities did in one minute: mean and spread of each.
//! Blocks do not overlap; where values come once a minute or more rarely, each message is a block. Whoever reads blocks keeps
//! the number of the last one that it has seen.

use serde::{Deserialize, Serialize};

/// Quantities of one block at most.
pub const SLOTS: usize = 10;
/// Length of a block, seconds.
pub const BLOCK_S: f64 = 60.0;
/// A block that was not closed after this time has a hole and is dropped, seconds (or three intervals, if they are longer).
const HOLE_S: f64 = 90.0;

/// One quantity of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub mean: f64,
    m2: f32,
    pub count: u16,
    /// Something was doubted meanwhile: it is judged, and teaches nothing.
    pub doubted: bool,
}

impl Batch {
    fn push(&mut self, value: f64, doubted: bool) {
        self.count = self.count.saturating_add(1);
        let before = value - self.mean;
        self.mean += before / f64::from(self.count);
        self.m2 += (before * (value - self.mean)) as f32;
        self.doubted |= doubted;
    }

    /// Adds what another batch of the same quantity holds.
    pub fn join(&mut self, other: &Batch) {
        let (n, m) = (f64::from(self.count), f64::from(other.count));
        if m == 0.0 {
            return;
        }
        let apart = other.mean - self.mean;
        self.mean += apart * m / (n + m);
        self.m2 += other.m2 + (apart * apart * n * m / (n + m)) as f32;
        self.count = self.count.saturating_add(other.count);
        self.doubted |= other.doubted;
    }

    /// Standard deviation of its values; 0 of one.
    pub fn sd(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (f64::from(self.m2.max(0.0)) / f64::from(self.count - 1)).sqrt() }
    }
}

/// The block that is being filled and the last one that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// What each slot holds; 255: nothing yet.
    keys: [u8; SLOTS],
    filling: [Batch; SLOTS],
    whole: [Batch; SLOTS],
    /// First and newest time of the one that is filled, milliseconds.
    began_ms: i64,
    newest_ms: i64,
    messages: u16,
    /// A value came since the last message was over.
    touched: bool,
    ended_ms: i64,
    number: u32,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks {
            keys: [u8::MAX; SLOTS],
            filling: [Batch::default(); SLOTS],
            whole: [Batch::default(); SLOTS],
            began_ms: i64::MIN,
            newest_ms: i64::MIN,
            messages: 0,
            touched: false,
            ended_ms: 0,
            number: 0,
        }
    }
}

impl Blocks {
    /// Takes a value of a quantity (0 to 254). The eleventh quantity is left out.
    pub fn push(&mut self, key: u8, value: f64, doubted: bool) {
        if key == u8::MAX || !value.is_finite() {
            return;
        }
        let Some(slot) = self.keys.iter().position(|k| *k == key || *k == u8::MAX) else { return };
        self.keys[slot] = key;
        self.filling[slot].push(value, doubted);
        self.touched = true;
    }

    /// A message is over, at this time; `delta_s` is the usual interval. Closes the block when it is full. A message without a
    /// value counts for nothing.
    pub fn end_message(&mut self, at_ms: i64, delta_s: Option<f64>) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        let delta_s = delta_s.unwrap_or(1.0).clamp(0.01, 3600.0);
        let hole_ms = (HOLE_S.max(3.0 * delta_s) * 1000.0) as i64;
        if self.messages > 0 && (at_ms < self.newest_ms || at_ms.saturating_sub(self.newest_ms) > hole_ms.min(3_600_000)) {
            // Time went back, or nothing was heard for long: what was filled is no block. The newest values begin another.
            self.filling = [Batch::default(); SLOTS];
            self.messages = 0;
            self.began_ms = i64::MIN;
            return;
        }
        if self.messages == 0 {
            self.began_ms = at_ms;
        }
        self.messages = self.messages.saturating_add(1);
        self.newest_ms = at_ms;
        let filled_s = at_ms.saturating_sub(self.began_ms) as f64 / 1000.0;
        if filled_s + 1.25 * delta_s < BLOCK_S {
            return;
        }
        // A quantity that was there in less than half of the messages is none of this block.
        for batch in &mut self.filling {
            if batch.count < self.messages.div_ceil(2) {
                *batch = Batch::default();
            }
        }
        self.whole = std::mem::replace(&mut self.filling, [Batch::default(); SLOTS]);
        self.ended_ms = at_ms;
        self.number = self.number.wrapping_add(1);
        self.messages = 0;
    }

    /// Number of the last whole block; 0 before the first.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Time of the last message of the last whole block, milliseconds.
    pub fn ended_ms(&self) -> i64 {
        self.ended_ms
    }

    /// What a slot held in the last whole block; `None`: nothing, or too little.
    pub fn get(&self, slot: usize) -> Option<(u8, &Batch)> {
        let batch = self.whole.get(slot).filter(|b| b.count > 0)?;
        Some((self.keys[slot], batch))
    }

    /// The slot of a quantity.
    pub fn slot(&self, key: u8) -> Option<usize> {
        self.keys.iter().position(|k| *k == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(blocks: &mut Blocks, from_s: i64, step_s: i64, values: &[f64]) -> u32 {
        let before = blocks.number();
        for (i, value) in values.iter().enumerate() {
            blocks.push(7, *value, false);
            blocks.end_message((from_s + step_s * i as i64) * 1000, Some(step_s as f64));
        }
        blocks.number() - before
    }

    #[test]
    fn sixty_values_a_minute_are_one_block_with_their_mean_and_spread() {
        let mut b = Blocks::default();
        let values: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(play(&mut b, 0, 1, &values[..59]), 0);
        assert_eq!(play(&mut b, 59, 1, &values[59..]), 1);
        let (key, batch) = b.get(0).unwrap();
        assert_eq!((key, batch.count, batch.mean), (7, 60, 29.5));
        assert!((batch.sd() - 17.464_25).abs() < 1e-4, "{}", batch.sd());
        assert_eq!(play(&mut b, 60, 1, &[1.0; 59]), 0);
        assert_eq!(play(&mut b, 119, 1, &[1.0]), 1);
    }

    #[test]
    fn one_value_a_minute_is_a_block_at_once() {
        let mut b = Blocks::default();
        assert_eq!(play(&mut b, 0, 60, &[70.0, 71.0, 72.0]), 3);
        assert_eq!(b.get(0).map(|(_, batch)| (batch.mean, batch.sd())), Some((72.0, 0.0)));
        assert_eq!(play(&mut b, 240, 30, &[70.0, 72.0, 71.0, 73.0]), 2);
        assert_eq!(b.get(0).unwrap().1.mean, 72.0);
    }

    #[test]
    fn a_hole_or_a_clock_that_goes_back_is_no_block() {
        let mut b = Blocks::default();
        assert_eq!(play(&mut b, 0, 1, &[70.0; 50]), 0);
        assert_eq!(play(&mut b, 500, 1, &[80.0; 58]), 0, "the first message after the hole only begins");
        assert_eq!(play(&mut b, 558, 1, &[80.0; 3]), 1);
        assert_eq!(b.get(0).unwrap().1.mean, 80.0);
        assert_eq!(play(&mut b, 300, 1, &[80.0; 50]), 0);
    }

    #[test]
    fn what_is_there_less_than_half_of_the_time_is_left_out() {
        let mut b = Blocks::default();
        for s in 0..60 {
            b.push(1, 70.0, s == 5);
            if s < 20 {
                b.push(2, 97.0, false);
            }
            b.push(3, f64::NAN, false);
            b.end_message(s * 1000, Some(1.0));
        }
        assert_eq!(b.get(0).map(|(key, batch)| (key, batch.doubted)), Some((1, true)));
        assert_eq!((b.get(1), b.get(2), b.slot(2), b.slot(9)), (None, None, Some(1), None));
    }

    #[test]
    fn the_eleventh_quantity_is_left_out_and_batches_join() {
        let mut b = Blocks::default();
        for key in 0..20 {
            b.push(key, 1.0, false);
        }
        b.end_message(0, Some(60.0));
        assert_eq!((b.get(9).unwrap().0, b.get(10)), (9, None));
        let (mut x, mut y, mut all) = (Batch::default(), Batch::default(), Batch::default());
        for i in 0..7 {
            let v = f64::from(i * i);
            if i < 3 {
                x.push(v, false)
            } else {
                y.push(v, false)
            }
            all.push(v, false);
        }
        x.join(&y);
        assert!((x.mean - all.mean).abs() < 1e-9 && (x.sd() - all.sd()).abs() < 1e-5);
    }
}
