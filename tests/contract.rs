//! The outgoing contract: the frozen shapes, and every document of a running service in the eyes of others: `jsonschema`, the
//! parser of AsyncAPI, and the examples that verify signatures.

mod common;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vitalguard::shell::schemas::SCHEMAS;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One line for each member of each document: name, path, what it may be, whether it must be there.
fn shapes() -> BTreeSet<String> {
    fn walk(name: &str, path: &str, schema: &Value, root: &Value, depth: u8, out: &mut BTreeSet<String>) {
        if depth > 8 {
            return;
        }
        if let Some(target) = schema["$ref"].as_str() {
            let inner = root.pointer(target.trim_start_matches('#')).expect("a definition");
            return walk(name, path, inner, root, depth + 1, out);
        }
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (member, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{member}");
            let target = inner["$ref"].as_str().and_then(|t| root.pointer(t.trim_start_matches('#'))).unwrap_or(inner);
            let kind = match (&target["type"], &target["const"]) {
                (Value::Null, Value::Null) => "word".to_owned(),
                (Value::Null, constant) => constant.to_string(),
                (kind, _) => kind.to_string(),
            };
            let must = if required.contains(&member.as_str()) { "always" } else { "may" };
            out.insert(format!("{name}\t{path}\t{kind}\t{must}"));
            for word in target["enum"].as_array().into_iter().flatten() {
                out.insert(format!("{name}\t{path}\t= {word}\tmay"));
            }
            walk(name, &path, inner, root, depth + 1, out);
        }
        for (key, tail) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[key].is_object() {
                walk(name, &format!("{path}{tail}"), &schema[key], root, depth + 1, out);
            }
        }
    }
    let mut out = BTreeSet::new();
    for (name, text) in SCHEMAS {
        let schema: Value = serde_json::from_str(text).expect("a schema");
        walk(name, "", &schema, &schema, 0, &mut out);
    }
    out
}

/// Within version 1 only additions: nothing that a consumer may rely on goes or changes. `VG_TEST_BLESS` adds what is new.
#[test]
fn nothing_that_was_promised_is_taken_back() {
    let path = root().join("tests/expect/contract-1.tsv");
    let shapes = shapes();
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        let mut text = String::from("# document\tmember\twhat it may be\tpresent\n");
        for line in &shapes {
            text += &format!("{line}\n");
        }
        std::fs::write(&path, text).unwrap();
    }
    let promised = std::fs::read_to_string(&path).expect("the committed table");
    let promised: BTreeSet<String> = promised.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
    let gone: Vec<_> = promised.difference(&shapes).collect();
    assert!(gone.is_empty(), "promised in version 1 and gone: {gone:#?}");
    let new: Vec<_> = shapes.difference(&promised).collect();
    assert!(new.is_empty(), "new, to be promised by VG_TEST_BLESS=1: {new:#?}");
    assert!(promised.len() > 300, "{} lines", promised.len());
}

#[cfg(feature = "peers")]
mod peers {
    use super::common::{BPM, Client, HR, PERCENT, PR, SPO2, Served, Subscriber, now_hl7, pcd01, wait_for};
    use super::*;
    use serde_json::json;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use vitalguard::document::sign;

    const KEY: &str = "vitalguard-test-key-0123456789ab";
    const OTHER: &str = "the-key-of-last-year-0123456789abc";
    const BASE: &str = "vitalguard/v1/main";

    fn python() -> String {
        std::env::var("VG_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
    }

    /// Runs a program with this on its standard input: what it said, and whether it was content.
    fn judge(program: &str, arguments: &[&str], input: &str) -> (String, bool) {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error} (./test installs it)"));
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let out = child.wait_with_output().expect("it ends");
        let _ = writer.join();
        (String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr), out.status.success())
    }

    fn say(port: u16, topic: &str, payload: &[u8], more: &[&str]) {
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-s"])
            .args(more)
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed");
        child.stdin.take().expect("piped").write_all(payload).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn the_parser_of_asyncapi_accepts_our_document() {
        assert!(root().join("tests/clients/node_modules/@asyncapi").is_dir(), "npm ci was run in tests/clients (./test does)");
        let (script, file) = (root().join("tests/clients/asyncapi.mjs"), root().join("docs/asyncapi.json"));
        let (said, good) = judge("node", &[script.to_str().unwrap(), file.to_str().unwrap()], "");
        println!("{said}");
        assert!(good && said.contains("asyncapi 3.0.0"), "{said}");
        // And it does complain.
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.json");
        let text = std::fs::read_to_string(&file).unwrap().replacen("#/channels/heartbeat-1", "#/channels/nowhere", 1);
        std::fs::write(&broken, text).unwrap();
        assert!(!judge("node", &[script.to_str().unwrap(), broken.to_str().unwrap()], "").1);
    }

    /// A service that signs, with everything switched on and every command given: each message of it.
    fn captured(data: &Path) -> String {
        let (key, old) = (data.join("k1"), data.join("k0"));
        std::fs::write(&key, format!("{KEY}\n")).unwrap();
        std::fs::write(&old, OTHER).unwrap();
        let config = data.join("vitalguard.toml");
        let text = format!(
            "[mqtt]\nflat = true\n[mqtt.sign]\nid = \"k1\"\nkey_file = {key:?}\ncommands = \"required\"\n\
             [[mqtt.sign.also]]\nid = \"k0\"\nkey_file = {old:?}\n"
        );
        std::fs::write(&config, text).unwrap();
        let served = Served::start(&data.join("data"), &["--config", config.to_str().unwrap()]);
        let port = served.mqtt.expect("the embedded broker").port();
        let all = Subscriber::start(port, &["vitalguard/#"], &[]);
        wait_for("the birth", || all.payloads("sys/status").pop());
        let mut gateway = Client::connect(served.mllp);
        let mut message = |bed: &str, id: &str, n: u64| {
            let hr = 70 + (n * 7 % 5);
            let (hr, spo2) = (hr.to_string(), (96 + n % 3).to_string());
            let values = [(HR, hr.as_str(), BPM), (PR, hr.as_str(), BPM), (SPO2, spo2.as_str(), PERCENT)];
            gateway.ask(&pcd01("GW", "ICU", bed, id, &now_hl7(), &values)).expect("an answer");
        };
        for n in 0..60 {
            message("B1", &format!("a{n}"), n);
            message("B2", &format!("b{n}"), n);
        }
        message("B1", "a59", 1000);
        let raised = wait_for("an alert", || all.payloads("/event/high").pop());
        let alert = raised["alert"]["id"].as_str().unwrap().to_owned();
        let ask = |verb: &str, id: &str, mut members: Value, key: Option<(&str, &str)>| {
            members["request_id"] = json!(id);
            let document = members.to_string().into_bytes();
            let document = key.map_or(document.clone(), |(name, key)| sign(&document, name, key.as_bytes()).unwrap());
            say(port, &format!("{BASE}/cmd/local/{verb}"), &document, &[]);
            wait_for(id, || all.payloads(&format!("/rsp/local/{id}")).pop())
        };
        let good = Some(("k1", KEY));
        assert_eq!(ask("ack", "u1", json!({"alert": alert}), None)["code"], "FORBIDDEN", "not signed");
        assert_eq!(ask("ack", "u2", json!({"alert": alert}), Some(("k1", OTHER)))["code"], "FORBIDDEN", "by another key");
        assert_eq!(ask("ack", "u3", json!({"alert": alert}), Some(("k0", OTHER)))["status"], "ok", "by the key before");
        for (verb, members) in [
            ("unack", json!({"alert": alert})),
            ("comment", json!({"alert": alert, "comment": "seen, è così"})),
            ("rate", json!({"alert": alert, "useful": true})),
            ("spot-check", json!({"ward": "ICU", "bed": "B2", "values": {"hr": 140, "spo2": 80, "temp": 36.5}})),
            ("resync", json!({})),
            ("selftest", json!({})),
        ] {
            assert_eq!(ask(verb, verb, members, good)["status"], "ok", "{verb}");
        }
        let incident = |arguments: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vitalguard"));
            command.arg("incident").args(arguments).args(["--http", &served.http.to_string()]);
            assert!(command.output().expect("it runs").status.success(), "{arguments:?}");
        };
        incident(&["open", &alert]);
        let case = wait_for("a case", || all.payloads("case/").pop());
        incident(&["confirm", case["case"].as_str().unwrap(), "serious_incident", "--known-since", "now"]);
        wait_for("its clocks", || all.payloads("case/").into_iter().find(|case| case["clocks"] != json!([])));
        let low = wait_for("P15", || all.payloads("/bed/B2/event/medium").pop());
        let low = low["alert"]["id"].as_str().unwrap().to_owned();
        assert_eq!(ask("shelve", "shelve", json!({"alert": low, "minutes": 2, "reason": "x"}), good)["alert_state"], "shelved");
        assert_eq!(ask("unshelve", "unshelve", json!({"alert": low}), good)["alert_state"], "active");
        assert_eq!(ask("bed-off", "bed-off", json!({"ward": "ICU", "bed": "B2", "off": true}), good)["status"], "ok");
        let now = jiff::Timestamp::now();
        let ts = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let station = json!({"schema": "station-status/1", "ts": ts, "ts_ms": now.as_millisecond(), "site": "main", "user": "local",
            "state": "online", "page": "ward/ICU", "lang": "it", "sound": "off", "build": "dev"});
        say(port, &format!("{BASE}/station/local/status"), station.to_string().as_bytes(), &["-r"]);
        wait_for("a heartbeat", || all.payloads("sys/heartbeat").pop());
        wait_for("numbers", || all.payloads("/flat").pop());
        wait_for("the feed", || all.payloads("feed/").pop());
        wait_for("the station", || all.payloads("station/").pop());
        wait_for("a device", || all.payloads("device/").pop());
        std::thread::sleep(std::time::Duration::from_secs(1));
        // A late joiner: every retained document as a broker keeps it.
        let late = Subscriber::start(port, &["vitalguard/#"], &[]);
        wait_for("the retained set", || late.payloads("/ward/ICU/state").pop());
        std::thread::sleep(std::time::Duration::from_millis(500));
        let text = |s: &Subscriber| s.lines.lock().unwrap().iter().map(|(t, p)| format!("{t} {p}\n")).collect::<String>();
        let own = text(&all);
        drop(late);
        own
    }

    #[test]
    fn every_message_is_valid_and_signed_in_the_eyes_of_others() {
        let data = tempfile::tempdir().unwrap();
        let lines = captured(data.path());
        let (validate, docs) = (root().join("tests/contract/validate.py"), root().join("docs"));
        let (said, good) = judge(&python(), &[validate.to_str().unwrap(), docs.to_str().unwrap()], &lines);
        println!("{said}");
        assert!(good, "{said}");
        // Drafts are handed out over HTTP alone.
        for (name, _) in SCHEMAS.iter().filter(|(name, _)| *name != "draft-1") {
            // A retained command and a second part of a ward do not come up in a small house.
            assert!(said.lines().any(|l| l.starts_with(&format!("{name} "))), "no {name} in\n{said}");
        }
        // It does complain.
        let wrong = lines.replacen("\"trust\":", "\"thrust\":", 1);
        assert!(!judge(&python(), &[validate.to_str().unwrap(), docs.to_str().unwrap()], &wrong).1);

        let keys = [format!("k1={}", data.path().join("k1").display()), format!("k0={}", data.path().join("k0").display())];
        let signed: String = lines.lines().filter(|l| !l.contains("/cmd/")).map(|l| format!("{l}\n")).collect();
        for (program, script) in [(python(), "verify.py"), ("node".to_owned(), "verify.mjs")] {
            let script = root().join("docs/examples").join(script);
            let arguments = [script.to_str().unwrap(), &keys[0], &keys[1]];
            let (said, good) = judge(&program, &arguments, &signed);
            assert!(good, "{program}: {said}");
            let count: usize = said.split(' ').next().and_then(|n| n.trim().parse().ok()).expect("a count");
            assert!(count > 50, "{said}");
            // One byte of one document, and a document under another bed's topic.
            let (at, line) = signed.lines().enumerate().find(|(_, l)| l.contains("/ward/ICU/bed/B1/state ")).expect("a bed");
            let changed = |line: String| {
                let mut all: Vec<String> = signed.lines().map(str::to_owned).collect();
                all[at] = line;
                all.join("\n") + "\n"
            };
            for (what, forged) in [
                ("other bytes", changed(line.replacen("\"hr\"", "\"rr\"", 1))),
                ("bed is not", changed(line.replacen("/bed/B1/", "/bed/B3/", 1))),
                ("no signature", changed(line.rsplit_once(",\"sig\"").map(|(head, _)| format!("{head}}}")).unwrap())),
                ("older than", format!("{signed}{line}\n")),
            ] {
                let (said, good) = judge(&program, &arguments, &forged);
                assert!(!good && said.contains(what), "{program}: {what}: {said}");
            }
        }
    }
}
