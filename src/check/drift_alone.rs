use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::calibration::detector::{ARL_BLOCKS, is_warm};
use crate::calibration::{Detector, Score, Scores, prior};
use crate::stats::blocks::SLOTS;
use crate::stats::gaussian::{Gaussian, Row};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that one parameter moves away while the parameters that always moved with it do not.
    /// ## Why it matters
    /// A patient who changes shows it in several sensors. One number that leaves its companions is a sensor that comes off, a
    /// transducer at another height, or a number that was made.
    /// ## How it decides
    /// From minute means the bed's own levels, spreads and correlations are learned (half-life 4 h, shrunk by Ledoit and Wolf; no
    /// level is learned faster than half a usual spread an hour). What the companions say of one parameter is compared with
    /// what it reads. Only a parameter of which the companions explain at least half is judged, and only while none of them is
    /// further than 3 standard deviations from its own level. Successive differences are alike, so what the last one foretold
    /// is taken away; the rest, in standard deviations, is the score. Its rank among quiet beds becomes an e-value, R = (R + 1)·e
    /// for each direction, found at R ≥ 960 000 and until R < 980. Active after 30 min and 60 blocks.
    /// In this version it only reports (`models/calibration/thresholds.lock.toml`): of the recordings that set the thresholds it could
    /// judge 0.2 bed-days (none found), of those that are looked at afterwards 0.5 (one found), and one bed-day without is needed.
    /// ## Known false alerts
    /// Transducer height, a sensor that slowly comes off, paced hearts whose rate does not follow. A bed with one sensor has no
    /// companions: there nothing is found.
    /// ## References
    /// Cai and Venkatasubramanian 2018 (a change of one signal alone is the signature); Ledoit and Wolf 2004; Shin, Ramdas and
    /// Rinaldo 2024. Judged on patients that were not calibrated on: 3 false in 39.9 bed-days at one a minute (upper bound 1.9 in
    /// ten bed-days), far more than the average run length promises, as patients differ; a mean that drifts by 40 % in 30 min is
    /// found in 14 of 71 records where companions explain it, by 20 % in 9 of 79. At one a second hardly anything could be judged.
    "T13" "drift_alone" class=Dynamics evidence=true weights=(50, 15, 30) rest=Unverified
    {
        /// Average run length while nothing is wrong, blocks of a minute. Lower: more false alerts. Higher: slower. 667 bed-days.
        arl_blocks: f64 = ARL_BLOCKS;
        /// Share of a parameter's variance that its companions must explain, 1. Lower: a lone change of the patient is judged. Design choice.
        explained_min: f64 = 0.5;
        /// Largest distance of a companion from its own level, standard deviations. Higher: a true change of the patient is judged. Design choice.
        partner_sd: f64 = 3.0;
        /// A minute further from what was expected teaches nothing, standard deviations. Higher: a step teaches itself.
        learn_sd: f64 = 4.0;
        /// Half-life of what is learned, blocks. Lower: a slow drift teaches itself. 4 h.
        half_life_blocks: f64 = 240.0;
        /// Levels are learned by at most so many usual spreads an hour, 1. Higher: a slow drift teaches itself. Design choice.
        drift_sd_per_hour: f64 = 0.5;
    }
}

/// Weight of the newest block in what is learned of differences.
const FORGET: f64 = 0.0029;
/// Most that one difference foretells of the next.
const MEMORY_MAX: f64 = 0.9;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    /// Last standardised difference, and the block in which it was seen.
    last: f32,
    last_block: u32,
    /// Means of products with the one before and of squares.
    lagged: f32,
    square: f32,
    /// Mean of squared scores, and blocks that it was learned from.
    size: f32,
    blocks: u16,
    detector: Detector,
    read: f32,
    expected: f32,
    votes: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    seen: u32,
    at: Timestamp,
    levels: Gaussian,
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
        let gap_s = at.since_s(state.at);
        if !(0.0..=900.0).contains(&gap_s) {
            state.levels.halve();
        }
        state.at = at;
        let row: Row = std::array::from_fn(|i| blocks.get(i).map(|(_, batch)| batch.mean));
        let far = |i: usize| row[i].and_then(|v| state.levels.z(i, v)).is_some_and(|z| z.abs() > self.partner_sd);
        let mut teaches = row;
        for (i, teaches) in teaches.iter_mut().enumerate() {
            let Some((key, batch)) = blocks.get(i) else { continue };
            let parameter = Parameter::ALL[usize::from(key)];
            let slot = &mut state.slots[i];
            if batch.doubted || slot.detector.is_suspicious() {
                *teaches = None;
            }
            if !is_warm(state.levels.count(i), view.bed.epoch_at, view.now) {
                continue;
            }
            // Companions that are not known yet say nothing.
            let known: Row = std::array::from_fn(|j| row[j].filter(|_| j == i || is_warm(state.levels.count(j), view.bed.epoch_at, view.now)));
            let Some(expected) = state.levels.expected(i, &known).filter(|e| e.explained >= self.explained_min) else { continue };
            if expected.sd <= 0.0 || (0..SLOTS).any(|j| j != i && known[j].is_some() && far(j)) {
                continue;
            }
            let u = ((batch.mean - expected.mean) / expected.sd).clamp(-50.0, 50.0);
            let memory = if slot.square > 0.0 { f64::from(slot.lagged / slot.square).clamp(0.0, MEMORY_MAX) } else { 0.0 };
            let follows = slot.blocks > 0 && slot.last_block.wrapping_add(1) == state.seen;
            let (before, memory) = if follows { (f64::from(slot.last), memory) } else { (0.0, 0.0) };
            let raw = (u - memory * before) / (1.0 - memory * memory).sqrt();
            let own = f64::from(slot.blocks);
            let size = (prior::WEIGHT + own * f64::from(slot.size)) / (prior::WEIGHT + own);
            let score = raw / size.sqrt().max(0.2);
            scores.push(Score { parameter, slot: i as u8, value: score });
            (slot.read, slot.expected) = (batch.mean as f32, expected.mean as f32);
            if teaches.is_some() && score.abs() <= self.learn_sd {
                slot.blocks = slot.blocks.saturating_add(1);
                let weight = FORGET.max(1.0 / f64::from(slot.blocks));
                let learn = |mean: &mut f32, x: f64| *mean += (weight * (x - f64::from(*mean))) as f32;
                if follows {
                    learn(&mut slot.lagged, u * before);
                }
                learn(&mut slot.square, u * u);
                learn(&mut slot.size, raw * raw);
            } else {
                *teaches = None;
            }
            (slot.last, slot.last_block) = (u as f32, state.seen);
        }
        let hours = gap_s.clamp(0.0, 900.0) / 3600.0;
        let step_max: [f64; SLOTS] = std::array::from_fn(|i| {
            let within = blocks.get(i).and_then(|(key, _)| view.population.within_sd(Parameter::ALL[usize::from(key)]));
            // Free while little is known, as a level must be found first.
            let free = state.levels.count(i) < 30;
            within.filter(|_| !free).map_or(f64::INFINITY, |sd| self.drift_sd_per_hour * sd * hours)
        });
        state.levels.push(&teaches, self.half_life_blocks, &step_max);
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
            out.scored(id::drift_alone, view, *score);
            let rank = view.rank(&META, *score);
            slot.votes = rank.votes;
            slot.detector.push_signed(rank.p, score.value > 0.0, state.at, rank.arl_factor * self.arl_blocks);
        }
        state.quiet = !state.slots.iter().any(|slot| slot.detector.holds());
        let mut held = false;
        for (i, slot) in state.slots.iter().enumerate().filter(|(_, slot)| slot.detector.holds()) {
            let Some((key, _)) = view.bed.blocks.get(i) else { continue };
            held = true;
            let parameter = Parameter::ALL[usize::from(key)];
            let (read, expected) = (f64::from(slot.read), f64::from(slot.expected));
            let verdict = Verdict {
                log10_e: slot.detector.log10_e(),
                value: Some(read),
                limit: Some(expected),
                unit: parameter.unit().ucum(),
                window_s: view.now.since_s(slot.detector.since()),
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("a", Arg::reading(parameter, read)),
                    ("b", Arg::reading(parameter, expected)),
                    ("n", Arg::Number((view.now.since_s(slot.detector.since()) / 60.0).round(), 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::drift_alone, ParamSet::of(parameter), slot.detector.since())
            };
            out.push(if slot.votes { verdict } else { verdict.report_only() });
        }
        if !held && !scores.is_empty() {
            out.pass(id::drift_alone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Pace;
    use crate::calibration::tests::trusted;
    use crate::check::story::Story;
    use crate::observation::AgeBand;

    const RATES: [Parameter; 3] = [Parameter::Hr, Parameter::Pr, Parameter::Spo2];

    /// Heart rate and pulse move together by the minute; the pulse is off by up to a beat. `drift` is added to the pulse,
    /// `both` to both, a minute.
    fn minutes(from: usize, n: usize, drift: f64, both: f64) -> String {
        (from..from + n)
            .map(|i| {
                let beat = f64::from((i * 37 % 23) as u32) - 11.0 + (i as f64 / 9.0).sin() * 4.0;
                let noise = [0.0, 1.0, 0.0, -1.0, 1.0, -1.0, 0.0][i * 5 % 7];
                let t = (i - from) as f64;
                let heart = 80.0 + 0.6 * beat + both * t;
                format!("{:.1}/{:.1}/{} ", heart, heart + noise + drift * t, 96 + i * 11 % 3)
            })
            .collect()
    }

    fn calibrated() -> Story<Check> {
        use statrs::distribution::{ContinuousCDF, Normal};
        let mut scores: Vec<f64> =
            (0..10_000).map(|i| Normal::standard().inverse_cdf(0.5 + (f64::from(i) + 0.5) / 20_000.0)).collect();
        let mut s = Story::<Check>::of(&RATES).every(60.0);
        s.calibrations = trusted("drift_alone", Pace::Minute, &mut scores);
        s
    }

    #[test]
    fn a_pulse_that_leaves_the_heart_rate_by_a_beat_a_minute_is_found_and_both_together_never() {
        let mut s = calibrated();
        assert!(!s.tell(&minutes(0, 120, 0.0, 0.0)).contains('F'));
        let flags = s.tell(&minutes(120, 30, 1.0, 0.0));
        let at = flags.find('F').unwrap_or(99);
        assert!((3..=12).contains(&at), "{flags}");
        let verdict = s.found.unwrap();
        assert!(verdict.assessment.is_none() && verdict.log10_e >= 2.0 && !verdict.hard);
        let mut s = calibrated();
        s.tell(&minutes(0, 120, 0.0, 0.0));
        let flags = s.tell(&minutes(120, 60, 0.0, 0.5));
        assert!(!flags.contains('F'), "a patient who changes shows it in both: {flags}");
    }

    #[test]
    fn a_lone_parameter_has_no_companions() {
        let mut s = Story::<Check>::of(&[Parameter::Spo2, Parameter::Temp]).every(60.0);
        let text: String = (0..200).map(|i| format!("{}/36.{} ", 99 - i / 20, 5 + i * 7 % 3)).collect();
        assert!(!s.tell(&text).contains('F'));
    }

    #[test]
    fn nothing_is_judged_before_sixty_blocks_and_children_are_only_reported() {
        let mut s = calibrated();
        let flags = s.tell(&minutes(0, 59, 0.0, 0.0));
        assert_eq!(flags, ".".repeat(59));
        let mut s = calibrated();
        s.bed.age = AgeBand::Child;
        s.tell(&minutes(0, 120, 0.0, 0.0));
        s.tell(&minutes(120, 30, 1.0, 0.0));
        assert!(s.found.unwrap().is_report_only());
    }
}
