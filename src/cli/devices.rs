//! `vitalguard devices`: which devices are on the feed, and which advisories name them: of the running service (over HTTP), of
//! a data folder, or of recorded messages.
//!
//! What a device declares is shown as declared and proves nothing. Ids are hashes; the devices' own ids (EUI-64, serial) are
//! shown only with `--identified`, and only from files on this machine.

mod table;

use super::doctor::path::request;
use super::load::{Overrides, load};
use super::replay;
use super::{Global, Usage, start_logging};
use crate::advisory::Status;
use crate::config::Config;
use crate::monitor::Settings;
use crate::shell::devices::Listing;
use crate::shell::{engine, key};
use anyhow::Context as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings, or the journal's folder (as for replay); none: the running service, or the data folder of --data.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a service: its inventory without asking it; with FILE only its key, so that hashes read as they do there.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// HTTP address of the running service.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// File whose first line is a token of [[http.tokens]]: for a running service that has users. --set needs the role engineer.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// One JSON object a line for every device.
    #[arg(long)]
    json: bool,
    /// Only devices that an advisory names, its vendor included.
    #[arg(long)]
    advised: bool,
    /// Show the devices' own ids (EUI-64, serial): from files or --data only.
    #[arg(long)]
    identified: bool,
    /// Decide about an advisory on one device of the running service: open, mitigated or accepted; needs --device and --advisory.
    #[arg(long, value_name = "STATUS", value_parser = status, requires = "device", requires = "advisory")]
    set: Option<Status>,
    /// The device of --set (dev-…), or the only one to be shown.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The advisory of --set.
    #[arg(long, value_name = "ID", requires = "set")]
    advisory: Option<String>,
    /// Why, for the audit; with --set.
    #[arg(long, value_name = "TEXT", requires = "set")]
    note: Option<String>,
}

fn status(text: &str) -> Result<Status, String> {
    let known = [Status::Open, Status::Mitigated, Status::Accepted];
    known.into_iter().find(|status| status.as_str() == text).ok_or_else(|| "open, mitigated or accepted is meant".to_owned())
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { config: args.config.clone(), data: args.data.clone(), http: args.http, ..Overrides::default() };
    let config = load(&overrides)?.config;
    let quiet = crate::config::Log { format: config.log.format, filter: "warn".into() };
    start_logging(global, &quiet);
    let live = args.files.is_empty() && args.data.is_none();
    if args.identified && live {
        return Err(Usage::new("--identified needs FILE or --data: the service never gives out the ids of devices").into());
    }
    let token = args.token_file.as_deref().map(|path| first_line_of(path).with_context(|| format!("reading {}", path.display())));
    let token = token.transpose()?;
    if let Some(status) = args.set {
        if !live {
            return Err(Usage::new("--set is for the running service: neither FILE nor --data").into());
        }
        decide(&config, token.as_deref(), &args, status)?;
    }
    let (mut listing, from) = if live {
        (over_http(&config, token.as_deref())?, config.http.listen.to_string())
    } else if args.files.is_empty() {
        (of_folder(&config)?, config.data.display().to_string())
    } else {
        (of_recordings(&config, &args)?, args.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "))
    };
    if let Some(wanted) = &args.device {
        listing.devices.retain(|device| device.device == *wanted);
        anyhow::ensure!(!listing.devices.is_empty(), "no device {wanted} is known");
    }
    if args.advised {
        listing.devices.retain(|device| !device.advisories.is_empty());
    }
    if !args.identified {
        for device in &mut listing.devices {
            device.identified = None;
        }
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        for device in &listing.devices {
            writeln!(out, "{}", serde_json::to_string(device)?)?;
        }
    } else {
        table::write(&listing, &from, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Page by page from the running service.
fn over_http(config: &Config, token: Option<&str>) -> anyhow::Result<Listing> {
    let asking = || format!("asking the service at http {}", config.http.listen);
    let mut whole: Option<Listing> = None;
    loop {
        let cursor = whole.as_ref().and_then(|list| list.cursor.clone());
        let path = match &cursor {
            Some(cursor) => format!("/api/v1/devices?limit=500&cursor={cursor}"),
            None => "/api/v1/devices?limit=500".to_owned(),
        };
        let (status, body) = request(config, token, "GET", &path, "").with_context(asking)?;
        anyhow::ensure!(status == 200, "the service at http {} answers {status}: {}", config.http.listen, first_line(&body));
        let page: Listing = serde_json::from_str(&body).with_context(asking)?;
        match &mut whole {
            None => whole = Some(page),
            Some(list) => {
                list.cursor = page.cursor;
                list.devices.extend(page.devices);
            }
        }
        match &whole {
            Some(list) if list.cursor.is_some() => {}
            _ => break,
        }
    }
    whole.context("the service gave no list")
}

fn first_line_of(path: &std::path::Path) -> std::io::Result<String> {
    Ok(first_line(&std::fs::read_to_string(path)?).trim().to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// As the data folder has it; the service may run.
fn of_folder(config: &Config) -> anyhow::Result<Listing> {
    let site_key = key::read(&key::path(config))?;
    let settings = Settings::new(config, &site_key)
        .with_advisories(crate::shell::advisories::load(config)?)
        .with_models(crate::shell::models::load(config)?);
    let monitor = engine::look(&settings, &config.data).with_context(|| format!("reading {}", config.data.display()))?;
    Ok(Listing::of(&monitor, true))
}

fn of_recordings(config: &Config, args: &Args) -> anyhow::Result<Listing> {
    replay::whole(config, &args.files, args.data.is_some())?.devices.context("nothing was judged")
}

/// A path segment of any id: what is no letter, digit, `-`, `_` or `.` is escaped.
fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn decide(config: &Config, token: Option<&str>, args: &Args, status: Status) -> anyhow::Result<()> {
    let (Some(device), Some(advisory)) = (&args.device, &args.advisory) else {
        return Err(Usage::new("--set needs --device and --advisory").into());
    };
    let path = format!("/api/v1/devices/{}/advisories/{}", segment(device), segment(advisory));
    let body = serde_json::json!({ "status": status, "note": args.note }).to_string();
    let (code, answer) = request(config, token, "PATCH", &path, &body).context("asking the service")?;
    anyhow::ensure!(matches!(code, 200 | 202), "the service answers {code}: {}", first_line(&answer));
    Ok(())
}
