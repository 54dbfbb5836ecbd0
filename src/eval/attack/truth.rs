//! What is true of an injected copy, and what counts as having found it.
//!
//! An attack is found if an episode that counts starts between its beginning and 60 s after its end, and the clean twin does not
//! explain it. The goals are those that the project sets itself; where an attack cannot be found by what the feed
//! shows, the label says so, and the row stays.

use super::stream::{Context, beat_before};
use super::{Kind, Severity, Tier};
use crate::check::Assessment;
use crate::eval::render::Rate;
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet, Parameter, Sensor};
use serde::Serialize;

/// How long an alert of medium and of low priority waits before it leaves the house, seconds (`[episodes] annunciation_*`).
const MEDIUM_WAITS_S: u32 = 10;
const LOW_WAITS_S: u32 = 20;
const TWO_AND_MEDIUM: &str = "within 2 altered readings and the 10 s that a medium alert waits";
const TWO_AND_LOW: &str = "within 2 altered readings and the 20 s that a low alert waits";

/// Who must have been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// An alert for nurses.
    Nurse,
    /// The engineers' list counts too.
    Engineer,
}

/// A share of events within a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Goal {
    pub rate: f64,
    pub within_s: u32,
    /// Where the time is set in readings; `within_s` is then what it is in a steady feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readings: Option<Readings>,
}

/// A time in readings: until so many altered ones of a parameter have come, and so long as the alert waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Readings {
    pub number: u32,
    pub wait_s: u32,
}

/// What counts as found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counts {
    /// One of these; empty: any but advisory.
    pub assessments: &'static [Assessment],
    /// One of these checks is the condition or in the evidence; empty: any.
    pub checks: &'static [&'static str],
    pub level: Level,
    /// A message that is refused counts as found.
    pub refused: bool,
    pub goal: Option<Goal>,
    /// Under which conditions the goal is set.
    pub condition: &'static str,
}

/// A person's reading at the bedside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpotCheck {
    pub at: Timestamp,
    pub parameter: Parameter,
    pub value: f64,
}

/// What is true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Whose values are false; empty where the message itself is.
    pub params: ParamSet,
    pub counts: Counts,
    /// Why it cannot be found from what the feed shows.
    pub undetectable: Option<&'static str>,
    /// Readings of a person during the attack: the true values.
    pub spot_checks: Vec<SpotCheck>,
}

const LONE: &str = "a constant offset, a slow ramp or a plausible level on a parameter without a second source cannot be told from \
                    the patient (0 of about 120 each in recordings): check by hand any bed whose feed has only one source";
const ALL: &str = "an attacker who controls all parameters, at the right cadence, with the right resolution and natural \
                   variability, cannot be found without a second source (0 of 118 in recordings; expected at most 0.1)";
const ZERO: &str =
    "where 0 is the monitor's own sign of a lost sensor, \"80 to 0\" needs ECG rate, arterial pressure or CO2 as a witness";

use Assessment::{Artefact, Identity, Silence, Tamper, Unit};

const TAMPER: &[Assessment] = &[Tamper];
const TAMPER_IDENTITY: &[Assessment] = &[Tamper, Identity];
const LOST: &[Assessment] = &[Silence, Artefact];

impl Counts {
    const fn of(assessments: &'static [Assessment]) -> Counts {
        Counts { assessments, checks: &[], level: Level::Nurse, refused: false, goal: None, condition: "" }
    }
    const fn checks(mut self, checks: &'static [&'static str]) -> Counts {
        self.checks = checks;
        self
    }
    const fn engineer(mut self) -> Counts {
        self.level = Level::Engineer;
        self
    }
    const fn goal(mut self, rate: f64, within_s: u32, condition: &'static str) -> Counts {
        self.goal = Some(Goal { rate, within_s, readings: None });
        self.condition = condition;
        self
    }
    /// Within two altered readings and the wait of the alert.
    fn two_readings(mut self, f: &Facts, rate: f64, wait_s: u32, condition: &'static str) -> Counts {
        let readings = Readings { number: 2, wait_s };
        self.goal = Some(Goal { rate, within_s: f.readings(readings.number) + wait_s, readings: Some(readings) });
        self.condition = condition;
        self
    }
    const fn when(self, holds: bool, rate: f64, within_s: u32, condition: &'static str) -> Counts {
        if holds { self.goal(rate, within_s, condition) } else { self }
    }
}

/// What the counting rules ask of a record.
struct Facts {
    interval_s: f64,
    /// The same of the slowest target: a cuff has readings of its own.
    reading_s: f64,
    minute: bool,
    targets: ParamSet,
    /// Parameters that stay true.
    others: ParamSet,
    moving: usize,
    sensors: usize,
    /// A slow beat: the device renews its values every few seconds.
    slow_beat: bool,
}

impl Facts {
    fn of(context: &Context<'_>) -> Facts {
        let targets = context.params();
        let minute = context.bed.rate != Rate::Native || context.recording.interval_s >= 30.0;
        let continuous: Vec<u16> =
            context.columns.iter().copied().filter(|c| context.parameter(*c).nature() == Nature::Continuous).collect();
        let step = (context.recording.interval_s * 1000.0) as i64;
        let interval_s =
            if context.bed.rate == Rate::Native { context.recording.interval_s } else { context.recording.interval_s.max(60.0) };
        let moving: ParamSet = targets.iter().filter(|p| is_quick(*p)).collect();
        let cuffs = context.columns.iter().filter(|c| context.parameter(**c).nature() == Nature::Episodic);
        let reading_s = cuffs.filter_map(|c| context.recording.usual_s(*c)).fold(interval_s, f64::max);
        Facts {
            interval_s,
            reading_s,
            minute,
            targets,
            others: context.recording.parameters().minus(targets),
            moving: moving.len(),
            sensors: moving.sensors(),
            slow_beat: continuous.iter().any(|c| beat_before(context, *c).0 > step),
        }
    }
    /// Whether live values stay true beside the forged ones.
    fn is_part(&self) -> bool {
        self.others.iter().any(is_quick)
    }
    /// Whether something true is left that knows better.
    fn has_witness(&self) -> bool {
        self.targets.iter().any(|p| witnesses(p).iter().any(|w| self.others.contains(*w)))
    }
    /// Seconds of so many readings of what is forged, and the way.
    fn readings(&self, n: u32) -> u32 {
        (f64::from(n) * self.reading_s.max(1.0)).ceil() as u32 + 5
    }
    /// Seconds of so many messages and the way.
    fn messages(&self, n: u32) -> u32 {
        (f64::from(n) * self.interval_s.max(1.0)).ceil() as u32 + 5
    }
}

/// Whether a parameter is told all the time and moves within seconds.
fn is_quick(parameter: Parameter) -> bool {
    parameter.nature() == Nature::Continuous && parameter.sensor() != Sensor::Thermometer
}

/// Who measures the same by another way.
fn witnesses(parameter: Parameter) -> &'static [Parameter] {
    use Parameter as P;
    match parameter {
        P::Hr => &[P::Pr, P::PrAbp, P::PrNibp],
        P::Pr | P::PrAbp => &[P::Hr, P::PrAbp, P::PrNibp],
        P::Rr => &[P::Awrr, P::RrVent],
        P::Awrr => &[P::Rr, P::RrVent],
        P::AbpSys | P::AbpMean | P::AbpDia => &[P::NibpMean],
        P::NibpSys | P::NibpMean | P::NibpDia => &[P::AbpMean],
        _ => &[],
    }
}

/// The truth of an injection.
pub fn truth(context: &Context<'_>) -> Truth {
    let facts = Facts::of(context);
    Truth {
        start: context.start(),
        end: context.end(),
        params: facts.targets,
        counts: counts(context, &facts),
        undetectable: undetectable(context, &facts),
        spot_checks: Vec::new(),
    }
}

fn undetectable(context: &Context<'_>, facts: &Facts) -> Option<&'static str> {
    let attack = context.attack;
    let everything = facts.others.iter().all(|p| p.nature() != Nature::Continuous);
    match attack.kind {
        Kind::Offset | Kind::Ramp | Kind::RampSmooth | Kind::Drift | Kind::Scale if facts.targets.len() > 1 && everything => {
            (attack.tier >= Tier::K2).then_some(ALL)
        }
        Kind::Offset | Kind::Ramp | Kind::RampSmooth | Kind::Drift | Kind::Scale => {
            (!facts.has_witness() && attack.tier >= Tier::K1).then_some(LONE)
        }
        Kind::MaskVar | Kind::MaskArLattice if everything => Some(ALL),
        Kind::MaskVar | Kind::MaskArLattice => (!facts.has_witness()).then_some(LONE),
        Kind::ZeroStep | Kind::ZeroDecay => {
            use Parameter as P;
            let witness = [P::Hr, P::Pr, P::AbpMean, P::Etco2].iter().any(|p| facts.others.contains(*p));
            (!witness).then_some(ZERO)
        }
        _ => None,
    }
}

fn counts(context: &Context<'_>, f: &Facts) -> Counts {
    let attack = context.attack;
    let any = Counts::of(&[]);
    match attack.kind {
        Kind::ReplayExact | Kind::MaskOwnNormal | Kind::OtherExact | Kind::CloneExact => {
            let rule = Counts::of(TAMPER_IDENTITY);
            match (f.minute, f.slow_beat, f.moving) {
                (_, _, 2..) if f.is_part() => match f.minute {
                    true => {
                        rule.when(attack.duration_s >= 900, 0.9, 900, "one message a minute; only some of the live parameters")
                    }
                    false => rule.goal(0.9, 120, "only some of the live parameters"),
                },
                // Shorter ones are over before a window of values is.
                (true, _, 2..) => rule.when(attack.duration_s >= 900, 0.9, 900, "one message a minute"),
                (false, true, 2) => rule.goal(0.85, 120, "slow beat, 2 parameters; 0.95 in all"),
                (false, true, 3..) | (false, false, 2..) => {
                    rule.goal(0.9, 120, "at least 2 parameters at 1 s with ordinary change")
                }
                _ => rule,
            }
        }
        Kind::ReplayOffset | Kind::ReplayJitter | Kind::ReplayWarp | Kind::OtherMatched | Kind::CloneMatched | Kind::Swap => {
            Counts::of(TAMPER_IDENTITY)
        }
        Kind::MaskConstant if f.sensors <= 1 => any.engineer().when(!f.minute, 0.9, 600, "a lone probe: unverified counts"),
        Kind::MaskConstant | Kind::MaskAr | Kind::Smooth | Kind::Interpolate => {
            let known = f.sensors >= 2 || f.slow_beat;
            Counts::of(TAMPER).when(known && !f.minute, 0.9, 120, "a reviewed profile with a beat, or at least 2 sensors")
        }
        Kind::SmoothRounded | Kind::InterpolateRounded => {
            let known = f.sensors >= 2 || f.slow_beat;
            Counts::of(TAMPER).when(known && !f.minute, 0.8, 600, "a reviewed profile with a beat, or at least 2 sensors")
        }
        Kind::MaskArLattice | Kind::MaskVar => Counts::of(TAMPER),
        Kind::Freeze if f.moving >= 4 && f.sensors >= 2 => {
            let rule = Counts::of(TAMPER);
            if f.minute {
                rule.when(attack.duration_s >= 1800, 0.8, 1800, "one message a minute")
            } else {
                rule.when(attack.duration_s >= 60, 0.95, 90, "at least 4 parameters of at least 2 sensors at 1 s")
            }
        }
        Kind::Freeze if f.moving >= 2 => Counts::of(TAMPER),
        Kind::Freeze => any.engineer().checks(&["T04", "T03"]),
        Kind::HrForged | Kind::PrForged => {
            let by = match attack.severity {
                Severity::Units(n) => n.abs(),
                _ => 0.0,
            };
            let rule = any.checks(&["A07", "A08"]);
            if by >= 40.0 {
                rule.goal(0.9, 120.max(f.messages(3)), "a second source; at least 40 without an hour of agreement")
            } else {
                rule.when(by >= 20.0, 0.9, 300.max(f.messages(5)), "a second source, after 60 min of agreement")
            }
        }
        Kind::Offset | Kind::Ramp | Kind::RampSmooth | Kind::Drift | Kind::Scale => any,
        Kind::Spike => Counts::of(&[Artefact, Tamper]),
        Kind::ZeroStep | Kind::ZeroDecay => Counts::of(&[Tamper, Artefact, Silence]),
        Kind::TripleForged => any.checks(&["A03", "A04", "A05"]),
        Kind::PressureOrder => any.checks(&["A03", "A04"]).two_readings(f, 0.99, LOW_WAITS_S, TWO_AND_LOW),
        Kind::UnitKiloPascal | Kind::UnitFahrenheit | Kind::UnitFraction => {
            Counts::of(&[Unit]).two_readings(f, 0.99, MEDIUM_WAITS_S, TWO_AND_MEDIUM)
        }
        Kind::UnitDeclared => Counts::of(&[Unit]).checks(&["C01", "C02"]).engineer(),
        Kind::Impossible => Counts::of(&[Artefact, Unit]).checks(&["A01", "C02"]).two_readings(f, 0.99, LOW_WAITS_S, TWO_AND_LOW),
        Kind::Suppress => {
            // At one a minute the minute in which it begins still tells a value.
            let timer = (5.0 * f.interval_s).max(300.0) as u32 + if f.minute { f.interval_s as u32 } else { 0 };
            Counts::of(LOST).when(
                attack.duration_s > timer + 30,
                0.99,
                timer + 30,
                "within the stated timers (M01 for nurses: 5 min)",
            )
        }
        Kind::Silence | Kind::MassSilence => {
            let timer = (5.0 * f.interval_s).max(60.0) as u32;
            Counts::of(LOST).when(attack.duration_s > timer + 15, 0.99, timer + 15, "within the stated timers (M03)")
        }
        Kind::SuppressAbnormal => any.engineer().checks(&["M05", "M01", "M02"]),
        Kind::SuppressMarks => any.engineer().checks(&["M07"]),
        Kind::DigitsZero => any.engineer().checks(&["T11"]),
        Kind::QuantumCoarse => any.engineer().checks(&["T05", "T11"]),
        // Two looks, at three and six tenths of its time; a level that differs by less than a reading may is none.
        Kind::BedsideDiffers => any.checks(&["P15"]).when(
            f.targets.contains(Parameter::Hr) || f.targets.contains(Parameter::Pr) || f.targets.contains(Parameter::Spo2),
            0.9,
            (0.6 * f64::from(attack.duration_s)) as u32 + 15,
            "within 15 s after the second look",
        ),
        Kind::SecondSender => {
            let several = matches!(attack.severity, Severity::Messages(2..));
            Counts::of(TAMPER_IDENTITY).when(several, 0.99, f.messages(2), "within 2 messages")
        }
        Kind::SenderChange => Counts::of(TAMPER_IDENTITY).goal(0.99, f.messages(2), "within 2 messages"),
        Kind::DeviceChange | Kind::IdentityChange => Counts::of(TAMPER_IDENTITY),
        Kind::ControlIdReuse | Kind::SegmentInjection => Counts::of(TAMPER).goal(1.0, f.messages(1), "the first message"),
        Kind::TapDiffers => Counts::of(TAMPER).checks(&["P10"]).goal(1.0, f.messages(1), "the first pair"),
        Kind::ResentAsNew => Counts::of(TAMPER).engineer(),
        Kind::Backdate => any.engineer().checks(&["C03", "P01", "P05"]).goal(0.99, 120.max(f.messages(3)), "within 2 min"),
        Kind::TimeShift => {
            let far = matches!(attack.severity, Severity::Seconds(s) if !(-15.0..=10.0).contains(&s));
            any.engineer().checks(&["C03", "P05", "P06"]).when(far, 0.99, 120.max(f.messages(3)), "within 2 min")
        }
        Kind::TimeFrozen => any.engineer().checks(&["M06", "P05", "C03", "M01"]),
        Kind::AlarmFlood => any.checks(&["P14", "P11"]),
        Kind::AlarmSuppression => any.checks(&["P11"]),
        Kind::LimitWiden => any.checks(&["P12"]),
        Kind::ProfileChange => any.engineer().checks(&["C04"]),
        Kind::Abuse => Counts { refused: true, ..any.engineer() },
    }
}
