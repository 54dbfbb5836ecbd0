//! Episodes: one fault of one bed over time, from the first verdict to the last event of its alert.
//!
//! *Pending* for the annunciation delay (identity, tamper and physiology none, else medium 10 s, low 20 s, on top of the
//! check's own hold), *firing* until the condition was clean for 300 s (silence and physiology 10 s), then cleared; a high that
//! nobody acknowledged stays, *latched*. At most one open alert for each bed and condition; a repeat raises its count. Each
//! alert's events are numbered without a gap from 1, and the last is exactly one `cleared` or `expired`.
//!
//! At most one tamper alert a bed and 30 min: further evidence joins the open one and may escalate it; after its end only
//! a higher one is raised within that time. More than 6 raises a bed and hour fold into one (S05), never tamper, identity,
//! physiology. Everything here moves by [`Episodes::step`] at the times that [`Episodes::deadline`] names.

use crate::alert::{
    Acked, Alert, AlertEvent, AlertState, By, Cause, EVIDENCE_MAX, EventKind, Evidence, Members, Number, Previous, Shelved,
    alert_id, reference,
};
use crate::check::{Arg, Assessment, CheckId, Priority};
use crate::command::Via;
use crate::fusion::{self, Finding, Findings, Tamper};
use crate::text::{Slots, Texts};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

/// P15: a person looks, not a check.
const BEDSIDE: CheckId = crate::check::id::spot_check;
/// A value check that could not look for this long has ended without proof, seconds.
const UNSEEN_S: f64 = 1800.0;

/// Where an episode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    Firing,
    /// The condition is over; a person has not seen it yet.
    Latched,
}

/// Who took note.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Note {
    pub user: String,
    pub at: Timestamp,
    pub via: Via,
    pub comment: Option<String>,
}

/// Who put it aside, and until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shelf {
    pub user: String,
    pub via: Via,
    pub until: Timestamp,
    pub reason: String,
}

/// One fault of one bed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Episode {
    pub check: CheckId,
    /// Empty while pending.
    pub id: String,
    pub phase: Phase,
    pub assessment: Assessment,
    pub priority: Priority,
    pub state: AlertState,
    pub params: ParamSet,
    /// Checks whose findings stand in its evidence; its own first.
    pub evidence: Vec<CheckId>,
    pub onset: Timestamp,
    pub raise_at: Timestamp,
    pub raised: Timestamp,
    pub updated: Timestamp,
    pub ended: Option<Timestamp>,
    pub count: u64,
    pub confidence: f64,
    pub acked: Option<Note>,
    /// Present exactly while its state is `shelved`.
    pub shelf: Option<Shelf>,
    pub cause_of: Vec<String>,
    pub because: Option<String>,
    pub seq: u64,
    /// Beds behind a notice of a gateway or ward; 0: an alert of one bed.
    pub beds: u32,
    /// Bed revision at its raise or last escalation.
    pub escalated_rev: u64,
    occurrences: u64,
    dirty: bool,
    change_cause: Cause,
    changes_at: Timestamp,
    /// What the last event said.
    told: Option<(Assessment, Priority)>,
}

impl Episode {
    pub fn open(&self) -> bool {
        self.phase != Phase::Pending
    }
    /// Whether its condition holds (or its hysteresis is not over).
    pub fn holds(&self) -> bool {
        self.phase == Phase::Firing
    }
    /// Not acknowledged.
    pub fn unacked(&self) -> bool {
        matches!(self.state, AlertState::Active | AlertState::Latched)
    }
}

/// What is needed to write an alert.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub site: &'a str,
    pub ward: &'a str,
    pub bed: &'a str,
    /// Revision of the bed, before this input.
    pub rev: u64,
    pub zone: &'a jiff::tz::TimeZone,
    /// `sha256:` and 16 hex digits.
    pub model: &'a str,
    pub device: Option<&'a str>,
    pub limits: &'a crate::config::Episodes,
    pub publish_comments: bool,
    /// The profile of the bed's device was reviewed.
    pub reviewed: bool,
    /// S05, where the catalogue has it.
    pub flood: Option<CheckId>,
    /// A bed of its own; false for the notices of wards and of the installation, which are not fused and not delayed again.
    pub alone: bool,
}

/// The episodes of one bed, in the order in which they began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Episodes {
    pub list: Vec<Episode>,
    /// Raises that count against the budget, oldest first.
    raises: Vec<Timestamp>,
    tamper_raised: Option<(Timestamp, Priority)>,
}

impl Episodes {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    pub fn open(&self) -> impl Iterator<Item = &Episode> {
        self.list.iter().filter(|e| e.open())
    }
    pub fn by_id(&self, id: &str) -> Option<&Episode> {
        self.open().find(|e| e.id == id)
    }

    /// Lets time and findings move the episodes; events go to `out`.
    pub fn step(&mut self, findings: &Findings, now: Timestamp, desk: &Desk<'_>, out: &mut Vec<AlertEvent>) {
        if findings.rows.is_empty() && self.list.is_empty() {
            return;
        }
        let tamper = if desk.alone { findings.tamper(now, desk.limits.agree_s, desk.reviewed) } else { None };
        // What may not be raised again yet, or no longer holds, hides nothing: its rows then speak for themselves.
        let taken = tamper.as_ref().filter(|tamper| self.take_tamper(tamper, findings, now, desk));
        let waits_until = match &tamper {
            Some(_) if taken.is_none() => self.tamper_raised.map(|(raised, _)| raised.plus_s(desk.limits.rearm_s)),
            _ => None,
        };
        for row in &findings.rows {
            self.take_row(row, findings, taken, waits_until.filter(|until| *until > now), now, desk);
        }
        for episode in &mut self.list {
            // What was to change by now has changed, or its row no longer holds.
            if episode.changes_at <= now {
                episode.changes_at = Timestamp::MAX;
            }
        }
        self.fold_silence(now);
        let mut at = 0;
        while at < self.list.len() {
            let keep = self.step_one(at, findings, now, desk, out);
            if keep {
                at += 1;
            } else {
                self.list.remove(at);
            }
        }
    }

    /// One tamper alert of a bed: the open one grows, or the strongest finding becomes it. False: none may be raised now.
    fn take_tamper(&mut self, tamper: &Tamper, findings: &Findings, now: Timestamp, desk: &Desk<'_>) -> bool {
        let open = self.list.iter().position(|e| e.assessment == Assessment::Tamper && e.phase != Phase::Pending);
        let at = match open.or_else(|| self.list.iter().position(|e| e.assessment == Assessment::Tamper)) {
            Some(at) => at,
            None if !self.rearmed(tamper.priority, now, desk) => return false,
            None => {
                // The strongest that still holds names it.
                let holds = |check: CheckId| findings.row(check).is_some_and(Finding::holds);
                let first = std::iter::once(&tamper.lead).chain(&tamper.rows).find(|check| holds(**check));
                let Some(row) = first.and_then(|check| findings.row(*check)) else { return false };
                // An alert that it has already becomes tampering.
                match self.list.iter().position(|e| e.check == row.check) {
                    Some(at) => at,
                    None => {
                        self.list.push(begin(row, Assessment::Tamper, now));
                        self.list.len() - 1
                    }
                }
            }
        };
        if self.list[at].phase == Phase::Pending {
            self.list[at].raise_at = now;
        }
        let episode = &mut self.list[at];
        for check in &tamper.rows {
            if !episode.evidence.contains(check) {
                episode.evidence.push(*check);
                if episode.open() {
                    episode.count += 1;
                    episode.dirty = true;
                }
            }
        }
        let params = if tamper.params.is_empty() { episode.params } else { episode.params.union(tamper.params) };
        episode.dirty |= episode.open() && params != episode.params;
        episode.params = params;
        // How sure it was of something else counts for nothing here.
        let known = if episode.assessment == Assessment::Tamper { episode.confidence } else { 0.0 };
        let confidence = known.max(tamper.confidence);
        episode.dirty |= episode.open() && confidence - episode.confidence >= 0.05;
        episode.confidence = confidence;
        let grown = episode.confidence >= 0.9 && (episode.params.is_empty() || episode.params.len() >= 2);
        let priority = tamper.priority.min(if grown { Priority::High } else { Priority::Medium });
        // Once tampering, it stays so until it is over: an alert that goes up and down is not read.
        let priority = if episode.assessment == Assessment::Tamper { priority.min(episode.priority) } else { priority };
        episode.set(Assessment::Tamper, priority, Timestamp::MAX);
        true
    }

    /// Whether a new tamper alert may be raised now.
    fn rearmed(&self, priority: Priority, now: Timestamp, desk: &Desk<'_>) -> bool {
        self.tamper_raised.is_none_or(|(raised, before)| now.since_s(raised) >= desk.limits.rearm_s || priority < before)
    }

    /// `waits_until`: a tamper alert may not be raised again before; until then what it would say is on the engineers' list.
    fn take_row(
        &mut self,
        row: &Finding,
        findings: &Findings,
        tamper: Option<&Tamper>,
        waits_until: Option<Timestamp>,
        now: Timestamp,
        desk: &Desk<'_>,
    ) {
        let Some(mut assessment) = findings.assess(row, now).filter(|_| row.fails) else { return };
        if waits_until.is_some() && assessment == Assessment::Tamper {
            assessment = Assessment::Unverified;
        }
        let waits_until = waits_until.unwrap_or(Timestamp::MAX);
        let own = self.list.iter().position(|e| e.check == row.check);
        let coexists = self
            .list
            .iter()
            .any(|e| (e.open() || e.raise_at <= now) && matches!(e.assessment, Assessment::Tamper | Assessment::Identity));
        match own {
            Some(at) => {
                let episode = &mut self.list[at];
                if row.holds() && row.occurrences != episode.occurrences {
                    if episode.open() {
                        episode.count += row.occurrences.saturating_sub(episode.occurrences);
                        episode.dirty = true;
                    }
                    episode.occurrences = row.occurrences;
                }
                if row.params.minus(episode.params) != ParamSet::EMPTY && !episode.params.is_empty() {
                    episode.params = episode.params.union(row.params);
                    episode.dirty |= episode.open();
                }
                if (episode.assessment == Assessment::Tamper && desk.alone) || !row.holds() {
                    return;
                }
                let (priority, changes_at) = fusion::priority(row, assessment, now, coexists, desk.limits);
                episode.confidence = fusion::confidence(row);
                episode.set(assessment, priority, changes_at.min(waits_until));
            }
            None if row.holds() => {
                // What supports the tamper alert is told there.
                if tamper.is_some_and(|t| t.rows.contains(&row.check))
                    || self.list.iter().any(|e| e.assessment == Assessment::Tamper && e.evidence.contains(&row.check))
                {
                    return;
                }
                let (priority, changes_at) = fusion::priority(row, assessment, now, coexists, desk.limits);
                let mut episode = begin(row, assessment, now);
                episode.confidence = fusion::confidence(row);
                episode.set(assessment, priority, changes_at.min(waits_until));
                episode.raise_at =
                    if desk.alone && row.check != BEDSIDE { now.plus_s(delay_s(assessment, priority, desk.limits)) } else { now };
                self.list.push(episode);
            }
            None => {}
        }
    }

    /// A lost bed folds its stale parameters.
    fn fold_silence(&mut self, _now: Timestamp) {
        let lost = self.list.iter().find(|e| e.open() && e.check.meta().id == "M03").map(|e| e.id.clone());
        let Some(lost) = lost else { return };
        let mut folded = Vec::new();
        for episode in &mut self.list {
            let parameter = matches!(episode.check.meta().id, "M01" | "M02" | "M06" | "M08" | "P05");
            if parameter && episode.open() && episode.because.is_none() {
                episode.because = Some(lost.clone());
                episode.dirty = true;
                folded.push(episode.id.clone());
            }
        }
        if let Some(episode) = self.list.iter_mut().find(|e| e.id == lost && !folded.is_empty()) {
            episode.cause_of.append(&mut folded);
            episode.dirty = true;
        }
    }

    /// Moves one episode; false when it is over.
    fn step_one(&mut self, at: usize, findings: &Findings, now: Timestamp, desk: &Desk<'_>, out: &mut Vec<AlertEvent>) -> bool {
        let over = over(&self.list[at], findings);
        match self.list[at].phase {
            Phase::Pending => {
                if over.is_some() {
                    return false;
                }
                if now < self.list[at].raise_at {
                    return true;
                }
                self.raise(at, findings, now, desk, out);
                true
            }
            Phase::Firing => {
                if let Some(clean_since) = over {
                    let clear_at = clean_since.plus_s(clear_s(&self.list[at], desk.limits));
                    if now >= clear_at {
                        return self.end(at, EventKind::Cleared, findings, now, desk, Cause::Rule, out);
                    }
                } else if now >= unseen_at(&self.list[at], findings) {
                    return self.end(at, EventKind::Expired, findings, now, desk, Cause::Rule, out);
                }
                if self.list[at].shelf.as_ref().is_some_and(|shelf| now >= shelf.until) {
                    self.take_down(at, by_itself(), Cause::Rule, findings, now, desk, out);
                }
                self.tell_changes(at, findings, now, desk, out);
                true
            }
            Phase::Latched => {
                // It came back: something found it again since. A check that can only not look has not.
                let ended = self.list[at].ended.unwrap_or(now);
                let again = |c: &CheckId| findings.row(*c).is_some_and(|r| r.holds() && r.last_at > ended);
                if over.is_none() && self.list[at].evidence.iter().any(again) {
                    let episode = &mut self.list[at];
                    let prev = Some(episode.previous());
                    episode.phase = Phase::Firing;
                    episode.state = AlertState::Active;
                    episode.ended = None;
                    self.tell(at, EventKind::Updated, prev, None, Cause::Rule, findings, now, desk, out);
                }
                true
            }
        }
    }

    fn raise(&mut self, at: usize, findings: &Findings, now: Timestamp, desk: &Desk<'_>, out: &mut Vec<AlertEvent>) {
        let episode = &mut self.list[at];
        episode.phase = Phase::Firing;
        episode.raised = now;
        let params: Vec<Parameter> = published(episode.params).collect();
        episode.id = alert_id(desk.site, desk.ward, desk.bed, episode.check.meta().id, &params, episode.onset);
        episode.dirty = false;
        episode.escalated_rev = desk.rev + 1;
        if episode.assessment == Assessment::Tamper {
            self.tamper_raised = Some((now, episode.priority));
        }
        let (id, check) = (episode.id.clone(), episode.check);
        let free = matches!(episode.assessment, Assessment::Tamper | Assessment::Identity | Assessment::Physiology)
            || episode.priority == Priority::Info
            || Some(check) == desk.flood;
        if !free {
            self.raises.retain(|raised| now.since_s(*raised) < 3600.0);
            let limit = desk.limits.raises_per_hour.max(1) as usize;
            if self.raises.len() >= limit
                && let Some(flood) = desk.flood
            {
                self.fold_flood(at, flood, findings, now, desk, out);
            } else {
                self.raises.push(now);
            }
        }
        // What became evidence of tampering and has an alert of its own is folded under it.
        if self.list[at].assessment == Assessment::Tamper {
            self.fold_under(at, &id);
        }
        self.tell(at, EventKind::Raised, None, None, Cause::Rule, findings, now, desk, out);
    }

    fn fold_under(&mut self, at: usize, id: &str) {
        let evidence = self.list[at].evidence.clone();
        let mut folded = Vec::new();
        for (other, episode) in self.list.iter_mut().enumerate() {
            if other != at && episode.open() && evidence.contains(&episode.check) && episode.because.is_none() {
                episode.because = Some(id.to_owned());
                episode.dirty = true;
                folded.push(episode.id.clone());
            }
        }
        self.list[at].cause_of.append(&mut folded);
    }

    /// One "unstable signal" for all that is over the budget.
    fn fold_flood(
        &mut self,
        at: usize,
        flood: CheckId,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let folded = self.list[at].id.clone();
        let card = match self.list.iter().position(|e| e.check == flood && e.phase != Phase::Pending) {
            Some(card) => card,
            None => {
                let mut episode = blank(flood, Assessment::Artefact, now);
                episode.phase = Phase::Firing;
                episode.priority = Priority::Low;
                episode.raised = now;
                episode.confidence = 0.99;
                episode.id = alert_id(desk.site, desk.ward, desk.bed, flood.meta().id, &[], now);
                episode.escalated_rev = desk.rev + 1;
                episode.cause_of.push(folded.clone());
                self.list.push(episode);
                let card = self.list.len() - 1;
                self.tell(card, EventKind::Raised, None, None, Cause::Collapse, findings, now, desk, out);
                card
            }
        };
        let episode = &mut self.list[card];
        if !episode.cause_of.contains(&folded) {
            episode.cause_of.push(folded);
            episode.count += 1;
            episode.dirty = true;
        }
        self.list[at].because = Some(self.list[card].id.clone());
    }

    fn tell_changes(&mut self, at: usize, findings: &Findings, now: Timestamp, desk: &Desk<'_>, out: &mut Vec<AlertEvent>) {
        let episode = &mut self.list[at];
        if let Some(told) = episode.told_priority()
            && told != (episode.assessment, episode.priority)
        {
            let (assessment, priority) = told;
            let mut prev = Previous { priority, state: episode.state };
            let rises = episode.priority < priority;
            // What is not to be put aside ends the shelf, and so does what became something else.
            if episode.shelf.is_some() && (rises || assessment != episode.assessment) {
                let now_is = (episode.assessment, episode.priority);
                (episode.assessment, episode.priority) = (assessment, priority);
                self.take_down(at, by_itself(), Cause::Rule, findings, now, desk, out);
                let episode = &mut self.list[at];
                (episode.assessment, episode.priority) = now_is;
                prev.state = episode.state;
            }
            let episode = &mut self.list[at];
            if rises {
                episode.escalated_rev = desk.rev + 1;
                if episode.state == AlertState::Acknowledged {
                    episode.acked = None;
                    episode.state = AlertState::Active;
                    let now_priority = episode.priority;
                    episode.priority = priority;
                    self.tell(
                        at,
                        EventKind::Unacknowledged,
                        Some(prev),
                        Some(by_itself()),
                        Cause::Rule,
                        findings,
                        now,
                        desk,
                        out,
                    );
                    self.list[at].priority = now_priority;
                    prev.state = AlertState::Active;
                }
            }
            let episode = &mut self.list[at];
            if episode.assessment == Assessment::Tamper {
                let (id, first) = (episode.id.clone(), assessment != Assessment::Tamper);
                if first || rises {
                    let raised = self.tamper_raised.map_or(now, |(raised, _)| raised);
                    self.tamper_raised = Some((if first { now } else { raised }, self.list[at].priority));
                    self.fold_under(at, &id);
                }
            }
            let kind = match self.list[at].priority.cmp(&priority) {
                std::cmp::Ordering::Less => EventKind::Escalated,
                std::cmp::Ordering::Greater => EventKind::Lowered,
                std::cmp::Ordering::Equal => EventKind::Updated,
            };
            self.tell(at, kind, Some(prev), None, Cause::Rule, findings, now, desk, out);
        } else if episode.dirty && now.since_s(episode.updated) >= desk.limits.update_s {
            let (prev, cause) = (Some(episode.previous()), episode.change_cause);
            self.tell(at, EventKind::Updated, prev, None, cause, findings, now, desk, out);
        }
    }

    /// Closes an episode, or latches it; false when it is gone.
    #[allow(clippy::too_many_arguments)]
    fn end(
        &mut self,
        at: usize,
        kind: EventKind,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        cause: Cause,
        out: &mut Vec<AlertEvent>,
    ) -> bool {
        let episode = &mut self.list[at];
        let prev = Some(episode.previous());
        episode.ended.get_or_insert(now);
        let latch = episode.priority == Priority::High && episode.unacked() && cause == Cause::Rule;
        if latch {
            episode.phase = Phase::Latched;
            episode.state = AlertState::Latched;
            self.tell(at, EventKind::Updated, prev, None, cause, findings, now, desk, out);
            return true;
        }
        episode.state = AlertState::Cleared;
        episode.shelf = None;
        self.tell(at, kind, prev, None, cause, findings, now, desk, out);
        let id = self.list[at].id.clone();
        for other in &mut self.list {
            let folded = other.cause_of.len();
            other.cause_of.retain(|c| *c != id);
            if Some(other.check) == desk.flood && other.cause_of.len() < folded && other.open() {
                // From the end of the last that was folded on the card's own time of clearing runs.
                other.updated = now;
                other.dirty = true;
            }
            if other.because.as_ref() == Some(&id) {
                other.because = None;
                other.dirty |= other.open();
            }
        }
        false
    }

    /// Ends what a person says is over: everything but what is led by a check that stays.
    pub fn expire_some(
        &mut self,
        stays: impl Fn(CheckId) -> bool,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        cause: Cause,
        out: &mut Vec<AlertEvent>,
    ) {
        let mut at = 0;
        while at < self.list.len() {
            if stays(self.list[at].check) {
                at += 1;
                continue;
            }
            if self.list[at].open() {
                self.end(at, EventKind::Expired, findings, now, desk, cause, out);
            }
            self.list.remove(at);
        }
    }

    /// Ends what a bed's patient leaves behind: everything but what is led by a check that stays.
    pub fn expire_but(
        &mut self,
        stays: impl Fn(CheckId) -> bool,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        cause: Cause,
        out: &mut Vec<AlertEvent>,
    ) {
        self.list.retain(|e| e.open() || stays(e.check));
        for episode in self.list.iter_mut().filter(|e| stays(e.check)) {
            episode.evidence.retain(|check| stays(*check));
        }
        self.expire_some(stays, findings, now, desk, cause, out);
        self.raises.clear();
        if !self.list.iter().any(|e| e.assessment == Assessment::Tamper) {
            self.tamper_raised = None;
        }
    }

    /// A person takes note. Their words are published only where that is enabled.
    pub fn acknowledge(
        &mut self,
        id: &str,
        note: Note,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let Some(at) = self.list.iter().position(|e| e.open() && e.id == id) else { return };
        let latched = self.list[at].phase == Phase::Latched;
        let by = By { user: note.user.clone(), via: note.via, comment: note.comment.clone().filter(|_| desk.publish_comments) };
        let episode = &mut self.list[at];
        let prev = Some(episode.previous());
        episode.acked = Some(note);
        episode.shelf = None;
        episode.state = AlertState::Acknowledged;
        if episode.assessment == Assessment::Advisory {
            episode.priority = Priority::Info;
        }
        self.tell(at, EventKind::Acknowledged, prev, Some(by), Cause::Operator, findings, now, desk, out);
        if latched && !self.end(at, EventKind::Cleared, findings, now, desk, Cause::Rule, out) {
            self.list.remove(at);
        }
    }

    /// A person takes the note back: the alert waits for one again.
    pub fn unacknowledge(
        &mut self,
        id: &str,
        by: By,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let acked = |e: &Episode| e.open() && e.id == id && e.state == AlertState::Acknowledged;
        let Some(at) = self.list.iter().position(acked) else { return };
        let episode = &mut self.list[at];
        let prev = Some(episode.previous());
        episode.acked = None;
        episode.state = AlertState::Active;
        self.tell(at, EventKind::Unacknowledged, prev, Some(by), Cause::Operator, findings, now, desk, out);
    }

    /// A person puts it aside; false where that is not allowed: a high one, physiology, and what is over.
    pub fn shelve(
        &mut self,
        id: &str,
        shelf: Shelf,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) -> bool {
        let Some(at) = self.list.iter().position(|e| e.open() && e.id == id) else { return false };
        let episode = &mut self.list[at];
        let high = episode.priority == Priority::High || episode.told_priority().is_some_and(|(_, p)| p == Priority::High);
        if high || episode.assessment == Assessment::Physiology || episode.phase != Phase::Firing {
            return false;
        }
        let by = By { user: shelf.user.clone(), via: shelf.via, comment: None };
        let prev = Some(episode.previous());
        episode.shelf = Some(shelf);
        episode.state = AlertState::Shelved;
        self.tell(at, EventKind::Shelved, prev, Some(by), Cause::Operator, findings, now, desk, out);
        true
    }

    /// A person takes it down again.
    pub fn unshelve(
        &mut self,
        id: &str,
        by: By,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        if let Some(at) = self.list.iter().position(|e| e.open() && e.id == id && e.shelf.is_some()) {
            self.take_down(at, by, Cause::Operator, findings, now, desk, out);
        }
    }

    /// It is on the shelf no more; who took note of it before still has.
    #[allow(clippy::too_many_arguments)]
    fn take_down(
        &mut self,
        at: usize,
        by: By,
        cause: Cause,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let episode = &mut self.list[at];
        let prev = Some(episode.previous());
        episode.shelf = None;
        episode.state = if episode.acked.is_some() { AlertState::Acknowledged } else { AlertState::Active };
        self.tell(at, EventKind::Unshelved, prev, Some(by), cause, findings, now, desk, out);
    }

    /// A person's words on an alert.
    pub fn comment(
        &mut self,
        id: &str,
        note: Note,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let Some(at) = self.list.iter().position(|e| e.open() && e.id == id) else { return };
        let by = By { user: note.user, via: note.via, comment: note.comment.filter(|_| desk.publish_comments) };
        let prev = Some(self.list[at].previous());
        self.tell(at, EventKind::Updated, prev, Some(by), Cause::Operator, findings, now, desk, out);
    }

    /// Folds an alert under that of its gateway or ward.
    pub fn fold(&mut self, id: &str, because: Option<&str>) {
        if let Some(episode) = self.list.iter_mut().find(|e| e.open() && e.id == id) {
            if episode.because.as_deref() == because {
                return;
            }
            episode.because = because.map(str::to_owned);
            episode.dirty = true;
            episode.change_cause = Cause::Collapse;
        }
    }

    /// The alerts that a gateway's or ward's one stands for.
    pub fn set_members<'a>(&mut self, check: CheckId, members: impl Iterator<Item = &'a str>, beds: u32, priority: Priority) {
        if let Some(episode) = self.list.iter_mut().find(|e| e.check == check) {
            episode.cause_of.clear();
            episode.cause_of.extend(members.map(str::to_owned));
            episode.dirty |= episode.open() && episode.beds != beds;
            episode.count = episode.count.max(u64::from(beds));
            episode.beds = beds;
            if priority < episode.priority {
                let assessment = episode.assessment;
                episode.set(assessment, priority, Timestamp::MAX);
            }
        }
    }

    /// When the next of them moves by itself.
    pub fn deadline(&self, findings: &Findings, desk_limits: &crate::config::Episodes) -> Timestamp {
        let mut next = Timestamp::MAX;
        for episode in &self.list {
            let at = match episode.phase {
                Phase::Pending => episode.raise_at,
                Phase::Latched => Timestamp::MAX,
                Phase::Firing => {
                    let end = match over(episode, findings) {
                        Some(clean_since) => clean_since.plus_s(clear_s(episode, desk_limits)),
                        None => unseen_at(episode, findings),
                    };
                    let update = if episode.dirty { episode.updated.plus_s(desk_limits.update_s) } else { Timestamp::MAX };
                    let shelf = episode.shelf.as_ref().map_or(Timestamp::MAX, |shelf| shelf.until);
                    end.min(update).min(episode.changes_at).min(shelf)
                }
            };
            next = next.min(at);
        }
        next
    }

    /// We were away for so long: what was to happen in the meantime happens later.
    pub fn shift(&mut self, by_ms: i64, since: Timestamp) {
        for episode in &mut self.list {
            if episode.phase == Phase::Pending && episode.raise_at > since {
                episode.raise_at = episode.raise_at.plus_ms(by_ms);
            }
        }
    }

    /// The alert of an open episode.
    pub fn alert(&self, episode: &Episode, findings: &Findings, now: Timestamp, desk: &Desk<'_>) -> Alert {
        write(episode, findings, now, desk, self.coexists(episode, now))
    }

    fn coexists(&self, episode: &Episode, now: Timestamp) -> bool {
        let accused = |e: &Episode| matches!(e.assessment, Assessment::Tamper | Assessment::Identity);
        let other = |f: &dyn Fn(&Episode) -> bool| self.list.iter().any(|e| (e.open() || e.raise_at <= now) && f(e));
        let physiology = |e: &Episode| e.assessment == Assessment::Physiology;
        (accused(episode) && other(&physiology)) || (physiology(episode) && other(&accused))
    }

    #[allow(clippy::too_many_arguments)]
    fn tell(
        &mut self,
        at: usize,
        event: EventKind,
        prev: Option<Previous>,
        by: Option<By>,
        cause: Cause,
        findings: &Findings,
        now: Timestamp,
        desk: &Desk<'_>,
        out: &mut Vec<AlertEvent>,
    ) {
        let episode = &mut self.list[at];
        episode.seq += 1;
        episode.updated = now;
        if event != EventKind::Unacknowledged {
            episode.dirty = false;
            episode.change_cause = Cause::Rule;
        }
        let episode = &self.list[at];
        let alert = write(episode, findings, now, desk, self.coexists(episode, now));
        out.push(AlertEvent { event, seq: episode.seq, ts: now, alert, prev, by, cause });
        let episode = &mut self.list[at];
        if event != EventKind::Unacknowledged {
            episode.told = Some((episode.assessment, episode.priority));
        }
    }
}

impl Episode {
    fn previous(&self) -> Previous {
        Previous { priority: self.told.map_or(self.priority, |(_, priority)| priority), state: self.state }
    }
    fn told_priority(&self) -> Option<(Assessment, Priority)> {
        self.told
    }
    fn set(&mut self, assessment: Assessment, priority: Priority, changes_at: Timestamp) {
        self.assessment = assessment;
        self.priority = priority;
        self.changes_at = changes_at;
    }
}

/// A timer or a rule has acted in a person's place.
fn by_itself() -> By {
    By { user: "vitalguard".into(), via: Via::Auto, comment: None }
}

fn blank(check: CheckId, assessment: Assessment, now: Timestamp) -> Episode {
    Episode {
        check,
        id: String::new(),
        phase: Phase::Pending,
        assessment,
        priority: Priority::Info,
        state: AlertState::Active,
        params: ParamSet::EMPTY,
        evidence: vec![check],
        onset: now,
        raise_at: now,
        raised: now,
        updated: now,
        ended: None,
        count: 1,
        confidence: 0.0,
        acked: None,
        shelf: None,
        cause_of: Vec::new(),
        because: None,
        seq: 0,
        beds: 0,
        escalated_rev: 0,
        occurrences: 1,
        dirty: false,
        change_cause: Cause::Rule,
        changes_at: Timestamp::MAX,
        told: None,
    }
}

fn begin(row: &Finding, assessment: Assessment, now: Timestamp) -> Episode {
    Episode { params: row.params, onset: row.onset.min(now), occurrences: row.occurrences, ..blank(row.check, assessment, now) }
}

/// Time between the check's hold and the raise, seconds.
fn delay_s(assessment: Assessment, priority: Priority, limits: &crate::config::Episodes) -> f64 {
    match (assessment, priority) {
        (Assessment::Identity | Assessment::Tamper | Assessment::Physiology, _) | (_, Priority::High) => 0.0,
        (_, Priority::Medium) => limits.annunciation_medium_s,
        (_, Priority::Low | Priority::Info) => limits.annunciation_low_s,
    }
}

/// Clean so long before it is over, seconds.
fn clear_s(episode: &Episode, limits: &crate::config::Episodes) -> f64 {
    match episode.assessment {
        // A person has looked at the bedside and found agreement: there is nothing to wait for.
        _ if episode.check == BEDSIDE && episode.evidence == [BEDSIDE] => 0.0,
        Assessment::Silence | Assessment::Physiology => limits.clear_fast_s,
        _ => limits.clear_s,
    }
}

/// Since when everything in its evidence is clean; `None` while something holds.
fn over(episode: &Episode, findings: &Findings) -> Option<Timestamp> {
    let mut latest = None;
    for check in &episode.evidence {
        let Some(row) = findings.row(*check) else { continue };
        // What only joined it as evidence and cannot look any more does not hold it.
        latest = latest.max(Some(row.clean_since?));
    }
    // Without any row: what was folded (S05) is over when nothing is folded any more, for the time of a clearing.
    latest.or(episode.cause_of.is_empty().then_some(episode.updated))
}

/// When it has ended without proof, because its check could not look for so long.
fn unseen_at(episode: &Episode, findings: &Findings) -> Timestamp {
    // What a person has read stands until a person reads again.
    let read = episode.evidence.contains(&BEDSIDE) && findings.row(BEDSIDE).is_some_and(|row| row.fails && row.holds());
    if read || matches!(episode.assessment, Assessment::Silence | Assessment::Advisory) || episode.beds > 0 {
        return Timestamp::MAX;
    }
    let looked = episode.evidence.iter().filter_map(|c| findings.row(*c)).filter(|r| r.holds()).map(|r| r.looked_at).max();
    match looked {
        None if !episode.cause_of.is_empty() => Timestamp::MAX,
        _ => looked.unwrap_or(episode.updated).plus_s(UNSEEN_S),
    }
}

/// The parameters that the contract publishes, in the order of their keys.
fn published(params: ParamSet) -> impl Iterator<Item = Parameter> {
    let mut list: Vec<Parameter> = params.iter().filter(|p| p.published()).collect();
    list.sort_unstable_by_key(|p| p.key());
    list.into_iter()
}

fn write(episode: &Episode, findings: &Findings, now: Timestamp, desk: &Desk<'_>, coexists: bool) -> Alert {
    let reference = reference(&episode.id);
    let meta = episode.check.meta();
    let own = findings.row(episode.check);
    let args: &[(String, Arg)] = own.map_or(&[], |r| &r.args);
    let filled = Slots {
        args,
        params: episode.params,
        ward: desk.ward,
        bed: desk.bed,
        reference: &reference,
        onset: episode.onset,
        count: if episode.beds > 0 { u64::from(episode.beds) } else { episode.count },
        zone: desk.zone,
    };
    let texts = Texts::shipped();
    let key = own.map_or("default", |r| r.text.as_str());
    let (text, action) = if episode.beds > 0 && meta.id != "M04" {
        texts.collapse(&filled)
    } else if Some(episode.check) == desk.flood && desk.alone {
        texts.unstable(&filled)
    } else {
        (texts.sentence(meta.id, key, episode.assessment, &filled), texts.action(meta.id, episode.assessment, coexists, &filled))
    };
    let mut rows: Vec<&Finding> = episode.evidence.iter().filter_map(|c| findings.row(*c)).collect();
    rows.sort_by(|a, b| {
        let strength = |r: &Finding| (r.hard, r.strength());
        strength(b).partial_cmp(&strength(a)).unwrap_or(std::cmp::Ordering::Equal).then(a.check.cmp(&b.check))
    });
    rows.truncate(EVIDENCE_MAX);
    let evidence = rows
        .into_iter()
        .map(|row| {
            let meta = row.check.meta();
            let slots = Slots { args: &row.args, params: row.params, onset: row.onset, ..filled };
            Evidence {
                check: meta.id.to_owned(),
                class: meta.class,
                score: Number((row.strength() * 100.0).round() / 100.0),
                value: row.value.map(Number),
                limit: row.limit.map(Number),
                unit: (row.value.is_some() || row.limit.is_some()).then(|| row.unit.clone()),
                window_s: (row.window_s > 0.0).then_some(Number(row.window_s)),
                msg_id: row.msg_id.clone(),
                obx_id: row.set_id,
                raw: row.raw.clone(),
                effective_at: row.effective_at,
                text: texts.evidence(meta.id, &row.text, episode.assessment, &slots),
            }
        })
        .collect();
    let numbers = args.iter().filter_map(|(name, arg)| match arg {
        Arg::Number(value, decimals) => {
            let scale = 10f64.powi(i32::from((*decimals).min(6)));
            Some((name.clone(), Number((value * scale).round() / scale)))
        }
        _ => None,
    });
    Alert {
        id: episode.id.clone(),
        reference: reference.clone(),
        site: desk.site.to_owned(),
        ward: desk.ward.to_owned(),
        bed: desk.bed.to_owned(),
        condition: meta.condition(),
        assessment: episode.assessment,
        priority: episode.priority,
        state: episode.state,
        params: published(episode.params).collect(),
        onset: episode.onset,
        raised: episode.raised,
        updated: episode.updated,
        ended: episode.ended,
        cleared: (episode.state == AlertState::Cleared).then_some(now),
        count: episode.count,
        confidence: Number((episode.confidence * 100.0).round() / 100.0),
        text,
        action,
        args: Members(numbers.collect()),
        evidence,
        acked: episode.acked.as_ref().map(|n| Acked {
            user: n.user.clone(),
            at: n.at,
            via: n.via,
            comment: n.comment.clone().filter(|_| desk.publish_comments),
        }),
        shelved: episode.shelf.as_ref().map(|shelf| Shelved {
            user: shelf.user.clone(),
            until: shelf.until,
            reason: shelf.reason.clone(),
        }),
        cause_of: episode.cause_of.clone(),
        because: episode.because.clone(),
        device: desk.device.map(str::to_owned),
        model: desk.model.to_owned(),
        href: None,
    }
}

#[cfg(test)]
mod tests;
