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
    /// The order is broken when not (S + 1 ≥ M ≥ D − 1 and S > D), on two readings in a row of one triple. It stands until that
    /// triple is measured again: a line in order says nothing of a cuff.
    /// ## Known false alerts
    /// Fields of different times or averages, a failed cuff inflation.
    /// ## References
    /// Lehman et al. 2013 (filter); 2 events after two readings in a row in 39 238 charted triples.
    "A03" "pressure_order" class=Coherence evidence=true weights=(70, 0, 20) rest=Unverified
    {
        /// Readings in a row, count. Lower: charted triples break the order in 0.1 to 0.6 % of rows. Higher: slower.
        hold_readings: f64 = 2.0;
        /// Rounding allowed between two of the three, mmHg. Lower: integer rounding alone breaks the order. Lehman 2013.
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

/// Readings in a row that break the order and the first of them, by triple.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    run: [u32; TRIPLES.len()],
    since: [Timestamp; TRIPLES.len()],
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for (at, triple) in TRIPLES.iter().enumerate() {
            let fresh = (view.fresh(triple[0]), view.fresh(triple[1]), view.fresh(triple[2]));
            let (Some(s), Some(m), Some(d)) = fresh else { continue };
            let r = self.rounding_mmhg;
            if s.value + r >= m.value && m.value >= d.value - r && s.value > d.value {
                state.run[at] = 0;
                looked = true;
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
                        view.bed_arg(),
                    ]
                    .into_iter()
                    .collect(),
                    ..Verdict::new(id::pressure_order, ParamSet::from_slice(triple), state.since[at])
                });
            }
        }
        // A good line says nothing of a cuff whose last reading stands broken.
        let stands = |(run, triple): (&u32, &[Parameter; 3])| {
            f64::from(*run) >= self.hold_readings && view.shown(triple[1]).is_some()
        };
        if looked && !state.run.iter().zip(&TRIPLES).any(stands) {
            out.pass(id::pressure_order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn two_readings_in_a_row_break_the_order_and_rounding_does_not() {
        assert_eq!(story::<Check>(&TRIPLES[0], "120/90/70 120/130/70 120/131/70 120/92/70"), "P.FP");
        assert_eq!(story::<Check>(&TRIPLES[2], "30/31/31 30/31/29 30/20/21"), ".PP");
        assert_eq!(story::<Check>(&TRIPLES[2], "30/31.1/20 30/18.9/20"), ".F");
    }

    #[test]
    fn one_charted_break_of_a_cuff_is_none() {
        assert_eq!(story::<Check>(&TRIPLES[1], "97/60/45 148/131/136 94/58/44 94/58/44"), "P.PP");
    }

    #[test]
    fn a_triple_with_a_missing_or_zero_number_is_not_looked_at() {
        assert_eq!(story::<Check>(&TRIPLES[0], "0/90/0 -/90/- _/90/_"), "...");
    }

    #[test]
    fn a_good_line_does_not_take_back_what_a_cuff_shows_until_its_next_reading() {
        let all = [TRIPLES[1], TRIPLES[0]].concat();
        let cuff = |cuff: &str| format!("{cuff}/120/90/70 _/_/_/120/90/70x30");
        let mut s = Story::<Check>::of(&all);
        assert_eq!(s.tell(&cuff("118/88/70")), "PP");
        assert_eq!(s.tell(&cuff("118/128/70")), "PP", "one reading");
        assert_eq!(s.tell(&cuff("118/128/70")), "F.", "the second: the line goes on in its order");
        assert_eq!(s.tell(&cuff("118/88/70")), "PP");
    }

    #[test]
    fn the_verdict_names_the_number_it_was_compared_with() {
        let mut s = Story::<Check>::of(&TRIPLES[0]);
        s.tell("120/60/70 120/61/70");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit, verdict.window_s), (Some(61.0), Some(70.0), 1.0));
    }
}
