//! HTTP over real sockets.

mod support;

use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{commit_events, origin, store};
use vitalguard::config::{Config, Tls};
use vitalguard::shell::retained::{Kind, Retained};
use vitalguard::shell::station::{Station, StationError, StationState};

struct House {
    runtime: tokio::runtime::Runtime,
    station: Option<Station>,
    address: SocketAddr,
    state: StationState,
    folder: tempfile::TempDir,
}

fn house(tls: Option<Tls>) -> House {
    house_with(tls, |_| ())
}

fn house_with(tls: Option<Tls>, change: impl FnOnce(&mut Config)) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = store(folder.path());
    commit_events(&mut store, 25, 50, 50, |_| ());
    let retained = Arc::new(Retained::default());
    for (bed, trust) in [("A01", "plausible"), ("A03", "untrusted")] {
        let payload = format!(r#"{{"schema":"bed-state/1","ward":"icu","bed":"{bed}","trust":"{trust}","active":[]}}"#);
        retained.put(&format!("ward/icu/bed/{bed}/state"), Kind::Bed, Bytes::from(payload));
    }
    retained.put("ward/icu/state", Kind::Ward, Bytes::from_static(br#"{"schema":"ward-state/1"}"#));
    retained.put("feed/gw/status", Kind::Feed, Bytes::from_static(br#"{"schema":"feed-status/1"}"#));
    let mut config = Config::default();
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.http.tls = tls;
    config.site = support::SITE.into();
    change(&mut config);
    let state = StationState {
        retained,
        link: Some(Arc::default()),
        metrics: vitalguard::shell::metrics::install().ok(),
        ..StationState::new(Arc::new(config), origin("01a20385-57bb-7c31-9f0a-000000000001"), folder.path().join("store.db"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let station = runtime.block_on(Station::start(state.clone())).expect("it starts");
    let address = station.address();
    House { runtime, station: Some(station), address, state, folder }
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn request(address: SocketAddr, text: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    split(&answer)
}

fn split(answer: &[u8]) -> (u16, String, String) {
    let text = String::from_utf8_lossy(answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn state_is_shown_as_published_with_a_hash() {
    let house = house(None);
    let (status, head, body) = get(house.address, "/api/v1/state/icu");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("x-content-type-options: nosniff") && head.contains("content-security-policy: default-src 'none'"));
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(value["documents"].as_array().map(Vec::len), Some(3));
    let before = value["hash"].clone();
    let changed = br#"{"schema":"bed-state/1","ward":"icu","bed":"A01","trust":"stale","active":[]}"#;
    house.state.retained.put("ward/icu/bed/A01/state", Kind::Bed, Bytes::from_static(changed));
    let value: serde_json::Value = serde_json::from_str(&get(house.address, "/api/v1/state/icu").2).expect("JSON");
    assert_ne!(value["hash"], before);
    let (status, _, body) = get(house.address, "/api/v1/state/icu/A03");
    assert!(status == 200 && body.contains(r#""trust":"untrusted""#) && !body.contains("A01"), "{body}");
    assert_eq!(get(house.address, "/api/v1/state/er").0, 404);
    assert_eq!(get(house.address, "/api/v1/state/..%2f").0, 400);
    assert!(get(house.address, "/api/v1/feeds").2.contains("feed-status/1"));
    assert!(get(house.address, "/").2.contains("not for primary alarming"));
}

#[test]
fn alerts_are_listed_filtered_paged_and_exported() {
    let house = house(None);
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let body = get(house.address, &format!("/api/v1/alerts?limit=10{cursor}")).2;
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        seen += value["alerts"].as_array().map_or(0, Vec::len);
        match value["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 25);
    let csv = get(house.address, "/api/v1/alerts?format=csv&priority=high").2;
    assert_eq!(csv.lines().count(), 1 + 13, "{csv}");
    let jsonl = get(house.address, "/api/v1/alerts?format=jsonl&bed=A07").2;
    assert_eq!(jsonl.lines().count(), 2);
    assert!(jsonl.lines().all(|line| line.contains("alert-event/1")));
    let id = "A-000000000007-20261122T182326412Z";
    assert!(get(house.address, &format!("/api/v1/alerts/{id}")).2.contains(id));
    assert_eq!(get(house.address, &format!("/api/v1/alerts/{id}/events")).2.matches("alert-event/1").count(), 2);
    let (status, head, body) = get(house.address, "/api/v1/alerts/A-00000000ffff-20261122T182326412Z");
    assert_eq!(status, 404);
    assert!(head.contains("application/problem+json") && body.contains("\"status\":404"), "{body}");
    for bad in ["?limit=0", "?limit=9999", "?surprise=1", "?cursor=x", "?format=xml", "?from=yesterday"] {
        assert_eq!(get(house.address, &format!("/api/v1/alerts{bad}")).0, 400, "{bad}");
    }
    assert!(house.folder.path().exists());
}

#[test]
fn ready_says_why_not() {
    let house = house(None);
    assert_eq!(get(house.address, "/health").0, 200);
    assert_eq!(get(house.address, "/ready").0, 200);
    house.state.journal_writable.store(false, Ordering::SeqCst);
    let (status, _, body) = get(house.address, "/ready");
    assert_eq!(status, 503);
    assert!(body.contains("the journal cannot be written"), "{body}");
    assert!(get(house.address, "/metrics").2.contains("vitalguard_http_requests_total{route=\"/ready\",status=\"5xx\"} 1"));
}

#[test]
fn what_does_not_come_straight_from_this_machine_is_refused() {
    let house = house(None);
    for line in ["Host: evil.example", "Host: localhost\r\nX-Forwarded-For: 10.0.0.9"] {
        let text = format!("GET /api/v1/state HTTP/1.1\r\n{line}\r\nConnection: close\r\n\r\n");
        assert_eq!(request(house.address, &text).0, 403, "{line}");
        let text = format!("GET /health HTTP/1.1\r\n{line}\r\nConnection: close\r\n\r\n");
        assert_eq!(request(house.address, &text).0, 200, "{line}");
    }
    let post = "POST /api/v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(request(house.address, post).0, 405);
    let mut config = Config::clone(&house.state.config);
    config.http.listen = "0.0.0.0:0".parse().expect("an address");
    let state = StationState { config: Arc::new(config), ..house.state.clone() };
    let refused = house.runtime.block_on(Station::start(state));
    assert!(matches!(refused, Err(StationError::Plaintext(_))));
}

#[test]
fn a_slow_or_greedy_client_is_let_go_and_a_stop_does_not_wait_for_it() {
    let mut house = house(None);
    let mut slow = TcpStream::connect(house.address).expect("open");
    slow.write_all(b"GET /health HT").expect("sent");
    slow.set_read_timeout(Some(Duration::from_secs(12))).expect("set");
    let begin = Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(begin.elapsed() < Duration::from_secs(9), "held for {:?}", begin.elapsed());
    let greedy = format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let (status, _, _) = request(house.address, &greedy);
    assert_ne!(status, 200);
    let idle = TcpStream::connect(house.address).expect("open");
    std::thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    let station = house.station.take().expect("running");
    house.runtime.block_on(station.stop());
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    drop(idle);
    assert!(TcpStream::connect(house.address).is_err(), "the port is free");
}

#[test]
fn https_answers_with_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let (certificate, key) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let house = house(Some(Tls { certificate: certificate.clone(), key, client_ca: None }));
    let config = vitalguard::shell::tls::client_config(Some(&certificate), None).expect("a client");
    let name = "localhost".try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut stream = TcpStream::connect(house.address).expect("open");
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    tls.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    assert_eq!(split(&answer).0, 200);
    // Plain text on the same port gets no answer and does no harm.
    assert_eq!(get(house.address, "/health").0, 0);
}
