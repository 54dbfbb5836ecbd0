//! Stations: who announces itself, and whether anyone listens while something is open.
//!
//! The rule (S04 `no_station_listening`): a high or medium alert is open, no station was live for ten seconds, and a station has
//! announced itself under this site before or the configuration expects one. A station is live until it says `offline` (its will
//! does) or for 45 s after its last word; it repeats itself every 30 s. Bound: `STATIONS_MAX` names; a further one is heard
//! and not counted by name.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A station's word holds so long.
const LIVE: Duration = Duration::from_secs(45);
/// Names remembered at most.
const STATIONS_MAX: usize = 1_024;

/// Who has announced itself.
#[derive(Debug, Default)]
pub struct Stations {
    live: Mutex<HashMap<String, Instant>>,
    /// One was heard under this site, ever.
    known: AtomicBool,
}

impl Stations {
    /// A station has spoken, `age` ago: what a broker had kept is older than its arrival.
    pub fn heard(&self, user: &str, online: bool, age: Duration) {
        let now = Instant::now();
        let live = online && age < LIVE;
        self.heard_at(user, live, now.checked_sub(age).unwrap_or(now));
    }

    fn heard_at(&self, user: &str, online: bool, now: Instant) {
        let mut live = self.live.lock();
        self.known.store(true, Ordering::Relaxed);
        if !online {
            live.remove(user);
            return;
        }
        if live.len() >= STATIONS_MAX {
            live.retain(|_, at| now.duration_since(*at) < LIVE);
        }
        if live.len() < STATIONS_MAX || live.contains_key(user) {
            live.insert(user.to_owned(), now);
        }
    }

    /// One was heard before, by an earlier run.
    pub fn remember(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether one was ever heard.
    pub fn known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Stations that are live now.
    pub fn count(&self) -> usize {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> usize {
        let mut live = self.live.lock();
        live.retain(|_, at| now.duration_since(*at) < LIVE);
        live.len()
    }
}

/// Whether S04 holds, asked again and again.
#[derive(Debug, Default)]
pub struct Lonely {
    /// Since when something is open and nobody listens, ms of our clock.
    since_ms: Option<i64>,
    pub holds: bool,
}

impl Lonely {
    /// `waiting`: a high or medium alert (other than this one) is open and one is expected to listen. Gives the new state where
    /// it changed.
    pub fn step(&mut self, waiting: bool, live: usize, absent_s: f64, now_ms: i64) -> Option<bool> {
        let alone = waiting && live == 0;
        if !alone {
            self.since_ms = None;
            return std::mem::replace(&mut self.holds, false).then_some(false);
        }
        let since = *self.since_ms.get_or_insert(now_ms);
        if self.holds || ((now_ms - since) as f64) < absent_s * 1000.0 {
            return None;
        }
        self.holds = true;
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_lives_45_s_after_its_last_word_and_its_will_ends_it() {
        let (stations, start) = (Stations::default(), Instant::now());
        assert!(!stations.known());
        stations.heard_at("wall", true, start);
        stations.heard_at("desk", true, start + Duration::from_secs(30));
        assert_eq!(stations.count_at(start + Duration::from_secs(44)), 2);
        assert_eq!(stations.count_at(start + Duration::from_secs(46)), 1, "the wall has not repeated itself");
        stations.heard_at("desk", false, start + Duration::from_secs(47));
        assert_eq!(stations.count_at(start + Duration::from_secs(47)), 0);
        assert!(stations.known(), "one was heard");
    }

    #[test]
    fn what_a_broker_has_kept_for_too_long_is_a_memory_and_no_station() {
        let stations = Stations::default();
        stations.heard("wall", true, Duration::from_secs(46));
        assert_eq!((stations.count(), stations.known()), (0, true));
        stations.heard("wall", true, Duration::from_secs(10));
        assert_eq!(stations.count(), 1);
    }

    #[test]
    fn ten_seconds_without_a_listener_are_told_once_and_end_with_one() {
        let mut lonely = Lonely::default();
        let mut step = |waiting, live, s: f64| lonely.step(waiting, live, 10.0, (s * 1000.0) as i64);
        assert_eq!(step(true, 1, 0.0), None);
        assert_eq!(step(true, 0, 1.0), None);
        assert_eq!(step(true, 0, 10.9), None, "9.9 s");
        assert_eq!(step(true, 1, 10.95), None, "one came back in time");
        assert_eq!(step(true, 0, 11.0), None);
        assert_eq!(step(true, 0, 21.0), Some(true));
        assert_eq!(step(true, 0, 22.0), None, "once");
        assert_eq!(step(true, 1, 23.0), Some(false));
        assert_eq!(step(true, 0, 24.0), None);
        assert_eq!(step(false, 0, 40.0), None, "nothing is open");
    }
}
