//! The shell: sockets, files, clocks. Everything that is not pure stands here and in the command line.
//!
//! ```text
//! listener ─▶ journal ─▶ engine (the one Monitor) ─▶ store ─▶ publisher ─▶ MQTT
//!    ▲  ack after the disk  │                          └────▶ station (HTTP)
//!    └──────────────────────┘        retained: newest state documents
//! tap, tee ─▶ journal: a conversation of others, overheard; nobody is answered
//! ```
//! What holds here, always:
//!
//! 1. A frame is durable in the journal before its positive acknowledgement leaves. A disk error answers AE and stops
//!    acknowledging; it is never retried into a lie.
//! 2. Every channel, map, buffer and cache has a bound, and its doc says what happens at the bound. Nothing is dropped without
//!    a counter and a reason.
//! 3. The journal holds inputs, so every alert can be derived again; the store holds what cannot (acknowledgements, audit).
//! 4. Publishing is at least once, alert ids are stable, state documents are idempotent: repeats are harmless. A dead or slow
//!    broker, page or disk never blocks or delays the intake of another sender.
//! 5. A resent message is acknowledged again and judged once.
//! 6. No patient name, identifier or message text in logs, topics or metrics at the default settings.
//! 7. The clinical path is never delayed, filtered or altered: we judge a copy.

pub mod access;
pub mod acm;
pub mod advisories;
pub mod audit;
#[cfg(feature = "broker")]
pub mod broker;
pub mod cases;
pub mod commands;
pub mod data;
pub mod devices;
pub mod engine;
pub mod explain;
pub mod journal;
pub mod key;
pub mod link;
pub mod listener;
pub mod live;
mod marked;
pub mod metrics;
pub mod models;
pub mod mqtt;
pub mod publisher;
pub mod quarantine;
pub mod questions;
pub mod replay;
pub mod replays;
mod report_page;
pub mod retained;
pub mod schemas;
pub mod selftest;
mod serve;
pub mod session;
pub mod station;
mod station_about;
mod station_alerts;
mod station_api;
mod station_audit;
pub mod station_case_files;
mod station_cases;
mod station_cmd;
mod station_devices;
mod station_door;
mod station_events;
pub mod station_explain;
mod station_feeds;
mod station_login;
mod station_messages;
mod station_names;
mod station_page;
mod station_replay;
mod station_report;
mod station_session;
mod station_trends;
pub mod station_tunnel;
pub mod stations;
pub mod store;
pub mod tap;
pub mod tee;
pub mod tls;
pub mod trends;
pub mod vault;

pub use serve::{Broker, Running, ServeError, ServeOptions, StopHandle, config_hash, serve};

/// A folder for us alone: what is in it is of patients.
pub(crate) fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
