//! Binds each message to its patient before it is judged: aliases, epochs, age, and what the checks of identity are told
//! ([`Bond`]).
//!
//! An epoch is one patient in one bed. It ends by ADT, by another named patient, and, where nobody is named, by a silence of
//! `[beds] epoch_silence_s` or, where identity lives in the connection, by a new connection that has named nobody.

use super::identity::Spot;
use super::occupancy::ADT_HEARD_S;
use super::*;
use crate::bed::{Misplaced, Permit};
use crate::check::id;
use crate::fleet::Whereabouts;

/// Messages of a discharged patient count as late for so long, seconds: what is on its way through a gateway.
const LATE_S: f64 = 60.0;
/// An ADT of the bed or the patient explains a change for so long, before and after, seconds.
const EXPLAINS_S: f64 = 600.0;
/// Values may differ from ADT for so long without being looked at, seconds; the check decides from when on it is told.
const MISPLACED_S: f64 = 300.0;

impl Monitor {
    /// Fills the bond of a message and begins a new epoch where one is due. True: it is a late message of one who left.
    pub(super) fn bind(
        &mut self,
        number: u32,
        source: &Source,
        report: &Report,
        permit: Permit,
        quarantined: bool,
        at: Timestamp,
    ) -> bool {
        let named = self.patient_of(report);
        let mut bond = std::mem::take(&mut self.bond);
        bond.clear();
        (bond.permit, bond.quarantined) = (permit, quarantined);
        let silence_s = f64::from(self.house.settings.beds.epoch_silence_s);
        let both_s = self.house.settings.checks.adt_mismatch.two_beds_s;
        let cell = &mut self.cells[number as usize];
        if cell.heard {
            bond.gap_s = at.since_s(cell.bed.heard_at);
        } else {
            cell.heard = true;
            cell.bed.epoch_at = at;
            cell.bed.heard_at = at;
        }
        // What was on its way when the patient left is nobody's return.
        let late = cell.bed.off && at.since_s(cell.left_at) <= LATE_S && (named == 0 || named == cell.left);
        cell.bed.off = late || Self::stays_off(cell, report, at);
        bond.patient = named;
        bond.lay = cell.bed.patient;
        bond.adt = at.since_s(cell.ward_adt.1) <= ADT_HEARD_S;
        bond.confirmed = named != 0 && cell.bound == named;
        bond.explained = at.since_s(cell.adt_at) <= EXPLAINS_S;
        bond.class = report.subject.class;

        // Whose values these are.
        let reconnected =
            report.identity_in_connection && named == 0 && !matches!(cell.connection, 0) && cell.connection != source.connection;
        let nobody = (named == 0 || cell.bed.patient == 0) && cell.bound == 0;
        let another = named != 0 && cell.bed.patient != 0 && named != cell.bed.patient && report.kind == MessageKind::Vitals;
        cell.connection = source.connection;
        if late {
        } else if another || reconnected || (nobody && bond.gap_s.is_finite() && bond.gap_s >= silence_s) {
            self.turn_over(number, named, at);
        } else if named != 0 && cell.bed.patient == 0 {
            cell.bed.patient = named;
        }
        if !late {
            self.note_name(number, named, report);
            bond.contradiction = self.demographics(number, &report.subject, at);
        }

        // Where else.
        if named != 0 && !late && report.kind == MessageKind::Vitals && !self.cells[number as usize].reserved {
            let changed = bond.lay != 0 && bond.lay != named;
            let (other, moved) = match self.fleet.heard(named, number, at, both_s) {
                Whereabouts::Here => (None, false),
                Whereabouts::CameFrom(other) => (Some(other), true),
                Whereabouts::Perhaps(other) => (Some(other), false),
                Whereabouts::Both(other) => {
                    bond.two_beds = true;
                    (Some(other), false)
                }
            };
            if let Some(other) = other {
                let there = &self.cells[other as usize];
                bond.moved = moved && !bond.confirmed;
                bond.swapped = changed && there.bed.patient == bond.lay;
                bond.other_bed = Some(other);
                bond.other.push_str(&there.bed.bed);
            }
            bond.misplaced = self.misplaced(number, &mut bond, at);
            if changed || bond.two_beds || bond.moved || bond.misplaced != Misplaced::No {
                let told = |patient: u64| self.registry.stays.get(patient).is_some_and(|s| at.since_s(s.told_at) <= EXPLAINS_S);
                bond.explained |= told(named);
            }
        } else if named == 0 && !late {
            bond.misplaced = self.misplaced(number, &mut bond, at);
        }
        self.bond = bond;
        late
    }

    /// Another patient, unannounced: what was learned of the one before says nothing of this one, and is kept for its return.
    fn turn_over(&mut self, number: u32, patient: u64, at: Timestamp) {
        self.put_aside(number, at);
        let cell = &mut self.cells[number as usize];
        cell.named = None;
        cell.bed.begin_epoch(patient, crate::observation::AgeBand::Unknown, at);
        cell.states.begin_epoch();
        (cell.born, cell.class) = (crate::observation::AgeBand::Unknown, None);
        self.take_up(number, patient, at);
    }

    /// Whether the values come from where ADT does not have their patient.
    fn misplaced(&self, number: u32, bond: &mut Bond, at: Timestamp) -> Misplaced {
        let cell = &self.cells[number as usize];
        let epoch_s = at.since_s(cell.bed.epoch_at);
        let left_s = at.since_s(cell.left_at);
        let same = bond.patient == 0 || bond.patient == cell.left;
        if cell.bound == 0 && cell.left_at != Timestamp::MIN && left_s > MISPLACED_S && same {
            let goes_on = cell.bed.epoch_at == cell.left_at;
            if goes_on || (cell.left != 0 && bond.patient == cell.left) {
                return Misplaced::Discharged(left_s);
            }
        }
        if !bond.adt || bond.patient == 0 || bond.confirmed || epoch_s < MISPLACED_S {
            return Misplaced::No;
        }
        match self.registry.stays.get(bond.patient) {
            Some(stay) if stay.here => {
                let s = epoch_s.min(at.since_s(stay.told_at));
                if stay.spot == Spot::Bed(number) || s < MISPLACED_S {
                    return Misplaced::No;
                }
                if bond.two_beds || bond.moved || bond.swapped {
                    // The check that names the other bed speaks first.
                    return Misplaced::No;
                }
                bond.other.clear();
                match stay.spot {
                    Spot::Bed(other) => bond.other.push_str(&self.cells[other as usize].bed.bed),
                    Spot::Unheard(_) => bond.other.push('-'),
                }
                Misplaced::Elsewhere(s)
            }
            // Who was there before ADT was heard was admitted before it was heard.
            _ if cell.bed.epoch_at > cell.ward_adt.0 => Misplaced::Unadmitted(epoch_s),
            _ => Misplaced::No,
        }
    }

    /// The other one of two beds that name each other's patient.
    pub(super) fn tell_swap(&mut self, number: u32, at: Timestamp) {
        if !self.bond.swapped || self.bond.explained || self.bond.confirmed {
            return;
        }
        let Some(other) = self.bond.other_bed else { return };
        let (here, there) = (self.cells[number as usize].bed.bed.clone(), self.cells[other as usize].bed.bed.clone());
        let verdict = Verdict {
            hard: true,
            log10_e: 4.0,
            priority: Some(Priority::High),
            text: "swapped",
            args: [("a", Arg::Text(there)), ("b", Arg::Text(here))].into_iter().collect(),
            ..Verdict::new(id::identity_binding, ParamSet::EMPTY, at)
        };
        self.inject(other, verdict, at);
    }

    /// An ADT says now what a check of identity has found before: it becomes information.
    pub(super) fn explain(&mut self, number: u32, at: Timestamp) {
        let of_identity =
            |check| [id::device_change, id::adt_mismatch, id::identity_binding, id::category_change].contains(&check);
        let mut found = false;
        let cell = &mut self.cells[number as usize];
        for episode in cell.episodes.list.iter_mut().filter(|e| e.holds() && of_identity(e.check)) {
            if episode.assessment == Assessment::Identity {
                episode.priority = Priority::Info;
            }
        }
        for row in &mut cell.findings.rows {
            if of_identity(row.check) && at.since_s(row.last_at) <= EXPLAINS_S && row.priority != Some(Priority::Info) {
                row.priority = Some(Priority::Info);
                row.hard = false;
                row.log10_e = 0.0;
                "explained".clone_into(&mut row.text);
                found = true;
            }
        }
        if found {
            self.settle(number, at);
        }
    }

    /// A message that is not judged, of a sender that may not speak or of a quarantined device: told at the bed it names, else
    /// at the device's own.
    pub(super) fn doubt_sender(
        &mut self,
        source: &Source,
        report: &Report,
        sender: u64,
        device: &str,
        permit: Permit,
        quarantined: bool,
        at: Timestamp,
    ) {
        let subject = &report.subject;
        let parts = [subject.point_of_care.as_str(), subject.room.as_str(), subject.bed.as_str()];
        let Some(number) = self.placed(source, parts).or_else(|| self.unassigned(device, at)) else {
            self.feed(&source.feed).beds_refused += 1;
            return;
        };
        let mut bond = std::mem::take(&mut self.bond);
        bond.clear();
        (bond.permit, bond.quarantined) = (permit, quarantined);
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        let cell = &mut self.cells[number as usize];
        let profile = cell.learner.profile(self.house.shelf.of_application(&report.application));
        let view = View::message(at, report, source, sender, &cell.bed, &self.house.population, profile).with_bond(&bond);
        let checks = &self.house.settings.checks;
        use crate::check::Judge;
        checks.sender_not_allowed.judge(&mut cell.states.sender_not_allowed, &view, &mut verdicts);
        checks.transport_identity.judge(&mut cell.states.transport_identity, &view, &mut verdicts);
        checks.quarantined_device.judge(&mut cell.states.quarantined_device, &view, &mut verdicts);
        verdicts.mute(self.house.settings.muted);
        cell.findings.observe(&verdicts, at, None, &cell.bed, &Origin::default);
        self.verdicts = verdicts;
        self.bond = bond;
        self.settle(number, at);
    }
}
