//! `vitalguard decode` as its user sees it: rows with their path and reason, the tree, one object per OBX, the summary at the
//! end, files that cannot be read, exit codes.

mod common;

use common::files_below;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn decode(arguments: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    command.current_dir(root()).arg("decode").args(arguments).args(files);
    command.output().expect("the binary was built by cargo")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// The number in front of a line of the summary that ends so.
fn counted(text: &str, line: &str) -> u64 {
    let found = text.lines().find(|l| l.trim_end().ends_with(line)).unwrap_or_else(|| panic!("no line {line:?} in\n{text}"));
    found.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn own_samples_end_with_no_unexplained_row() {
    let samples = files_below(&root().join("data/messages"), "hl7");
    let output = decode(&["--summary"], &samples);
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(text.ends_with("\n0 unexplained rows\n"), "{text}");
    assert!(text.contains(&format!("summary: {} files", samples.len())));
    // OBX lines counted without our code.
    let lines = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("text");
        text.split(['\r', '\n']).filter(|line| line.starts_with("OBX")).count()
    };
    let rows: usize = samples.iter().map(lines).sum();
    assert!(text.contains(&format!(", {rows} rows\n")), "{rows} rows in\n{text}");
    assert!(counted(&text, "no table knows the code") > 0);
}

#[test]
fn the_development_set_ends_with_no_unexplained_row() {
    let Some(shared) = common::shared("hl7") else { return };
    let all = files_below(&shared, "hl7");
    let output = decode(&[], &all);
    let text = out(&output);
    assert!(text.ends_with("\n0 unexplained rows\n"), "{}", text.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
    // Four files are no messages at all, by design; each is said to be one, once, with a reason.
    assert_eq!(output.status.code(), Some(1));
    let complaints = err(&output);
    assert_eq!(complaints.lines().count(), 4, "{complaints}");
    for reason in ["is a batch that holds no message", "no MSH segment was found"] {
        assert_eq!(complaints.matches(reason).count(), 2, "{complaints}");
    }
    assert_eq!(counted(&text, "commit bytes of MLLP release 2"), 2);

    let json = decode(&["--json"], &all);
    let objects: Vec<Value> = out(&json).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let rows: usize = text.lines().filter(|line| line.starts_with("  OBX[")).count();
    assert_eq!(objects.len(), rows, "one object, and one line, for every OBX");
    for object in &objects {
        let has = |key: &str| object.get(key).is_some();
        assert!(["file", "message", "dialect", "obx"].iter().all(|key| has(key)), "{object}");
        let observed = ["parameter", "value", "unit", "effective_at", "validity"].iter().all(|key| has(key));
        assert!(observed != has("reject"), "{object}");
    }
    assert!(err(&json).ends_with("\n0 unexplained rows\n"), "the summary is not among the objects");
}

#[test]
fn a_row_says_its_path_and_a_reject_its_reason_in_words() {
    let output = decode(&["--zone", "Europe/Rome"], &[root().join("data/messages/ihe_pcd01/04_codes_in_conflict.hl7")]);
    let text = out(&output);
    let row = text.lines().find(|line| line.contains("reject: code_conflict")).expect("a conflict");
    assert!(row.trim_start().starts_with("OBX[") && row.contains("]-3 ") && row.contains("mean different things"), "{row}");
    assert!(text.contains("]-5 "), "observed rows point at their value");
}

#[test]
fn the_tree_has_every_field_and_no_identity() {
    let file = [root().join("data/messages/ihe_pcd01/02_structure_and_clock.hl7")];
    let masked = out(&decode(&["--tree"], &file));
    assert!(masked.contains("    OBX[4]-3.1       150021\n"), "{masked}");
    assert!(masked.contains("    PID[1]-5.1       (masked)\n"), "{masked}");
    let raw = std::fs::read_to_string(&file[0]).expect("text");
    let pid = raw.split(['\r', '\n']).find(|line| line.starts_with("PID")).expect("a PID");
    let family = pid.split('|').nth(5).and_then(|name| name.split('^').next()).expect("a name");
    assert!(family.len() > 2 && !masked.contains(family), "{family}");
    let shown = out(&decode(&["--tree", "--unmasked"], &file));
    assert!(shown.contains(&format!("    PID[1]-5.1       {family}\n")), "{shown}");
}

#[test]
fn files_that_cannot_be_read_are_named_and_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        path
    };
    let good = b"MSH|^~\\&|A|B|||20260302100000||ORU^R01|1|P|2.5\rOBX|1|NM|8867-4^Heart rate^LN||72|/min|||||F\r";
    let cut = [b"\x0B", &good[..60]].concat();
    let large = folder.path().join("large.hl7");
    std::fs::File::create(&large).expect("a file").set_len(1 << 30).expect("a sparse file");
    let list = [
        file("empty.hl7", b""),
        file("text.hl7", b"this is not hl7\n"),
        folder.path().join("missing.hl7"),
        folder.path().to_owned(),
        large,
        file("cut.mllp", &cut),
        file("noise.bin", &(0..=255u8).cycle().take(100_000).collect::<Vec<_>>()),
        file("good.hl7", good),
    ];
    let output = decode(&[], &list);
    let (text, complaints) = (out(&output), err(&output));
    assert_eq!(output.status.code(), Some(1));
    for (at, reason) in [
        "the file is empty",
        "holds no HL7 message",
        "there is no such file",
        "is a folder",
        "over the size limit",
        "holds no",
        "holds no HL7 message",
    ]
    .iter()
    .enumerate()
    {
        let line = complaints.lines().nth(at).unwrap_or_default();
        assert!(line.contains(reason) && line.contains(&*list[at].display().to_string()), "{at}: {complaints}");
    }
    assert_eq!(complaints.lines().count(), 7, "{complaints}");
    assert!(text.contains("OBX[1]-5     hr                   72 /min"), "{text}");
    assert!(text.ends_with("\n0 unexplained rows\n"), "{text}");
    assert!(decode(&[], &list[7..]).status.success());
}

#[test]
fn a_file_of_another_form_is_read_as_well() {
    for name in ["engine_log.txt", "engine_log.txt.gz", "one_line_each.txt", "json_lines.txt", "batch.hl7", "frames.mllp"] {
        let output = decode(&["--summary"], &[root().join("data/recordings").join(name)]);
        let text = out(&output);
        assert!(output.status.success(), "{name}: {}", err(&output));
        assert!(text.contains("summary: 1 files, 24 messages, 120 rows"), "{name}: {text}");
    }
}

#[test]
fn rows_that_are_in_no_message_are_counted_by_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let head = "MSH|^~\\&|A|B|||20260302100000||ORU^R01|1|P|2.5\r";
    let row = "OBX|1|NM|8867-4^Heart rate^LN||72|/min|||||F\r";
    let cases = [
        ("batch.hl7", format!("BHS|^~\\&|A\r{row}{head}{row}BTS|1\r"), "line of a batch that belongs to no message"),
        ("two.mllp", format!("\x0B{head}{row}{head}{row}\x1C\r"), "behind a second MSH in one frame (segment_injection)"),
        ("lf.hl7", format!("{head}OBX|1|TX|x^y^L||text\n{row}"), "text behind a bare LF, where CR ends the segments"),
        ("open.mllp", format!("\x0B{head}{row}\x1C\r\x0B{head}{row}"), "frame without an end"),
    ];
    for (name, text, reason) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).expect("writable");
        let text = out(&decode(&["--summary"], &[path]));
        assert!(text.ends_with("\n0 unexplained rows\n"), "{name}: {text}");
        assert_eq!(counted(&text, reason), 1, "{name}: {text}");
    }
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let file = [root().join("data/messages/tr8/01_bed_in_the_address.hl7")];
    for (arguments, word) in [
        (&["--dialect", "klingon"][..], "klingon"),
        (&["--zone", "Middle/Earth"], "Middle/Earth"),
        (&["--dialects", "no-such-folder"], "no-such-folder"),
        (&["--config", "no-such-file.toml"], "no-such-file.toml"),
        (&["--unmasked"], "--tree"),
    ] {
        let output = decode(arguments, &file);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(word), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn a_configurations_sender_rules_are_applied() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("vitalguard.toml");
    let rules =
        "zone = \"Europe/Rome\"\n[[senders.sender]]\napplication = \"A\"\nzone = \"Asia/Kolkata\"\ndialect = \"mindray_pds\"\n";
    std::fs::write(&config, rules).expect("writable");
    let file = folder.path().join("one.hl7");
    let text = "MSH|^~\\&|A|B|||20260302143000||ORU^R01|1|P|2.5\rOBX|1|NM|101^HR||72||||||F|||20260302143000\r";
    std::fs::write(&file, text).expect("writable");
    let with_rules = out(&decode(&["--json", "--config", &config.display().to_string()], std::slice::from_ref(&file)));
    let object: Value = serde_json::from_str(with_rules.trim()).expect("one object");
    assert_eq!((&object["dialect"], &object["effective_at"]), (&"mindray_pds".into(), &"2026-03-02T09:00:00.000Z".into()));
    let without = out(&decode(&["--json"], &[file]));
    assert!(without.contains("\"reject\":\"unknown_code\"") && without.contains("\"code\":\"101^HR\""), "{without}");
}
