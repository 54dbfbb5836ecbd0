//! Who may read and write which topic at the embedded broker (outgoing contract, section 11).
//!
//! One contract: a user reads the system, the feeds, the devices, the stations, its wards and its own answers; it writes its own
//! commands (the verbs that it has) and its own station status. Pure: no socket, no library type.
//!
//! A subscription is allowed as soon as it could match something that may be read, and each delivery is checked again, as mosquitto
//! does it: `vitalguard/#` is a legal wish that brings only what is allowed.

use crate::config::{Role, User};
use crate::document::COMMAND_BYTES_MAX;
use crate::shell::key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// Longest filter or topic that is looked at, bytes.
pub const FILTER_BYTES_MAX: usize = 512;
/// Largest station status, bytes.
const STATION_BYTES_MAX: usize = 4_096;

/// A pass of a page lets a connection begin for so long.
pub const PASS_FOR: Duration = Duration::from_secs(300);
/// Passes at a time; no further one is given. And those of one session that nobody is connected with: the oldest goes.
const PASSES_MAX: usize = 4_096;
const PASSES_WAITING_MAX: usize = 64;

/// What a page connects with: an account of its own at the embedded broker, with the rights of the user who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub username: String,
    pub password: String,
    pub client_id: String,
}

/// The passes that were given out.
#[derive(Debug, Default)]
pub struct Passes {
    list: Mutex<HashMap<String, Pass>>,
}

#[derive(Debug)]
struct Pass {
    user: Arc<User>,
    password: String,
    client_id: String,
    issued: Instant,
    /// Connections that began with it and go on.
    connected: usize,
    /// The session that it was given to has ended: it brings nothing any more.
    ended: CancellationToken,
}

impl Passes {
    /// A new one; `None` where there are too many, or the system gives no random bytes. `user` is the one of the session, and tells
    /// sessions apart.
    pub fn issue(&self, user: Arc<User>, ended: CancellationToken) -> Option<Issued> {
        let name = crate::alert::hex(&key::random::<8>()?);
        let password = crate::alert::hex(&key::random::<32>()?);
        let issued = Issued { username: format!("_page-{name}"), client_id: format!("page-{name}"), password };
        let mut list = self.list.lock();
        list.retain(|_, pass| !pass.ended.is_cancelled() && (pass.connected > 0 || pass.issued.elapsed() < PASS_FOR));
        let waiting = list.iter().filter(|(_, pass)| pass.connected == 0 && Arc::ptr_eq(&pass.user, &user));
        if waiting.clone().count() >= PASSES_WAITING_MAX
            && let Some(oldest) = waiting.min_by_key(|(_, pass)| pass.issued).map(|(name, _)| name.clone())
        {
            list.remove(&oldest);
        }
        if list.len() >= PASSES_MAX {
            return None;
        }
        let (password, client_id) = (issued.password.clone(), issued.client_id.clone());
        let pass = Pass { user, password, client_id, issued: Instant::now(), connected: 0, ended };
        list.insert(issued.username.clone(), pass);
        Some(issued)
    }
    /// Whether a connection may begin with this.
    pub fn admit(&self, username: &str, password: &[u8], client_id: &str) -> bool {
        self.list.lock().get(username).is_some_and(|pass| {
            let same: bool = pass.password.as_bytes().ct_eq(password).into();
            same && pass.client_id == client_id && pass.issued.elapsed() < PASS_FOR && !pass.ended.is_cancelled()
        })
    }
    /// A connection has begun, or ended: a pass that is in use stays.
    pub fn connected(&self, username: &str, begun: bool) {
        if let Some(pass) = self.list.lock().get_mut(username) {
            pass.connected = if begun { pass.connected + 1 } else { pass.connected.saturating_sub(1) };
        }
    }
    /// Whose pass it is, while the session lasts.
    pub fn user(&self, username: &str) -> Option<Arc<User>> {
        let list = self.list.lock();
        list.get(username).filter(|pass| !pass.ended.is_cancelled()).map(|pass| Arc::clone(&pass.user))
    }
}

/// Somebody who is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who<'a> {
    /// Our own publisher: everything below the root.
    Internal,
    /// A client on loopback while no users are configured: reads everything, commands as `local`.
    Local,
    User(&'a User),
}

/// The rules of one broker.
#[derive(Debug, Clone)]
pub struct Access {
    root: String,
}

impl Access {
    /// `root`: `{P}`.
    pub fn new(root: &str) -> Access {
        Access { root: root.to_owned() }
    }

    /// The filters that may be read.
    pub fn readable(&self, who: Who<'_>) -> Vec<String> {
        let root = &self.root;
        let user = match who {
            Who::Internal | Who::Local => return vec![format!("{root}/#")],
            Who::User(user) => user,
        };
        let mut filters = Vec::new();
        // A replay is the same tree below its own root.
        for tree in [format!("{root}/v1/+"), format!("{root}/replay/+/v1/+")] {
            for part in ["sys/#", "feed/#", "station/+/status"] {
                filters.push(format!("{tree}/{part}"));
            }
            if user.wards.is_empty() {
                filters.push(format!("{tree}/ward/#"));
                filters.push(format!("{tree}/device/#"));
                // A case may be of any ward.
                if user.role() >= Role::Nurse {
                    filters.push(format!("{tree}/case/#"));
                }
            } else {
                filters.push(format!("{tree}/ward/_site/#"));
                for ward in &user.wards {
                    filters.push(format!("{tree}/ward/{ward}/#"));
                }
            }
            filters.push(format!("{tree}/rsp/{}/#", user.name));
        }
        filters
    }

    /// Whether a subscription to `filter` can bring anything that `who` may read.
    pub fn may_subscribe(&self, who: Who<'_>, filter: &str) -> bool {
        // `$share/…` and `$SYS/…` are not part of the contract.
        filter.len() <= FILTER_BYTES_MAX
            && !filter.starts_with('$')
            && self.readable(who).iter().any(|allowed| overlaps(allowed, filter))
    }

    /// Whether `who` may read `topic`.
    pub fn may_read(&self, who: Who<'_>, topic: &str) -> bool {
        self.readable(who).iter().any(|allowed| matches(allowed, topic))
    }

    /// Whether `who` may publish this.
    pub fn may_publish(&self, who: Who<'_>, topic: &str, bytes: usize, retain: bool) -> bool {
        if topic.len() > FILTER_BYTES_MAX {
            return false;
        }
        let Some(rest) = topic.strip_prefix(&self.root).and_then(|t| t.strip_prefix('/')) else { return false };
        let (name, user) = match who {
            Who::Internal => return true,
            Who::Local => ("local", None),
            Who::User(user) => (user.name.as_str(), Some(user)),
        };
        let levels: Vec<&str> = rest.split('/').collect();
        match levels.as_slice() {
            // A retained command would run again at every reconnect.
            ["v1", _, "cmd", of, verb] => {
                *of == name && !retain && bytes <= COMMAND_BYTES_MAX && user.is_none_or(|user| user.may(verb))
            }
            ["v1", _, "station", user, "status"] => *user == name && bytes <= STATION_BYTES_MAX,
            // `vitalguard replay --to mqtt` on this machine: a sandbox of its own, nothing of it retained.
            ["replay", _, "v1", _, "ward", ..] => matches!(who, Who::Local) && !retain,
            _ => false,
        }
    }
}

/// Whether a filter matches a topic (MQTT 5, 4.7; `#` also matches its parent).
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut filter = filter.split('/');
    let mut topic = topic.split('/');
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether two filters have a topic in common.
pub fn overlaps(one: &str, other: &str) -> bool {
    let mut one = one.split('/');
    let mut other = other.split('/');
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(wards: &[&str], verbs: &[&str]) -> User {
        User {
            name: "nurse7".into(),
            role: None,
            password_sha256: None,
            wards: wards.iter().map(|w| (*w).to_owned()).collect(),
            verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    #[test]
    fn a_user_of_one_ward_reads_that_ward_and_the_system() {
        let access = Access::new("vitalguard");
        let nurse = user(&["icu"], &["ack"]);
        let who = Who::User(&nurse);
        for topic in [
            "vitalguard/v1/hsp1/ward/icu/state",
            "vitalguard/v1/hsp1/ward/icu/bed/A03/event/high",
            "vitalguard/v1/hsp1/ward/_site/bed/_site/state",
            "vitalguard/v1/hsp1/sys/heartbeat",
            "vitalguard/v1/hsp1/rsp/nurse7/r1",
        ] {
            assert!(access.may_read(who, topic), "{topic}");
        }
        for topic in [
            "vitalguard/v1/hsp1/ward/er/state",
            "vitalguard/v1/hsp1/rsp/nurse8/r1",
            "vitalguard/v1/hsp1/cmd/nurse7/ack",
            "vitalguard/v1/hsp1/device/dev-1/event",
            "other/topic",
            "$SYS/broker",
        ] {
            assert!(!access.may_read(who, topic), "{topic}");
        }
        assert!(access.may_subscribe(who, "vitalguard/#"), "a wide wish brings what is allowed");
        assert!(access.may_subscribe(who, "vitalguard/v1/+/ward/+/state/#"));
        assert!(!access.may_subscribe(who, "vitalguard/v1/hsp1/ward/er/#"));
        assert!(!access.may_subscribe(who, "vitalguard/v1/hsp1/cmd/#"));
        assert!(!access.may_subscribe(who, "$share/g/vitalguard/#"));
    }

    #[test]
    fn a_user_writes_its_own_commands_and_nothing_else() {
        let access = Access::new("vitalguard");
        let nurse = user(&[], &["ack"]);
        let who = Who::User(&nurse);
        assert!(access.may_publish(who, "vitalguard/v1/hsp1/cmd/nurse7/ack", 100, false));
        assert!(!access.may_publish(who, "vitalguard/v1/hsp1/cmd/nurse7/ack", 100, true), "not retained");
        assert!(!access.may_publish(who, "vitalguard/v1/hsp1/cmd/nurse7/comment", 100, false), "a verb it lacks");
        assert!(!access.may_publish(who, "vitalguard/v1/hsp1/cmd/nurse8/ack", 100, false));
        assert!(!access.may_publish(who, "vitalguard/v1/hsp1/ward/icu/state", 100, true));
        assert!(!access.may_publish(who, "vitalguard/v1/hsp1/cmd/nurse7/ack", 1 << 20, false));
        assert!(access.may_publish(who, "vitalguard/v1/hsp1/station/nurse7/status", 100, true));
        assert!(!access.may_publish(Who::Local, "vitalguard/v1/hsp1/sys/status", 1, true));
        assert!(access.may_publish(Who::Local, "vitalguard/v1/hsp1/cmd/local/ack", 1, false));
        assert!(access.may_publish(Who::Internal, "vitalguard/v1/hsp1/sys/status", 1, true));
    }

    #[test]
    fn a_pass_has_one_client_one_password_and_the_life_of_its_session() {
        let passes = Passes::default();
        let ended = CancellationToken::new();
        let issued = passes.issue(Arc::new(user(&[], &["ack"])), ended.clone()).expect("random bytes");
        assert!(passes.admit(&issued.username, issued.password.as_bytes(), &issued.client_id));
        assert!(!passes.admit(&issued.username, b"other", &issued.client_id));
        assert!(!passes.admit(&issued.username, issued.password.as_bytes(), "other"));
        assert_eq!(passes.user(&issued.username).map(|u| u.name.clone()), Some("nurse7".into()));
        // One in use is kept, however many are asked for after it.
        passes.connected(&issued.username, true);
        let owner = passes.user(&issued.username).expect("a user");
        for _ in 0..2 * PASSES_WAITING_MAX {
            passes.issue(Arc::clone(&owner), ended.clone()).expect("a pass");
        }
        assert_eq!(passes.list.lock().len(), PASSES_WAITING_MAX + 1);
        assert!(passes.user(&issued.username).is_some());
        ended.cancel();
        assert!(!passes.admit(&issued.username, issued.password.as_bytes(), &issued.client_id));
        assert_eq!(passes.user(&issued.username), None);
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        assert!(matches("a/#", "a"));
        assert!(matches("a/+/c", "a/b/c"));
        assert!(!matches("a/+", "a/b/c"));
        assert!(!matches("#", "$SYS/x"));
        assert!(overlaps("a/+/c", "a/b/+"));
        assert!(!overlaps("a/b", "a/b/c"));
    }
}
