//! What cases hold of the journal: set before a step is answered, looked at once an hour, ended by a person or by time.
//!
//! One contract: the hold of a case that must be kept is never narrowed and never taken back. What only the clock ends goes after
//! two looks an hour apart, of the journal's time and of a clock that nobody sets: a time that was wrong for a moment ends nothing.

use super::{Cases, case_of_hold, hold_name};
use crate::case::{Case, Item};
use crate::shell::journal::{self, Hold, JournalError, Reader, Record, segment_before};
use crate::shell::store::Store;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything that is held is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// Between two looks the journal's time goes on by this at least, ms: a minute less, so that a slow clock is one, too.
const LOOK_EVERY_MS: i64 = 3_540_000;
/// A state is taken so long before what is held at most, s: before a day they are kept once an hour.
const STATE_WITHIN_S: f64 = 7_200.0;
/// A case is in the journal so long after its id was made, at the latest, s: the command line gathers for ten minutes.
const OPENS_WITHIN_S: f64 = 1_200.0;

/// Whether a person has let the evidence of a case go.
pub fn is_let_go(case: &Case) -> bool {
    case.closed.is_some() && case.released.is_some()
}

/// Holds what a case needs of the journal; what a person has let go is not held any more. A case whose time is over stays as it
/// is. Gives whether it is held.
pub fn keep(folder: &Path, case: &Case, now: Timestamp) -> Result<bool, JournalError> {
    keep_among(folder, &journal::holds(folder)?, case, now)
}

fn keep_among(folder: &Path, holds: &[Hold], case: &Case, now: Timestamp) -> Result<bool, JournalError> {
    let name = hold_name(&case.id);
    let there = holds.iter().find(|hold| hold.name == name);
    if is_let_go(case) {
        return there.map_or(Ok(()), |_| journal::release(folder, &name)).map(|()| false);
    }
    // Without a record there is nothing to hold yet: what stands was set for the steps that follow.
    let Some((first, last)) = case.records().filter(|_| case.keeps(now)) else { return Ok(there.is_some()) };
    let first = reach_back(folder, case, first);
    // A damaged note holds everything: it is written anew.
    let whole = there.filter(|hold| (hold.first, hold.last) != (0, u64::MAX));
    let wanted = whole.map_or((first, last), |hold| (hold.first.min(first), hold.last.max(last)));
    if whole.is_some_and(|hold| (hold.first, hold.last) == wanted) {
        return Ok(true);
    }
    journal::hold(folder, &name, wanted.0, wanted.1).map(|()| true)
}

/// What is held begins behind the newest kept state before it, so that it can be judged again from there. Where that is far away,
/// with the first record itself.
fn reach_back(folder: &Path, case: &Case, first: u64) -> u64 {
    let from = case.items.iter().filter_map(|held| match held.item {
        Item::Range { from, .. } => Some(from),
        _ => None,
    });
    let Some(from) = from.min() else { return first };
    let past = journal::past(folder).unwrap_or_default().into_iter().find(|past| past.sequence < first);
    past.filter(|past| from.since_s(past.at) <= STATE_WITHIN_S).map_or(first, |past| past.sequence + 1)
}

/// What the judging thread remembers of holds.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// Cases that have changed: held before the next commit.
    due: BTreeSet<String>,
    /// Cases where that failed.
    failed: BTreeSet<String>,
    looked: Option<Instant>,
    /// Cases whose time is over, since when: in the journal's time, ms, and on the clock that nobody sets.
    over: BTreeMap<String, (i64, Instant)>,
    /// Holds of cases that nobody knows, looked into already.
    unknown: BTreeSet<String>,
}

impl Keeper {
    /// A case has changed.
    pub fn note(&mut self, case: &str) {
        self.due.insert(case.to_owned());
    }
    /// What failed is tried again with the next commit.
    pub fn retry(&mut self) {
        self.due.append(&mut self.failed);
    }
    /// Holds what the changed cases need, and lets go what a person has let go.
    pub fn keep_due(&mut self, folder: &Path, store: &Store, cases: &Cases, now: Timestamp) {
        if self.due.is_empty() {
            return;
        }
        let holds = match journal::holds(folder) {
            Ok(holds) => holds,
            Err(error) => {
                tracing::error!(%error, "holds cannot be listed: what cases need of the journal is not held");
                self.failed.append(&mut self.due);
                return;
            }
        };
        for case in std::mem::take(&mut self.due).iter().filter_map(|id| cases.known.get(id)) {
            self.keep_one(folder, &holds, store, case, now);
        }
    }
    /// Looks at everything that is held, once an hour.
    pub fn look(&mut self, folder: &Path, store: &Store, cases: &Cases, now: Timestamp, clock: Instant) {
        if self.looked.is_some_and(|at| clock.saturating_duration_since(at) < LOOK_EVERY) {
            return;
        }
        let holds = match journal::holds(folder) {
            Ok(holds) => holds,
            Err(error) => {
                tracing::warn!(%error, "holds cannot be listed");
                return;
            }
        };
        self.looked = Some(clock);
        for case in cases.iter() {
            self.look_at(folder, &holds, store, case, now, clock);
        }
        let mut orphans = Vec::new();
        for id in holds.iter().filter_map(|hold| case_of_hold(&hold.name)).filter(|id| !cases.known.contains_key(*id)) {
            match store.case(id) {
                Ok(Some(case)) => self.look_at(folder, &holds, store, &case, now, clock),
                // It may be about to be opened.
                Ok(None) if is_young(folder, id) => {}
                Ok(None) => orphans.extend(self.unknown.insert(id.to_owned()).then(|| id.to_owned())),
                Err(error) => tracing::warn!(%error, "a case cannot be read"),
            }
        }
        if !orphans.is_empty() {
            let folder = folder.to_owned();
            // Reads the journal: not on the judging thread.
            let begun = std::thread::Builder::new().name("holds".into()).spawn(move || release_orphans(&folder, &orphans));
            if let Err(error) = begun {
                tracing::warn!(%error, "no thread for holds of unknown cases");
            }
        }
    }

    fn look_at(&mut self, folder: &Path, holds: &[Hold], store: &Store, case: &Case, now: Timestamp, clock: Instant) {
        if case.keeps(now) || is_let_go(case) {
            self.over.remove(&case.id);
            return self.keep_one(folder, holds, store, case, now);
        }
        let (since_ms, since) = *self.over.entry(case.id.clone()).or_insert((now.ms(), clock));
        if now.ms() - since_ms < LOOK_EVERY_MS || clock.saturating_duration_since(since) < LOOK_EVERY {
            return;
        }
        self.over.remove(&case.id);
        match journal::release(folder, &hold_name(&case.id)) {
            Ok(()) => end(store, case),
            Err(error) => tracing::warn!(%error, case = case.id, "the hold of a case stays longer than it must"),
        }
    }

    fn keep_one(&mut self, folder: &Path, holds: &[Hold], store: &Store, case: &Case, now: Timestamp) {
        match keep_among(folder, holds, case, now) {
            Ok(_) if is_let_go(case) => end(store, case),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, case = case.id, "what a case needs of the journal is not held");
                self.failed.insert(case.id.clone());
            }
        }
    }
}

fn end(store: &Store, case: &Case) {
    if let Err(error) = store.let_go(&case.id) {
        tracing::warn!(%error, case = case.id, "the alerts of a case stay longer than they must");
    }
}

/// Whether a hold was set less than an hour ago, or nobody can say when.
fn is_young(folder: &Path, case: &str) -> bool {
    let written = std::fs::metadata(folder.join(format!("hold-{}", hold_name(case)))).and_then(|meta| meta.modified());
    written.ok().and_then(|at| at.elapsed().ok()).is_none_or(|age| age < LOOK_EVERY)
}

/// Ends holds whose case was never opened. One whose opening stands in the journal, or cannot be looked for, stays.
fn release_orphans(folder: &Path, cases: &[String]) {
    for case in cases {
        match was_opened(folder, case) {
            Some(false) => match journal::release(folder, &hold_name(case)) {
                Ok(()) => tracing::warn!(case, "the hold of a case that was never opened is ended"),
                Err(error) => tracing::warn!(%error, case, "the hold of a case that was never opened stays"),
            },
            _ => tracing::warn!(case, "the store does not know the case of a hold: it stays, and nothing of it goes"),
        }
    }
}

/// Whether the journal has a step of a case about the time of its id; `None`: nobody can say.
fn was_opened(folder: &Path, case: &str) -> Option<bool> {
    let opened = time_of(case)?;
    let mut before = false;
    for entry in Reader::open(folder, segment_before(folder, opened).ok()?).ok()? {
        let stamped = entry.ok()?.stamped;
        if matches!(&stamped.record, Record::Case(act) if act.case == case) {
            return Some(true);
        }
        // What is read must begin before it: else its opening may be what is not kept any more.
        before |= stamped.at <= opened;
        if !before || stamped.at > opened.plus_s(OPENS_WITHIN_S) {
            break;
        }
    }
    before.then_some(false)
}

/// When the id of a case was made.
fn time_of(case: &str) -> Option<Timestamp> {
    let text = case.strip_prefix("C-")?.split('-').next()?;
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%fZ", text).ok()?;
    Some(Timestamp::from_ms(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Act, Closed, Step, Way};
    use crate::case::{By, Held};

    const NOW: Timestamp = Timestamp::from_ms(1_767_755_045_678);

    struct Room {
        folder: tempfile::TempDir,
        store: Store,
    }

    fn room() -> Room {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.sqlite"), 10).unwrap();
        Room { folder, store }
    }

    fn opened() -> Case {
        let act = Act {
            id: "x".into(),
            case: Case::id_of(NOW, 255),
            expect: None,
            user: "eng".into(),
            via: Way::Web,
            step: Step::Open { title: "a case".into(), alert: None },
        };
        Case::open(&act, 1, NOW).unwrap()
    }

    fn with(mut case: Case, sequence: u64) -> Case {
        let by = By { user: "eng".into(), at: NOW };
        case.items.push(Held { number: case.version, by, item: Item::Action { sequence } });
        case
    }

    fn closed(mut case: Case) -> Case {
        let by = By { user: "eng".into(), at: NOW };
        case.closed = Some(Closed { by, reason: "done".into(), keep_until: NOW.plus_s(60.0) });
        case
    }

    fn held(room: &Room) -> Option<(u64, u64)> {
        journal::holds(room.folder.path()).unwrap().first().map(|hold| (hold.first, hold.last))
    }

    #[test]
    fn what_was_held_for_a_case_is_neither_taken_back_nor_narrowed_by_its_first_steps() {
        let room = room();
        let folder = room.folder.path();
        let case = opened();
        journal::hold(folder, &hold_name(&case.id), 5, 90).unwrap();
        assert!(keep(folder, &case, NOW).unwrap());
        assert_eq!(held(&room), Some((5, 90)), "no item yet");
        let case = with(case, 40);
        assert!(keep(folder, &case, NOW).unwrap());
        assert_eq!(held(&room), Some((5, 90)));
        assert!(keep(folder, &with(case, 120), NOW).unwrap());
        assert_eq!(held(&room), Some((5, 120)));
    }

    #[test]
    fn what_is_held_begins_behind_a_state_that_is_near() {
        let room = room();
        let folder = room.folder.path();
        std::fs::write(folder.join(format!("{:020}.vgj", 1)), b"").unwrap();
        let state = |seconds: f64, sequence| journal::keep(folder, NOW.plus_s(seconds), sequence, b"state", 1 << 20, None);
        state(-9_000.0, 10).unwrap();
        let mut case = opened();
        let by = By { user: "eng".into(), at: NOW };
        let item = Item::Range { ward: "icu".into(), bed: "A01".into(), from: NOW, to: NOW, first: 40, last: 50 };
        case.items.push(Held { number: 2, by, item });
        keep(folder, &case, NOW).unwrap();
        assert_eq!(held(&room), Some((40, 50)), "too far away");
        state(-700.0, 30).unwrap();
        state(60.0, 45).unwrap();
        keep(folder, &case, NOW).unwrap();
        assert_eq!(held(&room), Some((31, 50)));
    }

    #[test]
    fn a_clock_far_ahead_ends_nothing_unless_it_stays_there_for_an_hour() {
        let room = room();
        let folder = room.folder.path();
        let case = with(closed(opened()), 40);
        let mut cases = Cases::default();
        cases.known.insert(case.id.clone(), case.clone());
        let mut keeper = Keeper::default();
        keeper.note(&case.id);
        keeper.keep_due(folder, &room.store, &cases, NOW);
        assert_eq!(held(&room), Some((40, 40)));
        let clock = Instant::now();
        let hours = |n: u64| clock + Duration::from_secs(3_600 * n);
        let ahead = NOW.plus_s(86_400.0);
        keeper.look(folder, &room.store, &cases, ahead, clock);
        // Right again; then far ahead and standing still, as the journal's time does until the clock has caught up.
        keeper.look(folder, &room.store, &cases, NOW, hours(1));
        keeper.look(folder, &room.store, &cases, ahead, hours(2));
        keeper.look(folder, &room.store, &cases, ahead.plus_ms(1), hours(3));
        assert!(held(&room).is_some());
        keeper.look(folder, &room.store, &cases, ahead.plus_s(3_600.0), hours(3) + Duration::from_secs(60));
        assert!(held(&room).is_some(), "not before an hour is over");
        keeper.look(folder, &room.store, &cases, ahead.plus_s(7_200.0), hours(4));
        assert_eq!(held(&room), None);
    }

    #[test]
    fn after_its_time_a_case_is_let_go_and_retention_takes_what_it_held() {
        let room = room();
        let folder = room.folder.path();
        let begun = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(NOW.ms()));
        let run = |records: u32, bytes: u64| {
            let mut options = journal::Options::new(&crate::config::Config::default().journal, "boot");
            let read = std::sync::Arc::clone(&begun);
            options.clock =
                std::sync::Arc::new(move || journal::Now { wall_ms: read.load(std::sync::atomic::Ordering::SeqCst), mono_ns: 0 });
            (options.segment_bytes, options.retain_bytes) = (4 << 10, bytes);
            let (journal, feed) = journal::Journal::open(folder, options).unwrap();
            let feeds = std::thread::spawn(move || feed.iter().count());
            for n in 0..records {
                let (source, payload) = (Default::default(), vec![b'x'; 300]);
                journal.handle().submit_blocking(Record::Fragment { source, what: format!("{n}"), payload }).unwrap();
            }
            journal.close();
            feeds.join().unwrap();
        };
        let first = || Reader::open(folder, 0).unwrap().next().unwrap().unwrap().stamped.sequence;
        run(60, u64::MAX);
        // Closed, and kept for a year.
        let mut case = with(closed(opened()), 3);
        case.closed.as_mut().unwrap().keep_until = NOW.plus_s(365.0 * 86_400.0);
        let mut cases = Cases::default();
        cases.known.insert(case.id.clone(), case.clone());
        let mut keeper = Keeper::default();
        keeper.note(&case.id);
        keeper.keep_due(folder, &room.store, &cases, NOW);
        let clock = Instant::now();
        let mut look = |days: f64, hours: u64| {
            let now = NOW.plus_s(days * 86_400.0);
            begun.store(now.ms(), std::sync::atomic::Ordering::SeqCst);
            keeper.look(folder, &room.store, &cases, now, clock + Duration::from_secs(3_600 * hours));
        };
        look(364.9, 1);
        look(364.99, 3);
        run(1, 0);
        assert!(held(&room).is_some() && first() == 1, "a year is not over");
        look(365.1, 5);
        assert!(held(&room).is_some(), "seen once");
        look(365.2, 7);
        assert_eq!(held(&room), None);
        run(1, 0);
        assert!(first() > 60, "{}", first());
    }

    #[test]
    fn the_time_of_a_case_is_in_its_id() {
        assert_eq!(time_of(&Case::id_of(NOW, 7)), Some(NOW));
        assert_eq!(time_of("C-20269907T030405678Z-00ff"), None);
    }

    #[test]
    fn the_hold_of_a_case_that_was_never_opened_goes_and_one_that_was_stays() {
        let room = room();
        let folder = room.folder.path().join("journal");
        std::fs::create_dir(&folder).unwrap();
        let mut options = journal::Options::new(&crate::config::Config::default().journal, "boot");
        options.clock = std::sync::Arc::new(|| journal::Now { wall_ms: NOW.ms(), mono_ns: 0 });
        let (journal, feed) = journal::Journal::open(&folder, options).unwrap();
        std::thread::spawn(move || for _ in feed {});
        let start = Record::Start { boot: "boot".into(), applied_until: Timestamp::MIN };
        journal.handle().submit_blocking(start).unwrap();
        let case = |salt| Case::id_of(NOW, salt);
        let step = Step::Open { title: "a case".into(), alert: None };
        let act = Act { id: "x".into(), case: case(1), expect: None, user: "eng".into(), via: Way::Web, step };
        journal.handle().submit_blocking(Record::Case(Box::new(act))).unwrap();
        journal.close();
        // The third one is older than the journal: its opening may have been there.
        let lost = Case::id_of(NOW.plus_s(-60.0), 3);
        let list = [case(1), case(2), lost.clone()];
        for id in &list {
            journal::hold(&folder, &hold_name(id), 1, 2).unwrap();
        }
        assert!(is_young(&folder, &case(1)));
        release_orphans(&folder, &list);
        let left: Vec<String> = journal::holds(&folder).unwrap().into_iter().map(|hold| hold.name).collect();
        assert_eq!(left, [hold_name(&lost), hold_name(&case(1))]);
    }
}
