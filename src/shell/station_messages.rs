//! `/api/v1/messages/{raw}`: a message as it was received, identities masked, the doubted field marked. The whole of it is for
//! engineers, and written down.

use crate::config::Role;
use crate::document::is_alert_id;
use crate::shell::data::Data;
use crate::shell::journal::{Entry, Record, number_of, read_named};
use crate::shell::marked::{Doubt, TEXT_BYTES_MAX, segments};
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, json, problem};
use crate::shell::station_audit as audit;
use crate::shell::station_session::Session;
use crate::shell::store::AlertReader;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The alert whose evidence is marked.
    alert: Option<String>,
    /// `1`: unmasked.
    full: Option<u8>,
}

pub(crate) async fn get(
    State(shared): State<Shared>,
    session: Session,
    Path(raw): Path<String>,
    query: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(wish)) = query else { return bad_query() };
    if wish.alert.as_deref().is_some_and(|id| !is_alert_id(id)) {
        return problem(StatusCode::BAD_REQUEST, "alert: not an alert id");
    }
    let whole = match wish.full {
        None | Some(0) => false,
        Some(1) => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "full: 0 or 1"),
    };
    if whole && let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    if number_of(&raw).is_none() {
        return problem(StatusCode::BAD_REQUEST, "a message is named by feed and number (icu-gw1.184213)");
    }
    let unknown = || problem(StatusCode::NOT_FOUND, "no such message, or it is not kept any more");
    let Some(data) = shared.state.data.clone() else { return unknown() };
    let (wanted, alert, limited) = (raw.clone(), wish.alert, !session.wards().is_empty());
    let found = blocking(&shared, move || find(&data, &wanted, alert.as_deref())).await;
    let Some(Some((entry, doubt))) = found else { return unknown() };
    // Whose message it is, only an alert of a ward tells.
    if limited && !(session.sees(&doubt.ward) && !doubt.ward.is_empty() && !doubt.evidence.is_empty()) {
        return unknown();
    }
    if whole && let Err(no) = audit::note(&shared, &session, "message", &raw).await {
        return *no;
    }
    let (source, payload) = match &entry.stamped.record {
        Record::Frame { source, payload } => (source, payload),
        Record::Fragment { source, payload, .. } => (source, payload),
        _ => return unknown(),
    };
    let (segments, truncated, id) = segments(payload, &doubt, whole);
    let text = (whole && segments.is_empty())
        .then(|| String::from_utf8_lossy(&payload[..payload.len().min(TEXT_BYTES_MAX)]).into_owned());
    let body = json!({
        "raw": raw, "feed": source.feed, "received": entry.stamped.at.to_string(), "msg_id": id, "bytes": payload.len(),
        "segments": segments, "text": text, "masked": !whole, "truncated": truncated,
    });
    json(StatusCode::OK, body.to_string())
}

/// The record, if it is kept and of that feed, and what the alert says of it.
fn find(data: &Data, raw: &str, alert: Option<&str>) -> Option<(Entry, Doubt)> {
    let entry = match read_named(data.journal.folder(), raw) {
        Ok(entry) => entry?,
        Err(error) => {
            tracing::warn!(%error, "http: a record of the journal cannot be read");
            return None;
        }
    };
    let doubt = alert.and_then(|alert| Doubt::of(&AlertReader::open(&data.store).ok()?, alert, raw));
    Some((entry, doubt.unwrap_or_default()))
}
