use super::flat_line::LIVE;
use super::{Arg, Assessment, Judge, Verdict, Verdicts, View, id};
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Sensor};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

declare_check! {
    /// ## What it does
    /// Notices that values no longer change at the beat at which their sensor renews them.
    /// ## Why it matters
    /// Many devices renew a value every few seconds and repeat it in between. Whoever invents or smooths values does not know
    /// that beat, and changes them at any second.
    /// ## How it decides
    /// The moments at which any live value of a sensor changes are taken modulo the period Δ: the profile's where a person has
    /// reviewed it and 20 changes have confirmed it, else the longest multiple (3 to 15) of the interval of the messages on
    /// whose phase 85 % of 100 changes lay, once that has held for 30 min. Less than half of the last 20 changes on one phase
    /// is a verdict, until 70 % are again. Two phases instead of one are a clock that was set. Where messages come slower than
    /// a third of Δ the beat cannot be seen. After an hour without it the beat is learned anew. A beat of a reviewed profile
    /// that is lost is enough for *do not trust these values*; a learned one goes to the engineers.
    /// ## Known false alerts
    /// A gateway that samples anew erases the beat; a clock that is set again and again.
    /// ## References
    /// One monitor: 100 % of the changes of pulse rate and saturation on a beat of 4 s in all of 62 records; 0 false in 3.68
    /// bed-days at 1 s, learned or reviewed, and none in 4.94 of another monitor, which has no beat (52 to 62 % by chance).
    /// Copies of the first with values invented every second: 58 of 58 found, median 18 s (95 %: 22 s); smoothed over 60 s and
    /// rounded again: 50 of 58 within ten minutes, median 185 s. The limits were set on the same recordings. Values that are
    /// invented on the beat are not seen.
    "T06" "update_lattice" class=Liveness evidence=true weights=(10, 0, 70) rest=Unverified
    {
        /// Share of the last 20 changes on one phase, 1. Lower: slower, smoothed values pass. Higher: chance accuses.
        lost_share: f64 = 0.5;
        /// Share from which it is back, 1. Lower: it flickers.
        back_share: f64 = 0.7;
        /// Share of 100 changes on one phase that makes a beat, 1. Lower: chance makes beats.
        learn_share: f64 = 0.85;
        /// Share of the last 20 changes on two phases from which the clock was set, 1. Lower: smoothed values pass.
        two_share: f64 = 0.85;
        /// The beat is learned anew after, s. Lower: it is soon forgotten. Higher: a changed gateway is told for longer.
        relearn_s: f64 = 3600.0;
    }
}

/// Changes that teach a beat, and changes that are judged.
const LEARN: usize = 100;
const JUDGED: usize = 20;
/// A beat is such a multiple of the interval of messages.
const MULTIPLES: [i64; 8] = [15, 12, 10, 8, 6, 5, 4, 3];
/// A phase is a sixteenth of the period, and what lies beside it.
const PHASES: usize = 16;

/// One sensor's beat.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Beat {
    sensor: Sensor,
    /// Zero until it is known; whether a person has reviewed it.
    period_ms: u32,
    reviewed: bool,
    /// A reviewed period that the changes have confirmed.
    confirmed: bool,
    since: Timestamp,
    /// Own times of the last changes, low half.
    changes: VecDeque<u32>,
    last_ms: i64,
    lost_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    beats: Vec<Beat>,
    sender: u64,
}

/// Shares of the changes on the fullest phase, and on that and the next one elsewhere.
fn shares<'a>(changes: impl ExactSizeIterator<Item = &'a u32>, period_ms: u32) -> (f64, f64) {
    let mut bins = [0u16; PHASES];
    let count = changes.len().max(1) as f64;
    for at in changes {
        bins[(u64::from(at % period_ms) * PHASES as u64 / u64::from(period_ms)) as usize] += 1;
    }
    let around = |bins: &[u16; PHASES], at: usize| bins[(at + PHASES - 1) % PHASES] + bins[at] + bins[(at + 1) % PHASES];
    let best = |bins: &[u16; PHASES]| (0..PHASES).map(|at| (around(bins, at), at)).max().unwrap_or_default();
    let (first, at) = best(&bins);
    for offset in [PHASES - 1, 0, 1] {
        bins[(at + offset) % PHASES] = 0;
    }
    let (second, _) = best(&bins);
    (f64::from(first) / count, f64::from(first + second) / count)
}

impl Beat {
    fn new(sensor: Sensor, at: Timestamp) -> Beat {
        let changes = VecDeque::with_capacity(LEARN);
        Beat { sensor, period_ms: 0, reviewed: false, confirmed: false, since: at, changes, last_ms: i64::MIN, lost_at: None }
    }

    /// Learns anew from here.
    fn renew(&mut self, at: Timestamp) {
        (self.period_ms, self.reviewed, self.confirmed, self.since, self.lost_at) = (0, false, false, at, None);
        self.changes.clear();
    }

    fn push(&mut self, at: Timestamp) {
        // Own times that go back are another clock.
        if at.ms() < self.last_ms {
            self.changes.clear();
        }
        self.last_ms = at.ms();
        let kept = if self.period_ms == 0 { LEARN } else { JUDGED };
        while self.changes.len() >= kept {
            self.changes.pop_front();
        }
        self.changes.push_back(at.ms() as u32);
    }

    /// Looks for a beat in the last 100 changes.
    fn learn(&mut self, check: &Check, cadence_ms: i64, at: Timestamp) {
        if self.changes.len() < LEARN {
            return;
        }
        for multiple in MULTIPLES {
            let period_ms = u32::try_from(cadence_ms * multiple).unwrap_or(u32::MAX);
            if (1..=120_000).contains(&period_ms) && shares(self.changes.iter(), period_ms).0 >= check.learn_share {
                self.period_ms = period_ms;
                while self.changes.len() > JUDGED {
                    self.changes.pop_front();
                }
                return;
            }
        }
        self.changes.clear();
        self.since = at;
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        super::touch_each(&state.beats, |beat| u64::from(beat.changes.back().copied().unwrap_or(0)))
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        if view.report.is_none() {
            return;
        }
        let live = ParamSet::from_slice(LIVE);
        let fresh = view.fresh_set();
        let mut moved = ParamSet::EMPTY;
        let mut cadence_s = None;
        for parameter in fresh.iter().filter(|p| live.contains(*p)) {
            let (Some(o), Some(before)) = (view.fresh(parameter), view.preceding(parameter)) else { continue };
            if o.value != before.value {
                moved = moved.with(parameter);
                cadence_s = view.bed.stream(parameter).and_then(|s| s.delta_s());
            }
        }
        if state.sender != view.sender {
            state.sender = view.sender;
            for beat in &mut state.beats {
                beat.changes.clear();
            }
        }
        let (mut looked, mut sensors) = (false, 0u32);
        for parameter in moved.iter() {
            let (sensor, Some(cadence_s), Some(o)) = (parameter.sensor(), cadence_s, view.fresh(parameter)) else { continue };
            if sensors & 1 << sensor as u8 != 0 {
                continue;
            }
            sensors |= 1 << sensor as u8;
            let at = state.beats.iter().position(|b| b.sensor == sensor).unwrap_or_else(|| {
                state.beats.push(Beat::new(sensor, view.now));
                state.beats.len() - 1
            });
            // To 10 ms: own times jitter, and a beat is exact.
            let cadence_ms = (cadence_s * 100.0).round() as i64 * 10;
            looked |= self.change(&mut state.beats[at], o.effective_at, cadence_ms, view);
        }
        let mut found = false;
        for beat in state.beats.iter_mut().filter(|b| b.lost_at.is_some()) {
            let params: ParamSet = fresh.iter().filter(|p| live.contains(*p) && p.sensor() == beat.sensor).collect();
            let Some(since) = beat.lost_at.filter(|_| !params.is_empty()) else { continue };
            let lost_s = view.now.since_s(since);
            if lost_s >= self.relearn_s {
                beat.renew(view.now);
                continue;
            }
            found = true;
            let (share, _) = shares(beat.changes.iter(), beat.period_ms);
            let expected: f64 = 0.95;
            let share_in = share.clamp(0.05, 0.9);
            let apart = share_in * (share_in / expected).log10() + (1.0 - share_in) * ((1.0 - share_in) / (1.0 - expected)).log10();
            out.push(Verdict {
                assessment: (!beat.reviewed).then_some(Assessment::Unverified),
                log10_e: (JUDGED as f64 * apart).clamp(2.0, 15.0),
                value: Some(share),
                limit: Some(self.lost_share),
                window_s: lost_s,
                text: if beat.reviewed { "reviewed" } else { "learned" },
                args: [
                    ("n", Arg::Number(share * JUDGED as f64, 0)),
                    ("d", Arg::Number(f64::from(beat.period_ms) / 1000.0, 2)),
                    view.bed_arg(),
                ]
                .into_iter()
                .collect(),
                ..Verdict::new(id::update_lattice, params, since)
            });
        }
        if looked && !found {
            out.pass(id::update_lattice);
        }
    }
}

impl Check {
    /// A value of a sensor changed. Whether its beat was looked at.
    fn change(&self, beat: &mut Beat, own: Timestamp, cadence_ms: i64, view: &View<'_>) -> bool {
        beat.push(own);
        let profile = view.profile;
        if beat.period_ms == 0 {
            // The beat of the sensor's values, else that of the device: which may be that of its messages only.
            let of_sensor = profile.lattice_s.iter().filter(|(p, _)| p.sensor() == beat.sensor).map(|(_, s)| *s);
            let given_s = of_sensor.reduce(f64::max).or(profile.period_s).filter(|_| profile.reviewed);
            let given = given_s.map_or(0, |s| (s * 1000.0).round() as i64);
            if given >= 3 * cadence_ms && given <= 120_000 {
                (beat.period_ms, beat.reviewed) = (given as u32, true);
            } else if given == 0 {
                beat.learn(self, cadence_ms, view.now);
            }
        }
        if beat.period_ms == 0 || beat.changes.len() < JUDGED {
            return false;
        }
        if i64::from(beat.period_ms) < 3 * cadence_ms {
            // Resampled: such messages cannot show it.
            beat.renew(view.now);
            return false;
        }
        let (one, two) = shares(beat.changes.iter().rev().take(JUDGED), beat.period_ms);
        beat.confirmed |= one >= self.learn_share;
        let may = if beat.reviewed { beat.confirmed } else { profile.learns && view.now.since_s(beat.since) >= Profile::LEARN_S };
        if !may {
            // A habit that was lost before it could accuse was none.
            if one < self.lost_share && !beat.reviewed {
                beat.renew(view.now);
            }
            return false;
        }
        if beat.lost_at.is_some() && one >= self.back_share {
            beat.lost_at = None;
        } else if beat.lost_at.is_none() && one < self.lost_share && two < self.two_share {
            beat.lost_at = Some(view.now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter;

    const SHIPPED: &str = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"x\"\nreviewed = true\nreviewed_by_role = \"x\"\n\
                           reviewed_on = \"2026-11-30\"\nperiod_s = 4.0\n";

    fn reviewed() -> Story<Check> {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        s.profile = Profile::from_toml(SHIPPED).unwrap();
        s
    }

    #[test]
    fn a_reviewed_beat_of_the_values_counts_where_messages_come_faster() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        let beat = format!("{}[lattice_s]\npr = 4.0\nspo2 = 4.0\n", SHIPPED.replace("period_s = 4.0", "period_s = 1.0"));
        s.profile = Profile::from_toml(&beat).unwrap();
        beats(&mut s, 60);
        assert!(invented(&mut s, 60).contains('F'));
        assert_eq!(s.found.unwrap().text, "reviewed");
    }

    /// Values that are renewed every four seconds.
    fn beats(s: &mut Story<Check>, times: u32) -> String {
        (0..times).map(|i| s.tell(&format!("{}/{}x4", 70 + i % 5, 96 + i / 3 % 2))).collect()
    }

    /// Values that change every second.
    fn invented(s: &mut Story<Check>, seconds: u32) -> String {
        (0..seconds).map(|i| s.tell(&format!("{}/97", 70 + i % 7))).collect()
    }

    #[test]
    fn ten_of_twenty_changes_on_the_beat_are_allowed_and_nine_are_not() {
        let mut s = reviewed();
        assert!(!beats(&mut s, 40).contains('F'));
        // From now on at every second but those of the beat.
        let off: String =
            (74..122).step_by(3).map(|v| s.tell(&format!("{v}/97 {}/97 {}/97 {}/97", v + 1, v + 2, v + 3))).collect();
        let flags: String = off.chars().filter(|f| *f != '.').collect();
        assert!(flags.starts_with("PPPPPPPPPPF"), "{flags}");
        let found = s.found.clone().unwrap();
        assert_eq!((found.text, found.assessment, found.params.len()), ("reviewed", None, 2));
        assert!(found.log10_e >= 2.0);
        assert!(!beats(&mut s, 30).ends_with('F'), "the beat is back");
    }

    #[test]
    fn a_learned_beat_accuses_after_half_an_hour_and_stays_unverified() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        assert!(!beats(&mut s, 430).contains('F'));
        assert!(!invented(&mut s, 60).contains('F'), "1720 s");
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        beats(&mut s, 460);
        assert!(invented(&mut s, 20).ends_with('F'));
        assert_eq!(s.found.clone().unwrap().assessment, Some(Assessment::Unverified));
        s.profile.learns = false;
        assert!(s.state.beats[0].lost_at.is_some());
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        s.profile.learns = false;
        beats(&mut s, 460);
        assert!(!invented(&mut s, 60).contains('F'), "only reviewed beats accuse where review is required");
    }

    #[test]
    fn a_clock_that_is_set_shifts_the_phase_and_is_none() {
        let mut s = reviewed();
        beats(&mut s, 40);
        s.now = s.now.plus_s(1.5);
        assert!(!beats(&mut s, 40).contains('F'));
        s.now = s.now.plus_s(-3600.0);
        assert!(!beats(&mut s, 40).contains('F'));
    }

    #[test]
    fn a_device_without_a_beat_and_a_gateway_that_resamples_are_none() {
        let mut s = Story::<Check>::of(&[Parameter::Pr]);
        let mut x = 7u32;
        for i in 0..3000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert!(!s.tell(&format!("{}x{}", 70 + i % 5, 1 + x % 6)).contains('F'));
        }
        let mut s = reviewed();
        beats(&mut s, 40);
        s.step_s = 60.0;
        let flags: String = (0..200).map(|i| s.tell(&format!("{}/97", 70 + i % 7))).collect();
        assert!(!flags.contains('F'), "{flags}");
    }

    #[test]
    fn a_profile_that_is_wrong_about_the_beat_accuses_nobody() {
        let mut s = reviewed();
        assert!(!invented(&mut s, 600).contains('F'), "it was never seen here");
    }

    #[test]
    fn after_an_hour_the_beat_is_learned_anew() {
        let mut s = reviewed();
        beats(&mut s, 40);
        assert!(invented(&mut s, 3600).ends_with('F'));
        assert!(invented(&mut s, 60).ends_with("......"));
    }
}
