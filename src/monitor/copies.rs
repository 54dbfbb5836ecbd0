//! Feeds that are copies of others (`[[compare]]`): what they say is held against their upstream, and judged by nothing else.
//!
//! A copy is no second sender, no clone, no resend, and no sign of life of the monitor; of it only who may speak (P03, P17) is
//! judged, and P10.

use super::*;
use crate::check::feed_disagreement::{Kind, Told};
use crate::check::{Often, id};
use crate::config::{Compare, CompareBy, ComparePair};
use crate::hl7::dialect::hash32;
use crate::observation::{Observation, TimeSource};
use crate::vital::Parameter;
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
        for pair in 0..self.house.settings.compare.len() {
            let compare = &self.house.settings.compare[pair];
            let side = match () {
                () if compare.upstream == source.feed => Side::Up,
                () if compare.downstream == source.feed => Side::Down,
                () => continue,
            };
            self.compare_pair(number, pair, side, sequence, report, message.text(), at);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn compare_pair(&mut self, number: u32, pair: usize, side: Side, sequence: u64, report: &Report, text: &[u8], at: Timestamp) {
        let compare = &self.house.settings.compare[pair];
        let check = &self.house.settings.checks.feed_disagreement;
        let cell = &mut self.cells[number as usize];
        let known = cell.copies.iter().position(|c| usize::from(c.pair) == pair).unwrap_or_else(|| {
            cell.copies.push(Copies { pair: u16::try_from(pair).unwrap_or(u16::MAX), ..Copies::default() });
            cell.copies.len() - 1
        });
        let copies = &mut cell.copies[known];
        let id = if report.control_id_is_id && !report.control_id.is_empty() {
            hash32(&[report.control_id.as_bytes()]).max(1)
        } else {
            0
        };
        let mut seen_rows: smallvec::SmallVec<[(Parameter, u8); 24]> = smallvec::SmallVec::new();
        let mut coming: smallvec::SmallVec<[Coming; 24]> = smallvec::SmallVec::new();
        for o in &report.observations {
            if let Some(row) = one(compare, side, id, sequence, o, text, &mut seen_rows) {
                coming.push(row);
            }
        }
        let Some(newest) = coming.iter().map(|c| c.own).max() else { return };
        copies.track.message(side, newest, id, compare.delay_s, at);
        let mut fault: Option<Fault> = None;
        let (mut agreed, mut differs) = (false, false);
        for row in &coming {
            let Some(found) = copies.track.value(side, row, at) else { continue };
            let step = compare.step(found.key.parameter).max(f64::from(found.up.step.max(found.down.step)));
            let Some(kind) = check.compare(found.up.value, found.down.value, step) else {
                agreed = true;
                continue;
            };
            differs = true;
            copies.fault_at = at;
            copies.differed.push(at);
            let onset = match found.up.id != 0 && found.up.id == found.down.id {
                true => Some(at),
                false => copies.differed.within(check.differences, check.window_s, at),
            };
            let Some(onset) = onset else { continue };
            let worse = |old: &Fault| {
                let gap =
                    |up: f64, down: f64| if up.is_finite() && down.is_finite() { (up - down).abs() / step } else { f64::MAX };
                let (up, down) = (old.up.map_or(f64::NAN, |s| s.value), old.down.map_or(f64::NAN, |s| s.value));
                gap(found.up.value, found.down.value) > gap(up, down)
            };
            let params = fault.as_ref().map_or(ParamSet::EMPTY, |f| f.params).with(found.key.parameter);
            match &mut fault {
                Some(old) if !worse(old) => old.params = params,
                _ => fault = Some(of_pair(kind, &found, params, onset)),
            }
        }
        let mut alone = None;
        let (mut missing, mut extra) = (false, false);
        while let Some(one) = copies.track.alone(compare.delay_s, at) {
            let brought = cell.bed.stream(one.parameter).is_some_and(|s| s.latest.is_some());
            let kind = match one.side {
                Side::Up => Kind::Missing,
                Side::Down if brought => Kind::Added,
                Side::Down => Kind::Foreign,
            };
            (missing, extra) = (missing | (one.side == Side::Up), extra | (one.side == Side::Down));
            let slot = match kind {
                Kind::Added => 0,
                Kind::Foreign => 1,
                _ => 2,
            };
            if !kind.reported() {
                copies.fault_at = at;
            }
            // A message counts once, whatever it holds.
            if copies.counted[slot] != Some(one.seen.sequence) {
                copies.counted[slot] = Some(one.seen.sequence);
                copies.alone[slot].push(at);
            }
            let onset = match one.same_id && kind == Kind::Added {
                true => Some(at),
                false => copies.alone[slot].within(check.alone, check.window_s, at),
            };
            let Some(onset) = onset else { continue };
            let (up, down) = if one.side == Side::Up { (Some(one.seen), None) } else { (None, Some(one.seen)) };
            let found = Fault {
                kind,
                parameter: one.parameter,
                params: ParamSet::EMPTY.with(one.parameter),
                up,
                down,
                own: one.own,
                onset,
            };
            // What accuses stands before what is reported.
            if alone.as_ref().is_none_or(|old: &Fault| old.kind.reported() && !kind.reported()) {
                alone = Some(found);
            }
        }
        let (up_feed, down_feed) = (compare.upstream.clone(), compare.downstream.clone());
        let apart = copies.track.apart(check.apart_s.max(2.0 * compare.delay_s), at).map(|onset| {
            let (up, down) = (None, coming.last().map(|c| c.seen));
            let parameter = coming.last().map_or(Parameter::Hr, |c| c.key.parameter);
            Fault { kind: Kind::Apart, parameter, params: ParamSet::EMPTY, up, down, own: newest, onset }
        });
        let fault = fault.or(alone).or(apart.filter(|_| side == Side::Down));
        let row = cell.findings.row(id::feed_disagreement);
        // What is only reported does not speak over what was found.
        let fault = fault.filter(|f| !f.kind.reported() || row.is_none_or(|row| !row.hard && !row.holds()));
        let quiet_s = at.since_s(copies.fault_at);
        let over = fault.is_none()
            && row.is_some_and(|row| row.holds() && at.since_s(row.last_at) >= check.over_s)
            && (agreed && quiet_s >= check.over_s || quiet_s >= check.window_s);
        if let Some(fault) = &fault {
            self.tell_disagreement(number, fault, (&up_feed, &down_feed), at);
        } else if over {
            self.inject_pass(number, id::feed_disagreement, at);
        }
        let feed = self.feed(&down_feed);
        for (name, set) in [("copy_agrees", agreed), ("copy_differs", differs), ("copy_lacks", missing), ("copy_adds", extra)] {
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
    rows: &mut smallvec::SmallVec<[(Parameter, u8); 24]>,
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
    let body: String =
        text[from..].chars().take_while(|c| digits(*c) || matches!(c, '-' | '.' | ',')).collect::<String>().replace(',', ".");
    let raw: f64 = body.parse().unwrap_or(0.0);
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
