use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::Validity;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that a cuff which measured at a regular interval does so no more.
    /// ## Why it matters
    /// Between two cuff pressures nobody misses the next one.
    /// ## How it decides
    /// The cycle is the median of the last eight intervals, once at least four are known and three of four of them lie within
    /// 10 % of it (at least 30 s). No new pressure for more than three cycles while the monitor sends is a verdict. A cuff that is
    /// used by hand has no cycle and is never missed; a parameter that was switched off is none.
    /// ## Known false alerts
    /// The cuff is paused, or its interval was made longer.
    /// ## References
    /// Cycles of 5, 10 and 15 min are visible in 17, 20 and 10 % of the successive drop-outs of oximeters on the cuff's arm.
    /// Findings: 73 in 564 and 30 in 324 bed-days of charted pressures, 2 in 32 h of one monitored patient.
    "M08" "nbp_overdue" class=Liveness evidence=false weights=(85, 0, 0) rest=Silence
    {
        /// Cycles missing, count. Lower: one failed inflation alerts. Higher: later. Design choice.
        cycles: f64 = 3.0;
        /// Intervals around the cycle, share of it, 1. Lower: repeated inflations spoil the cycle. Higher: a cuff used by hand has one. Design choice.
        regular_share: f64 = 0.1;
        /// And at least, s. Lower: a cycle of one minute is never regular. Design choice.
        regular_s: f64 = 30.0;
        /// Intervals that must be known, count (at most 8). Lower: a chance is a cycle. Higher: it is told only after hours. Design choice.
        needed: f64 = 4.0;
        /// From then on beyond the limit no longer measured, s. Lower: a cuff that came off is forgotten. Higher: a mark stays for long.
        forget_s: f64 = 14_400.0;
    }
}

const KEPT: usize = 8;
const CUFF: [Parameter; 3] = [Parameter::NibpSys, Parameter::NibpMean, Parameter::NibpDia];
/// Numbers of one inflation come within so many seconds.
const TOGETHER_S: f64 = 20.0;
/// Longer intervals are a pause, not a cycle.
const CYCLE_MAX_S: f64 = 4.5 * 3600.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    intervals_s: [f32; KEPT],
    count: u32,
    /// Own and receive time of the last pressure.
    last: Option<(Timestamp, Timestamp)>,
    cycle_s: Option<f32>,
}

impl State {
    fn push(&mut self, interval_s: f64, check: &Check) {
        self.intervals_s[self.count as usize % KEPT] = interval_s as f32;
        self.count = self.count.checked_add(1).unwrap_or(KEPT as u32);
        let known = (self.count as usize).min(KEPT);
        let mut sorted = self.intervals_s;
        sorted[..known].sort_unstable_by(f32::total_cmp);
        let median = sorted[(known - 1) / 2];
        let around = (check.regular_share * f64::from(median)).max(check.regular_s) as f32;
        let near = sorted[..known].iter().filter(|i| (**i - median).abs() <= around).count();
        let regular = known as f64 >= check.needed.clamp(1.0, KEPT as f64) && 4 * near >= 3 * known;
        self.cycle_s = regular.then_some(median);
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report.filter(|_| view.clock.is_live()) else { return };
        if let Some(o) = CUFF.into_iter().find_map(|p| view.fresh(p)) {
            let interval_s = state.last.map(|(own, _)| o.effective_at.since_s(own));
            match interval_s {
                Some(s) if s.abs() < TOGETHER_S => {}
                Some(s) if (TOGETHER_S..=CYCLE_MAX_S).contains(&s) => state.push(s, self),
                _ => {}
            }
            state.last = Some((o.effective_at, view.now));
            out.pass(id::nbp_overdue);
            return;
        }
        let (Some((_, since)), Some(cycle_s)) = (state.last, state.cycle_s) else { return };
        if report.observations.is_empty() {
            return;
        }
        let off = |p: Parameter| view.bed.stream(p).is_some_and(|s| s.absent == Some(Validity::SwitchedOff));
        let missing_s = view.now.since_s(since);
        let limit_s = self.cycles * f64::from(cycle_s);
        if missing_s <= limit_s || missing_s > limit_s + self.forget_s || CUFF.into_iter().any(off) {
            out.pass(id::nbp_overdue);
            return;
        }
        out.push(Verdict {
            value: Some(missing_s),
            limit: Some(limit_s),
            unit: "s",
            window_s: missing_s,
            args: [
                ("t", Arg::Time(since)),
                ("n", Arg::Number((f64::from(cycle_s) / 60.0).round().max(1.0), 0)),
                ("m", Arg::Number((missing_s / 60.0).floor(), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::nbp_overdue, ParamSet::from_slice(&CUFF), since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    const ROWS: [Parameter; 4] = [Parameter::Hr, Parameter::NibpSys, Parameter::NibpMean, Parameter::NibpDia];

    /// A cuff every five minutes, one message a second; each pressure after `gaps_s`.
    fn measured(gaps_s: &[u32]) -> Story<Check> {
        let mut s = Story::<Check>::of(&ROWS);
        s.tell("72/120/90/75");
        for gap in gaps_s {
            s.tell(&format!("72/_/_/_x{} 72/118/88/74", gap - 1));
        }
        s
    }

    #[test]
    fn three_cycles_without_a_pressure_are_none_and_a_second_more_is_found() {
        let mut s = measured(&[300; 4]);
        assert_eq!(s.tell("72/_/_/_x900 72/_/_/_ 72/121/91/76"), "PFP");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit), (Some(901.0), Some(900.0)));
    }

    #[test]
    fn three_intervals_are_no_cycle_yet() {
        assert_eq!(measured(&[300; 3]).tell("72/_/_/_x4000"), ".");
    }

    #[test]
    fn a_failed_inflation_and_its_repetition_leave_the_cycle() {
        let mut s = measured(&[300, 300, 45, 300, 300, 600, 300, 300]);
        assert_eq!(s.tell("72/_/_/_x900 72/_/_/_"), "PF");
    }

    #[test]
    fn a_cuff_that_is_used_by_hand_is_never_missed() {
        assert_eq!(measured(&[300, 900, 1700, 420, 2500, 700, 3300, 1300]).tell("72/_/_/_x20000"), ".");
    }

    #[test]
    fn a_cycle_of_15_min_needs_45() {
        let mut s = measured(&[900; 5]);
        assert_eq!(s.tell("72/-/-/-x2700 72/-/-/-"), "PF", "marks are no pressure");
    }

    #[test]
    fn silence_of_the_monitor_is_not_the_cuffs_and_what_stays_away_is_forgotten() {
        let mut s = measured(&[300; 4]);
        assert_eq!(s.tell("~x2000"), ".");
        let mut s = measured(&[300; 4]);
        assert_eq!(s.tell("72/_/_/_x15300 72/_/_/_"), "FP");
    }
}
