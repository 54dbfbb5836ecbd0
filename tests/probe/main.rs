//! The probe: 25 checks of an MLLP server (17 that it passes or fails, 8 that only tell) and the wire's further faults, put to
//! the built program. `tests/expect/probe.md` is the table of what it answers; `VG_TEST_BLESS=1` writes it anew.
//!
//! Another server is probed by `VG_TEST_PROBE_TARGET=host:port cargo test --test probe another -- --nocapture`: the same table
//! with that server's answers. Send it to nothing that treats patients.

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod talk;

use common::Served;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use talk::Target;

/// How long an answer may take.
const T: Duration = Duration::from_secs(2);
/// The probed program gives up a message after, seconds: less than the default, so that the check need not wait so long.
const MESSAGE_TIMEOUT_S: u64 = 4;

pub struct Check {
    pub id: &'static str,
    pub name: &'static str,
    pub sent: &'static str,
    /// What this program answers.
    pub ours: &'static str,
    pub kind: Kind,
    pub run: fn(&Target) -> String,
}

pub enum Kind {
    /// Every server must pass: by its answer, and by ours.
    Must(fn(&str, &str) -> bool),
    /// Servers differ, and may.
    Tells,
}

impl Check {
    /// `None` where there is nothing to pass.
    fn passed(&self, answer: &str) -> Option<bool> {
        match self.kind {
            Kind::Must(passes) => Some(passes(answer, self.ours)),
            Kind::Tells => None,
        }
    }
}

fn all() -> Vec<&'static Check> {
    checks::ALL.iter().chain(faults::ALL).collect()
}

/// Runs every check, `at_a_time` of them at a time, the last of the 25 after all others. Answers in the order of the checks.
fn probe(target: &Target, at_a_time: usize) -> Vec<(&'static Check, String)> {
    let list = all();
    let answers = Mutex::new(vec![String::new(); list.len()]);
    let last = list.iter().position(|c| c.id == "25").expect("there are 25");
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(check) = list.get(n) else { break };
                    if n != last {
                        let answer = (check.run)(target);
                        answers.lock().unwrap()[n] = answer;
                    }
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap();
    answers[last] = (list[last].run)(target);
    list.into_iter().zip(answers).collect()
}

/// What a person reads.
fn table(found: &[(&Check, String)]) -> String {
    let mut text = String::from("| # | check | sent | answer | |\n| --- | --- | --- | --- | --- |\n");
    for (check, answer) in found {
        let verdict = match check.passed(answer) {
            Some(true) => "passed",
            Some(false) => "FAILED",
            None => "told",
        };
        let cell = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
        text.push_str(&format!("| {} | {} | {} | {} | {verdict} |\n", check.id, check.name, cell(check.sent), cell(answer)));
    }
    let (passed, due) = score(found);
    text.push_str(&format!("\n{passed} of {due} passed.\n"));
    text
}

fn score(found: &[(&Check, String)]) -> (usize, usize) {
    let verdicts: Vec<bool> = found.iter().filter_map(|(check, answer)| check.passed(answer)).collect();
    (verdicts.iter().filter(|v| **v).count(), verdicts.len())
}

fn served(data: &std::path::Path, placement: &str) -> Served {
    let timeout = MESSAGE_TIMEOUT_S.to_string();
    let environment = [("VITALGUARD_MLLP__MESSAGE_TIMEOUT_S", timeout.as_str()), ("VITALGUARD_MLLP__PLACEMENT", placement)];
    Served::start_with(data, &[], &environment)
}

/// The faults that the feed has counted.
fn counted(served: &Served) -> BTreeSet<String> {
    let metrics = served.get("/metrics").1;
    let mut set = BTreeSet::new();
    for line in metrics.lines().filter(|l| l.starts_with("vitalguard_wire_faults_total") && !l.ends_with(" 0")) {
        set.extend(line.split("fault=\"").nth(1).and_then(|l| l.split('"').next()).map(str::to_owned));
    }
    set
}

fn received(served: &Served) -> u64 {
    let metrics = served.get("/metrics").1;
    let line = metrics.lines().find(|l| l.starts_with("vitalguard_messages_received_total{")).unwrap_or_default().to_owned();
    line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Each fault of the probe leaves a count behind.
const COUNTED: [&str; 20] = [
    "ack_received",
    "batch_fault",
    "byte_order_mark",
    "commit",
    "connect_and_close",
    "empty",
    "foreign_http",
    "foreign_ssh",
    "foreign_tls",
    "fs_inside",
    "junk",
    "message_timeout",
    "missing_cr",
    "missing_vt",
    "not_hl7",
    "nul_padding",
    "too_large",
    "truncated",
    "unframed",
    "vt_inside",
];

#[test]
fn seventeen_of_seventeen_pass_and_the_others_answer_as_documented() {
    let data = tempfile::tempdir().unwrap();
    let mut served = served(data.path(), "listener");
    let mut target = Target::new(served.mllp, T);
    target.message_timeout = Some(Duration::from_secs(MESSAGE_TIMEOUT_S));
    let found = probe(&target, 6);
    let table = table(&found);
    println!("{table}");
    assert_eq!(checks::ALL.len(), 25);
    assert_eq!(score(&found), (17, 17), "{table}");
    let wrong: Vec<String> =
        found.iter().filter(|(c, a)| a != c.ours).map(|(c, a)| format!("{}: {a}, documented: {}", c.id, c.ours)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expect/probe.md");
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).expect("the committed table"), table);
    let counted = counted(&served);
    let silent: Vec<_> = COUNTED.iter().filter(|fault| !counted.contains(**fault)).collect();
    assert!(silent.is_empty(), "not counted: {silent:?} in {counted:?}");
    assert!(!counted.contains("task_panic"));
    assert!(served.terminate().success());
}

#[test]
fn a_tap_never_sends_a_byte() {
    let data = tempfile::tempdir().unwrap();
    let mut served = served(data.path(), "tap");
    let mut target = Target::new(served.mllp, Duration::from_millis(150)).keeping();
    target.message_timeout = Some(Duration::from_secs(MESSAGE_TIMEOUT_S));
    let found = probe(&target, 6);
    // Commit acknowledgements, refusals and what a slow journal would have delayed had their time.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(target.heard_in_all(), 0, "{}", table(&found));
    let answered: Vec<_> =
        found.iter().filter(|(_, a)| ["AA", "AE", "AR", "CA", "CE", "CR"].iter().any(|c| a.contains(c))).collect();
    assert_eq!(answered.len(), 0);
    // And it has heard everything.
    assert!(received(&served) > 100, "{}", received(&served));
    let counted = counted(&served);
    // (An answer on this wire is the receiver's and no fault; and no connection was closed without a byte, since all are kept.)
    let due = COUNTED.iter().filter(|fault| !matches!(**fault, "ack_received" | "connect_and_close"));
    let silent: Vec<_> = due.filter(|fault| !counted.contains(**fault)).collect();
    assert!(silent.is_empty(), "not counted: {silent:?} in {counted:?}");
    println!("a tap: {} messages heard in {} checks, 0 bytes sent", received(&served), found.len());
    assert!(served.terminate().success());
}

/// A server as it is often written: what one read brings is taken for one frame.
fn naive() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if !buffer[..len].starts_with(b"\x0bMSH") {
                        return;
                    }
                    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                    let id = text.split('|').nth(9).unwrap_or_default().to_owned();
                    let ack = format!("\x0bMSH|^~\\&|MON|ICU|PLAUS|H|2026||ACK|1|P|2.3\rMSA|AA|{id}\r\x1c\r");
                    if stream.write_all(ack.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn the_probe_finds_what_a_naive_server_does_wrong() {
    let target = Target::new(naive(), Duration::from_millis(300));
    let failed: Vec<&str> =
        checks::ALL.iter().filter(|check| check.passed(&(check.run)(&target)) == Some(false)).map(|check| check.id).collect();
    assert_eq!(failed, ["2", "4", "5", "6", "7", "8", "9", "13", "14"]);
}

#[test]
fn another_server_is_probed_where_one_is_named() {
    let Ok(name) = std::env::var("VG_TEST_PROBE_TARGET") else {
        println!("VG_TEST_PROBE_TARGET=host:port names a server to be probed; none is named");
        return;
    };
    let address = name.to_socket_addrs().expect("host:port").next().expect("an address");
    println!("{name}\n\n{}", table(&probe(&Target::new(address, T), 1)));
}
