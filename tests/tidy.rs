//! Holds the architecture: modules look downwards only, the core has no clock, socket or file, no file is dead, and the
//! project speaks of itself alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules from the ground up: a module may use itself and what stands before it.
const ORDER: &[&str] = &[
    "time",
    "html",
    "vital",
    "observation",
    "charset",
    "mllp",
    "hl7",
    "capture",
    "stats",
    "envelope",
    "calibration",
    "clockwork",
    "population",
    "profile",
    "advisory",
    "bed",
    "check",
    "config",
    "command",
    "alert",
    "text",
    "dossier",
    "case",
    "document",
    "fusion",
    "episode",
    "models",
    "fleet",
    "monitor",
    "eval",
    "shell",
    "cli",
];

/// Modules that may touch clocks, sockets, files, threads and the async runtime.
const SHELL: &[&str] = &["shell", "cli"];

/// What the core must not name.
/// (`std::net::SocketAddr` is a value and may be named.)
const FORBIDDEN: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "std::time::Instant",
    "Instant::now",
    "tokio::",
    "rumqttc",
    "rusqlite",
    "axum",
    "Timestamp::now",
    "Zoned::now",
    "thread_rng",
    "rand::rng",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // What npm has brought is not ours.
        if path.is_dir() && path.file_name().is_some_and(|name| name != "node_modules") {
            files(&path, ending, out);
        } else if path.extension().is_some_and(|e| e == ending) {
            out.push(path);
        }
    }
    out.sort();
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut list = Vec::new();
    files(&root().join("src"), "rs", &mut list);
    list.into_iter().map(|p| (p.strip_prefix(root()).unwrap().to_path_buf(), std::fs::read_to_string(&p).unwrap())).collect()
}

/// The first module of a path under `src`: `src/hl7/ack.rs` is `hl7`.
fn module(path: &Path) -> String {
    let inner = path.strip_prefix("src").unwrap();
    let first = inner.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

/// Whether a file is compiled for tests only: declared under `#[cfg(test)]`, or below such a one.
fn is_test(path: &Path, all: &[(PathBuf, String)]) -> bool {
    let declared_for_tests = |folder: &Path, name: &str| {
        let parents = [folder.join("mod.rs"), folder.with_extension("rs")];
        all.iter().filter(|(p, _)| parents.contains(p)).any(|(_, text)| {
            [format!("#[cfg(test)]\nmod {name};"), format!("#[cfg(test)]\npub mod {name};")].iter().any(|d| text.contains(d))
        })
    };
    path.ancestors().any(|p| {
        let name = p.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
        p.parent().is_some_and(|folder| declared_for_tests(folder, name))
    })
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_look_downwards_only() {
    let mut faults = Vec::new();
    let all = sources();
    for (path, text) in &all {
        let from = module(path);
        if from == "lib" || from == "main" || is_test(path, &all) {
            continue;
        }
        let Some(rank) = ORDER.iter().position(|m| *m == from) else {
            faults.push(format!("{}: module `{from}` has no place in the order", path.display()));
            continue;
        };
        let code = code(text);
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + 7..];
            let to: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(other) = ORDER.iter().position(|m| *m == to)
                && other > rank
            {
                faults.push(format!("{}: `{from}` looks up to `{to}`", path.display()));
            }
        }
    }
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_has_no_clock_socket_or_file() {
    let mut faults = Vec::new();
    let all = sources();
    for (path, text) in &all {
        let name = module(path);
        if SHELL.contains(&name.as_str()) || name == "main" || is_test(path, &all) {
            continue;
        }
        let code = code(text);
        for word in FORBIDDEN {
            if code.contains(word) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_source_file_is_dead() {
    let all = sources();
    let mut declared = BTreeSet::new();
    for (path, text) in &all {
        let folder = match path.file_name().and_then(|n| n.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().unwrap().to_path_buf(),
            _ => path.with_extension(""),
        };
        for line in text.lines() {
            let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
                declared.insert(folder.join(format!("{name}.rs")));
                declared.insert(folder.join(name).join("mod.rs"));
            }
        }
        // The catalogue declares its files by a list of words.
        if path.ends_with("check/mod.rs") {
            let list = text.rsplit("catalogue! {").next().unwrap_or_default();
            for word in list.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()) {
                declared.insert(folder.join(format!("{word}.rs")));
            }
        }
    }
    let dead: Vec<_> = all
        .iter()
        .map(|(path, _)| path)
        .filter(|p| !p.ends_with("src/lib.rs") && !p.ends_with("src/main.rs") && !declared.contains(*p))
        .collect();
    assert!(dead.is_empty(), "declared by nobody: {dead:?}");
}

/// Name, version and licence of every crate that is linked, as `/api/v1/about` shows them. Written anew with
/// `VG_TEST_BLESS=1 cargo test --test tidy licences`.
#[test]
fn the_licences_that_are_shown_are_those_of_what_is_linked() {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let out = cargo.current_dir(root()).output().expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let start = metadata["resolve"]["root"].as_str().unwrap();
    let (mut linked, mut ahead) = (BTreeSet::new(), vec![start]);
    while let Some(id) = ahead.pop() {
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        for dep in node["deps"].as_array().unwrap() {
            let normal = dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let package = dep["pkg"].as_str().unwrap();
            if normal && linked.insert(package) {
                ahead.push(package);
            }
        }
    }
    let mut rows = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap().iter().filter(|p| linked.contains(p["id"].as_str().unwrap())) {
        let text = |key: &str| package[key].as_str().unwrap_or("see its licence file").to_owned();
        rows.insert((text("name"), text("version"), text("license")));
    }
    let rows: Vec<String> = rows
        .into_iter()
        .map(|(name, version, license)| format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"license\":\"{license}\"}}"))
        .collect();
    let wanted = format!("[\n{}\n]\n", rows.join(",\n"));
    let path = root().join("docs/licences.json");
    if std::env::var_os("VG_TEST_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let forbidden: Vec<_> = rows.iter().filter(|row| row.contains("GPL") && !row.contains(" OR ")).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
    assert!(std::fs::read_to_string(&path).unwrap() == wanted, "docs/licences.json is stale: see above how it is written");
}

#[test]
fn the_project_speaks_of_itself_alone() {
    // Words of a workshop, not of the product. Written in pieces, so that this list does not find itself.
    let words = [
        concat!("../sha", "red/design"),
        concat!("house", ".md"),
        concat!("engineering", ".md"),
        concat!("/wo", "rk/"),
        concat!("issue", " #"),
    ];
    let mut list = Vec::new();
    for folder in ["src", "models", "data", "tests", "benches"] {
        for ending in ["rs", "toml", "md"] {
            files(&root().join(folder), ending, &mut list);
        }
    }
    for name in ["README.md", "DECISIONS.md", "CHANGELOG.md", "SECURITY.md", "CHECKS.md", "vitalguard.example.toml"] {
        list.push(root().join(name));
    }
    let mut faults = Vec::new();
    for path in list {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for word in words {
            if text.contains(word) {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
