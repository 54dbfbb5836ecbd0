//! `vitalguard indicators`: what the advisories say of the network, for people and for what blocks and watches it.
//!
//! The list is the advisories' own (`network_indicators`, a site's file included). What rests on one implementer alone is
//! marked weak: it is listed, and never blocked or alerted on. Files are the same byte for byte while the data are.

use super::load::{Overrides, load};
use crate::advisory::{Advisories, Advisory, Indicator};
use crate::config::Network;
use serde_json::{Value, json};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// table: for people. suricata: rules. nftables: sets to be dropped. csv. stix: a STIX 2.1 bundle.
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Configuration file (TOML): its `devices.advisories` extends the list.
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Suricata,
    Nftables,
    Csv,
    Stix,
}

pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = load(&Overrides { config: args.config.clone(), ..Overrides::default() })?.config;
    let data = crate::shell::advisories::load(&config)?;
    write(&data, args.format, out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write(data: &Advisories, format: Format, out: &mut impl Write) -> std::io::Result<()> {
    match format {
        Format::Table => table(data, out),
        Format::Suricata => suricata(data, out),
        Format::Nftables => nftables(data, out),
        Format::Csv => csv(data, out),
        Format::Stix => {
            serde_json::to_writer_pretty(&mut *out, &stix(data))?;
            writeln!(out)
        }
    }
}

/// Every indicator with its advisory, in the order of the data.
fn all(data: &Advisories) -> impl Iterator<Item = (&Advisory, &Indicator)> {
    data.list().iter().flat_map(|advisory| advisory.network_indicators.iter().map(move |indicator| (advisory, indicator)))
}

/// Whether it may be blocked or alerted on. One implementer is no proof.
fn is_strong(indicator: &Indicator) -> bool {
    !indicator.confidence.starts_with("one implementer")
}

fn strength(indicator: &Indicator) -> &'static str {
    if is_strong(indicator) { "strong" } else { "weak" }
}

/// Type and value: `net 202.114.4.0/24`.
fn place(indicator: &Indicator) -> (&'static str, String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    match () {
        () if indicator.net.is_some() => ("net", text(&indicator.net)),
        () if indicator.ip.is_some() => ("ip", text(&indicator.ip)),
        () if indicator.payload.is_some() => ("payload", text(&indicator.payload)),
        () if indicator.sha256.is_some() => ("sha256", text(&indicator.sha256)),
        () => ("behaviour", text(&indicator.behaviour)),
    }
}

/// Ports as one text: `515`, `516-520`, `tcp/2049 udp/2049`.
fn ports(indicator: &Indicator) -> String {
    match (indicator.port, &indicator.port_range) {
        (Some(port), _) => port.to_string(),
        (None, Some(range)) => range.clone(),
        (None, None) => indicator.ports.join(" "),
    }
}

fn table(data: &Advisories, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Network indicators in the advisory data of {}.", data.data_date())?;
    writeln!(out, "A match is said as \"matches the indicator of the advisory\": an address names no product.")?;
    let mut advisory_before = "";
    for (advisory, indicator) in all(data) {
        if advisory.id != advisory_before {
            writeln!(out, "\n{} {}\n  {}", advisory.id, advisory.title, advisory.url)?;
            advisory_before = &advisory.id;
        }
        let (kind, value) = place(indicator);
        let value = if kind == "behaviour" { "behaviour".to_owned() } else { value };
        let ports = ports(indicator);
        let ports = if ports.is_empty() { ports } else { format!(" port {ports}") };
        let proto = indicator.proto.as_ref().map(|proto| format!(" {proto}")).unwrap_or_default();
        let path = indicator.path.as_ref().map(|path| format!(" path {path}")).unwrap_or_default();
        let what = if kind == "behaviour" { place(indicator).1 } else { indicator.meaning.clone() };
        writeln!(out, "  {:6} {:6} {value}{proto}{ports}{path}", indicator.id, strength(indicator))?;
        writeln!(out, "                {what} ({})", indicator.confidence)?;
    }
    writeln!(
        out,
        "\nweak: one implementer; listed, never an alert. For a firewall or a sensor: --format suricata|nftables|csv|stix."
    )
}

/// The strong networks and addresses, without those that lie in one of the networks.
fn blocked(data: &Advisories) -> Vec<(&Advisory, &Indicator, String)> {
    let network = |indicator: &Indicator| Network::parse(indicator.net.as_deref()?).ok();
    let nets: Vec<Network> =
        all(data).filter(|(_, indicator)| is_strong(indicator)).filter_map(|(_, indicator)| network(indicator)).collect();
    let covered = |address: IpAddr| nets.iter().any(|net| net.contains(address));
    let mut list: Vec<(&Advisory, &Indicator, String)> = Vec::new();
    for (advisory, indicator) in all(data).filter(|(_, indicator)| is_strong(indicator)) {
        let value = match (&indicator.net, &indicator.ip) {
            (Some(net), _) => network(indicator).map(|_| net.clone()),
            (None, Some(ip)) => ip.parse().ok().filter(|address| !covered(*address)).map(|address: IpAddr| address.to_string()),
            (None, None) => None,
        };
        if let Some(value) = value
            && !list.iter().any(|(_, _, known)| *known == value)
        {
            list.push((advisory, indicator, value));
        }
    }
    list
}

/// The telemetry frame as Suricata looks for it; `None` for a payload that is described in words only.
fn pcre(indicator: &Indicator) -> Option<&'static str> {
    let known = indicator.payload.as_deref() == Some("u16le length, then 05, then one of 3E 43 45 46 47 49");
    known.then_some(r"/^..\x05[\x3e\x43\x45\x46\x47\x49]/s")
}

/// Numbers of rules: our own for the advisory that this program knows best, the next thousands for what a site has added.
fn sid(advisory: &Advisory, indicator: &Indicator, ordinal: usize) -> usize {
    let own = advisory.id == crate::capture::indicators::ADVISORY;
    let number = indicator.id.strip_prefix("NI-").and_then(|number| number.parse::<usize>().ok()).filter(|number| *number < 100);
    match number {
        Some(number) if own => 9_250_300 + number,
        _ => 9_260_000 + ordinal,
    }
}

fn suricata_rule(advisory: &Advisory, indicator: &Indicator, value: Option<&str>, ordinal: usize) -> Option<String> {
    let sid = sid(advisory, indicator, ordinal);
    // Quotes, backslashes and semicolons would end the message of a rule.
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, '"' | ';' | '\\' | '\n' | '\r')).collect::<String>();
    let (name, id) = (plain(&indicator.id), plain(&advisory.id));
    if let Some(value) = value {
        let what = if value.contains('/') { "address block" } else { "address" };
        return Some(format!("alert ip any any <> {value} any (msg:\"vitalguard {name} {what} of {id}\"; sid:{sid}; rev:1;)"));
    }
    let pcre = pcre(indicator)?;
    Some(format!(
        "alert tcp any any -> any 515 (msg:\"vitalguard {name} CMS8000-family frame\"; flow:established,to_server; pcre:\"{pcre}\"; \
         sid:{sid}; rev:1;)"
    ))
}

fn suricata(data: &Advisories, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "# vitalguard: network indicators in the advisory data of {}.", data.data_date())?;
    writeln!(out, "# A match says: matches the indicator of the advisory. An address names no product.")?;
    let mut ordinal = 0;
    for (advisory, indicator, value) in blocked(data) {
        ordinal += 1;
        if let Some(rule) = suricata_rule(advisory, indicator, Some(&value), ordinal) {
            writeln!(out, "{rule}")?;
        }
    }
    for (advisory, indicator) in all(data).filter(|(_, indicator)| indicator.payload.is_some() && is_strong(indicator)) {
        ordinal += 1;
        match suricata_rule(advisory, indicator, None, ordinal) {
            Some(rule) => writeln!(out, "{rule}")?,
            None => writeln!(out, "# {} of {} is described in words only", indicator.id, advisory.id)?,
        }
    }
    Ok(())
}

fn nftables(data: &Advisories, out: &mut impl Write) -> std::io::Result<()> {
    let list = blocked(data);
    let v6 = |value: &str| value.contains(':');
    writeln!(out, "# vitalguard: addresses to be blocked by the advisory data of {}.", data.data_date())?;
    for (advisory, indicator, value) in &list {
        writeln!(out, "# {value}: {} of {}", indicator.id, advisory.id)?;
    }
    writeln!(
        out,
        "# Load with nft -f: what this machine forwards to or from them is dropped. Remove: nft delete table inet vitalguard"
    )?;
    writeln!(out, "table inet vitalguard {{")?;
    for (name, kind, want_v6) in [("indicators4", "ipv4_addr", false), ("indicators6", "ipv6_addr", true)] {
        let values: Vec<&str> = list.iter().map(|(_, _, value)| value.as_str()).filter(|value| v6(value) == want_v6).collect();
        writeln!(out, "\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval")?;
        if !values.is_empty() {
            writeln!(out, "\t\telements = {{ {} }}", values.join(", "))?;
        }
        writeln!(out, "\t}}")?;
    }
    writeln!(out, "\tchain forward {{")?;
    writeln!(out, "\t\ttype filter hook forward priority filter; policy accept;")?;
    for (family, name) in [("ip", "indicators4"), ("ip6", "indicators6")] {
        for side in ["daddr", "saddr"] {
            writeln!(out, "\t\t{family} {side} @{name} counter drop")?;
        }
    }
    writeln!(out, "\t}}\n}}")
}

/// A field as RFC 4180 writes it.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn csv(data: &Advisories, out: &mut impl Write) -> std::io::Result<()> {
    write!(out, "indicator,advisory,type,value,protocol,ports,strength,confidence,meaning,url\r\n")?;
    for (advisory, indicator) in all(data) {
        let (kind, value) = place(indicator);
        let proto = indicator.proto.as_deref().unwrap_or_default();
        let ports = ports(indicator);
        let row = [
            &indicator.id,
            &advisory.id,
            kind,
            &value,
            proto,
            &ports,
            strength(indicator),
            &indicator.confidence,
            &indicator.meaning,
            &advisory.url,
        ];
        write!(out, "{}\r\n", row.map(field).join(","))?;
    }
    Ok(())
}

/// Pattern and its language; `None` for what no pattern says.
fn pattern(advisory: &Advisory, indicator: &Indicator) -> Option<(&'static str, String)> {
    let kind = |value: &str| if value.contains(':') { "ipv6-addr" } else { "ipv4-addr" };
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    if let Some(net) = &indicator.net {
        return Some(("stix", format!("[{}:value ISSUBSET '{}']", kind(net), quoted(net))));
    }
    if let Some(ip) = &indicator.ip {
        let ip = quoted(ip);
        let port = |port: &str| format!("network-traffic:dst_port = {port}");
        let mut one: Vec<String> = indicator.ports.iter().filter_map(|p| p.split('/').next_back()).map(port).collect();
        one.extend(indicator.port.map(|p| port(&p.to_string())));
        one.extend(
            indicator
                .port_range
                .as_ref()
                .and_then(|range| range.split_once('-'))
                .map(|(low, high)| format!("(network-traffic:dst_port >= {low} AND network-traffic:dst_port <= {high})")),
        );
        one.sort();
        one.dedup();
        if one.is_empty() {
            return Some(("stix", format!("[{}:value = '{ip}']", kind(&ip))));
        }
        let ports = if one.len() == 1 { one.remove(0) } else { format!("({})", one.join(" OR ")) };
        let tcp = if indicator.proto.as_deref() == Some("tcp") { " AND network-traffic:protocols[*] = 'tcp'" } else { "" };
        return Some(("stix", format!("[network-traffic:dst_ref.value = '{ip}' AND {ports}{tcp}]")));
    }
    if let Some(sha256) = &indicator.sha256 {
        return Some(("stix", format!("[file:hashes.'SHA-256' = '{}']", quoted(sha256))));
    }
    indicator.payload.as_ref()?;
    Some(("suricata", suricata_rule(advisory, indicator, None, 0)?))
}

/// A STIX 2.1 bundle. Ids are UUIDs of version 5 under the advisory's URL: the same indicator has the same id everywhere.
fn stix(data: &Advisories) -> Value {
    let midnight = |date: &str| format!("{date}T00:00:00.000Z");
    let mut objects = Vec::new();
    for (advisory, indicator) in all(data) {
        let Some((language, pattern)) = pattern(advisory, indicator) else { continue };
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, advisory.url.as_bytes());
        let id = Uuid::new_v5(&namespace, format!("indicator {}", indicator.id).as_bytes());
        let revised = if advisory.revised.is_empty() { &advisory.date } else { &advisory.revised };
        objects.push(json!({
            "type": "indicator",
            "spec_version": "2.1",
            "id": format!("indicator--{id}"),
            "created": midnight(&advisory.date),
            "modified": midnight(revised),
            "name": format!("{} of {}", indicator.id, advisory.id),
            "description": format!(
                "{} ({}). It matches the indicator of the advisory and names no product by itself.",
                indicator.meaning, indicator.confidence
            ),
            "indicator_types": ["anomalous-activity"],
            "pattern": pattern,
            "pattern_type": language,
            "valid_from": midnight(&advisory.date),
            "labels": [strength(indicator)],
            "external_references": [{"source_name": advisory.source, "external_id": advisory.id, "url": advisory.url}],
        }));
    }
    let text = serde_json::to_string(&objects).unwrap_or_default();
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes());
    json!({ "type": "bundle", "id": format!("bundle--{id}"), "objects": objects })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write(&Advisories::shipped(), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_captures_look_for_is_what_the_advisory_says() {
        let data = Advisories::shipped();
        let advisory = data.find(crate::capture::indicators::ADVISORY).unwrap();
        let (address, bits) = crate::capture::indicators::BLOCK;
        assert_eq!(advisory.network_indicators[0].net.as_deref(), Some(format!("{address}/{bits}").as_str()));
        for indicator in &advisory.network_indicators {
            if let Some(ip) = &indicator.ip {
                assert!(crate::capture::indicators::in_block(ip.parse().unwrap()), "{ip}");
            }
        }
        let frame = advisory.network_indicators.iter().find(|i| i.payload.is_some()).unwrap();
        assert!(pcre(frame).is_some(), "the telemetry frame is described in other words: {frame:?}");
    }

    #[test]
    fn suricata_rules_have_their_fixed_numbers() {
        let text = written(Format::Suricata);
        let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rules,
            [
                r#"alert ip any any <> 202.114.4.0/24 any (msg:"vitalguard NI-1 address block of ICSMA-25-030-01"; sid:9250301; rev:1;)"#,
                r#"alert tcp any any -> any 515 (msg:"vitalguard NI-9 CMS8000-family frame"; flow:established,to_server; pcre:"/^..\x05[\x3e\x43\x45\x46\x47\x49]/s"; sid:9250309; rev:1;)"#,
            ]
        );
    }

    #[test]
    fn the_block_list_holds_the_block_once() {
        let text = written(Format::Nftables);
        assert_eq!(text.matches("202.114.4").count(), 2, "{text}");
        assert!(text.contains("elements = { 202.114.4.0/24 }"));
    }

    #[test]
    fn a_table_row_stands_for_every_indicator() {
        let csv = written(Format::Csv);
        assert_eq!(csv.lines().count(), 12);
        assert!(csv.contains("NI-6,ICSMA-25-030-01,ip,202.114.4.119,tcp,516-520,weak,one implementer,"), "{csv}");
        let table = written(Format::Table);
        for n in 1..=11 {
            assert!(table.contains(&format!("  NI-{n} ")), "{n}: {table}");
        }
        for text in [csv, table] {
            assert!(!text.to_lowercase().contains("backdoor"));
        }
    }

    #[test]
    fn a_stix_bundle_has_the_same_ids_every_time() {
        let bundle: Value = serde_json::from_str(&written(Format::Stix)).unwrap();
        assert_eq!(bundle, serde_json::from_str::<Value>(&written(Format::Stix)).unwrap());
        let objects = bundle["objects"].as_array().unwrap();
        // NI-11 is a behaviour, for which there is no pattern.
        assert_eq!(objects.len(), 10);
        let mut ids: Vec<&str> = objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 10);
        for object in objects {
            for key in ["type", "spec_version", "id", "created", "modified", "pattern", "pattern_type", "valid_from"] {
                assert!(object[key].is_string(), "{key}: {object}");
            }
            let uuid: Uuid = object["id"].as_str().unwrap().strip_prefix("indicator--").unwrap().parse().unwrap();
            assert_eq!(uuid.get_version_num(), 5);
        }
        assert_eq!(objects[0]["pattern"], "[ipv4-addr:value ISSUBSET '202.114.4.0/24']");
        assert_eq!(
            objects[5]["pattern"],
            "[network-traffic:dst_ref.value = '202.114.4.119' AND (network-traffic:dst_port >= 516 AND network-traffic:dst_port <= 520) AND network-traffic:protocols[*] = 'tcp']"
        );
    }
}
