use super::{Arg, Judge, Often, Priority, Verdict, Verdicts, View, id};
use crate::observation::{ObsFlags, RejectReason};
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Counts rows whose unit the parameter cannot have, or that lack the unit which this sender always gives.
    /// ## Why it matters
    /// A number without its unit is not a measurement: 13.3 may be a pressure in kPa or a low one in mmHg.
    /// ## How it decides
    /// Each such row is refused at once; three messages with one within ten minutes make a verdict.
    /// ## Known false alerts
    /// A firmware update, a new module.
    /// ## References
    /// HL7 v2 chapter 7 (OBX-6); UCUM; unit tables of the dialects.
    "C01" "unit_invalid" class=Provenance evidence=true weights=(30, 0, 20) rest=Unit
    {
        /// Messages with such a row, count (at most 8). Lower: one careless row alerts. Higher: slower. Design choice.
        messages: f64 = 3.0;
        /// Within this time, s. Lower: slow senders escape. Higher: rare slips add up. Design choice.
        window_s: f64 = 600.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    often: Often,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        let mut rows = 0u32;
        let mut set_id = None;
        let mut params = ParamSet::EMPTY;
        for reject in report.rejects.iter().filter(|r| r.reason == RejectReason::UnitInvalid) {
            rows += 1;
            set_id = set_id.or(Some(reject.set_id));
            params = reject.parameter.map_or(params, |p| params.with(p));
        }
        for o in report.observations.iter().filter(|o| o.flags.has(ObsFlags::UNIT_INVALID)) {
            rows += 1;
            set_id = set_id.or(Some(o.set_id));
            params = params.with(o.parameter);
        }
        if rows == 0 {
            if !report.observations.is_empty() {
                out.pass(id::unit_invalid);
            }
            return;
        }
        state.often.push(view.now);
        if let Some(onset) = state.often.within(self.messages, self.window_s, view.now) {
            out.push(Verdict {
                priority: Some(Priority::Info),
                value: Some(f64::from(rows)),
                limit: Some(0.0),
                unit: "{rows}",
                window_s: view.now.since_s(onset),
                set_id,
                args: [("n", Arg::Number(self.messages, 0)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::unit_invalid, params, onset)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter;

    fn send(story: &mut Story<Check>, bad: bool) -> char {
        story.now = story.now.plus_s(60.0);
        let mut o = observation(Parameter::NibpSys, 16.0, story.now);
        if bad {
            o.flags.set(ObsFlags::UNIT_INVALID);
        }
        let report = story.report(vec![o]);
        story.send(&report)
    }

    #[test]
    fn three_in_ten_minutes_are_a_verdict_and_two_are_not() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!([send(&mut s, true), send(&mut s, true), send(&mut s, false), send(&mut s, true)], ['.', '.', 'P', 'F']);
        let verdict = s.found.clone().unwrap();
        assert_eq!((verdict.window_s, verdict.set_id), (180.0, Some(Parameter::NibpSys as u32 + 1)));
    }

    #[test]
    fn slips_far_apart_do_not_add_up() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..4 {
            assert_eq!(send(&mut s, true), '.');
            s.now = s.now.plus_s(400.0);
        }
    }
}
