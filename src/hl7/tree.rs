//! The message as a tree of places and texts, for people: `OBX[2]-5.1`. Off the hot path.
//!
//! hl7-parser reads it, behind a guard, because it stops at the first line that it does not like and says `Ok`, takes short or
//! long delimiter fields for something else, and needs 7 GB for 10 MB of separators. So: bounded before it starts; delimiters
//! in the four-character form; one well-formed line per segment; then every byte and every segment must have been read, field
//! by field the same as by our own cursor. Where that fails it is a [`ParserLoss`], and [`Tree::by_cursor`] stands in.
//!
//! Escapes and times are never left to it.

use super::{Field, Message, Segment, escape};
use crate::observation::MessageFlags;

/// Largest text given to the parser, bytes.
pub const TREE_BYTES_MAX: usize = 4 << 20;
/// Most delimiters given to the parser: it needs about 750 bytes of memory for each.
pub const TREE_DELIMITERS_MAX: usize = 100_000;

/// Why the parser's reading cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParserLoss {
    #[error("more text or delimiters than the parser can be given")]
    TooLarge,
    #[error("a second MSH: not one message")]
    SecondHeader,
    #[error("segments or fields beyond the bound")]
    Truncated,
    #[error("the parser refused the message")]
    Refused,
    #[error("the parser stopped after {read} of {sent} bytes")]
    Stopped { read: usize, sent: usize },
    #[error("the parser found {found} segments, there are {sent}")]
    Segments { found: usize, sent: usize },
    #[error("the parser reads segment {segment} differently")]
    Fields { segment: usize },
    #[error("the parser panicked")]
    Panicked,
}

/// One place and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `OBX[2]-3.2`, `PID[1]-3[2].4.1`: segment (counted among its name), field, repetition unless it is the only one,
    /// component and sub-component unless there is one only.
    pub path: String,
    /// Text with its escapes resolved.
    pub text: String,
}

/// A message's texts in order; what is empty is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    pub leaves: Vec<Leaf>,
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.leaves.iter().try_for_each(|leaf| writeln!(f, "{:<16} {}", leaf.path, leaf.text))
    }
}

impl Tree {
    /// The text at a place.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.leaves.iter().find(|leaf| leaf.path == path).map(|leaf| leaf.text.as_str())
    }

    /// The same tree by our own cursor: always there, for what the parser cannot read.
    pub fn by_cursor(message: &Message<'_>) -> Tree {
        let mut tree = Tree::default();
        let mut numbers = Numbers::default();
        for segment in message.segments() {
            tree.add_by_cursor(&numbers.name(&segment), &segment);
        }
        tree
    }

    fn add_by_cursor(&mut self, name: &str, segment: &Segment<'_>) {
        let raw_until = raw_until(segment);
        for n in 1..=segment.field_count() {
            let field = segment.field(n);
            let place = format!("{name}-{n}");
            if n <= raw_until {
                self.add(place, String::from_utf8_lossy(field.raw()).into_owned());
                continue;
            }
            let repeated = field.repetitions().nth(1).is_some();
            for (r, repetition) in field.repetitions().enumerate() {
                let place = if repeated { format!("{place}[{}]", r + 1) } else { place.clone() };
                let many = repetition.components().nth(1).is_some();
                for (c, component) in repetition.components().enumerate() {
                    let place = if many { format!("{place}.{}", c + 1) } else { place.clone() };
                    let parts = component.subcomponents().nth(1).is_some();
                    for (s, part) in component.subcomponents().enumerate() {
                        // A sub-component is only unique below its component.
                        let place =
                            if parts { format!("{place}{}.{}", if many { "" } else { ".1" }, s + 1) } else { place.clone() };
                        self.add(place, part.text().into_owned());
                    }
                }
            }
        }
    }

    fn add(&mut self, path: String, text: String) {
        if !text.is_empty() {
            // For a screen a line end is a line end.
            self.leaves.push(Leaf { path, text: if text.contains('\r') { text.replace('\r', "\n") } else { text } });
        }
    }
}

/// Fields that are delimiters themselves and are not split.
fn raw_until(segment: &Segment<'_>) -> usize {
    if segment.counts_separator() { 2 } else { 0 }
}

/// Counts segments of one name.
#[derive(Default)]
struct Numbers(std::collections::BTreeMap<String, usize>);

impl Numbers {
    fn name(&mut self, segment: &Segment<'_>) -> String {
        let name = String::from_utf8_lossy(segment.name()).into_owned();
        let number = self.0.entry(name.clone()).or_default();
        *number += 1;
        format!("{name}[{number}]")
    }
}

/// Whether the parser can read a line of this name (after padding).
fn well_formed(segment: &Segment<'_>) -> bool {
    segment.name().len() == 3 && segment.name().iter().all(u8::is_ascii_alphanumeric)
}

/// What the parser is given: one line for each well-formed segment, ended by CR, MSH-2 in four characters.
fn normalised(message: &Message<'_>) -> Vec<u8> {
    let delimiters = message.delimiters();
    let mut out = Vec::with_capacity(message.text().len() + 16);
    for (n, segment) in message.segments().enumerate() {
        if !well_formed(&segment) {
            continue;
        }
        let text = segment.text().0;
        if n == 0 {
            let d = delimiters;
            out.extend_from_slice(&[b'M', b'S', b'H', d.field, d.component, d.repetition, d.escape, d.subcomponent, d.field]);
            let rest = 3 + 1 + segment.field(2).raw().len() + 1;
            line(text.get(rest..).unwrap_or_default(), &mut out);
        } else {
            out.push(b'\r');
            line(text, &mut out);
            if segment.field_count() == 0 {
                out.push(delimiters.field);
            }
        }
    }
    out
}

/// A line end inside a field stays a line end, of the kind that ends no segment.
fn line(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|&byte| if byte == b'\r' { b'\n' } else { byte }));
}

/// Reads a message as a tree with hl7-parser, and proves that nothing was lost.
pub fn tree(message: &Message<'_>) -> Result<Tree, ParserLoss> {
    let text = given(message)?;
    std::panic::catch_unwind(|| by_parser(&text, message)).unwrap_or(Err(ParserLoss::Panicked))
}

/// How many segments of a name hl7-parser finds: a count that is not our cursor's.
pub fn count(message: &Message<'_>, name: &str) -> Result<usize, ParserLoss> {
    let text = given(message)?;
    let count = || {
        let parsed = checked_parse(&text, message.segments().filter(well_formed).count())?;
        Ok(parsed.segments.iter().filter(|segment| segment.name == name).count())
    };
    std::panic::catch_unwind(count).unwrap_or(Err(ParserLoss::Panicked))
}

/// What the parser may be given of a message.
fn given(message: &Message<'_>) -> Result<String, ParserLoss> {
    if message.flags().has(MessageFlags::SECOND_MSH) {
        return Err(ParserLoss::SecondHeader);
    }
    if message.flags().has(MessageFlags::TRUNCATED) {
        return Err(ParserLoss::Truncated);
    }
    if message.text().len() > TREE_BYTES_MAX {
        return Err(ParserLoss::TooLarge);
    }
    let text = normalised(message);
    let d = message.delimiters();
    let count = text.iter().filter(|byte| [d.field, d.component, d.repetition, d.subcomponent].contains(byte)).count();
    if count > TREE_DELIMITERS_MAX {
        return Err(ParserLoss::TooLarge);
    }
    String::from_utf8(text).map_err(|_| ParserLoss::Refused)
}

fn by_parser(text: &str, message: &Message<'_>) -> Result<Tree, ParserLoss> {
    let parsed = checked_parse(text, message.segments().filter(well_formed).count())?;
    let delimiters = message.delimiters();
    let mut tree = Tree::default();
    let mut numbers = Numbers::default();
    let mut theirs = parsed.segments.iter();
    for (n, segment) in message.segments().enumerate() {
        let name = numbers.name(&segment);
        if !well_formed(&segment) {
            tree.add_by_cursor(&name, &segment);
            continue;
        }
        let found = theirs.next().ok_or(ParserLoss::Fields { segment: n })?;
        let same = |(f, field): (usize, &hl7_parser::message::Field<'_>)| {
            let ours = segment.field(f + 1);
            (n == 0 && f < 2) || field.raw_value().bytes().eq(ours.raw().iter().map(|&b| if b == b'\r' { b'\n' } else { b }))
        };
        // BHS and FHS inside a message are counted by hl7-parser as if they were no headers.
        if n > 0 && segment.counts_separator() {
            tree.add_by_cursor(&name, &segment);
            continue;
        }
        if found.name.as_bytes() != segment.name() || !found.fields().enumerate().all(same) {
            return Err(ParserLoss::Fields { segment: n });
        }
        if found.fields.len() < segment.field_count() {
            return Err(ParserLoss::Fields { segment: n });
        }
        for (f, field) in found.fields().enumerate() {
            let place = format!("{name}-{}", f + 1);
            if f < raw_until(&segment) {
                tree.add(place, String::from_utf8_lossy(segment.field(f + 1).raw()).into_owned());
                continue;
            }
            let repeated = field.repeats.len() > 1;
            for (r, repeat) in field.repeats().enumerate() {
                let place = if repeated { format!("{place}[{}]", r + 1) } else { place.clone() };
                let many = repeat.components.len() > 1;
                for (c, component) in repeat.components().enumerate() {
                    let place = if many { format!("{place}.{}", c + 1) } else { place.clone() };
                    let parts = component.subcomponents.len() > 1;
                    for (s, part) in component.subcomponents().enumerate() {
                        let place =
                            if parts { format!("{place}{}.{}", if many { "" } else { ".1" }, s + 1) } else { place.clone() };
                        let raw = part.raw_value().as_bytes().trim_ascii();
                        let text = String::from_utf8_lossy(&escape::unescape(raw, &delimiters)).trim_ascii().to_owned();
                        tree.add(place, text);
                    }
                }
            }
        }
    }
    Ok(tree)
}

/// Parses, and demands that the whole text was read into as many segments as were given.
fn checked_parse(text: &str, segments: usize) -> Result<hl7_parser::Message<'_>, ParserLoss> {
    let parsed = hl7_parser::Message::parse(text).map_err(|_| ParserLoss::Refused)?;
    let read = parsed.raw_value().len();
    if read != text.len() {
        return Err(ParserLoss::Stopped { read, sent: text.len() });
    }
    if parsed.segments.len() != segments {
        return Err(ParserLoss::Segments { found: parsed.segments.len(), sent: segments });
    }
    Ok(parsed)
}

/// A field as people read it, in one line: its escapes resolved, delimiters kept.
pub fn display(field: &Field<'_>) -> String {
    String::from_utf8_lossy(&escape::unescape(field.raw(), &field.delimiters())).into_owned()
}

#[cfg(test)]
mod tests;
