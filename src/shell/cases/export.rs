//! A bundle from beginning to end: written to a file of its own, its digest taken down as a step, and only then given away.

use super::bundle::{Built, Export, ExportError, Wish};
use super::{Place, acts::Who, captures_of};
use crate::case::{Act, Case, Step};
use crate::shell::store::StepRow;
use crate::shell::vault::{Checkpoint, Signer};
use std::path::Path;

/// Names of files that are being written begin so: bundles in `cases/`, captures in the folder of their case.
pub(crate) const EXPORT: &str = ".export-";
pub(crate) const CAPTURE: &str = ".capture-";

/// What a bundle is made from.
pub struct Making<'a> {
    pub place: &'a Place<'a>,
    /// The data folder: captures are there, and the file while it is written.
    pub data: &'a Path,
    pub case: &'a Case,
    pub steps: &'a [StepRow],
    pub signer: &'a Signer,
    pub checkpoint: Option<Checkpoint>,
    pub config_hash: &'a str,
    pub wish: &'a Wish,
}

/// The bundle in `folder`, under a name that begins with `.export-`: it goes with what is given back. What a crash leaves in the
/// data folder goes at the next start ([`sweep`]).
pub fn make(making: &Making<'_>, folder: &Path) -> Result<(Built, tempfile::NamedTempFile), ExportError> {
    let file = tempfile::Builder::new().prefix(EXPORT).tempfile_in(folder).map_err(ExportError::Io)?;
    let captures = captures_of(making.data, &making.case.id);
    let export = Export {
        place: making.place,
        case: making.case,
        steps: making.steps,
        signer: making.signer,
        checkpoint: making.checkpoint.clone(),
        captures: &captures,
        config_hash: making.config_hash,
        wish: making.wish,
    };
    let (out, path) = file.into_parts();
    let (built, out) = export.write(out)?;
    out.sync_all().map_err(ExportError::Io)?;
    Ok((built, tempfile::NamedTempFile::from_parts(out, path)))
}

/// Removes what a crash has left half-made in a data folder that is ours alone.
pub fn sweep(data: &Path) {
    let folder = data.join("cases");
    remove(&folder, EXPORT);
    for case in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        if case.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&case.path(), CAPTURE);
        }
    }
}

fn remove(folder: &Path, prefix: &str) {
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let ours = file.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        if ours && let Err(error) = std::fs::remove_file(file.path()) {
            tracing::warn!(%error, "a file that was left half-made cannot be removed");
        }
    }
}

/// The name of a bundle.
pub fn name(case: &Case, identified: bool) -> String {
    format!("{}-v{}-{}.zip", case.id, case.version, if identified { "identified" } else { "masked" })
}

/// The step that says that it left.
pub fn step(who: &Who, case: &Case, identified: bool, built: &Built) -> Act {
    let step = Step::Export { bundle: name(case, identified), identified, sha256: built.sha256.clone() };
    who.act(&case.id, None, step)
}
