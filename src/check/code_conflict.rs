use super::{Arg, Judge, Often, Verdict, Verdicts, View, id};
use crate::observation::RejectReason;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Counts rows whose code and name, or whose code and alternate code, mean different parameters.
    /// ## Why it matters
    /// A value under a wrong name is believed: a diastolic pressure of 72 reads as a good heart rate.
    /// ## How it decides
    /// Each such row is refused at once; three messages with one within ten minutes make a verdict.
    /// ## Known false alerts
    /// A sloppy mapping in a gateway.
    /// ## References
    /// HL7 v2 chapter 2 (CWE); ISO/IEEE 11073-10101; seen in the field: code 150022 (cuff diastolic) with a heart-rate name.
    "C05" "code_conflict" class=Provenance evidence=true weights=(40, 0, 20) rest=Unverified
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
        let mut bad = report.rejects.iter().filter(|r| r.reason == RejectReason::CodeConflict);
        let Some(first) = bad.next() else {
            if !report.observations.is_empty() {
                out.pass(id::code_conflict);
            }
            return;
        };
        let rows = 1 + bad.clone().count();
        let params = bad.chain([first]).filter_map(|r| r.parameter).collect::<ParamSet>();
        state.often.push(view.now);
        if let Some(onset) = state.often.within(self.messages, self.window_s, view.now) {
            out.push(Verdict {
                value: Some(rows as f64),
                limit: Some(0.0),
                unit: "{rows}",
                window_s: view.now.since_s(onset),
                set_id: Some(first.set_id),
                args: [("n", Arg::Number(self.messages, 0)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::code_conflict, params, onset)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::{Reject, Span};
    use crate::vital::Parameter;

    #[test]
    fn three_in_ten_minutes_are_a_verdict() {
        let mut s = Story::<Check>::of(&[]);
        let mut flags = String::new();
        for reason in [RejectReason::CodeConflict, RejectReason::UnknownCode, RejectReason::CodeConflict, RejectReason::CodeConflict] {
            s.now = s.now.plus_s(1.0);
            let now = s.now;
            let mut report = s.report(vec![observation(Parameter::Hr, 72.0, now)]);
            let (ordinal, set_id, segment, code) = (1, 2, Span::default(), Span::default());
            report.rejects.push(Reject { reason, ordinal, set_id, segment, code, parameter: Some(Parameter::NibpDia) });
            flags.push(s.send(&report));
        }
        assert_eq!(flags, ".P.F");
        assert!(s.found.unwrap().params.contains(Parameter::NibpDia));
    }
}
