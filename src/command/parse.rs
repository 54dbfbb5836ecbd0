//! From bytes to a command.

use super::{Command, Refusal, SHELF_MINUTES_MAX, VERBS, Verb, Via};
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Largest command that is read, bytes. A comment of 500 characters of four bytes, escaped, fits.
pub const COMMAND_BYTES_MAX: usize = 8192;
/// Longest comment, characters (outgoing contract, section 5).
const COMMENT_CHARS_MAX: usize = 500;
/// Longest reason, characters: it stands beside the alert, on every station.
const REASON_CHARS_MAX: usize = 100;
/// Longest request id, characters.
const REQUEST_ID_CHARS_MAX: usize = 64;
/// Longest signature: `hmac-sha256:`, a key id, 64 digits.
const SIG_CHARS_MAX: usize = 128;
/// What a bedside monitor may show of any parameter, in its canonical unit: beyond every measuring range of its own.
const READING: (f64, f64) = (-50.0, 400.0);

/// Why a command did not pass the door, and the request it would have answered, as far as that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    pub request_id: Option<String>,
}

/// Letters, digits, `-` and `_`, 1 to `max` of them.
pub fn is_slug(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// What a person may write: up to 500 characters, no control character but the line end.
pub fn is_comment(text: &str) -> bool {
    text.chars().count() <= COMMENT_CHARS_MAX && !text.chars().any(|c| c.is_control() && c != '\n')
}

/// One line of up to 100 characters that says something.
fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= REASON_CHARS_MAX && !text.chars().any(char::is_control)
}

/// `A-` + 12 hex digits + `-` + `YYYYMMDDThhmmssmmmZ`.
pub fn is_alert_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 34
        && bytes.starts_with(b"A-")
        && bytes[2..14].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && bytes[14] == b'-'
        && bytes[15..23].iter().all(u8::is_ascii_digit)
        && bytes[23] == b'T'
        && bytes[24..33].iter().all(u8::is_ascii_digit)
        && bytes[33] == b'Z'
}

/// The members that a command may have. Closed: an unknown member refuses the command, a repeated one too.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    schema: Option<String>,
    request_id: String,
    #[serde(default)]
    alert: Option<String>,
    #[serde(default)]
    rev: Option<u64>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    minutes: Option<u8>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    ward: Option<String>,
    #[serde(default)]
    bed: Option<String>,
    #[serde(default)]
    values: Option<Values>,
    #[serde(default)]
    useful: Option<bool>,
    #[serde(default)]
    off: Option<bool>,
    #[serde(default)]
    scope: Option<String>,
    /// Proven before this, where a key is configured.
    #[serde(default)]
    sig: Option<String>,
}

/// Parameter keys and numbers, in the order of the keys; no key twice.
struct Values(Vec<(Parameter, f64)>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Values;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers by parameter key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                use serde::de::Error;
                let mut values: Vec<(Parameter, f64)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, f64>()? {
                    let parameter = Parameter::from_key(&key).filter(|p| p.published());
                    let parameter = parameter.ok_or_else(|| A::Error::custom("no published parameter"))?;
                    if values.iter().any(|(known, _)| *known == parameter) {
                        return Err(A::Error::custom("a parameter twice"));
                    }
                    values.push((parameter, value));
                }
                values.sort_unstable_by_key(|(parameter, _)| *parameter);
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads a command: `verb` and `user` are the last segments of its topic (or the path and the logged-in user). What a broker
/// had kept must not come here: it would run again at each reconnect.
pub fn parse(verb: &str, user: &str, via: Via, bytes: &[u8]) -> Result<Command, Refused> {
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(Refused { refusal: Refusal::BadRequest, request_id: None });
    }
    // The request id first: also a refusal should reach the one who asked.
    let request_id = request_id_of(bytes);
    let refused = |refusal| Refused { refusal, request_id: request_id.clone() };
    if !is_slug(user, 32) {
        return Err(refused(Refusal::Forbidden));
    }
    if !VERBS.contains(&verb) {
        return Err(refused(Refusal::UnknownVerb));
    }
    read(verb, user, via, bytes).ok_or_else(|| refused(Refusal::BadRequest))
}

fn read(verb: &str, user: &str, via: Via, bytes: &[u8]) -> Option<Command> {
    let mut body: Body = serde_json::from_slice(bytes).ok()?;
    let request_id = Some(std::mem::take(&mut body.request_id)).filter(|id| is_slug(id, REQUEST_ID_CHARS_MAX))?;
    // What it calls itself is its own affair; the major number is not.
    if body.schema.take().is_some_and(|schema| !schema.strip_suffix("/1").is_some_and(|kind| is_slug(kind, 32))) {
        return None;
    }
    if body.sig.take().is_some_and(|sig| sig.len() > SIG_CHARS_MAX) {
        return None;
    }
    let expires = match body.expires.take() {
        None => None,
        Some(text) => Some(Timestamp::from_ms(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())),
    };
    let mut alert = || body.alert.take().filter(|id| is_alert_id(id));
    let slug = |text: Option<String>, max| text.filter(|text| is_slug(text, max));
    let verb = match verb {
        "ack" => {
            let (alert, comment) = (alert()?, body.comment.take());
            if comment.as_ref().is_some_and(|comment| !is_comment(comment)) {
                return None;
            }
            Verb::Ack { alert, rev: body.rev.take(), comment: comment.filter(|c| !c.trim().is_empty()) }
        }
        "unack" => Verb::Unack { alert: alert()? },
        "comment" => {
            let comment = body.comment.take().filter(|c| !c.trim().is_empty() && is_comment(c))?;
            Verb::Comment { alert: alert()?, comment }
        }
        "shelve" => {
            let alert = alert()?;
            let minutes = body.minutes.take().filter(|m| (1..=SHELF_MINUTES_MAX).contains(m))?;
            let reason = body.reason.take().filter(|reason| is_reason(reason))?;
            Verb::Shelve { alert, rev: body.rev.take(), minutes, reason }
        }
        "unshelve" => Verb::Unshelve { alert: alert()? },
        "rate" => Verb::Rate { alert: alert()?, useful: body.useful.take()? },
        "spot-check" => {
            let (ward, bed) = (slug(body.ward.take(), 32)?, slug(body.bed.take(), 64)?);
            let values = body.values.take()?.0;
            if values.is_empty() || values.iter().any(|(_, v)| !(READING.0..=READING.1).contains(v)) {
                return None;
            }
            Verb::SpotCheck { ward, bed, values }
        }
        "bed-off" => {
            let (ward, bed) = (slug(body.ward.take(), 32)?, slug(body.bed.take(), 64)?);
            let reason = body.reason.take();
            if reason.as_ref().is_some_and(|reason| !is_reason(reason)) {
                return None;
            }
            Verb::BedOff { ward, bed, off: body.off.take()?, reason }
        }
        "resync" => match body.scope.take() {
            Some(scope) if !is_slug(&scope, 32) => return None,
            scope => Verb::Resync { scope },
        },
        "selftest" => Verb::Selftest,
        _ => return None,
    };
    // What is left belongs to another verb.
    body.is_empty().then(|| Command { request_id, user: user.to_owned(), via, expires, wards: Vec::new(), verb })
}

impl Body {
    fn is_empty(&self) -> bool {
        let texts = [&self.alert, &self.comment, &self.reason, &self.ward, &self.bed, &self.scope];
        texts.iter().all(|text| text.is_none())
            && self.rev.is_none()
            && self.minutes.is_none()
            && self.values.is_none()
            && self.useful.is_none()
            && self.off.is_none()
    }
}

/// The request id of a payload that need not be a good command.
pub fn request_id_of(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Only {
        request_id: String,
    }
    if bytes.len() > COMMAND_BYTES_MAX {
        return None;
    }
    let only: Only = serde_json::from_slice(bytes).ok()?;
    Some(only.request_id).filter(|id| is_slug(id, REQUEST_ID_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = "A-53ee76904a86-20261122T182326412Z";

    fn read(verb: &str, payload: &str) -> Result<Verb, Refusal> {
        parse(verb, "nurse7", Via::Mqtt, payload.as_bytes()).map(|c| c.verb).map_err(|r| r.refusal)
    }
    /// A command with these members beside its request id.
    fn with(verb: &str, members: &str) -> Result<Verb, Refusal> {
        read(verb, &format!(r#"{{"request_id":"r1",{members}}}"#))
    }
    fn on_alert(verb: &str, members: &str) -> Result<Verb, Refusal> {
        with(verb, &format!(r#""alert":"{ALERT}"{members}"#))
    }

    #[test]
    fn the_commands_of_the_contract_are_read() {
        let payload = format!(
            r#"{{"request_id":"r1","alert":"{ALERT}","rev":8812,"comment":"probe off, replaced","expires":"2026-11-22T18:26:00Z"}}"#
        );
        let command = parse("ack", "nurse7", Via::Mqtt, payload.as_bytes()).expect("a command of the contract");
        assert_eq!(command.expires, Some(Timestamp::from_ms(1_795_371_960_000)));
        assert_eq!(command.verb, Verb::Ack { alert: ALERT.into(), rev: Some(8812), comment: Some("probe off, replaced".into()) });
        let alert = || ALERT.to_owned();
        assert_eq!(on_alert("unack", ""), Ok(Verb::Unack { alert: alert() }));
        assert_eq!(
            on_alert("shelve", r#","minutes":15,"reason":"physiotherapy""#),
            Ok(Verb::Shelve { alert: alert(), rev: None, minutes: 15, reason: "physiotherapy".into() })
        );
        assert_eq!(on_alert("unshelve", ""), Ok(Verb::Unshelve { alert: alert() }));
        assert_eq!(on_alert("rate", r#","useful":false"#), Ok(Verb::Rate { alert: alert(), useful: false }));
        let values = vec![(Parameter::Hr, 80.0), (Parameter::Spo2, 97.0)];
        assert_eq!(
            with("spot-check", r#""ward":"icu","bed":"A03","values":{"spo2":97,"hr":80}"#),
            Ok(Verb::SpotCheck { ward: "icu".into(), bed: "A03".into(), values })
        );
        assert_eq!(
            with("bed-off", r#""ward":"icu","bed":"A03","off":true,"reason":"theatre""#),
            Ok(Verb::BedOff { ward: "icu".into(), bed: "A03".into(), off: true, reason: Some("theatre".into()) })
        );
        assert_eq!(with("resync", r#""scope":"icu""#), Ok(Verb::Resync { scope: Some("icu".into()) }));
        assert_eq!(read("resync", r#"{"request_id":"r1"}"#), Ok(Verb::Resync { scope: None }));
        assert_eq!(read("selftest", r#"{"schema":"command/1","request_id":"r1"}"#), Ok(Verb::Selftest));
    }

    #[test]
    fn what_is_written_into_the_journal_is_read_back() {
        for (verb, members) in [
            ("ack", format!(r#""alert":"{ALERT}","comment":"x""#)),
            ("shelve", format!(r#""alert":"{ALERT}","minutes":1,"reason":"x""#)),
            ("spot-check", r#""ward":"icu","bed":"A03","values":{"hr":80.5}"#.to_owned()),
            ("bed-off", r#""ward":"icu","bed":"A03","off":false"#.to_owned()),
            ("selftest", r#""expires":"2026-11-22T18:26:00Z""#.to_owned()),
        ] {
            let payload = format!(r#"{{"request_id":"r1",{members}}}"#);
            let command = parse(verb, "nurse7", Via::Web, payload.as_bytes()).expect(verb);
            let bytes = serde_json::to_vec(&command).expect("a command is written");
            assert_eq!(serde_json::from_slice::<Command>(&bytes).expect("and read"), command);
        }
    }

    #[test]
    fn a_command_outside_the_contract_is_refused_with_its_reason() {
        let bad = Err(Refusal::BadRequest);
        assert_eq!(on_alert("selfdestruct", ""), Err(Refusal::UnknownVerb));
        assert_eq!(on_alert("advisory", ""), Err(Refusal::UnknownVerb), "HTTP has its own door for it");
        for members in ["", r#","surprise":1"#, r#","comment":" ""#, r#","comment":"x","rev":1"#] {
            assert_eq!(on_alert("comment", members), bad, "{members}");
        }
        for members in ["", r#","minutes":15"#, r#","reason":"x""#] {
            assert_eq!(on_alert("shelve", members), bad, "{members}");
        }
        for minutes in ["0", "31", "-1", "1.5", "\"5\""] {
            assert_eq!(on_alert("shelve", &format!(r#","minutes":{minutes},"reason":"x""#)), bad, "{minutes}");
        }
        assert_eq!(on_alert("shelve", &format!(r#","minutes":5,"reason":"{}""#, "x".repeat(101))), bad);
        assert_eq!(on_alert("shelve", r#","minutes":5,"reason":"two\nlines""#), bad);
        assert_eq!(on_alert("rate", ""), bad);
        assert_eq!(on_alert("ack", r#","useful":true"#), bad, "a member of another verb");
        for values in ["{}", "[]", "1", r#"{"hr":"80"}"#, r#"{"hr":80,"hr":81}"#, r#"{"svr":900}"#, r#"{"x":1}"#, r#"{"hr":401}"#]
        {
            assert_eq!(with("spot-check", &format!(r#""ward":"icu","bed":"A03","values":{values}"#)), bad, "{values}");
        }
        assert_eq!(with("spot-check", r#""ward":"icu","values":{"hr":80}"#), bad);
        assert_eq!(with("bed-off", r#""ward":"icu","bed":"A 3","off":true"#), bad);
        assert_eq!(with("resync", r#""scope":"icu/1""#), bad);
        for payload in [
            "",
            "[]",
            "null",
            "{}",
            "\u{0}",
            r#"{"request_id":"a b","alert":"A-53ee76904a86-20261122T182326412Z"}"#,
            r#"{"request_id":"r1","alert":"A-x"}"#,
            r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z","expires":"tomorrow"}"#,
            r#"{"request_id":"r1","request_id":"r2","alert":"A-53ee76904a86-20261122T182326412Z"}"#,
            r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z","rev":-1}"#,
            r#"{"request_id":"r1","alert":"A-53ee76904a86-20261122T182326412Z","schema":"command/2"}"#,
        ] {
            assert_eq!(read("ack", payload), bad, "{payload}");
        }
        let refused = parse("ack", "nurse7", Via::Mqtt, br#"{"request_id":"r1","surprise":1}"#).expect_err("refused");
        assert_eq!(refused.request_id.as_deref(), Some("r1"), "a refusal reaches the one who asked");
        assert_eq!(on_alert("ack", &format!(r#","comment":"{}""#, "x".repeat(501))), bad);
        let huge = format!(r#"{{"request_id":"r1","comment":"{}"}}"#, "x".repeat(COMMAND_BYTES_MAX));
        let refused = parse("ack", "nurse7", Via::Mqtt, huge.as_bytes()).expect_err("refused");
        assert_eq!(refused, Refused { refusal: Refusal::BadRequest, request_id: None });
        let stranger = parse("ack", "nurse 7", Via::Mqtt, br#"{"request_id":"r1"}"#).expect_err("refused");
        assert_eq!(stranger.refusal, Refusal::Forbidden);
    }
}
