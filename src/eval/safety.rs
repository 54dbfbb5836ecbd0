//! Patients who really get worse, and the records that look like an attack and are none: found or named here, judged elsewhere.

use super::recording::{Cell, Recording};
use crate::vital::Parameter;

/// A stretch of real deterioration, seconds after the record's zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    pub what: What,
    pub start_s: f64,
    pub end_s: f64,
}

/// What is looked for. Definitions as in the statistics of the development recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// SpO2 below 85 % for 15 s.
    Hypoxia,
    /// No breath and no CO2 for 30 s.
    Apnoea,
    /// Pulse or heart rate below 40 for 10 s.
    Bradycardia,
    /// Mean arterial pressure below 60 mmHg for 5 min.
    Hypotension,
}

impl What {
    pub const ALL: [What; 4] = [What::Hypoxia, What::Apnoea, What::Bradycardia, What::Hypotension];
    pub const fn as_str(self) -> &'static str {
        match self {
            What::Hypoxia => "SpO2 below 85 % for 15 s",
            What::Apnoea => "no breath and no CO2 for 30 s",
            What::Bradycardia => "heart or pulse rate below 40 for 10 s",
            What::Hypotension => "mean arterial pressure below 60 mmHg for 5 min",
        }
    }
    /// Whether a cell belongs to it; `None`: another parameter. A 0 is no rate, no saturation and no pressure.
    fn holds(self, parameter: Parameter, value: f64) -> Option<bool> {
        Some(match (self, parameter) {
            (What::Hypoxia, Parameter::Spo2) => value > 0.0 && value < 85.0,
            (What::Apnoea, Parameter::Awrr | Parameter::Etco2) => value == 0.0,
            (What::Bradycardia, Parameter::Pr | Parameter::Hr) => value > 0.0 && value < 40.0,
            (What::Hypotension, Parameter::AbpMean) => value > 10.0 && value < 60.0,
            _ => return None,
        })
    }
    const fn needed_s(self) -> f64 {
        match self {
            What::Hypoxia => 15.0,
            What::Apnoea => 30.0,
            What::Bradycardia => 10.0,
            What::Hypotension => 300.0,
        }
    }
}

/// The parameters that show it.
pub fn shown_by(what: What, parameter: Parameter) -> bool {
    what.holds(parameter, 1.0).is_some()
}

/// Every segment of a record, by kind and time. Pauses within a segment of up to three intervals (at least 5 s) do not end it.
pub fn segments(recording: &Recording) -> Vec<Segment> {
    let mut list = Vec::new();
    for what in What::ALL {
        let columns: Vec<bool> = recording.columns.iter().map(|c| c.channel == 0 && shown_by(what, c.parameter)).collect();
        let needed = if what == What::Apnoea { 2 } else { 1 };
        if columns.iter().filter(|c| **c).count() < needed {
            continue;
        }
        // Of an apnoea both must say so; of the others any.
        let mut state = vec![false; columns.len()];
        let mut open: Option<(f64, f64)> = None;
        let pause_s = (3.0 * recording.interval_s).max(5.0);
        let close = |open: &mut Option<(f64, f64)>, list: &mut Vec<Segment>| {
            if let Some((start_s, end_s)) = open.take()
                && end_s - start_s + recording.interval_s.min(60.0) >= what.needed_s()
            {
                list.push(Segment { what, start_s, end_s });
            }
        };
        let mut at = 0;
        while at < recording.rows.len() {
            let at_ms = recording.rows[at].at_ms;
            let mut seen = false;
            while let Some(row) = recording.rows.get(at).filter(|r| r.at_ms == at_ms) {
                let column = usize::from(row.column);
                if columns[column] {
                    seen = true;
                    let parameter = recording.columns[column].parameter;
                    state[column] = matches!(row.cell, Cell::Number(v) if what.holds(parameter, v) == Some(true));
                }
                at += 1;
            }
            let now = at_ms as f64 / 1000.0;
            let holding = state.iter().filter(|s| **s).count() >= needed;
            if let Some((_, end)) = open
                && now - end > pause_s
            {
                close(&mut open, &mut list);
            }
            if seen && holding {
                open = Some((open.map_or(now, |(start, _)| start), now));
            } else if seen {
                close(&mut open, &mut list);
            }
        }
        close(&mut open, &mut list);
    }
    list
}

/// A place of a record where nothing may be called tampering.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    pub what: &'static str,
    pub record: &'static str,
    /// `None`: anywhere.
    pub second: Option<f64>,
}

const fn control(what: &'static str, record: &'static str, second: f64) -> Control {
    Control { what, record, second: Some(second) }
}
const fn anywhere(what: &'static str, record: &'static str) -> Control {
    Control { what, record, second: None }
}

const CUFF: &str = "cuff on the oximeter arm, periodic";
const LOST: &str = "pulse lost, SpO2 held";
const PURGE: &str = "CO2 purge, then no breaths";
const RECOVERY: &str = "fast recovery of SpO2";
const LINE: &str = "line connected, flush, zeroing, partial triple";
const CHART: &str = "typing and unit slips in charts";

/// The places in the development recordings: oddities with a known cause. Names and seconds only.
pub const CONTROLS: &[Control] = &[
    control(CUFF, "E398", 470.0),
    control(CUFF, "E110", 134.0),
    control(CUFF, "E340", 938.0),
    control(CUFF, "E119", 565.0),
    control(LOST, "E110", 2976.0),
    control(LOST, "E273", 2453.0),
    control(LOST, "P107", 2580.0),
    control(LOST, "P107", 2848.0),
    control(LOST, "P061", 1140.0),
    anywhere("0 and values in turn", "P039"),
    anywhere("0 and values in turn", "P052"),
    anywhere("probe off for hours", "P006"),
    anywhere("probe off for hours", "P096"),
    control(PURGE, "E06", 888.0),
    control(PURGE, "E06", 3607.0),
    control(PURGE, "E08", 1245.0),
    control("true apnoea", "E164", 462.0),
    control("true apnoea", "E100", 2601.0),
    anywhere(RECOVERY, "100001"),
    anywhere(RECOVERY, "100004"),
    anywhere(RECOVERY, "100006"),
    control(RECOVERY, "E336", 268.0),
    control("values of a restart", "E17", 1553.0),
    control("values of a restart", "E221", 2099.0),
    control("paced or constant", "P063", 1036.0),
    control("paced or constant", "P069", 6532.0),
    control("paced or constant", "E391", 1046.0),
    anywhere("paced or constant", "p001785-2140-01-21-14-02"),
    control("SpO2 saturated", "E392", 54.0),
    control("SpO2 saturated", "E112", 6.0),
    control("SpO2 saturated", "E95", 580.0),
    control("gap in the recording", "E01", 4097.0),
    control("gap in the recording", "E197", 435.0),
    control("gap in the recording", "E247", 828.0),
    control("gap in the recording", "E160", 2713.0),
    anywhere("clock of minutes", "P085"),
    control(LINE, "p012586-2182-04-12-16-16", 769.0),
    control(LINE, "p010061-2107-01-20-12-33", 5276.0),
    control(LINE, "p011710-2178-07-08-19-26", 2082.0),
    anywhere(LINE, "p004462-2121-02-06-07-04"),
    control("sensor detaches slowly", "P039", 4760.0),
    anywhere("sensor detaches slowly", "P096"),
    anywhere(CHART, "137305"),
    anywhere(CHART, "141283"),
    anywhere(CHART, "142715"),
    anywhere(CHART, "10035631_29276678"),
    anywhere(CHART, "10039708_25133749"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rows: &[(u32, &str, f64)]) -> Recording {
        let mut text = "t_s,param,value,unit\n".to_owned();
        for (t, param, value) in rows {
            text.push_str(&format!("{t},{param},{value},\n"));
        }
        Recording::from_csv("set", "r", "p", &text).unwrap()
    }

    #[test]
    fn hypoxia_needs_fifteen_seconds_and_a_zero_is_none() {
        let of = |low: f64, n: u32| {
            let rows: Vec<_> = (0..100).map(|t| (t, "SPO2", if (20..20 + n).contains(&t) { low } else { 97.0 })).collect();
            segments(&record(&rows))
        };
        assert_eq!(of(84.0, 15), [Segment { what: What::Hypoxia, start_s: 20.0, end_s: 34.0 }]);
        assert!(of(84.0, 14).is_empty());
        assert!(of(85.0, 60).is_empty());
        assert!(of(0.0, 60).is_empty());
    }

    #[test]
    fn an_apnoea_needs_both_breaths_and_gas() {
        let of = |etco2: f64| {
            let rows: Vec<_> = (0..100)
                .flat_map(|t| {
                    let stop = (20..60).contains(&t);
                    [(t, "AWRR", if stop { 0.0 } else { 14.0 }), (t, "ETCO2", if stop { etco2 } else { 36.0 })]
                })
                .collect();
            segments(&record(&rows)).len()
        };
        assert_eq!((of(0.0), of(20.0)), (1, 0));
    }

    #[test]
    fn a_short_pause_does_not_end_a_segment() {
        let rows: Vec<_> = (0..60).filter(|t| !(30..33).contains(t)).map(|t| (t, "PR", 36.0)).collect();
        assert_eq!(segments(&record(&rows)).len(), 1);
    }
}
