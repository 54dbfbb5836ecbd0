//! A recording as the messages of one bed, the way a gateway would have sent it.
//!
//! Times: the row's time is OBX-14, MSH-7 follows 0.2 to 2 s later, arrival follows that. Numbers are as recorded; what an
//! invalid mark looks like is the gateway's habit ([`Encoding`]). A cuff's triple is told again with its own time until the next
//! one. The same recording, bed and seed give the same bytes, and a message does not depend on rows after it.

use super::recording::{Cell, Column, Recording};
use super::synth::message::{self, Line, Sender};
use super::synth::random::Random;
use crate::time::Timestamp;
use crate::vital::{Nature, Parameter, Unit};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What an invalid value looks like on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A row without value whose status says so: OBX-11 `X`, OBX-8 `NAV` or `INV`.
    #[default]
    Status,
    /// No row.
    Absent,
    /// An empty row that claims to be final.
    Empty,
    /// The device's own sign for it, as if it were a value: `0`, or `-?-`.
    Sentinel,
}

impl Encoding {
    pub const ALL: [Encoding; 4] = [Encoding::Status, Encoding::Absent, Encoding::Empty, Encoding::Sentinel];
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Status => "status",
            Encoding::Absent => "absent",
            Encoding::Empty => "empty",
            Encoding::Sentinel => "sentinel",
        }
    }
}

/// How often messages come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// One message for every instant of the record.
    #[default]
    Native,
    /// One a minute: the last value of the minute, as the monitor shows it (integers).
    MinuteLast,
    /// One a minute: the mean of the minute, rounded.
    MinuteMean,
}

impl Rate {
    pub const ALL: [Rate; 3] = [Rate::Native, Rate::MinuteLast, Rate::MinuteMean];
    pub const fn as_str(self) -> &'static str {
        match self {
            Rate::Native => "native",
            Rate::MinuteLast => "minute_last",
            Rate::MinuteMean => "minute_mean",
        }
    }
}

/// The bed that a recording is played on: all of it invented.
#[derive(Debug, Clone)]
pub struct Bed {
    pub sender: Sender,
    /// When the zero of the record is.
    pub start: Timestamp,
    pub encoding: Encoding,
    pub rate: Rate,
    /// Of latencies.
    pub seed: u64,
    /// Alarm limits in OBX-7, and `H` or `L` in OBX-8 for what is beyond them.
    pub limits: bool,
}

impl Bed {
    /// The `number`th bed of a ward of recordings of one set: one gateway application a set, one monitor a bed.
    pub fn of(set: &str, number: u32, start: Timestamp) -> Bed {
        Bed {
            sender: Sender {
                application: format!("RECORDED-{}", set.to_ascii_uppercase().replace('_', "-")),
                facility: "RECORDED".into(),
                eui64: format!("02D3A1FFFE{:06X}", number & 0xFF_FFFF),
                point_of_care: "icu".into(),
                bed: format!("R{number:03}"),
                patient: format!("REC-{number:03}"),
                // Every set known is of adults; their day is invented.
                born: "19600101".into(),
                processing: 'P',
            },
            start,
            encoding: Encoding::Status,
            rate: Rate::Native,
            seed: u64::from(number),
            limits: false,
        }
    }
}

/// Connections that a message comes by.
pub mod feed {
    /// The bed's own gateway.
    pub const OWN: u8 = 0;
    /// Another peer that speaks for the bed.
    pub const OTHER: u8 = 1;
    /// A second tap of the same feed.
    pub const TAP: u8 = 2;
    /// Admissions and transfers.
    pub const ADT: u8 = 3;

    /// Its slug.
    pub fn name(feed: u8) -> String {
        format!("feed{feed}")
    }
}

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    pub received_at: Timestamp,
    /// Which connection: see [`feed`].
    pub feed: u8,
    /// The message, without the frame of MLLP.
    pub bytes: Vec<u8>,
}

/// Whether a 0 of this parameter is a measurement (no breath, no pressure above the zero line) and no sign of a lost sensor.
pub const fn zero_is_measured(parameter: Parameter) -> bool {
    !matches!(
        parameter,
        Parameter::Hr
            | Parameter::Pr
            | Parameter::PrAbp
            | Parameter::PrNibp
            | Parameter::Spo2
            | Parameter::Spo2Pre
            | Parameter::Spo2Post
            | Parameter::PerfIndex
            | Parameter::AbpSys
            | Parameter::AbpDia
            | Parameter::AbpMean
            | Parameter::NibpSys
            | Parameter::NibpDia
            | Parameter::NibpMean
            | Parameter::BpSys
            | Parameter::BpDia
            | Parameter::BpMean
            | Parameter::PapSys
            | Parameter::PapDia
            | Parameter::PapMean
            | Parameter::Temp
            | Parameter::TempCore
    )
}

/// Alarm limits as monitors are delivered with, adults.
pub const fn limits(parameter: Parameter) -> Option<(f64, f64)> {
    Some(match parameter {
        Parameter::Hr | Parameter::Pr => (50.0, 120.0),
        Parameter::Spo2 => (90.0, 100.0),
        Parameter::Rr | Parameter::Awrr => (8.0, 30.0),
        Parameter::Etco2 => (25.0, 50.0),
        Parameter::AbpSys | Parameter::NibpSys => (90.0, 160.0),
        Parameter::AbpDia | Parameter::NibpDia => (50.0, 90.0),
        Parameter::AbpMean | Parameter::NibpMean => (60.0, 110.0),
        _ => return None,
    })
}

/// Columns whose zeros are written as measured values for some time: someone says so.
#[derive(Debug, Clone)]
pub(super) struct Literal {
    pub columns: Vec<u16>,
    pub from_ms: i64,
    pub to_ms: i64,
}

/// The messages of a recording on a bed, by arrival.
pub fn render(recording: &Recording, bed: &Bed) -> Vec<Wire> {
    run(Writer::new(recording, bed), recording, bed)
}

/// The same with zeros that are written as they are, and perhaps only those that arrive from some time on: the same bytes,
/// without the work for those before.
pub(super) fn render_part(recording: &Recording, bed: &Bed, literal: Option<&Literal>, from: Option<Timestamp>) -> Vec<Wire> {
    let mut writer = Writer::new(recording, bed);
    (writer.literal, writer.from) = (literal, from.unwrap_or(Timestamp::MIN));
    run(writer, recording, bed)
}

fn run(mut writer: Writer<'_>, recording: &Recording, bed: &Bed) -> Vec<Wire> {
    match bed.rate {
        Rate::Native => native(recording, &mut writer),
        Rate::MinuteLast | Rate::MinuteMean => by_minute(recording, bed.rate, &mut writer),
    }
    writer.wires
}

/// What one moment tells of one column: a cell and its own time.
#[derive(Debug, Clone, Copy)]
struct Told {
    cell: Cell,
    at_ms: i64,
}

struct Writer<'a> {
    bed: &'a Bed,
    columns: &'a [Column],
    /// Columns in the order of a message.
    order: Vec<usize>,
    /// The last measurement of each episodic column.
    episodic: Vec<Option<Told>>,
    literal: Option<&'a Literal>,
    /// Nothing that arrives earlier is written.
    from: Timestamp,
    base_ms: f64,
    count: u64,
    last_sent: Timestamp,
    last_received: Timestamp,
    wires: Vec<Wire>,
}

impl<'a> Writer<'a> {
    fn new(recording: &'a Recording, bed: &'a Bed) -> Writer<'a> {
        let columns = &recording.columns;
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|at| message::order(columns[*at].parameter, columns[*at].channel));
        Writer {
            bed,
            columns,
            order,
            episodic: vec![None; columns.len()],
            literal: None,
            from: Timestamp::MIN,
            base_ms: 250.0 + 500.0 * Random::new(bed.seed).uniform(),
            count: 0,
            last_sent: Timestamp::MIN,
            last_received: Timestamp::MIN,
            wires: Vec::new(),
        }
    }

    /// Takes in a cell; `true` if it belongs into the next message by itself.
    fn note(&mut self, column: usize, told: Told) -> bool {
        if self.columns[column].parameter.nature() != Nature::Episodic {
            return true;
        }
        // Between two cuffs a table has empty cells: nothing was measured.
        if told.cell != Cell::Absent {
            self.episodic[column] = Some(told);
        }
        false
    }

    /// One message: what `now` tells, and the episodic values as they were last.
    fn write(&mut self, at_ms: i64, late_ms: i64, now: &[Option<Told>]) {
        let mut random = Random::new(self.bed.seed ^ (at_ms + late_ms).unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let hurry = random.uniform();
        let jitter = if random.uniform() < 0.02 { 1000.0 * hurry } else { 120.0 * hurry };
        let observed = self.bed.start.plus_ms(at_ms);
        let sent = observed.plus_ms(late_ms + (self.base_ms + jitter) as i64).max(self.last_sent.plus_ms(1));
        let received = sent.plus_ms(15 + (45.0 * random.uniform()) as i64).max(self.last_received.plus_ms(1));
        self.count += 1;
        (self.last_sent, self.last_received) = (sent, received);
        if received < self.from {
            return;
        }
        let pulse_lost = |channel: u8| {
            let lost = |(column, told): (&Column, &Option<Told>)| {
                *column == Column { parameter: Parameter::Pr, channel } && told.is_some_and(|t| t.cell == Cell::Number(0.0))
            };
            self.columns.iter().zip(now).any(lost)
        };
        let mut lines = Vec::with_capacity(self.order.len());
        for at in &self.order {
            let Column { parameter, channel } = self.columns[*at];
            let Some(told) = now[*at].or(self.episodic[*at]) else { continue };
            // One a minute, what is told at its end belongs to the minute.
            let slack_ms = if self.bed.rate == Rate::Native { 0 } else { 60_000 };
            let forged = self.literal.filter(|l| (l.from_ms..l.to_ms + slack_ms).contains(&told.at_ms));
            let literal = forged.is_some_and(|l| l.columns.contains(&(*at as u16)));
            // The device itself knows of no lost pulse where a 0 is forged.
            let held = forged.is_none() && parameter == Parameter::Spo2 && pulse_lost(channel);
            let Some(shown) = show(parameter, told.cell, self.bed.encoding, held, literal) else { continue };
            let (mut limits, mut flag) = (Cow::Borrowed(""), shown.flag);
            if self.bed.limits
                && let Some((low, high)) = self::limits(parameter)
            {
                limits = Cow::Owned(format!("{low}-{high}"));
                if let (Cell::Number(value), "") = (told.cell, flag) {
                    flag = if value < low {
                        "L"
                    } else if value > high {
                        "H"
                    } else {
                        ""
                    };
                }
            }
            lines.push((*at, shown, limits, flag, told.at_ms));
        }
        let lines: Vec<Line<'_>> = lines
            .iter()
            .map(|(at, shown, limits, flag, at_ms)| {
                let Column { parameter, channel } = self.columns[*at];
                Line {
                    parameter,
                    channel,
                    metric: message::order(parameter, channel).2,
                    value: Cow::Borrowed(shown.value.as_ref()),
                    limits,
                    flag,
                    status: shown.status,
                    effective_at: self.bed.start.plus_ms(*at_ms),
                }
            })
            .collect();
        let control_id = format!("{}-{}", self.bed.sender.bed, self.count);
        let bytes = self.bed.sender.write_lines(&control_id, sent, observed, &lines);
        self.wires.push(Wire { received_at: received, feed: feed::OWN, bytes });
    }
}

/// A value as it is written.
struct Shown {
    value: Cow<'static, str>,
    flag: &'static str,
    status: &'static str,
}

fn show(parameter: Parameter, cell: Cell, encoding: Encoding, held: bool, literal: bool) -> Option<Shown> {
    let status = if encoding == Encoding::Status { "R" } else { "F" };
    let said = |value: Cow<'static, str>, flag, status| Some(Shown { value, flag, status });
    match (cell, encoding) {
        (Cell::Number(value), _) if value != 0.0 || literal || zero_is_measured(parameter) => {
            let flag = if held && encoding == Encoding::Status { "QUES" } else { "" };
            said(Cow::Owned(value.to_string()), flag, status)
        }
        (_, Encoding::Absent) => None,
        (_, Encoding::Empty) => said(Cow::Borrowed(""), "", "F"),
        (Cell::Number(_), Encoding::Sentinel) => said(Cow::Borrowed("0"), "", "F"),
        (Cell::Absent, Encoding::Sentinel) => said(Cow::Borrowed("-?-"), "", "F"),
        (Cell::Number(_), Encoding::Status) => said(Cow::Borrowed(""), "INV", "X"),
        (Cell::Absent, Encoding::Status) => said(Cow::Borrowed(""), "NAV", "X"),
    }
}

/// One message for every instant. Where a column has several values at one time (a clock of minutes), each has its message, and
/// these are spread evenly until the next instant.
fn native(recording: &Recording, writer: &mut Writer<'_>) {
    let rows = &recording.rows;
    let mut now: Vec<Option<Told>> = vec![None; recording.columns.len()];
    let mut from = 0;
    while from < rows.len() {
        let at_ms = rows[from].at_ms;
        let count = rows[from..].iter().take_while(|row| row.at_ms == at_ms).count();
        let next = rows.get(from + count).map_or(at_ms + 1000, |row| row.at_ms);
        // Where a message of this instant ends: before a column that it has already.
        let mut starts = vec![from];
        let mut seen = vec![false; recording.columns.len()];
        for (at, row) in rows.iter().enumerate().skip(from).take(count) {
            if std::mem::replace(&mut seen[usize::from(row.column)], true) {
                starts.push(at);
                seen.fill(false);
                seen[usize::from(row.column)] = true;
            }
        }
        let step_ms = (next - at_ms).min(recording.gap_ms()) / starts.len() as i64;
        for (nth, first) in starts.iter().enumerate() {
            let last = starts.get(nth + 1).copied().unwrap_or(from + count);
            now.fill(None);
            for row in &rows[*first..last] {
                let told = Told { cell: row.cell, at_ms };
                if writer.note(usize::from(row.column), told) {
                    now[usize::from(row.column)] = Some(told);
                }
            }
            writer.write(at_ms, nth as i64 * step_ms, &now);
        }
        from += count;
    }
}

/// One message a minute, at its end.
fn by_minute(recording: &Recording, rate: Rate, writer: &mut Writer<'_>) {
    let rows = &recording.rows;
    let width = recording.columns.len();
    let mut from = 0;
    while from < rows.len() {
        let minute = rows[from].at_ms.div_euclid(60_000);
        let count = rows[from..].iter().take_while(|row| row.at_ms.div_euclid(60_000) == minute).count();
        let end_ms = (minute + 1) * 60_000;
        let mut last: Vec<Option<Told>> = vec![None; width];
        let mut sums = vec![(0.0, 0u32); width];
        for row in &rows[from..from + count] {
            let column = usize::from(row.column);
            let told = Told { cell: row.cell, at_ms: end_ms };
            if !writer.note(column, Told { at_ms: row.at_ms, ..told }) {
                continue;
            }
            last[column] = Some(told);
            if let Cell::Number(value) = row.cell
                && (value != 0.0 || zero_is_measured(recording.columns[column].parameter))
            {
                sums[column].0 += value;
                sums[column].1 += 1;
            }
        }
        for (column, told) in last.iter_mut().enumerate() {
            let parameter = recording.columns[column].parameter;
            let Some(told) = told else { continue };
            if rate == Rate::MinuteMean && sums[column].1 > 0 {
                told.cell = Cell::Number(sums[column].0 / f64::from(sums[column].1));
            }
            // The last value is told as it stood; a mean as monitors show it.
            if rate == Rate::MinuteMean
                && let Cell::Number(value) = &mut told.cell
            {
                *value = rounded(parameter, *value);
            }
        }
        writer.write(end_ms, 0, &last);
        from += count;
    }
}

/// As monitors show it: integers, temperatures and perfusion to a tenth.
fn rounded(parameter: Parameter, value: f64) -> f64 {
    let tenths = parameter.unit() == Unit::Cel || parameter == Parameter::PerfIndex;
    if tenths { (value * 10.0).round() / 10.0 } else { value.round() }
}

#[cfg(test)]
mod tests;
