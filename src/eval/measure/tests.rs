use super::*;
use crate::check::{CheckId, Priority};
use crate::eval::attack::{Kind, Severity, Target, Tier, catalogue};
use crate::eval::render::render_part;
use crate::eval::synth::{Kind as Patients, Patient};
use crate::monitor::Settings;
use crate::vital::{ParamSet, Parameter};

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
fn an_alert_of_the_twin_explains_what_is_near_it_and_nothing_else() {
    let truth = truth();
    let own = [episode(1010.0, 1050.0, Assessment::Tamper)];
    let delay = |twin: Episode| found(&own, &[twin], &truth, Level::Nurse);
    assert_eq!(delay(episode(1010.0, 1050.0, Assessment::Tamper)), None, "at the same time");
    assert_eq!(delay(episode(900.0, 1400.0, Assessment::Tamper)), None, "it stands meanwhile");
    assert_eq!(delay(episode(1310.0, 1400.0, Assessment::Tamper)), None, "so near that both are one episode");
    assert_eq!(delay(episode(1310.1, 1400.0, Assessment::Tamper)), Some(10.0), "later");
    let late = [episode(1355.0, 1400.0, Assessment::Tamper)];
    let earlier = |to| found(&late, &[episode(900.0, to, Assessment::Tamper)], &truth, Level::Nurse);
    assert_eq!((earlier(1055.0), earlier(1054.9)), (None, Some(355.0)), "over long before");
    assert_eq!(delay(Episode { bed: "icu/2".into(), ..episode(1010.0, 1050.0, Assessment::Tamper) }), Some(10.0), "another bed");
    assert_eq!(delay(Episode { shown_at: None, ..episode(1010.0, 1050.0, Assessment::Tamper) }), Some(10.0), "nobody was told");
}

fn by(checks: &[(&str, f64)], episode: Episode) -> Episode {
    let checks = checks.iter().map(|(id, s)| (CheckId::from_id(id).unwrap(), Timestamp::from_ms(0).plus_s(*s)));
    Episode { checks: checks.collect(), ..episode }
}

#[test]
fn an_alert_of_the_twin_explains_what_the_same_check_says() {
    let mut truth = truth();
    let tamper = || episode(1010.0, 1200.0, Assessment::Tamper);
    let twin = [by(&[("T07", 1010.0)], tamper())];
    let delay = |checks, truth: &Truth| found(&[by(checks, tamper())], &twin, truth, Level::Nurse);
    assert_eq!(delay(&[("T03", 1010.0)], &truth), Some(10.0), "another check");
    assert_eq!(delay(&[("T03", 1010.0), ("T07", 1010.0)], &truth), None, "one of two");
    assert_eq!(delay(&[("T03", 1010.0), ("T07", 1010.1)], &truth), Some(10.0), "what joins later was not told at first");
    truth.counts.checks = &["T03"];
    assert_eq!(delay(&[("T03", 1010.0), ("T07", 1010.0)], &truth), Some(10.0), "only checks that count explain");
    // The first is explained, the second is not.
    truth.counts.checks = &[];
    let own = [by(&[("T07", 1010.0)], tamper()), by(&[("T03", 1100.0)], episode(1100.0, 1200.0, Assessment::Tamper))];
    assert_eq!(found(&own, &twin, &truth, Level::Nurse), Some(100.0));
}

#[test]
fn always_on_finds_nothing_and_chance_finds_little() {
    let truth = truth();
    let always = [episode(0.0, 9000.0, Assessment::Tamper)];
    assert_eq!(found(&always, &always, &truth, Level::Nurse), None);
    let mut random = Random::new(5);
    let mut hits = |window_s: f64| (0..40_000).filter(|_| by_chance(window_s, &mut random)).count() as f64 / 40_000.0;
    // In ten seconds one comes (1 − e^(−10/3600)) and the twin has none in those and the 300 s before (e^(−310/3600)).
    assert!((hits(10.0) - 0.00254).abs() < 0.001);
    // In longer ones the twin's must be near: so much the same, played by another program.
    for (window_s, share) in [(660.0, 0.139), (3660.0, 0.538)] {
        let hits = hits(window_s);
        assert!((hits - share).abs() < 0.015, "{window_s}: {hits}");
    }
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

#[test]
fn a_goal_in_readings_ends_with_the_second_altered_one_or_says_nothing() {
    let recording = patient(12, 6300);
    let case = Case { recording: &recording, number: 1, donor: None };
    let cuff = recording.column_of(Parameter::NibpMean).unwrap();
    let cuffs: Vec<f64> = recording
        .rows
        .iter()
        .filter(|r| r.column == cuff && r.cell.number().is_some())
        .map(|r| r.at_ms as f64 / 1000.0)
        .collect();
    let goal = |mean, duration_s, start_s: f64, rate| {
        let bed = bed(&recording, 1, Encoding::Status, rate);
        let (severity, params) = (Severity::Units(10.0), Target::Line(mean));
        let attack = Attack { kind: Kind::PressureOrder, severity, duration_s, params, tier: Tier::K1 };
        let mut attacked = make(&case, &attack, &bed, start_s, 5).unwrap();
        let judged = from_the_first(&mut attacked, &render(&recording, &bed)).unwrap();
        judged.then(|| f64::from(attacked.truth.counts.goal.unwrap().within_s))
    };
    // A line at one value a second: the second one, and the 20 s that a low alert waits.
    let line = goal(Parameter::AbpMean, 600, 2400.0, Rate::Native).unwrap();
    assert!((21.0..=23.0).contains(&line), "{line}");
    // A cuff: its second reading from the start on.
    let start_s = (cuffs[1] / 10.0).ceil() * 10.0 + 30.0;
    let within = goal(Parameter::NibpMean, 2700, start_s, Rate::Native).unwrap();
    assert!((0.0..3.0).contains(&(within - (cuffs[3] - start_s + 20.0))), "{within} {cuffs:?}");
    let minute = goal(Parameter::NibpMean, 2700, start_s, Rate::MinuteLast).unwrap();
    assert!((within..within + 62.0).contains(&minute), "{minute}");
    // One reading alone says nothing of two.
    assert_eq!(goal(Parameter::NibpMean, 600, cuffs[2] - 60.0, Rate::Native), None);
}
