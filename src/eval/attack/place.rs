//! Where in a record an attack may begin.

use super::stream::{BEFORE_MS, measured};
use super::{Attack, Kind};
use crate::eval::recording::Recording;
use crate::eval::render::limits;
use crate::eval::synth::random::Random;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// From the record's start on, ms: a bed that has just begun has no baseline.
const SETTLED_MS: i64 = 1_800_000;
/// The same in short records.
const SETTLED_SHORT_MS: i64 = 600_000;
/// Left after the attack, ms: what is found late still counts.
const AFTER_MS: i64 = 60_000;
/// Places that are looked at are so far apart, ms.
const STEP_MS: i64 = 10_000;

/// A place for an attack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// After the record's zero.
    pub start_s: f64,
    /// Only ten minutes after the record's start: it is short.
    pub short: bool,
    /// A value goes beyond its limits in the first minutes: what a mask would hide.
    pub onset: bool,
}

/// A place: at least 30 min after the record's start (10 where that leaves no room), the quarter of an hour before and the
/// attack itself without a gap. Drawn among all such places; masks and what hides alarms begin where something can be hidden,
/// if there is such a place.
pub fn place(attack: &Attack, recording: &Recording, random: &mut Random) -> Option<Place> {
    let (first, last) = (recording.rows.first()?.at_ms, recording.rows.last()?.at_ms);
    let lasts = i64::from(attack.duration_s.max(30)) * 1000 + AFTER_MS;
    let gaps: Vec<(i64, i64)> = recording.gaps().collect();
    for (settled, clean, short) in [(SETTLED_MS, BEFORE_MS, false), (SETTLED_SHORT_MS, SETTLED_SHORT_MS, true)] {
        let mut free: Vec<i64> = Vec::new();
        let mut at = first + settled;
        while at + lasts <= last {
            if !gaps.iter().any(|gap| gap.0 < at + lasts && at - clean < gap.1) {
                free.push(at);
            }
            at += STEP_MS;
        }
        if free.is_empty() {
            continue;
        }
        if hides(attack.kind) {
            let onsets = onsets(recording);
            let at_onset: Vec<i64> =
                free.iter().copied().filter(|at| onsets.iter().any(|o| (0..180_000).contains(&(o - at)))).collect();
            if !at_onset.is_empty() {
                let at = at_onset[random.below(at_onset.len() as u64) as usize];
                return Some(Place { start_s: at as f64 / 1000.0, short, onset: true });
            }
        }
        let at = free[random.below(free.len() as u64) as usize];
        return Some(Place { start_s: at as f64 / 1000.0, short, onset: false });
    }
    None
}

fn hides(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::MaskConstant
            | Kind::MaskAr
            | Kind::MaskArLattice
            | Kind::MaskOwnNormal
            | Kind::MaskVar
            | Kind::SuppressAbnormal
            | Kind::AlarmSuppression
            | Kind::LimitWiden
    )
}

/// Whether a value lies beyond the limits that monitors are delivered with.
pub fn is_abnormal(parameter: Parameter, value: f64) -> bool {
    limits(parameter).is_some_and(|(low, high)| value < low || value > high)
}

/// When a parameter goes beyond its limits and stays there for a minute.
fn onsets(recording: &Recording) -> Vec<i64> {
    let mut list = Vec::new();
    for (column, of) in recording.columns.iter().enumerate() {
        let mut since: Option<i64> = None;
        let mut told = false;
        for row in recording.rows.iter().filter(|row| usize::from(row.column) == column) {
            let Some(value) = measured(of.parameter, row.cell) else { continue };
            if !is_abnormal(of.parameter, value) {
                (since, told) = (None, false);
                continue;
            }
            let began = *since.get_or_insert(row.at_ms);
            if !told && row.at_ms - began >= 60_000 {
                list.push(began);
                told = true;
            }
        }
    }
    list.sort_unstable();
    list
}
