//! What a device model does (`models/profiles`): sentinels, resolution, cadence, hold time.

/// One device model's habits.
#[derive(Debug, Clone, Default)]
pub struct Profile {}
