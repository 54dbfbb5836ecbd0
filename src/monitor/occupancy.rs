//! Who lies where: a patient comes to a bed, leaves it, and what was learned goes along.

use super::adt::Event;
use super::identity::{Pending, Spot, Stay};
use super::*;
use crate::observation::{AgeBand, Subject};
use crate::population::{band, band_of};
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// The ward's ADT counts as heard for so long, seconds: 7 days.
pub(super) const ADT_HEARD_S: f64 = 7.0 * 86_400.0;
/// The ward's time is passed on to its beds when it is so much newer, seconds.
const ADT_STEP_S: f64 = 60.0;
/// What they say is of the sender, its device and its way to us: it does not end with a patient.
const OF_SENDER: [&str; 4] = ["P03", "P16", "P17", "N01"];
/// Wards that are looked through for a bed that is named without one.
const WARDS_SEARCHED: usize = 64;

impl Monitor {
    /// The place that ADT names, as far as it is one. Nothing is opened by it.
    pub(super) fn spot(&mut self, source: &Source, parts: &[String; 3]) -> Option<Spot> {
        let parts = [parts[0].as_str(), parts[1].as_str(), parts[2].as_str()];
        if parts.iter().all(|p| p.trim().is_empty()) {
            return None;
        }
        if let Some(number) = self.placed(source, parts) {
            return Some(Spot::Bed(number));
        }
        if self.house.settings.beds.map == MapMode::Strict {
            return None;
        }
        let (ward, bed) = place::slug(parts[0], parts[1], parts[2])?;
        if ward.is_empty() {
            // The listener of ADT is another one than the monitors': the bed is looked for in every ward.
            let mut found =
                self.wards.iter().take(WARDS_SEARCHED).filter_map(|w| self.by_slug.get(&place::key(&w.name, &bed)).copied());
            if let (Some(number), None) = (found.next(), found.next()) {
                return Some(Spot::Bed(number));
            }
        }
        let ward = if ward.is_empty() { source.ward.as_str() } else { ward.as_str() };
        let key = place::key(ward, &bed);
        Some(self.by_slug.get(&key).map_or_else(|| Spot::Unheard(place_hash(&key)), |number| Spot::Bed(*number)))
    }

    /// ADT is heard from the ward of a place.
    pub(super) fn note_ward(&mut self, source: &Source, parts: &[String; 3], at: Timestamp) {
        let Some(Spot::Bed(number)) = self.spot(source, parts) else { return };
        let name = &self.cells[number as usize].bed.ward;
        let Some(ward) = self.wards.iter_mut().find(|w| w.name == *name) else { return };
        if at.since_s(ward.adt.1) > ADT_HEARD_S {
            ward.adt.0 = at;
        } else if at.since_s(ward.adt.1) < ADT_STEP_S {
            return;
        }
        ward.adt.1 = at;
        for number in &ward.cells {
            self.cells[*number as usize].ward_adt = ward.adt;
        }
    }

    /// A patient lies in `spot` from now on, and no more where it lay.
    pub(super) fn go(&mut self, patient: u64, from: Option<Spot>, spot: Spot, subject: &Subject, event: Event) {
        if let Some(from) = from.filter(|from| *from != spot) {
            self.leave(from, patient, event);
        }
        match spot {
            Spot::Bed(number) => self.occupy(number, patient, subject, event.at),
            Spot::Unheard(place) => {
                let (born, class) = (band_of(subject.birth, event.at), subject.class);
                self.registry.stays.await_bed(place, Pending { patient, told_at: event.at, born, class });
            }
        }
        let known = self.registry.stays.get(patient).copied();
        let prior = match known {
            Some(known) if known.spot == spot => known.prior,
            Some(known) => Some(known.spot),
            None => from.filter(|from| *from != spot),
        };
        let stay = Stay { spot, prior, here: true, told_at: event.at, recorded_at: event.recorded_at, by: event.by };
        self.registry.stays.set(patient, stay);
    }

    /// A patient lies in `spot` no more.
    pub(super) fn leave(&mut self, spot: Spot, patient: u64, event: Event) {
        match spot {
            Spot::Bed(number) => self.vacate(number, patient, event.at),
            Spot::Unheard(place) => self.registry.stays.leave_bed(place, patient),
        }
        let known = self.registry.stays.get(patient).copied();
        if known.is_none_or(|known| known.spot == spot) {
            let prior = known.and_then(|known| known.prior);
            let stay = Stay { spot, prior, here: false, told_at: event.at, recorded_at: event.recorded_at, by: event.by };
            self.registry.stays.set(patient, stay);
        }
    }

    /// Who was displaced by an admission that is cancelled lies there again.
    pub(super) fn put_back(&mut self, spot: Spot, event: Event) {
        let Spot::Bed(number) = spot else { return };
        let before = std::mem::take(&mut self.cells[number as usize].before);
        if before == 0 || self.registry.stays.get(before).is_some_and(|stay| stay.here && stay.spot != spot) {
            return;
        }
        // The age is not known again until it is sent.
        self.go(before, None, spot, &Subject::default(), event);
    }

    /// A patient comes to a bed: a new epoch, unless it is the one who lies there.
    fn occupy(&mut self, number: u32, patient: u64, subject: &Subject, at: Timestamp) {
        let cell = &mut self.cells[number as usize];
        let announced = cell.bound == patient;
        cell.adt_at = at;
        cell.bound = patient;
        cell.off_at = None;
        if cell.heard && cell.bed.patient == patient && patient != 0 && !cell.bed.off {
            self.demographics(number, subject, at);
            if !announced {
                self.explain(number, at);
            }
            return;
        }
        let displaced = cell.bed.patient;
        self.put_aside(number, at);
        self.end_epoch(number, at);
        let cell = &mut self.cells[number as usize];
        if displaced != 0 && displaced != patient {
            cell.before = displaced;
        }
        // Where no monitor is heard yet there is nothing to miss.
        cell.heard = cell.live(at);
        cell.bed.begin_epoch(patient, AgeBand::Unknown, at);
        cell.states.admit();
        (cell.born, cell.class) = (AgeBand::Unknown, None);
        self.take_up(number, patient, at);
        self.demographics(number, subject, at);
        self.settle(number, at);
    }

    /// A patient leaves a bed: silence is expected from now on. A late discharge of one who lay there before changes nothing
    /// for the one who lies there now.
    fn vacate(&mut self, number: u32, patient: u64, at: Timestamp) {
        self.fleet.left(patient, number);
        let cell = &mut self.cells[number as usize];
        let lies_here = if cell.bed.patient != 0 { cell.bed.patient } else { cell.bound };
        if patient != 0 && lies_here != 0 && patient != lies_here {
            if cell.bound == patient {
                cell.bound = 0;
            }
            return;
        }
        cell.adt_at = at;
        cell.bound = 0;
        // Told twice (a swap, a discharge after a transfer): nobody lies there already.
        if cell.bed.off && cell.left == patient {
            return;
        }
        self.put_aside(number, at);
        self.end_epoch(number, at);
        let cell = &mut self.cells[number as usize];
        cell.left = patient.max(lies_here);
        cell.left_at = at;
        cell.bed.begin_epoch(0, AgeBand::Unknown, at);
        cell.bed.off = true;
        (cell.born, cell.class) = (AgeBand::Unknown, None);
        cell.states.admit();
        self.settle(number, at);
    }

    /// Birth date and category of who lies there, as far as they are told.
    pub(super) fn demographics(&mut self, number: u32, subject: &Subject, at: Timestamp) -> bool {
        let cell = &mut self.cells[number as usize];
        if subject.birth.is_some() {
            cell.born = band_of(subject.birth, at);
        }
        if subject.class.is_some() {
            cell.class = subject.class;
        }
        let (age, contradiction) = band(cell.born, cell.class);
        cell.bed.age = age;
        contradiction
    }

    /// Keeps what was learned of who lies there.
    pub(super) fn put_aside(&mut self, number: u32, at: Timestamp) {
        let cell = &mut self.cells[number as usize];
        let patient = cell.bed.patient;
        if patient == 0 {
            return;
        }
        let baseline = cell.bed.put_aside();
        if baseline.has_learned() {
            // The day's windows stay with the bed.
            let windows = std::mem::take(&mut cell.states.self_replay);
            let states = Box::new(cell.states.clone());
            cell.states.self_replay = windows;
            self.registry.aside.put(identity::Kept { patient, bed: number, at, baseline, states });
        }
    }

    /// Gives who lies there now what was learned before: all of it in the same bed, the levels in another.
    pub(super) fn take_up(&mut self, number: u32, patient: u64, at: Timestamp) {
        let Some(kept) = self.registry.aside.take(patient, at) else { return };
        let cell = &mut self.cells[number as usize];
        if kept.bed == number {
            cell.bed.resume(kept.baseline);
            cell.states.resume(*kept.states);
        } else {
            cell.bed.bring(kept.baseline);
        }
    }

    /// A bed is heard for the first time: who ADT said lies there.
    pub(super) fn bed_opened(&mut self, number: u32, key: &str) {
        let Some(pending) = self.registry.stays.bed_heard(place_hash(key), number) else { return };
        let cell = &mut self.cells[number as usize];
        cell.bound = pending.patient;
        cell.adt_at = pending.told_at;
        cell.bed.patient = pending.patient;
        (cell.born, cell.class) = (pending.born, pending.class);
        cell.bed.age = band(cell.born, cell.class).0;
        let at = self.now;
        self.take_up(number, pending.patient, at);
    }

    /// What was open of the patient before is closed without proof. What is open of a sender stays.
    pub(super) fn end_epoch(&mut self, number: u32, at: Timestamp) {
        let before = self.events.len();
        let cell = &mut self.cells[number as usize];
        let desk = self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved);
        let stays = |check: CheckId| OF_SENDER.contains(&check.meta().id);
        cell.findings.rows.retain(|row| stays(row.check));
        cell.episodes.expire_but(stays, &cell.findings, at, &desk, Cause::Discharge, &mut self.events);
        if self.events.len() > before {
            self.say(number, before);
        }
    }
}

fn place_hash(key: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(key.as_bytes());
    hasher.finish()
}
