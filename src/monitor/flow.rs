//! The way of a message and of a deadline through the core.

use super::*;
use crate::bed::Permit;
use crate::check::Judge;

/// What these doubt is not the value beside it, which still teaches: P12 doubts who moved a limit, M05 and M07 doubt what is
/// missing. P11 does doubt its value, which may be one that no monitor alarmed about because none measured it.
const VALUE_STANDS: [&str; 3] = ["P12", "M05", "M07"];

impl Monitor {
    /// Fires every deadline up to and including `to`, each at its own time; the time never runs backwards.
    pub(super) fn advance(&mut self, to: Timestamp) -> Timestamp {
        let to = to.max(self.now);
        if !self.started {
            self.started = true;
            self.now = to;
            // The configured beds exist, though nothing was heard of them.
            for number in 0..self.cells.len() {
                self.settle(number as u32, to);
            }
        }
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > to {
                break;
            }
            if self.data_old_at <= at {
                self.say_old_data();
                continue;
            }
            self.queue.pop();
            let cell = &mut self.cells[number as usize];
            if cell.queued_at != Some(at) {
                continue;
            }
            cell.queued_at = None;
            if cell.due_at() > at {
                // It was moved later since.
                self.enqueue(number);
                continue;
            }
            self.now = self.now.max(at);
            self.moment(number, at);
        }
        if self.data_old_at <= to {
            self.say_old_data();
        }
        self.now = to;
        to
    }

    /// Stands a bed into the queue, if it does not stand there early enough.
    pub(super) fn enqueue(&mut self, number: u32) {
        let cell = &mut self.cells[number as usize];
        let due = cell.due_at();
        if due < Timestamp::MAX && cell.queued_at.is_none_or(|queued| due < queued) {
            cell.queued_at = Some(due);
            self.queue.push(Reverse((due, number)));
        }
    }

    /// A deadline of a bed came.
    fn moment(&mut self, number: u32, at: Timestamp) {
        let cell = &mut self.cells[number as usize];
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        if cell.judge_at <= at {
            let profile = cell.learner.profile(self.house.shelf.of_application(&cell.application));
            let view = View::moment(at, &cell.bed, &self.house.population, profile).with_calibrations(self.house.calibrations());
            self.house.settings.checks.judge(&mut cell.states, &view, &mut verdicts);
            verdicts.mute(self.house.settings.muted);
            cell.findings.observe(&verdicts, at, None, &cell.bed, &Origin::default);
        }
        self.verdicts = verdicts;
        self.settle(number, at);
        self.together(at);
    }

    /// Lets the episodes of a bed move and says what is to be said; computes when to look again.
    pub(super) fn settle(&mut self, number: u32, at: Timestamp) {
        let cell = &mut self.cells[number as usize];
        let before = self.events.len();
        if !cell.findings.rows.is_empty() || !cell.episodes.is_empty() {
            let desk = self.house.desk(&cell.bed, &cell.device, &cell.application, cell.rev, cell.reserved);
            cell.episodes.step(&cell.findings, at, &desk, &mut self.events);
            let episodes = &cell.episodes;
            cell.findings.prune(at, desk.limits.agree_s, |check| episodes.list.iter().any(|e| e.evidence.contains(&check)));
        }
        self.house.plan(cell, at);
        self.say(number, before);
        self.enqueue(number);
    }

    /// Queues the events that were written since `before`, and the bed's new document.
    pub(super) fn say(&mut self, number: u32, before: usize) {
        for event in &self.events[before..] {
            if event.alert.state == AlertState::Cleared {
                self.alerts.remove(&event.alert.id);
                self.past.note(&event.alert.id, &event.alert.ward);
            } else if event.event == EventKind::Raised {
                self.alerts.insert(event.alert.id.clone(), number);
            }
            self.outputs.push_back(Output::Alert(Box::new(event.clone())));
        }
        self.cells[number as usize].rev += 1;
        self.outputs.push_back(Output::BedChanged(BedId(number)));
    }

    /// One message of a frame.
    pub(super) fn message(&mut self, source: &Source, sequence: u64, bytes: &[u8], at: Timestamp) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut report = std::mem::take(&mut self.report);
        match Message::read(bytes, &mut scratch) {
            Ok(message) => {
                let rule = self.book.of(source, &message);
                self.decoder.decode_by(rule, &message, source, at, &mut report);
                self.report(source, sequence, rule.is_some(), &mut report, Some(&message), at);
            }
            Err(error) => {
                let feed = self.feed(&source.feed);
                feed.refuse_message(error.word().into(), sequence, at);
                feed.received += 1;
                feed.unreadable += 1;
                feed.last_message_at = Some(at);
            }
        }
        self.scratch = scratch;
        self.report = report;
        self.together(at);
    }

    /// A decoded message: counted, then judged with the bed it belongs to. `listed`: a rule of the site's list of senders
    /// fits it. Without the message itself (a report told again) nothing of its text is shown, and no copy is compared.
    pub(super) fn report(
        &mut self,
        source: &Source,
        sequence: u64,
        listed: bool,
        report: &mut Report,
        message: Option<&Message<'_>>,
        at: Timestamp,
    ) {
        let (sender_hash, device_known, peer) = match &self.told {
            Some(told) => told.sender(),
            None => {
                let device = report.devices.first().map_or("", |d| d.key.as_str());
                let sender = self.keyed.sender(&source.peer, &report.application, &report.facility, device);
                (sender.hash, Arc::clone(&sender.device), Arc::clone(&sender.peer))
            }
        };
        self.count(source, report, message, &peer, &device_known, at);
        let test = report.flags.has(MessageFlags::TEST);
        let judged = matches!(report.kind, MessageKind::Vitals | MessageKind::Alarm | MessageKind::KeepAlive);
        if test || !(judged || report.kind == MessageKind::Ack) {
            self.heard(None, report, &device_known, &peer, at);
        }
        let (permit, quarantined) = match &self.told {
            Some(told) => (told.permit, told.quarantined),
            None => {
                let fits = if listed { Permit::Fits } else { self.gate.permit(source, &report.application, &report.facility) };
                let (keyed, own) = (&self.keyed, &device_known);
                (fits, self.gate.quarantined(&source.peer, &report.devices, own, |key| keyed.short("dev", &[key])))
            }
        };
        let doubted = permit != Permit::Fits || quarantined;
        if doubted && (!judged || test) {
            // Whoever may not speak changes nothing either.
            self.doubt_sender(source, report, sender_hash, &device_known, permit, quarantined, at);
        } else if report.kind == MessageKind::Adt {
            self.adt(source, report, sender_hash, at);
        }
        if !judged {
            return;
        }
        if !test && self.is_copy(&source.feed) {
            if doubted {
                self.doubt_sender(source, report, sender_hash, &device_known, permit, quarantined, at);
            }
            match (self.bed_of_copy(source, report, &device_known), message) {
                (Some(number), Some(message)) => self.compare(number, source, sequence, report, message, at),
                (Some(_), None) => {}
                (None, _) => self.feed(&source.feed).mark("copy_unplaced"),
            }
            return;
        }
        let subject = &report.subject;
        let parts = [subject.point_of_care.as_str(), subject.room.as_str(), subject.bed.as_str()];
        let nowhere = parts.iter().all(|p| p.trim().is_empty());
        // What an injected header has cut off may look like a sign of life: it is judged, and told, all the same.
        let whole = !report.flags.has(MessageFlags::SECOND_MSH | MessageFlags::SECOND_PID | MessageFlags::SEGMENT_ORDER);
        if report.kind == MessageKind::KeepAlive && nowhere && !test && whole {
            self.heard(None, report, &device_known, &peer, at);
            if doubted {
                self.doubt_sender(source, report, sender_hash, &device_known, permit, quarantined, at);
            }
            return;
        }
        let number = if test {
            Some(self.reserved(SITE, SELFTEST, at))
        } else {
            match self.locate(source, parts, at) {
                Some(number) => Some(number),
                None => self.unassigned(&device_known, at),
            }
        };
        let Some(number) = number else {
            self.heard(None, report, &device_known, &peer, at);
            self.feed(&source.feed).beds_refused += 1;
            return;
        };
        self.cells[number as usize].touch();
        if test {
            if !doubted {
                self.demonstration(source, sequence, report, sender_hash, &device_known, at);
            }
            // Never mixed with live values: its bed says that there was a test, and when.
            self.cells[number as usize].bed.note_message(at);
            self.say(number, self.events.len());
            return;
        }
        self.note_on_tape(number, source, report, (sender_hash, &device_known, &peer), (permit, quarantined), at);
        if self.is_resent(number, report, sender_hash, at) {
            report.flags.set(MessageFlags::RESENT);
            self.feed(&source.feed).duplicates += 1;
            return;
        }
        self.heard(Some(number), report, &device_known, &peer, at);
        let cell = &mut self.cells[number as usize];
        if let Some(sent_at) = report.sent_at {
            let back = sent_at < cell.sent_at && *cell.device == *device_known;
            cell.sent_at = sent_at;
            self.feed(&source.feed).out_of_order += u64::from(back);
        }
        let ward_known = self.cells[number as usize].heard && self.cells[number as usize].feed == source.feed;
        if !ward_known {
            let ward = self.cells[number as usize].bed.ward.clone();
            self.feed(&source.feed).ward(&ward);
        }
        self.device_name = Arc::clone(&device_known);
        self.reading = self.clock(number, source, sender_hash, report, at);
        let late = self.bind(number, source, report, permit, quarantined, at);
        self.judge(number, source, sequence, report, sender_hash, &device_known, late, at);
        if let Some(message) = message {
            self.compare(number, source, sequence, report, message, at);
        }
        self.look_for_echo(number, at);
        self.look_for_swap(number, at);
        self.limits_widened(number, at);
    }

    /// Test data in the name of a bed, from the monitor that measures there: C06 alone looks at it, and no value of it is kept.
    fn demonstration(&mut self, source: &Source, sequence: u64, report: &Report, sender: u64, device: &str, at: Timestamp) {
        let subject = &report.subject;
        let parts = [subject.point_of_care.as_str(), subject.room.as_str(), subject.bed.as_str()];
        let Some(number) = self.placed(source, parts) else { return };
        let cell = &mut self.cells[number as usize];
        if !cell.heard || *cell.device != *device {
            return;
        }
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        let profile = self.house.shelf.of_application(&report.application);
        let view = View::message(at, report, source, sender, &cell.bed, &self.house.population, profile);
        self.house.settings.checks.status_conflict.judge(&mut cell.states.status_conflict, &view, &mut verdicts);
        let keyed = &self.keyed;
        let origin = || Origin {
            msg_id: keyed.message_id(&report.control_id, report.control_id_is_plain),
            raw: Some(format!("{}.{sequence}", source.feed)),
        };
        cell.findings.observe(&verdicts, at, Some(report), &cell.bed, &origin);
        self.verdicts = verdicts;
        self.settle(number, at);
    }

    /// Whether it is a copy of a message that was judged: same sender, same body, and the same id or within a minute. A body
    /// without a time of its own proves nothing.
    fn is_resent(&mut self, number: u32, report: &Report, sender: u64, at: Timestamp) -> bool {
        if report.kind == MessageKind::KeepAlive {
            return false;
        }
        let cell = &mut self.cells[number as usize];
        let by_id = self.house.settings.checks.control_id_reuse.is_resend(&cell.states.control_id_reuse, report, sender, at);
        if !report.body_is_unique {
            return by_id && report.control_id_is_id;
        }
        cell.resent.heard(report, sender, at) || by_id
    }

    fn count(
        &mut self,
        source: &Source,
        report: &Report,
        message: Option<&Message<'_>>,
        peer: &str,
        device: &str,
        at: Timestamp,
    ) {
        let sequence = self.frame.0;
        let feed = self.feed(&source.feed);
        feed.received += 1;
        feed.last_message_at = Some(at);
        if feed.peer != peer {
            peer.clone_into(&mut feed.peer);
        }
        if let Some(sent_at) = report.sent_at {
            feed.skew(sent_at.since_ms(at));
        }
        match report.kind {
            MessageKind::Vitals => feed.vitals += 1,
            MessageKind::Waveform => feed.waveforms += 1,
            MessageKind::Alarm => feed.alarms += 1,
            MessageKind::Adt => feed.adt += 1,
            MessageKind::KeepAlive => feed.keep_alive += 1,
            MessageKind::Query | MessageKind::Ack | MessageKind::Other => feed.other += 1,
        }
        feed.test += u64::from(report.flags.has(MessageFlags::TEST));
        feed.report(report);
        let Some(message) = message else { return };
        for reject in &report.rejects {
            feed.unknown(device, reject, message.text());
            feed.refuse(reject, message, sequence, at);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn judge(
        &mut self,
        number: u32,
        source: &Source,
        sequence: u64,
        report: &Report,
        sender: u64,
        device: &str,
        late: bool,
        at: Timestamp,
    ) {
        let bond = std::mem::take(&mut self.bond);
        let cell = &mut self.cells[number as usize];
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        let base = self.house.shelf.of_application(&report.application);
        if cell.learner.device != device {
            self.aside.exchange(&mut cell.learner, device);
        }
        let profile = cell.learner.profile(base);
        {
            let view = View::message(at, report, source, sender, &cell.bed, &self.house.population, profile)
                .with_calibrations(self.house.calibrations())
                .with_bond(&bond)
                .with_clock(self.reading);
            self.house.settings.checks.judge(&mut cell.states, &view, &mut verdicts);
            verdicts.mute(self.house.settings.muted);
        }
        if at < cell.grace_until {
            // What began while we were away is nobody's silence.
            let started = cell.started_at;
            verdicts.list.retain(|v| v.onset >= started || v.check.meta().rest != Assessment::Silence);
        }
        let keyed = &self.keyed;
        // MSH-10 in a sentence is published like the one of the evidence: as it is, or hashed.
        for (name, arg) in verdicts.list.iter_mut().flat_map(|v| v.args.iter_mut()) {
            if *name == "id" {
                let shown = keyed.message_id(&report.control_id, report.control_id_is_plain);
                *arg = Arg::Text(shown.unwrap_or_else(|| "-".to_owned()));
            }
        }
        let origin = || Origin {
            msg_id: keyed.message_id(&report.control_id, report.control_id_is_plain),
            raw: Some(format!("{}.{sequence}", source.feed)),
        };
        cell.findings.observe(&verdicts, at, Some(report), &cell.bed, &origin);
        // Learn only from what passed, and only while nothing is suspected.
        let mut doubted = ParamSet::EMPTY;
        let mut whole = false;
        for verdict in &verdicts.list {
            if !VALUE_STANDS.contains(&verdict.check.meta().id) && !verdict.is_report_only() {
                doubted = doubted.union(verdict.params);
            }
            let told = verdict.check.meta().rest != Assessment::Silence && verdict.priority != Some(Priority::Info);
            whole |= verdict.params.is_empty() && told;
        }
        let frozen = late
            || whole
            || cell.findings.rows.iter().any(|r| r.holds() && r.log10_e >= SUSPICION_LOG10_E && r.check.meta().evidence);
        if self.reading.is_live() && report.kind == MessageKind::Vitals {
            cell.learn(&Lesson { report, population: &self.house.population, base, at, doubted, frozen, blind: late }, &verdicts);
        }
        let profile = cell.learner.profile(base);
        let bed = &mut cell.bed;
        for o in &report.observations {
            if !self.reading.is_live() {
                bed.note_past(o, at);
            } else if !o.validity.usable() || !o.value.is_finite() {
                bed.note_absent(o.parameter, o.channel, o.validity, at);
            } else if profile.is_sentinel(o.parameter, o.value) {
                bed.note_absent(o.parameter, o.channel, Validity::Sentinel, at);
            } else if doubted.contains(o.parameter) || o.flags.has(crate::observation::ObsFlags::SHOWN_ONLY) {
                bed.note_doubted(o, at);
            } else {
                bed.learn(&self.house.population, o, at, frozen);
            }
        }
        // A clinical system is no sign of life of the monitor, and does not stand in its place.
        if !report.flags.has(MessageFlags::CHARTED) || !bed.is_measured() {
            bed.note_message(at);
            let same = |kept: &mut String, new: &str| {
                if kept != new {
                    new.clone_into(kept);
                }
            };
            same(&mut cell.feed, &source.feed);
            same(&mut cell.device, device);
            same(&mut cell.application, &report.application);
        }
        self.verdicts = verdicts;
        self.bond = bond;
        self.settle(number, at);
        self.tell_swap(number, at);
    }
}

impl House {
    /// When a bed is to be looked at again.
    fn plan(&self, cell: &mut Cell, at: Timestamp) {
        let profile = cell.learner.profile(self.shelf.of_application(&cell.application));
        let later = |due: Timestamp, step_ms: i64| if due <= at { at.plus_ms(step_ms) } else { due };
        if !cell.heard {
            // Nothing was ever heard: there is nothing to miss.
            cell.judge_at = Timestamp::MAX;
        } else {
            // A check that names a moment that is over is asked again in a second.
            let due = later(self.settings.checks.deadline(&cell.states, &cell.bed, profile), 1000);
            cell.judge_at = if due == Timestamp::MAX { due } else { due.max(cell.grace_until) };
        }
        let episodes = if cell.episodes.is_empty() {
            Timestamp::MAX
        } else {
            later(cell.episodes.deadline(&cell.findings, &self.settings.episodes), 1)
        };
        // The beat and the next value to become stale are only looked for when they came: values only become stale later.
        if cell.beat_at <= at {
            cell.beat_at = at.plus_ms(BEAT_MS).min(next_stale(cell, at));
        }
        cell.house_at = episodes.min(cell.beat_at);
    }
}

/// When the next value of a bed becomes stale, or the bed falls silent.
fn next_stale(cell: &Cell, at: Timestamp) -> Timestamp {
    let mut next = Timestamp::MAX;
    for stream in &cell.bed.streams {
        let Some(latest) = stream.latest else { continue };
        let due = latest.received_at.plus_s(stream.stale_after_s()).plus_ms(1);
        if due > at {
            next = next.min(due);
        }
    }
    next
}
