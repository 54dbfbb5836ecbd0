use super::{Arg, Assessment, Flag, Judge, Priority, Verdict, Verdicts, View, beyond, id};
use crate::bed::Bed;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares what a person reads on the bedside monitor with what the feed says of the same bed.
    /// ## Why it matters
    /// A constant offset, a slow ramp or a plausible level on a lone parameter cannot be told from a patient by any computation. A
    /// look at the bedside can.
    /// ## How it decides
    /// Each value read is held against everything that the feed said of the same parameter within the window before, since reading
    /// and typing take time. Further away than the tolerance is one differing reading. Two of them make an alert: two parameters at
    /// once, or one parameter in two looks within the time given. One alone is evidence that joins that of another family. It ends at
    /// once when every parameter that differed was read again and agrees, and with the patient; it does not end by itself. What is
    /// stale, absent or only charted is not compared; parameters without a tolerance of their own are shown beside each other and not
    /// judged.
    /// ## Known false alerts
    /// A value read during a fast change, a typing error, the reading of another bed, a cuff that was inflated between reading and
    /// typing.
    /// ## References
    /// Nurse against monitor: 7.5 % of pairs of systolic pressures more than 20 mmHg apart, less than 1 % of SpO2 pairs more than 10
    /// (J Clin Monit Comput 2009); limits of agreement HR −8 to 9.7 /min, RR −15 to 17 /min, SpO2 −1.7 to 1.5 % (Sci Rep 2023). These
    /// people counted and measured by hand; who reads a display is nearer.
    "P15" "spot_check" class=CrossSource evidence=true weights=(15, 5, 80) rest=Unverified
    {
        /// HR and pulse, /min. Lower: usual reading errors are told (95 % within 9.7). Higher: an offset of 15 passes.
        hr_bpm: f64 = 10.0;
        /// Breaths, /min. Lower: usual counting errors are told (95 % within 17).
        rr_bpm: f64 = 17.0;
        /// Systolic pressures, arterial and cuff, mmHg. Lower: 7.5 % of good pairs and more are told.
        sys_mmhg: f64 = 20.0;
        /// SpO2, %. Lower: usual reading errors are told (95 % within 1.7).
        spo2_percent: f64 = 3.0;
        /// Between reading and typing, s. Lower: a changing value differs by delay. Higher: an older value excuses a wrong one. Design choice.
        delay_s: f64 = 30.0;
        /// Differing readings that make an alert, count.
        readings: f64 = 2.0;
        /// Two looks belong together within, s. Design choice.
        again_s: f64 = 1800.0;
    }
}

/// What the last looks at this bed found.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    /// Parameters that differed when they were read last.
    differ: ParamSet,
    /// When the first of them was found.
    since: Timestamp,
    /// When the last look was.
    at: Timestamp,
}

/// One parameter of a reading at the bedside, beside the feed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub param: Parameter,
    /// What the person read, in the canonical unit.
    pub bedside: f64,
    /// What the feed says; `None`: nothing fresh.
    pub feed: Option<f64>,
    /// Age of that value, ms.
    pub age_ms: Option<i64>,
    /// How far apart they may be, in the canonical unit; `None`: this parameter is shown and not judged.
    pub tolerance: Option<f64>,
    /// `None`: nothing to compare, or not judged.
    pub agrees: Option<bool>,
}

/// What a look amounts to.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nothing could be compared, or what differed before was not read again.
    Open,
    Agrees,
    Differs(Box<Verdict>),
}

impl Check {
    /// How far apart the bedside and the feed may be, in the canonical unit; `None`: not judged.
    pub fn tolerance(&self, parameter: Parameter) -> Option<f64> {
        match parameter {
            Parameter::Hr | Parameter::Pr => Some(self.hr_bpm),
            Parameter::Rr | Parameter::Awrr => Some(self.rr_bpm),
            Parameter::AbpSys | Parameter::NibpSys => Some(self.sys_mmhg),
            Parameter::Spo2 => Some(self.spo2_percent),
            _ => None,
        }
    }

    /// Every parameter that is judged, with its tolerance.
    pub fn tolerances(&self) -> Vec<(Parameter, f64)> {
        Parameter::ALL.iter().filter_map(|p| Some((*p, self.tolerance(*p)?))).collect()
    }

    /// Values read at the bedside, beside the bed as it is now.
    pub fn look(&self, state: &mut State, bed: &Bed, values: &[(Parameter, f64)], now: Timestamp) -> (Vec<Compared>, Look) {
        let mut compared = Vec::with_capacity(values.len());
        let (mut judged, mut differ) = (ParamSet::EMPTY, ParamSet::EMPTY);
        let mut worst: Option<(f64, f64, Compared)> = None;
        for (param, bedside) in values.iter().copied() {
            let tolerance = self.tolerance(param);
            let fed = self.fed(bed, param, now);
            let distance = fed.map(|fed| beyond(bedside, fed.range));
            let agrees = distance.zip(tolerance).map(|(distance, tolerance)| distance <= tolerance);
            let row =
                Compared { param, bedside, feed: fed.map(|f| f.latest), age_ms: fed.map(|f| f.age_ms), tolerance, agrees };
            compared.push(row);
            let (Some(distance), Some(tolerance), Some(agrees)) = (distance, tolerance, agrees) else { continue };
            judged = judged.with(param);
            if agrees {
                continue;
            }
            differ = differ.with(param);
            let share = distance / tolerance;
            if worst.as_ref().is_none_or(|(known, ..)| share > *known) {
                worst = Some((share, distance, row));
            }
        }
        let together = now.since_s(state.at) <= self.again_s;
        let again = if together { state.differ.len() - state.differ.minus(differ).len() } else { 0 };
        if state.differ == ParamSet::EMPTY {
            state.since = now;
        }
        if judged != ParamSet::EMPTY {
            state.differ = state.differ.minus(judged).union(differ);
            state.at = now;
        }
        let Some((_, distance, row)) = worst else {
            let agrees = judged != ParamSet::EMPTY && state.differ == ParamSet::EMPTY;
            return (compared, if agrees { Look::Agrees } else { Look::Open });
        };
        let readings = f64::from((differ.len() + again) as u32);
        let fails = readings >= self.readings;
        let decimals = |value: f64| u8::from(value.fract() != 0.0);
        let (bedside, feed) = (row.bedside, row.feed.unwrap_or(f64::NAN));
        let verdict = Verdict {
            flag: if fails { Flag::Fail } else { Flag::Suspect },
            log10_e: if fails { 3.0 } else { 2.0 },
            // Two readings of one quantity; tampering needs a second family.
            assessment: fails.then_some(Assessment::Artefact),
            priority: fails.then_some(Priority::Medium),
            value: Some(distance),
            limit: row.tolerance,
            unit: row.param.unit().ucum(),
            window_s: self.delay_s,
            args: [
                ("p", Arg::Parameter(row.param)),
                ("a", Arg::Number(bedside, decimals(bedside))),
                ("b", Arg::Number(feed, decimals(feed))),
                ("n", Arg::Number(differ.len() as f64, 0)),
                ("m", Arg::Number(judged.len() as f64, 0)),
                ("bed", Arg::Text(bed.bed.clone())),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::spot_check, state.differ, state.since)
        };
        (compared, Look::Differs(Box::new(verdict)))
    }

    /// What the feed says of a parameter now, if anything.
    fn fed(&self, bed: &Bed, parameter: Parameter, now: Timestamp) -> Option<Fed> {
        let stream = bed.stream(parameter).filter(|_| !bed.off)?;
        if stream.is_stale(now) || stream.absent.is_some() || stream.is_charted() {
            return None;
        }
        let latest = stream.latest?;
        let recent = stream.recent.envelope(latest.effective_at.plus_s(-self.delay_s));
        let (low, high) = recent.unwrap_or((latest.value, latest.value));
        let range = (low.min(latest.value), high.max(latest.value));
        Some(Fed { latest: latest.value, age_ms: now.since_ms(latest.received_at).max(0), range })
    }
}

/// What the feed says of a parameter.
#[derive(Debug, Clone, Copy)]
struct Fed {
    latest: f64,
    age_ms: i64,
    /// Smallest and largest value of the delay.
    range: (f64, f64),
}

/// No message and no moment says anything here: a person does, through [`Check::look`].
impl Judge for Check {
    type State = State;

    fn judge(&self, _: &mut State, _: &View<'_>, _: &mut Verdicts) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const ROWS: [Parameter; 3] = [Parameter::Hr, Parameter::Spo2, Parameter::NibpSys];

    /// A quiet bed that shows 72, 98 and 120; a person's looks at it, each with the seconds before it.
    struct Ward {
        story: Story<Check>,
        state: State,
        last: Option<Verdict>,
    }

    impl Ward {
        fn new() -> Ward {
            let mut story = Story::<Check>::of(&ROWS);
            story.tell("72/98/120x120");
            Ward { story, state: State::default(), last: None }
        }
        /// `P` agrees, `S` one that differs, `F` enough of them, `.` open.
        fn look(&mut self, values: &[(Parameter, f64)]) -> char {
            self.story.tell("72/98/120x10");
            let check = Check::default();
            let (compared, look) = check.look(&mut self.state, &self.story.bed, values, self.story.now);
            assert_eq!(compared.len(), values.len(), "every value is answered");
            match look {
                Look::Open => '.',
                Look::Agrees => 'P',
                Look::Differs(verdict) => {
                    let flag = if verdict.flag == Flag::Fail { 'F' } else { 'S' };
                    self.last = Some(*verdict);
                    flag
                }
            }
        }
        fn one(&mut self, parameter: Parameter, value: f64) -> char {
            self.look(&[(parameter, value)])
        }
    }

    use Parameter::{Hr, NibpSys, Spo2};

    #[test]
    fn a_reading_at_the_limit_agrees_and_one_beyond_differs() {
        for (parameter, at, beyond) in [
            (Hr, 82.0, 82.1),
            (Hr, 62.0, 61.9),
            (Spo2, 95.0, 94.9),
            (NibpSys, 140.0, 140.5),
            (NibpSys, 100.0, 99.5),
        ] {
            assert_eq!(Ward::new().one(parameter, at), 'P', "{parameter:?} {at}");
            assert_eq!(Ward::new().one(parameter, beyond), 'S', "{parameter:?} {beyond}");
        }
    }

    #[test]
    fn two_parameters_at_once_are_enough() {
        let mut ward = Ward::new();
        assert_eq!(ward.look(&[(Hr, 131.0), (Spo2, 84.0), (NibpSys, 118.0)]), 'F');
        let verdict = ward.last.expect("told");
        assert_eq!(verdict.params, ParamSet::of(Hr).with(Spo2));
        assert_eq!((verdict.value, verdict.limit, verdict.unit), (Some(59.0), Some(10.0), "/min"), "the furthest");
        assert_eq!((verdict.assessment, verdict.priority), (Some(Assessment::Artefact), Some(Priority::Medium)));
    }

    #[test]
    fn one_parameter_differs_twice_and_is_told() {
        let mut ward = Ward::new();
        let looks = [ward.one(Hr, 130.0), ward.one(Hr, 131.0), ward.one(Hr, 73.0), ward.one(Hr, 130.0)];
        assert_eq!(looks, ['S', 'F', 'P', 'S'], "an agreement ends it, and it begins anew");
    }

    #[test]
    fn two_looks_half_an_hour_apart_are_two_first_ones() {
        let mut ward = Ward::new();
        assert_eq!(ward.one(Hr, 130.0), 'S');
        ward.story.tell("72/98/120x1791");
        assert_eq!(ward.one(Hr, 130.0), 'S');
        ward.story.tell("72/98/120x1790");
        assert_eq!(ward.one(Hr, 130.0), 'F', "1800 s");
    }

    #[test]
    fn it_ends_only_when_all_that_differed_was_read_again() {
        let mut ward = Ward::new();
        assert_eq!(ward.look(&[(Hr, 130.0), (Spo2, 84.0)]), 'F');
        assert_eq!(ward.one(Hr, 72.0), '.', "nobody has looked at SpO2 again");
        assert_eq!(ward.one(NibpSys, 120.0), '.');
        assert_eq!(ward.one(Spo2, 98.0), 'P');
    }

    #[test]
    fn what_changed_while_it_was_typed_is_no_difference() {
        let mut ward = Ward::new();
        ward.story.tell("95/98/120x20");
        let check = Check::default();
        let look = |ward: &mut Ward, value| check.look(&mut ward.state, &ward.story.bed, &[(Hr, value)], ward.story.now);
        let (compared, said) = look(&mut ward, 70.0);
        assert_eq!(said, Look::Agrees, "72 was there 20 s ago");
        assert_eq!((compared[0].feed, compared[0].agrees), (Some(95.0), Some(true)));
        ward.story.tell("95/98/120x30");
        assert!(matches!(look(&mut ward, 70.0).1, Look::Differs(_)), "and 50 s later no more");
    }

    #[test]
    fn without_a_fresh_value_nothing_is_compared() {
        let mut ward = Ward::new();
        ward.story.tell("-/98/120x30");
        let check = Check::default();
        let values = [(Hr, 180.0), (Parameter::Temp, 36.0), (Spo2, 90.0)];
        let (compared, said) = check.look(&mut ward.state, &ward.story.bed, &values, ward.story.now);
        assert_eq!((compared[0].feed, compared[0].agrees, compared[0].tolerance), (None, None, Some(10.0)));
        assert_eq!((compared[1].tolerance, compared[1].agrees), (None, None), "shown, not judged");
        assert_eq!((compared[2].feed, compared[2].agrees), (Some(98.0), Some(false)));
        assert!(matches!(said, Look::Differs(v) if v.flag == Flag::Suspect && v.params == ParamSet::of(Spo2)));
        ward.story.bed.off = true;
        let (compared, said) = check.look(&mut State::default(), &ward.story.bed, &values, ward.story.now);
        assert_eq!((compared[2].feed, said), (None, Look::Open));
    }
}
