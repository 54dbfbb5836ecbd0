//! `vitalguard schemas`: the shapes of all documents, as files or as a list.

use crate::shell::schemas::{SCHEMAS, asyncapi};
use anyhow::Context as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder: `asyncapi.json` and `schemas/*.json` are written there; none: only listed.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Path (within the folder) and text of each file.
pub fn files() -> Vec<(String, &'static str)> {
    let schemas = SCHEMAS.iter().map(|(name, text)| (format!("schemas/{name}.json"), *text));
    std::iter::once(("asyncapi.json".to_owned(), asyncapi())).chain(schemas).collect()
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for (path, text) in files() {
        let Some(folder) = &args.folder else {
            println!("{path}");
            continue;
        };
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_docs_is_what_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for (path, text) in files() {
            let kept = std::fs::read_to_string(folder.join(&path)).unwrap_or_default();
            assert_eq!(kept, text, "docs/{path} is old: vitalguard schemas docs");
        }
        let kept = std::fs::read_dir(folder.join("schemas")).unwrap().count();
        assert_eq!(kept, SCHEMAS.len(), "docs/schemas holds nothing else");
    }
}
