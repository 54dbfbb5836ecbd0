//! A line break in a field that somebody else fills (a barcode, a name, a place) must neither add values, nor move them to
//! another patient or bed, nor take them away unseen (CVE-2020-27260): from the frame to the alert.

use vitalguard::alert::AlertEvent;
use vitalguard::monitor::{Monitor, Output, Settings};
use vitalguard::observation::Source;
use vitalguard::time::Timestamp;
use vitalguard::vital::Parameter;

const HR: &str = "OBX|9|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|40|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||";
const RR: &str = "OBX|9|NM|151562^MDC_RESP_RATE^MDC|1.1.1.3|40|264928^MDC_DIM_RESP_PER_MIN^MDC|||||R|||";

/// A monitor's message with what a scanner has read in PID-3 and an operator has typed into PV1-3.
fn message(second: u32, scanned: &str, typed: &str) -> Vec<u8> {
    let t = format!("202603021000{second:02}+0000");
    format!(
        "MSH|^~\\&|GW^0012210000000001^EUI-64|X|||{t}||ORU^R01^ORU_R01|A{second}|P|2.6|||NE|AL|||||IHE_PCD_001^IHE PCD\r\
         PID|||{scanned}^^^HOSP^MR||Doe^Jo\rPV1||I|ICU^^A01{typed}\r\
         OBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||{t}\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|7{second}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r\
         OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.1.2|97|262688^MDC_DIM_PERCENT^MDC|||||R\r"
    )
    .into_bytes()
}

struct Heard {
    monitor: Monitor,
    events: Vec<AlertEvent>,
    now: Timestamp,
}

impl Heard {
    /// Two clean messages, then one with what was scanned and typed.
    fn after(scanned: &str, typed: &str) -> Heard {
        let mut monitor = Monitor::new(Settings { site: "hsp1".into(), ..Settings::default() });
        let source = Source { feed: "gw1".into(), peer: "192.0.2.10".into(), connection: 1, ..Source::default() };
        let mut events = Vec::new();
        let start = Timestamp::from_civil(2026, 3, 2, 10, 0, 0, 0).expect("a date");
        let messages = [message(0, "4711", ""), message(1, "4711", ""), message(2, scanned, typed)];
        let mut now = start;
        for (frame, n) in messages.iter().zip(1..) {
            monitor.handle_frame(&source, n, frame, now);
            while let Some(output) = monitor.poll_output() {
                if let Output::Alert(event) = output {
                    events.push(*event);
                }
            }
            now = now.plus_s(1.0);
        }
        Heard { monitor, events, now }
    }
    fn value(&self, bed: &str, parameter: Parameter) -> Option<f64> {
        let id = self.monitor.bed_id("icu", bed)?;
        let state = self.monitor.bed_state(id, self.now)?;
        state.params.0.iter().find(|(p, _)| *p == parameter).and_then(|(_, found)| found.value).map(|value| value.0)
    }
    fn told(&self) -> bool {
        self.events.iter().any(|event| event.alert.evidence.iter().any(|found| found.check == "C07"))
    }
}

#[test]
fn a_clean_message_is_no_injection() {
    let heard = Heard::after("4711", "");
    assert_eq!((heard.value("A01", Parameter::Hr), heard.told()), (Some(72.0), false));
}

#[test]
fn a_row_that_a_barcode_adds_does_not_replace_the_measured_one_and_is_told() {
    for (scanned, typed) in [(format!("4711\r{HR}"), String::new()), ("4711".to_owned(), format!("\r{HR}"))] {
        let heard = Heard::after(&scanned, &typed);
        assert_ne!(heard.value("A01", Parameter::Hr), Some(40.0), "never the injected one");
        assert!(heard.told(), "{scanned:?} {typed:?}");
    }
    assert!(Heard::after(&format!("4711\r{RR}"), "").told(), "a parameter that the monitor does not send");
    assert!(Heard::after(&format!("4711\rOBR|1|||1\r{RR}"), "").told(), "with a group of its own");
    assert!(Heard::after("4711", &format!("\r{RR}")).told(), "after the place, before the group");
}

#[test]
fn a_patient_or_a_place_that_a_barcode_adds_gets_no_values_and_is_told() {
    let patient = Heard::after("4711\rPID|||9999", "");
    assert_ne!(patient.value("A01", Parameter::Hr), Some(72.0), "whose rows these are nobody can tell");
    assert!(patient.told());
    let place = Heard::after("4711\rPV1||I|ICU^^B07\rZZZ|", "");
    assert_eq!(place.value("B07", Parameter::Hr), None, "no value goes to another bed");
    assert!(place.told());
    let back = Heard::after("4711\rPV1||I|ICU^^B07\rZZZ|", "\rPID|||4711\rZZZ|");
    assert_eq!(back.value("B07", Parameter::Hr), None, "nor by naming the patient again");
}

#[test]
fn a_header_that_a_barcode_adds_is_told_though_it_cuts_the_bed_off() {
    for scanned in ["4711\rMSH|^~\\&|A|B\rZZZ|", "4711\nMSH|^~\\&|A|B"] {
        let heard = Heard::after(scanned, "");
        assert!(heard.told(), "{scanned:?}");
        assert_ne!(heard.value("A01", Parameter::Hr), Some(40.0));
    }
}

#[test]
fn an_escaped_line_break_stays_text() {
    for scanned in [format!("4711\\X0D\\{}", HR.replace('|', "\\F\\")), format!("4711\\.br\\{}", HR.replace('|', "\\F\\"))] {
        let heard = Heard::after(&scanned, "");
        assert_eq!((heard.value("A01", Parameter::Hr), heard.told()), (Some(72.0), false), "{scanned}");
    }
}
