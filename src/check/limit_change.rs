use super::{Arg, Judge, Verdict, Verdicts, View, id};
use crate::bed::Bed;
use crate::observation::MessageKind;
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Keeps a journal of the alarm limits that the bedside monitor sends with its values, and looks how they change.
    /// ## Why it matters
    /// A limit that is moved out of the way silences the alarm that a value would raise, and nothing else shows it.
    /// ## How it decides
    /// A limit is widened past the present value, which was outside until then: told for two minutes. Or the distance of the
    /// limits (of one limit alone: the limit) grows by more than 20 % on at least three beds within ten minutes: one notice. A
    /// limit that is sent for the first time, or no more, is none.
    /// ## Known false alerts
    /// The ward sets new limits: on a round, after an order, for a patient who is known to be outside.
    /// ## References
    /// HL7 v2 chapter 7 (OBX-7) as used by IHE PCD (limits set on the device); the figures are design choices.
    "P12" "limit_change" class=Coherence evidence=true weights=(10, 0, 50) rest=Unverified
    {
        /// Growth of the limits' distance that counts for several beds, 1. Lower: fine adjustment counts. Design choice.
        wider_share: f64 = 0.2;
        /// Beds, count. Lower: two orders at once are told. Design choice.
        beds: f64 = 3.0;
        /// Within, s. Higher: a ward round is told. Design choice.
        window_s: f64 = 600.0;
        /// A change past the present value is told for, s. Lower: below the annunciation delay it is never shown. Design choice.
        told_s: f64 = 120.0;
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct State {
    /// When limits were last widened by more than the share.
    wider_at: Timestamp,
    /// The last change past a present value: when, of what, the limit before and after, the value.
    past: Option<(Timestamp, Parameter, f64, f64, f64)>,
}

impl Default for State {
    fn default() -> Self {
        State { wider_at: Timestamp::MIN, past: None }
    }
}

impl State {
    /// Whether the message of this moment widened limits by more than the share.
    pub fn widened(&self, at: Timestamp) -> bool {
        self.wider_at == at
    }
}

/// How much wider, as a share of what was; 0 where a side is missing on both.
fn growth(old: (f64, f64), new: (f64, f64)) -> f64 {
    let (width_old, width_new) = (old.1 - old.0, new.1 - new.0);
    if width_old.is_finite() && width_new.is_finite() {
        return if width_old > 0.0 { width_new / width_old - 1.0 } else { 0.0 };
    }
    let side = |old: f64, new: f64, outwards: f64| {
        let moved = (new - old) * outwards / old.abs().max(1.0);
        if moved.is_finite() { moved } else { 0.0 }
    };
    side(old.0, new.0, -1.0).max(side(old.1, new.1, 1.0))
}

impl Judge for Check {
    type State = State;

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let vitals = view.report.is_some_and(|r| r.kind == MessageKind::Vitals);
        let mut looked = false;
        for parameter in if vitals { view.fresh_set() } else { ParamSet::EMPTY }.iter() {
            let (Some(o), Some(stream)) = (view.fresh(parameter), view.bed.stream(parameter)) else { continue };
            let (old, new) = (stream.limits, o.limits);
            if stream.channel != o.channel || !(new.0.is_finite() || new.1.is_finite()) {
                continue;
            }
            looked = true;
            if growth(old, new) > self.wider_share {
                state.wider_at = view.now;
            }
            let (v, inside) = (o.value, !(o.value < new.0 || o.value > new.1));
            let passed = match () {
                () if inside && v < old.0 && new.0 < old.0 => Some((old.0, new.0)),
                () if inside && v > old.1 && new.1 > old.1 => Some((old.1, new.1)),
                () => None,
            };
            if let Some((before, after)) = passed {
                state.past = Some((view.now, parameter, before, after, v));
            }
        }
        match state.past {
            Some((at, parameter, before, after, value)) if view.now.since_s(at) < self.told_s => {
                let decimals = u8::from(before.fract() != 0.0 || after.fract() != 0.0);
                out.push(Verdict {
                    value: Some(value),
                    limit: Some(after),
                    unit: parameter.unit().ucum(),
                    window_s: view.now.since_s(at),
                    args: [
                        ("p", Arg::Parameter(parameter)),
                        ("a", Arg::Number(before, decimals)),
                        ("b", Arg::Number(after, decimals)),
                        ("v", Arg::Number(value, u8::from(value.fract() != 0.0))),
                        ("t", Arg::Time(at)),
                        ("n", Arg::Number(1.0, 0)),
                        view.bed_arg(),
                    ]
                    .into_iter()
                    .collect(),
                    ..Verdict::new(id::limit_change, ParamSet::of(parameter), at)
                });
            }
            _ => {
                state.past = None;
                if looked {
                    out.pass(id::limit_change);
                }
            }
        }
    }

    fn deadline(&self, state: &State, _: &Bed, _: &Profile) -> Timestamp {
        state.past.map_or(Timestamp::MAX, |(at, ..)| at.plus_s(self.told_s))
    }
}

/// Beds whose limits were widened lately, in the order in which they were heard of; the oldest makes room.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wider {
    beds: Vec<(u32, Timestamp)>,
    /// While a notice stands: until when.
    until: Option<Timestamp>,
}

/// Beds that are remembered at most.
const WIDER_MAX: usize = 1024;

impl Check {
    /// Limits of a bed were widened by more than the share. While enough beds were within the window, those beds' notice.
    pub fn wider(&self, state: &mut Wider, bed: u32, at: Timestamp) -> Option<(Vec<u32>, Verdict)> {
        state.beds.retain(|(known, since)| *known != bed && at.since_s(*since) <= self.window_s);
        if state.beds.len() >= WIDER_MAX {
            state.beds.remove(0);
        }
        state.beds.push((bed, at));
        if (state.beds.len() as f64) < self.beds {
            return None;
        }
        state.until = Some(at.plus_s(self.window_s));
        let onset = state.beds[0].1;
        let n = state.beds.len() as f64;
        let verdict = Verdict {
            value: Some(n),
            limit: Some(self.beds),
            unit: "{beds}",
            window_s: self.window_s,
            text: "beds",
            args: [
                ("n", Arg::Number(n, 0)),
                ("s", Arg::Number(self.wider_share * 100.0, 0)),
                ("t", Arg::Time(onset)),
                ("bed", Arg::Text("-".to_owned())),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::limit_change, ParamSet::EMPTY, onset)
        };
        Some((state.beds.iter().map(|(bed, _)| *bed).collect(), verdict))
    }

    /// Whether the notice is over now.
    pub fn is_over(&self, state: &mut Wider, at: Timestamp) -> bool {
        let over = state.until.is_some_and(|until| at >= until);
        if over {
            state.until = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::{Story, observation};
    use crate::vital::Parameter::Spo2;

    /// A message a second with this value and these limits.
    fn told(s: &mut Story<Check>, value: f64, limits: (f64, f64)) -> char {
        s.now = s.now.plus_s(1.0);
        let mut o = observation(Spo2, value, s.now);
        o.limits = limits;
        let report = s.report(vec![o]);
        s.send(&report)
    }

    #[test]
    fn a_limit_that_is_moved_past_the_value_is_told_for_two_minutes() {
        let mut s = Story::<Check>::of(&[]);
        assert_eq!(told(&mut s, 88.0, (90.0, 100.0)), '.');
        assert_eq!(told(&mut s, 88.0, (90.0, 100.0)), 'P');
        assert_eq!(told(&mut s, 88.0, (88.5, 100.0)), 'P', "it is outside still");
        let flags: String = (0..122).map(|_| told(&mut s, 88.0, (88.0, 100.0))).collect();
        assert_eq!(flags, "F".repeat(120) + "PP");
        assert_eq!(s.found.clone().unwrap().limit, Some(88.0));
    }

    #[test]
    fn limits_that_change_around_a_value_inside_or_that_begin_are_none() {
        let mut s = Story::<Check>::of(&[]);
        for limits in [(f64::NAN, f64::NAN), (90.0, 100.0), (85.0, 100.0), (92.0, 100.0), (f64::NAN, 100.0), (80.0, 100.0)] {
            assert_ne!(told(&mut s, 96.0, limits), 'F');
        }
    }

    #[test]
    fn a_fifth_is_fine_adjustment_and_more_is_wider() {
        for (low, wider) in [(88.0, false), (87.9, true)] {
            let mut s = Story::<Check>::of(&[]);
            told(&mut s, 95.0, (90.0, 100.0));
            told(&mut s, 95.0, (low, 100.0));
            assert_eq!(s.state.widened(s.now), wider, "{low}");
        }
        assert!((growth((f64::NAN, 100.0), (f64::NAN, 121.0)) - 0.21).abs() < 1e-9);
        assert_eq!(growth((90.0, f64::NAN), (f64::NAN, f64::NAN)), 0.0);
    }

    #[test]
    fn three_beds_within_ten_minutes_are_one_notice_and_over_an_hour_none() {
        let (check, t0) = (Check::default(), Timestamp(1_800_000_000_000));
        let mut state = Wider::default();
        assert!(check.wider(&mut state, 1, t0).is_none());
        assert!(check.wider(&mut state, 1, t0.plus_s(10.0)).is_none(), "one bed twice is one bed");
        assert!(check.wider(&mut state, 2, t0.plus_s(300.0)).is_none());
        let (beds, verdict) = check.wider(&mut state, 3, t0.plus_s(610.0)).unwrap();
        assert_eq!((beds, verdict.value, verdict.onset), (vec![1, 2, 3], Some(3.0), t0.plus_s(10.0)));
        assert!(!check.is_over(&mut state, t0.plus_s(1209.0)) && check.is_over(&mut state, t0.plus_s(1210.0)));
        let mut state = Wider::default();
        for bed in 0..9 {
            assert!(check.wider(&mut state, bed, t0.plus_s(f64::from(bed) * 301.0)).is_none());
        }
    }
}
