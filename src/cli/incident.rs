//! `vitalguard incident`: cases, on the running service (over HTTP) or on a data folder at rest.
//!
//! What is written on a folder at rest goes into the journal's chain as the service would write it; a folder that a service holds
//! is not written but asked for over HTTP.

mod ask;
mod folder;
mod tell;

use super::load::{Overrides, load};
use super::{Global, Usage, start_logging};
use crate::case::{Step, is_case_id};
use crate::shell::cases::acts::OpenWish;
use crate::time::Timestamp;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// HTTP address of the running service; without it the data folder is opened itself.
    #[arg(long, global = true, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// File whose first line is a token of [[http.tokens]] with the role engineer: for a running service that has users.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, global = true, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a service that does not run.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The version of the case that you saw: refused where it has changed since.
    #[arg(long, global = true, value_name = "N")]
    expect: Option<u32>,
    /// The answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Cases with their clocks: what is due when, by which source.
    List {
        /// Closed ones, too.
        #[arg(long)]
        all: bool,
    },
    /// One case: what it gathers, its clocks, its steps.
    Show { case: String },
    /// Begin a case with an alert (id or short reference) and everything that belongs to it, or with a title alone.
    Open {
        #[arg(value_name = "ALERT-ID")]
        alert: Option<String>,
        #[arg(long, value_name = "TEXT")]
        title: Option<String>,
        /// The bed's messages so long before and after the alert.
        #[arg(long, value_name = "MINUTES")]
        minutes: Option<f64>,
    },
    /// Add an alert, messages, a time of a bed, a device, a command of a person, or a capture's file.
    Add(Add),
    /// Write a note into the case.
    Note { case: String, text: String },
    /// Set a field of the drafts; an empty value takes it back.
    Set { case: String, field: String, value: String },
    /// Say what this is, and since when the house knows: the legal clocks start then.
    Confirm {
        case: String,
        /// serious_incident, nis_is2, …
        kind: String,
        /// RFC 3339 with offset (2026-11-30T10:15:00+01:00), or "now".
        #[arg(long, value_name = "TIME")]
        known_since: String,
    },
    /// Take a confirmation back; its clocks stop.
    Withdraw {
        case: String,
        kind: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say that a form was filed, by a person, outside of this program.
    Filed {
        case: String,
        form: String,
        #[arg(long, value_name = "TEXT")]
        reference: String,
    },
    /// Close the case; its evidence is kept a year, or until the time that is given.
    Close {
        case: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// RFC 3339 with offset.
        #[arg(long, value_name = "TIME")]
        keep_until: Option<String>,
    },
    /// Open a closed case again.
    Reopen {
        case: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let the evidence of a closed case go before its time.
    Release {
        case: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// One file with everything, signed: `vitalguard verify FILE` proves it.
    Export {
        case: String,
        /// With names, comments and captures; written down as such.
        #[arg(long)]
        identified: bool,
        /// File to be made; it must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// A form filled from what is known, as a draft: ministry-it, nis2-notification, …
    Draft {
        case: String,
        form: String,
        /// it or en.
        #[arg(long, value_name = "LANG")]
        lang: Option<String>,
        /// html, json or csv.
        #[arg(long, default_value = "html", value_name = "FORMAT")]
        format: String,
        /// File to be made; default: standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["alert", "message", "bed", "device", "record", "capture"]))]
struct Add {
    case: String,
    /// An alert (id or short reference) with what belongs to it.
    #[arg(long, value_name = "ALERT-ID")]
    alert: Option<String>,
    /// Messages by their journal keys (icu-gw1.184213).
    #[arg(long, value_name = "RAW")]
    message: Vec<String>,
    /// Everything that a bed sent between --from and --to.
    #[arg(long, value_name = "WARD/BED", requires = "from", requires = "to")]
    bed: Option<String>,
    #[arg(long, value_name = "TIME", requires = "bed")]
    from: Option<String>,
    #[arg(long, value_name = "TIME", requires = "bed")]
    to: Option<String>,
    /// A device of the inventory (dev-…) as it stands now.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// A spot-check or another command of a person: number of its record in the journal.
    #[arg(long, value_name = "NUMBER")]
    record: Option<u64>,
    /// A file, copied into the case's folder; at most 64 MiB.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

/// A service, or a folder at rest.
trait Office {
    fn list(&mut self, all: bool) -> anyhow::Result<Value>;
    fn show(&mut self, case: &str) -> anyhow::Result<Value>;
    fn open(&mut self, wish: &OpenWish) -> anyhow::Result<Value>;
    fn step(&mut self, case: &str, expect: Option<u32>, step: &Value) -> anyhow::Result<Value>;
    fn capture(&mut self, case: &str, name: &str, bytes: Vec<u8>) -> anyhow::Result<Value>;
    /// Makes the file; its name and SHA-256.
    fn export(&mut self, case: &str, identified: bool, output: Option<&Path>) -> anyhow::Result<(PathBuf, String)>;
    fn draft(&mut self, case: &str, form: &str, lang: Option<&str>, format: &str) -> anyhow::Result<Vec<u8>>;
}

fn time(text: &str, what: &str) -> Result<Timestamp, Usage> {
    if text == "now" {
        return Ok(crate::shell::publisher::now());
    }
    let meant = || Usage::new(format!("{what}: a time with its offset is meant (2026-11-30T10:15:00+01:00)"));
    text.parse::<jiff::Timestamp>().map(|t| Timestamp::from_ms(t.as_millisecond())).map_err(|_| meant())
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { config: args.config.clone(), data: args.data.clone(), http: args.http, ..Overrides::default() };
    let config = load(&overrides)?.config;
    let quiet = crate::config::Log { format: config.log.format, filter: "warn".into() };
    start_logging(global, &quiet);
    if let Some(case) = args.what.case()
        && !is_case_id(case)
    {
        return Err(Usage::new(format!("{case}: a case is named C-… (vitalguard incident list)")).into());
    }
    let mut office: Box<dyn Office> = match args.http {
        Some(_) => {
            if args.data.is_some() {
                return Err(Usage::new("--http or --data, not both").into());
            }
            Box::new(ask::Service::new(config, args.token_file.as_deref())?)
        }
        None => Box::new(folder::Folder::new(config)),
    };
    let expect = args.expect;
    let (office, out) = (office.as_mut(), &mut std::io::stdout().lock());
    let step = |step: Step| serde_json::to_value(step).context("a step");
    let answer = match args.what {
        What::List { all } => {
            let list = office.list(all)?;
            if args.json {
                writeln!(out, "{list}")?
            } else {
                tell::list(&list, out)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        What::Show { case } => {
            let shown = office.show(&case)?;
            if args.json {
                writeln!(out, "{shown}")?
            } else {
                tell::case(&shown, out)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        What::Export { case, identified, output } => {
            let (path, sha256) = office.export(&case, identified, output.as_deref())?;
            let path = path.display().to_string();
            if args.json {
                writeln!(out, "{}", json!({ "bundle": path, "sha256": sha256, "identified": identified }))?;
            } else {
                let kind = if identified { "IDENTIFIED" } else { "masked" };
                writeln!(out, "bundle   {path} ({kind})\nsha256   {sha256}\nprove    vitalguard verify {path}")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        What::Draft { case, form, lang, format, output } => {
            let made = office.draft(&case, &form, lang.as_deref(), &format)?;
            match output {
                Some(path) => write_new(&path, &made)?,
                None => out.write_all(&made)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        What::Open { alert, title, minutes } => office.open(&OpenWish { alert, title, minutes })?,
        What::Add(add) => added(office, expect, add)?,
        What::Note { case, text } => office.step(&case, expect, &step(Step::Note { text })?)?,
        What::Set { case, field, value } => office.step(&case, expect, &step(Step::Set { field, value })?)?,
        What::Confirm { case, kind, known_since } => {
            let known_since = time(&known_since, "--known-since")?;
            office.step(&case, expect, &step(Step::Confirm { kind, known_since })?)?
        }
        What::Withdraw { case, kind, reason } => office.step(&case, expect, &step(Step::Withdraw { kind, reason })?)?,
        What::Filed { case, form, reference } => office.step(&case, expect, &step(Step::Filed { form, reference })?)?,
        What::Close { case, reason, keep_until } => {
            let keep_until = keep_until.map(|text| time(&text, "--keep-until")).transpose()?;
            office.step(&case, expect, &step(Step::Close { reason, keep_until })?)?
        }
        What::Reopen { case, reason } => office.step(&case, expect, &step(Step::Reopen { reason })?)?,
        What::Release { case, reason } => office.step(&case, expect, &step(Step::Release { reason })?)?,
    };
    if args.json {
        writeln!(out, "{answer}")?;
    } else {
        tell::done(&answer, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn added(office: &mut dyn Office, expect: Option<u32>, add: Add) -> anyhow::Result<Value> {
    let item = if let Some(path) = add.capture {
        let length = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        if length > crate::case::CAPTURE_BYTES_MAX {
            return Err(Usage::new(format!("{}: {length} bytes, a capture is at most 64 MiB", path.display())).into());
        }
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return office.capture(&add.case, &name, bytes);
    } else if let Some(id) = add.alert {
        json!({ "item": "alert", "id": id })
    } else if let Some(place) = add.bed {
        let (ward, bed) = place.split_once('/').ok_or_else(|| Usage::new("--bed: WARD/BED is meant"))?;
        let from = time(&add.from.unwrap_or_default(), "--from")?.to_string();
        let to = time(&add.to.unwrap_or_default(), "--to")?.to_string();
        json!({ "item": "range", "ward": ward, "bed": bed, "from": from, "to": to })
    } else if let Some(id) = add.device {
        json!({ "item": "device", "id": id })
    } else if let Some(sequence) = add.record {
        json!({ "item": "action", "sequence": sequence })
    } else {
        json!({ "item": "messages", "raw": add.message })
    };
    office.step(&add.case, expect, &json!({ "step": "add", "item": item }))
}

impl What {
    fn case(&self) -> Option<&str> {
        match self {
            What::List { .. } | What::Open { .. } => None,
            What::Add(add) => Some(&add.case),
            What::Show { case }
            | What::Note { case, .. }
            | What::Set { case, .. }
            | What::Confirm { case, .. }
            | What::Withdraw { case, .. }
            | What::Filed { case, .. }
            | What::Close { case, .. }
            | What::Reopen { case, .. }
            | What::Release { case, .. }
            | What::Export { case, .. }
            | What::Draft { case, .. } => Some(case),
        }
    }
}

/// The folder in which a file will stand.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whole or not at all, and never over something that is there.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".vitalguard-").tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("{} cannot be written, and nothing of it stays", path.display()))
}
