//! An alert as an IHE ACM report (PCD-04, ORU^R40^ORU_R40): what an alert manager understands.
//!
//! One contract: one message tells one alert, in facets of one OBX each: event, source, phase, state, inactivation, priority,
//! type. The type is never physiological (SP): what we say is about data. Nobody is named; the place stands in PV1-3. The same
//! alert, head and phase give the same bytes but for MSH-7.

use crate::alert::{Alert, AlertState};
use crate::check::{Assessment, Priority};
use crate::text::Language;
use crate::time::Timestamp;
use crate::vital::Parameter;

/// Bytes of a sentence at most.
const TEXT_BYTES_MAX: usize = 1024;
/// Conformance statement in MSH-21.
const PROFILE: &str = "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO";

/// Where an alert stands in what the receiver has heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Start,
    Update,
    Escalate,
    Deescalate,
    End,
}

impl Phase {
    /// The word of the profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Update => "update",
            Phase::Escalate => "escalate",
            Phase::Deescalate => "de-escalate",
            Phase::End => "end",
        }
    }
}

/// What a message has beside the alert.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// MSH-10: the same whenever this event is sent again.
    pub id: &'a str,
    pub site: &'a str,
    /// MSH-5 and MSH-6.
    pub receiver: (&'a str, &'a str),
    pub language: Language,
    pub sent_at: Timestamp,
    /// Number of the event within its alert.
    pub seq: u64,
    pub phase: Phase,
}

/// Letters of priority in OBX-8 and facet 6.
pub const fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "PH",
        Priority::Medium => "PM",
        Priority::Low => "PL",
        Priority::Info => "PN",
    }
}

/// Technical where it is about a sensor, a unit or silence; else advisory. Never physiological.
pub const fn kind(assessment: Assessment) -> &'static str {
    match assessment {
        Assessment::Artefact | Assessment::Unit | Assessment::Silence => "ST",
        Assessment::Tamper | Assessment::Identity | Assessment::Physiology | Assessment::Advisory | Assessment::Unverified => {
            "SA"
        }
    }
}

/// The message, segments ended by CR.
pub fn report(alert: &Alert, head: &Head<'_>) -> Vec<u8> {
    let text = |t: &crate::alert::Text| escaped(if head.language == Language::It { &t.it } else { &t.en });
    let sent = head.sent_at.hl7();
    let (id, site) = (escaped(&alert.id), escaped(head.site));
    let onset = alert.onset.hl7();
    let mut out = format!(
        "MSH|^~\\&|VITALGUARD|{site}|{}|{}|{sent}||ORU^R40^ORU_R40|{}|P|2.6|||AL|NE||UNICODE UTF-8|||{PROFILE}\r",
        escaped(head.receiver.0),
        escaped(head.receiver.1),
        escaped(head.id)
    );
    // Who lies there is not said: an unspecified id of nobody, and a name of the type that stands for none.
    out.push_str("PID|||\"\"||^^^^^^U\r");
    out.push_str(&format!("PV1||U|{}^^{}\r", escaped(&alert.ward), escaped(&alert.bed)));
    let filler = if head.phase == Phase::Start { id.clone() } else { format!("{id}.{}", head.seq) };
    let parent = if head.phase == Phase::Start { String::new() } else { format!("^{id}&VITALGUARD") };
    out.push_str(&format!(
        "OBR|1||{filler}^VITALGUARD|196616^MDC_EVT_ALARM^MDC|||{onset}|{}{}{parent}\r",
        if head.phase == Phase::End {
            alert.ended.or(alert.cleared).map_or_else(String::new, Timestamp::hl7)
        } else {
            String::new()
        },
        "|".repeat(21)
    ));
    let (check, name) = alert.condition.split_once(' ').unwrap_or((&alert.condition, ""));
    let device = alert.device.as_deref().map_or_else(String::new, |d| format!("{}^VITALGUARD", escaped(d)));
    let (level, kind) = (priority(alert.priority), kind(alert.assessment));
    out.push_str(&format!(
        "OBX|1|ST|{}^{}^99VITALGUARD|1.0.0.0.1|{}|||{level}~{kind}|||F|||{}||||{device}\r",
        escaped(check),
        escaped(name),
        text(&alert.text),
        alert.updated.hl7()
    ));
    let action = text(&alert.action);
    if !action.is_empty() {
        out.push_str(&format!("NTE|1||{action}\r"));
    }
    let sources: Vec<String> = alert.params.iter().map(|p| source(*p)).collect();
    let sources = if sources.is_empty() { "VITALGUARD".to_owned() } else { sources.join("~") };
    let (state, inactivation) = states(alert, head.phase);
    let facets = [
        ("68480^MDC_ATTR_ALERT_SOURCE^MDC", sources.as_str()),
        ("68481^MDC_ATTR_EVENT_PHASE^MDC", head.phase.as_str()),
        ("68482^MDC_ATTR_ALARM_STATE^MDC", state),
        ("68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC", inactivation),
        ("68484^MDC_ATTR_ALARM_PRIORITY^MDC", level),
        ("68485^MDC_ATTR_ALERT_TYPE^MDC", kind),
    ];
    for (n, (code, value)) in (2..).zip(facets) {
        out.push_str(&format!("OBX|{n}|ST|{code}|1.0.0.0.{n}|{value}||||||F\r"));
    }
    out.into_bytes()
}

/// Alarm state, and what a person has done to its signal.
fn states(alert: &Alert, phase: Phase) -> (&'static str, &'static str) {
    let state = match alert.state {
        _ if phase == Phase::End => "inactive",
        AlertState::Cleared => "inactive",
        AlertState::Latched => "latched",
        AlertState::Active | AlertState::Acknowledged | AlertState::Shelved => "active",
    };
    let inactivation = match () {
        () if alert.shelved.is_some() => "alarm-paused",
        () if alert.acked.is_some() => "alert-acknowledged",
        () => "enabled",
    };
    (state, inactivation)
}

fn source(parameter: Parameter) -> String {
    parameter.mdc().map_or_else(|| parameter.key().to_owned(), |(_, name)| name.to_owned())
}

/// A text inside a field: delimiters escaped, control characters blanks, of bounded length.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if out.len() >= TEXT_BYTES_MAX {
            break;
        }
        match c {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '~' => out.push_str("\\R\\"),
            '\\' => out.push_str("\\E\\"),
            '&' => out.push_str("\\T\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
