//! Where the segments of a text begin and end. Nothing is rewritten: what is no segment belongs to the one before it.

use super::{Delimiters, FIELDS_MAX, SEGMENTS_MAX};
use crate::observation::MessageFlags;

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
pub(super) fn index(
    text: &[u8],
    delimiters: Delimiters,
    plain: bool,
    segments: &mut Vec<(u32, u32)>,
    flags: &mut MessageFlags,
) -> u32 {
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
