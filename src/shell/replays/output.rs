//! Where a replay speaks: to the sandbox at the broker, and to whoever looks on over HTTP.

use crate::alert::AlertEvent;
use crate::shell::live::{Changes, Live, Record};
use crate::shell::replay::deck::Deck;
use crate::shell::replay::mqtt::Publisher;
use crate::shell::replay::{ReplayError, Sink};
use crate::shell::retained::{Kind, Retained};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// State is merged over so long: newest only.
const MERGE: Duration = Duration::from_millis(250);

/// What one replay has said.
pub struct Output {
    deck: Arc<Deck>,
    /// The newest document of each topic.
    pub retained: Retained,
    pub live: Live,
    pub messages: AtomicU64,
    /// Whether the broker hears it.
    pub published: AtomicBool,
    mouth: Mutex<Mouth>,
}

struct Mouth {
    changes: Changes,
    publisher: Option<Publisher>,
    merged: Instant,
}

impl Output {
    pub fn new(deck: Arc<Deck>) -> Output {
        Output {
            deck,
            retained: Retained::default(),
            live: Live::default(),
            messages: AtomicU64::new(0),
            published: AtomicBool::new(false),
            mouth: Mutex::new(Mouth { changes: Changes::default(), publisher: None, merged: Instant::now() }),
        }
    }

    /// The broker hears it from now on.
    pub fn connect(&self, publisher: Publisher) {
        self.mouth.lock().publisher = Some(publisher);
        self.published.store(true, Ordering::Relaxed);
    }

    /// Says what has changed since the last time, unless it is being sought.
    pub fn merge(&self) {
        if self.deck.silent() {
            return;
        }
        let mut mouth = self.mouth.lock();
        mouth.merged = Instant::now();
        let records = mouth.changes.take(&self.retained);
        for record in &records {
            let document = String::from_utf8_lossy(&record.payload);
            self.publish(&mut mouth, |publisher| publisher.state(&record.topic, &document));
            if record.payload.is_empty()
                && let Some(tombstone) = self.retained.get(&record.topic)
            {
                self.retained.forget(&record.topic, tombstone.version);
            }
        }
        self.live.put(records);
    }

    fn merge_if_due(&self) {
        if self.mouth.lock().merged.elapsed() >= MERGE {
            self.merge();
        }
    }

    /// An event, at once; the states before it first.
    fn event(&self, event: &AlertEvent, document: &str) {
        if self.deck.silent() {
            return;
        }
        self.publish(&mut self.mouth.lock(), |publisher| publisher.event(event, document));
        let (now, before) = event.topics();
        let topic = |priority: crate::check::Priority| {
            format!("ward/{}/bed/{}/event/{}", event.alert.ward, event.alert.bed, priority.as_str())
        };
        let payload = bytes::Bytes::from(document.to_owned());
        let records = [Some(now), before].into_iter().flatten().map(|p| Record { topic: topic(p), payload: payload.clone() });
        self.live.put(records.collect());
    }

    fn publish(&self, mouth: &mut Mouth, say: impl FnOnce(&mut Publisher) -> Result<(), ReplayError>) {
        if let Some(publisher) = &mut mouth.publisher
            && let Err(error) = say(publisher)
        {
            tracing::warn!(%error, "a replay goes on without the broker");
            mouth.publisher = None;
            self.published.store(false, Ordering::Relaxed);
        }
    }

    /// Everything is gone: another pass begins.
    pub fn clear(&self) {
        for (topic, document) in self.retained.all() {
            self.retained.put(&topic, document.kind, bytes::Bytes::new());
        }
    }

    /// The replay ends: the broker is told that its documents are gone.
    pub fn end(&self) {
        self.clear();
        let mut mouth = self.mouth.lock();
        let records = mouth.changes.take(&self.retained);
        for record in &records {
            self.publish(&mut mouth, |publisher| publisher.state(&record.topic, ""));
        }
        if let Some(mut publisher) = mouth.publisher.take() {
            let _ = publisher.finish();
        }
        self.live.put(records);
    }
}

/// The output as the driver's listener.
pub struct Stage(pub Arc<Output>);

impl Stage {
    fn goes_on(&self) -> Result<(), ReplayError> {
        if self.0.deck.broken_off() { Err(ReplayError::Enough) } else { Ok(()) }
    }
}

impl Sink for Stage {
    fn message(&mut self, _payload: &[u8]) -> Result<(), ReplayError> {
        self.0.messages.fetch_add(1, Ordering::Relaxed);
        self.goes_on()
    }
    fn event(&mut self, event: &AlertEvent, document: &str) -> Result<(), ReplayError> {
        self.0.event(event, document);
        self.goes_on()
    }
    fn state(&mut self, topic: &str, document: &str) -> Result<(), ReplayError> {
        let kind = if topic.contains("/bed/") { Kind::Bed } else { Kind::Ward };
        self.0.retained.put(topic, kind, bytes::Bytes::from(document.to_owned()));
        self.0.merge_if_due();
        self.goes_on()
    }
    fn wants_state(&self) -> bool {
        true
    }
}
