//! A bedside monitor's own alarms: IHE alarm reports (PCD-04, ORU^R40), alarm rows among numerics, marks in OBX-8.
//!
//! Rows of one OBR (or from one event row to the next that follows attribute rows) speak of one alarm: event, source, phase,
//! state, inactivation, priority, type. Attribute rows are known by their reference id only, because three senders number
//! them in three ways. What a sender does not say stays unknown; its priority is never re-labelled.

use super::super::dialect::{Role, RowAlarm, Table, contains_word, hash32};
use super::super::{Field, dialect::System};
use super::codes::{Code, Memory, Outcome};
use super::rows::Obx;
use crate::observation::{Alarm, AlarmKind, AlarmPhase, AlarmPriority, ObsFlags, Observation};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};

/// Alarms taken from one message at most; further rows are still rejects.
pub const ALARMS_MAX: usize = 256;

/// What the rows of one alarm have said so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Group {
    /// The alarms of the report from here on are this group's.
    from: usize,
    /// Attribute rows were seen: the next event row begins a new group.
    attributed: bool,
    source: Option<Parameter>,
    /// Two different parameters stand in it.
    several: bool,
    source_hash: u32,
    phase: Option<AlarmPhase>,
    /// The condition is over, whatever the phase says.
    over: bool,
    kind: AlarmKind,
    priority: Option<AlarmPriority>,
    inactivated: Option<bool>,
}

impl Group {
    /// An empty group behind the alarms that there are.
    pub fn begin(from: usize) -> Group {
        Group { from, ..Group::default() }
    }

    /// Whether an event row that comes now belongs to another alarm.
    pub fn is_full(&self) -> bool {
        self.attributed
    }

    /// The row that says what the alarm is about: a number of a parameter, or a code of one.
    pub fn source(&mut self, parameter: Option<Parameter>, hash: u32) {
        if self.source_hash == 0 {
            self.source_hash = hash;
        }
        let Some(parameter) = parameter else { return };
        self.several |= self.source.is_some_and(|known| known != parameter);
        self.source.get_or_insert(parameter);
    }

    /// A row about the alarm (OBX-5 in the words of the IHE alarm profile).
    pub fn attribute(&mut self, role: Role, value: Field<'_>) {
        self.attributed = true;
        let word = value.component(1).trimmed();
        match role {
            Role::AlarmPhase => self.phase = phase(word).or(self.phase),
            // Latched: the condition is over, only its signal stays until someone confirms it.
            Role::AlarmState => self.over = is(word, &["inactive", "latched"]),
            Role::AlarmInactivation => self.inactivated = inactivated(word).or(self.inactivated),
            Role::AlarmPriority => self.priority = priority(word).or(self.priority),
            Role::AlarmType => {
                if let Some(kind) = kind(word) {
                    self.kind = kind;
                }
            }
            _ => {}
        }
    }

    /// Gives the group's alarms what the rows around them said.
    pub fn end(self, alarms: &mut [Alarm]) {
        for alarm in alarms.iter_mut().skip(self.from) {
            if !self.several && alarm.parameter.is_none() {
                alarm.parameter = self.source;
            }
            if let Some(phase) = self.phase {
                alarm.phase = phase;
            }
            if self.over {
                alarm.phase = AlarmPhase::End;
            }
            if self.kind != AlarmKind::Unknown {
                alarm.kind = self.kind;
            }
            if let Some(priority) = self.priority {
                alarm.priority = priority;
            }
            alarm.inactivated = self.inactivated.unwrap_or(alarm.inactivated);
            if self.source_hash != 0 {
                alarm.key = hash32(&[&alarm.key.to_le_bytes(), &self.source_hash.to_le_bytes()]);
            }
        }
    }
}

fn is(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

fn phase(word: &[u8]) -> Option<AlarmPhase> {
    if is(word, &["start", "present", "tpoint"]) {
        Some(AlarmPhase::Start)
    } else if is(word, &["continue", "update", "escalate", "de-escalate", "reset"]) {
        Some(AlarmPhase::Continue)
    } else if is(word, &["end", "stop"]) {
        Some(AlarmPhase::End)
    } else {
        None
    }
}

/// `enabled`; `audio-paused`, `alarm-off`, `alert-acknowledged`.
fn inactivated(word: &[u8]) -> Option<bool> {
    let word = std::str::from_utf8(word).unwrap_or_default();
    let off = ["paus", "off", "acknowledg", "silenc", "disabled", "inactivated"];
    if word.eq_ignore_ascii_case("enabled") {
        Some(false)
    } else {
        off.iter().any(|part| contains_word(word, part)).then_some(true)
    }
}

fn priority(word: &[u8]) -> Option<AlarmPriority> {
    match word {
        b"PH" => Some(AlarmPriority::High),
        b"PM" => Some(AlarmPriority::Medium),
        b"PL" => Some(AlarmPriority::Low),
        b"PN" | b"PI" => Some(AlarmPriority::None),
        _ => None,
    }
}

fn kind(word: &[u8]) -> Option<AlarmKind> {
    match word {
        b"SP" => Some(AlarmKind::Physiological),
        b"ST" => Some(AlarmKind::Technical),
        b"SA" => Some(AlarmKind::Advisory),
        _ => None,
    }
}

/// Alarm priority and type among the repetitions of OBX-8 (`PH~ST~H`, `L~SP`).
pub fn marks(field: Field<'_>) -> (AlarmPriority, AlarmKind) {
    let mut found = (AlarmPriority::Unknown, AlarmKind::Unknown);
    if field.raw().is_empty() {
        return found;
    }
    for repetition in field.repetitions().take(16) {
        let word = repetition.component(1).trimmed();
        found.0 = priority(word).unwrap_or(found.0);
        found.1 = kind(word).unwrap_or(found.1);
    }
    found
}

/// What a row is read with.
pub struct Reading<'t> {
    pub table: &'t Table,
    pub code: Code,
    /// What the table says of the row's code.
    pub row: RowAlarm,
    /// What it says of the message's kind.
    pub kind: AlarmKind,
    pub at: Timestamp,
}

/// An event row. Its source is read from its text (`**SpO2 TOO HIGH`) where a label of the table is that text's first word.
pub fn event(obx: &Obx<'_>, reading: &Reading<'_>, parameter: Option<Parameter>) -> Alarm {
    let (priority, kind) = marks(obx.field(8));
    let first = |a: AlarmKind, b: AlarmKind| if a == AlarmKind::Unknown { b } else { a };
    let urgent = |a: AlarmPriority, b: AlarmPriority| if a == AlarmPriority::Unknown { b } else { a };
    let technical = if reading.code.outcome == Outcome::Role(Role::Inop) { AlarmKind::Technical } else { AlarmKind::Unknown };
    Alarm {
        parameter,
        ordinal: obx.ordinal,
        effective_at: reading.at,
        phase: if reading.table.alarm_state_in_obx4 && obx.field(4).trimmed() == b"0" {
            AlarmPhase::End
        } else {
            AlarmPhase::Start
        },
        kind: [reading.row.kind, reading.kind, technical].into_iter().fold(kind, first),
        priority: [reading.row.priority, stars(text_of(obx.field(5)).trimmed())].into_iter().fold(priority, urgent),
        inactivated: false,
        key: key(obx, reading.code.hash),
    }
}

/// The alarm that a value's own OBX-8 speaks of (ALACT, or a priority), silenced where it says ALINH too.
pub fn of_value(observation: &Observation, obx: &Obx<'_>, code: u32) -> Alarm {
    let (priority, kind) = marks(obx.field(8));
    Alarm {
        parameter: Some(observation.parameter),
        ordinal: obx.ordinal,
        effective_at: observation.effective_at,
        phase: AlarmPhase::Start,
        kind: if kind == AlarmKind::Unknown { AlarmKind::Physiological } else { kind },
        priority,
        inactivated: observation.flags.has(ObsFlags::ALARM_INHIBITED),
        key: hash32(&[b"value", &code.to_le_bytes(), &observation.channel.to_le_bytes()]),
    }
}

/// The stars that bedside monitors write before an alarm's text: `***` high, `**` medium, `*` low.
fn stars(text: &[u8]) -> AlarmPriority {
    match text.iter().take_while(|byte| **byte == b'*').count() {
        1 => AlarmPriority::Low,
        2 => AlarmPriority::Medium,
        3 => AlarmPriority::High,
        _ => AlarmPriority::Unknown,
    }
}

/// Tells alarms apart: the event's code, and where that is only a level, the code or the words in OBX-5 (not the numbers in
/// them, which change while the alarm goes on).
fn key(obx: &Obx<'_>, code: u32) -> u32 {
    let value = obx.field(5);
    let told = value.component(1).trimmed();
    if !value.component(2).is_empty() {
        return hash32(&[&code.to_le_bytes(), told]);
    }
    let mut hash = code;
    for word in told.split(|byte| *byte == b' ').filter(|word| word.iter().any(|byte| !b"0123456789.,-+<>=%".contains(byte))) {
        hash = hash32(&[&hash.to_le_bytes(), word]);
    }
    hash
}

/// What an alarm says of sensors: the parameters that are not measured, by the table's lists.
pub fn not_measured(table: &Table, value: Field<'_>) -> ParamSet {
    let text = text_of(value).str();
    // Only what says that a sensor does not measure; with some senders every alarm of this sort says so.
    if !table.technical_words.is_empty() && !table.technical_words.iter().any(|word| contains_word(text, word)) {
        return ParamSet::EMPTY;
    }
    let code = value.component(1).str();
    let mut parameters = ParamSet::EMPTY;
    for row in &table.technical {
        let by_code = row.code.is_empty() || row.code == code;
        if by_code && (row.text.is_empty() || contains_word(text, &row.text)) {
            parameters = parameters.union(row.parameters);
        }
    }
    parameters
}

/// The words of an alarm: `id^text`, or the text alone.
fn text_of(value: Field<'_>) -> Field<'_> {
    if value.component(2).is_empty() { value.component(1) } else { value.component(2) }
}

/// The parameter that an alarm's text begins with, where a label of the table is that word.
pub fn named_in_text(table: &Table, obx: &Obx<'_>) -> Option<super::super::dialect::RowRef> {
    let text = text_of(obx.field(5)).str();
    let word = text.trim_start_matches(['*', ' ', '!']).split([' ', ',', ':']).next().unwrap_or_default();
    if word.is_empty() || word.len() > 32 {
        return None;
    }
    let system = System::named(obx.field(3).component(3).str());
    let systems = [if system == System::MdilAlert { System::Mdil } else { system }, System::Bare];
    systems.into_iter().find_map(|system| table.by_label(system, word))
}

/// The parameter that an OBX-5 names by a code (`150456^MDC_PULS_OXIM_SAT_O2^MDC`); its hash where it is one at all.
pub fn named_in_value(
    memory: &mut Memory,
    tables: &super::super::dialect::Tables,
    chosen: u16,
    value: Field<'_>,
) -> Option<(Option<Parameter>, u32)> {
    if !value.component(2).str().starts_with("MDC") || value.raw().len() > 128 {
        return None;
    }
    let code = memory.code(tables, chosen, value);
    match code.outcome {
        Outcome::Parameter { parameter, .. } => Some((Some(parameter), code.hash)),
        _ => Some((None, code.hash)),
    }
}
