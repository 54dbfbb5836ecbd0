//! Text that a device declares: hostile until it is cleaned, and never shown as it came.

/// Characters kept of one declared text.
pub const TEXT_CHARS_MAX: usize = 64;
/// A run of at least so many digits and capital hex letters, with a digit in it, may be a serial number.
const SERIAL_CHARS_MIN: usize = 6;

/// Printable text of bounded length: control characters, bidirectional marks and `<>"'` become blanks, runs of blanks are joined.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(TEXT_CHARS_MAX));
    let mut count = 0;
    let mut blank = true;
    // What lies far behind the bound is not even looked at.
    for c in text.chars().take(8 * TEXT_CHARS_MAX) {
        if count >= TEXT_CHARS_MAX {
            break;
        }
        let hidden =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}');
        let c = if c.is_control() || c.is_whitespace() || hidden || matches!(c, '<' | '>' | '"' | '\'' | '`') { ' ' } else { c };
        if c == ' ' && blank {
            continue;
        }
        blank = c == ' ';
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// Cleaned text as patterns see it: accents composed, each of `_ . ^ & /` a blank, runs of blanks joined.
pub fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if matches!(c, '_' | '.' | '^' | '&' | '/') || c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        if let Some(composed) = out.chars().next_back().and_then(|base| composed(base, c)) {
            out.pop();
            out.push(composed);
            continue;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

/// Canonical composition of Latin letters with one mark (the Latin-1 part of NFC: what names of makers need).
fn composed(base: char, mark: char) -> Option<char> {
    const TABLE: [(char, &str, &str); 6] = [
        ('\u{300}', "AEIOUaeiou", "ÀÈÌÒÙàèìòù"),
        ('\u{301}', "AEIOUYaeiouy", "ÁÉÍÓÚÝáéíóúý"),
        ('\u{302}', "AEIOUaeiou", "ÂÊÎÔÛâêîôû"),
        ('\u{303}', "ANOano", "ÃÑÕãñõ"),
        ('\u{308}', "AEIOUaeiouy", "ÄËÏÖÜäëïöüÿ"),
        ('\u{30a}', "Aa", "Åå"),
    ];
    let (_, bases, letters) = TABLE.iter().find(|(m, _, _)| *m == mark)?;
    let at = bases.chars().position(|b| b == base)?;
    letters.chars().nth(at)
}

/// Cleaned text as it may be published: the device's own key and whatever looks like a serial number are left out.
pub fn masked(text: &str, key: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            out.push(' ');
        }
        if !key.is_empty()
            && word.len() >= 4
            && (contains(word, key) || contains(key, word))
            && word.bytes().any(|b| b.is_ascii_digit())
        {
            out.push('#');
        } else {
            mask_word(word, &mut out);
        }
    }
    out
}

fn contains(text: &str, part: &str) -> bool {
    part.len() <= text.len() && text.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part.as_bytes()))
}

fn mask_word(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let run = rest.find(|c: char| !(c.is_ascii_digit() || ('A'..='F').contains(&c))).unwrap_or(rest.len());
        if run >= SERIAL_CHARS_MIN && rest[..run].bytes().filter(u8::is_ascii_digit).count() >= 4 {
            out.push('#');
            rest = &rest[run..];
        } else if run > 0 {
            out.push_str(&rest[..run]);
            rest = &rest[run..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_cleaned() {
        assert_eq!(clean("  CMS8000\u{0}\r\n\t V2 "), "CMS8000 V2");
        assert_eq!(clean("<script>alert('x')</script>"), "script alert( x ) /script");
        assert_eq!(clean("a\u{202e}b\u{1b}[31mc"), "a b [31mc");
        assert_eq!(clean(&"x".repeat(65_536)).len(), TEXT_CHARS_MAX);
        assert_eq!(clean(&"ä".repeat(65_536)).chars().count(), TEXT_CHARS_MAX);
        assert_eq!(clean(&"\u{1}".repeat(65_536)), "");
    }

    #[test]
    fn separators_and_accents_do_not_hide_a_name() {
        assert_eq!(normalised("GE_CARESCAPE^B450..x"), "GE CARESCAPE B450 x");
        assert_eq!(normalised("Dra\u{308}ger"), "Dräger");
        assert_eq!(normalised("^EfficiaCM"), "EfficiaCM");
    }

    #[test]
    fn a_serial_number_is_not_published() {
        assert_eq!(masked("CMS8000 SN 20240117 rev", ""), "CMS8000 SN # rev");
        assert_eq!(masked("CMS8000-0012345", "0012345"), "#");
        assert_eq!(masked("CMS8000", "02AA00FFFE001234"), "CMS8000");
        assert_eq!(masked("IntelliVue MX800 M8105A", ""), "IntelliVue MX800 M8105A");
        assert_eq!(masked("gw 02AA00FFFE001234", "02AA00FFFE001234"), "gw #");
    }
}
