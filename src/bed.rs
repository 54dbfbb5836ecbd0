//! One bed: who lies in it as far as the feed says, and one [`Stream`] of statistics for each parameter.
//!
//! A bed knows no check and no alert. It is told what came ([`Bed::learn`] for what passed, [`Bed::note_doubted`] for what did
//! not, [`Bed::note_absent`] for a row without a value) and answers what it expects. Memory is bounded: [`Bed::STREAMS_MAX`]
//! streams of less than 2 KB; a further channel is counted and not kept.

use crate::observation::{AgeBand, ObsFlags, Observation, Validity};
use crate::population::Population;
use crate::population::prior::{N0, Prior};
use crate::profile::Profile;
use crate::stats::blocks::Blocks;
use crate::stats::cadence::Cadence;
use crate::stats::ewma::Ewma;
use crate::stats::quantile::Quantile;
use crate::stats::runs::ChangeRate;
use crate::time::Timestamp;
use crate::vital::{Nature, Parameter, Unit};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::sync::LazyLock;

mod bond;

pub use bond::{Bond, Misplaced, Permit, UNBOUND};

/// Time constants of the two averages, seconds.
const FAST_S: f64 = 60.0;
const SLOW_S: f64 = 3600.0;
/// Half-life of a baseline, seconds.
const HALF_LIFE_S: f64 = 4.0 * 3600.0;
/// After a gap of this length what is known counts half, seconds.
const COLD_S: f64 = 900.0;
/// The slow average moves by at most this many within-patient SDs an hour, so that a slow ramp cannot teach itself...
const DRIFT_SD_PER_HOUR: f64 = 0.5;
/// ...once this much time was learned, seconds.
const DRIFT_FREE_S: f64 = 1800.0;
/// Intervals before Δ counts as known.
const CADENCE_NEEDED: u32 = 10;
/// Neighbouring values of so many seconds count as one independent sample.
const SAMPLE_S: f64 = 60.0;
/// What the bed has shown before a long gap is worth half a prior.
const COLD_SAMPLES: f32 = (N0 / 2.0) as f32;
/// Values before the quantiles say what is expected.
const BAND_NEEDED: u32 = 60;
/// From then on the quantiles take a value at most so often, seconds: neighbouring values of one second say the same twice.
const MARK_EVERY_S: f64 = 5.0;

/// Parameters of the blocks: one or two of each sensor that measures all the time. Ten of them are kept.
const BATCHED: [Parameter; 16] = [
    Parameter::Hr,
    Parameter::Pr,
    Parameter::PrAbp,
    Parameter::Rr,
    Parameter::Awrr,
    Parameter::RrVent,
    Parameter::Spo2,
    Parameter::Etco2,
    Parameter::AbpSys,
    Parameter::AbpMean,
    Parameter::PapSys,
    Parameter::PapMean,
    Parameter::Cvp,
    Parameter::Icp,
    Parameter::Temp,
    Parameter::TempSkin,
];

/// Nothing above is learned, canonical units: no quantity of the table reaches it, and its square would spoil a variance for days.
const LEARN_MAX: f64 = 1e6;
/// Own times so far ahead of ours are from the future, milliseconds.
const FUTURE_MS: i64 = 3_600_000;

/// From the distance between median and 5 % quantile of a normal distribution to three of its standard deviations.
static STRETCH: LazyLock<f64> = LazyLock::new(|| -3.0 / Normal::standard().inverse_cdf(0.05));

/// What the past of a stream still weighs after so many seconds.
#[derive(Debug, Clone, Copy)]
struct Fade {
    fast: f64,
    slow: f64,
    changes: f32,
    samples: f64,
}

/// Intervals of whole seconds up to here are looked up: four exponentials a value are 2 % of a message's cost.
const FADES: usize = 64;

static FADE: LazyLock<[Fade; FADES]> = LazyLock::new(|| std::array::from_fn(|s| Fade::found(s as f64)));

impl Fade {
    fn after(dt_s: f64) -> Fade {
        // A cast of a number saturates.
        let whole = dt_s as usize;
        if whole as f64 == dt_s && whole < FADES { FADE[whole] } else { Fade::found(dt_s) }
    }

    fn found(dt_s: f64) -> Fade {
        Fade {
            fast: Ewma::fade(dt_s, FAST_S),
            slow: Ewma::fade(dt_s, SLOW_S),
            changes: ChangeRate::fade((HALF_LIFE_S / dt_s).max(120.0)),
            samples: (-std::f64::consts::LN_2 * dt_s / HALF_LIFE_S).exp(),
        }
    }
}

/// One accepted value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub value: f64,
    pub effective_at: Timestamp,
    pub received_at: Timestamp,
}

/// The last 128 accepted values of a stream, by their own time, in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recent {
    /// Value, and the low half of its time: differences up to 24 days come out right.
    #[serde(with = "crate::stats::packed::timed")]
    entries: Vec<(f32, u32)>,
    head: u8,
    newest_ms: i64,
}

impl Recent {
    pub const KEPT: usize = 128;

    fn push(&mut self, value: f64, at: Timestamp) {
        let entry = (value as f32, at.ms() as u32);
        self.newest_ms = at.ms();
        if self.entries.len() < Self::KEPT {
            if self.entries.capacity() == 0 {
                self.entries.reserve_exact(Self::KEPT);
            }
            self.head = self.entries.len() as u8;
            self.entries.push(entry);
        } else {
            self.head = (self.head + 1) % Self::KEPT as u8;
            self.entries[self.head as usize] = entry;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.head = 0;
    }

    fn touch(&self) -> u64 {
        self.entries.get(self.head as usize).map_or(0, |(_, low)| u64::from(*low))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Values and their own times, newest first.
    pub fn iter(&self) -> impl Iterator<Item = (f64, Timestamp)> + '_ {
        let newest = self.newest_ms as u32;
        // Two stretches in place of a division for each value.
        let (young, old) = self.entries.split_at((self.head as usize + 1).min(self.entries.len()));
        young
            .iter()
            .rev()
            .chain(old.iter().rev())
            .map(move |(value, low)| (f64::from(*value), Timestamp(self.newest_ms - i64::from(newest.wrapping_sub(*low)))))
    }

    /// The values that are not older than `from`, newest first.
    pub fn since(&self, from: Timestamp) -> impl Iterator<Item = (f64, Timestamp)> + '_ {
        self.iter().take_while(move |(_, at)| *at >= from)
    }

    /// Mean of the values from `from` to `to`, both included.
    pub fn mean(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let (sum, count) =
            self.since(from).filter(|(_, at)| *at <= to).fold((0.0, 0u32), |(sum, count), (v, _)| (sum + v, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Smallest and largest value not older than `from`.
    pub fn envelope(&self, from: Timestamp) -> Option<(f64, f64)> {
        self.since(from)
            .fold(None, |seen: Option<(f64, f64)>, (v, _)| Some(seen.map_or((v, v), |(low, high)| (low.min(v), high.max(v)))))
    }
}

/// One parameter of one channel: its last values and its baseline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    pub parameter: Parameter,
    pub channel: u32,
    /// The newest usable value, whether it passed or not: this is what is shown.
    pub latest: Option<Sample>,
    /// The last accepted value.
    pub last: Option<Sample>,
    /// The one before it.
    pub previous: Option<Sample>,
    /// Why the newest row holds no usable value; `None` while it does.
    pub absent: Option<Validity>,
    /// When a row of this parameter was last heard, usable or not.
    pub heard_at: Timestamp,
    /// Values accepted since the epoch began.
    pub accepted: u64,
    /// OBX-6 of the newest usable value, hashed.
    pub unit_hash: u32,
    /// The bedside monitor's alarm limits as last sent (OBX-7), canonical unit; NaN for a side that was not.
    pub limits: (f64, f64),
    /// Interval between new values, by their own time.
    pub cadence: Cadence,
    /// Average and spread of the last minute.
    pub fast: Ewma,
    /// Average and spread of the last hour, its drift capped.
    pub slow: Ewma,
    pub p05: Quantile,
    pub p50: Quantile,
    pub p95: Quantile,
    /// Own time of the value that the quantiles took last.
    marked_at: Timestamp,
    /// How often the value changes.
    pub changes: ChangeRate,
    /// The last accepted values.
    pub recent: Recent,
    /// Own and receive time of the newest value that came late, while such values come.
    pub late: Option<(Timestamp, Timestamp)>,
    late_run: u8,
    learned_s: f64,
    halved_s: f64,
    /// Independent samples that the baseline is worth: one a minute, half of them forgotten in [`HALF_LIFE_S`].
    samples: f32,
    /// From a clinical system, not from a monitor.
    charted: bool,
}

impl Stream {
    fn new(parameter: Parameter, channel: u32, at: Timestamp) -> Stream {
        Stream {
            parameter,
            channel,
            latest: None,
            last: None,
            previous: None,
            absent: None,
            heard_at: at,
            accepted: 0,
            unit_hash: 0,
            limits: (f64::NAN, f64::NAN),
            cadence: Cadence::default(),
            fast: Ewma::default(),
            slow: Ewma::default(),
            p05: Quantile::new(0.05),
            p50: Quantile::new(0.5),
            p95: Quantile::new(0.95),
            marked_at: Timestamp::MIN,
            changes: ChangeRate::default(),
            recent: Recent::default(),
            late: None,
            late_run: 0,
            learned_s: 0.0,
            halved_s: 0.0,
            samples: 0.0,
            charted: false,
        }
    }

    /// It is shown as a clinical system sent it, and was never judged.
    pub fn is_charted(&self) -> bool {
        self.charted
    }

    /// The same levels as if no device had ever measured them.
    fn without_device(self) -> Stream {
        let (accepted, learned_s, halved_s) = (self.accepted, self.learned_s, self.halved_s);
        let (slow, p05, p50, p95, samples) = (self.slow, self.p05, self.p50, self.p95, self.samples);
        let blank = Stream::new(self.parameter, self.channel, self.heard_at);
        Stream { accepted, learned_s, halved_s, slow, p05, p50, p95, samples, ..blank }
    }

    /// Usual interval Δ between two values, seconds; `None` until it is known.
    pub fn delta_s(&self) -> Option<f64> {
        // Cuffs are rare: three cycles must do.
        let needed = if self.parameter.nature() == Nature::Episodic { 3 } else { CADENCE_NEEDED };
        self.cadence.seconds(needed)
    }

    /// Age at which a value is stale, seconds: max(3Δ, 10 s); for a cuff its cycle and 5 min.
    pub fn stale_after_s(&self) -> f64 {
        match self.parameter.nature() {
            Nature::Episodic => self.delta_s().unwrap_or(3600.0) + 300.0,
            Nature::Setting => 86_400.0,
            // Until Δ is known nothing is called stale before a minute.
            Nature::Continuous | Nature::Derived => self.delta_s().map_or(60.0, |delta| (3.0 * delta).max(10.0)),
        }
    }

    /// Whether the newest value is older than it may be, or there is none.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.latest.is_none_or(|latest| now.since_s(latest.received_at) > self.stale_after_s())
    }

    /// Takes note of a usable row. True if it is the newest by its own time, and so may become the last value.
    fn arrive(&mut self, o: &Observation, at: Timestamp) -> bool {
        self.heard_at = at;
        self.absent = None;
        let (low, high) = o.limits;
        if (low.is_finite() || high.is_finite()) && self.latest.is_none_or(|l| o.effective_at >= l.effective_at) {
            self.limits = o.limits;
        }
        let sample = Sample { value: o.value, effective_at: o.effective_at, received_at: at };
        let Some(latest) = self.latest else {
            self.unit_hash = o.unit_hash;
            self.latest = Some(sample);
            return true;
        };
        if o.effective_at == latest.effective_at {
            return false;
        }
        // After a time from the future the next one of the present is believed at once, lest one number hides those after it.
        let future = |own: Timestamp, received: Timestamp| own.since_ms(received) > FUTURE_MS;
        let corrected = future(latest.effective_at, latest.received_at) && !future(o.effective_at, at);
        if o.effective_at < latest.effective_at && !corrected && !self.follow_back(o.effective_at, at) {
            return false;
        }
        if o.effective_at < latest.effective_at {
            // The clock was set back: what is kept has times from the future.
            self.recent.clear();
        } else {
            self.cadence.push(o.effective_at.since_ms(latest.effective_at));
        }
        self.late = None;
        self.late_run = 0;
        self.unit_hash = o.unit_hash;
        self.latest = Some(sample);
        true
    }

    /// Whether values from the past are the new present: five in a row whose own time advances as ours does are a clock that
    /// was set back; a backlog comes faster than it was measured.
    fn follow_back(&mut self, effective_at: Timestamp, at: Timestamp) -> bool {
        let steady = self.late.is_some_and(|(own, received)| {
            let advance_ms = effective_at.since_ms(own);
            advance_ms > 0 && at.since_ms(received) * 2 >= advance_ms
        });
        self.late_run = if steady { self.late_run + 1 } else { 0 };
        self.late = Some((effective_at, at));
        self.late_run >= 5
    }

    /// True if it is a new measurement.
    fn learn(&mut self, population: &Population, o: &Observation, at: Timestamp, frozen: bool) -> bool {
        if !self.arrive(o, at) {
            return false;
        }
        let before = self.last;
        self.previous = before;
        self.last = self.latest;
        self.accepted += 1;
        self.recent.push(o.value, o.effective_at);
        if frozen || o.value.abs() > LEARN_MAX {
            return true;
        }
        let gap_s = before.map_or(0.0, |b| o.effective_at.since_s(b.effective_at));
        if gap_s > COLD_S {
            self.slow.halve();
            self.forget();
            self.samples = self.samples.min(COLD_SAMPLES);
        }
        let dt_s = if gap_s > 0.0 { gap_s.min(SLOW_S) } else { self.delta_s().unwrap_or(1.0) };
        let fade = Fade::after(dt_s);
        self.fast.push_faded(o.value, fade.fast, f64::INFINITY);
        let step_max = match population.within_sd(self.parameter) {
            Some(sd) if self.learned_s >= DRIFT_FREE_S => DRIFT_SD_PER_HOUR * sd * dt_s / 3600.0,
            _ => f64::INFINITY,
        };
        self.slow.push_faded(o.value, fade.slow, step_max);
        if self.p50.count() < BAND_NEEDED || o.effective_at.since_s(self.marked_at) >= MARK_EVERY_S {
            self.marked_at = o.effective_at;
            self.p05.push(o.value);
            self.p50.push(o.value);
            self.p95.push(o.value);
        }
        if let Some(before) = before {
            self.changes.push_faded(before.value != o.value, fade.changes);
        }
        self.learned_s += dt_s;
        self.halved_s += dt_s;
        // A value that stands for longer than a minute is one sample.
        self.samples = (f64::from(self.samples) * fade.samples + (dt_s / SAMPLE_S).min(1.0)) as f32;
        if self.halved_s >= HALF_LIFE_S {
            self.halved_s = 0.0;
            self.forget();
        }
        true
    }

    fn forget(&mut self) {
        self.p05.halve();
        self.p50.halve();
        self.p95.halve();
    }

    /// What the stream's own statistics expect: the median and the distances to the 5 % and 95 % quantiles, each stretched to
    /// three normal standard deviations, and at least two steps of the scale wide on each side.
    fn own_band(&self) -> Option<(f64, f64)> {
        if self.accepted < u64::from(BAND_NEEDED) {
            return None;
        }
        let stretch = *STRETCH;
        let (low, mid, high) = (self.p05.value()?, self.p50.value()?, self.p95.value()?);
        let margin = self.margin();
        Some((mid - ((mid - low) * stretch).max(margin), mid + ((high - mid) * stretch).max(margin)))
    }

    fn margin(&self) -> f64 {
        if matches!(self.parameter.unit(), Unit::Cel | Unit::Kelvin | Unit::Mm | Unit::MilliVolt) { 0.2 } else { 2.0 }
    }

    /// The same with what is assumed of such patients, which weighs as much as [`crate::population::prior::N0`] samples. What
    /// the bed itself has shown is never left out.
    fn band(&self, prior: Option<&Prior>) -> Option<(f64, f64)> {
        let own = self.own_band();
        let assumed = prior.map(|prior| {
            let (mean, sd) = (self.slow.mean().unwrap_or(f64::NAN), self.slow.sd());
            let (mean, sd) = prior.expected(mean, sd, f64::from(self.samples));
            let half = (3.0 * sd).max(self.margin());
            (mean - half, mean + half)
        });
        let mut band = match (own, assumed) {
            (Some(own), Some(assumed)) => (own.0.min(assumed.0), own.1.max(assumed.1)),
            (own, assumed) => own.or(assumed)?,
        };
        if matches!(self.parameter.unit(), Unit::Percent) {
            band = (band.0.max(0.0), band.1.min(100.0));
        }
        if matches!(self.parameter.unit(), Unit::PerMin) {
            band.0 = band.0.max(0.0);
        }
        Some(((band.0 * 10.0).round() / 10.0, (band.1 * 10.0).round() / 10.0))
    }
}

/// One bed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bed {
    pub ward: String,
    pub bed: String,
    /// Keyed hash of the patient; 0 unknown.
    pub patient: u64,
    pub age: AgeBand,
    /// When the present epoch (one patient, one device set) began.
    pub epoch_at: Timestamp,
    /// Last message of any kind for this bed.
    pub heard_at: Timestamp,
    /// Standby, discharged, or marked off by a person: silence is expected.
    pub off: bool,
    /// Interval between messages, by our clock.
    pub cadence: Cadence,
    pub streams: Vec<Stream>,
    /// What the live parameters did minute by minute.
    pub blocks: Blocks,
    /// Channels that were not kept because there were too many.
    pub streams_refused: u64,
    /// Position of the first stream of each parameter; `NONE`: not heard.
    first: Vec<u8>,
    /// Levels that a patient brought along from another bed; each waits for the first value of its parameter here.
    brought: Vec<Stream>,
}

/// What was learned of one patient at one bed, put aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Baseline {
    streams: Vec<Stream>,
    blocks: Blocks,
    first: Vec<u8>,
    brought: Vec<Stream>,
}

impl Baseline {
    /// Whether anything was learned that is worth keeping: values enough for an expected band.
    pub fn has_learned(&self) -> bool {
        self.streams.iter().chain(&self.brought).any(|s| s.accepted >= u64::from(BAND_NEEDED))
    }
}

const NONE: u8 = u8::MAX;

impl Bed {
    /// Streams of one bed at most; a row of a further channel is counted in `streams_refused` and not kept.
    pub const STREAMS_MAX: usize = 64;

    pub fn new(ward: String, bed: String, at: Timestamp) -> Bed {
        Bed {
            ward,
            bed,
            patient: 0,
            age: AgeBand::Unknown,
            epoch_at: at,
            heard_at: at,
            off: false,
            cadence: Cadence::default(),
            streams: Vec::new(),
            blocks: Blocks::default(),
            streams_refused: 0,
            first: vec![NONE; Parameter::COUNT],
            brought: Vec::new(),
        }
    }

    /// Another patient or device set: every baseline is forgotten. The states of the checks go with it (`States::default()`).
    pub fn begin_epoch(&mut self, patient: u64, age: AgeBand, at: Timestamp) {
        self.patient = patient;
        self.age = age;
        self.epoch_at = at;
        self.off = false;
        self.streams.clear();
        self.blocks = Blocks::default();
        self.brought.clear();
        self.first.fill(NONE);
    }

    /// Takes out what was learned; the bed is left as at the beginning of an epoch.
    pub fn put_aside(&mut self) -> Baseline {
        let first = std::mem::replace(&mut self.first, vec![NONE; Parameter::COUNT]);
        let (streams, brought) = (std::mem::take(&mut self.streams), std::mem::take(&mut self.brought));
        Baseline { streams, blocks: std::mem::take(&mut self.blocks), first, brought }
    }

    /// The same patient goes on in the same bed, at the same device: everything is as it was.
    pub fn resume(&mut self, baseline: Baseline) {
        self.streams = baseline.streams;
        self.blocks = baseline.blocks;
        self.first = baseline.first;
        self.brought = baseline.brought;
    }

    /// The patient came from another bed: the levels come along, what belongs to the device there (cadence, channels, how often
    /// a value changes, the last values) does not. Of several channels of a parameter the first one speaks.
    pub fn bring(&mut self, baseline: Baseline) {
        self.brought.clear();
        for stream in baseline.streams.into_iter().chain(baseline.brought) {
            let known = self.stream(stream.parameter).is_some() || self.brought.iter().any(|s| s.parameter == stream.parameter);
            if !known && self.brought.len() < Self::STREAMS_MAX {
                self.brought.push(stream.without_device());
            }
        }
    }

    /// Reads one word of each line of memory that a message will need: see [`crate::check::States::touch`].
    pub fn touch(&self) -> u64 {
        self.streams.iter().fold(self.cadence.count().into(), |sum, s| {
            let counts = s.cadence.count() ^ s.fast.count() ^ s.slow.count() ^ s.changes.seen();
            let marks = s.p05.count() ^ s.p50.count() ^ s.p95.count();
            let times = s.heard_at.0 ^ s.latest.map_or(0, |l| l.received_at.0) ^ s.last.map_or(0, |l| l.received_at.0);
            sum ^ u64::from(counts ^ marks) ^ times as u64 ^ s.samples.to_bits() as u64 ^ s.recent.touch()
        })
    }

    /// The stream that speaks for a parameter.
    pub fn stream(&self, parameter: Parameter) -> Option<&Stream> {
        self.streams.get(self.first[parameter as usize] as usize)
    }

    /// The stream of a parameter and channel.
    pub fn channel(&self, parameter: Parameter, channel: u32) -> Option<&Stream> {
        let first = self.stream(parameter)?;
        if first.channel == channel {
            return Some(first);
        }
        self.streams.iter().find(|s| s.parameter == parameter && s.channel == channel)
    }

    fn open(&mut self, parameter: Parameter, channel: u32, at: Timestamp) -> Option<&mut Stream> {
        let first = self.first[parameter as usize] as usize;
        let found = if self.streams.get(first).is_some_and(|s| s.channel == channel) {
            Some(first)
        } else {
            self.streams.iter().position(|s| s.parameter == parameter && s.channel == channel)
        };
        let position = match found {
            Some(position) => position,
            None if self.streams.len() < Self::STREAMS_MAX => {
                let brought = self.brought.iter().position(|s| s.parameter == parameter);
                let stream = match brought {
                    Some(at) => Stream { channel, ..self.brought.swap_remove(at) },
                    None => Stream::new(parameter, channel, at),
                };
                self.streams.push(stream);
                let position = self.streams.len() - 1;
                if self.first[parameter as usize] == NONE {
                    self.first[parameter as usize] = position as u8;
                }
                position
            }
            None => {
                self.streams_refused += 1;
                return None;
            }
        };
        self.streams.get_mut(position)
    }

    /// Whether an observation is usable and a measurement that was not heard before (a repeat with the same own time is the
    /// same measurement).
    pub fn is_new(&self, o: &Observation) -> bool {
        o.validity.usable()
            && o.value.is_finite()
            && !o.flags.has(ObsFlags::SHOWN_ONLY)
            && self
                .channel(o.parameter, o.channel)
                .and_then(|s| s.latest)
                .is_none_or(|latest| latest.effective_at != o.effective_at)
    }

    /// A message of any kind came for this bed. After it was judged.
    pub fn note_message(&mut self, at: Timestamp) {
        if at > self.heard_at {
            self.cadence.push(at.since_ms(self.heard_at));
            self.heard_at = at;
        }
        self.blocks.end_message(at.ms(), self.delta_s());
    }

    /// Takes a value that passed. `frozen`: the bed is under suspicion (any e ≥ 10), so the value is kept and not learned.
    pub fn learn(&mut self, population: &Population, o: &Observation, at: Timestamp, frozen: bool) {
        if !o.validity.usable() || !o.value.is_finite() {
            return;
        }
        let new = self.open(o.parameter, o.channel, at).is_some_and(|stream| stream.learn(population, o, at, frozen));
        self.put_before_charted(o);
        self.batch(o, new, frozen);
    }

    /// What a monitor measures stands before what was charted, also where it is doubted.
    fn put_before_charted(&mut self, o: &Observation) {
        if self.stream(o.parameter).is_some_and(Stream::is_charted)
            && let Some(own) = self.streams.iter().position(|s| s.parameter == o.parameter && s.channel == o.channel)
        {
            self.first[o.parameter as usize] = own as u8;
        }
    }

    /// Whether a monitor measures here, and not only a clinical system repeats what was charted.
    pub fn is_measured(&self) -> bool {
        self.streams.iter().any(|s| !s.charted)
    }

    /// Takes a usable value that a check has doubted: it is shown, and teaches nothing.
    pub fn note_doubted(&mut self, o: &Observation, at: Timestamp) {
        if !o.validity.usable() || !o.value.is_finite() {
            return;
        }
        if let Some(stream) = self.open(o.parameter, o.channel, at) {
            stream.charted = o.flags.has(ObsFlags::CHARTED);
            let new = stream.arrive(o, at);
            self.batch(o, new && !o.flags.has(ObsFlags::SHOWN_ONLY), true);
        }
        if !o.flags.has(ObsFlags::CHARTED) {
            self.put_before_charted(o);
        }
    }

    /// A new measurement of the channel that speaks for a live parameter joins the block of this minute.
    fn batch(&mut self, o: &Observation, new: bool, doubted: bool) {
        if new && BATCHED.contains(&o.parameter) && self.stream(o.parameter).is_some_and(|s| s.channel == o.channel) {
            self.blocks.push(o.parameter as u8, o.value, doubted);
        }
    }

    /// Takes note of a value of the past (a backlog, a straggler): it is not shown as the present one and teaches nothing.
    pub fn note_past(&mut self, o: &Observation, at: Timestamp) {
        let newest = self.channel(o.parameter, o.channel).and_then(|s| s.latest);
        if newest.is_some_and(|newest| o.effective_at < newest.effective_at) {
            self.note_doubted(o, at);
        }
    }

    /// A row without a usable value: why.
    pub fn note_absent(&mut self, parameter: Parameter, channel: u32, why: Validity, at: Timestamp) {
        if let Some(stream) = self.open(parameter, channel, at) {
            stream.heard_at = at;
            stream.absent = Some(why);
        }
    }

    /// Usual interval Δ between messages, seconds; `None` until it is known.
    pub fn delta_s(&self) -> Option<f64> {
        self.cadence.seconds(CADENCE_NEEDED)
    }

    /// What is expected of a parameter now: by the bed's own statistics, and the less of them there are the more by what is
    /// assumed of such patients. `None` while stale, or while nothing is known.
    pub fn expected_band(&self, parameter: Parameter, prior: Option<&Prior>, now: Timestamp) -> Option<(f64, f64)> {
        self.stream(parameter).filter(|s| !s.is_stale(now))?.band(prior)
    }

    /// Whether the baseline of a parameter is not ready: Δ is not known, or the device's habits may not accuse yet.
    pub fn is_learning(&self, parameter: Parameter, profile: &Profile, now: Timestamp) -> bool {
        !profile.usable(self.epoch_at, now)
            || self.stream(parameter).is_none_or(|s| s.parameter.nature() == Nature::Continuous && s.delta_s().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    fn fed(values: impl Iterator<Item = f64>) -> Bed {
        let population = Population::default();
        let mut bed = Bed::new("icu".into(), "A01".into(), T0);
        for (i, v) in values.enumerate() {
            let at = T0.plus_s(i as f64);
            bed.learn(&population, &story::observation(Parameter::Hr, v, at), at, false);
        }
        bed
    }

    #[test]
    fn the_band_holds_what_the_bed_shows_and_nothing_far_from_it() {
        let bed = fed((0..600).map(|i| 70.0 + f64::from(i * 7 % 9)));
        let (low, high) = bed.expected_band(Parameter::Hr, None, T0.plus_s(600.0)).unwrap();
        assert!(low < 70.0 && high > 78.0 && low > 60.0 && high < 88.0, "{low} {high}");
        assert_eq!(bed.expected_band(Parameter::Hr, None, T0.plus_s(700.0)), None, "a stale value has no band");
    }

    fn adult() -> Prior {
        Prior {
            parameter: Parameter::Hr,
            records: 99,
            location: 80.0,
            between_sd: 12.0,
            within_sd: 5.0,
            change_a: 1.0,
            change_b: 1.0,
            level_q: 0.1,
            reading_r: 1.0,
        }
    }

    #[test]
    fn before_it_has_shown_anything_a_bed_is_like_others_and_then_more_and_more_itself() {
        let prior = adult();
        let band = |bed: &Bed, s: f64| bed.expected_band(Parameter::Hr, Some(&prior), T0.plus_s(s)).unwrap();
        let like = |bed: (f64, f64), wanted: (f64, f64)| (bed.0 - wanted.0).abs() < 0.5 && (bed.1 - wanted.1).abs() < 0.5;
        let first = band(&fed([60.0].into_iter()), 1.0);
        // 80 less a sixtieth of a sample's share, and three times the deviation of 13.
        assert!(like(first, (80.0 - 39.0, 80.0 + 39.0)), "{first:?}");
        // Half an hour, 30 samples: half way between 60 and 80, and what the bed itself has shown.
        let half = band(&fed((0..1800).map(|i| 60.0 + f64::from(i % 3) - 1.0)), 1800.0);
        assert!(like(half, (70.0 - 3.0 * 9.25, 70.0 + 3.0 * 9.25)), "{half:?}");
        let far = fed((0..1800).map(|i| 130.0 + f64::from(i % 3) - 1.0));
        let (own, told) = (far.expected_band(Parameter::Hr, None, T0.plus_s(1800.0)).unwrap(), band(&far, 1800.0));
        assert!(told.0 < own.0 && told.1 >= own.1, "what was shown is in it: {told:?} {own:?}");
        let day = fed((0..86_400).map(|i| 60.0 + f64::from(i % 3) - 1.0));
        assert!(day.stream(Parameter::Hr).unwrap().samples > 300.0);
        let late = band(&day, 86_400.0);
        assert!(late.1 - late.0 < 0.5 * (half.1 - half.0) && late.0 < 60.0 && late.1 > 60.0, "{late:?}");
    }

    #[test]
    fn after_a_long_gap_what_was_shown_is_worth_half_a_prior() {
        let population = Population::default();
        let mut bed = fed((0..7200).map(|i| 60.0 + f64::from(i % 3) - 1.0));
        let samples = |bed: &Bed| bed.stream(Parameter::Hr).unwrap().samples;
        assert!(samples(&bed) > 90.0);
        let at = T0.plus_s(7200.0 + 600.0);
        bed.learn(&population, &story::observation(Parameter::Hr, 60.0, at), at, false);
        assert!(samples(&bed) > 90.0, "ten minutes are no long gap");
        let at = at.plus_s(901.0);
        bed.learn(&population, &story::observation(Parameter::Hr, 60.0, at), at, false);
        assert!((15.0..=16.0).contains(&samples(&bed)), "{}", samples(&bed));
    }

    #[test]
    fn a_repeat_with_the_same_own_time_is_the_same_measurement() {
        let bed = fed([118.0].into_iter());
        assert!(!bed.is_new(&story::observation(Parameter::Hr, 119.0, T0)));
        assert!(bed.is_new(&story::observation(Parameter::Hr, 118.0, T0.plus_s(1.0))));
    }

    #[test]
    fn a_late_batch_does_not_replace_the_newest_value_and_a_clock_set_back_does() {
        let population = Population::default();
        let mut bed = fed((0..60).map(|_| 70.0));
        let now = T0.plus_s(60.0);
        for i in 0..40 {
            bed.learn(&population, &story::observation(Parameter::Hr, 90.0, T0.plus_s(f64::from(i) + 0.5)), now, false);
        }
        assert_eq!(bed.stream(Parameter::Hr).unwrap().latest.unwrap().value, 70.0);
        for i in 1..=10 {
            let at = now.plus_s(f64::from(i));
            bed.learn(&population, &story::observation(Parameter::Hr, 95.0, at.plus_s(-3600.0)), at, false);
        }
        assert_eq!(bed.stream(Parameter::Hr).unwrap().latest.unwrap().value, 95.0);
    }

    #[test]
    fn a_slow_ramp_cannot_teach_itself() {
        let bed = fed((0..7200).map(|i| 70.0 + if i > 3600 { f64::from(i - 3600) / 60.0 } else { 0.0 }));
        let mean = bed.stream(Parameter::Hr).unwrap().slow.mean().unwrap();
        assert!((70.0..=71.8).contains(&mean), "half a within-patient SD (1.75 /min) an hour at most: {mean}");
    }

    #[test]
    fn nothing_is_learned_under_suspicion_but_the_value_is_kept() {
        let population = Population::default();
        let mut bed = fed((0..100).map(|_| 70.0));
        let before = bed.stream(Parameter::Hr).unwrap().slow;
        for i in 100..200 {
            let at = T0.plus_s(f64::from(i));
            bed.learn(&population, &story::observation(Parameter::Hr, 150.0, at), at, true);
        }
        let stream = bed.stream(Parameter::Hr).unwrap();
        assert_eq!(stream.slow, before);
        assert_eq!(stream.last.unwrap().value, 150.0);
    }

    #[test]
    fn staleness_follows_the_cadence() {
        let bed = fed((0..30).map(|_| 70.0));
        assert_eq!(bed.stream(Parameter::Hr).unwrap().stale_after_s(), 10.0);
        assert!(!bed.stream(Parameter::Hr).unwrap().is_stale(T0.plus_s(39.0)));
        assert!(bed.stream(Parameter::Hr).unwrap().is_stale(T0.plus_s(39.1)));
    }

    #[test]
    fn channels_beyond_the_bound_are_counted() {
        let mut bed = fed([70.0].into_iter());
        for channel in 0..100 {
            bed.note_absent(Parameter::Temp, channel, Validity::Absent, T0);
        }
        assert_eq!((bed.streams.len(), bed.streams_refused), (64, 37));
    }

    #[test]
    fn a_bed_survives_a_snapshot_byte_for_byte() {
        let bed = fed((0..300).map(|i| 70.0 + f64::from(i % 5)));
        let bytes = postcard::to_stdvec(&bed).unwrap();
        let again: Bed = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
        assert!(bytes.len() < 2600, "{}", bytes.len());
    }

    #[test]
    fn levels_come_along_to_another_bed_and_habits_of_the_device_stay() {
        let population = Population::default();
        let mut old = fed((0..600).map(|i| 70.0 + f64::from(i * 7 % 9)));
        let before = old.stream(Parameter::Hr).unwrap().clone();
        let mut new = Bed::new("icu".into(), "A02".into(), T0);
        new.bring(old.put_aside());
        assert!(old.streams.is_empty() && new.streams.is_empty());
        let at = T0.plus_s(5000.0);
        let row = Observation { channel: 77, ..story::observation(Parameter::Hr, 72.0, at) };
        new.learn(&population, &row, at, true);
        let stream = new.stream(Parameter::Hr).unwrap();
        assert_eq!((stream.channel, stream.slow, stream.accepted), (77, before.slow, before.accepted + 1));
        assert_eq!((stream.delta_s(), stream.recent.len()), (None, 1));
        assert!(new.expected_band(Parameter::Hr, None, at).is_some(), "known from the first value on");
        assert!(new.brought.is_empty());
    }

    #[test]
    fn who_comes_back_to_the_same_bed_goes_on() {
        let mut bed = fed((0..600).map(|i| 70.0 + f64::from(i * 7 % 9)));
        let before = postcard::to_stdvec(&bed).unwrap();
        let aside = bed.put_aside();
        assert!(aside.has_learned() && bed.stream(Parameter::Hr).is_none());
        bed.resume(aside);
        assert_eq!(postcard::to_stdvec(&bed).unwrap(), before);
    }

    #[test]
    fn the_ring_gives_back_its_values_newest_first() {
        let bed = fed((0..200).map(f64::from));
        let recent = &bed.stream(Parameter::Hr).unwrap().recent;
        assert_eq!(recent.len(), 128);
        assert_eq!(recent.iter().next(), Some((199.0, T0.plus_s(199.0))));
        assert_eq!(recent.iter().last(), Some((72.0, T0.plus_s(72.0))));
        assert_eq!(recent.envelope(T0.plus_s(190.0)), Some((190.0, 199.0)));
        assert_eq!(recent.mean(T0.plus_s(150.0), T0.plus_s(160.0)), Some(155.0));
        assert_eq!(recent.mean(T0.plus_s(10.0), T0.plus_s(20.0)), None, "no longer kept");
    }

    #[test]
    fn what_was_charted_is_shown_and_stands_behind_what_a_monitor_measures() {
        let population = Population::default();
        let mut bed = Bed::new("icu".into(), "A01".into(), T0);
        let charted =
            Observation { channel: 9, flags: ObsFlags(ObsFlags::CHARTED), ..story::observation(Parameter::Hr, 140.0, T0) };
        assert!(!bed.is_new(&charted), "no check looks at it");
        bed.note_doubted(&charted, T0);
        assert!(!bed.is_measured());
        let shown = |bed: &Bed| bed.stream(Parameter::Hr).and_then(|s| s.latest).map(|latest| latest.value);
        assert_eq!(shown(&bed), Some(140.0), "better than nothing");
        bed.learn(&population, &story::observation(Parameter::Hr, 70.0, T0.plus_s(1.0)), T0.plus_s(1.0), false);
        assert_eq!(shown(&bed), Some(70.0));
        bed.note_doubted(&Observation { effective_at: T0.plus_s(2.0), ..charted }, T0.plus_s(2.0));
        assert_eq!(shown(&bed), Some(70.0));
        assert_eq!(bed.stream(Parameter::Hr).map(|s| s.accepted), Some(1), "and teaches nothing");
        assert!(bed.is_measured());
        let mut other = Bed::new("icu".into(), "A02".into(), T0);
        other.note_doubted(&charted, T0);
        other.note_doubted(&story::observation(Parameter::Hr, 320.0, T0.plus_s(1.0)), T0.plus_s(1.0));
        assert_eq!(shown(&other), Some(320.0), "a doubted value of the monitor is not hidden behind it either");
    }
}
