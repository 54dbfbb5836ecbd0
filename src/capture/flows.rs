//! TCP connections: which segment belongs where, what they carry, when they end.
//!
//! A connection is its two addresses and ports; tags of a VLAN are no part of it, so that a packet seen on two of them counts
//! once. A SYN with another number at the same ports is a new connection. What comes after the end and repeats what was there
//! is dropped; what goes on is a connection whose beginning was not seen.
//!
//! Limits: [`FLOWS_MAX`] connections and [`HELD_BYTES_MAX`] of memory for all of them; at either bound the one that was quiet
//! longest is closed and counted.

use super::answers::{Answers, Word};
use super::indicators::{FrameWatch, Frames};
use super::mllp::Feed;
use super::packet::Segment;
use super::stream::{Out, Stream};
use super::{Counts, End, Event, Options, Side};
use crate::mllp;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Connections remembered at most.
pub const FLOWS_MAX: usize = 65_536;
/// Memory of all connections at most, bytes.
pub const HELD_BYTES_MAX: usize = 256 << 20;

const NONE: u32 = u32::MAX;

type Key = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Flow {
    id: u64,
    key: Key,
    /// Client and server, as far as the packets tell.
    ends: [SocketAddr; 2],
    /// What was said told them to be the other way round.
    flipped: bool,
    streams: [Stream; 2],
    feeds: [Feed; 2],
    frames: [FrameWatch; 2],
    answers: Answers,
    /// It was told as one that carries MLLP.
    opened: bool,
    ended: bool,
    /// Its beginning was captured.
    begun: bool,
    held: usize,
    /// Neighbours in the order of use.
    older: u32,
    newer: u32,
}

#[derive(Debug)]
pub(super) struct Flows {
    slots: Vec<Flow>,
    /// Places in `slots` by key.
    index: BTreeMap<Key, u32>,
    oldest: u32,
    newest: u32,
    held: usize,
    next_id: u64,
    /// The connection of the last segment: the next one is mostly its own.
    last: Option<(Key, u32)>,
    options: Options,
    /// Telemetry frames that were completed since they were last taken.
    seen: Vec<FramesSeen>,
}

/// What a segment brought, in order.
enum Item {
    Wire(mllp::Event),
    Data(Vec<u8>),
    Gap(u64),
}

struct Deliver<'a> {
    feed: &'a mut Feed,
    frames: &'a mut FrameWatch,
    found: &'a mut Frames,
    items: &'a mut Vec<Item>,
    begun: bool,
    options: Options,
}

impl Deliver<'_> {
    fn wire(&mut self, act: impl FnOnce(&mut Feed, &mut Vec<mllp::Event>)) {
        let mut events = Vec::new();
        act(self.feed, &mut events);
        self.items.extend(events.into_iter().map(Item::Wire));
    }
}

impl Out for Deliver<'_> {
    fn data(&mut self, bytes: &[u8]) {
        if self.options.data {
            self.items.push(Item::Data(bytes.to_vec()));
        }
        let found = self.frames.take(bytes);
        self.found.frames += found.frames;
        self.found.identities += found.identities;
        let (begun, frame_bytes_max) = (self.begun, self.options.frame_bytes_max);
        self.wire(|feed, events| feed.take(bytes, begun, frame_bytes_max, events));
    }
    fn gap(&mut self, bytes: u64) {
        self.frames.lost();
        self.wire(|feed, events| feed.lost(events));
        self.items.push(Item::Gap(bytes));
    }
}

/// Telemetry frames of one sender.
#[derive(Debug)]
pub(super) struct FramesSeen {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub frames: Frames,
}

impl Flows {
    pub fn new(options: Options) -> Flows {
        Flows {
            slots: Vec::new(),
            index: BTreeMap::new(),
            oldest: NONE,
            newest: NONE,
            held: 0,
            next_id: 1,
            last: None,
            options,
            seen: Vec::new(),
        }
    }

    /// Telemetry frames since the last call.
    pub fn take_seen(&mut self) -> Vec<FramesSeen> {
        std::mem::take(&mut self.seen)
    }

    /// Connections remembered now.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Memory that they hold, bytes.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    pub fn segment(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        segment: &Segment<'_>,
        at: Timestamp,
        counts: &mut Counts,
        events: &mut VecDeque<Event>,
    ) {
        let key = if from <= to { (from, to) } else { (to, from) };
        let known = match self.last {
            Some((last, place)) if last == key => Some(place),
            _ => self.index.get(&key).copied(),
        };
        let mut place = match known {
            Some(place) => place,
            // The end of something that was never seen.
            None if segment.data.is_empty() && segment.missing == 0 && !segment.syn => return,
            None => self.open(key, from, to, segment, counts, events, at),
        };
        if known.is_some() && self.is_new(place, from, segment) {
            counts.reused += u64::from(!self.slots[place as usize].ended);
            self.close(place, End::Reused, at, counts, events);
            self.remove(place);
            place = self.open(key, from, to, segment, counts, events, at);
        }
        self.last = Some((key, place));
        self.touch(place);
        let flow = &mut self.slots[place as usize];
        let side = usize::from(from != flow.ends[0]);
        let opposite = 1 - side;
        if segment.syn {
            let first = segment.sequence.wrapping_add(1);
            if flow.streams[side].next().is_none() {
                flow.streams[side].begin(first);
            }
        }
        if let Some(acknowledged) = segment.acknowledged {
            flow.streams[opposite].acknowledge(acknowledged);
        }
        if flow.ended && segment.data.is_empty() {
            return;
        }
        let mut found = Frames::default();
        let mut items = Vec::new();
        let taken = {
            let stream = &mut flow.streams[side];
            let mut out = Deliver {
                feed: &mut flow.feeds[side],
                frames: &mut flow.frames[side],
                found: &mut found,
                items: &mut items,
                begun: stream.begun,
                options: self.options,
            };
            let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
            stream.look(at, &mut out);
            let taken = stream.segment(sequence, segment.data, segment.missing, at, &mut out);
            if segment.fin {
                stream.end(sequence.wrapping_add(segment.data.len() as u32).wrapping_add(segment.missing));
            }
            taken
        };
        counts.repeated_bytes += taken.repeated;
        counts.early += u64::from(taken.early);
        counts.astray += u64::from(taken.astray);
        self.told(place, side, items, found, at, counts, events);
        if taken.differing > 0 {
            counts.conflicts += 1;
            let flow = &self.slots[place as usize];
            if flow.opened {
                events.push_back(Event::Conflict { flow: flow.id, at, from: flow.side(side), bytes: taken.differing });
            }
        }
        // The receiver's side of a hole may be over by now, too.
        if !self.slots[place as usize].ended {
            self.look(place, opposite, at, counts, events);
        }
        let flow = &self.slots[place as usize];
        let over = flow.streams.iter().all(Stream::is_finished);
        // A reset counts where its number fits; a stray or forged one does not end what we see.
        let reset = segment.rst && fits(&flow.streams[side], segment.sequence);
        if !flow.ended && (over || reset) {
            self.close(place, if over { End::Finished } else { End::Reset }, at, counts, events);
        }
        self.weigh(place);
        while self.held > HELD_BYTES_MAX && self.slots.len() > 1 {
            self.evict(at, counts, events);
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self, at: Timestamp, counts: &mut Counts, events: &mut VecDeque<Event>) {
        let mut open: Vec<(u64, u32)> = self.slots.iter().zip(0..).map(|(flow, place)| (flow.id, place)).collect();
        open.sort_unstable();
        for (_, place) in open {
            if !self.slots[place as usize].ended {
                self.close(place, End::CaptureOver, at, counts, events);
            }
        }
        let seen = std::mem::take(&mut self.seen);
        *self = Flows { next_id: self.next_id, seen, ..Flows::new(self.options) };
    }

    /// Whether a segment begins another connection at known ports.
    fn is_new(&self, place: u32, from: SocketAddr, segment: &Segment<'_>) -> bool {
        let flow = &self.slots[place as usize];
        let stream = &flow.streams[usize::from(from != flow.ends[0])];
        let Some(next) = stream.next() else { return flow.ended && segment.syn };
        if segment.syn {
            // The same SYN again stands at or before what was handed out.
            let first = segment.sequence.wrapping_add(1);
            let back = next.wrapping_sub(first);
            return flow.ended || u64::from(back) > stream.delivered;
        }
        // After the end: what repeats is late, what goes on is a connection of which the beginning is missing.
        let end = segment.sequence.wrapping_add(segment.data.len() as u32);
        flow.ended && !segment.data.is_empty() && (1..1 << 31).contains(&end.wrapping_sub(next))
    }

    #[allow(clippy::too_many_arguments)]
    fn open(
        &mut self,
        key: Key,
        from: SocketAddr,
        to: SocketAddr,
        segment: &Segment<'_>,
        counts: &mut Counts,
        events: &mut VecDeque<Event>,
        at: Timestamp,
    ) -> u32 {
        if self.slots.len() >= FLOWS_MAX {
            self.evict(at, counts, events);
        }
        counts.flows += 1;
        counts.midstream += u64::from(!segment.syn);
        // Who answers a SYN is the server.
        let answers = segment.syn && segment.acknowledged.is_some();
        let place = self.slots.len() as u32;
        self.slots.push(Flow {
            id: self.next_id,
            key,
            ends: if answers { [to, from] } else { [from, to] },
            flipped: false,
            streams: Default::default(),
            feeds: [Feed::new(), Feed::new()],
            frames: Default::default(),
            answers: Answers::default(),
            opened: false,
            ended: false,
            begun: segment.syn,
            held: 0,
            older: NONE,
            newer: NONE,
        });
        self.next_id += 1;
        self.index.insert(key, place);
        self.link(place);
        self.weigh(place);
        place
    }

    #[allow(clippy::too_many_arguments)]
    fn told(
        &mut self,
        place: u32,
        side: usize,
        items: Vec<Item>,
        found: Frames,
        at: Timestamp,
        counts: &mut Counts,
        events: &mut VecDeque<Event>,
    ) {
        let flow = &mut self.slots[place as usize];
        if found != Frames::default() {
            self.seen.push(FramesSeen { from: flow.ends[side], to: flow.ends[1 - side], frames: found });
        }
        for item in items {
            let from = flow.side(side);
            match item {
                Item::Data(bytes) => events.push_back(Event::Data { flow: flow.id, at, from, bytes }),
                Item::Gap(bytes) => {
                    counts.gaps += 1;
                    counts.gap_bytes += bytes;
                    if flow.opened {
                        events.push_back(Event::Gap { flow: flow.id, at, from, bytes });
                    }
                }
                Item::Wire(mllp::Event::Frame { payload, faults }) => {
                    let word = flow.answers.take(side, &payload, at);
                    if !flow.opened {
                        flow.opened = true;
                        counts.feeds += 1;
                        // Without a SYN, who tells is the client and who answers the server.
                        if !flow.begun {
                            flow.flipped = match word {
                                Word::Request => side == 1,
                                Word::Answer(_) => side == 0,
                            };
                        }
                        let [client, server] = if flow.flipped { [flow.ends[1], flow.ends[0]] } else { flow.ends };
                        events.push_back(Event::Opened { flow: flow.id, at, client, server, begun: flow.begun });
                    }
                    let from = flow.side(side);
                    match word {
                        Word::Request => {
                            counts.messages += 1;
                            events.push_back(Event::Frame { flow: flow.id, at, from, payload, faults });
                        }
                        Word::Answer(answer) => {
                            counts.answer(&answer);
                            events.push_back(Event::Answer { flow: flow.id, at, from, payload, answer });
                        }
                    }
                }
                Item::Wire(mllp::Event::Truncated { .. }) => counts.cut += 1,
                Item::Wire(mllp::Event::TooLarge { .. }) => counts.too_large += 1,
                Item::Wire(mllp::Event::Junk { skipped, .. }) => counts.junk_bytes += skipped as u64,
                Item::Wire(mllp::Event::Empty | mllp::Event::Commit(_) | mllp::Event::Foreign(_)) => {}
            }
        }
    }

    /// Looks whether a hole of one side is over.
    fn look(&mut self, place: u32, side: usize, at: Timestamp, counts: &mut Counts, events: &mut VecDeque<Event>) {
        let options = self.options;
        let (mut items, mut found) = (Vec::new(), Frames::default());
        let flow = &mut self.slots[place as usize];
        let stream = &mut flow.streams[side];
        let begun = stream.begun;
        let (feed, frames) = (&mut flow.feeds[side], &mut flow.frames[side]);
        stream.look(at, &mut Deliver { feed, frames, found: &mut found, items: &mut items, begun, options });
        self.told(place, side, items, found, at, counts, events);
    }

    fn close(&mut self, place: u32, how: End, at: Timestamp, counts: &mut Counts, events: &mut VecDeque<Event>) {
        let options = self.options;
        for side in 0..2 {
            let flow = &mut self.slots[place as usize];
            if flow.ended {
                return;
            }
            let mut items = Vec::new();
            let mut found = Frames::default();
            let stream = &mut flow.streams[side];
            let begun = stream.begun;
            let (feed, frames) = (&mut flow.feeds[side], &mut flow.frames[side]);
            let mut out = Deliver { feed, frames, found: &mut found, items: &mut items, begun, options };
            stream.flush(&mut out);
            out.wire(|feed, events| feed.lost(events));
            self.told(place, side, items, found, at, counts, events);
        }
        let flow = &mut self.slots[place as usize];
        flow.ended = true;
        let (unanswered, unasked) = flow.answers.over();
        counts.unanswered += unanswered;
        counts.unasked += unasked;
        counts.tls += u64::from(flow.feeds.iter().any(|feed| feed.tls));
        counts.resync_bytes += flow.feeds.iter().map(|feed| feed.skipped).sum::<u64>();
        flow.answers = Answers::default();
        flow.feeds = [Feed::new(), Feed::new()];
        for stream in &mut flow.streams {
            stream.forget();
        }
        if flow.opened {
            events.push_back(Event::Closed { flow: flow.id, at, how });
        }
        self.weigh(place);
    }

    fn evict(&mut self, at: Timestamp, counts: &mut Counts, events: &mut VecDeque<Event>) {
        let place = self.oldest;
        if place == NONE {
            return;
        }
        if !self.slots[place as usize].ended {
            counts.evicted += 1;
            self.close(place, End::Evicted, at, counts, events);
        }
        self.remove(place);
    }

    /// Brings the sum of memory up to date with one connection.
    fn weigh(&mut self, place: u32) {
        let flow = &mut self.slots[place as usize];
        let held = size_of::<Flow>()
            + flow.streams.iter().map(Stream::held_bytes).sum::<usize>()
            + flow.feeds.iter().map(Feed::held_bytes).sum::<usize>()
            + flow.answers.held_bytes();
        self.held = self.held - flow.held + held;
        flow.held = held;
    }

    fn remove(&mut self, place: u32) {
        self.unlink(place);
        self.last = None;
        let flow = self.slots.swap_remove(place as usize);
        self.held -= flow.held;
        self.index.remove(&flow.key);
        // The last one stands in its place now.
        let moved = self.slots.len() as u32;
        if moved != place {
            let (key, older, newer) = {
                let flow = &self.slots[place as usize];
                (flow.key, flow.older, flow.newer)
            };
            self.index.insert(key, place);
            match older {
                NONE => self.oldest = place,
                older => self.slots[older as usize].newer = place,
            }
            match newer {
                NONE => self.newest = place,
                newer => self.slots[newer as usize].older = place,
            }
        }
    }

    fn touch(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn link(&mut self, place: u32) {
        let before = self.newest;
        let flow = &mut self.slots[place as usize];
        (flow.older, flow.newer) = (before, NONE);
        self.newest = place;
        match before {
            NONE => self.oldest = place,
            before => self.slots[before as usize].newer = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let (older, newer) = (self.slots[place as usize].older, self.slots[place as usize].newer);
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
    }
}

/// Whether a number stands at, or a window behind, what is expected next.
fn fits(stream: &Stream, sequence: u32) -> bool {
    stream.next().is_none_or(|next| sequence.wrapping_sub(next) < 1 << 20 || next.wrapping_sub(sequence) <= 1)
}

impl Flow {
    fn side(&self, end: usize) -> Side {
        if (end == 1) == self.flipped { Side::Client } else { Side::Server }
    }
}
