//! Log-ins that outlive the process: what is written of them beside the store, and what of that is believed again.
//!
//! One contract: of a cookie only its hash is written, of an account only a keyed hash, and the whole is sealed with the site's key:
//! who can write the file but has no key makes nobody an engineer. A session comes back for a user whose account is what it was
//! then, and within the times that it had, counted by the wall clock while nothing ran. A file that is not ours logs everybody out,
//! and no more.

use super::{Kept, Proof, SESSIONS_MAX, Sessions};
use crate::alert::{hex, unhex};
use crate::config::User;
use crate::shell::journal::write_private;
use crate::shell::publisher::now;
use crate::time::Timestamp;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The file beside the store: HMAC-SHA-256 of what follows, line end, JSON.
const FILE: &str = "sessions";
const SCHEMA: &str = "sessions/1";
/// A file that is longer is none of ours: [`SESSIONS_MAX`] entries are half of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Written so often while only the times of last requests change, and tried again so often where the disk is full.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Saved {
    schema: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// SHA-256 of the cookie's id.
    cookie: String,
    user: String,
    /// HMAC-SHA-256 of the account as it was configured.
    account: String,
    csrf: String,
    born_ms: i64,
    seen_ms: i64,
}

/// Where and with which key it is written.
pub(crate) struct Place {
    path: PathBuf,
    key: Vec<u8>,
}

/// When it was written last, and whether that failed.
pub(super) struct Written {
    at: Instant,
    failed: bool,
}

impl Default for Written {
    fn default() -> Written {
        Written { at: Instant::now(), failed: false }
    }
}

impl Place {
    /// Beside the store; `None` where there is no key of the site.
    pub(crate) fn beside(store: &Path, key: Option<Vec<u8>>) -> Option<Place> {
        Some(Place { path: store.with_file_name(FILE), key: key? })
    }

    /// `what` keeps the two uses of the key apart.
    fn mac(&self, what: &[u8], bytes: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(what);
        mac.update(bytes);
        Some(mac)
    }
    fn account(&self, user: &User) -> Option<String> {
        let text = serde_json::to_vec(user).ok()?;
        Some(hex(&self.mac(b"vitalguard account\n", &text)?.finalize().into_bytes()))
    }
    fn seal(&self, saved: &Saved) -> Option<Vec<u8>> {
        let text = serde_json::to_string(saved).ok()?;
        let mac = hex(&self.mac(b"vitalguard sessions\n", text.as_bytes())?.finalize().into_bytes());
        Some(format!("{mac}\n{text}").into_bytes())
    }
    /// What was sealed with this key.
    fn open(&self, bytes: &[u8]) -> Option<Saved> {
        let (mac, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        self.mac(b"vitalguard sessions\n", text.as_bytes())?.verify_slice(&unhex::<32>(mac)?).ok()?;
        serde_json::from_str(text).ok().filter(|saved: &Saved| saved.schema == SCHEMA)
    }
}

impl Sessions {
    /// Takes back whoever was logged in when the process ended, and goes on writing it down there.
    pub(crate) fn outlive(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        let read = std::fs::File::open(&place.path).and_then(|file| {
            let mut bytes = Vec::new();
            // What is cut here no longer fits its seal.
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            read => match read.ok().and_then(|bytes| place.open(&bytes)) {
                Some(saved) => self.take_back(saved, &place, now()),
                None => tracing::warn!("http: the file of sessions was not written with this site's key: nobody is logged in"),
            },
        }
        self.place = Some(place);
    }

    fn take_back(&self, saved: Saved, place: &Place, now: Timestamp) {
        for entry in saved.entries.into_iter().take(SESSIONS_MAX) {
            let since = |ms: i64| u64::try_from(now.ms().saturating_sub(ms)).ok().map(Duration::from_millis);
            let account = self.users.iter().find(|user| user.name == entry.user);
            let account = account.filter(|user| place.account(user).is_some_and(|account| account == entry.account));
            // A time ahead of the clock proves nothing about how old a session is.
            let kept = account.and_then(|account| {
                let (born, seen) = (since(entry.born_ms)?, since(entry.seen_ms)?);
                let key = unhex(&entry.cookie).filter(|_| born < self.whole && seen < self.idle)?;
                Some((key, Kept::again(account.clone(), entry.csrf, born, seen)?))
            });
            match kept {
                Some((key, kept)) => self.keep(key, Arc::new(kept)),
                None => {
                    // What is over now stays so: it is not to be read again.
                    self.changed.store(true, Ordering::SeqCst);
                    self.over.lock().push(entry.user);
                }
            }
        }
    }

    /// Writes down who is logged in; called where somebody logged in or out, before that is answered.
    pub(crate) fn save(&self) {
        let Some(place) = &self.place else { return };
        // One after the other: the newest is written last.
        let mut written = self.written.lock();
        self.changed.store(false, Ordering::SeqCst);
        let failed = match place.seal(&self.saved(place, now())).map(|bytes| write_private(&place.path, &bytes)) {
            Some(Ok(())) => false,
            problem => {
                self.changed.store(true, Ordering::SeqCst);
                if !written.failed {
                    let error = problem.and_then(Result::err).map_or_else(String::new, |error| error.to_string());
                    tracing::warn!(%error, "http: who is logged in cannot be written down: after a crash a log-in is gone and a log-out undone");
                }
                true
            }
        };
        *written = Written { at: Instant::now(), failed };
    }

    /// Whether [`Sessions::save`] is due by itself; not while it is under way.
    pub(crate) fn is_save_due(&self) -> bool {
        let Some(written) = self.written.try_lock() else { return false };
        let long_ago = written.at.elapsed() >= EVERY;
        match self.changed.load(Ordering::SeqCst) {
            true => long_ago || !written.failed,
            false => long_ago && !self.kept.lock().is_empty(),
        }
    }

    fn saved(&self, place: &Place, now: Timestamp) -> Saved {
        let ago = |at: Instant| now.ms() - i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
        let kept = self.kept.lock();
        let entries = kept.iter().filter_map(|(key, kept)| {
            Some(Entry {
                cookie: hex(key),
                user: kept.account.name.clone(),
                account: place.account(&kept.account)?,
                csrf: kept.csrf.clone(),
                born_ms: ago(kept.born),
                seen_ms: ago(*kept.seen.lock()),
            })
        });
        Saved { schema: SCHEMA.into(), entries: entries.collect() }
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
