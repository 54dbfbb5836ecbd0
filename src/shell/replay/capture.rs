//! A capture as a recording: its messages with their senders and the packets' time, its connections' ends, its indicators.
//!
//! The peer of a message is the address of its sender, the feed the place where it was received: one for each address and port
//! that receives MLLP, as one listener is one feed.

use super::reader::Faults;
use super::text::Piece;
use crate::capture::indicators::Weak;
use crate::capture::{Counts, Event, Options, Reader, Side, Sighting};
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead};
use std::net::{IpAddr, SocketAddr};

/// What a capture adds to a message, or has in place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The packet's time.
    pub at: Timestamp,
    /// Number of the connection within the capture.
    pub flow: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Its sender and where it was received.
    Message {
        sender: SocketAddr,
        receiver: SocketAddr,
    },
    Closed,
    Sighting(Sighting),
}

/// What was seen of one capture.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub counts: Counts,
    pub weak: Weak,
    pub sightings_refused: u64,
    /// Records that cannot be read.
    pub records_unreadable: u64,
}

/// One capture, being read.
pub(super) struct Capture {
    input: Box<dyn BufRead + Send>,
    reader: Reader,
    ends: BTreeMap<u64, [SocketAddr; 2]>,
    queue: VecDeque<Piece>,
    offset: u64,
    ended: bool,
}

impl Capture {
    pub fn new(input: Box<dyn BufRead + Send>, frame_bytes_max: usize) -> Capture {
        let reader = Reader::new(Options { frame_bytes_max, data: false });
        Capture { input, reader, ends: BTreeMap::new(), queue: VecDeque::new(), offset: 0, ended: false }
    }

    pub fn watch(&mut self, hosts: &[IpAddr]) {
        self.reader.watch(hosts.iter().copied());
    }

    /// The next piece. A read error ends the capture: what was read is used, and `faults` tells of it.
    pub fn next_piece(&mut self, faults: &mut Faults) -> Option<Piece> {
        loop {
            if let Some(piece) = self.queue.pop_front() {
                return Some(piece);
            }
            if let Some(event) = self.reader.poll() {
                self.take(event);
                continue;
            }
            if self.ended {
                return None;
            }
            match self.input.fill_buf() {
                Ok([]) => self.end(faults),
                Ok(chunk) => {
                    let taken = chunk.len();
                    self.reader.push(chunk);
                    self.input.consume(taken);
                    self.offset += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    faults.broken = Some(super::reader::said(&error));
                    self.end(faults);
                }
            }
        }
    }

    fn end(&mut self, faults: &mut Faults) {
        self.ended = true;
        self.reader.finish();
        faults.cut = self.reader.counts().cut;
        faults.too_large = self.reader.counts().too_large;
        faults.noise = self.reader.counts().junk_bytes;
        if let Some(fault) = self.reader.fault() {
            faults.broken.get_or_insert(fault.to_string());
        }
    }

    fn take(&mut self, event: Event) {
        let (payload, at, flow, what) = match event {
            Event::Opened { flow, client, server, .. } => {
                self.ends.insert(flow, [client, server]);
                return;
            }
            Event::Frame { flow, at, from, payload, .. } => {
                let Some([client, server]) = self.ends.get(&flow).copied() else { return };
                let (sender, receiver) = if from == Side::Client { (client, server) } else { (server, client) };
                (payload, at, flow, What::Message { sender, receiver })
            }
            Event::Closed { flow, at, .. } => {
                self.ends.remove(&flow);
                (Vec::new(), at, flow, What::Closed)
            }
            Event::Sighting { at, sighting } => (Vec::new(), at, 0, What::Sighting(sighting)),
            // Counted.
            Event::Answer { .. } | Event::Gap { .. } | Event::Conflict { .. } | Event::Data { .. } => return,
        };
        let wire = Some(Box::new(Wire { at, flow, what }));
        self.queue.push_back(Piece { payload, arrived: None, offset: self.offset, line: 0, wire });
    }

    pub fn kind(&self) -> &'static str {
        self.reader.kind()
    }

    pub fn seen(&self) -> Seen {
        Seen {
            counts: self.reader.counts().clone(),
            weak: self.reader.tap().weak(),
            sightings_refused: self.reader.tap().sightings_refused(),
            records_unreadable: self.reader.records_unreadable().0,
        }
    }
}

impl Seen {
    /// What is to be said of a capture, one line each; counts of nothing are left out.
    pub fn lines(&self) -> Vec<String> {
        let c = &self.counts;
        let mut lines = vec![format!(
            "{} packets, {} TCP connections, {} of them with MLLP: {} messages, {} acknowledgements ({} accepted, {} errors, {} \
             rejected, {} other)",
            c.packets,
            c.flows,
            c.feeds,
            c.messages,
            c.accepted + c.errors + c.refused + c.other_answers,
            c.accepted,
            c.errors,
            c.refused,
            c.other_answers
        )];
        let counted = [
            (c.unanswered, "messages have no acknowledgement in the capture"),
            (c.unasked, "acknowledgements answer no message of the capture"),
            (c.gaps, "gaps in connections: packets that were not captured; reading went on at the next message"),
            (c.resync_bytes, "bytes between a gap and the next message were left out"),
            (c.short, "TCP segments are not whole: captured with a short snap length (use tcpdump -s 0)"),
            (c.conflicts, "repeated segments hold other bytes than the first ones: two senders in one connection?"),
            (c.astray, "segments belong to no window of their connection"),
            (c.early, "segments came before their turn and were put in order"),
            (c.repeated_bytes, "bytes were captured twice"),
            (c.midstream, "connections began before the capture"),
            (c.reused, "connections ended without a word: their ports were used again"),
            (c.tls, "connections are TLS: what they carry cannot be read here"),
            (c.evicted, "connections were given up to stay within memory"),
            (c.fragments_lost, "fragmented packets were never whole"),
            (c.unreadable + self.records_unreadable, "packets cannot be read"),
            (self.weak.nfs_ports, "packets to ports of NFS at other addresses (listed only: a port is no indicator)"),
            (self.weak.management_ports, "packets to TCP 516 to 520 of 202.114.4.119 (listed only)"),
            (self.weak.export_port, "packets to TCP 511 of 202.114.4.120 (listed only)"),
            (self.sightings_refused, "packets of further hosts with an indicator were only counted"),
        ];
        lines.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        if let Some(link) = c.link {
            lines.push(format!("{} packets of link layer {link}, which is not read here", c.unknown_link));
        }
        lines
    }
}
