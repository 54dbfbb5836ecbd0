//! Stories of patients who come, move and leave, and of what must not be lost when two things happen at once.

use super::*;
use crate::eval::synth::message::Sender;
use crate::eval::synth::{Kind, Patient};

const GW: &str = "GW^0012210000000001^EUI-64";

pub(super) fn adt(trigger: &str, bed: &str, prior: &str, patient: &str, at: Timestamp) -> Vec<u8> {
    let t = at.hl7();
    format!(
        "MSH|^~\\&|ADT|HOSP|||{t}||ADT^{trigger}^ADT_{trigger}|{trigger}{t}|P|2.6\rEVN|{trigger}|{t}\r\
         PID|||{patient}^^^HOSP^MR\rPV1||I|ICU^^{bed}|||{prior}\r"
    )
    .into_bytes()
}

impl Ward {
    /// A value of a bed whose patient is named.
    pub(super) fn tell_of(&mut self, bed: &str, patient: &str, rows: &[Row]) {
        let id = format!("{}", 10_000 + self.sequence);
        let bytes = frame(bed, &id, GW, self.now, rows);
        let text = String::from_utf8(bytes).unwrap().replace(&format!("P-{bed}^"), &format!("{patient}^"));
        self.send(text.as_bytes());
    }
    /// Two bodies under one id: a hard violation.
    fn reuse(&mut self, bed: &str, id: &str) {
        for _ in 0..2 {
            let rows = self.living();
            let bytes = frame(bed, id, GW, self.now, &rows);
            self.send(&bytes);
            self.wait(1.0);
        }
    }
    pub(super) fn trust(&self, bed: &str) -> Trust {
        let id = self.monitor.bed_id("icu", bed).expect("a known bed");
        self.monitor.bed_state(id, self.now).expect("a known bed").trust
    }
}

#[test]
fn a_transfer_moves_the_patient_and_says_neither_silence_nor_a_false_identity() {
    let mut w = Ward::new();
    for _ in 0..120 {
        for (bed, patient) in [("A01", "P-7"), ("A02", "P-8"), ("A03", "P-9"), ("A04", "P-10"), ("A05", "P-11")] {
            let rows = w.living();
            w.tell_of(bed, patient, &rows);
        }
        w.wait(1.0);
    }
    // P-8 goes home; an hour later P-7 is moved to that bed, and the monitor there is switched on after ten minutes.
    let out = adt("A03", "A02", "", "P-8", w.now);
    w.send(&out);
    for n in 0..5400 {
        if n == 3600 {
            let moved = adt("A02", "A02", "ICU^^A01", "P-7", w.now);
            w.send(&moved);
            // The old monitor had one more value on its way.
            let rows = w.living();
            w.tell_of("A01", "P-7", &rows);
            assert_eq!(w.trust("A01"), Trust::Off, "nobody lies there");
        }
        for (bed, patient) in [("A01", "P-7"), ("A03", "P-9"), ("A04", "P-10"), ("A05", "P-11")] {
            if bed != "A01" || n < 3600 {
                let rows = w.living();
                w.tell_of(bed, patient, &rows);
            }
        }
        if n >= 4200 {
            let rows = w.living();
            w.tell_of("A02", "P-7", &rows);
        }
        w.wait(1.0);
    }
    assert_eq!(w.told(), Vec::<String>::new());
    assert_eq!((w.trust("A01"), w.trust("A02")), (Trust::Off, Trust::Learning));
    // And there silence is told as anywhere.
    w.live(&["A03", "A04", "A05"], 90);
    assert!(w.raised("M03").is_some_and(|e| e.alert.bed == "A02"), "{:?}", w.told());
}

#[test]
fn a_late_discharge_does_not_touch_the_one_who_lies_there_now() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    w.reuse("A03", "X1");
    assert!(w.raised("P01").is_some());
    let late = adt("A03", "A03", "", "P-who-left-yesterday", w.now);
    w.send(&late);
    let moved = adt("A02", "A09", "ICU^^A03", "P-who-left-yesterday", w.now);
    w.send(&moved);
    assert!(!w.told().iter().any(|t| t.starts_with("expired")), "{:?}", w.told());
    assert_eq!(w.trust("A03"), Trust::Untrusted);
}

#[test]
fn another_patient_without_a_word_takes_nothing_over() {
    let mut w = Ward::new();
    for _ in 0..2400 {
        let rows = w.living();
        w.tell_of("A03", "P-1", &rows);
        w.wait(1.0);
    }
    // The next one lies at another level: no step, no habit of the one before.
    for n in 0..600 {
        let mut rows = w.living();
        for (row, by) in rows.iter_mut().zip([60.0, 60.0, -9.0, 12.0, -25.0]) {
            row.2 += by;
        }
        w.tell_of("A03", "P-2", &rows);
        w.wait(1.0);
        if n == 30 {
            assert_eq!(w.trust("A03"), Trust::Untrusted);
        }
    }
    // That it is another one is told, and nothing else; five minutes later the bed learns as any other.
    assert_eq!(
        w.told(),
        [
            "raised A03 P09 identity_binding Identity Medium".to_owned(),
            "cleared A03 P09 identity_binding Identity Medium".to_owned()
        ]
    );
    assert_eq!(w.trust("A03"), Trust::Learning);
}

#[test]
fn an_unseen_high_stays_latched_through_a_long_silence_without_a_word_more() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    w.reuse("A03", "X1");
    let id = w.raised("P01").expect("raised").alert.id.clone();
    w.wait(4.0 * 3600.0);
    let of_it = w.events.iter().filter(|e| e.alert.id == id).count();
    assert!(of_it <= 3, "raised, latched: {of_it} events");
    assert_eq!(w.monitor.alert(&id).expect("nobody has seen it").state, AlertState::Latched);
    seqs_are_gapless(&w.events);
}

#[test]
fn a_change_that_did_not_come_does_not_keep_the_bed_awake() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    // An artefact ends shortly before it would have become medium; its alert is open for five minutes more.
    for n in 0..700 {
        let mut rows = w.living();
        if n < 290 {
            rows[2].2 = 104.0;
        }
        w.tell("A03", &rows);
        w.wait(1.0);
    }
    assert!(w.raised("A01").is_some(), "{:?}", w.told());
    let bed = w.monitor.bed_id("icu", "A03").unwrap();
    let rev = w.monitor.bed_state(bed, w.now).unwrap().rev;
    assert!(rev < 5000, "{rev} documents for 800 messages");
}

#[test]
fn a_second_manipulation_soon_after_the_first_is_never_hidden() {
    let mut w = Ward::new();
    w.live(&["A03"], 2000);
    w.reuse("A03", "X1");
    let first = w.raised("P01").expect("raised").alert.id.clone();
    w.ack("r1", &first, None);
    w.live(&["A03"], 320);
    assert!(w.monitor.open_alerts().is_empty(), "{:?}", w.told());
    let from = w.now;
    let frozen = w.living();
    for _ in 0..120 {
        w.tell("A03", &frozen);
        w.wait(1.0);
    }
    let again = w.raised("T03").unwrap_or_else(|| panic!("{:?}", w.told()));
    assert!(again.ts.since_s(from) <= 90.0, "{}", again.ts.since_s(from));
}

#[test]
fn one_condition_on_three_beds_of_a_gateway_is_one_notice_that_names_them() {
    let mut w = Ward::new();
    let beds: Vec<String> = (1..=16).map(|n| format!("B{n:02}")).collect();
    let beds: Vec<&str> = beds.iter().map(String::as_str).collect();
    w.live(&beds, 60);
    for n in 0..150 {
        for bed in &beds {
            let mut rows = w.living();
            if matches!(*bed, "B01" | "B02" | "B03") && n < 120 {
                rows[0].2 = 2.0 * rows[1].2;
            }
            w.tell(bed, &rows);
        }
        w.wait(1.0);
    }
    let open = w.monitor.open_alerts();
    let notice = open.iter().find(|a| a.bed == "_ward").unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!((notice.condition.as_str(), notice.cause_of.len()), ("A07 hr_vs_pr", 3), "{notice:?}");
    let members: Vec<_> = open.iter().filter(|a| a.bed.starts_with('B')).collect();
    assert_eq!(members.len(), 3);
    for member in members {
        assert_eq!(member.because.as_deref(), Some(notice.id.as_str()));
        assert!(notice.cause_of.contains(&member.id));
    }
    w.live(&beds, 300);
    w.wait(1.0);
    w.live(&beds, 310);
    assert_eq!(w.monitor.open_alerts().len(), 0, "{:?}", w.told());
    seqs_are_gapless(&w.events);
}

#[test]
fn a_monitor_that_only_trusts_reviewed_habits_does_not_accuse_by_learned_ones() {
    let run = |profiles| {
        let mut w = Ward::with(Settings { site: "hsp1".into(), profiles, ..Settings::default() });
        w.live(&["A03"], 2000);
        let frozen = w.living();
        for _ in 0..120 {
            w.tell("A03", &frozen);
            w.wait(1.0);
        }
        (w.raised("T03").map(|e| e.alert.assessment), w.trust("A03"))
    };
    assert_eq!(run(crate::config::Profiles::Learned), (Some(Assessment::Tamper), Trust::Untrusted));
    assert_eq!(run(crate::config::Profiles::Reviewed), (None, Trust::Learning));
}

#[test]
fn absurd_numbers_and_times_spoil_nothing_for_what_comes_after() {
    let mut w = Ward::new();
    w.live(&["A03"], 100);
    for year in ["9999", "1970", "0001"] {
        let mut rows = w.living();
        rows[0].2 = 9e15;
        rows.push(("150067^MDC_PRESS_BLD_VEN_CENT_MEAN^MDC|266016^MDC_DIM_MMHG^MDC", "cvp", 9e15));
        let bytes = String::from_utf8(frame("A03", &format!("Y{year}"), GW, w.now, &rows)).unwrap();
        let this = w.now.hl7();
        let bytes = bytes.replace(&this, &format!("{year}{}", &this[4..]));
        w.send(bytes.as_bytes());
        w.wait(1.0);
    }
    let mut rows = w.living();
    rows[0].2 = 91.0;
    w.tell("A03", &rows);
    let bed = w.monitor.bed_id("icu", "A03").unwrap();
    let state = w.monitor.bed_state(bed, w.now).unwrap();
    let hr = &state.params.0.iter().find(|(p, _)| p.key() == "hr").unwrap().1;
    assert_eq!(hr.value.map(|v| v.0), Some(91.0), "the newest value is shown");
    for stream in &w.monitor.cells[bed.0 as usize].bed.streams {
        assert!(stream.slow.sd() < 1e3 && stream.slow.mean().is_none_or(|m| m.abs() < 1e3), "{stream:?}");
    }
    w.wait(7200.0);
}

#[test]
fn synthetic_patients_with_artefacts_are_never_called_manipulated() {
    let mut w = Ward::new();
    let kinds: Vec<Kind> = Kind::ALL.into_iter().collect();
    // Every five seconds a message, twelve beds for two hours: 24 hours of patients.
    let mut beds: Vec<(Patient, Sender)> = (0..12usize)
        .map(|n| {
            let sender = Sender {
                application: "SYNTH".into(),
                facility: "HOSP".into(),
                eui64: format!("00122100000001{n:02}"),
                point_of_care: "ICU".into(),
                bed: format!("S{n:02}"),
                patient: format!("SYN-{n}"),
                born: String::new(),
                processing: 'P',
            };
            (Patient::new(kinds[n % kinds.len()], 100 + n as u64, w.now, 3.0), sender)
        })
        .collect();
    for second in 0..7200 {
        for (n, (patient, sender)) in beds.iter_mut().enumerate() {
            let readings = patient.step();
            if second % 5 == n % 5 && !readings.is_empty() {
                let bytes = sender.write(&format!("{n}-{second}"), w.now, readings);
                w.sequence += 1;
                let source = w.source();
                w.monitor.handle_frame(&source, w.sequence, &bytes, w.now);
            }
        }
        w.drain();
        w.now = w.now.plus_s(1.0);
    }
    let accused: Vec<_> = w.events.iter().filter(|e| e.alert.assessment == Assessment::Tamper).map(|e| &e.alert).collect();
    assert!(accused.is_empty(), "{accused:?}");
    assert!(w.monitor.feeds().next().unwrap().observations > 100_000);
    seqs_are_gapless(&w.events);
}

#[test]
fn a_patient_who_worsens_on_a_manipulated_bed_is_told_beside_it() {
    let mut w = Ward::new();
    w.live(&["A03"], 2000);
    w.reuse("A03", "X1");
    for _ in 0..60 {
        let mut rows = w.living();
        // Heart rate, pulse and pressure say the same: three sensors.
        rows[0].2 += 115.0;
        rows[1].2 += 115.0;
        rows[4].2 -= 42.0;
        w.tell("A03", &rows);
        w.wait(1.0);
    }
    let open = w.monitor.open_alerts();
    let worse = open.iter().find(|a| a.assessment == Assessment::Physiology).unwrap_or_else(|| panic!("{:?}", w.told()));
    let tamper = open.iter().find(|a| a.assessment == Assessment::Tamper).unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!((worse.priority, tamper.priority), (Priority::Medium, Priority::High));
    for alert in [worse, tamper] {
        assert!(alert.action.en.contains("assess the patient now"), "{:?}", alert.action);
    }
    assert!(worse.because.is_none(), "never folded");
}

#[test]
fn a_flood_on_one_bed_is_one_card_that_goes_when_the_bed_is_quiet() {
    let mut w = Ward::with(Settings {
        site: "hsp1".into(),
        episodes: crate::config::Episodes { clear_s: 120.0, ..Default::default() },
        ..Settings::default()
    });
    w.live(&["A03"], 60);
    for n in 0..2300 {
        let mut rows = w.living();
        if n % 230 < 100 {
            rows[0].2 = 2.0 * rows[1].2;
        }
        w.tell("A03", &rows);
        w.wait(1.0);
    }
    let raised =
        |check: &str| w.events.iter().filter(|e| e.event == EventKind::Raised && e.alert.condition.starts_with(check)).count();
    assert_eq!((raised("A07"), raised("S05")), (10, 1), "{:?}", w.told());
    let folded = w.events.iter().filter(|e| e.event == EventKind::Raised && e.alert.because.is_some()).count();
    assert_eq!(folded, 4, "six are told, four are folded");
    w.live(&["A03"], 300);
    assert!(w.monitor.open_alerts().is_empty(), "{:?}", w.told());
    assert!(w.monitor.alerts.is_empty(), "nothing is kept of what is closed");
    seqs_are_gapless(&w.events);
}

#[test]
fn a_monitor_in_demonstration_on_a_bed_in_use_is_told_and_its_values_are_not_taken() {
    let mut w = Ward::new();
    let demonstrate = |w: &mut Ward, sender: &str, bed: &str| {
        let rows = [(HR, "hr", 60.0), (SPO2, "spo2", 99.0)];
        let bytes = frame(bed, &format!("D{}", w.sequence), sender, w.now, &rows);
        let text = String::from_utf8(bytes).unwrap().replace("MDC|||||F", "MDC||DEMO|||F");
        w.send(text.as_bytes());
        w.wait(1.0);
    };
    w.live(&["A01"], 120);
    for _ in 0..25 {
        demonstrate(&mut w, "TESTER^0012210000000009^EUI-64", "A01");
        demonstrate(&mut w, GW, "A09");
        w.live(&["A01"], 1);
    }
    assert!(w.raised("C06").is_none(), "another sender's test, and a bed that nobody measures: {:?}", w.told());
    for _ in 0..25 {
        demonstrate(&mut w, GW, "A01");
    }
    let raised = w.raised("C06").expect("after the delay of a low alert");
    assert_eq!(raised.alert.assessment, crate::check::Assessment::Artefact);
    assert!(format!("{raised:?}").contains("demo or test mode"), "{raised:?}");
    let bed = w.monitor.bed_id("icu", "a01").unwrap();
    let state = w.monitor.bed_state(bed, w.now).unwrap();
    let demonstrated = |v: crate::alert::Number| v.0 == 60.0 || v.0 == 99.0;
    assert!(!state.params.0.iter().filter_map(|(_, p)| p.value).any(demonstrated), "{state:?}");
    w.live(&["A01"], 400);
    let cleared = |e: &AlertEvent| e.event == EventKind::Cleared && e.alert.condition.starts_with("C06");
    assert!(w.events.iter().any(cleared), "the patient is measured again: {:?}", w.told());
}

#[test]
fn a_gateway_that_begins_to_average_is_one_notice_for_the_engineers() {
    let mut w = Ward::new();
    let beds = ["A01", "A02", "A03", "A04"];
    for n in 0..400 {
        for bed in beds {
            let mut rows = w.living();
            if n >= 120 {
                for row in &mut rows {
                    row.2 += 0.1 * w.random(10) as f64;
                }
            }
            let bytes = frame(bed, &format!("{}", 10_000 + w.sequence), "VITALGUARD-DEMO", w.now, &rows);
            w.send(&bytes);
        }
        w.wait(1.0);
    }
    let open = w.monitor.open_alerts();
    let notice =
        open.iter().find(|a| a.bed == "_ward" && a.condition.starts_with("T05")).unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!((notice.condition.as_str(), notice.cause_of.len()), ("T05 resolution_change", 4), "{notice:?}");
    assert_eq!(
        (notice.assessment, notice.priority),
        (Assessment::Unverified, Priority::Info),
        "{:?} {:#?}",
        w.told(),
        w.monitor.account("icu", "A01")
    );
    for member in open.iter().filter(|a| a.bed != "_ward" && !a.condition.starts_with("A06")) {
        assert_eq!((member.condition.as_str(), member.because.as_deref()), ("T05 resolution_change", Some(notice.id.as_str())));
        assert_eq!(member.priority, Priority::Info);
    }
    assert!(w.events.iter().all(|e| e.alert.assessment != Assessment::Tamper), "{:?}", w.told());
    seqs_are_gapless(&w.events);
}

#[test]
fn a_beat_that_a_gateway_erases_on_all_beds_is_one_notice() {
    let shelf = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = true\nreviewed_by_role = \"x\"\n\
                 reviewed_on = \"2026-11-30\"\napplications = [\"BEAT\"]\nperiod_s = 4.0\n";
    let mut w = Ward::new();
    w.monitor.house.shelf.add(crate::profile::Profile::from_toml(shelf).unwrap());
    let beds = ["A01", "A02", "A03", "A04"];
    let mut kept = [w.living(), w.living(), w.living(), w.living()];
    for n in 0..600 {
        for (at, bed) in beds.into_iter().enumerate() {
            if n % 4 == 0 || n >= 400 {
                kept[at] = w.living();
            }
            let bytes = frame(bed, &format!("{}", 10_000 + w.sequence), "BEAT", w.now, &kept[at]);
            w.send(&bytes);
        }
        w.wait(1.0);
    }
    let open = w.monitor.open_alerts();
    let notice = open.iter().find(|a| a.bed == "_ward").unwrap_or_else(|| panic!("{:?}", w.told()));
    assert_eq!((notice.condition.as_str(), notice.assessment), ("T06 update_lattice", Assessment::Tamper), "{:?}", w.told());
    assert_eq!((open.len(), notice.cause_of.len()), (5, 4), "{:?}", w.told());
    assert!(open.iter().filter(|a| a.bed != "_ward").all(|a| (0.7..0.9).contains(&a.confidence.0)));
}
