use super::{Arg, Flag, Judge, Verdict, Verdicts, View, id, step_held};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Marks one or two readings that lie far off between readings that agree.
    /// ## Why it matters
    /// Nothing alone: motion makes such spikes all day. As a label it tells other findings, and whoever reads them, that the
    /// value was a flicker.
    /// ## How it decides
    /// A reading that differs from the one before by more than the limit of T01 (rates 100 /min; SpO2 down by 20 %; arterial
    /// mean 60 mmHg; core temperature 1 °C, skin 5 °C), no other or one other reading there, then back within a third of the
    /// limit before T01's hold is over. A reading that is repeated by the monitor is one reading.
    /// ## Known false alerts
    /// None: a label raises nothing.
    /// ## References
    /// The limits are those of T01. A single reading of 200 in a recorded pulse rate is found in 95 % of copies by a rule of held jumps.
    "T02" "spike" class=Dynamics evidence=true weights=(95, 0, 5) rest=Unverified
    {
        /// Readings off at most, count. Lower: two readings of motion are no spike. Higher: short true runs are called a flicker.
        readings: f64 = 2.0;
    }
}

/// Readings that are off, and may come back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pending {
    parameter: Parameter,
    from: f64,
    /// The farthest, and the newest.
    peak: f64,
    last: f64,
    readings: u8,
    /// By the parameter's own time and by our clock.
    at: Timestamp,
    since: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pending: Vec<Pending>,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let limits = step_held::Check::default();
        let (mut looked, mut found) = (false, false);
        for parameter in view.fresh_set().iter() {
            let (Some(limit), Some(o)) = (limits.limit(parameter), view.fresh(parameter)) else { continue };
            looked = true;
            if let Some(at) = state.pending.iter().position(|p| p.parameter == parameter) {
                let pending = &mut state.pending[at];
                let away_s = o.effective_at.since_s(pending.at);
                let timely = (0.0..=limit.hold_s).contains(&away_s);
                let back = (o.value - pending.from).abs() <= limit.step / 3.0;
                if timely && !back {
                    pending.readings = pending.readings.saturating_add(u8::from(o.value != pending.last));
                    pending.last = o.value;
                    if (o.value - pending.from).abs() > (pending.peak - pending.from).abs() {
                        pending.peak = o.value;
                    }
                }
                if timely && !back && f64::from(pending.readings) <= self.readings {
                    continue;
                }
                let spike = state.pending.swap_remove(at);
                if timely && back {
                    found = true;
                    out.push(Verdict {
                        flag: Flag::Suspect,
                        log10_e: 0.0,
                        value: Some((spike.peak - spike.from).abs()),
                        limit: Some(limit.step),
                        unit: parameter.unit().ucum(),
                        window_s: away_s,
                        set_id: Some(o.set_id),
                        effective_at: Some(spike.at),
                        args: [
                            ("p", Arg::Parameter(parameter)),
                            ("a", Arg::reading(parameter, spike.from)),
                            ("b", Arg::reading(parameter, spike.peak)),
                            ("s", Arg::Number(away_s, 0)),
                        ]
                        .into_iter()
                        .collect(),
                        ..Verdict::new(id::spike, ParamSet::of(parameter), spike.since)
                    });
                }
                continue;
            }
            let Some(before) = view.preceding(parameter) else { continue };
            let jump = o.value - before.value;
            let far = if limit.fall_only { -jump > limit.step } else { jump.abs() > limit.step };
            if far && (0.0..=limit.window_s).contains(&o.effective_at.since_s(before.effective_at)) {
                let (at, since) = (o.effective_at, view.now);
                state.pending.push(Pending { parameter, from: before.value, peak: o.value, last: o.value, readings: 1, at, since });
            }
        }
        if looked && !found {
            out.pass(id::spike);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::story;

    #[test]
    fn one_or_two_readings_off_by_101_are_a_spike_and_three_are_none() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 173 72"), "PPS");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 172 72"), "PPP", "exactly 100 is allowed");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 173 180 73"), "PPPS");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 173 180 181 73"), "PPPPP");
    }

    #[test]
    fn back_means_within_a_third_of_the_limit() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 181 105"), "PPS");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 181 106 107 108"), "PPPPP");
    }

    #[test]
    fn a_reading_that_the_monitor_repeats_is_one_and_a_held_one_is_a_step() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 181x8 72"), "PPS");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 181x21 72"), "PPP");
    }

    #[test]
    fn saturation_that_rises_and_a_pulse_that_was_lost_are_none() {
        assert_eq!(story::<Check>(&[Parameter::Spo2], "75x20 97 75"), "PPP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "97x20 75 97"), "PPS");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 0 -x3 190 72"), "P..PP");
    }
}
