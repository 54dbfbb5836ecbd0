//! The station page in a real browser: its own tests, and every acceptance scenario against the real program.
#![cfg(feature = "peers")]

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program in `web/`; its output is the complaint when it fails.
fn web(program: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let done = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("VITALGUARD", env!("CARGO_BIN_EXE_vitalguard"))
        .stdin(Stdio::null())
        .output()
        .expect("node and npm are installed (./test installs them, and npm's packages of web/)");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    // The figures are worth reading also when all is well: `cargo test --test web -- --nocapture`.
    println!("{out}");
    assert!(done.status.success(), "{program} {}: {}\n{out}\n{err}", arguments.join(" "), done.status);
}

/// One after the other: each of them measures times.
#[test]
fn the_page_passes_its_tests_and_every_scenario_against_the_real_program() {
    web("npm", &["test"]);
    web("npm", &["run", "accept"]);
    web("node", &["tests/station.mjs"]);
}
