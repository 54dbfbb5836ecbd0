use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices breaths that are counted in CO2 while the CO2 itself reads 0.
    /// ## Why it matters
    /// A capnograph counts breaths by their CO2. Breaths without CO2 are counted elsewhere, or one of the two numbers is not its.
    /// ## How it decides
    /// EtCO2 of 0 beside a breathing rate of the capnograph of 6 /min or more, on five readings in a row that span the lag of
    /// the two numbers (10 s). EtCO2 of 0 is a measurement unless the device's profile says otherwise; a row marked as without
    /// value begins anew.
    /// ## Known false alerts
    /// A blocked line where the breathing rate comes from another source; a device that holds the rate for longer.
    /// ## References
    /// 0 s in 4.9 bed-days of one device (197 records at 1 Hz).
    "A12" "etco2_zero_with_rr" class=Coherence evidence=true weights=(60, 5, 30) rest=Unverified
    {
        /// Breathing rate from, /min. Lower: a rate that fades out after the last breath alerts.
        breaths_bpm: f64 = 6.0;
        /// Readings in a row, count. Lower: one message of two times alerts.
        hold_readings: f64 = 5.0;
        /// That span, s. Lower: the lag of the two numbers alerts. Higher: slower.
        lag_s: f64 = 10.0;
    }
}

const PAIR: [Parameter; 2] = [Parameter::Etco2, Parameter::Awrr];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.lost(Parameter::Etco2) || view.lost(Parameter::Awrr) {
            state.hold.end();
            return;
        }
        let Some((co2, rr)) = view.pair(Parameter::Etco2, Parameter::Awrr) else { return };
        let (doubt, least) = (co2 == 0.0 && rr >= self.breaths_bpm, (self.hold_readings, self.lag_s));
        if !view.lasts(&mut state.hold, &PAIR, doubt, least, id::etco2_zero_with_rr, out) {
            return;
        }
        let row = view.fresh(Parameter::Etco2).or(view.fresh(Parameter::Awrr));
        out.push(Verdict {
            value: Some(rr),
            limit: Some(self.breaths_bpm),
            unit: "/min",
            window_s: state.hold.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            args: [("rr", Arg::Number(rr, 0)), ("s", Arg::Number(state.hold.lasted_s(), 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::etco2_zero_with_rr, ParamSet::from_slice(&PAIR), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn six_breaths_without_co2_are_found_after_the_lag_and_five_are_a_fading_rate() {
        assert_eq!(story::<Check>(&PAIR, "35/12x30 0/6x10 0/6"), "P.F");
        assert_eq!(story::<Check>(&PAIR, "35/12x30 0/5x100"), "PP");
    }

    #[test]
    fn a_true_apnoea_is_none_and_a_mark_begins_anew() {
        assert_eq!(story::<Check>(&PAIR, "35/12x30 0/12x9 0/0x140 30/8"), "P.PP");
        assert_eq!(story::<Check>(&PAIR, "35/12x30 0/12x9 -/-x3 0/12x9"), "P...");
    }

    #[test]
    fn at_one_value_a_minute_five_readings_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("35/12x20 0/12x4 0/12"), "P.F");
    }

    #[test]
    fn a_device_whose_zero_is_no_measurement_is_not_looked_at() {
        let mut s = Story::<Check>::of(&PAIR);
        let text = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = false\n[sentinels]\netco2 = [0.0]\n";
        s.profile = crate::profile::Profile::from_toml(text).unwrap();
        s.profile.reviewed = true;
        assert_eq!(s.tell("35/12x30 0/12x100"), "P.");
    }
}
