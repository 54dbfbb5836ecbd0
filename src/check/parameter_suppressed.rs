use super::pressure_order::TRIPLES;
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::Validity;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that one of the numbers of a sensor is gone, without a mark that says why, while its siblings go on.
    /// ## Why it matters
    /// Pulse and saturation come from one probe, the three pressures from one curve. When one of them alone vanishes silently,
    /// the sensor is not off: something leaves it out.
    /// ## How it decides
    /// A number of {pulse, SpO2} or {systolic, mean, diastolic} that was there has neither value nor status for more than
    /// max(10Δ, 5 min), Δ being its own interval, while a sibling is measured all that time. A number that stands for "none" (0)
    /// counts as no mark. A device that has done so three times by itself, each time for longer than two minutes and back again,
    /// has the habit, and nothing is said of these siblings any more.
    /// ## Known false alerts
    /// Weak pulses, the search for a pulse; a device that shows only the mean of a damped line.
    /// ## References
    /// SpO2 without pulse in 0.09 % of seconds on one monitor and 3.2 % on another; systolic and diastolic 0 beside a valid mean
    /// in 4.3 % of minutes, in 166 of 208 records of one set; there the rule finds two of 208 records in 14.4 bed-days (systolic and
    /// diastolic each), and none in 8.6 bed-days of oximeters.
    "M02" "parameter_suppressed" class=Liveness evidence=true weights=(60, 0, 20) rest=Unverified
    {
        /// Intervals without a value, count. Lower: at one a minute a pause alerts. Higher: slower. Design choice.
        intervals: f64 = 10.0;
        /// And at least, s. Lower: weak pulses alert. Higher: slower. Design choice.
        missing_s: f64 = 300.0;
        /// From then on no longer measured, s. Lower: a number that is left out for good is forgotten. Higher: a quiet mark stays for long.
        forget_s: f64 = 14_400.0;
        /// Absences that ended by themselves and make a habit, count. Lower: one weak pulse excuses the rest. Higher: a habit alerts for days. Design choice.
        habit: f64 = 3.0;
        /// Shorter ones are no sign of a habit, s. Lower: each drop-out counts. Higher: habits are learned late. Design choice.
        habit_s: f64 = 120.0;
    }
}

const PAIR: [Parameter; 2] = [Parameter::Pr, Parameter::Spo2];
const GROUPS: usize = 1 + TRIPLES.len();
/// Groups and their members.
fn groups() -> [&'static [Parameter]; GROUPS] {
    [&PAIR, &TRIPLES[0], &TRIPLES[1], &TRIPLES[2], &TRIPLES[3]]
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Siblings {
    /// Last time any of them was measured, and since when one always was.
    seen_at: Timestamp,
    going_since: Timestamp,
    /// Absences that ended by themselves.
    habit: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    siblings: [Siblings; GROUPS],
}

impl Default for State {
    fn default() -> Self {
        let none = Siblings { seen_at: Timestamp::MIN, going_since: Timestamp::MIN, habit: 0 };
        State { siblings: [none; GROUPS] }
    }
}

impl State {
    /// What is a habit of the device, without what belongs to the patient.
    pub fn of_sender(&self) -> State {
        let mut state = State::default();
        for (new, old) in state.siblings.iter_mut().zip(&self.siblings) {
            new.habit = old.habit;
        }
        state
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report.filter(|r| view.clock.is_live() && !r.observations.is_empty()) else { return };
        let fresh = view.fresh_set();
        // Values that are sent again count as there.
        let shown: ParamSet = report
            .observations
            .iter()
            .filter(|o| o.validity.usable() && !view.profile.is_sentinel(o.parameter, o.value))
            .map(|o| o.parameter)
            .collect();
        let (mut looked, mut missing) = (false, false);
        for (siblings, members) in state.siblings.iter_mut().zip(groups()) {
            let here = ParamSet::from_slice(members);
            if !fresh.intersects(here) {
                continue;
            }
            let delta_s = members.iter().filter_map(|p| view.bed.stream(*p)?.delta_s()).fold(0.0, f64::max);
            if view.now.since_s(siblings.seen_at) > (5.0 * delta_s).max(30.0) {
                siblings.going_since = view.now;
            }
            siblings.seen_at = view.now;
            for p in members.iter().copied() {
                let Some(stream) = view.bed.stream(p) else { continue };
                let (Some(latest), Some(delta_s)) = (stream.latest, stream.delta_s()) else { continue };
                looked = true;
                let from = latest.received_at.max(siblings.going_since);
                let away_s = view.now.since_s(from);
                if shown.contains(p) {
                    let long = away_s > self.habit_s.max(2.0 * delta_s);
                    siblings.habit = siblings.habit.saturating_add(u8::from(long));
                    continue;
                }
                let marked = stream.absent.is_some_and(|why| why != Validity::Sentinel)
                    || report.observations.iter().any(|o| o.parameter == p && !o.validity.usable() && o.validity != Validity::Sentinel);
                let limit_s = (self.intervals * delta_s).max(self.missing_s);
                let usable = view.profile.usable(view.bed.epoch_at, view.now);
                let silent = marked || !usable || f64::from(siblings.habit) >= self.habit;
                if silent || away_s <= limit_s || away_s > self.forget_s {
                    continue;
                }
                missing = true;
                let sibling = members.iter().copied().find(|q| fresh.contains(*q)).unwrap_or(p);
                out.push(Verdict {
                    value: Some(away_s),
                    limit: Some(limit_s),
                    unit: "s",
                    window_s: away_s,
                    effective_at: Some(latest.effective_at),
                    args: [
                        ("p", Arg::Parameter(p)),
                        ("q", Arg::Parameter(sibling)),
                        ("n", Arg::Number((away_s / 60.0).floor(), 0)),
                        view.bed_arg(),
                    ]
                    .into_iter()
                    .collect(),
                    ..Verdict::new(id::parameter_suppressed, ParamSet::of(p), from)
                });
            }
        }
        if looked && !missing {
            out.pass(id::parameter_suppressed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_pulse_without_value_or_mark_for_five_minutes_is_none_and_a_second_more_is_found() {
        assert_eq!(story::<Check>(&PAIR, "72/98x20 _/98x300 _/98 72/98"), "PPFP");
        assert_eq!(story::<Check>(&PAIR, "72/98x20 0/98x300 0/98"), "PPF", "0 is no mark");
        let mut s = Story::<Check>::of(&TRIPLES[0]);
        assert_eq!(s.tell("120/90/70x20 _/90/70x301"), "PF");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit), (Some(301.0), Some(300.0)));
    }

    #[test]
    fn at_one_a_minute_ten_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("72/98x40 _/98x10 _/98"), "PPF");
    }

    #[test]
    fn what_a_mark_explains_and_what_is_lost_with_its_sensor_is_none() {
        assert_eq!(story::<Check>(&PAIR, "72/98x20 -/98x600"), "PP");
        assert_eq!(story::<Check>(&PAIR, "72/98x20 _/_x600 _/98x300 _/98x2"), "P.PF");
        assert_eq!(story::<Check>(&PAIR, "72/98x20 ~x600 _/98x300 _/98x2"), "P.PF");
    }

    #[test]
    fn a_number_that_was_never_there_is_not_missed_nor_one_that_is_gone_for_hours() {
        assert_eq!(story::<Check>(&PAIR, "_/98x900"), "P");
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("72/98x40 _/98x240 _/98"), "PFP");
    }

    #[test]
    fn a_device_that_does_so_by_itself_has_the_habit() {
        let mut s = Story::<Check>::of(&PAIR);
        assert_eq!(s.tell("72/98x20 0/98x119 72/98x60 0/98x119 72/98x60 0/98x119 72/98 0/98x301"), "PPPPPPPF", "too short");
        let mut s = Story::<Check>::of(&PAIR);
        assert_eq!(s.tell("72/98x20 0/98x121 72/98x60 0/98x121 72/98x60 0/98x301 72/98 0/98x900"), "PPPPPFPP");
        assert_eq!(s.state.of_sender().siblings[0].habit, 3);
    }

    #[test]
    fn a_profile_that_is_not_usable_accuses_nobody() {
        let mut s = Story::<Check>::of(&PAIR);
        s.profile.reviewed = false;
        assert_eq!(s.tell("72/98x20 _/98x900"), "PP");
    }
}
