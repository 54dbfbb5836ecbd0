//! Clones and exchanges across beds: what a bed has picked of its values is asked of the others, and told to the fleet.
//!
//! One look-up a picked window (one in sixteen messages at one value a second), and a look into the indices of the few beds that the
//! fleet names. The levels of a bed are compared with its own hour once in ten seconds.

use super::*;
use crate::check::id;
use crate::check::patient_clone::Other;
use crate::check::swap_step::Levels;

impl Monitor {
    /// After a message was judged: whether another bed has shown the window that it has picked.
    pub(super) fn look_for_echo(&mut self, number: u32, at: Timestamp) {
        let cell = &mut self.cells[number as usize];
        let Some(place) = cell.states.self_replay.place.take() else { return };
        if cell.reserved {
            return;
        }
        self.make_room_for_echoes(at);
        let (unseen_s, level_ms) = (self.cells[number as usize].states.self_replay.unseen_s(), self.reading.level_ms);
        // The bed, how long ago, and whether one device speaks for both.
        let mut found: Option<(u32, f64, bool)> = None;
        for other in self.fleet.echoes.beds(place.key) {
            let Some(there) = self.cells.get(other as usize).filter(|_| other != number) else { continue };
            let Some(age_s) = there.states.self_replay.index.get(place.key, at) else { continue };
            let checks = &self.house.settings.checks;
            let same_device = self.one_device(number, other, at);
            if same_device {
                // It goes with its patient, or sends again what it has sent.
                let here = &self.cells[number as usize];
                let explained = at.since_s(here.adt_at.max(there.adt_at)) <= checks.patient_clone.explained_s;
                let delta_s = here.bed.delta_s().unwrap_or(1.0);
                let resent = at.since_s(there.bed.heard_at) > checks.patient_clone.live_s
                    && checks.self_replay.is_resend(place.own, at.plus_s(-age_s), level_ms, delta_s);
                if explained || resent {
                    continue;
                }
            }
            if found.is_none_or(|(_, youngest_s, _)| age_s < youngest_s) {
                found = Some((other, age_s, same_device));
            }
        }
        self.fleet.echoes.put(place.key, number);
        let Some((other, age_s, same_device)) = found else {
            let over_s = self.house.settings.checks.patient_clone.over_s.max(unseen_s);
            let row = self.cells[number as usize].findings.row(id::patient_clone);
            if row.is_some_and(|row| row.holds() && at.since_s(row.last_at) > over_s) {
                self.inject_pass(number, id::patient_clone, at);
            }
            return;
        };
        let (here, there) = (&self.cells[number as usize], &self.cells[other as usize]);
        let profile = self.house.shelf.of_application(&here.application);
        if !profile.usable(here.bed.epoch_at, at) {
            return;
        }
        let lag_s = age_s - at.since_s(place.stood_at);
        let seen = Other { bed: &there.bed.bed, live: there.live(at), same_device, age_s, lag_s };
        let verdict = self.house.settings.checks.patient_clone.verdict(&place, &here.bed.bed, seen, at);
        if verdict.assessment == Some(Assessment::Identity) {
            let mut told = verdict.clone();
            // Each bed is named first in its own alert.
            for (name, arg) in &mut told.args {
                match *name {
                    "a" => *arg = Arg::Text(there.bed.bed.clone()),
                    "b" => *arg = Arg::Text(here.bed.bed.clone()),
                    _ => {}
                }
            }
            self.inject(other, told, at);
        }
        self.inject(number, verdict, at);
    }

    /// Whether one device speaks for both beds, and not a gateway: one that speaks for a third bed as well is a gateway.
    fn one_device(&self, bed: u32, other: u32, at: Timestamp) -> bool {
        let device = &self.cells[bed as usize].device;
        let speaks = |cell: &&Cell| !cell.reserved && cell.device == *device && cell.live(at);
        *device == self.cells[other as usize].device && self.cells.iter().filter(speaks).take(3).count() <= 2
    }

    /// With twice as many beds the fleet's table is made anew, out of what the beds remember.
    fn make_room_for_echoes(&mut self, at: Timestamp) {
        if !self.fleet.echoes.is_crowded(self.cells.len()) {
            return;
        }
        self.fleet.echoes.resize(self.cells.len());
        let mut all: Vec<(u16, u64, u32)> = Vec::new();
        for (cell, number) in self.cells.iter().zip(0u32..) {
            all.extend(cell.states.self_replay.index.keys(at).into_iter().map(|(age, key)| (age, key, number)));
        }
        all.sort_unstable_by_key(|(age, key, number)| (Reverse(*age), *key, *number));
        for (_, key, number) in all {
            self.fleet.echoes.put(key, number);
        }
    }

    /// Whether this bed has stepped to the levels of another one that has stepped to its own.
    pub(super) fn look_for_swap(&mut self, number: u32, at: Timestamp) {
        let cell = &self.cells[number as usize];
        if cell.reserved || !self.fleet.steps.is_due(number, at) {
            return;
        }
        let check = &self.house.settings.checks.swap_step;
        let population = &self.house.population;
        // Who has just come, or was just announced, has no levels to leave.
        let settled = |cell: &Cell| {
            at.since_s(cell.bed.epoch_at) >= check.settled_s && at.since_s(cell.adt_at) >= check.together_s && cell.live(at)
        };
        let levels = settled(cell).then(|| Levels::of(&cell.bed, population, at)).filter(|levels| check.steps(levels));
        let Some(levels) = levels else {
            self.fleet.steps.stands(number);
            if cell.findings.row(id::swap_step).is_some_and(|row| row.holds()) {
                self.inject_pass(number, id::swap_step, at);
            }
            return;
        };
        let others = self.fleet.steps.steps(number, at, check.together_s, check.at_once_s);
        let mut best: Option<(u32, f64)> = None;
        for other in others {
            let Some(there) = self.cells.get(other as usize).filter(|c| settled(c)) else { continue };
            let ratio = check.ratio(&levels, &Levels::of(&there.bed, population, at));
            if ratio >= check.ratio_log10 && best.is_none_or(|(_, most)| ratio > most) {
                best = Some((other, ratio));
            }
        }
        let Some((other, ratio)) = best else { return };
        let (a, b) = (cell.bed.bed.clone(), self.cells[other as usize].bed.bed.clone());
        let verdict = check.verdict(&a, &b, ratio, at);
        self.inject(number, verdict, at);
        let verdict = self.house.settings.checks.swap_step.verdict(&b, &a, ratio, at);
        self.inject(other, verdict, at);
    }
}
