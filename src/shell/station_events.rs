//! `/api/v1/events`: what a station would hear from the broker, as server-sent events.
//!
//! One contract: the first message of a connection is the whole of what is retained; after it come records of the same form, state
//! merged every 250 ms (newest only), events at once, a heartbeat every 5 s. A reader hears what its user may read at the broker. One
//! that reads too slowly is cut and begins anew. `vitals` and `flat` are not said here: the state of a bed has the same values at the
//! same pace.

use crate::document::{self, Origin};
use crate::shell::access::{Access, Who, matches};
use crate::shell::commands::Commands;
use crate::shell::journal::Looked;
use crate::shell::link::Link;
use crate::shell::live::{Batch, Changes, Record, standing};
use crate::shell::publisher::now;
use crate::shell::retained::Retained;
use crate::shell::station::{Shared, StationState};
use crate::shell::station_api::problem;
use crate::shell::station_audit as audit;
use crate::shell::station_session::{Proof, Session};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// State is merged over so long.
const MERGE: Duration = Duration::from_millis(250);
/// Heartbeats, in units of [`MERGE`]: 5 s.
const HEARTBEAT_EVERY: u32 = 20;
/// An open page is alive so often, and says so where stations are counted.
const TOUCH_EVERY: Duration = Duration::from_secs(20);

/// Says what changes to whoever looks on, until the server stops; ends sessions that are over.
pub(crate) async fn tell(shared: Shared) {
    let mut stopped = shared.stopped.clone();
    let mut changes = Changes::default();
    let mut ticks = tokio::time::interval(MERGE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0u32;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let live = shared.link.live();
        live.put(changes.take(&shared.state.retained));
        count = count.wrapping_add(1);
        if count.is_multiple_of(HEARTBEAT_EVERY) {
            let over = shared.sessions.sweep();
            if shared.sessions.is_save_due() {
                // The disk may take its time; what is live does not wait for it.
                let shared = shared.clone();
                tokio::spawn(async move { shared.save_sessions().await });
            }
            for user in over {
                audit::event(&shared, Looked::new(&user, "web", "session_end", "")).await;
            }
            if live.watched() {
                live.put(vec![heartbeat(&shared.state, &shared.link)]);
            }
        }
    }
}

fn heartbeat(state: &StationState, link: &Link) -> Record {
    let pulse = *state.pulse.lock();
    let payload = document::heartbeat(&state.origin, now(), link.heartbeat_rev(), &pulse, link.outbox_depth(), &link.dropped());
    Record { topic: "sys/heartbeat".into(), payload: payload.into() }
}

/// Everything that is retained, as a late joiner at the broker finds it.
fn snapshot(retained: &Retained, origin: &Origin) -> Vec<Record> {
    let status = Record { topic: "sys/status".into(), payload: document::sys_status(origin, now(), true).into() };
    std::iter::once(status).chain(standing(retained)).collect()
}

pub(crate) async fn events(State(shared): State<Shared>, session: Session) -> Response {
    // First the subscription, then the snapshot: what falls between is said twice, which does no harm.
    let receiver = shared.link.live().subscribe();
    let mut first = snapshot(&shared.state.retained, &shared.state.origin);
    first.push(heartbeat(&shared.state, &shared.link));
    let base = format!("{}/v1/{}", shared.state.config.mqtt.root, shared.state.origin.site);
    stream(&shared, session, first, receiver, base)
}

/// An answer that goes on: `first`, then what is received, each topic below `base`, as far as the session may read it.
pub(crate) fn stream(
    shared: &Shared,
    session: Session,
    first: Vec<Record>,
    receiver: broadcast::Receiver<Batch>,
    base: String,
) -> Response {
    let (Some(own), Ok(seat)) = (session.stream(), Arc::clone(&shared.streams).try_acquire_owned()) else {
        return problem(StatusCode::TOO_MANY_REQUESTS, "too many streams are open");
    };
    // A machine with a token is no station: nobody may be in front of it.
    let station = (session.proof() != Proof::Bearer).then(|| shared.state.commands.clone()).flatten();
    let access = Access::new(&shared.state.config.mqtt.root);
    let who = if session.proof() == Proof::Local { Who::Local } else { Who::User(session.account()) };
    let reader = Reader {
        first: Some(first),
        filters: access.readable(who),
        receiver,
        base,
        stopped: shared.stopped.clone(),
        touch: tokio::time::interval(TOUCH_EVERY),
        station: station
            .map(|commands| Station { commands, name: format!("{}#{}", session.user(), uuid::Uuid::now_v7().simple()) }),
        session,
        _seats: [own, seat],
    };
    let stream = futures_util::stream::unfold(reader, |mut reader| async move {
        let data = reader.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(data)), reader))
    });
    Sse::new(stream).into_response()
}

struct Reader {
    first: Option<Vec<Record>>,
    filters: Vec<String>,
    receiver: broadcast::Receiver<Batch>,
    base: String,
    session: Session,
    stopped: watch::Receiver<bool>,
    touch: tokio::time::Interval,
    station: Option<Station>,
    _seats: [OwnedSemaphorePermit; 2],
}

/// A page that hears events over HTTP listens like one that hears them from the broker.
struct Station {
    commands: Commands,
    /// No user of MQTT has such a name: one page that goes does not take another one's word back.
    name: String,
}

impl Drop for Station {
    fn drop(&mut self) {
        self.commands.station(&self.name, false);
    }
}

impl Reader {
    /// The next message; `None`: the connection ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            // An empty list, too: the page learns that it is connected.
            return Some(self.render(&first).unwrap_or_else(|| "[]".into()));
        }
        loop {
            let batch = tokio::select! {
                batch = self.receiver.recv() => batch,
                () = self.session.ended().cancelled() => return None,
                _ = self.stopped.wait_for(|stop| *stop) => return None,
                _ = self.touch.tick() => {
                    self.session.touch();
                    if let Some(station) = &self.station {
                        station.commands.station(&station.name, true);
                    }
                    continue;
                }
            };
            match batch {
                Ok(batch) => {
                    if let Some(text) = self.render(&batch) {
                        return Some(text);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    ::metrics::counter!(super::metrics::HTTP_STREAMS_CUT).increment(1);
                    return None;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn render(&self, records: &[Record]) -> Option<String> {
        let mut text = String::new();
        for record in records {
            let topic = format!("{}/{}", self.base, record.topic);
            if !self.filters.iter().any(|filter| matches(filter, &topic)) {
                continue;
            }
            text.push(if text.is_empty() { '[' } else { ',' });
            let payload = if record.payload.is_empty() { "null".into() } else { String::from_utf8_lossy(&record.payload) };
            text.push_str(&format!("{{\"topic\":\"{topic}\",\"payload\":{payload}}}"));
        }
        (!text.is_empty()).then(|| text + "]")
    }
}
