//! IP packets in fragments, put together. `etherparse` holds the pieces of one packet; how many packets are held is bound here.
//!
//! At the bound the packet that was touched longest ago is given up and counted. A fragment that contradicts the others (another
//! end, a length that is no multiple of eight) is counted and dropped.

use super::packet::Fragment;
use crate::time::Timestamp;
use etherparse::{IpNumber, defrag::IpDefragBuf};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Packets in pieces held at most: 64 KiB each.
const PACKETS_MAX: usize = 256;
/// A packet whose fragments do not come within this time is given up, ms. RFC 8200 4.5 and RFC 1122 3.3.2: 60 s.
const WAIT_MS: i64 = 60_000;

type Key = (IpAddr, IpAddr, u32, u8);

#[derive(Debug, Default)]
pub(super) struct Defrag {
    held: BTreeMap<Key, (Timestamp, IpDefragBuf)>,
    /// Given up, or contradicting.
    pub lost: u64,
}

impl Defrag {
    /// Takes a fragment; the whole payload when it was the last one missing.
    pub fn take(&mut self, from: IpAddr, to: IpAddr, fragment: &Fragment<'_>, at: Timestamp) -> Option<Vec<u8>> {
        if fragment.incomplete {
            self.lost += 1;
            return None;
        }
        let key = (from, to, fragment.identification, fragment.protocol);
        if self.held.len() >= PACKETS_MAX && !self.held.contains_key(&key) {
            self.make_room(at);
        }
        let (touched, pieces) =
            self.held.entry(key).or_insert_with(|| (at, IpDefragBuf::new(IpNumber(fragment.protocol), Vec::new(), Vec::new())));
        *touched = at;
        if pieces.add(fragment.offset, fragment.more, fragment.data).is_err() {
            self.lost += 1;
            return None;
        }
        if !pieces.is_complete() {
            return None;
        }
        self.held.remove(&key).map(|(_, pieces)| pieces.take_bufs().0)
    }

    /// Packets that are incomplete.
    pub fn waiting(&self) -> u64 {
        self.held.len() as u64
    }

    fn make_room(&mut self, at: Timestamp) {
        let before = self.held.len();
        self.held.retain(|_, (touched, _)| at.since_ms(*touched) <= WAIT_MS);
        if self.held.len() == before
            && let Some(oldest) = self.held.iter().min_by_key(|(_, (touched, _))| *touched).map(|(key, _)| *key)
        {
            self.held.remove(&oldest);
        }
        self.lost += (before - self.held.len()) as u64;
    }
}
