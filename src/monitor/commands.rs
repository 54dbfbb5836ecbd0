//! What people do: each command is an input like a message, journaled before it comes here, and the same in a replay.

use super::*;
use crate::alert::By;
use crate::check::spot_check::Look;
use crate::command::Compared;
use crate::episode::Shelf;
use crate::vital::Parameter;

/// Alerts that are over and may still be commented and rated, at most; then the oldest is unknown.
const PAST_MAX: usize = 4096;
/// Values so soon after somebody switched the bed off were still on their way, seconds.
const TRAILING_S: f64 = 60.0;
/// What silence says of a bed: nothing, where nobody is monitored.
const OF_SILENCE: [&str; 5] = ["M01", "M02", "M03", "M06", "M08"];

/// Alerts that are over, id and ward, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Past(VecDeque<(String, String)>);

impl Past {
    pub fn note(&mut self, id: &str, ward: &str) {
        if self.0.len() >= PAST_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), ward.to_owned()));
    }
    fn ward_of(&self, id: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, ward)| ward.as_str())
    }
}

/// What a command has done.
#[derive(Debug, Default)]
struct Done {
    state: Option<AlertState>,
    rev: Option<u64>,
    compared: Vec<Compared>,
}

impl Monitor {
    /// A person's command, record `sequence` of the journal. Answered exactly once; the same request within five minutes gets
    /// the same answer and does nothing.
    pub fn handle_command(&mut self, command: &Command, sequence: u64, at: Timestamp) {
        let at = self.advance(at);
        self.answered.retain(|a| at.since_ms(a.at) <= ANSWERED_MS);
        let known = self.answered.iter().find(|a| a.response.request_id == command.request_id && a.response.user == command.user);
        if let Some(known) = known {
            let response = known.response.clone();
            self.outputs.push_back(Output::Response(Box::new(response)));
            return;
        }
        let mut response = Response { record: Some(sequence), ..Response::new(command, at) };
        match self.carry_out(command, at) {
            Ok(done) => {
                response.alert_state = done.state.map(|state| state.as_str().to_owned());
                response.rev = done.rev;
                response.compared = done.compared;
            }
            Err(refusal) => response.refusal = Some(refusal),
        }
        if self.answered.len() >= ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(Answered { at, response: response.clone() });
        self.outputs.push_back(Output::Response(Box::new(response)));
        self.together(at);
    }

    fn carry_out(&mut self, command: &Command, at: Timestamp) -> Result<Done, Refusal> {
        if command.expires.is_some_and(|expires| at > expires) {
            return Err(Refusal::Expired);
        }
        // Like what is not there: what a user does not see, it does not learn of.
        let ward_of = |number: u32| self.cells[number as usize].bed.ward.as_str();
        let ward = match &command.verb {
            Verb::SpotCheck { ward, bed, .. } | Verb::BedOff { ward, bed, .. } => Some(ward_of(self.named_bed(ward, bed)?)),
            Verb::Resync { scope: Some(ward) } => Some(ward.as_str()),
            verb => verb.alert().and_then(|id| self.alerts.get(id)).map(|number| ward_of(*number)),
        };
        if ward.is_some_and(|ward| !command.sees(ward)) {
            return Err(Refusal::NotFound);
        }
        match &command.verb {
            Verb::SpotCheck { ward, bed, values } => self.spot_check(ward, bed, values, at),
            Verb::BedOff { ward, bed, off, .. } => {
                let by = By { user: command.user.clone(), via: command.via, comment: None };
                self.bed_off(ward, bed, *off, &by, at)
            }
            Verb::Resync { scope } => match scope {
                Some(ward) if !self.wards.iter().any(|w| w.name == *ward) => Err(Refusal::NotFound),
                _ => Ok(Done::default()),
            },
            Verb::Selftest => {
                let number = self.reserved(SITE, SELFTEST, at);
                self.cells[number as usize].bed.note_message(at);
                self.say(number, self.events.len());
                Ok(Done { rev: Some(self.cells[number as usize].rev), ..Done::default() })
            }
            Verb::Advisory { device, advisory, status, .. } => {
                let known = self.set_advisory(device, advisory, *status, at);
                if known { Ok(Done::default()) } else { Err(Refusal::NotFound) }
            }
            verb => match verb.alert() {
                Some(id) => self.on_alert(command, id, at),
                None => Err(Refusal::BadRequest),
            },
        }
    }

    fn on_alert(&mut self, command: &Command, id: &str, at: Timestamp) -> Result<Done, Refusal> {
        let Some(number) = self.alerts.get(id).copied() else {
            // Words and a judgement are welcome after its end, too.
            let late = matches!(command.verb, Verb::Comment { .. } | Verb::Rate { .. })
                && self.past.ward_of(id).is_some_and(|ward| command.sees(ward));
            return if late { Ok(Done { state: Some(AlertState::Cleared), ..Done::default() }) } else { Err(Refusal::NotFound) };
        };
        let episode = self.cells[number as usize].episodes.by_id(id).ok_or(Refusal::NotFound)?;
        let (acked, shelved, check) = (episode.acked.is_some(), episode.shelf.is_some(), episode.check);
        if let Verb::Ack { rev: Some(rev), .. } | Verb::Shelve { rev: Some(rev), .. } = &command.verb
            && *rev < episode.escalated_rev
        {
            return Err(Refusal::StaleRev);
        }
        if matches!(command.verb, Verb::Ack { .. }) && self.advisory == Some(check) {
            self.advisories_seen(number);
        }
        let before = self.events.len();
        let cell = &mut self.cells[number as usize];
        let desk = self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved);
        let (user, via) = (command.user.clone(), command.via);
        let note = |comment: &Option<String>| Note { user: user.clone(), at, via, comment: comment.clone() };
        let by = || By { user: user.clone(), via, comment: None };
        let (episodes, findings, events) = (&mut cell.episodes, &cell.findings, &mut self.events);
        match &command.verb {
            // Taking note twice changes nothing.
            Verb::Ack { .. } if acked && !shelved => {}
            Verb::Ack { comment, .. } => episodes.acknowledge(id, note(comment), findings, at, &desk, events),
            Verb::Unack { .. } => episodes.unacknowledge(id, by(), findings, at, &desk, events),
            Verb::Comment { comment, .. } => episodes.comment(id, note(&Some(comment.clone())), findings, at, &desk, events),
            Verb::Shelve { minutes, reason, .. } => {
                let until = at.plus_ms(i64::from(*minutes) * 60_000);
                let shelf = Shelf { user: user.clone(), via, until, reason: reason.clone() };
                if !episodes.shelve(id, shelf, findings, at, &desk, events) {
                    return Err(Refusal::Forbidden);
                }
            }
            Verb::Unshelve { .. } => episodes.unshelve(id, by(), findings, at, &desk, events),
            // Kept by the shell: nothing here depends on it.
            _ => {}
        }
        if self.events.len() > before {
            self.say(number, before);
        }
        let cell = &self.cells[number as usize];
        let state = cell.episodes.by_id(id).map_or(AlertState::Cleared, |e| e.state);
        let rev = cell.rev;
        self.settle(number, at);
        Ok(Done { state: Some(state), rev: Some(rev), ..Done::default() })
    }

    /// A bed that people speak of: one that exists and is none of the reserved.
    fn named_bed(&self, ward: &str, bed: &str) -> Result<u32, Refusal> {
        let number = self.by_slug.get(&place::key(ward, bed)).copied().ok_or(Refusal::NotFound)?;
        if self.cells[number as usize].reserved { Err(Refusal::NotFound) } else { Ok(number) }
    }

    fn spot_check(&mut self, ward: &str, bed: &str, values: &[(Parameter, f64)], at: Timestamp) -> Result<Done, Refusal> {
        let number = self.named_bed(ward, bed)?;
        let cell = &mut self.cells[number as usize];
        let check = &self.house.settings.checks.spot_check;
        let (compared, look) = check.look(&mut cell.states.spot_check, &cell.bed, values, at);
        match look {
            Look::Open => {}
            Look::Agrees => self.inject_pass(number, crate::check::id::spot_check, at),
            Look::Differs(verdict) => self.inject(number, *verdict, at),
        }
        Ok(Done { rev: Some(self.cells[number as usize].rev), compared, ..Done::default() })
    }

    /// Nobody is monitored here, somebody says. What silence has said of the bed is over; everything else stays.
    fn bed_off(&mut self, ward: &str, bed: &str, off: bool, by: &By, at: Timestamp) -> Result<Done, Refusal> {
        let number = self.named_bed(ward, bed)?;
        let cell = &mut self.cells[number as usize];
        cell.off_at = off.then_some(at);
        if cell.bed.off != off {
            cell.bed.off = off;
            if !off {
                // Its silence is counted from now.
                cell.bed.heard_at = cell.bed.heard_at.max(at);
            }
        }
        let before = self.events.len();
        if off {
            let cell = &mut self.cells[number as usize];
            let desk = self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved);
            let stays = |check: CheckId| !OF_SILENCE.contains(&check.meta().id);
            cell.findings.rows.retain(|row| stays(row.check));
            cell.episodes.expire_some(stays, Some(by), &cell.findings, at, &desk, Cause::Operator, &mut self.events);
        }
        self.say(number, before);
        let rev = self.cells[number as usize].rev;
        self.settle(number, at);
        Ok(Done { rev: Some(rev), ..Done::default() })
    }

    /// Whether a bed that somebody switched off stays so although a message came: what was on its way, and what measures nothing.
    pub(super) fn stays_off(cell: &mut Cell, report: &Report, at: Timestamp) -> bool {
        let Some(since) = cell.off_at else { return false };
        let measures = report.observations.iter().any(|o| o.validity.usable() && o.value.is_finite());
        if at.since_s(since) <= TRAILING_S || !measures {
            return true;
        }
        cell.off_at = None;
        false
    }
}
