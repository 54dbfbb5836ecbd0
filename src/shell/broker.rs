//! The embedded broker: MQTT 3.1.1 and 5 on one port, plain or TLS, with users and the topic rules of the outgoing contract.
//!
//! One contract: nobody but our own publisher writes state, events or answers, and nobody reads what the rules of [`Access`] do not
//! give. Plain text and anonymous clients exist on loopback only (unless the configuration says otherwise in as many words). Our
//! publisher has a listener of its own on loopback, an account that no configuration can name, and a password made at each start.
//!
//! Retained documents are held in memory; the publisher writes them anew at its start. Queued messages of absent clients are not
//! promised: consumers connect with a clean session. Bounds: connections, packet sizes, queue lengths and subscriptions below.
//!
//! A renewed certificate opens the public listener anew (the library reads certificates only then): connections that are open stay
//! as they are, and for some milliseconds a new one may be refused.

use crate::alert::hex;
use crate::config::{Config, Mqtt, User};
use crate::shell::access::{Access, FILTER_BYTES_MAX, Passes, Who};
use crate::shell::key;
use crate::shell::publisher::INTERNAL_USER;
use crate::shell::tls::ServerTls;
use async_trait::async_trait;
use parking_lot::Mutex;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::net::{Builder, Listener};
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::types::{AuthResult, ConnectInfo, PublishAclResult, Retain, SubscribeAclResult, TopicFilter, TopicName};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Clients at a time. Stations, gateways and dashboards of a hospital are some hundreds.
const CONNECTIONS_MAX: usize = 4_096;
/// Largest packet of a client, bytes: a command of 8 kB with its properties, with room.
const CLIENT_PACKET_BYTES_MAX: u32 = 64 << 10;
/// Messages that wait for one client: the whole retained set (1 000) and a burst of events.
const QUEUE_MAX: usize = 8_192;
/// Subscriptions of one client.
const SUBSCRIPTIONS_MAX: usize = 128;
/// Retained topics: the budget of the contract (1 000) and the stations.
const RETAINED_MAX: isize = 2_000;
/// A wrong password costs so long.
const REFUSAL_DELAY: Duration = Duration::from_millis(250);
/// A port that was given back is asked for again so often.
const BIND_AGAIN: Duration = Duration::from_millis(20);
/// Listener ids of the library.
const PUBLIC: u16 = 1;
const INTERNAL: u16 = 2;

/// What stops the broker from starting.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Plaintext(#[from] crate::shell::tls::PlaintextRefused),
    #[error("mqtt.listen {0}: an address beyond loopback needs mqtt.users")]
    NoUsers(SocketAddr),
    #[error("mqtt.users: {0}: the name is not a slug, is `local`, or begins with `_`")]
    Name(String),
    #[error("mqtt.users: {0}: password_sha256 is not 64 hex digits")]
    Password(String),
    #[error("mqtt.users: {0}: has no password, and mqtt.tls.client_ca is not set")]
    NoPassword(String),
    #[error("mqtt.listen {0}: {1}")]
    Bind(SocketAddr, String),
    #[error("mqtt.tls: {0}")]
    Tls(String),
    #[error("mqtt: {0}")]
    Other(String),
}

/// A running broker; it ends when dropped.
pub struct Broker {
    address: SocketAddr,
    internal: SocketAddr,
    password: String,
    passes: Arc<Passes>,
    tls: Option<Arc<ServerTls>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Broker {
    /// Starts it on its own threads.
    pub fn start(config: &Config) -> Result<Broker, BrokerError> {
        let mqtt = &config.mqtt;
        crate::shell::tls::check_plaintext("mqtt.listen", mqtt.listen, mqtt.tls.as_ref(), mqtt.plaintext)?;
        if !is_loopback(mqtt.listen.ip()) && mqtt.users.is_empty() {
            return Err(BrokerError::NoUsers(mqtt.listen));
        }
        let certificates = mqtt.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        check_users(&mqtt.users, certificates)?;

        let tls = mqtt.tls.as_ref().map(ServerTls::load).transpose().map_err(|e| BrokerError::Tls(e.to_string()))?;

        let password = random_password()?;
        let passes = Arc::new(Passes::default());
        let door = Arc::new(Door {
            passes: Arc::clone(&passes),
            access: Access::new(&mqtt.root),
            users: mqtt.users.clone(),
            certificates,
            internal_sha256: sha256_hex(password.as_bytes()),
            owners: Mutex::new(HashMap::new()),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("broker")
            .enable_all()
            .build()
            .map_err(|e| BrokerError::Other(e.to_string()))?;
        let (address, internal) = runtime.block_on(open(config, door, tls.clone()))?;
        tracing::info!(%address, tls = mqtt.tls.is_some(), users = mqtt.users.len(), "mqtt: the embedded broker listens");
        Ok(Broker { address, internal, password, passes, tls, runtime: Some(runtime) })
    }
    /// Its certificate, for the [`Reloader`](crate::shell::tls::Reloader).
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.clone()
    }
    /// Where clients connect (the real port).
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Where our own publisher connects, and its password: `Options::from_config(config, origin, Some(broker.internal()))`.
    pub fn internal(&self) -> (SocketAddr, String) {
        (self.internal, self.password.clone())
    }
    /// The passes of pages. They connect where our own publisher does, through the tunnel of HTTP.
    pub fn passes(&self) -> Arc<Passes> {
        Arc::clone(&self.passes)
    }
    /// Closes every connection and listener.
    pub fn stop(mut self) {
        self.end();
    }
    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

fn check_users(users: &[User], certificates: bool) -> Result<(), BrokerError> {
    for user in users {
        if !crate::document::is_slug(&user.name, 32) || user.name == "local" || user.name.starts_with('_') {
            return Err(BrokerError::Name(user.name.clone()));
        }
        match &user.password_sha256 {
            Some(digest) if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
                return Err(BrokerError::Password(user.name.clone()));
            }
            None if !certificates => return Err(BrokerError::NoPassword(user.name.clone())),
            _ => {}
        }
    }
    Ok(())
}

/// 256 random bits of the system, as hex.
fn random_password() -> Result<String, BrokerError> {
    key::random::<32>().map(|bytes| hex(&bytes)).ok_or_else(|| BrokerError::Other("the system gives no random bytes".into()))
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Binds both listeners and serves them.
async fn open(config: &Config, door: Arc<Door>, tls: Option<Arc<ServerTls>>) -> Result<(SocketAddr, SocketAddr), BrokerError> {
    let mqtt = &config.mqtt;
    let context = ServerContext::new()
        .busy_check_enable(false)
        .mqtt_max_sessions(CONNECTIONS_MAX as isize)
        .task_exec_workers(256)
        .task_exec_queue_max(100_000)
        .build()
        .await;
    *context.extends.retain_mut().await = Box::new(Memory(DefaultRetainStorage::new()));
    let register = context.extends.hook_mgr().register();
    for kind in [
        Type::ClientAuthenticate,
        Type::ClientConnected,
        Type::SessionTerminated,
        Type::ClientSubscribeCheckAcl,
        Type::MessagePublishCheckAcl,
        Type::MessageExpiryCheck,
    ] {
        register.add(kind, Box::new(Guard(Arc::clone(&door)))).await;
    }
    register.start().await;

    let (public, address) = public_listener(mqtt, mqtt.listen)?;
    let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let internal = common("mqtt-internal", inner, super::mqtt::PACKET_BYTES_MAX).bind().map_err(bind_error(inner))?;
    let internal_address = internal.local_addr().map_err(bind_error(inner))?;
    let internal = internal.tcp().map_err(bind_error(inner))?;

    let server = rmqtt::server::MqttServer::new(context.clone()).listener_by_id(internal, INTERNAL).build();
    tokio::spawn(async move {
        if let Err(error) = server.run().await {
            tracing::error!(%error, "mqtt: the embedded broker ended");
        }
    });
    let accepting = accept(&context, public);
    if let Some(tls) = tls {
        tokio::spawn(renew(context, mqtt.clone(), address, tls, accepting));
    }
    Ok((address, internal_address))
}

/// What both listeners have in common.
fn common(name: &str, address: SocketAddr, packet_bytes_max: u32) -> Builder {
    Builder::new()
        .name(name)
        .laddr(address)
        .allow_anonymous(false)
        .nodelay(true)
        .reuseaddr(Some(true))
        .max_connections(CONNECTIONS_MAX)
        .max_handshaking_limit(1_024)
        .handshake_timeout(Duration::from_secs(10))
        .max_packet_size(packet_bytes_max)
        .max_clientid_len(128)
        .max_topic_levels(16)
        .max_inflight(NonZeroU16::new(128).expect("128 is not zero"))
        .max_mqueue_len(QUEUE_MAX)
        .max_subscriptions(SUBSCRIPTIONS_MAX)
        .session_expiry_interval(Duration::from_secs(300))
        .max_session_expiry_interval(Duration::from_secs(3_600))
        // Without an expiry of its own a document stays: the retained `sys/status` is written once, at the connection.
        .message_expiry_interval(Duration::ZERO)
}

fn bind_error(address: SocketAddr) -> impl Fn(rmqtt::net::Error) -> BrokerError {
    move |error| BrokerError::Bind(address, error.to_string())
}

/// The listener for everybody else, with the certificate as it is now, and its real address.
fn public_listener(mqtt: &Mqtt, listen: SocketAddr) -> Result<(Listener, SocketAddr), BrokerError> {
    let mut public = common("mqtt", listen, CLIENT_PACKET_BYTES_MAX);
    if let Some(tls) = &mqtt.tls {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        public = public.tls_cert(Some(text(&tls.certificate))).tls_key(Some(text(&tls.key)));
        if let Some(authority) = &tls.client_ca {
            public = public.tls_cross_certificate(true).tls_client_ca_certs(Some(text(authority))).cert_cn_as_username(true);
        }
    }
    let public = public.bind().map_err(bind_error(listen))?;
    let address = public.local_addr().map_err(bind_error(listen))?;
    let public = match mqtt.tls {
        Some(_) => public.tls().map_err(|e| BrokerError::Tls(format!("{e:#}")))?,
        None => public.tcp().map_err(bind_error(listen))?,
    };
    Ok((public, address))
}

/// Takes connections until the task is aborted; those that are open go on after that.
fn accept(context: &ServerContext, public: Listener) -> tokio::task::JoinHandle<()> {
    context.listen_cfgs.remove(&PUBLIC);
    let server = rmqtt::server::MqttServer::new(context.clone()).listener_by_id(public, PUBLIC).build();
    tokio::spawn(async move {
        if let Err(error) = server.run().await {
            tracing::error!(%error, "mqtt: the embedded broker takes no further connection");
        }
    })
}

/// Opens the public listener anew each time another certificate was loaded.
async fn renew(
    context: ServerContext,
    mqtt: Mqtt,
    address: SocketAddr,
    tls: Arc<ServerTls>,
    mut accepting: tokio::task::JoinHandle<()>,
) {
    let mut loaded = tls.loaded();
    while loaded.changed().await.is_ok() {
        // The library reads the files by itself: whether it can is found out on a port that nobody knows.
        if let Err(error) = public_listener(&mqtt, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) {
            tracing::error!(%error, "mqtt: new certificate not taken, the old one stays");
            continue;
        }
        accepting.abort();
        let _ = accepting.await;
        let mut said = false;
        let public = loop {
            match public_listener(&mqtt, address) {
                Ok((public, _)) => break public,
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(%error, "mqtt: cannot listen again, trying on");
                    }
                    tokio::time::sleep(BIND_AGAIN).await;
                }
            }
        };
        accepting = accept(&context, public);
        tracing::info!(%address, "mqtt: listens with the new certificate");
    }
}

/// What the hooks share.
struct Door {
    access: Access,
    users: Vec<User>,
    passes: Arc<Passes>,
    /// Clients prove themselves by certificate: the name is its CN, no password is asked.
    certificates: bool,
    internal_sha256: String,
    /// Client id → who holds it. A session is resumed by client id alone: nobody may take over another one's.
    owners: Mutex<HashMap<String, String>>,
}

impl Door {
    /// What the rules say about somebody who is connected.
    fn says(&self, name: &str, question: impl FnOnce(Who<'_>) -> bool) -> bool {
        if name == INTERNAL_USER {
            return question(Who::Internal);
        }
        // No client from outside has a name that begins so.
        if name.starts_with('_') {
            return self.passes.user(name).is_some_and(|user| question(Who::User(&user)));
        }
        if self.users.is_empty() {
            return question(Who::Local);
        }
        self.users.iter().find(|user| user.name == name).is_some_and(|user| question(Who::User(user)))
    }

    fn authenticate(&self, connect: &ConnectInfo) -> AuthResult {
        let name = connect.username().map_or("", |name| name.as_ref());
        let given = connect.password().map(|password| sha256_hex(password));
        let inside = connect.id().lid == INTERNAL;
        if inside && name == INTERNAL_USER {
            let good = given.is_some_and(|given| same(&given, &self.internal_sha256));
            return if good { AuthResult::Allow(false, None) } else { AuthResult::NotAuthorized };
        }
        let page;
        let who = if inside {
            let password = connect.password().map_or(&b""[..], |password| password.as_ref());
            let client_id: &str = connect.client_id().as_ref();
            match self.passes.user(name).filter(|_| self.passes.admit(name, password, client_id)) {
                Some(user) => page = user,
                None => return AuthResult::NotAuthorized,
            }
            Who::User(&page)
        } else if name.starts_with('_') {
            return AuthResult::NotAuthorized;
        } else if self.users.is_empty() {
            if !connect.ipaddress().is_some_and(|peer| is_loopback(peer.ip())) {
                return AuthResult::NotAuthorized;
            }
            Who::Local
        } else {
            let Some(user) = self.users.iter().find(|user| user.name == name) else {
                return AuthResult::BadUsernameOrPassword;
            };
            if !self.certificates {
                let Some((given, expected)) = given.zip(user.password_sha256.as_ref()) else {
                    return AuthResult::BadUsernameOrPassword;
                };
                if !same(&given, &expected.to_ascii_lowercase()) {
                    return AuthResult::BadUsernameOrPassword;
                }
            }
            Who::User(user)
        };
        // The library publishes wills without asking for rights: they are asked for here.
        if let Some(will) = connect.last_will() {
            let Ok(publish) = rmqtt::types::Publish::try_from(will) else { return AuthResult::NotAuthorized };
            if !self.access.may_publish(who, &publish.topic, publish.payload.len(), publish.retain) {
                return AuthResult::NotAuthorized;
            }
        }
        if self.owners.lock().get(connect.client_id().as_ref() as &str).is_some_and(|owner| owner != name) {
            return AuthResult::NotAuthorized;
        }
        AuthResult::Allow(false, None)
    }
}

/// Compares digests without telling where they differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

struct Guard(Arc<Door>);

#[async_trait]
impl Handler for Guard {
    async fn hook(&self, parameter: &Parameter, acc: Option<HookResult>) -> ReturnType {
        let door = &self.0;
        match parameter {
            Parameter::ClientAuthenticate(connect) => {
                let result = door.authenticate(connect);
                if !matches!(result, AuthResult::Allow(..)) {
                    tokio::time::sleep(REFUSAL_DELAY).await;
                }
                (false, Some(HookResult::AuthResult(result)))
            }
            Parameter::ClientConnected(session) => {
                let mut owners = door.owners.lock();
                if owners.len() <= 2 * CONNECTIONS_MAX {
                    owners.insert(session.id.client_id.to_string(), session.id.username_ref().to_owned());
                }
                (true, acc)
            }
            Parameter::SessionTerminated(session, _) => {
                door.owners.lock().remove(session.id.client_id.as_ref() as &str);
                (true, acc)
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                let filter: &str = &subscribe.topic_filter;
                let allowed = door.says(session.id.username_ref(), |who| door.access.may_subscribe(who, filter));
                let result = if allowed {
                    SubscribeAclResult::new_success(subscribe.opts.qos(), None)
                } else {
                    SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                };
                (false, Some(HookResult::SubscribeAclResult(result)))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                let allowed = door.says(session.id.username_ref(), |who| {
                    door.access.may_publish(who, &publish.topic, publish.payload.len(), publish.retain)
                });
                // Not disconnected: MQTT 5 says so in the acknowledgement, and 3.1.1 clients see no answer within 5 s.
                let result = if allowed { PublishAclResult::allow() } else { PublishAclResult::rejected(false, None) };
                (false, Some(HookResult::PublishAclResult(result)))
            }
            // Asked before each delivery: what may not be read ends here, whatever was subscribed.
            Parameter::MessageExpiryCheck(session, _, publish) => {
                let allowed = door.says(session.id.username_ref(), |who| door.access.may_read(who, &publish.topic));
                if allowed { (true, acc) } else { (false, Some(HookResult::MessageExpiry)) }
            }
            _ => (true, acc),
        }
    }
}

/// Retained documents in memory, bounded.
struct Memory(DefaultRetainStorage);

#[async_trait]
impl RetainStorage for Memory {
    fn enable(&self) -> bool {
        true
    }
    async fn set(&self, topic: &TopicName, retain: Retain, expiry: Option<Duration>) -> rmqtt::Result<()> {
        if topic.len() > FILTER_BYTES_MAX || (self.0.count().await >= RETAINED_MAX && !retain.publish.payload.is_empty()) {
            // A known topic is still written: the bound is on topics.
            if self.0.get_message(topic).await?.is_empty() {
                tracing::warn!(limit = RETAINED_MAX, "mqtt: the embedded broker holds no further retained topic");
                return Ok(());
            }
        }
        // The library says zero where it means never.
        self.0.set_with_timeout(topic, retain, expiry.filter(|expiry| !expiry.is_zero())).await
    }
    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        self.0.get_message(filter).await
    }
    async fn count(&self) -> isize {
        self.0.count().await
    }
    async fn max(&self) -> isize {
        self.0.max().await
    }
}

/// Whether an address is this machine's own.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
