//! The recorded clock: when a message of a recording happened.
//!
//! The packet's time in a capture; the recorded arrival where the log has one, else MSH-7, else the first OBX-14, else the time
//! of the message before. Within one recording it never moves back. Times of messages are read by [`crate::hl7::time`]; the
//! stamps of log lines, which come in forms of their own, by `stamp`.

use super::text::Piece;
use crate::hl7::time::{Dtm, Precision, Zone};
use crate::time::Timestamp;

/// The time a message carries by itself: MSH-7, else the first OBX-14.
pub fn sent(payload: &[u8], zone: &Zone) -> Option<Timestamp> {
    let separator = *payload.get(3)?;
    let header = payload.split(|b| *b == b'\r').next()?;
    // MSH-1 is the separator itself, so MSH-7 is the seventh piece.
    let own = header.split(|b| *b == separator).nth(6).and_then(read);
    if let Some(at) = own.and_then(|own| instant(own, None, zone)) {
        return Some(at);
    }
    let offset = own.and_then(|own| own.offset_min);
    payload
        .split(|b| *b == b'\r')
        .filter(|line| line.starts_with(b"OBX"))
        .find_map(|line| line.split(|b| *b == separator).nth(14).and_then(read).and_then(|dtm| instant(dtm, offset, zone)))
}

/// The first component of a field, as a time. The header is not read here: any of the usual separators ends it.
pub fn read(field: &[u8]) -> Option<Dtm> {
    let component = field.split(|b| matches!(b, b'^' | b'~' | b'&')).next()?;
    Dtm::parse(component).ok()
}

/// The instant of a time of at least minute precision. `offset_min` is used where it names none. Of an hour that comes twice
/// the first is taken: the clock of a recording never moves back.
pub fn instant(dtm: Dtm, offset_min: Option<i16>, zone: &Zone) -> Option<Timestamp> {
    if dtm.precision < Precision::Minute {
        return None;
    }
    Some(match dtm.offset_min.or(offset_min) {
        Some(offset) => dtm.at_offset(offset),
        None => dtm.resolve(zone, Timestamp::MIN),
    })
}

/// The clock of one recording.
#[derive(Debug)]
pub struct RecordedClock {
    zone: jiff::tz::TimeZone,
    /// The same, as times of messages are read.
    of_messages: Zone,
    last: Option<Timestamp>,
}

impl RecordedClock {
    pub fn new(zone: jiff::tz::TimeZone) -> RecordedClock {
        RecordedClock { of_messages: Zone::Named(zone.clone()), zone, last: None }
    }
    /// The time of the next message; `None` while nothing has named a time.
    pub fn of(&mut self, piece: &Piece) -> Option<Timestamp> {
        if let Some(wire) = &piece.wire {
            self.last = self.last.max(Some(wire.at));
            return self.last;
        }
        let sent = sent(&piece.payload, &self.of_messages);
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
        let read = |text: &str| instant(read(text.as_bytes())?, None, &Zone::Offset(0)).map(|at| at.to_string());
        assert_eq!(read("20260912120000.0000+0530").unwrap(), "2026-09-12T06:30:00.000Z");
        assert_eq!(read("20260124131540123+0800").unwrap(), "2026-01-24T05:15:40.123Z");
        assert_eq!(read("202601241315").unwrap(), "2026-01-24T13:15:00.000Z");
        assert_eq!(read("20260124131540^S").unwrap(), "2026-01-24T13:15:40.000Z");
        assert_eq!(read("2026-01-24T13:15:40+01").unwrap(), "2026-01-24T12:15:40.000Z");
        for wrong in ["", "0", "00000000000000", "20261324131540", "20260101", "2026013112604x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
