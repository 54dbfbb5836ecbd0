//! What was learned of devices, for people.

use super::Monitor;
use crate::profile::learn::Learner;
use crate::profile::{Learned, Profile};

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceHabits {
    /// `dev-…`.
    pub device: String,
    /// Name of the profile that speaks for it now.
    pub in_force: String,
    pub messages: u64,
    /// Messages that taught nothing because the bed was under suspicion.
    pub frozen: u64,
    pub observed_s: f64,
    /// Findings of pressure_order and of time_order.
    pub orders_broken: u32,
    pub times_broken: u32,
    pub parameters: Vec<Learned>,
    /// What was learned, as a profile that nobody has reviewed.
    pub profile: Profile,
}

impl Monitor {
    /// What was learned of every device, by device.
    pub fn habits(&self) -> Vec<DeviceHabits> {
        let at_beds = self.cells.iter().map(|cell| (&cell.learner, cell.application.as_str()));
        let mut list: Vec<DeviceHabits> = at_beds
            .chain(self.aside.iter().map(|learner| (learner, "")))
            .filter(|(learner, _)| !learner.device.is_empty())
            .map(|(learner, application)| self.told(learner, application))
            .collect();
        list.sort_by(|a, b| (&a.device, b.messages).cmp(&(&b.device, a.messages)));
        list.dedup_by(|a, b| a.device == b.device);
        list
    }

    fn told(&self, learner: &Learner, application: &str) -> DeviceHabits {
        let base = self.house.shelf.of_application(application);
        let (messages, frozen, observed_s) = learner.habits.exposure();
        let mut profile = learner.habits.profile(base, &learner.device);
        profile.applications = if application.is_empty() { Vec::new() } else { vec![application.to_owned()] };
        DeviceHabits {
            device: learner.device.clone(),
            in_force: base.name.clone(),
            messages,
            frozen,
            observed_s,
            orders_broken: learner.habits.orders_broken,
            times_broken: learner.habits.times_broken,
            parameters: learner.habits.told(),
            profile,
        }
    }
}
