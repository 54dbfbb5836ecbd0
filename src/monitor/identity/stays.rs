//! Where ADT says that patients lie, and who lies in beds that no monitor has spoken for yet.
//!
//! Bounds: [`STAYS_MAX`] patients; when full the quarter that was told of longest ago goes, those who left before those who
//! lie somewhere. [`PENDING_MAX`] unheard beds; the one told of longest ago goes for a new one.

use crate::observation::AgeBand;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Patients at most.
pub const STAYS_MAX: usize = 32_768;
/// Beds at most that were admitted to and never heard.
pub const PENDING_MAX: usize = 8192;

/// A place that ADT names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spot {
    Bed(u32),
    /// No monitor has spoken for it: hash of ward and bed.
    Unheard(u64),
}

/// Where a patient lies, or lay.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stay {
    pub spot: Spot,
    /// Where the patient was before.
    pub prior: Option<Spot>,
    /// False after the discharge.
    pub here: bool,
    /// When it was told, by our clock; and when it was recorded, by the clock of who told it.
    pub told_at: Timestamp,
    pub recorded_at: Timestamp,
    pub by: u64,
}

/// Who lies in a bed that was never heard.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Pending {
    pub patient: u64,
    pub told_at: Timestamp,
    pub born: AgeBand,
    pub class: Option<AgeBand>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stays {
    patients: BTreeMap<u64, Stay>,
    pending: BTreeMap<u64, Pending>,
}

impl Stays {
    pub fn get(&self, patient: u64) -> Option<&Stay> {
        self.patients.get(&patient)
    }

    pub fn set(&mut self, patient: u64, stay: Stay) {
        if patient == 0 {
            return;
        }
        if self.patients.len() >= STAYS_MAX && !self.patients.contains_key(&patient) {
            let mut oldest: Vec<(bool, Timestamp, u64)> = self.patients.iter().map(|(p, s)| (s.here, s.told_at, *p)).collect();
            oldest.sort_unstable();
            for (_, _, gone) in oldest.into_iter().take(STAYS_MAX / 4) {
                self.patients.remove(&gone);
            }
        }
        self.patients.insert(patient, stay);
    }

    pub fn rename(&mut self, old: u64, new: u64) {
        if let Some(stay) = self.patients.remove(&old) {
            let known = self.patients.entry(new).or_insert(stay);
            if known.told_at < stay.told_at {
                *known = stay;
            }
        }
        for pending in self.pending.values_mut().filter(|p| p.patient == old) {
            pending.patient = new;
        }
    }

    pub fn await_bed(&mut self, place: u64, pending: Pending) {
        if self.pending.len() >= PENDING_MAX && !self.pending.contains_key(&place) {
            let oldest = self.pending.iter().min_by_key(|(place, p)| (p.told_at, **place)).map(|(place, _)| *place);
            oldest.map(|place| self.pending.remove(&place));
        }
        self.pending.insert(place, pending);
    }

    /// A patient left a bed that was never heard.
    pub fn leave_bed(&mut self, place: u64, patient: u64) {
        if self.pending.get(&place).is_some_and(|p| patient == 0 || p.patient == patient) {
            self.pending.remove(&place);
        }
    }

    /// A bed is heard for the first time: who lies there.
    pub fn bed_heard(&mut self, place: u64, bed: u32) -> Option<Pending> {
        let pending = self.pending.remove(&place)?;
        if let Some(stay) = self.patients.get_mut(&pending.patient).filter(|s| s.spot == Spot::Unheard(place)) {
            stay.spot = Spot::Bed(bed);
        }
        Some(pending)
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.patients.len(), self.pending.len())
    }
}
