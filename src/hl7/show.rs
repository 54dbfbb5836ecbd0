//! A [`Report`] row by row, for people and for tests: one entry for every OBX, in order, observation or reject.
//!
//! Only what is no identity: parameters, numbers, units, times, codes. PID, PV1 and texts of OBX-5 are never shown here.

use crate::observation::{ObsFlags, Observation, Reject, Report};
use serde_json::{Map, Value, json};

/// What became of one OBX.
#[derive(Debug, Clone, Copy)]
pub enum Row<'r> {
    Observation(&'r Observation),
    Reject(&'r Reject),
}

impl Row<'_> {
    /// Position of the OBX in its message, from 0.
    pub fn ordinal(&self) -> u16 {
        match self {
            Row::Observation(observation) => observation.ordinal,
            Row::Reject(reject) => reject.ordinal,
        }
    }
}

/// Observations and rejects, in the order of their OBX.
pub fn rows(report: &Report) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = report.observations.iter().map(Row::Observation).collect();
    rows.extend(report.rejects.iter().map(Row::Reject));
    rows.sort_by_key(Row::ordinal);
    rows
}

/// One row as an object: `message` and `obx` (from 1), then `parameter`, `value`, `unit` (UCUM), `effective_at`, `validity`; or
/// `reject` with `parameter` where one was recognised. Numbers are rounded to a millionth; no number is `null`.
pub fn row_object(row: Row<'_>, message: usize) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("message".into(), json!(message));
    object.insert("obx".into(), json!(row.ordinal() + 1));
    match row {
        Row::Observation(observation) => {
            object.insert("parameter".into(), json!(observation.parameter.key()));
            object.insert("value".into(), number(observation.value));
            object.insert("unit".into(), json!(observation.parameter.unit().ucum()));
            object.insert("effective_at".into(), json!(observation.effective_at.to_string()));
            object.insert("validity".into(), observation.validity.as_str().into());
        }
        Row::Reject(reject) => {
            if let Some(parameter) = reject.parameter {
                object.insert("parameter".into(), json!(parameter.key()));
            }
            object.insert("reject".into(), json!(reject.reason.as_str()));
        }
    }
    object
}

/// A value, rounded to a millionth; `null` where there is none.
pub fn number(value: f64) -> Value {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.is_finite() { json!(rounded) } else { Value::Null }
}

/// Marks of an observation, in words.
pub fn flag_names(flags: ObsFlags) -> Vec<&'static str> {
    const NAMES: &[(u32, &str)] = &[
        (ObsFlags::CODE_BY_REFID, "code_by_refid"),
        (ObsFlags::UNIT_CONFLICT, "unit_conflict"),
        (ObsFlags::UNIT_UNKNOWN, "unit_unknown"),
        (ObsFlags::UNIT_INVALID, "unit_invalid"),
        (ObsFlags::ZONE_ASSUMED, "zone_assumed"),
        (ObsFlags::TIME_INVALID, "time_invalid"),
        (ObsFlags::IN_ALARM, "in_alarm"),
        (ObsFlags::ALARM_INHIBITED, "alarm_inhibited"),
        (ObsFlags::CALIBRATION, "calibration"),
        (ObsFlags::EPISODIC, "episodic"),
        (ObsFlags::HELD, "held"),
        (ObsFlags::CORRECTION, "correction"),
        (ObsFlags::WITHDRAWN, "withdrawn"),
        (ObsFlags::STATUS_MISSING, "status_missing"),
        (ObsFlags::CHARTED, "charted"),
    ];
    NAMES.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| *name).collect()
}
