use super::pressure_order::TRIPLES;
use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::stats::ewma::Ewma;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Sensor};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Looks whether the mean pressure fits systolic and diastolic: k = (M − D) / (S − D).
    /// ## Why it matters
    /// Whoever changes S and D and leaves M gives a k that no artery has.
    /// ## How it decides
    /// With a pulse pressure of at least 10 mmHg. Hard: k outside 0 to 1 by more than 1/PP, twice. Soft: arterial line outside
    /// 0.12 to 0.70, cuff or unknown method 0.08 to 0.60, pulmonary artery 0.08 to 0.70, three times. Personal: more than 0.15
    /// from the patient's own average, five times, after an hour of it. What one triple shows stands until it is measured again.
    /// ## Known false alerts
    /// Damping, balloon pump, atrial fibrillation, rounding at a small pulse pressure, the device's own formula.
    /// ## References
    /// Bos 2007 (0.395 ± 0.025); Grillo 2020 (0.23–0.58); Chemla (0.35–0.53); Lehman 2013; 39 238 charted triples: 1 soft and
    /// 11 personal events after the hold.
    "A04" "map_form_factor" class=Coherence evidence=true weights=(60, 10, 20) rest=Unverified
    {
        /// Smallest pulse pressure, mmHg. Lower: integer rounding decides. Higher: weak pulses are not looked at.
        pulse_pressure_mmhg: f64 = 10.0;
        /// Readings in a row for the hard tier, count. Lower: fields of two times alert. 2 events in 39 238 charted triples.
        hold_hard_readings: f64 = 2.0;
        /// Readings in a row for the soft tier, count. Lower: damping alerts. 1 event in 39 238 charted triples.
        hold_soft_readings: f64 = 3.0;
        /// Readings in a row for the personal tier, count. Lower: posture alerts. 11 events in 39 238 charted triples.
        hold_personal_readings: f64 = 5.0;
        /// Lowest k of an arterial line, 1. Higher: true pulses alert. Charted 0.5 to 99.5 %: 0.17 to 0.85 and 0.20 to 0.56.
        line_low: f64 = 0.12;
        /// Highest k of an arterial line, 1. Lower: damped lines alert. Charted as above.
        line_high: f64 = 0.70;
        /// Lowest k of a cuff, 1. Higher: oscillometric cuffs alert. Charted 0.5 to 99.5 %: 0.14 to 0.40 and 0.10 to 0.43.
        cuff_low: f64 = 0.08;
        /// Highest k of a cuff, 1. Lower: true readings alert. Charted as above.
        cuff_high: f64 = 0.60;
        /// Lowest k of the pulmonary artery, 1. Higher: true pulses alert. Per minute 0.5 to 99.5 %: 0.16 to 0.53.
        pulmonary_low: f64 = 0.08;
        /// Highest k of the pulmonary artery, 1. Lower: true pulses alert. At 1 s 99.9 %: 0.81.
        pulmonary_high: f64 = 0.70;
        /// Distance from the patient's own k, 1. Lower: posture and damping alert.
        personal: f64 = 0.15;
        /// Agreement before the personal tier speaks, s. Lower: the first readings are the rule. Design choice.
        personal_after_s: f64 = 3600.0;
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Line {
    own: Ewma,
    first: Timestamp,
    last: Timestamp,
    /// Readings in a row beyond each tier, and when the first of any came.
    hard: u32,
    soft: u32,
    personal: u32,
    since: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    lines: [Line; TRIPLES.len()],
}

impl Check {
    fn soft_range(&self, sensor: Sensor) -> (f64, f64) {
        match sensor {
            Sensor::ArterialLine => (self.line_low, self.line_high),
            Sensor::PulmonaryLine => (self.pulmonary_low, self.pulmonary_high),
            Sensor::Cuff => (self.cuff_low, self.cuff_high),
            // Line or cuff, not known: both ranges together.
            _ => (self.cuff_low.min(self.line_low), self.cuff_high.max(self.line_high)),
        }
    }

    /// Whether any tier has spoken at the last reading of a line.
    fn beyond(&self, line: &Line) -> bool {
        reached(line.hard, self.hold_hard_readings)
            || reached(line.soft, self.hold_soft_readings)
            || reached(line.personal, self.hold_personal_readings)
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let mut looked = false;
        for (line, triple) in state.lines.iter_mut().zip(&TRIPLES) {
            let fresh = (view.fresh(triple[0]), view.fresh(triple[1]), view.fresh(triple[2]));
            let (Some(s), Some(m), Some(d)) = fresh else { continue };
            let pulse = s.value - d.value;
            if pulse < self.pulse_pressure_mmhg {
                continue;
            }
            let k = (m.value - d.value) / pulse;
            let (low, high) = self.soft_range(triple[0].sensor());
            let own = line.own.mean().filter(|_| line.first != Timestamp::default());
            let known = own.filter(|_| line.last.since_s(line.first) >= self.personal_after_s && line.own.count() >= 10);
            let hard = k < -1.0 / pulse || k > 1.0 + 1.0 / pulse;
            let soft = !(low..=high).contains(&k);
            let personal = known.is_some_and(|own| (k - own).abs() > self.personal);
            if !(hard || soft || personal) {
                (line.hard, line.soft, line.personal) = (0, 0, 0);
                if own.is_none() {
                    line.first = view.now;
                }
                line.own.push(k, view.now.since_s(line.last).clamp(0.0, 3600.0), 3600.0);
                line.last = view.now;
                looked = true;
                continue;
            }
            if line.hard == 0 && line.soft == 0 && line.personal == 0 {
                line.since = view.now;
            }
            let count = |run: u32, holds: bool| if holds { run.saturating_add(1) } else { 0 };
            line.hard = count(line.hard, hard);
            line.soft = count(line.soft, soft);
            line.personal = count(line.personal, personal);
            let (text, limit) = if reached(line.hard, self.hold_hard_readings) {
                ("hard", if k < 0.0 { 0.0 } else { 1.0 })
            } else if reached(line.soft, self.hold_soft_readings) {
                ("soft", if k < low { low } else { high })
            } else if reached(line.personal, self.hold_personal_readings) {
                let own = own.unwrap_or(k);
                ("personal", if k < own { own - self.personal } else { own + self.personal })
            } else {
                continue;
            };
            out.push(Verdict {
                value: Some(k),
                limit: Some(limit),
                window_s: view.now.since_s(line.since),
                set_id: Some(m.set_id),
                effective_at: Some(m.effective_at),
                text,
                args: [
                    ("m", Arg::Number(m.value, 0)),
                    ("s", Arg::Number(s.value, 0)),
                    ("d", Arg::Number(d.value, 0)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::map_form_factor, ParamSet::from_slice(triple), line.since)
            });
        }
        // A good line says nothing of a cuff whose last reading stands.
        let stands =
            |(line, triple): (&Line, &[Parameter; 3])| self.beyond(line) && view.shown(triple[1]).is_some();
        if looked && !state.lines.iter().zip(&TRIPLES).any(stands) {
            out.pass(id::map_form_factor);
        }
    }
}

/// Whether a tier's run of readings is as long as its hold.
fn reached(run: u32, hold: f64) -> bool {
    run > 0 && f64::from(run) >= hold
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};

    #[test]
    fn a_mean_outside_the_pulse_is_found_at_the_second_reading() {
        assert_eq!(story::<Check>(&TRIPLES[0], "120/87/70 120/125/70 120/125/70"), "P.F");
        assert_eq!(story::<Check>(&TRIPLES[0], "120/120.9/70 120/120.9/70"), "..", "within rounding: soft only");
    }

    #[test]
    fn a_k_that_no_artery_has_needs_three_readings() {
        assert_eq!(story::<Check>(&TRIPLES[0], "120/108/70 120/108/70 120/108/70"), "..F");
        assert_eq!(story::<Check>(&TRIPLES[0], "120/105/70 120/76/70"), "PP", "0.70 and 0.12 are inside");
        assert_eq!(story::<Check>(&TRIPLES[1], "120/100.5/70x3"), "F");
    }

    #[test]
    fn a_small_pulse_pressure_says_nothing() {
        assert_eq!(story::<Check>(&TRIPLES[2], "20/21/11x5 20/15/10"), ".P");
    }

    #[test]
    fn forged_pressures_around_a_true_mean_are_found_after_an_hour_of_the_patients_own_k() {
        let mut s = Story::<Check>::of(&TRIPLES[0]).every(60.0);
        assert_eq!(s.tell("120/87/70x50 160/87/75x5"), "PP", "no hour yet: 0.14 is a possible k");
        let mut s = Story::<Check>::of(&TRIPLES[0]).every(60.0);
        assert_eq!(s.tell("120/87/70x70 160/87/75x4 160/87/75"), "P.F");
        assert_eq!(s.found.unwrap().text, "personal");
    }

    #[test]
    fn a_good_line_does_not_take_back_what_a_cuff_shows_until_its_next_reading() {
        let all = [TRIPLES[1], TRIPLES[0]].concat();
        let cuff = |cuff: &str| format!("{cuff}/120/87/70 _/_/_/120/87/70x30");
        let mut s = Story::<Check>::of(&all);
        assert_eq!(s.tell(&cuff("118/86/70")), "PP");
        assert_eq!(s.tell(&cuff("118/128/70")), "PP");
        assert_eq!(s.tell(&cuff("118/128/70")), "F.");
        assert_eq!(s.tell(&cuff("118/86/70")), "PP");
    }

    #[test]
    fn one_charted_slip_is_none() {
        assert_eq!(story::<Check>(&TRIPLES[1], "97/60/45 148/131/136 94/58/44"), "P.P");
    }
}
