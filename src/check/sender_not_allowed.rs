use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::bed::Permit;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices a message from a sender that the site's closed list does not name.
    /// ## Why it matters
    /// Whoever reaches the port can speak for any bed. A closed list makes a new sender visible before its values are believed.
    /// ## How it decides
    /// `[senders] closed = true`, and no rule fits feed, address, MSH-3/4 and certificate: each such message. An ADT message of
    /// such a sender changes nothing. Over when the sender was silent for a minute. With an open list it does not look. A rule
    /// that fits but for certificate or TLS is P16's.
    /// ## Known false alerts
    /// A new device or gateway that nobody entered into the list.
    /// ## References
    /// Design choice; rogue sender in the taxonomy of attacks on HL7 feeds.
    "P03" "sender_not_allowed" class=Provenance evidence=true weights=(0, 0, 70) rest=Identity
    {
        /// Over when no such message came for so long, s. Lower: a sender that alternates with a true one flickers. Design choice.
        quiet_s: f64 = 60.0;
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    last_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State { last_at: Timestamp::MIN }
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none() {
            return;
        }
        if view.bond.permit != Permit::Unlisted {
            if view.now.since_s(state.last_at) > self.quiet_s {
                out.pass(id::sender_not_allowed);
            }
            return;
        }
        state.last_at = view.now;
        let sender = view.report.map_or(String::new(), |r| r.dialect.to_owned());
        out.push(Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(1.0),
            limit: Some(0.0),
            unit: "{messages}",
            args: [view.bed_arg(), ("dialect", Arg::Text(sender))].into_iter().collect(),
            ..Verdict::new(id::sender_not_allowed, ParamSet::EMPTY, view.now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    #[test]
    fn every_message_of_an_unlisted_sender_is_told_and_a_minute_after_the_last_it_is_over() {
        let mut s = Story::<Check>::of(&[Hr]);
        assert_eq!(s.tell("72 73"), "PP");
        s.bond.permit = Permit::Unlisted;
        assert_eq!(s.tell("72 73"), "FF");
        assert!(s.found.clone().unwrap().hard);
        s.bond.permit = Permit::Fits;
        assert_eq!(s.tell("72x60 73"), ".P");
    }

    #[test]
    fn what_fails_at_the_certificate_is_not_its_business() {
        let mut s = Story::<Check>::of(&[Hr]);
        s.bond.permit = Permit::Certificate;
        assert_eq!(s.tell("72"), "P");
    }
}
