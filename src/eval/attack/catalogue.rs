//! The table of attacks: every kind by severity, duration, parameters and what the attacker knows.

use super::{Attack, Kind, Severity, Target, Tier, Vector};
use crate::vital::Parameter;
use Tier::{K0, K1, K2, K3};

const MIN: u32 = 60;

impl Kind {
    pub const ALL: [Kind; 60] = {
        use Kind as K;
        [
            K::Offset,
            K::Ramp,
            K::RampSmooth,
            K::Drift,
            K::Scale,
            K::Freeze,
            K::ReplayExact,
            K::ReplayOffset,
            K::ReplayJitter,
            K::ReplayWarp,
            K::OtherExact,
            K::OtherMatched,
            K::CloneExact,
            K::CloneMatched,
            K::Swap,
            K::Spike,
            K::ZeroStep,
            K::ZeroDecay,
            K::MaskConstant,
            K::MaskAr,
            K::MaskArLattice,
            K::MaskOwnNormal,
            K::MaskVar,
            K::TripleForged,
            K::PressureOrder,
            K::HrForged,
            K::PrForged,
            K::Suppress,
            K::SuppressAbnormal,
            K::SuppressMarks,
            K::Smooth,
            K::SmoothRounded,
            K::Interpolate,
            K::InterpolateRounded,
            K::UnitKiloPascal,
            K::UnitFahrenheit,
            K::UnitFraction,
            K::DigitsZero,
            K::QuantumCoarse,
            K::Impossible,
            K::BedsideDiffers,
            K::SecondSender,
            K::SenderChange,
            K::DeviceChange,
            K::IdentityChange,
            K::ControlIdReuse,
            K::ResentAsNew,
            K::TimeShift,
            K::Backdate,
            K::TimeFrozen,
            K::SegmentInjection,
            K::AlarmFlood,
            K::AlarmSuppression,
            K::LimitWiden,
            K::Silence,
            K::MassSilence,
            K::TapDiffers,
            K::UnitDeclared,
            K::ProfileChange,
            K::Abuse,
        ]
    };

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Offset => "offset",
            Kind::Ramp => "ramp",
            Kind::RampSmooth => "ramp_smooth",
            Kind::Drift => "drift",
            Kind::Scale => "scale",
            Kind::Freeze => "freeze",
            Kind::ReplayExact => "replay_exact",
            Kind::ReplayOffset => "replay_offset",
            Kind::ReplayJitter => "replay_jitter",
            Kind::ReplayWarp => "replay_warp",
            Kind::OtherExact => "other_exact",
            Kind::OtherMatched => "other_matched",
            Kind::CloneExact => "clone_exact",
            Kind::CloneMatched => "clone_matched",
            Kind::Swap => "swap",
            Kind::Spike => "spike",
            Kind::ZeroStep => "zero_step",
            Kind::ZeroDecay => "zero_decay",
            Kind::MaskConstant => "mask_constant",
            Kind::MaskAr => "mask_ar",
            Kind::MaskArLattice => "mask_ar_lattice",
            Kind::MaskOwnNormal => "mask_own_normal",
            Kind::MaskVar => "mask_var",
            Kind::TripleForged => "triple_forged",
            Kind::PressureOrder => "pressure_order",
            Kind::HrForged => "hr_forged",
            Kind::PrForged => "pr_forged",
            Kind::Suppress => "suppress",
            Kind::SuppressAbnormal => "suppress_abnormal",
            Kind::SuppressMarks => "suppress_marks",
            Kind::Smooth => "smooth",
            Kind::SmoothRounded => "smooth_rounded",
            Kind::Interpolate => "interpolate",
            Kind::InterpolateRounded => "interpolate_rounded",
            Kind::UnitKiloPascal => "unit_kilo_pascal",
            Kind::UnitFahrenheit => "unit_fahrenheit",
            Kind::UnitFraction => "unit_fraction",
            Kind::DigitsZero => "digits_zero",
            Kind::QuantumCoarse => "quantum_coarse",
            Kind::Impossible => "impossible",
            Kind::BedsideDiffers => "bedside_differs",
            Kind::SecondSender => "second_sender",
            Kind::SenderChange => "sender_change",
            Kind::DeviceChange => "device_change",
            Kind::IdentityChange => "identity_change",
            Kind::ControlIdReuse => "control_id_reuse",
            Kind::ResentAsNew => "resent_as_new",
            Kind::TimeShift => "time_shift",
            Kind::Backdate => "backdate",
            Kind::TimeFrozen => "time_frozen",
            Kind::SegmentInjection => "segment_injection",
            Kind::AlarmFlood => "alarm_flood",
            Kind::AlarmSuppression => "alarm_suppression",
            Kind::LimitWiden => "limit_widen",
            Kind::Silence => "silence",
            Kind::MassSilence => "mass_silence",
            Kind::TapDiffers => "tap_differs",
            Kind::UnitDeclared => "unit_declared",
            Kind::ProfileChange => "profile_change",
            Kind::Abuse => "abuse",
        }
    }

    /// Class of the taxonomy.
    pub const fn taxonomy(self) -> &'static str {
        match self {
            Kind::Impossible | Kind::Spike | Kind::ZeroStep | Kind::ZeroDecay | Kind::PressureOrder => "X01",
            Kind::Offset | Kind::HrForged | Kind::PrForged | Kind::TripleForged => "X02",
            Kind::Ramp | Kind::RampSmooth | Kind::Drift => "X03",
            Kind::Scale | Kind::UnitKiloPascal | Kind::UnitFahrenheit | Kind::UnitFraction => "X04",
            Kind::Freeze => "X05",
            Kind::ReplayExact | Kind::ReplayOffset | Kind::ReplayJitter | Kind::ReplayWarp => "X06",
            Kind::ControlIdReuse | Kind::ResentAsNew => "X06",
            Kind::OtherExact | Kind::OtherMatched | Kind::CloneExact | Kind::CloneMatched => "X07",
            Kind::Swap | Kind::IdentityChange => "X08",
            Kind::Suppress | Kind::SuppressAbnormal | Kind::SuppressMarks => "X09",
            Kind::Silence => "X10",
            Kind::MassSilence => "X11",
            Kind::MaskConstant | Kind::MaskAr | Kind::MaskArLattice | Kind::MaskOwnNormal | Kind::MaskVar => "X12",
            Kind::Smooth | Kind::SmoothRounded | Kind::Interpolate | Kind::InterpolateRounded => "X12",
            Kind::DigitsZero | Kind::QuantumCoarse => "X12",
            Kind::AlarmFlood => "X13",
            Kind::AlarmSuppression => "X14",
            Kind::TimeShift | Kind::Backdate | Kind::TimeFrozen => "X15",
            Kind::SecondSender => "X16",
            Kind::SenderChange | Kind::DeviceChange => "X17",
            Kind::TapDiffers => "X18",
            Kind::SegmentInjection => "X19",
            Kind::Abuse => "X20",
            Kind::BedsideDiffers => "X22",
            Kind::LimitWiden | Kind::UnitDeclared | Kind::ProfileChange => "X23",
        }
    }

    /// Whether messages are changed, not values.
    pub const fn is_protocol(self) -> bool {
        matches!(
            self,
            Kind::SecondSender
                | Kind::SenderChange
                | Kind::DeviceChange
                | Kind::IdentityChange
                | Kind::ControlIdReuse
                | Kind::ResentAsNew
                | Kind::TimeShift
                | Kind::Backdate
                | Kind::TimeFrozen
                | Kind::SegmentInjection
                | Kind::AlarmFlood
                | Kind::AlarmSuppression
                | Kind::LimitWiden
                | Kind::Silence
                | Kind::MassSilence
                | Kind::TapDiffers
                | Kind::UnitDeclared
                | Kind::ProfileChange
                | Kind::Abuse
        )
    }
    /// Whether a second recording is needed.
    pub const fn needs_donor(self) -> bool {
        matches!(
            self,
            Kind::OtherExact | Kind::OtherMatched | Kind::CloneExact | Kind::CloneMatched | Kind::Swap | Kind::MassSilence
        )
    }
}

#[derive(Default)]
struct Table {
    list: Vec<Attack>,
}

impl Table {
    fn add(&mut self, kind: Kind, severities: &[Severity], durations_s: &[u32], params: &[(Target, &[Tier])]) {
        for severity in severities {
            for duration_s in durations_s {
                for (target, tiers) in params {
                    for tier in *tiers {
                        self.list.push(Attack {
                            kind,
                            severity: *severity,
                            duration_s: *duration_s,
                            params: *target,
                            tier: *tier,
                        });
                    }
                }
            }
        }
    }
}

/// Every attack, in the order of the table.
pub fn catalogue() -> Vec<Attack> {
    use Severity as S;
    let mut t = Table::default();
    // One parameter by someone naive or not, a coupled group, everything.
    let wide: &[(Target, &[Tier])] = &[(Target::One, &[K0, K1]), (Target::Group, &[K1]), (Target::All, &[K2, K3])];
    let one: &[(Target, &[Tier])] = &[(Target::One, &[K1])];
    let all: &[(Target, &[Tier])] = &[(Target::All, &[K1])];
    let group_and_all: &[(Target, &[Tier])] = &[(Target::Group, &[K1]), (Target::All, &[K1])];
    let message: &[(Target, &[Tier])] = &[(Target::Message, &[K0])];
    let copied: &[(Target, &[Tier])] = &[(Target::Message, &[K0, K1])];
    let percent = [-40.0, -20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 40.0].map(S::Percent);

    t.add(Kind::Offset, &percent, &[2 * MIN, 10 * MIN, 30 * MIN], wide);
    t.add(Kind::Ramp, &percent, &[10 * MIN, 30 * MIN, 60 * MIN], wide);
    t.add(Kind::RampSmooth, &percent, &[10 * MIN, 30 * MIN, 60 * MIN], &[(Target::One, &[K1]), (Target::All, &[K2, K3])]);
    let drift = [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0].map(S::UnitsPerMinute);
    t.add(Kind::Drift, &drift, &[10 * MIN, 30 * MIN, 60 * MIN], one);
    t.add(Kind::Scale, &[0.8, 0.9, 1.1, 1.25].map(S::Factor), &[10 * MIN], wide);
    t.add(Kind::Freeze, &[S::Plain], &[MIN, 5 * MIN, 10 * MIN, 30 * MIN], &[(Target::One, &[K0]), (Target::All, &[K0])]);
    for kind in [Kind::ReplayExact, Kind::ReplayJitter] {
        t.add(kind, &[S::Plain], &[5 * MIN, 10 * MIN, 30 * MIN], &[(Target::All, &[K0, K1])]);
    }
    t.add(Kind::ReplayOffset, &[-5.0, 5.0].map(S::Percent), &[5 * MIN, 10 * MIN, 30 * MIN], all);
    t.add(Kind::ReplayWarp, &[S::Factor(1.02)], &[5 * MIN, 10 * MIN, 30 * MIN], all);
    for kind in [Kind::OtherExact, Kind::OtherMatched, Kind::CloneExact, Kind::CloneMatched] {
        t.add(kind, &[S::Plain], &[10 * MIN, 30 * MIN], all);
    }
    t.add(Kind::Swap, &[S::Plain], &[30 * MIN], all);
    t.add(Kind::Spike, &[1, 3, 10].map(S::Updates), &[MIN], &[(Target::One, &[K0])]);
    let zeroed: &[(Target, &[Tier])] =
        &[(Target::Only(Parameter::Hr), &[K0]), (Target::Pair(Parameter::Hr, Parameter::Pr), &[K0]), (Target::All, &[K0])];
    t.add(Kind::ZeroStep, &[S::Plain], &[30, 2 * MIN, 10 * MIN], zeroed);
    t.add(Kind::ZeroDecay, &[S::Seconds(5.0)], &[30, 2 * MIN, 10 * MIN], zeroed);
    // The same on the feeds that have a pulse rate alone.
    t.add(Kind::ZeroStep, &[S::Plain], &[10 * MIN], &[(Target::Only(Parameter::Pr), &[K0])]);
    let masks = [10 * MIN, 30 * MIN, 60 * MIN];
    t.add(Kind::MaskConstant, &[S::Plain], &masks, &[(Target::Group, &[K0]), (Target::All, &[K0])]);
    t.add(Kind::MaskAr, &[S::Plain], &masks, &[(Target::Group, &[K0]), (Target::All, &[K0])]);
    t.add(Kind::MaskArLattice, &[S::Plain], &masks, group_and_all);
    t.add(Kind::MaskOwnNormal, &[S::Plain], &masks, group_and_all);
    t.add(Kind::MaskVar, &[S::Plain], &masks, &[(Target::Group, &[K1]), (Target::All, &[K2, K3])]);
    let lines: &[(Target, &[Tier])] = &[(Target::Line(Parameter::AbpMean), &[K1]), (Target::Line(Parameter::PapMean), &[K1])];
    // A cuff reads every quarter of an hour or so: two readings and more.
    let cuff: &[(Target, &[Tier])] = &[(Target::Line(Parameter::NibpMean), &[K1])];
    for (lines, lasts_s) in [(lines, 10 * MIN), (cuff, 45 * MIN)] {
        t.add(Kind::TripleForged, &[-20.0, 20.0, 40.0].map(S::Units), &[lasts_s], lines);
        t.add(Kind::PressureOrder, &[S::Units(10.0)], &[lasts_s], lines);
    }
    let by = [-40.0, -20.0, 20.0, 40.0].map(S::Units);
    t.add(Kind::HrForged, &by, &[10 * MIN], &[(Target::Only(Parameter::Hr), &[K1])]);
    t.add(Kind::PrForged, &by, &[10 * MIN], &[(Target::Only(Parameter::Pr), &[K1])]);
    t.add(Kind::Suppress, &[S::Plain], &[30, 2 * MIN, 10 * MIN, 30 * MIN], &[(Target::One, &[K0]), (Target::Group, &[K0])]);
    t.add(Kind::SuppressAbnormal, &[S::Plain], &[10 * MIN, 30 * MIN], &[(Target::One, &[K1]), (Target::All, &[K1])]);
    t.add(Kind::SuppressMarks, &[S::Plain], &[10 * MIN, 30 * MIN, 60 * MIN], all);
    for kind in [Kind::Smooth, Kind::Interpolate] {
        t.add(kind, &[30.0, 60.0].map(S::Window), &[10 * MIN], &[(Target::One, &[K0]), (Target::All, &[K0])]);
    }
    for kind in [Kind::SmoothRounded, Kind::InterpolateRounded] {
        t.add(kind, &[30.0, 60.0].map(S::Window), &[10 * MIN], &[(Target::One, &[K1]), (Target::All, &[K1])]);
    }
    t.add(Kind::UnitKiloPascal, &[S::Plain], &[10 * MIN], one);
    t.add(Kind::UnitFahrenheit, &[S::Plain], &[10 * MIN], one);
    t.add(Kind::UnitFraction, &[S::Plain], &[10 * MIN], one);
    t.add(Kind::DigitsZero, &[S::Percent(40.0)], &[30 * MIN], one);
    t.add(Kind::QuantumCoarse, &[S::Factor(5.0)], &[30 * MIN], one);
    t.add(Kind::Impossible, &[S::Plain], &[30, 2 * MIN], &[(Target::One, &[K0])]);
    t.add(Kind::BedsideDiffers, &[-20.0, 20.0].map(S::Percent), &[30 * MIN], &[(Target::All, &[K2])]);

    t.add(Kind::SecondSender, &[1, 5, 60].map(S::Messages), &[10 * MIN], copied);
    t.add(Kind::SenderChange, &[S::Plain], &[10 * MIN], copied);
    t.add(Kind::DeviceChange, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::IdentityChange, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::ControlIdReuse, &[S::Messages(1), S::Messages(5)], &[MIN], message);
    t.add(Kind::ResentAsNew, &[S::Plain], &[5 * MIN], message);
    let shifts = [-5.0, -60.0, -3600.0, -86_400.0, 30.0].map(S::Seconds);
    t.add(Kind::TimeShift, &shifts, &[10 * MIN], message);
    t.add(Kind::Backdate, &[-60.0, -600.0, -3600.0].map(S::Seconds), &[10 * MIN], message);
    t.add(Kind::TimeFrozen, &[S::Plain], &[10 * MIN], message);
    let vectors = [Vector::NameObx, Vector::IdPid, Vector::SecondHeader, Vector::SecondPlace, Vector::OrderBroken].map(S::Vector);
    t.add(Kind::SegmentInjection, &vectors, &[MIN], message);
    t.add(Kind::AlarmFlood, &[S::Messages(60)], &[10 * MIN], message);
    t.add(Kind::AlarmSuppression, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::LimitWiden, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::Silence, &[S::Plain], &[2 * MIN, 10 * MIN], message);
    t.add(Kind::MassSilence, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::TapDiffers, &[S::Units(15.0)], &[2 * MIN], message);
    t.add(Kind::UnitDeclared, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::ProfileChange, &[S::Plain], &[10 * MIN], message);
    t.add(Kind::Abuse, &[Vector::Oversize, Vector::BrokenOff, Vector::WrongEncoding].map(S::Vector), &[MIN], message);
    t.list
}

/// One attack of every kind, target and tier: the shortest of the greatest severity.
pub fn short() -> Vec<Attack> {
    let mut list: Vec<Attack> = Vec::new();
    for attack in catalogue() {
        // Every way to break a message is an attack of its own.
        let other = |a: &Attack| matches!(attack.severity, Severity::Vector(_)) && a.severity != attack.severity;
        let same = |a: &Attack| a.kind == attack.kind && a.tier == attack.tier && a.params == attack.params && !other(a);
        let taken = list.iter_mut().find(|a| same(a));
        match taken {
            None => list.push(attack),
            Some(known) if size(attack.severity) > size(known.severity) => *known = attack,
            Some(_) => {}
        }
    }
    list
}

fn size(severity: Severity) -> f64 {
    match severity {
        Severity::Percent(n) | Severity::Units(n) | Severity::UnitsPerMinute(n) | Severity::Seconds(n) => n.abs(),
        Severity::Factor(n) | Severity::Window(n) => n,
        Severity::Updates(n) | Severity::Messages(n) => f64::from(n),
        Severity::Plain | Severity::Vector(_) => 0.0,
    }
}
