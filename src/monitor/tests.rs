//! Stories of whole beds, told in frames and without sockets.

use super::*;
use crate::alert::{Envelope, Trust};
use crate::command::Via;
use std::fmt::Write as _;

mod charted;
mod clocks;
mod commands;
mod copies;
mod devices;
mod echo;
mod flood;
mod identities;
mod indicators;
mod stories;

const START: i64 = 1_795_371_600_000;

/// One value of a message.
type Row = (&'static str, &'static str, f64);

const HR: &str = "147842^MDC_ECG_HEART_RATE^MDC|264864^MDC_DIM_BEAT_PER_MIN^MDC";
const PR: &str = "149530^MDC_PULS_OXIM_PULS_RATE^MDC|264864^MDC_DIM_BEAT_PER_MIN^MDC";
const SPO2: &str = "150456^MDC_PULS_OXIM_SAT_O2^MDC|262688^MDC_DIM_PERCENT^MDC";
const RR: &str = "151562^MDC_RESP_RATE^MDC|264928^MDC_DIM_RESP_PER_MIN^MDC";
const ABPM: &str = "150039^MDC_PRESS_BLD_ART_ABP_MEAN^MDC|266016^MDC_DIM_MMHG^MDC";

fn frame(bed: &str, id: &str, sender: &str, at: Timestamp, rows: &[Row]) -> Vec<u8> {
    let t = at.hl7();
    let mut text = format!(
        "MSH|^~\\&|{sender}|HOSP|||{t}||ORU^R01^ORU_R01|{id}|P|2.6|||NE|AL|||||PCD_DEC_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||P-{bed}^^^HOSP^MR\rPV1||I|ICU^^{bed}\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||{t}\r"
    );
    for (n, (code, _, value)) in rows.iter().enumerate() {
        let (code, unit) = code.split_once('|').unwrap();
        let _ = write!(text, "OBX|{}|NM|{code}|1.1.1.{}|{value}|{unit}|||||F|||{t}\r", n + 1, n + 1);
    }
    text.into_bytes()
}

/// A ward that can be told to send.
struct Ward {
    monitor: Monitor,
    now: Timestamp,
    sequence: u64,
    lines: Vec<String>,
    events: Vec<AlertEvent>,
    responses: Vec<Response>,
    devices: usize,
    device_events: Vec<DeviceEvent>,
    noise: u64,
}

impl Ward {
    fn new() -> Ward {
        Ward::with(Settings { site: "hsp1".into(), ..Settings::default() })
    }
    fn with(settings: Settings) -> Ward {
        Ward {
            monitor: Monitor::new(settings),
            now: Timestamp::from_ms(START),
            sequence: 0,
            lines: Vec::new(),
            events: Vec::new(),
            responses: Vec::new(),
            devices: 0,
            device_events: Vec::new(),
            noise: 7,
        }
    }
    fn source(&self) -> Source {
        Source {
            feed: "gw1".into(),
            peer: "192.0.2.10".into(),
            connection: 1,
            ward: "main".into(),
            dialect: None,
            zone: None,
            ..Source::default()
        }
    }
    fn random(&mut self, below: u64) -> u64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 33) % below
    }
    fn drain(&mut self) {
        let envelope = Envelope { site: "hsp1".into(), boot: "b".into(), replay: None, href: false };
        while let Some(output) = self.monitor.poll_output() {
            match output {
                Output::Alert(event) => {
                    self.lines.push(event.to_json(&envelope));
                    self.events.push(*event);
                }
                Output::Response(response) => self.responses.push(*response),
                Output::Device(event) => {
                    self.devices += 1;
                    self.device_events.push(*event);
                }
                Output::BedChanged(_) => {}
            }
        }
    }
    fn send(&mut self, bytes: &[u8]) {
        self.sequence += 1;
        let source = self.source();
        self.monitor.handle_frame(&source, self.sequence, bytes, self.now);
        self.drain();
    }
    fn tell(&mut self, bed: &str, rows: &[Row]) {
        let id = format!("{}", 10_000 + self.sequence);
        let bytes = frame(bed, &id, "GW^0012210000000001^EUI-64", self.now, rows);
        self.send(&bytes);
    }
    fn wait(&mut self, s: f64) {
        self.now = self.now.plus_s(s);
        self.monitor.handle_timeout(self.now);
        self.drain();
    }
    /// A living patient.
    fn living(&mut self) -> Vec<Row> {
        let hr = 70 + self.random(7);
        vec![
            (HR, "hr", hr as f64),
            (PR, "pr", (hr + self.random(3)) as f64 - 1.0),
            (SPO2, "spo2", 96.0 + self.random(3) as f64),
            (RR, "rr", 14.0 + self.random(4) as f64),
            (ABPM, "abp", 84.0 + self.random(6) as f64),
        ]
    }
    /// A second of every bed, so many times.
    fn live(&mut self, beds: &[&str], seconds: usize) {
        for _ in 0..seconds {
            for bed in beds {
                let rows = self.living();
                self.tell(bed, &rows);
            }
            self.wait(1.0);
        }
    }
    fn told(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|e| {
                format!(
                    "{} {} {} {:?} {:?}",
                    e.event.as_str(),
                    e.alert.bed,
                    e.alert.condition,
                    e.alert.assessment,
                    e.alert.priority
                )
            })
            .collect()
    }
    fn raised(&self, check: &str) -> Option<&AlertEvent> {
        self.events.iter().find(|e| e.event == EventKind::Raised && e.alert.condition.starts_with(check))
    }
    fn ack(&mut self, request: &str, alert: &str, rev: Option<u64>) -> Response {
        let command = Command {
            request_id: request.into(),
            user: "nurse7".into(),
            via: Via::Mqtt,
            expires: None,
            wards: Vec::new(),
            verb: Verb::Ack { alert: alert.into(), rev, comment: Some("probe off".into()) },
        };
        self.monitor.handle_command(&command, 0, self.now);
        self.drain();
        self.responses.last().cloned().expect("every command is answered")
    }
}

fn seqs_are_gapless(events: &[AlertEvent]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        let seq = last.entry(&event.alert.id).or_default();
        assert_eq!(event.seq, *seq + 1, "{}", event.alert.id);
        *seq = event.seq;
    }
}

#[test]
fn a_quiet_feed_raises_nothing_and_its_documents_show_it() {
    let mut w = Ward::new();
    w.live(&["A01", "A02"], 2400);
    assert_eq!(w.told(), Vec::<String>::new());
    let bed = w.monitor.bed_id("icu", "a01").unwrap();
    let state = w.monitor.bed_state(bed, w.now).unwrap();
    assert_eq!((state.trust, state.params.0.len(), state.active.len()), (Trust::Plausible, 5, 0));
    assert!(
        state.params.0.iter().all(|(_, p)| p.value.is_some() && p.trust == Trust::Plausible && p.band.is_some()),
        "{state:?}"
    );
    let ward = &w.monitor.ward_states("ICU", w.now)[0];
    assert_eq!((ward.beds.len(), ward.trust.plausible), (2, 2));
    assert_eq!(w.devices, 1);
    let feed = w.monitor.feeds().next().unwrap();
    assert_eq!(
        (feed.received, feed.vitals, feed.duplicates, feed.wards.as_slice()),
        (4800, 4800, 0, ["ICU".to_owned()].as_slice())
    );
}

#[test]
fn a_frozen_stream_is_tampering_and_ends_after_five_clean_minutes() {
    let mut w = Ward::new();
    w.live(&["A03"], 2000);
    let frozen = w.living();
    let from = w.now;
    for _ in 0..90 {
        w.tell("A03", &frozen);
        w.wait(1.0);
    }
    let event = w.raised("T03").expect("raised").clone();
    assert_eq!((event.alert.assessment, event.alert.priority), (Assessment::Tamper, Priority::Medium));
    assert!(event.alert.confidence.0 >= 0.7 && event.alert.confidence.0 < 0.9);
    assert!(event.ts.since_s(from) <= 60.0, "{:?}", event.ts.since_s(from));
    assert!(event.alert.text.en.contains("stand still since"), "{:?}", event.alert.text);
    assert!(event.alert.action.en.contains(&event.alert.reference));
    assert_eq!(event.alert.evidence[0].check, "T03");
    let bed = w.monitor.bed_id("icu", "A03").unwrap();
    assert_eq!(w.monitor.bed_state(bed, w.now).unwrap().trust, Trust::Untrusted);
    let over = w.now;
    w.live(&["A03"], 320);
    let cleared = w.events.iter().find(|e| e.event == EventKind::Cleared).expect("cleared");
    assert!((300.0..302.0).contains(&cleared.ts.since_s(over)), "{}", cleared.ts.since_s(over));
    assert_eq!(w.monitor.open_alerts().len(), 0);
    seqs_are_gapless(&w.events);
}

#[test]
fn two_rates_that_disagree_are_medium_after_a_minute_and_ten_seconds() {
    let mut w = Ward::new();
    w.live(&["A06"], 300);
    let from = w.now;
    for _ in 0..120 {
        let mut rows = w.living();
        rows[0].2 = 2.0 * rows[1].2;
        w.tell("A06", &rows);
        w.wait(1.0);
    }
    let event = w.raised("A07").expect("raised");
    assert_eq!((event.alert.assessment, event.alert.priority), (Assessment::Artefact, Priority::Medium));
    let keys: Vec<_> = event.alert.params.iter().map(|p| p.key()).collect();
    assert_eq!(keys, ["hr", "pr"]);
    let after_s = event.ts.since_s(from);
    assert!((70.0..100.0).contains(&after_s), "{after_s}: 60 s, the lag of the sensors, and 10 s");
    assert!(
        !event.alert.args.0.is_empty() && event.alert.text.it.contains("polso") || event.alert.text.it.contains("pulsossimetro")
    );
}

#[test]
fn a_reused_id_with_another_body_is_tampering_of_the_whole_bed_and_latches() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    let rows = w.living();
    let first = frame("A03", "X77", "GW^0012210000000001^EUI-64", w.now, &rows);
    w.send(&first);
    w.wait(1.0);
    let mut other = w.living();
    other[0].2 = 120.0;
    let second = frame("A03", "X77", "GW^0012210000000001^EUI-64", w.now, &other);
    w.send(&second);
    let event = w.raised("P01").expect("raised at once").clone();
    assert_eq!((event.alert.assessment, event.alert.priority, event.ts), (Assessment::Tamper, Priority::High, w.now));
    assert_eq!(event.alert.evidence[0].msg_id.as_deref(), Some("X77"));
    assert_eq!(event.alert.evidence[0].raw.as_deref(), Some(format!("gw1.{}", w.sequence).as_str()));
    w.live(&["A03"], 330);
    let latched = w.monitor.alert(&event.alert.id).expect("a high stays until a person has seen it");
    assert_eq!(latched.state, AlertState::Latched);
    let answer = w.ack("r1", &event.alert.id, None);
    assert_eq!((answer.refusal, answer.alert_state.as_deref()), (None, Some("cleared")));
    let kinds: Vec<_> = w.events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(kinds, ["raised", "updated", "acknowledged", "cleared"]);
    assert!(w.lines.iter().all(|l| !l.contains("probe off")), "comments are not published");
    seqs_are_gapless(&w.events);
}

#[test]
fn a_second_sender_at_the_same_time_is_an_identity_conflict() {
    let mut w = Ward::new();
    w.live(&["A04"], 120);
    for n in 0..30 {
        let rows = w.living();
        w.tell("A04", &rows);
        let rows = w.living();
        let bytes = frame("A04", &format!("Z{n}"), "OTHER^00AABBCCDDEEFF00^EUI-64", w.now.plus_ms(400), &rows);
        w.send(&bytes);
        w.wait(1.0);
    }
    let event = w.raised("P02").unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!(event.alert.assessment, Assessment::Identity);
    assert!(event.alert.priority <= Priority::Medium);
}

#[test]
fn silence_is_said_after_a_minute_and_ends_with_the_next_values() {
    let mut w = Ward::new();
    w.live(&["A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A09", "A10", "A11"], 60);
    let rest = ["A02", "A03", "A04", "A05", "A06", "A07", "A08", "A09", "A10", "A11"];
    w.live(&rest, 90);
    let event = w.raised("M03").unwrap_or_else(|| panic!("{:?}", w.told())).clone();
    assert_eq!((event.alert.bed.as_str(), event.alert.priority), ("A01", Priority::Medium));
    let bed = w.monitor.bed_id("icu", "A01").unwrap();
    let state = w.monitor.bed_state(bed, w.now).unwrap();
    assert_eq!(state.trust, Trust::Nofeed);
    assert!(state.params.0.iter().all(|(_, p)| p.value.is_none()), "an old value is never shown");
    w.live(&["A01"], 15);
    assert!(w.events.iter().any(|e| e.event == EventKind::Cleared && e.alert.id == event.alert.id), "{:?}", w.told());
    assert!(w.raised("M04").is_none(), "one bed of eleven is no gateway");
}

#[test]
fn a_ward_without_data_is_one_high_notice_that_folds_its_beds() {
    let mut w = Ward::new();
    w.live(&["A01", "A02", "A03", "A04"], 60);
    w.wait(100.0);
    let notice = w.raised("M04").unwrap_or_else(|| panic!("{:?}", w.told())).alert.clone();
    assert_eq!((notice.ward.as_str(), notice.bed.as_str()), ("ICU", "_ward"));
    w.wait(20.0);
    let notice = w.monitor.alert(&notice.id).unwrap();
    assert_eq!((notice.priority, notice.cause_of.len()), (Priority::High, 4), "{:?}", w.told());
    for alert in w.monitor.open_alerts().iter().filter(|a| a.condition.starts_with("M03")) {
        assert_eq!(alert.because.as_deref(), Some(notice.id.as_str()));
    }
    w.live(&["A01", "A02", "A03", "A04"], 60);
    let open: Vec<_> = w.monitor.open_alerts().into_iter().map(|a| (a.condition, a.state)).collect();
    assert_eq!(open, [("M04 mass_silence".to_owned(), AlertState::Latched)], "{:?} {:?}", w.told(), w.monitor.fleet.groups);
    let ward = &w.monitor.ward_states("ICU", w.now)[0];
    assert_eq!((ward.beds.len(), ward.alerts.high, ward.trust.learning), (5, 1, 4));
    seqs_are_gapless(&w.events);
}

#[test]
fn kilopascal_read_as_millimetres_is_a_unit() {
    let mut w = Ward::new();
    w.live(&["A05"], 400);
    for _ in 0..20 {
        let mut rows = w.living();
        rows[4].2 = (rows[4].2 * 0.133_322 * 10.0).round() / 10.0;
        w.tell("A05", &rows);
        w.wait(1.0);
    }
    let event = w.raised("C02").unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!((event.alert.assessment, event.alert.priority), (Assessment::Unit, Priority::Medium));
}

#[test]
fn a_resent_message_is_judged_once() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    let rows = w.living();
    let bytes = frame("A03", "R1", "GW^0012210000000001^EUI-64", w.now, &rows);
    w.send(&bytes);
    for _ in 0..20 {
        w.wait(1.0);
        w.send(&bytes);
    }
    assert_eq!(w.told(), Vec::<String>::new());
    assert_eq!(w.monitor.feeds().next().unwrap().duplicates, 20);
}

#[test]
fn a_command_is_answered_once_and_a_stale_one_is_refused() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    let rows = w.living();
    let bytes = frame("A03", "X1", "GW^0012210000000001^EUI-64", w.now, &rows);
    w.send(&bytes);
    w.wait(1.0);
    let rows = w.living();
    let bytes = frame("A03", "X1", "GW^0012210000000001^EUI-64", w.now, &rows);
    w.send(&bytes);
    let id = w.raised("P01").unwrap().alert.id.clone();
    assert_eq!(w.ack("r0", "A-none", None).refusal, Some(Refusal::NotFound));
    assert_eq!(w.ack("r1", &id, Some(3)).refusal, Some(Refusal::StaleRev));
    let bed = w.monitor.bed_id("icu", "A03").unwrap();
    let rev = w.monitor.bed_state(bed, w.now).unwrap().rev;
    let first = w.ack("r2", &id, Some(rev));
    assert_eq!((first.refusal, first.alert_state.as_deref()), (None, Some("acknowledged")));
    let events = w.events.len();
    assert_eq!(w.ack("r2", &id, Some(rev)), first, "the same request has the same answer");
    assert_eq!(w.events.len(), events, "and no second effect");
    w.wait(400.0);
    let late = Command {
        request_id: "r3".into(),
        user: "nurse7".into(),
        via: Via::Web,
        expires: Some(w.now.plus_s(-1.0)),
        wards: Vec::new(),
        verb: Verb::Comment { alert: id, comment: "x".into() },
    };
    w.monitor.handle_command(&late, 0, w.now);
    w.drain();
    assert_eq!(w.responses.last().unwrap().refusal, Some(Refusal::Expired));
}

#[test]
fn our_own_absence_is_nobodys_silence() {
    let mut w = Ward::new();
    w.live(&["A01", "A02"], 120);
    let left = w.now;
    w.now = w.now.plus_s(3600.0);
    w.monitor.handle_start(left, w.now);
    w.drain();
    w.wait(5.0);
    w.live(&["A01"], 120);
    let told: Vec<_> = w.told();
    assert!(w.raised("M03").is_some_and(|e| e.alert.bed == "A02"), "A02 did not come back: {told:?}");
    assert!(told.iter().all(|t| t.contains("A02")), "{told:?}");
    assert!(w.raised("M03").unwrap().ts.since_s(left) >= 3660.0);
}

#[test]
fn a_discharge_ends_what_was_open_and_silence_is_expected_from_then_on() {
    let mut w = Ward::new();
    w.live(&["A03", "A04"], 100);
    for _ in 0..40 {
        let mut rows = w.living();
        rows[2].2 = 104.0;
        w.tell("A03", &rows);
        w.tell("A04", &rows[..2]);
        w.wait(1.0);
    }
    let open = w.monitor.open_alerts().len();
    assert!(open > 0, "{:?}", w.told());
    let adt = format!(
        "MSH|^~\\&|ADT|HOSP|||{t}||ADT^A03^ADT_A03|D1|P|2.6\rEVN|A03|{t}\rPID|||P-A03^^^HOSP^MR\rPV1||I|ICU^^A03\r",
        t = w.now.hl7()
    );
    w.send(adt.as_bytes());
    assert!(w.events.iter().any(|e| e.event == EventKind::Expired && e.cause == Cause::Discharge), "{:?}", w.told());
    let bed = w.monitor.bed_id("icu", "A03").unwrap();
    assert_eq!(w.monitor.bed_state(bed, w.now).unwrap().trust, Trust::Off);
    w.live(&["A04"], 200);
    assert!(!w.told().iter().any(|t| t.starts_with("raised A03 M03")), "{:?}", w.told());
}

#[test]
fn the_installations_own_trouble_is_an_alert_of_the_site() {
    let mut w = Ward::new();
    w.live(&["A01"], 10);
    w.monitor.handle_condition(&SiteCondition { check: "S01".into(), holds: true }, w.now);
    w.drain();
    let event = w.raised("S01").expect("raised at once").clone();
    assert_eq!(
        (event.alert.ward.as_str(), event.alert.bed.as_str(), event.alert.assessment),
        ("_site", "_site", Assessment::Silence)
    );
    w.monitor.handle_condition(&SiteCondition { check: "S01".into(), holds: false }, w.now);
    w.wait(11.0);
    assert_eq!(w.events.last().unwrap().event, EventKind::Cleared);
    w.monitor.handle_condition(&SiteCondition { check: "Z99".into(), holds: true }, w.now);
}

/// A day's worth of trouble in a few minutes, as a list of inputs.
fn troubled(step: &mut dyn FnMut(&mut Ward, usize)) -> Ward {
    let mut w = Ward::new();
    let frozen = w.living();
    for n in 0..900 {
        step(&mut w, n);
        for bed in ["A01", "A02", "A03"] {
            let mut rows = w.living();
            match (bed, n) {
                ("A01", 400..520) => rows.clone_from(&frozen),
                ("A02", 200..420) => rows[0].2 = 150.0,
                ("A03", 500..700) => continue,
                ("A02", 600..640) => rows[4].2 = 11.5,
                _ => {}
            }
            w.tell(bed, &rows);
        }
        if n == 450 {
            let open = w.monitor.open_alerts();
            if let Some(alert) = open.first() {
                let id = alert.id.clone();
                w.ack("r", &id, None);
            }
        }
        w.now = w.now.plus_s(1.0);
    }
    w.wait(700.0);
    w
}

#[test]
fn the_same_inputs_give_the_same_bytes_whoever_asks_when() {
    let plain = troubled(&mut |_, _| {});
    assert!(plain.lines.len() >= 6, "{:?}", plain.told());
    let eager = troubled(&mut |w, n| {
        let now = w.now;
        for ms in [0, 1, 499] {
            if n % 3 == 0 {
                w.monitor.handle_timeout(now.plus_ms(-499 + ms));
                w.drain();
            }
        }
        while w.monitor.poll_timeout().is_some_and(|at| at <= now) {
            let at = w.monitor.poll_timeout().unwrap();
            w.monitor.handle_timeout(at);
            w.drain();
        }
    });
    assert_eq!(plain.lines, eager.lines);
    seqs_are_gapless(&plain.events);
}

#[test]
fn a_snapshot_goes_on_as_if_nothing_had_happened() {
    let plain = troubled(&mut |_, _| {});
    for at in [1, 230, 415, 460, 505, 580, 899] {
        let restored = troubled(&mut |w, n| {
            if n == at {
                let bytes = w.monitor.snapshot();
                let settings = Settings { site: "hsp1".into(), ..Settings::default() };
                w.monitor = Monitor::restore(settings, &bytes).unwrap();
            }
        });
        assert_eq!(plain.lines, restored.lines, "restored at {at}");
    }
}

#[test]
fn a_snapshot_of_another_model_is_refused_and_garbage_is_no_panic() {
    let monitor = Monitor::default();
    let bytes = monitor.snapshot();
    let mut other = Settings::default();
    other.checks.pressure_order.hold_readings = 3.0;
    assert!(matches!(Monitor::restore(other, &bytes), Err(RestoreError::OtherModel { .. })));
    assert!(Monitor::restore(Settings::default(), &bytes).is_ok());
    for cut in 0..bytes.len().min(200) {
        assert!(Monitor::restore(Settings::default(), &bytes[..cut]).is_err());
    }
    assert!(Monitor::restore(Settings::default(), &[0xFF; 64]).is_err());
}

#[test]
fn names_and_numbers_of_patients_never_leave() {
    let mut w = Ward::new();
    for n in 0..200 {
        let rows = w.living();
        let mut text = String::from_utf8(frame("A03", &format!("SN-Rossi {n}"), "GW", w.now, &rows)).unwrap();
        text = text.replace("P-A03^^^HOSP^MR", "MRN-SECRET-1^^^HOSP^MR||Geheim^Token");
        // From here on the ids repeat, so that a sentence names one.
        if n > 150 {
            text = text.replace(&format!("SN-Rossi {n}"), "SN-Rossi 1");
        }
        w.send(text.as_bytes());
        w.wait(1.0);
    }
    assert!(w.raised("P01").is_some_and(|e| e.alert.evidence[0].msg_id.as_ref().is_some_and(|m| m.starts_with("m-"))));
    let all = format!("{:?} {:?} {:?}", w.lines, w.monitor.feeds().collect::<Vec<_>>(), w.monitor.open_alerts());
    for token in ["SECRET", "Geheim", "Rossi", "192.0.2.10"] {
        assert!(!all.contains(token), "{token}");
    }
}

#[test]
fn configured_beds_come_first_and_a_strict_map_opens_no_other() {
    let entry = |bed: &str, from: &str| crate::config::BedEntry { ward: "icu".into(), bed: bed.into(), from: vec![from.into()] };
    let beds = crate::config::Beds {
        map: MapMode::Strict,
        bed: vec![entry("A20", "ICU^^X1^^"), entry("A01", "icu^^a01")],
        ..crate::config::Beds::default()
    };
    let mut w = Ward::with(Settings { site: "hsp1".into(), beds, ..Settings::default() });
    w.live(&["A01", "X1", "Z9"], 5);
    let ward = w.monitor.ward_states("icu", w.now).remove(0);
    let seen: Vec<_> = ward.beds.iter().map(|b| b.bed.as_str()).collect();
    assert_eq!(seen, ["A20", "A01"]);
    assert_eq!(w.monitor.beds().filter(|p| p.reserved).count(), 1, "Z9 is a bed of its device");
    assert_eq!(w.monitor.feeds().next().unwrap().beds_refused, 0);
    let beds = crate::config::Beds { beds_max: Some(2), ..crate::config::Beds::default() };
    let mut w = Ward::with(Settings { site: "hsp1".into(), beds, ..Settings::default() });
    w.live(&["A01", "A02", "A03"], 5);
    assert_eq!((w.monitor.beds().count(), w.monitor.feeds().next().unwrap().beds_refused), (2, 5));
}

#[test]
fn a_place_that_is_no_slug_is_a_bed_of_its_device() {
    let mut w = Ward::new();
    let rows = w.living();
    let bytes = String::from_utf8(frame("A03", "1", "GW", w.now, &rows)).unwrap().replace("ICU^^A03", "Signora Rossi^^letto/3");
    w.send(bytes.as_bytes());
    let bed = w.monitor.beds().find(|p| p.reserved).unwrap();
    assert!(bed.ward == "_site" && bed.bed.starts_with("_unassigned-dev-"), "{bed:?}");
}

#[test]
fn any_bytes_are_counted_and_none_of_them_stops_the_monitor() {
    use proptest::prelude::*;
    proptest!(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }, |(cuts in proptest::collection::vec((0usize..900, any::<u8>()), 1..12), junk in proptest::collection::vec(any::<u8>(), 0..300))| {
        let mut w = Ward::new();
        let rows = w.living();
        let mut bytes = frame("A03", "1", "GW", w.now, &rows);
        w.send(&bytes);
        for (at, byte) in cuts {
            let at = at % bytes.len();
            bytes[at] = byte;
            w.send(&bytes);
            w.now = w.now.plus_s(1.0);
        }
        w.send(&junk);
        let snapshot = w.monitor.snapshot();
        let settings = Settings { site: "hsp1".into(), ..Settings::default() };
        prop_assert!(Monitor::restore(settings, &snapshot).is_ok());
        for place in w.monitor.beds().map(|p| p.id).collect::<Vec<_>>() {
            prop_assert!(w.monitor.bed_state(place, w.now).is_some());
        }
    });
}

#[test]
fn whatever_happens_a_restored_monitor_says_the_same() {
    use proptest::prelude::*;
    proptest!(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() }, |(troubles in proptest::collection::vec((0u8..6, 0usize..3, 30usize..250, 5usize..120), 1..6), cut in 1usize..300, seed in 1u64..u64::MAX)| {
        let run = |restore: bool| {
            let mut w = Ward::new();
            w.noise = seed;
            let frozen = w.living();
            for n in 0..300usize {
                if restore && n == cut {
                    let bytes = w.monitor.snapshot();
                    w.monitor = Monitor::restore(Settings { site: "hsp1".into(), ..Settings::default() }, &bytes).expect("its own snapshot");
                }
                for (number, bed) in ["A01", "A02", "A03"].into_iter().enumerate() {
                    let mut rows = w.living();
                    let mut id = format!("{n}");
                    let mut silent = false;
                    for (kind, at_bed, from, length) in &troubles {
                        if *at_bed != number || !(*from..from + length).contains(&n) {
                            continue;
                        }
                        match kind {
                            0 => rows.clone_from(&frozen),
                            1 => rows[0].2 = 180.0,
                            2 => silent = true,
                            3 => "7".clone_into(&mut id),
                            // Two troubles at once may have taken the row away.
                            4 if rows.len() > 2 => rows[2].2 = 120.0,
                            _ => rows.truncate(2),
                        }
                    }
                    if !silent {
                        let bytes = frame(bed, &format!("{bed}-{id}"), "GW", w.now, &rows);
                        w.send(&bytes);
                    }
                }
                w.now = w.now.plus_s(1.0);
            }
            w.wait(700.0);
            seqs_are_gapless(&w.events);
            w.lines
        };
        prop_assert_eq!(run(false), run(true));
    });
}
