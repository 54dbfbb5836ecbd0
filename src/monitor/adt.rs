//! Admission, transfer, discharge: what binds a patient to a bed. Values never come this way.
//!
//! A message is taken once, in the order in which its sender recorded it: a copy has no effect, and of one patient an event that
//! was recorded before the last one changes ids only. A place that no monitor has spoken for is remembered, not opened. What
//! has no effect is counted by a mark of the feed (`adt_…`).

use super::identity::{Spot, Stay};
use super::*;
use crate::observation::Subject;

/// A recorded time so far ahead of ours is no time, milliseconds.
const AHEAD_MS: i64 = 3_600_000;

/// One event as it is carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub at: Timestamp,
    pub recorded_at: Timestamp,
    /// Hash of who tells it.
    pub by: u64,
}

impl Monitor {
    /// An ADT message.
    pub(super) fn adt(&mut self, source: &Source, report: &Report, sender: u64, at: Timestamp) {
        if self.is_repeated_adt(report, sender, at) {
            self.feed(&source.feed).duplicates += 1;
            return;
        }
        let recorded_at = report.adt.recorded_at.or(report.sent_at).filter(|t| t.since_ms(at) <= AHEAD_MS).unwrap_or(at);
        let event = Event { at, recorded_at, by: sender };
        let place = |s: &Subject| [s.point_of_care.clone(), s.room.clone(), s.bed.clone()];
        let (here, there) = (place(&report.subject), place(&report.adt.second));
        self.note_ward(source, &here, at);
        self.note_ward(source, &report.adt.prior, at);
        // Who it is.
        let patient = self.known_as(&report.subject.patient, &report.adt.aliases, at);
        let trigger = report.trigger.as_str();
        if !self.change_ids(trigger, report, at) && !is_known(trigger) {
            self.feed(&source.feed).mark("adt_unknown_event");
            return;
        }
        let patient = self.registry.aliases.resolve(patient);
        // Where.
        if !moves(trigger) {
            return;
        }
        let stay = self.registry.stays.get(patient).copied();
        if stay.is_some_and(|s| s.by == event.by && s.recorded_at > event.recorded_at) {
            self.feed(&source.feed).mark("adt_late");
            return;
        }
        let spot = self.spot(source, &here);
        if spot.is_none() && here.iter().any(|part| !part.trim().is_empty()) {
            self.feed(&source.feed).mark("adt_unplaced");
        }
        if patient == 0 && !matches!(trigger, "A03" | "A11") {
            self.feed(&source.feed).mark("adt_nobody");
            return;
        }
        let lies = stay.filter(|s| s.here).map(|s| s.spot);
        match trigger {
            // Admit, register.
            "A01" | "A04" => {
                if let Some(spot) = spot {
                    self.go(patient, lies, spot, &report.subject, event);
                }
            }
            // Cancel discharge: back to where it was.
            "A13" => {
                if let Some(spot) = spot.or(stay.map(|s| s.spot)) {
                    self.go(patient, lies, spot, &report.subject, event);
                }
            }
            // Transfer: from where it says, and from where we thought.
            "A02" => {
                let prior = self.spot(source, &report.adt.prior);
                if let Some(prior) = prior.filter(|p| Some(*p) != spot && Some(*p) != lies) {
                    self.leave(prior, patient, event);
                }
                match spot {
                    Some(spot) => self.go(patient, lies.or(prior), spot, &report.subject, event),
                    None => lies.or(prior).into_iter().for_each(|from| self.leave(from, patient, event)),
                }
            }
            // Cancel transfer: back to where it was. Some name that place in PV1-3, some still the one that is cancelled.
            "A12" => {
                let prior = self.spot(source, &report.adt.prior);
                let back = spot.filter(|s| Some(*s) != lies).or(stay.and_then(|s| s.prior)).or(prior).or(spot);
                if let Some(back) = back {
                    self.go(patient, lies, back, &report.subject, event);
                }
            }
            // Discharge.
            "A03" => {
                if let Some(spot) = spot.or(lies) {
                    self.leave(spot, patient, event);
                }
                if let Some(lies) = lies.filter(|lies| Some(*lies) != spot) {
                    self.leave(lies, patient, event);
                }
            }
            // Cancel admission: who lay there before lies there again.
            "A11" => {
                if let Some(spot) = spot.or(lies) {
                    self.leave(spot, patient, event);
                    self.put_back(spot, event);
                }
            }
            // Inpatient to outpatient and back: a change of class, with a place that may be new.
            "A06" | "A07" => {
                if let Some(spot) = spot {
                    self.go(patient, lies, spot, &report.subject, event);
                }
            }
            // Update; a place that is new is a transfer that nobody announced.
            "A08" => self.update(source, patient, stay, spot, &report.subject, event),
            // Two patients change beds: PV1-3 of each is where it lies from now on.
            "A17" => {
                let second = self.known_as(&report.adt.second.patient, &report.adt.second_aliases, at);
                let other = self.spot(source, &there);
                if let (Some(a), Some(b), true) = (spot, other, second != 0 && second != patient) {
                    let second_stay = self.registry.stays.get(second).filter(|s| s.here).map(|s| s.spot);
                    // Both get up before one lies down.
                    self.leave(lies.unwrap_or(b), patient, event);
                    self.leave(second_stay.unwrap_or(a), second, event);
                    self.go(patient, Some(b), a, &report.subject, event);
                    self.go(second, Some(a), b, &report.adt.second, event);
                }
            }
            _ => {}
        }
        // Of two patients who change beds the message holds two names.
        if let (Some(Spot::Bed(number)), true) = (spot, trigger != "A17") {
            self.note_name(number, patient, report);
        }
    }

    /// Whether it is a copy of an ADT that was taken. Without an id and a time of its own nothing tells a copy from the same
    /// event again: a patient who is admitted, discharged and admitted once more.
    fn is_repeated_adt(&mut self, report: &Report, sender: u64, at: Timestamp) -> bool {
        let telling = report.control_id_is_id || report.adt.recorded_at.is_some();
        telling && self.registry.repeats.heard(report, sender, at)
    }

    /// The update of a patient.
    fn update(&mut self, source: &Source, patient: u64, stay: Option<Stay>, spot: Option<Spot>, subject: &Subject, event: Event) {
        let Some(spot) = spot else {
            if let Some(Spot::Bed(number)) = stay.filter(|s| s.here).map(|s| s.spot) {
                self.demographics(number, subject, event.at);
            }
            return;
        };
        match stay {
            // After the discharge the old place is only history.
            Some(stay) if !stay.here => {}
            Some(stay) if stay.spot != spot => {
                self.feed(&source.feed).mark("adt_moved_by_update");
                self.go(patient, Some(stay.spot), spot, subject, event);
            }
            Some(_) => self.go(patient, Some(spot), spot, subject, event),
            // Never heard of: taken at its word where nobody else is known to lie.
            None => {
                let free = match spot {
                    Spot::Bed(number) => {
                        let cell = &self.cells[number as usize];
                        (cell.bound == 0 || cell.bound == patient) && (cell.bed.patient == 0 || cell.bed.patient == patient)
                    }
                    Spot::Unheard(_) => true,
                };
                if free {
                    self.go(patient, None, spot, subject, event);
                }
            }
        }
    }

    /// The patient that a PID names: all its ids are one, and the bare ones too as long as they are nobody else's.
    fn known_as(&mut self, preferred: &str, aliases: &[String], at: Timestamp) -> u64 {
        let first = if preferred.is_empty() { aliases.first().map_or("", String::as_str) } else { preferred };
        let patient = self.keyed.patient(first);
        if patient == 0 {
            return 0;
        }
        for id in std::iter::once(first).chain(aliases.iter().map(String::as_str)) {
            let hash = self.keyed.patient(id);
            self.join(patient, hash, at);
            if let Some((authority, bare)) = id.split_once('\0')
                && !authority.is_empty()
            {
                let bare = self.keyed.patient(&format!("\0{bare}"));
                self.make_room();
                let change = self.registry.aliases.join_bare(patient, bare, at);
                self.rename(change);
            }
        }
        self.registry.aliases.resolve(patient)
    }

    /// Events that say who is who. False: none of them.
    fn change_ids(&mut self, trigger: &str, report: &Report, at: Timestamp) -> bool {
        match trigger {
            // Merge: whoever was called so is this patient. Change of an id: so is the old one.
            "A18" | "A30" | "A34" | "A36" | "A39" | "A40" | "A46" | "A47" | "A49" => {
                self.for_merges(report, |monitor, into, from| monitor.join(into, from, at));
            }
            // The one id moves to this patient, not whoever else had it.
            "A43" => self.for_merges(report, |monitor, into, from| {
                let change = monitor.registry.aliases.part(&[from], at);
                monitor.rename(change);
                monitor.join(into, from, at);
            }),
            "A24" | "A37" => {
                let first = self.known_as(&report.subject.patient, &report.adt.aliases, at);
                if trigger == "A24" {
                    let second = self.known_as(&report.adt.second.patient, &report.adt.second_aliases, at);
                    self.join(first, second, at);
                } else {
                    let mut ids: Vec<u64> = Vec::new();
                    for id in &report.adt.second_aliases {
                        ids.push(self.keyed.patient(id));
                        if let Some((_, bare)) = id.split_once('\0') {
                            ids.push(self.keyed.patient(&format!("\0{bare}")));
                        }
                    }
                    let change = self.registry.aliases.part(&ids, at);
                    self.rename(change);
                }
            }
            _ => return false,
        }
        true
    }

    /// Every id of every MRG with the patient before it. A bare id is of the authority of that patient's.
    fn for_merges(&mut self, report: &Report, mut each: impl FnMut(&mut Monitor, u64, u64)) {
        for merge in &report.adt.merges {
            let Some(into) = merge.into.first() else { continue };
            let authority = into.split('\0').next().unwrap_or_default();
            let into = self.keyed.patient(into);
            for from in &merge.from {
                let hash = self.keyed.patient(from);
                each(self, into, hash);
                if let Some(bare) = from.strip_prefix('\0').filter(|_| !authority.is_empty()) {
                    let full = self.keyed.patient(&format!("{authority}\0{bare}"));
                    each(self, into, full);
                }
            }
        }
    }

    fn join(&mut self, patient: u64, other: u64, at: Timestamp) {
        self.make_room();
        let change = self.registry.aliases.join(patient, other, at);
        self.rename(change);
    }

    fn make_room(&mut self) {
        if self.registry.aliases.full() {
            let mut in_beds: Vec<u64> = self.cells.iter().flat_map(|c| [c.bed.patient, c.bound]).filter(|p| *p != 0).collect();
            in_beds.sort_unstable();
            self.registry.aliases.make_room(|patient| in_beds.binary_search(&patient).is_ok());
        }
    }

    /// A patient has another name now: everywhere.
    fn rename(&mut self, change: Option<(u64, u64)>) {
        let Some((old, new)) = change else { return };
        self.registry.rename(old, new);
        self.fleet.rename(old, new);
        for cell in &mut self.cells {
            for patient in [&mut cell.bed.patient, &mut cell.bound, &mut cell.left, &mut cell.before] {
                if *patient == old {
                    *patient = new;
                }
            }
        }
    }
}

/// Events that may bind a patient to a bed, or end that.
fn moves(trigger: &str) -> bool {
    matches!(trigger, "A01" | "A02" | "A03" | "A04" | "A06" | "A07" | "A08" | "A11" | "A12" | "A13" | "A17")
}

/// Events that are understood: those that move, and those that bind nobody (pre-admission, persons, visits and accounts).
fn is_known(trigger: &str) -> bool {
    moves(trigger)
        || matches!(trigger, "A05" | "A28" | "A29" | "A31" | "A35" | "A38" | "A41" | "A42" | "A44" | "A45" | "A50" | "A51")
}
