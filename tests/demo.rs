//! `vitalguard demo` as a whole: the service, twelve senders over sockets, an MQTT client, two attacks. Two minutes long, so it
//! runs where it is asked for: `cargo test --test demo -- --ignored`.

use std::process::{Command, Stdio};

#[test]
#[ignore = "two minutes: cargo test --test demo -- --ignored"]
fn both_attacks_are_caught_over_real_sockets_and_nothing_else_is_raised() {
    let done = Command::new(env!("CARGO_BIN_EXE_vitalguard"))
        .args(["demo", "--for", "125", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--mllp", "127.0.0.1:0"])
        .env_remove("VITALGUARD_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("the program was built");
    let told = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{told}\n{errors}");
    for check in ["[P02 second_sender]", "[P01 control_id_reuse]"] {
        assert!(told.lines().any(|line| line.contains("CAUGHT") && line.contains(check)), "{check} in {told}");
    }
    assert!(told.contains(" 0 refused"), "{told}");
}
