//! HL7 escape sequences, resolved after splitting and never before: `\X0D\` makes no segment and `\F\` makes no field.
//!
//! Limits: what is not known (`\Z99\`, `\C2842\`, an escape without end) stays as it was sent, byte for byte.

use super::Delimiters;
use std::borrow::Cow;

/// Longest escape sequence that is looked for, bytes between the two escape characters: `\X…\` of 512 bytes.
const SEQUENCE_BYTES_MAX: usize = 1024;

/// Resolves the escapes of one field, component or sub-component.
pub fn unescape<'a>(raw: &'a [u8], delimiters: &Delimiters) -> Cow<'a, [u8]> {
    let Some(first) = memchr::memchr(delimiters.escape, raw) else { return Cow::Borrowed(raw) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut at = first;
    while at < raw.len() {
        // `at` stands on an escape character.
        let body = &raw[at + 1..raw.len().min(at + 2 + SEQUENCE_BYTES_MAX)];
        match memchr::memchr(delimiters.escape, body) {
            Some(len) if resolve(&body[..len], delimiters, &mut out) => at += len + 2,
            // Unknown, or never closed: the escape character is text, and what closed it may open the next one.
            _ => {
                out.push(raw[at]);
                at += 1;
            }
        }
        let rest = &raw[at..];
        let plain = memchr::memchr(delimiters.escape, rest).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        at += plain;
    }
    Cow::Owned(out)
}

/// Writes what one sequence means; `false` where it is unknown.
fn resolve(sequence: &[u8], delimiters: &Delimiters, out: &mut Vec<u8>) -> bool {
    match sequence {
        b"F" => out.push(delimiters.field),
        b"S" => out.push(delimiters.component),
        b"T" => out.push(delimiters.subcomponent),
        b"R" => out.push(delimiters.repetition),
        b"E" => out.push(delimiters.escape),
        b"P" => out.push(b'#'),
        // Highlighting on and off has no text of its own.
        b"H" | b"N" => {}
        [b'X', hex @ ..] => return hexadecimal(hex, out),
        [b'.', command @ ..] => return formatting(command, out),
        _ => return false,
    }
    true
}

/// `\X0A41\`: bytes of the message's character set. Bytes above ASCII that are no UTF-8 are read as windows-1252, so that text
/// stays text.
fn hexadecimal(hex: &[u8], out: &mut Vec<u8>) -> bool {
    if hex.is_empty() || !hex.len().is_multiple_of(2) || !hex.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = hex.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    match std::str::from_utf8(&bytes) {
        Ok(_) => out.extend_from_slice(&bytes),
        Err(_) => out.extend_from_slice(encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes).0.as_bytes()),
    }
    true
}

/// The commands of formatted text (FT) that stand for white space; `\.in+4\` and its like only say how to lay it out.
fn formatting(command: &[u8], out: &mut Vec<u8>) -> bool {
    let (name, number) = command.split_at(command.len().min(2));
    let number = number.strip_prefix(b"+").unwrap_or(number);
    let count = match number {
        b"" => 1,
        digits if digits.len() <= 2 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
        }
        _ => return false,
    };
    match name {
        b"br" | b"ce" => out.push(b'\n'),
        b"sp" => out.extend(std::iter::repeat_n(b'\n', count)),
        b"sk" => out.extend(std::iter::repeat_n(b' ', count)),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> String {
        String::from_utf8(unescape(raw.as_bytes(), &Delimiters::default()).into_owned()).unwrap()
    }

    #[test]
    fn delimiters_come_back() {
        assert_eq!(text(r"1\S\128 mg\F\dl a\T\b a\R\b c:\E\d"), r"1^128 mg|dl a&b a~b c:\d");
        assert_eq!(text(r"\F\\F\"), "||");
        let odd = Delimiters { field: b'#', component: b'@', repetition: b'~', escape: b'!', subcomponent: b'%' };
        assert_eq!(&*unescape(br"a!F!b!S!c\F\", &odd), br"a#b@c\F\");
    }

    #[test]
    fn hexadecimal_bytes_are_text() {
        assert_eq!(text(r"\X41\"), "A");
        assert_eq!(text(r"a\X0D0a\b"), "a\r\nb");
        assert_eq!(text(r"\XE9\"), "é", "a latin-1 byte");
        assert_eq!(text(r"\XC3A9\"), "é", "the same in UTF-8");
    }

    #[test]
    fn unknown_escapes_stay_as_sent() {
        for raw in [r"\Z99\", r"\C2842\", r"\X4\", r"\X4G\", r"\X\", r"\é\", r"a\", r"\", r"\\", r"a\F", r"\.in\", r"\.sp1000\"]
        {
            assert_eq!(text(raw), raw);
        }
        assert_eq!(text(r"\unknown\F\"), r"\unknown|", "what closes an unknown escape may open a known one");
    }

    #[test]
    fn formatting_is_white_space() {
        assert_eq!(text(r"one\.br\two\.sp2\three\.sk3\four\H\!\N\"), "one\ntwo\n\nthree   four!");
    }
}
