//! From an OBX-3 to what it means: the order of resolution and the policy where code, name and alternate code disagree.
//!
//! The order is: code under its system; reference id where the number means nothing; the dialect's own codes, then its labels;
//! the alternate triplet (OBX-3.4 to 6) only where the first is unknown. What disagrees is refused, what is unknown is counted;
//! nothing is guessed.

use super::super::dialect::{Meaning, Role, RowRef, System, Table, Tables, hash32, mdil_number};
use super::super::unit::{self, Dimension, Read};
use super::super::{Delimiters, Field};
use crate::observation::ObsFlags;
use crate::vital::Parameter;
use rustc_hash::FxHashMap;

/// Codes remembered of one dialect, and units remembered, at most; when full, all are forgotten and found anew.
pub const REMEMBERED_MAX: usize = 2048;
/// Longer fields are looked up every time.
const REMEMBERED_BYTES_MAX: usize = 128;

/// What an OBX-3 means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Parameter {
        parameter: Parameter,
        unit: Option<Dimension>,
        scale: f64,
        /// Hash of the row's channel; 0 where it has none.
        channel: u32,
    },
    Role(Role),
    Unknown,
    /// Number and name, or code and alternate code, mean different things; what the code alone would have meant.
    Conflict(Option<Parameter>),
}

/// An OBX-3, resolved.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    pub outcome: Outcome,
    pub flags: ObsFlags,
    /// Hash of the field as sent.
    pub hash: u32,
    /// The rows that decided: by code, by label.
    pub rows: [Option<RowRef>; 2],
    /// The system of the code; of the alternate code where no table speaks of the first one's.
    pub system: System,
}

/// An OBX-6, read.
#[derive(Debug, Clone, Copy)]
pub struct UnitRead {
    pub read: Read,
    pub hash: u32,
}

/// What was found out before. A pure function of tables and bytes, so it is no state: a restart forgets it without harm. The
/// same bytes mean something else under other delimiters: fields with any but the usual ones are looked up every time.
#[derive(Debug, Default)]
pub struct Memory {
    codes: Vec<FxHashMap<Box<[u8]>, Code>>,
    units: FxHashMap<Box<[u8]>, UnitRead>,
    /// Words of alarm texts, behind dialect and system.
    words: FxHashMap<Box<[u8]>, Option<RowRef>>,
    key: Vec<u8>,
}

impl Memory {
    /// The meaning of an OBX-3 in dialect `at`.
    pub fn code(&mut self, tables: &Tables, at: u16, field: Field<'_>) -> Code {
        let raw = field.raw();
        if field.delimiters() != Delimiters::default() {
            return resolve(tables, tables.table(at), field);
        }
        if let Some(code) = self.codes.get(at as usize).and_then(|known| known.get(raw)) {
            return *code;
        }
        let code = resolve(tables, tables.table(at), field);
        if raw.len() <= REMEMBERED_BYTES_MAX {
            if self.codes.len() <= at as usize {
                self.codes.resize_with(at as usize + 1, FxHashMap::default);
            }
            let known = &mut self.codes[at as usize];
            if known.len() >= REMEMBERED_MAX {
                known.clear();
            }
            known.insert(raw.into(), code);
        }
        code
    }

    /// The row of dialect `at` whose label a word is.
    pub fn word(&mut self, tables: &Tables, at: u16, system: System, word: &str) -> Option<RowRef> {
        self.key.clear();
        self.key.extend_from_slice(&at.to_le_bytes());
        self.key.push(system as u8);
        self.key.extend_from_slice(word.as_bytes());
        if let Some(row) = self.words.get(self.key.as_slice()) {
            return *row;
        }
        let row = tables.table(at).by_label(system, word);
        if self.words.len() >= REMEMBERED_MAX {
            self.words.clear();
        }
        self.words.insert(self.key.as_slice().into(), row);
        row
    }

    /// The meaning of an OBX-6.
    pub fn unit(&mut self, field: Field<'_>) -> UnitRead {
        let raw = field.raw();
        if raw.is_empty() {
            return UnitRead { read: Read::Missing, hash: 0 };
        }
        let usual = field.delimiters() == Delimiters::default();
        if let Some(read) = self.units.get(raw).filter(|_| usual) {
            return *read;
        }
        let read = if field.is_empty() {
            Read::Missing
        } else {
            unit::read(field.component(1).text().trim(), field.component(2).text().trim())
        };
        let read = UnitRead { read, hash: hash32(&[raw]) };
        if usual && raw.len() <= REMEMBERED_BYTES_MAX {
            if self.units.len() >= REMEMBERED_MAX {
                self.units.clear();
            }
            self.units.insert(raw.into(), read);
        }
        read
    }
}

/// One triplet's meaning.
enum Found {
    Nothing,
    Row(RowRef, Option<RowRef>, bool),
    Role(Role),
    /// The row of the code, and that of the name.
    Conflict(RowRef, Option<RowRef>),
}

/// Resolves an OBX-3 from the tables.
pub fn resolve(tables: &Tables, table: &Table, field: Field<'_>) -> Code {
    let triplet = |from: usize| {
        let [code, label, system] = [from, from + 1, from + 2].map(|n| field.component(n).text().into_owned());
        (code, label, System::named(&system))
    };
    let (code, label, mut system) = triplet(1);
    let first = find(tables, table, &code, &label, system);
    let empty = code.is_empty() && label.is_empty();
    let (code, label, alternate) = triplet(4);
    let mut second = Found::Nothing;
    if !(code.is_empty() && label.is_empty()) {
        second = find(tables, table, &code, &label, alternate);
        // What stands there is told by the system that a table speaks of, if one of the two is.
        if empty || system == System::Other {
            system = alternate;
        }
    }
    let hash = hash32(&[field.raw()]);
    let done = |outcome, flags, rows| Code { outcome, flags, hash, rows, system };
    let mut flags = ObsFlags::default();
    match (&first, &second) {
        (Found::Conflict(row, named), _) | (Found::Nothing, Found::Conflict(row, named)) => {
            done(conflict(tables, *row), flags, [Some(*row), *named])
        }
        (Found::Row(a, ..), Found::Row(b, ..)) if differ(tables.row(*a).meaning, tables.row(*b).meaning) => {
            done(conflict(tables, *a), flags, [Some(*a), Some(*b)])
        }
        (Found::Row(row, label, by_name), other) | (other @ Found::Nothing, Found::Row(row, label, by_name)) => {
            if *by_name {
                flags.set(ObsFlags::CODE_BY_REFID);
            }
            let second_row = match other {
                Found::Row(b, ..) => Some(*b),
                _ => *label,
            };
            done(meaning(tables, *row), flags, [Some(*row), second_row])
        }
        (Found::Role(role), _) | (Found::Nothing, Found::Role(role)) => done(Outcome::Role(*role), flags, [None, None]),
        (Found::Nothing, Found::Nothing) => done(Outcome::Unknown, flags, [None, None]),
    }
}

fn meaning(tables: &Tables, at: RowRef) -> Outcome {
    let row = tables.row(at);
    match row.meaning {
        Meaning::Parameter(parameter) => Outcome::Parameter {
            parameter,
            unit: row.unit,
            scale: row.scale,
            channel: if row.channel.is_empty() { 0 } else { hash32(&[row.channel.as_bytes()]) },
        },
        Meaning::Role(role) => Outcome::Role(role),
    }
}

fn conflict(tables: &Tables, at: RowRef) -> Outcome {
    Outcome::Conflict(match tables.row(at).meaning {
        Meaning::Parameter(parameter) => Some(parameter),
        Meaning::Role(_) => None,
    })
}

/// Two parameters, or a parameter and none.
fn differ(a: Meaning, b: Meaning) -> bool {
    match (a, b) {
        (Meaning::Parameter(a), Meaning::Parameter(b)) => a != b,
        (Meaning::Role(_), Meaning::Role(_)) => false,
        _ => true,
    }
}

fn find(tables: &Tables, table: &Table, code: &str, label: &str, system: System) -> Found {
    // The row of the code, held against what the label means by itself.
    let with_label = |row: RowRef, system: System| match table.by_label(system, label) {
        Some(named) if differ(tables.row(row).meaning, tables.row(named).meaning) => Found::Conflict(row, Some(named)),
        named => Found::Row(row, named.filter(|named| *named != row), false),
    };
    let own = |system: System| table.by_code(system, code).map(|row| with_label(row, system));
    let found = match system {
        System::Mdc => find_mdc(tables, table, code, label),
        System::Mdil => own(System::Mdil)
            .or_else(|| {
                let number = mdil_number(code).filter(|_| table.mdil_arithmetic)?;
                table.by_code(System::Mdc, &number.to_string()).map(|row| with_label(row, System::Mdil))
            })
            .unwrap_or(Found::Nothing),
        System::MdilAlert => own(System::MdilAlert).unwrap_or(Found::Role(Role::Alarm)),
        System::Bare if code.is_empty() && label.is_empty() => Found::Nothing,
        System::Bare => find_bare(tables, table, code, label, own(System::Bare)),
        other => own(other).unwrap_or(Found::Nothing),
    };
    match found {
        Found::Nothing if matches!(system, System::Mdil | System::WelchAllyn | System::Ehc | System::MetaVision) => {
            // A code that the table does not have, under a label that it has: the label alone is not enough for a number, but
            // it tells what a row is that holds none.
            match table.by_label(system, label) {
                Some(row) if matches!(tables.row(row).meaning, Meaning::Role(_)) => Found::Row(row, None, true),
                _ => Found::Nothing,
            }
        }
        found => found,
    }
}

fn find_mdc(tables: &Tables, table: &Table, code: &str, label: &str) -> Found {
    let named = table.by_label(System::Mdc, label);
    let number = if code.len() <= 9 && code.bytes().all(|b| b.is_ascii_digit()) { code.parse::<u32>().ok() } else { None };
    if let Some(number) = number {
        if let Some(row) = table.by_code(System::Mdc, code) {
            return match named {
                Some(named) if differ(tables.row(row).meaning, tables.row(named).meaning) => Found::Conflict(row, Some(named)),
                named => Found::Row(row, named.filter(|named| *named != row), false),
            };
        }
        if let Some(named) = named {
            // The name has a number of its own, and a number of the nomenclature that is another one was sent.
            let other_number = number >= 1 << 16 && !tables.row(named).code.is_empty();
            return if other_number { Found::Conflict(named, None) } else { Found::Row(named, None, true) };
        }
        if let Some(role) = role_of_name(label) {
            return Found::Role(role);
        }
        return match number >> 16 {
            // Partitions: 1 object infrastructure (devices, attributes), 3 events, 8 device profiles.
            1 | 8 => Found::Role(Role::Structure),
            3 => Found::Role(Role::Alarm),
            _ => Found::Nothing,
        };
    }
    if let Some(row) = table.by_label(System::Mdc, code) {
        return match named {
            Some(named) if differ(tables.row(row).meaning, tables.row(named).meaning) => Found::Conflict(row, Some(named)),
            _ => Found::Row(row, None, true),
        };
    }
    if let Some(role) = role_of_name(code).or_else(|| role_of_name(label)) {
        return Found::Role(role);
    }
    named.map_or(Found::Nothing, |row| Found::Row(row, None, true))
}

/// Reference ids whose beginning says that no measurement stands there.
fn role_of_name(name: &str) -> Option<Role> {
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    if begins("MDC_DEV_") || begins("MDC_ATTR_") {
        return Some(Role::Structure);
    }
    (begins("MDC_EVT_") || begins("MDCX_EVT_")).then_some(Role::Alarm)
}

fn find_bare(tables: &Tables, table: &Table, code: &str, label: &str, own: Option<Found>) -> Found {
    if let Some(found) = own {
        return found;
    }
    if table.bare_system != System::Bare
        && let Some(row) = table.by_code(table.bare_system, code)
    {
        return Found::Row(row, None, false);
    }
    // A reference id says itself which system it is of.
    let refid = |text: &str| text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("MDC_"));
    if refid(code) || refid(label) {
        return find_mdc(tables, table, code, label);
    }
    if table.label_codes.iter().any(|shared| shared == code)
        && let Some(row) = table.by_label(System::Bare, label)
    {
        return Found::Row(row, None, false);
    }
    match (table.by_label(System::Bare, code), table.by_label(System::Bare, label)) {
        (Some(a), Some(b)) if differ(tables.row(a).meaning, tables.row(b).meaning) => Found::Conflict(a, Some(b)),
        (Some(row), _) => Found::Row(row, None, true),
        // A number that the dialect does not have is not made known by its label.
        (None, Some(row)) if !code.bytes().all(|b| b.is_ascii_digit()) || code.is_empty() => Found::Row(row, None, true),
        _ => Found::Nothing,
    }
}
