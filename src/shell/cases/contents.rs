//! What stands in a bundle beside the chain: messages, alerts with their explanations, devices, what people did, configuration.

use super::bundle::{Export, ExportError, Seen, without_words};
use super::sealed::Sealed;
use super::{judge, shown};
use crate::case::{Action, Case, Item};
use crate::command::Command;
use crate::dossier::{Form, Language};
use crate::monitor::Monitor;
use crate::shell::engine::touched;
use crate::shell::explain::{Ask, ExplainError, From, explain};
use crate::shell::journal::{Record, Stamped, number_of};
use crate::shell::marked::{Doubt, segments};
use crate::shell::replay::Journal;
use crate::shell::store::{AlertReader, StepRow};
use crate::shell::vault::Link;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};
use std::time::{Duration, Instant};

/// Messages of a bundle, and their bytes, at most.
const MESSAGES_MAX: usize = 25_000;
const MESSAGES_BYTES_MAX: usize = 64 << 20;
/// What people did, at most.
const ACTIONS_MAX: usize = 5_000;
/// An alert is derived again for so long.
const EXPLAIN_FOR: Duration = Duration::from_secs(60);

/// A message of the case.
pub(super) struct Message {
    sequence: u64,
    /// The chain holds its record.
    proven: bool,
    raw: String,
    payload: Vec<u8>,
}

/// Chooses from the journal what belongs to a case.
pub(super) struct Picker<'a> {
    case: &'a Case,
    identified: bool,
    wanted: BTreeSet<u64>,
    named: BTreeSet<String>,
    /// Ward, bed, first and last record.
    ranges: Vec<(String, String, u64, u64)>,
    acts: BTreeSet<u64>,
    met: BTreeSet<u64>,
}

impl<'a> Picker<'a> {
    pub fn new(case: &'a Case, steps: &[StepRow], identified: bool) -> Picker<'a> {
        let mut picker = Picker {
            case,
            identified,
            wanted: BTreeSet::new(),
            named: BTreeSet::new(),
            ranges: Vec::new(),
            acts: steps.iter().map(|step| step.sequence).collect(),
            met: BTreeSet::new(),
        };
        for held in &case.items {
            match &held.item {
                Item::Messages { raw } => {
                    picker.wanted.extend(raw.iter().filter_map(|raw| number_of(raw)).map(|(_, number)| number));
                    picker.named.extend(raw.iter().cloned());
                }
                Item::Range { ward, bed, first, last, .. } => {
                    picker.ranges.push((ward.clone(), bed.clone(), *first, *last));
                }
                Item::SpotCheck { sequence } | Item::Action { sequence } => {
                    picker.wanted.insert(*sequence);
                }
                Item::Alert { .. } | Item::Capture { .. } | Item::Device { .. } => {}
            }
        }
        picker
    }

    /// One record, in order. `proven`: the chain in the bundle holds it.
    pub fn take(&mut self, link: &Link, proven: bool, monitor: &mut Monitor, seen: &mut Seen) {
        let (sequence, stamped) = (link.sequence, &link.entry.stamped);
        let wanted = self.wanted.contains(&sequence);
        if wanted || (proven && self.acts.contains(&sequence)) {
            self.met.insert(sequence);
        }
        let in_range = self.ranges.iter().any(|(_, _, first, last)| (*first..=*last).contains(&sequence));
        let of_bed = in_range && self.is_of_a_bed(sequence, monitor, stamped);
        match &stamped.record {
            Record::Frame { source, payload } if wanted || of_bed => {
                if seen.messages.len() >= MESSAGES_MAX || seen.messages_bytes + payload.len() > MESSAGES_BYTES_MAX {
                    seen.messages_more += 1;
                    return;
                }
                seen.messages_bytes += payload.len();
                let raw = format!("{}.{sequence}", source.feed);
                seen.messages.push(Message { sequence, proven, raw, payload: payload.clone() });
            }
            Record::Command(command) if wanted || self.is_about(command) => self.command(link, command, seen),
            Record::Audit(looked) if self.is_ours(&looked.object) && seen.actions.len() < ACTIONS_MAX => {
                seen.actions.push(json!({
                    "sequence": sequence, "at": stamped.at.to_string(), "user": looked.user, "via": looked.via,
                    "action": looked.action, "object": looked.object, "result": looked.result,
                }));
            }
            _ => {}
        }
    }

    fn is_of_a_bed(&self, sequence: u64, monitor: &mut Monitor, stamped: &Stamped) -> bool {
        // A record that the judge cannot take is left out there as well.
        let beds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| touched(monitor, stamped))).unwrap_or_default();
        let places: Vec<_> = monitor.beds().filter(|place| beds.contains(&place.id)).collect();
        self.ranges.iter().any(|(ward, bed, first, last)| {
            (*first..=*last).contains(&sequence) && places.iter().any(|place| place.ward == ward && place.bed == bed)
        })
    }

    fn is_ours(&self, object: &str) -> bool {
        object == self.case.id || self.named.contains(object) || self.case.alerts().any(|alert| alert == object)
    }

    fn is_about(&self, command: &Command) -> bool {
        command.verb.subject().is_some_and(|subject| {
            self.is_ours(&subject) || self.ranges.iter().any(|(ward, bed, ..)| subject == format!("{ward}/{bed}"))
        })
    }

    fn command(&self, link: &Link, command: &Command, seen: &mut Seen) {
        if seen.actions.len() >= ACTIONS_MAX {
            return;
        }
        let at = link.at;
        let shown = if self.identified { serde_json::to_value(command) } else { serde_json::to_value(wordless(command)) };
        let object = shown.unwrap_or_default();
        seen.actions.push(json!({ "sequence": link.sequence, "at": at.to_string(), "command": object }));
        let (user, verb) = (command.user.clone(), command.verb.name().to_owned());
        seen.found.actions.push(Action { sequence: link.sequence, at, user, verb });
    }

    /// What was wanted and not met.
    pub fn missing(&self, seen: &Seen, missing: &mut Vec<String>) {
        let list = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let gone: Vec<u64> = self.wanted.difference(&self.met).copied().collect();
        if !gone.is_empty() {
            missing.push(format!("records of the journal that the case names: {}", list(gone)));
        }
        let unproven: Vec<u64> = self.acts.difference(&self.met).copied().collect();
        if !unproven.is_empty() {
            missing.push(format!("the proof of steps of the case: records {}", list(unproven)));
        }
        let behind = seen.messages.iter().filter(|message| !message.proven).count();
        if behind > 0 {
            missing.push(format!("the proof of messages behind the end of the chain: {behind}"));
        }
        if seen.messages_more > 0 {
            missing.push(format!("{} further messages: at most {MESSAGES_MAX} or 64 MiB", seen.messages_more));
        }
    }
}

/// A command without what a person wrote.
pub(super) fn wordless(command: &Command) -> Command {
    let mut object = serde_json::to_value(command).unwrap_or_default();
    for words in ["comment", "reason", "note"] {
        if let Some(text) = object[words].as_str() {
            object[words] = format!("(withheld: {} characters)", text.chars().count()).into();
        }
    }
    serde_json::from_value(object).expect("only texts were replaced")
}

/// `vitalguard 0.1.0`.
pub(super) fn software() -> String {
    format!("vitalguard {}", env!("CARGO_PKG_VERSION"))
}

/// Everything but chain, key and manifest.
pub(super) fn write<W: Read + Write + Seek>(
    export: &Export<'_>,
    store: &AlertReader,
    seen: &mut Seen,
    advisories_date: &str,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<(), ExportError> {
    let identified = export.wish.identified;
    messages(export, store, seen, sealed, missing)?;
    let alerts = alerts(export, store, sealed, missing)?;
    seen.found.alerts = alerts;
    let devices: Vec<Value> = export
        .case
        .items
        .iter()
        .filter_map(|held| match &held.item {
            Item::Device { id, record } => Some(json!({ "device": id, "gathered_at": held.by.at.to_string(), "entry": record })),
            _ => None,
        })
        .collect();
    sealed.add("devices.json", pretty(&json!({ "advisories": advisories_date, "devices": devices })).as_bytes())?;
    sealed.add("actions.json", pretty(&json!({ "actions": seen.actions })).as_bytes())?;
    sealed.add("case.json", pretty(&case(export)).as_bytes())?;
    sealed.add("config.toml", configuration(export).as_bytes())?;
    captures(export, sealed, missing)?;
    drafts(export, seen, sealed)?;
    if !identified {
        let withheld = "identities in messages, comments, notes, reasons and references of what was filed: this bundle is masked (fields of the forms and names of captures are as they were set)";
        missing.push(withheld.into());
    }
    Ok(())
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Original bytes, or as a viewer may see them.
fn messages<W: Read + Write + Seek>(
    export: &Export<'_>,
    store: &AlertReader,
    seen: &Seen,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<(), ExportError> {
    let (mut none, mut cut) = (0_usize, 0_usize);
    for message in &seen.messages {
        let name = format!("messages/{}.hl7", message.raw);
        if export.wish.identified {
            match message.proven {
                true => sealed.add_record(&name, &message.payload, message.sequence)?,
                false => sealed.add(&name, &message.payload)?,
            }
            continue;
        }
        let mut doubts = export.case.alerts().filter_map(|alert| Doubt::of(store, alert, &message.raw));
        let doubt = doubts.find(|doubt| !doubt.evidence.is_empty()).unwrap_or_default();
        let (list, truncated, _) = segments(&message.payload, &doubt, false);
        cut += usize::from(truncated);
        if list.is_empty() {
            none += 1;
            continue;
        }
        let mut text = String::new();
        for segment in &list {
            text.push_str(segment["text"].as_str().unwrap_or_default());
            text.push('\r');
        }
        sealed.add(&name, text.as_bytes())?;
    }
    if none > 0 {
        missing.push(format!("{none} frames that are no HL7: they cannot be masked; their digests stand in the chain"));
    }
    if cut > 0 {
        missing.push(format!("segments of {cut} messages that are too long to be shown masked"));
    }
    Ok(())
}

/// What decides, where there is an alert to be judged again.
fn judge_settings<W: Read + Write + Seek>(
    export: &Export<'_>,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<Option<String>, ExportError> {
    if export.case.alerts().next().is_none() {
        return Ok(None);
    }
    match judge::settings(export.place.config, export.place.site_key) {
        Ok(text) => {
            sealed.add(judge::SETTINGS, text.as_bytes())?;
            Ok(Some(text))
        }
        Err(error) => {
            missing.push(format!("what alerts could be judged from again: the settings cannot be written: {error}"));
            Ok(None)
        }
    }
}

/// Every alert with its events, and what the journal says of it again. Gives the alerts.
fn alerts<W: Read + Write + Seek>(
    export: &Export<'_>,
    store: &AlertReader,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<Vec<Value>, ExportError> {
    let (mut list, mut objects) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for id in export.case.alerts() {
        let Some(row) = store.alert(id)? else {
            missing.push(format!("alert {id}: retention has taken it"));
            continue;
        };
        let mut alert: Value = serde_json::from_slice(&row.json).unwrap_or_default();
        let mut events: Vec<Value> = store.events(id)?.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect();
        let mut comments = Vec::new();
        if export.wish.identified {
            for comment in store.comments(id)? {
                comments.push(json!({ "at": comment.at.to_string(), "user": comment.user, "text": comment.text }));
            }
        } else {
            without_comments(&mut alert);
            events.iter_mut().for_each(without_words_of_people);
        }
        objects.push(alert.clone());
        list.push(json!({ "alert": alert, "events": events, "comments": comments }));
        let journal = Journal::at(export.place.journal);
        let ask = Ask {
            config: export.place.config,
            site_key: export.place.site_key.to_vec(),
            alert: id,
            from: From::Part { journal: &journal, alert: &row, to_end: false },
            feed: "replay",
            store: export.place.store,
            curves: true,
            until: Some((Instant::now() + EXPLAIN_FOR).min(export.place.until)),
        };
        match explain(&ask) {
            Ok(explained) if explained.found() => {
                sealed.add(&format!("explain/{id}.json"), pretty(&explained.to_json()).as_bytes())?;
                let mut text = Vec::new();
                explained.tell(&mut text).map_err(ExportError::Io)?;
                sealed.add(&format!("explain/{id}.txt"), &text)?;
                sealed.add(&format!("explain/{id}.html"), explained.to_html().as_bytes())?;
            }
            Ok(_) => missing.push(format!(
                "the explanation of alert {id}: it does not follow from the journal as it is kept, or another model decided"
            )),
            Err(ExplainError::TooLong) => missing.push(format!("the explanation of alert {id}: it takes too long")),
            Err(error) => missing.push(format!("the explanation of alert {id}: {error}")),
        }
        rows.push(row);
    }
    // With the time that explanations have left.
    if let Some(settings) = judge_settings(export, sealed, missing)? {
        let mut left = judge::BYTES_MAX;
        for (row, one) in rows.iter().zip(&list) {
            let events = one["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            let published = judge::Published { alert: &one["alert"], events };
            judge::add(export, row, &settings, published, &mut left, sealed, missing)?;
        }
    }
    sealed.add("alerts.json", pretty(&json!({ "alerts": list })).as_bytes())?;
    Ok(objects)
}

/// An event without what a person wrote.
pub(super) fn without_words_of_people(event: &mut Value) {
    without_comments(&mut event["alert"]);
    if let Some(by) = event["by"].as_object_mut() {
        by.remove("comment");
    }
}

pub(super) fn without_comments(alert: &mut Value) {
    for (object, member) in [("acked", "comment"), ("shelved", "reason")] {
        if let Some(object) = alert[object].as_object_mut() {
            object.remove(member);
        }
    }
}

/// The case and its steps; the words of people only where identified.
fn case(export: &Export<'_>) -> Value {
    let identified = export.wish.identified;
    let steps: Vec<Value> = export
        .steps
        .iter()
        .map(|row| {
            let masked = (!identified).then(|| without_words(&row.act.step));
            shown::step(row, masked.as_ref().unwrap_or(&row.act.step))
        })
        .collect();
    let clocks = super::clocks(export.case, &export.place.config.zone);
    json!({
        "case": export.case.id, "state": export.case.state, "version": export.case.version,
        "opened": export.case.opened, "steps": steps, "clocks": clocks,
    })
}

/// As it was in force, without what opens a door.
fn configuration(export: &Export<'_>) -> String {
    let mut value = serde_json::to_value(export.place.config).unwrap_or_default();
    hide(&mut value);
    toml::to_string_pretty(&value).unwrap_or_else(|error| format!("# the configuration cannot be written: {error}\n"))
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            for (key, value) in map.iter_mut() {
                if (key.contains("password") || key.contains("token_") || key.contains("secret") || key == "key")
                    && value.is_string()
                {
                    *value = "(set, not shown)".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide),
        _ => {}
    }
}

/// Every form, filled from what is known, as drafts: those of Italy in Italian.
fn drafts<W: Read + Write + Seek>(export: &Export<'_>, seen: &Seen, sealed: &mut Sealed<W>) -> Result<(), ExportError> {
    for form in Form::ALL {
        let language = if form == Form::Cfr803 { Language::En } else { Language::It };
        let (by, at) = (&export.wish.made_by, export.wish.made_at);
        let draft = super::drafts::draft(export.place, export.case, &seen.found, form, language, by, at);
        let name = form.as_str();
        sealed.add(&format!("drafts/{name}.html"), draft.html().as_bytes())?;
        sealed.add(&format!("drafts/{name}.json"), pretty(&draft.json()).as_bytes())?;
        sealed.add(&format!("drafts/{name}.csv"), draft.csv().as_bytes())?;
    }
    Ok(())
}

/// Captures hold what was on the wire, names among it: in identified bundles only. Elsewhere their digests.
fn captures<W: Read + Write + Seek>(
    export: &Export<'_>,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<(), ExportError> {
    let mut known = BTreeMap::new();
    for held in &export.case.items {
        let Item::Capture { name, sha256, bytes } = &held.item else { continue };
        known.insert(name.clone(), json!({ "bytes": bytes, "sha256": sha256 }));
        if !export.wish.identified {
            missing.push(format!("capture {name}: it cannot be masked"));
            continue;
        }
        match std::fs::read(export.captures.join(name)) {
            Ok(content) if crate::alert::hex(&<sha2::Sha256 as sha2::Digest>::digest(&content)) == *sha256 => {
                sealed.add(&format!("captures/{name}"), &content)?;
            }
            Ok(_) => missing.push(format!("capture {name}: the file in the case's folder is not the one that was added")),
            Err(error) => missing.push(format!("capture {name}: {error}")),
        }
    }
    if !known.is_empty() {
        sealed.add("captures.json", pretty(&json!({ "captures": known })).as_bytes())?;
    }
    Ok(())
}

/// For a reader who has a shell and nothing of ours.
pub(super) fn readme(export: &Export<'_>, missing: &[String]) -> String {
    let kind = if export.wish.identified {
        "IDENTIFIED: it holds names and numbers of patients. Handle it as a medical record."
    } else {
        "MASKED: names and numbers of patients are left out. It is pseudonymised, not anonymous: digests of the original\n\
         messages stand in the chain, and who knows a patient's data could test a guess against them."
    };
    let missing: String = missing.iter().map(|line| format!("  - {line}\n")).collect();
    format!(
        "Evidence bundle of case {case}, site {site}\n\
         made {at} by {by} with {software}\n\n\
         {kind}\n\n\
         This is data about data: which values of a monitoring feed could not be trusted, and why. It is no diagnosis, no\n\
         statement about a person, and not for primary alarming.\n\n\
         What is in it\n\
         \x20 manifest.json           every other file with size and SHA-256, versions, what is missing\n\
         \x20 manifest.sig            raw Ed25519 signature over manifest.json\n\
         \x20 key.pem                 the public key {key}; compare it with the one that the site gives out\n\
         \x20 journal/links.jsonl     the records of the journal as a chain: hash = SHA-256(hash before | header | payload_sha256);\n\
         \x20                         direction \"in\": it came by a feed (leg \"answer\": a receiver's answer that a tap overheard); what this\n\
         \x20                         program sends is not in the journal\n\
         \x20 journal/checkpoint.txt  a signed head of that chain (C2SP signed-note)\n\
         \x20 messages/               messages by feed and record number; in an identified bundle byte for byte as received\n\
         \x20 alerts.json, explain/   the alerts with their events, and how each follows from the journal\n\
         \x20 judge/                  from what each alert is judged again by vitalguard verify: the state of its bed some minutes before, what the bed was\n\
         \x20                         told since (values, marks, times; hashes where identities were), settings and model files; not everything that\n\
         \x20                         was received: what hangs on other beds, on ADT or on a second feed cannot be judged from it, and is named below\n\
         \x20 devices.json            the inventory with the advisories that name a device (declared words prove nothing)\n\
         \x20 actions.json, case.json what people did, and the steps of the case\n\
         \x20 drafts/                 forms for those who report, filled from what is known: drafts, not sent, not verified\n\
         \x20 config.toml             the configuration in force, secrets left out\n\n\
         How to check it with standard tools (unzip, sha256sum, openssl, python3)\n\
         \x20 unzip -q BUNDLE.zip -d bundle && cd bundle\n\
         \x20 openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in manifest.json -sigfile manifest.sig\n\
         \x20 python3 -c 'import json; [print(f[\"sha256\"]+\"  \"+f[\"name\"]) for f in json.load(open(\"manifest.json\"))[\"files\"]]' | sha256sum -c --quiet\n\
         \x20 python3 verify.py BUNDLE.zip [KEY.pem]    all of it, the chain and the zip around it as well\n\
         \x20 vitalguard verify BUNDLE.zip [--key KEY.pem]\n\
         Take verify.py and the key from somewhere else than this bundle where you must not trust who gave it to you.\n\
         The last 64 bytes of the zip (its comment) are the SHA-256 of all bytes before them.\n\n\
         What is not in it\n{missing}",
        case = export.case.id,
        site = export.place.config.site,
        at = export.wish.made_at,
        by = export.wish.made_by,
        software = software(),
        key = export.signer.key_id(),
    )
}
