//! Evaluation: invented patients, recordings as messages, injected attacks, and how they are scored.

pub mod attack;
pub mod control;
pub mod recording;
pub mod render;
pub mod synth;
