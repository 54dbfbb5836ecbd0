//! Which advisories a device's own words name, and how surely.

use super::{Advisories, Level, VersionState, version};
use serde::{Deserialize, Serialize};

/// Where declared text stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    Msh3,
    Msh4,
    Sft,
    /// OBX-18 or PRT-10.
    Device,
    /// The site's own inventory.
    Site,
}

impl Field {
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Msh3 => "MSH-3",
            Field::Msh4 => "MSH-4",
            Field::Sft => "SFT",
            Field::Device => "OBX-18/PRT-10",
            Field::Site => "the site's inventory",
        }
    }
}

/// One text to look at: normalised ([`super::normalised`]).
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub field: Field,
    pub text: &'a str,
    /// False for what only stands beside the device (the header of its gateway): it supports a match, and makes none.
    pub own: bool,
}

/// One advisory that a device's words name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Position in [`Advisories::list`].
    pub advisory: u16,
    pub level: Level,
    pub field: Field,
    /// The words that matched, normalised: no more than a pattern describes.
    pub words: String,
}

impl Advisories {
    /// Every advisory that the inputs name, each once with its surest level; the surest first, then in the order of the list.
    pub fn matches(&self, inputs: &[Input<'_>]) -> Vec<Match> {
        // (advisory, level, needs support, input, span)
        let mut hits: Vec<(u16, Level, bool, usize, std::ops::Range<usize>)> = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            for number in self.set.matches(input.text) {
                let pattern = &self.patterns[number];
                for found in pattern.regex.find_iter(input.text) {
                    hits.push((pattern.advisory, pattern.confidence, pattern.needs_vendor, at, found.range()));
                }
            }
        }
        let mut list: Vec<Match> = Vec::new();
        for (advisory, level, needs_vendor, at, span) in &hits {
            let input = &inputs[*at];
            // Words beside a short name: another input, or another place of the same one.
            let supported = || {
                hits.iter().any(|(other, level, _, input, place)| {
                    other == advisory
                        && *level != Level::Exact
                        && (input != at || place.end <= span.start || place.start >= span.end)
                })
            };
            if !input.own || (*needs_vendor && !supported()) {
                continue;
            }
            // A vendor named by the site's own inventory is surer than a device's word; a model is not made of it.
            let level = if input.field == Field::Site && *level == Level::Vendor { Level::Family } else { *level };
            let found = Match { advisory: *advisory, level, field: input.field, words: input.text[span.clone()].to_owned() };
            match list.iter_mut().find(|m| m.advisory == *advisory) {
                Some(known) if known.level <= level => {}
                Some(known) => *known = found,
                None => list.push(found),
            }
        }
        list.sort_by_key(|m| (m.level, m.advisory));
        list
    }

    /// What the declared versions say, for an exact match; unknown for every other.
    pub fn version_state(&self, found: &Match, declared: &[String]) -> VersionState {
        match self.of(found) {
            Some(advisory) if found.level == Level::Exact => version::state(&advisory.products, declared),
            _ => VersionState::Unknown,
        }
    }
}
