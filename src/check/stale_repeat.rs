use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{ObsFlags, Observation, TimeSource};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a continuous parameter that is sent again and again with one and the same time of measurement.
    /// ## Why it matters
    /// It looks alive on the screen and is an old number: a gateway that repeats, or someone who holds a value.
    /// ## How it decides
    /// Rows with the time of the last measurement are that measurement and count as no new one. If they go on for more than
    /// max(5Δ, 30 s), Δ being the parameter's own interval, it is a verdict. Times that are the message's, not the value's, are
    /// not looked at, nor is what is measured now and then.
    /// ## Known false alerts
    /// A spot measurement that is sent as a continuous one; a device that stamps the time of the last change.
    /// ## References
    /// One family of gateways sends a cuff pressure again every 5.01 s. The limits are design choices.
    "M06" "stale_repeat" class=Liveness evidence=true weights=(60, 0, 20) rest=Unverified
    {
        /// Intervals for which one time is sent, count. Lower: a slow parameter alerts. Higher: slower. Design choice.
        intervals: f64 = 5.0;
        /// And at least, s. Lower: a value that a device holds for a few seconds alerts. Higher: slower. Design choice.
        repeat_s: f64 = 30.0;
    }
}

/// What is repeated is known to the bed already.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {}

/// Whether a row carries a time of its own and is a value of a sensor that measures all the time.
fn is_continuous(o: &Observation) -> bool {
    o.parameter.nature() == Nature::Continuous
        && o.validity.usable()
        && o.value.is_finite()
        && !o.flags.has(ObsFlags::EPISODIC | ObsFlags::SHOWN_ONLY | ObsFlags::CORRECTION)
        && !matches!(o.time_source, TimeSource::Msh7 | TimeSource::Received)
}

impl Judge for Check {
    type State = State;

    fn judge(&self, _: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report.filter(|_| view.clock.is_live()) else { return };
        let mut looked = false;
        let mut oldest: Option<(Timestamp, f64, &Observation)> = None;
        let mut params = ParamSet::EMPTY;
        for o in report.observations.iter().filter(|o| is_continuous(o)) {
            let Some(stream) = view.bed.channel(o.parameter, o.channel) else { continue };
            let (Some(latest), Some(delta_s)) = (stream.latest, stream.delta_s()) else { continue };
            looked = true;
            let limit_s = (self.intervals * delta_s).max(self.repeat_s);
            if o.effective_at != latest.effective_at || view.now.since_s(latest.received_at) <= limit_s {
                continue;
            }
            params = params.with(o.parameter);
            if oldest.is_none_or(|(at, _, _)| latest.received_at < at) {
                oldest = Some((latest.received_at, limit_s, o));
            }
        }
        let Some((since, limit_s, o)) = oldest else {
            if looked {
                out.pass(id::stale_repeat);
            }
            return;
        };
        let repeat_s = view.now.since_s(since);
        out.push(Verdict {
            value: Some(repeat_s),
            limit: Some(limit_s),
            unit: "s",
            window_s: repeat_s,
            set_id: Some(o.set_id),
            effective_at: Some(o.effective_at),
            args: [
                ("p", Arg::Parameter(o.parameter)),
                ("t", Arg::Time(o.effective_at)),
                ("s", Arg::Number(repeat_s, 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::stale_repeat, params, since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter;

    /// A message a `step_s` whose value of `parameter` was measured `age_s` ago; the letters.
    fn send(s: &mut Story<Check>, parameter: Parameter, ages_s: impl Iterator<Item = f64>) -> String {
        let mut flags = String::new();
        for age_s in ages_s {
            s.now = s.now.plus_s(s.step_s);
            let row = observation(parameter, 72.0, s.now.plus_s(-age_s));
            let report = s.report(vec![row]);
            flags.push(s.send(&report));
        }
        flags
    }

    #[test]
    fn one_time_for_30_s_is_none_and_for_31_s_is_found() {
        let mut s = Story::<Check>::of(&[]);
        send(&mut s, Parameter::Hr, std::iter::repeat_n(0.0, 20));
        assert!(!send(&mut s, Parameter::Hr, (1..=30).map(f64::from)).contains('F'));
        assert_eq!(send(&mut s, Parameter::Hr, [31.0, 0.0].into_iter()), "FP");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit, verdict.params.len()), (Some(31.0), Some(30.0), 1));
    }

    #[test]
    fn a_value_that_comes_every_minute_may_be_sent_again_for_five() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..15 {
            send(&mut s, Parameter::Temp, (0..60).map(f64::from));
        }
        assert!(!send(&mut s, Parameter::Temp, (0..=300).map(f64::from)).contains('F'));
        assert_eq!(send(&mut s, Parameter::Temp, [301.0].into_iter()), "F");
    }

    #[test]
    fn a_cuff_pressure_is_sent_again_by_design_and_a_spot_measurement_has_no_interval() {
        let mut s = Story::<Check>::of(&[]);
        assert!(!send(&mut s, Parameter::NibpSys, (0..2000).map(f64::from)).contains('F'));
        assert!(!send(&mut s, Parameter::Temp, (0..2000).map(f64::from)).contains('F'));
    }

    #[test]
    fn a_time_that_is_the_messages_is_not_the_values() {
        let mut s = Story::<Check>::of(&[]);
        send(&mut s, Parameter::Hr, std::iter::repeat_n(0.0, 20));
        let at = s.now;
        for _ in 0..60 {
            s.now = s.now.plus_s(1.0);
            let row = Observation { time_source: TimeSource::Msh7, ..observation(Parameter::Hr, 72.0, at) };
            let report = s.report(vec![row]);
            assert_eq!(s.send(&report), '.');
        }
    }
}
