//! Cases in the shell: who is told what became of a step, which cases are open, what they hold of the journal.
//!
//! One contract: a step is durable in the journal before it is applied, applied by the judging thread in the journal's order,
//! and answered after the store has it. What a case needs of the journal is held (`hold-case-…`, [`holds`]) before the step that
//! needs it is answered, until it is closed **and** its time is over or a person has let it go; what retention took before that is
//! gone. A step that is already contained (recovery) is not taken twice.

use crate::case::{Act, Case, Refused, Step};
use crate::config::Config;
use crate::document::ClockLine;
use crate::dossier::{self, Confirmation, Filing, Form, Kind, Withdrawn};
use crate::shell::devices::Listing;
use crate::shell::store::{CaseChange, StepRow, Store, StoreError};
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;
use tokio::sync::oneshot;

pub mod acts;
pub mod bundle;
pub mod check;
mod contents;
pub mod drafts;
pub mod export;
pub mod gather;
pub mod holds;
pub mod judge;
mod sealed;
pub mod shown;

pub use holds::{is_let_go, keep};

/// Where things are, for whoever gathers or exports.
pub struct Place<'a> {
    /// Folder of the journal.
    pub journal: &'a Path,
    /// File of the store.
    pub store: &'a Path,
    pub config: &'a Config,
    pub site_key: &'a [u8],
    /// Oldest record that is kept.
    pub oldest: u64,
    /// The inventory, where it can be asked.
    pub devices: Option<&'a Listing>,
    /// Given up then.
    pub until: Instant,
}

/// Open cases at most.
pub const CASES_OPEN_MAX: usize = 100;
/// Who waits for the answer to a step at most.
const WAITING_MAX: usize = 256;
/// A closed case is told of on MQTT for so long, ms: a day.
pub const TOLD_AFTER_CLOSING_MS: i64 = 86_400_000;

/// What became of an act.
pub type Outcome = Result<Case, Refused>;

/// Who waits for which act.
#[derive(Debug, Default)]
pub struct Answers(Mutex<HashMap<String, oneshot::Sender<Outcome>>>);

impl Answers {
    /// The answer to an act that will be stored; `None`: too many wait.
    pub fn expect(&self, act: &str) -> Option<oneshot::Receiver<Outcome>> {
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, sender| !sender.is_closed());
        }
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(act.to_owned(), sender);
        Some(receiver)
    }
    /// The judging thread has committed what an act did.
    pub(crate) fn give(&self, act: &str, outcome: Outcome) {
        if let Some(sender) = self.0.lock().remove(act) {
            // Who has gone away gets no answer.
            let _ = sender.send(outcome);
        }
    }
}

/// The cases as the judging thread knows them: those open or closed lately, others as they are asked for.
#[derive(Debug, Default)]
pub struct Cases {
    known: BTreeMap<String, Case>,
}

impl Cases {
    /// As the store has them.
    pub fn load(store: &Store, now: Timestamp) -> Result<Cases, StoreError> {
        let list = store.cases_since(now.plus_ms(-TOLD_AFTER_CLOSING_MS))?;
        Ok(Cases { known: list.into_iter().map(|case| (case.id.clone(), case)).collect() })
    }
    /// Everything that is known.
    pub fn iter(&self) -> impl Iterator<Item = &Case> {
        self.known.values()
    }
    /// Takes an act. `Ok(None)`: it is contained already. The store is asked for a case that is not known here.
    pub fn take(&mut self, store: &Store, act: &Act, sequence: u64, at: Timestamp) -> Result<Option<Taken>, StoreError> {
        if !self.known.contains_key(&act.case)
            && let Some(case) = store.case(&act.case)?
        {
            self.known.insert(act.case.clone(), case);
        }
        Ok(self.apply(act, sequence, at))
    }
    /// As [`take`](Self::take), of what is known here.
    pub fn apply(&mut self, act: &Act, sequence: u64, at: Timestamp) -> Option<Taken> {
        let open = self.known.values().filter(|case| case.closed.is_none()).count();
        let outcome = match (self.known.get_mut(&act.case), &act.step) {
            (Some(case), _) if sequence <= case.sequence => return None,
            (Some(case), _) => case.apply(act, sequence, at).map(|()| case.clone()),
            (None, Step::Open { .. }) if open >= CASES_OPEN_MAX => {
                Err(Refused::TooMany { what: "open cases", max: CASES_OPEN_MAX })
            }
            (None, Step::Open { .. }) => Case::open(act, sequence, at).inspect(|case| {
                self.known.insert(case.id.clone(), case.clone());
            }),
            (None, _) => Err(Refused::Unknown),
        };
        Some(match outcome {
            Ok(case) => {
                let step = StepRow { sequence, version: case.version, at, act: act.clone() };
                Taken::Changed(Box::new(CaseChange { case, step }))
            }
            Err(refused) => Taken::Refused(refused),
        })
    }
    /// Forgets those closed so long ago that nobody is told of them.
    pub fn forget(&mut self, now: Timestamp) {
        let over = |case: &Case| {
            case.closed.as_ref().is_some_and(|closed| now.since_ms(closed.by.at) >= TOLD_AFTER_CLOSING_MS) && !case.keeps(now)
        };
        self.known.retain(|_, case| !over(case));
    }
}

/// What became of an act.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    Changed(Box<CaseChange>),
    Refused(Refused),
}

/// What was confirmed, as the forms and clocks take it.
pub fn confirmations(case: &Case) -> Vec<Confirmation> {
    let one = |known: &crate::case::Confirmed| {
        Some(Confirmation {
            kind: Kind::parse(&known.kind)?,
            at: known.by.at,
            known_since: known.known_since,
            by: known.by.user.clone(),
            withdrawn: known.withdrawn.as_ref().map(|ended| Withdrawn {
                at: ended.by.at,
                by: ended.by.user.clone(),
                reason: ended.reason.clone(),
            }),
        })
    };
    case.confirmations.iter().filter_map(one).collect()
}

/// What was filed.
pub fn filings(case: &Case) -> Vec<Filing> {
    let one = |filing: &crate::case::Filing| {
        let (at, by, reference) = (filing.by.at, filing.by.user.clone(), filing.reference.clone());
        Some(Filing { form: Form::parse(&filing.form)?, at, by, reference })
    };
    case.filings.iter().filter_map(one).collect()
}

/// The clocks of what a person has confirmed, and no others.
pub fn clocks(case: &Case, zone: &str) -> Vec<dossier::Clock> {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    dossier::clocks(&confirmations(case), &filings(case), &zone)
}

/// The clocks that run, as MQTT tells of them.
pub fn clock_lines(case: &Case, zone: &str) -> Vec<ClockLine> {
    let running = clocks(case, zone).into_iter().filter(|clock| clock.is_running() && !clock.information);
    let one = |clock: dossier::Clock| ClockLine {
        id: clock.id,
        regime: clock.regime,
        term: clock.term,
        condition: clock.condition,
        starts_at: clock.starts_at,
        due_at: clock.due_at,
        source: clock.source,
        mark: clock.mark,
    };
    running.map(one).collect()
}

/// The folder of a case: what was copied for it.
pub fn captures_of(data: &Path, case: &str) -> std::path::PathBuf {
    data.join("cases").join(case)
}

/// The hold of a case's records.
pub fn hold_name(case: &str) -> String {
    format!("case-{case}")
}

/// The case of a hold; `None`: it is of something else.
pub fn case_of_hold(name: &str) -> Option<&str> {
    name.strip_prefix("case-").filter(|id| crate::case::is_case_id(id))
}
