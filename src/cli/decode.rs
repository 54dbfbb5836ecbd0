//! `vitalguard decode FILE… [--json]`: what is understood of recorded messages, row by row, and why not.
//!
//! Files may be bare messages, batches, or raw MLLP bytes; several messages may follow each other. The messages of one file are
//! read as one connection. Identities are masked: place and patient are only said to be there.

use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{self, Message, Scratch, show};
use crate::mllp;
use crate::observation::{MessageKind, Report, Source};
use crate::time::Timestamp;
use anyhow::Context as _;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What to decode, and how to show it.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Files with messages (bare, batched or MLLP-framed).
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON object a line for every OBX.
    #[arg(long)]
    pub json: bool,
    /// Read as this dialect instead of recognising it.
    #[arg(long, value_name = "NAME")]
    pub dialect: Option<String>,
    /// Zone of times without offset (IANA name).
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub zone: String,
    /// Folder of own dialect tables (*.toml), in place of or besides those of the program.
    #[arg(long, value_name = "DIR")]
    pub dialects: Option<PathBuf>,
}

/// Decodes files with the program's own tables.
pub fn run(paths: &[PathBuf], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let args = Args { files: paths.to_vec(), json, dialect: None, zone: "UTC".into(), dialects: None };
    run_args(&args, out)
}

/// Decodes files as the command line says.
pub fn run_args(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let tables = Arc::new(tables(args.dialects.as_deref())?);
    if let Some(name) = &args.dialect
        && tables.position(name).is_none()
    {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        anyhow::bail!("no dialect `{name}` (there are {})", names.join(", "));
    }
    let mut decoder = Decoder::new(&args.zone, tables)?;
    for (number, path) in args.files.iter().enumerate() {
        let size = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        anyhow::ensure!(size <= FILE_BYTES_MAX, "{}: larger than 1 GiB", path.display());
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let source = Source {
            feed: "file".into(),
            peer: path.display().to_string(),
            connection: number as u64,
            ward: "main".into(),
            dialect: args.dialect.clone(),
            zone_min: None,
            ..Source::default()
        };
        file(&mut decoder, &source, path, &bytes, args.json, out)?;
        decoder.close(number as u64);
    }
    Ok(())
}

/// The program's tables, with a folder's own.
pub fn tables(folder: Option<&Path>) -> anyhow::Result<Tables> {
    let Some(folder) = folder else { return Ok(Tables::embedded()) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path).with_context(|| path.display().to_string())?));
        }
    }
    files.sort();
    Ok(Tables::with_site(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))?)
}

/// The payloads of a file: MLLP frames where there are block characters, else bare messages and batches.
pub fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    if memchr::memchr(0x0B, bytes).is_some() || memchr::memchr(0x1C, bytes).is_some() {
        let mut framing = mllp::Decoder::new(mllp::FRAME_BYTES_MAX);
        framing.push(bytes);
        let mut take = |event: Option<mllp::Event>| match event {
            Some(mllp::Event::Frame { payload, .. }) => {
                frames.push(payload);
                true
            }
            Some(_) => true,
            None => false,
        };
        while take(framing.poll()) {}
        take(framing.finish());
    } else {
        frames.push(bytes.to_vec());
    }
    let mut messages = Vec::new();
    for frame in frames {
        let batch = hl7::split_batch(&frame);
        if batch.messages.len() > 1 || hl7::is_batch(&frame) {
            messages.extend(batch.messages.into_iter().map(<[u8]>::to_vec));
        } else {
            messages.push(frame);
        }
    }
    messages
}

fn file(
    decoder: &mut Decoder,
    source: &Source,
    path: &Path,
    bytes: &[u8],
    as_json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut report = Report::default();
    let mut scratch = Scratch::default();
    let name = path.display().to_string();
    for (at, payload) in payloads(bytes).iter().enumerate() {
        let number = at + 1;
        let message = match Message::read(payload, &mut scratch) {
            Ok(message) => message,
            Err(error) => {
                if as_json {
                    writeln!(out, "{}", json!({ "file": name, "message": number, "unreadable": error.to_string() }))?;
                } else {
                    writeln!(out, "{name} message {number}: unreadable ({error})")?;
                }
                continue;
            }
        };
        // The time of receipt of a recorded message is not known; its own is the nearest thing to it.
        let received_at = decoder.sent_at(None, &message, source).unwrap_or(Timestamp::from_ms(0));
        decoder.decode(&message, source, received_at, &mut report);
        if as_json {
            for row in show::rows(&report) {
                let mut object = serde_json::Map::new();
                object.insert("file".into(), json!(name));
                let mut rest = show::row_object(row, number);
                object.insert("message".into(), rest.shift_remove("message").unwrap_or_default());
                object.insert("dialect".into(), json!(report.dialect));
                object.append(&mut rest);
                writeln!(out, "{}", serde_json::Value::Object(object))?;
            }
            continue;
        }
        head(decoder, &message, &report, &name, number, out)?;
        for row in show::rows(&report) {
            writeln!(out, "  {}", show::row_line(row, &message))?;
        }
    }
    Ok(())
}

fn head(
    decoder: &Decoder,
    message: &Message<'_>,
    report: &Report,
    name: &str,
    number: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let kind = serde_json::to_value(report.kind)?;
    writeln!(
        out,
        "{name} message {number}: {}^{} {} as {}, {} observed, {} rejected",
        report.message_type,
        report.trigger,
        kind.as_str().unwrap_or_default(),
        report.dialect,
        report.observations.len(),
        report.rejects.len()
    )?;
    let choices = decoder.explain_dialect(message);
    match choices.iter().find(|choice| choice.dialect == report.dialect) {
        Some(choice) if !choice.features.is_empty() => {
            writeln!(
                out,
                "  dialect {}: {} of {} needed: {}",
                choice.dialect,
                choice.score,
                choice.least,
                choice.features.join("; ")
            )?;
        }
        _ => writeln!(out, "  dialect {}: by the listener, the connection, or because no other fits", report.dialect)?,
    }
    let yes = |there: bool| if there { "sent (masked)" } else { "not sent" };
    if report.kind != MessageKind::KeepAlive {
        writeln!(out, "  patient id {}, bed {}", yes(!report.subject.patient.is_empty()), yes(!report.subject.bed.is_empty()))?;
    }
    let flags: Vec<&str> = report.flags.names().collect();
    if !flags.is_empty() {
        writeln!(out, "  marks: {}", flags.join(", "))?;
    }
    Ok(())
}
