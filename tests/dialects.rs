//! Every dialect table against its own samples, and the decoder against every message of the development set.
//!
//! `VG_TEST_BLESS=1 cargo test --test dialects` writes the expected files anew; the difference is to be read.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use vitalguard::cli::decode::payloads;
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::{RowRef, Tables};
use vitalguard::hl7::{Message, Scratch, show};
use vitalguard::observation::{
    AgeBand, AlarmKind, AlarmPhase, AlarmPriority, MessageFlags, MessageKind, ObsFlags, Observation, RejectReason, Report,
    Source, TimeSource, Validity,
};
use vitalguard::time::Timestamp;
use vitalguard::vital::Parameter;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn blessing() -> bool {
    std::env::var_os("VG_TEST_BLESS").is_some()
}

fn decoder() -> Decoder {
    Decoder::new("Europe/Rome", Tables::embedded()).expect("an IANA name")
}

fn source(connection: u64) -> Source {
    Source {
        feed: "test".into(),
        peer: "192.0.2.1".into(),
        connection,
        ward: "main".into(),
        dialect: None,
        zone: None,
        ..Source::default()
    }
}

fn start() -> Timestamp {
    Timestamp::from_civil(2026, 3, 2, 9, 0, 30, 0).expect("a date")
}

/// Decodes messages (LF or CR between segments, blank lines between messages) on one connection, a second apart.
fn decode_text(decoder: &mut Decoder, source: &Source, text: &str) -> Vec<Report> {
    let text = text.replace('\n', "\r");
    let mut scratch = Scratch::default();
    let mut reports = Vec::new();
    for (at, payload) in payloads(text.as_bytes()).iter().enumerate() {
        let payload = payload.trim_ascii_end();
        let message = Message::read(payload, &mut scratch).expect("a message");
        let mut report = Report::default();
        decoder.decode(&message, source, start().plus_s(at as f64), &mut report);
        assert_eq!(show::rows(&report).len(), report.structure.len(), "every OBX becomes one observation or one reject");
        reports.push(report);
    }
    reports
}

fn decode_one(text: &str) -> Report {
    decode_text(&mut decoder(), &source(1), text).pop().expect("one message")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_sample_says_what_is_expected_and_every_row_is_hit() {
    let tables = Tables::embedded();
    let mut faults = Vec::new();
    for table in tables.iter() {
        let folder = root().join("data/messages").join(table.name);
        let samples = files(&folder, "hl7");
        assert!(!samples.is_empty(), "{} has no samples", table.name);
        let at = tables.position(table.name).expect("its own name");
        let mut decoder = decoder();
        decoder.record_hits();
        for (connection, path) in samples.iter().enumerate() {
            let text = std::fs::read_to_string(path).expect("readable");
            let reports = decode_text(&mut decoder, &source(connection as u64), &text);
            let mut rows = Vec::new();
            for (number, report) in reports.iter().enumerate() {
                assert_eq!(report.dialect, table.name, "{} message {}", path.display(), number + 1);
                rows.extend(show::rows(report).into_iter().map(|row| Value::Object(show::row_object(row, number + 1))));
                rows.extend(report.alarms.iter().map(|alarm| {
                    let parameter = alarm.parameter.map(Parameter::key);
                    json!({ "message": number + 1, "obx": alarm.ordinal + 1, "alarm": alarm.phase, "about": parameter,
                            "kind": alarm.kind, "priority": alarm.priority, "inactivated": alarm.inactivated })
                }));
            }
            let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
            let found = format!("[\n{}\n]\n", lines.join(",\n"));
            let expect = path.with_extension("expect.json");
            if blessing() {
                std::fs::write(&expect, &found).expect("writable");
            }
            let expected = std::fs::read_to_string(&expect).unwrap_or_default();
            for (number, (found, expected)) in found.lines().zip(expected.lines().chain(std::iter::repeat(""))).enumerate() {
                if found != expected {
                    faults.push(format!("{}:{}:\n  found    {found}\n  expected {expected}", expect.display(), number + 1));
                }
            }
            assert!(found.lines().count() >= expected.lines().count(), "{}: rows are missing", expect.display());
        }
        let hits: BTreeSet<RowRef> = decoder.hits().filter(|hit| hit.table == at).collect();
        let further =
            |name: &'static str, count: usize, row: fn(u16, usize) -> RowRef| (0..count).map(move |n| (name, n, row(at, n)));
        let others = further("place", table.places.len(), RowRef::place)
            .chain(further("technical alarm", table.technical.len(), RowRef::technical))
            .chain(further("kind", table.kinds.len(), RowRef::kind))
            .chain(further("waveform", table.own_waves, RowRef::wave));
        for (name, n, row) in others {
            if !hits.contains(&row) {
                faults.push(format!("{}: no sample hits {name} {}", table.name, n + 1));
            }
        }
        for (number, row) in table.rows.iter().enumerate() {
            if !hits.contains(&RowRef { table: at, row: number as u16 }) {
                faults.push(format!("{}: no sample hits row {} ({} {:?})", table.name, number + 1, row.code, row.labels));
            }
        }
    }
    assert!(faults.is_empty(), "{}\n(VG_TEST_BLESS=1 writes the expected files anew)", faults.join("\n"));
}

const HEAD: &str = "MSH|^~\\&|NORDGATE^0A1B2CFFFE3D4E5F^EUI-64|NORDMED|||20260302100000+0100||ORU^R01^ORU_R01|N1|P|2.6|||NE|AL||||\
                    |PCD_DEC_001^IHE PCD^1.3^ISO\r";

fn of(report: &Report, parameter: Parameter) -> &Observation {
    report.observations.iter().find(|o| o.parameter == parameter).unwrap_or_else(|| panic!("no {}", parameter.key()))
}

fn reasons(report: &Report) -> Vec<&'static str> {
    report.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

#[test]
fn identity_is_read_where_the_dialect_keeps_it() {
    let report = decode_one(&format!(
        "{HEAD}PID|||^^^X^PI~77^^^Y^XX~V-1^^^Klinik^MR||Muster^Ada||19710405|F\rPV1||I|ICU^201^A&1&2^F^^^^^00-0F\rOBR|1|||x|||20260302095900\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.5.1.1|70|/min|||||R|||||||0A1B2CFFFE00000110.0.0.7^MON"
    ));
    assert_eq!(report.subject.patient, "Klinik\0V-1");
    assert_eq!([report.subject.point_of_care.as_str(), &report.subject.room, &report.subject.bed], ["ICU", "201", "A"]);
    assert_eq!(report.subject.birth, Timestamp::from_civil(1971, 4, 5, 0, 0, 0, 0));
    assert_eq!(report.devices.len(), 2);
    assert_eq!(report.devices[0].key, "0A1B2CFFFE3D4E5F");
    assert_eq!(report.devices[1].key, "0A1B2CFFFE000001", "the address glued to it is cut off");
    let hr = of(&report, Parameter::Hr);
    assert_eq!((hr.device, hr.time_source), (1, TimeSource::Obr7));
    assert_eq!(hr.effective_at.to_string(), "2026-03-02T08:59:00.000Z", "the header's offset");
    assert_eq!(report.kind, MessageKind::Vitals);
    assert!(report.control_id_is_id && report.control_id_is_plain && report.body_is_unique);
}

#[test]
fn a_name_in_pid_4_is_no_id() {
    let report = decode_one(&format!("{HEAD}PID|||^^^Klinik^PI|ADA MUSTER|||18991230\rOBX|1|NM|147842^^MDC||70|/min|||||R"));
    assert_eq!((report.subject.patient.as_str(), report.subject.birth), ("", None));
    let report = decode_one(&format!("{HEAD}PID|||^^^Klinik^PI|A-123\rOBX|1|NM|147842^^MDC||70|/min|||||R"));
    assert_eq!(report.subject.patient, "\0A-123");
}

#[test]
fn identity_of_a_pds_connection_lives_and_dies_with_it() {
    let text = std::fs::read_to_string(root().join("data/messages/mindray_pds/01_one_connection.hl7")).expect("a sample");
    let mut decoder = decoder();
    let reports = decode_text(&mut decoder, &source(1), &text);
    assert_eq!(reports[0].subject.patient, "", "before 103 nobody is known");
    let kinds: Vec<MessageKind> = reports.iter().map(|report| report.kind).collect();
    use MessageKind::{Adt, Alarm, Vitals};
    assert_eq!(kinds, [Vitals, Adt, Vitals, Vitals, Alarm, Alarm, Vitals]);
    for report in &reports[1..] {
        assert_eq!((report.subject.point_of_care.as_str(), report.subject.bed.as_str()), ("ICU", "7"));
        assert!(report.subject.patient.ends_with("8000-00000000000a"));
        assert_eq!(report.subject.class, Some(AgeBand::Adult));
        assert_eq!(report.devices[0].key, "3232235786");
        assert!(!report.control_id_is_id, "MSH-10 is the kind");
    }
    assert!(!reports[2].body_is_unique, "numerics of this dialect hold no time");
    let alarms: Vec<_> = reports[4].alarms.iter().map(|alarm| alarm.parameter).collect();
    assert_eq!(alarms, [Some(Parameter::Spo2), Some(Parameter::Hr)]);

    // The sensor that message 56 reported off makes the next value not hold; the noise on the ECG does not.
    let last = reports.last().expect("seven");
    let (spo2, hr) = (of(last, Parameter::Spo2), of(last, Parameter::Hr));
    assert_eq!((spo2.validity, hr.validity), (Validity::Invalid, Validity::Valid));
    assert!(spo2.flags.has(ObsFlags::HELD));
    assert_eq!(of(last, Parameter::NibpSys).validity, Validity::Sentinel);

    let numerics = "MSH|^~\\&|||||||ORU^R01|204|P|2.3.1|\rOBX||NM|101^HR|2101|60||||||F";
    assert_eq!(decode_text(&mut decoder, &source(2), numerics)[0].subject.bed, "", "another connection");
    assert_eq!(decode_text(&mut decoder, &source(1), numerics)[0].subject.bed, "7");
    decoder.close(1);
    assert_eq!(decode_text(&mut decoder, &source(1), numerics)[0].subject.bed, "", "closed and opened again");
}

const REPORT: &str = "MSH|^~\\&|PULT^0A1B2CFFFE3D4E60^EUI-64|NORDMED|||20260302100000+0100||ORU^R40^ORU_R40|A1|P|2.6|||AL|NE||||\
                      |IHE_PCD_ACM_001^IHE PCD^1.3^ISO\rPID|||V-1^^^K^MR\rOBR|1|||196616^MDC_EVT_ALARM^MDC|||20260302100000+0100\r";

#[test]
fn an_alarm_report_says_phase_priority_type_and_source() {
    let rows = |phase: &str, state: &str, inactivation: &str, text: &str| {
        format!(
            "{REPORT}OBX|1|ST|196670^MDC_EVT_LO^MDC|1.3.1.150456.1|{text}|||L~PM~SP|||F\r\
             OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.150456.2|84|262688^MDC_DIM_PERCENT^MDC|90-100||||F\r\
             OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.3.1.150456.3|{phase}||||||F\r\
             OBX|4|ST|68482^MDC_ATTR_ALARM_STATE^MDC|1.3.1.150456.4|{state}||||||F\r\
             OBX|5|ST|68483^MDC_ATTR_ALARM_INACTIVATION_STATE|1.3.1.150456.5|{inactivation}||||||F"
        )
    };
    let alarm = |text: &str| {
        let report = decode_one(text);
        assert_eq!((report.kind, report.alarms.len(), report.observations.len()), (MessageKind::Alarm, 1, 0));
        report.alarms[0]
    };
    let began = alarm(&rows("start", "active", "enabled", "SpO2 84 too low"));
    assert_eq!(
        (began.parameter, began.phase, began.kind, began.priority, began.inactivated),
        (Some(Parameter::Spo2), AlarmPhase::Start, AlarmKind::Physiological, AlarmPriority::Medium, false)
    );
    let goes_on = alarm(&rows("update", "active", "audio-paused", "SpO2 83 too low"));
    assert_eq!((goes_on.phase, goes_on.inactivated), (AlarmPhase::Continue, true));
    let over = alarm(&rows("end", "inactive", "enabled", "SpO2 91 too low"));
    assert_eq!(over.phase, AlarmPhase::End);
    assert_eq!((began.key, began.key), (goes_on.key, over.key), "the number in the text changes, the alarm does not");
    assert_eq!(alarm(&rows("update", "latched", "enabled", "SpO2 84 too low")).phase, AlarmPhase::End, "only its signal stays");
    let other = rows("start", "active", "enabled", "low").replace("150456^MDC_PULS_OXIM_SAT_O2", "147842^MDC_ECG_HEART_RATE");
    assert_eq!(alarm(&other).parameter, Some(Parameter::Hr));
    assert_ne!(alarm(&other).key, began.key);
}

#[test]
fn alarm_rows_of_every_numbering_are_known_by_name() {
    // Priority and type in rows of their own, words that are placeholders, an event that is a bare number.
    let report = decode_one(&format!(
        "{REPORT}OBX|1|ST|196650|1.0.0.0.1|PVC/min > 12||||||F\r\
         OBX|2|ST|68164^MDC_ATTR_ALERT_SOURCE^MDC|1.0.0.0.2|148066^MDC_ECG_V_P_C_RATE^MDC\r\
         OBX|3|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.0.0.0.3|phase\rOBX|4|ST|68166^MDC_ATTR_ALERT_STATE^MDC|1.0.0.0.4|state\r\
         OBX|5|ST|68484^MDC_ATTR_ALARM_PRIORITY^MDC|1.0.0.0.6|PH\rOBX|6|ST|68485^MDC_ATTR_ALERT_TYPE^MDC|1.0.0.0.7|SP\r\
         OBX|7|ST|196648^MDC_EVT_HI^MDC|1.0.0.1.1|pump pressure|||PH~ST~H\r\
         OBX|8|NM|158776^MDC_HDIALY_BLD_PUMP_PRESS_VEN^MDC|1.0.0.1.2|450|mm[Hg]|||20-400\r\
         OBR|2\rOBX|1|ST|0^MDCX_EVT_ALERT_ADVISORY^MDC|1.0.0.2.1|look|||A~PL~SA\r\
         OBX|2|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.0.0.2.3|continue|||A~PL~SA"
    ));
    let said: Vec<_> = report.alarms.iter().map(|a| (a.ordinal, a.parameter, a.phase, a.kind, a.priority)).collect();
    assert_eq!(
        said,
        [
            (0, Some(Parameter::Pvc), AlarmPhase::Start, AlarmKind::Physiological, AlarmPriority::High),
            (6, None, AlarmPhase::Start, AlarmKind::Technical, AlarmPriority::High),
            (8, None, AlarmPhase::Continue, AlarmKind::Advisory, AlarmPriority::Low),
        ]
    );
    assert!(report.rejects.iter().all(|reject| reject.reason == RejectReason::AlarmRow));
    assert_eq!(report.rejects.len(), report.structure.len());
}

#[test]
fn lists_of_alarms_say_level_and_end() {
    let list = |rows: &str| decode_one(&format!("MSH|^~\\&|||||||ORU^R01|54|P|2.3.1|\r{rows}"));
    let report = list(
        "OBX||CE|2|1|10033^**SpO2 TOO LOW||||||F\rOBX||CE|2|0|10033^**SpO2 TOO LOW||||||F\rOBX||CE|1|1|10002^***HR TOO HIGH||||||F",
    );
    let said: Vec<_> = report.alarms.iter().map(|a| (a.parameter, a.phase, a.kind, a.priority)).collect();
    use {
        AlarmKind::Physiological,
        Parameter::{Hr, Spo2},
    };
    assert_eq!(
        said,
        [
            (Some(Spo2), AlarmPhase::Start, Physiological, AlarmPriority::Medium),
            (Some(Spo2), AlarmPhase::End, Physiological, AlarmPriority::Medium),
            (Some(Hr), AlarmPhase::Start, Physiological, AlarmPriority::High),
        ]
    );
    assert_eq!(report.alarms[0].key, report.alarms[1].key);
    let mdil = decode_one(
        "MSH|^~\\&|||||||ORU^R01|HP1|P|2.3||||||8859/1\rOBX||TX|2^Yellow Alarm^MDIL-ALERT|0|HR 131 > 120||||||F\r\
                           OBX||TX|5^HardInop^MDIL-ALERT|0|SpO2T No Pulse||||||F",
    );
    let said: Vec<_> = mdil.alarms.iter().map(|a| (a.parameter, a.phase, a.kind, a.priority)).collect();
    assert_eq!(
        said,
        [
            (Some(Hr), AlarmPhase::Start, Physiological, AlarmPriority::Medium),
            (None, AlarmPhase::Start, AlarmKind::Technical, AlarmPriority::Unknown),
        ]
    );
}

#[test]
fn marks_of_test_demonstration_and_calibration_keep_values_from_being_judged() {
    let rows = |hr: &str, spo2: &str| {
        decode_one(&format!(
            "{HEAD}OBX|1|NM|147842^^MDC|1.5.1.1|70|/min||{hr}|||R\rOBX|2|NM|150456^^MDC|1.6.1.1|97|%||{spo2}|||R"
        ))
    };
    let said = |report: &Report| {
        let of = |parameter| of(report, parameter).validity;
        (of(Parameter::Hr), of(Parameter::Spo2), report.flags.has(MessageFlags::TEST))
    };
    use Validity::{Test, Valid, ValidFlagged};
    assert_eq!(said(&rows("DEMO", "")), (Test, Valid, true), "a device that plays a patient plays all of it");
    assert_eq!(said(&rows("TEST", "")), (Test, Valid, false), "one sensor is tested");
    assert_eq!(said(&rows("TEST", "TEST")), (Test, Test, true));
    assert_eq!(said(&rows("CAL", "")), (ValidFlagged, Valid, false), "shown");
    let calibration = rows("CAL", "");
    assert!(of(&calibration, Parameter::Hr).flags.has(ObsFlags::SHOWN_ONLY), "and not judged");
    assert!(!of(&calibration, Parameter::Spo2).flags.has(ObsFlags::SHOWN_ONLY));
}

#[test]
fn what_is_set_is_no_measurement_unless_it_is_always_set() {
    let report = decode_one(&format!(
        "{HEAD}OBX|1|NM|147842^^MDC|1.5.1.1|70|/min||SET|||R\rOBX|2|NM|150456^^MDC|1.6.1.1|97|%|||||R||SETTING\r\
         OBX|3|NM|151562^^MDC|1.7.1.1|14|/min|||||R||||||MSET^manual^MDC\r\
         OBX|4|NM|151976^^MDC|1.8.1.1|6|cm[H2O]|||||R||||||MSET^manual^MDC\rOBX|5|NM|151976^^MDC|1.8.1.2|6|cm[H2O]|||||R||CONFIGURATION"
    ));
    assert_eq!(reasons(&report), ["setting", "setting", "setting", "setting"]);
    assert_eq!(of(&report, Parameter::Peep).value, 6.0);
}

#[test]
fn no_choice_of_a_dialect_is_a_matter_of_order() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    let mut folders: Vec<PathBuf> = decoder.tables().iter().map(|table| root().join("data/messages").join(table.name)).collect();
    let shared = std::env::var_os("VG_TEST_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from).join("hl7");
    folders.extend(std::fs::read_dir(&shared).into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut seen = 0;
    for path in folders.iter().flat_map(|folder| files(folder, "hl7")) {
        let text = std::fs::read(&path).expect("readable");
        // The shared ones are as they are; those of the project have LF.
        let own = path.starts_with(root().join("data"));
        let text = if own { String::from_utf8(text).expect("text").replace('\n', "\r").into_bytes() } else { text };
        for payload in payloads(&text) {
            let Ok(message) = Message::read(&payload, &mut scratch) else { continue };
            let choices = decoder.explain_dialect(&message);
            if choices[0].features.is_empty() || choices[0].score < choices[0].least {
                continue;
            }
            seen += 1;
            let rival = choices[1..].iter().find(|choice| choice.score >= choice.least && !choice.features.is_empty());
            if let Some(rival) = rival {
                assert!(choices[0].score > rival.score, "{}: {:?} and {rival:?}", path.display(), choices[0]);
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn an_inop_without_a_place_holds_only_where_there_is_one_place() {
    let inop = "MSH|^~\\&|MINDRAY_^00A0370000AB12CF^EUI-64|MINDRAY|||20260302100001||ORU^R01^ORU_R01|2|P|2.6\r\
                OBX|1|NA|150452^MDC_PULS_OXIM_PLETH^MDC|1.3.6.150452|32767^32767\rOBX|2|NM|196660^MDC_EVT_INOP^MDC|1.3.6.150452.3|32767";
    let numeric = |bed: u8| {
        format!(
            "MSH|^~\\&|MINDRAY_^00A0370000AB12CF^EUI-64|MINDRAY|||20260302100002||ORU^R01^ORU_R01|3|P|2.6\rPV1||I|OR^^{bed}\r\
             OBX|1|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.150456|97|%|||||R"
        )
    };
    let spo2 = |reports: &[Report]| of(reports.last().expect("one"), Parameter::Spo2).validity;
    // The connection of one monitor, whichever comes first.
    let mut one = decoder();
    decode_text(&mut one, &source(1), inop);
    assert_eq!(spo2(&decode_text(&mut one, &source(1), &numeric(3))), Validity::Invalid);
    assert_eq!(spo2(&decode_text(&mut one, &source(2), &numeric(3))), Validity::Valid, "another connection");
    // What is held is part of the snapshot.
    let bytes = postcard::to_stdvec(one.state()).expect("written");
    let mut restored = decoder();
    restored.restore(postcard::from_bytes(&bytes).expect("read"));
    assert_eq!(spo2(&decode_text(&mut restored, &source(1), &numeric(3))), Validity::Invalid);
    // A gateway: nobody knows whose waveform it was.
    let mut gateway = decoder();
    decode_text(&mut gateway, &source(1), &numeric(3));
    decode_text(&mut gateway, &source(1), &numeric(4));
    decode_text(&mut gateway, &source(1), inop);
    assert_eq!(spo2(&decode_text(&mut gateway, &source(1), &numeric(3))), Validity::Valid);
}

#[test]
fn a_learned_scale_lives_in_the_connection_and_in_the_snapshot() {
    let row = |limits: &str| {
        format!(
            "MSH|^~\\&|||||20260302100000||ORU^R01|202603021000001201|P|2.4\rOBX||NM|100^T1||3712|0401-0b54^C^MDIL|{limits}||||F"
        )
    };
    let mut whole = decoder();
    assert_eq!(reasons(&decode_text(&mut whole, &source(1), &row(""))[0]), ["scale_unknown"]);
    assert_eq!(of(&decode_text(&mut whole, &source(1), &row("3600^3900"))[0], Parameter::Temp).value, 37.12);
    let bytes = postcard::to_stdvec(whole.state()).expect("written");
    let mut restored = decoder();
    restored.restore(postcard::from_bytes(&bytes).expect("read"));
    let later = decode_text(&mut restored, &source(1), &row(""));
    let temp = of(&later[0], Parameter::Temp);
    assert_eq!((temp.value, temp.flags.has(ObsFlags::UNIT_INVALID)), (37.12, false), "OBX-6 is not looked at");
    assert_eq!(reasons(&decode_text(&mut restored, &source(2), &row(""))[0]), ["scale_unknown"], "another connection");
    restored.close(1);
    assert_eq!(reasons(&decode_text(&mut restored, &source(1), &row(""))[0]), ["scale_unknown"], "closed and opened again");
}

#[test]
fn charted_values_are_marked_and_stand_in_channels_of_their_own() {
    let text = std::fs::read_to_string(root().join("data/messages/metavision/01_charted.hl7")).expect("a file");
    let named = Source { dialect: Some("metavision".into()), ..source(1) };
    let charted = decode_text(&mut decoder(), &named, &text);
    let hr = of(&charted[0], Parameter::Hr);
    assert!(hr.flags.has(ObsFlags::CHARTED) && hr.flags.has(ObsFlags::SHOWN_ONLY) && hr.channel != 0);
    assert!(charted[0].observations.iter().all(|o| o.flags.has(ObsFlags::CHARTED)));
    assert!(charted[0].flags.has(MessageFlags::CHARTED));
    // Of itself every sender can say that it is a clinical system.
    let unnamed = decode_text(&mut decoder(), &source(1), &text);
    assert_eq!((unnamed[0].dialect, unnamed[0].observations.len()), ("metavision", charted[0].observations.len()));
    assert!(unnamed.iter().all(|report| !report.flags.has(MessageFlags::CHARTED)));
    assert!(unnamed[0].observations.iter().all(|o| !o.flags.has(ObsFlags::CHARTED)));
}

#[test]
fn a_value_in_alarm_is_an_alarm_and_says_whether_it_is_silenced() {
    let report = decode_one(&format!(
        "{HEAD}OBX|1|NM|147842^^MDC|1.5.1.1|140|/min|50-120|ALACT|||R\rOBX|2|NM|150456^^MDC|1.6.1.1|84|%|90-100|ALACT~ALINH|||R\r\
         OBX|3|NM|151562^^MDC|1.7.1.1|14|/min||ALINH|||R"
    ));
    let said: Vec<_> = report.alarms.iter().map(|a| (a.parameter, a.ordinal, a.kind, a.inactivated)).collect();
    use {
        AlarmKind::Physiological,
        Parameter::{Hr, Spo2},
    };
    assert_eq!(said, [(Some(Hr), 0, Physiological, false), (Some(Spo2), 1, Physiological, true)]);
    assert_eq!((report.kind, report.observations.len()), (MessageKind::Vitals, 3));
    assert!(of(&report, Parameter::Rr).flags.has(ObsFlags::ALARM_INHIBITED));
}

#[test]
fn what_devices_and_software_call_themselves_is_kept_and_bounded() {
    let text = format!(
        "{}SFT|Nordmed AG^L|4.02.1|Nordgate \\T\\ Co|b77||20250101\rSFT|Nordmed AG|1.0|Relay\r\
         OBX|1|NM|147842^^MDC|1.5.1.1|70|/min|||||R|||||||0A1B2CFFFE000001^NM200^01.08.01^EUI-64~77/3^SERIAL\r\
         OBX|2|NM|150456^^MDC|1.6.1.1|97|%|||||R\rPRT|1|UC||EQUIP||||||NM200-SPO2^NM200^^\r\
         OBX|3|NM|151562^^MDC|1.7.1.1|14|/min|||||R|||||||0A1B2CFFFE000001^NM200^01.08.02^EUI-64",
        HEAD
    );
    let report = decode_one(&text);
    assert_eq!(
        report.software.lines().collect::<Vec<_>>(),
        ["Nordmed AG", "4.02.1", "Nordgate & Co", "b77", "20250101", "1.0", "Relay"]
    );
    let names: Vec<Vec<&str>> = report.devices.iter().map(|device| device.names.lines().collect()).collect();
    assert_eq!(names[0], ["NORDGATE", "0A1B2CFFFE3D4E5F", "EUI-64", "NORDMED"]);
    assert_eq!(names[1], ["0A1B2CFFFE000001", "NM200", "01.08.01", "EUI-64", "77/3", "SERIAL", "01.08.02"]);
    assert_eq!(names[2], ["NM200-SPO2", "NM200"]);
    let many: String = (0..200).map(|n| format!("SFT|{}|{n}\r", "x".repeat(120))).collect();
    let report =
        decode_one(&format!("{HEAD}{many}OBX|1|NM|147842^^MDC||70|/min|||||R|||||||A{}^{}", "^x".repeat(300), "y".repeat(5000)));
    assert!(report.software.len() <= 1024 && report.devices.iter().all(|device| device.names.len() <= 512));
    assert!(report.software.lines().count() <= 9, "eight segments");
}

#[test]
fn a_snapshot_goes_on_where_it_was_taken() {
    let text = std::fs::read_to_string(root().join("data/messages/mindray_pds/01_one_connection.hl7")).expect("a sample");
    let mut whole = decoder();
    decode_text(&mut whole, &source(1), &text);
    let bytes = postcard::to_stdvec(whole.state()).expect("written");
    let mut restored = decoder();
    restored.restore(postcard::from_bytes(&bytes).expect("read"));
    let numerics = "MSH|^~\\&|||||||ORU^R01|204|P|2.3.1|\rOBX||NM|160^SpO2|2103|90||||||F";
    let [a, b] = [&mut whole, &mut restored].map(|decoder| format!("{:?}", decode_text(decoder, &source(1), numerics)));
    assert_eq!(a, b);
    assert_eq!(postcard::to_stdvec(whole.state()).expect("written"), postcard::to_stdvec(restored.state()).expect("written"));
}

#[test]
fn rows_of_a_second_patient_are_not_given_to_the_first() {
    let row = |value: u8| format!("OBX|1|NM|147842^^MDC|1.5.1.{value}|{value}|/min|||||R\r");
    let report = decode_one(&format!("{HEAD}PID|||V-1^^^K^MR\rOBR|1\r{}PID|||V-2^^^K^MR\rOBR|1\r{}", row(70), row(90)));
    assert!(report.flags.has(MessageFlags::SECOND_PID) && report.flags.has(MessageFlags::SEGMENT_ORDER));
    assert_eq!(report.observations.len(), 1);
    assert_eq!(reasons(&report), ["not_observed"]);
}

#[test]
fn one_code_twice_in_one_place_is_refused_both_times() {
    let twice = format!(
        "{HEAD}OBR|1\rOBX|1|NM|151562^^MDC|1.6.1.1|15|/min|||||R\rOBX|2|NM|151562^^MDC|1.6.1.1|18|/min|||||R\r\
         OBX|3|NM|147842^^MDC|1.5.1.1|70|/min|||||R"
    );
    let report = decode_one(&twice);
    assert_eq!(reasons(&report), ["ambiguous_channel", "ambiguous_channel"]);
    assert_eq!(report.observations.len(), 1);
    let twins: Vec<_> = report.twins.iter().map(|twin| (twin.parameter, twin.low, twin.high)).collect();
    assert_eq!(twins, [(Parameter::Rr, 15.0, 18.0)], "what was refused is known");
    let apart = decode_one(&twice.replace("|1.6.1.1|18", "|1.20.1.1|18"));
    assert_eq!(apart.observations.len(), 3);
    assert_ne!(apart.observations[0].channel, apart.observations[1].channel);
    // Two groups with two times are a history, no ambiguity.
    let history = decode_one(&format!(
        "{HEAD}OBR|1||||||20260302095800\rOBX|1|NM|151562^^MDC|1.6.1.1|15|/min|||||R\rOBR|2||||||20260302095900\r\
         OBX|1|NM|151562^^MDC|1.6.1.1|18|/min|||||R"
    ));
    assert_eq!(history.observations.len(), 2);
}

#[test]
fn adt_says_more_than_its_first_patient() {
    let head = |event: &str| format!("MSH|^~\\&|HIS|K|||20260302100000||ADT^{event}|1|P|2.5\r");
    let moved = decode_one(&format!("{}EVN|A01\rPID|||V-1^^^K^MR~9^^^L^NI\rPV1||I|ICU^^A03|||WARD^12^B", head("A02")));
    assert_eq!(moved.kind, MessageKind::Adt);
    assert!(moved.flags.has(MessageFlags::EVENT_DIFFERS));
    assert_eq!(moved.adt.prior, ["WARD", "12", "B"]);
    assert_eq!(moved.adt.aliases, ["K\0V-1", "L\09"]);
    let merge = decode_one(&format!(
        "{}EVN|A40|20260302095500\rPID|||V-1^^^K^MR\rMRG|V-9~V-8^^^K\rPID|||V-3^^^K^MR\rMRG|V-4",
        head("A40")
    ));
    assert_eq!(merge.adt.recorded_at.map(|at| merge.sent_at.unwrap().since_s(at)), Some(300.0));
    let merges: Vec<_> = merge.adt.merges.iter().map(|m| (m.into.join(","), m.from.join(","))).collect();
    assert_eq!(merges, [("K\0V-1".into(), "\0V-9,K\0V-8".into()), ("K\0V-3".to_owned(), "\0V-4".to_owned())]);
    let swap = decode_one(&format!("{}EVN|A17\rPID|||V-1^^^K^MR\rPV1||I|ICU^^1\rPID|||V-2^^^K^MR\rPV1||I|ICU^^2", head("A17")));
    assert_eq!((swap.subject.bed.as_str(), swap.adt.second.bed.as_str()), ("1", "2"));
    assert_eq!(swap.adt.second.patient, "K\0V-2");
    assert!(!swap.flags.has(MessageFlags::SECOND_PID), "two patients are meant");
}

#[test]
fn kinds_are_told_by_header_and_rows() {
    let kind = |text: &str| decode_one(text).kind;
    let msh = |kind: &str| format!("MSH|^~\\&|A|B|||20260302100000||{kind}|1|P|2.5");
    assert_eq!(kind(&msh("ORU^R01")), MessageKind::KeepAlive);
    assert_eq!(kind(&format!("{}\rQRD|x", msh("QRY^R02"))), MessageKind::Query);
    assert_eq!(kind(&format!("{}\rMSA|AA|1", msh("ACK"))), MessageKind::Ack);
    assert_eq!(kind(&format!("{}\rORC|x", msh("ORM^O01"))), MessageKind::Other);
    assert_eq!(kind(&format!("{}\rMSA|AR|2", msh("RRG^O16"))), MessageKind::Ack);
    assert_eq!(kind(&msh("")), MessageKind::Other, "a header without a type is no sign of a healthy sender");
    assert_eq!(kind(&format!("{}\rOBX|1|NM|WBC^x^L||7|10e9/L|||||F", msh("ORU^R01"))), MessageKind::Other);
    assert_eq!(kind(&format!("{}\rOBX|1|NM|8867-4^x^LN||70|/min|||||F", msh("ORF^R04"))), MessageKind::Vitals);
    assert_eq!(kind(&format!("{}\rOBX|1|NA|8867-4^x^LN||1^2|mV|||||F", msh("ORU^R01"))), MessageKind::Waveform);
}

fn sample(path: &str) -> Vec<Report> {
    let text = std::fs::read_to_string(root().join("data/messages").join(path)).expect("a sample");
    decode_text(&mut decoder(), &source(1), &text)
}

#[test]
fn what_is_odd_about_a_message_is_marked() {
    let has = |path: &str, flag: u64| sample(path).iter().any(|report| report.flags.has(flag));
    assert!(has("ihe_pcd01/06_two_zones.hl7", MessageFlags::ZONES_DIFFER));
    assert!(has("ihe_pcd01/02_structure_and_clock.hl7", MessageFlags::CLOCK_UNSYNCHRONISED));
    assert!(has("mindray_vs/01_demo_mode.hl7", MessageFlags::TEST));
    assert!(has("mindray_vs/02_waveform_header_shifted.hl7", MessageFlags::MSH_SHIFTED));
    let clean = sample("ihe_pcd01/01_every_code.hl7");
    assert_eq!(clean[0].flags, MessageFlags::default(), "nothing is odd about a clean message");
}

#[test]
fn marks_of_a_row_say_what_was_put_up_with() {
    let conflicts = sample("ihe_pcd01/04_codes_in_conflict.hl7");
    let flags = |obx: u16| conflicts[0].observations.iter().find(|o| o.ordinal == obx - 1).expect("observed").flags;
    assert!(flags(1).has(ObsFlags::CODE_BY_REFID) && flags(2).has(ObsFlags::CODE_BY_REFID));
    assert!(flags(8).has(ObsFlags::UNIT_CONFLICT));
    assert!(flags(10).has(ObsFlags::UNIT_UNKNOWN) && flags(11).has(ObsFlags::UNIT_UNKNOWN));
    let zones = sample("ihe_pcd01/06_two_zones.hl7");
    let temp = of(&zones[0], Parameter::Temp);
    assert!(temp.flags.has(ObsFlags::TIME_INVALID), "fourteen zeros");
    assert_eq!(temp.time_source, TimeSource::Obr7);
    let assumed = sample("ihe_pcd01/02_structure_and_clock.hl7");
    assert!(of(&assumed[0], Parameter::NibpSys).flags.has(ObsFlags::ZONE_ASSUMED));
    let cuff = sample("mindray_egateway/01_numerics.hl7");
    assert!(of(&cuff[0], Parameter::NibpSys).flags.has(ObsFlags::EPISODIC));
}

#[test]
fn places_that_a_dialect_keeps_elsewhere_are_found() {
    let tr8 = sample("tr8/01_bed_in_the_address.hl7");
    assert_eq!([tr8[0].subject.point_of_care.as_str(), &tr8[0].subject.bed], ["WardB", "Bed9"]);
    let mdil = sample("philips_mdil/01_numerics.hl7");
    assert_eq!([mdil[0].subject.point_of_care.as_str(), &mdil[0].subject.bed], ["4-West", "12"]);
    assert_eq!(mdil[0].subject.patient, "\0V-7002", "the preferred type, not the first");
    let nihon = sample("nihon_kohden/01_two_groups.hl7");
    assert_eq!((nihon[0].subject.bed.as_str(), nihon[0].devices[0].key.as_str()), ("BED-011", "10.9.8.7:1"));
    assert!(!nihon[0].control_id_is_id);
    let efficia = sample("philips_efficia/01_numerics_and_invalid.hl7");
    assert!(!efficia[0].control_id_is_plain, "a serial stands in MSH-10");
}

#[test]
fn what_is_decoded_for_people_shows_no_identity() {
    let mut out = Vec::new();
    let paths: Vec<PathBuf> = files(&root().join("data/messages/ihe_pcd01"), "hl7");
    vitalguard::cli::decode::run(&paths, false, &mut out).expect("decoded");
    vitalguard::cli::decode::run(&paths, true, &mut out).expect("decoded");
    let text = String::from_utf8(out).expect("text");
    for secret in ["V-7001", "Muster", "Ada", "1971", "A03", "Klinik"] {
        assert!(!text.contains(secret), "{secret} is shown");
    }
    assert!(text.contains("MSH-21 contains") && text.contains("reject: code_conflict"));
    let object = text.lines().rev().find(|line| line.starts_with('{')).expect("JSON");
    let object: Value = serde_json::from_str(object).expect("JSON");
    let keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["file", "message", "dialect", "obx", "parameter", "value", "unit", "effective_at", "validity"]);
}

#[test]
fn a_test_message_is_test_data_throughout() {
    let report = decode_one(&format!("{}OBX|1|NM|147842^^MDC||70|/min|||||R", HEAD.replace("|P|2.6", "|T|2.6")));
    assert!(report.flags.has(MessageFlags::TEST));
    assert_eq!((of(&report, Parameter::Hr).validity, of(&report, Parameter::Hr).value), (Validity::Test, 70.0));
}

#[test]
fn the_body_hash_leaves_out_time_and_id_and_nothing_else() {
    let text = format!("{HEAD}PID|||V-1\rOBX|1|NM|147842^^MDC||70|/min|||||R");
    let hash = |text: &str| decode_one(text).body_hash;
    assert_eq!(hash(&text), hash(&text.replace("20260302100000+0100", "20260302100107+0100").replace("|N1|", "|N2|")));
    assert_ne!(hash(&text), hash(&text.replace("||70|", "||71|")));
    assert_ne!(hash(&text), hash(&text.replace("V-1", "V-2")));
    assert_ne!(hash(&text), [0; 16]);
}

#[test]
fn limits_are_read_into_the_canonical_unit() {
    let row = |limits: &str| decode_one(&format!("{HEAD}OBX|1|NM|150037^^MDC|1.13.1.1|16|kPa|{limits}||||R"));
    let (low, high) = of(&row("12-20"), Parameter::AbpSys).limits;
    assert!((low - 90.007_44).abs() < 1e-6 && (high - 150.012_4).abs() < 1e-6);
    assert!(of(&row("<20"), Parameter::AbpSys).limits.0.is_nan());
    assert!(of(&row("so so"), Parameter::AbpSys).limits.1.is_nan());
}

#[test]
fn a_listeners_dialect_wins_and_a_connection_remembers_its_own() {
    let mut decoder = decoder();
    let text = "MSH|^~\\&|A|B|||20260302100000||ORU^R01|1|P|2.5\rOBX|1|NM|101^HR||70|||||F";
    assert_eq!(decode_text(&mut decoder, &source(1), text)[0].dialect, "generic");
    let forced = Source { dialect: Some("mindray_pds".into()), ..source(1) };
    assert_eq!(decode_text(&mut decoder, &forced, text)[0].dialect, "mindray_pds");
    decode_text(&mut decoder, &source(2), &format!("{HEAD}OBX|1|NM|147842^^MDC||70|/min|||||R"));
    let keepalive = "MSH|^~\\&|A|B|||20260302100000||ORU^R01|1|P|2.5";
    assert_eq!(decode_text(&mut decoder, &source(2), keepalive)[0].dialect, "ihe_pcd01");
}

#[test]
fn stored_values_of_before_a_clock_change_are_in_the_listeners_zone_of_then() {
    let berlin = Source { zone: Some("Europe/Berlin".into()), ..source(1) };
    let row = |day: &str| format!("OBX|1|NM|147842^^MDC||70|/min|||||R|||202603{day}120000");
    let head = "MSH|^~\\&|GATE|B|||20260329120000||ORU^R01|1|P|2.5\rPID|||P1\rPV1|||^^B1\rOBR|1\r";
    // Received in summer time, measured in winter time.
    let report = decode_text(&mut decoder(), &berlin, &format!("{head}{}\r{}", row("28"), row("29"))).pop().expect("one");
    let at: Vec<String> = report.observations.iter().map(|o| o.effective_at.to_string()[8..16].to_owned()).collect();
    assert_eq!(at, ["28T11:00", "29T10:00"]);
    assert!(report.observations.iter().all(|o| !o.flags.has(ObsFlags::ZONE_ASSUMED)));
    let nowhere = Source { zone: Some("Middle/Earth".into()), ..source(2) };
    let report = decode_text(&mut decoder(), &nowhere, &format!("{head}{}", row("28"))).pop().expect("one");
    assert!(report.observations[0].flags.has(ObsFlags::ZONE_ASSUMED), "the site's");
}

#[test]
fn a_system_is_unknown_only_where_no_table_speaks_of_either() {
    let reason = |obx3: &str| reasons(&decode_one(&format!("{HEAD}OBX|1|NM|{obx3}||70|/min|||||R")))[0].to_owned();
    assert_eq!(reason("X1^one^99ZZZ"), "unknown_system");
    assert_eq!(reason("X1^one^99ZZZ^Y1^one^99YYY"), "unknown_system");
    assert_eq!(reason("^^^Y1^one^99YYY"), "unknown_system");
    assert_eq!(reason("X1^one^99ZZZ^99999-9^one^LN"), "unknown_code");
    assert_eq!(reason("999999^one^MDC^Y1^one^99YYY"), "unknown_code");
    let known = decode_one(&format!("{HEAD}OBX|1|NM|X1^one^99ZZZ^147842^MDC_ECG_HEART_RATE^MDC||70|/min|||||R"));
    assert_eq!((known.observations.len(), known.rejects.len()), (1, 0), "the alternate code counts");
}

#[test]
fn a_senders_rule_says_how_it_is_read() {
    use vitalguard::config::{SenderBook, SenderRule, Senders};
    let some = |text: &str| Some(text.to_owned());
    let rule = |application: &str| SenderRule { application: some(application), ..SenderRule::default() };
    let senders = Senders {
        closed: false,
        sender: vec![
            SenderRule { dialect: some("mindray_pds"), zone: some("Asia/Kolkata"), ..rule("bedgate") },
            SenderRule { allow_test: true, ..rule("TRIAL") },
        ],
    };
    let mut decoder = decoder();
    decoder.set_advice(senders.advice(decoder.tables()));
    let mut book = SenderBook::new(senders);
    let mut read = |application: &str, processing: &str, body: &str| {
        let text = format!("MSH|^~\\&|{application}|B|||20260302143000||ORU^R01|1|{processing}|2.5\r{body}");
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).expect("a message");
        let from = Source { dialect: some("loinc"), zone: some("Europe/Berlin"), ..source(1) };
        let rule = book.of(&from, &message);
        let mut report = Report::default();
        decoder.decode_by(rule, &message, &from, start(), &mut report);
        report
    };
    let hr = "OBX|1|NM|101^HR||70||||||F|||20260302142900";
    let told = read("BEDGATE^1^L", "P", hr);
    assert_eq!((told.rule, told.dialect), (Some(0), "mindray_pds"), "above the listener's");
    assert_eq!(told.sent_at.map(|at| at.to_string()), some("2026-03-02T09:00:00.000Z"));
    assert_eq!(told.observations[0].effective_at.to_string(), "2026-03-02T08:59:00.000Z");
    assert!(!told.observations[0].flags.has(ObsFlags::ZONE_ASSUMED), "the site said it");
    let other = read("OTHER", "P", hr);
    assert_eq!((other.rule, other.dialect), (None, "loinc"));
    let loinc = "OBX|1|NM|8867-4^Heart rate^LN||70|/min|||||F";
    assert_eq!(of(&read("TRIAL", "T", loinc), Parameter::Hr).validity, Validity::Valid);
    assert_eq!(of(&read("OTHER", "T", loinc), Parameter::Hr).validity, Validity::Test);
    let demo = "OBX|1|NM|8867-4^Heart rate^LN||70|/min||DEMO|||F";
    assert_eq!(of(&read("TRIAL", "T", demo), Parameter::Hr).validity, Validity::Test, "the row itself says so");
}

#[test]
fn ten_thousand_rows_are_decoded_and_counted() {
    let mut text = HEAD.to_owned();
    for n in 0..10_000 {
        let _ = write!(text, "OBX|{n}|NM|147842^^MDC|1.5.{n}.1|70|/min|||||R\r");
    }
    let started = std::time::Instant::now();
    assert_eq!(decode_one(&text).observations.len(), 10_000);
    let same = text.replace("|1.5.", "|1.5.1.1|70|/min|||||R|||||||||");
    assert!(decode_one(&same).rejects.iter().all(|reject| reject.reason == RejectReason::AmbiguousChannel));
    assert!(started.elapsed().as_secs() < 20, "not quadratic");
}

/// Bytes of a sample, cut, repeated and overwritten: nothing panics, and every OBX still becomes exactly one thing.
mod hostile {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Vec<u8>> {
        let folders = Tables::embedded().iter().map(|table| root().join("data/messages").join(table.name)).collect::<Vec<_>>();
        let paths = folders.iter().flat_map(|folder| files(folder, "hl7"));
        paths.map(|path| std::fs::read_to_string(path).expect("readable").replace('\n', "\r").into_bytes()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_bytes_bring_the_decoder_down(
            which in 0usize..64,
            edits in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
                Just(b'|'), Just(b'^'), Just(b'~'), Just(b'&'), Just(b'\\'), Just(b'\r'), Just(b'-'), Just(b'.'), Just(b'9'), any::<u8>()
            ]), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let samples = samples();
            let mut bytes = samples[which % samples.len()].clone();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                if at >= 3 {
                    bytes[at] = byte;
                }
            }
            bytes.truncate(cut.index(bytes.len()).max(20));
            let mut decoder = decoder();
            let mut scratch = Scratch::default();
            let mut report = Report::default();
            for payload in payloads(&bytes) {
                if let Ok(message) = Message::read(&payload, &mut scratch) {
                    decoder.decode(&message, &source(1), start(), &mut report);
                    let rows = message.segments().filter(|segment| segment.name() == b"OBX").count();
                    prop_assert_eq!(show::rows(&report).len(), rows);
                    prop_assert!(report.observations.iter().all(|o| !o.validity.usable() || o.value.is_finite()));
                    prop_assert!(report.observations.iter().all(|o| (o.device as usize) < report.devices.len()));
                }
            }
        }
    }
}
