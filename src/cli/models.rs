//! `vitalguard models`: which model files are in force, of a site's folder whether they can be, and its table.

use crate::models::{MANIFEST, Models, manifest};
use crate::shell::models::files;
use anyhow::Context as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of model files (profiles/, population/, calibration/, MANIFEST.toml); none: those of the program.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Write the folder's MANIFEST.toml anew, after its files were looked at by a person.
    #[arg(long, requires = "folder")]
    write: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let models = match &args.folder {
        None => Models::shipped(),
        Some(folder) => {
            let mut found = files(folder)?;
            if args.write {
                found.retain(|(path, _)| path != MANIFEST);
                let text = manifest(found.iter().map(|(path, text)| (path.as_str(), text.as_str())));
                let path = folder.join(MANIFEST);
                std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
                println!("{}: {} files", path.display(), found.len());
                return Ok(ExitCode::SUCCESS);
            }
            let wrong = |error| anyhow::anyhow!("{}: {error}", folder.display());
            std::sync::Arc::new(Models::with_site(&found).map_err(wrong)?)
        }
    };
    let mut out = std::io::stdout().lock();
    for file in &models.files {
        writeln!(out, "{}  {:<40} {:<12} {}", &file.sha256[..16], file.path, file.schema, file.version)?;
    }
    writeln!(out, "{}  all {} files", &models.digest()[..16], models.files.len())?;
    Ok(ExitCode::SUCCESS)
}
