//! `/api/v1/trends/{ward}/{bed}`: what a bed's charts are drawn from.

use crate::document::is_slug;
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, json, problem};
use crate::shell::station_session::Session;
use crate::shell::store::{AlertReader, AlertRow, BUCKET_MS, StoreError};
use crate::shell::trends::POINTS_MAX;
use crate::time::Timestamp;
use crate::vital::Parameter;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

/// Without a wish: the last hour.
const WINDOW_MS: i64 = 3_600_000;
/// Longest window, ms: 31 days.
const WINDOW_MS_MAX: i64 = 31 * 86_400_000;
/// Steps where no width is asked for: about one for two pixels of a wide chart.
const STEPS: i64 = 720;
/// Alerts in one answer at most, newest first.
const ALERTS_MAX: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// Keys, joined by commas; absent: all that were heard.
    params: Option<String>,
    /// ms since 1970.
    from: Option<i64>,
    to: Option<i64>,
    /// Width of a step, seconds.
    step: Option<i64>,
}

/// What is asked for, made whole.
struct Window {
    params: Vec<Parameter>,
    from: Timestamp,
    to: Timestamp,
    step_ms: i64,
}

impl Wish {
    fn window(self, now: Timestamp) -> Result<Window, &'static str> {
        let mut params = Vec::new();
        for key in self.params.as_deref().unwrap_or_default().split(',').filter(|key| !key.is_empty()) {
            params.push(Parameter::from_key(key).ok_or("params: a key that is none")?);
        }
        let to = self.to.unwrap_or(now.ms());
        let from = self.from.unwrap_or(to.saturating_sub(WINDOW_MS));
        let width =
            to.checked_sub(from).filter(|w| (0..=WINDOW_MS_MAX).contains(w)).ok_or("from, to: ms since 1970, at most 31 days")?;
        let step_ms = match self.step {
            None => (width / STEPS).max(1),
            Some(step) if (1..=86_400).contains(&step) => step * 1_000,
            Some(_) => return Err("step: 1 to 86400 seconds"),
        };
        // Whole buckets, and not more steps than one answer holds.
        let step_ms = buckets(step_ms.max(width / (POINTS_MAX - 1)));
        Ok(Window { params, from: Timestamp::from_ms(from), to: Timestamp::from_ms(to), step_ms })
    }
}

/// So many whole buckets that a width fits in, at least one; ms.
fn buckets(width_ms: i64) -> i64 {
    ((width_ms + BUCKET_MS - 1) / BUCKET_MS).max(1) * BUCKET_MS
}

pub(crate) async fn get(
    State(shared): State<Shared>,
    session: Session,
    Path((ward, bed)): Path<(String, String)>,
    query: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if !is_slug(&ward, 32) || !is_slug(&bed, 64) {
        return problem(StatusCode::BAD_REQUEST, "ward and bed are slugs");
    }
    let Ok(Query(wish)) = query else { return bad_query() };
    let window = match wish.window(crate::shell::publisher::now()) {
        Ok(window) => window,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, detail),
    };
    let Some(data) = shared.state.data.clone().filter(|_| session.sees(&ward)) else {
        return problem(StatusCode::NOT_FOUND, "nothing is known under this name");
    };
    let read = blocking(&shared, move || {
        let series = data.trends.read(&ward, &bed, &window.params, window.from, window.to, window.step_ms)?;
        let alerts = AlertReader::open(&data.store)?.between(&ward, &bed, window.from, window.to, ALERTS_MAX)?;
        let mut object = serde_json::Map::new();
        object.insert("from".into(), json!(window.from.ms()));
        object.insert("to".into(), json!(window.to.ms()));
        object.extend(series.to_json());
        object.insert("alerts".into(), alerts.iter().map(mark).collect());
        Ok::<_, StoreError>(Value::Object(object).to_string())
    });
    match read.await {
        Some(Ok(body)) => json(StatusCode::OK, body),
        Some(Err(error)) => {
            tracing::warn!(%error, "http: histories cannot be read");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the histories cannot be read now")
        }
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "the histories cannot be read"),
    }
}

/// An alert as a stretch of a chart, times in ms since 1970.
fn mark(row: &AlertRow) -> Value {
    let alert: Value = serde_json::from_slice(&row.json).unwrap_or_default();
    let ended =
        alert["ended"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_millisecond);
    json!({
        "id": row.id, "params": alert["params"], "onset": row.onset.ms(), "ended": ended, "priority": row.priority,
        "assessment": row.assessment, "condition": row.condition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_made_whole_and_bounded() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        let window = Wish::default().window(now).unwrap();
        assert_eq!((window.to.since_s(window.from), window.step_ms), (3_600.0, 5_000));
        let day = Wish { from: Some(now.ms() - 86_400_000), ..Wish::default() }.window(now).unwrap();
        assert_eq!(day.step_ms, 120_000);
        let fine = Wish { from: Some(now.ms() - 86_400_000), step: Some(1), ..Wish::default() }.window(now).unwrap();
        assert!(86_400_000 / fine.step_ms <= POINTS_MAX);
        for bad in [
            Wish { from: Some(now.ms() + 1), ..Wish::default() },
            Wish { params: Some("hr,x".into()), ..Wish::default() },
            Wish { from: Some(i64::MIN), ..Wish::default() },
            Wish { step: Some(0), ..Wish::default() },
        ] {
            assert!(bad.window(now).is_err());
        }
    }
}
