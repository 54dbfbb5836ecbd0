use super::self_replay::Slots;
use super::{Arg, Assessment, Judge, Priority, Verdict, Verdicts, View, id};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

declare_check! {
    /// ## What it does
    /// Notices that the changes of a bed's values repeat those of hours before, whatever the level.
    /// ## Why it matters
    /// A replay that is moved by an offset has no value in common with the past, but all of its steps.
    /// ## How it decides
    /// Each change is a token: which parameters changed, by how much, how long after the change before. Twelve tokens in a row are
    /// hashed; one hash in sixteen is remembered, 192 of them (two to three hours at one value a second), every hash is looked up.
    /// Report only: it calls nobody until it is measured on recordings that did not set it.
    /// ## Known false alerts
    /// Small integers that go up and down by one in an even rhythm (ventilated patients). A replay without offset is found too.
    /// ## References
    /// The limits are design choices. In the benchmark 0 in 48.6 bed-days of clean recordings (at most 0.62 in ten) and 0 in 8.6 at one
    /// message a minute. Own past moved by 5 %: 35 of 40 on recordings at 1 s (median 75 s), 7 of 63 at one a minute; on invented
    /// patients 41 of 64 and 9 of 48. In-sample.
    "T09" "delta_replay" class=Liveness evidence=true weights=(0, 0, 70) rest=Unverified
    {
        /// Parameters with a value, count. Lower: one small alphabet of steps repeats by chance.
        parameters: f64 = 2.0;
        /// Over after so long without a match, s. Lower: a quiet minute closes it. Design choice.
        over_s: f64 = 180.0;
    }
}

/// Tokens of a hash.
const TOKENS: usize = 12;
/// Hashes that are remembered; the oldest makes room.
const KEPT: usize = 192;
/// One hash in so many is remembered.
const SAMPLE: u64 = 16;
/// Place: 32 bits of the hash and the time in seconds.
const TIME: u64 = 0xFFFF_FFFF;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    slots: Slots,
    /// The last tokens, and slots since the one before each.
    tokens: [(u64, u16); TOKENS],
    count: u32,
    /// Slots since the last change.
    still: u16,
    #[serde(with = "crate::stats::packed::words")]
    kept: Vec<u64>,
    next: u8,
    matched_at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        State {
            slots: Slots::default(),
            tokens: [(0, 0); TOKENS],
            count: 0,
            still: 0,
            kept: Vec::new(),
            next: 0,
            matched_at: Timestamp::MIN,
        }
    }
}

impl State {
    fn hash(&self) -> u64 {
        let oldest = self.count as usize;
        (0..TOKENS).fold(0u64, |hash, n| {
            let (moves, gap) = self.tokens[(oldest + n) % TOKENS];
            // How long after the token before the first is no part of them.
            let gap = if n == 0 { 0 } else { u64::from(gap) };
            let h = (hash.rotate_left(23) ^ moves ^ (gap << 48)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            h ^ (h >> 32)
        })
    }
}

impl Judge for Check {
    type State = State;

    fn touch(state: &State) -> u64 {
        state.slots.joint.touch() ^ state.tokens[state.count as usize % TOKENS].0
    }

    fn judge(&self, state: &mut State, view: &View<'_>, out: &mut Verdicts) {
        let Some(heard) = state.slots.hear(view) else { return };
        let delta_s = state.slots.delta_s();
        let mut found = None;
        for slot in &heard.slots {
            state.still = state.still.saturating_add(1);
            if !slot.changed || f64::from(slot.present.count_ones()) < self.parameters {
                continue;
            }
            let at = state.count as usize % TOKENS;
            state.tokens[at] = (slot.moves, std::mem::take(&mut state.still));
            state.count = state.count.checked_add(1).unwrap_or((TOKENS * 2) as u32);
            if (state.count as usize) < TOKENS {
                continue;
            }
            let span_s = state.tokens.iter().map(|(_, gap)| f64::from(*gap)).sum::<f64>() * delta_s;
            let hash = state.hash();
            let now_s = (view.now.ms() / 1000) as u64 & TIME;
            let known = state.kept.iter().find(|k| **k >> 32 == hash >> 32);
            if let Some(age_s) = known.map(|k| (now_s.wrapping_sub(k & TIME) & TIME) as f64) {
                if age_s > span_s.max(f64::from(TOKENS as u32) * delta_s) {
                    found = Some((age_s, span_s));
                }
            } else if hash.is_multiple_of(SAMPLE) {
                let place = hash & !TIME | now_s;
                if state.kept.len() < KEPT {
                    state.kept.push(place);
                } else {
                    state.kept[state.next as usize % KEPT] = place;
                    state.next = (state.next + 1) % KEPT as u8;
                }
            }
        }
        if heard.breaks {
            (state.count, state.still) = (0, 0);
        }
        let Some((age_s, span_s)) = found else {
            if !heard.slots.is_empty() && view.now.since_s(state.matched_at) > self.over_s {
                out.pass(id::delta_replay);
            }
            return;
        };
        if !view.profile.usable(view.bed.epoch_at, view.now) {
            return;
        }
        state.matched_at = view.now;
        out.push(Verdict {
            log10_e: 0.5,
            assessment: Some(Assessment::Unverified),
            priority: Some(Priority::Info),
            value: Some(TOKENS as f64),
            limit: Some(TOKENS as f64),
            unit: "{changes}",
            window_s: span_s,
            args: [
                ("n", Arg::Number(TOKENS as f64, 0)),
                ("s", Arg::Number(span_s, 0)),
                ("t", Arg::Time(view.now.plus_s(-age_s - span_s))),
                view.bed_arg(),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(id::delta_replay, ParamSet::EMPTY, view.now.plus_s(-span_s))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::vital::Parameter;

    /// Seconds of a pulse and a saturation that move at random, all moved by an offset.
    fn stretch(seed: u64, seconds: u64, offset: i64) -> String {
        let (mut noise, mut pulse, mut text) = (seed, 72 + offset, String::new());
        for _ in 0..seconds {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (noise >> 33) % 30;
            pulse += if n < 9 { n as i64 - 4 } else { 0 };
            text += &format!("{}/{} ", pulse, 95 + n / 10);
        }
        text
    }

    #[test]
    fn a_past_that_is_moved_by_five_is_reported_and_calls_nobody() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        assert!(!s.tell(&stretch(1, 600, 0)).contains('F'));
        assert!(!s.tell(&stretch(2, 300, 3)).contains('F'));
        assert!(s.tell(&stretch(1, 300, 5)).contains('F'));
        let found = s.found.unwrap();
        assert_eq!((found.priority, found.hard, found.params), (Some(Priority::Info), false, ParamSet::EMPTY));
        assert!(found.log10_e < 1.0, "the bed goes on learning");
    }

    #[test]
    fn eleven_changes_are_too_few_and_twelve_may_be_enough() {
        // Twelve changes, of which every hash is remembered or none: the run of the past is long, the copy has eleven.
        let past = stretch(3, 600, 0);
        let tokens: Vec<&str> = past.split_whitespace().collect();
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        s.tell(&past);
        let mut changes = 0;
        let mut until = 300;
        while changes < 11 {
            until += 1;
            changes += usize::from(tokens[until] != tokens[until - 1]);
        }
        assert!(!s.tell(&format!("150/90x30 {} {}", tokens[300..=until].join(" "), "150/90x30")).contains('F'));
    }

    #[test]
    fn values_that_stand_still_have_no_changes() {
        let mut s = Story::<Check>::of(&[Parameter::Pr, Parameter::Spo2]);
        assert!(!s.tell("70/97x3000").contains('F'));
    }
}
