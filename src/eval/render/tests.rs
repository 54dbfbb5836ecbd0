use super::*;
use crate::eval::synth::{Kind, Patient};

const START: Timestamp = Timestamp::from_ms(1_790_000_000_000);

fn recording(text: &str) -> Recording {
    Recording::from_csv("set", "one", "set:one", &format!("t_s,param,value,unit\n{text}")).unwrap()
}

fn bed(encoding: Encoding, rate: Rate) -> Bed {
    Bed { encoding, rate, ..Bed::of("set", 7, START) }
}

/// What stands in the rows that have a value, a mark or nothing: code, value, OBX-8, OBX-11, seconds of OBX-14 after the start.
fn lines(wire: &Wire) -> Vec<String> {
    let text = String::from_utf8(wire.bytes.clone()).unwrap();
    let rows = text.split('\r').filter(|row| row.starts_with("OBX|")).map(|row| row.split('|').collect::<Vec<_>>());
    rows.filter(|f| f[2] == "NM")
        .map(|f| {
            let name = f[3].split('^').nth(1).unwrap().trim_start_matches("MDC_");
            let at = crate::hl7::time::Dtm::parse(f[14].as_bytes()).unwrap().at_offset(0);
            format!("{name}={}|{}|{}@{}", f[5], f[8], f[11], at.since_s(START))
        })
        .collect()
}

#[test]
fn every_encoding_writes_marks_and_zeros_in_its_own_way() {
    let r = recording("0,PR,--,bpm\n0,SPO2,0,%\n0,AWRR,0,/min\n");
    let shown = |encoding| lines(&render(&r, &bed(encoding, Rate::Native))[0]).join(" ");
    let (pr, spo2, awrr) = ("PULS_OXIM_PULS_RATE", "PULS_OXIM_SAT_O2", "CO2_RESP_RATE");
    assert_eq!(shown(Encoding::Status), format!("{pr}=|NAV|X@0 {spo2}=|INV|X@0 {awrr}=0||R@0"));
    assert_eq!(shown(Encoding::Absent), format!("{awrr}=0||F@0"));
    assert_eq!(shown(Encoding::Empty), format!("{pr}=||F@0 {spo2}=||F@0 {awrr}=0||F@0"));
    assert_eq!(shown(Encoding::Sentinel), format!("{pr}=-?-||F@0 {spo2}=0||F@0 {awrr}=0||F@0"));
}

#[test]
fn a_saturation_that_is_held_without_pulse_is_questionable() {
    let r = recording("0,PR,0,bpm\n0,SPO2,88,%\n1,PR,60,bpm\n1,SPO2,88,%\n");
    let wires = render(&r, &bed(Encoding::Status, Rate::Native));
    assert_eq!(lines(&wires[0])[1], "PULS_OXIM_SAT_O2=88|QUES|R@0");
    assert_eq!(lines(&wires[1])[1], "PULS_OXIM_SAT_O2=88||R@1");
}

#[test]
fn a_cuff_is_told_with_its_own_time_until_the_next_one() {
    let r = recording("0,NBP_S,120,mmHg\n0,HR,70,bpm\n60,HR,71,bpm\n60,NBP_S,,mmHg\n120,HR,72,bpm\n120,NBP_S,118,mmHg\n");
    let wires = render(&r, &bed(Encoding::Status, Rate::Native));
    let cuffs: Vec<_> = wires.iter().map(|w| lines(w)[1].clone()).collect();
    let cuff = "PRESS_BLD_NONINV_SYS";
    assert_eq!(cuffs, [format!("{cuff}=120||R@0"), format!("{cuff}=120||R@0"), format!("{cuff}=118||R@120")]);
}

#[test]
fn one_a_minute_is_the_last_value_as_it_stood_or_the_mean_in_integers() {
    let r = recording("0,PR,60,bpm\n20,PR,63.4,bpm\n40,PR,0,bpm\n59,PR,70.4,bpm\n60,PR,80,bpm\n");
    let shown = |rate| render(&r, &bed(Encoding::Status, rate)).iter().map(|w| lines(w)[0].clone()).collect::<Vec<_>>();
    let pr = "PULS_OXIM_PULS_RATE";
    assert_eq!(shown(Rate::MinuteLast), [format!("{pr}=70.4||R@60"), format!("{pr}=80||R@120")]);
    assert_eq!(shown(Rate::MinuteMean), [format!("{pr}=65||R@60"), format!("{pr}=80||R@120")], "60, 63.4 and 70.4");
}

#[test]
fn times_follow_each_other_and_nothing_is_faster_than_its_measurement() {
    let r = Recording::synthetic("a", Patient::new(Kind::Healthy, 3, START, 1.0), START, 600);
    let wires = render(&r, &bed(Encoding::Status, Rate::Native));
    assert_eq!(wires.len(), 600);
    for (second, wire) in wires.iter().enumerate() {
        let text = std::str::from_utf8(&wire.bytes).unwrap();
        let sent = crate::hl7::time::Dtm::parse(text.split('|').nth(6).unwrap().as_bytes()).unwrap().at_offset(0);
        let late_s = sent.since_s(START.plus_s(second as f64));
        assert!((0.2..=2.0).contains(&late_s), "{late_s}");
        assert!(wire.received_at > sent && wire.received_at.since_s(sent) < 1.0);
    }
    assert!(wires.windows(2).all(|pair| pair[0].received_at < pair[1].received_at));
}

#[test]
fn a_message_does_not_depend_on_what_comes_after_it_and_the_same_seed_gives_the_same_bytes() {
    let long = Recording::synthetic("a", Patient::new(Kind::Irregular, 3, START, 1.0), START, 200);
    let mut short = long.clone();
    short.rows.retain(|row| row.at_ms < 100_000);
    for rate in Rate::ALL {
        let (a, b) = (render(&long, &bed(Encoding::Status, rate)), render(&short, &bed(Encoding::Status, rate)));
        let whole = a.len().min(b.len()) - usize::from(rate != Rate::Native);
        assert_eq!(a[..whole], b[..whole]);
        assert_eq!(a, render(&long, &bed(Encoding::Status, rate)));
    }
}

#[test]
fn a_clock_of_minutes_gives_one_message_a_value_spread_over_the_minute() {
    let r = recording("0,PR,60,bpm\n0,SPO2,97,%\n0,PR,61,bpm\n0,SPO2,96,%\n0,PR,62,bpm\n60,PR,63,bpm\n");
    let wires = render(&r, &bed(Encoding::Status, Rate::Native));
    let shown: Vec<_> = wires.iter().map(|w| lines(w).len()).collect();
    assert_eq!(shown, [2, 2, 1, 1]);
    assert!(lines(&wires[2])[0].ends_with("=62||R@0"), "its own time is the minute");
    let after_s: Vec<_> = wires.iter().map(|w| w.received_at.since_s(START)).collect();
    assert!(after_s[1] > 19.0 && after_s[2] > 39.0 && after_s[3] > 60.0, "{after_s:?}");
}

#[test]
fn channels_of_one_parameter_are_told_apart_by_their_place() {
    let r = recording("0,SPO2,97,%\n0,SPO2@2,96,%\n");
    let wires = render(&r, &bed(Encoding::Status, Rate::Native));
    let text = String::from_utf8(wires[0].bytes.clone()).unwrap();
    assert!(text.contains("|1.3.1.5|97|") && text.contains("|1.3.3.5|96|"), "{text}");
}

#[test]
fn limits_are_told_and_what_is_beyond_them_is_flagged() {
    let r = recording("0,SPO2,97,%\n1,SPO2,88,%\n");
    let wires = render(&r, &Bed { limits: true, ..bed(Encoding::Status, Rate::Native) });
    let text = String::from_utf8(wires[1].bytes.clone()).unwrap();
    assert!(text.contains("|88|262688^MDC_DIM_PERCENT^MDC|90-100|L|"), "{text}");
    assert!(String::from_utf8(wires[0].bytes.clone()).unwrap().contains("|90-100|||"));
}
