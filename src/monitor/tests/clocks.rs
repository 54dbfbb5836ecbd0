//! Stories of clocks that move, of backlogs, and of alarm limits on several beds.

use super::*;
use crate::alert::DeviceEventKind;

const BEDS: [&str; 5] = ["A01", "A02", "A03", "A04", "A05"];
const GW: &str = "GW^0012210000000001^EUI-64";

impl Ward {
    /// A second of these beds by a clock that is so far ahead of ours.
    fn ahead(&mut self, beds: &[&str], by_s: f64, seconds: usize) -> Vec<crate::alert::DeviceEvent> {
        let mut devices = Vec::new();
        for _ in 0..seconds {
            for bed in beds {
                let rows = self.living();
                let bytes = frame(bed, &format!("{}", 10_000 + self.sequence), GW, self.now.plus_s(by_s), &rows);
                self.sequence += 1;
                let source = self.source();
                self.monitor.handle_frame(&source, self.sequence, &bytes, self.now);
                devices.extend(self.collect());
            }
            self.now = self.now.plus_s(1.0);
            self.monitor.handle_timeout(self.now);
            devices.extend(self.collect());
        }
        devices
    }
    /// Drains, and keeps what is said of devices' clocks.
    fn collect(&mut self) -> Vec<crate::alert::DeviceEvent> {
        let mut kept = Vec::new();
        while let Some(output) = self.monitor.poll_output() {
            match output {
                Output::Alert(event) => self.events.push(*event),
                Output::Device(event) if event.event == DeviceEventKind::Skew => kept.push(*event),
                _ => {}
            }
        }
        kept
    }
    fn raised_at(&self, id: &str) -> Vec<String> {
        let raised = self.events.iter().filter(|e| e.event == EventKind::Raised && e.alert.condition.starts_with(id));
        raised.map(|e| format!("{} {:?} {:?}", e.alert.bed, e.alert.assessment, e.alert.priority)).collect()
    }
}

#[test]
fn a_gateway_whose_clock_is_set_is_one_notice_one_device_event_and_no_tampering() {
    let mut w = Ward::new();
    w.ahead(&BEDS, 0.0, 300);
    let events = w.ahead(&BEDS, -90.0, 300);
    assert_eq!(w.raised_at("P05"), ["_site Silence Low"], "{:?}", w.told());
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].from.as_deref(), events[0].to.as_deref()), (Some("0"), Some("-90000")));
    assert_eq!(w.monitor.skew_ms(&events[0].device), Some(-90_000));
    let feed = w.monitor.feeds().next().unwrap();
    assert_eq!((feed.marks.get("clock_step"), feed.skew_ms()), (Some(&1), Some(-90_000)));
    w.ahead(&BEDS, -90.0, 60);
    let over = w.events.iter().any(|e| e.event == EventKind::Cleared && e.alert.condition.starts_with("P05"));
    assert!(over, "the new stand is learned: {:?}", w.told());
    assert!(!w.told().iter().any(|t| t.contains("Tamper")), "{:?}", w.told());
}

#[test]
fn a_bed_whose_times_alone_are_shifted_is_told_at_that_bed() {
    let mut w = Ward::new();
    w.ahead(&BEDS, 0.0, 120);
    for _ in 0..120 {
        w.ahead(&BEDS[..4], 0.0, 1);
        w.now = w.now.plus_s(-1.0);
        w.ahead(&BEDS[4..], -45.0, 1);
    }
    assert_eq!(w.raised_at("P05"), ["A05 Silence Low"], "{:?}", w.told());
}

#[test]
fn a_bed_of_its_own_sender_is_told_at_the_bed_and_learned() {
    let mut w = Ward::new();
    w.ahead(&["A03"], 0.0, 120);
    w.ahead(&["A03"], 7.0, 60);
    assert_eq!(w.raised_at("P05"), ["A03 Silence Low"], "seven seconds into the future: {:?}", w.told());
    w.ahead(&["A03"], 7.0, 400);
    assert!(w.events.iter().any(|e| e.event == EventKind::Cleared && e.alert.condition.starts_with("P05")));
}

#[test]
fn times_of_another_zone_are_one_notice_that_names_the_zone() {
    let settings = Settings { site: "hsp1".into(), zone: "Europe/Rome".into(), ..Settings::default() };
    let mut w = Ward::with(settings);
    // Local times of UTC+3 without an offset, read in Rome (+1 in November).
    for _ in 0..120 {
        for bed in BEDS {
            let rows = w.living();
            let bytes = frame(bed, &format!("{}", w.sequence), GW, w.now.plus_s(3.0 * 3600.0), &rows);
            let text = String::from_utf8(bytes).unwrap().replace("+0000", "");
            w.send(text.as_bytes());
        }
        w.wait(1.0);
    }
    assert_eq!(w.raised_at("P05"), ["_site Silence Info"], "{:?}", w.told());
    let text = &w.events.iter().find(|e| e.alert.condition.starts_with("P05")).unwrap().alert;
    assert!(format!("{text:?}").contains("+03:00"), "{text:?}");
    w.ahead(&BEDS, 0.0, 1000);
    assert!(w.events.iter().any(|e| e.event == EventKind::Cleared && e.alert.condition.starts_with("P05")), "{:?}", w.told());
}

#[test]
fn a_backlog_is_recognised_is_not_shown_as_the_present_and_accuses_nobody() {
    let mut w = Ward::new();
    w.ahead(&BEDS, 0.0, 300);
    let start = w.now;
    // Twenty minutes without network, then the stored messages, ten at a time, the live ones behind them.
    w.wait(1200.0);
    for second in 0..1200 {
        for bed in BEDS {
            let mut rows = w.living();
            rows[2].2 = 70.0;
            let at = start.plus_s(f64::from(second));
            let bytes = frame(bed, &format!("S{}", w.sequence), GW, at, &rows);
            w.send(&bytes);
        }
        w.wait(0.01);
        let bed = w.monitor.bed_id("icu", "A03").unwrap();
        if second > 3 && second < 1150 {
            let shown = format!("{:?}", w.monitor.vitals(bed, w.now));
            assert!(!shown.contains("70.0"), "{second}: an old value is shown as a new one");
        }
    }
    w.ahead(&BEDS, 0.0, 120);
    let feed = w.monitor.feeds().next().unwrap();
    assert!(feed.marks.get("store_and_forward").is_some_and(|n| *n > 5000), "{:?}", feed.marks);
    let other: Vec<String> = w.told().into_iter().filter(|t| !t.contains("M0")).collect();
    assert_eq!(other, Vec::<String>::new(), "only the silence was told");
}

#[test]
fn limits_widened_on_three_beds_are_one_notice_of_the_ward() {
    let mut w = Ward::new();
    let told = |w: &mut Ward, bed: &str, limits: &str| {
        let rows = w.living();
        let bytes = frame(bed, &format!("L{}", w.sequence), GW, w.now, &rows);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<String> = text
            .split('\r')
            .map(
                |line| if line.contains("|150456^") { line.replace("|||||F|", &format!("|{limits}||||F|")) } else { line.into() },
            )
            .collect();
        w.send(lines.join("\r").as_bytes());
    };
    for n in 0..200 {
        for (at, bed) in BEDS.iter().enumerate() {
            // Each of three beds a minute after the other.
            let wide = at < 3 && n > 30 + 60 * at;
            told(&mut w, bed, if wide { "70-100" } else { "90-100" });
        }
        w.wait(1.0);
    }
    assert_eq!(w.raised_at("P12"), ["_ward Unverified Info"], "{:?}", w.told());
    let snapshot = w.monitor.snapshot();
    let again = Monitor::restore(Settings { site: "hsp1".into(), ..Settings::default() }, &snapshot).unwrap();
    assert!(again.snapshot() == snapshot);
}

#[test]
fn the_zone_of_a_sender_that_fell_silent_is_over_after_an_hour_and_told_again_when_it_comes_back() {
    let mut w = Ward::new();
    w.ahead(&BEDS, 2.0 * 3600.0, 120);
    assert_eq!(w.raised_at("P05").len(), 1, "{:?}", w.told());
    let cleared =
        |w: &Ward| w.events.iter().filter(|e| e.event == EventKind::Cleared && e.alert.condition.starts_with("P05")).count();
    for _ in 0..50 {
        w.wait(60.0);
    }
    assert_eq!(cleared(&w), 0, "not yet an hour");
    for _ in 0..20 {
        w.wait(60.0);
    }
    assert_eq!(cleared(&w), 1, "nobody sends, and it is over: {:?}", w.told());
    w.ahead(&BEDS, 2.0 * 3600.0, 120);
    assert_eq!(w.raised_at("P05").len(), 2, "{:?}", w.told());
}

#[test]
fn the_sites_own_limit_of_a_shift_is_the_one_that_counts() {
    let told = |off_s: f64, messages: f64| {
        let mut settings = Settings { site: "hsp1".into(), ..Settings::default() };
        settings.checks.clock_shift.off_s = off_s;
        settings.checks.clock_shift.messages = messages;
        let mut w = Ward::with(settings);
        w.ahead(&["A03"], 0.0, 60);
        w.ahead(&["A03"], -20.0, 30);
        w.raised_at("P05").len()
    };
    assert_eq!((told(10.0, 3.0), told(30.0, 3.0)), (1, 0));
    assert_eq!((told(10.0, 3.0), told(10.0, 100.0)), (1, 0));
}

#[test]
fn a_limit_that_is_moved_does_not_keep_its_value_from_teaching() {
    let mut w = Ward::new();
    let accepted = |w: &Ward| {
        let id = w.monitor.bed_id("icu", "A01").unwrap();
        w.monitor.cells[id.0 as usize].bed.stream(crate::vital::Parameter::Spo2).map_or(0, |s| s.accepted)
    };
    for n in 0..120 {
        let mut rows = w.living();
        rows[2].2 = 84.0 + f64::from(n % 3);
        let text = String::from_utf8(frame("A01", &format!("L{n}"), GW, w.now, &rows)).unwrap();
        let limits = if n < 60 { "90-100" } else { "70-100" };
        let widen = |line: &str| {
            if line.contains("|150456^") { line.replace("|||||F|", &format!("|{limits}||||F|")) } else { line.into() }
        };
        let lines: Vec<String> = text.split('\r').map(widen).collect();
        w.send(lines.join("\r").as_bytes());
        w.wait(1.0);
    }
    assert_eq!(w.raised_at("P12").len(), 1, "{:?}", w.told());
    assert!(accepted(&w) >= 115, "{} of 120", accepted(&w));
}
