//! Whether a declared version is among those that an advisory names. It never clears anything: it is shown as declared.

use super::Product;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What a declared version says, for an exact match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// Among the versions that the advisory names, or it names all.
    Affected,
    /// Not among them, as the device declares. The advisory stays.
    NotListed,
    /// None is declared, or it cannot be compared.
    Unknown,
}

impl VersionState {
    pub const fn as_str(self) -> &'static str {
        match self {
            VersionState::Affected => "affected",
            VersionState::NotListed => "not_listed",
            VersionState::Unknown => "unknown",
        }
    }
}

/// One part of what an advisory prints.
enum Rule {
    All,
    Compare(Ordering, bool, Vec<Part>),
    /// `2.X`: everything that begins so.
    Begins(Vec<Part>),
    Unclear,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Letters(String),
    Number(u64),
}

/// The state of the declared versions against all products of an entry; the worst wins.
pub(super) fn state(products: &[Product], declared: &[String]) -> VersionState {
    let printed: Vec<&str> = products.iter().flat_map(|p| p.versions.iter().map(String::as_str)).collect();
    if printed.iter().any(|text| rules(text).iter().any(|rule| matches!(rule, Rule::All))) {
        return VersionState::Affected;
    }
    let mut unclear = declared.is_empty() || printed.is_empty();
    for version in declared {
        if printed.iter().any(|text| text.eq_ignore_ascii_case(version)) {
            return VersionState::Affected;
        }
        let parts = parts(version);
        for text in &printed {
            match holds(&rules(text), &parts) {
                Some(true) => return VersionState::Affected,
                Some(false) => {}
                None => unclear = true,
            }
        }
    }
    if unclear { VersionState::Unknown } else { VersionState::NotListed }
}

/// `>= 4.01 | <= 4.34` is a span, `B.02 | C.02` is a list.
fn holds(rules: &[Rule], version: &[Part]) -> Option<bool> {
    if version.is_empty() || rules.is_empty() || rules.iter().any(|r| matches!(r, Rule::Unclear)) {
        return None;
    }
    let one = |rule: &Rule| match rule {
        Rule::All => true,
        Rule::Compare(order, equal, than) => {
            let compared = version.cmp(than);
            compared == *order || (*equal && compared == Ordering::Equal)
        }
        Rule::Begins(start) => version.starts_with(start),
        Rule::Unclear => false,
    };
    let span = rules.len() > 1 && rules.iter().all(|r| matches!(r, Rule::Compare(Ordering::Less | Ordering::Greater, ..)));
    Some(if span { rules.iter().all(one) } else { rules.iter().any(one) })
}

fn rules(text: &str) -> Vec<Rule> {
    text.split('|').map(rule).collect()
}

fn rule(text: &str) -> Rule {
    let text = text.trim();
    if text.eq_ignore_ascii_case("all versions") || text == "*" || text.starts_with("* ") {
        return Rule::All;
    }
    let compares = [
        ("<=", Ordering::Less, true),
        (">=", Ordering::Greater, true),
        ("<", Ordering::Less, false),
        (">", Ordering::Greater, false),
    ];
    for (sign, order, equal) in compares {
        if let Some(rest) = text.strip_prefix(sign) {
            let rest = rest.trim();
            return if plain(rest) { Rule::Compare(order, equal, parts(rest)) } else { Rule::Unclear };
        }
    }
    if !plain(text) {
        return Rule::Unclear;
    }
    match text.strip_suffix(".X").or_else(|| text.strip_suffix(".x")) {
        Some(start) => Rule::Begins(parts(start)),
        None => Rule::Compare(Ordering::Equal, true, parts(text)),
    }
}

/// One word of letters, digits, dots and hyphens that holds a digit, or a single letter.
fn plain(text: &str) -> bool {
    let word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    word && (text.len() == 1 || text.bytes().any(|b| b.is_ascii_digit()))
}

/// `C.00.04` is C, 0, 4; a leading v of a number is left out.
fn parts(text: &str) -> Vec<Part> {
    let text = text.trim();
    let text = match text.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => text,
    };
    let mut list = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if digits > 0 {
            list.push(Part::Number(rest[..digits].parse().unwrap_or(u64::MAX)));
            rest = &rest[digits..];
        } else if letters > 0 {
            list.push(Part::Letters(rest[..letters].to_ascii_uppercase()));
            rest = &rest[letters..];
        } else {
            rest = &rest[first.len_utf8()..];
        }
        if list.len() >= 16 {
            break;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(printed: &[&str], declared: &[&str]) -> &'static str {
        let products = [Product { product: "p".into(), versions: printed.iter().map(|v| (*v).to_owned()).collect() }];
        state(&products, &declared.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>()).as_str()
    }

    #[test]
    fn versions_are_compared_by_their_parts() {
        assert_eq!(of(&["< 1.7.15"], &["1.7.9"]), "affected");
        assert_eq!(of(&["< 1.7.15"], &["1.7.15"]), "not_listed");
        assert_eq!(of(&["<= C.00.04"], &["C.00.04"]), "affected");
        assert_eq!(of(&["<= C.00.04"], &["C.00.05"]), "not_listed");
        assert_eq!(of(&["2.X", "1.X"], &["v2.0.3"]), "affected");
        assert_eq!(of(&["B.02 | C.02 | C.03"], &["C.02"]), "affected");
        assert_eq!(of(&[">= 4.01 | <= 4.34"], &["4.20"]), "affected");
        assert_eq!(of(&[">= 4.01 | <= 4.34"], &["4.35"]), "not_listed");
        assert_eq!(of(&["01-03", "01-04"], &["01-04"]), "affected");
        assert_eq!(of(&["<=N"], &["M"]), "affected");
    }

    #[test]
    fn what_cannot_be_compared_is_unknown_and_all_versions_are_all() {
        assert_eq!(of(&["< 1.7.15"], &[]), "unknown");
        assert_eq!(of(&["Rev J-M"], &["K"]), "unknown");
        assert_eq!(of(&["all versions"], &["99.9"]), "affected");
        assert_eq!(of(&["1.0", "all versions"], &[]), "affected");
        assert_eq!(of(&["<= 1.54 (integrated)"], &["1.60"]), "unknown");
        assert_eq!(of(&["CMS7.820.075.08/0.74(0.75)"], &["cms7.820.075.08/0.74(0.75)"]), "affected");
    }
}
