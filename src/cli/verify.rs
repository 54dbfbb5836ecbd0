//! `vitalguard verify DIR|BUNDLE`: proves a journal's folder or a case's bundle, or names the first byte that does not fit. Exit code 0 proven, 1 does not
//! fit, 2 it cannot be looked at.
//!
//! The folder is only read, and the service that owns it may run.

mod bundle;

use super::Usage;
use crate::shell::journal::{self, EncryptionKey};
use crate::shell::vault::verify::{Kept, Options, Report, verify};
use crate::shell::vault::{Checkpoint, Verifier};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Faults that are told in words; all of them stand in --json.
const TOLD_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The journal's folder, a data folder, or the bundle of a case (vitalguard incident export).
    #[arg(value_name = "DIR|BUNDLE")]
    path: PathBuf,
    /// Whom to believe: a public key in PEM, or a ring of keys in TOML. Left out: the keys that lie in the folder, whosever they are.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A head that was kept elsewhere must be in the journal: a copy of a checkpoint (file), or NUMBER:HEX as sys/info says it.
    #[arg(long, value_name = "FILE|N:HEX")]
    head: Vec<String>,
    /// The key that the journal is encrypted with: the payloads are proven, too.
    #[arg(long, value_name = "FILE")]
    encryption_key: Option<PathBuf>,
    /// The site's key: checks the HMAC in the footers of closed segments, too.
    #[arg(long, value_name = "FILE")]
    site_key: Option<PathBuf>,
    /// A journal from before there were checkpoints: that nobody has signed it is no fault.
    #[arg(long)]
    unsigned: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let usage = |error: &dyn std::fmt::Display| Usage::new(error.to_string());
    if let Some(path) = &args.encryption_key {
        journal::unlock(&EncryptionKey::read(path).map_err(|error| usage(&error))?);
    }
    if !args.path.exists() {
        return Err(Usage::new(format!("{}: there is no such file or folder", args.path.display())).into());
    }
    if args.path.is_file() {
        return bundle::run(&args.path, args.key.as_deref(), args.json, out);
    }
    let options = Options {
        keys: args.key.as_deref().map(Verifier::read).transpose().map_err(|error| usage(&error))?,
        site_key: args.site_key.as_deref().map(crate::shell::key::read).transpose().map_err(|error| usage(&error))?,
        kept: args.head.iter().map(|text| kept(text)).collect::<Result<_, _>>()?,
        unsigned: args.unsigned,
    };
    let report = verify(&args.path, &options).map_err(|error| usage(&error))?;
    if args.json {
        let mut value = serde_json::to_value(&report)?;
        value["proven"] = report.is_proven().into();
        writeln!(out, "{value}")?;
    } else {
        tell(&report, out)?;
    }
    Ok(if report.is_proven() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kept(text: &str) -> Result<Kept, Usage> {
    if let Some((number, digits)) = text.split_once(':')
        && let Ok(number) = number.parse()
    {
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| p.len() == 2)?, 16).ok())
            .collect();
        return match bytes {
            Some(bytes) if (8..=32).contains(&bytes.len()) => Ok(Kept::Head(number, bytes)),
            _ => Err(Usage::new(format!("--head {text}: 16 to 64 hex digits are meant"))),
        };
    }
    let note = std::fs::read_to_string(text).map_err(|error| Usage::new(format!("--head {text}: {error}")))?;
    let checkpoint = Checkpoint::parse(&note).ok_or_else(|| Usage::new(format!("--head {text}: this is no checkpoint")))?;
    Ok(Kept::Checkpoint(Box::new(checkpoint)))
}

fn tell(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let mut line = |what: &str, text: String| writeln!(out, "{what:<12}  {text}");
    line("journal", report.folder.display().to_string())?;
    match (&report.range, &report.times) {
        (Some((first, last)), Some((from, to))) => {
            line(
                "records",
                format!("{first} to {last} ({} in {} segments, {} bytes)", report.records, report.segments, report.bytes),
            )?;
            line("times", format!("{from} to {to}"))?;
        }
        _ => line("records", "none".into())?,
    }
    line("head", report.head.clone())?;
    for (first, last) in &report.gaps {
        line("gap", format!("records {first} to {last} were deleted by retention; the chain is carried across"))?;
    }
    let past = match report.checkpoints_past {
        0 => String::new(),
        past => format!(", {past} of records that are not kept any more"),
    };
    let behind = match report.unsigned_records {
        0 => String::new(),
        behind => format!("; {behind} records behind it are in the chain and not signed yet"),
    };
    line("checkpoints", format!("{}{past}, up to record {}{behind}", report.checkpoints, report.signed_until))?;
    for (key, count) in &report.keys {
        let whose = if report.keys_given { "given" } else { "from the folder itself: compare the id, or give --key" };
        line("key", format!("{key} signed {count} ({whose})"))?;
    }
    for (key, count) in &report.locked {
        line(
            "locked",
            format!(
                "{count} payloads are encrypted with key {key}, which was not given: chain and order are proven, not that they open"
            ),
        )?;
    }
    for name in &report.strangers {
        line("stranger", format!("{name} is no part of the journal"))?;
    }
    for fault in report.faults.iter().take(TOLD_MAX) {
        line("does not fit", fault.to_string())?;
    }
    if report.faults.len() > TOLD_MAX {
        line("does not fit", format!("{} more", report.faults.len() - TOLD_MAX))?;
    }
    line("result", if report.is_proven() { "proven".into() } else { "NOT PROVEN".to_owned() })
}
