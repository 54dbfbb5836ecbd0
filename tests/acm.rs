//! Alerts to an alert manager over MLLP: in order, once, through refusals, silence, a cut line and a restart.

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, free_port, now_hl7, pcd01, wait_for};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What the receiver does with the n-th message that it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Do {
    Answer(&'static str),
    Hang,
    /// Reads half of it and closes.
    Cut,
    /// Answers another message first.
    Lie,
}

#[derive(Default)]
struct Heard {
    /// Whole messages, in order, with repeats.
    messages: Vec<String>,
}

/// An alert manager of the test.
struct Receiver {
    heard: Arc<Mutex<Heard>>,
}

fn field(text: &str, segment: &str, n: usize) -> String {
    let line = text.split('\r').find(|l| l.starts_with(segment)).unwrap_or_default();
    let n = if segment == "MSH" { n - 1 } else { n };
    line.split('|').nth(n).unwrap_or_default().to_owned()
}

impl Receiver {
    fn start(address: SocketAddr, plan: impl Fn(usize) -> Do + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind(address).unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (shared, plan) = (Arc::clone(&heard), Arc::new(plan));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (shared, plan) = (Arc::clone(&shared), Arc::clone(&plan));
                std::thread::spawn(move || {
                    let (mut buffer, mut all) = ([0; 4096], Vec::new());
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        let next = shared.lock().unwrap().messages.len();
                        if plan(next) == Do::Cut {
                            shared.lock().unwrap().messages.push(String::new());
                            return;
                        }
                        all.extend_from_slice(&buffer[..read]);
                        if !all.ends_with(b"\x1c\r") {
                            continue;
                        }
                        let text = String::from_utf8(std::mem::take(&mut all)).unwrap();
                        let text = text.trim_start_matches('\x0b').trim_end_matches("\x1c\r").to_owned();
                        let id = field(&text, "MSH", 10);
                        shared.lock().unwrap().messages.push(text);
                        let ack = |code: &str, id: &str| {
                            format!("\x0bMSH|^~\\&|AM|H|VITALGUARD|H|2026||ACK^R40^ACK|1|P|2.6\rMSA|{code}|{id}\r\x1c\r")
                        };
                        match plan(next) {
                            Do::Answer(code) => stream.write_all(ack(code, &id).as_bytes()).unwrap(),
                            Do::Lie => {
                                stream.write_all(ack("CA", "somebody").as_bytes()).unwrap();
                                stream.write_all(ack("CA", &id).as_bytes()).unwrap();
                            }
                            Do::Hang | Do::Cut => {}
                        }
                    }
                });
            }
        });
        Receiver { heard }
    }

    fn messages(&self) -> Vec<String> {
        self.heard.lock().unwrap().messages.clone()
    }

    /// Bed and phase of every whole message.
    fn told(&self) -> Vec<String> {
        let facet = |text: &str, name: &str| {
            let line = text.split('\r').find(|l| l.contains(name)).unwrap_or_default().to_owned();
            line.split('|').nth(5).unwrap_or_default().to_owned()
        };
        let whole = self.messages().into_iter().filter(|text| !text.is_empty());
        whole.map(|text| format!("{} {}", field(&text, "PV1", 3), facet(&text, "MDC_ATTR_EVENT_PHASE"))).collect()
    }
}

/// A service with two feeds of one gateway; what differs between them is an alert at once.
struct Site {
    folder: tempfile::TempDir,
    served: Option<Served>,
    gw: SocketAddr,
    emr: SocketAddr,
    sent: u32,
}

impl Site {
    fn new(receiver: SocketAddr, more: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let [gw, emr] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let text = format!(
            "[[mllp]]\nfeed = \"gw\"\nlisten = \"{gw}\"\n[[mllp]]\nfeed = \"emr\"\nlisten = \"{emr}\"\n\
             [[compare]]\nupstream = \"gw\"\ndownstream = \"emr\"\n[episodes]\nclear_s = 1\nannunciation_medium_s = 0\ncollapse_beds = 100\ncollapse_share = 1.0\n\
             [checks.feed_disagreement]\nover_s = 0.5\n\
             [acm]\naddress = \"{receiver}\"\nretry_max_s = 1\nanswer_timeout_s = 1\n{more}"
        );
        std::fs::write(folder.path().join("vg.toml"), text).unwrap();
        let mut site = Site { folder, served: None, gw, emr, sent: 0 };
        site.start();
        site
    }
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
    fn start(&mut self) {
        let data = self.path("data");
        self.served = Some(Served::start_quiet(Path::new(&data), &["--config", &self.path("vg.toml")]));
    }
    fn stop(&mut self) {
        let status = self.served.take().unwrap().terminate();
        assert!(status.success(), "{status}");
    }
    fn pair(&mut self, bed: &str, spo2: &str, copy: &str) {
        let (at, id) = (now_hl7(), format!("M{}", self.sent));
        self.sent += 1;
        let message = |value: &str| pcd01("GW", "ICU", bed, &id, &at, &[(HR, "72", BPM), (SPO2, value, PERCENT)]);
        assert_eq!(Client::connect(self.gw).ask(&message(spo2)).unwrap().0, "CA");
        assert_eq!(Client::connect(self.emr).ask(&message(copy)).unwrap().0, "CA");
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    /// An alert of a bed.
    fn raise(&mut self, bed: &str) {
        self.pair(bed, "97", "97");
        self.pair(bed, "97", "81");
    }
    /// Waits for a count of a result.
    fn counted(&self, result: &str) -> u64 {
        let text = self.served.as_ref().unwrap().get("/metrics").1;
        let line = format!("vitalguard_acm_messages_total{{result=\"{result}\"}} ");
        text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn an_alert_begins_and_ends_and_a_lie_is_no_answer() {
    let at = address();
    let receiver = Receiver::start(at, |n| if n == 0 { Do::Lie } else { Do::Answer("AA") });
    let mut site = Site::new(at, "language = \"it\"\n");
    site.raise("A01");
    wait_for("the start", || (receiver.told() == ["ICU^^A01 start"]).then_some(()));
    for _ in 0..60 {
        site.pair("A01", "97", "97");
        std::thread::sleep(std::time::Duration::from_millis(100));
        if receiver.told().len() > 1 {
            break;
        }
    }
    wait_for("the end", || receiver.told().last().is_some_and(|last| last == "ICU^^A01 end").then_some(()));
    let all = receiver.messages();
    assert!(all[0].contains("Due copie del flusso del letto A01 discordano: 97 e 81."), "{}", all[0]);
    assert_eq!(field(&all[0], "PID", 3), "\"\"", "nobody is named");
    assert!(!all.iter().any(|m| m.contains("Invented") || m.contains("P-A01")), "{all:?}");
    let ids: std::collections::BTreeSet<String> = all.iter().map(|m| field(m, "MSH", 10)).collect();
    assert_eq!(ids.len(), all.len(), "each event has an id of its own");
    assert!(ids.iter().all(|id| id.len() <= 20), "{ids:?}");
    assert_eq!(site.counted("accepted"), all.len() as u64);
}

#[test]
fn a_receiver_that_fails_hangs_cuts_and_refuses_holds_up_nothing_and_loses_nothing() {
    let at = address();
    // First: fails twice, hangs, is cut off in the middle; second: refused; third: taken.
    let plan = |n: usize| match n {
        0 | 1 => Do::Answer("AE"),
        2 => Do::Hang,
        3 => Do::Cut,
        5 => Do::Answer("AR"),
        _ => Do::Answer("CA"),
    };
    let receiver = Receiver::start(at, plan);
    let mut site = Site::new(at, "");
    for bed in ["A01", "A02", "A03"] {
        site.raise(bed);
    }
    let expected = ["A01", "A01", "A01", "A01", "A02", "A03"].map(|bed| format!("ICU^^{bed} start"));
    wait_for("all three", || {
        let told: Vec<String> = receiver.told().into_iter().filter(|t| t.ends_with("start")).collect();
        (told == expected).then_some(())
    });
    let ids: Vec<String> = receiver.messages().iter().filter(|m| !m.is_empty()).map(|m| field(m, "MSH", 10)).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "the same id at every attempt: {ids:?}");
    wait_for("counters", || {
        let all = ["accepted", "refused", "error", "unanswered"].map(|result| site.counted(result));
        (all == [2, 1, 2, 2]).then_some(())
    });
    let (status, _) = site.served.as_ref().unwrap().get("/ready");
    assert_eq!(status, 200);
}

#[test]
fn a_message_that_the_receiver_cannot_take_is_left_out_after_as_many_tries_as_configured() {
    let at = address();
    let receiver = Receiver::start(at, |n| if n < 2 { Do::Answer("CE") } else { Do::Answer("CA") });
    let mut site = Site::new(at, "tries = 2\n");
    site.raise("A01");
    site.raise("A02");
    wait_for("the next", || receiver.told().iter().any(|t| t == "ICU^^A02 start").then_some(()));
    assert_eq!(receiver.told()[..3], ["ICU^^A01 start", "ICU^^A01 start", "ICU^^A02 start"]);
    wait_for("counters", || (site.counted("failed") == 1).then_some(()));
}

#[test]
fn an_alert_whose_start_was_not_taken_is_never_ended_and_everyone_can_see_that_it_is_left_out() {
    let at = address();
    // The first one is refused, the second one fails as often as is tried, the third one is taken.
    let plan = |n: usize| match n {
        0 => Do::Answer("AR"),
        1 | 2 => Do::Answer("AE"),
        _ => Do::Answer("AA"),
    };
    let receiver = Receiver::start(at, plan);
    let mut site = Site::new(at, "tries = 2\nupdates = true\n");
    for bed in ["A01", "A02", "A03"] {
        site.raise(bed);
    }
    wait_for("the third", || receiver.told().iter().any(|t| t == "ICU^^A03 start").then_some(()));
    let left_out = |site: &Site| site.served.as_ref().unwrap().get("/metrics").1.contains("vitalguard_acm_left_out_alerts 2");
    wait_for("the metric", || left_out(&site).then_some(()));
    let mut ended = false;
    for _ in 0..80 {
        for bed in ["A01", "A02", "A03"] {
            site.pair(bed, "97", "97");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        ended = receiver.told().iter().any(|t| t == "ICU^^A03 end");
        let none = site.served.as_ref().unwrap().get("/api/v1/alerts").1.contains("\"alerts\":[]");
        if ended && none {
            break;
        }
    }
    assert!(ended, "{:?}", receiver.told());
    let other: Vec<String> = receiver.told().into_iter().filter(|t| !t.starts_with("ICU^^A03")).collect();
    assert_eq!(other, ["ICU^^A01 start", "ICU^^A02 start", "ICU^^A02 start"], "neither updated nor ended");
    wait_for("over there and here", || {
        site.served.as_ref().unwrap().get("/metrics").1.contains("vitalguard_acm_left_out_alerts 0").then_some(())
    });
}

/// An alert manager behind TLS, as anybody would write it: Python's ssl, a certificate made by openssl.
mod behind_tls {
    use super::*;
    use std::process::{Child, Command, Stdio};

    const RECEIVER: &str = "import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as server:
    print('ready', flush=True)
    while True:
        plain, _ = server.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as stream:
                data = b''
                while chunk := stream.recv(4096):
                    data += chunk
                    while b'\\x1c\\r' in data:
                        frame, data = data.split(b'\\x1c\\r', 1)
                        fields = frame.lstrip(b'\\x0b').split(b'\\r')[0].split(b'|')
                        print('told', fields[9].decode(), flush=True)
                        stream.sendall(b'\\x0bMSH|^~\\\\&|AM|H|VITALGUARD|H|2026||ACK^R40^ACK|1|P|2.6\\rMSA|CA|' + fields[9] + b'\\r\\x1c\\r')
        except OSError as error:
            print('closed', type(error).__name__, flush=True)
";

    fn openssl(folder: &Path, arguments: &[&str]) {
        let out = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is there");
        assert!(out.status.success(), "{}", common::text(&out.stderr));
    }

    /// An authority, and a certificate of it for this machine (`good`) and for another one (`other`).
    fn certificates(folder: &Path, authority: &str) {
        let (key, pem) = (format!("{authority}.key"), format!("{authority}.pem"));
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let subject = format!("/CN=Authority {authority}");
        let root = ["req", "-x509", "-subj", subject.as_str(), "-keyout", key.as_str(), "-out", pem.as_str()];
        openssl(folder, &[&root[..], &new[..]].concat());
        for (name, alternative) in [("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")] {
            let (own_key, own, extension) =
                (format!("{authority}-{name}.key"), format!("{authority}-{name}.pem"), format!("subjectAltName={alternative}"));
            let signed = [
                "req",
                "-x509",
                "-CA",
                pem.as_str(),
                "-CAkey",
                key.as_str(),
                "-subj",
                "/CN=Alert manager",
                "-addext",
                extension.as_str(),
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-keyout",
                own_key.as_str(),
                "-out",
                own.as_str(),
            ];
            openssl(folder, &[&signed[..], &new[..]].concat());
        }
    }

    struct Manager {
        child: Child,
        said: Arc<Mutex<String>>,
        port: u16,
    }

    impl Manager {
        fn start(folder: &Path, certificate: &str) -> Manager {
            let port = free_port();
            let file = |ending: &str| folder.join(format!("{certificate}.{ending}"));
            let mut child = Command::new("python3")
                .args(["-c", RECEIVER, &port.to_string()])
                .args([file("pem"), file("key")])
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3 is there");
            let said = Arc::new(Mutex::new(String::new()));
            let (mut out, shared) = (child.stdout.take().unwrap(), Arc::clone(&said));
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = out.read(&mut buffer) {
                    shared.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
            });
            let manager = Manager { child, said, port };
            wait_for("the receiver", || manager.said().contains("ready").then_some(()));
            manager
        }
        fn said(&self) -> String {
            self.said.lock().unwrap().clone()
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn alerts_go_to_a_receiver_of_the_right_authority_and_name_and_to_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for authority in ["ours", "theirs"] {
            certificates(folder.path(), authority);
        }
        let ca = folder.path().join("ours.pem");
        for (certificate, why) in [("ours-good", ""), ("theirs-good", "UnknownIssuer"), ("ours-other", "not valid for name")] {
            let manager = Manager::start(folder.path(), certificate);
            let address = SocketAddr::from(([127, 0, 0, 1], manager.port));
            let mut site = Site::new(address, &format!("encrypted = true\nca = {ca:?}\n"));
            site.raise("A01");
            if why.is_empty() {
                wait_for("the start", || (site.counted("accepted") == 1).then_some(()));
                assert_eq!(manager.said().matches("told VG").count(), 1, "{}", manager.said());
                assert!(site.served.as_ref().unwrap().get("/metrics").1.contains("vitalguard_acm_connected 1"));
                continue;
            }
            wait_for("attempts", || (site.counted("unanswered") >= 2).then_some(()));
            assert!(!manager.said().contains("told"), "{certificate}: {}", manager.said());
            let log = site.served.as_ref().unwrap().log.lock().unwrap().clone();
            assert!(log.contains(why), "{certificate}: {log}");
            assert_eq!(site.counted("accepted"), 0);
        }
        // Plain text where TLS is spoken: nothing is told either.
        let manager = Manager::start(folder.path(), "ours-good");
        let mut site = Site::new(SocketAddr::from(([127, 0, 0, 1], manager.port)), "");
        site.raise("A01");
        wait_for("an attempt", || (site.counted("unanswered") >= 1).then_some(()));
        assert!(!manager.said().contains("told"), "{}", manager.said());
    }
}

#[test]
fn what_happens_while_the_receiver_is_away_is_told_in_order_after_a_restart_and_only_once() {
    let at = address();
    let mut site = Site::new(at, "");
    site.raise("A01");
    wait_for("attempts", || (site.counted("unanswered") > 0).then_some(()));
    site.stop();
    site.start();
    site.raise("A02");
    let receiver = Receiver::start(at, |_| Do::Answer("CA"));
    let starts = |receiver: &Receiver| -> Vec<String> { receiver.told().into_iter().filter(|t| t.ends_with("start")).collect() };
    wait_for("both", || (starts(&receiver) == ["ICU^^A01 start", "ICU^^A02 start"]).then_some(()));
    // Killed and started again: nothing is told twice.
    wait_for("counters", || (site.counted("accepted") >= 2).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    site.served.take().unwrap().kill();
    site.start();
    site.raise("A03");
    wait_for("the third", || (starts(&receiver).len() >= 3).then_some(()));
    assert_eq!(starts(&receiver), ["ICU^^A01 start", "ICU^^A02 start", "ICU^^A03 start"]);
}

#[test]
fn the_engineers_list_and_a_receiver_that_is_not_configured_get_nothing() {
    let at = address();
    let receiver = Receiver::start(at, |_| Do::Answer("CA"));
    let mut site = Site::new(at, "least = \"high\"\n");
    site.raise("A01");
    let alerts = |site: &Site| site.served.as_ref().unwrap().get("/api/v1/alerts").1.contains("P10 feed_disagreement");
    wait_for("the alert", || alerts(&site).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(receiver.messages(), Vec::<String>::new(), "a medium one is below high");
    assert!(site.served.as_ref().unwrap().get("/metrics").1.contains("vitalguard_acm_waiting_events 0"));
}

/// Parsers of others.
#[cfg(feature = "peers")]
mod peers {
    use super::*;
    use std::process::{Command, Stdio};

    fn python(arguments: &[&str], input: &[u8]) -> String {
        let python = std::env::var("VG_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut child = Command::new(python)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("./test installs it");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn hl7apy_in_strict_mode_and_python_hl7_read_every_report() {
        let at = address();
        let receiver = Receiver::start(at, |_| Do::Answer("CA"));
        let mut site = Site::new(at, "updates = true\n");
        site.raise("A01");
        site.raise("A02");
        wait_for("two starts", || (receiver.told().len() >= 2).then_some(()));
        for _ in 0..60 {
            site.pair("A01", "97", "97");
            std::thread::sleep(std::time::Duration::from_millis(100));
            if receiver.told().iter().any(|t| t.ends_with("end")) {
                break;
            }
        }
        let all = receiver.messages();
        assert!(receiver.told().iter().any(|t| t.ends_with("end")), "{:?}", receiver.told());
        // hl7apy knows no ORU_R40; its segments stand in the groups of ORU_R01.
        let frames: String = all.iter().map(|m| format!("\x0b{}\x1c\r", m.replace("^ORU_R40", "^ORU_R01"))).collect();
        let strict = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/strict.py");
        let said = python(&[strict], frames.as_bytes());
        assert_eq!(said, "ok  2.6\n".repeat(all.len()));
        // What is wrong is found.
        let wrong = frames.replacen("OBR|1||", "OBR|1|", 1).replacen("196616^MDC_EVT_ALARM^MDC", "", 1);
        assert!(python(&[strict], wrong.as_bytes()).starts_with("BAD"), "an OBR without its code");

        let script = "import sys, hl7\n\
            for frame in sys.stdin.buffer.read().split(b'\\x0b')[1:]:\n\
            \u{20}   m = hl7.parse(frame.removesuffix(b'\\x1c\\r').decode())\n\
            \u{20}   facets = [str(o[5]) for o in m.segments('OBX')]\n\
            \u{20}   print(str(m.segment('PV1')[3]), str(m.segment('MSH')[9]), facets[2], facets[6], m.unescape(facets[0])[:25])\n";
        let frames: String = all.iter().map(|m| format!("\x0b{m}\x1c\r")).collect();
        let said = python(&["-c", script], frames.as_bytes());
        let first = said.lines().next().unwrap();
        assert_eq!(first, "ICU^^A01 ORU^R40^ORU_R40 start SA Two copies of the feed of");
        assert_eq!(said.lines().count(), all.len());
    }
}
