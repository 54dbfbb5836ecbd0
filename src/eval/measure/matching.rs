//! Which alerts of an attacked run count as having found the attack: those of the kind named that the clean twin does not explain.
//!
//! An alert is explained where the twin says the same at that time: one of the checks by which it counts, of the same bed, stands
//! there during the attack too, or so near in time that both are one episode. What the twin says of another bed, by another check,
//! or much later or earlier explains nothing.

use super::{AFTER_S, RANDOM_PER_DAY};
use crate::check::{Assessment, CheckId, Priority};
use crate::eval::attack::{Level, Truth};
use crate::eval::runner::{EPISODE_GAP_S, Episode};
use crate::eval::synth::random::Random;
use crate::time::Timestamp;

/// An alert of the twin explains what begins so long before or after it, seconds: alerts this near are one episode.
pub const NEAR_S: f64 = EPISODE_GAP_S;

/// When an episode began to count for a truth at a level; `None`: it is of another kind.
pub fn counted(episode: &Episode, truth: &Truth, level: Level) -> Option<Timestamp> {
    let counts = &truth.counts;
    let kind = if counts.assessments.is_empty() {
        episode.assessment != Assessment::Advisory
    } else {
        // What engineers see alone counts for them as what it would be for a nurse.
        counts.assessments.contains(&episode.assessment)
            || (level == Level::Engineer && episode.assessment == Assessment::Unverified)
    };
    if !kind {
        return None;
    }
    let from = match counts.checks {
        [] => episode.raised_at,
        ids => ids.iter().filter_map(|id| episode.has(id)).min()?.max(episode.raised_at),
    };
    match level {
        Level::Engineer => Some(from),
        Level::Nurse => episode.shown_at.map(|at| at.max(from)),
    }
}

/// Whether two episodes of one kind are of one bed and have a check in common that counts and that stood in the first at a time.
fn alike(own: &Episode, at: Timestamp, twin: &Episode, truth: &Truth) -> bool {
    let ids = truth.counts.checks;
    let counts = |check: &CheckId| ids.is_empty() || ids.contains(&check.meta().id);
    let mut stood = own.checks.iter().filter(|(check, since)| *since <= at && counts(check));
    own.bed == twin.bed && stood.any(|(check, _)| twin.checks.iter().any(|(known, _)| known == check))
}

/// Whether an episode that began to count at a time would have been told without the attack, too.
fn explained(own: &Episode, at: Timestamp, twin: &[Episode], truth: &Truth, level: Level) -> bool {
    let from = at.plus_s(-NEAR_S).max(truth.start);
    let to = at.plus_s(NEAR_S).min(truth.end.plus_s(AFTER_S));
    let there = |t: &&Episode| counted(t, truth, level).is_some_and(|since| t.overlaps(since, from, to));
    twin.iter().filter(there).any(|t| alike(own, at, t, truth))
}

/// The delay of the first episode that counts and that the twin does not explain, seconds.
pub fn found(found: &[Episode], twin: &[Episode], truth: &Truth, level: Level) -> Option<f64> {
    let end = truth.end.plus_s(AFTER_S);
    let counts = |e: &Episode| {
        let at = counted(e, truth, level)?;
        ((truth.start..=end).contains(&at) && !explained(e, at, twin, truth, level)).then_some(at)
    };
    found.iter().filter_map(counts).min().map(|began| began.since_s(truth.start))
}

/// What a detector that is always on would say: everything that is asked for, from the beginning on.
pub fn always_on(truth: &Truth, since: Timestamp) -> Episode {
    let counts = &truth.counts;
    Episode {
        bed: String::new(),
        assessment: counts.assessments.first().copied().unwrap_or(Assessment::Tamper),
        checks: counts.checks.iter().filter_map(|id| CheckId::from_id(id)).map(|check| (check, since)).collect(),
        priority: Priority::High,
        params: truth.params,
        raised_at: since,
        shown_at: Some(since),
        nurse_at: Some(since),
        cleared_at: None,
        text: String::new(),
    }
}

/// When alerts come at random within a stretch of seconds: a Poisson process of [`RANDOM_PER_DAY`].
fn at_random(from: f64, to: f64, random: &mut Random) -> Vec<f64> {
    let mut list = Vec::new();
    let mut at = from;
    loop {
        at -= (1.0 - random.uniform()).ln() * 86_400.0 / RANDOM_PER_DAY;
        if at > to {
            return list;
        }
        list.push(at);
    }
}

/// Whether alerts at random, of one kind and as long as the gap that ends an episode, find an attack by the same rule.
pub fn by_chance(window_s: f64, random: &mut Random) -> bool {
    let own = at_random(0.0, window_s, random);
    let twin = at_random(-EPISODE_GAP_S, window_s, random);
    let explains = |at: f64, t: f64| t <= at + NEAR_S && t + EPISODE_GAP_S >= at - NEAR_S;
    own.iter().any(|at| !twin.iter().any(|t| explains(*at, *t)))
}
