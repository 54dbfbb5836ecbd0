//! One bed with everything that belongs to it.

use super::SUSPICION_LOG10_E;
use super::named::NamedBy;
use super::resent::Resent;
use crate::bed::Bed;
use crate::check::{States, Verdicts, id};
use crate::clockwork::Hands;
use crate::episode::Episodes;
use crate::fusion::{Finding, Findings};
use crate::observation::AgeBand;
use crate::profile::learn::{Learner, Lesson};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A bed, what its checks remember, what they found, and the alerts of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cell {
    pub bed: Bed,
    pub states: States,
    pub findings: Findings,
    pub episodes: Episodes,
    pub resent: Resent,
    /// Feeds beside its own that bring the same values.
    pub copies: Vec<super::copies::Copies>,
    /// What its device does.
    pub learner: Learner,
    /// How the own times of its messages stand to ours.
    pub hands: Hands,
    /// Grows with every [`Output::BedChanged`](super::Output::BedChanged).
    pub rev: u64,
    /// `_ward`, `_site`, `_unassigned-…`, `_selftest`.
    pub reserved: bool,
    /// Feed, `dev-…` and MSH-3 of the last message.
    pub feed: String,
    pub device: String,
    pub application: String,
    /// MSH-7 of the last message.
    pub sent_at: Timestamp,
    /// A message was heard since the bed was opened.
    pub heard: bool,
    /// Who was discharged last (0: nobody named), and when.
    pub left: u64,
    pub left_at: Timestamp,
    /// When somebody said that nobody is monitored here, and it still holds.
    pub off_at: Option<Timestamp>,
    /// Whom ADT has in this bed (0: nobody), and when an ADT last spoke of it.
    pub bound: u64,
    pub adt_at: Timestamp,
    /// Who was displaced by the last admission, should it be cancelled.
    pub before: u64,
    /// First and last ADT of the ward (at most a minute old).
    pub ward_adt: (Timestamp, Timestamp),
    /// Age band by birth date, and the category last sent.
    pub born: AgeBand,
    pub class: Option<AgeBand>,
    /// Connection of the last message.
    pub connection: u64,
    /// The message that named who lies there now.
    pub named: Option<NamedBy>,
    /// When the checks want to look, and when anything else is to be done.
    pub judge_at: Timestamp,
    pub house_at: Timestamp,
    /// When its document is due by itself: a value becomes stale, or a minute is over.
    pub beat_at: Timestamp,
    /// We began at `started_at` and were away before: until `grace_until` nothing is judged without a message, and what
    /// began while we were away is nobody's silence.
    pub started_at: Timestamp,
    pub grace_until: Timestamp,
    /// The time under which it stands in the queue; earlier entries are found to be void.
    #[serde(skip)]
    pub queued_at: Option<Timestamp>,
}

impl Cell {
    pub fn new(ward: &str, bed: &str, reserved: bool, at: Timestamp) -> Cell {
        Cell {
            bed: Bed::new(ward.to_owned(), bed.to_owned(), at),
            states: States::default(),
            findings: Findings::default(),
            episodes: Episodes::default(),
            resent: Resent::default(),
            copies: Vec::new(),
            learner: Learner::default(),
            hands: Hands::default(),
            rev: 0,
            reserved,
            feed: String::new(),
            device: String::new(),
            application: String::new(),
            sent_at: Timestamp::MIN,
            heard: false,
            left: 0,
            left_at: Timestamp::MIN,
            off_at: None,
            bound: 0,
            adt_at: Timestamp::MIN,
            before: 0,
            ward_adt: (Timestamp::MIN, Timestamp::MIN),
            born: AgeBand::Unknown,
            class: None,
            connection: 0,
            named: None,
            judge_at: Timestamp::MAX,
            house_at: Timestamp::MAX,
            beat_at: Timestamp::MIN,
            started_at: Timestamp::MIN,
            grace_until: Timestamp::MIN,
            queued_at: None,
        }
    }

    /// Its device's habits, from a message that was judged.
    pub fn learn(&mut self, lesson: &Lesson<'_>, verdicts: &Verdicts) {
        let suspected = |r: &Finding| r.holds() && r.log10_e >= SUSPICION_LOG10_E && r.check.meta().evidence;
        let blind = lesson.blind || self.findings.rows.iter().any(|r| suspected(r) && r.check != id::hard_range);
        self.learner.learn(&Lesson { blind, ..*lesson });
        let spoke = |check| verdicts.list.iter().any(|v| v.check == check);
        self.learner.count(spoke(id::pressure_order), spoke(id::time_order));
    }

    /// With nothing of MSH-3 but its first component, which names a profile, and without the words of people: no verdict depends
    /// on them.
    pub fn nameless(&self) -> Cell {
        let mut cell = self.clone();
        cell.application.truncate(cell.application.find('^').unwrap_or(cell.application.len()));
        cell.learner.hide_names();
        for episode in &mut cell.episodes.list {
            if let Some(note) = &mut episode.acked {
                note.comment = None;
            }
            if let Some(shelf) = &mut episode.shelf {
                shelf.reason.clear();
            }
        }
        cell
    }

    /// Brings what a message will need into the caches, all at once.
    pub fn touch(&self) {
        std::hint::black_box(self.bed.touch() ^ self.learner.habits.touch() ^ self.states.touch());
    }

    pub fn due_at(&self) -> Timestamp {
        self.judge_at.min(self.house_at)
    }

    /// Whether the feed of this bed is alive: something came within the usual time.
    pub fn live(&self, now: Timestamp) -> bool {
        let limit_s = self.bed.delta_s().map_or(60.0, |delta| (5.0 * delta).max(60.0));
        self.heard && !self.bed.off && now.since_s(self.bed.heard_at) <= limit_s
    }
}
