use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::calibration::detector::{ARL_BLOCKS, is_warm};
use crate::calibration::{Detector, Score, Scores};
use crate::stats::blocks::Batch;
use crate::stats::ewma::Ewma;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

declare_check! {
    /// ## What it does
    /// Notices that the heart rate varies less than it did in this bed and less than in nearly all others.
    /// ## Why it matters
    /// It is a true sign: a heart that varies by less than a beat is that of a very ill or deeply sedated patient. A number that
    /// was made may vary too little as well. So it is a label, and never tampering alone.
    /// ## How it decides
    /// The standard deviation of the heart rate (or pulse) over five minutes. Its rank among quiet beds and its rank among the
    /// bed's own (normal, by mean and spread of its logarithm, half-life 4 h) are taken together by the larger of the two; that
    /// becomes an e-value, R = (R + 1)·e, a label at R ≥ 960 000 and until R < 980. Active after 60 blocks of five minutes.
    /// In this version there is no calibration of it and it only reports: 60 blocks are five hours of one heart rate, ten patients with
    /// so many are needed, and one recording in hand is long enough.
    /// ## Known false alerts
    /// None: it raises nothing alone. Sedation, pacing and β-blockers lower variability.
    /// ## References
    /// A variability of 0.3 to 0.6 /min is a true sign of mortality (cardiac uncoupling); neonatal sepsis lowers it. Page 1954;
    /// Shin, Ramdas and Rinaldo 2024 for the decision. One recording is long enough (1.3 bed-days: none), so there is no calibration.
    "T15" "variability_loss" class=Dynamics evidence=true weights=(20, 75, 5) rest=Unverified
    {
        /// Average run length while nothing is wrong, blocks. Lower: more labels. Higher: slower. Over 667 bed-days.
        arl_blocks: f64 = ARL_BLOCKS;
        /// Minutes of one standard deviation, count. Lower: noise. Higher: slower. Five-minute windows are those of the literature.
        minutes: f64 = 5.0;
    }
}

/// Resolution that is added to a spread, /min: a constant has a logarithm too.
const RESOLUTION: f64 = 0.1;
const SLOW_S: f64 = 20_775.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    seen: u32,
    gathered: Batch,
    minutes: u8,
    /// Which rate it is; 255: none yet.
    key: u8,
    at: Timestamp,
    spread: f32,
    /// Logarithm of the spread.
    own: Ewma,
    detector: Detector,
    votes: bool,
}

impl Check {
    /// The score of the five minutes that have just ended: minus the logarithm of the spread.
    pub fn score(&self, state: &mut State, view: &View<'_>) -> Scores {
        self.step(state, view).0
    }

    /// The score, and the one-sided p-value among the bed's own.
    fn step(&self, state: &mut State, view: &View<'_>) -> (Scores, f64) {
        let mut scores = Scores::new();
        let blocks = &view.bed.blocks;
        if blocks.number() == state.seen {
            return (scores, 1.0);
        }
        state.seen = blocks.number();
        let there = |p: Parameter| blocks.slot(p as u8).and_then(|slot| Some((slot, *blocks.get(slot)?.1)));
        let rate = [Parameter::Hr, Parameter::Pr].into_iter().find_map(|p| Some((p, there(p)?)));
        let at = Timestamp(blocks.ended_ms());
        let gap = !(0.0..=900.0).contains(&at.since_s(state.at));
        let Some((parameter, (slot, batch))) = rate.filter(|(p, _)| !gap && (state.key == *p as u8 || state.own.count() == 0)) else {
            // Five minutes without a hole, of one sensor.
            (state.gathered, state.minutes) = (Batch::default(), 0);
            state.at = at;
            return (scores, 1.0);
        };
        state.key = parameter as u8;
        state.at = at;
        state.gathered.join(&batch);
        state.minutes += 1;
        if f64::from(state.minutes) < self.minutes {
            return (scores, 1.0);
        }
        let whole = std::mem::take(&mut state.gathered);
        state.minutes = 0;
        state.spread = whole.sd() as f32;
        let log = (whole.sd() + RESOLUTION).ln();
        let mut own_p = 1.0;
        if is_warm(state.own.count(), view.bed.epoch_at, view.now) {
            let z = (log - state.own.mean().unwrap_or(log)) / state.own.sd().max(0.1);
            own_p = Normal::standard().cdf(z);
            scores.push(Score { parameter, slot: slot as u8, value: -log });
        }
        if !whole.doubted && !state.detector.is_suspicious() {
            state.own.push(log, 60.0 * self.minutes, SLOW_S);
        }
        (scores, own_p)
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (scores, own_p) = self.step(state, view);
        for score in &scores {
            out.scored(id::variability_loss, view, *score);
            let rank = view.rank(&META, *score);
            state.votes = rank.votes;
            state.detector.push_p(rank.p.max(own_p), state.at, rank.arl_factor * self.arl_blocks);
        }
        if !state.detector.holds() {
            if !scores.is_empty() {
                out.pass(id::variability_loss);
            }
            return;
        }
        let Some(parameter) = Parameter::ALL.get(usize::from(state.key)).copied() else { return };
        let usual = state.own.mean().map_or(0.0, |log| log.exp() - RESOLUTION);
        let spread = f64::from(state.spread);
        let verdict = Verdict {
            log10_e: state.detector.log10_e(),
            value: Some(spread),
            limit: Some(usual),
            unit: parameter.unit().ucum(),
            window_s: view.now.since_s(state.detector.since()),
            args: [
                ("p", Arg::Parameter(parameter)),
                ("v", Arg::Number(spread, 1)),
                ("u", Arg::Number(usual, 1)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::variability_loss, ParamSet::of(parameter), state.detector.since())
        };
        out.push(if state.votes { verdict } else { verdict.report_only() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Pace;
    use crate::calibration::tests::trusted;
    use crate::check::story::Story;

    /// Minutes of a heart rate with a spread that changes from one five minutes to the next.
    fn minutes(from: usize, n: usize, size: f64) -> String {
        (from..from + n)
            .map(|i| {
                let own = 1.0 + 0.3 * ((i / 5) as f64).sin();
                let step = [1.0, -1.0, 0.5, -1.5, 1.0][i % 5];
                format!("{:.1} ", 72.0 + size * own * step)
            })
            .collect()
    }

    fn calibrated() -> Story<Check> {
        let mut scores: Vec<f64> = (0..10_000).map(|i| -(0.3 + 6.0 * f64::from(i) / 10_000.0f64).ln()).collect();
        let mut s = Story::<Check>::of(&[Parameter::Hr]).every(60.0);
        s.calibrations = trusted("variability_loss", Pace::Minute, &mut scores);
        s
    }

    #[test]
    fn a_heart_that_stops_varying_is_labelled_within_the_hour_and_one_that_never_did_is_not() {
        let mut s = calibrated();
        assert!(!s.tell(&minutes(0, 400, 2.0)).contains('F'));
        let flags = s.tell(&minutes(400, 60, 0.05));
        assert!(flags.contains('F'), "{flags}");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.assessment, verdict.is_report_only()), (None, false));
        let mut s = calibrated();
        assert!(!s.tell(&minutes(0, 600, 0.05)).contains('F'), "as it always was here");
    }

    #[test]
    fn less_than_usual_here_but_not_little_is_none() {
        let mut s = calibrated();
        s.tell(&minutes(0, 400, 5.0));
        assert!(!s.tell(&minutes(400, 120, 2.0)).contains('F'));
    }

    #[test]
    fn its_weights_never_make_it_tampering() {
        const { assert!(META.tam < 20 && META.phy > META.tam) };
    }
}
