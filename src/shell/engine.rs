//! The judging thread: takes what the journal hands over, drives the one [`Monitor`], keeps the consequences.
//!
//! Its contract: the effects of an input (events, answers, audit) are committed to the store in one transaction before they
//! are published, and what was committed before a crash is neither lost nor doubled after it. State documents are derived and
//! go to [`Retained`] without a promise. A store that fails is tried again; meanwhile effects wait in memory up to
//! [`PENDING_MAX`], and beyond it the thread stops taking input, so that senders wait instead of being forgotten.

use crate::alert::{AlertEvent, AlertState, Cause, Envelope, EventKind, Previous, hex};
use crate::case::Act;
use crate::command::{Command, Refusal, Response, Verb, Via};
use crate::document::{self, FeedState, LagMs, Origin, Pulse, Removed};
use crate::monitor::{BedId, Monitor, Output, Settings, SiteCondition};
use crate::shell::cases::holds::Keeper;
use crate::shell::cases::{self, Cases, Outcome, Taken};
use crate::shell::commands::{self, Answered, Answers};
use crate::shell::journal::{
    self, EncryptionKey, Feed, JournalHandle, Reader, Record, Stamped, latest_snapshots, read_snapshot, write_snapshot,
};
use crate::shell::link::{Link, Reply, Transient};
use crate::shell::listener::FeedStats;
use crate::shell::live::Record as LiveRecord;
use crate::shell::metrics;
use crate::shell::quarantine::Quarantine;
use crate::shell::questions::Asked;
use crate::shell::retained::{Kind, RETAINED_MAX, Retained};
use crate::shell::selftest;
use crate::shell::stations::{Lonely, Stations};
use crate::shell::store::{Audit, Comment, Commit, EventRow, OutboxKind, Outgoing, RESPONSE_EXPIRY_S, Rating, Store, StoreError};
use crate::shell::trends::Gatherer;
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Effects that wait for a failing store at most; then input waits.
pub const PENDING_MAX: usize = 20_000;
/// A locked store is waited for so long, and tried again so much later: input goes on in between.
const STORE_PATIENCE: Duration = Duration::from_millis(200);
const STORE_AGAIN: Duration = Duration::from_millis(1_000);
/// Records judged before their effects are committed at most.
const COMMIT_RECORDS_MAX: usize = 8_192;
/// State documents of one bed at most so often, ms.
const BED_EVERY_MS: i64 = 1_000;
/// And at least so often, ms.
const BED_AT_LEAST_MS: i64 = 55_000;
/// Ward documents if changed, ms, and at least, ms.
const WARD_EVERY_MS: i64 = 1_000;
const WARD_AT_LEAST_MS: i64 = 9_000;
/// Feed status at least so often, ms.
const FEED_AT_LEAST_MS: i64 = 55_000;
/// A feed without a connection is up so long after its last message, ms.
const FEED_QUIET_MS: i64 = 60_000;
/// A sender's clock (median of MSH-7 minus our time) off by more than this makes its feed degraded, ms: beyond any delay of the
/// transport, below the smallest error of a time zone (15 min). Smaller: an unsynchronised monitor is a daily sight.
const FEED_SKEW_MS: i64 = 60_000;
/// `sys/info` is renewed so often (its journal head bounds how much could be rewritten unnoticed), ms.
const INFO_EVERY_MS: i64 = 3_600_000;
/// Records between two snapshots at most.
const SNAPSHOT_RECORDS: u64 = 2_000_000;
/// Size of the reserve that is given up so that the trouble of a full disk can still be written down, bytes.
const RESERVE_BYTES: usize = 8 << 20;
/// Outbox fuller than this share: S02.
const OUTBOX_BEHIND: f64 = 0.5;
/// Below this share S02 is over.
const OUTBOX_CAUGHT_UP: f64 = 0.25;
/// A topic that was cleared stands in `sys/info` for so long, ms: 7 days.
const REMOVED_MS: i64 = 7 * 86_400_000;
/// Self-tests under way at most; a further one is answered without the broker's step.
const SELFTESTS_MAX: usize = 16;
/// Documents of cases at least so often, ms.
const CASES_EVERY_MS: i64 = 55_000;
/// Samples of the lag of the last minute at most.
const LAG_SAMPLES_MAX: usize = 6_000;

/// What stops the engine from starting.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Journal(#[from] crate::shell::journal::JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("record {0} of the journal cannot be judged, and leaving it out does not help")]
    Judge(u64),
}

/// What the engine is given.
pub struct Parts {
    pub folder: PathBuf,
    pub settings: Settings,
    pub origin: Origin,
    /// `{root}/v1/{site}`.
    pub base: String,
    pub store: Store,
    pub retained: Arc<Retained>,
    pub link: Arc<Link>,
    pub journal: JournalHandle,
    pub feeds: Vec<Arc<FeedStats>>,
    /// Who waits for an answer over HTTP.
    pub answers: Arc<Answers>,
    /// Who waits for a step of a case.
    pub case_answers: Arc<cases::Answers>,
    pub stations: Arc<Stations>,
    /// A station is expected, also before any has announced itself.
    pub station_expected: bool,
    /// Conditions of the installation seen elsewhere (S03 …).
    pub conditions: std::sync::mpsc::Receiver<SiteCondition>,
    pub pulse: Arc<Mutex<Pulse>>,
    /// The inventory, where HTTP asks for it.
    pub board: Arc<crate::shell::devices::Board>,
    pub writable: Arc<AtomicBool>,
    /// The service is told to end: a store that fails is not waited for.
    pub stopping: Arc<AtomicBool>,
    pub snapshot_s: f64,
    /// Older snapshots are kept so much, bytes.
    pub past_bytes: u64,
    pub vitals: bool,
    pub flat: bool,
    /// `sha256:` and 16 digits over the effective configuration.
    pub config_hash: String,
    /// Whose key signs the journal's heads.
    pub head_signer: document::HeadSigner,
    /// The site's time zone.
    pub zone: String,
    /// Keeps the histories; `None`: nobody does.
    pub trends: Option<Gatherer>,
    /// What HTTP wants to know.
    pub asked: Asked,
}

/// The judging thread's state.
pub struct Engine {
    parts: Parts,
    monitor: Monitor,
    envelope: Envelope,
    pending: Commit,
    /// What the store already holds of the journal: effects up to here are not answered again.
    applied_sequence: u64,
    /// What the store held at the start: while the journal is read again, less is not written over it.
    floor: (Timestamp, u64),
    quarantine: Quarantine,
    /// The record of this start has come. What time it became meanwhile must not fire the deadlines that it moves.
    begun: bool,
    store_failing: bool,
    /// A failing store is not tried before.
    store_again: Instant,
    outbox_behind: bool,
    lonely: Lonely,
    /// The store knows that a station has announced itself.
    station_stored: bool,
    /// Topics that were cleared and stand in the store.
    removed_stored: Vec<Removed>,
    /// Answers over HTTP that wait for the commit.
    given: Vec<(String, String, Answered)>,
    cases: Cases,
    /// Answers to steps of cases that wait for the commit, and cases whose document is to be written.
    case_given: Vec<(String, Outcome)>,
    cases_dirty: BTreeSet<String>,
    cases_looked_at: i64,
    /// Steps of cases up to this record were judged already: by the service, or by the command line on the folder at rest.
    cases_judged: u64,
    keeper: Keeper,
    /// Self-tests whose document is on its way to the broker.
    tests: Vec<SelfTest>,
    reserve: PathBuf,
    dirty: BTreeSet<BedId>,
    bed_published: HashMap<BedId, i64>,
    wards: BTreeMap<String, WardClock>,
    feed_published: HashMap<String, (i64, FeedState)>,
    /// Of the last minute, each second: time, messages received, troubles (refusals, and what a tap or a tee has missed).
    feed_rates: HashMap<String, VecDeque<(i64, u64, u64)>>,
    info_published: i64,
    info_shape: (usize, usize),
    rev: u64,
    lag_ms: VecDeque<(i64, f64)>,
    second: i64,
    /// The second in which the slow documents were looked at last.
    slow_second: i64,
    snapshot_at: i64,
    snapshot_sequence: u64,
    snapshot_thread: Option<std::thread::JoinHandle<()>>,
    overfull_said: bool,
}

/// A self-test that waits for the broker.
struct SelfTest {
    response: Response,
    via: Via,
    reply: Reply,
    /// Version of the state document that was written for it; `None`: not written yet.
    version: Option<u64>,
    began: Instant,
}

#[derive(Default)]
struct WardClock {
    published_ms: i64,
    changed: bool,
    parts: usize,
}

impl Engine {
    /// Brings the monitor to where it was: snapshot, then the journal's tail, then the deadlines that had fired.
    pub fn recover(parts: Parts) -> Result<Engine, EngineError> {
        let applied = parts.store.applied()?;
        let folder = parts.journal.folder().to_owned();
        let quarantine = Quarantine::read(&folder)?;
        let last = parts.journal.stats().records;
        let envelope = Envelope { site: parts.origin.site.clone(), boot: parts.origin.boot.clone(), replay: None, href: true };
        // A store whose journal was taken away starts over with it.
        let floor = applied.map_or((Timestamp::MIN, 0), |a| (a.until, a.sequence.min(last)));
        let applied_sequence = floor.1;
        // The steps of another journal have numbers that are not of this one.
        let cases_judged = Some(parts.store.last_case_step()?).filter(|step| *step <= last).unwrap_or(0);
        // Nobody else works on the folder now.
        cases::export::sweep(&parts.folder);
        let reserve = parts.folder.join("reserve");
        let mut engine = Engine {
            monitor: Monitor::new(parts.settings.clone()),
            envelope,
            pending: Commit::default(),
            applied_sequence,
            floor,
            quarantine,
            begun: false,
            store_failing: false,
            store_again: Instant::now(),
            outbox_behind: false,
            lonely: Lonely::default(),
            station_stored: false,
            removed_stored: Vec::new(),
            given: Vec::new(),
            cases: Cases::default(),
            case_given: Vec::new(),
            cases_dirty: BTreeSet::new(),
            cases_looked_at: i64::MIN / 2,
            cases_judged,
            keeper: Keeper::default(),
            tests: Vec::new(),
            reserve,
            dirty: BTreeSet::new(),
            bed_published: HashMap::new(),
            wards: BTreeMap::new(),
            feed_published: HashMap::new(),
            feed_rates: HashMap::new(),
            info_published: i64::MIN,
            info_shape: (usize::MAX, usize::MAX),
            rev: 0,
            lag_ms: VecDeque::new(),
            second: i64::MIN,
            slow_second: i64::MIN,
            snapshot_at: i64::MIN,
            snapshot_sequence: 0,
            snapshot_thread: None,
            overfull_said: false,
            parts,
        };
        let other_model = engine.rebuild(last)?;
        if let Some(trends) = &mut engine.parts.trends {
            trends.go_live();
        }
        if engine.parts.store.station_known()? {
            engine.station_stored = true;
            engine.parts.stations.remember();
        }
        let week = Timestamp::from_ms(wall_ms() - REMOVED_MS);
        engine.removed_stored = engine.parts.store.removed(week)?;
        for removed in &engine.removed_stored {
            engine.parts.link.note_removed(removed.clone());
        }
        // From here on an alert raised at once is published at once; a locked store is tried again instead of waited for.
        engine.parts.store.set_patience(STORE_PATIENCE)?;
        engine.flush();
        engine.close_strays()?;
        if other_model && engine.commit() {
            // The old model's snapshot is of no use: a crash before the next one must not begin anew once more.
            save_snapshot(&folder, engine.pending.sequence, &engine.monitor.snapshot(), engine.parts.journal.encryption());
        }
        engine.make_reserve();
        // The publisher takes what stands here for the truth, and anything else under our site for an orphan.
        engine.dirty = engine.monitor.beds().map(|place| place.id).collect();
        engine.publish();
        Ok(engine)
    }

    /// Snapshot, then the journal's tail up to record `through`, then the deadlines that had fired. A record that panics is put
    /// into quarantine, and everything begins again without it.
    ///
    /// Whether another model decides now, which begins with nothing.
    fn rebuild(&mut self, through: u64) -> Result<bool, EngineError> {
        let folder = self.parts.journal.folder().to_owned();
        let until = self.pending.applied_until.max(self.floor.0);
        'again: loop {
            let began = Instant::now();
            let (monitor, from) = begin(&self.parts.settings, &folder, through)?;
            let other_model = monitor.is_none() && from > 0;
            self.monitor = monitor.unwrap_or_else(|| Monitor::new(self.parts.settings.clone()));
            // What was not committed yet is said again by the records that follow.
            self.pending = Commit { sequence: from.saturating_sub(1), ..Commit::default() };
            self.cases = Cases::load(&self.parts.store, self.parts.journal.stats().at)?;
            self.snapshot_sequence = from.saturating_sub(1);
            let mut records = 0u64;
            if from <= through {
                for entry in Reader::open(&folder, from)? {
                    let stamped = entry?.stamped;
                    if stamped.sequence > through {
                        break;
                    }
                    if !self.apply(&stamped) {
                        self.isolate(stamped.sequence)?;
                        continue 'again;
                    }
                    records += 1;
                    if records.is_multiple_of(COMMIT_RECORDS_MAX as u64) {
                        self.flush();
                    }
                }
                tracing::info!(records, seconds = began.elapsed().as_secs_f64(), "journal read again");
            }
            if until > Timestamp::MIN && !other_model {
                self.monitor.handle_timeout(until);
                self.pending.applied_until = self.pending.applied_until.max(until);
                self.drain(None);
            }
            return Ok(other_model);
        }
    }

    /// A record made the judge panic: it is left out from now on.
    fn isolate(&mut self, sequence: u64) -> Result<(), EngineError> {
        metrics::quarantined();
        tracing::error!(
            sequence,
            "a record could not be judged: it stays in the journal, is left out, and the state is read again"
        );
        if self.quarantine.add(sequence)? { Ok(()) } else { Err(EngineError::Judge(sequence)) }
    }

    /// One input while running; a state that a panic left behind is not trusted but read again.
    fn judge(&mut self, stamped: &Stamped) -> Result<(), EngineError> {
        if self.apply(stamped) {
            return Ok(());
        }
        self.isolate(stamped.sequence)?;
        self.rebuild(stamped.sequence)?;
        // Conditions are no records: those that hold are said again.
        self.outbox_behind = false;
        self.lonely = Lonely::default();
        if !self.parts.writable.load(Ordering::Relaxed) {
            self.condition("S01", true);
        }
        self.dirty = self.monitor.beds().map(|place| place.id).collect();
        Ok(())
    }

    /// SHA-256 over what decides, as alerts carry the beginning of it.
    pub fn model(&self) -> &str {
        self.monitor.model_hash()
    }

    /// Until when the monitor's deadlines have fired: what a `Start` record says.
    pub fn applied_until(&self) -> Timestamp {
        self.pending.applied_until
    }

    /// Takes what comes until the journal closes; then commits, snapshots and ends.
    pub fn run(mut self, feed: &Receiver<Feed>) {
        loop {
            if self.pending_effects() >= PENDING_MAX {
                if self.parts.stopping.load(Ordering::Relaxed) {
                    // What waits here stands in the journal and is judged again at the next start.
                    tracing::error!(waiting = self.pending_effects(), "ending with a store that cannot be written");
                    return;
                }
                // The store has been failing for long: input waits here, and so do the senders.
                std::thread::sleep(Duration::from_millis(100));
                self.flush();
                continue;
            }
            match feed.recv_timeout(Duration::from_millis(500)) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // What is waiting already is judged together and committed together.
            let mut more = 0;
            while more < 8 && self.pending_effects() < COMMIT_RECORDS_MAX {
                match feed.try_recv() {
                    Ok(input) => self.take(input),
                    Err(_) => break,
                }
                more += 1;
            }
            while let Ok(condition) = self.parts.conditions.try_recv() {
                self.condition(&condition.check, condition.holds);
            }
            self.flush();
            self.publish();
            self.snapshot_if_due();
        }
        self.publish();
        if let Some(mut trends) = self.parts.trends.take() {
            trends.flush(&self.monitor);
        }
        for _ in 0..20 {
            if self.commit() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some(thread) = self.snapshot_thread.take() {
            let _ = thread.join();
        }
        if self.store_failing || self.pending_effects() > 0 {
            // A snapshot would stand for effects that nobody has kept.
            tracing::error!(waiting = self.pending_effects(), "ending with a store that cannot be written");
            return;
        }
        let (folder, sequence) = (self.parts.journal.folder().to_owned(), self.pending.sequence);
        save_snapshot(&folder, sequence, &self.monitor.snapshot(), self.parts.journal.encryption());
    }

    fn take(&mut self, feed: Feed) {
        match feed {
            Feed::Batch(records) => {
                self.begun = true;
                if let Some(last) = records.last() {
                    self.note_lag(last.at);
                }
                for stamped in &records {
                    if let Err(error) = self.judge(stamped) {
                        // Ends this thread and with it the service: what was acknowledged is read again at the next start.
                        panic!("the judge cannot go on: {error}");
                    }
                }
            }
            Feed::Tick(_) if !self.begun => {}
            Feed::Tick(at) => {
                self.monitor.handle_timeout(at);
                self.pending.applied_until = self.pending.applied_until.max(at);
                self.drain(None);
            }
            Feed::Failing(holds, _) => {
                // On a disk that is full from the start there will be no such record.
                self.begun |= holds;
                self.parts.writable.store(!holds, Ordering::Relaxed);
                if holds {
                    tracing::error!("the journal cannot be written: senders are answered AE");
                } else {
                    tracing::info!("the journal can be written again");
                }
                self.condition("S01", holds);
            }
        }
    }

    fn condition(&mut self, check: &str, holds: bool) {
        let at = self.pending.applied_until;
        self.monitor.handle_condition(&SiteCondition { check: check.to_owned(), holds }, at);
        self.drain(None);
    }

    /// One input, then drain; `false` when it panicked, and then the monitor is not to be used any more.
    fn apply(&mut self, stamped: &Stamped) -> bool {
        let at = stamped.at;
        if self.quarantine.holds(stamped.sequence) {
            self.monitor.handle_timeout(at);
        } else {
            let monitor = &mut self.monitor;
            // Unwind safe: what the monitor is after a panic is thrown away.
            let handled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(monitor, stamped)));
            if handled.is_err() {
                return false;
            }
        }
        self.pending.sequence = stamped.sequence;
        self.pending.applied_until = self.pending.applied_until.max(at);
        let command = match &stamped.record {
            Record::Command(command) if stamped.sequence > self.applied_sequence => Some(command),
            _ => None,
        };
        self.drain(command);
        if let Record::Audit(looked) = &stamped.record {
            self.pending.audit.push(Audit {
                at,
                user: looked.user.clone(),
                via: looked.via.clone(),
                verb: looked.action.clone(),
                alert: Some(looked.object.clone()),
                request_id: looked.id.clone(),
                result: looked.result.clone(),
            });
        }
        if let Record::Case(act) = &stamped.record {
            self.step_case(act, stamped.sequence, at);
        }
        true
    }

    /// A step of a case: what it changes waits for the commit, and so does whoever made it.
    fn step_case(&mut self, act: &Act, sequence: u64, at: Timestamp) {
        if sequence <= self.applied_sequence {
            // What became of it was committed with its line of the audit.
            return;
        }
        if sequence <= self.cases_judged {
            // By the command line, which writes no audit: a step that it refused is not judged again by what came after it.
            self.note_judged(act, sequence, at);
            return;
        }
        // A store that cannot be read: what is known here decides.
        let taken = match self.cases.take(&self.parts.store, act, sequence, at) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "a case cannot be read");
                self.cases.apply(act, sequence, at)
            }
        };
        let (outcome, result) = match taken {
            None => return self.note_judged(act, sequence, at),
            Some(Taken::Refused(refused)) => {
                let code = refused.code();
                (Err(refused), code)
            }
            Some(Taken::Changed(change)) => {
                self.keeper.note(&act.case);
                self.cases_dirty.insert(act.case.clone());
                let case = change.case.clone();
                self.pending.cases.push(*change);
                (Ok(case), "ok")
            }
        };
        self.audit_step(act, at, result);
        self.case_given.push((act.id.clone(), outcome));
    }

    /// A step that the store contains, or that was refused before: who did it stands in the audit, too.
    fn note_judged(&mut self, act: &Act, sequence: u64, at: Timestamp) {
        let taken = self.parts.store.has_case_step(sequence).unwrap_or_else(|error| {
            tracing::warn!(%error, "the steps of a case cannot be read");
            false
        });
        self.audit_step(act, at, if taken { "ok" } else { "refused" });
    }

    fn audit_step(&mut self, act: &Act, at: Timestamp, result: &str) {
        self.pending.audit.push(Audit {
            at,
            user: act.user.clone(),
            via: act.via.as_str().into(),
            verb: format!("case-{}", act.step.word()),
            alert: Some(act.case.clone()),
            request_id: act.id.clone(),
            result: result.into(),
        });
    }

    /// Everything that the monitor has to say.
    fn drain(&mut self, command: Option<&Command>) {
        let answered_before = self.pending.sequence <= self.applied_sequence;
        while let Some(output) = self.monitor.poll_output() {
            match output {
                Output::Alert(event) => {
                    metrics::alert_event(event.event.as_str(), event.alert.priority.as_str());
                    let row = EventRow::of(&event, &self.envelope);
                    self.pending.events.push(row);
                }
                Output::BedChanged(bed) => {
                    self.dirty.insert(bed);
                    if let Some(trends) = &mut self.parts.trends {
                        trends.note(&self.monitor, bed);
                    }
                }
                Output::Response(response) => {
                    let Some(command) = command else { continue };
                    self.note_command(command, &response);
                    self.respond(command, *response);
                }
                Output::Device(event) => {
                    if answered_before {
                        continue;
                    }
                    self.pending.outgoing.push(Outgoing {
                        topic: format!("device/{}/event", event.device),
                        payload: event.to_json(&self.envelope).into_bytes(),
                        kind: OutboxKind::Device,
                        expiry_s: 3600,
                        correlation: None,
                    });
                }
            }
        }
    }

    /// What a command does outside the monitor, and its answer: at once, or for a self-test when the broker has spoken.
    fn respond(&mut self, command: &Command, response: Response) {
        let reply = match command.via {
            Via::Mqtt => self.parts.link.reply(&response.user, &response.request_id),
            Via::Web | Via::Auto => Reply { topic: String::new(), correlation: None },
        };
        match &command.verb {
            Verb::Resync { scope } if response.refusal.is_none() => self.resync(scope.as_deref()),
            Verb::Selftest if response.refusal.is_none() && self.tests.len() < SELFTESTS_MAX => {
                let mut response = response;
                response.hops = self.parts.answers.take_hops(&response.user, &response.request_id);
                let judged = Duration::from_millis((wall_ms() - response.at.ms()).max(0) as u64);
                response.hops.push(selftest::hop("judged", judged));
                // Told at once, however short ago it was told of before.
                if let Some(bed) = self.monitor.bed_id("_site", "_selftest") {
                    self.bed_published.remove(&bed);
                }
                self.tests.push(SelfTest { response, via: command.via, reply, version: None, began: Instant::now() });
                return;
            }
            _ => {}
        }
        self.answer(command.via, response, reply);
    }

    fn answer(&mut self, via: Via, response: Response, reply: Reply) {
        if via == Via::Mqtt {
            self.pending.outgoing.push(Outgoing {
                topic: reply.topic,
                payload: document::response(&self.parts.origin, &response),
                kind: OutboxKind::Response,
                expiry_s: RESPONSE_EXPIRY_S,
                correlation: reply.correlation,
            });
        } else {
            let answered = commands::answered(&self.parts.origin, &response);
            self.given.push((response.user, response.request_id, answered));
        }
    }

    /// Everything (of one ward) is published anew, at its usual pace.
    fn resync(&mut self, ward: Option<&str>) {
        let wanted = |name: &str| ward.is_none_or(|ward| ward == name);
        self.dirty.extend(self.monitor.beds().filter(|place| wanted(place.ward)).map(|place| place.id));
        for (name, clock) in &mut self.wards {
            clock.changed |= wanted(name);
        }
        if ward.is_none() {
            self.feed_published.clear();
            self.info_published = i64::MIN / 2;
        }
    }

    /// Self-tests: the bed's document is written, the broker has taken it, or has not in time.
    fn step_selftests(&mut self) {
        let tested = *self.parts.link.tested.lock();
        let mut at = 0;
        while at < self.tests.len() {
            let test = &mut self.tests[at];
            if test.version.is_none() {
                test.version = self.parts.retained.get(selftest::TOPIC).map(|document| document.version);
                test.began = Instant::now();
            }
            let taken = tested.filter(|(version, _)| test.version.is_some_and(|wanted| *version >= wanted));
            match taken {
                Some((_, when)) => {
                    let took = when.checked_duration_since(test.began).unwrap_or_default();
                    test.response.hops.push(selftest::hop("mqtt", took));
                }
                None if test.began.elapsed() < selftest::BROKER_PATIENCE => {
                    at += 1;
                    continue;
                }
                None => test.response.refusal = Some(Refusal::Unavailable),
            }
            let test = self.tests.remove(at);
            self.answer(test.via, test.response, test.reply);
        }
    }

    /// S04: something is open, and nobody has been there to hear it.
    fn step_stations(&mut self, now: Timestamp) {
        let known = self.parts.stations.known();
        if known && !self.station_stored && !self.store_failing {
            self.station_stored = self.parts.store.note_station().is_ok();
        }
        let waiting = (known || self.parts.station_expected) && self.monitor.awaits_a_person();
        let absent_s = self.parts.settings.checks.no_station_listening.absent_s;
        if let Some(holds) = self.lonely.step(waiting, self.parts.stations.count(), absent_s, now.ms()) {
            self.condition("S04", holds);
        }
    }

    fn note_command(&mut self, command: &Command, response: &Response) {
        let via = match command.via {
            Via::Mqtt => "mqtt",
            Via::Web => "web",
            Via::Auto => "auto",
        };
        // What was acted on: an alert, or an advisory of a device.
        let subject = command.verb.subject();
        self.pending.audit.push(Audit {
            at: response.at,
            user: command.user.clone(),
            via: via.into(),
            verb: response.verb.clone(),
            alert: subject.clone(),
            request_id: response.request_id.clone(),
            result: response.refusal.map_or("ok", Refusal::code).into(),
        });
        if response.refusal.is_some() {
            return;
        }
        let user = command.user.clone();
        if let Verb::Rate { alert, useful } = &command.verb {
            self.pending.ratings.push(Rating { alert: alert.clone(), at: response.at, user: user.clone(), useful: *useful });
        }
        if let Some((text, alert)) = command.verb.words().cloned().zip(subject) {
            self.pending.comments.push(Comment { alert, at: response.at, user, text });
        }
    }

    fn pending_effects(&self) -> usize {
        self.pending.events.len() + self.pending.outgoing.len() + self.pending.cases.len()
    }

    /// Commits what is pending where there is something; a failing store keeps it pending and is tried again after a while.
    fn flush(&mut self) {
        let nothing = self.pending_effects() == 0
            && self.pending.audit.is_empty()
            && self.pending.comments.is_empty()
            && self.given.is_empty()
            && self.case_given.is_empty();
        let second = self.pending.applied_until.ms() / 1000;
        // Without effects the applied position may be a second old: firing those deadlines again says nothing new.
        if nothing && second == self.second && !self.store_failing {
            return;
        }
        if self.store_failing && Instant::now() < self.store_again {
            return;
        }
        self.commit();
    }

    /// Commits what is pending and how far the journal was applied; whether the store has it.
    fn commit(&mut self) -> bool {
        // What cases need is held before anybody is told that they have it: once for all their steps.
        self.keeper.keep_due(self.parts.journal.folder(), &self.parts.store, &self.cases, self.pending.applied_until);
        let second = self.pending.applied_until.ms() / 1000;
        let (until, sequence) = (self.pending.applied_until, self.pending.sequence);
        self.pending.applied_until = until.max(self.floor.0);
        self.pending.sequence = sequence.max(self.floor.1);
        let began = Instant::now();
        let mut result = self.parts.store.commit(&self.pending);
        if matches!(result, Err(StoreError::Full)) && std::fs::remove_file(&self.reserve).is_ok() {
            tracing::warn!("the disk is full: the reserve was given up");
            result = self.parts.store.commit(&self.pending);
        }
        (self.pending.applied_until, self.pending.sequence) = (until, sequence);
        match result {
            Ok(done) => {
                metrics::commit(began.elapsed().as_secs_f64());
                if self.store_failing {
                    tracing::info!("the store can be written again");
                    self.store_failing = false;
                    self.make_reserve();
                }
                self.second = second;
                self.applied_sequence = self.applied_sequence.max(self.pending.sequence);
                self.tell();
                self.pending = Commit { applied_until: until, sequence, ..Commit::default() };
                if done.queued > 0 {
                    self.parts.link.wake();
                }
                for (user, request_id, answered) in self.given.drain(..) {
                    self.parts.answers.give(&user, &request_id, &answered);
                }
                for (act, outcome) in self.case_given.drain(..) {
                    self.parts.case_answers.give(&act, outcome);
                }
                if done.dropped > 0 {
                    metrics::dropped("event", done.dropped);
                }
                true
            }
            Err(error) => {
                metrics::commit_error();
                if !self.store_failing {
                    tracing::error!(%error, waiting = self.pending_effects(), "the store cannot be written: effects wait in memory");
                    self.store_failing = true;
                }
                self.store_again = Instant::now() + STORE_AGAIN;
                false
            }
        }
    }

    /// What was committed, to those who look on over HTTP.
    fn tell(&self) {
        let events = self.pending.events.iter().flat_map(EventRow::published);
        let devices = self.pending.outgoing.iter().filter(|out| out.kind == OutboxKind::Device);
        let devices = devices.map(|out| (out.topic.clone(), out.payload.clone()));
        let records = events.chain(devices).map(|(topic, payload)| LiveRecord { topic, payload: payload.into() }).collect();
        self.parts.link.live().put(records);
    }

    /// Alerts that the store holds open and the monitor does not know: another model decided then.
    fn close_strays(&mut self) -> Result<(), EngineError> {
        let strays: Vec<_> = self
            .parts
            .store
            .alert_reader()?
            .open_alerts()?
            .into_iter()
            .filter(|row| self.monitor.alert(&row.id).is_none())
            .collect();
        let at = self.pending.applied_until.max(self.parts.journal.stats().at);
        for row in strays {
            let Ok(mut alert) = serde_json::from_slice::<crate::alert::Alert>(&row.json) else { continue };
            alert.href = None;
            let prev = Previous { priority: alert.priority, state: alert.state };
            alert.state = AlertState::Cleared;
            alert.updated = at;
            alert.ended = alert.ended.or(Some(at));
            alert.cleared = Some(at);
            let event = AlertEvent {
                event: EventKind::Expired,
                seq: row.seq + 1,
                ts: at,
                alert,
                prev: Some(prev),
                by: None,
                cause: Cause::Config,
            };
            let row = EventRow::of(&event, &self.envelope);
            self.pending.events.push(row);
        }
        self.flush();
        Ok(())
    }

    fn make_reserve(&self) {
        if std::fs::metadata(&self.reserve).is_ok_and(|m| m.len() == RESERVE_BYTES as u64) {
            return;
        }
        if let Err(error) = std::fs::write(&self.reserve, vec![0x5A; RESERVE_BYTES]) {
            tracing::warn!(%error, "no reserve for a full disk");
            let _ = std::fs::remove_file(&self.reserve);
        }
    }

    fn note_lag(&mut self, at: Timestamp) {
        let now = wall_ms();
        let lag = (now - at.ms()).max(0) as f64;
        if self.lag_ms.len() >= LAG_SAMPLES_MAX {
            self.lag_ms.pop_front();
        }
        metrics::lag(lag / 1000.0);
        self.lag_ms.push_back((now, lag));
    }

    fn lag(&mut self) -> Option<LagMs> {
        let before = wall_ms() - 60_000;
        while self.lag_ms.front().is_some_and(|(at, _)| *at < before) {
            self.lag_ms.pop_front();
        }
        if self.lag_ms.is_empty() {
            return None;
        }
        let mut sorted: Vec<f64> = self.lag_ms.iter().map(|(_, lag)| *lag).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
        Some(LagMs { p50: at(0.5), p99: at(0.99) })
    }

    /// State documents, each at its own pace.
    fn publish(&mut self) {
        let now = self.pending.applied_until;
        let now_ms = now.ms();
        self.parts.board.answer(&self.monitor);
        self.parts.asked.answer(&self.monitor);
        self.publish_beds(now);
        self.publish_wards(now);
        self.step_selftests();
        if std::mem::replace(&mut self.slow_second, now_ms / 1000) == now_ms / 1000 {
            return;
        }
        if let Some(trends) = &mut self.parts.trends {
            trends.tick(&self.monitor, now);
        }
        self.publish_feeds(now);
        self.publish_cases(now);
        self.publish_info(now);
        self.step_stations(now);
        let (beds, alerts) = self.monitor.counts(now);
        let lag_ms = self.lag();
        let pulse = Pulse { beds, alerts, lag_ms };
        metrics::pulse(&pulse);
        metrics::outbox(self.parts.link.outbox_depth());
        *self.parts.pulse.lock() = pulse;
        let (depth, max) = (self.parts.link.outbox_depth() as f64, self.parts.link.outbox_max().max(1) as f64);
        if !self.outbox_behind && depth > OUTBOX_BEHIND * max {
            self.outbox_behind = true;
            self.condition("S02", true);
        } else if self.outbox_behind && depth < OUTBOX_CAUGHT_UP * max {
            self.outbox_behind = false;
            self.condition("S02", false);
        }
    }

    fn publish_beds(&mut self, now: Timestamp) {
        let due: Vec<BedId> = self
            .dirty
            .iter()
            .copied()
            .filter(|bed| self.bed_published.get(bed).is_none_or(|at| now.ms() - at >= BED_EVERY_MS))
            .collect();
        let old: Vec<BedId> = if now.ms() / 1000 == self.slow_second {
            Vec::new()
        } else {
            let published = &self.bed_published;
            self.monitor
                .beds()
                .map(|place| place.id)
                .filter(|id| published.get(id).is_some_and(|at| now.ms() - at >= BED_AT_LEAST_MS))
                .collect()
        };
        for bed in due.into_iter().chain(old) {
            self.dirty.remove(&bed);
            self.bed_published.insert(bed, now.ms());
            let Some(state) = self.monitor.bed_state(bed, now) else { continue };
            self.wards.entry(state.ward.clone()).or_default().changed = true;
            let prefix = format!("ward/{}/bed/{}", state.ward, state.bed);
            let kind = if state.active.is_empty() { Kind::Bed } else { Kind::BedWithAlerts };
            self.put(&format!("{prefix}/state"), kind, state.to_json(&self.envelope));
            if self.parts.vitals
                && let Some(vitals) = self.monitor.vitals(bed, now)
            {
                self.parts.link.transient(Transient::Vitals, &format!("{prefix}/vitals"), vitals.to_json(&self.envelope).into());
            }
            if self.parts.flat
                && let Some(flat) = self.monitor.flat(bed, now)
            {
                self.parts.link.transient(Transient::Flat, &format!("{prefix}/flat"), flat.to_json().into());
            }
        }
    }

    fn publish_wards(&mut self, now: Timestamp) {
        let due: Vec<String> = self
            .wards
            .iter()
            .filter(|(_, clock)| {
                let age = now.ms() - clock.published_ms;
                age >= WARD_AT_LEAST_MS || (clock.changed && age >= WARD_EVERY_MS)
            })
            .map(|(ward, _)| ward.clone())
            .collect();
        for ward in due {
            let parts = self.monitor.ward_states(&ward, now);
            for part in &parts {
                self.put(&part.topic(), Kind::Ward, part.to_json(&self.envelope));
            }
            let clock = self.wards.entry(ward.clone()).or_default();
            // A ward that became shorter leaves no old part behind.
            for gone in parts.len()..clock.parts {
                let topic = format!("ward/{ward}/state/{gone}");
                self.parts.retained.put(&topic, Kind::Ward, bytes::Bytes::new());
                self.parts.link.note_removed(Removed { topic: format!("{}/{topic}", self.parts.base), ts: now });
            }
            *clock = WardClock { published_ms: now.ms(), changed: false, parts: parts.len() };
        }
    }

    fn put(&mut self, topic: &str, kind: Kind, json: String) {
        self.parts.retained.put(topic, kind, json.into());
        if !self.overfull_said && self.parts.retained.counts().1 > 0 {
            self.overfull_said = true;
            tracing::warn!(limit = RETAINED_MAX, "further beds stand in ward documents and on HTTP only");
        }
    }

    fn publish_feeds(&mut self, now: Timestamp) {
        for stats in self.parts.feeds.clone() {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let feed = stats.feed.clone();
            let (received, connections) = (count(&stats.received), count(&stats.connections));
            let rates = self.feed_rates.entry(feed.clone()).or_default();
            rates.push_back((now.ms(), received, stats.troubles()));
            while rates.len() > 61 {
                rates.pop_front();
            }
            let rate_per_s = match (rates.front(), rates.back()) {
                (Some((t0, n0, _)), Some((t1, n1, _))) if t1 > t0 => (n1 - n0) as f64 * 1000.0 / (t1 - t0) as f64,
                _ => 0.0,
            };
            let refused = rates.front().zip(rates.back()).is_some_and(|(first, last)| last.2 > first.2);
            let core = self.monitor.feeds().find(|c| c.feed == feed);
            if let Some(counts) = core {
                metrics::feed(counts);
            }
            let skew_ms = core.and_then(crate::monitor::FeedCounts::skew_ms);
            let skewed = skew_ms.is_some_and(|ms| ms.abs() > FEED_SKEW_MS);
            if let Some(ms) = skew_ms {
                metrics::feed_skew(&feed, ms);
            }
            // Some senders open a connection for each message.
            let heard = core.and_then(|c| c.last_message_at).is_some_and(|at| now.since_ms(at) < FEED_QUIET_MS);
            let cut = stats.path.as_ref().is_some_and(|path| path.is_cut());
            let state = if cut || (connections == 0 && !heard) {
                FeedState::Down
            } else if refused || skewed || !self.parts.writable.load(Ordering::Relaxed) {
                FeedState::Degraded
            } else {
                FeedState::Up
            };
            let (last_at, last_state) = self.feed_published.get(&feed).copied().unwrap_or((i64::MIN / 2, FeedState::Down));
            if state == last_state && now.ms() - last_at < FEED_AT_LEAST_MS {
                continue;
            }
            self.feed_published.insert(feed.clone(), (now.ms(), state));
            let status = document::FeedStatus {
                feed: feed.clone(),
                state,
                peer: core.filter(|_| connections > 0).map(|c| c.peer.clone()).filter(|p| !p.is_empty()),
                rate_per_s: (rate_per_s * 10.0).round() / 10.0,
                last_message_ts: core.and_then(|c| c.last_message_at),
                skew_ms,
                counts: document::FeedCounts {
                    received,
                    aa: count(&stats.aa),
                    ae: count(&stats.ae),
                    ar: count(&stats.ar),
                    duplicates: core.map_or(0, |c| c.duplicates),
                    out_of_order: core.map_or(0, |c| c.out_of_order),
                },
                wards: core.map_or_else(Vec::new, |c| c.wards.clone()),
                path: stats.path.as_ref().map(|path| path.document()),
            };
            self.rev += 1;
            let payload = document::feed_status(&self.parts.origin, now, self.rev, &status);
            self.parts.retained.put(&format!("feed/{feed}/status"), Kind::Feed, payload.into());
        }
    }

    /// Cases that have changed; all of them so often that a document is believed.
    fn publish_cases(&mut self, now: Timestamp) {
        let all = now.ms() - self.cases_looked_at >= CASES_EVERY_MS;
        if !all && self.cases_dirty.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.cases_dirty);
        if all {
            self.cases_looked_at = now.ms();
            self.keeper.retry();
            self.keeper.look(self.parts.journal.folder(), &self.parts.store, &self.cases, now, Instant::now());
        }
        for case in self.cases.iter() {
            let topic = format!("case/{}/status", case.id);
            let over = case.closed.as_ref().is_some_and(|c| now.since_ms(c.by.at) >= cases::TOLD_AFTER_CLOSING_MS);
            if over {
                if self.parts.retained.holds(&topic) {
                    self.parts.retained.put(&topic, Kind::Case, bytes::Bytes::new());
                    self.parts.link.note_removed(Removed { topic: format!("{}/{topic}", self.parts.base), ts: now });
                }
            } else if all || dirty.contains(&case.id) {
                self.rev += 1;
                let clocks = cases::clock_lines(case, &self.parts.zone);
                let payload = document::case_status(&self.parts.origin, now, self.rev, case, &clocks);
                self.parts.retained.put(&topic, Kind::Case, payload.into());
            }
        }
        if all {
            self.cases.forget(now);
        }
    }

    fn publish_info(&mut self, now: Timestamp) {
        let wards: Vec<document::WardInfo> = self
            .monitor
            .wards()
            .iter()
            .map(|ward| document::WardInfo {
                ward: (*ward).to_owned(),
                beds: self.monitor.beds().filter(|p| p.ward == *ward && !p.reserved).count() as u32,
                parts: self.wards.get(*ward).map_or(1, |c| c.parts.max(1)) as u32,
            })
            .collect();
        let removed = self.removed();
        let shape = (wards.iter().map(|w| w.beds as usize).sum(), removed.len());
        if shape == self.info_shape && now.ms() - self.info_published < INFO_EVERY_MS {
            return;
        }
        self.info_shape = shape;
        self.info_published = now.ms();
        let stats = self.parts.journal.stats();
        let model = self.monitor.model_hash().to_owned();
        let checks = crate::check::catalogue_hash();
        self.rev += 1;
        let info = document::SysInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            build: option_env!("VITALGUARD_BUILD").unwrap_or("dev").into(),
            config: self.parts.config_hash.clone(),
            model: format!("sha256:{model}"),
            checks: format!("sha256:{}", &checks[..16]),
            languages: vec!["en".into(), "it".into()],
            schemas: "/api/v1/schemas".into(),
            asyncapi: "/api/v1/asyncapi.json".into(),
            retained: document::RetainedBudget {
                limit: RETAINED_MAX as u32,
                // Two more: this document and `sys/status`.
                expected: (self.parts.retained.counts().0 as u32 + 2).min(RETAINED_MAX as u32),
            },
            journal: document::JournalHead {
                records: stats.records,
                head: format!("sha256:{}", &hex(&stats.head)[..16]),
                signer: self.parts.head_signer.clone(),
            },
            wards,
            removed,
        };
        let payload = document::sys_info(&self.parts.origin, now, self.rev, &info);
        self.parts.retained.put("sys/info", Kind::Sys, payload.into());
    }

    /// Topics that were cleared within a week and do not stand there again; new ones are kept.
    fn removed(&mut self) -> Vec<Removed> {
        let all = self.parts.link.removed();
        for removed in all.iter().filter(|removed| !self.removed_stored.contains(removed)).cloned().collect::<Vec<_>>() {
            if !self.store_failing && self.parts.store.note_removed(&removed).is_ok() {
                self.removed_stored.push(removed);
            }
        }
        self.removed_stored.retain(|removed| all.contains(removed));
        let week = wall_ms() - REMOVED_MS;
        let there = |topic: &str| {
            let relative = topic.strip_prefix(&self.parts.base).and_then(|rest| rest.strip_prefix('/'));
            relative.and_then(|topic| self.parts.retained.get(topic)).is_some_and(|document| !document.payload.is_empty())
        };
        all.into_iter().filter(|removed| removed.ts.ms() >= week && !there(&removed.topic)).collect()
    }

    fn snapshot_if_due(&mut self) {
        let now = self.pending.applied_until.ms();
        if self.snapshot_at == i64::MIN {
            self.snapshot_at = now;
        }
        let due = (now - self.snapshot_at) as f64 / 1000.0 >= self.parts.snapshot_s
            || self.pending.sequence - self.snapshot_sequence >= SNAPSHOT_RECORDS;
        if !due || self.pending.sequence == self.snapshot_sequence || self.store_failing {
            return;
        }
        if self.snapshot_thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        // Nothing may stand in a snapshot that the store does not hold: neither an effect nor a deadline that has fired.
        if !self.commit() {
            return;
        }
        if let Some(trends) = &mut self.parts.trends {
            trends.flush(&self.monitor);
        }
        self.snapshot_at = now;
        self.snapshot_sequence = self.pending.sequence;
        let (folder, sequence, state) = (self.parts.journal.folder().to_owned(), self.pending.sequence, self.monitor.snapshot());
        let (at, past_bytes) = (self.monitor.at(), self.parts.past_bytes);
        let encryption = self.parts.journal.encryption().cloned();
        self.snapshot_thread = std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || {
                save_snapshot(&folder, sequence, &state, encryption.as_ref());
                let kept = journal::keep(&folder, at, sequence, &state, past_bytes, encryption.as_deref());
                if let Err(error) = kept {
                    tracing::warn!(%error, "a state of the past was not kept: explanations of this time take longer");
                }
            })
            .map_err(|error| tracing::warn!(%error, "no thread for a snapshot"))
            .ok();
    }
}

/// The newest usable snapshot and the first record after it. No monitor: none was usable, and the journal is read from its
/// beginning (0), or, where another model decides now, from after `through`.
fn begin(settings: &Settings, folder: &Path, through: u64) -> Result<(Option<Monitor>, u64), EngineError> {
    for (sequence, path) in latest_snapshots(folder)? {
        let state = match read_snapshot(&path) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%error, "a snapshot cannot be used, trying the one before");
                continue;
            }
        };
        match Monitor::restore(settings.clone(), &state) {
            Ok(monitor) => return Ok((Some(monitor), sequence + 1)),
            Err(error @ crate::monitor::RestoreError::OtherModel { .. }) => {
                tracing::warn!(%error, "new baselines begin, open alerts are closed");
                return Ok((None, through + 1));
            }
            Err(error) => tracing::warn!(%error, "a snapshot cannot be used, trying the one before"),
        }
    }
    Ok((None, 0))
}

/// The monitor as a data folder has it, for a look: snapshot and the journal's tail. Nothing is written; the service that owns
/// the folder may run.
pub fn look(settings: &Settings, folder: &Path) -> Result<Monitor, EngineError> {
    let folder = folder.join("journal");
    let (monitor, from) = begin(settings, &folder, 0)?;
    let from = if monitor.is_some() { from } else { 0 };
    let mut monitor = monitor.unwrap_or_else(|| Monitor::new(settings.clone()));
    let quarantine = Quarantine::read(&folder)?;
    for entry in Reader::open(&folder, from)? {
        let stamped = entry?.stamped;
        if quarantine.holds(stamped.sequence) {
            monitor.handle_timeout(stamped.at);
        } else {
            handle(&mut monitor, &stamped);
        }
        while monitor.poll_output().is_some() {}
    }
    Ok(monitor)
}

/// Takes a record, and says which beds it was about: those that a deadline has changed meanwhile are not among them.
pub(crate) fn touched(monitor: &mut Monitor, stamped: &Stamped) -> Vec<BedId> {
    monitor.handle_timeout(stamped.at);
    while monitor.poll_output().is_some() {}
    handle(monitor, stamped);
    let mut beds = Vec::new();
    while let Some(output) = monitor.poll_output() {
        if let Output::BedChanged(bed) = output {
            beds.push(bed);
        }
    }
    beds
}

/// One record told to a monitor, as the judging thread tells it.
pub(crate) fn handle(monitor: &mut Monitor, stamped: &Stamped) {
    let at = stamped.at;
    #[cfg(debug_assertions)]
    exercise(&stamped.record);
    match &stamped.record {
        Record::Start { applied_until, .. } => monitor.handle_start(*applied_until, at),
        Record::Open { source, .. } => monitor.handle_open(source, at),
        Record::Close { connection } => monitor.handle_close(*connection, at),
        Record::Frame { source, payload } => monitor.handle_frame(source, stamped.sequence, payload, at),
        Record::Fragment { source, what, payload } => match crate::shell::tap::sighting(what, payload) {
            Some(sighting) => monitor.handle_indicator(&sighting, at),
            None => monitor.handle_fragment(source, what, stamped.sequence, at),
        },
        Record::Command(command) => monitor.handle_command(command, stamped.sequence, at),
        Record::Audit(_) | Record::Case(_) => monitor.handle_timeout(at),
    }
}

/// Exercises, in debug builds only: a frame that contains the text of `VG_EXERCISE_PANIC` panics.
#[cfg(debug_assertions)]
fn exercise(record: &Record) {
    static TEXT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let text = TEXT.get_or_init(|| std::env::var("VG_EXERCISE_PANIC").ok().filter(|text| !text.is_empty()));
    if let (Some(text), Record::Frame { payload, .. }) = (text, record)
        && payload.windows(text.len()).any(|window| window == text.as_bytes())
    {
        panic!("exercise");
    }
}

fn save_snapshot(folder: &Path, sequence: u64, state: &[u8], encryption: Option<&Arc<EncryptionKey>>) {
    if let Err(error) = write_snapshot(folder, sequence, state, encryption.map(Arc::as_ref)) {
        tracing::warn!(%error, "a snapshot was not written: the next start reads more of the journal");
    }
}

fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
