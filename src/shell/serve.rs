//! Starting and stopping: every part in its order, and back.
//!
//! Up: the relays of tees (the clinical path needs nothing of what follows), key, store, journal, recovery, state documents, broker, publisher, HTTP, judging thread, and only then the listeners, so
//! that nothing is acknowledged that could not be judged. Down: listeners first (what is in flight is acknowledged), then the
//! journal, the judging thread (commit, snapshot), the publisher (what the broker takes), broker and HTTP.

use crate::alert::hex;
use crate::config::{Config, Placement};
use crate::document::{HeadSigner, Origin, Pulse};
use crate::monitor::Settings;
use crate::shell::acm::{Acm, AcmError};
use crate::shell::commands::{self, Answers, Commands};
use crate::shell::data::{Data, Rates};
use crate::shell::engine::{Engine, EngineError, Parts};
use crate::shell::journal::{Journal, JournalError, Looked, Options as JournalOptions, Record};
use crate::shell::key::{self, KeyError};
use crate::shell::link::Link;
use crate::shell::listener::{self, ListenError};
use crate::shell::metrics;
use crate::shell::publisher::{Inbound, Options as PublisherOptions, Publisher, PublisherError};
use crate::shell::replays::Replays;
use crate::shell::retained::Retained;
use crate::shell::station::{Station, StationError, StationState};
use crate::shell::station_tunnel::Tunnel;
use crate::shell::store::{AlertReader, Store, StoreError};
use crate::shell::tap::Packets;
use crate::shell::tee::{self, StartError as TeeStartError};
use crate::shell::tls::{Reloader, ServerTls, TlsError};
use crate::shell::trends::Keeper;
use crate::shell::vault;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Commands that wait for the journal at most; further ones get no answer and are sent again by whoever asked.
const COMMANDS_MAX: usize = 1_024;
/// So long the broker may take the rest of the outbox at the end.
const PUBLISH_LAST: Duration = Duration::from_secs(5);

/// What a start may be told beyond the configuration.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {}

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the data folder {path}: {source}")]
    Data { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    SigningKey(#[from] vault::KeyFileError),
    #[error(transparent)]
    EncryptionKey(#[from] crate::shell::journal::EncryptionKeyError),
    #[error("devices.advisories: {0}")]
    Advisories(#[from] crate::shell::advisories::LoadError),
    #[error("models: {0}")]
    Models(#[from] crate::shell::models::LoadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tee(#[from] TeeStartError),
    #[cfg(feature = "broker")]
    #[error(transparent)]
    Broker(#[from] crate::shell::broker::BrokerError),
    #[error("the embedded broker did not start")]
    BrokerEnded,
    #[error("this program was built without the embedded broker: give mqtt.url")]
    NoBroker,
    #[error(transparent)]
    Acm(#[from] AcmError),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    #[error(transparent)]
    Station(#[from] StationError),
    #[error("metrics: {0}")]
    Metrics(String),
    #[error("no thread for {what}: {source}")]
    Thread { what: &'static str, source: std::io::Error },
    #[error("the judging thread ended; the service stops, a restart reads the journal again")]
    EngineEnded,
    #[error("the publishing thread ended; the service stops, a restart publishes what waits")]
    PublisherEnded,
}

/// Which broker is used.
#[derive(Debug, Clone)]
pub enum Broker {
    Embedded(SocketAddr),
    External(String),
}

/// The running service and where it listens.
pub struct Running {
    /// Feed and address of each MLLP listener.
    pub mllp: Vec<(String, SocketAddr)>,
    pub mqtt: Broker,
    pub http: SocketAddr,
    stop: watch::Sender<bool>,
    parts: Option<RunningParts>,
}

struct RunningParts {
    listeners: JoinSet<()>,
    drain: CancellationToken,
    journal: Journal,
    engine: std::thread::JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    publisher: Publisher,
    #[cfg(feature = "broker")]
    broker: Option<crate::shell::broker::Broker>,
    station: Station,
    reloader: Reloader,
    data: Arc<Data>,
    keeper: Keeper,
    acm: Option<Acm>,
}

/// Ends the service from elsewhere.
#[derive(Debug, Clone)]
pub struct StopHandle(watch::Sender<bool>);

impl StopHandle {
    pub fn stop(&self) {
        // `send` forgets the value where nobody listens yet: a stop before `wait` would be lost.
        self.0.send_replace(true);
    }
}

/// Starts everything.
pub async fn serve(config: Config, _options: ServeOptions) -> Result<Running, ServeError> {
    let folder = config.data.clone();
    crate::shell::make_folder(&folder).map_err(|source| ServeError::Data { path: folder.clone(), source })?;
    let recorder = metrics::install().map_err(|e| ServeError::Metrics(e.to_string()))?;
    // First of all: the clinical path needs nothing of what follows.
    let tees = tee::start_all(&config).await?;
    let site_key = key::read_or_make(&config)?;
    let advisories = crate::shell::advisories::load(&config)?;
    let models = crate::shell::models::load(&config)?;
    let boot = uuid::Uuid::now_v7().to_string();
    let origin = Origin { boot: boot.clone(), site: config.site.clone() };

    // What can be wrong with addresses and certificates is found before anything is written.
    let mut watched: Vec<Arc<ServerTls>> = Vec::new();
    let mut bound = Vec::new();
    let mut packets = Vec::new();
    for mllp in config.mllp.iter().filter(|mllp| mllp.placement != Placement::Tee) {
        if let Some(tap) = Packets::of(mllp, &config.devices)? {
            packets.push(tap);
            continue;
        }
        let listener = listener::bind(mllp)?;
        watched.extend(listener.tls.clone());
        bound.push(listener);
    }
    #[cfg(feature = "broker")]
    let broker = match &config.mqtt.url {
        // It starts a runtime of its own, which must not be done from within ours.
        None => {
            let config = config.clone();
            let started = tokio::task::spawn_blocking(move || crate::shell::broker::Broker::start(&config)).await;
            Some(started.map_err(|_| ServeError::BrokerEnded)??)
        }
        Some(_) => None,
    };
    #[cfg(feature = "broker")]
    watched.extend(broker.as_ref().and_then(crate::shell::broker::Broker::tls));
    #[cfg(feature = "broker")]
    let embedded = broker.as_ref().map(crate::shell::broker::Broker::internal);
    #[cfg(not(feature = "broker"))]
    let embedded = match &config.mqtt.url {
        Some(_) => None,
        None => return Err(ServeError::NoBroker),
    };
    let mqtt = match &config.mqtt.url {
        Some(url) => Broker::External(url.clone()),
        #[cfg(feature = "broker")]
        None => Broker::Embedded(broker.as_ref().map_or(config.mqtt.listen, crate::shell::broker::Broker::address)),
        #[cfg(not(feature = "broker"))]
        None => return Err(ServeError::NoBroker),
    };
    #[cfg(feature = "broker")]
    let tunnel = match &broker {
        Some(broker) => Some(Tunnel::Embedded { address: broker.internal().0, passes: broker.passes() }),
        None => Tunnel::external(&config)?,
    };
    #[cfg(not(feature = "broker"))]
    let tunnel = Tunnel::external(&config)?;
    let publishing = PublisherOptions::from_config(&config, origin.clone(), embedded)?;

    let store_path = folder.join("store.sqlite");
    let mut store = Store::open(&store_path, config.mqtt.outbox_max)?;
    store.set_boot(&boot)?;
    let outbox = store.outbox_reader()?;
    let acm_reader = store.alert_reader()?;
    let mut journal_options = JournalOptions::new(&config.journal, &boot);
    journal_options.key = Some(site_key.clone().into());
    let signer = Arc::new(vault::signer(&config)?);
    tracing::info!(key = signer.key_id(), "journal: checkpoints are signed");
    journal_options.signer = Some(Arc::clone(&signer));
    journal_options.origin = vault::origin(&config);
    journal_options.encryption = vault::unlock(&config)?;
    let (journal, feed) = Journal::open(&folder.join("journal"), journal_options)?;
    if let Some(torn) = &journal.recovered().torn {
        tracing::warn!(
            segment = torn.segment,
            offset = torn.offset,
            bytes = torn.bytes,
            "the end of the journal was torn and was cut: it was never acknowledged"
        );
    }

    let retained = Arc::new(Retained::default());
    let link = Arc::new(Link::new(Some(store.gauge())));
    let pulse = Arc::new(Mutex::new(Pulse::default()));
    let board = Arc::new(crate::shell::devices::Board::default());
    let answers = Arc::new(Answers::default());
    let case_answers = Arc::new(crate::shell::cases::Answers::default());
    let stations = Arc::new(crate::shell::stations::Stations::default());
    let probe = Arc::new(crate::shell::selftest::Probe::default());
    let writable = Arc::new(AtomicBool::new(true));
    let stopping = Arc::new(AtomicBool::new(false));
    let (conditions, seen_conditions) = std::sync::mpsc::channel();
    let placed = tees.iter().map(|tee| &tee.stats).chain(packets.iter().map(|tap| &tap.stats));
    let (questions, asked) = crate::shell::questions::questions();
    let (keeper, gatherer) = crate::shell::trends::Keeper::start(&folder.join("trends.sqlite"), &config.trends)?;
    let shared_config = Arc::new(config.clone());
    let replays = Replays::new(Arc::clone(&shared_config), site_key.clone(), &folder.join("journal"), Some(publishing.clone()));
    let feeds: Vec<_> = bound.iter().map(|listener| &listener.stats).chain(placed).cloned().collect();
    let parts = Parts {
        folder: folder.clone(),
        settings: Settings::new(&config, &site_key).with_advisories(advisories).with_models(models),
        origin: origin.clone(),
        base: format!("{}/v1/{}", config.mqtt.root, config.site),
        store,
        retained: Arc::clone(&retained),
        link: Arc::clone(&link),
        journal: journal.handle(),
        feeds: feeds.clone(),
        answers: Arc::clone(&answers),
        case_answers: Arc::clone(&case_answers),
        stations: Arc::clone(&stations),
        station_expected: config.mqtt.station_expected,
        conditions: seen_conditions,
        pulse: Arc::clone(&pulse),
        board: Arc::clone(&board),
        writable: Arc::clone(&writable),
        stopping: Arc::clone(&stopping),
        snapshot_s: config.journal.snapshot_s,
        past_bytes: config.journal.past_bytes,
        vitals: publishing.vitals,
        flat: publishing.flat,
        config_hash: config_hash(&config),
        head_signer: HeadSigner { name: vault::origin(&config), key: signer.key_id() },
        zone: config.zone.clone(),
        trends: Some(gatherer),
        asked,
    };
    let (engine, feed) = tokio::task::spawn_blocking(move || Engine::recover(parts).map(|engine| (engine, feed)))
        .await
        .map_err(|_| ServeError::EngineEnded)??;
    let applied_until = engine.applied_until();
    let model = format!("sha256:{}", engine.model());
    if let Err(error) = crate::shell::models::keep(&shared_config, engine.model()) {
        tracing::warn!(%error, "the model files are not kept: once they have changed, alerts of today are explained with others");
    }
    let engine = std::thread::Builder::new()
        .name("judge".into())
        .spawn(move || engine.run(&feed))
        .map_err(|source| ServeError::Thread { what: "judging", source })?;
    // On a disk that is full from the start there is no such record; the service runs and says so.
    let _ = journal.handle().submit(Record::Start { boot, applied_until }).await;
    for (action, hash) in [("configuration", config_hash(&config)), ("models", model)] {
        note_change(&journal, &store_path, action, &hash).await?;
    }

    let acm = Acm::start(&config.acm, &config.site, acm_reader, &folder)?;
    let (inbound, from_broker) = mpsc::channel(COMMANDS_MAX);
    let beat = Arc::clone(&pulse);
    let publisher =
        Publisher::start(publishing, Arc::clone(&retained), link.clone(), Some(outbox), Box::new(move || *beat.lock()), inbound)?;
    let commands = Commands::new(origin.clone(), journal.handle(), answers, Arc::clone(&stations), Arc::clone(&probe));
    tokio::spawn(take_inbound(
        from_broker,
        Way {
            commands: commands.clone(),
            origin: origin.clone(),
            link: Arc::clone(&link),
            stations: Arc::clone(&stations),
            conditions,
            config: Arc::clone(&shared_config),
        },
    ));

    let data = Arc::new(Data {
        config: Arc::clone(&shared_config),
        site_key,
        questions,
        journal: journal.handle(),
        store: store_path.clone(),
        trends: keeper.trends(),
        feeds,
        link: Arc::clone(&link),
        stations: Arc::clone(&stations),
        replays,
        rates: Rates::default(),
        explains: Default::default(),
        case_answers,
        exports: Default::default(),
        signer,
        config_hash: config_hash(&config),
    });
    crate::shell::data::watch(&data);
    let listeners_bound = Arc::new(AtomicBool::new(false));
    let station = Station::start(StationState {
        data: Some(Arc::clone(&data)),
        retained,
        link: Some(link),
        metrics: Some(recorder),
        journal_writable: writable,
        listeners_bound: Arc::clone(&listeners_bound),
        board,
        journal: Some(journal.handle()),
        commands: Some(commands),
        pulse,
        tunnel,
        ..StationState::new(shared_config, origin, store_path)
    })
    .await?;
    watched.extend(station.tls());

    let mut mllp = Vec::new();
    let drain = CancellationToken::new();
    let mut listeners = JoinSet::new();
    for listener in bound {
        mllp.push((listener.stats.feed.clone(), listener.local_addr));
        listeners.spawn(listener.serve(journal.handle(), drain.clone()));
    }
    probe.choose(&config, &mllp);
    for tap in packets {
        listeners.spawn(tap.read(journal.handle(), drain.clone()));
    }
    for tee in tees {
        mllp.push((tee.stats.feed.clone(), tee.address));
        listeners.spawn(tee.serve(journal.handle(), drain.clone()));
    }
    listeners_bound.store(true, std::sync::atomic::Ordering::Relaxed);
    let reloader = Reloader::start(watched);
    let (stop, _) = watch::channel(false);
    Ok(Running {
        mllp,
        mqtt,
        http: station.address(),
        stop,
        parts: Some(RunningParts {
            listeners,
            drain,
            journal,
            engine,
            stopping,
            publisher,
            #[cfg(feature = "broker")]
            broker,
            station,
            reloader,
            data,
            keeper,
            acm,
        }),
    })
}

impl Running {
    /// A way to end it.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Runs until it is told to stop (or the judging thread ends), then stops in order. SIGHUP reads the certificates again.
    pub async fn wait(mut self) -> Result<(), ServeError> {
        let Some(parts) = self.parts.take() else { return Ok(()) };
        let mut stop = self.stop.subscribe();
        let mut alive = tokio::time::interval(Duration::from_millis(500));
        let mut hangup = hangup();
        let mut ended = None;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = alive.tick() => {
                    if parts.engine.is_finished() {
                        ended = Some(ServeError::EngineEnded);
                    } else if parts.publisher.is_finished() {
                        ended = Some(ServeError::PublisherEnded);
                    }
                    if ended.is_some() {
                        break;
                    }
                }
                () = hangup.next() => {
                    tracing::info!("reading certificates again");
                    parts.reloader.now();
                    let looked = Looked::new("vitalguard", "auto", "certificates", "read again");
                    let _ = parts.journal.handle().submit(Record::Audit(looked)).await;
                }
            }
        }
        let judged = parts.stop().await;
        match ended {
            Some(error) => Err(error),
            None if !judged => Err(ServeError::EngineEnded),
            None => Ok(()),
        }
    }
}

impl RunningParts {
    /// Whether everything that was acknowledged could be judged to the end.
    async fn stop(mut self) -> bool {
        self.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.drain.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.data.replays.stop();
        let (journal, engine, publisher, keeper, acm) = (self.journal, self.engine, self.publisher, self.keeper, self.acm);
        let judged = tokio::task::spawn_blocking(move || {
            journal.close();
            let judged = engine.join().is_ok();
            // The judging thread has handed over its last buckets.
            keeper.join();
            if let Some(acm) = acm {
                acm.stop();
            }
            publisher.stop(PUBLISH_LAST);
            judged
        })
        .await
        .unwrap_or(false);
        #[cfg(feature = "broker")]
        if let Some(broker) = self.broker {
            let _ = tokio::task::spawn_blocking(move || broker.stop()).await;
        }
        self.station.stop().await;
        judged
    }
}

/// Where that goes which came over MQTT.
struct Way {
    commands: Commands,
    origin: Origin,
    link: Arc<Link>,
    stations: Arc<crate::shell::stations::Stations>,
    conditions: std::sync::mpsc::Sender<crate::monitor::SiteCondition>,
    config: Arc<Config>,
}

impl Way {
    /// A command into the journal; where that cannot be written, whoever asked is told so.
    async fn command(&self, mut command: crate::command::Command) {
        // A user whom only an external broker knows is limited by its rules alone.
        if let Some(user) = self.config.mqtt.users.iter().find(|user| user.name == command.user) {
            command.wards.clone_from(&user.wards);
        }
        if let Err(error) = self.commands.submit(command.clone()).await {
            tracing::warn!(%error, "a command could not be stored and was not carried out");
            let response = commands::unavailable(&command, crate::shell::publisher::now());
            let reply = self.link.reply(&command.user, &command.request_id);
            self.link.refuse(reply, crate::document::response(&self.origin, &response).into());
        }
    }
}

/// What came over MQTT: commands into the journal, conditions to the judging thread.
async fn take_inbound(mut inbound: mpsc::Receiver<Inbound>, way: Way) {
    let way = Arc::new(way);
    while let Some(input) = inbound.recv().await {
        match input {
            // It is tried out before it is stored, and nobody waits for that.
            Inbound::Command(command) if command.verb == crate::command::Verb::Selftest => {
                let way = Arc::clone(&way);
                tokio::spawn(async move { way.command(command).await });
            }
            Inbound::Command(command) => way.command(command).await,
            Inbound::Refused(looked) => {
                let _ = way.commands.note(looked).await;
            }
            Inbound::Condition(condition) => {
                let _ = way.conditions.send(condition);
            }
            Inbound::Station { user, online, at } => {
                let age_ms = crate::shell::publisher::now().since_ms(at).max(0) as u64;
                way.stations.heard(&user, online, Duration::from_millis(age_ms));
            }
        }
    }
}

/// Writes that another configuration, or other models, decide from now on: the hash before and the hash now.
async fn note_change(journal: &Journal, store: &std::path::Path, action: &str, hash: &str) -> Result<(), ServeError> {
    let before = AlertReader::open(store)?.last_object(action)?;
    let last = before.as_deref().and_then(|object| object.rsplit(' ').next());
    if last != Some(hash) {
        let object = last.map_or_else(|| hash.to_owned(), |last| format!("{last} to {hash}"));
        // On a full disk the next start finds it again.
        let _ = journal.handle().submit(Record::Audit(Looked::new("vitalguard", "auto", action, &object))).await;
    }
    Ok(())
}

/// `sha256:` and 16 hex digits over the effective configuration, hashes of passwords and tokens left out.
pub fn config_hash(config: &Config) -> String {
    let mut config = config.clone();
    for user in &mut config.mqtt.users {
        user.password_sha256 = user.password_sha256.as_ref().map(|_| String::new());
    }
    for token in &mut config.http.tokens {
        token.token_sha256.clear();
    }
    let text = toml::to_string(&config).unwrap_or_default();
    format!("sha256:{}", &hex(&Sha256::digest(text.as_bytes()))[..16])
}

/// SIGHUP, where there is one.
struct Hangup(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

fn hangup() -> Hangup {
    #[cfg(unix)]
    return Hangup(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok());
    #[cfg(not(unix))]
    Hangup()
}

impl Hangup {
    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
