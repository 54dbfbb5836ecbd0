//! The sum behind every event: as one object, and in words that fit a terminal.

use super::published::Published;
use super::{Step, agrees, expected};
use crate::check::Assessment;
use crate::fusion::{Account, Line};
use crate::shell::marked::pieces;
use serde_json::{Value, json};
use std::io::Write;

pub(super) fn round(value: f64) -> Value {
    crate::hl7::show::number((value * 1e4).round() / 1e4)
}

/// The segments of a finding's message in which a field is marked.
fn marked(segments: &[Value]) -> impl Iterator<Item = &Value> {
    segments.iter().filter(|segment| segment["marks"].as_array().is_some_and(|marks| !marks.is_empty()))
}

fn line_object(line: &Line, segments: &[Value]) -> Value {
    let meta = line.check.meta();
    json!({
        "check": meta.condition(), "class": line.class().as_str(), "evidence": meta.evidence,
        "params": line.params.iter().map(|p| p.key()).collect::<Vec<_>>(),
        "alone": line.alone.map(Assessment::as_str), "holds": line.holds, "hard": line.hard,
        "value": line.value.map(round), "limit": line.limit.map(round), "unit": line.unit, "window_s": round(line.window_s),
        "first_at": line.first_at.to_string(), "last_at": line.last_at.to_string(), "age_s": round(line.age_s),
        "log10_e": round(line.log10_e), "score": round(line.score),
        "weights": { "artefact": meta.art, "physiology": meta.phy, "tamper": meta.tam },
        "credit": { "artefact": round(line.credit[0]), "physiology": round(line.credit[1]), "tamper": round(line.credit[2]) },
        "supported_by_another_source": line.supported, "speaks_of_tampering": line.speaks, "confidence_alone": round(line.confidence),
        "raw": line.raw, "obx": line.set_id, "segments": marked(segments).collect::<Vec<_>>(),
    })
}

pub(super) fn step_object<'a>(step: &Step, segments: &dyn Fn(&Line) -> &'a [Value]) -> Value {
    let alert = &step.event.alert;
    let account = step.account.as_ref().map(|account| {
        json!({
            "at": account.at.to_string(), "window_s": account.window_s,
            "findings": account.lines.iter().map(|line| line_object(line, segments(line))).collect::<Vec<_>>(),
            "sums": { "artefact": round(account.sums[0]), "physiology": round(account.sums[1]), "tamper": round(account.sums[2]) },
            "families": account.families, "rule": account.rule.map(|rule| rule.sentence()),
            "evidence_sum": round(account.evidence), "confidence": expected(step, account).map(round),
        })
    });
    json!({
        "seq": step.event.seq, "event": step.event.event.as_str(), "ts": step.event.ts.to_string(), "bed": format!("{}/{}", alert.ward, alert.bed),
        "condition": alert.condition, "assessment": alert.assessment.as_str(), "priority": alert.priority.as_str(),
        "confidence": alert.confidence.0, "model": alert.model, "text": alert.text.en, "account": account, "agrees": agrees(step),
    })
}

pub(super) fn tell<'a>(
    steps: &[Step],
    published: &Published,
    models: &str,
    segments: &dyn Fn(&Line) -> &'a [Value],
    out: &mut impl Write,
) -> std::io::Result<()> {
    let first = &steps[0].event.alert;
    writeln!(out, "{}  {}", first.id, first.condition)?;
    writeln!(out, "bed {}/{}, onset {}, model {}", first.ward, first.bed, first.onset, first.model)?;
    writeln!(out, "model files: {models}")?;
    writeln!(out, "compared with what was published: {}", published.word())?;
    for step in steps {
        let alert = &step.event.alert;
        writeln!(out)?;
        writeln!(
            out,
            "{} {} (event {}): {} {}, confidence {}",
            step.event.ts,
            step.event.event.as_str(),
            step.event.seq,
            alert.assessment.as_str(),
            alert.priority.as_str(),
            alert.confidence.0
        )?;
        writeln!(out, "  {}", alert.text.en)?;
        let Some(account) = &step.account else { continue };
        let (half_life_s, most, least, weight) = Account::CONSTANTS;
        writeln!(
            out,
            "  findings within {:.0} s; score = min(log10 e, {most:.0}) · 2^(−age / {half_life_s:.0} s):",
            account.window_s
        )?;
        writeln!(
            out,
            "    {:<28} {:<12} {:>7} {:>6} {:>6}  {:>18}  {:<11} value (limit)",
            "check", "class", "log10 e", "age s", "score", "art/phy/tam", "alone"
        )?;
        for line in &account.lines {
            let [art, phy, tam] = line.credit;
            let shown = line.value.map(|v| format!("{} {}", round(v), line.unit)).unwrap_or_default();
            let limit = line.limit.map(|l| format!(" ({})", round(l))).unwrap_or_default();
            let mut marks = String::new();
            for (is, word) in [
                (line.hard, "hard"),
                (!line.holds, "over"),
                (line.supported, "supported by another source"),
                (line.speaks, "speaks of tampering"),
            ] {
                if is {
                    marks.push_str(if marks.is_empty() { "; " } else { ", " });
                    marks.push_str(word);
                }
            }
            writeln!(
                out,
                "    {:<28} {:<12} {:>7.2} {:>6.0} {:>6.2}  {:>18}  {:<11} {shown}{limit}{marks}",
                line.check.meta().condition(),
                line.class().as_str(),
                line.log10_e,
                line.age_s,
                line.score,
                format!("{art:.2}/{phy:.2}/{tam:.2}"),
                line.alone.map_or("label", Assessment::as_str),
            )?;
            if let Some(raw) = &line.raw {
                writeln!(out, "      message {raw}")?;
                for segment in marked(segments(line)) {
                    let pieces = pieces(segment).into_iter();
                    let text: String = pieces.map(|(piece, is)| if is { format!("»{piece}«") } else { piece }).collect();
                    writeln!(out, "        {text}")?;
                }
            }
        }
        let [art, phy, tam] = account.sums;
        writeln!(
            out,
            "  sums: artefact {art:.2}, physiology {phy:.2}, tampering {tam:.2}; families that speak: {}",
            account.families
        )?;
        match account.rule {
            Some(rule) => {
                let (low, more) = rule.scale();
                writeln!(out, "  rule: {}", rule.sentence())?;
                writeln!(
                    out,
                    "  {low} + {more} · (1 − 10^(−{:.2} / 4)) = {:.2}, where {:.2} is the sum over classes of the largest strength",
                    account.evidence,
                    account.confidence().unwrap_or_default(),
                    account.evidence
                )?;
            }
            None => writeln!(
                out,
                "  no tampering: it needs a hard violation, or lines of two families with log10 e of at least {least} and a weight of at \
                 least {weight} % while its sum is the largest, or decisive liveness"
            )?,
        }
        match agrees(step) {
            Some(true) => writeln!(out, "  the event's confidence {} follows from this", alert.confidence.0)?,
            Some(false) => writeln!(out, "  the event's confidence {} does NOT follow from this", alert.confidence.0)?,
            None => {}
        }
    }
    Ok(())
}
