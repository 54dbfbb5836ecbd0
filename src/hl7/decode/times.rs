//! The times of one message: which zone a time without offset is in, and which field an observation's time comes from.
//!
//! A time's own offset counts; without one that of MSH-7; else the sender's zone; else the listener's; else the site's, with a
//! flag. Every field keeps its own offset, and two different ones in a message are flagged. A clock that is wrong, even by a
//! month or into the future, is data: nothing is corrected here.
//!
//! The hour that the end of summer time repeats is read by continuity ([`Near`]): MSH-7 goes on from the message before it, and
//! the message's other times are those nearer to MSH-7. Limit: of a measurement that is more than half an hour older than its
//! message nobody can tell the hour.

use super::super::Field;
use super::super::time::{Dtm, DtmFault, Precision, Zone};
use crate::observation::Source;
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

/// Zones of listeners remembered at most (they are named by the configuration); when full, all are looked up anew.
const ZONES_MAX: usize = 256;

/// The listeners' zones, by the names that their configuration gives them.
#[derive(Debug, Default)]
pub struct Zones {
    known: Vec<(Box<str>, Option<Zone>)>,
}

impl Zones {
    /// The zone of the listener that a message came from, where it has one that exists.
    pub fn of(&mut self, source: &Source) -> Option<&Zone> {
        let name = source.zone.as_deref()?;
        let at = match self.known.iter().position(|(known, _)| **known == *name) {
            Some(at) => at,
            None => {
                if self.known.len() >= ZONES_MAX {
                    self.known.clear();
                }
                self.known.push((name.into(), Zone::named(name)));
                self.known.len() - 1
            }
        };
        self.known[at].1.as_ref()
    }
}

/// What a sender's next MSH-7 is expected to be, for the hour that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    /// Its last MSH-7 and as much time as has passed since on our clock (so that a clock that is wrong stays as wrong as it
    /// was); the time of receipt where there is none.
    pub at: Timestamp,
    /// Its last MSH-7.
    pub last: Option<Timestamp>,
}

/// Messages of one sender overtake each other by so much at most, milliseconds: what is older is taken for the second of two
/// equal hours, where that makes it none. Too low: a message that was overtaken jumps an hour ahead; too high: a burst of
/// stored messages runs back an hour. Source: the bound of late messages everywhere here, two minutes.
const OVERTAKEN_MS: i64 = 120_000;

/// The zone in which one message's times are read.
#[derive(Debug)]
pub struct Times<'z, 'm> {
    site: &'z Zone,
    told: Option<&'z Zone>,
    header_min: Option<i16>,
    near: Near,
    first_offset: Option<i16>,
    /// Two offsets were seen.
    pub differ: bool,
    /// The field read last: most rows of a message repeat one time.
    last: (&'m [u8], Told),
}

impl<'z, 'm> Times<'z, 'm> {
    /// `told` is what the configuration says of the sender, else of the listener, if anything.
    pub fn new(site: &'z Zone, told: Option<&'z Zone>, near: Near) -> Times<'z, 'm> {
        let last = (&[][..], Told::Nothing);
        Times { site, told, header_min: None, near, first_offset: None, differ: false, last }
    }

    /// Reads MSH-7, whose offset is the one for times without.
    pub fn header(&mut self, field: Field<'m>) -> Option<Timestamp> {
        if let Ok(read) = Dtm::parse(field.component(1).trimmed()) {
            self.header_min = read.offset_min;
        }
        let Told::At { at, .. } = self.read(field) else { return None };
        self.near = Near { at, last: None };
        Some(at)
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

    /// Reads a time that is none of the values': its offset says nothing of theirs.
    pub fn aside(&mut self, field: Field<'m>) -> Option<Timestamp> {
        let kept = (self.first_offset, self.differ);
        let told = self.read(field);
        (self.first_offset, self.differ) = kept;
        match told {
            Told::At { at, .. } => Some(at),
            _ => None,
        }
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
        if let Some(offset) = self.header_min {
            return Told::At { at: read.at_offset(offset), zone_assumed: false };
        }
        let zone = self.told.unwrap_or(self.site);
        let mut at = read.resolve(zone, self.near.at);
        if let Some(bound) = self.near.last.map(|last| last.plus_ms(-OVERTAKEN_MS))
            && at < bound
        {
            let second = read.resolve(zone, Timestamp::MAX);
            at = if second < bound { at } else { second };
        }
        Told::At { at, zone_assumed: self.told.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Message, Scratch};
    use super::*;

    /// Reads every field of a header's MSH-7 and following made-up fields; `-` is nothing, `?` unreadable, `~` an assumed zone.
    fn read(msh7: &str, told: Option<&str>, zone: &str, fields: &[&str]) -> (Vec<String>, bool) {
        let text = format!("MSH|^~\\&|||||{msh7}||ORU^R01|1|P|2.6\rOBX|{}", fields.join("|"));
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).expect("a message");
        let site = Zone::parse(zone).expect("a zone");
        let told = told.map(|told| Zone::parse(told).expect("a zone"));
        let received_at = Timestamp::from_civil(2026, 10, 25, 1, 20, 0, 0).expect("a date");
        let mut times = Times::new(&site, told.as_ref(), Near { at: received_at, last: None });
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
        assert_eq!(read("20260112080000+0530", Some("+01:00"), "Europe/Rome", &local).0, ["2026-01-12T02:30:00Z"]);
        assert_eq!(read("20260112080000", Some("-01:00"), "Europe/Rome", &local).0, ["2026-01-12T09:00:00Z"]);
        assert_eq!(read("20260112080000", None, "Europe/Rome", &local).0, ["~2026-01-12T07:00:00Z"]);
        assert_eq!(read("", None, "Europe/Rome", &["20260712080000"]).0, ["~2026-07-12T06:00:00Z"], "summer");
    }

    #[test]
    fn a_repeated_hour_is_the_one_nearer_to_receipt() {
        assert_eq!(read("", None, "Europe/Rome", &["20261025022000"]).0, ["~2026-10-25T01:20:00Z"]);
    }

    /// MSH-7 of messages of one connection, received as said, in a sender's zone; UTC as `HH:MM`.
    fn hours(messages: &[(&str, &str)]) -> Vec<String> {
        let zone = Zone::parse("Europe/Rome").expect("a zone");
        let mut connection = super::super::state::Connection::default();
        let at = |text: &str| Dtm::parse(text.as_bytes()).expect("a time").at_offset(0);
        let one = |(msh7, received): &(&str, &str)| {
            let received_at = at(&format!("20261025{received}"));
            let text = format!("MSH|^~\\&|||||20261025{msh7}||ORU^R01|1|P|2.6");
            let mut scratch = Scratch::default();
            let message = Message::read(text.as_bytes(), &mut scratch).expect("a message");
            let mut times = Times::new(&Zone::Offset(0), Some(&zone), connection.near(received_at));
            let sent_at = times.header(message.msh(7)).expect("a time");
            connection.sent = Some((sent_at, received_at));
            sent_at.to_string()[11..16].to_owned()
        };
        messages.iter().map(one).collect()
    }

    #[test]
    fn a_repeated_hour_goes_on_from_the_message_before() {
        // Summer time ends at 01:00 UTC: 02:00 to 03:00 come twice.
        let right =
            [("020000", "000001"), ("023000", "003001"), ("025900", "005901"), ("020000", "010001"), ("023000", "013001")];
        assert_eq!(hours(&right), ["00:00", "00:30", "00:59", "01:00", "01:30"], "a clock that is right");
        let slow = [("014000", "002001"), ("020000", "004001"), ("025900", "013901"), ("020500", "014501")];
        assert_eq!(hours(&slow), ["23:40", "00:00", "00:59", "01:05"], "a clock that is 40 minutes slow");
        let stored =
            [("015900", "090000"), ("022500", "090000"), ("025500", "090000"), ("022500", "090001"), ("031000", "090001")];
        assert_eq!(hours(&stored), ["23:59", "00:25", "00:55", "01:25", "02:10"], "an hour's messages in one second");
        let overtaken = [("022500", "002501"), ("022400", "002502"), ("022510", "002511")];
        assert_eq!(hours(&overtaken), ["00:25", "00:24", "00:25"]);
        assert_eq!(hours(&[("023000", "004000")]), ["00:30"], "the first message: nearer to receipt");
        assert_eq!(hours(&[("023000", "014000")]), ["01:30"]);
    }

    #[test]
    fn the_other_times_of_a_message_are_those_near_its_header() {
        let zone = Zone::parse("Europe/Rome").expect("a zone");
        let text = b"MSH|^~\\&|||||20261025021000||ORU^R01|1|P|2.6\rOBX|20261025020800|20261025025000";
        let mut scratch = Scratch::default();
        let message = Message::read(text, &mut scratch).expect("a message");
        let received_at = Timestamp::from_civil(2026, 10, 25, 9, 0, 0, 0).expect("a date");
        let mut times = Times::new(&zone, None, Near { at: received_at, last: None });
        assert!(times.header(message.msh(7)).expect("a time").to_string().contains("T01:10"));
        let obx = message.first(b"OBX").expect("a row");
        let mut hour = |n| match times.read(obx.field(n)) {
            Told::At { at, zone_assumed: true } => at.to_string()[11..16].to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((hour(1), hour(2)), ("01:08".into(), "00:50".into()), "the cuff's twenty minutes ago");
    }

    #[test]
    fn a_zone_that_was_told_is_no_assumption() {
        let zone = Zone::parse("+05:30").expect("a zone");
        for (msh7, expected) in [("20260112080000", "2026-01-12T02:30"), ("20260112080000-0500", "2026-01-12T13:00")] {
            let text = format!("MSH|^~\\&|||||{msh7}||ORU^R01|1|P|2.6\rOBX|20260112080000");
            let mut scratch = Scratch::default();
            let message = Message::read(text.as_bytes(), &mut scratch).expect("a message");
            let near = Near { at: Timestamp::from_ms(0), last: None };
            let mut times = Times::new(&Zone::Offset(0), Some(&zone), near);
            times.header(message.msh(7));
            let told = times.read(message.first(b"OBX").expect("a row").field(1));
            let Told::At { at, zone_assumed: false } = told else { panic!("{told:?}") };
            assert!(at.to_string().starts_with(expected), "{at}");
        }
    }

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        let fields = ["", "\"\"", "00000000000000", "20261301080000", "20260112", "2026", "abc", "202601120800"];
        assert_eq!(read("", Some("UTC"), "UTC", &fields).0, ["-", "-", "?", "?", "?", "?", "?", "2026-01-12T08:00:00Z"]);
    }

    #[test]
    fn two_offsets_in_one_message_are_noticed() {
        assert!(!read("20260112080000+0100", None, "UTC", &["20260112080000+0100"]).1);
        assert!(read("20260112080000+0100", None, "UTC", &["20260112080000-0500"]).1);
    }
}
