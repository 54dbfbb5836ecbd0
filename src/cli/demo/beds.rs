//! The beds of the demo and the attackers: each a TCP connection of its own, lock-step as monitors are.

use super::{Scenario, Screen, Traffic};
use crate::eval::synth::message::Sender;
use crate::eval::synth::{Kind, Patient, Reading};
use crate::mllp::{Decoder, Event, encode};
use crate::time::Timestamp;
use crate::vital::Parameter;
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Without an answer for so long the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The application that the shipped profile of the synthetic monitor knows.
const APPLICATION: &str = "VITALGUARD-DEMO";

/// Messages of one bed by second, for the attacker who sends them again.
type Tape = Arc<Mutex<Vec<Vec<u8>>>>;

fn now() -> Timestamp {
    Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())
}

/// Starts every bed and all attackers.
pub fn start(
    scenario: &Scenario,
    seed: u64,
    mllp: SocketAddr,
    began: Instant,
    traffic: Arc<Traffic>,
    screen: Screen,
) -> JoinSet<anyhow::Result<()>> {
    let mut tasks = JoinSet::new();
    let start = now();
    let tape = Tape::default();
    for (at, bed) in scenario.bed.iter().enumerate() {
        let sender = monitor(at, &bed.bed);
        let patient = Patient::new(bed.kind, seed.wrapping_add(at as u64), start, scenario.artefacts);
        let tape = (bed.bed == scenario.resend.bed).then(|| tape.clone());
        // Beds do not all speak at the same instant.
        let phase = Duration::from_millis(37 * at as u64);
        let replay = (bed.bed == scenario.replay.bed).then(|| (scenario.replay.clone(), screen.clone()));
        tasks.spawn(send_bed(sender, patient, mllp, began + phase, traffic.clone(), tape, replay));
    }
    let patient = Patient::new(scenario.advised.kind, seed ^ 0xAD51, start, scenario.artefacts);
    let phase = Duration::from_millis(37 * scenario.bed.len() as u64);
    tasks.spawn(send_bed(advised(scenario), patient, mllp, began + phase, traffic.clone(), None, None));
    tasks.spawn(second_sender(scenario.clone(), seed ^ 0x5EED, mllp, began, traffic.clone(), screen.clone()));
    tasks.spawn(resend(scenario.clone(), tape, mllp, began, traffic, screen));
    tasks
}

/// The monitor of a bed, by its number.
pub(super) fn monitor(at: usize, bed: &str) -> Sender {
    Sender {
        application: APPLICATION.into(),
        facility: "DEMO".into(),
        eui64: format!("02D3A0FFFE{:06X}", at + 1),
        point_of_care: "icu".into(),
        bed: bed.into(),
        patient: format!("SYN-{:02}", at + 1),
        born: String::new(),
        processing: 'P',
    }
}

/// The second sender of a bed: the same patient and place, another application and device.
pub(super) fn intruder(beds: &[super::Bed], attack: &super::SecondSender) -> Sender {
    let at = beds.iter().position(|bed| bed.bed == attack.bed).unwrap_or(0);
    Sender { application: attack.application.clone(), eui64: attack.eui64.clone(), ..monitor(at, &attack.bed) }
}

/// The monitor that declares the name of a product of an advisory.
pub(super) fn advised(scenario: &Scenario) -> Sender {
    let advised = &scenario.advised;
    Sender { application: advised.application.clone(), eui64: advised.eui64.clone(), ..monitor(scenario.bed.len(), &advised.bed) }
}

/// Heart rate and pulse moved by an offset.
pub(super) fn shifted(readings: &[Reading], by: f64) -> Vec<Reading> {
    let mut readings = readings.to_vec();
    for reading in &mut readings {
        if matches!(reading.parameter, Parameter::Hr | Parameter::Pr) {
            reading.value = reading.value.map(|v| v + by);
        }
    }
    readings
}

/// What a bed shows at a second: its patient, or while it is under replay its own past with the times of now. `past` is what it
/// has shown before.
pub(super) fn shown(
    replay: Option<&super::Replay>,
    past: &mut Vec<Vec<Reading>>,
    second: u64,
    readings: Vec<Reading>,
) -> Vec<Reading> {
    let Some(attack) = replay else { return readings };
    let Some(since) = second.checked_sub(attack.at_s) else {
        past.push(readings.clone());
        return readings;
    };
    let Some(old) = past.get((attack.from_s + since) as usize).filter(|_| since < attack.for_s) else { return readings };
    let back_s = (second - attack.from_s - since) as f64;
    old.iter().map(|r| Reading { effective_at: r.effective_at.plus_s(back_s), ..*r }).collect()
}

async fn send_bed(
    sender: Sender,
    mut patient: Patient,
    mllp: SocketAddr,
    began: Instant,
    traffic: Arc<Traffic>,
    tape: Option<Tape>,
    replay: Option<(super::Replay, Screen)>,
) -> anyhow::Result<()> {
    let mut line = Line::open(mllp, None, traffic).await?;
    let mut past = Vec::new();
    for second in 0u64.. {
        tokio::time::sleep_until((began + Duration::from_secs(second)).into()).await;
        if let Some((attack, screen)) = &replay
            && second == attack.at_s
        {
            screen.line(&format!(
                "{:>6.1} s  ATTACK    bed {} shows its own past from {} s on, under new ids and times",
                began.elapsed().as_secs_f64(),
                attack.bed,
                attack.from_s
            ));
        }
        let readings = shown(replay.as_ref().map(|(attack, _)| attack), &mut past, second, patient.step().to_vec());
        let message = sender.write(&format!("{}-{second}", sender.bed), now(), &readings);
        line.send(&message).await?;
        if let Some(tape) = &tape {
            tape.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message);
        }
    }
    Ok(())
}

/// A second sender for one bed: another application, device and address, another patient's plausible values.
async fn second_sender(
    scenario: Scenario,
    seed: u64,
    mllp: SocketAddr,
    began: Instant,
    traffic: Arc<Traffic>,
    screen: Screen,
) -> anyhow::Result<()> {
    let attack = scenario.second_sender;
    tokio::time::sleep_until((began + Duration::from_secs(attack.at_s)).into()).await;
    screen.line(&format!(
        "{:>6.1} s  ATTACK    a second sender ({}) reports bed {} with other values",
        began.elapsed().as_secs_f64(),
        attack.application,
        attack.bed
    ));
    let sender = intruder(&scenario.bed, &attack);
    let mut patient = Patient::new(Kind::Healthy, seed, now(), 0.0);
    // From another address where the machine allows it: the whole of 127/8 is loopback.
    let mut line = Line::open(mllp, Some(Ipv4Addr::new(127, 0, 0, 2)), traffic).await?;
    for second in 0..attack.for_s {
        tokio::time::sleep_until((began + Duration::from_secs(attack.at_s + second) + Duration::from_millis(500)).into()).await;
        let readings = shifted(patient.step(), attack.heart_rate_offset);
        line.send(&sender.write(&format!("WR{second}"), now(), &readings)).await?;
    }
    Ok(())
}

/// What a bed has sent before, again: new MSH-7 and MSH-10, everything else as it was.
async fn resend(
    scenario: Scenario,
    tape: Tape,
    mllp: SocketAddr,
    began: Instant,
    traffic: Arc<Traffic>,
    screen: Screen,
) -> anyhow::Result<()> {
    let attack = scenario.resend;
    tokio::time::sleep_until((began + Duration::from_secs(attack.at_s)).into()).await;
    screen.line(&format!(
        "{:>6.1} s  ATTACK    what bed {} sent at {} to {} s is sent again under new ids",
        began.elapsed().as_secs_f64(),
        attack.bed,
        attack.from_s,
        attack.to_s
    ));
    let mut line = Line::open(mllp, None, traffic).await?;
    for (count, second) in (attack.from_s..attack.to_s).enumerate() {
        let old = {
            let tape = tape.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            tape.get(second as usize).cloned()
        };
        if let Some(old) = old {
            line.send(&restamped(&old, &format!("RS{count}"), now())).await?;
        }
        tokio::time::sleep_until((began + Duration::from_secs(attack.at_s + count as u64 + 1)).into()).await;
    }
    Ok(())
}

/// MSH-7 and MSH-10 replaced, everything else byte for byte.
pub(super) fn restamped(message: &[u8], control_id: &str, at: Timestamp) -> Vec<u8> {
    let end = memchr::memchr(b'\r', message).unwrap_or(message.len());
    let mut out = Vec::with_capacity(message.len() + 32);
    for (position, field) in message[..end].split(|b| *b == b'|').enumerate() {
        if position > 0 {
            out.push(b'|');
        }
        match position {
            6 => out.extend_from_slice(at.hl7().as_bytes()),
            9 => out.extend_from_slice(control_id.as_bytes()),
            _ => out.extend_from_slice(field),
        }
    }
    out.extend_from_slice(&message[end..]);
    out
}

/// One connection.
struct Line {
    stream: TcpStream,
    decoder: Decoder,
    traffic: Arc<Traffic>,
}

impl Line {
    async fn open(to: SocketAddr, from: Option<Ipv4Addr>, traffic: Arc<Traffic>) -> anyhow::Result<Line> {
        let mut stream = None;
        if let Some(from) = from.filter(|_| to.ip().is_loopback() && to.is_ipv4()) {
            let socket = TcpSocket::new_v4()?;
            if socket.bind(SocketAddr::from((from, 0))).is_ok() {
                stream = socket.connect(to).await.ok();
            }
        }
        let stream = match stream {
            Some(stream) => stream,
            None => TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?,
        };
        stream.set_nodelay(true)?;
        Ok(Line { stream, decoder: Decoder::new(64 << 10), traffic })
    }

    /// Sends and waits for the answer.
    async fn send(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let mut frame = Vec::with_capacity(message.len() + 3);
        encode(message, &mut frame);
        self.stream.write_all(&frame).await.context("sending")?;
        self.traffic.sent.fetch_add(1, Ordering::Relaxed);
        let positive = tokio::time::timeout(ANSWER_TIMEOUT, self.answer()).await.context("no answer in 15 s")??;
        let counter = if positive { &self.traffic.accepted } else { &self.traffic.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn answer(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0u8; 4096];
        loop {
            while let Some(event) = self.decoder.poll() {
                if let Event::Frame { payload, .. } = event {
                    let positive =
                        payload.split(|b| *b == b'\r').any(|line| line.starts_with(b"MSA|AA") || line.starts_with(b"MSA|CA"));
                    return Ok(positive);
                }
            }
            let read = self.stream.read(&mut buffer).await.context("reading the answer")?;
            anyhow::ensure!(read > 0, "the listener has closed the connection");
            self.decoder.push(&buffer[..read]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restamped_message_differs_in_msh_7_and_msh_10_alone() {
        let old = b"MSH|^~\\&|A|F|||20260101000000||ORU^R01|B-1|P|2.6\rOBX|1|NM|c||7||||||F|||20260101000000\r";
        let new = restamped(old, "RS1", Timestamp::from_ms(0));
        let text = String::from_utf8(new).unwrap();
        assert_eq!(text, "MSH|^~\\&|A|F|||19700101000000.000+0000||ORU^R01|RS1|P|2.6\rOBX|1|NM|c||7||||||F|||20260101000000\r");
    }
}
