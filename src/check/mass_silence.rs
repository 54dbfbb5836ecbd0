use super::{Arg, Verdict, id};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that several beds fall silent together.
    /// ## Why it matters
    /// One network fault, or one crash of many devices, is one event; ten alerts of single beds hide it.
    /// ## How it decides
    /// Within 60 s at least three beds fell silent, or at least two that are more than a fifth of one gateway, model or subnet.
    /// ## Known false alerts
    /// A switch that restarts, planned work on the network.
    /// ## References
    /// Crash faults CVE-2022-38100 and CVE-2025-59668; the limits are design choices.
    "M04" "mass_silence" class=Liveness evidence=false weights=(10, 0, 0) rest=Silence
    {
        /// Beds anywhere, count. Lower: two transports at once alert.
        beds: f64 = 3.0;
        /// Beds of one group, count. Lower: every single bed is a group event. Design choice.
        group_beds: f64 = 2.0;
        /// And more than this share of the group, 1. Lower: two transports from a large gateway are told. Design choice.
        group_share: f64 = 0.2;
        /// Within, s. Lower: devices with different intervals fall apart.
        window_s: f64 = 60.0;
    }
}

/// Silent beds that are remembered; the oldest makes room.
const SILENT_MAX: usize = 4096;

/// A bed that fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Silent {
    bed: u32,
    /// Gateway, model or subnet: whatever the caller groups by.
    group: u64,
    /// Its last message.
    heard_at: Timestamp,
}

/// The silent beds of a fleet, in the order in which they were told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    silent: Vec<Silent>,
}

/// Beds that are silent together.
#[derive(Debug, Clone, PartialEq)]
pub struct Mass {
    pub beds: Vec<u32>,
    /// Group that all of them belong to.
    pub group: Option<u64>,
    pub verdict: Verdict,
}

impl Check {
    /// A bed fell silent (M03 said so): its last message, its group, and how many beds the group has. Something is returned while
    /// enough beds fell silent together, with all of them.
    pub fn silent(&self, state: &mut State, bed: u32, group: u64, group_size: u32, heard_at: Timestamp) -> Option<Mass> {
        state.silent.retain(|s| s.bed != bed);
        if state.silent.len() >= SILENT_MAX {
            state.silent.remove(0);
        }
        state.silent.push(Silent { bed, group, heard_at });
        let near = |s: &&Silent| s.heard_at.since_s(heard_at).abs() <= self.window_s;
        let all: Vec<&Silent> = state.silent.iter().filter(near).collect();
        let of_group: Vec<&Silent> = all.iter().filter(|s| s.group == group).copied().collect();
        let share = of_group.len() as f64 / f64::from(group_size.max(1));
        let found = if all.len() as f64 >= self.beds {
            all
        } else if of_group.len() as f64 >= self.group_beds && share > self.group_share {
            of_group
        } else {
            return None;
        };
        let since = found.iter().map(|s| s.heard_at).min().unwrap_or(heard_at);
        let mut beds: Vec<u32> = found.iter().map(|s| s.bed).collect();
        beds.sort_unstable();
        let same_group = found.iter().all(|s| s.group == group).then_some(group);
        let limit = if beds.len() as f64 >= self.beds { self.beds } else { self.group_beds };
        let verdict = Verdict {
            value: Some(beds.len() as f64),
            limit: Some(limit),
            unit: "{beds}",
            window_s: self.window_s,
            args: [("n", Arg::Number(beds.len() as f64, 0)), ("t", Arg::Time(since))].into_iter().collect(),
            ..Verdict::new(id::mass_silence, ParamSet::EMPTY, since)
        };
        Some(Mass { beds, group: same_group, verdict })
    }

    /// A bed was heard again. How many are still silent.
    pub fn heard(&self, state: &mut State, bed: u32) -> usize {
        state.silent.retain(|s| s.bed != bed);
        state.silent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn three_beds_within_a_minute_are_one_event_and_two_of_a_large_gateway_are_not() {
        let (check, mut state) = (Check::default(), State::default());
        assert_eq!(check.silent(&mut state, 1, 7, 100, T0), None);
        assert_eq!(check.silent(&mut state, 2, 7, 100, T0.plus_s(30.0)), None);
        let mass = check.silent(&mut state, 3, 8, 100, T0.plus_s(60.0)).unwrap();
        assert_eq!((mass.beds, mass.group, mass.verdict.onset), (vec![1, 2, 3], None, T0));
    }

    #[test]
    fn two_of_nine_are_enough_and_two_of_ten_are_not() {
        let check = Check::default();
        for (size, found) in [(9, true), (10, false)] {
            let mut state = State::default();
            check.silent(&mut state, 1, 7, size, T0);
            assert_eq!(check.silent(&mut state, 2, 7, size, T0.plus_s(10.0)).is_some(), found);
        }
    }

    #[test]
    fn beds_that_fall_silent_one_by_one_over_an_hour_are_none() {
        let (check, mut state) = (Check::default(), State::default());
        for bed in 0..10 {
            assert_eq!(check.silent(&mut state, bed, 7, 100, T0.plus_s(f64::from(bed) * 61.0)), None);
        }
        check.heard(&mut state, 3);
        assert_eq!(state.silent.len(), 9);
    }
}
