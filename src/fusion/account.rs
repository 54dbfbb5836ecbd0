//! The account of a bed: every finding with what it is credited, the sums, and the rule that follows. What [`Findings::tamper`]
//! decides is read off here, so that an account and a decision cannot differ.

use super::{Finding, Findings, HALF_LIFE_S, LOG10_E_MAX, LOG10_E_NEEDED, TAMPER_WEIGHT_MIN, Tamper, confidence};
use crate::check::{Assessment, CheckId, Class};
use crate::time::Timestamp;
use crate::vital::ParamSet;

/// What one finding brings.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub check: CheckId,
    pub params: ParamSet,
    /// What it amounts to by itself; `None`: a label that raises nothing alone.
    pub alone: Option<Assessment>,
    pub holds: bool,
    pub hard: bool,
    /// Strength as found, decimal logarithm.
    pub log10_e: f64,
    /// Since its last failing verdict, seconds.
    pub age_s: f64,
    /// What is left of it after its half-life.
    pub score: f64,
    /// What of the score goes to artefact, physiology, tampering.
    pub credit: [f64; 3],
    /// Another source supports the value it doubts.
    pub supported: bool,
    /// It may speak of tampering: strong enough, heavy enough, not explained by physiology.
    pub speaks: bool,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub unit: String,
    pub window_s: f64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Journal key of the message that showed it last, and OBX-1 of the row.
    pub raw: Option<String>,
    pub set_id: Option<u32>,
    /// How strong it is alone.
    pub confidence: f64,
}

/// Which rule made tampering of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A hard violation, an exact replay or a clone.
    Hard,
    /// Two classes of two families agree, and the share of tampering is the largest.
    TwoFamilies,
    /// Decisive liveness alone.
    Liveness,
}

impl Rule {
    /// For a reader.
    pub const fn sentence(self) -> &'static str {
        match self {
            Rule::Hard => "a hard violation, an exact replay or a clone decides by itself",
            Rule::TwoFamilies => "two classes of two families agree, and the share of tampering is the largest",
            Rule::Liveness => "decisive liveness alone: at lower confidence",
        }
    }
    /// The lowest confidence of the rule, and how much evidence can add to it.
    pub const fn scale(self) -> (f64, f64) {
        match self {
            Rule::Hard | Rule::TwoFamilies => (0.9, 0.09),
            Rule::Liveness => (0.7, 0.19),
        }
    }
}

/// All findings of a bed at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub at: Timestamp,
    /// Window in which findings count together, seconds.
    pub window_s: f64,
    pub lines: Vec<Line>,
    /// Sums of the credits: artefact, physiology, tampering.
    pub sums: [f64; 3],
    /// Families that speak of tampering.
    pub families: usize,
    pub rule: Option<Rule>,
    /// Sum over classes of the largest strength of the lines that made the decision.
    pub evidence: f64,
    pub tamper: Option<Tamper>,
}

impl Findings {
    /// Every finding, what it is credited, and what follows.
    pub fn account(&self, now: Timestamp, window_s: f64, reviewed: bool) -> Account {
        let lines = self.rows.iter().map(|row| self.line(row, now, window_s)).collect();
        let sums = self.sums(now, window_s);
        let speaking: Vec<&Finding> = self.rows.iter().filter(|row| self.speaks(row, now, window_s)).collect();
        let decision = self.decide(now, window_s, reviewed);
        let evidence = decision.as_ref().map_or(0.0, |(_, tamper)| {
            let rows: Vec<&Finding> = speaking.iter().copied().filter(|r| tamper.rows.contains(&r.check)).collect();
            super::evidence_sum(&rows)
        });
        let (rule, tamper) = decision.unzip();
        Account { at: now, window_s, lines, sums, families: super::families(&speaking), rule, evidence, tamper }
    }

    fn line(&self, row: &Finding, now: Timestamp, window_s: f64) -> Line {
        let (meta, score) = (row.check.meta(), row.score(now));
        Line {
            check: row.check,
            params: row.params,
            alone: self.assess(row, now),
            holds: row.holds(),
            hard: row.hard,
            log10_e: row.log10_e,
            age_s: now.since_s(row.last_at).max(0.0),
            score,
            credit: [meta.art, meta.phy, meta.tam].map(|weight| score * f64::from(weight) / 100.0),
            supported: row.supported(now),
            speaks: self.speaks(row, now, window_s),
            value: row.value,
            limit: row.limit,
            unit: row.unit.clone(),
            window_s: row.window_s,
            first_at: row.first_at,
            last_at: row.last_at,
            raw: row.raw.clone(),
            set_id: row.set_id,
            confidence: confidence(row),
        }
    }
}

impl Line {
    /// The class of its check.
    pub fn class(&self) -> Class {
        self.check.meta().class
    }
}

impl Account {
    /// The constants by which a reader redoes the sum: half-life (s), cap and need of a strength (log10), least weight (%).
    pub const CONSTANTS: (f64, f64, f64, u8) = (HALF_LIFE_S, LOG10_E_MAX, LOG10_E_NEEDED, TAMPER_WEIGHT_MIN);

    /// The confidence that follows from [`Account::rule`] and [`Account::evidence`]; of a single line its own.
    pub fn confidence(&self) -> Option<f64> {
        let (low, more) = self.rule?.scale();
        Some(((low + more * (1.0 - 10f64.powf(-self.evidence / 4.0))) * 100.0).round() / 100.0)
    }
}
