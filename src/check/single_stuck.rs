use super::flat_line::{LIVE, is_saturated};
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::places::find;
use crate::stats::runs::ChangeRate;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Reports one value that stands still far longer than its own rate of change allows, while the others go on.
    /// ## Why it matters
    /// A held channel looks like a calm patient. But one still value proves little: paced hearts and full scales stand for an hour.
    /// ## How it decides
    /// The chance q of a change per update is learned for each live parameter; a run of c updates without change has the
    /// probability (1 − q)^c. −log10 of it above 15 is reported to the engineers, after 30 min and 60 minutes with values. SpO2
    /// at 100 % and zeros are left out, so are cuffs, temperatures, ST and counts. Learning pauses from 3 on. Report only: its
    /// evidence is kept below what joins others, and below what stops a baseline.
    /// ## Known false alerts
    /// Pacing and very regular rhythms, held values of a gateway.
    /// ## References
    /// 8.7 bed-days at 1 s with a warm-up of 5 min: PR above 15 0.82 and 0.60 times a bed-day on two monitors; with the hour of
    /// this rule none in the same recordings, most of which are not much longer. A derived set of pulmonary pressures, whole
    /// numbers of a 6 s mean: 19 in 2.43 bed-days. PR 60 for 991 s, HR 80.0 for 100 min and SpO2 100 for 3 203 s are real.
    "T04" "single_stuck" class=Liveness evidence=true weights=(45, 15, 15) rest=Unverified
    {
        /// Surprise of the stillness, decimal logarithm. Lower: at 8 3.8 and 2.8 a bed-day. Higher: slower.
        log10_p: f64 = 15.0;
        /// Largest chance of a change that is believed, 1. Higher: a restless value that pauses for seconds is reported.
        chance_max: f64 = 0.5;
        /// Half-life of the learned chance, s; never less than 120 updates. Lower: a quiet minute is forgotten at once.
        half_life_s: f64 = 1800.0;
        /// Learning pauses above, decimal logarithm. Higher: a held value teaches itself.
        pause_log10: f64 = 3.0;
        /// A parameter takes part after so long, s. Lower: the first guess reports.
        warm_s: f64 = 1800.0;
        /// And after so many minutes in which it had a value, count. Lower: the first guess reports.
        warm_blocks: f64 = 60.0;
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Followed {
    parameter: Parameter,
    rate: ChangeRate,
    surprise: f64,
    since: Timestamp,
    first_at: Timestamp,
    block_at: Timestamp,
    blocks: u16,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    followed: Vec<Followed>,
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.followed, |f| f.since.0 as u64 ^ u64::from(f.blocks))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let live = ParamSet::from_slice(LIVE);
        let (mut looked, mut found) = (false, false);
        let (mut fade, mut next) = ((f64::NAN, 0.0), 0);
        for parameter in view.fresh_set().iter().filter(|p| live.contains(*p)) {
            let Some(o) = view.fresh(parameter) else { continue };
            let at = find(&state.followed, &mut next, |f| f.parameter == parameter).unwrap_or_else(|| {
                let (rate, now) = (ChangeRate::default(), view.now);
                state.followed.push(Followed {
                    parameter,
                    rate,
                    surprise: 0.0,
                    since: now,
                    first_at: now,
                    block_at: now.plus_s(-60.0),
                    blocks: 0,
                });
                state.followed.len() - 1
            });
            let f = &mut state.followed[at];
            if view.now.since_s(f.block_at) >= 60.0 {
                f.block_at = view.now;
                f.blocks = f.blocks.saturating_add(1);
            }
            let Some(before) = view.preceding(parameter).filter(|_| !is_saturated(o)) else {
                f.surprise = 0.0;
                continue;
            };
            let moved = before.value != o.value;
            if f.surprise > self.pause_log10 {
                f.rate.count_run(moved);
            } else {
                let delta_s = o.effective_at.since_s(before.effective_at).clamp(0.05, 60.0);
                // Most values of a message come at one interval.
                if fade.0 != delta_s {
                    fade = (delta_s, ChangeRate::fade((self.half_life_s / delta_s).max(120.0)));
                }
                f.rate.push_faded(moved, fade.1);
            }
            if moved {
                f.surprise = 0.0;
            } else {
                if f.surprise == 0.0 {
                    f.since = view.now;
                }
                f.surprise += f.rate.surprise(self.chance_max);
            }
            if view.now.since_s(f.first_at) < self.warm_s || f64::from(f.blocks) < self.warm_blocks {
                continue;
            }
            looked = true;
            if f.surprise <= self.log10_p {
                continue;
            }
            found = true;
            let still_s = view.now.since_s(f.since);
            out.push(Verdict {
                log10_e: super::REPORT_ONLY_LOG10_E,
                value: Some(f.surprise),
                limit: Some(self.log10_p),
                unit: "{log10}",
                window_s: still_s,
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("v", Arg::reading(parameter, o.value)),
                    ("s", Arg::Number(still_s, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::single_stuck, ParamSet::of(parameter), f.since)
            });
        }
        if looked && !found {
            out.pass(id::single_stuck);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    /// A pulse that changes with every fourth value for over an hour.
    fn alive(minutes: u32) -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        for i in 0..minutes * 15 {
            s.tell(&format!("{}x4", 70 + i % 7));
        }
        s
    }

    #[test]
    fn a_value_that_changed_every_fourth_second_may_stand_two_minutes_and_not_three() {
        let mut s = alive(61);
        // 0.75^120 = 1e-15.
        assert_eq!(s.tell("80 80x115 80x15"), "PPF");
        let found = s.found.clone().unwrap();
        assert!(found.value.unwrap() > 15.0 && found.log10_e < 1.0);
        assert_eq!(s.tell("81"), "P", "one change ends it");
    }

    #[test]
    fn nothing_is_reported_in_the_first_hour() {
        let mut s = alive(50);
        assert_eq!(s.tell("80x300"), ".");
    }

    #[test]
    fn a_full_scale_and_a_temperature_may_stand_for_hours() {
        for parameter in [Parameter::Spo2, Parameter::Temp] {
            let mut s = Story::<Check>::of(&[parameter]);
            for i in 0..930 {
                s.tell(&format!("{}x4", 95 + i % 4));
            }
            assert!(!s.tell("100x3600").contains('F'));
        }
    }

    #[test]
    fn a_paced_heart_teaches_that_it_stands() {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        for i in 0..8 {
            assert!(!s.tell(&format!("{}x600", 60 + i % 2)).contains('F'));
        }
    }

    #[test]
    fn a_lost_pulse_ends_the_run() {
        let mut s = alive(61);
        assert_eq!(s.tell("80x100 - 80x60"), "P.P");
    }
}
