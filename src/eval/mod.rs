//! Evaluation: invented patients, recordings as messages, injected attacks, and how they are scored.

pub mod attack;
pub mod bench;
pub mod control;
pub mod fit;
pub mod guard;
pub mod measure;
pub mod recording;
pub mod render;
pub mod report;
pub mod runner;
pub mod safety;
pub mod score;
pub mod series;
pub mod split;
pub mod synth;
