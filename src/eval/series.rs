//! The same runs as tables of values: what other detectors are given.
//!
//! Values are taken from the messages, read by the same decoder: invalid ones and sentinels are missing, nothing else is lost.

use super::render::Wire;
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch};
use crate::observation::{Report, Source};
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use std::collections::BTreeMap;

/// Values by time; a column for each parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub columns: Vec<Parameter>,
    /// Seconds, and a value for each column where there is one.
    pub rows: Vec<(f64, Vec<Option<f64>>)>,
}

/// Reads messages; seconds count from `zero`.
pub fn table<'a>(wires: impl Iterator<Item = &'a Wire>, zero: Timestamp) -> Table {
    let mut decoder = Decoder::new("UTC", Tables::embedded()).expect("UTC is a zone of every database");
    let (mut scratch, mut report, profile) = (Scratch::default(), Report::default(), Profile::default());
    let source = Source { feed: "feed0".into(), connection: 1, ward: "bench".into(), ..Source::default() };
    let mut set = ParamSet::EMPTY;
    let mut channels: BTreeMap<Parameter, u32> = BTreeMap::new();
    let mut list: Vec<(f64, Vec<(Parameter, f64)>)> = Vec::new();
    for wire in wires {
        let Ok(message) = Message::read(&wire.bytes, &mut scratch) else { continue };
        decoder.decode(&message, &source, wire.received_at, &mut report);
        let good = report
            .observations
            .iter()
            .filter(|o| o.validity.usable() && o.value.is_finite() && !profile.is_sentinel(o.parameter, o.value));
        let mut values: Vec<(Parameter, f64)> = Vec::new();
        for o in good {
            // Of a parameter that comes twice the channel that was heard first.
            let channel = *channels.entry(o.parameter).or_insert(o.channel);
            if channel == o.channel {
                set = set.with(o.parameter);
                values.push((o.parameter, o.value));
            }
        }
        list.push((wire.received_at.since_s(zero), values));
    }
    let columns: Vec<Parameter> = set.iter().collect();
    let rows = list
        .into_iter()
        .map(|(t, values)| {
            let value = |p: &Parameter| values.iter().find(|(of, _)| of == p).map(|(_, v)| *v);
            (t, columns.iter().map(value).collect())
        })
        .collect();
    Table { columns, rows }
}

impl Table {
    /// `t_s` and a column for each parameter; an empty cell is missing.
    pub fn to_csv(&self) -> String {
        use std::fmt::Write as _;
        let mut text = "t_s".to_owned();
        for p in &self.columns {
            text.push(',');
            text.push_str(p.key());
        }
        text.push('\n');
        for (t, values) in &self.rows {
            let _ = write!(text, "{t:.1}");
            for value in values {
                text.push(',');
                if let Some(v) = value {
                    let _ = write!(text, "{v}");
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::recording::Recording;
    use crate::eval::render::{Bed, Encoding, render};

    #[test]
    fn every_parameter_of_a_recording_has_its_column_and_marks_are_missing() {
        let zero = Timestamp::from_ms(1_790_000_000_000);
        let text = "t_s,param,value,unit\n0,PR,60,bpm\n0,SpO2,97,%\n1,PR,0,bpm\n1,SpO2,96,%\n";
        let recording = Recording::from_csv("set", "one", "set:one", text).unwrap();
        for encoding in Encoding::ALL {
            let wires = render(&recording, &Bed { encoding, ..Bed::of("set", 7, zero) });
            let table = table(wires.iter(), zero);
            assert_eq!(table.columns, [Parameter::Pr, Parameter::Spo2], "{encoding:?}");
            let values: Vec<_> = table.rows.iter().map(|(_, values)| values.clone()).collect();
            assert_eq!(values, [vec![Some(60.0), Some(97.0)], vec![None, Some(96.0)]], "{encoding:?}");
        }
    }
}
