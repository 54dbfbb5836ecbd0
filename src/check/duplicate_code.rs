use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a message that gives one parameter twice, with different values and nothing that tells the rows apart.
    /// ## Why it matters
    /// Which of the two a screen shows is chance. One of them may have been put in.
    /// ## How it decides
    /// Two rows of one code, device, time and place (OBX-4) whose values differ by more than the device's resolution, where the
    /// profile knows it, in three messages in a row. Such rows are refused in any case. Rows that their place tells apart are
    /// two channels and none.
    /// ## Known false alerts
    /// Two sources of one quantity under one code, from a gateway that leaves out the place.
    /// ## References
    /// IHE PCD technical framework (OBX-4, containment); a respiration rate sent twice in one message, told apart by OBX-4 alone.
    "C08" "duplicate_code" class=Provenance evidence=true weights=(50, 0, 20) rest=Unverified
    {
        /// Messages in a row, count. Lower: one slip of a gateway alerts. Higher: slower. Design choice.
        hold_messages: f64 = 3.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        if report.observations.is_empty() && report.twins.is_empty() {
            return;
        }
        let mut params = ParamSet::EMPTY;
        let mut widest = None;
        for twin in &report.twins {
            let apart = twin.high - twin.low;
            let step = view.profile.quantum(twin.parameter).unwrap_or(0.0);
            // Steps of a tenth are not exact.
            if apart > step * (1.0 + 1e-9) {
                params = params.with(twin.parameter);
                if widest.is_none_or(|(most, _, _)| apart > most) {
                    widest = Some((apart, step, twin));
                }
            }
        }
        state.hold.see(widest.is_some(), view.now);
        let Some((apart, step, twin)) = widest else {
            out.pass(id::duplicate_code);
            return;
        };
        if !state.hold.reached(self.hold_messages, 0.0) {
            return;
        }
        out.push(Verdict {
            value: Some(apart),
            limit: Some(step),
            unit: twin.parameter.unit().ucum(),
            window_s: view.now.since_s(state.hold.since()),
            set_id: Some(twin.set_id),
            args: [
                ("p", Arg::Parameter(twin.parameter)),
                ("a", Arg::reading(twin.parameter, twin.low)),
                ("b", Arg::reading(twin.parameter, twin.high)),
                ("n", Arg::Number(f64::from(state.hold.readings()), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::duplicate_code, params, state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::Twin;
    use crate::vital::Parameter;

    fn send(s: &mut Story<Check>, values: Option<(f64, f64)>) -> char {
        s.now = s.now.plus_s(1.0);
        let mut report = s.report(vec![observation(Parameter::Hr, 72.0, s.now)]);
        report.twins.extend(values.map(|(low, high)| Twin { parameter: Parameter::Rr, set_id: 4, low, high }));
        s.send(&report)
    }

    #[test]
    fn three_messages_in_a_row_are_found_and_two_are_not() {
        let mut s = Story::<Check>::of(&[]);
        let both = Some((14.0, 22.0));
        assert_eq!([both, both, None, both, both, both].map(|v| send(&mut s, v)), ['.', '.', 'P', '.', '.', 'F']);
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.set_id, verdict.params.contains(Parameter::Rr)), (Some(8.0), Some(4), true));
    }

    #[test]
    fn equal_values_and_one_step_of_the_device_are_none() {
        let mut s = Story::<Check>::of(&[]);
        assert!((0..9).all(|_| send(&mut s, Some((14.0, 14.0))) == 'P'));
        assert_eq!([(); 3].map(|()| send(&mut s, Some((14.0, 15.0)))), ['.', '.', 'F'], "no profile knows its steps");
        s.profile = crate::profile::Shelf::default().of_application("VITALGUARD-DEMO").clone();
        assert_eq!(s.profile.quantum(Parameter::Rr), Some(1.0));
        assert_eq!([(); 3].map(|()| send(&mut s, Some((14.0, 15.0)))), ['P'; 3]);
        assert_eq!([(); 3].map(|()| send(&mut s, Some((14.0, 16.0)))), ['.', '.', 'F']);
    }
}
