//! Times as senders write them (DTM, TS, and what stands in their place), and what instant they mean.
//!
//! Its one contract: a field either is a valid calendar time of known precision, or it says why not; nothing is guessed
//! (month 13 is no January). HL7: `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±ZZZZ]`. Besides: milliseconds glued on (17 digits), offsets
//! of one to four digits, `Z`, and ISO 8601 with `-`, `:`, and `T` or a blank.
//!
//! Limits: milliseconds; years 1800 to 2199; a leap second counts as second 59. That one library writes `.91` for 91 ms cannot
//! be seen from the field.

use crate::time::Timestamp;

/// How much of a time was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
}

/// Why a field is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtmFault {
    /// Nothing was sent, or `""`.
    #[error("no time was sent")]
    Empty,
    /// Zeros: the sender had none.
    #[error("the time is all zeros")]
    Zero,
    #[error("not written as a time")]
    Malformed,
    /// A month 13, an hour 25, an offset of 19 hours.
    #[error("no such date or time")]
    Range,
}

/// A time as sent: local civil time, perhaps with its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtm {
    pub year: i16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub ms: u16,
    /// Minutes east of UTC, where it was sent.
    pub offset_min: Option<i16>,
    pub precision: Precision,
}

/// The zone of a time that was sent without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// Minutes east of UTC.
    Offset(i16),
    /// A zone of the IANA database, with its summer time.
    Named(jiff::tz::TimeZone),
}

impl Zone {
    /// `UTC`, `+05:30`, `-0800`, `Europe/Berlin`.
    pub fn parse(text: &str) -> Option<Zone> {
        let text = text.trim();
        if matches!(text, "UTC" | "Z") {
            return Some(Zone::Offset(0));
        }
        if text.starts_with(['+', '-']) {
            let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
            let offset = cursor.offset().ok()?;
            return (cursor.at == text.len()).then_some(Zone::Offset(offset));
        }
        Zone::named(text)
    }

    /// A zone by its IANA name alone, by the embedded database: the same rules on every machine.
    pub fn named(name: &str) -> Option<Zone> {
        jiff::tz::TimeZoneDatabase::bundled().get(name).ok().map(Zone::Named)
    }
}

impl Dtm {
    /// Reads a field or its first component.
    pub fn parse(field: &[u8]) -> Result<Dtm, DtmFault> {
        let bytes = field.trim_ascii();
        if bytes.is_empty() || bytes == b"\"\"" {
            return Err(DtmFault::Empty);
        }
        if bytes.iter().all(|byte| matches!(byte, b'0' | b'.' | b'+' | b'-' | b':' | b' ')) && bytes.contains(&b'0') {
            return Err(DtmFault::Zero);
        }
        let mut cursor = Cursor { bytes, at: 0 };
        let dtm = cursor.dtm()?;
        if cursor.at < bytes.len() { Err(DtmFault::Malformed) } else { dtm.checked() }
    }

    fn checked(mut self) -> Result<Dtm, DtmFault> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let valid = (1800..2200).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60;
        self.second = self.second.min(59);
        if valid { Ok(self) } else { Err(DtmFault::Range) }
    }

    /// Its civil time as if it were UTC, ms since 1970.
    fn civil_ms(&self) -> i64 {
        // Days since 1970-01-01 of the proleptic Gregorian calendar, counted from 1 March.
        let (year, month) = (i64::from(self.year) - i64::from(self.month <= 2), i64::from(self.month));
        let era = year.div_euclid(400);
        let year_of_era = year - era * 400;
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds = ((days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        seconds * 1000 + i64::from(self.ms)
    }

    /// The instant, if its zone is `offset_min` minutes east of UTC; its own offset does not matter here.
    pub fn at_offset(&self, offset_min: i16) -> Timestamp {
        Timestamp::from_ms(self.civil_ms() - i64::from(offset_min) * 60_000)
    }

    /// The instant by its own offset, if it has one.
    pub fn own_instant(&self) -> Option<Timestamp> {
        self.offset_min.map(|offset| self.at_offset(offset))
    }

    /// The instant: by its own offset, else in `zone`. Of the two instants of a repeated hour (end of summer time) the one nearer
    /// to `near` is taken; a skipped hour is read as the clock that was not moved.
    pub fn resolve(&self, zone: &Zone, near: Timestamp) -> Timestamp {
        match (self.offset_min, zone) {
            (Some(offset), _) | (None, &Zone::Offset(offset)) => self.at_offset(offset),
            (None, Zone::Named(zone)) => self.in_zone(zone, near),
        }
    }

    fn in_zone(&self, zone: &jiff::tz::TimeZone, near: Timestamp) -> Timestamp {
        use jiff::tz::AmbiguousOffset;
        let utc = self.at_offset(0);
        let day = jiff::civil::date(self.year, self.month as i8, self.day as i8);
        let civil = day.at(self.hour as i8, self.minute as i8, self.second as i8, i32::from(self.ms) * 1_000_000);
        let earlier = |offset: jiff::tz::Offset| utc.plus_ms(-i64::from(offset.seconds()) * 1000);
        match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => earlier(offset),
            AmbiguousOffset::Gap { before, .. } => earlier(before),
            AmbiguousOffset::Fold { before, after } => {
                let (first, second) = (earlier(before), earlier(after));
                if near.since_ms(first).abs() <= near.since_ms(second).abs() { first } else { second }
            }
        }
    }
}

/// Reads forward; every step says what it met.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    fn take(&mut self, wanted: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| wanted.contains(&byte));
        self.at += usize::from(found);
        found
    }
    /// How many digits stand here.
    fn run(&self) -> usize {
        self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }
    /// `len` digits as a number.
    fn number(&mut self, len: usize) -> Result<u16, DtmFault> {
        let digits = self.bytes.get(self.at..self.at + len).ok_or(DtmFault::Malformed)?;
        self.at += len;
        digits.iter().try_fold(0u16, |sum, byte| match byte {
            b'0'..=b'9' => Ok(sum * 10 + u16::from(byte - b'0')),
            _ => Err(DtmFault::Malformed),
        })
    }

    fn dtm(&mut self) -> Result<Dtm, DtmFault> {
        let mut dtm =
            Dtm { year: 0, month: 1, day: 1, hour: 0, minute: 0, second: 0, ms: 0, offset_min: None, precision: Precision::Year };
        let glued = self.run();
        // Eight digits of which the first four are a year; 17 are milliseconds glued on.
        if !matches!(glued, 4 | 6 | 8 | 10 | 12 | 14 | 17) {
            return Err(DtmFault::Malformed);
        }
        dtm.year = self.number(4)? as i16;
        // `2025-01` and `2025-01-15` are dates, `2025-0500` is a year with an offset.
        let iso = glued == 4
            && self.peek() == Some(b'-')
            && self.bytes[self.at + 1..].iter().take_while(|b| b.is_ascii_digit()).count() == 2;
        self.at += usize::from(iso);
        if self.run() >= 2 {
            dtm.month = self.number(2)? as u8;
            dtm.precision = Precision::Month;
            if iso && !self.take(b"-") {
                return Ok(dtm);
            }
            if self.run() >= 2 {
                dtm.day = self.number(2)? as u8;
                dtm.precision = Precision::Day;
                self.clock(&mut dtm)?;
            }
        }
        if self.take(b"Zz") {
            dtm.offset_min = Some(0);
        } else if matches!(self.peek(), Some(b'+' | b'-')) {
            dtm.offset_min = Some(self.offset()?);
        }
        Ok(dtm)
    }

    /// What follows the day.
    fn clock(&mut self, dtm: &mut Dtm) -> Result<(), DtmFault> {
        let apart = self.take(b"T ");
        if self.run() < 2 {
            return if apart { Err(DtmFault::Malformed) } else { Ok(()) };
        }
        dtm.hour = self.number(2)? as u8;
        dtm.precision = Precision::Hour;
        let colon = self.take(b":");
        if self.run() < 2 {
            return if colon { Err(DtmFault::Malformed) } else { Ok(()) };
        }
        dtm.minute = self.number(2)? as u8;
        dtm.precision = Precision::Minute;
        let colon = self.take(b":");
        if self.run() < 2 {
            return if colon { Err(DtmFault::Malformed) } else { Ok(()) };
        }
        dtm.second = self.number(2)? as u8;
        dtm.precision = Precision::Second;
        let dot = self.take(b".,");
        let fraction = self.run();
        match (dot, fraction) {
            (false, 0) => return Ok(()),
            (false, 3) => {}
            (true, 1..) => {}
            // `120000.` and `120000.+0100`: a dot without digits.
            (true, 0) => return Ok(()),
            (false, _) => return Err(DtmFault::Malformed),
        }
        dtm.precision = Precision::Fraction;
        let digits = &self.bytes[self.at..self.at + fraction];
        self.at += fraction;
        dtm.ms = (0..3).fold(0, |ms, n| ms * 10 + digits.get(n).map_or(0, |digit| u16::from(digit - b'0')));
        Ok(())
    }

    /// `+05`, `+5`, `+0530`, `+05:30`, `+730`.
    fn offset(&mut self) -> Result<i16, DtmFault> {
        let west = self.peek() == Some(b'-');
        self.at += 1;
        let (hours, minutes) = match self.run() {
            len @ (1 | 2) => {
                let hours = self.number(len)?;
                (hours, if self.take(b":") { self.number(2)? } else { 0 })
            }
            len @ (3 | 4) => (self.number(len - 2)?, self.number(2)?),
            _ => return Err(DtmFault::Malformed),
        };
        if hours > 14 || minutes > 59 {
            return Err(DtmFault::Range);
        }
        let offset = (hours * 60 + minutes) as i16;
        Ok(if west { -offset } else { offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> String {
        Dtm::parse(text.as_bytes()).unwrap().resolve(&Zone::Offset(0), Timestamp::MIN).to_string()
    }

    #[test]
    fn every_form_that_was_met_is_read() {
        for (sent, meant) in [
            ("20260912120000", "2026-09-12T12:00:00.000Z"),
            ("20260912120000+0800", "2026-09-12T04:00:00.000Z"),
            ("20260912120000.0000+0530", "2026-09-12T06:30:00.000Z"),
            ("20260912120000.8010-0700", "2026-09-12T19:00:00.801Z"),
            ("20260912120000.040+0000", "2026-09-12T12:00:00.040Z"),
            ("20260912120000123+0800", "2026-09-12T04:00:00.123Z"),
            ("20260912120000123", "2026-09-12T12:00:00.123Z"),
            ("20260912120000.5", "2026-09-12T12:00:00.500Z"),
            ("20260912120000.123456789", "2026-09-12T12:00:00.123Z"),
            ("20260912120000+730", "2026-09-12T04:30:00.000Z"),
            ("20260912120000+05", "2026-09-12T07:00:00.000Z"),
            ("20260912120000Z", "2026-09-12T12:00:00.000Z"),
            ("202609121200", "2026-09-12T12:00:00.000Z"),
            ("202609121200-0330", "2026-09-12T15:30:00.000Z"),
            ("2026091212", "2026-09-12T12:00:00.000Z"),
            ("20260912", "2026-09-12T00:00:00.000Z"),
            ("202609", "2026-09-01T00:00:00.000Z"),
            ("2026", "2026-01-01T00:00:00.000Z"),
            ("2026-0500", "2026-01-01T05:00:00.000Z"),
            ("2026-09", "2026-09-01T00:00:00.000Z"),
            ("2026-09-12", "2026-09-12T00:00:00.000Z"),
            ("2026-09-12T14:30:00", "2026-09-12T14:30:00.000Z"),
            ("2026-09-12T14:30:00.25+02:00", "2026-09-12T12:30:00.250Z"),
            ("2026-09-12 14:30", "2026-09-12T14:30:00.000Z"),
            ("20260912 1430", "2026-09-12T14:30:00.000Z"),
            ("  20260912120000 ", "2026-09-12T12:00:00.000Z"),
            ("20260630235960", "2026-06-30T23:59:59.000Z"),
            ("20240229", "2024-02-29T00:00:00.000Z"),
            ("18991230", "1899-12-30T00:00:00.000Z"),
            ("19000301", "1900-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(sent), meant, "{sent}");
        }
    }

    #[test]
    fn precision_and_offset_are_known() {
        let precision = |text: &str| Dtm::parse(text.as_bytes()).unwrap().precision;
        assert_eq!(precision("2026"), Precision::Year);
        assert_eq!(precision("202609"), Precision::Month);
        assert_eq!(precision("20260912"), Precision::Day);
        assert_eq!(precision("2026091212"), Precision::Hour);
        assert_eq!(precision("202609121200"), Precision::Minute);
        assert_eq!(precision("20260912120000"), Precision::Second);
        assert_eq!(precision("20260912120000.1"), Precision::Fraction);
        assert_eq!(Dtm::parse(b"20260912120000-0330").unwrap().offset_min, Some(-210));
        assert_eq!(Dtm::parse(b"20260912120000").unwrap().offset_min, None);
        assert_eq!(Dtm::parse(b"20260912120000").unwrap().own_instant(), None);
    }

    #[test]
    fn what_is_no_time_says_why() {
        for (sent, fault) in [
            ("", DtmFault::Empty),
            ("  ", DtmFault::Empty),
            ("\"\"", DtmFault::Empty),
            ("0", DtmFault::Zero),
            ("00000000000", DtmFault::Zero),
            ("00000000000000", DtmFault::Zero),
            ("0000-00-00 00:00:00", DtmFault::Zero),
            ("}202107300000", DtmFault::Malformed),
            ("2026091", DtmFault::Malformed),
            ("20260912120", DtmFault::Malformed),
            ("2026091212000012", DtmFault::Malformed),
            ("202609121200001234", DtmFault::Malformed),
            ("20260912120000x", DtmFault::Malformed),
            ("20260912120000+", DtmFault::Malformed),
            ("20260912120000+08000", DtmFault::Malformed),
            ("2026-09-12T", DtmFault::Malformed),
            ("2026-09-12T14:", DtmFault::Malformed),
            ("yesterday", DtmFault::Malformed),
            ("é", DtmFault::Malformed),
            ("20261312", DtmFault::Range),
            ("20260932", DtmFault::Range),
            ("20260229", DtmFault::Range),
            ("19000229", DtmFault::Range),
            ("2026091225", DtmFault::Range),
            ("202609121260", DtmFault::Range),
            ("20260912120061", DtmFault::Range),
            ("20260912120000+1500", DtmFault::Range),
            ("20260912120000+0860", DtmFault::Range),
            ("00250912", DtmFault::Range),
        ] {
            assert_eq!(Dtm::parse(sent.as_bytes()), Err(fault), "{sent}");
        }
    }

    #[test]
    fn a_time_without_zone_is_read_in_the_one_given() {
        let dtm = Dtm::parse(b"20260912120000").unwrap();
        assert_eq!(dtm.resolve(&Zone::Offset(330), Timestamp::MIN).to_string(), "2026-09-12T06:30:00.000Z");
        assert_eq!(Zone::parse("+05:30"), Some(Zone::Offset(330)));
        assert_eq!(Zone::parse("-0800"), Some(Zone::Offset(-480)));
        assert_eq!(Zone::parse("UTC"), Some(Zone::Offset(0)));
        assert_eq!(Zone::parse("+25:00"), None);
        assert_eq!(Zone::parse("Middle/Earth"), None);
    }

    /// Central European rules as POSIX text, so that the test needs no zone database.
    fn berlin() -> Zone {
        Zone::Named(jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn summer_time_is_known() {
        let at = |text: &str, near: &str| {
            let near = Dtm::parse(near.as_bytes()).unwrap().at_offset(0);
            Dtm::parse(text.as_bytes()).unwrap().resolve(&berlin(), near).to_string()
        };
        assert_eq!(at("20260115120000", "2026"), "2026-01-15T11:00:00.000Z");
        assert_eq!(at("20260715120000", "2026"), "2026-07-15T10:00:00.000Z");
        assert_eq!(at("20260715120000-0500", "2026"), "2026-07-15T17:00:00.000Z", "its own offset wins");
        // 25 October 2026: 02:30 comes twice. The nearer one is meant.
        assert_eq!(at("20261025023000", "20261025003001"), "2026-10-25T00:30:00.000Z");
        assert_eq!(at("20261025023000", "20261025013001"), "2026-10-25T01:30:00.000Z");
        // 29 March 2026: 02:30 does not exist; a clock that was not moved shows it at 01:30 UTC.
        assert_eq!(at("20260329023000", "20260329013000"), "2026-03-29T01:30:00.000Z");
    }

    #[test]
    fn the_calendar_agrees_with_jiff() {
        for day in (-62_000i64..84_000).step_by(7) {
            let ms = day * 86_400_000 + 3_723_004;
            let text = Timestamp::from_ms(ms).hl7();
            assert_eq!(Dtm::parse(text.as_bytes()).unwrap().own_instant(), Some(Timestamp::from_ms(ms)), "{text}");
        }
    }
}
