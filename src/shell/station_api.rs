//! The resources below `/api/v1`: state from `Retained`, schemas, and what all of them share.

use crate::config::Role;
use crate::document::is_slug;
use crate::shell::retained::{Document, Kind};
use crate::shell::station::Shared;
use crate::shell::station_session::Session;
use crate::shell::store::{AlertReader, StoreError};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An error as RFC 9457 wants it.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// A page that stands alone.
pub(crate) fn page(html: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// The names of the schemas and where they are.
pub(crate) async fn schemas() -> Response {
    let list: Vec<_> = super::schemas::SCHEMAS
        .iter()
        .map(|(name, _)| serde_json::json!({ "name": name, "href": format!("/api/v1/schemas/{name}.json") }))
        .collect();
    json(StatusCode::OK, serde_json::json!({ "schemas": list }).to_string())
}

/// One schema.
pub(crate) async fn schema(Path(name): Path<String>) -> Response {
    match super::schemas::schema(&name) {
        Some(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/schema+json")], text).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such schema"),
    }
}

/// The description of this API.
pub(crate) const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Paths, their parameters and answers.
pub(crate) async fn openapi() -> Response {
    json(StatusCode::OK, OPENAPI.to_owned())
}

/// Topics and their documents.
pub(crate) async fn asyncapi() -> Response {
    json(StatusCode::OK, super::schemas::asyncapi().to_owned())
}

/// `sha256:` + 16 hex over, for each bed document in the order of topics, `ward/bed` TAB trust TAB open alert ids in order, joined
/// by commas, LF: what a snapshot over MQTT must give too.
pub fn state_hash<'a>(documents: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    #[derive(Deserialize)]
    struct Bed {
        ward: String,
        bed: String,
        trust: String,
        active: Vec<Open>,
    }
    #[derive(Deserialize)]
    struct Open {
        id: String,
    }
    let mut beds: Vec<(&str, Bed)> =
        documents.filter_map(|(topic, payload)| Some((topic, serde_json::from_slice(payload).ok()?))).collect();
    beds.sort_by(|a, b| a.0.cmp(b.0));
    let mut hash = Sha256::new();
    for (_, bed) in beds {
        let mut ids: Vec<String> = bed.active.into_iter().map(|open| open.id).collect();
        ids.sort();
        hash.update(format!("{}/{}\t{}\t{}\n", bed.ward, bed.bed, bed.trust, ids.join(",")));
    }
    format!("sha256:{}", crate::alert::hex(&hash.finalize()[..8]))
}

/// `{"documents":[{"topic":…,"payload":…}],"hash":…}`; the payloads byte for byte as published.
fn state(shared: &Shared, session: &Session, wanted: impl Fn(&str, &Document) -> bool) -> Response {
    let all = shared.state.retained.all();
    let seen = |topic: &str| match topic.split('/').collect::<Vec<_>>().as_slice() {
        ["ward", ward, ..] => session.sees(ward),
        // A case may be of any ward.
        ["case", ..] => session.role() >= Role::Nurse && session.wards().is_empty(),
        _ => true,
    };
    let chosen: Vec<_> = all.iter().filter(|(topic, d)| !d.payload.is_empty() && seen(topic) && wanted(topic, d)).collect();
    if chosen.is_empty() {
        return problem(StatusCode::NOT_FOUND, "nothing is known under this name");
    }
    let beds = chosen.iter().filter(|(_, d)| matches!(d.kind, Kind::Bed | Kind::BedWithAlerts));
    let hash = state_hash(beds.map(|(topic, d)| (topic.as_str(), &d.payload[..])));
    let mut body = String::from("{\"documents\":[");
    for (place, (topic, document)) in chosen.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        body.push_str(&format!("{comma}{{\"topic\":\"{topic}\",\"payload\":{}}}", String::from_utf8_lossy(&document.payload)));
    }
    body.push_str(&format!("],\"hash\":\"{hash}\"}}"));
    json(StatusCode::OK, body)
}

pub(crate) async fn state_all(State(shared): State<Shared>, session: Session) -> Response {
    let all = shared.state.retained.all();
    if all.is_empty() {
        return json(StatusCode::OK, format!("{{\"documents\":[],\"hash\":\"{}\"}}", state_hash(std::iter::empty())));
    }
    state(&shared, &session, |_, _| true)
}

pub(crate) async fn state_ward(State(shared): State<Shared>, session: Session, Path(ward): Path<String>) -> Response {
    if !is_slug(&ward, 32) {
        return problem(StatusCode::BAD_REQUEST, "a ward is a slug");
    }
    let prefix = format!("ward/{ward}/");
    state(&shared, &session, |topic, _| topic.starts_with(&prefix))
}

pub(crate) async fn state_bed(
    State(shared): State<Shared>,
    session: Session,
    Path((ward, bed)): Path<(String, String)>,
) -> Response {
    if !is_slug(&ward, 32) || !is_slug(&bed, 64) {
        return problem(StatusCode::BAD_REQUEST, "ward and bed are slugs");
    }
    let wanted = format!("ward/{ward}/bed/{bed}/state");
    state(&shared, &session, |topic, _| topic == wanted)
}

/// The answer to a query string that is none of ours.
pub(crate) fn bad_query() -> Response {
    problem(StatusCode::BAD_REQUEST, "the query has an unknown or wrong member")
}

/// Work that reads files, where it may block, a bounded number at a time; `None`: it failed. The place is kept until it is done,
/// also when nobody waits for it any more.
pub(crate) async fn blocking<T: Send + 'static>(shared: &Shared, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let place = std::sync::Arc::clone(&shared.readers).acquire_owned().await.ok()?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.ok()
}

/// Runs a query of the store.
pub(crate) async fn with_store<F>(shared: &Shared, query: F) -> Response
where
    F: FnOnce(&AlertReader) -> Result<Response, StoreError> + Send + 'static,
{
    read_store(shared, query).await.unwrap_or_else(|refused| refused)
}

/// The same for what is no answer yet.
pub(crate) async fn read_store<T, F>(shared: &Shared, query: F) -> Result<T, Response>
where
    T: Send + 'static,
    F: FnOnce(&AlertReader) -> Result<T, StoreError> + Send + 'static,
{
    let path = shared.state.store.clone();
    match blocking(shared, move || query(&AlertReader::open(&path)?)).await {
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) => {
            tracing::warn!(%error, "http: the store cannot be read");
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read now"))
        }
        None => Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "the query failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_documents_or_alerts() {
        let a = ("ward/icu/bed/A01/state", br#"{"ward":"icu","bed":"A01","trust":"plausible","active":[]}"#.as_slice());
        let b = (
            "ward/icu/bed/A03/state",
            br#"{"ward":"icu","bed":"A03","trust":"untrusted","active":[{"id":"A-2"},{"id":"A-1"}]}"#.as_slice(),
        );
        let swapped = (b.0, br#"{"ward":"icu","bed":"A03","trust":"untrusted","active":[{"id":"A-1"},{"id":"A-2"}]}"#.as_slice());
        let other = (b.0, br#"{"ward":"icu","bed":"A03","trust":"plausible","active":[{"id":"A-1"},{"id":"A-2"}]}"#.as_slice());
        assert_eq!(state_hash([a, b].into_iter()), state_hash([swapped, a].into_iter()));
        assert_ne!(state_hash([a, b].into_iter()), state_hash([a, other].into_iter()));
    }
}
