//! `POST /api/v1/cmd/{verb}`: commands of people at the page.
//!
//! One contract: the user is the session's, whatever the body says; what the role or the wards of the user do not allow is answered
//! like a command that was refused (`response/1`), and never seen by the judging thread.

use crate::command::{Refusal, Response as Answer, Via};
use crate::document::{self, is_slug, parse_command};
use crate::shell::journal::Record;
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem};
use crate::shell::station_session::Session;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

pub(crate) async fn command(State(shared): State<Shared>, session: Session, Path(verb): Path<String>, body: Bytes) -> Response {
    let refused = |refusal: Option<Refusal>, request_id: String, alert: Option<String>| {
        let verb = if is_slug(&verb, 32) { verb.clone() } else { "unknown".into() };
        let answer =
            Answer { request_id, user: session.user.clone(), verb, refusal, alert, alert_state: None, rev: None, at: now() };
        let document = document::response(&shared.state.origin, &answer);
        json(StatusCode::OK, String::from_utf8_lossy(&document).into_owned())
    };
    let command = match parse_command(&session.user, &verb, &body, false, Via::Web) {
        Ok(command) if session.may(&verb) => command,
        Ok(command) => return refused(Some(Refusal::Forbidden), command.request_id, None),
        Err(why) => return refused(Some(why.refusal), why.request_id.unwrap_or_default(), None),
    };
    let Some(journal) = shared.state.journal.clone() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "nothing can be decided here");
    };
    let request_id = command.request_id.clone();
    if journal.submit(Record::Command(command)).await.is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be written: nothing was decided");
    }
    refused(None, request_id, None)
}
