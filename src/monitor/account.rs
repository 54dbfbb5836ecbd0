//! What the findings of one bed amount to now, for a reader who wants to redo the sum.

use super::Monitor;
use crate::fusion::Account;

impl Monitor {
    /// The account of a bed at the time of the last input; `None` where there is no such bed.
    pub fn account(&self, ward: &str, bed: &str) -> Option<Account> {
        let number = *self.by_slug.get(&crate::hl7::place::key(ward, bed))?;
        let cell = self.cells.get(number as usize)?;
        let desk = self.desk(cell);
        Some(cell.findings.account(self.now, desk.limits.agree_s, desk.reviewed))
    }
}
