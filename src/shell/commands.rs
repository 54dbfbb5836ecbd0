//! Commands on their way: from HTTP or the broker into the journal, and the answer back to the one who asked.
//!
//! One contract: what comes in here has been proven (the user by the topic, the session or the certificate), is parsed by
//! [`command::parse`], durable before it is carried out, and answered only after its effects are committed. Whoever asks over HTTP
//! waits here; who asks over MQTT is answered through the outbox. Bound: `WAITING_MAX` waiting requests, then `UNAVAILABLE`.

use crate::command::{self, Command, Hop, Refusal, Refused, Response, Verb, Via};
use crate::document::{self, Origin};
use crate::shell::journal::{JournalHandle, Looked, NotStored, Record};
use crate::shell::selftest::Probe;
use crate::shell::stations::Stations;
use crate::time::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that wait for an answer at most. One is answered within milliseconds.
const WAITING_MAX: usize = 1_024;
/// No answer within this time means: not accepted (outgoing contract, section 5).
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub refusal: Option<Refusal>,
    /// `response/1`, the bytes that MQTT would carry.
    pub document: Bytes,
}

/// User and request id.
type Request = (String, String);

/// Who waits for which answer, by user and request id; and what was measured before a self-test was stored.
#[derive(Debug, Default)]
pub struct Answers {
    waiting: Mutex<HashMap<Request, Vec<oneshot::Sender<Answered>>>>,
    hops: Mutex<HashMap<Request, Vec<Hop>>>,
}

impl Answers {
    fn expect(&self, user: &str, request_id: &str) -> Option<oneshot::Receiver<Answered>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, list| {
                list.retain(|sender| !sender.is_closed());
                !list.is_empty()
            });
        }
        let list = match waiting.len() < WAITING_MAX {
            true => waiting.entry((user.to_owned(), request_id.to_owned())).or_default(),
            false => waiting.get_mut(&(user.to_owned(), request_id.to_owned()))?,
        };
        list.retain(|sender| !sender.is_closed());
        if list.len() >= WAITING_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        list.push(sender);
        Some(receiver)
    }

    /// The judging thread has committed what a command did.
    pub(crate) fn give(&self, user: &str, request_id: &str, answer: &Answered) {
        for sender in self.waiting.lock().remove(&(user.to_owned(), request_id.to_owned())).into_iter().flatten() {
            // Who has gone away gets no answer.
            let _ = sender.send(answer.clone());
        }
    }

    fn note_hops(&self, command: &Command, hops: Vec<Hop>) {
        let mut all = self.hops.lock();
        if all.len() < WAITING_MAX {
            all.insert((command.user.clone(), command.request_id.clone()), hops);
        }
    }
    /// What was measured before a self-test was stored.
    pub(crate) fn take_hops(&self, user: &str, request_id: &str) -> Vec<Hop> {
        self.hops.lock().remove(&(user.to_owned(), request_id.to_owned())).unwrap_or_default()
    }
}

/// The door for commands.
#[derive(Clone)]
pub struct Commands {
    origin: Origin,
    journal: JournalHandle,
    answers: Arc<Answers>,
    stations: Arc<Stations>,
    probe: Arc<Probe>,
}

impl Commands {
    pub(crate) fn new(
        origin: Origin,
        journal: JournalHandle,
        answers: Arc<Answers>,
        stations: Arc<Stations>,
        probe: Arc<Probe>,
    ) -> Commands {
        Commands { origin, journal, answers, stations, probe }
    }

    /// Carries out a command document of a proven user who sees these wards (none: all). Never fails: what could not be done is an answer, too. Returns within some
    /// ten seconds at most (a self-test; others five).
    pub async fn run(&self, verb: &str, user: &str, wards: &[String], body: &[u8]) -> Answered {
        let command = match command::parse(verb, user, Via::Web, body) {
            Ok(command) => Command { wards: wards.to_vec(), ..command },
            Err(refused) => return self.refused(&refused, verb, user),
        };
        let request_id = command.request_id.clone();
        let unavailable = || Refused { refusal: Refusal::Unavailable, request_id: Some(request_id.clone()) };
        let Some(answer) = self.answers.expect(user, &request_id) else {
            return self.refused(&unavailable(), verb, user);
        };
        if self.submit(command).await.is_err() {
            return self.refused(&unavailable(), verb, user);
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) | Err(_) => self.refused(&unavailable(), verb, user),
        }
    }

    /// Stores a command that has passed the door; its answer goes the way of its `via`.
    pub(crate) async fn submit(&self, command: Command) -> Result<(), NotStored> {
        if command.verb == Verb::Selftest {
            let hops = self.probe.run().await;
            self.answers.note_hops(&command, hops);
        }
        self.journal.submit(Record::Command(command)).await.map(|_| ())
    }

    /// Stores what the audit is told of.
    pub(crate) async fn note(&self, looked: Looked) -> Result<(), NotStored> {
        self.journal.submit(Record::Audit(looked)).await.map(|_| ())
    }

    /// A page that has no MQTT announces itself: `online` every 30 s, and once `false` when it goes.
    pub fn station(&self, user: &str, online: bool) {
        self.stations.heard(user, online, Duration::ZERO);
    }

    fn refused(&self, refused: &Refused, verb: &str, user: &str) -> Answered {
        let response = Response::refused(refused, verb, user, crate::shell::publisher::now());
        answered(&self.origin, &response)
    }
}

/// An answer as it is sent.
pub(crate) fn answered(origin: &Origin, response: &Response) -> Answered {
    Answered { refusal: response.refusal, document: document::response(origin, response).into() }
}

/// An answer to what never came as far as the judging thread.
pub(crate) fn unavailable(command: &Command, at: Timestamp) -> Response {
    Response { refusal: Some(Refusal::Unavailable), ..Response::new(command, at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &'static str) -> Answered {
        Answered { refusal: None, document: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn everyone_who_waits_for_a_request_gets_its_answer_and_nobody_else() {
        let answers = Answers::default();
        let (first, second) = (answers.expect("a", "r1").unwrap(), answers.expect("a", "r1").unwrap());
        let mut other = answers.expect("b", "r1").unwrap();
        answers.give("a", "r1", &answer("done"));
        assert_eq!(first.await.unwrap(), answer("done"));
        assert_eq!(second.await.unwrap(), answer("done"));
        assert!(other.try_recv().is_err(), "the request of another user");
    }

    #[test]
    fn who_has_gone_makes_room_and_too_many_are_sent_away() {
        let answers = Answers::default();
        for number in 0..WAITING_MAX {
            assert!(answers.expect("a", &format!("r{number}")).is_some(), "given up at once");
        }
        let kept: Vec<_> = (0..WAITING_MAX).map(|number| answers.expect("b", &format!("r{number}"))).collect();
        assert!(kept.iter().all(Option::is_some));
        assert!(answers.expect("b", "one-more").is_none());
    }
}
