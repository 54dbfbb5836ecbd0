//! All checks of a bed on one message of twelve values, in the steady state: time and allocations.
//!
//! `cargo bench --bench checks`. Bar: 3 µs a message, no allocation while everything passes.

use vitalguard::bed::Bed;
use vitalguard::check::{Checks, States, Verdicts, View};
use vitalguard::observation::{AgeBand, Device, MessageKind, ObsFlags, Observation, Report, Source, Span, TimeSource, Validity};
use vitalguard::population::Population;
use vitalguard::profile::Profile;
use vitalguard::time::Timestamp;
use vitalguard::vital::Parameter;

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const PARAMETERS: [Parameter; 12] = [
    Parameter::Hr,
    Parameter::Pr,
    Parameter::Rr,
    Parameter::Spo2,
    Parameter::Awrr,
    Parameter::Etco2,
    Parameter::Temp,
    Parameter::AbpSys,
    Parameter::AbpMean,
    Parameter::AbpDia,
    Parameter::Cvp,
    Parameter::PerfIndex,
];
const LEVEL: [f64; 12] = [72.0, 72.0, 15.0, 97.0, 15.0, 36.0, 36.8, 120.0, 86.0, 66.0, 8.0, 3.0];

struct Ward {
    checks: Checks,
    states: States,
    bed: Bed,
    population: Population,
    profile: Profile,
    source: Source,
    verdicts: Verdicts,
    report: Report,
    second: u64,
}

impl Ward {
    fn warm() -> Ward {
        let at = Timestamp(1_800_000_000_000);
        let mut bed = Bed::new("icu".into(), "A03".into(), at);
        bed.age = AgeBand::Adult;
        let mut report = Report {
            kind: MessageKind::Vitals,
            dialect: "test",
            processing: "P".into(),
            version: "2.6".into(),
            devices: vec![Device::default()],
            control_id_is_id: true,
            control_id: "MSG00000000000000000000".into(),
            ..Report::default()
        };
        for (ordinal, parameter) in PARAMETERS.into_iter().enumerate() {
            report.structure.push(1000 + ordinal as u32);
            report.observations.push(Observation {
                parameter,
                channel: 0,
                value: 0.0,
                validity: Validity::Valid,
                flags: ObsFlags::default(),
                limits: (f64::NAN, f64::NAN),
                effective_at: at,
                time_source: TimeSource::Obx14,
                device: 0,
                ordinal: ordinal as u16,
                set_id: ordinal as u32 + 1,
                segment: Span::default(),
                value_text: Span::default(),
                unit_hash: 7,
            });
        }
        let source = Source {
            feed: "bench".into(),
            peer: "192.0.2.7".into(),
            connection: 1,
            ward: "icu".into(),
            dialect: None,
            zone: None,
            ..Source::default()
        };
        let mut ward = Ward {
            checks: Checks::default(),
            states: States::default(),
            bed,
            population: Population::default(),
            profile: Profile::default(),
            source,
            verdicts: Verdicts::default(),
            report,
            second: 0,
        };
        for _ in 0..8000 {
            ward.next();
            ward.judge();
            ward.learn();
        }
        ward
    }

    /// Makes the message of the next second.
    fn next(&mut self) {
        use std::fmt::Write;
        self.second += 1;
        let now = Timestamp(1_800_000_000_000 + self.second as i64 * 1000);
        self.report.received_at = now;
        self.report.control_id.clear();
        let _ = write!(self.report.control_id, "MSG{:08}", self.second);
        self.report.body_hash[..8].copy_from_slice(&self.second.to_le_bytes());
        for (at, o) in self.report.observations.iter_mut().enumerate() {
            o.effective_at = now;
            // No two minutes are alike: a multiplicative hash of the second's share, in place of a random number.
            let share = self.second / (2 + at as u64 % 3);
            let turn = (share + 31 * at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            o.value = LEVEL[at] + (turn % 3) as f64 * if at == 6 { 0.1 } else { 1.0 };
        }
    }

    fn judge(&mut self) {
        self.verdicts.clear();
        let (now, report) = (self.report.received_at, &self.report);
        let view = View::message(now, report, &self.source, 1, &self.bed, &self.population, &self.profile);
        self.checks.judge(&mut self.states, &view, &mut self.verdicts);
        assert!(self.verdicts.list.is_empty(), "{:?}", self.verdicts.list);
    }

    fn learn(&mut self) {
        for o in &self.report.observations {
            self.bed.learn(&self.population, o, self.report.received_at, false);
        }
        self.bed.note_message(self.report.received_at);
    }
}

/// Sixty messages an iteration, so that fixed costs and the clock do not count: divide by sixty.
#[divan::bench]
fn judge_and_learn_60_messages_of_12_values(bencher: divan::Bencher) {
    let mut ward = Ward::warm();
    bencher.bench_local(move || {
        for _ in 0..60 {
            ward.next();
            ward.judge();
            ward.learn();
        }
    });
}

/// The same without the checks: what making and learning the message costs.
#[divan::bench]
fn learn_60_messages_of_12_values(bencher: divan::Bencher) {
    let mut ward = Ward::warm();
    bencher.bench_local(move || {
        for _ in 0..60 {
            ward.next();
            ward.learn();
        }
    });
}
