//! The benchmark from the command line, on invented patients.

use std::process::Command;

fn run(arguments: &[&str]) -> (bool, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard")).arg("bench").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.success(), text(out.stdout), text(out.stderr))
}

/// Without what depends on the machine.
fn figures(json: &str) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["cost"] = serde_json::Value::Null;
    let targets = value["targets"].as_array_mut().unwrap();
    targets.retain(|t| !t["what"].as_str().unwrap().starts_with("cost of a message"));
    value
}

#[test]
fn a_quick_run_says_the_same_with_any_number_of_threads_and_its_page_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let (good, one, error) =
        run(&["--quick", "--glance", "--quiet", "--threads", "1", "--json", "-", "--html", page.to_str().unwrap()]);
    assert!(good, "{error}");
    let (_, two, _) = run(&["--quick", "--glance", "--quiet", "--threads", "2", "--json", "-"]);
    let one = figures(&one);
    assert_eq!(one, figures(&two));
    assert_eq!(one["schema"], "benchmark/1");
    assert!(one["attacks"].as_array().unwrap().len() > 5, "attacks were made");
    assert!(one["targets"].as_array().unwrap().iter().any(|t| t["outcome"] == "stated"), "what cannot be won is told");
    let page = std::fs::read_to_string(page).unwrap();
    for word in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "the page fetches nothing: {word}");
    }
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg"));
}

#[test]
fn a_folder_without_recordings_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard")).arg("bench").arg(folder.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no recording was found"));
}
