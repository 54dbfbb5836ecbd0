//! What a case knows for the forms: from the feed, the journal, an operator's fields and exact advisory matches. Nothing inferred.

use super::{Case, Held, Item};
use crate::advisory::Level;
use crate::dossier::{Fact, FactSource, Facts, Language};
use crate::time::Timestamp;
use serde_json::Value;

/// What was gathered beside the case itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The alerts as the store has them: objects of the outgoing contract.
    pub alerts: Vec<Value>,
    pub actions: Vec<Action>,
}

/// What a person did, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub sequence: u64,
    pub at: Timestamp,
    pub user: String,
    /// `ack`, `spot-check`, …
    pub verb: String,
}

fn put(facts: &mut Facts, key: &str, value: impl Into<String>, source: FactSource) {
    let fact = Fact { value: value.into(), source };
    let list = facts.entry(key.to_owned()).or_default();
    if !fact.value.is_empty() && !list.contains(&fact) {
        list.push(fact);
    }
}

/// The facts of a case.
pub fn facts(case: &Case, found: &Found, language: Language) -> Facts {
    let mut facts = Facts::new();
    for (key, field) in &case.fields {
        let source = FactSource::Operator { user: field.by.user.clone(), at: field.by.at };
        put(&mut facts, key, &field.value, source);
    }
    for confirmed in case.confirmed() {
        let reference = format!("{}, confirmed by {} at {}", case.id, confirmed.by.user, confirmed.by.at);
        put(&mut facts, "event.known_since", confirmed.known_since.to_string(), FactSource::Journal { reference });
    }
    for alert in &found.alerts {
        of_alert(alert, language, &mut facts);
    }
    // The same device may have been gathered more than once: its newest entry counts.
    for (place, held) in case.items.iter().enumerate() {
        if let Item::Device { id, record } = &held.item
            && !case.items[place + 1..].iter().any(|later| is_device(later, id))
        {
            of_device(id, record, &mut facts);
        }
    }
    for action in &found.actions {
        let reference = format!("record {}", action.sequence);
        let value = format!("{} {} {}", action.at, action.user, action.verb);
        put(&mut facts, "measures.taken", value, FactSource::Journal { reference });
    }
    facts.retain(|_, list| !list.is_empty());
    facts
}

fn is_device(held: &Held, wanted: &str) -> bool {
    matches!(&held.item, Item::Device { id, .. } if id == wanted)
}

fn of_alert(alert: &Value, language: Language, facts: &mut Facts) {
    let word = if language == Language::It { "it" } else { "en" };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&alert["id"]);
    let source = || FactSource::Alert { id: id.clone() };
    put(facts, "event.first_observed", text(&alert["onset"]), source());
    put(facts, "event.place", format!("{}/{}", text(&alert["ward"]), text(&alert["bed"])), source());
    let condition = text(&alert["condition"]);
    put(facts, "event.findings", format!("{condition}: {}", text(&alert["text"][word])), source());
    if condition.split(' ').nth(1).is_some_and(|name| name.starts_with("indicator_")) {
        put(facts, "network.indicators", format!("{condition}: {}", text(&alert["text"][word])), source());
    }
}

fn of_device(id: &str, record: &Value, facts: &mut Facts) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for declared in record["declared"].as_array().into_iter().flatten() {
        let raw = format!("{id} {}", text(&declared["field"]));
        put(facts, "device.words", text(&declared["text"]), FactSource::Feed { raw });
    }
    for version in record["versions"].as_array().into_iter().flatten() {
        put(facts, "device.software", text(version), FactSource::Feed { raw: id.to_owned() });
    }
    for advisory in record["advisories"].as_array().into_iter().flatten() {
        // The family or the vendor says nothing of this product.
        if advisory["match"] != Level::Exact.as_str() {
            continue;
        }
        let matched = text(&advisory["matched"]);
        let source = FactSource::Advisory { id: text(&advisory["id"]), level: Level::Exact, matched: matched.clone() };
        put(facts, "device.model", matched, source.clone());
        let known = format!("{} ({}): {}", text(&advisory["id"]), text(&advisory["published"]), text(&advisory["title"]));
        put(facts, "advisory.known", known, source);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Act, Step, Way};
    use super::*;
    use serde_json::json;

    fn case(steps: Vec<Step>) -> Case {
        let id = "C-20260107T030405678Z-00ff";
        let act = |step| Act { id: "x".into(), case: id.into(), expect: None, user: "eng".into(), via: Way::Web, step };
        let mut case = Case::open(&act(Step::Open { title: "t".into(), alert: None }), 1, Timestamp::from_ms(1)).unwrap();
        for (n, step) in steps.into_iter().enumerate() {
            case.apply(&act(step), 2 + n as u64, Timestamp::from_ms(2 + n as i64)).unwrap();
        }
        case
    }

    #[test]
    fn a_family_names_no_product_and_what_nobody_said_is_not_there() {
        let device = |level: &str| Step::Add {
            item: Item::Device {
                id: format!("dev-{level}"),
                record: json!({
                    "declared": [{ "field": "MSH-3", "text": "MON" }], "versions": ["1.2"],
                    "advisories": [{ "id": "ICSMA-1", "title": "T", "published": "2025-01-30", "match": level, "matched": "CMS8000" }],
                }),
            },
        };
        let all = facts(&case(vec![device("family"), device("vendor")]), &Found::default(), Language::It);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["device.software", "device.words"]);
        let all = facts(&case(vec![device("exact")]), &Found::default(), Language::It);
        assert_eq!(all["device.model"].len(), 1);
        assert!(matches!(&all["device.model"][0].source, FactSource::Advisory { matched, .. } if matched == "CMS8000"));
        assert!(!all.contains_key("device.manufacturer") && !all.contains_key("device.class"));
    }

    #[test]
    fn an_operator_s_word_has_a_name_and_a_time_and_a_withdrawn_confirmation_is_none() {
        let case = case(vec![
            Step::Set { field: "device.model".into(), value: "X".into() },
            Step::Confirm { kind: "law90".into(), known_since: Timestamp::from_ms(1) },
            Step::Withdraw { kind: "law90".into(), reason: "no".into() },
        ]);
        let all = facts(&case, &Found::default(), Language::It);
        assert_eq!(all.len(), 1);
        assert_eq!(all["device.model"][0].source, FactSource::Operator { user: "eng".into(), at: Timestamp::from_ms(2) });
    }

    #[test]
    fn a_finding_is_told_in_the_language_of_the_draft() {
        let alert = json!({
            "id": "A-1", "onset": "2026-01-07T03:04:05Z", "ward": "icu", "bed": "B1", "condition": "P02 second_sender",
            "text": { "en": "Two senders.", "it": "Due mittenti." },
        });
        let found = Found { alerts: vec![alert], ..Found::default() };
        for (language, words) in [(Language::En, "Two senders."), (Language::It, "Due mittenti.")] {
            let all = facts(&case(Vec::new()), &found, language);
            assert_eq!(all["event.findings"][0].value, format!("P02 second_sender: {words}"));
        }
    }
}
