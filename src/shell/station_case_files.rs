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
use crate::shell::cases::{self, drafts};
use crate::shell::publisher::now;
use crate::shell::station::Shared;
use crate::shell::station_api::{bad_query, blocking, json, problem};
use crate::shell::station_cases::{Looking, clocks, seen, submit};
use crate::shell::station_session::Session;
use crate::shell::store::AlertReader;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use std::io::{Read, Seek as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A request waits so long for its bundle, then asks again.
const WAIT_FOR: Duration = Duration::from_secs(10);
/// A bundle that nobody fetches goes after this time.
const KEPT_FOR: Duration = Duration::from_secs(120);
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

/// The one bundle that is being made, or waits to be fetched.
#[derive(Default)]
pub struct Desk {
    state: Mutex<Option<(Key, Instant, Stage)>>,
    done: Notify,
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
        let made = {
            let mut state = data.exports.state.lock();
            match &*state {
                Some((of, at, making)) if *of != key => {
                    if matches!(making, Stage::Running) || at.elapsed() < KEPT_FOR {
                        return busy();
                    }
                    *state = None;
                    None
                }
                Some((_, _, Stage::Running)) => None,
                Some(_) => state.take(),
                None => None,
            }
        };
        match made {
            Some((_, _, Stage::Made(made))) => return give(&shared, &data, *made).await,
            Some((_, _, Stage::Failed(status, why))) => return problem(status, &why),
            Some((_, _, Stage::Running)) | None => {}
        }
        let begins = {
            let mut state = data.exports.state.lock();
            let begins = state.is_none();
            if begins {
                *state = Some((key.clone(), Instant::now(), Stage::Running));
            }
            begins
        };
        if begins {
            let looking = Looking::begin(&shared, Arc::clone(&data)).await;
            begin(looking, case.clone(), key.clone(), Who { user: session.user().to_owned(), via: crate::case::Way::Web });
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

/// Starts one on a thread of its own; its end is told.
fn begin(looking: Looking, case: Case, key: Key, who: Who) {
    let data = Arc::clone(&looking.data);
    tokio::task::spawn_blocking(move || {
        let identified = key.2;
        // Unwind safe: nothing of what panicked is used again.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| make(&looking, &case, identified, &who)));
        let made = match made {
            Ok(Ok(made)) => Stage::Made(Box::new(made)),
            Ok(Err(error)) => {
                tracing::warn!(%error, case = case.id, "a bundle was not made");
                let status = match &error {
                    ExportError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                Stage::Failed(status, format!("{error}: nothing was exported, the case is as it was"))
            }
            Err(_) => Stage::Failed(StatusCode::INTERNAL_SERVER_ERROR, "the bundle cannot be made".into()),
        };
        *data.exports.state.lock() = Some((key, Instant::now(), made));
        data.exports.done.notify_waiters();
    });
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
    let place = looking.place();
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

/// For us alone: what is in it is of patients.
pub(crate) fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Takes it down, then sends it.
async fn give(shared: &Shared, data: &Arc<crate::shell::data::Data>, made: Made) -> Response {
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
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let (data, case) = match seen(&shared, &session, &id).await {
        Ok(found) => found,
        Err(no) => return *no,
    };
    if let Err(no) = session.require(Role::Engineer) {
        return no;
    }
    let Ok(body) = body else { return problem(StatusCode::PAYLOAD_TOO_LARGE, "a capture is at most 64 MiB") };
    let sha256 = crate::alert::hex(&<sha2::Sha256 as sha2::Digest>::digest(&body));
    let item = Item::Capture { name: name.clone(), sha256, bytes: body.len() as u64 };
    let step = Step::Add { item };
    // What the case would refuse is not copied.
    let act = Who { user: session.user().to_owned(), via: crate::case::Way::Web }.act(&case.id, None, step);
    if let Err(refused) = case.clone().apply(&act, u64::MAX, now()) {
        return problem(StatusCode::CONFLICT, &refused.to_string());
    }
    let folder = cases::captures_of(&data.config.data, &case.id);
    match blocking(&shared, move || keep_capture(&folder, &name, &body)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::warn!(%error, "http: a capture cannot be kept");
            return problem(StatusCode::INSUFFICIENT_STORAGE, "the capture cannot be kept: nothing was added");
        }
        None => return problem(StatusCode::INTERNAL_SERVER_ERROR, "the capture cannot be kept"),
    }
    match submit(&shared, &data, vec![act]).await {
        Ok(case) => {
            let clocks = clocks(&case, &data.config.zone);
            json(StatusCode::OK, json!({ "case": case, "clocks": clocks, "missing": [] }).to_string())
        }
        Err(refused) => refused,
    }
}

/// Whole or not at all; a file of that name that is there already stays as it is.
pub(crate) fn keep_capture(folder: &std::path::Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    make_folder(folder)?;
    let mut file = tempfile::Builder::new().prefix(".capture-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(folder.join(name)) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            let same = std::fs::read(folder.join(name)).is_ok_and(|there| there == bytes);
            if same { Ok(()) } else { Err(error.error) }
        }
        Err(error) => Err(error.error),
    }
}

/// The largest body of a capture.
pub(crate) fn capture_limit() -> axum::extract::DefaultBodyLimit {
    axum::extract::DefaultBodyLimit::max(usize::try_from(CAPTURE_BYTES_MAX).unwrap_or(usize::MAX))
}
