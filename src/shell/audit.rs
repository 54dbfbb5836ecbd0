//! The audit: who did or looked at what, as lines, as a table, and as audit messages of DICOM PS3.15 A.5, which IHE ITI-20
//! carries.
//!
//! A line begins in the journal's chain ([`crate::shell::journal::Record::Audit`], or a command) and is read from the store. What
//! anybody can cause without being let in (refused logins and commands) is written through a [`Flood`].

use crate::shell::journal::Looked;
use crate::shell::store::AuditRow;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest object that is written, characters.
const OBJECT_CHARS_MAX: usize = 500;
/// Refusals that are written: at once, and a minute.
const REFUSALS_BURST: u32 = 30;
const REFUSALS_PER_MINUTE: u32 = 6;

impl Looked {
    /// A look, or an event, over a way (`web`, `mqtt`, `auto`).
    pub fn new(user: &str, via: &str, action: &str, object: &str) -> Looked {
        Looked {
            id: format!("a-{}", uuid::Uuid::now_v7().simple()),
            user: user.to_owned(),
            action: action.to_owned(),
            object: object.chars().filter(|c| !c.is_control()).take(OBJECT_CHARS_MAX).collect(),
            via: via.to_owned(),
            result: "ok".to_owned(),
        }
    }
    /// The same, refused.
    #[must_use]
    pub fn refused(self, result: &str) -> Looked {
        Looked { result: result.to_owned(), ..self }
    }
}

/// Lets refusals through to the journal, few of them: whoever is not let in cannot fill it.
#[derive(Debug)]
pub struct Flood {
    limiter: DefaultDirectRateLimiter,
    held_back: AtomicU64,
}

impl Default for Flood {
    fn default() -> Flood {
        let one = NonZeroU32::MIN;
        let quota = Quota::per_minute(NonZeroU32::new(REFUSALS_PER_MINUTE).unwrap_or(one));
        Flood {
            limiter: RateLimiter::direct(quota.allow_burst(NonZeroU32::new(REFUSALS_BURST).unwrap_or(one))),
            held_back: AtomicU64::new(0),
        }
    }
}

impl Flood {
    /// Whether this one is written, and how many before it were not.
    pub fn pass(&self) -> Option<u64> {
        if self.limiter.check().is_ok() {
            return Some(self.held_back.swap(0, Ordering::Relaxed));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
    /// The refusal as it is written, if it is.
    pub fn admit(&self, mut looked: Looked) -> Option<Looked> {
        let before = self.pass()?;
        if before > 0 {
            let _ = write!(looked.object, " (and {before} before it)");
        }
        Some(looked)
    }
}

/// The lines as a table, RFC 4180, with a header.
pub fn csv(rows: &[AuditRow]) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    csv.write_record(["number", "at", "user", "via", "action", "object", "result"])?;
    for row in rows {
        // What begins like a formula is none: the first letter of a user's or object's name is kept from a spreadsheet.
        let safe = |text: &str| if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text.to_owned() };
        let object = safe(row.object.as_deref().unwrap_or_default());
        let number = row.number.to_string();
        csv.write_record([&number, &row.at, &safe(&row.user), &row.via, &safe(&row.action), &object, &row.result])?;
    }
    csv.into_inner().map_err(|error| error.into_error().into())
}

/// A code of DICOM's audit vocabularies (context groups 400 and 401), or one of ours.
struct Code(&'static str, &'static str);

/// Family and kind of an event, and what it does (`C`, `R`, `U`, `D`, `E`).
fn kind(row: &AuditRow) -> (Code, Option<Code>, &'static str) {
    let authentication = || Code("110114", "User Authentication");
    let security = || Code("110113", "Security Alert");
    match row.action.as_str() {
        "login" => (authentication(), Some(Code("110122", "Login")), "E"),
        "logout" | "session_end" => (authentication(), Some(Code("110123", "Logout")), "E"),
        "configuration" | "models" => (security(), Some(Code("110131", "Software Configuration")), "U"),
        "certificates" => (security(), Some(Code("110129", "Security Configuration")), "U"),
        "names" | "message" => (Code("110110", "Patient Record"), None, "R"),
        "export" | "report" | "bundle" => (Code("110106", "Export"), None, "R"),
        "audit" => (Code("110101", "Audit Log Used"), None, "R"),
        "explain" => (Code("110112", "Query"), None, "E"),
        _ => (Code("110100", "Application Activity"), None, "E"),
    }
}

/// One line as an audit message, on one line of text. `site`: the installation.
pub fn dicom(row: &AuditRow, site: &str) -> String {
    let (event, of_event, does) = kind(row);
    let mut out = String::from("<AuditMessage>");
    let outcome = if row.result == "ok" { "0" } else { "4" };
    let _ = write!(
        out,
        "<EventIdentification EventActionCode=\"{does}\" EventDateTime=\"{}\" EventOutcomeIndicator=\"{outcome}\">",
        xml(&row.at)
    );
    coded(&mut out, "EventID", event.0, "DCM", event.1);
    if let Some(code) = of_event {
        coded(&mut out, "EventTypeCode", code.0, "DCM", code.1);
    }
    coded(&mut out, "EventTypeCode", &row.action, "vitalguard", &row.action);
    if row.result != "ok" {
        let _ = write!(out, "<EventOutcomeDescription>{}</EventOutcomeDescription>", xml(&row.result));
    }
    out.push_str("</EventIdentification>");
    let requestor = row.via != "auto";
    let _ = write!(out, "<ActiveParticipant UserID=\"{}\" UserIsRequestor=\"{requestor}\"", xml(&row.user));
    let object = row.object.as_deref().filter(|object| !object.is_empty());
    let address = object.filter(|_| event.0 == "110114").and_then(|object| object.split(' ').next());
    if let Some(address) = address.filter(|address| address.parse::<std::net::IpAddr>().is_ok()) {
        let _ = write!(out, " NetworkAccessPointID=\"{address}\" NetworkAccessPointTypeCode=\"2\"");
    }
    out.push('>');
    coded(&mut out, "RoleIDCode", &row.via, "vitalguard", &row.via);
    let _ = write!(
        out,
        "</ActiveParticipant><AuditSourceIdentification AuditEnterpriseSiteID=\"{}\" AuditSourceID=\"vitalguard\"><AuditSourceTypeCode csd-code=\"4\"/></AuditSourceIdentification>",
        xml(site)
    );
    if let Some(object) = object {
        let object = xml(object);
        let _ = write!(out, "<ParticipantObjectIdentification ParticipantObjectID=\"{object}\" ParticipantObjectTypeCode=\"2\">");
        coded(&mut out, "ParticipantObjectIDTypeCode", "object", "vitalguard", "what was acted on or looked at");
        let _ = write!(out, "<ParticipantObjectName>{object}</ParticipantObjectName></ParticipantObjectIdentification>");
    }
    out.push_str("</AuditMessage>");
    out
}

fn coded(out: &mut String, element: &str, code: &str, system: &str, meaning: &str) {
    let (code, meaning) = (xml(code), xml(meaning));
    let _ = write!(out, "<{element} csd-code=\"{code}\" codeSystemName=\"{system}\" originalText=\"{meaning}\"/>");
}

/// Text that may stand in an element and in an attribute; what XML 1.0 cannot hold becomes U+FFFD.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(action: &str, object: &str, result: &str) -> AuditRow {
        AuditRow {
            number: 7,
            at: "2026-03-01T09:00:00.000Z".into(),
            user: "anna".into(),
            via: "web".into(),
            action: action.into(),
            object: Some(object.into()),
            result: result.into(),
        }
    }

    #[test]
    fn a_refused_login_is_a_failed_user_authentication() {
        let text = dicom(&row("login", "10.0.0.9 (and 3 before it)", "refused"), "main");
        for part in [
            "EventActionCode=\"E\" EventDateTime=\"2026-03-01T09:00:00.000Z\" EventOutcomeIndicator=\"4\"",
            "<EventID csd-code=\"110114\" codeSystemName=\"DCM\" originalText=\"User Authentication\"/>",
            "<EventTypeCode csd-code=\"110122\" codeSystemName=\"DCM\" originalText=\"Login\"/>",
            "UserID=\"anna\" UserIsRequestor=\"true\" NetworkAccessPointID=\"10.0.0.9\" NetworkAccessPointTypeCode=\"2\"",
            "AuditEnterpriseSiteID=\"main\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn no_text_breaks_out_of_the_message() {
        let text = dicom(&row("ack", "\"><Evil a='\u{1}&\n", "ok"), "main");
        assert!(!text.contains("<Evil") && !text.contains('\u{1}') && !text.contains('\n'), "{text}");
        assert!(text.contains("&quot;&gt;&lt;Evil a=&apos;\u{fffd}&amp;\u{fffd}"), "{text}");
        let table = String::from_utf8(csv(&[row("ack", "=1+1,\"x\"", "ok")]).unwrap()).unwrap();
        assert_eq!(table.lines().nth(1).unwrap(), "7,2026-03-01T09:00:00.000Z,anna,web,ack,\"'=1+1,\"\"x\"\"\",ok");
    }

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let flood = Flood::default();
        let written = (0..1_000).filter(|_| flood.pass().is_some()).count();
        assert_eq!(written, REFUSALS_BURST as usize);
        assert_eq!(flood.held_back.load(Ordering::Relaxed), 1_000 - u64::from(REFUSALS_BURST));
    }
}
