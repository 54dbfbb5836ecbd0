//! Reading one recording: its form is found by its content, its messages come out in order, what cannot be read is counted
//! and named.

use super::capture::{Capture, Seen};
use super::input::{Input, Packing, Progress};
use super::text::{Found, Habits, Piece, Text};
use crate::capture::is_capture;
use crate::hl7::batch::{is_batch, split_batch};
use crate::mllp::{Decoder, Event, VT};
use std::collections::VecDeque;
use std::io::{self, BufRead};

/// Bytes of the beginning that are looked at.
const HEAD_BYTES: usize = 64 << 10;
/// Places that are named of each kind of fault; more are only counted.
const PLACES_MAX: usize = 3;

/// The form of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// MLLP blocks.
    Framed,
    /// Messages in text.
    Text,
    /// Packets, by the name of their form.
    Capture(&'static str),
}

/// What could not be read of one recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    pub messages: u64,
    /// Messages that break off.
    pub cut: u64,
    /// Messages over the size limit.
    pub too_large: u64,
    /// Bytes between frames, or lines that belong to no message.
    pub noise: u64,
    /// Batches whose trailer counts another number.
    pub count_mismatches: u64,
    /// The read error that ended it early.
    pub broken: Option<String>,
    /// The first places, in words.
    pub places: Vec<String>,
}

impl Faults {
    fn place(&mut self, text: String) {
        if self.places.len() < PLACES_MAX {
            self.places.push(text);
        }
    }
}

/// One recording, being read.
pub struct Reader {
    name: String,
    packing: Packing,
    scanner: Scanner,
    pub faults: Faults,
    /// Of a capture, once it is read.
    pub seen: Option<Box<Seen>>,
}

enum Scanner {
    Framed(Box<Framed>),
    Text(Box<Text<Box<dyn BufRead + Send>>>),
    Capture(Box<Capture>),
    Done(Form, Habits),
}

impl Scanner {
    fn form(&self) -> (Form, Habits) {
        match self {
            Scanner::Framed(_) => (Form::Framed, Habits::default()),
            Scanner::Text(text) => (Form::Text, text.habits),
            Scanner::Capture(capture) => (Form::Capture(capture.kind()), Habits::default()),
            Scanner::Done(form, habits) => (*form, *habits),
        }
    }
}

struct Framed {
    input: Box<dyn BufRead + Send>,
    decoder: Decoder,
    queue: VecDeque<Piece>,
    offset: u64,
    ended: bool,
}

impl Reader {
    /// Hosts that should not be heard: their packets in a capture are sightings.
    pub fn watch(&mut self, hosts: &[std::net::IpAddr]) {
        if let Scanner::Capture(capture) = &mut self.scanner {
            capture.watch(hosts);
        }
    }

    /// Opens a recording; messages larger than `bytes_max` are skipped.
    pub fn open(input: &Input, bytes_max: usize, progress: Progress) -> io::Result<Reader> {
        let (source, packing) = input.open(progress)?;
        let (head, source) = look(source)?;
        let form = form(&head);
        let scanner = match form {
            Form::Framed => Scanner::Framed(Box::new(Framed {
                input: source,
                decoder: Decoder::new(bytes_max),
                queue: VecDeque::new(),
                offset: 0,
                ended: false,
            })),
            Form::Text => Scanner::Text(Box::new(Text::new(source, bytes_max))),
            Form::Capture(_) => Scanner::Capture(Box::new(Capture::new(source, bytes_max))),
        };
        Ok(Reader { name: input.name.clone(), packing, scanner, faults: Faults::default(), seen: None })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next message. Read errors end the recording and stand in [`Faults::broken`].
    pub fn next_piece(&mut self) -> Option<Piece> {
        loop {
            match &mut self.scanner {
                Scanner::Done(..) => return None,
                Scanner::Text(text) => match text.next_found() {
                    Ok(Some(Found::Message(piece))) => {
                        self.faults.messages += 1;
                        return Some(piece);
                    }
                    Ok(Some(Found::Cut { offset, line, bytes })) => {
                        self.faults.cut += 1;
                        self.faults.place(format!("ends inside a message: the one that begins at line {line} (byte {offset}) has {bytes} bytes and no end"));
                    }
                    Ok(Some(Found::TooLarge { offset, line })) => {
                        self.faults.too_large += 1;
                        self.faults.place(format!("the message at line {line} (byte {offset}) is over the size limit"));
                    }
                    Ok(None) => self.end(None),
                    Err(error) => self.end(Some(error)),
                },
                Scanner::Capture(capture) => match capture.next_piece(&mut self.faults) {
                    Some(piece) => {
                        self.faults.messages += u64::from(!piece.payload.is_empty());
                        return Some(piece);
                    }
                    None => {
                        self.seen = Some(Box::new(capture.seen()));
                        self.end(None);
                    }
                },
                Scanner::Framed(framed) => match framed.next_piece(&mut self.faults) {
                    Ok(Some(piece)) => {
                        self.faults.messages += 1;
                        return Some(piece);
                    }
                    Ok(None) => self.end(None),
                    Err(error) => self.end(Some(error)),
                },
            }
        }
    }

    fn end(&mut self, error: Option<io::Error>) {
        let (form, habits) = self.scanner.form();
        self.faults.noise += habits.noise;
        self.faults.count_mismatches += habits.count_mismatches;
        self.faults.broken = error.map(|error| said(&error)).or(self.faults.broken.take());
        self.scanner = Scanner::Done(form, habits);
    }

    /// What was found, for a person. Complete once the recording is read.
    pub fn description(&self) -> String {
        let (form, habits) = self.scanner.form();
        let what = match form {
            Form::Framed => "MLLP frames".to_owned(),
            Form::Capture(kind) => format!("packets ({kind})"),
            Form::Text => {
                let mut what = if habits.stamped > 0 { "log lines with time stamps" } else { "messages in text" }.to_owned();
                if habits.literal {
                    what.push_str(", a literal separator between segments");
                } else {
                    let ends = [(habits.cr, "CR"), (habits.lf, "LF"), (habits.crlf, "CRLF")];
                    let ends: Vec<_> = ends.iter().filter(|(seen, _)| *seen).map(|(_, name)| *name).collect();
                    if !ends.is_empty() {
                        what.push_str(&format!(", {} line ends", ends.join(" and ")));
                    }
                }
                if habits.envelopes > 0 {
                    what.push_str(", in batches");
                }
                what
            }
        };
        format!("{what}{}", self.packing.as_str())
    }
}

impl Framed {
    fn next_piece(&mut self, faults: &mut Faults) -> io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.queue.pop_front() {
                return Ok(Some(piece));
            }
            let event = if self.ended { self.decoder.finish() } else { self.decoder.poll() };
            match event {
                Some(event) => self.take(event, faults),
                None if self.ended => return Ok(None),
                None => match self.input.fill_buf() {
                    Ok([]) => self.ended = true,
                    Ok(chunk) => {
                        let taken = chunk.len();
                        self.decoder.push(chunk);
                        self.input.consume(taken);
                        self.offset += taken as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        while let Some(event) = self.decoder.finish() {
                            self.take(event, faults);
                        }
                        self.ended = true;
                        return Err(error);
                    }
                },
            }
        }
    }

    fn take(&mut self, event: Event, faults: &mut Faults) {
        let offset = self.offset;
        let after = faults.messages;
        match event {
            Event::Frame { payload, .. } => {
                if is_batch(&payload) {
                    let batch = split_batch(&payload);
                    if batch.faults.count_mismatch {
                        faults.count_mismatches += 1;
                    }
                    for message in batch.messages {
                        self.queue.push_back(Piece { payload: message.to_vec(), arrived: None, offset, line: 0, wire: None });
                    }
                } else {
                    self.queue.push_back(Piece { payload, arrived: None, offset, line: 0, wire: None });
                }
            }
            Event::Truncated { payload } => {
                faults.cut += 1;
                let where_it_is = if self.ended {
                    format!(
                        "ends inside a message: byte {} begins one of {} bytes without an end",
                        offset.saturating_sub(payload.len() as u64 + 1),
                        payload.len()
                    )
                } else {
                    format!("a message breaks off after message {after}, before byte {offset} ({} bytes of it)", payload.len())
                };
                faults.place(where_it_is);
            }
            Event::TooLarge { .. } => {
                faults.too_large += 1;
                faults.place(format!("a message after message {after}, before byte {offset}, is over the size limit"));
            }
            Event::Junk { skipped, .. } => faults.noise += skipped as u64,
            Event::Empty | Event::Commit(_) => {}
            Event::Foreign(_) => faults.place(format!("another protocol before byte {offset}")),
        }
    }
}

/// A read error in words.
pub(super) fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the compressed data break off".to_owned(),
        _ => error.to_string(),
    }
}

/// The head of a stream, and the stream with the head still in it.
fn look(mut source: Box<dyn BufRead + Send>) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    // A stream that breaks inside its head is still read up to there.
    let mut failure = None;
    while head.len() < HEAD_BYTES {
        match source.fill_buf() {
            Ok([]) => break,
            Ok(chunk) => {
                let taken = chunk.len();
                head.extend_from_slice(chunk);
                source.consume(taken);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let first = io::Cursor::new(head.clone());
    Ok(match failure {
        Some(error) => (head, Box::new(first.chain(Broken(Some(error))))),
        None => (head, Box::new(first.chain(source))),
    })
}

use std::io::Read as _;

/// A stream that has failed: says so once, then ends.
struct Broken(Option<io::Error>);

impl io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

impl BufRead for Broken {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.take().map_or(Ok(&[]), Err)
    }
    fn consume(&mut self, _: usize) {}
}

/// Framed if the first header or envelope stands right behind a VT that begins the stream or follows a frame's end.
fn form(head: &[u8]) -> Form {
    if is_capture(head) {
        return Form::Capture("capture");
    }
    let front = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let blank = front.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0)).count();
    if front.get(blank) == Some(&VT) {
        return Form::Framed;
    }
    // A stream that was cut at its start begins with the rest of a message: a frame's end and VT come next to each other.
    let end = memchr::memmem::find(front, &[crate::mllp::FS, b'\r', VT]);
    let lines = memchr::memchr(b'\n', &front[..end.unwrap_or(0)]).is_some();
    if end.is_some() && !lines { Form::Framed } else { Form::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_known_by_its_beginning() {
        assert_eq!(form(b"\x0bMSH|^~\\&|\r\x1c\r"), Form::Framed);
        assert_eq!(form(b"\r\n\0\x0bMSH|"), Form::Framed);
        assert_eq!(form(b"|F\r\x1c\r\x0bMSH|"), Form::Framed);
        assert_eq!(form(b"MSH|^~\\&|"), Form::Text);
        assert_eq!(form(b"2026-01-02 03:04:05 got \x0bMSH|^~\\&|\r\x1c\r\n2026-"), Form::Text);
        assert_eq!(form(b""), Form::Text);
        assert_eq!(form(b"\xd4\xc3\xb2\xa1\x02\0"), Form::Capture("capture"));
    }
}
