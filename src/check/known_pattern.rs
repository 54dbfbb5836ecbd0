use super::{Arg, Flag, Judge, Verdict, Verdicts, View, id};
use crate::observation::Report;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Recognises what care and devices do to values every day: a cuff on the oximeter's arm, a probe that came off, a line that
    /// is flushed or opened to air, the purge of a capnograph.
    /// ## Why it matters
    /// It explains other findings: what another check finds on values that such a pattern explains is an artefact, and no
    /// evidence that somebody changed them. It raises nothing itself, and takes nothing away from what another sensor or the
    /// monitor's own alarm supports.
    /// ## How it decides
    /// *Cuff*: pulse and saturation lost at most 60 s before a cuff pressure, or for the third time at a distance of 5, 10 or 15
    /// min (±30 s), for at most two minutes. *Probe*: both lost for 30 s after the saturation fell by 4 % or the rate moved by
    /// 20 /min within 20 s, until half a minute after they are back. *Flush*: the mean of a line high (arterial 150,
    /// pulmonary 60 mmHg) with systolic and diastolic within 5 mmHg of each other, or without both and clipped at one number.
    /// *Zero*: the mean at most 5 mmHg, with the others as low or absent; both until half a minute later. *Purge*: both CO2
    /// values absent for 6 to 15 s, then a rate of zero, for at most 30 s.
    /// ## Known false alerts
    /// None: it raises nothing. Whoever imitates such a pattern hides a value's finding for as long as it lasts, and no replay,
    /// clone, freeze, lost beat, changed resolution or finding about the sender.
    /// ## References
    /// Of the drop-outs of an oximeter 17, 20 and 10 % follow one another after 5, 10 and 15 min; a purge is 9 s without CO2
    /// values and about 18 s with a rate of 0, 120 times in 4.99 bed-days; a clipped mean stood for up to 724 s. These rules see
    /// 27 patterns in 3.67 and 191 in 4.94 bed-days of two monitors at 1 s; a fall of 4 % and the moments are design choices.
    "T18" "known_pattern" class=Dynamics evidence=false weights=(100, 0, 0) rest=Unverified
    {
        /// From loss to cuff pressure, s. Lower: slow cuffs explain nothing. Higher: chance explains.
        cuff_s: f64 = 60.0;
        /// Tolerance of a cuff's cycle, s. Lower: an uneven cycle explains nothing. Higher: chance explains.
        cycle_slack_s: f64 = 30.0;
        /// A loss by the cuff is over after, s. Higher: a probe that stays off passes for a cuff.
        cuff_max_s: f64 = 120.0;
        /// Lost for so long, the probe is off, s. Lower: a drop-out passes for it.
        probe_s: f64 = 30.0;
        /// Arterial mean from which a flush is looked for, mmHg. Lower: a damped curve passes for it.
        flush_abp_mmhg: f64 = 150.0;
        /// Pulmonary mean from which a flush is looked for, mmHg. Lower: a damped curve passes for it.
        flush_pap_mmhg: f64 = 60.0;
        /// Mean up to which a line is open to air, mmHg. Higher: a true shock without a pulse passes for it.
        zero_mmhg: f64 = 5.0;
        /// Values settle for so long after a pattern, s. Lower: the way back is a finding.
        settle_s: f64 = 30.0;
        /// A purge is over after, s. Higher: a true apnoea passes for it.
        purge_s: f64 = 30.0;
    }
}

use Parameter::{AbpDia, AbpMean, AbpSys, Awrr, Etco2, Imco2, NibpMean, NibpSys, PapDia, PapMean, PapSys, PerfIndex, Pr, RrPleth, Spo2};

/// Cycles of cuffs, s.
const CYCLES_S: [f64; 3] = [300.0, 600.0, 900.0];
/// Pressures below are a line that is not connected.
const OPEN_MIN: f64 = -100.0;

/// A line that is handled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Handled {
    flush: bool,
    since: Timestamp,
    last: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Pulse and saturation: lost since, back since, and the last losses, newest first.
    lost_at: Option<Timestamp>,
    back_at: Timestamp,
    losses: [Timestamp; 6],
    /// They moved before they were lost.
    faded: bool,
    /// The present or last loss is explained by a cuff.
    cuff: bool,
    lines: [Option<Handled>; 2],
    /// The last mean of each line.
    means: [f64; 2],
    co2_lost_at: Option<Timestamp>,
    /// A purge since: the loss, and the rate of zero.
    purge: Option<(Timestamp, Timestamp)>,
}

impl Default for State {
    fn default() -> Self {
        State {
            lost_at: None,
            back_at: Timestamp::MIN,
            losses: [Timestamp::MIN; 6],
            faded: false,
            cuff: false,
            lines: [None; 2],
            means: [f64::NAN; 2],
            co2_lost_at: None,
            purge: None,
        }
    }
}

/// The number of a row, zero too; `None` where there is none.
fn number(report: &Report, parameter: Parameter) -> Option<f64> {
    report.observations.iter().find(|o| o.parameter == parameter && o.validity.usable() && o.value.is_finite()).map(|o| o.value)
}

/// Whether values of one sensor are lost: known to the bed, and none of them in a message that holds others or says so.
fn lost(report: &Report, view: &View<'_>, sensor: &[Parameter]) -> Option<bool> {
    let known = sensor.iter().filter(|p| view.bed.stream(**p).is_some_and(|s| s.latest.is_some())).count();
    if known == 0 || report.observations.is_empty() {
        return None;
    }
    let valued = |p: Parameter| number(report, p).is_some_and(|v| !view.profile.is_sentinel(p, v));
    if sensor.iter().any(|p| valued(*p)) {
        return Some(false);
    }
    let said = report.observations.iter().any(|o| sensor.contains(&o.parameter));
    let late = sensor.iter().all(|p| view.preceding(*p).is_none());
    (said || late).then_some(true)
}

impl Check {
    fn oximeter(&self, state: &mut State, view: &View<'_>, report: &Report) {
        match lost(report, view, &[Pr, Spo2]) {
            Some(true) if state.lost_at.is_none() => {
                state.lost_at = Some(view.now);
                let moved = |p: Parameter, by: f64| {
                    let recent = view.bed.stream(p).and_then(|s| Some((s.last?, s.recent.envelope(s.last?.effective_at.plus_s(-20.0))?)));
                    recent.is_some_and(|(last, (low, high))| {
                        if p == Spo2 { high - last.value >= by } else { high - low >= by }
                    })
                };
                state.faded = moved(Spo2, 4.0) || moved(Pr, 20.0);
                state.cuff = self.is_cycle(&state.losses, view.now);
                state.losses.rotate_right(1);
                state.losses[0] = view.now;
            }
            Some(false) if state.lost_at.is_some() => {
                state.lost_at = None;
                state.back_at = view.now;
            }
            _ => {}
        }
        // A cuff pressure came: at its own time, if that is near.
        if let Some(cuff) = view.fresh(NibpSys).or_else(|| view.fresh(NibpMean)) {
            let own = cuff.effective_at;
            let at = if view.now.since_s(own).abs() <= 120.0 { own } else { view.now };
            let before_s = at.since_s(state.losses[0]);
            let lasted_s = state.lost_at.map_or(state.back_at, |_| view.now).since_s(state.losses[0]);
            state.cuff |= (view.now.since_s(at).min(0.0)..=self.cuff_s).contains(&before_s) && lasted_s <= self.cuff_max_s;
            state.cuff |= before_s < 0.0 && view.now.since_s(state.losses[0]) <= self.cuff_max_s;
        }
    }

    /// Whether a loss now would be the third at one distance.
    fn is_cycle(&self, losses: &[Timestamp], now: Timestamp) -> bool {
        let near = |later: Timestamp, earlier: Timestamp, cycle_s: f64| (later.since_s(earlier) - cycle_s).abs() <= self.cycle_slack_s;
        CYCLES_S.iter().any(|cycle| {
            losses.iter().any(|one| near(now, *one, *cycle) && losses.iter().any(|two| near(*one, *two, *cycle)))
        })
    }

    fn line(&self, state: &mut State, view: &View<'_>, report: &Report, at: usize) {
        let ([sys, mean, dia], high) = LINES[at].map_limit(self);
        let Some(m) = number(report, mean) else { return };
        let before = std::mem::replace(&mut state.means[at], m);
        let pair = (number(report, sys), number(report, dia));
        let flat = matches!(pair, (Some(s), Some(d)) if (s - d).abs() <= 5.0);
        // Zeros beside a mean that is none are what a monitor shows where it finds no pulse.
        let absent = matches!(pair, (None | Some(0.0), None | Some(0.0)));
        let flush = m >= high && (flat || (absent && before == m));
        let zero = (OPEN_MIN..=self.zero_mmhg).contains(&m) && (absent || (flat && pair.0.is_some_and(|s| s <= self.zero_mmhg)));
        if flush || zero {
            let same = state.lines[at].filter(|h| h.flush == flush && view.now.since_s(h.last) <= self.settle_s);
            let since = same.map_or(view.now, |h| h.since);
            state.lines[at] = Some(Handled { flush, since, last: view.now });
        }
    }

    fn purge(&self, state: &mut State, view: &View<'_>, report: &Report) {
        let rate = number(report, Awrr);
        match lost(report, view, &[Awrr, Etco2]) {
            Some(true) => {
                state.co2_lost_at.get_or_insert(view.now);
                state.purge = None;
            }
            Some(false) => {
                if let Some(since) = state.co2_lost_at.take()
                    && (6.0..=15.0).contains(&view.now.since_s(since))
                    && rate == Some(0.0)
                {
                    state.purge = Some((since, view.now));
                }
            }
            None => {}
        }
        if rate.is_some_and(|r| r != 0.0) || state.purge.is_some_and(|p| view.now.since_s(p.1) > self.purge_s) {
            state.purge = None;
        }
    }
}

/// Systolic, mean and diastolic of a line.
struct Triple([Parameter; 3]);

const LINES: [Triple; 2] = [Triple([AbpSys, AbpMean, AbpDia]), Triple([PapSys, PapMean, PapDia])];

impl Triple {
    fn map_limit(&self, check: &Check) -> ([Parameter; 3], f64) {
        (self.0, if self.0[1] == AbpMean { check.flush_abp_mmhg } else { check.flush_pap_mmhg })
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report.filter(|_| view.clock.is_live()) else { return };
        self.oximeter(state, view, report);
        for at in 0..LINES.len() {
            self.line(state, view, report, at);
        }
        self.purge(state, view, report);
        let before = out.list.len();
        let mut say = |text: &'static str, params: &[Parameter], since: Timestamp| {
            out.push(Verdict {
                flag: Flag::Suspect,
                log10_e: 0.0,
                window_s: view.now.since_s(since),
                text,
                args: [("s", Arg::Number(view.now.since_s(since), 0)), view.bed_arg()].into_iter().collect(),
                ..Verdict::new(id::known_pattern, ParamSet::from_slice(params), since)
            });
        };
        let oximeter = [Pr, Spo2, PerfIndex, RrPleth];
        let settling = state.lost_at.is_some() || view.now.since_s(state.back_at) <= self.settle_s;
        let since = state.losses[0];
        let lasted_s = state.lost_at.map_or(state.back_at, |_| view.now).since_s(since);
        if settling && state.cuff && lasted_s <= self.cuff_max_s {
            say("cuff", &oximeter, since);
        } else if settling && state.faded && lasted_s >= self.probe_s {
            say("probe", &oximeter, since.plus_s(-20.0));
        }
        for (triple, handled) in LINES.iter().zip(state.lines) {
            if let Some(h) = handled.filter(|h| view.now.since_s(h.last) <= self.settle_s) {
                say(if h.flush { "flush" } else { "zero" }, &triple.0, h.since);
            }
        }
        if let Some((since, _)) = state.purge {
            say("purge", &[Awrr, Etco2, Imco2], since);
        }
        if out.list.len() == before {
            out.pass(id::known_pattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};

    fn text(s: &Story<Check>) -> &'static str {
        s.verdicts.list.first().map_or("", |v| v.text)
    }

    fn oximeter() -> Story<Check> {
        Story::<Check>::of(&[Pr, Spo2, Awrr])
    }

    /// A cuff pressure with the present values.
    fn cuff(s: &mut Story<Check>, spo2: Option<f64>) -> char {
        s.now = s.now.plus_s(1.0);
        let now = s.now;
        let mut rows = vec![observation(NibpSys, 120.0, now)];
        rows.extend(spo2.map(|v| observation(Spo2, v, now)));
        let report = s.report(rows);
        s.send(&report)
    }

    #[test]
    fn a_loss_60_s_before_a_cuff_is_the_cuff_and_one_61_s_before_is_none() {
        let mut s = oximeter();
        assert_eq!(s.tell("70/97/14x30 -/-/14x15 70/97/14x44"), "PPP");
        assert_eq!((cuff(&mut s, Some(97.0)), text(&s)), ('P', ""), "59 s, but settled since");
        let mut s = oximeter();
        s.tell("70/97/14x30 -/-/14x20");
        assert_eq!((cuff(&mut s, None), text(&s)), ('S', "cuff"));
        assert_eq!(s.tell("70/97/14x30 70/97/14x3"), "SP", "half a minute to settle");
        let mut s = oximeter();
        s.tell("70/97/14x30 -/-/14x60");
        assert_eq!(cuff(&mut s, None), 'S', "60 s");
        let mut s = oximeter();
        s.tell("70/97/14x30 -/-/14x61");
        assert_eq!(cuff(&mut s, None), 'P', "61 s");
    }

    #[test]
    fn the_third_loss_at_a_cuffs_distance_is_a_cuff() {
        let mut s = oximeter();
        for _ in 0..2 {
            assert_eq!(s.tell("70/97/14x280 -/-/14x20"), "PP");
        }
        assert_eq!(s.tell("70/97/14x300 -/-/14"), "PS", "20 s late");
        let mut s = oximeter();
        s.tell("70/97/14x280 -/-/14x20 70/97/14x280 -/-/14x20");
        assert_eq!(s.tell("70/97/14x311 -/-/14"), "PP", "31 s late");
        assert_eq!(s.tell("-/97/14x200"), "P", "one of the two is no drop-out");
    }

    #[test]
    fn a_probe_that_comes_off_fades_and_is_lost_for_30_s() {
        let mut s = oximeter();
        assert_eq!(s.tell("70/97/14x30 70/95/14x5 70/93/14x5 -/-/14x30 -/-/14"), "PPPPS");
        assert_eq!(text(&s), "probe");
        assert_eq!(s.tell("70/80/14x30 70/97/14x3"), "SP");
        let mut s = oximeter();
        assert_eq!(s.tell("70/97/14x30 70/94/14x5 -/-/14x60"), "PPP", "a fall of three");
    }

    #[test]
    fn a_flushed_line_is_flat_and_high_or_clipped() {
        let abp = [AbpSys, AbpMean, AbpDia];
        let mut s = Story::<Check>::of(&abp);
        assert_eq!(s.tell("120/85/65x9 292/290/287x9 120/85/65x30 120/85/65x3"), "PSSP");
        assert_eq!(s.tell("155/152/149x9 152/149/147x9"), "PP", "a pulse of 6, and a mean of 149");
        let mut s = Story::<Check>::of(&[PapSys, PapMean, PapDia]);
        assert_eq!(s.tell("30/20/12x9 -/90/- -/90/-x700"), "PPS");
        assert_eq!(text(&s), "flush");
        assert_eq!(s.tell("30/20/12x40 -/59/-x20"), "PP");
    }

    #[test]
    fn a_line_open_to_air_reads_about_zero() {
        let mut s = Story::<Check>::of(&[AbpSys, AbpMean, AbpDia]);
        assert_eq!(s.tell("120/85/65x9 4/3/2x9 120/85/65x31"), "PSP");
        assert_eq!(s.tell("-/-48/- -/0/-x9 -/6/-x40 18/12/9x40"), "SSPP", "a weak pulse is no open line");
        assert_eq!(text(&s), "");
    }

    #[test]
    fn a_purge_is_6_to_15_s_without_co2_and_then_a_rate_of_zero_for_30_s() {
        let co2 = [Awrr, Etco2, Spo2];
        let mut s = Story::<Check>::of(&co2);
        assert_eq!(s.tell("14/36/97x30 -/-/97x9 0/20/97x18 14/36/97"), "PPSP");
        assert_eq!(s.tell("14/36/97x30 -/-/97x6 0/20/97 14/36/97"), "PPSP");
        assert_eq!(s.tell("14/36/97x30 -/-/97x5 0/20/97"), "PPP");
        assert_eq!(s.tell("14/36/97x30 -/-/97x16 0/20/97"), "PPP");
        assert_eq!(s.tell("14/36/97x30 -/-/97x9 0/0/97x31 0/0/97x60"), "PPSP", "then it is an apnoea");
    }

    #[test]
    fn a_row_that_is_left_out_counts_as_lost_too() {
        let mut s = Story::<Check>::of(&[Awrr, Etco2, Spo2]);
        assert_eq!(s.tell("14/36/97x30 _/_/97x12 0/20/97x18 14/36/97"), "PPSP");
    }
}
