//! A bundle from beginning to end: written to a file without a name, its digest taken down as a step, and only then given away.

use super::bundle::{Built, Export, ExportError, Wish};
use super::{Place, acts::Who, captures_of};
use crate::case::{Act, Case, Step};
use crate::shell::store::StepRow;
use crate::shell::vault::{Checkpoint, Signer};
use std::path::Path;

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

/// The bundle in `folder`, without a name: whatever happens, nothing half-written stays.
pub fn make(making: &Making<'_>, folder: &Path) -> Result<(Built, tempfile::NamedTempFile), ExportError> {
    let file = tempfile::Builder::new().prefix(".export-").tempfile_in(folder).map_err(ExportError::Io)?;
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

/// The name of a bundle.
pub fn name(case: &Case, identified: bool) -> String {
    format!("{}-v{}-{}.zip", case.id, case.version, if identified { "identified" } else { "masked" })
}

/// The step that says that it left.
pub fn step(who: &Who, case: &Case, identified: bool, built: &Built) -> Act {
    let step = Step::Export { bundle: name(case, identified), identified, sha256: built.sha256.clone() };
    who.act(&case.id, None, step)
}
