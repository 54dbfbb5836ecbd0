//! `vitalguard checklist`: the sheet for home, to be printed.

use super::Usage;
use super::load::{Overrides, load};
use crate::dossier::{Language, checklist};
use anyhow::Context as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Language: it or en (default: as configured for the station page).
    #[arg(long, value_name = "LANG")]
    lang: Option<String>,
    /// File to be written (HTML); default: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Configuration file (TOML): its `devices.advisories` extends the names.
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = load(&Overrides { config: args.config.clone(), ..Overrides::default() })?.config;
    let word = args.lang.as_deref().unwrap_or(&config.http.language);
    let Some(language) = Language::parse(word) else {
        return Err(Usage::new(format!("--lang {word:?}: it or en is meant")).into());
    };
    let page = checklist(language, &*crate::shell::advisories::load(&config)?);
    match &args.output {
        Some(path) => std::fs::write(path, page).with_context(|| format!("{} cannot be written", path.display()))?,
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(page.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
