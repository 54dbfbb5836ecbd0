use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::{MessageKind, ObsFlags};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that a second sender (peer, MSH-3/4, device) reports the same parameters of a bed.
    /// ## Why it matters
    /// One patient has one heart rate. If two report it, one of them is at the wrong bed, or is not what it says.
    /// ## How it decides
    /// A newcomer reports a parameter of the incumbent within ten minutes of it. Both go on, two messages of the newcomer and the
    /// incumbent again: a second sender. The incumbent stops: a handover, one notice; for the nurses if the newcomer began within
    /// a minute of the incumbent's last message and no ADT explains it, for that is no time to connect a patient. Senders that
    /// share no parameter (monitor and ventilator) are no rivals.
    /// ## Known false alerts
    /// Transport monitor, telemetry, fail-over of a gateway (these take turns). A clinical system whose dialect says that its values
    /// are charted is not looked at.
    /// ## References
    /// Design choice; a shared bed key with two devices is a known failure of systems that are keyed by bed.
    "P02" "second_sender" class=Provenance evidence=true weights=(0, 0, 80) rest=Identity
    {
        /// Messages of the newcomer, count. Lower: one stray message alerts.
        messages: f64 = 2.0;
        /// The incumbent was heard within, s. Lower: a slow pair of senders escapes.
        together_s: f64 = 600.0;
        /// A pause in which a patient may be connected to another sender, s. Lower: a substitution hides in a short pause. Design
        /// choice, as of P04.
        gap_s: f64 = 60.0;
    }
}

/// Senders that are remembered; the one that was silent for longest makes room.
const SENDERS_MAX: usize = 4;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sender {
    key: u64,
    params: ParamSet,
    first_at: Timestamp,
    last_at: Timestamp,
    /// Messages since it came.
    messages: u32,
    /// Times it spoke after the other one had.
    turns: u32,
    /// The handover to it was told.
    told: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    senders: Vec<Sender>,
    /// Who spoke last.
    last: u64,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        // What it reports, new or not: who copies the times of the other one is a second sender all the same.
        let reported: ParamSet = report
            .observations
            .iter()
            // A clinical system that repeats what a person charted is no rival of the monitor.
            .filter(|o| o.validity.usable() && !o.flags.has(ObsFlags::CHARTED))
            .map(|o| o.parameter)
            .collect();
        if report.kind != MessageKind::Vitals || reported.is_empty() {
            return;
        }
        // The usual case: the one sender of this bed.
        if let [only] = &mut state.senders[..]
            && only.key == view.sender
        {
            only.params = only.params.union(reported);
            only.last_at = view.now;
            only.messages = only.messages.saturating_add(1);
            state.last = view.sender;
            out.pass(id::second_sender);
            return;
        }
        let together_s = self.together_s;
        let now = view.now;
        // Who was not heard for ten minutes is no incumbent any more.
        state.senders.retain(|s| s.key == view.sender || now.since_s(s.last_at) <= together_s);
        let position = state.senders.iter().position(|s| s.key == view.sender).unwrap_or_else(|| {
            if state.senders.len() >= SENDERS_MAX {
                let oldest = (0..state.senders.len()).min_by_key(|i| state.senders[*i].last_at).unwrap_or(0);
                state.senders.swap_remove(oldest);
            }
            let (params, told) = (ParamSet::EMPTY, false);
            state.senders.push(Sender { key: view.sender, params, first_at: now, last_at: now, messages: 0, turns: 0, told });
            state.senders.len() - 1
        });
        let other_spoke = state.last != view.sender;
        state.last = view.sender;
        let me = {
            let me = &mut state.senders[position];
            me.params = me.params.union(reported);
            me.last_at = now;
            me.messages = me.messages.saturating_add(1);
            me.turns = me.turns.saturating_add(u32::from(other_spoke));
            *me
        };
        let rival = state.senders.iter().filter(|s| s.key != me.key && s.params.intersects(me.params)).max_by_key(|s| s.last_at);
        let Some(rival) = rival.copied() else {
            out.pass(id::second_sender);
            return;
        };
        let (old, new) = if me.first_at >= rival.first_at { (rival, me) } else { (me, rival) };
        let shared = ParamSet::from_iter(old.params.iter().filter(|p| new.params.contains(*p)));
        if f64::from(new.messages) < self.messages {
            return;
        }
        let verdict = Verdict {
            value: Some(f64::from(new.messages)),
            limit: Some(self.messages),
            unit: "{messages}",
            window_s: now.since_s(new.first_at),
            args: [("n", Arg::Number(f64::from(new.messages), 0)), view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::second_sender, shared, new.first_at)
        };
        // The incumbent was heard after the newcomer had begun.
        if old.last_at > new.first_at {
            out.push(Verdict { hard: true, log10_e: 4.0, text: "interleaved", ..verdict });
        } else if !new.told {
            state.senders[position].told = true;
            let pause_s = new.first_at.since_s(old.last_at);
            let information = Verdict { priority: Some(Priority::Info), ..verdict.clone() };
            out.push(match () {
                () if view.bond.explained => Verdict { text: "explained", ..information },
                () if pause_s >= view.unhurried_s(self.gap_s) => Verdict { text: "after_gap", ..information },
                () => Verdict { text: "handover", ..verdict },
            });
        } else {
            out.pass(id::second_sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter::{self, Hr, RrVent, Spo2};

    /// A message a second from each of these senders.
    fn from(s: &mut Story<Check>, senders: &str, params: &[Parameter]) -> String {
        let mut flags = String::new();
        for sender in senders.chars() {
            s.now = s.now.plus_s(1.0);
            s.sender = sender as u64;
            let now = s.now;
            let report = s.report(params.iter().map(|p| observation(*p, 72.0, now)).collect());
            flags.push(s.send(&report));
        }
        flags
    }

    #[test]
    fn two_that_go_on_side_by_side_are_found_at_the_second_message() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(from(&mut s, "aaaaabababab", &[Hr]), "PPPPP..FFFFF");
        let verdict = s.found.unwrap();
        assert!(verdict.hard && verdict.text == "interleaved");
    }

    #[test]
    fn one_that_copies_the_times_of_the_other_is_found_too() {
        let mut s = Story::<Check>::of(&[]);
        from(&mut s, "aaaa", &[Hr]);
        let mut flags = String::new();
        for _ in 0..3 {
            let at = s.now.plus_s(1.0);
            for sender in ['a', 'b'] {
                s.now = s.now.plus_s(0.5);
                s.sender = sender as u64;
                let report = s.report(vec![observation(Hr, 72.0, at)]);
                flags.push(s.send(&report));
            }
        }
        assert_eq!(flags, "P..FFF");
    }

    #[test]
    fn a_clinical_system_that_repeats_what_was_charted_is_no_rival() {
        let mut s = Story::<Check>::of(&[]);
        let mut flags = String::new();
        for n in 0..6 {
            flags += &from(&mut s, "a", &[Hr]);
            s.now = s.now.plus_s(1.0);
            s.sender = 7;
            let mut charted = observation(Hr, 71.0, s.now);
            charted.flags.set(ObsFlags::CHARTED);
            charted.channel = n;
            let report = s.report(vec![charted]);
            flags.push(s.send(&report));
        }
        assert_eq!(flags, "P.P.P.P.P.P.");
    }

    #[test]
    fn a_handover_is_told_once() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(from(&mut s, "aaaabbbbbb", &[Hr]), "PPPP.FPPPP");
        assert_eq!(s.found.clone().map(|f| (f.priority, f.text)), Some((None, "handover")));
        assert_eq!(from(&mut s, "a", &[Hr]), "F", "the old one comes back");
    }

    #[test]
    fn a_pause_in_which_a_patient_is_connected_and_an_adt_explain_a_handover() {
        for (pause_s, adt, priority, text) in [
            (58.0, false, None, "handover"),
            (59.0, false, Some(Priority::Info), "after_gap"),
            (0.0, true, Some(Priority::Info), "explained"),
        ] {
            let mut s = Story::<Check>::of(&[]);
            from(&mut s, "aaaa", &[Hr]);
            s.bond.explained = adt;
            s.now = s.now.plus_s(pause_s);
            assert_eq!(from(&mut s, "bb", &[Hr]), ".F");
            assert_eq!(s.found.clone().map(|f| (f.priority, f.text)), Some((priority, text)));
        }
    }

    #[test]
    fn after_ten_minutes_of_silence_the_bed_is_free() {
        let mut s = Story::<Check>::of(&[]);
        from(&mut s, "aaa", &[Hr]);
        s.now = s.now.plus_s(601.0);
        assert_eq!(from(&mut s, "bbb", &[Hr]), "PPP");
    }

    #[test]
    fn a_ventilator_beside_the_monitor_is_no_rival() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..5 {
            assert_eq!(from(&mut s, "a", &[Hr, Spo2]), "P");
            assert_eq!(from(&mut s, "v", &[RrVent]), "P");
        }
    }
}
