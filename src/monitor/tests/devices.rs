//! The inventory: what is heard of devices, and what advisories make of it.

use super::*;
use crate::advisory::{Advisories, Level, SHIPPED, Status, VersionState};
use crate::alert::DeviceEventKind;

const EUI: &str = "02C0FFFFFE000801";

fn message(bed: &str, sender: &str, facility: &str, id: &str, at: Timestamp, rows: &[Row]) -> Vec<u8> {
    let text = String::from_utf8(frame(bed, id, sender, at, rows)).unwrap();
    text.replacen("|HOSP|", &format!("|{facility}|"), 1).into_bytes()
}

impl Ward {
    /// Seconds of a sender at a bed.
    fn from(&mut self, bed: &str, sender: &str, facility: &str, seconds: usize) {
        for _ in 0..seconds {
            let rows = self.living();
            let bytes = message(bed, sender, facility, &format!("{}", 20_000 + self.sequence), self.now, &rows);
            self.send(&bytes);
            self.wait(1.0);
        }
    }
    fn kinds(&self) -> Vec<String> {
        let word = |e: &DeviceEvent| match e.event {
            DeviceEventKind::New => "new".to_owned(),
            DeviceEventKind::Advisory => {
                format!("{} {}", e.advisory.as_ref().map_or("", |a| &a.id), e.matched.map_or("", Level::as_str))
            }
            DeviceEventKind::Moved => format!("moved {:?} {:?}", e.from.as_deref(), e.to.as_deref()),
            DeviceEventKind::Skew => format!("skew {:?} {:?}", e.from.as_deref(), e.to.as_deref()),
        };
        self.device_events.iter().map(word).collect()
    }
    fn state(&self, bed: &str) -> crate::alert::BedState {
        self.monitor.bed_state(self.monitor.bed_id("icu", bed).unwrap(), self.now).unwrap()
    }
    fn decide(&mut self, request: &str, device: &str, advisory: &str, status: Status) -> Option<Refusal> {
        let verb = Verb::Advisory { device: device.into(), advisory: advisory.into(), status, note: Some("off the net".into()) };
        let command =
            Command { request_id: request.into(), user: "eng1".into(), via: Via::Web, expires: None, wards: Vec::new(), verb };
        self.monitor.handle_command(&command, 0, self.now);
        self.drain();
        self.responses.last().expect("every command is answered").refusal
    }
}

#[test]
fn a_product_of_an_advisory_is_in_the_inventory_and_one_low_alert() {
    let mut w = Ward::new();
    w.from("B02", &format!("CMS8000^{EUI}^EUI-64"), "HOSP", 30);
    assert_eq!(w.kinds(), ["new", "ICSMA-25-030-01 exact", "ICSMA-22-244-01 exact"]);
    let event = &w.device_events[1];
    assert_eq!(
        (event.ward.as_deref(), event.bed.as_deref(), event.model.as_deref()),
        (Some("ICU"), Some("B02"), Some("CMS8000"))
    );
    let device = w.monitor.devices(false).remove(0);
    assert_eq!((device.model.as_deref(), device.bed.as_deref(), device.messages), (Some("CMS8000"), Some("B02"), 30));
    assert_eq!((device.rate_per_s, device.skew_ms, device.identified.is_none()), (1.0, Some(0), true));
    assert_eq!(device.advisories.len(), 2);
    assert_eq!((device.advisories[0].matched.as_str(), device.advisories[0].field.as_str()), ("CMS8000", "MSH-3"));
    assert_eq!(device.advisories[0].version_state, Some(VersionState::Affected));
    let told: Vec<String> = w.told();
    assert_eq!(told, ["raised B02 N01 advisory_match Advisory Low"]);
    let alert = &w.events[0].alert;
    assert!(
        alert.text.en.contains("declares CMS8000, a name that stands in ICSMA-25-030-01, ICSMA-22-244-01. Declared"),
        "{}",
        alert.text.en
    );
    assert!(alert.text.en.contains("data of 2026-09-30") && alert.text.it.contains("CMS8000"), "{}", alert.text.it);
    // The values of the bed are believed as before.
    let state = w.state("B02");
    let shown = state.device.clone().unwrap();
    assert_eq!((shown.advisories, shown.model.as_deref(), state.priority), (2, Some("CMS8000"), Some(Priority::Low)));
    assert!(state.params.0.iter().all(|(_, p)| p.trust != Trust::Untrusted && p.trust != Trust::Questioned));
    // Nothing that names the device itself leaves.
    let all = format!("{:?} {:?} {:?}", w.lines, w.device_events, w.monitor.devices(false));
    assert!(!all.contains(EUI), "{all}");
    assert_eq!(w.monitor.devices(true)[0].identified.as_ref().unwrap().key, EUI);
}

#[test]
fn an_advisory_that_was_taken_note_of_is_information_from_then_on() {
    let mut w = Ward::new();
    w.from("B02", "CMS8000", "HOSP", 30);
    let id = w.raised("N01").unwrap().alert.id.clone();
    assert_eq!(w.ack("r1", &id, None).refusal, None);
    w.from("B02", "CMS8000", "HOSP", 700);
    assert_eq!(w.told(), ["raised B02 N01 advisory_match Advisory Low", "acknowledged B02 N01 advisory_match Advisory Info"]);
    // Another device at the bed is another first sight.
    w.from("B02", "CMS6000", "HOSP", 30);
    let told = w.told();
    assert!(told.iter().any(|t| t == "unacknowledged B02 N01 advisory_match Advisory Info"), "{told:?}");
    assert!(told.iter().any(|t| t == "escalated B02 N01 advisory_match Advisory Low"), "{told:?}");
    seqs_are_gapless(&w.events);
}

#[test]
fn the_next_patient_does_not_take_the_device_away() {
    let mut w = Ward::new();
    w.from("B02", "CMS8000", "HOSP", 30);
    let id = w.raised("N01").unwrap().alert.id.clone();
    w.ack("r1", &id, None);
    let t = w.now.hl7();
    w.send(format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^A03|d1|P|2.6\rPID|||P-B02^^^HOSP^MR\rPV1||I|ICU^^B02\r").as_bytes());
    w.wait(120.0);
    w.from("B02", "CMS8000", "HOSP", 30);
    let raised: Vec<_> = w.told().into_iter().filter(|t| t.starts_with("raised B02 N01")).collect();
    assert_eq!(raised, ["raised B02 N01 advisory_match Advisory Low"], "it stays open, with its acknowledgement");
    let open = w.monitor.open_alerts();
    assert!(open.iter().any(|a| a.id == id && a.acked.is_some()), "{open:?}");
}

#[test]
fn a_vendor_alone_stands_in_the_inventory_and_nowhere_else() {
    let mut w = Ward::new();
    w.from("B02", "GW", "NIHON KOHDEN", 40);
    assert_eq!((w.kinds(), w.told()), (vec!["new".to_owned()], Vec::new()));
    let device = w.monitor.devices(false).remove(0);
    assert_eq!((device.advisories[0].level, device.advisories[0].version_state), (Level::Vendor, None));
    assert_eq!(w.state("B02").device.unwrap().advisories, 0);
}

#[test]
fn a_family_says_that_the_model_is_not_known() {
    let mut w = Ward::new();
    w.from("B02", "CMS6000", "HOSP", 30);
    let alert = w.raised("N01").unwrap().alert.clone();
    assert!(alert.text.en.contains("same product family as in ICSMA-25-030-01; model not known"), "{}", alert.text.en);
    assert!(alert.text.it.contains("modello non noto"), "{}", alert.text.it);
}

#[test]
fn what_was_done_about_an_advisory_ends_the_alert_and_can_be_taken_back() {
    let mut w = Ward::new();
    w.from("B02", "CMS8000", "HOSP", 30);
    let device = w.monitor.devices(false)[0].device.clone();
    assert_eq!(w.decide("c1", "dev-00000000", "ICSMA-25-030-01", Status::Mitigated), Some(Refusal::NotFound));
    assert_eq!(w.decide("c2", &device, "ICSMA-99-001-01", Status::Mitigated), Some(Refusal::NotFound));
    assert_eq!(w.decide("c3", &device, "ICSMA-25-030-01", Status::Mitigated), None);
    w.from("B02", "CMS8000", "HOSP", 310);
    assert_eq!(w.state("B02").device.unwrap().advisories, 1);
    assert_eq!(w.state("B02").active.len(), 1, "the other advisory is open");
    assert_eq!(w.decide("c4", &device, "ICSMA-22-244-01", Status::Accepted), None);
    w.from("B02", "CMS8000", "HOSP", 310);
    assert_eq!((w.state("B02").active.len(), w.events.last().unwrap().event), (0, EventKind::Cleared));
    assert_eq!(w.decide("c5", &device, "ICSMA-22-244-01", Status::Open), None);
    w.from("B02", "CMS8000", "HOSP", 30);
    assert_eq!(w.state("B02").active.len(), 1);
}

#[test]
fn an_interface_engine_is_told_at_the_installation() {
    let mut w = Ward::new();
    w.from("B02", "GW", "HOSP", 3);
    let t = w.now.hl7();
    w.send(
        format!("MSH|^~\\&|ADT|HOSP|||{t}||ADT^A04|d1|P|2.6\rSFT|NextGen|4.4.0|Mirth Connect|1\rPID|||X\rPV1||I|ICU^^B02\r")
            .as_bytes(),
    );
    w.wait(30.0);
    let alert = &w.raised("N01").expect("told").alert;
    assert_eq!((alert.ward.as_str(), alert.bed.as_str()), ("_site", "_site"));
    let engine = w.monitor.devices(false).into_iter().find(|d| !d.advisories.is_empty()).unwrap();
    assert_eq!((engine.versions.as_slice(), engine.bed.as_deref()), (["4.4.0".to_owned()].as_slice(), None));
    let state = |id: &str| engine.advisories.iter().find(|a| a.id == id).unwrap().version_state;
    assert_eq!(state("CISA-KEV/CVE-2023-43208"), Some(VersionState::Affected));
    assert_eq!(state("ICSMA-26-253-01"), Some(VersionState::Affected));
}

#[test]
fn every_device_of_a_message_is_an_entry_of_its_own() {
    let mut w = Ward::new();
    for n in 0..3 {
        let rows = w.living();
        let text = String::from_utf8(frame("B02", &format!("m{n}"), "GW^02AA00FFFE000001^EUI-64", w.now, &rows)).unwrap();
        let mut out = String::new();
        for (at, line) in text.split('\r').enumerate() {
            out.push_str(line);
            if line.starts_with("OBX") {
                out.push_str(&format!("||||02AA00FFFE00010{}^CMS8000^^EUI-64", at % 2));
            }
            out.push('\r');
        }
        w.send(out.as_bytes());
        w.wait(1.0);
    }
    let devices = w.monitor.devices(false);
    assert_eq!(devices.len(), 3, "{devices:?}");
    assert_eq!(devices.iter().filter(|d| d.advisories.iter().any(|a| a.level == Level::Exact)).count(), 2);
    assert!(devices.iter().all(|d| d.bed.as_deref() == Some("B02") && d.messages == 3));
    assert_eq!(w.state("B02").device.unwrap().advisories, 2);
}

#[test]
fn a_device_moves_when_its_bed_hears_it_no_more() {
    let mut w = Ward::new();
    // A gateway that speaks for two beds stays where it was heard first.
    for _ in 0..100 {
        w.from("B02", "GW", "HOSP", 1);
        w.from("B03", "GW", "HOSP", 1);
    }
    assert_eq!(w.kinds(), ["new"]);
    w.from("B03", "GW", "HOSP", 90);
    assert_eq!(w.kinds(), ["new", "moved Some(\"ICU/B02\") Some(\"ICU/B03\")"]);
    assert_eq!(w.monitor.devices(false)[0].beds, ["ICU/B02", "ICU/B03"]);
    // The alert goes with the device.
    let mut w = Ward::new();
    w.from("B02", "CMS8000", "HOSP", 40);
    w.wait(120.0);
    w.from("B03", "CMS8000", "HOSP", 400);
    let told = w.told();
    assert!(told.contains(&"raised B03 N01 advisory_match Advisory Low".to_owned()), "{told:?}");
    assert!(told.contains(&"cleared B02 N01 advisory_match Advisory Low".to_owned()), "{told:?}");
}

#[test]
fn a_clock_that_is_far_off_is_told_once() {
    let mut w = Ward::new();
    for n in 0..400 {
        let rows = w.living();
        let sent = w.now.plus_ms(-3_600_000);
        let bytes = frame("B02", &format!("s{n}"), "GW", sent, &rows);
        w.send(&bytes);
        w.wait(1.0);
    }
    assert_eq!(w.kinds(), ["new", "skew Some(\"0\") Some(\"-3600000\")"]);
    assert_eq!(w.monitor.devices(false)[0].skew_ms, Some(-3_600_000));
}

#[test]
fn ten_thousand_devices_of_one_sender_stay_bounded() {
    let mut w = Ward::new();
    let rows = w.living();
    for n in 0..10_000u32 {
        let sender = format!("CMS8000^02AA00FFFE{n:06X}^EUI-64");
        let bytes = frame("B02", &format!("h{n}"), &sender, w.now, &rows[..1]);
        w.send(&bytes);
        w.now = w.now.plus_ms(10);
    }
    let (known, max, forgotten, held) = w.monitor.device_counts();
    assert_eq!((known, max, forgotten), (10_000, 65_536, 0));
    // Events have a budget: what is beyond it is counted.
    assert!(w.device_events.len() < 4_300 && held > 25_000, "{} {held}", w.device_events.len());
    let n01: Vec<_> = w.told().into_iter().filter(|t| t.contains("N01")).collect();
    assert_eq!(n01, ["raised B02 N01 advisory_match Advisory Low"]);
    assert!(w.monitor.snapshot().len() < 12 << 20, "{}", w.monitor.snapshot().len());
}

#[test]
fn what_a_hostile_device_declares_is_cut_and_cleaned() {
    let mut w = Ward::new();
    let sender = format!("<script>CMS8000\u{1b}[31m\u{202e}{}^{EUI}^EUI-64", "A".repeat(60_000));
    w.from("B02", &sender, "\"><img src=x onerror=alert(1)>", 30);
    let device = w.monitor.devices(false).remove(0);
    for text in device.declared.iter().map(|d| &d.text).chain(&device.model) {
        assert!(text.chars().count() <= 64 && !text.contains(['<', '>', '"', '\u{1b}', '\u{202e}']), "{text:?}");
    }
    assert!(device.advisories.iter().any(|a| a.id == "ICSMA-25-030-01" && a.matched == "CMS8000"), "{device:?}");
}

#[test]
fn a_changing_sender_is_bounded_in_texts() {
    let mut w = Ward::new();
    for n in 0..100 {
        w.from("B02", &format!("GW{n}^{EUI}^EUI-64"), "HOSP", 1);
    }
    let device = w.monitor.devices(false).remove(0);
    assert_eq!((w.monitor.devices(false).len(), device.messages), (1, 100));
    assert!(device.declared.len() <= 8 && device.declared_more > 80, "{device:?}");
}

#[test]
fn the_sites_own_list_names_what_a_device_does_not() {
    let entry = |id: &str, state| crate::config::DeviceEntry {
        id: id.into(),
        vendor: Some("Contec".into()),
        model: Some("CMS8000".into()),
        version: Some("1.2".into()),
        state,
    };
    let devices = crate::config::Devices {
        device: vec![entry("02:c0:ff:ff:fe:00:08:01", crate::config::DeviceState::Quarantined)],
        advisories: None,
    };
    let mut w = Ward::with(Settings { site: "hsp1".into(), devices, ..Settings::default() });
    w.from("B02", &format!("GW^{EUI}^EUI-64"), "HOSP", 30);
    let device = w.monitor.devices(false).remove(0);
    assert_eq!(
        (device.state, device.versions.as_slice()),
        (crate::config::DeviceState::Quarantined, ["1.2".to_owned()].as_slice())
    );
    assert_eq!((device.advisories[0].level, device.advisories[0].field.as_str()), (Level::Exact, "the site's inventory"));
}

#[test]
fn other_data_are_looked_up_at_the_next_start_and_baselines_stay() {
    let mut w = Ward::new();
    w.from("B02", "CMS8000", "HOSP", 60);
    let bytes = w.monitor.snapshot();
    let more = SHIPPED.replace("ICSMA-22-244-01", "ICSMA-22-244-99");
    let data = Arc::new(Advisories::read(&more, "f").unwrap());
    let settings = Settings { site: "hsp1".into(), ..Settings::default() }.with_advisories(data);
    w.monitor = Monitor::restore(settings, &bytes).expect("advisory data do not make another model");
    w.device_events.clear();
    let (left, at) = (w.now, w.now.plus_s(5.0));
    w.monitor.handle_start(left, at);
    w.drain();
    assert_eq!(w.kinds(), ["ICSMA-22-244-99 exact"]);
    assert_eq!(w.monitor.open_alerts().len(), 1);
}

#[test]
fn our_own_test_message_is_no_device_and_a_test_mark_hides_none() {
    let mut w = Ward::new();
    let rows = w.living();
    for sender in ["VITALGUARD-DOCTOR", "CMS8000"] {
        let text = String::from_utf8(frame("B02", sender, sender, w.now, &rows)).unwrap().replace("|P|2.6", "|T|2.6");
        w.send(text.as_bytes());
    }
    let devices = w.monitor.devices(false);
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].model.as_deref(), devices[0].bed.as_deref()), (Some("CMS8000"), None));
    w.wait(30.0);
    assert_eq!(w.raised("N01").unwrap().alert.bed, "_site");
}

#[test]
fn old_advisory_data_are_told_at_their_own_time_and_new_ones_end_it() {
    let old_at = Timestamp::from_civil(2026, 12, 29, 0, 0, 0, 0).unwrap().plus_ms(1);
    let mut w = Ward::new();
    w.now = old_at.plus_s(-600.0);
    w.from("B02", "GW", "HOSP", 3);
    assert_eq!(w.raised("S06").map(|e| e.ts), None);
    w.wait(3600.0);
    let event = w.raised("S06").expect("told").clone();
    assert_eq!((event.ts, event.alert.priority, event.alert.bed.as_str()), (old_at, Priority::Low, "_site"));
    assert!(event.alert.text.en.contains("are of 2026-09-30, 90 days ago"), "{}", event.alert.text.en);
    // Whoever asks for the next deadline is told of it.
    let mut asked = Ward::new();
    asked.now = old_at.plus_s(-600.0);
    asked.from("B02", "GW", "HOSP", 3);
    while let Some(at) = asked.monitor.poll_timeout().filter(|at| *at <= old_at) {
        asked.monitor.handle_timeout(at);
        asked.drain();
    }
    assert_eq!(asked.raised("S06").map(|e| e.ts), Some(old_at));
    let bytes = w.monitor.snapshot();
    let renewed = SHIPPED.replace("data_date = \"2026-09-30\"", "data_date = \"2026-12-20\"");
    let data = Arc::new(Advisories::read(&renewed, "f").unwrap());
    let settings = Settings { site: "hsp1".into(), ..Settings::default() };
    w.monitor = Monitor::restore(settings.with_advisories(data), &bytes).unwrap();
    let now = w.now;
    w.monitor.handle_start(now, now.plus_s(1.0));
    w.now = now.plus_s(1.0);
    w.wait(11.0);
    assert!(w.events.iter().any(|e| e.event == EventKind::Cleared && e.alert.condition.starts_with("S06")), "{:?}", w.told());
}

#[test]
fn a_restored_inventory_says_the_same_as_one_that_went_on() {
    let run = |restore: Option<usize>| {
        let mut w = Ward::new();
        for n in 0..120 {
            if restore == Some(n) {
                let bytes = w.monitor.snapshot();
                w.monitor = Monitor::restore(Settings { site: "hsp1".into(), ..Settings::default() }, &bytes).unwrap();
            }
            let (bed, sender) = match n % 6 {
                0 => ("B03", "CMS6000"),
                1 if n > 60 => ("B03", "CMS8000"),
                1 => ("B02", "CMS8000"),
                2 => ("B02", "VC150"),
                3 => ("B02", "CMS7000"),
                _ => ("B04", "GW"),
            };
            w.from(bed, sender, "INNOKAS", 1);
            w.wait(2.0);
        }
        (w.lines, format!("{:?}", w.device_events), format!("{:?}", w.monitor.devices(true)))
    };
    let plain = run(None);
    assert!(plain.0.iter().filter(|line| line.contains("N01")).count() >= 3, "{:?}", plain.0);
    for at in [1, 20, 61, 90, 119] {
        assert_eq!(plain, run(Some(at)), "restored at {at}");
    }
}

#[test]
fn at_the_bound_what_matters_least_is_forgotten() {
    let devices = crate::config::Devices::default();
    let data = Advisories::shipped();
    let mut inventory = crate::monitor::inventory::Inventory::new(&devices, &data);
    let entry = |n: usize| {
        let at = Timestamp::from_ms(START + n as i64);
        crate::monitor::inventory::Entry::new(&format!("dev-{n:08x}"), "", &devices, at)
    };
    let max = crate::monitor::inventory::DEVICES_MAX;
    for n in 0..max {
        inventory.add(entry(n), &data, None);
    }
    // The oldest of all is of use: it was heard often.
    for _ in 0..200 {
        inventory.entries[0].count("p-1", Timestamp::from_ms(START));
    }
    inventory.add(entry(max), &data, None);
    assert_eq!((inventory.entries.len(), inventory.forgotten), (max - max / 16 + 1, (max / 16) as u64));
    assert!(inventory.find("dev-00000000").is_some() && inventory.find("dev-00000001").is_none());
    let last = inventory.find(&format!("dev-{max:08x}")).unwrap();
    assert_eq!(inventory.entries[last].first_seen, Timestamp::from_ms(START + max as i64));
}
