//! One-line stories: a row of values in, a row of flags out.
//!
//! A story is text; a token is one message. `72/70` gives a value to each of the story's parameters, `-` is a row without a
//! value, `_` is no row, `~` is no message (time passes and deadlines come), and `72/70x30` is the token thirty times. The
//! answer has one letter a token, of its last repetition: `F`ail, `S`uspect, `P`ass, or `.` where the check did not look.

mod coherence;
mod echoes;
mod recordings;
mod stochastic;
mod timing;

use super::{Flag, Judge, Verdict, Verdicts, View};
use crate::bed::{Bed, Bond};
use crate::calibration::Calibrations;
use crate::clockwork::{Clocks, From, Hands, Reading};
use crate::observation::{AgeBand, Device, ObsFlags, Observation, Report, Source, Span, TimeSource, Validity};
use crate::population::Population;
use crate::profile::Profile;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};

/// An observation as a good feed sends it.
pub fn observation(parameter: Parameter, value: f64, effective_at: Timestamp) -> Observation {
    Observation {
        parameter,
        channel: 0,
        value,
        validity: Validity::Valid,
        flags: ObsFlags::default(),
        limits: (f64::NAN, f64::NAN),
        effective_at,
        time_source: TimeSource::Obx14,
        device: 0,
        ordinal: parameter as u16,
        set_id: parameter as u32 + 1,
        segment: Span::default(),
        value_text: Span::default(),
        unit_hash: 7,
    }
}

/// The thresholds of P05 as they come.
fn clock_limits() -> crate::clockwork::Limits {
    super::clock_shift::Check::default().limits()
}

/// The generic profile as if a person had reviewed it.
pub fn reviewed() -> Profile {
    let mut profile = Profile::default();
    profile.reviewed = true;
    profile
}

/// Every finding has an engineer's sentence of its variant, and every argument that a sentence names is in the verdict.
fn can_be_said(verdict: &Verdict) {
    static TEXTS: std::sync::OnceLock<toml::Table> = std::sync::OnceLock::new();
    let texts = TEXTS.get_or_init(|| include_str!("../../models/texts/checks.toml").parse().expect("the texts are TOML"));
    let id = verdict.check.meta().id;
    for reader in ["nurse", "engineer"] {
        let Some(variants) = texts[id].get(reader).and_then(toml::Value::as_table) else { continue };
        let sentences = variants.get(verdict.text).or_else(|| variants.get("default"));
        assert!(sentences.is_some() || reader == "nurse", "{id} has no {reader} sentence {:?}", verdict.text);
        let Some(sentence) = sentences.and_then(|s| s.get("en")).and_then(toml::Value::as_str) else { continue };
        for name in sentence.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(verdict.args.iter().any(|a| a.0 == name), "{id} {}: {{{name}}} is not in the verdict", verdict.text);
        }
    }
}

/// A check, the bed it looks at, and the time.
pub struct Story<C: Judge> {
    pub check: C,
    pub state: C::State,
    pub bed: Bed,
    pub population: Population,
    pub profile: Profile,
    pub calibrations: Calibrations,
    pub source: Source,
    pub sender: u64,
    /// What is known of the next message's identity.
    pub bond: Bond,
    pub now: Timestamp,
    pub step_s: f64,
    pub params: Vec<Parameter>,
    pub verdicts: Verdicts,
    /// What is known of the next message's time.
    pub clock: Reading,
    /// The last failing verdict.
    pub found: Option<Verdict>,
    messages: u64,
}

impl<C: Judge + Default> Story<C> {
    /// A bed of an adult whose profile is reviewed, one message a second.
    pub fn of(params: &[Parameter]) -> Story<C> {
        let now = Timestamp(1_800_000_000_000);
        let mut bed = Bed::new("icu".into(), "A03".into(), now);
        bed.age = AgeBand::Adult;
        Story {
            check: C::default(),
            state: C::State::default(),
            bed,
            population: Population::default(),
            profile: reviewed(),
            calibrations: Calibrations::default(),
            source: Source {
                feed: "test".into(),
                peer: "192.0.2.7".into(),
                connection: 1,
                ward: "icu".into(),
                dialect: None,
                zone: None,
                ..Source::default()
            },
            sender: 1,
            bond: Bond::NONE,
            now,
            step_s: 1.0,
            params: params.to_vec(),
            verdicts: Verdicts::default(),
            clock: Reading::default(),
            found: None,
            messages: 0,
        }
    }

    pub fn every(mut self, step_s: f64) -> Self {
        self.step_s = step_s;
        self
    }

    /// A message with these rows, as the next one would be.
    pub fn report(&mut self, rows: Vec<Observation>) -> Report {
        self.messages += 1;
        let mut body_hash = [0u8; 16];
        body_hash[..8].copy_from_slice(&self.messages.to_le_bytes());
        Report {
            kind: crate::observation::MessageKind::Vitals,
            dialect: "test",
            application: "MON".into(),
            control_id: format!("M{:06}", self.messages),
            control_id_is_id: true,
            control_id_is_plain: true,
            message_type: "ORU".into(),
            trigger: "R01".into(),
            processing: "P".into(),
            version: "2.6".into(),
            sent_at: Some(self.now),
            received_at: self.now,
            devices: vec![Device::default()],
            structure: rows.iter().map(|o| o.parameter as u32 + 1000).collect(),
            observations: rows,
            body_hash,
            ..Report::default()
        }
    }

    /// Judges one message at the present time and lets the bed learn as the monitor does. The flag's letter.
    pub fn send(&mut self, report: &Report) -> char {
        self.verdicts.clear();
        let view = View::message(self.now, report, &self.source, self.sender, &self.bed, &self.population, &self.profile)
            .with_bond(&self.bond)
            .with_clock(self.clock);
        let view = View { calibrations: &self.calibrations, ..view };
        self.check.judge(&mut self.state, &view, &mut self.verdicts);
        let flag = self.flag();
        let fails = self.verdicts.list.iter().filter(|v| v.flag == Flag::Fail && !v.is_report_only());
        let doubted = fails.fold(ParamSet::EMPTY, |s, v| s.union(v.params));
        for o in &report.observations {
            if !self.clock.is_live() {
                self.bed.note_past(o, self.now);
            } else if !o.validity.usable() {
                self.bed.note_absent(o.parameter, o.channel, o.validity, self.now);
            } else if self.profile.is_sentinel(o.parameter, o.value) {
                self.bed.note_absent(o.parameter, o.channel, Validity::Sentinel, self.now);
            } else if doubted.contains(o.parameter) {
                self.bed.note_doubted(o, self.now);
            } else {
                self.bed.learn(&self.population, o, self.now, false);
            }
        }
        self.bed.note_message(self.now);
        flag
    }

    /// Time passes without a message up to now: every deadline comes.
    pub fn wait(&mut self) -> char {
        let mut flag = '.';
        for _ in 0..100 {
            let deadline = self.check.deadline(&self.state, &self.bed, &self.profile);
            if deadline > self.now {
                return flag;
            }
            self.verdicts.clear();
            let view = View::moment(deadline, &self.bed, &self.population, &self.profile);
            self.check.judge(&mut self.state, &view, &mut self.verdicts);
            flag = self.flag();
        }
        panic!("the deadline does not move on");
    }

    fn flag(&mut self) -> char {
        let worst = self.verdicts.list.iter().map(|v| v.flag).max();
        if let Some(verdict) = self.verdicts.list.iter().find(|v| v.flag == Flag::Fail) {
            can_be_said(verdict);
            self.found = Some(verdict.clone());
        }
        match worst {
            Some(Flag::Fail) => 'F',
            Some(Flag::Suspect) => 'S',
            Some(_) => 'M',
            None if self.verdicts.passed_any() => 'P',
            None => '.',
        }
    }

    /// Tells a story; see the module.
    pub fn tell(&mut self, text: &str) -> String {
        let mut flags = String::new();
        for token in text.split_whitespace() {
            let (values, times) = token.split_once('x').map_or((token, 1), |(v, n)| (v, n.parse().expect("a count")));
            let mut flag = '.';
            for _ in 0..times {
                self.now = self.now.plus_s(self.step_s);
                let waited = self.wait();
                if values == "~" {
                    flag = waited;
                    continue;
                }
                let mut rows = Vec::new();
                for (parameter, value) in self.params.clone().iter().zip(values.split('/')) {
                    let mut o = observation(*parameter, f64::NAN, self.now);
                    match value {
                        "_" => continue,
                        "-" => o.validity = Validity::Absent,
                        number => o.value = number.parse().expect("a number"),
                    }
                    rows.push(o);
                }
                let report = self.report(rows);
                flag = self.send(&report);
            }
            flags.push(flag);
        }
        flags
    }
}

/// A story whose messages' own times are followed.
pub struct Clocked<C: Judge> {
    pub story: Story<C>,
    pub clocks: Clocks,
    hands: Hands,
    /// Before each message another bed of the sender is heard, on time.
    pub other_bed: bool,
    other: Hands,
}

impl<C: Judge + Default> Clocked<C> {
    pub fn of(params: &[Parameter]) -> Clocked<C> {
        let (hands, other) = (Hands::default(), Hands::default());
        Clocked { story: Story::of(params), clocks: Clocks::default(), hands, other_bed: false, other }
    }

    /// One message a second whose own time lies this far before receipt, seconds; all of them so many times.
    pub fn late_by(&mut self, latencies_s: &[f64], times: usize) -> String {
        let mut flags = String::new();
        for _ in 0..times {
            for latency in latencies_s {
                self.story.now = self.story.now.plus_s(1.0);
                let own = self.story.now.plus_s(-latency);
                flags.push(self.send(vec![observation(Parameter::Hr, 72.0, own)], own));
            }
        }
        flags
    }

    /// Judges a message with these rows and this MSH-7.
    pub fn send(&mut self, rows: Vec<Observation>, sent_at: Timestamp) -> char {
        let now = self.story.now;
        let from = |bed| From { sender: 1, device: "dev-00000001", bed };
        if self.other_bed {
            let mut report = self.story.report(vec![observation(Parameter::Hr, 72.0, now)]);
            report.sent_at = Some(now);
            self.clocks.hear(from(1), &mut self.other, &report, now, clock_limits(), |_| false);
        }
        let mut report = self.story.report(rows);
        report.sent_at = Some(sent_at);
        self.story.clock = self.clocks.hear(from(0), &mut self.hands, &report, now, clock_limits(), |_| false).0;
        self.story.send(&report)
    }
}

/// The shortest story: one check, its parameters, one message a second.
pub fn story<C: Judge + Default>(params: &[Parameter], text: &str) -> String {
    Story::<C>::of(params).tell(text)
}
