//! What a case may hold, and what its texts may be.

use super::{Item, Refused, Step, is_alert_id, is_slug};

/// Items of a case at most.
pub const ITEMS_MAX: usize = 500;
/// Messages of one item at most.
pub const MESSAGES_MAX: usize = 200;
/// Notes at most.
pub const NOTES_MAX: usize = 500;
/// Fields at most.
pub const FIELDS_MAX: usize = 200;
/// Confirmations, those withdrawn included, and filings at most.
pub const FILINGS_MAX: usize = 100;
/// Exports at most: each is one line, and must not be lost.
pub const EXPORTS_MAX: usize = 1_000;
/// Longest title, characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// Longest note or reason, characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Longest value of a field, characters.
pub const FIELD_CHARS_MAX: usize = 4_000;
/// Longest range of one bed's messages, seconds: six hours.
pub const RANGE_S_MAX: f64 = 6.0 * 3600.0;
/// Largest capture that is copied, bytes.
pub const CAPTURE_BYTES_MAX: u64 = 64 << 20;
/// Largest entry of the inventory, bytes of JSON.
pub const RECORD_BYTES_MAX: usize = 32 << 10;
/// Evidence of a closed case is kept so long where nobody has said otherwise, days.
pub const KEEP_DAYS: f64 = 365.0;
/// And at most so long, days: twenty years.
const KEEP_DAYS_MAX: f64 = 20.0 * 366.0;

/// `C-` + `YYYYMMDDThhmmssmmmZ` + `-` + 4 hex digits.
pub fn is_case_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 26
        && bytes.starts_with(b"C-")
        && bytes[2..10].iter().all(u8::is_ascii_digit)
        && bytes[10] == b'T'
        && bytes[11..20].iter().all(u8::is_ascii_digit)
        && bytes[20..22] == *b"Z-"
        && bytes[22..].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// 64 hex digits, small letters.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A file's name without a path: letters, digits, `-`, `_`, `.`, not in front.
fn is_file_name(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A journal key: feed, point, number.
fn is_raw(text: &str) -> bool {
    text.len() <= 100 && text.rsplit_once('.').is_some_and(|(feed, number)| is_slug(feed, 64) && number.parse::<u64>().is_ok())
}

fn text(what: &'static str, text: &str, chars_max: usize) -> Result<(), Refused> {
    let why = if text.trim().is_empty() {
        "says nothing"
    } else if text.chars().count() > chars_max {
        "is too long"
    } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        "holds control characters"
    } else {
        return Ok(());
    };
    Err(Refused::Malformed { what, why })
}

fn must(holds: bool, what: &'static str, why: &'static str) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::Malformed { what, why }) }
}

impl Step {
    /// Whether its texts and numbers are within their bounds, whatever the case is.
    pub fn check(&self, at: crate::time::Timestamp) -> Result<(), Refused> {
        check(self, at)
    }
}

fn check(step: &Step, at: crate::time::Timestamp) -> Result<(), Refused> {
    match step {
        Step::Open { title, alert } => {
            text("title", title, TITLE_CHARS_MAX)?;
            must(alert.as_deref().is_none_or(is_alert_id), "alert", "is no alert id")
        }
        Step::Add { item } => check_item(item),
        Step::Note { text: words } => text("note", words, TEXT_CHARS_MAX),
        Step::Set { field, value } => {
            let key = field.len() <= 64 && field.split('.').all(|part| is_slug(part, 64));
            must(key, "field", "is no field's key")?;
            if value.is_empty() { Ok(()) } else { text("value", value, FIELD_CHARS_MAX) }
        }
        Step::Confirm { kind, known_since } => {
            must(is_slug(kind, 64), "kind", "is no word for what can be confirmed")?;
            must(*known_since <= at, "known_since", "lies in the future")
        }
        Step::Withdraw { kind, reason } => {
            must(is_slug(kind, 64), "kind", "is no word for what can be confirmed")?;
            text("reason", reason, TEXT_CHARS_MAX)
        }
        Step::Filed { form, reference } => {
            must(is_slug(form, 64), "form", "is no form")?;
            text("reference", reference, TITLE_CHARS_MAX)
        }
        Step::Close { reason, keep_until } => {
            text("reason", reason, TEXT_CHARS_MAX)?;
            let fine = keep_until.is_none_or(|until| until.since_s(at) <= KEEP_DAYS_MAX * 86_400.0);
            must(fine, "keep_until", "lies more than twenty years ahead")
        }
        Step::Reopen { reason } | Step::Release { reason } => text("reason", reason, TEXT_CHARS_MAX),
        Step::Export { bundle, sha256, .. } => {
            must(is_file_name(bundle), "bundle", "is no file's name")?;
            must(is_sha256(sha256), "sha256", "is no digest")
        }
    }
}

fn check_item(item: &Item) -> Result<(), Refused> {
    match item {
        Item::Alert { id } => must(is_alert_id(id), "alert", "is no alert id"),
        Item::Messages { raw } => {
            must(!raw.is_empty(), "messages", "names none")?;
            if raw.len() > MESSAGES_MAX {
                return Err(Refused::TooMany { what: "messages of one item", max: MESSAGES_MAX });
            }
            must(raw.iter().all(|raw| is_raw(raw)), "messages", "a message is named by feed and number (icu-gw1.184213)")
        }
        Item::Range { ward, bed, from, to, first, last } => {
            must(is_slug(ward, 32) && is_slug(bed, 64), "range", "ward and bed are slugs")?;
            must(from <= to && first <= last, "range", "ends before it begins")?;
            must(to.since_s(*from) <= RANGE_S_MAX, "range", "is longer than six hours")
        }
        Item::Capture { name, sha256, bytes } => {
            must(is_file_name(name), "capture", "is no file's name")?;
            must(is_sha256(sha256), "capture", "has no digest")?;
            must(*bytes <= CAPTURE_BYTES_MAX, "capture", "is larger than 64 MiB")
        }
        Item::SpotCheck { .. } | Item::Action { .. } => Ok(()),
        Item::Device { id, record } => {
            must(is_slug(id, 32), "device", "is a slug (dev-…)")?;
            must(record.is_object() && record.to_string().len() <= RECORD_BYTES_MAX, "device", "its entry is too large")
        }
    }
}
