//! Log-ins that outlive the process: what is written of them beside the store, and what of that is believed again.
//!
//! One contract: of a cookie only its hash is written. A session comes back for a user whose account is what it was then, and within
//! the times that it had, counted by the wall clock while nothing ran. A file that cannot be read logs everybody out, and no more.

use super::{Kept, Proof, SESSIONS_MAX, Sessions};
use crate::alert::{hex, unhex};
use crate::config::User;
use crate::shell::journal::write_atomic;
use crate::shell::publisher::now;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The file beside the store.
const FILE: &str = "sessions.json";
const SCHEMA: &str = "sessions/1";
/// A file that is longer is none of ours: [`SESSIONS_MAX`] entries are a third of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Written so often while only the times of last requests change.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Saved {
    schema: String,
    sessions: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// SHA-256 of the cookie's id.
    cookie: String,
    user: String,
    /// SHA-256 of the account as it was configured.
    account: String,
    csrf: String,
    born_ms: i64,
    seen_ms: i64,
}

fn fingerprint(user: &User) -> String {
    hex(&Sha256::digest(serde_json::to_vec(user).unwrap_or_default()))
}

impl Sessions {
    /// Takes back whoever was logged in when the process ended.
    pub(crate) fn restore(&self, store: &Path) {
        let path = store.with_file_name(FILE);
        let long = std::fs::metadata(&path).is_ok_and(|file| file.len() > FILE_BYTES_MAX);
        let bytes = match std::fs::read(&path) {
            _ if long => return tracing::warn!(path = %path.display(), "http: log-ins are not taken back: the file is too long"),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return tracing::warn!(path = %path.display(), %error, "http: log-ins are not taken back"),
        };
        match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if saved.schema == SCHEMA => self.take_back(saved, now()),
            Ok(_) => tracing::warn!(path = %path.display(), "http: log-ins are not taken back: another schema"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "http: log-ins are not taken back"),
        }
    }

    fn take_back(&self, saved: Saved, now: Timestamp) {
        for entry in saved.sessions.into_iter().take(SESSIONS_MAX) {
            let Some(account) = self.users.iter().find(|user| user.name == entry.user) else { continue };
            let since = |ms: i64| u64::try_from(now.ms().saturating_sub(ms)).ok().map(Duration::from_millis);
            let key: Option<[u8; 32]> = unhex(&entry.cookie);
            let same = fingerprint(account) == entry.account && unhex::<32>(&entry.csrf).is_some();
            // A time ahead of the clock proves nothing about how old a session is.
            let kept = key.filter(|_| same).and_then(|key| {
                let (born, seen) = (since(entry.born_ms)?, since(entry.seen_ms)?);
                let fits = born < self.whole && seen < self.idle;
                Some((key, Kept::again(account.clone(), entry.csrf, born, seen)?)).filter(|_| fits)
            });
            match kept {
                Some((key, kept)) => self.keep(key, Arc::new(kept)),
                None => self.over.lock().push(entry.user),
            }
        }
    }

    /// Writes down who is logged in; called where somebody logged in or out.
    pub(crate) fn save(&self, store: &Path) {
        // One after the other: the newest is written last.
        let mut saved_at = self.saved_at.lock();
        self.changed.store(false, Ordering::SeqCst);
        let path = store.with_file_name(FILE);
        let bytes = serde_json::to_vec(&self.saved(now())).unwrap_or_default();
        if let Err(error) = write_atomic(&path, &bytes) {
            tracing::warn!(%error, "http: who is logged in could not be written down: a restart may log out, or take back who has logged out");
        }
        *saved_at = Instant::now();
    }

    /// Whether [`Sessions::save`] is due by itself.
    pub(crate) fn is_save_due(&self) -> bool {
        // Where it is being written just now, it is not.
        let due = self.saved_at.try_lock().is_some_and(|at| at.elapsed() >= EVERY);
        self.changed.load(Ordering::SeqCst) || (due && !self.kept.lock().is_empty())
    }

    fn saved(&self, now: Timestamp) -> Saved {
        let ago = |at: Instant| now.ms() - i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
        let kept = self.kept.lock();
        let sessions = kept.iter().map(|(key, kept)| Entry {
            cookie: hex(key),
            user: kept.account.name.clone(),
            account: fingerprint(&kept.account),
            csrf: kept.csrf.clone(),
            born_ms: ago(kept.born),
            seen_ms: ago(*kept.seen.lock()),
        });
        Saved { schema: SCHEMA.into(), sessions: sessions.collect() }
    }
}

impl Kept {
    /// A session that began and was seen so long ago; `None` where this machine's clock does not reach back so far.
    fn again(account: User, csrf: String, born: Duration, seen: Duration) -> Option<Kept> {
        let at = Instant::now();
        let (born, seen) = (at.checked_sub(born)?, at.checked_sub(seen)?);
        Some(Kept::with(account, Proof::Cookie, csrf, born, seen))
    }
}
