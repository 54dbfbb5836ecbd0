//! Who may speak: the site's list of senders and its quarantined devices. Look-ups only; nothing here is state.

use crate::bed::Permit;
use crate::config::{DeviceState, Devices, SenderBook, SenderRule, Senders};
use crate::observation::{Device, Source};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Devices whose state is remembered at most; when full, all are looked up anew.
const KNOWN_MAX: usize = 16_384;

/// The list at work.
#[derive(Debug)]
pub(super) struct Gate {
    closed: bool,
    /// The list's rules without what they demand of the transport, and what that was.
    loose: SenderBook,
    demands: Vec<bool>,
    /// Quarantined entries alone.
    devices: Devices,
    /// Their addresses, as far as they are entered by one.
    hosts: BTreeSet<IpAddr>,
    /// Of keys, and of senders that name none.
    known: [FxHashMap<String, bool>; 2],
}

impl Gate {
    pub fn new(senders: &Senders, devices: &Devices) -> Gate {
        let bare = |rule: &SenderRule| SenderRule { certificate: None, encrypted: false, ..rule.clone() };
        let loose = Senders { closed: senders.closed, sender: senders.sender.iter().map(bare).collect() };
        let quarantined = devices.device.iter().filter(|d| d.state == DeviceState::Quarantined).cloned().collect();
        Gate {
            closed: senders.closed,
            demands: senders.sender.iter().map(|rule| rule.encrypted).collect(),
            loose: SenderBook::new(loose),
            devices: Devices { device: quarantined, ..Devices::default() },
            hosts: devices.quarantined_hosts().collect(),
            known: Default::default(),
        }
    }

    /// How a sender stands to the list that no rule of it fits whole.
    pub fn permit(&mut self, source: &Source, application: &str, facility: &str) -> Permit {
        if self.loose.senders().sender.is_empty() {
            return Permit::Fits;
        }
        match self.loose.position(source, application, facility) {
            Some(at) if self.demands[at] && !source.encrypted => Permit::Plain,
            Some(_) => Permit::Certificate,
            None if self.closed => Permit::Unlisted,
            None => Permit::Fits,
        }
    }

    /// Whether one of these devices, or the host that has sent them, was declared quarantined. `published` makes the hash of a
    /// key; of a device that names none, `own` is the sender's.
    pub fn quarantined(&mut self, peer: &str, devices: &[Device], own: &str, published: impl Fn(&str) -> String) -> bool {
        if self.devices.device.is_empty() {
            return false;
        }
        if !self.hosts.is_empty() && peer.parse::<IpAddr>().is_ok_and(|peer| self.hosts.contains(&peer.to_canonical())) {
            return true;
        }
        devices.iter().any(|device| {
            let nameless = device.key.is_empty();
            let name = if nameless { own } else { device.key.as_str() };
            let known = &mut self.known[usize::from(nameless)];
            if let Some(known) = known.get(name) {
                return *known;
            }
            let hash = if nameless { own.to_owned() } else { published(&device.key) };
            let found = self.devices.entry(&device.key, &hash).is_some();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name.to_owned(), found);
            found
        })
    }
}

impl Gate {
    /// Whether a host that a capture shows was declared quarantined, by its address or by its published hash.
    pub fn is_quarantined_host(&self, host: IpAddr, published: &str) -> bool {
        self.hosts.contains(&host.to_canonical()) || self.devices.device.iter().any(|device| device.id.trim() == published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceEntry;

    #[test]
    fn a_closed_list_says_what_is_missing() {
        let rule = |app: &str| SenderRule { application: Some(app.into()), ..SenderRule::default() };
        let tls = SenderRule { encrypted: true, ..rule("TLS") };
        let cert = SenderRule { certificate: Some("gw".into()), ..rule("CERT") };
        let list = Senders { closed: true, sender: vec![rule("A"), tls, cert] };
        let mut gate = Gate::new(&list, &Devices::default());
        let whole = |source: &Source, application: &str| list.position(source, application, "").is_some();
        let plain = Source::default();
        let shown = |cn: &str| Source { encrypted: true, certificate: Some(format!("CN={cn} sha256:00")), ..Source::default() };
        assert!(whole(&plain, "A"));
        assert_eq!(gate.permit(&plain, "B", ""), Permit::Unlisted);
        assert_eq!(gate.permit(&plain, "TLS", ""), Permit::Plain);
        assert!(whole(&shown("x"), "TLS") && !whole(&plain, "TLS"));
        assert_eq!(gate.permit(&plain, "CERT", ""), Permit::Certificate);
        assert_eq!(gate.permit(&shown("other"), "CERT", ""), Permit::Certificate);
        assert!(whole(&shown("gw"), "CERT") && !whole(&shown("other"), "CERT"));
        let mut open = Gate::new(&Senders { closed: false, ..list.clone() }, &Devices::default());
        assert_eq!(open.permit(&plain, "B", ""), Permit::Fits, "an open list only says how to read them");
        assert_eq!(open.permit(&plain, "TLS", ""), Permit::Plain);
    }

    #[test]
    fn a_quarantined_device_is_known_by_any_of_its_names_and_one_in_service_is_none() {
        let entry = |id: &str, state| DeviceEntry { id: id.into(), state, ..DeviceEntry::default() };
        let devices = Devices {
            device: vec![
                entry("00:a0:37:00:00:01", DeviceState::Quarantined),
                entry("dev-aa", DeviceState::Quarantined),
                entry("SN1", DeviceState::Service),
            ],
            ..Devices::default()
        };
        let mut gate = Gate::new(&Senders::default(), &devices);
        let named = |key: &str| vec![Device::default(), Device { key: key.into(), ..Device::default() }];
        let hash = |key: &str| if key == "X" { "dev-aa".to_owned() } else { "dev-bb".to_owned() };
        assert!(gate.quarantined("192.0.2.1", &named("00A037000001"), "dev-cc", hash));
        assert!(gate.quarantined("192.0.2.1", &named("X"), "dev-cc", hash));
        assert!(gate.quarantined("192.0.2.1", &[Device::default()], "dev-aa", hash), "a sender without a device id");
        assert!(!gate.quarantined("192.0.2.1", &named("SN1"), "dev-cc", hash));
        for n in 0..40_000 {
            gate.quarantined("192.0.2.1", &named(&n.to_string()), "dev-cc", hash);
        }
        assert!(gate.known.len() <= KNOWN_MAX);
    }
}
