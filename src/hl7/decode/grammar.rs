//! Numbers of OBX-5 and limits: the plain decimal by hand (it is nearly every value), everything else by the grammars of
//! [`value`](crate::hl7::value).

use super::super::Field;

/// What an OBX-5 holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Nothing, or one of the words that mean nothing.
    Absent,
    Number(f64),
    /// Beyond the end of the scale; the end.
    Beyond(f64),
    NotNumeric,
}

/// A decimal of at most 15 digits: optional sign, a point, no exponent. Exactly what `str::parse` would give: both the digits and
/// the power of ten are exact in an `f64`, so that one division rounds once.
pub fn decimal(raw: &[u8]) -> Option<f64> {
    const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, digits) = match raw {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, raw),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let (mut whole, mut decimals, mut point, mut count) = (0u64, 0usize, false, 0usize);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                whole = whole * 10 + u64::from(byte - b'0');
                decimals += usize::from(point);
                count += 1;
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    if count == 0 || count > 15 {
        return None;
    }
    let value = whole as f64 / TENS[decimals];
    Some(if negative { -value } else { value })
}

/// Reads an OBX-5.
pub fn read(field: Field<'_>) -> Value {
    let raw = field.trimmed();
    if let Some(number) = decimal(raw) {
        return Value::Number(number);
    }
    match raw {
        b"" | b"\"\"" | b"-?-" | b"---" | b"--" | b"-" | b"N/A" | b"n/a" | b"EMPTY" => return Value::Absent,
        _ => {}
    }
    Value::NotNumeric
}
