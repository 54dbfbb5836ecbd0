use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::calibration::detector::{ARL_BLOCKS, is_warm};
use crate::calibration::{Detector, Score, Scores};
use crate::stats::blocks::SLOTS;
use crate::stats::ewma::Ewma;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that a parameter was multiplied: its level and its spread have grown or shrunk by the same share.
    /// ## Why it matters
    /// A unit or a calibration that changed, or a number that is scaled on the way, moves both. A patient who changes seldom does.
    /// ## How it decides
    /// The logarithm of a minute's mean, relative to a second sensor of the same quantity where there is one and to the bed's own
    /// level otherwise, is compared with its own average and spread (half-life 4 h); what the last minute foretold is taken
    /// away. It counts only while the spread within the last ten minutes has changed to the same side by at least half as much;
    /// else the score is 0. Its rank among quiet beds becomes an e-value, R = (R + 1)·e for each direction, found at R ≥ 960 000
    /// and until R < 980. Active after 30 min and 60 blocks. For engineers.
    /// In this version it only reports (`models/calibration/thresholds.lock.toml`): at one a minute it finds one in 4.7 judged bed-days
    /// of clean recordings even at 1 000 times this run length; at one a second 0.3 bed-days could be judged, and one is needed.
    /// ## Known false alerts
    /// Exercise and awakening raise rate and spread of a heart together. A unit that changes is C02's.
    /// ## References
    /// Design choice; Shin, Ramdas and Rinaldo 2024 for the decision. Judged on patients that were not calibrated on: 22 false in
    /// 39.9 bed-days at one a minute, 1 in 8.6 at one a second; a value multiplied by 1.25 is found in 1 of 30 (one a second) and 4
    /// of 264 (one a minute): it sees little.
    "T14" "scale_shift" class=Dynamics evidence=true weights=(30, 10, 40) rest=Unverified
    {
        /// Average run length while nothing is wrong, blocks of a minute. Lower: more false alerts. Higher: slower. 667 bed-days.
        arl_blocks: f64 = ARL_BLOCKS;
        /// The spread must have changed by this share of the change of level, 1. Lower: a change of level alone is judged. Higher: a scaled number hides in the noise of its spread. Design choice.
        alike_share: f64 = 0.5;
        /// A minute further from what was expected teaches nothing, standard deviations. Higher: a step teaches itself.
        learn_sd: f64 = 4.0;
        /// The spread now is that of so long, s. Lower: noise. Higher: slower. Design choice.
        spread_s: f64 = 600.0;
    }
}

/// Time constant of a half-life of 4 h, seconds.
const SLOW_S: f64 = 20_775.0;
/// Smallest spread of a logarithm that is believed: half a per cent.
const SPREAD_MIN: f64 = 0.005;
const MEMORY_MAX: f64 = 0.9;

/// A second sensor of the same quantity.
const SAME: [(Parameter, Parameter); 6] = [
    (Parameter::Hr, Parameter::Pr),
    (Parameter::Hr, Parameter::PrAbp),
    (Parameter::Pr, Parameter::PrAbp),
    (Parameter::Rr, Parameter::Awrr),
    (Parameter::Rr, Parameter::RrVent),
    (Parameter::Awrr, Parameter::RrVent),
];

fn partner(parameter: Parameter, there: impl Fn(Parameter) -> bool) -> Option<Parameter> {
    SAME.iter().find_map(|(a, b)| match parameter {
        p if p == *a => Some(*b).filter(|o| there(*o)),
        p if p == *b => Some(*a).filter(|o| there(*o)),
        _ => None,
    })
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    at: Timestamp,
    /// Logarithm of level (or of the ratio to the partner) and how it varies.
    own: Ewma,
    /// 255: its own level.
    partner: u8,
    /// Logarithm of the spread, lately and always.
    fast: Ewma,
    slow: Ewma,
    mean: f32,
    last: f32,
    lagged: f32,
    square: f32,
    detector: Detector,
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
        let mean_of = |p: Parameter| blocks.slot(p as u8).and_then(|s| blocks.get(s)).map(|(_, b)| b.mean).filter(|m| *m > 1.0);
        for (i, slot) in state.slots.iter_mut().enumerate() {
            let Some((key, batch)) = blocks.get(i).filter(|(_, b)| b.mean > 1.0) else { continue };
            let parameter = Parameter::ALL[usize::from(key)];
            let partner = partner(parameter, |p| mean_of(p).is_some());
            let code = partner.map_or(u8::MAX, |p| p as u8);
            if slot.own.count() == 0 || slot.partner != code {
                *slot = Slot { partner: code, ..Slot::default() };
            }
            let dt_s = at.since_s(slot.at);
            let before = std::mem::replace(&mut slot.mean, batch.mean as f32);
            slot.at = at;
            let level = batch.mean.ln() - partner.and_then(mean_of).map_or(0.0, f64::ln);
            let follows = slot.own.count() > 0 && (0.0..=900.0).contains(&dt_s);
            if slot.own.count() > 0 && !follows {
                slot.own.halve();
                slot.last = 0.0;
            }
            // Of one sample a block the spread is the step from the one before.
            let spread = if batch.count >= 4 { batch.sd() } else { (batch.mean - f64::from(before)).abs() };
            let spread = (spread + 0.1).ln();
            let step_s = dt_s.clamp(0.0, 900.0);
            if follows {
                slot.fast.push(spread, step_s, self.spread_s);
            }
            let mut far = false;
            if let Some(own) = slot.own.mean().filter(|_| follows) {
                let u = (level - own) / slot.own.sd().max(SPREAD_MIN);
                let memory = if slot.square > 0.0 { f64::from(slot.lagged / slot.square).clamp(0.0, MEMORY_MAX) } else { 0.0 };
                let rest = (u - memory * f64::from(slot.last)) / (1.0 - memory * memory).sqrt();
                let wider = slot.fast.mean().zip(slot.slow.mean()).map_or(0.0, |(fast, slow)| fast - slow);
                let alike = wider * (level - own).signum() >= self.alike_share * (level - own).abs();
                far = rest.abs() > self.learn_sd;
                if is_warm(slot.own.count(), view.bed.epoch_at, view.now) {
                    scores.push(Score { parameter, slot: i as u8, value: if alike { rest.clamp(-50.0, 50.0) } else { 0.0 } });
                }
                let weight = (1.0 / f64::from(slot.own.count().max(1))).max(0.0029);
                if !far {
                    slot.lagged += (weight * (u * f64::from(slot.last) - f64::from(slot.lagged))) as f32;
                    slot.square += (weight * (u * u - f64::from(slot.square))) as f32;
                }
                slot.last = u.clamp(-50.0, 50.0) as f32;
            }
            if batch.doubted || slot.detector.is_suspicious() || far {
                continue;
            }
            slot.own.push(level, step_s, SLOW_S);
            if follows {
                slot.slow.push(spread, step_s, SLOW_S);
            }
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
            out.scored(id::scale_shift, view, *score);
            let rank = view.rank(&META, *score);
            slot.votes = rank.votes;
            slot.detector.push_signed(rank.p, score.value > 0.0, slot.at, rank.arl_factor * self.arl_blocks);
        }
        state.quiet = !state.slots.iter().any(|slot| slot.detector.holds());
        let mut held = false;
        for (i, slot) in state.slots.iter().enumerate().filter(|(_, slot)| slot.detector.holds()) {
            let Some((key, _)) = view.bed.blocks.get(i) else { continue };
            held = true;
            let parameter = Parameter::ALL[usize::from(key)];
            let other = Parameter::ALL.get(usize::from(slot.partner)).copied();
            let mean = f64::from(slot.mean);
            let reference = other.and_then(|p| view.bed.blocks.slot(p as u8)).and_then(|s| view.bed.blocks.get(s)).map_or(1.0, |(_, b)| b.mean);
            let usual = slot.own.mean().map_or(mean, f64::exp) * reference;
            let verdict = Verdict {
                log10_e: slot.detector.log10_e(),
                value: Some(mean / usual),
                limit: Some(1.0),
                window_s: view.now.since_s(slot.detector.since()),
                text: if other.is_some() { "partner" } else { "own" },
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("x", Arg::Number(mean / usual, 2)),
                    ("o", Arg::Parameter(other.unwrap_or(parameter))),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::scale_shift, ParamSet::of(parameter), slot.detector.since())
            };
            // The spread of single samples says too little to accuse.
            let speaks = slot.votes;
            out.push(if speaks { verdict } else { verdict.report_only() });
        }
        if !held && !scores.is_empty() {
            out.pass(id::scale_shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Pace;
    use crate::calibration::tests::trusted;
    use crate::check::story::Story;

    const RATES: [Parameter; 2] = [Parameter::Hr, Parameter::Pr];

    /// Seconds of a heart rate and a pulse; the pulse is multiplied by `scale` and its spread by `spread`.
    fn seconds(from: usize, n: usize, scale: f64, spread: f64) -> String {
        (from..from + n)
            .map(|i| {
                let slow = (i as f64 / 400.0).sin() * 2.0;
                let fast = f64::from((i * 37 % 11) as u32) - 5.0;
                let other = f64::from((i * 53 % 13) as u32) - 6.0;
                format!("{:.1}/{:.1} ", 70.0 + slow + 0.5 * other, scale * (70.0 + slow) + 0.5 * scale * spread * fast)
            })
            .collect()
    }

    fn calibrated() -> Story<Check> {
        use statrs::distribution::{ContinuousCDF, Normal};
        let mut scores: Vec<f64> =
            (0..10_000).map(|i| Normal::standard().inverse_cdf(0.5 + (f64::from(i) + 0.5) / 20_000.0)).collect();
        let mut s = Story::<Check>::of(&RATES);
        s.calibrations = trusted("scale_shift", Pace::Second, &mut scores);
        s
    }

    #[test]
    fn a_pulse_multiplied_by_one_and_a_quarter_is_found_and_one_that_is_only_higher_is_not() {
        let mut s = calibrated();
        assert!(!s.tell(&seconds(0, 5400, 1.0, 1.0)).contains('F'));
        let flags = s.tell(&seconds(5400, 1800, 1.25, 1.0));
        assert!(flags.contains('F'), "not found");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.text, verdict.params), ("partner", ParamSet::of(Parameter::Pr)));
        let mut s = calibrated();
        s.tell(&seconds(0, 5400, 1.0, 1.0));
        assert!(!s.tell(&seconds(5400, 1800, 1.25, 0.6)).contains('F'), "its spread has fallen");
    }

    #[test]
    fn a_number_near_zero_has_no_ratio() {
        let mut s = Story::<Check>::of(&[Parameter::Cvp]).every(60.0);
        let text: String = (0..200).map(|i| format!("{} ", i % 3 - 1)).collect();
        assert!(!s.tell(&text).contains('F'));
    }
}
