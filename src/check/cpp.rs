use super::svr::MEANS;
use super::{Arg, Judge, Verdict, Verdicts, View, beyond, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the cerebral perfusion pressure is the mean pressure minus the intracranial pressure.
    /// ## Why it matters
    /// Treatment follows this number. If it is not the difference of the two pressures beside it, one of the three is wrong.
    /// ## How it decides
    /// It lies more than 3 mmHg beyond every difference that the two pressures of the last 30 s can give, on three readings in
    /// a row and for 15 s. Mean pressures of the line, of an unknown method and of the cuff are tried; one that fits is enough.
    /// ## Known false alerts
    /// The device takes a mean pressure that the feed does not send, or averages for longer than 30 s.
    /// ## References
    /// The definition of the perfusion pressure. The limits are design choices.
    "A20" "cpp" class=Coherence evidence=true weights=(40, 0, 30) rest=Unverified
    {
        /// Deviation allowed, mmHg. Lower: rounding of three integers (1.5) alerts. Higher: a small forgery hides. Design choice.
        difference_mmhg: f64 = 3.0;
        /// What the device may have averaged over, s. Lower: changing pressures alert. Higher: a restless line hides more. Design choice.
        window_s: f64 = 30.0;
        /// Readings in a row, count. Lower: one reading during a change alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
        /// And at least, s. Lower: at one value a second three readings are no time. Higher: slower. Design choice.
        hold_s: f64 = 15.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(cpp) = view.fresh(Parameter::Cpp) else { return };
        let Some(icp) = view.range(Parameter::Icp, self.window_s) else { return };
        let mut nearest: Option<(f64, Parameter)> = None;
        for mean in MEANS {
            let Some(map) = view.range(mean, self.window_s) else { continue };
            let apart = beyond(cpp.value, (map.0 - icp.1, map.1 - icp.0));
            if nearest.is_none_or(|(least, _)| apart < least) {
                nearest = Some((apart, mean));
            }
        }
        let Some((apart, mean)) = nearest else { return };
        state.hold.see(apart > self.difference_mmhg, view.now);
        if state.hold.readings() == 0 {
            out.pass(id::cpp);
        } else if state.hold.reached(self.hold_readings, self.hold_s) {
            let shown = |p: Parameter| Arg::Number(view.shown(p).unwrap_or(f64::NAN), 0);
            out.push(Verdict {
                value: Some(apart),
                limit: Some(self.difference_mmhg),
                unit: "mm[Hg]",
                window_s: view.now.since_s(state.hold.since()),
                set_id: Some(cpp.set_id),
                effective_at: Some(cpp.effective_at),
                args: [
                    ("c", Arg::Number(cpp.value, 0)),
                    ("m", shown(mean)),
                    ("i", shown(Parameter::Icp)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::cpp, ParamSet::from_slice(&[Parameter::Cpp, mean, Parameter::Icp]), state.hold.since())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const THREE: [Parameter; 3] = [Parameter::Cpp, Parameter::AbpMean, Parameter::Icp];

    #[test]
    fn three_mmhg_are_allowed_and_four_are_found_after_15_s() {
        assert_eq!(story::<Check>(&THREE, "70/84/14x60 73/84/14x60 67/84/14x60"), "PPP");
        assert_eq!(story::<Check>(&THREE, "70/84/14 74/84/14x15 74/84/14"), "P.F");
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        assert_eq!(s.tell("70/84/14 66/84/14 66/84/14 66/84/14"), "P..F", "at one a minute three readings");
        assert_eq!(s.found.unwrap().value, Some(4.0));
    }

    #[test]
    fn a_difference_of_half_a_minute_ago_is_none() {
        assert_eq!(story::<Check>(&THREE, "70/84/14x40 70/100/14x30"), "PP");
        assert_eq!(story::<Check>(&THREE, "70/84/14x40 70/100/14x47"), "PF");
    }

    #[test]
    fn a_zero_reads_as_it_is_and_a_missing_pressure_says_nothing() {
        assert_eq!(story::<Check>(&THREE, "70/84/_x60 70/-/14x60 -/84/14x60"), "...");
        assert_eq!(story::<Check>(&THREE, "84/84/0x60 70/84/0x60"), "PF", "0 is a pressure in the head");
    }

    #[test]
    fn the_cuff_may_be_the_source() {
        let both = [Parameter::Cpp, Parameter::AbpMean, Parameter::Icp, Parameter::NibpMean];
        assert_eq!(story::<Check>(&both, "70/95/14/84x60"), "P");
        assert_eq!(story::<Check>(&both, "70/95/14/90x60"), "F");
    }
}
