//! `vitalguard explain ALERT-ID`: derives an alert again from the journal, or from recorded messages, and shows the sum behind it.
//! What is said is made in [`crate::shell::explain`], which HTTP calls too.

use super::load::{Overrides, load};
use super::replay::journal_of;
use super::{Global, Usage, start_logging};
use crate::monitor::FIXED_KEY;
use crate::shell::explain::{Ask, From, explain};
use crate::shell::journal::write_atomic;
use crate::shell::key;
use crate::shell::replay::Journal;
use crate::shell::replay::input::gather;
use crate::shell::store::AlertReader;
use anyhow::Context as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The alert: its id (A-…), or its short reference.
    #[arg(value_name = "ALERT-ID")]
    alert: String,
    /// Recordings as for replay, or a journal's folder; none: the journal of the data folder.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration file (TOML): the one under which the alert was raised.
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of the service.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Slug of the installation (it is part of every alert's id).
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Feed of recorded messages, as for replay.
    #[arg(long, default_value = "replay", value_name = "SLUG")]
    feed: String,
    /// One JSON object.
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// One page with the values, what was expected and when each check spoke, into a file (`-`: standard output).
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The journal from its beginning, not from the newest state before the alert.
    #[arg(long)]
    whole: bool,
    /// Also what came of it later than five minutes after it was raised.
    #[arg(long)]
    to_end: bool,
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let overrides =
        Overrides { config: args.config.clone(), data: args.data.clone(), site: args.site.clone(), ..Overrides::default() };
    let config = load(&overrides)?.config;
    let quiet = crate::config::Log { format: config.log.format, filter: "warn".into() };
    start_logging(global, &quiet);
    let store = config.data.join("store.sqlite");
    // What the service has published says where to look; a journal without its store is read from its beginning.
    let known = match (args.files.is_empty(), args.whole) {
        (true, false) => AlertReader::open(&store).ok().and_then(|reader| reader.find(&args.alert).ok().flatten()),
        _ => None,
    };
    let journal = match args.files.as_slice() {
        [] if known.is_some() => Some(Journal::at(&config.data.join("journal"))),
        [] => Journal::find(&config.data).with_context(|| format!("reading the journal of {}", config.data.display()))?,
        files => journal_of(files)?,
    };
    if args.files.is_empty() && journal.is_none() {
        return Err(Usage::new(format!(
            "{} holds no journal: name the data folder (--data), its configuration (--config), or recordings",
            config.data.display()
        ))
        .into());
    }
    let own_key = args.data.is_some() || args.files.is_empty() || config.privacy.key_file.is_some();
    let site_key = if own_key { key::read(&key::path(&config))? } else { FIXED_KEY.to_vec() };
    let inputs = if journal.is_some() { Vec::new() } else { gather(&args.files).context("opening the recordings")? };
    let ask = Ask {
        config: &config,
        site_key,
        alert: &args.alert,
        from: match (&journal, &known) {
            (Some(journal), Some(alert)) => From::Part { journal, alert, to_end: args.to_end },
            (Some(journal), None) => From::Journal(journal),
            (None, _) => From::Recordings(&inputs),
        },
        feed: &args.feed,
        store: &store,
        curves: args.html.is_some(),
        until: None,
    };
    let mut explained = explain(&ask)?;
    if !explained.found()
        && let (Some(journal), Some(_)) = (&journal, &known)
    {
        // No state of the past leads to it: from the beginning then.
        explained = explain(&Ask { from: From::Journal(journal), ..ask })?;
    }
    for outcome in explained.outcomes.iter().filter(|outcome| outcome.faults.broken.is_some()) {
        eprintln!("{}: reading stopped: {}", outcome.name, outcome.faults.broken.as_deref().unwrap_or_default());
    }
    if !explained.found() {
        let model = match explained.model.as_str() {
            "" => String::new(),
            model => format!("; alerts here were judged by model {model}"),
        };
        anyhow::bail!(
            "no alert {} follows from {} messages ({} other alerts do{model}): another site slug, key, configuration or version, or \
             the journal no longer reaches back so far",
            args.alert,
            explained.messages,
            explained.alerts
        );
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(path) = args.html.as_deref().filter(|path| *path != Path::new("-")) {
        write_atomic(path, explained.to_html().as_bytes())?;
    } else if args.html.is_some() {
        out.write_all(explained.to_html().as_bytes())?;
    } else if args.json {
        serde_json::to_writer_pretty(&mut out, &explained.to_json())?;
        writeln!(out)?;
    } else {
        explained.tell(&mut out)?;
    }
    out.flush()?;
    Ok(if explained.differs() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
