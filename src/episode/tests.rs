use super::*;
use crate::bed::Bed;
use crate::check::{Verdict, Verdicts, id};
use crate::fusion::Origin;

const T: Timestamp = Timestamp(1_800_000_000_000);
use Parameter::{Hr, Pr, Spo2, Temp};

/// One bed whose verdicts are said by the test.
struct Story {
    findings: Findings,
    episodes: Episodes,
    limits: crate::config::Episodes,
    bed: Bed,
    now: Timestamp,
    events: Vec<AlertEvent>,
}

impl Story {
    fn new() -> Story {
        Story {
            findings: Findings::default(),
            episodes: Episodes::default(),
            limits: crate::config::Episodes::default(),
            bed: Bed::new("icu".into(), "A03".into(), T),
            now: T,
            events: Vec::new(),
        }
    }
    fn with<R>(&mut self, act: impl FnOnce(&mut Episodes, &Findings, Timestamp, &Desk<'_>, &mut Vec<AlertEvent>) -> R) -> R {
        let desk = Desk {
            site: "hsp1",
            ward: "icu",
            bed: "A03",
            rev: 5,
            zone: &jiff::tz::TimeZone::UTC,
            model: "sha256:0",
            device: None,
            limits: &self.limits,
            publish_comments: false,
            reviewed: false,
            flood: Some(id::alert_flood),
            alone: true,
        };
        act(&mut self.episodes, &self.findings, self.now, &desk, &mut self.events)
    }
    /// `seconds` pass; each of them the checks say this.
    fn say(&mut self, fails: &[Verdict], passes: &[CheckId], seconds: usize) {
        for _ in 0..seconds {
            let mut verdicts = Verdicts::default();
            for v in fails {
                verdicts.push(v.clone());
            }
            for check in passes {
                verdicts.pass(*check);
            }
            self.findings.observe(&verdicts, self.now, None, &self.bed, &Origin::default);
            self.with(|e, f, now, desk, out| e.step(f, now, desk, out));
            self.now = self.now.plus_s(1.0);
        }
    }
    fn told(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|e| {
                format!("{} {} {:?} {:?}", e.event.as_str(), &e.alert.condition[..3], e.alert.priority, e.ts.since_s(T) as i64)
            })
            .collect()
    }
}

fn fails(check: CheckId, params: &[Parameter]) -> Verdict {
    Verdict::new(check, ParamSet::from_slice(params), T)
}

fn hard(check: CheckId) -> Verdict {
    Verdict { hard: true, log10_e: 4.0, ..Verdict::new(check, ParamSet::EMPTY, T) }
}

#[test]
fn medium_waits_ten_seconds_low_twenty_and_a_short_one_is_never_said() {
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 9);
    s.say(&[], &[id::hr_vs_pr], 5);
    assert_eq!(s.told(), Vec::<String>::new());
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr]), fails(id::pressure_order, &[Temp])], &[], 25);
    assert_eq!(s.told(), ["raised A07 Medium 10", "raised A03 Low 20"]);
}

#[test]
fn a_short_gap_keeps_it_firing_and_raises_the_count() {
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 20);
    s.say(&[], &[id::hr_vs_pr], 290);
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 10);
    assert_eq!(s.told(), ["raised A07 Medium 10", "updated A07 Medium 310"]);
    assert_eq!(s.events[1].alert.count, 2);
    s.say(&[], &[id::hr_vs_pr], 301);
    assert_eq!(s.told().last().unwrap(), "cleared A07 Medium 620");
    assert!(s.episodes.is_empty());
    let last = s.events.last().unwrap();
    assert_eq!((last.alert.ended, last.alert.cleared), (Some(last.ts), Some(last.ts)));
}

#[test]
fn an_artefact_on_a_vital_value_is_medium_after_five_minutes_and_takes_the_acknowledgement_back() {
    let mut s = Story::new();
    s.say(&[fails(id::hard_range, &[Spo2])], &[], 30);
    let alert = s.events[0].alert.id.clone();
    let note = Note { user: "nurse7".into(), at: s.now, via: Via::Web, comment: Some("seen".into()) };
    s.with(|e, f, now, desk, out| e.acknowledge(&alert, note, f, now, desk, out));
    assert_eq!(s.episodes.deadline(&s.findings, &s.limits), T.plus_s(300.0));
    s.say(&[fails(id::hard_range, &[Spo2])], &[], 280);
    assert_eq!(
        s.told(),
        ["raised A01 Low 20", "acknowledged A01 Low 30", "unacknowledged A01 Low 300", "escalated A01 Medium 300"]
    );
    let states: Vec<_> = s.events.iter().map(|e| (e.alert.state, e.prev.map(|p| p.state))).collect();
    assert_eq!(states[2], (AlertState::Active, Some(AlertState::Acknowledged)));
    assert_eq!(states[3], (AlertState::Active, Some(AlertState::Active)));
    assert_eq!(s.events[2].by.as_ref().unwrap().via, Via::Auto);
    assert_eq!(s.events[3].topics(), (Priority::Medium, Some(Priority::Low)));
    assert!(s.events[1].by.as_ref().unwrap().comment.is_none());
}

#[test]
fn evidence_joins_the_open_tamper_alert_and_escalates_it() {
    let mut s = Story::new();
    let frozen = Verdict { log10_e: 8.0, ..fails(id::flat_line, &[Hr, Spo2]) };
    s.say(std::slice::from_ref(&frozen), &[], 30);
    assert_eq!(s.told(), ["raised T03 Medium 0"]);
    s.say(&[frozen, hard(id::control_id_reuse)], &[], 10);
    assert_eq!(s.told(), ["raised T03 Medium 0", "escalated T03 High 30"]);
    let alert = &s.events[1].alert;
    assert_eq!(alert.id, s.events[0].alert.id);
    let checks: Vec<_> = alert.evidence.iter().map(|e| (e.check.as_str(), e.score.0)).collect();
    assert_eq!(checks, [("P01", 1.0), ("T03", 0.99)]);
    assert!(alert.confidence.0 >= 0.97);
}

#[test]
fn the_strongest_finding_becomes_the_tamper_alert_and_the_others_fold_under_it() {
    let stuck = || Verdict { log10_e: 3.0, ..fails(id::flat_line, &[Hr]) };
    let mut s = Story::new();
    s.say(&[fails(id::structure_drift, &[])], &[], 40);
    s.say(&[fails(id::structure_drift, &[]), stuck()], &[], 5);
    assert_eq!(s.told(), ["raised C04 Info 20", "raised T03 High 40", "updated C04 Info 41"]);
    let (tamper, folded) = (&s.events[1].alert, &s.events[2].alert);
    assert_eq!((tamper.assessment, folded.because.as_ref()), (Assessment::Tamper, Some(&tamper.id)));
    assert_eq!(tamper.cause_of, std::slice::from_ref(&folded.id));
    // The other way round: what was unverified is the strongest, and escalates.
    let mut s = Story::new();
    s.say(&[stuck()], &[], 40);
    s.say(&[fails(id::structure_drift, &[]), stuck()], &[], 5);
    assert_eq!(s.told(), ["raised T03 Info 20", "escalated T03 High 40"]);
    assert_eq!(s.events[1].alert.id, s.events[0].alert.id);
}

#[test]
fn one_tamper_alert_in_half_an_hour() {
    let mut s = Story::new();
    let frozen = Verdict { log10_e: 8.0, ..fails(id::flat_line, &[Hr, Spo2]) };
    s.say(std::slice::from_ref(&frozen), &[], 10);
    s.say(&[], &[id::flat_line], 400);
    assert_eq!(s.told().len(), 2);
    let again = Verdict { onset: T.plus_s(700.0), ..frozen };
    s.now = T.plus_s(1100.0);
    s.say(std::slice::from_ref(&again), &[], 690);
    assert_eq!(s.told()[2..], ["raised T03 Info 1120"], "the same again within 30 min stays with the engineers");
    s.say(&[again], &[], 20);
    assert_eq!(s.told()[3], "escalated T03 Medium 1800");
}

#[test]
fn a_high_stays_until_a_person_has_seen_it() {
    let mut s = Story::new();
    s.say(&[hard(id::control_id_reuse)], &[], 1);
    s.say(&[], &[id::control_id_reuse], 400);
    assert_eq!(s.told(), ["raised P01 High 0", "updated P01 High 301"]);
    assert_eq!(s.events[1].alert.state, AlertState::Latched);
    s.say(&[hard(id::control_id_reuse)], &[], 3);
    assert_eq!(s.events[2].alert.state, AlertState::Active, "it came back");
    let id = s.events[0].alert.id.clone();
    let note = Note { user: "n".into(), at: s.now, via: Via::Mqtt, comment: None };
    s.with(|e, f, now, desk, out| e.acknowledge(&id, note, f, now, desk, out));
    s.say(&[], &[id::control_id_reuse], 301);
    assert_eq!(s.events.last().unwrap().event, EventKind::Cleared);
    let seqs: Vec<_> = s.events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn more_than_six_raises_an_hour_are_one_unstable_signal_and_tampering_is_never_folded() {
    let mut s = Story::new();
    s.limits.clear_s = 5.0;
    for n in 0..8 {
        let v = Verdict { onset: s.now, ..fails(id::hr_vs_pr, &[Hr, Pr]) };
        s.say(&[v], &[], 12);
        s.say(&[], &[id::hr_vs_pr], 8);
        assert_eq!(
            s.events.iter().filter(|e| e.event == EventKind::Raised && e.alert.condition.starts_with("A07")).count(),
            n + 1
        );
    }
    let flood = s.events.iter().find(|e| e.event == EventKind::Raised && e.alert.condition.starts_with("S05")).expect("the card");
    let folded: Vec<_> = s.events.iter().filter(|e| e.event == EventKind::Raised && e.alert.because.is_some()).collect();
    assert_eq!(folded.len(), 2, "the seventh and the eighth");
    assert_eq!(folded[0].alert.because.as_ref(), Some(&flood.alert.id));
    assert!(flood.alert.text.en.starts_with("Unstable signal"));
    s.say(&[hard(id::control_id_reuse)], &[], 1);
    assert!(s.events.last().unwrap().alert.because.is_none());
}

#[test]
fn a_check_that_cannot_look_any_more_ends_its_alert_without_proof() {
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 20);
    s.say(&[], &[], 1790);
    assert_eq!(s.told().len(), 1);
    s.say(&[], &[], 20);
    assert_eq!(s.told()[1], "expired A07 Medium 1819");
}

#[test]
fn a_lost_bed_folds_its_stale_values() {
    let mut s = Story::new();
    s.say(&[fails(id::gap, &[Spo2])], &[], 40);
    s.say(&[fails(id::gap, &[Spo2]), fails(id::device_silence, &[])], &[], 40);
    let gap = s.episodes.open().find(|e| e.check == id::gap).unwrap();
    let lost = s.episodes.open().find(|e| e.check == id::device_silence).unwrap();
    assert_eq!(gap.because.as_ref(), Some(&lost.id));
    assert_eq!(lost.cause_of, std::slice::from_ref(&gap.id));
}

#[test]
fn a_patient_who_may_be_getting_worse_is_said_beside_tampering() {
    let mut s = Story::new();
    let worse = Verdict { assessment: Some(Assessment::Physiology), ..fails(id::step_held, &[Spo2]) };
    s.say(std::slice::from_ref(&worse), &[], 2);
    assert_eq!(s.told(), ["raised T01 Info 0"], "at once");
    s.say(&[worse, hard(id::control_id_reuse)], &[], 2);
    let told = s.told();
    assert!(
        told.contains(&"escalated T01 Medium 2".to_owned()) || told.contains(&"escalated T01 Medium 3".to_owned()),
        "{told:?}"
    );
    let last = s.events.iter().rev().find(|e| e.alert.condition.starts_with("T01")).unwrap();
    assert!(last.alert.action.en.contains("assess the patient now"), "{:?}", last.alert.action);
}

fn shelf(user: &str, until: Timestamp) -> Shelf {
    Shelf { user: user.into(), via: Via::Web, until, reason: "physiotherapy".into() }
}

#[test]
fn a_shelved_alert_returns_by_itself_with_what_was_noted_before() {
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 20);
    let alert = s.events[0].alert.id.clone();
    let note = Note { user: "nurse7".into(), at: s.now, via: Via::Web, comment: None };
    s.with(|e, f, now, desk, out| e.acknowledge(&alert, note, f, now, desk, out));
    let until = s.now.plus_s(60.0);
    assert!(s.with(|e, f, now, desk, out| e.shelve(&alert, shelf("nurse7", until), f, now, desk, out)));
    let shelved = &s.events[2].alert;
    assert_eq!((shelved.state, shelved.shelved.as_ref().map(|s| s.until)), (AlertState::Shelved, Some(until)));
    assert_eq!(s.episodes.deadline(&s.findings, &s.limits), until);
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 62);
    assert_eq!(
        s.told(),
        ["raised A07 Medium 10", "acknowledged A07 Medium 20", "shelved A07 Medium 20", "unshelved A07 Medium 80"]
    );
    let back = &s.events[3];
    assert_eq!((back.alert.state, back.alert.shelved.is_none()), (AlertState::Acknowledged, true));
    assert_eq!(back.by.as_ref().map(|by| (by.user.as_str(), by.via)), Some(("vitalguard", Via::Auto)));
}

#[test]
fn an_escalation_ends_the_shelf_and_asks_for_a_person_again() {
    let mut s = Story::new();
    s.say(&[fails(id::hard_range, &[Spo2])], &[], 30);
    let alert = s.events[0].alert.id.clone();
    let until = s.now.plus_s(1800.0);
    assert!(s.with(|e, f, now, desk, out| e.shelve(&alert, shelf("nurse7", until), f, now, desk, out)));
    s.say(&[fails(id::hard_range, &[Spo2])], &[], 280);
    assert_eq!(s.told(), ["raised A01 Low 20", "shelved A01 Low 30", "unshelved A01 Low 300", "escalated A01 Medium 300"]);
    assert_eq!(s.events[3].alert.state, AlertState::Active);
    assert_eq!(s.events[3].prev.map(|p| p.state), Some(AlertState::Active));
}

#[test]
fn a_high_alert_and_physiology_are_never_put_aside() {
    let mut s = Story::new();
    s.say(&[hard(id::control_id_reuse)], &[], 2);
    let alert = s.events[0].alert.clone();
    assert_eq!(alert.priority, Priority::High);
    let until = s.now.plus_s(60.0);
    assert!(!s.with(|e, f, now, desk, out| e.shelve(&alert.id, shelf("n", until), f, now, desk, out)));
    let mut s = Story::new();
    let real = Verdict { assessment: Some(Assessment::Physiology), ..fails(id::soft_range, &[Hr]) };
    s.say(&[real], &[], 2);
    let alert = s.events[0].alert.clone();
    assert_eq!(alert.assessment, Assessment::Physiology);
    assert!(!s.with(|e, f, now, desk, out| e.shelve(&alert.id, shelf("n", until), f, now, desk, out)));
    assert_eq!(s.events.len(), 1, "nothing is told of what was refused");
}

#[test]
fn what_turns_out_to_be_physiology_comes_down_from_the_shelf() {
    let mut s = Story::new();
    let doubt = Verdict { assessment: Some(Assessment::Artefact), ..fails(id::soft_range, &[Hr]) };
    s.say(&[doubt], &[], 30);
    let alert = s.events[0].alert.id.clone();
    let until = s.now.plus_s(1800.0);
    assert!(s.with(|e, f, now, desk, out| e.shelve(&alert, shelf("n", until), f, now, desk, out)));
    let real = Verdict { assessment: Some(Assessment::Physiology), ..fails(id::soft_range, &[Hr]) };
    s.say(&[real], &[], 2);
    assert_eq!(s.events[2].event, EventKind::Unshelved);
    assert_eq!(s.events[2].alert.assessment, Assessment::Artefact, "first it comes down, then it is what it is");
    assert_eq!(s.events[3].alert.assessment, Assessment::Physiology);
    assert_eq!(s.events[3].alert.state, AlertState::Active);
}

#[test]
fn a_note_taken_back_asks_for_a_person_again() {
    let mut s = Story::new();
    s.say(&[fails(id::hr_vs_pr, &[Hr, Pr])], &[], 20);
    let alert = s.events[0].alert.id.clone();
    let by = || By { user: "nurse7".into(), via: Via::Mqtt, comment: None };
    s.with(|e, f, now, desk, out| e.unacknowledge(&alert, by(), f, now, desk, out));
    assert_eq!(s.events.len(), 1, "there was no note");
    let note = Note { user: "nurse7".into(), at: s.now, via: Via::Web, comment: None };
    s.with(|e, f, now, desk, out| e.acknowledge(&alert, note, f, now, desk, out));
    s.with(|e, f, now, desk, out| e.unacknowledge(&alert, by(), f, now, desk, out));
    let back = s.events.last().unwrap();
    assert_eq!((back.event, back.alert.state, back.cause), (EventKind::Unacknowledged, AlertState::Active, Cause::Operator));
    assert!(back.alert.acked.is_none());
}

#[test]
fn one_reading_at_the_bedside_and_a_second_family_are_tampering() {
    let mut s = Story::new();
    let read = Verdict { flag: crate::check::Flag::Suspect, ..fails(id::spot_check, &[Hr]) };
    s.say(std::slice::from_ref(&read), &[], 30);
    assert_eq!(s.told(), Vec::<String>::new(), "alone it is evidence and nothing more");
    let step = Verdict { log10_e: 2.0, ..fails(id::interpolation, &[Hr, Spo2]) };
    s.say(&[step], &[], 3);
    assert_eq!(s.told(), ["raised P15 High 30"]);
    assert_eq!(s.events[0].alert.assessment, Assessment::Tamper);
}
