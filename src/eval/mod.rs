//! Evaluation: invented patients, recordings as messages, injected attacks, and how they are scored.

pub mod recording;
pub mod render;
pub mod synth;
