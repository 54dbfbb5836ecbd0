use super::{Arg, Judge, Verdict, Verdicts, View, id, is_fresh};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the means of two arterial lines of one patient.
    /// ## Why it matters
    /// Two lines in one circulation show one mean. If they differ for minutes, one of them is not the patient's.
    /// ## How it decides
    /// Two channels of the arterial mean (two places in the device, or two labels) more than 20 mmHg apart on every reading of
    /// two minutes, and on three at least. The first channel is compared with up to two others.
    /// ## Known false alerts
    /// One line damped, flushed or sampled for long; a stenosis between the two places; two transducers at two heights.
    /// ## References
    /// Engineering knowledge, to be confirmed: no recording holds two lines.
    "A17" "arterial_pair" class=CrossSource evidence=true weights=(75, 15, 10) rest=Unverified
    {
        /// Difference of the means, mmHg. Lower: two transducers at two heights alert.
        difference_mmhg: f64 = 20.0;
        /// Must last, s. Lower: sampling of one line alerts.
        hold_s: f64 = 120.0;
        /// And so many readings, count. Lower: at one value a minute two readings alert.
        hold_readings: f64 = 3.0;
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Pair {
    channel: u32,
    hold: Hold,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    /// Channels beside the first.
    pairs: [Option<Pair>; 2],
}

const MEAN: Parameter = Parameter::AbpMean;

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (Some(report), Some(first)) = (view.report, view.bed.stream(MEAN)) else { return };
        if !view.clock.is_live() {
            return;
        }
        let (mut looked, mut found) = (false, false);
        for o in report.observations.iter().filter(|o| o.parameter == MEAN && o.channel != first.channel) {
            let Some(place) = state.pairs.iter().position(|p| p.is_none_or(|p| p.channel == o.channel)) else { continue };
            let pair = state.pairs[place].get_or_insert(Pair { channel: o.channel, hold: Hold::default() });
            if !o.validity.usable() || view.profile.is_sentinel(MEAN, o.value) || first.absent.is_some() {
                pair.hold.end();
                continue;
            }
            let Some(a) = view.near(MEAN).filter(|_| is_fresh(o, view.bed, view.profile)) else { continue };
            looked = true;
            if (a - o.value).abs() <= self.difference_mmhg {
                pair.hold.end();
                continue;
            }
            found = true;
            pair.hold.push(view.now, view.pause_s(&[MEAN]));
            if !pair.hold.reached(self.hold_readings, self.hold_s) || !view.settled() {
                continue;
            }
            out.push(Verdict {
                value: Some((a - o.value).abs()),
                limit: Some(self.difference_mmhg),
                unit: "mm[Hg]",
                window_s: pair.hold.lasted_s(),
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [("a", Arg::Number(a, 0)), ("b", Arg::Number(o.value, 0)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::arterial_pair, ParamSet::of(MEAN), pair.hold.since())
            });
        }
        if looked && !found && view.settled() {
            out.pass(id::arterial_pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::Validity;

    /// Messages of two lines; `None` is a row without value.
    fn lines(s: &mut Story<Check>, a: f64, b: Option<f64>, times: usize) -> char {
        let mut flag = '.';
        for _ in 0..times {
            s.now = s.now.plus_s(s.step_s);
            let mut second = observation(MEAN, b.unwrap_or(f64::NAN), s.now);
            second.channel = 7;
            if b.is_none() {
                second.validity = Validity::Absent;
            }
            let report = s.report(vec![observation(MEAN, a, s.now), second]);
            flag = s.send(&report);
        }
        flag
    }

    #[test]
    fn lines_21_apart_are_found_after_two_minutes_and_lines_20_apart_never() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(lines(&mut s, 85.0, Some(83.0), 30), 'P');
        assert_eq!(lines(&mut s, 85.0, Some(64.0), 120), '.');
        assert_eq!(lines(&mut s, 85.0, Some(64.0), 1), 'F');
        assert_eq!((s.found.clone().unwrap().value, s.found.clone().unwrap().limit), (Some(21.0), Some(20.0)));
        assert_eq!(lines(&mut s, 85.0, Some(65.0), 300), 'P');
    }

    #[test]
    fn a_line_that_is_sampled_in_between_begins_anew() {
        let mut s = Story::<Check>::of(&[]);
        lines(&mut s, 85.0, Some(83.0), 30);
        lines(&mut s, 85.0, Some(40.0), 100);
        assert_eq!(lines(&mut s, 85.0, None, 3), '.');
        assert_eq!(lines(&mut s, 85.0, Some(40.0), 100), '.');
        assert_eq!(lines(&mut s, 85.0, Some(0.0), 300), '.', "zero is no pressure");
    }

    #[test]
    fn one_line_has_nothing_to_be_compared_with() {
        let mut s = Story::<Check>::of(&[MEAN]);
        assert_eq!(s.tell("85x10 30x300"), "..");
    }

    #[test]
    fn at_one_value_a_minute_three_readings_are_needed() {
        let mut s = Story::<Check>::of(&[]).every(60.0);
        assert_eq!(lines(&mut s, 85.0, Some(83.0), 20), 'P');
        assert_eq!(lines(&mut s, 85.0, Some(40.0), 2), '.');
        assert_eq!(lines(&mut s, 85.0, Some(40.0), 1), 'F');
    }
}
