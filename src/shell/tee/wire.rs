//! What relay and judge say to each other over the relay's socket.
//!
//! Whoever connects sends one line of JSON ([`Request`]) and gets one back ([`Hello`]). After `attach` the relay sends
//! [`Event`]s (a length and a fixed header each), and the judge sends what it has stored and which connections it does not want.
//!
//! One contract: every event carries the number of its connection, its way, and where in that way's bytes it stands, so that a
//! judge that is new, or was too slow, sees by itself what it has missed. Nothing here looks into the bytes.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Version of this language. A relay of another one is asked to drain, and a new one is started.
pub const PROTOCOL: u32 = 1;
/// Longest line of the greeting, bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Header of an event behind its length, bytes.
const HEADER_BYTES: usize = 52;
/// Largest event, bytes: one read of the relay, or a list of all live connections.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// What is wanted of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Say how you are.
    Status,
    /// I am the judge: send copies. The newest judge is the only one.
    Attach,
    /// Accept nothing more, serve what is open until it ends, then end.
    Drain,
}

/// How a relay is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// Version of the program.
    pub program: String,
    pub pid: u32,
    pub feed: String,
    /// Where it was told to listen, and where it does.
    pub listen: SocketAddr,
    pub address: SocketAddr,
    pub forward_to: String,
    pub connections_max: usize,
    pub draining: bool,
    pub stats: Stats,
}

/// Counters of a relay since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Open connections through it, and all since it began.
    pub connections: u64,
    pub connections_total: u64,
    /// Bytes passed on.
    pub bytes_to_receiver: u64,
    pub bytes_to_sender: u64,
    /// Connections that ended by a reset of either side.
    pub resets: u64,
    /// Senders whose connection was closed because the receiver could not be reached.
    pub unreachable: u64,
    /// Senders beyond `connections_max`.
    pub refused: u64,
    /// Accepts that failed (no descriptors).
    pub accept_errors: u64,
    /// Copies that no judge took in time.
    pub copies_dropped: u64,
    pub copies_dropped_bytes: u64,
    /// Copies in memory now, bytes.
    pub copies_held_bytes: u64,
    /// From bytes read to the same bytes handed to the other socket, microseconds.
    pub relay_p50_us: u64,
    pub relay_p99_us: u64,
    /// It accepts nothing more and ends with its last connection.
    pub draining: bool,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Way {
    ToReceiver = 0,
    ToSender = 1,
}

/// One thing that happened on a connection, in the relay's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts events of one relay; what is confirmed is not sent again.
    pub sequence: u64,
    pub connection: u64,
    /// Relay's time, microseconds since 1970, never backwards.
    pub at_us: i64,
    /// Who sent the bytes (`Bytes`), or who opened the connection.
    pub peer: SocketAddr,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Bytes were passed on; `offset` bytes of this way went before them. `hole`: some of those were dropped unsent.
    Bytes { way: Way, offset: u64, hole: bool, bytes: Box<[u8]> },
    /// Both ways are over, after so many bytes; by a reset or in order.
    End { to_receiver: u64, to_sender: u64, reset: bool },
    /// Connections that are open or of which something follows: all others are over.
    Live(Vec<u64>),
    /// Counters, once a second: also the relay's clock.
    Stats(Box<Stats>),
}

/// What the judge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Everything up to this event is stored (or is nothing that will be).
    Stored(u64),
    /// No further copies of this connection: its bytes cannot be understood.
    Mute(u64),
}

/// Length of a reply, bytes.
pub const REPLY_BYTES: usize = 9;

/// Why the other side's bytes are no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay speaks another language")]
pub struct Garbled;

impl Event {
    /// Appends it as sent.
    pub fn write(&self, out: &mut Vec<u8>) {
        let stats;
        let (kind, way, offset, payload): (u8, u8, u64, &[u8]) = match &self.what {
            What::Bytes { way, offset, hole, bytes } => (1, *way as u8 | u8::from(*hole) << 1, *offset, bytes),
            What::End { to_receiver, to_sender, reset } => {
                stats = to_sender.to_le_bytes().to_vec();
                (2, u8::from(*reset), *to_receiver, &stats)
            }
            What::Live(list) => {
                stats = list.iter().flat_map(|n| n.to_le_bytes()).collect();
                (3, 0, 0, &stats)
            }
            What::Stats(counters) => {
                stats = serde_json::to_vec(counters).unwrap_or_default();
                (4, 0, 0, &stats)
            }
        };
        out.extend_from_slice(&((HEADER_BYTES + payload.len()) as u32).to_le_bytes());
        out.extend_from_slice(&[kind, way]);
        for number in [self.sequence, self.connection, self.at_us as u64, offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let address = match self.peer.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        out.extend_from_slice(&address.octets());
        out.extend_from_slice(&self.peer.port().to_le_bytes());
        out.extend_from_slice(payload);
    }

    /// Takes one from the front of `bytes`: the event and its length, or `None` when more is needed.
    pub fn read(bytes: &[u8]) -> Result<Option<(Event, usize)>, Garbled> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(HEADER_BYTES..=EVENT_BYTES_MAX).contains(&length) {
            return Err(Garbled);
        }
        let Some(event) = rest.get(..length) else { return Ok(None) };
        let number = |at: usize| event[at..].first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
        let (kind, way, offset) = (event[0], event[1], number(26));
        let address = event[34..].first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets));
        let peer = SocketAddr::new(address.to_canonical(), u16::from_le_bytes([event[50], event[51]]));
        let payload = &event[HEADER_BYTES..];
        let numbers = || payload.chunks_exact(8).map(|b| b.first_chunk().map_or(0, |b| u64::from_le_bytes(*b)));
        let what = match (kind, way) {
            (1, 0..=3) => {
                let (to, hole) = (if way & 1 == 0 { Way::ToReceiver } else { Way::ToSender }, way & 2 != 0);
                What::Bytes { way: to, offset, hole, bytes: payload.into() }
            }
            (2, _) => What::End { to_receiver: offset, to_sender: numbers().next().ok_or(Garbled)?, reset: way == 1 },
            (3, _) => What::Live(numbers().collect()),
            (4, _) => What::Stats(serde_json::from_slice(payload).map_err(|_| Garbled)?),
            _ => return Err(Garbled),
        };
        let event = Event { sequence: number(2), connection: number(10), at_us: number(18) as i64, peer, what };
        Ok(Some((event, 4 + length)))
    }
}

impl Reply {
    pub fn bytes(self) -> [u8; REPLY_BYTES] {
        let (kind, number) = match self {
            Reply::Stored(sequence) => (1, sequence),
            Reply::Mute(connection) => (2, connection),
        };
        let mut out = [0; REPLY_BYTES];
        out[0] = kind;
        out[1..].copy_from_slice(&u64::to_le_bytes(number));
        out
    }
    pub fn read(bytes: [u8; REPLY_BYTES]) -> Option<Reply> {
        let number = bytes[1..].first_chunk().map(|b| u64::from_le_bytes(*b))?;
        match bytes[0] {
            1 => Some(Reply::Stored(number)),
            2 => Some(Reply::Mute(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { sequence: 7, connection: 3, at_us: 1_795_371_847_000_123, peer: "10.1.2.3:4711".parse().unwrap(), what }
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for what in [
            What::Bytes { way: Way::ToReceiver, offset: 9, hole: true, bytes: b"MSH|"[..].into() },
            What::Bytes { way: Way::ToSender, offset: u64::MAX, hole: false, bytes: Box::default() },
            What::End { to_receiver: 5, to_sender: 6, reset: true },
            What::Live(vec![1, 2, 900]),
            What::Stats(Box::new(Stats { copies_dropped: 4, ..Stats::default() })),
        ] {
            let event = event(what);
            let mut bytes = Vec::new();
            event.write(&mut bytes);
            let whole = bytes.len();
            for cut in 0..whole {
                assert_eq!(Event::read(&bytes[..cut]), Ok(None));
            }
            bytes.extend_from_slice(b"more");
            assert_eq!(Event::read(&bytes), Ok(Some((event, whole))));
        }
        for reply in [Reply::Stored(8), Reply::Mute(u64::MAX)] {
            assert_eq!(Reply::read(reply.bytes()), Some(reply));
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert_eq!(Event::read(&[0; 60]), Err(Garbled));
        assert_eq!(Event::read(&[0xFF; 60]), Err(Garbled));
        let mut bytes = Vec::new();
        event(What::Live(Vec::new())).write(&mut bytes);
        bytes[4] = 9;
        assert_eq!(Event::read(&bytes), Err(Garbled));
    }
}
