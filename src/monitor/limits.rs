//! Alarm limits of several beds that are widened together (P12): one notice at the ward, or at the installation.

use super::*;

impl Monitor {
    /// After a bed has judged a message.
    pub(super) fn limits_widened(&mut self, number: u32, at: Timestamp) {
        let check = &self.house.settings.checks.limit_change;
        if check.is_over(&mut self.wider, at)
            && let Some(place) = self.wider_place.take()
        {
            self.inject_pass(place, crate::check::id::limit_change, at);
        }
        let check = &self.house.settings.checks.limit_change;
        let cell = &self.cells[number as usize];
        if cell.reserved || !cell.states.limit_change.widened(at) {
            return;
        }
        let Some((beds, verdict)) = check.wider(&mut self.wider, number, at) else { return };
        let ward = self.cells[number as usize].bed.ward.clone();
        let one_ward = beds.iter().all(|bed| self.cells[*bed as usize].bed.ward == ward);
        let place = if one_ward { self.reserved(&ward, WARD, at) } else { self.reserved(SITE, SITE, at) };
        // Beds of a second ward joined: the notice of the first one is over.
        if let Some(before) = self.wider_place.replace(place).filter(|before| *before != place) {
            self.inject_pass(before, crate::check::id::limit_change, at);
        }
        self.inject(place, verdict, at);
    }
}
