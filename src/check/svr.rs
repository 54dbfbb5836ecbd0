use super::{Arg, Judge, Verdict, Verdicts, View, beyond, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the systemic vascular resistance is 80 · (mean pressure − CVP) / CO.
    /// ## Why it matters
    /// The resistance is computed from three numbers that are on the screen beside it; it betrays that one of them was changed.
    /// ## How it decides
    /// Monitors compute it now and then, from averages, and show it until the next time: only a number that differs from the
    /// one before is looked at, against everything that the pressures and the output showed in the last minute, each half a
    /// step of its display wider. Beyond that by more than 5 % (and 10 dyn·s/cm⁵) on three such numbers in a row is a verdict.
    /// Mean pressures of the line, of an unknown method and of the cuff are tried; one that fits is enough.
    /// ## Known false alerts
    /// Averages over more than a minute while the pressure changes; a CVP that was typed in.
    /// ## References
    /// The definition of resistance (1 mmHg·min/L is 80 dyn·s/cm⁵). The limits are design choices.
    "A19" "svr" class=Coherence evidence=true weights=(40, 0, 20) rest=Unverified
    {
        /// Deviation allowed, share of SVR, 1. Lower: averaging alerts. Higher: a small forgery hides. Design choice.
        share: f64 = 0.05;
        /// Deviation allowed at least, dyn.s/cm5. Lower: display in tens alerts. Design choice.
        resolution: f64 = 10.0;
        /// What the device may have averaged over, s. Lower: changing pressures alert. Higher: a restless line hides more. Design choice.
        window_s: f64 = 60.0;
        /// Half a step of the pressures, mmHg. Lower: integer rounding alerts at a low output. Higher: a small forgery hides. Arithmetic of integers.
        rounding_mmhg: f64 = 0.5;
        /// Half a step of the output, L/min. Lower: rounding to 0.1 alerts at a low output. Higher: a small forgery hides. Arithmetic of one decimal.
        rounding_l_min: f64 = 0.05;
        /// Computed numbers in a row, count. Lower: one computation during a change alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
    }
}

/// Mean pressures from which a device may compute, the usual one first.
pub const MEANS: [Parameter; 3] = [Parameter::AbpMean, Parameter::BpMean, Parameter::NibpMean];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(svr) = view.fresh(Parameter::Svr).filter(|svr| view.anew(svr)) else { return };
        let (Some(cvp), Some(co)) = (view.range(Parameter::Cvp, self.window_s), view.range(Parameter::Co, self.window_s)) else {
            return;
        };
        let co = (co.0 - self.rounding_l_min, co.1 + self.rounding_l_min);
        if co.0 <= 0.0 {
            return;
        }
        let mut nearest: Option<(f64, Parameter)> = None;
        for mean in MEANS {
            let Some(map) = view.range(mean, self.window_s) else { continue };
            let low = map.0 - cvp.1 - 2.0 * self.rounding_mmhg;
            let high = map.1 - cvp.0 + 2.0 * self.rounding_mmhg;
            // A negative difference is largest over the largest output.
            let quotients = [low / co.0, low / co.1, high / co.0, high / co.1].map(|q| 80.0 * q);
            let meant = quotients.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), q| (l.min(*q), h.max(*q)));
            let apart = beyond(svr.value, meant);
            if nearest.is_none_or(|(least, _)| apart < least) {
                nearest = Some((apart, mean));
            }
        }
        let Some((apart, mean)) = nearest else { return };
        let limit = (self.share * svr.value.abs()).max(self.resolution);
        state.hold.see(apart > limit, view.now);
        if state.hold.readings() == 0 {
            out.pass(id::svr);
        } else if state.hold.reached(self.hold_readings, 0.0) {
            let shown = |p: Parameter| view.shown(p).unwrap_or(f64::NAN);
            let (map, cvp, co) = (shown(mean), shown(Parameter::Cvp), shown(Parameter::Co));
            out.push(Verdict {
                value: Some(apart),
                limit: Some(limit),
                unit: "dyn.s/cm5",
                window_s: view.now.since_s(state.hold.since()),
                set_id: Some(svr.set_id),
                effective_at: Some(svr.effective_at),
                args: [
                    ("v", Arg::Number(svr.value, 0)),
                    ("w", Arg::Number(80.0 * (map - cvp) / co, 0)),
                    ("m", Arg::Number(map, 0)),
                    ("c", Arg::Number(cvp, 0)),
                    ("co", Arg::Number(co, 1)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(
                    id::svr,
                    ParamSet::from_slice(&[Parameter::Svr, mean, Parameter::Cvp, Parameter::Co]),
                    state.hold.since(),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const FOUR: [Parameter; 4] = [Parameter::Svr, Parameter::AbpMean, Parameter::Cvp, Parameter::Co];

    #[test]
    fn a_resistance_that_the_pressures_do_not_give_is_found_at_the_third_computation() {
        // 80 · (84 ± 0.5 − 9 ± 0.5) / (5 ± 0.05): 1172 to 1228, and 5 % of the number itself.
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5 1291/84/9/5 1290/84/9/5 1291/84/9/5"), "PPPP");
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5 1294/84/9/5 1295/84/9/5 1294/84/9/5"), "P..F");
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5 1115/84/9/5 1114/84/9/5 1115/84/9/5"), "P..F");
    }

    #[test]
    fn a_number_that_is_only_sent_again_is_not_looked_at_however_the_pressure_moves() {
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5 1200/60/9/5x600"), "P.");
    }

    #[test]
    fn a_computation_from_the_last_minute_is_none() {
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5x30 1201/60/9/5 1202/60/9/5x28 1203/60/9/5"), ".P.P");
        assert_eq!(story::<Check>(&FOUR, "1200/84/9/5x3 1201/60/9/5x70 1203/60/9/5 1204/60/9/5 1205/60/9/5"), "....F");
    }

    #[test]
    fn forged_pressures_beside_a_true_resistance_are_found() {
        let mut s = Story::<Check>::of(&FOUR).every(60.0);
        assert_eq!(s.tell("1200/84/9/5 1210/120/9/5 1190/120/9/5 1205/120/9/5 1206/120/9/5"), "PP..F");
        assert_eq!(s.found.unwrap().text, "default");
    }

    #[test]
    fn the_cuff_stands_in_where_there_is_no_line_and_nothing_is_said_without_a_venous_pressure() {
        let cuff = [Parameter::Svr, Parameter::NibpMean, Parameter::Cvp, Parameter::Co];
        assert_eq!(story::<Check>(&cuff, "1200/84/9/5 1500/84/9/5 1501/84/9/5 1502/84/9/5"), "P..F");
        assert_eq!(story::<Check>(&cuff, "1500/84/_/5 1501/84/_/5 1502/84/_/5 1503/84/9/0"), "....");
    }
}
