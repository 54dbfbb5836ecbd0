//! `vitalguard profiles`: what the devices on the feed do, as far as it was learned; one of them as a file that a person reviews.
//!
//! A learned profile accuses nobody by being written down: a person looks at it, fills in `reviewed`, `reviewed_by_role`,
//! `reviewed_on` and `applications`, puts it into the site's folder of model files, and renews its table
//! (`vitalguard models DIR --write`).

use super::load::{Overrides, load};
use super::replay;
use super::{Global, start_logging};
use crate::monitor::{DeviceHabits, Settings};
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
        replay::whole(&config, &args.files, args.data.is_some())?.habits
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
