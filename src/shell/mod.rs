//! The shell: sockets, files, clocks. Everything that is not pure stands here and in the command line.

pub mod journal;
pub mod listener;
pub mod retained;
pub mod tls;
