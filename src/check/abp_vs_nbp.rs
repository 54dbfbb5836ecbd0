use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::ewma::Ewma;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Compares the mean of the arterial line with the mean of each cuff reading.
    /// ## Why it matters
    /// Two instruments measure one pressure. When their usual difference changes at once, one of them is wrong or was changed.
    /// ## How it decides
    /// A cuff reading counts once, at its own time (OBX-14), against the mean of the line over 30 s before and after; an older
    /// reading that comes again is none. The difference is compared with the patient's own: off by more than 30 mmHg on two
    /// cuffs in a row, once three cuffs and 60 min have agreed with each other. Cuffs that disagree before that begin the
    /// agreement anew; cuffs that disagree later teach nothing. Never systolic: it differs by nature.
    /// ## Known false alerts
    /// Height of the transducer, a line that was zeroed anew, a stenosis in the cuff's arm or a change of the arm,
    /// vasopressors.
    /// ## References
    /// Charted pairs: a fixed 30 mmHg is passed by 5.1 % of 2 118 (187 records) and 4.0 % of 346 (22); own difference twice in a row 6 and 0
    /// events; this check: 4 episodes in 3 of 300 records (c2012), none in 68 (mimic4_demo). TSWJ 2014 (means within 20 mmHg in 99 to 100 %); Lehman et al. 2013 (27 022 pairs: means agree).
    "A09" "abp_vs_nbp" class=CrossSource evidence=true weights=(70, 10, 15) rest=Unverified
    {
        /// Distance from the patient's own difference, mmHg. Lower: usual spread alerts (5 to 95 %: -14 to 27). Charted pairs.
        difference_mmhg: f64 = 30.0;
        /// Cuffs in a row, count. Lower: one bad cuff alerts.
        hold_cuffs: f64 = 2.0;
        /// Window on each side of the cuff's own time, s. Lower: at one value a minute there is none. Higher: the pressure moves.
        window_s: f64 = 30.0;
        /// The line's values are waited for so long, s. Lower: at slow feeds the window is cut off.
        wait_s: f64 = 90.0;
        /// Cuffs that agreed before it speaks, count. Lower: the first cuff is the rule.
        agreed_cuffs: f64 = 3.0;
        /// And for so long, s. Lower: as above. Design choice.
        agreed_s: f64 = 3600.0;
        /// Time constant of the patient's own difference, s. Lower: a slow offset teaches itself.
        memory_s: f64 = 14_400.0;
    }
}

/// A clock this far ahead is wrong: what came before it is not older, milliseconds.
const FUTURE_MS: i64 = 3_600_000;

/// One reading of an episodic sensor, with its own time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub value: f64,
    pub at: Timestamp,
    pub received_at: Timestamp,
    pub set_id: u32,
}

/// Holds an episodic reading until what another sensor showed around its own time is known.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Waiting {
    reading: Option<Reading>,
    /// Own time of the newest reading taken.
    newest: Option<Timestamp>,
}

impl Waiting {
    /// The reading whose window is over: another sensor's values go on beyond it, `wait_s` have passed, or the next one came.
    pub fn due(
        &mut self,
        view: &View<'_>,
        parameter: Parameter,
        others: &[Parameter],
        window_s: f64,
        wait_s: f64,
    ) -> Option<Reading> {
        let newer = |at: Timestamp| self.newest.is_none_or(|n| at > n || n.since_ms(view.now) > FUTURE_MS);
        let new = view.fresh(parameter).filter(|o| newer(o.effective_at)).map(|o| Reading {
            value: o.value,
            at: o.effective_at,
            received_at: view.now,
            set_id: o.set_id,
        });
        let over = |r: &Reading| {
            new.is_some()
                || view.now.since_s(r.received_at) >= wait_s
                || others.iter().any(|p| view.fresh(*p).is_some_and(|o| o.effective_at.since_s(r.at) >= window_s))
        };
        let due = self.reading.filter(over);
        if due.is_some() {
            self.reading = None;
        }
        if let Some(new) = new {
            self.newest = Some(new.at);
            self.reading = Some(new);
        }
        due
    }
}

/// Mean of a parameter over `window_s` on each side of a reading's own time, from the accepted values.
pub fn around(view: &View<'_>, parameter: Parameter, reading: &Reading, window_s: f64) -> Option<f64> {
    view.bed.stream(parameter)?.recent.mean(reading.at.plus_s(-window_s), reading.at.plus_s(window_s))
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    cuff: Waiting,
    own: Ewma,
    /// Own times of the first and last cuff that agreed.
    first: Timestamp,
    last: Timestamp,
    run: u32,
    since: Timestamp,
}

impl Check {
    fn learn(&self, state: &mut State, difference: f64, at: Timestamp) {
        if state.own.count() == 0 {
            state.first = at;
        }
        state.own.push(difference, at.since_s(state.last).clamp(0.0, self.memory_s), self.memory_s);
        state.last = at;
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let others = [Parameter::AbpMean];
        let Some(cuff) = state.cuff.due(view, Parameter::NibpMean, &others, self.window_s, self.wait_s) else { return };
        let Some(line) = around(view, Parameter::AbpMean, &cuff, self.window_s) else { return };
        let difference = line - cuff.value;
        let own = state.own.mean();
        let off = own.map_or(0.0, |own| difference - own);
        if off.abs() <= self.difference_mmhg {
            state.run = 0;
            self.learn(state, difference, cuff.at);
            out.pass(id::abp_vs_nbp);
            return;
        }
        let known =
            f64::from(state.own.count()) >= self.agreed_cuffs && state.last.since_s(state.first) >= self.agreed_s;
        if !known {
            // They have not agreed yet: who of them is right is not known.
            (state.own, state.run) = (Ewma::default(), 0);
            self.learn(state, difference, cuff.at);
            return;
        }
        if state.run == 0 {
            state.since = cuff.received_at;
        }
        state.run = state.run.saturating_add(1);
        if f64::from(state.run) < self.hold_cuffs {
            return;
        }
        out.push(Verdict {
            value: Some(off.abs()),
            limit: Some(self.difference_mmhg),
            unit: "mm[Hg]",
            window_s: view.now.since_s(state.since),
            set_id: Some(cuff.set_id),
            effective_at: Some(cuff.at),
            args: [
                ("a", Arg::Number(line, 0)),
                ("n", Arg::Number(cuff.value, 0)),
                ("u", Arg::Number(own.unwrap_or(0.0), 0)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::abp_vs_nbp, ParamSet::of(Parameter::AbpMean).with(Parameter::NibpMean), state.since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};

    const PAIR: [Parameter; 2] = [Parameter::AbpMean, Parameter::NibpMean];

    /// Means of the line, one a minute, and a cuff every fifteenth.
    fn quarters(s: &mut Story<Check>, line: f64, cuff: f64, count: usize) -> String {
        let text = format!("{line}/{cuff} {line}/_ {line}/_x13 ");
        s.tell(&text.repeat(count)).chars().skip(1).step_by(3).collect()
    }

    fn agreed() -> Story<Check> {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(quarters(&mut s, 86.0, 80.0, 5), "PPPPP");
        s
    }

    #[test]
    fn a_difference_that_moved_by_31_is_found_at_the_second_cuff_and_one_by_30_never() {
        let mut s = agreed();
        assert_eq!(quarters(&mut s, 117.0, 80.0, 3), ".FF");
        let verdict = s.found.clone().unwrap();
        assert_eq!((verdict.value, verdict.limit), (Some(31.0), Some(30.0)));
        assert_eq!(quarters(&mut s, 86.0, 80.0, 1), "P", "back at the patient's own");
        let mut s = agreed();
        assert_eq!(quarters(&mut s, 116.0, 80.0, 1), "P");
    }

    #[test]
    fn one_bad_cuff_is_none_and_teaches_nothing() {
        let mut s = agreed();
        assert_eq!(quarters(&mut s, 86.0, 140.0, 1), ".");
        assert_eq!(quarters(&mut s, 86.0, 80.0, 1), "P");
        assert!((s.state.own.mean().unwrap() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn without_an_hour_of_agreement_it_is_silent_and_begins_anew() {
        let mut s = Story::<Check>::of(&PAIR).every(60.0);
        assert_eq!(quarters(&mut s, 86.0, 80.0, 4), "PPPP", "45 min");
        assert_eq!(quarters(&mut s, 126.0, 80.0, 4), ".PPP");
        assert_eq!(quarters(&mut s, 126.0, 80.0, 1), "P");
        assert_eq!(quarters(&mut s, 86.0, 80.0, 2), ".F", "the later level is the patient's own");
    }

    #[test]
    fn a_cuff_counts_once_at_its_own_time() {
        let mut s = agreed();
        s.step_s = 1.0;
        let cuff_at = s.now;
        s.tell("86/_x60");
        // The same two old readings again and again: one that was judged, one older than that.
        for age_s in [0.0, -900.0].repeat(30) {
            s.now = s.now.plus_s(1.0);
            let rows = vec![
                observation(Parameter::AbpMean, 86.0, s.now),
                observation(Parameter::NibpMean, 20.0, cuff_at.plus_s(age_s - 14.0 * 60.0)),
            ];
            let report = s.report(rows);
            assert_eq!(s.send(&report), '.');
        }
    }

    #[test]
    fn a_cuff_that_comes_a_minute_late_is_compared_with_the_line_as_it_was() {
        let mut s = Story::<Check>::of(&PAIR);
        let mut flags = String::new();
        for quarter in 0..7 {
            // The line reads 86 around the cuff's own time and 130 when the cuff is told.
            let line = |on: f64| format!("{on}/_x31");
            flags += &s.tell(&line(86.0)).replace('.', "");
            let own = s.now;
            s.tell(&line(86.0));
            s.tell("130/_x20");
            s.now = s.now.plus_s(1.0);
            let value = if quarter < 5 { 80.0 } else { 40.0 };
            let report = s.report(vec![observation(Parameter::AbpMean, 130.0, s.now), observation(Parameter::NibpMean, value, own)]);
            s.send(&report);
            flags.push(s.tell("130/_").pop().unwrap());
            s.now = s.now.plus_s(900.0);
        }
        assert_eq!(flags, "PPPPP.F");
    }

    #[test]
    fn a_line_without_values_at_the_cuffs_time_is_not_compared() {
        let mut s = agreed();
        assert_eq!(s.tell("_/80 86/_x2 -/20 86/_ 86/_x20"), ".....");
    }
}
