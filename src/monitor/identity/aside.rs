//! What was learned of patients who left their bed, kept for as long as they may come back or turn up elsewhere.
//!
//! A transfer takes it along, a cancelled discharge takes it back, and so does the return of a patient after a message that
//! named another one. Bounds: [`KEPT_MAX`] patients, the oldest goes; [`KEPT_S`]; and only what has learned something, so that
//! a flood of invented patients pushes nobody out.

use crate::bed::Baseline;
use crate::check::States;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Patients at most.
pub const KEPT_MAX: usize = 256;
/// Kept so long, seconds: a cancel or a transport takes less than an hour.
pub const KEPT_S: f64 = 3600.0;

/// One patient's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    pub patient: u64,
    pub bed: u32,
    pub at: Timestamp,
    pub baseline: Baseline,
    pub states: Box<States>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Aside {
    list: VecDeque<Kept>,
}

impl Aside {
    pub fn put(&mut self, kept: Kept) {
        if kept.patient == 0 || !kept.baseline.has_learned() {
            return;
        }
        let now = kept.at;
        self.list.retain(|k| k.patient != kept.patient && now.since_s(k.at) <= KEPT_S);
        if self.list.len() >= KEPT_MAX {
            self.list.pop_front();
        }
        self.list.push_back(kept);
    }

    pub fn take(&mut self, patient: u64, now: Timestamp) -> Option<Kept> {
        if patient == 0 {
            return None;
        }
        let at = self.list.iter().position(|k| k.patient == patient)?;
        self.list.remove(at).filter(|k| now.since_s(k.at) <= KEPT_S)
    }

    pub fn rename(&mut self, old: u64, new: u64) {
        for kept in self.list.iter_mut().filter(|k| k.patient == old) {
            kept.patient = new;
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.list.len()
    }
}
