//! An alert of a case judged again from its bundle alone: the state of its bed some minutes before, what the bed was told since
//! (values, marks, times; hashes where identities were), settings and model files; and what was published, to compare with.
//!
//! One contract: what is written was judged once from these very bytes and gave what was published; what did not is left out, and
//! why is said among what is missing. Judging is bounded in time and memory, whatever stands in the files, and never panics.

use super::bundle::{Export, ExportError};
use super::sealed::Sealed;
use crate::alert::AlertEvent;
use crate::command::Command;
use crate::config::{Beds, Compare, Config, Devices, Episodes, Profiles, Senders};
use crate::models::Models;
use crate::monitor::{BedId, FIXED_KEY, Heard, Monitor, Output, Settings};
use crate::shell::journal::{self, Reader, Record, Stamped};
use crate::shell::quarantine::Quarantine;
use crate::shell::store::AlertRow;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What decides, as it was set.
pub const SETTINGS: &str = "judge/settings.toml";
/// It begins with a state at least so long before the alert was raised, where there is one, seconds.
const LEAD_S: f64 = 300.0;
/// What a bed was told, messages at most: what an alert became behind that is not judged again.
const HEARD_MAX: usize = 20_000;
/// All that is there to judge one alert, and all alerts of a bundle, bytes at most.
const ALERT_BYTES_MAX: usize = 32 << 20;
pub(super) const BYTES_MAX: usize = 128 << 20;
/// From the state to the last event, seconds at most.
const SPAN_S_MAX: f64 = 48.0 * 3600.0;
/// One alert, and all of a bundle, are judged for so long at most.
const JUDGE_FOR: Duration = Duration::from_secs(60);
const ALL_FOR: Duration = Duration::from_secs(300);
/// Model files of an alert, and their bytes, at most.
const MODEL_FILES_MAX: usize = 1_000;
const MODEL_BYTES_MAX: usize = 16 << 20;
/// Time goes on by so much before the clock is looked at, ms.
const STRIDE_MS: i64 = 60_000;

/// How the judgement of an alert stands to what was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "judged")]
pub enum Judged {
    /// Every event up to that number, byte for byte.
    Reproduced { events: u64, of: u64 },
    /// The first event that differs, and in what.
    Differs { event: u64, what: String },
    /// It cannot be judged here.
    Not { why: String },
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Judged::Reproduced { events, of } if events == of => write!(f, "reproduced: {of} events, each as it was published"),
            Judged::Reproduced { events, of } => {
                write!(f, "reproduced: {events} of {of} events, each as it was published; the bundle holds no more to judge")
            }
            Judged::Differs { event, what } => write!(f, "DIFFERS at event {event}: {what}"),
            Judged::Not { why } => write!(f, "cannot be judged here: {why}"),
        }
    }
}

fn not(why: impl Into<String>) -> Judged {
    Judged::Not { why: why.into() }
}

/// What is told to the monitor, in order.
#[derive(Debug, Serialize, Deserialize)]
enum Input {
    Heard(Box<Heard>),
    Start {
        at: Timestamp,
        applied_until: Timestamp,
    },
    /// JSON of the command.
    Command {
        at: Timestamp,
        json: String,
    },
}

impl Input {
    fn at(&self) -> Timestamp {
        match self {
            Input::Heard(heard) => heard.at,
            Input::Start { at, .. } | Input::Command { at, .. } => *at,
        }
    }
}

/// `inputs.bin`.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    alert: String,
    /// The model that judged.
    model: String,
    /// The last event that follows from it, and when that was.
    last: u64,
    to: Timestamp,
    inputs: Vec<Input>,
}

/// The part of the configuration that decides.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deciding {
    site: String,
    zone: String,
    zones: Vec<String>,
    profiles: Profiles,
    publish_comments: bool,
    beds: Beds,
    senders: Senders,
    compare: Vec<Compare>,
    devices: Devices,
    episodes: Episodes,
    checks: crate::check::Checks,
}

impl Deciding {
    fn of(config: &Config) -> Deciding {
        let settings = Settings::new(config, FIXED_KEY);
        Deciding {
            site: settings.site,
            zone: settings.zone,
            zones: settings.zones,
            profiles: settings.profiles,
            publish_comments: settings.publish_comments,
            beds: settings.beds,
            senders: settings.senders,
            compare: settings.compare.to_vec(),
            devices: settings.devices,
            episodes: settings.episodes,
            checks: settings.checks,
        }
    }
    /// No key of a site: identities come as hashes.
    fn settings(self, models: Arc<Models>) -> Settings {
        Settings {
            site: self.site,
            zone: self.zone,
            zones: self.zones,
            profiles: self.profiles,
            publish_comments: self.publish_comments,
            beds: self.beds,
            senders: self.senders,
            compare: self.compare.into(),
            devices: self.devices,
            episodes: self.episodes,
            checks: self.checks,
            models,
            ..Settings::default()
        }
    }
}

/// `settings.toml`.
pub(super) fn settings(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(&Deciding::of(config))
}

/// What one alert is judged from.
struct Parts<'a> {
    settings: &'a str,
    models: Vec<(String, String)>,
    state: &'a [u8],
    inputs: &'a [u8],
}

fn folder(alert: &str) -> String {
    format!("judge/{alert}")
}

/// Adds what is needed to judge an alert again; what cannot be is named. `published`: its events as the bundle shows them.
pub(super) fn add<W: Read + Write + Seek>(
    export: &Export<'_>,
    row: &AlertRow,
    settings: &str,
    published: &[Value],
    left: &mut usize,
    sealed: &mut Sealed<W>,
    missing: &mut Vec<String>,
) -> Result<(), ExportError> {
    match make(export, row, settings, published) {
        Ok((models, state, inputs)) => {
            let bytes = state.len() + inputs.len();
            if bytes > ALERT_BYTES_MAX || bytes > *left {
                missing.push(format!("what alert {} could be judged from again: {bytes} bytes, it is too much", row.id));
                return Ok(());
            }
            *left -= bytes;
            let folder = folder(&row.id);
            for (name, text) in &models {
                sealed.add(&format!("{folder}/models/{name}"), text.as_bytes())?;
            }
            sealed.add(&format!("{folder}/state.bin"), &state)?;
            sealed.add(&format!("{folder}/inputs.bin"), &inputs)
        }
        Err(why) => {
            missing.push(format!("what alert {} could be judged from again: {why}", row.id));
            Ok(())
        }
    }
}

type Made = (Vec<(String, String)>, Vec<u8>, Vec<u8>);

fn make(export: &Export<'_>, row: &AlertRow, settings: &str, published: &[Value]) -> Result<Made, String> {
    if row.bed.starts_with('_') {
        return Err("it is not of one bed".into());
    }
    let document: Value = serde_json::from_slice(&row.json).unwrap_or_default();
    let wanted = document["model"].as_str().unwrap_or_default();
    let place = export.place;
    let models = models_of(place.config, wanted).ok_or("the model files that judged then are not kept")?;
    let loaded = load(&models).ok_or("its model files cannot be read")?;
    let own = Settings::new(place.config, place.site_key).with_models(Arc::clone(&loaded));
    let own = own.with_advisories(crate::shell::advisories::load(place.config).map_err(|error| error.to_string())?);
    let deciding: Deciding = toml::from_str(settings).map_err(|error| format!("its settings cannot be written: {error}"))?;
    let elsewhere = deciding.settings(loaded);
    let until = (Instant::now() + JUDGE_FOR).min(place.until);
    let (mut monitor, first) = begin(place.journal, &own, row.raised).map_err(|error| error.to_string())?;
    let state = monitor.snapshot_apart(&row.ward, &row.bed, &elsewhere);
    monitor.record(&row.ward, &row.bed, !export.wish.identified);
    let mut plan = Plan { alert: row.id.clone(), model: wanted.into(), last: 0, to: monitor.at(), inputs: Vec::new() };
    take_down(export, row, monitor, first, until, &mut plan)?;
    if plan.last == 0 {
        return Err("it does not follow from the journal as it is kept".into());
    }
    let inputs = postcard::to_stdvec(&plan).map_err(|error| error.to_string())?;
    let parts = Parts { settings, models: models.clone(), state: &state, inputs: &inputs };
    match judge(&parts, &row.id, published, until) {
        Judged::Reproduced { .. } => Ok((models, state, inputs)),
        Judged::Differs { event, what } => Err(format!(
            "from what concerns its bed alone event {event} does not follow as it was published ({what}): other beds, ADT or another feed have a part in it"
        )),
        Judged::Not { why } => Err(why),
    }
}

/// Beside the program's own the files that give this model; empty where its own alone do, `None` where none are kept that do.
fn models_of(config: &Config, wanted: &str) -> Option<Vec<(String, String)>> {
    let decides = |files: &[(String, String)]| {
        let settings = Settings::new(config, FIXED_KEY).with_models(load(files)?);
        Some(format!("sha256:{}", &Monitor::new(settings).model_hash()[..16]) == wanted)
    };
    let folders = [crate::shell::models::kept(&config.data, wanted), config.models.clone()];
    let kept = folders.into_iter().flatten().filter_map(|folder| crate::shell::models::files(&folder).ok());
    std::iter::once(Vec::new()).chain(kept).find(|files| decides(files) == Some(true))
}

fn load(files: &[(String, String)]) -> Option<Arc<Models>> {
    if files.is_empty() { Some(Models::shipped()) } else { Models::with_site(files).ok().map(Arc::new) }
}

/// A monitor some minutes before that time, and the first record that it has not heard.
fn begin(journal: &std::path::Path, settings: &Settings, raised: Timestamp) -> Result<(Monitor, u64), journal::JournalError> {
    for before in [raised.plus_s(-LEAD_S), raised] {
        for state in journal::standing(journal)?.iter().filter(|state| state.may_precede(before)) {
            let restored = state.read().ok().and_then(|bytes| Monitor::restore(settings.clone(), &bytes).ok());
            if let Some(monitor) = restored.filter(|monitor| monitor.at() < before) {
                return Ok((monitor, state.sequence + 1));
            }
        }
    }
    Ok((Monitor::new(settings.clone()), 0))
}

/// Goes through the journal up to the last event of the alert, and takes down what its bed is told.
fn take_down(
    export: &Export<'_>,
    row: &AlertRow,
    mut monitor: Monitor,
    first: u64,
    until: Instant,
    plan: &mut Plan,
) -> Result<(), String> {
    let journal = export.place.journal;
    let quarantine = Quarantine::read(journal).map_err(|error| error.to_string())?;
    let (mut heard, mut begins) = (0_usize, None);
    for (count, entry) in Reader::open(journal, first).map_err(|error| error.to_string())?.enumerate() {
        if count % 256 == 255 && Instant::now() >= until {
            return Err("it takes too long".into());
        }
        let stamped = entry.map_err(|error| error.to_string())?.stamped;
        let begun = *begins.get_or_insert(stamped.at);
        if (first == 0 && count == 0 && stamped.sequence > 1) || stamped.at.since_s(begun) > SPAN_S_MAX {
            return Err("no state of the journal shortly before it is kept".into());
        }
        if stamped.at > row.updated.plus_s(1.0) || plan.last >= row.seq || heard >= HEARD_MAX {
            break;
        }
        let ours = tell(&mut monitor, &stamped, quarantine.holds(stamped.sequence), row, plan);
        let at = stamped.at;
        match stamped.record {
            Record::Start { applied_until, .. } => plan.inputs.push(Input::Start { at, applied_until }),
            Record::Command(command) if ours => {
                let command = if export.wish.identified { command } else { super::contents::wordless(&command) };
                plan.inputs.push(Input::Command { at, json: serde_json::to_string(&command).unwrap_or_default() });
            }
            _ => {}
        }
        let new = monitor.recorded();
        heard += new.len();
        plan.inputs.extend(new.into_iter().map(|heard| Input::Heard(Box::new(heard))));
    }
    if heard < HEARD_MAX && plan.last < row.seq {
        // What only time brought.
        monitor.handle_timeout(row.updated);
        drain(&mut monitor, row, plan);
    }
    Ok(())
}

/// One record; whether it has moved the bed.
fn tell(monitor: &mut Monitor, stamped: &Stamped, quarantined: bool, row: &AlertRow, plan: &mut Plan) -> bool {
    if !matches!(stamped.record, Record::Start { .. }) {
        monitor.handle_timeout(stamped.at);
        drain(monitor, row, plan);
    }
    if !quarantined {
        crate::shell::engine::handle(monitor, stamped);
    }
    drain(monitor, row, plan)
}

fn drain(monitor: &mut Monitor, row: &AlertRow, plan: &mut Plan) -> bool {
    let mut moved: Vec<BedId> = Vec::new();
    while let Some(output) = monitor.poll_output() {
        match output {
            Output::Alert(event) if event.alert.id == row.id && event.seq <= row.seq => {
                plan.last = plan.last.max(event.seq);
                plan.to = plan.to.max(monitor.at());
            }
            Output::BedChanged(bed) => moved.push(bed),
            _ => {}
        }
    }
    monitor.bed_id(&row.ward, &row.bed).is_some_and(|bed| moved.contains(&bed))
}

/// Judges every alert of a bundle again. `files`: its files by name.
pub fn judge_all(files: &BTreeMap<&str, &[u8]>) -> Vec<(String, Judged)> {
    let list: Value = files.get("alerts.json").and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    let (mut judged, all) = (Vec::new(), Instant::now() + ALL_FOR);
    for one in list["alerts"].as_array().into_iter().flatten() {
        let Some(alert) = one["alert"]["id"].as_str() else { continue };
        let published = one["events"].as_array().cloned().unwrap_or_default();
        let folder = folder(alert);
        let file = |name: &str| files.get(format!("{folder}/{name}").as_str()).copied();
        let settings = files.get(SETTINGS).and_then(|text| std::str::from_utf8(text).ok());
        let parts = (settings, file("state.bin"), file("inputs.bin"));
        let outcome = match parts {
            (Some(settings), Some(state), Some(inputs)) => {
                let below = format!("{folder}/models/");
                let models = files.iter().filter_map(|(name, text)| {
                    Some((name.strip_prefix(&below)?.to_owned(), String::from_utf8(text.to_vec()).ok()?))
                });
                let parts = Parts { settings, models: models.take(MODEL_FILES_MAX + 1).collect(), state, inputs };
                judge(&parts, alert, &published, all.min(Instant::now() + JUDGE_FOR))
            }
            _ => not("what it was judged from is not in the bundle (the manifest says why)"),
        };
        judged.push((alert.to_owned(), outcome));
    }
    judged
}

/// Judges one again, from bytes that may be anything.
fn judge(parts: &Parts<'_>, alert: &str, published: &[Value], until: Instant) -> Judged {
    let model_bytes: usize = parts.models.iter().map(|(_, text)| text.len()).sum();
    let much =
        [parts.state.len() + parts.inputs.len() + parts.settings.len() > 2 * ALERT_BYTES_MAX, model_bytes > MODEL_BYTES_MAX];
    if much.contains(&true) || parts.models.len() > MODEL_FILES_MAX {
        return not("it is more than a bundle of ours holds");
    }
    if Instant::now() >= until {
        return not("it takes too long here");
    }
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_judge(parts, alert, published, until)));
    match judged {
        Ok(Ok(judged)) => judged,
        Ok(Err(why)) => not(why),
        Err(_) => not("what it was judged from contradicts itself"),
    }
}

fn try_judge(parts: &Parts<'_>, alert: &str, published: &[Value], until: Instant) -> Result<Judged, String> {
    let broken = |what: &str, error: &dyn std::fmt::Display| format!("{what} cannot be read: {error}");
    let deciding: Deciding = toml::from_str(parts.settings).map_err(|error| broken("its settings", &error))?;
    let models = load(&parts.models).ok_or("its model files cannot be read")?;
    let plan: Plan = postcard::from_bytes(parts.inputs).map_err(|error| broken("what its bed was told", &error))?;
    let settings = deciding.settings(models);
    let here = format!("sha256:{}", &Monitor::new(settings.clone()).model_hash()[..16]);
    if here != plan.model {
        return Err(format!("another version decides here ({here}) than did then ({})", plan.model));
    }
    let mut monitor = Monitor::restore(settings, parts.state).map_err(|error| broken("the state of its bed", &error))?;
    if plan.alert != alert {
        return Err("what its bed was told belongs to another alert".into());
    }
    let begin = if monitor.at() == Timestamp::MIN { plan.inputs.first().map_or(plan.to, Input::at) } else { monitor.at() };
    let within = |at: Timestamp| at >= begin && at.since_s(begin) <= SPAN_S_MAX;
    if !within(plan.to) || !plan.inputs.iter().all(|input| within(input.at())) {
        return Err("times in what its bed was told are out of order".into());
    }
    let mut derived = Vec::new();
    for input in &plan.inputs {
        if !matches!(input, Input::Start { .. }) {
            go_to(&mut monitor, begin, input.at(), until, alert, &mut derived)?;
        }
        match input {
            Input::Heard(heard) => monitor.handle_heard(heard),
            Input::Start { at, applied_until } => monitor.handle_start(*applied_until, *at),
            Input::Command { at, json } => {
                let command: Command = serde_json::from_str(json).map_err(|error| broken("a command", &error))?;
                monitor.handle_command(&command, 0, *at);
            }
        }
        collect(&mut monitor, alert, &mut derived);
    }
    go_to(&mut monitor, begin, plan.to, until, alert, &mut derived)?;
    Ok(compare(published, &derived, plan.last))
}

/// Lets time go on, so far that the clock can be looked at.
fn go_to(
    monitor: &mut Monitor,
    begin: Timestamp,
    to: Timestamp,
    until: Instant,
    alert: &str,
    derived: &mut Vec<AlertEvent>,
) -> Result<(), String> {
    let mut at = monitor.at().max(begin);
    while at < to {
        at = at.plus_ms(STRIDE_MS).min(to);
        monitor.handle_timeout(at);
        collect(monitor, alert, derived);
        if Instant::now() >= until {
            return Err("it takes too long here".into());
        }
    }
    Ok(())
}

fn collect(monitor: &mut Monitor, alert: &str, derived: &mut Vec<AlertEvent>) {
    while let Some(output) = monitor.poll_output() {
        if let Output::Alert(event) = output
            && event.alert.id == alert
        {
            derived.push(*event);
        }
    }
}

/// Event by event, each as the document that it was published as. Words of people are compared nowhere.
fn compare(published: &[Value], derived: &[AlertEvent], last: u64) -> Judged {
    let (mut same, mut of) = (0, 0);
    for event in published {
        let Some(seq) = event["seq"].as_u64() else { continue };
        of += 1;
        if seq > last {
            continue;
        }
        let differs = |what: String| Judged::Differs { event: seq, what };
        let Ok((_, envelope)) = AlertEvent::from_json(&event.to_string()) else {
            return differs("what was published cannot be read".into());
        };
        let Some(again) = derived.iter().find(|again| again.seq == seq) else {
            return differs("it does not come up".into());
        };
        let mut again: Value = serde_json::from_str(&again.to_json(&envelope)).unwrap_or_default();
        let mut event = event.clone();
        for one in [&mut again, &mut event] {
            super::contents::without_words_of_people(one);
        }
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
        if bytes(&again) != bytes(&event) {
            return differs(difference("", &event, &again).unwrap_or_else(|| "the order of its members".into()));
        }
        same += 1;
    }
    match derived.iter().find(|again| again.seq <= last && published.iter().all(|event| event["seq"] != again.seq)) {
        Some(extra) => Judged::Differs { event: extra.seq, what: "it was not published, or is not in the bundle".into() },
        None if same == 0 => not("the bundle holds no event of it"),
        None => Judged::Reproduced { events: same, of },
    }
}

/// The first member that differs, with both values.
fn difference(path: &str, published: &Value, derived: &Value) -> Option<String> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (published, derived) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            names
                .map(|name| (name, one.get(name).unwrap_or(&Value::Null), other.get(name).unwrap_or(&Value::Null)))
                .find_map(|(name, one, other)| difference(&below(name), one, other))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(at, (one, other))| difference(&below(&at.to_string()), one, other))
        }
        (one, other) if one == other => None,
        (one, other) => Some(format!("{path}: published {one}, derived {other}").chars().take(300).collect()),
    }
}
