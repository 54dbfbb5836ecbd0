//! `vitalguard serve`: the service in the foreground, as a service manager wants it.

use super::load::{Overrides, load};
use super::{Global, start_logging, stop_signal};
use crate::shell::{Running, ServeOptions};
use anyhow::Context as _;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub overrides: Overrides,
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let loaded = load(&args.overrides)?;
    start_logging(global, &loaded.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let running = crate::shell::serve(loaded.config, ServeOptions::default()).await?;
        say_addresses(&running, &mut std::io::stdout().lock())?;
        let stop = running.stop_handle();
        tokio::spawn(async move {
            stop_signal().await;
            tracing::info!("stopping");
            stop.stop();
        });
        running.wait().await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// One line each, for people and programs: `listening mllp 127.0.0.1:2575`. Flushed, so that a reader of a pipe sees them.
pub fn say_addresses(running: &Running, out: &mut impl std::io::Write) -> std::io::Result<()> {
    for (feed, address) in &running.mllp {
        writeln!(out, "listening mllp {address} {feed}")?;
    }
    match &running.mqtt {
        crate::shell::Broker::Embedded(address) => writeln!(out, "listening mqtt {address}")?,
        crate::shell::Broker::External(url) => writeln!(out, "publishing mqtt {url}")?,
    }
    writeln!(out, "listening http {}", running.http)?;
    out.flush()
}
