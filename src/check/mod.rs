//! The check mechanism: what a check is, what it sees, what it says, and the list of all of them.
//!
//! **A new check is one file and one word.** `src/check/<name>.rs` declares itself with `declare_check!` and implements
//! [`Judge`]; its name stands once in the `catalogue!` list below. The doc comment of the declaration is the rustdoc, the
//! text of `vitalguard checks explain ID`, the entry in CHECKS.md and the station's help.
//!
//! A check sees a bed *as it was before* the message (judge before you learn) and never keeps anything but its own
//! [`Judge::State`]. It says [`Verdicts::push`] while its condition holds, [`Verdicts::pass`] when it looked and found
//! nothing, and nothing at all when it could not look.

use crate::bed::{Bed, Bond, Sample, Stream, UNBOUND};
use crate::calibration::{Calibrations, Pace, Rank, Score, Scores, shipped};
use crate::clockwork::Reading;
use crate::observation::{AgeBand, ObsFlags, Observation, Report, Source};
use crate::population::Population;
use crate::profile::Profile;
use crate::stats::hold::Hold;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter, Unit};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use smallvec::SmallVec;

/// What kind of doubt: the closed list of the outgoing contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assessment {
    Tamper,
    Identity,
    Artefact,
    Unit,
    Silence,
    Physiology,
    Advisory,
    Unverified,
}

impl Assessment {
    /// The word by which documents name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Assessment::Tamper => "tamper",
            Assessment::Identity => "identity",
            Assessment::Artefact => "artefact",
            Assessment::Unit => "unit",
            Assessment::Silence => "silence",
            Assessment::Physiology => "physiology",
            Assessment::Advisory => "advisory",
            Assessment::Unverified => "unverified",
        }
    }
}

/// How soon a person must look; `High` first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    High,
    Medium,
    Low,
    Info,
}

impl Priority {
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Medium => "medium",
            Priority::Low => "low",
            Priority::Info => "info",
        }
    }
}

/// The kind of evidence a check gives; see [`Class::family`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Parameters that cannot go together.
    Coherence,
    /// How one parameter moves.
    Dynamics,
    /// Real sensors never stand still together, never repeat themselves.
    Liveness,
    /// A second sensor, device or feed.
    CrossSource,
    /// Who sent what, when, in which form.
    Provenance,
}

/// The three independent families of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    Physiology,
    Statistics,
    Transport,
}

impl Class {
    pub const fn family(self) -> Family {
        match self {
            Class::Coherence | Class::Dynamics | Class::CrossSource => Family::Physiology,
            Class::Liveness => Family::Statistics,
            Class::Provenance => Family::Transport,
        }
    }
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Coherence => "coherence",
            Class::Dynamics => "dynamics",
            Class::Liveness => "liveness",
            Class::CrossSource => "cross_source",
            Class::Provenance => "provenance",
        }
    }
}

/// QARTOD's flags; the worst wins. `Pass` and `NotEvaluated` are said by [`Verdicts::pass`] and by silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Flag {
    Pass,
    NotEvaluated,
    Missing,
    Suspect,
    Fail,
}

/// One threshold of a check, for the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Threshold {
    pub name: &'static str,
    pub default: f64,
    pub doc: &'static str,
}

/// What is known of a check without running it.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// `T03`: for ever.
    pub id: &'static str,
    /// `flat_line`: what is seen.
    pub name: &'static str,
    pub class: Class,
    /// False where its verdicts are no evidence for tampering (M01, M03, M04, M08, T18, S..).
    pub evidence: bool,
    /// How its evidence is credited, per cent.
    pub art: u8,
    pub phy: u8,
    pub tam: u8,
    /// Where what is missing to 100 goes. `Unit`, `Identity` and `Silence` are then raised directly.
    pub rest: Assessment,
    /// The five headings.
    pub doc: &'static str,
    pub thresholds: &'static [Threshold],
}

impl Meta {
    /// The condition of the contract: id, space, name.
    pub fn condition(&self) -> String {
        format!("{} {}", self.id, self.name)
    }
}

/// Position of a check in [`CATALOGUE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckId(pub u8);

impl CheckId {
    pub fn meta(self) -> &'static Meta {
        CATALOGUE[self.0 as usize]
    }
    /// The check of an id (`T03`).
    pub fn from_id(id: &str) -> Option<CheckId> {
        CATALOGUE.iter().position(|meta| meta.id == id).map(|at| CheckId(at as u8))
    }
}

/// Something that is put into a sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Arg {
    /// A number with so many decimals; also published in the alert's `args`.
    Number(f64, u8),
    /// A parameter, named in the reader's language.
    Parameter(Parameter),
    /// A bed, a word, a control id: as it is.
    Text(String),
    /// A time of day.
    Time(Timestamp),
}

impl Arg {
    /// A value of a parameter as monitors show it: whole numbers without a decimal, temperatures and flows with one.
    pub fn reading(parameter: Parameter, value: f64) -> Arg {
        let tenths = (value * 10.0).round();
        let whole = tenths % 10.0 == 0.0;
        let decimals = match parameter.unit() {
            Unit::Cel | Unit::Kelvin | Unit::LitrePerMin | Unit::LitrePerMinM2 => 1,
            _ => u8::from(!whole),
        };
        Arg::Number(value, decimals)
    }
}

/// Arguments of a sentence, by name.
pub type Args = SmallVec<[(&'static str, Arg); 4]>;

/// One check's finding with the evidence it compared: a reader can redo the sum by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub check: CheckId,
    /// `Suspect` joins evidence, `Fail` makes a condition.
    pub flag: Flag,
    pub params: ParamSet,
    /// The first observation that shows it, on our clock.
    pub onset: Timestamp,
    /// A hard rule: decides by itself (tamper, or the assessment named).
    pub hard: bool,
    /// Decimal logarithm of the e-value; hard rules are capped at 4.
    pub log10_e: f64,
    /// Overrides what the weights would say.
    pub assessment: Option<Assessment>,
    /// Overrides what the contract's table would say.
    pub priority: Option<Priority>,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    /// UCUM.
    pub unit: &'static str,
    /// Seconds looked at.
    pub window_s: f64,
    /// OBX-1 of the row that shows it.
    pub set_id: Option<u32>,
    pub effective_at: Option<Timestamp>,
    /// Which sentence of the check's texts (`models/texts`).
    pub text: &'static str,
    pub args: Args,
}

impl Verdict {
    /// A failing verdict of `check` that began at `onset`; the rest by struct update.
    pub fn new(check: CheckId, params: ParamSet, onset: Timestamp) -> Verdict {
        Verdict {
            check,
            flag: Flag::Fail,
            params,
            onset,
            hard: false,
            log10_e: 2.0,
            assessment: None,
            priority: None,
            value: None,
            limit: None,
            unit: "1",
            window_s: 0.0,
            set_id: None,
            effective_at: None,
            text: "default",
            args: Args::new(),
        }
    }
}

impl Verdict {
    /// For the engineers' list alone: it accuses nobody, is no evidence, and stops no baseline from learning.
    #[must_use]
    pub fn report_only(self) -> Verdict {
        let (assessment, priority) = (Some(Assessment::Unverified), Some(Priority::Info));
        Verdict { assessment, priority, log10_e: REPORT_ONLY_LOG10_E, hard: false, ..self }
    }
    pub fn is_report_only(&self) -> bool {
        self.priority == Some(Priority::Info) && self.log10_e <= REPORT_ONLY_LOG10_E
    }
}

/// What a measurement hears of the checks: see [`Verdicts::tap`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tapped {
    /// A block was scored.
    Score { check: CheckId, pace: Pace, score: Score },
    /// A check said that its condition holds; `hard`: a hard rule.
    Holds { check: CheckId, hard: bool },
}

/// What the checks said about one message or one moment. Reused; allocates nothing while everything passes.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub list: Vec<Verdict>,
    passed: u128,
    tap: Option<Vec<Tapped>>,
}

impl Verdicts {
    pub fn clear(&mut self) {
        self.list.clear();
        self.passed = 0;
    }
    pub fn push(&mut self, verdict: Verdict) {
        if let Some(tap) = &mut self.tap {
            tap.push(Tapped::Holds { check: verdict.check, hard: verdict.hard });
        }
        self.list.push(verdict);
    }
    /// From now on block scores and what is made of them are kept for [`Verdicts::tapped`].
    pub fn tap(&mut self) {
        self.tap.get_or_insert_default();
    }
    /// What was heard since it was last asked for.
    pub fn tapped(&mut self) -> Vec<Tapped> {
        self.tap.as_mut().map(std::mem::take).unwrap_or_default()
    }
    /// A check ranks this score now.
    pub fn scored(&mut self, check: CheckId, view: &View<'_>, score: Score) {
        if let Some(tap) = &mut self.tap {
            tap.push(Tapped::Score { check, pace: view.pace(), score });
        }
    }
    /// The check looked and found nothing.
    pub fn pass(&mut self, check: CheckId) {
        self.passed |= 1 << check.0;
    }
    /// Takes away what some checks have said: one bit for each place in the catalogue.
    pub fn mute(&mut self, muted: u128) {
        if muted != 0 {
            self.list.retain(|v| muted & (1 << v.check.0) == 0);
            self.passed &= !muted;
        }
    }
    pub fn passed(&self, check: CheckId) -> bool {
        self.passed & (1 << check.0) != 0
    }
    /// Whether any check looked and found nothing.
    pub fn passed_any(&self) -> bool {
        self.passed != 0
    }
}

/// Where the new measurements of a message stand: one place for each parameter, made once a message for all checks.
///
/// A row counts when it is usable, was not heard before and is not a sentinel of the device. Of several channels the one that
/// speaks for the parameter (the bed's first) is taken.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    set: ParamSet,
    /// Those that follow a value without a gap or a mark between them: asked by five checks, found once.
    joined: ParamSet,
    place: [u16; Parameter::COUNT],
}

impl Default for Fresh {
    fn default() -> Self {
        Fresh { set: ParamSet::EMPTY, joined: ParamSet::EMPTY, place: [0; Parameter::COUNT] }
    }
}

impl Fresh {
    pub fn of(report: &Report, bed: &Bed, profile: &Profile) -> Fresh {
        let mut fresh = Fresh::default();
        for (place, o) in report.observations.iter().enumerate().take(usize::from(u16::MAX)) {
            if !is_fresh(o, bed, profile) {
                continue;
            }
            if !fresh.set.contains(o.parameter) || bed.stream(o.parameter).is_some_and(|s| s.channel == o.channel) {
                fresh.set = fresh.set.with(o.parameter);
                fresh.place[o.parameter as usize] = place as u16;
            }
        }
        fresh
    }
}

/// Whether what comes now follows the newest value of a stream without a gap or a mark between them.
fn follows(stream: &Stream, bed: &Bed, now: Timestamp) -> bool {
    let Some(latest) = stream.latest.filter(|_| stream.absent.is_none()) else { return false };
    let gap_s = 3.0 * stream.delta_s().or(bed.delta_s()).unwrap_or(1.0).max(0.05) + 0.5;
    now.since_s(latest.received_at) <= gap_s.max(1.5)
}

/// Whether a row is a new measurement: usable, not heard before, no sentinel of the device.
pub fn is_fresh(o: &Observation, bed: &Bed, profile: &Profile) -> bool {
    bed.is_new(o) && !profile.is_sentinel(o.parameter, o.value)
}

/// What a check sees: the bed as it was before, and what is new.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Our clock: the message's `received_at`, or the deadline that came.
    pub now: Timestamp,
    /// The message that is being judged; `None` when a deadline came.
    pub report: Option<&'a Report>,
    pub source: Option<&'a Source>,
    /// Keyed hash of the sender: peer, MSH-3/4 and device.
    pub sender: u64,
    pub bed: &'a Bed,
    pub population: &'a Population,
    pub profile: &'a Profile,
    /// The new measurements of `report`.
    pub fresh: Fresh,
    /// What binds the message to bed, patient, device and sender.
    pub bond: &'a Bond,
    /// What the message's own time is to those before it.
    pub clock: Reading,
    /// What block scores look like while nothing is wrong.
    pub calibrations: &'a Calibrations,
}

impl<'a> View<'a> {
    /// A message is judged.
    pub fn message(
        now: Timestamp,
        report: &'a Report,
        source: &'a Source,
        sender: u64,
        bed: &'a Bed,
        population: &'a Population,
        profile: &'a Profile,
    ) -> View<'a> {
        let mut fresh = Fresh::of(report, bed, profile);
        fresh.joined = fresh.set.iter().filter(|p| bed.stream(*p).is_some_and(|s| follows(s, bed, now))).collect();
        View { report: Some(report), source: Some(source), sender, fresh, ..View::moment(now, bed, population, profile) }
    }

    /// With what is known of the message's time: values of the past are no new measurements.
    #[must_use]
    pub fn with_clock(mut self, clock: Reading) -> View<'a> {
        self.clock = clock;
        if !clock.is_live() {
            self.fresh = Fresh::default();
        }
        self
    }

    /// A deadline came.
    pub fn moment(now: Timestamp, bed: &'a Bed, population: &'a Population, profile: &'a Profile) -> View<'a> {
        View {
            now,
            report: None,
            source: None,
            sender: 0,
            bed,
            population,
            profile,
            fresh: Fresh::default(),
            bond: &UNBOUND,
            clock: Reading::default(),
            calibrations: shipped(),
        }
    }

    /// With other calibrations than those that are part of the program.
    #[must_use]
    pub fn with_calibrations(self, calibrations: &'a Calibrations) -> View<'a> {
        View { calibrations, ..self }
    }

    /// The same with what is known of the message's identity.
    pub fn with_bond(self, bond: &'a Bond) -> View<'a> {
        View { bond, ..self }
    }

    /// Parameters with a new measurement.
    pub fn fresh_set(&self) -> ParamSet {
        self.fresh.set
    }

    /// The new measurement of a parameter.
    pub fn fresh(&self, parameter: Parameter) -> Option<&'a Observation> {
        if !self.fresh.set.contains(parameter) {
            return None;
        }
        self.report?.observations.get(usize::from(self.fresh.place[parameter as usize]))
    }

    /// What a parameter shows now: its new measurement, else the last one of a monitor if it is not stale.
    pub fn shown(&self, parameter: Parameter) -> Option<f64> {
        let last = || {
            let stream = self.bed.stream(parameter)?;
            if stream.is_stale(self.now) || stream.absent.is_some() || stream.is_charted() {
                return None;
            }
            stream.latest.map(|latest| latest.value)
        };
        self.fresh(parameter).map(|o| o.value).or_else(last)
    }

    /// Smallest and largest value that a parameter showed within the last seconds of its own time: what a device that averages
    /// may have taken into account. `None` where nothing is shown now.
    pub fn range(&self, parameter: Parameter, window_s: f64) -> Option<(f64, f64)> {
        let shown = self.shown(parameter)?;
        let stream = self.bed.stream(parameter);
        let latest = stream.and_then(|s| s.latest).map(|latest| latest.effective_at);
        let at = self.fresh(parameter).map(|o| o.effective_at).or(latest)?;
        let seen = stream.and_then(|s| s.recent.envelope(at.plus_s(-window_s)));
        Some(seen.map_or((shown, shown), |(low, high)| (low.min(shown), high.max(shown))))
    }

    /// Whether a value that is sent again and again was determined anew: it is new and not the number of before.
    pub fn anew(&self, o: &Observation) -> bool {
        let latest = self.bed.channel(o.parameter, o.channel).and_then(|s| s.latest);
        latest.is_none_or(|latest| latest.value != o.value)
    }

    /// The value that the new measurement of a parameter follows without a gap or a mark between them.
    pub fn preceding(&self, parameter: Parameter) -> Option<Sample> {
        let stream = self.bed.stream(parameter)?;
        let joined = if self.fresh.set.contains(parameter) {
            self.fresh.joined.contains(parameter)
        } else {
            follows(stream, self.bed, self.now)
        };
        stream.latest.filter(|_| joined)
    }

    /// Every new measurement, all channels.
    pub fn all_fresh(&self) -> impl Iterator<Item = &'a Observation> + '_ {
        self.unheard().filter(|_| self.clock.is_live())
    }

    /// Every row that was not heard before, of the present or of the past.
    pub fn unheard(&self) -> impl Iterator<Item = &'a Observation> + '_ {
        let rows: &'a [Observation] = self.report.map_or(&[], |r| &r.observations);
        rows.iter().filter(|o| is_fresh(o, self.bed, self.profile))
    }

    /// Whether a row of this message says that the parameter has no value.
    pub fn lost(&self, parameter: Parameter) -> bool {
        let rows: &[Observation] = self.report.map_or(&[], |r| &r.observations);
        !self.fresh.set.contains(parameter)
            && rows.iter().any(|o| {
                let empty = !o.validity.usable() || self.profile.is_sentinel(parameter, o.value);
                o.parameter == parameter && empty && !o.flags.has(ObsFlags::SHOWN_ONLY)
            })
    }

    /// The present value of a parameter: the new measurement, else the bed's newest while it is not stale and was not lost.
    pub fn near(&self, parameter: Parameter) -> Option<f64> {
        if let Some(o) = self.fresh(parameter) {
            return Some(o.value);
        }
        let stream = self.bed.stream(parameter)?;
        let gone = stream.absent.is_some() || stream.is_charted() || stream.is_stale(self.now) || self.lost(parameter);
        stream.latest.filter(|_| !gone).map(|latest| latest.value)
    }

    /// Two present values of which at least one is new.
    pub fn pair(&self, a: Parameter, b: Parameter) -> Option<(f64, f64)> {
        let new = self.fresh.set.contains(a) || self.fresh.set.contains(b);
        if new { self.near(a).zip(self.near(b)) } else { None }
    }

    /// A longer pause between two readings of these begins a run of readings anew, seconds.
    pub fn pause_s(&self, parameters: &[Parameter]) -> f64 {
        let own = parameters.iter().filter_map(|p| self.bed.stream(*p)?.delta_s());
        own.chain(self.bed.delta_s()).fold(30.0, |pause: f64, delta_s| pause.max(5.0 * delta_s))
    }

    /// A pause of this many seconds, or of two intervals where the messages of the bed come slower than that.
    pub fn unhurried_s(&self, at_least_s: f64) -> f64 {
        at_least_s.max(2.0 * self.bed.delta_s().unwrap_or(0.0))
    }

    /// Whether a doubt about these has lasted for so many readings and seconds, on a device that is known well enough. Where
    /// there is no doubt, its run ends and the check has passed.
    pub fn lasts(
        &self,
        hold: &mut Hold,
        parameters: &[Parameter],
        doubt: bool,
        (readings, seconds): (f64, f64),
        check: CheckId,
        out: &mut Verdicts,
    ) -> bool {
        if !doubt {
            hold.end();
            if self.settled() {
                out.pass(check);
            }
            return false;
        }
        hold.push(self.now, self.pause_s(parameters));
        hold.reached(readings, seconds) && self.settled()
    }

    /// Whether what the device does is known well enough to accuse a value by it.
    pub fn settled(&self) -> bool {
        self.profile.usable(self.bed.epoch_at, self.now)
    }

    /// The class of this bed's cadence.
    pub fn pace(&self) -> Pace {
        Pace::of(self.bed.delta_s().unwrap_or(1.0))
    }

    /// The rank of a score of this bed among those of quiet beds. Below 18 years and at an unknown age there are no such beds.
    pub fn rank(&self, check: &Meta, score: Score) -> Rank {
        let rank = self.calibrations.rank(check.name, self.pace(), score.parameter, score.value);
        Rank { votes: rank.votes && self.bed.age == AgeBand::Adult, ..rank }
    }

    /// The bed's id as a sentence's argument.
    pub fn bed_arg(&self) -> (&'static str, Arg) {
        ("bed", Arg::Text(self.bed.bed.clone()))
    }
}

/// How far a value lies beyond an interval; 0 inside. NaN where the interval is none.
pub fn beyond(value: f64, (low, high): (f64, f64)) -> f64 {
    if low.is_nan() || high.is_nan() || value.is_nan() {
        return f64::NAN;
    }
    if value > high {
        value - high
    } else if value < low {
        low - value
    } else {
        0.0
    }
}

/// log10(e) of a finding that is only reported: it joins no other, and does not stop a baseline.
pub const REPORT_ONLY_LOG10_E: f64 = 0.9;

/// A check that looks at one bed.
pub trait Judge {
    type State: Default + Clone + std::fmt::Debug + Serialize + serde::de::DeserializeOwned;
    /// Looks at a message or a moment. Called once a message of the bed, and when [`Judge::deadline`] comes.
    fn judge(&self, state: &mut Self::State, view: &View<'_>, out: &mut Verdicts);
    /// When it wants to look again without a message.
    fn deadline(&self, _state: &Self::State, _bed: &Bed, _profile: &Profile) -> Timestamp {
        Timestamp::MAX
    }
    /// Reads one word of everything that a message will need and that lies elsewhere: see [`States::touch`].
    fn touch(_state: &Self::State) -> u64 {
        0
    }
}

/// One word of each entry of a list.
fn touch_each<T>(list: &[T], word: impl Fn(&T) -> u64) -> u64 {
    list.iter().fold(0, |sum, entry| sum ^ word(entry))
}

/// The times of the last eight events: did something happen so often within a window?
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Often {
    times: [Timestamp; 8],
    count: u32,
}

impl Often {
    pub fn push(&mut self, at: Timestamp) {
        self.times[self.count as usize % self.times.len()] = at;
        self.count = self.count.checked_add(1).unwrap_or(self.times.len() as u32);
    }
    /// The time of the first of the last `needed` events (at most eight) if all of them lie within `window_s` before `now`.
    pub fn within(&self, needed: f64, window_s: f64, now: Timestamp) -> Option<Timestamp> {
        let needed = (needed as u32).clamp(1, self.times.len() as u32);
        if self.count < needed {
            return None;
        }
        let first = self.times[(self.count - needed) as usize % self.times.len()];
        (now.since_s(first) <= window_s).then_some(first)
    }
    /// Events so far.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// Declares a check: its documentation, id, name, class, weights and thresholds. See any file of this folder.
macro_rules! declare_check {
    (
        $(#[doc = $doc:literal])+
        $id:literal $name:literal class=$class:ident evidence=$evidence:literal weights=($art:literal, $phy:literal, $tam:literal) rest=$rest:ident
        { $( $(#[doc = $field_doc:literal])+ $field:ident: f64 = $default:expr; )* }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Check {
            $( $(#[doc = $field_doc])+ pub $field: f64, )*
        }

        impl Default for Check {
            fn default() -> Check {
                Check { $( $field: $default, )* }
            }
        }

        /// This check in the catalogue.
        pub const META: crate::check::Meta = crate::check::Meta {
            id: $id,
            name: $name,
            class: crate::check::Class::$class,
            evidence: $evidence,
            art: $art,
            phy: $phy,
            tam: $tam,
            rest: crate::check::Assessment::$rest,
            doc: concat!($($doc, "\n",)+),
            thresholds: &[ $( crate::check::Threshold {
                name: stringify!($field),
                default: $default,
                doc: concat!($($field_doc, "\n",)+),
            }, )* ],
        };
    };
}

macro_rules! catalogue {
    (beds: $($bed:ident)* ; others: $($other:ident)* ;) => {
        $( pub mod $bed; )*
        $( pub mod $other; )*

        /// Every check, in the order of the list: those of one bed, then those of the fleet and the installation.
        pub static CATALOGUE: &[&Meta] = &[$( &$bed::META, )* $( &$other::META, )*];

        /// Every file of the list, in its order.
        pub static FILES: &[&str] = &[$( stringify!($bed), )* $( stringify!($other), )*];

        // `Verdicts::passed` is one word of 128 bits.
        const _: () = assert!([$( $bed::META.id, )* $( $other::META.id, )*].len() <= 128);

        /// Positions, named.
        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        #[repr(u8)]
        enum Position { $( $bed, )* $( $other, )* }

        /// The id of each check by its file's name.
        pub mod id {
            use super::{CheckId, Position};
            $( #[allow(non_upper_case_globals)] pub const $bed: CheckId = CheckId(Position::$bed as u8); )*
            $( #[allow(non_upper_case_globals)] pub const $other: CheckId = CheckId(Position::$other as u8); )*
        }

        /// The thresholds of every check of a bed; one instance for all beds.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Checks { $( pub $bed: $bed::Check, )* $( pub $other: $other::Check, )* }

        /// What the checks of one bed remember.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        pub struct States { $( pub $bed: <$bed::Check as Judge>::State, )* }

        impl States {
            /// Reads one word of each line of memory that the checks will read one after the other. With a thousand beds none of
            /// them is in a cache, and a processor fetches many at once only where none has to wait for what another one says.
            pub fn touch(&self) -> u64 {
                0 $( ^ $bed::Check::touch(&self.$bed) )*
            }
        }

        impl Checks {
            /// Lets every check of a bed look.
            pub fn judge(&self, states: &mut States, view: &View<'_>, out: &mut Verdicts) {
                $( self.$bed.judge(&mut states.$bed, view, out); )*
            }
            /// The earliest moment at which one of them wants to look again.
            pub fn deadline(&self, states: &States, bed: &Bed, profile: &Profile) -> Timestamp {
                let mut earliest = Timestamp::MAX;
                $( earliest = earliest.min(self.$bed.deadline(&states.$bed, bed, profile)); )*
                earliest
            }
        }
    };
}

catalogue! {
    beds:
        unit_invalid
        unit_switch
        time_order
        structure_drift
        code_conflict
        status_conflict
        segment_injection
        duplicate_code
        gap
        parameter_suppressed
        device_silence
        selective_loss
        stale_repeat
        marks_vanish
        nbp_overdue
        hard_range
        pressure_order
        map_form_factor
        hr_vs_pr
        soft_range
        pulse_pressure
        spo2_scale
        rate_vs_nbp_pulse
        abp_vs_nbp
        rr_vs_awrr
        rr_equals_hr
        etco2_zero_with_rr
        awrr_zero_with_etco2
        core_skin
        asystole_with_perfusion
        pap_vs_abp
        arterial_pair
        co_ci
        svr
        cpp
        minute_volume
        qtc
        tcco2_vs_etco2
        step_held
        spike
        flat_line
        single_stuck
        resolution_change
        update_lattice
        interpolation
        digit_preference
        known_pattern
        self_replay
        delta_replay
        control_id_reuse
        second_sender
        sender_not_allowed
        device_change
        adt_mismatch
        identity_binding
        category_change
        transport_identity
        spot_check
        quarantined_device
        clock_shift
        impossible_latency
        cadence_change
        alarm_value_coherence
        limit_change
        alarm_flood
        level_shift
        drift_alone
        scale_shift
        variability_loss
        coupling_loss
    ;
    others:
        patient_clone
        swap_step
        feed_disagreement
        mass_silence
        journal_failed
        outbox_behind
        publisher_conflict
        no_station_listening
        alert_flood
        advisories_old
        clock_untrusted
        indicator_address
        indicator_frame
        identity_in_clear
        indicator_nfs
        advisory_match
    ;
}

impl States {
    /// Another patient, unannounced: what was seen of values is forgotten, what was seen of their sender is not.
    pub fn begin_epoch(&mut self) {
        let mut before = std::mem::take(self);
        self.swap_senders(&mut before);
        self.alarm_value_coherence = before.alarm_value_coherence.of_sender();
        self.parameter_suppressed = before.parameter_suppressed.of_sender();
    }

    /// A patient comes or goes by ADT: of the sender only its ids, devices and certificates are remembered.
    pub fn admit(&mut self) {
        let before = std::mem::take(self);
        self.control_id_reuse = before.control_id_reuse;
        self.device_change = before.device_change;
        self.sender_not_allowed = before.sender_not_allowed;
        self.transport_identity = before.transport_identity;
        self.quarantined_device = before.quarantined_device;
        // What the bed has shown it has shown, whoever lay in it.
        self.self_replay = before.self_replay;
    }

    /// The patient of `before` goes on in the same bed: what was seen of the sender meanwhile stays.
    pub fn resume(&mut self, before: States) {
        let mut since = std::mem::replace(self, before);
        self.swap_senders(&mut since);
    }

    /// Exchanges what was seen of senders.
    fn swap_senders(&mut self, other: &mut States) {
        use std::mem::swap;
        swap(&mut self.time_order, &mut other.time_order);
        swap(&mut self.structure_drift, &mut other.structure_drift);
        swap(&mut self.segment_injection, &mut other.segment_injection);
        swap(&mut self.unit_invalid, &mut other.unit_invalid);
        swap(&mut self.code_conflict, &mut other.code_conflict);
        swap(&mut self.status_conflict, &mut other.status_conflict);
        swap(&mut self.duplicate_code, &mut other.duplicate_code);
        swap(&mut self.control_id_reuse, &mut other.control_id_reuse);
        swap(&mut self.second_sender, &mut other.second_sender);
        swap(&mut self.sender_not_allowed, &mut other.sender_not_allowed);
        swap(&mut self.device_change, &mut other.device_change);
        swap(&mut self.identity_binding, &mut other.identity_binding);
        swap(&mut self.transport_identity, &mut other.transport_identity);
        swap(&mut self.cadence_change, &mut other.cadence_change);
        swap(&mut self.resolution_change, &mut other.resolution_change);
        swap(&mut self.update_lattice, &mut other.update_lattice);
        swap(&mut self.digit_preference, &mut other.digit_preference);
        swap(&mut self.alarm_flood, &mut other.alarm_flood);
        swap(&mut self.quarantined_device, &mut other.quarantined_device);
        swap(&mut self.self_replay, &mut other.self_replay);
    }
}

/// The checks that rank block scores, by name: T12 to T16.
pub const STOCHASTIC: [&str; 5] = ["level_shift", "drift_alone", "scale_shift", "variability_loss", "coupling_loss"];

/// The scores of every stochastic check for the block that has just ended, by the check's name: what calibrations are made of.
/// To be called once a message in the place of [`Checks::judge`]; the bed learns afterwards as always.
pub fn block_scores(checks: &Checks, states: &mut States, view: &View<'_>, sink: &mut dyn FnMut(&'static str, Score)) {
    let mut give = |meta: &Meta, scores: Scores| scores.into_iter().for_each(|score| sink(meta.name, score));
    give(&level_shift::META, checks.level_shift.score(&mut states.level_shift, view));
    give(&drift_alone::META, checks.drift_alone.score(&mut states.drift_alone, view));
    give(&scale_shift::META, checks.scale_shift.score(&mut states.scale_shift, view));
    give(&variability_loss::META, checks.variability_loss.score(&mut states.variability_loss, view));
    give(&coupling_loss::META, checks.coupling_loss.score(&mut states.coupling_loss, view));
}

/// SHA-256 over ids, names, weights and default thresholds of the whole catalogue, 64 hex digits.
pub fn catalogue_hash() -> String {
    let mut hash = sha2::Sha256::new();
    for meta in CATALOGUE {
        let m = (meta.id, meta.name, meta.class.as_str(), meta.evidence, meta.art, meta.phy, meta.tam, meta.rest);
        hash.update(format!("{m:?}\n"));
        for threshold in meta.thresholds {
            hash.update(format!("{} {}\n", threshold.name, threshold.default));
        }
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
pub mod story;
