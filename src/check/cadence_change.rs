use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::clockwork::Pace;
use crate::observation::MessageKind;
use crate::stats::lattice::{Beat, Lattice};
use crate::time::Timestamp;
use crate::vital::{Nature, ParamSet};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Watches whether a sender keeps the period of its messages for a bed.
    /// ## Why it matters
    /// Gateways send by a fixed beat. Another beat is another configuration, or another sender behind the same name; two beats
    /// inside one another are two senders.
    /// ## How it decides
    /// The period is learned from 60 intervals with a jitter (MAD) of at most a tenth; senders without a period are not looked
    /// at. Ten messages in a row more than max(a quarter of the period, 6 MADs) off it, or ten neighbouring intervals that add
    /// up to it (two phases), make a verdict. A pause and the burst after it do not count, neither do backlogs. Ten minutes
    /// later the new beat is learned.
    /// ## Known false alerts
    /// The configuration of a gateway was changed; a network that loses every second message.
    /// ## References
    /// Gateways hold fixed periods (one family sends every 5.01 s); the limits are design choices.
    "P07" "cadence_change" class=Provenance evidence=true weights=(20, 0, 50) rest=Unverified
    {
        /// Messages in a row off the period, count. Lower: a stumbling network is told. Design choice.
        messages: f64 = 10.0;
        /// From then on the new beat is learned, s. Lower: it is soon forgotten. Higher: a changed configuration is told for longer. Design choice.
        relearn_s: f64 = 600.0;
    }
}

/// Senders of one bed whose beat is followed; the one that was silent for longest makes room.
const SENDERS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Followed {
    sender: u64,
    heard_at: Timestamp,
    off_since: Timestamp,
    lattice: Lattice,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    senders: Vec<Followed>,
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        let continuous = report.observations.iter().any(|o| o.parameter.nature() == Nature::Continuous);
        // Cuffs come when they come, and a backlog has the beat of the network.
        if report.kind != MessageKind::Vitals || !continuous || matches!(view.clock.pace, Pace::Backlog | Pace::Undecided) {
            return;
        }
        let position = state.senders.iter().position(|s| s.sender == view.sender).unwrap_or_else(|| {
            if state.senders.len() >= SENDERS_MAX {
                let oldest = (0..state.senders.len()).min_by_key(|i| state.senders[*i].heard_at).unwrap_or(0);
                state.senders.swap_remove(oldest);
            }
            state.senders.push(Followed { sender: view.sender, ..Followed::default() });
            state.senders.len() - 1
        });
        let followed = &mut state.senders[position];
        let first = followed.heard_at == Timestamp::default();
        let interval_ms = view.now.since_ms(followed.heard_at);
        followed.heard_at = view.now;
        if first {
            return;
        }
        let lattice = &mut followed.lattice;
        match lattice.push(interval_ms) {
            Beat::Unknown | Beat::Burst => return,
            Beat::On => {
                out.pass(id::cadence_change);
                return;
            }
            Beat::Off if lattice.off() == 1 => followed.off_since = view.now,
            Beat::Off => {}
        }
        let (off, paired) = (lattice.off(), lattice.paired());
        let Some(period_ms) = lattice.period_ms() else { return };
        // A habit that was only learned here may accuse once the profile may.
        if f64::from(off) < self.messages || !view.profile.usable(view.bed.epoch_at, view.now) {
            return;
        }
        let since = followed.off_since;
        let two = f64::from(paired) + 1.0 >= self.messages;
        if view.now.since_s(since) >= self.relearn_s {
            followed.lattice = Lattice::default();
            return;
        }
        out.push(Verdict {
            value: Some(interval_ms as f64 / 1000.0),
            limit: Some(period_ms / 1000.0),
            unit: "s",
            window_s: view.now.since_s(since),
            text: if two { "two_phases" } else { "default" },
            args: [
                ("n", Arg::Number(f64::from(off), 0)),
                ("p", Arg::Number(period_ms / 1000.0, 2)),
                ("s", Arg::Number(interval_ms as f64 / 1000.0, 2)),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::cadence_change, ParamSet::EMPTY, since)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter::{Hr, NibpSys};

    fn beat(s: &mut Story<Check>, intervals_s: &[f64], times: usize) -> String {
        let mut flags = String::new();
        for _ in 0..times {
            for interval in intervals_s {
                s.now = s.now.plus_s(*interval);
                let now = s.now;
                let report = s.report(vec![observation(Hr, 72.0, now)]);
                flags.push(s.send(&report));
            }
        }
        flags
    }

    fn learned(period_s: f64) -> Story<Check> {
        let mut s = Story::<Check>::of(&[]);
        assert!(beat(&mut s, &[period_s, period_s * 1.02, period_s * 0.98], 25).ends_with("PPPPPPPPP"));
        s
    }

    #[test]
    fn nine_messages_off_the_beat_are_none_and_ten_are_a_verdict() {
        let mut s = learned(5.01);
        assert_eq!(beat(&mut s, &[10.0], 9) + &beat(&mut s, &[5.01], 1), ".........P");
        assert_eq!(beat(&mut s, &[10.0], 11), ".........FF");
        assert_eq!(s.found.clone().unwrap().text, "default");
        assert_eq!(s.found.clone().unwrap().limit, Some(5.01));
    }

    #[test]
    fn two_interleaved_senders_of_one_name_are_told_as_such() {
        let mut s = learned(1.0);
        assert_eq!(beat(&mut s, &[0.4, 0.6], 6), ".........FFF");
        beat(&mut s, &[0.4, 0.6], 1);
        assert_eq!(s.found.unwrap().text, "two_phases");
    }

    #[test]
    fn pauses_bursts_jitter_and_cuffs_are_none() {
        let mut s = learned(1.0);
        assert!(!beat(&mut s, &[30.0], 1).contains('F'));
        assert!(!beat(&mut s, &[0.01], 30).contains('F'));
        assert!(!beat(&mut s, &[0.8, 1.2, 1.05, 0.95], 50).contains('F'));
        for _ in 0..30 {
            s.now = s.now.plus_s(0.5);
            let now = s.now;
            let report = s.report(vec![observation(NibpSys, 120.0, now)]);
            assert_eq!(s.send(&report), '.');
        }
    }

    #[test]
    fn a_new_beat_is_learned_after_ten_minutes_and_none_accuses_before_half_an_hour() {
        let mut s = learned(5.0);
        assert!(beat(&mut s, &[10.0], 140).ends_with("PPP"));
        let mut s = Story::<Check>::of(&[]);
        s.profile.reviewed = false;
        beat(&mut s, &[5.0], 70);
        assert!(!beat(&mut s, &[10.0], 20).contains('F'));
    }
}
