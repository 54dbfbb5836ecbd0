//! The shell: sockets, files, clocks. Everything that is not pure stands here and in the command line.

pub mod access;
#[cfg(feature = "broker")]
pub mod broker;
mod engine;
pub mod journal;
pub mod link;
pub mod listener;
pub mod metrics;
pub mod mqtt;
pub mod publisher;
pub mod replay;
pub mod retained;
pub mod session;
pub mod station;
mod station_api;
pub mod store;
pub mod tls;

pub use engine::{Broker, Running, ServeError, ServeOptions, StopHandle, serve};
