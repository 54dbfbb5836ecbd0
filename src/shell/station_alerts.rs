//! `/api/v1/alerts`: which alerts there were, as JSON, as the events themselves (JSON Lines), for a spreadsheet (CSV),
//! or as FHIR R4.

use crate::config::Role;
use crate::document::{is_alert_id, is_slug};
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, json, problem, with_store};
use crate::shell::station_audit as audit;
use crate::shell::station_session::Session;
use crate::shell::store::{AlertFilter, AlertReader, AlertRow, Comment, StoreError};
use crate::time::Timestamp;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

/// Alerts a page, without and with a wish.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

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
    /// A state, or `open` for all but `cleared`.
    state: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    format: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl ListQuery {
    fn filter(self, session: &Session) -> Result<AlertFilter, &'static str> {
        let instant = |text: Option<String>, name: &'static str| -> Result<Option<Timestamp>, &'static str> {
            let Some(text) = text else { return Ok(None) };
            let at: jiff::Timestamp = text.parse().map_err(|_| name)?;
            Ok(Some(Timestamp::from_ms(at.as_millisecond())))
        };
        let word = |text: Option<String>, known: &[&str], name: &'static str| match text {
            Some(text) if !known.contains(&text.as_str()) => Err(name),
            text => Ok(text),
        };
        for (text, bytes_max, name) in [(&self.ward, 32, "ward: not a slug"), (&self.bed, 64, "bed: not a slug")] {
            if text.as_ref().is_some_and(|text| !is_slug(text, bytes_max)) {
                return Err(name);
            }
        }
        let before = match self.cursor.as_deref() {
            None => None,
            Some(cursor) => {
                let parsed = cursor.split_once('.').and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
                Some(parsed.ok_or("cursor: not one of ours")?)
            }
        };
        let state =
            word(self.state, &["active", "acknowledged", "shelved", "latched", "cleared", "open"], "state: not a word of ours")?;
        Ok(AlertFilter {
            from: instant(self.from, "from: not an RFC 3339 time")?,
            to: instant(self.to, "to: not an RFC 3339 time")?,
            ward: self.ward,
            bed: self.bed,
            priority: word(self.priority, &["high", "medium", "low", "info"], "priority: not a word of ours")?,
            assessment: word(
                self.assessment,
                &["tamper", "identity", "artefact", "unit", "silence", "physiology", "advisory", "unverified"],
                "assessment: not a word of ours",
            )?,
            condition: self.condition,
            open: state.as_deref() == Some("open"),
            state: state.filter(|state| state != "open"),
            reference: self.reference.map(|reference| reference.to_ascii_uppercase()),
            wards: session.wards().to_vec(),
            before,
        })
    }
}

pub(crate) async fn list(
    State(shared): State<Shared>,
    session: Session,
    uri: Uri,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    let format = query.format.clone().unwrap_or_else(|| "json".to_owned());
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return problem(StatusCode::BAD_REQUEST, "limit: 1 to 1000");
    }
    let filter = match query.filter(&session) {
        Ok(filter) => filter,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, detail),
    };
    // What people write may hold a name: it is for those who may ask for names.
    let words = session.role() >= Role::Nurse;
    if matches!(format.as_str(), "csv" | "jsonl" | "fhir")
        && let Err(no) = audit::note(&shared, &session, "export", uri.query().unwrap_or("all")).await
    {
        return *no;
    }
    match format.as_str() {
        "json" => with_store(&shared, move |store| as_json(store, &filter, limit, words)).await,
        "csv" => with_store(&shared, move |store| as_csv(store, &filter, limit, words)).await,
        "jsonl" => with_store(&shared, move |store| as_lines(store, &filter, limit)).await,
        "fhir" => {
            let more = uri.query().unwrap_or_default().split('&').filter(|part| !part.starts_with("cursor="));
            let path = format!("{}?{}", uri.path(), more.collect::<Vec<_>>().join("&"));
            with_store(&shared, move |store| as_fhir(store, &filter, limit, &path)).await
        }
        _ => problem(StatusCode::BAD_REQUEST, "format: json, jsonl, csv or fhir"),
    }
}

/// An alert as the store has it, with who acted on it last and what was written about it.
fn with_people(store: &AlertReader, row: &AlertRow, words: bool) -> Result<Value, StoreError> {
    let mut alert: Value = serde_json::from_slice(&row.json).unwrap_or_default();
    if let Some(by) = ["acked", "shelved"].iter().find_map(|key| alert[*key]["user"].as_str()).map(str::to_owned) {
        alert["by"] = by.into();
    }
    if words {
        let comments = store.comments(&row.id)?;
        if let Some(last) = comments.last() {
            alert["comment"] = last.text.as_str().into();
        }
        let list = comments
            .into_iter()
            .map(|Comment { at, user, text, .. }| json!({ "at": at.to_string(), "user": user, "text": text }));
        alert["comments"] = list.collect::<Vec<_>>().into();
    }
    Ok(alert)
}

/// Where the next page begins; `None`: this was the last.
fn next(rows: &[AlertRow], limit: usize) -> Option<String> {
    rows.last().filter(|_| rows.len() == limit).map(|last| format!("{}.{}", last.raised.ms(), last.number))
}

fn as_json(store: &AlertReader, filter: &AlertFilter, limit: usize, words: bool) -> Result<Response, StoreError> {
    let rows = store.list(filter, limit)?;
    let alerts = rows.iter().map(|row| with_people(store, row, words)).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({ "alerts": alerts });
    if let Some(next) = next(&rows, limit) {
        body["next"] = next.into();
    }
    Ok(json(StatusCode::OK, body.to_string()))
}

/// The events of the alerts, in the order in which they happened, as a replay writes them.
fn as_lines(store: &AlertReader, filter: &AlertFilter, limit: usize) -> Result<Response, StoreError> {
    let mut events = Vec::new();
    for row in store.list(filter, limit)? {
        events.append(&mut store.numbered_events(&row.id)?);
    }
    events.sort_unstable_by_key(|(number, _)| *number);
    let mut body = Vec::new();
    for (_, event) in &events {
        body.extend_from_slice(event);
        body.push(b'\n');
    }
    Ok((attachment("application/jsonl", "alerts.jsonl"), body).into_response())
}

/// As FHIR R4; `path`: this request without its cursor. An alert of another version of the program that cannot be read is left
/// out.
fn as_fhir(store: &AlertReader, filter: &AlertFilter, limit: usize, path: &str) -> Result<Response, StoreError> {
    let rows = store.list(filter, limit)?;
    let next = next(&rows, limit).map(|cursor| format!("{path}&cursor={cursor}"));
    Ok(fhir_of(&rows, next.as_deref()))
}

fn fhir_of(rows: &[AlertRow], next: Option<&str>) -> Response {
    let alerts: Vec<_> = rows.iter().filter_map(|row| serde_json::from_slice(&row.json).ok()).collect();
    let now = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    let body = crate::document::fhir::bundle(&alerts, now, next).to_string();
    ([(header::CONTENT_TYPE, "application/fhir+json; fhirVersion=4.0")], body).into_response()
}

const COLUMNS: [&str; 17] = [
    "id",
    "ref",
    "ward",
    "bed",
    "condition",
    "assessment",
    "priority",
    "state",
    "onset",
    "raised",
    "updated",
    "ended",
    "params",
    "confidence",
    "text",
    "by",
    "comment",
];

fn as_csv(store: &AlertReader, filter: &AlertFilter, limit: usize, words: bool) -> Result<Response, StoreError> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let io = |error: csv::Error| StoreError::Io(std::io::Error::other(error));
    csv.write_record(COLUMNS).map_err(io)?;
    for row in store.list(filter, limit)? {
        let alert = with_people(store, &row, words)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let params: Vec<_> = alert["params"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let comments = alert["comments"].as_array().into_iter().flatten();
        let comments: Vec<_> = comments.map(|comment| text(&comment["text"])).collect();
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
            text(&alert["ended"]),
            params.join(" "),
            alert["confidence"].as_f64().map_or_else(String::new, |value| value.to_string()),
            text(&alert["text"]["en"]),
            text(&alert["by"]),
            comments.join(" | "),
        ];
        csv.write_record(cells.iter().map(|cell| harmless(cell).into_owned())).map_err(io)?;
    }
    let body = csv.into_inner().map_err(|error| StoreError::Io(std::io::Error::other(error.to_string())))?;
    Ok((attachment("text/csv; charset=utf-8; header=present", "alerts.csv"), body).into_response())
}

pub(crate) fn attachment(kind: &'static str, name: &str) -> [(header::HeaderName, String); 2] {
    [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))]
}

/// What a spreadsheet would take for a formula gets an apostrophe, wherever a cell could begin again.
fn harmless(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.trim_start().starts_with(['=', '+', '-', '@', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
        || cell.starts_with(['\t', '\r', '\n'])
    {
        format!("'{cell}").into()
    } else {
        cell.into()
    }
}

/// Query of one alert.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneQuery {
    format: Option<String>,
}

pub(crate) async fn one(
    State(shared): State<Shared>,
    session: Session,
    Path(id): Path<String>,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    if !is_alert_id(&id) {
        return problem(StatusCode::BAD_REQUEST, "not an alert id");
    }
    let fhir = match query.format.as_deref() {
        None | Some("json") => false,
        Some("fhir") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "format: json or fhir"),
    };
    if fhir && let Err(no) = audit::note(&shared, &session, "export", &id).await {
        return *no;
    }
    let words = session.role() >= Role::Nurse;
    with_store(&shared, move |store| {
        Ok(match store.alert(&id)?.filter(|row| session.sees(&row.ward)) {
            Some(row) if fhir => fhir_of(&[row], None),
            Some(row) => json(StatusCode::OK, with_people(store, &row, words)?.to_string()),
            None => problem(StatusCode::NOT_FOUND, "no such alert"),
        })
    })
    .await
}

pub(crate) async fn events(State(shared): State<Shared>, session: Session, Path(id): Path<String>) -> Response {
    if !is_alert_id(&id) {
        return problem(StatusCode::BAD_REQUEST, "not an alert id");
    }
    with_store(&shared, move |store| {
        let seen = store.alert(&id)?.is_some_and(|row| session.sees(&row.ward));
        let events = if seen { store.events(&id)? } else { Vec::new() };
        if events.is_empty() {
            return Ok(problem(StatusCode::NOT_FOUND, "no such alert"));
        }
        let list: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event)).collect();
        Ok(json(StatusCode::OK, format!("{{\"events\":[{}]}}", list.join(","))))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        assert_eq!(harmless("T03 flat_line"), "T03 flat_line");
        assert_eq!(harmless(""), "");
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "|calc", "\u{ff1d}1"] {
            assert_eq!(harmless(bad), format!("'{bad}"));
        }
    }
}
