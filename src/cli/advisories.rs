//! `vitalguard advisories [ID]`: what is known, of which date, and what one entry says.

use super::Usage;
use super::load::{Overrides, load};
use crate::advisory::{Advisories, Advisory, Field, Input, clean, normalised};
use crate::time::Timestamp;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An advisory (ICSMA-25-030-01) or a flaw (CVE-2025-0626) to be explained.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Configuration file (TOML): its `devices.advisories` extends the list.
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which advisories this text would name, as if a device had declared it.
    #[arg(long, value_name = "TEXT", conflicts_with = "id")]
    matching: Option<String>,
    /// As JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = load(&Overrides { config: args.config.clone(), ..Overrides::default() })?.config;
    let data = crate::shell::advisories::load(&config)?;
    let now = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(text) = &args.matching {
        matching(&data, text, &mut out)?;
    } else if let Some(id) = &args.id {
        let by_flaw = |a: &&Advisory| a.cves.iter().any(|cve| cve.id.eq_ignore_ascii_case(id));
        let found: Vec<&Advisory> = match data.find(id) {
            Some(one) => vec![one],
            None => data.list().iter().filter(by_flaw).collect(),
        };
        if found.is_empty() {
            return Err(Usage::new(format!("{id} is in no advisory of the data of {}", data.data_date())).into());
        }
        for advisory in found {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(advisory)?)?;
            } else {
                explain(advisory, &mut out)?;
            }
        }
    } else if args.json {
        for advisory in data.list() {
            writeln!(out, "{}", serde_json::to_string(advisory)?)?;
        }
    } else {
        list(&data, now, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The highest CVSS 3 score of an entry.
fn worst(advisory: &Advisory) -> f64 {
    advisory.cves.iter().map(|cve| cve.cvss3).fold(0.0, f64::max)
}

fn list(data: &Advisories, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let (days, limit) = (data.age_days(now), data.warn_after_days());
    writeln!(out, "{} advisories, data of {} ({days:.0} days old, renew after {limit:.0})", data.list().len(), data.data_date())?;
    if days > limit {
        writeln!(out, "The data are old: what was published since is not looked for.")?;
    }
    writeln!(out, "\n{:<26}{:<12}{:<6}{:<34}TITLE", "ID", "REVISED", "CVSS", "KIND")?;
    for advisory in data.list() {
        let exploited = if advisory.known_exploited { " (known to be exploited)" } else { "" };
        writeln!(
            out,
            "{:<26}{:<12}{:<6.1}{:<34}{}{exploited}",
            advisory.id,
            advisory.revised,
            worst(advisory),
            advisory.kind.chars().take(32).collect::<String>(),
            advisory.title
        )?;
    }
    writeln!(out, "\n{}", data.coverage())
}

fn explain(a: &Advisory, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}  {}", a.id, a.title)?;
    writeln!(out, "{}, {}; published {}, revised {}", a.vendor, a.kind, a.date, a.revised)?;
    writeln!(out, "{}\n", a.url)?;
    writeln!(out, "{}\n\nHere: {}", a.summary, a.why_it_matters_here)?;
    if a.known_exploited {
        writeln!(out, "Known to be exploited.")?;
    }
    writeln!(out, "\nProducts and versions, as the advisory prints them")?;
    for product in &a.products {
        writeln!(out, "  {}: {}", product.product, product.versions.join("; "))?;
    }
    writeln!(out, "\nFlaws (CVSS 3)")?;
    for cve in &a.cves {
        let four =
            cve.cvss4.map(|s| format!(", CVSS 4 {s:.1} ({})", cve.cvss4_mark.as_deref().unwrap_or("?"))).unwrap_or_default();
        let (cwe, vector) = (cve.cwe.as_deref().unwrap_or("-"), cve.cvss3_vector.as_deref().unwrap_or("no vector published"));
        writeln!(out, "  {:<16} {:<9} {:>4.1}  {vector}{four}", cve.id, cwe, cve.cvss3)?;
    }
    if !a.cves_secondary.is_empty() {
        writeln!(out, "  named by secondary sources only: {}", a.cves_secondary.join(", "))?;
    }
    if !a.platforms.is_empty() {
        writeln!(out, "\nPlatforms: {}", a.platforms.join(", "))?;
    }
    if !a.aliases.is_empty() {
        writeln!(out, "\nAlso called: {}", a.aliases.join(", "))?;
    }
    writeln!(out, "\nHow it is recognised")?;
    for pattern in &a.patterns {
        let beside = if pattern.needs_vendor { " (only beside a vendor or family word)" } else { "" };
        writeln!(out, "  {:<7} {}{beside}", pattern.confidence.as_str(), pattern.regex)?;
    }
    if !a.network_indicators.is_empty() {
        writeln!(out, "\nOn the network (an indicator, never a model: other makers' manuals print the same addresses)")?;
        for i in &a.network_indicators {
            let place = [i.net.clone(), i.ip.clone(), i.proto.clone(), i.port.map(|p| p.to_string()), i.port_range.clone()];
            let place: Vec<String> = place.into_iter().flatten().collect();
            writeln!(out, "  {:<6} {:<24} {} ({})", i.id, place.join(" "), i.meaning, i.confidence)?;
        }
    }
    if let Some(notes) = &a.notes {
        writeln!(out, "\nNotes: {notes}")?;
    }
    writeln!(out, "\nSource: {}", a.source)
}

fn matching(data: &Advisories, text: &str, out: &mut impl Write) -> std::io::Result<()> {
    let text = normalised(&clean(text));
    let found = data.matches(&[Input { field: Field::Device, text: &text, own: true }]);
    if found.is_empty() {
        return writeln!(out, "\"{text}\": {}", data.none_known());
    }
    for found in &found {
        let Some(advisory) = data.of(found) else { continue };
        writeln!(out, "{:<7} {:<26} \"{}\": {}", found.level.as_str(), advisory.id, found.words, found.level.wording())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_listed_and_explained() {
        let data = Advisories::shipped();
        let mut out = Vec::new();
        list(&data, Timestamp::from_civil(2026, 11, 24, 0, 0, 0, 0).unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("27 advisories, data of 2026-09-30 (55 days old, renew after 90)"), "{text}");
        for advisory in data.list() {
            assert!(text.contains(&advisory.id));
            let mut out = Vec::new();
            explain(advisory, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(advisory.cves.iter().all(|cve| text.contains(&cve.id)) && text.contains(&advisory.url), "{text}");
        }
    }

    #[test]
    fn a_text_that_names_nothing_gets_the_one_negative_statement() {
        let mut out = Vec::new();
        matching(&Advisories::shipped(), "Acme 1", &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\"Acme 1\": No advisory known in the data of 2026-09-30\n");
    }
}
