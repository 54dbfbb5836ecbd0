//! Who looked at what: written before it is shown, into the journal's chain, and read by engineers.

use crate::config::Role;
use crate::shell::journal::{Looked, Record};
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, json, problem, with_store};
use crate::shell::station_session::Session;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

/// Longest object that is written, characters.
const OBJECT_CHARS_MAX: usize = 500;
/// Lines a page, without and with a wish.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Writes that somebody looks at something; durable when it returns. What cannot be written down is not shown.
pub(crate) async fn note(shared: &Shared, session: &Session, action: &str, object: &str) -> Result<(), Box<Response>> {
    let refuse =
        || Box::new(problem(StatusCode::SERVICE_UNAVAILABLE, "it cannot be written down who looks at this: nothing is shown"));
    let journal = shared.state.journal.as_ref().ok_or_else(refuse)?;
    let looked = Looked {
        id: format!("a-{}", uuid::Uuid::now_v7().simple()),
        user: session.user().to_owned(),
        action: action.to_owned(),
        object: object.chars().filter(|c| !c.is_control()).take(OBJECT_CHARS_MAX).collect(),
    };
    journal.submit(Record::Audit(looked)).await.map(|_| ()).map_err(|_| refuse())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<i64>,
}

/// The audit, newest first.
pub(crate) async fn list(
    State(shared): State<Shared>,
    session: Session,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(Query(query)) = query else { return bad_query() };
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return problem(StatusCode::BAD_REQUEST, "limit: 1 to 1000");
    }
    with_store(&shared, move |store| {
        let rows = store.audit(query.cursor, limit)?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.number);
        Ok(json(StatusCode::OK, json!({ "audit": rows, "cursor": next }).to_string()))
    })
    .await
}
