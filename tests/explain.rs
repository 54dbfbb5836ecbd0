//! `vitalguard explain`: an alert derived again from what was recorded, with the sum behind it.

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, pcd01, program, text, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

/// Two messages of one control id whose values differ: P01, a hard violation.
fn forged(at: &str) -> [Vec<u8>; 2] {
    let message = |spo2: &str| pcd01("EXPLAIN", "icu", "B01", "M000001", at, &[(HR, "72", BPM), (SPO2, spo2, PERCENT)]);
    [message("97"), message("88")]
}

fn frames(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.push(0x0b);
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(b"\x1c\r");
    }
    bytes
}

fn alert_of(lines: &str, condition: &str) -> serde_json::Value {
    lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("events are JSON lines"))
        .find(|event| event["event"] == "raised" && event["alert"]["condition"] == condition)
        .unwrap_or_else(|| panic!("{condition} was raised: {lines}"))
}

#[test]
fn the_sum_behind_an_alert_gives_its_confidence_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.mllp");
    std::fs::write(&file, frames(&forged("20270115100000"))).unwrap();
    let file = file.to_str().unwrap();
    let replayed = program(&["replay", "--quiet", "--alerts", "-", file]);
    let raised = alert_of(&text(&replayed.stdout), "P01 control_id_reuse");
    let id = raised["alert"]["id"].as_str().unwrap();

    let explained = program(&["explain", id, file, "--json"]);
    assert!(explained.status.success(), "{}", text(&explained.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
    let event = &answer["events"][0];
    assert_eq!(event["confidence"], raised["alert"]["confidence"]);
    assert_eq!(event["agrees"], true);
    // The sum by hand: one hard rule, capped at 4.
    let evidence = event["account"]["evidence_sum"].as_f64().unwrap();
    let confidence = 0.9 + 0.09 * (1.0 - 10f64.powf(-evidence / 4.0));
    assert!((confidence - event["confidence"].as_f64().unwrap()).abs() < 0.005, "{event}");
    let finding = &event["account"]["findings"][0];
    let (score, weight) = (finding["score"].as_f64().unwrap(), finding["weights"]["tamper"].as_f64().unwrap());
    assert!((finding["credit"]["tamper"].as_f64().unwrap() - score * weight / 100.0).abs() < 1e-3);

    let told = text(&program(&["explain", raised["alert"]["ref"].as_str().unwrap(), file]).stdout);
    assert!(told.contains("rule: a hard violation") && told.contains("follows from this"), "{told}");
    assert!(!told.contains("PID"), "{told}");
}

#[test]
fn an_alert_that_does_not_follow_is_said_with_what_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.mllp");
    std::fs::write(&file, frames(&forged("20270115100000"))).unwrap();
    let none = program(&["explain", "A-000000000000-20270115T100000Z", file.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1));
    let complaint = text(&none.stderr);
    assert!(complaint.contains("2 messages") && complaint.contains("judged by model"), "{complaint}");
    let nothing = program(&["explain", "A-1", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
}

/// Waits until the service's store holds a raised alert of the condition.
fn raised_in(data: &Path, condition: &str) -> String {
    wait_for("the alert in the store", || {
        let reader = vitalguard::shell::store::AlertReader::open(&data.join("store.sqlite")).ok()?;
        let list = reader.list(&Default::default(), 100).ok()?;
        list.into_iter().find(|row| row.condition == condition).map(|row| row.id)
    })
}

#[test]
fn a_published_alert_is_derived_again_from_the_journal_while_the_service_runs_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path(), &[]);
    let mut client = Client::connect(served.mllp);
    for message in forged(&common::now_hl7()) {
        client.ask(&message).unwrap();
    }
    let id = raised_in(folder.path(), "P01 control_id_reuse");
    let data = folder.path().to_str().unwrap();
    let explained = program(&["explain", &id, "--data", data]);
    let told = text(&explained.stdout);
    assert!(explained.status.success(), "{told}{}", text(&explained.stderr));
    assert!(told.contains("events, the same"), "{told}");
    assert!(told.contains("message mllp"), "{told}");
}

const PROFILE: &str = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"own\"\nreviewed = false\napplications = [\"OWN\"]\n";

/// A site's folder of model files with one profile.
fn model_folder(folder: &Path, profile: &str) {
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::write(folder.join("profiles/own.toml"), profile).unwrap();
    let written = program(&["models", folder.to_str().unwrap(), "--write"]);
    assert!(written.status.success(), "{}", text(&written.stderr));
}

#[test]
fn an_alert_is_explained_from_a_state_of_the_past_with_the_models_that_judged_then() {
    let folder = tempfile::tempdir().unwrap();
    let (data, models) = (folder.path().join("data"), folder.path().join("models"));
    model_folder(&models, PROFILE);
    let (data_word, models_word) = (data.to_str().unwrap(), models.to_str().unwrap());
    let served = Served::start_with(&data, &["--models", models_word], &[("VITALGUARD_JOURNAL__SNAPSHOT_S", "2")]);
    let mut client = Client::connect(served.mllp);
    let plain = |n: u32| pcd01("EXPLAIN", "icu", "B01", &format!("P{n:06}"), &common::now_hl7(), &[(HR, "72", BPM)]);
    let journal = data.join("journal");
    let mut sent = 0;
    wait_for("a state of the past", || {
        sent += 1;
        client.ask(&plain(sent)).unwrap();
        // One that holds the start, the connection and a message.
        vitalguard::shell::journal::past(&journal).ok()?.first().filter(|past| past.sequence >= 3).map(drop)
    });
    // Something that can be drawn.
    for _ in 0..3 {
        sent += 1;
        client.ask(&plain(sent)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    for message in forged(&common::now_hl7()) {
        client.ask(&message).unwrap();
    }
    let id = raised_in(&data, "P01 control_id_reuse");
    // Other model files decide from now on.
    model_folder(&models, &PROFILE.replace("[\"OWN\"]", "[\"OWN\", \"EXPLAIN\"]"));
    let page = folder.path().join("why.html");
    let arguments = ["explain", &id, "--data", data_word, "--html", page.to_str().unwrap()];
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
        command.args(arguments).env("VITALGUARD_MODELS", models_word).stdin(Stdio::null()).output().expect("it runs")
    };
    let explained = run(&arguments);
    assert!(explained.status.success(), "{}", text(&explained.stderr));
    let page = std::fs::read_to_string(page).unwrap();
    for wanted in [
        "<svg",
        "the alert&#39;s own, as kept since",
        "events, the same",
        "<mark>***</mark>",
        "P01 control_id_reuse",
        "follows from this",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("Invented"));
    // Little of the journal was judged for it; all of it says the same.
    let object = |arguments: &[&str]| -> serde_json::Value {
        let out = run(arguments);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out.stderr)))
    };
    let part = object(&["explain", &id, "--data", data_word, "--json"]);
    let whole = object(&["explain", &id, "--data", data_word, "--json", "--whole"]);
    assert_eq!(whole["messages"], sent + 2);
    assert!(part["messages"].as_u64() < whole["messages"].as_u64(), "{part}");
    assert_eq!(part["events"], whole["events"]);
    // Without what was kept the difference is said.
    std::fs::remove_dir_all(data.join("models")).unwrap();
    let other = run(&["explain", &id, "--data", data_word]);
    assert!(text(&other.stdout).contains("model files: others"), "{}{}", text(&other.stdout), text(&other.stderr));
}

const KEY: &[u8] = b"key of a test";

/// A journal of 40 min on a clock of its own: one bed, and each 10 s the heart rates that `sent` names, all under one id. The
/// events of every alert are in the store as the service would write them; the first alert of `condition` as it stands at the end.
fn judged(root: &Path, condition: &str, sent: impl Fn(i64) -> Vec<i64>) -> vitalguard::shell::store::AlertRow {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use vitalguard::alert::Envelope;
    use vitalguard::config::Config;
    use vitalguard::monitor::{Monitor, Output, Settings};
    use vitalguard::observation::Source;
    use vitalguard::shell::journal::{Feed, Journal, Now, Options, Record};
    use vitalguard::shell::store::{AlertReader, Commit, EventRow, Store};
    use vitalguard::time::Timestamp;

    const BEGIN: Timestamp = Timestamp::from_ms(1_800_007_200_000);
    let config = Config { data: root.to_owned(), ..Config::default() };
    let now = Arc::new(AtomicI64::new(BEGIN.ms()));
    let reading = Arc::clone(&now);
    let clock: vitalguard::shell::journal::Clock = Arc::new(move || {
        let wall_ms = reading.load(Ordering::Relaxed);
        Now { wall_ms, mono_ns: (wall_ms - BEGIN.ms()).unsigned_abs() * 1_000_000 }
    });
    let options = Options { clock, ..Options::new(&config.journal, "test") };
    let (journal, feed) = Journal::open(&root.join("journal"), options).unwrap();
    let judging = std::thread::spawn(move || {
        let mut monitor = Monitor::new(Settings::new(&config, KEY));
        let mut events = Vec::new();
        for group in feed {
            let Feed::Batch(records) = group else { continue };
            for stamped in records {
                if let Record::Frame { source, payload } = &stamped.record {
                    monitor.handle_frame(source, stamped.sequence, payload, stamped.at);
                }
                while let Some(output) = monitor.poll_output() {
                    events.extend(if let Output::Alert(event) = output { Some(*event) } else { None });
                }
            }
        }
        (events, config.site)
    });
    let source = Source { feed: "gw".into(), peer: "192.0.2.1".into(), connection: 1, ward: "icu".into(), ..Source::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for step in 0..240i64 {
        let at = BEGIN.plus_ms(step * 10_000);
        let id = format!("J{step:06}");
        let message = |value: i64| pcd01("EXPLAIN", "icu", "B01", &id, &at.hl7(), &[(HR, &value.to_string(), BPM)]);
        let payloads: Vec<_> = sent(step).into_iter().map(message).collect();
        if payloads.is_empty() {
            continue;
        }
        now.store(at.ms(), Ordering::Relaxed);
        let frames = payloads.into_iter().map(|payload| Record::Frame { source: source.clone(), payload }).collect();
        runtime.block_on(journal.handle().submit_many(frames)).unwrap();
    }
    journal.close();
    let (events, site) = judging.join().unwrap();
    let envelope = Envelope { site, boot: "test".into(), replay: None, href: false };
    let mut store = Store::open(&root.join("store.sqlite"), 1_000).unwrap();
    let rows = events.iter().map(|event| EventRow::of(event, &envelope)).collect();
    store.commit(&Commit { events: rows, ..Commit::default() }).unwrap();
    let id = &events.iter().find(|event| event.alert.condition == condition).unwrap().alert.id;
    AlertReader::open(&root.join("store.sqlite")).unwrap().find(id).unwrap().unwrap()
}

/// Messages that were judged again, and what follows from them.
fn derived(root: &Path, alert: &vitalguard::shell::store::AlertRow, to_end: bool) -> (u64, serde_json::Value) {
    use vitalguard::config::Config;
    use vitalguard::shell::explain::{Ask, From, explain};
    use vitalguard::shell::replay::Journal;

    let explained = explain(&Ask {
        config: &Config { data: root.to_owned(), ..Config::default() },
        site_key: KEY.to_vec(),
        alert: &alert.id,
        from: From::Part { journal: &Journal::at(&root.join("journal")), alert, to_end },
        feed: "replay",
        store: &root.join("store.sqlite"),
        curves: false,
        until: None,
    })
    .unwrap();
    assert!(explained.found() && !explained.differs());
    (explained.messages, explained.to_json())
}

#[test]
fn what_came_of_an_alert_much_later_is_derived_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let again = |step| if step == 90 { vec![70, 140] } else { vec![70 + step % 5] };
    let alert = judged(folder.path(), "P01 control_id_reuse", again);
    let ((soon, first), (all, whole)) = (derived(folder.path(), &alert, false), derived(folder.path(), &alert, true));
    let events = |object: &serde_json::Value| object["events"].as_array().unwrap().len();
    assert!(soon < all && events(&first) < events(&whole), "{first}\n{whole}");
    assert_eq!(whole["events"][0], first["events"][0]);
    let later = events(&whole) - events(&first);
    assert_eq!(
        first["published"],
        format!("{} events, the same; {later} later ones not derived again (--to-end)", events(&first))
    );
    assert_eq!(whole["published"], format!("{} events, the same", events(&whole)));
}

#[test]
fn an_alert_that_time_alone_brought_is_derived_also_where_nothing_came_for_long() {
    let folder = tempfile::tempdir().unwrap();
    // Silence from the 15th to the 35th minute.
    let silent = |step| if (90..210).contains(&step) { vec![] } else { vec![70 + step % 5] };
    let alert = judged(folder.path(), "M03 device_silence", silent);
    let (messages, object) = derived(folder.path(), &alert, false);
    assert_eq!((messages, &object["events"][0]["event"]), (90, &serde_json::json!("raised")), "{object}");
}
