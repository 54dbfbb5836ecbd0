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
pub mod charset;
pub mod decode;
pub mod dialect;
pub mod escape;
pub mod header;
pub mod place;
pub mod show;
pub mod time;
pub mod tree;
pub mod unit;
pub mod value;

pub use batch::{Batch, is_batch, split_batch};
pub use header::{Header, MessageClass};

use crate::observation::MessageFlags;
use charset::Declared;
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
    #[error("longer than offsets reach")]
    TooLong,
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
        let plain = frame.starts_with(b"MSH") && frame.len() <= u32::MAX as usize && is_plain(frame);
        let (text, header) = if plain {
            (frame, Header::read(frame).ok_or(Unreadable::NoHeader)?)
        } else {
            let text = settle(frame, text, without_nul, &mut flags)?;
            (text, Header::read(text).ok_or(Unreadable::NoHeader)?)
        };
        if header.unusual {
            flags.set(MessageFlags::DELIMITERS);
        }
        if header.shift != 0 {
            flags.set(MessageFlags::MSH_SHIFTED);
        }
        let delimiters = header.delimiters();
        let end = index(text, delimiters, plain, segments, &mut flags);
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

/// Whether every byte is printable ASCII or CR.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.chunks(1024).all(|chunk| {
        let odd = chunk.iter().fold(0u8, |odd, &byte| odd | u8::from(byte.wrapping_sub(0x20) > 0x5E && byte != b'\r'));
        odd == 0
    })
}

/// Brings a payload that is not plain to UTF-8 that begins with MSH and holds no NUL.
fn settle<'a>(
    frame: &'a [u8],
    decoded: &'a mut Vec<u8>,
    without_nul: &'a mut Vec<u8>,
    flags: &mut MessageFlags,
) -> Result<&'a [u8], Unreadable> {
    if let Some((encoding, mark)) = charset::utf16(frame) {
        flags.set(MessageFlags::UTF16);
        if mark > 0 {
            flags.set(MessageFlags::BOM);
        }
        let mut units = &frame[mark..];
        if !units.len().is_multiple_of(2) {
            // The NUL half of the last character was taken for padding.
            without_nul.clear();
            without_nul.extend_from_slice(units);
            without_nul.push(0);
            units = without_nul;
        }
        let mut len = charset::decode(encoding, units, decoded);
        if len.is_none() {
            flags.set(MessageFlags::CHARSET_MISMATCH);
            let text = encoding.decode_without_bom_handling(units).0;
            decoded.clear();
            decoded.extend_from_slice(text.as_bytes());
            len = Some(text.len());
        }
        decoded.truncate(len.unwrap_or(0));
        if decoded.contains(&0) {
            flags.set(MessageFlags::NUL_BYTES);
            decoded.retain(|&byte| byte != 0);
        }
        return checked(trim_front(decoded, flags));
    }
    let mut bytes = trim_front(frame, flags);
    let trimmed = trim_nul(bytes);
    if trimmed.len() < bytes.len() {
        flags.set(MessageFlags::NUL_BYTES);
    }
    bytes = trimmed;
    if memchr::memchr(0, bytes).is_some() {
        flags.set(MessageFlags::NUL_BYTES);
        without_nul.clear();
        without_nul.extend(bytes.iter().filter(|&&byte| byte != 0));
        bytes = trim_front(without_nul, flags);
    }
    bytes = checked(bytes)?;
    let header = Header::read(bytes).ok_or(Unreadable::NoHeader)?;
    let name = header.field(18).split(|&byte| byte == header.delimiters().repetition).next().unwrap_or_default();
    let declared = charset::declared(name);
    if bytes.is_ascii() {
        if declared == Declared::Unknown {
            flags.set(MessageFlags::CHARSET_UNKNOWN);
        }
        if declared != Declared::Other(encoding_rs::ISO_2022_JP) || memchr::memchr(0x1B, bytes).is_none() {
            return Ok(bytes);
        }
    }
    let utf8 = std::str::from_utf8(bytes).is_ok();
    match declared {
        Declared::Utf8 if utf8 => return Ok(bytes),
        Declared::Other(encoding) => {
            // Two bytes that are one character of UTF-8 are hardly ever meant as two letters of Western Europe (`°C` under
            // a header that says 8859/1).
            let western = [encoding_rs::WINDOWS_1252, encoding_rs::WINDOWS_1254, encoding_rs::ISO_8859_15];
            if !(utf8 && western.contains(&encoding))
                && let Some(len) = charset::decode(encoding, bytes, decoded)
            {
                return checked(&decoded[..len]);
            }
            flags.set(MessageFlags::CHARSET_MISMATCH);
        }
        Declared::Ascii | Declared::Utf8 | Declared::Utf16 => flags.set(MessageFlags::CHARSET_MISMATCH),
        Declared::Nothing | Declared::Unknown => flags.set(MessageFlags::CHARSET_UNKNOWN),
    }
    if utf8 {
        return Ok(bytes);
    }
    // Every byte means something in windows-1252.
    let len = charset::decode(encoding_rs::WINDOWS_1252, bytes, decoded).ok_or(Unreadable::NoHeader)?;
    checked(&decoded[..len])
}

fn checked(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    match bytes {
        [] => Err(Unreadable::Empty),
        [b'M', b'S', b'H', ..] if u32::try_from(bytes.len()).is_ok() => Ok(bytes),
        [b'M', b'S', b'H', ..] => Err(Unreadable::TooLong),
        _ => Err(Unreadable::NoHeader),
    }
}

/// Takes away what stands before the header: a byte order mark, blanks, line ends, NULs, a start of block.
fn trim_front<'a>(mut bytes: &'a [u8], flags: &mut MessageFlags) -> &'a [u8] {
    loop {
        bytes = match bytes {
            [0xEF, 0xBB, 0xBF, rest @ ..] => {
                flags.set(MessageFlags::BOM);
                rest
            }
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => {
                flags.set(MessageFlags::BLANK_LINE);
                rest
            }
            [0, rest @ ..] => {
                flags.set(MessageFlags::NUL_BYTES);
                rest
            }
            [crate::mllp::VT, rest @ ..] => rest,
            _ => return bytes,
        }
    }
}

fn trim_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..len]
}

/// What a line is.
enum Line {
    Segment,
    Misnamed,
    Text,
}

/// Says whether a line (its leading blanks taken off) is a segment. Text broken over lines begins like a sentence, not like
/// `OBX|`, `obx|`, `OB|`, `PV12|` or a bare `PV1`.
fn classify(line: &[u8], field: u8) -> Line {
    let len = line.iter().take(5).position(|&byte| byte == field).unwrap_or(line.len());
    let name = &line[..len];
    let upper = |name: &[u8]| name[0].is_ascii_uppercase() && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    match len {
        3 if upper(name) => Line::Segment,
        3 if len < line.len() && name[0].is_ascii_alphabetic() && name.iter().all(u8::is_ascii_alphanumeric) => Line::Misnamed,
        2 | 4 if len < line.len() && upper(name) => Line::Misnamed,
        _ => Line::Text,
    }
}

/// Whether a line begins a message of its own.
fn is_header(line: &[u8]) -> bool {
    line.starts_with(b"MSH") && line.get(3).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// Finds the segments; returns where the message ends.
fn index(text: &[u8], delimiters: Delimiters, plain: bool, segments: &mut Vec<(u32, u32)>, flags: &mut MessageFlags) -> u32 {
    segments.clear();
    let mut line_end = b'\r';
    if !plain && memchr::memchr(b'\n', text).is_some() {
        if memchr::memchr(b'\r', text).is_none() {
            line_end = b'\n';
            flags.set(MessageFlags::LF_SEGMENTS);
        } else if memchr::memmem::find(text, b"\nMSH").is_some_and(|at| at > 0 && text[at - 1] != b'\r') {
            // Data by our reading, a second message by that of others.
            flags.set(MessageFlags::SECOND_MSH);
        }
    }
    let mut start = 0;
    while start < text.len() {
        let end = memchr::memchr(line_end, &text[start..]).map_or(text.len(), |len| start + len);
        let mut line = &text[start..end];
        let usual = line.len() > 3
            && line[3] == delimiters.field
            && line[0].is_ascii_uppercase()
            && (line[1].is_ascii_uppercase() || line[1].is_ascii_digit())
            && (line[2].is_ascii_uppercase() || line[2].is_ascii_digit());
        if !usual {
            let last = end == text.len();
            if line.first() == Some(&b'\n') {
                flags.set(MessageFlags::CRLF_SEGMENTS);
                line = &line[1..];
            }
            let blanks = line.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t' | b'\n' | crate::mllp::VT)).count();
            let content = &line[blanks..];
            // A frame's own trailer, in a log that kept it.
            let trailer = *content == [crate::mllp::FS] && text[end..].trim_ascii().is_empty();
            if content.is_empty() || trailer {
                if (!last || blanks > 0) && !trailer {
                    flags.set(MessageFlags::BLANK_LINE);
                }
                start = end + 1;
                continue;
            }
            match classify(content, delimiters.field) {
                Line::Text if !is_header(content) => {
                    flags.set(MessageFlags::TEXT_CONTINUED);
                    if let Some(before) = segments.last_mut() {
                        before.1 = end as u32;
                    }
                    start = end + 1;
                    continue;
                }
                Line::Misnamed => flags.set(MessageFlags::MISNAMED_SEGMENT),
                Line::Segment | Line::Text => {}
            }
            if blanks > 0 {
                flags.set(MessageFlags::BLANK_LINE);
            }
            line = content;
        }
        if (is_header(line) && !segments.is_empty()) || segments.len() == SEGMENTS_MAX {
            let flag = if segments.len() == SEGMENTS_MAX { MessageFlags::TRUNCATED } else { MessageFlags::SECOND_MSH };
            flags.set(flag);
            return (end - line.len()) as u32;
        }
        if line.len() > FIELDS_MAX && memchr::memchr_iter(delimiters.field, line).nth(FIELDS_MAX).is_some() {
            flags.set(MessageFlags::TRUNCATED);
        }
        segments.push(((end - line.len()) as u32, end as u32));
        start = end + 1;
    }
    text.len() as u32
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
        &self.text[..self.name_len()].trim_ascii_end()
    }
    /// Whether it is called that.
    pub fn is(&self, name: &[u8; 3]) -> bool {
        self.text.starts_with(name) && self.name_len() == 3
    }
    fn name_len(&self) -> usize {
        if self.text.get(3) == Some(&self.delimiters.field) {
            return 3;
        }
        memchr::memchr(self.delimiters.field, self.text).unwrap_or(self.text.len())
    }
    /// Its bytes without the CR, and where they start in the message's text.
    pub fn text(&self) -> (&'a [u8], u32) {
        (self.text, self.start)
    }
    /// Where it stands in the message's text.
    pub fn span(&self) -> crate::observation::Span {
        crate::observation::Span { start: self.start, len: self.text.len() as u32 }
    }
    /// MSH, FHS and BHS count their separator as their first field.
    fn counts_separator(&self) -> bool {
        matches!(self.text.first_chunk::<3>(), Some(b"MSH" | b"FHS" | b"BHS"))
    }
    fn piece(&self, from: usize, to: usize) -> Field<'a> {
        Field { text: &self.text[from..to], start: self.start + from as u32, delimiters: self.delimiters }
    }
    /// Field `n` by HL7's counting (MSH-1 is the separator itself); empty where the segment is shorter. `field(0)` is empty.
    pub fn field(&self, n: usize) -> Field<'a> {
        let none = self.piece(self.text.len(), self.text.len());
        let at = self.name_len();
        let skip = n.wrapping_sub(1 + usize::from(self.counts_separator()));
        if skip == usize::MAX && n == 1 && at < self.text.len() {
            return self.piece(at, at + 1);
        }
        if n > FIELDS_MAX || skip > FIELDS_MAX || at == self.text.len() {
            return none;
        }
        let mut from = at + 1;
        for _ in 0..skip {
            match self.text[from..].iter().position(|&byte| byte == self.delimiters.field) {
                Some(len) => from += len + 1,
                None => return none,
            }
        }
        let len = self.text[from..].iter().position(|&byte| byte == self.delimiters.field);
        self.piece(from, len.map_or(self.text.len(), |len| from + len))
    }
    /// Fields `1..=N` in one pass: `fields::<18>()[4]` is OBX-5.
    pub fn fields<const N: usize>(&self) -> [Field<'a>; N] {
        let none = self.piece(self.text.len(), self.text.len());
        let mut fields = [none; N];
        let at = self.name_len();
        if at == self.text.len() {
            return fields;
        }
        let mut places = fields.iter_mut();
        if self.counts_separator()
            && let Some(place) = places.next()
        {
            *place = self.piece(at, at + 1);
        }
        let mut from = at + 1;
        for place in places {
            let mut end = from;
            while end < self.text.len() && self.text[end] != self.delimiters.field {
                end += 1;
            }
            *place = self.piece(from, end);
            if end == self.text.len() {
                break;
            }
            from = end + 1;
        }
        fields
    }
    /// How many fields were sent, by HL7's counting; at most [`FIELDS_MAX`].
    pub fn field_count(&self) -> usize {
        let at = self.name_len();
        let separators = memchr::memchr_iter(self.delimiters.field, &self.text[at..]).take(FIELDS_MAX).count();
        if separators == 0 { 0 } else { (separators + usize::from(self.counts_separator())).min(FIELDS_MAX) }
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
    /// As sent, blanks and line ends around it taken off.
    pub fn trimmed(&self) -> &'a [u8] {
        self.text.trim_ascii()
    }
    /// Where it stands in the message's text.
    pub fn span(&self) -> crate::observation::Span {
        crate::observation::Span { start: self.start, len: self.text.len() as u32 }
    }
    /// Nothing sent, blanks only, or `""` (HL7 null).
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() || matches!(self.trimmed(), b"" | b"\"\"")
    }
    /// `""`: the sender says that there is no value (and an update would delete the old one).
    pub fn is_null(&self) -> bool {
        self.trimmed() == b"\"\""
    }
    /// The delimiters that split it further.
    pub fn delimiters(&self) -> Delimiters {
        self.delimiters
    }
    /// Its repetitions: one at least, even of an empty field.
    pub fn repetitions(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.split(self.delimiters.repetition)
    }
    /// The components of the first repetition: one at least.
    pub fn components(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.nth(self.delimiters.repetition, 0).split(self.delimiters.component)
    }
    /// Component `n` from 1, of the first repetition; empty where there are fewer.
    pub fn component(&self, n: usize) -> Field<'a> {
        self.nth(self.delimiters.repetition, 0).nth(self.delimiters.component, n.wrapping_sub(1))
    }
    /// The sub-components: one at least.
    pub fn subcomponents(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.split(self.delimiters.subcomponent)
    }
    /// Sub-component `n` from 1; empty where there are fewer.
    pub fn subcomponent(&self, n: usize) -> Field<'a> {
        self.nth(self.delimiters.subcomponent, n.wrapping_sub(1))
    }
    /// Decoded text: escapes resolved after splitting, unknown ones kept; blanks around it trimmed.
    pub fn text(&self) -> Cow<'a, str> {
        match escape::unescape(self.trimmed(), &self.delimiters) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => {
                let text =
                    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                let trimmed = text.trim_ascii();
                Cow::Owned(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
            }
        }
    }
    /// The trimmed bytes as text, escapes untouched, never allocating; empty where they are no UTF-8 (they are, in a message).
    pub fn str(&self) -> &'a str {
        std::str::from_utf8(self.trimmed()).unwrap_or_default()
    }
    /// A non-negative whole number of at most nine digits (set ids, codes, ports); `None` for all else.
    pub fn integer(&self) -> Option<u32> {
        let digits = self.trimmed();
        let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        plain.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }

    fn cut(&self, from: usize, to: usize) -> Field<'a> {
        Field { text: &self.text[from..to], start: self.start + from as u32, delimiters: self.delimiters }
    }
    fn nth(&self, delimiter: u8, n: usize) -> Field<'a> {
        let mut from = 0;
        for _ in 0..n {
            match self.text[from..].iter().position(|&byte| byte == delimiter) {
                Some(len) => from += len + 1,
                None => return self.cut(self.text.len(), self.text.len()),
            }
        }
        let len = self.text[from..].iter().position(|&byte| byte == delimiter);
        self.cut(from, len.map_or(self.text.len(), |len| from + len))
    }
    fn split(&self, delimiter: u8) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let whole = *self;
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let from = next?;
            let len = whole.text[from..].iter().position(|&byte| byte == delimiter);
            next = len.map(|len| from + len + 1);
            Some(whole.cut(from, len.map_or(whole.text.len(), |len| from + len)))
        })
    }
}

#[cfg(test)]
mod tests;
