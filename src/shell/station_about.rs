//! `/api/v1/about` and `/api/v1/checks`: what runs here, by which rules, with how much room left.

use crate::check::CATALOGUE;
use crate::shell::station::Shared;
use crate::shell::station_api::{json, problem};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Where the build came from; `dev` where nobody said.
pub(crate) const BUILD: &str = match option_env!("VITALGUARD_BUILD") {
    Some(build) => build,
    None => "dev",
};
/// Name, version and licence of every crate that is linked.
const LICENCES: &str = include_str!("../../docs/licences.json");
/// Written by systemd-timesyncd while the clock is synchronised.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

pub(crate) async fn about(State(shared): State<Shared>) -> Response {
    let state = std::sync::Arc::clone(&shared.state);
    let uptime_s = shared.began.elapsed().as_secs();
    let gathered = tokio::task::spawn_blocking(move || {
        let config = &state.config;
        let info: Value =
            state.retained.get("sys/info").and_then(|info| serde_json::from_slice(&info.payload).ok()).unwrap_or_default();
        let store: u64 = ["", "-wal"].iter().map(|end| bytes_of(&state.store.with_extension(format!("sqlite{end}")))).sum();
        json!({
            "version": state.version,
            "build": BUILD,
            "boot": state.origin.boot,
            "config": info["config"],
            "model": info["model"],
            "checks": info["checks"],
            "checks_count": CATALOGUE.len(),
            "signer": info["journal"]["signer"],
            "uptime_s": uptime_s,
            "time": { "zone": config.zone, "ntp": Path::new(SYNCHRONISED).exists().then_some(true) },
            "storage": {
                "journal_bytes": folder_bytes(&config.data.join("journal")),
                "journal_records": state.journal.as_ref().map(|journal| journal.stats().records),
                "store_bytes": store,
                "free_bytes": rustix::fs::statvfs(&config.data).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)),
            },
            "licences": serde_json::from_str::<Value>(LICENCES).unwrap_or_default(),
        })
    });
    match gathered.await {
        Ok(body) => json(StatusCode::OK, body.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the folders cannot be looked at"),
    }
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Files of a folder without its folders.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// The catalogue: for each check its id, name, weights, thresholds, and its texts by heading.
pub(crate) async fn checks() -> Response {
    static BODY: OnceLock<String> = OnceLock::new();
    let body = BODY.get_or_init(|| {
        let checks: Vec<Value> = CATALOGUE
            .iter()
            .map(|meta| {
                let texts: serde_json::Map<_, _> = headings(meta.doc).map(|(head, text)| (head.into(), text.into())).collect();
                let thresholds = meta.thresholds.iter();
                let thresholds: Vec<_> =
                    thresholds.map(|t| json!({ "name": t.name, "default": t.default, "text": t.doc.trim() })).collect();
                json!({
                    "id": meta.id,
                    "name": meta.name,
                    "class": meta.class.as_str(),
                    "evidence": meta.evidence,
                    "weights": { "artefact": meta.art, "physiology": meta.phy, "tamper": meta.tam },
                    "rest": meta.rest.as_str(),
                    "texts": texts,
                    "thresholds": thresholds,
                })
            })
            .collect();
        json!({ "checks": checks, "hash": format!("sha256:{}", &crate::check::catalogue_hash()[..16]) }).to_string()
    });
    // It changes with the program only.
    let age = format!("private, max-age={}", Duration::from_secs(3600).as_secs());
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CACHE_CONTROL, age)], body.clone())
        .into_response()
}

/// The sections of a check's documentation, as paragraphs of running text.
fn headings(doc: &str) -> impl Iterator<Item = (&str, String)> {
    doc.split("## ").skip(1).map(|section| {
        let (head, text) = section.split_once('\n').unwrap_or((section, ""));
        let paragraphs: Vec<String> = text
            .split("\n \n")
            .flat_map(|part| part.split("\n\n"))
            .map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
            .filter(|paragraph| !paragraph.is_empty())
            .collect();
        (head.trim(), paragraphs.join("\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_its_five_headings() {
        for meta in CATALOGUE {
            let found: Vec<_> = headings(meta.doc).collect();
            assert_eq!(found.len(), 5, "{}", meta.id);
            assert!(found.iter().all(|(head, text)| !head.is_empty() && !text.is_empty() && !text.contains("  ")), "{}", meta.id);
        }
    }
}
