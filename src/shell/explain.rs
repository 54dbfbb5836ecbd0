//! An alert derived again from the journal, or from recorded messages, and the sum behind it.
//!
//! Every event of the alert is shown with the findings of its bed at that moment: strength, age, weights, what each credits, the
//! rule that follows and the confidence, so that a reader can redo it by hand. Where a store holds the events as they were
//! published, both are compared. Of messages only OBX rows are shown, never who the patient is. The command line and HTTP call
//! the same [`explain`].

use crate::alert::{AlertEvent, EventKind};
use crate::check::Assessment;
use crate::config::Config;
use crate::fusion::{Account, Line};
use crate::hl7::{Message, Scratch};
use crate::shell::journal::{self, JournalError, Record};
use crate::shell::replay::input::{Input, Progress, run_id};
use crate::shell::replay::merge::Outcome;
use crate::shell::replay::pace::{Machine, Pace};
use crate::shell::replay::{Driver, Journal, Options, Range, ReplayError, Sink};
use crate::shell::store::AlertReader;
use crate::time::Timestamp;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// Bytes of recorded messages that are kept so that the rows of an alert can be shown.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Where the messages come from.
pub enum From<'a> {
    /// A journal, whole.
    Journal(&'a Journal),
    /// A journal, as little of it as is needed: from the newest snapshot before `raised` on, up to event `seq`.
    Part {
        journal: &'a Journal,
        raised: Timestamp,
        seq: u64,
    },
    Recordings(&'a [Input]),
}

/// What is to be explained.
pub struct Ask<'a> {
    pub config: &'a Config,
    /// The key under which the alert was raised.
    pub site_key: Vec<u8>,
    /// Id or short reference.
    pub alert: &'a str,
    pub from: From<'a>,
    /// Feed of recorded messages.
    pub feed: &'a str,
    /// Store that may hold what was published.
    pub store: &'a Path,
    /// Given up then.
    pub until: Option<Instant>,
}

/// Why nothing is explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("reading the recordings: {0}")]
    Input(#[from] std::io::Error),
    #[error("the site's time zone: {0}")]
    Zone(jiff::Error),
    #[error("it takes too long here: vitalguard explain takes its time")]
    TooLong,
}

impl std::convert::From<JournalError> for ExplainError {
    fn from(error: JournalError) -> ExplainError {
        ExplainError::Replay(error.into())
    }
}

/// What followed.
pub struct Explained {
    steps: Vec<Step>,
    published: Published,
    rows: Vec<((String, u32), String)>,
    /// Messages that were read, and alerts that were raised.
    pub messages: u64,
    pub alerts: u64,
    /// The model that judged other alerts, where this one did not come up.
    pub model: String,
    /// What was odd about recordings.
    pub outcomes: Vec<Outcome>,
}

impl Explained {
    /// Whether the alert came up.
    pub fn found(&self) -> bool {
        !self.steps.is_empty()
    }
    /// Whether what was derived differs from what was published, or a confidence does not follow.
    pub fn differs(&self) -> bool {
        matches!(self.published, Published::Differs(_)) || self.steps.iter().any(|step| agrees(step) == Some(false))
    }
    /// One object.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| step_object(step, &|raw, id| self.row(raw, id))).collect();
        let alert = self.steps.first().map(|step| step.event.alert.id.clone());
        json!({ "alert": alert, "published": self.published.word(), "events": steps })
    }
    /// For a person.
    pub fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        tell(&self.steps, &self.published, &|raw, id| self.row(raw, id), out)
    }
    fn row(&self, raw: &str, set_id: Option<u32>) -> Option<String> {
        let wanted = set_id?;
        self.rows.iter().find(|((key, id), _)| key == raw && *id == wanted).map(|(_, row)| row.clone())
    }
}

/// Derives an alert again.
pub fn explain(ask: &Ask<'_>) -> Result<Explained, ExplainError> {
    let seen = Rc::new(RefCell::new(Collected {
        wanted: ask.alert.to_owned(),
        keep: matches!(ask.from, From::Recordings(_)),
        until: ask.until,
        last_seq: match ask.from {
            From::Part { seq, .. } => Some(seq),
            _ => None,
        },
        ..Collected::default()
    }));
    let outcomes = match drive(ask, &seen) {
        Ok(outcomes) => outcomes,
        Err(ExplainError::Replay(ReplayError::Enough)) if seen.borrow().late => return Err(ExplainError::TooLong),
        Err(ExplainError::Replay(ReplayError::Enough)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut seen = std::mem::take(&mut *seen.borrow_mut());
    let steps = std::mem::take(&mut seen.steps);
    let published = published(ask.store, &steps);
    let mut rows = Vec::new();
    for line in steps.iter().filter_map(|step| step.account.as_ref()).flat_map(|account| &account.lines) {
        let (Some(raw), Some(id)) = (&line.raw, line.set_id) else { continue };
        let key = (raw.clone(), id);
        if !rows.iter().any(|(known, _)| *known == key)
            && ask.until.is_none_or(|until| Instant::now() < until)
            && let Some(row) = row_of(&ask.from, &seen, raw, id)
        {
            rows.push((key, row));
        }
    }
    let (messages, alerts, model) = (seen.messages, seen.alerts, seen.model);
    Ok(Explained { steps, published, rows, messages, alerts, model, outcomes })
}

fn drive(ask: &Ask<'_>, seen: &Rc<RefCell<Collected>>) -> Result<Vec<Outcome>, ExplainError> {
    let run = match &ask.from {
        From::Journal(journal) | From::Part { journal, .. } => journal.run.clone(),
        From::Recordings(inputs) => run_id(inputs)?,
    };
    let zone = jiff::tz::TimeZone::get(&ask.config.zone).map_err(ExplainError::Zone)?;
    let bytes_max = ask.config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
    let options = Options {
        run,
        feed: ask.feed.into(),
        feeds: Vec::new(),
        shift_to: None,
        judge: true,
        site_key: Some(ask.site_key.clone()),
    };
    let mut driver = Driver::new(ask.config, options, Pace::new(Machine::default(), None), vec![Box::new(Watch(seen.clone()))]);
    let summary = match &ask.from {
        From::Journal(journal) => driver.run_journal(journal)?,
        From::Part { journal, raised, .. } => {
            let mut from = 0;
            for (sequence, path) in journal::latest_snapshots(&journal.folder)? {
                let Ok(state) = journal::read_snapshot(&path) else { continue };
                if driver.resume(&state, *raised) {
                    from = sequence + 1;
                    break;
                }
            }
            driver.run_range(&journal.folder, &Range { first: from, ..Range::default() })?
        }
        From::Recordings(inputs) => driver.run(inputs, zone, bytes_max, Progress::default())?,
    };
    Ok(summary.outcomes)
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
    /// Given up then; and whether that came.
    until: Option<Instant>,
    late: bool,
    /// The event after which nothing more is wanted.
    last_seq: Option<u64>,
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
        if seen.messages.is_multiple_of(256) && seen.until.is_some_and(|until| Instant::now() >= until) {
            seen.late = true;
            return Err(ReplayError::Enough);
        }
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
            if seen.last_seq.is_some_and(|last| event.seq >= last) {
                return Err(ReplayError::Enough);
            }
        } else if seen.model.is_empty() {
            seen.model.clone_from(&event.alert.model);
        }
        Ok(())
    }
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

fn published(store: &Path, steps: &[Step]) -> Published {
    let Some(first) = steps.first() else { return Published::Unknown };
    let Some(kept) = AlertReader::open(store).ok().and_then(|reader| reader.events(&first.event.alert.id).ok()) else {
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
fn row_of(from: &From<'_>, seen: &Collected, raw: &str, set_id: u32) -> Option<String> {
    let number: u64 = raw.rsplit('.').next()?.parse().ok()?;
    let payload = match from {
        From::Recordings(_) => seen.kept.iter().find(|(n, _)| *n == number).map(|(_, payload)| payload.clone()),
        From::Journal(journal) | From::Part { journal, .. } => {
            match journal::read_one(&journal.folder, number).ok()??.stamped.record {
                Record::Frame { payload, .. } => Some(payload),
                _ => None,
            }
        }
    }?;
    let mut scratch = Scratch::default();
    let message = Message::read(&payload, &mut scratch).ok()?;
    let wanted = set_id.to_string();
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
