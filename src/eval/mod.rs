//! Evaluation: invented patients, injected attacks, and how both are scored.

pub mod synth;
