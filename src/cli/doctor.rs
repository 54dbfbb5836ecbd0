//! `vitalguard doctor`: is this machine, this configuration, this service fit for work? One line a finding:
//! `ok|warn|fail  what  detail`. Exit code 1 if anything fails.
//!
//! First what can be seen without the service (ports, certificates, clock, disk), then a marked test message (bed `_selftest`,
//! MSH-11 = T, never a patient) through the whole path of the running one: MLLP, its acknowledgement, the broker's heartbeat,
//! the HTTP interface.

mod acm;
mod machine;
pub mod path;
mod placement;

use super::load::{Overrides, load};
use super::{Global, Usage};
use crate::config::{Config, Placement};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// A certificate that ends within this time is worth a warning, days.
const EXPIRY_WARN_DAYS: f64 = 30.0;
/// Connecting to something on this machine or in this network, seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    overrides: Overrides,
    /// Only look at machine and configuration: no message is sent.
    #[arg(long)]
    no_message: bool,
}

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// Findings, told as they come.
pub struct Findings<W> {
    out: W,
    worst: Level,
}

impl<W: std::io::Write> Findings<W> {
    pub fn new(out: W) -> Findings<W> {
        Findings { out, worst: Level::Ok }
    }
    pub fn say(&mut self, level: Level, what: &str, detail: impl std::fmt::Display) -> std::io::Result<()> {
        self.worst = self.worst.max(level);
        writeln!(self.out, "{:<4}  {what:<12}  {detail}", level.as_str())?;
        self.out.flush()
    }
}

pub fn run(_global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let mut found = Findings::new(std::io::stdout());
    let loaded = match load(&args.overrides) {
        Ok(loaded) => loaded,
        Err(Usage(lines)) => {
            for line in lines {
                found.say(Level::Fail, "config", line)?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    let config = loaded.config;
    let file = args.overrides.config.as_ref().map_or("defaults".into(), |path| path.display().to_string());
    found.say(Level::Ok, "config", format_args!("{file}: valid, site {}", config.site))?;
    let serves = ports(&config, &mut found)?;
    certificates(&config, &mut found)?;
    machine::clock(&mut found)?;
    machine::disk(&config.data, &mut found)?;
    evidence(&config, &mut found)?;
    advisories(&config, &mut found)?;
    broker(&config, serves, &mut found)?;
    placement::check(&config, &mut found)?;
    acm::check(&config, &mut found)?;
    if args.no_message {
        found.say(Level::Ok, "self-test", "left out (--no-message)")?;
    } else if serves {
        path::check(&config, &mut found)?;
    } else {
        found.say(Level::Warn, "self-test", "the service does not run: no message was sent")?;
    }
    Ok(if found.worst == Level::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The addresses: free, taken by a service that answers as ours, or taken by something else. Whether ours runs.
fn ports<W: std::io::Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<bool> {
    let ours = config.http.listen.port() != 0 && path::is_ours(config);
    // A tee's address is its relay's, and a tap on packets has none: both are looked at by themselves.
    let sockets = config.mllp.iter().filter(|mllp| mllp.placement != Placement::Tee && mllp.capture.is_none());
    let mut addresses: Vec<(String, SocketAddr)> = sockets.map(|mllp| (format!("mllp {}", mllp.feed), mllp.listen)).collect();
    if config.mqtt.url.is_none() {
        addresses.push(("mqtt".into(), config.mqtt.listen));
    }
    addresses.push(("http".into(), config.http.listen));
    for (what, address) in addresses {
        if address.port() == 0 {
            found.say(Level::Ok, "port", format_args!("{what}: any free port"))?;
            continue;
        }
        match TcpListener::bind(address) {
            Ok(_) if ours => {
                found.say(Level::Fail, "port", format_args!("{what}: {address} is free although the service runs"))?
            }
            Ok(_) => found.say(Level::Ok, "port", format_args!("{what}: {address} is free"))?,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && ours => {
                found.say(Level::Ok, "port", format_args!("{what}: {address} is held by the running service"))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                found.say(Level::Fail, "port", format_args!("{what}: {address} is taken by another program"))?;
            }
            Err(error) => found.say(Level::Fail, "port", format_args!("{what}: {address} cannot be used: {error}"))?,
        }
    }
    Ok(ours)
}

fn certificates<W: std::io::Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    let mut listeners: Vec<(String, &crate::config::Tls)> = Vec::new();
    for mllp in &config.mllp {
        listeners.extend(mllp.tls.as_ref().map(|tls| (format!("mllp {}", mllp.feed), tls)));
    }
    listeners.extend(config.mqtt.tls.as_ref().map(|tls| ("mqtt".to_owned(), tls)));
    listeners.extend(config.http.tls.as_ref().map(|tls| ("http".to_owned(), tls)));
    let now = crate::time::Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    for (what, tls) in &listeners {
        if let Err(error) = crate::shell::tls::server_config(tls) {
            found.say(Level::Fail, "certificate", format_args!("{what}: {error}"))?;
            continue;
        }
        match crate::shell::tls::expires(&tls.certificate) {
            Err(error) => found.say(Level::Fail, "certificate", format_args!("{what}: {error}"))?,
            Ok(end) => {
                let days = end.since_s(now) / 86_400.0;
                let (level, word) = match days {
                    d if d < 0.0 => (Level::Fail, "has ended"),
                    d if d < EXPIRY_WARN_DAYS => (Level::Warn, "ends soon"),
                    _ => (Level::Ok, "key fits"),
                };
                found.say(level, "certificate", format_args!("{what}: {word}, valid until {end} ({days:.0} days)"))?;
            }
        }
    }
    if listeners.is_empty() {
        found.say(Level::Ok, "certificate", "none configured: plain text on loopback, or where it is allowed")?;
    }
    Ok(())
}

/// The key that signs the journal, and its last checkpoint.
fn evidence<W: std::io::Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    use crate::shell::vault;
    let path = vault::signer_path(config);
    if config.journal.signing_key.is_none() && !path.exists() {
        return Ok(found.say(Level::Ok, "evidence", "a signing key is made at the first start")?);
    }
    let signer = match vault::Signer::open(&path) {
        Ok(signer) => signer,
        Err(error) => return Ok(found.say(Level::Fail, "evidence", error)?),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if std::fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
            found.say(Level::Warn, "evidence", format_args!("{} can be read by others: chmod 600", path.display()))?;
        }
    }
    let encrypted = if config.journal.encryption_key.is_some() { "encrypted" } else { "not encrypted" };
    let key = signer.public_pem().lines().nth(1).unwrap_or_default().to_owned();
    let journal = config.data.join("journal");
    let last = match vault::checkpoints(&journal) {
        Ok(list) => list.last().map_or("no checkpoint yet".into(), |c| format!("last checkpoint {}, record {}", c.at, c.size)),
        Err(error) => return Ok(found.say(Level::Fail, "evidence", error)?),
    };
    Ok(found.say(
        Level::Ok,
        "evidence",
        format_args!("signing key {}, public {key}; {last}; journal {encrypted} at rest", signer.key_id()),
    )?)
}

/// The advisory data and their age.
fn advisories<W: std::io::Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    let data = match crate::shell::advisories::load(config) {
        Ok(data) => data,
        Err(error) => return Ok(found.say(Level::Fail, "advisories", error)?),
    };
    let now = crate::time::Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    let days = data.age_days(now);
    let limit = config.checks.advisories_old.age_days.min(data.warn_after_days());
    let own = if config.devices.advisories.is_some() { ", with the site's file" } else { "" };
    let level = if days > limit { Level::Warn } else { Level::Ok };
    let old = if days > limit { ": what was published since is not looked for" } else { "" };
    let (count, date) = (data.list().len(), data.data_date());
    found.say(
        level,
        "advisories",
        format_args!("{count} advisories{own}, data of {date} ({days:.0} days, limit {limit:.0}){old}"),
    )?;
    Ok(())
}

fn broker<W: std::io::Write>(config: &Config, serves: bool, found: &mut Findings<W>) -> anyhow::Result<()> {
    let Some(url) = &config.mqtt.url else {
        if !serves {
            found.say(Level::Ok, "broker", "embedded: comes with the service")?;
        }
        return Ok(());
    };
    let target = crate::config::parse_mqtt_url(url).map_err(Usage::new)?;
    let reached = std::net::ToSocketAddrs::to_socket_addrs(&(target.host.as_str(), target.port)).and_then(|mut all| {
        let address = all.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
    });
    match reached {
        Ok(_) => found.say(Level::Ok, "broker", format_args!("{url} takes connections"))?,
        Err(error) => found.say(Level::Fail, "broker", format_args!("{url} cannot be reached: {error}"))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_fails_and_a_free_one_does_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.mllp[0].listen = taken.local_addr().unwrap();
        config.mqtt.listen.set_port(0);
        config.http.listen.set_port(0);
        let mut out = Vec::new();
        let mut found = Findings::new(&mut out);
        assert!(!ports(&config, &mut found).unwrap());
        assert_eq!(found.worst, Level::Fail);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("fail  port          mllp mllp:") && text.contains("taken by another program"), "{text}");
        drop(taken);
        let mut found = Findings::new(Vec::new());
        ports(&config, &mut found).unwrap();
        assert_eq!(found.worst, Level::Ok);
    }

    #[test]
    fn a_certificate_with_another_key_fails() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            let (certificate, key) = (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            (certificate, key)
        };
        let (certificate, key) = made("a");
        let (_, other) = made("b");
        let judged = |key: std::path::PathBuf| {
            let mut config = Config::default();
            config.http.tls = Some(crate::config::Tls { certificate: certificate.clone(), key, client_ca: None });
            let mut found = Findings::new(Vec::new());
            certificates(&config, &mut found).unwrap();
            found.worst
        };
        assert_eq!(judged(key), Level::Ok);
        assert_eq!(judged(other), Level::Fail);
    }
}
