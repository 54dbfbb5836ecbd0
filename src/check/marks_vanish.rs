use super::{Arg, Assessment, Judge, Priority, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the drop-outs of an oximeter, which every probe on a living hand has, have stopped.
    /// ## Why it matters
    /// Someone who plays back or invents values forgets the moments without one, above all while the cuff goes on squeezing.
    /// ## How it decides
    /// Drop-outs (no usable value for more than max(3Δ, 5 s) while the device sends) are counted per time with the probe on. With
    /// n of them in S seconds, counted half because they come in clusters, none in the T seconds since the last one has the
    /// chance (S/(S + T))^(n/2). Below 1e-4, with ten drop-outs expected and three cuff pressures in that time, it is reported to
    /// the engineers, evidence for nothing.
    /// ## Known false alerts
    /// The probe was moved to the arm without the cuff; the patient fell asleep.
    /// ## References
    /// 2.4 to 2.6 drop-outs an hour on one monitor, 12.7 on another; counts per record vary 1.6 to 1.9 times as much as by chance.
    /// The chance is the predictive distribution of a Poisson count under a gamma rate. In the benchmark 0 in 48.6 bed-days of clean
    /// recordings (at most 0.62 in ten), and 0 of 15 on recordings whose marks were filled for 10 to 60 min, 0 of 24 on invented patients.
    "M07" "marks_vanish" class=Liveness evidence=false weights=(10, 0, 40) rest=Unverified
    {
        /// Drop-outs expected in the time without, count. Lower: a quiet night alerts. Higher: later. Design choice.
        expected: f64 = 10.0;
        /// Chance of none, 1. Higher: quiet hours alert. Lower: later. Design choice.
        chance: f64 = 1e-4;
        /// How much more counts vary than by chance, 1. Lower: clusters count as proof. Measured 1.6 to 1.9.
        dispersion: f64 = 2.0;
        /// Cuff pressures in the time without, count. Lower: a probe whose cuff was taken off alerts. Design choice.
        cuffs: f64 = 3.0;
        /// Intervals without a value that are a drop-out, count. Lower: lost messages count. Design choice.
        intervals: f64 = 3.0;
        /// And at least, s. Lower: lost messages count. Design choice.
        dropout_s: f64 = 5.0;
        /// After so long without, the new rate is learned, s. Higher: a probe on the other arm stays on the list. Design choice.
        relearn_s: f64 = 86_400.0;
    }
}

/// Exposure is halved with its count from here on, s.
const LEARNED_MAX_S: f64 = 4.0 * 86_400.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Drop-outs and the time with the probe on in which they came, s.
    dropouts: f64,
    exposure_s: f64,
    /// Time with the probe on since the last one, s, and cuff pressures in it.
    since_s: f64,
    since: Timestamp,
    cuffs: u32,
    /// The last usable value, and the last message.
    value_at: Option<Timestamp>,
    heard_at: Timestamp,
    asked_at: Timestamp,
}

impl State {
    /// What was learned goes on with the time that passed since.
    fn learn(&mut self, dropouts: f64, now: Timestamp) {
        self.dropouts += dropouts;
        self.exposure_s += self.since_s;
        if self.exposure_s > LEARNED_MAX_S {
            self.dropouts /= 2.0;
            self.exposure_s /= 2.0;
        }
        (self.since_s, self.cuffs, self.since) = (0.0, 0, now);
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none_or(|r| r.observations.is_empty()) || !view.clock.is_live() {
            return;
        }
        let cuff = [Parameter::NibpMean, Parameter::NibpSys].into_iter().any(|p| view.fresh(p).is_some());
        state.cuffs = state.cuffs.saturating_add(u32::from(cuff));
        let Some(delta_s) = view.bed.stream(Parameter::Spo2).and_then(|s| s.delta_s()) else { return };
        let gap_s = (self.intervals * delta_s).max(self.dropout_s);
        let silence = view.now.since_s(state.heard_at) > gap_s || view.now < state.heard_at;
        state.heard_at = view.now;
        let there = [Parameter::Pr, Parameter::Spo2].into_iter().all(|p| {
            // A bed that sends no pulse has the saturation alone.
            view.fresh(p).is_some() || (p == Parameter::Pr && view.bed.stream(p).is_none())
        });
        if !there {
            return;
        }
        let away_s = state.value_at.map(|at| view.now.since_s(at));
        state.value_at = Some(view.now);
        match away_s {
            // The device was away, not the value.
            _ if silence => return,
            Some(s) if (0.0..=gap_s).contains(&s) => state.since_s += s,
            Some(s) if s > gap_s => {
                state.learn(1.0, view.now);
                out.pass(id::marks_vanish);
                return;
            }
            _ => state.since = view.now,
        }
        if view.now.since_s(state.asked_at).abs() < 60.0 {
            return;
        }
        state.asked_at = view.now;
        if state.since_s > self.relearn_s {
            state.learn(0.0, view.now);
        }
        if state.exposure_s <= 0.0 || state.dropouts < 1.0 {
            return;
        }
        let expected = state.dropouts / state.exposure_s * state.since_s;
        // ln of (S/(S + T))^(n/dispersion).
        let ln_chance = -(state.since_s / state.exposure_s).ln_1p() * state.dropouts / self.dispersion.max(1.0);
        let found = expected >= self.expected && ln_chance < self.chance.ln() && f64::from(state.cuffs) >= self.cuffs;
        if !found {
            out.pass(id::marks_vanish);
            return;
        }
        out.push(Verdict {
            log10_e: (-ln_chance / std::f64::consts::LN_10).min(15.0),
            assessment: Some(Assessment::Unverified),
            priority: Some(Priority::Info),
            value: Some(ln_chance.exp()),
            limit: Some(self.chance),
            window_s: state.since_s,
            args: [
                ("n", Arg::Number(expected, 0)),
                ("h", Arg::Number(state.since_s / 3600.0, 1)),
                ("r", Arg::Number(3600.0 * state.dropouts / state.exposure_s, 1)),
                ("c", Arg::Number(f64::from(state.cuffs), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::marks_vanish, ParamSet::of(Parameter::Pr).with(Parameter::Spo2), state.since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const ROWS: [Parameter; 3] = [Parameter::Pr, Parameter::Spo2, Parameter::NibpMean];

    /// `hours` with a drop-out every ten minutes (six an hour), one value every 10 s, and a cuff pressure each.
    fn usual(hours: u32) -> Story<Check> {
        let mut s = Story::<Check>::of(&ROWS).every(10.0);
        for _ in 0..6 * hours {
            s.tell("72/98/90 73/98/_x54 -/-/_x5");
        }
        s
    }

    #[test]
    fn a_probe_whose_drop_outs_stop_while_the_cuff_goes_on_is_reported_and_not_before_its_chance() {
        // 24 in 3.6 h counted half: (3.7/(3.7 + T))^12 < 1e-4 from T = 4.2 h on.
        let mut s = usual(4);
        for _ in 0..24 {
            assert!(!s.tell("72/98/90 73/98/_x59").contains('F'));
        }
        for _ in 0..4 {
            s.tell("72/98/90 73/98/_x59");
        }
        let verdict = s.found.clone().expect("found within 40 minutes more");
        assert!(verdict.value.unwrap() < 1e-4 && !verdict.check.meta().evidence);
        assert_eq!((verdict.assessment, verdict.priority), (Some(Assessment::Unverified), Some(Priority::Info)));
        assert!(s.tell("-/-/_x6 72/98/90").ends_with('P'), "one drop-out ends it");
    }

    #[test]
    fn without_the_cuff_it_may_be_another_finger() {
        let mut s = usual(4);
        s.tell("72/98/90 72/98/90 72/98/_x3000");
        assert!(s.found.is_none());
    }

    #[test]
    fn few_drop_outs_prove_little() {
        let mut s = Story::<Check>::of(&ROWS).every(10.0);
        s.tell("72/98/90x300 -/-/_x5 72/98/90x300 -/-/_x5 72/98/90x6000");
        assert!(s.found.is_none(), "two in 1.7 hours, none in 17: (1.7/18.3)^1");
    }

    #[test]
    fn a_silence_of_the_device_is_no_drop_out_and_after_a_day_the_new_rate_is_learned() {
        let mut s = Story::<Check>::of(&ROWS).every(10.0);
        for _ in 0..30 {
            s.tell("72/98/90x60 ~x20");
        }
        assert_eq!(s.state.dropouts, 0.0);
        let mut s = usual(4);
        s.tell("72/98/90x8700");
        assert!(s.found.take().is_some());
        s.tell("72/98/90x2000");
        assert!(s.found.is_none(), "a probe on the other arm");
    }
}
