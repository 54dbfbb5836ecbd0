//! What one bed was told, taken down so that it can be judged again elsewhere: decoded reports, with hashes where identities were.
//!
//! One contract: told in the same order to a monitor of the same state and settings, they have the same effect on this bed as
//! the messages had; nobody is named in them. What the bed's verdicts owe to other beds, to ADT or to a second copy of its feed
//! is not in them.

use super::Monitor;
use super::senders::Keyed;
use crate::bed::Permit;
use crate::hl7::dialect::Tables;
use crate::observation::{AdtDetail, AgeBand, Report, Source};
use crate::population::band_of;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const DAY_S: f64 = 86_400.0;
/// An age within each band, days.
const AGES_D: [f64; 5] = [1.0, 180.0, 6.0 * 365.25, 15.0 * 365.25, 50.0 * 365.25];

/// What the hidden words of a message amounted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    sender: u64,
    device: String,
    peer: String,
    /// Of the devices behind the first.
    others: Vec<String>,
    patient: u64,
    pub permit: Permit,
    pub quarantined: bool,
}

impl Told {
    pub fn sender(&self) -> (u64, Arc<str>, Arc<str>) {
        (self.sender, Arc::from(self.device.as_str()), Arc::from(self.peer.as_str()))
    }
}

/// A message as it was judged: its values, marks and times, and hashes of who and what it named.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heard {
    /// Number of the frame, and place of the message in it.
    pub sequence: u64,
    part: u16,
    pub at: Timestamp,
    source: Source,
    dialect: String,
    told: Told,
    report: Report,
}

impl Heard {
    /// Rows of its longest list.
    pub fn rows(&self) -> usize {
        let r = &self.report;
        let lists = [r.observations.len(), r.alarms.len(), r.rejects.len(), r.twins.len(), r.devices.len(), r.structure.len()];
        lists.into_iter().chain([self.told.others.len()]).max().unwrap_or_default()
    }
}

/// `dev-…` of a device, as it is published under the site's key.
pub fn published_device(site_key: &[u8], key: &str) -> String {
    Keyed::new(site_key).short("dev", &[key])
}

/// Takes down what a bed is told.
#[derive(Debug)]
pub(super) struct Tape {
    ward: String,
    bed: String,
    /// Also leaves out what devices call themselves.
    masked: bool,
    heard: Vec<Heard>,
}

impl Monitor {
    /// From now on what this bed is told is taken down. `masked`: without the words of devices.
    pub fn record(&mut self, ward: &str, bed: &str, masked: bool) {
        let (ward, bed) = (ward.to_owned(), bed.to_owned());
        self.tape = Some(Box::new(Tape { ward, bed, masked, heard: Vec::new() }));
    }

    /// What was taken down since the last call.
    pub fn recorded(&mut self) -> Vec<Heard> {
        self.tape.as_mut().map(|tape| std::mem::take(&mut tape.heard)).unwrap_or_default()
    }

    /// A message that was taken down, told again.
    pub fn handle_heard(&mut self, heard: &Heard) {
        let at = self.advance(heard.at);
        self.frame = (heard.sequence, heard.part);
        let mut report = heard.report.clone();
        report.dialect = Tables::embedded().iter().find(|table| table.name == heard.dialect).map_or("", |table| table.name);
        self.told = Some(Box::new(heard.told.clone()));
        self.report(&heard.source, heard.sequence, true, &mut report, None, at);
        self.told = None;
        self.together(at);
    }

    /// The hash of the patient whom a message names; 0: it names nobody.
    pub(super) fn patient_of(&mut self, report: &Report) -> u64 {
        if let Some(told) = &self.told {
            return told.patient;
        }
        match self.keyed.patient(&report.subject.patient) {
            0 => 0,
            named => self.registry.aliases.resolve(named),
        }
    }

    /// `dev-…` of a device behind the first one of a message.
    pub(super) fn further_device(&mut self, report: &Report, index: usize) -> Arc<str> {
        match self.told.as_ref().and_then(|told| told.others.get(index.checked_sub(1)?)) {
            Some(id) => Arc::from(id.as_str()),
            None => Arc::clone(&self.keyed.sender("", "", "", &report.devices[index].key).device),
        }
    }

    pub(super) fn note_on_tape(
        &mut self,
        number: u32,
        source: &Source,
        report: &Report,
        (sender, device, peer): (u64, &str, &str),
        (permit, quarantined): (Permit, bool),
        at: Timestamp,
    ) {
        let cell = &self.cells[number as usize].bed;
        let Some(masked) = self.tape.as_ref().filter(|tape| tape.ward == cell.ward && tape.bed == cell.bed).map(|t| t.masked)
        else {
            return;
        };
        let others = (1..report.devices.len()).map(|index| self.further_device(report, index).to_string()).collect();
        let (device, peer, patient) = (device.to_owned(), peer.to_owned(), self.patient_of(report));
        let shown = self.keyed.message_id(&report.control_id, report.control_id_is_plain);
        let heard = Heard {
            sequence: self.frame.0,
            part: self.frame.1,
            at,
            source: Source { peer: peer.clone(), certificate: None, ..source.clone() },
            dialect: report.dialect.to_owned(),
            told: Told { sender, device, peer, others, patient, permit, quarantined },
            report: without_identities(report, shown, masked, at),
        };
        if let Some(tape) = &mut self.tape {
            tape.heard.push(heard);
        }
    }
}

/// The report with nobody in it. `shown`: MSH-10 as it may be published.
fn without_identities(report: &Report, shown: Option<String>, masked: bool, at: Timestamp) -> Report {
    let mut report = report.clone();
    report.subject.patient.clear();
    report.subject.birth = report.subject.birth.map(|birth| stand_in(band_of(Some(birth), at), at));
    report.adt = AdtDetail::default();
    report.control_id = shown.unwrap_or_default();
    report.control_id_is_plain = true;
    for device in &mut report.devices {
        device.key.clear();
    }
    let first = |text: &mut String| text.truncate(text.find('^').unwrap_or(text.len()));
    first(&mut report.application);
    first(&mut report.facility);
    if masked {
        for device in &mut report.devices {
            device.declared.clear();
            device.names.clear();
        }
    }
    report
}

/// A date of birth of the same band.
fn stand_in(band: AgeBand, at: Timestamp) -> Timestamp {
    let age_d = AGES_D.into_iter().find(|days| band_of(Some(at.plus_s(-days * DAY_S)), at) == band);
    // Of no band: not born yet.
    at.plus_s(age_d.map_or(30.0, |days| -days) * DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Verb, Via};
    use crate::monitor::{Output, Settings};

    const PID: &str = "PID|||TOKENID^^^H^MR||TOKENNAME^Ada||19500304|F\r";

    fn message(n: u32, hr: u32) -> Vec<u8> {
        let at = format!("202601011200{:02}", n % 60);
        format!(
            "MSH|^~\\&|MON^00A0370000000001^EUI-64|H|||{at}+0000||ORU^R01^ORU_R01|TOKEN {n}|P|2.6\r{PID}PV1||I|icu^^A01\r\
             OBR|1|||182777000^monitoring of patient^SCT|||{at}+0000\r\
             OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.147842|{hr}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||{at}+0000\r"
        )
        .into_bytes()
    }

    fn events(monitor: &mut Monitor, out: &mut Vec<crate::alert::AlertEvent>) {
        while let Some(output) = monitor.poll_output() {
            if let Output::Alert(event) = output {
                out.push(*event);
            }
        }
    }

    #[test]
    fn what_a_bed_was_told_has_the_same_effect_again_and_names_nobody() {
        let mut live = Monitor::new(Settings { site_key: b"secret".to_vec(), ..Settings::default() });
        let at = |n: u32| Timestamp::from_ms(1_767_268_800_000 + i64::from(n) * 1_000);
        let source = Source {
            feed: "mllp".into(),
            peer: "192.0.2.7".into(),
            connection: 1,
            certificate: Some("CN=TOKENCERT".into()),
            ..Source::default()
        };
        for n in 0..20 {
            live.handle_frame(&source, u64::from(n), &message(n, 70 + n % 3), at(n));
        }
        while live.poll_output().is_some() {}
        let elsewhere = Settings::default();
        let state = live.snapshot_apart("icu", "A01", &elsewhere);
        let text = String::from_utf8_lossy(&state);
        assert!(!text.contains("TOKEN") && !text.contains("00A0370000000001"), "{text}");
        live.record("icu", "A01", true);
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for n in 20..50 {
            live.handle_frame(&source, u64::from(n), &message(n, if n > 30 { 400 } else { 71 }), at(n));
            events(&mut live, &mut first);
        }
        live.handle_timeout(at(200));
        events(&mut live, &mut first);
        let heard = live.recorded();
        assert_eq!(heard.len(), 30);
        let bytes = postcard::to_stdvec(&heard).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(["TOKEN", "00A037", "192.0.2.7"].iter().all(|word| !text.contains(word)), "{text}");
        let heard: Vec<Heard> = postcard::from_bytes(&bytes).unwrap();
        let mut other = Monitor::restore(elsewhere, &state).unwrap();
        for one in &heard {
            other.handle_heard(one);
            events(&mut other, &mut again);
        }
        other.handle_timeout(at(200));
        events(&mut other, &mut again);
        assert!(!first.is_empty());
        assert_eq!(first, again);
    }

    #[test]
    fn what_people_wrote_of_another_alert_of_the_bed_stays_behind() {
        let mut live = Monitor::new(Settings { site_key: b"secret".to_vec(), ..Settings::default() });
        let at = |n: u32| Timestamp::from_ms(1_767_268_800_000 + i64::from(n) * 1_000);
        let (source, mut raised) = (Source { feed: "mllp".into(), connection: 1, ..Source::default() }, Vec::new());
        for n in 0..50 {
            live.handle_frame(&source, u64::from(n), &message(n, if n > 20 { 400 } else { 71 }), at(n));
            events(&mut live, &mut raised);
        }
        live.handle_timeout(at(200));
        events(&mut live, &mut raised);
        let alert = raised.last().expect("an alert").alert.id.clone();
        let verb = Verb::Ack { alert, rev: None, comment: Some("TOKENCOMMENT".into()) };
        let (request_id, user) = ("r1".into(), "nurse7".into());
        let command = Command { request_id, user, via: Via::Web, expires: None, wards: Vec::new(), verb };
        live.handle_command(&command, 1, at(201));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(text(&live.snapshot()).contains("TOKENCOMMENT"), "the alert was acknowledged");
        let apart = text(&live.snapshot_apart("icu", "A01", &Settings::default()));
        assert!(apart.contains("nurse7") && !apart.contains("TOKEN"), "{apart}");
    }

    #[test]
    fn a_date_of_birth_becomes_one_of_the_same_band() {
        let at = Timestamp::from_ms(1_767_268_800_000);
        for days in [0.5, 20.0, 40.0, 200.0, 900.0, 4_600.0, 9_000.0, 40_000.0, -3.0, 60_000.0] {
            let band = band_of(Some(at.plus_s(-days * DAY_S)), at);
            let other = stand_in(band, at);
            assert_eq!(band_of(Some(other), at), band, "{days}");
        }
    }
}
