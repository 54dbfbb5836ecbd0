//! Every model file that decides or speaks, with its hash: those of the program, and a site's own in front of them.
//!
//! A folder of model files has a `MANIFEST.toml` with path, schema, version and SHA-256 of each. A site's folder is taken whole
//! or not at all: a file that is not listed, has another hash, another schema or a number that cannot be is refused, and the
//! error names the file and the field. What is in force has one hash ([`Models::digest`]), which every alert carries.

use crate::calibration::{Calibrations, Pace};
use crate::envelope::{ModelError, is_version, sha256};
use crate::observation::AgeBand;
use crate::population::Population;
use crate::population::prior::{Prior, Priors};
use crate::profile::{Profile, ProfileError};
use crate::vital::Parameter;
use crate::{calibration, dossier, population, profile, text};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

/// The table of a folder.
pub const MANIFEST: &str = "MANIFEST.toml";

/// One file as the table has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Under `models/`, with `/`.
    pub path: String,
    /// As the file says; empty where its kind has none.
    #[serde(default)]
    pub schema: String,
    #[serde(default)]
    pub version: String,
    pub sha256: String,
}

impl ModelFile {
    /// What a file says of itself, and its hash.
    pub fn of(path: &str, text: &str) -> ModelFile {
        #[derive(Default, Deserialize)]
        struct Head {
            #[serde(default)]
            schema: String,
            #[serde(default)]
            version: String,
        }
        let head: Head = if path.ends_with(".json") {
            serde_json::from_str(text).unwrap_or_default()
        } else {
            let table: toml::Table = toml::from_str(text).unwrap_or_default();
            let word = |key: &str| table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            Head { schema: word("schema"), version: word("version") }
        };
        ModelFile { path: path.into(), schema: head.schema, version: head.version, sha256: sha256(text.as_bytes()) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    #[serde(default)]
    file: Vec<ModelFile>,
}

/// The table of some files, by path.
pub fn manifest<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut list: Vec<ModelFile> = files.into_iter().map(|(path, text)| ModelFile::of(path, text)).collect();
    list.sort();
    let mut out =
        String::from("# Every model file and its SHA-256. Written by `vitalguard models DIR --write`; do not edit.\n\n");
    out.push_str("schema = \"manifest/1\"\n");
    for file in &list {
        // Writing to a string cannot fail.
        let _ = write!(out, "\n[[file]]\npath = {:?}\n", file.path);
        for (key, word) in [("schema", &file.schema), ("version", &file.version)] {
            if !word.is_empty() {
                let _ = writeln!(out, "{key} = {word:?}");
            }
        }
        let _ = writeln!(out, "sha256 = {:?}", file.sha256);
    }
    out
}

/// Every file that is part of the program, by its path under `models/`.
pub fn shipped_files() -> Vec<(String, &'static str)> {
    let mut list: Vec<(String, &'static str)> = Vec::new();
    let own = |(path, text): &(&str, &'static str)| ((*path).to_owned(), *text);
    list.extend(profile::SHIPPED.iter().map(own));
    list.extend(population::SHIPPED.iter().map(own));
    list.extend(calibration::SOURCES.iter().map(own));
    list.extend(crate::hl7::dialect::EMBEDDED.iter().map(|(name, text)| (format!("dialects/{name}"), *text)));
    list.extend(["texts/house.toml", "texts/checks.toml"].iter().zip(text::SOURCES).map(|(path, text)| ((*path).into(), text)));
    list.extend(dossier::SOURCES.iter().map(own));
    list.sort();
    list
}

/// What is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Models {
    /// By path; a site's file stands in the place of ours of the same path.
    pub files: Vec<ModelFile>,
    /// A site's profiles; they win over the shipped ones.
    pub profiles: Vec<Profile>,
    pub population: Population,
    priors: Vec<Priors>,
    /// Of the stochastic checks.
    pub calibrations: Calibrations,
}

impl Models {
    /// Those of the program.
    pub fn shipped() -> Arc<Models> {
        static SHIPPED: LazyLock<Arc<Models>> = LazyLock::new(|| {
            let priors = population::SHIPPED.iter().filter(|(path, _)| *path != population::LIMITS_PATH);
            Arc::new(Models {
                files: shipped_files().iter().map(|(path, text)| ModelFile::of(path, text)).collect(),
                profiles: Vec::new(),
                population: Population::default(),
                priors: priors.map(|(path, text)| Priors::from_toml(path, text).expect("a test reads it")).collect(),
                calibrations: calibration::shipped().clone(),
            })
        });
        Arc::clone(&SHIPPED)
    }

    /// Ours with a site's files in front: path and text of every file of its folder, the table included.
    pub fn with_site(files: &[(String, String)]) -> Result<Models, ModelError> {
        let own = check(files)?;
        let mut models = (*Models::shipped()).clone();
        for (file, text) in own {
            if models.files.contains(&file) {
                // Ours, as it is.
                continue;
            }
            match file.path.split_once('/') {
                Some(("profiles", _)) => {
                    let profile = Profile::from_toml(text).map_err(|error| match error {
                        ProfileError::Toml(error) => ModelError::new(&file.path, "toml", error.message()),
                        ProfileError::Field { field, reason, .. } => ModelError::new(&file.path, &field, reason),
                    })?;
                    if models.profiles.iter().any(|p| p.name == profile.name) {
                        return Err(ModelError::new(&file.path, "name", "another profile of this folder has it"));
                    }
                    models.profiles.push(profile);
                }
                _ if file.path == population::LIMITS_PATH => {
                    models.population =
                        Population::from_toml(text).map_err(|e| ModelError::new(&file.path, "limits", e.to_string()))?;
                }
                Some(("population", _)) => {
                    let priors = Priors::from_toml(&file.path, text)?;
                    models.priors.retain(|p| p.cadence != priors.cadence);
                    models.priors.push(priors);
                }
                Some(("calibration", _)) => models.calibrations.take(&file.path, text)?,
                _ => {
                    let reason = "profiles/NAME.toml, population/NAME.toml or calibration/NAME.json is meant";
                    return Err(ModelError::new(&file.path, "path", reason));
                }
            }
            models.files.retain(|f| f.path != file.path);
            models.files.push(file);
        }
        models.files.sort();
        Ok(models)
    }

    /// What is assumed of adults at a cadence.
    pub fn priors(&self, pace: Pace) -> Option<&Priors> {
        self.priors.iter().find(|p| p.cadence == pace)
    }

    /// With these calibrations and no others: for measurements.
    #[must_use]
    pub fn with_calibrations(&self, calibrations: Calibrations) -> Models {
        let mut models = self.clone();
        models.files.retain(|f| !f.path.starts_with("calibration/"));
        models.files.extend(calibrations.list().iter().map(|c| ModelFile::of(&c.path(), &c.to_json())));
        models.files.extend(calibrations.lock().map(|lock| ModelFile::of(calibration::lock::PATH, &lock.to_toml())));
        models.files.sort();
        models.calibrations = calibrations;
        models
    }

    /// What is assumed of a parameter of a patient of this age before the bed has shown it. Of adults what adults are like, by the
    /// bed's cadence or else by another one; at an unknown age the widest: all that the soft limits of any age hold. Of children
    /// there are no recordings, and nothing is assumed.
    pub fn prior(&self, age: AgeBand, pace: Pace, parameter: Parameter) -> Option<Cow<'_, Prior>> {
        match age {
            AgeBand::Adult => {
                let own = self.priors(pace).and_then(|p| p.of(parameter));
                own.or_else(|| self.priors.iter().find_map(|p| p.of(parameter))).map(Cow::Borrowed)
            }
            AgeBand::Unknown => {
                let soft = self.population.soft(parameter, age)?;
                let within_sd = self.population.within_sd(parameter)?;
                Some(Cow::Owned(Prior::over(parameter, soft.low, soft.high, within_sd)))
            }
            _ => None,
        }
    }

    /// SHA-256 over path and hash of every file in force.
    pub fn digest(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let _ = writeln!(text, "{} {}", file.sha256, file.path);
        }
        sha256(text.as_bytes())
    }
}

/// Every file of a folder against its table; what comes back is in the order of the table.
pub fn check(files: &[(String, String)]) -> Result<Vec<(ModelFile, &str)>, ModelError> {
    let wrong = |file: &str, field: &str, reason: &str| ModelError::new(file, field, reason);
    let Some((_, table)) = files.iter().find(|(path, _)| path == MANIFEST) else {
        return Err(wrong(MANIFEST, "file", "is missing (`vitalguard models DIR --write` writes it)"));
    };
    let manifest: Manifest = toml::from_str(table).map_err(|e| ModelError::new(MANIFEST, "toml", e.message()))?;
    if manifest.schema != "manifest/1" {
        return Err(wrong(MANIFEST, "schema", "manifest/1 is meant"));
    }
    let mut seen = BTreeSet::new();
    let mut list = Vec::new();
    for listed in manifest.file {
        if !seen.insert(listed.path.clone()) {
            return Err(wrong(MANIFEST, "path", &format!("{} stands there twice", listed.path)));
        }
        let Some((_, text)) = files.iter().find(|(path, _)| *path == listed.path) else {
            return Err(wrong(&listed.path, "path", "is listed and does not exist"));
        };
        let found = ModelFile::of(&listed.path, text);
        if found.sha256 != listed.sha256 {
            let reason = format!("the file's is {}…, MANIFEST.toml has {}…", head(&found.sha256), head(&listed.sha256));
            return Err(ModelError::new(&listed.path, "sha256", reason));
        }
        for (field, here, there) in [("schema", &found.schema, &listed.schema), ("version", &found.version, &listed.version)] {
            if here != there {
                let reason = format!("the file has {here:?}, MANIFEST.toml has {there:?}");
                return Err(ModelError::new(&listed.path, field, reason));
            }
        }
        let numbers = ["profiles/", "population/", "calibration/"].iter().any(|folder| listed.path.starts_with(folder));
        if numbers && !is_version(&found.version) {
            return Err(wrong(&listed.path, "version", "three numbers with dots are meant (1.0.0)"));
        }
        list.push((listed, text.as_str()));
    }
    match files.iter().find(|(path, _)| path != MANIFEST && !seen.contains(path)) {
        Some((path, _)) => Err(wrong(path, "path", "is not listed in MANIFEST.toml")),
        None => Ok(list),
    }
}

fn head(hash: &str) -> String {
    hash.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "schema = \"profile/1\"\nversion = \"1.0.0\"\nname = \"own\"\nreviewed = false\napplications = [\"OWN\"]\n";

    fn folder(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let table = manifest(files.iter().copied());
        let mut list: Vec<(String, String)> = files.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect();
        list.push((MANIFEST.into(), table));
        list
    }

    fn refused(files: &[(String, String)]) -> (String, String) {
        let error = Models::with_site(files).unwrap_err();
        (error.file, error.field)
    }

    #[test]
    fn the_table_lists_every_file_with_its_hash() {
        let shipped = shipped_files();
        let table = manifest(shipped.iter().map(|(path, text)| (path.as_str(), *text)));
        let stale = "models/MANIFEST.toml is stale: `cargo run -- models models --write` writes it";
        assert!(include_str!("../models/MANIFEST.toml") == table, "{stale}");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut found = Vec::new();
        for kind in std::fs::read_dir(&folder).unwrap().flatten().filter(|e| e.path().is_dir()) {
            for file in std::fs::read_dir(kind.path()).unwrap().flatten().map(|e| e.file_name()) {
                let path = format!("{}/{}", kind.file_name().to_string_lossy(), file.to_string_lossy());
                if path.ends_with(".toml") || path.starts_with("calibration/") {
                    found.push(path);
                }
            }
        }
        found.sort();
        assert_eq!(found, shipped.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), "a file that nobody reads");
    }

    #[test]
    fn a_site_s_file_stands_in_front_and_changes_the_hash() {
        let site = Models::with_site(&folder(&[("profiles/own.toml", OWN)])).unwrap();
        assert_eq!(site.profiles[0].name, "own");
        assert_ne!(site.digest(), Models::shipped().digest());
        assert_eq!(Models::with_site(&folder(&[])).unwrap().digest(), Models::shipped().digest());
        let (_, limits) = population::SHIPPED.iter().find(|(path, _)| *path == population::LIMITS_PATH).unwrap();
        let other = limits.replace("hard = [15, 350]", "hard = [16, 350]");
        let site = Models::with_site(&folder(&[(population::LIMITS_PATH, &other)])).unwrap();
        assert_eq!(site.files.len(), Models::shipped().files.len(), "in the place of ours");
        assert_ne!(site.population, Models::shipped().population);
    }

    #[test]
    fn each_bad_file_is_refused_by_name_and_field() {
        let path = "profiles/own.toml";
        let said = |file: &str, field: &str| (file.to_owned(), field.to_owned());
        let own = || folder(&[(path, OWN)]);
        assert_eq!(refused(&[]), said(MANIFEST, "file"));
        let mut f = own();
        f[0].1.push('\n');
        assert_eq!(refused(&f), said(path, "sha256"));
        let mut f = own();
        f.push(("profiles/more.toml".into(), OWN.into()));
        assert_eq!(refused(&f), said("profiles/more.toml", "path"));
        let mut f = own();
        f.remove(0);
        assert_eq!(refused(&f), said(path, "path"));
        let mut f = own();
        f[1].1 = f[1].1.replace("profile/1", "profile/2");
        assert_eq!(refused(&f), said(path, "schema"), "the table says otherwise than the file");
        let mut f = own();
        f[1].1 = f[1].1.replace("manifest/1", "manifest/2");
        assert_eq!(refused(&f), said(MANIFEST, "schema"));
        let bad = |from: &str, to: &str| refused(&folder(&[(path, OWN.replace(from, to).as_str())]));
        assert_eq!(bad("profile/1", "profile/2"), said(path, "schema"));
        assert_eq!(bad("1.0.0", "one"), said(path, "version"));
        assert_eq!(bad("reviewed = false", "reviewed = true"), said(path, "reviewed"));
        assert_eq!(bad("reviewed = false", "reviewed = false\nperiod_s = -1.0"), said(path, "period_s"));
        assert_eq!(bad("reviewed = false", "reviewed = false\nperiods = 1.0"), said(path, "toml"));
        assert_eq!(refused(&folder(&[("dialects/own.toml", "name = \"own\"\n")])), said("dialects/own.toml", "path"));
        let twice = folder(&[(path, OWN), ("profiles/two.toml", OWN)]);
        assert_eq!(refused(&twice), said("profiles/two.toml", "name"));
        let limits = "schema = \"limits/9\"\nversion = \"1.0.0\"\nlimit = []\nspread = []\n";
        assert_eq!(refused(&folder(&[(population::LIMITS_PATH, limits)])), said(population::LIMITS_PATH, "limits"));
    }

    #[test]
    fn each_bad_prior_is_refused_by_name_and_field() {
        let path = "population/adult_1s.toml";
        let text = "schema = \"prior/1\"\nversion = \"1.0.0\"\nage = \"adult\"\ncadence = \"1\"\nn0 = 30.0\n\n[origin]\nsets = [\"s\"]\nrecords = 3\npatients = 2\nrecords_sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nexposure_bed_days = 1.5\ngroup = \"fit\"\ndate = \"2026-11-30\"\ncommand = \"vitalguard fit\"\n\n[[prior]]\nparameter = \"hr\"\nrecords = 3\nlocation = 80.0\nbetween_sd = 12.0\nwithin_sd = 4.0\nchange_a = 1.0\nchange_b = 2.0\nlevel_q = 0.1\nreading_r = 0.5\n\n[[pair]]\na = \"hr\"\nb = \"pr\"\nlag_s = 10.0\ncorrelation = 0.5\nrecords = 3\n";
        assert!(Models::with_site(&folder(&[(path, text)])).unwrap().priors(Pace::Second).is_some());
        let bad = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            refused(&folder(&[(path, text.replace(from, to).as_str())])).1
        };
        assert_eq!(bad("\"prior/1\"", "\"prior/2\""), "schema");
        assert_eq!(bad("1.0.0", "1.0"), "version");
        assert_eq!(bad("\"adult\"", "\"child\""), "age");
        assert_eq!(bad("n0 = 30.0", "n0 = 3.0"), "n0");
        assert_eq!(bad("records = 3\npatients = 2", "records = 0\npatients = 2"), "origin.records");
        assert_eq!(bad("records_sha256 = \"0", "records_sha256 = \"x"), "origin.records_sha256");
        assert_eq!(bad("exposure_bed_days = 1.5", "exposure_bed_days = 0.0"), "origin.exposure_bed_days");
        assert_eq!(bad("2026-11-30", "yesterday"), "origin.date");
        assert_eq!(bad("location = 80.0", "location = nan"), "prior.hr.location");
        assert_eq!(bad("within_sd = 4.0", "within_sd = inf"), "prior.hr.within_sd");
        assert_eq!(bad("level_q = 0.1", "level_q = -0.1"), "prior.hr.level_q");
        assert_eq!(bad("correlation = 0.5", "correlation = 1.5"), "pair.hr.pr.correlation");
        assert_eq!(bad("lag_s = 10.0", "lag_s = 1e9"), "pair.hr.pr.lag_s");
        assert_eq!(bad("reading_r = 0.5", ""), "toml", "a field that is missing");
    }
}
