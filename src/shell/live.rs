//! What happens, for those who look on over HTTP: the same topics and documents as at the broker, as they come.
//!
//! One contract: nobody is waited for. A batch is held for the slowest reader in a ring of [`BATCHES_MAX`]; a reader that has fallen
//! behind by more is told so, and begins anew with a snapshot.

use crate::shell::retained::Retained;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Batches that are kept for the slowest reader.
pub const BATCHES_MAX: usize = 256;

/// One document as it was published, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Relative to `{root}/v1/{site}/`.
    pub topic: String,
    /// Empty: a tombstone.
    pub payload: Bytes,
}

/// Records that belong together.
pub type Batch = Arc<[Record]>;

/// The stream of a service, or of a replay.
#[derive(Debug)]
pub struct Live {
    sender: broadcast::Sender<Batch>,
}

impl Default for Live {
    fn default() -> Live {
        Live { sender: broadcast::channel(BATCHES_MAX).0 }
    }
}

impl Live {
    /// Says it to whoever looks on now.
    pub fn put(&self, records: Vec<Record>) {
        if !records.is_empty() && self.watched() {
            let _ = self.sender.send(records.into());
        }
    }
    /// Whether anybody looks on.
    pub fn watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }
    /// From now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Batch> {
        self.sender.subscribe()
    }
}

/// Everything that stands, as one who joins late finds it.
pub fn standing(retained: &Retained) -> impl Iterator<Item = Record> {
    let there = retained.all().into_iter().filter(|(_, document)| !document.payload.is_empty());
    there.map(|(topic, document)| Record { topic, payload: document.payload })
}

/// What of [`Retained`] has changed since the last look, tombstones included, however short-lived.
#[derive(Debug, Default)]
pub struct Changes {
    version: u64,
    known: HashMap<String, u64>,
}

impl Changes {
    /// The newest document of each topic that has changed, in the order of writing.
    pub fn take(&mut self, retained: &Retained) -> Vec<Record> {
        let (changed, version, there) = retained.since(self.version);
        self.version = version;
        let mut records = Vec::with_capacity(changed.len());
        for (topic, document) in changed {
            if document.payload.is_empty() {
                // A tombstone of something that nobody was told about says nothing.
                if self.known.remove(&topic).is_none() {
                    continue;
                }
            } else {
                self.known.insert(topic.clone(), document.version);
            }
            records.push(Record { topic, payload: document.payload });
        }
        if self.known.len() != there {
            // A tombstone that the broker had taken before we looked.
            let gone: Vec<String> = self.known.keys().filter(|topic| !retained.holds(topic)).cloned().collect();
            for topic in gone {
                self.known.remove(&topic);
                records.push(Record { topic, payload: Bytes::new() });
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::retained::Kind;

    fn said(changes: &mut Changes, retained: &Retained) -> Vec<(String, String)> {
        let records = changes.take(retained);
        records.into_iter().map(|r| (r.topic, String::from_utf8_lossy(&r.payload).into_owned())).collect()
    }

    #[test]
    fn only_the_newest_of_each_topic_is_said_and_a_forgotten_tombstone_too() {
        let retained = Retained::default();
        let mut changes = Changes::default();
        retained.put("a", Kind::Bed, Bytes::from_static(b"1"));
        retained.put("b", Kind::Bed, Bytes::from_static(b"1"));
        retained.put("a", Kind::Bed, Bytes::from_static(b"2"));
        assert_eq!(said(&mut changes, &retained), [("b".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(said(&mut changes, &retained), []);
        retained.put("a", Kind::Bed, Bytes::new());
        assert_eq!(said(&mut changes, &retained), [("a".into(), String::new())]);
        retained.put("b", Kind::Bed, Bytes::new());
        let version = retained.get("b").expect("a tombstone").version;
        retained.forget("b", version);
        assert_eq!(said(&mut changes, &retained), [("b".into(), String::new())]);
        assert_eq!(said(&mut changes, &retained), []);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told() {
        let live = Live::default();
        let mut reader = live.subscribe();
        let record = || vec![Record { topic: "t".into(), payload: Bytes::from_static(b"{}") }];
        for _ in 0..=BATCHES_MAX {
            live.put(record());
        }
        assert!(matches!(reader.recv().await, Err(broadcast::error::RecvError::Lagged(1))));
    }
}
