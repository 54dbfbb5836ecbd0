//! The explanation as one page: inline styles and drawings, no script, nothing fetched.

use super::sum::round;
use super::{Explained, Step, agrees};
use crate::alert::Alert;
use crate::eval::report::{Example, Mark, Panel, Point, STYLE, svg};
use crate::fusion::{Account, Line};
use crate::html::escape as escaped;
use crate::shell::report_page::marked;
use crate::time::Timestamp;
use crate::vital::Parameter;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Parameters that are drawn at most.
const PANELS_MAX: usize = 12;
/// A mark of a single moment is drawn so long, seconds.
const MOMENT_S: f64 = 1.0;

const OWN_STYLE: &str = "mark{background:none;border:2px solid #b3261e;font-weight:700}pre{font:12px/1.5 monospace;white-space:pre-wrap;\
overflow-wrap:anywhere;margin:4px 0}.use{border:2px solid #16212b;padding:6px 10px;font-weight:700}dl{display:grid;\
grid-template-columns:max-content 1fr;gap:2px 14px}dt{color:#5b6b78}dd{margin:0}";

pub(super) fn html(explained: &Explained) -> String {
    let Some(last) = explained.steps.last().map(|step| &step.event.alert) else { return String::new() };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>vitalguard: why {0}</title><style>{STYLE}{OWN_STYLE}</style></head><body><main>\n\
         <header><h1>Why alert {0} was raised</h1><p class=\"sub\">{1}</p></header>\
         <p class=\"use\">Findings about data, not about a patient. Not for primary alarming: look at the patient and the bedside \
         monitor.</p>",
        escaped(&last.reference),
        escaped(&last.condition),
    );
    head(&mut out, explained, last);
    curves(&mut out, explained, last);
    for step in &explained.steps {
        event(&mut out, explained, step);
    }
    out.push_str("</main></body></html>\n");
    out
}

fn head(out: &mut String, explained: &Explained, alert: &Alert) {
    out.push_str("<section><dl>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    };
    row("Alert", &alert.id);
    row("Bed", &format!("{}/{}", alert.ward, alert.bed));
    row("Onset", &alert.onset.to_string());
    row("Raised", &alert.raised.to_string());
    row(
        "Assessment",
        &format!("{}, priority {}, confidence {}", alert.assessment.as_str(), alert.priority.as_str(), alert.confidence.0),
    );
    row("Text", &alert.text.en);
    row("What to do", &alert.action.en);
    row("Model", &format!("{} ({})", alert.model, explained.models.word()));
    row("Compared with what was published", &explained.published.word());
    row("Messages judged again", &explained.messages.to_string());
    row("Program", concat!("vitalguard ", env!("CARGO_PKG_VERSION")));
    out.push_str("</dl></section>");
}

/// Every finding of the alert's events, each check and its parameters once, as far as it reaches.
fn marks(explained: &Explained) -> Vec<(&Line, Timestamp, Timestamp)> {
    let mut all: BTreeMap<(String, Vec<&str>), (&Line, Timestamp, Timestamp)> = BTreeMap::new();
    for line in explained.steps.iter().filter_map(|step| step.account.as_ref()).flat_map(|account| &account.lines) {
        let key = (line.check.meta().condition(), line.params.iter().map(|p| p.key()).collect());
        let mark = all.entry(key).or_insert((line, line.first_at, line.last_at));
        *mark = (line, mark.1.min(line.first_at), mark.2.max(line.last_at));
    }
    all.into_values().collect()
}

fn curves(out: &mut String, explained: &Explained, alert: &Alert) {
    let Some(curve) = &explained.curve else { return };
    let marks = marks(explained);
    let seconds = |at: Timestamp| at.ms() as f64 / 1000.0;
    let zero = seconds(alert.raised);
    // First what the findings speak of.
    let mut wanted: Vec<Parameter> = Vec::new();
    let spoken = marks.iter().flat_map(|(line, ..)| line.params.iter()).chain(curve.parameters());
    for parameter in spoken {
        if !wanted.contains(&parameter) && curve.points(parameter).next().is_some() && wanted.len() < PANELS_MAX {
            wanted.push(parameter);
        }
    }
    let panels: Vec<Panel> = wanted
        .iter()
        .map(|parameter| Panel {
            name: parameter.key().to_uppercase(),
            unit: parameter.unit().ucum().to_owned(),
            points: curve.points(*parameter).map(|point| Point { t: point.t - zero, ..point }).collect(),
        })
        .collect();
    let end = explained.steps.last().map_or(zero, |step| seconds(step.event.ts));
    let example = Example {
        title: format!("values around {}", alert.reference),
        note: String::new(),
        start_s: seconds(alert.onset) - zero,
        end_s: end - zero,
        panels,
        alerts: marks
            .iter()
            .map(|(line, first, last)| Mark {
                from_s: seconds(*first) - zero,
                to_s: (seconds(*last) - zero).max(seconds(*first) - zero + MOMENT_S),
                assessment: line.alone.map_or(String::new(), |a| a.as_str().to_owned()),
                nurse: line.speaks,
                text: line.params.iter().fold(line.check.meta().condition(), |text, p| text + " " + p.key()) + &shown(line),
            })
            .collect(),
    };
    let drawn = svg(&example);
    if drawn.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<section><h2>Values</h2><p class=\"legend\"><i class=\"k sent\"></i> received <i class=\"k band\"></i> what the bed's own \
         statistics expect <i class=\"k attack\"></i> from onset to the last event <i class=\"k nurse\"></i> check that speaks of \
         tampering <i class=\"k engineer\"></i> other check. Time runs from the moment it was raised, {}.</p><figure>{drawn}</figure></section>",
        alert.raised
    );
}

fn shown(line: &Line) -> String {
    let value = line.value.map(|v| format!(": {} {}", round(v), line.unit)).unwrap_or_default();
    let limit = line.limit.map(|l| format!(" (limit {})", round(l))).unwrap_or_default();
    format!("{value}{limit}")
}

fn event(out: &mut String, explained: &Explained, step: &Step) {
    let alert = &step.event.alert;
    let _ = write!(
        out,
        "<section><h2>{} {} <small>event {}</small></h2><p>{} {}, confidence {}. {}</p>",
        step.event.ts,
        step.event.event.as_str(),
        step.event.seq,
        alert.assessment.as_str(),
        alert.priority.as_str(),
        alert.confidence.0,
        escaped(&alert.text.en)
    );
    if let Some(account) = &step.account {
        findings(out, explained, account);
        sums(out, step, account);
    }
    out.push_str("</section>");
}

fn findings(out: &mut String, explained: &Explained, account: &Account) {
    let (half_life_s, most, ..) = Account::CONSTANTS;
    let _ = write!(
        out,
        "<p>Findings within {:.0} s; score = min(log10 e, {most:.0}) · 2^(−age / {half_life_s:.0} s); weights are percent of the score \
         for artefact, physiology, tampering.</p><table><thead><tr><th>check</th><th>class</th><th>parameters</th><th>value</th>\
         <th>limit</th><th>window, s</th><th>log10 e</th><th>age, s</th><th>score</th><th>weights</th><th>credit</th><th>alone</th>\
         <th></th></tr></thead><tbody>",
        account.window_s
    );
    for line in &account.lines {
        let meta = line.check.meta();
        let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{} {}", round(n), escaped(&line.unit)));
        let words = [
            (line.hard, "hard"),
            (!line.holds, "over"),
            (line.supported, "supported by another source"),
            (line.speaks, "speaks of tampering"),
        ];
        let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td>\
             <td class=\"n\">{:.0}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}/{}/{}</td><td class=\"n\">{:.2}/{:.2}/{:.2}</td><td>{}</td>\
             <td>{}</td></tr>",
            escaped(&meta.condition()),
            line.class().as_str(),
            line.params.iter().map(|p| p.key()).collect::<Vec<_>>().join(", "),
            number(line.value),
            number(line.limit),
            round(line.window_s),
            line.log10_e,
            line.age_s,
            line.score,
            meta.art,
            meta.phy,
            meta.tam,
            line.credit[0],
            line.credit[1],
            line.credit[2],
            line.alone.map_or("label", crate::check::Assessment::as_str),
            words.join(", ")
        );
        if let Some(raw) = &line.raw {
            let rows: Vec<String> = explained.segments(line).iter().map(marked).collect();
            let _ = write!(
                out,
                "<tr><td colspan=\"13\"><small>message {}, identities masked (***)</small><pre>{}</pre></td></tr>",
                escaped(raw),
                rows.join("\n")
            );
        }
    }
    out.push_str("</tbody></table>");
}

fn sums(out: &mut String, step: &Step, account: &Account) {
    let [art, phy, tam] = account.sums;
    let _ = write!(
        out,
        "<p>Sums: artefact {art:.2}, physiology {phy:.2}, tampering {tam:.2}; families that speak: {}.",
        account.families
    );
    match account.rule {
        Some(rule) => {
            let (low, more) = rule.scale();
            let _ = write!(
                out,
                " Rule: {}. {low} + {more} · (1 − 10^(−{:.2} / 4)) = {:.2}, where {:.2} is the sum over classes of the largest strength.",
                escaped(rule.sentence()),
                account.evidence,
                account.confidence().unwrap_or_default(),
                account.evidence
            );
        }
        None => out.push_str(" No rule makes tampering of this."),
    }
    match agrees(step) {
        Some(true) => {
            let _ = write!(out, " The event's confidence {} follows from this.", step.event.alert.confidence.0);
        }
        Some(false) => {
            let _ = write!(out, " <b>The event's confidence {} does not follow from this.</b>", step.event.alert.confidence.0);
        }
        None => {}
    }
    out.push_str("</p>");
}
