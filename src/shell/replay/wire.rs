//! The connections of captures as sources of messages, and what happens on the wire besides messages.

use super::capture::{What, Wire};
use super::pace::Wall;
use super::{Driver, ReplayError};
use crate::observation::Source;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Receivers with a feed of their own at most; what further ones receive is the recording's feed.
const RECEIVERS_MAX: usize = 1024;
/// Letters of a feed's name that are kept before the receiver's port: a name has 32 at most.
const NAME_MAX: usize = 20;

/// Open connections and known receivers.
#[derive(Debug, Default)]
pub(super) struct Flows {
    open: BTreeMap<(usize, u64), Source>,
    receivers: BTreeMap<(usize, SocketAddr), String>,
    connections: u64,
}

impl Flows {
    /// The source of a message; `base` is the recording's. A connection's source is that of its first sender: whoever answers
    /// with messages on it is another peer of the same connection.
    pub fn source(&mut self, input: usize, base: &Source, wire: &Wire) -> &Source {
        let What::Message { sender, receiver } = &wire.what else { unreachable!("messages have a sender") };
        let peer = sender.ip().to_string();
        let key = (input, wire.flow);
        if !self.open.contains_key(&key) {
            self.connections += 1;
            let feed = self.feed(input, &base.feed, *receiver);
            // Behind the numbers of the recordings.
            let connection = (1 << 32) + self.connections;
            self.open.insert(key, Source { feed, connection, ..base.clone() });
        }
        let source = self.open.get_mut(&key).expect("inserted just now");
        if source.peer != peer {
            source.peer = peer;
        }
        source
    }

    /// `{feed}-{port}`; a second receiver with the same port has a number behind it.
    fn feed(&mut self, input: usize, base: &str, receiver: SocketAddr) -> String {
        if let Some(known) = self.receivers.get(&(input, receiver)) {
            return known.clone();
        }
        if self.receivers.len() >= RECEIVERS_MAX {
            return base.to_owned();
        }
        let name = &base[..base.len().min(NAME_MAX)];
        let first = format!("{name}-{}", receiver.port());
        let taken = |feed: &String| self.receivers.values().any(|known| known == feed);
        let feed = match taken(&first) {
            false => first,
            true => {
                let others = (2..).map(|n| format!("{first}-{n}"));
                others.into_iter().find(|feed| !taken(feed)).unwrap_or_else(|| base.to_owned())
            }
        };
        self.receivers.insert((input, receiver), feed.clone());
        feed
    }

    fn close(&mut self, input: usize, flow: u64) -> Option<u64> {
        self.open.remove(&(input, flow)).map(|source| source.connection)
    }
}

impl<W: Wall> Driver<'_, W> {
    /// Something that is no message.
    pub(super) fn happened(&mut self, input: usize, wire: &Wire, at: Timestamp) -> Result<(), ReplayError> {
        match &wire.what {
            What::Message { .. } => {}
            What::Closed => {
                if let Some(connection) = self.flows.close(input, wire.flow)
                    && self.options.judge
                {
                    self.monitor.handle_close(connection, at);
                }
            }
            What::Sighting(sighting) if self.options.judge => {
                let mut sighting = sighting.clone();
                sighting.first = sighting.first.plus_ms(self.shift_ms);
                sighting.last = sighting.last.plus_ms(self.shift_ms);
                self.monitor.handle_indicator(&sighting, at);
            }
            What::Sighting(_) => {}
        }
        self.drain(at)
    }
}
