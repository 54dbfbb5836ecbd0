//! What goes wrong with sensors: at the usual rates of monitors in use, each of them with the mark that monitors give it.

use super::random::Random;
use super::{Mark, Reading};
use crate::vital::Parameter;

/// How often each fault begins, per hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub motion: f64,
    pub oximeter_lost: f64,
    pub lead_off: f64,
    pub purge: f64,
    pub flush: f64,
}

impl Rates {
    /// As in recordings of monitors in use: two to three drop-outs of the oximeter an hour, one purge of the capnograph.
    pub const fn usual() -> Rates {
        Rates { motion: 1.5, oximeter_lost: 1.0, lead_off: 0.2, purge: 1.0, flush: 0.15 }
    }
    /// All of them so many times as often.
    #[must_use]
    pub fn times(self, factor: f64) -> Rates {
        Rates {
            motion: self.motion * factor,
            oximeter_lost: self.oximeter_lost * factor,
            lead_off: self.lead_off * factor,
            purge: self.purge * factor,
            flush: self.flush * factor,
        }
    }
}

/// The faults of one bed: until which second each of them lasts, and since when.
#[derive(Debug, Clone)]
pub struct Artefacts {
    rates: Rates,
    motion: Span,
    oximeter_lost: Span,
    lead_off: Span,
    purge: Span,
    flush: Span,
}

#[derive(Debug, Clone, Copy, Default)]
struct Span {
    from: i64,
    until: i64,
}

impl Span {
    fn holds(self, second: i64) -> bool {
        second < self.until
    }
    /// Perhaps begins, for `low..high` seconds.
    fn draw(&mut self, second: i64, per_hour: f64, low: f64, high: f64, random: &mut Random) {
        let begins = random.uniform() < per_hour / 3600.0;
        let lasts = low + (high - low) * random.uniform().powi(2);
        if begins && !self.holds(second) {
            *self = Span { from: second, until: second + lasts as i64 };
        }
    }
}

impl Artefacts {
    pub fn new(rates: Rates) -> Artefacts {
        let none = Span::default();
        Artefacts { rates, motion: none, oximeter_lost: none, lead_off: none, purge: none, flush: none }
    }

    /// Changes the readings of one second. The numbers drawn do not depend on what holds, so that one fault more leaves the
    /// rest of the patient as it was.
    pub(super) fn apply(&mut self, second: i64, cuff_squeezes: bool, random: &mut Random, readings: &mut [Reading]) {
        let r = self.rates;
        self.motion.draw(second, r.motion, 4.0, 25.0, random);
        self.oximeter_lost.draw(second, r.oximeter_lost, 6.0, 60.0, random);
        self.lead_off.draw(second, r.lead_off, 15.0, 150.0, random);
        self.purge.draw(second, r.purge, 27.0, 34.0, random);
        self.flush.draw(second, r.flush, 4.0, 9.0, random);
        let jitter = [random.normal(), random.normal(), random.uniform()];
        for reading in readings {
            match reading.parameter {
                Parameter::Spo2 | Parameter::Pr if cuff_squeezes || self.oximeter_lost.holds(second) => {
                    lose(reading, Mark::NotAvailable)
                }
                Parameter::Pr if self.motion.holds(second) => shake(reading, 5.0 * jitter[0]),
                Parameter::Spo2 if self.motion.holds(second) => shake(reading, -3.0 * jitter[2]),
                Parameter::Hr | Parameter::Rr if self.lead_off.holds(second) => lose(reading, Mark::Invalid),
                Parameter::Rr if self.motion.holds(second) => shake(reading, 4.0 * jitter[1].abs()),
                Parameter::Awrr | Parameter::Etco2 if self.purge.holds(second) => {
                    // The line is blown free for nine seconds, then breaths have to be counted anew.
                    if second < self.purge.from + 9 {
                        lose(reading, Mark::NotAvailable);
                    } else if reading.parameter == Parameter::Awrr {
                        reading.value = Some(0.0);
                    }
                }
                Parameter::AbpSys | Parameter::AbpMean | Parameter::AbpDia if self.flush.holds(second) => {
                    reading.value = Some(280.0);
                    reading.mark = Mark::Questionable;
                }
                _ => {}
            }
        }
    }
}

fn lose(reading: &mut Reading, mark: Mark) {
    reading.value = None;
    reading.mark = mark;
}

fn shake(reading: &mut Reading, by: f64) {
    let high = if reading.parameter == Parameter::Spo2 { 100.0 } else { 250.0 };
    reading.value = reading.value.map(|v| (v + by).round().clamp(0.0, high));
    reading.mark = Mark::Questionable;
}
