//! Recordings: tidy tables of numbers (`t_s,param,value,unit`), read into rows of our parameters.
//!
//! One contract: nothing is lost silently. What is not used (an unknown parameter, a unit that cannot be one of it, a time that
//! is none) is counted in [`Notes`] with its first line; what is used in spite of something odd (a negative time, rows out of
//! order, two units of one parameter, gaps) is counted there as well. Nothing is filled, smoothed or repaired: a mark of an
//! invalid value stays a mark, and a 0 stays 0, for it is the monitor's profile that knows what a 0 means.
//!
//! Limits: times within ten years of the record's zero, whole milliseconds, at most 65 535 columns.

use super::synth;
use crate::hl7::unit::{self, Read};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A pause of the record that is longer than this is no live data, seconds; with slow records, three of their intervals.
pub const GAP_S: f64 = 60.0;
/// Intervals without a row after which a parameter, or the whole record, pauses.
const GAP_INTERVALS: f64 = 3.0;
/// Times further from the record's zero are no times, seconds.
const TIME_MAX_S: f64 = 3.2e8;
/// Marks of a value that is not there, besides an empty field.
const MARKS: &[&str] = &["--", "---", "-", "-?-", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "*"];

/// One recorded patient at one monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    pub set: String,
    pub name: String,
    /// Joins the records of one person.
    pub patient: String,
    /// Median time between two instants of the record, seconds.
    pub interval_s: f64,
    pub columns: Vec<Column>,
    /// By time; what has the same time stays in the order of the file.
    pub rows: Vec<Row>,
    /// Technical and alarm flags of the device (`FLAG_*`), by time: not values, and not rendered.
    pub flags: Vec<Flag>,
    pub notes: Notes,
}

/// One quantity of one device: `SPO2@2` is SpO2 of the device 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    pub parameter: Parameter,
    pub channel: u8,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Since the zero of the record.
    pub at_ms: i64,
    /// Into [`Recording::columns`].
    pub column: u16,
    pub cell: Cell,
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    /// In the canonical unit.
    Number(f64),
    /// Empty, or a mark of an invalid value.
    Absent,
}

impl Cell {
    pub fn number(self) -> Option<f64> {
        match self {
            Cell::Number(value) => Some(value),
            Cell::Absent => None,
        }
    }
}

/// A flag that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    pub at_ms: i64,
    pub name: String,
    pub on: bool,
}

/// What can be odd about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// Not used: no parameter of ours.
    UnknownParameter,
    /// Not used: a unit that the parameter cannot have.
    UnknownUnit,
    /// Not used: no time, or one beyond all bounds.
    BadTime,
    /// Not used: fields are missing.
    ShortLine,
    /// Used as absent: neither a number nor a known mark.
    NotANumber,
    /// Converted: the parameter came in another unit before.
    MixedUnit,
    /// Used as it is: no unit stands there.
    MissingUnit,
    /// Used: before the record's zero.
    NegativeTime,
    /// Sorted: earlier than the row before.
    Unsorted,
    /// Used: a second value of one column at one time.
    Repeated,
    /// Empty, or a mark of an invalid value.
    Mark,
    /// No row at all for longer than [`GAP_S`] (three intervals of a slow record).
    Gap,
    /// One column has no row for so long while others go on.
    Hole,
}

impl Oddity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Oddity::UnknownParameter => "unknown parameter",
            Oddity::UnknownUnit => "unknown unit",
            Oddity::BadTime => "unreadable time",
            Oddity::ShortLine => "short line",
            Oddity::NotANumber => "not a number",
            Oddity::MixedUnit => "mixed units",
            Oddity::MissingUnit => "missing unit",
            Oddity::NegativeTime => "negative time",
            Oddity::Unsorted => "not sorted",
            Oddity::Repeated => "repeated time",
            Oddity::Mark => "mark of an invalid value",
            Oddity::Gap => "gap",
            Oddity::Hole => "hole",
        }
    }
    /// Whether rows were left out for it.
    pub const fn loses(self) -> bool {
        matches!(self, Oddity::UnknownParameter | Oddity::UnknownUnit | Oddity::BadTime | Oddity::ShortLine)
    }
}

/// One thing that was odd, how often, and where first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub oddity: Oddity,
    /// Parameter, mark or text that it is about; may be empty.
    pub about: String,
    pub count: u64,
    /// From 1; the header is line 1.
    pub first_line: u64,
    /// Of gaps and holes together.
    pub seconds: f64,
}

/// What was odd, in the order in which it was met.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// Lines after the header that are not blank.
    pub lines: u64,
    /// Of them: cells of our parameters.
    pub cells: u64,
    /// Of them: flags of the device.
    pub flags: u64,
    pub list: Vec<Note>,
}

impl Notes {
    fn add(&mut self, oddity: Oddity, about: &str, line: u64, seconds: f64) {
        match self.list.iter_mut().find(|n| n.oddity == oddity && n.about == about) {
            Some(note) => {
                note.count += 1;
                note.seconds += seconds;
            }
            None => self.list.push(Note { oddity, about: about.into(), count: 1, first_line: line, seconds }),
        }
    }
    /// How often something was odd in this way.
    pub fn count(&self, oddity: Oddity) -> u64 {
        self.list.iter().filter(|n| n.oddity == oddity).map(|n| n.count).sum()
    }
    /// Rows that were not used.
    pub fn lost(&self) -> u64 {
        self.list.iter().filter(|n| n.oddity.loses()).map(|n| n.count).sum()
    }
}

/// Why a text is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    #[error("the first line names no columns t_s, param and value (it reads `{0}`)")]
    Header(String),
    #[error("no row could be used: {0}")]
    NoRows(String),
    #[error("more than 65 535 columns")]
    TooWide,
}

/// The parameter and channel of a name in a recording; `None` for what has no place in our list.
pub fn column(name: &str) -> Option<Column> {
    let (base, channel) = match name.split_once('@') {
        Some((base, channel)) => (base, channel.parse().ok()?),
        None => (name, 0),
    };
    let parameter = match base.to_ascii_uppercase().as_str() {
        "HR" => Parameter::Hr,
        "PR" => Parameter::Pr,
        "SPO2" => Parameter::Spo2,
        "PI" => Parameter::PerfIndex,
        "RR" => Parameter::Rr,
        "AWRR" => Parameter::Awrr,
        "ETCO2" => Parameter::Etco2,
        "TEMP" => Parameter::Temp,
        "ABP_S" => Parameter::AbpSys,
        "ABP_D" => Parameter::AbpDia,
        "ABP_M" => Parameter::AbpMean,
        "NBP_S" | "NIBP_S" => Parameter::NibpSys,
        "NBP_D" | "NIBP_D" => Parameter::NibpDia,
        "NBP_M" | "NIBP_M" => Parameter::NibpMean,
        "BP_S" => Parameter::BpSys,
        "BP_D" => Parameter::BpDia,
        "BP_M" => Parameter::BpMean,
        "PAP_S" => Parameter::PapSys,
        "PAP_D" => Parameter::PapDia,
        "PAP_M" => Parameter::PapMean,
        _ => Parameter::from_key(&base.to_ascii_lowercase())?,
    };
    Some(Column { parameter, channel })
}

/// Which sets have which recordings: one recording may stand in several.
#[derive(Debug, Default)]
pub struct Sets<'a> {
    sizes: BTreeMap<&'a str, usize>,
    of: BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>,
}

impl<'a> Sets<'a> {
    pub fn new(list: impl IntoIterator<Item = &'a Recording>) -> Sets<'a> {
        let mut sets = Sets::default();
        for r in list {
            *sets.sizes.entry(&r.set).or_default() += 1;
            sets.of.entry((&r.name, &r.patient)).or_default().insert(&r.set);
        }
        sets
    }

    /// Whether another set has a recording, too, and it counts there: in the larger one.
    pub fn elsewhere(&self, r: &Recording) -> bool {
        let rank = |set: &'a str| (self.sizes.get(set).copied(), set);
        let own = (self.sizes.get(r.set.as_str()).copied(), r.set.as_str());
        let sets = self.of.get(&(r.name.as_str(), r.patient.as_str()));
        sets.is_some_and(|sets| sets.iter().any(|other| *other != r.set && rank(other) > own))
    }
}

impl Recording {
    /// Reads a table with a header line; columns may stand in any order, `unit` may be missing.
    pub fn from_csv(set: &str, name: &str, patient: &str, text: &str) -> Result<Recording, RecordingError> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default().trim_start_matches('\u{feff}').trim();
        let place = |wanted: &str| fields(header).position(|field| field.eq_ignore_ascii_case(wanted));
        let (Some(time), Some(param), Some(value)) = (place("t_s"), place("param"), place("value")) else {
            return Err(RecordingError::Header(header.chars().take(80).collect()));
        };
        let places = Places { time, param, value, unit: place("unit") };
        let mut reader = Reader::default();
        for (at, line) in lines.enumerate() {
            if !line.trim().is_empty() {
                reader.take(&places, line, at as u64 + 2)?;
            }
        }
        reader.finish(set, name, patient)
    }

    /// Seconds of an invented patient, as a recording: a cuff pressure has a row when it is measured.
    pub fn synthetic(name: &str, mut patient: synth::Patient, start: Timestamp, seconds: usize) -> Recording {
        let mut recording = Recording {
            set: "synthetic".into(),
            name: name.into(),
            patient: format!("synthetic:{name}"),
            interval_s: 1.0,
            columns: Vec::new(),
            rows: Vec::new(),
            flags: Vec::new(),
            notes: Notes::default(),
        };
        for second in 0..seconds {
            let now = start.plus_ms(second as i64 * 1000);
            for reading in patient.step() {
                // What was measured before is told again, not measured again.
                if reading.effective_at != now {
                    continue;
                }
                let wanted = Column { parameter: reading.parameter, channel: 0 };
                let column = recording.columns.iter().position(|c| *c == wanted).unwrap_or_else(|| {
                    recording.columns.push(wanted);
                    recording.columns.len() - 1
                });
                let cell = reading.value.map_or(Cell::Absent, Cell::Number);
                recording.rows.push(Row { at_ms: second as i64 * 1000, column: column as u16, cell });
            }
        }
        recording.notes.cells = recording.rows.len() as u64;
        recording
    }

    /// The column of a parameter; of several channels the lowest.
    pub fn column_of(&self, parameter: Parameter) -> Option<u16> {
        let lowest = self.columns.iter().enumerate().filter(|(_, c)| c.parameter == parameter).min_by_key(|(_, c)| c.channel)?;
        Some(lowest.0 as u16)
    }

    /// Median time between two values of a column, seconds.
    pub fn usual_s(&self, column: u16) -> Option<f64> {
        let times: Vec<i64> =
            self.rows.iter().filter(|r| r.column == column && r.cell.number().is_some()).map(|r| r.at_ms).collect();
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).map(|ms| *ms as f64 / 1000.0)
    }

    /// Most of its cells repeat a time: its clock is too coarse for any rate.
    pub fn has_coarse_clock(&self) -> bool {
        self.notes.count(Oddity::Repeated) as f64 > 0.5 * self.notes.cells as f64
    }

    /// Every parameter of the record.
    pub fn parameters(&self) -> ParamSet {
        self.columns.iter().map(|c| c.parameter).collect()
    }

    /// From the first to the last row, seconds.
    pub fn span_s(&self) -> f64 {
        match (self.rows.first(), self.rows.last()) {
            (Some(first), Some(last)) => (last.at_ms - first.at_ms) as f64 / 1000.0,
            _ => 0.0,
        }
    }

    /// The longest time between two instants that is no gap, ms.
    pub fn gap_ms(&self) -> i64 {
        gap_ms(self.interval_s)
    }

    /// The span without its gaps, seconds.
    pub fn live_s(&self) -> f64 {
        let limit = self.gap_ms();
        let live: i64 = self.rows.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).filter(|step| *step <= limit).sum();
        live as f64 / 1000.0
    }

    /// Every gap: its first and last ms.
    pub fn gaps(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let limit = self.gap_ms();
        self.rows.windows(2).map(|pair| (pair[0].at_ms, pair[1].at_ms)).filter(move |(a, b)| b - a > limit)
    }
}

fn gap_ms(interval_s: f64) -> i64 {
    ((GAP_INTERVALS * interval_s).max(GAP_S) * 1000.0).round() as i64
}

/// A converted number keeps six decimals: the rest is arithmetic, no measurement.
fn converted(line: unit::Line, value: f64) -> f64 {
    if line == unit::Line::SAME { value } else { (line.apply(value) * 1e6).round() / 1e6 }
}

/// The fields of a line. No field of a tidy table holds a comma; quotes around one are taken off.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|field| field.trim().trim_matches('"').trim())
}

struct Places {
    time: usize,
    param: usize,
    value: usize,
    unit: Option<usize>,
}

/// A row with the line that it came from.
struct Lined {
    row: Row,
    line: u64,
}

#[derive(Default)]
struct Reader {
    columns: Vec<Column>,
    /// By column: name in the file, the unit of the first row.
    names: Vec<(String, Read)>,
    rows: Vec<Lined>,
    flags: Vec<Flag>,
    notes: Notes,
    last_ms: Option<i64>,
}

impl Reader {
    fn take(&mut self, places: &Places, line: &str, number: u64) -> Result<(), RecordingError> {
        self.notes.lines += 1;
        let (mut time, mut param, mut value, mut unit) = (None, None, None, "");
        for (at, field) in fields(line).enumerate() {
            if at == places.time {
                time = Some(field);
            } else if at == places.param {
                param = Some(field);
            } else if at == places.value {
                value = Some(field);
            } else if Some(at) == places.unit {
                unit = field;
            }
        }
        let (Some(time), Some(param), Some(value)) = (time, param, value) else {
            self.notes.add(Oddity::ShortLine, "", number, 0.0);
            return Ok(());
        };
        let Some(seconds) = time.parse::<f64>().ok().filter(|t| t.is_finite() && t.abs() <= TIME_MAX_S) else {
            self.notes.add(Oddity::BadTime, "", number, 0.0);
            return Ok(());
        };
        let at_ms = (seconds * 1000.0).round() as i64;
        if at_ms < 0 {
            self.notes.add(Oddity::NegativeTime, "", number, 0.0);
        }
        if self.last_ms.is_some_and(|last| at_ms < last) {
            self.notes.add(Oddity::Unsorted, "", number, 0.0);
        }
        self.last_ms = Some(at_ms);
        if param.len() >= 5 && param.as_bytes()[..5].eq_ignore_ascii_case(b"FLAG_") {
            self.notes.flags += 1;
            self.flags.push(Flag { at_ms, name: param[5..].into(), on: value.parse::<f64>().is_ok_and(|v| v != 0.0) });
            return Ok(());
        }
        let Some(index) = self.index(param, unit)? else {
            self.notes.add(Oddity::UnknownParameter, param, number, 0.0);
            return Ok(());
        };
        let parameter = self.columns[index].parameter;
        let sent = unit::read(unit, "");
        let line_of_unit = match sent {
            Read::Missing => {
                self.notes.add(Oddity::MissingUnit, param, number, 0.0);
                Some(unit::Line::SAME)
            }
            Read::Known(dimension) | Read::KnownByText(dimension) => dimension.into_canonical(parameter),
            Read::Conflict(..) | Read::Unknown => None,
        };
        let Some(convert) = line_of_unit else {
            self.notes.add(Oddity::UnknownUnit, &format!("{param} in {unit}"), number, 0.0);
            return Ok(());
        };
        if sent != self.names[index].1 && sent != Read::Missing {
            self.notes.add(Oddity::MixedUnit, &format!("{param} in {unit}"), number, 0.0);
        }
        let cell = match value.parse::<f64>() {
            Ok(value) if value.is_finite() => Cell::Number(converted(convert, value)),
            _ => {
                let known = value.is_empty() || MARKS.contains(&value);
                let short: String = value.chars().take(20).collect();
                self.notes.add(if known { Oddity::Mark } else { Oddity::NotANumber }, &format!("{param} `{short}`"), number, 0.0);
                Cell::Absent
            }
        };
        self.notes.cells += 1;
        self.rows.push(Lined { row: Row { at_ms, column: index as u16, cell }, line: number });
        Ok(())
    }

    /// The column of a name, made when it is new.
    fn index(&mut self, name: &str, unit: &str) -> Result<Option<usize>, RecordingError> {
        if let Some(index) = self.names.iter().position(|(known, _)| known == name) {
            return Ok(Some(index));
        }
        let Some(wanted) = column(name) else { return Ok(None) };
        if self.columns.len() >= usize::from(u16::MAX) {
            return Err(RecordingError::TooWide);
        }
        self.columns.push(wanted);
        self.names.push((name.into(), unit::read(unit, "")));
        Ok(Some(self.columns.len() - 1))
    }

    fn finish(mut self, set: &str, name: &str, patient: &str) -> Result<Recording, RecordingError> {
        if self.rows.is_empty() {
            let why = match self.notes.list.first() {
                Some(note) => format!("{} {}, first in line {}", note.count, note.oddity.as_str(), note.first_line),
                None => "the table is empty".into(),
            };
            return Err(RecordingError::NoRows(why));
        }
        self.rows.sort_by_key(|lined| lined.row.at_ms);
        self.flags.sort_by_key(|flag| flag.at_ms);
        let interval_s = self.interval_s();
        self.note_pauses(interval_s);
        Ok(Recording {
            set: set.into(),
            name: name.into(),
            patient: patient.into(),
            interval_s,
            columns: self.columns,
            rows: self.rows.into_iter().map(|lined| lined.row).collect(),
            flags: self.flags,
            notes: self.notes,
        })
    }

    /// Median step between instants.
    fn interval_s(&self) -> f64 {
        let steps = self.rows.windows(2).map(|pair| pair[1].row.at_ms - pair[0].row.at_ms).filter(|step| *step > 0);
        let mut steps: Vec<i64> = steps.collect();
        if steps.is_empty() {
            return 0.0;
        }
        steps.sort_unstable();
        steps[steps.len() / 2] as f64 / 1000.0
    }

    /// Gaps of the record, holes of its columns, times that come twice.
    fn note_pauses(&mut self, interval_s: f64) {
        let limit = gap_ms(interval_s);
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for pair in self.rows.windows(2) {
            let (before, after) = (pair[0].row.at_ms, pair[1].row.at_ms);
            if after - before > limit {
                gaps.push((before, after));
                self.notes.add(Oddity::Gap, "", pair[1].line, (after - before) as f64 / 1000.0);
            }
        }
        let mut by_column: Vec<Vec<(i64, u64)>> = vec![Vec::new(); self.columns.len()];
        for lined in &self.rows {
            by_column[usize::from(lined.row.column)].push((lined.row.at_ms, lined.line));
        }
        for (column, times) in by_column.iter().enumerate() {
            let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|step| *step > 0).collect();
            steps.sort_unstable();
            let own = steps.get(steps.len() / 2).copied().unwrap_or(0) as f64 / 1000.0;
            let limit = gap_ms(own.max(interval_s));
            let name = &self.names[column].0;
            for pair in times.windows(2) {
                let ((before, _), (after, line)) = (pair[0], pair[1]);
                if after == before {
                    self.notes.add(Oddity::Repeated, name, line, 0.0);
                } else if after - before > limit && !gaps.iter().any(|g| g.0 < after && before < g.1) {
                    self.notes.add(Oddity::Hole, name, line, (after - before) as f64 / 1000.0);
                }
            }
        }
    }
}

/// One line of the list of records.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub set: String,
    pub record: String,
    pub patient: String,
    pub interval_s: f64,
}

/// The list of records: which patient each of them is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index {
    pub entries: Vec<Entry>,
    /// Lines that lack a column.
    pub unreadable: u64,
}

impl Index {
    /// Reads a table with tabs and a header that names `dataset`, `record`, `patient` and `median_interval_s`.
    pub fn from_tsv(text: &str) -> Result<Index, RecordingError> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let place = |wanted: &str| header.split('\t').position(|field| field.trim() == wanted);
        let (Some(set), Some(record), Some(patient)) = (place("dataset"), place("record"), place("patient")) else {
            return Err(RecordingError::Header(header.chars().take(80).collect()));
        };
        let interval = place("median_interval_s");
        let mut index = Index::default();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
            let (Some(set), Some(record), Some(patient)) = (fields.get(set), fields.get(record), fields.get(patient)) else {
                index.unreadable += 1;
                continue;
            };
            let interval_s = interval.and_then(|at| fields.get(at)).and_then(|text| text.parse().ok()).unwrap_or(0.0);
            index.entries.push(Entry { set: (*set).into(), record: (*record).into(), patient: (*patient).into(), interval_s });
        }
        Ok(index)
    }
    /// The patient of a record; a record that is not listed is a patient of its own.
    pub fn patient(&self, set: &str, record: &str) -> String {
        let listed = self.entries.iter().find(|entry| entry.set == set && entry.record == record);
        listed.map_or_else(|| format!("{set}:{record}"), |entry| entry.patient.clone())
    }
}

#[cfg(test)]
mod tests;
