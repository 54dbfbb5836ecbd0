//! One row for people and one for machines.

use crate::hl7::Message;
use crate::hl7::show::{self, Row};
use crate::observation::{RejectReason, Report};
use serde_json::{Map, Value, json};

/// Longest code that is shown, characters.
const CODE_CHARS_MAX: usize = 60;

/// A reason in words, and the field of the OBX that decided.
pub(super) fn reason(reason: RejectReason) -> (&'static str, usize) {
    match reason {
        RejectReason::UnknownCode => ("no table knows the code", 3),
        RejectReason::UnknownSystem => ("no table speaks of the coding system", 3),
        RejectReason::Unused => ("known, and none of our parameters", 3),
        RejectReason::CodeConflict => ("number and name, or code and alternate code, mean different things", 3),
        RejectReason::AmbiguousChannel => ("the same code twice with nothing to tell the rows apart", 4),
        RejectReason::ValueNotNumeric => ("the value is not a number", 5),
        RejectReason::UnitInvalid => ("not a unit that this parameter can have", 6),
        RejectReason::Structure => ("containment or attribute of the device: no value is meant", 3),
        RejectReason::Waveform => ("waveform samples", 2),
        RejectReason::NotNumeric => ("text, coded or encapsulated data", 2),
        RejectReason::AlarmRow => ("part of a bedside alarm", 3),
        RejectReason::Setting => ("a setting, not a measurement", 13),
        RejectReason::Demographic => ("in a message about a patient, not about values", 3),
        RejectReason::NotObserved => ("in a message, or a group, whose rows are not observed", 3),
        RejectReason::ScaleUnknown => ("a scaled integer whose scale is unclear", 7),
        RejectReason::Malformed => ("the row lacks what an OBX needs", 3),
    }
}

/// OBX-3 as sent, for a screen.
pub(super) fn code(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(CODE_CHARS_MAX).collect()
}

/// A row in a line: the place of what decided, and what became of it.
pub(super) fn line(row: Row<'_>, message: &Message<'_>) -> String {
    let number = row.ordinal() + 1;
    match row {
        Row::Observation(o) => {
            let marks = show::flag_names(o.flags);
            format!(
                "{:<12} {:<12} {:>10} {:<10} {} {}{}",
                format!("OBX[{number}]-5"),
                o.parameter.key(),
                show::number(o.value).as_f64().map_or("-".to_owned(), |value| value.to_string()),
                o.parameter.unit().ucum(),
                o.effective_at,
                o.validity.as_str(),
                if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) },
            )
        }
        Row::Reject(reject) => {
            let (words, field) = reason(reject.reason);
            format!(
                "{:<12} {:<12} reject: {} ({words}): {}",
                format!("OBX[{number}]-{field}"),
                reject.parameter.map_or("-", |parameter| parameter.key()),
                reject.reason.as_str(),
                code(reject.code.of(message.text())),
            )
        }
    }
}

/// A row as an object: what [`show::row_object`] says, with `file` and `dialect`, `marks` where there are any, and the `code` of
/// what was rejected.
pub(super) fn object(row: Row<'_>, file: &str, number: usize, report: &Report, message: &Message<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("file".into(), json!(file));
    let mut rest = show::row_object(row, number);
    object.insert("message".into(), rest.shift_remove("message").unwrap_or_default());
    object.insert("dialect".into(), json!(report.dialect));
    object.append(&mut rest);
    match row {
        Row::Observation(observation) => {
            let marks = show::flag_names(observation.flags);
            if !marks.is_empty() {
                object.insert("marks".into(), json!(marks));
            }
        }
        Row::Reject(reject) => {
            object.insert("code".into(), json!(code(reject.code.of(message.text()))));
        }
    }
    object
}
