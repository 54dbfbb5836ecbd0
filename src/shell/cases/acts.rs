//! From what a person asks to acts that the journal takes.

use super::{Place, gather};
use crate::case::{Act, Case, Item, Step, TEXT_CHARS_MAX, Way};
use crate::dossier::{self, Form, Kind};
use crate::shell::store::{AlertReader, AlertRow};
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Why nothing was made of a wish. The words are for the person who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum No {
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Unavailable(String),
}

/// Who asks, and how.
#[derive(Debug, Clone)]
pub struct Who {
    pub user: String,
    pub via: Way,
}

impl Who {
    /// An act of this person.
    pub fn act(&self, case: &str, expect: Option<u32>, step: Step) -> Act {
        let id = format!("c-{}", uuid::Uuid::now_v7().simple());
        Act { id, case: case.to_owned(), expect, user: self.user.clone(), via: self.via, step }
    }
}

/// What `open` is told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenWish {
    /// Id or short reference.
    pub alert: Option<String>,
    pub title: Option<String>,
    /// The bed's messages so long before and after, minutes.
    pub minutes: Option<f64>,
}

/// A case that is to be opened: its acts in order, and what could not be gathered.
#[derive(Debug)]
pub struct Opening {
    pub case: String,
    pub acts: Vec<Act>,
    pub missing: Vec<String>,
    /// The records that must be held before anything else.
    pub records: Option<(u64, u64)>,
    pub wards: Vec<String>,
}

/// The alert of a wish, as the store has it.
pub fn alert_of(place: &Place<'_>, wanted: &str) -> Result<AlertRow, No> {
    let store = AlertReader::open(place.store).map_err(|error| No::Unavailable(error.to_string()))?;
    let row = store.find(wanted).map_err(|error| No::Unavailable(error.to_string()))?;
    row.ok_or_else(|| No::NotFound(format!("no alert {wanted:.64} is kept here: it never was, or retention has taken it")))
}

/// The acts that open a case.
pub fn open(place: &Place<'_>, who: &Who, wish: &OpenWish, now: Timestamp) -> Result<Opening, No> {
    let row = wish.alert.as_deref().map(|wanted| alert_of(place, wanted)).transpose()?;
    let title = match (&wish.title, &row) {
        (Some(title), _) => title.clone(),
        (None, Some(row)) => format!("{}, {}/{}", row.condition, row.ward, row.bed),
        (None, None) => return Err(No::Bad("a case needs an alert or a title".into())),
    };
    let salt = crate::shell::key::random::<2>().map_or(0, u16::from_be_bytes);
    let case = Case::id_of(now, salt);
    let mut acts = vec![who.act(&case, None, Step::Open { title, alert: row.as_ref().map(|row| row.id.clone()) })];
    let mut missing = Vec::new();
    if let Some(row) = &row {
        let found = gather::alert(place, row, wish.minutes.unwrap_or(gather::MINUTES));
        acts.extend(added(&case, so_far(found.items, now)));
        acts.extend(said_missing(&case, &found.missing));
        missing = found.missing;
    }
    check(&acts, now)?;
    let records = acts.iter().filter_map(|act| match &act.step {
        Step::Add { item } => item.records(),
        _ => None,
    });
    let records = records.reduce(|(low, high), (first, last)| (low.min(first), high.max(last)));
    Ok(Opening { case, acts, missing, records, wards: row.into_iter().map(|row| row.ward).collect() })
}

/// What has not come yet is not gathered: a range that would go on ends now.
fn so_far(mut items: Vec<Item>, now: Timestamp) -> Vec<Item> {
    for item in &mut items {
        if let Item::Range { from, to, .. } = item {
            *to = (*to).min(now).max(*from);
        }
    }
    items
}

/// What the service adds by itself.
fn added(case: &str, items: Vec<Item>) -> Vec<Act> {
    let service = Who { user: "vitalguard".into(), via: Way::Auto };
    items.into_iter().map(|item| service.act(case, None, Step::Add { item })).collect()
}

/// What is missing stands in the case: nobody shall think that it was looked for and not there.
fn said_missing(case: &str, missing: &[String]) -> Option<Act> {
    let service = Who { user: "vitalguard".into(), via: Way::Auto };
    let text: String = format!("not gathered: {}", missing.join("; ")).chars().take(TEXT_CHARS_MAX).collect();
    (!missing.is_empty()).then(|| service.act(case, None, Step::Note { text }))
}

/// Acts that would be refused whatever the case is are not written.
fn check(acts: &[Act], now: Timestamp) -> Result<(), No> {
    for act in acts {
        act.step.check(now).map_err(|refused| No::Bad(refused.to_string()))?;
    }
    Ok(())
}

/// A step that is to be taken: its acts in order, and what could not be gathered.
#[derive(Debug)]
pub struct Stepping {
    pub acts: Vec<Act>,
    pub missing: Vec<String>,
    /// The ward of the alert that is added: what comes with it belongs to it.
    pub ward: Option<String>,
}

/// The acts of one step on a case as it is known: an `add` names what is to be gathered, everything else is the step itself.
pub fn step(
    place: &Place<'_>,
    who: &Who,
    known: &Case,
    expect: Option<u32>,
    wish: &Value,
    now: Timestamp,
) -> Result<Stepping, No> {
    let case = known.id.as_str();
    let bad = |error: serde_json::Error| No::Bad(format!("step: {error}"));
    if wish["step"] != "add" {
        let step: Step = serde_json::from_value(wish.clone()).map_err(bad)?;
        words(&step)?;
        let acts = vec![who.act(case, expect, step)];
        check(&acts, now)?;
        return Ok(Stepping { acts, missing: Vec::new(), ward: None });
    }
    let wanted: AddWish = serde_json::from_value(wish["item"].clone()).map_err(bad)?;
    let (mut items, mut missing, mut of_ward) = (Vec::new(), Vec::new(), None);
    match wanted {
        AddWish::Alert { id, minutes } => {
            let row = alert_of(place, &id)?;
            let found = gather::alert(place, &row, minutes.unwrap_or(gather::MINUTES));
            (items, missing, of_ward) = (found.items, found.missing, Some(row.ward));
        }
        AddWish::Range { ward, bed, from, to } => {
            let ranged = gather::range(place, &ward, &bed, from, to).map_err(|e| No::Unavailable(e.to_string()))?;
            items.extend(ranged.item);
            missing = ranged.missing;
        }
        AddWish::Messages { raw } => {
            for key in &raw {
                let there = crate::shell::journal::read_named(place.journal, key).map_err(|e| No::Unavailable(e.to_string()))?;
                if there.is_none() {
                    return Err(No::NotFound(format!("no message {key:.100} is kept here")));
                }
            }
            items.push(Item::Messages { raw });
        }
        AddWish::SpotCheck { sequence } | AddWish::Action { sequence } => {
            let entry = crate::shell::journal::read_one(place.journal, sequence).map_err(|e| No::Unavailable(e.to_string()))?;
            let record = entry.map(|entry| entry.stamped.record);
            items.push(match record {
                Some(crate::shell::journal::Record::Command(command)) => match command.verb {
                    crate::command::Verb::SpotCheck { .. } => Item::SpotCheck { sequence },
                    _ => Item::Action { sequence },
                },
                _ => return Err(No::NotFound(format!("record {sequence} is no command of a person, or is not kept any more"))),
            });
        }
        AddWish::Device { id } => items.push(gather::device(place, &id).map_err(No::NotFound)?),
    }
    if items.is_empty() {
        return Err(No::NotFound(missing.join("; ")));
    }
    // The first one is the person's, with the version that was seen; what comes with it is the service's.
    let mut items = so_far(items, now).into_iter();
    let mut acts: Vec<Act> = items.next().map(|item| who.act(case, expect, Step::Add { item })).into_iter().collect();
    acts.extend(added(case, items.collect()));
    acts.extend(said_missing(case, &missing));
    check(&acts, now)?;
    // All of them or none: where the first is refused, or somebody comes between, the others find another version.
    if acts.len() > 1 {
        for (place, act) in (0..).zip(&mut acts) {
            act.expect = Some(expect.unwrap_or(known.version).saturating_add(place));
        }
    }
    Ok(Stepping { acts, missing, ward: of_ward })
}

#[derive(Deserialize)]
#[serde(tag = "item", rename_all = "snake_case", deny_unknown_fields)]
enum AddWish {
    Alert {
        id: String,
        minutes: Option<f64>,
    },
    Messages {
        raw: Vec<String>,
    },
    Range {
        ward: String,
        bed: String,
        #[serde(with = "crate::alert::rfc3339")]
        from: Timestamp,
        #[serde(with = "crate::alert::rfc3339")]
        to: Timestamp,
    },
    SpotCheck {
        sequence: u64,
    },
    Action {
        sequence: u64,
    },
    Device {
        id: String,
    },
}

/// Words that the forms must know, and steps that have a way of their own.
fn words(step: &Step) -> Result<(), No> {
    let list = |words: Vec<&str>| words.join(", ");
    match step {
        Step::Open { .. } | Step::Export { .. } | Step::Add { .. } => {
            Err(No::Bad(format!("{} is no step of this kind", step.word())))
        }
        Step::Confirm { kind, .. } | Step::Withdraw { kind, .. } if Kind::parse(kind).is_none() => {
            Err(No::Bad(format!("kind: one of {}", list(Kind::ALL.iter().map(|kind| kind.as_str()).collect()))))
        }
        Step::Filed { form, .. } if Form::parse(form).is_none() => {
            Err(No::Bad(format!("form: one of {}", list(Form::ALL.iter().map(|form| form.as_str()).collect()))))
        }
        Step::Set { field, value } => dossier::check_value(field, value).map_err(|error| No::Bad(error.to_string())),
        _ => Ok(()),
    }
}
