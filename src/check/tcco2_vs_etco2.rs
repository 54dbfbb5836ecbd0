use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Follows the gap between the carbon dioxide of the skin and that of the breath.
    /// ## Why it matters
    /// Both follow the blood. When one drifts away alone, its sensor is coming off, or its number is not the patient's.
    /// ## How it decides
    /// From means of a minute: within 20 min the gap moved by more than 15 mmHg while the other one of the two moved by at most
    /// 5 mmHg, in two minutes in a row. The size of the gap says nothing: it is the patient's own. Breaths without carbon dioxide
    /// (below 5 mmHg) are left out.
    /// ## Known false alerts
    /// The skin sensor is moved, calibrated or heats up; a leak at the breath line; a sensor that comes off (which is what is said).
    /// ## References
    /// One recorded patient whose skin value alone fell by 18 mmHg in 20 min. No recording holds both: the rule is unmeasured.
    "A23" "tcco2_vs_etco2" class=CrossSource evidence=true weights=(85, 10, 0) rest=Unverified
    {
        /// Move of the gap, mmHg. Lower: a change of breathing alerts. Higher: a slow detachment is told late. Design choice.
        move_mmhg: f64 = 15.0;
        /// Within, s (at most 1 500). Lower: slow drift hides. Higher: true changes of the gap add up. Design choice.
        window_s: f64 = 1200.0;
        /// How far the other one may move, mmHg. Lower: nothing is ever still. Higher: true changes of both alert. Design choice.
        still_mmhg: f64 = 5.0;
        /// Minutes in a row, count. Lower: one odd minute alerts. Higher: slower. Design choice.
        hold_minutes: f64 = 2.0;
        /// Breath values below are left out, mmHg. Higher: true low values are not compared. Design choice.
        breath_mmhg: f64 = 5.0;
    }
}

const MINUTES: usize = 25;
const BLOCK_S: f64 = 60.0;

/// Means of one minute.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Minute {
    at: Timestamp,
    skin: f32,
    breath: f32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    minutes: Vec<Minute>,
    head: u8,
    /// The minute that is being gathered.
    started: Option<Timestamp>,
    skin: (f64, u32),
    breath: (f64, u32),
    run: u32,
    since: Timestamp,
}

impl State {
    fn gather(&mut self, view: &View<'_>, breath_mmhg: f64) {
        let add = |sum: &mut (f64, u32), p: Parameter, least: f64| {
            if let Some(o) = view.fresh(p).filter(|o| o.value >= least && o.value.abs() < 1e6) {
                *sum = (sum.0 + o.value, sum.1 + 1);
            }
        };
        add(&mut self.skin, Parameter::Tcco2, f64::MIN_POSITIVE);
        add(&mut self.breath, Parameter::Etco2, breath_mmhg);
    }

    /// Ends the minute; `None` where one of the two was not there.
    fn close(&mut self, at: Timestamp) -> Option<Minute> {
        let (skin, breath) = (std::mem::take(&mut self.skin), std::mem::take(&mut self.breath));
        self.started = Some(at);
        if skin.1 == 0 || breath.1 == 0 {
            return None;
        }
        let mean = |sum: (f64, u32)| (sum.0 / f64::from(sum.1)) as f32;
        Some(Minute { at, skin: mean(skin), breath: mean(breath) })
    }

    fn keep(&mut self, minute: Minute) {
        if self.minutes.len() < MINUTES {
            self.minutes.push(minute);
        } else {
            self.minutes[usize::from(self.head) % MINUTES] = minute;
            self.head = (self.head + 1) % MINUTES as u8;
        }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let either = view.fresh(Parameter::Tcco2).is_some() || view.fresh(Parameter::Etco2).is_some();
        if !either {
            return;
        }
        let started = *state.started.get_or_insert(view.now);
        // The minute that is over is closed before the new value is taken.
        let over = view.now.since_s(started) >= BLOCK_S || view.now < started;
        let closed = if over { state.close(view.now) } else { None };
        state.gather(view, self.breath_mmhg);
        let Some(now) = closed else { return };
        // The largest move of the gap within the window, and which of the two made it.
        let mut worst: Option<(Minute, f64, Parameter)> = None;
        for then in &state.minutes {
            if !(0.0..=self.window_s).contains(&now.at.since_s(then.at)) {
                continue;
            }
            let (skin, breath) = (f64::from(now.skin - then.skin), f64::from(now.breath - then.breath));
            let (mover, other) = if skin.abs() >= breath.abs() { (Parameter::Tcco2, breath) } else { (Parameter::Etco2, skin) };
            let moved = skin - breath;
            let alone = moved.abs() > self.move_mmhg && other.abs() <= self.still_mmhg;
            if alone && worst.is_none_or(|(_, most, _)| moved.abs() > most.abs()) {
                worst = Some((*then, moved, mover));
            }
        }
        state.keep(now);
        let Some((then, moved, mover)) = worst else {
            state.run = 0;
            out.pass(id::tcco2_vs_etco2);
            return;
        };
        if state.run == 0 {
            state.since = view.now;
        }
        state.run = state.run.saturating_add(1);
        if f64::from(state.run) < self.hold_minutes {
            return;
        }
        let skin = mover == Parameter::Tcco2;
        let (from, to) = if skin { (then.skin, now.skin) } else { (then.breath, now.breath) };
        out.push(Verdict {
            value: Some(moved.abs()),
            limit: Some(self.move_mmhg),
            unit: "mm[Hg]",
            window_s: now.at.since_s(then.at),
            text: if skin { "default" } else { "breath" },
            args: [
                ("a", Arg::Number(f64::from(from), 0)),
                ("b", Arg::Number(f64::from(to), 0)),
                ("d", Arg::Number(moved.abs(), 0)),
                ("n", Arg::Number((now.at.since_s(then.at) / 60.0).round(), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::tcco2_vs_etco2, ParamSet::of(Parameter::Tcco2).with(Parameter::Etco2), state.since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    const BOTH: [Parameter; 2] = [Parameter::Tcco2, Parameter::Etco2];

    #[test]
    fn a_skin_value_that_falls_by_16_alone_is_found_after_two_minutes_and_one_by_15_never() {
        let mut s = Story::<Check>::of(&BOTH);
        assert_eq!(s.tell("50/38x601 34/38x60 34/38x60"), "P.F");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.text, verdict.value, verdict.limit), ("default", Some(16.0), Some(15.0)));
        let mut s = Story::<Check>::of(&BOTH);
        s.tell("50/38x601 35/38x1200");
        assert!(s.found.is_none());
    }

    #[test]
    fn at_one_a_minute_a_drift_of_18_in_20_min_is_found_and_in_40_min_is_not() {
        let drift = |step: f64, minutes: u32| {
            let mut s = Story::<Check>::of(&BOTH).every(60.0);
            s.tell("50/38x5");
            for i in 1..=minutes {
                s.tell(&format!("{:.2}/38", 50.0 - step * f64::from(i)));
            }
            s.found.is_some()
        };
        assert!(drift(0.9, 20));
        assert!(!drift(0.45, 40));
    }

    #[test]
    fn both_that_move_together_are_the_patient() {
        let mut s = Story::<Check>::of(&BOTH).every(60.0);
        assert_eq!(s.tell("50/38x10 70/55x30 40/25x30"), "PPP");
        assert_eq!(s.tell("62/41x30"), "P", "22 and 16");
    }

    #[test]
    fn a_breath_value_that_moves_alone_is_named() {
        let mut s = Story::<Check>::of(&BOTH).every(60.0);
        assert_eq!(s.tell("50/38x10 50/60 50/60 50/60"), "PP.F");
        assert_eq!(s.found.unwrap().text, "breath");
    }

    #[test]
    fn apnoea_is_no_breath_and_one_sensor_alone_says_nothing() {
        let mut s = Story::<Check>::of(&BOTH).every(60.0);
        assert_eq!(s.tell("50/38x10 50/0x10 51/37x10"), "P.P");
        assert_eq!(story::<Check>(&BOTH, "50/_x900 30/_x900 -/38x900"), "...");
    }
}
