//! Hosts that match an indicator of the network.

use super::*;
use crate::capture::{Indicator, Sighting};

fn sighting(indicator: Indicator, host: &str, count: u64, at: Timestamp) -> Sighting {
    let address = Some("202.114.4.119".parse().unwrap());
    Sighting { indicator, host: host.parse().unwrap(), address, port: 515, count, first: at, last: at }
}

impl Ward {
    fn see(&mut self, indicator: Indicator, host: &str, count: u64) {
        let sighting = sighting(indicator, host, count, self.now);
        self.monitor.handle_indicator(&sighting, self.now);
        self.drain();
    }
    fn raises(&self) -> Vec<(&str, &str)> {
        let raised = self.events.iter().filter(|e| e.event == EventKind::Raised);
        raised.map(|e| (e.alert.condition.as_str(), e.alert.bed.as_str())).collect()
    }
}

#[test]
fn one_alert_for_each_indicator_and_host() {
    let mut w = Ward::new();
    for _ in 0..5 {
        w.see(Indicator::Address, "192.0.2.7", 10);
        w.see(Indicator::Frame, "192.0.2.7", 3);
        w.see(Indicator::Address, "192.0.2.8", 1);
        w.wait(60.0);
    }
    let raised = w.raises();
    assert_eq!(raised.len(), 3, "{raised:?}");
    assert!(raised.iter().all(|(_, bed)| bed.starts_with("_unassigned-p-")), "{raised:?}");
    assert_eq!((raised[1].1 == raised[0].1, raised[2].1 == raised[0].1), (true, false));
    let seen = &w.monitor.hosts_seen()[0];
    assert_eq!((seen.count, seen.last.since_s(seen.first), seen.check.as_str()), (50, 240.0, "N02"));
    let alert = &w.events[0].alert;
    assert_eq!((alert.assessment, alert.priority), (Assessment::Advisory, Priority::Low));
    let text = w.lines.join("\n");
    assert!(!text.contains("192.0.2.") && text.contains("202.114.4.119"), "{text}");
    assert!(!alert.text.en.contains("CMS8000"), "an address names no product: {}", alert.text.en);
    // Nothing of it makes a bed's value doubtful, and nothing ends it but a person.
    w.wait(7200.0);
    assert!(!w.events.iter().any(|e| matches!(e.event, EventKind::Cleared | EventKind::Expired)));
}

#[test]
fn ten_thousand_hosts_are_at_most_256_alerts_and_one_more() {
    let mut w = Ward::new();
    for n in 0..10_000u32 {
        let host = std::net::Ipv4Addr::from(0x0A00_0000 + n).to_string();
        w.see(Indicator::Address, &host, 1);
    }
    assert_eq!(w.raises().len(), 257);
    let more = w.monitor.hosts_seen().last().unwrap();
    assert_eq!((more.host.as_str(), more.count), ("_more", 10_000 - 256));
    assert_eq!(w.raises().last().unwrap().1, "_site");
}

#[test]
fn what_was_seen_survives_a_restart() {
    let run = |restart: bool| {
        let mut w = Ward::new();
        w.see(Indicator::Nfs, "192.0.2.7", 2);
        w.wait(10.0);
        if restart {
            let bytes = w.monitor.snapshot();
            w.monitor = Monitor::restore(Settings { site: "hsp1".into(), ..Settings::default() }, &bytes).unwrap();
        }
        w.wait(60.0);
        w.see(Indicator::Nfs, "192.0.2.7", 5);
        w.see(Indicator::Identity, "192.0.2.7", 1);
        w.wait(60.0);
        (w.lines.clone(), w.monitor.hosts_seen().to_vec())
    };
    assert_eq!(run(false), run(true));
}
