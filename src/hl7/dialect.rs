//! Dialects: one sender's way to write vital signs, as a typed table read from `models/dialects/*.toml`.
//!
//! A [`Table`] is knowledge (which header belongs to whom, what a code means, where the bed stands, what `-100` means); the
//! method is in [`decode`](super::decode). The embedded tables can be replaced or added to, file by file, by a site.
//!
//! Contract: what is loaded is valid. [`Tables::load`] refuses unknown keys, unknown parameters, a code or label that means two
//! things, a unit that its parameter cannot have, and says file and row. Limits: 64 tables, 4096 rows each.

use super::Message;
use super::unit::{self, Dimension};
use crate::observation::{AlarmKind, AlarmPriority, MessageKind};
use crate::vital::{ParamSet, Parameter};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::sync::{Arc, LazyLock};

mod choose;
mod path;
mod raw;

pub use choose::{Choice, Firsts};
pub use path::Path;

/// Tables at most.
pub const TABLES_MAX: usize = 64;
/// Rows of one table at most.
pub const ROWS_MAX: usize = 4096;

/// A coding system, under all the names it goes by. Codes without a system belong to the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum System {
    /// No system was sent.
    Bare,
    Mdc,
    Mdil,
    MdilAlert,
    Loinc,
    Mndry,
    Ehc,
    MetaVision,
    Local,
    WelchAllyn,
    Snomed,
    /// One that no table speaks of.
    Other,
}

impl System {
    /// The system of an OBX-3.3 or OBX-3.6.
    pub fn named(name: &str) -> System {
        let name = name.trim();
        const NAMES: &[(&str, System)] = &[
            ("", System::Bare),
            ("MDC", System::Mdc),
            ("MDIL", System::Mdil),
            ("MDIL-ALERT", System::MdilAlert),
            ("LN", System::Loinc),
            ("LOINC", System::Loinc),
            ("99MNDRY", System::Mndry),
            ("EHC", System::Ehc),
            ("MV", System::MetaVision),
            ("L", System::Local),
            ("WAP", System::WelchAllyn),
            ("WelchAllyn", System::WelchAllyn),
            ("SCT", System::Snomed),
            ("SNOMED-CT", System::Snomed),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(System::Other, |row| row.1)
    }
}

/// What a row that is no measurement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Containment or an attribute of the device: no value is meant.
    Structure,
    /// Says how the device's clock is kept in step.
    TimeSync,
    /// A state in words.
    Status,
    /// An alarm.
    Alarm,
    /// What an alarm is about.
    AlarmSource,
    /// Where it stands: start, update, end.
    AlarmPhase,
    /// Whether its condition is there.
    AlarmState,
    /// Whether alarming is paused, off, confirmed.
    AlarmInactivation,
    AlarmPriority,
    AlarmType,
    /// An alarm that says by its text which sensor does not measure.
    Inop,
    /// Says of the waveform before it whether it is measured.
    InopMark,
    /// A waveform.
    Waveform,
    /// A laboratory result.
    Laboratory,
    /// Known, and no parameter of ours.
    Unused,
}

impl Role {
    /// An alarm, or something about one.
    pub const fn of_alarm(self) -> bool {
        self.of_attribute() || matches!(self, Role::Alarm | Role::Inop)
    }
    /// Something about an alarm.
    pub const fn of_attribute(self) -> bool {
        use Role::{AlarmInactivation, AlarmPhase, AlarmPriority, AlarmSource, AlarmState, AlarmType};
        matches!(self, AlarmSource | AlarmPhase | AlarmState | AlarmInactivation | AlarmPriority | AlarmType)
    }
}

/// What a row of a table means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    Parameter(Parameter),
    Role(Role),
}

/// One row: a code, labels, or both, and what they mean.
#[derive(Debug, Clone)]
pub struct Row {
    pub system: System,
    /// The code as sent; empty for a row that only knows labels.
    pub code: String,
    /// Names that mean this row by themselves; a code under another row's label is a conflict.
    pub labels: Vec<String>,
    pub meaning: Meaning,
    /// The unit where the sender writes none.
    pub unit: Option<Dimension>,
    /// The number as sent times this is the value.
    pub scale: f64,
    /// Tells apart rows of one parameter that stand in one place (`T1`, `T2`); hashed into the channel.
    pub channel: String,
    /// Of a row that is an alarm.
    pub alarm: RowAlarm,
    /// Of a row whose numbers are scaled integers.
    pub scaled: Option<Scaled>,
}

/// What tells the scale of a row's integers: bounds (from, to) in the row's unit.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaled {
    /// Lower and upper alarm limits that a person may have set. The upper ones span less than ten times, so that one power of
    /// ten fits at most.
    pub low: (f64, f64),
    pub high: (f64, f64),
    /// Numbers that the parameter can have.
    pub values: (f64, f64),
    /// A parameter that is scaled alike, where this row has no limits.
    #[serde(default)]
    pub like: Option<Parameter>,
}

impl Scaled {
    /// Nothing tells the scale: every number is refused.
    pub const UNKNOWN: Scaled =
        Scaled { low: (f64::NAN, f64::NAN), high: (f64::NAN, f64::NAN), values: (f64::NAN, f64::NAN), like: None };
}

/// A place in the device that makes one parameter another (respiration in the gas module).
#[derive(Debug, Clone)]
pub struct Moved {
    pub from: Parameter,
    /// Beginning of OBX-4.
    pub place: String,
    pub to: Parameter,
}

/// A waveform: the beginning of its reference id, and what is not measured when it is not.
#[derive(Debug, Clone)]
pub struct Wave {
    pub name: String,
    pub parameters: ParamSet,
}

impl Row {
    /// What it measures, if it does.
    pub fn parameter(&self) -> Option<Parameter> {
        match self.meaning {
            Meaning::Parameter(parameter) => Some(parameter),
            Meaning::Role(_) => None,
        }
    }
}

/// What the code of an alarm says of it, where it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowAlarm {
    pub priority: AlarmPriority,
    pub kind: AlarmKind,
}

/// A kind of message that is told by MSH-10.
#[derive(Debug, Clone)]
pub struct KindRow {
    pub control_id: String,
    pub kind: MessageKind,
    /// What its alarms are about.
    pub alarm: AlarmKind,
}

/// A row of a table of [`Tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowRef {
    pub table: u16,
    pub row: u16,
}

/// What MSH-10 is worth.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlId {
    /// It names one message (and not its kind).
    pub is_id: bool,
    /// It may be published as it is (no serial, no name in it).
    pub plain: bool,
    /// Two messages of this sender never have the same body, because the body holds a time.
    pub body_unique: bool,
}

impl Default for ControlId {
    fn default() -> Self {
        ControlId { is_id: true, plain: true, body_unique: true }
    }
}

/// A place where a device says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSource {
    /// OBX-18 of a row.
    Obx18,
    /// PRT-10.
    Prt10,
    /// MSH-3.2 where MSH-3.3 says EUI-64.
    Msh3Eui,
    /// A field as it is.
    At(Path),
}

/// Where the identity stands.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Preferred types of PID-3 repetitions (PID-3.5), best first; then the first that has an id.
    pub prefer: Vec<String>,
    /// Fields that are tried when PID-3 is empty; what stands there must look like an id.
    pub fallback: Vec<Path>,
    pub point_of_care: Option<Path>,
    pub room: Option<Path>,
    pub bed: Option<Path>,
    /// Where adult, pediatric, neonatal is said (A, P, N).
    pub class: Option<Path>,
    /// Identity lives in the connection: messages without PID and PV1 belong to the last that had them.
    pub per_connection: bool,
    pub devices: Vec<DeviceSource>,
}

/// What OBX-11 = X means beside a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XMeans {
    /// The number does not hold.
    Invalid,
    /// The number holds, with a mark.
    #[default]
    Flagged,
}

/// A technical alarm that says which parameters are not measured.
#[derive(Debug, Clone)]
pub struct Technical {
    /// OBX-5.1 of the row; empty: any.
    pub code: String,
    /// Contained in the text, without regard to case; empty: any.
    pub text: String,
    pub parameters: ParamSet,
}

/// One dialect.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: &'static str,
    pub title: String,
    pub certainty: String,
    pub origin: String,
    /// Senders of this dialect are bedside monitors: an ORU^R01 is vitals even if no row of it is known.
    pub monitor: bool,
    /// Sum of weights that is needed to be chosen.
    pub least: u32,
    pub features: Vec<choose::Feature>,
    /// Codes of system MDIL are `pppp-tttt`: partition * 65536 + term is the MDC number.
    pub mdil_arithmetic: bool,
    /// The system of codes that are sent without one.
    pub bare_system: System,
    pub control_id: ControlId,
    pub identity: Identity,
    /// OBR fields with the time of the observations, best first.
    pub obr_time: Vec<usize>,
    /// Numbers that mean "no measurement".
    pub sentinels: Vec<f64>,
    pub x_with_number: XMeans,
    /// A unit is always sent: a row without one is refused.
    pub unit_always: bool,
    /// OBX-6 is wrong by design: the rows' own units count.
    pub unit_ignored: bool,
    /// Values come from a clinical system, not from a monitor. Counts only where the site names the dialect for a listener or a
    /// sender: of itself everybody can say so.
    pub charted: bool,
    /// Some rows are scaled integers.
    pub scales: bool,
    /// Codes that many labels share: the label decides.
    pub label_codes: Vec<String>,
    pub places: Vec<Moved>,
    /// This table's waveforms, then those of the tables that it includes.
    pub waves: Vec<Wave>,
    pub own_waves: usize,
    /// Values of MSH-11.1 that make the whole message test data.
    pub test_processing: Vec<String>,
    /// The order of segments that this dialect keeps; empty: any. From the last back to the one before is a new group.
    pub order: Vec<[u8; 3]>,
    /// Kinds that are told by MSH-10.
    pub kinds: Vec<KindRow>,
    /// OBX-4 = 0 of an alarm's row says that it is over.
    pub alarm_state_in_obx4: bool,
    /// Words in OBR-4 that mark a group as laboratory.
    pub laboratory: Vec<String>,
    pub technical: Vec<Technical>,
    /// One of these (lower case) must stand in a technical alarm's text for it to mean "not measured"; empty: all mean that.
    pub technical_words: Vec<String>,
    pub rows: Vec<Row>,
    /// By system and code (upper case), this table's rows before those it includes.
    codes: FxHashMap<(System, String), RowRef>,
    /// By system and label (lower case).
    labels: FxHashMap<(System, String), RowRef>,
}

impl Table {
    /// The row of a code.
    pub fn by_code(&self, system: System, code: &str) -> Option<RowRef> {
        self.codes.get(&(system, code.to_ascii_uppercase())).copied()
    }
    /// The row of a label.
    pub fn by_label(&self, system: System, label: &str) -> Option<RowRef> {
        self.labels.get(&(system, label.to_lowercase())).copied()
    }
}

impl RowRef {
    /// The n-th of a table's places, its technical alarms, its kinds: rows outside of `codes`, for who counts hits.
    pub fn place(table: u16, n: usize) -> RowRef {
        RowRef { table, row: 5000 + n as u16 }
    }
    pub fn technical(table: u16, n: usize) -> RowRef {
        RowRef { table, row: 6000 + n as u16 }
    }
    pub fn kind(table: u16, n: usize) -> RowRef {
        RowRef { table, row: 7000 + n as u16 }
    }
    pub fn wave(table: u16, n: usize) -> RowRef {
        RowRef { table, row: 8000 + n as u16 }
    }
}

/// Why a table is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("{file}: {message}")]
    Syntax { file: String, message: String },
    #[error("{file}: row {row}: {message}")]
    Row { file: String, row: usize, message: String },
    #[error("{file}: {message}")]
    Table { file: String, message: String },
}

/// All dialects, in the order in which ties are decided.
#[derive(Debug, Clone)]
pub struct Tables {
    tables: Vec<Table>,
    generic: u16,
    /// Table and place of every feature about MSH-10.
    of_control_id: Vec<(u16, u16)>,
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// The embedded tables: file name and text. Ties between them go to the one that stands first.
        pub const EMBEDDED: &[(&str, &str)] =
            &[$((concat!($name, ".toml"), include_str!(concat!("../../models/dialects/", $name, ".toml"))),)*];
    };
}

embedded!(
    "mindray_umec",
    "mindray_pds",
    "philips_efficia",
    "philips_suresigns",
    "philips_mdil",
    "mindray_vs",
    "mindray_egateway",
    "nihon_kohden",
    "ge_b_series",
    "ge_carescape",
    "ge_mural",
    "draeger",
    "masimo_psn",
    "comen",
    "edan_ehc",
    "xh80x",
    "tr8",
    "welch_allyn",
    "metavision",
    "simhospital",
    "ihe_pcd01",
    "refid_only",
    "loinc",
    "generic",
);

impl Tables {
    /// The tables that the binary carries, read once.
    pub fn embedded() -> Arc<Tables> {
        static TABLES: LazyLock<Arc<Tables>> =
            LazyLock::new(|| Arc::new(Tables::load(EMBEDDED.iter().copied()).expect("a test loads every embedded table")));
        Arc::clone(&TABLES)
    }

    /// The embedded tables with a site's own files: a file of the same name replaces one, another is tried before them.
    pub fn with_site<'t>(site: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Tables, TableError> {
        let mut own: Vec<(&str, &str)> = site.into_iter().collect();
        for (file, text) in EMBEDDED {
            if !own.iter().any(|(name, _)| name == file) {
                own.push((file, text));
            }
        }
        Tables::load(own)
    }

    /// Reads and checks tables (file name, text), in the order in which ties are decided.
    pub fn load<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Tables, TableError> {
        let mut tables: Vec<Table> = Vec::new();
        let mut includes = Vec::new();
        for (file, text) in files {
            let (table, include) = raw::read(file, text)?;
            if tables.len() == TABLES_MAX {
                return Err(TableError::Table { file: file.into(), message: format!("more than {TABLES_MAX} tables") });
            }
            if tables.iter().any(|other| other.name == table.name) {
                return Err(TableError::Table { file: file.into(), message: format!("a second table `{}`", table.name) });
            }
            tables.push(table);
            includes.push((file, include));
        }
        for (at, (file, names)) in includes.iter().enumerate() {
            index(&mut tables, at, file, names)?;
        }
        let generic = tables.iter().position(|table| table.name == "generic").ok_or(TableError::Table {
            file: "generic.toml".into(),
            message: "missing: it stands in where no dialect is recognised".into(),
        })?;
        let mut of_control_id = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            let features = table.features.iter().enumerate().filter(|(_, feature)| feature.of_control_id());
            of_control_id.extend(features.map(|(n, _)| (at as u16, n as u16)));
        }
        Ok(Tables { generic: generic as u16, tables, of_control_id })
    }

    /// Number of the table of a name.
    pub fn position(&self, name: &str) -> Option<u16> {
        self.tables.iter().position(|table| table.name == name).map(|at| at as u16)
    }
    /// Table by number; the fallback where there is none.
    pub fn table(&self, at: u16) -> &Table {
        self.tables.get(at as usize).unwrap_or(&self.tables[self.generic as usize])
    }
    pub fn row(&self, at: RowRef) -> &Row {
        &self.tables[at.table as usize].rows[at.row as usize]
    }
    /// The fallback.
    pub fn generic(&self) -> u16 {
        self.generic
    }
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }
    /// How well every table fits a message's header, best first.
    pub fn choose(&self, message: &Message<'_>) -> Vec<Choice> {
        choose::all(self, &Firsts::of(message))
    }
    /// What the tables ask of MSH-10, answered: one byte a feature.
    pub(super) fn control_id_features<'a>(
        &'a self,
        control_id: super::Field<'a>,
        firsts: &'a Firsts<'_>,
    ) -> impl Iterator<Item = u8> + 'a {
        let feature = |at: &(u16, u16)| &self.tables[at.0 as usize].features[at.1 as usize];
        self.of_control_id.iter().map(move |at| u8::from(feature(at).holds_of(control_id, firsts)))
    }
    /// The table that fits best, if one fits.
    pub(super) fn best(&self, firsts: &Firsts<'_>) -> Option<u16> {
        choose::best(self, firsts)
    }
}

/// Builds the look-ups of table `at`: its own rows first, then those of the tables it includes.
fn index(tables: &mut [Table], at: usize, file: &str, includes: &[String]) -> Result<(), TableError> {
    let refuse = |row: usize, message: String| TableError::Row { file: file.into(), row: row + 1, message };
    let mut codes = FxHashMap::default();
    let mut labels: FxHashMap<(System, String), RowRef> = FxHashMap::default();
    for (number, row) in tables[at].rows.iter().enumerate() {
        let here = RowRef { table: at as u16, row: number as u16 };
        if !row.code.is_empty() && codes.insert((row.system, row.code.to_ascii_uppercase()), here).is_some() {
            return Err(refuse(number, format!("code `{}` stands twice", row.code)));
        }
        for label in &row.labels {
            let key = (row.system, label.to_lowercase());
            match labels.get(&key) {
                Some(other) if tables[at].rows[other.row as usize].meaning != row.meaning => {
                    return Err(refuse(number, format!("label `{label}` means two things (see row {})", other.row + 1)));
                }
                Some(_) => {}
                None => {
                    labels.insert(key, here);
                }
            }
        }
    }
    let (mut laboratory, mut waves) = (Vec::new(), Vec::new());
    for name in includes {
        let Some(from) = tables.iter().position(|table| table.name == name && table.name != tables[at].name) else {
            return Err(TableError::Table { file: file.into(), message: format!("includes `{name}`, which is no other table") });
        };
        for (number, row) in tables[from].rows.iter().enumerate() {
            let there = RowRef { table: from as u16, row: number as u16 };
            if !row.code.is_empty() {
                codes.entry((row.system, row.code.to_ascii_uppercase())).or_insert(there);
            }
            for label in &row.labels {
                labels.entry((row.system, label.to_lowercase())).or_insert(there);
            }
        }
        laboratory.extend(tables[from].laboratory.iter().cloned());
        waves.extend(tables[from].waves.iter().cloned());
    }
    let table = &mut tables[at];
    table.waves.extend(waves);
    table.laboratory.extend(laboratory);
    table.codes = codes;
    table.labels = labels;
    Ok(())
}

/// FNV-1a, 32 bits: the hash of channels, units and structures. Stable for ever, never 0.
pub fn hash32(parts: &[&[u8]]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for part in parts {
        for byte in *part {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash.max(1)
}

/// Whether a text contains a lower-case word, without regard to case.
pub fn contains_word(text: &str, word: &str) -> bool {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let Some(first) = word.first() else { return false };
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text)
        .any(|at| text[at..].get(..word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word)))
}

/// The MDC number of an MDIL code (`0002-4182` = 147842); `None` for private terms and partitions.
pub fn mdil_number(code: &str) -> Option<u32> {
    let (partition, term) = code.split_once('-')?;
    let hex = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(partition) || !hex(term) {
        return None;
    }
    let partition = u32::from_str_radix(partition, 16).ok()?;
    let term = u32::from_str_radix(term, 16).ok()?;
    (term < 0xf000 && partition < 0x0100).then_some(partition * 65536 + term)
}

/// A unit of a table.
fn fixed_unit(text: &str) -> Option<Dimension> {
    unit::one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_table_loads() {
        if let Err(error) = Tables::load(EMBEDDED.iter().copied()) {
            panic!("{error}");
        }
    }

    #[test]
    fn every_file_in_the_folder_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/dialects");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is part of the project")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".toml"))
            .collect();
        files.sort();
        let mut embedded: Vec<String> = EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect();
        embedded.sort();
        assert_eq!(files, embedded);
    }

    #[test]
    fn mdil_is_arithmetic() {
        for (code, number) in [
            ("0002-4182", 147_842),
            ("0002-4bb8", 150_456),
            ("0002-4a05", 150_021),
            ("0002-5000", 151_552),
            ("0002-500a", 151_562),
            ("0002-480a", 149_514),
            ("0002-4822", 149_538),
            ("0002-4a15", 150_037),
            ("0002-4261", 148_065),
            ("0002-4b60", 150_368),
            ("0002-50b0", 151_728),
            ("0004-0f20", 266_016),
        ] {
            assert_eq!(mdil_number(code), Some(number), "{code}");
        }
        for private in ["0002-f0c7", "0402-f8f5", "0401-0b54", "2-4182", "", "0002-zzzz", "0002-+182"] {
            assert_eq!(mdil_number(private), None, "{private}");
        }
    }

    fn refused(rows: &str) -> String {
        let text = format!("name = \"generic\"\ntitle = \"t\"\ncertainty = \"low\"\norigin = \"o\"\n{rows}");
        Tables::load([("generic.toml", text.as_str())]).expect_err("refused").to_string()
    }

    #[test]
    fn a_wrong_table_is_refused_with_file_and_row() {
        let twice = "codes = [{ system = \"MDC\", code = \"1\", parameter = \"hr\" }, { system = \"MDC\", code = \"1\", parameter = \"pr\" }]";
        assert_eq!(refused(twice), "generic.toml: row 2: code `1` stands twice");
        assert_eq!(refused("codes = [{ code = \"1\", parameter = \"heart\" }]"), "generic.toml: row 1: no parameter `heart`");
        assert_eq!(
            refused("codes = [{ code = \"1\", parameter = \"hr\", unit = \"mmHg\" }]"),
            "generic.toml: row 1: hr cannot be written in `mmHg`"
        );
        assert!(refused("colour = 1").contains("unknown field `colour`"));
        assert_eq!(
            refused("codes = [{ labels = [\"A\"], parameter = \"hr\" }, { labels = [\"a\"], parameter = \"pr\" }]"),
            "generic.toml: row 2: label `a` means two things (see row 1)"
        );
        assert_eq!(refused("includes = [\"nobody\"]"), "generic.toml: includes `nobody`, which is no other table");
        assert_eq!(refused("match = [{ field = \"MSH3\", is = [\"A\"] }]"), "generic.toml: `MSH3` is no field (write `PV1-3.1`)");
    }
}
