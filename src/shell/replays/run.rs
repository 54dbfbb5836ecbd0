//! One replay: its thread, its knobs, how it stands.

use super::output::{Output, Stage};
use super::scan::{Found, Look, Tick};
use super::{Place, Replays, StartError, Wanted, Wish};
use crate::config::Config;
use crate::shell::publisher::Options as Broker;
use crate::shell::replay::deck::{Change, Deck, Hands, Next};
use crate::shell::replay::input::{Input, Progress};
use crate::shell::replay::mqtt::Publisher;
use crate::shell::replay::pace::{Machine, Pace, Wall};
use crate::shell::replay::{Driver, Options, ReplayError, Sink, Summary};
use crate::time::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A replay.
pub struct Run {
    /// Slug, as in its topics.
    pub name: String,
    pub source: Wanted,
    /// What it says.
    pub output: Arc<Output>,
    deck: Arc<Deck>,
    found: Arc<Found>,
    failed: Mutex<Option<String>>,
    /// End of the stretch that was asked for.
    to: Option<Timestamp>,
}

/// What both the player and the look beforehand need.
struct Recording {
    config: Arc<Config>,
    site_key: Vec<u8>,
    name: String,
    place: Place,
}

impl Recording {
    fn drive<W: Wall>(&self, pace: Pace<W>, pass: u32, sink: Box<dyn Sink + '_>) -> Result<Summary, ReplayError> {
        let options = Options {
            run: self.name.clone(),
            feed: "replay".into(),
            feeds: Vec::new(),
            shift_to: None,
            judge: true,
            site_key: Some(self.site_key.clone()),
        };
        let driver = Driver::new(&self.config, options, pace, vec![sink]).pass(pass);
        match &self.place {
            Place::Journal(folder, range) => driver.run_range(folder, range),
            Place::File(path) => {
                let zone = jiff::tz::TimeZone::get(&self.config.zone).unwrap_or(jiff::tz::TimeZone::UTC);
                let bytes_max = self.config.mllp.first().map_or(crate::mllp::FRAME_BYTES_MAX, |mllp| mllp.frame_bytes_max);
                driver.run(&[Input::file(path)], zone, bytes_max, Progress::default())
            }
        }
    }
}

impl Run {
    pub(super) fn start(desk: &Replays, wish: &Wish, place: Place, base: Option<Timestamp>) -> Result<Arc<Run>, StartError> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let name = format!("r{}", &id[20..32]);
        let deck = Arc::new(Deck::new(base, wish.speed, wish.looping));
        let to = match (&place, base) {
            (Place::Journal(_, range), Some(_)) => Some(range.to),
            _ => None,
        };
        let run = Arc::new(Run {
            name: name.clone(),
            source: wish.source.clone(),
            output: Arc::new(Output::new(Arc::clone(&deck))),
            deck,
            found: Arc::default(),
            failed: Mutex::new(None),
            to,
        });
        let recording = Arc::new(Recording { config: Arc::clone(&desk.config), site_key: desk.site_key.clone(), name, place });
        let (player, scanner) = (Arc::clone(&run), Arc::clone(&run));
        let other = Arc::clone(&recording);
        let broker = desk.broker.clone();
        std::thread::Builder::new().name("replay".into()).spawn(move || player.play(&recording, broker.as_ref()))?;
        std::thread::Builder::new().name("replay-scan".into()).spawn(move || scanner.scan(&other)).inspect_err(|_| run.stop())?;
        Ok(run)
    }

    fn play(&self, recording: &Recording, broker: Option<&Broker>) {
        if let Some(broker) = broker {
            match Publisher::beside(broker, &self.name) {
                Ok(publisher) => self.output.connect(publisher),
                Err(error) => tracing::warn!(%error, "a replay is shown over HTTP only"),
            }
        }
        let mut pass = 0;
        loop {
            let output = Arc::clone(&self.output);
            let hands = Hands { deck: Arc::clone(&self.deck), idle: move || output.merge() };
            let stage = Box::new(Stage(Arc::clone(&self.output)));
            let played = catch_unwind(AssertUnwindSafe(|| recording.drive(Pace::new(hands, Some(1.0)), pass, stage)));
            match played {
                Ok(Ok(summary)) => {
                    let broken = summary.outcomes.iter().find_map(|outcome| outcome.faults.broken.clone());
                    *self.failed.lock() = broken.filter(|_| summary.messages == 0);
                }
                Ok(Err(ReplayError::Enough)) => {}
                Ok(Err(error)) => *self.failed.lock() = Some(error.to_string()),
                Err(_) => *self.failed.lock() = Some("the judge could not take a message of it".into()),
            }
            match self.deck.over(|| self.output.merge()) {
                Next::Again => {
                    pass += 1;
                    self.output.clear();
                }
                Next::Stop => break,
            }
        }
        self.output.end();
    }

    fn scan(&self, recording: &Recording) {
        let look = Look { found: Arc::clone(&self.found), began: Instant::now() };
        let pace = Pace::new(Machine::default(), None);
        if let Ok(Ok(summary)) = catch_unwind(AssertUnwindSafe(|| recording.drive(pace, 0, Box::new(look)))) {
            *self.found.ends.lock() = summary.first.zip(summary.last);
        }
        self.found.through.store(true, Ordering::Relaxed);
    }

    /// Turns the knobs.
    pub fn change(&self, change: Change) {
        self.deck.change(change);
    }

    /// Ends it.
    pub fn stop(&self) {
        self.found.stop.store(true, Ordering::Relaxed);
        self.deck.stop();
    }

    /// Played to its end (or failed), and nobody has sent it back.
    pub fn is_over(&self) -> bool {
        self.deck.stand().ended
    }

    /// How it stands: what `/api/v1/replay/{run}` answers.
    pub fn to_json(&self) -> Value {
        let stand = self.deck.stand();
        let ends = *self.found.ends.lock();
        let base = stand.base.or(ends.map(|(first, _)| first));
        let last = self.to.or(ends.map(|(_, last)| last));
        let length_ms = base.zip(last).map(|(base, last)| last.since_ms(base).max(0));
        let position_ms = length_ms.map_or(stand.position_ms, |length| stand.position_ms.min(length));
        let failed = self.failed.lock().clone();
        let state = match () {
            () if failed.is_some() => "failed",
            () if stand.ended => "ended",
            () if stand.seeking => "seeking",
            () if stand.paused => "paused",
            () => "playing",
        };
        let alerts: Vec<Tick> = match base {
            None => Vec::new(),
            Some(base) => {
                let ticks = self.found.ticks.lock();
                let inside = ticks.iter().filter(|tick| tick.at >= base);
                inside.map(|tick| Tick { at_ms: tick.at.since_ms(base), ..tick.clone() }).collect()
            }
        };
        json!({
            "run": self.name, "source": self.source, "state": state, "error": failed,
            "begin": base.map(|base| base.to_string()), "position_ms": position_ms, "length_ms": length_ms,
            "speed": stand.speed, "paused": stand.paused, "loop": stand.looping,
            "messages": self.output.messages.load(Ordering::Relaxed), "mqtt": self.output.published.load(Ordering::Relaxed),
            "scanned": self.found.through.load(Ordering::Relaxed), "alerts": alerts,
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop();
    }
}
