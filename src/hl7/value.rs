//! Values as senders write them: NM, SN, and numbers inside ST and TX.
//!
//! Its one contract: a number that comes out of here is the number that was meant, or there is none. A decimal comma, an
//! exponent, an escape, a blood pressure written `120/80` are refused, not repaired: `37,2` may be 37.2 or 372.
//!
//! Limits: 32 bytes a number; a unit written behind the number is handed out as text, and whoever knows the parameter must
//! know the unit or refuse the row.

use super::Field;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{char, digit0, digit1, one_of};
use nom::combinator::{opt, recognize, value, verify};
use nom::sequence::pair;
use nom::{IResult, Parser};

/// Longest text that is tried as a number, bytes.
const NUMBER_BYTES_MAX: usize = 32;
/// Longest unit behind a number, bytes.
const UNIT_BYTES_MAX: usize = 16;

/// `<`, `<=`, `>`, `>=`: the value is beyond the end of the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a value field says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Number {
        value: f64,
        /// Digits behind the decimal point as sent: the resolution that the sender claims.
        decimals: u8,
        /// Set: off scale; `value` is the end of the scale.
        comparator: Option<Comparator>,
        /// A unit written behind the number; mostly empty.
        unit: &'a [u8],
    },
    /// Nothing, `""`, or a text that means nothing: `---`, `-?-`, `N/A`.
    Absent,
    Refused(Refusal),
}

/// Why a text is no number for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Words.
    NotNumeric,
    /// `37,2`, `1,000`.
    DecimalComma,
    /// `1e5`, `10*3`.
    Exponent,
    /// An escape sequence inside a number.
    Escape,
    /// `120/80`, `1:128`, `50-120`, several repetitions: more than one number.
    Several,
    TooLong,
}

/// Reads OBX-5 by its type in OBX-2: `SN` by components, all others (NM, ST, TX, empty) as one number.
pub fn read<'a>(value_type: &[u8], field: Field<'a>) -> Value<'a> {
    let delimiters = field.delimiters();
    // The usual value: digits, perhaps a point.
    if let Some((value, decimals)) = plain(field.raw()) {
        return Value::Number { value, decimals, comparator: None, unit: &[] };
    }
    if memchr::memchr(delimiters.repetition, field.raw()).is_some() {
        // A trailing or leading empty repetition is no second value.
        let mut sent = field.repetitions().filter(|repetition| !repetition.is_empty());
        return match (sent.next(), sent.next()) {
            (Some(one), None) => read(value_type, one),
            (None, _) => Value::Absent,
            _ => Value::Refused(Refusal::Several),
        };
    }
    if value_type.trim_ascii() == b"SN" || memchr::memchr(delimiters.component, field.raw()).is_some() {
        return structured(field);
    }
    number(field.trimmed(), delimiters.escape)
}

/// SN: comparator ^ number ^ separator or suffix ^ number.
fn structured(field: Field<'_>) -> Value<'_> {
    let [mark, first, separator, second] = [1, 2, 3, 4].map(|n| field.component(n));
    let escape = field.delimiters().escape;
    if first.is_empty() && separator.is_empty() && second.is_empty() {
        // `>90^^^`: everything in one component.
        return number(mark.trimmed(), escape);
    }
    if !second.is_empty() || !matches!(separator.trimmed(), b"" | b"+" | b"\"\"") {
        return Value::Refused(Refusal::Several);
    }
    let sign = match mark.trimmed() {
        b"" | b"=" | b"\"\"" => None,
        b"<" => Some(Comparator::Less),
        b"<=" => Some(Comparator::LessOrEqual),
        b">" => Some(Comparator::Greater),
        b">=" => Some(Comparator::GreaterOrEqual),
        _ => return Value::Refused(Refusal::NotNumeric),
    };
    // `^90^+` is "90 or more".
    let sign = if separator.trimmed() == b"+" { sign.or(Some(Comparator::GreaterOrEqual)) } else { sign };
    match number(first.trimmed(), escape) {
        Value::Number { value, decimals, comparator: None, unit } => Value::Number { value, decimals, comparator: sign, unit },
        Value::Number { .. } => Value::Refused(Refusal::NotNumeric),
        other => other,
    }
}

/// Digits with at most one point between them and a minus sign before: exact up to 15 digits.
#[inline]
fn plain(text: &[u8]) -> Option<(f64, u8)> {
    const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (minus, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 16 {
        return None;
    }
    let (mut sum, mut count, mut point) = (0u64, 0u8, None);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                sum = sum * 10 + u64::from(byte - b'0');
                count += 1;
            }
            b'.' if point.is_none() && count > 0 => point = Some(count),
            _ => return None,
        }
    }
    let decimals = point.map_or(0, |point| count - point);
    if count == 0 || count > 15 || (point.is_some() && decimals == 0) {
        return None;
    }
    // Both are exact below 2^53, so that the quotient is the nearest number there is.
    let value = sum as f64 / TENS[usize::from(decimals)];
    Some((if minus && value != 0.0 { -value } else { value }, decimals))
}

fn comparator(text: &[u8]) -> IResult<&[u8], Comparator> {
    alt((
        value(Comparator::LessOrEqual, alt((tag(&b"<="[..]), tag("≤".as_bytes())))),
        value(Comparator::Less, tag(&b"<"[..])),
        value(Comparator::GreaterOrEqual, alt((tag(&b">="[..]), tag("≥".as_bytes())))),
        value(Comparator::Greater, tag(&b">"[..])),
    ))
    .parse(text)
}

/// `72`, `-0.5`, `+37.2`, `.5`, `5.`
fn decimal(text: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize((opt(one_of("+-")), alt((recognize((digit1, opt(pair(char('.'), digit0)))), recognize((char('.'), digit1))))))
        .parse(text)
}

/// A unit behind a number: begins with a letter, a percent or a degree sign; one word.
fn unit(text: &[u8]) -> IResult<&[u8], &[u8]> {
    let word = take_while(|byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"/%.*[]()_{}-".contains(&byte));
    verify(word, |word: &[u8]| {
        word.len() <= UNIT_BYTES_MAX
            && word.first().is_none_or(|&first| first.is_ascii_alphabetic() || first == b'%' || first == b'[' || first >= 0x80)
    })
    .parse(text)
}

fn blanks(text: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|byte: u8| byte == b' ' || byte == b'\t').parse(text)
}

/// One number with what may stand around it.
fn number(text: &[u8], escape: u8) -> Value<'_> {
    if let Some((value, decimals)) = plain(text) {
        return Value::Number { value, decimals, comparator: None, unit: &[] };
    }
    if means_absent(text) {
        return Value::Absent;
    }
    if memchr::memchr(escape, text).is_some() {
        return Value::Refused(Refusal::Escape);
    }
    let parsed = (opt(comparator), blanks, decimal, blanks, opt(unit)).parse(text);
    let Ok((rest, (comparator, _, digits, _, unit))) = parsed else { return Value::Refused(Refusal::NotNumeric) };
    let unit = unit.unwrap_or_default();
    if digits.len() > NUMBER_BYTES_MAX {
        return Value::Refused(Refusal::TooLong);
    }
    match rest.first() {
        None => {}
        Some(b',') => return Value::Refused(Refusal::DecimalComma),
        Some(b'/' | b':' | b'-' | b'0'..=b'9' | b'.' | b'+') => return Value::Refused(Refusal::Several),
        Some(b'*' | b'^') => return Value::Refused(Refusal::Exponent),
        Some(_) => return Value::Refused(Refusal::NotNumeric),
    }
    // `1e5`, `1E-3`, `7x10`: a number goes on there. (`e` alone is no unit either.)
    let goes_on = unit.len() > 1 && matches!(unit[0], b'e' | b'E' | b'x' | b'X') && matches!(unit[1], b'0'..=b'9' | b'-');
    if goes_on {
        return Value::Refused(Refusal::Exponent);
    }
    let Some(value) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<f64>().ok()).filter(|v| v.is_finite())
    else {
        return Value::Refused(Refusal::NotNumeric);
    };
    let decimals = digits.iter().rposition(|&byte| byte == b'.').map_or(0, |point| digits.len() - point - 1);
    Value::Number { value: if value == 0.0 { 0.0 } else { value }, decimals: decimals as u8, comparator, unit }
}

/// Texts that stand for "no value" with any sender.
pub fn means_absent(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    if text.is_empty() || text == b"\"\"" {
        return true;
    }
    text.iter().all(|byte| matches!(byte, b'-' | b'?' | b'*' | b'_' | b'.'))
        || ["n/a", "na", "nan", "null", "none", "n.a.", "unknown"].iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// Limits in OBX-7: `50-120`, `-5 - 10`, `50^120`, `>98`, `<120`. NaN for a side that was not sent, twice NaN for what is none.
pub fn limits(field: Field<'_>) -> (f64, f64) {
    const NONE: (f64, f64) = (f64::NAN, f64::NAN);
    let escape = field.delimiters().escape;
    let one = |text: &[u8]| match number(text, escape) {
        Value::Number { value, comparator: None, .. } => value,
        _ => f64::NAN,
    };
    if memchr::memchr(field.delimiters().component, field.raw()).is_some() {
        return (one(field.component(1).trimmed()), one(field.component(2).trimmed()));
    }
    let text = field.trimmed();
    if text.is_empty() {
        return NONE;
    }
    match number(text, escape) {
        Value::Number { value, comparator: Some(Comparator::Greater | Comparator::GreaterOrEqual), .. } => {
            return (value, f64::NAN);
        }
        Value::Number { value, comparator: Some(_), .. } => return (f64::NAN, value),
        _ => {}
    }
    let range = (decimal, blanks, char('-'), blanks, opt(decimal), blanks).parse(text);
    match range {
        Ok((b"", (low, _, _, _, high, _))) => (one(low), high.map_or(f64::NAN, one)),
        _ => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Message, Scratch};
    use super::*;

    /// Puts a text in OBX-5 and looks.
    fn with_field<T>(text: &str, look: impl FnOnce(Field<'_>) -> T) -> T {
        let frame = format!("MSH|^~\\&|A\rOBX|1|NM|x||{text}|");
        let mut scratch = Scratch::default();
        let message = Message::read(frame.as_bytes(), &mut scratch).unwrap();
        look(message.first(b"OBX").unwrap().field(5))
    }
    /// A value in one line: number, decimals, comparator, unit.
    fn story(kind: &str, text: &str) -> String {
        with_field(text, |field| match read(kind.as_bytes(), field) {
            Value::Number { value, decimals, comparator, unit } => {
                let sign = match comparator {
                    None => "",
                    Some(Comparator::Less) => "<",
                    Some(Comparator::LessOrEqual) => "<=",
                    Some(Comparator::Greater) => ">",
                    Some(Comparator::GreaterOrEqual) => ">=",
                };
                format!("{sign}{value}/{decimals}{}", String::from_utf8_lossy(unit))
            }
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn numbers_are_read() {
        for (sent, meant) in [
            ("72", "72/0"),
            ("-0.5", "-0.5/1"),
            ("+37.2", "37.2/1"),
            ("36.60", "36.6/2"),
            ("0072", "72/0"),
            (".5", "0.5/1"),
            ("5.", "5/0"),
            (" 98 ", "98/0"),
            ("-0", "0/0"),
            ("-100.00", "-100/2"),
            ("0.1", "0.1/1"),
            ("123456789012345", "123456789012345/0"),
            ("12345678901234567890", "12345678901234567000/0"),
            ("72 bpm", "72/0bpm"),
            ("37.1°C", "37.1/1°C"),
            ("98%", "98/0%"),
            ("4 mm[Hg]", "4/0mm[Hg]"),
            ("~72", "72/0"),
            ("<20", "<20/0"),
            ("> 98", ">98/0"),
            (">=40.0", ">=40/1"),
            ("≤5", "<=5/0"),
        ] {
            assert_eq!(story("NM", sent), meant, "{sent}");
        }
    }

    #[test]
    fn structured_numbers_are_read() {
        for (sent, meant) in [
            (">^90", ">90/0"),
            ("<=^4.5", "<=4.5/1"),
            ("^72", "72/0"),
            ("=^72^^", "72/0"),
            (">90", ">90/0"),
            ("72", "72/0"),
            ("^90^+", ">=90/0"),
            ("^1^:^128", "Refused(Several)"),
            ("^50^-^120", "Refused(Several)"),
            ("<>^5", "Refused(NotNumeric)"),
            (">^<5", "Refused(NotNumeric)"),
            (">^", "Refused(NotNumeric)"),
            ("^", "Absent"),
        ] {
            assert_eq!(story("SN", sent), meant, "{sent}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_refused() {
        for (sent, why) in [
            ("37,2", Refusal::DecimalComma),
            ("1,000", Refusal::DecimalComma),
            ("1e5", Refusal::Exponent),
            ("1E-3", Refusal::Exponent),
            ("7x10", Refusal::Exponent),
            ("10*3", Refusal::Exponent),
            (r"4.5x10\S\9", Refusal::Escape),
            (r"7\X32\", Refusal::Escape),
            ("120/80", Refusal::Several),
            ("50-120", Refusal::Several),
            ("1.2.3", Refusal::Several),
            ("1 2", Refusal::Several),
            ("72~73", Refusal::Several),
            ("high", Refusal::NotNumeric),
            ("inf", Refusal::NotNumeric),
            ("- 5", Refusal::NotNumeric),
            ("--5", Refusal::NotNumeric),
            ("−5", Refusal::NotNumeric),
            ("0x1F", Refusal::NotNumeric),
            ("72 beats per minute", Refusal::NotNumeric),
            ("1234567890123456789012345678901234", Refusal::TooLong),
        ] {
            let found = story("NM", sent);
            // `0x1F` reads as an exponent: refused all the same.
            assert!(found == format!("Refused({why:?})") || sent == "0x1F" && found.starts_with("Refused"), "{sent}: {found}");
        }
    }

    #[test]
    fn nothing_is_absent() {
        for sent in ["", "\"\"", "  ", "---", "-?-", "N/A", "***", "?", "null", "~"] {
            assert_eq!(story("NM", sent), "Absent", "{sent:?}");
        }
    }

    #[test]
    fn limits_are_read() {
        for (sent, low, high) in [
            ("50-120", 50.0, 120.0),
            ("50 - 120", 50.0, 120.0),
            ("-5--1.5", -5.0, -1.5),
            ("3600^3900", 3600.0, 3900.0),
            (">98", 98.0, f64::NAN),
            ("<120", f64::NAN, 120.0),
            ("90-", 90.0, f64::NAN),
            ("", f64::NAN, f64::NAN),
            ("normal", f64::NAN, f64::NAN),
            ("50-120-130", f64::NAN, f64::NAN),
        ] {
            let (l, h) = with_field(sent, limits);
            let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
            assert!(same(l, low) && same(h, high), "{sent}: {l} {h}");
        }
    }

    #[test]
    fn every_short_decimal_is_the_nearest_double() {
        for whole in 0..300 {
            for tenth in 0..100 {
                let text = format!("{whole}.{tenth:02}");
                assert_eq!(plain(text.as_bytes()), Some((text.parse().unwrap(), 2)));
            }
        }
    }
}
