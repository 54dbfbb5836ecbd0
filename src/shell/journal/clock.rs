//! The one place where the service's time comes from: wall clock held to run forwards.

use crate::time::Timestamp;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970, UTC; may step.
    pub wall_ms: i64,
    /// Nanoseconds since some moment before the journal was opened; never steps.
    pub mono_ns: u64,
}

/// Reads both clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// The machine's clocks.
pub fn system_clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || {
        let wall_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Now { wall_ms, mono_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    })
}

/// `at` from readings: never backwards, and at half speed while the wall clock is behind what was said before.
pub(super) struct Forward {
    last: Timestamp,
    /// While held: the monotonic reading and `at` when holding began.
    held: Option<(u64, Timestamp)>,
    /// Times the wall clock was found behind.
    pub steps: u64,
}

impl Forward {
    pub fn new(last: Timestamp) -> Forward {
        Forward { last, held: None, steps: 0 }
    }
    pub fn at(&mut self, now: Now) -> Timestamp {
        let wall = Timestamp::from_ms(now.wall_ms);
        if wall >= self.last {
            self.held = None;
            self.last = wall;
            return wall;
        }
        let (since_ns, from) = *self.held.get_or_insert_with(|| {
            self.steps += 1;
            (now.mono_ns, self.last)
        });
        let slow_ms = now.mono_ns.saturating_sub(since_ns) / 2_000_000;
        self.last = self.last.max(from.plus_ms(i64::try_from(slow_ms).unwrap_or(i64::MAX)));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_at_half_speed_while_the_wall_clock_is_behind() {
        let mut forward = Forward::new(Timestamp::MIN);
        let now = |wall_ms, mono_ms: u64| Now { wall_ms, mono_ns: mono_ms * 1_000_000 };
        assert_eq!(forward.at(now(10_000, 0)).ms(), 10_000);
        assert_eq!(forward.at(now(6_000, 1_000)).ms(), 10_000);
        assert_eq!(forward.at(now(8_000, 3_000)).ms(), 11_000);
        assert_eq!(forward.at(now(9_000, 4_000)).ms(), 11_500);
        assert_eq!(forward.at(now(12_000, 7_000)).ms(), 12_000, "caught up");
        assert_eq!(forward.at(now(15_000, 10_000)).ms(), 15_000);
        assert_eq!(forward.steps, 1);
        assert_eq!(forward.at(now(14_999, 10_001)).ms(), 15_000);
        assert_eq!(forward.steps, 2);
    }
}
