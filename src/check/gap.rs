use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::Validity;
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a continuous parameter without a usable value while its device still sends.
    /// ## Why it matters
    /// A missing number is easily overlooked among those that go on.
    /// ## How it decides
    /// No usable value for more than max(5Δ, 30 s) in which messages came; Δ is the parameter's own interval, known after ten
    /// values. For the engineers at once, for the nurses after five minutes. A parameter that was switched off is none, and one
    /// that stayed away for hours is taken as no longer measured.
    /// ## Known false alerts
    /// A cuff on the oximeter's arm, motion, purging of a capnograph, care.
    /// ## References
    /// Drop-outs per hour, median and 90 % of their length: PR 2.6, 15 s, 29 s and AWRR 1.5, 9 s, 13 s on one monitor; PR 12.7,
    /// 8 s, 72 s on another.
    "M01" "gap" class=Liveness evidence=false weights=(90, 0, 0) rest=Silence
    {
        /// Intervals without a value, count. Lower: single lost messages alert. Design choice.
        intervals: f64 = 5.0;
        /// And at least, s. Lower: motion and purging alert (90 % of PR drop-outs last up to 72 s). Higher: a lost probe is told late.
        gap_s: f64 = 30.0;
        /// From then on for the nurses, s. Lower: every cuff inflation and every turn of the patient is told. Design choice.
        nurse_s: f64 = 300.0;
        /// From then on no longer measured, s. Lower: a probe that is off is forgotten. Higher: a quiet mark stays for long.
        forget_s: f64 = 14_400.0;
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// When messages came again after a silence: what was missed before is not the parameter's fault.
    resumed_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State { resumed_at: Timestamp::MIN }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none_or(|r| r.observations.is_empty()) {
            return;
        }
        let usual_s = view.bed.delta_s().unwrap_or(60.0);
        if view.now.since_s(view.bed.heard_at) > (self.intervals * usual_s).max(self.gap_s) {
            state.resumed_at = view.now;
        }
        let (mut looked, mut missing) = (false, false);
        for stream in &view.bed.streams {
            if stream.parameter.nature() != Nature::Continuous || stream.absent == Some(Validity::SwitchedOff) {
                continue;
            }
            let (Some(latest), Some(delta_s)) = (stream.latest, stream.delta_s()) else { continue };
            looked = true;
            let limit_s = (self.intervals * delta_s).max(self.gap_s);
            let from = latest.received_at.max(state.resumed_at);
            let gap_s = view.now.since_s(from);
            if gap_s <= limit_s || gap_s > self.forget_s {
                continue;
            }
            let here = view.report.is_some_and(|r| {
                let mut rows = r.observations.iter();
                rows.any(|o| o.parameter == stream.parameter && o.channel == stream.channel && super::is_fresh(o, view.bed, view.profile))
            });
            if here {
                continue;
            }
            missing = true;
            let nurse = gap_s >= self.nurse_s;
            out.push(Verdict {
                priority: Some(if nurse { Priority::Low } else { Priority::Info }),
                value: Some(gap_s),
                limit: Some(limit_s),
                unit: "s",
                window_s: gap_s,
                effective_at: Some(latest.effective_at),
                text: if nurse { "nurse" } else { "short" },
                args: [
                    ("p", Arg::Parameter(stream.parameter)),
                    ("n", Arg::Number((gap_s / 60.0).floor(), 0)),
                    ("s", Arg::Number(gap_s, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::gap, ParamSet::of(stream.parameter), from)
            });
        }
        if looked && !missing {
            out.pass(id::gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::vital::Parameter;

    const PAIR: [Parameter; 2] = [Parameter::Hr, Parameter::Spo2];

    #[test]
    fn a_parameter_that_stays_away_for_31_s_is_missed_and_one_for_30_s_is_not() {
        assert_eq!(story::<Check>(&PAIR, "72/98x20 72/-x30 72/- 72/98"), "PPFP");
        assert_eq!(story::<Check>(&PAIR, "72/98x20 72/_x30 72/_ 72/98"), "PPFP");
    }

    #[test]
    fn the_nurse_hears_of_it_after_five_minutes() {
        let mut s = Story::<Check>::of(&PAIR);
        s.tell("72/98x20 72/-x299");
        assert_eq!(s.found.clone().unwrap().priority, Some(Priority::Info));
        s.tell("72/-x2");
        assert_eq!(s.found.unwrap().priority, Some(Priority::Low));
    }

    #[test]
    fn at_one_value_a_minute_five_minutes_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("72/98x20 72/-x5 72/-"), "PPF");
    }

    #[test]
    fn silence_of_the_whole_device_is_not_a_gap() {
        assert_eq!(story::<Check>(&PAIR, "72/98x20 ~x600 72/- 72/-x29 72/-x2"), "P.PPF");
    }

    #[test]
    fn a_cuff_on_the_arm_is_too_short_and_a_cuff_pressure_is_no_gap() {
        assert_eq!(story::<Check>(&PAIR, "72/98x20 72/-x20 72/98x280 72/-x20 72/98"), "PPPPP");
        assert_eq!(story::<Check>(&[Parameter::Hr, Parameter::NibpSys], "72/120x20 72/_x900"), "PP");
    }

    #[test]
    fn what_is_gone_for_hours_is_no_longer_measured() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("72/98x20 72/-x240 72/-"), "PFP");
    }
}
