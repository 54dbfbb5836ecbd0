//! What people do, and what becomes of it.

use super::*;
use crate::check::{Assessment, Priority};
use crate::vital::Parameter;

impl Ward {
    fn order(&mut self, request: &str, verb: Verb) -> Response {
        let command =
            Command { request_id: request.into(), user: "nurse7".into(), via: Via::Web, expires: None, wards: Vec::new(), verb };
        self.monitor.handle_command(&command, 0, self.now);
        self.drain();
        self.responses.last().cloned().expect("every command is answered")
    }
    fn read(&mut self, request: &str, bed: &str, values: &[(Parameter, f64)]) -> Response {
        self.order(request, Verb::SpotCheck { ward: "ICU".into(), bed: bed.into(), values: values.to_vec() })
    }
    fn off(&mut self, request: &str, bed: &str, off: bool) -> Response {
        self.order(request, Verb::BedOff { ward: "ICU".into(), bed: bed.into(), off, reason: Some("theatre".into()) })
    }
}

#[test]
fn two_values_that_differ_at_the_bedside_are_told_at_once_and_end_when_they_agree() {
    let mut w = Ward::new();
    w.live(&["A03"], 120);
    let answer = w.read("r1", "a03", &[(Parameter::Hr, 131.0), (Parameter::Spo2, 84.0), (Parameter::Temp, 36.6)]);
    assert_eq!(answer.refusal, None);
    let agrees: Vec<_> = answer.compared.iter().map(|c| (c.param, c.agrees, c.feed.is_some())).collect();
    assert_eq!(
        agrees,
        [(Parameter::Hr, Some(false), true), (Parameter::Spo2, Some(false), true), (Parameter::Temp, None, false)]
    );
    assert!(answer.compared[0].age_ms.is_some_and(|ms| (0..=2000).contains(&ms)), "{:?}", answer.compared);
    let raised = w.raised("P15").expect("no delay: a person stands there").clone();
    assert_eq!(raised.ts, w.now);
    assert_eq!((raised.alert.assessment, raised.alert.priority), (Assessment::Artefact, Priority::Medium));
    assert_eq!(raised.alert.params, [Parameter::Hr, Parameter::Spo2]);
    assert_eq!(raised.alert.evidence[0].check, "P15");
    assert!(raised.alert.text.en.contains("bedside monitor shows 131"), "{}", raised.alert.text.en);
    assert!(raised.alert.text.it.contains("il monitor al letto mostra 131"), "{}", raised.alert.text.it);
    assert_eq!(w.trust("A03"), Trust::Questioned);
    // It does not end by itself, however long nobody looks.
    w.live(&["A03"], 2000);
    assert!(w.monitor.alert(&raised.alert.id).is_some());
    let (hr, spo2) = {
        let bed = w.monitor.bed_id("icu", "a03").unwrap();
        let params = w.monitor.bed_state(bed, w.now).unwrap().params;
        let value = |p: Parameter| params.0.iter().find(|(q, _)| *q == p).unwrap().1.value.unwrap().0;
        (value(Parameter::Hr), value(Parameter::Spo2))
    };
    let answer = w.read("r2", "A03", &[(Parameter::Hr, hr + 3.0)]);
    assert_eq!(answer.compared[0].agrees, Some(true));
    assert!(w.monitor.alert(&raised.alert.id).is_some(), "SpO2 was not read again");
    w.read("r3", "A03", &[(Parameter::Spo2, spo2)]);
    let last = w.events.last().unwrap();
    assert_eq!((last.event, last.alert.id.as_str(), last.ts), (EventKind::Cleared, raised.alert.id.as_str(), w.now));
    assert_eq!(w.trust("A03"), Trust::Plausible);
}

#[test]
fn nobody_reads_a_bed_that_is_not_there() {
    let mut w = Ward::new();
    w.live(&["A03"], 10);
    assert_eq!(w.read("r1", "A99", &[(Parameter::Hr, 80.0)]).refusal, Some(Refusal::NotFound));
    assert_eq!(w.read("r2", "_ward", &[(Parameter::Hr, 80.0)]).refusal, Some(Refusal::NotFound));
    assert_eq!(w.off("r3", "_selftest", true).refusal, Some(Refusal::NotFound));
    assert_eq!(w.order("r4", Verb::Resync { scope: Some("er".into()) }).refusal, Some(Refusal::NotFound));
    assert_eq!(w.order("r5", Verb::Resync { scope: Some("ICU".into()) }).refusal, None);
}

#[test]
fn a_bed_that_is_switched_off_may_be_silent_and_values_switch_it_on_again() {
    let mut w = Ward::new();
    w.live(&["A03", "A04"], 120);
    w.live(&["A04"], 100);
    assert!(w.raised("M03").is_some_and(|e| e.alert.bed == "A03"), "{:?}", w.told());
    assert_eq!(w.off("r1", "A03", true).refusal, None);
    let ended = w.events.last().unwrap();
    assert_eq!((ended.event, ended.cause, ended.alert.bed.as_str()), (EventKind::Expired, Cause::Operator, "A03"));
    assert_eq!(ended.by.as_ref().map(|by| by.user.as_str()), Some("nurse7"));
    let events = w.events.len();
    w.live(&["A04"], 300);
    assert_eq!((w.trust("A03"), w.events.len()), (Trust::Off, events), "its silence is no news");
    // What the monitor still sends: nothing that measures, and what was on its way.
    w.tell("A03", &[]);
    assert_eq!(w.trust("A03"), Trust::Off);
    w.off("r2", "A03", true);
    w.live(&["A03", "A04"], 60);
    assert_eq!(w.trust("A03"), Trust::Off, "a minute of stragglers");
    w.live(&["A03", "A04"], 3);
    assert_ne!(w.trust("A03"), Trust::Off, "whoever is measured is shown");
    w.off("r3", "A04", true);
    w.live(&["A03"], 200);
    assert_eq!(w.trust("A04"), Trust::Off);
    w.off("r4", "A04", false);
    w.live(&["A03"], 100);
    assert_eq!(w.trust("A04"), Trust::Nofeed, "on again, it is missed");
    assert!(w.events.last().is_some_and(|e| e.alert.bed == "A04" && e.event == EventKind::Raised), "{:?}", w.told());
}

#[test]
fn words_and_a_judgement_are_taken_after_the_end_and_nothing_else_is() {
    let mut w = Ward::new();
    w.live(&["A03"], 120);
    w.read("r1", "A03", &[(Parameter::Hr, 131.0), (Parameter::Spo2, 84.0)]);
    let alert = w.raised("P15").unwrap().alert.id.clone();
    let rate = |useful| Verb::Rate { alert: alert.clone(), useful };
    assert_eq!(w.order("r2", rate(true)).alert_state.as_deref(), Some("active"));
    w.live(&["A03"], 40);
    w.read("r3", "A03", &[(Parameter::Hr, 73.0), (Parameter::Spo2, 97.0)]);
    assert!(w.monitor.alert(&alert).is_none(), "{:?}", w.told());
    let events = w.events.len();
    assert_eq!(w.order("r4", rate(false)).alert_state.as_deref(), Some("cleared"));
    assert_eq!(w.order("r5", Verb::Comment { alert: alert.clone(), comment: "x".into() }).refusal, None);
    assert_eq!(w.order("r6", Verb::Unack { alert: alert.clone() }).refusal, Some(Refusal::NotFound));
    assert_eq!(w.order("r7", Verb::Rate { alert: "A-0".into(), useful: true }).refusal, Some(Refusal::NotFound));
    assert_eq!(w.events.len(), events, "the last event stays the last");
}

#[test]
fn a_selftest_is_told_of_its_own_bed_and_of_no_other() {
    let mut w = Ward::new();
    w.live(&["A03"], 10);
    let answer = w.order("r1", Verb::Selftest);
    let bed = w.monitor.bed_id("_site", "_selftest").expect("it is there now");
    let state = w.monitor.bed_state(bed, w.now).unwrap();
    assert_eq!((answer.refusal, answer.rev), (None, Some(state.rev)));
    assert_eq!(state.active.len() + w.events.len(), 0);
}

#[test]
fn commands_are_inputs_like_messages_and_a_restart_between_any_two_changes_nothing() {
    let run = |restore_at: usize| {
        let mut w = Ward::new();
        for n in 0..260usize {
            if n == restore_at {
                let bytes = w.monitor.snapshot();
                let settings = Settings { site: "hsp1".into(), ..Settings::default() };
                w.monitor = Monitor::restore(settings, &bytes).unwrap();
            }
            if !(140..230).contains(&n) {
                let rows = w.living();
                w.tell("A03", &rows);
            }
            let rows = w.living();
            w.tell("A04", &rows);
            let open = |w: &Ward| w.monitor.open_alerts().first().map(|a| a.id.clone()).unwrap_or_default();
            match n {
                40 => drop(w.read("s1", "A03", &[(Parameter::Hr, 131.0)])),
                60 => drop(w.read("s2", "A03", &[(Parameter::Hr, 132.0)])),
                70 => {
                    let alert = open(&w);
                    w.order("h1", Verb::Shelve { alert, rev: None, minutes: 1, reason: "x".into() });
                }
                75 | 76 => {
                    let alert = open(&w);
                    w.order("c1", Verb::Comment { alert, comment: "once".into() });
                }
                135 => drop(w.ack("a1", &open(&w), None)),
                138 => {
                    let alert = open(&w);
                    w.order("a2", Verb::Unack { alert });
                }
                215 => drop(w.off("b1", "A03", true)),
                250 => drop(w.order("t1", Verb::Selftest)),
                _ => {}
            }
            w.wait(1.0);
        }
        w.wait(700.0);
        (w.lines, w.responses)
    };
    let plain = run(usize::MAX);
    let told: Vec<_> = plain.0.iter().map(|l| l.split('"').nth(7).unwrap().to_owned()).collect();
    for word in ["raised", "shelved", "unshelved", "acknowledged", "unacknowledged", "expired"] {
        assert!(told.iter().any(|t| t == word), "{word}: {told:?}");
    }
    assert_eq!(plain.1.iter().filter(|r| r.refusal.is_some()).count(), 0, "{:?}", plain.1);
    assert_eq!(
        plain.1.iter().filter(|r| r.request_id == "c1").map(|r| r.rev).collect::<std::collections::BTreeSet<_>>().len(),
        1
    );
    for at in [41, 61, 71, 76, 100, 136, 139, 216, 251] {
        assert!(run(at) == plain, "restored at {at}");
    }
}

#[test]
fn what_a_user_does_not_see_it_does_not_command_and_does_not_learn_of() {
    let mut w = Ward::new();
    w.live(&["A03"], 120);
    w.read("r1", "a03", &[(Parameter::Hr, 131.0), (Parameter::Spo2, 84.0)]);
    let id = w.raised("P15").expect("raised").alert.id.clone();
    let mut order = |request: &str, wards: &[&str], verb: Verb| {
        let wards = wards.iter().map(|ward| (*ward).to_owned()).collect();
        let command = Command { request_id: request.into(), user: "nurse8".into(), via: Via::Mqtt, expires: None, wards, verb };
        w.monitor.handle_command(&command, 0, w.now);
        w.drain();
        w.responses.last().and_then(|response| response.refusal)
    };
    let ack = || Verb::Ack { alert: id.clone(), rev: None, comment: None };
    let look = || Verb::SpotCheck { ward: "ICU".into(), bed: "A03".into(), values: vec![(Parameter::Hr, 60.0)] };
    let late = || Verb::Comment { alert: id.clone(), comment: "seen".into() };
    let again = || Verb::Resync { scope: Some("ICU".into()) };
    for (at, verb) in [ack(), look(), late(), again()].into_iter().enumerate() {
        assert_eq!(order(&format!("no{at}"), &["er"], verb), Some(Refusal::NotFound), "{at}");
    }
    for (at, verb) in [ack(), look(), late(), again()].into_iter().enumerate() {
        assert_eq!(order(&format!("yes{at}"), &["er", "ICU"], verb), None, "{at}");
    }
}
