//! `vitalguard explain ALERT-ID`: derives an alert again from the journal, or from recorded messages, and shows the sum behind it.
//!
//! Every event of the alert is shown with the findings of its bed at that moment: strength, age, weights, what each credits, the
//! rule that follows and the confidence, so that a reader can redo it by hand. Where the data folder's store holds the events as
//! they were published, both are compared. Of messages only OBX rows are shown, never who the patient is.

use super::load::{Overrides, load};
use super::replay::{driven, journal_of};
use super::{Global, Usage, start_logging};
use crate::alert::{AlertEvent, EventKind};
use crate::check::Assessment;
use crate::config::Config;
use crate::fusion::{Account, Line};
use crate::hl7::{Message, Scratch};
use crate::shell::journal::{self, Record};
use crate::shell::replay::{Journal, ReplayError, Sink};
use crate::shell::store::AlertReader;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// Bytes of recorded messages that are kept so that the rows of an alert can be shown.
const KEPT_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The alert: its id (A-…), or its short reference.
    #[arg(value_name = "ALERT-ID")]
    alert: String,
    /// Recordings as for replay, or a journal's folder; none: the journal of the data folder.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration file (TOML): the one under which the alert was raised.
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of the service.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Slug of the installation (it is part of every alert's id).
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Feed of recorded messages, as for replay.
    #[arg(long, default_value = "replay", value_name = "SLUG")]
    feed: String,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// One event of the alert, derived again.
#[derive(Debug)]
struct Step {
    event: AlertEvent,
    account: Option<Account>,
}

/// Collects what concerns one alert.
#[derive(Debug, Default)]
struct Collected {
    wanted: String,
    steps: Vec<Step>,
    /// Alerts that were seen at all, and the model that judged.
    alerts: u64,
    model: String,
    /// Messages so far, and the newest of them.
    messages: u64,
    kept: VecDeque<(u64, Vec<u8>)>,
    kept_bytes: usize,
    keep: bool,
}

struct Watch(Rc<RefCell<Collected>>);

impl Sink for Watch {
    fn message(&mut self, payload: &[u8]) -> Result<(), ReplayError> {
        let mut seen = self.0.borrow_mut();
        seen.messages += 1;
        if !seen.keep {
            return Ok(());
        }
        let number = seen.messages;
        seen.kept_bytes += payload.len();
        seen.kept.push_back((number, payload.to_vec()));
        while seen.kept_bytes > KEPT_BYTES_MAX {
            let Some((_, gone)) = seen.kept.pop_front() else { break };
            seen.kept_bytes -= gone.len();
        }
        Ok(())
    }
    fn wants_account(&self) -> bool {
        true
    }
    fn account(&mut self, event: &AlertEvent, account: Option<&Account>) -> Result<(), ReplayError> {
        let mut seen = self.0.borrow_mut();
        seen.alerts += u64::from(event.event == EventKind::Raised);
        if event.alert.id == seen.wanted || event.alert.reference == seen.wanted {
            seen.steps.push(Step { event: event.clone(), account: account.cloned() });
        } else if seen.model.is_empty() {
            seen.model.clone_from(&event.alert.model);
        }
        Ok(())
    }
}

/// Where the messages come from.
enum From {
    Journal(Journal),
    Recordings,
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let overrides =
        Overrides { config: args.config.clone(), data: args.data.clone(), site: args.site.clone(), ..Overrides::default() };
    let config = load(&overrides)?.config;
    let quiet = crate::config::Log { format: config.log.format, filter: "warn".into() };
    start_logging(global, &quiet);
    let journal = match args.files.as_slice() {
        [] => Journal::find(&config.data).with_context(|| format!("reading the journal of {}", config.data.display()))?,
        files => journal_of(files)?,
    };
    if args.files.is_empty() && journal.is_none() {
        return Err(Usage::new(format!(
            "{} holds no journal: name the data folder (--data), its configuration (--config), or recordings",
            config.data.display()
        ))
        .into());
    }
    let from = journal.map_or(From::Recordings, From::Journal);
    let seen = Rc::new(RefCell::new(Collected {
        wanted: args.alert.clone(),
        keep: matches!(from, From::Recordings),
        ..Collected::default()
    }));
    drive(&config, &args, &from, &seen)?;
    let seen = seen.borrow();
    if seen.steps.is_empty() {
        let model =
            if seen.model.is_empty() { String::new() } else { format!("; alerts here were judged by model {}", seen.model) };
        anyhow::bail!(
            "no alert {} follows from {} messages ({} other alerts do{model}): another site slug, key, configuration or version, or \
             the journal no longer reaches back so far",
            args.alert,
            seen.messages,
            seen.alerts
        );
    }
    let published = published(&config.data, &seen.steps);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let rows = |raw: &str, set_id: Option<u32>| row_of(&from, &seen, raw, set_id);
    if args.json {
        let steps: Vec<Value> = seen.steps.iter().map(|step| step_object(step, &rows)).collect();
        let object = json!({ "alert": seen.steps[0].event.alert.id, "published": published.word(), "events": steps });
        serde_json::to_writer_pretty(&mut out, &object)?;
        writeln!(out)?;
    } else {
        tell(&seen.steps, &published, &rows, &mut out)?;
    }
    out.flush()?;
    let differs = matches!(published, Published::Differs(_)) || seen.steps.iter().any(|step| agrees(step) == Some(false));
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn drive(config: &Config, args: &Args, from: &From, seen: &Rc<RefCell<Collected>>) -> anyhow::Result<()> {
    let own_key = args.data.is_some() || args.files.is_empty();
    let journal = match from {
        From::Journal(journal) => Some(journal),
        From::Recordings => None,
    };
    let summary = driven(config, &args.files, journal, own_key, &args.feed, vec![Box::new(Watch(seen.clone()))])?;
    for outcome in summary.outcomes.iter().filter(|outcome| outcome.faults.broken.is_some()) {
        eprintln!("{}: reading stopped: {}", outcome.name, outcome.faults.broken.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// How what was derived stands to what was published.
enum Published {
    /// Nothing is kept of it here.
    Unknown,
    Same(usize),
    /// The first event that differs, and how.
    Differs(String),
}

impl Published {
    fn word(&self) -> String {
        match self {
            Published::Unknown => "not kept here".into(),
            Published::Same(events) => format!("{events} events, the same"),
            Published::Differs(how) => how.clone(),
        }
    }
}

fn published(data: &Path, steps: &[Step]) -> Published {
    let store = data.join("store.sqlite");
    let Some(kept) = AlertReader::open(&store).ok().and_then(|reader| reader.events(&steps[0].event.alert.id).ok()) else {
        return Published::Unknown;
    };
    if kept.is_empty() {
        return Published::Unknown;
    }
    let kept: Vec<AlertEvent> = kept
        .iter()
        .filter_map(|json| std::str::from_utf8(json).ok())
        .filter_map(|text| AlertEvent::from_json(text).ok())
        .map(|(event, _)| event)
        .collect();
    let mut same = 0;
    for event in &kept {
        let Some(step) = steps.iter().find(|step| step.event.seq == event.seq) else {
            // The journal ends, or was pruned, before it.
            continue;
        };
        if step.event != *event {
            let now = step.event.alert.confidence.0;
            return Published::Differs(format!(
                "event {} differs: published {} at confidence {} by model {}, derived {} at {now} by model {}",
                event.seq,
                event.event.as_str(),
                event.alert.confidence.0,
                event.alert.model,
                step.event.event.as_str(),
                step.event.alert.model
            ));
        }
        same += 1;
    }
    if same == 0 { Published::Unknown } else { Published::Same(same) }
}

/// Whether the confidence of an event is the one that its account gives; `None`: the event is not decided by findings alone.
fn agrees(step: &Step) -> Option<bool> {
    let account = step.account.as_ref()?;
    if !matches!(step.event.event, EventKind::Raised) {
        return None;
    }
    let expected = expected(step, account)?;
    Some((expected - step.event.alert.confidence.0).abs() < 0.005)
}

fn expected(step: &Step, account: &Account) -> Option<f64> {
    let alert = &step.event.alert;
    if alert.assessment == Assessment::Tamper {
        return account.confidence();
    }
    let line = account.lines.iter().find(|line| line.check.meta().condition() == alert.condition)?;
    Some(line.confidence)
}

/// The row of a message that showed a finding: its OBX up to the unit.
fn row_of(from: &From, seen: &Collected, raw: &str, set_id: Option<u32>) -> Option<String> {
    let number: u64 = raw.rsplit('.').next()?.parse().ok()?;
    let payload = match from {
        From::Recordings => seen.kept.iter().find(|(n, _)| *n == number).map(|(_, payload)| payload.clone()),
        From::Journal(journal) => {
            let entry = journal::Reader::open(&journal.folder, number).ok()?.next()?.ok()?;
            match entry.stamped.record {
                Record::Frame { payload, .. } if entry.stamped.sequence == number => Some(payload),
                _ => None,
            }
        }
    }?;
    let mut scratch = Scratch::default();
    let message = Message::read(&payload, &mut scratch).ok()?;
    let wanted = set_id?.to_string();
    let row = message.segments().find(|s| s.is(b"OBX") && s.field(1).raw() == wanted.as_bytes())?;
    let fields: Vec<String> = (1..=6).map(|n| String::from_utf8_lossy(row.field(n).raw()).into_owned()).collect();
    Some(format!("OBX|{}", fields.join("|")))
}

fn round(value: f64) -> Value {
    crate::hl7::show::number((value * 1e4).round() / 1e4)
}

fn line_object(line: &Line, row: Option<String>) -> Value {
    let meta = line.check.meta();
    json!({
        "check": meta.condition(), "class": line.class().as_str(), "evidence": meta.evidence,
        "params": line.params.iter().map(|p| p.key()).collect::<Vec<_>>(),
        "alone": line.alone.map(Assessment::as_str), "holds": line.holds, "hard": line.hard,
        "value": line.value.map(round), "limit": line.limit.map(round), "unit": line.unit, "window_s": round(line.window_s),
        "first_at": line.first_at.to_string(), "last_at": line.last_at.to_string(), "age_s": round(line.age_s),
        "log10_e": round(line.log10_e), "score": round(line.score),
        "weights": { "artefact": meta.art, "physiology": meta.phy, "tamper": meta.tam },
        "credit": { "artefact": round(line.credit[0]), "physiology": round(line.credit[1]), "tamper": round(line.credit[2]) },
        "supported_by_another_source": line.supported, "speaks_of_tampering": line.speaks, "confidence_alone": round(line.confidence),
        "raw": line.raw, "obx": line.set_id, "row": row,
    })
}

fn step_object(step: &Step, rows: &dyn Fn(&str, Option<u32>) -> Option<String>) -> Value {
    let alert = &step.event.alert;
    let account = step.account.as_ref().map(|account| {
        let row = |line: &Line| line.raw.as_deref().and_then(|raw| rows(raw, line.set_id));
        json!({
            "at": account.at.to_string(), "window_s": account.window_s,
            "findings": account.lines.iter().map(|line| line_object(line, row(line))).collect::<Vec<_>>(),
            "sums": { "artefact": round(account.sums[0]), "physiology": round(account.sums[1]), "tamper": round(account.sums[2]) },
            "families": account.families, "rule": account.rule.map(|rule| rule.sentence()),
            "evidence_sum": round(account.evidence), "confidence": expected(step, account).map(round),
        })
    });
    json!({
        "seq": step.event.seq, "event": step.event.event.as_str(), "ts": step.event.ts.to_string(), "bed": format!("{}/{}", alert.ward, alert.bed),
        "condition": alert.condition, "assessment": alert.assessment.as_str(), "priority": alert.priority.as_str(),
        "confidence": alert.confidence.0, "model": alert.model, "text": alert.text.en, "account": account, "agrees": agrees(step),
    })
}

fn tell(
    steps: &[Step],
    published: &Published,
    rows: &dyn Fn(&str, Option<u32>) -> Option<String>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let first = &steps[0].event.alert;
    writeln!(out, "{}  {}", first.id, first.condition)?;
    writeln!(out, "bed {}/{}, onset {}, model {}", first.ward, first.bed, first.onset, first.model)?;
    writeln!(out, "compared with what was published: {}", published.word())?;
    for step in steps {
        let alert = &step.event.alert;
        writeln!(out)?;
        writeln!(
            out,
            "{} {} (event {}): {} {}, confidence {}",
            step.event.ts,
            step.event.event.as_str(),
            step.event.seq,
            alert.assessment.as_str(),
            alert.priority.as_str(),
            alert.confidence.0
        )?;
        writeln!(out, "  {}", alert.text.en)?;
        let Some(account) = &step.account else { continue };
        let (half_life_s, most, least, weight) = Account::CONSTANTS;
        writeln!(
            out,
            "  findings within {:.0} s; score = min(log10 e, {most:.0}) · 2^(−age / {half_life_s:.0} s):",
            account.window_s
        )?;
        writeln!(
            out,
            "    {:<28} {:<12} {:>7} {:>6} {:>6}  {:>18}  {:<11} value (limit)",
            "check", "class", "log10 e", "age s", "score", "art/phy/tam", "alone"
        )?;
        for line in &account.lines {
            let [art, phy, tam] = line.credit;
            let shown = line.value.map(|v| format!("{} {}", round(v), line.unit)).unwrap_or_default();
            let limit = line.limit.map(|l| format!(" ({})", round(l))).unwrap_or_default();
            let mut marks = String::new();
            for (is, word) in [
                (line.hard, "hard"),
                (!line.holds, "over"),
                (line.supported, "supported by another source"),
                (line.speaks, "speaks of tampering"),
            ] {
                if is {
                    marks.push_str(if marks.is_empty() { "; " } else { ", " });
                    marks.push_str(word);
                }
            }
            writeln!(
                out,
                "    {:<28} {:<12} {:>7.2} {:>6.0} {:>6.2}  {:>18}  {:<11} {shown}{limit}{marks}",
                line.check.meta().condition(),
                line.class().as_str(),
                line.log10_e,
                line.age_s,
                line.score,
                format!("{art:.2}/{phy:.2}/{tam:.2}"),
                line.alone.map_or("label", Assessment::as_str),
            )?;
            if let Some(raw) = &line.raw {
                let row = rows(raw, line.set_id).map(|row| format!(": {row}")).unwrap_or_default();
                writeln!(out, "      message {raw}{row}")?;
            }
        }
        let [art, phy, tam] = account.sums;
        writeln!(
            out,
            "  sums: artefact {art:.2}, physiology {phy:.2}, tampering {tam:.2}; families that speak: {}",
            account.families
        )?;
        match account.rule {
            Some(rule) => {
                let (low, more) = rule.scale();
                writeln!(out, "  rule: {}", rule.sentence())?;
                writeln!(
                    out,
                    "  {low} + {more} · (1 − 10^(−{:.2} / 4)) = {:.2}, where {:.2} is the sum over classes of the largest strength",
                    account.evidence,
                    account.confidence().unwrap_or_default(),
                    account.evidence
                )?;
            }
            None => writeln!(
                out,
                "  no tampering: it needs a hard violation, or lines of two families with log10 e of at least {least} and a weight of at \
                 least {weight} % while its sum is the largest, or decisive liveness"
            )?,
        }
        match agrees(step) {
            Some(true) => writeln!(out, "  the event's confidence {} follows from this", alert.confidence.0)?,
            Some(false) => writeln!(out, "  the event's confidence {} does NOT follow from this", alert.confidence.0)?,
            None => {}
        }
    }
    Ok(())
}
