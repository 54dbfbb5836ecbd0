//! The shell: sockets, files, clocks. Everything that is not pure stands here and in the command line.

pub mod journal;
pub mod listener;
pub mod replay;
pub mod retained;
pub mod tls;

mod engine;
pub use engine::{Broker, Running, ServeError, ServeOptions, StopHandle, serve};
