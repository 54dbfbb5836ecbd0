//! An alert of a case judged again from its bundle alone: the state of its bed some minutes before, what the bed was told since
//! (values, marks, times; hashes where identities were), settings and model files; and what was published, to compare with.
//!
//! One contract: what is written was judged once from these very bytes and gave what was published; what did not is left out, and
//! why is said among what is missing. Judging is bounded in time and memory, whatever stands in the files, and never panics.

use super::bundle::{Export, ExportError};
use super::sealed::Sealed;
use crate::alert::AlertEvent;
use crate::case::ITEMS_MAX;
use crate::command::{Command, is_alert_id};
use crate::config::{Beds, Compare, Config, Devices, Episodes, Profiles, SenderRule, Senders};
use crate::hl7::SEGMENTS_MAX;
use crate::models::Models;
use crate::monitor::{BedId, FIXED_KEY, Heard, Monitor, Output, Settings, published_device};
use crate::shell::journal::{self, Reader, Record, Stamped};
use crate::shell::quarantine::Quarantine;
use crate::shell::store::AlertRow;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What decides, as it was set.
pub const SETTINGS: &str = "judge/settings.toml";
/// What a bed was told, messages at most: what an alert became behind that is not judged again.
const HEARD_MAX: usize = 20_000;
/// Commands and starts beside them at most.
const OTHERS_MAX: usize = 5_000;
/// All that is there to judge one alert, and all alerts of a bundle, bytes at most.
const ALERT_BYTES_MAX: usize = 32 << 20;
pub(super) const BYTES_MAX: usize = 128 << 20;
/// The state of a bed, and the settings, bytes at most. Tables of a state are up to 64 times as large in memory.
const STATE_BYTES_MAX: usize = 16 << 20;
const SETTINGS_BYTES_MAX: usize = 1 << 20;
/// Why something is refused, characters at most.
const WHY_CHARS_MAX: usize = 400;
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
const TOO_MUCH: &str = "it is more than a bundle of ours holds";
const TOO_LONG: &str = "it takes too long here";

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
                write!(
                    f,
                    "reproduced: {events} of {of} events, each as it was published; the bundle holds no more to judge, and the alert as it became is not compared"
                )
            }
            Judged::Differs { event, what } => write!(f, "DIFFERS at event {event}: {what}"),
            Judged::Not { why } => write!(f, "cannot be judged here: {why}"),
        }
    }
}

fn not(why: impl Into<String>) -> Judged {
    Judged::Not { why: plain(&why.into()) }
}

/// Fit for a terminal, whatever a file has said.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_CHARS_MAX).collect()
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
    /// Without what names a device, a sender or a folder: what was told has come through the list of senders, and says how it
    /// stood to it; of the list only zones are left, which decide at what times clocks are set.
    fn of(config: &Config, site_key: &[u8]) -> Deciding {
        let mut settings = Settings::new(config, FIXED_KEY);
        let zone_alone = |rule: SenderRule| rule.zone.map(|zone| SenderRule { zone: Some(zone), ..SenderRule::default() });
        let rules = std::mem::take(&mut settings.senders).sender;
        settings.senders.sender = rules.into_iter().filter_map(zone_alone).collect();
        settings.devices.advisories = None;
        for device in &mut settings.devices.device {
            let id = device.id.trim();
            device.id = if id.starts_with("dev-") { id.to_owned() } else { published_device(site_key, id) };
        }
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
pub(super) fn settings(config: &Config, site_key: &[u8]) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(&Deciding::of(config, site_key))
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

/// What was published of an alert, as the bundle shows it.
#[derive(Clone, Copy)]
pub(super) struct Published<'a> {
    pub alert: &'a Value,
    pub events: &'a [Value],
}

/// Adds what is needed to judge an alert again; what cannot be is named.
pub(super) fn add<W: Read + Write + Seek>(
    export: &Export<'_>,
    row: &AlertRow,
    settings: &str,
    published: Published<'_>,
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

fn make(export: &Export<'_>, row: &AlertRow, settings: &str, published: Published<'_>) -> Result<Made, String> {
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
    let (mut monitor, first) = begin(place.journal, &own, row.raised, until)?;
    let state = monitor.snapshot_apart(&row.ward, &row.bed, &elsewhere);
    monitor.record(&row.ward, &row.bed, !export.wish.identified);
    let mut plan = Plan { alert: row.id.clone(), model: wanted.into(), last: 0, to: monitor.at(), inputs: Vec::new() };
    if state.len() > STATE_BYTES_MAX {
        return Err(format!("the state of its bed has {} bytes, it is too much", state.len()));
    }
    take_down(export, row, monitor, first, ALERT_BYTES_MAX - state.len(), until, &mut plan)?;
    if plan.last == 0 {
        return Err("it does not follow from the journal as it is kept".into());
    }
    let inputs = postcard::to_stdvec(&plan).map_err(|error| error.to_string())?;
    let parts = Parts { settings, models: models.clone(), state: &state, inputs: &inputs };
    match judge(&parts, &row.id, published, until) {
        Judged::Reproduced { .. } => Ok((models, state, inputs)),
        Judged::Differs { event, what } => Err(format!(
            "from what concerns its bed alone event {event} does not follow as it was published ({what}): other beds, ADT, another feed, or an id of a message that is not shown as it was sent have a part in it"
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
fn begin(journal: &std::path::Path, settings: &Settings, raised: Timestamp, until: Instant) -> Result<(Monitor, u64), String> {
    let mut late = false;
    let found = journal::before(journal, raised, |state, before| {
        late = Instant::now() >= until;
        if late {
            return ControlFlow::Break(None);
        }
        match Monitor::restore(settings.clone(), state) {
            Ok(monitor) if monitor.at() < before => ControlFlow::Break(Some(monitor)),
            _ => ControlFlow::Continue(()),
        }
    });
    match found.map_err(|error| error.to_string())? {
        _ if late => Err("it takes too long".into()),
        found => Ok(found.unwrap_or_else(|| (Monitor::new(settings.clone()), 0))),
    }
}

/// Goes through the journal up to the last event of the alert, and takes down what its bed is told: `room` bytes at most, about.
fn take_down(
    export: &Export<'_>,
    row: &AlertRow,
    mut monitor: Monitor,
    first: u64,
    room: usize,
    until: Instant,
    plan: &mut Plan,
) -> Result<(), String> {
    let journal = export.place.journal;
    let quarantine = Quarantine::read(journal).map_err(|error| error.to_string())?;
    let (mut heard, mut others, mut bytes, mut full, mut begins) = (0_usize, 0_usize, 0_usize, false, None);
    for (count, entry) in Reader::open(journal, first).map_err(|error| error.to_string())?.enumerate() {
        if count % 256 == 255 && Instant::now() >= until {
            return Err("it takes too long".into());
        }
        let stamped = entry.map_err(|error| error.to_string())?.stamped;
        let begun = *begins.get_or_insert(stamped.at);
        if (first == 0 && count == 0 && stamped.sequence > 1) || stamped.at.since_s(begun) > SPAN_S_MAX {
            return Err("no state of the journal shortly before it is kept".into());
        }
        if stamped.at > row.updated.plus_s(1.0) || plan.last >= row.seq {
            break;
        }
        let (before, known) = ((plan.last, plan.to), plan.inputs.len());
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
        others += plan.inputs.len() - known;
        heard += new.len();
        plan.inputs.extend(new.into_iter().map(|heard| Input::Heard(Box::new(heard))));
        bytes += plan.inputs[known..].iter().map(bytes_of).sum::<usize>();
        full = heard > HEARD_MAX || others > OTHERS_MAX || bytes > room;
        if full {
            // What came of it cannot be judged again.
            plan.inputs.truncate(known);
            (plan.last, plan.to) = before;
            break;
        }
    }
    if !full && plan.last < row.seq {
        // What only time brought.
        monitor.handle_timeout(row.updated);
        drain(&mut monitor, row, plan);
    }
    Ok(())
}

fn bytes_of(input: &Input) -> usize {
    postcard::serialize_with_flavor(input, postcard::ser_flavors::Size::default()).unwrap_or(usize::MAX / 2)
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
    let (mut judged, mut seen, all) = (Vec::new(), BTreeSet::new(), Instant::now() + ALL_FOR);
    for one in list["alerts"].as_array().into_iter().flatten() {
        let Some(alert) = one["alert"]["id"].as_str().filter(|id| is_alert_id(id)) else { continue };
        if Instant::now() >= all || seen.len() >= ITEMS_MAX {
            break;
        }
        if seen.insert(alert) {
            judged.push((alert.to_owned(), judge_one(files, alert, one, all)));
        }
    }
    judged
}

fn judge_one(files: &BTreeMap<&str, &[u8]>, alert: &str, one: &Value, all: Instant) -> Judged {
    let events = one["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let folder = folder(alert);
    let file = |name: &str| files.get(format!("{folder}/{name}").as_str()).copied();
    let settings = files.get(SETTINGS).and_then(|text| std::str::from_utf8(text).ok());
    let (Some(settings), Some(state), Some(inputs)) = (settings, file("state.bin"), file("inputs.bin")) else {
        return not("what it was judged from is not in the bundle (the manifest says why)");
    };
    let below = format!("{folder}/models/");
    let (mut models, mut bytes) = (Vec::new(), 0);
    for (name, text) in files.range(below.as_str()..).map_while(|(name, text)| Some((name.strip_prefix(&below)?, text))) {
        bytes += text.len();
        if models.len() >= MODEL_FILES_MAX || bytes > MODEL_BYTES_MAX {
            return not(TOO_MUCH);
        }
        models.extend(std::str::from_utf8(text).ok().map(|text| (name.to_owned(), text.to_owned())));
    }
    let parts = Parts { settings, models, state, inputs };
    judge(&parts, alert, Published { alert: &one["alert"], events }, all.min(Instant::now() + JUDGE_FOR))
}

/// Judges one again, from bytes that may be anything.
fn judge(parts: &Parts<'_>, alert: &str, published: Published<'_>, until: Instant) -> Judged {
    let bytes = parts.state.len() + parts.inputs.len();
    if bytes > ALERT_BYTES_MAX || parts.state.len() > STATE_BYTES_MAX || parts.settings.len() > SETTINGS_BYTES_MAX {
        return not(TOO_MUCH);
    }
    if Instant::now() >= until {
        return not(TOO_LONG);
    }
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_judge(parts, alert, published, until)));
    match judged {
        Ok(Ok(judged)) => judged,
        Ok(Err(why)) => not(why),
        Err(_) => not("what it was judged from contradicts itself"),
    }
}

fn try_judge(parts: &Parts<'_>, alert: &str, published: Published<'_>, until: Instant) -> Result<Judged, String> {
    let broken = |what: &str, error: &dyn std::fmt::Display| format!("{what} cannot be read: {error}");
    let deciding: Deciding = toml::from_str(parts.settings).map_err(|error| broken("its settings", &error))?;
    let models = load(&parts.models).ok_or("its model files cannot be read")?;
    let plan: Plan = postcard::from_bytes(parts.inputs).map_err(|error| broken("what its bed was told", &error))?;
    let told = plan.inputs.iter().filter_map(|input| if let Input::Heard(heard) = input { Some(heard) } else { None });
    let heard = told.clone().count();
    if heard > HEARD_MAX || plan.inputs.len() - heard > OTHERS_MAX || told.clone().any(|heard| heard.rows() > SEGMENTS_MAX) {
        return Err(TOO_MUCH.into());
    }
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
    // What was left before the state was taken is no later time.
    let fits = |input: &Input| match input {
        Input::Start { at, applied_until } => within(*at) && applied_until <= at,
        _ => within(input.at()),
    };
    if !within(plan.to) || !plan.inputs.iter().all(fits) {
        return Err("times in what its bed was told are out of order".into());
    }
    let mut derived = Vec::new();
    for input in &plan.inputs {
        match input {
            // Before its first input a monitor has no time that goes on.
            Input::Start { .. } if monitor.at() == Timestamp::MIN => {}
            Input::Start { applied_until, .. } => go_to(&mut monitor, begin, *applied_until, until, alert, &mut derived)?,
            _ => go_to(&mut monitor, begin, input.at(), until, alert, &mut derived)?,
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
        if Instant::now() >= until {
            return Err(TOO_LONG.into());
        }
    }
    go_to(&mut monitor, begin, plan.to, until, alert, &mut derived)?;
    compare(published, &derived, plan.last, until)
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
            return Err(TOO_LONG.into());
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

/// Event by event, each as the document that it was published as, then the alert as it became. Words of people are compared
/// nowhere.
fn compare(published: Published<'_>, derived: &[AlertEvent], last: u64, until: Instant) -> Result<Judged, String> {
    let by_number: BTreeMap<u64, &AlertEvent> = derived.iter().rev().map(|again| (again.seq, again)).collect();
    let (mut numbers, mut same, mut of, mut newest) = (BTreeSet::new(), 0, 0, None);
    for event in published.events {
        let Some(seq) = event["seq"].as_u64() else { continue };
        if Instant::now() >= until {
            return Err(TOO_LONG.into());
        }
        numbers.insert(seq);
        of += 1;
        if seq > last {
            continue;
        }
        let differs = |what: String| Ok(Judged::Differs { event: seq, what: plain(&what) });
        let Ok((_, envelope)) = AlertEvent::from_json(&event.to_string()) else {
            return differs("what was published cannot be read".into());
        };
        let Some(again) = by_number.get(&seq) else {
            return differs("it does not come up".into());
        };
        let mut again: Value = serde_json::from_str(&again.to_json(&envelope)).unwrap_or_default();
        let mut event = event.clone();
        for one in [&mut again, &mut event] {
            super::contents::without_words_of_people(one);
        }
        if let Some(what) = unlike(&event, &again) {
            return differs(what);
        }
        same += 1;
        newest = newest.filter(|(known, _)| *known > seq).or_else(|| Some((seq, again["alert"].take())));
    }
    if let Some(extra) = by_number.keys().find(|seq| **seq <= last && !numbers.contains(seq)) {
        return Ok(Judged::Differs { event: *extra, what: "it was not published, or is not in the bundle".into() });
    }
    let Some((event, again)) = newest else { return Ok(not("the bundle holds no event of it")) };
    if same == of {
        let mut alert = published.alert.clone();
        super::contents::without_comments(&mut alert);
        if let Some(what) = unlike(&alert, &again) {
            return Ok(Judged::Differs { event, what: plain(&format!("the alert as it became: {what}")) });
        }
    }
    Ok(Judged::Reproduced { events: same, of })
}

/// In what two documents differ, byte for byte.
fn unlike(published: &Value, derived: &Value) -> Option<String> {
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
    let differ = bytes(published) != bytes(derived);
    differ.then(|| difference("", published, derived).unwrap_or_else(|| "the order of its members".into()))
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

#[cfg(test)]
mod tests;
