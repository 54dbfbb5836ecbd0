//! What leaves a case as a file, and what comes in as one: bundles, drafts, captures.
//!
//! One contract: a bundle is written down as a step, with its SHA-256, before its first byte is sent. One is made at a time; who
//! asks again meanwhile waits, and who asks too early is told to ask again.

use crate::case::{Act, CAPTURE_BYTES_MAX, Case, Item, Step};
use crate::config::Role;
use crate::dossier::{Form, Language};
use crate::shell::cases::acts::Who;
use crate::shell::cases::bundle::{ExportError, Wish};
use crate::shell::cases::export::{self, Making};
use crate::shell::cases::shown;
use crate::shell::cases::{self, Place, drafts};
use crate::shell::data::Data;
use crate::shell::make_folder;
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, json, problem};
use crate::shell::station_cases::{Looking, refusal, seen, submit};
use crate::shell::station_session::Session;
use crate::shell::store::AlertReader;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use std::io::{Read, Seek as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A request waits so long for its bundle, then asks again.
const WAIT_FOR: Duration = Duration::from_secs(10);
/// A bundle that nobody fetches goes after this time.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// What a bundle needs is looked for so long: what is not found by then is missing in it, and it says so.
const LOOK_FOR: Duration = Duration::from_secs(600);
/// One that is not made by then is given up, and another one may be asked for.
const MADE_WITHIN: Duration = Duration::from_secs(3_600);
/// Largest bundle that is given out over HTTP, bytes.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

/// User, case, identified.
type Key = (String, String, bool);

enum Stage {
    Running,
    Made(Box<Made>),
    Failed(StatusCode, String),
}

struct Made {
    name: String,
    sha256: String,
    file: tempfile::NamedTempFile,
    act: Act,
}

struct Order {
    key: Key,
    /// Tells one order from the next one of the same key.
    began: Instant,
    /// When its stage began.
    since: Instant,
    stage: Stage,
}

impl Order {
    fn is_over(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        age >= if matches!(self.stage, Stage::Running) { MADE_WITHIN } else { KEPT_FOR }
    }
}

/// What the desk says to somebody who asks.
enum Look {
    Busy,
    Wait,
    /// It is to be made: the order is written down with the time of asking.
    Begin,
    Made(Box<Made>),
    Failed(StatusCode, String),
}

/// The one bundle that is being made, or waits to be fetched.
#[derive(Default)]
pub struct Desk {
    order: Mutex<Option<Order>>,
    done: Notify,
}

impl Desk {
    fn look(&self, key: &Key, now: Instant) -> Look {
        let mut order = self.order.lock();
        // A bundle of long ago is not what is asked for now, whoever asks.
        if order.as_ref().is_some_and(|order| order.is_over(now)) {
            *order = None;
        }
        match order.take() {
            Some(other) if other.key != *key => {
                *order = Some(other);
                Look::Busy
            }
            Some(Order { stage: Stage::Made(made), .. }) => Look::Made(made),
            Some(Order { stage: Stage::Failed(status, why), .. }) => Look::Failed(status, why),
            Some(running) => {
                *order = Some(running);
                Look::Wait
            }
            None => {
                *order = Some(Order { key: key.clone(), began: now, since: now, stage: Stage::Running });
                Look::Begin
            }
        }
    }
    /// It has ended; an order that was given up meanwhile is not there any more.
    fn end(&self, began: Instant, stage: Stage, now: Instant) {
        if let Some(order) = self.order.lock().as_mut().filter(|order| order.began == began) {
            (order.stage, order.since) = (stage, now);
        }
        self.done.notify_waiters();
    }
    /// Nobody has fetched it.
    fn clear(&self, began: Instant) {
        let mut order = self.order.lock();
        if order.as_ref().is_some_and(|order| order.began == began) {
            *order = None;
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleQuery {
    identified: Option<u8>,
}

pub(crate) async fn bundle(
    State(shared): State<Shared>,
    session: Session,
    Path(id): Path<String>,
    query: Result<Query<BundleQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    let identified = match query.identified {
        None | Some(0) => false,
        Some(1) => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "identified: 0 or 1"),
    };
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let key: Key = (session.user().to_owned(), id, identified);
    let until = Instant::now() + WAIT_FOR;
    loop {
        let done = data.exports.done.notified();
        tokio::pin!(done);
        // Registered before the look, so that no end is missed.
        done.as_mut().enable();
        let began = Instant::now();
        match data.exports.look(&key, began) {
            Look::Busy => return busy(),
            Look::Wait => {}
            // On its own: it is made whether or not the one who asked stays.
            Look::Begin => {
                let who = Who { user: session.user().to_owned(), via: crate::case::Way::Web };
                tokio::spawn(run(shared.clone(), Arc::clone(&data), case.clone(), identified, began, who));
            }
            Look::Made(made) => return give(&shared, &data, *made).await,
            Look::Failed(status, why) => return problem(status, &why),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || tokio::time::timeout(left, done).await.is_err() {
            let mut response = json(StatusCode::ACCEPTED, "{\"status\":\"running\"}".to_owned());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            return response;
        }
    }
}

fn busy() -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "another bundle is being made, or waits to be fetched");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Makes one on a thread of its own; its end is told, and what nobody fetches goes.
async fn run(shared: Shared, data: Arc<Data>, case: Case, identified: bool, began: Instant, who: Who) {
    let looking = Looking::begin(&shared, Arc::clone(&data)).await;
    let made = tokio::task::spawn_blocking(move || match make(&looking, &case, identified, &who) {
        Ok(made) => Stage::Made(Box::new(made)),
        Err(error) => {
            tracing::warn!(%error, case = case.id, "a bundle was not made");
            let status = match &error {
                ExportError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Stage::Failed(status, format!("{error}: nothing was exported, the case is as it was"))
        }
    });
    let panicked = |_| Stage::Failed(StatusCode::INTERNAL_SERVER_ERROR, "the bundle cannot be made".into());
    data.exports.end(began, made.await.unwrap_or_else(panicked), Instant::now());
    tokio::time::sleep(KEPT_FOR).await;
    data.exports.clear(began);
}

fn make(looking: &Looking, case: &Case, identified: bool, who: &Who) -> Result<Made, ExportError> {
    let data = &looking.data;
    let steps = AlertReader::open(&data.store)?.case_steps(&case.id)?;
    let folder = data.config.data.join("cases");
    make_folder(&folder).map_err(ExportError::Io)?;
    let checkpoint = match data.journal.checkpoint() {
        Ok(checkpoint) => Some(checkpoint),
        Err(error) => {
            tracing::warn!(%error, "the journal's head cannot be signed for a bundle");
            None
        }
    };
    let wish = Wish { identified, made_by: who.user.clone(), made_at: now() };
    let place = Place { until: Instant::now() + LOOK_FOR, ..looking.place() };
    let making = Making {
        place: &place,
        data: &data.config.data,
        case,
        steps: &steps,
        signer: &data.signer,
        checkpoint,
        config_hash: &data.config_hash,
        wish: &wish,
    };
    let (built, file) = export::make(&making, &folder)?;
    let act = export::step(who, case, identified, &built);
    Ok(Made { name: export::name(case, identified), sha256: built.sha256, file, act })
}

/// Takes it down, then sends it.
async fn give(shared: &Shared, data: &Arc<Data>, made: Made) -> Response {
    let Made { name, sha256, mut file, act } = made;
    let read = blocking(shared, move || {
        let file = file.as_file_mut();
        file.rewind()?;
        let mut bytes = Vec::new();
        Read::take(file, BUNDLE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    });
    let bytes = match read.await {
        Some(Ok(bytes)) if bytes.len() as u64 <= BUNDLE_BYTES_MAX => bytes,
        Some(Ok(_)) => {
            let why = "the bundle is larger than 256 MiB: vitalguard incident export on the data folder makes it";
            return problem(StatusCode::INSUFFICIENT_STORAGE, why);
        }
        _ => return problem(StatusCode::SERVICE_UNAVAILABLE, "the bundle cannot be read: nothing was exported"),
    };
    if let Err(refused) = submit(shared, data, vec![act]).await {
        return refused;
    }
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::ETAG, format!("\"{sha256}\"")),
    ];
    (headers, bytes).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftQuery {
    lang: Option<String>,
    format: Option<String>,
}

fn language(shared: &Shared, wish: Option<&str>) -> Option<Language> {
    let configured = shared.state.data.as_ref().map_or("en", |data| data.config.http.language.as_str());
    Language::parse(wish.unwrap_or(configured))
}

/// A form, filled from what is known.
pub(crate) async fn draft(
    State(shared): State<Shared>,
    session: Session,
    Path((id, form)): Path<(String, String)>,
    query: Result<Query<DraftQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    let Some(language) = language(&shared, query.lang.as_deref()) else {
        return problem(StatusCode::BAD_REQUEST, "lang: en or it");
    };
    let format = query.format.unwrap_or_else(|| "html".into());
    if !matches!(format.as_str(), "html" | "json" | "csv") {
        return problem(StatusCode::BAD_REQUEST, "format: html, json or csv");
    }
    let Some(form) = Form::parse(&form) else {
        return problem(StatusCode::NOT_FOUND, "no such form: /api/v1/cases/forms lists them");
    };
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let looking = Looking::begin(&shared, data).await;
    let user = session.user().to_owned();
    let made = blocking(&shared, move || {
        let place = looking.place();
        let found = drafts::found(&place, &case)?;
        Ok::<_, crate::shell::store::StoreError>(drafts::draft(&place, &case, &found, form, language, &user, now()))
    });
    let draft = match made.await {
        Some(Ok(draft)) => draft,
        Some(Err(error)) => {
            tracing::warn!(%error, "http: a draft cannot be made");
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read now");
        }
        None => return problem(StatusCode::INTERNAL_SERVER_ERROR, "the draft cannot be made"),
    };
    match format.as_str() {
        "json" => json(StatusCode::OK, draft.json().to_string()),
        "csv" => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], draft.csv()).into_response(),
        _ => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], draft.html()).into_response(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChecklistQuery {
    lang: Option<String>,
}

/// The sheet for home.
pub(crate) async fn checklist(
    State(shared): State<Shared>,
    _session: Session,
    query: Result<Query<ChecklistQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else { return bad_query() };
    let Some(language) = language(&shared, query.lang.as_deref()) else {
        return problem(StatusCode::BAD_REQUEST, "lang: en or it");
    };
    let config = Arc::clone(&shared.state.config);
    let page = blocking(&shared, move || {
        crate::shell::advisories::load(&config).map(|advisories| crate::dossier::checklist(language, &advisories))
    });
    match page.await {
        Some(Ok(page)) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "the advisory data cannot be read"),
    }
}

/// A capture's file into the case's folder, and its digest into the case.
pub(crate) async fn capture(
    State(shared): State<Shared>,
    session: Session,
    Path((id, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    // Read only from those who may.
    let Ok(body) = Bytes::from_request(request, &shared).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "a capture is at most 64 MiB");
    };
    let sha256 = crate::alert::hex(&<sha2::Sha256 as sha2::Digest>::digest(&body));
    let item = Item::Capture { name: name.clone(), sha256, bytes: body.len() as u64 };
    let step = Step::Add { item };
    // What the case would refuse is not copied.
    let act = Who { user: session.user().to_owned(), via: crate::case::Way::Web }.act(&case.id, None, step);
    if let Err(refused) = case.clone().apply(&act, u64::MAX, now()) {
        return refusal(&refused);
    }
    let folder = cases::captures_of(&data.config.data, &case.id);
    let kept = folder.join(&name);
    let is_new = match blocking(&shared, move || keep_capture(&folder, &name, &body)).await {
        Some(Ok(is_new)) => is_new,
        Some(Err(error)) => {
            tracing::warn!(%error, "http: a capture cannot be kept");
            return problem(StatusCode::INSUFFICIENT_STORAGE, "the capture cannot be kept: nothing was added");
        }
        None => return problem(StatusCode::INTERNAL_SERVER_ERROR, "the capture cannot be kept"),
    };
    match submit(&shared, &data, vec![act]).await {
        Ok(case) => json(StatusCode::OK, shown::answer(&case, &[], &data.config.zone, now()).to_string()),
        Err(refused) => {
            // Where it may still be taken (503) the file is needed.
            if is_new && refused.status().is_client_error() {
                let _ = blocking(&shared, move || std::fs::remove_file(kept)).await;
            }
            refused
        }
    }
}

/// Whole or not at all; a file of that name that is there already stays as it is. Whether there was none.
pub(crate) fn keep_capture(folder: &std::path::Path, name: &str, bytes: &[u8]) -> std::io::Result<bool> {
    make_folder(folder)?;
    let mut file = tempfile::Builder::new().prefix(export::CAPTURE).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(folder.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            let same = std::fs::read(folder.join(name)).is_ok_and(|there| there == bytes);
            if same { Ok(false) } else { Err(error.error) }
        }
        Err(error) => Err(error.error),
    }
}

/// The largest body of a capture.
pub(crate) fn capture_limit() -> axum::extract::DefaultBodyLimit {
    axum::extract::DefaultBodyLimit::max(usize::try_from(CAPTURE_BYTES_MAX).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Stage {
        let step = Step::Export { bundle: "b.zip".into(), identified: true, sha256: "0".repeat(64) };
        let act = Who { user: "eng".into(), via: crate::case::Way::Web }.act("C-20260107T030405678Z-00ff", None, step);
        let file = tempfile::NamedTempFile::new().unwrap();
        Stage::Made(Box::new(Made { name: "b.zip".into(), sha256: "0".repeat(64), file, act }))
    }

    #[test]
    fn a_bundle_of_long_ago_is_made_anew_and_its_file_goes() {
        let (desk, key, other): (_, Key, Key) =
            (Desk::default(), ("eng".into(), "C".into(), true), ("other".into(), "C".into(), true));
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(matches!(desk.look(&key, at(0)), Look::Begin));
        assert!(matches!(desk.look(&key, at(1)), Look::Wait));
        assert!(matches!(desk.look(&other, at(1)), Look::Busy));
        let stage = made();
        let Stage::Made(one) = &stage else { panic!("made") };
        let file = one.file.path().to_owned();
        desk.end(at(0), stage, at(60));
        assert!(matches!(desk.look(&other, at(179)), Look::Busy) && file.exists());
        assert!(matches!(desk.look(&key, at(180)), Look::Begin), "not what was made two minutes ago");
        assert!(!file.exists());
        // Fetched in time, once.
        desk.end(at(180), made(), at(190));
        assert!(matches!(desk.look(&key, at(309)), Look::Made(_)));
        assert!(matches!(desk.look(&key, at(310)), Look::Begin));
        // What never ends does not keep the desk busy for ever, and its late end is not the next one's.
        assert!(matches!(desk.look(&other, at(310 + 3_600)), Look::Begin));
        desk.end(at(310), made(), at(4_000));
        assert!(matches!(desk.look(&other, at(4_000)), Look::Wait));
        desk.clear(at(310));
        assert!(matches!(desk.look(&other, at(4_001)), Look::Wait));
    }
}
