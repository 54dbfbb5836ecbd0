//! Ports for programs that must be told theirs before they start.

/// A port that is free now, below those that the system gives to whoever asks for any (from 32768 on Linux). Among those, another
/// test may come to it first, and a connection to a port where nobody listens yet may even meet itself: the system gives the
/// caller the very port that it calls.
pub fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + ((std::process::id().wrapping_mul(97).wrapping_add(next)) % 12_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
