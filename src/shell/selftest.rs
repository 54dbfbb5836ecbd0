//! The self-test: a marked message goes the whole way, and each step is timed.
//!
//! `mllp`: to our own listener and back with its acknowledgement (durable by then). `judged`: from the command's place in the journal to
//! the judge's answer. `mqtt`: from the state document of bed `_selftest` to the broker's acknowledgement. No step touches a
//! patient's bed. Where a listener cannot be tried by ourselves (TLS, a list of senders, a tap or tee), its step is left out.

use crate::command::Hop;
use crate::config::{Config, Placement};
use crate::mllp::{Decoder, Event, encode};
use crate::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer of the listener must come within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// The broker must have taken the state document within this time.
pub(crate) const BROKER_PATIENCE: Duration = Duration::from_secs(2);
/// Topic of the bed that the test is told of.
pub(crate) const TOPIC: &str = "ward/_site/bed/_selftest/state";

/// A listener that may be tried.
#[derive(Debug, Default)]
pub struct Probe {
    listener: parking_lot::Mutex<Option<SocketAddr>>,
}

impl Probe {
    /// Which of the bound listeners (feed and address) may be tried, if any.
    pub(crate) fn choose(&self, config: &Config, bound: &[(String, SocketAddr)]) {
        let open = config.senders == crate::config::Senders::default();
        let plain = |feed: &str| {
            let listens = |m: &&crate::config::Mllp| m.feed == feed && m.placement == Placement::Listener && m.tls.is_none();
            config.mllp.iter().any(|m| listens(&m))
        };
        let found = bound.iter().find(|(feed, _)| open && plain(feed)).map(|(_, address)| reachable(*address));
        *self.listener.lock() = found;
    }

    /// The steps before the judge, timed; none where no listener can be tried or it did not acknowledge.
    pub(crate) async fn run(&self) -> Vec<Hop> {
        let Some(address) = *self.listener.lock() else { return Vec::new() };
        let began = Instant::now();
        match tokio::time::timeout(PATIENCE, exchange(address)).await {
            Ok(Ok(true)) => vec![hop("mllp", began.elapsed())],
            Ok(Ok(false)) => Vec::new(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "self-test: the listener did not answer");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}

/// A step that took so long.
pub(crate) fn hop(name: &str, took: Duration) -> Hop {
    Hop { name: name.to_owned(), ms: (took.as_secs_f64() * 10_000.0).round() / 10.0 }
}

/// Whether the listener acknowledged the test message positively.
async fn exchange(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let at = crate::shell::publisher::now();
    let id = format!("SELFTEST-{}", at.ms());
    let mut frame = Vec::new();
    encode(message(&id, at).as_bytes(), &mut frame);
    stream.write_all(&frame).await?;
    let mut decoder = Decoder::new(64 << 10);
    let mut buffer = [0u8; 4096];
    loop {
        while let Some(event) = decoder.poll() {
            if let Event::Frame { payload, .. } = event {
                let text = String::from_utf8_lossy(&payload);
                let line = text.split('\r').find(|line| line.starts_with("MSA")).unwrap_or_default();
                let mut fields = line.split('|').skip(1);
                let (code, of) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                return Ok(of == id && matches!(code, "AA" | "CA"));
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(false),
            read => decoder.push(&buffer[..read]),
        }
    }
}

/// A message that is never a patient's: MSH-11 = T, bed `_selftest`, no PID.
pub(crate) fn message(id: &str, at: Timestamp) -> String {
    let time = at.hl7();
    format!(
        "MSH|^~\\&|VITALGUARD-DOCTOR|SELFTEST|||{time}||ORU^R01^ORU_R01|{id}|T|2.6\rPV1||I|^^_selftest\r\
         OBR|1|{id}|{id}|182777000^monitoring of patient^SCT|||{time}\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|60|264864^MDC_DIM_BEAT_PER_MIN^MDC||TEST|||R|||{time}\r"
    )
}

/// Where to connect for an address that may be "everywhere".
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_message_can_be_no_patient() {
        let text = message("SELFTEST-1", Timestamp::from_ms(0));
        assert!(text.contains("|T|2.6\r") && text.contains("^^_selftest\r") && !text.contains("\rPID|"));
    }

    #[test]
    fn everywhere_is_reached_at_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }

    #[test]
    fn only_a_plain_listener_that_hears_everyone_is_tried() {
        let bound = vec![("mllp".to_owned(), "127.0.0.1:2575".parse().unwrap())];
        let probe = Probe::default();
        let mut config = Config::default();
        probe.choose(&config, &bound);
        assert!(probe.listener.lock().is_some());
        config.mllp[0].placement = Placement::Tap;
        probe.choose(&config, &bound);
        assert!(probe.listener.lock().is_none(), "a tap answers nobody");
    }
}
