use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether systolic, mean and diastolic pressure of one line or cuff stand in their order.
    /// ## Why it matters
    /// The three numbers come from one curve; when they contradict each other at least one of them is not from it.
    /// ## How it decides
    /// The order is broken when not (S + 1 ≥ M ≥ D − 1 and S > D), on two readings in a row of one triple.
    /// ## Known false alerts
    /// Fields of different times or averages, a failed cuff inflation.
    /// ## References
    /// Lehman et al. 2013 (filter); 2 events after two readings in a row in 39 238 charted triples.
    "A03" "pressure_order" class=Coherence evidence=true weights=(70, 0, 20) rest=Unverified
    {
        /// Readings in a row, count. Lower: charted triples break the order in 0.1 to 0.6 % of rows. Higher: slower.
        hold_readings: f64 = 2.0;
        /// Rounding allowed between two of the three, mmHg. Lower: integer rounding alone breaks the order.
        rounding_mmhg: f64 = 1.0;
    }
}

/// The triples of one line or cuff.
pub const TRIPLES: [[Parameter; 3]; 4] = [
    [Parameter::AbpSys, Parameter::AbpMean, Parameter::AbpDia],
    [Parameter::NibpSys, Parameter::NibpMean, Parameter::NibpDia],
    [Parameter::PapSys, Parameter::PapMean, Parameter::PapDia],
    [Parameter::BpSys, Parameter::BpMean, Parameter::BpDia],
];

/// Readings in a row and the first of them, by triple.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    run: [u32; TRIPLES.len()],
    since: [Timestamp; TRIPLES.len()],
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        for (at, triple) in TRIPLES.iter().enumerate() {
            let fresh = |p: Parameter| report.observations.iter().find(|o| o.parameter == p && view.bed.is_new(o));
            let (Some(s), Some(m), Some(d)) = (fresh(triple[0]), fresh(triple[1]), fresh(triple[2])) else { continue };
            let r = self.rounding_mmhg;
            if s.value + r >= m.value && m.value >= d.value - r && s.value > d.value {
                state.run[at] = 0;
                out.pass(id::pressure_order);
                continue;
            }
            if state.run[at] == 0 {
                state.since[at] = view.now;
            }
            state.run[at] += 1;
            if f64::from(state.run[at]) >= self.hold_readings {
                out.push(Verdict {
                    value: Some(m.value),
                    limit: Some(if m.value > s.value { s.value } else { d.value }),
                    unit: "mm[Hg]",
                    window_s: view.now.since_s(state.since[at]),
                    set_id: Some(m.set_id),
                    effective_at: Some(m.effective_at),
                    args: [
                        ("m", Arg::Number(m.value, 0)),
                        ("s", Arg::Number(s.value, 0)),
                        ("d", Arg::Number(d.value, 0)),
                    ]
                    .into_iter()
                    .collect(),
                    ..Verdict::new(id::pressure_order, ParamSet::from_slice(triple), state.since[at])
                });
            }
        }
    }
}
