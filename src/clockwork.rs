//! How the clocks of senders stand to ours, and what a message's own time is to those before it.
//!
//! Its one contract: a clock that is wrong is data and is learned; what is told is that it *moved*. Two levels: [`Hands`] of one
//! bed (its own times against receipt) and [`Clock`] of one sender (the same over all its beds, and MSH-7). Of each the latency
//! `received_at − own time` is kept as a robust median, MAD and minimum; an unlearned clock says nothing.
//!
//! A message far from the level is undecided at first. Own times that then run faster than ours are a backlog
//! (store-and-forward): recognised, not accused, and not live. Own times that keep our pace are a clock that moved; if the
//! sender's other beds moved too it is a [`Step`] of the sender: a change of summer time (exactly an hour, near a date on which
//! a known zone changes), of the zone (a multiple of 15 min), or else of the clock; the levels follow at once. Alone, the bed's
//! level follows after [`ADOPT_S`]. Single stragglers are late.
//!
//! Bounds: [`SENDERS_MAX`] senders, the one that was silent for longest makes room; 31 latencies a level.

use crate::observation::{MessageKind, Report, TimeSource};
use crate::stats::median::Median;
use crate::time::Timestamp;
use crate::vital::Nature;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Senders remembered at most.
pub const SENDERS_MAX: usize = 4096;
/// Messages before a level counts as known. Lower: one slow start is a level. Higher: the first minutes go unwatched.
const NEEDED: u32 = 10;
/// A message is off its level by more than [`Limits::off_ms`] and by more than so many MADs.
const SPREADS: i64 = 6;
/// A time from the future lies so far before the smallest latency, milliseconds.
const FUTURE_MS: i64 = 5_000;
/// An impossible latency lies so far below the smallest one, milliseconds, and by more than three MADs: twice the whole second
/// to which many senders cut their times.
const EARLY_MS: i64 = 2_000;
/// And a sender's step takes so long at least on our clock, milliseconds: the backlogs of many beds begin together.
const STEP_MS: i64 = 5_000;
/// Messages that make a step of a sender of several beds while only one of them is heard.
const STEP_ALONE: u32 = 10;
/// A bed whose sender did not move is believed after so long, seconds.
pub const ADOPT_S: f64 = 600.0;
/// Stragglers are late up to this, milliseconds; beyond, old.
const LATE_MS: i64 = 120_000;
/// Two messages of one backlog come within, milliseconds.
const BACKLOG_GAP_MS: i64 = 60_000;
/// Offsets of zones are multiples of this, milliseconds...
const ZONE_MS: i64 = 15 * 60_000;
/// ...at most so large...
const ZONE_MAX_MS: i64 = 14 * 3_600_000;
/// ...and met within this: synchronised clocks differ by less, clocks that nobody set by more.
const NEAR_MS: i64 = 30_000;
/// A zone is told of once so many messages came over so long.
const ZONE_MESSAGES: u32 = 20;
const ZONE_AFTER_MS: i64 = 60_000;
/// A sender that is silent for so long stands in no zone any more, seconds.
const ZONE_SILENT_S: f64 = 3600.0;
/// Summer time and nothing else moves a clock by this, milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// A date of change lies so near, milliseconds: gateways are set by hand a day late.
const DST_NEAR_MS: i64 = 24 * 3_600_000;
/// A second device behind one sender has a clock of its own: after so many messages it is known.
const OTHER: u32 = 8;
/// Senders of one bed whose times are followed.
const HANDS_MAX: usize = 3;
/// A step is news for so long, seconds.
pub const NEWS_S: f64 = 300.0;

/// What the site sets (thresholds of P05).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A message is off its level by more than this, milliseconds.
    pub off_ms: i64,
    /// Messages off their level in a row before anything is told.
    pub messages: u32,
}

/// What a message's own time is to those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// It carries no time of its own, or nothing is learned yet.
    #[default]
    Unknown,
    /// As always.
    Live,
    /// Older than those before by at most two minutes, alone.
    Late,
    /// Far older than usual, alone so far.
    Undecided,
    /// One of a burst of old times in order (store-and-forward).
    Backlog,
    /// Off its level, with the ones before it.
    Off,
}

/// Which clock moved, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// By an hour near a date on which a zone changes.
    Dst,
    /// To a multiple of 15 minutes from ours.
    Zone,
    Clock,
}

impl StepKind {
    /// The word of texts and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            StepKind::Dst => "dst_step",
            StepKind::Zone => "zone_mismatch",
            StepKind::Clock => "clock_step",
        }
    }
}

/// A sender's clock moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub kind: StepKind,
    pub at: Timestamp,
    /// Sender minus us, before and after, milliseconds.
    pub from_ms: i64,
    pub to_ms: i64,
}

/// What is known of one message's time, as it was before the message.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    pub pace: Pace,
    /// `received_at` − own time, milliseconds.
    pub latency_ms: i64,
    /// Learned level and minimum of the bed, milliseconds; the limit for being off it.
    pub level_ms: i64,
    pub low_ms: i64,
    pub limit_ms: i64,
    /// Latency below which a message cannot have taken its way, milliseconds.
    pub early_ms: i64,
    /// Messages off the level in a row, and since when.
    pub off: u32,
    pub off_since: Timestamp,
    /// Messages in a row whose latency is below what is possible.
    pub early: u32,
    pub early_since: Timestamp,
    /// Other beds of the sender were heard on their level since.
    pub contradicted: bool,
    /// The sender's clock moved within the last five minutes.
    pub step: Option<Step>,
    /// The sender speaks for this bed alone.
    pub alone: bool,
}

impl Reading {
    /// Whether the values are of the present, as far as one can tell.
    pub fn is_live(&self) -> bool {
        !matches!(self.pace, Pace::Late | Pace::Undecided | Pace::Backlog)
    }
    /// Level minus latency: positive where the clock is ahead of its usual stand.
    pub fn ahead_ms(&self) -> i64 {
        self.level_ms - self.latency_ms
    }
}

/// The own times of one bed, by sender; the one that was silent for longest makes room.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hands {
    hands: Vec<Hand>,
}

impl Hands {
    fn of(&mut self, sender: u64, at: Timestamp) -> &mut Hand {
        let position = self.hands.iter().position(|h| h.sender == sender).unwrap_or_else(|| {
            if self.hands.len() >= HANDS_MAX {
                let oldest = (0..self.hands.len()).min_by_key(|i| self.hands[*i].heard_at).unwrap_or(0);
                self.hands.swap_remove(oldest);
            }
            self.hands.push(Hand { sender, ..Hand::default() });
            self.hands.len() - 1
        });
        let hand = &mut self.hands[position];
        hand.heard_at = at;
        hand
    }
}

/// The own times of one sender at one bed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Hand {
    sender: u64,
    heard_at: Timestamp,
    latency: Median,
    /// Latency at which single messages off the level come again and again, and how often they did.
    other_ms: i64,
    other: u32,
    newest: Timestamp,
    /// Own and receive time of the last message off its level.
    last_off: Option<(Timestamp, Timestamp)>,
    off: u32,
    off_since: Timestamp,
    steady_since: Timestamp,
    steady: u32,
    early: u32,
    early_since: Timestamp,
}

/// The newest own time of what is measured continuously, else of the message.
fn own_time(report: &Report) -> Option<Timestamp> {
    let own = |source| matches!(source, TimeSource::Obx14 | TimeSource::Obr7 | TimeSource::ObrOther);
    report
        .observations
        .iter()
        .filter(|o| o.parameter.nature() == Nature::Continuous && own(o.time_source))
        .map(|o| o.effective_at)
        .max()
        .or(report.sent_at)
}

impl Hand {
    /// Takes a message's own time and says what it is.
    fn hear(&mut self, own: Timestamp, received: Timestamp, limits: Limits) -> Reading {
        let latency_ms = received.since_ms(own);
        let newest = self.newest;
        self.newest = newest.max(own);
        let level_ms = self.latency.median().unwrap_or(latency_ms);
        let (mad_ms, low_ms) = (self.latency.mad(), self.latency.low().unwrap_or(latency_ms));
        let limit_ms = limits.off_ms.max(SPREADS * mad_ms);
        let early_ms = low_ms - EARLY_MS.max(3 * mad_ms);
        let mut reading = Reading { latency_ms, level_ms, low_ms, limit_ms, early_ms, alone: true, ..Reading::default() };
        if self.latency.count() < NEEDED {
            self.latency.push(latency_ms);
            return reading;
        }
        let old = latency_ms - level_ms > limit_ms;
        let future = latency_ms < low_ms - FUTURE_MS;
        if latency_ms < early_ms {
            if self.early == 0 {
                self.early_since = received;
            }
            self.early = self.early.saturating_add(1);
        } else {
            self.early = 0;
        }
        (reading.early, reading.early_since) = (self.early, self.early_since);
        if !old && !future {
            (self.off, self.steady) = (0, 0);
            reading.pace = Pace::Live;
            // An impossible latency is not learned, until it is the usual one.
            if self.early == 0 || self.early > STEP_ALONE {
                self.latency.push(latency_ms);
            }
            return reading;
        }
        if old && self.off == 0 {
            if (latency_ms - self.other_ms).abs() > limits.off_ms / 2 {
                (self.other_ms, self.other) = (latency_ms, 0);
            }
            self.other = self.other.saturating_add(1);
            if self.other > OTHER {
                reading.pace = Pace::Live;
                return reading;
            }
        }
        let before = self.last_off.replace((own, received));
        let near = before.filter(|(_, at)| self.off > 0 || received.since_ms(*at) <= BACKLOG_GAP_MS);
        if let Some((own_before, received_before)) = near {
            let (advance_ms, ours_ms) = (own.since_ms(own_before), received.since_ms(received_before));
            if old && advance_ms > 0 && advance_ms > 2 * ours_ms {
                (self.off, self.steady) = (0, 0);
                reading.pace = Pace::Backlog;
                return reading;
            }
            if (advance_ms - ours_ms).abs() > (limit_ms / 2).max(ours_ms / 4) {
                self.steady = 0;
            }
        }
        if self.off == 0 {
            (self.off_since, self.steady) = (received, 0);
        }
        if self.steady == 0 {
            self.steady_since = received;
        }
        (self.off, self.steady) = (self.off.saturating_add(1), self.steady.saturating_add(1));
        (reading.off, reading.off_since) = (self.off, self.off_since);
        reading.pace = match () {
            () if self.off >= limits.messages || future => Pace::Off,
            () if own < newest && newest.since_ms(own) <= LATE_MS => Pace::Late,
            () => Pace::Undecided,
        };
        if self.steady >= STEP_ALONE && received.since_s(self.steady_since) >= ADOPT_S {
            self.adopt(latency_ms - level_ms);
        }
        reading
    }

    /// The level moved for good.
    fn adopt(&mut self, by_ms: i64) {
        self.latency.shift(by_ms);
        (self.off, self.steady, self.early) = (0, 0, 0);
    }
}

/// One kind of time of one sender, over all its beds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    latency: Median,
    off: u32,
    since: Timestamp,
    /// Latency of the first message off the level, and its bed.
    first_ms: i64,
    bed: u32,
    beds: bool,
}

impl Series {
    /// Takes a latency; by how much the level moved and where it stands, if it did.
    fn hear(&mut self, own: Timestamp, received: Timestamp, bed: u32, shared: bool, limits: Limits) -> Option<(i64, i64)> {
        let latency_ms = received.since_ms(own);
        let Some(level_ms) = self.latency.median().filter(|_| self.latency.count() >= NEEDED) else {
            self.latency.push(latency_ms);
            return None;
        };
        let limit_ms = limits.off_ms.max(SPREADS * self.latency.mad());
        // A future is told from the minimum, as for a bed; the spread of a slow gateway says nothing there.
        let future = self.latency.low().is_some_and(|low| latency_ms < low - FUTURE_MS);
        if latency_ms - level_ms <= limit_ms && !future {
            self.off = 0;
            self.latency.push(latency_ms);
            return None;
        }
        if self.off == 0 || (latency_ms - self.first_ms).abs() > limit_ms {
            (self.off, self.since, self.first_ms, self.bed, self.beds) = (0, received, latency_ms, bed, false);
        }
        self.off = self.off.saturating_add(1);
        self.beds |= bed != self.bed;
        let agreed = !shared || self.beds || self.off >= STEP_ALONE;
        if self.off < limits.messages || !agreed || received.since_ms(self.since) < STEP_MS {
            return None;
        }
        // What comes faster than it was measured is no clock that moved.
        let by_ms = latency_ms - level_ms;
        if self.first_ms - latency_ms > received.since_ms(self.since) {
            self.off = 0;
            return None;
        }
        self.latency.shift(by_ms);
        self.off = 0;
        Some((by_ms, level_ms + by_ms))
    }
}

/// The clock of one sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// `dev-…` of the sender.
    pub device: String,
    pub heard_at: Timestamp,
    first_at: Timestamp,
    sent: Series,
    own: Series,
    bed: u32,
    /// It speaks for more beds than one.
    pub shared: bool,
    pub step: Option<Step>,
    /// How far its zone is off, milliseconds, where that was told: sender minus us.
    pub zone_ms: Option<i64>,
    /// Sender minus us after the last change of summer time.
    dst_ms: Option<i64>,
    /// When a bed of it was last heard on its level, and which one.
    fits_at: Timestamp,
    fits_bed: u32,
    messages: u32,
}

/// What there is to tell of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Step(Step),
    /// Its times stand this far from ours, as those of another zone would: sender minus us, milliseconds.
    Zone(i64),
    /// That is over.
    ZoneOver,
}

impl Clock {
    fn new(device: &str, bed: u32, at: Timestamp) -> Clock {
        Clock {
            device: device.to_owned(),
            heard_at: at,
            first_at: at,
            sent: Series::default(),
            own: Series::default(),
            bed,
            shared: false,
            step: None,
            zone_ms: None,
            dst_ms: None,
            fits_at: Timestamp::MIN,
            fits_bed: bed,
            messages: 0,
        }
    }

    /// Sender minus us, median, milliseconds: MSH-7 where it sends one, else the values' own times.
    pub fn skew_ms(&self) -> Option<i64> {
        self.series().latency.median().map(|latency| -latency)
    }

    fn series(&self) -> &Series {
        if self.sent.latency.count() >= self.own.latency.count() { &self.sent } else { &self.own }
    }

    /// The nearest zone's worth of skew, where a level stands at one.
    fn zone(&self) -> Option<i64> {
        [&self.sent, &self.own].into_iter().find_map(|series| {
            let level = series.latency.median().filter(|_| series.latency.count() >= ZONE_MESSAGES)?;
            let zone = zone_of(-level)?;
            let dst = self.dst_ms.is_some_and(|dst| (dst + level).abs() <= NEAR_MS);
            (series.latency.mad() <= NEAR_MS && !dst).then_some(zone)
        })
    }
}

/// The multiple of 15 minutes, other than 0, at which a skew stands.
fn zone_of(skew_ms: i64) -> Option<i64> {
    let zone = (skew_ms + ZONE_MS / 2).div_euclid(ZONE_MS) * ZONE_MS;
    (zone != 0 && zone.abs() <= ZONE_MAX_MS && (skew_ms - zone).abs() <= NEAR_MS).then_some(zone)
}

/// The clocks of all senders.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Clocks {
    by_sender: BTreeMap<u64, Clock>,
}

/// Who sent a message, and for which bed.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    pub sender: u64,
    pub device: &'a str,
    pub bed: u32,
}

impl Clocks {
    /// Takes a message of a bed. `changes` says whether a known zone changes its time near an instant.
    pub fn hear(
        &mut self,
        from: From<'_>,
        hands: &mut Hands,
        report: &Report,
        received: Timestamp,
        limits: Limits,
        changes: impl Fn(Timestamp) -> bool,
    ) -> (Reading, Option<News>) {
        if !matches!(report.kind, MessageKind::Vitals | MessageKind::Alarm) {
            return (Reading::default(), None);
        }
        let vitals = report.kind == MessageKind::Vitals;
        let clock = self.clock(from, received);
        clock.heard_at = received;
        clock.shared |= from.bed != clock.bed;
        clock.messages = clock.messages.wrapping_add(1);
        let own = own_time(report).filter(|_| vitals);
        let hand = hands.of(from.sender, received);
        let mut reading = own.map_or_else(Reading::default, |own| hand.hear(own, received, limits));
        reading.alone = !clock.shared;
        if reading.pace == Pace::Backlog {
            return (reading, None);
        }
        let moved = [(&mut clock.sent, report.sent_at), (&mut clock.own, own.filter(|own| Some(*own) != report.sent_at))];
        let shared = clock.shared;
        let mut step = None;
        for (series, time) in moved {
            if let Some(time) = time {
                step = series.hear(time, received, from.bed, shared, limits).or(step);
            }
        }
        let news = step.and_then(|(by_ms, level_ms)| clock.stepped(by_ms, -level_ms, received, &changes));
        if matches!(reading.pace, Pace::Off | Pace::Undecided | Pace::Late) {
            // The bed goes with its sender.
            let step = clock.step.filter(|step| received.since_s(step.at) <= NEWS_S);
            if step.is_some_and(|s| (s.to_ms - s.from_ms - reading.ahead_ms()).abs() <= reading.limit_ms) {
                hand.adopt(-reading.ahead_ms());
                reading.pace = Pace::Live;
            }
        } else if reading.pace == Pace::Live {
            (clock.fits_at, clock.fits_bed) = (received, from.bed);
        }
        reading.contradicted =
            clock.shared && reading.off > 0 && clock.fits_at >= reading.off_since && clock.fits_bed != from.bed;
        reading.step = clock.step.filter(|step| received.since_s(step.at) <= NEWS_S);
        (reading, news.or_else(|| clock.look_at_zone(received)))
    }

    fn clock(&mut self, from: From<'_>, at: Timestamp) -> &mut Clock {
        if self.by_sender.len() >= SENDERS_MAX && !self.by_sender.contains_key(&from.sender) {
            let silent = self.by_sender.iter().min_by_key(|(_, clock)| clock.heard_at).map(|(sender, _)| *sender);
            if let Some(silent) = silent {
                self.by_sender.remove(&silent);
            }
        }
        self.by_sender.entry(from.sender).or_insert_with(|| Clock::new(from.device, from.bed, at))
    }

    /// Whether some sender stands in another zone. Of one that was silent for an hour that is forgotten, and told again
    /// if it comes back.
    pub fn zones_stand(&mut self, now: Timestamp) -> bool {
        let mut stand = false;
        for clock in self.by_sender.values_mut() {
            if now.since_s(clock.heard_at) > ZONE_SILENT_S {
                clock.zone_ms = None;
            }
            stand |= clock.zone_ms.is_some();
        }
        stand
    }

    /// The clock of a sender.
    pub fn of_sender(&self, sender: u64) -> Option<&Clock> {
        self.by_sender.get(&sender)
    }

    /// Every clock, in the order of the senders' hashes.
    pub fn iter(&self) -> impl Iterator<Item = &Clock> {
        self.by_sender.values()
    }

    /// The clock of a device (`dev-…`) that was heard last.
    pub fn of_device(&self, device: &str) -> Option<&Clock> {
        self.by_sender.values().filter(|clock| clock.device == device).max_by_key(|clock| clock.heard_at)
    }
}

impl Clock {
    /// A level moved; `None` where that is the other half of a step that was told.
    fn stepped(&mut self, by_ms: i64, to_ms: i64, at: Timestamp, changes: &impl Fn(Timestamp) -> bool) -> Option<News> {
        let moved_ms = -by_ms;
        let told = self.step.filter(|step| at.since_s(step.at) <= NEWS_S);
        if told.is_some_and(|step| (step.to_ms - step.from_ms - moved_ms).abs() <= NEAR_MS) {
            return None;
        }
        let hour = (moved_ms.abs() - HOUR_MS).abs() <= NEAR_MS;
        let kind = match () {
            () if hour && changes(at) => StepKind::Dst,
            () if zone_of(moved_ms).is_some() && zone_of(to_ms).is_some() => StepKind::Zone,
            () => StepKind::Clock,
        };
        self.dst_ms = (kind == StepKind::Dst).then_some(to_ms);
        let step = Step { kind, at, from_ms: to_ms - moved_ms, to_ms };
        self.step = Some(step);
        if kind == StepKind::Zone {
            self.zone_ms = zone_of(to_ms);
        }
        Some(News::Step(step))
    }

    /// Whether its level stands at another zone's, looked at now and then.
    fn look_at_zone(&mut self, at: Timestamp) -> Option<News> {
        if !self.messages.is_multiple_of(8) || at.since_ms(self.first_at) < ZONE_AFTER_MS {
            return None;
        }
        let zone = self.zone();
        if zone == self.zone_ms {
            return None;
        }
        self.zone_ms = zone;
        Some(zone.map_or(News::ZoneOver, News::Zone))
    }
}

/// Whether the time of a zone changes within a day of an instant.
pub fn changes_near(zones: &[jiff::tz::TimeZone], at: Timestamp) -> bool {
    let (from, to) = (at.plus_ms(-DST_NEAR_MS), at.plus_ms(DST_NEAR_MS));
    let Ok(start) = jiff::Timestamp::from_millisecond(from.ms()) else { return false };
    zones
        .iter()
        .any(|zone| zone.following(start).next().is_some_and(|next| Timestamp::from_ms(next.timestamp().as_millisecond()) <= to))
}

#[cfg(test)]
mod tests;
