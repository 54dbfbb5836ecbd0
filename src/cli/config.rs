//! `vitalguard config`: show the effective configuration, check it, make a password entry.

use super::load::{Loaded, Overrides, load};
use super::{Global, Usage};
use crate::config::Config;
use anyhow::Context as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Shortest password that is turned into a hash: a plain hash of a short word is soon guessed.
const PASSWORD_CHARS_MIN: usize = 12;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the effective configuration as TOML, each value with its origin unless it is a default.
    Show {
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Check the configuration; every complaint is one line, and the exit code is 2.
    Check {
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Make the password_sha256 of a user of the embedded broker; the password is read from standard input.
    Password {
        /// Make a long random password as well, and print it.
        #[arg(long)]
        generate: bool,
    },
}

pub fn run(_global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    match args.command {
        Command::Show { overrides } => stdout.write_all(show(&load(&overrides)?).as_bytes())?,
        Command::Check { overrides } => {
            let loaded = load(&overrides)?;
            let from = overrides.config.map_or("the defaults".into(), |path| path.display().to_string());
            writeln!(stdout, "{from}: valid ({} values are not defaults)", changed(&loaded))?;
        }
        Command::Password { generate } => {
            let password = if generate { generated()? } else { read_password()? };
            if generate {
                writeln!(stdout, "password        {password}")?;
            }
            writeln!(stdout, "password_sha256 = \"{}\"", password_sha256(&password))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn changed(loaded: &Loaded) -> usize {
    fn leaves(value: &Value) -> usize {
        match value {
            Value::Object(map) => map.values().map(leaves).sum(),
            Value::Array(list) => list.iter().map(leaves).sum(),
            _ => 1,
        }
    }
    fn count(now: &Value, usual: Option<&Value>) -> usize {
        match (now, usual) {
            (Value::Object(map), Some(Value::Object(usual))) => map.iter().map(|(k, v)| count(v, usual.get(k))).sum(),
            (Value::Array(list), Some(Value::Array(usual))) if list.len() == usual.len() => {
                list.iter().zip(usual).map(|(a, b)| count(a, Some(b))).sum()
            }
            (now, Some(usual)) if now == usual => 0,
            (now, _) => leaves(now).max(1),
        }
    }
    match (serde_json::to_value(&loaded.config), serde_json::to_value(Config::default())) {
        (Ok(now), Ok(usual)) => count(&now, Some(&usual)),
        _ => 0,
    }
}

/// SHA-256 of the password's UTF-8 bytes, lower-case hex.
pub fn password_sha256(password: &str) -> String {
    crate::alert::hex(&Sha256::digest(password.as_bytes()))
}

fn read_password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("Type the password and Enter (it is shown as you type; `config password < FILE` shows nothing):");
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).context("reading the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Usage::new(format!(
            "the password must have at least {PASSWORD_CHARS_MIN} characters; `config password --generate` makes a good one"
        ))
        .into());
    }
    Ok(password.to_owned())
}

/// 32 letters and digits: about 165 bits.
fn generated() -> anyhow::Result<String> {
    const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let provider = rustls::crypto::ring::default_provider();
    let mut password = String::new();
    while password.len() < 32 {
        let mut bytes = [0u8; 64];
        provider.secure_random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
        // Bytes that would favour the first letters are thrown away.
        let fair = bytes.iter().filter(|b| usize::from(**b) < 256 / ALPHABET.len() * ALPHABET.len());
        password.extend(fair.take(32 - password.len()).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])));
    }
    Ok(password)
}

/// The effective configuration as TOML. Hashes of passwords are not shown.
fn show(loaded: &Loaded) -> String {
    let mut out = String::new();
    if let Ok(value) = serde_json::to_value(&loaded.config) {
        table(&value, "", "", &|key| loaded.origin(key).map(ToString::to_string), &mut out);
    }
    out
}

/// Writes one table: plain values first, then the tables in it. `header` is the name in brackets, `path` the key with positions.
fn table(value: &Value, header: &str, path: &str, origin: &dyn Fn(&str) -> Option<String>, out: &mut String) {
    let Some(map) = value.as_object() else { return };
    let join = |at: &str, key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let is_tables = |v: &Value| v.is_object() || v.as_array().is_some_and(|l| l.first().is_some_and(Value::is_object));
    for (key, value) in map.iter().filter(|(_, v)| !is_tables(v) && !v.is_null()) {
        let text = if key == "password_sha256" { "\"(set, not shown)\"".into() } else { literal(value) };
        let _ = match origin(&join(path, key)) {
            Some(origin) => writeln!(out, "{key} = {text} # {origin}"),
            None => writeln!(out, "{key} = {text}"),
        };
    }
    for (key, value) in map.iter().filter(|(_, v)| is_tables(v)) {
        let (header, path) = (join(header, key), join(path, key));
        match value {
            Value::Array(list) => {
                for (position, value) in list.iter().enumerate() {
                    let _ = writeln!(out, "\n[[{header}]]");
                    table(value, &header, &format!("{path}.{position}"), origin, out);
                }
            }
            Value::Object(inner) if inner.values().all(|v| v.is_null()) => {}
            _ => {
                let mut text = String::new();
                table(value, &header, &path, origin, &mut text);
                if !text.starts_with("\n[") {
                    let _ = writeln!(out, "\n[{header}]");
                }
                out.push_str(&text);
            }
        }
    }
}

/// A TOML literal: JSON's strings, numbers, booleans and arrays of them are TOML's.
fn literal(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::load::merge;
    use super::*;

    fn loaded(text: &str) -> Loaded {
        merge(Some(("v.toml", text)), std::iter::empty(), &Overrides::default()).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let first = loaded(
            "site = \"a\"\n[[mllp]]\nfeed = \"x\"\n[mllp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[[beds.bed]]\nward = \"icu\"\nbed = \"1\"\nfrom = [\"ICU^^1\"]\n",
        );
        let text = show(&first);
        assert!(text.contains("site = \"a\" # v.toml:1"), "{text}");
        assert_eq!(loaded(&text).config, first.config);
    }

    #[test]
    fn no_password_hash_is_shown() {
        let hash = password_sha256("correct horse battery");
        let text = show(&loaded(&format!("[[mqtt.users]]\nname = \"n\"\npassword_sha256 = \"{hash}\"\n")));
        assert!(!text.contains(&hash) && text.contains("not shown"), "{text}");
    }

    #[test]
    fn a_password_hash_is_plain_sha_256() {
        assert_eq!(password_sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn values_that_are_not_defaults_are_counted() {
        assert_eq!(changed(&loaded("")), 0);
        assert_eq!(changed(&loaded("site = \"a\"\n[http]\nlisten = \"127.0.0.1:1\"\n")), 2);
    }

    /// The example file: every default as it is, and every other key as a comment.
    #[test]
    fn the_example_file_is_the_default_and_names_every_key() {
        let text = include_str!("../../vitalguard.example.toml");
        assert_eq!(loaded(text).config, Config::default());
        fn leaves(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        if !value.is_object() && !value.as_array().is_some_and(|l| l.first().is_some_and(Value::is_object)) {
                            found.push(key.clone());
                        }
                        leaves(value, found);
                    }
                }
                Value::Array(list) => list.iter().for_each(|v| leaves(v, found)),
                _ => {}
            }
        }
        let mut every = serde_json::to_value(Config::every_key()).unwrap();
        // Thresholds of checks have a catalogue of their own (`vitalguard checks`).
        every.as_object_mut().unwrap().remove("checks");
        let mut keys = Vec::new();
        leaves(&every, &mut keys);
        for key in keys {
            let named = text.lines().any(|line| {
                line.trim_start_matches(['#', ' ']).strip_prefix(&key).is_some_and(|r| r.trim_start().starts_with('='))
            });
            assert!(named, "vitalguard.example.toml does not name {key}");
        }
    }
}
