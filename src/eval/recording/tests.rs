use super::*;

fn read(text: &str) -> Recording {
    Recording::from_csv("set", "one", "set:one", &format!("t_s,param,value,unit\n{text}")).unwrap()
}

fn note(recording: &Recording, oddity: Oddity) -> Vec<(&str, u64, u64)> {
    let of = recording.notes.list.iter().filter(|n| n.oddity == oddity);
    of.map(|n| (n.about.as_str(), n.count, n.first_line)).collect()
}

/// Seconds of one column.
fn seconds(name: &str, from: i64, to: i64) -> String {
    (from..to).map(|t| format!("{t},{name},{},bpm\n", 70 + t % 3)).collect()
}

#[test]
fn an_orderly_table_is_read_and_nothing_is_odd() {
    let r = read("0,HR,71,bpm\n0,SPO2@2,97.5,%\n0,FLAG_SPO2NA,1,flag\n1,HR,72,bpm\n");
    assert_eq!(r.columns, [Column { parameter: Parameter::Hr, channel: 0 }, Column { parameter: Parameter::Spo2, channel: 2 }]);
    assert_eq!(r.rows[1], Row { at_ms: 0, column: 1, cell: Cell::Number(97.5) });
    assert_eq!(r.rows[2], Row { at_ms: 1000, column: 0, cell: Cell::Number(72.0) });
    assert_eq!(r.flags, [Flag { at_ms: 0, name: "SPO2NA".into(), on: true }]);
    assert_eq!((r.notes.lines, r.notes.cells, r.notes.flags, r.notes.list.len()), (4, 3, 1, 0));
    assert_eq!((r.interval_s, r.span_s(), r.live_s()), (1.0, 1.0, 1.0));
}

#[test]
fn a_gap_is_longer_than_a_minute_and_is_no_live_time() {
    let r = read(&(seconds("HR", 0, 11) + &seconds("HR", 70, 81)));
    assert_eq!(note(&r, Oddity::Gap), [], "60 s are none");
    let r = read(&(seconds("HR", 0, 11) + &seconds("HR", 71, 81)));
    assert_eq!(note(&r, Oddity::Gap), [("", 1, 13)]);
    assert_eq!(r.gaps().collect::<Vec<_>>(), [(10_000, 71_000)]);
    assert_eq!((r.span_s(), r.live_s()), (80.0, 19.0));
    // A slow record has longer ones.
    let hourly = read("0,HR,70,bpm\n3600,HR,71,bpm\n7200,HR,72,bpm\n18000,HR,70,bpm\n18001,HR,70,bpm\n");
    assert_eq!(note(&hourly, Oddity::Gap), [], "three intervals are none");
}

#[test]
fn a_hole_is_a_column_that_pauses_while_others_go_on() {
    let r = read(&(seconds("HR", 0, 200) + &seconds("PR", 0, 50) + &seconds("PR", 150, 200)));
    assert_eq!(note(&r, Oddity::Hole), [("PR", 1, 252)]);
    assert_eq!(r.notes.list.iter().find(|n| n.oddity == Oddity::Hole).unwrap().seconds, 101.0);
    assert_eq!(note(&r, Oddity::Gap), []);
    assert_eq!(r.notes.count(Oddity::Unsorted), 1, "blocks of columns one after the other are sorted, and said");
    assert!(r.rows.is_sorted_by_key(|row| row.at_ms));
}

#[test]
fn an_empty_field_and_a_mark_are_absent_and_counted_by_what_they_look_like() {
    let r = read("0,PR,--,bpm\n1,PR,,bpm\n2,PR,0,bpm\n3,PR,inf,bpm\n4,PR,hello,bpm\n5,PR,60,bpm\n");
    let cells: Vec<_> = r.rows.iter().map(|row| row.cell.number()).collect();
    assert_eq!(cells, [None, None, Some(0.0), None, None, Some(60.0)]);
    assert_eq!(note(&r, Oddity::Mark), [("PR `--`", 1, 2), ("PR ``", 1, 3)]);
    assert_eq!(note(&r, Oddity::NotANumber), [("PR `inf`", 1, 5), ("PR `hello`", 1, 6)]);
}

#[test]
fn negative_times_are_used_and_times_that_are_none_are_not() {
    let r = read("-2,HR,70,bpm\n-1,HR,71,bpm\n0,HR,72,bpm\nNaN,HR,73,bpm\n1e300,HR,74,bpm\nsoon,HR,75,bpm\n");
    assert_eq!(r.rows.iter().map(|row| row.at_ms).collect::<Vec<_>>(), [-2000, -1000, 0]);
    assert_eq!(note(&r, Oddity::NegativeTime), [("", 2, 2)]);
    assert_eq!(note(&r, Oddity::BadTime), [("", 3, 5)]);
    assert_eq!(r.notes.lost(), 3);
}

#[test]
fn unknown_parameters_are_counted_by_name() {
    let r = read("0,HR,70,bpm\n0,BIS,40,1\n0,IPI,8,1\n1,IPI,8,1\n1,SPO2@x,8,%\n");
    assert_eq!(note(&r, Oddity::UnknownParameter), [("BIS", 1, 3), ("IPI", 2, 4), ("SPO2@x", 1, 6)]);
    assert_eq!((r.rows.len(), r.notes.lost()), (1, 4));
}

#[test]
fn mixed_units_are_converted_and_said_and_impossible_ones_are_not_used() {
    let r = read("0,TEMP,37,Cel\n1,TEMP,98.6,[degF]\n2,TEMP,37,mmHg\n3,TEMP,37,\n4,ETCO2,5,kPa\n5,ETCO2,37.5,mmHg\n");
    let cells: Vec<_> = r.rows.iter().filter_map(|row| row.cell.number()).collect();
    assert_eq!(cells, [37.0, 37.0, 37.0, 37.5031, 37.5]);
    assert_eq!(note(&r, Oddity::MixedUnit), [("TEMP in [degF]", 1, 3), ("ETCO2 in mmHg", 1, 7)]);
    assert_eq!(note(&r, Oddity::UnknownUnit), [("TEMP in mmHg", 1, 4)]);
    assert_eq!(note(&r, Oddity::MissingUnit), [("TEMP", 1, 5)]);
}

#[test]
fn a_clock_of_minutes_repeats_its_times() {
    let r = read("0,PR,70,bpm\n0,PR,71,bpm\n60,PR,72,bpm\n");
    assert_eq!(note(&r, Oddity::Repeated), [("PR", 1, 3)]);
    assert_eq!(r.interval_s, 60.0);
}

#[test]
fn what_is_no_recording_says_why() {
    let error = |text: &str| Recording::from_csv("s", "n", "p", text).unwrap_err().to_string();
    assert_eq!(error("a,b\n1,2\n"), "the first line names no columns t_s, param and value (it reads `a,b`)");
    assert_eq!(error("t_s,param,value,unit\n"), "no row could be used: the table is empty");
    assert_eq!(error("t_s,param,value,unit\n0,IPI,1,1\n"), "no row could be used: 1 unknown parameter, first in line 2");
    let short = Recording::from_csv("s", "n", "p", "param,value,t_s\nHR,70,0\nHR\n").unwrap();
    assert_eq!(note(&short, Oddity::ShortLine), [("", 1, 3)]);
    assert_eq!(note(&short, Oddity::MissingUnit), [("HR", 1, 2)], "columns may stand in any order, without units");
}

#[test]
fn the_list_of_records_knows_patients() {
    let index = Index::from_tsv("dataset\trecord\tpatient\tmedian_interval_s\na\t1\ta:p\t60.0\na\t2\ta:p\t1\nbroken\n").unwrap();
    assert_eq!((index.entries.len(), index.unreadable), (2, 1));
    assert_eq!((index.patient("a", "2"), index.patient("a", "9")), ("a:p".into(), "a:9".into()));
}
