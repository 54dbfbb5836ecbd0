//! `vitalguard tee`: the relay of a fail-open tee, as a process of its own. `serve` starts it where none runs; a service
//! manager may run it instead (`contrib/vitalguard-tee@.service`).
//!
//! SIGTERM: it accepts nothing more, serves what is open until that ends, then ends. A second SIGTERM ends it at once.

use super::load::{Overrides, load};
use super::{Global, Usage, start_logging};
use crate::config::{Mllp, Placement};
use crate::shell::tee::{self, Options, Request};
use anyhow::Context as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file: the tee of `--feed` in it is relayed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "forward_to", "control"])]
    config: Option<PathBuf>,
    /// Which tee of the configuration (needed where there are several), or the name of this one.
    #[arg(long, value_name = "SLUG")]
    feed: Option<String>,
    /// Where senders connect.
    #[arg(long, value_name = "ADDR", requires = "forward_to")]
    listen: Option<SocketAddr>,
    /// The real receiver.
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    forward_to: Option<String>,
    /// Socket on which the judge asks for copies; without it nothing is copied.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = Mllp::default().connections_max)]
    connections_max: usize,
    /// Say how the running relay is (one JSON object), and nothing else.
    #[arg(long, conflicts_with = "drain")]
    status: bool,
    /// Tell the running relay to drain: no new connections, and it ends with the last one.
    #[arg(long)]
    drain: bool,
    /// Begin a session of its own.
    #[arg(long, hide = true)]
    detach: bool,
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let asked = args.status || args.drain;
    if args.control.is_some() && args.listen.is_none() && !asked {
        return Err(Usage::new("--control needs --listen and --forward-to, or --status or --drain").into());
    }
    let options = match &args.control {
        Some(control) if asked => Options { control: Some(control.clone()), ..Options::new("", Mllp::default().listen, "") },
        _ => options(global, &args)?,
    };
    if asked {
        let control = options.control.as_ref().ok_or_else(|| Usage::new("which relay? Give --config or --control"))?;
        let request = if args.drain { Request::Drain } else { Request::Status };
        let hello = tee::ask_now(control, request).with_context(|| format!("no relay answers at {}", control.display()))?;
        println!("{}", serde_json::to_string(&hello)?);
        return Ok(ExitCode::SUCCESS);
    }
    if args.detach {
        // Fails only for whoever leads a session already.
        let _ = rustix::process::setsid();
    }
    more_descriptors(options.connections_max);
    let ready = |address: SocketAddr| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone does not keep the path from working.
        let _ = writeln!(out, "ready {address}").and_then(|()| out.flush());
    };
    match tee::run(options, ready) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if args.detach => {
            let _ = writeln!(std::io::stdout(), "failed {error}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn options(global: &Global, args: &Args) -> Result<Options, Usage> {
    if let (Some(listen), Some(forward_to)) = (args.listen, &args.forward_to) {
        start_logging(global, &crate::config::Log::default());
        let mut options = Options::new(args.feed.as_deref().unwrap_or("mllp"), listen, forward_to);
        options.control.clone_from(&args.control);
        options.connections_max = args.connections_max;
        return Ok(options);
    }
    // Not by clap: beside `--listen` the variable means nothing.
    let config = args.config.clone().or_else(|| std::env::var_os("VITALGUARD_CONFIG").map(PathBuf::from));
    let loaded = load(&Overrides { config, ..Overrides::default() })?;
    start_logging(global, &loaded.config.log);
    let tees: Vec<&Mllp> = loaded.config.mllp.iter().filter(|mllp| mllp.placement == Placement::Tee).collect();
    let chosen = match &args.feed {
        Some(feed) => tees.iter().find(|mllp| mllp.feed == *feed).copied(),
        None if tees.len() > 1 => {
            let names: Vec<&str> = tees.iter().map(|mllp| mllp.feed.as_str()).collect();
            return Err(Usage::new(format!("which tee? Give --feed, one of {}", names.join(", "))));
        }
        None => tees.first().copied(),
    };
    let Some(mllp) = chosen else {
        let which = args.feed.as_ref().map_or(String::new(), |feed| format!(" {feed}"));
        return Err(Usage::new(format!("the configuration has no tee{which} (placement = \"tee\")")));
    };
    let mut options = Options::new(&mllp.feed, mllp.listen, mllp.forward_to.as_deref().unwrap_or_default());
    options.connections_max = mllp.connections_max;
    options.control = Some(tee::control(&loaded.config.data, &mllp.feed));
    Ok(options)
}

/// Two descriptors a connection: as many as the system lets us have.
fn more_descriptors(connections_max: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = 2 * connections_max as u64 + 64;
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        if setrlimit(Resource::Nofile, limit).is_err() || limit.current.is_some_and(|now| now < wanted) {
            tracing::warn!(wanted, "not enough file descriptors for connections_max: raise LimitNOFILE");
        }
    }
}
