//! ANSI/ISA-18.2 (2016), Management of alarm systems for the process industries (on-delay); here counted in readings as well.
//!
//! A condition that must last before it is believed: since when it holds, and for how many readings. What was not seen for
//! longer than a pause does not count as having lasted.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A run of readings on which a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    run: u32,
    since: Timestamp,
    last: Timestamp,
}

impl Default for Hold {
    fn default() -> Self {
        Hold { run: 0, since: Timestamp::MIN, last: Timestamp::MIN }
    }
}

impl Hold {
    /// It holds on this reading. One that comes later than `pause_s` after the one before begins anew.
    pub fn push(&mut self, now: Timestamp, pause_s: f64) {
        if self.run == 0 || now.since_s(self.last) > pause_s {
            self.run = 0;
            self.since = now;
        }
        self.run = self.run.saturating_add(1);
        self.last = now;
    }

    /// Takes a reading on which it holds or not, whatever the pause before it.
    pub fn see(&mut self, holds: bool, now: Timestamp) {
        if holds { self.push(now, f64::INFINITY) } else { self.end() }
    }

    /// It does not hold.
    pub fn end(&mut self) {
        self.run = 0;
    }

    /// Whether it held on the last reading.
    pub fn runs(&self) -> bool {
        self.run > 0
    }

    /// Readings in a row.
    pub fn readings(&self) -> u32 {
        self.run
    }

    /// The first reading of the run.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// From the first reading of the run to the last, seconds; 0 without one.
    pub fn lasted_s(&self) -> f64 {
        if self.run == 0 { 0.0 } else { self.last.since_s(self.since) }
    }

    /// Whether it held for so many readings and so long.
    pub fn reached(&self, readings: f64, seconds: f64) -> bool {
        self.run > 0 && f64::from(self.run) >= readings && self.lasted_s() >= seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn it_must_last_both_ways() {
        let mut hold = Hold::default();
        for second in 0..4 {
            hold.push(T0.plus_s(f64::from(second)), 30.0);
        }
        assert_eq!((hold.readings(), hold.lasted_s(), hold.since()), (4, 3.0, T0));
        assert!(hold.reached(4.0, 3.0) && !hold.reached(5.0, 3.0) && !hold.reached(4.0, 3.1));
        hold.end();
        assert!(!hold.runs() && !hold.reached(0.0, 0.0));
    }

    #[test]
    fn a_pause_begins_anew() {
        let mut hold = Hold::default();
        hold.push(T0, 30.0);
        hold.push(T0.plus_s(30.0), 30.0);
        assert_eq!(hold.readings(), 2);
        hold.push(T0.plus_s(60.1), 30.0);
        assert_eq!((hold.readings(), hold.since()), (1, T0.plus_s(60.1)));
    }
}
