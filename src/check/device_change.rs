use super::{Arg, Judge, Priority, Verdict, Verdicts, View, id};
use crate::observation::MessageKind;
use crate::time::Timestamp;
use crate::vital::ParamSet;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::hash::Hasher;

declare_check! {
    /// ## What it does
    /// Notices that a parameter of a bed comes from another device all at once.
    /// ## Why it matters
    /// Plugging in another monitor takes a minute; another id in the next second is a message that was put in the place of another.
    /// ## How it decides
    /// A device id (OBX-18, PRT-10, EUI-64, MAC) reports a parameter that another one reported less than 60 s before, both are
    /// not in one message, and no ADT of the bed came within ten minutes (two intervals before, where messages come slower than that). Of another sender (address, MSH-3/4, header device) it takes a
    /// second message with none of the first sender's between, and a device that was not here within ten minutes: senders that take turns are P02's. After a gap of 60 s: information, a new device. Devices
    /// that share no parameter (monitor and ventilator) are no change. A message without a device id is not looked at.
    /// ## Known false alerts
    /// A module that is swapped between two values; a gateway that numbers its ports anew.
    /// ## References
    /// Design choice.
    "P04" "device_change" class=Provenance evidence=true weights=(10, 0, 50) rest=Identity
    {
        /// A pause in which a device may be changed, s. Lower: a substitution hides in a short pause. Design choice.
        gap_s: f64 = 60.0;
    }
}

/// Devices remembered of one bed; the one that was silent for longest makes room.
const DEVICES_MAX: usize = 8;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Known {
    key: u64,
    params: ParamSet,
    last_at: Timestamp,
    /// Who sent its values last.
    sender: u64,
    /// Another one has taken its place.
    replaced: bool,
}

/// A device of another sender that took a place: told with its next message, unless another sender speaks between (then it is
/// a second sender, P02).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Waiting {
    sender: u64,
    pause_s: f64,
    params: ParamSet,
    since: Timestamp,
}

/// Two senders that were both heard within this time take turns, seconds (as P02 has it).
const TURNS_S: f64 = 600.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    devices: Vec<Known>,
    waiting: Option<Waiting>,
}

fn hash(key: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(key.as_bytes());
    hasher.finish()
}

impl Check {
    /// A device reports these parameters; the pause since one whose place it takes, and whether that one was of this sender.
    fn take(&self, state: &mut State, key: u64, params: ParamSet, sender: u64, now: Timestamp) -> Option<(f64, bool)> {
        let position = state.devices.iter().position(|d| d.key == key);
        if let Some(known) = position.map(|at| &mut state.devices[at]).filter(|d| !d.replaced) {
            known.params = known.params.union(params);
            known.last_at = now;
            known.sender = sender;
            return None;
        }
        // Who was here a moment ago and comes back takes turns with another sender: that is P02's.
        let returns = position.is_some_and(|at| now.since_s(state.devices[at].last_at) <= TURNS_S);
        let mut taken: Option<(f64, bool)> = None;
        for rival in state.devices.iter_mut().filter(|d| d.key != key && !d.replaced && d.params.intersects(params)) {
            // Two devices in one message measure the same side by side.
            if rival.last_at == now {
                continue;
            }
            let s = now.since_s(rival.last_at);
            if taken.is_none_or(|(pause_s, _)| s < pause_s) {
                taken = Some((s, rival.sender == sender));
            }
            rival.replaced = true;
        }
        let entry = Known { key, params, last_at: now, sender, replaced: false };
        match position {
            Some(at) => state.devices[at] = entry,
            None if state.devices.len() < DEVICES_MAX => state.devices.push(entry),
            None => {
                if let Some(oldest) = state.devices.iter_mut().min_by_key(|d| (!d.replaced, d.last_at)) {
                    *oldest = entry;
                }
            }
        }
        taken.filter(|(_, own)| *own || !returns)
    }
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        if report.kind != MessageKind::Vitals || report.devices.iter().all(|d| d.key.is_empty()) {
            return;
        }
        let mut reported: SmallVec<[ParamSet; 8]> = SmallVec::from_elem(ParamSet::EMPTY, report.devices.len());
        for o in report.observations.iter().filter(|o| o.validity.usable()) {
            if let Some(set) = reported.get_mut(usize::from(o.device)) {
                *set = set.with(o.parameter);
            }
        }
        let mut looked = false;
        let mut change: Option<(f64, bool, ParamSet)> = None;
        let waited = state.waiting.take().filter(|w| w.sender == view.sender);
        // Known ones first: who is in the message is not replaced by another one in it.
        for new in [false, true] {
            for (device, params) in report.devices.iter().zip(&reported) {
                if device.key.is_empty() || params.is_empty() {
                    continue;
                }
                let key = hash(&device.key);
                if state.devices.iter().any(|d| d.key == key && !d.replaced) == new {
                    continue;
                }
                looked = true;
                if let Some((pause_s, own)) = self.take(state, key, *params, view.sender, view.now)
                    && change.is_none_or(|(s, ..)| pause_s < s)
                {
                    change = Some((pause_s, own, *params));
                }
            }
        }
        let (pause_s, params, onset) = match (change, waited) {
            (Some((pause_s, true, params)), _) => (pause_s, params, view.now),
            (Some((pause_s, false, params)), _) => {
                state.waiting = Some(Waiting { sender: view.sender, pause_s, params, since: view.now });
                return;
            }
            (None, Some(waited)) => (waited.pause_s, waited.params, waited.since),
            (None, None) => {
                if looked {
                    out.pass(id::device_change);
                }
                return;
            }
        };
        let verdict = Verdict {
            value: Some(pause_s),
            limit: Some(self.gap_s),
            unit: "s",
            window_s: pause_s,
            args: [view.bed_arg(), ("s", Arg::Number(pause_s, 0))].into_iter().collect(),
            ..Verdict::new(id::device_change, params, onset)
        };
        let information = Verdict { priority: Some(Priority::Info), log10_e: 0.0, ..verdict.clone() };
        out.push(match () {
            () if view.bond.explained => Verdict { text: "explained", ..information },
            () if pause_s >= view.unhurried_s(self.gap_s) => Verdict { text: "after_gap", ..information },
            () => verdict,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::observation::Device;
    use crate::vital::Parameter::{self, Hr, RrVent, Spo2};

    /// One message from each of these devices, `wait_s` after the one before.
    fn from(s: &mut Story<Check>, devices: &str, wait_s: f64, params: &[Parameter]) -> String {
        let mut flags = String::new();
        for key in devices.chars() {
            s.now = s.now.plus_s(wait_s);
            let now = s.now;
            let mut report = s.report(params.iter().map(|p| observation(*p, 72.0, now)).collect());
            report.devices[0].key = key.to_string();
            flags.push(s.send(&report));
        }
        flags
    }

    #[test]
    fn another_id_in_the_next_second_is_told_and_so_is_the_way_back() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(from(&mut s, "aaabbab", 1.0, &[Hr]), "PPPFPFF");
    }

    #[test]
    fn a_device_of_another_sender_that_takes_over_is_told_and_one_that_takes_turns_is_a_second_sender() {
        let told = |messages: &[(u64, &str)]| -> String {
            let mut s = Story::<Check>::of(&[]);
            let tell = |(sender, device): &(u64, &str)| {
                s.sender = *sender;
                from(&mut s, device, 1.0, &[Hr])
            };
            messages.iter().map(tell).collect()
        };
        assert_eq!(told(&[(1, "a"), (1, "a"), (2, "b"), (2, "b"), (2, "b")]), "PP.FP");
        assert_eq!(told(&[(1, "a"), (1, "a"), (2, "b"), (1, "a"), (2, "b"), (2, "b"), (1, "a"), (1, "a")]), "PP.PPPPP");
    }

    #[test]
    fn after_a_minute_it_is_a_new_device() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(from(&mut s, "aab", 59.9, &[Hr]), "PPF");
        assert_eq!(s.found.clone().unwrap().priority, None);
        assert_eq!(from(&mut s, "c", 60.0, &[Hr]), "F");
        let found = s.found.clone().unwrap();
        assert_eq!((found.priority, found.text), (Some(Priority::Info), "after_gap"));
    }

    #[test]
    fn an_adt_explains_it() {
        let mut s = Story::<Check>::of(&[]);
        s.bond.explained = true;
        assert_eq!(from(&mut s, "ab", 1.0, &[Hr]), "PF");
        assert_eq!(s.found.clone().unwrap().priority, Some(Priority::Info));
    }

    #[test]
    fn a_ventilator_beside_the_monitor_and_two_modules_in_one_message_are_no_change() {
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..5 {
            assert_eq!(from(&mut s, "a", 1.0, &[Hr, Spo2]), "P");
            assert_eq!(from(&mut s, "v", 1.0, &[RrVent]), "P");
        }
        let mut s = Story::<Check>::of(&[]);
        for _ in 0..3 {
            s.now = s.now.plus_s(1.0);
            let now = s.now;
            let mut rows = vec![observation(Hr, 72.0, now), observation(Hr, 73.0, now)];
            rows[1].device = 1;
            let mut report = s.report(rows);
            report.devices = ["m1", "m2"].map(|key| Device { key: key.into(), ..Device::default() }).to_vec();
            assert_eq!(s.send(&report), 'P');
        }
    }

    #[test]
    fn a_flood_of_devices_is_bounded_and_each_of_them_is_told() {
        let mut s = Story::<Check>::of(&[]);
        from(&mut s, "a", 1.0, &[Hr]);
        for n in 0..1000 {
            s.now = s.now.plus_s(1.0);
            let now = s.now;
            let mut report = s.report(vec![observation(Hr, 72.0, now)]);
            report.devices[0].key = format!("D{n}");
            assert_eq!(s.send(&report), 'F');
        }
        assert_eq!(s.state.devices.len(), DEVICES_MAX);
    }
}
