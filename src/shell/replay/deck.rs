//! A recorder's deck: recorded time that runs at a speed, stands still, and jumps, for one thread that plays and others that turn
//! the knobs.

use super::pace::Wall;
use crate::time::Timestamp;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Speeds that may be asked for, times the recorded time.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.5..=60.0;
/// Whoever waits looks up so often.
const WAKE: Duration = Duration::from_millis(250);
/// A judge that falls behind by more is not chased: recorded time stands at what is judged, ms.
const BEHIND_MS: i64 = 2_000;

/// What is to be changed; `None`: as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    pub paused: Option<bool>,
    pub speed: Option<f64>,
    pub seek_ms: Option<i64>,
    #[serde(rename = "loop")]
    pub looping: Option<bool>,
}

/// What the player has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// From the beginning, silently up to the place that is wanted.
    Again,
    Stop,
}

#[derive(Debug)]
struct State {
    /// Recorded time 0 of the display; `None`: the first message has it.
    base: Option<Timestamp>,
    /// Position at `since`, ms after the base.
    position_ms: f64,
    since: Instant,
    speed: f64,
    paused: bool,
    looping: bool,
    /// Played without waiting or telling up to here, ms.
    hurry_ms: Option<i64>,
    /// A jump back, or another pass: what is played now is to end.
    again: bool,
    stop: bool,
    ended: bool,
}

impl State {
    fn now_ms(&self) -> f64 {
        let still = self.paused || self.ended || self.hurry_ms.is_some();
        let run = if still { 0.0 } else { self.since.elapsed().as_secs_f64() * 1000.0 * self.speed };
        self.position_ms + run
    }
    fn anchor(&mut self, position_ms: f64) {
        self.position_ms = position_ms;
        self.since = Instant::now();
    }
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stand {
    pub base: Option<Timestamp>,
    pub position_ms: i64,
    pub speed: f64,
    pub paused: bool,
    pub looping: bool,
    /// On the way to a place without telling.
    pub seeking: bool,
    pub ended: bool,
}

/// The knobs and the clock.
#[derive(Debug)]
pub struct Deck {
    state: Mutex<State>,
    turned: Condvar,
}

impl Deck {
    /// Plays at once. `base`: recorded time 0, where it is known; what comes before it is played without waiting or telling.
    pub fn new(base: Option<Timestamp>, speed: f64, looping: bool) -> Deck {
        let state = State {
            base,
            position_ms: 0.0,
            since: Instant::now(),
            speed,
            paused: false,
            looping,
            hurry_ms: base.map(|_| 0),
            again: false,
            stop: false,
            ended: false,
        };
        Deck { state: Mutex::new(state), turned: Condvar::new() }
    }

    /// Turns the knobs. What is no speed or place is left as it is: see [`SPEEDS`].
    pub fn change(&self, change: Change) {
        let mut state = self.state.lock();
        let now = state.now_ms();
        state.anchor(now);
        if let Some(paused) = change.paused {
            state.paused = paused;
        }
        if let Some(speed) = change.speed.filter(|speed| SPEEDS.contains(speed)) {
            state.speed = speed;
        }
        if let Some(looping) = change.looping {
            state.looping = looping;
            state.again |= looping && state.ended;
        }
        if let Some(seek_ms) = change.seek_ms.map(|ms| ms.max(0)) {
            state.again = state.again || state.ended || (seek_ms as f64) < now || state.hurry_ms.is_some_and(|to| seek_ms < to);
            state.anchor(seek_ms as f64);
            state.hurry_ms = Some(seek_ms);
        } else if state.again && state.hurry_ms.is_none() {
            state.anchor(0.0);
            state.hurry_ms = Some(0);
        }
        drop(state);
        self.turned.notify_all();
    }

    /// Ends the player.
    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.turned.notify_all();
    }

    /// How it stands.
    pub fn stand(&self) -> Stand {
        let state = self.state.lock();
        Stand {
            base: state.base,
            position_ms: state.now_ms() as i64,
            speed: state.speed,
            paused: state.paused,
            looping: state.looping,
            seeking: state.hurry_ms.is_some(),
            ended: state.ended,
        }
    }

    /// Whether what is played now is to be broken off.
    pub fn broken_off(&self) -> bool {
        let state = self.state.lock();
        state.stop || state.again
    }

    /// Whether what is played now is not told.
    pub fn silent(&self) -> bool {
        let state = self.state.lock();
        state.hurry_ms.is_some() || state.again || state.stop
    }

    /// The recording is over: at its end it waits for a jump or a loop. `idle` is called now and then.
    pub fn over(&self, mut idle: impl FnMut()) -> Next {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Next::Stop;
            }
            if state.looping && !state.again {
                state.again = true;
                state.anchor(0.0);
                state.hurry_ms = Some(0);
            }
            if std::mem::take(&mut state.again) {
                state.ended = false;
                return Next::Again;
            }
            if !state.ended {
                let now = state.now_ms();
                state.anchor(now);
                state.ended = true;
                state.hurry_ms = None;
            }
            self.turned.wait_for(&mut state, WAKE);
            parking_lot::MutexGuard::unlocked(&mut state, &mut idle);
        }
    }

    /// Waits until recorded time is `at`; `true`: it has just landed where it was sent. `idle` is called now and then.
    fn wait(&self, at: Timestamp, mut idle: impl FnMut()) -> bool {
        let mut state = self.state.lock();
        let base = *state.base.get_or_insert(at);
        let due_ms = at.since_ms(base);
        let mut landed = false;
        loop {
            if state.stop || state.again {
                return false;
            }
            match state.hurry_ms {
                Some(to) if due_ms < to => return false,
                Some(to) => {
                    state.hurry_ms = None;
                    state.anchor(to as f64);
                    landed = true;
                    // What was played silently is told now.
                    parking_lot::MutexGuard::unlocked(&mut state, &mut idle);
                    continue;
                }
                None => {}
            }
            let now_ms = state.now_ms();
            let ahead_ms = due_ms as f64 - now_ms;
            if !state.paused && ahead_ms <= 0.0 {
                if -ahead_ms > BEHIND_MS as f64 {
                    state.anchor(due_ms as f64);
                }
                return landed;
            }
            let wait =
                if state.paused { WAKE } else { WAKE.min(Duration::from_secs_f64(ahead_ms.max(0.0) / 1000.0 / state.speed)) };
            self.turned.wait_for(&mut state, wait);
            parking_lot::MutexGuard::unlocked(&mut state, &mut idle);
        }
    }
}

/// The deck as the player's clock; `idle` is called whenever it waits.
pub struct Hands<F> {
    pub deck: Arc<Deck>,
    pub idle: F,
}

impl<F: FnMut()> Wall for Hands<F> {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep_until(&mut self, _until: Duration) {}
    fn keeps(&mut self, at: Timestamp) -> bool {
        self.deck.wait(at, &mut self.idle);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_800_000_000_000 + ms)
    }

    #[test]
    fn it_runs_at_its_speed_stands_still_and_jumps() {
        let deck = Arc::new(Deck::new(None, 60.0, false));
        deck.wait(at(0), || ());
        let began = Instant::now();
        deck.wait(at(6_000), || ());
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(90) && took < Duration::from_secs(5), "{took:?}");
        deck.change(Change { paused: Some(true), ..Change::default() });
        let stood = deck.stand().position_ms;
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(deck.stand().position_ms, stood);
        // Forward: silent until there, and told then.
        deck.change(Change { seek_ms: Some(60_000), paused: Some(false), ..Change::default() });
        assert!(deck.silent() && !deck.broken_off());
        let mut told = 0;
        deck.wait(at(30_000), || told += 1);
        assert!(deck.silent() && told == 0);
        assert!(deck.wait(at(60_000), || told += 1));
        assert!(!deck.silent() && told > 0);
        // Back: what plays is broken off and begins again.
        deck.change(Change { seek_ms: Some(1_000), ..Change::default() });
        assert!(deck.broken_off());
        assert_eq!(deck.over(|| ()), Next::Again);
        assert!(deck.silent() && !deck.broken_off());
    }

    #[test]
    fn the_end_waits_and_a_loop_does_not() {
        let deck = Arc::new(Deck::new(None, 1.0, true));
        deck.wait(at(0), || ());
        assert_eq!(deck.over(|| ()), Next::Again);
        deck.wait(at(0), || ());
        deck.change(Change { looping: Some(false), ..Change::default() });
        let other = Arc::clone(&deck);
        let player = std::thread::spawn(move || other.over(|| ()));
        while !deck.stand().ended {
            std::thread::sleep(Duration::from_millis(5));
        }
        deck.change(Change { looping: Some(true), ..Change::default() });
        assert_eq!(player.join().unwrap(), Next::Again);
        assert_eq!(deck.stand().position_ms, 0);
    }
}
