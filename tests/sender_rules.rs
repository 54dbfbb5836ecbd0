//! The site's sender rules through the whole core: which messages are a patient's, whose zone their times are in, and that a
//! snapshot belongs to the rules that it was written under.

use vitalguard::config::{SenderRule, Senders};
use vitalguard::monitor::{Monitor, RestoreError, Settings};
use vitalguard::observation::Source;
use vitalguard::time::Timestamp;
use vitalguard::vital::Parameter;

fn rule(peer: &str, zone: Option<&str>, allow_test: bool) -> SenderRule {
    SenderRule { peer: Some(peer.into()), zone: zone.map(Into::into), allow_test, ..SenderRule::default() }
}

fn settings(rules: Vec<SenderRule>) -> Settings {
    Settings { senders: Senders { closed: false, sender: rules }, ..Settings::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_civil(2026, 3, 2, 9, 0, 0, 0).expect("a date").plus_ms(second * 1000)
}

/// Half a minute of a monitor whose messages are marked as test, from a peer; its local clock shows UTC and 5 h 30.
fn told(monitor: &mut Monitor, peer: &str) {
    let source = Source { feed: "icu".into(), peer: peer.into(), connection: 1, ward: "icu".into(), ..Source::default() };
    for second in 0..30 {
        let text = format!(
            "MSH|^~\\&|MON|ICU|||202603021430{second:02}||ORU^R01|{second}|T|2.5\rPID|||V-1\rPV1||I|ICU^^A03\r\
             OBX|1|NM|8867-4^Heart rate^LN||{}|/min|||||F\r",
            70 + second % 3
        );
        monitor.handle_frame(&source, second as u64, text.as_bytes(), at(second));
        while monitor.poll_output().is_some() {}
    }
}

/// The heart rate of bed A03 as the ward's screens see it, and its age.
fn heart_rate(monitor: &Monitor) -> Option<(f64, i64)> {
    let bed = monitor.beds().find(|place| place.bed.eq_ignore_ascii_case("A03"))?.id;
    let vitals = monitor.vitals(bed, at(29))?;
    let (_, hr) = vitals.params.0.iter().find(|(parameter, _)| *parameter == Parameter::Hr)?;
    Some((hr.value?.0, hr.age_ms?))
}

#[test]
fn a_gateway_delivered_with_its_test_mark_is_a_patients_where_the_site_says_so() {
    let mut monitor = Monitor::new(settings(vec![rule("10.20.0.0/16", Some("Asia/Kolkata"), true)]));
    told(&mut monitor, "10.20.3.4");
    let (value, age_ms) = heart_rate(&monitor).expect("a heart rate");
    assert!((70.0..=72.0).contains(&value), "{value}");
    assert!(age_ms < 5_000, "its zone is known: {age_ms} ms");
    let mut other = Monitor::new(settings(vec![rule("10.20.0.0/16", Some("Asia/Kolkata"), true)]));
    told(&mut other, "10.21.3.4");
    assert_eq!(heart_rate(&other), None, "another peer's test messages are test messages");
}

#[test]
fn a_snapshot_is_refused_under_other_rules() {
    let rules = || settings(vec![rule("10.20.0.0/16", None, true)]);
    let mut monitor = Monitor::new(rules());
    told(&mut monitor, "10.20.3.4");
    let snapshot = monitor.snapshot();
    let mut again = Monitor::restore(rules(), &snapshot).expect("the same rules");
    assert_eq!(again.snapshot(), snapshot);
    told(&mut again, "10.20.3.4");
    let other = Monitor::restore(settings(vec![rule("10.20.0.0/16", None, false)]), &snapshot);
    assert!(matches!(other, Err(RestoreError::OtherModel { .. })), "{other:?}");
}
