//! The newest state documents by topic: what a broker should hold, what a late joiner is told, what HTTP shows.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Documents at most that a broker is asked to hold: brokers cut large retained sets silently. Further ones stand in the ward
/// documents and on HTTP only.
pub const RETAINED_MAX: usize = 1_000;

/// Order in which state documents are published after a (re)connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sys,
    Ward,
    /// A bed with something open.
    BedWithAlerts,
    Bed,
    Feed,
    Case,
}

/// One document.
#[derive(Debug, Clone)]
pub struct Document {
    pub kind: Kind,
    pub payload: Bytes,
    /// Grows with every write to the whole set.
    pub version: u64,
    /// Beyond [`RETAINED_MAX`]: not for the broker.
    pub local: bool,
}

/// All of them. Topics are relative to `{root}/v1/{site}/`.
#[derive(Debug, Default)]
pub struct Retained {
    inner: Mutex<Inner>,
    changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    documents: BTreeMap<String, Document>,
    version: u64,
    /// Documents that are for the broker.
    shared: usize,
}

impl Retained {
    /// Writes a document; an empty payload is a tombstone and stays until it was published.
    pub fn put(&self, topic: &str, kind: Kind, payload: Bytes) {
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.version += 1;
        let version = inner.version;
        let local = match inner.documents.get(topic) {
            Some(document) => document.local,
            None => inner.shared >= RETAINED_MAX,
        };
        if inner.documents.insert(topic.to_owned(), Document { kind, payload, version, local }).is_none() && !local {
            inner.shared += 1;
        }
        drop(inner);
        self.changed.notify_one();
    }
    /// One document.
    pub fn get(&self, topic: &str) -> Option<Document> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner).documents.get(topic).cloned()
    }
    /// What is newer than `version` and for the broker, oldest write first, with the newest version.
    pub fn newer_than(&self, version: u64) -> (Vec<(String, Document)>, u64) {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut list: Vec<_> = inner
            .documents
            .iter()
            .filter(|(_, d)| d.version > version && !d.local)
            .map(|(t, d)| (t.clone(), d.clone()))
            .collect();
        list.sort_by_key(|(_, d)| d.version);
        (list, inner.version)
    }
    /// What is newer than `version`, for the broker or not, oldest write first; the newest version; how many documents are there.
    pub fn since(&self, version: u64) -> (Vec<(String, Document)>, u64, usize) {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut list: Vec<_> =
            inner.documents.iter().filter(|(_, d)| d.version > version).map(|(t, d)| (t.clone(), d.clone())).collect();
        list.sort_by_key(|(_, d)| d.version);
        let there = inner.documents.values().filter(|d| !d.payload.is_empty()).count();
        (list, inner.version, there)
    }
    /// Whether there is a document, and no tombstone, under a topic.
    pub fn holds(&self, topic: &str) -> bool {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.documents.get(topic).is_some_and(|d| !d.payload.is_empty())
    }
    /// Everything that is for the broker, in publishing order.
    pub fn for_broker(&self) -> (Vec<(String, Document)>, u64) {
        let (mut list, version) = self.newer_than(0);
        list.sort_by(|a, b| (a.1.kind, &a.0).cmp(&(b.1.kind, &b.0)));
        (list, version)
    }
    /// Everything, by kind and topic.
    pub fn all(&self) -> Vec<(String, Document)> {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut list: Vec<_> = inner.documents.iter().map(|(t, d)| (t.clone(), d.clone())).collect();
        list.sort_by(|a, b| (a.1.kind, &a.0).cmp(&(b.1.kind, &b.0)));
        list
    }
    /// Forgets a tombstone that the broker has taken, unless something was written since.
    pub fn forget(&self, topic: &str, version: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if inner.documents.get(topic).is_some_and(|d| d.version == version && d.payload.is_empty()) {
            let gone = inner.documents.remove(topic);
            inner.shared -= usize::from(gone.is_some_and(|d| !d.local));
        }
    }
    /// How many are for the broker, and how many are not.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (inner.shared, inner.documents.len() - inner.shared)
    }
    /// Wakes when something was written.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
