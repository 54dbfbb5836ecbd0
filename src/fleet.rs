//! Evidence across beds: the same condition on several beds of one gateway, a whole ward without data, one patient in two beds.
//!
//! The fleet gets small events (a raise, an end, a patient), never the stream. One condition on at least 3 beds, or on at least
//! 2 that are more than 20 % of a gateway's beds, within 60 s is one notice: a [`Group`], whose alert stands at the ward
//! (`_ward`) where all its beds lie, else at the installation (`_site`). Mass silence is M04. Physiology is never grouped, and
//! neither is what concerns two beds by its nature (clones, swaps). Bounds: [`RECENT_MAX`] raises, [`GROUPS_MAX`] groups.

use crate::check::{Assessment, CheckId, Priority};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raises looked back at most.
pub const RECENT_MAX: usize = 16_384;
/// Notices open at a time at most; what is beyond stays an alert of its bed.
pub const GROUPS_MAX: usize = 1024;
/// One patient heard in two beds for so long is a conflict, seconds.
pub const PATIENT_S: f64 = 60.0;
/// Patients remembered at most.
const PATIENTS_MAX: usize = 65_536;

/// Conditions that concern two beds by their nature.
const PAIRS: [&str; 3] = ["T08", "T17", "P08"];

/// A raise on one bed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raise {
    pub check: CheckId,
    pub assessment: Assessment,
    pub priority: Priority,
    pub feed: String,
    pub bed: u32,
    pub alert: String,
    pub at: Timestamp,
}

/// One notice that stands for the alerts of several beds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The condition of the beds.
    pub check: CheckId,
    pub assessment: Assessment,
    /// Its own condition (M04 for M03).
    pub notice: CheckId,
    pub feed: String,
    /// The reserved bed where it stands.
    pub place: Option<u32>,
    pub priority: Priority,
    pub onset: Timestamp,
    /// Bed and alert.
    pub members: Vec<(u32, String)>,
    /// The notice's alert under which the members are folded so far.
    pub folded: Option<String>,
}

/// What is known of several beds together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Fleet {
    recent: Vec<Raise>,
    pub groups: Vec<Group>,
    /// Beds in which a patient was heard, with the time since when two of them are.
    patients: BTreeMap<u64, Stay>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Stay {
    bed: u32,
    heard_at: Timestamp,
    other: Option<(u32, Timestamp)>,
}

impl Fleet {
    /// A raise; the position of the group that it belongs to now. `feed_beds`: how many live beds its feed has.
    pub fn raised(&mut self, raise: Raise, feed_beds: impl FnOnce() -> usize, limits: &crate::config::Episodes) -> Option<usize> {
        let id = raise.check.meta().id;
        if raise.assessment == Assessment::Physiology || PAIRS.contains(&id) || id.starts_with('S') || id == "M04" {
            return None;
        }
        if let Some(at) = self.groups.iter().position(|g| g.check == raise.check && g.feed == raise.feed) {
            let group = &mut self.groups[at];
            group.priority = group.priority.min(raise.priority);
            group.members.retain(|(bed, _)| *bed != raise.bed);
            group.members.push((raise.bed, raise.alert));
            return Some(at);
        }
        let now = raise.at;
        let (check, feed) = (raise.check, raise.feed.clone());
        self.recent
            .retain(|r| now.since_s(r.at) <= limits.collapse_s && !(r.check == check && r.bed == raise.bed && r.feed == feed));
        if self.recent.len() >= RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(raise);
        let same: Vec<&Raise> = self.recent.iter().filter(|r| r.check == check && r.feed == feed).collect();
        let enough = same.len() >= limits.collapse_beds.max(2) as usize
            || (same.len() >= 2 && same.len() as f64 > limits.collapse_share * feed_beds() as f64);
        if !enough || self.groups.len() >= GROUPS_MAX {
            return None;
        }
        let notice = if check.meta().id == "M03" { CheckId::from_id("M04").unwrap_or(check) } else { check };
        let group = Group {
            check,
            assessment: same.iter().map(|r| r.assessment).min().unwrap_or(Assessment::Unverified),
            notice,
            priority: same.iter().map(|r| r.priority).min().unwrap_or(Priority::Info),
            onset: same.iter().map(|r| r.at).min().unwrap_or(now),
            members: same.iter().map(|r| (r.bed, r.alert.clone())).collect(),
            place: None,
            folded: None,
            feed: feed.clone(),
        };
        self.recent.retain(|r| !(r.check == check && r.feed == feed));
        self.groups.push(group);
        Some(self.groups.len() - 1)
    }

    /// An alert of a bed is over; the position of its group, which may be empty now.
    pub fn ended(&mut self, bed: u32, alert: &str) -> Option<usize> {
        self.recent.retain(|r| r.alert != alert);
        let at = self.groups.iter().position(|g| g.members.iter().any(|(b, a)| *b == bed && a == alert))?;
        self.groups[at].members.retain(|(b, a)| !(*b == bed && a == alert));
        Some(at)
    }

    /// A patient was heard in a bed; the other bed in which the same patient has been live for [`PATIENT_S`].
    pub fn heard(&mut self, patient: u64, bed: u32, now: Timestamp) -> Option<u32> {
        if patient == 0 {
            return None;
        }
        if self.patients.len() >= PATIENTS_MAX && !self.patients.contains_key(&patient) {
            self.patients.retain(|_, stay| now.since_s(stay.heard_at) < 86_400.0);
            if self.patients.len() >= PATIENTS_MAX {
                return None;
            }
        }
        let stay = self.patients.entry(patient).or_insert(Stay { bed, heard_at: now, other: None });
        if stay.bed == bed {
            stay.heard_at = now;
            return stay.other.filter(|(_, since)| now.since_s(*since) >= PATIENT_S).map(|(other, _)| other);
        }
        if now.since_s(stay.heard_at) > PATIENT_S {
            // The first bed fell silent: the patient is here now.
            *stay = Stay { bed, heard_at: now, other: None };
            return None;
        }
        let since = match stay.other {
            Some((other, since)) if other == bed => since,
            _ => now,
        };
        stay.other = Some((bed, since));
        (now.since_s(since) >= PATIENT_S).then_some(stay.bed)
    }

    /// A patient left a bed (ADT).
    pub fn left(&mut self, patient: u64, bed: u32) {
        if let Some(stay) = self.patients.get_mut(&patient) {
            match stay.other {
                Some((other, _)) if stay.bed == bed => *stay = Stay { bed: other, heard_at: stay.heard_at, other: None },
                Some((other, _)) if other == bed => stay.other = None,
                _ if stay.bed == bed => {
                    self.patients.remove(&patient);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(bed: u32, at_s: i64) -> Raise {
        Raise {
            check: CheckId(0),
            assessment: Assessment::Artefact,
            priority: Priority::Low,
            feed: "gw".into(),
            bed,
            alert: format!("A-{bed}"),
            at: Timestamp(at_s * 1000),
        }
    }

    #[test]
    fn three_beds_within_a_minute_are_one_notice_and_a_late_one_joins() {
        let (mut fleet, limits) = (Fleet::default(), crate::config::Episodes::default());
        assert_eq!(fleet.raised(raise(1, 0), || 100, &limits), None);
        assert_eq!(fleet.raised(raise(1, 5), || 100, &limits), None, "one bed twice is one bed");
        assert_eq!(fleet.raised(raise(2, 30), || 100, &limits), None);
        assert_eq!(fleet.raised(raise(3, 60), || 100, &limits), Some(0));
        assert_eq!(fleet.raised(raise(4, 500), || 100, &limits), Some(0));
        assert_eq!(fleet.groups[0].members.len(), 4);
        assert_eq!(fleet.ended(2, "A-2"), Some(0));
        assert_eq!(fleet.groups[0].members.len(), 3);
    }

    #[test]
    fn slow_or_few_beds_are_no_notice_but_a_fifth_of_a_small_gateway_is() {
        let (mut fleet, limits) = (Fleet::default(), crate::config::Episodes::default());
        for (bed, at) in [(1, 0), (2, 61), (3, 122)] {
            assert_eq!(fleet.raised(raise(bed, at), || 100, &limits), None);
        }
        let mut fleet = Fleet::default();
        assert_eq!(fleet.raised(raise(1, 0), || 9, &limits), None);
        assert_eq!(fleet.raised(raise(2, 1), || 9, &limits), Some(0), "2 of 9 are more than 20 %");
    }

    #[test]
    fn one_patient_in_two_live_beds_is_a_conflict_after_a_minute_and_a_move_is_not() {
        let mut fleet = Fleet::default();
        let t = |s: i64| Timestamp(s * 1000);
        for s in 0..60 {
            assert_eq!(fleet.heard(7, 1, t(s)), None);
            assert_eq!(fleet.heard(7, 2, t(s)), None);
        }
        assert_eq!(fleet.heard(7, 2, t(60)), Some(1));
        assert_eq!(fleet.heard(7, 1, t(61)), Some(2));
        let mut fleet = Fleet::default();
        fleet.heard(7, 1, t(0));
        for s in 70..300 {
            assert_eq!(fleet.heard(7, 2, t(s)), None, "the first bed fell silent");
        }
    }
}
