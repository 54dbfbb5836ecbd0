//! `vitalguard replay`: recorded messages judged, published, or sent on.

use super::load::{Overrides, load};
use super::{Global, Usage, start_logging};
use crate::capture::Indicator;
use crate::config::Config;
use crate::monitor::{FIXED_KEY, HostSeen};
use crate::shell::key;
use crate::shell::replay::input::{Progress, gather, run_id};
use crate::shell::replay::mllp::{Answers, Sender};
use crate::shell::replay::mqtt::Publisher;
use crate::shell::replay::pace::{Machine, Pace};
use crate::shell::replay::{Driver, Journal, Lines, Options, Sink, Summary};
use crate::time::Timestamp;
use anyhow::Context as _;
use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings: MLLP streams, files of messages, logs, packet captures (pcap, pcapng), each also as .gz or .zst; folders of
    /// them; the journal's folder; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How fast: max, or so many times as fast as it was recorded.
    #[arg(long, default_value = "max", value_parser = speed, value_name = "max|N")]
    speed: Speed,
    /// Keep the recorded times, or move them all so that the first message is now.
    #[arg(long, value_enum, default_value = "keep")]
    shift: Shift,
    /// Write the alert events (alert-event/1, JSON Lines) to a file; - is standard output.
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// mqtt: publish events and states under {root}/replay/{run}/. mllp://HOST:PORT: send the messages to a listener.
    #[arg(long, value_name = "mqtt|mllp://HOST:PORT")]
    to: Option<String>,
    /// Name of the run (default: from the SHA-256 of the input).
    #[arg(long, value_name = "SLUG")]
    run: Option<String>,
    /// Feed of the messages; as many as recordings, with commas between: one for each of them.
    #[arg(long, default_value = "replay", value_name = "SLUG[,SLUG…]")]
    feed: String,
    /// Each recording is a feed of its own (copies from several gateways) instead of a part of one log.
    #[arg(long)]
    feed_each: bool,
    /// The recordings are one feed at several places of its way, the first nearest to the monitors: each is compared with the
    /// one before it (P10), as far as the configuration does not say how.
    #[arg(long)]
    compare: bool,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    overrides: ReplayOverrides,
}

/// The flags of `serve` that make sense here.
#[derive(Debug, clap::Args)]
struct ReplayOverrides {
    /// Configuration file (TOML).
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a service: hash devices and peers under its key, so that alerts read as they did there (default: a fixed
    /// key, the same on any machine).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Slug of the installation.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Folder of the site's own model files.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The broker for --to mqtt.
    #[arg(long, value_name = "URL")]
    mqtt_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shift {
    Keep,
    Now,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("max or a number greater than 0 is meant".into()),
    }
}

/// The feed of each recording; empty: all are one feed.
fn feeds(named: &[&str], each: bool, recordings: usize) -> Result<Vec<String>, Usage> {
    match named {
        [one] if each => Ok((1..=recordings).map(|n| format!("{one}-{n}")).collect()),
        [_] => Ok(Vec::new()),
        many if many.len() == recordings => Ok(many.iter().map(|feed| (*feed).to_owned()).collect()),
        many => Err(Usage::new(format!("--feed names {} feeds for {recordings} recordings", many.len()))),
    }
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let overrides = Overrides {
        config: args.overrides.config,
        data: args.overrides.data.clone(),
        site: args.overrides.site,
        models: args.overrides.models,
        mqtt_url: args.overrides.mqtt_url,
        ..Overrides::default()
    };
    let mut config = load(&overrides)?.config;
    start_logging(global, &config.log);
    let named: Vec<&str> = args.feed.split(',').collect();
    for (flag, slug) in std::iter::once(("--run", args.run.as_deref())).chain(named.iter().map(|feed| ("--feed", Some(*feed)))) {
        if slug.is_some_and(|slug| !crate::config::is_slug(slug)) {
            return Err(Usage::new(format!("{flag} must be a slug: letters, digits, _ and -, at most 32")).into());
        }
    }
    let to_mqtt = match args.to.as_deref() {
        None => false,
        Some("mqtt") => true,
        Some(url) if url.starts_with("mllp://") => false,
        Some(other) => return Err(Usage::new(format!("--to {other}: mqtt or mllp://HOST:PORT is meant")).into()),
    };
    let journal = journal_of(&args.files)?;
    if journal.is_some() && args.shift == Shift::Now {
        return Err(Usage::new("--shift now moves recorded messages; a journal is replayed as it was").into());
    }
    let inputs = if journal.is_some() { Vec::new() } else { gather(&args.files).context("opening the recordings")? };
    let feeds = feeds(&named, args.feed_each || args.compare, inputs.len())?;
    if args.compare {
        if feeds.len() < 2 {
            return Err(Usage::new("--compare needs two recordings at least").into());
        }
        for pair in feeds.windows(2) {
            if config.compare.iter().all(|known| known.downstream != pair[1]) {
                config.compare.push(crate::config::Compare::of(&pair[0], &pair[1]));
            }
        }
    }
    let run = match (args.run, &journal) {
        (Some(run), _) => run,
        (None, Some(journal)) => journal.run.clone(),
        (None, None) => run_id(&inputs).context("reading the recordings")?,
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let mut alerts_on_stdout = false;
    if let Some(path) = &args.alerts {
        if path.as_os_str() == "-" {
            alerts_on_stdout = true;
            sinks.push(Box::new(Lines(std::io::BufWriter::new(std::io::stdout()))));
        } else {
            let file = std::fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
            sinks.push(Box::new(Lines(std::io::BufWriter::new(file))));
        }
    }
    let mut answers = None;
    if to_mqtt {
        let publisher = Publisher::connect(&config.mqtt, &config.site, &run)?;
        eprintln!("publishing under {}/replay/{run}/v1/{}/#", config.mqtt.root, config.site);
        sinks.push(Box::new(publisher));
    } else if let Some(url) = &args.to {
        let (sender, counted) = Sender::new(url).map_err(|error| Usage::new(error.to_string()))?;
        answers = Some(counted);
        sinks.push(Box::new(sender));
    }
    let judge = answers.is_none() || args.alerts.is_some();
    let shift_to = match args.shift {
        Shift::Keep => None,
        Shift::Now => Some(Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())),
    };
    let pace = Pace::new(
        Machine::default(),
        match args.speed {
            Speed::Max => None,
            Speed::Times(times) => Some(times),
        },
    );
    let zone = jiff::tz::TimeZone::get(&config.zone).context("the site's time zone")?;
    let bytes_max = config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
    let site_key = match (&args.overrides.data, &config.privacy.key_file) {
        (None, None) => None,
        _ => Some(key::read(&key::path(&config))?),
    };
    let options = Options { run: run.clone(), feed: named[0].to_owned(), feeds, shift_to, judge, site_key };
    let progress = Progress::default();
    let bar = Bar::start(args.quiet, inputs.iter().map(|input| input.bytes()).sum(), progress.clone());
    let began = Instant::now();
    let driver = Driver::new(&config, options, pace, sinks);
    let driven = match &journal {
        Some(journal) => driver.run_journal(journal),
        None => driver.run(&inputs, zone, bytes_max, progress),
    };
    bar.stop();
    let summary = driven?;
    let mut stderr = std::io::stderr().lock();
    // What cannot be told to a closed standard error is lost, and nothing else is.
    let _ = tell(&summary, &run, began.elapsed(), answers.as_ref(), &mut stderr);
    if alerts_on_stdout {
        std::io::stdout().flush()?;
    }
    // A capture without a message was still looked through for indicators.
    let captured = summary.outcomes.iter().filter_map(|outcome| outcome.seen.as_ref()).any(|seen| seen.counts.packets > 0);
    if summary.messages == 0 && !captured {
        anyhow::bail!("no message could be read");
    }
    if summary.outcomes.iter().any(|outcome| {
        outcome.faults.messages == 0
            && outcome.faults.broken.is_some()
            && outcome.seen.as_ref().is_none_or(|seen| seen.counts.packets == 0)
    }) {
        anyhow::bail!("a recording could not be read at all (see above)");
    }
    if let Some(answers) = answers
        && answers.borrow().unanswered > 0
    {
        anyhow::bail!("{} messages got no answer", answers.borrow().unanswered);
    }
    Ok(ExitCode::SUCCESS)
}

/// The summary, for a person.
fn tell(
    summary: &Summary,
    run: &str,
    elapsed: Duration,
    answers: Option<&Rc<RefCell<Answers>>>,
    out: &mut impl std::io::Write,
) -> std::io::Result<()> {
    for outcome in &summary.outcomes {
        let faults = &outcome.faults;
        writeln!(out, "{}: {}, {} messages", outcome.name, outcome.description, faults.messages)?;
        let counted = [
            (faults.cut, "messages break off"),
            (faults.too_large, "messages are over the size limit"),
            (faults.count_mismatches, "batches hold another number of messages than their trailer says"),
            (faults.noise, "lines or bytes belong to no message"),
        ];
        for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "{}: {count} {what}", outcome.name)?;
        }
        for place in &faults.places {
            writeln!(out, "{}: {place}", outcome.name)?;
        }
        for line in outcome.seen.iter().flat_map(|seen| seen.lines()) {
            writeln!(out, "{}: {line}", outcome.name)?;
        }
        if let Some(broken) = &faults.broken {
            writeln!(out, "{}: reading stopped: {broken}", outcome.name)?;
        }
    }
    let unreadable = if summary.unreadable > 0 { format!(" ({} are no HL7)", summary.unreadable) } else { String::new() };
    writeln!(
        out,
        "run {run}: {} messages{unreadable}, {} observations, {} alert events",
        summary.messages, summary.observations, summary.events
    )?;
    for (reason, count) in &summary.rejects {
        writeln!(out, "  rows refused, {reason}: {count}")?;
    }
    for ((condition, assessment, priority), count) in &summary.raised {
        let priority = priority.as_str();
        writeln!(out, "  raised, {assessment} {priority}, {condition}: {count}")?;
    }
    hosts(summary, out)?;
    if summary.pauses > 0 {
        writeln!(out, "  {} pauses of more than 7 days counted as not recorded", summary.pauses)?;
    }
    if let (Some(first), Some(last)) = (summary.first, summary.last) {
        let recorded_s = last.since_s(first);
        let wall_s = elapsed.as_secs_f64().max(1e-6);
        writeln!(
            out,
            "{first} to {last}: {recorded_s:.0} s in {wall_s:.2} s, {:.0} times as fast, {:.0} messages/s",
            recorded_s / wall_s,
            summary.messages as f64 / wall_s
        )?;
    }
    if let Some(answers) = answers {
        let a = answers.borrow();
        writeln!(
            out,
            "answers: {} accepted, {} errors, {} rejected, {} not asked for, {} missing; {} reconnects, {} with another id",
            a.accepted, a.errors, a.rejected, a.none_asked, a.unanswered, a.reconnects, a.mismatched
        )?;
    }
    Ok(())
}

fn of_advisory(seen: &HostSeen) -> bool {
    Indicator::OF_ADVISORY.iter().any(|indicator| indicator.check() == seen.check)
}

/// Hosts that match an indicator. Their addresses are hashed; that of the advisory is public.
fn hosts(summary: &Summary, out: &mut impl std::io::Write) -> std::io::Result<()> {
    for seen in &summary.hosts {
        let name = crate::check::CheckId::from_id(&seen.check).map_or("", |check| check.meta().name);
        if seen.check == Indicator::Quarantined.check() {
            let (first, last) = (seen.first, seen.last);
            writeln!(
                out,
                "  host {} is declared quarantined and is heard: {} packets, {first} to {last}",
                seen.host, seen.count
            )?;
            continue;
        }
        let address = seen.address.map(|address| format!(" {address}")).unwrap_or_default();
        writeln!(
            out,
            "  host {} matches the indicator of {} ({} {name}):{address} port {}, {} packets or frames, {} to {}",
            seen.host,
            crate::capture::indicators::ADVISORY,
            seen.check,
            seen.port,
            seen.count,
            seen.first,
            seen.last
        )?;
    }
    let captures = summary.outcomes.iter().any(|outcome| outcome.seen.is_some());
    if captures && !summary.hosts.iter().any(of_advisory) {
        writeln!(
            out,
            "  no indicator of {} seen; what was not captured was not looked at",
            crate::capture::indicators::ADVISORY
        )?;
    }
    Ok(())
}

/// What recordings or a journal's folder come to, as fast as it goes. With `own_key` hashes are those of the data folder.
pub(super) fn whole(config: &Config, files: &[PathBuf], own_key: bool) -> anyhow::Result<Summary> {
    let journal = journal_of(files)?;
    let summary = driven(config, files, journal.as_ref(), own_key, "replay", Vec::new())?;
    anyhow::ensure!(summary.messages > 0, "no message could be read");
    Ok(summary)
}

/// The journal that a single folder holds.
pub(super) fn journal_of(files: &[PathBuf]) -> anyhow::Result<Option<Journal>> {
    match files {
        [folder] if folder.is_dir() => Ok(Journal::find(folder).context("reading the journal")?),
        _ => Ok(None),
    }
}

/// The same, told to others as well; without a journal the files are read.
pub(super) fn driven(
    config: &Config,
    files: &[PathBuf],
    journal: Option<&Journal>,
    own_key: bool,
    feed: &str,
    sinks: Vec<Box<dyn Sink + '_>>,
) -> anyhow::Result<Summary> {
    let own_key = own_key || config.privacy.key_file.is_some();
    let site_key = if own_key { key::read(&key::path(config))? } else { FIXED_KEY.to_vec() };
    let inputs = if journal.is_some() { Vec::new() } else { gather(files).context("opening the recordings")? };
    let run = match journal {
        Some(journal) => journal.run.clone(),
        None => run_id(&inputs).context("reading the recordings")?,
    };
    let zone = jiff::tz::TimeZone::get(&config.zone).context("the site's time zone")?;
    let bytes_max = config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
    let options = Options { run, feed: feed.into(), feeds: Vec::new(), shift_to: None, judge: true, site_key: Some(site_key) };
    let driver = Driver::new(config, options, Pace::new(Machine::default(), None), sinks);
    Ok(match journal {
        Some(journal) => driver.run_journal(journal)?,
        None => driver.run(&inputs, zone, bytes_max, Progress::default())?,
    })
}

/// A progress bar on a terminal, moved by a thread of its own.
struct Bar(Option<(indicatif::ProgressBar, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>)>);

impl Bar {
    fn start(quiet: bool, bytes: u64, progress: Progress) -> Bar {
        use std::io::IsTerminal as _;
        if quiet || !std::io::stderr().is_terminal() {
            return Bar(None);
        }
        let bar = indicatif::ProgressBar::new(bytes);
        if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {elapsed} left {eta}") {
            bar.set_style(style);
        }
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let shown = bar.clone();
        let thread = std::thread::spawn(move || {
            while matches!(stopped.recv_timeout(Duration::from_millis(200)), Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
                shown.set_position(progress.load(Ordering::Relaxed));
            }
        });
        Bar(Some((bar, stop, thread)))
    }
    fn stop(self) {
        if let Some((bar, stop, thread)) = self.0 {
            drop(stop);
            // The thread only draws.
            let _ = thread.join();
            bar.finish_and_clear();
        }
    }
}
