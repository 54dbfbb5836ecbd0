//! Invented patients: a seeded cardiorespiratory model that reads like a bedside monitor at one value a second.
//!
//! One hidden state (rhythm, breathing, gas exchange, pressures) drives every channel, so that they move together: heart rate
//! and pulse differ by a lag and an average, breathing drives end-tidal CO2, a pressure line keeps S ≥ M ≥ D with the patient's
//! own form factor. What the monitor does to it (averages, delays, holds by breath, integers, marks) is modelled after it, not
//! mixed into it. The same seed gives the same values.
//!
//! Limits: no waveforms, no pharmacology, adults only. Levels and rates of change follow published 1 Hz recordings of
//! monitors (pulse unchanged from second to second in about three quarters of all seconds, SpO2 in more than nine tenths, CO2
//! values held from breath to breath). Such data test a mechanism; they are no evidence about patients.

pub mod artefact;
pub mod message;
pub mod random;

use crate::time::Timestamp;
use crate::vital::Parameter;
use artefact::{Artefacts, Rates};
use random::{Drift, Random};

/// What kind of patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Awake, sinus rhythm, nothing wrong.
    Healthy,
    /// Irregular rhythm (as in atrial fibrillation): every beat another interval, some beats without a pulse.
    Irregular,
    /// Sedated and ventilated: the ventilator sets the breathing, little variability.
    Ventilated,
    /// High pressures, stiff vessels.
    Hypertensive,
    /// Gets worse over half an hour: saturation and pressure fall, heart rate and breathing rise, all together.
    Deteriorating,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Healthy, Kind::Irregular, Kind::Ventilated, Kind::Hypertensive, Kind::Deteriorating];
}

/// Why a channel has no number, or a doubtful one (OBX-8 as IHE PCD writes it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark {
    #[default]
    None,
    /// `NAV` and X: not available.
    NotAvailable,
    /// `INV` and X: a sensor is off.
    Invalid,
    /// `QUES`: questionable.
    Questionable,
}

/// One channel at one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub parameter: Parameter,
    /// In the canonical unit, as the monitor shows it; `None` with a mark.
    pub value: Option<f64>,
    pub mark: Mark,
    /// Own time: the second, or the time of the cuff measurement.
    pub effective_at: Timestamp,
}

/// How a patient differs from the next.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    pub kind: Kind,
    pub heart_rate: f64,
    pub breathing_rate: f64,
    pub saturation: f64,
    pub etco2: f64,
    pub mean_pressure: f64,
    pub pulse_pressure: f64,
    /// k = (M - D) / (S - D).
    pub form_factor: f64,
    pub temperature: f64,
    pub arterial_line: bool,
    pub capnograph: bool,
    /// Between cuff measurements, seconds.
    pub cuff_every_s: i64,
    /// The cuff is on the arm of the oximeter: every measurement takes the pulse away.
    pub cuff_on_oximeter_arm: bool,
    /// When a deteriorating patient begins to, seconds after the start.
    pub decline_at_s: i64,
}

impl Traits {
    /// An ordinary patient of a kind.
    pub fn draw(kind: Kind, random: &mut Random) -> Traits {
        let mut around = |mean: f64, sd: f64| mean + sd * random.normal().clamp(-2.0, 2.0);
        let (heart_rate, breathing_rate, mean_pressure, pulse_pressure) = match kind {
            Kind::Healthy => (around(74.0, 8.0), around(15.0, 2.0), around(88.0, 6.0), around(48.0, 5.0)),
            Kind::Irregular => (around(88.0, 9.0), around(16.0, 2.0), around(86.0, 6.0), around(46.0, 5.0)),
            Kind::Ventilated => (around(80.0, 8.0), around(14.0, 1.5).round(), around(78.0, 5.0), around(50.0, 5.0)),
            Kind::Hypertensive => (around(76.0, 7.0), around(15.0, 2.0), around(118.0, 6.0), around(70.0, 6.0)),
            Kind::Deteriorating => (around(84.0, 6.0), around(17.0, 2.0), around(84.0, 5.0), around(46.0, 5.0)),
        };
        Traits {
            kind,
            heart_rate,
            breathing_rate,
            saturation: around(96.8, 0.8),
            etco2: around(36.0, 2.0),
            mean_pressure,
            pulse_pressure,
            form_factor: around(0.385, 0.02),
            temperature: around(36.9, 0.25),
            arterial_line: true,
            capnograph: true,
            cuff_every_s: 900,
            cuff_on_oximeter_arm: false,
            decline_at_s: 600,
        }
    }
}

/// How long a cuff measurement takes, seconds.
const CUFF_S: i64 = 35;
/// How long a decline takes, seconds.
const DECLINE_S: f64 = 1800.0;

/// One patient at one monitor.
#[derive(Debug, Clone)]
pub struct Patient {
    pub traits: Traits,
    random: Random,
    start: Timestamp,
    second: i64,
    /// Slow changes, shared by what they act on.
    tone: Drift,
    level: Drift,
    rhythm: Drift,
    breathing: Drift,
    shunt: Drift,
    co2: Drift,
    pressure: Drift,
    heat: Drift,
    breath_phase: f64,
    /// Hidden values of the last seconds, newest first, for what the monitor shows late.
    heart_past: [f64; 8],
    saturation_past: [f64; 24],
    shown: Shown,
    cuff_began: Option<i64>,
    cuff: Option<Cuff>,
    artefacts: Artefacts,
    readings: Vec<Reading>,
}

/// Averages as the monitor keeps them.
#[derive(Debug, Clone, Copy)]
struct Shown {
    hr: f64,
    pr: f64,
    spo2: f64,
    rr: f64,
    rr_held: f64,
    awrr: f64,
    awrr_held: f64,
    etco2_held: f64,
    mean: f64,
    pulse_pressure: f64,
}

#[derive(Debug, Clone, Copy)]
struct Cuff {
    at: Timestamp,
    sys: f64,
    dia: f64,
    mean: f64,
}

impl Patient {
    /// A patient of a kind. `artefacts` scales how often sensors fail: 1 as usual, 0 never.
    pub fn new(kind: Kind, seed: u64, start: Timestamp, artefacts: f64) -> Patient {
        let mut random = Random::new(seed);
        let traits = Traits::draw(kind, &mut random);
        Patient::with(traits, random, start, Rates::usual().times(artefacts))
    }

    /// A patient with given traits.
    pub fn with(traits: Traits, mut random: Random, start: Timestamp, rates: Rates) -> Patient {
        let quiet = if traits.kind == Kind::Ventilated { 0.45 } else { 1.0 };
        let t = &traits;
        // The first cuff measurement is somewhere in the first interval, not at second 0 of every bed.
        let first_cuff = (random.uniform() * t.cuff_every_s as f64) as i64;
        let heart = t.heart_rate;
        Patient {
            shown: Shown {
                hr: heart,
                pr: heart,
                spo2: t.saturation,
                rr: t.breathing_rate,
                rr_held: t.breathing_rate,
                awrr: t.breathing_rate,
                awrr_held: t.breathing_rate,
                etco2_held: t.etco2,
                mean: t.mean_pressure,
                pulse_pressure: t.pulse_pressure,
            },
            tone: Drift::new(1500.0, 3.0 * quiet),
            level: Drift::new(45.0, 1.6 * quiet),
            rhythm: Drift::new(2.5, if t.kind == Kind::Irregular { 8.0 } else { 1.1 * quiet }),
            breathing: Drift::new(70.0, if t.kind == Kind::Ventilated { 0.05 } else { 1.5 }),
            shunt: Drift::new(240.0, 0.55),
            co2: Drift::new(90.0, 1.1),
            pressure: Drift::new(35.0, 2.2 * quiet),
            heat: Drift::new(3600.0, 0.12),
            breath_phase: random.uniform(),
            heart_past: [heart; 8],
            saturation_past: [t.saturation; 24],
            cuff_began: Some(-first_cuff),
            cuff: None,
            artefacts: Artefacts::new(rates),
            readings: Vec::with_capacity(16),
            traits,
            random,
            start,
            second: 0,
        }
    }

    /// The next second; its readings stay until the next call.
    pub fn step(&mut self) -> &[Reading] {
        let at = self.start.plus_ms(self.second * 1000);
        let t = self.traits;
        let decline = match t.kind {
            Kind::Deteriorating => ((self.second - t.decline_at_s) as f64 / DECLINE_S).clamp(0.0, 1.0),
            _ => 0.0,
        };
        // A day has its night: lowest towards five in the morning (UTC of the recording; the model has no other clock).
        let hours = at.ms().rem_euclid(86_400_000) as f64 / 3_600_000.0;
        let day = ((hours - 17.0) / 24.0 * std::f64::consts::TAU).cos() * if t.kind == Kind::Ventilated { 0.3 } else { 1.0 };

        let tone = self.tone.step(&mut self.random);
        let breathing = self.breathing.step(&mut self.random);
        let rate = (t.breathing_rate + breathing + 12.0 * decline + 0.4 * day).clamp(5.0, 45.0);
        self.breath_phase += rate / 60.0;
        let breath_ends = self.breath_phase >= 1.0;
        self.breath_phase = self.breath_phase.fract();
        let breath = (self.breath_phase * std::f64::consts::TAU).sin();

        // Heart: slow tone, minutes, breath (respiratory sinus arrhythmia), beat to beat.
        let sinus_arrhythmia = match t.kind {
            Kind::Healthy | Kind::Hypertensive => 1.8,
            Kind::Deteriorating => 1.2 * (1.0 - decline),
            Kind::Irregular => 0.0,
            Kind::Ventilated => 0.5,
        };
        let heart = t.heart_rate
            + tone
            + self.level.step(&mut self.random)
            + self.rhythm.step(&mut self.random)
            + sinus_arrhythmia * breath
            + 38.0 * decline
            + 2.5 * day;
        let heart = heart.clamp(28.0, 190.0);
        self.heart_past.rotate_right(1);
        self.heart_past[0] = heart;

        // Gas: slow breathing lets CO2 rise; the shunt takes saturation.
        let ventilation = rate / t.breathing_rate;
        let co2 = t.etco2 + self.co2.step(&mut self.random) - 7.0 * (ventilation - 1.0).clamp(-0.6, 1.2) + 2.0 * decline;
        let saturation =
            t.saturation + self.shunt.step(&mut self.random) - 11.0 * decline + 1.2 * (ventilation - 1.0).clamp(-0.5, 0.3);
        self.saturation_past.rotate_right(1);
        self.saturation_past[0] = saturation.clamp(50.0, 99.7);

        // Pressure: the baroreflex leans against the heart's slow tone; Mayer waves; the breath.
        let mayer = (self.second as f64 * 0.1 * std::f64::consts::TAU).sin();
        let mean = t.mean_pressure + self.pressure.step(&mut self.random) - 0.5 * tone + 0.9 * mayer + 1.0 * breath
            - 22.0 * decline
            + 3.0 * day;
        let beat = if t.kind == Kind::Irregular { 2.5 * self.random.normal() } else { 0.5 * self.random.normal() };
        let pulse_pressure = (t.pulse_pressure - 0.12 * (heart - t.heart_rate) + beat - 12.0 * decline).max(14.0);

        self.show(heart, rate, co2, breath_ends, mean, pulse_pressure);
        self.measure_cuff(at);
        let temperature = t.temperature + self.heat.step(&mut self.random) + 0.15 * day + 0.8 * decline;
        self.read(at, temperature);
        let cuff_squeezes =
            self.cuff_began.is_some_and(|began| self.second - began < CUFF_S && began >= 0) && t.cuff_on_oximeter_arm;
        self.artefacts.apply(self.second, cuff_squeezes, &mut self.random, &mut self.readings);
        self.second += 1;
        &self.readings
    }

    /// What the monitor makes of it: averages, delays, holds.
    fn show(&mut self, heart: f64, rate: f64, co2: f64, breath_ends: bool, mean: f64, pulse_pressure: f64) {
        let s = &mut self.shown;
        let irregular = self.traits.kind == Kind::Irregular;
        // ECG: about eight beats; oximeter: a longer average, two seconds later, and beats too weak to reach the finger.
        s.hr += (heart - s.hr) / 5.0;
        let deficit = if irregular { 2.0 } else { 0.0 };
        s.pr += (self.heart_past[2] - deficit + 0.3 * self.random.normal() - s.pr) / 7.0;
        // Oximeters show the lung of ten to twenty seconds ago.
        s.spo2 += (self.saturation_past[14] - s.spo2) / 8.0;
        s.rr += (rate + 0.8 * self.random.normal() - s.rr) / 12.0;
        s.awrr += (rate + 0.15 * self.random.normal() - s.awrr) / 20.0;
        if breath_ends {
            // Numbers of a breath change when a breath ends, and not with every one.
            if self.random.uniform() < 0.5 {
                s.rr_held = s.rr;
                s.awrr_held = s.awrr;
            }
            if self.random.uniform() < 0.6 {
                s.etco2_held = co2 + 0.4 * self.random.normal();
            }
        }
        s.mean += (mean - s.mean) / 2.5;
        s.pulse_pressure += (pulse_pressure - s.pulse_pressure) / 3.0;
    }

    fn measure_cuff(&mut self, at: Timestamp) {
        let began = self.cuff_began.unwrap_or(0);
        if self.second - began >= self.traits.cuff_every_s {
            self.cuff_began = Some(self.second);
        } else if self.second - began == CUFF_S && began >= 0 {
            // A cuff is off by a few mmHg, as a whole.
            let off = 2.5 * self.random.normal().clamp(-2.0, 2.0) + 2.0;
            let (mean, pp, k) = (self.shown.mean + off, self.shown.pulse_pressure, self.traits.form_factor);
            self.cuff = Some(Cuff { at, sys: (mean + (1.0 - k) * pp).round(), dia: (mean - k * pp).round(), mean: mean.round() });
        }
    }

    fn read(&mut self, at: Timestamp, temperature: f64) {
        let (s, t) = (self.shown, self.traits);
        let (sys, dia) = (s.mean + (1.0 - t.form_factor) * s.pulse_pressure, s.mean - t.form_factor * s.pulse_pressure);
        let list = &mut self.readings;
        list.clear();
        let mut push = |parameter, value: f64, effective_at| {
            list.push(Reading { parameter, value: Some(value), mark: Mark::None, effective_at });
        };
        push(Parameter::Hr, s.hr.round(), at);
        push(Parameter::Rr, s.rr_held.round(), at);
        push(Parameter::Spo2, s.spo2.round().min(100.0), at);
        push(Parameter::Pr, s.pr.round(), at);
        if t.capnograph {
            push(Parameter::Awrr, s.awrr_held.round(), at);
            push(Parameter::Etco2, s.etco2_held.round().max(0.0), at);
        }
        if t.arterial_line {
            push(Parameter::AbpSys, sys.round(), at);
            push(Parameter::AbpMean, s.mean.round(), at);
            push(Parameter::AbpDia, dia.round(), at);
        }
        push(Parameter::Temp, (temperature * 10.0).round() / 10.0, at);
        if let Some(cuff) = self.cuff {
            push(Parameter::NibpSys, cuff.sys, cuff.at);
            push(Parameter::NibpMean, cuff.mean, cuff.at);
            push(Parameter::NibpDia, cuff.dia, cuff.at);
        }
    }
}

#[cfg(test)]
mod tests;
