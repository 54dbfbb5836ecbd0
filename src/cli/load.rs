//! Loading the configuration: defaults, then one TOML file, then `VITALGUARD_…` variables, then flags.
//!
//! All complaints are collected, one line each, every line with its place: file and line, variable or flag. An unknown key is
//! refused, also in the environment, and the nearest known key is named.

use super::Usage;
use crate::config::{Config, Problem};
use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Prefix of our variables; `__` stands between the parts of a key.
const PREFIX: &str = "VITALGUARD_";
/// Variables that begin like ours and are no keys: the path of the file.
const NOT_KEYS: &[&str] = &["VITALGUARD_CONFIG"];
/// Complaints about types are collected one by one; more than this are not helpful.
const PROBLEMS_MAX: usize = 50;

/// Flags that stand above file and environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// Configuration file (TOML).
    #[arg(long, env = "VITALGUARD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the MLLP listener listens; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub mllp: Option<SocketAddr>,
    /// Where the embedded broker listens.
    #[arg(long, value_name = "ADDR")]
    pub mqtt_listen: Option<SocketAddr>,
    /// An external broker instead of the embedded one: mqtt://host:port or mqtts://host:port.
    #[arg(long, value_name = "URL")]
    pub mqtt_url: Option<String>,
    /// Where the page and the HTTP interface listen.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Folder of journal, store and snapshots.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Slug of the installation, second part of every topic.
    #[arg(long, value_name = "SITE")]
    pub site: Option<String>,
    /// Folder of the site's own model files.
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
}

impl Overrides {
    /// Flag, key and value of each flag that was given.
    fn given(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut list = Vec::new();
        let mut add = |flag, key, value: Option<String>| {
            if let Some(value) = value {
                list.push((flag, key, Value::from(value)));
            }
        };
        add("--mllp", "mllp.listen", self.mllp.map(|a| a.to_string()));
        add("--mqtt-listen", "mqtt.listen", self.mqtt_listen.map(|a| a.to_string()));
        add("--mqtt-url", "mqtt.url", self.mqtt_url.clone());
        add("--http", "http.listen", self.http.map(|a| a.to_string()));
        add("--data", "data", self.data.as_ref().map(|p| p.to_string_lossy().into_owned()));
        add("--site", "site", self.site.clone());
        add("--models", "models", self.models.as_ref().map(|p| p.to_string_lossy().into_owned()));
        list
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { path: String, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration that holds, and where its values came from (what is not listed is a default).
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// The origin of a key: its own, or that of the table it stands in.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        origin_of(&self.origins, key)
    }
}

fn origin_of<'a>(origins: &'a BTreeMap<String, Origin>, key: &str) -> Option<&'a Origin> {
    let mut at = key;
    loop {
        if let Some(origin) = origins.get(at) {
            return Some(origin);
        }
        match at.rfind('.') {
            Some(dot) => at = &at[..dot],
            None => break,
        }
    }
    // A table that only a key inside it has made.
    let inside = format!("{key}.");
    origins.range(inside.clone()..).next().filter(|(k, _)| k.starts_with(&inside)).map(|(_, origin)| origin)
}

/// Loads file, environment and flags, and checks everything that can be checked without opening a socket.
pub fn load(overrides: &Overrides) -> Result<Loaded, Usage> {
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.to_string_lossy().into_owned())));
    let file = match &overrides.config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Usage::new(format!("the configuration {} cannot be read: {error}", path.display())))?;
            Some((path.display().to_string(), text))
        }
        None => None,
    };
    let loaded = merge(file.as_ref().map(|(p, t)| (p.as_str(), t.as_str())), variables, overrides)?;
    let mut problems = loaded.config.problems();
    problems.extend(file_problems(&loaded.config));
    sound(loaded, problems)
}

/// A file's text alone: no environment, no flag, and no other file is opened. `path` is its name in complaints.
pub fn read(text: &str, path: &str) -> Result<Loaded, Usage> {
    let loaded = merge(Some((path, text)), std::iter::empty(), &Overrides::default())?;
    let problems = loaded.config.problems();
    sound(loaded, problems)
}

fn sound(loaded: Loaded, problems: Vec<Problem>) -> Result<Loaded, Usage> {
    if problems.is_empty() {
        return Ok(loaded);
    }
    Err(Usage(problems.into_iter().map(|p| line(origin_of(&loaded.origins, &p.key), &p.key, &p.message)).collect()))
}

fn line(origin: Option<&Origin>, key: &str, message: &str) -> String {
    match origin {
        Some(Origin::File { .. }) => format!("{}: {key}: {message}", origin.expect("matched")),
        Some(origin) => format!("{origin}: {key}: {message}"),
        None => format!("{key}: {message}"),
    }
}

/// Puts the layers together. Pure but for its arguments, so that tests need no environment.
pub fn merge(
    file: Option<(&str, &str)>,
    variables: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Loaded, Usage> {
    let mut origins = BTreeMap::new();
    let mut problems = Vec::new();
    let mut base = Dict::new();
    if let Some((path, text)) = file {
        let table = toml::de::DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(1, |span| line_of(text, span.start));
            Usage::new(format!("{path}:{at}: {}", error.message().lines().next().unwrap_or("not TOML")))
        })?;
        for (key, value) in table.get_ref() {
            note_lines(path, text, key.get_ref(), line_of(text, key.span().start), value, &mut origins);
        }
        let parsed: toml::Table =
            text.parse().map_err(|error: toml::de::Error| Usage::new(format!("{path}: {}", error.message())))?;
        base = Value::serialize(&parsed)
            .ok()
            .and_then(Value::into_dict)
            .ok_or_else(|| Usage::new(format!("{path}: cannot be used as a configuration")))?;
    }

    let mut above: Vec<(Origin, String, Value)> = Vec::new();
    let mut variables: Vec<_> =
        variables.filter(|(name, _)| name.starts_with(PREFIX) && !NOT_KEYS.contains(&name.as_str())).collect();
    variables.sort();
    for (name, text) in variables {
        let mut key = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect::<Vec<_>>().join(".");
        // The first listener by its position is the only one by its name; of several none can be meant (below).
        if let Some(rest) = key.strip_prefix("mllp.0.") {
            key = format!("mllp.{rest}");
        }
        // Numbers, booleans and lists as in TOML; everything else is text. This cannot fail.
        let value = text.parse::<Value>().unwrap_or_else(|never| match never {});
        above.push((Origin::Variable(name), key, value));
    }
    for (flag, key, value) in overrides.given() {
        above.push((Origin::Flag(flag), key.to_owned(), value));
    }

    // One listener may be meant by `mllp.listen` from above: it joins the only one that the file has.
    if let Some((origin, _, _)) = above.iter().find(|(_, key, _)| key.starts_with("mllp.")) {
        match base.get("mllp").and_then(Value::as_array) {
            Some([one]) => {
                let one = one.clone();
                base.insert("mllp".into(), one);
                let renamed: Vec<_> =
                    origins.iter().filter(|(k, _)| k.starts_with("mllp.0.")).map(|(k, o)| (k.clone(), o.clone())).collect();
                for (key, origin) in renamed {
                    origins.insert(key.replacen("mllp.0.", "mllp.", 1), origin);
                }
            }
            Some(several) => problems.push(format!(
                "{origin}: {} [[mllp]] listeners are configured, it is not clear which one is meant: change the file",
                several.len()
            )),
            None => {}
        }
    }
    let mut figment = Figment::from(Serialized::globals(base));
    for (origin, key, value) in above {
        origins.insert(key.clone(), origin);
        figment = figment.merge(Serialized::global(&key, value));
    }
    let mut dict: Dict = figment.extract().map_err(|error| Usage::new(error.to_string()))?;
    if matches!(dict.get("mllp"), Some(Value::Dict(..)))
        && let Some(one) = dict.remove("mllp")
    {
        dict.insert("mllp".into(), Value::from(vec![one]));
        let inside: Vec<_> = origins
            .iter()
            .filter(|(k, _)| k.starts_with("mllp.") && !k.starts_with("mllp.0."))
            .map(|(k, o)| (k.clone(), o.clone()))
            .collect();
        for (key, origin) in inside {
            origins.insert(key.replacen("mllp.", "mllp.0.", 1), origin);
        }
    }

    let known = serde_json::to_value(Config::every_key()).map_err(|error| Usage::new(error.to_string()))?;
    let mut unknown = Vec::new();
    find_unknown(&dict, &known, "", &mut unknown);
    for key in &unknown {
        remove(&mut dict, key);
        let hint = hint(key, &known).map(|near| format!("; did you mean {near}?")).unwrap_or_else(|| known_here(key, &known));
        problems.push(line(origin_of(&origins, key), key, &format!("unknown key{hint}")));
    }
    let config = loop {
        match Figment::from(Serialized::globals(dict.clone())).extract::<Config>() {
            Ok(config) => break Some(config),
            Err(error) => {
                let key = error.path.join(".");
                problems.push(line(origin_of(&origins, &key), &key, &error.kind.to_string()));
                // With the offending value gone, the next complaint can be found.
                if key.is_empty() || problems.len() >= PROBLEMS_MAX || !remove(&mut dict, &key) {
                    break None;
                }
            }
        }
    };
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, origins }),
        _ => Err(Usage(problems)),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

fn note_lines(
    path: &str,
    text: &str,
    key: &str,
    line: usize,
    value: &toml::Spanned<toml::de::DeValue<'_>>,
    origins: &mut BTreeMap<String, Origin>,
) {
    origins.insert(key.to_owned(), Origin::File { path: path.to_owned(), line });
    match value.get_ref() {
        toml::de::DeValue::Table(table) => {
            for (inner, value) in table {
                note_lines(path, text, &format!("{key}.{}", inner.get_ref()), line_of(text, inner.span().start), value, origins);
            }
        }
        toml::de::DeValue::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                note_lines(path, text, &format!("{key}.{at}"), line_of(text, value.span().start), value, origins);
            }
        }
        _ => {}
    }
}

/// Keys that the schema (an example with every key) does not have.
fn find_unknown(dict: &Dict, known: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    let Some(known) = known.as_object() else { return };
    for (key, value) in dict {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match (known.get(key), value) {
            (None, _) => found.push(path),
            (Some(inner), Value::Dict(_, dict)) => find_unknown(dict, inner, &path, found),
            (Some(serde_json::Value::Array(list)), Value::Array(_, values)) => {
                for (position, value) in values.iter().enumerate() {
                    if let (Some(example), Value::Dict(_, dict)) = (list.first(), value) {
                        find_unknown(dict, example, &format!("{path}.{position}"), found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The nearest key: a sibling that is spelt alike, else the same word in another table.
fn hint(key: &str, known: &serde_json::Value) -> Option<String> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let leaf = parts.pop()?;
    let mut at = known;
    for part in &parts {
        at = match at {
            serde_json::Value::Array(list) => list.get(part.parse::<usize>().ok()?.min(list.len().checked_sub(1)?))?,
            _ => at.get(part)?,
        };
    }
    let prefix = if parts.is_empty() { String::new() } else { format!("{}.", parts.join(".")) };
    let near = at
        .as_object()?
        .keys()
        .map(|candidate| (strsim::damerau_levenshtein(leaf, candidate), candidate))
        .filter(|(distance, candidate)| {
            let part =
                (candidate.starts_with(leaf) && leaf.len() > 2) || (leaf.starts_with(candidate.as_str()) && candidate.len() > 2);
            *distance <= 1 + candidate.len() / 4 || part
        })
        .min();
    if let Some((_, candidate)) = near {
        return Some(format!("{prefix}{candidate}"));
    }
    let mut elsewhere = Vec::new();
    all_keys(known, "", &mut elsewhere);
    elsewhere.into_iter().find(|path| path.rsplit('.').next() == Some(leaf))
}

/// The keys of the table in which an unknown one stands, where none is near.
fn known_here(key: &str, known: &serde_json::Value) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    let mut at = known;
    for part in &parts[..parts.len() - 1] {
        let inner = match at {
            serde_json::Value::Array(list) => list.first(),
            _ => at.get(part),
        };
        match inner {
            Some(inner) => at = inner,
            None => return String::new(),
        }
    }
    let names: Vec<&str> = at.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!("; known here: {}", names.join(", ")) }
}

fn all_keys(known: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    let inner = match known {
        serde_json::Value::Array(list) => list.first(),
        other => Some(other),
    };
    for (key, value) in inner.and_then(|v| v.as_object()).into_iter().flatten() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        all_keys(value, &path, found);
        found.push(path);
    }
}

fn remove(dict: &mut Dict, key: &str) -> bool {
    let Some((first, rest)) = key.split_once('.') else { return dict.remove(key).is_some() };
    fn inside(value: &mut Value, key: &str) -> bool {
        match value {
            Value::Dict(_, dict) => remove(dict, key),
            Value::Array(_, list) => {
                let (index, rest) = key.split_once('.').unwrap_or((key, ""));
                match index.parse::<usize>().ok().filter(|i| *i < list.len()) {
                    Some(index) if rest.is_empty() => {
                        list.remove(index);
                        true
                    }
                    Some(index) => inside(&mut list[index], rest),
                    None => false,
                }
            }
            _ => false,
        }
    }
    dict.get_mut(first).is_some_and(|value| inside(value, rest))
}

/// What only the disk can tell: certificates, keys and advisories that cannot be read; and the filter of the log, whose reader the
/// core does not know.
fn file_problems(config: &Config) -> Vec<crate::config::Problem> {
    use crate::config::Problem;
    let mut problems = Vec::new();
    let mut readable = |key: String, path: &Path| {
        if let Err(error) = std::fs::File::open(path) {
            problems.push(Problem { key, message: format!("{} cannot be read: {error}", path.display()) });
        }
    };
    let mut tls = |key: &str, tls: &Option<crate::config::Tls>| {
        if let Some(tls) = tls {
            readable(format!("{key}.tls.certificate"), &tls.certificate);
            readable(format!("{key}.tls.key"), &tls.key);
            if let Some(ca) = &tls.client_ca {
                readable(format!("{key}.tls.client_ca"), ca);
            }
        }
    };
    for (at, mllp) in config.mllp.iter().enumerate() {
        tls(&format!("mllp.{at}"), &mllp.tls);
    }
    tls("mqtt", &config.mqtt.tls);
    tls("http", &config.http.tls);
    if let Some(client) = &config.mqtt.client {
        readable("mqtt.client.certificate".into(), &client.certificate);
        readable("mqtt.client.key".into(), &client.key);
    }
    for (key, path) in [
        ("mqtt.ca", &config.mqtt.ca),
        ("mqtt.password_file", &config.mqtt.password_file),
        ("privacy.key_file", &config.privacy.key_file),
        ("journal.signing_key", &config.journal.signing_key),
    ] {
        if let Some(path) = path {
            readable(key.into(), path);
        }
    }
    if let Err(error) = crate::shell::vault::unlock(config) {
        problems.push(Problem { key: "journal.encryption_key".into(), message: error.to_string() });
    }
    if config.models.is_some()
        && let Err(error) = crate::shell::models::load(config)
    {
        problems.push(Problem { key: "models".into(), message: error.to_string() });
    }
    if config.devices.advisories.is_some()
        && let Err(error) = crate::shell::advisories::load(config)
    {
        problems.push(Problem { key: "devices.advisories".into(), message: error.to_string() });
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.filter) {
        problems.push(Problem { key: "log.filter".into(), message: error.to_string() });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        merge(Some(("v.toml", text)), variables, &Overrides::default()).map_err(|usage| usage.0)
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(merged("", &[]).unwrap().config, Config::default());
    }

    #[test]
    fn the_environment_stands_above_the_file_and_flags_above_both() {
        let file = "site = \"a\"\n[http]\nlisten = \"127.0.0.1:1\"\n[journal]\nretain_days = 3.0\n";
        let variables =
            [("VITALGUARD_HTTP__LISTEN", "127.0.0.1:2"), ("VITALGUARD_SITE", "b"), ("VITALGUARD_JOURNAL__SNAPSHOT_S", "7")];
        let loaded = merged(file, &variables).unwrap();
        assert_eq!(loaded.config.http.listen.port(), 2);
        assert_eq!(loaded.config.site, "b");
        assert_eq!((loaded.config.journal.retain_days, loaded.config.journal.snapshot_s), (3.0, 7.0));
        assert_eq!(loaded.origin("journal.retain_days").unwrap().to_string(), "v.toml:5");
        assert_eq!(loaded.origin("site").unwrap().to_string(), "VITALGUARD_SITE");
        assert_eq!(loaded.origin("zone"), None);
        let flags = Overrides { site: Some("c".into()), ..Overrides::default() };
        let loaded =
            merge(Some(("v.toml", file)), std::iter::once(("VITALGUARD_SITE".to_owned(), "b".to_owned())), &flags).unwrap();
        assert_eq!(loaded.config.site, "c");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
        assert_eq!(
            merged("[http]\nlisten = \"127.0.0.1:1\"\nlisn = 3\n", &[]).unwrap_err(),
            ["v.toml:3: http.lisn: unknown key; did you mean http.listen?"]
        );
        assert_eq!(
            merged("", &[("VITALGUARD_HTP__LISTEN", "x")]).unwrap_err(),
            ["VITALGUARD_HTP__LISTEN: htp: unknown key; did you mean http?"]
        );
        assert_eq!(
            merged("[[mllp]]\nfeed = \"a\"\nwrad = \"icu\"\n", &[]).unwrap_err(),
            ["v.toml:3: mllp.0.wrad: unknown key; did you mean mllp.0.ward?"]
        );
        assert_eq!(
            merged("retain_days = 3", &[]).unwrap_err(),
            ["v.toml:1: retain_days: unknown key; did you mean journal.retain_days?"]
        );
    }

    #[test]
    fn every_wrong_type_is_told_with_place_and_expectation() {
        let lines = merged("site = 3\n[journal]\nretain_days = \"long\"\n[[mllp]]\nlisten = 2575\n", &[]).unwrap_err();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (start, word) in [
            ("v.toml:1: site:", "string"),
            ("v.toml:3: journal.retain_days:", "f64"),
            ("v.toml:5: mllp.0.listen:", "socket address"),
        ] {
            assert!(lines.iter().any(|l| l.starts_with(start) && l.contains(word)), "{start} in {lines:?}");
        }
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let lines = merged("site = \"a\"\n[http\n", &[]).unwrap_err();
        assert!(lines[0].starts_with("v.toml:2: "), "{lines:?}");
    }

    #[test]
    fn a_listener_key_from_above_joins_the_only_listener() {
        let loaded = merged("[[mllp]]\nfeed = \"a\"\nward = \"icu\"\n", &[("VITALGUARD_MLLP__LISTEN", "127.0.0.1:9")]).unwrap();
        assert_eq!((loaded.config.mllp[0].feed.as_str(), loaded.config.mllp[0].listen.port()), ("a", 9));
        assert_eq!(loaded.origin("mllp.0.listen").unwrap().to_string(), "VITALGUARD_MLLP__LISTEN");
        let two = "[[mllp]]\nfeed = \"a\"\n[[mllp]]\nfeed = \"b\"\n";
        assert!(merged(two, &[("VITALGUARD_MLLP__LISTEN", "127.0.0.1:9")]).unwrap_err()[0].contains("2 [[mllp]] listeners"));
        assert_eq!(merged("", &[("VITALGUARD_MLLP__LISTEN", "127.0.0.1:9")]).unwrap().config.mllp[0].listen.port(), 9);
    }
}
