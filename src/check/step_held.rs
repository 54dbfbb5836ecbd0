use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a jump that no body makes, after which the value stays where it jumped to.
    /// ## Why it matters
    /// Physiology moves fast for a moment, or far in a while; a step that then stands is a sensor, or an invented number.
    /// ## How it decides
    /// Heart and pulse rate by more than 100 /min within 5 s, held 20 s; SpO2 down by more than 20 within 10 s, held 10 s (a rise
    /// is a recovery); arterial mean by more than 60 mmHg within 5 s, held 20 s, unless to a zeroed or flushed line; core
    /// temperature by more than 1 °C within 5 min, skin by more than 5 °C within 1 min. Held: within a third of the limit of
    /// the first value after the jump. Cuff pressures and EtCO2 are not looked at. Values from before a gap longer than the
    /// window do not count.
    /// ## Known false alerts
    /// Motion, change of the lead, a cuff on the oximeter's arm, flushing, start-up values after a drop-out.
    /// ## References
    /// 3.7 and 5.0 bed-days at 1 Hz: PR 0 and 1 episodes, SpO2 fall 0 and 1; SpO2 rises by 15 to 30 in 10 s after hypoxia.
    "T01" "step_held" class=Dynamics evidence=true weights=(90, 5, 5) rest=Unverified
    {
        /// Step of a rate, /min. Lower: at 40 there are 2.45 false a bed-day on one monitor, at 80 0.27 and 0.40.
        rate_bpm: f64 = 100.0;
        /// Within, s. Higher: true fast rises are steps. 99.99 % of 10 s changes of PR are 52 to 66 at most.
        rate_window_s: f64 = 5.0;
        /// Held, s. Lower: artefacts of a few seconds alert. Higher: slower.
        rate_hold_s: f64 = 20.0;
        /// Fall of SpO2, %. Lower: at 10 there are 1.40 false a bed-day on one monitor, at 15 0.80.
        spo2_fall_percent: f64 = 20.0;
        /// Within, s. Higher: true desaturation is a step (3 to 6 in 30 s under induced hypoxia).
        spo2_window_s: f64 = 10.0;
        /// Held, s. Lower: drop-outs alert. Higher: slower.
        spo2_hold_s: f64 = 10.0;
        /// Step of an arterial mean, mmHg. Lower: posture and drugs alert. Not measured; to be confirmed.
        pressure_mmhg: f64 = 60.0;
        /// Step of a core temperature, °C in 5 min. Lower: a probe that warms up alerts. Not measured; to be confirmed.
        core_cel: f64 = 1.0;
        /// Step of a skin temperature, °C in 1 min. Lower: uncovering the patient alerts. Not measured; to be confirmed.
        skin_cel: f64 = 5.0;
        /// The finding stands for so long after the hold; then the level is the patient's new one, s. Lower: it is over before anyone looks.
        report_s: f64 = 60.0;
    }
}

/// The limits of one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub step: f64,
    pub window_s: f64,
    pub hold_s: f64,
    pub fall_only: bool,
}

/// A jump that may hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    parameter: Parameter,
    from: f64,
    to: f64,
    /// The jump, by the parameter's own time and by our clock; the newest value that held it.
    at: Timestamp,
    since: Timestamp,
    last: Timestamp,
    /// It came back: the way back is no jump either.
    back: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pending: Vec<Pending>,
}

impl Check {
    pub(super) fn limit(&self, parameter: Parameter) -> Option<Limit> {
        let rate = (self.rate_window_s, self.rate_hold_s);
        let (step, (window_s, hold_s), fall_only) = match parameter {
            Parameter::Hr | Parameter::Pr | Parameter::PrAbp => (self.rate_bpm, rate, false),
            Parameter::Spo2 => (self.spo2_fall_percent, (self.spo2_window_s, self.spo2_hold_s), true),
            Parameter::AbpMean => (self.pressure_mmhg, rate, false),
            Parameter::Temp | Parameter::TempCore | Parameter::TempEso | Parameter::TempRect | Parameter::TempBlood => {
                (self.core_cel, (300.0, 60.0), false)
            }
            Parameter::TempSkin => (self.skin_cel, (60.0, 60.0), false),
            _ => return None,
        };
        Some(Limit { step, window_s, hold_s, fall_only })
    }

    /// The value of the window from which `value` is farthest, if it is beyond the limit.
    fn jump(limit: Limit, view: &View<'_>, parameter: Parameter, value: f64, at: Timestamp) -> Option<f64> {
        let stream = view.bed.stream(parameter)?;
        // The value before was compared when it came.
        if stream.last?.value == value {
            return None;
        }
        let (low, high) = stream.recent.envelope(at.plus_s(-limit.window_s))?;
        let from = if limit.fall_only || high - value > value - low { high } else { low };
        (if limit.fall_only { from - value } else { (from - value).abs() } > limit.step).then_some(from)
    }
}

/// Means outside are a line that is open to air or flushed, mmHg.
const PULSATILE_MMHG: std::ops::RangeInclusive<f64> = 10.0..=200.0;

/// A line that was opened to air, flushed or clamped is no jump of the patient's pressure.
fn is_line_handling(view: &View<'_>, mean: f64) -> bool {
    if !PULSATILE_MMHG.contains(&mean) {
        return true;
    }
    match (view.fresh(Parameter::AbpSys), view.fresh(Parameter::AbpDia)) {
        (Some(s), Some(d)) => s.value - d.value < 5.0,
        _ => true,
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for parameter in view.fresh_set().iter() {
            let (Some(limit), Some(o)) = (self.limit(parameter), view.fresh(parameter)) else { continue };
            looked = true;
            if !state.pending.is_empty()
                && let Some(position) = state.pending.iter().position(|p| p.parameter == parameter)
            {
                let p = state.pending[position];
                let held_s = o.effective_at.since_s(p.at);
                let back = (o.value - p.from).abs() <= limit.step / 3.0;
                if p.back && back && o.effective_at.since_s(p.last) <= limit.window_s {
                    continue;
                }
                let lost = o.effective_at.since_s(p.last) > limit.hold_s.max(10.0);
                if !p.back && (o.value - p.to).abs() <= limit.step / 3.0 && !lost && held_s <= limit.hold_s + self.report_s {
                    state.pending[position].last = o.effective_at;
                    if held_s >= limit.hold_s {
                        out.push(Verdict {
                            value: Some((p.to - p.from).abs()),
                            limit: Some(limit.step),
                            unit: parameter.unit().ucum(),
                            window_s: limit.window_s,
                            set_id: Some(o.set_id),
                            effective_at: Some(p.at),
                            args: [
                                ("p", Arg::Parameter(parameter)),
                                ("a", Arg::reading(parameter, p.from)),
                                ("b", Arg::reading(parameter, p.to)),
                                ("s", Arg::Number(limit.window_s, 0)),
                            ]
                            .into_iter()
                            .collect(),
                            ..Verdict::new(id::step_held, ParamSet::of(parameter), p.since)
                        });
                    }
                    continue;
                }
                if back && !p.back {
                    state.pending[position].back = true;
                    state.pending[position].last = o.effective_at;
                    continue;
                }
                state.pending.swap_remove(position);
            }
            if let Some(from) = Check::jump(limit, view, parameter, o.value, o.effective_at) {
                if parameter == Parameter::AbpMean && (is_line_handling(view, o.value) || !PULSATILE_MMHG.contains(&from)) {
                    continue;
                }
                let (at, since) = (o.effective_at, view.now);
                state.pending.push(Pending { parameter, from, to: o.value, at, since, last: at, back: false });
            }
        }
        if looked && state.pending.iter().all(|p| p.back) {
            out.pass(id::step_held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_pulse_that_jumps_by_101_and_stays_is_found_after_20_s() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 173x20 173"), "P.F");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 172x20 172"), "PPP", "exactly 100 is allowed");
    }

    #[test]
    fn one_that_comes_back_is_none() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 181x3 73x30"), "P.P");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72 74 181 73 72"), "PP.PP");
    }

    #[test]
    fn a_step_after_a_gap_is_not_looked_at() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "190x20 -x8 78x30"), "P.P");
        assert_eq!(story::<Check>(&[Parameter::Pr], "72x20 0x30 72x30"), "P.P", "zero is a lost pulse");
    }

    #[test]
    fn saturation_may_rise_by_30_in_10_s_and_may_not_fall_by_21() {
        assert_eq!(story::<Check>(&[Parameter::Spo2], "66 69 72 75 78 81 84 87 90 93 96 96x30"), "PPPPPPPPPPPP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "97x20 76x10 76 76x100"), "P.FP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "97x20 77x30"), "PP");
    }

    #[test]
    fn a_flushed_or_opened_line_is_no_step() {
        let line = [Parameter::AbpSys, Parameter::AbpMean, Parameter::AbpDia];
        assert_eq!(story::<Check>(&line, "120/85/65x20 210/208/206x30 120/85/65x30"), "PPP");
        assert_eq!(story::<Check>(&line, "120/85/65x20 4/3/2x30"), "PP");
        assert_eq!(story::<Check>(&line, "120/85/65x20 210/150/110x21"), "PF");
    }

    #[test]
    fn at_one_value_a_minute_a_jump_says_nothing() {
        assert_eq!(Story::<Check>::of(&[Parameter::Hr]).every(60.0).tell("72x20 190x20"), "PP");
    }
}
