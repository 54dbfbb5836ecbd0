use super::{Arg, Assessment, Judge, Verdict, Verdicts, View, id};
use crate::observation::Observation;
use crate::stats::places::find;
use crate::stats::runs::ChangeRate;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Sensor};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that all live values of a bed stand still at once while messages go on.
    /// ## Why it matters
    /// Real sensors never stand still together. A frozen gateway, or someone who holds the last values, does that.
    /// ## How it decides
    /// For every parameter the chance q of a change per update is learned. While nothing changes, each update adds for every
    /// sensor the largest −log10(1 − q) of its parameters; J ≥ 8 from at least two sensors is a verdict. At one value a second
    /// also: four parameters still for 60 s, three for 180 s (from two sensors), two for 600 s; a pressure line counts as one.
    /// Of one sensor alone the finding stays unverified. A value at the end of its scale (SpO2 100, a zero) proves nothing and
    /// is left out; a value that appears or vanishes is a change. Cuff, temperatures, ST and counts are not live.
    /// ## Known false alerts
    /// A stable sedated patient, pacing, a gateway that holds values.
    /// ## References
    /// J ≥ 8 grouped by sensor: 0 false in 4.84 and 2.98 bed-days at 1 s and in 12.89 at 60 s; a freeze was found in 114 of 114
    /// copies, median 51 s. Two parameters still for 600 s: 0 in 8 bed-days, longest 408 s; PR 60 for 991 s is real.
    "T03" "flat_line" class=Liveness evidence=true weights=(20, 0, 60) rest=Unverified
    {
        /// Surprise of the stillness, decimal logarithm. Lower: at 6 1 and 4 false in 4.84 and 2.98 bed-days. Higher: slower.
        joint_log10: f64 = 8.0;
        /// Largest chance of a change that is believed, 1. Higher: a restless value that pauses for seconds is proof.
        chance_max: f64 = 0.5;
        /// Half-life of the learned chance, s; never less than 120 updates. Lower: a quiet minute is forgotten at once.
        half_life_s: f64 = 1800.0;
        /// A parameter takes part after so long, s; never less than 20 updates. Lower: the first guess accuses.
        warm_s: f64 = 300.0;
        /// Learning pauses above, decimal logarithm. Higher: a freeze teaches itself.
        pause_log10: f64 = 3.0;
        /// Stillness of four parameters, s. Lower: 3.2 false a bed-day at 30 s. Longest seen: 42.
        four_s: f64 = 60.0;
        /// Stillness of three parameters, s. Lower: 0.27 to 2.7 false a bed-day at 120 and 60 s. Longest seen: 164.
        three_s: f64 = 180.0;
        /// Stillness of two parameters, s. Lower: 0.6 to 0.8 false a bed-day at 300 s. Longest seen: 408.
        two_s: f64 = 600.0;
        /// Longest interval Δ for the rules in seconds, s. Higher: four values do not stand still for a minute at 1 Hz, but do at one a minute.
        simple_delta_s: f64 = 2.0;
    }
}

/// Parameters that a living sensor changes again and again.
pub(super) const LIVE: &[Parameter] = &[
    Parameter::Hr,
    Parameter::Pr,
    Parameter::Rr,
    Parameter::Awrr,
    Parameter::Spo2,
    Parameter::Etco2,
    Parameter::AbpSys,
    Parameter::AbpDia,
    Parameter::AbpMean,
    Parameter::PapSys,
    Parameter::PapDia,
    Parameter::PapMean,
    Parameter::Cvp,
    Parameter::Icp,
    Parameter::PrAbp,
    Parameter::Spo2Pre,
    Parameter::Spo2Post,
    Parameter::PerfIndex,
    Parameter::RrPleth,
    Parameter::RrVent,
    Parameter::Tcco2,
];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    rates: Vec<(Parameter, ChangeRate)>,
    /// Surprise of the present run, its first update, the parameters and sensors that took part.
    joint_log10: f64,
    since: Timestamp,
    still: ParamSet,
    run: u32,
}

impl Default for State {
    fn default() -> Self {
        State { rates: Vec::new(), joint_log10: 0.0, since: Timestamp::MIN, still: ParamSet::EMPTY, run: 0 }
    }
}

/// A value at the end of its scale can stand for an hour.
pub(super) fn is_saturated(o: &Observation) -> bool {
    o.value == 0.0 || (o.value >= 100.0 && matches!(o.parameter, Parameter::Spo2 | Parameter::Spo2Pre | Parameter::Spo2Post))
}

/// Parameters, a pressure line as one.
fn witnesses(set: ParamSet) -> usize {
    let mut lines = 0u32;
    let mut count = 0;
    for p in set.iter() {
        if matches!(p.sensor(), Sensor::ArterialLine | Sensor::PulmonaryLine) && p != Parameter::PrAbp {
            lines |= 1 << p.sensor() as u8;
        } else {
            count += 1;
        }
    }
    count + lines.count_ones() as usize
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.rates, |(_, rate)| u64::from(rate.seen()))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        let live = ParamSet::from_slice(LIVE);
        let fresh = view.fresh_set();
        let delta_s = view.bed.delta_s().unwrap_or(1.0).max(0.05);
        let half_life = (self.half_life_s / delta_s).max(120.0);
        let warm = (self.warm_s / delta_s).max(20.0);
        // A sender may leave out the row of a value that it does not have.
        let gap_s = (3.0 * delta_s).max(1.0) + 0.5;
        let paused = state.joint_log10 > self.pause_log10;
        let mut changed = false;
        let mut updated = ParamSet::EMPTY;
        let mut surprise = [0.0f64; 16];
        let mut next = 0;
        for p in fresh.iter().filter(|p| live.contains(*p)) {
            let (Some(o), Some(stream)) = (view.fresh(p), view.bed.stream(p)) else {
                changed = true;
                continue;
            };
            // A value that comes back after a mark or a gap is a change of the bed, and no update of the value.
            let (Some(latest), None) = (stream.latest, stream.absent) else {
                changed = true;
                continue;
            };
            if view.now.since_s(latest.received_at) > gap_s {
                changed = true;
                continue;
            }
            let moved = latest.value != o.value;
            changed |= moved;
            let position = find(&state.rates, &mut next, |r| r.0 == p).unwrap_or_else(|| {
                state.rates.push((p, ChangeRate::default()));
                state.rates.len() - 1
            });
            let rate = &mut state.rates[position].1;
            if !is_saturated(o) {
                if f64::from(rate.seen()) >= warm {
                    let sensor = &mut surprise[p.sensor() as usize];
                    *sensor = sensor.max(rate.surprise(self.chance_max));
                }
                updated = updated.with(p);
            }
            if paused {
                rate.count_run(moved);
            } else {
                rate.push(moved, half_life);
            }
        }
        // A row that lost its value since the last message.
        changed |= report.observations.iter().any(|o| {
            live.contains(o.parameter)
                && (!o.validity.usable() || view.profile.is_sentinel(o.parameter, o.value))
                && view.bed.channel(o.parameter, o.channel).is_some_and(|s| s.absent.is_none() && s.latest.is_some())
        });
        changed |= state.still.minus(fresh).iter().any(|p| {
            let latest = view.bed.stream(p).and_then(|s| s.latest);
            latest.is_none_or(|latest| view.now.since_s(latest.received_at) > gap_s)
        });
        if changed {
            (state.joint_log10, state.run, state.still) = (0.0, 0, ParamSet::EMPTY);
            if fresh.intersects(live) {
                out.pass(id::flat_line);
            }
            return;
        }
        if updated.is_empty() {
            return;
        }
        if state.run == 0 {
            state.since = view.now;
        }
        state.run = state.run.saturating_add(1);
        state.joint_log10 += surprise.iter().sum::<f64>();
        state.still = state.still.union(updated);
        if !view.profile.usable(view.bed.epoch_at, view.now) {
            return;
        }
        let still_s = view.now.since_s(state.since);
        let sensors = state.still.sensors();
        let joint = state.joint_log10 >= self.joint_log10 && sensors >= 2;
        let simple_s = match (witnesses(state.still), sensors) {
            (4.., 2..) => self.four_s,
            (3, 2..) => self.three_s,
            (2.., _) => self.two_s,
            _ => f64::INFINITY,
        };
        let simple = delta_s <= self.simple_delta_s && still_s >= simple_s;
        if !joint && !simple {
            out.pass(id::flat_line);
            return;
        }
        let (value, limit, unit, text) =
            if joint { (state.joint_log10, self.joint_log10, "{log10}", "joint") } else { (still_s, simple_s, "s", "simple") };
        out.push(Verdict {
            assessment: (sensors < 2).then_some(Assessment::Unverified),
            log10_e: if sensors < 2 { 2.0 } else { state.joint_log10.clamp(2.0, 15.0) },
            value: Some(value),
            limit: Some(limit),
            unit,
            window_s: still_s,
            text,
            args: [("t", Arg::Time(state.since)), ("s", Arg::Number(still_s, 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::flat_line, state.still, state.since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const FOUR: [Parameter; 4] = [Parameter::Pr, Parameter::Spo2, Parameter::Awrr, Parameter::Etco2];

    /// Values of a living patient: a pulse that changes every third second, breaths every fifth.
    fn alive(seconds: u32) -> String {
        let mut text = String::new();
        for i in 0..seconds {
            let (pulse, breath) = (i / 3, i / 5);
            text += &format!("{}/{}/{}/{} ", 68 + pulse * 7 % 5, 95 + i / 11 % 3, 14 + breath * 3 % 4, 34 + breath * 5 % 6);
        }
        text
    }

    #[test]
    fn a_freeze_of_two_sensors_is_found_by_its_surprise() {
        let mut s = Story::<Check>::of(&FOUR);
        assert!(!s.tell(&alive(600)).contains('F'));
        assert_eq!(s.tell("70/96/15/35 70/96/15/35x25 70/96/15/35x10"), "PPF");
        let verdict = s.found.clone().unwrap();
        assert_eq!((verdict.text, verdict.assessment, verdict.params.sensors()), ("joint", None, 2));
        assert!(verdict.value.unwrap() >= 8.0 && verdict.log10_e >= 8.0);
        assert_eq!(s.tell("71/96/15/35"), "P", "one change ends it");
    }

    #[test]
    fn four_values_may_stand_59_s_and_not_61() {
        let mut s = Story::<Check>::of(&FOUR);
        assert_eq!(s.tell("70/96/15/35x20 71/96/15/35 71/96/15/35x59 71/96/15/35x3"), "PPPF");
        assert_eq!(s.found.unwrap().text, "simple");
    }

    #[test]
    fn a_constant_pulse_of_a_paced_heart_alone_is_none() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "61x20 60x991"), "PP");
        assert_eq!(story::<Check>(&[Parameter::Pr, Parameter::Spo2], "61/100x20 60/100x991"), "PP", "a full scale is no witness");
    }

    #[test]
    fn a_saturation_of_100_for_50_minutes_is_none() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        for minute in 0..50 {
            assert_eq!(s.tell(&format!("{}/100x60", 60 + minute % 3)), "P");
        }
    }

    #[test]
    fn a_lone_probe_that_stands_for_ten_minutes_stays_unverified() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        assert_eq!(s.tell("70/96x20 71/96 71/96x599 71/96x3"), "PPPF");
        assert_eq!(s.found.unwrap().assessment, Some(Assessment::Unverified));
    }

    #[test]
    fn cuff_and_temperature_are_not_live() {
        assert_eq!(story::<Check>(&[Parameter::NibpSys, Parameter::NibpMean, Parameter::NibpDia, Parameter::Temp], "120/90/70/36.8x900"), ".");
    }

    #[test]
    fn one_pressure_line_counts_once() {
        assert_eq!(story::<Check>(&[Parameter::PapSys, Parameter::PapMean, Parameter::PapDia], "30/20/12x20 31/20/12x900"), "PP");
    }

    #[test]
    fn a_learned_profile_accuses_after_half_an_hour() {
        let mut s = Story::<Check>::of(&FOUR);
        s.profile.reviewed = false;
        assert_eq!(s.tell("70/96/15/35x300"), ".");
        s.tell(&alive(1600));
        assert_eq!(s.tell("70/96/15/35x70"), "F");
    }

    #[test]
    fn a_value_that_vanishes_is_a_change() {
        let mut s = Story::<Check>::of(&FOUR);
        assert_eq!(s.tell("70/96/15/35x50 -/-/15/35 -/-/15/35x8 70/96/15/35 70/96/15/35x50"), "PPPPP");
        let mut s = Story::<Check>::of(&FOUR);
        assert_eq!(s.tell("70/96/15/35x50 _/_/15/35x8 70/96/15/35 70/96/15/35x55"), "PPPP");
    }
}
