//! Attacks on recordings: one injected into a copy, with what counts as having found it.
//!
//! Value attacks change a copy of the rows, on the recording's own times, and the copy is rendered; protocol attacks change the
//! messages. Marks and sentinels stay where they are unless they are the attack. Until the attack begins the messages are those
//! of the clean twin, byte for byte. Forged values come in the bed's own messages, whatever the tier: what provenance adds has
//! kinds of its own. The same attack, recording, place and seed give the same messages.
//!
//! Tiers: **K0** naive; **K1** knows quantum and cadence; **K2** knows the coupling and controls all parameters; **K3** sits on
//! the gateway: as K2, and moves over from the true values within a minute.

mod catalogue;
mod edit;
mod mask;
mod place;
mod stream;
mod truth;
mod value;
mod wire;

pub use catalogue::{catalogue, short};
pub(crate) use edit::Edit;
pub use place::{Place, place};
pub use truth::{Counts, Goal, Level, Readings, SpotCheck, Truth};

use super::recording::Recording;
use super::render::{Bed, Wire, render};
use super::synth::random::Random;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A constant is added.
    Offset,
    /// The same in the end, reached in a straight line or in a smooth curve; a slow drift.
    Ramp,
    RampSmooth,
    Drift,
    Scale,
    /// The last value is told on.
    Freeze,
    /// An earlier window of the same patient: as it was, moved by a constant, with a few values off by one quantum, a little
    /// faster.
    ReplayExact,
    ReplayOffset,
    ReplayJitter,
    ReplayWarp,
    /// An earlier window of another patient who is monitored, as it was or moved to this patient's level.
    OtherExact,
    OtherMatched,
    /// What another bed shows at this moment.
    CloneExact,
    CloneMatched,
    /// Two patients are exchanged.
    Swap,
    /// A few updates far off.
    Spike,
    /// "80 to 0": at once, or over five seconds.
    ZeroStep,
    ZeroDecay,
    /// Normal-looking values: constant; autoregressive, a new one every second; the same in the device's own beat; an earlier
    /// normal window; a vector model fitted to the patient.
    MaskConstant,
    MaskAr,
    MaskArLattice,
    MaskOwnNormal,
    MaskVar,
    /// Systolic and diastolic changed, the mean left.
    TripleForged,
    /// The mean of a line is put above the systolic.
    PressureOrder,
    /// Heart rate changed and pulse rate left, and the reverse.
    HrForged,
    PrForged,
    /// Rows of a parameter are left out; only the abnormal ones; marks of lost sensors replaced by the last value.
    Suppress,
    SuppressAbnormal,
    SuppressMarks,
    /// A moving average, or a line between values, as computed or rounded again.
    Smooth,
    SmoothRounded,
    Interpolate,
    InterpolateRounded,
    /// The number in another unit under the old unit.
    UnitKiloPascal,
    UnitFahrenheit,
    UnitFraction,
    /// Four in ten last digits are 0; a quantum of five.
    DigitsZero,
    QuantumCoarse,
    /// A number that no monitor can measure.
    Impossible,
    /// The feed differs from what the bedside monitor shows: an offset on everything, and a person who reads the monitor.
    BedsideDiffers,
    /// Messages of another sender between the bed's own.
    SecondSender,
    /// Another sender takes the place of the bed's own.
    SenderChange,
    /// Another device in the same sender's messages.
    DeviceChange,
    /// Patient identifiers change without an admission.
    IdentityChange,
    /// An id that was used, with other content.
    ControlIdReuse,
    /// Old messages again, under new ids and times of sending.
    ResentAsNew,
    /// Clock of the feed moved: all times of the messages.
    TimeShift,
    /// Old values under present times of sending.
    Backdate,
    /// Times that stand still.
    TimeFrozen,
    /// A text field that ends its segment and begins another.
    SegmentInjection,
    /// Alarms that no value explains.
    AlarmFlood,
    /// Values beyond their limits without a flag.
    AlarmSuppression,
    /// Limits moved past the present value.
    LimitWiden,
    /// The monitor stops; several stop at once.
    Silence,
    MassSilence,
    /// Two taps of one feed differ.
    TapDiffers,
    /// Another unit is declared, with its values; the declared profile and version change.
    UnitDeclared,
    ProfileChange,
    /// Bytes that are no good message: larger than allowed, broken off, in no known character set.
    Abuse,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Plain,
    /// Per cent of the level.
    Percent(f64),
    /// In the parameter's unit.
    Units(f64),
    UnitsPerMinute(f64),
    Factor(f64),
    Updates(u32),
    Messages(u32),
    /// A shift of time.
    Seconds(f64),
    /// A window of the moving average or between two values.
    Window(f64),
    Vector(Vector),
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Severity::Plain => f.write_str("plain"),
            Severity::Percent(n) => write!(f, "{n:+}%"),
            Severity::Units(n) => write!(f, "{n:+}"),
            Severity::UnitsPerMinute(n) => write!(f, "{n:+}/min"),
            Severity::Factor(n) => write!(f, "x{n}"),
            Severity::Updates(n) => write!(f, "{n} updates"),
            Severity::Messages(n) => write!(f, "{n} messages"),
            Severity::Seconds(n) => write!(f, "{n:+} s"),
            Severity::Window(n) => write!(f, "{n} s window"),
            Severity::Vector(vector) => f.write_str(vector.as_str()),
        }
    }
}

/// Ways to break a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vector {
    /// A carriage return in the patient's name, then an OBX.
    NameObx,
    /// The same in a control id: a PID.
    IdPid,
    /// A whole second message in a text field.
    SecondHeader,
    /// A place in a text field.
    SecondPlace,
    /// A value after the last segment of another order.
    OrderBroken,
    Oversize,
    BrokenOff,
    WrongEncoding,
}

impl Vector {
    pub const fn as_str(self) -> &'static str {
        match self {
            Vector::NameObx => "OBX in a name",
            Vector::IdPid => "PID in an id",
            Vector::SecondHeader => "second MSH",
            Vector::SecondPlace => "second PV1",
            Vector::OrderBroken => "order broken",
            Vector::Oversize => "oversize",
            Vector::BrokenOff => "broken off",
            Vector::WrongEncoding => "wrong encoding",
        }
    }
}

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One parameter that is there, drawn.
    One,
    /// This parameter.
    Only(Parameter),
    /// What belongs together with one that is drawn: its sensor, or heart and pulse rate.
    Group,
    /// These, as far as they are there (HR + PR).
    Pair(Parameter, Parameter),
    /// The three pressures of a line.
    Line(Parameter),
    All,
    /// No value: the message itself.
    Message,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::One => f.write_str("one"),
            Target::Only(p) => f.write_str(p.key()),
            Target::Group => f.write_str("group"),
            Target::Pair(a, b) => write!(f, "{}+{}", a.key(), b.key()),
            Target::Line(p) => write!(f, "{} line", p.key().trim_end_matches("_mean")),
            Target::All => f.write_str("all"),
            Target::Message => f.write_str("message"),
        }
    }
}

/// What the attacker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    K0,
    K1,
    K2,
    K3,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::K0, Tier::K1, Tier::K2, Tier::K3];
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::K0 => "K0",
            Tier::K1 => "K1",
            Tier::K2 => "K2",
            Tier::K3 => "K3",
        }
    }
}

/// One row of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    pub kind: Kind,
    pub severity: Severity,
    pub duration_s: u32,
    pub params: Target,
    pub tier: Tier,
}

impl Attack {
    /// Class of the taxonomy, `X01` to `X23`.
    pub const fn taxonomy(&self) -> &'static str {
        self.kind.taxonomy()
    }
    /// Names the row: `offset/+20%/600s/one/K1`.
    pub fn id(&self) -> String {
        let (severity, params) = (self.severity.to_string().replace(' ', "_"), self.params.to_string().replace(' ', "_"));
        format!("{}/{severity}/{}s/{params}/{}", self.kind.as_str(), self.duration_s, self.tier.as_str())
    }
}

/// What came of an injection.
#[derive(Debug, Clone)]
pub struct Attacked {
    /// All messages that concern the bed, by arrival.
    pub wires: Vec<Wire>,
    pub truth: Truth,
    /// The messages of the other bed of a clone, a swap or a mass silence; its clean twin is [`render`] of the donor on
    /// [`donor_bed`].
    pub other_bed: Option<Vec<Wire>>,
}

/// Why a recording cannot carry an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unfit {
    #[error("the record has none of the parameters")]
    NoParameter,
    #[error("the record is too short, or not live around the attack")]
    NoRoom,
    #[error("no other record was given, or it shares no parameter or no time")]
    NoDonor,
    #[error("no past window of the record can be used")]
    NoPast,
    #[error("nothing abnormal happens that could be hidden")]
    NothingToHide,
    #[error("limits are not sent")]
    NoLimits,
    #[error("too little of the values' past for a model")]
    NoModel,
    #[error("makes no sense at one message a minute")]
    TooSlow,
    #[error("nothing that it would change is sent in its time")]
    Unchanged,
}

impl Unfit {
    pub const ALL: [Unfit; 9] = [
        Unfit::NoParameter,
        Unfit::NoRoom,
        Unfit::NoDonor,
        Unfit::NoPast,
        Unfit::NothingToHide,
        Unfit::NoLimits,
        Unfit::NoModel,
        Unfit::TooSlow,
        Unfit::Unchanged,
    ];
}

/// The bed on which the other recording plays.
pub fn donor_bed(bed: &Bed) -> Bed {
    let mut other = bed.clone();
    other.sender.bed.push_str("-D");
    other.sender.patient.push_str("-D");
    // The first digits stay: one maker.
    other.sender.eui64.replace_range(6..10, "FFFD");
    other.seed = bed.seed ^ 0xD0_0D;
    other
}

/// Injects one attack, `start_s` after the record's zero.
pub fn inject(
    attack: &Attack,
    recording: &Recording,
    donor: Option<&Recording>,
    bed: &Bed,
    start_s: f64,
    random: &mut Random,
) -> Result<Attacked, Unfit> {
    write(&stream::Context::new(attack, recording, donor, bed, start_s, random)?, random)
}

/// The same, but only what arrives from the attack's start on: what was before is the clean twin's.
pub fn inject_rest(
    attack: &Attack,
    recording: &Recording,
    donor: Option<&Recording>,
    bed: &Bed,
    start_s: f64,
    random: &mut Random,
) -> Result<Attacked, Unfit> {
    let mut context = stream::Context::new(attack, recording, donor, bed, start_s, random)?;
    context.rest = true;
    write(&context, random)
}

fn write(context: &stream::Context<'_>, random: &mut Random) -> Result<Attacked, Unfit> {
    if context.attack.kind.is_protocol() { wire::inject(context, random) } else { value::inject(context, random) }
}

/// The clean twin of a recording.
pub fn clean(recording: &Recording, bed: &Bed) -> Vec<Wire> {
    render(recording, bed)
}

#[cfg(test)]
mod tests;
