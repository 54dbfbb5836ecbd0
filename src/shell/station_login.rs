//! `/api/v1/session`: who am I, log in, log out.

use crate::config::{LANGUAGES, Role, VERBS};
use crate::shell::journal::Looked;
use crate::shell::retained::Kind;
use crate::shell::station::{Peer, Shared};
use crate::shell::station_api::{json, problem};
use crate::shell::station_audit as audit;
use crate::shell::station_session::{COOKIE, NoLogin, Proof, Session, unknown};
use crate::shell::station_tunnel::Tunnel;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    user: String,
    password: String,
}

pub(crate) async fn get(State(shared): State<Shared>, session: Option<Extension<Session>>) -> Response {
    match session {
        Some(Extension(session)) => json(StatusCode::OK, described(&shared, &session)),
        None => {
            // The form shows where one logs in.
            let site = serde_json::json!({
                "type": "about:blank",
                "title": "Unauthorized",
                "status": 401,
                "detail": "log in first",
                "site": shared.state.origin.site,
                "languages": LANGUAGES,
                "language": shared.state.config.http.language,
            });
            let mut response = unknown();
            *response.body_mut() = site.to_string().into();
            response
        }
    }
}

fn described(shared: &Shared, session: &Session) -> String {
    let config = &shared.state.config;
    let ends = shared.sessions.left(session).and_then(|left| jiff::SignedDuration::try_from(left).ok());
    let ends = ends.and_then(|left| jiff::Timestamp::now().checked_add(left).ok());
    let tolerances: serde_json::Map<_, _> =
        config.checks.spot_check.tolerances().into_iter().map(|(p, value)| (p.key().to_owned(), value.into())).collect();
    let mut body = serde_json::json!({
        "user": session.user(),
        "role": session.role(),
        "verbs": VERBS.iter().filter(|verb| session.may(verb)).collect::<Vec<_>>(),
        "csrf": session.csrf(),
        "auth": match session.proof() { Proof::Local => "local", Proof::Cookie => "password", Proof::Bearer => "token" },
        "site": shared.state.origin.site,
        "root": config.mqtt.root,
        "languages": LANGUAGES,
        "language": config.http.language,
        "build": super::station_about::BUILD,
        "version": shared.state.version,
        "names": session.role() >= Role::Nurse,
        "tolerances": tolerances,
        "wards": wards(shared, session),
        // A browser holds no key to check a signature with: behind a broker that needs one it is fed by the service itself.
        "mqtt": shared.state.tunnel.is_some() && config.mqtt.sign.is_none(),
        // Cases are told to those who see all wards; what an external broker lets through, it decides itself.
        "case_events": session.role() >= Role::Nurse
            && session.wards().is_empty()
            && !matches!(shared.state.tunnel, Some(Tunnel::External { .. })),
    });
    if let Some(ends) = ends {
        body["expires"] = format!("{ends:.3}").into();
    }
    if let Some(phone) = &config.http.phone {
        body["phone"] = phone.as_str().into();
    }
    body.to_string()
}

/// The wards that the session may see, each with its beds in the order in which the ward shows them.
fn wards(shared: &Shared, session: &Session) -> Vec<serde_json::Value> {
    #[derive(Deserialize)]
    struct Part {
        ward: String,
        part: u32,
        beds: Vec<Bed>,
    }
    #[derive(Deserialize)]
    struct Bed {
        bed: String,
    }
    let mut parts = BTreeMap::new();
    for (_, document) in shared.state.retained.all() {
        if document.kind != Kind::Ward {
            continue;
        }
        let Ok(part) = serde_json::from_slice::<Part>(&document.payload) else { continue };
        if session.sees(&part.ward) && !part.ward.starts_with('_') {
            parts.insert((part.ward, part.part), part.beds);
        }
    }
    let mut wards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((ward, _), beds) in parts {
        let ids = beds.into_iter().map(|bed| bed.bed).filter(|bed| !bed.starts_with('_'));
        wards.entry(ward).or_default().extend(ids);
    }
    wards.into_iter().map(|(ward, beds)| serde_json::json!({ "ward": ward, "beds": beds })).collect()
}

pub(crate) async fn post(
    State(shared): State<Shared>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Result<Json<Login>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Ok(Json(login)) = body else { return problem(StatusCode::BAD_REQUEST, "a JSON object is meant: user, password") };
    if !shared.sessions.has_users() {
        return problem(StatusCode::UNAUTHORIZED, "no users are configured");
    }
    let from = peer.ip().to_canonical().to_string();
    let logged_in = shared.sessions.login(peer.ip(), &login.user, &login.password);
    if let Err(no) = &logged_in {
        let user = if shared.sessions.knows_user(&login.user) { login.user.as_str() } else { "unknown" };
        let result = if matches!(no, NoLogin::Wait(_)) { "wait" } else { "refused" };
        if let Some(looked) = shared.sessions.refusals.admit(Looked::new(user, "web", "login", &from).refused(result)) {
            audit::event(&shared, looked).await;
        }
    }
    match logged_in {
        Ok((session, id)) => {
            // An id that somebody had before is never the id of somebody else.
            let left = shared.sessions.logout(&headers);
            shared.save_sessions().await;
            if let Some(user) = left {
                audit::event(&shared, Looked::new(&user, "web", "logout", &from)).await;
            }
            audit::event(&shared, Looked::new(session.user(), "web", "login", &from)).await;
            let body = described(&shared, &session);
            with_cookie(&shared, json(StatusCode::OK, body), &id, None)
        }
        Err(NoLogin::Wrong) => problem(StatusCode::UNAUTHORIZED, "user or password is wrong"),
        Err(NoLogin::NoRandom) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random bytes"),
        Err(NoLogin::Wait(wait)) => {
            let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords: wait");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            response
        }
    }
}

pub(crate) async fn delete(
    State(shared): State<Shared>,
    _session: Session,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Some(user) = shared.sessions.logout(&headers) {
        // Before the audit, which may have to wait for the journal: who has left stays out.
        shared.save_sessions().await;
        let from = peer.ip().to_canonical().to_string();
        audit::event(&shared, Looked::new(&user, "web", "logout", &from)).await;
    }
    with_cookie(&shared, StatusCode::NO_CONTENT.into_response(), "", Some(0))
}

fn with_cookie(shared: &Shared, mut response: Response, id: &str, max_age_s: Option<u32>) -> Response {
    let secure = if shared.secure { "; Secure" } else { "" };
    let age = max_age_s.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    if let Ok(value) = HeaderValue::from_str(&format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
