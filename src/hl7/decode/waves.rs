//! What waveforms say of their sensors: a row `MDC_EVT_INOP` beside the samples.
//!
//! Two ways of writing are known. 0 or 1 says outright whether the sensor measures. Any other number (32767) is the sample that
//! means "not measured": the sensor is off where the newest sample is that one. Of several waveforms of one sensor (ECG leads)
//! one that measures is enough. Limit: at most 32 names of waveforms in a table.

use super::super::Field;
use super::super::dialect::{Table, Wave};

/// The waveforms of one message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waves<'m> {
    /// The waveform whose rows are being read: its place among the table's, OBX-4, samples.
    open: Option<(usize, Field<'m>, Field<'m>)>,
    /// By the table's waveforms: one measures, one does not.
    measured: u32,
    lost: u32,
}

/// Which of the table's waveforms an OBX-3 names.
pub fn named<'t>(table: &'t Table, code: Field<'_>) -> Option<(usize, &'t Wave)> {
    let begins = |name: &str, prefix: &str| name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let names = [code.component(2).str(), code.component(1).str()];
    table.waves.iter().enumerate().take(32).find(|(_, wave)| names.iter().any(|name| begins(name, &wave.name)))
}

impl<'m> Waves<'m> {
    /// Samples.
    pub fn samples(&mut self, table: &Table, code: Field<'_>, place: Field<'m>, samples: Field<'m>) {
        self.open = named(table, code).map(|(at, _)| (at, place, samples));
    }

    /// A row that says whether the waveform before it is measured. Returns which one it was.
    pub fn inop(&mut self, place: Field<'m>, value: Field<'m>) -> Option<usize> {
        let (at, of, samples) = self.open?;
        let inside = of.is_empty() || place.trimmed().starts_with(of.trimmed());
        let mark = std::str::from_utf8(value.component(1).trimmed()).ok()?.parse::<f64>().ok().filter(|_| inside)?;
        let lost = if mark == 0.0 {
            false
        } else if mark == 1.0 {
            true
        } else {
            let delimiters = samples.delimiters();
            let last = samples.trimmed().rsplit(|byte| *byte == delimiters.component || *byte == delimiters.repetition).next();
            let last = last.and_then(|last| std::str::from_utf8(last.trim_ascii()).ok())?.parse::<f64>().ok()?;
            last == mark
        };
        *(if lost { &mut self.lost } else { &mut self.measured }) |= 1 << at;
        Some(at)
    }

    /// Every waveform that something was said of, and whether its sensor measures.
    pub fn told(self, table: &Table) -> impl Iterator<Item = (&Wave, bool)> {
        let said = self.measured | self.lost;
        let waves = table.waves.iter().enumerate().take(32).filter(move |(at, _)| said & (1 << at) != 0);
        waves.map(move |(at, wave)| (wave, self.measured & (1 << at) != 0))
    }
}
