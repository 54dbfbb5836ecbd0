//! Every message of the development set against the table of what is expected of it, row by row.
//!
//! `tests/expect/shared_hl7.tsv` has one line a message (`obx` is `-`: its kind, its dialect, its marks) and one a row: parameter,
//! value, unit, validity, time and where it came from, or the reason of the reject. It was reviewed against the messages.
//! `VG_TEST_BLESS=1 cargo test --test shared_hl7` writes it anew; the difference is to be read against the raw message.
//!
//! The folder is `VG_TEST_SHARED/hl7`, or `../shared/hl7` beside this package; without it the test says so and passes.

mod common;

use common::files_below;
use std::fmt::Write as _;
use std::path::Path;
use vitalguard::cli::decode::pieces;
use vitalguard::hl7::decode::Decoder;
use vitalguard::hl7::dialect::Tables;
use vitalguard::hl7::show::{self, Row};
use vitalguard::hl7::{Message, Scratch, tree};
use vitalguard::observation::{Report, Source, TimeSource};
use vitalguard::time::Timestamp;

/// Messages with more rows are told in one line for each parameter.
const ROWS_MAX: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).expect("a word").as_str().unwrap_or_default().to_owned()
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

/// Where a time came from, in a letter or two.
fn source_of(time: TimeSource) -> &'static str {
    match time {
        TimeSource::Obx14 => "OBX-14",
        TimeSource::Obr7 => "OBR-7",
        TimeSource::ObrOther => "OBR",
        TimeSource::Msh7 => "MSH-7",
        TimeSource::Received => "received",
    }
}

/// One row, without the columns that name it.
fn told(row: Row<'_>) -> String {
    match row {
        Row::Observation(o) => format!(
            "{}\t{}\t{}\t{}\t{} {}\t{}",
            o.parameter.key(),
            show::number(o.value),
            o.parameter.unit().ucum(),
            word(o.validity),
            o.effective_at,
            source_of(o.time_source),
            list(show::flag_names(o.flags).into_iter())
        ),
        Row::Reject(reject) => {
            let parameter = reject.parameter.map_or("-", |parameter| parameter.key());
            format!("{parameter}\t-\t-\treject {}\t-\t-", reject.reason.as_str())
        }
    }
}

fn table(shared: &Path) -> String {
    let mut found = String::from("file\tmessage\tobx\tdialect\tparameter\tvalue\tunit\tvalidity\ttime\tmarks\n");
    let mut decoder = Decoder::new("Europe/Rome", Tables::embedded()).expect("an IANA name");
    let received_at = Timestamp::from_civil(2026, 3, 2, 9, 0, 30, 0).expect("a date");
    let (mut scratch, mut report) = (Scratch::default(), Report::default());
    for (connection, path) in files_below(shared, "hl7").iter().enumerate() {
        let source = Source { feed: "test".into(), connection: connection as u64, ward: "main".into(), ..Source::default() };
        let name = path.strip_prefix(shared).expect("inside").display().to_string();
        let bytes = std::fs::read(path).expect("readable");
        let pieces = pieces(&bytes);
        if pieces.is_empty() {
            writeln!(found, "{name}\t0\t-\t-\tno message\t-\t-\t-\t-\t-").expect("a string");
        }
        for (at, (payload, faults)) in pieces.iter().enumerate() {
            let number = at + 1;
            let message = match Message::read(payload, &mut scratch) {
                Ok(message) => message,
                Err(error) => {
                    writeln!(found, "{name}\t{number}\t-\t-\tunreadable: {error}\t-\t-\t-\t-\t-").expect("a string");
                    continue;
                }
            };
            decoder.decode(&message, &source, received_at, &mut report);
            let rows = show::rows(&report);
            let ours = message.segments().filter(|segment| segment.is(b"OBX")).count();
            assert_eq!(rows.len(), ours, "{name} {number}: every OBX becomes one thing");
            assert!(rows.iter().zip(0..).all(|(row, at)| row.ordinal() == at), "{name} {number}: every OBX its own");
            if let Ok(theirs) = tree::count(&message, "OBX") {
                assert_eq!(rows.len(), theirs, "{name} {number}: as many as hl7-parser finds");
            }
            writeln!(
                found,
                "{name}\t{number}\t-\t{}\t{} {}^{}\t{} observed\t{} rejected\t-\t{}\t{}",
                report.dialect,
                word(report.kind),
                report.message_type,
                report.trigger,
                report.observations.len(),
                report.rejects.len(),
                report.sent_at.map_or("-".to_owned(), |at| at.to_string()),
                list(faults.names().chain(report.flags.names())),
            )
            .expect("a string");
            if rows.len() > ROWS_MAX {
                let mut kinds: Vec<String> = rows
                    .iter()
                    .map(|row| match row {
                        Row::Observation(o) => {
                            format!("{}\t*\t{}\t{}", o.parameter.key(), o.parameter.unit().ucum(), word(o.validity))
                        }
                        Row::Reject(reject) => format!("-\t*\t-\treject {}", reject.reason.as_str()),
                    })
                    .collect();
                kinds.sort();
                for run in kinds.chunk_by(|a, b| a == b) {
                    writeln!(found, "{name}\t{number}\t{} rows\t{}\t{}\t*\t-", run.len(), report.dialect, run[0])
                        .expect("a string");
                }
                continue;
            }
            for row in rows {
                writeln!(found, "{name}\t{number}\t{}\t{}\t{}", row.ordinal() + 1, report.dialect, told(row)).expect("a string");
            }
        }
        decoder.close(connection as u64);
    }
    found
}

#[test]
fn every_message_of_the_development_set_is_understood_as_reviewed() {
    let Some(shared) = common::shared("hl7") else { return };
    let found = table(&shared);
    let expect = root().join("tests/expect/shared_hl7.tsv");
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        std::fs::write(&expect, &found).expect("writable");
    }
    let expected = std::fs::read_to_string(&expect).unwrap_or_default();
    let differ: Vec<String> = found
        .lines()
        .zip(expected.lines().chain(std::iter::repeat("")))
        .filter(|(found, expected)| found != expected)
        .map(|(found, expected)| format!("found    {found}\nexpected {expected}"))
        .collect();
    assert!(differ.is_empty() && found.lines().count() == expected.lines().count(), "{}", differ.join("\n"));
}
