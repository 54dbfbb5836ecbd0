//! Time stamps at the start of log lines, in the styles that interface engines and loggers write.
//!
//! A stamp that names no zone is local to the log's zone, one that names no year (syslog) takes the year of the message. What
//! is ambiguous (`02/01/2026`) is no stamp: better none than a wrong one.

use crate::time::Timestamp;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while_m_n};
use nom::character::complete::{char, digit1, one_of, space0, space1};
use nom::combinator::{map_opt, opt, recognize, verify};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

/// A time as a log line gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// `None`: syslog's old form has no year.
    pub year: Option<i16>,
    pub month: i8,
    pub day: i8,
    pub hour: i8,
    pub minute: i8,
    pub second: i8,
    pub ms: i16,
    /// Minutes east of UTC, where it is said.
    pub offset_min: Option<i16>,
}

impl Stamp {
    /// The instant, with a year and a zone for what the stamp does not say. `None` for a date that no calendar has.
    pub fn instant(&self, year: i16, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
        let year = self.year.unwrap_or(year);
        let second = if self.second == 60 { 59 } else { self.second };
        if let Some(offset) = self.offset_min {
            let utc = Timestamp::from_civil(year, self.month, self.day, self.hour, self.minute, second, self.ms)?;
            return Some(utc.plus_ms(-i64::from(offset) * 60_000));
        }
        let civil = jiff::civil::DateTime::new(
            year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            second,
            i32::from(self.ms) * 1_000_000,
        )
        .ok()?;
        Some(Timestamp::from_ms(zone.to_ambiguous_timestamp(civil).compatible().ok()?.as_millisecond()))
    }
    fn from_epoch_ms(ms: i64) -> Option<Stamp> {
        let civil = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_millisecond(ms).ok()?);
        Some(Stamp {
            year: Some(civil.year()),
            month: civil.month(),
            day: civil.day(),
            hour: civil.hour(),
            minute: civil.minute(),
            second: civil.second(),
            ms: civil.millisecond(),
            offset_min: Some(0),
        })
    }
}

/// Reads the stamp at the start of a line: after brackets, quotes and a syslog priority. Gives the rest of the line as well.
pub fn at_line_start(line: &[u8]) -> Option<(Stamp, &[u8])> {
    // A stamp stands in the first bytes; a multi-megabyte line is not looked at.
    let head = &line[..line.len().min(96)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
    };
    let (rest, stamp) = preceded((space0, opt(priority), opt(one_of("[(<\"'")), space0), stamp).parse(text).ok()?;
    // A number that goes on is no stamp.
    if rest.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    Some((stamp, &line[text.len() - rest.len()..]))
}

/// Any full stamp between quotes (a JSON log line).
pub fn in_quotes(line: &str) -> Option<Stamp> {
    line.split('"').take(64).find_map(|part| {
        let (rest, stamp) = stamp(part.trim()).ok()?;
        rest.is_empty().then_some(stamp)
    })
}

/// Syslog's `<134>` and the version after it.
fn priority(input: &str) -> IResult<&str, ()> {
    (tag("<"), digit1, tag(">"), opt((one_of("123456789"), space1))).map(|_| ()).parse(input)
}

fn stamp(input: &str) -> IResult<&str, Stamp> {
    alt((iso, compact, epoch, day_first, month_name_first)).parse(input)
}

fn number<'a>(
    digits: usize,
    range: std::ops::RangeInclusive<i16>,
) -> impl Parser<&'a str, Output = i16, Error = nom::error::Error<&'a str>> {
    verify(
        map_opt(take_while_m_n(digits, digits, |c: char| c.is_ascii_digit()), |text: &str| text.parse::<i16>().ok()),
        move |value| range.contains(value),
    )
}

fn small<'a>(digits: usize, low: i16, high: i16) -> impl Parser<&'a str, Output = i8, Error = nom::error::Error<&'a str>> {
    number(digits, low..=high).map(|value| value as i8)
}

/// A fraction of a second of any length, as milliseconds (cut, not rounded).
fn fraction(input: &str) -> IResult<&str, i16> {
    map_opt(preceded(one_of(".,:"), digit1), |digits: &str| {
        let mut ms = 0i16;
        for at in 0..3 {
            ms = ms * 10 + digits.as_bytes().get(at).map_or(0, |b| i16::from(b - b'0'));
        }
        Some(ms)
    })
    .parse(input)
}

/// `Z`, `+01:00`, `+0100`, `+01`, `UTC`, `GMT`.
fn offset(input: &str) -> IResult<&str, i16> {
    let zulu = alt((tag("Z"), tag("z"), tag("UTC"), tag("GMT"))).map(|_| 0i16);
    let signed =
        (one_of("+-"), number(2, 0..=14), opt(preceded(opt(char(':')), number(2, 0..=59)))).map(|(sign, hours, minutes)| {
            let total = hours * 60 + minutes.unwrap_or(0);
            if sign == '-' { -total } else { total }
        });
    preceded(space0, alt((zulu, signed))).parse(input)
}

/// `hh:mm:ss`, a fraction, an offset.
fn time_of_day(input: &str) -> IResult<&str, (i8, i8, i8, i16, Option<i16>)> {
    let (input, (hour, _, minute, _, second)) =
        (small(2, 0, 23), char(':'), small(2, 0, 59), char(':'), small(2, 0, 60)).parse(input)?;
    let (input, ms) = opt(fraction).parse(input)?;
    let (input, offset) = opt(offset).parse(input)?;
    Ok((input, (hour, minute, second, ms.unwrap_or(0), offset)))
}

fn built(year: Option<i16>, month: i8, day: i8, time: (i8, i8, i8, i16, Option<i16>)) -> Stamp {
    let (hour, minute, second, ms, offset_min) = time;
    Stamp { year, month, day, hour, minute, second, ms, offset_min }
}

/// `2026-01-02T03:04:05.678Z`, `2026-01-02 03:04:05,678 +0100`, `2026/01/02 03:04:05`.
fn iso(input: &str) -> IResult<&str, Stamp> {
    let (input, year) = number(4, 1900..=2999).parse(input)?;
    let (input, between) = one_of("-/.").parse(input)?;
    let (input, (month, _, day)) = (small(2, 1, 12), char(between), small(2, 1, 31)).parse(input)?;
    let (input, _) = alt((recognize(one_of("Tt_")), recognize((opt(char(',')), space1)))).parse(input)?;
    let (input, time) = time_of_day(input)?;
    Ok((input, built(Some(year), month, day, time)))
}

/// `20260102 03:04:05`, `20260102030405.678`, `20260102T030405`, 17 digits with milliseconds, an offset after them.
fn compact(input: &str) -> IResult<&str, Stamp> {
    let (input, (year, month, day)) = (number(4, 1900..=2999), small(2, 1, 12), small(2, 1, 31)).parse(input)?;
    let (input, gap) = opt(alt((recognize(one_of("Tt_-")), space1))).parse(input)?;
    if gap.is_some()
        && let Ok((rest, time)) = time_of_day(input)
    {
        return Ok((rest, built(Some(year), month, day, time)));
    }
    let (input, (hour, minute, second)) = (small(2, 0, 23), small(2, 0, 59), small(2, 0, 60)).parse(input)?;
    let (input, ms) = alt((fraction.map(Some), opt(number(3, 0..=999)))).parse(input)?;
    let (input, offset) = opt(offset).parse(input)?;
    Ok((input, built(Some(year), month, day, (hour, minute, second, ms.unwrap_or(0), offset))))
}

/// Seconds (10 digits, fraction allowed) or milliseconds (13 digits) since 1970.
fn epoch(input: &str) -> IResult<&str, Stamp> {
    let digits = verify(digit1, |text: &str| matches!(text.len(), 10 | 13));
    map_opt((digits, opt(fraction)), |(digits, ms): (&str, Option<i16>)| {
        let whole: i64 = digits.parse().ok()?;
        Stamp::from_epoch_ms(if digits.len() == 13 { whole } else { whole * 1000 + i64::from(ms.unwrap_or(0)) })
    })
    .parse(input)
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn month_name(input: &str) -> IResult<&str, i8> {
    map_opt(take_while_m_n(3, 3, |c: char| c.is_ascii_alphabetic()), |name: &str| {
        MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name)).map(|at| at as i8 + 1)
    })
    .parse(input)
}

/// `02.01.2026 03:04:05` (day first wherever dots stand), `02-Jan-2026 03:04:05`, `02/Jan/2026:03:04:05 +0000`.
fn day_first(input: &str) -> IResult<&str, Stamp> {
    let (input, day) = small(2, 1, 31).parse(input)?;
    let dotted = (char('.'), small(2, 1, 12), char('.')).map(|(_, month, _)| month);
    let named = (one_of("-/ "), month_name, one_of("-/ ")).map(|(_, month, _)| month);
    let (input, month) = alt((dotted, named)).parse(input)?;
    let (input, year) = number(4, 1900..=2999).parse(input)?;
    let (input, _) = alt((recognize(char(':')), recognize((opt(char(',')), space1)))).parse(input)?;
    let (input, time) = time_of_day(input)?;
    Ok((input, built(Some(year), month, day, time)))
}

/// Syslog: `Jan  2 03:04:05`; with a year, `Jan 2, 2026 03:04:05`; a weekday may stand before.
fn month_name_first(input: &str) -> IResult<&str, Stamp> {
    let weekday = terminated(take_while_m_n(3, 3, |c: char| c.is_ascii_alphabetic()), (opt(char(',')), space1));
    let (input, month) = alt((terminated(month_name, space1), preceded(weekday, terminated(month_name, space1)))).parse(input)?;
    let (input, day) = alt((small(2, 1, 31), small(1, 1, 9))).parse(input)?;
    let (input, year) = opt(preceded((opt(char(',')), space1), terminated(number(4, 1900..=2999), space1))).parse(input)?;
    let (input, _) = if year.is_some() { (input, "") } else { space1(input)? };
    let (input, time) = time_of_day(input)?;
    Ok((input, built(year, month, day, time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(String, String)> {
        let (stamp, rest) = at_line_start(line.as_bytes())?;
        let at = stamp.instant(2026, &jiff::tz::TimeZone::fixed(jiff::tz::offset(1)))?;
        Some((at.to_string(), String::from_utf8_lossy(rest).trim().to_owned()))
    }

    #[test]
    fn the_usual_styles_are_read() {
        let utc = "2026-01-02T03:04:05.678Z";
        for line in [
            "2026-01-02T03:04:05.678Z MSH|",
            "2026-01-02 04:04:05,678 MSH|",
            "[2026-01-02 03:04:05.678 +0000] MSH|",
            "2026-01-02T04:04:05.678+01:00 MSH|",
            "2026/01/02 04:04:05.678 MSH|",
            "20260102 04:04:05.678 MSH|",
            "20260102030405.678Z MSH|",
            "20260102040405678 MSH|",
            "1767323045.678 MSH|",
            "1767323045678 MSH|",
            "02.01.2026 04:04:05.678 MSH|",
            "02/Jan/2026:03:04:05.678 +0000 MSH|",
            "<134>1 2026-01-02T03:04:05.678Z MSH|",
            "Jan  2 04:04:05.678 MSH|",
            "Jan 2, 2026 04:04:05.678 MSH|",
            "Fri Jan 2 04:04:05.678 MSH|",
        ] {
            let (at, rest) = read(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(at, utc, "{line}");
            assert_eq!(rest.trim_start_matches([']', ' ']), "MSH|", "{line}");
        }
    }

    #[test]
    fn what_is_no_stamp_or_ambiguous_is_none() {
        for line in
            ["", "MSH|^~\\&|", "02/01/2026 03:04:05 x", "2026-13-02 03:04:05 x", "12345 x", "PID|1||20260102", "2026-01-02 x"]
        {
            assert_eq!(read(line), None, "{line}");
        }
        assert!(at_line_start(&[0xFF, 0xFE, b'2']).is_none());
    }

    #[test]
    fn a_summer_time_gap_is_no_error() {
        let rome = jiff::tz::TimeZone::get("Europe/Rome").unwrap_or(jiff::tz::TimeZone::UTC);
        let (stamp, _) = at_line_start(b"2026-03-29 02:30:00 x").unwrap();
        assert!(stamp.instant(2026, &rome).is_some());
    }
}
