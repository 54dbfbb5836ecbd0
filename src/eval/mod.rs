//! Evaluation: invented patients, injected attacks, and how both are scored.
