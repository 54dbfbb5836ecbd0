//! Where a feed stands beside the clinical path, and what goes with it.

use super::{Found, Mllp};
use crate::hl7::ack::AckMode;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where a feed stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// A copy of the feed is sent to us, and we acknowledge it.
    #[default]
    Listener,
    /// We hear and never send a byte.
    Tap,
    /// In the path, fail-open: `forward_to` is the receiver.
    Tee,
}

/// Who starts the relay of a tee.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relay {
    /// The service, where none runs; it outlives the service.
    #[default]
    Own,
    /// A service manager (`vitalguard tee --config …`); the service waits for it.
    External,
}

impl Mllp {
    /// Settings that do not go together with the placement.
    pub(super) fn placement_problems(&self, key: &dyn Fn(&str) -> String, found: &mut Found) {
        let placement = self.placement;
        if placement != Placement::Listener && self.ack != AckMode::Auto {
            found.add(key("ack"), "only a listener acknowledges; in a tap or a tee the receiver does, and nobody else");
        }
        if placement != Placement::Tee && self.forward_to.is_some() {
            found.add(key("forward_to"), "only a tee passes on: placement = \"tee\"");
        }
        if placement != Placement::Tee && self.relay != Relay::Own {
            found.add(key("relay"), "only a tee has a relay: placement = \"tee\"");
        }
        if placement != Placement::Tap && self.capture.is_some() {
            found.add(key("capture"), "only a tap reads packets: placement = \"tap\"");
        }
        if placement != Placement::Listener && self.tls.is_some() {
            let why = match placement {
                Placement::Tap => "a tap never sends a byte, and TLS cannot begin without",
                _ => "a tee passes TLS on unread, from the sender to the receiver; it has no certificate of its own",
            };
            found.add(key("tls"), why);
        }
        if placement != Placement::Tee {
            return;
        }
        if self.idle_timeout_s != 0.0 {
            found.add(key("idle_timeout_s"), "a tee never closes a connection by itself");
        }
        match self.forward_to.as_deref().map(receiver) {
            None => found.add(key("forward_to"), "a tee needs the real receiver, host:port"),
            Some(Err(message)) => found.add(key("forward_to"), message),
            Some(Ok(Some(address))) if reaches(address, self.listen) => {
                found.add(key("forward_to"), format!("{address} is this listener itself"));
            }
            Some(Ok(_)) => {}
        }
    }
}

/// Whether connecting to `to` would come back to `listen`.
fn reaches(to: SocketAddr, listen: SocketAddr) -> bool {
    to.port() == listen.port() && (to.ip() == listen.ip() || (listen.ip().is_unspecified() && to.ip().is_loopback()))
}

/// Reads `host:port`: its address, where the host is one.
fn receiver(text: &str) -> Result<Option<SocketAddr>, String> {
    let address = text.parse::<SocketAddr>().ok();
    let port = match address {
        Some(address) => address.port(),
        None => {
            let (host, port) = text.rsplit_once(':').ok_or("must be host:port")?;
            if host.is_empty() || host.contains([':', '/', '[', ']']) || host.contains(char::is_whitespace) {
                return Err(format!("{host:?} is no host"));
            }
            port.parse().map_err(|_| format!("{port:?} is no port"))?
        }
    };
    if port == 0 { Err("port 0 is nobody's".into()) } else { Ok(address) }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Tls};
    use super::*;

    fn keys(change: impl FnOnce(&mut Mllp)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config.mllp[0]);
        config.problems().into_iter().map(|p| p.key.replace("mllp.0.", "")).collect()
    }
    fn tee(mllp: &mut Mllp) {
        mllp.placement = Placement::Tee;
        mllp.forward_to = Some("gateway.ward:2575".into());
    }

    #[test]
    fn a_tee_needs_a_receiver_and_nothing_of_a_listener() {
        assert!(keys(tee).is_empty());
        assert_eq!(keys(|m| m.placement = Placement::Tee), ["forward_to"]);
        for wrong in ["gateway", ":2575", "gateway:", "gateway:0", "a b:1", "http://x:1", "127.0.0.1:2575"] {
            assert_eq!(
                keys(|m| {
                    tee(m);
                    m.forward_to = Some(wrong.into());
                }),
                ["forward_to"],
                "{wrong}"
            );
        }
        assert!(
            keys(|m| {
                tee(m);
                m.forward_to = Some("[2001:db8::1]:2575".into());
            })
            .is_empty()
        );
        let all = |m: &mut Mllp| {
            tee(m);
            m.ack = AckMode::Original;
            m.idle_timeout_s = 60.0;
            m.tls = Some(Tls { certificate: "a".into(), key: "b".into(), client_ca: None });
            m.capture = Some("c".into());
        };
        assert_eq!(keys(all), ["ack", "capture", "tls", "idle_timeout_s"]);
    }

    #[test]
    fn a_tap_does_not_acknowledge_and_a_listener_does_not_pass_on() {
        let tap = |m: &mut Mllp| m.placement = Placement::Tap;
        assert!(keys(tap).is_empty());
        assert_eq!(
            keys(|m| {
                tap(m);
                m.ack = AckMode::Never;
            }),
            ["ack"]
        );
        assert_eq!(keys(|m| m.forward_to = Some("gateway:2575".into())), ["forward_to"]);
        assert_eq!(keys(|m| m.capture = Some("span.pcap".into())), ["capture"]);
        assert_eq!(keys(|m| m.relay = Relay::External), ["relay"]);
        assert!(
            keys(|m| {
                tap(m);
                m.capture = Some("span.pcap".into());
                // It does not listen.
                m.listen = "0.0.0.0:2575".parse().unwrap();
            })
            .is_empty()
        );
    }
}
