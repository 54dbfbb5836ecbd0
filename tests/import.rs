//! A table becomes messages, and the messages give the table's numbers back: through the same command functions as the program's.

use clap::Parser as _;
use std::collections::BTreeMap;
use vitalguard::cli::{decode, import, recordings};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: import::Args,
}

/// Runs `import` on a table with these options; the log's path, what was said, and whether it succeeded.
fn imported(folder: &std::path::Path, table: &str, options: &[&str]) -> (std::path::PathBuf, String, bool) {
    let (csv, log) = (folder.join("table.csv"), folder.join("log.hl7.gz"));
    std::fs::write(&csv, table).unwrap();
    let start = ["import", csv.to_str().unwrap(), "--out", log.to_str().unwrap()];
    let line = Line::parse_from(start.iter().chain(options));
    let mut said = Vec::new();
    let code = import::run(&line.args, &mut std::io::sink(), &mut said).unwrap();
    (log, String::from_utf8(said).unwrap(), code == std::process::ExitCode::SUCCESS)
}

/// Values that `decode` finds usable: how often each of (time, parameter, value).
fn decoded(log: &std::path::Path) -> BTreeMap<String, u32> {
    let mut out = Vec::new();
    decode::run(&[log.to_owned()], true, &mut out).unwrap();
    let mut found = BTreeMap::new();
    for line in String::from_utf8(out).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        if row["validity"] == "valid" || row["validity"] == "valid_flagged" {
            let key =
                format!("{} {} {}", row["effective_at"].as_str().unwrap(), row["parameter"].as_str().unwrap(), row["value"]);
            *found.entry(key).or_default() += 1;
        }
    }
    found
}

#[test]
fn the_numbers_of_a_table_come_back_in_every_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = "t_s,param,value,unit\n".to_owned();
    let mut wanted = BTreeMap::new();
    for t in 0..120 {
        let time = vitalguard::time::Timestamp::from_civil(2026, 3, 2, 10, 0, 0, 0).unwrap().plus_s(f64::from(t));
        let (hr, spo2) = (70 + t % 7, 95.5 + f64::from(t % 3));
        table += &format!("{t},HR,{hr},bpm\n{t},SPO2@2,{spo2},%\n{t},PR,--,bpm\n{t},AWRR,0,/min\n");
        wanted.insert(format!("{time} hr {hr}.0"), 1);
        wanted.insert(format!("{time} spo2 {spo2:?}"), 1);
        wanted.insert(format!("{time} awrr 0.0"), 1);
    }
    for encoding in ["status", "absent", "empty", "sentinel"] {
        let options = ["--encoding", encoding, "--start", "2026-03-02T10:00:00Z", "--bed", "B07"];
        let (log, said, good) = imported(folder.path(), &table, &options);
        assert!(good && said.contains("480 values of"), "{said}");
        assert!(said.contains("mark of an invalid value (PR `--`): 120 times, first in line 4"), "{said}");
        assert_eq!(decoded(&log), wanted, "{encoding}");
    }
}

#[test]
fn what_was_odd_is_said_and_strictness_makes_it_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let table = "t_s,param,value,unit\n-1,HR,70,bpm\n0,BIS,40,1\n1,TEMP,37,Cel\n2,TEMP,98.6,[degF]\n200,HR,72,bpm\n";
    let (log, said, good) = imported(folder.path(), table, &[]);
    for part in [
        "negative time: 1 times, first in line 2",
        "unknown parameter (BIS): 1 times, first in line 3, not used",
        "mixed units (TEMP in [degF]): 1 times, first in line 5",
        "gap: 1 times, first in line 6, 198 s together",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(good);
    let temperatures = decoded(&log).into_keys().filter(|key| key.contains(" temp 37.0")).count();
    assert_eq!(temperatures, 2, "both in degrees Celsius");
    assert!(!imported(folder.path(), table, &["--strict"]).2);
    assert!(recordings::read(&folder.path().join("none.csv")).is_err());
}
