use super::abp_vs_nbp::{Waiting, around};
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the rate of the ECG and of the oximeter with the pulse that the cuff counted.
    /// ## Why it matters
    /// The cuff counts the pulse by itself, every few minutes. A forged or miscounted rate does not move it.
    /// ## How it decides
    /// A cuff reading counts once, at its own time (OBX-14), against the mean of the rate over 30 s before and after: more than
    /// 25 /min apart on two cuffs in a row. Each rate has its own run; a cuff without a rate beside it is left out.
    /// ## Known false alerts
    /// Atrial fibrillation and ectopic beats (pulses that the cuff misses), a rate that changes fast, motion under the cuff.
    /// ## References
    /// Rimbi et al. 2019 (1 010 ECGs: cuff bias −0.1, limits −22.2 to 21.9). Not measured on recordings: none holds a cuff's pulse.
    "A08" "rate_vs_nbp_pulse" class=CrossSource evidence=true weights=(40, 20, 35) rest=Unverified
    {
        /// Difference, /min. Lower: usual differences alert (95 % within 22).
        difference_bpm: f64 = 25.0;
        /// Cuffs in a row, count. Lower: motion under one cuff alerts.
        hold_cuffs: f64 = 2.0;
        /// Window on each side of the cuff's own time, s. Lower: at one value a minute there is none. Higher: the rate moves.
        window_s: f64 = 30.0;
        /// The rate's values are waited for so long, s. Lower: at slow feeds the window is cut off.
        wait_s: f64 = 90.0;
    }
}

const RATES: [Parameter; 2] = [Parameter::Hr, Parameter::Pr];

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    cuff: Waiting,
    run: [u32; RATES.len()],
    since: [Timestamp; RATES.len()],
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let due = state.cuff.due(view, Parameter::PrNibp, &RATES, self.window_s, self.wait_s);
        let Some(cuff) = due else { return };
        let (mut looked, mut found) = (false, false);
        for (at, p) in RATES.into_iter().enumerate() {
            let Some(rate) = around(view, p, &cuff, self.window_s) else { continue };
            looked = true;
            if (rate - cuff.value).abs() <= self.difference_bpm {
                state.run[at] = 0;
                continue;
            }
            if state.run[at] == 0 {
                state.since[at] = cuff.received_at;
            }
            state.run[at] = state.run[at].saturating_add(1);
            found = true;
            if f64::from(state.run[at]) < self.hold_cuffs || !view.settled() {
                continue;
            }
            out.push(Verdict {
                value: Some((rate - cuff.value).abs()),
                limit: Some(self.difference_bpm),
                unit: "/min",
                window_s: view.now.since_s(state.since[at]),
                set_id: Some(cuff.set_id),
                effective_at: Some(cuff.at),
                args: [
                    ("p", Arg::Parameter(p)),
                    ("hr", Arg::Number(rate, 0)),
                    ("pr", Arg::Number(cuff.value, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::rate_vs_nbp_pulse, ParamSet::of(p).with(Parameter::PrNibp), state.since[at])
            });
        }
        if looked && !found && view.settled() {
            out.pass(id::rate_vs_nbp_pulse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};

    const ROWS: [Parameter; 3] = [Parameter::Hr, Parameter::Pr, Parameter::PrNibp];

    /// A cuff, then five minutes at one value a second; what was said when its window was over.
    fn cuffs(s: &mut Story<Check>, tokens: &[&str]) -> String {
        let mut flags = String::new();
        for rates in tokens {
            let (beside, cuff) = rates.rsplit_once('/').unwrap();
            s.tell(&format!("{beside}/_x60 {beside}/{cuff} {beside}/_x29"));
            flags += &s.tell(&format!("{beside}/_"));
            s.tell(&format!("{beside}/_x200"));
        }
        flags
    }

    #[test]
    fn a_difference_of_26_on_two_cuffs_is_found_and_one_of_25_never() {
        let mut s = Story::<Check>::of(&ROWS);
        assert_eq!(cuffs(&mut s, &["72/72/98", "72/72/98", "72/72/72"]), ".FP");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.value, verdict.limit), (Some(26.0), Some(25.0)));
        let mut s = Story::<Check>::of(&ROWS);
        assert_eq!(cuffs(&mut s, &["72/72/97", "72/72/47"]), "PP");
    }

    #[test]
    fn two_cuffs_must_follow_each_other() {
        let mut s = Story::<Check>::of(&ROWS);
        assert_eq!(cuffs(&mut s, &["72/72/98", "72/72/72", "72/72/98"]), ".P.");
    }

    #[test]
    fn a_forged_heart_rate_is_named_where_the_pulse_agrees() {
        let mut s = Story::<Check>::of(&ROWS);
        assert_eq!(cuffs(&mut s, &["110/72/72", "110/72/72"]), ".F");
        assert_eq!(s.found.unwrap().params, ParamSet::of(Parameter::Hr).with(Parameter::PrNibp));
    }

    #[test]
    fn a_repeated_reading_is_one_cuff() {
        let mut s = Story::<Check>::of(&ROWS);
        let own = s.now;
        let mut flags = String::new();
        for _ in 0..300 {
            s.now = s.now.plus_s(1.0);
            let rows = vec![observation(Parameter::Hr, 72.0, s.now), observation(Parameter::PrNibp, 120.0, own)];
            let report = s.report(rows);
            flags.push(s.send(&report));
        }
        assert!(flags.chars().all(|f| f == '.'), "{flags}");
    }

    #[test]
    fn without_a_rate_at_the_cuffs_time_nothing_is_compared() {
        let mut s = Story::<Check>::of(&ROWS);
        assert_eq!(cuffs(&mut s, &["-/-/120", "-/-/120"]), "..");
        assert_eq!(cuffs(&mut s, &["-/0/120", "-/0/120"]), "..", "zero is a lost pulse");
    }
}
