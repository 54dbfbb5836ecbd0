//! Beds whose levels stepped lately: which of them did so at once.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A bed is looked at so often, seconds.
const EVERY_S: f64 = 10.0;
/// Beds that are remembered as stepping at most; while there are more, a further one is not compared.
pub const STEPS_MAX: usize = 256;

/// Which beds step, and when each was looked at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Steps {
    looked_at: Vec<Timestamp>,
    /// Bed and since when, in order of bed.
    stepping: Vec<(u32, Timestamp)>,
}

impl Steps {
    /// Whether a bed is to be looked at; it counts as looked at.
    pub fn is_due(&mut self, bed: u32, at: Timestamp) -> bool {
        if self.looked_at.len() <= bed as usize {
            self.looked_at.resize(bed as usize + 1, Timestamp::MIN);
        }
        let due = at.since_s(self.looked_at[bed as usize]) >= EVERY_S;
        if due {
            self.looked_at[bed as usize] = at;
        }
        due
    }

    /// A bed is where it was.
    pub fn stands(&mut self, bed: u32) {
        self.stepping.retain(|(b, _)| *b != bed);
    }

    /// A bed is away from its own level: the others that went away within `at_once_s` of it, none of them more than `for_s` ago.
    pub fn steps(&mut self, bed: u32, at: Timestamp, for_s: f64, at_once_s: f64) -> Vec<u32> {
        let since = match self.stepping.binary_search_by_key(&bed, |(b, _)| *b) {
            Ok(place) => self.stepping[place].1,
            Err(place) => {
                if self.stepping.len() >= STEPS_MAX {
                    self.stepping.retain(|(_, since)| at.since_s(*since) <= for_s);
                }
                if self.stepping.len() >= STEPS_MAX {
                    return Vec::new();
                }
                let place = place.min(self.stepping.len());
                self.stepping.insert(place, (bed, at));
                self.stepping.sort_unstable_by_key(|(b, _)| *b);
                at
            }
        };
        if at.since_s(since) > for_s {
            return Vec::new();
        }
        let near = |(b, s): &&(u32, Timestamp)| *b != bed && s.since_s(since).abs() <= at_once_s;
        self.stepping.iter().filter(near).map(|(b, _)| *b).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_within_two_minutes_are_at_once_and_after_ten_minutes_none_is() {
        let t = |s: f64| Timestamp(1_800_000_000_000).plus_s(s);
        let mut steps = Steps::default();
        assert!(steps.is_due(3, t(0.0)) && !steps.is_due(3, t(9.0)) && steps.is_due(3, t(10.0)));
        assert!(steps.steps(3, t(0.0), 600.0, 120.0).is_empty());
        assert_eq!(steps.steps(7, t(120.0), 600.0, 120.0), [3]);
        assert!(steps.steps(5, t(121.0), 600.0, 120.0) == [7]);
        assert_eq!(steps.steps(3, t(600.0), 600.0, 120.0), [7]);
        assert!(steps.steps(3, t(601.0), 600.0, 120.0).is_empty());
        steps.stands(7);
        assert!(steps.steps(5, t(130.0), 600.0, 120.0).is_empty());
        for bed in 100..2000 {
            steps.steps(bed, t(200.0), 600.0, 120.0);
        }
        assert!(steps.stepping.len() <= STEPS_MAX);
    }
}
