//! The programs of others against ours: three clients from npm, hl7apy as the strict judge of our acknowledgements, and
//! tshark's HL7 dissector over a capture of them. (`mllp_send` and mosquitto are in `peers.rs`.)
//!
//! `./test` installs them and turns the feature on. `VG_TEST_PYTHON` names the Python that has hl7apy.
#![cfg(feature = "peers")]

mod common;
#[path = "clients/conversation.rs"]
mod conversation;
#[path = "clients/pcap.rs"]
mod pcap;

use common::Served;
use conversation::{VERSIONS, conversation};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vitalguard::hl7::ack::{AckMode, Outcome, answer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs one client's driver: what it said, and whether it was content.
fn drive(script: &str, address: SocketAddr) -> (String, bool) {
    assert!(folder().join("node_modules").is_dir(), "npm ci was run in tests/clients (./test does)");
    let out = Command::new("node")
        .arg(folder().join(script))
        .arg(address.port().to_string())
        .output()
        .expect("node is installed (./test installs it)");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (said, out.status.success())
}

/// A case of a driver, and how many answers it counts.
type Case = (&'static str, u64);

/// Drivers, and what each says when all is well.
const CLIENTS: [(&str, &str, &[Case]); 3] = [
    (
        "simple-hl7.mjs",
        "simple-hl7 3.3.0",
        &[("vitals", 1), ("20 on one connection", 20), ("UTF-8", 1), ("1 MB", 1), ("commit only", 1), ("query refused", 1)],
    ),
    (
        "node-hl7-client.mjs",
        "node-hl7-client 3.2.0",
        &[
            ("vitals", 1),
            ("20 on one connection", 20),
            ("50 pipelined", 50),
            ("UTF-8", 1),
            ("latin-1", 1),
            ("1 MB", 1),
            ("commit only", 1),
            ("query refused", 1),
        ],
    ),
    (
        "medplum.mjs",
        "@medplum/hl7 4.5.2",
        &[
            ("vitals", 1),
            ("20 on one connection", 20),
            ("20 connections side by side", 20),
            ("UTF-8", 1),
            ("latin-1", 1),
            ("1 MB", 1),
            ("commit only", 1),
            ("query refused", 1),
        ],
    ),
];

#[test]
fn every_client_gets_the_right_answer_to_each_message() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut sent = 0;
    for (script, name, cases) in CLIENTS {
        let (said, content) = drive(script, served.mllp);
        print!("{said}");
        let expected: String = cases.iter().map(|(case, answers)| format!("{name}: {case}: {answers}\n")).collect();
        assert_eq!(said, expected);
        assert!(content);
        sent += cases.iter().map(|(_, answers)| answers).sum::<u64>();
    }
    // As many messages have come as answers were counted, and nothing was wrong with any of them.
    let metrics = served.get("/metrics").1;
    assert!(metrics.contains(&format!("vitalguard_messages_received_total{{feed=\"mllp\"}} {sent}\n")), "{sent}: {metrics}");
    let faults: Vec<_> =
        metrics.lines().filter(|l| l.starts_with("vitalguard_wire_faults_total{") && !l.ends_with(" 0")).collect();
    assert!(faults.iter().all(|l| l.contains("fault=\"query\"")), "{faults:?}");
}

/// A server that answers every frame with AA and an id of its own.
fn liar() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut buffer, mut all) = ([0; 4096], Vec::new());
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    all.extend_from_slice(&buffer[..len]);
                    if all.ends_with(b"\x1c\r") {
                        all.clear();
                        let _ =
                            stream.write_all(b"\x0bMSH|^~\\&|VG|HOSP|GW|HOSP|2026||ACK^R01^ACK|1|P|2.6\rMSA|AA|wrong\r\x1c\r");
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_client_that_matches_answers_notices_a_wrong_one() {
    // (@medplum/hl7 waits for the right one until its patience ends, so that its driver would too.)
    for script in ["simple-hl7.mjs", "node-hl7-client.mjs"] {
        let (said, content) = drive(script, liar());
        assert!(!content && said.contains("was answered AA wrong"), "{said}");
    }
}

fn strict(frames: &[u8]) -> Vec<String> {
    let python = std::env::var("VG_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(python)
        .arg(folder().join("strict.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed (./test installs it)");
    let mut input = child.stdin.take().expect("piped");
    let frames = frames.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&frames));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "hl7apy is installed (./test installs it)");
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn hl7apy_finds_every_kind_of_acknowledgement_valid_in_strict_mode() {
    let recorded = conversation();
    let said = strict(&recorded.answers());
    let mut expected = Vec::new();
    for answer in &recorded.due {
        expected.push(format!("ok {answer}"));
    }
    for (n, (said, expected)) in said.iter().zip(&expected).enumerate() {
        assert_eq!(said, expected, "answer {n}");
    }
    assert_eq!(said.len(), expected.len());
    // Every kind in every release.
    for version in VERSIONS {
        for code in ["AA", "AE", "AR", "CA", "CE", "CR"] {
            assert!(expected.contains(&format!("ok {code} {version}")), "{code} {version}");
        }
    }
}

#[test]
fn hl7apy_finds_what_is_wrong_with_an_acknowledgement() {
    let head = "\x0bMSH|^~\\&|VG|HOSP|GW|HOSP|20261122182407.412+0000||ACK^R01^ACK|1|P|2.6\r";
    for (rest, complaint) in [
        ("", "Missing required child ACK.MSA"),
        ("MSA|AA|\r", "Missing required child MSA.MSA_2"),
        ("MSA|AE|1\rERR|||207^Application internal error^HL70357\r", "Missing required child ERR.ERR_4"),
        ("MSA|AA|1\rERR|||207^a^b^c^d^e^f^g^h^i^j|E\r", "CWE_10"),
    ] {
        let said = strict(format!("{head}{rest}\x1c\r").as_bytes());
        assert!(said.len() == 1 && said[0].starts_with("BAD") && said[0].contains(complaint), "{rest:?}: {said:?}");
    }
}

#[test]
fn a_refusal_of_what_has_no_header_lacks_nothing_but_the_id_that_was_not_there() {
    let at = vitalguard::time::Timestamp::from_ms(1_795_371_847_412);
    for (payload, outcome) in [
        (&b"this is not hl7"[..], Outcome::Unreadable),
        (b"MSH|^~\\&|A|B|||2026||ORU^R01^ORU_R01||P|2.6\rPID|1\r", Outcome::Stored),
    ] {
        let mut frame = Vec::new();
        vitalguard::mllp::encode(&answer(payload, outcome, AckMode::Auto, 1, at).messages[0], &mut frame);
        let said = strict(&frame);
        assert!(said[0].starts_with("BAD") && said[0].ends_with("Missing required child MSA.MSA_2"), "{said:?}");
        // MSA-2 is MSH-10 of the message; where that was empty it is, whatever the table demands. Everything else is as it demands.
        let text = String::from_utf8(frame).unwrap();
        let filled = ["|AR|", "|AA|"].iter().fold(text, |text, code| text.replace(&format!("MSA{code}"), &format!("MSA{code}1")));
        assert!(strict(filled.as_bytes())[0].starts_with("ok "), "{filled}");
    }
}

/// What tshark says of a capture: the type of each HL7 message from our port, and every error and warning.
fn dissect(capture: &[u8]) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answers.pcap");
    std::fs::write(&file, capture).unwrap();
    let tshark = |arguments: &[&str]| -> Vec<String> {
        let out = Command::new("tshark")
            .arg("-r")
            .arg(&file)
            .args(arguments)
            .output()
            .expect("tshark is installed (./test installs it)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
    };
    let port = pcap::PORT.to_string();
    // One line a packet: as many types as it holds messages.
    let ours = format!("hl7 and tcp.srcport == {port}");
    let types = tshark(&["-Y", &ours, "-T", "fields", "-e", "hl7.message.type"]);
    let types = types.iter().flat_map(|line| line.split(',')).map(str::to_owned).collect();
    // The dissector's complaints are expert information without a place in the tree: the summary has them, filters have not.
    let summary = tshark(&["-q", "-z", "expert,warn"]);
    let counted = |line: &String| line.split_whitespace().next().is_some_and(|first| first.parse::<u32>().is_ok());
    let mut complaints: Vec<String> = summary.into_iter().filter(counted).collect();
    complaints.extend(tshark(&["-Y", "_ws.malformed"]));
    (types, complaints)
}

#[test]
fn tshark_finds_nothing_malformed_in_a_capture_of_our_acknowledgements() {
    let recorded = conversation();
    let (types, complaints) = dissect(&pcap::file(&recorded.chunks));
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(types.len(), recorded.due.len(), "every answer was dissected");
    assert!(types.iter().all(|t| t == "ACK"), "{types:?}");
}

#[test]
fn tshark_finds_what_is_wrong_with_an_acknowledgement() {
    let recorded = conversation();
    let due = recorded.due.len();
    let spoilt = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut chunks = recorded.chunks.clone();
        let first = chunks.iter_mut().find(|c| c.ours).expect("we have answered");
        spoil(&mut first.bytes);
        dissect(&pcap::file(&chunks))
    };
    // A header that ends before MSH-9.
    let (_, complaints) = spoilt(&|bytes| {
        let end = bytes.iter().position(|b| *b == b'\r').unwrap();
        bytes.drain(30..end);
    });
    assert!(complaints.len() == 1 && complaints[0].contains("MSH must have at least 9 fields"), "{complaints:?}");
    // Segments that do not end.
    let (types, complaints) = spoilt(&|bytes| {
        let whole = bytes.len() - 2;
        bytes[..whole].iter_mut().filter(|b| **b == b'\r').for_each(|b| *b = b' ');
    });
    assert!(complaints.len() == 1 && complaints[0].contains("Segments must be terminated with CR"), "{complaints:?}");
    assert!(types.len() <= due);
    // The end of a block is lost: two answers are taken for one.
    let (types, _) = spoilt(&|bytes| {
        let whole = bytes.len() - 2;
        bytes.truncate(whole);
    });
    assert!(types.len() < due, "{} of {due}", types.len());
    // And without a conversation there is nothing to be found.
    let (types, _) = dissect(&pcap::file(&[]));
    assert_eq!(types.len(), 0);
}
