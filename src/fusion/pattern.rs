//! Known patterns of care and devices (T18), and the findings that they explain.
//!
//! A finding about values that began with a pattern on the same parameters, or while it lasted, is an artefact and joins no
//! evidence of tampering. What another source supports stays physiology; and no pattern explains a replay, a clone, a freeze, a
//! lost beat, a changed resolution or anything about the sender: whoever imitates one must not gain from it.

use super::{Finding, Findings, TWO_READINGS, value_side};
use crate::check::{CheckId, Verdict};
use crate::time::Timestamp;
use crate::vital::ParamSet;
use serde::{Deserialize, Serialize};

const CHECK: &str = "T18";
/// A finding may begin so long before its pattern is recognised, and go on after it, seconds.
const GRACE_S: f64 = 60.0;
/// Patterns remembered at most; one a sensor is usual.
const KEPT: usize = 8;

/// A pattern and when it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    pub params: ParamSet,
    pub onset: Timestamp,
    pub last_at: Timestamp,
}

/// Whether a pattern may explain what a check finds: it looks at values, one at a time or against each other.
fn explainable(check: CheckId) -> bool {
    value_side(check) || matches!(check.meta().id, "M02" | "M05" | "M07" | "T04" | "T10")
}

impl Findings {
    /// Takes note of the pattern that a verdict says.
    pub(super) fn note_pattern(&mut self, verdict: &Verdict, now: Timestamp) {
        if verdict.check.meta().id != CHECK {
            return;
        }
        let (params, onset) = (verdict.params, verdict.onset);
        let same = self.patterns.iter_mut().find(|p| p.params == params && now.since_s(p.last_at) <= GRACE_S);
        if let Some(pattern) = same {
            (pattern.onset, pattern.last_at) = (pattern.onset.min(onset), now);
            return;
        }
        if self.patterns.len() >= KEPT {
            let oldest = (0..KEPT).min_by_key(|at| self.patterns[*at].last_at).unwrap_or(0);
            self.patterns.swap_remove(oldest);
        }
        self.patterns.push(Pattern { params, onset, last_at: now });
    }

    /// Whether a known pattern explains a finding.
    pub fn is_explained(&self, row: &Finding) -> bool {
        // Of two readings of one quantity one that is explained is enough.
        let pair = TWO_READINGS.contains(&row.check.meta().id);
        !row.params.is_empty()
            && explainable(row.check)
            && self.patterns.iter().any(|p| {
                let covers = row.params.minus(p.params).is_empty() || (pair && row.params.intersects(p.params));
                let begins = p.onset.since_s(row.onset) <= GRACE_S;
                covers && begins && row.last_at.since_s(p.last_at) <= GRACE_S
            })
    }
}
