//! Messages in text: bare files, one message a line, and logs of every kind, told apart line by line.
//!
//! A message begins at an MSH (at the start of a line, after a log prefix, inside a JSON string) and ends before the next one,
//! before a batch segment, or before a log line that is none of its segments. Segments are handed on with CR between them,
//! whatever stood there: CR, LF, CRLF, a new log line, or a literal `\r`. Memory is bound by the largest message.

use super::capture::Wire;
use super::stamp::{self, Stamp};
use std::io::{self, BufRead};

/// One recorded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub payload: Vec<u8>,
    /// When it arrived, where the log says so.
    pub arrived: Option<Stamp>,
    /// Where it begins: byte and line (from 1) of the decompressed text.
    pub offset: u64,
    pub line: u64,
    /// What a capture knows beyond the message.
    pub wire: Option<Box<Wire>>,
}

/// What stands next in a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Message(Piece),
    /// The recording ends, or breaks off, inside a message.
    Cut {
        offset: u64,
        line: u64,
        bytes: usize,
    },
    /// Larger than a message may be; skipped.
    TooLarge {
        offset: u64,
        line: u64,
    },
}

/// How the messages stood in the text; for the line that says what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Habits {
    pub cr: bool,
    pub lf: bool,
    pub crlf: bool,
    /// Segments separated by a literal `\r`, `<CR>` and the like.
    pub literal: bool,
    /// Lines with a time stamp before the message.
    pub stamped: u64,
    /// FHS, BHS, BTS, FTS segments.
    pub envelopes: u64,
    /// Batches whose trailer counts another number of messages.
    pub count_mismatches: u64,
    /// Lines that belong to no message.
    pub noise: u64,
}

/// Separators of segments that log writers print instead of a CR.
pub(crate) const LITERALS: &[&[u8]] = &[
    b"\\r\\n", b"\\r", b"\\n", b"\\x0d", b"\\x0D", b"\\u000d", b"\\u000D", b"\\015", b"<CR>", b"<cr>", b"[CR]", b"{CR}",
    b"&#13;", b"&#xD;", b"&#x0D;",
];
/// Literal ends of a frame.
const FRAME_ENDS: &[&[u8]] = &[b"\x1c", b"<FS>", b"<EB>", b"[FS]", b"{FS}", b"\\x1c", b"\\x1C", b"\\u001c", b"\\u001C", b"\\034"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cr,
    Lf,
    CrLf,
    Eof,
}

struct Building {
    piece: Piece,
    /// It began after a log prefix: a line that is no segment ends it.
    in_log: bool,
    too_large: bool,
    separator: u8,
    last_end: End,
}

/// The scanner of one text.
pub struct Text<R> {
    input: R,
    bytes_max: usize,
    offset: u64,
    line: u64,
    buffer: Vec<u8>,
    building: Option<Building>,
    /// The stamp of the log line before, for a message that begins on a line of its own.
    stamp: Option<Stamp>,
    ready: std::collections::VecDeque<Found>,
    /// Messages since the last BHS.
    in_batch: Option<u64>,
    /// The shape of whole messages so far: fewest segments, fewest fields of their last segment.
    whole: Option<(usize, usize)>,
    done: bool,
    failure: Option<io::Error>,
    pub habits: Habits,
}

impl<R: BufRead> Text<R> {
    pub fn new(input: R, bytes_max: usize) -> Text<R> {
        Text {
            input,
            bytes_max,
            offset: 0,
            line: 0,
            buffer: Vec::new(),
            building: None,
            stamp: None,
            ready: Default::default(),
            in_batch: None,
            whole: None,
            done: false,
            failure: None,
            habits: Habits::default(),
        }
    }

    /// The next message or fault; `None` at the end. A read error (a cut archive, a bad disk) is told once, after what came
    /// before it.
    pub fn next_found(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            if self.done {
                return Ok(None);
            }
            let (offset, line) = (self.offset, self.line + 1);
            match self.read_line() {
                Ok(Some((end, too_long))) => {
                    let content = std::mem::take(&mut self.buffer);
                    self.take_line(&content, end, too_long, offset, line);
                    self.buffer = content;
                }
                Ok(None) => {
                    self.done = true;
                    self.finish(true);
                }
                Err(error) => {
                    self.done = true;
                    if let Some(building) = self.building.take() {
                        self.ready.push_back(cut(&building.piece));
                    }
                    self.failure = Some(error);
                }
            }
        }
    }

    /// Reads to the next CR, LF or CRLF into `buffer`; whether it was longer than a message may be.
    fn read_line(&mut self) -> io::Result<Option<(End, bool)>> {
        self.buffer.clear();
        self.line += 1;
        let mut too_long = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok((!self.buffer.is_empty() || too_long).then_some((End::Eof, too_long)));
            }
            let stop = memchr::memchr2(b'\r', b'\n', chunk);
            let part = &chunk[..stop.unwrap_or(chunk.len())];
            if self.buffer.len() + part.len() > self.bytes_max {
                too_long = true;
            } else {
                self.buffer.extend_from_slice(part);
            }
            let Some(stop) = stop else {
                let taken = chunk.len();
                self.input.consume(taken);
                self.offset += taken as u64;
                continue;
            };
            let byte = chunk[stop];
            self.input.consume(stop + 1);
            self.offset += stop as u64 + 1;
            if byte == b'\n' {
                self.habits.lf = true;
                return Ok(Some((End::Lf, too_long)));
            }
            // A CR at the very end of what could be read is only a CR.
            let next = self.input.fill_buf().map(|chunk| chunk.first().copied()).unwrap_or(None);
            if next == Some(b'\n') {
                self.input.consume(1);
                self.offset += 1;
                self.habits.crlf = true;
                return Ok(Some((End::CrLf, too_long)));
            }
            self.habits.cr = true;
            return Ok(Some((End::Cr, too_long)));
        }
    }

    fn take_line(&mut self, line: &[u8], end: End, too_long: bool, offset: u64, number: u64) {
        if too_long {
            match &mut self.building {
                Some(building) if find_header(line).is_none() => building.too_large = true,
                _ => {
                    self.finish(false);
                    self.ready.push_back(Found::TooLarge { offset, line: number });
                }
            }
            return;
        }
        let mut content = line;
        if offset == 0 {
            content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
        }
        content = trim(content);
        let bare = LITERALS.iter().find_map(|mark| content.strip_suffix(*mark)).map_or(content, trim);
        let framed_end = FRAME_ENDS.iter().find_map(|mark| bare.strip_suffix(*mark));
        if let Some(before) = framed_end {
            content = trim(before);
        }
        let ends_here = framed_end.is_some();
        if content.is_empty() {
            if ends_here {
                self.finish(false);
            }
            return;
        }
        if is_header(content) {
            let stamp = self.stamp.take();
            self.begin(content, stamp, stamp.is_some(), end, ends_here, offset, number);
        } else if let Some(kind) = envelope(content) {
            self.finish(false);
            self.habits.envelopes += 1;
            self.take_envelope(kind, content);
        } else if self.building.as_ref().is_some_and(|b| is_segment(content, b.separator)) {
            self.push(content, end, true);
        } else if let Some((stamp, rest)) = stamp::at_line_start(content) {
            if let Some(at) = find_header(rest) {
                self.habits.stamped += 1;
                self.begin(&rest[at..], Some(stamp), true, end, ends_here, offset, number);
            } else if let Some(at) = self.building.as_ref().filter(|b| b.in_log).and_then(|b| find_segment(rest, b.separator)) {
                self.push(&rest[at..], end, true);
            } else {
                self.finish(false);
                self.stamp = Some(stamp);
                self.habits.noise += 1;
            }
        } else if let Some(at) = find_header(content) {
            // A prefix without a time; in a JSON line the time stands between quotes.
            let before = &content[..at];
            let stamp = if content[0] == b'{' { stamp::in_quotes(&String::from_utf8_lossy(content)) } else { self.stamp.take() };
            if stamp.is_some() {
                self.habits.stamped += 1;
            }
            let mut text = &content[at..];
            if before.ends_with(b"\"") {
                text = &text[..closing_quote(text)];
            }
            self.begin(text, stamp, true, end, ends_here, offset, number);
        } else if self.building.as_ref().is_some_and(|b| !b.in_log) {
            self.push(content, end, false);
        } else {
            self.finish(false);
            self.habits.noise += 1;
        }
        if ends_here {
            self.finish(false);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn begin(&mut self, text: &[u8], stamp: Option<Stamp>, in_log: bool, end: End, ends_here: bool, offset: u64, line: u64) {
        self.finish(false);
        let separator = text.get(3).copied().unwrap_or(b'|');
        let (payload, literal) = expand(text, separator);
        self.habits.literal |= literal;
        self.building = Some(Building {
            piece: Piece { payload, arrived: stamp, offset, line, wire: None },
            in_log,
            too_large: false,
            separator,
            last_end: end,
        });
        // A message whose segments stand in one line ends with the line.
        if (literal && end != End::Eof) || ends_here {
            self.finish(false);
        }
    }

    fn push(&mut self, content: &[u8], end: End, segment: bool) {
        let bytes_max = self.bytes_max;
        let Some(building) = &mut self.building else { return };
        if building.piece.payload.len() + content.len() + 1 > bytes_max {
            building.too_large = true;
            return;
        }
        let payload = &mut building.piece.payload;
        // Text that goes on after a line end keeps it; between segments stands a CR.
        payload.push(if segment { b'\r' } else { b'\n' });
        payload.extend_from_slice(content);
        building.last_end = end;
    }

    /// Ends the message that is being read.
    fn finish(&mut self, at_end_of_input: bool) {
        let Some(mut building) = self.building.take() else { return };
        let (offset, line) = (building.piece.offset, building.piece.line);
        // With the CR of its last segment, which is written below.
        if building.too_large || building.piece.payload.len() >= self.bytes_max {
            self.ready.push_back(Found::TooLarge { offset, line });
            return;
        }
        let shape = shape(&building.piece.payload, building.separator);
        // A last line without its end is a whole message if it looks like the whole ones before it.
        if at_end_of_input
            && building.last_end == End::Eof
            && is_cut(&building.piece.payload, shape, self.whole, building.separator)
        {
            self.ready.push_back(cut(&building.piece));
            return;
        }
        let (segments, fields) = self.whole.unwrap_or(shape);
        self.whole = Some((segments.min(shape.0), fields.min(shape.1)));
        if let Some(count) = &mut self.in_batch {
            *count += 1;
        }
        building.piece.payload.push(b'\r');
        self.ready.push_back(Found::Message(building.piece));
    }

    fn take_envelope(&mut self, kind: &[u8], content: &[u8]) {
        match kind {
            b"BHS" => self.in_batch = Some(0),
            b"BTS" => {
                let said = content.get(3).and_then(|separator| content.split(|b| b == separator).nth(1));
                let said = said.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.trim().parse::<u64>().ok());
                if let (Some(said), Some(counted)) = (said, self.in_batch.take())
                    && said != counted
                {
                    self.habits.count_mismatches += 1;
                }
            }
            _ => {}
        }
    }
}

fn cut(piece: &Piece) -> Found {
    Found::Cut { offset: piece.offset, line: piece.line, bytes: piece.payload.len() }
}

/// Number of segments, and of fields of the last one.
fn shape(payload: &[u8], separator: u8) -> (usize, usize) {
    let segments = 1 + memchr::memchr_iter(b'\r', payload).count();
    let last = payload.rsplit(|b| *b == b'\r').next().unwrap_or_default();
    (segments, memchr::memchr_iter(separator, last).count())
}

/// Whether the last segment looks as if its rest were missing: no segment at all, or a row without the status that the row
/// before it has, or a message poorer than every whole one before it.
fn is_cut(payload: &[u8], shape: (usize, usize), whole: Option<(usize, usize)>, separator: u8) -> bool {
    let mut segments = payload.rsplit(|b| *b == b'\r');
    let last = segments.next().unwrap_or_default();
    if !is_segment(last, separator) && !is_header(last) {
        return true;
    }
    let fields = |text: &[u8]| memchr::memchr_iter(separator, text).count();
    if let Some(before) = segments.next()
        && last.starts_with(b"OBX")
        && before.starts_with(b"OBX")
        && fields(last) < 11
        && fields(before) >= 11
    {
        return true;
    }
    whole.is_some_and(|(segments, fields)| shape.0 < segments || (shape.0 == segments && shape.1 < fields))
}

/// Blanks, NULs and frame starts around a line.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | 0 | crate::mllp::VT, rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t' | 0] = text {
        text = rest;
    }
    text
}

/// `MSH` and a separator that is neither letter, digit nor blank.
fn is_header(text: &[u8]) -> bool {
    matches!(text, [b'M', b'S', b'H', separator, ..] if separator.is_ascii_punctuation())
}

/// A three-character name and the separator, or the name alone.
fn is_segment(text: &[u8], separator: u8) -> bool {
    match text {
        [a, b, c, rest @ ..] => {
            a.is_ascii_uppercase()
                && [b, c].iter().all(|x| x.is_ascii_uppercase() || x.is_ascii_digit())
                && rest.first().is_none_or(|x| *x == separator)
        }
        _ => false,
    }
}

/// The first header inside a line that has four encoding characters, or fewer but another separator after them.
fn find_header(line: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(line, b"MSH").find(|at| {
        let after = &line[at + 3..];
        let Some(separator) = after.first().filter(|b| b.is_ascii_punctuation() && **b != b'"') else { return false };
        let word_before = *at > 0 && line[at - 1].is_ascii_alphanumeric() && !ends_with_escape(&line[..*at]);
        let encoding = after[1..].iter().take(8).position(|b| b == separator);
        !word_before && encoding.is_some_and(|n| n >= 1 && after[1..=n].iter().all(u8::is_ascii_punctuation))
    })
}

/// Whether a literal such as `\x0b` or `\v` stands right before.
fn ends_with_escape(before: &[u8]) -> bool {
    [&b"\\x0b"[..], b"\\x0B", b"\\u000b", b"\\u000B", b"\\v", b"\\013"].iter().any(|mark| before.ends_with(mark))
}

/// The first place of a log line at which a segment of a message that goes on may begin.
fn find_segment(rest: &[u8], separator: u8) -> Option<usize> {
    memchr::memchr_iter(separator, rest).find_map(|at| {
        let start = at.checked_sub(3)?;
        let alone = start == 0 || !rest[start - 1].is_ascii_alphanumeric();
        (alone && is_segment(&rest[start..], separator)).then_some(start)
    })
}

fn envelope(text: &[u8]) -> Option<&[u8]> {
    let name = text.get(..3)?;
    let known = matches!(name, b"FHS" | b"BHS" | b"BTS" | b"FTS");
    (known && text.get(3).is_none_or(u8::is_ascii_punctuation)).then_some(name)
}

/// The first quote that no backslash escapes.
fn closing_quote(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at,
            _ => at += 1,
        }
    }
    text.len()
}

/// Puts CR where a literal separator stands before a segment or at the end, and takes off a second layer of escapes
/// (`MSH|^~\\&|`, as string literals and JSON have it).
fn expand(text: &[u8], separator: u8) -> (Vec<u8>, bool) {
    let doubled = text.get(4..9).is_some_and(|encoding| encoding.windows(2).any(|pair| pair == b"\\\\"));
    let mut out = Vec::with_capacity(text.len());
    let mut literal = false;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if matches!(rest[0], b'\\' | b'<' | b'[' | b'{' | b'&') {
            let mark = LITERALS.iter().find(|mark| rest.starts_with(mark));
            if let Some(mark) = mark {
                let after = &rest[mark.len()..];
                let blank = after.iter().take_while(|b| **b == b' ').count();
                let next_mark = LITERALS.iter().any(|mark| after.starts_with(mark));
                // `\r` may also be text: it is a separator only before a segment, another separator, or the end.
                if after[blank..].is_empty() || next_mark || is_segment_start(&after[blank..], separator) {
                    literal = true;
                    if !after[blank..].is_empty() && !next_mark {
                        out.push(b'\r');
                    }
                    at += mark.len() + blank;
                    continue;
                }
            }
            if doubled
                && rest[0] == b'\\'
                && let Some(escaped @ (b'\\' | b'"' | b'/')) = rest.get(1)
            {
                out.push(*escaped);
                at += 2;
                continue;
            }
        }
        out.push(rest[0]);
        at += 1;
    }
    (out, literal)
}

fn is_segment_start(text: &[u8], separator: u8) -> bool {
    is_segment(text, separator) && text.len() > 3
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        "MSH|^~\\&|GW|H|||20260102030405||ORU^R01|A1|P|2.6\rPID|||T1\rOBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC||72|/min|||||F\r";
    const B: &str =
        "MSH|^~\\&|GW|H|||20260102030406||ORU^R01|A2|P|2.6\rPID|||T1\rOBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC||73|/min|||||F\r";

    fn scan(text: impl AsRef<[u8]>) -> (Vec<Found>, Habits) {
        // A tiny buffer: every border falls somewhere.
        let mut scanner = Text::new(io::BufReader::with_capacity(7, text.as_ref()), 1 << 20);
        let mut list = Vec::new();
        while let Some(found) = scanner.next_found().unwrap() {
            list.push(found);
        }
        (list, scanner.habits)
    }

    fn payloads(text: impl AsRef<[u8]>) -> Vec<String> {
        let (list, _) = scan(text);
        list.into_iter()
            .map(|found| match found {
                Found::Message(piece) => String::from_utf8(piece.payload).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn every_style_gives_the_same_messages() {
        let both = format!("{A}{B}");
        let one = |text: &str, with: &str| text.trim_end().replace('\r', with);
        let log = |text: &str, with: &str| format!("2026-01-02 03:04:05,678 INFO [recv] got {}", one(text, with));
        let json = |text: &str| {
            format!(
                "{{\"time\":\"2026-01-02T03:04:05.678Z\",\"hl7\":\"{}\"}}",
                text.trim_end().replace('\\', "\\\\").replace('\r', "\\r")
            )
        };
        let prefixed =
            |text: &str| text.trim_end().split('\r').map(|s| format!("2026-01-02 03:04:05,678 DEBUG {s}\n")).collect::<String>();
        let styles = [
            both.clone(),
            both.replace('\r', "\n"),
            both.replace('\r', "\r\n"),
            format!("\u{feff}{}", both.replace('\r', "\n")),
            format!("FHS|^~\\&\rBHS|^~\\&\r{both}BTS|2\rFTS|1\r"),
            format!("{A}\n{B}\n"),
            format!("{}\n{}\n", one(A, "\\r"), one(B, "\\r")),
            format!("{}\\r\n{}\\r\n", one(A, "\\r"), one(B, "\\r")),
            format!("{}\n{}\n", one(A, "<CR>"), one(B, "<CR>")),
            format!("<VT>{}<CR><FS><CR>\n<VT>{}<CR><FS><CR>\n", one(A, "<CR>"), one(B, "<CR>")),
            format!("{}\n{}\n", log(A, "\\r"), log(B, "\\r")),
            format!("{}\n2026-01-02 03:04:05,900 INFO ack sent\n{}\n", log(A, "\r"), log(B, "\r")),
            format!(
                "2026-01-02 03:04:05,678 received:\n{}\nunrelated words\n2026-01-02 03:04:06,000 received:\n{}\n",
                one(A, "\n"),
                one(B, "\n")
            ),
            format!("{}2026-01-02 03:04:05,800 INFO done\n{}", prefixed(A), prefixed(B)),
            format!(
                "Jan  2 03:04:05 host engine: \u{b}{}\r\u{1c}\r\nJan  2 03:04:06 host engine: \u{b}{}\r\u{1c}\r\n",
                one(A, "\r"),
                one(B, "\r")
            ),
            format!("{}\n{}\n", json(A), json(B)),
        ];
        for style in styles {
            assert_eq!(payloads(&style), [A, B], "{style}");
        }
    }

    #[test]
    fn the_stamp_of_the_line_or_of_the_line_before_is_the_arrival() {
        let text = format!("2026-01-02 03:04:07,000 got\n{A}\n2026-01-02 03:04:08,000 x {}\n", B.trim_end());
        let seconds: Vec<_> =
            scan(text).0.iter().map(|f| if let Found::Message(p) = f { p.arrived.unwrap().second } else { 0 }).collect();
        assert_eq!(seconds, [7, 8]);
    }

    #[test]
    fn a_file_that_ends_inside_a_message_says_so_with_the_place() {
        let text = format!("{A}{}", &B[..B.len() - 30]);
        let (list, _) = scan(&text);
        assert!(matches!(list[0], Found::Message(_)));
        assert_eq!(list[1], Found::Cut { offset: A.len() as u64, line: 4, bytes: B.len() - 30 });
        // A missing last line end alone is no cut.
        assert_eq!(payloads(format!("{A}{}", B.trim_end())), [A, B]);
        assert_eq!(payloads(A.trim_end()), [A]);
    }

    #[test]
    fn a_line_feed_inside_a_field_stays_text() {
        let text = "MSH|^~\\&|G|||||ORU^R01|1\rOBX|1|TX|c||line one\nline two||||||F\r";
        assert_eq!(payloads(text), [text]);
    }

    #[test]
    fn a_message_over_the_cap_is_skipped_and_told() {
        let huge = format!("{}OBX|2|ED|x||{}\r", A, "q".repeat(5000));
        let text = format!("{A}{huge}{B}");
        let mut scanner = Text::new(io::BufReader::with_capacity(64, text.as_bytes()), 2000);
        let mut kinds = Vec::new();
        while let Some(found) = scanner.next_found().unwrap() {
            kinds.push(matches!(found, Found::Message(_)));
        }
        assert_eq!(kinds, [true, false, true]);
    }

    #[test]
    fn a_trailer_that_counts_otherwise_is_noticed() {
        assert_eq!(scan(format!("BHS|^~\\&\r{A}BTS|2\r")).1.count_mismatches, 1);
        assert_eq!(scan(format!("BHS|^~\\&\r{A}BTS|1\r")).1.count_mismatches, 0);
    }

    #[test]
    fn a_literal_that_is_text_stays_text() {
        let text = "MSH|^~\\&|G|||||ORU^R01|1\rNTE|1||path C:\\root and \\r too\r";
        assert_eq!(payloads(text), [text]);
    }

    #[test]
    fn other_separators_are_kept() {
        let text = "MSH#@~\\&#G#####ORU@R01#1\rOBX#1#NM#c##72######F\r";
        assert_eq!(payloads(text), [text]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::sample::select(b"MSHOBX|^~\\&\r\n\x0b\x1c\"{}0123-: <CR>rn".to_vec()), 0..300)) {
            scan(&bytes);
        }
    }
}
