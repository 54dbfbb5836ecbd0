//! Stories of who lies where: what ADT, values, connections and the site's own lists say of it.

use super::stories::adt;
use super::*;
use crate::config::{DeviceEntry, DeviceState, Devices, SenderRule, Senders};
use crate::vital::Parameter;

impl Ward {
    fn say_adt(&mut self, trigger: &str, bed: &str, prior: &str, patient: &str) {
        let bytes = adt(trigger, bed, prior, patient, self.now);
        self.send(&bytes);
    }
    /// An ADT whose PID-3 and further segments are given; its place is `bed`.
    fn say(&mut self, trigger: &str, pid3: &str, bed: &str, more: &str) {
        let t = self.now.hl7();
        let place = if bed.is_empty() { String::new() } else { format!("PV1||I|ICU^^{bed}\r") };
        let text = format!(
            "MSH|^~\\&|ADT|HOSP|||{t}||ADT^{trigger}|S{}|P|2.6\rEVN|{trigger}|{t}\rPID|||{pid3}\r{place}{more}",
            self.sequence
        );
        self.send(text.as_bytes());
    }
    fn send_as(&mut self, source: &Source, bytes: &[u8]) {
        self.sequence += 1;
        self.monitor.handle_frame(source, self.sequence, bytes, self.now);
        self.drain();
    }
    /// Seconds of values of these beds and patients.
    fn name(&mut self, who: &[(&str, &str)], seconds: usize) {
        for _ in 0..seconds {
            for (bed, patient) in who {
                let rows = self.living();
                self.tell_of(bed, patient, &rows);
            }
            self.wait(1.0);
        }
    }
    fn cell(&self, bed: &str) -> &Cell {
        let id = self.monitor.bed_id("icu", bed).expect("a known bed");
        &self.monitor.cells[id.0 as usize]
    }
    /// Whether the heart rate of a bed has an expected band.
    fn knows(&self, bed: &str) -> bool {
        self.cell(bed).bed.expected_band(Parameter::Hr, None, self.now).is_some()
    }
    fn marks(&self) -> Vec<(String, u64)> {
        let feed = self.monitor.feeds().next().expect("one feed");
        feed.marks.iter().filter(|(name, _)| name.starts_with("adt_")).map(|(n, c)| (n.clone(), *c)).collect()
    }
    fn events_of(&self, check: &str) -> Vec<String> {
        self.told().into_iter().filter(|t| t.contains(check)).collect()
    }
}

/// Values of ten minutes: an expected band is there.
const LONG: usize = 120;

#[test]
fn a_transfer_takes_the_levels_along_and_leaves_the_device() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2")], LONG);
    assert!(w.knows("A01"));
    w.say_adt("A03", "A02", "", "P-2");
    w.say_adt("A02", "A02", "ICU^^A01", "P-1");
    assert_eq!((w.trust("A01"), w.cell("A01").bed.streams.len()), (Trust::Off, 0));
    w.name(&[("A02", "P-1")], 2);
    assert!(w.knows("A02"), "from the first value on");
    assert_eq!(w.cell("A02").bed.stream(Parameter::Hr).unwrap().delta_s(), None, "the rhythm of the device is learned anew");
    w.name(&[("A02", "P-1")], 400);
    assert_eq!(w.told(), Vec::<String>::new());
}

#[test]
fn cancels_take_back_what_they_cancel() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1")], LONG);
    // A discharge, cancelled after ten minutes.
    w.say_adt("A03", "A01", "", "P-1");
    assert!(!w.knows("A01"));
    w.wait(600.0);
    w.say_adt("A13", "A01", "", "P-1");
    w.name(&[("A01", "P-1")], 2);
    assert!(w.knows("A01") && w.cell("A01").bed.delta_s().is_some());
    // A transfer, cancelled.
    w.say_adt("A02", "A02", "ICU^^A01", "P-1");
    assert_eq!(w.trust("A01"), Trust::Off);
    w.say_adt("A12", "A01", "ICU^^A02", "P-1");
    w.name(&[("A01", "P-1")], 2);
    assert!(w.knows("A01"));
    assert_eq!((w.cell("A01").bound, w.trust("A01") == Trust::Off), (w.cell("A01").bed.patient, false));
    // An admission to the wrong bed, cancelled: who lay there lies there again.
    let lies = w.cell("A01").bed.patient;
    w.say_adt("A01", "A01", "", "P-9");
    assert_ne!(w.cell("A01").bed.patient, lies);
    w.say_adt("A11", "A01", "", "P-9");
    assert_eq!((w.cell("A01").bed.patient, w.cell("A01").bound), (lies, lies));
    w.name(&[("A01", "P-1")], 2);
    assert!(w.knows("A01"));
    assert_eq!(w.told(), Vec::<String>::new());
}

#[test]
fn two_patients_who_change_beds_keep_their_levels() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2")], LONG);
    let (one, two) = (w.cell("A01").bed.patient, w.cell("A02").bed.patient);
    let second = "PID|||P-2^^^HOSP^MR\rPV1||I|ICU^^A01\r";
    w.say("A17", "P-1^^^HOSP^MR", "A02", second);
    assert_eq!((w.cell("A01").bed.patient, w.cell("A02").bed.patient), (two, one));
    w.name(&[("A02", "P-1"), ("A01", "P-2")], 90);
    assert!(w.knows("A01") && w.knows("A02"));
    assert_eq!(w.told(), Vec::<String>::new());
    assert_eq!((w.cell("A01").bound, w.cell("A02").bound), (two, one));
}

#[test]
fn every_id_of_a_patient_is_the_same_patient() {
    let mut w = Ward::new();
    // PID-3 repetitions, a merge of a bare id, a changed id; values name each of them in turn, bare or not.
    w.say("A01", "P-1^^^HOSP^MR~X-7^^^NAT^NI", "A03", "");
    w.say("A40", "P-1^^^HOSP^MR", "", "MRG|OLD-1\r");
    w.say("A47", "P-1^^^HOSP^MR", "", "MRG|OLDER-1^^^HOSP^MR\r");
    w.name(&[("A03", "P-1")], LONG);
    for id in ["P-1^^^HOSP", "OLD-1^^^HOSP", "OLD-1^^^", "OLDER-1^^^HOSP", "X-7^^^NAT", "P-1^^^"] {
        for _ in 0..5 {
            let rows = w.living();
            let bytes = String::from_utf8(frame("A03", &format!("{}", 10_000 + w.sequence), "GW", w.now, &rows)).unwrap();
            w.send(bytes.replace("P-A03^^^HOSP", id).as_bytes());
            w.wait(1.0);
        }
        assert!(w.knows("A03"), "{id}");
    }
    // An id is moved to somebody else, and two patients are parted.
    w.say("A43", "P-5^^^HOSP^MR", "", "MRG|OLDER-1^^^HOSP^MR\r");
    let hash = |w: &mut Ward, id: &str| {
        let id = w.monitor.keyed.patient(id);
        w.monitor.registry.aliases.resolve(id)
    };
    assert_eq!(hash(&mut w, "HOSP\0OLDER-1"), hash(&mut w, "HOSP\0P-5"));
    assert_ne!(hash(&mut w, "HOSP\0OLDER-1"), hash(&mut w, "HOSP\0P-1"));
    w.say("A24", "P-1^^^HOSP^MR", "", "PID|||P-6^^^HOSP^MR\r");
    assert_eq!(hash(&mut w, "HOSP\0P-6"), hash(&mut w, "HOSP\0P-1"));
    w.say("A37", "P-1^^^HOSP^MR", "", "PID|||P-6^^^HOSP^MR\r");
    assert_ne!(hash(&mut w, "HOSP\0P-6"), hash(&mut w, "HOSP\0P-1"));
    assert_eq!(hash(&mut w, "HOSP\0P-1"), w.cell("A03").bed.patient);
    assert!(w.events_of("P08").is_empty() && w.events_of("P09").is_empty(), "{:?}", w.told());
}

#[test]
fn an_unannounced_patient_is_told_and_one_who_comes_back_finds_everything() {
    let mut w = Ward::new();
    w.name(&[("A03", "P-1")], LONG);
    w.name(&[("A03", "P-2")], 1);
    let first = w.raised("P09").unwrap_or_else(|| panic!("{:?}", w.told())).alert.clone();
    assert_eq!((first.assessment, first.priority), (Assessment::Identity, Priority::Medium));
    assert!(first.text.en.contains("changed patient"), "{:?}", first.text);
    assert!(!w.knows("A03"));
    w.name(&[("A03", "P-1"), ("A03", "P-2"), ("A03", "P-1")], 1);
    assert!(w.knows("A03"), "the one message of another one has cost nothing");
    let alert = w.monitor.alert(&first.id).unwrap();
    assert!(alert.text.en.contains("two patients"), "{:?}", alert.text);
    assert_eq!((alert.priority, w.trust("A03")), (Priority::Medium, Trust::Untrusted));
}

#[test]
fn an_adt_before_or_within_ten_minutes_makes_it_information() {
    // Before: nothing at all.
    let mut w = Ward::new();
    w.name(&[("A03", "P-1")], LONG);
    w.say_adt("A01", "A03", "", "P-2");
    w.name(&[("A03", "P-1")], 5);
    w.name(&[("A03", "P-2")], 5);
    assert!(w.told().iter().all(|t| t.contains("Info")), "the monitor still named the one before: {:?}", w.told());
    // After: lowered, with the reason.
    let mut w = Ward::new();
    w.name(&[("A03", "P-1")], LONG);
    w.name(&[("A03", "P-2")], 200);
    assert_eq!(w.raised("P09").unwrap().alert.priority, Priority::Medium);
    w.say_adt("A01", "A03", "", "P-2");
    let alert = w.monitor.open_alerts().remove(0);
    assert_eq!((alert.priority, alert.assessment), (Priority::Info, Assessment::Identity), "{:?}", w.told());
    assert!(alert.text.en.contains("explains"), "{:?}", alert.text);
    assert_eq!(w.trust("A03"), Trust::Learning);
    w.name(&[("A03", "P-2")], 320);
    assert!(w.monitor.open_alerts().is_empty());
}

#[test]
fn without_adt_a_minute_of_silence_is_a_new_patient() {
    let mut w = Ward::new();
    w.name(&[("A03", "P-1")], LONG);
    w.wait(59.0);
    w.name(&[("A03", "P-2")], 30);
    assert_eq!(w.raised("P09").unwrap().alert.priority, Priority::Info, "{:?}", w.told());
    assert!(!w.knows("A03"));
}

#[test]
fn one_patient_live_in_two_beds_is_high_on_both_and_a_transfer_explains_it() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2")], LONG);
    w.wait(100.0);
    w.name(&[("A01", "P-1"), ("A02", "P-1")], 70);
    let mut beds: Vec<_> = w
        .events
        .iter()
        .filter(|e| e.event == EventKind::Raised && e.alert.condition.starts_with("P08"))
        .map(|e| (e.alert.bed.clone(), e.alert.priority, e.alert.assessment))
        .collect();
    beds.sort();
    let high = |bed: &str| (bed.to_owned(), Priority::High, Assessment::Identity);
    assert_eq!(beds, [high("A01"), high("A02")], "{:?}", w.told());
    assert!(w.raised("P08").unwrap().alert.text.it.contains("braccialetti"));
    // One of them is corrected: over after five minutes, latched until seen.
    w.name(&[("A01", "P-1"), ("A02", "P-2")], 400);
    assert!(w.monitor.open_alerts().iter().filter(|a| a.condition.starts_with("P08")).all(|a| a.state == AlertState::Latched));

    let mut w = Ward::new();
    w.name(&[("A01", "P-1")], LONG);
    w.say_adt("A02", "A02", "ICU^^A01", "P-1");
    w.name(&[("A01", "P-1"), ("A02", "P-1")], 200);
    let events = w.events_of("P08");
    assert!(!events.is_empty() && events.iter().all(|t| t.contains("Info")), "{events:?}");
}

#[test]
fn beds_that_name_each_others_patient_are_high_on_both() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2")], LONG);
    w.name(&[("A01", "P-2"), ("A02", "P-1")], 3);
    let high: Vec<_> = w.monitor.open_alerts().into_iter().filter(|a| a.priority == Priority::High).map(|a| a.bed).collect();
    assert_eq!(high.len(), 2, "{:?}", w.told());
    for alert in w.monitor.open_alerts() {
        assert!(alert.text.en.contains("exchanged"), "{alert:?} {:?}", w.told());
    }
}

#[test]
fn values_after_the_discharge_are_information_and_of_an_unadmitted_patient_a_doubt() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2"), ("A03", "P-3")], LONG);
    w.say_adt("A08", "A03", "", "P-3");
    w.say_adt("A03", "A01", "", "P-1");
    w.name(&[("A01", "P-1"), ("A02", "P-2"), ("A03", "P-3")], 890);
    assert!(w.events_of("P08").is_empty(), "{:?}", w.told());
    w.name(&[("A01", "P-1"), ("A02", "P-2"), ("A03", "P-3")], 20);
    assert_eq!(w.events_of("P08"), ["raised A01 P08 adt_mismatch Identity Info"]);
    // A02 was there before ADT was heard: no doubt. A04 came afterwards, and nobody admitted her.
    w.name(&[("A04", "P-4"), ("A02", "P-2")], 899);
    assert_eq!(w.events_of("raised A04").len(), 0, "{:?}", w.told());
    w.name(&[("A04", "P-4"), ("A02", "P-2")], 5);
    assert_eq!(w.events_of("raised A04"), ["raised A04 P08 adt_mismatch Identity Medium"]);
    assert_eq!(w.events_of("A02").len(), 0, "{:?}", w.told());
    // Her admission comes, to another bed: then the values are the ones that are wrong.
    w.say_adt("A01", "A05", "", "P-4");
    w.name(&[("A04", "P-4")], 950);
    let alert = w.monitor.open_alerts().into_iter().find(|a| a.bed == "A04").unwrap();
    assert!(alert.text.en.contains("lies in bed"), "{:?}", alert.text);
}

#[test]
fn late_repeated_and_unknown_adt_have_no_effect_and_are_counted() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1"), ("A02", "P-2")], 10);
    let early = adt("A01", "A01", "", "P-1", w.now);
    w.wait(60.0);
    let moved = adt("A02", "A03", "ICU^^A01", "P-1", w.now);
    w.send(&moved);
    w.say_adt("A01", "A01", "", "P-7");
    let lies = w.cell("A01").bed.patient;
    // A copy of the transfer, and the admission that was held back.
    w.send(&moved);
    w.send(&early);
    assert_eq!(w.cell("A01").bed.patient, lies);
    w.say("A99", "P-1^^^HOSP^MR", "A02", "");
    w.say("A05", "P-1^^^HOSP^MR", "A02", "");
    w.say("A08", "P-1^^^HOSP^MR", "A02", "");
    assert_eq!(
        w.marks(),
        [("adt_late".to_owned(), 1), ("adt_moved_by_update".to_owned(), 1), ("adt_unknown_event".to_owned(), 1)]
    );
    assert_eq!(w.monitor.feeds().next().unwrap().duplicates, 1);
    // A recorded time of the far future does not make everything after it late.
    let t = w.now.hl7();
    for (event, evn, bed) in [("A01", "20990101000000", "A01"), ("A02", t.as_str(), "A02")] {
        let text =
            format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^{event}|F{event}|P|2.6\rEVN||{evn}\rPID|||P-8^^^HOSP^MR\rPV1||I|ICU^^{bed}\r");
        w.send(text.as_bytes());
    }
    assert_ne!(w.cell("A02").bound, 0);
    assert_eq!(w.cell("A02").bound, w.cell("A02").bed.patient);
}

#[test]
fn an_admission_without_id_and_time_of_its_own_counts_each_time() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-0")], 10);
    let say = |w: &mut Ward, event: &str| {
        let t = w.now.hl7();
        let text = format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^{event}||P|2.6\rEVN|{event}\rPID|||P-1^^^HOSP^MR\rPV1||I|ICU^^A01\r");
        w.send(text.as_bytes());
        w.wait(120.0);
    };
    say(&mut w, "A01");
    let lay = w.cell("A01").bound;
    assert_ne!(lay, 0);
    say(&mut w, "A03");
    assert_eq!(w.cell("A01").bound, 0);
    say(&mut w, "A01");
    assert_eq!(w.cell("A01").bound, lay, "admitted once more");
}

#[test]
fn adt_opens_no_bed_and_is_remembered_until_the_bed_is_heard() {
    let mut w = Ward::new();
    w.name(&[("A01", "P-1")], LONG);
    w.say_adt("A02", "B77", "ICU^^A01", "P-1");
    assert!(w.monitor.bed_id("icu", "B77").is_none());
    w.wait(60.0);
    // ADT of another feed, whose listener is of another ward.
    let his =
        Source { feed: "his".into(), ward: "hospital".into(), peer: "192.0.2.99".into(), connection: 9, ..Source::default() };
    let born = adt("A08", "B77", "", "P-1", w.now);
    let born = String::from_utf8(born).unwrap().replace("P-1^^^HOSP^MR", "P-1^^^HOSP^MR||||20200101");
    w.send_as(&his, born.as_bytes());
    w.name(&[("B77", "P-1")], 3);
    let cell = w.cell("B77");
    assert_eq!((cell.bound, cell.bed.age), (cell.bed.patient, crate::observation::AgeBand::Child));
    assert!(w.knows("B77"), "the levels came along");
    assert!(w.told().is_empty(), "{:?}", w.told());
}

#[test]
fn a_bed_that_names_nobody_begins_anew_after_half_an_hour_of_silence_and_not_before() {
    let nobody = |w: &mut Ward, seconds: usize| {
        for _ in 0..seconds {
            let rows = w.living();
            let id = format!("{}", 10_000 + w.sequence);
            let bytes = String::from_utf8(frame("A03", &id, "GW", w.now, &rows)).unwrap();
            w.send(bytes.replace("P-A03^^^HOSP^MR", "").as_bytes());
            w.wait(1.0);
        }
    };
    for (silence_s, knows) in [(1798.0, true), (1800.0, false)] {
        let mut w = Ward::new();
        nobody(&mut w, LONG);
        w.wait(silence_s);
        nobody(&mut w, 1);
        assert_eq!(w.knows("A03"), knows, "{silence_s}");
    }
    // Of whom ADT says that he lies there still lies there.
    let mut w = Ward::new();
    nobody(&mut w, 2);
    w.say_adt("A01", "A03", "", "P-1");
    nobody(&mut w, LONG);
    w.wait(4000.0);
    nobody(&mut w, 1);
    assert!(w.knows("A03"));
}

#[test]
fn a_monitor_whose_identity_lives_in_the_connection_is_nobody_after_a_reconnect() {
    let mut w = Ward::new();
    let pds = |connection| Source { dialect: Some("mindray_pds".into()), connection, ..w.source() };
    let (first, second) = (pds(5), pds(6));
    let admit = "MSH|^~\\&|||||||ORU^R01|103|P|2.3.1|\rPID|||GUID-0001||Muster^C||19620711|F|\r\
                 PV1||I|^^ICU&7&3232235786&4601&&1|||||||||||||||A|||\rOBR||||Mindray Monitor|||0|\r";
    let values = |n: u64| {
        format!(
            "MSH|^~\\&|||||||ORU^R01|204|P|2.3.1|\rOBX||NM|101^HR|2101|{}||||||F\rOBX||NM|160^SpO2|2160|{}||||||F\r",
            60 + n % 7,
            95 + n % 4
        )
    };
    w.send_as(&first, admit.as_bytes());
    for n in 0..90 {
        w.send_as(&first, values(n).as_bytes());
        w.wait(1.0);
    }
    let named: Vec<_> = w.monitor.cells.iter().filter(|c| c.bed.patient != 0).map(|c| c.bed.bed.clone()).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(w.monitor.cells[w.monitor.cells.len() - 1].bed.age, crate::observation::AgeBand::Adult);
    // A03 of the monitor itself ends it within the connection.
    let away = admit.replace("ORU^R01|103", "ADT^A03|101");
    w.send_as(&first, away.as_bytes());
    assert!(w.monitor.cells.iter().all(|c| c.bed.patient == 0));
    // Two further connections that name nobody: never the last patient, and never one another.
    w.monitor.handle_close(5, w.now);
    let mut seen = Vec::new();
    for source in [&second, &pds2(&w)] {
        for n in 0..90 {
            w.send_as(source, values(n).as_bytes());
            w.wait(1.0);
        }
        let unknown = w.monitor.cells.iter().find(|c| c.bed.bed.starts_with("_unassigned")).expect("no place is known");
        seen.push((unknown.bed.patient, unknown.bed.stream(Parameter::Hr).map(|s| s.accepted)));
    }
    assert_eq!(seen, [(0, Some(90)), (0, Some(90))], "each connection begins anew");

    fn pds2(w: &Ward) -> Source {
        Source { dialect: Some("mindray_pds".into()), connection: 7, ..w.source() }
    }
}

#[test]
fn birth_date_and_category_choose_the_limits_and_a_contradiction_is_said() {
    use crate::observation::AgeBand;
    let mut w = Ward::new();
    let mut send = |pid7: &str, category: &str| {
        let rows = w.living();
        let id = format!("{}", 10_000 + w.sequence);
        let text = String::from_utf8(frame("A03", &id, "GW", w.now, &rows)).unwrap();
        let text = text.replace("P-A03^^^HOSP^MR", &format!("P-A03^^^HOSP^MR||||{pid7}"));
        let text = text.replace("PV1||I|ICU^^A03", &format!("PV1||I|ICU^^A03|||||||||||||||{category}"));
        w.send(text.as_bytes());
        w.wait(1.0);
        (w.cell("A03").bed.age, w.told().pop())
    };
    assert_eq!(send("", ""), (AgeBand::Unknown, None));
    assert_eq!(send("20201101", ""), (AgeBand::Child, None));
    assert_eq!(send("", "PEDIATRIC"), (AgeBand::Child, None), "the birth date is remembered as an age");
    let (age, told) = send("", "ADULT");
    assert_eq!(age, AgeBand::Unknown);
    assert_eq!(told.as_deref(), Some("raised A03 P13 category_change Identity Medium"), "changed without a word");
    let (_, told) = send("", "ADULT");
    assert_eq!(told.as_deref(), Some("raised A03 P13 category_change Identity Medium"));
}

#[test]
fn a_quarantined_device_is_high_with_its_first_message_of_any_kind() {
    let entry = DeviceEntry { id: "00:12:21:00:00:00:00:01".into(), state: DeviceState::Quarantined, ..DeviceEntry::default() };
    let settings = || Settings {
        site: "hsp1".into(),
        devices: Devices { device: vec![entry.clone()], ..Devices::default() },
        ..Settings::default()
    };
    let mut w = Ward::with(settings());
    w.live(&["A03"], 1);
    let alert = &w.raised("P17").unwrap_or_else(|| panic!("{:?}", w.told())).alert;
    assert_eq!((alert.assessment, alert.priority, alert.bed.as_str()), (Assessment::Identity, Priority::High, "A03"));
    // A test message, a waveform, an admission.
    for (from, to) in [("|P|2.6", "|T|2.6"), ("ORU^R01^ORU_R01", "ORU^W01^ORU_W01"), ("ORU^R01^ORU_R01", "ADT^A01^ADT_A01")] {
        let mut w = Ward::with(settings());
        let rows = w.living();
        let bytes = frame("A03", "1", "GW^0012210000000001^EUI-64", w.now, &rows);
        w.send(String::from_utf8(bytes).unwrap().replace(from, to).as_bytes());
        assert_eq!(w.raised("P17").map(|e| e.alert.priority), Some(Priority::High), "{to}: {:?}", w.told());
    }
    let mut w = Ward::with(settings());
    let rows = w.living();
    let bytes = frame("A03", "1", "GW^0012210000000002^EUI-64", w.now, &rows);
    w.send(&bytes);
    assert!(w.told().is_empty(), "another device");
}

#[test]
fn what_is_open_of_a_sender_outlives_the_patient() {
    let entry = DeviceEntry { id: "00:12:21:00:00:00:00:01".into(), state: DeviceState::Quarantined, ..DeviceEntry::default() };
    let devices = Devices { device: vec![entry], ..Devices::default() };
    let mut w = Ward::with(Settings { site: "hsp1".into(), devices, ..Settings::default() });
    w.name(&[("A03", "P-1")], 20);
    let rows = w.living();
    for _ in 0..40 {
        let mut rows = rows.clone();
        rows[2].2 = 104.0;
        w.tell_of("A03", "P-1", &rows);
        w.wait(1.0);
    }
    let before = w.monitor.open_alerts();
    assert!(before.iter().any(|a| a.evidence.len() > 1), "the frozen values joined it: {before:?}");
    w.say_adt("A03", "A03", "", "P-1");
    let open: Vec<String> = w.monitor.open_alerts().iter().map(|a| a.condition.clone()).collect();
    assert_eq!(open, ["P17 quarantined_device"], "{:?}", w.told());
    assert_eq!(w.monitor.open_alerts()[0].evidence.len(), 1, "only the sender's own evidence is left");
    w.name(&[("A03", "P-1")], 20);
    assert_eq!(w.told().iter().filter(|t| t.starts_with("raised") && t.contains("P17")).count(), 1, "{:?}", w.told());
}

#[test]
fn a_closed_list_tells_of_every_other_sender_and_its_adt_moves_nobody() {
    let rule = |app: &str| SenderRule { application: Some(app.into()), ..SenderRule::default() };
    let tls = SenderRule { encrypted: true, ..rule("ADT") };
    let senders = Senders { closed: true, sender: vec![rule("GW"), tls] };
    let mut w = Ward::with(Settings { site: "hsp1".into(), senders, ..Settings::default() });
    w.name(&[("A03", "P-1")], 30);
    assert!(w.told().is_empty(), "{:?}", w.told());
    let lies = w.cell("A03").bed.patient;
    // ADT in plain text, where TLS is demanded.
    w.say_adt("A01", "A03", "", "P-2");
    assert_eq!(w.cell("A03").bed.patient, lies);
    assert_eq!(w.raised("P16").map(|e| (e.alert.assessment, e.alert.priority)), Some((Assessment::Tamper, Priority::High)));
    let rows = w.living();
    let bytes = frame("A04", "1", "ROGUE", w.now, &rows);
    w.send(&bytes);
    assert_eq!(w.raised("P03").map(|e| (e.alert.assessment, e.alert.priority)), Some((Assessment::Identity, Priority::Medium)));
    let secure = Source { encrypted: true, ..w.source() };
    let bytes = adt("A01", "A03", "", "P-3", w.now);
    w.send_as(&secure, &bytes);
    assert_ne!(w.cell("A03").bed.patient, lies);
}

#[test]
fn a_ward_with_adt_survives_a_snapshot_at_any_moment() {
    let play = |cut: Option<usize>| {
        let mut w = Ward::new();
        for n in 0..40 {
            w.name(&[("A01", "P-1"), ("A02", if n % 9 == 4 { "P-5" } else { "P-2" })], 4);
            match n {
                5 => w.say("A40", "P-1^^^HOSP^MR~Z-1^^^NAT", "", "MRG|OLD-1\r"),
                10 => w.say_adt("A02", "B09", "ICU^^A02", "P-2"),
                15 => w.say_adt("A03", "A01", "", "P-1"),
                18 => w.say_adt("A13", "A01", "", "P-1"),
                25 => w.name(&[("B09", "P-2"), ("A03", "OLD-1")], 70),
                _ => {}
            }
            if cut == Some(n) {
                let settings = Settings { site: "hsp1".into(), ..Settings::default() };
                let snapshot = w.monitor.snapshot();
                w.monitor = Monitor::restore(settings, &snapshot).expect("our own snapshot");
                assert_eq!(w.monitor.snapshot(), snapshot);
            }
        }
        w.wait(700.0);
        (w.lines, w.monitor.snapshot())
    };
    let plain = play(None);
    assert!(plain.0.len() > 4);
    for cut in [4, 6, 11, 16, 19, 30] {
        assert!(play(Some(cut)) == plain, "{cut}");
    }
}
