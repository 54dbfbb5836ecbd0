use super::{Assessment, Judge, Priority, Verdict, Verdicts, View, id};
use crate::bed::Permit;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::hash::Hasher;

declare_check! {
    /// ## What it does
    /// Notices that a known sender shows another certificate than before or than the list demands, or speaks plain text where
    /// TLS is demanded.
    /// ## Why it matters
    /// Names in a message can be copied, a certificate's key cannot. Who calls itself the gateway and cannot prove it is not it.
    /// ## How it decides
    /// A rule of `[senders]` fits in all but its `certificate` or `encrypted`: hard, each message. Without a rule: MSH-3/4 of a
    /// feed that showed one certificate for ten messages and now shows another name or none: hard, each message, until the
    /// certificate known was not seen for a day. The same name with another fingerprint is a renewal: information, once.
    /// ## Known false alerts
    /// A certificate that was issued anew under another name; a gateway taken back to plain text for repair.
    /// ## References
    /// HEKA, CNS 2020: no security in ISO/IEEE 11073; the numbers are design choices.
    "P16" "transport_identity" class=Provenance evidence=true weights=(0, 0, 90) rest=Unverified
    {
        /// Messages with one certificate before it is held against others, count. Lower: a first stray message binds. Design choice.
        messages: f64 = 10.0;
        /// A certificate not seen for so long is forgotten, s. Lower: whoever waits is believed. Higher: a change under another name is told for longer. Design choice.
        forget_s: f64 = 86_400.0;
        /// Over when no such message came for so long, s. Lower: a sender that alternates with the true one flickers. Design choice.
        quiet_s: f64 = 60.0;
    }
}

/// Senders remembered of one bed; the one that was silent for longest makes room.
const SENDERS_MAX: usize = 4;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Known {
    /// Of feed, MSH-3 and MSH-4.
    sender: u64,
    /// Of the certificate's name, and of all of it.
    name: u64,
    whole: u64,
    messages: u32,
    last_at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    known: Vec<Known>,
    failed_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State { known: Vec::new(), failed_at: Timestamp::MIN }
    }
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = FxHasher::default();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish().max(1)
}

/// What is wrong, as the text's variant.
enum Found {
    Nothing,
    Renewed,
    Wrong(&'static str),
}

impl Check {
    fn held(&self, state: &mut State, view: &View<'_>) -> Found {
        match view.bond.permit {
            Permit::Plain => return Found::Wrong("plain"),
            Permit::Certificate => return Found::Wrong("certificate"),
            Permit::Fits | Permit::Unlisted => {}
        }
        let (Some(report), Some(source)) = (view.report, view.source) else { return Found::Nothing };
        if source.certificate.is_none() && state.known.is_empty() {
            return Found::Nothing;
        }
        let sender = hash(&[&source.feed, &report.application, &report.facility]);
        let shown = source.certificate.as_deref().map(|c| (hash(&[c.rsplit_once("sha256:").map_or(c, |(name, _)| name)]), hash(&[c])));
        let (now, forget_s) = (view.now, self.forget_s);
        state.known.retain(|k| now.since_s(k.last_at) <= forget_s);
        let Some(known) = state.known.iter_mut().find(|k| k.sender == sender) else {
            if let Some((name, whole)) = shown {
                if state.known.len() >= SENDERS_MAX {
                    let oldest = (0..state.known.len()).min_by_key(|at| state.known[*at].last_at).unwrap_or(0);
                    state.known.swap_remove(oldest);
                }
                state.known.push(Known { sender, name, whole, messages: 1, last_at: now });
            }
            return Found::Nothing;
        };
        match shown {
            Some((name, whole)) if name == known.name => {
                let renewed = whole != known.whole;
                known.whole = whole;
                known.messages = known.messages.saturating_add(1);
                known.last_at = now;
                if renewed { Found::Renewed } else { Found::Nothing }
            }
            _ if f64::from(known.messages) >= self.messages => Found::Wrong(if shown.is_some() { "other" } else { "lost" }),
            Some((name, whole)) => {
                *known = Known { sender, name, whole, messages: 1, last_at: now };
                Found::Nothing
            }
            None => Found::Nothing,
        }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none() {
            return;
        }
        let verdict = |text: &'static str| Verdict {
            text,
            args: [view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::transport_identity, ParamSet::EMPTY, view.now)
        };
        match self.held(state, view) {
            Found::Nothing if view.now.since_s(state.failed_at) > self.quiet_s => out.pass(id::transport_identity),
            Found::Nothing => {}
            Found::Renewed => out.push(Verdict {
                assessment: Some(Assessment::Unverified),
                priority: Some(Priority::Info),
                log10_e: 0.0,
                ..verdict("renewed")
            }),
            Found::Wrong(text) => {
                state.failed_at = view.now;
                out.push(Verdict { hard: true, log10_e: 4.0, ..verdict(text) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    fn shows(s: &mut Story<Check>, certificate: Option<&str>, story: &str) -> String {
        s.source.certificate = certificate.map(str::to_owned);
        s.found = None;
        let flags = s.tell(story);
        flags + s.found.as_ref().map_or("", |f| f.text)
    }

    #[test]
    fn what_the_list_demands_is_held_at_the_first_message() {
        let mut s = Story::<Check>::of(&[Hr]);
        s.bond.permit = Permit::Plain;
        assert_eq!(shows(&mut s, None, "72"), "Fplain");
        assert!(s.found.clone().unwrap().hard);
        s.bond.permit = Permit::Certificate;
        assert_eq!(shows(&mut s, Some("CN=x sha256:00"), "72"), "Fcertificate");
        s.bond.permit = Permit::Fits;
        assert_eq!(shows(&mut s, None, "72x60 72"), ".P");
    }

    #[test]
    fn a_known_sender_with_another_name_or_none_is_told_after_ten_messages() {
        let mut s = Story::<Check>::of(&[Hr]);
        assert_eq!(shows(&mut s, Some("CN=gw sha256:00"), "72x9"), "P");
        assert_eq!(shows(&mut s, Some("CN=other sha256:11"), "72"), "P", "nine messages bind nobody");
        assert_eq!(shows(&mut s, Some("CN=gw sha256:00"), "72x10"), "P");
        assert_eq!(shows(&mut s, Some("CN=other sha256:11"), "72 72"), "FFother");
        assert_eq!(shows(&mut s, None, "72"), "Flost");
        assert_eq!(shows(&mut s, Some("CN=gw sha256:00"), "72x60 72"), ".P");
        assert_eq!(shows(&mut s, Some("CN=gw sha256:22"), "72 72"), "FPrenewed");
        assert_eq!(s.found.clone().unwrap().priority, Some(Priority::Info));
    }

    #[test]
    fn a_certificate_not_seen_for_a_day_is_forgotten_and_a_feed_without_any_is_none() {
        let mut s = Story::<Check>::of(&[Hr]);
        shows(&mut s, Some("CN=gw sha256:00"), "72x20");
        s.now = s.now.plus_s(86_401.0);
        assert_eq!(shows(&mut s, Some("CN=other sha256:11"), "72"), "P");
        let mut s = Story::<Check>::of(&[Hr]);
        assert_eq!(shows(&mut s, None, "72x100"), "P");
    }
}
