//! Who looked at what: written before it is shown, into the journal's chain, and read by engineers.

use crate::config::Role;
use crate::shell::journal::{Looked, Record};
use crate::shell::station::Shared;
use crate::shell::station_alerts::attachment;
use crate::shell::station_api::{bad_query, json, problem, with_store};
use crate::shell::station_session::Session;
use crate::shell::store::StoreError;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

/// Lines a page, without and with a wish.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Writes that somebody looks at something; durable when it returns. What cannot be written down is not shown.
pub(crate) async fn note(shared: &Shared, session: &Session, action: &str, object: &str) -> Result<(), Box<Response>> {
    let refuse =
        || Box::new(problem(StatusCode::SERVICE_UNAVAILABLE, "it cannot be written down who looks at this: nothing is shown"));
    let journal = shared.state.journal.as_ref().ok_or_else(refuse)?;
    let looked = Looked::new(session.user(), "web", action, object);
    journal.submit(Record::Audit(looked)).await.map(|_| ()).map_err(|_| refuse())
}

/// Writes what happened to a session. It goes on where that cannot be written: on a full disk somebody must get in.
pub(crate) async fn event(shared: &Shared, looked: Looked) {
    let Some(journal) = shared.state.journal.as_ref() else { return };
    if journal.submit(Record::Audit(looked)).await.is_err() {
        tracing::warn!("the audit of a session could not be written");
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    format: Option<String>,
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
    let format = query.format.as_deref().unwrap_or("json").to_owned();
    if !matches!(format.as_str(), "json" | "csv" | "dicom") {
        return problem(StatusCode::BAD_REQUEST, "format: json, csv or dicom");
    }
    if format != "json"
        && let Err(no) = note(&shared, &session, "audit", &format).await
    {
        return *no;
    }
    let site = shared.state.origin.site.clone();
    with_store(&shared, move |store| {
        let rows = store.audit(query.cursor, limit)?;
        if format == "csv" {
            let body = crate::shell::audit::csv(&rows).map_err(|error| StoreError::Io(std::io::Error::other(error)))?;
            return Ok((attachment("text/csv; charset=utf-8", "audit.csv"), body).into_response());
        }
        if format == "dicom" {
            let body: String = rows.iter().map(|row| crate::shell::audit::dicom(row, &site) + "\n").collect();
            return Ok((attachment("application/xml; charset=utf-8", "audit.xml.txt"), body).into_response());
        }
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.number);
        Ok(json(StatusCode::OK, json!({ "audit": rows, "cursor": next }).to_string()))
    })
    .await
}
