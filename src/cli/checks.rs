//! `vitalguard checks`: the catalogue, from the same declarations that run.
//!
//! CHECKS.md is written anew with `vitalguard checks --markdown > CHECKS.md`; a test fails while it is stale.

use crate::check::{CATALOGUE, Meta};
use std::fmt::Write as _;
use std::io::{self, Write};

const TEXTS: &str = include_str!("../../models/texts/checks.toml");

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// `explain ID`: everything about one check.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The whole catalogue as Markdown (the source of CHECKS.md).
    #[arg(long)]
    pub markdown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Everything about one check.
    Explain {
        /// Its id (`T03`) or name (`flat_line`).
        id: String,
    },
}

/// Prints what is asked for. An unknown id is an error of kind `InvalidInput`.
pub fn run(args: &Args, out: &mut impl Write) -> io::Result<()> {
    let text = match &args.command {
        Some(Command::Explain { id }) => {
            let meta = CATALOGUE.iter().find(|m| m.id.eq_ignore_ascii_case(id) || m.name == id);
            let Some(meta) = meta else {
                let known: Vec<&str> = CATALOGUE.iter().map(|m| m.id).collect();
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no check {id:?}; known: {}", known.join(" "))));
            };
            entry(meta)
        }
        None if args.markdown => markdown(),
        None => list(),
    };
    out.write_all(text.as_bytes())
}

/// One line a check.
fn list() -> String {
    let mut text = String::new();
    for meta in sorted() {
        let _ = writeln!(text, "{:4} {:22} {:13} {}", meta.id, meta.name, meta.class.as_str(), sentence(meta));
    }
    text
}

/// The first sentence of "What it does".
fn sentence(meta: &Meta) -> String {
    let what = meta.doc.split("## ").nth(1).unwrap_or_default();
    let what: Vec<&str> = what.lines().skip(1).map(str::trim).collect();
    let what = what.join(" ");
    what.split_inclusive(". ").next().unwrap_or(&what).trim().to_owned()
}

/// The catalogue in the order of the ids' families.
fn sorted() -> Vec<&'static Meta> {
    let family = |m: &Meta| "CMATPSN".find(&m.id[..1]);
    let mut all: Vec<&'static Meta> = CATALOGUE.to_vec();
    all.sort_by_key(|m| (family(m), m.id));
    all
}

fn markdown() -> String {
    let mut text = String::from(
        "# Checks\n\nEverything that vitalguard looks for. Written by `vitalguard checks --markdown > CHECKS.md`; do not edit.\n\n\
         A check's evidence is credited to artefact, physiology and tamper in per cent; what is missing to 100 goes to the last\n\
         column. Nothing here is a patient alarm.\n\n| id | name | class | evidence | art/phy/tam | rest |\n|---|---|---|---|---|---|\n",
    );
    for m in sorted() {
        let evidence = if m.evidence { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {evidence} | {}/{}/{} | {} |",
            m.id,
            m.name,
            m.class.as_str(),
            m.art,
            m.phy,
            m.tam,
            m.rest.as_str()
        );
    }
    for meta in sorted() {
        text.push('\n');
        text.push_str(&entry(meta));
    }
    text
}

/// Everything about one check.
fn entry(meta: &Meta) -> String {
    let mut text = format!("## {} {}\n\n", meta.id, meta.name);
    let evidence = if meta.evidence { "evidence" } else { "no evidence for tampering" };
    let (class, rest) = (meta.class.as_str(), meta.rest.as_str());
    let _ = writeln!(text, "Class {class}, {evidence}; art/phy/tam {}/{}/{}, the rest {rest}.", meta.art, meta.phy, meta.tam);
    for line in meta.doc.lines().map(str::trim) {
        match line.strip_prefix("## ") {
            Some(heading) => {
                let _ = write!(text, "\n### {heading}\n\n");
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    if !meta.thresholds.is_empty() {
        text.push_str("\n### Thresholds\n\n| name | default | |\n|---|---|---|\n");
        for t in meta.thresholds {
            let doc: Vec<&str> = t.doc.split_whitespace().collect();
            let _ = writeln!(text, "| `checks.{}.{}` | {} | {} |", meta.name, t.name, t.default, doc.join(" "));
        }
    }
    text.push_str("\n### Sentences\n\n");
    for (reader, variant, language, sentence) in sentences(meta.id) {
        let _ = writeln!(text, "- {reader} ({variant}, {language}): {sentence}");
    }
    text
}

/// Reader, variant, language and sentence of a check, in the order of the file.
fn sentences(id: &str) -> Vec<(String, String, String, String)> {
    let texts: toml::Table = TEXTS.parse().expect("the shipped texts are read by a test");
    let mut found = Vec::new();
    let Some(check) = texts.get(id).and_then(toml::Value::as_table) else { return found };
    let mut add = |reader: &str, variant: &str, value: &toml::Value| {
        for (language, text) in value.as_table().into_iter().flatten() {
            let text = text.as_str().unwrap_or_default();
            found.push((reader.to_owned(), variant.to_owned(), language.clone(), text.to_owned()));
        }
    };
    for (key, reader) in [("nurse", "nurse"), ("physiology", "nurse, once supported"), ("engineer", "engineer")] {
        for (variant, value) in check.get(key).and_then(toml::Value::as_table).into_iter().flatten() {
            add(reader, variant, value);
        }
    }
    if let Some(action) = check.get("action") {
        add("action", "default", action);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::FILES;
    use std::collections::BTreeSet;
    use std::path::Path;

    const HEADINGS: [&str; 5] = ["What it does", "Why it matters", "How it decides", "Known false alerts", "References"];

    #[test]
    fn every_check_has_its_five_headings_in_order_and_text_under_each() {
        for meta in CATALOGUE {
            let found: Vec<&str> = meta.doc.lines().filter_map(|l| l.trim().strip_prefix("## ")).collect();
            assert_eq!(found, HEADINGS, "{}", meta.id);
            for part in meta.doc.split("## ").skip(1) {
                let body: String = part.lines().skip(1).collect();
                assert!(body.trim().len() > 5, "{}: nothing under {:?}", meta.id, part.lines().next());
            }
        }
    }

    #[test]
    fn no_id_and_no_name_stands_twice_and_weights_do_not_exceed_100() {
        let ids: BTreeSet<_> = CATALOGUE.iter().map(|m| m.id).collect();
        let names: BTreeSet<_> = CATALOGUE.iter().map(|m| m.name).collect();
        assert_eq!((ids.len(), names.len()), (CATALOGUE.len(), CATALOGUE.len()));
        for (meta, file) in CATALOGUE.iter().zip(FILES) {
            assert_eq!(meta.name, *file, "a check's name is its file's");
            assert!(u32::from(meta.art) + u32::from(meta.phy) + u32::from(meta.tam) <= 100, "{}", meta.id);
            for t in meta.thresholds {
                assert!(t.default.is_finite(), "{} {}", meta.id, t.name);
                let says = t.doc.to_lowercase();
                assert!(
                    says.contains("lower:") || says.contains("higher:"),
                    "{} {}: what is too low, too high?",
                    meta.id,
                    t.name
                );
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            assert!(
                name == "mod" || name == "story" || FILES.contains(&name.as_str()),
                "src/check/{name}.rs is not in the catalogue"
            );
        }
    }

    #[test]
    fn every_check_has_its_sentences_in_both_languages_with_the_same_arguments_and_the_allowed_words() {
        let texts: toml::Table = TEXTS.parse().unwrap();
        for id in texts.keys().filter(|k| *k != "schema") {
            assert!(CATALOGUE.iter().any(|m| m.id == id), "{id} has sentences and is no check");
        }
        for meta in CATALOGUE {
            let check = texts.get(meta.id).and_then(toml::Value::as_table).unwrap_or_else(|| panic!("{} has no texts", meta.id));
            for needed in ["name", "engineer", "action"] {
                assert!(check.contains_key(needed), "{} has no {needed}", meta.id);
            }
            let mut pairs: Vec<&toml::Table> = vec![check["name"].as_table().unwrap(), check["action"].as_table().unwrap()];
            for reader in ["nurse", "physiology", "engineer"] {
                for variant in check.get(reader).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values) {
                    pairs.push(variant.as_table().unwrap());
                }
            }
            for pair in pairs {
                let text = |language: &str| pair.get(language).and_then(toml::Value::as_str).unwrap_or_default();
                let (en, it) = (text("en"), text("it"));
                assert!(!en.is_empty() && !it.is_empty(), "{}: {pair:?}", meta.id);
                assert_eq!(arguments(en), arguments(it), "{}", meta.id);
                // The bedside monitor's alarms are named by the checks that are about them, and by no other.
                let about_alarms = matches!(meta.id, "P11" | "P12" | "P14");
                for word in ["attack", "hack", "backdoor", "alarm", "stealing", "vulnerab", "attacc", "allarm"] {
                    if about_alarms && word.ends_with("larm") {
                        continue;
                    }
                    assert!(!en.to_lowercase().contains(word) && !it.to_lowercase().contains(word), "{} says {word}", meta.id);
                }
            }
        }
    }

    fn arguments(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
    }

    #[test]
    fn checks_md_is_what_the_checks_say() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CHECKS.md");
        let expected = markdown();
        if std::env::var_os("VG_TEST_BLESS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "CHECKS.md is stale: vitalguard checks --markdown > CHECKS.md");
    }

    #[test]
    fn a_check_is_explained_by_id_or_name_and_an_unknown_one_is_refused() {
        let explain = |id: &str| {
            let mut out = Vec::new();
            let args = Args { command: Some(Command::Explain { id: id.into() }), markdown: false };
            run(&args, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(explain("t03").unwrap(), explain("flat_line").unwrap());
        assert!(explain("T03").unwrap().contains("joint_log10"));
        assert_eq!(explain("X99").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
