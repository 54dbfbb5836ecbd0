//! An alert derived again from the journal, or from recorded messages, and the sum behind it.
//!
//! Every event of the alert is shown with the findings of its bed at that moment: strength, age, weights, what each credits, the
//! rule that follows and the confidence, so that a reader can redo it by hand. Where a store holds the events as they were
//! published, both are compared. The model files that judged then are used where they were kept. Messages are shown with
//! the doubted fields marked and identities masked. The command line and HTTP call the same [`explain`].

mod curve;
mod page;
mod published;
mod sum;

use crate::alert::{AlertEvent, EventKind};
use crate::check::{Assessment, CheckId};
use crate::config::Config;
use crate::fusion::{Account, Line};
use crate::monitor::{BedId, Monitor};
use crate::shell::journal::{self, JournalError, Record};
use crate::shell::marked::{Doubt, segments};
use crate::shell::models;
use crate::shell::replay::input::{Input, Progress, run_id};
use crate::shell::replay::merge::Outcome;
use crate::shell::replay::pace::{Machine, Pace};
use crate::shell::replay::{Driver, Journal, Options, Range, ReplayError, Sink};
use crate::shell::store::{AlertReader, AlertRow};
use crate::time::Timestamp;
use curve::Curve;
use published::{Kept, Published};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// What came of an alert later than so long after it was raised is derived again only when that is asked for, seconds.
const AFTER_S: f64 = 300.0;
/// Messages that are shown at most.
const SHOWN_MAX: usize = 64;
/// Bytes of recorded messages that are kept so that those of an alert can be shown.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Where the messages come from.
pub enum From<'a> {
    /// A journal, whole.
    Journal(&'a Journal),
    /// A journal, as little of it as is needed: from the newest state some minutes before it was raised on, up to its last event
    /// some minutes later, or (`to_end`) its last one at all.
    Part {
        journal: &'a Journal,
        alert: &'a AlertRow,
        to_end: bool,
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
    /// The values are wanted, too, for [`Explained::to_html`].
    pub curves: bool,
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
    shown: Vec<Shown>,
    /// Messages that were read, and alerts that were raised.
    pub messages: u64,
    pub alerts: u64,
    /// The model that judged other alerts, where this one did not come up.
    pub model: String,
    models: Models,
    curve: Option<Curve>,
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
        let steps: Vec<Value> = self.steps.iter().map(|step| sum::step_object(step, &|line| self.segments(line))).collect();
        let alert = self.steps.first().map(|step| step.event.alert.id.clone());
        json!({
            "alert": alert, "published": self.published.word(), "models": self.models.word(),
            "messages": self.messages, "events": steps,
        })
    }
    /// For a person.
    pub fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        sum::tell(&self.steps, &self.published, &self.models.word(), &|line| self.segments(line), out)
    }
    /// One page that stands alone: the sums, the messages, and the values with what was expected and when each check spoke.
    pub fn to_html(&self) -> String {
        page::html(self)
    }
    /// The segments of the message that showed a finding, identities masked.
    fn segments(&self, line: &Line) -> &[Value] {
        self.shown.iter().find(|shown| shown.is(line)).map_or(&[], |shown| &shown.segments)
    }
}

/// Which model files decided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Models {
    /// The alert's own, as they are in force.
    Same,
    /// The alert's own, as they were kept.
    Kept,
    /// Others: the alert's, and what decided here.
    Other(String, String),
}

impl Models {
    fn word(&self) -> String {
        match self {
            Models::Same => "the alert's own, in force".into(),
            Models::Kept => "the alert's own, as kept since".into(),
            Models::Other(then, now) => format!("others: {then} judged then, {now} now"),
        }
    }
}

/// Derives an alert again.
pub fn explain(ask: &Ask<'_>) -> Result<Explained, ExplainError> {
    let mut config = ask.config.clone();
    let then = published_model(ask);
    let kept = then.as_ref().and_then(|model| models::kept(&ask.config.data, model));
    config.models = kept.clone().or(config.models);
    let place = match ask.from {
        From::Part { alert, .. } => Some((alert.ward.clone(), alert.bed.clone())),
        _ => None,
    };
    let known = place.is_some();
    let kept_events = match ask.from {
        From::Part { alert, .. } => Some(Kept::read(ask.store, &alert.id)),
        _ => None,
    };
    let last_seq = match (&ask.from, &kept_events) {
        (From::Part { alert, to_end: true, .. }, _) => Some(alert.seq),
        (From::Part { alert, .. }, Some(kept)) => Some(kept.last_until(alert.raised.plus_s(AFTER_S)).unwrap_or(alert.seq)),
        _ => None,
    };
    let mut seen = derive(ask, &config, place.filter(|_| ask.curves), last_seq)?;
    if ask.curves
        && !known
        && let Some(first) = seen.steps.first().map(|step| &step.event.alert)
    {
        // Only now it is known whose values are wanted.
        let place = (first.ward.clone(), first.bed.clone());
        seen = derive(ask, &config, Some(place), last_seq)?;
    }
    let steps = std::mem::take(&mut seen.steps);
    let published = match (kept_events, steps.first()) {
        (Some(kept), _) => kept.compare(&steps),
        (None, Some(first)) => Kept::read(ask.store, &first.event.alert.id).compare(&steps),
        (None, None) => Published::Unknown,
    };
    let models = match (then, steps.first().map(|step| step.event.alert.model.clone())) {
        (Some(then), Some(now)) if then != now => Models::Other(then, now),
        _ if kept.is_some() && kept != ask.config.models => Models::Kept,
        _ => Models::Same,
    };
    let mut shown: Vec<Shown> = Vec::new();
    for line in steps.iter().filter_map(|step| step.account.as_ref()).flat_map(|account| &account.lines) {
        let Some(raw) = &line.raw else { continue };
        if shown.iter().all(|known| !known.is(line))
            && shown.len() < SHOWN_MAX
            && ask.until.is_none_or(|until| Instant::now() < until)
            && let Some(payload) = payload_of(&ask.from, &seen, raw)
        {
            shown.push(Shown::of(line, &payload));
        }
    }
    let Collected { messages, alerts, model, curve, outcomes, .. } = seen;
    Ok(Explained { steps, published, shown, messages, alerts, model, models, curve, outcomes })
}

/// The model that the alert was raised under, where the store has it.
fn published_model(ask: &Ask<'_>) -> Option<String> {
    let object = match &ask.from {
        From::Part { alert, .. } => alert.json.clone(),
        _ => AlertReader::open(ask.store).ok()?.find(ask.alert).ok()??.json,
    };
    let object: Value = serde_json::from_slice(&object).ok()?;
    Some(object["model"].as_str()?.to_owned())
}

/// One pass over what was recorded; `place`: whose values are wanted; `last_seq`: the event after which nothing more is.
fn derive(
    ask: &Ask<'_>,
    config: &Config,
    place: Option<(String, String)>,
    last_seq: Option<u64>,
) -> Result<Collected, ExplainError> {
    let seen = Rc::new(RefCell::new(Collected {
        wanted: ask.alert.to_owned(),
        keep: matches!(ask.from, From::Recordings(_)),
        until: ask.until,
        last_seq,
        curve: place.map(|(ward, bed)| Curve::new(ward, bed)),
        ..Collected::default()
    }));
    let outcomes = match drive(ask, config, &seen) {
        Ok(outcomes) => outcomes,
        Err(ExplainError::Replay(ReplayError::Enough)) if seen.borrow().late => return Err(ExplainError::TooLong),
        Err(ExplainError::Replay(ReplayError::Enough)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut seen = std::mem::take(&mut *seen.borrow_mut());
    seen.outcomes = outcomes;
    Ok(seen)
}

fn drive(ask: &Ask<'_>, config: &Config, seen: &Rc<RefCell<Collected>>) -> Result<Vec<Outcome>, ExplainError> {
    let run = match &ask.from {
        From::Journal(journal) | From::Part { journal, .. } => journal.run.clone(),
        From::Recordings(inputs) => run_id(inputs)?,
    };
    let zone = jiff::tz::TimeZone::get(&config.zone).map_err(ExplainError::Zone)?;
    let bytes_max = config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
    let options = Options {
        run,
        feed: ask.feed.into(),
        feeds: Vec::new(),
        shift_to: None,
        judge: true,
        site_key: Some(ask.site_key.clone()),
    };
    let mut driver = Driver::new(config, options, Pace::new(Machine::default(), None), vec![Box::new(Watch(seen.clone()))]);
    let summary = match &ask.from {
        From::Journal(journal) => driver.run_journal(journal)?,
        From::Part { journal, alert, to_end } => {
            let resume = |state: &[u8], before| match driver.resume(state, before) {
                true => ControlFlow::Break(Some(())),
                false => ControlFlow::Continue(()),
            };
            let first = journal::before(&journal.folder, alert.raised, resume)?.map_or(0, |(_, first)| first);
            let to = if *to_end { Timestamp::MAX } else { alert.raised.plus_s(AFTER_S) };
            driver.run_range(&journal.folder, &Range { first, to, ..Range::default() })?
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
    curve: Option<Curve>,
    outcomes: Vec<Outcome>,
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
    fn wants_beds(&self) -> bool {
        self.0.borrow().curve.is_some()
    }
    fn bed(&mut self, monitor: &Monitor, bed: BedId) {
        if let Some(curve) = &mut self.0.borrow_mut().curve {
            curve.note(monitor, bed);
        }
    }
    fn account(&mut self, event: &AlertEvent, account: Option<&Account>) -> Result<(), ReplayError> {
        let mut seen = self.0.borrow_mut();
        seen.alerts += u64::from(event.event == EventKind::Raised);
        if event.alert.id == seen.wanted || event.alert.reference == seen.wanted {
            seen.steps.push(Step { event: event.clone(), account: account.cloned() });
            if let Some(curve) = &mut seen.curve {
                curve.hold();
            }
            if seen.last_seq.is_some_and(|last| event.seq >= last) {
                return Err(ReplayError::Enough);
            }
        } else if seen.model.is_empty() {
            seen.model.clone_from(&event.alert.model);
        }
        Ok(())
    }
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

/// A message that showed a finding, as it may be seen.
struct Shown {
    raw: String,
    check: CheckId,
    set_id: Option<u32>,
    segments: Vec<Value>,
}

impl Shown {
    fn of(line: &Line, payload: &[u8]) -> Shown {
        let (raw, check, set_id) = (line.raw.clone().unwrap_or_default(), line.check, line.set_id);
        let evidence = vec![(check.meta().id.to_owned(), set_id, None)];
        let doubt = Doubt { evidence, params: line.params.iter().collect(), ..Doubt::default() };
        Shown { raw, check, set_id, segments: segments(payload, &doubt, false).0 }
    }
    fn is(&self, line: &Line) -> bool {
        line.raw.as_ref() == Some(&self.raw) && line.check == self.check && line.set_id == self.set_id
    }
}

/// A message as it was received.
fn payload_of(from: &From<'_>, seen: &Collected, raw: &str) -> Option<Vec<u8>> {
    let (_, number) = journal::number_of(raw)?;
    match from {
        From::Recordings(_) => seen.kept.iter().find(|(n, _)| *n == number).map(|(_, payload)| payload.clone()),
        From::Journal(journal) | From::Part { journal, .. } => {
            match journal::read_one(&journal.folder, number).ok()??.stamped.record {
                Record::Frame { payload, .. } => Some(payload),
                _ => None,
            }
        }
    }
}
