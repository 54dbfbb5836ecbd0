use super::abp_vs_nbp::{Waiting, around};
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the pressures of the lung stand below those that they cannot exceed.
    /// ## Why it matters
    /// Two lines whose labels or numbers are exchanged look normal one by one.
    /// ## How it decides
    /// Mean of the pulmonary artery more than 10 mmHg above the arterial mean, on three readings in a row on which both curves
    /// show a pulse (S − D of at least 10 in the artery, 3 in the lung: a flushed or opened line is not compared). Wedge
    /// pressure more than 4 mmHg above the pulmonary diastolic around the wedge's own time, on three wedges in a row.
    /// ## Known false alerts
    /// Severe pulmonary hypertension with shock; large v waves of a leaking mitral valve (wedge); transducers at two heights.
    /// ## References
    /// Engineering knowledge, to be confirmed: no recording holds both lines.
    "A16" "pap_vs_abp" class=Coherence evidence=true weights=(60, 30, 10) rest=Unverified
    {
        /// Mean of the lung above that of the artery, mmHg. Lower: two transducers at two heights alert.
        above_mmhg: f64 = 10.0;
        /// Wedge above the pulmonary diastolic, mmHg. Lower: rounding and small v waves alert.
        wedge_mmhg: f64 = 4.0;
        /// Readings in a row, count. Lower: a flush alerts.
        hold_readings: f64 = 3.0;
        /// Smallest pulse of the artery, mmHg. Lower: an opened line is compared.
        arterial_pulse_mmhg: f64 = 10.0;
        /// Smallest pulse of the lung, mmHg. Lower: as above.
        pulmonary_pulse_mmhg: f64 = 3.0;
        /// Window on each side of a wedge's own time, s. Higher: the pressure moves.
        window_s: f64 = 30.0;
        /// The line's values are waited for so long, s. Lower: at slow feeds the window is cut off.
        wait_s: f64 = 90.0;
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    lines: Hold,
    wedge: Waiting,
    wedges: Hold,
}

const LINES: [Parameter; 2] = [Parameter::PapMean, Parameter::AbpMean];

/// So long two wedges may lie apart, s.
const WEDGES_S: f64 = 86_400.0;

impl Check {
    fn lines(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) -> Option<bool> {
        let (lung, artery) = view.pair(Parameter::PapMean, Parameter::AbpMean)?;
        let pulse = |s: Parameter, d: Parameter| view.near(s).zip(view.near(d)).map(|(s, d)| s - d);
        if pulse(Parameter::AbpSys, Parameter::AbpDia)? < self.arterial_pulse_mmhg
            || pulse(Parameter::PapSys, Parameter::PapDia)? < self.pulmonary_pulse_mmhg
        {
            state.lines.end();
            return None;
        }
        if lung - artery <= self.above_mmhg {
            state.lines.end();
            return Some(false);
        }
        state.lines.push(view.now, view.pause_s(&LINES));
        if !state.lines.reached(self.hold_readings, 0.0) || !view.settled() {
            return Some(true);
        }
        let row = view.fresh(Parameter::PapMean).or(view.fresh(Parameter::AbpMean));
        out.push(Verdict {
            value: Some(lung - artery),
            limit: Some(self.above_mmhg),
            unit: "mm[Hg]",
            window_s: state.lines.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            text: "lines",
            args: [("a", Arg::Number(lung, 0)), ("b", Arg::Number(artery, 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::pap_vs_abp, ParamSet::from_slice(&LINES), state.lines.since())
        });
        Some(true)
    }

    fn wedge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) -> Option<bool> {
        let others = [Parameter::PapDia];
        let wedge = state.wedge.due(view, Parameter::Pawp, &others, self.window_s, self.wait_s)?;
        let diastolic = around(view, Parameter::PapDia, &wedge, self.window_s)?;
        if wedge.value - diastolic <= self.wedge_mmhg {
            state.wedges.end();
            return Some(false);
        }
        state.wedges.push(wedge.received_at, WEDGES_S);
        if state.wedges.reached(self.hold_readings, 0.0) && view.settled() {
            out.push(Verdict {
                value: Some(wedge.value - diastolic),
                limit: Some(self.wedge_mmhg),
                unit: "mm[Hg]",
                window_s: state.wedges.lasted_s(),
                set_id: Some(wedge.set_id),
                effective_at: Some(wedge.at),
                text: "wedge",
                args: [("a", Arg::Number(wedge.value, 0)), ("b", Arg::Number(diastolic, 0)), view.bed_arg()]
                    .into_iter()
                    .collect(),
                ..Verdict::new(
                    id::pap_vs_abp,
                    ParamSet::of(Parameter::Pawp).with(Parameter::PapDia),
                    state.wedges.since(),
                )
            });
        }
        Some(true)
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let looked = [self.lines(state, view, out), self.wedge(state, view, out)];
        let clean = !state.lines.runs() && !state.wedges.runs();
        if looked.contains(&Some(false)) && clean && view.settled() {
            out.pass(id::pap_vs_abp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const BOTH: [Parameter; 6] = [
        Parameter::AbpSys,
        Parameter::AbpMean,
        Parameter::AbpDia,
        Parameter::PapSys,
        Parameter::PapMean,
        Parameter::PapDia,
    ];

    #[test]
    fn a_lung_11_above_the_artery_is_found_at_the_third_reading_and_one_10_above_never() {
        assert_eq!(story::<Check>(&BOTH, "120/85/65/40/27/20x9 45/30/20/60/41/30x2 45/30/20/60/41/30"), "P.F");
        assert_eq!(story::<Check>(&BOTH, "45/30/20/60/40/30x9"), "P");
    }

    #[test]
    fn exchanged_labels_are_found() {
        assert_eq!(story::<Check>(&BOTH, "40/27/20/120/85/65x3"), "F");
    }

    #[test]
    fn a_flushed_or_opened_line_is_not_compared() {
        assert_eq!(story::<Check>(&BOTH, "120/85/65/290/290/289x30"), ".");
        assert_eq!(story::<Check>(&BOTH, "6/5/4/40/27/20x30"), ".");
        assert_eq!(story::<Check>(&BOTH, "_/5/_/40/27/20x30"), ".", "no pulse is known");
    }

    #[test]
    fn a_wedge_5_above_the_diastolic_is_found_at_the_third_wedge() {
        let rows = [Parameter::PapDia, Parameter::Pawp];
        let wedge = |value: u32| format!("20/_x60 20/{value} 20/_x29 20/_ ");
        let mut s = Story::<Check>::of(&rows);
        assert_eq!(s.tell(&wedge(25).repeat(3)).chars().skip(3).step_by(4).collect::<String>(), "..F");
        assert_eq!(s.found.clone().unwrap().value, Some(5.0));
        assert_eq!(s.tell(&wedge(24)).pop(), Some('P'));
    }
}
