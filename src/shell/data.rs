//! What the pages' data come from, beside state and alerts: one bundle for the HTTP side.

use crate::config::Config;
use crate::shell::journal::JournalHandle;
use crate::shell::link::Link;
use crate::shell::listener::FeedStats;
use crate::shell::questions::Questions;
use crate::shell::replays::Replays;
use crate::shell::stations::Stations;
use crate::shell::trends::Trends;
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rates of a feed are means of so long, seconds.
const RATE_S: usize = 60;

/// Everything that a handler may ask.
pub struct Data {
    pub config: Arc<Config>,
    pub site_key: Vec<u8>,
    /// The judging thread.
    pub questions: Questions,
    pub journal: JournalHandle,
    /// File of the store.
    pub store: PathBuf,
    pub trends: Arc<Trends>,
    pub feeds: Vec<Arc<FeedStats>>,
    pub link: Arc<Link>,
    pub stations: Arc<Stations>,
    pub replays: Replays,
    pub rates: Rates,
    pub explains: crate::shell::station_explain::Desk,
    /// Who waits for a step of a case.
    pub case_answers: Arc<crate::shell::cases::Answers>,
    /// The bundle that is being made.
    pub exports: crate::shell::station_case_files::Desk,
    /// Signs what leaves as evidence.
    pub signer: Arc<crate::shell::vault::Signer>,
    /// `sha256:` and 16 digits over the effective configuration.
    pub config_hash: String,
}

/// What every feed brings a second, and since when the broker is there; sampled once a second.
#[derive(Debug, Default)]
pub struct Rates(Mutex<Sampled>);

#[derive(Debug, Default)]
struct Sampled {
    /// Bytes and messages received so far, each second.
    seen: HashMap<String, VecDeque<(u64, u64)>>,
    connections: u64,
    up_since: Option<Timestamp>,
}

impl Rates {
    /// One look at the counters.
    fn sample(&self, feeds: &[Arc<FeedStats>], link: &Link, now: Timestamp) {
        let mut sampled = self.0.lock();
        for feed in feeds {
            let seen = sampled.seen.entry(feed.feed.clone()).or_default();
            seen.push_back((feed.bytes_in.load(Ordering::Relaxed), feed.received.load(Ordering::Relaxed)));
            while seen.len() > RATE_S + 1 {
                seen.pop_front();
            }
        }
        let (up, connections) = (link.connected(), link.connections());
        if !up {
            sampled.up_since = None;
        } else if sampled.up_since.is_none() || connections != sampled.connections {
            sampled.up_since = Some(now);
        }
        sampled.connections = connections;
    }
    /// Bytes and messages received a second, mean of the last minute.
    pub fn per_s(&self, feed: &str) -> (f64, f64) {
        let sampled = self.0.lock();
        let Some(seen) = sampled.seen.get(feed) else { return (0.0, 0.0) };
        match (seen.front(), seen.back()) {
            (Some(first), Some(last)) if seen.len() > 1 => {
                let seconds = (seen.len() - 1) as f64;
                (last.0.saturating_sub(first.0) as f64 / seconds, last.1.saturating_sub(first.1) as f64 / seconds)
            }
            _ => (0.0, 0.0),
        }
    }
    /// Since when the broker has taken our connection; `None`: it is not there.
    pub fn up_since(&self) -> Option<Timestamp> {
        self.0.lock().up_since
    }
}

/// Looks at the counters for as long as somebody holds the data.
pub fn watch(data: &Arc<Data>) {
    let weak = Arc::downgrade(data);
    tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            let Some(data) = weak.upgrade() else { return };
            data.rates.sample(&data.feeds, &data.link, crate::shell::publisher::now());
        }
    });
}
