use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::ObsFlags;
use crate::vital::ParamSet;

declare_check! {
    /// ## What it does
    /// Labels a value that is rare at the patient's age, though a device can measure it.
    /// ## Why it matters
    /// Rare is mostly illness. The label raises nothing by itself; with a second sensor or the monitor's own call it is
    /// physiology, and next to other doubts it says that the level is unusual.
    /// ## How it decides
    /// One reading outside `models/population/limits.toml` (soft) and inside its hard range, which is A01's. Age unknown: the
    /// union of all bands. 0 is a state of the sensor, never a range event. Without a unit nothing is said. A parameter without a
    /// soft range is not looked at.
    /// ## Known false alerts
    /// Disease: that is what it labels. A patient class that was never set.
    /// ## References
    /// The margins are engineering knowledge, to be confirmed; Fleming et al. 2011 for children. No distribution by age is in the
    /// table, so no tail probability is used.
    "A02" "soft_range" class=Coherence evidence=true weights=(30, 70, 0) rest=Unverified
    {
        /// Readings in a row, count. Higher: the label, and physiology with it, comes later.
        hold_readings: f64 = 1.0;
    }
}

/// Less than suspicion: a rare level does not stop the bed from learning.
const LOG10_E: f64 = 0.5;

pub use super::hard_range::State;

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for p in view.fresh_set().iter() {
            let (Some(soft), Some(o)) = (view.population.soft(p, view.bed.age), view.fresh(p)) else { continue };
            if o.value == 0.0 || o.flags.has(ObsFlags::UNIT_UNKNOWN) {
                continue;
            }
            looked = true;
            let impossible = view.population.hard(p, view.bed.age).is_some_and(|hard| !hard.holds(o.value));
            let Some((readings, since)) = state.see(p, !impossible && !soft.holds(o.value), view.now) else { continue };
            if f64::from(readings) < self.hold_readings {
                continue;
            }
            out.push(Verdict {
                log10_e: LOG10_E,
                value: Some(o.value),
                limit: Some(soft.edge(o.value)),
                unit: p.unit().ucum(),
                window_s: view.now.since_s(since),
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [("p", Arg::Parameter(p)), ("v", Arg::reading(p, o.value)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::soft_range, ParamSet::of(p), since)
            });
        }
        if looked && state.is_inside() {
            out.pass(id::soft_range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::observation::AgeBand;
    use crate::vital::Parameter;

    #[test]
    fn the_edge_is_inside_and_beyond_it_is_labelled_up_to_the_hard_range() {
        assert_eq!(story::<Check>(&[Parameter::Hr], "72 220 221 300 301 72"), "PPFFPP");
        assert_eq!(story::<Check>(&[Parameter::Hr], "30 29 15 14"), "PFFP");
        assert_eq!(story::<Check>(&[Parameter::NibpSys], "45 44 260 261"), "PFPF");
    }

    #[test]
    fn zero_is_a_state_and_what_has_no_soft_range_is_not_looked_at() {
        assert_eq!(story::<Check>(&[Parameter::Awrr], "12 0 3 4"), "P.FP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98 40"), "..");
    }

    #[test]
    fn unknown_age_is_the_union_and_a_newborn_has_a_band_of_its_own() {
        let of = |age: AgeBand, text: &str| {
            let mut s = Story::<Check>::of(&[Parameter::Rr]);
            s.bed.age = age;
            s.tell(text)
        };
        assert_eq!(of(AgeBand::Neonate, "9 10 100 101"), "FPPF");
        assert_eq!(of(AgeBand::Adult, "9 60 61 100"), "PPFF");
        assert_eq!(of(AgeBand::Unknown, "4 9 61 100 101 3"), "PPPPFF");
    }

    #[test]
    fn the_label_is_weaker_than_suspicion() {
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        s.tell("230");
        let verdict = s.found.unwrap();
        assert!(verdict.log10_e < 1.0);
        assert_eq!((verdict.value, verdict.limit), (Some(230.0), Some(220.0)));
    }
}
