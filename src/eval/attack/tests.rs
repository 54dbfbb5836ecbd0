use super::*;
use crate::eval::recording::Cell;
use crate::eval::synth::{Kind as PatientKind, Patient};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const START: Timestamp = Timestamp::from_ms(1_790_000_000_000);

/// An hour and three quarters of an invented patient, one message every five seconds.
fn invented(kind: PatientKind, seed: u64) -> Recording {
    let mut recording = Recording::synthetic("a", Patient::new(kind, seed, START, 1.0), START, 6300);
    let cuff = |column: u16| recording.columns[usize::from(column)].parameter.sensor() == crate::vital::Sensor::Cuff;
    let rows = recording.rows.iter().filter(|row| row.at_ms % 5000 == 0 || cuff(row.column)).copied();
    recording.rows = rows.map(|row| crate::eval::recording::Row { at_ms: row.at_ms / 5000 * 5000, ..row }).collect();
    recording.interval_s = 5.0;
    recording
}

static OWN: LazyLock<Recording> = LazyLock::new(|| invented(PatientKind::Deteriorating, 4));
static DONOR: LazyLock<Recording> = LazyLock::new(|| invented(PatientKind::Healthy, 9));

fn bed() -> Bed {
    Bed { limits: true, ..Bed::of("synthetic", 3, START) }
}

fn attack(kind: Kind, severity: Severity, params: Target, tier: Tier) -> Attack {
    Attack { kind, severity, duration_s: 600, params, tier }
}

fn run(attack: &Attack, start_s: f64) -> Result<Attacked, Unfit> {
    inject(attack, &OWN, Some(&DONOR), &bed(), start_s, &mut Random::new(5))
}

/// Values of a code within the window, with OBX-8 and OBX-11.
fn told(wires: &[Wire], truth: &Truth, code: &str) -> Vec<String> {
    let inside = wires.iter().filter(|w| w.received_at >= truth.start && w.received_at < truth.end);
    let rows = inside.flat_map(|w| {
        let text = String::from_utf8_lossy(&w.bytes).into_owned();
        let rows = text.split('\r').filter(|row| row.contains(&format!("|{code}^"))).map(str::to_owned);
        rows.collect::<Vec<_>>()
    });
    rows.map(|row| {
        let f: Vec<&str> = row.split('|').collect();
        format!("{}|{}|{}", f[5], f[8], f[11])
    })
    .collect()
}

fn numbers(wires: &[Wire], truth: &Truth, code: &str) -> Vec<f64> {
    told(wires, truth, code).iter().filter_map(|t| t.split('|').next().unwrap().parse().ok()).collect()
}

#[test]
fn the_table_names_every_kind_and_every_class_that_a_feed_can_show() {
    let table = catalogue();
    let kinds: BTreeSet<Kind> = table.iter().map(|a| a.kind).collect();
    assert_eq!(kinds, Kind::ALL.into_iter().collect());
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    let ids: BTreeSet<String> = table.iter().map(Attack::id).collect();
    assert_eq!(ids.len(), table.len());
    // X21 needs waves.
    let wanted: BTreeSet<String> = (1..=23).filter(|n| *n != 21).map(|n| format!("X{n:02}")).collect();
    let found: BTreeSet<String> = table.iter().map(|a| a.taxonomy().to_owned()).collect();
    assert_eq!(found, wanted);
    for tier in Tier::ALL {
        assert!(table.iter().any(|a| a.tier == tier));
    }
    assert!(short().len() < table.len() / 3);
}

#[test]
fn every_attack_leaves_what_was_before_it_and_changes_what_follows_the_same_way_each_time() {
    let clean = render(&OWN, &bed());
    let mut unfit = BTreeSet::new();
    for attack in short() {
        let mut random = Random::new(1);
        let Some(place) = place(&attack, &OWN, &mut random) else { panic!("{}: no place", attack.id()) };
        let once = inject(&attack, &OWN, Some(&DONOR), &bed(), place.start_s, &mut random.clone());
        let again = inject_rest(&attack, &OWN, Some(&DONOR), &bed(), place.start_s, &mut random.clone());
        let (once, again) = match (once, again) {
            (Ok(once), Ok(again)) => (once, again),
            (Err(why), _) => {
                unfit.insert((attack.kind.as_str(), why));
                continue;
            }
            (Ok(_), Err(why)) => panic!("{}: {why}", attack.id()),
        };
        let start = once.truth.start;
        assert!(once.truth.end > start, "{}", attack.id());
        let before: Vec<&Wire> = once.wires.iter().filter(|w| w.received_at < start).collect();
        let twin: Vec<&Wire> = clean.iter().filter(|w| w.received_at < start).collect();
        assert!(before == twin, "{}: changed before its start", attack.id());
        let after: Vec<&Wire> = once.wires.iter().filter(|w| w.received_at >= start).collect();
        let twin: Vec<&Wire> = clean.iter().filter(|w| w.received_at >= start).collect();
        assert!(after != twin, "{}: nothing changed", attack.id());
        assert!(after == again.wires.iter().collect::<Vec<_>>(), "{}: the rest differs", attack.id());
        assert!(once.wires.is_sorted_by_key(|w| w.received_at), "{}", attack.id());
        assert_eq!(once.other_bed.is_some(), attack.kind.needs_donor(), "{}", attack.id());
        assert_eq!(once.truth.params.is_empty(), attack.params == Target::Message, "{}", attack.id());
    }
    let known = [("triple_forged", Unfit::NoParameter), ("pressure_order", Unfit::NoParameter)];
    assert_eq!(unfit, known.into_iter().collect(), "this record has no pulmonary line, and all else");
}

#[test]
fn an_offset_adds_its_share_of_the_level_and_marks_stay() {
    let spo2 = Target::Only(Parameter::Spo2);
    let a = run(&attack(Kind::Offset, Severity::Percent(-10.0), spo2, Tier::K1), 2000.0).unwrap();
    let clean = render(&OWN, &bed());
    let (was, is) = (told(&clean, &a.truth, "150456"), told(&a.wires, &a.truth, "150456"));
    assert_eq!(was.len(), is.len());
    for (was, is) in was.iter().zip(&is) {
        let number = |t: &str| t.split('|').next().unwrap().parse::<f64>().ok();
        match (number(was), number(is)) {
            (Some(was), Some(is)) => assert!((was - is - 9.5).abs() <= 1.0 && is.fract() == 0.0, "{was} {is}"),
            (was, is) => assert_eq!(was, is),
        }
    }
    assert!(a.truth.undetectable.is_some(), "nothing else measures the saturation");
    let hr = run(&attack(Kind::Offset, Severity::Percent(20.0), Target::Only(Parameter::Hr), Tier::K1), 2000.0).unwrap();
    assert!(hr.truth.undetectable.is_none(), "the pulse rate knows better");
}

#[test]
fn a_ramp_ends_where_the_offset_is_and_who_knows_nothing_writes_decimals() {
    let hr = Target::Only(Parameter::Hr);
    let clean = render(&OWN, &bed());
    let a = run(&attack(Kind::Ramp, Severity::Percent(40.0), hr, Tier::K1), 2000.0).unwrap();
    let (was, is) = (numbers(&clean, &a.truth, "147842"), numbers(&a.wires, &a.truth, "147842"));
    let by: Vec<f64> = is.iter().zip(&was).map(|(is, was)| is - was).collect();
    assert!(by[0].abs() <= 1.0 && by.last().unwrap() > &25.0 && by.windows(2).all(|p| p[1] >= p[0] - 1.0), "{by:?}");
    let naive = run(&attack(Kind::Ramp, Severity::Percent(40.0), hr, Tier::K0), 2000.0).unwrap();
    assert!(numbers(&naive.wires, &naive.truth, "147842").iter().any(|v| v.fract() != 0.0));
}

#[test]
fn eighty_to_zero_is_written_as_a_measured_zero() {
    let a = run(&attack(Kind::ZeroStep, Severity::Plain, Target::Only(Parameter::Hr), Tier::K0), 2000.0).unwrap();
    let list = told(&a.wires, &a.truth, "147842");
    // Monitors flag what is below a limit.
    assert!(list.iter().all(|t| t == "0|L|R"), "{list:?}");
}

#[test]
fn a_replay_tells_the_past_again() {
    let a = run(&attack(Kind::ReplayExact, Severity::Plain, Target::All, Tier::K1), 3000.0).unwrap();
    let again = numbers(&a.wires, &a.truth, "147842");
    let whole: Vec<f64> = {
        let all = Truth { start: START, end: a.truth.start, ..a.truth.clone() };
        numbers(&a.wires, &all, "147842")
    };
    assert!(whole.windows(again.len()).any(|w| w == again), "the window stands in the past");
}

#[test]
fn a_clone_shows_what_the_other_bed_shows_and_a_swap_shows_both() {
    let a = run(&attack(Kind::CloneExact, Severity::Plain, Target::All, Tier::K1), 2400.0).unwrap();
    let other = a.other_bed.as_ref().unwrap();
    let (ours, theirs) = (numbers(&a.wires, &a.truth, "147842"), numbers(other, &a.truth, "147842"));
    assert!(ours.len() > 100 && ours[2..100] == theirs[2..100]);
    let swap = run(&attack(Kind::Swap, Severity::Plain, Target::All, Tier::K1), 2400.0).unwrap();
    let clean = render(&OWN, &bed());
    let theirs = numbers(swap.other_bed.as_ref().unwrap(), &swap.truth, "147842");
    assert_eq!(theirs[2..100], numbers(&clean, &swap.truth, "147842")[2..100]);
}

#[test]
fn masks_have_the_patients_level_and_move_in_the_devices_quantum() {
    for kind in [Kind::MaskAr, Kind::MaskArLattice, Kind::MaskVar] {
        let a = run(&attack(kind, Severity::Plain, Target::All, Tier::K2), 3000.0).unwrap();
        let list = numbers(&a.wires, &a.truth, "147842");
        let column = OWN.column_of(Parameter::Hr).unwrap();
        let before = stream::numbers(&OWN, column, 2_100_000, 3_000_000);
        let (level, sd) = stream::spread(&before);
        let (mask, moves) = stream::spread(&list);
        assert!((mask - level).abs() < 3.0 * sd + 2.0 && moves > 0.3, "{kind:?}: {mask} {level} {moves}");
        assert!(list.iter().all(|v| v.fract() == 0.0));
    }
    let constant = run(&attack(Kind::MaskConstant, Severity::Plain, Target::All, Tier::K0), 3000.0).unwrap();
    let list = numbers(&constant.wires, &constant.truth, "147842");
    assert!(list.windows(2).all(|p| p[0] == p[1]));
}

#[test]
fn counting_follows_the_goals() {
    let goal = |kind, severity, params| {
        let truth = run(&attack(kind, severity, params, Tier::K0), 2400.0).unwrap().truth;
        truth.counts.goal.map(|g| (g.rate, g.within_s))
    };
    assert_eq!(goal(Kind::ReplayExact, Severity::Plain, Target::All), Some((0.9, 120)));
    assert_eq!(goal(Kind::Freeze, Severity::Plain, Target::All), Some((0.95, 90)));
    assert_eq!(goal(Kind::Freeze, Severity::Plain, Target::Only(Parameter::Hr)), None);
    assert_eq!(goal(Kind::HrForged, Severity::Units(40.0), Target::Only(Parameter::Hr)), Some((0.9, 120)));
    assert_eq!(goal(Kind::HrForged, Severity::Units(20.0), Target::Only(Parameter::Hr)), Some((0.9, 300)));
    assert_eq!(goal(Kind::HrForged, Severity::Units(19.0), Target::Only(Parameter::Hr)), None);
    assert_eq!(goal(Kind::SecondSender, Severity::Messages(1), Target::Message), None, "one message is not two");
    assert!(goal(Kind::SecondSender, Severity::Messages(5), Target::Message).is_some());
    assert_eq!(goal(Kind::TimeShift, Severity::Seconds(-5.0), Target::Message), None);
    let minute = Bed { rate: crate::eval::render::Rate::MinuteLast, ..bed() };
    for (duration_s, goal) in [(899, None), (900, Some((0.9, 900)))] {
        let replay = Attack { duration_s, ..attack(Kind::ReplayExact, Severity::Plain, Target::All, Tier::K1) };
        let truth = inject(&replay, &OWN, None, &minute, 2400.0, &mut Random::new(2)).unwrap().truth;
        assert_eq!(truth.counts.goal.map(|g| (g.rate, g.within_s)), goal);
    }
}

#[test]
fn what_a_record_lacks_is_said() {
    let a = attack(Kind::Offset, Severity::Percent(10.0), Target::Only(Parameter::PapMean), Tier::K1);
    assert_eq!(run(&a, 2000.0).unwrap_err(), Unfit::NoParameter);
    let a = attack(Kind::Offset, Severity::Percent(10.0), Target::One, Tier::K1);
    assert_eq!(run(&a, 1e6).unwrap_err(), Unfit::NoRoom);
    let swap = attack(Kind::Swap, Severity::Plain, Target::All, Tier::K1);
    assert_eq!(inject(&swap, &OWN, None, &bed(), 2000.0, &mut Random::new(1)).unwrap_err(), Unfit::NoDonor);
    let replay = attack(Kind::ReplayExact, Severity::Plain, Target::All, Tier::K1);
    assert_eq!(run(&replay, 600.0).unwrap_err(), Unfit::NoPast);
    let hide = attack(Kind::AlarmSuppression, Severity::Plain, Target::Message, Tier::K0);
    let without = Bed::of("synthetic", 3, START);
    assert_eq!(inject(&hide, &OWN, None, &without, 3000.0, &mut Random::new(1)).unwrap_err(), Unfit::NoLimits);
}

#[test]
fn places_are_half_an_hour_in_and_short_records_say_that_they_are_short() {
    let a = attack(Kind::Offset, Severity::Percent(10.0), Target::One, Tier::K1);
    for seed in 0..20 {
        let place = place(&a, &OWN, &mut Random::new(seed)).unwrap();
        assert!(place.start_s >= 1800.0 && place.start_s + 660.0 <= 6300.0 && !place.short);
    }
    let mut short = OWN.clone();
    short.rows.retain(|row| row.at_ms < 1_500_000);
    let place = place(&a, &short, &mut Random::new(1)).unwrap();
    assert!(place.short && place.start_s >= 600.0);
    let mut gap = OWN.clone();
    gap.rows.retain(|row| !(2_000_000..2_100_000).contains(&row.at_ms));
    for seed in 0..20 {
        let at = super::place(&a, &gap, &mut Random::new(seed)).unwrap().start_s;
        assert!(at + 660.0 <= 2000.0 || at - 900.0 >= 2095.0, "{at}");
    }
    short.rows.retain(|row| row.at_ms < 600_000);
    assert_eq!(super::place(&a, &short, &mut Random::new(1)), None);
}

#[test]
fn the_beat_of_a_device_is_seen_and_a_quantum_is_learned() {
    let mut recording = OWN.clone();
    let column = recording.column_of(Parameter::Pr).unwrap();
    let mut held = 70.0;
    let mut random = Random::new(1);
    for row in recording.rows.iter_mut().filter(|row| row.column == column) {
        if row.at_ms % 20_000 == 5000 {
            held = 60.0 + random.below(20) as f64;
        }
        row.cell = Cell::Number(held);
    }
    assert_eq!(stream::beat(&recording, column, i64::MIN, i64::MAX), (20_000, 5000));
    assert_eq!(stream::quantum(&[70.0, 71.0, 69.0]), Some(1.0));
    assert_eq!(stream::quantum(&[36.6, 36.7]), Some(0.1));
    assert_eq!(stream::quantum(&[62.7314, 62.898]), None);
    assert_eq!(stream::rounded(36.649_999, Some(0.1)), 36.6);
}
