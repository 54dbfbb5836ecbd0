//! Two feeds of the same beds through the real program: two listeners, and two recorded logs.

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, free_port, now_hl7, pcd01, wait_for};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Two listeners, the second behind an engine.
fn served(folder: &Path) -> (Served, SocketAddr, SocketAddr) {
    let [gw, emr] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let config = folder.join("vg.toml");
    let text = format!(
        "[[mllp]]\nfeed = \"gw\"\nlisten = \"{gw}\"\n[[mllp]]\nfeed = \"emr\"\nlisten = \"{emr}\"\n\
         [[compare]]\nupstream = \"gw\"\ndownstream = \"emr\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let served = Served::start_quiet(&folder.join("data"), &["--config", config.to_str().unwrap()]);
    (served, gw, emr)
}

fn alerts(served: &Served) -> Vec<serde_json::Value> {
    let (status, body) = served.get("/api/v1/alerts");
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["alerts"].as_array().unwrap().clone()
}

#[test]
fn two_clients_at_two_listeners_are_one_feed_and_a_rewritten_value_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut served, gw, emr) = served(folder.path());
    let (mut up, mut down) = (Client::connect(gw), Client::connect(emr));
    let mut pair = |n: u32, spo2: &str, copy: &str| {
        let at = now_hl7();
        let message = |application: &str, value: &str| {
            pcd01(application, "ICU", "A01", &format!("M{n}"), &at, &[(HR, "72", BPM), (SPO2, value, PERCENT)])
        };
        assert_eq!(up.ask(&message("GW", spo2)).unwrap().0, "CA");
        assert_eq!(down.ask(&message("ENGINE", copy)).unwrap().0, "CA");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    for n in 0..20 {
        pair(n, "97", "97");
    }
    let counted = |served: &Served, name: &str| served.get("/metrics").1.lines().any(|l| l.contains(name) && !l.ends_with(" 0"));
    wait_for("copies", || counted(&served, "copy_agrees").then_some(()));
    assert_eq!(alerts(&served), Vec::<serde_json::Value>::new(), "a copy is no second sender");
    pair(20, "97", "81");
    let found = wait_for("P10", || alerts(&served).into_iter().find(|a| a["condition"] == "P10 feed_disagreement"));
    assert_eq!((&found["assessment"], &found["bed"]), (&"tamper".into(), &"A01".into()));
    assert_eq!(found["text"]["en"], "Two copies of the feed of bed A01 differ: 97 and 81. Verify by hand.");
    let told = found["evidence"][0]["text"]["en"].as_str().unwrap();
    assert!(told.contains("97 upstream (gw, message gw.") && told.contains("81 downstream (emr, message emr."), "{told}");

    // After a crash the same alert is there, and the journal tells it again.
    served.kill();
    let again = Served::start_quiet(&folder.path().join("data"), &["--config", folder.path().join("vg.toml").to_str().unwrap()]);
    let same = wait_for("the alert again", || alerts(&again).into_iter().find(|a| a["id"] == found["id"]));
    assert_eq!(same["evidence"], found["evidence"]);
    drop(again);
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["replay", "--quiet", "--alerts", "-", "--config"])
        .arg(folder.path().join("vg.toml"))
        .arg("--data")
        .arg(folder.path().join("data"))
        .arg(folder.path().join("data/journal"))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.contains(told) && text.contains(found["id"].as_str().unwrap()),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn two_logs_are_compared_and_the_altered_value_is_named_with_both_messages_and_the_side() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (mut gateway, mut receiver) = (Vec::new(), Vec::new());
    for n in 0..120u32 {
        let at = format!("20260301100{}{:02}.000", n / 60, n % 60);
        let message = |application: &str, id: u32, value: &str| {
            pcd01(application, "ICU", "A01", &id.to_string(), &at, &[(HR, "72", BPM), (SPO2, value, PERCENT)])
        };
        for (log, text) in
            [(&mut gateway, message("GW", n, "97")), (&mut receiver, message("ENGINE", n, if n == 70 { "81" } else { "97" }))]
        {
            log.extend_from_slice(&text);
            log.push(b'\n');
        }
    }
    std::fs::write(path("gateway.hl7"), gateway).unwrap();
    std::fs::write(path("receiver.hl7"), receiver).unwrap();
    let replay = |extra: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
            .args(["replay", "--quiet", "--alerts", "-"])
            .args([path("gateway.hl7"), path("receiver.hl7")])
            .args(extra)
            .output()
            .unwrap();
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap(), out.status.success())
    };
    let (alerts, said, content) = replay(&["--feed", "gw,emr", "--compare"]);
    assert!(content, "{said}");
    let raised: Vec<&str> = alerts.lines().filter(|l| l.contains("\"event\":\"raised\"")).collect();
    assert_eq!(raised.len(), 1, "{alerts}");
    assert!(raised[0].contains("97 upstream (gw, message gw.141), 81 downstream (emr, message emr.142)"), "{}", raised[0]);
    let (alerts, ..) = replay(&["--feed", "gw,emr"]);
    assert!(alerts.contains("P02 second_sender") && !alerts.contains("P10"), "without a pair they are two senders");
    for wrong in [&["--feed", "a,b,c"][..], &["--feed", "a,b c"]] {
        assert!(!replay(wrong).2, "{wrong:?}");
    }
}
