//! A case's bundle, proven from its bytes.

use crate::cli::Usage;
use crate::shell::cases::check::{CheckError, Verified, verify};
use crate::shell::cases::judge::Judged;
use crate::shell::vault::Verifier;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What is missing, told in words at most; all of it stands in the manifest.
const TOLD_MAX: usize = 20;

pub(super) fn run(path: &Path, key: Option<&Path>, as_json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let keys = key.map(Verifier::read).transpose().map_err(|error| Usage::new(error.to_string()))?;
    let verified = match verify(path, keys.as_ref()) {
        Ok(verified) => verified,
        Err(CheckError::Io(error)) => return Err(Usage::new(format!("{}: {error}", path.display())).into()),
        Err(CheckError::Misfit(misfit)) => {
            if as_json {
                let bytes = misfit.bytes.as_ref().map(|bytes| [bytes.start, bytes.end.saturating_sub(1)]);
                let value = json!({ "proven": false, "place": misfit.place, "bytes": bytes, "what": misfit.what });
                writeln!(out, "{value}")?;
            } else {
                writeln!(out, "does not fit  {misfit}\nresult        NOT PROVEN")?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    if as_json {
        let value = json!({
            "proven": true, "key_given": verified.key_given, "links": verified.links, "bytes": verified.bytes,
            "alerts": verified.judged.iter().map(judged).collect::<Vec<_>>(),
            "manifest": verified.manifest,
        });
        writeln!(out, "{value}")?;
    } else {
        tell(&verified, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(verified: &Verified, out: &mut dyn Write) -> std::io::Result<()> {
    let manifest = &verified.manifest;
    let mut line = |what: &str, text: String| writeln!(out, "{what:<12}  {text}");
    let kind = if manifest.identified { "IDENTIFIED" } else { "masked" };
    line("bundle", format!("case {} of site {}, version {}, {kind}", manifest.case, manifest.site, manifest.version))?;
    line("made", format!("{} by {} with {}", manifest.made_at, manifest.made_by, manifest.software))?;
    line("files", format!("{}, every SHA-256 as in the signed manifest", manifest.files.len()))?;
    match &manifest.chain {
        Some(chain) if chain.complete => {
            line(
                "chain",
                format!("{} links, record {} up to the signed checkpoint at {}", verified.links, chain.first, chain.last),
            )?;
        }
        Some(chain) => {
            line(
                "chain",
                format!("{} links, record {} to {}; NO signed checkpoint reaches it", verified.links, chain.first, chain.last),
            )?;
        }
        None => line("chain", "none in this bundle".into())?,
    }
    for (record, ms) in &manifest.clock_steps {
        line("clock", format!("the wall clock went back by {ms} ms at record {record}"))?;
    }
    let whose = if verified.key_given { "given" } else { "from the bundle itself: compare the id, or give --key" };
    line("key", format!("{} ({whose})", manifest.key_id))?;
    for missing in manifest.missing.iter().take(TOLD_MAX) {
        line("not in it", missing.clone())?;
    }
    for (alert, judged) in &verified.judged {
        line("judged", format!("{alert} {judged}"))?;
    }
    line("result", "proven".into())
}

fn judged((alert, judged): &(String, Judged)) -> serde_json::Value {
    let mut value = serde_json::to_value(judged).unwrap_or_default();
    value["alert"] = alert.as_str().into();
    value
}
