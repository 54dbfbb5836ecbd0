//! Feeds that are copies of others (`[[compare]]`): what they say is held against their upstream, and judged by nothing else.
//!
//! A copy is no second sender, no clone, no resend, and no sign of life of the monitor; of it only who may speak (P03, P17) is
//! judged, and P10.

use super::*;
use crate::check::feed_disagreement::{Check, Kind, Told};
use crate::check::{Often, id};
use crate::config::{Compare, CompareBy, ComparePair};
use crate::hl7::dialect::hash32;
use crate::observation::{Observation, TimeSource};
use crate::vital::Parameter;
use smallvec::SmallVec;
use track::{Coming, Key, Pair, Seen, Side, Track};

pub(super) mod track;

/// What one bed's two feeds are to each other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Copies {
    /// Number of the pair in the configuration.
    pair: u16,
    track: Track,
    /// Differences without a common id; added, and reported messages.
    differed: Often,
    alone: [Often; 3],
    /// Message that was last counted as alone, by kind.
    counted: [Option<u64>; 3],
    fault_at: Timestamp,
}

/// A fault that has come often enough.
struct Fault {
    kind: Kind,
    parameter: Parameter,
    params: ParamSet,
    up: Option<Seen>,
    down: Option<Seen>,
    own: Timestamp,
    onset: Timestamp,
}

impl Copies {
    /// The values of a message, held against their others: the worst difference that counts.
    fn meet(
        &mut self,
        check: &Check,
        compare: &Compare,
        side: Side,
        rows: &[Coming],
        marks: &mut Marks,
        at: Timestamp,
    ) -> Option<Fault> {
        let mut worst: Option<(f64, Fault)> = None;
        for row in rows {
            let Some(found) = self.track.value(side, row, at) else { continue };
            let (up, down) = (found.up.value, found.down.value);
            let step = compare.step(found.key.parameter).max(f64::from(found.up.step.max(found.down.step)));
            let Some(kind) = check.compare(up, down, step) else {
                marks.agrees = true;
                continue;
            };
            marks.differs = true;
            self.fault_at = at;
            self.differed.push(at);
            let onset = match found.up.id != 0 && found.up.id == found.down.id {
                true => Some(at),
                false => self.differed.within(check.differences, check.window_s, at),
            };
            let Some(onset) = onset else { continue };
            let steps = if up.is_finite() && down.is_finite() { (up - down).abs() / step } else { f64::MAX };
            let params = worst.as_ref().map_or(ParamSet::EMPTY, |(_, f)| f.params).with(found.key.parameter);
            match &mut worst {
                Some((most, old)) if steps <= *most => old.params = params,
                _ => worst = Some((steps, of_pair(kind, &found, params, onset))),
            }
        }
        worst.map(|(_, fault)| fault)
    }

    /// Values whose time to meet their others is over. `brought`: whether the bed knows a parameter of its upstream feed.
    fn look_for_alone(
        &mut self,
        check: &Check,
        compare: &Compare,
        brought: impl Fn(Parameter) -> bool,
        marks: &mut Marks,
        at: Timestamp,
    ) -> Option<Fault> {
        let mut told: Option<Fault> = None;
        while let Some(one) = self.track.alone(compare.delay_s, at) {
            let (kind, slot) = match one.side {
                Side::Up => (Kind::Missing, 2),
                Side::Down if brought(one.parameter) => (Kind::Added, 0),
                Side::Down => (Kind::Foreign, 1),
            };
            marks.lacks |= one.side == Side::Up;
            marks.adds |= one.side == Side::Down;
            if !kind.reported() {
                self.fault_at = at;
            }
            // A message counts once, whatever it holds.
            if self.counted[slot] != Some(one.seen.sequence) {
                self.counted[slot] = Some(one.seen.sequence);
                self.alone[slot].push(at);
            }
            let onset = match one.same_id && kind == Kind::Added {
                true => Some(at),
                false => self.alone[slot].within(check.alone, check.window_s, at),
            };
            // What accuses stands before what is reported.
            if let Some(onset) = onset
                && told.as_ref().is_none_or(|old| old.kind.reported() && !kind.reported())
            {
                let (up, down) = if one.side == Side::Up { (Some(one.seen), None) } else { (None, Some(one.seen)) };
                let params = ParamSet::EMPTY.with(one.parameter);
                told = Some(Fault { kind, parameter: one.parameter, params, up, down, own: one.own, onset });
            }
        }
        told
    }

    /// Both feeds go on, and nothing of them meets.
    fn apart(&self, check: &Check, compare: &Compare, row: Option<&Coming>, at: Timestamp) -> Option<Fault> {
        let row = row?;
        let onset = self.track.apart(check.apart_s.max(2.0 * compare.delay_s), at)?;
        let (parameter, params) = (row.key.parameter, ParamSet::EMPTY);
        Some(Fault { kind: Kind::Apart, parameter, params, up: None, down: Some(row.seen), own: row.own, onset })
    }
}

/// What is counted of a message.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    agrees: bool,
    differs: bool,
    lacks: bool,
    adds: bool,
}

impl Marks {
    fn names(self) -> [(&'static str, bool); 4] {
        [("copy_agrees", self.agrees), ("copy_differs", self.differs), ("copy_lacks", self.lacks), ("copy_adds", self.adds)]
    }
}

impl Monitor {
    /// Whether a feed is a copy.
    pub(super) fn is_copy(&self, feed: &str) -> bool {
        self.house.settings.compare.iter().any(|pair| pair.downstream == feed)
    }

    /// The bed that a copy speaks of; none is opened for it.
    pub(super) fn bed_of_copy(&mut self, source: &Source, report: &Report, device: &str) -> Option<u32> {
        let by = self.house.settings.compare.iter().find(|pair| pair.downstream == source.feed).map(|pair| pair.bed);
        if by == Some(CompareBy::Device) {
            let place = self.inventory.find(device)?;
            return self.inventory.entries[place].bed;
        }
        let subject = &report.subject;
        self.placed(source, [subject.point_of_care.as_str(), subject.room.as_str(), subject.bed.as_str()])
    }

    /// A message of a bed, held against those of the feeds beside it.
    pub(super) fn compare(
        &mut self,
        number: u32,
        source: &Source,
        sequence: u64,
        report: &Report,
        message: &Message<'_>,
        at: Timestamp,
    ) {
        if report.kind != MessageKind::Vitals {
            return;
        }
        let pairs = Arc::clone(&self.house.settings.compare);
        for (pair, compare) in pairs.iter().enumerate() {
            let side = match () {
                () if compare.upstream == source.feed => Side::Up,
                () if compare.downstream == source.feed => Side::Down,
                () => continue,
            };
            self.compare_pair(number, (pair, compare), side, sequence, report, message.text(), at);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn compare_pair(
        &mut self,
        number: u32,
        (pair, compare): (usize, &Compare),
        side: Side,
        sequence: u64,
        report: &Report,
        text: &[u8],
        at: Timestamp,
    ) {
        let check = &self.house.settings.checks.feed_disagreement;
        let cell = &mut self.cells[number as usize];
        let known = cell.copies.iter().position(|c| usize::from(c.pair) == pair).unwrap_or_else(|| {
            cell.copies.push(Copies { pair: u16::try_from(pair).unwrap_or(u16::MAX), ..Copies::default() });
            cell.copies.len() - 1
        });
        let copies = &mut cell.copies[known];
        let id = match report.control_id_is_id && !report.control_id.is_empty() {
            true => hash32(&[report.control_id.as_bytes()]),
            false => 0,
        };
        let mut rows: SmallVec<[Coming; 24]> = SmallVec::new();
        let mut seen = SmallVec::new();
        for o in &report.observations {
            rows.extend(one(compare, side, id, sequence, o, text, &mut seen));
        }
        let Some(newest) = rows.iter().map(|row| row.own).max() else { return };
        copies.track.message(side, newest, id, compare.delay_s, at);
        let bed = &cell.bed;
        let mut marks = Marks::default();
        let met = copies.meet(check, compare, side, &rows, &mut marks, at);
        let alone = copies.look_for_alone(check, compare, |p| bed.stream(p).is_some_and(|s| s.latest.is_some()), &mut marks, at);
        let apart = copies.apart(check, compare, rows.last().filter(|_| side == Side::Down), at);
        let row = cell.findings.row(id::feed_disagreement);
        // What is only reported does not speak over what was found.
        let fault = met.or(alone).or(apart).filter(|f| !f.kind.reported() || row.is_none_or(|row| !row.hard && !row.holds()));
        let quiet_s = at.since_s(copies.fault_at);
        let over = row.is_some_and(|row| row.holds() && at.since_s(row.last_at) >= check.over_s)
            && (marks.agrees && quiet_s >= check.over_s || quiet_s >= check.window_s);
        match fault {
            Some(fault) => self.tell_disagreement(number, &fault, (&compare.upstream, &compare.downstream), at),
            None if over => self.inject_pass(number, id::feed_disagreement, at),
            None => {}
        }
        let feed = self.feed(&compare.downstream);
        for (name, set) in marks.names() {
            if set {
                feed.mark(name);
            }
        }
    }

    fn tell_disagreement(&mut self, number: u32, fault: &Fault, feeds: (&str, &str), at: Timestamp) {
        let raw = |feed: &str, seen: Option<Seen>| seen.map_or_else(String::new, |s| format!("{feed}.{}", s.sequence));
        let (up, down) = (raw(feeds.0, fault.up), raw(feeds.1, fault.down));
        let cell = &mut self.cells[number as usize];
        let told = Told {
            kind: fault.kind,
            bed: &cell.bed.bed,
            parameter: fault.parameter,
            params: fault.params,
            values: (fault.up.map_or(f64::NAN, |s| s.value), fault.down.map_or(f64::NAN, |s| s.value)),
            feeds,
            raw: (&up, &down),
            own: fault.own,
            onset: fault.onset,
        };
        let mut verdicts = std::mem::take(&mut self.verdicts);
        verdicts.clear();
        verdicts.push(self.house.settings.checks.feed_disagreement.verdict(&told));
        verdicts.mute(self.house.settings.muted);
        let shown = if down.is_empty() { up } else { down };
        let origin = || Origin { msg_id: None, raw: Some(shown.clone()) };
        cell.findings.observe(&verdicts, at, None, &cell.bed, &origin);
        self.verdicts = verdicts;
        self.settle(number, at);
    }
}

fn of_pair(kind: Kind, pair: &Pair, params: ParamSet, onset: Timestamp) -> Fault {
    let (up, down) = (Some(pair.up), Some(pair.down));
    Fault { kind, parameter: pair.key.parameter, params, up, down, own: pair.own, onset }
}

/// A row as it is compared; `None`: it is not.
fn one(
    compare: &Compare,
    side: Side,
    id: u32,
    sequence: u64,
    o: &Observation,
    text: &[u8],
    rows: &mut SmallVec<[(Parameter, u8); 24]>,
) -> Option<Coming> {
    let (parameter, ignored, own) = match side {
        Side::Up => (o.parameter, &compare.dropped, o.effective_at),
        Side::Down => (compare.original(o.parameter), &compare.added, o.effective_at.plus_s(-compare.time_shift_s)),
    };
    if ignored.contains(&parameter) || ignored.contains(&o.parameter) {
        return None;
    }
    let nth = match rows.iter_mut().find(|(known, _)| *known == parameter) {
        Some((_, count)) => {
            *count = count.saturating_add(1);
            *count
        }
        None => {
            rows.push((parameter, 0));
            0
        }
    };
    let (at, loose) = match compare.pair {
        // The time of arrival is our own: it says nothing of the message.
        ComparePair::Time if o.time_source == TimeSource::Received => return None,
        ComparePair::Time => {
            let step_ms = ((compare.time_step_s * 1000.0) as i64).max(1);
            (own.ms().div_euclid(step_ms), o.time_source == TimeSource::Msh7)
        }
        ComparePair::Id if id == 0 => return None,
        ComparePair::Id => (i64::from(id), false),
    };
    let step = written_step(o.value_text.of(text), o.value, o.parameter) as f32;
    let seen = Seen { value: if o.value.is_finite() { o.value } else { f64::NAN }, step, id, sequence };
    Some(Coming { key: Key { parameter, nth, at }, own, loose, seen })
}

/// The resolution in which a number was written, in the parameter's canonical unit: one of its last digit.
fn written_step(text: &[u8], value: f64, parameter: Parameter) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or("").trim();
    let digits = |c: char| c.is_ascii_digit();
    let tail = text.rsplit_once(['.', ',']).map_or("", |(_, tail)| tail);
    let decimals = tail.find(|c: char| !digits(c)).unwrap_or(tail.len()).min(9);
    let last = 10f64.powi(-(decimals as i32));
    // Structured numbers (`^72`) are read from their first digit on.
    let from = text.find(|c: char| digits(c) || c == '-').unwrap_or(text.len());
    let to = text[from..].find(|c: char| !digits(c) && !matches!(c, '-' | '.' | ',')).map_or(text.len(), |n| from + n);
    let number = &text[from..to];
    let raw: f64 = number.parse().or_else(|_| number.replace(',', ".").parse()).unwrap_or(0.0);
    let temperature = matches!(parameter.unit(), crate::vital::Unit::Cel | crate::vital::Unit::Kelvin);
    let factor = match () {
        () if !value.is_finite() || raw == 0.0 => 1.0,
        // Fahrenheit; anything else is a scale of its own zero.
        () if temperature && (value - (raw - 32.0) * 5.0 / 9.0).abs() < 1e-6 => 5.0 / 9.0,
        () if temperature => 1.0,
        () => (value / raw).abs(),
    };
    last * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_step_is_one_of_the_last_digit_in_the_canonical_unit() {
        for (text, value, parameter, step) in [
            ("72", 72.0, Parameter::Hr, 1.0),
            ("36.60", 36.6, Parameter::Temp, 0.01),
            ("97.9", (97.9 - 32.0) * 5.0 / 9.0, Parameter::Temp, 0.1 * 5.0 / 9.0),
            ("16.0", 16.0 * 7.50062, Parameter::AbpSys, 0.750062),
            ("0.21", 21.0, Parameter::Fio2, 1.0),
            ("=^72.5", 72.5, Parameter::Hr, 0.1),
            ("36,6", 36.6, Parameter::Temp, 0.1),
            ("", f64::NAN, Parameter::Hr, 1.0),
            ("0", 0.0, Parameter::Hr, 1.0),
            ("\u{fe}x", 1.0, Parameter::Hr, 1.0),
        ] {
            let found = written_step(text.as_bytes(), value, parameter);
            assert!((found - step).abs() < 1e-9, "{text}: {found}");
        }
    }
}
