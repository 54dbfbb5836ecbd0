//! Other detectors on the same runs: tables go out, a program that is not ours judges them, its figures come back.

use crate::eval::attack::Attack;
use crate::eval::bench::{FOLDS, Input, Job, Setup, Source, case};
use crate::eval::measure::{self, Measured};
use crate::eval::render::{Rate, Wire, render};
use crate::eval::report::PeerLine;
use crate::eval::series::table;
use crate::eval::split::rotated;
use anyhow::Context as _;
use serde::Deserialize;
use std::io::Write as _;
use std::path::Path;

/// Runs of one attack at most: others are slow.
const EVENTS_MAX: usize = 12;
/// Where the program stands, beside the sources.
const PROGRAM: &str = "benches/peers/run.py";

/// What comes back.
#[derive(Debug, Deserialize)]
struct Answer {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    peer: String,
    budget_per_bd: serde_json::Value,
    #[serde(default)]
    smoothing: serde_json::Value,
    false_per_bd: f64,
    #[serde(default)]
    by_kind: std::collections::BTreeMap<String, ByKind>,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ByKind {
    n: u64,
    found: u64,
}

/// Said before the long part: whether the program of the others is where it is looked for.
pub fn there() -> anyhow::Result<()> {
    anyhow::ensure!(Path::new(PROGRAM).is_file(), "{PROGRAM} is not here: run from the folder of the sources");
    Ok(())
}

/// Writes the tables, lets the other program run, reads what it says.
pub fn run(
    folder: Option<&Path>,
    python: &Path,
    input: &Input,
    attacks: &[Attack],
    jobs: &[Job],
    setup: Setup,
    results: &[Measured],
) -> anyhow::Result<Vec<PeerLine>> {
    let temporary;
    let folder = match folder {
        Some(folder) => folder,
        None => {
            temporary = tempfile::tempdir().context("making a temporary folder")?;
            temporary.path()
        }
    };
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    export(folder, input, attacks, jobs, setup, results)?;
    let out = folder.join("peers.json");
    let done = std::process::Command::new(python)
        .arg(PROGRAM)
        .arg(folder)
        .arg("--out")
        .arg(&out)
        .status()
        .with_context(|| format!("starting {} {PROGRAM}", python.display()))?;
    anyhow::ensure!(done.success(), "{} {PROGRAM} ended with {done}", python.display());
    let text = std::fs::read_to_string(&out).with_context(|| format!("reading {}", out.display()))?;
    read(&text).with_context(|| format!("reading {}", out.display()))
}

fn read(text: &str) -> anyhow::Result<Vec<PeerLine>> {
    let plain = |v: serde_json::Value| match v {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let answer: Answer = serde_json::from_str(text)?;
    let line = |row: Row| PeerLine {
        peer: row.peer,
        budget: plain(row.budget_per_bd),
        false_per_bed_day: row.false_per_bd,
        found: row.by_kind.values().map(|k| k.found).sum(),
        tried: row.by_kind.values().map(|k| k.n).sum(),
        remark: [plain(row.smoothing), row.note.unwrap_or_default()].join(" ").trim().to_owned(),
        kinds: row.by_kind.into_iter().map(|(kind, k)| (kind, k.found, k.n)).collect(),
    };
    Ok(answer.rows.into_iter().map(line).collect())
}

/// One table for each recording and for each event, and the list of them.
fn export(
    folder: &Path,
    input: &Input,
    attacks: &[Attack],
    jobs: &[Job],
    setup: Setup,
    results: &[Measured],
) -> anyhow::Result<()> {
    let path = folder.join("runs.jsonl");
    let mut list = std::io::BufWriter::new(std::fs::File::create(&path).with_context(|| format!("writing {}", path.display()))?);
    let mut number = 0u64;
    let mut taken = vec![0usize; attacks.len()];
    for (job, measured) in jobs.iter().zip(results).filter(|(job, _)| job.setup == setup) {
        let entry = &input.entries[job.entry];
        if !matches!(entry.source, Source::Monitor) {
            continue;
        }
        let case = case(input, job.entry);
        let parts: Vec<&str> = (0..FOLDS).map(|k| rotated(&entry.recording.patient, FOLDS, k).as_str()).collect();
        let twin = number.to_string();
        let mut write = |wires: &mut dyn Iterator<Item = &Wire>, zero, event: Option<&measure::Event>| -> anyhow::Result<()> {
            let table = table(wires, zero);
            let file = format!("{number}.csv");
            let attack = event.map(|e| &attacks[e.attack]);
            let line = serde_json::json!({
                "run": number.to_string(), "twin": event.map(|_| &twin), "set": entry.recording.set, "record": entry.recording.name,
                "patient": entry.recording.patient, "fold": entry.fold, "parts": parts,
                "kind": attack.map(|a| a.kind.as_str()), "severity": attack.map(|a| a.severity.to_string()),
                "tier": attack.map(|a| a.tier.as_str()), "duration_s": attack.map(|a| a.duration_s),
                "params": attack.map(|a| a.params.to_string()),
                "start_s": event.map(|e| e.truth.start.since_s(zero)), "end_s": event.map(|e| e.truth.end.since_s(zero)),
                "live_days": entry.bed_days(), "interval_s": entry.recording.interval_s,
                "columns": table.columns.iter().map(|p| p.key()).collect::<Vec<_>>(), "file": file,
            });
            std::fs::write(folder.join(&file), table.to_csv())?;
            writeln!(list, "{line}")?;
            number += 1;
            Ok(())
        };
        let bed = |encoding| measure::bed(case.recording, case.number, encoding, Rate::Native);
        let Some(run) = measured.clean.iter().find(|c| c.rate == Rate::Native) else { continue };
        // The twin of the events comes in their encoding.
        let plain = bed(measured.events.iter().find(|e| e.rate == Rate::Native).map_or(run.encoding, |e| e.encoding));
        write(&mut render(case.recording, &plain).iter(), plain.start, None)?;
        for event in measured.events.iter().filter(|e| e.rate == Rate::Native && !e.truth.params.is_empty()) {
            if taken[event.attack] >= EVENTS_MAX {
                continue;
            }
            let bed = bed(event.encoding);
            let Ok(attacked) = measure::make(&case, &attacks[event.attack], &bed, event.start_s, event.seed) else { continue };
            taken[event.attack] += 1;
            let clean = render(case.recording, &bed);
            let before = clean.iter().take_while(|w| w.received_at < attacked.truth.start);
            write(&mut before.chain(&attacked.wires), bed.start, Some(event))?;
        }
    }
    list.flush().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_others_are_read_back() {
        let text = r#"{"versions":{"x":"1"},"rows":[{"peer":"forest","budget_per_bd":0.1,"smoothing":"none","false_per_bd":0.09,
            "by_kind":{"offset":{"n":10,"found":1,"median_delay_s":null},"freeze":{"n":5,"found":0}},"note":""},
            {"peer":"forest","budget_per_bd":"oracle","smoothing":"30 s median","false_per_bd":2.0,"by_kind":{}}]}"#;
        let lines = read(text).unwrap();
        assert_eq!((lines[0].budget.as_str(), lines[0].found, lines[0].tried), ("0.1", 1, 15));
        assert_eq!((lines[1].budget.as_str(), lines[1].remark.as_str()), ("oracle", "30 s median"));
        assert!(read("{}").is_err());
    }
}
