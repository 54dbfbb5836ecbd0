//! `vitalguard replay` and `config` as a person runs them: the built program on the recordings of `data/recordings`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    // A developer's own settings must not decide a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VITALGUARD_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recordings").join(name)
}

fn replay(arguments: &[&str], files: &[PathBuf]) -> Output {
    program().arg("replay").args(arguments).args(files).output().expect("the program was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every form of the same recording.
const FORMS: &[&str] = &[
    "bare_cr.hl7",
    "bare_lf.hl7",
    "bare_crlf.hl7",
    "frames.mllp",
    "batch.hl7",
    "one_line_each.txt",
    "one_line_each_cr.txt",
    "engine_log.txt",
    "engine_log.txt.gz",
    "engine_log_multiline.txt",
    "syslog.txt",
    "json_lines.txt",
];

/// Every message as a sink gets it.
#[derive(Default)]
struct Messages(std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>>);

impl vitalguard::shell::replay::Sink for Messages {
    fn message(&mut self, payload: &[u8]) -> Result<(), vitalguard::shell::replay::ReplayError> {
        // Framing keeps the line ends that were sent, text is written with CR.
        self.0.borrow_mut().push(payload.to_vec());
        Ok(())
    }
}

fn messages(file: &Path) -> (Vec<Vec<u8>>, vitalguard::shell::replay::Summary) {
    use vitalguard::shell::replay::pace::{Machine, Pace};
    use vitalguard::shell::replay::{Driver, Options, input};
    let options =
        Options { run: "r".into(), feed: "replay".into(), feeds: Vec::new(), shift_to: None, judge: false, site_key: None };
    let sink = Messages::default();
    let list = sink.0.clone();
    let config = vitalguard::config::Config::default();
    let driver = Driver::new(&config, options, Pace::new(Machine::default(), None), vec![Box::new(sink)]);
    let inputs = input::gather(&[file.to_owned()]).unwrap();
    let summary = driver.run(&inputs, jiff::tz::TimeZone::UTC, 1 << 20, Default::default()).unwrap();
    (list.take(), summary)
}

#[test]
fn every_form_of_a_recording_holds_the_same_messages_and_times() {
    let (reference, times) = messages(&recording(FORMS[0]));
    assert_eq!(reference.len(), 24);
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("engine_log");
    std::fs::write(&packed, zstd::encode_all(std::fs::File::open(recording("engine_log.txt")).unwrap(), 3).unwrap()).unwrap();
    let files = FORMS.iter().map(|form| recording(form)).chain([packed]);
    for file in files {
        let (found, summary) = messages(&file);
        assert_eq!(found.len(), 24, "{}", file.display());
        for (one, other) in found.iter().zip(&reference) {
            assert_eq!(text(one), text(other), "{}", file.display());
        }
        assert_eq!((summary.first, summary.last), (times.first, times.last), "{}", file.display());
    }
}

#[test]
fn doctor_tells_one_finding_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let done = program()
        .args(["doctor", "--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = text(&done.stdout);
    for line in told.lines() {
        assert!(["ok    ", "warn  ", "fail  "].iter().any(|word| line.starts_with(word)), "{line}");
    }
    for what in ["config", "port", "certificate", "clock", "disk", "broker", "self-test"] {
        assert!(told.contains(what), "{what} in {told}");
    }
    let fails = told.lines().any(|line| line.starts_with("fail"));
    assert_eq!(done.status.code(), Some(i32::from(fails)), "{told}");
}

#[test]
fn every_form_of_a_recording_gives_the_same_alerts() {
    let reference = replay(&["--alerts", "-", "--run", "same"], &[recording(FORMS[0])]);
    assert!(reference.status.success(), "{}", text(&reference.stderr));
    assert!(!reference.stdout.is_empty(), "without an alert nothing is compared");
    for form in FORMS {
        let done = replay(&["--alerts", "-", "--run", "same"], &[recording(form)]);
        let told = text(&done.stderr);
        assert!(done.status.success(), "{form}: {told}");
        assert!(told.contains("24 messages"), "{form}: {told}");
        assert_eq!(text(&done.stdout), text(&reference.stdout), "{form}");
    }
}

#[test]
fn a_mean_above_the_systolic_pressure_is_told_on_its_bed_alone() {
    let done = replay(&["--alerts", "-"], &[recording("engine_log.txt")]);
    let lines = text(&done.stdout);
    let raised: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .filter(|event: &serde_json::Value| event["event"] == "raised")
        .collect();
    assert!(raised.iter().any(|event| event["alert"]["condition"] == "A03 pressure_order" && event["bed"] == "b2"), "{lines}");
    assert!(raised.iter().all(|event| event["bed"] != "b1"), "{lines}");
    let first = &raised[0];
    assert_eq!(first["schema"], "alert-event/1");
    let run = first["replay"]["run"].as_str().expect("a replay names its run");
    assert!(run.len() == 12 && run.bytes().all(|b| b.is_ascii_hexdigit()), "{run}");
    assert_eq!(first["boot"], format!("replay-{run}"));
    assert!(first["alert"].get("href").is_none());
}

#[test]
fn the_same_input_gives_the_same_bytes_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("another name.log");
    std::fs::copy(recording("engine_log.txt"), &copy).unwrap();
    let (first, second) = (folder.path().join("1.jsonl"), folder.path().join("2.jsonl"));
    assert!(replay(&["--alerts", first.to_str().unwrap()], &[recording("engine_log.txt")]).status.success());
    assert!(replay(&["--alerts", second.to_str().unwrap(), "--speed", "1000"], &[copy]).status.success());
    let (first, second) = (std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    assert!(!first.is_empty(), "without an alert nothing is compared");
    assert_eq!(text(&first), text(&second));
}

#[test]
fn standard_input_is_a_recording_too() {
    let from_file = replay(&["--alerts", "-"], &[recording("bare_cr.hl7")]);
    let file = std::fs::File::open(recording("bare_cr.hl7")).unwrap();
    let piped = program().args(["replay", "--alerts", "-", "-"]).stdin(file).output().unwrap();
    assert!(text(&piped.stderr).contains("24 messages"));
    assert_eq!(text(&piped.stdout), text(&from_file.stdout));
}

#[test]
fn two_halves_in_the_wrong_order_are_put_in_order_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(recording("engine_log.txt")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let (early, late) = lines.split_at(lines.len() / 2);
    let (a, b) = (folder.path().join("a.log"), folder.path().join("b.log"));
    std::fs::write(&a, late.join("\n") + "\n").unwrap();
    std::fs::write(&b, early.join("\n") + "\n").unwrap();
    let whole = replay(&["--alerts", "-", "--run", "same"], &[recording("engine_log.txt")]);
    let halves = replay(&["--alerts", "-", "--run", "same"], &[a, b]);
    assert!(text(&halves.stderr).contains("24 messages"));
    let onset =
        |output: &Output| text(&output.stdout).lines().next().map(|l| l.split("\"onset\":").nth(1).map(|o| o[..26].to_owned()));
    assert_eq!(onset(&whole), onset(&halves));
}

#[test]
fn a_cut_recording_is_told_with_its_place_and_still_judged() {
    let folder = tempfile::tempdir().unwrap();
    for form in ["bare_cr.hl7", "frames.mllp", "engine_log.txt.gz"] {
        let bytes = std::fs::read(recording(form)).unwrap();
        let cut = folder.path().join(form);
        std::fs::write(&cut, &bytes[..bytes.len() - 60]).unwrap();
        let done = replay(&[], &[cut]);
        let told = text(&done.stderr);
        assert!(done.status.success(), "{form}: {told}");
        assert!(told.contains("1 messages break off") || told.contains("the compressed data break off"), "{form}: {told}");
    }
}

#[test]
fn what_holds_no_message_is_a_failure_and_a_wrong_flag_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("words.txt");
    std::fs::write(&empty, "nothing here\n").unwrap();
    let done = replay(&[], &[empty]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("no message could be read"));
    assert_eq!(replay(&["--to", "ftp://x"], &[recording("bare_cr.hl7")]).status.code(), Some(2));
    assert_eq!(replay(&[], &[folder.path().join("missing")]).status.code(), Some(1));
}

#[test]
fn messages_sent_to_a_listener_arrive_in_order_across_a_lost_connection() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mllp://{}", listener.local_addr().unwrap());
    let receiver = std::thread::spawn(move || {
        let mut ids: Vec<String> = Vec::new();
        let mut connections = 0;
        while ids.len() < 24 {
            let (mut stream, _) = listener.accept().unwrap();
            connections += 1;
            let mut pending = Vec::new();
            let mut buffer = [0u8; 4096];
            'connection: loop {
                let read = stream.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                pending.extend_from_slice(&buffer[..read]);
                while let Some(end) = pending.windows(2).position(|w| w == b"\x1c\r") {
                    let frame: Vec<u8> = pending.drain(..end + 2).collect();
                    let id = String::from_utf8_lossy(&frame).split('|').nth(9).unwrap().to_owned();
                    // The seventh message is read and never answered on the first connection.
                    if ids.len() == 6 && connections == 1 {
                        break 'connection;
                    }
                    stream.write_all(format!("\x0bMSH|^~\\&|\rMSA|AA|{id}\r\x1c\r").as_bytes()).unwrap();
                    ids.push(id);
                    if ids.len() == 24 {
                        break 'connection;
                    }
                }
            }
        }
        ids
    });
    let done = replay(&["--to", &url], &[recording("frames.mllp")]);
    let told = text(&done.stderr);
    assert!(done.status.success(), "{told}");
    let ids = receiver.join().unwrap();
    let expected: Vec<String> = (0..12).flat_map(|i| [format!("b1-{i}"), format!("b2-{i}")]).collect();
    assert_eq!(ids, expected);
    assert!(told.contains("24 accepted") && told.contains("1 reconnects"), "{told}");
}

#[test]
fn a_reader_that_closes_our_output_is_no_error() {
    let mut child = program().args(["config", "show"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_wrong_configuration_is_told_line_by_line_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v.toml");
    std::fs::write(&file, "site = \"ward 3\"\n[[mllp]]\nlisten = \"0.0.0.0:2575\"\n").unwrap();
    let done = program().args(["config", "check", "--config"]).arg(&file).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let told = text(&done.stderr);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("v.toml:1: site:") && told.contains("v.toml:3: mllp.0.listen:"), "{told}");
    let done = program().args(["config", "check"]).env("VITALGUARD_HTTP__LISTN", "x").output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("VITALGUARD_HTTP__LISTN: http.listn: unknown key; did you mean http.listen?"));
    let done = program().args(["config", "check"]).env("VITALGUARD_SITE", "hsp1").output().unwrap();
    assert!(done.status.success() && text(&done.stdout).contains("1 values are not defaults"), "{}", text(&done.stdout));
}
