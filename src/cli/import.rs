//! `vitalguard import RECORDING`: a table of numbers (`t_s,param,value,unit`) as a log of HL7 messages that `replay` and `decode`
//! take, and what was odd about the table.
//!
//! Exit codes: 0 done (also where something was odd: standard error says what); 1 the table cannot be read, no row of it can be
//! used, or with `--strict` a row was left out; 2 wrong usage.

use super::Usage;
use super::recordings;
use crate::eval::recording::{Oddity, Recording};
use crate::eval::render::{Bed, Encoding, Rate, Wire, render};
use crate::hl7::time::{Dtm, Precision};
use crate::time::Timestamp;
use anyhow::Context as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// When invented recordings begin, where nothing else is said.
pub const START: &str = "2026-01-01T00:00:00Z";

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Table with a header line and the columns t_s, param, value and unit; also as .gz; - is standard input.
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// Where the messages go; a name that ends in .gz is packed (default: standard output).
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub form: Form,
    /// Bed that the messages name in PV1-3 (default: R001).
    #[arg(long, value_name = "BED")]
    pub bed: Option<String>,
    /// Application that the messages name in MSH-3 (default: by the set, the folder's name).
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
    /// Fail where rows were left out.
    #[arg(long)]
    pub strict: bool,
}

/// What messages of recordings look like.
#[derive(Debug, Clone, clap::Args)]
pub struct Form {
    /// What an invalid value looks like.
    #[arg(long, value_enum, default_value = "status")]
    pub encoding: EncodingArg,
    /// How often messages come.
    #[arg(long, value_enum, default_value = "native")]
    pub rate: RateArg,
    /// When the zero of the recording is (RFC 3339 or HL7 form, UTC where no zone is said).
    #[arg(long, value_name = "TIME", default_value = START, value_parser = time)]
    pub start: Timestamp,
    /// Send alarm limits with the values, and H or L with what is beyond them.
    #[arg(long)]
    pub limits: bool,
    /// Seed of what is drawn.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EncodingArg {
    Status,
    Absent,
    Empty,
    Sentinel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RateArg {
    Native,
    MinuteLast,
    MinuteMean,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let dtm = Dtm::parse(text.as_bytes()).map_err(|fault| fault.to_string())?;
    if dtm.precision < Precision::Day {
        return Err("a day at least".into());
    }
    Ok(dtm.at_offset(0))
}

impl Form {
    /// The bed of a recording.
    pub fn bed(&self, set: &str, number: u32) -> Bed {
        let encoding = match self.encoding {
            EncodingArg::Status => Encoding::Status,
            EncodingArg::Absent => Encoding::Absent,
            EncodingArg::Empty => Encoding::Empty,
            EncodingArg::Sentinel => Encoding::Sentinel,
        };
        let rate = match self.rate {
            RateArg::Native => Rate::Native,
            RateArg::MinuteLast => Rate::MinuteLast,
            RateArg::MinuteMean => Rate::MinuteMean,
        };
        Bed { encoding, rate, limits: self.limits, seed: self.seed ^ u64::from(number), ..Bed::of(set, number, self.start) }
    }
}

/// What was odd, a line each.
pub fn oddities(recording: &Recording) -> Vec<String> {
    let notes = recording.notes.list.iter().map(|note| {
        let about = if note.about.is_empty() { String::new() } else { format!(" ({})", note.about) };
        let long = match note.oddity {
            Oddity::Gap | Oddity::Hole => format!(", {} s together", note.seconds),
            _ => String::new(),
        };
        let lost = if note.oddity.loses() { ", not used" } else { "" };
        format!("{}{about}: {} times, first in line {}{long}{lost}", note.oddity.as_str(), note.count, note.first_line)
    });
    notes.collect()
}

/// Messages as a log: a line with the time of arrival and the header, a line for every further segment, a blank line.
pub fn write_log(wires: &[Wire], out: &mut impl Write) -> std::io::Result<()> {
    for wire in wires {
        write!(out, "{} ", wire.received_at)?;
        let body = wire.bytes.strip_suffix(b"\r").unwrap_or(&wire.bytes);
        for (at, segment) in body.split(|b| *b == b'\r').enumerate() {
            if at > 0 {
                out.write_all(b"\n")?;
            }
            out.write_all(segment)?;
        }
        out.write_all(b"\n\n")?;
    }
    Ok(())
}

/// Messages as they stand on the wire, in MLLP's frames: for what a log of lines cannot hold.
pub fn write_frames(wires: &[Wire], out: &mut impl Write) -> std::io::Result<()> {
    for wire in wires {
        out.write_all(&[0x0B])?;
        out.write_all(&wire.bytes)?;
        out.write_all(&[0x1C, 0x0D])?;
    }
    Ok(())
}

/// Writes a log to a file, packed where its name says so.
pub fn write_file(path: &Path, wires: &[Wire]) -> std::io::Result<()> {
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        write_log(wires, &mut packed)?;
        packed.finish()?.flush()
    } else {
        let mut file = file;
        write_log(wires, &mut file)?;
        file.flush()
    }
}

pub fn run(args: &Args, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<ExitCode> {
    let recording = recordings::read(&args.recording)?;
    let mut bed = args.form.bed(&recording.set, 1);
    for (name, wanted) in [("--bed", &args.bed), ("--application", &args.application)] {
        if wanted.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Usage::new(format!("{name} is empty")).into());
        }
    }
    if let Some(name) = &args.bed {
        bed.sender.bed.clone_from(name);
    }
    if let Some(application) = &args.application {
        bed.sender.application.clone_from(application);
    }
    let wires = render(&recording, &bed);
    match &args.out {
        Some(path) => write_file(path, &wires).with_context(|| format!("writing {}", path.display()))?,
        None => {
            let mut out = std::io::BufWriter::new(out);
            write_log(&wires, &mut out)?;
            out.flush()?;
        }
    }
    let keys: Vec<&str> = recording.parameters().iter().map(crate::vital::Parameter::key).collect();
    let notes = &recording.notes;
    writeln!(
        err,
        "{} {}: {} lines, {} values of {} every {} s over {:.0} s ({:.0} s live), {} flags left aside; {} messages",
        recording.set,
        recording.name,
        notes.lines,
        notes.cells,
        keys.join(" "),
        recording.interval_s,
        recording.span_s(),
        recording.live_s(),
        notes.flags,
        wires.len()
    )?;
    for line in oddities(&recording) {
        writeln!(err, "  {line}")?;
    }
    if args.strict && notes.lost() > 0 {
        writeln!(err, "  {} rows were left out", notes.lost())?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
