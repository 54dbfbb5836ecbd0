//! Which message named who lies in a bed: its number and nothing of it, for whoever may read the message itself.

use super::Monitor;
use crate::observation::{MessageFlags, Report};
use serde::{Deserialize, Serialize};

/// A message in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBy {
    /// Number of the frame.
    pub sequence: u64,
    /// Place of the message in its batch, from 0.
    pub message: u16,
}

impl Monitor {
    /// Remembers the message if it names, in a PID of its own and without a second one, the patient who lies there.
    pub(super) fn note_name(&mut self, number: u32, patient: u64, report: &Report) {
        let cell = &mut self.cells[number as usize];
        let alone = !report.identity_in_connection && !report.flags.has(MessageFlags::SECOND_PID | MessageFlags::SECOND_MSH);
        if patient != 0 && cell.bed.patient == patient && !cell.bed.off && alone {
            cell.named = Some(NamedBy { sequence: self.frame.0, message: self.frame.1 });
        }
    }

    /// The last message that named the patient of a bed; `None`: nobody lies there, or nobody was named since this patient came.
    pub fn named_by(&self, ward: &str, bed: &str) -> Option<NamedBy> {
        let number = self.bed_id(ward, bed)?;
        let cell = &self.cells[number.0 as usize];
        cell.named.filter(|_| !cell.bed.off && !cell.reserved)
    }
}
