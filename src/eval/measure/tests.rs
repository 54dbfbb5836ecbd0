use super::*;
use crate::check::{CheckId, Priority};
use crate::eval::attack::{Kind, Severity, Target, Tier, catalogue};
use crate::eval::render::render_part;
use crate::eval::synth::{Kind as Patients, Patient};
use crate::monitor::Settings;
use crate::vital::ParamSet;

fn patient(seed: u64, seconds: usize) -> Recording {
    let start = Timestamp::from_ms(1_767_261_600_000);
    Recording::synthetic(&format!("p{seed}"), Patient::new(Patients::Healthy, seed, start, 1.0), start, seconds)
}

fn freeze() -> Attack {
    Attack { kind: Kind::Freeze, severity: Severity::Plain, duration_s: 300, params: Target::All, tier: Tier::K0 }
}

#[test]
fn a_continuation_says_what_the_whole_run_says() {
    let recording = patient(7, 3300);
    let case = Case { recording: &recording, number: 4, donor: None };
    let bed = bed(&recording, 4, Encoding::Status, Rate::Native);
    let attacked = make(&case, &freeze(), &bed, 2400.0, 5).unwrap();
    let clean = render(&recording, &bed);
    let before = || clean.iter().take_while(|w| w.received_at < attacked.truth.start);
    let mut whole = Ward::new(Settings::default());
    for wire in before() {
        whole.push(wire);
    }
    run_on(&mut whole, &bed, &attacked.wires, &[], &attacked.truth);

    // The clean run goes on to its end, then back to the mark.
    let mut ward = Ward::new(Settings::default());
    let mut mark = None;
    for wire in &clean {
        if mark.is_none() && wire.received_at >= attacked.truth.start {
            mark = Some(ward.mark());
        }
        ward.push(wire);
    }
    ward.go_on(&mark.unwrap());
    run_on(&mut ward, &bed, &attacked.wires, &[], &attacked.truth);
    let open_or_new = |e: &&Episode| e.cleared_at.is_none_or(|at| at >= attacked.truth.start);
    let expected: Vec<&Episode> = whole.episodes().iter().filter(open_or_new).collect();
    assert!(!expected.is_empty(), "a joint freeze of many sensors is told");
    assert_eq!(ward.episodes().iter().collect::<Vec<_>>(), expected);
}

#[test]
fn messages_of_the_window_are_those_of_the_whole_copy() {
    let recording = patient(8, 1500);
    let bed = bed(&recording, 4, Encoding::Sentinel, Rate::Native);
    let from = bed.start.plus_s(700.0);
    let whole: Vec<Wire> = render(&recording, &bed).into_iter().filter(|w| w.received_at >= from).collect();
    assert_eq!(render_part(&recording, &bed, None, Some(from)), whole);
}

#[test]
fn until_the_attack_every_message_is_the_twins() {
    let (recording, donor) = (patient(9, 2600), patient(10, 2600));
    let bed = bed(&recording, 2, Encoding::Status, Rate::Native);
    let clean = render(&recording, &bed);
    let mut made = 0;
    for attack in crate::eval::attack::short() {
        let Ok(attacked) = inject(&attack, &recording, Some(&donor), &bed, 1900.0, &mut Random::new(3)) else { continue };
        let before = attacked.wires.iter().take_while(|w| w.received_at < attacked.truth.start);
        assert!(before.zip(&clean).all(|(a, b)| a == b), "{}", attack.id());
        made += 1;
    }
    assert!(made > 20, "{made} attacks could be made");
}

fn episode(raised: f64, cleared: f64, assessment: Assessment) -> Episode {
    let at = |s: f64| Timestamp::from_ms(0).plus_s(s);
    Episode {
        bed: "icu/1".into(),
        assessment,
        checks: vec![(CheckId::from_id("T03").unwrap(), at(raised))],
        priority: Priority::Medium,
        params: ParamSet::EMPTY,
        raised_at: at(raised),
        shown_at: (assessment != Assessment::Unverified).then(|| at(raised)),
        nurse_at: Some(at(raised)),
        cleared_at: Some(at(cleared)),
        text: String::new(),
    }
}

fn truth() -> Truth {
    let recording = patient(3, 1000);
    let bed = bed(&recording, 1, Encoding::Status, Rate::Native);
    let mut truth = inject(&freeze(), &recording, None, &bed, 650.0, &mut Random::new(1)).unwrap().truth;
    (truth.start, truth.end) = (Timestamp::from_ms(1_000_000), Timestamp::from_ms(1_300_000));
    truth.counts.assessments = &[Assessment::Tamper];
    truth.counts.checks = &[];
    truth
}

#[test]
fn an_alert_counts_from_the_start_to_a_minute_after_the_end_and_not_outside() {
    let truth = truth();
    let at = |s: f64| found(&[episode(s, s + 10.0, Assessment::Tamper)], &[], &truth, Level::Nurse);
    assert_eq!((at(999.9), at(1000.0), at(1360.0), at(1360.1)), (None, Some(0.0), Some(360.0), None));
}

#[test]
fn an_alert_of_another_kind_or_one_that_the_twin_has_finds_nothing() {
    let truth = truth();
    let own = [episode(1100.0, 1200.0, Assessment::Tamper)];
    assert_eq!(found(&[episode(1100.0, 1200.0, Assessment::Artefact)], &[], &truth, Level::Nurse), None);
    assert_eq!(found(&own, &[episode(1350.0, 1400.0, Assessment::Tamper)], &truth, Level::Nurse), None);
    assert_eq!(found(&own, &[episode(500.0, 1000.0, Assessment::Tamper)], &truth, Level::Nurse), None);
    assert_eq!(found(&own, &[episode(500.0, 999.0, Assessment::Tamper)], &truth, Level::Nurse), Some(100.0));
    assert_eq!(found(&own, &[episode(1100.0, 1200.0, Assessment::Artefact)], &truth, Level::Nurse), Some(100.0));
}

#[test]
fn what_engineers_see_counts_for_engineers_alone() {
    let truth = truth();
    let own = [episode(1100.0, 1200.0, Assessment::Unverified)];
    assert_eq!(found(&own, &[], &truth, Level::Nurse), None);
    assert_eq!(found(&own, &[], &truth, Level::Engineer), Some(100.0));
}

#[test]
fn always_on_finds_nothing_and_chance_finds_little() {
    let truth = truth();
    let always = [episode(0.0, 9000.0, Assessment::Tamper)];
    assert_eq!(found(&always, &always, &truth, Level::Nurse), None);
    let mut random = Random::new(5);
    let hits = (0..4000).filter(|_| by_chance(660.0, &mut random)).count() as f64 / 4000.0;
    // 1 − e^(−660/3600) that one comes, e^(−960/3600) that the twin has none.
    assert!((hits - 0.1676 * 0.7659).abs() < 0.02, "{hits}");
}

#[test]
fn a_recording_is_measured_the_same_in_any_monitor() {
    let recording = patient(11, 2700);
    let case = Case { recording: &recording, number: 1, donor: None };
    let draw = Draw { seed: 4, native: 0.05, minute: 0.0 };
    let forms = [(turn(&recording, 4), Rate::Native)];
    let attacks = catalogue();
    let run = |ward: &mut Ward, empty: &Mark| measure(ward, empty, &case, &forms, &attacks, &draw);
    let mut fresh = Ward::new(Settings::default());
    let empty = fresh.mark();
    let first = run(&mut fresh, &empty);
    // The same monitor again, after everything it has heard.
    let again = run(&mut fresh, &empty);
    assert!(!first.events.is_empty());
    assert_eq!(first.events, again.events);
    assert_eq!(first.clean[0].episodes, again.clean[0].episodes);
}
#[test]
fn an_empty_monitor_goes_back() {
    let mut ward = crate::eval::runner::Ward::new(Settings::default());
    let empty = ward.mark();
    ward.go_on(&empty);
}
