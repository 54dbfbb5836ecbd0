//! What captures show of the network: one alert for each indicator and host, with how often, since when, until when.
//!
//! The host's address is hashed at the door. A host is a bed of its own, `_unassigned-p-…`, for nobody knows where it stands.
//!
//! Limits: [`HOSTS_MAX`] hosts have an alert of their own; what further ones show is one alert of the installation (`_site`),
//! with the newest host in its sentence.

use super::*;
use crate::capture::{Indicator, Sighting};

/// Hosts with an alert of their own at most: each is a retained document of a broker.
const HOSTS_MAX: usize = 256;

/// A host that matches an indicator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSeen {
    /// `N02` …, or `P17`.
    pub check: String,
    /// `p-…`; `_more`: all hosts beyond the bound.
    pub host: String,
    /// The address of the advisory's block, where one was spoken to.
    pub address: Option<std::net::Ipv4Addr>,
    /// Port of the other side.
    pub port: u16,
    /// Packets, or frames.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Monitor {
    /// A capture shows a host with an indicator of the network.
    pub fn handle_indicator(&mut self, sighting: &Sighting, at: Timestamp) {
        let at = self.advance(at);
        let id = sighting.indicator.check();
        let Some(check) = CheckId::from_id(id) else { return };
        let address = sighting.host.to_string();
        let host = self.keyed.short("p", &[&address]);
        let mut entry = self.hosts.iter().position(|h| h.check == id && h.host == host);
        if entry.is_none() {
            let more = self.hosts.len() >= HOSTS_MAX;
            let name = if more { "_more".to_owned() } else { host.clone() };
            entry = self.hosts.iter().position(|h| h.check == id && h.host == name);
            if entry.is_none() {
                self.hosts.push(HostSeen {
                    check: id.to_owned(),
                    host: name,
                    address: None,
                    port: 0,
                    count: 0,
                    first: sighting.first,
                    last: sighting.last,
                });
                entry = Some(self.hosts.len() - 1);
            }
        }
        let seen = &mut self.hosts[entry.expect("found or pushed just now")];
        seen.count += sighting.count;
        seen.first = seen.first.min(sighting.first);
        seen.last = seen.last.max(sighting.last);
        seen.address = sighting.address.or(seen.address);
        seen.port = sighting.port;
        let (own, seen) = (seen.host == host, seen.clone());
        let itself = sighting.indicator == Indicator::Quarantined;
        let quarantined = itself || self.gate.is_quarantined_host(sighting.host, &host);
        let number = own.then(|| self.unassigned(&host, at)).flatten();
        let number = number.unwrap_or_else(|| self.reserved(SITE, SITE, at));
        let mut args: crate::check::Args = [
            ("host", Arg::Text(host)),
            ("port", Arg::Text(if seen.port == 0 { "-".to_owned() } else { seen.port.to_string() })),
            ("n", Arg::Number(seen.count as f64, 0)),
            ("t", Arg::Time(seen.first)),
        ]
        .into_iter()
        .collect();
        if let Some(address) = seen.address {
            args.push(("address", Arg::Text(address.to_string())));
        }
        let verdict = Verdict {
            assessment: quarantined.then_some(Assessment::Identity),
            priority: quarantined.then_some(Priority::High),
            value: Some(seen.count as f64),
            window_s: seen.last.since_s(seen.first),
            text: if itself {
                "host"
            } else if quarantined {
                "quarantined"
            } else {
                "default"
            },
            args,
            ..Verdict::new(check, ParamSet::EMPTY, seen.first)
        };
        self.inject(number, verdict, at);
        self.together(at);
    }

    /// Every host that matches an indicator, as first seen.
    pub fn hosts_seen(&self) -> &[HostSeen] {
        &self.hosts
    }
}
