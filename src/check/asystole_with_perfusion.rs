use super::{Arg, Args, Judge, Verdict, Verdicts, View, id};
use crate::observation::{AlarmKind, AlarmPhase, ObsFlags, Observation, Report, Validity};
use crate::profile::Zero;
use crate::stats::hold::Hold;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Sensor};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a heart or pulse rate of 0 while another sensor sees blood flow.
    /// ## Why it matters
    /// A number that drops to 0 calls everybody; a heart that stands still beside an arterial pulse is the sensor, or a number
    /// that somebody wrote.
    /// ## How it decides
    /// A row of exactly 0 with a good status, without a technical mark, for 30 s and on two readings, while the sensor's other
    /// numbers go on (SpO2 of the probe, the breath that the electrodes feel) and on every reading another sensor shows flow: an
    /// arterial pulse of 20 mmHg or more, another rate of 30 or more, EtCO2 of 20 or more with breaths, or for the ECG an SpO2
    /// that goes on changing: one that is held proves nothing. Most monitors send 0 for "no signal". Where the device's profile
    /// says so, nothing is said. Where it says that 0 is measured, every such run is looked at, and the probe's own changing SpO2
    /// is a weak witness too. Where it says nothing, only an abrupt one is: a rate above 40 that is 0 at most two updates later.
    /// The finding weighs as evidence for a forged number only if it began so and no other sensor shows a disturbance.
    /// ## Known false alerts
    /// A lead that comes off, a probe that loses the pulse, both with 0 as "no signal"; chest compressions (they make the flow:
    /// look at the patient).
    /// ## References
    /// Aboukhalil et al. 2008 (false asystole, mostly signal quality). Steps of PR from above 40 to 0: 3.0 a bed-day on one
    /// monitor, none of 30 s; 284 on another, 57 of 30 s, 1.35 of 60 s with a changing SpO2. With a profile that says nothing of
    /// zero and marks sent as 0: none in 6.3 bed-days of the 201 records that hold a rate beside another sensor's.
    "A15" "asystole_with_perfusion" class=Coherence evidence=true weights=(75, 0, 20) rest=Unverified
    {
        /// Must last, s. Lower: lost pulses alert (longest step to 0 on one monitor: 23 s). Higher: slower.
        hold_s: f64 = 30.0;
        /// And so many readings, count. Lower: at one value a minute one reading alerts.
        hold_readings: f64 = 2.0;
        /// Arterial pulse that is flow, mmHg. Lower: noise of a line is flow. Aboukhalil 2008.
        pulse_mmhg: f64 = 20.0;
        /// Another rate that is flow, /min. Lower: a dying heart is contradicted.
        rate_bpm: f64 = 30.0;
        /// EtCO2 that is flow, mmHg. Lower: compressions without output are flow.
        co2_mmhg: f64 = 20.0;
        /// SpO2 counts as changing for so long after a change, s. Higher: a held value that moved once is flow.
        changing_s: f64 = 30.0;
        /// An abrupt zero comes from a rate above, /min. Lower: a slow heart that stops is a step.
        step_bpm: f64 = 40.0;
        /// Within so many updates, count. Higher: a true decline is a step.
        step_updates: f64 = 2.0;
        /// Disturbance of another sensor around the step: rate, /min. Lower: usual variation excuses it.
        transient_bpm: f64 = 20.0;
        /// The same: arterial mean, mmHg. Lower: as above.
        transient_mmhg: f64 = 20.0;
        /// The same: SpO2, %. Lower: as above.
        transient_percent: f64 = 5.0;
    }
}

/// Evidence of a zero that is not abrupt, or comes with a disturbance: too little to be joined to any other family's.
const LOG10_E_WEAK: f64 = 1.0;

const RATES: [Parameter; 2] = [Parameter::Hr, Parameter::Pr];

/// What is watched for a disturbance, and how long before the step it may have begun, s.
const WATCHED: [Parameter; 4] = [Parameter::AbpMean, Parameter::Hr, Parameter::Pr, Parameter::Spo2];
const BEFORE_S: f64 = 10.0;

/// A rate that reads 0.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Run {
    /// 0 while another sensor sees flow.
    hold: Hold,
    goes_on: bool,
    /// Own time of the newest row of 0.
    at: Timestamp,
    /// It is looked at at all; it began at once; no other sensor is disturbed.
    counts: bool,
    abrupt: bool,
    steady: bool,
    /// What the other sensors showed when it began; NaN for what was not there.
    before: [f32; WATCHED.len()],
    /// Changes of SpO2 since, and when the last one came.
    spo2: f32,
    moves: u8,
    moved_at: Timestamp,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            hold: Hold::default(),
            goes_on: false,
            at: Timestamp::MIN,
            counts: false,
            abrupt: false,
            steady: false,
            before: [f32::NAN; WATCHED.len()],
            spo2: f32::NAN,
            moves: 0,
            moved_at: Timestamp::MIN,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct State {
    runs: [Run; RATES.len()],
}

/// The row that speaks for a rate.
fn row<'r>(report: &'r Report, view: &View<'_>, rate: Parameter) -> Option<&'r Observation> {
    let own = view.bed.stream(rate).map(|s| s.channel);
    let mut rows = report.observations.iter().filter(|o| o.parameter == rate && !o.flags.has(ObsFlags::SHOWN_ONLY));
    rows.find(|o| own.is_none_or(|channel| o.channel == channel))
}

/// A zero that the sender calls a good value.
fn is_zero(o: &Observation) -> bool {
    o.validity == Validity::Valid && o.value == 0.0 && !o.flags.has(ObsFlags::HELD)
}

/// The monitor itself says that the sensor does not measure.
fn is_technical(report: &Report, sensor: Sensor) -> bool {
    report.alarms.iter().any(|a| {
        a.kind == AlarmKind::Technical && a.phase != AlarmPhase::End && a.parameter.is_none_or(|p| p.sensor() == sensor)
    })
}

/// The other numbers of the same sensor go on: it is on the patient.
fn sensor_is_on(view: &View<'_>, rate: Parameter) -> bool {
    match rate {
        Parameter::Pr => view.near(Parameter::Spo2).is_some(),
        // The electrodes also feel the breath, where that is sent.
        _ => !view.lost(Parameter::Rr) && view.near(Parameter::Rr) != Some(0.0),
    }
}

impl Check {
    fn begin(&self, run: &mut Run, view: &View<'_>, rate: Parameter, o: &Observation) {
        *run = Run { goes_on: true, ..Run::default() };
        run.abrupt = view.bed.stream(rate).is_some_and(|s| {
            let update_s = s.delta_s().or(view.bed.delta_s()).unwrap_or(1.0);
            let latest = s.latest.filter(|_| !s.is_charted());
            latest.is_some_and(|latest| {
                let gap_s = o.effective_at.since_s(latest.effective_at);
                latest.value > self.step_bpm && gap_s <= self.step_updates * update_s + 0.5
            })
        });
        run.counts = match view.profile.zero(rate) {
            Zero::Measured => true,
            Zero::Assumed => run.abrupt,
            Zero::Sentinel => false,
        };
        run.steady = true;
        for (before, p) in run.before.iter_mut().zip(WATCHED) {
            if p == rate {
                continue;
            }
            let Some(value) = view.near(p) else { continue };
            *before = value as f32;
            let recent = view.bed.stream(p).and_then(|s| s.recent.envelope(o.effective_at.plus_s(-BEFORE_S)));
            if let Some((low, high)) = recent {
                run.steady &= (value - low).max(high - value) <= self.transient(p);
            }
        }
        run.spo2 = view.near(Parameter::Spo2).map_or(f32::NAN, |v| v as f32);
    }

    fn transient(&self, p: Parameter) -> f64 {
        match p {
            Parameter::AbpMean => self.transient_mmhg,
            Parameter::Spo2 => self.transient_percent,
            _ => self.transient_bpm,
        }
    }

    fn follow(&self, run: &mut Run, view: &View<'_>) {
        for (before, p) in run.before.iter().zip(WATCHED).filter(|(before, _)| !before.is_nan()) {
            run.steady &= view.near(p).is_some_and(|v| (v - f64::from(*before)).abs() <= self.transient(p));
        }
        if let Some(spo2) = view.near(Parameter::Spo2)
            && spo2 as f32 != run.spo2
        {
            // After a gap the first value is no change.
            if !run.spo2.is_nan() {
                run.moves = run.moves.saturating_add(1);
                run.moved_at = view.now;
            }
            run.spo2 = spo2 as f32;
        }
    }

    /// Who sees flow, as the sentence's variant, and its numbers.
    fn witness(&self, run: &Run, view: &View<'_>, rate: Parameter) -> Option<(&'static str, Args)> {
        use Parameter::{AbpDia, AbpSys, Awrr, Etco2, Hr, Pr, PrAbp, Spo2};
        let number = |name: &'static str, v: f64| (name, Arg::Number(v, 0));
        let parts = if let Some((s, d)) = view.near(AbpSys).zip(view.near(AbpDia)).filter(|(s, d)| s - d >= self.pulse_mmhg) {
            ("line", [number("s", s), number("d", d)])
        } else if let Some((other, v)) = [Hr, Pr, PrAbp]
            .into_iter()
            .filter(|p| p.sensor() != rate.sensor())
            .find_map(|p| view.near(p).filter(|v| *v >= self.rate_bpm).map(|v| (p, v)))
        {
            ("rate", [("o", Arg::Parameter(other)), number("v", v)])
        } else if let Some((co2, rr)) =
            view.near(Etco2).zip(view.near(Awrr)).filter(|(co2, rr)| *co2 >= self.co2_mmhg && *rr >= 1.0)
        {
            ("co2", [number("v", co2), number("b", rr)])
        } else {
            let own_measured = rate != Pr || view.profile.zero(rate) == Zero::Measured;
            let changing = run.moves >= 2 && view.now.since_s(run.moved_at) <= self.changing_s;
            let spo2 = view.near(Spo2).filter(|_| own_measured && changing)?;
            ("saturation", [number("v", spo2), number("m", f64::from(run.moves))])
        };
        Some((parts.0, parts.1.into_iter().collect()))
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report.filter(|_| view.clock.is_live()) else { return };
        let (mut looked, mut holds) = (false, false);
        for (run, rate) in state.runs.iter_mut().zip(RATES) {
            let Some(o) = row(report, view, rate) else {
                holds |= run.hold.runs();
                continue;
            };
            if !is_zero(o) || is_technical(report, rate.sensor()) {
                run.hold.end();
                run.goes_on = false;
                looked = true;
                continue;
            }
            if o.effective_at == run.at {
                holds |= run.hold.runs();
                continue;
            }
            let pause_s = view.pause_s(&[rate]);
            // A run that was not seen for long is over, also for what is known of its beginning.
            if !run.goes_on || o.effective_at.since_s(run.at) > pause_s {
                self.begin(run, view, rate, o);
            } else {
                self.follow(run, view);
            }
            run.at = o.effective_at;
            let on = sensor_is_on(view, rate);
            if view.profile.zero(rate) == Zero::Assumed {
                run.counts &= on;
            }
            let witness = if run.counts && on { self.witness(run, view, rate) } else { None };
            let Some((text, mut args)) = witness else {
                // The zero goes on and nobody sees flow.
                run.hold.end();
                continue;
            };
            run.hold.push(view.now, pause_s);
            holds = true;
            if !run.hold.reached(self.hold_readings, self.hold_s) || !view.settled() {
                continue;
            }
            let lasted_s = run.hold.lasted_s();
            // The probe's saturation is no other sensor than its pulse.
            let own = text == "saturation" && rate == Parameter::Pr;
            args.push(("p", Arg::Parameter(rate)));
            args.push(("t", Arg::Number(lasted_s, 0)));
            args.push(view.bed_arg());
            out.push(Verdict {
                log10_e: if run.abrupt && run.steady && !own { 2.0 } else { LOG10_E_WEAK },
                value: Some(0.0),
                unit: "/min",
                window_s: lasted_s,
                set_id: Some(o.set_id),
                effective_at: Some(o.effective_at),
                text,
                args,
                ..Verdict::new(id::asystole_with_perfusion, ParamSet::of(rate), run.hold.since())
            });
        }
        if looked && !holds && view.settled() {
            out.pass(id::asystole_with_perfusion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::observation::Alarm;
    use crate::profile::Profile;

    const LINE: [Parameter; 4] = [Parameter::Hr, Parameter::AbpSys, Parameter::AbpMean, Parameter::AbpDia];
    const PROBE: [Parameter; 2] = [Parameter::Pr, Parameter::Spo2];
    const CAPNO: [Parameter; 4] = [Parameter::Pr, Parameter::Spo2, Parameter::Etco2, Parameter::Awrr];

    /// A story of a device whose profile says what a zero of a rate is.
    fn with(zero: &str, params: &[Parameter]) -> Story<Check> {
        let text = format!("schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = false\n{zero}\n");
        let mut s = Story::<Check>::of(params);
        s.profile = Profile::from_toml(&text).unwrap();
        s.profile.reviewed = true;
        s
    }

    #[test]
    fn a_heart_rate_that_drops_to_0_beside_an_arterial_pulse_is_found_after_30_s() {
        let mut s = Story::<Check>::of(&LINE);
        assert_eq!(s.tell("80/120/85/65x60 0/120/85/65x30 0/120/85/65 80/120/85/65"), "P.FP");
        let verdict = s.found.unwrap();
        assert_eq!((verdict.text, verdict.log10_e, verdict.window_s), ("line", 2.0, 30.0));
        assert_eq!(verdict.params, ParamSet::of(Parameter::Hr));
        assert_eq!(story::<Check>(&LINE, "80/120/85/65x60 0/104/90/85x300"), "P.", "a pulse of 19 is no flow");
        assert_eq!(story::<Check>(&LINE, "80/120/85/65x60 0/105/90/85x31"), "PF");
    }

    #[test]
    fn another_rate_or_co2_with_breaths_is_flow() {
        assert_eq!(story::<Check>(&[Parameter::Hr, Parameter::Pr], "80/80x60 0/30x31"), "PF");
        assert_eq!(story::<Check>(&[Parameter::Hr, Parameter::Pr], "80/80x60 0/29x99"), "PP");
        assert_eq!(story::<Check>(&CAPNO, "80/97/35/12x60 0/97/20/12x31"), "PF");
        assert_eq!(story::<Check>(&CAPNO, "80/97/35/12x60 0/97/19/12x99"), "P.");
        assert_eq!(story::<Check>(&CAPNO, "80/97/35/12x60 0/97/35/0x99"), "P.", "no breath: an old number");
    }

    #[test]
    fn a_lost_pulse_beside_a_held_saturation_is_none() {
        for zero in ["", "zero_is_measured = [\"pr\"]"] {
            assert_eq!(with(zero, &PROBE).tell("87/89x60 0/88x23 0/89 86/89"), "P..P", "{zero}");
            assert_eq!(with(zero, &PROBE).tell("87/89x60 0/89x600"), "P.", "{zero}");
        }
    }

    #[test]
    fn the_probes_own_saturation_is_a_witness_only_where_its_zero_is_measured_and_it_goes_on_changing() {
        let changing = "0/88x10 0/89x10 ".repeat(5);
        assert_eq!(with("", &PROBE).tell(&format!("87/89x60 {changing}")), "P..........");
        let mut s = with("zero_is_measured = [\"pr\"]", &PROBE);
        assert_eq!(s.tell(&format!("87/89x60 {changing}")).pop(), Some('F'));
        assert_eq!(s.found.unwrap().log10_e, LOG10_E_WEAK, "one probe is one witness");
    }

    #[test]
    fn a_saturation_that_goes_on_changing_is_flow_for_the_electrodes() {
        let rows = [Parameter::Hr, Parameter::Spo2];
        let changing = "0/97x10 0/96x10 ".repeat(3);
        assert_eq!(story::<Check>(&rows, &format!("80/97x60 {changing}")).pop(), Some('F'));
        assert_eq!(story::<Check>(&rows, "80/97x60 0/97x300"), "P.", "held");
    }

    #[test]
    fn a_profile_that_calls_zero_no_measurement_silences_it() {
        assert_eq!(with("[sentinels]\nhr = [0.0]", &LINE).tell("80/120/85/65x60 0/120/85/65x300"), "P.");
    }

    #[test]
    fn where_nobody_said_what_zero_is_only_an_abrupt_one_counts() {
        let slow = "80/120/85/65x60 40/120/85/65x10 0/120/85/65x60";
        assert_eq!(story::<Check>(&LINE, slow), "PP.");
        let mut s = with("zero_is_measured = [\"hr\"]", &LINE);
        assert_eq!(s.tell(slow), "PPF");
        assert_eq!(s.found.unwrap().log10_e, LOG10_E_WEAK, "no step from above 40");
        assert_eq!(story::<Check>(&LINE, "80/120/85/65x60 -/120/85/65x3 0/120/85/65x60"), "PP.", "four updates later");
        assert_eq!(story::<Check>(&LINE, "80/120/85/65x60 41/120/85/65 0/120/85/65x31"), "PPF");
    }

    #[test]
    fn a_probe_or_electrodes_that_came_off_are_none() {
        let both = [Parameter::Hr, Parameter::Pr, Parameter::Spo2, Parameter::Rr];
        for zero in ["", "zero_is_measured = [\"pr\", \"hr\"]"] {
            assert_eq!(with(zero, &both).tell("72/72/98/14x60 72/0/0/14x300"), "PP", "all of the probe");
        }
        assert_eq!(story::<Check>(&both, "72/72/98/14x60 0/72/98/0x300"), "PP", "all of the electrodes");
        assert_eq!(story::<Check>(&both, "72/72/98/14x60 0/72/98/-x300"), "PP");
        assert_eq!(story::<Check>(&both, "72/72/98/14x60 0/72/98/14x31"), "PF", "the electrodes still feel the breath");
    }

    #[test]
    fn a_disturbance_of_another_sensor_takes_the_weight() {
        for (rest, expected) in [("120/85/65", 2.0), ("150/106/80", LOG10_E_WEAK)] {
            let mut s = Story::<Check>::of(&LINE);
            s.tell(&format!("80/120/85/65x60 0/120/85/65x10 0/{rest}x40"));
            assert_eq!(s.found.unwrap().log10_e, expected, "{rest}");
        }
    }

    #[test]
    fn a_technical_mark_of_the_monitor_silences_it() {
        let mut s = Story::<Check>::of(&LINE);
        s.tell("80/120/85/65x60");
        for _ in 0..60 {
            s.now = s.now.plus_s(1.0);
            let values = [0.0, 120.0, 85.0, 65.0];
            let rows =
                LINE.iter().zip(values).map(|(p, v)| crate::check::story::observation(*p, v, s.now)).collect::<Vec<_>>();
            let mut report = s.report(rows);
            report.alarms.push(Alarm {
                parameter: Some(Parameter::Hr),
                ordinal: 0,
                effective_at: s.now,
                phase: AlarmPhase::Start,
                kind: AlarmKind::Technical,
                priority: crate::observation::AlarmPriority::Low,
                inactivated: false,
                key: 1,
            });
            assert_ne!(s.send(&report), 'F');
        }
    }

    #[test]
    fn at_one_value_a_minute_two_readings_are_needed() {
        let mut s = Story::<Check>::of(&LINE).every(60.0);
        assert_eq!(s.tell("80/120/85/65x20 0/120/85/65 0/120/85/65"), "P.F");
    }
}
