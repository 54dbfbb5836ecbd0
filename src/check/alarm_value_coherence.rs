use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::observation::{Alarm, AlarmKind, AlarmPhase, MessageKind, ObsFlags, Observation};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Sensor};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the bedside monitor's alarms with its own values and limits (OBX-7): a value outside without an alarm, an alarm
    /// without a value outside.
    /// ## Why it matters
    /// An alarm that does not come is missed by everybody who relies on it; alarms without a cause teach people to ignore them.
    /// Both are what an intruder between monitor and central can do, and neither shows in the values.
    /// ## How it decides
    /// Every new value of a parameter lies outside the limits that were sent (with it, or last) for more than 60 s: the longest
    /// alarm delay of 30 s and 30 s more. No alarm of this parameter (for a pressure: of its line) came from a minute before
    /// on, and alarming is not paused. Or an alarm of a parameter that has no other alarms than limit alarms goes on for more
    /// than 60 s, and no value was outside from a minute before it on, in a feed with a value every 10 s at least. Only a bed
    /// whose feed once said an alarm that fitted its limits is held to it: many feeds carry limits and no alarms. Whatever is
    /// found, alarms are never raised, changed or held back here.
    /// ## Known false alerts
    /// A pause that the feed does not tell, a longer delay, limits of another kind than those sent, latched alarms.
    /// ## References
    /// Philips: SpO2 alarm delay of up to 30 s, technical alarms held up to 60 s during a cuff measurement. IHE PCD ACM (ORU^R40).
    "P11" "alarm_value_coherence" class=Coherence evidence=true weights=(25, 15, 45) rest=Unverified
    {
        /// Longest delay of an alarm, s. Lower: a delay that was set is told. Philips manual.
        delay_s: f64 = 30.0;
        /// Allowed beyond it, s. Lower: the way of the message counts. Design choice.
        slack_s: f64 = 30.0;
        /// A pause that is not said again is over after, s. Lower: a long pause is told. Higher: alarms that were switched off hide. Design choice.
        pause_s: f64 = 900.0;
        /// A technical alarm excuses its parameter for, s. Lower: a cuff on the arm of the probe is told. Philips manual: held up to 60 s.
        technical_s: f64 = 60.0;
        /// An alarm without a value that is not said again is over after, s. Lower: a sender that says its alarms once is not judged. Design choice.
        forget_s: f64 = 600.0;
        /// For an alarm without a value the values must come at least every, s. Higher: what happened between two values is not seen. Design choice.
        interval_s: f64 = 10.0;
    }
}

/// Parameters that are followed; further ones are not.
const TRACKS_MAX: usize = 16;

/// Their alarms tell of limits alone: rhythm, apnoea and pulse loss have alarms of other kinds.
fn only_limit_alarms(parameter: Parameter) -> bool {
    use Parameter::{Awrr, Hr, Pr, PrAbp, PrNibp, Pvc, Rr, RrPleth, RrVent};
    !matches!(parameter, Hr | Pr | PrAbp | PrNibp | Pvc | Rr | RrPleth | RrVent | Awrr)
}

/// Whether an alarm of one parameter speaks for another: a line alarms by one of its pressures.
fn speaks_for(alarm: Parameter, parameter: Parameter) -> bool {
    let line = matches!(alarm.sensor(), Sensor::ArterialLine | Sensor::PulmonaryLine | Sensor::Cuff);
    alarm == parameter || (line && alarm.sensor() == parameter.sensor())
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Track {
    parameter: Parameter,
    /// Since when every value is outside (`MAX`: it is not), how many were, and when one last was.
    outside_since: Timestamp,
    values: u32,
    outside_at: Timestamp,
    /// An alarm answered this stay outside.
    answered: bool,
    /// The alarm: since when, last said, still on, said by OBX-8.
    alarm_since: Timestamp,
    alarm_at: Timestamp,
    on: bool,
    flagged: bool,
    /// Paused or technically excused until.
    excused_until: Timestamp,
}

impl Track {
    fn new(parameter: Parameter) -> Track {
        Track {
            parameter,
            outside_since: Timestamp::MAX,
            values: 0,
            outside_at: Timestamp::MIN,
            answered: false,
            alarm_since: Timestamp::MIN,
            alarm_at: Timestamp::MIN,
            on: false,
            flagged: false,
            excused_until: Timestamp::MIN,
        }
    }
    fn alarms(&mut self, now: Timestamp) {
        if !self.on {
            (self.on, self.alarm_since) = (true, now);
        }
        self.alarm_at = now;
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    tracks: Vec<Track>,
    /// Alarms that fitted a value outside its limits.
    fitting: u32,
    /// When an alarm of no known parameter was last heard, and until when all alarms are paused.
    unknown_at: Timestamp,
    paused_until: Timestamp,
}

impl State {
    /// What stays when the patient changes.
    pub(super) fn of_sender(&self) -> State {
        State { fitting: self.fitting, ..State::default() }
    }

    fn track(&mut self, parameter: Parameter) -> Option<&mut Track> {
        let position = match self.tracks.iter().position(|t| t.parameter == parameter) {
            Some(position) => position,
            None if self.tracks.len() < TRACKS_MAX => {
                self.tracks.push(Track::new(parameter));
                self.tracks.len() - 1
            }
            None => return None,
        };
        self.tracks.get_mut(position)
    }
}

impl Check {
    fn wait_s(&self) -> f64 {
        self.delay_s + self.slack_s
    }

    fn hear_alarm(&self, state: &mut State, alarm: &Alarm, now: Timestamp) {
        let Some(parameter) = alarm.parameter else {
            if alarm.inactivated {
                state.paused_until = now.plus_s(self.pause_s);
            } else if alarm.kind != AlarmKind::Technical {
                state.unknown_at = now;
            }
            return;
        };
        let (pause_s, technical_s) = (self.pause_s, self.technical_s);
        let Some(track) = state.track(parameter) else { return };
        match () {
            () if alarm.kind == AlarmKind::Technical => track.excused_until = track.excused_until.max(now.plus_s(technical_s)),
            () if alarm.inactivated => {
                track.excused_until = track.excused_until.max(now.plus_s(pause_s));
                track.alarm_at = now;
            }
            () if alarm.phase == AlarmPhase::End => (track.on, track.alarm_at) = (false, now),
            () => {
                track.alarms(now);
                track.flagged = false;
            }
        }
    }

    fn hear_row(&self, state: &mut State, o: &Observation, now: Timestamp) {
        let (alarm, paused) = (o.flags.has(ObsFlags::IN_ALARM), o.flags.has(ObsFlags::ALARM_INHIBITED));
        if !alarm && !paused && !state.tracks.iter().any(|t| t.flagged && t.parameter == o.parameter) {
            return;
        }
        let pause_s = self.pause_s;
        let Some(track) = state.track(o.parameter) else { return };
        if alarm {
            track.alarms(now);
            track.flagged = true;
        } else if track.flagged {
            (track.on, track.flagged) = (false, false);
        }
        if paused {
            track.excused_until = track.excused_until.max(now.plus_s(pause_s));
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
        for alarm in &report.alarms {
            self.hear_alarm(state, alarm, now);
        }
        for o in &report.observations {
            self.hear_row(state, o, now);
        }
        let mut looked = false;
        let wait_s = self.wait_s();
        for parameter in view.fresh_set().iter() {
            let (Some(o), stream) = (view.fresh(parameter), view.bed.stream(parameter)) else { continue };
            let sent = o.limits.0.is_finite() || o.limits.1.is_finite();
            let known = stream.filter(|s| s.channel == o.channel).map(|s| s.limits);
            let Some((low, high)) = (if sent { Some(o.limits) } else { known }) else { continue };
            if !(low.is_finite() || high.is_finite()) || low >= high {
                continue;
            }
            let (below, above) = (o.value < low, o.value > high);
            if !(below || above || state.tracks.iter().any(|t| t.parameter == parameter)) {
                looked |= state.fitting > 0;
                continue;
            }
            let gap_s = stream.and_then(|s| s.delta_s()).map_or(wait_s, |delta| (5.0 * delta).max(wait_s));
            let speaking = state.tracks.iter().filter(|t| speaks_for(t.parameter, parameter));
            let (on, over_at) = speaking.fold((false, Timestamp::MIN), |(on, at), t| (on || t.on, at.max(t.alarm_at)));
            let (paused_until, unknown_at, fitting) = (state.paused_until, state.unknown_at, state.fitting);
            let Some(track) = state.track(parameter) else { continue };
            let excused = now < track.excused_until.max(paused_until);
            looked |= fitting > 0;
            if below || above {
                if track.outside_since == Timestamp::MAX || now.since_s(track.outside_at) > gap_s || excused {
                    (track.outside_since, track.values, track.answered) = (now, 0, false);
                }
                (track.values, track.outside_at) = (track.values.saturating_add(1), now);
                // An alarm answers for as long as it is on; one that ended, for its delay.
                let since = track.outside_since.max(over_at);
                if on || unknown_at >= track.outside_since.plus_s(-wait_s) {
                    let fits = on && !track.answered;
                    track.answered |= on;
                    state.fitting = fitting.saturating_add(u32::from(fits));
                    continue;
                }
                if fitting == 0 || track.values < 2 || now.since_s(since) <= wait_s {
                    continue;
                }
                let limit = if below { low } else { high };
                out.push(self.verdict(view, o, limit, since, if below { "below" } else { "above" }));
                continue;
            }
            track.outside_since = Timestamp::MAX;
            // What had its cause and is not said any more is over, though nobody said so.
            let stale_at = track.outside_at.max(track.alarm_at);
            track.on &= track.outside_at < track.alarm_since.plus_s(-wait_s) || now.since_s(stale_at) <= wait_s;
            let goes_on = track.on && now.since_s(track.alarm_at) <= self.forget_s && now.since_s(track.alarm_since) > wait_s;
            let unfounded = track.outside_at < track.alarm_since.plus_s(-wait_s);
            let often = stream.and_then(|s| s.delta_s()).is_some_and(|delta| delta <= self.interval_s);
            if goes_on && unfounded && often && !excused && fitting > 0 && only_limit_alarms(parameter) {
                let nearer = if o.value - low <= high - o.value || high.is_nan() { low } else { high };
                out.push(self.verdict(view, o, nearer, track.alarm_since, "no_value"));
            }
        }
        if looked && !out.list.iter().any(|v| v.check == id::alarm_value_coherence) {
            out.pass(id::alarm_value_coherence);
        }
    }
}

impl Check {
    fn verdict(&self, view: &View<'_>, o: &Observation, limit: f64, since: Timestamp, text: &'static str) -> Verdict {
        let decimals = u8::from(o.value.fract() != 0.0 || limit.fract() != 0.0);
        let minutes = view.now.since_s(since) / 60.0;
        Verdict {
            value: Some(o.value),
            limit: Some(limit),
            unit: o.parameter.unit().ucum(),
            window_s: view.now.since_s(since),
            set_id: Some(o.set_id),
            effective_at: Some(o.effective_at),
            text,
            args: [
                ("p", Arg::Parameter(o.parameter)),
                ("v", Arg::Number(o.value, decimals)),
                ("l", Arg::Number(limit, decimals)),
                ("n", Arg::Number(minutes.floor().max(1.0), 0)),
                ("t", Arg::Time(since)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::alarm_value_coherence, ParamSet::of(o.parameter), since)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::AlarmPriority;
    use crate::vital::Parameter::{AbpMean, AbpSys, Hr, Spo2};

    fn value(s: &mut Story<Check>, parameter: Parameter, value: f64, flags: u32) -> char {
        s.now = s.now.plus_s(s.step_s);
        let mut o = observation(parameter, value, s.now);
        o.limits = (90.0, 100.0);
        o.flags.set(flags);
        let report = s.report(vec![o]);
        s.send(&report)
    }

    fn values(s: &mut Story<Check>, v: f64, times: usize) -> String {
        (0..times).map(|_| value(s, Spo2, v, 0)).collect()
    }

    fn alarm(parameter: Option<Parameter>, phase: AlarmPhase) -> Alarm {
        let (kind, priority) = (AlarmKind::Physiological, AlarmPriority::High);
        Alarm { parameter, ordinal: 0, effective_at: Timestamp::MIN, phase, kind, priority, inactivated: false, key: 9 }
    }

    fn tell(s: &mut Story<Check>, alarm: Alarm) -> char {
        let mut report = s.report(vec![]);
        report.kind = MessageKind::Alarm;
        report.alarms.push(alarm);
        s.send(&report)
    }

    /// A bed of which one alarm fitted.
    fn known() -> Story<Check> {
        let mut s = Story::<Check>::of(&[]);
        values(&mut s, 95.0, 20);
        values(&mut s, 88.0, 5);
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::Start));
        assert!(!values(&mut s, 88.0, 100).contains('F'), "the alarm came");
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::End));
        assert_eq!(values(&mut s, 95.0, 120), "P".repeat(120));
        s
    }

    #[test]
    fn sixty_seconds_outside_without_an_alarm_are_a_delay_and_more_are_a_verdict() {
        let mut s = known();
        assert_eq!(values(&mut s, 89.0, 63), "P".repeat(61) + "FF");
        let found = s.found.clone().unwrap();
        assert_eq!((found.text, found.value, found.limit), ("below", Some(89.0), Some(90.0)));
        assert_eq!(value(&mut s, Spo2, 90.0, 0), 'P', "the limit itself is inside");
        assert_eq!(values(&mut s, 101.0, 62).matches('F').count(), 1);
        assert_eq!(s.found.unwrap().text, "above");
    }

    #[test]
    fn an_alarm_before_or_within_the_delay_a_pause_or_a_technical_alarm_answers_it() {
        let mut s = known();
        values(&mut s, 89.0, 40);
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::Start));
        assert!(!values(&mut s, 89.0, 600).contains('F'));
        let mut s = known();
        tell(&mut s, Alarm { inactivated: true, ..alarm(None, AlarmPhase::Start) });
        assert!(!values(&mut s, 89.0, 850).contains('F'), "paused");
        assert!(values(&mut s, 89.0, 150).contains('F'), "a pause does not last for ever");
        let mut s = known();
        assert_eq!(value(&mut s, Spo2, 89.0, ObsFlags::ALARM_INHIBITED), 'P');
        assert!(!values(&mut s, 89.0, 300).contains('F'));
        let mut s = known();
        tell(&mut s, Alarm { kind: AlarmKind::Technical, ..alarm(Some(Spo2), AlarmPhase::Start) });
        assert!(!values(&mut s, 89.0, 118).contains('F'), "60 s of hold and 60 s of delay");
        let mut s = known();
        let flags: String = (0..300).map(|_| value(&mut s, Spo2, 89.0, ObsFlags::IN_ALARM)).collect();
        assert!(!flags.contains('F'), "OBX-8 says the alarm");
    }

    #[test]
    fn an_alarm_of_another_parameter_answers_nothing_but_one_of_the_same_line_does() {
        let mut s = known();
        tell(&mut s, alarm(Some(Hr), AlarmPhase::Start));
        assert!(values(&mut s, 89.0, 70).contains('F'));
        let mut s = known();
        for _ in 0..5 {
            value(&mut s, AbpSys, 140.0, 0);
        }
        tell(&mut s, alarm(Some(AbpMean), AlarmPhase::Start));
        let flags: String = (0..200).map(|_| value(&mut s, AbpSys, 140.0, 0)).collect();
        assert!(!flags.contains('F'));
    }

    #[test]
    fn a_feed_that_never_said_an_alarm_is_not_held_to_it() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(values(&mut s, 80.0, 600), ".".repeat(600));
    }

    #[test]
    fn an_alarm_without_a_value_outside_is_a_verdict_after_a_minute() {
        let mut s = known();
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::Start));
        assert_eq!(values(&mut s, 95.0, 62), "P".repeat(60) + "FF");
        assert_eq!(s.found.clone().unwrap().text, "no_value");
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::End));
        assert_eq!(values(&mut s, 95.0, 3), "PPP");
        // A rhythm alarm needs no value outside, and a latched one had its cause.
        let mut s = known();
        tell(&mut s, alarm(Some(Hr), AlarmPhase::Start));
        assert!(!(0..200).any(|_| value(&mut s, Hr, 95.0, 0) == 'F'));
        values(&mut s, 88.0, 30);
        tell(&mut s, alarm(Some(Spo2), AlarmPhase::Start));
        assert!(!values(&mut s, 95.0, 200).contains('F'));
    }

    #[test]
    fn one_value_a_minute_is_judged_too() {
        let mut s = known().every(60.0);
        assert_eq!(values(&mut s, 89.0, 4), "PPFF");
    }
}
