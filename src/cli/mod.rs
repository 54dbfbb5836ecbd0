//! The command line: files are read here, errors become sentences and exit codes here, and nowhere else.
//!
//! Exit codes: 0 done, 1 failed (one sentence on standard error says why), 2 wrong usage or configuration. A reader that
//! closes our standard output (`| head`) has seen enough: that is 0.

pub mod advisories;
pub mod audit;
pub mod bench;
pub mod checklist;
pub mod checks;
pub mod config;
pub mod decode;
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod explain;
pub mod fit;
pub mod import;
pub mod incident;
pub mod indicators;
pub mod load;
pub mod models;
pub mod profiles;
pub mod recordings;
pub mod replay;
pub mod schemas;
pub mod serve;
pub mod simulate;
pub mod tee;
pub mod verify;

use crate::config::LogFormat;
use clap::{Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::process::ExitCode;

/// Judges a copy of a hospital's vital-signs feed and tells nursing stations over MQTT which values cannot be trusted.
///
/// Advisory: not for primary alarming. Look at the patient and the bedside monitor.
#[derive(Debug, Parser)]
#[command(name = "vitalguard", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Global {
    /// How log lines are written (default: as configured, text).
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,
    /// More log lines: -v debug, -vv trace of this program.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Listen for HL7 over MLLP, judge it, publish alerts over MQTT and a page over HTTP.
    Serve(serve::Args),
    /// Judge recorded messages: the same input gives the same alerts, byte for byte.
    Replay(replay::Args),
    /// Invented beds, three attacks, a device named in an advisory, and what is caught: everything on this machine.
    Demo(demo::Args),
    /// Show, check or prepare the configuration.
    Config(config::Args),
    /// Check this machine, the configuration and the running service.
    Doctor(doctor::Args),
    /// The catalogue of checks: what each one does, why, how it decides, when it is wrong.
    Checks(checks::Args),
    /// Which devices are on the feed, what they declare, and which security advisories name them.
    Devices(devices::Args),
    /// The security advisories known here, their date, and what one of them says.
    Advisories(advisories::Args),
    /// The sheet for home: which label, how to take it off the network, how to compare, whom to tell. One A4 page.
    Checklist(checklist::Args),
    /// What the advisories say of the network: a table, or a block list for a firewall or a sensor.
    Indicators(indicators::Args),
    /// The relay of a fail-open tee: passes bytes on to the real receiver and keeps copies for the judge.
    Tee(tee::Args),
    /// Why an alert was raised: derives it again from the journal and shows the sum, finding by finding.
    Explain(explain::Args),
    /// Cases: what belongs to an incident, its clocks, drafts for those who report, and bundles that prove themselves.
    Incident(incident::Args),
    /// Prove a journal's folder: chain, footers, checkpoints; or name the first byte that does not fit.
    Verify(verify::Args),
    /// Who did or looked at what: the audit of the running service, or of a data folder.
    Audit(audit::Args),
    /// Device profiles and population priors from recordings, off line.
    Fit(fit::Args),
    /// What the devices on the feed do, as far as it was learned; one of them as a file that a person reviews.
    Profiles(profiles::Args),
    /// The model files in force, or of a site's folder whether they can be.
    Models(models::Args),
    /// The shapes of all documents: JSON Schemas and the AsyncAPI document.
    Schemas(schemas::Args),
    /// Recordings and injected attacks through the whole program: what is found, what is not, and what is alerted for nothing.
    Bench(bench::Args),
    /// What recorded messages say, row by row: parameter, value, unit, validity, or why not.
    Decode(decode::Args),
    /// A table of recorded numbers as HL7 messages that replay and decode take, and what was odd about it.
    Import(import::Args),
    /// Labelled HL7 logs of attacks on recordings or invented patients.
    Simulate(simulate::Args),
}

/// A wrong command line or configuration: exit code 2. Every line is one complaint.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Usage(pub Vec<String>);

impl Usage {
    /// One complaint.
    pub fn new(line: impl Into<String>) -> Usage {
        Usage(vec![line.into()])
    }
}

/// Runs a command and turns what became of it into an exit code.
pub fn run(cli: Cli) -> ExitCode {
    let global = cli.global;
    let done = match cli.command {
        Command::Serve(args) => serve::run(&global, args),
        Command::Replay(args) => replay::run(&global, args),
        Command::Demo(args) => demo::run(&global, args),
        Command::Config(args) => config::run(&global, args),
        Command::Doctor(args) => doctor::run(&global, args),
        Command::Explain(args) => explain::run(&global, args),
        Command::Incident(args) => incident::run(&global, args),
        Command::Audit(args) => audit::run(&global, &args),
        Command::Verify(args) => verify::run(&args, &mut std::io::stdout().lock()),
        Command::Decode(args) => decode::command(&global, &args),
        Command::Devices(args) => devices::run(&global, args),
        Command::Fit(args) => fit::run(&args),
        Command::Profiles(args) => profiles::run(&global, &args),
        Command::Models(args) => models::run(&args),
        Command::Schemas(args) => schemas::run(&args),
        Command::Checklist(args) => checklist::run(&args),
        Command::Advisories(args) => advisories::run(&args),
        Command::Indicators(args) => indicators::run(&args, &mut std::io::stdout().lock()),
        Command::Tee(args) => tee::run(&global, args),
        Command::Import(args) => import::run(&args, &mut std::io::stdout().lock(), &mut std::io::stderr()),
        Command::Simulate(args) => simulate::run(&args, &mut std::io::stdout().lock(), &mut std::io::stderr()),
        Command::Bench(args) => bench::run(&args),
        Command::Checks(args) => {
            checks::run(&args, &mut std::io::stdout().lock()).map(|()| ExitCode::SUCCESS).map_err(said_wrong)
        }
    };
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.downcast_ref::<Usage>();
            let mut stderr = std::io::stderr().lock();
            // Nothing is left to be done where standard error is closed, too.
            let _ = match usage {
                Some(usage) => usage.0.iter().try_for_each(|line| writeln!(stderr, "vitalguard: {line}")),
                None => writeln!(stderr, "vitalguard: {}", sentence(&error)),
            };
            ExitCode::from(if usage.is_some() { 2 } else { 1 })
        }
    }
}

/// An error and its causes in one line; a cause that the words before it already tell is not told again.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

/// A command's complaint about what it was given is a usage error, everything else is what it is.
fn said_wrong(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::InvalidInput => Usage::new(error.to_string()).into(),
        _ => error.into(),
    }
}

/// Whether the reader of our output has gone.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Starts logging to standard error. A filter that cannot be read falls back to `info` and says so.
pub fn start_logging(global: &Global, log: &crate::config::Log) {
    use tracing_subscriber::EnvFilter;
    let filter = match global.verbose {
        0 => EnvFilter::try_new(&log.filter).unwrap_or_else(|error| {
            eprintln!("vitalguard: log.filter cannot be read ({error}): info is used");
            EnvFilter::new("info")
        }),
        1 => EnvFilter::new("info,vitalguard=debug"),
        _ => EnvFilter::new("info,vitalguard=trace"),
    };
    let format = match global.log_format {
        Some(LogFormatArg::Text) => LogFormat::Text,
        Some(LogFormatArg::Json) => LogFormat::Json,
        None => log.format,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start within one process (a test) keeps the first.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Stops on Ctrl-C and on SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("in use").context("cannot listen: in use").context("starting");
        assert_eq!(sentence(&error), "starting: cannot listen: in use");
    }

    #[test]
    fn a_closed_reader_is_no_error() {
        let gone = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("writing");
        assert!(is_broken_pipe(&gone));
        assert!(!is_broken_pipe(&anyhow::anyhow!("disk full")));
    }
}
