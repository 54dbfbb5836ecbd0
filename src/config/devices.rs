//! What the site knows of its devices, and where the advisories come from.

use super::Found;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
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
    /// The site's entry of a device: by its key as messages name it, or by its published hash (`dev-…`). Letter case and the
    /// separators of a MAC or EUI-64 do not matter, and a MAC is also the EUI-64 that is made from it (`FFFE` in the middle,
    /// RFC 4291 appendix A). Linear in the list: for a message's usual way keep the answer.
    pub fn entry(&self, key: &str, dev_hash: &str) -> Option<&DeviceEntry> {
        self.device.iter().find(|entry| {
            let id = entry.id.trim();
            !id.is_empty() && (id.eq_ignore_ascii_case(dev_hash) || same_device(id, key.trim()))
        })
    }

    /// Addresses that are declared quarantined: whoever sends from one should not be heard.
    pub fn quarantined_hosts(&self) -> impl Iterator<Item = IpAddr> {
        let entries = self.device.iter().filter(|device| device.state == DeviceState::Quarantined);
        entries.filter_map(|device| device.id.trim().parse::<IpAddr>().ok()).map(|host| host.to_canonical())
    }

    /// What cannot be.
    pub(super) fn problems(&self, found: &mut Found) {
        for (at, device) in self.device.iter().enumerate() {
            if device.id.trim().is_empty() {
                found.add(format!("devices.device.{at}.id"), "must name a device");
            }
        }
    }
}

/// The digits of a MAC (12) or EUI-64 (16), upper case, however they are separated.
fn hardware_id(text: &str) -> Option<([u8; 16], usize)> {
    let mut digits = ([0; 16], 0);
    for byte in text.bytes().filter(|b| !matches!(b, b':' | b'-')) {
        if !byte.is_ascii_hexdigit() || digits.1 == 16 {
            return None;
        }
        digits.0[digits.1] = byte.to_ascii_uppercase();
        digits.1 += 1;
    }
    (matches!(digits.1, 12 | 16) && !text.contains("::")).then_some(digits)
}

fn same_device(id: &str, key: &str) -> bool {
    if key.is_empty() {
        return false;
    }
    if id.eq_ignore_ascii_case(key) {
        return true;
    }
    let (Some((a, a_len)), Some((b, b_len))) = (hardware_id(id), hardware_id(key)) else { return false };
    let is_of = |mac: &[u8; 16], eui: &[u8; 16]| mac[..6] == eui[..6] && &eui[6..10] == b"FFFE" && mac[6..12] == eui[10..];
    match (a_len, b_len) {
        (12, 16) => is_of(&a, &b),
        (16, 12) => is_of(&b, &a),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Devices {
        Devices { device: vec![DeviceEntry { id: id.into(), ..DeviceEntry::default() }], ..Devices::default() }
    }

    #[test]
    fn a_device_is_found_however_its_id_is_written() {
        let found = |id: &str, key: &str| of(id).entry(key, "dev-0011aabb").is_some();
        assert!(found("00:a0:37:12:34:56", "00A037123456"));
        assert!(found("00-A0-37-FF-FE-12-34-56", "00A037FFFE123456"));
        assert!(found("00:a0:37:12:34:56", "00A037FFFE123456"), "the EUI-64 of this MAC");
        assert!(found(" sn-4711 ", "SN-4711"));
        assert!(found("10.0.100.98:1", "10.0.100.98:1"));
        assert!(found("DEV-0011aabb", "whatever it is"));
    }

    #[test]
    fn another_device_is_not_found() {
        let found = |id: &str, key: &str| of(id).entry(key, "dev-0011aabb").is_some();
        assert!(!found("00:a0:37:12:34:57", "00A037123456"));
        assert!(!found("10.0.10.98", "10.01.0.98"), "an address is not read as digits");
        assert!(!found("", ""));
        assert!(!found("sn-4711", ""));
        assert!(!found("dev-0011aabc", "sn-4711"));
    }
}
