//! Several recordings as one, ordered by time where times exist.
//!
//! A recording is opened when its first message is due, so that a thousand small files need no thousand open ones. Equal times
//! keep the order in which the recordings were named; a recording without any time comes first.

use super::capture::Seen;
use super::input::{Input, Progress};
use super::reader::{Faults, Reader};
use super::text::Piece;
use super::when::RecordedClock;
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A message with its recording and time.
#[derive(Debug)]
pub struct Due {
    pub input: usize,
    pub at: Option<Timestamp>,
    pub piece: Piece,
}

/// What became of one recording.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub name: String,
    pub description: String,
    pub faults: Faults,
    /// Of a capture.
    pub seen: Option<Box<Seen>>,
}

struct Open {
    reader: Reader,
    clock: RecordedClock,
    head: Option<(Option<Timestamp>, Piece)>,
}

/// All recordings.
pub struct Merged<'a> {
    inputs: &'a [Input],
    zone: jiff::tz::TimeZone,
    bytes_max: usize,
    progress: Progress,
    /// Hosts that should not be heard.
    watched: Vec<std::net::IpAddr>,
    open: Vec<Option<Open>>,
    queue: BinaryHeap<Reverse<(Option<Timestamp>, usize)>>,
    /// Recordings that are read to their end, or could not be opened.
    pub outcomes: Vec<Option<Outcome>>,
}

impl<'a> Merged<'a> {
    pub fn new(
        inputs: &'a [Input],
        zone: jiff::tz::TimeZone,
        bytes_max: usize,
        progress: Progress,
        watched: Vec<std::net::IpAddr>,
    ) -> Merged<'a> {
        let mut merged = Merged {
            inputs,
            zone,
            bytes_max,
            progress,
            watched,
            open: inputs.iter().map(|_| None).collect(),
            queue: BinaryHeap::new(),
            outcomes: vec![None; inputs.len()],
        };
        for at in 0..inputs.len() {
            // A look at the first message only; with one recording it stays open.
            merged.start(at);
            if inputs.len() > 1
                && let Some(open) = merged.open[at].take()
                && let Some((time, _)) = open.head
            {
                merged.queue.push(Reverse((time, at)));
            } else if let Some(open) = &merged.open[at]
                && let Some((time, _)) = &open.head
            {
                merged.queue.push(Reverse((*time, at)));
            }
        }
        merged.progress.store(0, std::sync::atomic::Ordering::Relaxed);
        merged
    }

    /// Opens a recording and reads its first message; what has none is done.
    fn start(&mut self, at: usize) {
        match Reader::open(&self.inputs[at], self.bytes_max, self.progress.clone()) {
            Ok(mut reader) => {
                reader.watch(&self.watched);
                let mut open = Open { reader, clock: RecordedClock::new(self.zone.clone()), head: None };
                open.advance();
                if open.head.is_none() {
                    self.outcomes[at] = Some(open.outcome());
                }
                self.open[at] = Some(open);
            }
            Err(error) => {
                let faults = Faults { broken: Some(error.to_string()), ..Faults::default() };
                self.outcomes[at] = Some(Outcome {
                    name: self.inputs[at].name.clone(),
                    description: "cannot be read".into(),
                    faults,
                    seen: None,
                });
            }
        }
    }

    /// The next message in time.
    pub fn next_due(&mut self) -> Option<Due> {
        let Reverse((at, input)) = self.queue.pop()?;
        if self.open[input].is_none() {
            self.start(input);
        }
        let open = self.open[input].as_mut()?;
        let (_, piece) = open.head.take()?;
        open.advance();
        match &open.head {
            Some((time, _)) => self.queue.push(Reverse((*time, input))),
            None => {
                self.outcomes[input] = Some(open.outcome());
                self.open[input] = None;
            }
        }
        Some(Due { input, at, piece })
    }
}

impl Open {
    fn advance(&mut self) {
        self.head = self.reader.next_piece().map(|piece| (self.clock.of(&piece), piece));
    }
    fn outcome(&self) -> Outcome {
        Outcome {
            name: self.reader.name().to_owned(),
            description: self.reader.description(),
            faults: self.reader.faults.clone(),
            seen: self.reader.seen.clone(),
        }
    }
}
