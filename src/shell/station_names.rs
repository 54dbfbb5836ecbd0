//! `/api/v1/names/{ward}/{bed}`: who lies in a bed, for nurses, after a click, written down, from the journal and from nowhere else.

use crate::config::Role;
use crate::document::is_slug;
use crate::hl7::{Field, Message, Scratch, is_batch, split_batch};
use crate::monitor::NamedBy;
use crate::shell::journal::{Record, read_one};
use crate::shell::station::Shared;
use crate::shell::station_api::{blocking, json, problem};
use crate::shell::station_audit as audit;
use crate::shell::station_session::Session;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use std::path::Path as Folder;

/// The page shows a name so long, seconds.
const SHOWN_S: u32 = 120;
/// Longest name or record number, characters.
const TEXT_CHARS_MAX: usize = 120;

pub(crate) async fn get(State(shared): State<Shared>, session: Session, Path((ward, bed)): Path<(String, String)>) -> Response {
    if let Err(no) = session.require(Role::Nurse) {
        return no;
    }
    let nobody = || problem(StatusCode::NOT_FOUND, "no name is known for this bed");
    if !is_slug(&ward, 32) || !is_slug(&bed, 64) {
        return problem(StatusCode::BAD_REQUEST, "ward and bed are slugs");
    }
    let Some(data) = shared.state.data.clone().filter(|_| session.sees(&ward)) else { return nobody() };
    let place = format!("{ward}/{bed}");
    let Some(named) = data.questions.ask(move |monitor| monitor.named_by(&ward, &bed)).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the judging thread does not answer now");
    };
    let Some(named) = named else { return nobody() };
    if let Err(no) = audit::note(&shared, &session, "names", &place).await {
        return *no;
    }
    match blocking(&shared, move || named_in(data.journal.folder(), named)).await {
        Some(Some((name, record))) => {
            json(StatusCode::OK, json!({ "name": name, "record": record, "expires_s": SHOWN_S }).to_string())
        }
        // The error of a file or a panic says nothing of a patient, and is not shown either.
        _ => nobody(),
    }
}

/// Name and record number in the message that named the patient; `None`: it is not kept any more.
fn named_in(journal: &Folder, named: NamedBy) -> Option<(Option<String>, Option<String>)> {
    let entry = read_one(journal, named.sequence).ok()??;
    let Record::Frame { payload, .. } = entry.stamped.record else { return None };
    let bytes = match is_batch(&payload) {
        true => split_batch(&payload).messages.get(usize::from(named.message)).copied()?,
        false => &payload,
    };
    let mut scratch = Scratch::default();
    let message = Message::read(bytes, &mut scratch).ok()?;
    let pid = message.first(b"PID")?;
    let ids = pid.field(3);
    let record = ids.repetitions().map(|id| text(id.component(1))).find(|id| !id.is_empty());
    let name = pid.field(5);
    let given: Vec<String> = [2, 3].iter().map(|n| text(name.component(*n))).filter(|part| !part.is_empty()).collect();
    let parts: Vec<String> =
        [text(name.component(1).subcomponent(1)), given.join(" ")].into_iter().filter(|part| !part.is_empty()).collect();
    let name = (!parts.is_empty()).then(|| parts.join(", "));
    (name.is_some() || record.is_some()).then_some((name, record))
}

fn text(field: Field<'_>) -> String {
    if field.is_empty() {
        return String::new();
    }
    field.text().chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}
