use super::*;

/// What made-up numbers were made of.
pub fn origin() -> Origin {
    Origin {
        sets: vec!["made_up".into()],
        records: 13,
        patients: 10,
        records_sha256: "0".repeat(64),
        exposure_bed_days: 1.5,
        group: "all".into(),
        date: "2026-11-30".into(),
        command: "none".into(),
        none_seen_bound_per_bed_day: None,
    }
}

/// A calibration of made-up scores, for one check and cadence and every parameter.
pub fn made(check: &str, pace: Pace, scores: &mut [f64]) -> Calibration {
    let sketch = Sketch::fit(scores).expect("enough scores");
    Calibration::new(
        "1.0.0",
        check,
        pace,
        60.0,
        origin(),
        vec![Table { parameters: vec![], patients: 10, bed_days: 1.5, sketch }],
    )
}

/// Thresholds that let a check accuse.
pub fn voting(check: &str, pace: Pace) -> Thresholds {
    let seen = lock::Seen { records: 9, judged_bed_days: 4.0, upper_per_bed_day: 0.749, ..lock::Seen::default() };
    let group = lock::Group { tamper_episodes: 0, tamper_upper_per_bed_day: 2.0, origin: origin(), hard: vec![] };
    let rule = lock::Rule {
        check: check.into(),
        cadence: pace,
        arl_factor: 1.0,
        votes: true,
        reason: String::new(),
        calibrate: seen,
        report: seen,
    };
    Thresholds::new("1.0.0", group.clone(), group, vec![rule])
}

/// Calibrations of one check that may accuse.
pub fn trusted(check: &str, pace: Pace, scores: &mut [f64]) -> Calibrations {
    let mut all = Calibrations::default();
    all.add(made(check, pace, scores));
    all.freeze(voting(check, pace));
    all
}

#[test]
fn the_shipped_files_are_valid_and_named_after_what_they_hold() {
    let mut all = Calibrations::default();
    for (name, text) in SOURCES {
        all.take(name, text).unwrap();
        if *name == lock::PATH {
            assert_eq!(all.lock().unwrap().to_toml(), *text, "written by hand");
        } else {
            let c = Calibration::from_json(name, text).unwrap();
            assert_eq!(c.to_json(), *text, "{name}: written by hand");
            assert!(c.tables.iter().all(|t| t.sketch.blocks >= BLOCKS_MIN), "{name}: too few blocks for a tail");
        }
    }
    assert_eq!(shipped(), &all);
    // One file a check and cadence, one rule for each, and no rule without one.
    let rules = all.lock().map_or(0, |lock| lock.rules.len());
    assert_eq!((all.list().len(), all.list().len() + usize::from(all.lock().is_some())), (rules, SOURCES.len()));
    for c in all.list() {
        assert!(all.lock().unwrap().rule(&c.check, c.cadence).is_some(), "{}", c.path());
    }
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let mut scores: Vec<f64> = (0..5000).map(|i| f64::from(i * 37 % 5000) / 500.0).collect();
    let c = made("level_shift", Pace::Minute, &mut scores);
    let again = Calibration::from_json(&c.path(), &c.to_json()).unwrap();
    assert_eq!(again.to_json(), c.to_json());
    assert_eq!((again.cadence, again.origin.records, again.tables[0].bed_days), (Pace::Minute, 13, 1.5));
    for score in [-1.0, 0.5, 5.0, 9.99, 12.0] {
        let (a, b) = (again.tables[0].sketch.p(score), c.tables[0].sketch.p(score));
        assert!((a - b).abs() < 1e-4, "{score}: {a} {b}");
    }
    assert!(Calibration::from_json("calibration/level_shift_1.json", &c.to_json()).is_err(), "another cadence");
}

#[test]
fn what_does_not_say_what_it_was_made_of_is_refused_by_field() {
    let c = made("level_shift", Pace::Second, &mut vec![1.0; 200]);
    let refused = |change: &dyn Fn(&mut Calibration)| {
        let mut c = c.clone();
        change(&mut c);
        Calibration::from_json("calibration/level_shift_1.json", &c.to_json()).err().map(|e| e.field)
    };
    assert_eq!(refused(&|_| {}), None);
    let said = |field: &str| Some(field.to_owned());
    assert_eq!(refused(&|c| c.schema = "calibration/2".into()), said("schema"));
    assert_eq!(refused(&|c| c.version = "1".into()), said("version"));
    assert_eq!(refused(&|c| c.check = "drift_alone".into()), said("check"));
    assert_eq!(refused(&|c| c.calibrator = "other".into()), said("calibrator"));
    assert_eq!(refused(&|c| c.origin.sets.clear()), said("origin.sets"));
    assert_eq!(refused(&|c| c.origin.records_sha256 = "abc".into()), said("origin.records_sha256"));
    assert_eq!(refused(&|c| c.tables[0].patients = 9), said("table.patients"));
    assert_eq!(refused(&|c| c.tables[0].patients = 14), said("table.patients"));
    assert_eq!(refused(&|c| c.tables[0].bed_days = 0.0), said("table.bed_days"));
    assert_eq!(refused(&|c| c.block_s = 5.0), said("block_s"));
    assert_eq!(refused(&|c| c.tables.clear()), said("table"));
    assert_eq!(refused(&|c| c.tables.push(c.tables[0].clone())), said("table"));
    assert_eq!(refused(&|c| c.tables[0].sketch.quantiles.truncate(1000)), said("table.sketch"));
    assert_eq!(refused(&|c| c.tables[0].sketch.quantiles[1000] = 0.5), said("table.sketch"));
}

#[test]
fn thresholds_that_their_own_figures_do_not_allow_are_refused() {
    let good = voting("drift_alone", Pace::Minute);
    let refused = |change: &dyn Fn(&mut Thresholds)| {
        let mut t = good.clone();
        change(&mut t);
        Thresholds::from_toml(lock::PATH, &t.to_toml()).err().map(|e| e.field)
    };
    let said = |field: &str| Some(format!("rule.drift_alone_60.{field}"));
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|t| t.rules[0].calibrate.episodes = 1), said("votes"));
    assert_eq!(refused(&|t| t.rules[0].calibrate.judged_bed_days = 0.9), said("votes"));
    assert_eq!(refused(&|t| t.rules[0].votes = false), said("reason"));
    assert_eq!(refused(&|t| t.rules[0].arl_factor = 0.5), said("arl_factor"));
    assert_eq!(refused(&|t| t.rules.push(t.rules[0].clone())), said("check"));
    assert_eq!(refused(&|t| t.report.origin.records = 0), Some("report.origin.records".into()));
    assert_eq!(refused(&|t| t.version = "one".into()), Some("version".into()));
}

#[test]
fn a_calibrated_check_accuses_only_where_the_thresholds_say_so() {
    let mut all = Calibrations::default();
    all.add(made("level_shift", Pace::Second, &mut (0..1000).map(f64::from).collect::<Vec<_>>()));
    let rank = |all: &Calibrations| all.rank("level_shift", Pace::Second, Parameter::Hr, 5.0);
    assert_eq!((rank(&all).calibrated, rank(&all).votes), (true, false), "nothing was frozen");
    let mut lock = voting("level_shift", Pace::Second);
    lock.rules[0].arl_factor = 100.0;
    all.freeze(lock.clone());
    assert_eq!((rank(&all).votes, rank(&all).arl_factor), (true, 100.0));
    lock.rules[0].votes = false;
    all.freeze(lock);
    assert!(!rank(&all).votes);
}

#[test]
fn the_table_of_a_parameter_stands_before_the_one_for_all() {
    let mut c = made("level_shift", Pace::Second, &mut (0..1000).map(f64::from).collect::<Vec<_>>());
    let mut own = c.tables[0].clone();
    own.parameters = vec![Parameter::Spo2];
    own.sketch = Sketch::fit(&mut (0..1000).map(|i| f64::from(i) / 100.0).collect::<Vec<_>>()).unwrap();
    c.tables.push(own);
    let mut all = Calibrations::default();
    assert!(!all.rank("level_shift", Pace::Second, Parameter::Hr, 500.0).calibrated);
    all.add(c);
    let rank = |parameter| all.rank("level_shift", Pace::Second, parameter, 9.0);
    assert!(rank(Parameter::Hr).p > 0.98 && rank(Parameter::Spo2).p < 0.12 && rank(Parameter::Hr).calibrated);
    assert!(!all.rank("level_shift", Pace::Minute, Parameter::Hr, 9.0).calibrated);
}

#[test]
fn the_guess_of_an_uncalibrated_check_is_cautious() {
    // Student's t with two degrees of freedom: two-sided 5 % at 4.303.
    assert!((guess(4.302_65) - 0.05).abs() < 1e-5);
    assert_eq!((guess(1e12), guess(f64::NAN), guess(-1.0), guess(f64::INFINITY)), (1e-3, 1.0, 1.0, 1e-3));
}
