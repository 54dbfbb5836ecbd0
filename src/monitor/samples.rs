//! The newest number of each parameter of a bed, for whoever keeps a history.

use super::{BedId, Monitor};
use crate::calibration::Pace;
use crate::time::Timestamp;
use crate::vital::Parameter;

/// The newest usable value of a parameter, as received.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub parameter: Parameter,
    /// Canonical unit of the parameter.
    pub value: f64,
    pub received_at: Timestamp,
}

impl Monitor {
    /// The time of the last input.
    pub fn at(&self) -> Timestamp {
        self.now
    }

    /// Ward and id of a bed that is not reserved.
    pub fn place(&self, bed: BedId) -> Option<(&str, &str)> {
        let cell = self.cells.get(bed.0 as usize)?;
        (!cell.reserved).then_some((cell.bed.ward.as_str(), cell.bed.bed.as_str()))
    }

    /// The newest usable value of every published parameter of a bed, fresh or not: `received_at` tells new from seen.
    pub fn samples(&self, bed: BedId) -> impl Iterator<Item = Sample> + '_ {
        let cell = self.cells.get(bed.0 as usize);
        Parameter::ALL.iter().copied().filter(|p| p.published()).filter_map(move |parameter| {
            let latest = cell?.bed.stream(parameter)?.latest?;
            Some(Sample { parameter, value: latest.value, received_at: latest.received_at })
        })
    }

    /// What the bed's own statistics expect of a parameter at `now`: low and high, canonical unit; `None` while they are learning.
    pub fn band(&self, bed: BedId, parameter: Parameter, now: Timestamp) -> Option<(f64, f64)> {
        let cell = self.cells.get(bed.0 as usize)?;
        let profile = cell.learner.profile(self.house.shelf.of_application(&cell.application));
        if cell.bed.is_learning(parameter, profile, now) {
            return None;
        }
        // As the bed's document says it.
        let pace = Pace::of(cell.bed.delta_s().unwrap_or(1.0));
        let prior = self.house.settings.models.prior(cell.bed.age, pace, parameter);
        cell.bed.expected_band(parameter, prior.as_deref(), now)
    }
}
