//! What comes in within a connection: commands, stations, and heartbeats that are not ours.
//!
//! One contract: a command reaches the engine only through [`document::parse_command`], under the name that its topic proves, never
//! retained, and with an answer that can only go below its own `rsp/{user}/`. What is refused is answered here and never seen by
//! the engine.

use super::{Session, Shared};
use crate::command::{Refusal, Response, Via};
use crate::document::{self, Mark};
use crate::shell::link::Reply;
use crate::shell::metrics;
use crate::shell::mqtt::{Incoming, Message};
use crate::shell::publisher::{Inbound, now};
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
                let online = Mark::of(&message.payload).and_then(|m| m.state).is_some_and(|s| s.as_str() == Some("online"));
                shared.link.note_station(user, online);
                // A station repeats itself every 30 s: what does not fit now is heard then.
                let _ = shared.inbound.try_send(Inbound::Station { user: (*user).to_owned(), online, at: now() });
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
        let parsed = document::parse_command(user, verb, &message.payload, message.retain, Via::Mqtt);
        let own = format!("{}/rsp/{user}/", shared.base);
        let asked = message.response_topic.as_deref();
        let allowed = asked.is_none_or(|topic| {
            topic.len() <= RESPONSE_TOPIC_MAX
                && topic.strip_prefix(&own).is_some_and(|tail| {
                    !tail.is_empty() && !tail.contains(['+', '#', '\0']) && tail.split('/').all(|level| !level.is_empty())
                })
        });
        let correlation = message.correlation.clone().filter(|data| data.len() <= CORRELATION_MAX);
        let label = match verb {
            "ack" => "ack",
            "comment" => "comment",
            _ => "other",
        };
        let (refusal, request_id) = match parsed {
            Ok(command) if allowed => {
                let request_id = command.request_id.clone();
                if let Some(topic) = asked {
                    let relative = topic[shared.base.len() + 1..].to_owned();
                    shared.link.remember_reply(user, &request_id, Reply { topic: relative, correlation });
                } else if correlation.is_some() {
                    let topic = document::response_topic(user, &request_id);
                    shared.link.remember_reply(user, &request_id, Reply { topic, correlation });
                }
                let taken = shared.inbound.try_send(Inbound::Command(command)).is_ok();
                metrics::command(label, if taken { "taken" } else { "busy" });
                return;
            }
            Ok(command) => (Refusal::Forbidden, Some(command.request_id)),
            Err(refused) => (refused.refusal, refused.request_id),
        };
        metrics::command(label, "refused");
        let topic = match (asked.filter(|_| allowed), &request_id) {
            (Some(topic), _) => topic.to_owned(),
            (None, Some(request_id)) if document::is_slug(user, 32) => {
                format!("{}/{}", shared.base, document::response_topic(user, request_id))
            }
            // Nobody to tell: silence for 5 s means "not accepted".
            (None, _) => return,
        };
        let answer = Response {
            request_id: request_id.unwrap_or_default(),
            user: user.to_owned(),
            verb: if document::is_slug(verb, 32) { verb.to_owned() } else { "unknown".into() },
            refusal: Some(refusal),
            alert: None,
            alert_state: None,
            rev: None,
            at: now(),
        };
        self.answer(Message {
            topic,
            payload: Bytes::from(document::response(&shared.origin, &answer)),
            at_least_once: true,
            expiry_s: Some(crate::shell::store::RESPONSE_EXPIRY_S),
            correlation: message.correlation.clone().filter(|data| data.len() <= CORRELATION_MAX),
            user: vec![("schema", "response/1".into())],
            ..Message::default()
        });
    }

    fn answer(&mut self, message: Message) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(message);
        } else {
            metrics::command("other", "answer_dropped");
        }
    }
}
