//! Streaming estimators, one a file: constant memory, constant time, serialisable, deterministic.
//!
//! None of them reads a clock: the time between two values is an argument.

pub mod blocks;
pub mod cadence;
pub mod cusum;
pub mod evalue;
pub mod ewma;
pub mod fingerprint;
pub mod gaussian;
pub mod hold;
pub mod lattice;
pub mod median;
pub mod packed;
pub mod places;
pub mod quantile;
pub mod runs;
pub mod sketch;
pub mod trend;
pub mod whole;
