//! From OBX-8, OBX-11 and the value itself to one [`Validity`]: what was said about a value, in one word.
//!
//! `X` alone is no verdict: it marks containment, invalid values and, with one sender, everything. A number beside it is
//! invalid only where the dialect says so.

use super::super::Field;
use super::super::dialect::{Table, XMeans};
use super::super::unit::{self, Dimension};
use super::super::value::{self, Refusal, Value};
use crate::observation::{ObsFlags, Validity};

/// What OBX-8 says, in the words of the IHE device profile (and of the alarm profile, where they mark a value).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    const INVALID: u16 = 1;
    const QUESTIONABLE: u16 = 1 << 1;
    const ABSENT: u16 = 1 << 2;
    const OFF: u16 = 1 << 3;
    const TEST: u16 = 1 << 4;
    const CALIBRATION: u16 = 1 << 5;
    const EARLY: u16 = 1 << 6;
    const OFF_SCALE: u16 = 1 << 7;
    const IN_ALARM: u16 = 1 << 8;
    const INHIBITED: u16 = 1 << 9;
    const DEMO: u16 = 1 << 10;

    /// Reads OBX-8 with its repetitions.
    pub fn read(field: Field<'_>) -> Marks {
        let mut marks = Marks::default();
        if field.raw().is_empty() {
            return marks;
        }
        for repetition in field.repetitions().take(16) {
            marks.0 |= match repetition.component(1).trimmed() {
                b"INV" => Self::INVALID,
                b"QUES" => Self::QUESTIONABLE,
                b"NAV" | b"NI" | b"BUSY" | b"NA" | b"MSK" | b"OTH" | b"NAN" | b"PINF" | b"NINF" => Self::ABSENT,
                b"OFF" => Self::OFF,
                b"TEST" => Self::TEST,
                b"DEMO" => Self::TEST | Self::DEMO,
                b"CAL" => Self::CALIBRATION,
                b"EARLY" => Self::EARLY,
                b">" | b"<" => Self::OFF_SCALE,
                b"ALACT" | b"PH" | b"PM" | b"PL" => Self::IN_ALARM,
                b"ALINH" => Self::INHIBITED,
                _ => 0,
            };
        }
        marks
    }
    const fn has(self, mark: u16) -> bool {
        self.0 & mark != 0
    }
    /// The value is a test's, not a patient's.
    pub const fn test(self) -> bool {
        self.has(Self::TEST)
    }
    /// The whole device plays a patient.
    pub const fn demo(self) -> bool {
        self.has(Self::DEMO)
    }
}

/// OBX-11 of a row, and the fields that stand beside it where a hand-written interface has left one out or put one in.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// The letter; 0 where there is none.
    pub letter: u8,
    /// Where OBX-14 stands.
    pub time_field: usize,
}

impl Status {
    /// `fields` are OBX-1 and following.
    pub fn read(fields: &[Field<'_>]) -> Status {
        let letter = |n: usize| match fields[n - 1].trimmed() {
            [letter @ (b'F' | b'R' | b'P' | b'C' | b'D' | b'W' | b'X' | b'U' | b'I' | b'S' | b'N' | b'O' | b'V' | b'B')] => {
                *letter
            }
            _ => 0,
        };
        let here = letter(11);
        // A time may stand there, three fields early.
        let time = |n: usize| fields[n - 1].trimmed().get(..8).is_some_and(|head| head.iter().all(u8::is_ascii_digit));
        if here != 0 || !(fields[10].is_empty() || time(11)) {
            return Status { letter: here, time_field: 14 };
        }
        // `F` or `X` up to three fields early or one late, and the time with it. (In OBX-8 an X could mean something else.)
        for (n, time_field) in [(10, 13), (12, 15), (9, 12), (8, 11)] {
            if (letter(n) == b'F' || (letter(n) == b'X' && n != 8)) && fields[13].is_empty() {
                return Status { letter: letter(n), time_field };
            }
        }
        Status { letter: 0, time_field: 14 }
    }
}

/// A value with what was said about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// As sent, before units; NaN where there is none.
    pub number: f64,
    pub validity: Validity,
    pub flags: ObsFlags,
    /// A unit that was written behind the number.
    pub unit: Option<Dimension>,
}

/// Judges OBX-5; `None` where it is no number by the grammar.
pub fn judge(table: &Table, value_type: &[u8], field: Field<'_>, marks: Marks, status: Status, test: bool) -> Option<Judged> {
    let mut flags = ObsFlags::default();
    match status.letter {
        0 => flags.set(ObsFlags::STATUS_MISSING),
        b'C' => flags.set(ObsFlags::CORRECTION),
        b'D' | b'W' => flags.set(ObsFlags::WITHDRAWN),
        _ => {}
    }
    if marks.has(Marks::IN_ALARM) {
        flags.set(ObsFlags::IN_ALARM);
    }
    if marks.has(Marks::INHIBITED) {
        flags.set(ObsFlags::ALARM_INHIBITED);
    }
    if marks.has(Marks::CALIBRATION) {
        flags.set(ObsFlags::CALIBRATION);
    }
    let said = |number, validity| Some(Judged { number, validity, flags, unit: None });
    let (number, beyond, unit) = match value::read(value_type, field) {
        Value::Number { value, comparator, unit: b"", .. } => (value, comparator.is_some(), None),
        // A unit behind the number: one that we know, or no number.
        Value::Number { value, comparator, unit, .. } => {
            (value, comparator.is_some(), Some(unit::one(std::str::from_utf8(unit).unwrap_or_default())?))
        }
        Value::Absent if marks.has(Marks::OFF) => return said(f64::NAN, Validity::SwitchedOff),
        Value::Absent => return said(f64::NAN, Validity::Absent),
        // `EMPTY` in words, as some senders write it.
        Value::Refused(Refusal::NotNumeric) if field.trimmed() == b"EMPTY" => return said(f64::NAN, Validity::Absent),
        Value::Refused(_) => return None,
    };
    if !beyond && table.sentinels.contains(&number) {
        return said(f64::NAN, Validity::Sentinel);
    }
    let validity = if marks.has(Marks::OFF) {
        Validity::SwitchedOff
    } else if marks.has(Marks::ABSENT) {
        Validity::Absent
    } else if test || marks.has(Marks::TEST) {
        Validity::Test
    } else if marks.has(Marks::INVALID)
        || flags.has(ObsFlags::WITHDRAWN)
        || (status.letter == b'X' && table.x_with_number == XMeans::Invalid)
    {
        Validity::Invalid
    } else if beyond || marks.has(Marks::OFF_SCALE) {
        Validity::OffScale
    } else if status.letter == b'X'
        || flags.has(ObsFlags::CORRECTION)
        || marks.has(Marks::QUESTIONABLE)
        || marks.has(Marks::EARLY)
        // Shown, and no check looks at it.
        || marks.has(Marks::CALIBRATION)
    {
        Validity::ValidFlagged
    } else {
        Validity::Valid
    };
    Some(Judged { number, validity, flags, unit })
}
