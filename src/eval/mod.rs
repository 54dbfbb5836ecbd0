//! Evaluation: invented patients, injected attacks, and how both are scored.

pub mod split;
pub mod synth;
