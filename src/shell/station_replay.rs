//! `/api/v1/replay`: recordings played into the sandbox. Engineers begin, turn and end them; whoever is logged in looks on.

use crate::config::Role;
use crate::document::is_slug;
use crate::shell::data::Data;
use crate::shell::live::standing;
use crate::shell::replay::deck::{Change, SPEEDS};
use crate::shell::replays::{Run, StartError, Wish};
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem};
use crate::shell::station_audit as audit;
use crate::shell::station_events::stream;
use crate::shell::station_session::Session;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "no such replay")
}

#[allow(clippy::result_large_err)]
fn found(shared: &Shared, run: &str) -> Result<(Arc<Data>, Arc<Run>), Response> {
    let data = shared.state.data.clone().ok_or_else(unknown)?;
    let run = data.replays.get(run).filter(|_| is_slug(run, 32)).ok_or_else(unknown)?;
    Ok((data, run))
}

pub(crate) async fn list(State(shared): State<Shared>, session: Session) -> Response {
    let Some(data) = shared.state.data.clone() else { return unknown() };
    let runs: Vec<_> = data.replays.list().iter().map(|run| run.to_json()).collect();
    // What recordings there are is for those who may play them.
    let files = if session.role() >= Role::Engineer {
        tokio::task::spawn_blocking(move || data.replays.files()).await
    } else {
        Ok(Vec::new())
    };
    json(StatusCode::OK, json!({ "runs": runs, "files": files.unwrap_or_default() }).to_string())
}

pub(crate) async fn start(State(shared): State<Shared>, session: Session, body: Result<Json<Wish>, JsonRejection>) -> Response {
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(Json(wish)) = body else {
        return problem(
            StatusCode::BAD_REQUEST,
            "a JSON object is meant: source ({raw}, {from, to} in ms, or {file}), speed, loop",
        );
    };
    let Some(data) = shared.state.data.clone() else { return unknown() };
    let what = serde_json::to_string(&wish.source).unwrap_or_default();
    if let Err(no) = audit::note(&shared, &session, "replay", &what).await {
        return *no;
    }
    let started = tokio::task::spawn_blocking(move || data.replays.start(&wish)).await;
    match started {
        Ok(Ok(run)) => json(StatusCode::CREATED, run.to_json().to_string()),
        Ok(Err(error @ (StartError::Speed | StartError::Stretch))) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(Err(error @ StartError::NoSuch)) => problem(StatusCode::NOT_FOUND, &error.to_string()),
        Ok(Err(error @ StartError::Full(_))) => problem(StatusCode::CONFLICT, &error.to_string()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "http: a replay does not begin");
            problem(StatusCode::SERVICE_UNAVAILABLE, "it cannot be read now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be played"),
    }
}

pub(crate) async fn get(State(shared): State<Shared>, _session: Session, Path(run): Path<String>) -> Response {
    match found(&shared, &run) {
        Ok((_, run)) => json(StatusCode::OK, run.to_json().to_string()),
        Err(no) => no,
    }
}

pub(crate) async fn change(
    State(shared): State<Shared>,
    session: Session,
    Path(run): Path<String>,
    body: Result<Json<Change>, JsonRejection>,
) -> Response {
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(Json(change)) = body else {
        return problem(StatusCode::BAD_REQUEST, "a JSON object is meant: paused, speed, seek_ms, loop");
    };
    if change.speed.is_some_and(|speed| !SPEEDS.contains(&speed))
        || change.seek_ms.is_some_and(|ms| !(0..=i64::from(u32::MAX)).contains(&ms))
    {
        return problem(StatusCode::BAD_REQUEST, "speed: 0.5 to 60; seek_ms: from 0");
    }
    match found(&shared, &run) {
        Ok((_, run)) => {
            run.change(change);
            json(StatusCode::OK, run.to_json().to_string())
        }
        Err(no) => no,
    }
}

pub(crate) async fn remove(State(shared): State<Shared>, session: Session, Path(run): Path<String>) -> Response {
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    match found(&shared, &run) {
        Ok((data, _)) if data.replays.remove(&run) => StatusCode::NO_CONTENT.into_response(),
        _ => unknown(),
    }
}

/// What a replay says, as server-sent events: first all that stands, then what comes.
pub(crate) async fn events(State(shared): State<Shared>, session: Session, Path(run): Path<String>) -> Response {
    let (data, run) = match found(&shared, &run) {
        Ok(found) => found,
        Err(no) => return no,
    };
    // First the subscription, then what stands: what falls between is said twice, which does no harm.
    let receiver = run.output.live.subscribe();
    let first = standing(&run.output.retained).collect();
    let base = format!("{}/replay/{}/v1/{}", data.config.mqtt.root, run.name, shared.state.origin.site);
    stream(&shared, session, first, receiver, base)
}
