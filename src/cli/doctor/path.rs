//! The whole path of the running service: HTTP, a marked message over MLLP, the broker's heartbeat.

use super::{CONNECT_TIMEOUT, Findings, Level};
use crate::config::{Config, Mllp, Placement, Tls};
use crate::shell::replay::mqtt;
use crate::shell::selftest;
use crate::time::Timestamp;
use rumqttc::{Client, Event, Packet, QoS};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer of the listener or of HTTP must come within, seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Two heartbeats and a half, seconds.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(12);
/// Largest HTTP answer that is read.
const HTTP_BYTES_MAX: u64 = 4 << 20;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: SocketAddr, tls: Option<&Tls>) -> anyhow::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect_timeout(&selftest::reachable(address), CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let config = crate::shell::tls::own_client_config(tls)?;
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    let connection = rustls::ClientConnection::new(Arc::new(config), name)?;
    Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
}

/// Status and body of a GET.
pub fn get(config: &Config, path: &str) -> anyhow::Result<(u16, String)> {
    request(config, None, "GET", path, "")
}

/// Status and body of the answer to a request with a JSON body. `token`: for a service that has users.
pub fn request(config: &Config, token: Option<&str>, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
    let (status, bytes) = request_bytes(config, token, method, path, body.as_bytes(), HTTP_BYTES_MAX)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The same for a body of any kind, and an answer of at most so many bytes.
pub fn request_bytes(
    config: &Config,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &[u8],
    bytes_max: u64,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = connect(config.http.listen, config.http.tls.as_ref())?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")?;
    if let Some(token) = token {
        write!(stream, "Authorization: Bearer {token}\r\n")?;
    }
    if !body.is_empty() {
        write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut answer = Vec::new();
    // A peer that closes without TLS's farewell has still answered.
    if let Err(error) = stream.take(bytes_max).read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(error.into());
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = String::from_utf8_lossy(&answer[..end.unwrap_or(answer.len())]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| anyhow::anyhow!("the answer is not HTTP"))?;
    let body = end.map(|end| answer.split_off(end + 4)).unwrap_or_default();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    anyhow::ensure!(length.is_none_or(|length: usize| length == body.len()), "the answer was cut off");
    Ok((status, body))
}

/// Whether our service answers at the configured HTTP address, or, where it wants a certificate that we do not have, holds the
/// data folder.
pub fn is_ours(config: &Config) -> bool {
    let mutual = config.http.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if mutual && crate::shell::journal::is_held(&config.data.join("journal")) {
        return true;
    }
    // `/health` alone could be anyone's.
    get(config, "/metrics")
        .is_ok_and(|(status, body)| matches!(status, 200 | 401 | 403) && (body.contains("vitalguard") || status != 200))
        && get(config, "/health").is_ok_and(|(status, _)| status == 200)
}

/// Sends the marked message and looks for it.
pub fn check<W: Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    match get(config, "/ready") {
        Ok((200, _)) => found.say(Level::Ok, "http", format_args!("{} is ready", config.http.listen))?,
        Ok((status, body)) => {
            let why = body.lines().next().unwrap_or_default().chars().take(160).collect::<String>();
            found.say(Level::Fail, "http", format_args!("/ready answers {status}: {why}"))?;
        }
        Err(error) if config.http.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) => found.say(
            Level::Warn,
            "http",
            format_args!("{} wants a client's certificate and does not take its own: not asked ({error})", config.http.listen),
        )?,
        Err(error) => found.say(Level::Fail, "http", format_args!("{}: {error}", config.http.listen))?,
    }
    let before = received(config);
    let sent_at = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    // What is sent into a tee goes to the real receiver, and a tap does not answer: neither is tested with a message.
    let listeners = || config.mllp.iter().filter(|mllp| mllp.placement == Placement::Listener);
    for mllp in config.mllp.iter().filter(|mllp| mllp.placement != Placement::Listener) {
        found.say(Level::Ok, "mllp", format_args!("{}: no test message is sent into the clinical path or a tap", mllp.feed))?;
    }
    if listeners().next().is_none() {
        return heartbeat(config, None, found);
    }
    for mllp in listeners() {
        if mllp.listen.port() == 0 {
            continue;
        }
        match exchange(mllp) {
            Ok((code, took)) if matches!(code.as_str(), "AA" | "CA") => {
                found.say(
                    Level::Ok,
                    "mllp",
                    format_args!("{} answered {code} after {:.1} ms", mllp.feed, took.as_secs_f64() * 1000.0),
                )?;
            }
            Ok((code, _)) => found.say(Level::Fail, "mllp", format_args!("{} answered {code} to the test message", mllp.feed))?,
            Err(error) if mllp.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) => found.say(
                Level::Warn,
                "mllp",
                format_args!("{} wants a sender's certificate and does not take its own: not tested ({error:#})", mllp.feed),
            )?,
            Err(error) => found.say(Level::Fail, "mllp", format_args!("{}: {error:#}", mllp.feed))?,
        }
    }
    match (before, received_beyond(config, before)) {
        (Some(before), Some(after)) if after > before => {
            found.say(Level::Ok, "core", format_args!("the message was judged ({before} before, {after} after)"))?;
        }
        (Some(_), _) => found.say(Level::Fail, "core", "the acknowledged message did not reach the core within 10 s")?,
        (None, _) => found.say(Level::Warn, "core", "/metrics was not read: whether the message was judged is unknown")?,
    }
    heartbeat(config, Some(sent_at), found)
}

/// Messages that the core has taken, over all feeds.
fn received(config: &Config) -> Option<u64> {
    let (status, body) = get(config, "/metrics").ok()?;
    if status != 200 {
        return None;
    }
    let values = body.lines().filter(|line| line.starts_with("vitalguard_messages_total"));
    // Before the first message there is none of them.
    Some(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

fn received_beyond(config: &Config, before: Option<u64>) -> Option<u64> {
    let before = before?;
    let until = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let now = received(config)?;
        if now > before || Instant::now() > until {
            return Some(now);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn exchange(mllp: &Mllp) -> anyhow::Result<(String, Duration)> {
    let mut stream = connect(mllp.listen, mllp.tls.as_ref())?;
    let at = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    let id = format!("SELFTEST-{}", at.ms());
    let message = selftest::message(&id, at);
    let mut frame = Vec::new();
    crate::mllp::encode(message.as_bytes(), &mut frame);
    let began = Instant::now();
    stream.write_all(&frame)?;
    stream.flush()?;
    let mut decoder = crate::mllp::Decoder::new(64 << 10);
    let mut buffer = [0u8; 4096];
    loop {
        while let Some(event) = decoder.poll() {
            if let crate::mllp::Event::Frame { payload, .. } = event {
                let text = String::from_utf8_lossy(&payload);
                let line = text.split('\r').find(|line| line.starts_with("MSA")).unwrap_or_default();
                let mut fields = line.split('|').skip(1);
                let (code, of) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                anyhow::ensure!(of == id, "the answer is for another message");
                return Ok((code.to_owned(), began.elapsed()));
            }
        }
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "the listener closed the connection without an answer");
        decoder.push(&buffer[..read]);
    }
}

/// The heartbeat, and the state of bed `_selftest` after `sent_at`: the test message has gone the whole way. `None`: none was sent.
fn heartbeat<W: Write>(config: &Config, sent_at: Option<Timestamp>, found: &mut Findings<W>) -> anyhow::Result<()> {
    let (options, address) = match mqtt::options(&config.mqtt, &format!("vitalguard-doctor-{}", std::process::id())) {
        Ok(made) => made,
        Err(error) => return Ok(found.say(Level::Fail, "mqtt", error)?),
    };
    if config.mqtt.url.is_none() && !config.mqtt.users.is_empty() {
        return Ok(found.say(Level::Warn, "mqtt", "the broker has users: the heartbeat was not looked for")?);
    }
    let topic = format!("{}/v1/{}/sys/heartbeat", config.mqtt.root, config.site);
    let (client, mut connection) = Client::new(options, 8);
    client.subscribe(&topic, QoS::AtMostOnce)?;
    let tested = format!("{}/v1/{}/ward/_site/bed/_selftest/state", config.mqtt.root, config.site);
    client.subscribe(&tested, QoS::AtMostOnce)?;
    let (mut beat, mut arrived) = (None, sent_at.is_none());
    let until = Instant::now() + HEARTBEAT_TIMEOUT;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match connection.recv_timeout(left) {
            Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                let document: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
                if publish.topic == topic {
                    beat = Some(document.get("outbox").and_then(serde_json::Value::as_u64).unwrap_or_default());
                } else {
                    let at = document.get("ts_ms").and_then(serde_json::Value::as_i64);
                    arrived |= at.zip(sent_at).is_some_and(|(ms, sent_at)| ms >= sent_at.ms());
                }
                if beat.is_some() && arrived {
                    break;
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Ok(found.say(Level::Fail, "mqtt", format_args!("{address}: {error}"))?),
            Err(_) => break,
        }
    }
    match beat {
        Some(waiting) => found.say(Level::Ok, "mqtt", format_args!("heartbeat heard at {address}, {waiting} events waiting"))?,
        None => found.say(Level::Fail, "mqtt", format_args!("no heartbeat on {topic} in {} s", HEARTBEAT_TIMEOUT.as_secs()))?,
    }
    if sent_at.is_none() {
        Ok(())
    } else if arrived {
        Ok(found.say(Level::Ok, "mqtt", "the test message's bed was heard: the whole way is open")?)
    } else {
        Ok(found.say(Level::Fail, "mqtt", format_args!("{tested} did not tell of the test message"))?)
    }
}
