use super::{Arg, Judge, REPORT_ONLY_LOG10_E, Verdict, Verdicts, View, id};
use crate::stats::places::find;
use crate::stats::whole::{TENS, TENTHS, nearest};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Reports values that run along a straight line.
    /// ## Why it matters
    /// No sensor draws with a ruler. Values between two real ones were computed, by a gateway or by someone.
    /// ## How it decides
    /// Twenty increments in a row that are not zero, while all values lie within one step of their decimals of a straight line
    /// through the first of them, over at least twenty such steps. A repeated value, a gap or a mark ends the line. Report
    /// only: its evidence is kept below what joins others, and below what stops a baseline.
    /// ## Known false alerts
    /// The ramp of a device's own average after a step.
    /// ## References
    /// A swing filter (H. Elmeleegy and others, 2009, Online piece-wise linear approximation of numerical streams with precision
    /// guarantees, PVLDB 2(1)) keeps the slopes that are possible. None in 8.6 bed-days of two monitors at 1 s; a moving average
    /// of 60 s with one decimal in 26 of 58 copies within ten minutes. The limit is a design choice. In the benchmark 0 in 48.6
    /// bed-days of clean recordings (at most 0.62 in ten); lines between values of every 30 or 60 s, as computed: 32 of 41 on recordings
    /// at 1 s, 0 of 19 at one a minute; rounded again: 0 of 46 and 0 of 11.
    "T10" "interpolation" class=Liveness evidence=true weights=(20, 5, 50) rest=Unverified
    {
        /// Increments along the line, count. Lower: short true ramps are reported. Higher: slower.
        increments: f64 = 20.0;
    }
}

/// Lines followed at most.
const FOLLOWED_MAX: usize = 40;

/// A line from its first value on, and the slopes that are still possible.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Line {
    parameter: Parameter,
    from: f64,
    last: f64,
    from_at: Timestamp,
    since: Timestamp,
    low: f64,
    high: f64,
    increments: u16,
    decimals: u8,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    lines: Vec<Line>,
}

/// One step of the last decimal of a value; of a computed one next to nothing.
fn step(value: f64, decimals: &mut u8) -> f64 {
    let fits = |k: u8| {
        let scaled = value * TENS[usize::from(k)];
        (scaled - nearest(scaled)).abs() <= 1e-7 * scaled.abs().max(1.0)
    };
    while *decimals < 4 && !fits(*decimals) {
        *decimals += 1;
    }
    TENTHS[usize::from((*decimals).min(4))]
}

impl Line {
    fn new(parameter: Parameter, value: f64, own: Timestamp, now: Timestamp) -> Line {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        Line { parameter, from: value, last: value, from_at: own, since: now, low, high, increments: 0, decimals: 0 }
    }

    /// Whether the next value goes on along the line.
    fn follow(&mut self, value: f64, own: Timestamp) -> bool {
        let dt_s = own.since_s(self.from_at);
        if dt_s <= 0.0 || value == self.last {
            return false;
        }
        step(self.from, &mut self.decimals);
        let slack = step(value, &mut self.decimals) * (1.0 + 1e-6);
        let rise = value - self.from;
        self.low = self.low.max((rise - slack) / dt_s);
        self.high = self.high.min((rise + slack) / dt_s);
        if self.low > self.high {
            return false;
        }
        self.last = value;
        self.increments = self.increments.saturating_add(1);
        true
    }

    /// Steps of the last decimal between first and last value.
    fn steps(&self) -> f64 {
        (self.last - self.from).abs() * TENS[usize::from(self.decimals.min(4))]
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.lines, |line| line.last.to_bits() ^ u64::from(line.increments))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let (mut looked, mut found) = (false, false);
        let mut next = 0;
        for parameter in view.fresh_set().iter().filter(|p| p.nature() == Nature::Continuous) {
            let Some(o) = view.fresh(parameter) else { continue };
            let begin = Line::new(parameter, o.value, o.effective_at, view.now);
            let Some(at) = find(&state.lines, &mut next, |l| l.parameter == parameter) else {
                if state.lines.len() < FOLLOWED_MAX {
                    state.lines.push(begin);
                }
                continue;
            };
            let line = &mut state.lines[at];
            looked = true;
            let before = view.preceding(parameter);
            if before.is_none() || !line.follow(o.value, o.effective_at) {
                *line = begin;
                // A bend: the value before begins the next line.
                if let Some(before) = before.filter(|b| b.value != o.value) {
                    *line = Line::new(parameter, before.value, before.effective_at, before.received_at);
                    line.follow(o.value, o.effective_at);
                }
                continue;
            }
            if f64::from(line.increments) < self.increments || line.steps() < self.increments - 0.5 {
                continue;
            }
            found = true;
            let line_s = o.effective_at.since_s(line.from_at);
            out.push(Verdict {
                log10_e: REPORT_ONLY_LOG10_E,
                value: Some(f64::from(line.increments)),
                limit: Some(self.increments),
                window_s: line_s,
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                args: [
                    ("p", Arg::Parameter(parameter)),
                    ("n", Arg::Number(f64::from(line.increments), 0)),
                    ("a", Arg::reading(parameter, line.from)),
                    ("b", Arg::reading(parameter, o.value)),
                    ("s", Arg::Number(line_s, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::interpolation, ParamSet::of(parameter), line.since)
            });
        }
        if looked && !found {
            out.pass(id::interpolation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    fn ramp(s: &mut Story<Check>, from: f64, slope: f64, times: u32) -> String {
        (0..times).map(|i| s.tell(&format!("{:.1}", from + slope * f64::from(i)))).collect()
    }

    #[test]
    fn nineteen_equal_increments_are_none_and_twenty_are_reported() {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        assert_eq!(ramp(&mut s, 60.0, 1.0, 20), format!(".{}", "P".repeat(19)));
        assert_eq!(ramp(&mut s, 80.0, 1.0, 2), "FF");
        assert_eq!(s.tell("81.0 81.0"), "PP", "a repeated value ends the line");
    }

    #[test]
    fn rounding_does_not_hide_a_line_and_a_bend_ends_it() {
        let mut s = Story::<Check>::of(&[Parameter::Spo2]);
        assert!(ramp(&mut s, 98.0, -0.237, 30).ends_with('F'));
        let mut s = Story::<Check>::of(&[Parameter::Spo2]);
        ramp(&mut s, 98.0, -0.237, 15);
        assert!(!ramp(&mut s, 94.5, 0.237, 15).contains('F'));
    }

    #[test]
    fn a_slow_drift_that_repeats_values_and_a_living_pulse_are_none() {
        assert_eq!(story::<Check>(&[Parameter::Pr], "60x9 61x9 62x9 63x9 64x9 65x9 66x9"), "PPPPPPP");
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        for i in 0..200 {
            assert!(!s.tell(&format!("{}", 60 + i + i * 7 % 5)).contains('F'));
        }
        assert_eq!(story::<Check>(&[Parameter::Pr], "60x900"), "P");
    }

    #[test]
    fn a_gap_or_a_mark_ends_a_line() {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        ramp(&mut s, 60.0, 1.0, 15);
        s.tell("-");
        assert!(!ramp(&mut s, 76.0, 1.0, 15).contains('F'));
    }
}
