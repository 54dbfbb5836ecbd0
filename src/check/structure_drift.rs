use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{MessageKind, Report};
use crate::profile::formula::follows;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

declare_check! {
    /// ## What it does
    /// Compares what a message is made of with what this sender's messages were made of: the set and order of its codes, their
    /// units, MSH-11 and MSH-12.
    /// ## Why it matters
    /// A device writes all its messages alike. Someone else who writes in its name seldom gets every detail right.
    /// ## How it decides
    /// The kinds of message a sender writes (at most eight) are learned from its first 50. Ten messages in a row that are like
    /// none of them (Jaccard similarity of the codes below 0.8, or the same codes in another order, or another unit), whose
    /// MSH-11 is not P, or whose MSH-12 changed. A message that only lacks rows is none (M01 watches what is missing), nor is
    /// one that has all the rows of a known kind and more: a probe that is put on. A reviewed profile that names the order of the
    /// rows is held against from the first message on. After an hour of the new form it is learned.
    /// ## Known false alerts
    /// New firmware, a new module; a sender without rows for absent values whose first messages lacked most sensors.
    /// ## References
    /// Jaccard 1912 (similarity of sets). The limits are design choices. When more rows counted as drift, a sender that leaves
    /// out rows without a value gave 28 false episodes in 3.7 bed-days.
    "C04" "structure_drift" class=Provenance evidence=true weights=(20, 0, 40) rest=Unverified
    {
        /// Messages in a row, count. Lower: a short extra message alerts. Design choice.
        messages: f64 = 10.0;
        /// Similarity, 1. Higher: one more row in five alerts.
        jaccard: f64 = 0.8;
        /// Messages to learn from, count. Lower: rare kinds of message are strange for ever.
        learn_messages: f64 = 50.0;
        /// The new form is learned after, s. Lower: it teaches itself. Higher: a firmware update stays on the list.
        relearn_s: f64 = 3600.0;
    }
}

/// Kinds of message of a sender, senders of a bed, codes of a message: beyond these nothing is kept.
const SHAPES_MAX: usize = 8;
const SENDERS_MAX: usize = 4;
const CODES_MAX: usize = 128;

/// One kind of message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Shape {
    /// Hash of codes in their order, with the units: the quick comparison.
    exact: u64,
    /// The codes, in their order.
    codes: Vec<u32>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Habits {
    sender: u64,
    version: u64,
    seen: u32,
    shapes: Vec<Shape>,
    /// Hash of the unit's text of each parameter.
    units: Vec<(Parameter, u32)>,
    strange: u32,
    since: Timestamp,
    heard_at: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    senders: Vec<Habits>,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

fn units(report: &Report) -> u64 {
    let mut hasher = FxHasher::default();
    for o in report.observations.iter().filter(|o| o.validity.usable()) {
        (o.parameter as u8, o.unit_hash).hash(&mut hasher);
    }
    hasher.finish()
}

/// Jaccard similarity of two sets of codes.
fn similarity(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().filter(|c| b.contains(c)).count();
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

/// How a message's codes fit the known kinds.
#[derive(Debug, Clone, Copy, Default)]
struct Fit {
    /// Similarity to the nearest kind.
    like: f64,
    /// It is a known kind with rows left out.
    part: bool,
    /// It has all the rows of this kind and more.
    grown: Option<usize>,
}

impl Habits {
    fn fit(&self, codes: &[u32]) -> Fit {
        let mut fit = Fit::default();
        for (at, shape) in self.shapes.iter().enumerate() {
            fit.like = fit.like.max(similarity(codes, &shape.codes));
            fit.part |= is_part(codes, &shape.codes);
            if shape.codes.len() < codes.len() && is_part(&shape.codes, codes) {
                fit.grown = fit.grown.or(Some(at));
            }
        }
        fit
    }

    fn same_units(&self, report: &Report) -> bool {
        let mut usable = report.observations.iter().filter(|o| o.validity.usable());
        usable.all(|o| self.units.iter().all(|(p, unit)| *p != o.parameter || *unit == o.unit_hash))
    }

    /// The first unit of each parameter is its habit.
    fn learn_units(&mut self, report: &Report) {
        for o in report.observations.iter().filter(|o| o.validity.usable()) {
            if self.units.iter().all(|(p, _)| *p != o.parameter) {
                self.units.push((o.parameter, o.unit_hash));
            }
        }
    }
}

/// Whether `part` is `whole` with rows left out.
fn is_part(part: &[u32], whole: &[u32]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|code| rest.any(|c| c == code))
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        if report.kind != MessageKind::Vitals || report.structure.is_empty() {
            return;
        }
        let position = state.senders.iter().position(|s| s.sender == view.sender).unwrap_or_else(|| {
            if state.senders.len() >= SENDERS_MAX {
                // The sender that was silent for longest makes room.
                let oldest = (0..state.senders.len()).min_by_key(|i| state.senders[*i].heard_at).unwrap_or(0);
                state.senders.swap_remove(oldest);
            }
            state.senders.push(Habits { sender: view.sender, version: hash(&report.version), ..Habits::default() });
            state.senders.len() - 1
        });
        let habits = &mut state.senders[position];
        habits.heard_at = view.now;
        let codes = &report.structure[..report.structure.len().min(CODES_MAX)];
        let units = units(report);
        let exact = hash((codes, units));
        let learning = f64::from(habits.seen) < self.learn_messages;
        let version = hash(&report.version);
        let processing = !report.processing.is_empty() && report.processing != view.profile.processing;
        let known = habits.shapes.iter().any(|s| s.exact == exact);
        let fit = if known { Fit { like: 1.0, ..Fit::default() } } else { habits.fit(codes) };
        // What a person has reviewed counts from the first message.
        let order = &view.profile.order;
        let misplaced = view.profile.reviewed && !order.is_empty() && !follows(order, &report.observations);
        let text = if processing {
            "processing"
        } else if misplaced {
            "order"
        } else if version != habits.version && !learning {
            "version"
        } else if known || fit.part || fit.grown.is_some() {
            if known || habits.same_units(report) { "" } else { "units" }
        } else if fit.like < self.jaccard {
            "codes"
        } else if fit.like >= 1.0 {
            "order"
        } else {
            ""
        };
        if learning {
            habits.seen += 1;
            habits.version = version;
        }
        if let Some(grown) = fit.grown.filter(|_| text.is_empty() || learning) {
            habits.shapes[grown] = Shape { exact, codes: codes.to_vec() };
        } else if learning && !known && !fit.part && habits.shapes.len() < SHAPES_MAX {
            habits.shapes.push(Shape { exact, codes: codes.to_vec() });
        }
        if !known && (text.is_empty() || learning) {
            habits.learn_units(report);
        }
        let like = fit.like;
        if learning && !processing && !misplaced {
            habits.strange = 0;
            return;
        }
        if text.is_empty() {
            habits.strange = 0;
            out.pass(id::structure_drift);
            return;
        }
        if habits.strange == 0 {
            habits.since = view.now;
        }
        habits.strange = habits.strange.saturating_add(1);
        let since = habits.since;
        let strange = habits.strange;
        if view.now.since_s(since) >= self.relearn_s && !processing {
            *habits = Habits { sender: view.sender, version, heard_at: view.now, ..Habits::default() };
            return;
        }
        if f64::from(strange) >= self.messages {
            out.push(Verdict {
                value: Some(if text == "codes" { like } else { f64::from(strange) }),
                limit: Some(if text == "codes" { self.jaccard } else { self.messages }),
                unit: if text == "codes" { "1" } else { "{messages}" },
                window_s: view.now.since_s(since),
                text,
                args: [("n", Arg::Number(f64::from(strange), 0)), ("j", Arg::Number(like, 2)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::structure_drift, ParamSet::EMPTY, since)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::*;

    fn learned() -> Story<Check> {
        let mut s = Story::<Check>::of(&[Hr, Pr, Rr, Spo2, Temp]);
        assert_eq!(s.tell("72/72/15/98/36.8x50 72/72/15/98/36.8"), ".P");
        s
    }

    #[test]
    fn ten_messages_of_other_codes_are_a_verdict() {
        let mut s = learned();
        s.params = vec![Hr, Pr, Rr, Cvp, Icp];
        assert_eq!(s.tell("72/72/15/6/10x9 72/72/15/6/10 72/72/15/_/_"), ".FP");
        assert_eq!(s.found.unwrap().text, "codes");
    }

    #[test]
    fn a_probe_that_is_put_on_is_none() {
        let mut s = learned();
        s.params = vec![Hr, Pr, Rr, Spo2, Temp, Cvp, Icp];
        assert_eq!(s.tell("72/72/15/98/36.8/6/10x20 72/72/15/98/36.8/_/_x20"), "PP");
    }

    #[test]
    fn another_unit_under_the_same_codes_is_a_verdict() {
        let mut s = learned();
        let mut flags = String::new();
        for i in 0..12 {
            s.now = s.now.plus_s(1.0);
            let now = s.now;
            let mut rows: Vec<_> = [Hr, Pr, Rr, Spo2, Temp].map(|p| crate::check::story::observation(p, 50.0, now)).into();
            if i < 11 {
                rows[4].unit_hash = 8;
            }
            let report = s.report(rows);
            flags.push(s.send(&report));
        }
        assert_eq!(flags, ".........FFP");
        assert_eq!(s.found.unwrap().text, "units");
    }

    #[test]
    fn the_same_codes_in_another_order_are_a_verdict() {
        let mut s = learned();
        s.params = vec![Pr, Hr, Rr, Spo2, Temp];
        assert_eq!(s.tell("72/72/15/98/36.8x10"), "F");
        assert_eq!(s.found.unwrap().text, "order");
    }

    #[test]
    fn the_order_of_a_reviewed_profile_counts_from_the_first_message() {
        for (reviewed, flag) in [(true, "F"), (false, ".")] {
            let mut s = Story::<Check>::of(&[Pr, Hr, Spo2]);
            (s.profile.order, s.profile.reviewed) = (vec![Hr, Pr, Rr, Spo2], reviewed);
            assert_eq!(s.tell("72/72/98x10"), flag);
        }
        let mut s = Story::<Check>::of(&[Hr, Spo2, Temp]);
        s.profile.order = vec![Hr, Pr, Rr, Spo2];
        assert_eq!(s.tell("72/98/36.8x60"), "P", "what is missing or not known breaks no order");
    }

    #[test]
    fn rows_that_are_left_out_are_none() {
        let mut s = learned();
        assert_eq!(s.tell("72/_/15/_/_x20 72/72/15/98/36.8"), "PP");
    }

    #[test]
    fn a_cuff_message_in_between_is_learned_as_a_kind_of_its_own() {
        let mut s = Story::<Check>::of(&[Hr, Spo2, NibpSys, NibpDia]);
        assert_eq!(s.tell(&"72/98/_/_x9 _/_/120/70 ".repeat(12)), ".".repeat(10) + &"P".repeat(14));
    }

    #[test]
    fn another_version_or_processing_id_is_a_verdict_after_ten() {
        for (version, processing, text) in [("2.3", "P", "version"), ("2.6", "T", "processing")] {
            let mut s = learned();
            let mut flags = String::new();
            for _ in 0..10 {
                s.now = s.now.plus_s(1.0);
                let mut report = s.report(vec![crate::check::story::observation(Hr, 72.0, s.now)]);
                report.version = version.into();
                report.processing = processing.into();
                flags.push(s.send(&report));
            }
            assert_eq!(flags, ".........F");
            assert_eq!(s.found.unwrap().text, text);
        }
    }

    #[test]
    fn after_an_hour_the_new_form_is_learned() {
        let mut s = learned();
        s.params = vec![Pr, Hr, Rr, Spo2, Temp];
        assert_eq!(s.tell("72/72/15/98/36.8x3500 72/72/15/98/36.8x101 72/72/15/98/36.8x60"), "F.P");
    }
}
