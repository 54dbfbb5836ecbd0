//! Which ids name one patient: PID-3 repetitions, merged and changed ids, linked patients.
//!
//! An id is a keyed hash of authority and id. A group is the ids of one patient; its name is one of them, and that is what
//! beds and stays are keyed by. An id that no group holds names itself. A *bare* id (no authority) belongs to a patient until
//! a second one has the same: from then on it names nobody but itself.
//!
//! Bounds: [`IDS_EACH_MAX`] ids of one patient (a further one is not joined), [`IDS_MAX`] ids in all: then the quarter of the
//! groups that was unused for longest goes, those of patients in beds excepted.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ids of one patient at most.
pub const IDS_EACH_MAX: usize = 32;
/// Ids at most.
pub const IDS_MAX: usize = 65_536;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Aliases {
    /// An id to the name of its group; ids alone are not kept.
    of: BTreeMap<u64, u64>,
    groups: BTreeMap<u64, Group>,
    /// Ids that were not joined because a group was full.
    pub refused: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Group {
    ids: Vec<u64>,
    used_at: Timestamp,
}

impl Aliases {
    /// The patient that an id names.
    pub fn resolve(&self, id: u64) -> u64 {
        if self.of.is_empty() { id } else { self.of.get(&id).copied().unwrap_or(id) }
    }

    /// The group of an id, made if it has none.
    fn group(&mut self, id: u64, now: Timestamp) -> u64 {
        let name = *self.of.entry(id).or_insert(id);
        let group = self.groups.entry(name).or_default();
        if group.ids.is_empty() {
            group.ids.push(id);
        }
        group.used_at = now;
        name
    }

    /// Two ids name one patient. The name that is given up and the one that stays, where there were two.
    pub fn join(&mut self, kept: u64, other: u64, now: Timestamp) -> Option<(u64, u64)> {
        if kept == 0 || other == 0 || kept == other {
            return None;
        }
        let (name, gone) = (self.group(kept, now), self.group(other, now));
        if name == gone {
            return None;
        }
        if self.groups[&name].ids.len() + self.groups[&gone].ids.len() > IDS_EACH_MAX {
            self.refused += 1;
            return None;
        }
        let moved = self.groups.remove(&gone)?.ids;
        for id in &moved {
            self.of.insert(*id, name);
        }
        self.groups.get_mut(&name)?.ids.extend(moved);
        Some((gone, name))
    }

    /// A bare id of a patient: joined as long as it is nobody else's.
    pub fn join_bare(&mut self, patient: u64, bare: u64, now: Timestamp) -> Option<(u64, u64)> {
        let name = self.resolve(patient);
        match self.of.get(&bare).copied() {
            Some(owner) if owner == name => None,
            Some(owner) if owner == bare => None,
            Some(_) => {
                // Two patients have it: it tells nobody apart.
                self.part(&[bare], now)
            }
            None => self.join(patient, bare, now),
        }
    }

    /// Ids that name a patient of their own from now on, together. The old and the new name of those who stay behind, where
    /// their name went with them.
    pub fn part(&mut self, ids: &[u64], now: Timestamp) -> Option<(u64, u64)> {
        let name = *self.of.get(ids.first()?)?;
        let group = self.groups.remove(&name)?;
        let (gone, rest): (Vec<u64>, Vec<u64>) = group.ids.iter().partition(|id| ids.contains(id));
        for (list, used_at) in [(&gone, now), (&rest, group.used_at)] {
            // A name is one of its ids: the old one where it is among them.
            let Some(first) = list.iter().copied().find(|id| *id == name).or(list.first().copied()) else { continue };
            for id in list {
                self.of.insert(*id, first);
            }
            self.groups.insert(first, Group { ids: list.clone(), used_at });
        }
        match rest.first() {
            Some(first) if !rest.contains(&name) => Some((name, *first)),
            _ => None,
        }
    }

    /// Whether room is to be made before more ids come.
    pub fn full(&self) -> bool {
        self.of.len() + 2 * IDS_EACH_MAX > IDS_MAX
    }

    /// Forgets the quarter of the groups that was unused for longest; `keep` names patients in beds.
    pub fn make_room(&mut self, keep: impl Fn(u64) -> bool) {
        let mut unused: Vec<(Timestamp, u64)> =
            self.groups.iter().filter(|(name, _)| !keep(**name)).map(|(name, group)| (group.used_at, *name)).collect();
        unused.sort_unstable();
        let count = (self.groups.len() / 4).max(1);
        for (_, name) in unused.into_iter().take(count) {
            for id in self.groups.remove(&name).into_iter().flat_map(|group| group.ids) {
                self.of.remove(&id);
            }
        }
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.of.len(), self.groups.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn joined_ids_name_one_patient_and_parted_ones_two() {
        let mut a = Aliases::default();
        assert_eq!(a.resolve(1), 1);
        assert_eq!(a.join(1, 2, T), Some((2, 1)));
        assert_eq!(a.join(3, 4, T), Some((4, 3)));
        assert_eq!(a.join(1, 4, T), Some((3, 1)), "everything that the other one was called");
        assert_eq!(a.join(2, 3, T), None);
        assert_eq!([1, 2, 3, 4].map(|id| a.resolve(id)), [1; 4]);
        assert_eq!(a.part(&[3, 4], T), None);
        assert_eq!([1, 2, 3, 4].map(|id| a.resolve(id)), [1, 1, 3, 3]);
        assert_eq!(a.part(&[1], T), Some((1, 2)), "the name goes, who stays gets another");
        assert_eq!([1, 2].map(|id| a.resolve(id)), [1, 2]);
    }

    #[test]
    fn a_bare_id_of_two_patients_names_neither() {
        let mut a = Aliases::default();
        assert_eq!(a.join_bare(1, 100, T), Some((100, 1)));
        assert_eq!(a.resolve(100), 1);
        a.join_bare(2, 100, T);
        assert_eq!(a.resolve(100), 100);
        a.join_bare(1, 100, T);
        assert_eq!(a.resolve(100), 100, "and stays so");
        assert_eq!(a.resolve(1), 1);
    }

    #[test]
    fn a_group_and_the_table_are_bounded_and_patients_in_beds_stay_known() {
        let mut a = Aliases::default();
        for id in 2..100 {
            a.join(1, id, T);
        }
        assert_eq!((a.groups[&1].ids.len(), a.refused), (IDS_EACH_MAX, 67));
        for n in 0..100_000u64 {
            if a.full() {
                a.make_room(|name| name == 1);
            }
            a.join(1000 + 2 * n, 1001 + 2 * n, T.plus_s(n as f64));
        }
        assert!(a.of.len() <= IDS_MAX && a.groups.len() <= IDS_MAX);
        assert_eq!(a.resolve(9), 1);
        assert_eq!(a.resolve(1000 + 2 * 99_999 + 1), 1000 + 2 * 99_999);
    }
}
