//! `vitalguard simulate --out DIR`: labelled logs of attacks on recordings, or on invented patients, for the tests of this
//! program and of others.
//!
//! In the folder: a log of every attacked copy (further connections in files of their own), the clean twins, and `labels.jsonl`,
//! a line for every attack with what is true and what counts as found, also for those that a recording cannot carry, with the
//! reason. The same arguments give the same bytes.
//!
//! Exit codes: 0 done; 1 nothing could be injected, or a file cannot be read or written; 2 wrong usage.

use super::Usage;
use super::import::{Form, write_file, write_frames};
use super::recordings;
use crate::eval::attack::{self, Attack, Attacked, Kind, Place};
use crate::eval::recording::Recording;
use crate::eval::render::{Bed, Wire, feed, render};
use crate::eval::synth::random::Random;
use crate::eval::synth::{self, Patient};
use crate::vital::Parameter;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Recordings to attack, tables as `import` takes them (default: invented patients).
    #[arg(value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
    /// Folder for logs and labels; it is made where it is missing.
    #[arg(short, long, value_name = "DIR", required_unless_present = "list")]
    pub out: Option<PathBuf>,
    /// Attacks whose name (`offset/+20%/600s/one/K1`) holds one of these texts.
    #[arg(short, long, value_name = "TEXT", value_delimiter = ',')]
    pub attack: Vec<String>,
    /// Every row of the table: all severities and durations (default: one of every kind, target and tier).
    #[arg(long)]
    pub full: bool,
    /// Say which attacks there are, a JSON object a line, and end.
    #[arg(long)]
    pub list: bool,
    /// Invented patients.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub patients: u32,
    /// How long invented recordings last.
    #[arg(long, value_name = "MINUTES", default_value_t = 120)]
    pub minutes: u32,
    #[command(flatten)]
    pub form: Form,
}

/// What is attacked, on its bed.
struct Subject {
    recording: Recording,
    bed: Bed,
    clean: String,
}

pub fn run(args: &Args, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut attacks = if args.full { attack::catalogue() } else { attack::short() };
    if !args.attack.is_empty() {
        attacks = attack::catalogue();
        attacks.retain(|a| args.attack.iter().any(|text| a.id().contains(text.as_str())));
        if !args.full {
            keep_one(&mut attacks);
        }
        if attacks.is_empty() {
            return Err(Usage::new("no attack has such a name (--list names all)").into());
        }
    }
    if args.list {
        for attack in &attacks {
            writeln!(out, "{}", described(attack))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.recordings.is_empty() && (args.patients == 0 || args.minutes == 0) {
        return Err(Usage::new("no patients, or no minutes").into());
    }
    let folder = args.out.clone().unwrap_or_default();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let subjects = subjects(args, &folder, err)?;
    let mut labels = std::io::BufWriter::new(std::fs::File::create(folder.join("labels.jsonl")).context("making labels.jsonl")?);
    let (mut done, mut unfit) = (0u32, 0u32);
    for (number, attack) in attacks.iter().enumerate() {
        // Recordings take turns; where one cannot carry the attack, the next ones are asked.
        let mut told = None;
        for turn in 0..subjects.len() {
            let at = (number + turn) % subjects.len();
            let seed = args.form.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add((number * 8191 + at) as u64);
            match one(attack, &subjects, at, &mut Random::new(seed)) {
                Ok(found) => {
                    told = Some(label(attack, &subjects[at], number, &found, &folder)?);
                    done += 1;
                    break;
                }
                Err(why) if told.is_none() => {
                    let mut line = described(attack);
                    line["unfit"] = json!(why);
                    told = Some(line);
                }
                Err(_) => {}
            }
        }
        let told = told.unwrap_or_else(|| described(attack));
        unfit += u32::from(told.get("unfit").is_some());
        writeln!(labels, "{told}")?;
    }
    labels.flush()?;
    writeln!(err, "{done} attacks in {}, {unfit} that no recording could carry (labels.jsonl says why)", folder.display())?;
    Ok(if done > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One row for every kind, target and tier: the greatest.
fn keep_one(attacks: &mut Vec<Attack>) {
    let short = attack::short();
    if attacks.iter().any(|a| short.contains(a)) {
        attacks.retain(|a| short.contains(a));
    }
}

/// The recordings, or invented patients, with their clean logs.
fn subjects(args: &Args, folder: &Path, err: &mut impl Write) -> anyhow::Result<Vec<Subject>> {
    let mut recordings = Vec::new();
    for path in &args.recordings {
        let recording = recordings::read(path)?;
        if recording.notes.lost() > 0 {
            writeln!(err, "{}: {} rows were left out (import says which)", path.display(), recording.notes.lost())?;
        }
        recordings.push(recording);
    }
    if recordings.is_empty() {
        for number in 0..args.patients {
            // Somebody gets worse, or nothing could be hidden.
            let kind = synth::Kind::ALL[(number as usize + 4) % synth::Kind::ALL.len()];
            let start = args.form.start;
            let seed = args.form.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number));
            let mut random = Random::new(seed);
            let mut traits = synth::Traits::draw(kind, &mut random);
            traits.decline_at_s = i64::from(args.minutes) * 30;
            let patient = Patient::with(traits, random, start, synth::artefact::Rates::usual());
            recordings.push(Recording::synthetic(&format!("patient-{}", number + 1), patient, start, args.minutes as usize * 60));
        }
    }
    let mut subjects = Vec::new();
    for (recording, number) in recordings.into_iter().zip(1..) {
        let bed = args.form.bed(&recording.set, number);
        let clean = format!("clean-{}.hl7.gz", bed.sender.bed);
        write_file(&folder.join(&clean), &render(&recording, &bed)).with_context(|| format!("writing {clean}"))?;
        subjects.push(Subject { recording, bed, clean });
    }
    Ok(subjects)
}

/// Injects an attack into one of the recordings; the next one is the donor.
fn one(attack: &Attack, subjects: &[Subject], at: usize, random: &mut Random) -> Result<(Place, Attacked), String> {
    let subject = &subjects[at];
    let donor = (subjects.len() > 1).then(|| &subjects[(at + 1) % subjects.len()].recording);
    let place = attack::place(attack, &subject.recording, random).ok_or_else(|| attack::Unfit::NoRoom.to_string())?;
    let attacked = attack::inject(attack, &subject.recording, donor, &subject.bed, place.start_s, random);
    attacked.map(|attacked| (place, attacked)).map_err(|why| why.to_string())
}

/// Frames of MLLP in a packed file.
fn pack(path: &Path, wires: &[Wire]) -> std::io::Result<()> {
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    write_frames(wires, &mut packed)?;
    packed.finish()?.flush()
}

/// What an attack is, whatever it is done to.
fn described(attack: &Attack) -> Value {
    json!({
        "id": attack.id(),
        "kind": attack.kind,
        "taxonomy": attack.taxonomy(),
        "tier": attack.tier.as_str(),
        "severity": attack.severity.to_string(),
        "duration_s": attack.duration_s,
        "target": attack.params.to_string(),
    })
}

/// Writes the logs of an attacked copy; its label.
fn label(
    attack: &Attack,
    subject: &Subject,
    number: usize,
    (place, attacked): &(Place, Attacked),
    folder: &Path,
) -> anyhow::Result<Value> {
    let stem = format!("{:04}-{}", number + 1, Kind::as_str(attack.kind));
    // Line ends that are the attack would be those of the log.
    let framed = matches!(attack.kind, Kind::SegmentInjection | Kind::Abuse);
    let write = |name: String, wires: &[Wire]| -> anyhow::Result<String> {
        let written = if framed { pack(&folder.join(&name), wires) } else { write_file(&folder.join(&name), wires) };
        written.with_context(|| format!("writing {name}"))?;
        Ok(name)
    };
    let by = |wanted: u8| attacked.wires.iter().filter(|wire| wire.feed == wanted).cloned().collect::<Vec<_>>();
    let mut files = json!({ "clean": subject.clean, "own": write(format!("{stem}.{}.gz", if framed { "mllp" } else { "hl7" }), &by(feed::OWN))? });
    for (name, wanted) in [("other", feed::OTHER), ("tap", feed::TAP)] {
        let wires = by(wanted);
        if !wires.is_empty() {
            files[name] = json!(write(format!("{stem}.{name}.hl7.gz"), &wires)?);
        }
    }
    if let Some(wires) = &attacked.other_bed {
        files["other_bed"] = json!(write(format!("{stem}.other-bed.hl7.gz"), wires)?);
    }
    let truth = &attacked.truth;
    let mut line = described(attack);
    line["set"] = json!(subject.recording.set);
    line["recording"] = json!(subject.recording.name);
    line["bed"] = json!(subject.bed.sender.bed);
    line["application"] = json!(subject.bed.sender.application);
    line["encoding"] = json!(subject.bed.encoding);
    line["rate"] = json!(subject.bed.rate);
    line["start"] = json!(truth.start.to_string());
    line["end"] = json!(truth.end.to_string());
    line["start_s"] = json!(place.start_s);
    line["short_record"] = json!(place.short);
    line["at_onset"] = json!(place.onset);
    line["params"] = json!(truth.params.iter().map(Parameter::key).collect::<Vec<_>>());
    line["counts"] = json!(truth.counts);
    line["undetectable"] = json!(truth.undetectable);
    let read = truth.spot_checks.iter().map(|s| json!({"at": s.at.to_string(), "parameter": s.parameter, "value": s.value}));
    line["spot_checks"] = json!(read.collect::<Vec<_>>());
    line["files"] = files;
    Ok(line)
}
