//! The checks of values that cannot go together, over recorded patients: how often each speaks where nothing was changed.

use super::recordings::{Encoding, T0, Ward, files, folder, run};
use crate::profile::Profile;
use std::collections::BTreeMap;

/// Checks that compare two numbers, beside those that were there first.
pub const PAIRED: [&str; 12] = ["A05", "A06", "A08", "A09", "A10", "A11", "A12", "A13", "A14", "A15", "A16", "A17"];

/// What was found on a set.
struct Measured {
    records: usize,
    days: f64,
    /// Episodes and records with at least one, by check.
    found: BTreeMap<&'static str, (u32, u32)>,
}

/// Every record of a set, one bed each. `zero`: the device's profile says that a rate of 0 is a measurement.
fn measure(set: &str, encoding: Encoding, zero: bool) -> Option<Measured> {
    let files = files(set)?;
    let mut measured = Measured { records: files.len(), days: 0.0, found: BTreeMap::new() };
    for path in &files {
        let mut ward = Ward::new(T0);
        if ["c2012", "c2019", "mimic4_demo"].contains(&set) {
            // Charted about once an hour.
            (ward.gap_s, ward.live_s) = (4.0 * 3600.0, 4.0 * 3600.0);
        }
        if zero {
            let text = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = false\nzero_is_measured = [\"hr\", \"pr\", \"awrr\", \"etco2\"]\n";
            ward.profile = Profile::from_toml(text).expect("it is a profile");
            ward.profile.reviewed = true;
        }
        measured.days += run(&mut ward, path, encoding) / 24.0;
        let mut here: BTreeMap<&'static str, u32> = BTreeMap::new();
        for ((id, _), (count, _)) in &ward.episodes {
            *here.entry(id).or_default() += count;
        }
        for (id, count) in here {
            let found = measured.found.entry(id).or_default();
            *found = (found.0 + count, found.1 + 1);
            if PAIRED.contains(&id) {
                println!("{set} {encoding:?} {zero} {}: {id} {count}", path.file_name().unwrap_or_default().to_string_lossy());
            }
        }
    }
    Some(measured)
}

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expect/coherence.tsv");

/// What each check says of each set, against `tests/expect/coherence.tsv`; written anew with
/// `VG_TEST_BLESS=1 cargo test --lib coherence -- --ignored --nocapture`
#[test]
#[ignore = "minutes: every record in every encoding"]
fn recorded_patients_contradict_themselves_as_rarely_as_was_measured() {
    if folder().is_none() {
        return;
    }
    let mut table = String::from("set\tencoding\tzero\trecords\tbed_days\tcheck\tepisodes\trecords_with\tper_bed_day\n");
    let mut add = |set: &str, encoding: Encoding, zero: bool| {
        let Some(m) = measure(set, encoding, zero) else { return };
        let place = format!("{set}\t{encoding:?}\t{}\t{}\t{:.2}", if zero { "measured" } else { "unsaid" }, m.records, m.days);
        let mut clean = true;
        for id in ["A02"].into_iter().chain(PAIRED) {
            let Some((episodes, records)) = m.found.get(id) else { continue };
            clean = false;
            let rate = f64::from(*episodes) / m.days;
            table.push_str(&format!("{place}\t{id}\t{episodes}\t{records}\t{rate:.2}\n"));
        }
        if clean {
            table.push_str(&format!("{place}\t-\t0\t0\t0.00\n"));
        }
    };
    for encoding in [Encoding::Status, Encoding::NoRow, Encoding::Number, Encoding::Minute] {
        for set in ["hfno_tcco2", "ipi_capno", "uw_hypoxia", "mimic3_wdb_sample", "mimic3_pap", "p2009_map"] {
            add(set, encoding, false);
        }
    }
    for set in ["hfno_tcco2", "ipi_capno", "mimic3_wdb_sample", "mimic3_pap"] {
        add(set, Encoding::Number, true);
    }
    for set in ["c2012", "c2019", "mimic4_demo"] {
        add(set, Encoding::Status, false);
    }
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        std::fs::write(EXPECTED, &table).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(EXPECTED).unwrap_or_default();
    assert_eq!(table, expected, "other findings than measured before");
}
