use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{MessageKind, Report, TimeSource};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

declare_check! {
    /// ## What it does
    /// Remembers the control ids of each sender of a bed and what their messages said.
    /// ## Why it matters
    /// One id with two contents means that a message was changed on its way; old content under a new id means that it was played
    /// again.
    /// ## How it decides
    /// Content is everything but MSH-7 and MSH-10. Same id, other content: reuse. Same content with the same own time of its
    /// values under a new id, more than 60 s after it was last heard: played again. Same id and same content is a resend: it is
    /// acknowledged and not judged. Senders whose MSH-10 is no id are exempt, and a sender of no known kind until 50 messages
    /// came without a repeated id. A counter that starts again at 0 or 1 begins a new series.
    /// ## Known false alerts
    /// An interface engine that replays after a negative acknowledgement.
    /// ## References
    /// HL7 v2 chapter 2 (MSH-10 is unique within its sender); several senders in the field do not keep that.
    "P01" "control_id_reuse" class=Provenance evidence=true weights=(5, 0, 95) rest=Unverified
    {
        /// The same content is played again after, s. Lower: a device that repeats itself alerts. Higher: a quick replay hides. Design choice.
        again_s: f64 = 60.0;
        /// Messages without a repeated id before a sender of no known kind is held to it, count. Lower: a field that is no id accuses. Design choice.
        generic_messages: f64 = 50.0;
    }
}

/// Senders of one bed that are remembered; the one that was silent for longest makes room.
const SENDERS_MAX: usize = 2;
/// Buckets of four entries: the last 4 096 ids, about, and the last 1 024 contents.
const ID_BUCKETS: usize = 1024;
const BODY_BUCKETS: usize = 256;

/// A set-associative table of 8-byte entries: 40 bits of the key's hash (the bucket says ten or eight more) and 24 bits of what
/// belongs to it. A full bucket forgets its oldest entry. Two keys are confused once in 10¹¹ look-ups.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Table {
    #[serde(with = "crate::stats::packed::words")]
    entries: Vec<u64>,
}

impl Table {
    const LOW: u64 = (1 << 24) - 1;

    fn place(&self, key: u64) -> (usize, u64) {
        let bucket = (key >> 54) as usize % (self.entries.len() / 4);
        // A tag of 0 would be an empty place.
        (bucket * 4, (key << 24) | (1 << 24))
    }

    fn get(&self, key: u64) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let (start, tag) = self.place(key);
        self.entries[start..start + 4].iter().find(|e| *e & !Self::LOW == tag).map(|e| (*e & Self::LOW) as u32)
    }

    fn put(&mut self, buckets: usize, key: u64, value: u32) {
        if self.entries.is_empty() {
            self.entries = vec![0; buckets * 4];
        }
        let (start, tag) = self.place(key);
        let bucket = &mut self.entries[start..start + 4];
        // Newest first; an entry of the same key is renewed.
        let at = bucket.iter().position(|e| *e & !Self::LOW == tag).unwrap_or(3);
        bucket[..=at].rotate_right(1);
        bucket[0] = tag | u64::from(value) & Self::LOW;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ledger {
    sender: u64,
    heard_at: Timestamp,
    ids: Table,
    bodies: Table,
    /// Messages since an id was last repeated.
    clean: u32,
    /// MSH-10 of the last message, where it is a number.
    number: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    senders: Vec<Ledger>,
}

/// What a message is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    New,
    /// The same message again: acknowledged, not judged.
    Resend,
    /// A known id with other content.
    Reused,
    /// Known content and own time under a new id, so many seconds after.
    Again(u32),
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    // The multiplication of the hash leaves its low bits weak; the table takes all of them.
    let h = hasher.finish();
    let h = (h ^ (h >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    h ^ (h >> 29)
}

fn seconds(at: Timestamp) -> u32 {
    ((at.ms() / 1000) as u64 & Table::LOW) as u32
}

/// The own time of the values, if one that is measured continuously carries one: a cuff pressure is sent again by design.
fn own_time(report: &Report) -> Option<Timestamp> {
    report
        .observations
        .iter()
        .find(|o| {
            o.parameter.nature() == Nature::Continuous && !matches!(o.time_source, TimeSource::Msh7 | TimeSource::Received)
        })
        .map(|o| o.effective_at)
}

impl Check {
    /// What this message is to those before it; changes nothing. [`Kind::Resend`] is asked for before anything is judged.
    pub fn kind(&self, state: &State, report: &Report, sender: u64, now: Timestamp) -> Kind {
        let Some(ledger) = state.senders.iter().find(|l| l.sender == sender) else { return Kind::New };
        let body = report.body_hash;
        if report.control_id_is_id && !report.control_id.is_empty() && !restarts(ledger, report) {
            match ledger.ids.get(hash(&report.control_id)) {
                Some(known) if u64::from(known) == hash(body) & Table::LOW => return Kind::Resend,
                Some(_) if report.dialect != "generic" || f64::from(ledger.clean) >= self.generic_messages => return Kind::Reused,
                // A sender of no known kind that repeats ids: not an id.
                Some(_) => return Kind::New,
                None => {}
            }
        }
        if let Some(own) = own_time(report)
            && let Some(last) = ledger.bodies.get(hash((body, own)))
        {
            let passed_s = seconds(now).wrapping_sub(last) & Table::LOW as u32;
            // Half of the counter's range is the future: our clock was set.
            if f64::from(passed_s) > self.again_s && passed_s < 1 << 23 {
                return Kind::Again(passed_s);
            }
        }
        Kind::New
    }

    /// Whether it is a message that was heard before, id and content.
    pub fn is_resend(&self, state: &State, report: &Report, sender: u64, now: Timestamp) -> bool {
        self.kind(state, report, sender, now) == Kind::Resend
    }
}

/// Whether a counter begins again.
fn restarts(ledger: &Ledger, report: &Report) -> bool {
    number(report).is_some_and(|n| n <= 1 && ledger.number > 1)
}

fn number(report: &Report) -> Option<u64> {
    report.control_id.trim_start_matches('0').parse().ok().or_else(|| report.control_id.parse().ok())
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        if !matches!(report.kind, MessageKind::Vitals | MessageKind::Alarm) {
            return;
        }
        let kind = self.kind(state, report, view.sender, view.now);
        let position = state.senders.iter().position(|l| l.sender == view.sender).unwrap_or_else(|| {
            if state.senders.len() >= SENDERS_MAX {
                let oldest = (0..state.senders.len()).min_by_key(|i| state.senders[*i].heard_at).unwrap_or(0);
                state.senders.swap_remove(oldest);
            }
            state.senders.push(Ledger { sender: view.sender, ..Ledger::default() });
            state.senders.len() - 1
        });
        let ledger = &mut state.senders[position];
        ledger.heard_at = view.now;
        if report.control_id_is_id && !report.control_id.is_empty() {
            if restarts(ledger, report) {
                ledger.ids.entries.fill(0);
            }
            ledger.number = number(report).unwrap_or(0);
            let key = hash(&report.control_id);
            let repeated = ledger.ids.get(key).is_some();
            ledger.clean = if repeated && kind != Kind::Resend && kind != Kind::Reused { 0 } else { ledger.clean.saturating_add(1) };
            // A reused id keeps what it first said: each later forgery is found, and the true message stays a resend.
            if kind != Kind::Reused {
                ledger.ids.put(ID_BUCKETS, key, (hash(report.body_hash) & Table::LOW) as u32);
            }
        }
        if let Some(own) = own_time(report) {
            ledger.bodies.put(BODY_BUCKETS, hash((report.body_hash, own)), seconds(view.now));
        }
        let (text, value, limit, unit) = match kind {
            Kind::New | Kind::Resend => {
                out.pass(id::control_id_reuse);
                return;
            }
            Kind::Reused => ("changed", 2.0, 1.0, "{contents}"),
            Kind::Again(passed_s) => ("again", f64::from(passed_s), self.again_s, "s"),
        };
        let control_id = if report.control_id_is_plain { report.control_id.clone() } else { "(not shown)".to_owned() };
        out.push(Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(value),
            limit: Some(limit),
            unit,
            window_s: if let Kind::Again(passed_s) = kind { f64::from(passed_s) } else { 0.0 },
            effective_at: own_time(report),
            text,
            args: [("id", Arg::Text(control_id)), ("s", Arg::Number(value, 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::control_id_reuse, ParamSet::EMPTY, view.now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter;

    /// Sends a message of this id, content and own time; `None` in place of the flag's letter where it is a resend.
    fn send(s: &mut Story<Check>, id: &str, body: u8, own: Timestamp) -> Option<char> {
        s.now = s.now.plus_s(1.0);
        let mut report = s.report(vec![observation(Parameter::Hr, 72.0, own)]);
        report.control_id = id.into();
        report.body_hash = [body; 16];
        if s.check.is_resend(&s.state, &report, s.sender, s.now) {
            return None;
        }
        Some(s.send(&report))
    }

    #[test]
    fn one_id_with_two_contents_is_found_at_the_first_and_a_resend_is_none() {
        let mut s = Story::<Check>::of(&[]);
        let own = s.now;
        assert_eq!(send(&mut s, "A1", 1, own), Some('P'));
        assert_eq!(send(&mut s, "A1", 1, own), None, "a resend");
        assert_eq!(send(&mut s, "A1", 2, own), Some('F'));
        assert_eq!(s.found.clone().unwrap().text, "changed");
        assert_eq!(send(&mut s, "A1", 1, own), None, "the true message is still known");
        assert_eq!(send(&mut s, "A2", 3, own.plus_s(1.0)), Some('P'));
    }

    #[test]
    fn old_content_under_a_new_id_is_found_after_a_minute_and_not_before() {
        let mut s = Story::<Check>::of(&[]);
        let own = s.now;
        send(&mut s, "A1", 1, own);
        s.now = s.now.plus_s(59.0);
        assert_eq!(send(&mut s, "A2", 1, own), Some('P'), "60 s");
        s.now = s.now.plus_s(60.0);
        assert_eq!(send(&mut s, "A3", 1, own), Some('F'), "61 s after it was last heard");
        assert_eq!(s.found.clone().unwrap().value, Some(61.0));
    }

    #[test]
    fn a_cuff_pressure_that_is_sent_again_is_none() {
        let mut s = Story::<Check>::of(&[]);
        let own = s.now;
        for i in 0..5 {
            s.now = s.now.plus_s(300.0);
            let mut report = s.report(vec![observation(Parameter::NibpSys, 120.0, own)]);
            report.control_id = format!("N{i}");
            report.body_hash = [9; 16];
            assert_eq!(s.send(&report), 'P');
        }
    }

    #[test]
    fn a_sender_of_no_known_kind_is_held_to_its_ids_after_fifty() {
        for (messages, flag) in [(49, 'P'), (50, 'F')] {
            let mut s = Story::<Check>::of(&[]);
            for i in 0..messages {
                s.now = s.now.plus_s(1.0);
                let mut report = s.report(vec![]);
                report.dialect = "generic";
                report.control_id = format!("G{i}");
                s.send(&report);
            }
            let mut report = s.report(vec![]);
            report.dialect = "generic";
            report.control_id = "G7".into();
            assert_eq!(s.send(&report), flag, "{messages}");
        }
    }

    #[test]
    fn a_field_that_is_no_id_and_a_counter_that_starts_again_are_none() {
        let mut s = Story::<Check>::of(&[]);
        for (body, id) in (0u8..).zip(["1", "2", "3", "4", "0001", "0002", "3"]) {
            let own = s.now;
            assert_eq!(send(&mut s, id, body, own), Some('P'), "{id}");
        }
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..5 {
            s.now = s.now.plus_s(1.0);
            let mut report = s.report(vec![]);
            report.control_id = "ORU".into();
            report.control_id_is_id = false;
            assert_eq!(s.send(&report), 'P');
        }
    }

    #[test]
    fn thousands_of_ids_are_remembered_and_a_hundred_thousand_new_ones_are_never_taken_for_old() {
        let mut s = Story::<Check>::of(&[]);
        for i in 0..100_000u32 {
            let mut report = s.report(vec![]);
            report.control_id = format!("MSG{i:08}");
            assert_eq!(s.send(&report), 'P');
        }
        let known = (97_000..100_000u32).filter(|i| {
            let mut report = s.report(vec![]);
            report.control_id = format!("MSG{i:08}");
            s.check.kind(&s.state, &report, 1, s.now) == Kind::Reused
        });
        assert!(known.count() > 2600, "most of the last 3 000 ids");
        assert!(postcard::to_stdvec(&s.state).unwrap().len() < 45_000);
    }
}
