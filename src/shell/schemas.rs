//! The shape of every document that leaves or comes in, for those who read and write them: JSON Schema (2020-12), and AsyncAPI
//! for the topics.
//!
//! One contract: what is served is the text in `models/schemas`, each schema closed (no member that it does not name). The
//! formats of dates and the patterns in them are for consumers; nothing here validates at run time. The AsyncAPI document is
//! served whole: the schemas that `models/schemas/asyncapi.json` names stand in its components.

use serde_json::{Map, Value, json};
use std::sync::OnceLock;

macro_rules! schemas {
    ($($name:literal),+ $(,)?) => {
        /// Name (`bed-state-1`) and text of each schema.
        pub const SCHEMAS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../models/schemas/", $name, ".json")))),+];
    };
}

schemas!(
    "alert-event-1",
    "bed-state-1",
    "case-status-1",
    "command-ack-1",
    "command-bed-off-1",
    "command-comment-1",
    "command-rate-1",
    "command-resync-1",
    "command-selftest-1",
    "command-shelve-1",
    "command-spot-check-1",
    "command-unack-1",
    "command-unshelve-1",
    "device-event-1",
    "draft-1",
    "feed-status-1",
    "flat",
    "heartbeat-1",
    "response-1",
    "station-status-1",
    "sys-info-1",
    "sys-status-1",
    "vitals-1",
    "ward-state-1",
);

/// Topics, directions, and which schema belongs where; the schemas by their path.
const TOPICS: &str = include_str!("../../models/schemas/asyncapi.json");
/// Where a schema is served.
const PATH: &str = "/api/v1/schemas/";
/// What the schemas are written in.
const FORMAT: &str = "application/schema+json;version=draft-2020-12";

/// The schema of a name, with or without `.json`.
pub fn schema(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The AsyncAPI 3.0 document, complete in itself.
pub fn asyncapi() -> &'static str {
    static WHOLE: OnceLock<String> = OnceLock::new();
    // Both are files of ours; a test reads them.
    WHOLE.get_or_init(|| bundle().unwrap_or_else(|| TOPICS.to_owned()))
}

fn bundle() -> Option<String> {
    let mut document: Value = serde_json::from_str(TOPICS).ok()?;
    let mut schemas = Map::new();
    for (name, text) in SCHEMAS {
        let mut schema: Value = serde_json::from_str(text).ok()?;
        // Within the document its own root is another one.
        schema.as_object_mut()?.remove("$id");
        schema.as_object_mut()?.remove("$schema");
        point(&mut schema, &format!("#/components/schemas/{name}/schema/"));
        schemas.insert((*name).to_owned(), json!({ "schemaFormat": FORMAT, "schema": schema }));
    }
    for message in document["components"]["messages"].as_object_mut()?.values_mut() {
        let name = message["payload"]["schema"]["$ref"].as_str()?.strip_prefix(PATH)?.strip_suffix(".json")?.to_owned();
        message["payload"] = json!({ "$ref": format!("#/components/schemas/{name}") });
    }
    document["components"]["schemas"] = Value::Object(schemas);
    Some(serde_json::to_string_pretty(&document).ok()? + "\n")
}

/// Lets every reference within a schema start from another place.
fn point(value: &mut Value, root: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" => {
                        if let Some(local) = target.strip_prefix("#/") {
                            *target = format!("{root}{local}");
                        }
                    }
                    other => point(other, root),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|member| point(member, root)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::VERBS;

    /// Documents that no topic carries: they are asked for, and not signed.
    const OVER_HTTP: [&str; 1] = ["draft-1"];

    #[test]
    fn every_schema_is_closed_and_named_in_the_asyncapi_document() {
        let topics: Value = serde_json::from_str(TOPICS).unwrap();
        for (name, text) in SCHEMAS {
            let schema: Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["additionalProperties"], false, "{name}");
            let title = schema["title"].as_str().unwrap();
            assert_eq!(title.replace('/', "-"), *name);
            if !name.starts_with("command-") && *name != "flat" {
                assert_eq!(schema["properties"]["schema"]["const"], title);
            }
            if OVER_HTTP.contains(name) {
                continue;
            }
            assert_eq!(schema["properties"].as_object().unwrap().keys().next_back().unwrap(), "sig", "{name}: the last member");
            let there = &topics["components"]["messages"][name]["payload"]["schema"]["$ref"];
            assert_eq!(*there, format!("{PATH}{name}.json"));
        }
        assert!(schema("bed-state-1.json").is_some() && schema("bed-state-2").is_none());
    }

    #[test]
    fn every_verb_has_a_topic_of_its_own() {
        let topics: Value = serde_json::from_str(TOPICS).unwrap();
        for verb in VERBS {
            let channel = &topics["channels"][format!("command-{verb}-1")];
            assert_eq!(channel["address"], format!("{{root}}/v1/{{site}}/cmd/{{user}}/{verb}"));
            assert!(schema(&format!("command-{verb}-1")).is_some(), "{verb}");
        }
    }

    #[test]
    fn the_served_document_refers_to_nothing_outside_itself() {
        let document: Value = serde_json::from_str(asyncapi()).unwrap();
        let mut targets = Vec::new();
        fn collect(value: &Value, targets: &mut Vec<String>) {
            match value {
                Value::Object(members) => members.iter().for_each(|(name, member)| match member {
                    Value::String(target) if name == "$ref" => targets.push(target.clone()),
                    other => collect(other, targets),
                }),
                Value::Array(list) => list.iter().for_each(|member| collect(member, targets)),
                _ => {}
            }
        }
        collect(&document, &mut targets);
        assert!(targets.len() > 100, "{}", targets.len());
        for target in targets {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
    }
}
