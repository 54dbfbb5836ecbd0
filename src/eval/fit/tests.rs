use super::*;
use crate::eval::recording::{Cell, Column, Notes, Row};
use crate::vital::Parameter;

/// Invented: an oximeter whose values are refreshed every fourth second, with lost pulses, and a capnograph that is not.
fn record(set: &str, name: &str, seed: i64, seconds: i64) -> Recording {
    let columns = [Parameter::Pr, Parameter::Spo2, Parameter::Awrr].map(|parameter| Column { parameter, channel: 0 });
    let noise = |a: i64, n: i64| ((a + seed * 7919).wrapping_mul(6_364_136_223_846_793_005) >> 33).rem_euclid(n);
    let mut rows = Vec::new();
    for s in 0..seconds {
        let beat = s / 4;
        let lost = s % 700 < 16;
        let pr = if lost { 0.0 } else { (60 + seed % 20 + noise(beat, 5)) as f64 };
        let spo2 = if lost { 0.0 } else { (95 + noise(beat / 3, 4)) as f64 };
        let awrr = if s % 900 < 20 { 0.0 } else { (12 + noise(s / 7 + noise(s / 11, 3), 6)) as f64 };
        for (column, value) in [pr, spo2, awrr].into_iter().enumerate() {
            rows.push(Row { at_ms: s * 1000, column: column as u16, cell: Cell::Number(value) });
        }
    }
    Recording {
        set: set.into(),
        name: name.into(),
        patient: format!("{set}:{name}"),
        interval_s: 1.0,
        columns: columns.to_vec(),
        rows,
        flags: Vec::new(),
        notes: Notes::default(),
    }
}

fn ward(count: i64, seconds: i64) -> Vec<Recording> {
    (0..count).map(|i| record("invented", &format!("r{i:02}"), i, seconds)).collect()
}

#[test]
fn what_an_invented_device_does_is_found() {
    let list = ward(3, 3000);
    let profile = profiles(&list).remove(0);
    assert!(profile.reviewed && profile.applications == ["RECORDED-INVENTED"], "{profile:?}");
    assert_eq!((profile.quantum(Parameter::Pr), profile.period_s), (Some(1.0), Some(1.0)));
    assert_eq!((profile.lattice_s.get(&Parameter::Pr), profile.lattice_s.get(&Parameter::Awrr)), (Some(&4.0), None));
    assert_eq!(profile.sentinels(Parameter::Pr), [0.0]);
    assert!(profile.is_sentinel(Parameter::Spo2, 0.0) && !profile.is_sentinel(Parameter::Awrr, 0.0));
}

#[test]
fn the_same_recordings_give_the_same_bytes_in_any_order() {
    let list = ward(24, 400);
    let mut turned = list.clone();
    turned.reverse();
    turned.rotate_left(5);
    let options = Options::default();
    let fitted = fit(&list, &options);
    assert_eq!(fit(&turned, &options), fitted);
    read_back(&fitted).unwrap();
    assert!(fitted.files.iter().any(|(path, _)| path == "population/adult_1s.toml"), "{:?}", fitted.refused);
    let other = fit(&list, &Options { folds: 5, fold: 1, ..Options::default() });
    assert_ne!(other.files, fitted.files, "other patients");
}

#[test]
fn too_little_data_is_refused_with_what_is_missing() {
    let fitted = fit(&ward(6, 200), &Options::default());
    assert!(fitted.files.is_empty(), "{:?}", fitted.files);
    let said = fitted.refused.join("\n");
    assert!(said.contains("of 5 records") && said.contains("of 0.5 bed-days"), "{said}");
    assert!(said.contains("pr: ") && said.contains("of 10 records with 60 values"), "{said}");
    assert!(fit(&[], &Options::default()).files.is_empty());
}

#[test]
fn a_copied_record_is_dropped_and_a_like_one_is_not() {
    let mut list = ward(3, 1500);
    let mut copy = list[0].clone();
    copy.name = "r09".into();
    copy.patient = "somebody else".into();
    // A part of it, two seconds off.
    copy.rows.retain(|row| row.at_ms >= 300_000);
    copy.rows.iter_mut().for_each(|row| row.at_ms += 2000);
    list.push(copy);
    let fitted = fit(&list, &Options::default());
    assert_eq!(fitted.copies, ["invented/r09 repeats invented/r00"]);
}

/// Invented: one value a minute of a heart rate and a pulmonary pressure that move together.
fn minutes(name: &str, seed: i64, minutes: i64) -> Recording {
    let columns = [Parameter::Hr, Parameter::PapMean];
    let noise = |a: i64, n: i64| ((a + seed * 7919).wrapping_mul(6_364_136_223_846_793_005) >> 33).rem_euclid(n);
    let mut rows = Vec::new();
    for m in 0..minutes {
        let shared = noise(m, 9) + noise(m / 3, 7);
        let tenths = 700 + 10 * (seed % 20) + 3 * shared + noise(m + 17, 11);
        let mean = 250 + 2 * shared + noise(m + 31, 9);
        for (column, value) in [tenths, mean].into_iter().enumerate() {
            rows.push(Row { at_ms: m * 60_000, column: column as u16, cell: Cell::Number(value as f64 / 10.0) });
        }
    }
    Recording {
        set: "invented".into(),
        name: name.into(),
        patient: name.into(),
        interval_s: 60.0,
        columns: columns.map(|parameter| Column { parameter, channel: 0 }).to_vec(),
        rows,
        flags: Vec::new(),
        notes: Notes::default(),
    }
}

/// Patients of an invented ward, by group: so many of each.
fn patients(wanted: [(Group, usize); 3], long: i64) -> Vec<Recording> {
    let mut list = Vec::new();
    for (group, count) in wanted {
        let names = (0..).map(|i| format!("p{i:03}")).filter(|name| split::group(name) == group);
        list.extend(names.take(count).map(|name| minutes(&name, name[1..].parse().unwrap_or(0), long)));
    }
    list
}

fn parts(list: &[Recording]) -> Fitted {
    let mut fitted = Fitted::default();
    calibrated(&ordered(list), &Options::default(), &mut fitted);
    fitted
}

fn taken(fitted: &Fitted) -> Calibrations {
    let mut all = Calibrations::default();
    for (path, text) in &fitted.files {
        all.take(path, text).unwrap();
    }
    all
}

#[test]
fn calibrations_are_of_the_first_group_and_what_is_missing_is_said() {
    let list = patients([(Group::Fit, 11), (Group::Calibrate, 1), (Group::Report, 1)], 175);
    let fitted = parts(&list);
    let all = taken(&fitted);
    let file = all.get("level_shift", Pace::Minute).expect("enough of it");
    assert_eq!((file.origin.patients, file.tables.len(), file.tables[0].patients), (11, 2, 11), "{:?}", fitted.refused);
    assert!(all.get("variability_loss", Pace::Minute).is_none(), "60 blocks of five minutes are five hours");
    let said = fitted.refused.join("\n");
    assert!(
        said.contains("variability_loss_60.json: every parameter: 0 of 10 patients, 0 of 1000 blocks (0.00 of 3.47"),
        "{said}"
    );
    assert!(said.contains("level_shift_1.json: every parameter: 0 of 10 patients"), "{said}");
    let lock = all.lock().expect("both groups are there");
    assert_eq!((lock.calibrate.origin.patients, lock.report.origin.patients), (1, 1));
    let rule = lock.rule("level_shift", Pace::Minute).unwrap();
    assert!(!rule.votes && rule.reason.contains("of 1 bed-days judged"), "{rule:?}");
    let few = parts(&patients([(Group::Fit, 9), (Group::Calibrate, 1), (Group::Report, 1)], 60));
    assert!(few.files.is_empty() && few.refused[0].contains("9 of 10 patients to fit on"), "{:?}", few.refused);
}

#[test]
#[ignore = "a minute: three whole fits"]
fn thresholds_are_of_the_second_group_and_nothing_is_chosen_on_the_third() {
    let mut list = patients([(Group::Fit, 10), (Group::Calibrate, 8), (Group::Report, 1)], 260);
    let first = parts(&list);
    let rule = |fitted: &Fitted| taken(fitted).lock().unwrap().rule("level_shift", Pace::Minute).unwrap().clone();
    assert!(rule(&first).votes && rule(&first).calibrate.episodes == 0, "{:?}", rule(&first));
    let mut move_one = |group: Group| {
        let one = list.iter_mut().find(|r| split::group(&r.patient) == group).unwrap();
        for row in one.rows.iter_mut().filter(|row| row.at_ms > 150 * 60_000 && row.column == 0) {
            row.cell = Cell::Number(row.cell.number().unwrap_or(0.0) + 40.0);
        }
        // The order of the recordings says nothing.
        list.reverse();
        parts(&list)
    };
    let third = move_one(Group::Report);
    let sketches = |fitted: &Fitted| fitted.files.iter().filter(|(path, _)| path.ends_with(".json")).cloned().collect::<Vec<_>>();
    assert_eq!(sketches(&third), sketches(&first));
    assert!(rule(&third).votes && rule(&third).calibrate == rule(&first).calibrate && rule(&third).report.episodes > 0);
    let second = move_one(Group::Calibrate);
    assert_eq!(sketches(&second), sketches(&first));
    let lost = rule(&second);
    assert!(!lost.votes && lost.reason.contains("bed-days of clean recordings"), "{lost:?}");
}

/// Some records of a set of the folder of recordings, where it is there.
fn recorded(set: &str, count: usize) -> Option<Vec<Recording>> {
    use std::io::Read as _;
    let root = std::env::var_os("VG_TEST_SHARED")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), std::path::PathBuf::from);
    let mut files: Vec<_> = std::fs::read_dir(root.join("vitals").join(set)).ok()?.flatten().map(|e| e.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".csv.gz"));
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Recording::from_csv(set, &name, &name, &text).unwrap()
    };
    Some(files.iter().take(count).map(read).collect())
}

#[test]
fn what_is_learned_of_recorded_devices_is_what_is_known_of_them() {
    let (Some(transcutaneous), Some(capnograph)) = (recorded("hfno_tcco2", 4), recorded("ipi_capno", 6)) else {
        println!("the folder of recordings is not there: nothing was looked at");
        return;
    };
    use Parameter::{Awrr, Etco2, Pr, Spo2};
    let p = profiles(&transcutaneous).remove(0);
    assert_eq!((p.lattice_s.get(&Pr), p.lattice_s.get(&Spo2)), (Some(&4.0), Some(&4.0)), "refreshed every fourth second");
    assert_eq!((p.quantum(Pr), p.period_s), (Some(1.0), Some(1.0)));
    assert_eq!((p.sentinels(Pr), p.sentinels(Spo2)), ([0.0].as_slice(), [0.0].as_slice()));
    let p = profiles(&capnograph).remove(0);
    assert!(p.lattice_s.is_empty(), "{:?}", p.lattice_s);
    assert_eq!([Pr, Awrr, Etco2].map(|q| p.quantum(q)), [Some(1.0); 3]);
    assert!((8.0..=10.0).contains(&p.hold_s[&Etco2]) && (8.0..=15.0).contains(&p.hold_s[&Awrr]), "{:?}", p.hold_s);
    assert!(!p.is_sentinel(Awrr, 0.0) && !p.is_sentinel(Etco2, 0.0), "apnoea is measured");
    assert!((0.5..6.0).contains(&p.dropouts_per_hour[&Pr]), "{:?}", p.dropouts_per_hour);
}

/// Beds that lie side by side: what is said of two of them at once.
#[test]
#[ignore = "minutes: whole wards of recordings"]
fn what_is_said_between_beds_over_recorded_wards() {
    use crate::eval::render::Wire;
    use crate::eval::runner::{Ward, count};
    for (set, most) in [("mimic3_pap", 400), ("p2009_map", 400), ("ipi_capno", 60), ("hfno_tcco2", 30)] {
        let Some(list) = recorded(set, most) else {
            println!("the folder of recordings is not there: nothing was looked at");
            return;
        };
        let (mut days, mut said) = (0.0, BTreeMap::<&str, u64>::new());
        for ward_of in list.chunks(20) {
            let mut wires: Vec<Wire> = Vec::new();
            for (number, recording) in ward_of.iter().enumerate() {
                let start = START.plus_s(7.0 * number as f64);
                wires.extend(render(recording, &Bed::of(set, number as u32, start)));
                days += recording.live_s() / 86_400.0;
            }
            wires.sort_by_key(|wire| wire.received_at);
            let mut ward = Ward::new(crate::monitor::Settings::default());
            wires.iter().for_each(|wire| ward.push(wire));
            for id in ["T08", "T17"] {
                *said.entry(id).or_default() += count(ward.episodes(), |e| (e.check() == id).then_some(e.raised_at));
            }
        }
        println!("{set}: {} records in wards of 20, {days:.2} bed-days: {said:?}", list.len());
    }
}
