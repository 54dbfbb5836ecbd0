//! A case as one file that proves itself: every file hashed in a signed manifest, the journal's chain up to a signed checkpoint.
//!
//! One contract: the same case, journal, checkpoint and time give the same bytes; what could not be put in is named in the
//! manifest; an error leaves nothing that looks like a bundle. Masked unless `identified`: then messages are the original bytes,
//! and captures, comments and notes are in it.

use super::sealed::Sealed;
use super::{Place, contents};
use crate::alert::hex;
use crate::case::{Case, Found, Step};
use crate::monitor::{Monitor, Settings};
use crate::shell::journal::{JournalError, Record, unbroken};
use crate::shell::store::{AlertReader, StepRow, StoreError};
use crate::shell::vault::{Checkpoint, CheckpointError, Link, Signer, checkpoints, links};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Schema of the manifest.
pub const SCHEMA: &str = "evidence-bundle/1";
/// Links of the chain at most, about 400 bytes each; a longer proof is left out, and said so.
pub const LINKS_MAX: u64 = 500_000;
/// Names of what is in every bundle.
pub const MANIFEST: &str = "manifest.json";
pub const SIGNATURE: &str = "manifest.sig";
pub const KEY: &str = "key.pem";
pub const LINKS: &str = "journal/links.jsonl";
pub const CHECKPOINT: &str = "journal/checkpoint.txt";
/// The verifier for those who have no copy of this program.
pub const VERIFIER: &str = include_str!("verify.py");

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub identified: bool,
    pub made_by: String,
    pub made_at: Timestamp,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub bytes: u64,
    /// 64 hex digits, of the whole file.
    pub sha256: String,
    pub missing: Vec<String>,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "the disk is full, or a limit of file sizes was reached, after {bytes} bytes: nothing was exported, the case is as it was"
    )]
    Full { bytes: u64 },
    #[error("the bundle cannot be written: {0}")]
    Io(#[source] std::io::Error),
    #[error("the bundle cannot be packed: {0}")]
    Zip(zip::result::ZipError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("advisories: {0}")]
    Advisories(#[from] crate::shell::advisories::LoadError),
    #[error("models: {0}")]
    Models(#[from] crate::shell::models::LoadError),
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLine {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
    /// The record of the journal whose payload it is, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
}

/// Where the chain in the bundle begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    pub first: u64,
    pub last: u64,
    /// The chain's hash before the first link, 64 hex digits.
    pub previous: String,
    /// It reaches the signed checkpoint.
    pub complete: bool,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: String,
    pub site: String,
    pub case: String,
    pub version: u32,
    pub identified: bool,
    #[serde(with = "crate::alert::rfc3339")]
    pub made_at: Timestamp,
    pub made_by: String,
    pub software: String,
    /// `sha256:` and 16 hex digits.
    pub configuration: String,
    pub model: String,
    pub checks: String,
    pub advisories: String,
    pub key_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// Records at which the wall clock stood before that of the record before, and by how much, ms.
    pub clock_steps: Vec<(u64, i64)>,
    /// What belongs to the case and is not in here, and why.
    pub missing: Vec<String>,
    pub files: Vec<FileLine>,
}

/// What one pass over the journal has brought.
#[derive(Default)]
pub(super) struct Seen {
    pub messages: Vec<contents::Message>,
    pub messages_bytes: usize,
    pub messages_more: u64,
    pub actions: Vec<Value>,
    pub found: Found,
}

/// Whose bundle this is to be.
pub struct Export<'a> {
    pub place: &'a Place<'a>,
    pub case: &'a Case,
    pub steps: &'a [StepRow],
    pub signer: &'a Signer,
    /// Covers the whole journal as it is now; `None`: it cannot be signed now.
    pub checkpoint: Option<Checkpoint>,
    /// Files of captures.
    pub captures: &'a Path,
    pub config_hash: &'a str,
    pub wish: &'a Wish,
}

impl Export<'_> {
    /// Writes the bundle.
    pub fn write<W: Read + Write + Seek>(&self, out: W) -> Result<(Built, W), ExportError> {
        let (place, case) = (self.place, self.case);
        let advisories = crate::shell::advisories::load(place.config)?;
        let advisories_date = advisories.data_date().to_owned();
        let settings = Settings::new(place.config, place.site_key)
            .with_advisories(advisories)
            .with_models(crate::shell::models::load(place.config)?);
        let mut monitor = Monitor::new(settings);
        let model = format!("sha256:{}", monitor.model_hash());
        let mut missing = Vec::new();
        let mut sealed = Sealed::new(out);
        let mut clock_steps = Vec::new();
        let mut seen = Seen::default();
        let reach = self.reach()?;
        let checkpoint = self.covering(reach, &mut missing)?;
        let chain = match &checkpoint {
            Some(checkpoint) => {
                self.chain(checkpoint, reach, &mut monitor, &mut sealed, &mut seen, &mut clock_steps, &mut missing)?
            }
            None => None,
        };
        if let (Some(_), Some(checkpoint)) = (&chain, &checkpoint) {
            sealed.add(CHECKPOINT, checkpoint.note().as_bytes())?;
        }
        let store = AlertReader::open(place.store)?;
        contents::write(self, &store, &mut seen, &advisories_date, &mut sealed, &mut missing)?;
        sealed.add(KEY, self.signer.public_pem().as_bytes())?;
        sealed.add("README.txt", contents::readme(self, &missing).as_bytes())?;
        sealed.add("verify.py", VERIFIER.as_bytes())?;
        let checks = crate::check::catalogue_hash();
        let manifest = Manifest {
            schema: SCHEMA.into(),
            site: place.config.site.clone(),
            case: case.id.clone(),
            version: case.version,
            identified: self.wish.identified,
            made_at: self.wish.made_at,
            made_by: self.wish.made_by.clone(),
            software: contents::software(),
            configuration: self.config_hash.to_owned(),
            model,
            checks: format!("sha256:{}", &checks[..16]),
            advisories: advisories_date,
            key_id: self.signer.key_id(),
            chain,
            clock_steps,
            missing: missing.clone(),
            files: sealed.files(),
        };
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        let signature = self.signer.sign(text.as_bytes());
        sealed.add(MANIFEST, text.as_bytes())?;
        sealed.add(SIGNATURE, &signature)?;
        let (bytes, sha256, out) = sealed.finish()?;
        Ok((Built { bytes, sha256, missing }, out))
    }

    /// The checkpoint at which the proof ends: the newest, so that the steps of the case are covered as well, or where that is too
    /// far, the first that covers the evidence. Where retention has made a gap behind the evidence, the newest before the gap:
    /// none behind it can be reached.
    fn covering(&self, (first, end): (u64, u64), missing: &mut Vec<String>) -> Result<Option<Checkpoint>, ExportError> {
        let fits = |c: &Checkpoint| c.size >= first && c.size.min(end) - first < LINKS_MAX;
        if let Some(newest) = self.checkpoint.clone().filter(|newest| fits(newest) && newest.size <= end) {
            return Ok(Some(newest));
        }
        let last = self.case.records().map_or(self.case.sequence, |(_, last)| last);
        let list: Vec<Checkpoint> = checkpoints(self.place.journal)?.into_iter().filter(|c| c.size >= last && fits(c)).collect();
        let reached = list.iter().rfind(|c| c.size <= end && end < u64::MAX);
        if let Some(covering) = reached.or(list.first()).or(self.checkpoint.as_ref().filter(|newest| fits(newest))) {
            if self.checkpoint.as_ref().is_some_and(|newest| newest.size > covering.size) {
                missing.push(format!("what people did behind record {}: it was not looked for", covering.size));
            }
            return Ok(Some(covering.clone()));
        }
        missing.push(match &self.checkpoint {
            None => "the proof by the journal's chain: the journal's head cannot be signed now".into(),
            Some(_) => {
                format!("the proof by the journal's chain: it would need more than {LINKS_MAX} links from record {first} on")
            }
        });
        Ok(None)
    }

    /// First record that the case needs.
    fn first(&self) -> u64 {
        self.case.records().map_or(self.case.first_sequence, |(first, _)| first.min(self.case.first_sequence))
    }

    /// Where the chain begins, and where a gap ends it at the latest: around the evidence; with the opening of the case, if
    /// nothing is missing between the two.
    fn reach(&self) -> Result<(u64, u64), ExportError> {
        let evidence = self.case.records().map_or(self.case.first_sequence, |(first, _)| first);
        let kept = |from: u64| unbroken(self.place.journal, from.max(self.place.oldest));
        let part = kept(evidence)?.unwrap_or((evidence, u64::MAX));
        match kept(self.first())? {
            Some(whole) if whole.1 == part.1 => Ok(whole),
            _ => Ok(part),
        }
    }

    /// One pass over the journal: the links go into the bundle, and what the case needs of the records is put aside.
    fn chain<W: Read + Write + Seek>(
        &self,
        checkpoint: &Checkpoint,
        (first, end): (u64, u64),
        monitor: &mut Monitor,
        sealed: &mut Sealed<W>,
        seen: &mut Seen,
        clock_steps: &mut Vec<(u64, i64)>,
        missing: &mut Vec<String>,
    ) -> Result<Option<Chain>, ExportError> {
        let needed = self.first();
        if first > needed {
            missing.push(format!("records {needed} to {} of the journal: retention has taken some or all of them", first - 1));
        }
        let (mut chain, mut gap): (Option<Chain>, bool) = (None, false);
        let mut wall_ms: Option<i64> = None;
        let mut picker = contents::Picker::new(self.case, self.steps, self.wish.identified);
        sealed.begin(LINKS)?;
        for link in links(self.place.journal, first, checkpoint.size)? {
            let link = match link {
                Ok(link) => link,
                Err(JournalError::Damaged(fault)) => {
                    missing.push(format!("what follows in the journal: {fault}"));
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let back = wall_ms.map_or(0, |before| before - link.entry.wall_ms);
            if back > 0 {
                clock_steps.push((link.sequence, back));
            }
            wall_ms = Some(link.entry.wall_ms);
            let begun = chain.get_or_insert_with(|| begin(&link));
            gap |= link.sequence > begun.last.saturating_add(1);
            if !gap {
                begun.last = link.sequence;
                begun.complete = link.sequence == checkpoint.size && link.hash == checkpoint.head;
                sealed.write(line(&link).as_bytes())?;
            }
            // Behind a gap there is still evidence, if no proof of it.
            picker.take(&link, !gap, monitor, seen);
        }
        sealed.end()?;
        picker.missing(seen, missing);
        if let Some(chain) = chain.as_ref().filter(|chain| !chain.complete) {
            if gap || chain.last == end {
                missing.push(format!(
                    "records behind record {} of the journal: retention has taken them, the chain ends",
                    chain.last
                ));
            }
            missing.push(format!("the chain from record {} up to the checkpoint at {}", chain.last, checkpoint.size));
        }
        Ok(chain)
    }
}

fn begin(link: &Link) -> Chain {
    Chain { first: link.sequence, last: link.sequence, previous: hex(&link.entry.previous), complete: false }
}

/// A link as a line: `hash = SHA-256(hash before ‖ header ‖ payload_sha256)`. What came by a feed has a direction; what a tap has
/// overheard of a receiver's answers came to us as well, and its leg is said.
fn line(link: &Link) -> String {
    let mut object = json!({
        "sequence": link.sequence, "at": link.at.to_string(), "header": hex(&link.header),
        "payload_sha256": hex(&link.payload_sha256), "hash": hex(&link.hash),
    });
    if is_received(&link.header) {
        object["direction"] = IN.into();
    }
    if matches!(&link.entry.stamped.record, Record::Fragment { what, .. } if what == "answer") {
        object["leg"] = ANSWER.into();
    }
    format!("{object}\n")
}

/// The direction of whatever is in the journal: what we send is not.
pub const IN: &str = "in";
/// The leg of what a receiver answered to its sender, overheard.
pub const ANSWER: &str = "answer";

/// Whether the record of a header came by a feed: a connection, a frame, or a part of one.
pub(super) fn is_received(header: &[u8]) -> bool {
    header.get(32).is_some_and(|kind| (2..=5).contains(kind))
}

/// Whether a step is a person's words that are left out of a masked bundle.
pub(super) fn without_words(step: &Step) -> Step {
    let withheld = |text: &str| format!("(withheld: {} characters)", text.chars().count());
    match step.clone() {
        Step::Open { title, alert } => Step::Open { title: withheld(&title), alert },
        Step::Note { text } => Step::Note { text: withheld(&text) },
        Step::Filed { form, reference } => Step::Filed { form, reference: withheld(&reference) },
        Step::Withdraw { kind, reason } => Step::Withdraw { kind, reason: withheld(&reason) },
        Step::Close { reason, keep_until } => Step::Close { reason: withheld(&reason), keep_until },
        Step::Reopen { reason } => Step::Reopen { reason: withheld(&reason) },
        Step::Release { reason } => Step::Release { reason: withheld(&reason) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_bundle_has_no_word_that_a_person_wrote_in_a_step() {
        let words = "TOKENWORDS of a person";
        let text = || words.to_owned();
        for step in [
            Step::Open { title: text(), alert: None },
            Step::Note { text: text() },
            Step::Filed { form: "ministry_it".into(), reference: text() },
            Step::Withdraw { kind: "serious_incident".into(), reason: text() },
            Step::Close { reason: text(), keep_until: None },
            Step::Reopen { reason: text() },
            Step::Release { reason: text() },
        ] {
            let told = serde_json::to_string(&without_words(&step)).unwrap();
            assert!(!told.contains("TOKENWORDS") && told.contains("withheld: 22 characters"), "{told}");
        }
    }
}
