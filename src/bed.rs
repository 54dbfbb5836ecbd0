//! One bed: who lies in it as far as the feed says, and one [`Stream`] of statistics for each parameter.
//!
//! A bed knows no check and no alert. It is told what passed ([`Bed::learn`]) and answers what it expects.

use crate::observation::{AgeBand, Observation, Validity};
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// One accepted value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub value: f64,
    pub effective_at: Timestamp,
    pub received_at: Timestamp,
}

/// One parameter of one channel: its last values and its baseline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    pub parameter: Parameter,
    pub channel: u32,
    /// The last accepted value.
    pub last: Option<Sample>,
    /// The one before it.
    pub previous: Option<Sample>,
    /// Why the newest row holds no usable value; `None` while it does.
    pub absent: Option<Validity>,
    /// When a row of this parameter was last heard, usable or not.
    pub heard_at: Timestamp,
    /// Values accepted since the epoch began.
    pub accepted: u64,
}

/// One bed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bed {
    pub ward: String,
    pub bed: String,
    /// Keyed hash of the patient; 0 unknown.
    pub patient: u64,
    pub age: AgeBand,
    /// When the present epoch (one patient, one device set) began.
    pub epoch_at: Timestamp,
    /// Last message of any kind for this bed.
    pub heard_at: Timestamp,
    pub streams: Vec<Stream>,
}

impl Bed {
    /// The stream that speaks for a parameter.
    pub fn stream(&self, parameter: Parameter) -> Option<&Stream> {
        self.streams.iter().find(|s| s.parameter == parameter)
    }
    /// The stream of a parameter and channel.
    pub fn channel(&self, parameter: Parameter, channel: u32) -> Option<&Stream> {
        self.streams.iter().find(|s| s.parameter == parameter && s.channel == channel)
    }
    /// Whether an observation is usable and a measurement that was not heard before (a repeat with the same own time is the
    /// same measurement).
    pub fn is_new(&self, observation: &Observation) -> bool {
        observation.validity.usable()
            && self
                .channel(observation.parameter, observation.channel)
                .and_then(|s| s.last)
                .is_none_or(|last| last.effective_at != observation.effective_at)
    }
}
