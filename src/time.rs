//! Time as the core sees it: a number that is handed in, never a clock that is read.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before everything.
    pub const MIN: Timestamp = Timestamp(i64::MIN / 4);
    /// After everything.
    pub const MAX: Timestamp = Timestamp(i64::MAX / 4);

    pub const fn from_ms(ms: i64) -> Timestamp {
        Timestamp(ms)
    }
    pub const fn ms(self) -> i64 {
        self.0
    }
    /// This instant moved by `seconds` (may be negative).
    #[must_use]
    pub fn plus_s(self, seconds: f64) -> Timestamp {
        Timestamp(self.0.saturating_add((seconds * 1000.0).round() as i64))
    }
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
    /// Seconds from `earlier` to this instant; negative if `earlier` is later.
    pub fn since_s(self, earlier: Timestamp) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }
    /// Milliseconds from `earlier` to this instant.
    pub const fn since_ms(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC calendar date and time of day; instants that no calendar holds read as its first or last one.
    fn civil(self) -> jiff::civil::DateTime {
        let clamped = self.0.clamp(jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        let instant = jiff::Timestamp::from_millisecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        jiff::tz::Offset::UTC.to_datetime(instant)
    }

    /// `YYYYMMDDThhmmssmmmZ`, the form used inside alert ids.
    pub fn compact(self) -> String {
        let t = self.civil();
        format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}{:03}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }

    /// `YYYYMMDDhhmmss.mmm+0000`, the form of HL7 DTM that we write.
    pub fn hl7(self) -> String {
        let t = self.civil();
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}.{:03}+0000",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }

    /// From civil UTC fields; `None` where a field is out of range (a leap second counts as second 59).
    pub fn from_civil(year: i16, month: i8, day: i8, hour: i8, minute: i8, second: i8, ms: i16) -> Option<Timestamp> {
        let second = if second == 60 { 59 } else { second };
        let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, i32::from(ms) * 1_000_000).ok()?;
        Some(Timestamp(jiff::tz::Offset::UTC.to_timestamp(civil).ok()?.as_millisecond()))
    }
}

/// RFC 3339 in UTC with milliseconds and `Z`.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_every_form() {
        let t = Timestamp::from_ms(1_795_371_847_412);
        assert_eq!(t.to_string(), "2026-11-22T18:24:07.412Z");
        assert_eq!(t.compact(), "20261122T182407412Z");
        assert_eq!(Timestamp::from_civil(2026, 11, 22, 18, 24, 7, 412), Some(t));
        assert_eq!(Timestamp::from_civil(2024, 2, 29, 0, 0, 0, 0).unwrap().to_string(), "2024-02-29T00:00:00.000Z");
        assert_eq!(Timestamp::from_civil(2026, 2, 29, 0, 0, 0, 0), None);
        assert_eq!(Timestamp::from_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }
}
