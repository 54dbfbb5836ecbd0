//! `vitalguard bench`: recordings and attacks through the whole program, and what was found.

use super::Usage;
use super::recordings;
use crate::eval::attack::{Attack, catalogue};
use crate::eval::bench::{Input, Job, Options, Shelves, Wards, cost, examples, jobs, report, run_job, synthetic_controls};
use crate::eval::measure::Measured;
use crate::eval::report::{Cost, html};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

mod peers;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of recordings: SET/RECORD.csv or .csv.gz (t_s,param,value,unit), and INDEX.tsv that says which records are of one
    /// patient. Without it: a ward of invented patients.
    #[arg(value_name = "RECORDINGS")]
    recordings: Option<PathBuf>,
    /// Write everything as JSON; - is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one page of HTML: tables and example events, nothing fetched.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A small sample: to see that it works, not to claim anything.
    #[arg(long)]
    quick: bool,
    /// A still smaller one, for the tests of the program.
    #[arg(long, hide = true, requires = "quick")]
    glance: bool,
    /// What is drawn is drawn from this number.
    #[arg(long, default_value_t = 2026, value_name = "N")]
    seed: u64,
    /// Events of each attack that are aimed at, of recordings at their own cadence (half as many at one message a minute).
    #[arg(long, default_value_t = 5, value_name = "N")]
    events: u32,
    /// Only attacks whose name (`offset/+20%/600s/one/K1`) holds one of these texts, under the first setup.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    attack: Vec<String>,
    /// Write every event that missed its goal, a JSON object a line: where, and what was said meanwhile; - is standard output.
    #[arg(long, value_name = "FILE")]
    missed: Option<PathBuf>,
    /// Only these sets.
    #[arg(long, value_delimiter = ',', value_name = "SET,…")]
    sets: Vec<String>,
    /// Threads (default: one for each core). The result is the same with any number.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the same runs as tables for other detectors, let them run, and set their figures beside ours.
    #[arg(long)]
    peers: bool,
    /// The interpreter that runs them.
    #[arg(long, default_value = "python3", value_name = "PYTHON")]
    peers_python: PathBuf,
    /// Where the tables go (default: a temporary folder).
    #[arg(long, value_name = "DIR")]
    peers_dir: Option<PathBuf>,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let bar = bar(args.quiet);
    if args.peers {
        peers::there()?;
    }
    let mut attacks = catalogue();
    let part = !args.attack.is_empty();
    if part {
        attacks.retain(|a| args.attack.iter().any(|text| a.id().contains(text.as_str())));
        if attacks.is_empty() {
            return Err(Usage::new("no attack has such a name (vitalguard simulate --list names all)").into());
        }
    }
    let options = Options { seed: args.seed, quick: args.quick, glance: args.glance, part, events: args.events };
    let recordings = match &args.recordings {
        Some(folder) => recordings::folder(folder, &args.sets, &bar)?,
        None => Vec::new(),
    };
    if args.recordings.is_some() && recordings.is_empty() {
        return Err(Usage::new("no recording was found: SET/RECORD.csv or .csv.gz is meant").into());
    }
    let input = Input::new(recordings, &options);
    let shelves = Shelves::new(&input);
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let jobs = jobs(&input, &shelves, &options);
    let results = measure(&input, &shelves, &attacks, &options, &jobs, threads, &bar);
    bar.set_message("figures");
    let controls = synthetic_controls(&input, &shelves, &options);
    let cost = measure_cost(&input, &shelves, &results);
    let mut report = report(&input, &shelves, &attacks, &options, &jobs, &results, controls, cost);
    let mut failed = None;
    report.examples = examples(&input, &shelves, &attacks, &options, &jobs, &results);
    if args.peers {
        bar.set_message("other detectors");
        let setup = shelves.setups()[0];
        // What was measured of ours is written whatever becomes of the others.
        match peers::run(args.peers_dir.as_deref(), &args.peers_python, &input, &attacks, &jobs, setup, &results) {
            Ok(lines) => report.peers = lines,
            Err(error) => failed = Some(error),
        }
    }
    report.cost.wall_s = began.elapsed().as_secs_f64();
    report.cost.threads = threads as u64;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if let Some(path) = &args.json {
        write(path, report.to_json().as_bytes(), &mut out)?;
    }
    if let Some(path) = &args.missed {
        write(path, missed(&input, &attacks, &jobs, &results).as_bytes(), &mut out)?;
    }
    if let Some(path) = &args.html {
        write(path, html(&report).as_bytes(), &mut out)?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        out.write_all(report.table().as_bytes())?;
        writeln!(out, "{} messages in {:.0} s on {threads} threads.", report.cost.messages, report.cost.wall_s)?;
    }
    match failed {
        Some(error) => Err(error.context("the other detectors")),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Every event that missed its goal.
fn missed(input: &Input, attacks: &[Attack], jobs: &[Job], results: &[Measured]) -> String {
    let mut out = String::new();
    for (job, measured) in jobs.iter().zip(results) {
        let recording = &input.entries[job.entry].recording;
        for event in &measured.events {
            let Some(missed) = &event.missed else { continue };
            let line = serde_json::json!({
                "set": recording.set, "record": recording.name, "setup": job.setup.as_str(), "attack": attacks[event.attack].id(),
                "start_s": event.start_s, "rate": event.rate.as_str(), "encoding": event.encoding.as_str(),
                "goal": event.truth.counts.goal, "condition": event.truth.counts.condition, "delay_s": event.delay(),
                "attacked": missed.attacked, "twin": missed.twin,
            });
            out.push_str(&line.to_string());
            out.push('\n');
        }
    }
    out
}

fn write(path: &Path, bytes: &[u8], out: &mut impl std::io::Write) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(out.write_all(bytes)?);
    }
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// All jobs, on so many threads; each result has its place, whoever makes it.
fn measure(
    input: &Input,
    shelves: &Shelves,
    attacks: &[Attack],
    options: &Options,
    list: &[Job],
    threads: usize,
    bar: &ProgressBar,
) -> Vec<Measured> {
    bar.set_message("runs");
    bar.set_position(0);
    bar.set_length(list.len() as u64);
    // The longest first, so that no thread is left with one at the end.
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(list[*at].weight));
    let places: Vec<Mutex<Option<Measured>>> = list.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut wards = Wards::default();
                while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let measured = run_job(&mut wards, input, shelves, attacks, options, &list[*at]);
                    *places[*at].lock().unwrap_or_else(PoisonError::into_inner) = Some(measured);
                    bar.inc(1);
                }
            });
        }
    });
    let taken = |place: Mutex<Option<Measured>>| place.into_inner().unwrap_or_else(PoisonError::into_inner);
    places.into_iter().map(|place| taken(place).unwrap_or_default()).collect()
}

/// One core, nothing else: messages made before, then judged.
fn measure_cost(input: &Input, shelves: &Shelves, results: &[Measured]) -> Cost {
    let mut run = cost(input, shelves);
    let began = Instant::now();
    let (messages, values) = run();
    let us = began.elapsed().as_secs_f64() * 1e6;
    Cost {
        messages: results.iter().map(|r| r.messages).sum(),
        us_per_message: (messages > 0).then(|| us / messages as f64),
        values_per_message: values,
        bed_bytes_max: results.iter().map(|r| r.bytes_max as u64).max().unwrap_or(0),
        ..Cost::default()
    }
}
