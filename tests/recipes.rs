//! The readers of `docs/examples` as a subscriber would run them: npm's `mqtt` and PyPI's `paho-mqtt` against a broker that outlives
//! the service, and the mosquitto clients as `docs/recipes.md` has them.
//!
//! `./test` installs them and turns the feature on. `VG_TEST_PYTHON` names the Python that has paho-mqtt.
#![cfg(feature = "peers")]

mod common;

use common::{BPM, Client, HR, Mosquitto, PR, Served, Subscriber, pcd01, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const SITE: &str = "hsp";
const LIVE: &str = "LIVE: ";
const NOT_LIVE: &str = "NOT LIVE, look at the bedside monitors: ";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A reader at work, and the lines that it has said, complaints included.
struct Reader {
    name: &'static str,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl Reader {
    fn start(name: &'static str, url: &str) -> Reader {
        let folder = tempfile::tempdir().unwrap();
        // An ES module finds its packages beside itself: as where somebody has run `npm install mqtt`.
        let script = folder.path().join(name);
        std::fs::copy(root().join("docs/examples").join(name), &script).unwrap();
        let packages = root().join("tests/clients/node_modules");
        assert!(packages.join("mqtt").is_dir(), "npm ci was run in tests/clients (./test does)");
        std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
        let python = std::env::var("VG_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let program = if Path::new(name).extension().is_some_and(|e| e == "py") { python } else { "node".into() };
        let mut child = Command::new(program)
            .arg(&script)
            .args([url, SITE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node and python3 are installed (./test installs them)");
        let said = Arc::new(Mutex::new(Vec::new()));
        let out = Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>;
        let complaints = Box::new(child.stderr.take().expect("piped")) as Box<dyn Read + Send>;
        for stream in [out, complaints] {
            let sink = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    sink.lock().unwrap().push(line);
                }
            });
        }
        Reader { name, child, said, _folder: folder }
    }
    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
    /// The newest list: its heading, and what is open.
    fn list(&self) -> Option<(String, Vec<String>)> {
        let said = self.said();
        let at = said.iter().rposition(|l| l.starts_with(LIVE) || l.starts_with(NOT_LIVE))?;
        let open = said[at + 1..].iter().map_while(|l| l.strip_prefix("  ").map(str::to_owned)).collect();
        Some((said[at].clone(), open))
    }
    /// Waits for a list that begins so, tells all of these words and none of those.
    fn shows(&self, heading: &str, told: &[&str], forgotten: &[&str]) {
        wait_for(&format!("{}: {heading}{told:?} without {forgotten:?}", self.name), || {
            let (head, open) = self.list()?;
            let has = |word: &&str| open.iter().any(|line| line.contains(*word));
            (head == format!("{heading}{} open", open.len()) && told.iter().all(has) && !forgotten.iter().any(has)).then_some(())
        });
    }
    fn count(&self, words: &str) -> usize {
        self.said().iter().filter(|l| l.starts_with(words)).count()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} said:\n{}", self.name, self.said().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vitals(bed: &str, id: &str, hr: u64) -> Vec<u8> {
    let hr_text = hr.to_string();
    pcd01("GW", "ICU", bed, id, &common::now_hl7(), &[(HR, &hr_text, BPM), (PR, &hr_text, BPM)])
}

/// A bed that sends, then makes the monitor raise: one id, two bodies.
fn raise(served: &Served, bed: &str) {
    let mut client = Client::connect(served.mllp);
    for n in 0..60 {
        assert_eq!(client.ask(&vitals(bed, &format!("w-{bed}-{n}"), 70 + n % 5)).unwrap().0, "CA");
    }
    for hr in [70, 91] {
        assert_eq!(client.ask(&vitals(bed, &format!("x-{bed}"), hr)).unwrap().0, "CA");
    }
}

fn publish(port: u16, topic: &str, payload: &str, extra: &[&str]) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-m", payload])
        .args(extra)
        .status()
        .expect("mosquitto_pub is installed (./test installs it)");
    assert!(status.success());
}

/// The document of a bed that has something open.
fn raised(subscriber: &Subscriber, bed: &str) -> Value {
    wait_for(&format!("an open alert of bed {bed}"), || {
        subscriber
            .payloads(&format!("/bed/{bed}/state"))
            .into_iter()
            .find(|s| s["active"].as_array().is_some_and(|a| !a.is_empty()))
    })
}

#[test]
fn readers_show_what_is_open_say_when_it_is_not_live_and_forget_at_a_new_start() {
    let broker = Mosquitto::start("");
    let url = broker.url();
    let arguments = ["--site", SITE, "--mqtt-url", &url];
    let data = tempfile::tempdir().unwrap();
    let mut first = Served::start(data.path(), &arguments);
    let watch = Subscriber::start(broker.port, &["vitalguard/#"], &[]);
    raise(&first, "A1");
    let state = raised(&watch, "A1");
    let reference = state["active"][0]["ref"].as_str().unwrap().to_owned();

    // Whoever comes late is told by the retained documents.
    let readers = ["alerts.mjs", "alerts.py"].map(|name| Reader::start(name, &url));
    for reader in &readers {
        reader.shows(LIVE, &[&format!("ICU/A1 {reference}")], &[]);
        assert_eq!(reader.said()[0], format!("{NOT_LIVE}0 open"), "{}: nothing is live before the first heartbeat", reader.name);
    }

    // What happens is told once, however often it comes.
    raise(&first, "A2");
    for reader in &readers {
        wait_for("the event", || (reader.count("raised high ICU/A2 ") == 1).then_some(()));
        reader.shows(LIVE, &["ICU/A1 ", "high ICU/A2 "], &[]);
    }
    let (topic, event) = wait_for("the event's bytes", || {
        let lines = watch.lines.lock().unwrap();
        lines.iter().find(|(t, p)| t.contains("/bed/A2/event/high") && p.contains("\"event\":\"raised\"")).cloned()
    });
    publish(broker.port, &topic, &event, &[]);
    publish(broker.port, &topic, "not a document", &[]);
    for reader in &readers {
        // In the order in which they came: the repetition was looked at before.
        wait_for("a complaint", || (reader.count("not understood: ") == 1).then_some(()));
        assert_eq!(reader.count("raised high ICU/A2 "), 1, "{}", reader.name);
    }

    // The service dies, the broker goes on and keeps what it was told.
    let old = raised(&watch, "A2");
    first.kill();
    for reader in &readers {
        wait_for("the end of life", || reader.list()?.0.starts_with(NOT_LIVE).then_some(()));
    }

    // Another start, which knows nothing of before.
    let other = tempfile::tempdir().unwrap();
    let second = Served::start(other.path(), &arguments);
    for reader in &readers {
        reader.shows(LIVE, &[], &["ICU/A1 ", "ICU/A2 "]);
    }
    // A document that another start has left is no news; the same one of this start is.
    let topic = format!("vitalguard/v1/{SITE}/ward/ICU/bed/A9/state");
    let mut left = old.clone();
    let kept = old["active"][0]["ref"].as_str().unwrap();
    left["bed"] = "A9".into();
    left["valid_until"] = "2999-01-01T00:00:00.000Z".into();
    publish(broker.port, &topic, &left.to_string(), &["-r"]);
    raise(&second, "B1");
    let b1 = raised(&watch, "B1");
    let b1_reference = format!("ICU/B1 {}", b1["active"][0]["ref"].as_str().unwrap());
    for reader in &readers {
        reader.shows(LIVE, &[&b1_reference], &[kept]);
    }
    left["boot"] = b1["boot"].clone();
    publish(broker.port, &topic, &left.to_string(), &["-r"]);
    for reader in &readers {
        reader.shows(LIVE, &[&b1_reference, kept], &[]);
    }
    // A document whose time is over is no news either.
    left["rev"] = (left["rev"].as_u64().unwrap() + 1).into();
    left["valid_until"] = "2020-01-01T00:00:00.000Z".into();
    publish(broker.port, &topic, &left.to_string(), &["-r"]);
    for reader in &readers {
        reader.shows(LIVE, &[&b1_reference], &[kept]);
    }
}

/// The code of a recipe: the block after the line that names it.
fn recipe(name: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let (_, rest) = page.split_once(&format!("<!-- {name} -->\n```sh\n")).expect("the recipe is on the page");
    rest.split_once("\n```").expect("it ends").0.to_owned()
}

#[test]
fn the_mosquitto_recipes_of_the_page_do_what_they_say() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let port = served.mqtt.expect("embedded broker").port();
    raise(&served, "A1");
    let run = |name: &str, alert: &str| {
        let text =
            recipe(name).replace("mosquitto_sub ", "mosquitto_sub -p $PORT ").replace("mosquitto_rr ", "mosquitto_rr -p $PORT ");
        let text = text.replace("A-…", alert);
        let out = Command::new("timeout").args(["30", "sh", "-c", &text]).env("PORT", port.to_string()).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    let watch = Subscriber::start(port, &["vitalguard/#"], &[]);
    let state = raised(&watch, "A1");
    let word = |name: &str| state["active"][0][name].as_str().unwrap().to_owned();
    let (id, reference) = (word("id"), word("ref"));
    wait_for("what is open now", || {
        let said = run("open now", &id);
        said.lines().any(|l| l.starts_with("[\"high\",\"") && l.contains(&reference)).then_some(())
    });
    let answer: Value = serde_json::from_str(run("acknowledge", &id).trim()).expect("an answer");
    assert_eq!((&answer["status"], &answer["alert_state"]), (&"ok".into(), &"acknowledged".into()), "{answer}");
    // Events: the recipe runs until it is ended, so it is given the next one.
    let events = recipe("events").replace("mosquitto_sub ", &format!("exec timeout 40 mosquitto_sub -p {port} -C 1 "));
    let listening = Command::new("sh").args(["-c", &events]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    raise(&served, "A2");
    let said = String::from_utf8_lossy(&listening.wait_with_output().unwrap().stdout).into_owned();
    assert!(said.starts_with("vitalguard/v1/main/ward/ICU/bed/A") && said.contains(" {\"schema\":\"alert-event/1\""), "{said}");
    let beat = run("alive", &id);
    assert!(beat.contains("\"schema\":\"heartbeat/1\""), "{beat}");
}
