use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::ewma::Ewma;
use crate::stats::quantile::Quantile;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the heart rate of the ECG with the pulse rate of the oximeter or the arterial line.
    /// ## Why it matters
    /// Two sensors count one heart. If they disagree for a minute, one of the numbers is not the patient's.
    /// ## How it decides
    /// The sensors lag by up to 20 s, so a rate is compared with everything the other one showed in the last 20 s, both ways;
    /// they disagree only if neither way fits. Fixed: by more than max(25, 0.3·HR) /min for 60 s and three readings. Personal,
    /// after 60 min of agreement: by more than max(12, 6·MAD) of their own difference, while no ectopic beats are counted. A
    /// pulse above the heart rate weighs more: pulses cannot exceed beats.
    /// ## Known false alerts
    /// Atrial fibrillation and ectopic beats (a pulse below the heart rate is physiology), small QRS that are missed, double
    /// counting, balloon pump.
    /// ## References
    /// Rimbi et al. 2019 (1 010 ECGs: oximeter bias −1.4, limits −22.6 to 19.9); three hypoxia runs with four oximeters: unaligned
    /// 99 % within 4 to 11, at most 15; one patient, 1 569 minutes: more than 25 in 0.06 %.
    "A07" "hr_vs_pr" class=CrossSource evidence=true weights=(40, 20, 35) rest=Unverified
    {
        /// Fixed difference, /min. Lower: averaging of the two devices alerts. Higher: a forged rate hides. Rimbi 2019: limits -22.6 to 19.9.
        difference_bpm: f64 = 25.0;
        /// Fixed difference as a share of the heart rate, 1. Lower: a pulse deficit of a fast heart alerts. Design choice.
        difference_share: f64 = 0.3;
        /// Smallest personal difference, /min. Lower: fast true changes alert (99 % unaligned within 11).
        personal_bpm: f64 = 12.0;
        /// Personal difference in MADs, 1. Lower: an irregular heart alerts. Design choice.
        personal_mads: f64 = 6.0;
        /// Agreement before the personal tier speaks, s. Lower: a pair that never agreed accuses. Design choice.
        personal_after_s: f64 = 3600.0;
        /// Largest lag of the two sensors, s. Lower: fast true changes alert. Higher: slower to see.
        lag_s: f64 = 20.0;
        /// Disagreement must last, s. Lower: drop-outs and start-up values alert. Higher: slower. Design choice.
        hold_s: f64 = 60.0;
        /// And so many readings, count. Lower: at one value a minute one slip alerts. Design choice.
        hold_readings: f64 = 3.0;
        /// Ectopic beats from which the personal tier is silent, /min. Higher: missed pulses of ectopic beats alert. Design choice.
        ectopic_bpm: f64 = 6.0;
    }
}

const PULSES: [Parameter; 2] = [Parameter::Pr, Parameter::PrAbp];

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pair {
    difference: Ewma,
    mad: Quantile,
    agreed_s: f64,
    last: Timestamp,
    run: u32,
    fixed: u32,
    since: Timestamp,
}

impl Default for Pair {
    fn default() -> Self {
        let (last, since) = (Timestamp::MIN, Timestamp::MIN);
        Pair { difference: Ewma::default(), mad: Quantile::new(0.5), agreed_s: 0.0, last, run: 0, fixed: 0, since }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pairs: [Pair; PULSES.len()],
}

/// How far a value lies outside what the other rate showed within the lag (0 inside), with its sign.
pub(super) fn outside(value: f64, now_value: f64, seen: Option<(f64, f64)>) -> f64 {
    let (low, high) = seen.map_or((now_value, now_value), |(low, high)| (low.min(now_value), high.max(now_value)));
    if value > high {
        value - high
    } else if value < low {
        value - low
    } else {
        0.0
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        for (pair, pulse) in state.pairs.iter_mut().zip(PULSES) {
            let (Some(hr), Some(pr)) = (view.fresh(Parameter::Hr), view.fresh(pulse)) else { continue };
            let step_s = view.now.since_s(pair.last).clamp(0.0, 600.0);
            pair.last = view.now;
            let fixed_limit = self.difference_bpm.max(self.difference_share * hr.value);
            let ectopic = view.bed.stream(Parameter::Pvc).and_then(|s| s.latest).is_some_and(|l| l.value >= self.ectopic_bpm);
            let expected = pair.difference.mean().unwrap_or(0.0);
            let personal_limit = if pair.agreed_s >= self.personal_after_s && !ectopic {
                self.personal_bpm.max(self.personal_mads * pair.mad.value().unwrap_or(f64::INFINITY)).min(fixed_limit)
            } else {
                fixed_limit
            };
            // Signed distance of the heart rate from the pulse: the way that fits better. The personal tier counts from the
            // pair's own usual difference.
            let mut distance = hr.value - pr.value;
            let usual = if personal_limit < fixed_limit { expected } else { 0.0 };
            if (distance - usual).abs() > personal_limit {
                let envelope =
                    |p: Parameter| view.bed.stream(p).and_then(|s| s.recent.envelope(hr.effective_at.plus_s(-self.lag_s)));
                let forward = outside(hr.value - usual, pr.value, envelope(pulse));
                let backward = -outside(pr.value + usual, hr.value, envelope(Parameter::Hr));
                distance = usual + if forward.abs() < backward.abs() { forward } else { backward };
            }
            if (distance - usual).abs() <= personal_limit {
                (pair.run, pair.fixed) = (0, 0);
                pair.difference.push(hr.value - pr.value, step_s, 3600.0);
                pair.mad.push((hr.value - pr.value - expected).abs());
                pair.agreed_s += step_s.min(60.0);
                out.pass(id::hr_vs_pr);
                continue;
            }
            if pair.run == 0 {
                pair.since = view.now;
            }
            pair.run = pair.run.saturating_add(1);
            if distance.abs() > fixed_limit {
                pair.fixed = pair.fixed.saturating_add(1);
            }
            if f64::from(pair.run) < self.hold_readings || view.now.since_s(pair.since) < self.hold_s {
                continue;
            }
            let above = pr.value > hr.value;
            let limit = if personal_limit < fixed_limit { personal_limit } else { fixed_limit };
            out.push(Verdict {
                // A pulse above the heart rate cannot be: the stronger sign.
                log10_e: if above && distance.abs() > self.difference_bpm { 3.0 } else { 2.0 },
                value: Some((distance - usual).abs()),
                limit: Some(limit),
                unit: "/min",
                window_s: view.now.since_s(pair.since),
                set_id: Some(pr.set_id),
                effective_at: Some(pr.effective_at),
                text: if pulse == Parameter::Pr { "default" } else { "line" },
                args: [
                    ("hr", Arg::Number(hr.value, 0)),
                    ("pr", Arg::Number(pr.value, 0)),
                    ("n", Arg::Number((view.now.since_s(pair.since) / 60.0).floor().max(1.0), 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::hr_vs_pr, ParamSet::of(Parameter::Hr).with(pulse), pair.since)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const RATES: [Parameter; 2] = [Parameter::Hr, Parameter::Pr];

    #[test]
    fn a_difference_of_26_is_found_after_the_lag_and_a_minute_and_one_of_25_never() {
        assert_eq!(story::<Check>(&RATES, "72/72x60 72/98x79 72/98x3"), "P.F");
        assert_eq!(story::<Check>(&RATES, "72/72x60 72/97x300"), "PP");
    }

    #[test]
    fn a_fast_true_rise_that_one_sensor_shows_20_s_later_is_none() {
        assert_eq!(story::<Check>(&RATES, "70/70x60 130/70x20 130/130x60"), "PPP");
        assert_eq!(story::<Check>(&RATES, "70/70x60 70/130x20 130/130x60"), "PPP");
    }

    #[test]
    fn a_share_of_the_heart_rate_is_allowed_when_it_is_fast() {
        assert_eq!(story::<Check>(&RATES, "150/106x300"), "P", "44 of 45");
        assert_eq!(story::<Check>(&RATES, "150/104x300"), "F");
    }

    #[test]
    fn after_an_hour_of_agreement_20_is_too_much() {
        let mut s = Story::<Check>::of(&RATES);
        assert_eq!(s.tell("72/72x1800 73/72x1900 72/92x60 72/92x60"), "PP.F");
        assert_eq!(s.found.unwrap().limit, Some(12.0));
        let mut s = Story::<Check>::of(&RATES);
        assert_eq!(s.tell("72/72x1800 72/92x120"), "PP", "half an hour is too short");
    }

    #[test]
    fn a_pulse_above_the_heart_rate_weighs_more() {
        let mut s = Story::<Check>::of(&RATES);
        s.tell("72/110x100");
        assert!(s.found.take().unwrap().log10_e > 2.5);
        let mut s = Story::<Check>::of(&RATES);
        s.tell("110/72x100");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.log10_e, verdict.value, verdict.limit), (2.0, Some(38.0), Some(33.0)));
    }

    #[test]
    fn a_lost_pulse_is_not_compared() {
        assert_eq!(story::<Check>(&RATES, "72/72x60 72/0x300 72/-x300"), "P..");
    }
}
