//! What the first bytes of a message, or of another protocol, look like.

use super::Foreign;

/// What stands at a place where a header might.
pub(super) enum Start {
    Yes,
    No,
    /// More bytes will tell.
    Open,
}

/// Whether a message (or a batch) begins here: `MSH|`, `FHS|`, `BHS|`.
pub(super) fn message_start(bytes: &[u8], closed: bool) -> Start {
    let name = &bytes[..bytes.len().min(3)];
    if ![b"MSH", b"FHS", b"BHS"].iter().any(|header| header.starts_with(name)) {
        return Start::No;
    }
    match bytes.get(3) {
        // A letter would make it another word; NUL is the half of a UTF-16 character.
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'\r' | b'\n' | 0) => Start::No,
        Some(_) => Start::Yes,
        None if closed => Start::No,
        None => Start::Open,
    }
}

/// Another protocol by its first bytes; `Err` while they do not tell yet.
pub(super) fn foreign(bytes: &[u8]) -> Result<Option<Foreign>, ()> {
    const MARKS: [(&[u8], Foreign); 12] = [
        (b"\x16\x03", Foreign::Tls),
        (b"SSH-", Foreign::Ssh),
        (b"GET ", Foreign::Http),
        (b"HEAD ", Foreign::Http),
        (b"POST ", Foreign::Http),
        (b"PUT ", Foreign::Http),
        (b"DELETE ", Foreign::Http),
        (b"OPTIONS ", Foreign::Http),
        (b"PATCH ", Foreign::Http),
        (b"TRACE ", Foreign::Http),
        (b"CONNECT ", Foreign::Http),
        (b"PRI * ", Foreign::Http),
    ];
    let mut open = false;
    for (mark, protocol) in MARKS {
        if bytes.starts_with(mark) {
            return Ok(Some(protocol));
        }
        open |= mark.starts_with(bytes);
    }
    if open { Err(()) } else { Ok(None) }
}
