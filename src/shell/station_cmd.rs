//! `POST /api/v1/cmd/{verb}`: commands of people at the page.
//!
//! One contract: the user is the session's, whatever the body says; what the role or the wards of the user do not allow is answered
//! like a command that was refused (`response/1`), and never seen by the judging thread.

use crate::command::{Refusal, Refused, Response as Answer, VERBS, Via, is_alert_id, request_id_of};
use crate::document;
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem, read_store};
use crate::shell::station_session::Session;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// Where a command acts, as far as it says so.
#[derive(Default, Deserialize)]
struct Place {
    alert: Option<String>,
    ward: Option<String>,
    scope: Option<String>,
}

pub(crate) async fn command(State(shared): State<Shared>, session: Session, Path(verb): Path<String>, body: Bytes) -> Response {
    let Some(commands) = shared.state.commands.clone() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "no command is taken here");
    };
    let refusal = if VERBS.contains(&verb.as_str()) && !session.may(&verb) {
        Some(Refusal::Forbidden)
    } else {
        match in_sight(&shared, &session, &body).await {
            Ok(true) => None,
            // Like one that is not there: what a user does not see, it does not learn of.
            Ok(false) => Some(Refusal::NotFound),
            Err(response) => return response,
        }
    };
    if let Some(refusal) = refusal {
        let refused = Refused { refusal, request_id: request_id_of(&body) };
        let answer = Answer::refused(&refused, &verb, session.user(), now());
        return document_of(&document::response(&shared.state.origin, &answer));
    }
    document_of(&commands.run(&verb, session.user(), Via::Web, &body).await.document)
}

fn document_of(document: &[u8]) -> Response {
    json(StatusCode::OK, String::from_utf8_lossy(document).into_owned())
}

/// Whether what a command acts on lies in a ward that the user may see.
async fn in_sight(shared: &Shared, session: &Session, body: &[u8]) -> Result<bool, Response> {
    if session.wards().is_empty() {
        return Ok(true);
    }
    let place: Place = serde_json::from_slice(body).unwrap_or_default();
    if [place.ward, place.scope].into_iter().flatten().any(|ward| !session.sees(&ward)) {
        return Ok(false);
    }
    let Some(alert) = place.alert.filter(|alert| is_alert_id(alert)) else { return Ok(true) };
    let row = read_store(shared, move |store| store.alert(&alert)).await?;
    // An alert that the store does not have yet, nobody has seen yet.
    Ok(row.is_some_and(|row| session.sees(&row.ward)))
}
