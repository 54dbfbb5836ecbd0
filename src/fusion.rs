//! Fusion: what the verdicts of one bed amount to together.
//!
//! [`Findings`] keeps one row for each check that failed within the window (10 min by default). [`Findings::assess`] says what
//! one row amounts to by itself, [`Findings::tamper`] whether the rows together are tampering. A row is taken by its weights
//! (`art`/`phy`/`tam`, per cent of its log-evidence, half-life of 10 min); an arrow to unit, identity or silence is followed
//! directly; a hard rule decides by itself.
//!
//! **Tamper** needs (i) a hard provenance violation, (ii) an exact replay or clone, or (iii) two evidence classes of two
//! different families, each with e ≥ 100, while the tamper share of all scores is the largest. A joint freeze of at least two
//! sensors (T03) or a lattice lost under a reviewed profile (T06) is tamper at lower confidence. What an independent sensor or
//! the monitor's own alarm supports is *physiology*: it takes value-side evidence away, never replay, clone, lattice,
//! resolution or provenance.
//!
//! **Confidence** (0 to 0.99), a measure of the fused evidence: with s the sum over classes of the largest log10(e), capped at
//! 4 each, it is 0.9 + 0.09·(1 − 10^(−s/4)) for rules (i) to (iii); 0.7 + 0.19·(1 − 10^(−s/4)) for decisive liveness alone; and
//! 1 − 10^(−s/2), at most 0.99, for everything else.

use crate::bed::Bed;
use crate::check::{Arg, Assessment, CheckId, Class, Family, Flag, Priority, Verdict, Verdicts};
use crate::observation::{Alarm, AlarmKind, AlarmPhase, ObsFlags, Report};
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

mod account;
mod pattern;

pub use account::{Account, Line, Rule};

/// Each class must reach this for two families to agree: e ≥ 100.
const LOG10_E_NEEDED: f64 = 2.0;
/// More than this is not credited to one class, so that none outvotes the others.
const LOG10_E_MAX: f64 = 4.0;
/// Half-life of a score, seconds.
const HALF_LIFE_S: f64 = 600.0;
/// Least tamper weight, per cent, of a row that may count towards tampering.
const TAMPER_WEIGHT_MIN: u8 = 20;
/// Support by another source counts so long, seconds (the longest alarm delay and hold of the manuals is 60 s).
const SUPPORT_S: f64 = 60.0;
/// Between an abnormal value and that of another sensor, seconds: the largest lag of two sensors.
const LAG_S: f64 = 30.0;

/// Labels of change or rarity: they never raise anything alone, and become physiology where another source supports them.
const LABELS: [&str; 5] = ["A02", "T02", "T12", "T15", "T18"];
/// Doubts about a level or a trend: what another source can support. A number that contradicts another, or that no monitor
/// can measure, is not a level.
const LEVELS: [&str; 5] = ["A02", "T01", "T12", "T13", "T15"];
/// Their verdict alone goes to the engineers' list.
const ENGINEER: [&str; 22] = [
    "C01", "C03", "C04", "C05", "C08", "M06", "M07", "T04", "T05", "T06", "T09", "T10", "T11", "T14", "T16", "P03", "P06", "P07",
    "A18", "A19", "A21", "A22",
];
/// What a change of configuration at a gateway shows together: one cause, not two kinds of evidence. T05 is its mark in values,
/// and A06 the same step seen beside the saturation's scale.
const CONFIGURATION: [&str; 5] = ["C01", "C04", "P07", "P13", "A06"];
/// Two readings of one quantity.
const TWO_READINGS: [&str; 5] = ["A07", "A08", "A09", "A10", "A17"];
/// Identity beyond doubt: two beds carry one stream or one patient, patients are swapped, a disconnected device is heard.
const IDENTITY_HIGH: [&str; 4] = ["T08", "T17", "P08", "P17"];
/// Trouble of one bed, one feed or of nobody listening.
const SILENCE_MEDIUM: [&str; 5] = ["M03", "M04", "S01", "S02", "S04"];

/// Whether a check looks at values, whose evidence real physiology takes away.
fn value_side(check: CheckId) -> bool {
    let id = check.meta().id;
    id.starts_with('A') || matches!(id, "T01" | "T02" | "T12" | "T13" | "T14" | "T15" | "T16")
}

/// What one check found on one bed, for as long as it matters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    pub check: CheckId,
    /// It said Fail; a Suspect only joins evidence.
    pub fails: bool,
    /// Everything that it found fault with.
    pub params: ParamSet,
    pub onset: Timestamp,
    /// First and last failing verdict.
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Since when the check looks and finds nothing; `None` while it holds.
    pub clean_since: Option<Timestamp>,
    /// When the check last said anything.
    pub looked_at: Timestamp,
    pub hard: bool,
    pub log10_e: f64,
    pub assessment: Option<Assessment>,
    pub priority: Option<Priority>,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub unit: String,
    pub window_s: f64,
    pub set_id: Option<u32>,
    pub effective_at: Option<Timestamp>,
    pub text: String,
    pub args: Vec<(String, Arg)>,
    pub msg_id: Option<String>,
    pub raw: Option<String>,
    /// Times it began.
    pub occurrences: u64,
    /// When another source last supported it.
    pub supported_at: Timestamp,
}

impl Finding {
    /// Whether the condition holds now.
    pub fn holds(&self) -> bool {
        self.clean_since.is_none()
    }
    fn supported(&self, now: Timestamp) -> bool {
        now.since_s(self.supported_at) <= SUPPORT_S
    }
    /// What is credited, log10(e), after its half-life.
    fn score(&self, now: Timestamp) -> f64 {
        let age_s = now.since_s(self.last_at).max(0.0);
        self.log10_e.min(LOG10_E_MAX) * (-age_s / HALF_LIFE_S).exp2()
    }
    /// 0 to 1; 1 is a hard rule.
    pub fn strength(&self) -> f64 {
        if self.hard { 1.0 } else { (1.0 - 10f64.powf(-self.log10_e.clamp(0.0, LOG10_E_MAX) / 2.0)).min(0.99) }
    }
}

/// Where a verdict came from, for its evidence row.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// MSH-10 as it may be published.
    pub msg_id: Option<String>,
    /// Journal key.
    pub raw: Option<String>,
}

/// The rows of one bed, in the order in which they came.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Findings {
    pub rows: Vec<Finding>,
    /// What explains rows (T18).
    patterns: Vec<pattern::Pattern>,
}

/// The rows that together are tampering.
#[derive(Debug, Clone, PartialEq)]
pub struct Tamper {
    /// The strongest of them: it names the condition.
    pub lead: CheckId,
    pub rows: Vec<CheckId>,
    pub params: ParamSet,
    pub confidence: f64,
    pub priority: Priority,
}

impl Findings {
    pub fn row(&self, check: CheckId) -> Option<&Finding> {
        self.rows.iter().find(|r| r.check == check)
    }

    /// Takes what the checks said of one message or moment. True if anything is, or was, found.
    pub fn observe(
        &mut self,
        verdicts: &Verdicts,
        now: Timestamp,
        report: Option<&Report>,
        bed: &Bed,
        origin: &dyn Fn() -> Origin,
    ) -> bool {
        if verdicts.list.is_empty() && self.rows.is_empty() {
            return false;
        }
        let mut seen: u128 = 0;
        for verdict in &verdicts.list {
            let first = seen & (1 << verdict.check.0) == 0;
            seen |= 1 << verdict.check.0;
            if verdict.flag >= Flag::Suspect {
                self.note_pattern(verdict, now);
                self.take(verdict, first, now, origin);
            }
        }
        for row in &mut self.rows {
            if seen & (1 << row.check.0) != 0 || !verdicts.passed(row.check) {
                continue;
            }
            row.looked_at = now;
            if row.clean_since.is_none() {
                row.clean_since = Some(now);
            }
        }
        for at in 0..self.rows.len() {
            if value_side(self.rows[at].check) && self.rows[at].holds() && self.supports(&self.rows[at], now, report, bed) {
                self.rows[at].supported_at = now;
            }
        }
        true
    }

    fn take(&mut self, verdict: &Verdict, first: bool, now: Timestamp, origin: &dyn Fn() -> Origin) {
        let at = match self.rows.iter().position(|r| r.check == verdict.check) {
            Some(at) => at,
            None => {
                self.rows.push(Finding {
                    check: verdict.check,
                    fails: false,
                    params: ParamSet::EMPTY,
                    onset: verdict.onset,
                    first_at: now,
                    last_at: now,
                    // A new row begins as if it had been clean: it begins to hold just below.
                    clean_since: Some(now),
                    looked_at: now,
                    hard: false,
                    log10_e: 0.0,
                    assessment: None,
                    priority: None,
                    value: None,
                    limit: None,
                    unit: String::new(),
                    window_s: 0.0,
                    set_id: None,
                    effective_at: None,
                    text: String::new(),
                    args: Vec::new(),
                    msg_id: None,
                    raw: None,
                    occurrences: 0,
                    supported_at: Timestamp::MIN,
                });
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[at];
        if row.clean_since.take().is_some() {
            row.occurrences += 1;
            row.first_at = now;
            row.onset = verdict.onset;
            row.hard = false;
            row.log10_e = 0.0;
        }
        row.params = row.params.union(verdict.params);
        row.last_at = now;
        row.looked_at = now;
        row.fails |= verdict.flag == Flag::Fail;
        // The strongest verdict of a message speaks for the check.
        if !first && (row.hard, row.log10_e) >= (verdict.hard, verdict.log10_e) {
            return;
        }
        row.hard |= verdict.hard;
        let cap = if row.hard { LOG10_E_MAX } else { f64::INFINITY };
        row.log10_e = row.log10_e.max(verdict.log10_e).min(cap);
        row.assessment = verdict.assessment;
        row.priority = verdict.priority;
        row.value = verdict.value.filter(|v| v.is_finite());
        row.limit = verdict.limit.filter(|v| v.is_finite());
        if row.unit != verdict.unit {
            verdict.unit.clone_into(&mut row.unit);
        }
        row.window_s = verdict.window_s;
        row.set_id = verdict.set_id;
        row.effective_at = verdict.effective_at;
        if row.text != verdict.text {
            verdict.text.clone_into(&mut row.text);
        }
        row.args.clear();
        row.args.extend(verdict.args.iter().map(|(name, arg)| ((*name).to_owned(), arg.clone())));
        let origin = origin();
        if origin.raw.is_some() {
            row.msg_id = origin.msg_id;
            row.raw = origin.raw;
        }
    }

    /// Whether an independent sensor or the monitor's own alarm supports what a row doubts.
    fn supports(&self, row: &Finding, now: Timestamp, report: Option<&Report>, bed: &Bed) -> bool {
        let alarmed = report.is_some_and(|report| {
            // An alarm that is over, or one about a sensor, says nothing for the value.
            let speaks = |a: &Alarm| a.phase != AlarmPhase::End && a.kind != AlarmKind::Technical;
            report.alarms.iter().any(|a| speaks(a) && a.parameter.is_some_and(|p| row.params.contains(p)))
                || report.observations.iter().any(|o| row.params.contains(o.parameter) && o.flags.has(ObsFlags::IN_ALARM))
        });
        if alarmed {
            return true;
        }
        // Another sensor is abnormal or moves too.
        let other = self.rows.iter().any(|r| {
            LEVELS.contains(&r.check.meta().id)
                // What only reports supports nothing.
                && r.priority != Some(Priority::Info)
                && now.since_s(r.last_at) <= LAG_S
                && r.params.union(row.params).sensors() > row.params.sensors()
                && row.params.sensors() >= 1
        });
        // Or another sensor reads the same quantity, and agrees.
        let one = row.params.sensors() == 1 || LEVELS.contains(&row.check.meta().id);
        other || (one && row.params.iter().any(|p| agrees(bed, p, now)))
    }

    /// What a row amounts to by itself; `None`: a label that raises nothing alone.
    pub fn assess(&self, row: &Finding, now: Timestamp) -> Option<Assessment> {
        let meta = row.check.meta();
        let explained = self.is_explained(row);
        if let Some(assessment) = row.assessment
            && !(explained && matches!(assessment, Assessment::Tamper | Assessment::Unverified))
        {
            return Some(assessment);
        }
        if meta.id == "A01" {
            let unit = self.rows.iter().any(|r| r.check.meta().id == "C02" && r.holds() && r.params.intersects(row.params));
            return Some(if unit { Assessment::Unit } else { Assessment::Artefact });
        }
        if LEVELS.contains(&meta.id) && row.supported(now) {
            return Some(Assessment::Physiology);
        }
        if LABELS.contains(&meta.id) {
            return None;
        }
        if matches!(meta.rest, Assessment::Unit | Assessment::Identity | Assessment::Silence | Assessment::Advisory) {
            return Some(meta.rest);
        }
        if explained {
            return Some(Assessment::Artefact);
        }
        if row.hard {
            return Some(Assessment::Tamper);
        }
        if ENGINEER.contains(&meta.id) || meta.art < meta.tam || meta.art < meta.phy {
            return Some(Assessment::Unverified);
        }
        Some(Assessment::Artefact)
    }

    /// Whether the rows together are tampering.
    pub fn tamper(&self, now: Timestamp, agree_s: f64, reviewed: bool) -> Option<Tamper> {
        self.decide(now, agree_s, reviewed).map(|(_, tamper)| tamper)
    }

    /// Whether a row may speak of tampering: within the window, strong and heavy enough, and explained by neither physiology nor a
    /// known pattern.
    fn speaks(&self, row: &Finding, now: Timestamp, agree_s: f64) -> bool {
        let meta = row.check.meta();
        now.since_s(row.last_at) <= agree_s
            && (self.violates(row, now) || (meta.evidence && meta.tam >= TAMPER_WEIGHT_MIN && row.log10_e >= LOG10_E_NEEDED))
            && !(value_side(row.check) && row.supported(now))
            && !self.is_explained(row)
    }

    /// A hard rule that is tampering by itself.
    fn violates(&self, row: &Finding, now: Timestamp) -> bool {
        row.hard && self.assess(row, now) == Some(Assessment::Tamper)
    }

    /// What all rows within the window credit: artefact, physiology, tampering.
    fn sums(&self, now: Timestamp, agree_s: f64) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for row in self.rows.iter().filter(|r| now.since_s(r.last_at) <= agree_s) {
            for (sum, credit) in sums.iter_mut().zip(self.credit(row, now)) {
                *sum += credit;
            }
        }
        sums
    }

    /// What of a row's score goes to artefact, physiology, tampering; nothing where a known pattern explains it.
    fn credit(&self, row: &Finding, now: Timestamp) -> [f64; 3] {
        let (meta, score) = (row.check.meta(), if self.is_explained(row) { 0.0 } else { row.score(now) });
        [meta.art, meta.phy, meta.tam].map(|weight| score * f64::from(weight) / 100.0)
    }

    fn decide(&self, now: Timestamp, agree_s: f64, reviewed: bool) -> Option<(Rule, Tamper)> {
        let mut rows: Vec<&Finding> = self.rows.iter().filter(|r| self.speaks(r, now, agree_s)).collect();
        if rows.is_empty() {
            return None;
        }
        let [art, phy, tam] = self.sums(now, agree_s);
        let decisive = |r: &&Finding| {
            let id = r.check.meta().id;
            r.fails
                && r.holds()
                && ((id == "T03" && (r.params.is_empty() || r.params.sensors() >= 2))
                    || (id == "T06" && reviewed && r.assessment != Some(Assessment::Unverified)))
        };
        let rule = if rows.iter().any(|r| self.violates(r, now)) {
            Rule::Hard
        } else if families(&rows) >= 2 && tam > art && tam > phy {
            Rule::TwoFamilies
        } else if rows.iter().any(decisive) {
            rows.retain(decisive);
            Rule::Liveness
        } else {
            return None;
        };
        let (low, more) = rule.scale();
        let confidence = low + more * (1.0 - 10f64.powf(-evidence_sum(&rows) / 4.0));
        let mut lead = rows[0];
        for row in &rows[1..] {
            let rank = |r: &Finding| (self.violates(r, now), r.log10_e * f64::from(r.check.meta().tam));
            if rank(row) > rank(lead) {
                lead = row;
            }
        }
        let whole = rows.iter().any(|r| r.params.is_empty());
        let params = rows.iter().fold(ParamSet::EMPTY, |set, r| set.union(r.params));
        let high = confidence >= 0.9 && (whole || params.len() >= 2);
        let tamper = Tamper {
            lead: lead.check,
            rows: rows.iter().map(|r| r.check).collect(),
            params: if lead.params.is_empty() { ParamSet::EMPTY } else { params },
            confidence: (confidence * 100.0).round() / 100.0,
            priority: if high { Priority::High } else { Priority::Medium },
        };
        Some((rule, tamper))
    }

    /// Forgets what is over and older than the window; `open`: rows that open alerts still show.
    pub fn prune(&mut self, now: Timestamp, agree_s: f64, open: impl Fn(CheckId) -> bool) {
        self.patterns.retain(|p| now.since_s(p.last_at) <= agree_s);
        self.rows.retain(|r| open(r.check) || now.since_s(r.last_at) <= agree_s);
    }
}

/// How many families of evidence the rows belong to; a person's reading at the bedside is one of its own, and a changed
/// resolution beside a changed configuration is none.
fn families(rows: &[&Finding]) -> usize {
    let configured = rows.iter().any(|r| CONFIGURATION.contains(&r.check.meta().id));
    let mut families: Vec<(Family, bool)> = rows
        .iter()
        .filter(|r| !(configured && r.check.meta().id == "T05"))
        .map(|r| (r.check.meta().class.family(), r.check.meta().id == "P15"))
        .collect();
    families.sort_unstable();
    families.dedup();
    families.len()
}

fn evidence_sum(rows: &[&Finding]) -> f64 {
    let mut best: [(Option<Class>, f64); 5] = [(None, 0.0); 5];
    for row in rows {
        let class = row.check.meta().class;
        let slot = best.iter_mut().find(|(c, _)| c.is_none_or(|c| c == class)).expect("there are five classes");
        *slot = (Some(class), slot.1.max(row.log10_e.min(LOG10_E_MAX)));
    }
    best.iter().map(|(_, e)| e).sum()
}

/// How strong a finding is that is not tampering.
pub fn confidence(row: &Finding) -> f64 {
    let confidence = (1.0 - 10f64.powf(-row.log10_e.clamp(0.0, LOG10_E_MAX) / 2.0)).min(0.99);
    (confidence * 100.0).round() / 100.0
}

/// Pairs of parameters that two sensors read of one quantity, and how far apart they may be: absolute, or this share.
const SAME: [(Parameter, Parameter, f64, f64); 7] = [
    (Parameter::Hr, Parameter::Pr, 25.0, 0.3),
    (Parameter::Hr, Parameter::PrAbp, 25.0, 0.3),
    (Parameter::Pr, Parameter::PrAbp, 25.0, 0.3),
    (Parameter::Rr, Parameter::Awrr, 10.0, 0.3),
    (Parameter::Awrr, Parameter::RrVent, 10.0, 0.3),
    (Parameter::AbpMean, Parameter::NibpMean, 20.0, 0.2),
    (Parameter::AbpSys, Parameter::NibpSys, 30.0, 0.2),
];

/// Whether another sensor reads the same quantity and agrees.
fn agrees(bed: &Bed, parameter: Parameter, now: Timestamp) -> bool {
    SAME.iter().any(|(a, b, absolute, share)| {
        let other = match parameter {
            p if p == *a => *b,
            p if p == *b => *a,
            _ => return false,
        };
        let value = |p: Parameter| bed.stream(p).filter(|s| !s.is_stale(now)).and_then(|s| s.latest).map(|l| l.value);
        match (value(parameter), value(other)) {
            (Some(x), Some(y)) => (x - y).abs() <= absolute.max(share * y.abs()),
            _ => false,
        }
    })
}

/// Parameters on which a lasting artefact is medium.
pub fn vital_artefact(params: ParamSet) -> bool {
    use Parameter::*;
    params.intersects(ParamSet::from_slice(&[Hr, Pr, Spo2, Rr, AbpSys, AbpDia, AbpMean]))
}

/// The priority of a finding that is not tampering, by the contract's table, and when it changes by itself.
///
/// `coexists`: a tamper or identity alert is open on the same bed.
pub fn priority(
    row: &Finding,
    assessment: Assessment,
    now: Timestamp,
    coexists: bool,
    limits: &crate::config::Episodes,
) -> (Priority, Timestamp) {
    if let Some(priority) = row.priority {
        return (priority, Timestamp::MAX);
    }
    let id = row.check.meta().id;
    let never = Timestamp::MAX;
    match assessment {
        // Decided by `tamper`; a single parameter until then.
        Assessment::Tamper => (Priority::Medium, never),
        Assessment::Identity => {
            let high = row.hard && IDENTITY_HIGH.contains(&id);
            (if high { Priority::High } else { Priority::Medium }, never)
        }
        Assessment::Artefact => {
            let lasting_at = row.onset.plus_s(limits.artefact_medium_s);
            match () {
                // No sentence for the ward: an explained finding of theirs stays with the engineers.
                () if ENGINEER.contains(&id) => (Priority::Info, never),
                () if TWO_READINGS.contains(&id) => (Priority::Medium, never),
                () if vital_artefact(row.params) && now >= lasting_at => (Priority::Medium, never),
                () if vital_artefact(row.params) => (Priority::Low, lasting_at),
                () => (Priority::Low, never),
            }
        }
        Assessment::Unit => match id {
            "C01" => (Priority::Info, never),
            "C02" | "A01" => (Priority::Medium, never),
            _ => (Priority::Low, never),
        },
        Assessment::Silence if SILENCE_MEDIUM.contains(&id) => {
            let lower_at = row.first_at.plus_s(limits.silence_low_s);
            let lowers = matches!(id, "M03");
            match () {
                () if lowers && now >= lower_at => (Priority::Low, never),
                () if lowers => (Priority::Medium, lower_at),
                () => (Priority::Medium, never),
            }
        }
        Assessment::Silence => (Priority::Low, never),
        Assessment::Physiology => (if coexists { Priority::Medium } else { Priority::Info }, never),
        Assessment::Advisory => (Priority::Low, never),
        Assessment::Unverified => (Priority::Info, never),
    }
}

#[cfg(test)]
mod tests;
