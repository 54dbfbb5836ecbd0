use super::{Arg, Judge, Verdict, Verdicts, View, beyond, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the minute volume is the tidal volume times the breaths a minute.
    /// ## Why it matters
    /// A ventilator's three numbers describe one flow of air; when they do not fit, one of them is not what it measured.
    /// ## How it decides
    /// The minute volume lies more than 15 % beyond every product that tidal volume and rate of the last minute can give, on
    /// three readings in a row and for 60 s. The rate is the ventilator's, else that of the capnograph, else that of the chest.
    /// ## Known false alerts
    /// A leak, spontaneous breaths between those of the machine, suction.
    /// ## References
    /// The definition of the minute volume. The limits are design choices.
    "A21" "minute_volume" class=Coherence evidence=true weights=(60, 10, 10) rest=Unverified
    {
        /// Deviation allowed, share of the minute volume, 1. Lower: leaks alert. Higher: a forgery hides. Design choice.
        share: f64 = 0.15;
        /// What the device may have averaged over, s. Lower: changing breaths alert. Higher: uneven breathing hides more. Design choice.
        window_s: f64 = 60.0;
        /// Readings in a row, count. Lower: a cough alerts. Higher: slower. Design choice.
        hold_readings: f64 = 3.0;
        /// And at least, s. Lower: a minute's average lags behind a changed rate. Higher: slower. Design choice.
        hold_s: f64 = 60.0;
    }
}

/// Rates of breathing, the one that fits the volumes best first.
const RATES: [Parameter; 3] = [Parameter::RrVent, Parameter::Awrr, Parameter::Rr];

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(mv) = view.fresh(Parameter::Mv).filter(|mv| mv.value > 0.0) else { return };
        let Some(tv) = view.range(Parameter::Tv, self.window_s) else { return };
        let rate = RATES.into_iter().find_map(|p| view.range(p, self.window_s).map(|range| (p, range)));
        let Some((rate, rr)) = rate else { return };
        // Millilitres times breaths a minute.
        let apart = beyond(mv.value, (tv.0 * rr.0 / 1000.0, tv.1 * rr.1 / 1000.0));
        let limit = self.share * mv.value;
        state.hold.see(apart > limit, view.now);
        if state.hold.readings() == 0 {
            out.pass(id::minute_volume);
        } else if state.hold.reached(self.hold_readings, self.hold_s) {
            let shown = |p: Parameter| view.shown(p).unwrap_or(f64::NAN);
            out.push(Verdict {
                value: Some(apart),
                limit: Some(limit),
                unit: "L/min",
                window_s: view.now.since_s(state.hold.since()),
                set_id: Some(mv.set_id),
                effective_at: Some(mv.effective_at),
                args: [
                    ("v", Arg::Number(mv.value, 1)),
                    ("tv", Arg::Number(shown(Parameter::Tv), 0)),
                    ("rr", Arg::Number(shown(rate), 0)),
                    ("w", Arg::Number(shown(Parameter::Tv) * shown(rate) / 1000.0, 1)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(
                    id::minute_volume,
                    ParamSet::from_slice(&[Parameter::Mv, Parameter::Tv, rate]),
                    state.hold.since(),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const THREE: [Parameter; 3] = [Parameter::Mv, Parameter::Tv, Parameter::RrVent];

    #[test]
    fn a_leak_of_fifteen_per_cent_is_none_and_more_is_found_after_a_minute() {
        assert_eq!(story::<Check>(&THREE, "6/459/15x200"), "P", "6.885: 0.885 of 0.9");
        assert_eq!(story::<Check>(&THREE, "6/462/15x60 6/462/15"), ".F");
        assert_eq!(story::<Check>(&THREE, "6/341/15x61"), "P", "5.115");
        assert_eq!(story::<Check>(&THREE, "6/338/15x61"), "F");
    }

    #[test]
    fn three_readings_are_needed_at_one_a_minute() {
        let mut s = Story::<Check>::of(&THREE).every(60.0);
        assert_eq!(s.tell("6/400/15 6/300/15 6/300/15 6/300/15 6/300/15"), "PP..F", "the breaths of a minute ago may count");
        assert_eq!(s.tell("6/400/15"), "P");
    }

    #[test]
    fn the_average_of_a_minute_that_lags_is_none() {
        assert_eq!(story::<Check>(&THREE, "6/400/15x90 6/400/22x60 8.8/400/22x60"), "PPP");
    }

    #[test]
    fn the_capnograph_counts_where_the_ventilator_does_not() {
        assert_eq!(story::<Check>(&[Parameter::Mv, Parameter::Tv, Parameter::Awrr], "6/400/15x61 6/200/15x125"), "PF");
        assert_eq!(story::<Check>(&[Parameter::Mv, Parameter::Tv], "6/400x61"), ".");
    }
}
