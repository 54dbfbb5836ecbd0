//! What all files together said: messages by dialect and kind, rows by what became of them, and what nothing explains.

use super::intake::Intake;
use super::rows;
use crate::hl7::{Message, show, tree};
use crate::observation::{MessageKind, RejectReason, Report};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// Kinds, in the order of the table's columns.
const KINDS: [MessageKind; 8] = [
    MessageKind::Vitals,
    MessageKind::Waveform,
    MessageKind::Alarm,
    MessageKind::Adt,
    MessageKind::KeepAlive,
    MessageKind::Query,
    MessageKind::Ack,
    MessageKind::Other,
];
/// Unknown codes remembered at most; further ones are only counted as rejects.
const CODES_MAX: usize = 10_000;
/// Unknown codes that are shown.
const CODES_SHOWN: usize = 20;
/// Files with trouble that are named in the summary; more are only counted.
const FILES_MAX: usize = 1000;
/// Unexplained messages that are named.
const PLACES_MAX: usize = 20;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    kinds: [u64; KINDS.len()],
    observed: u64,
    rejected: u64,
}

impl Counts {
    fn messages(&self) -> u64 {
        self.kinds.iter().sum()
    }
}

/// A code that no table knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unknown {
    rows: u64,
    unit: String,
    /// One value, where it is a number.
    value: String,
}

/// The table at the end.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub files: u64,
    by_dialect: BTreeMap<&'static str, Counts>,
    by_reason: BTreeMap<RejectReason, u64>,
    by_validity: BTreeMap<&'static str, u64>,
    alarms: u64,
    unreadable: BTreeMap<String, u64>,
    /// OBX lines outside of readable messages, by reason.
    outside: BTreeMap<String, u64>,
    /// What else stood in MLLP streams, by name.
    wire: BTreeMap<String, u64>,
    unknown: BTreeMap<(&'static str, String), Unknown>,
    failed: Vec<(String, String)>,
    failed_count: u64,
    notes: Vec<String>,
    unexplained: u64,
    unexplained_places: Vec<String>,
    /// Messages whose rows hl7-parser could not count, by reason: our own cursor's count stands in.
    uncounted: BTreeMap<String, u64>,
    pending: Vec<String>,
}

impl Summary {
    /// Messages that were read.
    pub fn messages(&self) -> u64 {
        self.by_dialect.values().map(Counts::messages).sum()
    }
    /// Every file was read, every row explained.
    pub fn is_clean(&self) -> bool {
        self.failed_count == 0 && self.unexplained == 0
    }

    /// Counts a decoded message, and holds its rows against hl7-parser's count of them.
    pub(super) fn message(&mut self, message: &Message<'_>, report: &Report) {
        let counts = self.by_dialect.entry(report.dialect).or_default();
        if let Some(at) = KINDS.iter().position(|kind| *kind == report.kind) {
            counts.kinds[at] += 1;
        }
        counts.observed += report.observations.len() as u64;
        counts.rejected += report.rejects.len() as u64;
        self.alarms += report.alarms.len() as u64;
        for observation in &report.observations {
            *self.by_validity.entry(observation.validity.as_str()).or_default() += 1;
        }
        for reject in &report.rejects {
            *self.by_reason.entry(reject.reason).or_default() += 1;
            if matches!(reject.reason, RejectReason::UnknownCode | RejectReason::UnknownSystem) {
                self.unknown_code(message, report.dialect, reject);
            }
        }
        let expected = tree::count(message, "OBX").unwrap_or_else(|loss| {
            *self.uncounted.entry(loss.to_string()).or_default() += 1;
            message.segments().filter(|segment| segment.is(b"OBX")).count()
        });
        let missing = unexplained(expected, report);
        if missing > 0 {
            self.unexplained += missing as u64;
            self.pending.push(format!("{missing} of a message {}^{}", report.message_type, report.trigger));
        }
    }

    fn unknown_code(&mut self, message: &Message<'_>, dialect: &'static str, reject: &crate::observation::Reject) {
        let key = (dialect, rows::code(reject.code.of(message.text())));
        if self.unknown.len() >= CODES_MAX && !self.unknown.contains_key(&key) {
            return;
        }
        let entry = self.unknown.entry(key).or_default();
        entry.rows += 1;
        if entry.rows > 1 {
            return;
        }
        let segment = message.segments().find(|segment| segment.span() == reject.segment);
        if let Some(obx) = segment {
            let value = obx.field(5).text();
            // A value that is no number may be a text about someone.
            let number = value.trim();
            if number.len() <= 20 && number.parse::<f64>().is_ok() {
                entry.value = number.to_owned();
            }
            entry.unit = rows::code(obx.field(6).raw());
        }
    }

    /// Counts a payload that is no message.
    pub(super) fn unreadable(&mut self, reason: &str) {
        *self.unreadable.entry(reason.to_owned()).or_default() += 1;
    }

    /// A file is read to its end.
    pub(super) fn close_file(&mut self, path: &Path, intake: &Intake) {
        for (reason, rows) in &intake.outside {
            *self.outside.entry(reason.clone()).or_default() += *rows as u64;
        }
        for (name, count) in &intake.wire {
            *self.wire.entry((*name).to_owned()).or_default() += count;
        }
        let missing = intake.unexplained();
        if missing > 0 {
            self.unexplained += missing as u64;
            self.pending.push(format!("{missing} lines that are in no message"));
        }
        for what in self.pending.drain(..) {
            if self.unexplained_places.len() < PLACES_MAX {
                self.unexplained_places.push(format!("{}: {what}", path.display()));
            }
        }
        for note in intake.left_out() {
            if self.notes.len() < FILES_MAX {
                self.notes.push(format!("{}: {note}", path.display()));
            }
        }
    }

    /// A file gave nothing.
    pub(super) fn failed_file(&mut self, path: &Path, reason: String) {
        self.failed_count += 1;
        if self.failed.len() < FILES_MAX {
            self.failed.push((path.display().to_string(), reason));
        }
    }

    /// Writes the table.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: u64 = self.by_dialect.values().map(|counts| counts.observed + counts.rejected).sum();
        writeln!(out, "\nsummary: {} files, {} messages, {rows} rows", self.files, self.messages())?;
        self.write_dialects(out)?;
        if !self.by_validity.is_empty() {
            let words: Vec<String> = self.by_validity.iter().map(|(word, rows)| format!("{word} {rows}")).collect();
            writeln!(out, "observed: {}", words.join(", "))?;
        }
        if self.alarms > 0 {
            writeln!(out, "alarms of bedside monitors understood: {}", self.alarms)?;
        }
        let section = |out: &mut dyn Write, title: &str, lines: Vec<(u64, String)>| -> io::Result<()> {
            if !lines.is_empty() {
                writeln!(out, "{title}")?;
                lines.iter().try_for_each(|(count, text)| writeln!(out, "  {count:>8}  {text}"))?;
            }
            Ok(())
        };
        let reason =
            |(reason, count): (&RejectReason, &u64)| (*count, format!("{:<18} {}", reason.as_str(), rows::reason(*reason).0));
        section(out, "rejected, by reason:", self.by_reason.iter().map(reason).collect())?;
        let plain = |map: &BTreeMap<String, u64>| map.iter().map(|(text, count)| (*count, text.clone())).collect::<Vec<_>>();
        section(out, "OBX lines in no message that was read, by reason:", plain(&self.outside))?;
        section(out, "in MLLP streams besides messages:", plain(&self.wire))?;
        section(out, "messages that cannot be read, by reason:", plain(&self.unreadable))?;
        section(out, "messages whose rows our own cursor counted, because hl7-parser cannot:", plain(&self.uncounted))?;
        let mut codes: Vec<_> = self.unknown.iter().collect();
        codes.sort_by(|a, b| (b.1.rows, a.0).cmp(&(a.1.rows, b.0)));
        let code = |((dialect, code), found): &(&(&'static str, String), &Unknown)| {
            let known = |what: &str, text: &str| if text.is_empty() { String::new() } else { format!(", {what} {text}") };
            (found.rows, format!("{code} ({dialect}{}{})", known("unit", &found.unit), known("for example", &found.value)))
        };
        section(
            out,
            "unknown codes and coding systems, most frequent first:",
            codes.iter().take(CODES_SHOWN).map(code).collect(),
        )?;
        if codes.len() > CODES_SHOWN {
            writeln!(out, "            … and {} more", codes.len() - CODES_SHOWN)?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        if self.failed_count > 0 {
            writeln!(out, "files without a message: {}", self.failed_count)?;
            for (file, reason) in &self.failed {
                writeln!(out, "  {file}: {reason}")?;
            }
        }
        for place in &self.unexplained_places {
            writeln!(out, "unexplained: {place}")?;
        }
        writeln!(out, "{} unexplained rows", self.unexplained)
    }

    fn write_dialects(&self, out: &mut impl Write) -> io::Result<()> {
        if self.by_dialect.is_empty() {
            return Ok(());
        }
        let names = KINDS.map(MessageKind::as_str);
        write!(out, "{:<18}", "dialect")?;
        for name in names {
            write!(out, " {name:>10}")?;
        }
        writeln!(out, " {:>10} {:>10} {:>10}", "rows", "observed", "rejected")?;
        let mut total = Counts::default();
        let line = |out: &mut dyn Write, name: &str, counts: &Counts| -> io::Result<()> {
            write!(out, "{name:<18}")?;
            for count in counts.kinds {
                let text = if count == 0 { "-".to_owned() } else { count.to_string() };
                write!(out, " {text:>10}")?;
            }
            writeln!(out, " {:>10} {:>10} {:>10}", counts.observed + counts.rejected, counts.observed, counts.rejected)
        };
        for (name, counts) in &self.by_dialect {
            line(out, name, counts)?;
            total.kinds.iter_mut().zip(counts.kinds).for_each(|(sum, count)| *sum += count);
            total.observed += counts.observed;
            total.rejected += counts.rejected;
        }
        line(out, "total", &total)
    }
}

/// How far the rows of a report are from one entry for each of `expected` OBX: missing ones, doubled ones, one too many.
fn unexplained(expected: usize, report: &Report) -> usize {
    let rows = show::rows(report);
    // Ordinals count to 65 535; what is beyond shares the last one.
    let last = u16::MAX as usize;
    let mut seen = vec![false; expected.min(last)];
    let mut doubled = 0;
    for row in &rows {
        match seen.get_mut(row.ordinal() as usize) {
            Some(seen) => doubled += usize::from(std::mem::replace(seen, true)),
            None => doubled += usize::from(expected <= last),
        }
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    (missing + doubled).max(rows.len().abs_diff(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Scratch;
    use crate::observation::{Reject, Span};

    fn report(ordinals: &[u16]) -> Report {
        let reject = |ordinal: &u16| Reject {
            reason: RejectReason::UnknownCode,
            ordinal: *ordinal,
            set_id: 0,
            segment: Span::default(),
            code: Span::default(),
            parameter: None,
        };
        Report { dialect: "generic", rejects: ordinals.iter().map(reject).collect(), ..Report::default() }
    }

    #[test]
    fn a_row_that_is_missing_doubled_or_invented_is_unexplained() {
        assert_eq!(unexplained(3, &report(&[0, 1, 2])), 0);
        assert_eq!(unexplained(0, &report(&[])), 0);
        assert_eq!(unexplained(3, &report(&[0, 2])), 1, "one is missing");
        assert_eq!(unexplained(3, &report(&[0, 2, 2])), 2, "one is missing, one is there twice");
        assert_eq!(unexplained(3, &report(&[0, 1, 2, 3])), 1, "one too many");
    }

    #[test]
    fn the_table_says_what_nothing_explains() {
        let text = "MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5\rOBX|1|NM|x^y^L||1\rOBX|2|NM|z^y^L||2";
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).unwrap();
        let mut summary = Summary::default();
        summary.message(&message, &report(&[0, 1]));
        assert!(summary.is_clean());
        summary.message(&message, &report(&[0]));
        assert!(!summary.is_clean());
        let mut out = Vec::new();
        summary.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("1 unexplained rows\n"), "{text}");
        assert!(text.contains("unknown_code       no table knows the code"), "{text}");
    }
}
