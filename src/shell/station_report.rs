//! `/api/v1/alerts/{id}/report`: one alert on paper, with the links of the journal's chain that its evidence stands on.

use crate::config::Role;
use crate::shell::data::Data;
use crate::shell::journal::{Entry, Record, read_named};
use crate::shell::marked::{Doubt, segments};
use crate::shell::report_page::{Course, Link, Page, write};
use crate::shell::station::Shared;
use crate::shell::station_api::{self, bad_query, blocking, problem};
use crate::shell::station_audit as audit;
use crate::shell::station_explain::seen;
use crate::shell::station_session::Session;
use crate::shell::store::{AlertReader, AlertRow, StoreError};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Records of the journal that are looked up at most, and for so long: each may lie in a segment of its own.
const RECORDS_MAX: usize = 8;
const LOOK_FOR: Duration = Duration::from_secs(6);
/// Events shown at most.
const EVENTS_MAX: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    lang: Option<String>,
}

pub(crate) async fn get(
    State(shared): State<Shared>,
    session: Session,
    Path(id): Path<String>,
    query: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(wish)) = query else { return bad_query() };
    let italian = match wish.lang.as_deref() {
        None => shared.state.data.as_ref().is_some_and(|data| data.config.http.language == "it"),
        Some("en") => false,
        Some("it") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "lang: en or it"),
    };
    let (data, row) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = audit::note(&shared, &session, "report", &id).await {
        return *no;
    }
    let (version, site) = (shared.state.version.clone(), shared.state.origin.site.clone());
    // Comments may name a patient: they are for those who may ask for names.
    let comments = session.role() >= Role::Nurse;
    let user = session.user().to_owned();
    let written = blocking(&shared, move || {
        page(&data, &row, italian, comments, Page { version, site, user, ..Page::default() }).map(|page| write(&page))
    });
    match written.await {
        Some(Ok(html)) => station_api::page(html),
        Some(Err(error)) => {
            tracing::warn!(%error, "http: a report cannot be written");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read now")
        }
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "the report cannot be written"),
    }
}

fn page(data: &Data, row: &AlertRow, italian: bool, comments: bool, begun: Page) -> Result<Page, StoreError> {
    let store = AlertReader::open(&data.store)?;
    let events: Vec<Value> = store.events(&row.id)?.iter().filter_map(|json| serde_json::from_slice(json).ok()).collect();
    let alert: Value = serde_json::from_slice(&row.json).unwrap_or_default();
    let stats = data.journal.stats();
    let mut page = Page {
        italian,
        zone: jiff::tz::TimeZone::get(&data.config.zone).unwrap_or(jiff::tz::TimeZone::UTC),
        made_at: crate::shell::publisher::now().to_string(),
        head: (stats.records, crate::alert::hex(&stats.head)),
        events_left_out: events.len().saturating_sub(EVENTS_MAX),
        comments: if comments { Some(store.comments(&row.id)?) } else { None },
        ..begun
    };
    // The messages: first those of the alert as it stands, then those of its raise and of what followed.
    let mut raws: Vec<String> = Vec::new();
    for alert in std::iter::once(&alert).chain(events.iter().map(|event| &event["alert"])) {
        for raw in alert["evidence"].as_array().into_iter().flatten().filter_map(|e| e["raw"].as_str()) {
            if !raws.iter().any(|known| known == raw) && raws.len() < RECORDS_MAX {
                raws.push(raw.to_owned());
            }
        }
    }
    let until = Instant::now() + LOOK_FOR;
    for raw in raws {
        let look = || read_named(data.journal.folder(), &raw).ok().flatten();
        let entry = if Instant::now() < until { look() } else { None };
        let entry = entry.filter(|entry| matches!(entry.stamped.record, Record::Frame { .. }));
        page.links.push(link(&store, &row.id, raw, entry));
    }
    page.course = events.iter().take(EVENTS_MAX).map(course).collect();
    page.alert = alert;
    Ok(page)
}

fn course(event: &Value) -> Course {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Course {
        seq: event["seq"].as_u64().unwrap_or_default(),
        at: text(&event["ts"]),
        event: text(&event["event"]),
        priority: text(&event["alert"]["priority"]),
        state: text(&event["alert"]["state"]),
        by: text(&event["by"]["user"]),
        via: text(&event["by"]["via"]),
    }
}

fn link(store: &AlertReader, alert: &str, raw: String, entry: Option<Entry>) -> Link {
    let Some(entry) = entry else { return Link { raw, ..Link::default() } };
    let doubt = Doubt::of(store, alert, &raw).unwrap_or_default();
    let mut shown = Vec::new();
    if let Record::Frame { payload, .. } = &entry.stamped.record {
        // The header, and the rows that are spoken of.
        let all = segments(payload, &doubt, false).0;
        shown = all.into_iter().filter(|s| s["name"] == "MSH" || s["marks"].as_array().is_some_and(|m| !m.is_empty())).collect();
    }
    Link {
        raw,
        received: entry.stamped.at.to_string(),
        segment: entry.segment,
        offset: entry.offset,
        hash: crate::alert::hex(&entry.hash),
        boot: entry.boot,
        shown,
    }
}
