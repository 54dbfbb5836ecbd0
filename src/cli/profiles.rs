//! `vitalguard profiles`: what the devices on the feed do, as far as it was learned; one of them as a file that a person reviews.
//!
//! A learned profile accuses nobody by being written down: a person looks at it, fills in `reviewed`, `reviewed_by_role`,
//! `reviewed_on` and `applications`, puts it into the site's folder of model files, and renews its table
//! (`vitalguard models DIR --write`).

use super::load::{Overrides, load};
use super::{Global, start_logging};
use crate::monitor::{DeviceHabits, FIXED_KEY, Settings};
use crate::shell::replay::input::{Progress, gather, run_id};
use crate::shell::replay::pace::{Machine, Pace};
use crate::shell::replay::{Driver, Journal, Options};
use crate::shell::{engine, key};
use anyhow::Context as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recordings, or the journal's folder (as for replay); none: the data folder, whose service may run.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder of a service; with FILE only its key, so that hashes read as they do there.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only this device (dev-…), as a profile in TOML that can be reviewed.
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

pub fn run(global: &Global, args: &Args) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { config: args.config.clone(), data: args.data.clone(), ..Overrides::default() };
    let config = load(&overrides)?.config;
    start_logging(global, &crate::config::Log { format: config.log.format, filter: "warn".into() });
    let mut list = if args.files.is_empty() {
        let site_key = key::read(&key::path(&config))?;
        let settings = Settings::new(&config, &site_key)
            .with_advisories(crate::shell::advisories::load(&config)?)
            .with_models(crate::shell::models::load(&config)?);
        let monitor = engine::look(&settings, &config.data).with_context(|| format!("reading {}", config.data.display()))?;
        monitor.habits()
    } else {
        of_recordings(&config, args)?
    };
    let mut out = std::io::stdout().lock();
    let Some(wanted) = &args.device else {
        return table(&list, &mut out).map(|()| ExitCode::SUCCESS).map_err(Into::into);
    };
    list.retain(|device| device.device == *wanted);
    let device = list.first().with_context(|| format!("no device {wanted} is known"))?;
    out.write_all(reviewable(device).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn of_recordings(config: &crate::config::Config, args: &Args) -> anyhow::Result<Vec<DeviceHabits>> {
    let site_key = match (&args.data, &config.privacy.key_file) {
        (None, None) => FIXED_KEY.to_vec(),
        _ => key::read(&key::path(config))?,
    };
    let journal = match args.files.as_slice() {
        [folder] if folder.is_dir() => Journal::find(folder).context("reading the journal")?,
        _ => None,
    };
    let inputs = if journal.is_some() { Vec::new() } else { gather(&args.files).context("opening the recordings")? };
    let run = match &journal {
        Some(journal) => journal.run.clone(),
        None => run_id(&inputs).context("reading the recordings")?,
    };
    let zone = jiff::tz::TimeZone::get(&config.zone).context("the site's time zone")?;
    let bytes_max = config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
    let options = Options { run, feed: "replay".into(), feed_each: false, shift_to: None, judge: true, site_key: Some(site_key) };
    let driver = Driver::new(config, options, Pace::new(Machine::default(), None), Vec::new());
    let summary = match &journal {
        Some(journal) => driver.run_journal(journal)?,
        None => driver.run(&inputs, zone, bytes_max, Progress::default())?,
    };
    anyhow::ensure!(summary.messages > 0, "no message could be read");
    Ok(summary.habits)
}

fn table(list: &[DeviceHabits], out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(out, "{:<14} {:<20} {:>8} {:>8}  learned", "device", "profile in force", "hours", "messages")?;
    for device in list {
        let told = device.parameters.iter().map(|t| {
            let mut words = t.parameter.key().to_owned();
            let mut add = |word: String| words.push_str(&word);
            if let Some(quantum) = t.quantum {
                add(if quantum > 0.0 { format!(" step {quantum}") } else { " no grid".into() });
            }
            if let Some(lattice) = t.lattice.filter(|n| *n > 0) {
                add(format!(" every {lattice}"));
            }
            if !t.sentinels.is_empty() {
                add(format!(" nothing={:?}", t.sentinels));
            }
            words
        });
        let told: Vec<String> = told.collect();
        let hours = device.observed_s / 3600.0;
        writeln!(out, "{:<14} {:<20} {hours:>8.1} {:>8}  {}", device.device, device.in_force, device.messages, told.join(", "))?;
    }
    writeln!(out, "{} devices; --device DEVICE writes one as a profile that can be reviewed", list.len())
}

/// The file with the words that a reviewer needs.
fn reviewable(device: &DeviceHabits) -> String {
    let per_day = |n: u32| f64::from(n) * 86_400.0 / device.observed_s.max(1.0);
    format!(
        "# Learned of {} in {:.1} hours and {} messages ({} more were left out under suspicion); not reviewed.\n\
         # Pressures out of order: {} ({:.1} a bed-day); times out of order: {} ({:.1} a bed-day).\n\
         # To let it accuse: look at every number, set reviewed = true, reviewed_by_role and reviewed_on, name the senders (MSH-3)\n\
         # in applications, put the file into profiles/ of the site's models folder, and run `vitalguard models DIR --write`.\n\n{}",
        device.device,
        device.observed_s / 3600.0,
        device.messages,
        device.frozen,
        device.orders_broken,
        per_day(device.orders_broken),
        device.times_broken,
        per_day(device.times_broken),
        device.profile.to_toml("1.0.0")
    )
}
