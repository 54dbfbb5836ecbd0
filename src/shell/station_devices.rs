//! `/api/v1/devices`: the inventory, and what the site decides about an advisory on one device.

use crate::advisory::Status;
use crate::command::{Command, Verb, Via};
use crate::config::Role;
use crate::document::{is_comment, is_slug};
use crate::shell::devices::Listing;
use crate::shell::journal::Record;
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, json, problem};
use crate::shell::station_session::Session;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;

/// Devices a page, without and with a wish.
const PAGE: usize = 200;
const PAGE_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn listing(shared: &Shared, after: Option<Instant>) -> Result<Arc<Listing>, Response> {
    let list = shared.state.board.get(after).await;
    list.ok_or_else(|| problem(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not available now"))
}

/// What a session may see of it: a user of some wards sees the devices that stand there.
async fn seen(shared: &Shared, session: &Session) -> Result<Arc<Listing>, Response> {
    let all = listing(shared, None).await?;
    if session.wards().is_empty() {
        return Ok(all);
    }
    let sees = |place: &str| session.sees(place.split('/').next().unwrap_or_default());
    let mut devices: Vec<_> = all.devices.iter().filter(|d| d.ward.as_deref().is_some_and(sees)).cloned().collect();
    for device in &mut devices {
        device.beds.retain(|bed| sees(bed));
    }
    let known = devices.len() as u64;
    Ok(Arc::new(Listing { devices, known, data_date: all.data_date.clone(), cursor: None, ..*all }))
}

pub(crate) async fn list(
    State(shared): State<Shared>,
    session: Session,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return problem(StatusCode::BAD_REQUEST, "limit: 1 to 1000");
    }
    let all = match seen(&shared, &session).await {
        Ok(all) => all,
        Err(response) => return response,
    };
    let from = match query.cursor.as_deref() {
        None => 0,
        Some(cursor) => match all.devices.iter().position(|d| d.device == cursor) {
            Some(at) => at + 1,
            None => return problem(StatusCode::BAD_REQUEST, "cursor: not one of ours, or its device was forgotten"),
        },
    };
    let page: Vec<_> = all.devices.iter().skip(from).take(limit).cloned().collect();
    let more = from + page.len() < all.devices.len();
    let cursor = page.last().filter(|_| more).map(|d| d.device.clone());
    let shown = Listing { devices: page, cursor, data_date: all.data_date.clone(), ..*all };
    match serde_json::to_string(&shown) {
        Ok(body) => json(StatusCode::OK, body),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the inventory cannot be written"),
    }
}

fn device(all: &Listing, id: &str) -> Response {
    match all.devices.iter().find(|d| d.device == id).map(serde_json::to_string) {
        Some(Ok(body)) => json(StatusCode::OK, body),
        Some(Err(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the device cannot be written"),
        None => problem(StatusCode::NOT_FOUND, "no such device"),
    }
}

pub(crate) async fn one(State(shared): State<Shared>, session: Session, Path(id): Path<String>) -> Response {
    if !is_slug(&id, 32) {
        return problem(StatusCode::BAD_REQUEST, "a device is a slug (dev-…)");
    }
    match seen(&shared, &session).await {
        Ok(all) => device(&all, &id),
        Err(response) => response,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decision {
    status: Status,
    note: Option<String>,
}

/// Open, mitigated or accepted: durable in the journal before it is answered, audited in the store.
pub(crate) async fn decide(
    State(shared): State<Shared>,
    session: Session,
    Path((id, advisory)): Path<(String, String)>,
    body: Result<axum::Json<Decision>, axum::extract::rejection::JsonRejection>,
) -> Response {
    if let Err(refused) = session.require(Role::Engineer) {
        return refused;
    }
    let Ok(axum::Json(decision)) = body else {
        return problem(StatusCode::BAD_REQUEST, "a JSON object is meant: status (open, mitigated, accepted), note");
    };
    let note = decision.note.filter(|note| !note.trim().is_empty());
    if note.as_ref().is_some_and(|note| !is_comment(note)) {
        return problem(StatusCode::BAD_REQUEST, "note: at most 500 characters, no control characters");
    }
    let Some(journal) = shared.state.journal.clone() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "nothing can be decided here");
    };
    let all = match seen(&shared, &session).await {
        Ok(all) => all,
        Err(response) => return response,
    };
    let known = all.devices.iter().find(|d| d.device == id).map(|d| d.advisories.iter().any(|a| a.id == advisory));
    match known {
        None => return problem(StatusCode::NOT_FOUND, "no such device"),
        Some(false) => return problem(StatusCode::NOT_FOUND, "this device has no such advisory"),
        Some(true) => {}
    }
    let verb = Verb::Advisory { device: id.clone(), advisory: advisory.clone(), status: decision.status, note };
    let request_id = format!("h-{}", uuid::Uuid::now_v7().simple());
    let command = Command { request_id, user: session.user().to_owned(), via: Via::Web, expires: None, wards: Vec::new(), verb };
    if journal.submit(Record::Command(command)).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be written: nothing was decided");
    }
    // It is durable; the judging thread takes it in its turn.
    for _ in 0..10 {
        let stored = Instant::now();
        let Ok(all) = listing(&shared, Some(stored)).await else { break };
        let done = all
            .devices
            .iter()
            .any(|d| d.device == id && d.advisories.iter().any(|a| a.id == advisory && a.status == decision.status));
        if done {
            return device(&all, &id);
        }
    }
    json(StatusCode::ACCEPTED, "{\"status\":\"accepted\"}".to_owned())
}
