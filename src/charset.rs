//! Character sets: from MSH-18 and the bytes themselves to UTF-8.
//!
//! Its one contract: every payload becomes valid UTF-8 and says how. The order is: as declared, strictly; else UTF-8; else
//! windows-1252, in which every byte means something. Nothing is refused, and nothing is replaced by U+FFFD but half a character
//! of UTF-16. The names are those of HL7 table 0211 and what senders make of them (`UTF-8`, `8859-1`, `ISO 8859/15`).

use encoding_rs::{DecoderResult, Encoding};

/// What MSH-18 declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    /// Nothing: ASCII by the standard.
    Nothing,
    Ascii,
    /// `UNICODE UTF-8`, `UTF-8`, and the bare `UNICODE`.
    Utf8,
    /// `UNICODE UTF-16`; the bytes say whether it is true.
    Utf16,
    /// Any other character set that is known.
    Other(&'static Encoding),
    /// A name that no table has.
    Unknown,
}

/// Reads the first repetition of MSH-18.
pub fn declared(name: &[u8]) -> Declared {
    let name = name.trim_ascii();
    if name.is_empty() || name == b"\"\"" {
        return Declared::Nothing;
    }
    // Letters and digits alone tell the names apart: "ISO 8859/1", "8859-1" and "ISO8859_1" are one.
    let mut key = [0u8; 24];
    let mut len = 0;
    for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        if len == key.len() {
            return Declared::Unknown;
        }
        key[len] = byte.to_ascii_uppercase();
        len += 1;
    }
    let key = &key[..len];
    match key {
        b"ASCII" | b"USASCII" | b"ISOIR6" | b"ISO646" => return Declared::Ascii,
        b"UTF8" | b"UNICODEUTF8" | b"UNICODE" | b"ISO10646" => return Declared::Utf8,
        b"UTF16" | b"UNICODEUTF16" | b"UTF16LE" | b"UTF16BE" | b"UNICODEUTF16LE" | b"UNICODEUTF16BE" | b"UCS2" => {
            return Declared::Utf16;
        }
        b"GB180302000" | b"GB18030" | b"GB2312" | b"GBK" => return Declared::Other(encoding_rs::GB18030),
        b"BIG5" => return Declared::Other(encoding_rs::BIG5),
        b"KSX1001" | b"EUCKR" => return Declared::Other(encoding_rs::EUC_KR),
        b"ISOIR14" | b"ISOIR87" | b"ISOIR159" | b"ISO2022JP" => return Declared::Other(encoding_rs::ISO_2022_JP),
        b"SHIFTJIS" | b"SJIS" => return Declared::Other(encoding_rs::SHIFT_JIS),
        b"EUCJP" => return Declared::Other(encoding_rs::EUC_JP),
        _ => {}
    }
    let part = key.strip_prefix(b"ISO").unwrap_or(key);
    if let Some(part) = part.strip_prefix(b"8859") {
        // windows-125x are supersets of the ISO parts that they stand for here (as in the WHATWG encoding standard).
        return match part {
            b"1" => Declared::Other(encoding_rs::WINDOWS_1252),
            b"2" => Declared::Other(encoding_rs::ISO_8859_2),
            b"3" => Declared::Other(encoding_rs::ISO_8859_3),
            b"4" => Declared::Other(encoding_rs::ISO_8859_4),
            b"5" => Declared::Other(encoding_rs::ISO_8859_5),
            b"6" => Declared::Other(encoding_rs::ISO_8859_6),
            b"7" => Declared::Other(encoding_rs::ISO_8859_7),
            b"8" => Declared::Other(encoding_rs::ISO_8859_8),
            b"9" => Declared::Other(encoding_rs::WINDOWS_1254),
            b"10" => Declared::Other(encoding_rs::ISO_8859_10),
            b"11" => Declared::Other(encoding_rs::WINDOWS_874),
            b"13" => Declared::Other(encoding_rs::ISO_8859_13),
            b"14" => Declared::Other(encoding_rs::ISO_8859_14),
            b"15" => Declared::Other(encoding_rs::ISO_8859_15),
            b"16" => Declared::Other(encoding_rs::ISO_8859_16),
            _ => Declared::Unknown,
        };
    }
    match Encoding::for_label(name) {
        Some(encoding) if encoding == encoding_rs::UTF_8 => Declared::Utf8,
        Some(encoding) if encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE => Declared::Utf16,
        // The `replacement` encoding decodes to nothing at all.
        Some(encoding) if encoding == encoding_rs::REPLACEMENT => Declared::Unknown,
        Some(encoding) => Declared::Other(encoding),
        None => Declared::Unknown,
    }
}

/// The byte order of a UTF-16 payload, and how long its byte order mark is. Every second byte of its first letters is NUL.
pub fn utf16(bytes: &[u8]) -> Option<(&'static Encoding, usize)> {
    match bytes {
        [0xFF, 0xFE, _, 0, ..] => Some((encoding_rs::UTF_16LE, 2)),
        [0xFE, 0xFF, 0, _, ..] => Some((encoding_rs::UTF_16BE, 2)),
        [0x21..=0x7E, 0, 0x21..=0x7E, 0, 0x21..=0x7E, ..] => Some((encoding_rs::UTF_16LE, 0)),
        [0, 0x21..=0x7E, 0, 0x21..=0x7E, 0, 0x21..=0x7E, ..] => Some((encoding_rs::UTF_16BE, 0)),
        _ => None,
    }
}

/// Decodes strictly into `out`, whose memory is reused, and returns the length; `None` at the first wrong byte.
pub fn decode(encoding: &'static Encoding, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let need = decoder.max_utf8_buffer_length_without_replacement(bytes.len())?;
    if out.len() < need {
        out.resize(need, 0);
    }
    let (result, _, written) = decoder.decode_to_utf8_without_replacement(bytes, out, true);
    matches!(result, DecoderResult::InputEmpty).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_table_0211_is_known() {
        for name in [
            "8859/1",
            "8859/2",
            "8859/3",
            "8859/4",
            "8859/5",
            "8859/6",
            "8859/7",
            "8859/8",
            "8859/9",
            "8859/15",
            "BIG-5",
            "GB 18030-2000",
            "ISO IR14",
            "ISO IR159",
            "ISO IR87",
            "KS X 1001",
            "ISO 8859/1",
            "iso-8859-15",
            "windows-1250",
        ] {
            assert!(matches!(declared(name.as_bytes()), Declared::Other(_)), "{name}");
        }
        for name in ["UNICODE", "UNICODE UTF-8", "UTF-8", "utf8"] {
            assert_eq!(declared(name.as_bytes()), Declared::Utf8, "{name}");
        }
        assert_eq!(declared(b"UNICODE UTF-16"), Declared::Utf16);
        assert_eq!(declared(b" ASCII "), Declared::Ascii);
        assert_eq!(declared(b""), Declared::Nothing);
        for name in ["CNS 11643-1992", "8859/12", "8859/", "hz-gb-2312", "AMERICAN", "a name that is longer than any name"] {
            assert_eq!(declared(name.as_bytes()), Declared::Unknown, "{name}");
        }
    }

    #[test]
    fn a_wrong_byte_is_not_replaced() {
        let mut out = Vec::new();
        assert_eq!(decode(encoding_rs::UTF_8, b"a\xFF", &mut out), None);
        assert_eq!(decode(encoding_rs::ISO_8859_7, b"\xD2", &mut out), None);
        let len = decode(encoding_rs::ISO_8859_5, b"\xB4\xDE", &mut out).unwrap();
        assert_eq!(&out[..len], "До".as_bytes());
    }
}
