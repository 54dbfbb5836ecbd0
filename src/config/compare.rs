//! Feeds that bring the same values twice, before and after something in their path (an interface engine, a receiver).
//!
//! The downstream feed is a copy: it is compared with its upstream, value by value, and judged by nothing else. What the
//! engine is allowed to change stands here; MSH-10, names of applications, encodings and units are never compared.

use super::Found;
use crate::vital::Parameter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Pairs at most.
pub const PAIRS_MAX: usize = 16;

/// Two feeds of the same beds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compare {
    /// Slug of the feed nearer to the monitors. It alone is judged.
    pub upstream: String,
    /// Slug of the feed behind the engine: a copy.
    pub downstream: String,
    /// How the bed of a copy is found.
    pub bed: CompareBy,
    /// What makes two values one measurement.
    pub pair: ComparePair,
    /// A copy comes within, seconds; also how long either side is remembered. Too low: a slow engine's values are not
    /// compared; too high: what was dropped or added is told late.
    pub delay_s: f64,
    /// The engine writes times in steps of so many seconds (cut off, not rounded); 0.001 keeps them whole.
    pub time_step_s: f64,
    /// What the engine adds to times, seconds (a zone that it writes wrongly).
    pub time_shift_s: f64,
    /// Steps that the engine rounds to; otherwise the coarser of what both wrote.
    pub rounded: Vec<Rounded>,
    /// Parameters that the engine writes as another.
    pub renamed: Vec<Renamed>,
    /// Parameters that the engine leaves out.
    pub dropped: Vec<Parameter>,
    /// Parameters that only the downstream feed has, of other devices.
    pub added: Vec<Parameter>,
}

/// What the engine rounds to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounded {
    pub parameter: Parameter,
    /// In the parameter's canonical unit.
    pub step: f64,
}

/// A parameter under another code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    /// As it comes in.
    pub from: Parameter,
    /// As it goes out.
    pub to: Parameter,
}

/// How the bed of a copy is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompareBy {
    /// By its place, as any bed (with the map of `[beds]`).
    #[default]
    Place,
    /// By the device that it names: the bed where that was heard upstream.
    Device,
}

/// What makes two values one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComparePair {
    /// Parameter and own time (OBX-14, else OBR-7).
    #[default]
    Time,
    /// Parameter and MSH-10, where the engine keeps it and writes times anew.
    Id,
}

impl Default for Compare {
    fn default() -> Self {
        Compare {
            upstream: "gateway".into(),
            downstream: "receiver".into(),
            bed: CompareBy::default(),
            pair: ComparePair::default(),
            delay_s: 30.0,
            time_step_s: 1.0,
            time_shift_s: 0.0,
            rounded: Vec::new(),
            renamed: Vec::new(),
            dropped: Vec::new(),
            added: Vec::new(),
        }
    }
}

impl Compare {
    /// Two feeds, the rest as it comes.
    pub fn of(upstream: &str, downstream: &str) -> Compare {
        Compare { upstream: upstream.into(), downstream: downstream.into(), ..Compare::default() }
    }

    /// A parameter of the copy as the upstream feed has it.
    pub fn original(&self, parameter: Parameter) -> Parameter {
        self.renamed.iter().find(|r| r.to == parameter).map_or(parameter, |r| r.from)
    }

    /// The step that a parameter is rounded to, canonical unit; 0 where nothing is said.
    pub fn step(&self, parameter: Parameter) -> f64 {
        self.rounded.iter().find(|r| r.parameter == parameter).map_or(0.0, |r| r.step)
    }
}

/// What cannot be in `[[compare]]`. `feeds`: the listeners' names.
pub(super) fn problems(pairs: &[Compare], feeds: &BTreeSet<&String>, found: &mut Found) {
    if pairs.len() > PAIRS_MAX {
        found.add("compare", format!("{} pairs; {PAIRS_MAX} at most", pairs.len()));
    }
    for (at, pair) in pairs.iter().enumerate() {
        let key = |name: &str| format!("compare.{at}.{name}");
        for (name, feed) in [("upstream", &pair.upstream), ("downstream", &pair.downstream)] {
            found.slug(key(name), feed);
            if !feeds.contains(feed) {
                found.add(key(name), format!("{feed} is the feed of no listener"));
            }
        }
        if pairs[..at].iter().any(|earlier| earlier.downstream == pair.downstream) {
            found.add(key("downstream"), format!("{} is the copy of an earlier feed, too", pair.downstream));
        }
        // Upwards from here: whoever comes back to it has no source.
        let mut feed = &pair.upstream;
        for _ in 0..=pairs.len() {
            if *feed == pair.downstream {
                found.add(key("upstream"), format!("{} would be a copy of itself: no feed is judged", pair.downstream));
                break;
            }
            match pairs.iter().find(|other| other.downstream == *feed) {
                Some(other) => feed = &other.upstream,
                None => break,
            }
        }
        if !(1.0..=600.0).contains(&pair.delay_s) {
            found.add(key("delay_s"), "from 1 to 600 seconds");
        }
        if !(0.001..=60.0).contains(&pair.time_step_s) {
            found.add(key("time_step_s"), "from 0.001 to 60 seconds");
        }
        if !(-86_400.0..=86_400.0).contains(&pair.time_shift_s) {
            found.add(key("time_shift_s"), "at most a day in either direction");
        }
        for (at, rounded) in pair.rounded.iter().enumerate() {
            found.positive(key(&format!("rounded.{at}.step")), rounded.step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Mllp};
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> Vec<String> {
        let listener = |(at, feed): (u16, &str)| Mllp {
            feed: feed.into(),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 3000 + at)),
            ..Mllp::default()
        };
        let config = Config {
            mllp: (0..).zip(["a", "b", "c"]).map(listener).collect(),
            compare: pairs.iter().map(|(up, down)| Compare::of(up, down)).collect(),
            ..Config::default()
        };
        config.problems().into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn a_chain_of_copies_is_fine_and_a_ring_or_a_copy_of_two_is_not() {
        assert_eq!(said(&[("a", "b"), ("b", "c")]), Vec::<String>::new());
        assert_eq!(said(&[("a", "b"), ("a", "c")]), Vec::<String>::new());
        assert_eq!(said(&[("a", "a")]), ["compare.0.upstream"]);
        assert_eq!(said(&[("a", "b"), ("b", "a")]), ["compare.0.upstream", "compare.1.upstream"]);
        assert_eq!(said(&[("a", "c"), ("b", "c")]), ["compare.1.downstream"]);
        assert_eq!(said(&[("a", "x")]), ["compare.0.downstream"]);
    }

    #[test]
    fn a_pair_is_read_with_what_the_engine_may_change() {
        let text = "upstream = \"gw\"\ndownstream = \"emr\"\npair = \"id\"\ndropped = [\"pvc\"]\n\
                    [[rounded]]\nparameter = \"temp\"\nstep = 0.1\n[[renamed]]\nfrom = \"hr\"\nto = \"pr\"\n";
        let pair: Compare = toml::from_str(text).unwrap();
        assert_eq!((pair.pair, pair.bed, pair.delay_s), (ComparePair::Id, CompareBy::Place, 30.0));
        assert_eq!((pair.original(Parameter::Pr), pair.original(Parameter::Spo2)), (Parameter::Hr, Parameter::Spo2));
        assert_eq!((pair.step(Parameter::Temp), pair.step(Parameter::Hr)), (0.1, 0.0));
        assert!(toml::from_str::<Compare>("upstream = \"gw\"\nratio = 2").is_err());
    }
}
