use super::{Arg, Assessment, Judge, Verdict, Verdicts, View, id, unit_switch};
use crate::observation::ObsFlags;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares each value with what a device of its kind can report at the patient's age.
    /// ## Why it matters
    /// A number outside that range is a corrupt field or another unit: nobody's vital sign.
    /// ## How it decides
    /// One reading outside `models/population/limits.toml` (hard). Age unknown: the union of all bands. 0 is a state of the
    /// sensor, never a range event. Without a unit nothing is said. If the number is what the last values would be in another
    /// unit, the finding is a unit.
    /// ## Known false alerts
    /// A corrupt field; flushing or opening an arterial line; a patient class that was never set for a newborn.
    /// ## References
    /// Filters of MIMIC-Extract, eICU, ricu, CLIF; Lehman et al. 2013; manuals of Philips and Mindray. 0 in 8.7 bed-days of PR
    /// and SpO2.
    "A01" "hard_range" class=Coherence evidence=true weights=(40, 0, 30) rest=Unverified
    {
        /// Readings in a row, count. Higher: a single corrupt field escapes.
        hold_readings: f64 = 1.0;
    }
}

/// A run of readings outside, by parameter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    outside: ParamSet,
    runs: Vec<(Parameter, u32, Timestamp)>,
}

impl State {
    /// A reading of a parameter inside or outside; of one outside the readings of its run, and when that began.
    pub(super) fn see(&mut self, parameter: Parameter, outside: bool, now: Timestamp) -> Option<(u32, Timestamp)> {
        if !outside {
            if self.outside.contains(parameter) {
                self.outside = self.outside.minus(ParamSet::of(parameter));
                self.runs.retain(|r| r.0 != parameter);
            }
            return None;
        }
        if !self.outside.contains(parameter) {
            self.outside = self.outside.with(parameter);
            self.runs.push((parameter, 0, now));
        }
        let run = self.runs.iter_mut().find(|r| r.0 == parameter)?;
        run.1 = run.1.saturating_add(1);
        Some((run.1, run.2))
    }

    /// No parameter is outside.
    pub(super) fn is_inside(&self) -> bool {
        self.outside.is_empty()
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for o in view.all_fresh() {
            let p = o.parameter;
            if o.value == 0.0 || o.flags.has(ObsFlags::UNIT_UNKNOWN) {
                continue;
            }
            let Some(range) = view.population.hard(p, view.bed.age) else { continue };
            looked = true;
            let Some((readings, since)) = state.see(p, !range.holds(o.value), view.now) else { continue };
            if f64::from(readings) < self.hold_readings {
                continue;
            }
            let unit = unit_switch::other_unit(view, o).is_some();
            out.push(Verdict {
                assessment: unit.then_some(Assessment::Unit),
                value: Some(o.value),
                limit: Some(range.edge(o.value)),
                unit: p.unit().ucum(),
                window_s: view.now.since_s(since),
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [("p", Arg::Parameter(p)), ("v", Arg::reading(p, o.value)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::hard_range, ParamSet::of(p), since)
            });
        }
        if looked && state.is_inside() {
            out.pass(id::hard_range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::observation::AgeBand;

    #[test]
    fn one_reading_outside_is_enough_and_the_edge_is_inside() {
        assert_eq!(story::<Check>(&[Parameter::Hr], "72 300 301 14 15"), "PPFFP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98 100 101 98"), "PPFP");
    }

    #[test]
    fn zero_is_a_state_and_not_a_range_event() {
        assert_eq!(story::<Check>(&[Parameter::Hr], "72 0 0 72"), "P..P");
        assert_eq!(story::<Check>(&[Parameter::AbpMean], "80 0 80"), "P.P");
    }

    #[test]
    fn a_newborn_of_unknown_age_is_no_adult() {
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        assert_eq!(s.tell("330"), "F");
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        s.bed.age = AgeBand::Unknown;
        assert_eq!(s.tell("330"), "P");
    }

    #[test]
    fn a_temperature_in_fahrenheit_is_a_unit() {
        let mut s = Story::<Check>::of(&[Parameter::Temp]);
        assert_eq!(s.tell("36.8x10 98.2"), "PF");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.assessment, verdict.limit), (Some(Assessment::Unit), Some(45.0)));
    }
}
