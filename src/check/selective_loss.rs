use super::{Arg, Assessment, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::ObsFlags;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Asks whether values vanish just when they are abnormal.
    /// ## Why it matters
    /// Someone who hides a deterioration may drop the values that would show it; each single loss looks like a loose sensor.
    /// ## How it decides
    /// In blocks of a minute: was the parameter's last value outside its limits (those sent with it, else usual ones), and is it
    /// gone in the next minute while the device still sends? If losses had nothing to do with the value, each would meet an
    /// abnormal minute as often as such minutes are. Every loss is a bet against that: it multiplies by 0.8 over that share if the
    /// minute was abnormal, by 0.2 over the rest if not. R = (R + 1)·e; R ≥ 100 is a verdict, until it falls below 10. It bets only
    /// after 60 minutes of values, and a share below 5 % counts as 5 %. Reported to the engineers, evidence for nothing.
    /// ## Known false alerts
    /// A patient who gets worse is touched, and sensors come off.
    /// ## References
    /// Shin, Ramdas and Rinaldo 2024 (Shiryaev–Roberts e-detector; average run length at least 100 losses); Shafer 2021 (bets as
    /// evidence). In the benchmark 0 in 48.6 bed-days of clean recordings (at most 0.62 in ten), and 0 of 14 suppressions of abnormal
    /// values on recordings, 0 of 27 on invented patients.
    "M05" "selective_loss" class=Liveness evidence=false weights=(20, 10, 50) rest=Unverified
    {
        /// Evidence for a verdict, 1. Lower: two losses in a row alert. Higher: slower. The design's common limit.
        evidence: f64 = 100.0;
        /// Evidence below which it is over, 1. Higher: it comes and goes. The square root of the limit.
        over: f64 = 10.0;
        /// Share of losses in abnormal minutes on which is bet, 1. Lower: weaker bets. Higher: one loss in a normal minute ruins the bet. Design choice.
        bet: f64 = 0.8;
        /// Least share of abnormal minutes, 1. Lower: one loss after the first abnormal minute is proof. Design choice.
        share_min: f64 = 0.05;
        /// Minutes of values before the first bet, count. Lower: the share is a guess. Higher: later. Design choice.
        learn_blocks: f64 = 60.0;
        /// Length of a block, s; never less than an interval of the messages. Lower: blocks depend on each other. Design choice.
        block_s: f64 = 60.0;
        /// Evidence is forgotten after so long without a loss, s. Higher: it stays on the list for days. Design choice.
        forget_s: f64 = 86_400.0;
    }
}

/// Parameters that are followed, and limits of an adult for those whose limits are not sent.
const FOLLOWED: [(Parameter, f64, f64); 10] = [
    (Parameter::Hr, 50.0, 120.0),
    (Parameter::Pr, 50.0, 120.0),
    (Parameter::Spo2, 90.0, f64::NAN),
    (Parameter::Rr, f64::NAN, f64::NAN),
    (Parameter::Awrr, f64::NAN, f64::NAN),
    (Parameter::Etco2, f64::NAN, f64::NAN),
    (Parameter::AbpSys, f64::NAN, f64::NAN),
    (Parameter::AbpMean, f64::NAN, f64::NAN),
    (Parameter::AbpDia, f64::NAN, f64::NAN),
    (Parameter::PapMean, f64::NAN, f64::NAN),
];

/// What is known of one parameter.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Track {
    /// Blocks with a value that were followed by another block: inside the limits, and outside.
    inside: u32,
    outside: u32,
    /// Of the block before: a value, and whether its last one was outside.
    before: Option<bool>,
    /// Of this block.
    here: Option<bool>,
    evidence: f64,
    lost_at: Timestamp,
    since: Timestamp,
    losses: u16,
    in_abnormal: u16,
    holds: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    tracks: [Track; FOLLOWED.len()],
    block: Option<Timestamp>,
    heard_at: Timestamp,
}

impl Check {
    /// A block is over: learn, and bet where a value was lost.
    fn close(&self, track: &mut Track, now: Timestamp) {
        let (before, here) = (track.before, track.here.take());
        track.before = here;
        if track.evidence > 0.0 && now.since_s(track.lost_at) > self.forget_s {
            (track.evidence, track.losses, track.in_abnormal) = (0.0, 0, 0);
        }
        let Some(abnormal) = before else { return };
        let seen = track.inside + track.outside;
        if here.is_none() && f64::from(seen) >= self.learn_blocks {
            // The share is that of the blocks before: the bet is placed before the loss is seen.
            let share = (f64::from(track.outside) + 1.0) / (f64::from(seen) + 2.0);
            let share = share.clamp(self.share_min, 1.0);
            if share < self.bet {
                let e = if abnormal { self.bet / share } else { (1.0 - self.bet) / (1.0 - share) };
                if track.evidence < 1.0 {
                    (track.since, track.losses, track.in_abnormal) = (now, 0, 0);
                }
                track.evidence = ((track.evidence + 1.0) * e).min(1e12);
                track.losses = track.losses.saturating_add(1);
                track.in_abnormal = track.in_abnormal.saturating_add(u16::from(abnormal));
                track.lost_at = now;
            }
        }
        let count = if abnormal { &mut track.outside } else { &mut track.inside };
        *count = count.saturating_add(1);
        if track.inside + track.outside > 4 * 1440 {
            (track.inside, track.outside) = (track.inside / 2, track.outside / 2);
        }
    }
}

/// Whether a value lies outside its limits; `None` where there are none.
fn is_outside(view: &View<'_>, at: usize) -> Option<bool> {
    let (parameter, low, high) = FOLLOWED[at];
    let o = view.fresh(parameter)?;
    if o.flags.has(ObsFlags::IN_ALARM) {
        return Some(true);
    }
    let sent = view.bed.stream(parameter).map_or((f64::NAN, f64::NAN), |s| s.limits);
    let known = |limits: &(f64, f64)| limits.0.is_finite() || limits.1.is_finite();
    let soft = || view.population.soft(parameter, view.bed.age).map(|soft| (soft.low, soft.high));
    let (low, high) = [o.limits, sent, (low, high)].into_iter().find(known).or_else(soft)?;
    Some(o.value < low || o.value > high)
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none_or(|r| r.observations.is_empty()) || !view.clock.is_live() {
            return;
        }
        let delta_s = view.bed.delta_s().unwrap_or(1.0);
        let block_s = self.block_s.max(delta_s);
        // After a silence of the device nothing is known of what came before.
        let silence = view.now.since_s(state.heard_at) > (5.0 * delta_s).max(60.0) || view.now < state.heard_at;
        state.heard_at = view.now;
        let started = *state.block.get_or_insert(view.now);
        if silence {
            state.block = Some(view.now);
            for track in &mut state.tracks {
                (track.before, track.here) = (None, None);
            }
        } else if view.now.since_s(started) >= block_s {
            state.block = Some(view.now);
            let mut found = false;
            for (track, (parameter, _, _)) in state.tracks.iter_mut().zip(FOLLOWED) {
                self.close(track, view.now);
                track.holds = track.evidence >= if track.holds { self.over } else { self.evidence };
                if !track.holds {
                    continue;
                }
                found = true;
                out.push(Verdict {
                    log10_e: track.evidence.log10(),
                    assessment: Some(Assessment::Unverified),
                    priority: Some(Priority::Info),
                    value: Some(track.evidence),
                    limit: Some(self.evidence),
                    window_s: view.now.since_s(track.since),
                    args: [
                        ("p", Arg::Parameter(parameter)),
                        ("n", Arg::Number(f64::from(track.in_abnormal), 0)),
                        ("m", Arg::Number(f64::from(track.losses), 0)),
                        (
                            "s",
                            Arg::Number(100.0 * f64::from(track.outside) / f64::from((track.inside + track.outside).max(1)), 0),
                        ),
                        view.bed_arg(),
                    ]
                    .into_iter()
                    .collect(),
                    ..Verdict::new(id::selective_loss, ParamSet::of(parameter), track.since)
                });
            }
            let ready = |t: &Track| f64::from(t.inside + t.outside) >= self.learn_blocks;
            if !found && state.tracks.iter().any(ready) {
                out.pass(id::selective_loss);
            }
        }
        for at in 0..FOLLOWED.len() {
            if let Some(outside) = is_outside(view, at) {
                state.tracks[at].here = Some(outside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    /// A bed with one value a minute: an hour of good saturations first.
    fn bed(first: &str) -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Spo2, Parameter::Hr]).every(60.0);
        s.tell(first);
        s
    }

    #[test]
    fn losses_that_meet_abnormal_minutes_only_are_found_at_the_second() {
        // Few minutes were abnormal, which counts as 5 %: 0.8 over it is 16, (16 + 1) · 16 is 272.
        let mut s = bed("97/72x70");
        assert_eq!(s.tell("85/72 _/72 _/72 97/72x3"), "PPPP", "one loss");
        assert_eq!(s.tell("85/72 _/72 _/72"), "PPF", "a block is closed by the message after it");
        let verdict = s.found.clone().unwrap();
        assert!(verdict.value.unwrap() > 200.0 && verdict.log10_e > 2.3);
        assert_eq!((verdict.assessment, verdict.priority), (Some(Assessment::Unverified), Some(Priority::Info)));
        assert!(!verdict.check.meta().evidence, "reported, never evidence");
    }

    #[test]
    fn losses_in_normal_minutes_say_the_opposite() {
        let mut s = bed("97/72x70");
        for _ in 0..20 {
            s.tell("97/72x3 _/72 _/72 97/72");
        }
        assert!(s.found.is_none());
        assert!(s.tell("85/72 _/72 _/72 97/72x3").ends_with('P'));
    }

    #[test]
    fn losses_that_do_not_care_about_the_value_are_none() {
        // Every third minute abnormal, every loss after a normal or an abnormal one in turn as often as they come.
        let mut s = bed("97/72 97/72 85/72");
        for _ in 0..40 {
            s.tell("97/72 97/72 85/72");
        }
        for _ in 0..30 {
            s.tell("97/72 _/72 97/72 97/72 _/72 97/72 85/72 _/72 97/72 97/72 85/72");
        }
        assert!(s.found.is_none());
    }

    #[test]
    fn nothing_is_bet_within_the_first_hour_nor_on_a_silence_of_the_device() {
        let mut s = bed("97/72x50");
        assert_eq!(s.tell("85/72 _/72x2 85/72 _/72x2"), "....");
        let mut s = bed("97/72x70");
        for _ in 0..9 {
            s.tell("85/72 ~x20 97/72x3");
        }
        assert!(s.found.is_none());
    }

    #[test]
    fn evidence_is_forgotten_after_a_day() {
        let mut s = bed("97/72x70");
        s.tell("85/72 _/72x2 97/72x3 85/72 _/72x2");
        assert!(s.found.take().is_some());
        assert_eq!(s.tell("97/72x1430 97/72x20"), "FP");
    }

    #[test]
    fn a_parameter_without_limits_is_not_followed() {
        let mut s = Story::<Check>::of(&[Parameter::PapMean]).every(60.0);
        s.tell("20x200 60 _ _ 20x3 60 _ _ 20");
        assert!(s.found.is_none());
    }
}
