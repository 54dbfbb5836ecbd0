//! The real binary against programs that we did not write: mosquitto, mosquitto_sub, mosquitto_rr and `mllp_send`.
//! `./test` installs them and turns the feature on.
#![cfg(feature = "peers")]

mod common;

use common::{BPM, Client, HR, Mosquitto, PR, Served, Subscriber, pcd01, wait_for};
use std::collections::HashSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn vitals(bed: &str, id: &str, hr: u64) -> Vec<u8> {
    let hr_text = hr.to_string();
    pcd01("GW", "ICU", bed, id, &common::now_hl7(), &[(HR, &hr_text, BPM), (PR, &hr_text, BPM)])
}

/// Makes the monitor raise: one id, two bodies.
fn reuse(client: &mut Client, bed: &str, id: &str) {
    assert_eq!(client.ask(&vitals(bed, id, 70)).unwrap().0, "CA");
    assert_eq!(client.ask(&vitals(bed, id, 91)).unwrap().0, "CA");
}

/// A sender's ids are believed to be ids after 50 messages.
fn warm_up(client: &mut Client, bed: &str) {
    for n in 0..60 {
        assert_eq!(client.ask(&vitals(bed, &format!("w-{bed}-{n}"), 70 + n % 5)).unwrap().0, "CA");
    }
}

#[test]
fn mosquitto_sub_sees_the_documents_on_the_embedded_broker() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &["--site", "hsp"]);
    let port = served.mqtt.expect("embedded broker").port();
    let subscriber = Subscriber::start(port, &["vitalguard/#"], &[]);
    let mut client = Client::connect(served.mllp);
    warm_up(&mut client, "A1");
    reuse(&mut client, "A1", "x1");
    let event = wait_for("an event", || subscriber.payloads("/event/").into_iter().next());
    assert_eq!(event["schema"], "alert-event/1");
    assert_eq!(event["event"], "raised");
    let state = wait_for("an active alert in the bed state", || {
        subscriber.payloads("/bed/A1/state").into_iter().find(|s| !s["active"].as_array().unwrap().is_empty())
    });
    assert_eq!(state["schema"], "bed-state/1");
    assert_eq!(state["active"][0]["id"], event["alert"]["id"]);
    for part in ["/sys/status", "/sys/info", "/sys/heartbeat", "/feed/", "/ward/ICU/state", "/bed/A1/vitals"] {
        wait_for(part, || subscriber.payloads(part).into_iter().next());
    }
    // A late joiner is told the truth by retained documents, in MQTT 5 and in 3.1.1.
    for version in ["mqttv5", "mqttv311"] {
        let late = Subscriber::start(port, &["vitalguard/v1/+/ward/+/bed/+/state"], &["-V", version, "--retained-only"]);
        let state = wait_for("the retained state", || late.payloads("/bed/A1/state").into_iter().next());
        assert_eq!(state["active"][0]["id"], event["alert"]["id"], "{version}");
    }
    // Acknowledge, and wait for the answer.
    let id = event["alert"]["id"].as_str().unwrap();
    let out = Command::new("mosquitto_rr")
        .args(["-V", "mqttv5", "-q", "1", "-W", "20", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-t", "vitalguard/v1/hsp/cmd/local/ack", "-e", "vitalguard/v1/hsp/rsp/local/r1"])
        .args(["-m", &format!("{{\"request_id\":\"r1\",\"alert\":\"{id}\"}}")])
        .output()
        .expect("mosquitto_rr is installed");
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).expect("an answer");
    assert_eq!((&answer["status"], &answer["alert_state"]), (&"ok".into(), &"acknowledged".into()), "{answer}");
    let acknowledged =
        wait_for("the event", || subscriber.payloads("/event/").into_iter().find(|e| e["event"] == "acknowledged"));
    assert_eq!(acknowledged["by"]["user"], "local");
}

#[test]
fn a_broker_that_dies_under_load_loses_no_event() {
    let data = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    let persistence = format!(
        "persistence true\npersistence_location {}/\nmax_queued_messages 0\nmax_inflight_messages 200",
        store.path().display()
    );
    let mut broker = Mosquitto::start(&persistence);
    let port = broker.port;
    let served = Served::start(data.path(), &["--mqtt-url", &broker.url()]);
    // A durable subscriber: what the broker acknowledged, it delivers.
    let subscriber = Subscriber::start(port, &["vitalguard/v1/+/ward/+/bed/+/event/#"], &["-c", "-i", "collector"]);
    wait_for("the publisher", || (served.get("/ready").0 == 200).then_some(()));
    let address = served.mllp;
    let load = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        for bed in 0..40 {
            let bed = format!("L{bed}");
            warm_up(&mut client, &bed);
            reuse(&mut client, &bed, &format!("x-{bed}"));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        // A clean end writes the broker's own store; a crash of the broker's disk is not ours to answer for.
        common::signal(broker.pid(), "TERM");
        std::thread::sleep(Duration::from_millis(700));
        broker.kill();
        broker = Mosquitto::start_on(port, &persistence);
    }
    load.join().unwrap();
    let kept = || {
        let (_, body) = served.get("/api/v1/alerts?format=jsonl&limit=1000");
        body.lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .map(|e| (e["alert"]["id"].as_str().unwrap().to_owned(), e["seq"].as_u64().unwrap()))
            .collect::<HashSet<_>>()
    };
    wait_for("every event that the store holds", || {
        let seen: HashSet<_> = subscriber
            .payloads("/event/")
            .into_iter()
            .map(|e| (e["alert"]["id"].as_str().unwrap().to_owned(), e["seq"].as_u64().unwrap()))
            .collect();
        let kept = kept();
        (kept.len() >= 40 && kept.is_subset(&seen)).then_some(())
    });
}

#[test]
fn a_full_disk_answers_ae_says_so_and_recovers() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(mount.path())
        .status()
        .is_ok_and(|s| s.success());
    assert!(mounted, "this test mounts a small tmpfs and needs the right to (root)");
    struct Unmount(std::path::PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(mount.path().to_owned());
    let mut served = Served::start_with(
        &mount.path().join("data"),
        &[],
        &[("VITALGUARD_JOURNAL__SEGMENT_BYTES", "2097152"), ("VITALGUARD_JOURNAL__RETAIN_DAYS", "30")],
    );
    let port = served.mqtt.expect("embedded broker").port();
    let subscriber = Subscriber::start(port, &["vitalguard/#"], &[]);
    let mut client = Client::connect(served.mllp);
    warm_up(&mut client, "D1");
    assert_eq!(served.get("/ready").0, 200);
    // Somebody else fills the disk.
    let filler = mount.path().join("filler");
    let _ = Command::new("dd")
        .arg("if=/dev/zero")
        .arg(format!("of={}", filler.display()))
        .arg("bs=1M")
        .stderr(Stdio::null())
        .status();
    // Text that no compression makes smaller: sealed segments would make room again.
    let mut state = 1u64;
    let mut padding = || -> String {
        let letters = (0..200_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (state >> 58) as u8)
        });
        letters.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    };
    let mut last = String::new();
    for n in 0..400 {
        let mut message = vitals("D1", &format!("f{n}"), 70);
        message.extend_from_slice(format!("ZPD|{}\r", padding()).as_bytes());
        last = client.ask(&message).unwrap().0;
        if last != "CA" {
            break;
        }
    }
    assert_eq!(last, "CE", "a full disk is answered with an error");
    let (status, body) = wait_for("/ready to say so", || {
        let (status, body) = served.get("/ready");
        (status == 503).then_some((status, body))
    });
    assert!(body.contains("journal"), "{status} {body}");
    wait_for("MQTT to say so", || {
        subscriber.payloads("/bed/_site/state").into_iter().find(|s| s.to_string().contains("S01 journal_failed"))
    });
    std::fs::remove_file(&filler).unwrap();
    wait_for("the journal to take messages again", || (client.ask(&vitals("D1", "again", 71)).unwrap().0 == "CA").then_some(()));
    wait_for("readiness", || (served.get("/ready").0 == 200).then_some(()));
    wait_for("the condition to end", || {
        subscriber
            .payloads("/event/")
            .into_iter()
            .find(|e| e["alert"]["condition"] == "S01 journal_failed" && e["event"] == "cleared")
    });
    assert!(served.terminate().success());
}

/// What `mllp_send --loose` got for a file: MSA-1 of each answer, `-` where none came.
fn send_loose(program: &str, port: u16, file: &std::path::Path) -> String {
    let mut child = Command::new(program)
        .args(["--loose", "--port", &port.to_string(), "--file"])
        .arg(file)
        .arg("127.0.0.1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("mllp_send is installed (./test installs it)");
    let mut out = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.read_to_end(&mut bytes);
        bytes
    });
    // It waits for an answer for ever, also where none is due.
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut waited = false;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            waited = true;
            let _ = child.kill();
            let _ = child.wait();
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let bytes = reader.join().unwrap();
    let mut codes: Vec<String> = String::from_utf8_lossy(&bytes)
        .split(['\r', '\n'])
        .filter(|s| s.starts_with("MSA"))
        .map(|s| s.chars().skip(4).take(2).collect())
        .collect();
    if waited {
        codes.push("-".into());
    }
    codes.join(" ")
}

#[test]
fn mllp_send_gets_the_prescribed_answer_for_each_message() {
    let Some(folder) = common::shared("hl7") else { return };
    let program = std::env::var("VG_TEST_MLLP_SEND").unwrap_or_else(|_| "mllp_send".into());
    let expected_path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expect/mllp_send.tsv");
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(
                std::fs::read_dir(entry.path())
                    .unwrap()
                    .flatten()
                    .map(|e| e.path())
                    .filter(|p| p.extension().is_some_and(|e| e == "hl7")),
            );
        }
    }
    files.sort();
    // Several at a time: where no answer is due, mllp_send must be given time to wait for it.
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(vec![String::new(); files.len()]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(file) = files.get(n) else { break };
                    let codes = send_loose(&program, served.mllp.port(), file);
                    results.lock().unwrap()[n] = codes;
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let mut actual = String::from("# file\tMSA-1 of each answer to `mllp_send --loose`, in order; `-`: none was due\n");
    for (file, codes) in files.iter().zip(&results) {
        actual.push_str(&format!("{}\t{codes}\n", file.strip_prefix(&folder).unwrap().display()));
    }
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        std::fs::write(&expected_path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&expected_path).expect("the committed table");
    for (n, (e, a)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(e, a, "line {}", n + 1);
    }
    assert_eq!(expected.lines().count(), actual.lines().count());
    // And it is still there.
    assert_eq!(Client::connect(served.mllp).ask(&vitals("Z9", "after", 70)).unwrap(), ("CA".into(), "after".into()));
}

#[test]
fn the_demo_catches_what_it_plays() {
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["demo", "--for", "250", "--mllp", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    for (bed, check) in [("B07", "P02"), ("B04", "P01"), ("B12", "T07")] {
        let caught = |line: &str| line.contains("CAUGHT") && line.contains(&format!("bed {bed}:")) && line.contains(check);
        assert!(text.lines().any(caught), "{check} on bed {bed}: {text}");
    }
    assert!(text.contains("ADVISORY  LOW    bed B13") && text.contains("ICSMA-25-030-01"), "{text}");
    assert!(text.contains("vitalguard devices --http "), "{text}");
}

/// An authority, and certificates signed by it.
struct Authority {
    key: rcgen::KeyPair,
    certificate: rcgen::Certificate,
    params: rcgen::CertificateParams,
}

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { key, certificate, params }
    }
    /// Writes `{name}.pem` and `{name}.key`.
    fn issue(&self, folder: &std::path::Path, name: &str, common_name: &str, serial: u64) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        params.serial_number = Some(serial.into());
        params.subject_alt_names.push(rcgen::SanType::IpAddress("127.0.0.1".parse().unwrap()));
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        // As a renewing program does it: the key first, each in one step.
        for (ending, text) in [("key", key.serialize_pem()), ("pem", certificate.pem())] {
            let next = folder.join(format!("{name}.{ending}.next"));
            std::fs::write(&next, text).unwrap();
            std::fs::rename(&next, folder.join(format!("{name}.{ending}"))).unwrap();
        }
    }
}

/// Serial number of the certificate that a TLS port shows, by openssl.
fn serial(port: u16, folder: &std::path::Path) -> String {
    let shell = format!(
        "openssl s_client -connect 127.0.0.1:{port} -CAfile {f}/ca.pem -cert {f}/client.pem -key {f}/client.key </dev/null 2>/dev/null \
         | openssl x509 -noout -serial",
        f = folder.display()
    );
    let out = Command::new("sh").args(["-c", &shell]).output().expect("openssl is on every Debian");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// An independent judge of the description of the HTTP side.
#[test]
fn the_openapi_document_is_valid() {
    let python = std::env::var("VG_TEST_PYTHON").expect("./test names the Python that has openapi-spec-validator");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let judge = |path: &std::path::Path| {
        let out = Command::new(&python).args(["-m", "openapi_spec_validator"]).arg(path).output().expect("it runs");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let (good, said) = judge(&path);
    assert!(good, "{said}");
    // It does find faults.
    let broken = std::fs::read_to_string(&path).unwrap().replace("\"in\": \"path\"", "\"in\": \"nowhere\"");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("openapi.json");
    std::fs::write(&other, broken).unwrap();
    assert!(!judge(&other).0);
}

#[test]
fn tls_on_all_three_with_client_certificates_renewed_without_dropping_anyone() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    let authority = Authority::new();
    std::fs::write(f.join("ca.pem"), authority.certificate.pem()).unwrap();
    authority.issue(f, "server", "localhost", 0x1111);
    authority.issue(f, "client", "icu-wall", 0x2222);
    let tls = format!("certificate = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\nclient_ca = \"{0}/ca.pem\"\n", f.display());
    std::fs::write(
        f.join("vitalguard.toml"),
        format!(
            "site = \"tls\"\n[[mllp]]\nlisten = \"127.0.0.1:0\"\n[mllp.tls]\n{tls}[mqtt]\nlisten = \"127.0.0.1:0\"\n[mqtt.tls]\n{tls}\
             [[mqtt.users]]\nname = \"icu-wall\"\nverbs = [\"ack\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[http.tls]\n{tls}"
        ),
    )
    .unwrap();
    let served = Served::start(&f.join("data"), &["--config", f.join("vitalguard.toml").to_str().unwrap()]);
    let (mllp, mqtt, http) = (served.mllp.port(), served.mqtt.unwrap().port(), served.http.port());
    for port in [mllp, mqtt, http] {
        assert_eq!(serial(port, f), "serial=1111", "port {port}");
    }
    let path = |name: &str| f.join(name).to_str().unwrap().to_owned();
    let with = ["--cafile", &path("ca.pem"), "--cert", &path("client.pem"), "--key", &path("client.key")].map(String::from);
    let with: Vec<&str> = with.iter().map(String::as_str).collect();
    let subscriber = Subscriber::start(mqtt, &["vitalguard/#"], &with);
    wait_for("a heartbeat over TLS", || subscriber.payloads("/sys/heartbeat").into_iter().next());
    // Without a certificate nobody is let in.
    let refused = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &mqtt.to_string(), "-t", "#", "-W", "5", "--cafile", &path("ca.pem")])
        .output()
        .unwrap();
    assert!(!refused.status.success());

    authority.issue(f, "server", "localhost", 0x3333);
    common::signal(served.child.id(), "HUP");
    for port in [mllp, mqtt, http] {
        let name = [(mllp, "mllp"), (mqtt, "mqtt"), (http, "http")].into_iter().find(|(p, _)| *p == port).unwrap().1;
        wait_for(&format!("the new certificate of {name}"), || (serial(port, f) == "serial=3333").then_some(()));
    }
    let before = subscriber.payloads("/sys/heartbeat").len();
    wait_for("the old connection goes on", || (subscriber.payloads("/sys/heartbeat").len() > before).then_some(()));
    let late = Subscriber::start(mqtt, &["vitalguard/#"], &with);
    wait_for("a new connection", || late.payloads("/sys/status").into_iter().next());
    // A subscriber that had been dropped would have been told the retained status again.
    assert_eq!(subscriber.payloads("/sys/status").len(), 1);
}
