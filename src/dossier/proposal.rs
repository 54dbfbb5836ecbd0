//! Which kind of significant incident a case may be: a proposal for a person, with its reason.

use super::catalogue::{self, ProposalDef};
use super::{Kind, Seen};
use crate::alert::Text;
use serde::Serialize;

/// Alerts that a proposal names, at most.
pub const ALERTS_MAX: usize = 20;

/// One proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    pub kind: Kind,
    /// `IS-2: integrity`.
    pub name: Text,
    pub reason: Text,
    /// Where the words of law are known from.
    pub mark: super::Mark,
    /// The alerts that it rests on.
    pub alerts: Vec<String>,
}

/// What a kind of significant incident is called; `None`: it is none.
pub fn kind_name(kind: Kind) -> Option<Text> {
    let known = catalogue::proposals().iter().find(|def| def.kind == kind).map(|def| def.name.clone());
    let bare = || Text { en: "IS-4".into(), it: "IS-4".into() };
    known.or_else(|| (kind == Kind::NisIs4).then(bare))
}

/// What the alerts of a case suggest; empty where they suggest nothing. In the order of the data, each kind at most once.
pub fn proposals(seen: &[Seen]) -> Vec<Proposal> {
    let meets = |def: &ProposalDef, s: &Seen| {
        let check = s.condition.split_whitespace().next().unwrap_or_default();
        def.assessments.contains(&s.assessment) || def.checks.iter().any(|c| c == check)
    };
    let of = |def: &ProposalDef| {
        let mut alerts: Vec<String> = seen.iter().filter(|s| meets(def, s)).map(|s| s.alert.clone()).collect();
        alerts.dedup();
        alerts.truncate(ALERTS_MAX);
        (!alerts.is_empty()).then(|| Proposal {
            kind: def.kind,
            name: def.name.clone(),
            reason: def.reason.clone(),
            mark: def.mark,
            alerts,
        })
    };
    catalogue::proposals().iter().filter_map(of).collect()
}
