use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{AgeBand, ObsFlags};
use crate::stats::hold::Hold;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a skin that is warmer than the core of the body.
    /// ## Why it matters
    /// Heat flows outwards. A skin above the core is a probe that fell off, two probes exchanged, or a number that is not measured.
    /// ## How it decides
    /// Skin temperature more than 1.0 °C above a temperature of the core (blood, core, oesophagus, nasopharynx or rectum: the
    /// first one there is) on every reading of ten minutes, and on three at least. There is no limit the other way: in shock the
    /// skin is 10 °C colder. Newborns and infants lie under warmers and are not looked at, nor is a patient of unknown age. A
    /// temperature without a site is neither core nor skin. Without a unit nothing is said.
    /// ## Known false alerts
    /// Forced-air warming, a radiant warmer, a warmed bed, a skin probe in the sun.
    /// ## References
    /// PMC4940318; Amson et al. 2020 (core–toe median 12.5 °C in septic shock). Not measured: no recording holds two sites.
    "A14" "core_skin" class=Coherence evidence=true weights=(90, 5, 0) rest=Unverified
    {
        /// Skin above core, °C. Lower: differences of two probes alert.
        above_cel: f64 = 1.0;
        /// Must last, s. Lower: a hand on the probe alerts.
        hold_s: f64 = 600.0;
        /// And so many readings, count. Lower: at slow feeds two readings alert.
        hold_readings: f64 = 3.0;
    }
}

/// Sites of the core, the surest first.
const CORE: [Parameter; 5] =
    [Parameter::TempBlood, Parameter::TempCore, Parameter::TempEso, Parameter::TempNaso, Parameter::TempRect];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    hold: Hold,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let warmed = matches!(view.bed.age, AgeBand::Neonate | AgeBand::Infant | AgeBand::Unknown);
        if warmed || view.lost(Parameter::TempSkin) {
            state.hold.end();
            return;
        }
        let Some(row) = view.fresh(Parameter::TempSkin) else { return };
        let Some((site, core)) = CORE.iter().find_map(|p| view.near(*p).map(|core| (*p, core))) else { return };
        let bare = |p: Parameter| view.fresh(p).is_some_and(|o| o.flags.has(ObsFlags::UNIT_UNKNOWN));
        if bare(Parameter::TempSkin) || bare(site) {
            return;
        }
        // Tenths are not exact in binary.
        let above = row.value - core - 1e-6;
        let (doubt, least) = (above > self.above_cel, (self.hold_readings, self.hold_s));
        if !view.lasts(&mut state.hold, &[Parameter::TempSkin, site], doubt, least, id::core_skin, out) {
            return;
        }
        out.push(Verdict {
            value: Some(row.value - core),
            limit: Some(self.above_cel),
            unit: "Cel",
            window_s: state.hold.lasted_s(),
            set_id: Some(row.set_id),
            effective_at: Some(row.effective_at),
            args: [
                ("k", Arg::Number(row.value, 1)),
                ("c", Arg::Number(core, 1)),
                ("p", Arg::Parameter(site)),
                ("n", Arg::Number((state.hold.lasted_s() / 60.0).floor(), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::core_skin, ParamSet::of(Parameter::TempSkin).with(site), state.hold.since())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const PAIR: [Parameter; 2] = [Parameter::TempSkin, Parameter::TempEso];

    #[test]
    fn a_skin_1_1_above_the_core_is_found_after_ten_minutes_and_one_1_0_above_never() {
        assert_eq!(story::<Check>(&PAIR, "33.1/36.8x60 38.0/36.9x600 38.0/36.9"), "P.F");
        assert_eq!(story::<Check>(&PAIR, "37.9/36.9x900"), "P");
    }

    #[test]
    fn a_cold_skin_is_shock_and_no_finding() {
        assert_eq!(story::<Check>(&PAIR, "22.0/38.5x900"), "P");
    }

    #[test]
    fn newborns_and_patients_of_unknown_age_may_be_warmed() {
        for (age, expected) in [(AgeBand::Neonate, "."), (AgeBand::Infant, "."), (AgeBand::Unknown, "."), (AgeBand::Child, "F")] {
            let mut s = Story::<Check>::of(&PAIR);
            s.bed.age = age;
            assert_eq!(s.tell("39.0/36.9x601"), expected, "{age:?}");
        }
    }

    #[test]
    fn a_temperature_without_a_site_is_not_compared() {
        assert_eq!(story::<Check>(&[Parameter::TempSkin, Parameter::Temp], "39.0/36.9x900"), ".");
    }

    #[test]
    fn at_one_value_in_five_minutes_three_readings_are_needed() {
        let mut s = Story::<Check>::of(&PAIR).every(300.0);
        assert_eq!(s.tell("33.0/36.9x12 39.0/36.9x2 39.0/36.9"), "P.F");
    }

    #[test]
    fn a_probe_that_is_off_begins_anew() {
        assert_eq!(story::<Check>(&PAIR, "39.0/36.9x500 -/36.9 39.0/36.9x500"), "...");
    }
}
