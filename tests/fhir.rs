//! Alerts as FHIR R4 over HTTP, and the models of others that read them.

mod common;

use common::{BPM, Client, HR, PERCENT, SPO2, Served, now_hl7, pcd01, wait_for};
use serde_json::Value;

/// A service with an alert at each of some beds: one message id with two contents.
fn served(folder: &std::path::Path, beds: &[&str]) -> Served {
    let served = Served::start(folder, &[]);
    for bed in beds {
        let mut client = Client::connect(served.mllp);
        let tell = |client: &mut Client, id: &str, spo2: &str| {
            let rows = [(HR, "72", BPM), (SPO2, spo2, PERCENT)];
            client.ask(&pcd01("GW", "ICU", bed, id, &now_hl7(), &rows)).unwrap();
        };
        // A sender of a known kind is held to its ids from the first message on.
        tell(&mut client, "1", "97");
        std::thread::sleep(std::time::Duration::from_millis(30));
        tell(&mut client, "1", "81");
    }
    wait_for("alerts", || {
        let body: Value = serde_json::from_str(&served.get("/api/v1/alerts").1).unwrap();
        let alerts = body["alerts"].as_array().unwrap();
        beds.iter().all(|bed| alerts.iter().any(|a| a["bed"] == **bed)).then_some(())
    });
    served
}

fn resources<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    let entries = bundle["entry"].as_array().unwrap();
    entries.iter().map(|e| &e["resource"]).filter(|r| r["resourceType"] == kind).collect()
}

#[test]
fn alerts_are_a_bundle_of_detected_issues_without_a_patient_and_each_export_is_audited() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), &["A01", "A02"]);
    let (status, body) = served.get("/api/v1/alerts?format=fhir");
    assert_eq!(status, 200, "{body}");
    let bundle: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&"Bundle".into(), &"collection".into()));
    let issues = resources(&bundle, "DetectedIssue");
    let (_, list) = served.get("/api/v1/alerts");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(issues.len(), list["alerts"].as_array().unwrap().len());
    let issue = issues.iter().find(|i| i["code"]["coding"][0]["code"] == "P01").expect("the reused id");
    assert_eq!(issue["code"]["coding"][1]["code"], "tamper");
    assert!(!body.contains("Invented") && !body.contains("P-A01") && issue.get("patient").is_none(), "nobody is named");

    // Page by page, and one by itself.
    let (_, first) = served.get("/api/v1/alerts?format=fhir&limit=1");
    let first: Value = serde_json::from_str(&first).unwrap();
    let next = first["link"][0]["url"].as_str().unwrap();
    let second: Value = serde_json::from_str(&served.get(next).1).unwrap();
    assert_ne!(resources(&first, "DetectedIssue")[0]["id"], resources(&second, "DetectedIssue")[0]["id"]);
    let id = issue["id"].as_str().unwrap();
    let (status, one) = served.get(&format!("/api/v1/alerts/{id}?format=fhir"));
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!((status, resources(&one, "DetectedIssue").len()), (200, 1));
    for (wrong, expected) in [
        ("/api/v1/alerts?format=xml".to_owned(), 400),
        (format!("/api/v1/alerts/{id}?format=csv"), 400),
        (format!("/api/v1/alerts/{id}?fromat=fhir"), 400),
        ("/api/v1/alerts/A-000000000000-20261130T100000000Z?format=fhir".to_owned(), 404),
    ] {
        assert_eq!(served.get(&wrong).0, expected, "{wrong}");
    }
    wait_for("the audit", || (served.get("/api/v1/audit").1.matches("export").count() >= 4).then_some(()));
    let (_, empty) = served.get("/api/v1/alerts?format=fhir&bed=NONE");
    assert!(serde_json::from_str::<Value>(&empty).unwrap().get("entry").is_none(), "{empty}");
}

/// The models of fhir.resources.
#[cfg(feature = "peers")]
#[test]
fn fhir_resources_finds_every_bundle_valid_and_what_is_wrong_with_a_broken_one() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let validate = |body: &str| {
        let python = std::env::var("VG_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/bundle.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("./test installs it");
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "fhir.resources is installed (./test installs it)");
        String::from_utf8(out.stdout).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), &["A01", "A02"]);
    let (_, body) = served.get("/api/v1/alerts?format=fhir");
    let said = validate(&body);
    let entries = serde_json::from_str::<Value>(&body).unwrap()["entry"].as_array().unwrap().len();
    assert_eq!(said.matches("ok ").count(), entries, "{said}\n{body}");
    for kind in ["DetectedIssue", "Observation", "Device"] {
        assert!(said.contains(&format!("ok {kind}\n")), "{said}");
    }
    assert_eq!(validate(&served.get("/api/v1/alerts?format=fhir&bed=NONE").1), "", "an empty bundle is one");
    for (from, to) in [
        ("\"status\":\"preliminary\"", "\"status\":\"open\""),
        ("\"identifiedDateTime\":\"2", "\"identifiedDateTime\":\"x"),
        ("\"mitigation\":[{\"action\"", "\"mitigation\":[{\"deed\""),
        ("\"author\":{\"reference\":\"urn:uuid:", "\"author\":{\"reference\":\"urn:uuid:0"),
    ] {
        let broken = body.replacen(from, to, 1);
        assert_ne!(broken, body, "{from}");
        assert!(validate(&broken).starts_with("BAD"), "{to}");
    }
}
