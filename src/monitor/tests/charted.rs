//! What a clinical system has charted beside, and in place of, a monitor.

use super::*;
use crate::alert::Trust;

/// A message of a clinical system for a bed.
fn charted(bed: &str, n: usize, now: Timestamp, hr: u32) -> Vec<u8> {
    let t = now.to_string()[..19].replace(['-', ':', 'T'], "");
    format!(
        "MSH|^~\\&|METAVISION|ICU|||{t}+0000||ORU^R01|MV{n}|P|2.4\rPID|||P-{bed}^^^HOSP^MR\rPV1||I|ICU^^{bed}\r\
         OBR|1|||VITALS^Vitals^MV|||{t}+0000\rOBX|1|NM|HR^Heart Rate^MV||{hr}|/min|||||F|||{t}+0000\r\
         OBX|2|NM|CVP^Central Venous Pressure^MV||8|mm[Hg]|||||F|||{t}+0000\r"
    )
    .into_bytes()
}

impl Ward {
    /// Speaks as METAVISION over another connection, which the site has named as a clinical system or not.
    fn chart(&mut self, bed: &str, hr: u32, named: bool) {
        self.sequence += 1;
        let source =
            Source { peer: "192.0.2.66".into(), connection: 2, dialect: named.then(|| "metavision".to_owned()), ..self.source() };
        let bytes = charted(bed, self.sequence as usize, self.now, hr);
        self.monitor.handle_frame(&source, self.sequence, &bytes, self.now);
        self.drain();
    }
    fn shown(&self, bed: &str, key: &str) -> (Option<f64>, Trust) {
        let id = self.monitor.bed_id("icu", bed).expect("a bed");
        let state = self.monitor.bed_state(id, self.now).expect("a bed");
        let (_, found) = state.params.0.into_iter().find(|(p, _)| p.key() == key).expect("a parameter");
        (found.value.map(|v| v.0), found.trust)
    }
}

#[test]
fn a_bed_that_only_a_clinical_system_speaks_of_is_never_plausible() {
    let mut w = Ward::new();
    for n in 0..120 {
        w.chart("A01", 60 + n % 9, true);
        w.wait(60.0);
    }
    w.chart("A01", 66, true);
    assert_eq!(w.shown("A01", "hr"), (Some(66.0), Trust::Learning));
    assert_eq!(w.trust("A01"), Trust::Learning);
}

#[test]
fn a_clinical_system_neither_displaces_the_monitor_nor_hides_its_silence() {
    let mut w = Ward::new();
    for n in 0..2400 {
        let living = w.living();
        w.tell("A01", &living);
        if n % 60 == 0 {
            w.chart("A01", 140, true);
        }
        w.wait(1.0);
    }
    let (hr, trust) = w.shown("A01", "hr");
    assert!(hr.is_some_and(|hr| hr < 80.0) && trust == Trust::Plausible, "{hr:?} {trust:?}");
    assert_eq!(w.shown("A01", "cvp"), (Some(8.0), Trust::Learning), "what no monitor measures shows, and shows that");
    assert_eq!(w.trust("A01"), Trust::Plausible);
    for _ in 0..120 {
        w.chart("A01", 72, true);
        w.wait(1.0);
    }
    assert_eq!(w.trust("A01"), Trust::Nofeed);
    assert!(w.events.iter().any(|e| e.alert.evidence.iter().any(|c| c.check == "M03")), "the silence is told");
}

#[test]
fn who_only_calls_itself_a_clinical_system_is_judged_like_every_sender() {
    let mut w = Ward::new();
    for n in 0..900 {
        let living = w.living();
        w.tell("A01", &living);
        if n >= 600 {
            w.chart("A01", 140, false);
        }
        w.wait(1.0);
    }
    assert!(w.events.iter().any(|e| e.alert.evidence.iter().any(|c| c.check == "P02")), "a second sender");
    let mut w = Ward::new();
    for _ in 0..60 {
        w.chart("A02", 900, false);
        w.wait(5.0);
    }
    assert!(!w.events.is_empty(), "no heart beats so");
}
