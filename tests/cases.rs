//! Cases against the real program: opened, worked on, closed, exported, proven; and everything that can go wrong on the way.

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, Subscriber, now_hl7, program, text, wait_for};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use vitalguard::case::{Act, Case, Item, Step, Way};
use vitalguard::config::Config;
use vitalguard::observation::Source;
use vitalguard::shell::cases::bundle::{Export, Wish};
use vitalguard::shell::cases::check::{Misfit, verify_bytes};
use vitalguard::shell::cases::judge::{self, Judged, judge_all};
use vitalguard::shell::cases::{Cases, Place, Taken, bundle::VERIFIER, gather};
use vitalguard::shell::journal::{self, Journal, Looked, Now, Options, Reader, Record};
use vitalguard::shell::store::{AlertReader, Store};
use vitalguard::shell::vault::{Signer, Verifier};
use vitalguard::time::Timestamp;

/// Words that must not be in a masked bundle, a topic or a log.
const NAME: &str = "TOKENFAMILY";
const RECORD: &str = "TOKENRECORD";
const COMMENT: &str = "TOKENCOMMENT";

fn message(id: &str, at: &str, spo2: &str) -> Vec<u8> {
    format!(
        "MSH|^~\\&|MON^00A0370000000001^EUI-64|HOSP|VG|HOSP|{at}+0000||ORU^R01^ORU_R01|{id}|P|2.6|||AL|NE|||||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||{RECORD}^^^HOSP^MR||{NAME}^Ada||19500101|F\r\
         PV1||I|icu^^A01\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}+0000\r\
         OBX|1|NM|{HR}^MDC|1.1.1.147842|72|{BPM}^MDC|||||R|||{at}+0000\r\
         OBX|2|NM|{SPO2}^MDC|1.1.1.150456|{spo2}|{PERCENT}^MDC|||||R|||{at}+0000\r"
    )
    .into_bytes()
}

struct House {
    served: Served,
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl House {
    fn start() -> House {
        let folder = tempfile::tempdir().unwrap();
        let mut config = String::from("[episodes]\nannunciation_low_s = 0.0\nannunciation_medium_s = 0.0\n");
        for (name, role, wards) in [
            ("viewer", "viewer", "[]"),
            ("nurse", "nurse", "[]"),
            ("engineer", "engineer", "[]"),
            ("other", "engineer", "[]"),
            ("er", "engineer", "[\"er\"]"),
            ("icu", "engineer", "[\"icu\"]"),
        ] {
            let hash: String = Sha256::digest(name).iter().map(|b| format!("{b:02x}")).collect();
            config.push_str(&format!(
                "[[http.tokens]]\nname = \"t-{name}\"\nrole = \"{role}\"\nwards = {wards}\ntoken_sha256 = \"{hash}\"\n"
            ));
        }
        let file = folder.path().join("vitalguard.toml");
        std::fs::write(&file, config).unwrap();
        std::fs::write(folder.path().join("token"), "engineer\n").unwrap();
        let served = Served::start(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
        House { served, folder, config: file }
    }
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
    fn ask(&self, token: &str, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.served.http).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too large is refused before it has been read.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
        let status = text(&bytes[..end]).split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, bytes.split_off(end + 4))
    }
    fn json(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) =
            self.ask(token, method, path, if body.is_null() { String::new() } else { body.to_string() }.as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| text(&body).into()))
    }
    fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.json(token, "GET", path, &Value::Null)
    }
    fn step(&self, token: &str, case: &str, expect: Option<u32>, step: Value) -> (u16, Value) {
        self.json(token, "POST", &format!("/api/v1/cases/{case}/steps"), &json!({ "expect": expect, "step": step }))
    }
    /// An alert of bed A01, with a comment of a person on it.
    fn alert(&self) -> Value {
        let mut client = Client::connect(self.served.mllp);
        for n in 0..3 {
            client.ask(&message(&format!("M{n}"), &now_hl7(), "97")).unwrap();
        }
        let alert = wait_for("an alert", || {
            let at = now_hl7();
            client.ask(&message(&format!("H{at}"), &at, "250")).unwrap();
            Some(self.get("viewer", "/api/v1/alerts").1["alerts"][0].clone()).filter(Value::is_object)
        });
        let body = json!({ "request_id": "r1", "alert": alert["id"], "comment": COMMENT });
        let (status, answer) = self.json("nurse", "POST", "/api/v1/cmd/comment", &body);
        assert_eq!((status, &answer["status"]), (200, &"ok".into()), "{answer}");
        alert
    }
    fn open(&self, alert: &Value) -> String {
        let (status, answer) = self.json("engineer", "POST", "/api/v1/cases", &json!({ "alert": alert["id"] }));
        assert_eq!(status, 201, "{answer}");
        answer["case"]["id"].as_str().unwrap().to_owned()
    }
    fn bundle(&self, case: &str, identified: bool) -> Vec<u8> {
        let path = format!("/api/v1/cases/{case}/bundle?identified={}", u8::from(identified));
        wait_for("the bundle", || match self.ask("engineer", "GET", &path, b"") {
            (200, bytes) => Some(bytes),
            (202, _) => None,
            (status, body) => panic!("{status}: {}", text(&body)),
        })
    }
    fn http(&self) -> String {
        self.served.http.to_string()
    }
}

fn unpacked(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..archive.len())
        .map(|n| {
            let mut file = archive.by_index(n).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        })
        .collect()
}

/// A zip of these files, sealed as ours are.
fn packed(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.set_comment("0".repeat(64)).unwrap();
    let mut bytes = zip.finish().unwrap().into_inner();
    let body = bytes.len() - 64;
    let seal: String = Sha256::digest(&bytes[..body]).iter().map(|b| format!("{b:02x}")).collect();
    bytes[body..].copy_from_slice(seal.as_bytes());
    bytes
}

fn python(folder: &Path, bundle: &[u8], key: Option<&Path>) -> (bool, String) {
    let (script, file) = (folder.join("verify.py"), folder.join("under-test.zip"));
    std::fs::write(&script, VERIFIER).unwrap();
    std::fs::write(&file, bundle).unwrap();
    let mut command = Command::new("python3");
    command.arg(script).arg(file).args(key);
    let out = command.output().expect("python3 is there");
    (out.status.success(), text(&out.stdout) + &text(&out.stderr))
}

#[test]
fn a_case_gathers_what_belongs_to_its_alert_and_leaves_as_a_bundle_that_proves_itself() {
    let mut house = House::start();
    let alert = house.alert();
    let id = alert["id"].as_str().unwrap();
    let ack = json!({ "request_id": "r2", "alert": id, "comment": COMMENT });
    assert_eq!(house.json("nurse", "POST", "/api/v1/cmd/ack", &ack).1["status"], "ok");
    assert_eq!(house.get("viewer", "/api/v1/cases").0, 403);
    assert_eq!(house.json("nurse", "POST", "/api/v1/cases", &json!({ "alert": id })).0, 403, "nurses read");
    // By its short reference.
    let (status, answer) = house.json("engineer", "POST", "/api/v1/cases", &json!({ "alert": alert["ref"] }));
    assert_eq!(status, 201, "{answer}");
    let case = answer["case"]["id"].as_str().unwrap().to_owned();
    let words: Vec<&str> = answer["case"]["items"].as_array().unwrap().iter().filter_map(|i| i["item"].as_str()).collect();
    for word in ["alert", "messages", "range", "action", "device"] {
        assert!(words.contains(&word), "{word}: {answer}");
    }
    assert_eq!(answer["clocks"], json!([]), "no clock without a person");
    let (now, items) = (Timestamp::from_ms(jiff::Timestamp::now().as_millisecond()), answer["case"]["items"].as_array().unwrap());
    let to = items.iter().find_map(|item| item["to"].as_str()).unwrap();
    assert!(to <= now.to_string().as_str(), "{to}: what has not come yet is not said to be gathered");
    let hold = std::fs::read_to_string(house.data().join(format!("journal/hold-case-{case}"))).expect("what it needs is held");
    assert!(hold.split_whitespace().take(2).all(|number| number.parse::<u64>().is_ok()), "{hold}");
    assert_eq!(house.get("er", &format!("/api/v1/cases/{case}")).0, 404, "of a ward that is not its own");

    // A person confirms: clocks run, on HTTP and on MQTT's document, without a word of anybody.
    let note = json!({ "step": "note", "text": format!("{NAME} was looked at") });
    assert_eq!(house.step("engineer", &case, None, note).0, 200);
    let since = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond() - 60_000).to_string();
    let confirm = json!({ "step": "confirm", "kind": "nis_is2", "known_since": since });
    let (status, answer) = house.step("engineer", &case, None, confirm);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["clocks"].as_array().unwrap().len(), 3, "{answer}");
    assert!(answer["clocks"][0]["left_ms"].as_i64().unwrap() < 86_400_000 && answer["clocks"][0]["source"]["en"].is_string());
    let topic = format!("case/{case}/status");
    let told = wait_for("the case on MQTT", || {
        let state = house.get("nurse", "/api/v1/state").1;
        let found = state["documents"].as_array()?.iter().find(|d| d["topic"] == topic.as_str())?["payload"].clone();
        (found["clocks"].as_array()?.len() == 3).then_some(found)
    });
    assert_eq!((&told["schema"], &told["beds"]), (&"case-status/1".into(), &json!(["icu/A01"])));
    assert!(!told.to_string().contains("TOKEN") && !told.to_string().contains("looked at"), "{told}");
    assert!(!house.get("viewer", "/api/v1/state").1.to_string().contains(&case), "a viewer does not hear of it");
    let signer = house.get("viewer", "/api/v1/about").1["signer"].clone();
    assert_eq!(signer["name"], "vitalguard/main");
    let public = house.data().join(format!("journal/key-{}.pem", signer["key"].as_str().unwrap()));
    assert!(public.exists(), "the key that is named is the one that signs: {signer}");
    for (token, heard) in [("engineer", true), ("nurse", true), ("viewer", false), ("icu", false)] {
        assert_eq!(house.get(token, "/api/v1/session").1["case_events"], heard, "{token}");
    }

    // Masked by default; what is identified is so by an explicit wish, and both are steps with their digests.
    let masked = house.bundle(&case, false);
    let identified = house.bundle(&case, true);
    assert_eq!(house.ask("nurse", "GET", &format!("/api/v1/cases/{case}/bundle"), b"").0, 403);
    let all = |bytes: &[u8]| unpacked(bytes).into_values().map(|content| text(&content)).collect::<String>();
    for word in [NAME, RECORD, COMMENT] {
        assert!(!all(&masked).contains(word), "{word}");
        assert!(all(&identified).contains(word), "{word}");
    }
    let steps = house.get("nurse", &format!("/api/v1/cases/{case}")).1["steps"].clone();
    let exports: Vec<&Value> = steps.as_array().unwrap().iter().map(|s| &s["step"]).filter(|s| s["step"] == "export").collect();
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        exports.iter().map(|s| s["sha256"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        [digest(&masked), digest(&identified)]
    );
    assert_eq!(exports.iter().map(|s| s["identified"] == true).collect::<Vec<_>>(), [false, true]);
    let files = unpacked(&masked);
    for name in [format!("explain/{id}.json"), format!("explain/{id}.txt"), "drafts/ministry-it.html".into(), "README.txt".into()]
    {
        assert!(files.contains_key(&name), "{name}: {:?}", files.keys());
    }
    assert!(!text(&files["config.toml"]).contains(&digest(b"engineer")), "secrets are left out");

    // Proven natively and by anyone with Python and openssl, with the site's key as well.
    for bundle in [&masked, &identified] {
        let verified = verify_bytes(bundle, None).expect("it fits");
        assert!(verified.links > 5 && verified.manifest.chain.as_ref().is_some_and(|chain| chain.complete));
        let (fits, said) = python(house.folder.path(), bundle, None);
        assert!(fits && said.starts_with("FITS"), "{said}");
        judged_again(&verified.judged, bundle, id);
    }
    let key = house.folder.path().join("site.pem");
    std::fs::write(&key, &files["key.pem"]).unwrap();
    let path = house.folder.path().join("case.zip");
    std::fs::write(&path, &masked).unwrap();
    let proven = program(&["verify", path.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    assert!(proven.status.success() && text(&proven.stdout).contains("proven"), "{}", text(&proven.stdout));
    assert!(text(&proven.stdout).contains(&format!("judged        {id} reproduced")), "{}", text(&proven.stdout));

    // A draft, and the chain of the journal has every step.
    let (status, draft) =
        house.ask("engineer", "GET", &format!("/api/v1/cases/{case}/drafts/ministry-it?lang=it&format=html"), b"");
    assert_eq!(status, 200);
    assert!(text(&draft).contains("BOZZA") && text(&draft).contains("da completare"), "{}", text(&draft));
    let log = house.served.log.lock().unwrap().clone();
    assert!(!log.contains("TOKEN"), "{log}");
    assert!(house.served.terminate().success());
    let records = Reader::open(&house.data().join("journal"), 0).unwrap();
    let words: Vec<&str> = records
        .filter_map(|entry| match entry.expect("an unbroken chain").stamped.record {
            Record::Case(act) => Some(act.step.word()),
            _ => None,
        })
        .collect();
    assert_eq!((words[0], words.iter().filter(|word| **word == "export").count()), ("open", 2), "{words:?}");
}

#[test]
fn an_alert_of_a_later_run_is_judged_again_from_the_state_of_its_bed() {
    let mut house = House::start();
    let mut client = Client::connect(house.served.mllp);
    for n in 0..3 {
        client.ask(&message(&format!("S{n}"), &now_hl7(), &format!("{}", 96 + n))).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1_100));
    }
    assert_eq!(house.get("viewer", "/api/v1/alerts").1["alerts"], json!([]), "nothing to tell in the first run");
    drop(client);
    assert!(house.served.terminate().success());
    house.served = Served::start(&house.data(), &["--config", house.config.to_str().unwrap()]);
    let alert = house.alert();
    let id = alert["id"].as_str().unwrap();
    let case = house.open(&alert);
    let bundle = house.bundle(&case, false);
    let files = unpacked(&bundle);
    let state = &files[&format!("judge/{id}/state.bin")];
    assert!(state.len() > 1_000 && text(state).contains("A01"), "{} bytes", state.len());
    let all = files.into_values().map(|content| text(&content)).collect::<String>();
    assert!([NAME, RECORD, COMMENT, "00A0370000000001"].iter().all(|word| !all.contains(word)));
    let judged = verify_bytes(&bundle, None).unwrap().judged;
    assert!(matches!(&judged[..], [(_, Judged::Reproduced { events, of })] if events == of && *of > 0), "{judged:?}");
}

#[test]
fn a_case_that_was_closed_a_day_ago_leaves_mqtt() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("journal")).unwrap();
    // Written a day ago but for some seconds, by a clock that stood there.
    let then = jiff::Timestamp::now().as_millisecond() - 86_400_000 + 25_000;
    let mut options = Options::new(&Config::default().journal, "boot");
    options.clock = std::sync::Arc::new(move || Now { wall_ms: then, mono_ns: 0 });
    let (journal, feed) = Journal::open(&data.join("journal"), options).unwrap();
    std::thread::spawn(move || for _ in feed {});
    let id = Case::id_of(Timestamp::from_ms(then), 7);
    let steps = [
        Step::Open { title: "a case".into(), alert: None },
        Step::Close { reason: "done".into(), keep_until: Some(Timestamp::from_ms(then + 40 * 86_400_000)) },
    ];
    journal.handle().submit_blocking(Record::Start { boot: "boot".into(), applied_until: Timestamp::MIN }).unwrap();
    for step in steps {
        let act = Act { id: "x".into(), case: id.clone(), expect: None, user: "eng".into(), via: Way::Cli, step };
        journal.handle().submit_blocking(Record::Case(Box::new(act))).unwrap();
    }
    journal.close();
    let served = Served::start(&data, &[]);
    let all = Subscriber::start(served.mqtt.unwrap().port(), &["vitalguard/v1/+/case/#"], &[]);
    let document = wait_for("its document", || all.payloads("case/").pop());
    assert!(document["state"] == "closed" && document["closed_at"].is_string(), "{document}");
    let ended = || all.lines.lock().unwrap().iter().any(|(topic, payload)| topic.contains(&id) && payload == "(null)");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(150);
    while !ended() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(ended(), "{:?}", all.lines.lock().unwrap());
    assert!(jiff::Timestamp::now().as_millisecond() >= then + 86_400_000, "not before the day is over");
    // Who comes later hears nothing of it; the case itself stays.
    let later = Subscriber::start(served.mqtt.unwrap().port(), &["vitalguard/v1/+/case/#", "vitalguard/v1/+/sys/#"], &[]);
    wait_for("what is retained", || later.payloads("sys/").pop());
    assert!(later.payloads("case/").is_empty());
    let list: Value = serde_json::from_str(&served.get("/api/v1/cases").1).unwrap();
    assert!(list.to_string().contains(&id), "{list}");
    let state: Value = serde_json::from_str(&served.get("/api/v1/state").1).unwrap();
    let topics = state["documents"].as_array().unwrap().iter().filter_map(|document| document["topic"].as_str());
    assert!(topics.clone().count() > 0 && topics.filter(|topic| topic.starts_with("case/")).count() == 0, "{state}");
}

type Files = BTreeMap<String, Vec<u8>>;

/// The bundle's own judgement, and what becomes of it where something in it was changed.
fn judged_again(judged: &[(String, Judged)], bundle: &[u8], alert: &str) {
    let [(id, Judged::Reproduced { events, of })] = judged else { panic!("{judged:?}") };
    assert!(id == alert && events == of && *events >= 2, "{judged:?}");
    let files = unpacked(bundle);
    let with = |change: &dyn Fn(&mut Files)| {
        let mut changed = files.clone();
        change(&mut changed);
        judge_all(&changed.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect()).remove(0).1
    };
    let mut list: Value = serde_json::from_slice(&files["alerts.json"]).unwrap();
    list["alerts"][0]["events"][1]["alert"]["confidence"] = 0.123.into();
    let list = list.to_string().into_bytes();
    let Judged::Differs { event: 2, what } = with(&|files| drop(files.insert("alerts.json".into(), list.clone()))) else {
        panic!("a forged number is not found")
    };
    assert!(what.starts_with("alert.confidence: published 0.123, derived "), "{what}");
    let mut list: Value = serde_json::from_slice(&files["alerts.json"]).unwrap();
    list["alerts"][0]["alert"]["confidence"] = 0.123.into();
    let list = list.to_string().into_bytes();
    let forged = with(&|files| drop(files.insert("alerts.json".into(), list.clone())));
    assert!(
        matches!(&forged, Judged::Differs { what, .. } if what.starts_with("the alert as it became: confidence: published 0.123")),
        "{forged:?}"
    );
    let place = |name: &str| format!("judge/{alert}/{name}");
    for (what, name) in [("read", place("state.bin")), ("read", place("inputs.bin")), ("settings", judge::SETTINGS.into())] {
        let without = with(&|files| drop(files.remove(&name)));
        assert!(matches!(&without, Judged::Not { why } if why.contains("not in the bundle")), "{name}: {without:?}");
        let cut = with(&|files| files.get_mut(&name).unwrap().truncate(20));
        assert!(matches!(&cut, Judged::Not { why } if why.contains(what)), "{name}: {cut:?}");
        // Whatever stands there, it ends.
        let length = files[&name].len();
        for at in (0..length).step_by(length / 12 + 1) {
            with(&|files| files.get_mut(&name).unwrap()[at] ^= 0x55);
        }
    }
    let other = |files: &mut Files| {
        let text = text(&files[judge::SETTINGS]).replacen("agree_s = ", "agree_s = 1", 1);
        files.insert(judge::SETTINGS.into(), text.into_bytes());
    };
    let another = with(&other);
    assert!(matches!(&another, Judged::Not { why } if why.contains("another version decides here")), "{another:?}");
}

#[test]
fn what_cannot_be_done_says_why_and_changes_nothing() {
    let house = House::start();
    let alert = house.alert();
    let case = house.open(&alert);
    let version = |case: &str| house.get("nurse", &format!("/api/v1/cases/{case}")).1["case"]["version"].as_u64().unwrap() as u32;
    let none = "C-20260107T030405678Z-00ff";
    assert_eq!(house.get("nurse", &format!("/api/v1/cases/{none}")).0, 404);
    assert_eq!(house.step("engineer", none, None, json!({ "step": "note", "text": "x" })).0, 404);
    assert_eq!(house.get("nurse", "/api/v1/cases/C-1").0, 400);
    let (status, lost) =
        house.json("engineer", "POST", "/api/v1/cases", &json!({ "alert": "A-000000000000-20260107T030405678Z" }));
    assert_eq!(status, 404);
    assert!(lost["detail"].as_str().unwrap().contains("retention has taken it"), "{lost}");
    let long = "x".repeat(4_001);
    let future = "2999-01-01T00:00:00Z";
    for (step, what) in [
        (json!({ "step": "note", "text": long }), "too long"),
        (json!({ "step": "note", "text": "x", "more": 1 }), "step"),
        (json!({ "step": "export", "bundle": "x", "identified": false, "sha256": "0" }), "no step of this kind"),
        (json!({ "step": "open", "title": "x" }), "no step of this kind"),
        (json!({ "step": "set", "field": "device.nonsense", "value": "x" }), "no field"),
        (json!({ "step": "set", "field": "event.date", "value": "yesterday" }), "YYYY-MM-DD"),
        (json!({ "step": "confirm", "kind": "disaster", "known_since": "2026-01-01T00:00:00Z" }), "serious_incident"),
        (json!({ "step": "confirm", "kind": "nis_is1", "known_since": future }), "future"),
        (json!({ "step": "filed", "form": "letter", "reference": "1" }), "ministry-it"),
        (
            json!({ "step": "add", "item": { "item": "range", "ward": "icu", "bed": "A01", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" } }),
            "",
        ),
        (json!({ "step": "add", "item": { "item": "device", "id": "dev-none" } }), "no device"),
        (json!({ "step": "add", "item": { "item": "messages", "raw": ["mllp.99999"] } }), "no message"),
        (json!({ "step": "add", "item": { "item": "action", "sequence": 1 } }), "no command"),
    ] {
        let (status, answer) = house.step("engineer", &case, None, step.clone());
        assert!(matches!(status, 400 | 404), "{step}: {status} {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(what), "{step}: {answer}");
    }
    for (name, status, code) in [("w.pcap", 200, None), ("w.pcap", 409, Some("KNOWN")), (".w.pcap", 400, Some("BAD_REQUEST"))] {
        let (is, answer) = house.ask("engineer", "PUT", &format!("/api/v1/cases/{case}/captures/{name}"), b"invented");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((is, answer["code"].as_str()), (status, code), "{name}: {answer}");
    }
    // The answer to a command names its record, and a case takes it by that.
    let check = json!({ "request_id": "r-spot", "ward": "icu", "bed": "A01", "values": { "hr": 72 } });
    let (_, answer) = house.json("nurse", "POST", "/api/v1/cmd/spot-check", &check);
    let spot = json!({ "step": "add", "item": { "item": "spot_check", "sequence": answer["record"] } });
    let (status, answer) = house.step("engineer", &case, None, spot);
    assert!(status == 200 && answer["case"]["items"].to_string().contains("spot_check"), "{answer}");
    let before = version(&case);
    let huge = vec![b'x'; 70 << 10];
    assert_eq!(house.ask("engineer", "POST", &format!("/api/v1/cases/{case}/steps"), &huge).0, 400, "the body's bound");
    assert_eq!(version(&case), before);

    // An alert that is there already brings nothing with it, and nothing is done by halves.
    let again = json!({ "step": "add", "item": { "item": "alert", "id": alert["ref"] } });
    let (status, answer) = house.step("engineer", &case, None, again);
    assert!(status == 409 && answer["detail"].as_str().unwrap().contains("stands in the case already"), "{answer}");
    assert_eq!(version(&case), before);

    // Two people close: the second is told who was first, and when. Who has seen an older version is told so.
    let close = |token, expect| house.step(token, &case, expect, json!({ "step": "close", "reason": "nothing found" }));
    assert_eq!(house.step("engineer", &case, Some(before - 1), json!({ "step": "note", "text": "x" })).0, 409);
    let (first, _) = close("engineer", Some(before));
    let (second, told) = close("other", Some(before));
    assert_eq!((first, second), (200, 409));
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.starts_with("the case was closed by t-engineer at 20"), "{detail}");
    // Closed, it takes no evidence; reopened, it does, and the hold is back.
    let hold = house.data().join(format!("journal/hold-case-{case}"));
    let add = json!({ "step": "add", "item": { "item": "alert", "id": alert["id"] } });
    assert_eq!(house.step("engineer", &case, None, add).0, 409);
    assert!(hold.exists(), "kept a year");
    assert_eq!(house.step("engineer", &case, None, json!({ "step": "release", "reason": "handed over" })).0, 200);
    assert!(!hold.exists(), "let go by a person");
    assert_eq!(house.step("engineer", &case, None, json!({ "step": "reopen", "reason": "again" })).0, 200);
    assert!(hold.exists());

    // The folder of the service is not written by another, and a bundle that cannot be written leaves the case as it is.
    let data = house.data();
    let config = house.config.to_str().unwrap();
    let refused = program(&["incident", "note", &case, "x", "--config", config, "--data", data.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--http"), "{}", text(&refused.stderr));
    let before = version(&case);
    std::fs::remove_dir_all(data.join("cases")).unwrap();
    std::fs::write(data.join("cases"), "in the way").unwrap();
    let (status, answer) = wait_for("the refusal", || {
        Some(house.get("engineer", &format!("/api/v1/cases/{case}/bundle"))).filter(|(status, _)| *status != 202)
    });
    assert!(matches!(status, 503 | 507), "{status} {answer}");
    assert!(answer["detail"].as_str().unwrap().contains("the case is as it was"), "{answer}");
    assert_eq!(version(&case), before);

    // The same by the command line, in words.
    let token = house.folder.path().join("token");
    let asked = ["incident", "close", &case, "--reason", "x", "--http", &house.http(), "--token-file", token.to_str().unwrap()];
    assert!(program(&asked).status.success());
    let again = program(&asked);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("was closed by t-engineer at"), "{}", text(&again.stderr));
}

#[test]
fn a_folder_at_rest_is_worked_on_without_the_service_which_then_goes_on_with_it() {
    let mut house = House::start();
    let alert = house.alert();
    let id = alert["id"].as_str().unwrap().to_owned();
    assert!(house.served.terminate().success());
    let data = house.data();
    let (data_arg, config) = (data.to_str().unwrap().to_owned(), house.config.to_str().unwrap().to_owned());
    let run = |more: &[&str]| {
        let out = program(&[&["incident"], more, &["--config", &config, "--data", &data_arg]].concat());
        assert!(out.status.success(), "{more:?}: {}", text(&out.stderr));
        text(&out.stdout)
    };
    let opened: Value = serde_json::from_str(&run(&["open", &id, "--json"])).unwrap();
    let case = opened["case"]["id"].as_str().unwrap().to_owned();
    let capture = house.folder.path().join("ward.pcap");
    std::fs::write(&capture, b"captured bytes").unwrap();
    run(&["add", &case, "--capture", capture.to_str().unwrap()]);
    run(&["confirm", &case, "serious_incident", "--known-since", "now"]);
    let listed = run(&["list"]);
    assert!(listed.contains("it-serious-10d") && listed.contains("left") && listed.contains("DM"), "{listed}");
    let bundle = house.folder.path().join("id.zip");
    run(&["export", &case, "--identified", "-o", bundle.to_str().unwrap()]);
    // What is refused stands in the journal, too, and stays refused.
    run(&["close", &case, "--reason", "done"]);
    let again = program(&["incident", "close", &case, "--reason", "again", "--config", &config, "--data", &data_arg]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    run(&["reopen", &case, "--reason", "not done"]);
    let bytes = std::fs::read(&bundle).unwrap();
    assert_eq!(unpacked(&bytes)["captures/ward.pcap"], b"captured bytes");
    assert!(verify_bytes(&bytes, None).is_ok());

    // The disk is full in the middle of an export: nothing half-written stays, and the case is as it was.
    let out = house.folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let target = out.join("full.zip");
    let shown = |case: &str| -> Value { serde_json::from_str(&run(&["show", case, "--json"])).unwrap() };
    // A small segment, so that the bundle is what does not fit.
    let small = house.folder.path().join("small.toml");
    std::fs::write(&small, std::fs::read_to_string(&house.config).unwrap() + "[journal]\nsegment_bytes = 1048576\n").unwrap();
    let large = house.folder.path().join("large.pcap");
    let noise: Vec<u8> = (0..100_000_u32).flat_map(|n| <[u8; 32]>::from(Sha256::digest(n.to_le_bytes()))).collect();
    std::fs::write(&large, &noise).unwrap();
    run(&["add", &case, "--capture", large.to_str().unwrap()]);
    let before = shown(&case)["case"]["version"].clone();
    let script = format!(
        "trap '' XFSZ; ulimit -f 4096; exec {} incident export {case} --identified --config {} --data {data_arg} -o {}",
        env!("CARGO_BIN_EXE_vitalguard"),
        small.display(),
        target.display()
    );
    let full = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(!full.status.success());
    assert!(text(&full.stderr).contains("the disk is full, or a limit of file sizes was reached"), "{}", text(&full.stderr));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{}", text(&full.stderr));
    assert_eq!(shown(&case)["case"]["version"], before, "{}", text(&full.stderr));

    // The service goes on: it reads the same steps from the journal and takes none of them twice.
    let version = before.as_u64().unwrap();
    let left = [data.join("cases/.export-abc"), data.join("cases").join(&case).join(".capture-abc")];
    for file in &left {
        std::fs::write(file, "of a crash").unwrap();
    }
    house.served = Served::start(&data, &["--config", &config]);
    let seen = house.get("nurse", &format!("/api/v1/cases/{case}")).1;
    assert_eq!(
        (seen["case"]["version"].as_u64(), seen["steps"].as_array().map(Vec::len)),
        (Some(version), Some(version as usize))
    );
    assert!(left.iter().all(|file| !file.exists()), "what a crash left half-made is gone");
    // Who did what on the folder stands in the audit, refused steps among it, each once.
    let audited = wait_for("the audit", || {
        let rows = house.get("engineer", "/api/v1/audit?limit=1000").1["audit"].as_array()?.clone();
        let line = |row: &Value| (text_of(row, "action"), text_of(row, "via"), text_of(row, "result"));
        let lines: Vec<_> = rows.iter().filter(|row| row["object"] == case.as_str()).map(line).collect();
        (!lines.is_empty()).then_some(lines)
    });
    for (action, result, times) in [
        ("case-open", "ok", 1),
        ("case-export", "ok", 1),
        ("case-close", "ok", 1),
        ("case-close", "refused", 1),
        ("case-reopen", "ok", 1),
    ] {
        let wanted = (action.to_owned(), "cli".to_owned(), result.to_owned());
        assert_eq!(audited.iter().filter(|line| **line == wanted).count(), times, "{action} {result}: {audited:?}");
    }
    let (status, after) = house.step("engineer", &case, Some(version as u32), json!({ "step": "note", "text": "x" }));
    assert_eq!((status, after["case"]["version"].as_u64()), (200, Some(version + 1)), "{after}");
}

fn text_of(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn who_is_bound_to_a_ward_adds_its_alerts_with_what_belongs_to_them_and_no_others() {
    let house = House::start();
    let own = house.alert();
    let mut client = Client::connect(house.served.mllp);
    let mut raise = |bed: &str, name: &str| {
        let of_bed = |id: &str, at: &str, value: &str| {
            text(&message(id, at, value)).replace("icu^^A01", bed).replace("00A0370000000001", name).into_bytes()
        };
        for n in 0..3 {
            client.ask(&of_bed(&format!("{name}-{n}"), &now_hl7(), "97")).unwrap();
        }
        wait_for("an alert of the bed", || {
            let at = now_hl7();
            client.ask(&of_bed(&format!("{name}-{at}"), &at, "250")).unwrap();
            let list = house.get("engineer", "/api/v1/alerts").1["alerts"].as_array()?.clone();
            let place = |alert: &Value| format!("{}^^{}", text_of(alert, "ward"), text_of(alert, "bed"));
            list.into_iter().find(|alert| place(alert) == bed)
        })
    };
    let (same, other) = (raise("icu^^A02", "00A0370000000002"), raise("er^^E01", "00A0370000000003"));
    let (status, answer) = house.json("icu", "POST", "/api/v1/cases", &json!({ "alert": own["id"] }));
    assert_eq!(status, 201, "{answer}");
    let case = answer["case"]["id"].as_str().unwrap().to_owned();
    let add = |alert: &Value| json!({ "step": "add", "item": { "item": "alert", "id": alert["id"] } });
    let (status, answer) = house.step("icu", &case, None, add(&same));
    assert_eq!(status, 200, "{answer}");
    let items = answer["case"]["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["item"] == "range" && item["bed"] == "A02"), "{answer}");
    assert!(items.iter().any(|item| item["item"] == "messages" && item["number"].as_u64() > Some(1)), "{answer}");
    let version = answer["case"]["version"].as_u64();
    assert_eq!(house.step("icu", &case, None, add(&other)).0, 404, "of another ward");
    let device = json!({ "step": "add", "item": { "item": "device", "id": "dev-x" } });
    assert_eq!(house.step("icu", &case, None, device).0, 404);
    assert_eq!(house.get("icu", &format!("/api/v1/cases/{case}")).1["case"]["version"].as_u64(), version);

    // Who may not add a capture is told so before its bytes are taken.
    let mut stream = TcpStream::connect(house.served.http).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let head = format!(
        "PUT /api/v1/cases/{case}/captures/w.pcap HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer nurse\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 60000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer without the body");
    assert_eq!(text(&answer), "HTTP/1.1 403");
}

/// A journal, a store and a case without a service: what a bundle is made from.
struct Bench {
    folder: tempfile::TempDir,
    config: Config,
    signer: Signer,
    case: Case,
}

impl Bench {
    /// `wall_ms`: what the wall clock says for each group of records.
    fn new(wall_ms: &[i64], items: &[Item]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let journal_folder = folder.path().join("journal");
        std::fs::create_dir(&journal_folder).unwrap();
        let config = Config { data: folder.path().to_owned(), ..Config::default() };
        let signer = Signer::open_or_create(&folder.path().join("evidence.pem")).unwrap();
        let mut options = Options::new(&config.journal, "boot");
        options.segment_bytes = 64 << 10;
        options.signer = Some(std::sync::Arc::new(Signer::open(&folder.path().join("evidence.pem")).unwrap()));
        let (clock, steps) = (std::sync::Arc::new(std::sync::atomic::AtomicI64::new(wall_ms[0])), wall_ms.to_vec());
        let read = std::sync::Arc::clone(&clock);
        options.clock = std::sync::Arc::new(move || Now { wall_ms: read.load(std::sync::atomic::Ordering::SeqCst), mono_ns: 0 });
        let (journal, feed) = Journal::open(&journal_folder, options).unwrap();
        std::thread::spawn(move || for _ in feed {});
        let source =
            Source { feed: "mllp".into(), peer: "127.0.0.1".into(), connection: 1, ward: "icu".into(), ..Source::default() };
        let mut store = Store::open(&folder.path().join("store.sqlite"), 100).unwrap();
        let mut cases = Cases::default();
        let id = "C-20260107T030405678Z-00ff";
        let act = |step| Act { id: "x".into(), case: id.into(), expect: None, user: "eng".into(), via: Way::Cli, step };
        let mut acts = vec![act(Step::Open { title: "a case".into(), alert: None })];
        acts.extend(items.iter().map(|item| act(Step::Add { item: item.clone() })));
        let handle = journal.handle();
        let mut case = None;
        for (n, wall) in steps.iter().enumerate() {
            clock.store(*wall, std::sync::atomic::Ordering::SeqCst);
            let at = jiff::Timestamp::from_millisecond(*wall).unwrap().strftime("%Y%m%d%H%M%S").to_string();
            let payload = message(&format!("B{n}"), &at, "97");
            handle.submit_blocking(Record::Frame { source: source.clone(), payload }).unwrap();
            if n == 20 {
                handle.checkpoint().unwrap();
            }
            if n == steps.len() / 2 {
                for act in &acts {
                    let sequence = handle.submit_blocking(Record::Case(Box::new(act.clone()))).unwrap();
                    let stamped = journal::read_one(&journal_folder, sequence).unwrap().unwrap().stamped;
                    match cases.take(&store, act, sequence, stamped.at).unwrap() {
                        Some(Taken::Changed(change)) => {
                            store.write_cases(std::slice::from_ref(&*change)).unwrap();
                            case = Some(change.case);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                let looked = Looked {
                    id: "look".into(),
                    user: "nurse".into(),
                    action: "report".into(),
                    object: id.into(),
                    via: "mqtt".into(),
                    result: "not allowed".into(),
                };
                handle.submit_blocking(Record::Audit(looked)).unwrap();
            }
        }
        handle.checkpoint().unwrap();
        journal.close();
        Bench { folder, config, signer, case: case.unwrap() }
    }
    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }
    /// First records of the segments that are kept, and of those of which a stub is left.
    fn segments(&self) -> (Vec<u64>, Vec<u64>) {
        let mut files = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(self.journal()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            match name.split_once('.') {
                Some((first, "vgj" | "vgj.zst")) => files.0.push(first.parse().unwrap()),
                Some((first, "vgj.gone")) => files.1.push(first.parse().unwrap()),
                _ => {}
            }
        }
        files.0.sort();
        files.1.sort();
        files
    }
    fn notes_where(&self, size: impl Fn(u64) -> bool) -> String {
        let notes = vitalguard::shell::vault::checkpoints(&self.journal()).unwrap();
        let notes: Vec<String> = notes.iter().filter(|note| size(note.size)).map(|note| note.note()).collect();
        notes.join("\n")
    }
    /// Leaves only the notes of these sizes.
    fn sign_only(&self, size: impl Fn(u64) -> bool) {
        std::fs::write(self.journal().join("checkpoints"), self.notes_where(size)).unwrap();
    }
    /// A second run in which everything is too much: what is held stays, and the newest record.
    fn retain(&self, held: &[(u64, u64)]) {
        self.retain_by(held, 0, f64::MAX, true);
    }
    /// A second run, now, which keeps so many bytes and days, and what is held.
    fn retain_by(&self, held: &[(u64, u64)], bytes: u64, days: f64, signed: bool) {
        for (n, (first, last)) in held.iter().enumerate() {
            journal::hold(&self.journal(), &format!("case-{n}"), *first, *last).unwrap();
        }
        let mut options = Options::new(&self.config.journal, "boot-2");
        (options.segment_bytes, options.retain_bytes, options.retain_days) = (64 << 10, bytes, days);
        options.signer = signed.then(|| std::sync::Arc::new(Signer::open(&self.folder.path().join("evidence.pem")).unwrap()));
        let (journal, feed) = Journal::open(&self.journal(), options).unwrap();
        std::thread::spawn(move || for _ in feed {});
        journal.handle().submit_blocking(Record::Close { connection: 1 }).unwrap();
        journal.close();
    }
    fn export(&self) -> Vec<u8> {
        self.export_as(&self.case, self.config.site.as_str(), &self.signer)
    }
    fn export_as(&self, case: &Case, site: &str, signer: &Signer) -> Vec<u8> {
        let config = Config { site: site.into(), ..self.config.clone() };
        let (journal_folder, store) = (self.journal(), self.folder.path().join("store.sqlite"));
        let steps = AlertReader::open(&store).unwrap().case_steps(&case.id).unwrap();
        let place = Place {
            journal: &journal_folder,
            store: &store,
            config: &config,
            site_key: &[7; 32],
            oldest: 1,
            devices: None,
            until: std::time::Instant::now() + std::time::Duration::from_secs(30),
        };
        let wish = Wish { identified: true, made_by: "eng".into(), made_at: Timestamp::from_ms(1_767_755_045_678) };
        let checkpoint = vitalguard::shell::vault::checkpoints(&journal_folder).unwrap().pop();
        let captures = self.folder.path().join("captures");
        let export = Export {
            place: &place,
            case,
            steps: &steps,
            signer,
            checkpoint,
            captures: &captures,
            config_hash: "sha256:0",
            wish: &wish,
        };
        export.write(Cursor::new(Vec::new())).expect("a bundle").1.into_inner()
    }
    fn missing(bundle: &[u8]) -> String {
        verify_bytes(bundle, None).expect("it fits").manifest.missing.join("\n")
    }
}

const START_MS: i64 = 1_767_755_000_000;

fn minutes(count: i64) -> Vec<i64> {
    (0..count).map(|n| START_MS + n * 1_000).collect()
}

fn range(first: u64, last: u64) -> Item {
    let at = |s: i64| Timestamp::from_ms(START_MS + s * 1_000);
    Item::Range { ward: "icu".into(), bed: "A01".into(), from: at(0), to: at(60), first, last }
}

#[test]
fn the_same_case_gives_the_same_bytes_and_every_flipped_byte_is_found_by_both() {
    let bench = Bench::new(&minutes(12), &[range(2, 9), Item::Messages { raw: vec!["mllp.3".into()] }]);
    let bundle = bench.export();
    assert_eq!(bundle, bench.export(), "nothing in it is by chance");
    let files = unpacked(&bundle);
    assert_eq!(files.keys().filter(|name| name.starts_with("messages/")).count(), 6, "{:?}", files.keys());
    let actions: Value = serde_json::from_slice(&files["actions.json"]).unwrap();
    let done = &actions["actions"][0];
    assert_eq!((&done["via"], &done["result"]), (&"mqtt".into(), &"not allowed".into()), "{actions}");
    let (fits, said) = python(bench.folder.path(), &bundle, None);
    assert!(fits, "{said}");
    // Natively everywhere in strides, and at both ends byte by byte; Python at some of them.
    let places: Vec<usize> = (0..bundle.len()).step_by(97).chain(0..40).chain(bundle.len() - 120..bundle.len()).collect();
    let (mut named, mut exact) = (0, 0);
    for (n, at) in places.iter().enumerate() {
        let mut bad = bundle.clone();
        bad[*at] ^= 1 << (at % 8);
        let misfit = verify_bytes(&bad, None).expect_err(&format!("byte {at} flipped"));
        named += usize::from(misfit.bytes.as_ref().is_some_and(|bytes| bytes.contains(&(*at as u64))));
        exact += usize::from(misfit.bytes == Some(*at as u64..*at as u64 + 1));
        if n % 40 == 0 {
            let (fits, said) = python(bench.folder.path(), &bad, None);
            assert!(!fits, "byte {at}: {said}");
        }
    }
    assert!(named * 10 > places.len() * 6 && exact > 20, "{named} of {} named with their place, {exact} exactly", places.len());
    for cut in [0, 10, 100, bundle.len() / 2, bundle.len() - 1] {
        assert!(verify_bytes(&bundle[..cut], None).is_err(), "cut at {cut}");
    }
}

fn changed(bundle: &[u8], change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Vec<u8> {
    let mut files = unpacked(bundle);
    change(&mut files);
    packed(&files)
}

#[test]
fn what_was_manipulated_with_care_is_named() {
    let bench = Bench::new(&minutes(12), &[range(2, 9)]);
    let other = Bench::new(&minutes(12), &[range(2, 9)]);
    let (bundle, foreign) = (bench.export(), other.export());
    let key = Verifier::from_pem(&bench.signer.public_pem()).unwrap();
    assert!(verify_bytes(&bundle, Some(&key)).unwrap().key_given);
    let replace = |name: &str, from: &str, to: &str| {
        changed(&bundle, |files| {
            let content = text(&files[name]).replacen(from, to, 1);
            assert_ne!(content.as_bytes(), files[name], "{name}");
            files.insert(name.into(), content.into_bytes());
        })
    };
    // Another's key: with the site's key it proves nothing; without, it is at least named.
    let strange = verify_bytes(&foreign, Some(&key)).unwrap_err();
    assert!(strange.what.contains("not among the keys that are believed"), "{strange}");
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("manifest", replace("manifest.json", "\"made_by\": \"eng\"", "\"made_by\": \"eve\""), "manifest.json", "signature"),
        ("missing", changed(&bundle, |f| drop(f.remove("alerts.json"))), "alerts.json", "missing"),
        (
            "extra",
            changed(&bundle, |f| drop(f.insert("planted.txt".into(), b"x".to_vec()))),
            "planted.txt",
            "not in the manifest",
        ),
        ("content", replace("devices.json", "{", "{ "), "devices.json", "SHA-256"),
        ("key", changed(&bundle, |f| drop(f.insert("key.pem".into(), other.signer.public_pem().into()))), "key.pem", "SHA-256"),
        ("signature", changed(&bundle, |f| drop(f.insert("manifest.sig".into(), vec![0; 64]))), "manifest.json", "signature"),
        ("no signature", changed(&bundle, |f| drop(f.remove("manifest.sig"))), "manifest.sig", "missing"),
    ];
    for (what, bad, place, why) in cases {
        let Misfit { place: found, what: said, .. } = verify_bytes(&bad, None).unwrap_err();
        assert!(found == place && said.contains(why), "{what}: {found}: {said}");
        let (fits, said) = python(bench.folder.path(), &bad, None);
        assert!(!fits && said.contains("DOES NOT FIT"), "{what}: {said}");
    }
    // One who has a key of his own signs what he has changed: the chain, or the checkpoint, tells.
    let resigned = |name: &str, from: &str, to: &str| {
        changed(&bundle, |files| {
            let content = text(&files[name]).replacen(from, to, 1).into_bytes();
            assert_ne!(content, files[name]);
            let mut manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
            let pem = other.signer.public_pem().into_bytes();
            for (name, content) in [(name, &content), ("key.pem", &pem)] {
                let digest: String = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
                let line = manifest["files"].as_array_mut().unwrap().iter_mut().find(|line| line["name"] == name).unwrap();
                (line["sha256"], line["bytes"]) = (digest.into(), content.len().into());
            }
            manifest["key_id"] = other.signer.key_id().into();
            let manifest = serde_json::to_string_pretty(&manifest).unwrap().into_bytes();
            files.insert("manifest.sig".into(), other.signer.sign(&manifest).to_vec());
            files.insert("manifest.json".into(), manifest);
            files.insert("key.pem".into(), pem);
            files.insert(name.into(), content);
        })
    };
    let message = resigned("messages/mllp.3.hl7", "|97|", "|99|");
    let misfit = verify_bytes(&message, None).unwrap_err();
    assert!(misfit.what.contains("record 3"), "{misfit}");
    let (fits, said) = python(bench.folder.path(), &message, None);
    assert!(!fits && said.contains("mllp.3"), "{said}");
    let link = resigned("journal/links.jsonl", "\"hash\":\"", "\"hash\":\"0");
    assert!(verify_bytes(&link, None).unwrap_err().what.contains("line 1"));
    let note = resigned("README.txt", "Evidence", "evidence");
    assert!(verify_bytes(&note, None).unwrap_err().place.contains("checkpoint"), "the checkpoint is signed by the site");
    assert!(!python(bench.folder.path(), &note, None).0);
}

#[test]
fn keys_that_are_missing_expired_or_not_of_the_site_are_told_apart() {
    let bench = Bench::new(&minutes(6), &[range(2, 4)]);
    let bundle = bench.folder.path().join("case.zip");
    std::fs::write(&bundle, bench.export()).unwrap();
    let other = Signer::open_or_create(&bench.folder.path().join("other.pem")).unwrap();
    let ring = |signer: &Signer, until: &str| {
        let path = bench.folder.path().join("ring.toml");
        std::fs::write(&path, format!("[[key]]\npem = '''{}'''\nuntil = \"{until}\"\n", signer.public_pem())).unwrap();
        let out = program(&["verify", bundle.to_str().unwrap(), "--key", path.to_str().unwrap()]);
        (out.status.code(), text(&out.stdout) + &text(&out.stderr))
    };
    assert_eq!(ring(&bench.signer, "2099-01-01T00:00:00Z").0, Some(0));
    let (code, said) = ring(&bench.signer, "2020-01-01T00:00:00Z");
    assert!(code == Some(1) && said.contains("was valid until 2020"), "{said}");
    let (code, said) = ring(&other, "2099-01-01T00:00:00Z");
    assert!(code == Some(1) && said.contains("not among the keys"), "{said}");
    let none = program(&["verify", bundle.to_str().unwrap(), "--key", "/nowhere.pem"]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn a_case_whose_surroundings_went_leaves_with_a_chain_up_to_the_gap() {
    // Records 1 to 151 are messages, then comes the case, then messages again; a segment holds about 100.
    let later = Item::Messages { raw: vec!["mllp.250".into()] };
    for (items, held, reached) in [
        (vec![range(2, 9)], vec![(2, 9)], true),
        (vec![range(30, 39)], vec![(30, 39)], false),
        (vec![range(2, 9), later], vec![(2, 9), (250, 250)], false),
    ] {
        let bench = Bench::new(&minutes(300), &items);
        let end = bench.segments().0[1] - 1;
        // Notes that retention did not know, and of what was signed of the first segment behind the evidence, not all are left.
        let notes = bench.notes_where(|size| size <= 21 || size > end);
        bench.sign_only(|_| false);
        bench.retain_by(&held, 0, f64::MAX, false);
        let (kept, gone) = bench.segments();
        assert!(kept.len() == held.len() + 1 && gone.contains(&(end + 1)), "{kept:?} {gone:?}");
        std::fs::write(bench.journal().join("checkpoints"), notes).unwrap();
        let bundle = bench.export();
        let verified = verify_bytes(&bundle, None).unwrap_or_else(|misfit| panic!("{items:?}: {misfit}"));
        let (fits, said) = python(bench.folder.path(), &bundle, None);
        assert!(fits, "{items:?}: {said}");
        let chain = verified.manifest.chain.unwrap();
        assert_eq!((chain.first, chain.complete), (held[0].0, reached), "{items:?}");
        assert_eq!(chain.last, if reached { 21 } else { end }, "{items:?}");
        let marked: Vec<u64> = verified.manifest.files.iter().filter_map(|file| file.record).collect();
        assert_eq!(marked, (held[0].0..=held[0].1).collect::<Vec<_>>(), "{items:?}");
        let files = unpacked(&bundle);
        assert_eq!(files.contains_key("messages/mllp.250.hl7"), items.len() == 2, "it is there, if not proven");
        let missing = verified.manifest.missing.join("\n");
        assert!(missing.contains("the proof of steps of the case"), "{missing}");
        assert_eq!(missing.contains(&format!("behind record {end} of the journal: retention")), !reached, "{missing}");
        assert_eq!(missing.contains("behind the end of the chain: 1"), items.len() == 2, "{missing}");
    }
}

#[test]
fn what_is_held_stays_proven_while_retention_takes_all_that_is_around_it() {
    // By size, and by age: then a day passes before the second run.
    for (bytes, days) in [(0, f64::MAX), (u64::MAX, 0.5)] {
        // No note ends within the evidence's segment, nor in the next one.
        let bench = Bench::new(&minutes(600), &[range(130, 150)]);
        let before = bench.segments().0;
        assert!(before.len() > 5 && before[1] < 130 && 150 < before[2], "{before:?}");
        bench.sign_only(|size| size <= 21 || size >= before[3]);
        let notes = vitalguard::shell::vault::checkpoints(&bench.journal()).unwrap();
        let covering = notes.iter().find(|c| c.size >= 150).unwrap().size;
        assert!(covering >= before[2], "signed in a segment behind the evidence: {covering} of {before:?}");
        bench.retain_by(&[(130, 150)], bytes, days, true);
        let (kept, gone) = bench.segments();
        let needed = before.partition_point(|first| *first <= covering);
        assert_eq!(kept[..needed - 1], before[1..needed], "evidence and its note, and no more: {kept:?} {gone:?}");
        assert!(!kept.contains(&before[0]) && !kept.contains(&before[needed]), "{kept:?}");
        assert_eq!(gone[0], before[needed], "the rest went");
        let bundle = bench.export();
        let verified = verify_bytes(&bundle, None).unwrap();
        let chain = verified.manifest.chain.unwrap();
        assert!(chain.complete && chain.first <= 130 && chain.last >= 150, "{chain:?}: {:?}", verified.manifest.missing);
        assert!(unpacked(&bundle).contains_key("journal/checkpoint.txt"));
        let (fits, said) = python(bench.folder.path(), &bundle, None);
        assert!(fits, "{said}");
    }
}

#[test]
fn a_case_that_begins_with_the_first_record_that_is_kept_is_proven_from_there() {
    let mut bench = Bench::new(&minutes(300), &[range(2, 9)]);
    let first = bench.segments().0[1];
    bench.case.items[0].item = range(first, first + 5);
    bench.retain(&[(first, first + 5)]);
    assert_eq!(bench.segments().0[0], first, "what was before is gone");
    let bundle = bench.export();
    let verified = verify_bytes(&bundle, None).expect("it fits");
    assert_eq!(verified.manifest.chain.unwrap().first, first);
    let marked: Vec<u64> = verified.manifest.files.iter().filter_map(|file| file.record).collect();
    assert_eq!(marked, (first..=first + 5).collect::<Vec<_>>());
    let (fits, said) = python(bench.folder.path(), &bundle, None);
    assert!(fits, "{said}");
}

#[test]
fn a_clock_that_went_back_is_told_and_times_do_not() {
    let mut wall = minutes(12);
    for at in &mut wall[6..] {
        *at -= 3_600_000;
    }
    let bench = Bench::new(&wall, &[range(2, 14)]);
    let bundle = bench.export();
    let verified = verify_bytes(&bundle, None).unwrap();
    assert_eq!(verified.manifest.clock_steps.len(), 1, "{:?}", verified.manifest.clock_steps);
    assert!((3_590_000..=3_600_000).contains(&verified.manifest.clock_steps[0].1));
    let links = text(&unpacked(&bundle)["journal/links.jsonl"]);
    let times: Vec<String> =
        links.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["at"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(bench.case.updated >= bench.case.opened.at);
}

#[test]
fn what_is_not_there_any_more_is_named_and_what_is_there_is_kept() {
    let lost = "A-000000000007-20261122T182326412Z";
    let items = [
        range(2, 9),
        Item::Alert { id: lost.into() },
        Item::Capture { name: "gone.pcap".into(), sha256: "0".repeat(64), bytes: 1 },
    ];
    let bench = Bench::new(&minutes(40), &items);
    let missing = Bench::missing(&bench.export());
    assert!(missing.contains(&format!("alert {lost}: retention has taken it")) && missing.contains("gone.pcap"), "{missing}");

    // A hole in the journal: what stands before it is exported and proven, and the hole is named.
    let segment = std::fs::read_dir(bench.journal())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "vgj" || e == "zst"));
    let mut segments: Vec<PathBuf> = segment.collect();
    segments.sort();
    let name = segments[0].clone();
    let mut bytes = std::fs::read(&name).unwrap();
    let at = bytes.windows(3).position(|w| w == b"B7|").expect("the eighth message");
    bytes[at] ^= 1;
    std::fs::write(&name, bytes).unwrap();
    let bundle = bench.export();
    let verified = verify_bytes(&bundle, None).expect("what is there fits");
    let missing = verified.manifest.missing.join("\n");
    assert!(missing.contains("journal damaged") && missing.contains("up to the checkpoint"), "{missing}");
    assert!(!verified.manifest.chain.unwrap().complete);
    assert!(python(bench.folder.path(), &bundle, None).0);
    assert_eq!(unpacked(&bundle).keys().filter(|name| name.starts_with("messages/")).count(), 6);
    // Gathering goes up to the hole as well, and says so.
    let (journal_folder, store) = (bench.journal(), bench.folder.path().join("store.sqlite"));
    let place = Place {
        journal: &journal_folder,
        store: &store,
        config: &bench.config,
        site_key: &[7; 32],
        oldest: 1,
        devices: None,
        until: std::time::Instant::now() + std::time::Duration::from_secs(30),
    };
    let at = |s: i64| Timestamp::from_ms(START_MS + s * 1_000);
    let ranged = gather::range(&place, "icu", "A01", at(0), at(60)).unwrap();
    assert!(matches!(ranged.item, Some(Item::Range { first: 1, last: 7, .. })), "{ranged:?}");
    assert!(ranged.missing[0].contains("journal damaged"), "{ranged:?}");
}
