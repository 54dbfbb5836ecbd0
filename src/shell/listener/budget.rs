//! Bytes of unfinished frames: who holds how many, and who has to go when they are too many.
//!
//! One contract: **nobody is closed for what others hold.** One address has at most half of the budget (or one whole frame, where
//! that is more), and a connection within its share, the budget divided by the connections, always stays.
//!
//! Limits: by those shares all connections together hold at most twice the budget. Behind one address (a gateway, a translated
//! network) the half is common to all.

use crate::config::Mllp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Budget {
    bytes_max: u64,
    peer_bytes_max: u64,
    share_bytes: u64,
    /// Addresses that hold something; as many as there are connections at most.
    peers: Mutex<HashMap<IpAddr, u64>>,
}

impl Budget {
    pub fn new(config: &Mllp) -> Budget {
        let bytes_max = config.unfinished_bytes_max as u64;
        Budget {
            bytes_max,
            peer_bytes_max: (bytes_max / 2).max(config.frame_bytes_max as u64),
            share_bytes: bytes_max / (config.connections_max as u64).max(1),
            peers: Mutex::default(),
        }
    }

    /// Books that a connection of `peer` holds `now` bytes where it held `before`; `total` is what all hold. `false`: it holds
    /// too many.
    pub fn book(&self, peer: IpAddr, before: u64, now: u64, total: &AtomicU64) -> bool {
        if now == before {
            return true;
        }
        let mut peers = self.peers.lock();
        let held = peers.entry(peer).or_default();
        *held = held.saturating_sub(before) + now;
        let of_peer = *held;
        if of_peer == 0 {
            peers.remove(&peer);
        }
        drop(peers);
        if now < before {
            total.fetch_sub(before - now, Ordering::Relaxed);
            return true;
        }
        let of_all = total.fetch_add(now - before, Ordering::Relaxed) + (now - before);
        now <= self.share_bytes || (of_all <= self.bytes_max && of_peer <= self.peer_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_much_is_stopped_and_who_takes_little_is_not() {
        let config = Mllp { unfinished_bytes_max: 1000, frame_bytes_max: 300, connections_max: 10, ..Mllp::default() };
        let (budget, total) = (Budget::new(&config), AtomicU64::new(0));
        let [a, b, c] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        assert!(budget.book(a, 0, 300, &total) && budget.book(a, 0, 200, &total));
        assert!(!budget.book(a, 0, 101, &total), "half is enough for one address");
        assert!(budget.book(a, 101, 100, &total), "but a connection has its share");
        assert!(budget.book(b, 0, 300, &total));
        assert!(!budget.book(c, 0, 101, &total), "all of it is held");
        assert!(budget.book(c, 101, 90, &total));
        assert_eq!(total.load(Ordering::Relaxed), 990);
        for (peer, held) in [(a, 300), (a, 200), (a, 100), (b, 300), (c, 90)] {
            assert!(budget.book(peer, held, 0, &total));
        }
        assert_eq!((total.load(Ordering::Relaxed), budget.peers.lock().len()), (0, 0));
    }
}
