use super::{Arg, Judge, REPORT_ONLY_LOG10_E, Verdict, Verdicts, View, id};
use crate::stats::ewma::Ewma;
use crate::stats::whole::nearest;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

declare_check! {
    /// ## What it does
    /// Notices that blood pressures end in some digits far more often than measured ones do.
    /// ## Why it matters
    /// A device has no favourite digit; people who type numbers do. Such values were not measured by the device they claim.
    /// ## How it decides
    /// The last digits of whole-number systolic and diastolic pressures of cuff, line and unnamed source are counted, one value
    /// a cuff and one in five minutes of a line, the past fading after 400. From 200 on, with a standard deviation above 12
    /// mmHg (else the digits only show the level), a χ² of ten digits with p below 10⁻⁶ is a verdict. A device that knows only
    /// even numbers, or only fives and tens, is measured against its own digits. A habit: after ten minutes it joins no other
    /// evidence and never stops a baseline.
    /// ## Known false alerts
    /// A gateway that rounds; a nurse who charts by hand, where a clinical system is read as a monitor.
    /// ## References
    /// Automated values are even: the most frequent digit 1.03 to 1.09 times its share in two sets of intensive care. Manual
    /// readings end in zero in 31 % and up to 60 to 90 %, none with automated devices (JABFM 2019).
    "T11" "digit_preference" class=Liveness evidence=true weights=(10, 0, 30) rest=Unverified
    {
        /// Values counted before it looks, count. Lower: chance is told. Higher: slower.
        values: f64 = 200.0;
        /// Standard deviation of the values, mmHg. Lower: a steady pressure has favourite digits. Higher: fewer beds are looked at.
        sd_mmhg: f64 = 12.0;
        /// −log10 of the probability, 1. Lower: chance is told, for every value is a look.
        log10_p: f64 = 6.0;
        /// Distance of two values of a line that count, s. Lower: one level is counted again and again.
        apart_s: f64 = 300.0;
    }
}

const PRESSURES: [Parameter; 6] =
    [Parameter::NibpSys, Parameter::NibpDia, Parameter::AbpSys, Parameter::AbpDia, Parameter::BpSys, Parameter::BpDia];
/// The past is halved at so many values.
const HALVE: u16 = 400;
/// So long a new finding joins other evidence, seconds.
const NEW_S: f64 = 600.0;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Digits {
    parameter: Parameter,
    bins: [u16; 10],
    level: Ewma,
    last_at: Timestamp,
    since: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    digits: Vec<Digits>,
}

/// −log10 of the probability that even digits are so uneven; of a device with a coarser scale over its own digits.
fn surprise(bins: &[u16; 10]) -> f64 {
    let odd: u16 = bins.iter().skip(1).step_by(2).sum();
    let rest: u16 = bins.iter().enumerate().filter(|(d, _)| d % 5 != 0).map(|(_, n)| n).sum();
    let step = if rest == 0 { 5 } else { 1 + usize::from(odd == 0) };
    let used: Vec<f64> = bins.iter().step_by(step).map(|n| f64::from(*n)).collect();
    let expected = used.iter().sum::<f64>() / used.len() as f64;
    if expected <= 0.0 {
        return 0.0;
    }
    let chi2: f64 = used.iter().map(|n| (n - expected).powi(2) / expected).sum();
    ChiSquared::new(used.len() as f64 - 1.0).map_or(0.0, |d| -d.sf(chi2).max(1e-300).log10())
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.digits, |d| d.last_at.0 as u64 ^ u64::from(d.bins[0]))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (mut looked, mut found) = (false, false);
        for parameter in PRESSURES {
            let Some(o) = view.fresh(parameter) else { continue };
            let at = state.digits.iter().position(|d| d.parameter == parameter).unwrap_or_else(|| {
                let (bins, level, last_at, since) = ([0; 10], Ewma::default(), Timestamp::MIN, None);
                state.digits.push(Digits { parameter, bins, level, last_at, since });
                state.digits.len() - 1
            });
            let digits = &mut state.digits[at];
            // What was converted has no last digit.
            let whole = nearest(o.value);
            if (o.value - whole).abs() > 1e-6 || !(0.0..1000.0).contains(&whole) {
                *digits = Digits { bins: [0; 10], level: Ewma::default(), since: None, ..*digits };
                continue;
            }
            let line = matches!(parameter, Parameter::AbpSys | Parameter::AbpDia);
            if line && view.now.since_s(digits.last_at) < self.apart_s {
                continue;
            }
            digits.last_at = view.now;
            digits.bins[whole as usize % 10] += 1;
            digits.level.push(whole, 1.0, f64::from(HALVE));
            let mut count: u16 = digits.bins.iter().sum();
            if count >= HALVE {
                digits.bins = digits.bins.map(|n| n / 2);
                count /= 2;
            }
            if f64::from(count) < self.values || digits.level.sd() < self.sd_mmhg {
                continue;
            }
            looked = true;
            let log10_p = surprise(&digits.bins);
            if log10_p <= self.log10_p {
                digits.since = None;
                continue;
            }
            found = true;
            let since = *digits.since.get_or_insert(view.now);
            let (favourite, most) = digits.bins.iter().enumerate().max_by_key(|(_, n)| **n).map_or((0, 0), |(d, n)| (d, *n));
            out.push(Verdict {
                log10_e: if view.now.since_s(since) <= NEW_S { 2.0 } else { REPORT_ONLY_LOG10_E },
                value: Some(log10_p),
                limit: Some(self.log10_p),
                unit: "{log10}",
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("v", Arg::Number(favourite as f64, 0)),
                    ("s", Arg::Number(100.0 * f64::from(most) / f64::from(count), 0)),
                    ("n", Arg::Number(f64::from(count), 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::digit_preference, ParamSet::of(parameter), since)
            });
        }
        if looked && !found {
            out.pass(id::digit_preference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    struct Dice(u64);
    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    /// Cuffs; of each, this share in per cent ends in zero.
    fn cuffs(s: &mut Story<Check>, times: u32, zeros: u64, spread: u64, step: u64) -> String {
        let mut dice = Dice(17);
        (0..times)
            .map(|_| {
                let v = (90 + dice.below(spread)) / step * step;
                let v = if dice.below(100) < zeros { v / 10 * 10 } else { v };
                s.tell(&v.to_string())
            })
            .collect()
    }

    #[test]
    fn typed_numbers_are_found_after_200_values_and_measured_ones_are_not() {
        let mut s = Story::<Check>::of(&[Parameter::NibpSys]).every(900.0);
        assert_eq!(cuffs(&mut s, 199, 40, 60, 1), ".".repeat(199));
        assert_eq!(cuffs(&mut s, 5, 40, 60, 1), "FFFFF");
        assert_eq!(s.found.clone().unwrap().args[1].1, Arg::Number(0.0, 0));
        let mut s = Story::<Check>::of(&[Parameter::NibpSys]).every(900.0);
        assert!(!cuffs(&mut s, 2000, 0, 60, 1).contains('F'));
    }

    #[test]
    fn the_probability_is_that_of_chi_square_with_nine_degrees() {
        // χ² = 27.877 at 9 degrees has p = 0.001.
        let mut bins = [100u16; 10];
        bins[0] += 50;
        bins[1] -= 50;
        let p: f64 = 10f64.powf(-surprise(&bins));
        assert!((surprise(&bins) - 7.2).abs() < 0.4, "χ² = 50: {p}");
        assert_eq!(surprise(&[40; 10]), 0.0);
    }

    #[test]
    fn even_numbers_fives_and_a_steady_pressure_are_none() {
        for step in [2, 5] {
            let mut s = Story::<Check>::of(&[Parameter::NibpSys]).every(900.0);
            assert!(!cuffs(&mut s, 600, 0, 60, step).contains('F'), "{step}");
        }
        let mut s = Story::<Check>::of(&[Parameter::NibpSys]).every(900.0);
        assert_eq!(cuffs(&mut s, 600, 0, 8, 1), ".".repeat(600), "its digits show its level");
    }

    #[test]
    fn a_line_counts_once_in_five_minutes_and_a_habit_stops_no_baseline() {
        let mut s = Story::<Check>::of(&[Parameter::AbpSys]);
        assert_eq!(cuffs(&mut s, 3600, 40, 60, 1), ".".repeat(3600));
        let mut s = Story::<Check>::of(&[Parameter::NibpSys]).every(900.0);
        cuffs(&mut s, 260, 60, 60, 1);
        assert!(s.found.unwrap().log10_e < 1.0);
    }
}
