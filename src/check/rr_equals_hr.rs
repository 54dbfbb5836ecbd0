use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::AgeBand;
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a breathing rate that is the heart rate.
    /// ## Why it matters
    /// The electrodes feel the heart beat in the chest. When the sensor counts it as breaths, a patient who does not breathe
    /// looks like one who breathes fast.
    /// ## How it decides
    /// Adults only: breathing rate above 40 /min and within 2 /min of the ECG's heart rate, on every reading of 60 s and on three
    /// at least. Of unknown age nothing is said: a newborn may breathe as fast.
    /// ## Known false alerts
    /// A slow heart and a very fast breath that happen to meet.
    /// ## References
    /// Engineering knowledge (cardiogenic impedance), to be confirmed; not measured on recordings.
    "A11" "rr_equals_hr" class=Coherence evidence=true weights=(90, 5, 0) rest=Unverified
    {
        /// Largest difference, /min. Higher: rates that happen to be near alert.
        difference_bpm: f64 = 2.0;
        /// Breathing rate must be above, /min. Lower: a slow heart beside a fast breath alerts.
        above_bpm: f64 = 40.0;
        /// Must last, s. Lower: rates that cross alert.
        hold_s: f64 = 60.0;
        /// And so many readings, count. Lower: at one value a minute two values that meet alert.
        hold_readings: f64 = 3.0;
    }
}

const PAIR: [Parameter; 2] = [Parameter::Rr, Parameter::Hr];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.bed.age != AgeBand::Adult || view.lost(Parameter::Rr) || view.lost(Parameter::Hr) {
            state.hold.end();
            return;
        }
        let Some((rr, hr)) = view.pair(Parameter::Rr, Parameter::Hr) else { return };
        let doubt = (rr - hr).abs() <= self.difference_bpm && rr > self.above_bpm;
        if !view.lasts(&mut state.hold, &PAIR, doubt, (self.hold_readings, self.hold_s), id::rr_equals_hr, out) {
            return;
        }
        let row = view.fresh(Parameter::Rr).or(view.fresh(Parameter::Hr));
        out.push(Verdict {
            value: Some((rr - hr).abs()),
            limit: Some(self.difference_bpm),
            unit: "/min",
            window_s: state.hold.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            args: [("rr", Arg::Number(rr, 0)), ("hr", Arg::Number(hr, 0)), view.bed_arg()].into_iter().collect(),
            // The heart rate is not doubted.
            ..Verdict::new(id::rr_equals_hr, ParamSet::of(Parameter::Rr), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_breath_within_2_of_the_heart_for_a_minute_is_found() {
        assert_eq!(story::<Check>(&PAIR, "16/72x60 72/72x60 70/72"), "P.F");
        assert_eq!(story::<Check>(&PAIR, "69/72x300"), "P", "3 apart");
    }

    #[test]
    fn a_breath_of_40_is_no_heart() {
        assert_eq!(story::<Check>(&PAIR, "40/40x300 41/41x60 41/41"), "P.F");
    }

    #[test]
    fn rates_that_cross_are_none() {
        assert_eq!(story::<Check>(&PAIR, "50/72x30 72/72x59 50/72 72/72x59"), "P.P.");
    }

    #[test]
    fn children_and_patients_of_unknown_age_are_not_looked_at() {
        for age in [AgeBand::Neonate, AgeBand::Infant, AgeBand::Child, AgeBand::Adolescent, AgeBand::Unknown] {
            let mut s = Story::<Check>::of(&PAIR);
            s.bed.age = age;
            assert_eq!(s.tell("72/72x300"), ".");
        }
    }

    #[test]
    fn at_one_value_a_minute_three_readings_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("16/72x20 72/72x2 72/72"), "P.F");
    }
}
