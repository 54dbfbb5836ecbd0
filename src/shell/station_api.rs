//! The resources below `/api/v1`: state from `Retained`, alerts from the store.

use crate::document::{is_alert_id, is_slug};
use crate::shell::retained::{Document, Kind};
use crate::shell::station::Shared;
use crate::shell::store::{AlertFilter, AlertReader, AlertRow, StoreError};
use crate::time::Timestamp;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Alerts a page, without and with a wish.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

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
fn state(shared: &Shared, wanted: impl Fn(&str, &Document) -> bool) -> Response {
    let all = shared.state.retained.all();
    let chosen: Vec<_> = all.iter().filter(|(topic, d)| !d.payload.is_empty() && wanted(topic, d)).collect();
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

pub(crate) async fn state_all(State(shared): State<Shared>) -> Response {
    let all = shared.state.retained.all();
    if all.is_empty() {
        return json(StatusCode::OK, format!("{{\"documents\":[],\"hash\":\"{}\"}}", state_hash(std::iter::empty())));
    }
    state(&shared, |_, _| true)
}

pub(crate) async fn state_ward(State(shared): State<Shared>, Path(ward): Path<String>) -> Response {
    if !is_slug(&ward, 32) {
        return problem(StatusCode::BAD_REQUEST, "a ward is a slug");
    }
    let prefix = format!("ward/{ward}/");
    state(&shared, |topic, _| topic.starts_with(&prefix))
}

pub(crate) async fn state_bed(State(shared): State<Shared>, Path((ward, bed)): Path<(String, String)>) -> Response {
    if !is_slug(&ward, 32) || !is_slug(&bed, 64) {
        return problem(StatusCode::BAD_REQUEST, "ward and bed are slugs");
    }
    let wanted = format!("ward/{ward}/bed/{bed}/state");
    state(&shared, |topic, _| topic == wanted)
}

pub(crate) async fn feeds(State(shared): State<Shared>) -> Response {
    let all = shared.state.retained.all();
    let feeds: Vec<String> = all
        .iter()
        .filter(|(_, d)| d.kind == Kind::Feed && !d.payload.is_empty())
        .map(|(_, d)| String::from_utf8_lossy(&d.payload).into_owned())
        .collect();
    json(StatusCode::OK, format!("{{\"feeds\":[{}]}}", feeds.join(",")))
}

/// Query of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    from: Option<String>,
    to: Option<String>,
    ward: Option<String>,
    bed: Option<String>,
    priority: Option<String>,
    assessment: Option<String>,
    condition: Option<String>,
    state: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    format: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<AlertFilter, &'static str> {
        let instant = |text: Option<String>, name: &'static str| -> Result<Option<Timestamp>, &'static str> {
            let Some(text) = text else { return Ok(None) };
            let at: jiff::Timestamp = text.parse().map_err(|_| name)?;
            Ok(Some(Timestamp::from_ms(at.as_millisecond())))
        };
        let before = match self.cursor.as_deref() {
            None => None,
            Some(cursor) => {
                let parsed = cursor.split_once('.').and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
                Some(parsed.ok_or("cursor: not one of ours")?)
            }
        };
        Ok(AlertFilter {
            from: instant(self.from, "from: not an RFC 3339 time")?,
            to: instant(self.to, "to: not an RFC 3339 time")?,
            ward: self.ward,
            bed: self.bed,
            priority: self.priority,
            assessment: self.assessment,
            condition: self.condition,
            state: self.state,
            reference: self.reference,
            before,
        })
    }
}

pub(crate) async fn alerts(
    State(shared): State<Shared>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return problem(StatusCode::BAD_REQUEST, "the query has an unknown or wrong member") };
    let format = query.format.clone().unwrap_or_else(|| "json".to_owned());
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return problem(StatusCode::BAD_REQUEST, "limit: 1 to 1000");
    }
    let filter = match query.filter() {
        Ok(filter) => filter,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, detail),
    };
    match format.as_str() {
        "json" => {
            with_store(&shared, move |store| {
                let rows = store.list(&filter, limit)?;
                Ok(json(StatusCode::OK, list_json(&rows, limit)))
            })
            .await
        }
        "csv" => {
            with_store(&shared, move |store| {
                let rows = store.list(&filter, limit)?;
                Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], list_csv(&rows)).into_response())
            })
            .await
        }
        "jsonl" => {
            with_store(&shared, move |store| {
                // In the order in which they happened, as a replay writes them.
                let mut events = Vec::new();
                for row in store.list(&filter, limit)? {
                    events.append(&mut store.numbered_events(&row.id)?);
                }
                events.sort_unstable_by_key(|(number, _)| *number);
                let mut body = Vec::new();
                for (_, event) in &events {
                    body.extend_from_slice(event);
                    body.push(b'\n');
                }
                Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
            })
            .await
        }
        _ => problem(StatusCode::BAD_REQUEST, "format: json, jsonl or csv"),
    }
}

fn list_json(rows: &[AlertRow], limit: usize) -> String {
    let list: Vec<_> = rows.iter().map(|row| String::from_utf8_lossy(&row.json)).collect();
    let mut body = format!("{{\"alerts\":[{}]", list.join(","));
    if rows.len() == limit
        && let Some(last) = rows.last()
    {
        body.push_str(&format!(",\"cursor\":\"{}.{}\"", last.raised.ms(), last.number));
    }
    body.push('}');
    body
}

fn list_csv(rows: &[AlertRow]) -> String {
    let mut body = String::from("id,ref,ward,bed,condition,assessment,priority,state,onset,raised,updated\r\n");
    for row in rows {
        let cells = [
            row.id.clone(),
            row.reference.clone(),
            row.ward.clone(),
            row.bed.clone(),
            row.condition.clone(),
            row.assessment.clone(),
            row.priority.clone(),
            row.state.clone(),
            row.onset.to_string(),
            row.raised.to_string(),
            row.updated.to_string(),
        ];
        let cells: Vec<String> = cells.into_iter().map(|cell| csv_cell(&cell)).collect();
        body.push_str(&cells.join(","));
        body.push_str("\r\n");
    }
    body
}

/// Quoted where RFC 4180 wants it; what a spreadsheet would take for a formula gets an apostrophe.
fn csv_cell(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@', '\t']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

pub(crate) async fn alert(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if !is_alert_id(&id) {
        return problem(StatusCode::BAD_REQUEST, "not an alert id");
    }
    with_store(&shared, move |store| {
        Ok(match store.alert(&id)? {
            Some(row) => json(StatusCode::OK, String::from_utf8_lossy(&row.json).into_owned()),
            None => problem(StatusCode::NOT_FOUND, "no such alert"),
        })
    })
    .await
}

pub(crate) async fn alert_events(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    if !is_alert_id(&id) {
        return problem(StatusCode::BAD_REQUEST, "not an alert id");
    }
    with_store(&shared, move |store| {
        let events = store.events(&id)?;
        if events.is_empty() {
            return Ok(problem(StatusCode::NOT_FOUND, "no such alert"));
        }
        let list: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event)).collect();
        Ok(json(StatusCode::OK, format!("{{\"events\":[{}]}}", list.join(","))))
    })
    .await
}

/// Runs a query where it may block, a bounded number at a time.
async fn with_store<F>(shared: &Shared, query: F) -> Response
where
    F: FnOnce(&AlertReader) -> Result<Response, StoreError> + Send + 'static,
{
    let Ok(place) = shared.readers.clone().acquire_owned().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "shutting down");
    };
    let path = shared.state.store.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let _place = place;
        query(&AlertReader::open(&path)?)
    })
    .await;
    match answer {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::warn!(%error, "http: the store cannot be read");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the query failed"),
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

    #[test]
    fn a_csv_cell_is_quoted_and_never_a_formula() {
        assert_eq!(csv_cell("T03 flat_line"), "T03 flat_line");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_cell("=1+1"), "'=1+1");
    }
}
