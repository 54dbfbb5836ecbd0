use super::{Arg, Flag, Judge, Verdict, Verdicts, View, id};
use crate::observation::ObsFlags;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether a saturation is a number that this oximeter can show.
    /// ## Why it matters
    /// More than 100 % is not a saturation, and a device that shows whole per cents has no 97.4: the number was made elsewhere.
    /// ## How it decides
    /// One reading above 100 %, or one that is not a multiple of the resolution in the device's profile, once that is usable.
    /// Where A01 has told the same value, this only joins its evidence.
    /// ## Known false alerts
    /// A new module with a finer resolution; a gateway that averages.
    /// ## References
    /// 0 in 8.7 bed-days of 261 records at 1 Hz.
    "A06" "spo2_scale" class=Coherence evidence=true weights=(30, 0, 30) rest=Unverified
    {
        /// Highest saturation, %. Higher: an impossible value escapes.
        most_percent: f64 = 100.0;
        /// Off the grid by more than this share of the resolution, 1. Lower: conversion of a fraction alerts. Higher: escapes.
        grid_share: f64 = 0.02;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {}

const SATURATIONS: [Parameter; 3] = [Parameter::Spo2, Parameter::Spo2Pre, Parameter::Spo2Post];

impl Judge for Check {
    type State = State;

    fn judge(&self, _state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (mut looked, mut found) = (false, false);
        for p in SATURATIONS {
            let Some(o) = view.fresh(p) else { continue };
            looked = true;
            let quantum =
                view.profile.quantum(p).filter(|_| view.settled() && !o.flags.has(ObsFlags::UNIT_UNKNOWN));
            let off_grid = |q: f64| (o.value / q - (o.value / q).round()).abs() > self.grid_share;
            let (limit, text) = if o.value > self.most_percent {
                (self.most_percent, "above")
            } else if let Some(q) = quantum.filter(|q| off_grid(*q)) {
                (q, "grid")
            } else {
                continue;
            };
            found = true;
            let told = out.list.iter().any(|v| v.check == id::hard_range && v.params.contains(p));
            out.push(Verdict {
                flag: if told { Flag::Suspect } else { Flag::Fail },
                value: Some(o.value),
                limit: Some(limit),
                unit: "%",
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                text,
                args: [
                    ("p", Arg::Parameter(p)),
                    ("v", Arg::Number(o.value, if text == "grid" { 2 } else { 0 })),
                    ("q", Arg::Number(limit, 1)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::spo2_scale, ParamSet::of(p), view.now)
            });
        }
        if looked && !found {
            out.pass(id::spo2_scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::check::{Checks, States};
    use crate::profile::Shelf;

    #[test]
    fn one_hundred_is_a_saturation_and_101_is_none() {
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98 100 101 98"), "PPFP");
        assert_eq!(story::<Check>(&[Parameter::Spo2], "98 97.4 0 -"), "PP..", "no resolution is known");
    }

    #[test]
    fn a_device_of_whole_per_cents_has_no_97_4() {
        let mut s = Story::<Check>::of(&[Parameter::Spo2]);
        s.profile = Shelf::default().of_application("VITALGUARD-DEMO").clone();
        assert_eq!(s.tell("98 97.01 97.03 97.4"), "PPFF");
        assert_eq!(s.found.unwrap().limit, Some(1.0));
    }

    #[test]
    fn what_the_range_check_tells_is_not_told_twice() {
        let mut s = Story::<Check>::of(&[Parameter::Spo2]);
        let report = s.report(vec![crate::check::story::observation(Parameter::Spo2, 104.0, s.now)]);
        let view = View::message(s.now, &report, &s.source, 1, &s.bed, &s.population, &s.profile);
        let mut out = Verdicts::default();
        Checks::default().judge(&mut States::default(), &view, &mut out);
        let of = |check| out.list.iter().find(|v| v.check == check).map(|v| v.flag);
        assert_eq!((of(id::hard_range), of(id::spo2_scale)), (Some(Flag::Fail), Some(Flag::Suspect)));
    }
}
