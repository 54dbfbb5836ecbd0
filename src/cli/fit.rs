//! `vitalguard fit`: device profiles, population priors and calibrations of the stochastic checks from recordings, off line, by the code that runs at a bed.

use super::Usage;
use super::recordings;
use crate::eval::fit::{Fitted, Options, fit, read_back};
use anyhow::Context as _;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of recordings: SET/RECORD.csv or .csv.gz (t_s,param,value,unit), and INDEX.tsv that says which records are of one
    /// patient.
    #[arg(value_name = "RECORDINGS")]
    recordings: PathBuf,
    /// Where the model files are written, in folders as under models/ (default: nothing is written, only told).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rotate: so many folds by patient (3 or more) instead of one split into 50, 25 and 25 %.
    #[arg(long, default_value_t = 0, value_name = "K")]
    folds: u32,
    /// The fold that is left for the report; the next one sets the thresholds of the calibration, the others are fitted on.
    #[arg(long, default_value_t = 0, value_name = "I", requires = "folds")]
    fold: u32,
    /// Only these sets.
    #[arg(long, value_delimiter = ',', value_name = "SET,…")]
    sets: Vec<String>,
    /// Day that the files name (default: today, UTC).
    #[arg(long, value_name = "DATE")]
    date: Option<String>,
    /// Version that the files name.
    #[arg(long, default_value = "1.0.0", value_name = "VERSION")]
    model_version: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let date = args.date.clone().unwrap_or_else(|| jiff::Timestamp::now().to_string().chars().take(10).collect());
    if !crate::envelope::is_date(&date) {
        return Err(Usage::new("--date: a day is meant (2026-11-30)").into());
    }
    if !crate::envelope::is_version(&args.model_version) {
        return Err(Usage::new("--model-version: three numbers with dots are meant (1.0.0)").into());
    }
    if args.folds != 0 && (args.folds < 3 || args.fold >= args.folds) {
        return Err(Usage::new("--folds: 3 or more, and --fold less than that").into());
    }
    let list = recordings::folder(&args.recordings, &args.sets, &ProgressBar::hidden())?;
    if list.is_empty() {
        return Err(Usage::new("no recording was found: SET/RECORD.csv or .csv.gz is meant").into());
    }
    let options = Options { folds: args.folds, fold: args.fold, date, version: args.model_version.clone() };
    let fitted = fit(&list, &options);
    read_back(&fitted).map_err(|reason| anyhow::anyhow!("what was fitted cannot be read again: {reason}"))?;
    tell(&fitted, list.len(), &mut std::io::stdout().lock())?;
    if let Some(out) = &args.out {
        for (path, text) in &fitted.files {
            let path = out.join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
            }
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    anyhow::ensure!(!fitted.files.is_empty(), "too little data: nothing was fitted (see above what is missing)");
    Ok(ExitCode::SUCCESS)
}

fn tell(fitted: &Fitted, records: usize, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let groups: Vec<String> = fitted.groups.iter().map(|(group, n)| format!("{} {n}", group.as_str())).collect();
    writeln!(out, "{records} recordings; by patient: {}", groups.join(", "))?;
    for copy in &fitted.copies {
        writeln!(out, "dropped: {copy}")?;
    }
    for (path, text) in &fitted.files {
        writeln!(out, "fitted:  {path} ({})", crate::envelope::sha256(text.as_bytes()))?;
    }
    for told in &fitted.told {
        writeln!(out, "measured: {told}")?;
    }
    for refused in &fitted.refused {
        writeln!(out, "refused: {refused}")?;
    }
    out.flush()
}
