use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that no breath is counted while the CO2 of breaths is shown.
    /// ## Why it matters
    /// Either nobody breathes and the CO2 is an old number, or somebody does and the count is wrong.
    /// ## How it decides
    /// A breathing rate of the capnograph of 0 beside an EtCO2 of 15 mmHg or more on every reading of 120 s, and on three at
    /// least. A row marked as without value begins anew: a purge is such a mark, and about 18 s of 0 after it.
    /// ## Known false alerts
    /// A device that holds the CO2 of the last breath; purging.
    /// ## References
    /// 197 records at 1 Hz, 4.99 bed-days: 1.80 a bed-day for 30 s, 0.40 for 60 s, none for 120 s, nor at one value a minute.
    "A13" "awrr_zero_with_etco2" class=Coherence evidence=true weights=(70, 10, 15) rest=Unverified
    {
        /// CO2 from, mmHg. Lower: a number that fades out alerts.
        co2_mmhg: f64 = 15.0;
        /// Must last, s. Lower: at 60 s 0.40 false a bed-day, at 30 s 1.80. Higher: slower.
        hold_s: f64 = 120.0;
        /// And so many readings, count. Lower: at one value a minute two of them alert.
        hold_readings: f64 = 3.0;
    }
}

const PAIR: [Parameter; 2] = [Parameter::Awrr, Parameter::Etco2];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.lost(Parameter::Awrr) || view.lost(Parameter::Etco2) {
            state.hold.end();
            return;
        }
        let Some((rr, co2)) = view.pair(Parameter::Awrr, Parameter::Etco2) else { return };
        let (doubt, least) = (rr == 0.0 && co2 >= self.co2_mmhg, (self.hold_readings, self.hold_s));
        if !view.lasts(&mut state.hold, &PAIR, doubt, least, id::awrr_zero_with_etco2, out) {
            return;
        }
        let row = view.fresh(Parameter::Awrr).or(view.fresh(Parameter::Etco2));
        out.push(Verdict {
            value: Some(co2),
            limit: Some(self.co2_mmhg),
            unit: "mm[Hg]",
            window_s: state.hold.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            args: [("c", Arg::Number(co2, 0)), ("s", Arg::Number(state.hold.lasted_s(), 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::awrr_zero_with_etco2, ParamSet::from_slice(&PAIR), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn two_minutes_without_a_breath_at_a_co2_of_15_are_found() {
        assert_eq!(story::<Check>(&PAIR, "12/35x30 0/15x120 0/15"), "P.F");
        assert_eq!(story::<Check>(&PAIR, "12/35x30 0/14.9x300"), "PP");
    }

    #[test]
    fn a_purge_and_a_true_apnoea_are_none() {
        assert_eq!(story::<Check>(&PAIR, "12/35x30 -/-x9 0/30x18 14/34x60"), "P..P");
        assert_eq!(story::<Check>(&PAIR, "12/35x30 0/0x150 9/40"), "PPP");
        assert_eq!(story::<Check>(&PAIR, "12/35x30 0/30x100 -/-x9 0/30x100"), "P...", "two purges are not one");
    }

    #[test]
    fn at_one_value_a_minute_three_readings_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("12/35x20 0/35x2 0/35"), "P.F");
    }
}
