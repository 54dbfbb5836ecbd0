//! `vitalguard decode FILE…`: what is understood of recorded messages, row by row, why not, and a summary over all files.
//!
//! The contract: every OBX of every file is an observation, a reject with its reason, or counted as **unexplained**; the last
//! line of the summary says how many of those there are, held against hl7-parser's count and against the file's own lines. A
//! file that cannot be read is named with the reason and never stops the others.
//!
//! Identities are masked: places, patients, names and free texts are only said to be there, unless `--unmasked` asks for them.
//! Exit codes: 0 every file was read and every row is explained; 1 a file holds no message or could not be read, or a row is
//! unexplained; 2 wrong usage.

mod intake;
mod masked;
mod rows;
mod summary;

pub use intake::{payloads, pieces};
pub use summary::Summary;

use super::load::{Overrides, load};
use super::{Global, Usage};
use crate::config::{SenderBook, Senders};
use crate::hl7::decode::Decoder;
use crate::hl7::dialect::Tables;
use crate::hl7::{Message, Scratch, show, tree};
use crate::observation::{MessageKind, Report, Source};
use crate::time::Timestamp;
use anyhow::Context as _;
use intake::{Intake, Piece};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What to decode, and how to show it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Files with messages: bare, batched, MLLP bytes, logs, each also as .gz or .zst; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON object a line for every OBX; the summary goes to standard error.
    #[arg(long)]
    pub json: bool,
    /// Below each message, every field that was sent, with its path (`OBX[2]-3.1`).
    #[arg(long, conflicts_with = "json")]
    pub tree: bool,
    /// The summary alone.
    #[arg(long, conflicts_with_all = ["json", "tree"])]
    pub summary: bool,
    /// Show names, ids, places and free texts in the tree.
    #[arg(long, requires = "tree")]
    pub unmasked: bool,
    /// Read as this dialect instead of recognising it.
    #[arg(long, value_name = "NAME")]
    pub dialect: Option<String>,
    /// Zone of times without offset, IANA name (default: the configuration's, UTC).
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Folder of own dialect tables (*.toml), in place of or besides those of the program.
    #[arg(long, value_name = "DIR")]
    pub dialects: Option<PathBuf>,
    /// Configuration file whose zone and `[[senders.sender]]` rules are applied.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Feed that the messages count for, where a sender rule asks for one.
    #[arg(long, value_name = "SLUG", default_value = "file")]
    pub feed: String,
}

/// Runs the command.
pub fn command(_global: &Global, args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let summary = decode(args, &mut out, &mut std::io::stderr())?;
    out.flush()?;
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Decodes files with the program's own tables.
pub fn run(paths: &[PathBuf], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let args = Args { files: paths.to_vec(), json, feed: "file".into(), ..Args::default() };
    decode(&args, out, &mut std::io::sink()).map(|_| ())
}

/// Decodes files as the command line says: rows to `out`, complaints (and the summary of `--json`) to `err`.
pub fn decode(args: &Args, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Summary> {
    let tables = tables(args.dialects.as_deref()).map_err(|error| Usage::new(format!("{error:#}")))?;
    if let Some(name) = &args.dialect
        && tables.position(name).is_none()
    {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        return Err(Usage::new(format!("no dialect `{name}` (there are {})", names.join(", "))).into());
    }
    let (zone, senders) = match &args.config {
        Some(path) => {
            let config = load(&Overrides { config: Some(path.clone()), ..Overrides::default() })?.config;
            (config.zone, config.senders)
        }
        None => ("UTC".to_owned(), Senders::default()),
    };
    let zone = args.zone.as_deref().unwrap_or(&zone);
    let mut decoder = Decoder::new(zone, tables).map_err(|error| Usage::new(error.to_string()))?;
    decoder.set_advice(senders.advice(decoder.tables()));
    let mut reading = Reading { decoder, book: SenderBook::new(senders), summary: Summary::default(), report: Report::default() };
    for (number, path) in args.files.iter().enumerate() {
        let source = Source {
            feed: args.feed.clone(),
            peer: path.display().to_string(),
            connection: number as u64,
            ward: "main".into(),
            dialect: args.dialect.clone(),
            ..Source::default()
        };
        let before = reading.summary.messages();
        let complaint = match Intake::open(path) {
            Ok(mut intake) => {
                reading.file(args, &source, &mut intake, out)?;
                let complaint = intake.complaint();
                reading.summary.close_file(path, &intake);
                complaint.filter(|_| reading.summary.messages() == before)
            }
            Err(reason) => Some(reason),
        };
        reading.decoder.close(number as u64);
        reading.summary.files += 1;
        if let Some(reason) = complaint {
            writeln!(err, "vitalguard: {}: {reason}", path.display())?;
            reading.summary.failed_file(path, reason);
        }
    }
    if args.json {
        reading.summary.write(err)?;
    } else {
        reading.summary.write(out)?;
    }
    Ok(reading.summary)
}

/// The program's tables, with a folder's own.
pub fn tables(folder: Option<&Path>) -> anyhow::Result<Arc<Tables>> {
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
    Ok(Arc::new(Tables::with_site(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))?))
}

/// What is kept from file to file.
struct Reading {
    decoder: Decoder,
    book: SenderBook,
    summary: Summary,
    report: Report,
}

impl Reading {
    /// The messages of one file, read as one connection.
    fn file(&mut self, args: &Args, source: &Source, intake: &mut Intake, out: &mut impl Write) -> anyhow::Result<()> {
        let mut scratch = Scratch::default();
        let name = source.peer.as_str();
        let mut number = 0;
        while let Some(piece) = intake.next_piece() {
            number += 1;
            let message = match Message::read(&piece.payload, &mut scratch) {
                Ok(message) => message,
                Err(error) => {
                    let reason = error.to_string();
                    if !args.json && !args.summary {
                        writeln!(out, "{name} message {number}: unreadable: {reason}")?;
                    }
                    intake.unreadable(&piece, &reason);
                    self.summary.unreadable(&reason);
                    continue;
                }
            };
            let rule = self.book.of(source, &message);
            // The time of receipt of a recorded message is not known; its own is the nearest thing to it.
            let received_at = self.decoder.sent_at(rule, &message, source).unwrap_or(Timestamp::from_ms(0));
            self.decoder.decode_by(rule, &message, source, received_at, &mut self.report);
            intake.read(&piece, &message);
            self.summary.message(&message, &self.report);
            if args.json {
                for row in show::rows(&self.report) {
                    serde_json::to_writer(&mut *out, &rows::object(row, name, number, &self.report, &message))?;
                    out.write_all(b"\n")?;
                }
            } else if !args.summary {
                self.show(args, name, number, &piece, &message, out)?;
            }
        }
        Ok(())
    }

    /// One message for people: what it is, its rows, and its tree where that was asked for.
    fn show(
        &self,
        args: &Args,
        name: &str,
        number: usize,
        piece: &Piece,
        message: &Message<'_>,
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        let report = &self.report;
        writeln!(
            out,
            "{name} message {number}: {}^{} {} as {}, {} observed, {} rejected",
            report.message_type,
            report.trigger,
            report.kind.as_str(),
            report.dialect,
            report.observations.len(),
            report.rejects.len()
        )?;
        let choices = self.decoder.explain_dialect(message);
        match choices.iter().find(|choice| choice.dialect == report.dialect) {
            Some(choice) if !choice.features.is_empty() => {
                let features = choice.features.join("; ");
                writeln!(out, "  dialect {}: {} of {} needed: {features}", choice.dialect, choice.score, choice.least)?;
            }
            _ => writeln!(out, "  dialect {}: by the configuration, the connection, or because no other fits", report.dialect)?,
        }
        let yes = |there: bool| if there { "sent (masked)" } else { "not sent" };
        if report.kind != MessageKind::KeepAlive {
            let (patient, bed) = (!report.subject.patient.is_empty(), !report.subject.bed.is_empty());
            writeln!(out, "  patient id {}, bed {}", yes(patient), yes(bed))?;
        }
        let marks: Vec<&str> = piece.faults.names().chain(report.flags.names()).collect();
        if !marks.is_empty() {
            writeln!(out, "  marks: {}", marks.join(", "))?;
        }
        if !report.alarms.is_empty() {
            writeln!(out, "  alarms of the bedside monitor: {}", report.alarms.len())?;
        }
        for row in show::rows(report) {
            writeln!(out, "  {}", rows::line(row, message))?;
        }
        if !message.rest().trim_ascii().is_empty() {
            writeln!(out, "  not read: {} bytes behind a second MSH or beyond the bound", message.rest().len())?;
        }
        if args.tree {
            let tree = tree::tree(message).unwrap_or_else(|loss| {
                // Our own cursor stands in; why hl7-parser cannot is said.
                let mut tree = tree::Tree::by_cursor(message);
                tree.leaves.insert(0, tree::Leaf { path: "(tree)".into(), text: format!("by our own cursor: {loss}") });
                tree
            });
            for leaf in &tree.leaves {
                writeln!(out, "    {:<16} {}", leaf.path, masked::shown(leaf, &tree, args.unmasked))?;
            }
        }
        Ok(())
    }
}
