//! The alert manager: whether it can be reached, and how far it was told. No message is sent: an alert manager would ring.

use super::{Findings, Level};
use crate::config::Config;
use crate::shell::acm::{Position, Target};
use crate::shell::store::AlertReader;
use std::io::Write;
use std::time::Duration;

/// A greeting of TLS must be through within.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn check<W: Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    let Some(address) = config.acm.address.clone() else { return Ok(()) };
    let target = match Target::new(&config.acm, address.clone()) {
        Ok(target) => target,
        Err(error) => return Ok(found.say(Level::Fail, "acm", error)?),
    };
    match target.connect(PATIENCE) {
        Ok(_) => found.say(Level::Ok, "acm", format_args!("{address} takes connections; no message was sent"))?,
        Err(error) => found.say(Level::Fail, "acm", format_args!("{address}: {error}; alerts wait for it"))?,
    }
    let store = config.data.join("store.sqlite");
    if let (Some(position), true) = (Position::read(&config.data), store.is_file()) {
        match AlertReader::open(&store).and_then(|reader| reader.last_event()) {
            Ok(last) if last > position.number => found.say(
                Level::Warn,
                "acm",
                format_args!(
                    "{} events were not told yet, {} alerts are open there",
                    last - position.number,
                    position.told.len()
                ),
            )?,
            Ok(_) => {
                found.say(Level::Ok, "acm", format_args!("told everything, {} alerts are open there", position.told.len()))?
            }
            Err(error) => found.say(Level::Warn, "acm", error)?,
        }
        if !position.left_out.is_empty() {
            let count = position.left_out.len();
            found.say(
                Level::Warn,
                "acm",
                format_args!("{count} open alerts are not known there: it did not take their start"),
            )?;
        }
    }
    Ok(())
}
