//! `vitalguard audit`: who did or looked at what: of the running service (over HTTP), or of a data folder.

use super::doctor::path::request;
use super::load::{Overrides, load};
use super::{Global, Usage, start_logging};
use crate::config::Config;
use crate::shell::audit;
use crate::shell::store::{AlertReader, AuditRow};
use anyhow::Context as _;
use clap::ValueEnum;
use serde::Deserialize;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Lines asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a service: its audit without asking it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// HTTP address of the running service.
    #[arg(long, value_name = "ADDR", conflicts_with = "data")]
    http: Option<SocketAddr>,
    /// File whose first line is a token of [[http.tokens]] with the role engineer: for a running service that has users.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// One JSON object a line, a table, or one audit message of DICOM PS3.15 A.5 (IHE ITI-20) a line.
    #[arg(long, value_enum, default_value = "json", value_name = "FORMAT")]
    format: Format,
    /// So many lines at most, the newest.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Csv,
    Dicom,
}

pub fn run(global: &Global, args: &Args) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { config: args.config.clone(), data: args.data.clone(), http: args.http, ..Overrides::default() };
    let config = load(&overrides)?.config;
    start_logging(global, &crate::config::Log { format: config.log.format, filter: "warn".into() });
    let token = args.token_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok::<_, anyhow::Error>(text.lines().next().unwrap_or_default().trim().to_owned())
    });
    let token = token.transpose()?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut rows = match &args.data {
        Some(_) => of_folder(&config, limit)?,
        None => over_http(&config, token.as_deref(), limit)?,
    };
    // Oldest first, as a log is read.
    rows.reverse();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match args.format {
        Format::Json => rows.iter().try_for_each(|row| writeln!(out, "{}", serde_json::to_string(row).unwrap_or_default()))?,
        Format::Csv => out.write_all(&audit::csv(&rows)?)?,
        Format::Dicom => rows.iter().try_for_each(|row| writeln!(out, "{}", audit::dicom(row, &config.site)))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn of_folder(config: &Config, limit: usize) -> anyhow::Result<Vec<AuditRow>> {
    let path = config.data.join("store.sqlite");
    if !path.exists() {
        return Err(Usage::new(format!("{} holds no store", config.data.display())).into());
    }
    let reader = AlertReader::open(&path).with_context(|| format!("opening {}", path.display()))?;
    pages(limit, |cursor, count| Ok(reader.audit(cursor, count)?))
}

fn over_http(config: &Config, token: Option<&str>, limit: usize) -> anyhow::Result<Vec<AuditRow>> {
    #[derive(Deserialize)]
    struct Page {
        audit: Vec<AuditRow>,
    }
    let address = config.http.listen;
    pages(limit, |cursor, count| {
        let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let (status, body) = request(config, token, "GET", &format!("/api/v1/audit?limit={count}{cursor}"), "")
            .with_context(|| format!("asking the service at http {address}"))?;
        let first = body.lines().next().unwrap_or_default();
        anyhow::ensure!(status == 200, "the service at http {address} answers {status}: {first}");
        Ok(serde_json::from_str::<Page>(&body).with_context(|| format!("the service at http {address}"))?.audit)
    })
}

/// Newest first, page by page.
fn pages(limit: usize, page: impl Fn(Option<i64>, usize) -> anyhow::Result<Vec<AuditRow>>) -> anyhow::Result<Vec<AuditRow>> {
    let mut rows: Vec<AuditRow> = Vec::new();
    while rows.len() < limit {
        let wanted = PAGE.min(limit - rows.len());
        let more = page(rows.last().map(|row| row.number), wanted)?;
        let last = more.is_empty();
        rows.extend(more);
        if last {
            break;
        }
    }
    Ok(rows)
}
