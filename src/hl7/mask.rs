//! Which fields of a message are shown when identities are masked: a list of what may be seen, everything else is hidden.
//!
//! Shown are the header, times, codes, units, numbers, status and marks. Patients, relatives, places, people, devices, order
//! numbers and free texts are not; of segments that are not listed (Z segments among them) nothing is.

use super::{Message, Segment};
use std::ops::Range;

/// Stands for every field that is hidden and not empty.
pub const HIDDEN: &str = "***";
/// Longest field that is shown, characters (waveforms are long).
const FIELD_CHARS_MAX: usize = 200;

/// Whether a field may be seen. `number`: OBX-2 declares a number or samples of a waveform, and so no text.
pub fn shows(segment: &[u8], field: usize, number: bool) -> bool {
    match segment {
        b"MSH" | b"BHS" | b"FHS" => field != 8,
        b"EVN" => matches!(field, 1 | 2),
        b"MSA" => matches!(field, 1 | 2),
        b"ERR" => matches!(field, 1..=4),
        b"SFT" => true,
        b"PV1" => field == 2,
        b"OBR" => matches!(field, 1 | 4 | 6..=8 | 14 | 22 | 24 | 25),
        b"OBX" => match field {
            1..=4 | 6..=8 | 10 | 11 | 13 | 14 | 17 => true,
            5 => number,
            _ => false,
        },
        _ => false,
    }
}

/// Whether OBX-2 declares a number or samples of a waveform.
pub fn is_number_type(value_type: &[u8]) -> bool {
    matches!(value_type.trim_ascii(), b"NM" | b"SN" | b"NA" | b"MA")
}

/// A segment as text, and where its fields stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    /// Field number by HL7's counting, and its place in `text` in UTF-16 code units, as a browser counts.
    pub fields: Vec<(usize, Range<usize>)>,
}

impl Shown {
    /// Place of a field, where it was sent.
    pub fn field(&self, n: usize) -> Option<Range<usize>> {
        self.fields.iter().find(|(field, _)| *field == n).map(|(_, range)| range.clone())
    }
    fn push(&mut self, text: &str, units: &mut usize) {
        self.text.push_str(text);
        *units += text.encode_utf16().count();
    }
}

/// How a segment is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eyes {
    /// Masked; `id`: MSH-10 may be seen (of some senders it holds a serial).
    Masked { id: bool },
    /// As received, for those who may see it.
    Whole,
}

/// A segment as it may be seen. Control characters (line ends of a text that went over several lines) become blanks.
pub fn segment(segment: &Segment<'_>, eyes: Eyes) -> Shown {
    let (bytes, _) = segment.text();
    let separator = segment.delimiters.field;
    let known = segment.name();
    let named = known.len() == 3 && known.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let number = is_number_type(segment.field(2).raw());
    let header = segment.counts_separator();
    let mut shown = Shown::default();
    let mut units = 0;
    for (place, part) in bytes.split(|byte| *byte == separator).enumerate() {
        if place == 0 {
            let name = if named || eyes == Eyes::Whole { clean(part) } else { HIDDEN.to_owned() };
            shown.push(&name, &mut units);
            continue;
        }
        let n = place + usize::from(header);
        shown.push(char::from(separator).encode_utf8(&mut [0; 4]), &mut units);
        let start = units;
        let text = match eyes {
            Eyes::Whole => clean(part),
            Eyes::Masked { id } => masked(known, n, part, named, number, id, segment.delimiters.component),
        };
        shown.push(&text, &mut units);
        shown.fields.push((n, start..units));
    }
    shown
}

fn masked(name: &[u8], n: usize, part: &[u8], named: bool, number: bool, id: bool, component: u8) -> String {
    if part.iter().all(u8::is_ascii_whitespace) {
        return String::new();
    }
    let header = matches!(name, b"MSH" | b"BHS" | b"FHS");
    if !named || !shows(name, n, number) || (header && n == 10 && !id) {
        return HIDDEN.to_owned();
    }
    if header && (3..=6).contains(&n) {
        // The universal id behind a name is the serial of a device.
        let mut parts = part.split(|byte| *byte == component);
        let first = short(clean(parts.next().unwrap_or_default()));
        return if parts.any(|rest| !rest.is_empty()) { format!("{first}{}{HIDDEN}", char::from(component)) } else { first };
    }
    if name == b"OBX" && n == 5 {
        // What is declared a number and is none may be a name: its letters are not shown.
        return short(clean(part).chars().map(|c| if c.is_alphabetic() { 'x' } else { c }).collect());
    }
    short(clean(part))
}

fn clean(part: &[u8]) -> String {
    String::from_utf8_lossy(part).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn short(text: String) -> String {
    let rest = text.chars().count().saturating_sub(FIELD_CHARS_MAX);
    if rest == 0 {
        return text;
    }
    let kept: String = text.chars().take(FIELD_CHARS_MAX).collect();
    format!("{kept}… ({rest} more)")
}

/// Every segment of a message, at most `max`; and whether there are more.
pub fn message(message: &Message<'_>, eyes: Eyes, max: usize) -> (Vec<(String, Shown)>, bool) {
    let list = message.segments().take(max).map(|one| {
        let shown = segment(&one, eyes);
        let name: String = shown.text.chars().take_while(char::is_ascii_alphanumeric).take(8).collect();
        (name, shown)
    });
    (list.collect(), message.segment_count() > max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Scratch;

    fn of(text: &str, eyes: Eyes) -> Vec<Shown> {
        let mut scratch = Scratch::default();
        let read = Message::read(text.as_bytes(), &mut scratch).unwrap();
        message(&read, eyes, 100).0.into_iter().map(|(_, shown)| shown).collect()
    }

    const TEXT: &str = "MSH|^~\\&|MON^SECRETEUI^EUI-64|ICU|||20260101120000|SECRETTOKEN|ORU^R01|SECRETSERIAL-17|P|2.6\rPID|||S-1^^^K^MR||SECRET^ADA\r\
                        NK1|1|SECRETAUNT\rPV1||I|SECRETWARD^^1||||SECRETDOCTOR\rOBX|1|NM|147842^HR^MDC||72|/min|||||F|||20260101120000||SECRETNURSE||SECRETDEVICE\r\
                        OBX|2|TX|1^Note^L||SECRETTEXT||||||F\rNTE|1||SECRETNOTE\rZPI|SECRETZ\rOBX|3|NM|2^x^L||SECRET 12";

    #[test]
    fn what_may_name_someone_is_hidden_and_the_places_stay() {
        let hidden = of(TEXT, Eyes::Masked { id: false });
        let all: String = hidden.iter().map(|s| s.text.clone() + "\n").collect();
        assert!(!all.contains("SECRET") && !all.contains("S-1"), "{all}");
        assert!(hidden[0].text.starts_with("MSH|^~\\&|MON^***|ICU|||20260101120000|***|ORU^R01|***|P|2.6"), "{all}");
        let obx = &hidden[4];
        let value = obx.field(5).unwrap();
        assert_eq!(&obx.text[value], "72");
        assert_eq!(hidden[8].text, "OBX|3|NM|2^x^L||xxxxxx 12");
        assert_eq!(hidden[0].field(9).map(|r| &hidden[0].text[r]), Some("ORU^R01"));
        assert!(of(TEXT, Eyes::Masked { id: true })[0].text.contains("SECRETSERIAL-17"));
        assert!(of(TEXT, Eyes::Whole)[1].text.contains("SECRET^ADA"));
    }

    #[test]
    fn ranges_count_as_a_browser_does() {
        let text = "MSH|^~\\&|\u{1f600}|B|||20260101120000||ORU^R01|1|P|2.6|||||||UNICODE UTF-8";
        let shown = &of(text, Eyes::Whole)[0];
        let units: Vec<u16> = shown.text.encode_utf16().collect();
        let range = shown.field(4).unwrap();
        assert_eq!(String::from_utf16(&units[range]).unwrap(), "B");
    }
}
