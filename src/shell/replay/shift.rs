//! Moving the times of a message: MSH-7, EVN-2, OBR-7, OBR-8 and OBX-14, in the precision and zone in which they stand.

use super::when;
use crate::hl7::time::Zone;
use crate::time::Timestamp;

/// The payload with its times moved by `by_ms`. What is no time of at least minute precision stays as it is.
pub fn moved(payload: &[u8], by_ms: i64) -> Vec<u8> {
    let Some(&separator) = payload.get(3) else { return payload.to_vec() };
    let mut out = Vec::with_capacity(payload.len() + 16);
    for (at, line) in payload.split(|b| *b == b'\r').enumerate() {
        if at > 0 {
            out.push(b'\r');
        }
        let positions: &[usize] = match line.get(..3) {
            Some(b"MSH") => &[6],
            Some(b"EVN") => &[2],
            Some(b"OBR") => &[7, 8],
            Some(b"OBX") => &[14],
            _ => &[],
        };
        for (position, field) in line.split(|b| *b == separator).enumerate() {
            if position > 0 {
                out.push(separator);
            }
            match positions.contains(&position).then(|| moved_time(field, by_ms)).flatten() {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => out.extend_from_slice(field),
            }
        }
    }
    out
}

fn moved_time(field: &[u8], by_ms: i64) -> Option<String> {
    // The civil fields are moved as they stand; an offset after them is kept.
    let digits = field.iter().take_while(|b| b.is_ascii_digit()).count();
    let fraction = match field.get(digits) {
        Some(b'.') => field[digits + 1..].iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    };
    let end = digits + if fraction > 0 { fraction + 1 } else { 0 };
    let civil = when::instant(when::read(&field[..end])?, None, &Zone::Offset(0))?;
    let text = Timestamp::plus_ms(civil, by_ms).hl7();
    // YYYYMMDDhhmmss.mmm+0000
    let (whole, ms) = (&text[..14], &text[15..18]);
    let mut out = String::new();
    out.push_str(&whole[..digits.min(14)]);
    if digits >= 17 {
        out.push_str(ms);
    }
    if fraction > 0 {
        out.push('.');
        out.push_str(&ms[..fraction.min(3)]);
        out.extend(std::iter::repeat_n('0', fraction.saturating_sub(3)));
    }
    out.push_str(std::str::from_utf8(&field[end..]).ok()?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_in_their_own_form() {
        let day = 86_400_000;
        let text = "MSH|^~\\&|G||||20260101235959.1234+0100||ORU^R01|1\rPID|||19500101\rOBR|1||||||202601012300|20260101\rOBX|1|NM|c||1||||||F|||20260101235959123\r";
        let moved = String::from_utf8(moved(text.as_bytes(), day)).unwrap();
        assert_eq!(
            moved,
            "MSH|^~\\&|G||||20260102235959.1230+0100||ORU^R01|1\rPID|||19500101\rOBR|1||||||202601022300|20260101\rOBX|1|NM|c||1||||||F|||20260102235959123\r"
        );
    }

    #[test]
    fn moving_by_nothing_changes_nothing_but_the_fraction_beyond_milliseconds() {
        let text = b"MSH|^~\\&|G||||20260101235959.123+0100||ORU^R01|1\rOBX|1|NM|c||1||||||F|||20260101235959\r";
        assert_eq!(moved(text, 0), text);
    }
}
