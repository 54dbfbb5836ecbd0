//! vitalguard: judges a copy of a hospital's vital-signs feed.
pub mod alert;
pub mod bed;
pub mod check;
pub mod command;
pub mod config;
pub mod hl7;
pub mod mllp;
pub mod monitor;
pub mod observation;
pub mod population;
pub mod profile;
pub mod shell;
pub mod text;
pub mod time;
pub mod vital;
