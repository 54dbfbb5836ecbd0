//! The report as one page: inline styles, inline SVG, no script, nothing fetched.

use super::plot::svg;
use super::{AttackLine, CleanLine, Outcome, Rate, Report};
use crate::html::escape;
use std::fmt::Write as _;

/// The style of all our pages for engineers.
pub const STYLE: &str = include_str!("page.css");

/// One self-contained page.
pub fn html(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>vitalguard: benchmark</title><style>{STYLE}</style></head><body><main>\n"
    );
    head(&mut out, report);
    targets(&mut out, report);
    clean(&mut out, report);
    attacks(&mut out, report);
    trials(&mut out, report);
    safety(&mut out, report);
    examples(&mut out, report);
    peers(&mut out, report);
    inputs(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let count = |o: Outcome| report.targets.iter().filter(|t| t.outcome == o).count();
    let _ = write!(
        out,
        "<header><h1>Benchmark of plausibility alerts</h1><p class=\"sub\">vitalguard {} · model {} · seed {}{}</p></header>",
        escape(&report.version),
        escape(&report.model.chars().take(16).collect::<String>()),
        report.seed,
        if report.quick { " · quick sample: for tests, not for claims" } else { "" }
    );
    out.push_str("<section class=\"cards\">");
    let mut card = |number: &str, text: &str, class: &str| {
        let _ = write!(out, "<div class=\"card {class}\"><b>{}</b><span>{}</span></div>", escape(number), escape(text));
    };
    if let Some(line) = report.pooled() {
        card(
            &format!("{:.2}", 10.0 * line.tamper.rate()),
            &format!(
                "tamper alerts in 10 bed-days of clean recordings, at most {:.2} (95 %): {} in {:.1} bed-days",
                10.0 * line.tamper.upper,
                line.tamper.events,
                line.tamper.bed_days
            ),
            if line.tamper.rate() <= 0.1 { "good" } else { "bad" },
        );
    }
    card(&count(Outcome::Met).to_string(), "targets met", "good");
    card(&count(Outcome::Missed).to_string(), "targets missed", if count(Outcome::Missed) > 0 { "bad" } else { "good" });
    card(&count(Outcome::Stated).to_string(), "stated as not winnable with what is sent", "");
    card(&count(Outcome::NotTried).to_string(), "not tried on this input", "");
    out.push_str("</section>");
    let _ = write!(out, "<p>{}</p>", escape(&report.precision_line()));
    if !report.notes.is_empty() {
        out.push_str("<ul class=\"notes\">");
        for note in &report.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>");
    }
}

fn targets(out: &mut String, report: &Report) {
    out.push_str(
        "<section><h2>Targets</h2><p>An event is found when an alert of the kind named begins between the start of the attack and \
         60 s after its end, and the same recording without the attack does not explain it: no alert of that kind by the same check \
         stands at the same bed there, at most 300 s away. Nurse level is what stands at a nursing \
         station (low and above); engineer level adds the engineers' list. Shares stand with \
         their Wilson interval (95 %).</p><table><thead><tr><th></th><th>what</th><th>target</th><th>measured</th><th>delay, s \
         <small>median · p95</small></th></tr></thead><tbody>",
    );
    for t in &report.targets {
        let delay = t.delays.map_or(String::new(), |d| format!("{:.0} · {:.0}", d.median_s, d.p95_s));
        let remark = if t.remark.is_empty() { String::new() } else { format!("<br><small>{}</small>", escape(&t.remark)) };
        let _ = write!(
            out,
            "<tr class=\"{:?}\"><td><span class=\"tag\">{}</span></td><td>{}{remark}</td><td>{}</td><td>{}</td><td class=\"n\">{delay}</td></tr>",
            t.outcome,
            t.outcome.as_str(),
            escape(&t.what),
            escape(&t.target),
            escape(&t.measured)
        );
    }
    out.push_str("</tbody></table></section>");
}

fn clean(out: &mut String, report: &Report) {
    out.push_str(
        "<section><h2>Clean recordings</h2><p>Alerts where nothing was changed. Bed-days are live data: pauses longer than 60 s do \
         not count. Bounds: exact Poisson, one-sided 95 %; records: Clopper and Pearson; the bootstrap draws patients.</p>",
    );
    let main = |l: &&CleanLine| l.encoding == "all";
    clean_table(out, report.clean.iter().filter(main));
    out.push_str("<details><summary>By encoding of invalid marks and by cadence</summary>");
    clean_table(out, report.clean.iter().filter(|l| !main(l)));
    out.push_str(
        "</details><details><summary>Which checks spoke on clean recordings</summary><table><thead><tr><th>setup</th><th>set</th>\
                  <th>encoding</th><th>rate</th><th>check: nurse level / all</th></tr></thead><tbody>",
    );
    for l in &report.clean {
        let list: Vec<String> =
            l.checks.iter().take(14).map(|(id, nurse, all)| format!("{} {nurse}/{all}", escape(id))).collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&l.setup),
            escape(&l.set),
            escape(&l.encoding),
            escape(&l.rate),
            list.join(" · ")
        );
    }
    out.push_str("</tbody></table></details></section>");
}

fn clean_table<'a>(out: &mut String, lines: impl Iterator<Item = &'a CleanLine>) {
    out.push_str(
        "<table><thead><tr><th>setup</th><th>set</th><th>encoding</th><th>rate</th><th>bed-days</th><th>tamper</th><th>per 10 bed-days</th>\
         <th>at most</th><th>bootstrap</th><th>records with</th><th>nurse calls a bed-day, by kind</th></tr></thead><tbody>",
    );
    for l in lines {
        let boot = l.tamper.bootstrap.map_or("–".into(), |b| format!("{:.2}–{:.2}", 10.0 * b.low, 10.0 * b.high));
        let nurse: Vec<String> = l.nurse.iter().filter(|(_, r)| *r > 0.0).map(|(a, r)| format!("{} {r:.2}", escape(a))).collect();
        let _ = write!(
            out,
            "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td>\
             <td class=\"n\">{:.2}</td><td class=\"n\">{boot}</td><td class=\"n\">{}/{} <small>≤ {:.1} %</small></td><td>{}</td></tr>",
            if l.set == super::POOLED { " class=\"pooled\"" } else { "" },
            escape(&l.setup),
            escape(&l.set),
            escape(&l.encoding),
            escape(&l.rate),
            l.tamper.bed_days,
            l.tamper.events,
            10.0 * l.tamper.rate(),
            10.0 * l.tamper.upper,
            l.records_with,
            l.records,
            100.0 * l.records_interval.high,
            nurse.join(" · ")
        );
    }
    out.push_str("</tbody></table>");
}

/// A share as a bar with its interval.
fn bar(rate: &Rate) -> String {
    let Some(share) = rate.share() else { return "<td class=\"n\">–</td>".into() };
    format!(
        "<td><svg class=\"bar\" viewBox=\"0 0 100 12\" preserveAspectRatio=\"none\"><rect class=\"back\" width=\"100\" height=\"12\"/>\
         <rect class=\"fill\" width=\"{:.1}\" height=\"12\"/><rect class=\"range\" x=\"{:.1}\" y=\"5\" width=\"{:.1}\" height=\"2\"/></svg>\
         <span class=\"n\">{share:.2} <small>{}/{}</small></span></td>",
        100.0 * share,
        100.0 * rate.interval.low,
        100.0 * (rate.interval.high - rate.interval.low),
        rate.found,
        rate.tried
    )
}

fn attacks(out: &mut String, report: &Report) {
    out.push_str(
        "<section><h2>Attacks</h2><p>K0 naive · K1 knows resolution and cadence · K2 knows how values go together and changes all of \
         them · K3 sits on the gateway with valid provenance. <em>Random</em> is a scorer that alerts at random on the same events, \
         <em>always</em> one that is always on: what a way of counting gives away for nothing.</p>",
    );
    let mut groups: Vec<(&str, &str, &str)> = Vec::new();
    for l in &report.attacks {
        let key = (l.setup.as_str(), l.source.as_str(), l.rate.as_str());
        if !groups.contains(&key) {
            groups.push(key);
        }
    }
    for (place, (setup, source, rate)) in groups.iter().enumerate() {
        let lines = || {
            report.attacks.iter().filter(|l| (l.setup.as_str(), l.source.as_str(), l.rate.as_str()) == (*setup, *source, *rate))
        };
        let _ = write!(
            out,
            "<details{}><summary>{} · {} · {}: {} rows</summary>",
            if place == 0 { " open" } else { "" },
            escape(setup),
            escape(source),
            escape(rate),
            lines().count()
        );
        out.push_str(
            "<table class=\"attacks\"><thead><tr><th>attack</th><th>tier</th><th>parameters</th><th>counts as</th><th>nurse level</th>\
             <th>engineer level</th><th>in time</th><th>delay, s <small>median · p95</small></th><th>random</th><th>always</th></tr></thead><tbody>",
        );
        lines().for_each(|l| attack(out, l));
        out.push_str("</tbody></table></details>");
    }
    if !report.skipped.is_empty() {
        out.push_str("<details><summary>Not made, and why</summary><ul>");
        for (why, number) in &report.skipped {
            let _ = write!(out, "<li>{}: {number}</li>", escape(why));
        }
        out.push_str("</ul></details>");
    }
    out.push_str("</section>");
}

fn attack(out: &mut String, l: &AttackLine) {
    let delay = l.delays.map_or(String::new(), |d| format!("{:.0} · {:.0}", d.median_s, d.p95_s));
    let why = l.undetectable.as_ref().map_or(String::new(), |w| format!("<br><small>{}</small>", escape(w)));
    let plain = |r: &Rate| r.share().map_or("–".into(), |s| format!("{s:.2}"));
    let few = match l.unjudged {
        0 => String::new(),
        n => format!("<br><small>{n} with too few altered readings for its target</small>"),
    };
    let _ = write!(
        out,
        "<tr><td>{} {}<small> · {} · {}</small>{why}{few}</td><td>{}</td><td>{}</td><td>{}</td>{}{}{}<td class=\"n\">{delay}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        escape(&l.taxonomy),
        escape(&l.kind),
        escape(&l.severity),
        duration(l.duration_s),
        escape(&l.tier),
        escape(&l.params),
        escape(&l.counts_as),
        bar(&l.nurse),
        bar(&l.engineer),
        bar(&l.in_time),
        plain(&l.random),
        plain(&l.always)
    );
}

fn trials(out: &mut String, report: &Report) {
    if report.trials.iter().all(|t| t.attacks.is_empty()) {
        return;
    }
    out.push_str(
        "<section><h2>Rules on trial</h2><p>These stand on the engineers' list alone until they are measured: what each finds of the \
         attacks it was made for, and how often it speaks where nothing was changed (exact Poisson, one-sided 95 %). A rule that \
         compares beds is measured on recordings of one set side by side, up to twelve beds a ward.</p><table><thead><tr><th>rule</th>\
         <th>clean, per 10 bed-days</th><th>at one a minute</th><th>attack</th><th>source</th><th>cadence</th><th>found</th>\
         <th>delay, s <small>median · p95</small></th></tr></thead><tbody>",
    );
    for t in &report.trials {
        for (place, a) in t.attacks.iter().enumerate() {
            let delay = a.delays.map_or(String::new(), |d| format!("{:.0} · {:.0}", d.median_s, d.p95_s));
            let (name, (own, minute)) = match place {
                0 => (t.check.as_str(), t.clean()),
                _ => ("", Default::default()),
            };
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}<td class=\"n\">{delay}</td></tr>",
                escape(name),
                escape(&own),
                escape(&minute),
                escape(&a.kind),
                escape(&a.source),
                escape(&a.rate),
                bar(&a.found)
            );
        }
    }
    out.push_str("</tbody></table></section>");
}

fn duration(s: u32) -> String {
    if s == 0 {
        "once".into()
    } else if s < 120 {
        format!("{s} s")
    } else {
        format!("{} min", s / 60)
    }
}

fn safety(out: &mut String, report: &Report) {
    if !report.safety.is_empty() {
        out.push_str(
            "<section><h2>Patients who really get worse</h2><p>Nothing here may be called tampering, and nothing that another sensor \
             shows may be lost or late.</p><table><thead><tr><th>segments</th><th>records</th><th>number</th><th>tamper</th>\
             <th>physiology lost</th><th>added delay, s</th><th>masked</th><th>masking found</th><th>values withheld</th></tr></thead><tbody>",
        );
        for l in &report.safety {
            let _ = write!(
                out,
                "<tr class=\"{}\"><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{:.1}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                if l.tamper_clean + l.physiology_lost + l.withheld > 0 { "Missed" } else { "Met" },
                escape(&l.what),
                l.records,
                l.segments,
                l.tamper_clean,
                l.physiology_lost,
                l.delay_s_max,
                l.masked,
                l.masked_found,
                l.withheld
            );
        }
        out.push_str("</tbody></table></section>");
    }
    if !report.controls.is_empty() {
        out.push_str(
            "<section><h2>Controls: what must not be called tampering</h2><table><thead><tr><th>control</th><th>record</th>\
             <th>second</th><th>runs</th><th>tamper</th><th>what was said there</th></tr></thead><tbody>",
        );
        for l in &report.controls {
            let _ = write!(
                out,
                "<tr class=\"{}\"><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                if l.tamper > 0 {
                    "Missed"
                } else if l.runs == 0 {
                    "NotTried"
                } else {
                    "Met"
                },
                escape(&l.control),
                escape(&l.record),
                l.second.map_or("all".into(), |s| format!("{s:.0}")),
                l.runs,
                l.tamper,
                escape(&l.said.join(" · "))
            );
        }
        out.push_str("</tbody></table></section>");
    }
}

fn examples(out: &mut String, report: &Report) {
    if report.examples.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Examples</h2><p class=\"legend\"><i class=\"k sent\"></i> as sent <i class=\"k truth\"></i> what the patient had \
         <i class=\"k band\"></i> what the bed's statistics expect <i class=\"k attack\"></i> attack <i class=\"k nurse\"></i> alert that \
         calls a nurse <i class=\"k engineer\"></i> engineers' list</p>",
    );
    for example in &report.examples {
        let _ = write!(
            out,
            "<figure><figcaption><b>{}</b> {}</figcaption>{}</figure>",
            escape(&example.title),
            escape(&example.note),
            svg(example)
        );
    }
    out.push_str("</section>");
}

fn peers(out: &mut String, report: &Report) {
    if report.peers.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Other detectors on the same runs</h2><table><thead><tr><th>detector</th><th>threshold for</th>\
         <th>false a bed-day</th><th>found</th><th></th></tr></thead><tbody>",
    );
    for p in &report.peers {
        let kinds: Vec<String> = p.kinds.iter().map(|(k, f, n)| format!("{} {f}/{n}", escape(k))).collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{:.2}</td>{}<td><small>{} {}</small></td></tr>",
            escape(&p.peer),
            escape(&p.budget),
            p.false_per_bed_day,
            bar(&Rate::new(p.found, p.tried)),
            escape(&p.remark),
            kinds.join(" · ")
        );
    }
    out.push_str("</tbody></table></section>");
}

fn inputs(out: &mut String, report: &Report) {
    out.push_str(
        "<section><h2>Input and cost</h2><table><thead><tr><th>set</th><th>kind</th><th>records</th><th>patients</th><th>bed-days</th>\
         <th>interval, s</th><th>oddities</th></tr></thead><tbody>",
    );
    for s in &report.sets {
        let odd: Vec<String> = s.oddities.iter().map(|(name, n)| format!("{} {n}", escape(name))).collect();
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td>\
             <td><small>{}</small></td></tr>",
            escape(&s.set),
            escape(&s.kind),
            s.records,
            s.patients,
            s.bed_days,
            s.interval_s,
            odd.join(" · ")
        );
    }
    let c = &report.cost;
    let _ = write!(
        out,
        "</tbody></table><p>{} messages in {:.0} s on {} threads{}; a bed takes at most {:.0} KB.</p></section>",
        c.messages,
        c.wall_s,
        c.threads,
        c.us_per_message.map_or(String::new(), |us| format!("; {us:.1} µs of one core a message (reading, judging, alerts)")),
        c.bed_bytes_max as f64 / 1024.0
    );
}
