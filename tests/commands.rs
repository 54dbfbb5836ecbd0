//! Commands over a real broker into the real binary, and what is left of them after a kill and in a replay.

#[path = "support/client.rs"]
mod client;
mod common;

use client::{Client as Mqtt, endpoint};
use common::{BPM, Client, HR, PERCENT, PR, SPO2, Served, pcd01, wait_for};
use serde_json::{Value, json};
use std::cell::Cell;

const BASE: &str = "vitalguard/v1/main";

fn vitals(bed: &str, id: &str, n: u64) -> Vec<u8> {
    let hr = 70 + (n * 7 % 5);
    let (hr, pr, spo2) = (hr.to_string(), (hr + n % 2).to_string(), (96 + n % 3).to_string());
    pcd01("GW", "ICU", bed, id, &common::now_hl7(), &[(HR, &hr, BPM), (PR, &pr, BPM), (SPO2, &spo2, PERCENT)])
}

/// A feed with one reused id: a high alert at bed B1, nothing at bed B2.
fn feed(served: &Served) {
    let mut gateway = Client::connect(served.mllp);
    for n in 0..60 {
        for bed in ["B1", "B2"] {
            gateway.ask(&vitals(bed, &format!("{bed}-{n}"), n)).expect("an answer");
        }
    }
    gateway.ask(&vitals("B1", "B1-59", 1000)).expect("an answer");
}

fn events(served: &Served) -> Vec<Value> {
    let (status, body) = served.get("/api/v1/alerts?format=jsonl&limit=1000");
    assert_eq!(status, 200, "{body}");
    body.lines().map(|l| serde_json::from_str(l).expect("a JSON document a line")).collect()
}

fn alert(served: &Served, check: &str) -> String {
    wait_for(check, || {
        let found =
            events(served).into_iter().find(|e| e["alert"]["condition"].as_str().is_some_and(|c| c.starts_with(check)))?;
        Some(found["alert"]["id"].as_str()?.to_owned())
    })
}

/// Somebody at a station.
struct Person {
    mqtt: Mqtt,
    count: Cell<u32>,
}

impl Person {
    fn new(served: &Served) -> Person {
        let address = served.mqtt.expect("the embedded broker");
        let mqtt = Mqtt::start(endpoint(address, "person", None), true, &["vitalguard/#"], true);
        wait_for("the subscription", || mqtt.with(|h| h.subscribed).filter(|subscribed| *subscribed));
        Person { mqtt, count: Cell::new(0) }
    }
    fn heard(&self, topic: &str) -> Vec<Value> {
        let json = |payload: &[u8]| serde_json::from_slice(payload).expect("JSON");
        self.mqtt.with(|h| h.messages.iter().filter(|m| m.topic == topic).map(|m| json(&m.payload)).collect())
    }
    fn say(&self, verb: &str, document: &Value) {
        self.mqtt.say(&format!("{BASE}/cmd/local/{verb}"), &document.to_string(), false);
    }
    /// A command, and its answer.
    fn ask(&self, verb: &str, mut members: Value) -> Value {
        self.count.set(self.count.get() + 1);
        let id = format!("r{}", self.count.get());
        members["request_id"] = json!(id);
        self.say(verb, &members);
        wait_for(verb, || self.heard(&format!("{BASE}/rsp/local/{id}")).pop())
    }
}

/// `ok`, or the code.
fn outcome(answer: &Value) -> &str {
    answer["code"].as_str().or(answer["status"].as_str()).expect("an answer")
}

fn comparable(mut event: Value) -> String {
    let object = event.as_object_mut().expect("an event");
    for gone in ["boot", "replay"] {
        object.remove(gone);
    }
    object["alert"].as_object_mut().expect("an alert").remove("href");
    event.to_string()
}

#[test]
fn every_command_is_answered_kept_through_a_kill_and_the_same_in_a_replay() {
    let data = tempfile::tempdir().unwrap();
    let mut served = Served::start(data.path(), &[]);
    feed(&served);
    let p01 = alert(&served, "P01");
    let person = Person::new(&served);

    assert_eq!(outcome(&person.ask("ack", json!({"alert": "A-000000000000-20260101T000000000Z"}))), "NOT_FOUND");
    assert_eq!(outcome(&person.ask("ack", json!({"alert": p01, "rev": 1}))), "STALE_REV");
    assert_eq!(outcome(&person.ask("ack", json!({"alert": p01, "expires": "2020-01-01T00:00:00Z"}))), "EXPIRED");
    assert_eq!(outcome(&person.ask("shelve", json!({"alert": p01, "minutes": 5, "reason": "x"}))), "FORBIDDEN", "it is high");
    assert_eq!(outcome(&person.ask("shelve", json!({"alert": p01, "minutes": 31, "reason": "x"}))), "BAD_REQUEST");
    assert_eq!(outcome(&person.ask("fly", json!({}))), "UNKNOWN_VERB");
    let acked = person.ask("ack", json!({"alert": p01, "comment": "a word that stays here"}));
    assert_eq!((outcome(&acked), &acked["alert_state"], &acked["alert"]), ("ok", &json!("acknowledged"), &json!(p01)));
    assert_eq!(person.ask("unack", json!({"alert": p01}))["alert_state"], "active");
    assert_eq!(outcome(&person.ask("comment", json!({"alert": p01, "comment": "so does this"}))), "ok");
    assert_eq!(outcome(&person.ask("rate", json!({"alert": p01, "useful": true}))), "ok");

    // At the bedside.
    let read = person.ask("spot-check", json!({"ward": "ICU", "bed": "B2", "values": {"hr": 131, "spo2": 84, "temp": 36.5}}));
    let agrees: Vec<_> = read["compared"].as_array().expect("rows").iter().map(|c| (&c["param"], &c["agrees"])).collect();
    assert_eq!(agrees, [(&json!("hr"), &json!(false)), (&json!("spo2"), &json!(false)), (&json!("temp"), &json!(null))]);
    let p15 = alert(&served, "P15");
    assert_eq!(person.ask("shelve", json!({"alert": p15, "minutes": 5, "reason": "physiotherapy"}))["alert_state"], "shelved");
    assert_eq!(person.ask("unshelve", json!({"alert": p15}))["alert_state"], "active");
    assert_eq!(outcome(&person.ask("bed-off", json!({"ward": "ICU", "bed": "B9", "off": true}))), "NOT_FOUND");
    assert_eq!(outcome(&person.ask("bed-off", json!({"ward": "ICU", "bed": "B2", "off": true}))), "ok");
    wait_for("the bed is off", || {
        person.heard(&format!("{BASE}/ward/ICU/bed/B2/state")).pop().filter(|state| state["trust"] == "off")
    });

    // The same request again: the same answer, nothing else.
    let before = events(&served).len();
    let again = json!({"request_id": "again", "alert": p01, "comment": "once"});
    person.say("comment", &again);
    person.say("comment", &again);
    let answers =
        wait_for("two answers", || Some(person.heard(&format!("{BASE}/rsp/local/again"))).filter(|answers| answers.len() == 2));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(events(&served).len(), before + 1);
    let anew = person.heard(&format!("{BASE}/sys/info")).len();
    assert_eq!(outcome(&person.ask("resync", json!({}))), "ok");
    wait_for("sys/info anew", || (person.heard(&format!("{BASE}/sys/info")).len() > anew).then_some(()));
    assert_eq!(outcome(&person.ask("resync", json!({"scope": "er"}))), "NOT_FOUND");

    let tested = person.ask("selftest", json!({}));
    let hops: Vec<_> = tested["hops"].as_array().expect("hops").iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert_eq!((outcome(&tested), hops), ("ok", vec!["mllp", "judged", "mqtt"]), "{tested}");
    assert!(!person.heard(&format!("{BASE}/ward/_site/bed/_selftest/state")).is_empty());

    // Under another name, and kept by the broker: neither reaches anybody.
    person.mqtt.say(&format!("{BASE}/cmd/nurse7/unack"), &json!({"request_id": "x1", "alert": p15}).to_string(), false);
    person.mqtt.say(&format!("{BASE}/cmd/local/ack"), &json!({"request_id": "x2", "alert": p15}).to_string(), true);
    // What people write is published nowhere.
    person.ask("selftest", json!({}));
    person.mqtt.with(|h| {
        let ours = h.messages.iter().filter(|m| !m.topic.contains("/cmd/"));
        assert!(ours.clone().all(|m| !m.topic.ends_with("/x1") && !m.topic.ends_with("/x2")));
        assert!(ours.clone().all(|m| !String::from_utf8_lossy(&m.payload).contains("stays here")));
    });

    // kill -9, and all is as it was.
    let live = events(&served);
    served.kill();
    let mut served = Served::start(data.path(), &[]);
    wait_for("readiness", || (served.get("/ready").0 == 200).then_some(()));
    let recovered = events(&served);
    assert_eq!(recovered[..live.len()], live[..], "nothing lost, nothing twice");
    assert!(served.terminate().success());
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["replay", "--alerts", "-", "--data"])
        .arg(data.path())
        .arg(data.path().join("journal"))
        .output()
        .expect("the binary was built by cargo");
    let replayed: Vec<String> =
        String::from_utf8(out.stdout).unwrap().lines().map(|l| comparable(serde_json::from_str(l).unwrap())).collect();
    let live: Vec<String> = recovered.into_iter().map(comparable).collect();
    let own = |line: &&String| !line.contains("\"S0");
    let live: Vec<_> = live.iter().filter(own).collect();
    for (n, (l, r)) in live.iter().zip(&replayed).enumerate() {
        assert_eq!(*l, r, "event {n}");
    }
    for word in ["acknowledged", "unacknowledged", "shelved", "unshelved"] {
        assert!(replayed.iter().any(|l| l.contains(&format!("\"event\":\"{word}\""))), "{word} in the replay");
    }
}

#[test]
fn an_alert_that_no_station_hears_is_told_of_where_one_was_there_before() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("vitalguard.toml");
    std::fs::write(&config, "[checks.no_station_listening]\nabsent_s = 1.5\n").unwrap();
    let served = Served::start(data.path(), &["--config", config.to_str().unwrap()]);
    let person = Person::new(&served);
    feed(&served);
    alert(&served, "P01");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let lonely =
        || events(&served).into_iter().filter(|e| e["alert"]["condition"] == "S04 no_station_listening").collect::<Vec<_>>();
    assert_eq!(lonely().len(), 0, "no station has ever announced itself");
    let now = jiff::Timestamp::now();
    let status = |state: &str| {
        let ts = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let document = json!({"schema": "station-status/1", "ts": ts, "ts_ms": now.as_millisecond(), "site": "main", "user": "local", "state": state});
        person.mqtt.say(&format!("{BASE}/station/local/status"), &document.to_string(), true);
    };
    status("online");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(lonely().len(), 0, "one is there");
    status("offline");
    let raised = wait_for("S04", || lonely().into_iter().next());
    assert_eq!(
        (&raised["event"], &raised["ward"], &raised["alert"]["priority"]),
        (&json!("raised"), &json!("_site"), &json!("medium"))
    );
    status("online");
    wait_for("its end", || lonely().into_iter().find(|e| e["event"] == "cleared"));
}
