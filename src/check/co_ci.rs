use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the cardiac index times the body surface is the cardiac output.
    /// ## Why it matters
    /// One of the three numbers is computed from the other two; when they do not fit, somebody or something has changed one.
    /// ## How it decides
    /// |CI · BSA − CO| is larger than 5 % of CO and than one step of its display (0.1 L/min), on three new readings in a row
    /// of output and index together. The body surface is the one that the feed sends; without it nothing is compared.
    /// ## Known false alerts
    /// Height or weight are edited and only one of the numbers is computed anew.
    /// ## References
    /// The definition of the cardiac index. The limits are design choices.
    "A18" "co_ci" class=Coherence evidence=true weights=(40, 0, 20) rest=Unverified
    {
        /// Deviation allowed, share of CO, 1. Lower: rounding of the index alerts. Higher: a small forgery hides. Design choice.
        share: f64 = 0.05;
        /// Deviation allowed at least, L/min, unless the profile knows the resolution. Lower: the rounding of a newborn's output alerts. Higher: a newborn's forgery hides. Design choice.
        resolution_l_min: f64 = 0.1;
        /// Readings in a row, count. Lower: one edit of the weight alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (Some(co), Some(ci)) = (view.fresh(Parameter::Co), view.fresh(Parameter::Ci)) else { return };
        let Some(bsa) = view.shown(Parameter::Bsa) else { return };
        let meant = ci.value * bsa;
        let step = view.profile.quantum(Parameter::Co).unwrap_or(self.resolution_l_min);
        let limit = (self.share * co.value.abs()).max(step);
        let apart = (meant - co.value).abs();
        state.hold.see(apart > limit, view.now);
        if state.hold.readings() == 0 {
            out.pass(id::co_ci);
        } else if state.hold.reached(self.hold_readings, 0.0) {
            out.push(Verdict {
                value: Some(apart),
                limit: Some(limit),
                unit: "L/min",
                window_s: view.now.since_s(state.hold.since()),
                set_id: Some(ci.set_id),
                effective_at: Some(ci.effective_at),
                args: [
                    ("co", Arg::Number(co.value, 1)),
                    ("ci", Arg::Number(ci.value, 1)),
                    ("bsa", Arg::Number(bsa, 2)),
                    ("w", Arg::Number(meant, 1)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(
                    id::co_ci,
                    ParamSet::of(Parameter::Co).with(Parameter::Ci).with(Parameter::Bsa),
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

    const THREE: [Parameter; 3] = [Parameter::Co, Parameter::Ci, Parameter::Bsa];

    #[test]
    fn five_per_cent_of_the_output_are_allowed_and_more_is_found_at_the_third_reading() {
        assert_eq!(story::<Check>(&THREE, "5/2.62/2x9"), "P", "0.24 of 0.25");
        assert_eq!(story::<Check>(&THREE, "5/2.63/2 5/2.63/2 5/2.63/2"), "..F", "0.26");
        let mut s = Story::<Check>::of(&THREE);
        s.tell("5/3/2x3");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit, verdict.window_s), (Some(1.0), Some(0.25), 2.0));
    }

    #[test]
    fn one_step_of_the_display_is_allowed_to_a_newborn() {
        assert_eq!(story::<Check>(&THREE, "0.6/3.4/0.2x5"), "P", "0.08");
        assert_eq!(story::<Check>(&THREE, "0.6/3.6/0.2x3"), "F", "0.12");
    }

    #[test]
    fn one_edit_is_none_and_without_a_body_surface_nothing_is_compared() {
        assert_eq!(story::<Check>(&THREE, "5/2.5/2 5/2.5/2.4 5/2.5/2.4 5/2.1/2.4"), "P..P");
        assert_eq!(story::<Check>(&THREE, "5/4/_x9 5/4/0x9 -/4/2x9"), "...");
    }

    #[test]
    fn the_body_surface_may_come_seldom() {
        assert_eq!(story::<Check>(&THREE, "5/2.5/2 5/2.5/_x600 5/3/_x3"), "PPF");
    }
}
