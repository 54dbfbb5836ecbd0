//! One OBX of an observed message: to an [`Observation`] or a [`Reject`].

use super::super::dialect::{Role, Scaled, System, Table, hash32};
use super::super::unit::{self, Dimension, Line, Read};
use super::super::{Field, Segment};
use super::codes::{Code, Outcome, UnitRead};
use super::scale;
use super::times::Told;
use super::validity::{Marks, Status, judge};
use crate::observation::{ObsFlags, Observation, Reject, RejectReason, Span, TimeSource, Validity};
use crate::time::Timestamp;
use crate::vital::{Nature, Parameter, Sensor, Unit};

/// Channels of a clinical system are none of the monitor's.
const CHARTED: &[u8] = b"charted";
/// Fields of an OBX that are looked at.
pub const FIELDS: usize = 18;

/// One OBX, split.
#[derive(Debug, Clone, Copy)]
pub struct Obx<'a> {
    pub fields: [Field<'a>; FIELDS],
    pub segment: Span,
    /// Position among the message's OBX, from 0.
    pub ordinal: u16,
}

impl<'a> Obx<'a> {
    pub fn new(segment: Segment<'a>, ordinal: u16) -> Obx<'a> {
        Obx { fields: segment.fields::<FIELDS>(), segment: segment.span(), ordinal }
    }
    /// OBX-n.
    pub fn field(&self, n: usize) -> Field<'a> {
        self.fields[n - 1]
    }
    pub fn set_id(&self) -> u32 {
        self.field(1).integer().unwrap_or(0)
    }
    /// Data types whose value can be a number.
    pub fn numeric_type(&self) -> bool {
        matches!(self.field(2).trimmed(), b"NM" | b"SN" | b"")
    }
    /// Waveform samples.
    pub fn waveform_type(&self) -> bool {
        matches!(self.field(2).trimmed(), b"NA" | b"MA")
    }
    /// Says of itself that it is measured now and then.
    pub fn aperiodic(&self) -> bool {
        let says = |field: Field<'_>| {
            !field.raw().is_empty() && field.components().any(|part| part.trimmed().eq_ignore_ascii_case(b"APERIODIC"))
        };
        says(self.field(13)) || says(self.field(17))
    }
    /// Says of itself that it is a setting: in OBX-13, as a mark in OBX-8, or by the method in OBX-17 (set by hand, by itself).
    pub fn setting(&self) -> bool {
        let method = self.field(17);
        matches!(self.field(13).trimmed(), b"SETTING" | b"CONFIGURATION" | b"SET")
            || self.field(8).trimmed() == b"SET"
            || (!method.raw().is_empty() && matches!(method.component(1).trimmed(), b"MSET" | b"ASET"))
    }
    pub fn reject(&self, reason: RejectReason, parameter: Option<Parameter>) -> Reject {
        Reject {
            reason,
            ordinal: self.ordinal,
            set_id: self.set_id(),
            segment: self.segment,
            code: self.field(3).span(),
            parameter,
        }
    }
}

/// What a row is read with.
pub struct Reading<'t> {
    pub table: &'t Table,
    pub code: Code,
    pub unit: UnitRead,
    /// OBX-8.
    pub marks: Marks,
    /// The whole message is test data.
    pub test: bool,
    /// The message is a clinical system's.
    pub charted: bool,
    /// The group is a laboratory's.
    pub laboratory: bool,
    /// Of a row of scaled integers: what tells the scale, and the scale where it is clear.
    pub scaled: Option<(Scaled, Option<u8>)>,
    /// The place that makes the parameter another one.
    pub moved: Option<Parameter>,
    pub device: u16,
}

/// Where an observation's time comes from, best first; read by the caller.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub obx14: Told,
    pub group: Option<(Timestamp, TimeSource, bool)>,
    /// OBR said something that is no time.
    pub group_unreadable: bool,
    pub sent_at: Option<(Timestamp, bool)>,
    pub received_at: Timestamp,
}

impl When {
    /// The time, its source, and marks.
    pub fn effective(&self) -> (Timestamp, TimeSource, ObsFlags) {
        let mut flags = ObsFlags::default();
        if self.obx14 == Told::Unreadable || (self.group_unreadable && !matches!(self.obx14, Told::At { .. })) {
            flags.set(ObsFlags::TIME_INVALID);
        }
        let (at, source, assumed) = match (self.obx14, self.group, self.sent_at) {
            (Told::At { at, zone_assumed }, _, _) => (at, TimeSource::Obx14, zone_assumed),
            (_, Some(group), _) => group,
            (_, None, Some((at, assumed))) => (at, TimeSource::Msh7, assumed),
            (_, None, None) => (self.received_at, TimeSource::Received, false),
        };
        if assumed {
            flags.set(ObsFlags::ZONE_ASSUMED);
        }
        (at, source, flags)
    }
}

/// Why a row is no observation before its value is looked at.
fn refused(obx: &Obx<'_>, reading: &Reading<'_>) -> Option<RejectReason> {
    if obx.waveform_type() {
        return Some(RejectReason::Waveform);
    }
    // What is always set (PEEP, the oxygen given) is a value all the same, unless the row is called configuration.
    let set = matches!(reading.code.outcome, Outcome::Parameter { parameter, .. } if parameter.nature() == Nature::Setting);
    if obx.setting() && !(set && obx.field(13).is_empty()) {
        return Some(RejectReason::Setting);
    }
    match reading.code.outcome {
        Outcome::Role(Role::Structure | Role::TimeSync | Role::InopMark) => return Some(RejectReason::Structure),
        Outcome::Role(role) if role.of_alarm() => return Some(RejectReason::AlarmRow),
        Outcome::Role(Role::Waveform) => return Some(RejectReason::Waveform),
        Outcome::Role(Role::Laboratory) => return Some(RejectReason::NotObserved),
        Outcome::Role(Role::Status) => return Some(RejectReason::NotNumeric),
        _ => {}
    }
    let text = !obx.numeric_type() && obx.field(2).trimmed() != b"ST";
    match reading.code.outcome {
        Outcome::Conflict(_) => Some(RejectReason::CodeConflict),
        _ if text => Some(RejectReason::NotNumeric),
        Outcome::Role(_) => Some(RejectReason::Unused),
        Outcome::Unknown => Some(unknown(obx, reading.code.system)),
        Outcome::Parameter { .. } if reading.laboratory => Some(RejectReason::NotObserved),
        Outcome::Parameter { .. } => None,
    }
}

/// An unknown code: containment rows are known by their place, texts by their type.
fn unknown(obx: &Obx<'_>, system: System) -> RejectReason {
    let place = obx.field(4).trimmed();
    let containment = system == System::Mdc && place.contains(&b'.') && place.ends_with(b".0") && obx.field(5).is_empty();
    if containment {
        RejectReason::Structure
    } else if obx.field(3).is_empty() {
        RejectReason::Malformed
    } else if obx.field(2).trimmed() == b"ST" && !obx.field(5).trimmed().first().is_some_and(u8::is_ascii_digit) {
        RejectReason::NotNumeric
    } else if system == System::Other {
        RejectReason::UnknownSystem
    } else {
        RejectReason::UnknownCode
    }
}

/// Reads a row.
pub fn read(obx: &Obx<'_>, reading: &Reading<'_>, status: Status, when: &When) -> Result<Observation, Reject> {
    let known = match reading.code.outcome {
        Outcome::Parameter { parameter, .. } => Some(parameter),
        Outcome::Conflict(parameter) => parameter,
        _ => None,
    };
    if let Some(reason) = refused(obx, reading) {
        return Err(obx.reject(reason, known));
    }
    let Outcome::Parameter { parameter, unit: fixed, scale, channel } = reading.code.outcome else {
        return Err(obx.reject(RejectReason::UnknownCode, known));
    };
    let parameter = reading.moved.unwrap_or(parameter);
    let Some(mut judged) = judge(reading.table, obx.field(2).trimmed(), obx.field(5), reading.marks, status, reading.test) else {
        let text = obx.field(2).trimmed() == b"ST";
        let reason = if text { RejectReason::NotNumeric } else { RejectReason::ValueNotNumeric };
        return Err(obx.reject(reason, known));
    };
    let (effective_at, time_source, flags) = when.effective();
    let mut flags = ObsFlags(judged.flags.0 | flags.0 | reading.code.flags.0);
    if obx.aperiodic() {
        flags.set(ObsFlags::EPISODIC);
    }
    let sent = if reading.table.unit_ignored { Read::Missing } else { reading.unit.read };
    let read = match (sent, judged.unit) {
        (read, None) => read,
        (Read::Missing, Some(behind)) => Read::Known(behind),
        (Read::Known(known), Some(behind)) if known == behind => Read::Known(known),
        (_, Some(_)) => return Err(obx.reject(RejectReason::ValueNotNumeric, known)),
    };
    let mut line = Line::SAME;
    let has_number = !judged.number.is_nan();
    match line_of(parameter, read, fixed) {
        Lines::One(found) => line = found,
        Lines::ByText(found) => {
            line = found;
            flags.set(ObsFlags::UNIT_CONFLICT);
        }
        Lines::Two(found) => {
            line = found;
            flags.set(ObsFlags::UNIT_CONFLICT);
            if judged.validity.usable() {
                judged.validity = Validity::Invalid;
            }
        }
        Lines::Missing if has_number && reading.table.unit_always => return Err(obx.reject(RejectReason::UnitInvalid, known)),
        Lines::Missing | Lines::Unknown => flags.set(ObsFlags::UNIT_UNKNOWN),
        Lines::Refused if has_number => return Err(obx.reject(RejectReason::UnitInvalid, known)),
        Lines::Refused => flags.set(ObsFlags::UNIT_INVALID),
    }
    let mut number = judged.number * scale;
    let mut limits = limits(obx.field(7));
    if let Some((scaled, exponent)) = reading.scaled {
        let exponent = exponent.filter(|exponent| {
            let number = scale::times(number, *exponent);
            number.is_nan() || (scaled.values.0..=scaled.values.1).contains(&number)
        });
        match exponent {
            Some(exponent) => {
                number = scale::times(number, exponent);
                limits = (scale::times(limits.0, exponent), scale::times(limits.1, exponent));
            }
            None if has_number => return Err(obx.reject(RejectReason::ScaleUnknown, known)),
            None => limits = (f64::NAN, f64::NAN),
        }
    }
    let value = line.apply(unit::fraction(parameter, read, number));
    let mut channel = channel_of(parameter, obx, channel);
    if reading.charted {
        flags.set(ObsFlags::CHARTED);
        channel = hash32(&[CHARTED, &channel.to_le_bytes()]);
    }
    Ok(Observation {
        parameter,
        channel,
        value,
        validity: judged.validity,
        flags,
        limits: (line.apply(limits.0 * scale), line.apply(limits.1 * scale)),
        effective_at,
        time_source,
        device: reading.device,
        ordinal: obx.ordinal,
        set_id: obx.set_id(),
        segment: obx.segment,
        value_text: obx.field(5).span(),
        unit_hash: reading.unit.hash,
    })
}

enum Lines {
    One(Line),
    /// Text known, code not.
    ByText(Line),
    /// Code and text differ, this is the text's.
    Two(Line),
    Missing,
    Unknown,
    Refused,
}

fn line_of(parameter: Parameter, read: Read, fixed: Option<Dimension>) -> Lines {
    let line = |dimension: Dimension| dimension.into_canonical(parameter);
    match read {
        Read::Known(dimension) => line(dimension).map_or(Lines::Refused, Lines::One),
        Read::KnownByText(dimension) => line(dimension).map_or(Lines::Refused, Lines::ByText),
        Read::Conflict(code, text) => match (line(code), line(text)) {
            (Some(a), Some(b)) if a == b => Lines::ByText(b),
            (_, Some(text)) => Lines::Two(text),
            (Some(code), None) => Lines::Two(code),
            (None, None) => Lines::Refused,
        },
        Read::Missing => match fixed {
            Some(dimension) => line(dimension).map_or(Lines::Refused, Lines::One),
            None if parameter == Parameter::Fio2 => Lines::One(Line::SAME),
            None => Lines::Missing,
        },
        Read::Unknown => Lines::Unknown,
    }
}

/// Which of several channels a row is: where it stands in the device (OBX-4 without the device itself), else its source
/// (OBX-17), and what the table says of its code. Pressures of one curve stand in one channel, so their last number (the
/// metric's own) is left out; everything else may have two metrics in one channel.
fn channel_of(parameter: Parameter, obx: &Obx<'_>, row: u32) -> u32 {
    let place = obx.field(4).trimmed();
    let place: &[u8] = match memchr::memchr(b'.', place) {
        Some(dot) => {
            let inner = &place[dot + 1..];
            let curve =
                parameter.unit() == Unit::MmHg && !matches!(parameter.sensor(), Sensor::Capnograph | Sensor::Transcutaneous);
            match memchr::memrchr(b'.', inner) {
                Some(dot) if curve => &inner[..dot],
                _ => inner,
            }
        }
        None if matches!(place, b"" | b"0" | b"1" | b"\"\"") => {
            let source = obx.field(17);
            let source = if source.raw().is_empty() { b"" } else { source.component(1).trimmed() };
            if source.eq_ignore_ascii_case(b"APERIODIC") { b"" } else { source }
        }
        None => place,
    };
    if place.is_empty() { row } else { hash32(&[place, &row.to_le_bytes()]) }
}

/// A row's whole place, for rows that nothing else tells apart.
pub fn whole_place(obx4: &[u8], code: u32) -> u32 {
    hash32(&[b"=", obx4, &code.to_le_bytes()])
}

/// Alarm limits as sent: `50-120`, `50^120`, `>50`, `<120`; NaN for a side that was not sent.
pub(super) fn limits(field: Field<'_>) -> (f64, f64) {
    let none = (f64::NAN, f64::NAN);
    let raw = field.trimmed();
    if raw.is_empty() || raw.len() > 32 {
        return none;
    }
    let number = |from: usize, to: usize| match std::str::from_utf8(raw[from..to].trim_ascii()).map(str::parse::<f64>) {
        Ok(Ok(number)) if number.is_finite() => number,
        _ => f64::NAN,
    };
    match raw {
        [b'>', ..] => return (number(1, raw.len()), f64::NAN),
        [b'<', ..] => return (f64::NAN, number(1, raw.len())),
        _ => {}
    }
    let split = raw.iter().skip(1).position(|&b| b == b'-').map(|at| at + 1);
    let split = memchr::memchr(field.delimiters().component, raw).or(split);
    split.map_or(none, |at| (number(0, at), number(at + 1, raw.len())))
}
