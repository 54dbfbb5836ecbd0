//! The inventory for people.

use crate::advisory::{Level, Status, VersionState};
use crate::config::DeviceState;
use crate::monitor::{AdvisoryInfo, DeviceInfo};
use crate::shell::devices::Listing;
use crate::time::Timestamp;
use std::io::Write;

const HEAD: [&str; 8] = ["DEVICE", "MODEL (DECLARED)", "BED", "PEER", "MSG/S", "SKEW", "FIRST SEEN", "LAST SEEN"];

pub fn write(listing: &Listing, from: &str, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{} devices heard ({from}); advisory data of {}", listing.devices.len(), listing.data_date)?;
    if listing.forgotten > 0 {
        writeln!(out, "{} devices were forgotten: more than {} spoke", listing.forgotten, listing.known_max)?;
    }
    if listing.devices.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut devices: Vec<&DeviceInfo> = listing.devices.iter().collect();
    // What is named by an advisory stands above, the surest first.
    devices.sort_by_key(|d| (d.advisories.first().map_or(9, |a| a.level as u8), d.first_seen, d.device.clone()));
    let rows: Vec<[String; 8]> = devices.iter().map(|device| row(device)).collect();
    let mut widths = HEAD.map(|head| head.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(&HEAD.map(str::to_owned), &widths, out)?;
    for (row, device) in rows.iter().zip(&devices) {
        line(row, &widths, out)?;
        details(device, out)?;
    }
    let clear = devices.iter().filter(|d| d.advisories.is_empty()).count();
    if clear > 0 {
        writeln!(out, "\n{clear} of them: no advisory known in the data of {}", listing.data_date)?;
    }
    writeln!(
        out,
        "\nWhat a device declares is no proof. Read its label before you act; `vitalguard advisories ID` explains an entry."
    )
}

fn row(device: &DeviceInfo) -> [String; 8] {
    let more = |list: &[String], more: bool| match list {
        [] => "-".to_owned(),
        [one] if !more => one.clone(),
        [first, others @ ..] => format!("{first} +{}{}", others.len(), if more { " or more" } else { "" }),
    };
    let bed = match (&device.ward, &device.bed) {
        (Some(ward), Some(bed)) if device.beds.len() > 1 => {
            format!("{ward}/{bed} +{}{}", device.beds.len() - 1, if device.beds_more { " or more" } else { "" })
        }
        (Some(ward), Some(bed)) => format!("{ward}/{bed}"),
        _ => "-".into(),
    };
    [
        device.device.clone(),
        device.model.clone().unwrap_or_else(|| "-".into()),
        bed,
        more(&device.peers, device.peers_more),
        format!("{:.2}", device.rate_per_s),
        device.skew_ms.map_or_else(|| "-".into(), skew),
        short(device.first_seen),
        short(device.last_seen),
    ]
}

fn skew(ms: i64) -> String {
    let s = ms as f64 / 1000.0;
    if s.abs() < 120.0 { format!("{s:+.1} s") } else { format!("{:+.0} min", s / 60.0) }
}

/// `2026-11-22 18:24:07Z`.
fn short(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text).replace('T', " "))
}

fn line(cells: &[String; 8], widths: &[usize; 8], out: &mut impl Write) -> std::io::Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        for _ in cell.chars().count()..*width + 2 {
            text.push(' ');
        }
    }
    writeln!(out, "{}", text.trim_end())
}

fn details(device: &DeviceInfo, out: &mut impl Write) -> std::io::Result<()> {
    if device.state == DeviceState::Quarantined {
        writeln!(out, "    QUARANTINED by the site: it should not be heard")?;
    }
    if let Some(identified) = &device.identified {
        let declared: Vec<String> = identified.declared.iter().map(|d| format!("{} {}", d.field, d.text)).collect();
        let key = if identified.key.is_empty() { "no id of its own" } else { &identified.key };
        writeln!(out, "    id {key}; declared: {}", declared.join("; "))?;
    }
    for advisory in device.advisories.iter().filter(|a| a.level != Level::Vendor) {
        writeln!(out, "    {:<6}  {}  {} ({})", advisory.level.as_str(), advisory.id, advisory.title, advisory.published)?;
        writeln!(out, "            {}: \"{}\" in {}", advisory.wording, advisory.matched, advisory.field)?;
        if let Some(state) = advisory.version_state {
            writeln!(out, "            {}", version(state, &device.versions))?;
        }
        if advisory.status != Status::Open {
            writeln!(out, "            the site says: {}", advisory.status.as_str())?;
        }
    }
    let vendor: Vec<&AdvisoryInfo> = device.advisories.iter().filter(|a| a.level == Level::Vendor).collect();
    if let Some(first) = vendor.first() {
        let ids: Vec<&str> = vendor.iter().take(3).map(|a| a.id.as_str()).collect();
        let more = if vendor.len() > ids.len() { format!(" and {} more", vendor.len() - ids.len()) } else { String::new() };
        writeln!(out, "    vendor  {}{more}: {} (\"{}\" in {})", ids.join(", "), first.wording, first.matched, first.field)?;
    }
    Ok(())
}

/// What the declared versions say. A version that a device states of itself clears nothing.
fn version(state: VersionState, versions: &[String]) -> String {
    let declared = match versions {
        [] => "no version declared".to_owned(),
        list => format!("declared version {} (self-reported)", list.join(", ")),
    };
    match state {
        VersionState::Affected if versions.is_empty() => "the advisory names all versions".to_owned(),
        VersionState::Affected => format!("{declared}: among those that the advisory names"),
        VersionState::NotListed => format!("{declared}: not among those that the advisory names; the advisory stays"),
        VersionState::Unknown => format!("{declared}: whether it is concerned is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wording_promises_and_accuses_nothing() {
        let mut texts = vec![include_str!("table.rs").split("#[cfg(test)]").next().unwrap_or_default().to_owned()];
        for state in [VersionState::Affected, VersionState::NotListed, VersionState::Unknown] {
            texts.push(version(state, &[]));
            texts.push(version(state, &["1.2".into()]));
        }
        for text in texts {
            for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
                assert!(!["safe", "vulnerable", "backdoor", "patched"].contains(&word), "{word} in {text}");
            }
        }
    }

    #[test]
    fn a_skew_is_read_at_a_glance() {
        assert_eq!((skew(-1_400).as_str(), skew(3_600_000).as_str(), skew(0).as_str()), ("-1.4 s", "+60 min", "+0.0 s"));
    }
}
