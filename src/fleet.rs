//! Evidence across beds: the same condition on several beds of one gateway, a whole ward without data, one patient in two beds.
//!
//! The fleet gets small events (a raise, an end, a patient, a picked window of values, a step), never the stream. One condition
//! on at least 3 beds, or on at least 2 that are more than 20 % of a gateway's beds, within 60 s is one notice: a [`Group`],
//! whose alert stands at the ward (`_ward`) where all its beds lie, else at the installation (`_site`). Mass silence is M04. Physiology is never grouped, and
//! neither is what concerns two beds by its nature (clones, swaps). Bounds: [`RECENT_MAX`] raises, [`GROUPS_MAX`] groups; of
//! windows and steps see [`Echoes`] and [`Steps`].

mod echo;
mod steps;

pub use echo::Echoes;
pub use steps::Steps;

use crate::check::{Assessment, CheckId, Priority};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raises looked back at most.
pub const RECENT_MAX: usize = 16_384;
/// Notices open at a time at most; what is beyond stays an alert of its bed.
pub const GROUPS_MAX: usize = 1024;
/// A bed in which a patient was not heard for so long is one that it left, seconds.
pub const PATIENT_S: f64 = 60.0;
/// Patients remembered at most; when full, those who were not heard for a day go, and until one has gone a further one is not
/// watched.
pub const PATIENTS_MAX: usize = 65_536;
/// When full, those to be forgotten are looked for at most so often, seconds.
const SWEEP_S: f64 = 60.0;

/// Conditions that concern two beds by their nature.
const PAIRS: [&str; 3] = ["T08", "T17", "P08"];

/// Conditions that two beds may have for a reason of their own (an exchange): one notice only where three have it.
const THREE: [&str; 1] = ["P09"];

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
    /// Which beds may have shown a window of values.
    pub echoes: Echoes,
    /// Which beds left their own level lately.
    pub steps: Steps,
    /// Beds in which a patient was heard, with the time since when two of them are.
    patients: BTreeMap<u64, Stay>,
    swept_at: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Stay {
    bed: u32,
    heard_at: Timestamp,
    /// Another bed in which the patient is heard too: since when, and when last.
    other: Option<(u32, Timestamp, Timestamp)>,
}

/// Where else a patient was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nowhere.
    Here,
    /// In this bed, which fell silent.
    CameFrom(u32),
    /// In this bed too, and not for long yet.
    Perhaps(u32),
    /// In this bed as well, for so long that it is a conflict.
    Both(u32),
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
            || (same.len() >= 2 && !THREE.contains(&id) && same.len() as f64 > limits.collapse_share * feed_beds() as f64);
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

    /// A patient was heard in a bed: where else? In two beds for `both_s` is a conflict.
    pub fn heard(&mut self, patient: u64, bed: u32, now: Timestamp, both_s: f64) -> Whereabouts {
        if patient == 0 {
            return Whereabouts::Here;
        }
        if self.patients.len() >= PATIENTS_MAX && !self.patients.contains_key(&patient) {
            if now.since_s(self.swept_at) >= SWEEP_S {
                self.swept_at = now;
                self.patients.retain(|_, stay| now.since_s(stay.heard_at) < 86_400.0);
            }
            if self.patients.len() >= PATIENTS_MAX {
                return Whereabouts::Here;
            }
        }
        let stay = self.patients.entry(patient).or_insert(Stay { bed, heard_at: now, other: None });
        let both = |other: u32, since: Timestamp| {
            if now.since_s(since) >= both_s { Whereabouts::Both(other) } else { Whereabouts::Perhaps(other) }
        };
        if stay.bed == bed {
            stay.heard_at = now;
            // Who was heard there no more is here alone.
            stay.other = stay.other.filter(|(_, _, last)| now.since_s(*last) <= PATIENT_S);
            return stay.other.map_or(Whereabouts::Here, |(other, since, _)| both(other, since));
        }
        if now.since_s(stay.heard_at) > PATIENT_S {
            // The first bed fell silent: the patient is here now.
            let from = stay.bed;
            let known = stay.other.is_some_and(|(other, ..)| other == bed);
            *stay = Stay { bed, heard_at: now, other: None };
            return if known { Whereabouts::Here } else { Whereabouts::CameFrom(from) };
        }
        let since = match stay.other {
            Some((other, since, last)) if other == bed && now.since_s(last) <= PATIENT_S => since,
            _ => now,
        };
        stay.other = Some((bed, since, now));
        both(stay.bed, since)
    }

    /// Two names of one patient: what was heard under the one counts for the other.
    pub fn rename(&mut self, old: u64, new: u64) {
        if let Some(stay) = self.patients.remove(&old) {
            let known = self.patients.entry(new).or_insert_with(|| stay.clone());
            if known.heard_at < stay.heard_at {
                *known = stay;
            }
        }
    }

    /// Patients watched.
    pub fn patients(&self) -> usize {
        self.patients.len()
    }

    /// A patient left a bed (ADT).
    pub fn left(&mut self, patient: u64, bed: u32) {
        if let Some(stay) = self.patients.get_mut(&patient) {
            match stay.other {
                Some((other, _, last)) if stay.bed == bed => *stay = Stay { bed: other, heard_at: last, other: None },
                Some((other, ..)) if other == bed => stay.other = None,
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
        assert_eq!(fleet.heard(7, 1, t(0), 60.0), Whereabouts::Here);
        assert_eq!(fleet.heard(7, 2, t(0), 60.0), Whereabouts::Perhaps(1));
        for s in 1..60 {
            assert_eq!(fleet.heard(7, 1, t(s), 60.0), Whereabouts::Perhaps(2));
            assert_eq!(fleet.heard(7, 2, t(s), 60.0), Whereabouts::Perhaps(1));
        }
        assert_eq!(fleet.heard(7, 2, t(60), 60.0), Whereabouts::Both(1));
        assert_eq!(fleet.heard(7, 1, t(61), 60.0), Whereabouts::Both(2));
        assert_eq!(fleet.heard(7, 1, t(121), 60.0), Whereabouts::Here, "the other bed fell silent");
        let mut fleet = Fleet::default();
        fleet.heard(7, 1, t(0), 60.0);
        assert_eq!(fleet.heard(7, 2, t(61), 60.0), Whereabouts::CameFrom(1), "the first bed fell silent");
        for s in 62..300 {
            assert_eq!(fleet.heard(7, 2, t(s), 60.0), Whereabouts::Here);
        }
    }

    #[test]
    fn under_a_flood_of_patients_the_known_ones_stay_watched() {
        let mut fleet = Fleet::default();
        fleet.heard(1, 1, Timestamp(0), 60.0);
        for patient in 2..200_000 {
            fleet.heard(patient, 2, Timestamp(1000), 60.0);
        }
        assert_eq!(fleet.patients(), PATIENTS_MAX);
        fleet.heard(1, 1, Timestamp(2000), 60.0);
        assert_eq!(fleet.heard(1, 3, Timestamp(3000), 60.0), Whereabouts::Perhaps(1));
    }
}
