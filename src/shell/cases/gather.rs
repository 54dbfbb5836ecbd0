//! What belongs to an alert, as far as it is kept: gathered when a case is opened or an alert is added to one.

use super::Place;
use crate::case::{Item, MESSAGES_MAX, RANGE_S_MAX, RECORD_BYTES_MAX};
use crate::command::Verb;
use crate::shell::journal::{JournalError, Reader, Record, number_of, segment_before};
use crate::shell::store::{AlertReader, AlertRow};
use crate::time::Timestamp;
use serde_json::Value;
use std::time::Instant;

/// The bed's messages from so long before the onset to so long after the last change of the alert, minutes.
pub const MINUTES: f64 = 5.0;
/// Longest wish, minutes on each side.
pub const MINUTES_MAX: f64 = 60.0;
/// What people did that is gathered by itself, at most; further ones can be added by hand.
const ACTIONS_MAX: usize = 100;
/// Devices of one bed, at most.
const DEVICES_MAX: usize = 20;

/// What was found, and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    pub items: Vec<crate::case::Item>,
    /// Sentences: what is missing, and why.
    pub missing: Vec<String>,
}

/// Everything that belongs to the alert.
pub fn alert(place: &Place<'_>, row: &AlertRow, minutes: f64) -> Gathered {
    let mut found = Gathered::default();
    found.items.push(Item::Alert { id: row.id.clone() });
    let alert: Value = serde_json::from_slice(&row.json).unwrap_or_default();
    messages(place, row, &alert, &mut found);
    let margin_s = minutes.clamp(0.0, MINUTES_MAX) * 60.0;
    let from = row.onset.plus_s(-margin_s);
    let to = row.updated.plus_s(margin_s).min(from.plus_s(RANGE_S_MAX));
    if row.updated > to {
        found.missing.push(format!("the alert lasted longer than a range may: messages after {to} are not gathered"));
    }
    match range(place, &row.ward, &row.bed, from, to) {
        Ok(ranged) => {
            for (sequence, verb) in ranged.commands.iter().filter(|(_, verb)| about(verb, row)).take(ACTIONS_MAX) {
                found.items.push(match verb {
                    Verb::SpotCheck { .. } => Item::SpotCheck { sequence: *sequence },
                    _ => Item::Action { sequence: *sequence },
                });
            }
            found.items.extend(ranged.item);
            found.missing.extend(ranged.missing);
        }
        Err(error) => found.missing.push(format!("the journal cannot be read: {error}")),
    }
    devices(place, row, &alert, &mut found);
    found
}

fn about(verb: &Verb, row: &AlertRow) -> bool {
    match verb {
        Verb::SpotCheck { ward, bed, .. } | Verb::BedOff { ward, bed, .. } => *ward == row.ward && *bed == row.bed,
        other => other.alert().is_some_and(|alert| *alert == row.id),
    }
}

/// Evidence messages, of the alert as it stands and of its events.
fn messages(place: &Place<'_>, row: &AlertRow, alert: &Value, found: &mut Gathered) {
    let events = AlertReader::open(place.store).and_then(|store| store.events(&row.id)).unwrap_or_default();
    let events = events.iter().filter_map(|json| serde_json::from_slice::<Value>(json).ok()).map(|event| event["alert"].clone());
    let (mut raws, mut gone, mut more) = (Vec::new(), Vec::new(), 0_usize);
    for alert in std::iter::once(alert.clone()).chain(events) {
        for raw in alert["evidence"].as_array().into_iter().flatten().filter_map(|e| e["raw"].as_str()) {
            if raws.iter().chain(&gone).any(|known| known == raw) {
                continue;
            }
            match number_of(raw) {
                Some((_, number)) if number < place.oldest => gone.push(raw.to_owned()),
                Some(_) if raws.len() < MESSAGES_MAX => raws.push(raw.to_owned()),
                _ => more += 1,
            }
        }
    }
    if !gone.is_empty() {
        found.missing.push(format!(
            "retention has taken {} of the messages that the alert names: {}",
            gone.len(),
            gone.join(", ")
        ));
    }
    if more > 0 {
        found.missing.push(format!("{more} further messages that the alert names are not gathered: at most {MESSAGES_MAX}"));
    }
    if !raws.is_empty() {
        found.items.push(Item::Messages { raw: raws });
    }
}

/// A time of the journal for one bed.
#[derive(Debug, Default)]
pub struct Ranged {
    pub item: Option<Item>,
    /// Commands of people within it.
    pub commands: Vec<(u64, Verb)>,
    pub missing: Vec<String>,
}

/// The records of the journal from `from` to `to`.
pub fn range(place: &Place<'_>, ward: &str, bed: &str, from: Timestamp, to: Timestamp) -> Result<Ranged, JournalError> {
    let mut ranged = Ranged::default();
    let (mut first, mut last) = (None, 0);
    let mut begins: Option<Timestamp> = None;
    for (count, entry) in Reader::open(place.journal, segment_before(place.journal, from)?)?.enumerate() {
        let stamped = match entry {
            Ok(entry) => entry.stamped,
            // What stands before the hole is kept.
            Err(JournalError::Damaged(fault)) => {
                ranged.missing.push(fault.to_string());
                break;
            }
            Err(error) => return Err(error),
        };
        begins.get_or_insert(stamped.at);
        if stamped.at > to {
            break;
        }
        if count % 1024 == 1023 && Instant::now() >= place.until {
            ranged.missing.push(format!("the journal was read up to {} only: it took too long", stamped.at));
            break;
        }
        if stamped.at < from {
            continue;
        }
        first.get_or_insert(stamped.sequence);
        last = stamped.sequence;
        if let Record::Command(command) = stamped.record {
            ranged.commands.push((stamped.sequence, command.verb));
        }
    }
    if let Some(begins) = begins.filter(|begins| *begins > from && place.oldest > 1) {
        ranged.missing.push(format!("the journal begins at {begins}: what was before is not kept any more"));
    }
    match first {
        Some(first) => {
            let (ward, bed) = (ward.to_owned(), bed.to_owned());
            ranged.item = Some(Item::Range { ward, bed, from, to, first, last });
        }
        None => ranged.missing.push(format!("the journal holds nothing from {from} to {to}")),
    }
    Ok(ranged)
}

/// The entry of the inventory as it stands now.
pub fn device(place: &Place<'_>, id: &str) -> Result<Item, String> {
    let list = place.devices.ok_or("the inventory is not available now")?;
    let info = list.devices.iter().find(|info| info.device == id).ok_or_else(|| format!("no device {id} in the inventory"))?;
    let record = serde_json::to_value(info).map_err(|_| "the device cannot be written")?;
    if record.to_string().len() > RECORD_BYTES_MAX {
        return Err(format!("the entry of device {id} is too large"));
    }
    Ok(Item::Device { id: id.to_owned(), record })
}

fn devices(place: &Place<'_>, row: &AlertRow, alert: &Value, found: &mut Gathered) {
    let Some(list) = place.devices else {
        found.missing.push("the inventory of devices is not available now".into());
        return;
    };
    let here = |info: &crate::monitor::DeviceInfo| {
        alert["device"] == info.device.as_str()
            || (info.ward.as_deref() == Some(&row.ward) && info.bed.as_deref() == Some(&row.bed))
    };
    let mut count = 0;
    for info in list.devices.iter().filter(|info| here(info)) {
        count += 1;
        if count > DEVICES_MAX {
            continue;
        }
        match device(place, &info.device) {
            Ok(item) => found.items.push(item),
            Err(why) => found.missing.push(why),
        }
    }
    if count == 0 {
        found.missing.push("the inventory knows no device at this bed".into());
    } else if count > DEVICES_MAX {
        found.missing.push(format!("{} further devices of the bed are not gathered", count - DEVICES_MAX));
    }
}
