//! What comes in within a connection: commands, stations, and heartbeats that are not ours.
//!
//! One contract: a command reaches the engine only through [`command::parse`], under the name that its topic proves, signed where
//! that is required, never retained, and with an answer that can only go below its own `rsp/{user}/`. What is refused is answered here and never seen by
//! the engine.

use super::{Session, Shared};
use crate::command::{self, Refusal, Refused, Response, VERBS, Via};
use crate::document::{self, Mark, Proof};
use crate::shell::commands;
use crate::shell::journal::Looked;
use crate::shell::link::Reply;
use crate::shell::metrics;
use crate::shell::mqtt::{Incoming, Message};
use crate::shell::publisher::{Inbound, now};
use crate::time::Timestamp;
use bytes::Bytes;
use std::time::Instant;

/// Answers to refused commands that wait; more than that is an attack, and silence means "not accepted".
const ANSWERS_MAX: usize = 256;
/// Longest response topic.
const RESPONSE_TOPIC_MAX: usize = 256;
/// Longest correlation data, bytes.
const CORRELATION_MAX: usize = 256;

impl Session {
    pub(super) fn incoming(&mut self, shared: &mut Shared, message: Incoming) {
        let Some(rest) = message.topic.strip_prefix(&shared.base).and_then(|t| t.strip_prefix('/')) else { return };
        let levels: Vec<&str> = rest.split('/').collect();
        match levels.as_slice() {
            ["sys", "heartbeat"] => self.heartbeat_heard(shared, &message),
            // An empty payload is the trace of a wipe.
            ["cmd", _, _] if message.payload.is_empty() => {}
            ["cmd", user, verb] => self.command(shared, user, verb, &message),
            ["station", user, "status"] if document::is_slug(user, 32) => {
                let Some(mark) = Mark::of(&message.payload).filter(|mark| mark.schema == "station-status/1") else { return };
                let online = mark.state.is_some_and(|s| s.as_str() == Some("online"));
                // Its own time counts for what a broker has kept; otherwise ours, since its clock may be wrong.
                let at = mark.ts_ms.filter(|_| message.retain).map_or_else(now, Timestamp::from_ms);
                // A station repeats itself every 30 s: what does not fit now is heard then.
                let _ = shared.inbound.try_send(Inbound::Station { user: (*user).to_owned(), online, at });
            }
            _ => {}
        }
    }

    fn heartbeat_heard(&mut self, shared: &mut Shared, message: &Incoming) {
        let Some(boot) = Mark::of(&message.payload).and_then(|mark| mark.boot) else { return };
        if boot == shared.origin.boot {
            return;
        }
        // Both hear each other, and exactly one must go: the later one, by its boot (a UUID v7 begins with the time).
        if boot < shared.origin.boot {
            tracing::error!(site = %shared.origin.site, "mqtt: another publisher was here first; we stop publishing");
            self.yielding = true;
        } else if shared.foreign_at.is_none() {
            tracing::error!(site = %shared.origin.site, "mqtt: a second publisher speaks under this site");
        }
        shared.foreign_at = Some(Instant::now());
        shared.set_conflict(true);
    }

    fn command(&mut self, shared: &mut Shared, user: &str, verb: &str, message: &Incoming) {
        if message.retain {
            // Kept by the broker it would run again at every reconnect: away with it.
            self.answer(Message { topic: message.topic.clone(), at_least_once: true, retain: true, ..Message::default() });
        }
        let parsed = match self.admit(shared, message) {
            None => command::parse(verb, user, Via::Mqtt, &message.payload),
            Some(refusal) => Err(Refused { refusal, request_id: command::request_id_of(&message.payload) }),
        };
        let own = format!("{}/rsp/{user}/", shared.base);
        let asked = message.response_topic.as_deref();
        let allowed = asked.is_none_or(|topic| {
            topic.len() <= RESPONSE_TOPIC_MAX
                && topic.strip_prefix(&own).is_some_and(|tail| {
                    !tail.is_empty() && !tail.contains(['+', '#', '\0']) && tail.split('/').all(|level| !level.is_empty())
                })
        });
        let correlation = message.correlation.clone().filter(|data| data.len() <= CORRELATION_MAX);
        let label = VERBS.iter().find(|known| **known == verb).copied().unwrap_or("other");
        let (response, asked) = match parsed {
            Ok(command) if allowed => {
                let request_id = command.request_id.clone();
                if let Some(topic) = asked {
                    let relative = topic[shared.base.len() + 1..].to_owned();
                    shared.link.remember_reply(user, &request_id, Reply { topic: relative, correlation });
                } else if correlation.is_some() {
                    let topic = document::response_topic(user, &request_id);
                    shared.link.remember_reply(user, &request_id, Reply { topic, correlation });
                }
                let Err(error) = shared.inbound.try_send(Inbound::Command(command)) else {
                    metrics::command(label, "taken");
                    return;
                };
                metrics::command(label, "busy");
                let Inbound::Command(command) = error.into_inner() else { return };
                // The way back is taken here and now.
                let reply = shared.link.reply(user, &request_id);
                (commands::unavailable(&command, now()), Some(format!("{}/{}", shared.base, reply.topic)))
            }
            Ok(command) => {
                metrics::command(label, "refused");
                refused(shared, user, label, Refusal::Forbidden);
                (Response { refusal: Some(Refusal::Forbidden), ..Response::new(&command, now()) }, None)
            }
            Err(no) => {
                metrics::command(label, "refused");
                refused(shared, user, label, no.refusal);
                (Response::refused(&no, verb, user, now()), asked.filter(|_| allowed).map(str::to_owned))
            }
        };
        let topic = match asked {
            Some(topic) => topic,
            None if command::is_slug(user, 32) && !response.request_id.is_empty() => {
                format!("{}/{}", shared.base, document::response_topic(user, &response.request_id))
            }
            // Nobody to tell: silence for 5 s means "not accepted".
            None => return,
        };
        self.answer(Message {
            topic,
            payload: Bytes::from(document::response(&shared.origin, &response)),
            at_least_once: true,
            expiry_s: Some(crate::shell::store::RESPONSE_EXPIRY_S),
            correlation: message.correlation.clone().filter(|data| data.len() <= CORRELATION_MAX),
            user: vec![("schema", "response/1".into())],
            ..Message::default()
        });
    }

    /// What is refused before it is read: kept by a broker, or not signed as it should be.
    fn admit(&self, shared: &Shared, message: &Incoming) -> Option<Refusal> {
        if message.retain {
            return Some(Refusal::RetainedRefused);
        }
        let seal = shared.seal.as_ref()?;
        match seal.verify(&message.payload) {
            Proof::Bad => Some(Refusal::Forbidden),
            Proof::Absent if seal.required => Some(Refusal::Forbidden),
            Proof::Absent | Proof::Good => None,
        }
    }

    fn answer(&mut self, message: Message) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(message);
        } else {
            metrics::command("other", "answer_dropped");
        }
    }
}

/// Tells the audit of a command that was refused at the door. The name is the one that the topic proves, if it is one.
fn refused(shared: &Shared, user: &str, verb: &str, refusal: Refusal) {
    let user = if command::is_slug(user, 32) { user } else { "unknown" };
    let looked = Looked::new(user, "mqtt", verb, "").refused(refusal.code());
    if let Some(looked) = shared.refusals.admit(looked) {
        // What the journal has no room for now is counted in the metrics all the same.
        let _ = shared.inbound.try_send(Inbound::Refused(looked));
    }
}
