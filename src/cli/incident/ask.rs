//! The running service, over HTTP.

use super::{Office, write_new};
use crate::cli::doctor::path::request_bytes;
use crate::config::Config;
use crate::shell::cases::acts::OpenWish;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest answer, bytes, and largest bundle.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const BUNDLE_BYTES_MAX: u64 = 300 << 20;
/// A bundle that is still being made is asked for again after this time, and so often.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: usize = 60;

pub(super) struct Service {
    config: Config,
    token: Option<String>,
}

impl Service {
    pub fn new(config: Config, token_file: Option<&Path>) -> anyhow::Result<Service> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.lines().next().unwrap_or_default().trim().to_owned())
        };
        Ok(Service { config, token: token_file.map(read).transpose()? })
    }

    fn bytes(&self, method: &str, path: &str, body: &[u8], max: u64) -> anyhow::Result<(u16, Vec<u8>)> {
        let asking = || format!("asking the service at http {}", self.config.http.listen);
        let (status, body) = request_bytes(&self.config, self.token.as_deref(), method, path, body, max).with_context(asking)?;
        if matches!(status, 200..=202) {
            return Ok((status, body));
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let detail = serde_json::from_str::<Value>(&text).ok().and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
        anyhow::bail!("{}", detail.unwrap_or_else(|| format!("the service answers {status}")))
    }
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let (_, body) = self.bytes(method, path, body, ANSWER_BYTES_MAX)?;
        serde_json::from_slice(&body).context("the service's answer cannot be read")
    }
}

impl Office for Service {
    fn list(&mut self, all: bool) -> anyhow::Result<Value> {
        self.ask("GET", if all { "/api/v1/cases?state=all" } else { "/api/v1/cases?state=open" }, b"")
    }
    fn show(&mut self, case: &str) -> anyhow::Result<Value> {
        self.ask("GET", &format!("/api/v1/cases/{case}"), b"")
    }
    fn open(&mut self, wish: &OpenWish) -> anyhow::Result<Value> {
        let mut body = json!({});
        for (key, value) in [("alert", &wish.alert), ("title", &wish.title)] {
            if let Some(value) = value {
                body[key] = value.as_str().into();
            }
        }
        if let Some(minutes) = wish.minutes {
            body["minutes"] = minutes.into();
        }
        self.ask("POST", "/api/v1/cases", body.to_string().as_bytes())
    }
    fn step(&mut self, case: &str, expect: Option<u32>, step: &Value) -> anyhow::Result<Value> {
        let body = json!({ "expect": expect, "step": step });
        self.ask("POST", &format!("/api/v1/cases/{case}/steps"), body.to_string().as_bytes())
    }
    fn capture(&mut self, case: &str, name: &str, bytes: Vec<u8>) -> anyhow::Result<Value> {
        anyhow::ensure!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')),
            "{name}: a capture's name is letters, digits, - _ and ."
        );
        self.ask("PUT", &format!("/api/v1/cases/{case}/captures/{name}"), &bytes)
    }
    fn export(&mut self, case: &str, identified: bool, output: Option<&Path>) -> anyhow::Result<(PathBuf, String)> {
        let kind = if identified { "identified" } else { "masked" };
        let path = output.map_or_else(|| PathBuf::from(format!("{case}-{kind}.zip")), Path::to_owned);
        // Before anything is made, and written down as made.
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
        let query = format!("/api/v1/cases/{case}/bundle?identified={}", u8::from(identified));
        for _ in 0..AGAIN_MAX {
            let (status, bytes) = self.bytes("GET", &query, b"", BUNDLE_BYTES_MAX)?;
            if status == 202 {
                std::thread::sleep(AGAIN);
                continue;
            }
            let sha256 = crate::alert::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
            write_new(&path, &bytes)?;
            return Ok((path, sha256));
        }
        anyhow::bail!("the bundle takes too long over HTTP: stop the service and export from its folder (--data)")
    }
    fn draft(&mut self, case: &str, form: &str, lang: Option<&str>, format: &str) -> anyhow::Result<Vec<u8>> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        anyhow::ensure!(plain(form) && plain(format) && lang.is_none_or(plain), "form, language or format: letters are meant");
        let lang = lang.map_or_else(String::new, |lang| format!("&lang={lang}"));
        let path = format!("/api/v1/cases/{case}/drafts/{form}?format={format}{lang}");
        Ok(self.bytes("GET", &path, b"", ANSWER_BYTES_MAX)?.1)
    }
}
