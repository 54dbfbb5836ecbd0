use super::{Arg, Args, Assessment, Verdict, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};

declare_check! {
    /// ## What it does
    /// Compares two feeds of the same beds, value by value: the gateway's side and the receiver's side of an interface engine, a
    /// listener and a tap, two logs.
    /// ## Why it matters
    /// Whoever sits in the path can write what he likes into messages that are right in every other way. Nothing but the same
    /// message at another place shows it.
    /// ## How it decides
    /// The site names the pair (`[[compare]]`): which feed is upstream, and what the engine may change. One bed, parameter and
    /// own time (OBX-14, else OBR-7), or MSH-10 where the site says so, is one measurement. Its two values may differ by one step:
    /// the coarser of what both wrote, or what the site names, in the canonical unit. More is a difference; a number where the
    /// other side says that there is none is one, too. Two messages of one MSH-10: the first difference counts; otherwise three
    /// in 10 min. A value that only the copy has, of a parameter that the upstream feed brings, was added on the way and counts
    /// alike, when the upstream feed was heard before and after it. What only the upstream feed has, and what the copy has of a
    /// parameter that the upstream feed never brings, is reported to the engineers, and so is a pair of feeds of which no value
    /// meets its other for two minutes. The copy is judged by nothing else and
    /// teaches nothing; a feed that is silent is no difference.
    /// ## Known false alerts
    /// An engine that converts, rounds, maps or restamps in a way that the configuration does not name.
    /// ## References
    /// HL7 man-in-the-middle tools (2018, 2023) rewrite values in flight. No measurement on a real engine.
    "P10" "feed_disagreement" class=CrossSource evidence=true weights=(5, 0, 95) rest=Unverified
    {
        /// Two values of one measurement may differ by, steps. Lower: an engine's rounding accuses. Higher: small changes pass. Table value.
        steps: f64 = 1.0;
        /// Differences without a common MSH-10, count. Lower: one slip of an engine accuses. Higher: short rewrites pass.
        differences: f64 = 3.0;
        /// Values on one side alone, count. Lower: a lost message accuses. Higher: few added values pass.
        alone: f64 = 3.0;
        /// Differences and lone values count within, s. Lower: a slow rewrite passes. Higher: slips of a day add up. Table value.
        window_s: f64 = 600.0;
        /// Both feeds go on and no value meets its other for, s; never less than twice the pair's delay. Lower: a slow start is reported. Higher: a pair that compares nothing goes unseen. Design choice.
        apart_s: f64 = 120.0;
        /// Over after so long without one, s. Lower: a rewrite of every second minute begins anew each time. Design choice.
        over_s: f64 = 60.0;
    }
}

/// How a value stands to its other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two numbers that are not one.
    Values,
    /// A number where the upstream feed says that there is none.
    Invented,
    /// No number where the upstream feed has one.
    Withheld,
    /// Only the copy has it, and the upstream feed brings this parameter.
    Added,
    /// Only the copy has it, and the upstream feed never had it.
    Foreign,
    /// Only the upstream feed has it.
    Missing,
    /// Both feeds go on, and no value meets its other.
    Apart,
}

impl Kind {
    /// What is reported and accuses nobody.
    pub const fn reported(self) -> bool {
        matches!(self, Kind::Foreign | Kind::Missing | Kind::Apart)
    }
    const fn text(self) -> &'static str {
        match self {
            Kind::Values => "default",
            Kind::Invented => "invented",
            Kind::Withheld => "withheld",
            Kind::Added => "added",
            Kind::Foreign => "foreign",
            Kind::Missing => "missing",
            Kind::Apart => "apart",
        }
    }
}

/// What is told of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub kind: Kind,
    pub bed: &'a str,
    pub parameter: Parameter,
    /// Everything that differs in this message.
    pub params: ParamSet,
    /// Upstream and downstream, canonical unit; NaN: no value.
    pub values: (f64, f64),
    /// Feeds, upstream first.
    pub feeds: (&'a str, &'a str),
    /// Journal keys of both messages; empty where there is none.
    pub raw: (&'a str, &'a str),
    pub own: Timestamp,
    pub onset: Timestamp,
}

impl Check {
    /// What two values of one measurement are to each other; `None`: they agree. `step`: the coarser resolution, canonical unit.
    pub fn compare(&self, up: f64, down: f64, step: f64) -> Option<Kind> {
        match (up.is_finite(), down.is_finite()) {
            // Conversions there and back leave the last digits uncertain.
            (true, true) => ((up - down).abs() > self.steps * step * (1.0 + 1e-6) + 1e-9).then_some(Kind::Values),
            (true, false) => Some(Kind::Withheld),
            (false, true) => Some(Kind::Invented),
            (false, false) => None,
        }
    }

    /// The sentence of a bed.
    pub fn verdict(&self, told: &Told<'_>) -> Verdict {
        let (a, b) = told.values;
        let decimals = |v: f64| (0..3u8).find(|d| (v * 10f64.powi(i32::from(*d))).fract().abs() < 1e-6).unwrap_or(3);
        let mut args = Args::new();
        args.push(("bed", Arg::Text(told.bed.to_owned())));
        args.push(("p", Arg::Parameter(told.parameter)));
        for (name, value) in [("a", a), ("b", b)] {
            if value.is_finite() {
                args.push((name, Arg::Number(value, decimals(value))));
            }
        }
        for (name, text) in [("up", told.feeds.0), ("down", told.feeds.1), ("x", told.raw.0), ("y", told.raw.1)] {
            if !text.is_empty() {
                args.push((name, Arg::Text(text.to_owned())));
            }
        }
        let verdict = Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(b).filter(|v| v.is_finite()),
            limit: Some(a).filter(|v| v.is_finite()),
            unit: told.parameter.unit().ucum(),
            window_s: self.window_s,
            effective_at: Some(told.own),
            text: told.kind.text(),
            args,
            ..Verdict::new(id::feed_disagreement, told.params, told.onset)
        };
        if told.kind.reported() { Verdict { assessment: Some(Assessment::Unverified), ..verdict.report_only() } } else { verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::*;

    #[test]
    fn one_step_is_rounding_and_more_is_a_difference() {
        let check = Check::default();
        for (up, down, step, expected) in [
            (72.0, 73.0, 1.0, None),
            (72.0, 73.1, 1.0, Some(Values)),
            (36.6, 36.7, 0.1, None),
            (36.6, 36.8, 0.1, Some(Values)),
            // 97.9 written as 98 and as 97.
            (97.9, 98.0, 1.0, None),
            (97.9, 97.0, 1.0, None),
            // 16.0 kPa for 120 mmHg: a step of 0.1 kPa is 0.75 mmHg.
            (120.0, 120.01, 0.75, None),
            (120.0, 135.0, 0.75, Some(Values)),
            (f64::NAN, f64::NAN, 1.0, None),
            (f64::NAN, 72.0, 1.0, Some(Invented)),
            (72.0, f64::NAN, 1.0, Some(Withheld)),
        ] {
            assert_eq!(check.compare(up, down, step), expected, "{up} {down} {step}");
        }
        assert_eq!(Check { steps: 0.0, ..check }.compare(72.0, 73.0, 1.0), Some(Values), "a site that wants every digit");
    }

    #[test]
    fn a_difference_is_hard_and_what_may_be_an_engines_habit_is_only_reported() {
        let told = |kind| Told {
            kind,
            bed: "A01",
            parameter: Parameter::Spo2,
            params: ParamSet::EMPTY.with(Parameter::Spo2),
            values: (97.0, 82.5),
            feeds: ("gw", "emr"),
            raw: ("gw.4", "emr.9"),
            own: Timestamp(0),
            onset: Timestamp(0),
        };
        let check = Check::default();
        for kind in [Values, Invented, Withheld, Added] {
            assert!(check.verdict(&told(kind)).hard, "{kind:?}");
        }
        for kind in [Foreign, Missing, Apart] {
            let verdict = check.verdict(&told(kind));
            assert!(!verdict.hard && verdict.is_report_only(), "{kind:?}");
        }
        let verdict = check.verdict(&told(Values));
        assert_eq!((verdict.value, verdict.limit, verdict.unit), (Some(82.5), Some(97.0), "%"));
        assert!(verdict.args.contains(&("b", Arg::Number(82.5, 1))));
        assert!(verdict.args.contains(&("x", Arg::Text("gw.4".into()))));
    }
}
