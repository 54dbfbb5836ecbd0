//! Captures: packets in, MLLP messages, their answers and network indicators out.
//!
//! ```text
//! bytes ─▶ file (pcap, pcapng) ─▶ packet (link, IP, TCP) ─▶ flows (one stream a direction) ─▶ mllp ─▶ Frame, Answer
//!                                    └▶ defrag                  └▶ telemetry frames ─▶ indicators ─▶ Sighting
//! ```
//! **Push, then drain.** [`Reader::push`] takes a capture's bytes as they come (a file, or what `tcpdump -w -` writes);
//! [`Tap::packet`] takes single packets. Then [`Reader::poll`] until `None`. [`Reader::finish`] says that nothing more comes.
//! The same bytes give the same events, however they were cut. Time is the packets' own.
//!
//! It never sends a byte, and nothing that stands in a packet makes it panic or grow: each part says its bound. What the
//! capture does not hold cannot be judged: gaps, cut packets and evictions are counted in [`Counts`] and told.
//!
//! Limits: TLS stays closed. Checksums are not looked at, and addresses of several VLANs are taken for one net.

use crate::mllp::{FRAME_BYTES_MAX, FrameFaults};
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

mod answers;
mod defrag;
mod file;
mod flows;
pub mod indicators;
mod mllp;
mod packet;
mod stream;
#[cfg(test)]
mod tests;

pub use answers::Answer;
pub use file::{RECORD_BYTES_MAX, is_capture};
pub use flows::{FLOWS_MAX, HELD_BYTES_MAX};
pub use indicators::{Indicator, Sighting};
pub use pcap_parser::Linktype;

/// Who speaks on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who has opened it: the sender of a feed.
    Client,
    Server,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides have said that they have no more.
    Finished,
    Reset,
    /// Another one began at the same ports.
    Reused,
    /// A bound was reached, and this one was quiet longest.
    Evicted,
    /// It goes on, the capture does not.
    CaptureOver,
}

/// What a capture shows next. Of a connection that carries no MLLP nothing is told but indicators (and its bytes, where
/// [`Options::data`] asks for them).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection turned out to carry MLLP. `begun`: its beginning was captured, so client and server are sure.
    Opened {
        flow: u64,
        at: Timestamp,
        client: SocketAddr,
        server: SocketAddr,
        begun: bool,
    },
    /// Bytes in order ([`Options::data`]).
    Data {
        flow: u64,
        at: Timestamp,
        from: Side,
        bytes: Vec<u8>,
    },
    /// A message, a query or an envelope.
    Frame {
        flow: u64,
        at: Timestamp,
        from: Side,
        payload: Vec<u8>,
        faults: FrameFaults,
    },
    /// An acknowledgement, as it went over the wire and as it is read.
    Answer {
        flow: u64,
        at: Timestamp,
        from: Side,
        payload: Vec<u8>,
        answer: Answer,
    },
    /// Bytes that the capture does not hold; the message they belong to is lost.
    Gap {
        flow: u64,
        at: Timestamp,
        from: Side,
        bytes: u64,
    },
    /// A repeated segment holds other bytes than the first one.
    Conflict {
        flow: u64,
        at: Timestamp,
        from: Side,
        bytes: u64,
    },
    Closed {
        flow: u64,
        at: Timestamp,
        how: End,
    },
    /// A host matches an indicator of the advisory.
    Sighting {
        at: Timestamp,
        sighting: Sighting,
    },
}

/// Where reading stopped before the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the capture breaks off at byte {offset}, {bytes} bytes into a record")]
    Cut { offset: u64, bytes: u64 },
    #[error("the capture is damaged at byte {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Largest message, bytes.
    pub frame_bytes_max: usize,
    /// Tell the bytes of every connection, too.
    pub data: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { frame_bytes_max: FRAME_BYTES_MAX, data: false }
    }
}

/// What was seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    pub packet_bytes: u64,
    /// Packets whose headers are cut or wrong.
    pub unreadable: u64,
    /// Packets of a link layer that is not known here.
    pub unknown_link: u64,
    /// The number of that link layer.
    pub link: Option<i32>,
    pub tcp: u64,
    pub udp: u64,
    /// TCP segments of which the capture did not keep all (snap length).
    pub short: u64,
    pub fragments: u64,
    /// Fragmented packets that were never whole, or whose fragments contradict each other.
    pub fragments_lost: u64,
    pub flows: u64,
    /// Connections whose beginning was not captured.
    pub midstream: u64,
    /// Connections at ports of one that had not ended.
    pub reused: u64,
    pub evicted: u64,
    /// Connections that are over and began as TLS: nothing in them can be read.
    pub tls: u64,
    /// Connections that carry MLLP.
    pub feeds: u64,
    pub messages: u64,
    /// Acknowledgements by MSA-1: AA or CA, AE or CE, AR or CR, anything else.
    pub accepted: u64,
    pub errors: u64,
    pub refused: u64,
    pub other_answers: u64,
    /// Acknowledgements of connections that are over which answer nothing that was captured.
    pub unasked: u64,
    /// Messages of connections that are over whose acknowledgement was not captured.
    pub unanswered: u64,
    /// The longest wait for an acknowledgement, ms.
    pub waited_ms_max: i64,
    /// Messages of which a part is missing.
    pub cut: u64,
    /// Messages over the size limit.
    pub too_large: u64,
    /// Bytes between frames.
    pub junk_bytes: u64,
    /// Bytes between a gap and the next message.
    pub resync_bytes: u64,
    pub gaps: u64,
    pub gap_bytes: u64,
    /// Segments that came before their turn.
    pub early: u64,
    /// Bytes that were captured again.
    pub repeated_bytes: u64,
    /// Repeated segments with other bytes than the first.
    pub conflicts: u64,
    /// Segments that belong to no window of their connection.
    pub astray: u64,
}

impl Counts {
    fn answer(&mut self, answer: &Answer) {
        let by_code = match &answer.code {
            b"AA" | b"CA" => &mut self.accepted,
            b"AE" | b"CE" => &mut self.errors,
            b"AR" | b"CR" => &mut self.refused,
            _ => &mut self.other_answers,
        };
        *by_code += 1;
        self.waited_ms_max = self.waited_ms_max.max(answer.waited_ms.unwrap_or(0));
    }
}

/// Packets in, events out.
#[derive(Debug)]
pub struct Tap {
    defrag: defrag::Defrag,
    flows: flows::Flows,
    watch: indicators::Watch,
    counts: Counts,
    events: VecDeque<Event>,
    now: Timestamp,
}

impl Tap {
    pub fn new(options: Options) -> Tap {
        Tap {
            defrag: defrag::Defrag::default(),
            flows: flows::Flows::new(options),
            watch: indicators::Watch::default(),
            counts: Counts::default(),
            events: VecDeque::new(),
            now: Timestamp::from_ms(0),
        }
    }

    /// Hosts that the site has declared quarantined: whatever they send is a sighting.
    pub fn watch(&mut self, hosts: impl IntoIterator<Item = IpAddr>) {
        self.watch.quarantined = hosts.into_iter().map(|host| host.to_canonical()).collect();
    }

    /// One packet as it was captured.
    pub fn packet(&mut self, link: Linktype, data: &[u8], at: Timestamp) {
        self.now = at;
        self.counts.packets += 1;
        self.counts.packet_bytes += data.len() as u64;
        let seen = match packet::read(link, data) {
            Ok(seen) => seen,
            Err(packet::Blind::OtherProtocol) => return,
            Err(packet::Blind::Unreadable) => {
                self.counts.unreadable += 1;
                return;
            }
            Err(packet::Blind::Link) => {
                self.counts.unknown_link += 1;
                self.counts.link = Some(link.0);
                return;
            }
        };
        let whole;
        let body = match seen.body {
            packet::Body::Fragment(fragment) => {
                self.counts.fragments += 1;
                let payload = self.defrag.take(seen.from, seen.to, &fragment, at);
                self.counts.fragments_lost = self.defrag.lost;
                match payload {
                    Some(payload) => {
                        whole = payload;
                        packet::whole(fragment.protocol, &whole)
                    }
                    // Each piece is a packet to or from its addresses; the ports are known once it is whole.
                    None => packet::Body::Other,
                }
            }
            body => body,
        };
        let (ports, tcp) = match &body {
            packet::Body::Tcp(segment) => (Some(segment.ports), true),
            packet::Body::Udp(ports) => (Some(*ports), false),
            _ => (None, false),
        };
        for sighting in self.watch.packet(seen.from, seen.to, ports, tcp, at).into_iter().flatten() {
            self.events.push_back(Event::Sighting { at, sighting });
        }
        self.counts.udp += u64::from(ports.is_some() && !tcp);
        let packet::Body::Tcp(segment) = body else { return };
        self.counts.tcp += 1;
        self.counts.short += u64::from(segment.missing > 0);
        let from = SocketAddr::new(seen.from, segment.ports[0]);
        let to = SocketAddr::new(seen.to, segment.ports[1]);
        let (counts, events) = (&mut self.counts, &mut self.events);
        self.flows.segment(from, to, &segment, at, counts, events);
        self.telemetry(at);
    }

    fn telemetry(&mut self, at: Timestamp) {
        for found in self.flows.take_seen() {
            self.telemetry_of(&found, at);
        }
    }

    fn telemetry_of(&mut self, found: &flows::FramesSeen, at: Timestamp) {
        let (host, other) = (found.from.ip(), found.to.ip());
        let address = indicators::block_address(other);
        let port = found.to.port();
        for (indicator, count) in [(Indicator::Frame, found.frames.frames), (Indicator::Identity, found.frames.identities)] {
            if count > 0
                && let Some(sighting) = self.watch.note(indicator, host, address, port, count, at)
            {
                self.events.push_back(Event::Sighting { at, sighting });
            }
        }
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Nothing more comes: what is held is handed out.
    pub fn finish(&mut self) {
        let at = self.now;
        self.flows.finish(at, &mut self.counts, &mut self.events);
        self.telemetry(at);
        self.counts.fragments_lost = self.defrag.lost + self.defrag.waiting();
        self.events.extend(self.watch.finish().into_iter().map(|sighting| Event::Sighting { at, sighting }));
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }
    /// What is said by ports alone.
    pub fn weak(&self) -> indicators::Weak {
        self.watch.weak
    }
    /// Sightings of hosts beyond [`indicators::HOSTS_MAX`].
    pub fn sightings_refused(&self) -> u64 {
        self.watch.refused
    }
    /// Connections remembered now, and the memory that they hold, bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.flows.len(), self.flows.held_bytes())
    }
}

/// A capture's bytes in, events out.
#[derive(Debug)]
pub struct Reader {
    file: file::File,
    tap: Tap,
}

impl Reader {
    pub fn new(options: Options) -> Reader {
        Reader { file: file::File::new(), tap: Tap::new(options) }
    }

    /// As [`Tap::watch`].
    pub fn watch(&mut self, hosts: impl IntoIterator<Item = IpAddr>) {
        self.tap.watch(hosts);
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.file.push(bytes);
        while let Some(packet) = self.file.next_packet() {
            self.tap.packet(packet.link, packet.data, packet.at);
        }
    }

    /// The next event.
    pub fn poll(&mut self) -> Option<Event> {
        self.tap.poll()
    }

    /// Nothing more comes: what is held is handed out.
    pub fn finish(&mut self) {
        self.file.finish();
        self.tap.finish();
    }

    /// Where reading stopped before the end; everything before it was used.
    pub fn fault(&self) -> Option<&Fault> {
        self.file.fault.as_ref()
    }
    /// `pcap` or `pcapng`.
    pub fn kind(&self) -> &'static str {
        self.file.kind()
    }
    /// Records that could not be read, and blocks of other kinds that were passed over.
    pub fn records_unreadable(&self) -> (u64, u64) {
        (self.file.unreadable, self.file.blocks_skipped)
    }
    pub fn tap(&self) -> &Tap {
        &self.tap
    }
    /// What was seen so far.
    pub fn counts(&self) -> &Counts {
        self.tap.counts()
    }
}
