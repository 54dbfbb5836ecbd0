//! The fail-open tee: in the clinical path, and never its weakest part.
//!
//! ```text
//! sender ═══▶ relay (a process of its own) ═══▶ receiver         ═ the path: unread, unbuffered, answers come back as they are
//!    ◀═════════  ║  ◀═══════════════════════════                 ─ copies of both ways
//!                └── copies ──▶ judge (this service) ─▶ journal
//! ```
//! One contract: **whatever the judge does (stall, stop, be killed), the relay goes on, open connections included.** The relay
//! parses nothing, writes no disk and outlives the service, which finds it again by its socket in the data folder. Copies are
//! kept for a judge that is away up to a bound; beyond it they are dropped and counted, and what follows is read from the next
//! frame on.
//!
//! Limits: the receiver sees the relay's address, not the sender's. What is TLS goes through and is not understood. Killing the
//! relay itself ends its connections, as pulling a cable would; the service starts another one within a second.

mod child;
mod control;
mod copies;
mod judge;
mod relay;
pub mod wire;

pub use child::{TeeError, ask_now, control, strays};
pub use copies::{COPY_AGE_MAX_US, COPY_BYTES_MAX};
pub use judge::{StartError, Tee, start_all};
pub use relay::{Options, PASS_BYTES, RelayError, run};
pub use wire::{Hello, Request, Stats};
