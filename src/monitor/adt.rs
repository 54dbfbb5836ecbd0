//! Admission, transfer, discharge: what binds a patient to a bed. Values never come this way.

use super::*;

impl Monitor {
    /// An ADT message. Events that change no binding are only counted.
    pub(super) fn adt(&mut self, source: &Source, report: &Report, at: Timestamp) {
        let patient = self.keyed.patient(&report.subject.patient);
        let parts = |s: &crate::observation::Subject| [s.point_of_care.clone(), s.room.clone(), s.bed.clone()];
        let here = parts(&report.subject);
        let bed_of = |monitor: &mut Monitor, place: &[String; 3]| {
            if place.iter().all(|p| p.trim().is_empty()) {
                return None;
            }
            monitor.locate(source, [&place[0], &place[1], &place[2]], at)
        };
        match report.trigger.as_str() {
            // Admit, register, cancel discharge.
            "A01" | "A04" | "A13" => {
                if let Some(number) = bed_of(self, &here) {
                    self.occupy(number, patient, report, at);
                }
            }
            // Transfer, cancel transfer.
            "A02" | "A12" => {
                let prior = bed_of(self, &report.adt.prior);
                let new = bed_of(self, &here);
                if let Some(prior) = prior.filter(|p| Some(*p) != new) {
                    self.vacate(prior, patient, at);
                }
                if let Some(number) = new {
                    self.occupy(number, patient, report, at);
                }
            }
            // Discharge, cancel admission.
            "A03" | "A11" => {
                if let Some(number) = bed_of(self, &here) {
                    self.vacate(number, patient, at);
                }
            }
            // Two patients change beds: the second is named beside the first.
            "A17" => {
                let second = self.keyed.patient(&report.adt.second.patient);
                let there = parts(&report.adt.second);
                let (a, b) = (bed_of(self, &here), bed_of(self, &there));
                if let (Some(a), Some(b)) = (a, b) {
                    self.occupy(a, patient, report, at);
                    self.occupy(b, second, report, at);
                }
            }
            _ => {}
        }
    }

    /// A patient comes to a bed: a new epoch, unless it is the one who lies there.
    fn occupy(&mut self, number: u32, patient: u64, report: &Report, at: Timestamp) {
        let cell = &self.cells[number as usize];
        if cell.heard && cell.bed.patient == patient && patient != 0 && !cell.bed.off {
            return;
        }
        self.end_epoch(number, at);
        let age = crate::population::age_band(report.subject.birth, report.subject.class, at);
        let cell = &mut self.cells[number as usize];
        // Where no monitor is heard yet there is nothing to miss.
        cell.heard = cell.live(at);
        cell.bed.begin_epoch(patient, age, at);
        cell.states = crate::check::States::default();
        self.settle(number, at);
    }

    /// A patient leaves a bed: silence is expected from now on. A late discharge of one who lay there before changes nothing
    /// for the one who lies there now.
    fn vacate(&mut self, number: u32, patient: u64, at: Timestamp) {
        self.fleet.left(patient, number);
        let lies_here = self.cells[number as usize].bed.patient;
        if patient != 0 && lies_here != 0 && patient != lies_here {
            return;
        }
        self.end_epoch(number, at);
        let cell = &mut self.cells[number as usize];
        cell.left = patient.max(lies_here);
        cell.left_at = at;
        cell.bed.begin_epoch(0, crate::observation::AgeBand::Unknown, at);
        cell.bed.off = true;
        cell.states = crate::check::States::default();
        self.settle(number, at);
    }

    /// What was open of the patient before is closed without proof.
    fn end_epoch(&mut self, number: u32, at: Timestamp) {
        let before = self.events.len();
        let cell = &mut self.cells[number as usize];
        let desk = self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved);
        cell.episodes.expire_all(&cell.findings, at, &desk, Cause::Discharge, &mut self.events);
        cell.findings.rows.clear();
        if self.events.len() > before {
            self.say(number, before);
        }
    }
}
