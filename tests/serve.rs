//! The real binary over real sockets, with nothing else on the machine.

mod common;

use common::{BPM, Client, HR, PERCENT, PR, SPO2, Served, pcd01, wait_for};
use std::collections::HashSet;
use std::process::Command;

/// A steady patient of four values; `n` makes them move.
fn values(n: u64) -> [String; 3] {
    let hr = 70 + (n * 7 % 5);
    [hr.to_string(), (hr + n % 2).to_string(), (96 + n % 3).to_string()]
}

fn vitals(application: &str, bed: &str, id: &str, n: u64) -> Vec<u8> {
    let [hr, pr, spo2] = values(n);
    pcd01(application, "ICU", bed, id, &common::now_hl7(), &[(HR, &hr, BPM), (PR, &pr, BPM), (SPO2, &spo2, PERCENT)])
}

/// Alert events as the service kept them, one JSON document a line.
fn events(served: &Served) -> Vec<serde_json::Value> {
    let (status, body) = served.get("/api/v1/alerts?format=jsonl&limit=1000");
    assert_eq!(status, 200, "{body}");
    body.lines().map(|l| serde_json::from_str(l).expect("a JSON document a line")).collect()
}

/// Waits until nothing comes any more. An export is a record of the journal, too, and what waited for its time is said by then.
fn settle(served: &Served) {
    let mut before = events(served).len();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = events(served).len();
        if now == before {
            return;
        }
        before = now;
    }
}

/// What the service said up to its end, from its store: what it says while it is asked would be missing otherwise.
fn said(data: &std::path::Path) -> Vec<serde_json::Value> {
    let store = vitalguard::shell::store::AlertReader::open(&data.join("store.sqlite")).unwrap();
    let (mut last, mut found) = (0, Vec::new());
    loop {
        let some = store.events_after(last, 1_000).unwrap();
        let Some((number, _)) = some.last() else { return found };
        last = *number;
        found.extend(some.iter().map(|(_, json)| serde_json::from_slice::<serde_json::Value>(json).expect("a JSON document")));
    }
}

/// Without what may differ between a live run and a replay of its journal.
fn comparable(mut event: serde_json::Value) -> serde_json::Value {
    if let Some(object) = event.as_object_mut() {
        object.remove("boot");
        object.remove("replay");
        object.remove("sig");
        if let Some(alert) = object.get_mut("alert").and_then(|a| a.as_object_mut()) {
            alert.remove("href");
        }
    }
    event
}

fn replay_journal(data: &std::path::Path) -> Vec<serde_json::Value> {
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["replay", "--alerts", "-", "--data"])
        .arg(data)
        .arg(data.join("journal"))
        .output()
        .expect("the binary was built by cargo");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn a_reused_control_id_stands_in_the_alerts_within_seconds() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    for n in 0..60 {
        let (code, id) = client.ask(&vitals("GW", "B1", &format!("m{n}"), n)).unwrap();
        assert_eq!((code.as_str(), id), ("CA", format!("m{n}")));
    }
    client.ask(&vitals("GW", "B1", "m59", 1000)).unwrap();
    let raised = wait_for("the alert", || events(&served).into_iter().find(|e| e["event"] == "raised"));
    assert_eq!(raised["schema"], "alert-event/1");
    assert_eq!(raised["alert"]["condition"], "P01 control_id_reuse");
    assert_eq!(raised["alert"]["assessment"], "tamper");
    assert_eq!((&raised["ward"], &raised["bed"]), (&"ICU".into(), &"B1".into()));
    wait_for("the alert in the bed's state", || {
        let (status, state) = served.get("/api/v1/state/ICU/B1");
        assert_eq!(status, 200, "{state}");
        state.contains(raised["alert"]["id"].as_str().unwrap()).then_some(())
    });
}

#[test]
fn live_replayed_and_recovered_are_the_same() {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged = HashSet::new();
    let mut sent = 0u64;
    // Three lives, each ended by kill -9 while a sender is in the middle of it.
    for life in 0..3u64 {
        let mut served = Served::start(data.path(), &[]);
        let address = served.mllp;
        let sender = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            let mut client = Client::connect(address);
            for n in 0..100_000u64 {
                let bed = format!("B{}", n % 4);
                // Every 40th message reuses an id with another body.
                let id = if n % 40 == 39 { format!("l{life}-{}", n - 4) } else { format!("l{life}-{n}") };
                match client.ask(&vitals("GW", &bed, &id, n)) {
                    Ok((code, _)) => {
                        assert_eq!(code, "CA");
                        acknowledged.push(n);
                    }
                    Err(_) => break,
                }
            }
            acknowledged
        });
        std::thread::sleep(std::time::Duration::from_millis(1500 + 400 * life));
        served.kill();
        let numbers = sender.join().unwrap();
        assert!(numbers.len() > 20, "only {} messages in life {life}", numbers.len());
        sent += numbers.len() as u64;
        acknowledged.extend(numbers.into_iter().map(|n| (life, n)));
    }
    let mut served = Served::start(data.path(), &[]);
    wait_for("readiness", || (served.get("/ready").0 == 200).then_some(()));
    settle(&served);
    assert!(served.terminate().success());
    let live = said(data.path());
    assert!(!live.is_empty());

    // None doubled: every (alert, seq) once, every seq gapless.
    let mut seen = HashSet::new();
    for event in &live {
        let key = (event["alert"]["id"].as_str().unwrap().to_owned(), event["seq"].as_u64().unwrap());
        assert!(seen.insert(key.clone()), "doubled: {key:?}");
        assert!(key.1 == 1 || seen.contains(&(key.0.clone(), key.1 - 1)), "gap before {key:?}");
    }
    // None lost, and the same.
    live_is_replay(data.path(), live);
    // Whatever was acknowledged is in the journal.
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["replay", "--data"])
        .arg(data.path())
        .arg(data.path().join("journal"))
        .output()
        .unwrap();
    let summary = String::from_utf8_lossy(&out.stderr).into_owned();
    let messages = summary
        .split(|c: char| !c.is_ascii_alphanumeric())
        .collect::<Vec<_>>()
        .windows(2)
        .find_map(|w| (w[1] == "messages").then(|| w[0].parse::<u64>().ok()).flatten())
        .unwrap_or_else(|| panic!("no count of messages in: {summary}"));
    assert!(messages >= sent, "{sent} acknowledged, {messages} in the journal");
    assert!(acknowledged.len() as u64 == sent);
}

/// An ADT of a patient; `prior` is where it lay.
fn adt(trigger: &str, bed: &str, prior: &str, patient: &str, id: &str, more: &str) -> Vec<u8> {
    let t = common::now_hl7();
    format!(
        "MSH|^~\\&|ADT|HOSP|||{t}||ADT^{trigger}|{id}|P|2.6\rEVN|{trigger}|{t}\rPID|||{patient}^^^HOSP^MR||Invented^{patient}||19500101\r\
         PV1||I|ICU^^{bed}|||{prior}\r{more}"
    )
    .into_bytes()
}

#[test]
fn a_ward_with_admissions_swaps_and_merges_is_the_same_live_replayed_and_recovered() {
    let data = tempfile::tempdir().unwrap();
    // The kill comes at another place of the round each time.
    for (life, milliseconds) in [1300u64, 1700, 2100].into_iter().enumerate() {
        let mut served = Served::start(data.path(), &[]);
        let address = served.mllp;
        let sender = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            for n in 0..100_000u64 {
                let id = format!("a{life}-{n}");
                let message = match n % 60 {
                    3 => adt("A01", "B0", "", "P-B0", &id, ""),
                    7 => adt("A01", "B1", "", "P-B1", &id, ""),
                    13 => adt("A02", "B2", "ICU^^B1", "P-B1", &id, ""),
                    19 => adt("A12", "B1", "ICU^^B2", "P-B1", &id, ""),
                    25 => adt("A17", "B0", "", "P-B1", &id, "PID|||P-B0^^^HOSP^MR\rPV1||I|ICU^^B1\r"),
                    31 => adt("A40", "", "", "P-B2", &id, "MRG|OLD-B2^^^HOSP^MR\r"),
                    37 => adt("A03", "B0", "", "P-B1", &id, ""),
                    43 => adt("A13", "B0", "", "P-B1", &id, ""),
                    49 => adt("A11", "B3", "", "P-B3", &id, ""),
                    // A second device at this bed, and a reused id: something is open when a patient comes or goes.
                    n60 if n60 % 10 == 5 => vitals("OTHER", "B0", &id, n),
                    n60 if n60 % 20 == 8 => vitals("GW", &format!("B{}", n % 4), &format!("a{life}-{}", n - 4), n),
                    _ => vitals("GW", &format!("B{}", n % 4), &id, n),
                };
                if client.ask(&message).is_err() {
                    return n;
                }
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
            100_000
        });
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        served.kill();
        let sent = sender.join().unwrap();
        assert!(sent > 60, "only {sent} messages in life {life}: not one round");
    }
    let mut served = Served::start(data.path(), &[]);
    wait_for("readiness", || (served.get("/ready").0 == 200).then_some(()));
    settle(&served);
    assert!(served.terminate().success());
    let live = said(data.path());
    let text = format!("{live:?}");
    assert!(text.contains("discharge"), "a patient left while something was open: {text}");
    live_is_replay(data.path(), live);
}

#[test]
fn a_thousand_connections_are_served() {
    let data = tempfile::tempdir().unwrap();
    let served = Served::start(data.path(), &[]);
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(served.mllp)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&vitals("GW", &format!("C{n}"), &format!("c{n}"), n as u64)).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(common::msa(&client.receive().unwrap()), ("CA".into(), format!("c{n}")));
    }
    wait_for("1000 beds", || {
        let (_, body) = served.get("/api/v1/state");
        (body.matches("\"bed-state/1\"").count() >= 1000).then_some(())
    });
}

#[test]
fn sigterm_drains_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    for n in 0..200 {
        client.ask(&vitals("GW", "B1", &format!("s{n}"), n)).unwrap();
    }
    client.ask(&vitals("GW", "B1", "s199", 5000)).unwrap();
    let status = served.terminate();
    assert!(status.success(), "{status}:\n{}", served.log.lock().unwrap());
    let served = Served::start(data.path(), &[]);
    let found = wait_for("the alert of the life before", || {
        events(&served).into_iter().find(|e| e["alert"]["condition"] == "P01 control_id_reuse")
    });
    assert_eq!(found["seq"], 1);
}

#[test]
fn a_plain_listener_beyond_loopback_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["serve", "--mllp", "0.0.0.0:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("plaintext"), "{text}");
}

#[test]
fn no_patient_token_leaves() {
    let data = tempfile::tempdir().unwrap();
    let mut served = Served::start_with(data.path(), &[], &[("RUST_LOG", "info")]);
    let mut client = Client::connect(served.mllp);
    let marked = |id: &str, n: u64| {
        let text = String::from_utf8(vitals("GW", "B1", id, n)).unwrap();
        let text =
            text.replace("P-B1", "TOKENPID3").replace("Invented^B1", "TOKENNAME^TOKENGIVEN").replace("19500101", "19510203");
        (text + "NTE|1||TOKENNOTE\r").into_bytes()
    };
    for n in 0..80 {
        client.ask(&marked(&format!("t{n}"), n)).unwrap();
    }
    client.ask(&marked("t79", 3)).unwrap();
    client.ask(b"MSH|^~\\&|TOKENAPP").unwrap();
    client.send(b"not hl7 TOKENNOTE").unwrap();
    wait_for("an alert", || (!events(&served).is_empty()).then_some(()));
    let mut everything = String::new();
    for path in
        ["/api/v1/state", "/api/v1/alerts?format=jsonl", "/api/v1/alerts", "/api/v1/feeds", "/metrics", "/ready", "/health"]
    {
        everything.push_str(&served.get(path).1);
    }
    served.terminate();
    everything.push_str(&served.log.lock().unwrap());
    for token in ["TOKENPID3", "TOKENNAME", "TOKENGIVEN", "TOKENNOTE", "19510203"] {
        assert!(!everything.contains(token), "{token} left the house");
    }
}

/// Sends `range` to bed B1, every 20th under an id that was used before; all are acknowledged.
fn send(client: &mut Client, life: &str, range: std::ops::Range<u64>) {
    for n in range {
        let id = if n % 20 == 19 { format!("{life}-{}", n - 4) } else { format!("{life}-{n}") };
        let (code, _) = client.ask(&vitals("GW", "B1", &id, n)).expect("an answer");
        assert_eq!(code, "CA", "message {n}");
    }
}

/// The journal, replayed, says what the live service said, byte for byte. A replay ends with the last record; deadlines that
/// fired after it stand in the live events alone.
fn live_is_replay(data: &std::path::Path, live: Vec<serde_json::Value>) {
    let live: Vec<_> = live.into_iter().map(comparable).collect();
    let replayed: Vec<_> = replay_journal(data).into_iter().map(comparable).collect();
    for (n, (l, r)) in live.iter().zip(&replayed).enumerate() {
        assert_eq!(l.to_string(), r.to_string(), "event {n}");
    }
    assert!(replayed.len() <= live.len(), "not said live: {:?}", &replayed[live.len()..]);
    let last = replayed.last().map_or(0, |e| e["ts_ms"].as_i64().unwrap());
    for after in &live[replayed.len()..] {
        assert!(after["ts_ms"].as_i64().unwrap() > last, "not replayed: {after}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_frame_that_panics_the_judge_is_left_out_live_recovered_and_replayed() {
    let data = tempfile::tempdir().unwrap();
    let exercise = [("VG_EXERCISE_PANIC", "|POISON|"), ("VITALGUARD_JOURNAL__SNAPSHOT_S", "1")];
    // Another process may have written the frame: it is met first while recovering.
    let mut served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    send(&mut client, "a", 0..40);
    client.ask(&vitals("GW", "B1", "POISON", 41)).unwrap();
    served.kill();
    let mut served = Served::start_with(data.path(), &[], &exercise);
    let mut client = Client::connect(served.mllp);
    send(&mut client, "b", 0..40);
    assert_eq!(client.ask(&vitals("GW", "B1", "POISON", 41)).unwrap().0, "CA", "it is kept as evidence");
    send(&mut client, "c", 0..40);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    send(&mut client, "d", 0..10);
    let metrics = served.get("/metrics").1;
    assert!(metrics.contains("vitalguard_records_quarantined_total 2"), "{metrics}");
    settle(&served);
    served.kill();
    let before = said(data.path());
    assert!(!before.is_empty());
    let mut served = Served::start_with(data.path(), &[], &exercise);
    assert!(!served.log.lock().unwrap().contains("could not be judged"), "known by now");
    assert!(served.terminate().success());
    let live = said(data.path());
    assert_eq!(before[..], live[..before.len()]);
    live_is_replay(data.path(), live);
}

#[test]
fn a_locked_store_delays_nobody_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    send(&mut client, "a", 0..20);
    let other = rusqlite::Connection::open(data.path().join("store.sqlite")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (began, mut slowest) = (std::time::Instant::now(), std::time::Duration::ZERO);
    let mut n = 0;
    while began.elapsed().as_secs() < 8 {
        let asked = std::time::Instant::now();
        send(&mut client, "b", n..n + 1);
        slowest = slowest.max(asked.elapsed());
        n += 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("{n} messages, slowest answer {slowest:?}");
    assert!(slowest.as_millis() < 2_500, "an answer waited {slowest:?} for the store");
    other.execute_batch("ROLLBACK").unwrap();
    send(&mut client, "c", 0..20);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(served.terminate().success());
    let mut served = Served::start(data.path(), &[]);
    settle(&served);
    assert!(served.terminate().success());
    let live = said(data.path());
    live_is_replay(data.path(), live);
}

#[test]
fn an_end_with_a_locked_store_leaves_everything_to_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let mut served = Served::start(data.path(), &[]);
    let mut client = Client::connect(served.mllp);
    send(&mut client, "a", 0..10);
    let other = rusqlite::Connection::open(data.path().join("store.sqlite")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    send(&mut client, "b", 0..40);
    served.terminate();
    other.execute_batch("ROLLBACK").unwrap();
    let mut served = Served::start(data.path(), &[]);
    settle(&served);
    assert!(served.terminate().success());
    let live = said(data.path());
    assert!(!live.is_empty(), "what was judged and not kept is judged again");
    live_is_replay(data.path(), live);
}
