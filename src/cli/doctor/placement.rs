//! Tees and taps: the relay, the real receiver, the stream of packets. Nothing is sent into the clinical path; the receiver is
//! connected to and left again where no sender shows that it can be reached.

use super::{CONNECT_TIMEOUT, Findings, Level};
use crate::config::{Config, Mllp, Placement, Relay};
use crate::shell::tee::{self, Hello, Request};
use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;

pub fn check<W: Write>(config: &Config, found: &mut Findings<W>) -> anyhow::Result<()> {
    for mllp in &config.mllp {
        match mllp.placement {
            Placement::Tee => tee_of(config, mllp, found)?,
            Placement::Tap => packets(mllp, found)?,
            Placement::Listener => {}
        }
    }
    let feeds: Vec<String> =
        config.mllp.iter().filter(|mllp| mllp.placement == Placement::Tee).map(|mllp| mllp.feed.clone()).collect();
    for (hello, control) in tee::strays(&config.data, &feeds) {
        let (feed, pid, at, control) = (hello.feed, hello.pid, hello.address, control.display());
        found.say(
            Level::Warn,
            "relay",
            format_args!(
                "{feed}: process {pid} passes bytes on at {at}, and no tee names it (vitalguard tee --drain --control {control})"
            ),
        )?;
    }
    Ok(())
}

fn tee_of<W: Write>(config: &Config, mllp: &Mllp, found: &mut Findings<W>) -> anyhow::Result<()> {
    let feed = &mllp.feed;
    let forward_to = mllp.forward_to.as_deref().unwrap_or_default();
    let hello = tee::ask_now(&tee::control(&config.data, feed), Request::Status).ok();
    match &hello {
        Some(hello) if hello.forward_to != forward_to || hello.listen != mllp.listen => found.say(
            Level::Warn,
            "relay",
            format_args!(
                "{feed}: process {} passes {} on to {}: the configuration takes effect when the service starts again",
                hello.pid, hello.listen, hello.forward_to
            ),
        )?,
        Some(hello) => alive(feed, hello, found)?,
        None if mllp.relay == Relay::External => {
            found.say(
                Level::Fail,
                "relay",
                format_args!("{feed}: no relay answers, and nothing but the service manager starts it"),
            )?;
        }
        None => found.say(Level::Warn, "relay", format_args!("{feed}: no relay runs; the service starts one"))?,
    }
    if hello.is_some_and(|hello| hello.stats.connections > 0 && hello.forward_to == forward_to) {
        return Ok(found.say(Level::Ok, "receiver", format_args!("{feed}: {forward_to} is connected"))?);
    }
    let reached = forward_to.to_socket_addrs().and_then(|mut all| {
        let address = all.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
    });
    match reached {
        Ok(_) => found.say(Level::Ok, "receiver", format_args!("{feed}: {forward_to} takes connections"))?,
        Err(error) => found.say(
            Level::Fail,
            "receiver",
            format_args!("{feed}: {forward_to} cannot be reached ({error}): senders are turned away"),
        )?,
    }
    Ok(())
}

fn alive<W: Write>(feed: &str, hello: &Hello, found: &mut Findings<W>) -> std::io::Result<()> {
    let stats = hello.stats;
    let lost = stats.copies_dropped + stats.unreachable + stats.refused;
    let level = if lost > 0 { Level::Warn } else { Level::Ok };
    found.say(
        level,
        "relay",
        format_args!(
            "{feed}: process {} at {}, {} connections; since it began {} copies dropped, {} senders turned away (receiver not \
             reached), {} beyond connections_max; held {} us (p99)",
            hello.pid,
            hello.address,
            stats.connections,
            stats.copies_dropped,
            stats.unreachable,
            stats.refused,
            stats.relay_p99_us
        ),
    )
}

fn packets<W: Write>(mllp: &Mllp, found: &mut Findings<W>) -> anyhow::Result<()> {
    let Some(path) = &mllp.capture else { return Ok(()) };
    let (feed, path) = (&mllp.feed, path.as_path());
    match std::fs::metadata(path) {
        Ok(about) if about.file_type().is_fifo() => {
            found.say(Level::Ok, "packets", format_args!("{feed}: {} is a FIFO", path.display()))?;
        }
        // Looked at, not opened for reading on: another reader of a FIFO would take bytes away.
        Ok(about) if about.is_file() => {
            let file = std::fs::File::open(path);
            match file {
                Ok(_) => found.say(Level::Ok, "packets", format_args!("{feed}: {} can be read", path.display()))?,
                Err(error) => found.say(Level::Fail, "packets", format_args!("{feed}: {}: {error}", path.display()))?,
            }
        }
        Ok(_) => found.say(Level::Fail, "packets", format_args!("{feed}: {} is no file and no FIFO", path.display()))?,
        Err(error) => found.say(Level::Warn, "packets", format_args!("{feed}: {}: {error}; it is waited for", path.display()))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Mllp)) -> (Level, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { data: folder.path().into(), ..Config::default() };
        change(&mut config.mllp[0]);
        let mut out = Vec::new();
        let mut found = Findings::new(&mut out);
        check(&config, &mut found).unwrap();
        (found.worst, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_receiver_that_cannot_be_reached_fails_and_one_that_can_does_not() {
        let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        let tee = |mllp: &mut Mllp| {
            mllp.placement = Placement::Tee;
            mllp.forward_to = Some(address.to_string());
        };
        let (level, text) = said(tee);
        assert!(level == Level::Warn && text.contains("takes connections") && text.contains("no relay runs"), "{text}");
        drop(receiver);
        let (level, text) = said(tee);
        assert!(level == Level::Fail && text.contains("cannot be reached"), "{text}");
    }

    #[test]
    fn a_capture_that_is_not_there_is_waited_for() {
        let (level, text) = said(|mllp| {
            mllp.placement = Placement::Tap;
            mllp.capture = Some("/nonexistent/span.pcap".into());
        });
        assert!(level == Level::Warn && text.contains("waited for"), "{text}");
    }
}
