//! Reading advisory data: every complaint names the entry and the key.

use super::{Advisories, Advisory, Compiled, Cve, Level, normalised};
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A compiled pattern is no larger, bytes: what a product name needs is far below, what a slip of the pen makes is not.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// All patterns together, bytes.
const PATTERNS_BYTES_MAX: usize = 64 << 20;
/// Characters of a pattern.
const PATTERN_CHARS_MAX: usize = 512;
/// Entries at most, ours included.
pub const ENTRIES_MAX: usize = 4096;
/// Bytes of a file at most.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// Why advisory data were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvisoryError {
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("{file}: advisory {entry}: {key}: {message}")]
    Entry { file: String, entry: String, key: String, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    data_date: Option<String>,
    warn_after_days: Option<f64>,
    coverage: Option<String>,
    #[serde(default)]
    advisory: Vec<toml::Table>,
}

/// Midnight UTC of `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let shaped = parts.next().is_none() && [year.len(), month.len(), day.len()] == [4, 2, 2];
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if !shaped || !digits {
        return None;
    }
    Timestamp::from_civil(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?, 0, 0, 0, 0)
}

impl Advisories {
    /// Reads one file; `file` is its name in complaints.
    pub fn read(text: &str, file: &str) -> Result<Advisories, AdvisoryError> {
        let fault = |message: String| AdvisoryError::File { file: file.to_owned(), message };
        let read = File::read(text, file)?;
        let data_date = read.data_date.clone().ok_or_else(|| fault("data_date: is missing".into()))?;
        let list = read.entries(file)?;
        Advisories::ready(list, data_date, read.warn_after_days.unwrap_or(90.0), read.coverage.unwrap_or_default(), file)
    }

    /// With the entries of a site's file: one of the same id replaces ours. The date of the data is the newer one: a site that
    /// states a date has looked the data through up to then.
    pub fn extended(&self, text: &str, file: &str) -> Result<Advisories, AdvisoryError> {
        let read = File::read(text, file)?;
        let mut list = self.list.clone();
        for entry in read.entries(file)? {
            match list.iter_mut().find(|known| known.id == entry.id) {
                Some(known) => *known = entry,
                None => list.push(entry),
            }
        }
        // Dates of one shape are in the order of their text.
        let data_date = read.data_date.clone().map_or(self.data_date.clone(), |own| own.max(self.data_date.clone()));
        let days = read.warn_after_days.unwrap_or(self.warn_after_days);
        let coverage = match read.coverage {
            Some(own) => format!("{} {own}", self.coverage),
            None => self.coverage.clone(),
        };
        Advisories::ready(list, data_date, days, coverage, file)
    }

    fn ready(
        list: Vec<Advisory>,
        data_date: String,
        warn_after_days: f64,
        coverage: String,
        file: &str,
    ) -> Result<Advisories, AdvisoryError> {
        let fault = |message: String| AdvisoryError::File { file: file.to_owned(), message };
        if list.len() > ENTRIES_MAX {
            return Err(fault(format!("{} advisories, at most {ENTRIES_MAX} are meant", list.len())));
        }
        // The bound of all together first: one by one they would be built before anybody adds them up.
        let texts = list.iter().flat_map(|entry| &entry.patterns).map(|pattern| pattern.regex.as_str());
        let set: RegexSet = RegexSetBuilder::new(texts)
            .size_limit(PATTERNS_BYTES_MAX)
            .build()
            .map_err(|error| fault(format!("the patterns together: {error}")))?;
        let mut patterns = Vec::new();
        for (at, entry) in list.iter().enumerate() {
            for pattern in &entry.patterns {
                // Entries were checked one by one; this is the same text.
                let regex = compile(&pattern.regex).map_err(|message| fault(format!("advisory {}: {message}", entry.id)))?;
                patterns.push(Compiled {
                    advisory: at as u16,
                    confidence: pattern.confidence,
                    needs_vendor: pattern.needs_vendor,
                    regex,
                });
            }
        }
        let text = serde_json::to_string(&list).map_err(|error| fault(error.to_string()))?;
        let mut hash = Sha256::new();
        hash.update(format!("{data_date}\0{warn_after_days}\0{coverage}\0{text}"));
        let hash = HEXLOWER.encode(&hash.finalize()[..8]);
        Ok(Advisories { list, data_date, warn_after_days, coverage, patterns, set, hash })
    }
}

impl File {
    fn read(text: &str, file: &str) -> Result<File, AdvisoryError> {
        let fault = |message: String| AdvisoryError::File { file: file.to_owned(), message };
        if text.len() > FILE_BYTES_MAX {
            return Err(fault(format!("{} bytes, at most {FILE_BYTES_MAX} are meant", text.len())));
        }
        let read: File = toml::from_str(text).map_err(|error| fault(error.to_string().trim_end().to_owned()))?;
        if read.schema != "advisories/1" {
            return Err(fault(format!("schema: {:?} is not \"advisories/1\"", read.schema)));
        }
        if let Some(wrong) = read.data_date.as_deref().filter(|d| date(d).is_none()) {
            return Err(fault(format!("data_date: {wrong:?} is no date (YYYY-MM-DD)")));
        }
        if read.warn_after_days.is_some_and(|days| !(1.0..=3650.0).contains(&days)) {
            return Err(fault("warn_after_days: 1 to 3650 is meant".into()));
        }
        Ok(read)
    }

    fn entries(&self, file: &str) -> Result<Vec<Advisory>, AdvisoryError> {
        let mut list: Vec<Advisory> = Vec::new();
        for (at, table) in self.advisory.iter().enumerate() {
            let named = table.get("id").and_then(toml::Value::as_str).map(super::clean).filter(|id| !id.is_empty());
            let entry = named.unwrap_or_else(|| format!("number {}", at + 1));
            let fault =
                |key: String, message: String| AdvisoryError::Entry { file: file.to_owned(), entry: entry.clone(), key, message };
            let read: Advisory = table.clone().try_into().map_err(|error: toml::de::Error| {
                let (key, message) = place(&error.to_string());
                fault(key, message)
            })?;
            check(&read).map_err(|(key, message)| fault(key, message))?;
            if list.iter().any(|known| known.id == read.id) {
                return Err(fault("id".into(), "stands twice in this file".into()));
            }
            list.push(read);
        }
        Ok(list)
    }
}

/// Key and message out of what the TOML reader says.
fn place(message: &str) -> (String, String) {
    let mut lines = message.trim_end().lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    let inside = lines.find_map(|l| l.strip_prefix("in ").map(quoted)).unwrap_or_default();
    if first.starts_with("unknown field") || first.starts_with("missing field") {
        let key = quoted(&first);
        return (if inside.is_empty() { key } else { format!("{inside}.{key}") }, first);
    }
    (if inside.is_empty() { "entry".into() } else { inside }, first)
}

fn check(entry: &Advisory) -> Result<(), (String, String)> {
    let fault = |key: &str, message: String| Err((key.to_owned(), message));
    let id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if entry.id.is_empty() || entry.id.len() > 64 || !entry.id.chars().all(id) {
        return fault("id", format!("{:?}: 1 to 64 letters, digits and . _ - / are meant", entry.id));
    }
    for (key, text) in [("title", &entry.title), ("vendor", &entry.vendor), ("kind", &entry.kind), ("summary", &entry.summary)] {
        if text.trim().is_empty() {
            return fault(key, "is empty".into());
        }
        if text.chars().any(char::is_control) {
            return fault(key, "holds a control character".into());
        }
    }
    for (key, text) in [("date", &entry.date), ("revised", &entry.revised)] {
        if date(text).is_none() {
            return fault(key, format!("{text:?} is no date (YYYY-MM-DD)"));
        }
    }
    if entry.revised < entry.date {
        return fault("revised", format!("{} lies before the date {}", entry.revised, entry.date));
    }
    if !entry.url.starts_with("https://") {
        return fault("url", format!("{:?} does not begin with https://", entry.url));
    }
    for (at, cve) in entry.cves.iter().enumerate() {
        check_cve(cve).map_err(|(key, message)| (format!("cves.{at}.{key}"), message))?;
    }
    if entry.patterns.is_empty() {
        return fault("patterns", "is empty: nothing could ever match".into());
    }
    // One pattern is built at a time: the bound of all of them together is held behind this.
    let tried = |texts: &[String]| texts.iter().map(|text| (normalised(text), false)).collect::<Vec<_>>();
    let (mut matched, mut exact) = (tried(&entry.pattern_tests.r#match), tried(&entry.pattern_tests.no_exact_match));
    for (at, pattern) in entry.patterns.iter().enumerate() {
        let regex = match compile(&pattern.regex) {
            Ok(regex) => regex,
            Err(message) => return fault(&format!("patterns.{at}.regex"), message),
        };
        matched.iter_mut().for_each(|(text, found)| *found |= regex.is_match(text));
        if pattern.confidence == Level::Exact {
            exact.iter_mut().for_each(|(text, found)| *found |= regex.is_match(text));
        }
        if pattern.needs_vendor && !entry.patterns.iter().any(|p| p.confidence != Level::Exact) {
            return fault(&format!("patterns.{at}.needs_vendor"), "the entry has no vendor or family pattern".into());
        }
    }
    for (text, (_, found)) in entry.pattern_tests.r#match.iter().zip(&matched) {
        if !found {
            return fault("pattern_tests.match", format!("no pattern matches {text:?}"));
        }
    }
    for (text, (_, found)) in entry.pattern_tests.no_exact_match.iter().zip(&exact) {
        if *found {
            return fault("pattern_tests.no_exact_match", format!("an exact pattern matches {text:?}"));
        }
    }
    Ok(())
}

fn check_cve(cve: &Cve) -> Result<(), (&'static str, String)> {
    let number = cve.id.strip_prefix("CVE-").and_then(|rest| rest.split_once('-'));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !number.is_some_and(|(year, number)| year.len() == 4 && digits(year) && number.len() >= 4 && digits(number)) {
        return Err(("id", format!("{:?} is no CVE id", cve.id)));
    }
    for (key, score) in [("cvss3", Some(cve.cvss3)), ("cvss4", cve.cvss4)] {
        if score.is_some_and(|score| !(0.0..=10.0).contains(&score)) {
            return Err((key, "a CVSS score lies between 0 and 10".into()));
        }
    }
    if let Some(vector) = &cve.cvss3_vector {
        let metrics = vector.strip_prefix("CVSS:3.0/").or_else(|| vector.strip_prefix("CVSS:3.1/"));
        let names = ["AV", "AC", "PR", "UI", "S", "C", "I", "A"];
        let whole = metrics.is_some_and(|m| {
            let list: Vec<&str> = m.split('/').collect();
            list.len() == names.len()
                && list.iter().zip(names).all(|(metric, name)| {
                    metric
                        .split_once(':')
                        .is_some_and(|(n, v)| n == name && v.len() == 1 && v.bytes().all(|b| b.is_ascii_uppercase()))
                })
        });
        if !whole {
            return Err(("cvss3_vector", format!("{vector:?} is no CVSS 3 base vector")));
        }
    }
    Ok(())
}

/// A bounded pattern, or why it is none.
fn compile(text: &str) -> Result<Regex, String> {
    if text.chars().count() > PATTERN_CHARS_MAX {
        return Err(format!("longer than {PATTERN_CHARS_MAX} characters"));
    }
    let regex = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| match error {
        // The reader draws the place over several lines; its last line says what is wrong.
        regex::Error::Syntax(drawn) => {
            let said = drawn.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("{text:?}: {said}")
        }
        regex::Error::CompiledTooBig(_) => format!("{text:?}: grows beyond {PATTERN_BYTES_MAX} bytes"),
        other => format!("{text:?}: {other}"),
    })?;
    // Also one that is empty only somewhere, such as a word boundary.
    let empty = regex_syntax::parse(text).is_ok_and(|hir| hir.properties().minimum_len().is_none_or(|bytes| bytes == 0));
    if empty {
        return Err(format!("{text:?}: matches the empty text, and so every device"));
    }
    Ok(regex)
}
