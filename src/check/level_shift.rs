use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::calibration::detector::{ARL_BLOCKS, is_warm};
use crate::calibration::{Detector, Score, Scores, prior};
use crate::stats::blocks::SLOTS;
use crate::stats::cusum::Cusum;
use crate::stats::trend::Trend;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the level of one parameter has moved and stays where it is.
    /// ## Why it matters
    /// A level is never tampering. That it changed, and when, is what other findings are compared with: where an independent
    /// sensor moves too, the patient has changed.
    /// ## How it decides
    /// Minute means are expected by a local linear trend (level and slope, learned from what passed). How far the mean of a
    /// minute lies from what was expected, in standard deviations that the bed itself has shown, is the score. Its rank among
    /// quiet beds becomes an e-value; R = (R + 1)·e for each direction; the label begins at R ≥ 960 000 and ends after ten
    /// minutes, when the new level is taken for granted. The onset is where a two-sided cumulative sum left zero. Active after
    /// 30 min and 60 blocks. A minute that is far off teaches nothing.
    /// In this version it only reports (`models/calibration/thresholds.lock.toml`): on recordings of patients that nothing was fitted
    /// on it labels 13 changes in 5.8 judged bed-days at one a minute even at 1 000 times this run length, since patients do change;
    /// at one a second 0.3 bed-days could be judged, and one is needed.
    /// ## Known false alerts
    /// None: it raises nothing alone. Therapy and posture change levels every hour.
    /// ## References
    /// Page 1954; Shin, Ramdas and Rinaldo 2024 (average run length of at least 1/α without an assumption about the
    /// distribution). 0.03 tamper alerts a bed-day over 20 stochastic checks are one in 667 bed-days for each. Calibrated on three
    /// folds of patients and judged on the fourth: 122 labels in 39.9 bed-days at one a minute (p2009_map, mimic3_pap and one long
    /// record), 7 in 8.6 at one a second (hfno_tcco2, ipi_capno); a pulse multiplied by 1.25 is labelled within 30 min in 14 of 30.
    "T12" "level_shift" class=Dynamics evidence=true weights=(20, 70, 10) rest=Unverified
    {
        /// Average run length while nothing is wrong, blocks of a minute. Lower: more labels. Higher: slower. 667 bed-days.
        arl_blocks: f64 = ARL_BLOCKS;
        /// A minute further from what was expected teaches nothing, standard deviations. Lower: the baseline stays behind. Higher: a step teaches itself.
        learn_sd: f64 = 4.0;
        /// The label lasts so many blocks, then the new level counts, blocks. Higher: the old level is defended longer. Design choice.
        hold_blocks: f64 = 10.0;
        /// After a gap of this length the trend begins anew, s. Higher: an old slope is believed.
        cold_s: f64 = 900.0;
    }
}

/// Weight of the newest block in the learned size of innovations: half-life of 4 h.
const FORGET: f64 = 0.0029;
/// Allowance of the cumulative sum, standard deviations.
const ALLOWANCE: f64 = 0.5;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    trend: Trend,
    at: Timestamp,
    /// Mean of squared normalised innovations, and blocks that it was learned from.
    size: f32,
    blocks: u16,
    cusum: Cusum,
    detector: Detector,
    /// Level before the shift and the last mean, for the sentence.
    before: f32,
    mean: f32,
    votes: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    seen: u32,
    slots: [Slot; SLOTS],
    /// No detector holds, as the last look found: between two blocks ten slots need not be read. False: not known.
    #[serde(skip)]
    quiet: bool,
}

impl Check {
    /// The scores of the block that has just ended; learns from it where it may.
    pub fn score(&self, state: &mut State, view: &View<'_>) -> Scores {
        let mut scores = Scores::new();
        let blocks = &view.bed.blocks;
        if blocks.number() == state.seen {
            return scores;
        }
        state.seen = blocks.number();
        let at = Timestamp(blocks.ended_ms());
        for (i, slot) in state.slots.iter_mut().enumerate() {
            let Some((key, batch)) = blocks.get(i) else { continue };
            let parameter = Parameter::ALL[usize::from(key)];
            let Some(within) = view.population.within_sd(parameter) else { continue };
            let noise = prior::noise(within, view.pace());
            slot.mean = batch.mean as f32;
            let dt_s = at.since_s(slot.at);
            slot.at = at;
            if slot.trend.level().is_none() || !(0.0..=self.cold_s).contains(&dt_s) {
                slot.blocks /= 2;
                slot.trend.anchor(batch.mean, noise);
                continue;
            }
            slot.trend.predict(dt_s, noise);
            let Some(innovation) = slot.trend.innovation(batch.mean, noise) else { continue };
            let raw = innovation.normalised();
            // Prior of 1 with the weight of 30 blocks.
            let own = f64::from(slot.blocks);
            let size = (prior::WEIGHT + own * f64::from(slot.size)) / (prior::WEIGHT + own);
            let z = raw / size.sqrt().max(0.05);
            if is_warm(u32::from(slot.blocks), view.bed.epoch_at, view.now) {
                scores.push(Score { parameter, slot: i as u8, value: z });
            }
            if batch.doubted || slot.detector.is_suspicious() || z.abs() > self.learn_sd {
                continue;
            }
            slot.before = slot.trend.level().unwrap_or(batch.mean) as f32;
            slot.trend.update(batch.mean, noise);
            slot.blocks = slot.blocks.saturating_add(1);
            let weight = FORGET.max(1.0 / f64::from(slot.blocks));
            slot.size += (weight * (raw * raw - f64::from(slot.size))) as f32;
        }
        scores
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let scores = self.score(state, view);
        if scores.is_empty() && state.quiet {
            return;
        }
        for score in &scores {
            let slot = &mut state.slots[usize::from(score.slot)];
            out.scored(id::level_shift, view, *score);
            let rank = view.rank(&META, *score);
            slot.votes = rank.votes;
            slot.cusum.push(score.value, ALLOWANCE);
            slot.detector.push_signed(rank.p, score.value > 0.0, slot.at, rank.arl_factor * self.arl_blocks);
            if f64::from(slot.detector.held()) > self.hold_blocks {
                // The new level is the level.
                let level = f64::from(slot.mean);
                if let Some(within) = view.population.within_sd(score.parameter) {
                    slot.trend.anchor(level, prior::noise(within, view.pace()));
                }
                slot.detector.reset();
                slot.cusum.reset();
            }
        }
        state.quiet = !state.slots.iter().any(|slot| slot.detector.holds());
        let mut held = false;
        for (i, slot) in state.slots.iter().enumerate().filter(|(_, slot)| slot.detector.holds()) {
            let Some((key, _)) = view.bed.blocks.get(i) else { continue };
            held = true;
            let parameter = Parameter::ALL[usize::from(key)];
            let run_s = 60.0 * f64::from(slot.cusum.run().max(1));
            let onset = slot.at.plus_s(-run_s).max(view.bed.epoch_at);
            let (before, mean) = (f64::from(slot.before), f64::from(slot.mean));
            let verdict = Verdict {
                log10_e: slot.detector.log10_e(),
                value: Some(mean),
                limit: Some(before),
                unit: parameter.unit().ucum(),
                window_s: view.now.since_s(onset),
                text: if slot.detector.is_up() { "up" } else { "down" },
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("a", Arg::reading(parameter, before)),
                    ("b", Arg::reading(parameter, mean)),
                    ("t", Arg::Time(onset)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::level_shift, ParamSet::of(parameter), onset)
            };
            out.push(if slot.votes { verdict } else { verdict.report_only() });
        }
        if !held && !scores.is_empty() {
            out.pass(id::level_shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::check::Assessment;
    use crate::calibration::Pace;
    use crate::calibration::tests::trusted;
    use crate::observation::AgeBand;

    /// Heart rates once a minute around a level, the same ones every time.
    fn around(level: f64, minutes: usize) -> String {
        let steps = [0.0, 1.0, -1.0, 2.0, 0.0, -2.0, 1.0, -1.0, 1.0, 0.0, -1.0];
        (0..minutes).map(|i| format!("{} ", level + steps[i * 7 % steps.len()])).collect()
    }

    /// An adult with a calibration of half-normal scores: sizes of standard deviations.
    fn calibrated() -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Hr]).every(60.0);
        s.calibrations = trusted("level_shift", Pace::Minute, &mut half_normal());
        s
    }

    fn half_normal() -> Vec<f64> {
        use statrs::distribution::{ContinuousCDF, Normal};
        (0..10_000).map(|i| Normal::standard().inverse_cdf(0.5 + (f64::from(i) + 0.5) / 20_000.0)).collect()
    }

    #[test]
    fn a_step_of_twelve_beats_is_labelled_within_five_minutes_and_one_of_two_never() {
        let mut s = calibrated();
        assert!(!s.tell(&around(72.0, 90)).contains('F'));
        let flags = s.tell(&around(84.0, 30));
        assert!(flags.starts_with("PPPFFFFFFF"), "{flags}");
        assert!(flags.ends_with("PPPPPP"), "the new level is taken for granted: {flags}");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.text, verdict.assessment), ("up", None));
        let mut s = calibrated();
        s.tell(&around(72.0, 90));
        assert!(!s.tell(&around(74.0, 60)).contains('F'));
    }

    #[test]
    fn nothing_is_said_before_sixty_blocks() {
        let mut s = calibrated();
        let flags = s.tell(&around(72.0, 70));
        let first = flags.find('P').unwrap();
        assert_eq!((&flags[..first], first), (".".repeat(first).as_str(), first));
        // Until the cadence is known two messages are a block.
        assert!((65..=68).contains(&first), "{first}");
    }

    #[test]
    fn one_wild_minute_and_a_gap_are_no_shift() {
        let mut s = calibrated();
        s.tell(&around(72.0, 90));
        assert!(!s.tell("150 72 71 73 72 30 72 71").contains('F'));
        assert!(!s.tell(&format!("~x16 {}", around(90.0, 30))).contains('F'), "after a gap the level is begun anew");
    }

    #[test]
    fn evidence_survives_a_restart() {
        let mut s = calibrated();
        s.tell(&around(72.0, 90));
        let before = s.tell(&around(84.0, 3));
        s.state = postcard::from_bytes(&postcard::to_stdvec(&s.state).unwrap()).unwrap();
        assert_eq!((before.as_str(), s.tell("84")), ("PPP", "F".to_owned()));
    }

    #[test]
    fn below_eighteen_at_an_unknown_age_and_without_a_calibration_it_only_reports() {
        for (age, with) in [(AgeBand::Adolescent, true), (AgeBand::Unknown, true), (AgeBand::Adult, false)] {
            let mut s = if with { calibrated() } else { Story::<Check>::of(&[Parameter::Hr]).every(60.0) };
            s.bed.age = age;
            s.tell(&around(72.0, 90));
            s.tell(&around(90.0, 12));
            let verdict = s.found.unwrap();
            assert_eq!((verdict.is_report_only(), verdict.assessment), (true, Some(Assessment::Unverified)), "{age:?}");
        }
    }
}
