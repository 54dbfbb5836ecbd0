//! Stories of values that come twice: in one bed, in two, and what must not be taken for it.

use super::stories::adt;
use super::*;

/// The device of a bed whose profile is reviewed.
fn device(number: u32) -> String {
    format!("VITALGUARD-DEMO^02D3A0FFFE{number:06X}^EUI-64")
}

impl Ward {
    /// Each bed with its device's number and what it shows.
    fn show(&mut self, beds: &[(&str, u32, &[Row])]) {
        for (bed, number, rows) in beds {
            let id = format!("{}", 10_000 + self.sequence);
            let bytes = frame(bed, &id, &device(*number), self.now, rows);
            self.send(&bytes);
        }
        self.wait(1.0);
    }
    fn stretch(&mut self, seconds: usize) -> Vec<Vec<Row>> {
        (0..seconds).map(|_| self.living()).collect()
    }
    fn said(&self, check: &str) -> Vec<String> {
        self.told().into_iter().filter(|t| t.starts_with("raised") && t.contains(check)).collect()
    }
}

#[test]
fn a_bed_that_shows_its_own_past_is_tampering_within_80_s() {
    let mut w = Ward::new();
    let (past, other) = (w.stretch(300), w.stretch(600));
    for (one, two) in past.iter().zip(&other) {
        w.show(&[("A01", 1, one), ("A02", 2, two)]);
    }
    assert_eq!(w.said("T0"), Vec::<String>::new());
    let began = w.now;
    for (one, two) in past[100..200].iter().zip(&other[300..]) {
        w.show(&[("A01", 1, one), ("A02", 2, two)]);
    }
    assert_eq!(w.said("T07"), ["raised A01 T07 self_replay Tamper High"]);
    let alert = &w.raised("T07").unwrap().alert;
    assert!(w.raised("T07").unwrap().ts.since_s(began) <= 80.0);
    assert!(alert.text.en.contains("repeat the record of"), "{}", alert.text.en);
    assert_eq!(w.said("T08"), Vec::<String>::new());
}

#[test]
fn three_beds_that_show_their_own_past_are_one_notice_of_the_same_priority() {
    let mut w = Ward::new();
    let beds = [("A01", 1), ("A02", 2), ("A03", 3)];
    let past: Vec<Vec<Vec<Row>>> = beds.iter().map(|_| w.stretch(300)).collect();
    let mut show = |seconds: std::ops::Range<usize>| {
        for at in seconds {
            let rows: Vec<(&str, u32, &[Row])> = beds.iter().zip(&past).map(|((bed, n), p)| (*bed, *n, &p[at][..])).collect();
            w.show(&rows);
        }
    };
    show(0..300);
    show(100..200);
    let t07: Vec<_> = w.events.iter().map(|e| &e.alert).filter(|a| a.condition.starts_with("T07")).collect();
    assert!(beds.iter().all(|(bed, _)| t07.iter().any(|a| a.bed == *bed)), "{:?}", w.told());
    assert!(t07.iter().any(|a| a.bed == "_ward"), "one notice: {:?}", w.told());
    assert!(t07.iter().all(|a| a.priority == Priority::High), "{:?}", w.told());
}

#[test]
fn two_live_beds_that_show_the_same_are_identity_at_both() {
    let mut w = Ward::new();
    for rows in w.stretch(120) {
        w.show(&[("A01", 1, &rows), ("A02", 2, &rows)]);
    }
    let mut said = w.said("T08");
    said.sort();
    assert_eq!(said, ["raised A01 T08 patient_clone Identity High", "raised A02 T08 patient_clone Identity High"]);
    assert_eq!(w.said("T07"), Vec::<String>::new());
    let text = |bed: &str| {
        let event = w.events.iter().find(|e| e.alert.bed == bed && e.alert.condition.starts_with("T08")).unwrap();
        event.alert.text.en.clone()
    };
    assert!(text("A01").starts_with("Bed A01 shows the values of bed A02"), "{}", text("A01"));
    assert!(text("A02").starts_with("Bed A02 shows the values of bed A01"));
}

#[test]
fn the_past_of_another_bed_is_tampering_where_it_is_shown() {
    let mut w = Ward::new();
    let (one, two) = (w.stretch(700), w.stretch(400));
    for (one, two) in one.iter().zip(&two) {
        w.show(&[("A01", 1, one), ("A02", 2, two)]);
    }
    for (one, old) in one[400..].iter().zip(&one[50..150]) {
        w.show(&[("A01", 1, one), ("A02", 2, old)]);
    }
    assert_eq!(w.said("T08"), ["raised A02 T08 patient_clone Tamper High"]);
}

#[test]
fn four_beds_that_show_one_stream_are_not_one_notice() {
    let mut w = Ward::new();
    for rows in w.stretch(150) {
        w.show(&[("A01", 1, &rows), ("A02", 2, &rows), ("A03", 3, &rows), ("A04", 4, &rows)]);
    }
    assert_eq!(w.said("T08").len(), 4, "{:?}", w.told());
    assert!(
        w.events.iter().all(|e| e.alert.bed != "_ward" && (e.alert.because.is_none() || !e.alert.condition.starts_with("T08")))
    );
}

#[test]
fn a_monitor_that_goes_with_its_patient_is_no_clone() {
    let mut w = Ward::new();
    let (one, two) = (w.stretch(700), w.stretch(700));
    for (one, two) in one[..300].iter().zip(&two) {
        w.show(&[("A01", 1, one), ("A03", 3, two)]);
    }
    let moved = adt("A02", "A02", "ICU^^A01", "P-A01", w.now);
    w.send(&moved);
    // For two minutes the gateway reports it in both.
    for (one, two) in one[300..420].iter().zip(&two[300..]) {
        w.show(&[("A01", 1, one), ("A02", 1, one), ("A03", 3, two)]);
    }
    for (one, two) in one[420..].iter().zip(&two[420..]) {
        w.show(&[("A02", 1, one), ("A03", 3, two)]);
    }
    assert_eq!(w.said("T07").len() + w.said("T08").len(), 0, "{:?}", w.told());
}

#[test]
fn one_device_in_two_beds_without_adt_is_identity() {
    let mut w = Ward::new();
    for rows in w.stretch(150) {
        w.show(&[("A01", 1, &rows), ("A02", 1, &rows)]);
    }
    assert!(w.said("T08").iter().all(|t| t.contains("Identity")) && w.said("T08").len() == 2, "{:?}", w.told());
}

#[test]
fn a_snapshot_in_the_middle_of_a_clone_changes_nothing() {
    let play = |cut: Option<usize>| {
        let mut w = Ward::new();
        let (one, two) = (w.stretch(420), w.stretch(420));
        for at in 0..420 {
            if cut == Some(at) {
                let bytes = w.monitor.snapshot();
                w.monitor = Monitor::restore(Settings { site: "hsp1".into(), ..Settings::default() }, &bytes).unwrap();
                assert!(w.monitor.snapshot() == bytes, "at {at}");
            }
            // From 250 s on A02 shows what A01 showed from 20 s on, and A01 its own past.
            let (a, b) = if at < 250 { (&one[at], &two[at]) } else { (&one[at - 150], &one[at - 230]) };
            w.show(&[("A01", 1, a), ("A02", 2, b)]);
        }
        w.lines
    };
    let whole = play(None);
    assert!(whole.iter().any(|l| l.contains("T07")) && whole.iter().any(|l| l.contains("T08")));
    for cut in [100, 249, 290, 330] {
        assert!(play(Some(cut)) == whole, "cut at {cut}");
    }
}

#[test]
fn two_streams_that_are_exchanged_are_reported_and_call_nobody() {
    let mut w = Ward::new();
    let (one, mut two) = (w.stretch(2700), w.stretch(2700));
    for rows in &mut two {
        for (row, by) in rows.iter_mut().zip([35.0, 35.0, -3.0, 10.0, -22.0]) {
            row.2 += by;
        }
    }
    for at in 0..2700 {
        let (a, b) = if at < 2400 { (&one[at], &two[at]) } else { (&two[at], &one[at]) };
        w.show(&[("A01", 1, a), ("A02", 2, b)]);
    }
    let mut said = w.said("T17");
    said.sort();
    assert_eq!(said, ["raised A01 T17 swap_step Identity Info", "raised A02 T17 swap_step Identity Info"]);
    // One that changes alone has nobody to be exchanged with.
    let mut w = Ward::new();
    for at in 0..2700 {
        let (a, b) = if at < 2400 { (&one[at], &two[at]) } else { (&two[at], &two[at]) };
        w.show(&[("A01", 1, a), ("A02", 2, b)]);
    }
    assert_eq!(w.said("T17"), Vec::<String>::new());
}

/// `cargo test --lib echo::the_memory -- --ignored --nocapture`; `benches/core.rs` does the same with 1 000 beds.
#[test]
#[ignore = "half a minute: a day of a hundred beds"]
fn the_memory_of_a_bed_with_a_full_index_stays_within_its_bound() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
    };
    let mut w = Ward::new();
    w.monitor = Monitor::new(Settings { site: "hsp1".into(), ..Settings::default() });
    let before = resident();
    let beds = 100;
    // At one message in 30 s every window is picked.
    for _ in 0..2900 {
        for bed in 0..beds {
            let mut rows = w.living();
            // Twelve values.
            for n in 0..7 {
                let code = [
                    "151594^MDC_CO2_RESP_RATE^MDC|264928^MDC_DIM_RESP_PER_MIN^MDC",
                    "151708^MDC_CONC_AWAY_CO2_ET^MDC|266016^MDC_DIM_MMHG^MDC",
                    "150037^MDC_PRESS_BLD_ART_ABP_SYS^MDC|266016^MDC_DIM_MMHG^MDC",
                    "150038^MDC_PRESS_BLD_ART_ABP_DIA^MDC|266016^MDC_DIM_MMHG^MDC",
                    "150087^MDC_PRESS_BLD_VEN_CENT_MEAN^MDC|266016^MDC_DIM_MMHG^MDC",
                    "153611^MDC_PRESS_INTRA_CRAN_MEAN^MDC|266016^MDC_DIM_MMHG^MDC",
                    "150344^MDC_TEMP^MDC|268192^MDC_DIM_DEGC^MDC",
                ][n];
                let level = [14.0, 35.0, 118.0, 68.0, 7.0, 10.0, 36.0][n];
                rows.push((code, "", level + w.random(4) as f64));
            }
            let id = format!("{}", 10_000 + w.sequence);
            let bytes = frame(&format!("B{bed}"), &id, &device(bed), w.now, &rows);
            w.send(&bytes);
        }
        w.events.clear();
        w.lines.clear();
        w.device_events.clear();
        w.now = w.now.plus_s(30.0);
    }
    let a_bed = (resident() - before) / f64::from(beds);
    let places: usize = w.monitor.cells.iter().map(|c| c.states.self_replay.index.len()).max().unwrap_or(0);
    let snapshot = w.monitor.snapshot().len() / beds as usize;
    println!("{a_bed:.0} resident bytes a bed, {places} places at most, {snapshot} bytes of snapshot a bed");
    assert!(a_bed <= 131_072.0 && places > 2400, "{a_bed} {places}");
}
