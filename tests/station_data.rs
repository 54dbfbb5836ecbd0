//! The data behind the station's pages, against the real program: histories, messages, names, audit, feeds, reports, replays.

mod common;

use common::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use vitalguard::shell::journal::{Reader, Record};

/// Words that must stay where they are.
const NAME: &str = "TOKENFAMILY";
const RECORD: &str = "TOKENRECORD";
const NURSE: &str = "TOKENNURSE";

/// A message of bed A01 with names in every place that has room for one.
fn message(id: &str, at: &str, hr: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|MON^00A0370000000001^EUI-64|HOSP|VG|HOSP|{at}+0000||ORU^R01^ORU_R01|{id}|P|2.6|||AL|NE|||||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||{RECORD}^^^HOSP^MR||{NAME}^Ada||19500101|F\r\
         NK1|1|{NAME}AUNT^Eve\r\
         PV1||I|icu^^A01||||{NURSE}^Doc\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}+0000\r\
         OBX|1|NM|{HR}^MDC|1.1.1.147842|{hr}|{BPM}^MDC|||||R|||{at}+0000||{NURSE}\r\
         OBX|2|NM|{SPO2}^MDC|1.1.1.150456|97|{PERCENT}^MDC|||||R|||{at}+0000\r\
         NTE|1||{NURSE} wrote\r"
    )
    .into_bytes()
}

struct House {
    served: Served,
    folder: tempfile::TempDir,
}

impl House {
    fn start() -> House {
        let folder = tempfile::tempdir().unwrap();
        let recordings = folder.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        std::fs::write(recordings.join("ward.hl7"), recording()).unwrap();
        std::fs::write(folder.path().join("secret.hl7"), recording()).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.hl7"), recordings.join("link.hl7")).unwrap();
        let mut config = format!(
            "[episodes]\nannunciation_low_s = 0.0\nannunciation_medium_s = 0.0\n[replay]\nfolder = {:?}\nruns_max = 1\n",
            recordings.display().to_string()
        );
        for role in ["viewer", "nurse", "engineer"] {
            let hash: String = Sha256::digest(role).iter().map(|b| format!("{b:02x}")).collect();
            config.push_str(&format!("[[http.tokens]]\nname = \"t-{role}\"\nrole = \"{role}\"\ntoken_sha256 = \"{hash}\"\n"));
        }
        let hash: String = Sha256::digest("er").iter().map(|b| format!("{b:02x}")).collect();
        config.push_str(&format!(
            "[[http.tokens]]\nname = \"t-er\"\nrole = \"engineer\"\nwards = [\"er\"]\ntoken_sha256 = \"{hash}\"\n"
        ));
        let file = folder.path().join("vitalguard.toml");
        std::fs::write(&file, config).unwrap();
        let served = Served::start(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
        House { served, folder }
    }
    /// Status, head and body of a request with the token of a role.
    fn ask(&self, role: &str, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.served.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {role}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
    fn get(&self, role: &str, path: &str) -> (u16, Value) {
        let (status, _, body) = self.ask(role, "GET", path, "");
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
    fn ok(&self, role: &str, path: &str) -> Value {
        let (status, value) = self.get(role, path);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }
    /// The audit, once it holds what is waited for: it is durable in the journal first, and in the store in its turn.
    fn audit_with(&self, what: &str, wanted: impl Fn(&[(String, String, String)]) -> bool) -> Vec<(String, String, String)> {
        wait_for(what, || Some(self.audit()).filter(|audit| wanted(audit)))
    }
    fn audit(&self) -> Vec<(String, String, String)> {
        let list = self.ok("engineer", "/api/v1/audit");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines = list["audit"].as_array().unwrap().iter();
        lines.map(|line| (text(&line["user"]), text(&line["action"]), text(&line["object"]))).collect()
    }
}

/// Forty seconds of two beds, one of which shows what no saturation can be from second 20 on.
fn recording() -> String {
    let start: jiff::Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let mut text = String::new();
    for second in 0..40 {
        let at = (start + jiff::SignedDuration::from_secs(second)).strftime("%Y%m%d%H%M%S").to_string();
        for (bed, spo2) in [("R01", 97), ("R02", if second < 20 { 96 } else { 250 })] {
            let hr = (70 + second % 3).to_string();
            let values = [(HR, hr.as_str(), BPM), (SPO2, &spo2.to_string(), PERCENT)];
            text.push_str(&String::from_utf8(pcd01("REC", "rec", bed, &format!("{bed}-{second}"), &at, &values)).unwrap());
            text.push('\n');
        }
    }
    text
}

#[test]
fn a_bed_has_a_history_a_name_and_messages_for_those_who_may_see_them() {
    let house = House::start();
    let mut client = Client::connect(house.served.mllp);
    for (n, hr) in ["70", "90", "71"].iter().enumerate() {
        assert_eq!(client.ask(&message(&format!("M{n}"), &now_hl7(), hr)).unwrap().0, "CA");
    }
    // A value that is none, and a frame that is no HL7.
    client.ask(&message("BAD", &now_hl7(), "TOKENVALUE")).unwrap();
    client.send(b"this is TOKENJUNK").unwrap();
    let _ = client.receive();

    // History: what was received in the five seconds, in whatever bucket it fell.
    let trends = wait_for("the history", || {
        let trends = house.ok("viewer", "/api/v1/trends/icu/A01?params=hr");
        let maxima = trends["params"]["hr"]["max"].as_array()?.iter().filter_map(Value::as_f64).collect::<Vec<_>>();
        maxima.contains(&90.0).then_some(trends)
    });
    let hr = &trends["params"]["hr"];
    assert_eq!(hr["unit"], "/min");
    assert_eq!(hr["value"].as_array().map(Vec::len), trends["t"].as_array().map(Vec::len));
    assert!(trends["params"].get("spo2").is_none());
    assert!(hr["min"].as_array().unwrap().iter().filter_map(Value::as_f64).any(|v| v == 70.0));
    for bad in ["?params=pulse", "?from=5&to=1", "?step=0", "?surprise=1"] {
        assert_eq!(house.get("viewer", &format!("/api/v1/trends/icu/A01{bad}")).0, 400, "{bad}");
    }
    assert_eq!(house.get("er", "/api/v1/trends/icu/A01").0, 404, "a ward that is not its own");

    // Names.
    assert_eq!(house.get("viewer", "/api/v1/names/icu/A01").0, 403);
    assert_eq!(house.get("er", "/api/v1/names/icu/A01").0, 404);
    let (status, head, body) = house.ask("nurse", "GET", "/api/v1/names/icu/A01", "");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("cache-control: no-store"));
    let name: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(name, json!({ "name": format!("{NAME}, Ada"), "record": RECORD, "expires_s": 120 }));
    assert_eq!(house.get("nurse", "/api/v1/names/icu/B77").0, 404);

    // Rejects lead to the message; its name is masked, the whole of it is for engineers.
    let rejects = wait_for("the rejects", || {
        let list = house.ok("viewer", "/api/v1/feeds/mllp/rejects")["rejects"].as_array()?.clone();
        (list.len() >= 2).then_some(list)
    });
    let bad = rejects.iter().find(|r| r["reason"] == "value_not_numeric").expect("the value that is none");
    assert!(bad["segment"].as_str().unwrap().starts_with("OBX|1|NM|147842"), "{bad}");
    assert!(bad["position"].as_u64().unwrap() > 100);
    assert!(rejects.iter().any(|r| r["reason"] != "value_not_numeric" && r["position"].is_null()), "{rejects:?}");
    let raw = bad["raw"].as_str().unwrap().to_owned();
    let masked = house.ok("viewer", &format!("/api/v1/messages/{raw}"));
    assert_eq!(masked["masked"], true);
    assert_eq!(house.get("nurse", &format!("/api/v1/messages/{raw}?full=1")).0, 403);
    let whole = house.ok("engineer", &format!("/api/v1/messages/{raw}?full=1"));
    assert!(whole.to_string().contains(NAME) && whole["masked"] == false);
    for (path, status) in [("mllp.999999", 404), ("other.1", 404), ("nonsense", 400), ("mllp.x", 400)] {
        assert_eq!(house.get("engineer", &format!("/api/v1/messages/{path}")).0, status, "{path}");
    }
    assert_eq!(house.get("er", &format!("/api/v1/messages/{raw}")).0, 404, "whose message it is, only an alert tells");

    // Feeds.
    let feeds = wait_for("the feed", || {
        let feeds = house.ok("viewer", "/api/v1/feeds");
        feeds["feeds"][0]["accepts"].as_u64().filter(|n| *n >= 4).map(|_| feeds)
    });
    let feed = &feeds["feeds"][0];
    assert!(feed["ack_p50_ms"].as_f64().unwrap() > 0.0 && feed["ack_p99_ms"].as_f64() >= feed["ack_p50_ms"].as_f64(), "{feed}");
    assert!(feed["parse_errors"].as_u64().unwrap() >= 1 && feed["rows_refused"]["value_not_numeric"] == 1, "{feed}");
    assert_eq!(feeds["mqtt"]["kind"], "embedded");
    assert_eq!(feeds["useful_share"], Value::Null, "nobody has rated");

    // Who looked is written down, in the store and in the chain.
    let audit = house.audit_with("both looks", |audit| audit.len() >= 2);
    let one = |user: &str, action: &str, object: &str| (user.to_owned(), action.to_owned(), object.to_owned());
    assert!(audit.contains(&one("t-nurse", "names", "icu/A01")), "{audit:?}");
    assert!(audit.contains(&one("t-engineer", "message", &raw)), "{audit:?}");
    assert!(!audit.iter().any(|(user, ..)| user == "t-viewer" || user == "t-er"), "{audit:?}");
    assert_eq!(house.get("nurse", "/api/v1/audit").0, 403);

    // Discharged: nobody's name is left.
    let adt = format!(
        "MSH|^~\\&|ADT|HOSP|VG|HOSP|{at}+0000||ADT^A03^ADT_A03|D1|P|2.6\rEVN||{at}+0000\rPID|||{RECORD}^^^HOSP^MR||{NAME}^Ada\rPV1||I|icu^^A01\r",
        at = now_hl7()
    );
    client.ask(adt.as_bytes()).unwrap();
    wait_for("the discharge", || (house.get("nurse", "/api/v1/names/icu/A01").0 == 404).then_some(()));

    // And nowhere else: no page, no list, no log.
    for path in ["/api/v1/state", "/api/v1/alerts", "/api/v1/feeds", "/api/v1/feeds/mllp/rejects", "/api/v1/audit", "/metrics"] {
        let (_, _, body) = house.ask("engineer", "GET", path, "");
        assert!(!body.contains("TOKEN"), "{path}: {body}");
    }
    assert!(!masked.to_string().contains("TOKEN"), "{masked}");
    let log = house.served.log.lock().unwrap().clone();
    assert!(!log.contains("TOKEN"), "{log}");
    let mut served = house.served;
    assert!(served.terminate().success());
    let looked = looks(house.folder.path());
    assert_eq!(looked.iter().filter(|action| *action == "names").count(), 1, "{looked:?}");
    assert_eq!(looked.iter().filter(|action| *action == "message").count(), 1, "{looked:?}");
    let everything = std::fs::read(house.folder.path().join("data/trends.sqlite")).unwrap();
    assert!(!everything.windows(5).any(|w| w == b"TOKEN"));
}

/// What the journal's chain holds of looks.
fn looks(folder: &Path) -> Vec<String> {
    let entries = Reader::open(&folder.join("data/journal"), 0).unwrap();
    let record = |entry: vitalguard::shell::journal::Entry| match entry.stamped.record {
        Record::Audit(looked) => Some(looked.action),
        _ => None,
    };
    entries.filter_map(|entry| record(entry.expect("an unbroken chain"))).collect()
}

#[test]
fn an_alert_is_reported_explained_and_exported() {
    let house = House::start();
    let mut client = Client::connect(house.served.mllp);
    let id = wait_for("an alert", || {
        let at = now_hl7();
        let mut bad = String::from_utf8(message(&format!("H{at}"), &at, "72")).unwrap();
        bad = bad.replace("|97|", "|250|");
        client.ask(bad.as_bytes()).unwrap();
        house.ok("viewer", "/api/v1/alerts")["alerts"][0]["id"].as_str().map(str::to_owned)
    });
    let alert = house.ok("viewer", &format!("/api/v1/alerts/{id}"));
    let raw = alert["evidence"].as_array().unwrap().iter().find_map(|e| e["raw"].as_str()).expect("a message").to_owned();
    let shown = house.ok("viewer", &format!("/api/v1/messages/{raw}?alert={id}"));
    let marked: Vec<String> = shown["segments"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|segment| {
            let text: Vec<u16> = segment["text"].as_str().unwrap().encode_utf16().collect();
            let marks = segment["marks"].as_array().unwrap().clone();
            let place = |mark: &Value, key: &str| mark[key].as_u64().unwrap() as usize;
            marks.into_iter().map(move |m| String::from_utf16(&text[place(&m, "start")..place(&m, "end")]).unwrap())
        })
        .collect();
    assert_eq!(marked, ["250"], "{shown}");

    for (lang, sentence) in [("en", "Incident report"), ("it", "Rapporto sull&#39;evento")] {
        let (status, head, page) = house.ask("viewer", "GET", &format!("/api/v1/alerts/{id}/report?lang={lang}"), "");
        assert!(status == 200 && head.contains("text/html") && head.contains("default-src 'none'"), "{head}");
        assert!(page.contains(sentence) && page.contains("<mark>250</mark>") && page.contains(&raw), "{page}");
        assert!(page.matches("sha256:").count() >= 3, "the record's link, the head, the model: {page}");
        assert!(!page.contains("TOKEN") && !page.contains("<script"), "{page}");
    }
    let explained = wait_for("the explanation", || {
        let (status, value) = house.get("viewer", &format!("/api/v1/alerts/{id}/explain"));
        assert!(status == 200 || status == 202, "{status} {value}");
        (status == 200).then_some(value)
    });
    assert_eq!(explained["alert"], id.as_str());
    assert!(explained["published"].as_str().unwrap().ends_with("the same"), "{explained}");
    assert_eq!(explained["events"][0]["event"], "raised");
    assert!(!explained.to_string().contains("TOKEN"));
    for path in ["report", "explain"] {
        assert_eq!(house.get("er", &format!("/api/v1/alerts/{id}/{path}")).0, 404);
        assert_eq!(house.get("viewer", &format!("/api/v1/alerts/A-00000000ffff-20261122T182326412Z/{path}")).0, 404);
        assert_eq!(house.get("viewer", &format!("/api/v1/alerts/nothing/{path}")).0, 400);
    }
    assert_eq!(house.ask("viewer", "GET", "/api/v1/alerts?format=csv&ward=icu", "").0, 200);
    let exported = |(user, action, object): &(String, String, String)| {
        user == "t-viewer" && action == "export" && object.contains("format=csv")
    };
    let audit = house.audit_with("the export", |audit| audit.iter().any(exported));
    assert_eq!(audit.iter().filter(|(_, action, object)| action == "report" && *object == id).count(), 2);

    // The alert stands in the bed's chart, and the history outlives a kill.
    let from = jiff::Timestamp::now().as_millisecond() - 600_000;
    let history = |house: &House| house.ok("viewer", &format!("/api/v1/trends/icu/A01?from={from}&step=5"));
    let before = wait_for("the history", || {
        let trends = history(&house);
        trends["params"].get("hr").is_some().then_some(trends)
    });
    assert!(before["alerts"].as_array().unwrap().iter().any(|a| a["id"] == id.as_str() && a["ended"].is_null()), "{before}");
    let House { mut served, folder } = house;
    served.kill();
    let file = folder.path().join("vitalguard.toml");
    let served = Served::start(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
    let house = House { served, folder };
    let heard = |trends: &Value| -> Vec<(i64, f64)> {
        let t = trends["t"].as_array().unwrap().iter().filter_map(Value::as_i64);
        let values = trends["params"]["hr"]["value"].as_array().cloned().unwrap_or_default();
        t.zip(values).filter_map(|(t, v)| Some((t, v.as_f64()?))).collect()
    };
    let wanted = heard(&before);
    assert!(!wanted.is_empty());
    wait_for("the history after the kill", || {
        let there = heard(&history(&house));
        wanted.iter().all(|point| there.contains(point)).then_some(())
    });
}

#[test]
fn a_replay_is_played_turned_and_ended_and_nobody_live_hears_it() {
    let house = House::start();
    let port = house.served.mqtt.expect("the embedded broker").port();
    let everything = Listener::start(port, "vitalguard/#");
    let list = house.ok("engineer", "/api/v1/replay");
    assert_eq!(list, json!({ "runs": [], "files": ["ward.hl7"] }), "files only, no links");
    assert_eq!(house.ok("viewer", "/api/v1/replay")["files"], json!([]));
    let start = |role: &str, body: &str| {
        let (status, _, text) = house.ask(role, "POST", "/api/v1/replay", body);
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let file = r#"{"source":{"file":"ward.hl7"},"speed":60}"#;
    assert_eq!(start("nurse", file).0, 403);
    for (body, status) in [
        (r#"{"source":{"file":"../secret.hl7"}}"#, 404),
        (r#"{"source":{"file":"link.hl7"}}"#, 404),
        (r#"{"source":{"file":"ward.hl7"},"speed":61}"#, 400),
        (r#"{"source":{"from":5,"to":1}}"#, 400),
        (r#"{"source":{"raw":"mllp.999"}}"#, 404),
        (r#"{"source":{}}"#, 400),
        ("{}", 400),
    ] {
        assert_eq!(start("engineer", body).0, status, "{body}");
    }
    let (status, run) = start("engineer", file);
    assert_eq!(status, 201, "{run}");
    let name = run["run"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/replay/{name}");
    assert_eq!(start("engineer", file).0, 409, "one at a time");
    assert_eq!(house.ask("nurse", "PATCH", &path, r#"{"paused":true}"#).0, 403);

    // The bar: length, and the alert at its place.
    let scanned = wait_for("the look through it", || {
        let run = house.ok("viewer", &path);
        (run["scanned"] == true).then_some(run)
    });
    assert_eq!(scanned["length_ms"], 39_000, "{scanned}");
    let ticks = scanned["alerts"].as_array().unwrap();
    assert!(ticks.iter().any(|t| (20_000..39_000).contains(&t["at_ms"].as_i64().unwrap()) && t["bed"] == "R02"), "{scanned}");
    assert!(ticks.iter().all(|t| t["text"]["it"].is_string()));
    wait_for("the end", || (house.ok("viewer", &path)["state"] == "ended").then_some(()));

    // Back, and it stands still there; the stream tells what is there.
    let turn = |body: &str| house.ask("engineer", "PATCH", &path, body);
    assert_eq!(turn(r#"{"seek_ms":10000,"paused":true}"#).0, 200);
    let stood = wait_for("the place", || {
        let run = house.ok("viewer", &path);
        (run["state"] == "paused").then_some(run)
    });
    assert_eq!(stood["position_ms"], 10_000);
    let calm = wait_for("what stands there", || {
        let records = stream(&house, &path);
        let bed = records.iter().rev().find(|r| r["topic"].as_str().is_some_and(|t| t.ends_with("ward/rec/bed/R02/state")))?;
        bed["payload"]["params"]["spo2"]["value"].as_f64().filter(|v| *v == 96.0).map(|_| records.clone())
    });
    let begin = format!("vitalguard/replay/{name}/v1/main/");
    assert!(calm.iter().all(|r| r["topic"].as_str().unwrap().starts_with(&begin)), "{calm:?}");
    assert_eq!(turn(r#"{"speed":0.1}"#).0, 400);
    assert_eq!(turn(r#"{"surprise":1}"#).0, 400);
    assert_eq!(house.ok("viewer", &path)["position_ms"], 10_000);
    // On again: the raise is told as it comes.
    assert_eq!(turn(r#"{"seek_ms":18000,"paused":false,"speed":10}"#).0, 200);
    wait_for("the alert", || everything.lines().iter().any(|t| t.starts_with(&begin) && t.contains("/R02/event/")).then_some(()));
    assert_eq!(house.ask("engineer", "DELETE", &path, "").0, 204);
    assert_eq!(house.get("viewer", &path).0, 404);

    // Live topics, live store, live beds: nothing of it.
    let topics = everything.lines();
    assert!(topics.iter().any(|t| t.contains("/ward/rec/")), "the sandbox was heard");
    assert!(topics.iter().filter(|t| t.contains("/rec/")).all(|t| t.starts_with(&begin)), "{topics:?}");
    assert_eq!(house.ok("viewer", "/api/v1/alerts")["alerts"], json!([]));
    assert!(!house.ask("viewer", "GET", "/api/v1/state", "").2.contains("/rec/"));
    // What was on its way may still come: until nothing does.
    wait_for("silence", || {
        let before = everything.lines().iter().filter(|topic| topic.starts_with(&begin)).count();
        std::thread::sleep(Duration::from_millis(500));
        (everything.lines().iter().filter(|topic| topic.starts_with(&begin)).count() == before).then_some(())
    });
    let late = Listener::start(port, "vitalguard/replay/#");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(late.lines(), Vec::<String>::new(), "nothing is retained");
}

/// What a stream says within a second.
fn stream(house: &House, path: &str) -> Vec<Value> {
    let mut socket = TcpStream::connect(house.served.http).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    write!(socket, "GET {path}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer viewer\r\n\r\n").unwrap();
    let (mut bytes, began) = (Vec::new(), Instant::now());
    let mut chunk = [0; 65536];
    while began.elapsed() < Duration::from_secs(1) {
        if let Ok(n) = socket.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..n]);
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lists = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lists.filter_map(|list| serde_json::from_str::<Vec<Value>>(list).ok()).flatten().collect()
}

/// A subscriber of our own: topics as they come.
struct Listener {
    topics: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Listener {
    fn start(port: u16, filter: &str) -> Listener {
        use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
        let topics = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut options = MqttOptions::new(format!("listener-{}", filter.len()), "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 100);
        client.subscribe(filter, QoS::AtMostOnce).unwrap();
        let (said, ready) = std::sync::mpsc::channel();
        let heard = std::sync::Arc::clone(&topics);
        std::thread::spawn(move || {
            // Kept: a client that is dropped ends the connection.
            let _client = client;
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(said.send(())),
                    Ok(Event::Incoming(Packet::Publish(publish))) => heard.lock().unwrap().push(publish.topic),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        ready.recv_timeout(PATIENCE).expect("subscribed");
        Listener { topics }
    }
    fn lines(&self) -> Vec<String> {
        self.topics.lock().unwrap().clone()
    }
}
