use super::{Arg, Judge, Often, Verdict, Verdicts, View, id};
use crate::bed::Stream;
use crate::observation::{ObsFlags, Observation, TimeSource};
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Watches whether a parameter's own time goes back.
    /// ## Why it matters
    /// Sensors do not measure the past: old values sent as new ones hide the present ones.
    /// ## How it decides
    /// A step back of more than Δ + 2 s counts once a message; three within ten minutes make a verdict. A late batch whose times
    /// ascend is store-and-forward: only its first message counts, unless it gives another value to a time that has one.
    /// ## Known false alerts
    /// A clock that is set, the backlog of an outage sent in pieces between live values.
    /// ## References
    /// HL7 v2 chapter 7 (OBX-14). The limits are design choices.
    "C03" "time_order" class=Provenance evidence=true weights=(20, 0, 40) rest=Unverified
    {
        /// Messages that go back, count (at most 8). Lower: each set clock alerts. Higher: slower. Design choice.
        messages: f64 = 3.0;
        /// Within this time, s. Design choice; higher: set clocks of one night add up.
        window_s: f64 = 600.0;
        /// Allowed beyond one interval Δ, s. Lower: jitter of a gateway counts. Higher: short steps escape.
        slack_s: f64 = 2.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    often: Often,
}

/// Whether the time of a row was heard before with another value, and this is no correction.
fn is_rewritten(o: &Observation, stream: &Stream) -> bool {
    let value = f64::from(o.value as f32);
    !o.flags.has(ObsFlags::CORRECTION)
        && stream.recent.since(o.effective_at).any(|(known, at)| at == o.effective_at && known != value)
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        let mut params = ParamSet::EMPTY;
        let (mut worst_s, mut limit_s, mut row) = (0.0, 0.0, None);
        for o in view.unheard() {
            let parameter = o.parameter;
            let Some(stream) = view.bed.stream(parameter).filter(|s| s.channel == o.channel) else { continue };
            let Some(latest) = stream.latest else { continue };
            if matches!(o.time_source, TimeSource::Received) {
                continue;
            }
            looked = true;
            let back_s = latest.effective_at.since_s(o.effective_at);
            let limit = stream.delta_s().unwrap_or(1.0) + self.slack_s;
            let ascends = stream.late.is_some_and(|(own, _)| o.effective_at > own);
            if back_s > limit && (!ascends || is_rewritten(o, stream)) {
                params = params.with(parameter);
                if back_s > worst_s {
                    (worst_s, limit_s, row) = (back_s, limit, Some(o));
                }
            }
        }
        let Some(row) = row else {
            if looked {
                out.pass(id::time_order);
            }
            return;
        };
        state.often.push(view.now);
        if let Some(onset) = state.often.within(self.messages, self.window_s, view.now) {
            out.push(Verdict {
                value: Some(worst_s),
                limit: Some(limit_s),
                unit: "s",
                window_s: view.now.since_s(onset),
                set_id: Some(row.set_id),
                effective_at: Some(row.effective_at),
                args: [("n", Arg::Number(self.messages, 0)), ("s", Arg::Number(worst_s, 0)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::time_order, params, onset)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter;

    /// Messages with these own times, one a second on our clock.
    fn times(offsets_s: &[f64]) -> String {
        let mut s = Story::<Check>::of(&[]);
        s.tell("~");
        let start = s.now;
        let mut flags = String::new();
        for offset in offsets_s {
            s.now = s.now.plus_s(1.0);
            let report = s.report(vec![observation(Parameter::Hr, 72.0, start.plus_s(*offset))]);
            flags.push(s.send(&report));
        }
        flags
    }

    #[test]
    fn three_steps_back_are_a_verdict() {
        assert_eq!(times(&[100.0, 101.0, 50.0, 102.0, 49.0, 103.0, 48.0]), ".P.P.PF");
    }

    #[test]
    fn a_backlog_in_order_counts_once() {
        assert_eq!(times(&[100.0, 101.0, 50.0, 51.0, 52.0, 53.0, 54.0, 55.0, 102.0]), ".P.PPPPPP");
    }

    #[test]
    fn old_times_with_new_values_count_though_they_ascend() {
        // The first step back counts in any case.
        for (value, verdicts) in [(72.0, 0), (90.0, 2)] {
            let mut s = Story::<Check>::of(&[]);
            let start = s.now;
            let mut told = String::new();
            for n in 0..14 {
                s.now = s.now.plus_s(1.0);
                let (own, value) = if n < 10 { (n, 72.0) } else { (n - 9, if n == 10 { 72.0 } else { value }) };
                let report = s.report(vec![observation(Parameter::Hr, value, start.plus_s(f64::from(own)))]);
                told.push(s.send(&report));
            }
            assert_eq!(told.matches('F').count(), verdicts, "{told}");
        }
    }

    #[test]
    fn two_swapped_messages_are_no_step_back() {
        assert_eq!(times(&[100.0, 102.0, 101.0, 103.0, 105.0, 104.0]), ".PPPPP");
    }
}
