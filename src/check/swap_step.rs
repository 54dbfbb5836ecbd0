use super::{Arg, Assessment, Priority, Verdict, id};
use crate::bed::Bed;
use crate::population::Population;
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter};
use smallvec::SmallVec;

declare_check! {
    /// ## What it does
    /// Notices that two beds step at once, each to the levels that the other one had.
    /// ## Why it matters
    /// Devices or patients were exchanged, or somebody crossed two streams: each patient is watched by the other one's numbers.
    /// ## How it decides
    /// The mean of the last minute against mean and spread of the last hour: at least two parameters more than three spreads
    /// away is a step. Two beds that stepped within two minutes of each other, and not more than ten minutes ago: how much better
    /// does each one's minute fit the other one's hour than its own? Each parameter counts at most a factor of 100; the smaller
    /// of the two ratios must be 1000. Only beds that were the same patient's for half an hour, without ADT in ten minutes.
    /// Report only: what it finds of recorded exchanges is too little to call anybody.
    /// ## Known false alerts
    /// A transfer without ADT, an exchange of devices, two patients of like levels who change at once.
    /// ## References
    /// The limits are design choices. In the benchmark, up to twelve recordings of one set side by side: 0 in 48.6 bed-days (at most 0.62
    /// in ten). Two patients exchanged for half an hour: 0 of 4 on recordings at 1 s, 1 of 7 at one a minute (two parameters, like
    /// levels); on invented patients 6 of 9 and 4 of 5 (median 36 and 90 s).
    "T17" "swap_step" class=CrossSource evidence=false weights=(5, 5, 20) rest=Identity
    {
        /// Away from the own hour, spreads. Lower: every turn of a patient is a step. Higher: patients of like levels are not told apart.
        step_spreads: f64 = 3.0;
        /// Parameters that step, count. Lower: one sensor that was moved is a step.
        step_parameters: f64 = 2.0;
        /// Likelihood ratio of either bed, decimal logarithm. Lower: chance pairs.
        ratio_log10: f64 = 3.0;
        /// One parameter counts at most, decimal logarithm. Higher: one parameter decides.
        each_log10: f64 = 2.0;
        /// Steps count for, s. Higher: the hour has learned the new level.
        together_s: f64 = 600.0;
        /// Both step within, s. Higher: unrelated steps are paired.
        at_once_s: f64 = 120.0;
        /// A bed takes part after so long with one patient, s. Lower: its hour is not known.
        settled_s: f64 = 1800.0;
    }
}

/// One parameter of a bed: its last minute, and mean and spread of its hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub parameter: Parameter,
    pub now: f64,
    pub mean: f64,
    pub spread: f64,
}

/// The levels of a bed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Levels(pub SmallVec<[Level; 12]>);

impl Levels {
    /// Every parameter that is measured now and has an hour behind it, or a good part of it.
    pub fn of(bed: &Bed, population: &Population, at: Timestamp) -> Levels {
        let mut levels = Levels::default();
        for stream in bed.streams.iter().filter(|s| s.parameter.nature() == Nature::Continuous && !s.is_charted()) {
            if stream.is_stale(at) || stream.accepted < 60 || levels.0.iter().any(|l| l.parameter == stream.parameter) {
                continue;
            }
            let (Some(mean), Some(latest)) = (stream.slow.mean(), stream.latest) else { continue };
            let minute = stream.recent.since(latest.effective_at.plus_s(-60.0)).fold((0.0, 0.0), |(n, sum), (v, _)| (n + 1.0, sum + v));
            // What was doubted at once stands in no memory but the newest value.
            let now = if minute.0 >= 1.0 { minute.1 / minute.0 } else { latest.value };
            let least = population.within_sd(stream.parameter).map_or(1.0, |sd| sd / 2.0).max(0.1);
            let spread = stream.slow.sd().max(least);
            if now.is_finite() && mean.is_finite() && spread.is_finite() {
                levels.0.push(Level { parameter: stream.parameter, now, mean, spread });
            }
        }
        levels
    }
}

/// Log10 of the normal density, without what is the same for all.
fn density(x: f64, level: &Level) -> f64 {
    let z = (x - level.mean) / level.spread;
    -(0.5 * z * z) * std::f64::consts::LOG10_E - level.spread.log10()
}

impl Check {
    /// Whether the last minute is away from the hour.
    pub fn steps(&self, levels: &Levels) -> bool {
        let away = levels.0.iter().filter(|l| (l.now - l.mean).abs() > self.step_spreads * l.spread).count();
        away as f64 >= self.step_parameters
    }

    /// How much better each bed's minute fits the other one's hour than its own: the smaller of both, decimal logarithm.
    pub fn ratio(&self, one: &Levels, two: &Levels) -> f64 {
        let fits = |here: &Levels, there: &Levels| -> f64 {
            here.0
                .iter()
                .filter_map(|l| {
                    let other = there.0.iter().find(|o| o.parameter == l.parameter)?;
                    Some((density(l.now, other) - density(l.now, l)).clamp(-2.0 * self.each_log10, self.each_log10))
                })
                .sum()
        };
        fits(one, two).min(fits(two, one))
    }

    /// Told at the bed `a`.
    pub fn verdict(&self, a: &str, b: &str, ratio_log10: f64, at: Timestamp) -> Verdict {
        Verdict {
            log10_e: 0.5,
            assessment: Some(Assessment::Identity),
            priority: Some(Priority::Info),
            value: Some(ratio_log10),
            limit: Some(self.ratio_log10),
            unit: "{log10}",
            window_s: self.together_s,
            args: [("a", Arg::Text(a.to_owned())), ("b", Arg::Text(b.to_owned())), ("n", Arg::Number(ratio_log10, 1))]
                .into_iter()
                .collect(),
            ..Verdict::new(id::swap_step, ParamSet::EMPTY, at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(now: [f64; 3], mean: [f64; 3]) -> Levels {
        let parameters = [Parameter::Hr, Parameter::AbpMean, Parameter::Rr];
        let level = |n: usize| Level { parameter: parameters[n], now: now[n], mean: mean[n], spread: 2.0 };
        Levels((0..3).map(level).collect())
    }

    #[test]
    fn three_spreads_of_two_parameters_are_a_step_and_of_one_are_none() {
        let check = Check::default();
        assert!(check.steps(&levels([76.1, 86.1, 14.0], [70.0, 80.0, 14.0])));
        assert!(!check.steps(&levels([76.1, 86.0, 14.0], [70.0, 80.0, 14.0])));
    }

    #[test]
    fn two_beds_that_exchange_their_levels_fit_each_other_a_thousand_times_better() {
        let check = Check::default();
        let (a, b) = ([70.0, 80.0, 14.0], [95.0, 62.0, 24.0]);
        assert_eq!(check.ratio(&levels(b, a), &levels(a, b)), 6.0, "a hundred for each of three parameters");
        assert!(check.ratio(&levels(b, a), &levels(b, b)) < 0.0, "the other one has stayed");
        let new = [120.0, 50.0, 30.0];
        assert!(check.ratio(&levels(new, a), &levels(new, b)) < 3.0, "both got worse");
        assert!(check.ratio(&Levels::default(), &Levels::default()) < 3.0);
    }
}
