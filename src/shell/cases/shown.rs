//! A case as it is shown: the same over HTTP and of a folder at rest.

use crate::case::{Case, Step};
use crate::shell::cases;
use crate::shell::store::StepRow;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// The clocks with what is left of them at `now`, ms; negative: the time is over.
fn clocks(case: &Case, zone: &str, now: Timestamp) -> Vec<Value> {
    let with_left = |clock: crate::dossier::Clock| {
        let left = clock.left_ms(now);
        let mut value = serde_json::to_value(clock).unwrap_or_default();
        value["left_ms"] = left.into();
        value
    };
    cases::clocks(case, zone).into_iter().map(with_left).collect()
}

/// A line of the list.
pub fn short(case: &Case, zone: &str, now: Timestamp) -> Value {
    json!({
        "id": case.id, "state": case.state, "version": case.version, "title": case.title,
        "opened": case.opened, "updated": case.updated.to_string(), "closed": case.closed, "items": case.items.len(),
        "alerts": case.alerts().collect::<Vec<_>>(), "clocks": clocks(case, zone, now),
    })
}

/// A step, as `said`: a masked bundle leaves words out.
pub fn step(row: &StepRow, said: &Step) -> Value {
    json!({
        "sequence": row.sequence, "version": row.version, "at": row.at.to_string(), "user": row.act.user,
        "via": row.act.via, "step": said,
    })
}

/// All of it, with its steps.
pub fn whole(case: &Case, steps: &[StepRow], zone: &str, now: Timestamp) -> Value {
    let steps: Vec<Value> = steps.iter().map(|row| step(row, &row.act.step)).collect();
    json!({ "case": case, "clocks": clocks(case, zone, now), "steps": steps })
}

/// After a step, with what could not be gathered.
pub fn answer(case: &Case, missing: &[String], zone: &str, now: Timestamp) -> Value {
    json!({ "case": case, "clocks": clocks(case, zone, now), "missing": missing })
}
