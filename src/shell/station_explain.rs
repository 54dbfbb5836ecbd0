//! `/api/v1/alerts/{id}/explain`: an alert derived again, as `vitalguard explain --json` says it.
//!
//! One contract: one derivation at a time, bounded in time; it goes on when the client has gone, and its answer is kept for whoever asks
//! again. Meanwhile the answer is 202 with `Retry-After`.

use crate::document::is_alert_id;
use crate::shell::data::Data;
use crate::shell::explain::{Ask, ExplainError, From, explain};
use crate::shell::replay::Journal;
use crate::shell::station::Shared;
use crate::shell::station_api::{self, json, problem, read_store};
use crate::shell::station_session::Session;
use crate::shell::store::AlertRow;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use parking_lot::Mutex;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One derivation takes so long at most.
const EXPLAIN_FOR: Duration = Duration::from_secs(120);
/// A request waits so long for it; then it is told to ask again.
const WAIT_FOR: Duration = Duration::from_secs(7);
/// Answers kept.
const KEPT: usize = 8;
/// That it could not be derived is kept so long: what stood in the way may be gone.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// What an alert and how far its events go: a newer event makes the answer old.
type Key = (String, u64);
type Answer = (StatusCode, Arc<Said>, Instant);

/// What was derived, in both forms; of what could not be, the reason.
#[derive(Debug)]
struct Said {
    text: String,
    page: String,
}

#[derive(Debug, Default)]
struct Board {
    running: Option<Key>,
    kept: Vec<(Key, Answer)>,
}

/// Derivations, one at a time.
#[derive(Debug, Default)]
pub struct Desk {
    state: Mutex<Board>,
    done: Notify,
}

/// An alert that the session may see.
pub(crate) async fn seen(shared: &Shared, session: &Session, id: &str) -> Result<(Arc<Data>, AlertRow), Box<Response>> {
    let unknown = || Box::new(problem(StatusCode::NOT_FOUND, "no such alert"));
    if !is_alert_id(id) {
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, "not an alert id")));
    }
    let data = shared.state.data.clone().ok_or_else(unknown)?;
    let wanted = id.to_owned();
    match read_store(shared, move |store| store.alert(&wanted)).await? {
        Some(row) if session.sees(&row.ward) => Ok((data, row)),
        _ => Err(unknown()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    format: Option<String>,
}

pub(crate) async fn get(
    State(shared): State<Shared>,
    session: Session,
    Path(id): Path<String>,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let page = match wish.as_ref().map(|Query(wish)| wish.format.as_deref()) {
        Ok(None | Some("json")) => false,
        Ok(Some("html")) => true,
        _ => return problem(StatusCode::BAD_REQUEST, "format: json or html"),
    };
    let (data, row) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    let until = Instant::now() + WAIT_FOR;
    let key = (id, row.seq);
    loop {
        let done = data.explains.done.notified();
        tokio::pin!(done);
        // Registered before the look, so that no end is missed.
        done.as_mut().enable();
        {
            let mut state = data.explains.state.lock();
            state.kept.retain(|(_, (status, _, at))| *status == StatusCode::OK || at.elapsed() < FAILED_FOR);
            if let Some((_, (status, body, _))) = state.kept.iter().find(|(known, _)| *known == key) {
                return match *status {
                    StatusCode::OK if page => station_api::page(body.page.clone()),
                    StatusCode::OK => json(StatusCode::OK, body.text.clone()),
                    status => problem(status, &body.text),
                };
            }
            if state.running.is_none() {
                state.running = Some(key.clone());
                begin(&data, &row);
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || tokio::time::timeout(left, done).await.is_err() {
            let mut response = json(StatusCode::ACCEPTED, "{\"status\":\"running\"}".to_owned());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            return response;
        }
    }
}

/// Starts one on a thread of its own; its answer is kept and told.
fn begin(data: &Arc<Data>, row: &AlertRow) {
    let (data, row) = (Arc::clone(data), row.clone());
    tokio::task::spawn_blocking(move || {
        // Unwind safe: nothing of what panicked is used again.
        let derived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| derive(&data, &row)));
        let answer = match derived {
            Ok(Ok(said)) => (StatusCode::OK, said.into(), Instant::now()),
            Ok(Err((status, detail))) => (status, no(detail), Instant::now()),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, no("it cannot be derived"), Instant::now()),
        };
        let mut state = data.explains.state.lock();
        state.running = None;
        state.kept.push(((row.id.clone(), row.seq), answer));
        if state.kept.len() > KEPT {
            state.kept.remove(0);
        }
        drop(state);
        data.explains.done.notify_waiters();
    });
}

fn no(detail: &str) -> Arc<Said> {
    Arc::new(Said { text: detail.to_owned(), page: String::new() })
}

fn derive(data: &Data, row: &AlertRow) -> Result<Said, (StatusCode, &'static str)> {
    let journal = Journal::at(data.journal.folder());
    let ask = Ask {
        config: &data.config,
        site_key: data.site_key.clone(),
        alert: &row.id,
        from: From::Part { journal: &journal, alert: row, to_end: false },
        feed: "replay",
        store: &data.store,
        curves: true,
        until: Some(Instant::now() + EXPLAIN_FOR),
    };
    match explain(&ask) {
        Ok(explained) if explained.found() => Ok(Said { text: explained.to_json().to_string(), page: explained.to_html() }),
        Ok(_) => Err((
            StatusCode::NOT_FOUND,
            "it does not follow from the journal: the journal no longer reaches back so far, or another model or configuration decided",
        )),
        Err(ExplainError::TooLong) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "it takes too long here: vitalguard explain takes its time"))
        }
        Err(error) => {
            tracing::warn!(%error, "http: an alert cannot be derived");
            Err((StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be read"))
        }
    }
}
