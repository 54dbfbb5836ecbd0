//! Who is who, and where: what identity messages (ADT) have said, and what was learned of patients who left their bed.
//!
//! Everything here is state (part of the snapshot), keyed by hashes, and bounded; each part says what happens at its bound. A
//! flood of invented patients, places or ids costs knowledge about the oldest of them, never the beds that are heard.

mod aliases;
mod aside;
mod stays;

pub(super) use aliases::Aliases;
pub(super) use aside::{Aside, Kept};
pub(super) use stays::{Pending, Spot, Stay, Stays};

use super::resent::Resent;
use serde::{Deserialize, Serialize};

/// The registry of one monitor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Registry {
    pub aliases: Aliases,
    pub stays: Stays,
    pub aside: Aside,
    /// Bodies of the last 512 ADT messages: a copy has no effect.
    pub repeats: Resent,
}

impl Registry {
    /// One patient has another name now.
    pub fn rename(&mut self, old: u64, new: u64) {
        self.stays.rename(old, new);
        self.aside.rename(old, new);
    }
}

/// What the registry holds now, for tests of its bounds.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub ids: usize,
    pub groups: usize,
    pub stays: usize,
    pub pending: usize,
    pub aside: usize,
}

#[cfg(test)]
impl Registry {
    pub fn sizes(&self) -> Sizes {
        let (ids, groups) = self.aliases.sizes();
        let (stays, pending) = self.stays.sizes();
        Sizes { ids, groups, stays, pending, aside: self.aside.len() }
    }
}
