//! The shape of every document that leaves, for those who read them: JSON Schema (2020-12), and AsyncAPI for the topics.
//!
//! One contract: what is served is the text in `models/schemas`, each schema closed (no member that it does not name).
//! The formats of dates and the patterns in them are for consumers; nothing here validates at run time.

macro_rules! schemas {
    ($($name:literal),+ $(,)?) => {
        /// Name (`bed-state-1`) and text of each schema.
        pub const SCHEMAS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../models/schemas/", $name, ".json")))),+];
    };
}

schemas!(
    "alert-event-1",
    "bed-state-1",
    "device-event-1",
    "feed-status-1",
    "heartbeat-1",
    "response-1",
    "station-status-1",
    "sys-info-1",
    "sys-status-1",
    "vitals-1",
    "ward-state-1",
);

/// The AsyncAPI 3.0 document: topics, directions, and which schema belongs where.
pub const ASYNCAPI: &str = include_str!("../../models/schemas/asyncapi.json");

/// The schema of a name, with or without `.json`.
pub fn schema(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_closed_and_named_in_the_asyncapi_document() {
        let topics: serde_json::Value = serde_json::from_str(ASYNCAPI).unwrap();
        for (name, text) in SCHEMAS {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["additionalProperties"], false, "{name}");
            let title = schema["title"].as_str().unwrap();
            assert_eq!(title.replace('/', "-"), *name);
            assert_eq!(schema["properties"]["schema"]["const"], title);
            let there = &topics["components"]["messages"][name]["payload"]["schema"]["$ref"];
            assert_eq!(*there, format!("/api/v1/schemas/{name}.json"));
        }
        assert!(schema("bed-state-1.json").is_some() && schema("bed-state-2").is_none());
    }
}
