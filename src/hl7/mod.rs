//! HL7 v2 messages: a checked, borrowed view that loses nothing, and what stands on it.
//!
//! [`Message::read`] decodes the character set, finds the segments and says what it had to put up with; the fields are found
//! when they are asked for. The usual message (ASCII or UTF-8, one line per segment) is borrowed as it is: no copy, and no
//! allocation once [`Scratch`] has grown. Odd line ends, blank lines and text broken over lines are settled by where a segment
//! begins and ends, not by rewriting: a segment whose text went over several lines has the line ends in it.
//!
//! Limits: [`FIELDS_MAX`] fields of a segment, [`SEGMENTS_MAX`] segments; what is beyond stays in the text and is flagged. A
//! second MSH ends the message. Frames over 4 GiB are not read.

pub mod ack;
pub mod batch;
pub mod decode;
pub mod dialect;
pub mod escape;
mod field;
pub mod header;
mod lines;
pub mod mask;
pub mod place;
mod scan;
mod segment;
mod settle;
pub mod show;
pub mod time;
pub mod tree;
pub mod unit;
pub mod value;

pub use batch::{Batch, is_batch, split_batch};
pub use field::Field;
pub use header::{Header, MessageClass};
pub use segment::Segment;

use crate::observation::MessageFlags;

/// Fields read of one segment at most; more are kept in the text and flagged.
pub const FIELDS_MAX: usize = 512;
/// Segments indexed of one message at most.
pub const SEGMENTS_MAX: usize = 50_000;

/// The five delimiters (and the truncation character of v2.7, which is only skipped).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiters {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: u8,
    pub subcomponent: u8,
}

impl Default for Delimiters {
    fn default() -> Self {
        Delimiters { field: b'|', component: b'^', repetition: b'~', escape: b'\\', subcomponent: b'&' }
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("no MSH segment at the start")]
    NoHeader,
    #[error("empty")]
    Empty,
    #[error("longer than offsets reach")]
    TooLong,
}

impl Unreadable {
    /// The word for lists.
    pub const fn word(self) -> &'static str {
        match self {
            Unreadable::NoHeader => "no_header",
            Unreadable::Empty => "empty",
            Unreadable::TooLong => "too_long",
        }
    }
}

/// Memory that reading needs, kept from message to message.
#[derive(Debug, Default)]
pub struct Scratch {
    text: Vec<u8>,
    without_nul: Vec<u8>,
    segments: Vec<(u32, u32)>,
}

/// A checked view of one message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    text: &'a [u8],
    segments: &'a [(u32, u32)],
    delimiters: Delimiters,
    flags: MessageFlags,
    end: u32,
}

impl<'a> Message<'a> {
    /// Reads one frame's payload.
    pub fn read(frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Message<'a>, Unreadable> {
        let Scratch { text, without_nul, segments } = scratch;
        let mut flags = MessageFlags::default();
        // The plain message: printable ASCII and CR. Everything else takes the longer way.
        let plain = frame.starts_with(b"MSH") && frame.len() <= u32::MAX as usize && settle::is_plain(frame);
        let (text, header) = if plain {
            (frame, Header::read(frame).ok_or(Unreadable::NoHeader)?)
        } else {
            let text = settle::settle(frame, text, without_nul, &mut flags)?;
            (text, Header::read(text).ok_or(Unreadable::NoHeader)?)
        };
        if header.unusual {
            flags.set(MessageFlags::DELIMITERS);
        }
        if header.shift != 0 {
            flags.set(MessageFlags::MSH_SHIFTED);
        }
        let delimiters = header.delimiters();
        let end = lines::index(text, delimiters, plain, segments, &mut flags);
        Ok(Message { text, segments, delimiters, flags, end })
    }
    /// The decoded text (UTF-8; the frame itself where nothing had to change). Spans point into it.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }
    pub fn delimiters(&self) -> Delimiters {
        self.delimiters
    }
    /// What had to be put up with.
    pub fn flags(&self) -> MessageFlags {
        self.flags
    }
    /// What follows this message in the same frame: a second MSH and all after it, or what is beyond the bound. Never observed.
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.end as usize..]
    }
    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }
    /// Every segment in order, MSH first. A line that is no segment is part of the segment before it.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Segment<'a>> + Clone + use<'a> {
        let (text, delimiters) = (self.text, self.delimiters);
        self.segments.iter().map(move |&(start, end)| Segment { text: &text[start as usize..end as usize], start, delimiters })
    }
    /// The first segment of that name.
    pub fn first(&self, name: &[u8; 3]) -> Option<Segment<'a>> {
        self.segments().find(|segment| segment.is(name))
    }
    /// The MSH segment.
    pub fn header(&self) -> Segment<'a> {
        let (start, end) = self.segments[0];
        Segment { text: &self.text[start as usize..end as usize], start, delimiters: self.delimiters }
    }
    /// MSH-n with a left-out or inserted field taken into account ([`MessageFlags::MSH_SHIFTED`]).
    pub fn msh(&self, n: usize) -> Field<'a> {
        if !self.flags.has(MessageFlags::MSH_SHIFTED) {
            return self.header().field(n);
        }
        let place = Header::read(self.header().text).map_or(n, |header| header.place(n));
        self.header().field(place)
    }
}

#[cfg(test)]
mod tests;
