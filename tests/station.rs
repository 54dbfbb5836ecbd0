//! HTTP over real sockets.

mod common;
mod support;

use bytes::Bytes;
use common::Served;
use sha2::Digest;
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
    _journal: vitalguard::shell::journal::Journal,
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
    let options = vitalguard::shell::journal::Options::new(&Config::default().journal, "test");
    let (journal, feed) = vitalguard::shell::journal::Journal::open(&folder.path().join("journal"), options).expect("a journal");
    std::thread::spawn(move || feed.into_iter().for_each(drop));
    let mut config = Config::default();
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.http.tls = tls;
    config.site = support::SITE.into();
    change(&mut config);
    let state = StationState {
        retained,
        link: Some(Arc::default()),
        journal: Some(journal.handle()),
        metrics: vitalguard::shell::metrics::install().ok(),
        ..StationState::new(Arc::new(config), origin("01a20385-57bb-7c31-9f0a-000000000001"), folder.path().join("store.db"))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let station = runtime.block_on(Station::start(state.clone())).expect("it starts");
    let address = station.address();
    House { runtime, station: Some(station), address, state, _journal: journal, folder }
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
    assert!(get(house.address, "/").2.contains(r#"src="/app.js""#));
    assert!(get(house.address, "/app.js").2.contains("not a primary patient alarm"));
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

// The whole service: who is let in, what a user sees and may do, the tunnel, the stream.

/// A request with a body of JSON and further header lines: status, head (lower case) and body.
fn ask(address: SocketAddr, method: &str, path: &str, lines: &[&str], body: &str) -> (u16, String, String) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let (length, kind) = (body.len(), "Content-Type: application/json");
    request(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{kind}\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
        ),
    )
}

fn parsed(body: &str) -> serde_json::Value {
    // Some answers come in one chunk.
    let start = body.find(['{', '[']).unwrap_or(0);
    let end = body.rfind(['}', ']']).map_or(body.len(), |at| at + 1);
    serde_json::from_str(&body[start..end]).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn sha256(text: &str) -> String {
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A service with users: a viewer of one ward, a nurse, an engineer, and a machine with a token.
fn with_users(folder: &std::path::Path, mqtt: &str) -> Served {
    let user = |name: &str, role: &str, wards: &str| {
        format!(
            "[[mqtt.users]]\nname = \"{name}\"\nrole = \"{role}\"\nwards = {wards}\npassword_sha256 = \"{}\"\n",
            sha256(&format!("password of {name}"))
        )
    };
    let text = format!(
        "site = \"hsp\"\n[mqtt]\n{mqtt}\n{}{}{}[[http.tokens]]\nname = \"scraper\"\ntoken_sha256 = \"{}\"\n",
        user("wall", "viewer", "[\"OTHER\"]"),
        user("nurse7", "nurse", "[]"),
        user("tech", "engineer", "[]"),
        sha256("token of the scraper"),
    );
    let path = folder.join("vitalguard.toml");
    std::fs::write(&path, text).expect("written");
    Served::start(&folder.join("data"), &["--config", path.to_str().expect("UTF-8")])
}

struct LoggedIn {
    cookie: String,
    csrf: String,
    session: serde_json::Value,
}

fn log_in(address: SocketAddr, user: &str) -> LoggedIn {
    let body = format!(r#"{{"user":"{user}","password":"password of {user}"}}"#);
    let (status, head, body) = ask(address, "POST", "/api/v1/session", &[], &body);
    assert_eq!(status, 200, "{body}");
    let cookie = head.split("set-cookie: ").nth(1).and_then(|rest| rest.split(';').next()).expect("a cookie").to_owned();
    assert!(head.contains("; path=/; httponly; samesite=strict"), "{head}");
    let session = parsed(&body);
    LoggedIn {
        cookie: format!("Cookie: {cookie}"),
        csrf: format!("X-CSRF-Token: {}", session["csrf"].as_str().expect("a word")),
        session,
    }
}

/// Makes an alert: sixty messages that say which ids this sender uses, then one id with two bodies.
fn raise(served: &Served, bed: &str) -> String {
    let mut client = common::Client::connect(served.mllp);
    let message = |id: &str, hr: u64| {
        let hr = hr.to_string();
        common::pcd01("GW", "ICU", bed, id, &common::now_hl7(), &[(common::HR, &hr, common::BPM), (common::PR, &hr, common::BPM)])
    };
    for n in 0..60 {
        assert_eq!(client.ask(&message(&format!("w-{bed}-{n}"), 70 + n % 5)).expect("an answer").0, "CA");
    }
    for hr in [70, 91] {
        client.ask(&message("x1", hr)).expect("an answer");
    }
    let token = ["Authorization: Bearer token of the scraper"];
    common::wait_for("an alert", || {
        let body = ask(served.http, "GET", "/api/v1/alerts?state=open&bed=A1", &token, "").2;
        parsed(&body)["alerts"][0]["id"].as_str().map(str::to_owned)
    })
}

#[test]
fn a_session_is_asked_for_and_bounds_what_is_seen_and_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = with_users(folder.path(), "listen = \"127.0.0.1:0\"");
    let http = served.http;
    // Nobody is logged in: the form, and nothing else.
    assert_eq!(ask(http, "GET", "/", &[], "").0, 200);
    let (status, head, body) = ask(http, "GET", "/api/v1/session", &[], "");
    assert_eq!((status, parsed(&body)["site"].as_str()), (401, Some("hsp")));
    assert!(head.contains("www-authenticate: bearer"));
    for path in ["/api/v1/state", "/api/v1/alerts", "/api/v1/events", "/mqtt", "/api/v1/about", "/api/v1/openapi.json"] {
        assert_eq!(ask(http, "GET", path, &[], "").0, 401, "{path}");
    }
    assert_eq!(ask(http, "GET", "/metrics", &[], "").0, 200, "a scraper on this machine");
    assert_eq!(ask(http, "GET", "/metrics", &["X-Forwarded-For: 10.0.0.9"], "").0, 401);
    assert_eq!(ask(http, "POST", "/api/v1/session", &[], r#"{"user":"nurse7","password":"guess"}"#).0, 401);
    let from_elsewhere = ["Origin: http://evil.example"];
    let good = r#"{"user":"nurse7","password":"password of nurse7"}"#;
    assert_eq!(ask(http, "POST", "/api/v1/session", &from_elsewhere, good).0, 403);

    let alert = raise(&served, "A1");
    let nurse = log_in(http, "nurse7");
    assert_eq!((nurse.session["role"].as_str(), nurse.session["names"].as_bool()), (Some("nurse"), Some(true)));
    let wards = common::wait_for("the ward", || {
        let body = ask(http, "GET", "/api/v1/session", &[&nurse.cookie], "").2;
        Some(parsed(&body)["wards"].clone()).filter(|wards| wards[0]["ward"] == "ICU")
    });
    assert_eq!(wards[0]["beds"][0], "A1");

    // The word against forged requests, and our own origin.
    let command = |user: &LoggedIn, verb: &str, with: &[&str], body: String| {
        let mut lines = vec![user.cookie.as_str()];
        lines.extend(with);
        ask(http, "POST", &format!("/api/v1/cmd/{verb}"), &lines, &body)
    };
    let ack = |id: &str| format!(r#"{{"request_id":"{id}","alert":"{alert}","comment":"=HYPERLINK(1)"}}"#);
    assert_eq!(command(&nurse, "ack", &[], ack("r1")).0, 403);
    assert_eq!(command(&nurse, "ack", &["X-CSRF-Token: 00"], ack("r1")).0, 403);
    assert_eq!(command(&nurse, "ack", &[&nurse.csrf, "Origin: http://evil.example"], ack("r1")).0, 403);
    assert_eq!(command(&nurse, "ack", &[&nurse.csrf, "Sec-Fetch-Site: cross-site"], ack("r1")).0, 403);
    let own = format!("Origin: http://{http}");
    let (status, _, body) = command(&nurse, "ack", &[&nurse.csrf, &own], ack("r1"));
    let answer = parsed(&body);
    assert_eq!((status, &answer["status"], &answer["alert_state"]), (200, &"ok".into(), &"acknowledged".into()), "{body}");
    // Its event names user and way; a reader who may not ask for names does not read what was written.
    let events = parsed(&ask(http, "GET", &format!("/api/v1/alerts/{alert}/events"), &[&nurse.cookie], "").2);
    let last =
        events["events"].as_array().and_then(|list| list.iter().rfind(|e| e["event"] == "acknowledged")).expect("an event");
    assert_eq!((&last["by"]["user"], &last["by"]["via"]), (&"nurse7".into(), &"web".into()));
    let one = |line: &str| parsed(&ask(http, "GET", &format!("/api/v1/alerts/{alert}"), &[line], "").2);
    assert_eq!((&one(&nurse.cookie)["by"], &one(&nurse.cookie)["comment"]), (&"nurse7".into(), &"=HYPERLINK(1)".into()));
    let scraper = "Authorization: Bearer token of the scraper";
    assert!(one(scraper)["comment"].is_null() && one(scraper)["id"] == alert.as_str());
    let csv = ask(http, "GET", "/api/v1/alerts?format=csv", &[&nurse.cookie], "").2;
    assert!(csv.contains(",'=HYPERLINK(1)") && !csv.contains(",=HYPERLINK"), "{csv}");

    // Roles: a nurse republishes nothing, a viewer of another ward sees and does nothing here.
    assert_eq!(parsed(&command(&nurse, "resync", &[&nurse.csrf], r#"{"request_id":"r2"}"#.into()).2)["code"], "FORBIDDEN");
    assert_eq!(parsed(&command(&nurse, "dance", &[&nurse.csrf], r#"{"request_id":"r2"}"#.into()).2)["code"], "UNKNOWN_VERB");
    let wall = log_in(http, "wall");
    assert_eq!(parsed(&command(&wall, "ack", &[&wall.csrf], ack("r3")).2)["code"], "FORBIDDEN");
    assert_eq!(ask(http, "GET", &format!("/api/v1/alerts/{alert}"), &[&wall.cookie], "").0, 404);
    assert_eq!(ask(http, "GET", "/api/v1/state/ICU", &[&wall.cookie], "").0, 404);
    assert!(!ask(http, "GET", "/api/v1/state", &[&wall.cookie], "").2.contains("ward/ICU"));
    assert_eq!(parsed(&ask(http, "GET", "/api/v1/alerts", &[&wall.cookie], "").2)["alerts"].as_array().map(Vec::len), Some(0));
    let tech = log_in(http, "tech");
    assert_eq!(parsed(&command(&tech, "resync", &[&tech.csrf], r#"{"request_id":"r4"}"#.into()).2)["status"], "ok");
    // A token needs no word, and has its role.
    let machine = ask(http, "POST", "/api/v1/cmd/ack", &[scraper], &ack("r5"));
    assert_eq!(parsed(&machine.2)["code"], "FORBIDDEN");
    assert_eq!(ask(http, "GET", "/api/v1/state", &["Authorization: Bearer wrong"], "").0, 401);

    // Logout ends it; five wrong passwords close the door for a while.
    assert_eq!(ask(http, "DELETE", "/api/v1/session", &[&nurse.cookie, &nurse.csrf], "").0, 204);
    assert_eq!(ask(http, "GET", "/api/v1/state", &[&nurse.cookie], "").0, 401);
    let wrong = r#"{"user":"tech","password":"guess"}"#;
    for _ in 0..5 {
        assert_eq!(ask(http, "POST", "/api/v1/session", &[], wrong).0, 401);
    }
    let (status, head, _) = ask(http, "POST", "/api/v1/session", &[], r#"{"user":"tech","password":"password of tech"}"#);
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
}

/// A tunnel: what was sent through it, and what came back.
struct Tunnel(tungstenite::WebSocket<tungstenite::stream::MaybeTlsStream<TcpStream>>);

fn has(seen: &[u8], text: &str) -> bool {
    seen.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Tunnel {
    fn open(address: SocketAddr, lines: &[&str]) -> Result<Tunnel, u16> {
        let mut request =
            tungstenite::client::IntoClientRequest::into_client_request(format!("ws://{address}/mqtt")).expect("a request");
        for line in lines.iter().chain(&["Sec-WebSocket-Protocol: mqtt"]) {
            let (name, value) = line.split_once(": ").expect("a line");
            let name: tungstenite::http::HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match tungstenite::connect(request) {
            Ok((socket, _)) => {
                if let tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_ref() {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
                }
                Ok(Tunnel(socket))
            }
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
    fn send(&mut self, bytes: Vec<u8>) {
        self.0.send(tungstenite::Message::Binary(bytes.into())).expect("sent");
    }
    /// SUBSCRIBE to everything.
    fn subscribe(&mut self) {
        let filter = b"vitalguard/#";
        let mut subscribe = vec![0x82, (5 + filter.len()) as u8, 0, 1, 0, filter.len() as u8];
        subscribe.extend_from_slice(filter);
        subscribe.push(0);
        self.send(subscribe);
    }
    /// CONNECT of MQTT 3.1.1 and the return code of the CONNACK; 255: closed instead.
    fn connect(&mut self, client: &str, user: &str, password: &str) -> u8 {
        let mut body = b"\x00\x04MQTT\x04\xC2\x00\x3C".to_vec();
        for text in [client, user, password] {
            body.extend_from_slice(&(text.len() as u16).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        let mut packet = vec![0x10, (body.len() & 0x7F) as u8];
        if body.len() > 0x7F {
            packet[1] |= 0x80;
            packet.push((body.len() >> 7) as u8);
        }
        packet.extend(body);
        self.send(packet);
        match self.until(|seen| seen.len() >= 4) {
            Some(seen) => seen[3],
            None => 255,
        }
    }
    /// Everything that came until there is enough; `None`: closed before.
    fn until(&mut self, enough: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut seen = Vec::new();
        while !enough(&seen) {
            match self.0.read() {
                Ok(tungstenite::Message::Binary(bytes)) => seen.extend_from_slice(&bytes),
                Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_)) => {}
                _ => return None,
            }
        }
        Some(seen)
    }
}

#[test]
fn the_tunnel_carries_mqtt_with_the_rights_of_the_user_as_long_as_the_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = with_users(folder.path(), "listen = \"127.0.0.1:0\"");
    let http = served.http;
    assert_eq!(Tunnel::open(http, &[]).err(), Some(401));
    let nurse = log_in(http, "nurse7");
    assert_eq!(Tunnel::open(http, &[&nurse.cookie, "Origin: http://evil.example"]).err(), Some(403));
    let pass = || parsed(&ask(http, "POST", "/api/v1/credentials", &[&nurse.cookie, &nurse.csrf], "").2);
    let word = |pass: &serde_json::Value, key: &str| pass[key].as_str().expect("text").to_owned();
    let own = format!("Origin: http://{http}");
    let mut tunnel = Tunnel::open(http, &[&nurse.cookie, &own]).expect("a tunnel");
    let first = pass();
    assert_eq!(tunnel.connect(&word(&first, "client_id"), &word(&first, "username"), &word(&first, "password")), 0);
    // What is retained comes.
    tunnel.subscribe();
    assert!(tunnel.until(|seen| has(seen, "vitalguard/v1/hsp/sys/status") && has(seen, "heartbeat/1")).is_some());
    // A pass is for one client; it is no account at the public door; a user's password is none at the inner one.
    let second = pass();
    let mut other = Tunnel::open(http, &[&nurse.cookie]).expect("a tunnel");
    assert_ne!(other.connect("page-other", &word(&second, "username"), &word(&second, "password")), 0);
    let mut other = Tunnel::open(http, &[&nurse.cookie]).expect("a tunnel");
    assert_ne!(other.connect("any", "nurse7", "password of nurse7"), 0);
    // The session ends, and with it the tunnel.
    assert_eq!(ask(http, "DELETE", "/api/v1/session", &[&nurse.cookie, &nurse.csrf], "").0, 204);
    let begin = Instant::now();
    assert!(tunnel.until(|_| false).is_none() && begin.elapsed() < Duration::from_secs(5));
}

/// Reads a stream of events line by line.
struct Stream(std::io::BufReader<TcpStream>);

impl Stream {
    fn open(address: SocketAddr, lines: &[&str]) -> Stream {
        let mut stream = TcpStream::connect(address).expect("open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n").expect("sent");
        Stream(std::io::BufReader::new(stream))
    }
    /// The records of the next message; `None`: the stream has ended.
    fn next(&mut self) -> Option<Vec<(String, serde_json::Value)>> {
        loop {
            let mut line = String::new();
            if std::io::BufRead::read_line(&mut self.0, &mut line).ok()? == 0 || line == "0\r\n" {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                let records: Vec<serde_json::Value> = serde_json::from_str(data).expect("JSON");
                return Some(
                    records
                        .into_iter()
                        .map(|r| (r["topic"].as_str().expect("a topic").to_owned(), r["payload"].clone()))
                        .collect(),
                );
            }
        }
    }
    fn until(&mut self, wanted: impl Fn(&str, &serde_json::Value) -> bool) -> serde_json::Value {
        loop {
            let records = self.next().expect("the stream goes on");
            if let Some((_, payload)) = records.into_iter().find(|(topic, payload)| wanted(topic, payload)) {
                return payload;
            }
        }
    }
}

#[test]
fn the_stream_begins_with_everything_then_says_what_changes() {
    let mut house = house(None);
    let mut stream = Stream::open(house.address, &[]);
    let first = stream.next().expect("the snapshot");
    let topics: Vec<&str> = first.iter().map(|(topic, _)| topic.trim_start_matches("vitalguard/v1/hsp1/")).collect();
    assert_eq!(
        topics,
        ["sys/status", "ward/icu/state", "ward/icu/bed/A01/state", "ward/icu/bed/A03/state", "feed/gw/status", "sys/heartbeat"]
    );
    let put =
        |text: &'static str| house.state.retained.put("ward/icu/bed/A01/state", Kind::Bed, Bytes::from_static(text.as_bytes()));
    put(r#"{"n":1}"#);
    put(r#"{"n":2}"#);
    // What stood before may be said once more, and a look may fall between the two.
    stream.until(|topic, payload| topic.ends_with("A01/state") && payload["n"] == 2);
    put("");
    let said = stream.until(|topic, _| topic.ends_with("A01/state"));
    assert!(said.is_null(), "a tombstone");
    // An event does not wait for the next quarter of a second.
    let link = house.state.link.clone().expect("a link");
    let begin = Instant::now();
    link.live().put(vec![vitalguard::shell::live::Record { topic: "ward/icu/bed/A03/event/high".into(), payload: "{}".into() }]);
    stream.until(|topic, _| topic.ends_with("event/high"));
    assert!(begin.elapsed() < Duration::from_millis(200), "{:?}", begin.elapsed());
    stream.until(|topic, payload| topic.ends_with("sys/heartbeat") && payload["schema"] == "heartbeat/1");
    // A stop ends it.
    let begin = Instant::now();
    house.runtime.block_on(house.station.take().expect("running").stop());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    while stream.next().is_some() {}
}

#[test]
fn a_reader_that_does_not_read_is_cut_and_delays_nobody() {
    let house = house(None);
    let mut slow = Stream::open(house.address, &[]);
    slow.next().expect("the snapshot");
    let mut quick = Stream::open(house.address, &[]);
    quick.next().expect("the snapshot");
    let link = house.state.link.clone().expect("a link");
    let large = format!("\"{}\"", "x".repeat(200_000));
    let writer = std::thread::spawn(move || {
        for n in 0..600 {
            let payload = Bytes::from(if n == 599 { "\"last\"".to_owned() } else { large.clone() });
            link.live().put(vec![vitalguard::shell::live::Record { topic: "ward/icu/bed/A03/event/high".into(), payload }]);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    quick.until(|_, payload| *payload == serde_json::json!("last"));
    writer.join().expect("written");
    let mut messages = 0;
    while slow.next().is_some() {
        messages += 1;
    }
    assert!(messages < 599, "{messages}");
    assert!(get(house.address, "/metrics").2.contains("vitalguard_http_streams_cut_total 1"));
}

#[test]
fn every_described_path_is_served_and_changes_are_described_as_such() {
    let house = house(None);
    let document = parsed(&get(house.address, "/api/v1/openapi.json").2);
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let place = |name: &str| match name {
                "id" => "A-000000000007-20261122T182326412Z",
                "name" => "bed-state-1.json",
                "file" => "index.html",
                _ => "icu",
            };
            let real: String = path
                .split('/')
                .map(|part| {
                    part.strip_prefix('{')
                        .and_then(|p| p.strip_suffix('}'))
                        .map_or(part.to_owned(), |name| place(name).to_owned())
                })
                .collect::<Vec<_>>()
                .join("/");
            if path == "/api/v1/events" {
                continue;
            }
            let (status, head, body) = ask(house.address, &method.to_uppercase(), &real, &[], "{}");
            assert!(!body.contains("no such resource\"}") && status != 405 && status != 0, "{method} {real}: {status} {body}");
            let said = &item[method.as_str()]["responses"][status.to_string()];
            assert!(!said.is_null(), "{method} {real}: {status} is not described: {head}{body}");
        }
    }
}

/// mosquitto with TLS, passwords and the rules of the contract; our publisher and the stations have accounts of their own.
#[cfg(feature = "peers")]
#[test]
fn the_tunnel_leads_to_an_external_broker_with_the_account_of_stations() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    write("server.pem", &made.cert.pem());
    write("server.key", &made.signing_key.serialize_pem());
    write("publisher.password", "of the publisher\n");
    write("station.password", "of the stations\n");
    write(
        "acl",
        "user vitalguard\ntopic readwrite vitalguard/#\nuser station\ntopic read vitalguard/v1/+/sys/#\npattern readwrite vitalguard/v1/+/station/%u/status\n",
    );
    write("users", "vitalguard:of the publisher\nstation:of the stations\n");
    assert!(
        std::process::Command::new("mosquitto_passwd").args(["-U", &path("users")]).status().expect("mosquitto_passwd").success()
    );
    let rules = format!(
        "certfile {}\nkeyfile {}\nacl_file {}\npassword_file {}\nallow_anonymous false",
        path("server.pem"),
        path("server.key"),
        path("acl"),
        path("users")
    );
    let broker = common::Mosquitto::start(&rules);
    let external = format!(
        "url = \"mqtts://localhost:{}\"\nca = \"{}\"\nusername = \"vitalguard\"\npassword_file = \"{}\"\n",
        broker.port,
        path("server.pem"),
        path("publisher.password")
    );
    let station = format!("[mqtt.station]\nusername = \"station\"\npassword_file = \"{}\"\n", path("station.password"));
    let served = with_users(folder.path(), &(external + &station));
    let http = served.http;
    common::wait_for("the publisher", || {
        let body = get(http, "/ready").2;
        (parsed(&body)["broker"]["connected"] == true).then_some(())
    });
    let nurse = log_in(http, "nurse7");
    assert_eq!(nurse.session["mqtt"], true);
    let pass = parsed(&ask(http, "POST", "/api/v1/credentials", &[&nurse.cookie, &nurse.csrf], "").2);
    assert_eq!((&pass["username"], &pass["password"]), (&"station".into(), &"of the stations".into()));
    let mut tunnel = Tunnel::open(http, &[&nurse.cookie]).expect("a tunnel");
    assert_eq!(tunnel.connect(pass["client_id"].as_str().expect("an id"), "station", "of the stations"), 0);
    tunnel.subscribe();
    let seen = tunnel.until(|seen| has(seen, "vitalguard/v1/hsp/sys/status") && has(seen, "heartbeat/1")).expect("documents");
    assert!(!has(&seen, "/feed/"), "the rules of the broker hold in the tunnel");
    // The broker goes: the tunnel ends, a new one says so, and events still come over HTTP.
    drop(broker);
    assert!(tunnel.until(|_| false).is_none());
    assert_eq!(Tunnel::open(http, &[&nurse.cookie]).err(), Some(502));
    let mut stream = Stream::open(http, &[&nurse.cookie]);
    stream.until(|topic, payload| topic.ends_with("sys/heartbeat") && payload["schema"] == "heartbeat/1");
}
