//! The shell: sockets, files, clocks. Everything that is not pure stands here and in the command line.

#[cfg(feature = "broker")]
pub mod broker;
pub mod journal;
pub mod link;
pub mod metrics;
pub mod publisher;
pub mod retained;
pub mod station;
pub mod store;
