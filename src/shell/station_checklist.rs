//! `/api/v1/checklist`: the sheet for home, to be printed. No patient data stands on it.

use crate::dossier::{Language, checklist};
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, problem};
use crate::shell::station_session::Session;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    lang: Option<String>,
}

pub(crate) async fn get(
    State(shared): State<Shared>,
    _session: Session,
    query: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(wish)) = query else { return bad_query() };
    let Some(data) = shared.state.data.clone() else { return problem(StatusCode::SERVICE_UNAVAILABLE, "no advisory data here") };
    let Some(language) = Language::parse(wish.lang.as_deref().unwrap_or(&data.config.http.language)) else {
        return problem(StatusCode::BAD_REQUEST, "lang: en or it");
    };
    // A site's own file is read as it stands now.
    match blocking(&shared, move || crate::shell::advisories::load(&data.config).map(|known| checklist(language, &known))).await {
        Some(Ok(html)) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Some(Err(error)) => {
            tracing::warn!(%error, "http: the checklist cannot be written");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the advisory data cannot be read now")
        }
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "the checklist cannot be written"),
    }
}
