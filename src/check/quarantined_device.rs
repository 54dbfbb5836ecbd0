use super::{Judge, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices any message of a device that the site has declared quarantined.
    /// ## Why it matters
    /// It was taken off the network for a reason, and it is on it again: by mistake, or without anybody's knowledge.
    /// ## How it decides
    /// `[[devices.device]]` with `state = "quarantined"`, and the message names the device by its id or is of its sender: each
    /// such message, of any kind, test messages and ADT too. Over when the device was silent for a minute. An entry may be an
    /// address: then each message from there, and in a capture each packet of whatever kind; that one ends by acknowledgement.
    /// ## Known false alerts
    /// A forgotten entry; an id that two devices share.
    /// ## References
    /// Design choice; the operator's own list decides.
    "P17" "quarantined_device" class=Provenance evidence=true weights=(0, 0, 50) rest=Identity
    {
        /// Over when nothing was heard of it for so long, s. Lower: a slow device flickers. Design choice.
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
        if !view.bond.quarantined {
            if view.now.since_s(state.last_at) > self.quiet_s {
                out.pass(id::quarantined_device);
            }
            return;
        }
        state.last_at = view.now;
        out.push(Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(1.0),
            limit: Some(0.0),
            unit: "{messages}",
            args: [view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::quarantined_device, ParamSet::EMPTY, view.now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter::Hr;

    #[test]
    fn its_first_message_is_told_and_a_minute_of_silence_ends_it() {
        let mut s = Story::<Check>::of(&[Hr]);
        assert_eq!(s.tell("72"), "P");
        s.bond.quarantined = true;
        assert_eq!(s.tell("72 -"), "FF");
        assert!(s.found.clone().unwrap().hard);
        s.bond.quarantined = false;
        assert_eq!(s.tell("72x60 73"), ".P");
    }
}
