//! The times of one message: which zone a time without offset is in, and which field an observation's time comes from.
//!
//! A time's own offset counts; without one that of MSH-7; else the listener's zone; else the site's, with a flag. Every field
//! keeps its own offset, and two different ones in a message are flagged. A clock that is wrong, even by a month or into the
//! future, is data: nothing is corrected here. An hour that a change of the clocks repeats is taken as the one nearer to the
//! time of receipt.

use super::super::Field;
use super::super::time::{Dtm, DtmFault, Precision, Zone};
use crate::time::Timestamp;

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
    site: &'z Zone,
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
    pub fn new(site: &'z Zone, listener_min: Option<i16>, received_at: Timestamp) -> Times<'z, 'm> {
        Times { site, listener_min, header_min: None, received_at, first_offset: None, differ: false, last: (&[], Told::Nothing) }
    }

    /// Reads MSH-7, whose offset is the one for times without.
    pub fn header(&mut self, field: Field<'m>) -> Option<Timestamp> {
        if let Ok(read) = Dtm::parse(field.component(1).trimmed()) {
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
        let told = self.parse(field.component(1).trimmed());
        self.last = (raw, told);
        told
    }

    fn parse(&mut self, raw: &[u8]) -> Told {
        let read = match Dtm::parse(raw) {
            Ok(read) => read,
            Err(DtmFault::Empty) => return Told::Nothing,
            Err(_) => return Told::Unreadable,
        };
        if read.precision <= Precision::Hour {
            return Told::Unreadable;
        }
        if let Some(offset) = read.offset_min {
            self.differ |= self.first_offset.is_some_and(|first| first != offset);
            self.first_offset.get_or_insert(offset);
            return Told::At { at: read.at_offset(offset), zone_assumed: false };
        }
        if let Some(offset) = self.header_min.or(self.listener_min) {
            return Told::At { at: read.at_offset(offset), zone_assumed: false };
        }
        Told::At { at: read.resolve(self.site, self.received_at), zone_assumed: true }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Message, Scratch};
    use super::*;

    /// Reads every field of a header's MSH-7 and following made-up fields; `-` is nothing, `?` unreadable, `~` an assumed zone.
    fn read(msh7: &str, listener_min: Option<i16>, zone: &str, fields: &[&str]) -> (Vec<String>, bool) {
        let text = format!("MSH|^~\\&|||||{msh7}||ORU^R01|1|P|2.6\rOBX|{}", fields.join("|"));
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).expect("a message");
        let site = Zone::parse(zone).expect("a zone");
        let mut times = Times::new(&site, listener_min, Timestamp::from_civil(2026, 10, 25, 1, 20, 0, 0).expect("a date"));
        times.header(message.msh(7));
        let obx = message.first(b"OBX").expect("a row");
        let said = (1..=fields.len()).map(|n| match times.read(obx.field(n)) {
            Told::Nothing => "-".to_owned(),
            Told::Unreadable => "?".to_owned(),
            Told::At { at, zone_assumed } => {
                format!("{}{}", if zone_assumed { "~" } else { "" }, at.to_string().replace(".000Z", "Z"))
            }
        });
        (said.collect(), times.differ)
    }

    #[test]
    fn a_time_is_in_its_own_zone_then_the_headers_then_the_listeners_then_the_sites() {
        let local = ["20260112080000"];
        assert_eq!(read("20260112080000", None, "Europe/Rome", &["20260112080000-0500"]).0, ["2026-01-12T13:00:00Z"]);
        assert_eq!(read("20260112080000+0530", Some(60), "Europe/Rome", &local).0, ["2026-01-12T02:30:00Z"]);
        assert_eq!(read("20260112080000", Some(-60), "Europe/Rome", &local).0, ["2026-01-12T09:00:00Z"]);
        assert_eq!(read("20260112080000", None, "Europe/Rome", &local).0, ["~2026-01-12T07:00:00Z"]);
        assert_eq!(read("", None, "Europe/Rome", &["20260712080000"]).0, ["~2026-07-12T06:00:00Z"], "summer");
    }

    #[test]
    fn a_repeated_hour_is_the_one_nearer_to_receipt() {
        assert_eq!(read("", None, "Europe/Rome", &["20261025022000"]).0, ["~2026-10-25T01:20:00Z"]);
    }

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        let fields = ["", "\"\"", "00000000000000", "20261301080000", "20260112", "2026", "abc", "202601120800"];
        assert_eq!(read("", Some(0), "UTC", &fields).0, ["-", "-", "?", "?", "?", "?", "?", "2026-01-12T08:00:00Z"]);
    }

    #[test]
    fn two_offsets_in_one_message_are_noticed() {
        assert!(!read("20260112080000+0100", None, "UTC", &["20260112080000+0100"]).1);
        assert!(read("20260112080000+0100", None, "UTC", &["20260112080000-0500"]).1);
    }
}
