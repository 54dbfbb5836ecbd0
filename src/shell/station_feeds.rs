//! `/api/v1/feeds`: every sender's counters, the way out, how many alerts there are; and what was refused of a feed.

use crate::document::is_slug;
use crate::monitor::{FeedCounts, Refused};
use crate::shell::data::Data;
use crate::shell::listener::{FeedStats, WireFault};
use crate::shell::retained::{Kind, RETAINED_MAX};
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem, read_store};
use crate::shell::station_session::Session;
use crate::shell::store::Load;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Alerts a bed and day are counted over so long, days.
const LOAD_DAYS: f64 = 7.0;
/// Faults of the wire by which a message is no message.
const PARSE_FAULTS: [WireFault; 5] =
    [WireFault::NotHl7, WireFault::Truncated, WireFault::TooLarge, WireFault::Junk, WireFault::BatchFault];

fn away() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the judging thread does not answer now")
}

pub(crate) async fn list(State(shared): State<Shared>, session: Session) -> Response {
    let mut feeds: Vec<(String, Map<String, Value>)> = Vec::new();
    for (topic, document) in shared.state.retained.all() {
        let name = topic.strip_prefix("feed/").and_then(|t| t.strip_suffix("/status"));
        let parsed = serde_json::from_slice(&document.payload);
        if let (Some(name), Kind::Feed, Ok(Value::Object(object))) = (name, document.kind, parsed) {
            feeds.push((name.to_owned(), object));
        }
    }
    let Some(data) = shared.state.data.clone() else {
        let feeds: Vec<_> = feeds.into_iter().map(|(_, object)| object).collect();
        return json(StatusCode::OK, json!({ "feeds": feeds }).to_string());
    };
    let asked = data.questions.ask(|monitor| (monitor.feeds().cloned().collect(), beds_watched(monitor)));
    let Some((counts, beds)): Option<(Vec<FeedCounts>, usize)> = asked.await else { return away() };
    for (name, object) in &mut feeds {
        let stats = data.feeds.iter().find(|stats| stats.feed == *name);
        more(object, stats, counts.iter().find(|c| c.feed == *name), &data);
    }
    let load = match read_store(&shared, |store| store.load(crate::shell::publisher::now(), LOAD_DAYS)).await {
        Ok(load) => load,
        Err(no) => return no,
    };
    let feeds: Vec<_> = feeds.into_iter().map(|(_, object)| object).collect();
    let body = json!({
        "feeds": feeds, "mqtt": mqtt(&shared, &data), "alerts_per_bed_day": per_bed_day(&load, beds),
        "window_days": (load.days * 100.0).round() / 100.0, "useful_share": load.useful_share,
        "beds": load.beds.iter().filter(|bed| session.sees(&bed.ward)).collect::<Vec<_>>(),
    });
    json(StatusCode::OK, body.to_string())
}

fn beds_watched(monitor: &crate::monitor::Monitor) -> usize {
    monitor.beds().filter(|place| !place.reserved && monitor.samples(place.id).next().is_some()).count()
}

/// `None`: no bed was heard.
fn per_bed_day(load: &Load, beds: usize) -> Option<f64> {
    (beds > 0).then(|| (load.alerts as f64 / (beds as f64 * load.days) * 100.0).round() / 100.0)
}

fn more(object: &mut Map<String, Value>, stats: Option<&Arc<FeedStats>>, core: Option<&FeedCounts>, data: &Data) {
    if let Some(stats) = stats {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        // The document is up to a minute old.
        let (bytes_per_s, messages_per_s) = data.rates.per_s(&stats.feed);
        let ms = |q| stats.ack_latency.quantile_us(q).map(|us| us as f64 / 1000.0);
        let wire: u64 = PARSE_FAULTS.iter().map(|fault| stats.fault(*fault)).sum();
        let faults: Map<String, Value> = stats.faults().into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect();
        object.extend([
            ("ack_p50_ms".to_owned(), json!(ms(0.5))),
            ("ack_p99_ms".to_owned(), json!(ms(0.99))),
            ("rate_per_s".to_owned(), json!((messages_per_s * 10.0).round() / 10.0)),
            ("bytes_per_s".to_owned(), json!(bytes_per_s.round())),
            ("connections".to_owned(), json!(count(&stats.connections))),
            ("accepts".to_owned(), json!(count(&stats.aa))),
            ("errors".to_owned(), json!(count(&stats.ae))),
            ("rejects".to_owned(), json!(count(&stats.ar))),
            ("parse_errors".to_owned(), json!(wire + core.map_or(0, |c| c.unreadable))),
            ("wire_faults".to_owned(), faults.into()),
        ]);
    }
    if let Some(core) = core {
        object.extend([
            ("last_message_ts".to_owned(), json!(core.last_message_at.map(|at| at.to_string()))),
            ("skew_ms".to_owned(), json!(core.skew_ms())),
            ("duplicates".to_owned(), json!(core.duplicates)),
            ("out_of_order".to_owned(), json!(core.out_of_order)),
            ("rows_refused".to_owned(), json!(core.rejects)),
        ]);
    }
}

fn mqtt(shared: &Shared, data: &Data) -> Value {
    let link = &data.link;
    let dropped = link.dropped();
    json!({
        "kind": if data.config.mqtt.url.is_some() { "external" } else { "embedded" },
        "up": link.connected(), "since": data.rates.up_since().map(|at| at.to_string()), "outbox": link.outbox_depth(),
        "dropped": dropped.vitals + dropped.flat + dropped.ward + dropped.event,
        "retained": shared.state.retained.counts().0, "limit": RETAINED_MAX, "stations": data.stations.count(),
    })
}

/// The last refused messages and rows, newest first.
pub(crate) async fn rejects(State(shared): State<Shared>, session: Session, Path(feed): Path<String>) -> Response {
    if !is_slug(&feed, 32) {
        return problem(StatusCode::BAD_REQUEST, "a feed is a slug");
    }
    let unknown = || problem(StatusCode::NOT_FOUND, "no such feed");
    // What was refused is of no ward: whoever sees only some does not see it.
    let Some(data) = shared.state.data.clone().filter(|_| session.wards().is_empty()) else { return unknown() };
    if !data.feeds.iter().any(|stats| stats.feed == feed) {
        return unknown();
    }
    let wanted = feed.clone();
    let asked = data.questions.ask(move |monitor| -> Vec<Refused> {
        monitor.feeds().filter(|counts| counts.feed == wanted).flat_map(|counts| counts.refused().cloned()).collect()
    });
    let Some(refused) = asked.await else { return away() };
    let list: Vec<Value> = refused
        .iter()
        .map(|r| {
            json!({
                "at": r.at.to_string(), "reason": r.reason, "position": r.position, "segment": r.segment,
                "raw": format!("{feed}.{}", r.sequence), "count": r.count,
            })
        })
        .collect();
    json(StatusCode::OK, json!({ "rejects": list }).to_string())
}
