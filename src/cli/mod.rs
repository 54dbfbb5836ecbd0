//! The commands.
pub mod checks;
