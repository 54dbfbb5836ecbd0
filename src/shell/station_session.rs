//! Who is asking: sessions of the page, tokens of machines, and the person at this machine while no users are configured.
//!
//! One contract: a session is 256 random bits in a cookie that scripts cannot read; only a hash of them is kept, for a bounded time,
//! for a bounded number of people, and beside the store ([`saved`]), so that a wall display outlives a restart. Passwords that were
//! wrong too often are not looked at for a while.

mod saved;

pub(crate) use saved::Place;

use crate::alert::hex;
use crate::config::{Config, Role, User};
use crate::shell::audit::Flood;
use crate::shell::key;
use crate::shell::station_api::problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Name of the cookie.
pub(crate) const COOKIE: &str = "vitalguard_session";
/// Sessions at a time, and of one user: the oldest goes.
const SESSIONS_MAX: usize = 1_024;
const SESSIONS_USER_MAX: usize = 64;
/// Requests of one session: a second, and at once.
const REQUESTS_PER_S: u32 = 50;
const REQUESTS_BURST: u32 = 300;
/// Logins of all: a second, and at once.
const LOGINS_PER_S: u32 = 10;
const LOGINS_BURST: u32 = 30;
/// Wrong passwords of one address for one user, and of one address for all, in [`FAILURES_FOR`].
const FAILURES_MAX: u32 = 5;
const FAILURES_ADDRESS_MAX: u32 = 30;
const FAILURES_FOR: Duration = Duration::from_secs(60);
/// Addresses and users that are remembered for it; the oldest goes.
const FAILURES_KEPT: usize = 4_096;
/// Streams and tunnels of one session.
const STREAMS_MAX: usize = 32;
/// Longest name of a user that is looked at, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest password that is looked at, bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// How somebody has proven who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// At this machine, and no users are configured.
    Local,
    Cookie,
    Bearer,
}

/// Somebody who may ask; in every handler behind the door.
#[derive(Clone)]
pub(crate) struct Session {
    kept: Arc<Kept>,
}

struct Kept {
    account: Arc<User>,
    proof: Proof,
    csrf: String,
    born: Instant,
    seen: Mutex<Instant>,
    requests: DefaultDirectRateLimiter,
    streams: Arc<Semaphore>,
    ended: CancellationToken,
}

impl Kept {
    fn new(account: User, proof: Proof) -> Option<Kept> {
        let now = Instant::now();
        Some(Kept::with(account, proof, hex(&key::random::<32>()?), now, now))
    }

    fn with(account: User, proof: Proof, csrf: String, born: Instant, seen: Instant) -> Kept {
        Kept {
            account: Arc::new(account),
            proof,
            csrf,
            born,
            seen: Mutex::new(seen),
            requests: limiter(REQUESTS_PER_S, REQUESTS_BURST),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            ended: CancellationToken::new(),
        }
    }
}

fn limiter(per_s: u32, burst: u32) -> DefaultDirectRateLimiter {
    let one = NonZeroU32::MIN;
    let quota = Quota::per_second(NonZeroU32::new(per_s).unwrap_or(one));
    RateLimiter::direct(quota.allow_burst(NonZeroU32::new(burst).unwrap_or(one)))
}

impl Session {
    pub(crate) fn user(&self) -> &str {
        &self.kept.account.name
    }
    pub(crate) fn role(&self) -> Role {
        self.kept.account.role()
    }
    /// Wards it may see; empty: all. `_site` is for all.
    pub(crate) fn wards(&self) -> &[String] {
        &self.kept.account.wards
    }
    /// Nothing, or the refusal.
    #[allow(clippy::result_large_err)]
    pub(crate) fn require(&self, role: Role) -> Result<(), Response> {
        if self.role() >= role {
            return Ok(());
        }
        Err(problem(StatusCode::FORBIDDEN, &format!("this needs the role {}", role.as_str())))
    }
    /// Whether it may see a ward.
    pub(crate) fn sees(&self, ward: &str) -> bool {
        self.kept.account.sees(ward)
    }
    /// Whether it may use a command verb.
    pub(crate) fn may(&self, verb: &str) -> bool {
        self.kept.account.may(verb)
    }
    /// The account, as the rules of topics want it.
    pub(crate) fn account(&self) -> &Arc<User> {
        &self.kept.account
    }
    pub(crate) fn proof(&self) -> Proof {
        self.kept.proof
    }
    pub(crate) fn csrf(&self) -> &str {
        &self.kept.csrf
    }
    /// Whether a request carries our word against forged ones.
    pub(crate) fn knows(&self, csrf: &[u8]) -> bool {
        self.kept.csrf.as_bytes().ct_eq(csrf).into()
    }
    /// Whether one more request is let in now.
    pub(crate) fn request(&self) -> bool {
        self.kept.requests.check().is_ok()
    }
    /// The page is open: it does not idle.
    pub(crate) fn touch(&self) {
        *self.kept.seen.lock() = Instant::now();
    }
    /// A place for a stream or a tunnel.
    pub(crate) fn stream(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.kept.streams).try_acquire_owned().ok()
    }
    /// Cancelled at logout and at its end.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.kept.ended
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        parts.extensions.get::<Session>().cloned().ok_or_else(unknown)
    }
}

/// Nobody is logged in.
pub(crate) fn unknown() -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "log in first");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

/// Everybody who is logged in.
pub(crate) struct Sessions {
    users: Vec<User>,
    /// By the hash of the token, in hex.
    tokens: Vec<(String, Arc<Kept>)>,
    local: Arc<Kept>,
    kept: Mutex<HashMap<[u8; 32], Arc<Kept>>>,
    failures: Mutex<HashMap<(IpAddr, String), Failures>>,
    logins: DefaultDirectRateLimiter,
    /// Refused logins, on their way to the audit.
    pub(crate) refusals: Flood,
    /// Users whose sessions ended by themselves, until the sweep tells of them.
    over: Mutex<Vec<String>>,
    idle: Duration,
    whole: Duration,
    /// Where it is written down who is logged in; `None`: nowhere.
    place: Option<saved::Place>,
    /// Somebody logged in or out since it was written down.
    changed: AtomicBool,
    written: Mutex<saved::Written>,
}

#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

/// Why somebody was not logged in.
pub(crate) enum NoLogin {
    Wrong,
    Wait(Duration),
    NoRandom,
}

impl Sessions {
    /// `None` where the system gives no random bytes.
    pub(crate) fn new(config: &Config) -> Option<Sessions> {
        let account = |name: &str, role, wards: &[String]| User {
            name: name.to_owned(),
            role: Some(role),
            password_sha256: None,
            wards: wards.to_vec(),
            verbs: Vec::new(),
        };
        let mut tokens = Vec::new();
        for token in &config.http.tokens {
            let kept = Kept::new(account(&token.name, token.role, &token.wards), Proof::Bearer)?;
            tokens.push((token.token_sha256.to_ascii_lowercase(), Arc::new(kept)));
        }
        Some(Sessions {
            users: config.mqtt.users.clone(),
            tokens,
            local: Arc::new(Kept::new(account("local", Role::Engineer, &[]), Proof::Local)?),
            kept: Mutex::default(),
            failures: Mutex::default(),
            logins: limiter(LOGINS_PER_S, LOGINS_BURST),
            refusals: Flood::default(),
            over: Mutex::default(),
            idle: Duration::try_from_secs_f64(config.http.session_idle_s).unwrap_or(Duration::MAX),
            whole: Duration::try_from_secs_f64(config.http.session_s).unwrap_or(Duration::MAX),
            place: None,
            changed: AtomicBool::new(false),
            written: Mutex::default(),
        })
    }

    /// Whether anybody can log in.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }
    /// Whether anybody from elsewhere can be let in.
    pub(crate) fn guarded(&self) -> bool {
        self.has_users() || !self.tokens.is_empty()
    }

    /// Who asks. `local`: the request came straight from this machine.
    pub(crate) fn identify(&self, headers: &HeaderMap, local: bool) -> Option<Session> {
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            // Whoever shows a token means it: a wrong one does not fall back to anything.
            let token = given.to_str().ok()?.strip_prefix("Bearer ")?;
            let digest = hex(&Sha256::digest(token.trim().as_bytes()));
            let found = self.tokens.iter().find(|(hash, _)| bool::from(hash.as_bytes().ct_eq(digest.as_bytes())))?;
            return Some(Session { kept: Arc::clone(&found.1) });
        }
        if let Some(session) = self.of_cookie(headers) {
            session.touch();
            return Some(session);
        }
        (local && !self.has_users()).then(|| Session { kept: Arc::clone(&self.local) })
    }

    fn of_cookie(&self, headers: &HeaderMap) -> Option<Session> {
        let key = cookie(headers)?;
        let kept = Arc::clone(self.kept.lock().get(&key)?);
        if self.is_over(&kept) {
            self.end(&key);
            self.note_over(&kept);
            return None;
        }
        Some(Session { kept })
    }

    fn is_over(&self, kept: &Kept) -> bool {
        kept.born.elapsed() >= self.whole || kept.seen.lock().elapsed() >= self.idle
    }

    /// The user whose session it was.
    fn end(&self, key: &[u8; 32]) -> Option<String> {
        let kept = self.kept.lock().remove(key)?;
        self.changed.store(true, Ordering::SeqCst);
        kept.ended.cancel();
        Some(kept.account.name.clone())
    }

    fn note_over(&self, kept: &Kept) {
        let mut over = self.over.lock();
        if over.len() < SESSIONS_MAX {
            over.push(kept.account.name.clone());
        }
    }

    /// Logs out whoever the cookie names; the user, if somebody was logged in.
    pub(crate) fn logout(&self, headers: &HeaderMap) -> Option<String> {
        self.end(&cookie(headers)?)
    }

    /// Whether a user of that name is configured: other names are not written down, somebody may have typed a password.
    pub(crate) fn knows_user(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.name == name)
    }

    /// Ends what is over, and says whose sessions ended by themselves since the last time; called now and then.
    pub(crate) fn sweep(&self) -> Vec<String> {
        self.kept.lock().retain(|_, kept| {
            let over = self.is_over(kept);
            if over {
                kept.ended.cancel();
                self.note_over(kept);
                self.changed.store(true, Ordering::SeqCst);
            }
            !over
        });
        self.failures.lock().retain(|_, failures| failures.since.elapsed() < FAILURES_FOR);
        std::mem::take(&mut *self.over.lock())
    }

    /// When the session ends at the latest; never for `local` and tokens.
    pub(crate) fn left(&self, session: &Session) -> Option<Duration> {
        (session.proof() == Proof::Cookie).then(|| self.whole.saturating_sub(session.kept.born.elapsed()))
    }

    /// The session and the id for its cookie.
    pub(crate) fn login(&self, peer: IpAddr, name: &str, password: &str) -> Result<(Session, String), NoLogin> {
        if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(NoLogin::Wrong);
        }
        let peer = network(peer);
        if let Some(wait) = self.held(peer, name) {
            return Err(NoLogin::Wait(wait));
        }
        // After that, so that one address cannot use up what all have.
        if self.logins.check().is_err() {
            return Err(NoLogin::Wait(Duration::from_secs(1)));
        }
        let given = hex(&Sha256::digest(password.as_bytes()));
        let user = self.users.iter().find(|user| user.name == name);
        let expected = user.and_then(|user| user.password_sha256.as_deref()).map(str::to_ascii_lowercase);
        // A name that is not there takes as long as a wrong password.
        let same: bool = given.as_bytes().ct_eq(expected.as_deref().unwrap_or(&"-".repeat(64)).as_bytes()).into();
        let Some(user) = user.filter(|_| same && expected.is_some()) else {
            self.failed(peer, name);
            tracing::warn!(known = user.is_some(), "http: a login was refused");
            return Err(NoLogin::Wrong);
        };
        self.failures.lock().remove(&(peer, name.to_owned()));
        let id = hex(&key::random::<32>().ok_or(NoLogin::NoRandom)?);
        let kept = Arc::new(Kept::new(user.clone(), Proof::Cookie).ok_or(NoLogin::NoRandom)?);
        self.keep(Sha256::digest(id.as_bytes()).into(), Arc::clone(&kept));
        tracing::info!(user = %user.name, role = user.role().as_str(), "http: logged in");
        Ok((Session { kept }, id))
    }

    fn keep(&self, key: [u8; 32], new: Arc<Kept>) {
        let mut kept = self.kept.lock();
        let of_user = |kept: &Kept| kept.account.name == new.account.name;
        while kept.values().filter(|k| of_user(k)).count() >= SESSIONS_USER_MAX || kept.len() >= SESSIONS_MAX {
            let own = kept.values().any(|k| of_user(k));
            let oldest = kept.iter().filter(|(_, k)| !own || of_user(k)).min_by_key(|(_, k)| *k.seen.lock()).map(|(key, _)| *key);
            let Some(gone) = oldest.and_then(|key| kept.remove(&key)) else { break };
            gone.ended.cancel();
            self.note_over(&gone);
        }
        kept.insert(key, new);
        self.changed.store(true, Ordering::SeqCst);
    }

    /// How long no password of this address for this user is looked at.
    fn held(&self, peer: IpAddr, name: &str) -> Option<Duration> {
        let failures = self.failures.lock();
        let held = |name: &str, max| {
            let failures = failures.get(&(peer, name.to_owned()))?;
            let left = FAILURES_FOR.checked_sub(failures.since.elapsed())?;
            (failures.count >= max).then_some(left)
        };
        held(name, FAILURES_MAX).or_else(|| held("", FAILURES_ADDRESS_MAX))
    }

    fn failed(&self, peer: IpAddr, name: &str) {
        let mut failures = self.failures.lock();
        for name in [name, ""] {
            if failures.len() >= FAILURES_KEPT
                && let Some(oldest) = failures.iter().min_by_key(|(_, f)| f.since).map(|(key, _)| key.clone())
            {
                failures.remove(&oldest);
            }
            let entry = failures.entry((peer, name.to_owned())).or_insert(Failures { since: Instant::now(), count: 0 });
            if entry.since.elapsed() >= FAILURES_FOR {
                *entry = Failures { since: Instant::now(), count: 0 };
            }
            entry.count += 1;
        }
    }
}

/// One customer has a whole /64 of IPv6.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX))),
    }
}

/// The hash of the cookie's id, where there is one of our form.
fn cookie(headers: &HeaderMap) -> Option<[u8; 32]> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let id = lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
    (id.len() == 64).then(|| Sha256::digest(id.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn config() -> Config {
        let mut config = Config::default();
        config.mqtt.users = vec![User {
            name: "nurse7".into(),
            role: Some(Role::Nurse),
            password_sha256: Some(hex(&Sha256::digest(b"correct horse"))),
            wards: vec!["icu".into()],
            verbs: Vec::new(),
        }];
        config
    }

    fn with(id: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(&format!("a=b; {COOKIE}={id}")).unwrap());
        headers
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn a_session_begins_with_the_password_and_ends_with_the_logout() {
        let sessions = Sessions::new(&config()).unwrap();
        let (session, id) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        assert_eq!(
            (session.role(), session.sees("icu"), session.sees("er"), session.sees("_site")),
            (Role::Nurse, true, false, true)
        );
        assert!(session.may("ack") && !session.may("resync"));
        assert!(sessions.identify(&with(&id), false).is_some());
        assert!(sessions.identify(&with(&id.replace('a', "b").replace('1', "2")), false).is_none());
        sessions.logout(&with(&id));
        assert!(session.ended().is_cancelled() && sessions.identify(&with(&id), false).is_none());
        assert!(sessions.identify(&HeaderMap::new(), true).is_none(), "with users, this machine logs in as well");
    }

    #[test]
    fn five_wrong_passwords_close_the_door_for_that_user_at_that_address() {
        let sessions = Sessions::new(&config()).unwrap();
        for _ in 0..FAILURES_MAX {
            assert!(matches!(sessions.login(PEER, "nurse7", "wrong"), Err(NoLogin::Wrong)));
        }
        assert!(matches!(sessions.login(PEER, "nurse7", "correct horse"), Err(NoLogin::Wait(_))));
        assert!(sessions.login("10.0.0.10".parse().unwrap(), "nurse7", "correct horse").is_ok());
        assert!(matches!(sessions.login(PEER, "nobody", "x"), Err(NoLogin::Wrong)));
    }

    #[test]
    fn a_session_idles_out_and_one_user_has_a_bounded_number() {
        let mut config = config();
        config.http.session_idle_s = 0.05;
        let sessions = Sessions::new(&config).unwrap();
        let (session, id) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        std::thread::sleep(Duration::from_millis(80));
        sessions.sweep();
        assert!(session.ended().is_cancelled() && sessions.identify(&with(&id), false).is_none());
        config.http.session_idle_s = 60.0;
        let sessions = Sessions::new(&config).unwrap();
        for n in 0..=SESSIONS_USER_MAX {
            let kept = Kept::new(config.mqtt.users[0].clone(), Proof::Cookie).unwrap();
            sessions.keep(Sha256::digest([n as u8]).into(), Arc::new(kept));
        }
        assert_eq!(sessions.kept.lock().len(), SESSIONS_USER_MAX);
    }

    #[test]
    fn who_is_logged_in_stays_so_after_a_restart_and_who_has_left_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sessions");
        let place = |key: &[u8]| Place::beside(&folder.path().join("store.db"), Some(key.to_vec()));
        let again = |config: &Config| {
            let mut sessions = Sessions::new(config).unwrap();
            sessions.outlive(place(b"the key of the site"));
            sessions
        };
        let config = config();
        let sessions = again(&config);
        let (first, stays) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        let (_, leaves) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        sessions.logout(&with(&leaves));
        assert!(sessions.is_save_due());
        sessions.save();
        assert!(!sessions.is_save_due());
        let text = std::fs::read_to_string(&file).unwrap();
        let secret = config.mqtt.users[0].password_sha256.clone().unwrap();
        assert!(!text.contains(&stays) && !text.contains(&secret), "only hashes are written: {text}");
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap()) & 0o777, 0o600);

        let had = sessions.left(&first).unwrap();
        let later = again(&config);
        let back = later.identify(&with(&stays), false).expect("still logged in");
        assert_eq!((back.user(), back.role(), back.csrf()), ("nurse7", Role::Nurse, first.csrf()));
        assert!(later.left(&back).unwrap() < had + Duration::from_millis(5), "it has no more time than it had");
        assert!(later.identify(&with(&leaves), false).is_none());

        // A file of another key, a spoilt one, one that somebody wrote: nobody.
        let mut other = Sessions::new(&config).unwrap();
        other.outlive(place(b"the key of another site"));
        assert!(other.identify(&with(&stays), false).is_none());
        for spoilt in [&text.replacen("nurse7", "nurse8", 1), "", "{}", &text[1..], &"9".repeat(2 << 20)] {
            std::fs::write(&file, spoilt).unwrap();
            assert!(again(&config).identify(&with(&stays), false).is_none(), "{spoilt:.40}");
        }
    }

    #[test]
    fn a_session_that_was_refused_once_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let again = |config: &Config| {
            let mut sessions = Sessions::new(config).unwrap();
            sessions.outlive(Place::beside(&folder.path().join("store.db"), Some(b"key".to_vec())));
            sessions
        };
        let mut configs = [config(), config(), config()];
        configs[1].mqtt.users[0].wards.push("er".into());
        configs[2].mqtt.users[0].name = "nurse8".into();
        for changed in &configs[1..] {
            let sessions = again(&configs[0]);
            let (_, id) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
            sessions.save();
            let restricted = again(changed);
            assert!(restricted.identify(&with(&id), false).is_none());
            assert_eq!(restricted.sweep(), ["nurse7"], "it is told");
            assert!(restricted.is_save_due());
            restricted.save();
            assert!(again(&configs[0]).identify(&with(&id), false).is_none());
        }
        // Idle for too long, also while nothing ran.
        let sessions = again(&configs[0]);
        let (_, id) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        sessions.save();
        configs[0].http.session_idle_s = 0.02;
        std::thread::sleep(Duration::from_millis(40));
        assert!(again(&configs[0]).identify(&with(&id), false).is_none());
    }

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut sessions = Sessions::new(&config()).unwrap();
        let gone = folder.path().join("gone");
        sessions.outlive(Place::beside(&gone.join("store.db"), Some(b"key".to_vec())));
        let (_, id) = sessions.login(PEER, "nurse7", "correct horse").ok().unwrap();
        sessions.logout(&with(&id));
        sessions.save();
        assert!(!sessions.is_save_due(), "not every five seconds");
        std::fs::create_dir(&gone).unwrap();
        assert!(sessions.changed.load(Ordering::SeqCst), "it is not forgotten, though nobody is logged in");
        sessions.save();
        assert!(gone.join("sessions").exists() && !sessions.changed.load(Ordering::SeqCst));
    }

    #[test]
    fn an_empty_token_or_a_wrong_one_is_nobody() {
        let mut config = Config::default();
        config.http.tokens = vec![crate::config::Token {
            name: "scraper".into(),
            token_sha256: hex(&Sha256::digest(b"secret")).to_uppercase(),
            role: Role::Viewer,
            wards: Vec::new(),
        }];
        let sessions = Sessions::new(&config).unwrap();
        let bearer = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(text));
            sessions.identify(&headers, true).map(|s| (s.user().to_owned(), s.role()))
        };
        assert_eq!(bearer("Bearer secret"), Some(("scraper".into(), Role::Viewer)));
        assert_eq!(bearer("Bearer wrong"), None);
        assert_eq!(bearer("Basic secret"), None);
        assert_eq!(sessions.identify(&HeaderMap::new(), true).map(|s| s.user().to_owned()), Some("local".into()));
    }
}
