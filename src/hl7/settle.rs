//! From the bytes of a frame to UTF-8 that begins with MSH and holds no NUL: what has to be done to a payload that is not plain.

use super::{Header, Unreadable};
use crate::charset::{self, Declared};
use crate::observation::MessageFlags;

/// Whether every byte is printable ASCII or CR.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    bytes.chunks(1024).all(|chunk| {
        let odd = chunk.iter().fold(0u8, |odd, &byte| odd | u8::from(byte.wrapping_sub(0x20) > 0x5E && byte != b'\r'));
        odd == 0
    })
}

/// Brings a payload that is not plain to UTF-8 that begins with MSH and holds no NUL.
pub(super) fn settle<'a>(
    frame: &'a [u8],
    decoded: &'a mut Vec<u8>,
    without_nul: &'a mut Vec<u8>,
    flags: &mut MessageFlags,
) -> Result<&'a [u8], Unreadable> {
    if let Some((encoding, mark)) = charset::utf16(frame) {
        flags.set(MessageFlags::UTF16);
        if mark > 0 {
            flags.set(MessageFlags::BOM);
        }
        let mut units = &frame[mark..];
        if !units.len().is_multiple_of(2) {
            // The NUL half of the last character was taken for padding.
            without_nul.clear();
            without_nul.extend_from_slice(units);
            without_nul.push(0);
            units = without_nul;
        }
        let mut len = charset::decode(encoding, units, decoded);
        if len.is_none() {
            flags.set(MessageFlags::CHARSET_MISMATCH);
            let text = encoding.decode_without_bom_handling(units).0;
            decoded.clear();
            decoded.extend_from_slice(text.as_bytes());
            len = Some(text.len());
        }
        decoded.truncate(len.unwrap_or(0));
        if decoded.contains(&0) {
            flags.set(MessageFlags::NUL_BYTES);
            decoded.retain(|&byte| byte != 0);
        }
        return checked(trim_front(decoded, flags));
    }
    let mut bytes = trim_front(frame, flags);
    let trimmed = trim_nul(bytes);
    if trimmed.len() < bytes.len() {
        flags.set(MessageFlags::NUL_BYTES);
    }
    bytes = trimmed;
    if memchr::memchr(0, bytes).is_some() {
        flags.set(MessageFlags::NUL_BYTES);
        without_nul.clear();
        without_nul.extend(bytes.iter().filter(|&&byte| byte != 0));
        bytes = trim_front(without_nul, flags);
    }
    bytes = checked(bytes)?;
    let header = Header::read(bytes).ok_or(Unreadable::NoHeader)?;
    let name = header.field(18).split(|&byte| byte == header.delimiters().repetition).next().unwrap_or_default();
    let declared = charset::declared(name);
    if bytes.is_ascii() {
        if declared == Declared::Unknown {
            flags.set(MessageFlags::CHARSET_UNKNOWN);
        }
        if declared != Declared::Other(encoding_rs::ISO_2022_JP) || memchr::memchr(0x1B, bytes).is_none() {
            return Ok(bytes);
        }
    }
    let utf8 = std::str::from_utf8(bytes).is_ok();
    match declared {
        Declared::Utf8 if utf8 => return Ok(bytes),
        Declared::Other(encoding) => {
            // Two bytes that are one character of UTF-8 are hardly ever meant as two letters of Western Europe (`°C` under
            // a header that says 8859/1).
            let western = [encoding_rs::WINDOWS_1252, encoding_rs::WINDOWS_1254, encoding_rs::ISO_8859_15];
            if !(utf8 && western.contains(&encoding))
                && let Some(len) = charset::decode(encoding, bytes, decoded)
            {
                return checked(&decoded[..len]);
            }
            flags.set(MessageFlags::CHARSET_MISMATCH);
        }
        Declared::Ascii | Declared::Utf8 | Declared::Utf16 => flags.set(MessageFlags::CHARSET_MISMATCH),
        Declared::Nothing | Declared::Unknown => flags.set(MessageFlags::CHARSET_UNKNOWN),
    }
    if utf8 {
        return Ok(bytes);
    }
    // Every byte means something in windows-1252.
    let len = charset::decode(encoding_rs::WINDOWS_1252, bytes, decoded).ok_or(Unreadable::NoHeader)?;
    checked(&decoded[..len])
}

fn checked(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    match bytes {
        [] => Err(Unreadable::Empty),
        [b'M', b'S', b'H', ..] if u32::try_from(bytes.len()).is_ok() => Ok(bytes),
        [b'M', b'S', b'H', ..] => Err(Unreadable::TooLong),
        _ => Err(Unreadable::NoHeader),
    }
}

/// Takes away what stands before the header: a byte order mark, blanks, line ends, NULs, a start of block.
fn trim_front<'a>(mut bytes: &'a [u8], flags: &mut MessageFlags) -> &'a [u8] {
    loop {
        bytes = match bytes {
            [0xEF, 0xBB, 0xBF, rest @ ..] => {
                flags.set(MessageFlags::BOM);
                rest
            }
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => {
                flags.set(MessageFlags::BLANK_LINE);
                rest
            }
            [0, rest @ ..] => {
                flags.set(MessageFlags::NUL_BYTES);
                rest
            }
            [crate::mllp::VT, rest @ ..] => rest,
            _ => return bytes,
        }
    }
}

fn trim_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..len]
}
