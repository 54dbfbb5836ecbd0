//! Against a real mosquitto and its command-line clients.
#![cfg(feature = "peers")]

#[path = "support/client.rs"]
mod client;
#[path = "common/port.rs"]
mod port;
mod support;

use bytes::Bytes;
use client::{Client, endpoint};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{BASE, assert_complete, commit_events, options, publish, publish_with, store, wait};
use vitalguard::monitor::SiteCondition;
use vitalguard::shell::publisher::Inbound;
use vitalguard::shell::retained::{Kind, Retained};

const FIRST: &str = "01a20385-57bb-7c31-9f0a-000000000001";
const SECOND: &str = "01a20385-57bc-7c31-9f0a-000000000002";

struct Mosquitto {
    child: Child,
    address: SocketAddr,
    configuration: std::path::PathBuf,
}

impl Mosquitto {
    fn start(folder: &Path) -> Mosquitto {
        let port = port::free_port();
        let configuration = folder.join("mosquitto.conf");
        // Started by root it would become another user, who cannot write into our folder (`user` is ignored otherwise).
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nmax_queued_messages 0\nuser root\n",
            folder.display()
        );
        std::fs::write(&configuration, text).expect("written");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut broker = Mosquitto { child: spawn(&configuration), address, configuration };
        broker.listening();
        broker
    }
    fn listening(&mut self) {
        let address = self.address;
        wait("mosquitto listens", 10, || TcpStream::connect(address).is_ok());
    }
    /// SIGTERM keeps what it has acknowledged (`persistence true`); SIGKILL does not.
    fn restart(&mut self, gently: bool) {
        if gently {
            let pid = self.child.id().to_string();
            let status = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
            assert!(status.success());
        } else {
            self.child.kill().expect("killed");
        }
        self.child.wait().expect("ended");
        self.child = spawn(&self.configuration);
        self.listening();
    }
    fn subscribe(&self, arguments: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(arguments)
            .output()
            .expect("mosquitto_sub runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(configuration: &Path) -> Child {
    // Debian keeps it outside an ordinary user's path.
    let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    Command::new(program)
        .arg("-c")
        .arg(configuration)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto starts")
}

#[test]
fn nothing_is_lost_while_mosquitto_is_stopped_and_started_under_load() {
    const ALERTS: usize = 200;
    const EVENTS: usize = 20_000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Mosquitto::start(folder.path());
    let mut store = store(folder.path());
    // A subscriber with a session of its own at the broker, in a process of its own, that comes back after each restart.
    let port = broker.address.port().to_string();
    let heard = folder.path().join("heard.jsonl");
    let mut subscriber = Command::new("stdbuf")
        .args(["-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", &port, "-V", "mqttv311", "-c", "-i", "keeper", "-q", "1", "-t"])
        .args([&format!("{BASE}/ward/+/bed/+/event/#"), "-F", "%p"])
        .stdout(std::fs::File::create(&heard).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto_sub starts");
    std::thread::sleep(Duration::from_millis(500));
    let outgoing = publish(options(broker.address, FIRST), Some(&store));
    let link = outgoing.publisher.link();
    let begin = Instant::now();
    let mut restarts = 0;
    commit_events(&mut store, ALERTS, EVENTS, 200, |written| {
        link.wake();
        if written % 4_000 == 0 {
            broker.restart(true);
            restarts += 1;
        }
    });
    wait("the outbox is empty", 120, || link.outbox_depth() == 0);
    let delivered = begin.elapsed();
    let lines = || std::fs::read_to_string(&heard).expect("readable").lines().count();
    let quiet = Instant::now();
    while lines() < EVENTS && quiet.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    subscriber.kill().expect("killed");
    subscriber.wait().expect("ended");
    let text = std::fs::read_to_string(&heard).expect("readable");
    let repeats = assert_complete(text.lines().map(|l| l.as_bytes().to_vec()), ALERTS, EVENTS);
    println!("{EVENTS} events, {restarts} restarts of mosquitto, 0 lost, {repeats} repeats, {delivered:.1?}");
    outgoing.publisher.stop(Duration::from_secs(2));
}

#[test]
fn after_a_killed_mosquitto_the_retained_set_is_that_of_the_house_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = Mosquitto::start(folder.path());
    let retained = Arc::new(Retained::default());
    for bed in 0..200 {
        let payload = format!("{{\"schema\":\"bed-state/1\",\"bed\":\"B{bed:03}\",\"rev\":1}}");
        retained.put(&format!("ward/icu/bed/B{bed:03}/state"), Kind::Bed, Bytes::from(payload));
    }
    let outgoing = publish_with(options(broker.address, FIRST), None, Arc::clone(&retained));
    let link = outgoing.publisher.link();
    wait("published", 20, || link.resynced());
    broker.restart(false);
    wait("back", 20, || link.connections() >= 2 && link.resynced());
    retained.put("ward/icu/bed/B000/state", Kind::BedWithAlerts, Bytes::from_static(b"{\"rev\":2}"));
    retained.put("ward/icu/bed/B001/state", Kind::Bed, Bytes::new());
    wait("the tombstone is through", 10, || retained.get("ward/icu/bed/B001/state").is_none());
    std::thread::sleep(Duration::from_millis(300));
    for version in ["mqttv311", "mqttv5"] {
        let text = broker.subscribe(&["-V", version, "-q", "1", "-t", &format!("{BASE}/#"), "-F", "%r %t %p", "-W", "2"]);
        let got: BTreeMap<&str, &str> =
            text.lines().filter_map(|l| l.strip_prefix("1 ")).filter_map(|l| l.split_once(' ')).collect();
        let all = retained.all();
        for (topic, document) in &all {
            let payload = got.get(format!("{BASE}/{topic}").as_str()).copied();
            assert_eq!(payload.map(str::as_bytes), Some(&document.payload[..]), "{version} {topic}");
        }
        assert_eq!(got.len(), all.len() + 1, "and sys/status, nothing else");
    }
    outgoing.publisher.stop(Duration::from_secs(1));
}

#[test]
fn a_stopped_publisher_leaves_offline_and_its_next_start_clears_what_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path());
    let status = || broker.subscribe(&["-t", &format!("{BASE}/sys/status"), "-C", "1", "-W", "1"]);
    // What an earlier run left: a bed that is no longer there, one that still is, and something that is not ours.
    for (topic, payload) in [
        ("ward/icu/bed/OLD/state", r#"{"schema":"bed-state/1","boot":"old"}"#),
        ("ward/icu/bed/A01/state", r#"{"schema":"bed-state/1","boot":"old"}"#),
        ("notes/lunch", r#"{"schema":"menu/1"}"#),
        ("sys/status", r#"{"schema":"sys-status/1","boot":"old","state":"offline"}"#),
    ] {
        let port = broker.address.port().to_string();
        let topic = format!("{BASE}/{topic}");
        let status = Command::new("mosquitto_pub").args(["-p", &port, "-r", "-q", "1", "-t", &topic, "-m", payload]).status();
        assert!(status.expect("mosquitto_pub runs").success());
    }
    let retained = Arc::new(Retained::default());
    retained.put("ward/icu/bed/A01/state", Kind::Bed, Bytes::from_static(b"{\"schema\":\"bed-state/1\",\"boot\":\"new\"}"));
    let mut scouting = options(broker.address, FIRST);
    scouting.scout = true;
    let outgoing = publish_with(scouting, None, retained);
    let link = outgoing.publisher.link();
    wait("published", 20, || link.resynced());
    std::thread::sleep(Duration::from_millis(200));
    let text = broker.subscribe(&["-t", &format!("{BASE}/#"), "--retained-only", "-F", "%t %p", "-W", "1"]);
    assert!(!text.contains("/OLD/"), "{text}");
    assert!(text.contains("notes/lunch"), "what is not ours stays: {text}");
    assert!(text.contains("\"boot\":\"new\""), "{text}");
    assert_eq!(link.removed().len(), 1);
    assert!(link.removed()[0].topic.ends_with("ward/icu/bed/OLD/state"));
    assert!(status().contains("online"));
    outgoing.publisher.stop(Duration::from_secs(1));
    assert!(status().contains("offline"));
}

#[test]
fn the_will_says_offline_when_the_connection_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path());
    let mut dying = endpoint(broker.address, "dying", None);
    dying.will = Some((format!("{BASE}/sys/status"), br#"{"state":"offline"}"#.to_vec()));
    let dying = Client::start(dying, true, &["x"], true);
    wait("connected", 5, || dying.with(|h| h.connected));
    drop(dying);
    let begin = Instant::now();
    let text = broker.subscribe(&["-t", &format!("{BASE}/sys/status"), "-C", "1", "-W", "12"]);
    assert!(text.contains("offline"), "after {:?}", begin.elapsed());
    assert!(begin.elapsed() > Duration::from_secs(3), "a delay of 5 s bridges a short cut");
}

#[test]
fn a_command_is_answered_where_it_asked_and_a_retained_one_is_wiped() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path());
    let port = broker.address.port().to_string();
    let alert = "A-53ee76904a86-20261122T182326412Z";
    // Retained while nobody was there.
    let old = format!(r#"{{"request_id":"old","alert":"{alert}"}}"#);
    let topic = format!("{BASE}/cmd/nurse7/ack");
    let said = Command::new("mosquitto_pub").args(["-p", &port, "-r", "-q", "1", "-t", &topic, "-m", &old]).status();
    assert!(said.expect("runs").success());
    let answers = Client::start(endpoint(broker.address, "answers", None), false, &[&format!("{BASE}/rsp/#")], true);
    wait("listening", 5, || answers.with(|h| h.subscribed == Some(true)));

    let mut store = store(folder.path());
    let mut outgoing = publish(options(broker.address, FIRST), Some(&store));
    let link = outgoing.publisher.link();
    wait("the retained one is refused", 10, || {
        answers.with(|h| h.messages.iter().any(|m| String::from_utf8_lossy(&m.payload).contains("RETAINED_REFUSED")))
    });
    assert!(!outgoing.ran(), "it did not run");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(broker.subscribe(&["-t", &topic, "-C", "1", "-W", "1"]), "", "it is gone from the broker");

    // A station asks with MQTT 5, and with a response topic of its own.
    let request = format!(r#"{{"request_id":"r1","alert":"{alert}","rev":5}}"#);
    let asking = Command::new("mosquitto_rr")
        .args(["-V", "mqttv5", "-p", &port, "-q", "1", "-W", "8", "-t", &topic, "-e"])
        .args([&format!("{BASE}/rsp/nurse7/here"), "-m", &request])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_rr starts");
    let mut command = None;
    wait("the command", 8, || {
        if let Ok(Inbound::Command(c)) = outgoing.inbound.try_recv() {
            command = Some(c);
        }
        command.is_some()
    });
    let command = command.expect("just seen");
    assert_eq!(command.user, "nurse7");
    let reply = link.reply(&command.user, &command.request_id);
    assert_eq!(reply.topic, "rsp/nurse7/here");
    let payload = br#"{"schema":"response/1","status":"ok"}"#.to_vec();
    let outgoing_answer = vitalguard::shell::store::Outgoing {
        topic: reply.topic,
        payload,
        kind: vitalguard::shell::store::OutboxKind::Response,
        expiry_s: 60,
        correlation: reply.correlation,
    };
    let commit = vitalguard::shell::store::Commit { outgoing: vec![outgoing_answer], ..Default::default() };
    store.commit(&commit).expect("written");
    link.wake();
    let output = asking.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"ok\""), "{output:?}");

    // A response topic under another user's name.
    let asked = Command::new("mosquitto_pub")
        .args(["-V", "mqttv5", "-p", &port, "-q", "1", "-t", &topic, "-m", &request.replace("r1", "r2")])
        .args(["-D", "publish", "response-topic", &format!("{BASE}/rsp/nurse8/there")])
        .status();
    assert!(asked.expect("runs").success());
    wait("it is forbidden", 5, || {
        answers.with(|h| {
            h.messages
                .iter()
                .any(|m| m.topic.ends_with("/rsp/nurse7/r2") && String::from_utf8_lossy(&m.payload).contains("FORBIDDEN"))
        })
    });
    assert!(!outgoing.ran());
    // Retained while we are there: MQTT 5 tells.
    let said = Command::new("mosquitto_pub")
        .args(["-p", &port, "-r", "-q", "1", "-t", &topic, "-m", &request.replace("r1", "r3")])
        .status();
    assert!(said.expect("runs").success());
    wait("refused", 5, || answers.with(|h| h.messages.iter().any(|m| m.topic.ends_with("/rsp/nurse7/r3"))));
    assert!(!outgoing.ran());
    outgoing.publisher.stop(Duration::from_secs(1));
}

#[test]
fn of_two_publishers_under_one_site_the_later_one_is_silent_until_the_first_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path());
    let bed = |boot: &str| {
        let retained = Arc::new(Retained::default());
        let payload = format!("{{\"schema\":\"bed-state/1\",\"boot\":\"{boot}\"}}");
        retained.put("ward/icu/bed/A01/state", Kind::Bed, Bytes::from(payload));
        retained
    };
    let mut first_options = options(broker.address, FIRST);
    first_options.scout = true;
    let first = publish_with(first_options, None, bed(FIRST));
    let first_link = first.publisher.link();
    wait("the first publishes", 10, || first_link.resynced());
    let mut second_options = options(broker.address, SECOND);
    second_options.scout = true;
    let mut second = publish_with(second_options, None, bed(SECOND));
    let second_link = second.publisher.link();
    wait("the second sees it", 10, || second_link.conflict());
    wait(
        "and says so",
        5,
        || matches!(second.inbound.try_recv(), Ok(Inbound::Condition(SiteCondition { check, holds: true })) if check == "S03"),
    );
    assert!(!second_link.connected());
    let held = broker.subscribe(&["-t", &format!("{BASE}/ward/#"), "-C", "1", "-W", "2"]);
    assert!(held.contains(FIRST), "{held}");
    let status = broker.subscribe(&["-t", &format!("{BASE}/sys/status"), "-C", "1", "-W", "2"]);
    assert!(status.contains("online") && status.contains(FIRST), "{status}");
    assert!(!first_link.conflict());

    // Without the courtesy of listening first, the later one yields as well, and leaves the first one's birth alone.
    let rude = publish_with(options(broker.address, SECOND), None, bed(SECOND));
    let rude_link = rude.publisher.link();
    wait("the rude one yields", 10, || rude_link.conflict());
    wait("the first has noticed it", 10, || first_link.conflict());
    std::thread::sleep(Duration::from_secs(6));
    let status = broker.subscribe(&["-t", &format!("{BASE}/sys/status"), "-C", "1", "-W", "2"]);
    assert!(!status.contains("offline"), "no will of the one that yielded: {status}");
    rude.publisher.stop(Duration::ZERO);

    first.publisher.stop(Duration::from_secs(1));
    wait("the second takes over", 40, || second_link.resynced());
    assert!(!second_link.conflict());
    let held = broker.subscribe(&["-t", &format!("{BASE}/ward/#"), "-C", "1", "-W", "2"]);
    assert!(held.contains(SECOND), "{held}");
    second.publisher.stop(Duration::from_secs(1));
}

#[test]
fn events_carry_the_properties_of_mqtt_5() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start(folder.path());
    let mut store = store(folder.path());
    let outgoing = publish(options(broker.address, FIRST), Some(&store));
    let link = outgoing.publisher.link();
    wait("connected", 10, || link.resynced());
    let port = broker.address.port().to_string();
    let listening = Command::new("mosquitto_sub")
        .args(["-V", "mqttv5", "-p", &port, "-q", "1", "-t", &format!("{BASE}/ward/+/bed/+/event/#"), "-C", "1", "-W", "8"])
        .args(["-F", "%C|%E|%P"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub starts");
    std::thread::sleep(Duration::from_millis(500));
    commit_events(&mut store, 1, 1, 1, |_| link.wake());
    let text = String::from_utf8_lossy(&listening.wait_with_output().expect("ends").stdout).into_owned();
    for wanted in [
        "application/json|",
        "schema:alert-event/1",
        "specversion:1.0",
        "id:A-000000000000-20261122T182326412Z.1",
        "source:/vitalguard/v1/hsp1",
        "type:vitalguard.alert.raised",
        "subject:ward/icu/bed/A00",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    outgoing.publisher.stop(Duration::from_secs(1));
}

/// The embedded broker, heard by mosquitto's own clients.
#[cfg(feature = "broker")]
mod embedded {
    use super::*;
    use sha2::{Digest, Sha256};
    use vitalguard::config::{Config, User};
    use vitalguard::shell::broker::Broker;
    use vitalguard::shell::publisher::Options;

    fn user(name: &str, wards: &[&str], verbs: &[&str]) -> User {
        let digest: String = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        User { name: name.into(), role: None, password_sha256: Some(digest), wards: list(wards), verbs: list(verbs) }
    }

    fn run(program: &str, address: SocketAddr, version: &str, who: &str, password: &str, arguments: &[&str]) -> (i32, String) {
        let port = address.port().to_string();
        let output = Command::new(program)
            .args(["-h", "127.0.0.1", "-p", &port, "-V", version, "-u", who, "-P", password])
            .args(arguments)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    #[test]
    fn mosquittos_clients_hear_the_house_and_are_held_to_the_rules() {
        let mut config = Config { site: support::SITE.into(), ..Config::default() };
        config.mqtt.listen = "127.0.0.1:0".parse().expect("an address");
        config.mqtt.users = vec![user("wall", &[], &["ack"]), user("icu", &["icu"], &[])];
        let broker = Broker::start(&config).expect("a broker");
        let address = broker.address();
        let retained = Arc::new(Retained::default());
        for bed in 0..300 {
            let payload = format!("{{\"schema\":\"bed-state/1\",\"bed\":\"B{bed:03}\",\"pad\":\"{}\"}}", "x".repeat(1500));
            let ward = if bed < 100 { "icu" } else { "er" };
            retained.put(&format!("ward/{ward}/bed/B{bed:03}/state"), Kind::Bed, Bytes::from(payload));
        }
        let embedded = Options::from_config(&config, support::origin(FIRST), Some(broker.internal())).expect("options");
        let mut outgoing = publish_with(embedded, None, retained);
        let link = outgoing.publisher.link();
        wait("published", 20, || link.resynced());
        std::thread::sleep(Duration::from_millis(300));
        for version in ["mqttv311", "mqttv5"] {
            for (who, beds) in [("wall", 300), ("icu", 100)] {
                let all = ["-q", "1", "-t", "vitalguard/#", "--retained-only", "-W", "2", "-F", "%t"];
                let (_, text) = run("mosquitto_sub", address, version, who, who, &all);
                assert_eq!(text.matches("/bed/").count(), beds, "{version} {who}");
            }
            let (code, text) = run("mosquitto_sub", address, version, "wall", "wrong", &["-t", "x", "-W", "2"]);
            assert_ne!(code, 0);
            assert!(text.to_lowercase().contains("bad user name or password") || text.contains("not authori"), "{text}");
            let (_, text) = run(
                "mosquitto_sub",
                address,
                version,
                "icu",
                "icu",
                &["-q", "1", "-t", "vitalguard/v1/hsp1/ward/er/#", "-W", "2"],
            );
            assert!(text.to_lowercase().contains("denied") || text.contains("rejected"), "{version}: {text}");
        }
        let forged = format!("{BASE}/sys/status");
        let (_, text) = run("mosquitto_pub", address, "mqttv5", "icu", "icu", &["-q", "1", "-r", "-t", &forged, "-m", "forged"]);
        assert!(text.contains("Not authorized"), "{text}");
        let (_, text) = run("mosquitto_sub", address, "mqttv5", "wall", "wall", &["-t", &forged, "-C", "1", "-W", "2"]);
        assert!(text.contains("online"), "{text}");
        let command = r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z"}"#;
        let topic = format!("{BASE}/cmd/wall/ack");
        let (code, _) = run("mosquitto_pub", address, "mqttv311", "wall", "wall", &["-q", "1", "-t", &topic, "-m", command]);
        assert_eq!(code, 0);
        wait("the command", 5, || matches!(outgoing.inbound.try_recv(), Ok(Inbound::Command(c)) if c.user == "wall"));

        // A station's will.
        let station = format!("{BASE}/station/wall/status");
        let port = address.port().to_string();
        let mut dying = Command::new("mosquitto_sub")
            .args(["-p", &port, "-V", "mqttv311", "-u", "wall", "-P", "wall", "-t", "vitalguard/v1/+/sys/#"])
            .args([
                "--will-topic",
                &station,
                "--will-retain",
                "--will-qos",
                "1",
                "--will-payload",
                "{\"schema\":\"station-status/1\",\"state\":\"offline\"}",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("mosquitto_sub starts");
        std::thread::sleep(Duration::from_millis(500));
        dying.kill().expect("killed");
        dying.wait().expect("ended");
        let (_, text) = run("mosquitto_sub", address, "mqttv5", "wall", "wall", &["-t", &station, "-C", "1", "-W", "5"]);
        assert!(text.contains("offline"), "{text}");
        wait(
            "the house hears of it",
            5,
            || matches!(outgoing.inbound.try_recv(), Ok(Inbound::Station { user, online: false, .. }) if user == "wall"),
        );
        outgoing.publisher.stop(Duration::from_secs(1));
    }
}
