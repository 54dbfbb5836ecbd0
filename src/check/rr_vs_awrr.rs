use super::hr_vs_pr::outside;
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the breathing rate of the chest's impedance with that of the capnograph.
    /// ## Why it matters
    /// Two sensors count one chest. Impedance counts movement, also without air; CO2 counts breaths that arrive.
    /// ## How it decides
    /// The sensors lag by up to 30 s, so a rate is compared with everything the other one showed in the last 30 s, both ways.
    /// They disagree by more than 15 /min, or by more than 60 % of the larger and at least 5 /min, for three minutes and three
    /// readings. Soft: impedance is a poor witness, so this stops no learning and counts for nothing against the sender.
    /// ## Known false alerts
    /// Shallow breaths, motion, an obstructed airway (the chest moves, no CO2 comes: look at the patient), talking, a cannula
    /// that sits badly.
    /// ## References
    /// Bawua et al. 2021 (agreement of impedance with reference "extremely poor"). No recording with both in hand: from the
    /// literature alone.
    "A10" "rr_vs_awrr" class=CrossSource evidence=true weights=(80, 10, 5) rest=Unverified
    {
        /// Difference, /min. Lower: usual differences alert.
        difference_bpm: f64 = 15.0;
        /// Difference as a share of the larger rate, 1. Lower: shallow breaths alert.
        difference_share: f64 = 0.6;
        /// Smallest difference of the share, /min. Lower: whole numbers of a slow breath alert.
        share_from_bpm: f64 = 5.0;
        /// Largest lag of the two sensors, s. Lower: true changes alert. Higher: slower to see.
        lag_s: f64 = 30.0;
        /// Must last, s. Lower: motion and purging alert.
        hold_s: f64 = 180.0;
        /// And so many readings, count. Lower: at one value a minute one slip alerts.
        hold_readings: f64 = 3.0;
    }
}

/// Soft: less than suspicion.
const LOG10_E: f64 = 0.9;

const PAIR: [Parameter; 2] = [Parameter::Rr, Parameter::Awrr];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.lost(Parameter::Rr) || view.lost(Parameter::Awrr) {
            state.hold.end();
            return;
        }
        let Some((rr, aw)) = view.pair(Parameter::Rr, Parameter::Awrr) else { return };
        let limit = self.difference_bpm.min((self.difference_share * rr.max(aw)).max(self.share_from_bpm));
        let mut distance = rr - aw;
        if distance.abs() > limit {
            let own_time = PAIR.iter().find_map(|p| view.fresh(*p)).map_or(view.now, |o| o.effective_at);
            let from = own_time.plus_s(-self.lag_s);
            let envelope = |p: Parameter| view.bed.stream(p).and_then(|s| s.recent.envelope(from));
            let forward = outside(rr, aw, envelope(Parameter::Awrr));
            let backward = -outside(aw, rr, envelope(Parameter::Rr));
            distance = if forward.abs() < backward.abs() { forward } else { backward };
        }
        let (doubt, least) = (distance.abs() > limit, (self.hold_readings, self.hold_s));
        if !view.lasts(&mut state.hold, &PAIR, doubt, least, id::rr_vs_awrr, out) {
            return;
        }
        let row = view.fresh(Parameter::Awrr).or(view.fresh(Parameter::Rr));
        out.push(Verdict {
            log10_e: LOG10_E,
            value: Some(distance.abs()),
            limit: Some(limit),
            unit: "/min",
            window_s: state.hold.lasted_s(),
            set_id: row.map(|o| o.set_id),
            effective_at: row.map(|o| o.effective_at),
            args: [
                ("rr", Arg::Number(rr, 0)),
                ("aw", Arg::Number(aw, 0)),
                ("n", Arg::Number((state.hold.lasted_s() / 60.0).floor(), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::rr_vs_awrr, ParamSet::from_slice(&PAIR), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_difference_of_16_is_found_after_the_lag_and_three_minutes_and_one_of_15_never() {
        assert_eq!(story::<Check>(&PAIR, "30/30x60 46/30x210 46/30"), "P.F");
        assert_eq!(story::<Check>(&PAIR, "45/30x600"), "P");
    }

    #[test]
    fn a_share_of_60_per_cent_counts_from_five_breaths_on() {
        assert_eq!(story::<Check>(&PAIR, "10/4x600 15/6x600"), "PP", "exactly 60 %");
        assert_eq!(story::<Check>(&PAIR, "20/7x600"), "F");
        assert_eq!(story::<Check>(&PAIR, "6/1x600 8/2x600"), "PF", "5 and 6 breaths apart");
    }

    #[test]
    fn a_chest_that_moves_without_breaths_is_told() {
        let mut s = Story::<Check>::of(&PAIR);
        assert_eq!(s.tell("12/12x60 12/0x205 12/0x10"), "P.F");
        assert!(s.found.unwrap().log10_e < 1.0);
    }

    #[test]
    fn a_rise_that_one_sensor_shows_30_s_later_is_none_and_a_mark_begins_anew() {
        assert_eq!(story::<Check>(&PAIR, "12/12x60 40/12x30 40/40x200"), "PPP");
        assert_eq!(story::<Check>(&PAIR, "12/12x60 40/12x150 40/-x9 40/12x150"), "P...");
    }

    #[test]
    fn at_one_value_a_minute_four_readings_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(s.tell("12/12x20 40/12x3 40/12"), "P.F");
    }
}
