use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::calibration::detector::{ARL_BLOCKS, is_warm};
use crate::calibration::{Detector, Score, Scores};
use crate::stats::blocks::SLOTS;
use crate::stats::gaussian::{Gaussian, Row};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the parameters of a bed no longer move together as they did.
    /// ## Why it matters
    /// Numbers that are made one by one look right one by one. What is lost is how they move together.
    /// ## How it decides
    /// The steps from one minute's mean to the next, in their own standard deviations, have correlations (learned from the bed,
    /// half-life 4 h, shrunk by Ledoit and Wolf). The score of a minute is how much more likely its steps are if the parameters
    /// were independent: ½(z'R⁻¹z − z'z + ln det R). Only where there is something to lose: a total correlation of at least
    /// 0.1. Its rank among quiet beds becomes an e-value, R = (R + 1)·e, found at R ≥ 960 000 and until R < 980. Active after
    /// 30 min and 60 blocks. For engineers.
    /// In this version it only reports (`models/calibration/thresholds.lock.toml`): of the recordings that set the thresholds it could
    /// judge 0.2 bed-days (one found), of those that are looked at afterwards 0.6 (none found), and one bed-day without is needed.
    /// ## Known false alerts
    /// Sedation, pacing, other averaging times, a patient who wakes up.
    /// ## References
    /// Ledoit and Wolf 2004; Shin, Ramdas and Rinaldo 2024. Judged on patients that were not calibrated on: 2 false in 39.9
    /// bed-days at one a minute; parameters that each repeat another part of their own past are found within 30 min in 8 of 71
    /// records with a coupling to lose. In the benchmark 2 in 48.6 bed-days of clean recordings (at most 1.30 in ten); masks of every
    /// kind: 0 of 159 on recordings at 1 s, 0 of 112 at one a minute; on invented patients 6 of 200 and 18 of 119.
    "T16" "coupling_loss" class=Dynamics evidence=true weights=(15, 30, 40) rest=Unverified
    {
        /// Average run length while nothing is wrong, blocks of a minute. Lower: more reports. Higher: slower. 667 bed-days.
        arl_blocks: f64 = ARL_BLOCKS;
        /// Smallest total correlation that can be lost, nats. Lower: chance correlations are judged. Two values at r = 0.43 have 0.1.
        total_min: f64 = 0.1;
        /// Larger steps count as so many, standard deviations. Higher: one artefact decides. Design choice.
        step_sd_max: f64 = 4.0;
        /// Half-life of what is learned, blocks. Lower: a loss teaches itself. 4 h.
        half_life_blocks: f64 = 240.0;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    seen: u32,
    at: Timestamp,
    steps: Gaussian,
    /// Means of the block before.
    before: [Option<f32>; SLOTS],
    detector: Detector,
    votes: bool,
    calibrated: bool,
    params: ParamSet,
    total: f32,
    /// Decimal logarithm of 1/α.
    needed: f32,
}

impl Check {
    /// The score of the block that has just ended; learns from it where it may.
    pub fn score(&self, state: &mut State, view: &View<'_>) -> Scores {
        let mut scores = Scores::new();
        let blocks = &view.bed.blocks;
        if blocks.number() == state.seen {
            return scores;
        }
        let next = blocks.number() == state.seen.wrapping_add(1);
        state.seen = blocks.number();
        let at = Timestamp(blocks.ended_ms());
        let gap_s = at.since_s(state.at);
        state.at = at;
        let now: [Option<f32>; SLOTS] = std::array::from_fn(|i| blocks.get(i).map(|(_, batch)| batch.mean as f32));
        let before = std::mem::replace(&mut state.before, now);
        if !next || !(0.0..=900.0).contains(&gap_s) {
            return scores;
        }
        let row: Row = std::array::from_fn(|i| Some(f64::from(now[i]?) - f64::from(before[i]?)));
        let z: Row = std::array::from_fn(|i| {
            let known = is_warm(state.steps.count(i), view.bed.epoch_at, view.now);
            let z = row[i].and_then(|step| state.steps.z(i, step)).filter(|_| known)?;
            Some(z.clamp(-self.step_sd_max, self.step_sd_max))
        });
        let there = (0..SLOTS).filter(|i| z[*i].is_some());
        let params: ParamSet = there.filter_map(|i| Some(Parameter::ALL[usize::from(blocks.get(i)?.0)])).collect();
        // What was never said by a sensor of its own couples with itself.
        if params.sensors() >= 2
            && let Some((score, total)) = state.steps.independence(&z, 2).filter(|(_, total)| *total >= self.total_min)
            && let Some(first) = params.iter().next()
        {
            (state.params, state.total) = (params, total as f32);
            scores.push(Score { parameter: first, slot: 0, value: score });
        }
        let doubted = (0..SLOTS).any(|i| blocks.get(i).is_some_and(|(_, batch)| batch.doubted));
        if !doubted && !state.detector.is_suspicious() {
            // A wild step is learned as a large one.
            let teaches: Row = std::array::from_fn(|i| {
                let (mean, sd) = (state.steps.mean(i), state.steps.sd(i));
                let wide = if state.steps.count(i) >= 30 && sd > 0.0 { self.step_sd_max * sd } else { f64::INFINITY };
                row[i].map(|step| step.clamp(mean - wide, mean + wide))
            });
            state.steps.push(&teaches, self.half_life_blocks, &[f64::INFINITY; SLOTS]);
        }
        scores
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let scores = self.score(state, view);
        for score in &scores {
            out.scored(id::coupling_loss, view, *score);
            let rank = view.rank(&META, *score);
            (state.votes, state.calibrated) = (rank.votes, rank.calibrated);
            state.needed = (rank.arl_factor * self.arl_blocks).log10() as f32;
            state.detector.push_p(rank.p, state.at, rank.arl_factor * self.arl_blocks);
        }
        if !state.detector.holds() {
            if !scores.is_empty() {
                out.pass(id::coupling_loss);
            }
            return;
        }
        let minutes = view.now.since_s(state.detector.since()) / 60.0;
        let verdict = Verdict {
            log10_e: state.detector.log10_e(),
            value: Some(state.detector.log_r() / std::f64::consts::LN_10),
            limit: Some(state.needed.into()),
            unit: "{log10}",
            window_s: 60.0 * minutes,
            text: if state.calibrated { "default" } else { "uncalibrated" },
            args: [
                ("n", Arg::Number(minutes.round(), 0)),
                ("k", Arg::Number(f64::from(state.params.len() as u32), 0)),
                ("r", Arg::Number(f64::from(state.total), 2)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::coupling_loss, state.params, state.detector.since())
        };
        out.push(if state.votes { verdict } else { verdict.report_only() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Pace;
    use crate::calibration::tests::trusted;
    use crate::check::Assessment;
    use crate::check::story::Story;

    const RATES: [Parameter; 2] = [Parameter::Hr, Parameter::Pr];

    /// Heart rate and pulse by the minute; `coupled`: of one heart.
    fn minutes(from: usize, n: usize, coupled: bool) -> String {
        let beat = |i: usize| f64::from((i * 37 % 23) as u32) - 11.0;
        (from..from + n)
            .map(|i| {
                let other = if coupled { beat(i) } else { beat(i * 3 + 5) };
                format!("{:.1}/{:.1} ", 80.0 + 0.5 * beat(i), 80.0 + 0.5 * other + f64::from((i * 5 % 7) as u32) / 3.0)
            })
            .collect()
    }

    fn calibrated() -> Story<Check> {
        let mut scores: Vec<f64> = (0..10_000).map(|i| 1.0 + (f64::from(i) / 10_000.0f64).max(1e-4).ln()).collect();
        let mut s = Story::<Check>::of(&RATES).every(60.0);
        s.calibrations = trusted("coupling_loss", Pace::Minute, &mut scores);
        s
    }

    #[test]
    fn two_rates_of_one_heart_that_go_their_own_ways_are_found() {
        let mut s = calibrated();
        assert!(!s.tell(&minutes(0, 150, true)).contains('F'));
        let flags = s.tell(&minutes(150, 30, false));
        assert!(flags.contains('F'), "{flags}");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.is_report_only(), verdict.text), (false, "default"));
        let mut s = Story::<Check>::of(&RATES).every(60.0);
        s.tell(&minutes(0, 150, true));
        s.tell(&minutes(150, 60, false));
        let guessed = s.found.map(|v| (v.assessment, v.is_report_only(), v.text));
        assert!(guessed.is_none_or(|v| v == (Some(Assessment::Unverified), true, "uncalibrated")), "{guessed:?}");
    }

    #[test]
    fn rates_that_never_went_together_have_nothing_to_lose() {
        let mut s = calibrated();
        assert_eq!(s.tell(&minutes(0, 150, false)).replace('.', ""), "");
    }

    #[test]
    fn one_sensor_couples_with_itself() {
        let mut s = Story::<Check>::of(&[Parameter::PapSys, Parameter::PapMean]).every(60.0);
        assert_eq!(s.tell(&minutes(0, 150, true)).replace('.', ""), "");
    }
}
