//! Says whether the page that is embedded (`web/dist`, committed) was made from the sources beside it. Node is never run here.
//!
//! `web/dist/.src-sha256` holds the SHA-256, in hex, over the sources of the page in the order of their paths (relative to `web`, with
//! `/`), each as path LF length LF bytes. Another hash is a warning, and an error where `CI=true`.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The sources: a folder, and files beside it.
const SOURCES: [&str; 3] = ["src", "index.html", "package-lock.json"];

fn main() {
    let web = Path::new("web");
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/dist");
    let mut files = Vec::new();
    for source in SOURCES {
        let path = web.join(source);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
            collect(&path, &mut files);
        }
    }
    if files.is_empty() {
        return;
    }
    let found = hash(web, files);
    let noted = std::fs::read_to_string(web.join("dist/.src-sha256")).unwrap_or_default();
    if noted.split_whitespace().next() == Some(found.as_str()) {
        return;
    }
    let message = "web/dist was not made from the sources in web: run `npm ci && npx vite build` in web, and commit web/dist";
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        println!("cargo::error={message}");
    } else {
        println!("cargo::warning={message}");
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), files);
    }
}

fn hash(web: &Path, files: Vec<PathBuf>) -> String {
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(web).unwrap_or(&path);
            let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            (parts.join("/"), path)
        })
        .collect();
    named.sort();
    let mut hash = Sha256::new();
    for (name, path) in named {
        let bytes = std::fs::read(&path).unwrap_or_default();
        hash.update(format!("{name}\n{}\n", bytes.len()));
        hash.update(&bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
