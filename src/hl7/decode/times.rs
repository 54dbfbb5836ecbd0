//! The times of one message: which zone a time without offset is in, and which field an observation's time comes from.
//!
//! A time's own offset counts; without one that of MSH-7; else the listener's zone; else the site's, with a flag. Every field
//! keeps its own offset, and two different ones in a message are flagged. A clock that is wrong, even by a month or into the
//! future, is data: nothing is corrected here. An hour that a change of the clocks repeats is taken as the one nearer to the
//! time of receipt.

use super::super::Field;
use super::super::time;
use crate::time::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// A field's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing was sent.
    Nothing,
    /// Something that is no time, zero, or no more exact than a day.
    Unreadable,
    At {
        at: Timestamp,
        zone_assumed: bool,
    },
}

/// The zone in which one message's times are read.
#[derive(Debug)]
pub struct Times<'z, 'm> {
    site: &'z TimeZone,
    listener_min: Option<i16>,
    header_min: Option<i16>,
    received_at: Timestamp,
    first_offset: Option<i16>,
    /// Two offsets were seen.
    pub differ: bool,
    /// The field read last: most rows of a message repeat one time.
    last: (&'m [u8], Told),
}

impl<'z, 'm> Times<'z, 'm> {
    pub fn new(site: &'z TimeZone, listener_min: Option<i16>, received_at: Timestamp) -> Times<'z, 'm> {
        Times {
            site,
            listener_min,
            header_min: None,
            received_at,
            first_offset: None,
            differ: false,
            last: (&[], Told::Nothing),
        }
    }

    /// Reads MSH-7, whose offset is the one for times without.
    pub fn header(&mut self, field: Field<'m>) -> Option<Timestamp> {
        if let Some(read) = time::parse(field.trimmed()) {
            self.header_min = read.offset_min;
        }
        match self.read(field) {
            Told::At { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Reads a time of the message.
    pub fn read(&mut self, field: Field<'m>) -> Told {
        let raw = field.raw();
        if raw.is_empty() {
            return Told::Nothing;
        }
        if raw == self.last.0 {
            return self.last.1;
        }
        let told = if field.is_empty() { Told::Nothing } else { self.parse(field.trimmed()) };
        self.last = (raw, told);
        told
    }
}
