//! The inventory as a site sees it: MQTT events, HTTP, the command line, and what is decided about an advisory.
#![cfg(feature = "broker")]

#[path = "support/client.rs"]
mod client;
mod common;

use common::{BPM, Client, HR, PR, Served, pcd01, wait_for};
use std::io::{Read, Write};
use std::process::{Command, Output};

const EUI: &str = "02C0FFFFFE000801";

fn vitals(application: &str, bed: &str, n: u64) -> Vec<u8> {
    let hr = (70 + n * 7 % 5).to_string();
    pcd01(application, "ICU", bed, &format!("{bed}-{n}"), &common::now_hl7(), &[(HR, &hr, BPM), (PR, &hr, BPM)])
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vitalguard")).args(arguments).output().expect("the binary was built by cargo")
}

fn told(arguments: &[&str]) -> String {
    let out = run(arguments);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn request(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap();
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[test]
fn a_named_device_is_seen_everywhere_and_what_is_decided_outlives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let mut served = Served::start(data.path(), &["--site", "hsp"]);
    let filters = ["vitalguard/v1/+/device/+/event"];
    let mqtt = client::Client::start(client::endpoint(served.mqtt.expect("embedded"), "devices", None), true, &filters, true);
    wait_for("the subscription", || mqtt.with(|heard| heard.subscribed).filter(|granted| *granted));
    let mut sender = Client::connect(served.mllp);
    for n in 0..12 {
        sender.ask(&vitals(&format!("CMS8000^{EUI}^EUI-64"), "B2", n)).unwrap();
        sender.ask(&vitals("GW", "B1", n)).unwrap();
    }

    // MQTT: two devices, two advisories, each as the schema has it.
    let events = wait_for("the events", || {
        let list: Vec<serde_json::Value> =
            mqtt.with(|heard| heard.messages.iter().filter_map(|m| serde_json::from_slice(&m.payload).ok()).collect());
        (list.len() >= 4).then_some(list)
    });
    let schema: serde_json::Value = serde_json::from_str(&served.get("/api/v1/schemas/device-event-1.json").1).unwrap();
    for event in &events {
        let mut found = Vec::new();
        common::validate(&schema, &schema, event, "device-event", &mut found);
        assert!(found.is_empty(), "{found:#?}\n{event}");
    }
    let advisory = events.iter().find(|e| e["advisory"]["id"] == "ICSMA-25-030-01").expect("told");
    assert_eq!(
        (&advisory["event"], &advisory["match"], &advisory["model"], &advisory["bed"]),
        (&"advisory".into(), &"exact".into(), &"CMS8000".into(), &"B2".into())
    );
    assert_eq!(advisory["advisory"]["title"], "Contec Health CMS8000 Patient Monitor (Update A)");
    assert_eq!((&advisory["advisory"]["published"], &advisory["advisory"]["status"]), (&"2025-01-30".into(), &"open".into()));
    let device = advisory["device"].as_str().unwrap().to_owned();

    // HTTP: list, pages, one.
    let (status, body) = served.get("/api/v1/devices");
    assert_eq!(status, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&list["data_date"], list["devices"].as_array().unwrap().len()), (&"2026-09-30".into(), 2));
    let first: serde_json::Value = serde_json::from_str(&served.get("/api/v1/devices?limit=1").1).unwrap();
    let second = served.get(&format!("/api/v1/devices?limit=1&cursor={}", first["cursor"].as_str().unwrap())).1;
    assert!(second.contains("dev-") && !second.contains("\"cursor\""), "{second}");
    assert_eq!(served.get("/api/v1/devices?limit=0").0, 400);
    assert_eq!(served.get("/api/v1/devices/dev-00000000").0, 404);
    let (status, one) = served.get(&format!("/api/v1/devices/{device}"));
    assert!(status == 200 && one.contains("\"match\":\"exact\""), "{one}");

    // The command line, of the running service and of its folder.
    let http = served.http.to_string();
    let table = told(&["devices", "--http", &http]);
    assert!(table.contains(&device) && table.contains("ICSMA-25-030-01"), "{table}");
    assert!(table.contains("no advisory known in the data of 2026-09-30"), "{table}");
    let lines = told(&["devices", "--data", folder, "--json"]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for text in [&body, &one, &table, &lines, &format!("{events:?}")] {
        assert!(!text.contains(EUI) && !text.contains("127.0.0.1\""), "{text}");
    }
    assert!(told(&["devices", "--data", folder, "--identified"]).contains(EUI));
    assert_eq!(run(&["devices", "--http", &http, "--identified"]).status.code(), Some(2));

    // A decision: refused for what is not there, durable for what is.
    let path = format!("/api/v1/devices/{device}/advisories");
    assert_eq!(request(served.http, "PATCH", &format!("{path}/ICSMA-99-001-01"), "{\"status\":\"open\"}").0, 404);
    assert_eq!(request(served.http, "PATCH", &format!("{path}/ICSMA-25-030-01"), "{\"status\":\"gone\"}").0, 400);
    let wish = "{\"status\":\"mitigated\",\"note\":\"off the network\"}";
    let (status, answer) = request(served.http, "PATCH", &format!("{path}/ICSMA-25-030-01"), wish);
    assert!(status == 200 && answer.contains("\"status\":\"mitigated\""), "{status} {answer}");
    let table = told(&["devices", "--http", &http, "--device", &device, "--set", "accepted", "--advisory", "ICSMA-22-244-01"]);
    assert!(table.contains("the site says: accepted") && table.contains("the site says: mitigated"), "{table}");
    served.kill();
    let served = Served::start(data.path(), &["--site", "hsp"]);
    let one = wait_for("the inventory after a kill", || {
        let (status, body) = served.get(&format!("/api/v1/devices/{device}"));
        (status == 200).then_some(body)
    });
    assert!(one.contains("mitigated") && one.contains("accepted") && !one.contains("\"open\""), "{one}");
    assert_eq!(one.matches("\"messages\":12").count(), 1, "{one}");
}

#[test]
fn a_typo_in_the_sites_file_stops_the_start_and_names_entry_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let (own, config) = (folder.path().join("own.toml"), folder.path().join("vitalguard.toml"));
    std::fs::write(&config, format!("[devices]\nadvisories = {own:?}\n")).unwrap();
    let entry = include_str!("../data/advisories.toml")
        .replace("ICSMA-25-030-01", "SITE-1")
        .split("\n[[advisory]]")
        .take(2)
        .collect::<Vec<_>>()
        .join("\n[[advisory]]");
    let config = config.to_str().unwrap();
    let check = |text: &str| {
        std::fs::write(&own, text).unwrap();
        let out = run(&["config", "check", "--config", config]);
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout))
    };
    let (code, text) = check(&entry);
    assert_eq!(code, Some(0), "{text}");
    let listed = told(&["advisories", "--config", config]);
    assert!(listed.starts_with("28 advisories") && listed.contains("SITE-1"), "{listed}");
    for (from, to, said) in [
        ("known_exploited", "known_exploitd", "advisory SITE-1: known_exploitd: unknown field"),
        ("date = \"2025-01-30\"", "date = \"2025-13-30\"", "advisory SITE-1: date: \"2025-13-30\" is no date"),
        ("cvss3 = 9.8", "cvss3 = 98", "advisory SITE-1: cves.0.cvss3: "),
        ("regex = '(?i)\\bcms", "regex = '(?i\\bcms", "advisory SITE-1: patterns.0.regex: "),
    ] {
        let wrong = entry.replacen(from, to, 1);
        assert_ne!(wrong, entry, "{from}");
        let (code, text) = check(&wrong);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(said) && text.contains("devices.advisories"), "{text}");
    }
}

#[test]
fn recorded_messages_give_the_same_inventory_and_the_doctor_says_the_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("yesterday.hl7");
    let mut text = Vec::new();
    for n in 0..5 {
        text.extend_from_slice(&vitals("CMS6000", "B2", n));
        text.push(b'\n');
    }
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (one, two) = (told(&["devices", file, "--json"]), told(&["devices", file, "--json"]));
    assert_eq!(one, two);
    let device: serde_json::Value = serde_json::from_str(one.trim()).unwrap();
    assert_eq!((&device["messages"], &device["advisories"][0]["match"]), (&5.into(), &"family".into()));
    let table = told(&["devices", file]);
    assert!(table.contains("same product family as in the advisory; model not known"), "{table}");
    let out = run(&[
        "doctor",
        "--no-message",
        "--data",
        folder.path().to_str().unwrap(),
        "--http",
        "127.0.0.1:0",
        "--mllp",
        "127.0.0.1:0",
    ]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("advisories    27 advisories, data of 2026-09-30"), "{text}");
}
