//! Alerts to an alert manager: IHE ACM reports over MLLP, one at a time, in the order of the store.
//!
//! One contract: what was answered with AA or CA is behind us, durably (`acm.json` in the data folder); everything else is sent
//! again, also after a restart, with the same MSH-10. The store keeps the events, so that a receiver that is dead, slow or
//! hanging holds up nothing but its own queue. A receiver that refuses a message (AR, CR) does not get it again; one that fails
//! (AE, CE) gets it `tries` times. Only alerts whose start was taken are updated and ended; one whose start was not is left out
//! until its priority rises. Nothing of a person leaves.

use crate::alert::{AlertEvent, AlertState, EventKind};
use crate::config::Acm as Config;
use crate::document::acm::{Head, Phase, report};
use crate::hl7::dialect::hash32;
use crate::mllp::{Event, encode};
use crate::shell::journal::write_atomic;
use crate::shell::metrics;
use crate::shell::store::{AlertReader, StoreError};
use crate::shell::tls::TlsError;
use crate::text::Language;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use target::Connection;

mod target;

pub use target::Target;

/// File of the position in the data folder.
pub const POSITION: &str = "acm.json";
/// Events taken from the store at a time.
const BATCH: usize = 64;
/// New events are looked for so often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between looks at the wish to stop, and at a silent socket.
const SLICE: Duration = Duration::from_millis(100);
/// First wait after a failure; it doubles up to `retry_max_s`.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Told alerts that are remembered, and alerts that were left out; when there are more, the one with the oldest onset goes and
/// would be told anew.
const TOLD_MAX: usize = 10_000;
/// What waits is counted so often.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How far the receiver was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the last event that is behind us.
    pub number: i64,
    /// Alerts that were told and have not ended.
    pub told: BTreeSet<String>,
    /// Alerts whose start the receiver did not take, and that have not ended.
    #[serde(default)]
    pub left_out: BTreeSet<String>,
}

/// Remembers an alert among others. An alert's id ends with its onset, in digits that sort as time does.
fn remember(among: &mut BTreeSet<String>, alert: &str) {
    among.insert(alert.to_owned());
    while among.len() > TOLD_MAX {
        let Some(oldest) = among.iter().min_by_key(|id| id.rsplit('-').next()).cloned() else { break };
        among.remove(&oldest);
    }
}

impl Position {
    /// As the file has it; `None`: there is none, or none that can be read.
    pub fn read(folder: &Path) -> Option<Position> {
        serde_json::from_slice(&std::fs::read(folder.join(POSITION)).ok()?).ok()
    }
    /// What became of an event.
    fn note(&mut self, alert: &str, phase: Phase, fate: Fate) {
        match (phase, fate) {
            (Phase::End, _) => drop(self.told.remove(alert)),
            (Phase::Start, Fate::Accepted) => {
                self.left_out.remove(alert);
                remember(&mut self.told, alert);
            }
            (Phase::Start, _) => remember(&mut self.left_out, alert),
            // It knows the alert, whatever it thinks of this news.
            _ => {}
        }
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum AcmError {
    #[error("acm: {0}")]
    Tls(#[from] TlsError),
    #[error("acm: {0}")]
    Store(#[from] StoreError),
    #[error("acm: no thread: {0}")]
    Thread(std::io::Error),
    #[error("acm: {0} is no address")]
    Address(String),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    /// AR or CR.
    Refused,
    /// AE or CE, as often as is tried.
    Failed,
    /// We are to stop.
    Stopped,
}

/// The sending thread.
pub struct Acm {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Acm {
    /// Starts sending; `None`: no receiver is configured.
    pub fn start(config: &Config, site: &str, reader: AlertReader, folder: &Path) -> Result<Option<Acm>, AcmError> {
        let Some(address) = config.address.clone() else { return Ok(None) };
        let target = Target::new(config, address)?;
        let position = match Position::read(folder) {
            Some(position) => position,
            // What is over and done is not told to a receiver that is new.
            None => {
                if folder.join(POSITION).exists() {
                    tracing::warn!("acm: the position cannot be read: what the store holds counts as told");
                }
                Position { number: reader.last_event()?, ..Position::default() }
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Sender {
            config: config.clone(),
            site: site.to_owned(),
            reader,
            file: folder.join(POSITION),
            position,
            target,
            connection: None,
            stop: Arc::clone(&stop),
            away: false,
            counted_at: None,
        };
        let thread = std::thread::Builder::new().name("acm".into()).spawn(move || sender.run()).map_err(AcmError::Thread)?;
        Ok(Some(Acm { stop, thread: Some(thread) }))
    }

    /// Ends it; a message on its way is sent again at the next start.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Sender {
    config: Config,
    site: String,
    reader: AlertReader,
    file: PathBuf,
    position: Position,
    target: Target,
    connection: Option<Connection>,
    stop: Arc<AtomicBool>,
    /// The receiver is away, and that was logged.
    away: bool,
    counted_at: Option<Instant>,
}

impl Sender {
    fn run(mut self) {
        self.save();
        while !self.stopping() {
            match self.round() {
                Ok(true) => {}
                Ok(false) => self.rest(LOOK_EVERY),
                Err(error) => {
                    tracing::warn!(%error, "acm: the events cannot be read");
                    self.rest(Duration::from_secs(5));
                }
            }
        }
        self.save();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits, unless we are to stop.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopping() && Instant::now() < until {
            std::thread::sleep(SLICE.min(time));
        }
    }

    /// Tells what is new; whether there was anything.
    fn round(&mut self) -> Result<bool, StoreError> {
        let last = self.reader.last_event()?;
        if last < self.position.number {
            tracing::warn!("acm: the store is another one: what it holds counts as told");
            self.position = Position { number: last, ..Position::default() };
            self.save();
        }
        if self.counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            self.counted_at = Some(Instant::now());
            ::metrics::gauge!(metrics::ACM_WAITING).set((last - self.position.number).max(0) as f64);
            ::metrics::gauge!(metrics::ACM_LEFT_OUT).set(self.position.left_out.len() as f64);
        }
        let events = self.reader.events_after(self.position.number, BATCH)?;
        let any = !events.is_empty();
        let mut unsaved = false;
        for (number, json) in events {
            let parsed = std::str::from_utf8(&json).ok().and_then(|text| AlertEvent::from_json(text).ok());
            let sent = match parsed {
                Some((event, _)) => match self.phase(&event)? {
                    Some(phase) => {
                        let fate = self.tell(&event, number, phase);
                        match fate {
                            Fate::Stopped => break,
                            Fate::Accepted => self.count("accepted"),
                            Fate::Refused => self.count("refused"),
                            Fate::Failed => self.count("failed"),
                        }
                        self.position.note(&event.alert.id, phase, fate);
                        true
                    }
                    None => {
                        if event.alert.state == AlertState::Cleared {
                            self.position.left_out.remove(&event.alert.id);
                        }
                        false
                    }
                },
                None => {
                    self.count("unreadable");
                    false
                }
            };
            self.position.number = number;
            unsaved = !sent;
            if sent {
                self.save();
            }
        }
        if unsaved {
            self.save();
        }
        Ok(any)
    }

    /// What an event is to the receiver; `None`: it is not told.
    fn phase(&self, event: &AlertEvent) -> Result<Option<Phase>, StoreError> {
        let alert = &event.alert;
        let over = alert.state == AlertState::Cleared;
        if !self.position.told.contains(&alert.id) {
            if over || alert.priority > self.config.least {
                return Ok(None);
            }
            // Its start was not taken: it is begun again only when it says something else.
            if self.position.left_out.contains(&alert.id) && event.event != EventKind::Escalated {
                return Ok(None);
            }
            if now().since_s(event.ts) > self.config.expire_s
                && self.reader.alert(&alert.id)?.is_none_or(|row| row.state == AlertState::Cleared.as_str())
            {
                self.count("outdated");
                return Ok(None);
            }
            return Ok(Some(Phase::Start));
        }
        let changed = event.prev.is_none_or(|prev| (prev.priority, prev.state) != (alert.priority, alert.state));
        Ok(match event.event {
            _ if over => Some(Phase::End),
            EventKind::Escalated => Some(Phase::Escalate),
            EventKind::Lowered => Some(Phase::Deescalate),
            EventKind::Updated if !self.config.updates && !changed => None,
            _ => Some(Phase::Update),
        })
    }

    fn save(&self) {
        let bytes = serde_json::to_vec(&self.position).unwrap_or_default();
        if let Err(error) = write_atomic(&self.file, &bytes) {
            // What was told is told again after a restart: a repeat under the same MSH-10.
            tracing::warn!(%error, "acm: the position was not written");
        }
    }

    fn count(&self, result: &'static str) {
        ::metrics::counter!(metrics::ACM_MESSAGES, "result" => result).increment(1);
    }

    /// Sends until it is answered, or given up.
    fn tell(&mut self, event: &AlertEvent, number: i64, phase: Phase) -> Fate {
        let name = format!("{}.{}", event.alert.id, event.seq);
        // At most 20 characters, the same at every attempt.
        let id = format!("VG{:08x}-{}", hash32(&[name.as_bytes()]), number % 1_000_000_000);
        let (mut failures, mut wait) = (0, RETRY_FIRST);
        while !self.stopping() {
            let head = Head {
                id: &id,
                site: &self.site,
                receiver: (&self.config.application, &self.config.facility),
                language: if self.config.language == "it" { Language::It } else { Language::En },
                sent_at: now(),
                seq: event.seq,
                phase,
            };
            let mut frame = Vec::new();
            encode(&report(&event.alert, &head), &mut frame);
            match self.exchange(&frame, id.as_bytes()) {
                Ok(code) => match code {
                    [_, b'A'] => return Fate::Accepted,
                    [_, b'R'] => {
                        tracing::warn!(event = %name, "acm: the receiver refuses an alert");
                        return Fate::Refused;
                    }
                    _ => {
                        failures += 1;
                        if failures >= self.config.tries {
                            tracing::warn!(event = %name, "acm: the receiver fails at an alert; it is left out");
                            return Fate::Failed;
                        }
                        self.count("error");
                    }
                },
                Err(error) => {
                    if !self.stopping() {
                        self.lose(&error);
                    }
                }
            }
            self.rest(wait);
            wait = (wait * 2).min(Duration::from_secs_f64(self.config.retry_max_s));
        }
        Fate::Stopped
    }

    fn lose(&mut self, error: &std::io::Error) {
        self.connection = None;
        self.count("unanswered");
        ::metrics::gauge!(metrics::ACM_CONNECTED).set(0.0);
        if !self.away {
            self.away = true;
            tracing::warn!(%error, "acm: the receiver is away; alerts wait for it");
        }
    }

    /// Sends a frame and waits for its answer: the two letters of MSA-1.
    fn exchange(&mut self, frame: &[u8], id: &[u8]) -> std::io::Result<[u8; 2]> {
        let patience = Duration::from_secs_f64(self.config.answer_timeout_s);
        if self.connection.is_none() {
            self.connection = Some(self.target.connect(patience)?);
            ::metrics::gauge!(metrics::ACM_CONNECTED).set(1.0);
            if std::mem::take(&mut self.away) {
                tracing::info!("acm: the receiver is back");
            }
        }
        let stop = Arc::clone(&self.stop);
        let connection = self.connection.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        connection.stream.write_all(frame)?;
        connection.stream.flush()?;
        let until = Instant::now() + patience;
        let mut buffer = [0u8; 4096];
        loop {
            while let Some(event) = connection.decoder.poll() {
                if let Event::Frame { payload, .. } = event
                    && let Some(code) = answer(&payload, id)
                {
                    return Ok(code);
                }
            }
            if stop.load(Ordering::Relaxed) || Instant::now() > until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => connection.decoder.push(&buffer[..read]),
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// MSA-1 of the acknowledgement of a message; `None`: it is none, or that of another one.
fn answer(payload: &[u8], id: &[u8]) -> Option<[u8; 2]> {
    let separator = *payload.strip_prefix(b"MSH")?.first()?;
    let line = payload.split(|b| matches!(b, b'\r' | b'\n')).find(|line| line.starts_with(b"MSA"))?;
    let mut fields = line.split(|b| *b == separator).skip(1);
    let (code, of) = (fields.next()?.trim_ascii(), fields.next()?.trim_ascii());
    match code {
        [a @ (b'A' | b'C'), b @ (b'A' | b'E' | b'R')] if of == id => Some([*a, *b]),
        _ => None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alert_with_the_oldest_onset_is_forgotten_first() {
        let mut told = BTreeSet::new();
        remember(&mut told, "A-0aaaaaaaaaaa-20260108T000000000Z");
        remember(&mut told, "A-ffffffffffff-20260107T000000000Z");
        for n in 0..TOLD_MAX - 1 {
            remember(&mut told, &format!("A-1aaaaaaaaaaa-20260107T00{n:06}1Z"));
        }
        assert_eq!(told.len(), TOLD_MAX);
        assert!(!told.iter().any(|id| id.starts_with("A-f")) && told.iter().any(|id| id.starts_with("A-0")));
    }

    #[test]
    fn what_was_not_taken_is_not_told_and_ends_unsaid() {
        let mut position = Position::default();
        for fate in [Fate::Refused, Fate::Failed] {
            position.note("A-1", Phase::Start, fate);
            assert!(position.told.is_empty() && position.left_out.len() == 1, "{fate:?}");
        }
        position.note("A-1", Phase::Start, Fate::Accepted);
        assert!(position.told.len() == 1 && position.left_out.is_empty());
        position.note("A-1", Phase::Escalate, Fate::Refused);
        assert_eq!(position.told.len(), 1, "it knows the alert");
        position.note("A-1", Phase::End, Fate::Refused);
        assert_eq!(position, Position::default());
        assert_eq!(serde_json::from_str::<Position>(r#"{"number":3,"told":["A-2"]}"#).unwrap().told.len(), 1, "of before");
    }

    #[test]
    fn an_answer_is_one_of_this_message_alone() {
        let ack = |text: &str| answer(text.as_bytes(), b"VG1");
        assert_eq!(ack("MSH|^~\\&|A\rMSA|CA|VG1\r"), Some(*b"CA"));
        assert_eq!(ack("MSH#^~\\&#A\nMSA#AE#VG1#text\n"), Some(*b"AE"));
        for other in ["MSH|^~\\&|A\rMSA|CA|VG2\r", "MSH|^~\\&|A\rMSA|OK|VG1\r", "MSA|AA|VG1", "MSH|^~\\&\rMSA|AA", "", "MSH"] {
            assert_eq!(ack(other), None, "{other}");
        }
    }
}
