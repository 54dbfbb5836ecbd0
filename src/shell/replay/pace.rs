//! Pacing: recorded time against the wall, scheduled from one start instant so that nothing adds up.

use crate::time::Timestamp;
use std::time::{Duration, Instant};

/// A clock to wait by; tests have their own.
pub trait Wall {
    /// Since some fixed moment.
    fn now(&self) -> Duration;
    /// Returns at `until` or a little later.
    fn sleep_until(&mut self, until: Duration);
    /// Whether it keeps recorded time by itself, and has waited until it was `at`.
    fn keeps(&mut self, _at: Timestamp) -> bool {
        false
    }
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct Machine(Instant);

impl Default for Machine {
    fn default() -> Self {
        Machine(Instant::now())
    }
}

impl Wall for Machine {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep_until(&mut self, until: Duration) {
        if let Some(left) = until.checked_sub(self.0.elapsed()) {
            std::thread::sleep(left);
        }
    }
}

/// Paces recorded time at `speed` times the wall.
#[derive(Debug)]
pub struct Pace<W> {
    wall: W,
    /// `None`: as fast as possible.
    speed: Option<f64>,
    start: Option<(Duration, Timestamp)>,
}

impl<W: Wall> Pace<W> {
    pub fn new(wall: W, speed: Option<f64>) -> Pace<W> {
        Pace { wall, speed, start: None }
    }
    /// Waits until it is `at` on the recorded clock.
    pub fn wait(&mut self, at: Timestamp) {
        let Some(speed) = self.speed else { return };
        if self.wall.keeps(at) {
            return;
        }
        let (wall, recorded) = *self.start.get_or_insert_with(|| (self.wall.now(), at));
        let ahead = at.since_s(recorded).max(0.0) / speed;
        // Beyond any useful wait (a gap of years at speed 1) the longest one stands.
        let ahead = Duration::try_from_secs_f64(ahead).unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        self.wall.sleep_until(wall + ahead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which every sleep lasts too long and every step costs time.
    struct Sluggish {
        now: Duration,
        woken: Vec<Duration>,
    }

    impl Wall for &mut Sluggish {
        fn now(&self) -> Duration {
            self.now
        }
        fn sleep_until(&mut self, until: Duration) {
            self.now = self.now.max(until) + Duration::from_millis(7);
            self.woken.push(self.now);
        }
    }

    #[test]
    fn late_wakings_do_not_add_up() {
        for speed in [1.0, 60.0, 2.5] {
            let mut wall = Sluggish { now: Duration::from_secs(100), woken: Vec::new() };
            let mut pace = Pace::new(&mut wall, Some(speed));
            for second in 0..3600 {
                pace.wait(Timestamp::from_ms(second * 1000));
            }
            let due = Duration::from_secs(100) + Duration::from_secs_f64(3599.0 / speed);
            let last = *wall.woken.last().unwrap();
            assert!(last >= due && last - due <= Duration::from_millis(8), "{speed}: {last:?} for {due:?}");
        }
    }

    #[test]
    fn as_fast_as_possible_never_waits() {
        let mut wall = Sluggish { now: Duration::ZERO, woken: Vec::new() };
        let mut pace = Pace::new(&mut wall, None);
        pace.wait(Timestamp::from_ms(0));
        pace.wait(Timestamp::from_ms(1_000_000));
        assert!(wall.woken.is_empty());
    }
}
