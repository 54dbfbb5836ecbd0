//! Alerts as FHIR R4: a Bundle (collection) of DetectedIssue, with the observations that they doubt and who says so.
//!
//! One contract: nobody is named, and a value that is doubted is not told as one: its Observation has no value, a
//! `dataAbsentReason` and the security label that says how far it can be relied on. What a check compared stands beside it under
//! the check's own code. References are to entries of the same Bundle; the same alerts give the same resources.

use crate::alert::{Alert, AlertState, Evidence};
use crate::check::{Assessment, Priority};
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const UCUM: &str = "http://unitsofmeasure.org";
const MDC: &str = "urn:iso:std:iso:11073:10101";
const LOINC: &str = "http://loinc.org";
const RELIABILITY: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
/// Our own identifiers and codes: `urn:x-vitalguard:alert`, `:condition`, `:bed`, `:device`.
const OWN: &str = "urn:x-vitalguard:";

/// What may be relied on of a doubted value, and why it has none.
const fn doubt(assessment: Assessment) -> (&'static str, &'static str) {
    match assessment {
        Assessment::Tamper | Assessment::Identity | Assessment::Artefact | Assessment::Unit => ("UNRELIABLE", "error"),
        Assessment::Silence => ("UNCERTREL", "temp-unknown"),
        Assessment::Physiology | Assessment::Advisory | Assessment::Unverified => ("UNCERTREL", "unknown"),
    }
}

/// `high`, `moderate` or `low`; nothing for what is only told to engineers.
const fn severity(priority: Priority) -> Option<&'static str> {
    match priority {
        Priority::High => Some("high"),
        Priority::Medium => Some("moderate"),
        Priority::Low => Some("low"),
        Priority::Info => None,
    }
}

/// A name that is the same for the same thing.
fn urn(what: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("{OWN}{what}").as_bytes()).urn().to_string()
}

/// Entries of a Bundle, each once.
#[derive(Default)]
struct Entries {
    list: Vec<Value>,
    known: BTreeSet<String>,
}

impl Entries {
    fn put(&mut self, name: &str, resource: impl FnOnce() -> Value) -> Value {
        let url = urn(name);
        if self.known.insert(url.clone()) {
            self.list.push(json!({ "fullUrl": url, "resource": resource() }));
        }
        json!({ "reference": url })
    }
}

/// The Bundle. `next`: where the following page is.
pub fn bundle(alerts: &[Alert], at: Timestamp, next: Option<&str>) -> Value {
    let mut entries = Entries::default();
    for alert in alerts {
        let software = entries.put("software", software);
        issue(alert, &software, &mut entries);
    }
    let mut bundle = json!({ "resourceType": "Bundle", "type": "collection", "timestamp": at.to_string() });
    if let Some(url) = next {
        bundle["link"] = json!([{ "relation": "next", "url": url }]);
    }
    // An empty list is no list in FHIR.
    if !entries.list.is_empty() {
        bundle["entry"] = entries.list.into();
    }
    bundle
}

fn software() -> Value {
    json!({
        "resourceType": "Device",
        "status": "active",
        "deviceName": [{ "name": "vitalguard", "type": "model-name" }],
        "version": [{ "value": env!("CARGO_PKG_VERSION") }],
    })
}

fn issue(alert: &Alert, software: &Value, entries: &mut Entries) {
    let place = json!({
        "type": "Location",
        "identifier": { "system": format!("{OWN}bed"), "value": format!("{}/{}/{}", alert.site, alert.ward, alert.bed) },
        "display": format!("{} {}", alert.ward, alert.bed),
    });
    let mut implicated = vec![place.clone()];
    if let Some(device) = &alert.device {
        implicated.push(entries.put(&format!("device {device}"), || {
            json!({
                "resourceType": "Device",
                "identifier": [{ "system": format!("{OWN}device"), "value": device }],
                "status": "active",
            })
        }));
    }
    for parameter in &alert.params {
        let name = format!("doubted {} {}", alert.id, parameter.key());
        implicated.push(entries.put(&name, || doubted(alert, *parameter, &place)));
    }
    let mut evidence = Vec::new();
    for (n, row) in alert.evidence.iter().enumerate() {
        let detail = entries.put(&format!("evidence {} {n}", alert.id), || compared(row, &place));
        evidence.push(json!({ "code": [{ "coding": [condition(&row.check, None)] }], "detail": [detail] }));
    }
    let (check, name) = alert.condition.split_once(' ').unwrap_or((&alert.condition, ""));
    let mut resource = json!({
        "resourceType": "DetectedIssue",
        "id": alert.id,
        "language": "en",
        "identifier": [
            { "system": format!("{OWN}alert"), "value": alert.id },
            { "system": format!("{OWN}ref"), "value": alert.reference },
        ],
        "status": if alert.state == AlertState::Cleared { "final" } else { "preliminary" },
        "code": { "coding": [condition(check, Some(name)), { "system": format!("{OWN}assessment"), "code": alert.assessment.as_str() }] },
        "identifiedDateTime": alert.raised.to_string(),
        "author": software,
        "implicated": implicated,
        "detail": alert.text.en,
        "mitigation": [{ "action": { "text": alert.action.en } }],
    });
    if let Some(severity) = severity(alert.priority) {
        resource["severity"] = severity.into();
    }
    if !evidence.is_empty() {
        resource["evidence"] = evidence.into();
    }
    entries.put(&format!("issue {}", alert.id), || resource);
}

fn condition(check: &str, name: Option<&str>) -> Value {
    let mut coding = json!({ "system": format!("{OWN}condition"), "code": check });
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        coding["display"] = name.into();
    }
    coding
}

/// A parameter whose value is in doubt: no value.
fn doubted(alert: &Alert, parameter: Parameter, place: &Value) -> Value {
    let (reliability, absent) = doubt(alert.assessment);
    let mut coding = Vec::new();
    if let Some((code, name)) = parameter.mdc() {
        coding.push(json!({ "system": MDC, "code": code.to_string(), "display": name }));
    }
    if let Some(code) = parameter.loinc() {
        coding.push(json!({ "system": LOINC, "code": code }));
    }
    coding.push(json!({ "system": format!("{OWN}parameter"), "code": parameter.key() }));
    let mut period = json!({ "start": alert.onset.to_string() });
    if let Some(end) = alert.ended {
        period["end"] = end.to_string().into();
    }
    json!({
        "resourceType": "Observation",
        "meta": { "security": [{ "system": RELIABILITY, "code": reliability }] },
        "status": "preliminary",
        "code": { "coding": coding },
        "subject": place,
        "effectivePeriod": period,
        "dataAbsentReason": { "coding": [{ "system": ABSENT, "code": absent }] },
    })
}

/// What a check compared: its number and its limit, or its words.
fn compared(row: &Evidence, place: &Value) -> Value {
    let quantity = |value: f64| match &row.unit {
        Some(unit) => json!({ "value": value, "unit": unit, "system": UCUM, "code": unit }),
        None => json!({ "value": value }),
    };
    let mut resource = json!({
        "resourceType": "Observation",
        "status": "final",
        "code": { "coding": [condition(&row.check, None)] },
        "subject": place,
        "note": [{ "text": row.text.en }],
    });
    match row.value {
        Some(value) => resource["valueQuantity"] = quantity(value.0),
        None => resource["valueString"] = row.text.en.as_str().into(),
    }
    if let Some(limit) = row.limit {
        resource["component"] = json!([{ "code": { "text": "limit" }, "valueQuantity": quantity(limit.0) }]);
    }
    if let Some(at) = row.effective_at {
        resource["effectiveDateTime"] = at.to_string().into();
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Members, Number, Text};
    use crate::check::Class;

    fn alert(assessment: Assessment, priority: Priority) -> Alert {
        let text = |en: &str| Text { en: en.into(), it: String::new() };
        Alert {
            id: "A-0123456789ab-20261130T100000000Z".into(),
            reference: "1D15-DB51".into(),
            site: "hsp1".into(),
            ward: "icu".into(),
            bed: "A03".into(),
            condition: "P10 feed_disagreement".into(),
            assessment,
            priority,
            state: AlertState::Active,
            params: vec![Parameter::Spo2, Parameter::Hr],
            onset: Timestamp(1_796_000_000_000),
            raised: Timestamp(1_796_000_010_000),
            updated: Timestamp(1_796_000_020_000),
            ended: None,
            cleared: None,
            count: 1,
            confidence: Number(0.95),
            text: text("differ"),
            action: text("verify"),
            args: Members(Vec::new()),
            evidence: vec![Evidence {
                check: "P10".into(),
                class: Class::CrossSource,
                score: Number(1.0),
                value: Some(Number(81.0)),
                limit: Some(Number(97.0)),
                unit: Some("%".into()),
                window_s: None,
                msg_id: None,
                obx_id: None,
                raw: Some("emr.9".into()),
                effective_at: Some(Timestamp(1_796_000_000_000)),
                text: text("97 upstream, 81 downstream"),
            }],
            acked: None,
            shelved: None,
            cause_of: Vec::new(),
            because: None,
            device: Some("dev-0badcafe".into()),
            model: "sha256:0".into(),
            href: None,
        }
    }

    fn resources<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
        let entries = bundle["entry"].as_array().unwrap();
        entries.iter().map(|e| &e["resource"]).filter(|r| r["resourceType"] == kind).collect()
    }

    #[test]
    fn an_alert_is_an_issue_and_its_doubted_values_have_none() {
        let made = bundle(&[alert(Assessment::Tamper, Priority::Medium)], Timestamp(1_796_000_030_000), None);
        let [issue] = resources(&made, "DetectedIssue")[..] else { panic!("{made}") };
        assert_eq!((&issue["status"], &issue["severity"]), (&"preliminary".into(), &"moderate".into()));
        assert_eq!(issue["identifiedDateTime"], Timestamp(1_796_000_010_000).to_string());
        assert!(issue.get("patient").is_none());
        let observations = resources(&made, "Observation");
        let doubted: Vec<_> = observations.iter().filter(|o| !o["dataAbsentReason"].is_null()).collect();
        assert_eq!(doubted.len(), 2);
        for one in doubted {
            assert!(!one.as_object().unwrap().keys().any(|key| key.starts_with("value")), "{one}");
            assert_eq!(one["dataAbsentReason"]["coding"][0]["code"], "error");
            assert_eq!(one["meta"]["security"][0]["code"], "UNRELIABLE");
        }
        let compared = observations.iter().find(|o| o["dataAbsentReason"].is_null()).unwrap();
        assert_eq!(
            (&compared["valueQuantity"]["value"], &compared["component"][0]["valueQuantity"]["value"]),
            (&81.0.into(), &97.0.into())
        );
        assert_eq!(resources(&made, "Device").len(), 2);
        // Every reference to an entry leads to one.
        let urls: Vec<&str> = made["entry"].as_array().unwrap().iter().map(|e| e["fullUrl"].as_str().unwrap()).collect();
        let text = made.to_string();
        for (at, _) in text.match_indices("\"reference\":\"") {
            let reference = text[at + 13..].split('"').next().unwrap();
            assert!(urls.contains(&reference), "{reference}");
        }
    }

    #[test]
    fn status_severity_and_reason_follow_the_alert_and_nothing_is_an_empty_list() {
        let mut over = alert(Assessment::Silence, Priority::Info);
        over.state = AlertState::Cleared;
        over.ended = Some(Timestamp(1_796_000_020_000));
        over.evidence.clear();
        let made = bundle(&[over], Timestamp(0), Some("/api/v1/alerts?format=fhir&cursor=1.2"));
        let issue = resources(&made, "DetectedIssue")[0];
        assert_eq!(issue["status"], "final");
        assert!(issue.get("severity").is_none() && issue.get("evidence").is_none());
        assert_eq!(resources(&made, "Observation")[0]["dataAbsentReason"]["coding"][0]["code"], "temp-unknown");
        assert_eq!(made["link"][0]["relation"], "next");
        let none = bundle(&[], Timestamp(0), None);
        assert!(none.get("entry").is_none(), "{none}");
        assert!(!made.to_string().contains("[]"), "{made}");
    }

    #[test]
    fn two_alerts_share_their_devices_and_the_same_alerts_give_the_same_bundle() {
        let mut second = alert(Assessment::Tamper, Priority::High);
        second.id = "A-ffffffffffff-20261130T100000000Z".into();
        let both = [alert(Assessment::Tamper, Priority::High), second];
        let made = bundle(&both, Timestamp(0), None);
        assert_eq!((resources(&made, "Device").len(), resources(&made, "DetectedIssue").len()), (2, 2));
        assert_eq!(made, bundle(&both, Timestamp(0), None));
    }
}
