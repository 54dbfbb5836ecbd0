use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{AlarmKind, AlarmPhase, MessageKind, ObsFlags};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Counts the bedside monitor's alarms that no value explains.
    /// ## Why it matters
    /// A flood of false alarms hides the true one, and people stop coming.
    /// ## How it decides
    /// More than ten alarms begin within ten minutes, more than five times the bed's own rate, while the values they name lie
    /// inside their limits (or, where none are sent, inside what the bed usually shows). An alarm that is said again within a
    /// minute is the same one. Technical and advisory alarms, paused ones and those that a value within a minute explains do
    /// not count. The own rate is learned over a day and begins at 187 alarms a bed and day. No alarm is held back here.
    /// ## Known false alerts
    /// An unstable sensor; a storm of rhythm alarms.
    /// ## References
    /// Drew 2014: 187 audible alarms a bed and day. The multiples are design choices.
    "P14" "alarm_flood" class=Coherence evidence=true weights=(50, 10, 30) rest=Unverified
    {
        /// Alarms within the window, count. Lower: a restless patient is told. Design choice.
        alarms: f64 = 10.0;
        /// And more than this multiple of the own rate, 1. Lower: busy hours are told. Design choice.
        times_usual: f64 = 5.0;
        /// Rate before one is learned, alarms a day. Higher: the first flood of a bed is not told. Drew 2014.
        usual_per_day: f64 = 187.0;
    }
}

/// Minutes of the window.
const MINUTES: usize = 10;
/// The own rate forgets with this time constant, minutes.
const USUAL_MIN: f64 = 1440.0;
/// Alarms told apart at a time; the oldest makes room.
const KEYS: usize = 16;
/// An alarm that is said again within this is the same, seconds.
const SAME_S: f64 = 60.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Unexplained alarms by minute, and the newest minute.
    minutes: [u16; MINUTES],
    minute: i64,
    /// Own rate, alarms in ten minutes; 0: not learned.
    usual: f32,
    /// Alarms heard lately.
    keys: Vec<(u32, Timestamp)>,
    /// Parameters whose rows say that they are in alarm.
    flagged: ParamSet,
}

impl State {
    fn window(&self) -> u32 {
        self.minutes.iter().map(|n| u32::from(*n)).sum()
    }

    /// Whether an alarm begins.
    fn begins(&mut self, key: u32, now: Timestamp) -> bool {
        if let Some(known) = self.keys.iter_mut().find(|(k, _)| *k == key) {
            let same = now.since_s(known.1) <= SAME_S;
            known.1 = now;
            return !same;
        }
        if self.keys.len() >= KEYS {
            let oldest = (0..KEYS).min_by_key(|i| self.keys[*i].1).unwrap_or(0);
            self.keys.swap_remove(oldest);
        }
        self.keys.push((key, now));
        true
    }
}

/// Whether a value of the last minute explains an alarm of this parameter; `None`: nothing says what would be usual.
fn explained(view: &View<'_>, parameter: Parameter) -> Option<bool> {
    let stream = view.bed.stream(parameter);
    let fresh = view.fresh(parameter);
    let sent = fresh.map(|o| o.limits).filter(|l| l.0.is_finite() || l.1.is_finite());
    let limits = sent.or_else(|| stream.map(|s| s.limits)).filter(|l| l.0.is_finite() || l.1.is_finite());
    let (low, high) = limits.or_else(|| view.bed.expected_band(parameter, None, view.now))?;
    let seen = stream.and_then(|s| s.recent.envelope(view.now.plus_s(-SAME_S)));
    let seen = match (fresh.map(|o| o.value), seen) {
        (Some(v), Some((least, most))) => (least.min(v), most.max(v)),
        (Some(v), None) => (v, v),
        (None, Some(seen)) => seen,
        (None, None) => return None,
    };
    Some(seen.0 < low || seen.1 > high)
}

impl Check {
    fn usual(&self, state: &State) -> f64 {
        if state.usual > 0.0 { f64::from(state.usual) } else { self.usual_per_day / 144.0 }
    }

    fn is_flood(&self, state: &State) -> bool {
        let window = f64::from(state.window());
        window > self.alarms && window > self.times_usual * self.usual(state)
    }

    /// Minutes that are over leave the window, and become usual unless they are a flood.
    fn roll(&self, state: &mut State, now: Timestamp) {
        let minute = now.ms().div_euclid(60_000);
        let passed = minute - state.minute;
        if state.minute == 0 || !(0..=2 * USUAL_MIN as i64).contains(&passed) {
            (state.minutes, state.minute) = ([0; MINUTES], minute);
            return;
        }
        for _ in 0..passed {
            state.minute += 1;
            let place = state.minute.rem_euclid(MINUTES as i64) as usize;
            let leaving = f64::from(state.minutes[place]) * MINUTES as f64;
            if !self.is_flood(state) {
                let usual = self.usual(state);
                // Never quite nothing: the first alarm after a quiet week is no flood.
                state.usual = (usual + (leaving - usual) / USUAL_MIN).max(0.1) as f32;
            }
            state.minutes[place] = 0;
        }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        if !matches!(report.kind, MessageKind::Vitals | MessageKind::Alarm) {
            return;
        }
        let now = view.now;
        self.roll(state, now);
        let mut began = 0u16;
        let mut params = ParamSet::EMPTY;
        let mut take = |parameter: Option<Parameter>| {
            let unexplained = parameter.is_none_or(|p| explained(view, p) == Some(false));
            began = began.saturating_add(u16::from(unexplained));
            params = parameter.filter(|_| unexplained).map_or(params, |p| params.with(p));
        };
        for alarm in &report.alarms {
            let counts = matches!(alarm.kind, AlarmKind::Physiological | AlarmKind::Unknown);
            if !counts || alarm.inactivated || alarm.phase == AlarmPhase::End {
                continue;
            }
            let key = alarm.key ^ alarm.parameter.map_or(0, |p| (p as u32 + 1).wrapping_mul(0x9E37_79B9));
            if state.begins(key, now) {
                take(alarm.parameter);
            }
        }
        for o in &report.observations {
            let in_alarm = o.flags.has(ObsFlags::IN_ALARM);
            if in_alarm && !state.flagged.contains(o.parameter) {
                state.flagged = state.flagged.with(o.parameter);
                take(Some(o.parameter));
            } else if !in_alarm && state.flagged.contains(o.parameter) {
                state.flagged = state.flagged.minus(ParamSet::of(o.parameter));
            }
        }
        let place = state.minute.rem_euclid(MINUTES as i64) as usize;
        state.minutes[place] = state.minutes[place].saturating_add(began);
        if !self.is_flood(state) {
            out.pass(id::alarm_flood);
            return;
        }
        let n = f64::from(state.window());
        let usual = self.usual(state);
        out.push(Verdict {
            value: Some(n),
            limit: Some(self.alarms.max(self.times_usual * usual)),
            unit: "{alarms}",
            window_s: MINUTES as f64 * 60.0,
            args: [("n", Arg::Number(n, 0)), ("u", Arg::Number(usual, 1)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::alarm_flood, params, now.plus_s(-(MINUTES as f64) * 60.0))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::{Alarm, AlarmPriority};
    use crate::vital::Parameter::Spo2;

    fn alarm(s: &mut Story<Check>, parameter: Option<Parameter>, key: u32, kind: AlarmKind) -> char {
        s.now = s.now.plus_s(1.0);
        let mut report = s.report(vec![]);
        report.kind = MessageKind::Alarm;
        let (phase, priority) = (AlarmPhase::Start, AlarmPriority::Medium);
        let effective_at = s.now;
        report.alarms.push(Alarm { parameter, ordinal: 0, effective_at, phase, kind, priority, inactivated: false, key });
        s.send(&report)
    }

    fn value(s: &mut Story<Check>, value: f64) -> char {
        s.now = s.now.plus_s(1.0);
        let mut o = observation(Spo2, value, s.now);
        o.limits = (90.0, 100.0);
        let report = s.report(vec![o]);
        s.send(&report)
    }

    /// So many alarms, each its own, one a second with a value before it.
    fn flood(v: f64, alarms: u32, kind: AlarmKind) -> String {
        let mut s = Story::<Check>::of(&[]);
        (0..alarms)
            .map(|key| {
                value(&mut s, v);
                alarm(&mut s, Some(Spo2), key + 100, kind)
            })
            .collect()
    }

    #[test]
    fn ten_alarms_in_ten_minutes_are_none_and_eleven_are_a_flood() {
        assert_eq!(flood(96.0, 12, AlarmKind::Physiological), "PPPPPPPPPPFF");
    }

    #[test]
    fn alarms_that_values_explain_and_technical_ones_are_none() {
        assert_eq!(flood(85.0, 30, AlarmKind::Physiological), "P".repeat(30));
        assert_eq!(flood(96.0, 30, AlarmKind::Technical), "P".repeat(30));
    }

    #[test]
    fn an_alarm_that_is_said_again_is_one_and_a_slow_trickle_is_none() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..200 {
            assert_eq!(alarm(&mut s, None, 7, AlarmKind::Unknown), 'P');
        }
        let mut s = Story::<Check>::of(&[]);
        for key in 0..200 {
            s.now = s.now.plus_s(59.0);
            assert_eq!(alarm(&mut s, None, key, AlarmKind::Unknown), 'P', "ten in ten minutes, {key}");
        }
    }

    #[test]
    fn a_bed_that_always_alarms_is_held_to_its_own_rate() {
        let mut s = Story::<Check>::of(&[]);
        // Nine in ten minutes for four days: five times that is 45.
        for key in 0..5184u32 {
            s.now = s.now.plus_s(65.0);
            alarm(&mut s, None, key, AlarmKind::Unknown);
        }
        let usual = s.check.usual(&s.state);
        assert!((8.0..9.5).contains(&usual), "{usual}");
        let flags: String = (0..40).map(|key| alarm(&mut s, None, key + 10_000, AlarmKind::Unknown)).collect();
        assert_eq!(flags.find('F'), Some((5.0 * usual) as usize - 9 + 1), "{flags}");
    }

    #[test]
    fn it_is_over_when_the_window_is() {
        let mut s = Story::<Check>::of(&[]);
        for key in 0..11 {
            alarm(&mut s, None, key, AlarmKind::Unknown);
        }
        assert_eq!(value(&mut s, 96.0), 'F');
        s.now = s.now.plus_s(600.0);
        assert_eq!(value(&mut s, 96.0), 'P');
    }
}
