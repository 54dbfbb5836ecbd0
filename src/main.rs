//! The program: allocator, TLS provider, command line.

use clap::Parser;

/// The system allocator trims its heap on every large message; this one keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Two providers of cryptography may be linked (the broker brings its own): the choice is made here, once, before anything
    // can make a connection. The only error is that it was made already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What a panic says may quote what was being read; where it happened does not.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => eprintln!("vitalguard: a fault of the program at {}:{}", place.file(), place.line()),
        None => eprintln!("vitalguard: a fault of the program"),
    }));
    vitalguard::cli::run(vitalguard::cli::Cli::parse())
}
