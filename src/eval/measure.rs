//! One recording under one setup: the clean run in every form, and the attacks that were drawn for it.
//!
//! **Twin.** The recording without attack runs through the same monitor. An event is found when an episode of the kind named
//! begins between the attack's start and [`AFTER_S`] after its end, *and the twin does not explain it* ([`found`]). One event
//! counts once. Nurse level is what stands at a nursing station (low and above); engineer level adds the engineers' list. Nothing
//! is adjusted: an alert before the start finds nothing, one after the end plus a minute neither.

use super::attack::{Attack, Attacked, Kind, Level, Truth, Unfit, donor_bed, inject, inject_rest, place};
use super::recording::Recording;
use super::render::{Bed, Encoding, Rate, Wire, render};
use super::runner::{Episode, Mark, Ward};
use super::synth::random::Random;
use crate::check::Assessment;
use crate::time::Timestamp;
use serde::Serialize;

mod matching;
mod readings;

pub use matching::{NEAR_S, counted, found};
use matching::{always_on, by_chance};

/// A rule on trial, and the attacks that it was made for.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub check: &'static [&'static str],
    pub kinds: &'static [Kind],
}

/// Rules that call nobody until they are measured.
pub const TRIALS: &[Trial] = &[
    Trial { check: &["M05"], kinds: &[Kind::SuppressAbnormal] },
    Trial { check: &["M07"], kinds: &[Kind::SuppressMarks] },
    Trial { check: &["T09"], kinds: &[Kind::ReplayOffset] },
    Trial { check: &["T10"], kinds: &[Kind::Interpolate, Kind::InterpolateRounded] },
    Trial { check: &["T16"], kinds: &[Kind::MaskAr, Kind::MaskArLattice, Kind::MaskVar] },
    Trial { check: &["T17"], kinds: &[Kind::Swap] },
];

/// When the rule on trial for a kind of attack spoke, wherever it is shown; `None` where there is none or it said nothing.
fn own(kind: Kind, attacked: &[Episode], twin: &[Episode], truth: &Truth) -> Option<f64> {
    let trial = TRIALS.iter().find(|trial| trial.kinds.contains(&kind))?;
    let mut truth = truth.clone();
    truth.counts.assessments = &[];
    truth.counts.checks = trial.check;
    found(attacked, twin, &truth, Level::Engineer)
}

/// An alert counts until so long after an attack's end, seconds.
pub const AFTER_S: f64 = 60.0;
/// A kind with so many rows gets all of its events in each row.
const ROWS_FULL: f64 = 8.0;
/// The control: alerts at random so often, alerts a bed-day.
pub const RANDOM_PER_DAY: f64 = 24.0;

/// One recording of the benchmark.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub recording: &'a Recording,
    /// Number of its bed.
    pub number: u32,
    /// Another patient of the same set.
    pub donor: Option<&'a Recording>,
}

/// What attacks are drawn for a recording.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    pub seed: u64,
    /// Chance that a recording takes an attack, at its own cadence and at one message a minute.
    pub native: f64,
    pub minute: f64,
}

/// How one event fared: delays in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub attack: usize,
    pub rate: Rate,
    pub encoding: Encoding,
    pub start_s: f64,
    pub seed: u64,
    pub truth: Truth,
    pub nurse: Option<f64>,
    pub engineer: Option<f64>,
    /// When the rule on trial for this kind spoke.
    pub own: Option<f64>,
    pub random: bool,
    /// A detector that is always on, counted by the same rule.
    pub always: bool,
    /// Tamper alerts that call a nurse in the time of the attack, whatever was to be found.
    pub tamper: bool,
    /// Its goal is set in readings, and too few altered ones come in its time: the goal says nothing of it.
    pub unjudged: bool,
    /// Where a goal was missed: what was said meanwhile.
    pub missed: Option<Box<Missed>>,
}

impl Event {
    /// When it was found by whom it is meant for, seconds after its start.
    pub fn delay(&self) -> Option<f64> {
        if self.truth.counts.level == Level::Engineer { self.engineer } else { self.nurse }
    }
    /// Whether it was found within the time that its goal names.
    pub fn in_time(&self) -> bool {
        self.delay().is_some_and(|d| self.truth.counts.goal.is_none_or(|goal| d <= f64::from(goal.within_s)))
    }
}

/// What stood open during an attack, and during the same time without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    pub attacked: Vec<String>,
    pub twin: Vec<String>,
}

/// Episodes of the time in which an attack can be found, in words.
fn open_then(episodes: &[Episode], truth: &Truth) -> Vec<String> {
    let late = truth.end.plus_s(AFTER_S);
    let said = |e: &Episode| {
        let after = |at: Option<Timestamp>| at.map_or("-".into(), |at| format!("{:.0}", at.since_s(truth.start)));
        let checks: Vec<&str> = e.checks.iter().map(|(check, _)| check.meta().id).collect();
        let params = super::runner::names(e.params);
        format!(
            "{} {} {:?} {params} raised {} shown {} cleared {}",
            checks.join("+"),
            e.assessment.as_str(),
            e.priority,
            after(Some(e.raised_at)),
            after(e.shown_at),
            after(e.cleared_at)
        )
    };
    episodes.iter().filter(|e| e.overlaps(e.raised_at, truth.start, late)).map(said).collect()
}

/// The clean run in one form.
#[derive(Debug, Clone)]
pub struct Clean {
    pub encoding: Encoding,
    pub rate: Rate,
    pub start: Timestamp,
    pub messages: u64,
    pub episodes: Vec<Episode>,
}

/// Clean recordings side by side in one ward.
#[derive(Debug, Clone)]
pub struct Crowd {
    pub beds: u64,
    pub bed_days: f64,
    pub episodes: Vec<Episode>,
}

/// Everything of one recording under one setup.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub clean: Vec<Clean>,
    pub events: Vec<Event>,
    /// Attack, and why it could not be made.
    pub skipped: Vec<(usize, Unfit)>,
    pub messages: u64,
    pub bytes_max: usize,
    /// Recordings of one set side by side, where this is the first of them.
    pub crowd: Option<Crowd>,
    /// Where the patient really gets worse.
    pub guarded: Vec<super::guard::Guarded>,
}

/// The bed on which a recording is played.
pub fn bed(case: &Recording, number: u32, encoding: Encoding, rate: Rate) -> Bed {
    // An invented day; monitors of a ward are not switched on at one moment.
    let start = Timestamp::from_ms(1_767_261_600_000 + i64::from(number % 997) * 61_000);
    // Half of the beds send their alarm limits.
    Bed { encoding, rate, limits: number.is_multiple_of(2), ..Bed::of(&case.set, number, start) }
}

/// A number for a name: the same everywhere (FNV-1a).
pub(super) fn hashed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn number(recording: &Recording, seed: u64) -> u64 {
    hashed(&format!("{}/{}", recording.set, recording.name)) ^ seed
}

/// The encoding in which attacks on a recording come: one for each recording, all of them over the recordings.
pub fn turn(recording: &Recording, seed: u64) -> Encoding {
    Encoding::ALL[(number(recording, seed) >> 7) as usize % Encoding::ALL.len()]
}

/// Runs one recording: clean in these forms, attacked as drawn.
pub fn measure(
    ward: &mut Ward,
    empty: &Mark,
    case: &Case<'_>,
    forms: &[(Encoding, Rate)],
    attacks: &[Attack],
    draw: &Draw,
) -> Measured {
    let mut out = Measured::default();
    let own = number(case.recording, draw.seed);
    let turn = turn(case.recording, draw.seed);
    for (encoding, rate) in forms {
        let bed = bed(case.recording, case.number, *encoding, *rate);
        let chance = match rate {
            _ if *encoding != turn => 0.0,
            Rate::Native => draw.native,
            Rate::MinuteLast => draw.minute,
            Rate::MinuteMean => 0.0,
        };
        let plan = plan(case.recording, attacks, chance, own ^ *rate as u64, &mut out.skipped);
        form(ward, empty, case, &bed, attacks, &plan, &mut out);
    }
    out
}

/// One attack to be made.
struct Planned {
    attack: usize,
    start_s: f64,
    seed: u64,
}

/// Kinds with many rows take fewer events in each.
fn share(attacks: &[Attack], attack: &Attack) -> f64 {
    let rows = attacks.iter().filter(|a| a.kind == attack.kind).count();
    (ROWS_FULL / rows as f64).clamp(0.15, 1.0)
}

fn plan(recording: &Recording, attacks: &[Attack], chance: f64, seed: u64, skipped: &mut Vec<(usize, Unfit)>) -> Vec<Planned> {
    let mut list = Vec::new();
    if chance <= 0.0 {
        return list;
    }
    for (number, attack) in attacks.iter().enumerate() {
        // By its name: the same whatever else is in the table.
        let mut random = Random::new(seed ^ hashed(&attack.id()).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if random.uniform() >= chance * share(attacks, attack) {
            continue;
        }
        match place(attack, recording, &mut random) {
            Some(place) => list.push(Planned { attack: number, start_s: place.start_s, seed: random.below(1 << 53) }),
            None => skipped.push((number, Unfit::NoRoom)),
        }
    }
    list.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    list
}

/// Makes one attack: the same for the same plan. Of its messages those until it can no longer be found are kept.
pub fn make(case: &Case<'_>, attack: &Attack, bed: &Bed, start_s: f64, seed: u64) -> Result<Attacked, Unfit> {
    // What the other bed sent before is part of the attack; of this bed's own messages only those from the start on are needed.
    let inject = if attack.kind.needs_donor() { inject } else { inject_rest };
    let mut attacked = inject(attack, case.recording, case.donor, bed, start_s, &mut Random::new(seed))?;
    let (start, late) = (attacked.truth.start, attacked.truth.end.plus_s(AFTER_S));
    attacked.wires.retain(|w| (start..=late).contains(&w.received_at));
    attacked.wires.shrink_to_fit();
    if let Some(other) = &mut attacked.other_bed {
        other.retain(|w| w.received_at <= late);
    }
    Ok(attacked)
}

/// A goal's time runs from the first message that the attack changes, adds or takes away: what is not there yet cannot be found.
/// One that is set in readings ends with them. Whether it can be judged.
fn from_the_first(attacked: &mut Attacked, clean: &[Wire]) -> Result<bool, Unfit> {
    // Where another bed sends, too, it is part of the attack before this bed's own messages change.
    if attacked.other_bed.is_some() {
        return Ok(true);
    }
    let goal = attacked.truth.counts.goal.filter(|goal| goal.readings.is_some());
    let in_readings = goal.map(|goal| readings::within_s(&attacked.wires, clean, &attacked.truth, goal));
    let start = attacked.truth.start;
    let clean = &clean[clean.partition_point(|w| w.received_at < start)..];
    let pairs = attacked.wires.iter().zip(clean);
    let alike = pairs.take_while(|(a, b)| a.received_at == b.received_at && a.bytes == b.bytes && a.feed == b.feed).count();
    let first = [attacked.wires.get(alike), clean.get(alike)].into_iter().flatten().map(|w| w.received_at).min();
    let first = first.filter(|at| *at <= attacked.truth.end.plus_s(AFTER_S)).ok_or(Unfit::Unchanged)?;
    if let Some(goal) = &mut attacked.truth.counts.goal {
        match in_readings {
            None => goal.within_s += first.since_s(start).max(0.0).ceil() as u32,
            Some(None) => return Ok(false),
            Some(Some(within_s)) => goal.within_s = within_s,
        }
    }
    Ok(true)
}

fn form(ward: &mut Ward, empty: &Mark, case: &Case<'_>, bed: &Bed, attacks: &[Attack], plan: &[Planned], out: &mut Measured) {
    let clean = render(case.recording, bed);
    let mut made: Vec<(&Planned, Attacked, bool)> = Vec::new();
    for planned in plan {
        match make(case, &attacks[planned.attack], bed, planned.start_s, planned.seed) {
            Ok(mut attacked) => match from_the_first(&mut attacked, &clean) {
                Ok(judged) => made.push((planned, attacked, judged)),
                Err(unfit) => out.skipped.push((planned.attack, unfit)),
            },
            Err(unfit) => out.skipped.push((planned.attack, unfit)),
        }
    }
    made.sort_by_key(|(_, attacked, _)| attacked.truth.start);
    ward.go_on(empty);
    let mut marks: Vec<Mark> = Vec::new();
    for wire in &clean {
        while made.get(marks.len()).is_some_and(|(_, a, _)| a.truth.start <= wire.received_at) {
            marks.push(ward.mark());
        }
        ward.push(wire);
    }
    if let Some(last) = clean.last() {
        ward.wait(last.received_at.plus_s(1.0));
    }
    out.messages += clean.len() as u64;
    out.bytes_max = out.bytes_max.max(marks.iter().map(Mark::len).max().unwrap_or(0));
    let twin: Vec<Episode> = ward.episodes().to_vec();
    for ((planned, attacked, judged), mark) in made.iter().zip(&marks) {
        let truth = &attacked.truth;
        let other = attacked.other_bed.as_deref();
        // Two beds are another house: both run from the beginning, without the attack and with it.
        let pair = other.map(|other| twin_of_two(ward, empty, case, bed, &clean, other, truth));
        let (mark, twin) = match &pair {
            Some((mark, twin)) => (mark, twin),
            None => (mark, &twin),
        };
        ward.go_on(mark);
        let refused = ward.refused();
        out.messages += run_on(ward, bed, &attacked.wires, other.unwrap_or_default(), truth);
        let mut random = Random::new(planned.seed ^ 1);
        let always = [always_on(truth, bed.start)];
        let window_s = truth.end.since_s(truth.start) + AFTER_S;
        let late = truth.end.plus_s(AFTER_S);
        let nurse_tamper =
            |e: &Episode| e.assessment == Assessment::Tamper && e.nurse_at.is_some_and(|at| (truth.start..=late).contains(&at));
        let mut event = Event {
            attack: planned.attack,
            rate: bed.rate,
            encoding: bed.encoding,
            start_s: planned.start_s,
            seed: planned.seed,
            nurse: found(ward.episodes(), twin, truth, Level::Nurse),
            engineer: match found(ward.episodes(), twin, truth, Level::Engineer) {
                None if truth.counts.refused && ward.refused() > refused => Some(0.0),
                found => found,
            },
            own: own(attacks[planned.attack].kind, ward.episodes(), twin, truth),
            random: by_chance(window_s, &mut random),
            always: found(&always, &always, truth, truth.counts.level).is_some(),
            tamper: ward.episodes().iter().any(nurse_tamper),
            truth: truth.clone(),
            unjudged: !judged,
            missed: None,
        };
        if truth.counts.goal.is_some() && *judged && !event.in_time() {
            let (attacked, twin) = (open_then(ward.episodes(), truth), open_then(twin, truth));
            event.missed = Some(Box::new(Missed { attacked, twin }));
        }
        out.events.push(event);
    }
    out.clean.push(Clean {
        encoding: bed.encoding,
        rate: bed.rate,
        start: bed.start,
        messages: clean.len() as u64,
        episodes: twin,
    });
}

/// The messages of two beds in the order in which they come.
fn merged<'a>(a: &'a [Wire], b: &'a [Wire]) -> impl Iterator<Item = &'a Wire> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if y.received_at < x.received_at => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

/// The attacked messages from the attack's start until its time to be found is over, and what a person reads at the bedside
/// meanwhile. How many messages they were.
fn run_on(ward: &mut Ward, bed: &Bed, own: &[Wire], other: &[Wire], truth: &Truth) -> u64 {
    let late = truth.end.plus_s(AFTER_S);
    let from = |wires: &[Wire]| wires.partition_point(|w| w.received_at < truth.start);
    let mut messages = 0;
    let mut looks = truth.spot_checks.chunk_by(|a, b| a.at == b.at).peekable();
    for wire in merged(&own[from(own)..], &other[from(other)..]).take_while(|w| w.received_at <= late) {
        while let Some(look) = looks.next_if(|look| look[0].at <= wire.received_at) {
            let values = look.iter().map(|s| (s.parameter, s.value)).collect();
            ward.read_at_bedside(&bed.sender.point_of_care, &bed.sender.bed, values, look[0].at);
        }
        ward.push(wire);
        messages += 1;
    }
    ward.wait(late);
    messages
}

/// Both beds without the attack: where they stood at its start, and what was said of them until its time was over.
fn twin_of_two(
    ward: &mut Ward,
    empty: &Mark,
    case: &Case<'_>,
    bed: &Bed,
    clean: &[Wire],
    other: &[Wire],
    truth: &Truth,
) -> (Mark, Vec<Episode>) {
    // Where the other bed is attacked, too (a swap), its twin is what it was.
    let own_other = case.donor.map(|donor| render(donor, &donor_bed(bed)));
    let other = own_other.as_deref().unwrap_or(other);
    ward.go_on(empty);
    let mut mark = None;
    let late = truth.end.plus_s(AFTER_S);
    for wire in merged(clean, other).take_while(|w| w.received_at <= late) {
        if mark.is_none() && wire.received_at >= truth.start {
            mark = Some(ward.mark());
        }
        ward.push(wire);
    }
    ward.wait(late);
    (mark.unwrap_or_else(|| ward.mark()), ward.episodes().to_vec())
}

#[cfg(test)]
mod tests;
