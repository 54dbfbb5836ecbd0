//! Resent messages: the last bodies of one bed. A ring of 512; an older copy is told by its own times.

use crate::hl7::dialect::hash32;
use crate::observation::Report;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Bodies kept of one bed.
const KEPT: usize = 512;
/// A copy counts as resent within, seconds.
const WITHIN_S: u32 = 24 * 3600;
/// The same body under a new id is an engine's repeat within, seconds; later it is a finding (P01).
const NEW_ID_S: u32 = 60;

/// The ring.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Resent {
    #[serde(with = "crate::stats::packed::words")]
    bodies: Vec<u64>,
    /// Hash of the id, and time in seconds.
    rest: Vec<(u32, u32)>,
    next: u32,
    /// One byte of each body, made of them: a search reads 8 lines of memory instead of 64.
    #[serde(skip)]
    tags: Vec<u8>,
}

impl Resent {
    /// Whether this message of a sender was heard before; remembers it if not.
    pub fn heard(&mut self, report: &Report, sender: u64, now: Timestamp) -> bool {
        let body = report.body_hash.iter().fold(0u64, |h, b| h.rotate_left(8) ^ u64::from(*b)) ^ sender;
        let id = if report.control_id_is_id { hash32(&[report.control_id.as_bytes()]).max(1) } else { 0 };
        self.seen(body, id, now)
    }

    /// Whether this body was heard before as the same message; remembers it if not. `id` is 0 where MSH-10 is no id.
    fn seen(&mut self, body: u64, id: u32, now: Timestamp) -> bool {
        let now_s = (now.ms() / 1000) as u32;
        if self.tags.len() != self.bodies.len() {
            self.tags = self.bodies.iter().map(|known| *known as u8).collect();
        }
        for at in memchr::memchr_iter(body as u8, &self.tags) {
            if self.bodies[at] != body {
                continue;
            }
            let (known_id, heard_s) = self.rest[at];
            let age_s = now_s.wrapping_sub(heard_s);
            if age_s <= WITHIN_S && (id == 0 || known_id == id || age_s <= NEW_ID_S) {
                return true;
            }
        }
        if self.bodies.len() < KEPT {
            self.bodies.push(body);
            self.tags.push(body as u8);
            self.rest.push((id, now_s));
        } else {
            let at = self.next as usize % KEPT;
            self.bodies[at] = body;
            self.tags[at] = body as u8;
            self.rest[at] = (id, now_s);
        }
        self.next = self.next.wrapping_add(1) % KEPT as u32;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_under_its_id_is_a_copy_and_under_a_new_id_only_for_a_minute() {
        let mut ring = Resent::default();
        let t = |s: i64| Timestamp(1_800_000_000_000 + s * 1000);
        assert!(!ring.seen(1, 10, t(0)));
        assert!(ring.seen(1, 10, t(3600)));
        assert!(ring.seen(1, 11, t(30)));
        assert!(!ring.seen(1, 12, t(61)));
        assert!(!ring.seen(2, 10, t(1)));
        assert!(!ring.seen(1, 10, t(25 * 3600)), "a day later it is a new message");
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut ring = Resent::default();
        for n in 0..10_000 {
            assert!(!ring.seen(n, 1, Timestamp(n as i64 * 1000)));
        }
        assert_eq!(ring.bodies.len(), KEPT);
        assert!(ring.seen(9_999, 1, Timestamp(9_999_000)));
    }
}
