//! The samples of `contrib/` against the real programs: mosquitto with mutual TLS, and NATS.
#![cfg(feature = "peers")]

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, Subscriber, free_port, now_hl7, pcd01, wait_for};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BASE: &str = "vitalguard/v1/main";

fn contrib(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(file);
    std::fs::read_to_string(path).expect("the sample")
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certificate and its key, by the name of its owner.
struct Authority {
    folder: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Authority {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&key).expect("an authority");
        std::fs::write(folder.join("ca.pem"), authority.pem()).expect("written");
        Authority { folder: folder.to_owned(), issuer: rcgen::Issuer::new(parameters, key) }
    }
    fn issue(&self, owner: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("parameters");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, owner);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let (pem, secret) = (self.folder.join(format!("{owner}.pem")), self.folder.join(format!("{owner}.key")));
        std::fs::write(&pem, certificate.pem()).expect("written");
        std::fs::write(&secret, key.serialize_pem()).expect("written");
        (pem.display().to_string(), secret.display().to_string())
    }
}

/// Two wards with a bed each, and an alert in the first.
fn feed(served: &Served) {
    let mut gateway = Client::connect(served.mllp);
    let mut send = |ward: &str, id: &str, n: u64| {
        let (hr, spo2) = ((70 + n * 7 % 5).to_string(), (96 + n % 3).to_string());
        let values = [(HR, hr.as_str(), BPM), (SPO2, spo2.as_str(), PERCENT)];
        gateway.ask(&pcd01("GW", ward, "B1", id, &now_hl7(), &values)).expect("an answer");
    };
    for n in 0..60 {
        send("icu", &format!("i{n}"), n);
        send("er", &format!("e{n}"), n);
    }
    send("icu", "i59", 1000);
}

#[test]
fn the_sample_for_mosquitto_keeps_each_user_to_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.issue("server");
    let port = free_port();
    let here = format!("{}/", folder.path().display());
    let text = contrib("mosquitto/vitalguard.conf")
        .replace("/etc/mosquitto/", &here)
        .replace("/var/lib/mosquitto/", &here)
        .replace("listener 8883", &format!("listener {port} 127.0.0.1"));
    // Started by root it would become another user, who cannot read our folder.
    std::fs::write(folder.path().join("mosquitto.conf"), format!("{text}\nuser root\n")).unwrap();
    std::fs::write(folder.path().join("vitalguard.acl"), contrib("mosquitto/vitalguard.acl")).unwrap();
    let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let child = Command::new(program)
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto is installed (./test installs it)");
    let _broker = Running(child);
    wait_for("mosquitto", || TcpStream::connect(("127.0.0.1", port)).ok());

    let ca = folder.path().join("ca.pem").display().to_string();
    let own = authority.issue("vitalguard");
    let config = folder.path().join("vitalguard.toml");
    let text = format!(
        "[mqtt]\nurl = \"mqtts://localhost:{port}\"\nca = {ca:?}\nflat = true\n[mqtt.client]\ncertificate = {:?}\nkey = {:?}\n",
        own.0, own.1
    );
    std::fs::write(&config, text).unwrap();
    let served =
        Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap(), "--mqtt-listen", "127.0.0.1:0"]);
    let account = |owner: &str| {
        let (pem, key) = authority.issue(owner);
        ["--cafile", &ca, "--cert", &pem, "--key", &key, "-V", "mqttv5"].map(str::to_owned).to_vec()
    };
    let listen = |owner: &str| {
        let account = account(owner);
        Subscriber::start(port, &["vitalguard/#"], &account.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let say = |owner: &str, topic: &str, text: &str| {
        let done = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-m", text])
            .args(account(owner))
            .stderr(Stdio::null())
            .status();
        done.expect("mosquitto_pub is installed")
    };
    let (house, wall, grafana) = (listen("vitalguard"), listen("icu-wall"), listen("grafana"));
    feed(&served);
    wait_for("the alert at the wall", || wall.payloads("/ward/icu/bed/B1/event/high").pop());
    wait_for("numbers for the dashboard", || grafana.payloads("/flat").pop());
    wait_for("both wards for the house", || house.payloads("/ward/er/state").pop());

    // A command and its answer, under the own name and under another's.
    let request = |id: &str| format!(r#"{{"request_id":"{id}","alert":"A-000000000000-20260101T000000000Z"}}"#);
    let answer = Command::new("mosquitto_rr")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-W", "8"])
        .args(["-t", &format!("{BASE}/cmd/nurse7/ack"), "-e", &format!("{BASE}/rsp/nurse7/r1"), "-m", &request("r1")])
        .args(account("nurse7"))
        .output()
        .expect("mosquitto_rr is installed");
    assert!(String::from_utf8_lossy(&answer.stdout).contains("NOT_FOUND"), "{answer:?}");
    say("nurse7", &format!("{BASE}/cmd/nurse8/ack"), &request("r2"));
    say("icu-wall", &format!("{BASE}/ward/icu/bed/B1/state"), r#"{"schema":"forged/1"}"#);
    say("grafana", &format!("{BASE}/cmd/nurse7/ack"), &request("r3"));
    std::thread::sleep(Duration::from_secs(1));
    let topics = |s: &Subscriber| s.lines.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect::<Vec<_>>();
    let house = house.lines.lock().unwrap().clone();
    assert!(!house.iter().any(|(topic, text)| text.contains("forged/1") || topic.contains("nurse8") || text.contains("\"r3\"")));
    for topic in topics(&wall) {
        let allowed = ["/sys/", "/feed/", "/ward/icu/", "/ward/_site/"].iter().any(|part| topic.contains(part));
        assert!(allowed, "the wall heard {topic}");
    }
    assert!(topics(&grafana).iter().all(|topic| topic.ends_with("/flat")), "{:?}", topics(&grafana));
    let stranger = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--cafile", &ca, "-t", "vitalguard/x", "-m", "x"])
        .stderr(Stdio::null())
        .status();
    assert!(!stranger.expect("it runs").success(), "without a certificate nobody comes in");
}

#[test]
fn the_sample_for_nats_carries_states_events_and_commands() {
    let program = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];
    let Some(program) = program.into_iter().find(|path| Path::new(path).exists()) else {
        println!("not there, this test did not run: nats-server");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let text: Vec<String> = contrib("nats/vitalguard.conf")
        .lines()
        .filter(|line| !line.trim_start().starts_with("tls {"))
        .map(|line| {
            line.replace("8883", &port.to_string()).replace("/var/lib/nats", &folder.path().join("js").display().to_string())
        })
        .collect();
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, text.join("\n")).unwrap();
    let child = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", &free_port().to_string(), "-c"])
        .arg(&config)
        .envs([("VG_PW", "one-secret"), ("N7_PW", "another-secret")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts");
    let _broker = Running(child);
    wait_for("nats", || TcpStream::connect(("127.0.0.1", port)).ok());
    let password = folder.path().join("password");
    std::fs::write(&password, "one-secret\n").unwrap();
    let config = folder.path().join("vitalguard.toml");
    let text = format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"vitalguard\"\npassword_file = {password:?}\n");
    std::fs::write(&config, text).unwrap();
    let served =
        Served::start(&folder.path().join("data"), &["--config", config.to_str().unwrap(), "--mqtt-listen", "127.0.0.1:0"]);
    let nurse = ["-V", "mqttv311", "-u", "nurse7", "-P", "another-secret"];
    feed(&served);
    let ward = Subscriber::start(port, &[&format!("{BASE}/ward/icu/#"), &format!("{BASE}/rsp/nurse7/#")], &nurse);
    wait_for("the retained ward", || ward.payloads("/ward/icu/state").pop());
    let request = r#"{"request_id":"r1","alert":"A-000000000000-20260101T000000000Z"}"#;
    let answer = wait_for("an answer", || {
        let done = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", &format!("{BASE}/cmd/nurse7/ack"), "-m", request])
            .args(nurse)
            .status();
        assert!(done.expect("mosquitto_pub is installed").success());
        std::thread::sleep(Duration::from_millis(500));
        ward.payloads("/rsp/nurse7/r1").pop()
    });
    assert_eq!(answer["code"], "NOT_FOUND");
}
