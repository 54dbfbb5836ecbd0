//! `/api/v1/cases`: incidents as people work on them. Nurses and engineers read, engineers act; nobody sees a case of a ward that
//! is not his.
//!
//! One contract: what is answered as done is in the journal's chain and in the store. A step that is refused says who was first.

use crate::case::{Act, Case, Item, Refused, Step, is_case_id};
use crate::config::Role;
use crate::shell::cases::acts::{self, No, OpenWish, Stepping, Who};
use crate::shell::cases::shown;
use crate::shell::cases::{self, Outcome, Place};
use crate::shell::data::Data;
use crate::shell::devices::Listing;
use crate::shell::journal::{self, Record};
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, json, problem, read_store};
use crate::shell::station_session::Session;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cases a page.
const PAGE_MAX: usize = 200;
/// The journal is looked through for so long.
pub(crate) const LOOK_FOR: Duration = Duration::from_secs(8);
/// So long is waited for the judging thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// A refused step as HTTP says it.
pub(crate) fn refusal(refused: &Refused) -> Response {
    let status = match refused {
        Refused::Unknown => StatusCode::NOT_FOUND,
        Refused::Malformed { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    };
    // The page says it in its own language: who, and when.
    let (by, at) = match refused {
        Refused::Closed(by) | Refused::Confirmed { by, .. } => (Some(by.user.as_str()), Some(by.at)),
        Refused::Stale { at, .. } => (None, Some(*at)),
        _ => (None, None),
    };
    let body = json!({
        "type": "about:blank", "title": status.canonical_reason().unwrap_or("Error"), "status": status.as_u16(),
        "detail": refused.to_string(), "code": refused.code(), "by": by, "at": at.map(|at| at.to_string()),
    });
    let mut response = json(status, body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

pub(crate) fn no(no: &No) -> Response {
    match no {
        No::Bad(why) => problem(StatusCode::BAD_REQUEST, why),
        No::NotFound(why) => problem(StatusCode::NOT_FOUND, why),
        No::Unavailable(why) => problem(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// Whether the session may see a case: of wards that it sees; one of no ward is for those who see all.
fn sees(session: &Session, case: &Case) -> bool {
    let beds = case.beds();
    session.wards().is_empty() || (!beds.is_empty() && beds.iter().all(|(ward, _)| session.sees(ward)))
}

/// The case, for those who may read it.
pub(crate) async fn seen(shared: &Shared, session: &Session, id: &str) -> Result<(Arc<Data>, Case), Box<Response>> {
    session.require(Role::Nurse)?;
    let unknown = || Box::new(problem(StatusCode::NOT_FOUND, "no such case"));
    if !is_case_id(id) {
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, "not a case id (C-…)")));
    }
    let data = shared.state.data.clone().ok_or_else(unknown)?;
    let wanted = id.to_owned();
    match read_store(shared, move |store| store.case(&wanted)).await? {
        Some(case) if sees(session, &case) => Ok((data, case)),
        _ => Err(unknown()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    state: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(shared): State<Shared>,
    session: Session,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if let Err(no) = session.require(Role::Nurse) {
        return no;
    }
    let Ok(Query(query)) = query else { return bad_query() };
    let open = match query.state.as_deref() {
        None | Some("all") => false,
        Some("open") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "state: open or all"),
    };
    let limit = query.limit.unwrap_or(PAGE_MAX);
    if limit == 0 || limit > PAGE_MAX {
        return problem(StatusCode::BAD_REQUEST, "limit: 1 to 200");
    }
    let Some(data) = shared.state.data.clone() else { return problem(StatusCode::SERVICE_UNAVAILABLE, "no cases here") };
    match read_store(&shared, move |store| store.cases(open, limit)).await {
        Ok(list) => {
            let shown: Vec<Value> = list
                .iter()
                .filter(|case| sees(&session, case))
                .map(|case| shown::short(case, &data.config.zone, now()))
                .collect();
            json(StatusCode::OK, json!({ "cases": shown }).to_string())
        }
        Err(no) => no,
    }
}

pub(crate) async fn one(State(shared): State<Shared>, session: Session, Path(id): Path<String>) -> Response {
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    match read_store(&shared, move |store| store.case_steps(&case.id).map(|steps| (case, steps))).await {
        Ok((case, steps)) => {
            let body = shown::whole(&case, &steps, &data.config.zone, now());
            json(StatusCode::OK, body.to_string())
        }
        Err(no) => no,
    }
}

/// What gathering needs, for work off the runtime.
pub(crate) struct Looking {
    pub data: Arc<Data>,
    pub devices: Option<Arc<Listing>>,
}

impl Looking {
    pub(crate) async fn begin(shared: &Shared, data: Arc<Data>) -> Looking {
        Looking { devices: shared.state.board.get(None).await, data }
    }
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            journal: self.data.journal.folder(),
            store: &self.data.store,
            config: &self.data.config,
            site_key: &self.data.site_key,
            oldest: self.data.journal.stats().oldest,
            devices: self.devices.as_deref(),
            until: Instant::now() + LOOK_FOR,
        }
    }
}

/// Stores acts in one piece and waits until the first and the last of them are applied. The last one's case; the first refusal.
pub(crate) async fn submit(shared: &Shared, data: &Data, acts: Vec<Act>) -> Result<Case, Response> {
    let unavailable = |why| problem(StatusCode::SERVICE_UNAVAILABLE, why);
    let Some(journal) = &shared.state.journal else { return Err(unavailable("nothing can be written here")) };
    let (Some(first), Some(last)) = (acts.first(), acts.last()) else { return Err(unavailable("nothing is to be done")) };
    let mut waits = Vec::new();
    for id in [&first.id, &last.id] {
        if waits.len() == 1 && first.id == last.id {
            continue;
        }
        let Some(wait) = data.case_answers.expect(id) else { return Err(unavailable("too many steps of cases wait")) };
        waits.push(wait);
    }
    let records = acts.into_iter().map(|act| Record::Case(Box::new(act))).collect();
    if journal.submit_many(records).await.is_err() {
        return Err(unavailable("the journal cannot be written: nothing was done"));
    }
    let mut done: Option<Case> = None;
    for wait in waits {
        let outcome: Outcome = match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(outcome)) => outcome,
            _ => return Err(unavailable("it is in the journal, and the judging thread does not answer: look again")),
        };
        match (outcome, &done) {
            (Ok(case), _) => done = Some(case),
            // What came with it was there already: the person's own step was taken.
            (Err(_), Some(_)) => {}
            (Err(refused), _) => return Err(refusal(&refused)),
        }
    }
    done.ok_or_else(|| problem(StatusCode::SERVICE_UNAVAILABLE, "the judging thread does not answer"))
}

fn answer(status: StatusCode, case: &Case, missing: &[String], zone: &str) -> Response {
    json(status, shown::answer(case, missing, zone, now()).to_string())
}

fn who(session: &Session) -> Who {
    Who { user: session.user().to_owned(), via: crate::case::Way::Web }
}

/// Opens a case and gathers what belongs to its alert.
pub(crate) async fn open(
    State(shared): State<Shared>,
    session: Session,
    body: Result<axum::Json<OpenWish>, axum::extract::rejection::JsonRejection>,
) -> Response {
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(axum::Json(wish)) = body else {
        return problem(StatusCode::BAD_REQUEST, "a JSON object is meant: alert (id or reference), title, minutes");
    };
    let Some(data) = shared.state.data.clone() else { return problem(StatusCode::SERVICE_UNAVAILABLE, "no cases here") };
    let looking = Looking::begin(&shared, Arc::clone(&data)).await;
    let who = who(&session);
    let opening = match blocking(&shared, move || acts::open(&looking.place(), &who, &wish, now())).await {
        Some(Ok(opening)) => opening,
        Some(Err(why)) => return no(&why),
        None => return problem(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be gathered"),
    };
    if !session.wards().is_empty() && (opening.wards.is_empty() || opening.wards.iter().any(|ward| !session.sees(ward))) {
        return problem(StatusCode::NOT_FOUND, "no such alert");
    }
    // Held before it is said: what retention has taken since the look is named by the bundle.
    let folder = data.journal.folder().to_owned();
    if let Some((first, last)) = opening.records
        && let Err(error) = journal::hold(&folder, &cases::hold_name(&opening.case), first, last)
    {
        return problem(
            StatusCode::INSUFFICIENT_STORAGE,
            &format!("what the case needs cannot be held, nothing was opened: {error}"),
        );
    }
    match submit(&shared, &data, opening.acts).await {
        Ok(case) => answer(StatusCode::CREATED, &case, &opening.missing, &data.config.zone),
        Err(refused) => {
            let id = opening.case.clone();
            let there = read_store(&shared, move |store| store.case(&id)).await;
            if matches!(there, Ok(None)) {
                let _ = journal::release(&folder, &cases::hold_name(&opening.case));
            }
            refused
        }
    }
}

/// Whether a user who is bound to wards may do this: an alert of a ward that is seen may come with all that the service has found
/// of it; anything else must name its ward.
fn may_add(session: &Session, stepping: &Stepping) -> bool {
    match &stepping.ward {
        Some(ward) => session.sees(ward),
        None => stepping.acts.iter().all(|act| may_add_alone(session, &act.step)),
    }
}

fn may_add_alone(session: &Session, step: &Step) -> bool {
    match step {
        Step::Add { item: Item::Range { ward, .. } } => session.sees(ward),
        Step::Add { item: Item::Messages { .. } | Item::SpotCheck { .. } | Item::Action { .. } | Item::Device { .. } } => {
            session.wards().is_empty()
        }
        _ => true,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepBody {
    expect: Option<u32>,
    step: Value,
}

pub(crate) async fn step(
    State(shared): State<Shared>,
    session: Session,
    Path(id): Path<String>,
    body: Result<axum::Json<StepBody>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(axum::Json(body)) = body else {
        return problem(StatusCode::BAD_REQUEST, "a JSON object is meant: expect (the version you saw), step");
    };
    let looking = Looking::begin(&shared, Arc::clone(&data)).await;
    let (who, expect, wish) = (who(&session), body.expect, body.step);
    let made = blocking(&shared, move || acts::step(&looking.place(), &who, &case, expect, &wish, now())).await;
    let stepping = match made {
        Some(Ok(stepping)) => stepping,
        Some(Err(why)) => return no(&why),
        None => return problem(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be gathered"),
    };
    if !may_add(&session, &stepping) {
        return problem(StatusCode::NOT_FOUND, "nothing of that name in the wards that you see");
    }
    match submit(&shared, &data, stepping.acts).await {
        Ok(case) => answer(StatusCode::OK, &case, &stepping.missing, &data.config.zone),
        Err(refused) => refused,
    }
}

/// The fields that an operator may set, the kinds that can be confirmed, the forms.
pub(crate) async fn forms(session: Session) -> Response {
    if let Err(no) = session.require(Role::Nurse) {
        return no;
    }
    let fields: Vec<_> = crate::dossier::fields().iter().filter(|field| field.is_settable()).collect();
    let kinds: Vec<_> = crate::dossier::Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let forms: Vec<Value> = crate::dossier::Form::ALL
        .iter()
        .map(|form| {
            let def = crate::dossier::form(*form);
            json!({ "id": form.as_str(), "title": def.title, "addressee": def.addressee, "condition": def.condition })
        })
        .collect();
    json(StatusCode::OK, json!({ "fields": fields, "kinds": kinds, "forms": forms }).to_string())
}
