//! What the site knows of its devices, and where the advisories come from.

use super::Found;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[devices]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// The site's inventory.
    pub device: Vec<DeviceEntry>,
    /// A file of further advisories, in the form of `data/advisories.toml`; an entry of the same id replaces ours.
    pub advisories: Option<PathBuf>,
}

/// A device that the site knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceEntry {
    /// EUI-64, MAC, serial or address, as its messages name it; or its published hash (`dev-…`).
    pub id: String,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub version: Option<String>,
    pub state: DeviceState,
}

/// Where a device stands by the site's own word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    #[default]
    Service,
    /// Taken off the network: whatever is heard of it is an alert.
    Quarantined,
}

impl Devices {
    /// What cannot be.
    pub(super) fn problems(&self, found: &mut Found) {
        for (at, device) in self.device.iter().enumerate() {
            if device.id.trim().is_empty() {
                found.add(format!("devices.device.{at}.id"), "must name a device");
            }
        }
    }
}
