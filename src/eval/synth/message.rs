//! Readings as HL7: ORU^R01 after IHE PCD-01, MDC codes and units, containment in OBX-4, own times with offset in OBX-14.

use super::{Mark, Reading};
use crate::time::Timestamp;
use crate::vital::{Parameter, Sensor, Unit};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Who sends: all of it invented.
#[derive(Debug, Clone)]
pub struct Sender {
    /// MSH-3.1.
    pub application: String,
    /// MSH-4.
    pub facility: String,
    /// EUI-64 of the monitor, 16 hex digits: MSH-3.2 and OBX-18.
    pub eui64: String,
    /// PV1-3.1 and PV1-3.3.
    pub point_of_care: String,
    pub bed: String,
    /// PID-3.1.
    pub patient: String,
    /// PID-7, digits; empty: it is not sent.
    pub born: String,
    /// MSH-11: P, T or D.
    pub processing: char,
}

/// One value as it stands on the wire.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    pub parameter: Parameter,
    /// The third number of OBX-4, from 0.
    pub channel: u8,
    /// The last number of OBX-4.
    pub metric: u8,
    /// OBX-5.
    pub value: Cow<'a, str>,
    /// OBX-7.
    pub limits: &'a str,
    /// OBX-8.
    pub flag: &'a str,
    /// OBX-11.
    pub status: &'a str,
    /// OBX-14.
    pub effective_at: Timestamp,
}

impl Sender {
    /// One message. `control_id` is MSH-10, `sent_at` MSH-7; OBR-7 is the newest time of the readings.
    pub fn write(&self, control_id: &str, sent_at: Timestamp, readings: &[Reading]) -> Vec<u8> {
        let (mut module, mut metric) = (0, 0);
        let lines: Vec<Line<'_>> = readings
            .iter()
            .filter(|reading| reading.parameter.mdc().is_some())
            .map(|reading| {
                let vmd = vmd(reading.parameter.sensor()).0;
                metric = if vmd == module { metric + 1 } else { 1 };
                module = vmd;
                let (flag, status) = match reading.mark {
                    Mark::None => ("", "R"),
                    Mark::NotAvailable => ("NAV", "X"),
                    Mark::Invalid => ("INV", "X"),
                    Mark::Questionable => ("QUES", "R"),
                };
                Line {
                    parameter: reading.parameter,
                    channel: 0,
                    metric,
                    value: reading.value.map_or_else(Cow::default, |value| Cow::Owned(value.to_string())),
                    limits: "",
                    flag,
                    status,
                    effective_at: reading.effective_at,
                }
            })
            .collect();
        let newest = readings.iter().map(|r| r.effective_at).max().unwrap_or(sent_at);
        self.write_lines(control_id, sent_at, newest, &lines)
    }

    /// One message of lines that stand in the order of [`order`]; `observed_at` is OBR-7.
    pub fn write_lines(&self, control_id: &str, sent_at: Timestamp, observed_at: Timestamp, lines: &[Line<'_>]) -> Vec<u8> {
        let mut text = String::with_capacity(400 + 160 * lines.len());
        let (application, facility) = (escaped(&self.application), escaped(&self.facility));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "MSH|^~\\&|{application}^{}^EUI-64|{facility}|||{}||ORU^R01^ORU_R01|{}|{}|2.6|||NE|AL||UNICODE UTF-8|||\
             PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r",
            self.eui64,
            sent_at.hl7(),
            escaped(control_id),
            self.processing
        );
        let born = if self.born.is_empty() { String::new() } else { format!("||{}", escaped(&self.born)) };
        let _ = write!(text, "PID|||{}^^^SYNTH^PI||Invented^Patient{born}\r", escaped(&self.patient));
        let _ = write!(text, "PV1||I|{}^^{}\r", escaped(&self.point_of_care), escaped(&self.bed));
        let _ = write!(
            text,
            "OBR|1|{0}^SYNTH|{0}^SYNTH|182777000^monitoring of patient^SCT|||{1}\r",
            escaped(control_id),
            observed_at.hl7()
        );
        let mut set_id = 1;
        let _ = write!(
            text,
            "OBX|{set_id}||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||{}^^{0}^EUI-64\r",
            self.eui64
        );
        let mut module = 0;
        for line in lines {
            let Some((code, name)) = line.parameter.mdc() else { continue };
            let (vmd, vmd_code) = vmd(line.parameter.sensor());
            if vmd != module {
                module = vmd;
                set_id += 1;
                let _ = write!(text, "OBX|{set_id}||{vmd_code}^MDC|1.{vmd}.0.0|||||||X\r");
            }
            set_id += 1;
            let (channel, metric) = (line.channel + 1, line.metric);
            let _ = write!(text, "OBX|{set_id}|NM|{code}^{name}^MDC|1.{vmd}.{channel}.{metric}|{}", line.value);
            let unit = unit(line.parameter);
            let _ = write!(
                text,
                "|{unit}^MDC|{}|{}|||{}|||{}||||{}^^{4}^EUI-64\r",
                line.limits,
                line.flag,
                line.status,
                line.effective_at.hl7(),
                self.eui64
            );
        }
        text.into_bytes()
    }
}

/// Where a value stands in a message: by module, channel and number. What is not sent leaves the places of others as they are.
pub fn order(parameter: Parameter, channel: u8) -> (u8, u8, u8) {
    (vmd(parameter.sensor()).0, channel, parameter as u8 + 1)
}

/// Number of the module in OBX-4, and its code.
fn vmd(sensor: Sensor) -> (u8, &'static str) {
    match sensor {
        Sensor::Ecg => (1, "69798^MDC_DEV_ECG_VMD"),
        Sensor::Impedance => (2, "70666^MDC_DEV_ECG_RESP_VMD"),
        Sensor::Oximeter => (3, "69642^MDC_DEV_ANALY_SAT_O2_VMD"),
        Sensor::Capnograph => (4, "69682^MDC_DEV_ANALY_AWAY_MULTI_PARAM_VMD"),
        Sensor::ArterialLine => (5, "69854^MDC_DEV_METER_PRESS_BLD_VMD"),
        Sensor::Thermometer => (6, "69902^MDC_DEV_METER_TEMP_VMD"),
        Sensor::Cuff => (7, "70686^MDC_DEV_PRESS_BLD_NONINV_VMD"),
        Sensor::PulmonaryLine => (8, "69854^MDC_DEV_METER_PRESS_BLD_VMD"),
        Sensor::VenousLine | Sensor::Intracranial | Sensor::Ventilator | Sensor::Other | Sensor::Transcutaneous => {
            (9, "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS")
        }
    }
}

/// OBX-6.1 and .2.
fn unit(parameter: Parameter) -> &'static str {
    match (parameter.unit(), parameter) {
        (Unit::PerMin, Parameter::Rr | Parameter::Awrr) => "264928^MDC_DIM_RESP_PER_MIN",
        (Unit::PerMin, _) => "264864^MDC_DIM_BEAT_PER_MIN",
        (Unit::Percent, _) => "262688^MDC_DIM_PERCENT",
        (Unit::Cel, _) => "268192^MDC_DIM_DEGC",
        (Unit::MmHg, _) => "266016^MDC_DIM_MMHG",
        (Unit::CmH2O, _) => "266048^MDC_DIM_CM_H2O",
        (Unit::Kelvin, _) => "266528^MDC_DIM_KELVIN",
        (Unit::Ms, _) => "264338^MDC_DIM_MILLI_SEC",
        (Unit::Mm, _) => "263442^MDC_DIM_MILLI_M",
        (Unit::MilliVolt, _) => "266418^MDC_DIM_MILLI_VOLT",
        (Unit::LitrePerMin, _) => "265216^MDC_DIM_L_PER_MIN",
        (Unit::LitrePerMinM2, _) => "264992^MDC_DIM_L_PER_MIN_PER_M_SQ",
        (Unit::Cm, _) => "263441^MDC_DIM_CENTI_M",
        (Unit::Kg, _) => "263875^MDC_DIM_KILO_G",
        (Unit::MilliLitre, _) => "263762^MDC_DIM_MILLI_L",
        (Unit::DynSPerCm5, _) => "266272^MDC_DIM_X_DYNE_PER_SEC_PER_CM5",
        (Unit::M2, _) => "263616^MDC_DIM_SQ_X_M",
        (Unit::One, _) => "262656^MDC_DIM_DIMLESS",
    }
}

/// HL7 escapes for text that may hold delimiters.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['|', '^', '~', '\\', '&', '\r', '\n']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '~' => out.push_str("\\R\\"),
            '\\' => out.push_str("\\E\\"),
            '&' => out.push_str("\\T\\"),
            '\r' | '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out.into()
}
