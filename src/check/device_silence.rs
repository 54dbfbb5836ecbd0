use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::bed::Bed;
use crate::observation::MessageFlags;
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that nothing at all arrives for a bed.
    /// ## Why it matters
    /// The central view shows old numbers, or none, while the patient goes on.
    /// ## How it decides
    /// No message for more than max(5Δ, 60 s), and the bed is not discharged, on standby or marked off. After half an hour the
    /// priority falls to low.
    /// ## Known false alerts
    /// Transport, network work, a monitor that was switched off.
    /// ## References
    /// A dead man's timer; the limits are design choices.
    "M03" "device_silence" class=Liveness evidence=false weights=(20, 0, 0) rest=Silence
    {
        /// Intervals without a message, count. Lower: jitter alerts. Design choice.
        intervals: f64 = 5.0;
        /// And at least, s. Lower: a restart of a switch port is told. Higher: the central view is old for longer. Design choice.
        silence_s: f64 = 60.0;
        /// From then on low, s. Lower: a long outage is soon overlooked.
        low_s: f64 = 1800.0;
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// When it was last said, and so when not to look again.
    said_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State { said_at: Timestamp::MIN }
    }
}

impl Check {
    fn limit_s(&self, bed: &Bed) -> f64 {
        bed.delta_s().map_or(self.silence_s, |delta_s| (self.intervals * delta_s).max(self.silence_s))
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        // What a clinical system repeats is no sign of life of the monitor beside it.
        let charted = view.report.is_some_and(|r| r.flags.has(MessageFlags::CHARTED)) && view.bed.is_measured();
        if (view.report.is_some() && !charted) || view.bed.off {
            state.said_at = Timestamp::MIN;
            out.pass(id::device_silence);
            return;
        }
        let limit_s = self.limit_s(view.bed);
        let silent_s = view.now.since_s(view.bed.heard_at);
        if silent_s <= limit_s {
            return;
        }
        state.said_at = view.now;
        out.push(Verdict {
            priority: (silent_s >= self.low_s).then_some(Priority::Low),
            value: Some(silent_s),
            limit: Some(limit_s),
            unit: "s",
            window_s: silent_s,
            args: [("n", Arg::Number(silent_s, 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::device_silence, ParamSet::EMPTY, view.bed.heard_at)
        });
    }

    fn deadline(&self, state: &State, bed: &Bed, _: &Profile) -> Timestamp {
        if bed.off {
            return Timestamp::MAX;
        }
        // Said once when it begins and once more when it becomes low.
        let first = bed.heard_at.plus_s(self.limit_s(bed)).plus_ms(1);
        if state.said_at < first {
            return first;
        }
        let low = bed.heard_at.plus_s(self.low_s);
        if state.said_at < low { low } else { Timestamp::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, story};
    use crate::vital::Parameter;

    #[test]
    fn sixty_seconds_without_a_message_are_silence() {
        assert_eq!(story::<Check>(&[Parameter::Hr], "72x20 ~x60 ~ ~x100 72"), "P.F.P");
        let mut s = Story::<Check>::of(&[Parameter::Hr]).every(60.0);
        assert_eq!(s.tell("72x20 ~x5 ~ 72"), "P.FP", "five intervals of a minute");
    }

    #[test]
    fn after_half_an_hour_it_is_low() {
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        s.tell("72x20 ~x100");
        assert_eq!(s.found.clone().unwrap().priority, None);
        assert_eq!(s.found.clone().unwrap().onset, s.bed.heard_at);
        s.tell("~x1800");
        assert_eq!(s.found.unwrap().priority, Some(Priority::Low));
    }

    #[test]
    fn a_bed_that_is_off_may_be_silent() {
        let mut s = Story::<Check>::of(&[Parameter::Hr]);
        s.tell("72x20");
        s.bed.off = true;
        assert_eq!(s.tell("~x4000"), ".");
    }
}
