//! The forms of a case, filled from its facts.

use super::{Place, confirmations, filings};
use crate::case::{Action, Case, Found, Item, facts};
use crate::check::Assessment;
use crate::dossier::{Draft, Form, Head, Language, Seen, fill};
use crate::shell::journal::{Record, read_one};
use crate::shell::store::{AlertReader, StoreError};
use crate::time::Timestamp;
use serde_json::Value;

/// Records of what people did that are looked up at most.
const ACTIONS_MAX: usize = 50;

/// What the store and the journal know of a case.
pub fn found(place: &Place<'_>, case: &Case) -> Result<Found, StoreError> {
    let store = AlertReader::open(place.store)?;
    let mut found = Found::default();
    for id in case.alerts() {
        if let Some(row) = store.alert(id)? {
            found.alerts.push(serde_json::from_slice(&row.json).unwrap_or_default());
        }
    }
    let actions = case.items.iter().filter_map(|held| match held.item {
        Item::Action { sequence } | Item::SpotCheck { sequence } => Some(sequence),
        _ => None,
    });
    for sequence in actions.take(ACTIONS_MAX) {
        if std::time::Instant::now() >= place.until {
            break;
        }
        let Ok(Some(entry)) = read_one(place.journal, sequence) else { continue };
        if let Record::Command(command) = entry.stamped.record {
            let (user, verb) = (command.user, command.verb.name().to_owned());
            found.actions.push(Action { sequence, at: entry.stamped.at, user, verb });
        }
    }
    Ok(found)
}

/// A draft.
pub fn draft(place: &Place<'_>, case: &Case, found: &Found, form: Form, language: Language, by: &str, at: Timestamp) -> Draft {
    let assessment = |alert: &Value| serde_json::from_value::<Assessment>(alert["assessment"].clone()).ok();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seen = |alert: &Value| {
        Some(Seen { alert: text(&alert["id"]), condition: text(&alert["condition"]), assessment: assessment(alert)? })
    };
    let advisories_date =
        crate::shell::advisories::load(place.config).map_or_else(|_| String::new(), |a| a.data_date().to_owned());
    let head = Head {
        case: case.id.clone(),
        site: place.config.site.clone(),
        zone: jiff::tz::TimeZone::get(&place.config.zone).unwrap_or(jiff::tz::TimeZone::UTC),
        made_at: at,
        made_by: by.to_owned(),
        software: super::contents::software(),
        advisories_date,
        confirmations: confirmations(case),
        filings: filings(case),
        seen: found.alerts.iter().filter_map(seen).collect(),
    };
    fill(form, language, &facts(case, found, language), &head)
}
