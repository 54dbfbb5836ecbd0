//! Finding the relay of a feed, starting one where there is none, and handing over when the configuration has changed.
//!
//! One contract: a relay that runs and does what the configuration says is used as it is, however old it is; one that does
//! something else is asked to drain (what is open goes on as it was, what comes is taken by a new one), and it is said so.

use super::wire::{Hello, LINE_BYTES_MAX, PROTOCOL, Request};
use crate::config::{Mllp, Relay};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Asking a relay takes at most, milliseconds.
const ASK_MS: u64 = 2_000;
/// A relay that was started says that it is ready within, seconds.
const READY_S: u64 = 10;
/// The path of a socket may be so long, bytes (the system's limit, with the ending of a draining relay).
const PATH_BYTES_MAX: usize = 107 - ".4194304".len();

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum TeeError {
    #[error("feed {feed}: the path of the relay's socket is too long ({path}): the system allows {PATH_BYTES_MAX} bytes")]
    Path { feed: String, path: PathBuf },
    #[error("feed {feed}: no relay runs, and it is configured as one of its own (relay = \"external\")")]
    External { feed: String },
    #[error("feed {feed}: the relay was not started: {reason}")]
    Start { feed: String, reason: String },
}

/// Folder of the relays' sockets.
pub fn folder(data: &Path) -> PathBuf {
    std::path::absolute(data).unwrap_or_else(|_| data.to_owned()).join("tee")
}

/// Socket of a feed's relay.
pub fn control(data: &Path, feed: &str) -> PathBuf {
    folder(data).join(format!("{feed}.sock"))
}

/// Sockets of relays of a feed that drain, oldest name first.
pub fn draining(data: &Path, feed: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder(data)) else { return Vec::new() };
    let prefix = format!("{feed}.");
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let middle = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".sock"));
            middle.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    found.sort();
    found
}

/// Relays of feeds that are not among these, with their sockets: they go on until they are told to drain.
pub fn strays(data: &Path, feeds: &[String]) -> Vec<(Hello, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder(data)) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sock"))
        .filter_map(|path| ask_now(&path, Request::Status).ok().map(|hello| (hello, path)))
        .filter(|(hello, _)| !hello.draining && !feeds.contains(&hello.feed))
        .collect()
}

/// Asks a relay; blocks for two seconds at most.
pub fn ask_now(control: &Path, request: Request) -> std::io::Result<Hello> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(Duration::from_millis(ASK_MS)))?;
    stream.set_write_timeout(Some(Duration::from_millis(ASK_MS)))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_until(b'\n', &mut answer)?;
    serde_json::from_slice(&answer).map_err(|_| std::io::Error::other("what answers there is no relay of ours"))
}

/// Makes sure that the right relay runs; blocks until it does. A child that was started is given back, to be waited for.
pub fn ensure(config: &Mllp, data: &Path) -> Result<(Hello, Option<Child>), TeeError> {
    let feed = config.feed.as_str();
    let path = control(data, feed);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(TeeError::Path { feed: feed.into(), path });
    }
    if let Ok(hello) = ask_now(&path, Request::Status) {
        if does_it(&hello, config) {
            return Ok((hello, None));
        }
        let (pid, open) = (hello.pid, hello.stats.connections);
        tracing::warn!(
            feed,
            pid,
            open,
            "the relay that runs does something else than configured: it takes no new connections, and what is open in it goes on \
             to the old receiver until a side closes it"
        );
        if let Err(error) = ask_now(&path, Request::Drain) {
            return Err(TeeError::Start { feed: feed.into(), reason: format!("the old relay did not take the order: {error}") });
        }
    }
    if config.relay == Relay::External {
        return Err(TeeError::External { feed: feed.into() });
    }
    // The old one closes its listening socket a moment after it has said yes.
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        match start(config, &path) {
            Ok(made) => return Ok(made),
            Err(reason) if Instant::now() > until => return Err(TeeError::Start { feed: feed.into(), reason }),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn does_it(hello: &Hello, config: &Mllp) -> bool {
    hello.protocol == PROTOCOL
        && !hello.draining
        && hello.listen == config.listen
        && Some(&hello.forward_to) == config.forward_to.as_ref()
        && hello.connections_max == config.connections_max
}

/// Starts a relay as a child in a session of its own, which outlives us.
fn start(config: &Mllp, control: &Path) -> Result<(Hello, Option<Child>), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))?;
    let mut command = Command::new(program);
    command.args(["tee", "--detach", "--feed", &config.feed]);
    command.arg("--listen").arg(config.listen.to_string());
    command.arg("--forward-to").arg(config.forward_to.as_deref().unwrap_or_default());
    command.arg("--connections-max").arg(config.connections_max.to_string());
    command.arg("--control").arg(control);
    // It must not hold anything of ours: a folder, a terminal, a pipe.
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (said, heard) = std::sync::mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out.take(4096)).read_line(&mut line);
            let _ = said.send(line);
        });
    }
    let line = heard.recv_timeout(Duration::from_secs(READY_S)).unwrap_or_default();
    if line.starts_with("ready ") {
        let until = Instant::now() + Duration::from_secs(READY_S);
        while Instant::now() < until {
            if let Ok(hello) = ask_now(control, Request::Status) {
                return Ok((hello, Some(child)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        return Err(format!("it runs (process {}), but its socket {} does not answer", child.id(), control.display()));
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(match line.trim() {
        "" => "it said nothing".to_owned(),
        reason => reason.trim_start_matches("failed ").to_owned(),
    })
}
