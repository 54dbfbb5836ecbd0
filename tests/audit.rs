//! Who did or looked at what, against the real program: log-ins, refusals, changes of the configuration, and the ways out.

#[path = "support/client.rs"]
mod client;
mod common;

use client::{Client as Mqtt, endpoint};
use common::{PATIENCE, Served, wait_for};
use serde_json::Value;
use sha2::Digest as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use vitalguard::shell::journal::{Looked, Reader, Record};
use vitalguard::shell::vault::verify::{Options, verify};

fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

fn sha256(text: &str) -> String {
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

const TOKEN: &str = "Authorization: Bearer machine";

fn start(folder: &Path, password: &str, more: &str) -> Served {
    let text = format!(
        "site = \"hsp\"\n{more}\n[[mqtt.users]]\nname = \"anna\"\nrole = \"nurse\"\npassword_sha256 = \"{}\"\n\
         [[http.tokens]]\nname = \"machine\"\nrole = \"engineer\"\ntoken_sha256 = \"{}\"\n",
        sha256(password),
        sha256("machine"),
    );
    let path = folder.join("vitalguard.toml");
    std::fs::write(&path, text).unwrap();
    Served::start(&folder.join("data"), &["--config", path.to_str().unwrap()])
}

fn log_in(served: &Served, user: &str, password: &str) -> (u16, String) {
    let body = format!("{{\"user\":{user:?},\"password\":{password:?}}}");
    let (status, head, body) = ask(served.http, "POST", "/api/v1/session", &[], &body);
    let cookie = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("set-cookie: ").map(|_| l[12..].to_owned()));
    let cookie = cookie.and_then(|cookie| cookie.split(';').next().map(str::to_owned)).unwrap_or_default();
    let csrf = serde_json::from_str::<Value>(&body).ok().and_then(|v| v["csrf"].as_str().map(str::to_owned)).unwrap_or_default();
    (status, format!("Cookie: {cookie}\r\nX-CSRF-Token: {csrf}"))
}

/// Action, user and result, oldest first, once there are so many of them.
fn audit(served: &Served, least: usize) -> Vec<(String, String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    wait_for("the audit", || {
        let (status, _, body) = ask(served.http, "GET", "/api/v1/audit?limit=1000", &[TOKEN], "");
        assert_eq!(status, 200, "{body}");
        let rows = serde_json::from_str::<Value>(&body).unwrap()["audit"].as_array().unwrap().clone();
        let line = |row: &Value| (text(row, "action"), text(row, "user"), text(row, "result"), text(row, "object"));
        (rows.len() >= least).then(|| rows.iter().rev().map(line).collect())
    })
}

fn journalled(folder: &Path) -> Vec<Looked> {
    Reader::open(&folder.join("data/journal"), 0)
        .unwrap()
        .filter_map(|entry| match entry.unwrap().stamped.record {
            Record::Audit(looked) => Some(looked),
            _ => None,
        })
        .collect()
}

#[test]
fn who_came_who_was_refused_and_who_went_stands_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = start(folder.path(), "correct horse", "");
    assert_eq!(log_in(&served, "anna", "guess").0, 401);
    assert_eq!(log_in(&served, "hunter2 is my password", "guess").0, 401);
    let (status, headers) = log_in(&served, "anna", "correct horse");
    assert_eq!(status, 200);
    assert_eq!(ask(served.http, "DELETE", "/api/v1/session", &[&headers], "").0, 204);
    let rows = audit(&served, 6);
    let line = |action: &str, user: &str, result: &str| {
        let one = (action.to_owned(), user.to_owned(), result.to_owned(), "127.0.0.1".to_owned());
        assert!(rows.contains(&one), "{one:?}: {rows:?}");
    };
    line("login", "anna", "refused");
    line("login", "unknown", "refused");
    line("login", "anna", "ok");
    line("logout", "anna", "ok");
    // A flood of refusals does not fill the journal.
    for n in 0..150 {
        let (status, _) = log_in(&served, &format!("u{n}"), "guess");
        assert!(status == 401 || status == 429, "{status}");
    }
    assert_eq!(ask(served.http, "GET", "/api/v1/audit?format=dicom", &[TOKEN], "").0, 200);
    let rows = wait_for("the look at the audit", || {
        Some(audit(&served, 7)).filter(|rows| rows.iter().any(|(action, user, ..)| action == "audit" && user == "machine"))
    });
    let refused = rows.iter().filter(|(action, _, result, _)| action == "login" && result != "ok").count();
    assert!((10..=40).contains(&refused), "{refused}");
    assert!(served.terminate().success());
    let chain = journalled(folder.path());
    assert!(chain.iter().any(|l| l.action == "logout" && l.user == "anna" && l.via == "web"), "{chain:?}");
    assert!(!format!("{chain:?}").contains("hunter2"), "what may be a password is not written down");
    let report = verify(&folder.path().join("data"), &Options::default()).unwrap();
    assert!(report.is_proven(), "{report:#?}");
}

#[test]
fn another_configuration_is_an_event_with_both_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let changes = |actions: &str| -> Vec<String> {
        journalled(folder.path()).into_iter().filter(|l| l.action == actions).map(|l| l.object).collect()
    };
    for (more, count) in [("", 1), ("", 1), ("zone = \"Europe/Rome\"", 2), ("", 3)] {
        let mut served = start(folder.path(), "correct horse", more);
        audit(&served, count + 1);
        assert!(served.terminate().success());
        assert_eq!(changes("configuration").len(), count, "{:?}", changes("configuration"));
    }
    let list = changes("configuration");
    assert!(list[0].starts_with("sha256:") && !list[0].contains(' '), "{list:?}");
    assert!(list[1].starts_with(&format!("{} to sha256:", list[0])), "{list:?}");
    assert!(list[2].ends_with(&format!(" to {}", list[0])), "{list:?}");
    assert_eq!(changes("models").len(), 1);
    // A hash that stands in the chain for ever says nothing of a password.
    let mut served = start(folder.path(), "another horse", "");
    assert!(served.terminate().success());
    assert_eq!(changes("configuration").len(), 3);
}

#[test]
fn a_command_that_is_refused_at_the_door_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(&folder.path().join("data"), &[]);
    let mqtt = Mqtt::start(endpoint(served.mqtt.unwrap(), "person", None), true, &["vitalguard/#"], true);
    wait_for("the subscription", || mqtt.with(|h| h.subscribed).filter(|subscribed| *subscribed));
    for _ in 0..80 {
        mqtt.say("vitalguard/v1/main/cmd/local/ack", "{\"request_id\":\"r1\",\"nonsense\":true}", false);
        // The test's own queue is short.
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    wait_for("the refusal", || {
        let (_, body) = served.get("/api/v1/audit");
        body.contains("\"via\":\"mqtt\",\"action\":\"ack\"").then_some(())
    });
    assert!(served.terminate().success());
    let chain = journalled(folder.path());
    let refused: Vec<_> = chain.iter().filter(|l| l.action == "ack").collect();
    assert!((1..=36).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|l| l.user == "local" && l.via == "mqtt" && l.result != "ok"), "{refused:?}");
}

fn vitalguard(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_vitalguard")).args(arguments).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_audit_goes_out_as_lines_as_a_table_and_as_audit_messages() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = start(folder.path(), "correct horse", "");
    log_in(&served, "anna", "guess");
    log_in(&served, "anna", "correct horse");
    audit(&served, 4);
    let token = folder.path().join("token");
    std::fs::write(&token, "machine\n").unwrap();
    let (http, token) = (served.http.to_string(), token.display().to_string());
    let over_http = vitalguard(&["audit", "--http", &http, "--token-file", &token]);
    assert_eq!(over_http.lines().count(), 4, "{over_http}");
    assert!(over_http.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let (status, head, table) = ask(served.http, "GET", "/api/v1/audit?format=csv", &[TOKEN], "");
    assert!(status == 200 && head.to_ascii_lowercase().contains("text/csv"), "{head}");
    assert!(table.contains("number,at,user,via,action,object,result\r\n"), "{table}");
    assert_eq!(ask(served.http, "GET", "/api/v1/audit?format=pdf", &[TOKEN], "").0, 400);
    assert!(served.terminate().success());
    let data = folder.path().join("data").display().to_string();
    assert_eq!(vitalguard(&["audit", "--data", &data, "--limit", "2"]).lines().count(), 2);
    let table = vitalguard(&["audit", "--data", &data, "--format", "csv"]);
    assert!(table.contains(",anna,web,login,127.0.0.1,refused"), "{table}");
    let messages = vitalguard(&["audit", "--data", &data, "--format", "dicom"]);
    assert!(messages.lines().all(|line| line.starts_with("<AuditMessage>") && line.ends_with("</AuditMessage>")));
    #[cfg(feature = "peers")]
    strictly(&messages);
}

/// Every line through Python's parser, and against what PS3.15 A.5.1 allows of the members that we write.
#[cfg(feature = "peers")]
fn strictly(messages: &str) {
    const CHECK: &str = r#"
import sys, re, datetime
import xml.etree.ElementTree as tree
coded = {"csd-code": True, "codeSystemName": True, "originalText": True, "displayName": False}
shape = {
  "AuditMessage": ({}, [("EventIdentification", 1, 1), ("ActiveParticipant", 1, 99), ("AuditSourceIdentification", 1, 1), ("ParticipantObjectIdentification", 0, 99)]),
  "EventIdentification": ({"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True}, [("EventID", 1, 1), ("EventTypeCode", 0, 99), ("EventOutcomeDescription", 0, 1)]),
  "ActiveParticipant": ({"UserID": True, "AlternativeUserID": False, "UserName": False, "UserIsRequestor": True, "NetworkAccessPointID": False, "NetworkAccessPointTypeCode": False}, [("RoleIDCode", 0, 99)]),
  "AuditSourceIdentification": ({"AuditEnterpriseSiteID": False, "AuditSourceID": True}, [("AuditSourceTypeCode", 0, 99)]),
  "AuditSourceTypeCode": ({"csd-code": True}, []),
  "ParticipantObjectIdentification": ({"ParticipantObjectID": True, "ParticipantObjectTypeCode": False}, [("ParticipantObjectIDTypeCode", 1, 1), ("ParticipantObjectName", 1, 1)]),
  "ParticipantObjectName": ({}, []), "EventOutcomeDescription": ({}, []),
  "EventID": (coded, []), "EventTypeCode": (coded, []), "RoleIDCode": (coded, []), "ParticipantObjectIDTypeCode": (coded, []),
}
allowed = {"EventActionCode": "CRUDE", "EventOutcomeIndicator": ["0", "4", "8", "12"], "UserIsRequestor": ["true", "false"], "NetworkAccessPointTypeCode": "12345", "ParticipantObjectTypeCode": "1234"}
def check(node):
    attributes, children = shape[node.tag]
    for name, value in node.attrib.items():
        assert name in attributes, (node.tag, name)
        assert name not in allowed or value in allowed[name], (name, value)
        if name == "EventDateTime":
            datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    for name, needed in attributes.items():
        assert not needed or name in node.attrib, (node.tag, name)
    names = [child.tag for child in node]
    assert names == sorted(names, key=[name for name, _, _ in children].index), names
    for name, least, most in children:
        assert least <= names.count(name) <= most, (node.tag, name)
    for child in node:
        check(child)
count = 0
for line in sys.stdin:
    check(tree.fromstring(line)); count += 1
print(count)
"#;
    use std::process::Stdio;
    let mut python =
        Command::new("python3").args(["-c", CHECK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    python.stdin.take().unwrap().write_all(messages.as_bytes()).unwrap();
    let out = python.wait_with_output().unwrap();
    assert!(out.status.success());
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), messages.lines().count().to_string());
}
