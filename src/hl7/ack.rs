//! Acknowledgement by MSH-15/16: original and enhanced mode, AA AE AR and CA CE CR, MSA and ERR.
//!
//! What a positive answer means: *these bytes are durable in the journal*. It never says that the content is good.
//!
//! Its one contract: the header alone is read, nothing of the patient is repeated, and whatever is echoed cannot end the frame
//! that carries it. Sender and receiver change places, the delimiters are those that were received, MSA-2 is MSH-10 byte for
//! byte (its escapes untouched), in the character set of the message.
//!
//! Limits: of MSH-3 to 6 the first 512 bytes are echoed, of MSH-10 the first 4 096.

use super::batch::{is_batch, split_batch};
use super::header::{Header, MessageClass, front};
use crate::charset;
use crate::time::Timestamp;

/// Bytes echoed of one of MSH-3 to 6, 9, 11, 12 and 18.
const ECHO_BYTES_MAX: usize = 512;
/// The release of an answer to a sender that names none: the last one in which an error is text in MSA-3.
const VERSION_UNSAID: &[u8] = b"2.4";
/// Bytes echoed of MSH-10.
const CONTROL_ID_BYTES_MAX: usize = 4096;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable in the journal.
    Stored,
    /// Could not be stored (disk full or failing): AE, ERR 207.
    NotStored,
    /// A query, a message in the wrong direction of work: AR, ERR 200 or 201.
    Unsupported,
    /// Not HL7, or no usable header: AR, ERR 100.
    Unreadable,
    /// Over the frame cap: AR.
    TooLarge,
}

impl Outcome {
    /// The letter behind A or C in MSA-1.
    const fn letter(self) -> usize {
        match self {
            Outcome::Stored => 0,
            Outcome::NotStored => 1,
            Outcome::Unsupported | Outcome::Unreadable | Outcome::TooLarge => 2,
        }
    }
    /// ERR-3 by table 0357, and what a person reads.
    const fn error(self, query: bool) -> (&'static str, &'static str, &'static str) {
        match self {
            Outcome::Stored => ("0", "Message accepted", ""),
            Outcome::NotStored => ("207", "Application internal error", "could not be stored, please send again"),
            Outcome::Unsupported if query => ("200", "Unsupported message type", "queries are not answered here"),
            Outcome::Unsupported => ("201", "Unsupported event code", "not accepted here"),
            Outcome::Unreadable => ("100", "Segment sequence error", "no readable MSH segment"),
            Outcome::TooLarge => ("207", "Application internal error", "message is larger than the limit"),
        }
    }
}

/// Which mode a listener answers in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckMode {
    /// As MSH-15/16 ask.
    #[default]
    Auto,
    /// AA, AE, AR even where a commit acknowledgement was asked for. Where none was asked for at all, none is sent.
    Original,
    /// Never (tap).
    Never,
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Acknowledgement messages (payloads without framing), in order: none, one, two (commit and application), or those of a
    /// batch's messages.
    pub messages: Vec<Vec<u8>>,
    /// MSA-1 of the last one, for counting (`AA`, `CE`, …); empty if none.
    pub code: &'static str,
}

/// Answers a frame's payload (of which only the header is read).
///
/// `unique` makes our own MSH-10 unique; `at` is our time. A batch is answered message by message.
pub fn answer(payload: &[u8], outcome: Outcome, mode: AckMode, unique: u64, at: Timestamp) -> Answer {
    let mut answer = Answer::default();
    if mode == AckMode::Never {
        return answer;
    }
    let mut own_id = OwnId { unique, count: 0 };
    if is_batch(payload) {
        let batch = split_batch(payload);
        for message in &batch.messages {
            answer_one(message, outcome, mode, &mut own_id, at, &mut answer);
        }
        if !batch.messages.is_empty() {
            return answer;
        }
    }
    answer_one(payload, outcome, mode, &mut own_id, at, &mut answer);
    answer
}

/// Digits of our own MSH-10. `E`, `I`, `O` and `S` are not among them: no name of a segment of an acknowledgement or of a batch
/// (MSH, MSA, ERR, BHS, BTS, FHS, FTS, …) can be spelled. The id is followed by the field separator, and there are clients that
/// take `MSH|` anywhere for the begin of a message.
const ID_DIGITS: &[u8; 32] = b"0123456789ABCDFGHJKLMNPQRTUVWXYZ";

/// Our own MSH-10: `VG`, the number in [`ID_DIGITS`] and, from the second message on, a counter; at most 20 characters for
/// 64 000 messages of a batch.
struct OwnId {
    unique: u64,
    count: u32,
}

impl OwnId {
    fn next(&mut self) -> String {
        let mut digits = [0u8; 13];
        let (mut at, mut rest) = (digits.len(), self.unique);
        loop {
            at -= 1;
            digits[at] = ID_DIGITS[(rest % 32) as usize];
            rest /= 32;
            if rest == 0 {
                break;
            }
        }
        self.count += 1;
        let number = String::from_utf8_lossy(&digits[at..]);
        if self.count == 1 { format!("VG{number}") } else { format!("VG{number}-{:x}", self.count) }
    }
}

/// When an acknowledgement is wanted (table 0155).
fn wanted(condition: &[u8], stored: bool) -> bool {
    match condition {
        b"" | b"\"\"" | b"NE" => false,
        b"ER" => !stored,
        b"SU" => stored,
        // `AL`, and what no table has: a sender that waits in vain stands still.
        _ => true,
    }
}

fn answer_one(payload: &[u8], outcome: Outcome, mode: AckMode, own_id: &mut OwnId, at: Timestamp, answer: &mut Answer) {
    const APPLICATION: [&str; 3] = ["AA", "AE", "AR"];
    const COMMIT: [&str; 3] = ["CA", "CE", "CR"];
    // A UTF-16 message is read, and answered, in UTF-16; all others are ASCII where it matters.
    let utf16 = charset::utf16(payload);
    let decoded;
    let mut bytes = payload;
    if let Some((encoding, mark)) = utf16 {
        // An odd last byte is half a character, and no header ends there.
        let units = &payload[mark..];
        let head = &units[..(units.len() & !1).min(2 * ECHO_BYTES_MAX * 16)];
        decoded = encoding.decode_without_bom_handling(head).0.into_owned();
        bytes = decoded.as_bytes();
    }
    let header = Header::read(front(bytes)).filter(|header| header.text().starts_with(b"MSH"));
    let class = header.as_ref().map_or(MessageClass::Message, |header| header.class());
    if class == MessageClass::Response {
        return;
    }
    let outcome = match (&header, class, outcome) {
        (_, _, Outcome::TooLarge | Outcome::NotStored) if class != MessageClass::Query => outcome,
        (None, _, _) => Outcome::Unreadable,
        (_, MessageClass::Query, _) => Outcome::Unsupported,
        _ => outcome,
    };
    let stored = outcome == Outcome::Stored;
    let condition = |n| header.as_ref().map_or(&b""[..], |header| header.component(n, 1));
    let (accept, application) = (condition(15), condition(16));
    let unset = |condition: &[u8]| matches!(condition, b"" | b"\"\"");
    let mut codes = [None, None];
    if unset(accept) && unset(application) {
        codes[1] = Some(APPLICATION[outcome.letter()]);
    } else if mode == AckMode::Original {
        let any = wanted(accept, stored) || wanted(application, stored);
        codes[1] = any.then_some(APPLICATION[outcome.letter()]);
    } else {
        codes[0] = wanted(accept, stored).then_some(COMMIT[outcome.letter()]);
        // What was not accepted is not worked on: the refusal is said once.
        let said = codes[0].is_some() && !stored;
        codes[1] = (wanted(application, stored) && !said).then_some(APPLICATION[outcome.letter()]);
    }
    for code in codes.into_iter().flatten() {
        let message = write(header.as_ref(), code, outcome, class == MessageClass::Query, &own_id.next(), at);
        answer.messages.push(match utf16 {
            None => message,
            Some((encoding, mark)) => to_utf16(&message, encoding == encoding_rs::UTF_16BE, mark > 0),
        });
        answer.code = code;
    }
}

/// What was received, as far as it may be repeated: no byte that frames or ends a segment.
fn echo(out: &mut Vec<u8>, field: &[u8], bytes_max: usize) {
    let field = &field[..field.len().min(bytes_max)];
    out.extend(field.iter().filter(|byte| !matches!(**byte, 0 | b'\r' | b'\n' | crate::mllp::VT | crate::mllp::FS)));
}

/// `2.5.1` as numbers, to be compared.
fn version(text: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = std::str::from_utf8(text).ok()?.split('.').map(|part| part.parse::<u32>());
    Some((parts.next()?.ok()?, parts.next().unwrap_or(Ok(0)).ok()?, parts.next().unwrap_or(Ok(0)).ok()?))
}

/// Writes one acknowledgement.
fn write(header: Option<&Header<'_>>, code: &str, outcome: Outcome, query: bool, own_id: &str, at: Timestamp) -> Vec<u8> {
    let delimiters = header.map(Header::delimiters).unwrap_or_default();
    let (f, c) = (delimiters.field, delimiters.component);
    let field = |n: usize| header.map_or(&b""[..], |header| header.field(n));
    // What a sender left out and every release demands is filled in: processing id and version.
    let (processing, release) = match header {
        None => (&b"P"[..], &b"2.5"[..]),
        Some(_) => (or(field(11), b"P"), or(field(12), VERSION_UNSAID)),
    };
    let known = version(header.map_or(release, |header| or(header.component(12, 1), VERSION_UNSAID)));
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"MSH");
    out.push(f);
    match header.map(|header| header.sent(2)) {
        // The fifth is the truncation character of v2.7.
        Some(sent @ [a, b, e, s, _]) if [*a, *b, *e, *s] == characters(delimiters) => echo(&mut out, sent, 5),
        _ => out.extend_from_slice(&characters(delimiters)),
    }
    for n in [5, 6, 3, 4] {
        out.push(f);
        echo(&mut out, field(n), ECHO_BYTES_MAX);
    }
    if header.is_none() {
        // Nobody to answer to by name: say at least who speaks.
        out.truncate(out.len() - 4);
        out.extend_from_slice(b"|VITALGUARD|||");
    }
    out.push(f);
    out.extend_from_slice(at.hl7().as_bytes());
    out.extend_from_slice(&[f, f]);
    out.extend_from_slice(b"ACK");
    let event = header.map_or(&b""[..], |header| header.component(9, 2));
    let event = if event.len() <= 8 && event.iter().all(u8::is_ascii_alphanumeric) { event } else { b"" };
    // The third component came with 2.3.1; who writes it in an older message also reads it.
    let structure = header.is_some_and(|header| !header.component(9, 3).is_empty());
    if structure || known.is_some_and(|version| version >= (2, 3, 1)) {
        out.push(c);
        out.extend_from_slice(event);
        out.push(c);
        out.extend_from_slice(b"ACK");
    } else if !event.is_empty() {
        out.push(c);
        out.extend_from_slice(event);
    }
    out.push(f);
    out.extend_from_slice(own_id.as_bytes());
    for value in [processing, release] {
        out.push(f);
        echo(&mut out, value, ECHO_BYTES_MAX);
    }
    if !field(18).is_empty() {
        out.extend_from_slice(&[f; 6]);
        echo(&mut out, field(18), ECHO_BYTES_MAX);
    }
    out.extend_from_slice(b"\rMSA");
    out.push(f);
    out.extend_from_slice(code.as_bytes());
    out.push(f);
    echo(&mut out, field(10), CONTROL_ID_BYTES_MAX);
    if outcome != Outcome::Stored {
        let (number, name, text) = outcome.error(query);
        if known.is_some_and(|version| version >= (2, 5, 0)) {
            // ERR-3 what, ERR-4 how bad, ERR-8 for people.
            out.extend_from_slice(b"\rERR");
            out.extend_from_slice(&[f; 3]);
            out.extend_from_slice(number.as_bytes());
            out.push(c);
            out.extend_from_slice(name.as_bytes());
            out.push(c);
            out.extend_from_slice(b"HL70357");
            out.push(f);
            out.push(b'E');
            out.extend_from_slice(&[f; 4]);
            out.extend_from_slice(text.as_bytes());
        } else {
            out.push(f);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.push(b'\r');
    out
}

/// The field, or what stands in for an empty one.
fn or<'a>(field: &'a [u8], standing_in: &'a [u8]) -> &'a [u8] {
    if matches!(field.trim_ascii(), b"" | b"\"\"") { standing_in } else { field }
}

fn characters(delimiters: super::Delimiters) -> [u8; 4] {
    [delimiters.component, delimiters.repetition, delimiters.escape, delimiters.subcomponent]
}

fn to_utf16(message: &[u8], big: bool, mark: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(message);
    let mark = mark.then_some(0xFEFF);
    mark.into_iter()
        .chain(text.encode_utf16())
        .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
        .collect()
}

#[cfg(test)]
mod tests;
