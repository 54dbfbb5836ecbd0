//! `POST /api/v1/cmd/{verb}`: commands of people at the page.
//!
//! One contract: the user is the session's, whatever the body says; what the role does not allow is answered like a command that was
//! refused (`response/1`), and never seen by the judging thread, which knows the user's wards.

use crate::command::{Refusal, Refused, Response as Answer, VERBS, request_id_of};
use crate::document;
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem};
use crate::shell::station_session::Session;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

pub(crate) async fn command(State(shared): State<Shared>, session: Session, Path(verb): Path<String>, body: Bytes) -> Response {
    let Some(commands) = shared.state.commands.clone() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "no command is taken here");
    };
    if VERBS.contains(&verb.as_str()) && !session.may(&verb) {
        let refused = Refused { refusal: Refusal::Forbidden, request_id: request_id_of(&body) };
        let answer = Answer::refused(&refused, &verb, session.user(), now());
        return document_of(&document::response(&shared.state.origin, &answer));
    }
    document_of(&commands.run(&verb, session.user(), session.wards(), &body).await.document)
}

fn document_of(document: &[u8]) -> Response {
    json(StatusCode::OK, String::from_utf8_lossy(document).into_owned())
}
