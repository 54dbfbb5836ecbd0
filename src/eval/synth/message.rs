//! Readings as HL7: ORU^R01 after IHE PCD-01, MDC codes and units, containment in OBX-4, own times with offset in OBX-14.

use super::{Mark, Reading};
use crate::time::Timestamp;
use crate::vital::{Parameter, Sensor, Unit};
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
    /// MSH-11: P, T or D.
    pub processing: char,
}

impl Sender {
    /// One message. `control_id` is MSH-10, `sent_at` MSH-7; OBR-7 is the newest time of the readings.
    pub fn write(&self, control_id: &str, sent_at: Timestamp, readings: &[Reading]) -> Vec<u8> {
        let mut text = String::with_capacity(400 + 160 * readings.len());
        let newest = readings.iter().map(|r| r.effective_at).max().unwrap_or(sent_at);
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
        let _ = write!(text, "PID|||{}^^^SYNTH^PI||Invented^Patient\r", escaped(&self.patient));
        let _ = write!(text, "PV1||I|{}^^{}\r", escaped(&self.point_of_care), escaped(&self.bed));
        let _ = write!(
            text,
            "OBR|1|{0}^SYNTH|{0}^SYNTH|182777000^monitoring of patient^SCT|||{1}\r",
            escaped(control_id),
            newest.hl7()
        );
        let mut set_id = 1;
        let _ = write!(
            text,
            "OBX|{set_id}||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||{}^^{0}^EUI-64\r",
            self.eui64
        );
        let mut module = 0;
        let mut metric = 0;
        for reading in readings {
            let Some((code, name)) = reading.parameter.mdc() else { continue };
            let (vmd, vmd_code) = vmd(reading.parameter.sensor());
            if vmd != module {
                module = vmd;
                metric = 0;
                set_id += 1;
                let _ = write!(text, "OBX|{set_id}||{vmd_code}^MDC|1.{vmd}.0.0|||||||X\r");
            }
            metric += 1;
            set_id += 1;
            let (flag, status) = match reading.mark {
                Mark::None => ("", "R"),
                Mark::NotAvailable => ("NAV", "X"),
                Mark::Invalid => ("INV", "X"),
                Mark::Questionable => ("QUES", "R"),
            };
            let _ = write!(text, "OBX|{set_id}|NM|{code}^{name}^MDC|1.{vmd}.1.{metric}|");
            if let Some(value) = reading.value {
                let _ = write!(text, "{value}");
            }
            let unit = unit(reading.parameter);
            let _ =
                write!(text, "|{unit}^MDC||{flag}|||{status}|||{}||||{}^^{1}^EUI-64\r", reading.effective_at.hl7(), self.eui64);
        }
        text.into_bytes()
    }
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
        Sensor::PulmonaryLine
        | Sensor::VenousLine
        | Sensor::Intracranial
        | Sensor::Ventilator
        | Sensor::Other
        | Sensor::Transcutaneous => (8, "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"),
    }
}

/// OBX-6.1 and .2.
fn unit(parameter: Parameter) -> &'static str {
    match (parameter.unit(), parameter) {
        (Unit::PerMin, Parameter::Rr | Parameter::Awrr) => "264928^MDC_DIM_RESP_PER_MIN",
        (Unit::PerMin, _) => "264864^MDC_DIM_BEAT_PER_MIN",
        (Unit::Percent, _) => "262688^MDC_DIM_PERCENT",
        (Unit::Cel, _) => "268192^MDC_DIM_DEGC",
        _ => "266016^MDC_DIM_MMHG",
    }
}

/// HL7 escapes for text that may hold delimiters.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
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
