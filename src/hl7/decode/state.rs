//! What the decoder remembers of connections: whose values come, which dialect is spoken, which sensor is reported off.
//!
//! This is state (part of the snapshot), unlike [`Memory`](super::codes::Memory). Bounds: [`CONNECTIONS_MAX`] connections, the
//! one that was silent longest is forgotten for a new one; [`HOLDS_MAX`] places with a technical alarm, the one that would end
//! first goes.

use super::times::Near;
use crate::observation::{AgeBand, Subject};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Connections remembered at most.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Places with technical alarms remembered at most.
pub const HOLDS_MAX: usize = 16_384;
/// Technical alarms of one place at most.
const HOLDS_EACH_MAX: usize = 16;
/// A technical alarm without a repeat holds so long, milliseconds. Source: senders repeat the list at least every minute.
const HOLD_MS: i64 = 60_000;

/// The decoder's state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) holds: BTreeMap<(u64, u32), Vec<Hold>>,
    messages: u64,
}

/// One connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Connection {
    /// The dialect last recognised; empty: none yet.
    pub dialect: String,
    /// Whom the connection's values belong to, where the dialect keeps identity in the connection.
    pub subject: Option<Known>,
    /// The last MSH-7, and when it was received.
    pub sent: Option<(Timestamp, Timestamp)>,
    used: u64,
}

impl Connection {
    /// What MSH-7 of a message that is received now is expected to be.
    pub fn near(&self, received_at: Timestamp) -> Near {
        match self.sent {
            Some((sent_at, received)) => Near { at: sent_at.plus_ms(received_at.since_ms(received).max(0)), last: Some(sent_at) },
            None => Near { at: received_at, last: None },
        }
    }
}

/// An identity that outlives its message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Known {
    pub patient: String,
    pub point_of_care: String,
    pub room: String,
    pub bed: String,
    pub birth: Option<Timestamp>,
    pub class: Option<AgeBand>,
    pub device: String,
}

impl Known {
    /// Keeps what a message said.
    pub fn keep(subject: &Subject, device: &str) -> Known {
        Known {
            patient: subject.patient.clone(),
            point_of_care: subject.point_of_care.clone(),
            room: subject.room.clone(),
            bed: subject.bed.clone(),
            birth: subject.birth,
            class: subject.class,
            device: device.to_owned(),
        }
    }
    /// Says it again for a message that says nothing itself.
    pub fn fill(&self, subject: &mut Subject) {
        subject.patient.push_str(&self.patient);
        subject.point_of_care.push_str(&self.point_of_care);
        subject.room.push_str(&self.room);
        subject.bed.push_str(&self.bed);
        subject.birth = self.birth;
        subject.class = self.class;
    }
}

/// Parameters that a technical alarm says are not measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Hold {
    pub parameters: ParamSet,
    pub until: Timestamp,
}

impl State {
    /// The connection, made if it is new.
    pub fn connection(&mut self, number: u64) -> &mut Connection {
        self.messages += 1;
        if self.connections.len() >= CONNECTIONS_MAX && !self.connections.contains_key(&number) {
            let oldest = self.connections.iter().min_by_key(|(_, connection)| connection.used).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.close(oldest);
            }
        }
        let connection = self.connections.entry(number).or_default();
        connection.used = self.messages;
        connection
    }

    /// The last MSH-7 of a connection, for a message whose time of receipt is not known.
    pub(super) fn last_sent(&self, number: u64) -> Near {
        match self.connections.get(&number).and_then(|connection| connection.sent) {
            Some((sent_at, _)) => Near { at: sent_at, last: Some(sent_at) },
            None => Near { at: Timestamp::MIN, last: None },
        }
    }

    /// Forgets a connection and all that lived in it.
    pub fn close(&mut self, number: u64) {
        self.connections.remove(&number);
        self.holds.retain(|(connection, _), _| *connection != number);
    }

    /// Forgets every connection (after a restart none of them is left).
    pub fn close_all(&mut self) {
        self.connections.clear();
        self.holds.clear();
    }

    /// Notes a technical alarm of a place, or its end.
    pub fn hold(&mut self, key: (u64, u32), parameters: ParamSet, on: bool, now: Timestamp) {
        if !on {
            if let Some(holds) = self.holds.get_mut(&key) {
                holds.retain(|hold| hold.parameters != parameters && hold.until > now);
                if holds.is_empty() {
                    self.holds.remove(&key);
                }
            }
            return;
        }
        if self.holds.len() >= HOLDS_MAX && !self.holds.contains_key(&key) {
            self.holds.retain(|_, holds| holds.iter().any(|hold| hold.until > now));
            if self.holds.len() >= HOLDS_MAX {
                let first = self.holds.iter().min_by_key(|(_, holds)| holds.iter().map(|hold| hold.until).max());
                if let Some(first) = first.map(|(key, _)| *key) {
                    self.holds.remove(&first);
                }
            }
        }
        let until = now.plus_ms(HOLD_MS);
        let holds = self.holds.entry(key).or_default();
        holds.retain(|hold| hold.until > now && hold.parameters != parameters);
        if holds.len() < HOLDS_EACH_MAX {
            holds.push(Hold { parameters, until });
        }
    }

    /// What is held at a place now.
    pub fn held(&self, key: (u64, u32), now: Timestamp) -> ParamSet {
        if self.holds.is_empty() {
            return ParamSet::EMPTY;
        }
        let holds = self.holds.get(&key).map(Vec::as_slice).unwrap_or_default();
        holds.iter().filter(|hold| hold.until > now).fold(ParamSet::EMPTY, |set, hold| set.union(hold.parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vital::Parameter;

    #[test]
    fn a_technical_alarm_holds_until_it_ends_or_is_not_repeated() {
        let (spo2, key) = (ParamSet::of(Parameter::Spo2), (1, 7));
        let at = |s: i64| Timestamp::from_ms(s * 1000);
        let mut state = State::default();
        state.hold(key, spo2, true, at(0));
        assert!(state.held(key, at(59)).contains(Parameter::Spo2));
        assert!(state.held(key, at(60)).is_empty(), "not repeated");
        state.hold(key, spo2, true, at(61));
        state.hold(key, spo2, false, at(62));
        assert!(state.held(key, at(63)).is_empty(), "ended");
        assert!(state.holds.is_empty());
        state.hold(key, spo2, true, at(70));
        assert!(state.held((2, 7), at(70)).is_empty(), "another connection");
        state.close(1);
        assert!(state.held(key, at(71)).is_empty(), "closed");
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_silent_one() {
        let mut state = State::default();
        for number in 0..CONNECTIONS_MAX as u64 {
            state.connection(number).dialect = "x".into();
        }
        state.connection(0);
        state.connection(u64::MAX);
        assert_eq!(state.connections.len(), CONNECTIONS_MAX);
        assert!(state.connections.contains_key(&0), "heard again since");
        assert!(!state.connections.contains_key(&1), "silent longest");
    }
}
