//! The messages of one file, and the count of OBX lines that have to be found in them again.
//!
//! A file that begins with a message, a batch or an MLLP block is taken apart exactly as the listener would take its bytes:
//! line ends, blank lines and framing faults stay visible. Everything else (logs, one message a line, gzip, zstd, files over
//! [`WHOLE_BYTES_MAX`]) goes through the reader of recordings, in bounded memory.

use crate::charset;
use crate::hl7::{self, Message, header};
use crate::mllp::{self, FrameFaults};
use crate::observation::MessageFlags;
use crate::shell::replay::input::{Input, Progress};
use crate::shell::replay::reader::Reader;
use crate::shell::replay::text::LITERALS;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::path::Path;

/// Files up to this size are read whole, bytes; larger ones as recordings.
pub(super) const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// One payload of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub payload: Vec<u8>,
    pub faults: FrameFaults,
}

/// A file, being read.
pub(super) struct Intake {
    source: Source,
    /// OBX lines of the whole file; `None` where they cannot be counted from outside.
    lines: Option<usize>,
    /// It begins with FHS or BHS.
    batch: bool,
    /// OBX lines that were found in messages that could be read.
    found: usize,
    /// OBX lines that are in no readable message, by reason.
    pub outside: BTreeMap<String, usize>,
    /// What else stood in the stream, by name: empty frames, commit bytes, bytes between frames.
    pub wire: BTreeMap<&'static str, u64>,
}

enum Source {
    Whole(VecDeque<Piece>),
    Recording(Box<Reader>),
}

/// The payloads of a file's bytes: MLLP frames where there are block characters, else bare messages and batches.
pub fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    pieces(bytes).into_iter().map(|(payload, _)| payload).collect()
}

/// The same, each with what was wrong with its frame.
pub fn pieces(bytes: &[u8]) -> Vec<(Vec<u8>, FrameFaults)> {
    let pieces = split(bytes, &mut BTreeMap::new(), &mut BTreeMap::new());
    pieces.into_iter().map(|piece| (piece.payload, piece.faults)).collect()
}

/// Counts rows that are in no readable message.
fn lose(outside: &mut BTreeMap<String, usize>, reason: &str, rows: usize) {
    if rows > 0 {
        *outside.entry(reason.to_owned()).or_default() += rows;
    }
}

/// The same with framing faults; rows that are in none of them are counted by reason, everything else by name.
fn split(bytes: &[u8], outside: &mut BTreeMap<String, usize>, wire: &mut BTreeMap<&'static str, u64>) -> VecDeque<Piece> {
    let mut count = |name, number: usize| *wire.entry(name).or_default() += number as u64;
    let mut lose = |reason, rows| lose(outside, reason, rows);
    let mut frames = Vec::new();
    let framed = memchr::memchr(mllp::VT, bytes).is_some() || memchr::memchr(mllp::FS, bytes).is_some();
    if framed {
        let mut framing = mllp::Decoder::new(mllp::FRAME_BYTES_MAX);
        framing.push(bytes);
        let mut ended = false;
        loop {
            let event = if ended { framing.finish() } else { framing.poll() };
            match event {
                Some(mllp::Event::Frame { payload, faults }) => frames.push(Piece { payload, faults }),
                Some(mllp::Event::Truncated { payload }) => {
                    count("frames without an end", 1);
                    lose("frame without an end", obx_lines(&payload));
                }
                Some(mllp::Event::TooLarge { .. }) => count("frames over the size limit", 1),
                Some(mllp::Event::Empty) => count("empty frames", 1),
                Some(mllp::Event::Commit(_)) => count("commit bytes of MLLP release 2", 1),
                Some(mllp::Event::Junk { skipped, .. }) => count("bytes outside of frames", skipped),
                Some(mllp::Event::Foreign(_)) => count("beginnings of another protocol", 1),
                None if ended => break,
                None => ended = true,
            }
        }
    } else {
        frames.push(Piece { payload: bytes.to_vec(), ..Piece::default() });
    }
    let mut pieces = VecDeque::new();
    for frame in frames {
        let batch = hl7::split_batch(&frame.payload);
        // Two messages in one block are no two messages: the second is not observed, here as by the listener.
        let several = batch.messages.len() > 1 && (!framed || frame.faults.has(FrameFaults::UNFRAMED));
        if several || hl7::is_batch(&frame.payload) {
            let inside: usize = batch.messages.iter().map(|message| obx_lines(message)).sum();
            lose("line of a batch that belongs to no message", obx_lines(&frame.payload).saturating_sub(inside));
            let faults = frame.faults;
            pieces.extend(batch.messages.into_iter().map(|message| Piece { payload: message.to_vec(), faults }));
        } else {
            pieces.push_back(frame);
        }
    }
    pieces
}

/// Lines that begin with an OBX, however they are ended: counted without the code that reads messages.
pub(super) fn obx_lines(bytes: &[u8]) -> usize {
    let is_obx = |line: &&[u8]| {
        let blanks = line.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t' | 0 | mllp::VT)).count();
        let rest = &line[blanks..];
        rest.starts_with(b"OBX") && rest.get(3).is_none_or(|byte| byte.is_ascii_punctuation() || *byte == mllp::FS)
    };
    bytes.split(|&byte| byte == b'\r' || byte == b'\n').filter(is_obx).count()
}

/// OBX behind a bare LF inside a segment: text by the standard where CR ends the segments.
fn behind_lf(message: &Message<'_>) -> usize {
    message.segments().map(|segment| obx_lines(segment.text().0) - usize::from(segment.is(b"OBX"))).sum()
}

/// Whether a file's first line holds segments behind a literal separator (`\r`, `<CR>`), as log writers print them.
fn literal(bytes: &[u8]) -> bool {
    let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
    LITERALS.iter().any(|separator| {
        memchr::memmem::find_iter(&bytes[..end], separator).any(|at| {
            let name = bytes[at + separator.len()..end].get(..4).unwrap_or_default();
            name.len() == 4 && name[..3].iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) && name[3] == b'|'
        })
    })
}

impl Intake {
    /// Opens a file; the error is a sentence for its user.
    pub fn open(path: &Path) -> Result<Intake, String> {
        let intake =
            |source, lines| Intake { source, lines, batch: false, found: 0, outside: BTreeMap::new(), wire: BTreeMap::new() };
        let stdin = path.as_os_str() == "-";
        let whole = if stdin {
            None
        } else {
            let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                _ => error.to_string(),
            })?;
            if meta.is_dir() {
                return Err("is a folder: name the files in it".into());
            }
            meta.is_file().then_some(meta.len())
        };
        if whole == Some(0) {
            return Err("the file is empty".into());
        }
        if whole.is_some_and(|len| len > WHOLE_BYTES_MAX) {
            return recording(path).map(|reader| intake(Source::Recording(reader), None));
        }
        // Pipes have no size: no more than a whole file is taken from them.
        let mut bytes = Vec::new();
        let mut read =
            |from: &mut dyn std::io::Read| from.take(WHOLE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string());
        if stdin {
            read(&mut std::io::stdin().lock())?
        } else {
            read(&mut std::fs::File::open(path).map_err(|e| e.to_string())?)?
        };
        match bytes.as_slice() {
            [] => return Err("nothing could be read from it".into()),
            _ if bytes.len() as u64 > WHOLE_BYTES_MAX => return Err("gives more than 64 MiB: write it to a file first".into()),
            _ => {}
        }
        let front = header::front(&bytes);
        let begins = header::class(&bytes).is_some() || charset::utf16(front).is_some() || bytes.first() == Some(&mllp::VT);
        if whole.is_some() && (!begins || literal(front)) {
            let reader = recording(path)?;
            return Ok(intake(Source::Recording(reader), None));
        }
        // Of two-byte characters no line can be counted from outside.
        let lines =
            (memchr::memmem::find(&bytes, b"M\0S\0H").is_none() && charset::utf16(front).is_none()).then(|| obx_lines(&bytes));
        let mut opened = intake(Source::Whole(VecDeque::new()), lines);
        opened.batch = hl7::is_batch(&bytes);
        opened.source = Source::Whole(split(&bytes, &mut opened.outside, &mut opened.wire));
        Ok(opened)
    }

    /// The next payload.
    pub fn next_piece(&mut self) -> Option<Piece> {
        match &mut self.source {
            Source::Whole(pieces) => pieces.pop_front(),
            // What else a capture holds (closed connections, sightings) has no payload.
            Source::Recording(reader) => loop {
                let piece = reader.next_piece()?;
                if piece.wire.is_none() || !piece.payload.is_empty() {
                    return Some(Piece { payload: piece.payload, ..Piece::default() });
                }
            },
        }
    }

    /// A payload was read as this message.
    pub fn read(&mut self, piece: &Piece, message: &Message<'_>) {
        self.found += message.segments().filter(|segment| segment.is(b"OBX")).count();
        let mut lose = |reason, rows| lose(&mut self.outside, reason, rows);
        let reason = if message.flags().has(MessageFlags::SECOND_MSH) {
            "behind a second MSH in one frame (segment_injection)"
        } else {
            "beyond the bound of segments"
        };
        lose(reason, obx_lines(message.rest()));
        if charset::utf16(&piece.payload).is_none() {
            lose("text behind a bare LF, where CR ends the segments", behind_lf(message));
        }
    }

    /// A payload is no message.
    pub fn unreadable(&mut self, piece: &Piece, reason: &str) {
        lose(&mut self.outside, &format!("message that cannot be read: {reason}"), obx_lines(&piece.payload));
    }

    /// OBX lines of the file that nothing accounts for. Call it at the end. Of a frame that was too large, or of bytes of which
    /// only the first are kept, the lines are not known.
    pub fn unexplained(&self) -> usize {
        if ["frames over the size limit", "bytes outside of frames"].iter().any(|name| self.wire.contains_key(name)) {
            return self.found.saturating_sub(self.lines.unwrap_or(self.found));
        }
        self.lines.map_or(0, |lines| lines.abs_diff(self.found + self.outside.values().sum::<usize>()))
    }

    /// Why the file gave no message, in words; `None` where there is nothing to complain of.
    pub fn complaint(&self) -> Option<String> {
        match &self.source {
            // Signs of life are an answer, too.
            Source::Whole(_)
                if self.wire.keys().any(|name| matches!(*name, "empty frames" | "commit bytes of MLLP release 2")) =>
            {
                None
            }
            Source::Whole(_) if self.batch => Some("is a batch that holds no message".into()),
            Source::Whole(_) => Some("holds no HL7 message: no MSH segment at its beginning".into()),
            Source::Recording(reader) => Some(match &reader.faults {
                faults if faults.broken.is_some() => faults.broken.clone().unwrap_or_default(),
                faults if faults.places.is_empty() => "holds no HL7 message: no MSH segment was found".into(),
                faults => format!("holds no whole HL7 message: {}", faults.places.join("; ")),
            }),
        }
    }

    /// What was left out of a recording, in words.
    pub fn left_out(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Source::Recording(reader) = &self.source {
            let faults = &reader.faults;
            notes.extend(faults.places.iter().cloned());
            notes.extend(faults.broken.iter().map(|broken| format!("reading broke off: {broken}")));
        }
        notes
    }
}

fn recording(path: &Path) -> Result<Box<Reader>, String> {
    Reader::open(&Input::file(path), mllp::FRAME_BYTES_MAX, Progress::default()).map(Box::new).map_err(|error| error.to_string())
}
