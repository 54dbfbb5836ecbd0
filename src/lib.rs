//! **vitalguard** judges a copy of a hospital's vital-signs feed and says which values cannot be trusted, and why.
//!
//! ```text
//!      shell                     the pure core: no clock, no socket, no file                     shell
//! listener ┐        ┌──────────────────────────────────────────────────────────────────┐
//! replay   ┼─bytes─▶│ mllp ─▶ Frame ─▶ hl7 ─▶ Message ─▶ decode(+Dialect) ─▶ Report    │─▶ journal (before the ACK)
//!          ┘        │ Report = sender, subject, devices, Observations, alarms, Rejects │─▶ store (alerts, outbox, audit)
//!          ◀─ ack ──│ Bed (baselines) + check/* ─▶ Verdict ─▶ fusion ─▶ Assessment     │─▶ publisher ─▶ MQTT
//!                   │ Fleet (evidence across beds) ─▶ Verdict   episode ─▶ Alert       │─▶ station (HTTP)
//!                   └──────────────────────── monitor ties it together ────────────────┘
//! ```
//! Everything is pure except [`shell`] and the command line ([`cli`]). Knowledge is data in `models/`. One check is one file in
//! [`check`]. Live, replayed and recovered input drive the same [`monitor::Monitor`].
//!
//! Three times, and no others: `effective_at` is the sender's time of measurement, `sent_at` the message's (MSH-7),
//! `received_at` ours. We say *alert*, never *alarm*: that word belongs to the bedside monitor.
//!
//! What always holds: same inputs in the same order give the same outputs, byte for byte; a frame is durable before it is
//! acknowledged; a check judges before the baseline learns; physiology is never suppressed; no patient identity leaves.

pub mod advisory;
pub mod alert;
pub mod bed;
pub mod calibration;
pub mod capture;
pub mod case;
pub mod charset;
pub mod check;
pub mod cli;
pub mod clockwork;
pub mod command;
pub mod config;
pub mod document;
pub mod dossier;
pub mod envelope;
pub mod episode;
pub mod eval;
pub mod fleet;
pub mod fusion;
pub mod hl7;
pub mod html;
pub mod mllp;
pub mod models;
pub mod monitor;
pub mod observation;
pub mod population;
pub mod profile;
pub mod shell;
pub mod stats;
pub mod text;
pub mod time;
pub mod vital;
