//! A step, applied.

use super::bounds::{self, EXPORTS_MAX, FIELDS_MAX, FILINGS_MAX, ITEMS_MAX, KEEP_DAYS, NOTES_MAX};
use super::{Act, By, Case, Closed, Confirmed, Ended, Exported, Field, Filing, Held, Item, Note, Refused, State, Step};
use crate::time::Timestamp;
use std::collections::BTreeMap;

impl Case {
    /// A new case from its first act.
    pub fn open(act: &Act, sequence: u64, at: Timestamp) -> Result<Case, Refused> {
        let Step::Open { title, .. } = &act.step else { return Err(Refused::Unknown) };
        if !bounds::is_case_id(&act.case) {
            return Err(Refused::Malformed { what: "case", why: "is no case id" });
        }
        act.step.check(at)?;
        Ok(Case {
            id: act.case.clone(),
            version: 1,
            first_sequence: sequence,
            sequence,
            state: State::Open,
            title: title.clone(),
            opened: By { user: act.user.clone(), at },
            updated: at,
            items: Vec::new(),
            notes: Vec::new(),
            fields: BTreeMap::new(),
            confirmations: Vec::new(),
            filings: Vec::new(),
            exports: Vec::new(),
            closed: None,
            released: None,
        })
    }

    /// Applies a further act, record `sequence` of the journal. Refused: nothing has changed.
    pub fn apply(&mut self, act: &Act, sequence: u64, at: Timestamp) -> Result<(), Refused> {
        if let Step::Open { .. } = act.step {
            return Err(Refused::Exists);
        }
        let closes = matches!(act.step, Step::Close { .. });
        match (&self.closed, &act.step) {
            // Who closes what another has closed meanwhile learns that first: the version says less.
            (Some(closed), Step::Close { .. }) => return Err(Refused::Closed(closed.by.clone())),
            (None, Step::Reopen { .. } | Step::Release { .. }) => return Err(Refused::Open),
            _ => {}
        }
        if let Some(expected) = act.expect
            && expected != self.version
        {
            return Err(Refused::Stale { expected, now: self.version, at: self.updated });
        }
        // A closed case takes what is said of it, not of what happened.
        let afterwards = matches!(
            act.step,
            Step::Reopen { .. } | Step::Release { .. } | Step::Export { .. } | Step::Filed { .. } | Step::Note { .. }
        );
        if let Some(closed) = &self.closed
            && !afterwards
            && !closes
        {
            return Err(Refused::Closed(closed.by.clone()));
        }
        act.step.check(at)?;
        let by = By { user: act.user.clone(), at };
        self.change(&act.step, by, at)?;
        self.version += 1;
        self.sequence = sequence;
        self.updated = self.updated.max(at);
        Ok(())
    }

    /// What the step does; an error leaves everything as it was.
    fn change(&mut self, step: &Step, by: By, at: Timestamp) -> Result<(), Refused> {
        match step {
            Step::Open { .. } => return Err(Refused::Exists),
            Step::Add { item } => {
                room(self.items.len(), ITEMS_MAX, "items of a case")?;
                if let Some(known) = self.items.iter().find(|held| same(&held.item, item)) {
                    return Err(Refused::Known(known.number));
                }
                self.items.push(Held { number: self.version + 1, by, item: item.clone() });
            }
            Step::Note { text } => {
                room(self.notes.len(), NOTES_MAX, "notes of a case")?;
                self.notes.push(Note { by, text: text.clone() });
            }
            Step::Set { field, value } if value.is_empty() => {
                self.fields.remove(field);
            }
            Step::Set { field, value } => {
                if !self.fields.contains_key(field) {
                    room(self.fields.len(), FIELDS_MAX, "fields of a case")?;
                }
                self.fields.insert(field.clone(), Field { by, value: value.clone() });
            }
            Step::Confirm { kind, known_since } => {
                room(self.confirmations.len(), FILINGS_MAX, "confirmations of a case")?;
                if let Some(known) = self.confirmed().find(|known| known.kind == *kind) {
                    return Err(Refused::Confirmed { kind: kind.clone(), by: known.by.clone() });
                }
                self.confirmations.push(Confirmed { kind: kind.clone(), known_since: *known_since, by, withdrawn: None });
            }
            Step::Withdraw { kind, reason } => {
                let open = self.confirmations.iter_mut().find(|known| known.withdrawn.is_none() && known.kind == *kind);
                let open = open.ok_or_else(|| Refused::NotConfirmed(kind.clone()))?;
                open.withdrawn = Some(Ended { by, reason: reason.clone() });
            }
            Step::Filed { form, reference } => {
                room(self.filings.len(), FILINGS_MAX, "filings of a case")?;
                self.filings.push(Filing { by, form: form.clone(), reference: reference.clone() });
            }
            Step::Close { reason, keep_until } => {
                let keep_until = keep_until.unwrap_or_else(|| at.plus_s(KEEP_DAYS * 86_400.0));
                self.closed = Some(Closed { by, reason: reason.clone(), keep_until });
                self.state = State::Closed;
            }
            Step::Reopen { .. } => {
                self.closed = None;
                self.released = None;
                self.state = State::Open;
            }
            Step::Release { reason } => self.released = Some(Ended { by, reason: reason.clone() }),
            Step::Export { bundle, identified, sha256 } => {
                room(self.exports.len(), EXPORTS_MAX, "exports of a case")?;
                let (bundle, sha256) = (bundle.clone(), sha256.clone());
                self.exports.push(Exported { by, bundle, identified: *identified, sha256 });
            }
        }
        Ok(())
    }
}

fn room(there: usize, max: usize, what: &'static str) -> Result<(), Refused> {
    if there < max { Ok(()) } else { Err(Refused::TooMany { what, max }) }
}

/// Whether a second item would say the same as the first. A device may be added again: its entry has changed.
fn same(known: &Item, new: &Item) -> bool {
    match (known, new) {
        (Item::Capture { name, .. }, Item::Capture { name: other, .. }) => name == other,
        (one, other) => one == other,
    }
}
