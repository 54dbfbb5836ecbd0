//! The header: delimiters, and where MSH's fields stand when a sender has left one out or put one in.
//!
//! Works on bytes before any character set is known: everything that matters in a header is ASCII. Limit: a header in a
//! multi-byte set whose second bytes look like delimiters (Shift-JIS, GB 18030) is split wrongly here, rightly in the message.

use super::Delimiters;

/// Fields looked at: MSH-21 shifted by two is the last.
const FIELDS: usize = 24;
/// MSH's own number of the message type.
const TYPE: usize = 9;

/// What stands in MSH, found in one pass.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    text: &'a [u8],
    delimiters: Delimiters,
    /// Whether MSH-2 was anything but the usual four.
    pub unusual: bool,
    /// How many places the message type stands right of MSH-9 (left: negative); 0 if it stands there or nowhere.
    pub shift: i8,
    /// Whether the shift comes from an empty field inserted before MSH-3, so that every field moved.
    inserted_first: bool,
    /// `spans[n]` is MSH-n as sent; 0 is unused.
    spans: [(u32, u32); FIELDS],
    count: usize,
}

impl<'a> Header<'a> {
    /// Reads a line that begins with MSH, FHS or BHS (ended by CR, LF or the end of `bytes`).
    pub fn read(bytes: &'a [u8]) -> Option<Header<'a>> {
        let &field = bytes.get(3)?;
        if !matches!(&bytes[..3], b"MSH" | b"FHS" | b"BHS") || !usable(field) {
            return None;
        }
        let mut spans = [(0u32, 0u32); FIELDS];
        spans[1] = (3, 4);
        let end = memchr::memchr2(b'\r', b'\n', &bytes[4..]).map_or(bytes.len(), |len| 4 + len);
        let (mut count, mut from) = (1, 4);
        super::scan::each(&bytes[4..end], field, |at| {
            count += 1;
            spans[count] = (from, at as u32 + 4);
            from = at as u32 + 5;
            count + 1 < FIELDS
        });
        if count + 1 < FIELDS {
            count += 1;
            spans[count] = (from, end as u32);
        }
        let (delimiters, unusual) = delimiters(field, &bytes[spans[2].0 as usize..spans[2].1 as usize]);
        let mut header = Header { text: &bytes[..end], delimiters, unusual, shift: 0, inserted_first: false, spans, count };
        header.align();
        Some(header)
    }

    /// Finds the field that looks like `ORU^R01`, at its place first.
    fn align(&mut self) {
        for shift in [0i8, 1, -1, 2, -2] {
            if self.is_type(self.sent((TYPE as i8 + shift) as usize)) {
                self.shift = shift;
                self.inserted_first = shift > 0 && self.sent(3).is_empty();
                return;
            }
        }
    }

    fn is_type(&self, field: &[u8]) -> bool {
        let Some((code, rest)) = field.split_at_checked(3) else { return false };
        let Some((&separator, rest)) = rest.split_first() else { return false };
        let event = rest.split(|&byte| byte == self.delimiters.component).next().unwrap_or_default();
        separator == self.delimiters.component
            && code.iter().all(u8::is_ascii_uppercase)
            && event.len() == 3
            && event[0].is_ascii_uppercase()
            && event[1..].iter().all(u8::is_ascii_alphanumeric)
    }

    pub fn delimiters(&self) -> Delimiters {
        self.delimiters
    }
    /// The line without its end.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }
    /// How many fields were sent (as far as they are looked at).
    pub fn count(&self) -> usize {
        self.count
    }
    /// MSH-n where it was sent, by HL7's counting; empty where there is none.
    pub fn sent(&self, n: usize) -> &'a [u8] {
        let (start, end) = self.spans.get(n).copied().unwrap_or_default();
        &self.text[start as usize..end as usize]
    }
    /// Where MSH-n stands once the shift is taken out. Which of MSH-3..8 was left out or put in cannot be known: they are taken
    /// as sent unless an empty field stands first.
    pub fn place(&self, n: usize) -> usize {
        if self.shift == 0 || n < 3 || (n < TYPE && !self.inserted_first && !self.moved_time(n)) {
            return n;
        }
        n.saturating_add_signed(isize::from(self.shift))
    }
    fn moved_time(&self, n: usize) -> bool {
        let digits = |field: &[u8]| field.len() >= 8 && field[..8].iter().all(u8::is_ascii_digit);
        n == 7 && !digits(self.sent(7)) && digits(self.sent(7usize.saturating_add_signed(isize::from(self.shift))))
    }
    /// MSH-n, re-aligned.
    pub fn field(&self, n: usize) -> &'a [u8] {
        self.sent(self.place(n))
    }
    /// Component `m` (from 1) of MSH-n, re-aligned, trimmed.
    pub fn component(&self, n: usize, m: usize) -> &'a [u8] {
        let field = self.field(n).split(|&byte| byte == self.delimiters.repetition).next().unwrap_or_default();
        field.split(|&byte| byte == self.delimiters.component).nth(m - 1).unwrap_or_default().trim_ascii()
    }
}

impl Header<'_> {
    /// What kind of message its type says it is.
    pub fn class(&self) -> MessageClass {
        let code = self.component(TYPE, 1);
        match code {
            b"ACK" | b"RSP" | b"ORA" | b"MCF" | b"NAK" | b"RTB" | b"RDY" | b"ORR" | b"RRA" | b"RRD" | b"RRE" | b"RRG" => {
                MessageClass::Response
            }
            b"QBP" | b"QRY" | b"QCN" | b"QSB" | b"QVR" | b"QSX" | b"SPQ" | b"VQQ" | b"EQQ" | b"QCK" | b"OSQ" | b"SQM" => {
                MessageClass::Query
            }
            _ => MessageClass::Message,
        }
    }
}

/// What the header alone says about a message. (That it is a header and nothing more, [`class`] sees.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageClass {
    /// Something that is told to us: observed or not, it is acknowledged.
    Message,
    /// A header alone: a sign of life, acknowledged.
    KeepAlive,
    /// A question, which is refused.
    Query,
    /// An acknowledgement or an answer to a query: never answered. (ORF carries values and is a message.)
    Response,
    /// FHS or BHS: an envelope.
    Batch,
}

/// The class of a payload, from its header and whether anything follows it; `None` where there is no header.
pub fn class(payload: &[u8]) -> Option<MessageClass> {
    let bytes = front(payload);
    let header = Header::read(bytes)?;
    if !bytes.starts_with(b"MSH") {
        return Some(MessageClass::Batch);
    }
    let alone = bytes[header.text.len()..].iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0);
    match header.class() {
        MessageClass::Message if alone => Some(MessageClass::KeepAlive),
        class => Some(class),
    }
}

/// A payload without the byte order mark, blanks, NULs and start of block before it.
pub fn front(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [0xEF, 0xBB, 0xBF, rest @ ..] | [b' ' | b'\t' | b'\r' | b'\n' | 0 | crate::mllp::VT, rest @ ..] => rest,
            _ => return bytes,
        }
    }
}

/// Whether a byte can be a delimiter at all: no letter or digit, nothing that numbers, times, nulls (`""`) and framing need.
fn usable(byte: u8) -> bool {
    let taken = b"\0 \r\n.+-_\"'\x0B\x1C";
    byte.is_ascii() && !byte.is_ascii_alphanumeric() && !taken.contains(&byte)
}

/// Gives every delimiter a meaning of its own: one that repeats another is replaced by a usual one that is free.
fn distinct(mut read: Delimiters) -> Delimiters {
    let mut used = [read.field, 0, 0, 0, 0];
    let places = [&mut read.component, &mut read.repetition, &mut read.escape, &mut read.subcomponent];
    for (n, place) in places.into_iter().enumerate() {
        if used.contains(place) {
            *place = b"^~\\&|#".iter().copied().find(|free| !used.contains(free)).unwrap_or(*place);
        }
        used[n + 1] = *place;
    }
    read
}

/// Reads MSH-2: two to five characters, the missing ones by default; the second value says that it was unusual.
fn delimiters(field: u8, sent: &[u8]) -> (Delimiters, bool) {
    let standard = distinct(Delimiters { field, ..Delimiters::default() });
    if field == b'|' && sent == b"^~\\&" {
        return (standard, false);
    }
    let taken = |bytes: &[u8]| bytes.iter().all(|&byte| usable(byte) && byte != field);
    if sent.is_empty() || sent.len() > 6 || !taken(sent) {
        return (standard, true);
    }
    let mut read = standard;
    if sent.len() < 4 && sent.iter().all(|byte| b"^~\\&".contains(byte)) {
        // `^&` leaves out the two in the middle rather than giving `&` another meaning.
        return (standard, true);
    }
    let (mut place, mut before) = (0, 0);
    for &byte in sent {
        // A backslash doubled by a template is one backslash.
        if before == byte && byte == b'\\' {
            continue;
        }
        before = byte;
        match place {
            0 => read.component = byte,
            1 => read.repetition = byte,
            2 => read.escape = byte,
            3 => read.subcomponent = byte,
            _ => break,
        }
        place += 1;
    }
    (distinct(read), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Header<'_> {
        Header::read(line.as_bytes()).unwrap()
    }
    fn set(line: &str) -> [u8; 4] {
        let d = read(line).delimiters();
        [d.component, d.repetition, d.escape, d.subcomponent]
    }

    #[test]
    fn short_and_long_delimiter_fields_are_read() {
        assert_eq!(set(r"MSH|^~\&|A"), *br"^~\&");
        assert!(!read(r"MSH|^~\&|A").unusual);
        for line in [r"MSH|^~\&#|A", r"MSH|^~\|A", r"MSH|^~|A", r"MSH|^&|A", r"MSH|^~\\&|A", r"MSH||A", r"MSH|APP|A"] {
            assert_eq!(set(line), *br"^~\&", "{line}");
            assert!(read(line).unusual, "{line}");
        }
        assert_eq!(set(r"MSH#@~\&#A"), *br"@~\&");
        assert_eq!(set(r"MSH^~|\&^A"), *br"~|\&");
        assert_eq!(set(r"MSH|$%!?|A"), *b"$%!?");
        assert_eq!(set("MSH|:;|A"), *br":;\&", "two characters, the others by default");
        assert_eq!(set(r"MSH|^^\&|A"), *br"^~\&", "no character means two things");
        assert_eq!(set("MSH|&:|A"), *br"&:\^");
        assert_eq!(set("MSH&APP&A"), *br"^~\|");
    }

    #[test]
    fn fields_are_counted_as_the_standard_counts() {
        let header = read("MSH|^~\\&#|A|B|||2026||ORU^R01|7|P|2.7\rPID|1");
        assert_eq!((header.sent(1), header.sent(2), header.sent(3)), (&b"|"[..], &b"^~\\&#"[..], &b"A"[..]));
        assert_eq!((header.sent(10), header.sent(12), header.sent(13)), (&b"7"[..], &b"2.7"[..], &b""[..]));
        assert_eq!(header.count(), 12);
        assert_eq!(header.text(), b"MSH|^~\\&#|A|B|||2026||ORU^R01|7|P|2.7");
    }

    #[test]
    fn a_shifted_header_is_aligned_by_its_type() {
        let one_long = read(r"MSH|^~\&||MON^1^EUI-64|ICU|||20260101120000||ORU^R01^ORU_R01|17|P|2.6||||||UTF-8");
        assert_eq!((one_long.shift, one_long.field(3), one_long.field(7)), (1, &b"MON^1^EUI-64"[..], &b"20260101120000"[..]));
        assert_eq!((one_long.field(10), one_long.field(18)), (&b"17"[..], &b"UTF-8"[..]));
        let one_short = read(r"MSH|^~\&|MON|ICU||20260101120000||ORU^R01|18|P|2.5");
        assert_eq!((one_short.shift, one_short.field(3), one_short.field(7)), (-1, &b"MON"[..], &b"20260101120000"[..]));
        assert_eq!((one_short.field(9), one_short.field(10), one_short.field(12)), (&b"ORU^R01"[..], &b"18"[..], &b"2.5"[..]));
        let two_short = read(r"MSH|^~\&|MON|ICU|20260101120000||ORU^R01|18|P|2.5");
        assert_eq!((two_short.shift, two_short.field(10)), (-2, &b"18"[..]));
        assert_eq!(read(r"MSH|^~\&|MON|ICU|||2026||ORU|18|P").shift, 0, "a type without event is at its place");
    }

    #[test]
    fn the_class_is_seen_from_the_header() {
        let of = |rest: &str| class(format!("\u{feff}MSH|^~\\&|A||||2026||{rest}").as_bytes());
        assert_eq!(of("ORU^R01|1\rPID|1"), Some(MessageClass::Message));
        assert_eq!(of("ORF^R04|1\rMSA|AA|1"), Some(MessageClass::Message));
        assert_eq!(of("ORU^R01|1\r\n\0"), Some(MessageClass::KeepAlive));
        assert_eq!(of("QBP^ZV1^QBP_Q11|1\rQPD|1"), Some(MessageClass::Query));
        assert_eq!(of("ACK|1\rMSA|AA|1"), Some(MessageClass::Response));
        assert_eq!(class(b"BHS|^~\\&|A"), Some(MessageClass::Batch));
        assert_eq!(class(b"this is not hl7"), None);
    }

    #[test]
    fn what_is_no_header_is_none() {
        for line in ["", "MSH", "MSHA^~", "PID|1", "MSH\r", "MSH |", "msh|^~", "MSH.x", "MSH-x"] {
            assert!(Header::read(line.as_bytes()).is_none(), "{line:?}");
        }
    }
}
