//! The recorded clock: when a message of a recording happened.
//!
//! The packet's time in a capture; the recorded arrival where the log has one, else MSH-7, else the first OBX-14, else the time of the message before. Within
//! one recording it never moves back.

use super::text::Piece;
use crate::time::Timestamp;

/// The time a message carries by itself: MSH-7, else the first OBX-14.
pub fn sent(payload: &[u8], zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    let separator = *payload.get(3)?;
    let header = payload.split(|b| *b == b'\r').next()?;
    // MSH-1 is the separator itself, so MSH-7 is the seventh piece.
    let own = header.split(|b| *b == separator).nth(6);
    if let Some(at) = own.and_then(|field| instant(field, None, zone)) {
        return Some(at);
    }
    let offset = own.and_then(offset_of);
    payload
        .split(|b| *b == b'\r')
        .filter(|line| line.starts_with(b"OBX"))
        .find_map(|line| line.split(|b| *b == separator).nth(14).and_then(|field| instant(field, offset, zone)))
}

/// Minutes east of UTC at the end of a DTM.
fn offset_of(field: &[u8]) -> Option<i16> {
    let at = field.iter().rposition(|b| matches!(b, b'+' | b'-'))?;
    let digits = field.get(at + 1..at + 5).filter(|d| d.iter().all(u8::is_ascii_digit))?;
    let number = |from: usize| i16::from(digits[from] - b'0') * 10 + i16::from(digits[from + 1] - b'0');
    let minutes = number(0) * 60 + number(2);
    Some(if field[at] == b'-' { -minutes } else { minutes })
}

/// A DTM of at least minute precision. `offset_min` is used where it names none.
pub fn instant(field: &[u8], offset_min: Option<i16>, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    let digits = field.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits < 12 || field[..digits].iter().all(|b| *b == b'0') {
        return None;
    }
    let number = |from: usize, count: usize| -> i64 {
        field[from..(from + count).min(digits)].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'))
    };
    let mut ms = if digits >= 17 { number(14, 3) } else { 0 };
    if field.get(digits) == Some(&b'.') {
        let fraction: Vec<u8> = field[digits + 1..].iter().copied().take_while(u8::is_ascii_digit).collect();
        ms = (0..3).fold(0, |n, at| n * 10 + fraction.get(at).map_or(0, |b| i64::from(b - b'0')));
    }
    let second = if digits >= 14 { number(12, 2) } else { 0 };
    let stamp = super::stamp::Stamp {
        year: Some(number(0, 4) as i16),
        month: number(4, 2) as i8,
        day: number(6, 2) as i8,
        hour: number(8, 2) as i8,
        minute: number(10, 2) as i8,
        second: second as i8,
        ms: ms as i16,
        offset_min: offset_of(field).or(offset_min),
    };
    stamp.instant(1970, zone)
}

/// The clock of one recording.
#[derive(Debug)]
pub struct RecordedClock {
    zone: jiff::tz::TimeZone,
    last: Option<Timestamp>,
}

impl RecordedClock {
    pub fn new(zone: jiff::tz::TimeZone) -> RecordedClock {
        RecordedClock { zone, last: None }
    }
    /// The time of the next message; `None` while nothing has named a time.
    pub fn of(&mut self, piece: &Piece) -> Option<Timestamp> {
        if let Some(wire) = &piece.wire {
            self.last = self.last.max(Some(wire.at));
            return self.last;
        }
        let sent = sent(&piece.payload, &self.zone);
        let year = sent.or(self.last).map_or(1970, year);
        let at = piece.arrived.and_then(|stamp| stamp.instant(year, &self.zone)).or(sent);
        self.last = self.last.max(at);
        self.last
    }
}

fn year(at: Timestamp) -> i16 {
    jiff::Timestamp::from_millisecond(at.ms()).map_or(1970, |at| jiff::tz::Offset::UTC.to_datetime(at).year())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(payload: &str, arrived: Option<&str>) -> Piece {
        let arrived = arrived.map(|line| super::super::stamp::at_line_start(line.as_bytes()).unwrap().0);
        Piece { payload: payload.into(), arrived, offset: 0, line: 1, wire: None }
    }

    #[test]
    fn arrival_then_msh_7_then_obx_14_and_never_back() {
        let mut clock = RecordedClock::new(jiff::tz::TimeZone::UTC);
        let mut at = |payload, arrived| clock.of(&piece(payload, arrived)).map(|at| at.to_string());
        assert_eq!(at("MSH|^~\\&|||||\rOBX|1\r", None), None);
        assert_eq!(at("MSH|^~\\&|||||20260102030405\r", None).unwrap(), "2026-01-02T03:04:05.000Z");
        assert_eq!(at("MSH|^~\\&|||||20260102030405\r", Some("2026-01-02 03:04:09 x")).unwrap(), "2026-01-02T03:04:09.000Z");
        assert_eq!(at("MSH|^~\\&|||||20260102030406\r", None).unwrap(), "2026-01-02T03:04:09.000Z");
        let obx = "MSH|^~\\&|||||\rOBX|1|NM|c||1||||||F|||20260102050410.25+0100\r";
        assert_eq!(at(obx, None).unwrap(), "2026-01-02T04:04:10.250Z");
        assert_eq!(at("MSH|^~\\&|||||20260103000000\r", Some("Jan  2 23:00:00 h")).unwrap(), "2026-01-02T23:00:00.000Z");
    }

    #[test]
    fn every_form_of_a_time_is_read_or_refused() {
        let utc = jiff::tz::TimeZone::UTC;
        let read = |text: &str| instant(text.as_bytes(), None, &utc).map(|at| at.to_string());
        assert_eq!(read("20260912120000.0000+0530").unwrap(), "2026-09-12T06:30:00.000Z");
        assert_eq!(read("20260124131540123+0800").unwrap(), "2026-01-24T05:15:40.123Z");
        assert_eq!(read("202601241315").unwrap(), "2026-01-24T13:15:00.000Z");
        for wrong in ["", "0", "00000000000000", "20261324131540", "20260101", "2026013112604x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
