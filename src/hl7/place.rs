//! Places: PV1-3 to slugs of ward and bed, as far as what was sent is fit for a topic.

/// Bytes of a slug at most.
pub const SLUG_BYTES_MAX: usize = 32;

/// Whether a text is a slug as it is: `[A-Za-z0-9_-]{1,32}`, not beginning with `_` (reserved ids do).
pub fn is_slug(text: &str) -> bool {
    let fits = (1..=SLUG_BYTES_MAX).contains(&text.len()) && !text.starts_with('_');
    fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Ward and bed of a place, spelt as sent: the ward is the point of care, the bed `{room}-{bed}` where a room is sent (two rooms
/// may both have a bed A), else the bed alone.
///
/// `None` where there is no bed, or where ward or bed would not be a slug whole: free text is never cut into one. The ward is
/// empty where no point of care was sent (the listener's ward stands in).
pub fn slug(point_of_care: &str, room: &str, bed: &str) -> Option<(String, String)> {
    let (ward, room, bed) = (point_of_care.trim(), room.trim(), bed.trim());
    if bed.is_empty() || !(ward.is_empty() || is_slug(ward)) {
        return None;
    }
    let bed = if room.is_empty() { bed.to_owned() } else { format!("{room}-{bed}") };
    is_slug(&bed).then(|| (ward.to_owned(), bed))
}

/// What places are compared by: case-folded. Two spellings of one place have one key.
pub fn key(ward: &str, bed: &str) -> String {
    format!("{}/{}", ward.to_ascii_lowercase(), bed.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(point_of_care: &str, room: &str, bed: &str) -> Option<String> {
        slug(point_of_care, room, bed).map(|(ward, bed)| format!("{ward}/{bed}"))
    }

    #[test]
    fn a_bed_is_named_with_its_room() {
        assert_eq!(made("ICU", "", "A03").as_deref(), Some("ICU/A03"));
        assert_eq!(made("ICU", "201", "B").as_deref(), Some("ICU/201-B"));
        assert_eq!(made(" ICU ", "", " 7 ").as_deref(), Some("ICU/7"));
        assert_eq!(made("", "", "BED-001").as_deref(), Some("/BED-001"));
    }

    #[test]
    fn what_is_no_slug_whole_is_no_bed() {
        assert_eq!(made("ICU", "", ""), None, "no bed");
        assert_eq!(made("ICU", "12", ""), None, "a room is no bed");
        assert_eq!(made("ICU/PCU", "", "1"), None);
        assert_eq!(made("ICU", "", "Bed 2"), None, "a blank");
        assert_eq!(made("ICU", "", "_ward"), None, "reserved");
        assert_eq!(made("_site", "", "1"), None, "reserved");
        assert_eq!(made("ICU", "", "Größe"), None);
        assert_eq!(made("ICU", "12345678901234567890", "123456789012"), None, "33 bytes");
        assert_eq!(made("ICU", "1234567890123456789", "123456789012").map(|s| s.len()), Some(36));
        assert_eq!(made("ICU", "", "a#b+c"), None);
    }

    #[test]
    fn spellings_of_one_place_have_one_key() {
        assert_eq!(key("ICU", "A03"), key("icu", "a03"));
    }
}
