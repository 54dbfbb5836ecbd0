use super::*;
use crate::alert::{Members, Number, Text};
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch};
use crate::observation::{AlarmKind, AlarmPhase, AlarmPriority, MessageKind, Report, Source};

fn alert() -> Alert {
    Alert {
        id: "A-0123456789ab-20261130T100000000Z".into(),
        reference: "1D15-DB51".into(),
        site: "hsp1".into(),
        ward: "icu".into(),
        bed: "A03".into(),
        condition: "P10 feed_disagreement".into(),
        assessment: Assessment::Tamper,
        priority: Priority::Medium,
        state: AlertState::Active,
        params: vec![Parameter::Spo2],
        onset: Timestamp(1_796_000_000_000),
        raised: Timestamp(1_796_000_010_000),
        updated: Timestamp(1_796_000_020_000),
        ended: None,
        cleared: None,
        count: 1,
        confidence: Number(0.95),
        text: Text { en: "97 | 81 ^ ~ & \\ \r\nOBX|9|NM|injected".into(), it: "è diverso".into() },
        action: Text { en: "Verify by hand.".into(), it: "Verificare.".into() },
        args: Members(Vec::new()),
        evidence: Vec::new(),
        acked: None,
        shelved: None,
        cause_of: Vec::new(),
        because: None,
        device: Some("dev-0badcafe".into()),
        model: "sha256:0".into(),
        href: None,
    }
}

fn head(phase: Phase) -> Head<'static> {
    Head {
        id: "VG00000000-7",
        site: "hsp1",
        receiver: ("AM", "HOSP"),
        language: Language::En,
        sent_at: Timestamp(1_796_000_030_000),
        seq: 3,
        phase,
    }
}

fn lines(alert: &Alert, head: &Head<'_>) -> Vec<String> {
    let text = String::from_utf8(report(alert, head)).unwrap();
    assert!(text.ends_with('\r'));
    text.split_terminator('\r').map(str::to_owned).collect()
}

fn field(line: &str, n: usize) -> &str {
    line.split('|').nth(n).unwrap_or_default()
}

#[test]
fn one_alert_is_seven_facets_and_names_nobody() {
    let all = lines(&alert(), &head(Phase::Start));
    let names: Vec<&str> = all.iter().map(|line| &line[..3]).collect();
    assert_eq!(names, ["MSH", "PID", "PV1", "OBR", "OBX", "NTE", "OBX", "OBX", "OBX", "OBX", "OBX", "OBX"]);
    let msh = &all[0];
    assert_eq!(
        (field(msh, 8), field(msh, 9), field(msh, 11), field(msh, 20)),
        ("ORU^R40^ORU_R40", "VG00000000-7", "2.6", PROFILE)
    );
    assert_eq!((field(msh, 14), field(msh, 15), field(msh, 17)), ("AL", "NE", "UNICODE UTF-8"));
    assert_eq!(all[1], "PID|||\"\"||^^^^^^U");
    assert_eq!(field(&all[2], 3), "icu^^A03");
    assert_eq!(
        (field(&all[3], 3), field(&all[3], 4)),
        ("A-0123456789ab-20261130T100000000Z^VITALGUARD", "196616^MDC_EVT_ALARM^MDC")
    );
    assert_eq!((field(&all[4], 3), field(&all[4], 8)), ("P10^feed_disagreement^99VITALGUARD", "PM~SA"));
    let facets: Vec<(&str, &str)> = all[6..].iter().map(|l| (field(l, 3).split('^').nth(1).unwrap(), field(l, 5))).collect();
    assert_eq!(
        facets,
        [
            ("MDC_ATTR_ALERT_SOURCE", "MDC_PULS_OXIM_SAT_O2"),
            ("MDC_ATTR_EVENT_PHASE", "start"),
            ("MDC_ATTR_ALARM_STATE", "active"),
            ("MDC_ATTR_ALARM_INACTIVATION_STATE", "enabled"),
            ("MDC_ATTR_ALARM_PRIORITY", "PM"),
            ("MDC_ATTR_ALERT_TYPE", "SA"),
        ]
    );
}

#[test]
fn a_text_cannot_leave_its_field() {
    let all = lines(&alert(), &head(Phase::Start));
    assert_eq!(field(&all[4], 5), "97 \\F\\ 81 \\S\\ \\R\\ \\T\\ \\E\\   OBX\\F\\9\\F\\NM\\F\\injected");
    let mut long = alert();
    long.text.en = "é|".repeat(100_000);
    assert!(report(&long, &head(Phase::Start)).len() < 4096);
    let it = Head { language: Language::It, ..head(Phase::Start) };
    assert_eq!(field(&lines(&alert(), &it)[4], 5), "è diverso");
}

#[test]
fn phases_states_and_what_a_person_did() {
    let told = |alert: &Alert, phase| {
        let all = lines(alert, &head(phase));
        (field(&all[3], 3).to_owned(), field(&all[3], 29).to_owned(), [7, 8, 9].map(|n| field(&all[n], 5).to_owned()).join(" "))
    };
    let mut a = alert();
    let parent = "^A-0123456789ab-20261130T100000000Z&VITALGUARD";
    assert_eq!(told(&a, Phase::Start).1, "");
    assert_eq!(
        told(&a, Phase::Escalate),
        ("A-0123456789ab-20261130T100000000Z.3^VITALGUARD".into(), parent.into(), "escalate active enabled".into())
    );
    a.acked = Some(crate::alert::Acked {
        user: "n".into(),
        at: a.updated,
        via: crate::command::Via::Web,
        comment: Some("Rossi".into()),
    });
    assert_eq!(told(&a, Phase::Update).2, "update active alert-acknowledged");
    assert!(!String::from_utf8(report(&a, &head(Phase::Update))).unwrap().contains("Rossi"), "what people write stays here");
    a.acked = None;
    a.state = AlertState::Latched;
    assert_eq!(told(&a, Phase::Update).2, "update latched enabled");
    a.state = AlertState::Cleared;
    assert_eq!(told(&a, Phase::End).2, "end inactive enabled");
}

#[test]
fn ours_is_never_physiological() {
    for assessment in [
        Assessment::Tamper,
        Assessment::Identity,
        Assessment::Artefact,
        Assessment::Unit,
        Assessment::Silence,
        Assessment::Physiology,
        Assessment::Advisory,
        Assessment::Unverified,
    ] {
        let technical = matches!(assessment, Assessment::Artefact | Assessment::Unit | Assessment::Silence);
        assert_eq!(kind(assessment), if technical { "ST" } else { "SA" });
    }
}

#[test]
fn our_own_decoder_reads_it_as_an_alarm_report() {
    let mut decoder = Decoder::new("UTC", Tables::embedded()).unwrap();
    for (phase, expected) in
        [(Phase::Start, AlarmPhase::Start), (Phase::Update, AlarmPhase::Continue), (Phase::End, AlarmPhase::End)]
    {
        let bytes = report(&alert(), &head(phase));
        let mut scratch = Scratch::default();
        let message = Message::read(&bytes, &mut scratch).unwrap();
        let mut read = Report::default();
        decoder.decode_by(None, &message, &Source::default(), Timestamp(1_796_000_030_000), &mut read);
        assert_eq!((read.kind, read.subject.bed.as_str()), (MessageKind::Alarm, "A03"));
        assert!(read.subject.patient.is_empty(), "{:?}", read.subject.patient);
        assert!(read.observations.is_empty(), "an alert is no value");
        if let [alarm, ..] = read.alarms[..] {
            assert_eq!((alarm.phase, alarm.kind, alarm.priority), (expected, AlarmKind::Advisory, AlarmPriority::Medium));
        } else {
            panic!("no alarm: {:?}", read.rejects);
        }
    }
}
