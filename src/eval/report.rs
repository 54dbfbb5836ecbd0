//! What a benchmark says: one [`Report`], as JSON, as a table for a terminal, and as one page of HTML that needs nothing else.
//!
//! Every figure stands with its count and its interval. A target that was missed is printed as missed; what cannot be found is
//! in the table with the sentence that says why.

use super::score::{Delays, Interval, poisson_interval, poisson_upper, precision, wilson};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

mod page;
mod plot;

pub use page::{STYLE, html};
pub use plot::svg;

/// Found out of tried, and its interval (Wilson 95 %).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub found: u64,
    pub tried: u64,
    pub interval: Interval,
}

impl Rate {
    pub fn new(found: u64, tried: u64) -> Rate {
        Rate { found, tried, interval: wilson(found, tried) }
    }
    /// `None` where nothing was tried.
    pub fn share(&self) -> Option<f64> {
        (self.tried > 0).then(|| self.found as f64 / self.tried as f64)
    }
    pub fn text(&self) -> String {
        match self.share() {
            None => "not tried".into(),
            Some(share) => {
                format!("{share:.2} [{:.2}, {:.2}] {}/{}", self.interval.low, self.interval.high, self.found, self.tried)
            }
        }
    }
}

/// Events over bed-days, with exact bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PerDay {
    pub events: u64,
    pub bed_days: f64,
    /// One-sided 95 % upper bound of the rate a bed-day (exact Poisson).
    pub upper: f64,
    /// Two-sided 95 % interval (exact Poisson).
    pub poisson: Interval,
    /// Two-sided 95 % interval, patients drawn with replacement.
    pub bootstrap: Option<Interval>,
}

impl PerDay {
    pub fn new(events: u64, bed_days: f64, bootstrap: Option<Interval>) -> PerDay {
        if bed_days <= 0.0 {
            return PerDay { events, bed_days: 0.0, upper: 0.0, poisson: Interval { low: 0.0, high: 0.0 }, bootstrap: None };
        }
        let i = poisson_interval(events);
        let poisson = Interval { low: i.low / bed_days, high: i.high / bed_days };
        PerDay { events, bed_days, upper: poisson_upper(events) / bed_days, poisson, bootstrap }
    }
    /// A bed-day; 0 without live data.
    pub fn rate(&self) -> f64 {
        if self.bed_days > 0.0 { self.events as f64 / self.bed_days } else { 0.0 }
    }
    /// In events per ten bed-days.
    pub fn text(&self) -> String {
        if self.bed_days <= 0.0 {
            return "no live data".into();
        }
        format!(
            "{:.2} per 10 bed-days, at most {:.2} ({} in {:.1} bed-days)",
            10.0 * self.rate(),
            10.0 * self.upper,
            self.events,
            self.bed_days
        )
    }
}

/// What was put in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetLine {
    pub set: String,
    pub records: u64,
    pub patients: u64,
    pub bed_days: f64,
    pub interval_s: f64,
    /// `monitor`, `charted`, `repeat` (records that stand in another set, too) or `synthetic`: only `monitor` is pooled.
    pub kind: String,
    /// Rows that could not be used, and what else was odd.
    pub oddities: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Met,
    Missed,
    /// Cannot be won with what is sent; the row says so.
    Stated,
    /// Nothing of it was tried: no claim.
    NotTried,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::Missed => "MISSED",
            Outcome::Stated => "stated",
            Outcome::NotTried => "not tried",
        }
    }
}

/// A row of the table of targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetLine {
    pub what: String,
    pub target: String,
    pub measured: String,
    pub outcome: Outcome,
    pub delays: Option<Delays>,
    pub remark: String,
}

/// False alerts of one setup, set, encoding and rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CleanLine {
    pub setup: String,
    pub set: String,
    pub encoding: String,
    pub rate: String,
    pub records: u64,
    pub records_with: u64,
    /// Share of records with at least one (Clopper and Pearson, 95 %).
    pub records_interval: Interval,
    pub tamper: PerDay,
    /// Alerts that call a nurse, by assessment, a bed-day.
    pub nurse: Vec<(String, f64)>,
    /// All episodes by check, most frequent first: id, nurse level, all.
    pub checks: Vec<(String, u64, u64)>,
}

/// How one attack fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttackLine {
    pub setup: String,
    /// Real recordings or synthetic patients.
    pub source: String,
    pub taxonomy: String,
    pub kind: String,
    pub severity: String,
    pub duration_s: u32,
    pub params: String,
    pub tier: String,
    pub rate: String,
    pub counts_as: String,
    pub nurse: Rate,
    pub engineer: Rate,
    /// Within the delay that the target names, of those that it can judge.
    pub in_time: Rate,
    /// Too few altered readings came in their time for a target that is set in readings.
    #[serde(default)]
    pub unjudged: u64,
    pub delays: Option<Delays>,
    /// A random scorer on the same events.
    pub random: Rate,
    /// An always-alert detector: it is on in the twin, too, so that nothing counts.
    pub always: Rate,
    pub undetectable: Option<String>,
}

/// A rule that calls nobody until it is measured: what it finds of its own attacks, and how often it speaks where nothing was
/// changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialLine {
    pub check: String,
    /// By kind of attack, source and cadence.
    pub attacks: Vec<TrialShare>,
    /// On clean recordings of monitors, one bed alone.
    pub own_cadence: PerDay,
    /// Nothing for a rule that compares beds: a bed alone makes it say nothing.
    pub one_a_minute: Option<PerDay>,
    /// The same recordings side by side, for a rule that compares beds.
    pub wards: Option<PerDay>,
}

impl TrialLine {
    /// How often it speaks on clean recordings: as it was made to be asked, and at one a minute.
    fn clean(&self) -> (String, String) {
        let minute = self.one_a_minute.as_ref().map_or("–".into(), PerDay::text);
        (self.wards.as_ref().unwrap_or(&self.own_cadence).text(), minute)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialShare {
    pub kind: String,
    pub source: String,
    pub rate: String,
    pub found: Rate,
    pub delays: Option<Delays>,
}

/// One kind of real deterioration, without and with masking.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SafetyLine {
    pub what: String,
    pub segments: u64,
    pub records: u64,
    pub tamper_clean: u64,
    /// Told by the checks of levels and trends alone, and what of it is missing when all are fused.
    pub physiology: u64,
    pub physiology_lost: u64,
    pub delay_s_max: f64,
    pub masked: u64,
    pub masked_found: u64,
    pub withheld: u64,
}

/// A control that must not become tampering.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlLine {
    pub control: String,
    pub record: String,
    pub second: Option<f64>,
    /// Runs (setup × encoding × rate) that were made; 0: the record is not there.
    pub runs: u64,
    pub tamper: u64,
    /// What was said instead, at that place.
    pub said: Vec<String>,
}

/// What it costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub messages: u64,
    /// Of one core, microseconds a message: reading, judging, alerts.
    pub us_per_message: Option<f64>,
    /// Of the messages that were timed, on average.
    pub values_per_message: u32,
    pub bed_bytes_max: u64,
    pub wall_s: f64,
    pub threads: u64,
}

/// One event to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub title: String,
    pub note: String,
    pub start_s: f64,
    pub end_s: f64,
    pub panels: Vec<Panel>,
    pub alerts: Vec<Mark>,
}

/// One parameter of an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    pub name: String,
    pub unit: String,
    /// Time, s; what was sent; what the patient had; what the bed's statistics expect.
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub t: f64,
    pub sent: Option<f64>,
    pub truth: Option<f64>,
    pub band: Option<(f64, f64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub from_s: f64,
    pub to_s: f64,
    pub assessment: String,
    pub nurse: bool,
    pub text: String,
}

/// A detector of others on the same runs, as read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerLine {
    pub peer: String,
    /// False alerts a bed-day at which its threshold was chosen.
    pub budget: String,
    /// False alerts a bed-day on the judged part.
    pub false_per_bed_day: f64,
    pub found: u64,
    pub tried: u64,
    #[serde(default)]
    pub remark: String,
    /// By kind of attack: found, tried.
    #[serde(default)]
    pub kinds: Vec<(String, u64, u64)>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub version: String,
    /// SHA-256 over every table and threshold that decides.
    pub model: String,
    pub seed: u64,
    pub quick: bool,
    pub sets: Vec<SetLine>,
    pub targets: Vec<TargetLine>,
    pub clean: Vec<CleanLine>,
    pub attacks: Vec<AttackLine>,
    #[serde(default)]
    pub trials: Vec<TrialLine>,
    pub safety: Vec<SafetyLine>,
    pub controls: Vec<ControlLine>,
    pub cost: Cost,
    pub examples: Vec<Example>,
    pub peers: Vec<PeerLine>,
    /// Attack and why it could not be made, with the number of records.
    pub skipped: Vec<(String, u64)>,
    pub notes: Vec<String>,
}

impl Report {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data is written to memory")
    }

    /// The false tamper alerts a bed-day that stand for the whole: of the first setup, all monitor sets.
    pub fn pooled(&self) -> Option<&CleanLine> {
        self.clean.iter().find(|l| l.set == POOLED)
    }

    /// The table of targets, and what belongs beside it.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let width = self.targets.iter().map(|t| t.what.len()).max().unwrap_or(0).min(64);
        for t in &self.targets {
            let _ = writeln!(out, "{:<9} {:<width$}  target {}", t.outcome.as_str(), t.what, t.target);
            let _ = write!(out, "{:<9} {:<width$}  {}", "", "", t.measured);
            if let Some(d) = t.delays {
                let _ = write!(out, "; delay {:.0} s, p95 {:.0} s", d.median_s, d.p95_s);
            }
            let _ = writeln!(out);
            if !t.remark.is_empty() {
                let _ = writeln!(out, "{:<9} {:<width$}  {}", "", "", t.remark);
            }
        }
        let count = |o: Outcome| self.targets.iter().filter(|t| t.outcome == o).count();
        let _ = writeln!(
            out,
            "\n{} met, {} missed, {} stated as not winnable, {} not tried.",
            count(Outcome::Met),
            count(Outcome::Missed),
            count(Outcome::Stated),
            count(Outcome::NotTried)
        );
        let _ = writeln!(out, "{}", self.precision_line());
        self.trial_table(&mut out);
        for note in &self.notes {
            let _ = writeln!(out, "Note: {note}");
        }
        out
    }

    /// Rules on trial, a line each, and one for each kind of attack that was tried.
    fn trial_table(&self, out: &mut String) {
        if self.trials.iter().all(|t| t.attacks.is_empty()) {
            return;
        }
        let _ = writeln!(out, "\nRules on trial: engineers' list alone, until these figures speak for more.");
        for t in &self.trials {
            let side = if t.wards.is_some() { "clean, side by side" } else { "clean" };
            let (own, minute) = t.clean();
            let _ = writeln!(out, "{:<4} {side}: {own}; at one a minute: {minute}", t.check);
            for a in &t.attacks {
                let delay = a.delays.map_or(String::new(), |d| format!("; delay {:.0} s, p95 {:.0} s", d.median_s, d.p95_s));
                let _ = writeln!(out, "     {}, {}, {}: {}{delay}", a.kind, a.source, a.rate, a.found.text());
            }
        }
    }

    /// Precision at one attack in 1 000 bed-days and a sensitivity of 0.9, for three rates of false alerts and the measured one.
    pub fn precision_line(&self) -> String {
        let percent = |rate: f64| precision(0.9, rate).map_or("-".into(), |p| format!("{:.1} %", 100.0 * p));
        let mut text = format!(
            "Precision at 1 attack per 1 000 bed-days and sensitivity 0.9: {} at 0.1 false a bed-day, {} at 0.03, {} at 0.001",
            percent(0.1),
            percent(0.03),
            percent(0.001)
        );
        if let Some(line) = self.pooled() {
            let _ = write!(text, "; here at least {} (upper bound of false alerts)", percent(line.tamper.upper));
        }
        text.push('.');
        text
    }
}

/// All monitor-rate sets together.
pub const POOLED: &str = "all monitor sets";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_with_its_interval_and_its_count() {
        assert_eq!(Rate::new(9, 10).text(), "0.90 [0.60, 0.98] 9/10");
        assert_eq!(Rate::new(0, 0).text(), "not tried");
    }

    #[test]
    fn nothing_in_thirty_bed_days_is_at_most_one_in_ten() {
        let none = PerDay::new(0, 30.0, None);
        assert!(none.upper * 10.0 < 1.0 && none.rate() == 0.0);
        assert!(PerDay::new(1, 48.7, None).upper * 10.0 < 1.0);
        assert!(PerDay::new(2, 48.7, None).upper * 10.0 > 1.0);
        assert_eq!(none.text(), "0.00 per 10 bed-days, at most 1.00 (0 in 30.0 bed-days)");
    }
}
